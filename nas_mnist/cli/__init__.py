"""The command line: arguments in, tables and files out. What a command needs is imported when it
runs: `--help` is instant, and only training waits for torch."""

import importlib.metadata
import io
import os
import signal
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Annotated

import typer

from nas_mnist.cli import network_commands, search_commands, study_commands, training_commands
from nas_mnist.cli.console import note, output_written
from nas_mnist.cli.options import refused, with_options
from nas_mnist.errors import NasMnistError, RequestError, is_out_of_memory

_ANY_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True}
_REPLACED = {
    "curves": "studies/pruner_simulation/record_curves.py",
    "simulate": "studies/pruner_simulation/simulate.py",
}

_HELP = "-h", "--help"

app = typer.Typer(
    name="nas-mnist",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": list(_HELP)},
)


@app.callback(invoke_without_command=True)
def _say_version(
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
) -> None:
    """Search small MNIST networks under a hard parameter budget."""
    if version:
        print(importlib.metadata.version("nas-mnist"))
        raise typer.Exit


# By group, each command with examples of it.
_COMMANDS: dict[str, dict[Callable[..., None], tuple[str, ...]]] = {
    "Search": {
        search_commands.search: (
            "search --dataset digits --budget 2000 --trials 20 --epochs 5",
            "search --config studies/below-8k.toml --timeout 8h",
        ),
        search_commands.confirm: ("confirm mnist-8000 --seeds 10",),
    },
    "Look": {
        study_commands.front: (
            "front mnist-8000",
            "front mnist-8000 --max-parameters 5000 --figure front.html",
        ),
        study_commands.compare: ("compare mnist-8000 mine --at 2000 --figure both.html",),
        network_commands.inspect: ("inspect mnist-8000:12", "inspect c8rn-m2-c16rn-m2-g-c10k1"),
        study_commands.dashboard: ("dashboard mnist-8000",),
        study_commands.studies: ("studies",),
        network_commands.references: ("references",),
    },
    "Train": {
        training_commands.train: (
            "train c8rn-m2-c16rn-m2-g-c10k1 --epochs 5",
            "train mnist-8000:12 --compare a7-no-dropout-7884 --seeds 10",
        ),
        training_commands.explain: ("explain mnist-8000 --seeds 5",),
        training_commands.reproduce: ("reproduce a7-8k --seeds 3",),
        network_commands.bench: ("bench",),
    },
    "Publish": {
        study_commands.export: (
            "export mnist-8000 --at-least 99.3 -o small.py",
            "export mnist-8000 --all -o networks",
        ),
        study_commands.report: ("report mnist-8000 -o report.html",),
    },
}
for group, commands in _COMMANDS.items():
    for command, examples in commands.items():
        said = " ".join(str(command.__doc__).split())
        app.command(
            help=said,
            short_help=f"{said.partition('. ')[0].rstrip('.')}.",
            epilog="\n".join(["For example:", *(f"  nas-mnist {text}" for text in examples)]),
            rich_help_panel=group,
        )(with_options(command))


@app.command("curves", hidden=True, context_settings=_ANY_ARGUMENTS)
@app.command("simulate", hidden=True, context_settings=_ANY_ARGUMENTS)
def _replaced(context: typer.Context) -> None:
    """What earlier versions had as a command."""
    name = str(context.info_name)
    raise RequestError(f"`nas-mnist {name}` is now a script: python {_REPLACED[name]}")


def main() -> int:
    """Run the command line; the exit code: 0 done, 1 failed, 2 wrong request, 130 interrupted."""
    # Closed streams (`>&-`) lead nowhere: else the next file that is opened, a study's perhaps,
    # takes their place.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # where ± cannot be written, write something
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = sys.argv[1:] or ["--help"]
    prints = not {*_HELP, "--version"}.isdisjoint(arguments)  # and does nothing else
    try:
        with output_written() if prints else nullcontext():
            return app(arguments, standalone_mode=False) or 0
    except NasMnistError as error:
        message, code = str(error), error.exit_code
    except typer.TyperException as error:
        said = getattr(error, "format_message", error.__str__)()
        own = refused(error) if isinstance(error, typer.BadParameter) else None
        message, code = own or f"{' '.join(said.split())} (--help shows what there is)", 2
    except (BrokenPipeError, SystemExit) as error:  # typer ends so where printing help fails
        if not isinstance(error.__context__ or error, BrokenPipeError):
            raise
        # The reader of a pipe has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        message, code = "out of memory; use a smaller network, batch or number of workers", 1
    note(f"error: {message}")
    return code
