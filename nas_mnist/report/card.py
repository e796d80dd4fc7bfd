"""The model card of an exported network: what it is, how to load it, how it was trained, and what
may be said of its accuracy, under the headings that model hubs use."""

from collections.abc import Mapping
from keyword import iskeyword
from pathlib import Path
from shlex import quote

from nas_mnist.execution.confirmation import Candidate, Confirmed, ConfirmedRun
from nas_mnist.execution.records import StudyRecord, TrialRecord
from nas_mnist.networks.architecture import Architecture, format_notation
from nas_mnist.networks.layers import layer_names
from nas_mnist.networks.references import references
from nas_mnist.report import writing
from nas_mnist.report.tables import counted, last_epochs_text, markdown_table, spread_text
from nas_mnist.report.templates import plain, render

# What the images of a dataset are, and who published them.
_IMAGES = {
    "mnist": (
        "MNIST: handwritten digits, 60,000 to train on and 10,000 to test on.",
        "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-Based Learning Applied to Document "
        "Recognition, 1998",
    ),
    "fashion-mnist": (
        "Fashion-MNIST: pieces of clothing, 60,000 to train on and 10,000 to test on.",
        "H. Xiao, K. Rasul, R. Vollgraf: Fashion-MNIST: a Novel Image Dataset for Benchmarking "
        "Machine Learning Algorithms, 2017",
    ),
    "kmnist": (
        "KMNIST: handwritten Japanese characters, 60,000 to train on and 10,000 to test on.",
        "T. Clanuwat, M. Bober-Irizar, A. Kitamoto, A. Lamb, K. Yamamoto, D. Ha: Deep Learning for "
        "Classical Japanese Literature, 2018",
    ),
    "digits": (
        "The handwritten digits that scikit-learn bundles, enlarged from 8×8.",
        "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, 1998",
    ),
}


_BEGINS = b"---\ntags: [nas-mnist"


def may_write_card(file: Path) -> bool:
    """Whether it is not there, or is a card that was written here: nobody's notes are replaced."""
    if not file.exists():
        return True
    with writing(file):
        return file.is_file() and file.read_bytes().startswith(_BEGINS)


def named_layer_rows(network: Architecture) -> list[tuple[str, ...]]:
    """A row a layer, by its name in an exported file; the headings first."""
    rows: list[tuple[str, ...]] = [("layer", "output shape", "parameters", "receptive field")]
    for name, cost in zip(layer_names(network.layers), network.costs, strict=True):
        count = f"{cost.parameters:,}" if cost.parameters else ""
        rows.append((name, "×".join(map(str, cost.output_shape)), count, str(cost.receptive_field)))
    return rows


def model_card(
    record: StudyRecord,
    network: Candidate,
    run: TrialRecord | ConfirmedRun,
    file: Path,
    *,
    onnx: bool,
) -> str:
    """The card of a study's network that is exported as `file`, with the weights of `run`; `onnx`:
    whether an ONNX file lies beside it. In Markdown."""
    trial, _, confirmed, diverged = network
    spec, dataset = record.spec, plain(record.spec.dataset)
    architecture, name = trial.architecture, file.stem
    module, load = name, f"import {name}"
    if not name.isidentifier() or iskeyword(name):
        module = "exported"
        load = f"import importlib\n\nexported = importlib.import_module({name!r})"
    same = [own.name for own in references().values() if own.architecture == architecture]
    images, source = _IMAGES.get(spec.dataset, (f"Images of {dataset}.", None))
    made_by = f"The nas-mnist maintainers: nas-mnist {plain(record.versions.get('nas-mnist'))}"
    return render(
        "card.txt",
        confirmed=bool(confirmed),
        diverged=diverged and counted(diverged, "fresh seed"),
        name=name,
        file=file.name,
        quoted=quote(file.name),
        weights=file.with_suffix(".pt").name,
        onnx=onnx and file.with_suffix(".onnx").name,
        module=module,
        load=load,
        dataset=dataset,
        parameters=f"{architecture.parameters:,}",
        classes=architecture.classes,
        hand_made=f" Its layers are those of `{same[0]}`, made by hand." if same else "",
        details=_pairs("property", _details(record, architecture)),
        images=images,
        trained_on=_trained_on(record, confirmed),
        procedure=_pairs("setting", _procedure(record, trial, run)),
        evaluation=_pairs("accuracy", _evaluation(network, run)),
        study=plain(f"{record.name} --trial {trial.number}"),
        architecture=markdown_table(named_layer_rows(architecture), ["---", *["---:"] * 3]),
        citation="\n".join(f"- {text}" for text in (made_by, source) if text),
    )


