"""Commands that train single networks: `train`, `explain` and `reproduce`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nas_mnist.cli.console import note, print_result
from nas_mnist.execution.spec import AUTO, StudySpec, usual_workers
from nas_mnist.lookup import import_plugin, module_of
from nas_mnist.report import check_export, tables
from nas_mnist.training.paired import Difference
from nas_mnist.training.recipe import Recipe, parse_settings
from nas_mnist.training.runs import Run, check_classes, reproduce as train_steps, train_runs

if TYPE_CHECKING:
    from nas_mnist.execution.target import Target, Training
    from nas_mnist.training.paired import Task


def train(
    target: str,
    seeds: int = 1,
    seed: int | None = None,
    dataset: str | None = None,
    train_samples: int | None = None,
    epochs: int | None = None,
    recipe: list[str] | None = None,
    split: bool = False,
    compare: str | None = None,
    compare_recipe: list[str] | None = None,
    output: Path | None = None,
    storage: str | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    precision: str | None = None,
    plugins: list[str] | None = None,
    as_json: bool = False,
) -> None:
    """Train one network on all training images and test it after every epoch. A trial's is trained
    as its study trains, unless told otherwise. Or compare two networks or recipes, by validation
    images and with the same seeds."""
    from nas_mnist.execution.target import prepare_training, resolve_target
    from nas_mnist.training.device import named, unused_gpu

    if output is not None:
        check_export(output)
    given = parse_settings(recipe or [])
    if "epochs" in given:
        raise typer.BadParameter("--epochs sets the epochs", param_hint="--recipe")
    given |= {} if epochs is None else {"epochs": epochs}
    comparing = compare is not None or bool(compare_recipe)
    if comparing and seeds < 2:
        raise typer.BadParameter("--compare and --compare-recipe need --seeds 2 or more")
    split = split or comparing
    found = resolve_target(target, storage)
    other = resolve_target(compare, storage) if compare else found
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
    name = "val_accuracy" if split else "test_accuracy"
    # What is wrong with it is said before anything is trained.
    others_recipe = other.recipe(training.dataset)[0].changed(given)
    others_recipe = others_recipe.changed(parse_settings(compare_recipe or []))

    def trained_values(network: Target, settings: Recipe) -> tuple[list[Run], dict[str, Any]]:
        runs = _trained(network, settings, training, seeds, split, output is not None)
        sizes = {"name": network.name, **tables.size_values(network.architecture)}
        values = {
            **{**sizes, "dataset": training.dataset, "recipe": settings.as_dict()},
            **tables.runs_values(runs, name),
            "precision": str(kind).removeprefix("torch."),
        }
        return runs, values

    trained, values = trained_values(found, settings)
    shown: list[Any] = [tables.runs_table(values, trained)]
    if comparing:
        beside, others = trained_values(other, others_recipe)
        pairs = zip(trained, beside, strict=True)
        difference = Difference.of([b.test_accuracy - a.test_accuracy for a, b in pairs])
        values = {"networks": [values, others], **tables.difference_values(difference)}
        shown += [tables.runs_table(others, beside), tables.difference_text(difference)]
    print_result(values, *shown, as_json=as_json)
    if output is not None:
        from nas_mnist.report.export import export_run

        network = found.name, found.architecture
        note(f"wrote {output}, {export_run(*network, data, settings, trained[0], output)}")


def _trained(
    network: Target, recipe: Recipe, training: Training, seeds: int, split: bool, keep: bool
) -> list[Run]:
    """All seeds' runs, with a line an epoch; `keep` their trained networks too."""
    judged, wanted = "validation" if split else "test", range(training.seed, training.seed + seeds)
    how: Any = training.data, wanted, training.device, training.precision, keep
    runs: dict[int, Run] = {}
    for run in chain.from_iterable(train_runs(network.architecture, recipe, *how)):
        runs[run.seed], epoch = run, run.curve[-1]
        note(
            f"seed {run.seed} epoch {epoch.epoch}/{recipe.epochs}: loss {epoch.train_loss:.4f}, "
            f"train {epoch.train_accuracy:.2f} %, {judged} {epoch.accuracy:.2f} %, "
            f"{epoch.seconds:.1f} s"
        )
    return [*runs.values()]


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
    measured. The same command goes on where it was stopped; a step that another lifecycle in the
    same folder shares, or has for more epochs, is not trained again."""
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
    note(f"{tables.counted(len(record.done), 'step')} trained, {len(missing)} to go")
    training = train_steps(
        missing, wanted, workers or usual_workers(AUTO), data_dir=data_dir, **run
    )
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


def explain(
    target: str,
    lifecycle: bool = False,
    seeds: int = 3,
    largest: int | None = None,
    decision: list[str] | None = None,
    dataset: str | None = None,
    train_samples: int | None = None,
    epochs: int | None = None,
    recipe: list[str] | None = None,
    storage: str | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    precision: str | None = None,
    workers: int | None = None,
    results_dir: Path = Path("runs"),
    figure: Path | None = None,
    plugins: list[str] | None = None,
    as_json: bool = False,
) -> None:
    """Show what each decision of a network buys: undo one at a time, and train what is left with
    the same seeds. The same command goes on where it was stopped."""
    from nas_mnist.execution.target import resolve_target
    from nas_mnist.report import figures, page
    from nas_mnist.report.explanation import Explanation
    from nas_mnist.training import decisions
    from nas_mnist.training.datasets import load_dataset, split_dataset
    from nas_mnist.training.device import resolve_device
    from nas_mnist.training.paired import train_paired

    if figure is not None:
        page.check_figure_name(figure)
    if largest is not None and lifecycle:
        raise typer.BadParameter("--largest and --lifecycle exclude each other")
    found = resolve_target(target, storage)
    spec = found.study.spec if found.study else StudySpec()
    settings: dict[str, Any] = {
        "dataset": dataset or spec.dataset,
        "train_samples": spec.train_samples if train_samples is None else train_samples,
        "split_seed": spec.seed,
        "precision": precision or spec.precision,
    }
    given = parse_settings(recipe or []) | ({} if epochs is None else {"epochs": epochs})
    own = found.recipe(settings["dataset"])[0].changed(given)
    if module := module_of(settings["dataset"]):
        import_plugin(module)
    resolve_device(device)  # what is wrong with it is said before anything is made
    data = load_dataset(settings["dataset"], data_dir)
    split_dataset(data, 0, settings["train_samples"])
    check_classes(found.architecture, data)
    variants = (decisions.lifecycle if lifecycle else decisions.undone)(found.architecture, own)
    place = results_dir / (target if found.study else found.name).replace(":", "-")[:80]
    file = place / f"{'lifecycle' if lifecycle else 'explained'}.json"
    explanation = Explanation(found.name, variants, settings, file)
    tasks = explanation.tasks(range(seeds), largest, decision or [])
    explanation.write()
    at_once = workers or usual_workers(device)
    runs = sum(len(task.seeds) for task in tasks)
    each = f"{tables.counted(own.epochs, 'epoch')} each"
    note(f"{tables.counted(runs, 'run')} to go, {each}{_hours(found, tasks, at_once)}")
    where = {**settings, "data_dir": data_dir, "device": device}
    with closing(train_paired(tasks, at_once, **where)) as training:
        try:
            for task, done in training:
                explanation.add(task.key, done)
                runs -= len(done)
                note(f"{task.key}: {len(done)} more; {runs} to go")
        except KeyboardInterrupt:
            note(f"interrupted: {tables.counted(runs, 'run')} to go; the same command goes on")
            raise
    print_result(explanation.values(), explanation.table(), as_json=as_json)
    if figure is not None:
        drawn = figures.differences_figure(*explanation.drawn(), in_order=lifecycle)
        page.write_figure(drawn, figure)
    note(f"wrote {explanation.file}, {explanation.table_file}")


def _hours(found: Target, tasks: Sequence[Task], workers: int) -> str:
    """How long that takes, as long as the trial took for its size; nothing if there is none."""
    seconds = 0.0
    with suppress(KeyError, TypeError, ValueError):  # the database may be anyone's
        curve = found.trial.user_attrs["curve"] if found.trial else []
        seconds = sum(float(epoch["seconds"]) for epoch in curve)
    if not seconds:
        return ""
    sizes = sum(task.architecture.macs * len(task.seeds) for task in tasks)
    minutes = seconds * sizes / found.architecture.macs / workers / 60
    took = f"{minutes / 60:.1f} hours" if minutes > 90 else f"{max(1, minutes):.0f} minutes"
    return f", about {took} if this machine is as fast as the search's"
