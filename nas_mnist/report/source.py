"""The text of an exported network's module file.

It is generated from the architecture value, layer by layer; no text of a study's database reaches
it but what `_plain` lets through into its docstring.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nas_mnist.execution.confirmation import Candidate, Confirmed
from nas_mnist.execution.records import StudyRecord
from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.layers import forward_lines, layer_names
from nas_mnist.report.tables import spread_text
from nas_mnist.training.recipe import DATASETS


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the file's docstring says of the network beside its layers."""

    facts: tuple[tuple[str, str], ...]
    """name and text, a line each"""

    @classmethod
    def of(cls, record: StudyRecord, network: Candidate) -> Provenance:
        trial, confirmed = network
        spec = record.spec
        images = "5 in 6" if spec.train_samples is None else f"{spec.train_samples:,}"
        epochs = f"{spec.epochs}, peak learning rate {trial.peak_learning_rate:g}"
        validation = f"{trial.val_accuracy:.2f} % after the final epoch"
        versions = ", ".join(f"{name} {text}" for name, text in record.versions.items())
        facts: tuple[tuple[str, str], ...]
        if confirmed is None:
            facts = (
                ("study", f"{record.name}, trial {trial.number}, seed {trial.seed}"),
                ("trained", f"on {images} of the training images of {spec.dataset}"),
                ("epochs", epochs),
                ("validation", validation),
                (
                    "test",
                    f"{trial.test_accuracy:.2f} % after the final epoch: one run, unconfirmed",
                ),
                ("date", trial.finished),
            )
        else:
            run = confirmed.runs[0]
            facts = (
                ("study", f"{record.name}, trial {trial.number}, confirmed with seed {run.seed}"),
                ("trained", f"on all training images of {spec.dataset}"),
                ("epochs", epochs),
                ("search", f"validation {validation}, on {images} of those images"),
                ("test", f"{run.test_accuracy:.2f} % with this seed, after the final epoch"),
                ("confirmed", confirmed_text(confirmed)),
                ("date", run.finished),
            )
        return cls((*facts, ("versions", versions)))


def confirmed_text(confirmed: Confirmed) -> str:
    """What may be quoted of a network, in a line."""
    seeds = f"{len(confirmed.runs)} seeds" if len(confirmed.runs) > 1 else "one seed"
    text = (
        f"{spread_text(confirmed.mean, confirmed.sd)} % over {seeds}, "
        f"at least {confirmed.last4_min:.2f} % over the last 4 epochs"
    )
    return text + (f"; {confirmed.diverged} more diverged" if confirmed.diverged else "")


def module_source(
    architecture: Architecture,
    dataset: str,
    normalization: tuple[float, float],
    provenance: Provenance,
) -> str:
    """The text of the module file, which loads the weights file of its own name. Run, it classifies
    a picture, or tests itself on the files of its dataset, if that one comes as files.

    `normalization`: mean and standard deviation of the training pixels, from 0 to 1.
    """
    mean, std = normalization
    folder = DATASETS[dataset].folder if dataset in DATASETS else None
    return _TEMPLATE.format(
        title=f"A network of {architecture.parameters:,} parameters for the images of {dataset}.",
        usage=(_USAGE_OF_FILES if folder else _USAGE).format(folder=folder),
        argument="FOLDER_OR_PICTURE" if folder else "PICTURE",
        gzip="import gzip\n" if folder else "",
        read_idx=_READ_IDX.format(folder=folder) if folder else "",
        main=_MAIN_OF_FILES if folder else _MAIN,
        table=_table(architecture),
        facts="\n".join(_fact(name, text) for name, text in provenance.facts),
        mean=repr(float(mean)),
        std=repr(float(std)),
        layers="\n".join(_layers(architecture)),
        forward="\n".join(f"        {line}" for line in forward_lines(architecture.layers)),
    )