def _pairs(heading: str, values: Mapping[str, object]) -> str:
    rows = [(heading, "value"), *((name, str(value)) for name, value in values.items())]
    return markdown_table(rows, ["---", "---"])


def _details(record: StudyRecord, network: Architecture) -> dict[str, object]:
    mean, std = record.normalization
    grey = "(batch, 1, 28, 28) float32, grey pixels from 0 to 1"
    return {
        "parameters": f"{network.parameters:,}",
        "multiply-accumulates an image": f"{network.macs:,}",
        "receptive field": f"{network.receptive_field} pixels",
        "input": f"{grey}, less their mean {mean:.6f}, divided by their deviation {std:.6f}",
        "output": f"logits (batch, {network.classes})",
        "notation": f"`{format_notation(network)}`",
    }


def _trained_on(record: StudyRecord, confirmed: Confirmed | None) -> str:
    """Which of the training images."""
    if confirmed:
        return f"This network was trained on {confirmed.images or 'all'} of the training images."
    count = record.spec.train_samples
    images = "five in six" if count is None else f"{count:,}"
    return f"This network was trained on {images} of the training images; one in six validated it."


def _procedure(
    record: StudyRecord, trial: TrialRecord, run: TrialRecord | ConfirmedRun
) -> dict[str, object]:
    recipe = record.spec.trial_recipe(trial.peak_learning_rate)
    momentum = f", Nesterov momentum {recipe.momentum:g}" if recipe.optimizer == "sgd" else ""
    drawn = {name: value for name, value in recipe.augmentation.as_dict().items() if value}
    return {
        "study": f"{plain(record.name)}, trial {trial.number}",
        "epochs": recipe.epochs,
        "batch size": recipe.batch_size,
        "optimizer": f"{plain(recipe.optimizer)}{momentum}, weight decay {recipe.weight_decay:g}",
        "learning rate": f"{recipe.schedule}, at most {recipe.learning_rate:g}",
        "label smoothing": f"{recipe.label_smoothing:g}",
        "augmentation": ", ".join(f"{name} {value:g}" for name, value in drawn.items()) or "none",
        "weights": f"moving average over {recipe.average_epochs:g} epochs"
        if recipe.average_epochs
        else "those after the last step",
        "precision": plain(record.spec.precision),
        "seed": run.seed,
        "date": run.finished,
        "versions": plain(", ".join(f"{name} {text}" for name, text in record.versions.items())),
    }


def _evaluation(network: Candidate, run: TrialRecord | ConfirmedRun) -> dict[str, object]:
    """Accuracies, by what they are of."""
    _, known, confirmed, _ = network
    found: dict[str, object] = {}
    if confirmed:
        seeds = f"{counted(len(confirmed.runs), 'seed')}"
        seeds += f", {confirmed.diverged} more diverged" if confirmed.diverged else ""
        last = last_epochs_text(len(confirmed.runs[0].curve))
        found[f"test, mean ± standard deviation of {seeds}"] = spread_text(
            confirmed.mean, confirmed.sd
        )
        found[f"test, lowest of {last} of any seed"] = f"{confirmed.last4_min:.2f}"
    found[f"test, of these weights, seed {run.seed}"] = f"{run.test_accuracy:.2f}"
    found["validation, estimated from all runs of the search, ± how sure"] = spread_text(
        known.mean, known.sd
    )
    return {name: f"{value} %" for name, value in found.items()}
