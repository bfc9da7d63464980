"""A figure of Matplotlib's that a notebook shows, also where nothing tells it to draw inline."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["Picture"]


class Picture(Figure):
    """A `matplotlib.figure.Figure` that is its own picture."""

    def _repr_png_(self) -> bytes:
        picture = io.BytesIO()
        self.savefig(picture, format="png")
        return picture.getvalue()
