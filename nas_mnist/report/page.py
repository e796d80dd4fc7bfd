"""Pages in one file each, which need no network: a figure alone, or a study's whole report."""

import base64
import gzip
import io
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from markupsafe import Markup
from PIL import Image
from plotly.offline import get_plotlyjs

from nas_mnist.errors import RequestError, StorageError, StudyError
from nas_mnist.execution.confirmation import Candidate, candidates, chosen, confirmed
from nas_mnist.execution.records import StudyRecord
from nas_mnist.networks.architecture import parse_notation
from nas_mnist.report import front_table, note, replace_files, study_figures, writing
from nas_mnist.report.claims import claims
from nas_mnist.report.drawing import boxes
from nas_mnist.report.explanation import Explanation
from nas_mnist.report.export import trained_network, trained_run
from nas_mnist.report.figures import differences_figure, front_figure
from nas_mnist.report.health import health_checks
from nas_mnist.report.importances import importances
from nas_mnist.report.tables import TEXT_COLUMNS, counted, last_epochs_text, layer_rows, spread_text
from nas_mnist.report.templates import render
from nas_mnist.training.datasets import Dataset
from nas_mnist.training.runs import Reproduced
from nas_mnist.training.trainer import logits

_MOST_IMAGES = 120  # more are no easier to learn from
# Columns of the front that are shown at first; before a confirmation also "validation %".
_SHOWN = {"trial", "parameters", "MACs", "confirmed test %"}
_FANOVA = (
    "For the validation accuracy of completed trials at a given size: shares of the variance of "
    "the error's logarithm, after its fit on the number of parameters (fANOVA). The ranges are "
    "those of eight in ten resamples of the trials: choices whose ranges overlap cannot be ranked."
)


def page(title: str, **content: Any) -> str:
    """An HTML page: of `figures` below a `text`, or of a `report`, whose parts `report.html` names.
    All that is not a figure is taken as text."""
    kinds = defaultdict(str, {**dict.fromkeys(TEXT_COLUMNS, "text"), "notation": "text notation"})
    # Plotly's own script is 4.6 MB: it is kept compressed, and unpacked by the browser.
    plotly = base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
    return render("page.html", title=title, plotly=plotly, kinds=kinds, **content)


def figure_json(figure: go.Figure) -> Markup:
    """A figure as a page takes it: no text in it can end the script that it lies in."""
    return Markup(figure.to_json().replace("<", "\\u003c"))


def write_figure(figure: go.Figure, file: Path) -> None:
    """Write a figure by its file's ending: an offline .html page, or .png and .svg pictures.
    RequestError for another ending, or if pictures cannot be drawn here."""
    check_figure_name(file)
    title, scale = str(figure.layout.title.text or file.stem), 1 if file.suffix == ".svg" else 2
    try:
        with writing(file):
            if file.suffix == ".html":
                text, bare = _untitled(figure)
                file.write_text(page(title, text=text, figures=[bare]), "utf-8")
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


def _untitled(figure: go.Figure) -> tuple[str, Markup]:
    """What a figure says below its title, and the figure without both: on a page they are text,
    which breaks where a screen ends."""
    text = figure.layout.title.subtitle.text or ""
    bare = go.Figure(figure).update_layout(title=None, margin_t=20)
    return text, figure_json(bare)


def write_report(
    record: StudyRecord,
    dataset: Dataset,
    file: Path,
    reproduced: Sequence[Reproduced] = (),
    explained: Sequence[Explanation] = (),
) -> None:
    """Write the study's report as HTML: which network to take, the front beside the retrained
    networks of `reproduced`, how far the search can be trusted, what `explained` says of decisions,
    and the winner's mistakes on the dataset's test images, if its weights are there. StudyError if
    no trial has completed."""
    spec, counts, winner = record.spec, record.counts(), chosen(record)
    shown, front = candidates(record), front_figure(record, reproduced)
    front_text, front_plot = _untitled(front)
    rows, shares = front_table.front_rows(record, shown), importances(record)
    spending = study_figures.spending_figure(front_table.epoch_usage(record), spec.epochs)
    title = f"{record.name}: networks within {spec.budget:,} parameters on {spec.dataset}"
    report: dict[str, Any] = {
        "title": title,
        "summary": (
            f"{counted(counts.finished, 'trial')} of {counted(spec.epochs, 'epoch')}: "
            f"{counts.complete} completed, {counts.pruned} pruned, {counts.failed} diverged."
        ),
        "cards": [*_advice(record)],
        "front_text": front_text,
        "front_figure": front_plot,
        "networks": _clickable(front),
        "front_caption": front_table.front_caption(record, shown),
        "front_rows": rows,
        "front_columns": _SHOWN if {*rows[0]} >= _SHOWN else _SHOWN | {"validation %"},
        "winner": winner.trial,
        "winner_text": _training_text(record, winner),
        "winner_blocks": boxes(winner.trial.architecture),
        "layer_rows": layer_rows(winner.trial.architecture),
        "checks": health_checks(record),
        "curves_figure": figure_json(study_figures.curves_figure(record)),
        "spending": front_table.spending_text(record),
        "spending_figure": figure_json(spending),
        "importance_text": _FANOVA if shares else "Too few completed trials to tell.",
        "importance_figure": shares and figure_json(study_figures.importance_figure(shares)),
        "explained": [*map(_decisions, explained)],
        "configuration": json.dumps({**spec.as_dict(), "versions": record.versions}, indent=2),
    }
    try:
        report["mistakes"] = _mistakes(record, winner, dataset)
    except StorageError as error:
        report["no_mistakes"] = f"Not shown: the winner's weights are not at hand. {error}"
        note(f"the report leaves out the winner's mistakes: {error}")
    replace_files({file: page(title, report=report).encode()})


