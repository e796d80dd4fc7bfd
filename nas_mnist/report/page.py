"""Pages in one file each, which need no network: a figure alone, or a study's whole report."""

import base64
import gzip
import html
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
import optuna
import plotly.graph_objects as go
from optuna.trial import TrialState
from PIL import Image
from plotly.offline import get_plotlyjs

from nas_mnist.errors import RequestError
from nas_mnist.execution.confirmation import Candidate, candidates, chosen
from nas_mnist.execution.records import StudyRecord
from nas_mnist.report import figures, front_table, replace_files, writing
from nas_mnist.report.explanation import Explanation
from nas_mnist.report.export import trained_network, trained_run
from nas_mnist.report.tables import TEXT_COLUMNS, counted, layer_rows
from nas_mnist.search.front import on_log_scale
from nas_mnist.training.datasets import Dataset
from nas_mnist.training.runs import Reproduced
from nas_mnist.training.trainer import logits

_LEAST_TRIALS = 20  # fewer say nothing about fifteen choices
_MOST_IMAGES = 120  # more are no easier to learn from
_FANOVA = (
    "For the validation accuracy of completed trials at a given size: shares of the variance of "
    "the error's logarithm, after its fit on the number of parameters (fANOVA)."
)


def page(title: str, parts: Iterable[str]) -> str:
    """An HTML page of these parts, in their order; `figure_part` and others make them."""
    template = Template(resources.files(__package__).joinpath("page.html").read_text("utf-8"))
    # Plotly's own script is 4.6 MB: it is kept compressed, and unpacked by the browser.
    plotly = base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
    return template.substitute(title=html.escape(title), parts="\n".join(parts), plotly=plotly)


def text_part(text: str, tag: str = "p") -> str:
    return f"<{tag}>{html.escape(text)}</{tag}>"


def figure_part(figure: go.Figure) -> str:
    values = figure.to_json().replace("<", "\\u003c")  # no text in it can end the script
    script = f'<script type="application/json" class="figure">{values}</script>'
    return f'<div class="plot"></div>{script}'


def table_part(rows: Sequence[Sequence[str]]) -> str:
    """A table; its first row are the headings."""
    kinds = {name: ' class="text"' for name in TEXT_COLUMNS}
    kinds["notation"] = ' class="text notation"'
    lines = ["<table>"]
    for row in rows:
        tag, cells = "th" if row is rows[0] else "td", zip(rows[0], row, strict=True)
        made = (f"<{tag}{kinds.get(h, '')}>{html.escape(cell)}</{tag}>" for h, cell in cells)
        lines.append(f"<tr>{''.join(made)}</tr>")
    return "\n".join([*lines, "</table>"])


def write_figure(figure: go.Figure, file: Path) -> None:
    """Write a figure by its file's ending: an offline .html page, or .png and .svg pictures.
    RequestError for another ending, or if pictures cannot be drawn here."""
    check_figure_name(file)
    title, scale = str(figure.layout.title.text or file.stem), 1 if file.suffix == ".svg" else 2
    try:
        with writing(file):
            if file.suffix == ".html":
                file.write_text(page(title, [figure_part(figure)]), "utf-8")
            else:
                figure.write_image(file, width=1000, height=600, scale=scale)
    except (ImportError, ValueError, RuntimeError):
        raise RequestError(
            f"figure {file}: pictures need kaleido (pip install 'nas-mnist[image]') and an "
            "installed Chrome or Chromium; or write .html"
        ) from None


def check_figure_name(file: Path) -> None:
    """Raise RequestError for a file's ending that `write_figure` cannot write."""
    if file.suffix not in (".html", ".png", ".svg"):
        raise RequestError(f"figure {file}: the ending must be .html, .png or .svg")


