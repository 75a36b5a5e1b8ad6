"""Complete lists from pages whose order is not total and whose entries change while they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

_ATTEMPTS = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list.

    Attributes
    ----------
    entries : mapping
        Entries by id.
    size : int
        Number of entries of the page, including repeated ones.
    total : int
        Number of entries of the list, as counted by the server.
    """

    entries: Mapping[str, T]
    size: int
    total: int


def complete_list(request: Callable[[int, str], Page[T]]) -> dict[str, T]:
    """Read all pages of a list, again if entries may be missing.

    Entries with the same name have no fixed order, so that a page may repeat an entry of another page and another
    entry is in none of them. The same happens if entries are added or deleted between two requests. The pages are
    therefore read in both directions in turn, until two consecutive attempts together have as many entries as the
    server counts; a list of one page is read once.

    Parameters
    ----------
    request : callable
        Returns a page, counted from 1, in the direction "asc" or "desc".

    Returns
    -------
    dict
        Entries by id. After five attempts, all entries that were seen.
    """
    seen: dict[str, T] = {}
    previous: dict[str, T] | None = None
    for attempt in range(_ATTEMPTS):
        direction = "desc" if attempt % 2 else "asc"
        found: dict[str, T] = {}
        read = 0
        for number in count(1):
            page = request(number, direction)
            found |= page.entries
            read += page.size
            if page.size == 0 or read >= page.total:
                break
        if number == 1:
            return found
        if previous is not None and len(both := previous | found) == page.total:
            return both
        seen |= found
        previous = found
    return seen
