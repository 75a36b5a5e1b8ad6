"""Program of a process that runs an embedded server for the process that started it.

The server stops when the channel to that process ends. A fork of that process may hold the channel open, so its end is
watched for as well.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from importlib.abc import MetaPathFinder
from typing import Any

from cartoframes_lite.local.channel import serve
from cartoframes_lite.local.embedded import EmbeddedServer
from cartoframes_lite.local.options import ServerOptions

_SIGNALS = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
_POLL_S = 0.5


class _WithoutPandas(MetaPathFinder):
    """Let pandas and geopandas be missing: pyogrio imports them if it can, and the server needs neither."""

    def find_spec(self, name: str, *_: object) -> None:
        """Raise ModuleNotFoundError for them; pyarrow does not understand None in sys.modules."""
        if name in ("pandas", "geopandas"):
            raise ModuleNotFoundError(f"the embedded server does not import {name}", name=name)


def main(descriptor: int, parent: int) -> None:
    """Serve the calls of the starting process until the channel to it ends, then stop the server and exit.

    Parameters
    ----------
    descriptor : int
        Socket of the channel.
    parent : int
        Id of the process that started this one.
    """
    channel = socket.socket(fileno=descriptor)
    channel.set_inheritable(False)
    threading.Thread(target=_end_with, args=(parent, channel), daemon=True).start()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: sys.exit())
    sys.meta_path.insert(0, _WithoutPandas())
    with suppress(SystemExit), ExitStack() as stopping:
        functions: dict[str, Callable[..., Any]] = {}

        def start(options: dict[str, Any]) -> dict[str, str]:
            server = EmbeddedServer(ServerOptions.from_json(options))
            stopping.callback(server.stop)
            stopping.callback(_ignore_signals)
            functions.update(master_key=server.master_key, reset=server.reset, advance_clock=server.advance_clock)
            return {"url": server.url, "dsn": server.dsn}

        functions["start"] = start
        serve(channel, functions)
    # Threads of requests may still wait for another server.
    logging.shutdown()
    os._exit(0)


def _ignore_signals() -> None:
    """Let nothing interrupt the stop."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _end_with(parent: int, channel: socket.socket) -> None:
    """End the channel when the parent process has ended."""
    with suppress(AttributeError, OSError):  # only Linux has it, and not in every sandbox
        descriptor = os.pidfd_open(parent)
        if os.getppid() == parent:  # else its id may belong to another process by now
            select.select([descriptor], [], [])
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    channel.shutdown(socket.SHUT_RD)
