"""Warn once per undocumented API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from cartoframes_lite import user_warnings
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite.errors import NonPublicAPIWarning

_warned: set[str] = set()
_is_suppressed: ContextVar[bool] = ContextVar("is_suppressed", default=False)


def warn(api: str, transport: Transport) -> None:
    """Emit a NonPublicAPIWarning, once per API and process.

    A server on the loopback interface is the embedded one, whose APIs change only with this package: no warning.

    Parameters
    ----------
    api : str
        Path relative to the base URL, such as ``"api/v1/viz"``.
    transport : Transport
        Used for the request.
    """
    if transport.is_local or api in _warned or _is_suppressed.get():
        return
    _warned.add(api)
    message = (
        f"{api} is not a documented API of CARTO and may change without notice; to silence this warning: "
        "warnings.simplefilter('ignore', cartoframes_lite.NonPublicAPIWarning)"
    )
    user_warnings.warn(message, NonPublicAPIWarning)


@contextmanager
def suppress_warnings() -> Iterator[None]:
    """Suppress the warning for requests that the user did not make, such as for the display of an object."""
    token = _is_suppressed.set(True)
    try:
        yield
    finally:
        _is_suppressed.reset(token)
