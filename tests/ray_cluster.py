"""A Ray cluster of several nodes on this machine, in a process of its own: `python -m
tests.ray_cluster NODES`. It says its address, kills its newest node at each line that it reads,
and ends with its input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

Cluster: TypeAlias = tuple[str, Callable[[], None]]
"""its address, and what kills a node"""


@contextmanager
def cluster(nodes: int) -> Iterator[Cluster]:
    """Run a cluster whose nodes have a core each and a GPU in name."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ray_cluster", str(nodes)],
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None and stdout is not None

    def kill_node() -> None:
        stdin.write("kill\n")
        stdin.flush()
        assert stdout.readline() == "killed\n"

    try:
        yield stdout.readline().strip(), kill_node
    finally:
        stdin.close()
        process.wait(60)
        stdout.close()


def main() -> None:
    from ray import cluster_utils

    head = {"num_cpus": 0, "include_dashboard": False}
    made = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    # Ray counts the GPUs that it is told of; nothing here uses them.
    nodes = [made.add_node(num_cpus=1, num_gpus=1) for _ in range(int(sys.argv[1]))]
    print(made.address, flush=True)
    for _ in sys.stdin:
        made.remove_node(nodes.pop(), allow_graceful=False)
        print("killed", flush=True)
    made.shutdown()


if __name__ == "__main__":
    main()
