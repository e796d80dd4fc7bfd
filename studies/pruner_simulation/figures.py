"""What `simulate` found, as tables and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from comparison import Setting
from rich.table import Table
from surrogate import HeldOut

_COLORS = (
    *("#1f5fbf", "#b03030", "#2e8b57", "#8a5fbf", "#c77f1f"),
    *("#00a0b0", "#8a8a8a", "#202020", "#e377c2", "#9a9a20", "#6b3f1d", "#ff5a00"),
)
# Epochs before which a search has hardly begun.
_FIRST_EPOCHS = 60


def surrogate_text(held_out: HeldOut) -> str:
    """How far to trust what was simulated."""
    return (
        f"surrogate on {held_out.networks} networks, held out: rank correlation "
        f"{held_out.spearman:.2f}, rmse {held_out.log_error_rmse:.2f} of the log error (its own "
        f"sd {held_out.log_error_sd:.2f}, noise between seeds {held_out.noise_sd:.2f})"
    )


def pruners_table(pruners: pd.DataFrame) -> Table:
    """`pruners`: what `side_by_side` gives."""
    table = _table(
        "Pruners on recorded curves, % of no pruning, mean ± sd",
        ("pruner", "epochs", "hypervolume", "least", "wrongful stops"),
    )
    for row in pruners.to_dict("records"):
        table.add_row(
            row["pruner"] if pd.isna(row["setting"]) else f"{row['pruner']} {row['setting']:g}",
            _spread(row, "epochs", 1),
            _spread(row, "hypervolume", 2),
            f"{row['hypervolume_min']:.1f}",
            "" if pd.isna(row["wrongful"]) else f"{row['wrongful']:.0f} %",
        )
    return table


def pruner_figure(pruners: pd.DataFrame) -> go.Figure:
    """Hypervolume kept against epochs spent, a line a rule over its settings; `search`'s own
    settings are ringed."""
    figure = go.Figure()
    for color, (name, rows) in zip(_COLORS, pruners.groupby("pruner", sort=False), strict=False):
        figure.add_scatter(
            x=rows["epochs"],
            y=rows["hypervolume"],
            error_y={"array": rows["hypervolume_sd"], "thickness": 1, "width": 0},
            text=[f"{name} {setting:g}" for setting in rows["setting"]],
            name=str(name),
            mode="lines+markers",
            line={"color": color},
            marker={
                "size": [14 if default else 7 for default in rows["default"]],
                "symbol": [
                    "circle-open-dot" if default else "circle" for default in rows["default"]
                ],
            },
        )
    figure.update_layout(
        template="plotly_white",
        title="What pruning costs: hypervolume kept, mean ± sd over the orders",
        legend={"orientation": "h", "y": -0.16},
    )
    figure.update_xaxes(title="epochs spent (% of no pruning)", showline=True)
    figure.update_yaxes(title="hypervolume kept (%)", showline=True)
    return figure


def searches_table(searches: pd.DataFrame, caption: str) -> Table:
    table = _table(
        "Simulated searches, mean ± sd over seeds",
        (
            "search",
            "trials",
            "epochs %",
            "hypervolume",
            "at equal epochs",
            "random needs trials",
            "repeats %",
        ),
    )
    table.caption = caption
    for row in searches.to_dict("records"):
        table.add_row(
            _name(row),
            str(row["trials"]),
            f"{row['epochs_share']:.0f}",
            _spread(row, "hypervolume", 3),
            _spread(row, "at_equal_epochs", 3),
            "more" if pd.isna(row["random_trials"]) else f"{row['random_trials']:.0f}",
            f"{row['repeats']:.1f}",
        )
    return table


def search_figure(traces: pd.DataFrame) -> go.Figure:
    """Hypervolume of the front against epochs spent, a line a kind of search, with a band of one
    standard deviation over the seeds."""
    figure = go.Figure()
    keys = list(Setting._fields)
    first = min(_FIRST_EPOCHS, traces["epochs"].max() / 4)
    begun = traces[traces["epochs"] >= first]
    for index, (key, trace) in enumerate(begun.groupby(keys, sort=False)):
        color = _COLORS[index % len(_COLORS)]
        name = _name(dict(zip(keys, key, strict=True)))
        high = trace["hypervolume"] + trace["hypervolume_sd"]
        low = trace["hypervolume"] - trace["hypervolume_sd"]
        figure.add_scatter(
            x=[*trace["epochs"], *trace["epochs"][::-1]],
            y=[*high, *low[::-1]],
            fill="toself",
            fillcolor=color,
            opacity=0.07,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
            legendgroup=name,
        )
        figure.add_scatter(
            x=trace["epochs"],
            y=trace["hypervolume"],
            name=name,
            legendgroup=name,
            line={"color": color, "width": 2},
        )
    figure.update_layout(
        template="plotly_white",
        title="What epochs buy: hypervolume of the front (log parameters, log error)",
        legend={"orientation": "h", "y": -0.16},
    )
    figure.update_xaxes(title="epochs spent by all trials", type="log", showline=True)
    figure.update_yaxes(title="hypervolume", showline=True)
    return figure


def write_frame(frame: pd.DataFrame, file: Path) -> None:
    """Write as CSV, numbers to four places."""
    file.write_text(frame.round(4).to_csv(index=False, lineterminator="\n"), "utf-8")


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left")
    for heading in headings:
        table.add_column(heading, justify="left" if heading == headings[0] else "right")
    return table


def _name(row: Mapping[Any, Any]) -> str:
    pruner = "" if row["pruner"] == "none" else f", {row['pruner']}"
    repeats = "" if row["distinct"] else ", repeats kept"
    start = "" if row["proven"] else ", from nothing"
    return f"{row['sampler']}{pruner}{repeats}{start}"


def _spread(row: Mapping[Any, Any], column: str, places: int) -> str:
    if pd.isna(row[column]):
        return ""
    return f"{row[column]:.{places}f} ± {row[f'{column}_sd']:.{places}f}"
