"""Idle connections of this process: kept for the next request of any thread, and bounded over all servers.

Each pool of urllib3 belongs to one server with its TLS settings and proxy, and has an `IdleConnections` as its queue.
There is no lock: an interrupt just after the lock of a ``queue.LifoQueue`` was acquired would leave it locked, as would
a fork while another thread holds it. Instead, each step is a single operation of a deque, and a connection belongs to
the thread that has removed it.
"""

from __future__ import annotations

import queue
from collections import deque
from typing import Protocol, Self

_MAX_IDLE = 64  # sockets, for all servers

_idle: deque[IdleConnection] = deque()  # the least recently used first


class IdleConnection(Protocol):
    """What this module needs of a connection.

    Attributes
    ----------
    owner : IdleConnections or None
        The pool that it belongs to.
    is_closed : bool
    is_reusable : bool
        Whether the server has not closed it, and is not expected to have closed it.
    """

    owner: IdleConnections | None

    @property
    def is_closed(self) -> bool: ...

    @property
    def is_reusable(self) -> bool: ...

    def take_over(self) -> Self: ...

    def close(self) -> None: ...


class IdleConnections:
    """The idle connections of one pool; has the methods of ``queue.LifoQueue`` that a pool uses."""

    def __init__(self, maxsize: int) -> None:
        pass  # the limit is that of the process

    def get(self, block: bool = False, timeout: float | None = None) -> IdleConnection:
        """Take the connection that was used last; raise ``queue.Empty`` if there is none."""
        for connection in reversed(_idle.copy()):
            if connection.owner is self and _remove(connection):
                return connection
        # The pool opens a connection: the time to close those to servers that are no longer used.
        close_idle(only_dropped=True)
        raise queue.Empty

    def put(self, connection: IdleConnection | None, block: bool = False, timeout: float | None = None) -> None:
        """Keep a connection, unless it is closed."""
        if connection is None or connection.is_closed:
            return
        # What the last response may still do to its connection must not affect the next request.
        kept = connection.take_over()
        kept.owner = self
        _idle.append(kept)
        for oldest in list(_idle)[:-_MAX_IDLE]:
            if _remove(oldest):
                oldest.close()

    def qsize(self) -> int:
        """Return the number of connections."""
        return sum(connection.owner is self for connection in _idle.copy())


def close_idle(*, only_dropped: bool = False) -> None:
    """Close the idle connections of all pools, or only those that would not be used again."""
    for connection in _idle.copy():
        if not _remove(connection):
            continue
        # Examined only now: another thread that had taken it could be closing it.
        if only_dropped and connection.is_reusable:
            _idle.append(connection)  # after all of them, the order is as before
        else:
            connection.close()


def _remove(connection: IdleConnection) -> bool:
    """Remove a connection; return False if another thread has removed it before."""
    try:
        _idle.remove(connection)
    except ValueError:
        return False
    return True
