"""Search the catalog: filters, sort order and pages of datasets and maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from cartoframes_lite.local.catalog import dataset_tables
from cartoframes_lite.local.catalog.visualizations import CATALOG_QUERY, Catalog, Visualization
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.postgres.roles import PUBLIC_ROLE
from cartoframes_lite.local.state import State

# SQL expressions by sort key. This server does not count views and likes.
ORDERS = {
    "name": "lower(name)",
    "updated_at": "updated_at",
    "size": "size",
    "mapviews": "NULL::integer",
    "favorited": "NULL::integer",
    "estimated_row_count": "row_count",
    "privacy": "privacy",
    "dependent_visualizations": "dependents",
}
_DIRECTIONS = {"asc": "ASC NULLS FIRST", "desc": "DESC NULLS LAST"}


@dataclass(frozen=True, slots=True)
class Search:
    """Search criteria.

    Attributes
    ----------
    types : tuple of str
    page, per_page : int
        Page number, from 1, and page size.
    order : tuple of (str, str)
        Keys of `ORDERS`, each with "asc" or "desc".
    words : tuple of str
        Words that must all occur in the name, description or tags.
    tags : tuple of str
        Tags, of which at least one must match.
    privacy : str or None
    locked : bool or None
    published : bool
        Only maps that are not private.
    listed : bool
        Only public datasets and maps, for callers other than the owner.
    bbox : tuple of float or None
        (west, south, east, north) in degrees; only datasets and maps with geometry in it.
    """

    types: tuple[str, ...]
    page: int = 1
    per_page: int = 20
    order: tuple[tuple[str, str], ...] = (("updated_at", "desc"),)
    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    privacy: str | None = None
    locked: bool | None = None
    published: bool = False
    listed: bool = False
    bbox: tuple[float, float, float, float] | None = None


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One page of results.

    Attributes
    ----------
    visualizations : list of Visualization
        The results on this page.
    total : int
        Number of results on all pages.
    all, locked : int
        Number of all and of locked visualizations of the given types, regardless of the other criteria.
    """

    visualizations: list[Visualization]
    total: int
    all: int
    locked: int


def search(state: State, catalog: Catalog, criteria: Search) -> SearchResult:
    """Return one page of the datasets and maps that match the criteria."""
    values = _values(state, catalog, criteria)
    source = sql.SQL("FROM ({}) AS catalog WHERE {}").format(sql.SQL(CATALOG_QUERY), _condition(criteria))
    order = [sql.SQL(f"{ORDERS[name]} {_DIRECTIONS[direction]}") for name, direction in criteria.order]
    page = sql.SQL("SELECT id {} ORDER BY {} LIMIT %(limit)s OFFSET %(offset)s").format(
        source, sql.SQL(", ").join([*order, sql.SQL("lower(name), id")])
    )
    with catalog.up_to_date() as connection:
        ids = [row["id"] for row in connection.execute(page, values).fetchall()]
        total = _count(connection, sql.SQL("SELECT count(*) AS number {}").format(source), values)
        of_types = "SELECT count(*) AS number FROM cartodb_local.visualizations WHERE type = ANY(%(types)s)"
        everything = _count(connection, sql.SQL(of_types), values)
        locked = _count(connection, sql.SQL(of_types + " AND locked"), values)
    return SearchResult(catalog.by_ids(ids), total, everything, locked)


def _condition(criteria: Search) -> sql.Composable:
    """Return the WHERE condition of a search."""
    conditions = {
        "type = ANY(%(types)s)": True,
        "privacy = %(privacy)s": criteria.privacy is not None,
        "privacy = 'public'": criteria.listed,
        "type <> 'table' AND privacy <> 'private'": criteria.published,
        "locked = %(locked)s": criteria.locked is not None,
        "tags && %(tags)s::text[]": bool(criteria.tags),
        "(SELECT bool_and(strpos(lower(concat_ws(' ', name, display_name, description, array_to_string(tags, ' '))),"
        " lower(word)) > 0) FROM unnest(%(words)s::text[]) word)": bool(criteria.words),
        "(table_oid = ANY(%(oids)s) OR EXISTS (SELECT FROM cartodb_local.layers l"
        " JOIN cartodb_local.visualizations d ON d.id = l.dataset_id"
        " WHERE l.map_id::text = catalog.id AND d.table_oid::bigint = ANY(%(oids)s)))": criteria.bbox is not None,
    }
    return sql.SQL(" AND ").join(sql.SQL(text) for text, needed in conditions.items() if needed)


def _values(state: State, catalog: Catalog, criteria: Search) -> dict[str, Any]:
    """Return the query parameters of a search."""
    oids_in_bbox: list[int] = []
    if criteria.bbox is not None:
        with catalog.up_to_date() as connection:
            tables = dataset_tables.geometry_tables(connection, state.owner_role)
        oids_in_bbox = dataset_tables.tables_in_bbox(state, tables, criteria.bbox)
    return {
        "public": PUBLIC_ROLE,
        "types": list(criteria.types),
        "privacy": criteria.privacy,
        "locked": criteria.locked,
        "tags": list(criteria.tags),
        "words": list(criteria.words),
        "oids": oids_in_bbox,
        "limit": criteria.per_page,
        "offset": (criteria.page - 1) * criteria.per_page,
    }


def _count(connection: Connection, query: sql.SQL | sql.Composed, values: dict[str, Any]) -> int:
    """Return the result of a count query."""
    row = connection.execute(query, values).fetchone()
    assert row is not None  # an aggregate always returns one row
    return int(row["number"])
