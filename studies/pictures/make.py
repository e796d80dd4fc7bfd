"""Draw the pictures of the README: a report, a dashboard, and a terminal while it searches.

python studies/pictures/make.py results/mnist-8k -o results/pictures
"""

from __future__ import annotations

import io
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "pruner_simulation"))

from rich.console import Console
from rich.text import Text
from script import Parser, at_least, run

from nas_mnist.errors import NasMnistError, RequestError
from nas_mnist.execution.records import load_studies

_PORT = 8123
_DEMO = ("nas-mnist", "search", "--dataset", "digits", "--budget", "2000", "--trials", "30")
_COLUMNS = 100
# What rich writes before it draws a live panel anew: the lines of the one before, erased.
_REDRAWN = re.compile(r"\r\x1b\[2K(?:\x1b\[1A\x1b\[2K)+")


def main() -> None:
    parser = Parser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("study", type=Path, help="folder with a study.db and its report.html")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--seconds", type=at_least(1), default=90, help="of the search on digits")
    asked = parser.parse_args()
    for file in (asked.study / "study.db", asked.study / "report.html"):
        if not file.is_file():
            raise RequestError(f"there is no {file}")
    asked.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        screen = terminal([*_DEMO], asked.seconds, Path(folder))
        (asked.output / "terminal.svg").write_text(screen, "utf-8")
        page = (asked.study / "report.html").resolve().as_uri()
        photograph(page, asked.output / "report.png", Path(folder))
        dashboard(asked.study / "study.db", asked.output / "dashboard.png", Path(folder))


def terminal(command: list[str], seconds: int, folder: Path) -> str:
    """What the command shows after so many seconds, as an SVG; then it is stopped."""
    parent, child = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(_COLUMNS), "LINES": "40", "TERM": "xterm-256color"}
    streams = {"stdin": child, "stdout": child, "stderr": child}
    process = subprocess.Popen(command, cwd=folder, env=environment, **streams)
    os.close(child)
    end, written = time.monotonic() + seconds, b""
    try:
        while time.monotonic() < end:
            written += os.read(parent, 1 << 16)
    except OSError:  # it has ended
        pass
    process.send_signal(signal.SIGINT)
    while process.poll() is None:  # what nobody reads would keep it waiting
        try:
            os.read(parent, 1 << 16)
        except OSError:
            process.wait()
    os.close(parent)
    lines, *frames = _REDRAWN.split(written.decode("utf-8", "replace").replace("\r\n", "\n"))
    if not frames:
        raise NasMnistError(f"{' '.join(command)} showed nothing in {seconds} seconds")
    before = lines.partition("\x1b[?25l")[0]  # the cursor is hidden before the first panel
    last = frames[-1] if "\n" in frames[-1] else frames[-2]  # it may have been cut short
    console = Console(record=True, width=_COLUMNS, file=io.StringIO())
    console.print(Text.from_ansi(f"$ {' '.join(command)}\n{before}{last}"))
    return console.export_svg(title="nas-mnist")


def dashboard(database: Path, picture: Path, folder: Path) -> None:
    """Optuna's dashboard of the study."""
    copy = folder / "study.db"  # serving it writes the project's own figures into it
    shutil.copy(database, copy)
    (record,) = load_studies(f"sqlite:///{copy}")
    number = record.storage.get_study_id_from_name(record.name)
    address = f"http://127.0.0.1:{_PORT}/dashboard"
    served = ["nas-mnist", "dashboard", record.name, "--storage", f"sqlite:///{copy}"]
    with subprocess.Popen([*served, "--port", str(_PORT)], stdout=subprocess.DEVNULL) as process:
        try:
            _wait_for(address, process)
            photograph(f"{address}/studies/{number}", picture, folder)
        finally:
            process.send_signal(signal.SIGINT)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(address).close()
            return
        except urllib.error.URLError:
            time.sleep(0.2)
    raise NasMnistError(f"nothing answers at {address}")


def photograph(address: str, picture: Path, folder: Path) -> None:
    """The top of the page as Chromium shows it."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise RequestError("pictures of pages need Chromium: apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    options += [f"--user-data-dir={folder / 'profile'}", "--window-size=1280,960"]
    options += ["--virtual-time-budget=20000", f"--screenshot={picture.resolve()}", address]
    subprocess.run([browser, *options], check=True, capture_output=True, timeout=120)


if __name__ == "__main__":
    run(main)
