"""Instantiated maps: what their layers turned out to be, and who may see them."""

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
from cartoframes_lite.local.maps.config import MapConfig, read
from cartoframes_lite.local.maps.errors import MapError
from cartoframes_lite.local.maps.layer_inspection import (
    InspectedLayer,
    check_node,
    inspect_layers,
    last_updated,
    parse_styles,
)
from cartoframes_lite.local.maps.queries import tables_of
from cartoframes_lite.local.maps.templates import Template
from cartoframes_lite.local.sql.sessions import Sessions
from cartoframes_lite.local.state import State

_LIFETIME = timedelta(hours=2)
_FRESH = timedelta(minutes=1)
_MOST = 10_000
_MOST_BYTES = 128 * 1024 * 1024
_BYTES_PER_CHARACTER, _RULE_BYTES = 8, 500  # of a description in JSON, and of a rule or one of its parts
_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class Layergroup:
    """An instantiated map.

    Attributes
    ----------
    id : str
        MD5 of its description.
    config : MapConfig
    shown : tuple of InspectedLayer
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
    shown: tuple[InspectedLayer, ...]
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
        styles = await run_in_threadpool(parse_styles, config)
        shown: list[InspectedLayer] = []
        tables: set[str] = set()
        async with self._sessions.open(role) as session:
            for node in config.nodes.values():
                await check_node(session, node)
                tables.update(await tables_of(session, node.query()))
            for layer in config.queried:
                shown.append(await inspect_layers(session, layer, styles.get(layer.index)))
                tables.update(await tables_of(session, layer.sql or ""))
            updated = await last_updated(session, sorted(tables))
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
