"""A study as one page that needs no network."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from nas_mnist.execution.confirmation import Candidate, candidates, chosen, confirmed
from nas_mnist.execution.records import StudyRecord
from nas_mnist.networks.architecture import build_network
from nas_mnist.report.analysis import LEAST_TRIALS, epoch_usage, importances
from nas_mnist.report.export import stored_weights
from nas_mnist.report.figures import front_figure
from nas_mnist.report.front_table import front_caption, front_rows, spending_text
from nas_mnist.report.page import (
    code_part,
    figure_part,
    heading_part,
    page,
    table_part,
    text_part,
)
from nas_mnist.report.source import confirmed_text
from nas_mnist.report.study_figures import (
    confusion_figure,
    curves_figure,
    importance_figure,
    spending_figure,
)
from nas_mnist.report.tables import LAYER_HEADINGS, layer_rows
from nas_mnist.training.datasets import Dataset
from nas_mnist.training.runs import Reproduced
from nas_mnist.training.trainer import logits

# More are no easier to learn from.
_MOST_IMAGES = 120


def report_page(
    record: StudyRecord, dataset: Dataset, reproduced: Sequence[Reproduced] = ()
) -> str:
    """The study's report as HTML: its front beside the retrained networks of `reproduced`, how it
    went, and its winner's mistakes on the dataset's test images.

    Raises StudyError if no trial has completed, StorageError if the winner's weights are missing.
    """
    winner = chosen(record)
    spec = record.spec
    title = f"{record.name}: networks within {spec.budget:,} parameters on {spec.dataset}"
    parts = [
        heading_part(title, 1),
        text_part(_summary(record, winner)),
        figure_part(front_figure(record, reproduced)),
        *_front(record),
        *_search(record),
        *_winner(record, winner, dataset),
        heading_part("Configuration"),
        text_part("As resolved when the study was made, and the versions that made it."),
        code_part(json.dumps({**spec.as_dict(), "versions": record.versions}, indent=2)),
    ]
    return page(title, parts)


def _summary(record: StudyRecord, winner: Candidate) -> str:
    counts, trial = record.counts(), winner.trial
    said = (
        f"confirmed {confirmed_text(winner.confirmed)}"
        if winner.confirmed
        else f"test {winner.trial.test_accuracy:.2f} %, one run, unconfirmed"
    )
    return (
        f"{counts.finished} trials of {record.spec.epochs} epochs: {counts.complete} completed, "
        f"{counts.pruned} pruned, {counts.failed} diverged. Most accurate on the validation "
        f"images: trial {trial.number}, {trial.architecture.parameters:,} parameters, {said}."
    )


def _front(record: StudyRecord) -> Iterator[str]:
    yield heading_part("The front")
    shown = candidates(record)
    yield text_part(front_caption(record, shown))
    headings, *rows = front_rows(shown)
    yield table_part(headings, rows, ["notation"])


def _search(record: StudyRecord) -> Iterator[str]:
    yield heading_part("Learning curves of the front")
    yield figure_part(curves_figure(record.front(), confirmed(record)))
    yield heading_part("Where the epochs went")
    yield text_part(spending_text(record))
    yield figure_part(spending_figure(epoch_usage(record), record.spec.epochs))
    yield heading_part("Which choices matter")
    shares = importances(record)
    if not shares:
        yield text_part(f"Fewer than {LEAST_TRIALS} completed trials do not say.")
        return
    yield text_part(
        "For the validation accuracy of completed trials at a given size: shares of the variance "
        "of the error's logarithm, after its fit on the number of parameters (fANOVA)."
    )
    yield figure_part(importance_figure(shares))


def _winner(record: StudyRecord, winner: Candidate, dataset: Dataset) -> Iterator[str]:
    trial = winner.trial
    yield heading_part(f"The winner: trial {trial.number}")
    yield code_part(trial.notation)
    yield table_part(LAYER_HEADINGS, layer_rows(trial.architecture), ["layer"])

    network = build_network(trial.architecture)
    state = torch.load(io.BytesIO(stored_weights(record, winner)), weights_only=True)
    network.load_state_dict(state)
    answers = logits(network, dataset.test, dataset.normalization).argmax(dim=1)
    labels = dataset.test.labels
    wrong = (answers != labels).nonzero().flatten().tolist()
    seed = winner.confirmed.runs[0].seed if winner.confirmed else trial.seed
    yield heading_part("What the winner gets wrong")
    yield text_part(
        f"Trained with seed {seed}: {len(wrong)} of {len(labels):,} test images wrong, "
        f"{100 - 100 * len(wrong) / len(labels):.2f} % right."
    )
    yield figure_part(confusion_figure(labels.tolist(), answers.tolist()))
    shown = wrong[:_MOST_IMAGES]
    if len(shown) < len(wrong):
        yield text_part(f"The first {len(shown)} of them, shown → answered:")
    elif shown:
        yield text_part("All of them, shown → answered:")
    figures = (
        f'<figure><img alt="test image {index}" src="{_data_uri(dataset.test.images[index])}">'
        f"<figcaption>{int(labels[index])} → {int(answers[index])}</figcaption></figure>"
        for index in shown
    )
    yield f'<div class="images">{"".join(figures)}</div>'


def _data_uri(image: Tensor) -> str:
    """One image (1, 28, 28), dark on light as it was written."""
    file = io.BytesIO()
    Image.fromarray(255 - image[0].numpy()).save(file, "png")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def write_report(
    record: StudyRecord, dataset: Dataset, file: Path, reproduced: Sequence[Reproduced] = ()
) -> None:
    """Write `report_page`; OSError if the file cannot be written."""
    text = report_page(record, dataset, reproduced)
    part = file.with_name(file.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(file)
