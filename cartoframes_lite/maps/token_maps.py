"""Named maps that stand in for anonymous ones on pages: a token opens them, and only them, in place of the key."""

from __future__ import annotations

import atexit
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cartoframes_lite._client.maps import Maps
from cartoframes_lite.errors import CartoError, NotFound

_SHOWN, _SAVED = "cfl_shown_", "cfl_saved_"
_FORGOTTEN_AFTER = timedelta(days=2)  # longer than most kernels run
_DAY = "%Y%m%d"


@dataclass(frozen=True, slots=True)
class TokenMap:
    """A named map, and the token that opens it."""

    maps: Maps
    name: str
    token: str = field(repr=False)

    def delete(self) -> None:
        """Delete it, if it and its server are still there."""
        with suppress(CartoError):
            self.maps.delete_template(self.name)


_until_exit: dict[tuple[str, str], TokenMap] = {}


class UnsafeText(ValueError):
    """A named map would read a text of the map as a placeholder."""


def create(maps: Maps, account: str, config: Mapping[str, Any], *, lasting: bool) -> TokenMap:
    """Create a named map of a MapConfig.

    Parameters
    ----------
    maps : Maps
        With the master key.
    account : str
        Its URL.
    config : mapping
    lasting : bool
        Keep it; else it is deleted when Python ends, or if that fails, by a later call after two days, and serves
        all calls with this MapConfig until then.

    Raises
    ------
    PermissionDenied
        If the key is another one.
    UnsafeText
        If the MapConfig has ``<%`` in it, which begins a placeholder in a named map.
    """
    content = json.dumps(config, sort_keys=True)
    if "<%" in content:
        raise UnsafeText('a map of private data with "<%" in its SQL or style cannot be put on a page')
    key = account, content
    if not lasting and key in _until_exit and _is_there(maps, _until_exit[key].name):
        return _until_exit[key]
    name = f"{_SAVED if lasting else _SHOWN}{datetime.now(UTC):{_DAY}}_{secrets.token_hex(6)}"
    made = TokenMap(maps, name, secrets.token_urlsafe(24))
    auth = {"method": "token", "valid_tokens": [made.token]}
    maps.create_template({"version": "0.0.1", "name": name, "auth": auth, "layergroup": dict(config)})
    if not lasting:
        if not _until_exit:
            atexit.register(delete_shown)
            _sweep(maps)
        _until_exit[key] = made
    return made


def delete_shown() -> None:
    """Delete what was created until Python ends."""
    while _until_exit:
        _, made = _until_exit.popitem()
        made.delete()


def _is_there(maps: Maps, name: str) -> bool:
    try:
        maps.read_template(name)
    except NotFound:
        return False
    return True


def _sweep(maps: Maps) -> None:
    """Delete what processes left behind that were killed."""
    oldest = f"{_SHOWN}{datetime.now(UTC) - _FORGOTTEN_AFTER:{_DAY}}"
    with suppress(CartoError):  # a later process tries again
        for name in maps.list_templates():
            if name.startswith(_SHOWN) and name < oldest:
                maps.delete_template(name)
