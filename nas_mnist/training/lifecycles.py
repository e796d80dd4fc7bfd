"""The hand-made lifecycles trained here: each step under its author's settings, and what the
measurements say of it."""

from __future__ import annotations

import statistics
from collections.abc import Generator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas_mnist.errors import RequestError
from nas_mnist.networks.architecture import Architecture
from nas_mnist.networks.references import Step, references, steps
from nas_mnist.processes import interrupts_held, process_pool
from nas_mnist.training.recipe import Recipe
from nas_mnist.training.runs import Run, mean_and_sd

# What the write-ups say of none of their steps, and common notebooks of their time do: SGD at 0.01
# with momentum 0.9, batches of 128, nothing else.
_UNPUBLISHED: dict[str, Any] = {
    "batch_size": 128,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "constant",
    "average_epochs": 0.0,
    "augmentation": {"rotation": 0.0, "shift": 0.0, "scale": 0.0},
}
_ROTATION = {"augmentation": {"rotation": 7.0, "shift": 0.0, "scale": 0.0}}
_DROP = {**_ROTATION, "schedule": "step", "step_epochs": 6, "step_factor": 0.1}
# What they do say, by lifecycle and step. Where a step says "OneCycle" or "tuned" and no more, the
# default recipe's schedule and peak stand in.
_PUBLISHED: dict[tuple[str, int], dict[str, Any]] = {
    ("early-14k", 9): _ROTATION,
    ("early-14k", 10): _DROP,
    ("early-20k", 9): _ROTATION,
    ("early-20k", 10): _DROP,
    ("s7-8k", 9): {**_ROTATION, "schedule": "onecycle", "learning_rate": 0.1},
    # Two rotations within 7 degrees each spread as one within 10. OneCycleLR's own defaults.
    ("evai6-10k", 9): {
        "augmentation": {
            "rotation": 10.0,
            "shift": 2.8,
            "scale": 0.2,
            "shear": 10.0,
            "brightness": 0.4,
            "contrast": 0.4,
        },
        "schedule": "onecycle",
        "learning_rate": 0.013,
        "warm_up": 0.3,
        "start_factor": 0.04,
        "end_factor": 1e-4,
    },
    ("a7-8k", 7): {"batch_size": 64},
    ("a7-8k", 8): {"batch_size": 64},
    ("a7-8k", 9): {"batch_size": 64, **_ROTATION},
    ("a7-8k", 10): {
        "batch_size": 64,
        **_ROTATION,
        "schedule": "onecycle",
        "learning_rate": 0.1,
    },
}
# Of the targets that their authors set themselves.
_EPOCHS = {"early-14k": 20, "early-20k": 20}
_USUAL_EPOCHS = 15

# Differences in percent below this are chance: two standard errors of 99.3% of 10,000 images,
# and as much between seeds.
_CHANCE = 0.2
_OVERFIT = 0.3


@dataclass(frozen=True, slots=True)
class Reproduced:
    """A step trained here, with one run a seed."""

    step: Step
    architecture: Architecture
    recipe: Recipe
    runs: tuple[Run, ...]

    @property
    def test_mean(self) -> float:
        """Percent, after the final epoch."""
        return statistics.fmean(run.test_accuracy for run in self.runs)

    @property
    def test_sd(self) -> float | None:
        return mean_and_sd([run.test_accuracy for run in self.runs])[1]

    @property
    def test_best(self) -> float:
        """Percent: the best epoch of the best run, as the authors published."""
        return max(record.accuracy for run in self.runs for record in run.curve)

    @property
    def train_mean(self) -> float:
        """Percent, over the final epoch's augmented images, as the network changed."""
        return statistics.fmean(run.curve[-1].train_accuracy for run in self.runs)

    @property
    def train_best(self) -> float:
        """Percent: the best epoch of the best run."""
        return max(record.train_accuracy for run in self.runs for record in run.curve)


