"""Pages looked at in headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from PIL import Image


class Seen(NamedTuple):
    """A page once its scripts have run."""

    dom: str
    console: list[str]
    """what its scripts said, errors among it"""


def look(url: str, folder: Path) -> Seen:
    """The page as Chromium has it, without any network but this machine's own."""
    done = _browse(url, folder, "--dump-dom")
    return Seen(done.stdout, [line for line in done.stderr.splitlines() if ":CONSOLE" in line])


def photograph(url: str, folder: Path) -> Image.Image:
    """The page as its user sees it, 1400 by 3000 pixels."""
    file = folder / "page.png"
    _browse(url, folder, f"--screenshot={file}")
    with Image.open(file) as picture:
        return picture.convert("RGB")


def _browse(url: str, folder: Path, *wanted: str) -> subprocess.CompletedProcess[str]:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser, "looking at pages needs Chromium: apt-get install chromium"
    return subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={folder / 'profile'}", "--proxy-server=127.0.0.1:9"),
            *("--enable-logging=stderr", "--window-size=1400,3000"),
            *("--virtual-time-budget=20000", *wanted, url),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
