"""Requests of the services other than SQL and maps, which require the master key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from cartoframes_lite._client.http.json_fields import record, records
from cartoframes_lite._client.http.request import OK, Statuses
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.errors import AuthenticationError, NotFound, PermissionDenied

_KEYS = "api/v3/api_keys"

Method = Literal["GET", "POST", "PUT", "DELETE"]
CREATED: Statuses = (200, 201)
DELETED: Statuses = (200, 204)

T = TypeVar("T")


class Platform:
    """Send requests, and raise PermissionDenied if they fail because the key is not the master key.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def json(
        self,
        method: Method,
        path: str,
        *,
        what: str,
        read: Callable[[Any], T],
        idempotent: bool | None = None,
        expect: Statuses = OK,
        **arguments: Any,
    ) -> T:
        """Send a request and parse the JSON response.

        Parameters
        ----------
        method, path : str
        what : str
            Name of the operation in the message of PermissionDenied, such as ``"listing imports"``.
        read, expect, **arguments
            As in ``Transport.json``.
        idempotent : bool, optional
            Whether the request can be repeated without harm. None: True unless the method is POST.

        Raises
        ------
        PermissionDenied
            If the key is valid, but is not the master key.
        """
        is_idempotent = method != "POST" if idempotent is None else idempotent
        try:
            return self.transport.json(method, path, idempotent=is_idempotent, read=read, expect=expect, **arguments)
        except AuthenticationError:
            self.require_master(what)  # these services respond with 401 to all other keys, valid or not
            raise

    def delete(self, path: str, *, what: str) -> None:
        """Send a DELETE request. Parameters are those of ``json``."""
        try:
            self.transport.request("DELETE", path, idempotent=True, expect=DELETED)
        except AuthenticationError:
            self.require_master(what)
            raise

    def upload(self, path: str, *, what: str, read: Callable[[Any], T], **arguments: Any) -> T:
        """Send a POST request with a streamed body. Parameters are those of ``Transport.upload``."""
        try:
            return self.transport.upload(path, read=read, **arguments)
        except AuthenticationError:
            self.require_master(what)
            raise

    def require_master(self, what: str) -> None:
        """Raise PermissionDenied if the key is not the master key.

        Parameters
        ----------
        what : str
            Name of the operation in the message.
        """
        key = "default_public" if self.transport.is_public else "a regular one"
        message = f"{what} requires the master key, but the key in use is {key}: pass Credentials with the master key"
        error = PermissionDenied(message, status=403, method="GET", url=_KEYS)
        if self.transport.is_public:
            raise error
        try:
            query = {"type": "master"}
            keys = self.transport.json("GET", _KEYS, idempotent=True, query=query, read=_keys)
        except NotFound:  # an older installation without this API: the caller raises the original error
            return
        if not keys:
            raise error


def _keys(response: Any) -> list[dict[str, Any]]:
    return records(record(response).get("result") or [])
