"""Every command of the README, run as it stands there but for its size."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import SECONDS, runner

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
TINY = ("--trials", "2", "--epochs", "1", "--train-samples", "100", "--seeds", "1")
TINIEST = (*TINY, "--no-confirm")

PUBLISHED = "--storage sqlite:///results/mnist-8k/study.db"
# What is added to a command, so that it takes seconds, in the order in which they are run: the
# study of the main job is there for those that follow.
ADDED = {
    "nas-mnist search --budget 8000 --trials 200": TINY,
    "nas-mnist search --dataset digits --budget 2000 --trials 30": TINY,
    "nas-mnist search --config studies/quick-look.toml": (*TINIEST, "--study", "quick"),
    "nas-mnist front STUDY": (),
    "nas-mnist inspect TARGET": (),
    "nas-mnist train TARGET --seeds 3": (),
    "nas-mnist explain TARGET": ("--seeds", "2"),
    "nas-mnist export STUDY -o net.py": (),
    "nas-mnist report STUDY -o page.html": (),
    "nas-mnist compare A B": (),
    "nas-mnist references": (),
    f"nas-mnist front mnist-8k --max-parameters 5000 {PUBLISHED}": (),
    f"nas-mnist export mnist-8k --at-least 99.3 -o small.py {PUBLISHED}": (),
    "nas-mnist search --study together --budget 8000 --trials 200": TINIEST,
}
# Those that other tests run whole.
ELSEWHERE = {
    "nas-mnist dashboard mnist-8000",  # tests/report/test_dashboard_extras.py
}
STUDY = "mnist-8000"
NAMES = {"STUDY": STUDY, "TARGET": "digits-2000", "A": STUDY, "B": STUDY}


def test_no_command_is_left_out() -> None:
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    lines = [line for kind, block in blocks if not kind for line in block.splitlines()]
    found = {part.strip() for line in lines for part in line.split("&&") if "nas-mnist" in part}
    found |= set(re.findall(r"`(nas-mnist [^`]*)`", README))
    commands = {text.removeprefix(".venv/bin/") for text in found if "pip install" not in text}
    assert commands == ADDED.keys() | ELSEWHERE


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What of the project its commands read."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "results" / "mnist-8k", folder / "results" / "mnist-8k")
    (folder / "studies").mkdir()
    shutil.copy(ROOT / "studies" / "quick-look.toml", folder / "studies")
    return folder


@pytest.mark.parametrize("text", ADDED)
def test_a_command(text: str, clone: Path) -> None:
    _, *arguments = [NAMES.get(word, word) for word in shlex.split(text)]
    done = runner(clone)(*arguments, *ADDED[text])
    assert done.code == 0, done.err
    if arguments[0] == "search" and "--study" not in arguments:
        check_results(clone, re.search(r"study (\S+):", done.err)[1])  # type: ignore[index]


def check_results(clone: Path, study: str) -> None:
    """What the README says there is."""
    listed = README.partition("`runs/mnist-8000/` holds")[2].partition("\n\n!")[0]
    names = set(re.findall(r"`([a-z]+\.[a-z]+)`", listed))
    assert names >= {"front.csv", "report.html", "winner.py"}
    assert {file.name for file in (clone / "runs" / study).iterdir()} == names


def test_python(tmp_path: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    small = "trials=2, epochs=1, train_samples=100, seeds=1)"
    assert code.count("trials=30)") == 1
    (tmp_path / "script.py").write_text(code.replace("trials=30)", small))
    run = [sys.executable, "-W", "error", "script.py"]
    done = subprocess.run(
        run, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs").exists() is False  # files are the command line's


def test_a_picture_is_read(clone: Path, tmp_path: Path) -> None:
    """`python winner.py digit.png`, with the published winner."""
    from PIL import Image, ImageDraw

    assert "`python winner.py digit.png`" in README
    for file in (clone / "results" / "mnist-8k").glob("winner.*"):
        shutil.copy(file, tmp_path)
    picture = Image.new("L", (28, 28))
    ImageDraw.Draw(picture).line((14, 5, 14, 22), fill=255, width=3)
    picture.save(tmp_path / "digit.png")
    run = [sys.executable, "winner.py", "digit.png"]
    done = subprocess.run(
        run, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_its_length() -> None:
    """Words: what has a letter or a digit."""
    assert sum(bool(re.search(r"\w", word)) for word in README.split()) <= 1300
