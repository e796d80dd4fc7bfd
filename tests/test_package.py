"""What is shipped: a wheel from the source distribution, which works outside the source tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SHIPPED = ("nas_mnist", "pyproject.toml", "README.md", "LICENSE", "CHANGES.md", "MANIFEST.in")
# As of setuptools itself: pip's way, which needs no isolated environment and so no network.
BUILD = """
import sys
from setuptools import build_meta
getattr(build_meta, f"build_{sys.argv[1]}")(sys.argv[2])
"""


def run(folder: Path, *command: str | Path, **variables: str) -> str:
    """What the command prints, without this source tree on its path."""
    known = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=folder,
        env=known | variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that is built from the source distribution alone."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "source").mkdir()
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "source" / name)
    build = (sys.executable, "-c", BUILD)
    run(folder / "source", *build, "sdist", folder)
    (archive,) = folder.glob("*.tar.gz")
    assert archive.name == f"nas_mnist-{PROJECT['version']}.tar.gz"
    shutil.unpack_archive(archive, folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    assert {"LICENSE", "CHANGES.md", "README.md"} <= {file.name for file in unpacked.iterdir()}
    run(unpacked, *build, "wheel", folder)
    (made,) = folder.glob("*.whl")
    return made


def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_has_all_files_of_the_package(wheel: Path) -> None:
    files = (ROOT / "nas_mnist").rglob("*")
    own = {str(file.relative_to(ROOT)) for file in files if file.is_file()}
    with ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
        (license_file,) = (name for name in archive.namelist() if name.endswith("/LICENSE"))
        assert archive.read(license_file) == (ROOT / "LICENSE").read_bytes()
    assert shipped == {name for name in own if "__pycache__" not in name}


def test_the_wheel_says_whose_it_is(wheel: Path) -> None:
    said = metadata(wheel)
    assert said["License-Expression"] == "MIT"
    assert said["Author"] == "The nas-mnist maintainers"
    assert said["Keywords"].startswith("neural architecture search,")
    assert "Operating System :: POSIX :: Linux" in said.get_all("Classifier", [])
    assert set(said.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])


def test_the_changes_begin_with_this_version() -> None:
    headings = [
        line for line in (ROOT / "CHANGES.md").read_text().splitlines() if line.startswith("## ")
    ]
    assert headings[0] == f"## {PROJECT['version']}"


def test_an_installed_wheel_works_elsewhere(wheel: Path, tmp_path: Path) -> None:
    """With the dependencies that are here, and none of the source tree."""
    folder = tmp_path / "installed"
    install = ("install", "--quiet", "--no-deps", "--no-index", "--target", folder, wheel)
    run(tmp_path, sys.executable, "-m", "pip", *install)
    command, where = folder / "bin" / "nas-mnist", {"PYTHONPATH": str(folder)}
    code = "import nas_mnist; print(nas_mnist.__file__)"
    found = run(tmp_path, sys.executable, "-c", code, **where)
    assert found.strip() == str(folder / "nas_mnist" / "__init__.py")
    assert run(tmp_path, command, "--version", **where) == f"{PROJECT['version']}\n"
    shown = run(tmp_path, command, "inspect", "a7-no-dropout-7884", "--json", **where)
    assert json.loads(shown)["parameters"] == 7884
    # Its texts that are no Python are found too.
    code = (
        "import nas_mnist, nas_mnist.report.export as export\n"
        "network = nas_mnist.parse_notation('c4-g-c10k1')\n"
        "print(len(export.module_source(network, 'mnist', (0.1, 0.3), {})))"
    )
    assert int(run(tmp_path, sys.executable, "-c", code, **where)) > 1000
