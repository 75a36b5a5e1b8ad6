"""Fetch a file that a user has named by its URL.

Sockets are opened here rather than by an HTTP library, so that a request goes to the very address that was
checked, takes no proxy, cookie or password from the environment, and can be ended from another thread.
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

from requests.utils import DEFAULT_CA_BUNDLE_PATH

from cartoframes_lite.local.imports.allowed_addresses import resolve
from cartoframes_lite.local.imports.file_names import header_text, name_of
from cartoframes_lite.local.imports.files import ImportRefused
from cartoframes_lite.local.imports.response_body import Body
from cartoframes_lite.local.imports.workers import Cancellation
from cartoframes_lite.local.plan import Plan

FAILED, TIMEOUT, NOT_FOUND, FORBIDDEN, UNKNOWN_URL, PARTIAL = 1001, 1020, 1100, 1101, 1102, 1103
_MAX_REDIRECTS = 5
_SILENCE_S = 60.0
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_REFUSALS = {401: FORBIDDEN, 403: FORBIDDEN, 404: NOT_FOUND, 407: FORBIDDEN, 410: NOT_FOUND}


class DownloadRefused(ImportRefused):
    """The server of the URL has answered, but not with the file.

    Attributes
    ----------
    status : int
        HTTP status of the answer.
    """

    def __init__(self, code: int, status: int) -> None:
        super().__init__(code, f"the server answered {status} {reason(status)}".rstrip())
        self.status = status


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched.

    Attributes
    ----------
    path : Path
        Where it is.
    name : str
        How its server calls it.
    etag, modified : str or None
        Headers ``ETag`` and ``Last-Modified``.
    since : str or None
        ``Last-Modified``, if the next request may ask whether the file was modified since.
    checksum : str
        SHA-256 of the content, in hexadecimal digits.
    """

    path: Path
    name: str
    etag: str | None
    modified: str | None
    since: str | None
    checksum: str


@dataclass(frozen=True, slots=True)
class NotModified:
    """The file is the one that was fetched before."""


def fetch(
    url: str,
    directory: Path,
    plan: Plan,
    *,
    etag: str | None = None,
    modified: str | None = None,
    cancellation: Cancellation | None = None,
) -> Fetched | NotModified:
    """Download a file.

    Parameters
    ----------
    url : str
        ``http`` or ``https``; user and password may be part of it.
    directory : Path
        Where to put the file. The caller removes it, also after an error.
    plan : Plan
        Largest size and longest time of a download, and whether private addresses are allowed.
    etag, modified : str, optional
        Of the file that is there already.
    cancellation : Cancellation, optional
        Ends the download.

    Returns
    -------
    Fetched or NotModified

    Raises
    ------
    ImportRefused
        With the code of what went wrong, and a detail that has no password in it.
    """
    conditions = {"If-None-Match": etag, "If-Modified-Since": modified}
    headers = {name: value for name, value in conditions.items() if value}
    cancellation = cancellation or Cancellation()
    with cancellation.after(plan.download_timeout_s, TIMEOUT):
        try:
            fetched = _follow(url, directory, plan, headers, cancellation)
            cancellation.check()  # a connection that was shut may look like one that has come to its end
            return fetched
        except (OSError, http.client.HTTPException) as error:
            cancellation.check()
            raise _refusal(error) from error


def redacted(url: str) -> str:
    """Return a URL without the password in it."""
    return re.sub(r"^([^:/?#]+://[^/?#@:]*):[^/?#]*@", r"\1:***@", url.strip())


def reason(status: int) -> str:
    """Return what a status of HTTP is called."""
    return http.client.responses.get(status, "")


def _follow(
    url: str, directory: Path, plan: Plan, headers: Mapping[str, str], cancellation: Cancellation
) -> Fetched | NotModified:
    """Request a URL and those that it redirects to."""
    for _ in range(_MAX_REDIRECTS + 1):
        parts = _parts(url)
        with ExitStack() as stack:
            response = _request(parts, plan, headers, cancellation, stack)
            if response.status in _REDIRECTS and (location := response.headers["Location"]):
                url = _joined(url, header_text(location))
            elif response.status == HTTPStatus.NOT_MODIFIED and headers:
                return NotModified()
            elif response.status != HTTPStatus.OK:
                raise DownloadRefused(_REFUSALS.get(response.status, FAILED), response.status)
            else:
                return _store(response, parts, directory, plan.file_bytes)
    raise ImportRefused(FAILED, f"more than {_MAX_REDIRECTS} redirects")


