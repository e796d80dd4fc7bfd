"""The command line: arguments in, tables and files out. What a command needs is imported when it
runs: `--help` is instant, and only training waits for torch."""

import importlib.metadata
import io
import os
import signal
import sys
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

app = typer.Typer(name="nas-mnist", add_completion=False, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def _say_version(
    version: Annotated[bool, typer.Option("--version", help="Say which version this is.")] = False,
) -> None:
    """Search small MNIST networks under a hard parameter budget."""
    if version:
        print(importlib.metadata.version("nas-mnist"))
        raise typer.Exit


for command in (
    *(search_commands.search, search_commands.confirm, study_commands.front),
    *(network_commands.inspect, network_commands.references, training_commands.train),
    training_commands.explain,
    *(study_commands.export, study_commands.report, study_commands.dashboard),
    study_commands.studies,
    *(training_commands.reproduce, network_commands.bench),
):
    app.command()(with_options(command))


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
    prints = not {"--help", "--version"}.isdisjoint(arguments)  # and does nothing else
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
