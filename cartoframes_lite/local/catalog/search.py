"""Searching the catalog: which datasets and maps, in which order, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import sql

from cartoframes_lite.local.catalog import dataset_tables
from cartoframes_lite.local.catalog.visualizations import CATALOG, Catalog, Visualization
from cartoframes_lite.local.postgres.logins import Connection
from cartoframes_lite.local.postgres.roles import PUBLIC_ROLE
from cartoframes_lite.local.state import State

# What can be ordered by. Nobody counts views and likes here.
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
    """What is asked for.

    Attributes
    ----------
    types : tuple of str
    page, per_page : int
        The first page is 1.
    order : tuple of (str, str)
        Keys of `ORDERS`, each with "asc" or "desc".
    words : tuple of str
        All of them have to be in name, description or tags.
    tags : tuple of str
        One of them is enough.
    privacy : str or None
    locked : bool or None
    published : bool
        Only maps that others may see.
    listed : bool
        Only what is public, for those who are not the owner.
    bbox : tuple of float or None
        (west, south, east, north) in degrees; only what has geometry there.
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
class Found:
    """One page of what was found.

    Attributes
    ----------
    visualizations : list of Visualization
        Those of the page.
    total : int
        Number of those on all pages.
    all, locked : int
        Number of all of the types, and of the locked ones among them, whatever else was asked for.
    """

    visualizations: list[Visualization]
    total: int
    all: int
    locked: int


def search(state: State, catalog: Catalog, wanted: Search) -> Found:
    """Search the catalog."""
    values = _values(state, catalog, wanted)
    source = sql.SQL("FROM ({}) AS catalog WHERE {}").format(sql.SQL(CATALOG), _condition(wanted))
    order = [sql.SQL(f"{ORDERS[name]} {_DIRECTIONS[direction]}") for name, direction in wanted.order]
    page = sql.SQL("SELECT id {} ORDER BY {} LIMIT %(limit)s OFFSET %(offset)s").format(
        source, sql.SQL(", ").join([*order, sql.SQL("lower(name), id")])
    )
    with catalog.up_to_date() as connection:
        ids = [row["id"] for row in connection.execute(page, values).fetchall()]
        total = _count(connection, sql.SQL("SELECT count(*) AS number {}").format(source), values)
        of_types = "SELECT count(*) AS number FROM cartodb_local.visualizations WHERE type = ANY(%(types)s)"
        everything = _count(connection, sql.SQL(of_types), values)
        locked = _count(connection, sql.SQL(of_types + " AND locked"), values)
    return Found(catalog.by_ids(ids), total, everything, locked)


def _condition(wanted: Search) -> sql.Composable:
    """Write the condition of a search."""
    conditions = {
        "type = ANY(%(types)s)": True,
        "privacy = %(privacy)s": wanted.privacy is not None,
        "privacy = 'public'": wanted.listed,
        "type <> 'table' AND privacy <> 'private'": wanted.published,
        "locked = %(locked)s": wanted.locked is not None,
        "tags && %(tags)s::text[]": bool(wanted.tags),
        "(SELECT bool_and(strpos(lower(concat_ws(' ', name, display_name, description, array_to_string(tags, ' '))),"
        " lower(word)) > 0) FROM unnest(%(words)s::text[]) word)": bool(wanted.words),
        "(table_oid = ANY(%(there)s) OR EXISTS (SELECT FROM cartodb_local.layers l"
        " JOIN cartodb_local.visualizations d ON d.id = l.dataset_id"
        " WHERE l.map_id::text = catalog.id AND d.table_oid::bigint = ANY(%(there)s)))": wanted.bbox is not None,
    }
    return sql.SQL(" AND ").join(sql.SQL(text) for text, needed in conditions.items() if needed)


def _values(state: State, catalog: Catalog, wanted: Search) -> dict[str, Any]:
    """Return the parameters of the condition."""
    there: list[int] = []
    if wanted.bbox is not None:
        with catalog.up_to_date() as connection:
            tables = dataset_tables.geometry_tables(connection, state.owner_role)
        there = dataset_tables.with_rows_in(state, tables, wanted.bbox)
    return {
        "public": PUBLIC_ROLE,
        "types": list(wanted.types),
        "privacy": wanted.privacy,
        "locked": wanted.locked,
        "tags": list(wanted.tags),
        "words": list(wanted.words),
        "there": there,
        "limit": wanted.per_page,
        "offset": (wanted.page - 1) * wanted.per_page,
    }


def _count(connection: Connection, query: sql.SQL | sql.Composed, values: dict[str, Any]) -> int:
    """Return the number that a query counts."""
    row = connection.execute(query, values).fetchone()
    assert row is not None  # an aggregate returns its row
    return int(row["number"])
