"""Pages looked at in headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple


class Seen(NamedTuple):
    """A page once its scripts have run."""

    dom: str
    console: list[str]
    """what its scripts said, errors among it"""


def look(url: str, folder: Path) -> Seen:
    """The page as Chromium has it, without any network but this machine's own."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "looking at pages needs Chromium: apt-get install chromium"
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={folder / 'profile'}", "--proxy-server=127.0.0.1:9"),
            *("--enable-logging=stderr", "--window-size=1400,3000"),
            *("--virtual-time-budget=20000", "--dump-dom", url),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return Seen(done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line])
