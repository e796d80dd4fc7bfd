"""Where epochs went: counted on a real search, and on trials whose end is known."""

from __future__ import annotations

from pathlib import Path

import pytest
from optuna.trial import TrialState, create_trial

from nas_mnist.execution.creation import make_study
from nas_mnist.execution.records import StudyRecord
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.networks.architecture import parse_notation
from nas_mnist.report.front_table import epoch_usage, spending_text
from nas_mnist.search.space import DEFAULT
from tests.conftest import Search

CURVE = [{"epoch": epoch, "val_accuracy": 90.0} for epoch in range(1, 16)]
_RATE = {"peak_learning_rate": DEFAULT.distributions["peak_learning_rate"]}


@pytest.fixture
def record(tmp_path: Path) -> StudyRecord:
    """Three complete trials, two of them exempt, and two stopped."""
    settings = SearchConfig(study="demo", storage=f"sqlite:///{tmp_path}/demo.db", trials=1)
    record = make_study(settings, (0.1, 0.3), [])
    weights = {"artifact": "none", "artifact_dir": ""}
    common = {"seed": 1, "test_accuracy": 90.0, "weights": weights}
    for width, accuracy, more in (
        (4, 98.0, {}),
        (8, 90.0, {"exempt": True, "would_be_pruned": {"epoch": 2}}),
        (12, 99.0, {"exempt": True, "would_be_pruned": {"epoch": 1}}),
    ):
        notation = f"c{width}r-m2-g-c10k1"
        record.study.add_trial(
            create_trial(
                values=[parse_notation(notation).parameters, accuracy],
                params={"peak_learning_rate": 0.1},
                distributions=_RATE,
                user_attrs={**common, **more, "notation": notation, "curve": CURVE},
            )
        )
    for epochs in (1, 8):
        record.study.add_trial(
            create_trial(state=TrialState.PRUNED, user_attrs={"curve": CURVE[:epochs]})
        )
    return record


def test_known_ends(record: StudyRecord) -> None:
    spent = epoch_usage(record)
    assert spent.epochs == 3 * 15 + 1 + 8
    assert spent.epochs_unpruned == 5 * 15
    assert spent.stopped == {1: 1, 8: 1}
    assert (spent.exempt, spent.spared, spent.wrongful) == (2, 2, 1)


def test_in_words(record: StudyRecord) -> None:
    assert spending_text(record) == (
        "54 of 75 epochs run; stopped: 1 after epoch 1, 1 after epoch 8; 2 trials ran to the "
        "end to check on the pruner: it would have stopped 2, 1 of them wrongly."
    )


def test_in_words_where_no_trial_is_exempt(tmp_path: Path) -> None:
    settings = SearchConfig(study="demo", storage=f"sqlite:///{tmp_path}/none.db", trials=1)
    nothing = make_study(settings, (0.1, 0.3), [])
    assert spending_text(nothing) == "0 of 0 epochs run; no trial was exempt from stopping."


def test_of_a_real_search(digits_search: Search) -> None:
    record = digits_search.record()
    spent = epoch_usage(record)
    curves = [trial.user_attrs["curve"] for trial in record.trials()]
    assert spent.epochs == sum(map(len, curves))
    assert spent.epochs_unpruned == 12 * 4
    assert sum(spent.stopped.values()) == record.counts().pruned
    assert spent.wrongful <= spent.spared <= spent.exempt
