"""Sessions passed by users: safe after a fork, and without proxies of the environment for local servers."""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter

_sessions: WeakSet[requests.Session] = WeakSet()


def register(session: requests.Session) -> requests.Session:
    """Register a session, so that a forked process opens new connections for it."""
    _sessions.add(session)
    return session


def proxies_for_local(session: requests.Session) -> dict[str, str | None]:
    """Return the proxies for a server on this host: those of the session, but none from the environment.

    The connection is not encrypted, so a proxy would see the API key.
    """
    return {"http": None, "https": None, "all": None, **session.proxies}


def _reset_pools_after_fork() -> None:
    """Replace the connection pools of all sessions: parent and child would read each other's responses."""
    for session in _sessions:
        adapters: list[Any] = [one for one in session.adapters.values() if isinstance(one, HTTPAdapter)]
        for adapter in adapters:
            # As after unpickling: closes nothing, and acquires no lock that a thread of the parent may hold.
            adapter.__setstate__(adapter.__getstate__())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_pools_after_fork)