def _table(architecture: Architecture) -> str:
    rows = [("layer", "output shape", "parameters", "receptive field")]
    rows += [
        (
            name,
            "×".join(map(str, cost.output_shape)),
            f"{cost.parameters:,}" if cost.parameters else "",
            str(cost.receptive_field),
        )
        for name, cost in zip(layer_names(architecture.layers), architecture.costs, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "    "
        + "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _fact(name: str, text: str) -> str:
    return f"    {name + ':':<12}{_plain(text)}"


def _plain(text: str) -> str:
    """Text that cannot end a docstring, start an escape or leave its line."""
    return re.sub(r"[^A-Za-z0-9 .,:;%+_/()±-]", "?", text)


def _layers(architecture: Architecture) -> list[str]:
    """What makes the trained layers and dropouts, a statement a line."""
    return [
        f"        {statement}"
        for name, cost in zip(layer_names(architecture.layers), architecture.costs, strict=True)
        for statement in cost.layer.made(name, cost.input_shape)
    ]


_USAGE = """\
Run it on a picture, light on a dark ground:

    python FILE.py picture.png"""

_USAGE_OF_FILES = """\
Run it on the folder of the test files, or on a picture that is light on dark as they are:

    python FILE.py path/to/{folder}/raw
    python FILE.py picture.png"""

_READ_IDX = '''
def read_idx(folder: Path, name: str, header: int) -> Tensor:
    """The bytes behind the header of an IDX file, plain or gzipped."""
    for file in (folder / name, folder / "{folder}" / "raw" / name):
        if file.exists():
            return torch.frombuffer(bytearray(file.read_bytes()[header:]), dtype=torch.uint8)
        if (zipped := file.with_name(name + ".gz")).exists():
            data = gzip.decompress(zipped.read_bytes())
            return torch.frombuffer(bytearray(data[header:]), dtype=torch.uint8)
    raise SystemExit(f"{{folder}}: no {{name}} in it")

'''

_MAIN = """\
    print(int(classify(load(), read_picture(path))))
"""

_MAIN_OF_FILES = """\
    network = load()
    if not path.is_dir():
        print(int(classify(network, read_picture(path))))
        return
    images = read_idx(path, "t10k-images-idx3-ubyte", 16).view(-1, 1, 28, 28)
    labels = read_idx(path, "t10k-labels-idx1-ubyte", 8)
    correct = int((classify(network, images) == labels).sum())
    print(f"{100 * correct / len(labels):.2f} % of {len(labels):,} test images")
"""

_TEMPLATE = '''"""{title}

{table}

{facts}

{usage}
"""

{gzip}import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

WEIGHTS = Path(__file__).with_suffix(".pt")
MEAN, STD = {mean}, {std}  # of the training pixels, from 0 to 1


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
{layers}

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 10) of normalized images (batch, 1, 28, 28)."""
{forward}
        return x.flatten(1)


def load(weights: Path = WEIGHTS) -> Network:
    """The trained network, ready to classify."""
    network = Network()
    network.load_state_dict(torch.load(weights, weights_only=True))
    return network.eval()


def normalize(images: Tensor) -> Tensor:
    """Pixels from 0 to 255 as the network expects them: float32 about zero."""
    return (images.float() / 255 - MEAN) / STD


@torch.inference_mode()
def classify(network: Network, images: Tensor) -> Tensor:
    """The class, 0 to 9, of each image (n, 1, 28, 28), of pixels from 0 to 255: (n,)."""
    batches = images.split(1000)
    return torch.cat([network(normalize(batch)).argmax(dim=1) for batch in batches])

{read_idx}
def read_picture(file: Path) -> Tensor:
    """A picture of any size as one image: (1, 1, 28, 28)."""
    try:
        from PIL import Image
    except ImportError:
        raise SystemExit("reading pictures needs pillow: pip install pillow") from None
    try:
        picture = Image.open(file).convert("L").resize((28, 28))
    except OSError as error:
        raise SystemExit(f"{{file}}: {{error.strerror or error}}") from None
    return torch.tensor(list(picture.tobytes()), dtype=torch.uint8).view(1, 1, 28, 28)


def main(path: Path) -> None:
    if not WEIGHTS.exists():
        raise SystemExit(f"{{WEIGHTS}}: no weights; keep them beside this file")
{main}

if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {{sys.argv[0]}} {argument}")
    main(Path(sys.argv[1]))
'''
