"""Requests of the services other than SQL and maps, which require the master key."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar

from cartoframes_lite._client.http.json_fields import record, records
from cartoframes_lite._client.http.request import OK, Statuses
from cartoframes_lite._client.http.streams import Stream
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
            If the key is valid, but is not the master key, or the object belongs to another account.
        """
        is_idempotent = method != "POST" if idempotent is None else idempotent
        with self._explain_denial(what):
            return self.transport.json(method, path, idempotent=is_idempotent, read=read, expect=expect, **arguments)

    def delete(self, path: str, *, what: str) -> None:
        """Send a DELETE request. Parameters are those of ``json``."""
        with self._explain_denial(what):
            self.transport.request("DELETE", path, idempotent=True, expect=DELETED)

    def upload(self, path: str, *, what: str, read: Callable[[Any], T], **arguments: Any) -> T:
        """Send a POST request with a streamed body. Parameters are those of ``Transport.upload``."""
        with self._explain_denial(what):
            return self.transport.upload(path, read=read, **arguments)

    @contextmanager
    def stream(self, path: str, *, what: str) -> Iterator[Stream]:
        """GET a file of the account, with the API key, in blocks."""
        with self._explain_denial(what), self.transport.stream("GET", path) as blocks:
            yield blocks

    def require_master(self, what: str) -> None:
        """Raise PermissionDenied if the key is valid, but is not the master key.

        Parameters
        ----------
        what : str
            Name of the operation in the message.

        Raises
        ------
        AuthenticationError
            If the key is unknown.
        """
        if self._is_master() is False:
            raise self._requires_master(what)

    def require_known_key(self) -> None:
        """Raise AuthenticationError if the key is unknown: requests that need no key ignore such a key."""
        self._is_master()

    @contextmanager
    def _explain_denial(self, what: str) -> Iterator[None]:
        """Replace errors of the status 401 and 403 that are due to the kind of the key.

        CARTO responds with 401 and no message to unknown keys and to keys other than the master key, but also to the
        master key if the object belongs to another account.
        """
        try:
            yield
        except AuthenticationError as error:
            is_master = self._is_master()
            if is_master is None:
                raise
            if not is_master:
                raise self._requires_master(what) from error
            message = (
                f"{what} was denied, although the key is the master key (HTTP {error.status}, {error.method}"
                f" {error.url}): the object belongs to another account, does not exist, or requires a role or a feature"
                " that the account lacks"
            )
            raise PermissionDenied(message, status=error.status, method=error.method, url=error.url) from error
        except PermissionDenied:
            self.require_master(what)
            raise

    def _is_master(self) -> bool | None:
        """Return whether the key is the master key; None if the account has no API that tells it."""
        if self.transport.is_public:
            return False
        try:
            query = {"type": "master"}
            keys = self.transport.json("GET", _KEYS, idempotent=True, query=query, read=_keys)
        except NotFound:  # the API is disabled in this account, or the installation is older
            return None
        return any(key.get("type") == "master" for key in keys)

    def _requires_master(self, what: str) -> PermissionDenied:
        key = "default_public" if self.transport.is_public else "a regular one"
        message = f"{what} requires the master key, but the key in use is {key}: pass Credentials with the master key"
        return PermissionDenied(message, status=403, method="GET", url=_KEYS)


def _keys(response: Any) -> list[dict[str, Any]]:
    return records(record(response).get("result") or [])
