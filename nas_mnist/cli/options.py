"""Options that several commands share, and those of `search`, which are the fields of its
configuration."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas_mnist.errors import RequestError
from nas_mnist.execution.spec import SearchConfig
from nas_mnist.lookup import import_plugin

if TYPE_CHECKING:
    from nas_mnist.execution.launcher import Launcher


def _import_plugins(modules: list[str] | None) -> list[str] | None:
    for module in modules or []:
        import_plugin(module)
    return modules


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
ArtifactDir = Annotated[
    str | None,
    typer.Option(
        help="Folder of all weights.", show_default="STUDY/artifacts by an SQLite file; the server"
    ),
]
ResultsDir = Annotated[
    str | None, typer.Option(help="Where STUDY/front.csv and the rest go.", show_default="results")
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the image files.", show_default="$NAS_MNIST_DATA, else the cache"),
]
Dataset = Annotated[
    str, typer.Option(help="mnist, fashion-mnist, kmnist, digits, or MODULE:ATTRIBUTE.")
]
TrainSamples = Annotated[int | None, typer.Option(help="Training images.", show_default="all")]
FirstSeed = Annotated[int, typer.Option(min=0, max=2**31 - 1, help="The first seed.")]
Workers = Annotated[
    int | None, typer.Option(help="Processes of one thread.", show_default="one a core")
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
Precision = Annotated[
    str, typer.Option(help="auto (what the device is best at), float32 or bfloat16.")
]
RecipeSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        metavar="KEY=VALUE",
        help="A training setting, such as batch_size=64 or augmentation.rotation=10; repeatable.",
    ),
]
Plugins = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE",
        envvar="NAS_MNIST_PLUGINS",
        help="Import a module of your own first: its layers are then known; repeatable.",
        callback=_import_plugins,
        is_eager=True,
    ),
]

# What the options of `search` have as their default where it is worked out from others.
_DERIVED = {
    "study": "DATASET-BUDGET",
    "storage": "sqlite:///studies/STUDY.db",
    "artifact_dir": "STUDY/artifacts by an SQLite file; the server",
    "data_dir": "$NAS_MNIST_DATA, else the cache",
    "train_samples": "all that do not validate",
    "workers": "one a core",
    "confirm": "confirm",
}
# Fields that are options of another form.
_OWN_FORM = {
    "recipe": RecipeSettings,
    "plugins": Plugins,
    "limits": Annotated[
        list[str] | None,
        typer.Option(
            "--limit",
            metavar="COST=MOST",
            help="Limit another cost of a network too, such as macs=500000; repeatable.",
        ),
    ],
    "config": Annotated[
        Path | None, typer.Option(help="TOML preset; the command line overrides it.")
    ],
    "ray": Ray,
    "worker_gpus": WorkerGpus,
    "as_json": Json,
}
_DEFAULTS = {"worker_gpus": 0, "as_json": False}


def with_search_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that takes `**options` an option for every field of SearchConfig, and those
    of where and how to run. An option that is not given is None."""
    parameters = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_DEFAULTS.get(name),
            annotation=_OWN_FORM.get(name) or _option(name),
        )
        for name in dict.fromkeys([*SearchConfig.model_fields, *_OWN_FORM])
    ]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return command


def _option(name: str) -> Any:
    field = SearchConfig.model_fields[name]
    flag = f"--{name.replace('_', '-')}"
    flags = (f"{flag}/--no-{name}",) if field.annotation is bool else (flag,)
    shown = _DERIVED.get(name, str(field.default))
    kind = field.annotation or str
    return Annotated[
        kind | None,
        typer.Option(
            *flags,
            help=field.description,
            show_default=shown,
            envvar="NAS_MNIST_STORAGE" if name == "storage" else None,
        ),
    ]


def parse_limits(texts: list[str] | None) -> dict[str, int]:
    """Limits from `COST=MOST` texts; RequestError for others."""
    limits = {}
    for text in texts or []:
        name, equals, most = text.partition("=")
        if not equals or not most.replace("_", "").isdecimal():
            raise RequestError(f"--limit {text!r} is not COST=MOST, such as macs=500000")
        limits[name] = int(most)
    return limits


def launching(ray: str | None, worker_gpus: float) -> AbstractContextManager[Launcher]:
    """What starts the workers: this machine, or the Ray cluster at that address."""
    if ray is None:
        if worker_gpus:
            raise RequestError("--worker-gpus goes with --ray; here all workers share the GPU")
        from nas_mnist.execution.launcher import LocalLauncher

        return nullcontext(LocalLauncher())
    try:
        from nas_mnist.execution.ray_launcher import ray_launcher
    except ModuleNotFoundError:
        raise RequestError("--ray needs Ray: pip install 'nas-mnist[ray]'") from None
    return ray_launcher(ray, worker_gpus)
