"""Widgets: histograms, categories and numbers under a map, which filter its layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, get_args

Operation = Literal["count", "avg", "sum", "min", "max"]

_OPERATIONS: tuple[str, ...] = get_args(Operation)
_MAX_BINS = 100
_MAX_CATEGORIES = 50


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram of a column of numbers, dates or times, under a map; selecting bars filters the layer.

    Parameters
    ----------
    column : str
    bins : int, default 20
        Number of bars, from 2 to 100.
    title : str, optional
        None: the name of the column.
    layer : int, optional
        Index of the layer in the map, from 0. None: the top layer.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> shown = cfl.Map("stations", widgets=[cfl.Histogram("year"), cfl.Categories("name")])
    """

    column: str
    bins: int = 20
    title: str | None = None
    layer: int | None = None

    def __post_init__(self) -> None:
        _check_column(self.column, "column")
        _check_count(self.bins, "bins", 2, _MAX_BINS)
        _check_common(self.title, self.layer)


@dataclass(frozen=True, slots=True)
class Categories:
    """The most frequent values of a column as bars, under a map; selecting values filters the layer.

    Parameters
    ----------
    column : str
    operation : {"count", "sum", "avg", "min", "max"}
        What the length of a bar means: the number of rows, or an aggregate of ``value``.
    value : str, optional
        Numeric column that is aggregated, unless ``operation`` is "count".
    limit : int, default 8
        Largest number of values; the remaining ones are "Other".
    title : str, optional
        None: the name of the column.
    layer : int, optional
        Index of the layer in the map, from 0. None: the top layer.
    """

    column: str
    operation: Operation = "count"
    value: str | None = None
    limit: int = 8
    title: str | None = None
    layer: int | None = None

    def __post_init__(self) -> None:
        _check_column(self.column, "column")
        _check_operation(self.operation, self.value, "value")
        _check_count(self.limit, "limit", 1, _MAX_CATEGORIES)
        _check_common(self.title, self.layer)


@dataclass(frozen=True, slots=True)
class Formula:
    """A number under a map: how many rows are visible, or an aggregate of them.

    Parameters
    ----------
    operation : {"count", "sum", "avg", "min", "max"}
    column : str, optional
        Numeric column, unless ``operation`` is "count".
    title : str, optional
        None: operation and column.
    layer : int, optional
        Index of the layer in the map, from 0. None: the top layer.
    """

    operation: Operation = "count"
    column: str | None = None
    title: str | None = None
    layer: int | None = None

    def __post_init__(self) -> None:
        _check_operation(self.operation, self.column, "column")
        _check_common(self.title, self.layer)


Widget = Histogram | Categories | Formula


def check_widgets(widgets: Any, layer_count: int) -> tuple[Widget, ...]:
    """Return widgets as a tuple; raise TypeError or ValueError if one is none, or has a layer that the map lacks."""
    listed = (widgets,) if isinstance(widgets, Widget) or not isinstance(widgets, Sequence) else tuple(widgets)
    for widget in listed:
        if not isinstance(widget, Widget):
            raise TypeError(f"a widget must be a Histogram, Categories or Formula, not {widget!r}")
        if widget.layer is not None and widget.layer >= layer_count:
            raise ValueError(f"{widget!r}: the map has layers 0 to {layer_count - 1}")
    return listed


def layer_of(widget: Widget, layer_count: int) -> int:
    """Return the position of the layer of a widget."""
    return layer_count - 1 if widget.layer is None else int(widget.layer)


def _check_column(column: object, name: str) -> None:
    if not isinstance(column, str):
        raise TypeError(f"{name} must be the name of a column, not {column!r}")


def _check_operation(operation: object, column: object, name: str) -> None:
    """Raise unless the operation is known, and has a column if it needs one."""
    if operation not in _OPERATIONS:
        raise ValueError(f"operation must be one of {', '.join(map(repr, _OPERATIONS))}, not {operation!r}")
    if operation != "count":
        if column is None:
            raise ValueError(f"operation={operation!r} needs a numeric column: pass {name}=")
        _check_column(column, name)
    elif column is not None:
        raise ValueError(f'operation="count" counts rows: {name}={column!r} has no effect')


def _check_count(count: object, name: str, least: int, most: int) -> None:
    if not isinstance(count, Integral) or isinstance(count, bool) or not least <= int(count) <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most}, not {count!r}")


def _check_common(title: object, layer: object) -> None:
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title must be a str or None, not {title!r}")
    if layer is not None and (not isinstance(layer, Integral) or isinstance(layer, bool) or int(layer) < 0):
        raise ValueError(f"layer must be the index of a layer, from 0, or None, not {layer!r}")
