"""What the services of CARTO's platform, beside SQL and maps, have in common: they heed the master key only."""

from __future__ import annotations

from typing import Any, Literal

from cartoframes_lite._client.transport import Transport
from cartoframes_lite.errors import AuthenticationError, NotFound, PermissionDenied

_KEYS = "api/v3/api_keys"

Method = Literal["GET", "POST", "PUT", "DELETE"]


class Platform:
    """Requests that say so if they failed for want of the master key.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self.transport = transport

    def json(self, method: Method, path: str, *, what: str, idempotent: bool | None = None, **arguments: Any) -> Any:
        """Send a request and decode the answer; None if it has no body.

        Parameters
        ----------
        method, path : str
        what : str
            What a refusal says that the key may not do, as ``"listing imports"``.
        idempotent : bool, optional
            Whether it may be done twice. None: all but POST may.
        **arguments
            Those of ``Transport.request``.

        Raises
        ------
        PermissionDenied
            If the key is known, but is not the master key.
        """
        again = method != "POST" if idempotent is None else idempotent
        try:
            if method == "DELETE":
                self.transport.request(method, path, idempotent=again, **arguments)
                return None
            return self.transport.json(method, path, idempotent=again, **arguments)
        except AuthenticationError:
            self.require_master(what)  # to the platform, other keys are no keys
            raise

    def upload(self, path: str, *, what: str, **arguments: Any) -> Any:
        """POST a body that is made while it is sent; parameters are those of ``Transport.upload``."""
        try:
            return self.transport.upload(path, **arguments)
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
        refusal = PermissionDenied(
            f"{what} takes the master key: pass Credentials with it", status=403, method="GET", url=_KEYS
        )
        if self.transport.is_public:
            raise refusal
        try:
            answer = self.transport.json("GET", _KEYS, idempotent=True, query={"type": "master"})
        except NotFound:  # an older installation, without this API: what follows will tell
            return
        if not answer.get("result"):
            raise refusal
