"""Commands about single networks: `inspect`, `references`, `train`, `reproduce` and `bench`."""

from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import typer

from nas_mnist.cli.console import note, print_result
from nas_mnist.errors import RequestError
from nas_mnist.execution.spec import available_cores
from nas_mnist.networks import references as known
from nas_mnist.report import check_export, tables
from nas_mnist.training.recipe import Recipe, dataset_recipe, parse_settings
from nas_mnist.training.runs import Run, reproduce as train_steps, train_runs
from nas_mnist.training.speed import NETWORKS, Measured, Request, loops, measure


def inspect(
    target: str, storage: str | None = None, plugins: list[str] | None = None, as_json: bool = False
) -> None:
    """Show a network's layers: shapes, parameters, MACs and receptive fields."""
    from nas_mnist.execution.target import resolve_target

    network = resolve_target(target, storage)[:2]
    shown = tables.architecture_table(*network)
    print_result(tables.architecture_values(*network), shown, as_json=as_json)


def references(as_json: bool = False) -> None:
    """List the hand-made networks and lifecycles, and what was published of each."""
    networks = list(known.references().values())
    shown = tables.references_table(networks), tables.lifecycles_table(known.steps())
    print_result(list(map(tables.reference_values, networks)), *shown, as_json=as_json)


def train(
    target: str,
    seeds: int = 1,
    seed: int | None = None,
    dataset: str | None = None,
    train_samples: int | None = None,
    epochs: int | None = None,
    recipe: list[str] | None = None,
    split: bool = False,
    output: Path | None = None,
    storage: str | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    precision: str | None = None,
    plugins: list[str] | None = None,
    as_json: bool = False,
) -> None:
    """Train one network on all training images and test it after every epoch. A trial's is trained
    as its study trains, unless told otherwise."""
    from nas_mnist.execution.target import prepare_training, resolve_target
    from nas_mnist.training.device import named, unused_gpu

    if output is not None:
        check_export(output)
    given = parse_settings(recipe or [])
    if "epochs" in given:
        raise typer.BadParameter("--epochs sets the epochs", param_hint="--recipe")
    given |= {} if epochs is None else {"epochs": epochs}
    found = resolve_target(target, storage)
    images: dict[str, Any] = {"dataset": dataset, "split": split, "train_samples": train_samples}
    where: dict[str, Any] = {"data_dir": data_dir, "device": device, "precision": precision}
    training = prepare_training(found, given, seed=seed, **images, **where)
    settings, data, kind = training.recipe, training.data, training.precision
    note(
        f"recipe: {training.whose}; peak learning rate {settings.learning_rate:g}, "
        f"{tables.counted(settings.epochs, 'epoch')} on {len(data.train):,} images of "
        f"{training.dataset}, on {named(training.device)}"
    )
    if why := unused_gpu(device):
        note(why)
    judged, name = ("validation", "val_accuracy") if split else ("test", "test_accuracy")
    wanted = range(training.seed, training.seed + seeds)
    how: Any = training.device, kind, output is not None
    runs: dict[int, Run] = {}
    for run in chain.from_iterable(train_runs(found.architecture, settings, data, wanted, *how)):
        runs[run.seed], epoch = run, run.curve[-1]
        note(
            f"seed {run.seed} epoch {epoch.epoch}/{settings.epochs}: loss {epoch.train_loss:.4f}, "
            f"train {epoch.train_accuracy:.2f} %, {judged} {epoch.accuracy:.2f} %, "
            f"{epoch.seconds:.1f} s"
        )
    trained = [*runs.values()]
    sizes = {"name": found.name, **tables.size_values(found.architecture)}
    values = {
        **{**sizes, "dataset": training.dataset, "recipe": settings.as_dict()},
        **tables.runs_values(trained, name),
        "precision": str(kind).removeprefix("torch."),
    }
    print_result(values, tables.runs_table(values, trained), as_json=as_json)
    if output is not None:
        from nas_mnist.report.export import export_run

        network = found.name, found.architecture
        note(f"wrote {output}, {export_run(*network, data, settings, trained[0], output)}")


