"""Commands about single networks: `inspect`, `references` and `bench`."""

from __future__ import annotations

from pathlib import Path

from nas_mnist.cli.console import note, print_result
from nas_mnist.errors import RequestError
from nas_mnist.networks import references as known
from nas_mnist.processes import available_cores
from nas_mnist.report import tables
from nas_mnist.training.recipe import Recipe, dataset_recipe
from nas_mnist.training.speed import NETWORKS, Measured, Request, loops, measure


def inspect(
    target: str, storage: str | None = None, plugins: list[str] | None = None, as_json: bool = False
) -> None:
    """Show a network's layers: settings, shapes, parameters, MACs and receptive fields. Of a
    study's network also how accurate it is, and its learning rate."""
    from nas_mnist.execution.target import resolve_target

    name, architecture, study, trial = resolve_target(target, storage)
    values = tables.architecture_values(name, architecture)
    shown = [tables.architecture_table(name, architecture), values["notation"]]
    if study and trial:
        from nas_mnist.report.overview import trial_overview

        known, text = trial_overview(study, trial)
        values, shown = values | known, [*shown, text]
    print_result(values, *shown, as_json=as_json)


def references(as_json: bool = False) -> None:
    """List the hand-made networks and lifecycles, and what was published of each."""
    networks = list(known.references().values())
    shown = tables.references_table(networks), *tables.lifecycle_tables(known.steps())
    print_result(list(map(tables.reference_values, networks)), *shown, as_json=as_json)


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
