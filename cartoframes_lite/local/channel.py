"""Calls from a process to the server that it started: one JSON object per line, over a pair of connected sockets.

Calls are numbered, since an interrupt (Ctrl-C) may end the wait for an answer, which arrives later. The end of the
channel is the request to stop: it also comes when the calling process ends in whatever way.
"""

from __future__ import annotations

import builtins
import json
import socket
import threading
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from cartoframes_lite.local.errors import LocalServerError


class Caller:
    """The end of a channel that calls functions of the other process. Thread-safe.

    Parameters
    ----------
    connection : socket.socket
        Closed by `close`.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._received = b""
        self._lock = threading.Lock()
        self._number = 0

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a function of the other process, and return its result or raise its exception.

        Raises
        ------
        EOFError
            If the other process has ended.
        """
        with self._lock:
            self._number += 1
            request = {"number": self._number, "name": name, "arguments": arguments}
            try:
                self._connection.sendall(json.dumps(request, default=float).encode() + b"\n")
                while (answer := _decode(self._read_line())).get("number") != self._number:
                    continue  # an answer that nobody waited for
            except OSError as error:
                raise EOFError from error
        if "error" in answer:
            raise _decode_error(answer["error"])
        return answer["result"]

    def end(self) -> None:
        """Tell the other process to stop. Calls that it has received are still answered."""
        try:
            self._connection.shutdown(socket.SHUT_WR)
        except OSError:
            return  # it has stopped

    def close(self) -> None:
        """Close the descriptors of this process; copies of a forked process remain open."""
        self._connection.close()

    def _read_line(self) -> bytes:
        """Return the next line; raise EOFError if the channel has ended."""
        while b"\n" not in self._received:
            block = self._connection.recv(65_536)
            if not block:
                raise EOFError
            self._received += block
        line, _, self._received = self._received.partition(b"\n")
        return line


def serve(connection: socket.socket, functions: Mapping[str, Callable[..., Any]]) -> None:
    """Answer calls one after the other, until the channel ends.

    Parameters
    ----------
    connection : socket.socket
    functions : mapping of str to callable
        Their arguments and results are values of JSON.
    """
    with connection.makefile("rb") as requests:
        for line in requests:
            request = json.loads(line)
            answer: dict[str, Any] = {"number": request["number"]}
            try:
                answer["result"] = functions[request["name"]](*request["arguments"])
            except Exception as error:  # noqa: BLE001 - every error is raised in the calling process
                answer["error"] = _encode_error(error)
            try:
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:
                return  # the calling process has ended


def _decode(line: bytes) -> dict[str, Any]:
    """Decode an answer; empty if its beginning was lost by an interrupt, together with the call it belongs to."""
    try:
        answer = json.loads(line)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _encode_error(error: Exception) -> dict[str, Any]:
    """Describe an exception: its class, the arguments of its constructor, and where it was raised."""
    fields: dict[str, Any] = {"type": type(error).__name__, "message": str(error)}
    if isinstance(error, OSError):
        fields |= {"errno": error.errno, "strerror": error.strerror, "filename": error.filename}
    if isinstance(error, ImportError):
        fields["name"] = error.name
    return fields | {"traceback": "".join(traceback.format_exception(error))}


def _decode_error(fields: Mapping[str, Any]) -> Exception:
    """Return an exception of the same class if it is one of Python or of `start`, else a LocalServerError."""
    name, message = fields["type"], fields["message"]
    kind = getattr(builtins, name, None)
    if name == LocalServerError.__name__:
        return LocalServerError(message)
    if kind in (ValueError, TypeError, OverflowError):
        return kind(message)  # type: ignore[no-any-return]
    if kind is not None and issubclass(kind, ImportError):
        return ImportError(message, name=fields["name"])
    if kind is not None and issubclass(kind, OSError) and fields["errno"] is not None:
        return OSError(fields["errno"], fields["strerror"], fields["filename"])
    error = LocalServerError(f"{name}: {message}")
    error.add_note(f"Traceback of the server's process:\n{fields['traceback']}")
    return error
