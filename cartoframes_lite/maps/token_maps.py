"""Named maps that replace anonymous maps on pages, so that a page contains a token instead of the API key."""

from __future__ import annotations

import atexit
import hashlib
import json
import secrets
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from cartoframes_lite._client.maps import Maps
from cartoframes_lite._client.parallel import both
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import CartoError, NotFound

_SHOWN, _SAVED, _PUBLISHED = "cfl_shown_", "cfl_saved_", "cfl_published_"
_STALE_AFTER = timedelta(days=2)  # longer than most kernels run
_DAY = "%Y%m%d"


@dataclass(frozen=True, slots=True)
class TokenMap:
    """A named map, and the token that grants access to it."""

    maps: Maps
    name: str
    token: str = field(repr=False)

    def delete(self) -> None:
        """Delete the named map; ignore errors."""
        with suppress(CartoError):
            self.maps.delete_template(self.name)


_temporary: dict[tuple[str, str], TokenMap] = {}


class PlaceholderMarkError(ValueError):
    """The MapConfig contains ``<%``, which named maps interpret as the start of a placeholder."""


def create(
    maps: Maps, credentials: Credentials, config: Mapping[str, Any], *, persistent: bool, page: str | None = None
) -> TokenMap:
    """Create a named map of a MapConfig.

    Parameters
    ----------
    maps : Maps
        With the master key.
    credentials : Credentials
        Of ``maps``.
    config : mapping
    persistent : bool
        Whether to keep the named map after Python exits. If False, calls with the same MapConfig share one named map,
        which is deleted at exit, or after two days by another process if that fails.
    page : str, optional
        Name of the published page that the named map is for.

    Raises
    ------
    PermissionDenied
        If the key is not the master key.
    PlaceholderMarkError
        If the MapConfig contains ``<%``, which starts a placeholder in a named map.
    """
    content = json.dumps(config, sort_keys=True)
    if "<%" in content:
        raise PlaceholderMarkError(
            'A map of private data cannot be displayed as a page: its SQL or CartoCSS contains "<%"; remove it'
        )
    key = str(credentials.base_url), content
    if not persistent and key in _temporary and _exists(maps, _temporary[key].name):
        return _temporary[key]
    kind = _SHOWN if not persistent else _SAVED if page is None else _published_prefix(page)
    name = f"{kind}{datetime.now(UTC):{_DAY}}_{secrets.token_hex(6)}"
    token_map = TokenMap(maps, name, secrets.token_urlsafe(24))
    auth = {"method": "token", "valid_tokens": [token_map.token]}
    template = {"version": "0.0.1", "name": name, "auth": auth, "layergroup": dict(config)}
    if persistent or _temporary:
        maps.create_template(template)
    else:
        both(credentials, partial(maps.create_template, template), partial(_delete_stale, maps))
        atexit.register(delete_shown)
    if not persistent:
        _temporary[key] = token_map
    return token_map


def delete_shown() -> None:
    """Delete the named maps that are not persistent."""
    while _temporary:
        _, token_map = _temporary.popitem()
        token_map.delete()


def delete_published(maps: Maps, page: str, *, keep: TokenMap | None) -> None:
    """Delete the named maps that earlier versions of a published page used."""
    prefix = _published_prefix(page)
    for name in maps.list_templates():
        if name.startswith(prefix) and (keep is None or name != keep.name):
            TokenMap(maps, name, "").delete()


def _published_prefix(page: str) -> str:
    """Return how the names of the named maps of a published page begin."""
    return f"{_PUBLISHED}{hashlib.sha256(page.encode()).hexdigest()[:12]}_"


def _exists(maps: Maps, name: str) -> bool:
    try:
        maps.read_template(name)
    except NotFound:
        return False
    return True


def _delete_stale(maps: Maps) -> None:
    """Delete the named maps that killed processes left behind."""
    oldest = f"{_SHOWN}{datetime.now(UTC) - _STALE_AFTER:{_DAY}}"
    with suppress(CartoError):  # the next process tries again
        for name in maps.list_templates():
            if name.startswith(_SHOWN) and name < oldest:
                maps.delete_template(name)
