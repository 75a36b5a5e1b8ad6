"""The HTTP connections: as requests makes them, with two changes that uploads need.

While a body is sent, the socket must not have the short timeout of the connecting: a busy database lets the
sender wait. And a server that refuses an upload says so at once; the rest of the body need not be sent then, and
may not even find a reader.
"""

from __future__ import annotations

import traceback
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.wait import wait_for_read

_SEND_TIMEOUT_S = 900.0


class _PatientConnection(HTTPConnection):
    debuglevel = 0  # whoever sets it for all of http.client would have the key printed, for it prints all headers
    _body_cut = False

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_SEND_TIMEOUT_S)
        self._body_cut = False

    def send(self, data: Any) -> None:
        # urllib3 takes a broken pipe for what it is here: an answer that came before the body was sent.
        if self.sock is not None and wait_for_read(self.sock, timeout=0):
            self._body_cut = True
            raise BrokenPipeError("the server has answered already")
        super().send(data)

    @property
    def is_connected(self) -> bool:
        """Keep the pool from using it again: the server still waits for the rest of the body."""
        return super().is_connected and not self._body_cut


class _PatientTLSConnection(HTTPSConnection):
    """Without the look for an early answer: what can be read may be TLS's own."""

    debuglevel = 0  # as above

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(_SEND_TIMEOUT_S)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _PatientConnection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _PatientTLSConnection


class Adapter(HTTPAdapter):
    """Mount it on a session for both schemes."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools, with our connections in them."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TLSPool}


def let_go(error: BaseException | None) -> None:
    """Empty the frames that an error came through: those of urllib3 hold it, and would hold the connection with it."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def user_agent() -> str:
    """Name this package to the server."""
    try:
        return f"cartoframes_lite/{version('cartoframes_lite')}"
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "cartoframes_lite"
