"""Instantiated maps, kept in memory."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.concurrency import run_in_threadpool

from cartoframes_lite.local.maps.cartocss.style import Style
from cartoframes_lite.local.maps.config import MapConfig, parse_map_config
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layer_inspection import (
    InspectedLayer,
    check_node,
    inspect_layer,
    last_updated,
    parse_styles,
)
from cartoframes_lite.local.maps.queries import tables_of
from cartoframes_lite.local.maps.templates import Template
from cartoframes_lite.local.sql.sessions import Sessions
from cartoframes_lite.local.state import State

_LIFETIME = timedelta(hours=2)
_REINSPECT_AFTER = timedelta(minutes=1)
_MAX_MAPS = 10_000
_MAX_BYTES = 128 * 1024 * 1024
_BYTES_PER_CHARACTER, _RULE_BYTES = 8, 500  # memory per character of the JSON, and per style rule or part of one
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class Layergroup:
    """An instantiated map.

    Attributes
    ----------
    id : str
        MD5 of the MapConfig, filters and template.
    config : MapConfig
    inspected : tuple of InspectedLayer
    tables : tuple of str
        Tables that the queries read, as schema.name.
    template : Template, optional
        Template of which the map is an instance; its queries then run with the role of the owner.
    inspected_at, expires : datetime
    size_bytes : int
        Estimated memory.
    """

    id: str
    config: MapConfig
    inspected: tuple[InspectedLayer, ...]
    tables: tuple[str, ...]
    template: Template | None = None
    inspected_at: datetime = _EPOCH
    expires: datetime = _EPOCH
    size_bytes: int = 0


class Layergroups:
    """The instantiated maps of the account, in memory; clients instantiate an expired map again.

    Parameters
    ----------
    state : State
        Its clock determines when maps expire.
    sessions : Sessions
        Read-only sessions.
    """

    def __init__(self, state: State, sessions: Sessions) -> None:
        self._state, self._sessions = state, sessions
        self._known: OrderedDict[str, Layergroup] = OrderedDict()
        self._bytes = 0

    async def instantiate(
        self, content: Any, config: MapConfig, role: str, *, template: Template | None = None
    ) -> tuple[Layergroup, datetime]:
        """Inspect the queries of a map with the privileges of a role, and keep the map.

        Parameters
        ----------
        content : object
            The JSON from which ``config`` was parsed; determines the id.
        config : MapConfig
        role : str
        template : Template, optional
            Template of which the map is an instance.

        Returns
        -------
        layergroup : Layergroup
        last_updated : datetime
            When a table of the map last changed; 1970-01-01 if that is not known.
        """
        description = _description(content, config, template)
        styles = await run_in_threadpool(parse_styles, config)
        inspected: list[InspectedLayer] = []
        tables: set[str] = set()
        async with self._sessions.open(role) as session:
            for node in config.nodes.values():
                await check_node(session, node)
                tables.update(await tables_of(session, node.query()))
            for layer in config.queried:
                inspected.append(await inspect_layer(session, layer, styles.get(layer.index)))
                tables.update(await tables_of(session, layer.sql or ""))
            updated = await last_updated(session, sorted(tables))
        group = Layergroup(
            _identity(description), config, tuple(inspected), tuple(sorted(tables)), template, self._state.clock.now()
        )
        group.size_bytes = _size_of(description, styles.values())
        self._keep(group)
        return group, updated

    async def template_instance(self, content: Any, role: str, *, template: Template) -> Layergroup:
        """Return the instance of a template, inspected at most a minute ago."""
        config = parse_map_config(content)
        known = self._known.get(_identity(_description(content, config, template)))
        if known is not None and self._state.clock.now() - known.inspected_at < _REINSPECT_AFTER:
            return known
        group, _ = await self.instantiate(content, config, role, template=template)
        return group

    def find(self, identity: str) -> Layergroup:
        """Return the map with an id and extend its lifetime; raise MapError if there is none."""
        group = self._known.get(identity)
        if group is None or group.expires <= self._state.clock.now():
            self.drop(identity)
            raise unknown_map(identity)
        group.expires = self._state.clock.now() + _LIFETIME
        self._known.move_to_end(group.id)
        return group

    def drop(self, identity: str) -> None:
        """Drop a map."""
        group = self._known.pop(identity, None)
        self._bytes -= 0 if group is None else group.size_bytes

    def clear(self) -> None:
        """Drop all maps."""
        self._known.clear()
        self._bytes = 0

    def _keep(self, group: Layergroup) -> None:
        """Keep a map; drop the least recently used maps over the limits of number and memory."""
        self.drop(group.id)
        group.expires = self._state.clock.now() + _LIFETIME
        self._known[group.id] = group
        self._bytes += group.size_bytes
        while len(self._known) > _MAX_MAPS or (self._bytes > _MAX_BYTES and len(self._known) > 1):
            self.drop(next(iter(self._known)))


def unknown_map(identity: str) -> MapError:
    """Return the error for an unknown or expired map, upon which clients instantiate it again."""
    return MapError(f"Invalid or nonexistent map configuration token '{identity}'", status=400)


def _description(content: Any, config: MapConfig, template: Template | None) -> bytes:
    """Serialize everything that determines the id of a map."""
    instance_of = None if template is None else [template.name, template.auth]
    text = json.dumps([content, config.nodes_as_text(), instance_of], separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _identity(description: bytes) -> str:
    """Return the id of a map from its description."""
    return hashlib.md5(description, usedforsecurity=False).hexdigest()


def _size_of(description: bytes, styles: Iterable[Style]) -> int:
    """Estimate the memory of a map, in bytes."""
    rules = [rule for style in styles for rule in style.definitions]
    parts = sum(len(rule.filters) + len(rule.settings) for rule in rules)
    return _BYTES_PER_CHARACTER * len(description) + _RULE_BYTES * (len(rules) + parts)
