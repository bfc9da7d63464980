"""How a notebook shows a network and a history: plain tables, in the notebook's own colours."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["history_table", "table"]

# Nothing names a colour: light and dark notebooks have their own.
_CELL = "padding: 0.2em 0.7em; border: none; text-align: "
_RULE = "border-bottom: 1px solid; "


def table(
    caption: str, rows: Sequence[Sequence[str]], *, words: Sequence[int] = (0,), footer: str = ""
) -> str:
    """Return a table as HTML; the first row is its head.

    Parameters
    ----------
    caption : str
        What stands above it.
    rows : sequence of sequences of str
        All text is escaped.
    words : sequence of int, default (0,)
        The columns of words, which begin at the left; the others are numbers.
    footer : str, optional
        What stands below it.
    """

    def row(cells: Sequence[str], tag: str, style: str = "") -> str:
        sides = ["left" if i in words else "right" for i in range(len(cells))]
        parts = (
            f'<{tag} style="{_CELL}{side}">{html.escape(cell)}</{tag}>'
            for cell, side in zip(cells, sides, strict=True)
        )
        return f'<tr style="background: none; {style}">{"".join(parts)}</tr>'

    head, *body = rows
    return (
        f"<div><b>{html.escape(caption)}</b>"
        '<table style="border-collapse: collapse; margin: 0.5em 0; color: inherit">'
        f"<thead>{row(head, 'th', _RULE)}</thead>"
        f"<tbody>{''.join(row(cells, 'td') for cells in body)}</tbody></table>"
        f"{html.escape(footer)}</div>"
    )


def history_table(history: Mapping[str, Sequence[float]], epochs: int) -> str:
    """Return a history as HTML: of each quantity the first and last value, and the extremes."""
    rows: list[tuple[str, ...]] = [
        ("quantity", "first", "last", "lowest", "in epoch", "highest", "in epoch")
    ]
    for name, values in history.items():
        measured = [(v, epoch) for epoch, v in enumerate(values, start=1) if not math.isnan(v)]
        ends = [f"{value:.4g}" for value, _ in (measured[0], measured[-1])] if measured else []
        lowest = min(measured, default=None)
        highest = max(measured, key=lambda point: (point[0], -point[1]), default=None)
        for value, epoch in (point for point in (lowest, highest) if point is not None):
            ends += [f"{value:.4g}", f"{epoch}"]
        rows.append((name, *ends, *[""] * (6 - len(ends))))
    return table(f"History of {epochs} epoch{'s' * (epochs != 1)}", rows)
