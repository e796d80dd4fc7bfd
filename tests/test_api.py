"""The search from Python: plain scripts in fresh processes, without a main guard."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch
from optuna.trial import TrialState

import nas_mnist
from nas_mnist.errors import RequestError, StudyError
from nas_mnist.execution.launcher import order_of
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.lookup import GIVEN
from nas_mnist.training.datasets import data_folder
from tests.conftest import SECONDS, Search, run_process
from tests.execution.finished import check_finished, trials, url_of, wait_for_complete

SETTINGS = (
    'dataset="digits", budget=1500, study="demo", epochs=3, train_samples=200, confirm=False, '
    "workers=2"
)
SCRIPT = f"""
import nas_mnist

study = nas_mnist.search({SETTINGS}, trials=TRIALS)
frame = study.to_pandas()
assert len(frame) == TRIALS and frame.on_front.sum() == len(study.front())
winner = study.winner()
network = winner.load()
print(sum(weights.numel() for weights in network.parameters()), winner.export("made/winner.py"))
"""
# Everything that a script may define itself, and hand over as an object.
OBJECTS = """
import optuna
import torch
import nas_mnist


class Never:
    rungs = (1,)

    def stop(self, curve, rivals):
        return None


base = nas_mnist.load_dataset("digits")
small = nas_mnist.Dataset.of(
    "halved", base.train.images // 2, base.train.labels, base.test.images, base.test.labels
)
study = nas_mnist.search(
    small, 1500, 3, sampler=optuna.samplers.RandomSampler, pruner=Never(), study="demo",
    epochs=1, train_samples=200, confirm=False, workers=2, progress=False,
)
print(sorted(study.to_pandas().state.unique()), study.normalization[0] < base.normalization.mean)
"""


def run(folder: Path, text: str, *, from_stdin: bool = False) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(text)
    arguments = ["-"] if from_stdin else ["script.py"]
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments],
        cwd=folder,
        input=text if from_stdin else None,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


@pytest.mark.parametrize("from_stdin", [False, True], ids=["script", "standard input"])
def test_a_plain_script(tmp_path: Path, from_stdin: bool) -> None:
    done = run(tmp_path, SCRIPT.replace("TRIALS", "3"), from_stdin=from_stdin)
    assert done.returncode == 0, done.stderr
    assert "3/3 trials" in done.stderr  # it shows progress
    parameters, weights = done.stdout.split()
    assert int(parameters) <= 1500
    assert (tmp_path / weights).exists()
    check_finished(url_of(tmp_path), 3)


CALLBACK = """
import json


def log(study, trial):
    with open("log.jsonl", "a") as file:
        told = study.study_name, trial.number, len(trial.user_attrs["curve"])
        file.write(json.dumps(told) + "\\n")


def fails(study, trial):
    raise OSError("no room\\nleft")
