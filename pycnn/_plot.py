"""Pictures of a training, by Matplotlib's object interface: no global state, no window."""

from __future__ import annotations

import io
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pycnn._files import write_whole
from pycnn.exceptions import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["learning_curves"]

TRAINING, HELD_OUT = "#1f77b4", "#d95f02"  # blue and orange: also told apart by the colour-blind
SCORES = {"accuracy": "accuracy", "r2": "R²"}
# What a diagnosis has measured of each layer; two kinds in one panel, as a layer has one of them.
MEASURES = {
    "gradient_norm": "gradient norm",
    "activation_mean": "mean activation",
    "activation_std": "deviation of activations",
    "dead_share saturated_share": "share dead (relu) or saturated",
    "gradient_ratio": "dL/dh, first step over last",
}
# So many layers are named in the legend.
NAMED = 8
# A loss or norm that falls further than this is read better on a logarithmic axis.
LOG_RATIO = 30


def learning_curves(
    history: Mapping[str, Sequence[float]],
    path: str | os.PathLike[str] | None = None,
    *,
    held_out: str = "validation",
) -> Figure:
    """Draw the loss, the score where there is one, and metrics that were asked for, by epochs.

    A history of ``fit(diagnose=True)`` gets panels for the layers too.

    Parameters
    ----------
    history : History
        What `Network.fit` returns.
    path : path-like, optional
        Where to write the picture; its ending tells the format (without one, PNG). The file is
        written as a whole or not at all.
    held_out : str, default "validation"
        What the legend calls the data that the ``val_`` values were measured on.

    Returns
    -------
    matplotlib.figure.Figure
        A notebook shows it where it is a cell's last value.

    Raises
    ------
    DataError
        If the history has no epoch, or Matplotlib cannot write the format.
    ImportError
        If Matplotlib is not installed.
    """
    check_format(path)
    from pycnn._figure import Picture

    if not history.get("loss"):
        raise DataError("history holds no finished epoch to draw")
    scores = [key for key in SCORES if key in history or f"val_{key}" in history]
    scores += [key[4:] for key in history if key[:4] == "val_" and key[4:] not in (*SCORES, "loss")]
    measures = [key for key in MEASURES if any(_by_layer(history, kind) for kind in key.split())]
    count = 1 + len(scores) + len(measures)
    rows = -(-count // 3)
    columns = -(-count // rows)
    figure = Picture(figsize=(4.6 * columns, 3.5 * rows), dpi=150, layout="constrained")
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for panel in panels[count:]:
        panel.remove()
    if measures:
        _draw_layers(figure, panels[count - len(measures) : count], history, measures)
    panels = panels[: 1 + len(scores)]
    _draw(panels[0], history, "loss", held_out)
    panels[0].set_ylabel("loss")
    _scale_loss(panels[0], [*history["loss"], *history.get("val_loss", ())])
    for axes, key in zip(panels[1:], scores, strict=True):
        _draw(axes, history, key, held_out)
        axes.set_ylabel(SCORES.get(key, key))
        if key in SCORES:
            lowest = axes.get_ylim()[0]
            axes.set_ylim(max(lowest, -0.5), 1.02)  # an R² far below 0 would squeeze all the rest
    return save(figure, path)


def save(figure: Figure, path: str | os.PathLike[str] | None) -> Figure:
    """Write a figure as a whole or not at all, where there is a path; return it."""
    if path is not None:
        picture = io.BytesIO()
        figure.savefig(picture, format=_format(path))
        write_whole(Path(path), [picture.getvalue()])
    return figure


def check_format(path: str | os.PathLike[str] | None) -> None:
    """Raise unless Matplotlib is there and knows the format that the ending of `path` names."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
    except ImportError:
        raise ImportError("pictures need Matplotlib: pip install 'pycnn[plot]'") from None
    known = FigureCanvasAgg.get_supported_filetypes()
    if path is not None and _format(path) not in known:
        raise DataError(
            f"the picture's ending must be one of {', '.join(sorted(known))}; got {str(path)!r}"
        )


def _format(path: str | os.PathLike[str]) -> str:
    return Path(path).suffix[1:].lower() or "png"


def _draw(axes: Axes, history: Mapping[str, Sequence[float]], key: str, held_out: str) -> None:
    curves = ((key, "training", TRAINING), (f"val_{key}", held_out, HELD_OUT))
    for name, label, colour in curves:
        if name in history:
            points = [(e, v) for e, v in enumerate(history[name], start=1) if not math.isnan(v)]
            values = [value for _, value in points]
            marker = "o" if len(values) == 1 else ""  # a line of one point cannot be seen
            axes.plot(
                [epoch for epoch, _ in points],
                values,
                color=colour,
                linewidth=1.4,
                marker=marker,
                label=label,
            )
    _draw_epochs(axes, len(history["loss"]))
    axes.legend(frameon=False)


def _draw_epochs(axes: Axes, epochs: int) -> None:
    from matplotlib.ticker import MaxNLocator

    if epochs == 1:
        axes.set_xlim(0, 2)  # whole numbers, though there is one point only
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.grid(color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _by_layer(history: Mapping[str, Sequence[float]], kind: str) -> dict[int, Sequence[float]]:
    """Return the curves of one kind by the layer's number."""
    pattern = re.compile(re.escape(kind) + "_([0-9]+)")
    found = ((pattern.fullmatch(key), values) for key, values in history.items())
    return {int(match[1]): values for match, values in found if match}


def _draw_layers(
    figure: Figure,
    panels: Sequence[Axes],
    history: Mapping[str, Sequence[float]],
    measures: Sequence[str],
) -> None:
    """Draw a curve for each layer, from dark (the first) to light, with one legend for all."""
    import matplotlib

    kinds = [kind for measure in measures for kind in measure.split()]
    layers = sorted({layer for kind in kinds for layer in _by_layer(history, kind)})
    shades = matplotlib.colormaps["viridis"]
    colours = {layer: shades(0.9 * i / max(1, len(layers) - 1)) for i, layer in enumerate(layers)}
    handles = {}
    for axes, measure in zip(panels, measures, strict=True):
        for kind in measure.split():
            for layer, values in sorted(_by_layer(history, kind).items()):
                (handles[layer],) = axes.plot(
                    range(1, len(values) + 1),
                    values,
                    color=colours[layer],
                    linewidth=1.4,
                    marker="o" if len(values) == 1 else "",
                )
        _draw_epochs(axes, len(history["loss"]))
        axes.set_ylabel(MEASURES[measure])
        if "share" in measure:
            axes.set_ylim(-0.02, 1.02)
        elif (
            measure in ("gradient_norm", "gradient_ratio")
            and _spread(_by_layer(history, measure)) > LOG_RATIO
        ):
            axes.set_yscale("log", nonpositive="mask")
        elif measure != "activation_mean":
            axes.set_ylim(bottom=0)
    step = -(-len(layers) // NAMED)
    named = sorted({*layers[::step], layers[-1]})
    figure.legend(
        [handles[layer] for layer in named],
        [f"layer {layer}" for layer in named],
        loc="outside right center",
        frameon=False,
    )


def _spread(curves: Mapping[int, Sequence[float]]) -> float:
    """Return the ratio of the largest to the least of all values above 0."""
    values = [value for curve in curves.values() for value in curve if value > 0]
    return max(values) / min(values) if values else 1.0


def _scale_loss(axes: Axes, values: Sequence[float]) -> None:
    values = [value for value in values if not math.isnan(value)]
    least = min(values, default=0.0)
    if least > 0 and max(values) / least > LOG_RATIO:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=min(0.0, least))
