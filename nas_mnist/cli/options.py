"""The options of all commands: a parameter of a command finds its own here by its name, and those
of `search` are the fields of its configuration."""

import inspect
from collections.abc import Callable
from copy import copy
from typing import Annotated, Any, get_args

from pydantic import ValidationError
from typer import Argument, BadParameter, Option

from nas_mnist.execution.spec import SearchConfig
from nas_mnist.lookup import import_plugin
from nas_mnist.training.recipe import wanted_kind


def _import_plugins(modules: list[str] | None) -> list[str] | None:
    for module in modules or []:
        import_plugin(module)
    return modules


_STUDY_SHOWN = "The study; all of --storage if there is none."
_WITHIN = "Only networks within N parameters."
_SECOND = "Name of another, of the same dataset."
_STORAGE, _FILE = "Database URL of the studies.", "sqlite:///studies/STUDY.db"
_EPOCHS = "Epochs a run."
_LIFECYCLE = "As `references` lists them."
_DATASET = "mnist, fashion-mnist, kmnist, digits, folder (of --data-dir), or MODULE:ATTRIBUTE."
_PRECISION = "auto (what the device is best at), float32 or bfloat16."
_TARGET = "A notation, a reference's name, STUDY (its winner), or STUDY:TRIAL."
_COMPARE = "Train this network too, and say how they differ; by validation images."
_COMPARE_RECIPE = "A training setting of the network compared with; repeatable."
_EXPLAINED_FILE = "Show what `explain` kept in this explained.json too; repeatable."
_DECISION = "Undo only this one, such as batch-norm; repeatable."
_LARGEST = "More seeds only for the N largest differences so far."
_MOST_PARAMETERS = "Leave out steps with larger networks."
_MOST_ACCURATE = "Also confirm the N networks with the highest validation accuracy."
_AT = "Compare the networks within N parameters; repeatable."
_AT_LEAST = "The smallest network with this accuracy, %, by validation."
_ALSO = "Confirm this completed trial too, and first; repeatable."
_FIRST_SEED = "The first seed; those that --seeds adds follow it."
_GOAL = "Test accuracy to hold, percent."
_CALLBACK = "Call this function of yours with the study and each trial that has ended."
_RAY = "Let Ray place the workers: auto, or HOST:PORT of a cluster's head."
_SPLIT = "Hold out and judge by the validation images, with the trial's own seed unless given."
_REPRODUCED = "Show the retrained networks of this steps.json beside the front; repeatable."
_RECIPE = "A training setting, such as batch_size=64 or augmentation.rotation=10; repeatable."
_LIMIT = "Limit another cost of a network too, such as macs=500000; repeatable."
_WORKERS, _ONE_A_CORE = "Worker processes, of one thread.", "one a core; one on a GPU"
_TIMEOUT = str(SearchConfig.model_fields["timeout"].description)
_PLUGINS: Any = {"envvar": "NAS_MNIST_PLUGINS", "callback": _import_plugins, "is_eager": True}
_PLUGIN = "Import a module of your own first: its layers are then known; repeatable."

