"""What a network costs, and how much of it is allowed.

A new cost is one more function here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nas_mnist.errors import RequestError
from nas_mnist.networks.architecture import Architecture


def parameters(architecture: Architecture) -> int:
    """Trainable parameters."""
    return architecture.parameters


def macs(architecture: Architecture) -> int:
    """Multiply-accumulates of one image."""
    return architecture.macs


COSTS: dict[str, Callable[[Architecture], int]] = {"parameters": parameters, "macs": macs}


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that a network may cost, inclusive."""

    parameters: int
    others: tuple[tuple[str, int], ...] = ()
    """limits of other costs, by their names in COSTS"""

    @classmethod
    def of(cls, parameters: int, others: Mapping[str, int]) -> Limit:
        """
        Raises:
            RequestError: for a cost that is not known, or a limit that nothing can keep.
        """
        for name, most in others.items():
            if name not in COSTS or name == "parameters":
                known = ", ".join(name for name in COSTS if name != "parameters")
                raise RequestError(f"--limit {name}={most}: the costs are {known}")
            if most < 1:
                raise RequestError(f"--limit {name}={most} is below 1")
        return cls(parameters, tuple(sorted(others.items())))

    def within(self, parameters: int) -> Limit:
        """The same with fewer parameters, if those are fewer."""
        return Limit(min(parameters, self.parameters), self.others)

    def allows(self, architecture: Architecture) -> bool:
        if architecture.parameters > self.parameters:
            return False
        return all(COSTS[name](architecture) <= most for name, most in self.others)

    def __str__(self) -> str:
        others = [f"{most:,} {name}" for name, most in self.others]
        return " and ".join([f"{self.parameters:,} parameters", *others])
