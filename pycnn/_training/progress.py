"""The progress bar, and who sees it."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, Any

from pycnn._checks import check_bool

if TYPE_CHECKING:
    from collections.abc import Callable

    from pycnn.history import History

# What a stream raises that is not there any more: None, an object without the method, a closed
# file, a terminal or a pipe whose other end has gone.
_NO_STREAM = (AttributeError, OSError, ValueError)


def _can_be_seen() -> bool:
    """Tell whether what is written to the standard error goes anywhere."""
    try:
        sys.stderr.write("")
    except _NO_STREAM:
        return False
    return True


def _is_interactive() -> bool:
    """Tell whether someone is looking: a terminal, or a notebook."""
    try:
        return bool(sys.stderr.isatty()) or "ipykernel" in sys.modules
    except _NO_STREAM:
        return False


def wants_bar(progress: bool | None) -> bool:
    """Tell whether to show a progress bar; None: where someone is looking, and tqdm is there.

    Raises
    ------
    DataTypeError
        If `progress` is neither None nor a bool.
    ImportError
        If one is asked for and tqdm is not there.
    """
    if not (_is_interactive() if progress is None else check_bool(progress, "progress")):
        return False
    try:
        import tqdm.auto  # noqa: F401
    except ImportError:
        if progress:
            raise ImportError("progress=True needs tqdm: pip install 'pycnn[progress]'") from None
        return False
    return _can_be_seen()


class Bar:
    """A progress bar, where one is wanted."""

    def __init__(self, epochs: int, progress: bool) -> None:
        self.epochs = epochs
        self.bar: Any = None
        if not progress:
            return
        from tqdm.auto import tqdm

        self.bar = tqdm(
            total=epochs,
            bar_format="{desc} |{bar:20}| {percentage:3.0f} % {elapsed}<{remaining}{postfix}",
            desc=f"epoch 1/{epochs}",
            dynamic_ncols=True,
            delay=1e-9,  # until it is drawn here
        )
        self.drawn = -math.inf
        self._draw(self._refresh)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bar is not None:
            self._draw(self.bar.close)

    def _draw(self, draw: Callable[[], Any]) -> None:
        """Draw on the terminal; where that has gone, the training goes on without a bar."""
        try:
            draw()
        except _NO_STREAM:
            self.bar.disable = True  # or it would try once more when it is collected
            self.bar = None

    def _refresh(self) -> None:
        """Draw the bar, and let go of tqdm's lock whatever happens: tqdm's own update keeps it.

        All bars of the process want that lock, those of other threads too.
        """
        with self.bar.get_lock():
            self.bar.refresh(nolock=True)
        self.drawn = time.perf_counter()

    def show(self, history: History, part: float) -> None:
        """Show the epochs that are done, and the part of the present one."""
        bar = self.bar
        if bar is None:
            return
        bar.set_description_str(
            f"epoch {min(history.epochs + 1, self.epochs)}/{self.epochs}", refresh=False
        )
        if history.epochs:
            known = {
                key: next((v for v in reversed(values) if v == v), None)
                for key, values in history.items()
            }
            last = {key: f"{value:.3g}" for key, value in known.items() if value is not None}
            bar.set_postfix(last, refresh=False)
        bar.n = history.epochs + part
        if time.perf_counter() - self.drawn >= bar.mininterval:
            self._draw(self._refresh)