def _joined(url: str, location: str) -> str:
    """Return the URL of a redirect; refuse what is none."""
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise ImportRefused(UNKNOWN_URL, "the redirect leads to no URL") from error


def _parts(url: str) -> SplitResult:
    """Take a URL apart; refuse what cannot be fetched."""
    try:
        parts = urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ImportRefused(UNKNOWN_URL, "this is no URL") from error
    if parts.scheme not in _PORTS or not host:
        raise ImportRefused(UNKNOWN_URL, "the URL has to begin with http:// or https:// and a host")
    return parts


def _request(
    parts: SplitResult, plan: Plan, headers: Mapping[str, str], cancellation: Cancellation, stack: ExitStack
) -> http.client.HTTPResponse:
    """Send a request to a checked address; the connection lasts as long as the stack."""
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    silence_s = min(_SILENCE_S, plan.download_timeout_s)
    connected = stack.enter_context(_connect(resolve(host, port, plan), port, silence_s))
    stack.enter_context(cancellation.ends(lambda: _shut(connected)))
    if parts.scheme == "https":
        connected = stack.enter_context(_tls().wrap_socket(connected, server_hostname=host))
    connection = http.client.HTTPConnection(host, port)
    connection.sock = connected
    target = quote(parts.path or "/", safe="/%:=&~+!$,;'@()*[]")
    if parts.query:
        target += "?" + quote(parts.query, safe="/%:=&?~+!$,;'@()*[]")
    sent = {"Host": _host(parts), "User-Agent": "cartoframes_lite", "Accept-Encoding": "gzip", "Connection": "close"}
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        sent["Authorization"] = f"Basic {b64encode(secret.encode()).decode()}"
    connection.request("GET", target, headers={**sent, **headers})
    return stack.enter_context(connection.getresponse())


def _connect(addresses: list[str], port: int, timeout_s: float) -> socket.socket:
    """Connect to the first of the addresses that answers."""
    for address in addresses[:-1]:
        with suppress(OSError):
            return socket.create_connection((address, port), timeout_s)
    return socket.create_connection((addresses[-1], port), timeout_s)


def _tls() -> ssl.SSLContext:
    """Trust whom the system trusts, and whom `requests` does."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


def _shut(connected: socket.socket) -> None:
    """End a connection, so that who waits for it goes on."""
    with suppress(OSError):  # it has ended
        # Not the method of a TLS socket, which would pull the session away under the thread that reads.
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _host(parts: SplitResult) -> str:
    """Return the header ``Host`` of a URL."""
    host = parts.hostname or ""
    name = f"[{host}]" if ":" in host else host.encode("idna").decode()
    return name if parts.port in (None, _PORTS[parts.scheme]) else f"{name}:{parts.port}"


def _store(response: http.client.HTTPResponse, parts: SplitResult, directory: Path, limit: int) -> Fetched:
    """Write the body of an answer into a file."""
    body, digest = Body(response, limit), sha256()
    handle, path = mkstemp(dir=directory, prefix="download_")
    with open(handle, "wb") as file:
        for block in body.blocks():
            digest.update(block)
            file.write(block)
    name = name_of(response.headers, parts.path)
    if body.gzipped and name.endswith(".gz"):
        name = name.removesuffix(".gz")  # what the server packed for the way, or so it says
    etag, modified = response.headers["ETag"], response.headers["Last-Modified"]
    since = None if _may_change_unseen(modified, response.headers["Date"]) else modified
    return Fetched(Path(path), name, etag, modified, since, digest.hexdigest())


def _may_change_unseen(modified: str | None, sent: str | None) -> bool:
    """Ask whether a file may yet change without a new time: times are whole seconds (RFC 9110, 8.8.2.2)."""
    try:
        return parsedate_to_datetime(sent or "") - parsedate_to_datetime(modified or "") < timedelta(seconds=1)
    except (TypeError, ValueError):  # there are no two times to compare
        return False


def _refusal(error: OSError | http.client.HTTPException) -> ImportRefused:
    """Say what an error of the connection means."""
    match error:
        case TimeoutError():
            return ImportRefused(TIMEOUT, "the server does not answer")
        case http.client.IncompleteRead():
            return ImportRefused(PARTIAL, "the connection ended before the file did")
        case http.client.InvalidURL():
            return ImportRefused(UNKNOWN_URL, "this is no URL")
        case OSError(strerror=str(text)):
            return ImportRefused(FAILED, text)
    return ImportRefused(FAILED, "the server's answer is not HTTP")
