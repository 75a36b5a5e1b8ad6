"""Placeholders of named maps: validation, escaping and substitution of values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.number_parsing import parse_number

_MARK = re.compile(r"<%=\s*+(\w++)\s*+%>")
_NUMBER = re.compile(r"[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?", re.ASCII)
_COLOR = re.compile(r"[a-zA-Z]++|#[0-9a-fA-F]{3,6}")
_SIZE = re.compile(r"\s*+([-+]?\d{1,9})", re.ASCII)


def escape_value(name: str, kind: Any, value: Any) -> str:
    """Escape a value for the type of its placeholder; raise MapError if it is invalid."""
    text = json.dumps(value) if is_number(value) and kind == "number" else value
    if isinstance(text, str):
        match kind:
            case "sql_literal":
                return text.replace("'", "''")
            case "sql_ident":
                return text.replace('"', '""')
            case "number" if _NUMBER.fullmatch(text):
                return text
            case "css_color" if _COLOR.fullmatch(text):
                return text
    if kind not in ("sql_literal", "sql_ident", "number", "css_color"):
        raise MapError(f"Invalid placeholder type '{kind}'", status=400)
    raise MapError(f"Invalid {kind} value for template parameter '{name}': {value}", status=400)


def fill_placeholders(text: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders in a text; undeclared ones remain."""
    return _MARK.sub(lambda matched: values.get(matched[1], matched[0]), text)


def style_of(styles: Any, index: int) -> Any:
    """Return the CartoCSS of a request for a layer; None if there is none."""
    if isinstance(styles, Mapping):
        return styles.get(str(index))
    return styles[index] if isinstance(styles, list) and index < len(styles) else None


def parse_size(name: str, value: Any, values: Mapping[str, str]) -> Any:
    """Parse a buffer size: a number, or a str that starts with an integer."""
    if not isinstance(value, str):
        return value
    matched = _SIZE.match(fill_placeholders(value, values))
    if matched is None:
        raise MapError(f'Buffer size of format "{name}" must be a number')
    return int(matched[1])


def is_number(value: Any) -> bool:
    """Return whether a JSON value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(parse_number(value))
