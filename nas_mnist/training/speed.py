"""How many images a second are trained on here: the usual loop, and this package's own.

Each measurement runs in processes of its own (`python -m nas_mnist.training.speed`), started
anew each round, the loops in turn, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from nas_mnist.errors import WorkerError
from nas_mnist.networks.architecture import parse_notation
from nas_mnist.training.recipe import Recipe

# Of a 15-epoch trial on MNIST.
TRIAL_IMAGES = 15 * 50_000
_STEPS = 20
_MIB = 2**20
_STOP_SECONDS = 60


class Loop(NamedTuple):
    """A way of training, and how many processes do it at once."""

    name: str
    kind: str
    """`usual`, `eager` or `pack`"""
    processes: int
    threads: int
    members: int = 1
    """networks trained as one"""
    loaders: int = 0
    """DataLoader workers of the usual loop"""


def loops(workers: int, members: int, device: str) -> list[Loop]:
    """What is compared: the whole machine each time."""
    processes = workers if device == "cpu" else 1
    return [
        Loop("usual loop, DataLoader in the process", "usual", 1, workers),
        Loop("usual loop, 2 DataLoader workers", "usual", 1, workers, loaders=2),
        Loop("eager, images resident", "eager", 1, workers),
        Loop("batched, one network a process", "pack", processes, 1),
        Loop(f"batched, packs of {members}", "pack", processes, 1, members),
    ]


@dataclass
class Measured:
    """A loop's measurements, one a round."""

    loop: Loop
    images_per_second: list[float]
    """of all processes together"""
    start_seconds: float = 0.0
    """from a process's start until its first step, at most"""
    peak_memory_mib: float = 0.0
    """of one process, at most"""

    @property
    def median(self) -> float:
        return statistics.median(self.images_per_second)

    def as_dict(self) -> dict[str, Any]:
        rates = [round(rate, 1) for rate in self.images_per_second]
        return {
            **self.loop._asdict(),
            "images_per_second": rates,
            "median": round(self.median, 1),
            "trial_seconds": round(TRIAL_IMAGES / self.median, 1),
            "start_seconds": round(self.start_seconds, 1),
            "peak_memory_mib": round(self.peak_memory_mib),
        }


@dataclass(frozen=True)
class Request:
    """What every process of a benchmark trains."""

    notation: str
    dataset: str
    data_dir: str | None
    device: str
    seconds: float
    """of training in each process and round"""
    recipe: Mapping[str, Any]


def measure(request: Request, wanted: Sequence[Loop], rounds: int) -> Iterator[list[Measured]]:
    """Measure each loop in each round; after every measurement, what is known so far."""
    found = [Measured(loop, []) for loop in wanted]
    for _ in range(rounds):
        for measured in found:
            _measure_once(request, measured)
            yield found


def _measure_once(request: Request, measured: Measured) -> None:
    loop = measured.loop
    start = time.monotonic()
    threads = {"OMP_NUM_THREADS": str(loop.threads), "MKL_NUM_THREADS": str(loop.threads)}
    asked = {**vars(request), "recipe": dict(request.recipe)}
    order = json.dumps({"request": asked, "loop": loop._asdict()})
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "nas_mnist.training.speed", order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **threads},
            text=True,
        )
        for _ in range(loop.processes)
    ]
    try:
        for process in processes:
            _line(process)
            measured.start_seconds = max(measured.start_seconds, time.monotonic() - start)
        for process in processes:
            _line(process)
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        results = [json.loads(_line(process)) for process in processes]
        for process in processes:
            process.wait(_STOP_SECONDS)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    measured.images_per_second.append(sum(result["images_per_second"] for result in results))
    peak = max(result["peak_memory_mib"] for result in results)
    measured.peak_memory_mib = max(measured.peak_memory_mib, peak)


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise WorkerError("a process of the benchmark ended; its error is above")
    return line