def reproduce(
    lifecycle: str,
    seeds: int = 1,
    seed: int = 0,
    most_parameters: int | None = None,
    epochs: int | None = None,
    dataset: str = "mnist",
    train_samples: int | None = None,
    data_dir: Path | None = None,
    workers: int | None = None,
    results_dir: Path = Path("runs"),
    as_json: bool = False,
) -> None:
    """Retrain a hand-made lifecycle: each step under its author's settings, published beside
    measured. The same command goes on where it was stopped."""
    from nas_mnist.report.lifecycle_table import Lifecycle
    from nas_mnist.training.datasets import first_train_samples, load_dataset

    wanted = range(seed, seed + seeds)
    run: dict[str, Any] = {"dataset": dataset, "train_samples": train_samples, "epochs": epochs}
    kept = {**run, "most_parameters": most_parameters, "seeds": list(wanted)}
    record = Lifecycle(lifecycle, kept, results_dir / lifecycle)
    missing = record.missing()
    if missing:
        first_train_samples(load_dataset(dataset, data_dir), train_samples)  # before any process
    record.write()
    for number, why in record.left_out.items():
        note(f"step {number}: {why}")
    note(f"{len(record.done)} steps are trained, {len(missing)} to go")
    training = train_steps(missing, wanted, workers or available_cores(), data_dir=data_dir, **run)
    with closing(training):
        for found in training:
            step, test = found.step, tables.spread_text(found.test_mean, found.test_sd)
            published = record.published(step)["test_accuracy"]
            beside = f", published {published:.2f} %" if published else ""
            record.done[step.number] = found
            record.write()
            note(
                f"step {step.number}, {step.title}: test {test} % at the final epoch, "
                f"best {found.test_best:.2f} %{beside}"
            )
    print_result(record.values(), record.table(), as_json=as_json)
    note("wrote " + ", ".join(map(str, record.files)))


def bench(
    target: str | None = None,
    dataset: str = "mnist",
    pack: int = 3,
    seconds: float = 6.0,
    rounds: int = 5,
    workers: int | None = None,
    storage: str | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    plugins: list[str] | None = None,
    study_of: list[int] | None = None,
    as_json: bool = False,
) -> None:
    """Measure training here: the usual loop against batched training, in one run of minutes. By
    default of a dense network and of a depthwise-separable one."""
    if study_of:
        script = "python studies/storage_benchmark/measure.py TRIALS ..."
        raise RequestError(f"--study-of is now a script: {script}")
    import torch

    from nas_mnist.execution.target import resolve_target
    from nas_mnist.training.datasets import load_dataset
    from nas_mnist.training.device import precision_reason, resolve_device, resolve_precision

    networks = [resolve_target(name, storage) for name in ([target] if target else NETWORKS)]
    where = resolve_device(device)
    load_dataset(dataset, data_dir)  # what is wrong with it is said once, and first
    recipe = Recipe().changed(dataset_recipe(dataset))
    wanted = loops(workers or available_cores(), pack, where.type)
    found = []
    for name, architecture, *_ in networks:
        request = Request(architecture, dataset, data_dir, str(where), seconds, recipe)
        measured: list[Measured] = []
        for count, measured in enumerate(measure(request, wanted, rounds)):
            latest = measured[count % len(measured)]
            done = f"{count + 1}/{rounds * len(wanted)} {latest.loop.name}"
            note(f"{name}: {done}: {latest.images_per_second[-1]:,.0f} images/s")
        values = {
            **{"network": name, "parameters": architecture.parameters, "dataset": dataset},
            "device": torch.cuda.get_device_name(where) if where.type == "cuda" else "cpu",
            "vectors": torch.backends.cpu.get_cpu_capability(),
            "cores": available_cores(),
            "precision": str(resolve_precision("auto", where)).removeprefix("torch."),
            "precision_reason": precision_reason(where),
            **{"batch_size": recipe.batch_size, "torch": torch.__version__},
            **tables.bench_values(measured),
        }
        found.append(values)
    shown = found[0] if target else {"networks": found}
    print_result(shown, *map(tables.bench_table, found), as_json=as_json)
