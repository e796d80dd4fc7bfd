"""Workers placed by Ray over the machines of a cluster."""

from __future__ import annotations

import logging
import math
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from nas_mnist.errors import RequestError, WorkerError, reason
from nas_mnist.execution.launcher import Launcher, Order, Worker, order_of, work
from nas_mnist.execution.spec import SearchConfig, parse_url
from nas_mnist.processes import ONE_THREAD

_CONNECT_SECONDS = 10


@contextmanager
def ray_launcher(address: str, gpus: float) -> Iterator[RayLauncher]:
    """Workers of the Ray cluster at `address`, each with a core and so many GPUs; WorkerError if
    none answers there."""
    try:
        where = re.fullmatch(r"(?:ray://)?(.+):(\d+)", address)
        if where:  # where nobody listens Ray itself waits for minutes
            socket.create_connection((where[1], int(where[2])), _CONNECT_SECONDS).close()
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, OverflowError) as error:
        # Ray's own words are advice on its own options; of a cluster that is there, they say why.
        line = reason(error) if isinstance(error, OSError) else str(error)
        why = f" ({line.strip().partition(chr(10))[0]})" if where else ""
        way_out = "start one with `ray start --head`, or name its address with --ray HOST:PORT"
        raise WorkerError(f"--ray {address}: no cluster answers{why}; {way_out}") from None
    try:
        yield RayLauncher(gpus)
    finally:
        ray.shutdown()


@dataclass
class RayLauncher(Launcher):
    """Places each worker where the cluster has room, and waits where it has none yet."""

    gpus: float

    @property
    def slots(self) -> int:
        shares = _cluster("GPU") / self.gpus if self.gpus else math.inf
        return max(1, int(min(_cluster("CPU"), shares)))

    def check(self, config: SearchConfig) -> str:
        if config.device == "cuda" and not self.gpus:
            raise RequestError("--device cuda with --ray: say with --worker-gpus what a worker has")
        if self.gpus and not _cluster("GPU"):
            raise RequestError(f"--worker-gpus {self.gpus:g}: the cluster has no GPU")
        return "cuda" if self.gpus else config.device

    def start(self, config: SearchConfig, job: str) -> Worker:
        return _Actor(self.gpus, order_of(_for_any_folder(config), job))


class _Actor(Worker):
    def __init__(self, gpus: float, order: Order) -> None:
        environment = dict(ONE_THREAD)
        if data := os.environ.get("NAS_MNIST_DATA"):
            environment["NAS_MNIST_DATA"] = _absolute(data)
        # Two threads: one works, the other hears that it is to stop.
        options: Any = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": 0, "max_concurrency": 2}
        actor: Any = ray.remote(**options, runtime_env={"env_vars": environment})(_RayActor)
        self._actor = actor.remote()
        self._placed = self._actor.__ray_ready__.remote()
        self._done = self._actor.run.remote(order)

    def ended(self) -> tuple[int, str] | None:
        if not ray.wait([self._done], timeout=0)[0]:
            return None
        try:
            ended: tuple[int, str] = ray.get(self._done)
        except ray.exceptions.RayTaskError as failure:  # what a process would have died of
            return 1, str(failure).strip().splitlines()[-1]
        except ray.exceptions.RayError:  # its process, or the whole node
            return -signal.SIGKILL, "workers of the cluster die; see its logs"
        ray.kill(self._actor)
        return ended

    def stop(self) -> None:
        if ray.wait([self._placed], timeout=0)[0]:
            self._actor.stop.remote()
        else:  # nowhere yet, it could not hear
            self.kill()

    def kill(self) -> None:
        ray.kill(self._actor)


class _RayActor:
    def __init__(self) -> None:
        self._stopped = threading.Event()

    def run(self, order: Order) -> tuple[int, str]:
        def keep_going() -> None:
            if self._stopped.is_set():
                raise KeyboardInterrupt

        return work(order, keep_going)

    def stop(self) -> None:
        self._stopped.set()


def _cluster(resource: str) -> float:
    """How much of a resource the cluster has."""
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return resources.get(resource, 0.0)


def _for_any_folder(config: SearchConfig) -> SearchConfig:
    """The request with absolute paths: workers run in folders of their own."""
    url = parse_url(config.storage)
    if url.get_backend_name() == "sqlite" and url.database:
        url = url.set(database=_absolute(url.database))
    return config.changed(
        storage=url.render_as_string(hide_password=False),
        data_dir=config.data_dir and _absolute(config.data_dir),
        artifact_dir=config.artifact_dir and _absolute(config.artifact_dir),
    )


def _absolute(path: str) -> str:
    return str(Path(path).resolve())