def lifecycle_steps(name: str) -> list[Step]:
    """The steps of the lifecycle of that name; RequestError if there is none."""
    known = sorted({step.lifecycle for step in steps()})
    found = [step for step in steps() if step.lifecycle == name]
    if not found:
        raise RequestError(f"{name!r} is not a lifecycle; there are {', '.join(known)}")
    return found


def step_recipe(step: Step, epochs: int | None = None) -> Recipe:
    """The recipe of a step: what its author published, and where nothing is published SGD at a
    constant 0.01 with momentum 0.9 in batches of 128. `epochs` in place of the author's."""
    own = {"epochs": epochs or _EPOCHS.get(step.lifecycle, _USUAL_EPOCHS)}
    published = _PUBLISHED.get((step.lifecycle, step.number), {})
    return Recipe().changed({**_UNPUBLISHED, **published, **own})


def left_out(step: Step, most_parameters: int | None) -> str | None:
    """Why the step is not to be trained; None if it is."""
    if step.reference is None:
        return "layers not published"
    parameters = references()[step.reference].architecture.parameters
    if most_parameters is not None and parameters > most_parameters:
        return f"left out: over {most_parameters:,} parameters"
    return None


def reproduce(
    wanted: Sequence[Step],
    seeds: Sequence[int],
    workers: int,
    *,
    epochs: int | None = None,
    dataset: str = "mnist",
    data_dir: Path | None = None,
    train_samples: int | None = None,
) -> Generator[Reproduced]:
    """Train the steps with all seeds, up to `workers` of them at a time, on all training images
    (the first `train_samples` if given); each step as it is done."""
    with process_pool(workers, _set_up) as pool:
        with interrupts_held():
            futures = [
                pool.submit(_train, step, epochs, tuple(seeds), dataset, data_dir, train_samples)
                for step in wanted
            ]
        for future in as_completed(futures):
            yield future.result()


def analysis(step: Reproduced, before: Reproduced | None) -> str:
    """What the measurements say of a step, in the terms of its author's own table."""
    said = []
    if before is not None:
        change = step.test_mean - before.test_mean
        size = step.architecture.parameters - before.architecture.parameters
        by = "within chance" if abs(change) < _CHANCE else "more than chance"
        said.append(
            f"test {change:+.2f} against step {before.step.number} ({by})"
            + (f" with {size:+,} parameters" if size else ", same size")
        )
    gap = step.train_mean - step.test_mean
    if gap > _OVERFIT:
        said.append(f"over-fits: train {gap:.2f} above test")
    elif gap < 0:
        said.append(
            f"train {-gap:.2f} below test: regularized or augmented, the capacity is the limit"
        )
    else:
        said.append(f"train {gap:.2f} above test: hardly over-fits")
    if step.train_mean < 99 and gap <= _OVERFIT:
        said.append("under-fits: train below 99")
    drop = step.test_best - step.test_mean
    if drop > _CHANCE:
        said.append(f"unsteady: its best epoch is {drop:.2f} above its last")
    return "; ".join(said)


def _set_up() -> None:
    from nas_mnist.training.device import keep_freed_memory

    keep_freed_memory()


def _train(
    step: Step,
    epochs: int | None,
    seeds: Sequence[int],
    dataset: str,
    data_dir: Path | None,
    train_samples: int | None,
) -> Reproduced:
    from nas_mnist.training.datasets import first_train_samples, load_dataset
    from nas_mnist.training.device import resolve_device
    from nas_mnist.training.runs import train_runs

    assert step.reference is not None
    architecture = references()[step.reference].architecture
    recipe = step_recipe(step, epochs)
    data = first_train_samples(load_dataset(dataset, data_dir), train_samples)
    runs: dict[int, Run] = {}
    for together in train_runs(architecture, recipe, data, seeds, resolve_device("auto")):
        runs |= {run.seed: run for run in together}
    return Reproduced(step, architecture, recipe, tuple(runs.values()))
