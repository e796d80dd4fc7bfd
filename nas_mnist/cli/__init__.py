"""Floor 5: the command line. Arguments in, tables and files out; no logic.

What a command needs is imported when it runs: `--help` is instant, and only training waits for
torch.
"""

from nas_mnist.cli.app import main

__all__ = ["main"]
