"""From a CSV file, or the built-in digits, to a pandas table."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pycnn.datasets import load_digits
from pycnn.exceptions import DataError

if TYPE_CHECKING:
    import pandas as pd

DIGITS = "digits"
DIGITS_TARGET = "digit"


def read_digits() -> pd.DataFrame:
    """Return the built-in digits as a table: pixel_0 ... pixel_63 and digit."""
    import pandas as pd

    X, y = load_digits()
    frame = pd.DataFrame(X, columns=[f"pixel_{i}" for i in range(X.shape[1])])
    frame[DIGITS_TARGET] = y
    return frame


def read_csv(path: Path, delimiter: str = ",", text: Collection[str] = ()) -> pd.DataFrame:
    """Return the table in a CSV file with a header line.

    Parameters
    ----------
    path : Path
    delimiter : str, default ","
        One character, or ``tab``.
    text : collection of str
        Columns to read as text even where they look like numbers.

    Raises
    ------
    DataError
        If the file holds no table.
    OSError
        If it cannot be read.
    """
    import pandas as pd

    separator = {"tab": "\t", "\\t": "\t"}.get(delimiter, delimiter)
    if len(separator) != 1 or separator in '\r\n"':
        raise DataError(f"--delimiter must be one character, or tab; got {delimiter!r}")
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            frame = pd.read_csv(
                file,
                sep=separator,
                encoding="utf-8-sig",  # with or without the mark that spreadsheets put in front
                dtype=dict.fromkeys(text, str),
                index_col=False,  # no column is a row name, also where rows have a field too much
                skipinitialspace=True,
                low_memory=False,  # one type for a column, not one for each piece of it
            )
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty") from None
    except pd.errors.ParserWarning:
        reason = "rows have more fields than the header"
        raise DataError(f"{path} is not a regular CSV table: {reason}") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except (ValueError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        raise DataError(f"{path} is not a regular CSV table: {reason}") from None
    frame.columns = frame.columns.astype(str)
    if len(frame.columns) == 1:
        header = frame.columns[0]
        for other in ";\t|,":
            if other != separator and other in header:
                name = "tab" if other == "\t" else other
                raise DataError(f"{path} has one column only, {header!r}: try --delimiter {name!r}")
    if not len(frame):
        raise DataError(f"{path} has a header but no rows")
    return frame
