"""What the services of CARTO's platform, beside SQL and maps, have in common: they heed the master key only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from cartoframes_lite._client.http.json_fields import record, records
from cartoframes_lite._client.http.transport import OK, Statuses, Transport
from cartoframes_lite.errors import AuthenticationError, NotFound, PermissionDenied

_KEYS = "api/v3/api_keys"

Method = Literal["GET", "POST", "PUT", "DELETE"]
CREATED: Statuses = (200, 201)
DELETED: Statuses = (200, 204)

T = TypeVar("T")


class Platform:
    """Requests that say so if they failed for want of the master key.

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
        """Send a request and read the response.

        Parameters
        ----------
        method, path : str
        what : str
            What a refusal says that the key may not do, as ``"listing imports"``.
        read, expect, **arguments
            As in ``Transport.json``.
        idempotent : bool, optional
            Whether it may be done twice. None: all but POST may.

        Raises
        ------
        PermissionDenied
            If the key is known, but is not the master key.
        """
        again = method != "POST" if idempotent is None else idempotent
        try:
            return self.transport.json(method, path, idempotent=again, read=read, expect=expect, **arguments)
        except AuthenticationError:
            self.require_master(what)  # to the platform, other keys are no keys
            raise

    def delete(self, path: str, *, what: str) -> None:
        """Delete something; parameters are those of ``json``."""
        try:
            self.transport.request("DELETE", path, idempotent=True, expect=DELETED)
        except AuthenticationError:
            self.require_master(what)
            raise

    def upload(self, path: str, *, what: str, read: Callable[[Any], T], **arguments: Any) -> T:
        """POST a body that is made while it is sent; parameters are those of ``Transport.upload``."""
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
            What the message says that the key may not do.
        """
        key = "default_public" if self.transport.is_public else "a regular one"
        message = f"{what} takes the master key, and the key in use is {key}: pass Credentials with the master key"
        refusal = PermissionDenied(message, status=403, method="GET", url=_KEYS)
        if self.transport.is_public:
            raise refusal
        try:
            query = {"type": "master"}
            keys = self.transport.json("GET", _KEYS, idempotent=True, query=query, read=_keys)
        except NotFound:  # an older installation, without this API: what follows will tell
            return
        if not keys:
            raise refusal


def _keys(response: Any) -> list[dict[str, Any]]:
    return records(record(response).get("result") or [])
