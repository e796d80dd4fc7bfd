"""A network as a person names it, and what it is trained by."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from optuna.trial import FrozenTrial

from nas_mnist.errors import ArchitectureError, RequestError, StudyError
from nas_mnist.execution.confirmation import chosen
from nas_mnist.execution.records import StudyRecord, load_study, reading
from nas_mnist.execution.spec import StudySpec, default_storage, parse_url
from nas_mnist.lookup import import_plugin, module_of
from nas_mnist.networks.architecture import Architecture, format_notation, parse_notation
from nas_mnist.networks.references import references
from nas_mnist.training.recipe import Recipe, dataset_recipe

if TYPE_CHECKING:  # what is named need not wait for torch
    import torch

    from nas_mnist.training.datasets import Dataset


class Target(NamedTuple):
    """A network, and the trial that it is of, if it was named by one."""

    name: str
    architecture: Architecture
    study: StudyRecord | None = None
    trial: FrozenTrial | None = None

    def recipe(self, dataset: str) -> tuple[Recipe, str]:
        """What it is trained by unless told otherwise, and whose recipe that is."""
        if self.study and self.trial:
            with reading(self.study.name, self.trial, "peak_learning_rate"):
                rate = float(self.trial.params["peak_learning_rate"])
            return self.study.spec.trial_recipe(rate), f"that of {self.name}"
        own = self.name in references()
        whose = "the default" + (", not its author's, which `reproduce` has" if own else "")
        return Recipe().changed(dataset_recipe(dataset)), whose


def resolve_target(text: str, storage: str | None = None) -> Target:
    """The network of a reference's name, a notation, a study's name (its winner) or `STUDY:TRIAL`
    (of a study in that storage, if it is not where `search` puts it). RequestError if the text
    names no network."""
    if text in references():
        return Target(text, references()[text].architecture)
    if ":" in text:
        study, _, number = text.rpartition(":")
        if not study or not number.isdecimal() or len(number) > 9:
            raise RequestError(f"{text!r} is not STUDY:TRIAL, such as mnist-8000:12")
        record = load_study(study, storage or default_storage(study))
        trial = record.begun(int(number))
        return Target(text, parse_notation(str(trial.user_attrs["notation"])), record, trial)
    try:
        architecture = parse_notation(text)
    except ArchitectureError:
        if winner := _winner(text, storage):
            return winner
        close = [name for name in references() if text and name.startswith(text)]
        close += difflib.get_close_matches(text, references(), n=1, cutoff=0.7)
        if studies := difflib.get_close_matches(text, _studies(), n=1, cutoff=0.7):
            said = f"{text!r} is no study; `nas-mnist studies` lists them, such as {studies[0]}"
            raise RequestError(said) from None
        if not close:
            raise
        said = f"{text!r} is no reference; `nas-mnist references` lists them, such as {close[0]}"
        raise RequestError(said) from None
    return Target(format_notation(architecture), architecture)


def _studies() -> list[str]:
    """Those that `search` keeps here, by the names of their files."""
    return [file.stem for file in Path("studies").glob("*.db")]


def _winner(study: str, storage: str | None) -> Target | None:
    """The winner of the study of that name; None if there is none, RequestError or StudyError if
    there is none in that storage."""
    try:
        url = storage or default_storage(study)
        if storage is None and not Path(str(parse_url(url).database)).exists():
            return None
        record = load_study(study, url)
    except (RequestError, StudyError):  # no name of a study, or none of that name
        if storage is not None:
            raise
        return None
    number = chosen(record).trial.number
    trial = record.begun(number)
    network = parse_notation(str(trial.user_attrs["notation"]))
    return Target(f"{study}:{number}", network, record, trial)


class Training(NamedTuple):
    """All that training a network takes beside it."""

    recipe: Recipe
    whose: str  # recipe that is
    dataset: str
    data: Dataset
    seed: int
    device: torch.device
    precision: torch.dtype


def prepare_training(
    target: Target,
    settings: Mapping[str, Any],
    *,
    dataset: str | None = None,
    split: bool = False,
    train_samples: int | None = None,
    seed: int | None = None,
    data_dir: Path | None = None,
    device: str = "auto",
    precision: str | None = None,
) -> Training:
    """As the target's study trains, else by the defaults, but for what is given. `split`: on the
    study's training images, tested on those that it holds out, and from a trial's own seed."""
    spec = target.study.spec if target.study else StudySpec()
    dataset = dataset or spec.dataset
    for text in (dataset, str(settings.get("optimizer", ""))):
        if module := module_of(text):
            import_plugin(module)
    own, whose = target.recipe(dataset)
    recipe, whose = own.changed(settings), f"{whose}, with changes" if settings else whose

    from nas_mnist.training.datasets import first_train_samples, load_dataset, split_dataset
    from nas_mnist.training.device import keep_freed_memory, resolve_device, resolve_precision

    data = load_dataset(dataset, data_dir)
    if split:
        samples = spec.train_samples if train_samples is None else train_samples
        training, held_out = split_dataset(data, spec.seed, samples)
        data = replace(data, train=training, test=held_out)
        seed = int(target.trial.user_attrs["seed"]) if target.trial and seed is None else seed
    else:
        data = first_train_samples(data, train_samples)
    where = resolve_device(device)
    kind = resolve_precision(precision or spec.precision, where)
    keep_freed_memory()
    return Training(recipe, whose, dataset, data, seed or 0, where, kind)
