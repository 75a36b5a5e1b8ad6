"""Results on the terminal: tables, fields, JSON and errors."""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from numbers import Number
from typing import Any

import numpy as np
import pandas as pd
from shapely.geometry.base import BaseGeometry

_MIN_WIDTH = 12
# Advice in messages of the package, as regular expressions, and the same advice for the command line.
_ADVICE = {
    r"list_tables\(\) returns all tables": "`cartoframes-lite list` shows all tables",
    r"pass lnglat=\('([^']*)', '([^']*)'\)": r"pass --lnglat \1,\2",
    r'pass if_exists="(\w+)"': r"pass --if-exists \1",
    r"pass profile=,": "pass --profile,",
    r"geom_col takes WKT": "the_geom takes WKT",
    r"rename them in the frame with df\.rename\(columns=\.\.\.\)": "rename them in the file",
}


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as dicts of Python values; missing values are None."""
    columns = {str(name): [_value(value) for value in frame[name]] for name in frame.columns}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _value(value: object) -> object:
    if isinstance(value, (list, dict, np.ndarray, BaseGeometry)) or not pd.api.types.is_scalar(value):
        return value
    if pd.isna(value):  # type: ignore[call-overload]  # a scalar
        return None
    return value.item() if isinstance(value, np.generic) else value


def print_json(value: object) -> None:
    """Print JSON: geometries as GeoJSON, times in ISO 8601, bytes in base64, infinity and NaN as text."""
    json.dump(_finite(value), sys.stdout, default=_json_value, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def _finite(value: Any) -> Any:
    """Return a value whose numbers are valid JSON, which has neither infinity nor NaN; as text, as in PostgreSQL."""
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


def _json_value(value: Any) -> object:
    if isinstance(value, BaseGeometry):
        return _finite(value.__geo_interface__)
    if isinstance(value, (datetime, date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        if not value.is_finite():
            return str(value)
        return int(value) if value == value.to_integral_value() else float(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, np.ndarray):
        return _finite(value.tolist())
    return str(value)


def for_command_line(message: str) -> str:
    """Return a message of the package with advice for the command line instead of Python."""
    for pattern, advice in _ADVICE.items():
        message = re.sub(pattern, advice, message)
    return message


def print_error(error: BaseException, *, as_json: bool) -> None:
    """Print an error to the standard error."""
    message = for_command_line(str(error))
    if as_json:
        text = json.dumps({"error": {"type": type(error).__name__, "message": message}})
    else:
        text = "\n".join([f"cartoframes-lite: {message}", *getattr(error, "__notes__", [])])
    print(text, file=sys.stderr)


def print_fields(fields: Mapping[str, object]) -> None:
    """Print names and values, one per line; empty values are omitted."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", [])}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        text = ", ".join(map(_text, value)) if isinstance(value, list) else _text(value)
        print(f"{name:{width}}  {text}")


def print_records(
    records: Sequence[Mapping[str, object]], columns: Sequence[str], *, noun: str | None = "rows"
) -> None:
    """Print rows as a table that fits the terminal, and their number."""
    cells = [[_text(record.get(name)) for name in columns] for record in records]
    is_number = [
        all(isinstance(record.get(name), Number | None) for record in records) and bool(records) for name in columns
    ]
    widths = _widths([list(map(_text, columns)), *cells])
    for line in ([*map(_text, columns)], ["-" * width for width in widths], *cells):
        parts = zip(line, widths, is_number, strict=True)
        print("  ".join(_fit(text, width, right=right) for text, width, right in parts).rstrip())
    if noun is not None:
        count = len(records)
        print(f"({count:,} {noun.removesuffix('s') if count == 1 else noun})")


def _text(value: object) -> str:
    """Return a value as one line without control characters, which a terminal would obey."""
    if value is None:
        return ""
    if isinstance(value, BaseGeometry):
        text = value.wkt
    elif isinstance(value, (dict, list)):
        text = json.dumps(value, default=_json_value, ensure_ascii=False)
    else:
        text = str(value)
    return "".join(
        char if char == " " or unicodedata.category(char)[0] not in "CZ" else repr(char)[1:-1] for char in text
    )


def _widths(lines: Iterable[Sequence[str]]) -> list[int]:
    """Return the widths of the columns; the widest are narrowed until a line fits the terminal."""
    widths = [max(map(_width, column)) for column in zip(*lines, strict=True)]
    if not sys.stdout.isatty():
        return widths
    room = shutil.get_terminal_size().columns - 2 * (len(widths) - 1)
    while sum(widths) > room and max(widths, default=0) > _MIN_WIDTH:
        widest = widths.index(max(widths))
        widths[widest] -= 1
    return widths


def _width(text: str) -> int:
    """Return the number of terminal cells of a text."""
    return sum(0 if unicodedata.combining(char) else 1 + (unicodedata.east_asian_width(char) in "WF") for char in text)


def _fit(text: str, width: int, *, right: bool) -> str:
    """Shorten or pad a text."""
    if _width(text) > width:
        while _width(text) > width - 1:
            text = text[:-1]
        text += "…"
    padding = " " * (width - _width(text))
    return padding + text if right else text + padding
