"""Lists that a notebook displays as one table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, SupportsIndex, TypeVar, overload

from cartoframes_lite._codec.html import html_grid

T = TypeVar("T")

_MAX_SHOWN = 60  # as pandas: display.max_rows


class Listing(list[T]):
    """A list that a notebook displays as a table with one row per item.

    Parameters
    ----------
    items : iterable
    title : str
    describe : callable
        Returns the columns of an item, without a request.
    """

    def __init__(self, items: Iterable[T], title: str, describe: Callable[[T], Mapping[str, object]]) -> None:
        super().__init__(items)
        self._title, self._describe = title, describe

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)  # copies and pickles are plain lists

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> list[T]: ...

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        return Listing(found, self._title, self._describe) if isinstance(index, slice) else found

    def _repr_html_(self) -> str:
        rows = [self._describe(item) for item in self[:_MAX_SHOWN]]
        return html_grid(f"{len(self):,} {self._title}", rows, hidden=len(self) - len(rows))
