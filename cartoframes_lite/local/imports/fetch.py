"""Download the file of a URL import.

Sockets are opened here and not by an HTTP library: the request must go to the address that was checked, ignore
proxies and credentials from the environment, and be cancellable from another thread.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from base64 import b64encode
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from tempfile import mkstemp
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from cartoframes_lite.local.imports.allowed_addresses import resolve
from cartoframes_lite.local.imports.file_names import decode_header, response_file_name
from cartoframes_lite.local.imports.files import ImportJobError
from cartoframes_lite.local.imports.response_body import ResponseBody
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan

FAILED, TIMEOUT, NOT_FOUND, FORBIDDEN, UNKNOWN_URL, PARTIAL = 1001, 1020, 1100, 1101, 1102, 1103
_MAX_REDIRECTS = 5
_READ_TIMEOUT_S = 60.0
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_ERROR_CODES = {401: FORBIDDEN, 404: NOT_FOUND}  # as in CARTO: a 403 is a failed download like any other


class DownloadError(ImportJobError):
    """The response has an error status.

    Attributes
    ----------
    status : int
        HTTP status of the response.
    """

    def __init__(self, code: int, status: int) -> None:
        super().__init__(code, f"the server returned status {status} {reason_phrase(status)}".rstrip())
        self.status = status


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A downloaded file.

    Attributes
    ----------
    path : Path
    name : str
        File name according to the response headers or the URL.
    etag, modified : str or None
        Headers ``ETag`` and ``Last-Modified``.
    if_modified_since : str or None
        Value for ``If-Modified-Since`` of the next request; None if ``Last-Modified`` is missing or a weak validator.
    checksum : str
        SHA-256 of the content as hexadecimal digits.
    """

    path: Path
    name: str
    etag: str | None
    modified: str | None
    if_modified_since: str | None
    checksum: str


@dataclass(frozen=True, slots=True)
class NotModified:
    """The file has not changed since the last download (status 304)."""


def fetch(
    url: str,
    directory: Path,
    plan: Plan,
    *,
    etag: str | None = None,
    modified: str | None = None,
    cancellation: Cancellation | None = None,
) -> FetchedFile | NotModified:
    """Download a file.

    Parameters
    ----------
    url : str
        ``http`` or ``https``, with optional user and password.
    directory : Path
        Target directory. The caller removes it, also after an error.
    plan : Plan
        Limits of size (bytes) and time (seconds), and whether private addresses are allowed.
    etag, modified : str, optional
        Validators of the file from an earlier download.
    cancellation : Cancellation, optional
        Aborts the download.

    Returns
    -------
    FetchedFile or NotModified

    Raises
    ------
    ImportJobError
        With one of the codes 1001, 1020, 1100 to 1103 and 6666. The detail contains no password.
    """
    conditions = {"If-None-Match": etag, "If-Modified-Since": modified}
    headers = {name: value for name, value in conditions.items() if value}
    cancellation = cancellation or Cancellation()
    with cancellation.timeout(plan.download_timeout_s, TIMEOUT):
        try:
            fetched = _follow_redirects(url, directory, plan, headers, cancellation)
            cancellation.check()  # a socket that was shut down reads as the end of the file
            return fetched
        except (OSError, http.client.HTTPException) as error:
            cancellation.check()
            raise _as_import_error(error) from error


def redact_password(url: str) -> str:
    """Replace the password in a URL by ``***``."""
    return re.sub(r"^([^:/?#]+://[^/?#@:]*):[^/?#]*@", r"\1:***@", url.strip())


def reason_phrase(status: int) -> str:
    """Return the reason phrase of an HTTP status, such as ``Not Found``; ``""`` if unknown."""
    return http.client.responses.get(status, "")


def _follow_redirects(
    url: str, directory: Path, plan: Plan, headers: Mapping[str, str], cancellation: Cancellation
) -> FetchedFile | NotModified:
    """Request a URL and follow its redirects."""
    for _ in range(_MAX_REDIRECTS + 1):
        parts = _split_url(url)
        with ExitStack() as stack:
            response = _request(parts, plan, headers, cancellation, stack)
            if response.status in _REDIRECTS and (location := response.headers["Location"]):
                url = _redirect_url(url, decode_header(location))
            elif response.status == HTTPStatus.NOT_MODIFIED and headers:
                return NotModified()
            elif response.status != HTTPStatus.OK:
                raise DownloadError(_ERROR_CODES.get(response.status, FAILED), response.status)
            else:
                return _store(response, parts, directory, plan.file_bytes)
    raise ImportJobError(FAILED, f"more than {_MAX_REDIRECTS} redirects")


