"""Instantiated maps: what their layers turned out to be, and who may see them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import sql

from ..pool import Sessions
from ..session import Session
from ..state import State
from . import aggregation
from .config import Layer, MapConfig, read
from .queries import GEOMETRY_COLUMN, Box, Column, columns_of, estimated_rows, names, rows, subquery, tables_of
from .refusals import MapError
from .styles import Style, parse_style

_LIFETIME = timedelta(hours=2)
_FRESH = timedelta(minutes=1)
_MOST = 10_000
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
    """

    layer: Layer
    columns: tuple[Column, ...]
    row_count: int
    aggregated: bool
    style: Style | None

    def source(self, box: Box, resolution: float) -> sql.Composable:
        """Return the query for a part of the map at a resolution in metres of a pixel, in parentheses."""
        text = self.layer.sql or ""
        if self.aggregated and self.layer.aggregation is not None:
            return aggregation.query(self.layer.aggregation, text, box, resolution)
        return subquery(text, box=box, resolution=resolution)

    def shown_columns(self) -> list[Column]:
        """Return the columns other than geometries that tiles have."""
        wanted = [column for column in self.columns if column.name not in ("the_geom", GEOMETRY_COLUMN)]
        if not self.aggregated or self.layer.aggregation is None:
            return wanted
        if self.layer.aggregation.is_sample:
            return [*wanted, Column(aggregation.COUNT_COLUMN, 0)]
        return [Column(name, 0) for name in self.layer.aggregation.column_names]


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
    auth : mapping, optional
        Of the template, if the map is an instance of one: it is seen with the owner's rights then.
    made, expires : datetime
    """

    id: str
    config: MapConfig
    shown: tuple[Shown, ...]
    tables: tuple[str, ...]
    auth: Mapping[str, Any] | None = None
    made: datetime = _NEVER
    expires: datetime = _NEVER


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

    async def instantiate(
        self, content: Any, config: MapConfig, role: str, *, auth: Mapping[str, Any] | None = None
    ) -> tuple[Layergroup, datetime]:
        """Look at the queries of a map with the rights of a role, and keep the map.

        Parameters
        ----------
        content : object
            What the configuration was read from; it makes the id.
        config : MapConfig
        role : str
        auth : mapping, optional
            Of the template.

        Returns
        -------
        layergroup : Layergroup
        last_updated : datetime
            When a table of the map was changed last; 1970 if that is not known.
        """
        identity = _identity(content, config, auth)
        shown: list[Shown] = []
        tables: set[str] = set()
        async with self._sessions.open(role) as session:
            for layer in config.queried:
                shown.append(await _look_at(session, layer))
                tables.update(await tables_of(session, layer.sql or ""))
            for node in config.nodes.values():
                await columns_of(session, node.query())
                tables.update(await tables_of(session, node.query()))
            updated = await _last_updated(session, sorted(tables))
        group = Layergroup(identity, config, tuple(shown), tuple(sorted(tables)), auth, self._state.clock.now())
        self._known[identity] = group
        self._renew(group)
        return group, updated

    async def instance(self, content: Any, role: str, *, auth: Mapping[str, Any]) -> Layergroup:
        """Return the map of a template without parameters; it is looked at again once a minute."""
        config = read(content)
        known = self._known.get(_identity(content, config, auth))
        if known is not None and self._state.clock.now() - known.made < _FRESH:
            return known
        group, _ = await self.instantiate(content, config, role, auth=auth)
        return group

    def find(self, identity: str) -> Layergroup:
        """Return the map of an id, which lives longer for it; raise MapError if there is none."""
        group = self._known.get(identity)
        if group is None or group.expires <= self._state.clock.now():
            self._known.pop(identity, None)
            raise MapError(f"Invalid or nonexistent map configuration token '{identity}'", status=400)
        self._renew(group)
        return group

    def forget(self) -> None:
        """Forget all maps."""
        self._known.clear()

    def _renew(self, group: Layergroup) -> None:
        """Put off the end of a map; those that have not been used for longest go if there are too many."""
        group.expires = self._state.clock.now() + _LIFETIME
        self._known.move_to_end(group.id)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)


def _identity(content: Any, config: MapConfig, auth: Mapping[str, Any] | None) -> str:
    """Return the id of a map: the same for the same description."""
    description = json.dumps([content, config.nodes_as_text(), auth], separators=(",", ":"))
    return hashlib.md5(description.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()


async def _look_at(session: Session, layer: Layer) -> Shown:
    """Find out about the query of a layer."""
    text = layer.sql or ""
    style = None
    if layer.cartocss is not None:
        style = parse_style(layer)
    columns = await columns_of(session, text)
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
    known = {column.name for column in columns} | {column.name for column in shown.shown_columns()}
    for name in wanted:
        if name not in known:
            raise MapError(f'column "{name}" does not exist')
    if aggregated:
        await rows(session, sql.SQL("SELECT * FROM {} AS cdbq LIMIT 0").format(shown.source((0.0, 0.0, 1.0, 1.0), 1.0)))
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
