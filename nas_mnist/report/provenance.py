"""What is said of a network wherever it is handed out: where it is from, and how good it is."""

from __future__ import annotations

from dataclasses import dataclass

from nas_mnist.execution.confirmation import Confirmed
from nas_mnist.execution.study import StudyRecord
from nas_mnist.execution.winner import Candidate
from nas_mnist.report.tables import spread_text


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the file's docstring says of the network beside its layers."""

    facts: tuple[tuple[str, str], ...]
    """name and text, a line each"""

    @classmethod
    def of(cls, record: StudyRecord, network: Candidate) -> Provenance:
        trial, confirmed = network
        config = record.config
        images = "5 in 6" if config.train_samples is None else f"{config.train_samples:,}"
        epochs = f"{config.epochs}, peak learning rate {trial.peak_learning_rate:g}"
        validation = f"{trial.val_accuracy:.2f} % after the final epoch"
        versions = ", ".join(f"{name} {text}" for name, text in record.versions.items())
        facts: tuple[tuple[str, str], ...]
        if confirmed is None:
            facts = (
                ("study", f"{config.study}, trial {trial.number}, seed {trial.seed}"),
                ("trained", f"on {images} of the training images of {config.dataset}"),
                ("epochs", epochs),
                ("validation", validation),
                (
                    "test",
                    f"{trial.test_accuracy:.2f} % after the final epoch: one run, unconfirmed",
                ),
                ("date", trial.finished),
            )
        else:
            run = confirmed.runs[0]
            facts = (
                ("study", f"{config.study}, trial {trial.number}, confirmed with seed {run.seed}"),
                ("trained", f"on all training images of {config.dataset}"),
                ("epochs", epochs),
                ("search", f"validation {validation}, on {images} of those images"),
                ("test", f"{run.test_accuracy:.2f} % with this seed, after the final epoch"),
                ("confirmed", confirmed_text(confirmed)),
                ("date", run.finished),
            )
        return cls((*facts, ("versions", versions)))


def confirmed_text(confirmed: Confirmed) -> str:
    """What may be quoted of a network, in a line."""
    seeds = f"{len(confirmed.runs)} seeds" if len(confirmed.runs) > 1 else "one seed"
    text = (
        f"{spread_text(confirmed.mean, confirmed.sd)} % over {seeds}, "
        f"at least {confirmed.last4_min:.2f} % over the last 4 epochs"
    )
    return text + (f"; {confirmed.diverged} more diverged" if confirmed.diverged else "")
