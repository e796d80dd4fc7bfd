"""A network as a Python module file that needs nothing but torch, its weights beside it. Of a
study's database it has no text but what `plain` lets through into its docstring, and the names of
the classes, as literals."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import indent

import torch
from torch import nn

from nas_mnist.errors import RequestError, StorageError
from nas_mnist.execution.confirmation import Candidate, ConfirmedRun
from nas_mnist.execution.records import StudyRecord, TrialRecord
from nas_mnist.execution.store import read_weights, weights_file
from nas_mnist.networks.architecture import Architecture, build_network, format_notation
from nas_mnist.networks.layers import forward_lines, layer_names
from nas_mnist.report import check_export, note, replace_files
from nas_mnist.report.card import may_write_card, model_card, named_layer_rows
from nas_mnist.report.front_table import confirmed_text
from nas_mnist.report.onnx_file import check_onnx, onnx_bytes
from nas_mnist.report.tables import counted, spread_text
from nas_mnist.report.templates import plain, render
from nas_mnist.training.datasets import Dataset
from nas_mnist.training.recipe import DATASETS, Recipe
from nas_mnist.training.runs import Run

_LIGHT_ON_DARK = DATASETS.keys() - {"folder"}


def export_network(
    record: StudyRecord, network: Candidate, file: Path, *, onnx: bool = False
) -> Path:
    """Write the network as `file` (.py), with its weights (.pt) and its model card (.md) beside it,
    and with `onnx` an ONNX file (.onnx) too; the weights' path. StorageError if they are missing or
    not this network's; RequestError as `check_export`, or if packages that `onnx` needs are."""
    check_export(file, *([".onnx"] if onnx else []))
    if onnx:
        check_onnx()
    architecture, source = network.trial.architecture, _source(record, network)
    trained, weights = trained_network(record, network)
    beside = {}
    if may_write_card(card := file.with_suffix(".md")):
        text = model_card(record, network, trained_run(network), file, onnx=onnx)
        beside[card] = text.encode()
    else:
        note(f"{card} is not nas-mnist's and stays as it is: no model card is written")
    if onnx:
        content = onnx_bytes(trained, architecture, record.normalization)
        beside[file.with_suffix(".onnx")] = content
    return _write(file, source, weights, beside)


def export_untrained(record: StudyRecord, network: Candidate, file: Path) -> None:
    """Write the network as `file` (.py) alone. RequestError as `check_export`, or if weights, which
    would be another network's, are beside it."""
    check_export(file)
    if (weights := file.with_suffix(".pt")).exists():
        raise RequestError(f"{weights} is there, of another export; choose another name")
    replace_files({file: _source(record, network).encode()})


def exported_files(file: Path, *, onnx: bool = False) -> list[Path]:
    """What `export_network` has written as `file`, itself among it."""
    others = [".pt", *([".onnx"] if onnx else [])]
    others += [".md"] if may_write_card(file.with_suffix(".md")) else []
    return [file, *map(file.with_suffix, others)]


def export_run(
    name: str, network: Architecture, data: Dataset, recipe: Recipe, run: Run, file: Path
) -> Path:
    """Write a network that was trained by itself, as `export_network` does."""
    assert run.network is not None
    facts = {
        "network": f"{name}, seed {run.seed}",
        "trained": f"on {len(data.train):,} training images of {data.name}",
        "epochs": f"{recipe.epochs}, peak learning rate {recipe.learning_rate:g}",
        "accuracy": f"{run.test_accuracy:.2f} % of {len(data.test):,} others, one run",
    }
    check_export(file)
    source = module_source(network, data.name, data.normalization, facts, data.class_names)
    return _write(file, source, weights_file(run.network), {})


def _write(file: Path, source: str, content: bytes, beside: Mapping[Path, bytes]) -> Path:
    weights = file.with_suffix(".pt")
    replace_files({weights: content, **beside, file: source.encode()})
    return weights


def trained_run(network: Candidate) -> TrialRecord | ConfirmedRun:
    """The training that its weights are of: of a confirmed network that with its first seed."""
    return network.confirmed.runs[0] if network.confirmed else network.trial


