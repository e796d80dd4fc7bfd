"""The trainer on real data: it learns, repeats itself, and says when it cannot."""

from __future__ import annotations

import statistics

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from nas_mnist.errors import DivergedError, RequestError
from nas_mnist.networks.architecture import parse_notation
from nas_mnist.networks.layers.deskew import deskew
from nas_mnist.training.datasets import Dataset, Images, split_dataset
from nas_mnist.training.device import resolve_device
from nas_mnist.training.recipe import Augmentation, Recipe, derived_seed
from nas_mnist.training.runs import mean_and_sd, train_runs
from nas_mnist.training.trainer import EpochRecord, Trainer, logits

CPU = torch.device("cpu")
SMALL = parse_notation("c6rn-m2-c8rnx0.05-m2-c10rn-g-c10k1")


def trained(dataset: Dataset, recipe: Recipe, seed: int = 0, samples: int = 600) -> Trainer:
    train, validation = split_dataset(dataset, 0, samples)
    return Trainer(
        SMALL,
        recipe,
        train,
        validation,
        normalization=dataset.normalization,
        seed=seed,
        device=CPU,
    )


def untimed(records: list[EpochRecord]) -> list[EpochRecord]:
    return [record._replace(seconds=0) for record in records]


def test_it_learns_real_mnist(mnist: Dataset) -> None:
    records = list(trained(mnist, Recipe(epochs=3, batch_size=64), samples=5000))
    assert [record.epoch for record in records] == [1, 2, 3]
    assert records[-1].accuracy >= 92  # 94.3 to 95.5 over five seeds
    assert records[-1].train_loss < records[0].train_loss / 2


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw", "learning_rate": 0.02},
        {"schedule": "step", "step_epochs": 1},
        {"schedule": "cyclic", "step_epochs": 2},
        {"schedule": "constant", "momentum": 0.0},
        {"label_smoothing": 0.1},
        {"augmentation": {"shear": 10, "brightness": 0.2, "contrast": 0.2}},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())) or "default",
)
def test_every_recipe_learns(digits: Dataset, changes: dict[str, object]) -> None:
    recipe = Recipe(epochs=4, batch_size=32).changed(changes)
    records = list(trained(digits, recipe, samples=1000))
    assert records[-1].accuracy >= 60  # ten classes: guessing gives 10


