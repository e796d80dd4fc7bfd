"""A PostgreSQL server of the tests' own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PASSWORD = "not-to-be-shown"


@contextmanager
def server() -> Iterator[str]:
    """Run a server on a port of 127.0.0.1, with a password; the URL of its database."""
    with tempfile.TemporaryDirectory(prefix="nas-mnist-postgres-") as made:
        folder = Path(made)
        (folder / "password").write_text(PASSWORD)
        if os.geteuid() == 0:  # which PostgreSQL refuses to run as
            shutil.chown(folder, "postgres")
            shutil.chown(folder / "password", "postgres")
        data, log, port = folder / "data", folder / "log", _free_port()
        _run(
            *("initdb", "-D", data, "-U", "tester", "--no-sync", "--no-locale", "-E", "UTF8"),
            *("-A", "scram-sha-256", f"--pwfile={folder / 'password'}"),
        )
        options = f"-F -p {port} -c listen_addresses=127.0.0.1 -k {folder}"
        _run("pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "start")
        try:
            yield f"postgresql+psycopg://tester:{PASSWORD}@127.0.0.1:{port}/postgres"
        finally:
            _run("pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")


def _run(program: str, *arguments: str | Path) -> None:
    command = [_program(program), *map(str, arguments)]
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/", check=False
    )
    assert done.returncode == 0, f"{program}: {done.stderr}"


def _program(name: str) -> str:
    """Debian keeps the server's programs out of the path."""
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(places[-1]) if places else None)
    assert found, "the tests need PostgreSQL: apt-get install postgresql"
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
