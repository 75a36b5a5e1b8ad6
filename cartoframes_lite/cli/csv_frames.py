"""Read CSV in frames of bounded size, with one type for each column of the whole file."""

from __future__ import annotations

import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandas.errors import EmptyDataError, ParserError, ParserWarning

_ROWS = 20_000  # of a frame
_SEPARATORS = (",", ";", "\t", "|")
_INTEGER = r"^[+-]?(0|[1-9][0-9]*)$"  # not 01234, which is a code
_NUMBER = r"^[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity|nan)$"
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")


def read_csv(file: str, separator: str | None, *, as_text: tuple[str, ...] = ()) -> Iterator[pd.DataFrame]:
    """Read CSV twice: for the types, and for the rows. Yields at least one frame, which may have no rows.

    Columns are integers (``Int64``), numbers (``float64``), booleans (``boolean``) or text, according to all their
    values. Numbers with leading zeros, such as postal codes, and integers beyond 64 bits are text.

    Parameters
    ----------
    file : str
        Path, also of a compressed file, or "-" for the standard input.
    separator : str or None
        None: a comma; if the first line has none, the semicolon, tab or bar in it.
    as_text : tuple of str
        Columns that are text.

    Raises
    ------
    ValueError
        If it is not CSV in UTF-8, or rows have more fields than the first line.
    """
    try:
        yield from _read_csv(file, separator, as_text)
    except UnicodeDecodeError as error:
        raise ValueError(f"cannot read {file!r}: it is not UTF-8, convert it, e.g. with iconv: {error}") from error
    except (ParserError, ParserWarning, EmptyDataError) as error:
        raise ValueError(f"cannot read {file!r} as CSV: {str(error).strip()}") from error


def _read_csv(file: str, separator: str | None, as_text: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    with _seekable(file) as path:
        separator = separator or _find_separator(path)
        kinds: dict[Any, str | None] = {}
        for frame in _text_frames(path, separator):
            for name, column in frame.items():
                kinds[name] = _common(kinds.get(name), _kind(_texts(column)))
        kinds |= dict.fromkeys(as_text, "text")
        for frame in _text_frames(path, separator):
            yield pd.DataFrame({name: _convert(column, kinds[name]) for name, column in frame.items()}, frame.index)


@contextmanager
def _seekable(file: str) -> Iterator[str]:
    """Give the path of a file; that of a temporary file for the standard input."""
    if file != "-":
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="cartoframes-lite-") as folder:
        path = Path(folder) / "input.csv"
        with path.open("w", encoding="utf-8", newline="") as copy:
            shutil.copyfileobj(sys.stdin, copy)
        yield str(path)


def _text_frames(path: str, separator: str) -> Iterator[pd.DataFrame]:
    """Yield frames of text; missing values are those of ``pandas.read_csv``."""
    with pd.read_csv(path, sep=separator, dtype=str, chunksize=_ROWS, index_col=False) as reader:
        while True:
            with warnings.catch_warnings():
                warnings.simplefilter("error", ParserWarning)  # fields beyond those of the first line would be lost
                frame = next(reader, None)
            if frame is None:
                return
            yield frame


def _find_separator(path: str) -> str:
    """Return the separator of the first line."""
    header = "".join(map(str, pd.read_csv(path, sep="\x1f", nrows=0, dtype=str, index_col=False).columns))
    found = [separator for separator in _SEPARATORS if separator in header]
    return found[0] if found else ","


def _texts(column: pd.Series[Any]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(column, pa.large_string(), from_pandas=True)])


def _trimmed(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_trim_whitespace(texts)


def _kind(texts: pa.ChunkedArray) -> str | None:
    """Return the kind of the values of a column; None if all are missing."""
    values = _trimmed(texts.drop_null())
    if not len(values):
        return None
    if pc.all(pc.match_substring_regex(values, _INTEGER)).as_py():
        try:
            _integers(values)
        except pa.ArrowInvalid:
            return "text"
        return "integer"
    if pc.all(pc.match_substring_regex(values, _NUMBER)).as_py():
        return "number"
    if pc.all(pc.is_in(values, pa.array([*_TRUE, *_FALSE], pa.large_string()))).as_py():
        return "boolean"
    return "text"


def _common(first: str | None, second: str | None) -> str | None:
    """Return the kind of a column with values of two kinds."""
    if first is None or second is None or first == second:
        return first or second
    return "number" if {first, second} == {"integer", "number"} else "text"


def _integers(texts: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.utf8_ltrim(texts, "+").cast(pa.int64())


def _convert(column: pd.Series[Any], kind: str | None) -> pd.Series[Any]:
    """Return a column of text with the dtype of its kind."""
    if kind in (None, "text"):
        return column
    values = _trimmed(_texts(column))
    dtype: Any
    if kind == "integer":
        values, dtype = _integers(values), "Int64"
    elif kind == "number":
        values, dtype = pc.utf8_ltrim(values, "+").cast(pa.float64()), "float64"
    else:
        is_true = pc.is_in(values, pa.array(_TRUE, pa.large_string()))
        values, dtype = pc.if_else(values.is_valid(), is_true, pa.scalar(None, pa.bool_())), "boolean"
    return pd.Series(pd.arrays.ArrowExtensionArray(values), column.index).astype(dtype)