def test_one_seed_gives_one_run(digits: Dataset) -> None:
    recipe = Recipe(epochs=2, batch_size=32)
    first, second = trained(digits, recipe), trained(digits, recipe)
    torch.manual_seed(99)  # what runs before or between does not matter
    records = list(first)
    torch.rand(7)
    assert untimed(records) == untimed(list(second))
    for ours, theirs in zip(
        first.network.state_dict().values(), second.network.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert untimed(list(trained(digits, recipe, seed=1))) != untimed(records)


@pytest.mark.parametrize("epochs", [0.0, 0.25, 10.0])
def test_the_network_is_an_average_over_steps(digits: Dataset, epochs: float) -> None:
    """Of the trained weights as the optimizer leaves them: a mean over all steps while there are
    few, an exponential one over `average_epochs` later."""
    seen: list[list[torch.Tensor]] = []

    def keep(optimizer: torch.optim.Optimizer, *_: object) -> None:
        weights = optimizer.param_groups[0]["params"]
        seen.append([weight.detach().clone() for weight in weights])

    hook = register_optimizer_step_post_hook(keep)
    try:
        recipe = Recipe(epochs=2, batch_size=20, average_epochs=epochs)  # 30 steps an epoch
        trainer = trained(digits, recipe)
        list(trainer)
    finally:
        hook.remove()
    assert len(seen) == 60
    horizon = max(1.0, 30 * epochs)
    for place, ours in enumerate(trainer.network.parameters()):
        average = seen[0][place]
        for step, weights in enumerate(seen[1:], start=2):
            share = 1 / min(step, horizon)
            average = (1 - share) * average + share * weights[place]
        if epochs == 10:
            mean = torch.stack([weights[place] for weights in seen]).mean(dim=0)
            assert torch.allclose(average, mean, atol=1e-5)
        assert torch.allclose(ours, average, atol=1e-5)


def test_averaging_steadies_the_curve(mnist: Dataset) -> None:
    """At a constant high rate, where the trained network itself jumps about."""
    curves = {}
    for epochs in (0.0, 0.5):
        recipe = Recipe(
            epochs=6, learning_rate=0.3, schedule="constant", average_epochs=epochs, batch_size=64
        )
        curves[epochs] = [record.accuracy for record in trained(mnist, recipe, samples=2000)]
    for figure in (min, statistics.fmean):
        assert figure(curves[0.5][2:]) > figure(curves[0.0][2:])


def test_images_are_made_upright_before_they_are_augmented(digits: Dataset) -> None:
    """The network is the one that upright images give to the layers behind."""
    train, held_out = split_dataset(digits, 0, 320)
    pixels = deskew(train.images.float(), sized=True).round().clamp(0, 255).to(torch.uint8)
    settings = {"normalization": digits.normalization, "seed": 3, "device": torch.device("cpu")}
    found = []
    for notation, images in (
        ("u1-v-c6rn-g-c10k1", train),
        ("c6rn-g-c10k1", Images(pixels, train.labels)),
    ):
        architecture, recipe = parse_notation(notation), Recipe(epochs=1, batch_size=32)
        trainer = Trainer(architecture, recipe, images, held_out, **settings)
        list(trainer)
        found.append(list(trainer.network.parameters()))
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


def test_torchs_generator_is_left_alone(digits: Dataset) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    list(trained(digits, Recipe(epochs=1, batch_size=32)))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_the_learning_rate_reaches_the_optimizer(digits: Dataset) -> None:
    recipe = Recipe(epochs=3, batch_size=32, learning_rate=0.1)
    rates = [record.learning_rate for record in trained(digits, recipe)]
    assert rates[-1] == pytest.approx(0.0001)
    assert rates[0] > rates[1] > rates[2]


def test_a_diverging_network_says_so(digits: Dataset) -> None:
    recipe = Recipe(epochs=3, batch_size=32, learning_rate=100, warm_up=0, weight_decay=1)
    with pytest.raises(DivergedError, match=r"after epoch 1 .*lower the learning rate"):
        list(trained(digits, recipe))


def test_fewer_images_than_a_batch(digits: Dataset) -> None:
    records = list(trained(digits, Recipe(epochs=2), samples=20))
    assert len(records) == 2


def test_accuracy_is_that_of_the_logits(digits: Dataset) -> None:
    trainer = trained(digits, Recipe(epochs=1, batch_size=32, augmentation=Augmentation()))
    (record,) = list(trainer)
    _, validation = split_dataset(digits, 0)
    right = (
        (
            logits(trainer.network, validation, digits.normalization).argmax(dim=1)
            == validation.labels
        )
        .double()
        .mean()
    )
    assert record.accuracy == pytest.approx(100 * float(right))


def test_runs_of_several_seeds(digits: Dataset) -> None:
    recipe = Recipe(epochs=2, batch_size=64)
    *_, runs = train_runs(SMALL, recipe, digits, [4, 5], CPU)
    assert [run.seed for run in runs] == [4, 5]
    for run in runs:
        assert len(run.curve) == 2
        assert run.test_accuracy == run.curve[-1].accuracy
        assert run.last4_min == min(record.accuracy for record in run.curve)


def test_mean_and_sd() -> None:
    assert mean_and_sd([99.0, 99.2, 99.4]) == (pytest.approx(99.2), pytest.approx(0.2))
    assert mean_and_sd([99.0]) == (99.0, None)


def test_derived_seeds_differ_and_stay() -> None:
    assert derived_seed(0, 1) == 1_390_763_824
    assert len({derived_seed(seed, number) for seed in range(50) for number in range(50)}) == 2500


@pytest.mark.parametrize("name", ["tpu", "cuda:99", "gpu", "", "meta"])
def test_devices_that_are_not_here(name: str) -> None:
    with pytest.raises(RequestError, match="is not usable here"):
        resolve_device(name)


def test_auto_is_some_device() -> None:
    assert resolve_device("auto").type in ("cpu", "cuda")