def _advice(record: StudyRecord) -> Iterator[dict[str, Any]]:
    """Which networks to take, by validation alone: the most accurate within the budget, and the
    smallest that reaches the goal, if there is one."""
    spec, best, export = record.spec, chosen(record), f"nas-mnist export {record.name} -o winner.py"
    within = f"The most accurate within {spec.budget:,} parameters"
    first = {**_card(record, best), "title": within, "command": export}
    if spec.goal is None:
        yield first
        return
    smallest = f"smallest that surely has {spec.goal:g} % on validation images"
    try:
        enough = chosen(record, at_least=spec.goal)
    except StudyError as error:
        said = str(error)
        yield first
        yield {"title": f"The {smallest}", "lines": [f"{said[0].upper()}{said[1:]}."]}
        return
    if enough.trial.number == best.trial.number:
        yield {**first, "title": f"{within}, and the {smallest}"}
        return
    yield first
    command = f"{export} --at-least {spec.goal:g}"
    yield {**_card(record, enough), "title": f"The {smallest}", "command": command}


def _card(record: StudyRecord, network: Candidate) -> dict[str, Any]:
    trial, known, found, _ = network
    size = f"Trial {trial.number}: {trial.architecture.parameters:,} parameters"
    lines = [f"{size}, {trial.architecture.macs:,} multiply-accumulates."]
    if found:
        accuracy = f"{spread_text(found.mean, found.sd)} % on test images"
        last = last_epochs_text(len(found.runs[0].curve))
        seeds = counted(len(found.runs), "fresh seed")
        said = f"Confirmed with {seeds}: at least {found.last4_min:.2f} % over {last}"
        if found.goal is not None:
            said += (
                f", which {'meets' if found.goal_met else 'misses'} the goal of {found.goal:g} %"
            )
        lines.append(f"{said}.")
        most = trial.architecture.parameters
        smaller = [own for own in confirmed(record) if own.architecture.parameters < most]
        best = max(smaller, key=lambda own: own.mean, default=found)
        if best.mean > found.mean:
            on_test = f"{spread_text(best.mean, best.sd)} %"
            lines.append(
                f"Chosen by validation. On test images trial {best.trial.number}, of "
                f"{best.architecture.parameters:,} parameters, had more: {on_test}."
            )
    else:
        accuracy = f"{spread_text(*claims(record)[trial.number])} % expected on test images"
        lines.append(f"Not confirmed. Its one run had {trial.test_accuracy:.2f} % on test images.")
    said = (
        f"On validation images {spread_text(known.mean, known.sd)} %, estimated from all runs of "
        f"the study ({counted(known.runs, 'run')} of its own)"
    )
    if (goal := record.spec.goal) is not None:
        said += f": {known.probability(goal):.0%} sure to have {goal:g} % there"
    lines.append(f"{said}.")
    return {"accuracy": accuracy, "lines": lines}


def _training_text(record: StudyRecord, winner: Candidate) -> str:
    trial, spec = winner.trial, record.spec
    size = f"{trial.architecture.parameters:,} parameters, {trial.architecture.macs:,} MACs"
    return (
        f"{size}, receptive field {trial.architecture.receptive_field}. Peak learning rate "
        f"{trial.peak_learning_rate:.3g}, {counted(spec.epochs, 'epoch')}, seed {trial.seed}; the "
        "rest of the recipe is in the configuration below."
    )


def _clickable(figure: go.Figure) -> list[tuple[str, Any]]:
    """The notations of the points of a front's figure, other trials left out, and their blocks."""
    traces = [own for own in figure.data if own.customdata is not None][1:]
    notations = dict.fromkeys(str(custom[0]) for own in traces for custom in own.customdata)
    return [(notation, boxes(parse_notation(notation))) for notation in notations]


def _decisions(own: Explanation) -> Mapping[str, Any]:
    """What each decision of a network buys."""
    title, differences = own.drawn()
    figure = differences_figure("", differences, in_order=own.chain)
    return {
        **{"title": title, "caption": own.caption()},
        **{"figure": figure_json(figure), "rows": own.rows()},
    }


def _mistakes(record: StudyRecord, winner: Candidate, dataset: Dataset) -> Mapping[str, Any]:
    """What the winner answers wrongly of the test images."""
    network, _ = trained_network(record, winner)
    images, labels = dataset.test.images, dataset.test.labels
    answers = logits(network, dataset.test, dataset.normalization).argmax(dim=1)
    wrong = (answers != labels).nonzero().flatten().tolist()
    shown, right = wrong[:_MOST_IMAGES], 100 - 100 * len(wrong) / len(labels)
    told = f"{len(wrong)} of {len(labels):,} test images wrong, {right:.2f} % right."
    names = dataset.class_names or tuple(map(str, range(dataset.classes)))
    figure = study_figures.confusion_figure(labels.tolist(), answers.tolist(), names)
    pictures = []
    for index in shown:
        file = io.BytesIO()  # dark on light, as it was written
        Image.fromarray(255 - images[index, 0].numpy()).save(file, "png")
        own = {"index": index, "png": base64.b64encode(file.getvalue()).decode()}
        pictures.append({**own, "shown": names[labels[index]], "answered": names[answers[index]]})
    return {
        "text": f"Trained with seed {trained_run(winner).seed}: {told}",
        "figure": figure_json(figure),
        "which": "All" if len(shown) == len(wrong) else f"The first {len(shown)}",
        "images": pictures,
    }
