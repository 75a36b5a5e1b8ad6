"""The sessions that users bring: kept from what the environment and a fork would do to them."""

from __future__ import annotations

import os
from typing import Any
from weakref import WeakSet

import requests
from requests.adapters import HTTPAdapter

_sessions: WeakSet[requests.Session] = WeakSet()


def adopt(session: requests.Session) -> requests.Session:
    """Remember a session that is used, so that a forked process does not use its connections."""
    _sessions.add(session)
    return session


def direct(session: requests.Session) -> dict[str, str | None]:
    """Give the proxies for a server on this host: those of the session, but none of the environment.

    The key would go to them in clear text.
    """
    return {"http": None, "https": None, "all": None, **session.proxies}


def _leave_connections() -> None:
    """Give the sessions new connections: answers on those of the parent would go to the one that looks first."""
    for session in _sessions:
        adapters: list[Any] = [one for one in session.adapters.values() if isinstance(one, HTTPAdapter)]
        for adapter in adapters:
            # As after a pickle: nothing is closed, and no lock is taken that a thread of the parent may hold.
            adapter.__setstate__(adapter.__getstate__())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_connections)
