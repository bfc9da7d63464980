"""From a file, or the built-in digits, to a pandas table."""

from __future__ import annotations

import codecs
import contextlib
import csv
import functools
import importlib
import io
import re
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from pycnn._table.cells import Reading
from pycnn.datasets import load_digits
from pycnn.exceptions import DataError, PycnnError

if TYPE_CHECKING:
    import pandas as pd

DIGITS = "digits"
DIGITS_TARGET = "digit"

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zip": "zip"}
# What is not CSV: the format, and the module that pandas reads it with.
FORMATS = {
    ".parquet": ("Parquet", "pyarrow"),
    ".feather": ("Feather", "pyarrow"),
    ".xlsx": ("Excel", "openpyxl"),
    ".xlsm": ("Excel", "openpyxl"),
    ".xls": ("Excel", "xlrd"),
    ".ods": ("Excel", "odf"),
    ".json": ("JSON", "json"),
    ".jsonl": ("JSON", "json"),
    ".ndjson": ("JSON", "json"),
}
# How a file begins whose name does not tell what it is.
BEGINNINGS = {
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\xfd7zXZ\0": ".xz",
    b"PK\3\4": ".zip",
    b"PAR1": ".parquet",
    b"ARROW1": ".feather",
    b"\xd0\xcf\x11\xe0": ".xls",
}
# So many rows show whether a column's numbers have leading zeros.
ROWS_TO_SHOW_CODES = 1000
# In a wider table they are not looked for, but in the target.
MOST_COLUMNS_WITH_CODES = 100


# ------------------------------------------------------------------ options


@dataclass(frozen=True)
class Options:
    """What the user says about a file; None is for what a model or the default decides."""

    delimiter: str | None = None
    decimal: str | None = None
    thousands: str | None = None
    encoding: str | None = None
    na: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    date: tuple[str, ...] = ()

    @property
    def given(self) -> list[str]:
        """Names of the options that were given."""
        return [f"--{name}" for name, value in vars(self).items() if value not in (None, ())]

    def over(self, reading: Reading) -> Reading:
        """Return how a file is read: as the model's was, unless the user says otherwise."""
        made = Reading(
            na=list(dict.fromkeys([*reading.na, *self.na])),
            decimal=reading.decimal if self.decimal is None else self.decimal,
            thousands=reading.thousands if self.thousands is None else self.thousands,
            delimiter=reading.delimiter if self.delimiter is None else self.delimiter,
            encoding=reading.encoding if self.encoding is None else self.encoding,
        )
        made.delimiter = {"tab": "\t", "\\t": "\t"}.get(made.delimiter, made.delimiter)
        if self.delimiter is not None and (len(made.delimiter) != 1 or made.delimiter in '\r\n"'):
            raise DataError(f"--delimiter must be one character, or tab; got {self.delimiter!r}")
        try:
            "".encode(made.encoding)
        except (LookupError, ValueError):
            raise DataError(f"--encoding: there is no text encoding {made.encoding!r}") from None
        return made.check()


OPTIONS = (
    click.option("--delimiter", metavar="CHAR", help="Between fields, or 'tab'; by default ','."),
    click.option("--decimal", metavar="CHAR", help="Decimal mark; by default '.'."),
    click.option("--thousands", metavar="CHAR", help="Mark between thousands; by default none."),
    click.option("--encoding", metavar="NAME", help="Of the text; by default UTF-8."),
    click.option("--na", multiple=True, metavar="TEXT", help="Stands for missing; repeatable."),
    click.option("--text", multiple=True, metavar="COLUMN", help="Take as text; repeatable."),
    click.option(
        "--date",
        multiple=True,
        metavar="COLUMN[=FORM]",
        help="Take as dates, of a form such as %d/%m/%Y if it is not plain; repeatable.",
    ),
)


