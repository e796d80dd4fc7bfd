"""A page of figures in one file: it needs no network, and is small for what it holds."""

from __future__ import annotations

import base64
import gzip
import html
from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1060px; margin: 2rem auto;
       padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .4rem; border-top: 1px solid #ddd; padding-top: 1.2rem; }
p, figcaption { max-width: 46rem; }
table { border-collapse: collapse; margin: .8rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .5rem; text-align: right; border-bottom: 1px solid #eee;
         white-space: nowrap; }
th { border-bottom: 1px solid #999; font-weight: 600; white-space: normal;
     vertical-align: bottom; }
th.text, td.text { text-align: left; }
td.notation, pre { font: 12.5px/1.4 ui-monospace, monospace; }
td.notation { overflow-wrap: anywhere; white-space: normal; min-width: 13rem; }
pre { background: #f6f6f6; padding: .8rem; overflow-x: auto; }
.images { display: flex; flex-wrap: wrap; gap: .6rem; }
.images figure { margin: 0; text-align: center; }
.images img { width: 56px; height: 56px; image-rendering: pixelated; display: block; }
.images figcaption { font-size: 12px; }
.none { color: #777; }
"""

# Plotly's own script is 4.6 MB: it is kept compressed, and unpacked by the browser.
_SCRIPT = """
const failed = text => { document.documentElement.dataset.failed = text; };
addEventListener("error", event => failed(event.message));
addEventListener("unhandledrejection", event => failed(String(event.reason)));
const packed = document.getElementById("plotly").textContent;
const bytes = Uint8Array.from(atob(packed), character => character.charCodeAt(0));
const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
new Response(stream).text().then(async source => {
  const script = document.createElement("script");
  script.textContent = source;
  document.head.append(script);
  for (const figure of document.querySelectorAll("script.figure")) {
    const { data, layout } = JSON.parse(figure.textContent);
    await Plotly.newPlot(figure.previousElementSibling, data, layout, { responsive: true });
  }
  document.documentElement.dataset.drawn = "all";
});
"""


def page(title: str, parts: Sequence[str]) -> str:
    """An HTML page of these parts, in their order; `figure_part` and others make them."""
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode(), 9, mtime=0)).decode()
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f"<title>{html.escape(title)}</title>",
            f"<style>{_STYLE}</style>\n</head>\n<body>",
            *parts,
            f'<script type="text/plain" id="plotly">{packed}</script>',
            f"<script>{_SCRIPT}</script>\n</body>\n</html>\n",
        ]
    )


def figure_part(figure: go.Figure) -> str:
    # No text in it can end the script.
    values = figure.to_json().replace("<", "\\u003c")
    return (
        f'<div class="plot"></div><script type="application/json" class="figure">{values}</script>'
    )


def heading_part(text: str, level: int = 2) -> str:
    return f"<h{level}>{html.escape(text)}</h{level}>"


def text_part(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def code_part(text: str) -> str:
    return f"<pre>{html.escape(text)}</pre>"


def table_part(headings: Sequence[str], rows: Sequence[Sequence[str]], text: Sequence[str]) -> str:
    """A table; the columns whose heading is in `text` are left-aligned, the others are numbers."""
    classes = [
        ' class="text notation"' if name == "notation" else ' class="text"' if name in text else ""
        for name in headings
    ]
    lines = [_row("th", headings, classes), *(_row("td", row, classes) for row in rows)]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _row(tag: str, cells: Sequence[str], classes: Sequence[str]) -> str:
    made = (
        f"<{tag}{kind}>{html.escape(cell)}</{tag}>"
        for cell, kind in zip(cells, classes, strict=True)
    )
    return "<tr>" + "".join(made) + "</tr>"
