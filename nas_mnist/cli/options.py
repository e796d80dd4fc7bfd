"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Storage = Annotated[
    str | None,
    typer.Option(help="Database URL of the study.", show_default="sqlite:///studies/STUDY.db"),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder of the image files.", show_default="$NAS_MNIST_DATA, else the cache"),
]
Dataset = Annotated[str, typer.Option(help="mnist, fashion-mnist, kmnist or digits.")]
Workers = Annotated[
    int | None, typer.Option(help="Processes of one thread.", show_default="one a core")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
RecipeSettings = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        metavar="KEY=VALUE",
        help="A training setting, such as batch_size=64 or augmentation.rotation=10; repeatable.",
    ),
]
