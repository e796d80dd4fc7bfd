"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas_mnist.errors import RequestError

if TYPE_CHECKING:
    from nas_mnist.execution.launcher import Engine

Study = Annotated[str, typer.Argument(help="Name of the study.", show_default=False)]
Target = Annotated[
    str,
    typer.Argument(help="A notation, a reference's name, or STUDY:TRIAL.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Storage = Annotated[
    str | None,
    typer.Option(
        help="Database URL of the study.",
        envvar="NAS_MNIST_STORAGE",
        show_default="sqlite:///studies/STUDY.db",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the image files.", show_default="$NAS_MNIST_DATA, else the cache"),
]
Dataset = Annotated[str, typer.Option(help="mnist, fashion-mnist, kmnist or digits.")]
Workers = Annotated[
    int | None,
    typer.Option(help="Processes of one thread.", show_default="one a core"),
]
Ray = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS", help="Let Ray place the workers: auto, or HOST:PORT of a cluster's head."
    ),
]
WorkerGpus = Annotated[
    float, typer.Option(min=0, help="GPUs of a worker with --ray; 0.25 puts four on one.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
RecipeSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        metavar="KEY=VALUE",
        help="A training setting, such as batch_size=64 or augmentation.rotation=10; repeatable.",
    ),
]


@contextmanager
def placing(ray: str | None, worker_gpus: float) -> Iterator[Engine]:
    """What places the workers: this machine, or the Ray cluster at that address."""
    if ray is None:
        if worker_gpus:
            raise RequestError("--worker-gpus goes with --ray; here all workers share the GPU")
        from nas_mnist.execution.launcher import LocalEngine

        yield LocalEngine()
        return
    try:
        from nas_mnist.execution.ray_launcher import ray_engine
    except ModuleNotFoundError:
        raise RequestError("--ray needs Ray: pip install 'nas-mnist[ray]'") from None
    with ray_engine(ray, worker_gpus) as engine:
        yield engine
