"""Things found by name: one of a registry, or one of a user's own as `module:attribute`.

Modules are imported where the user names them, and nowhere else: a name from a database is looked
up among those, so that no database makes this program run code.
"""

import importlib
import sys
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from nas_mnist.errors import RequestError

OBJECT = "given"
GIVEN: dict[str, Any] = {}  # objects made in Python, by their labels in a study: `given:NAME`
_PLUGINS: dict[str, ModuleType] = {}


def import_plugin(module: str) -> None:
    """Import a user's own module; what it registers is then known. RequestError if it fails."""
    if "/" in module or module.startswith("."):
        raise RequestError(
            f"module {module!r} is a path; name it as `import` does, such as my.data"
        )
    here = str(Path.cwd())
    if here not in sys.path:  # a program that is installed does not look in its user's folder
        sys.path.append(here)
    try:
        _PLUGINS[module] = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # it may fail in any way
        said = " ".join(str(error).split()) or type(error).__name__
        raise RequestError(f"module {module!r} cannot be imported: {said}") from None


def module_of(text: str) -> str | None:
    """The module that a `module:attribute` names; None for a plain name."""
    module, colon, _ = text.partition(":")
    return module if module and colon and text not in GIVEN else None


def find(option: str, text: str, known: Mapping[str, Any]) -> Any:
    """What a name stands for: one in `known`, the label of a given object, or `module:attribute` of
    an imported plugin. RequestError, which says `option` (such as `--pruner`), for others."""
    if not isinstance(text, str):
        raise RequestError(f"{option} must be a name or MODULE:ATTRIBUTE, not {text!r}")
    for names in (known, GIVEN):
        if text in names:
            return names[text]
    asked = f"{option} {text!r}"
    module, _, attribute = text.partition(":")
    if not (module and attribute):
        raise RequestError(f"{asked} is not one of {', '.join(known)}, and not MODULE:ATTRIBUTE")
    if module == OBJECT:
        raise RequestError(f"{asked} was an object in Python; go on from there with it")
    if module not in _PLUGINS:
        raise RequestError(f"{asked}: module {module!r} is yours; add --plugin {module}")
    try:
        return attrgetter(attribute)(_PLUGINS[module])
    except AttributeError:
        raise RequestError(f"{asked}: {module} has no {attribute!r}") from None
