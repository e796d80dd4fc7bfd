"""Architecture search for small MNIST networks under a hard parameter budget.

    import nas_mnist

    study = nas_mnist.search(dataset="digits", budget=2000, trials=30)
    study.front(), study.to_pandas()
    network = study.winner().load()
    study.winner().export("winner.py")

Names are imported when they are first used, so that importing the package is fast.
"""

import ast
import importlib
import importlib.metadata
from pathlib import Path
from types import ModuleType
from typing import Any

# One list of the public names serves readers of types and Python.
_STUB = ast.parse(Path(__file__).with_suffix(".pyi").read_text("utf-8"))
_FROM = [node for node in _STUB.body if isinstance(node, ast.ImportFrom)]
_HOMES = {alias.name: str(node.module) for node in _FROM for alias in node.names}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("nas-mnist")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


class _CallableSearch(ModuleType):
    """`nas_mnist.search` is a package of its own, and what a user calls: `nas_mnist.api.search`."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return importlib.import_module(f"{__name__}.api").search(*arguments, **settings)


importlib.import_module(f"{__name__}.search").__class__ = _CallableSearch
