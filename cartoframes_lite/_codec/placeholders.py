"""Replace the placeholders ``%s`` and ``%(name)s`` of a query by literals, with psycopg's rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cartoframes_lite._codec.bad_value import short_repr
from cartoframes_lite._codec.literals import render
from cartoframes_lite._codec.sql_text import opaque_parts

Params = Mapping[str, Any] | Sequence[Any]

_ESCAPED_QUOTE = re.compile(r"(?<!\\)(?:\\\\)*\\'")
_PERCENT = re.compile(r"%(?:\(([^()]*+)\))?(.?)", re.DOTALL)


def fill(queries: Sequence[str], params: Params | None) -> list[str]:
    """Replace the placeholders of queries that share their parameters.

    Parameters
    ----------
    queries : sequence of str
        With positional placeholders, the parameters of the first query come first.
    params : mapping, sequence, or None
        None: the queries are returned unchanged, and ``%`` has no special meaning. Otherwise a ``%`` is written ``%%``,
        also in strings and comments, as in psycopg.

    Raises
    ------
    TypeError
        If the parameters are neither a mapping nor a sequence, or do not fit the placeholders.
    ValueError
        If a placeholder has no value, or is in quotes or in a comment, or a ``%`` is not doubled.
    """
    if params is None:
        return list(queries)
    named = isinstance(params, Mapping)
    if not named and (
        isinstance(params, str | bytes) or not isinstance(params, Sequence | np.ndarray | pd.Series | pd.Index)
    ):
        raise TypeError(f"params must be a mapping for %(name)s or a sequence for %s, not {short_repr(params)}")
    found = [list(_placeholders(query)) for query in queries]
    names = [name for query in found for _, _, name in query]
    values = _named_values(names, params) if isinstance(params, Mapping) else _positional_values(names, list(params))
    labels = names if named else range(len(values))
    rest = iter([_render(label, value) for label, value in zip(labels, values, strict=True)])
    return [_filled(query, places, rest) for query, places in zip(queries, found, strict=True)]


def _render(label: object, value: Any) -> str:
    """Render a value; an error says of which parameter it is."""
    try:
        return render(value)
    except TypeError as error:
        raise TypeError(f"params[{label!r}]: {error}") from None
    except ValueError as error:
        raise ValueError(f"params[{label!r}]: {error}") from None


def _named_values(names: list[str | None], params: Mapping[str, Any]) -> list[Any]:
    if None in names:
        raise TypeError("the query has the placeholder %s, but params is a mapping: use %(name)s, or pass a sequence")
    missing = sorted({str(name) for name in names if name not in params})
    if missing:
        raise ValueError(f"params has no value for {', '.join(missing)}: it has {short_repr(list(params))}")
    return [params[str(name)] for name in names]


def _positional_values(names: list[str | None], values: list[Any]) -> list[Any]:
    named = next((name for name in names if name is not None), None)
    if named is not None:
        raise TypeError(f"the query has the placeholder %({named})s, but params is a sequence: pass a mapping")
    if len(names) != len(values):
        raise ValueError(f"the query has {len(names)} placeholders %s, but params has {len(values)} values")
    return values


def _placeholders(query: str) -> Iterator[tuple[int, int, str | None]]:
    """Yield start, end and name (None for ``%s``) of the placeholders of a query."""
    opaque = opaque_parts(query)
    if any(query[begin] == "'" and _ESCAPED_QUOTE.search(query, begin, end) for begin, end in opaque):
        raise ValueError(
            "the query has a string with a backslash before a quote, whose end depends on standard_conforming_strings:"
            " pass the string as a parameter"
        )
    for found in _PERCENT.finditer(query):
        if found[0] == "%%":
            continue
        start, name, kind = found.start(), found[1], found[2]
        shown = query[start : start + 20]
        if kind != "s" or name == "":
            raise ValueError(f"{shown!r} is not a placeholder: use %s or %(name)s, and write %% for a percent sign")
        if any(begin <= start < end for begin, end in opaque):
            raise ValueError(
                f"the placeholder {found[0]!r} is in quotes or in a comment: remove the quotes, they are part of the"
                f" value; or write %% for a percent sign: {shown!r}"
            )
        yield start, found.end(), name


def _filled(query: str, places: list[tuple[int, int, str | None]], literals: Iterator[str]) -> str:
    parts, at = [], 0
    for start, end, _ in places:
        # Spaces keep a literal from merging with a word or string beside it.
        parts += [query[at:start].replace("%%", "%"), f" {next(literals)} "]
        at = end
    return "".join([*parts, query[at:].replace("%%", "%")])