# By parameter, or by command and parameter; those that are not here are fields of SearchConfig.
_OPTIONS: dict[str, Any] = {
    "study": Argument(metavar="STUDY", help="Name of the study.", show_default=False),
    "dashboard.study": Argument(metavar="STUDY", help=_STUDY_SHOWN),
    "target": Argument(metavar="TARGET", help=_TARGET, show_default=False),
    "bench.target": Argument(help=f"{_TARGET[:-1]}; by default, a dense and a separable network."),
    "lifecycle": Argument(metavar="LIFECYCLE", help=_LIFECYCLE, show_default=False),
    "as_json": Option("--json", help="Print JSON instead of tables."),
    "reproduce.results_dir": Option(help="Where LIFECYCLE/ goes."),
    "dataset": Option(help=_DATASET),
    "train_samples": Option(help="Training images.", show_default="all"),
    "callback": Option(metavar="MODULE:FUNCTION", help=_CALLBACK),
    "ray": Option(metavar="ADDRESS", help=_RAY),
    "worker_gpus": Option(min=0, help="GPUs of a worker with --ray; 0.25 puts four on one."),
    "seed": Option(min=0, max=2**31 - 1, help=_FIRST_SEED),
    "confirm.seeds": Option(min=1, max=100, help="How many fresh seeds each network is given."),
    "train.seeds": Option(min=1, max=100, help="How many seeds are trained, side by side."),
    "reproduce.seeds": Option(min=1, max=100, help="How many seeds each step is trained with."),
    "explain.lifecycle": Option("--lifecycle", help="Walk from a plain skeleton to the network."),
    "explain.seeds": Option(min=2, max=100, help="How many seeds each variant is trained with."),
    "decision": Option(metavar="NAME", help=_DECISION, show_default="all"),
    "largest": Option(min=1, metavar="N", help=_LARGEST, show_default="all"),
    "explain.dataset": Option(help=_DATASET, show_default="the study's, or mnist"),
    "explain.epochs": Option(min=1, max=10_000, help=_EPOCHS, show_default="the study's"),
    "explain.precision": Option(help=_PRECISION, show_default="the study's, or auto"),
    "explain.figure": Option(help="Also draw the differences: .html, .png or .svg."),
    "explain.results_dir": Option(help="Where TARGET/explained.json and .md go."),
    "train.epochs": Option(min=1, max=10_000, help=_EPOCHS, show_default="the study's, or 15"),
    "train.seed": Option(min=0, max=2**31 - 1, help=_FIRST_SEED, show_default="0"),
    "train.dataset": Option(help=_DATASET, show_default="the study's, or mnist"),
    "train.precision": Option(help=_PRECISION, show_default="the study's, or auto"),
    "train.output": Option("--output", "-o", help="Keep the first seed's network: a .py file."),
    "compare": Option(metavar="TARGET", help=_COMPARE, show_default="none"),
    "compare_recipe": Option(metavar="KEY=VALUE", help=_COMPARE_RECIPE),
    "split": Option(help=_SPLIT),
    "reproduce.epochs": Option(min=1, max=10_000, help=_EPOCHS, show_default="as aimed at"),
    "most_accurate": Option(
        min=0, metavar="N", help=_MOST_ACCURATE, show_default="as the search was asked"
    ),
    "confirm_trials": Option("--trial", min=0, metavar="N", help=_ALSO),
    "confirm.goal": Option(min=0, max=100, help=_GOAL, show_default="as it was asked last"),
    "most_parameters": Option(min=1, help=_MOST_PARAMETERS, show_default="none"),
    "pack": Option(min=2, max=256, help="Networks trained as one."),
    "seconds": Option(min=0.1, max=600, help="Training of a measurement."),
    "rounds": Option(min=1, max=100, help="Measurements of each loop."),
    "study_of": Option(hidden=True),
    "trial": Option(help="This completed trial.", show_default="the most accurate"),
    "at_least": Option(min=0, max=100, help=_AT_LEAST),
    "all_networks": Option("--all", help="Write every network of the front."),
    "onnx": Option("--onnx", help="Write it as an .onnx file too; needs the extra `onnx`."),
    "weights": Option("--weights/--no-weights", help="Write its trained weights beside it."),
    "export.output": Option("--output", "-o", help="The module file, .py; a folder with --all."),
    "report.output": Option("--output", "-o", help="The page, .html."),
    "all_columns": Option("--all", help="Show all that is known of each network."),
    "max_parameters": Option(min=1, metavar="N", help=_WITHIN, show_default="the budget"),
    "csv": Option(help="Also write the front as CSV."),
    "first": Argument(metavar="A", help="Name of a study.", show_default=False),
    "second": Argument(metavar="B", help=_SECOND, show_default=False),
    "at": Option(min=1, metavar="N", help=_AT, show_default="1/8, 1/4, 1/2 and all of the budget"),
    "compare.storage": Option(help=_STORAGE, envvar="NAS_MNIST_STORAGE", show_default=_FILE),
    "storage_b": Option(help="Database URL of B.", show_default="as --storage"),
    "compare.figure": Option(help="Also draw both fronts: .html, .png or .svg."),
    "figure": Option(help="Also draw the front: .html, .png or .svg."),
    "reproduced": Option(metavar="FILE", help=_REPRODUCED),
    "explained": Option(metavar="FILE", help=_EXPLAINED_FILE),
    "host": Option(help="Address to listen on; others than 127.0.0.1 let others in."),
    "port": Option(min=0, max=65535, help="0 for any that is free."),
    "workers": Option(min=1, max=256, help=_WORKERS, show_default=_ONE_A_CORE),
    "timeout": Option(metavar="TIME", help=_TIMEOUT, show_default="none"),
    "config": Option(help="TOML preset; the command line overrides it."),
    "recipe": Option(metavar="KEY=VALUE", help=_RECIPE),
    "limits": Option("--limit", metavar="COST=MOST", help=_LIMIT),
    "plugins": Option("--plugin", metavar="MODULE", help=_PLUGIN, **_PLUGINS),
}
# What is said of a default that is worked out from others.
_DERIVED = {
    "study": "DATASET-BUDGET",
    "storage": _FILE,
    "artifact_dir": "beside the SQLite file; on a server, in the database",
    "data_dir": "$NAS_MNIST_DATA, else the cache",
    "goal": "99.4 on mnist, else none",
    "smallest": "a tenth of the budget",
    "train_samples": "all that do not validate",
    "reruns": "a sixth of --trials",
    "workers": _ONE_A_CORE,
    "confirm": "confirm",
    "confirm_samples": "as many as a trial's",
}
# The options of `search` in groups, each in its help's order.
_GROUPS = {
    "What is searched": ("dataset", "budget", "smallest", "limits", "space", "trials", "reruns"),
    "How networks are trained": ("epochs", "train_samples", "recipe", "precision", "seed"),
    "How it is searched": ("sampler", "pruner", "pack"),
    "Confirmation": ("confirm", "seeds", "confirm_samples", "most_accurate", "goal"),
    "Where it runs": ("workers", "device", "timeout", "ray", "worker_gpus"),
    "Files": ("study", "storage", "data_dir", "artifact_dir", "results_dir", "config"),
}


