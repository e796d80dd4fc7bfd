"""Recipes: schedules against torch's own, and settings from untrusted text."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from nas_mnist.errors import RequestError
from nas_mnist.training.recipe import SCHEDULES, Augmentation, Recipe, merged, parse_settings

STEPS = 20


def torch_rates(kind: str, recipe: Recipe) -> list[float]:
    weights = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weights], recipe.learning_rate)
    schedulers = {
        "onecycle": lambda: torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            recipe.learning_rate,
            total_steps=recipe.epochs * STEPS,
            pct_start=recipe.warm_up,
            div_factor=1 / recipe.start_factor,
            final_div_factor=1 / recipe.end_factor,
            cycle_momentum=False,
        ),
        "constant": lambda: torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1),
        "step": lambda: torch.optim.lr_scheduler.StepLR(
            optimizer, recipe.step_epochs * STEPS, recipe.step_factor
        ),
        "cyclic": lambda: torch.optim.lr_scheduler.CyclicLR(
            optimizer,
            recipe.learning_rate * recipe.start_factor,
            recipe.learning_rate,
            step_size_up=recipe.step_epochs * STEPS // 2,
            cycle_momentum=False,
        ),
    }
    scheduler = schedulers[kind]()
    rates = []
    for _ in range(recipe.epochs * STEPS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("kind", ["onecycle", "constant", "step", "cyclic"])
@pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning")
def test_schedules_equal_torchs(kind: str) -> None:
    recipe = Recipe(epochs=13, learning_rate=0.3, schedule=kind)
    expected = torch_rates(kind, recipe)
    assert recipe.learning_rates(STEPS) == pytest.approx(expected, rel=1e-9)


def test_one_cycle_ends_where_it_says() -> None:
    rates = Recipe(learning_rate=0.1).learning_rates(469)
    assert len(rates) == 15 * 469
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) == pytest.approx(0.1)
    assert rates[-1] == pytest.approx(0.0001)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.parametrize("kind", ["onecycle", "constant", "step", "cyclic"])
def test_the_shortest_runs(kind: str, epochs: int, steps: int) -> None:
    rates = Recipe(epochs=epochs, schedule=kind).learning_rates(steps)
    assert len(rates) == epochs * steps
    assert all(0 < rate <= 0.1 for rate in rates)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batchsize": 64}, "recipe: unknown setting 'batchsize'; did you mean batch_size?"),
        ({"augmentation": {"rotate": 7}}, "unknown setting 'rotate'; did you mean rotation?"),
        ({"qqq": 7}, "unknown setting 'qqq'; known: epochs, batch_size"),
        ({"augmentation": 7}, "augmentation must be a table, not 7"),
        ({"batch_size": "many"}, "batch_size must be a whole number, not 'many'"),
        ({"batch_size": 64.5}, "batch_size must be a whole number, not 64.5"),
        ({"batch_size": True}, "batch_size must be a whole number, not True"),
        ({"batch_size": 1}, "batch_size 1 is not within 2 to"),
        ({"learning_rate": "nan"}, "learning_rate nan is not within"),
        ({"learning_rate": -0.1}, "learning_rate -0.1 is not within"),
        ({"epochs": "1e999"}, "epochs must be a whole number"),
        ({"optimizer": "adam"}, "optimizer 'adam' is not one of sgd, adamw"),
        ({"schedule": "cosine"}, "schedule 'cosine' is not one of"),
        ({"augmentation": {"scale": 2}}, "scale 2 is not within 0 to 0.9"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_refusals(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        Recipe().changed(changes)
    assert message in str(caught.value)


def test_settings_from_the_command_line() -> None:
    settings = parse_settings(["batch_size=64", "augmentation.rotation=10", "optimizer=adamw"])
    recipe = Recipe().changed(settings)
    assert recipe == Recipe(
        batch_size=64, optimizer="adamw", augmentation=Augmentation(rotation=10.0)
    )
    assert Recipe().changed(recipe.as_dict()) == recipe
    with pytest.raises(RequestError, match="is not KEY=VALUE"):
        parse_settings(["batch_size"])


def test_later_settings_win_table_by_table() -> None:
    below = {"batch_size": 64, "augmentation": {"rotation": 5, "shear": 3}}
    above = {"augmentation": {"rotation": 10}}
    assert merged(below, above) == {
        "batch_size": 64,
        "augmentation": {"rotation": 10, "shear": 3},
    }


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_longer_training_begins_as_shorter_where_it_is_open_ended(schedule: str) -> None:
    short = Recipe(schedule=schedule, epochs=7)
    long, steps = short.changed({"epochs": 15}), 7 * STEPS
    assert short.open_ended == (long.learning_rates(STEPS)[:steps] == short.learning_rates(STEPS))
    assert long.average_shares(STEPS)[:steps] == short.average_shares(STEPS)
    assert not short.changed({"augmentation": {"plain_epochs": 1}}).open_ended
