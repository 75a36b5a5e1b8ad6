"""Convert failed requests to exceptions of this package, and to the input of the retry rule."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from http.client import HTTPException
from itertools import islice
from urllib.parse import urlsplit

import requests
import urllib3

from cartoframes_lite._client.http.connection import ClosedWhileIdleError, DroppedError
from cartoframes_lite._client.http.request import CONNECT_TIMEOUT_S, Request
from cartoframes_lite._client.http.retry import Failure
from cartoframes_lite._client.http.streams import iter_body, response_timeout
from cartoframes_lite.errors import APIError, ConnectionFailed, error_from_response

_MAX_ERROR_BLOCKS = 64  # limit for the body of an error response, which may be endless
_NOT_CONNECTED = {urllib3.exceptions.NewConnectionError, urllib3.exceptions.NameResolutionError}


def connection_error(base_url: str, request: Request, error: Exception) -> ConnectionFailed:
    """Return ConnectionFailed with advice; the original message is dropped, it may contain the full URL."""
    url = f"{base_url} ({request.path})"
    kinds = set(map(type, _causes(error)))
    if isinstance(error, requests.exceptions.SSLError):
        what = "the TLS certificate could not be verified: pass verify='path of the CA bundle' to Credentials"
    elif isinstance(error, requests.exceptions.ProxyError):
        what = "could not connect to the proxy: check HTTP_PROXY and HTTPS_PROXY"
    elif isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        what = "the URL of the host or of a proxy is invalid: check base_url, HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
    elif isinstance(error, requests.exceptions.ConnectTimeout):
        what = f"no connection within {CONNECT_TIMEOUT_S:.0f} s: check the host and the network"
    elif isinstance(error, requests.exceptions.Timeout):
        if request.statement_timeout_s is not None:
            timeout_s = request.statement_timeout_s
            waited = f"{url}: no response within {timeout_s:g} s"
            return response_timeout(waited, request.method, f"{base_url}/{request.path}", timeout_s, type_of(error))
        what = "no response before the timeout"
    elif urllib3.exceptions.NameResolutionError in kinds:
        what = "the host name could not be resolved: check base_url or username"
    elif urllib3.exceptions.NewConnectionError in kinds:
        what = "the connection was refused: check base_url, and that the server is running"
    elif HTTPException in kinds or not isinstance(error, requests.exceptions.ConnectionError):
        what = "the response is malformed or truncated: check base_url and any proxy"
    else:
        what = "the connection was lost"
    failed = ConnectionFailed(f"{url}: {what}")
    failed.__cause__ = type_of(error)
    return failed


def connection_failure(error: Exception) -> Failure:
    """Return the kind of failure of an exception of requests or urllib3."""
    kinds = set(map(type, _causes(error)))
    if isinstance(error, requests.exceptions.ConnectTimeout) or kinds & _NOT_CONNECTED:
        return "not_connected"
    if isinstance(error, requests.exceptions.ReadTimeout):
        return "read_timeout"
    if ClosedWhileIdleError in kinds:
        return "not_sent"
    return "dropped" if DroppedError in kinds else "lost"


def status_error(
    request: Request, response: requests.Response, url: str, *, is_public: bool = False
) -> APIError | ConnectionFailed:
    """Return the exception for a response whose status is not an expected one.

    Parameters
    ----------
    request : Request
    response : requests.Response
        Closed by this function.
    url : str
    is_public : bool, default False
        Whether the request was sent without an API key.
    """
    status = response.status_code
    with response:
        if status < 300:
            expected = " or ".join(map(str, request.expect))
            return ConnectionFailed(
                f"{url}: the response has status {status}, expected {expected}: check base_url and any proxy"
            )
        if status < 400:
            target = _scheme_and_host(response.headers.get("Location", ""))
            hint = f"set base_url of the Credentials to the target of the redirect: {target}"
            message = f"{url} is redirected, and redirects are not followed"
            return APIError(message, status=status, method=request.method, url=url, hint=hint)
        try:
            body = b"".join(islice(iter_body(response, url, self_delimiting=True), _MAX_ERROR_BLOCKS))
        except ConnectionFailed:
            body = b""  # the status alone determines the error
        return error_from_response(request.method, url, status, response.headers, body, public_key=is_public)


def type_of(error: Exception) -> OSError:
    """Return an exception that names only the type: that of requests references the request and its headers."""
    return OSError(type(error).__name__)


def clear_frames(error: BaseException | None) -> None:
    """Clear the traceback frames of an error and its causes, whose reference cycles would keep the connection open."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


def _scheme_and_host(url: str) -> str:
    """Return scheme and host of a URL from a response, without user information."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a malformed URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception of requests and the exceptions nested in it by requests and urllib3."""
    yield error
    for cause in (*error.args, getattr(error, "reason", None)):
        if isinstance(cause, BaseException):
            yield from _causes(cause)
