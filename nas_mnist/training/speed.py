"""How many images a second are trained on here: the usual loop, and this package's own. Each is
measured in turn, in new processes each round: a machine that slows down slows all of them."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nas_mnist.errors import WorkerError
from nas_mnist.networks.architecture import Architecture, build_network
from nas_mnist.processes import in_processes
from nas_mnist.training.recipe import Recipe

if TYPE_CHECKING:
    from nas_mnist.training.datasets import Dataset

# A dense network, the best that was made by hand within 8,000 parameters, and a separable one, as
# searches end with: the most accurate in results/mnist-8k-plain/front.csv by its estimate.
NETWORKS = (
    "a7-no-dropout-7884",
    "c23rnx0.01-dc33k1rnx0.01-m2-c24k1rnx0.01-dc35k1rnx0.01-dc50k1rnx0.01-m2-dc32k1rnx0.01-g-c10k1",
)
TRIAL_IMAGES = 15 * 50_000  # of a 15-epoch trial on MNIST
_STEPS = 20
_barrier: Barrier  # at which all processes of a measurement begin at once


class Loop(NamedTuple):
    """A way of training, and how many processes do it at once."""

    name: str
    kind: str  # `usual`, `eager` or `pack`
    processes: int
    threads: int
    members: int = 1  # networks trained as one
    loaders: int = 0  # DataLoader workers of the usual loop


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
    images_per_second: list[float]  # of all processes together
    start_seconds: float = 0.0  # from a process's start until its first step, at most
    peak_memory_mib: float = 0.0  # of one process, at most

    @property
    def median(self) -> float:
        return statistics.median(self.images_per_second)

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.loop._asdict(),
            "images_per_second": [round(rate, 1) for rate in self.images_per_second],
            "median": round(self.median, 1),
            "trial_seconds": round(TRIAL_IMAGES / self.median, 1),
            "start_seconds": round(self.start_seconds, 1),
            "peak_memory_mib": round(self.peak_memory_mib),
        }


class Request(NamedTuple):
    """What every process of a benchmark trains."""

    architecture: Architecture
    dataset: str
    data_dir: Path | None
    device: str
    seconds: float  # of training in each process and round
    recipe: Recipe


def measure(request: Request, wanted: Sequence[Loop], rounds: int) -> Iterator[list[Measured]]:
    """Measure each loop in each round; after every measurement, what is known so far."""
    found = [Measured(loop, []) for loop in wanted]
    for _ in range(rounds):
        for measured in found:
            try:
                starts, rates, peaks = zip(*_results(request, measured.loop), strict=True)
            except Exception as error:  # a process may end in any way
                said = " ".join(str(error).split()) or type(error).__name__
                raise WorkerError(f"a process of the benchmark ended: {said}") from error
            measured.images_per_second.append(sum(rates))
            measured.start_seconds = max(measured.start_seconds, *starts)
            measured.peak_memory_mib = max(measured.peak_memory_mib, *peaks)
            yield found


def _results(request: Request, loop: Loop) -> list[tuple[float, float, float]]:
    start, count = time.monotonic(), loop.processes
    barrier = multiprocessing.get_context("spawn").Barrier(count)
    tasks = [(request, loop, start)] * count
    return [own for _, own in in_processes(count, partial(_set_up, barrier), _train, tasks)]


def _set_up(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _train(request: Request, loop: Loop, begun: float) -> tuple[float, float, float]:
    """In a process of its own: warm up, wait for the others, train. Seconds until the first step,
    images a second, and the most memory that the process had, in MiB."""
    import torch

    from nas_mnist.training.datasets import load_dataset

    torch.set_num_threads(loop.threads)
    data, size = load_dataset(request.dataset, request.data_dir), request.recipe.batch_size
    steps = min(_STEPS, len(data.train) // size)
    data = replace(data, train=data.train.at(slice(steps * size)))
    epochs = (_usual_epochs if loop.kind == "usual" else _own_epochs)(request, loop, data)
    next(epochs)
    start_seconds = time.monotonic() - begun
    next(epochs)
    _barrier.wait()
    images, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < request.seconds:
        next(epochs)
        images += loop.members * steps * size
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return start_seconds, images / seconds, peak


def _usual_epochs(request: Request, loop: Loop, data: Dataset) -> Iterator[object]:
    """What most people would write: images transformed one by one, batches by a DataLoader.
    Yields before every epoch."""
    import torch
    from torch.nn import functional
    from torch.utils.data import DataLoader
    from torchvision import transforms

    from nas_mnist.training.trainer import make_optimizer

    recipe, device, change = request.recipe, request.device, request.recipe.augmentation
    shift, scale = change.shift / 28, (1 - change.scale, 1 + change.scale)
    affine = transforms.RandomAffine(change.rotation, (shift, shift), scale)
    normalize = transforms.Normalize((data.normalization.mean,), (data.normalization.std,))
    # From PIL's images, as torchvision's MNIST hands them out.
    steps = [transforms.ToPILImage(), affine, transforms.ToTensor(), normalize]
    transformed = partial(_transformed, transforms.Compose(steps))
    examples: Any = list(zip(data.train.images, data.train.labels.tolist(), strict=True))
    options: Any = {"num_workers": loop.loaders, "persistent_workers": loop.loaders > 0}
    options |= {"shuffle": True, "drop_last": True, "collate_fn": transformed}
    loader: DataLoader[Any] = DataLoader(examples, recipe.batch_size, **options)
    network = build_network(request.architecture).to(device)
    optimizer = make_optimizer(recipe, network.parameters(), recipe.learning_rate)
    while True:
        yield None
        for batch, labels in loader:
            loss = functional.cross_entropy(network(batch.to(device)), labels.to(device))
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()


def _transformed(transform: Any, examples: Sequence[tuple[Any, int]]) -> Any:
    from torch.utils.data import default_collate

    return default_collate([(transform(image), label) for image, label in examples])


def _own_epochs(request: Request, loop: Loop, data: Dataset) -> Iterator[object]:
    """The plain trainer, or a pack, on images that stay on the device; as `_usual_epochs`."""
    from nas_mnist.training.device import keep_freed_memory
    from nas_mnist.training.pack import Member, Pack
    from nas_mnist.training.trainer import Trainer

    keep_freed_memory()
    architecture, recipe = request.architecture, request.recipe.changed({"epochs": 10_000})
    sets = data.train, data.test.at(slice(1))
    where: Any = {"normalization": data.normalization, "device": request.device}
    if loop.kind == "eager":
        plain = recipe.changed({"average_epochs": 0})  # plain loops do not average
        training: Trainer | Pack = Trainer(architecture, plain, *sets, seed=0, **where)
    else:
        members = [Member(architecture, recipe, seed) for seed in range(loop.members)]
        training = Pack(members, *sets, **where)
    yield None
    yield from training
