"""Whether the words of a layer fit the types of its columns."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator

from cartoframes_lite.maps.styling.options import LayerOptions
from cartoframes_lite.maps.styling.statistics import ColumnKind


def check_kinds(options: LayerOptions, kind_of: Callable[[str], ColumnKind]) -> None:
    """Raise ValueError if ``color_by`` or ``size_by`` does not fit the type of its column."""
    if options["color_by"] is not None:
        check_kind(options, "color_by", kind_of(options["color_by"]))
    if options["size_by"] is not None:
        check_kind(options, "size_by", kind_of(options["size_by"]))


def check_kind(options: LayerOptions, word: str, kind: ColumnKind) -> None:
    """Raise ValueError if a word does not fit the type of the column that it names."""
    if word == "size_by":
        if kind not in ("integer", "number"):
            raise ValueError(f"size_by={options['size_by']!r} must be a numeric column; its values are of type {kind}")
        return
    column, scheme = options["color_by"], options["scheme"]
    limits = list(_limits(options))
    if kind in ("text", "boolean"):
        if scheme not in (None, "categories"):
            needed = "needs numbers, dates or times"
            raise ValueError(
                f"scheme={scheme!r} {needed}, but {column!r} has values of type {kind}; use scheme='categories'"
            )
        if limits:
            raise ValueError(f"{limits[0][0]} needs numbers, dates or times, but {column!r} has values of type {kind}")
        return
    is_time = kind in ("date", "datetime")
    for name, value in limits:
        if isinstance(value, datetime.date) is not is_time:
            expected = "dates" if is_time else "numbers"
            raise ValueError(f"{name} must be {expected}, as the values of {column!r}, not {value!r}")


def _limits(options: LayerOptions) -> Iterator[tuple[str, object]]:
    """Yield the limits of classes, with the word that they were passed with."""
    if options["k"] is not None and not isinstance(options["k"], int):
        yield from (("k", value) for value in options["k"])
    if options["vmin"] is not None:
        yield "vmin", options["vmin"]
    if options["vmax"] is not None:
        yield "vmax", options["vmax"]
