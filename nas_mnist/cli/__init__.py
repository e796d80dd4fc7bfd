"""The command line: arguments in, tables and files out. What a command needs is imported when it
runs: `--help` is instant, and only training waits for torch."""

from nas_mnist.cli.app import main

__all__ = ["main"]