def with_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give each parameter of a command its option, and one that takes `**settings` an option for
    every other field of SearchConfig too; of those, what is not given is None."""
    own = dict(inspect.signature(command, eval_str=True).parameters)
    by_name, only = {}, inspect.Parameter.KEYWORD_ONLY
    fields = SearchConfig.model_fields if own.pop("settings", None) else {}
    for name, field in fields.items():
        if not field.description:  # nobody is asked for it
            continue
        kind: Any = field.annotation
        kind = Annotated[kind | None, _setting(name, None)]
        by_name[name] = inspect.Parameter(name, only, default=None, annotation=kind)
    for name, parameter in own.items():
        option = _OPTIONS.get(f"{command.__name__}.{name}") or _OPTIONS.get(name)
        kind = Annotated[parameter.annotation, option or _setting(name, parameter.default)]
        by_name[name] = parameter.replace(kind=only, annotation=kind)
    for group, names in _GROUPS.items() if fields else ():
        for name in names:
            parameter = by_name.pop(name)
            kind, option = get_args(parameter.annotation)
            option = copy(option)
            option.rich_help_panel = group
            by_name[name] = parameter.replace(annotation=Annotated[kind, option])
    command.__signature__ = inspect.Signature([*by_name.values()])  # type: ignore[attr-defined]
    return command


def refused(error: BadParameter) -> str | None:
    """What is wrong with an option's value, in our words; None if the error is not of that kind."""
    if not (isinstance(error.__cause__, ValidationError) and error.param and error.ctx):
        return None
    first, name = error.__cause__.errors()[0], str(error.param.name)
    said, own = f"{error.param.opts[0]} {first['input']}", f"{error.ctx.command.name}.{name}"
    bounds: Any = _OPTIONS.get(own) or _OPTIONS.get(name)
    if "than" not in first["type"]:
        return f"{error.param.opts[0]} must be {wanted_kind(first['type'])}, not {first['input']!r}"
    if bounds.max is None:
        return f"{said} is below {bounds.min}"
    return f"{said} is not within {bounds.min} to {bounds.max:,}"


def _setting(name: str, default: Any) -> Any:
    """The option of a field of SearchConfig; its own default counts where the command has none."""
    field, flag = SearchConfig.model_fields[name], f"--{name.replace('_', '-')}"
    return Option(
        f"{flag}/--no-{name}" if field.annotation is bool else flag,
        help=field.description,
        show_default=default is not None or _DERIVED.get(name, str(field.default)),
        envvar="NAS_MNIST_STORAGE" if name == "storage" else None,
    )