def trained_network(record: StudyRecord, network: Candidate) -> tuple[nn.Module, bytes]:
    """The network with the weights that it was trained to, in evaluation mode, and their file;
    StorageError if they are missing or not this network's."""
    architecture, kept = network.trial.architecture, trained_run(network).weights
    # More than any such file has: float32 parameters, as many buffers, and torch's own headers.
    most = 8 * architecture.parameters + 16_384 * len(architecture.layers)
    try:
        weights = read_weights(kept, record.artifact_dir, record.name, record.storage, most)
        return load_weights(architecture, weights), weights
    except StorageError as error:
        named = f"trial {network.trial.number} of study {record.name!r}"
        raise StorageError(f"{named}: {error}") from None


def load_weights(architecture: Architecture, weights: bytes) -> nn.Module:
    """The network with these weights; StorageError unless they are its own, as torch saves them."""
    network = build_network(architecture)
    try:
        network.load_state_dict(torch.load(io.BytesIO(weights), weights_only=True))
    except Exception:  # torch.load has no one error for a file that is not weights
        said = f"the stored weights are damaged, or not those of {format_notation(architecture)}"
        raise StorageError(said) from None
    return network.eval()


def _source(record: StudyRecord, network: Candidate) -> str:
    architecture, facts = network.trial.architecture, _facts(record, network)
    dataset, normalization = record.spec.dataset, record.normalization
    return module_source(architecture, dataset, normalization, facts, record.class_names)


def _facts(record: StudyRecord, network: Candidate) -> dict[str, str]:
    """What the file's docstring says of the network beside its layers."""
    trial, known, confirmed, diverged = network
    spec, run = record.spec, trained_run(network)
    images = "5 in 6" if spec.train_samples is None else f"{spec.train_samples:,}"
    named, data = f"{record.name}, trial {trial.number}", f"training images of {spec.dataset}"
    validation = f"{spread_text(known.mean, known.sd)} %, estimated from all runs"
    epochs = f"{spec.epochs}, peak learning rate {trial.peak_learning_rate:g}"
    versions = ", ".join(f"{name} {text}" for name, text in record.versions.items())
    made = {"date": run.finished, "versions": versions}
    if confirmed is None:
        why = f"it diverged with {counted(diverged, 'fresh seed')}" if diverged else "unconfirmed"
        return {
            "study": f"{named}, seed {run.seed}",
            "trained": f"on {images} of the {data}",
            **{"epochs": epochs, "validation": validation},
            "test": f"{run.test_accuracy:.2f} % after the final epoch: one run, {why}",
            **made,
        }
    return {
        "study": f"{named}, confirmed with seed {run.seed}",
        "trained": f"on {confirmed.images or 'all'} {data}",
        **{"epochs": epochs, "search": f"validation {validation}, on {images} of those images"},
        "test": f"{run.test_accuracy:.2f} % with this seed, after the final epoch",
        **{"confirmed": confirmed_text(confirmed), **made},
    }


def module_source(
    network: Architecture,
    dataset: str,
    normalization: Sequence[float],
    facts: Mapping[str, str],
    class_names: Sequence[str] = (),
) -> str:
    """The text of the module file, which loads the weights file of its own name; `facts`: what its
    docstring says beside the layers, by name; `class_names`: what it answers, in place of numbers.
    """
    folder = DATASETS.get(dataset)
    rows, made = named_layer_rows(network), []
    for name, cost in zip(layer_names(network.layers), network.costs, strict=True):
        made += cost.layer.made(name, cost.input_shape)
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    table = [
        "  ".join([f"    {name:<{first}}", *map(str.rjust, cells, widths)]) for name, *cells in rows
    ]
    needed = (cost.layer.functions(cost.input_shape) for cost in network.costs)
    functions = dict.fromkeys(text for texts in needed for text in texts)
    title = f"A network of {network.parameters:,} parameters for the images of {dataset}."
    return render(
        "exported.txt",
        **{"title": plain(title), "table": "\n".join(table)},
        **{"folder": folder, "light_on_dark": dataset in _LIGHT_ON_DARK},
        facts="\n".join(f"    {name + ':':<12}{plain(text)}" for name, text in facts.items()),
        **{"classes": network.classes, "last": network.classes - 1, "views": network.views},
        class_names="".join(f"    {name!a},\n" for name in class_names),
        **{"mean": normalization[0], "std": normalization[1]},
        functions="".join(f"\n\n{text}" for text in functions),
        layers=indent("\n".join(made), " " * 8),
        forward=indent("\n".join(forward_lines(network.layers)), " " * 8),
    )
