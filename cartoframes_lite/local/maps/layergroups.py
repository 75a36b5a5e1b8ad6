"""Instantiated maps: what their layers turned out to be, and who may see them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql
from starlette.concurrency import run_in_threadpool

from ..pool import Sessions
from ..session import Session, SQLError
from ..state import State
from . import aggregation
from .analyses import Node
from .config import Layer, MapConfig, read
from .queries import (
    DRAWABLE_OIDS,
    GEOMETRY_COLUMN,
    Box,
    Column,
    columns_of,
    estimated_rows,
    names,
    rows,
    statement,
    subquery,
    tables_of,
)
from .refusals import MapError, explain
from .styles import Style, parse_style
from .templates import Template

_LIFETIME = timedelta(hours=2)
_FRESH = timedelta(minutes=1)
_MOST = 10_000
_MOST_BYTES = 128 * 1024 * 1024
_BYTES_PER_CHARACTER, _RULE_BYTES = 8, 500  # of a description in JSON, and of a rule or one of its parts
_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Shown:
    """A layer that shows a query, and what is known of it.

    Attributes
    ----------
    layer : Layer
    columns : tuple of Column
        Of the query.
    row_count : int
        As PostgreSQL estimates it.
    aggregated : bool
        Whether the rows are so many points that they are taken together.
    style : Style, optional
        The CartoCSS, parsed.
    cells : tuple of Column
        Of the rows that are taken together.
    """

    layer: Layer
    columns: tuple[Column, ...]
    row_count: int
    aggregated: bool
    style: Style | None
    cells: tuple[Column, ...] = ()

    def source(self, box: Box, resolution: float) -> sql.Composable:
        """Return the query for a part of the map at a resolution in metres of a pixel, in parentheses."""
        text = self.layer.sql or ""
        if self.aggregated and self.layer.aggregation is not None:
            return aggregation.query(self.layer.aggregation, text, box, resolution)
        return subquery(text, box=box, resolution=resolution)

    @property
    def drawable_columns(self) -> list[Column]:
        """The columns of types that tiles have."""
        columns = [one for one in self.cells if one.name not in aggregation.OWN_COLUMNS] or self.columns
        return [one for one in columns if one.type_oid in DRAWABLE_OIDS]


@dataclass(slots=True)
class Layergroup:
    """An instantiated map.

    Attributes
    ----------
    id : str
        MD5 of its description.
    config : MapConfig
    shown : tuple of Shown
    tables : tuple of str
        Those that it reads, as schema.name.
    template : Template, optional
        That the map is an instance of, if it is one: it is seen with the owner's rights then.
    made, expires : datetime
    size_bytes : int
        Roughly what it takes of memory.
    """

    id: str
    config: MapConfig
    shown: tuple[Shown, ...]
    tables: tuple[str, ...]
    template: Template | None = None
    made: datetime = _NEVER
    expires: datetime = _NEVER
    size_bytes: int = 0


class Layergroups:
    """The instantiated maps of the account, in memory: a client instantiates an expired one again.

    Parameters
    ----------
    state : State
        Its clock counts.
    sessions : Sessions
        Of transactions that only read.
    """

    def __init__(self, state: State, sessions: Sessions) -> None:
        self._state, self._sessions = state, sessions
        self._known: OrderedDict[str, Layergroup] = OrderedDict()
        self._bytes = 0

    async def instantiate(
        self, content: Any, config: MapConfig, role: str, *, template: Template | None = None
    ) -> tuple[Layergroup, datetime]:
        """Look at the queries of a map with the rights of a role, and keep the map.

        Parameters
        ----------
        content : object
            What the configuration was read from; it makes the id.
        config : MapConfig
        role : str
        template : Template, optional
            That the map is an instance of.

        Returns
        -------
        layergroup : Layergroup
        last_updated : datetime
            When a table of the map was changed last; 1970 if that is not known.
        """
        description = _description(content, config, template)
        styles = await run_in_threadpool(_parse_styles, config)
        shown: list[Shown] = []
        tables: set[str] = set()
        async with self._sessions.open(role) as session:
            for node in config.nodes.values():
                await _check_node(session, node)
                tables.update(await tables_of(session, node.query()))
            for layer in config.queried:
                shown.append(await _look_at(session, layer, styles.get(layer.index)))
                tables.update(await tables_of(session, layer.sql or ""))
            updated = await _last_updated(session, sorted(tables))
        group = Layergroup(
            _identity(description), config, tuple(shown), tuple(sorted(tables)), template, self._state.clock.now()
        )
        group.size_bytes = _size_of(description, styles.values())
        self._keep(group)
        return group, updated

    async def instance(self, content: Any, role: str, *, template: Template) -> Layergroup:
        """Return the map of a template without parameters; it is looked at again once a minute."""
        config = read(content)
        known = self._known.get(_identity(_description(content, config, template)))
        if known is not None and self._state.clock.now() - known.made < _FRESH:
            return known
        group, _ = await self.instantiate(content, config, role, template=template)
        return group

    def find(self, identity: str) -> Layergroup:
        """Return the map of an id, which lives longer for it; raise MapError if there is none."""
        group = self._known.get(identity)
        if group is None or group.expires <= self._state.clock.now():
            self.drop(identity)
            raise unknown_map(identity)
        group.expires = self._state.clock.now() + _LIFETIME
        self._known.move_to_end(group.id)
        return group

    def drop(self, identity: str) -> None:
        """Forget a map."""
        group = self._known.pop(identity, None)
        self._bytes -= 0 if group is None else group.size_bytes

    def forget(self) -> None:
        """Forget all maps."""
        self._known.clear()
        self._bytes = 0

    def _keep(self, group: Layergroup) -> None:
        """Keep a map; those that have not been used for longest go if there are too many, or they are too large."""
        self.drop(group.id)
        group.expires = self._state.clock.now() + _LIFETIME
        self._known[group.id] = group
        self._bytes += group.size_bytes
        while len(self._known) > _MOST or (self._bytes > _MOST_BYTES and len(self._known) > 1):
            self.drop(next(iter(self._known)))


def unknown_map(identity: str) -> MapError:
    """Return the error for a map that is not kept, or not any more: a client instantiates it again."""
    return MapError(f"Invalid or nonexistent map configuration token '{identity}'", status=400)


def _description(content: Any, config: MapConfig, template: Template | None) -> bytes:
    """Return what makes a map what it is."""
    instance_of = None if template is None else [template.name, template.auth]
    text = json.dumps([content, config.nodes_as_text(), instance_of], separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _identity(description: bytes) -> str:
    """Return the id of a map: the same for the same description."""
    return hashlib.md5(description, usedforsecurity=False).hexdigest()


def _size_of(description: bytes, styles: Iterable[Style]) -> int:
    """Estimate what a map takes of memory."""
    rules = [rule for style in styles for rule in style.definitions]
    parts = sum(len(rule.filters) + len(rule.settings) for rule in rules)
    return _BYTES_PER_CHARACTER * len(description) + _RULE_BYTES * (len(rules) + parts)


def _parse_styles(config: MapConfig) -> dict[int, Style]:
    """Parse the CartoCSS of all layers, by their index."""
    return {layer.index: parse_style(layer) for layer in config.queried if layer.cartocss is not None}


async def _check_node(session: Session, node: Node) -> None:
    """Look at the query of an analysis, which CARTO runs as it is, with a semicolon at its end."""
    try:
        await columns_of(session, sql.SQL("({})").format(statement(node.query())))
    except SQLError as error:
        if explain(error)[0] in (429, 503):
            raise
        context = {"id": node.name, "node_id": node.name, "type": "source"}
        raise MapError(error.message, kind="analysis", analysis=context) from None


async def _look_at(session: Session, layer: Layer, style: Style | None) -> Shown:
    """Find out about the query of a layer."""
    text = layer.sql or ""
    columns = await columns_of(session, subquery(text))
    wanted = [GEOMETRY_COLUMN, *layer.interactivity]
    if layer.attributes:
        wanted += [layer.attributes.id, *layer.attributes.columns]
    if style:
        wanted += sorted(style.columns)
    row_count = await estimated_rows(session, text)
    aggregated = False
    if layer.aggregation is not None and any(column.name == "cartodb_id" for column in columns):
        aggregated = await _is_aggregated(session, layer.aggregation, text, row_count)
    shown = Shown(layer, tuple(columns), row_count, aggregated, style)
    if aggregated:
        shown = replace(shown, cells=tuple(await columns_of(session, shown.source((0.0, 0.0, 1.0, 1.0), 1.0))))
    known = {column.name for column in (*columns, *shown.cells)}
    for name in wanted:
        if name not in known:
            raise MapError(f'column "{name}" does not exist')
    return shown


async def _is_aggregated(session: Session, wanted: aggregation.Aggregation, text: str, row_count: int) -> bool:
    """Say whether there are enough rows, and whether they are points."""
    if row_count < wanted.threshold:
        return False
    query = sql.SQL(
        "SELECT GeometryType({geometry}) AS type FROM {source} AS cdbq WHERE {geometry} IS NOT NULL LIMIT 1"
    )
    found = await rows(session, query.format(geometry=names([GEOMETRY_COLUMN]), source=subquery(text)))
    return bool(found) and found[0]["type"] == "POINT"


async def _last_updated(session: Session, tables: list[str]) -> datetime:
    """Return when one of the tables was changed last."""
    query = sql.SQL(
        "SELECT extract(epoch FROM max(updated_at))::float8 AS epoch FROM cartodb.cdb_tablemetadata"
        " WHERE tabname = ANY (SELECT to_regclass(name) FROM unnest({}::text[]) name)"
    )
    [row] = await rows(session, query.format(sql.Literal(tables)))
    return datetime.fromtimestamp(row["epoch"] or 0, UTC)