def _usual_epochs(request: Request, loop: Loop) -> Iterator[int]:
    """What most people would write: images transformed one by one, batches by a DataLoader.

    Yields once all is made, then the images of each epoch.
    """
    import torch
    from torch.nn import functional
    from torch.utils.data import DataLoader
    from torchvision import transforms

    from nas_mnist.networks.architecture import build_network
    from nas_mnist.training.datasets import load_dataset
    from nas_mnist.training.optimizers import make_optimizer

    recipe = Recipe().changed(request.recipe)
    data = load_dataset(request.dataset, Path(request.data_dir) if request.data_dir else None)
    change, device = recipe.augmentation, torch.device(request.device)
    transform = transforms.Compose(
        [
            transforms.ToPILImage(),  # as torchvision's MNIST hands out its images
            transforms.RandomAffine(
                change.rotation,
                (change.shift / 28, change.shift / 28),
                (1 - change.scale, 1 + change.scale),
            ),
            transforms.ToTensor(),
            transforms.Normalize((data.normalization.mean,), (data.normalization.std,)),
        ]
    )
    images = data.train.images[: _STEPS * recipe.batch_size]
    pairs = [(image, int(label)) for image, label in zip(images, data.train.labels, strict=False)]
    examples: Any = _Transformed(pairs, transform)
    loader: DataLoader[Any] = DataLoader(
        examples,
        recipe.batch_size,
        shuffle=True,
        num_workers=loop.loaders,
        persistent_workers=loop.loaders > 0,
        drop_last=True,
    )
    network = build_network(parse_notation(request.notation)).to(device)
    optimizer = make_optimizer(recipe, network.parameters(), recipe.learning_rate)
    yield 0
    while True:
        for batch, labels in loader:
            loss = functional.cross_entropy(network(batch.to(device)), labels.to(device))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
        yield len(loader) * recipe.batch_size


class _Transformed:
    """Images and labels, transformed when asked for."""

    def __init__(self, pairs: Sequence[tuple[Any, int]], transform: Any) -> None:
        self._pairs = pairs
        self._transform = transform

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image, label = self._pairs[index]
        return self._transform(image), label


def _own_epochs(request: Request, loop: Loop) -> Iterator[int]:
    """The plain trainer, or a pack, on images that stay on the device; as `_usual_epochs`."""
    import torch

    from nas_mnist.training.datasets import Images, load_dataset
    from nas_mnist.training.device import keep_freed_memory
    from nas_mnist.training.pack import Member, Pack
    from nas_mnist.training.trainer import Trainer

    keep_freed_memory()
    recipe = Recipe().changed({**request.recipe, "epochs": 10_000})
    data = load_dataset(request.dataset, Path(request.data_dir) if request.data_dir else None)
    count = _STEPS * recipe.batch_size
    train = Images(data.train.images[:count], data.train.labels[:count])
    held_out = Images(data.test.images[:1], data.test.labels[:1])
    device, architecture = torch.device(request.device), parse_notation(request.notation)
    training: Trainer | Pack
    if loop.kind == "eager":
        training = Trainer(
            architecture,
            recipe.changed({"average_epochs": 0}),  # plain loops do not
            train,
            held_out,
            normalization=data.normalization,
            seed=0,
            device=device,
        )
    else:
        training = Pack(
            [Member(architecture, recipe, seed) for seed in range(loop.members)],
            train,
            held_out,
            normalization=data.normalization,
            device=device,
        )
    yield 0
    for _ in training:
        yield loop.members * (len(train) // recipe.batch_size) * recipe.batch_size


def main() -> int:
    """One process of a measurement: warm up, wait for the word, train, say how fast."""
    order = json.loads(sys.argv[1])
    request, loop = Request(**order["request"]), Loop(**order["loop"])
    epochs = (_usual_epochs if loop.kind == "usual" else _own_epochs)(request, loop)
    for word in ("made", "warm"):
        next(epochs)
        sys.stdout.write(f"{word}\n")
        sys.stdout.flush()
    sys.stdin.readline()
    images, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < request.seconds:
        images += next(epochs)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / _MIB
    result = {"images_per_second": images / seconds, "peak_memory_mib": peak}
    sys.stdout.write(json.dumps(result) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