def reading_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of reading a table, as its one argument `options`."""

    @functools.wraps(command)
    def with_options(**arguments: Any) -> Any:
        names = Options.__dataclass_fields__
        options = Options(**{name: arguments.pop(name) for name in names})
        return command(options=options, **arguments)

    for option in reversed(OPTIONS):
        with_options = option(with_options)
    return with_options


# ------------------------------------------------------------------ reading


def read_digits() -> pd.DataFrame:
    """Return the built-in digits as a table: pixel_0 ... pixel_63 and digit."""
    import pandas as pd

    X, y = load_digits()
    frame = pd.DataFrame(X, columns=[f"pixel_{i}" for i in range(X.shape[1])])
    frame[DIGITS_TARGET] = y
    return frame


def read(
    path: Path, reading: Reading, *, text: Collection[str] = (), codes: str | None = None
) -> pd.DataFrame:
    """Return the table in a file: CSV with a header line, Parquet, Feather, Excel or JSON.

    Cells that look like numbers come as numbers, all others as they are written; only empty ones
    are missing.

    Parameters
    ----------
    path : Path
    reading : Reading
    text : collection of str
        Columns of which all cells come as they are written.
    codes : str, optional
        The target: whole numbers of it that are written with leading zeros come as text, and
        ``frame.attrs["codes"]`` has such other columns, each with an example.

    Raises
    ------
    DataError
        If the file holds no table.
    OSError
        If it cannot be read.
    ImportError
        If a library that reads it is missing.
    """
    with path.open("rb") as opened:
        file: IO[bytes] = opened if opened.seekable() else io.BytesIO(opened.read())
        suffix = path.suffix.lower()
        if suffix not in COMPRESSIONS and suffix not in FORMATS:
            suffix = _suffix_by_beginning(file) or suffix
        kind = COMPRESSIONS.get(suffix, suffix)
        try:
            if suffix in COMPRESSIONS:
                file, name = _decompressed(file, kind, path.stem)
                suffix = Path(name).suffix.lower()
            if suffix in FORMATS:
                kind = FORMATS[suffix][0]
                frame = _read_format(file, suffix)
            else:
                sign = reading.delimiter or ("\t" if suffix in (".tsv", ".tab") else ",")
                frame = _read_csv(path, file, replace(reading, delimiter=sign), text, codes)
        except (PycnnError, ImportError, MemoryError):
            raise
        except Exception as error:  # a damaged file has its library raise one of very many
            if isinstance(error, OSError) and error.errno is not None:
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
            raise DataError(f"{path} is not an intact {kind} file: {reason}") from None
    frame.columns = frame.columns.map(str)
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise DataError(f"{path} names a column twice: {twice[0]!r}")
    if not len(frame):
        raise DataError(f"{path} has a header but no rows")
    return frame


def _suffix_by_beginning(file: IO[bytes]) -> str:
    """Return what a file's name should end with, or nothing."""
    beginning = file.read(8)
    file.seek(0)
    suffix = next((s for start, s in BEGINNINGS.items() if beginning.startswith(start)), "")
    if suffix == ".zip":
        import zipfile

        with contextlib.suppress(zipfile.BadZipFile), zipfile.ZipFile(file) as archive:
            if "xl/workbook.xml" in archive.namelist():
                suffix = ".xlsx"
        file.seek(0)
    return suffix


def _decompressed(file: IO[bytes], compression: str, name: str) -> tuple[IO[bytes], str]:
    """Return what a compressed file holds, and its name."""
    if compression != "zip":
        library = importlib.import_module({"gzip": "gzip", "bz2": "bz2", "xz": "lzma"}[compression])
        return library.open(file), name
    import zipfile

    archive = zipfile.ZipFile(file)
    names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX/")]
    if len(names) != 1:
        raise DataError(f"a zip file must hold one table, but {name!r} holds {len(names)} files")
    return archive.open(names[0]), names[0]


def _read_format(file: IO[bytes], suffix: str) -> pd.DataFrame:
    import pandas as pd

    name, module = FORMATS[suffix]
    try:
        importlib.import_module(module)
    except ImportError:
        package = {"odf": "odfpy", "xlrd": "xlrd"}.get(module, "'pycnn[tables]'")
        raise ImportError(f"{name} files ({suffix}) need {module}: pip install {package}") from None
    if name == "JSON":
        return _read_json(file.read().decode("utf-8-sig"))
    if name == "Excel":
        cells = pd.read_excel(
            file, header=None, dtype=object, keep_default_na=False, na_values=[""], engine=module
        ).dropna(how="all")
        if not len(cells):
            raise DataError("the first sheet is empty")
        header = ["" if pd.isna(name) else str(name) for name in cells.iloc[0]]
        frame = cells.iloc[1:].reset_index(drop=True).infer_objects()
        frame.columns = [head or f"Unnamed: {at}" for at, head in enumerate(header)]
        return frame
    frame = pd.read_feather(file) if name == "Feather" else pd.read_parquet(file, engine=module)
    return frame.reset_index(drop=frame.index.names == [None])


def _read_json(content: str) -> pd.DataFrame:
    """Return the table in JSON: an object a line, an array of objects, or an object of columns."""
    import json

    import pandas as pd

    load = functools.partial(json.loads, object_pairs_hook=_named_once)
    try:
        table: Any = load(content)
    except json.JSONDecodeError:
        table = [load(line) for line in content.splitlines() if line.strip()]
    else:
        if isinstance(table, dict) and not any(isinstance(v, (dict, list)) for v in table.values()):
            table = [table]  # one line
    if isinstance(table, list) and not all(isinstance(row, dict) for row in table):
        raise DataError("a table in JSON must be of objects, one a row")
    return pd.DataFrame(table).reset_index(drop=True)


def _named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a mapping, or raise `DataError` for a name that it has twice."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"an object in JSON names {twice!r} twice")
    return made


