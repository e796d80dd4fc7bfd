"""The texts of this package that are filled in: pages, model cards and exported modules."""

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined


def render(name: str, /, **values: Any) -> str:
    """The template of that name, filled in. A page takes what is not Markup as text, and may leave
    out what is not given; another text must have all that it names."""
    is_page = name.endswith(".html")
    templates = Environment(
        loader=PackageLoader("nas_mnist", "report"),
        autoescape=is_page,
        undefined=Undefined if is_page else StrictUndefined,
        keep_trailing_newline=not is_page,
        trim_blocks=not is_page,
    )
    return templates.get_template(name).render(values)


def plain(text: object) -> str:
    """Text that cannot end a docstring, start an escape or a link, or leave its line."""
    return re.sub(r"[^A-Za-z0-9 .,:;%+_/()±-]", "?", str(text))