"""


def test_each_trial_is_told_to_a_callback(tmp_path: Path) -> None:
    """Once, as it ends, and not again when the search goes on; by name and as a function. One that
    fails ends the search, and nothing is lost."""
    (tmp_path / "mine.py").write_text(CALLBACK)
    settings = "--dataset digits --budget 1500 --study demo --train-samples 100 --workers 2"
    asked = ("search", *settings.split(), "--epochs", "1", "--no-confirm")
    done = run_process(tmp_path, *asked, "--trials", "3", "--callback", "mine:log")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert sorted(lines) == [["demo", number, 1] for number in range(3)]

    failed = run_process(tmp_path, *asked, "--trials", "5", "--callback", "mine:fails")
    assert failed.code == 1
    message = (
        r"error: the callback failed at trial (\d): OSError: no room left \(mine.py, line 12\); "
    )
    found = re.match(message, failed.err.splitlines()[-1])
    assert found and int(found[1]) in (3, 4)

    script = "import mine, nas_mnist\nnas_mnist.search(study='demo', trials=6, callback=mine.log)"
    finished = sum(trial.state.is_finished() for trial in trials(url_of(tmp_path)))
    said = run(tmp_path, script)
    assert said.returncode == 0, said.stderr
    check_finished(url_of(tmp_path), 6, epochs=1)
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3 + 6 - finished


def test_ctrl_c_keeps_what_is_finished(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    (tmp_path / "script.py").write_text(SCRIPT.replace("TRIALS", "20"))
    with subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as script:
        wait_for_complete(script, url_of(tmp_path))
        script.send_signal(signal.SIGINT)
        _, err = script.communicate(timeout=60)
    assert err.rstrip().endswith("KeyboardInterrupt")
    found = trials(url_of(tmp_path))
    assert TrialState.RUNNING not in [trial.state for trial in found]
    kept = [trial for trial in found if trial.state.is_finished()]
    assert kept
    count = len(kept) + 1
    assert run(tmp_path, SCRIPT.replace("TRIALS", str(count))).returncode == 0
    assert [trials(url_of(tmp_path))[trial.number] for trial in kept] == kept


def test_objects_of_the_script_itself(tmp_path: Path) -> None:
    done = run(tmp_path, OBJECTS)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == "['complete'] True\n"
    again = run_process(tmp_path, "confirm", "demo")
    assert again.code == 2
    assert "'given:" in again.err and "was an object in Python; go on from there" in again.err


def test_a_study_of_the_command_line(digits_search: Search, tmp_path: Path) -> None:
    url = f"sqlite:///{digits_search.folder}/studies/demo.db"
    study = nas_mnist.load_study("demo", url)
    winner = study.winner()
    assert re.fullmatch(r"<trial \d+ of demo, [\d,]+ parameters>", repr(winner))
    assert max(len(repr(trial)) for trial in study.front()) < 2000  # without its curve
    frame = study.to_pandas()
    assert len(frame) == 12
    best = frame[frame.on_front].estimate.max()
    assert winner.candidate.estimate.mean == best
    network = winner.load()
    assert not network.training
    images = nas_mnist.load_dataset("digits").test.images[:5]
    mean, std = study.normalization
    with torch.inference_mode():
        answers = network((images.float() / 255 - mean) / std)
    assert answers.shape == (5, 10)
    assert winner.export(tmp_path / "made.py") == tmp_path / "made.pt"
    number = study.front()[0].number
    assert study.winner(trial=number).candidate.trial.number == number
    with pytest.raises(RequestError, match=r"must end in \.py"):
        winner.export(tmp_path / "made.txt")
    with pytest.raises(StudyError, match="no network that has 100%"):
        study.winner(at_least=100)
    for no_percentage in ("x", True, -5, 200, math.nan):
        with pytest.raises(RequestError, match="at_least must be a percentage from 0 to 100"):
            study.winner(at_least=no_percentage)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "minst"}, "dataset 'minst' is not one of mnist"),
        ({"pruner": "nosuch"}, "--pruner 'nosuch' is not one of prediction"),
        ({"sampler": "nosuch"}, "--sampler 'nosuch' is not one of tpe-spread"),
        ({"sampler": "no_such_module:thing"}, "module 'no_such_module' cannot be imported"),
        ({"sampler": "optuna.samplers:Nothing"}, "optuna.samplers has no 'Nothing'"),
        ({"trials": 0}, "--trials 0 is not within 1"),
        ({"plugins": 5}, "--plugins must be a list, not 5"),
        ({"config": 5}, "--config must be a file, not 5"),
        ({"dataset": 3}, "--dataset given:int: 3 is no Dataset and not callable; name a Dataset"),
        ({"budget": np.int64(90)}, "budget 90 is below the smallest network"),
        ({"no_such_setting": 3}, "unknown setting 'no_such_setting'; known: "),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_wrong_requests(settings: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        nas_mnist.search(**settings)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nas_mnist.load_study(None), "study name None must be"),
        (lambda: nas_mnist.load_dataset(None), "--dataset must be a name or MODULE:ATTRIBUTE"),
        (lambda: nas_mnist.parse_notation(None), "a notation is text such as 'c10rn-g-c10k1', not"),
        (lambda: nas_mnist.build_network(5), "a notation is text such as 'c10rn-g-c10k1', not 5"),
        (lambda: nas_mnist.format_notation("?"), "notation '?': no layer starts with '?'"),
        (lambda: nas_mnist.Architecture(["c"]), "'c' is no Layer; `parse_notation` reads"),
        (lambda: nas_mnist.Architecture(5), "5 is no Layer; `parse_notation` reads"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_values_of_wrong_types(call: Callable[[], object], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        call()
    assert message in str(caught.value)


def test_a_notation_in_place_of_a_network() -> None:
    assert nas_mnist.format_notation("c4-r-n-g-c10k1") == "c4rn-g-c10k1"
    assert len(nas_mnist.build_network("c4rn-g-c10k1")) == 6


def test_names_in_place_of_devices_and_folders(tmp_path: Path) -> None:
    """As one types them in a notebook."""
    data = nas_mnist.load_dataset("mnist", str(data_folder(None)))
    train, validation = nas_mnist.split_dataset(data, 0, 200)
    network, recipe = nas_mnist.parse_notation("c4rn-m2-g-c10k1"), nas_mnist.Recipe(epochs=1)
    own = {"normalization": data.normalization, "device": "cpu"}
    (alone,) = nas_mnist.Trainer(network, recipe, train, validation, seed=0, **own)
    member = nas_mnist.Member(network, recipe, 0)
    (packed,) = nas_mnist.Pack([member], train, validation, **own)
    assert packed[0].train_loss == pytest.approx(alone.train_loss, rel=0.02)
    assert nas_mnist.__version__ == version("nas-mnist")
    assert "__version__" in dir(nas_mnist) and "search" in dir(nas_mnist)


def test_the_parts_of_a_search_from_standard_input(tmp_path: Path) -> None:
    script = """
import nas_mnist
settings = {"budget": 1000, "trials": 2, "epochs": 1, "train_samples": 100, "workers": 2}
config = nas_mnist.SearchConfig(dataset="digits", **settings)
record = nas_mnist.prepare_search(config)
for progress in nas_mnist.run_search(record, config):
    pass
print(progress.counts.finished)
"""
    done = subprocess.run(
        [sys.executable, "-"],
        cwd=tmp_path,
        input=script,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "2\n"


def test_workers_are_sent_what_their_search_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another was given, and cannot be sent, is none of theirs."""
    monkeypatch.setitem(GIVEN, "given:lock", threading.Lock())
    monkeypatch.setitem(GIVEN, "given:five", 5)
    _, _, sent = order_of(SearchConfig(dataset="given:five"), "search")
    assert cloudpickle.loads(sent) == {"given:five": 5}
    with pytest.raises(RequestError, match="an object cannot be sent to worker processes"):
        order_of(SearchConfig(dataset="given:lock"), "search")