def _read_csv(
    path: Path, file: IO[bytes], reading: Reading, text: Collection[str], codes: str | None
) -> pd.DataFrame:
    import pandas as pd

    _check_encoding(path, file, reading)
    utf8 = codecs.lookup(reading.encoding).name == "utf-8"

    def parse(**options: Any) -> pd.DataFrame:
        file.seek(0)
        return pd.read_csv(
            file,
            sep=reading.delimiter,
            decimal=reading.decimal,
            # With or without the mark that spreadsheets put in front.
            encoding="utf-8-sig" if utf8 else reading.encoding,
            keep_default_na=False,
            na_values=[""],
            index_col=False,  # no column is a row name, also where rows have a field too much
            skipinitialspace=True,
            low_memory=False,  # one type for a column, not one for each piece of it
            **options,
        )

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)
            _check_header(path, file, "utf-8-sig" if utf8 else reading.encoding, reading)
            frame = parse(dtype=dict.fromkeys(text, str))
            if codes is not None:
                _keep_codes(frame, codes, parse)
    except PycnnError:
        raise
    except pd.errors.EmptyDataError:
        raise DataError(f"{path} is empty") from None
    except pd.errors.ParserWarning:
        reason = "rows have more fields than the header"
        raise DataError(f"{path} is not a regular CSV table: {reason}") from None
    except UnicodeError as error:
        way = ": --encoding latin-1 or cp1252 reads text of Western Europe" if utf8 else ""
        reason = error.reason if isinstance(error, UnicodeDecodeError) else str(error)
        name = "UTF-8" if utf8 else reading.encoding
        raise DataError(f"{path} is not {name} text, {reason}{way}") from None
    except (ValueError, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        raise DataError(f"{path} is not a regular CSV table: {reason}") from None
    return frame


def _check_encoding(path: Path, file: IO[bytes], reading: Reading) -> None:
    """Raise `DataError` for text of two bytes a letter, unless it is expected."""
    beginning = file.read(4096)
    expected = codecs.lookup(reading.encoding).name.startswith(("utf-16", "utf-32"))
    if b"\0" not in beginning or expected:
        return
    way = ""
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        way = "utf-16"
    elif not any(beginning[1::2]):
        way = "utf-16-le"
    elif not any(beginning[::2]):
        way = "utf-16-be"
    if not way:
        raise DataError(f"{path} is no text: it has bytes of zero")
    raise DataError(f"{path} is not UTF-8 text: --encoding {way} reads it")


def _check_header(path: Path, file: IO[bytes], encoding: str, reading: Reading) -> None:
    """Raise `DataError` for a header with a name twice, or with another delimiter."""
    file.seek(0)
    lines = io.TextIOWrapper(file, encoding, newline="")
    try:
        rows = csv.reader(lines, delimiter=reading.delimiter, skipinitialspace=True)
        header = next((row for row in rows if row), [])
    finally:
        lines.detach()
    places: dict[str, int] = {}
    for place, name in enumerate(header, 1):
        if name and places.setdefault(name, place) != place:
            raise DataError(
                f"{path} names a column twice: {name!r}, in columns {places[name]} and {place}"
            )
    if len(header) != 1:
        return
    for other in ";\t|,":
        if other != reading.delimiter and other in header[0]:
            way = f"--delimiter {('tab' if other == chr(9) else other)!r}"
            file.seek(0)
            if reading.decimal != "," != other and re.search(rb"\d,\d", file.read(4096)):
                way += " --decimal ','"
            raise DataError(f"{path} has one column only, {header[0]!r}: try {way}")


def _keep_codes(frame: pd.DataFrame, target: str, parse: Callable[..., pd.DataFrame]) -> None:
    """Put back the leading zeros of a target's codes; tell of other columns that have some."""
    if target in frame and _is_whole(frame[target]):
        written = parse(usecols=[target], dtype=str)[target]
        if _code(written):
            frame[target] = written
    if len(frame.columns) > MOST_COLUMNS_WITH_CODES:
        return
    named = [name for name in frame.columns if not name.startswith("Unnamed: ")]
    others = [name for name in named if name != target and _is_whole(frame[name])]
    if others:
        written = parse(usecols=others, dtype=str, nrows=ROWS_TO_SHOW_CODES)
        codes = {name: _code(written[name]) for name in others}
        frame.attrs["codes"] = {name: code for name, code in codes.items() if code}


def _is_whole(column: pd.Series) -> bool:
    """Tell whether a column holds whole numbers, and gaps."""
    if column.dtype.kind == "f":
        known = column.dropna()
        return bool((known == known.round()).all())
    return column.dtype.kind in "iu"


def _code(column: pd.Series) -> str:
    """Return a cell of digits with a leading zero, or nothing."""
    coded = column[column.str.fullmatch("0[0-9]+", na=False)]
    return str(coded.iloc[0]) if len(coded) else ""
