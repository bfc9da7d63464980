"""What the commands print, and where they write."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click

from pycnn.cli import report
from pycnn.exceptions import DataError


def note(message: str) -> None:
    """Print to standard error, where there is one."""
    if sys.stderr is not None:  # print would take None for standard output
        print(report.shown(message), file=sys.stderr)


def say(message: str) -> None:
    """Print a text that may hold names and labels of a file."""
    click.echo(report.shown(message, lines=True))


def write(content: str) -> None:
    """Print a file's content: as it is, but for control characters where somebody looks."""
    sys.stdout.write(report.shown(content, lines=True) if sys.stdout.isatty() else content)


def as_csv(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as lines of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def check_outputs(source: Path | None, out: Path, plot_path: Path | None, *inputs: Path) -> None:
    """Find out before the work, not after it, that its results cannot be written."""
    sources = [path for path in (source, *inputs) if path is not None]
    outputs = [path for path in (out, plot_path) if path is not None]
    for path in outputs:
        folder = path.parent
        if path.is_dir():
            raise DataError(f"cannot write {path}: it is a folder")
        if not folder.is_dir():
            raise DataError(f"cannot write {path}: there is no folder {folder}")
        if not os.access(folder, os.W_OK):
            raise DataError(f"cannot write {path}: the folder {folder} is write-protected")
        if any(path.resolve() == other.resolve() for other in sources):
            raise DataError(f"cannot write {path}: it is what is read")
    if plot_path is not None:
        if plot_path.resolve() == out.resolve():
            raise DataError(f"model and learning curve cannot both be written to {out}")
        from pycnn._plot import check_format

        check_format(plot_path)
