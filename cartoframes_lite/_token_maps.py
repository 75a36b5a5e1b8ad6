"""Named maps that stand in for anonymous ones on pages: a token opens them, and only them, in place of the key."""

from __future__ import annotations

import atexit
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from cartoframes_lite._client.maps import Maps
from cartoframes_lite.errors import CartoError

_SHOWN, _SAVED = "cfl_shown_", "cfl_saved_"
_FORGOTTEN_AFTER = timedelta(days=2)  # longer than most kernels run
_DAY = "%Y%m%d"
_until_exit: list[tuple[Maps, str]] = []


class UnsafeText(ValueError):
    """A named map would read a text of the map as a placeholder."""


def create(maps: Maps, config: Mapping[str, Any], *, lasting: bool) -> tuple[str, str]:
    """Create a named map of a MapConfig.

    Parameters
    ----------
    maps : Maps
        With the master key.
    config : mapping
    lasting : bool
        Keep it; else it is deleted when Python ends, or if that fails, by a later call after two days.

    Returns
    -------
    tuple of (str, str)
        Its name and the token that opens it.

    Raises
    ------
    PermissionDenied
        If the key is another one.
    UnsafeText
        If the MapConfig has ``<%`` in it, which begins a placeholder in a named map.
    """
    if "<%" in json.dumps(config):
        raise UnsafeText('a map of private data with "<%" in its SQL or style cannot be put on a page')
    name = f"{_SAVED if lasting else _SHOWN}{datetime.now(UTC):{_DAY}}_{secrets.token_hex(6)}"
    token = secrets.token_urlsafe(24)
    auth = {"method": "token", "valid_tokens": [token]}
    maps.create_template({"version": "0.0.1", "name": name, "auth": auth, "layergroup": dict(config)})
    if not lasting:
        _until_exit.append((maps, name))
        if len(_until_exit) == 1:
            atexit.register(delete_shown)
            _sweep(maps)
    return name, token


def delete_shown() -> None:
    """Delete what was created until Python ends."""
    while _until_exit:
        maps, name = _until_exit.pop()
        with suppress(CartoError):  # the server may have gone before
            maps.delete_template(name)


def _sweep(maps: Maps) -> None:
    """Delete what processes left behind that were killed."""
    oldest = f"{_SHOWN}{datetime.now(UTC) - _FORGOTTEN_AFTER:{_DAY}}"
    with suppress(CartoError):  # a later process tries again
        for name in maps.list_templates():
            if name.startswith(_SHOWN) and name < oldest:
                maps.delete_template(name)
