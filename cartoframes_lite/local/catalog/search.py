"""Search the catalog: filters, sort order and pages of datasets and maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from cartoframes_lite.local.catalog.visualizations import CATALOG_QUERY, Catalog, Visualization
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.postgres.roles import PUBLIC_ROLE

# SQL expressions by sort key. This server does not count views of maps.
ORDERS = {
    "name": "lower(name)",
    "updated_at": "updated_at",
    "size": "coalesce(size, 0)",
    "mapviews": "NULL::integer",
    "favorited": "is_liked",
    "estimated_row_count": "coalesce(row_count, 0)",
    "privacy": "privacy",
    "dependent_visualizations": "dependents",
}
# CARTO sorts by these after the query, so that they cannot be combined and precede the rank.
UNCOMBINED_ORDERS = ("size", "mapviews", "estimated_row_count")
_DOCUMENT = """(
    setweight(to_tsvector('english', name), 'A')
    || setweight(to_tsvector('english', array_to_string(tags, '')), 'B')
    || setweight(to_tsvector('english', coalesce(description, '')), 'C'))"""
_TERMS = "plainto_tsquery('english', %(text)s)"
_TEXT_CONDITION = (
    f"({_DOCUMENT} @@ {_TERMS} OR strpos(lower(concat(name, array_to_string(tags, ''), description)),"
    " lower(%(text)s)) > 0)"
)
_RANK = f"ts_rank({_DOCUMENT}, {_TERMS}) DESC, updated_at DESC"


@dataclass(frozen=True, slots=True)
class Search:
    """Search criteria.

    Attributes
    ----------
    types : tuple of str
        Unknown types match nothing.
    offset, limit : int
        The requested page.
    order : tuple of (str, str)
        Keys of `ORDERS`, each with "asc" or "desc".
    text : str
        Text to search in name, tags and description: all its words, stemmed as English, or the text as it is. Results
        are then sorted by rank first. Empty means no condition.
    tags : tuple of str
        Tags joined by ", " must be a part of the tags, joined in the same way.
    privacy : str or None
        Unknown values match nothing.
    locked : bool or None
    liked : bool
        Only favorites.
    published : bool
        Only what is published.
    listed : bool
        Only public datasets and maps, for callers other than the owner.
    displayed : bool
        Only those with a display name.
    vector : bool
        Without rasters.
    bbox : tuple of float or None
        (west, south, east, north) in degrees; only imported datasets whose box meets it.
    nothing : bool
        Whether a filter that nothing in this account meets was requested, such as that for shared datasets.
    """

    types: tuple[str, ...]
    offset: int = 0
    limit: int = 20
    order: tuple[tuple[str, str], ...] = (("updated_at", "desc"),)
    text: str = ""
    tags: tuple[str, ...] = ()
    privacy: str | None = None
    locked: bool | None = None
    liked: bool = False
    published: bool = False
    listed: bool = False
    displayed: bool = False
    vector: bool = False
    bbox: tuple[float, float, float, float] | None = None
    nothing: bool = False


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of results.

    Attributes
    ----------
    visualizations : list of Visualization
        The results on this page.
    total : int
        Number of results on all pages.
    all, locked, liked : int
        Number of all, of locked and of unlocked favorite visualizations of the given types, regardless of the other
        criteria.
    """

    visualizations: list[Visualization]
    total: int
    all: int
    locked: int
    liked: int


def search(catalog: Catalog, criteria: Search) -> SearchResult:
    """Return one page of the datasets and maps that match the criteria."""
    values = _values(criteria)
    source = sql.SQL("FROM ({}) AS catalog WHERE {}").format(sql.SQL(CATALOG_QUERY), _condition(criteria))
    page = sql.SQL("SELECT id, count(*) OVER () AS total {} ORDER BY {} LIMIT %(limit)s OFFSET %(offset)s").format(
        source, _order(criteria)
    )
    totals = sql.SQL(
        "SELECT count(*) AS all, count(*) FILTER (WHERE locked) AS locked,"
        " count(*) FILTER (WHERE is_liked AND NOT locked) AS liked"
        " FROM cartodb_local.visualizations WHERE type = ANY(%(types)s)"
    )
    with catalog.up_to_date() as connection:
        rows = connection.execute(page, values).fetchall()
        # A page after the last one has no row with the total.
        counted = rows[0] if rows else _row(connection, sql.SQL("SELECT count(*) AS total {}").format(source), values)
        counts = _row(connection, totals, values)
    return SearchResult(catalog.by_ids([row["id"] for row in rows]), counted["total"], **counts)


def _order(criteria: Search) -> sql.Composable:
    """Return the ORDER BY expressions of a search; ties are sorted by name."""
    given = [f"{ORDERS[name]} {direction}" for name, direction in criteria.order]
    if criteria.text:
        first = criteria.order[0][0]
        given = [*given, _RANK] if first in UNCOMBINED_ORDERS else [_RANK, *given]
    return sql.SQL(", ").join(sql.SQL(expression) for expression in (*given, "lower(name)", "id"))


def _condition(criteria: Search) -> sql.Composable:
    """Return the WHERE condition of a search."""
    conditions = {
        "type = ANY(%(types)s)": True,
        "privacy = %(privacy)s": criteria.privacy is not None,
        "privacy = 'public'": criteria.listed,
        "privacy <> 'private' AND (type <> 'derived' OR version <> 3 OR has_mapcap)": criteria.published,
        "locked = %(locked)s": criteria.locked is not None,
        "is_liked": criteria.liked,
        "display_name IS NOT NULL": criteria.displayed,
        "kind <> 'raster'": criteria.vector,
        "strpos(lower(array_to_string(tags, ', ')), lower(%(tags)s)) > 0": bool(criteria.tags),
        _TEXT_CONDITION: bool(criteria.text),
        "bbox[1] <= %(east)s AND bbox[3] >= %(west)s AND bbox[2] <= %(north)s AND bbox[4] >= %(south)s": (
            criteria.bbox is not None
        ),
        "false": criteria.nothing,
    }
    return sql.SQL(" AND ").join(sql.SQL(text) for text, needed in conditions.items() if needed)


def _values(criteria: Search) -> dict[str, Any]:
    """Return the query parameters of a search."""
    return {
        "public": PUBLIC_ROLE,
        "types": list(criteria.types),
        "privacy": criteria.privacy,
        "locked": criteria.locked,
        "tags": ", ".join(criteria.tags),
        "text": criteria.text,
        "limit": criteria.limit,
        "offset": criteria.offset,
        **dict(zip(("west", "south", "east", "north"), criteria.bbox or (None,) * 4, strict=True)),
    }


def _row(connection: Connection, query: sql.SQL | sql.Composed, values: dict[str, Any]) -> dict[str, Any]:
    """Return the only row of a query."""
    row = connection.execute(query, values).fetchone()
    assert row is not None  # an aggregate always returns one row
    return dict(row)