def write_report(
    record: StudyRecord,
    dataset: Dataset,
    file: Path,
    reproduced: Sequence[Reproduced] = (),
    explained: Sequence[Explanation] = (),
) -> None:
    """Write the study's report as HTML: its front beside the retrained networks of `reproduced`,
    how it went, what `explained` says of decisions, and its winner's mistakes on the dataset's
    test images. StudyError if no trial has completed, StorageError if the winner's weights are
    missing."""
    spec, counts, winner = record.spec, record.counts(), chosen(record)
    trial, shown, shares = winner.trial, candidates(record), importances(record)
    title = f"{record.name}: networks within {spec.budget:,} parameters on {spec.dataset}"
    said = f"test {trial.test_accuracy:.2f} %, one run, unconfirmed"
    if winner.confirmed:
        said = f"confirmed {front_table.confirmed_text(winner.confirmed)}"
    summary = (
        f"{counted(counts.finished, 'trial')} of {counted(spec.epochs, 'epoch')}: "
        f"{counts.complete} completed, {counts.pruned} pruned, {counts.failed} diverged. "
        f"Most accurate by validation: trial {trial.number}, "
        f"{trial.architecture.parameters:,} parameters, {said}."
    )
    importance = [text_part(f"Fewer than {_LEAST_TRIALS} completed trials do not say.")]
    if shares:
        importance = [text_part(_FANOVA), figure_part(figures.importance_figure(shares))]
    parts = [
        text_part(title, "h1"),
        text_part(summary),
        figure_part(figures.front_figure(record, reproduced)),
        text_part("The front", "h2"),
        text_part(front_table.front_caption(record, shown)),
        table_part(front_table.front_rows(record, shown)),
        text_part("Learning curves of the front", "h2"),
        figure_part(figures.curves_figure(record)),
        text_part("Where the epochs went", "h2"),
        text_part(front_table.spending_text(record)),
        figure_part(figures.spending_figure(front_table.epoch_usage(record), spec.epochs)),
        text_part("Which choices matter", "h2"),
        *importance,
        text_part(f"The winner: trial {trial.number}", "h2"),
        text_part(trial.notation, "pre"),
        table_part(layer_rows(trial.architecture)),
        *_decisions(explained),
        *_mistakes(record, winner, dataset),
        text_part("Configuration", "h2"),
        text_part("As resolved when the study was made, and the versions that made it."),
        text_part(json.dumps({**spec.as_dict(), "versions": record.versions}, indent=2), "pre"),
    ]
    replace_files({file: page(title, parts).encode()})


def importances(record: StudyRecord) -> dict[str, float]:
    """What share of the variance of accuracy at a given size each choice explains, the largest
    first, by fANOVA (Hutter, Hoos, Leyton-Brown 2014); empty with few completed trials. Accuracy
    at a given size: what a quadratic fit of the error on parameters, both logarithms, leaves."""
    trials = record.trials(TrialState.COMPLETE)
    if len(trials) < _LEAST_TRIALS:
        return {}
    sizes, errors = np.array([on_log_scale(*trial.values) for trial in trials]).T
    rest = errors - np.polynomial.Polynomial.fit(sizes, errors, 2)(sizes)
    residuals = {trial.number: float(own) for trial, own in zip(trials, rest, strict=True)}
    return optuna.importance.get_param_importances(
        record.study,
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
        params=[name for name in trials[0].params if name != "fill"],
        target=lambda trial: residuals[trial.number],
    )


def _decisions(explained: Sequence[Explanation]) -> Iterator[str]:
    """What each decision of a network buys."""
    for own in explained:
        title, differences = own.drawn()
        yield text_part(title, "h2")
        yield text_part(own.caption())
        yield figure_part(figures.differences_figure("", differences, in_order=own.chain))
        yield table_part(own.rows())


def _mistakes(record: StudyRecord, winner: Candidate, dataset: Dataset) -> Iterator[str]:
    """What the winner answers wrongly of the test images."""
    network, _ = trained_network(record, winner)
    images, labels = dataset.test.images, dataset.test.labels
    answers = logits(network, dataset.test, dataset.normalization).argmax(dim=1)
    wrong = (answers != labels).nonzero().flatten().tolist()
    shown, right = wrong[:_MOST_IMAGES], 100 - 100 * len(wrong) / len(labels)
    told = f"{len(wrong)} of {len(labels):,} test images wrong, {right:.2f} % right."
    yield text_part("What the winner gets wrong", "h2")
    yield text_part(f"Trained with seed {trained_run(winner).seed}: {told}")
    yield figure_part(figures.confusion_figure(labels.tolist(), answers.tolist()))
    some = "All" if len(shown) == len(wrong) else f"The first {len(shown)}"
    if shown:
        yield text_part(f"{some} of them, shown → answered:")
    yield '<div class="images">'
    for index in shown:
        file = io.BytesIO()  # dark on light, as it was written
        Image.fromarray(255 - images[index, 0].numpy()).save(file, "png")
        data = base64.b64encode(file.getvalue()).decode()
        image = f'<img alt="test image {index}" src="data:image/png;base64,{data}">'
        caption = text_part(f"{int(labels[index])} → {int(answers[index])}", "figcaption")
        yield f"<figure>{image}{caption}</figure>"
    yield "</div>"
