"""What the health checks say of real studies."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import create_trial

from nas_mnist.execution.creation import make_study
from nas_mnist.execution.records import StudyRecord, load_study
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.report import health
from nas_mnist.report.health import Check

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, StudyRecord]:
    """The published ones; copied, as opening one may write to it."""
    folder, found = tmp_path_factory.mktemp("studies"), {}
    for name, published in (("mnist-8k", "mnist-8k-plain"), ("unpruned", "unpruned")):
        shutil.copy(RESULTS / published / "study.db", folder / f"{name}.db")
        found[name] = load_study(name, f"sqlite:///{folder}/{name}.db")
    return found


def numbers(check: Check) -> list[float]:
    return [float(text.replace(",", "")) for text in re.findall(r"\d[\d,]*\.?\d*", check.said)]


@pytest.mark.parametrize(
    ("name", "check", "good", "said"),
    [
        ("mnist-8k", health.model_check, True, "Held out, 164 trials came within"),
        ("unpruned", health.model_check, None, "Held out, 24 reruns came within"),
        ("mnist-8k", health.pruning_check, True, "It saved 422 of 3,000 epochs (14%)."),
        ("unpruned", health.pruning_check, None, "This search did not prune."),
        ("mnist-8k", health.start_check, False, "better with a probability of 75%"),
        ("unpruned", health.start_check, False, "The winner, trial 1, is one of those."),
        ("mnist-8k", health.range_check, True, "The 20 best trials"),
        ("unpruned", health.range_check, True, "The 8 best trials"),
    ],
)
def test_published_studies(
    studies: dict[str, StudyRecord],
    name: str,
    check: Callable[[StudyRecord], Check],
    good: bool | None,
    said: str,
) -> None:
    found = check(studies[name])
    assert (found.good, said in found.said) == (good, True), found


def test_the_models_errors_are_told(studies: dict[str, StudyRecord]) -> None:
    """Less than half a point, and smaller than without the model."""
    for record in studies.values():
        _, missed, otherwise, *_ = numbers(health.model_check(record))
        assert 0.03 < missed < otherwise < 0.3


def test_what_the_start_is_beaten_by(studies: dict[str, StudyRecord]) -> None:
    assert "For 8 of the 9 that it began with" in health.start_check(studies["mnist-8k"]).said
    assert "For none of the 9 that it began with" in health.start_check(studies["unpruned"]).said


def crowded(folder: Path, best: float) -> StudyRecord:
    """Trials whose accuracy at their size depends on the learning rate alone: most are near the
    `best` share of its range, as a sampler's are."""
    settings = SearchConfig(study="demo", storage=f"sqlite:///{folder}/demo.db", trials=1)
    record = make_study(settings, (0.1, 0.3), [])
    kinds = {"peak_learning_rate": FloatDistribution(0.05, 0.8, log=True)}
    kinds |= {"convolutions_2": IntDistribution(1, 3)}
    for index in range(40):
        away = (index / 39) ** 3
        share = best + away * ((index % 2) - best)
        own = {"peak_learning_rate": min(0.05 * 16**share, 0.8), "convolutions_2": 1}
        values = [1000 + 97 * (index * 7 % 40), 99 - 5 * away]
        record.study.add_trial(create_trial(values=values, params=own, distributions=kinds))
    return record


@pytest.mark.parametrize(
    ("best", "good", "said"),
    [
        (1.0, False, "peak learning rate (8 of 8 at the upper end, 0.8)"),
        (0.0, False, "peak learning rate (8 of 8 at the lower end, 0.05)"),
        (0.5, True, "crowd at no end"),
    ],
    ids=["upper", "lower", "between"],
)
def test_a_range_that_is_exhausted(tmp_path: Path, best: float, good: bool, said: str) -> None:
    """All have the fewest convolutions there can be, which is no end that could be moved."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found = health.range_check(crowded(tmp_path, best))
    assert (found.good, said in found.said) == (good, True), found
    assert "convolutions" not in found.said


def test_too_few_trials_cannot_tell(tmp_path: Path) -> None:
    settings = SearchConfig(study="demo", storage=f"sqlite:///{tmp_path}/demo.db", trials=1)
    record = make_study(settings, (0.1, 0.3), [])
    assert health.model_check(record).good is None
    assert health.range_check(record).good is None