def _redirect_url(url: str, location: str) -> str:
    """Return the target URL of a redirect; raise ImportJobError if it is invalid."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ImportJobError(UNKNOWN_URL, "the redirect has an invalid URL") from error


def _split_url(url: str) -> SplitResult:
    """Split a URL; raise ImportJobError if it is invalid or neither HTTP nor HTTPS."""
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ImportJobError(UNKNOWN_URL, "invalid URL") from error
    if parts.scheme not in _PORTS or not host:
        raise ImportJobError(UNKNOWN_URL, "the URL must begin with http:// or https:// and a host")
    return parts


def _request(
    parts: SplitResult, plan: Plan, headers: Mapping[str, str], cancellation: Cancellation, stack: ExitStack
) -> http.client.HTTPResponse:
    """Send a request to a checked address; `stack` closes the connection."""
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    read_timeout_s = min(_READ_TIMEOUT_S, plan.download_timeout_s)
    sock = stack.enter_context(_connect(resolve(host, port, plan), port, read_timeout_s))
    stack.enter_context(cancellation.on_cancel(lambda: _shut_down(sock)))
    if parts.scheme == "https":
        sock = stack.enter_context(_tls_context().wrap_socket(sock, server_hostname=host))
    connection = http.client.HTTPConnection(host, port)
    connection.sock = sock
    target = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*[]")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:=&?~+!$,;'@()*[]")
    sent = {
        "Host": _host_header(parts),
        "User-Agent": "cartoframes_lite",
        "Accept-Encoding": "gzip",
        "Connection": "close",
    }
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        sent["Authorization"] = f"Basic {b64encode(secret.encode()).decode()}"
    connection.request("GET", target, headers={**sent, **headers})
    return stack.enter_context(connection.getresponse())


def _connect(addresses: list[str], port: int, timeout_s: float) -> socket.socket:
    """Connect to the first address that accepts the connection."""
    for address in addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, port), timeout_s)
    return socket.create_connection((addresses[-1], port), timeout_s)


def _tls_context() -> ssl.SSLContext:
    """Return a TLS context with the certificates of the system and those of `requests`."""
    from requests.utils import DEFAULT_CA_BUNDLE_PATH  # most servers never need it

    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def _shut_down(sock: socket.socket) -> None:
    """Shut a socket down, so that a read in another thread returns."""
    with suppress(OSError):  # already closed
        # Not SSLSocket.shutdown: it drops the TLS session while the other thread still reads from it.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _host_header(parts: SplitResult) -> str:
    """Return the value of the header ``Host`` for a URL."""
    host = parts.hostname or ""
    name = f"[{host}]" if ":" in host else host.encode("idna").decode()
    return name if parts.port in (None, _PORTS[parts.scheme]) else f"{name}:{parts.port}"


def _store(response: http.client.HTTPResponse, parts: SplitResult, directory: Path, limit: int) -> FetchedFile:
    """Write the body of a response to a file."""
    body, digest = ResponseBody(response, limit), sha256()
    handle, path = mkstemp(dir=directory, prefix="download_")
    with open(handle, "wb") as file:
        for block in body.blocks():
            digest.update(block)
            file.write(block)
    name = response_file_name(response.headers, parts.path)
    if body.gzipped and name.endswith(".gz"):
        name = name.removesuffix(".gz")  # the content encoding has been decoded
    etag, modified = response.headers["ETag"], response.headers["Last-Modified"]
    if_modified_since = None if _is_weak_validator(modified, response.headers["Date"]) else modified
    return FetchedFile(Path(path), name, etag, modified, if_modified_since, digest.hexdigest())


def _is_weak_validator(modified: str | None, sent: str | None) -> bool:
    """Return whether the file may change again within the second of ``Last-Modified`` (RFC 9110, 8.8.2.2)."""
    try:
        return parsedate_to_datetime(sent or "") - parsedate_to_datetime(modified or "") < timedelta(seconds=1)
    except (TypeError, ValueError):  # one of the headers is missing or invalid
        return False


def _as_import_error(error: OSError | http.client.HTTPException) -> ImportJobError:
    """Map an error of the connection to an import error."""
    match error:
        case TimeoutError():
            return ImportJobError(TIMEOUT, "the server did not respond in time")
        case http.client.IncompleteRead():
            return ImportJobError(PARTIAL, "the connection was closed before the end of the file")
        case http.client.InvalidURL():
            return ImportJobError(UNKNOWN_URL, "invalid URL")
        case OSError(strerror=str(text)):
            return ImportJobError(FAILED, text)
    return ImportJobError(FAILED, "the response is not valid HTTP")
