"""How the scripts here read their options and how they end: as `nas-mnist`'s commands do."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from nas_mnist.errors import INTERRUPTED, NasMnistError, RequestError


class Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with an option."""

    def error(self, message: str) -> NoReturn:
        raise RequestError(f"{message} (--help shows what there is)")


def at_least(lowest: int) -> Callable[[str], int]:
    """The type of an option: a whole number, `lowest` or more."""

    def number(text: str) -> int:
        if not text.isdecimal() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest} on")
        return int(text)

    return number


def run(main: Callable[[], None]) -> NoReturn:
    """Exit with 0 done, 1 failed, 2 wrong request, 130 interrupted."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        main()
    except NasMnistError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0)


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
