"""A network as a person names it, and what it is trained by."""

import difflib
from typing import NamedTuple

from optuna.trial import FrozenTrial

from nas_mnist.errors import ArchitectureError, RequestError
from nas_mnist.execution.records import StudyRecord, load_study
from nas_mnist.execution.spec import default_storage
from nas_mnist.networks.architecture import Architecture, format_notation, parse_notation
from nas_mnist.networks.references import references
from nas_mnist.training.recipe import Recipe, dataset_recipe


class Target(NamedTuple):
    """A network, and the trial that it is of, if it was named by one."""

    name: str
    architecture: Architecture
    study: StudyRecord | None = None
    trial: FrozenTrial | None = None

    def recipe(self, dataset: str) -> tuple[Recipe, str]:
        """What it is trained by unless told otherwise, and whose recipe that is."""
        if self.study and self.trial:
            rate = float(self.trial.params["peak_learning_rate"])
            return self.study.spec.trial_recipe(rate), f"that of {self.name}"
        own = self.name in references()
        whose = "the default" + (", not its author's, which `reproduce` has" if own else "")
        return Recipe().changed(dataset_recipe(dataset)), whose


def resolve_target(text: str, storage: str | None = None) -> Target:
    """The network of a reference's name, a notation, or `STUDY:TRIAL` (of a study in that
    storage, if it is not where `search` puts it). RequestError if the text names no network."""
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
        close = [name for name in references() if text and name.startswith(text)]
        close += difflib.get_close_matches(text, references(), n=1, cutoff=0.7)
        if not close:
            raise
        said = f"{text!r} is no reference; `nas-mnist references` lists them, such as {close[0]}"
        raise RequestError(said) from None
    return Target(format_notation(architecture), architecture)
