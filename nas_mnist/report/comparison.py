"""Two studies of one dataset side by side: their fronts, and the networks that they choose."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.table import Table

from nas_mnist.errors import RequestError
from nas_mnist.execution.confirmation import Candidate, candidates, most_accurate, of_front
from nas_mnist.execution.records import StudyRecord
from nas_mnist.execution.store import shown
from nas_mnist.report import tables
from nas_mnist.report.front_table import within_size
from nas_mnist.report.plots import ACCURACY_AXIS, FRONT_COLOR, SIZE_AXIS, box, drawn_error
from nas_mnist.report.tables import picked, spread_text
from nas_mnist.search.front import hypervolume

if TYPE_CHECKING:  # a picture is not always asked for
    import plotly.graph_objects as go

_SHARES = (8, 4, 2, 1)  # of the smaller budget: sizes at which networks are compared
_SIDES = "AB"


class Welch(NamedTuple):
    """Welch's test of a difference between two means (Welch: The generalization of "Student's"
    problem when several different population variances are involved, 1947)."""

    difference: float  # the second mean above the first
    interval: tuple[float, float]  # of 95%
    p: float  # two-sided

    @classmethod
    def of(cls, first: Sequence[float], second: Sequence[float]) -> Welch | None:
        """None if one has fewer than two values, or no value differs from its mean."""
        from scipy.stats import ttest_ind

        if min(len(first), len(second)) < 2 or not any(map(statistics.pvariance, (first, second))):
            return None
        test = ttest_ind(second, first, equal_var=False)
        difference = statistics.fmean(second) - statistics.fmean(first)
        low, high = map(float, test.confidence_interval(0.95))
        return cls(difference, (low, high), float(test.pvalue))


class Comparison:
    """Two studies, A and B, by what each has found."""

    def __init__(self, first: StudyRecord, second: StudyRecord, sizes: Sequence[int] = ()) -> None:
        """`sizes`: the parameters within which their networks are compared; by default an eighth,
        a quarter, half and all of the smaller budget. RequestError if they are of different
        datasets."""
        self.records = first, second
        datasets = [record.spec.dataset for record in self.records]
        if datasets[0] != datasets[1]:
            told = " and ".join(f"{r.name} is of {r.spec.dataset}" for r in self.records)
            raise RequestError(f"{told}: only studies of the same dataset can be compared")
        self.budget = min(record.spec.budget for record in self.records)
        self.sizes = sorted({*sizes}) or [self.budget // share for share in _SHARES]
        self.candidates = [candidates(record) for record in self.records]
        # Twice the budget: so that the largest network counts too. Accuracy: that of a guess.
        self.reference = 2 * self.budget, 100 / first.spec.classes
        self.areas = [self._area(own) for own in self.candidates]

    def _area(self, known: Sequence[Candidate]) -> float:
        """The hypervolume of a front's estimates, of networks within the smaller budget."""
        known = within_size(of_front(known), self.budget)
        points = [(own.trial.architecture.parameters, own.estimate.mean) for own in known]
        return hypervolume(points, self.reference)

    def chosen(self, size: int) -> list[Candidate | None]:
        """What each study would choose of the networks within that size: of its front the one with
        the highest estimate among those that are confirmed; if none is, among all."""
        found = []
        for known in self.candidates:
            small = within_size(known, size)
            found.append(most_accurate([e for e in small if e.confirmed]) or most_accurate(small))
        return found

    def test(self, size: int) -> Welch | None:
        """Of the confirmed test accuracies, in percent, of the networks chosen within that size;
        None unless both are confirmed, with two seeds at least."""
        networks = [own.confirmed if own else None for own in self.chosen(size)]
        runs = [[run.test_accuracy for run in own.runs] for own in networks if own]
        return Welch.of(*runs) if len(runs) == len(networks) else None

    def values(self) -> dict[str, Any]:
        """What `compare --json` prints; accuracies in percent."""
        parameters, accuracy = self.reference
        return {
            "dataset": self.records[0].spec.dataset,
            "studies": [self._study(index) for index in range(2)],
            "reference": {"parameters": parameters, "accuracy": accuracy},
            "within": [self._within(size) for size in self.sizes],
        }

    def _study(self, index: int) -> dict[str, Any]:
        record, known = self.records[index], self.candidates[index]
        counts = {
            "trials": record.counts().finished,
            "front": len(of_front(known)),
            "confirmed": sum(bool(own.confirmed) for own in known),
        }
        named = {"study": record.name, "storage": shown(record.url)}
        area = {"hypervolume": self.areas[index]}
        return {**named, **picked(record.spec, "budget", "epochs"), **counts, **area}

    def _within(self, size: int) -> dict[str, Any]:
        def network(own: Candidate | None) -> dict[str, Any] | None:
            if own is None:
                return None
            trial, estimate, found, _ = own
            sizes: dict[str, Any] = {"trial": trial.number, "estimate": estimate.mean}
            sizes["parameters"] = trial.architecture.parameters
            tested = {"seeds": len(found.runs), "mean": found.mean, "sd": found.sd} if found else {}
            return {**sizes, "confirmed": found is not None, **tested}

        test = self.test(size)
        networks = [network(own) for own in self.chosen(size)]
        return {"parameters": size, "networks": networks, "welch": test and test._asdict()}

    def tables(self) -> list[Table | str]:
        """The studies, and the networks compared, for people."""
        rows: list[Any] = [
            ["", "study", "budget", "epochs", "trials", "front", "confirmed", "hypervolume"]
        ]
        for side, index in zip(_SIDES, range(2), strict=True):
            own = self._study(index)
            del own["storage"]
            rows.append([side, *own.values()])
        first, second = self.areas
        about = (
            "Hypervolume: the area below the front of the estimates, on logarithmic scales of "
            f"parameters and error, of networks within {self.budget:,} parameters; more is better."
        )
        if first:
            about += f" B against A: {100 * (second / first - 1):+.2f} %."
        studies = tables.text_table(f"Two studies of {self.records[0].spec.dataset}", rows)
        return [studies, about, *self._networks()]

    def _networks(self) -> list[Table | str]:
        heads = ["within", "trial", "parameters", "test %", "seeds", "B - A", "p"]
        rows: list[Any] = [heads]
        unconfirmed = set()
        for size in self.sizes:
            test = self.test(size)
            for side, record, own in zip(_SIDES, self.records, self.chosen(size), strict=True):
                cells: list[Any] = [f"{side} none", *[None] * 5]
                if own is not None:
                    found, parameters = own.confirmed, own.trial.architecture.parameters
                    cells[:2] = f"{side} {own.trial.number}", parameters
                    if found:
                        cells[2:4] = spread_text(found.mean, found.sd), str(len(found.runs))
                    else:
                        cells[2] = "not confirmed"
                        unconfirmed.add(record.name)
                if test and side == _SIDES[-1]:
                    half = (test.interval[1] - test.interval[0]) / 2
                    cells[4:] = f"{test.difference:+.2f} ± {half:.2f}", f"{test.p:.3f}"
                rows.append([size if side == _SIDES[0] else None, *cells])
        caption = (
            "Within each size, the confirmed network that each study estimates highest. Test %: "
            "mean ± sd of fresh seeds. B - A: with its 95% interval. p: Welch's test, two-sided, "
            "not corrected for several sizes."
        )
        table = tables.text_table("Networks that they choose within a size", rows)
        for row in table.rows[1::2]:
            row.end_section = True
        told = [f"`nas-mnist confirm {name}` confirms more of its front." for name in unconfirmed]
        return [table, " ".join([caption, *sorted(told)])]

    def figure(self) -> go.Figure:
        """Both fronts: the estimates as lines, and what is confirmed as points with their spread;
        both scales are logarithmic."""
        import plotly.graph_objects as go

        figure = go.Figure()
        styles = (FRONT_COLOR, "solid", "circle"), ("#b8621b", "dash", "diamond")
        for side, record, known, style in zip(
            _SIDES, self.records, self.candidates, styles, strict=True
        ):
            color, dash, symbol = style
            line = [
                (own.trial.architecture.parameters, drawn_error(own.estimate.mean))
                for own in of_front(known)
            ]
            sizes, errors = zip(*line, strict=True) if line else ((), ())
            shape = {"shape": "hv", "color": color, "dash": dash}
            name = f"{side}: {record.name}"
            figure.add_scatter(
                x=sizes, y=errors, mode="lines", line=shape, name=f"{name}, validation, estimated"
            )
            found = [own.confirmed for own in known if own.confirmed]
            figure.add_scatter(
                x=[own.architecture.parameters for own in found],
                y=[drawn_error(own.mean) for own in found],
                error_y={"array": [own.sd or 0 for own in found], "thickness": 1},
                mode="markers",
                marker={"color": color, "symbol": symbol, "size": 8},
                name=f"{name}, test, confirmed",
            )
        first, second = (record.name for record in self.records)
        return figure.update_layout(
            box(560, margin={"t": 60, "r": 20}, xaxis=SIZE_AXIS, yaxis=ACCURACY_AXIS),
            title=f"{first} and {second}: what parameters buy",
            yaxis_autorange="reversed",
            legend={"orientation": "h", "y": -0.16},
        )
