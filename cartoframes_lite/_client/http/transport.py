"""HTTP requests to one account: authentication, timeouts, streaming, retries, and errors from responses."""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.client import HTTPException
from itertools import islice
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlencode, urlsplit

import requests
import urllib3

from cartoframes_lite._client.http import json_fields, rate_limit
from cartoframes_lite._client.http.connection import (
    ClosedWhileIdleError,
    DroppedError,
    clear_frames,
    new_session,
    use_fresh_connections,
    user_agent,
)
from cartoframes_lite._client.http.leaky_bucket import RateLimitHeaders
from cartoframes_lite._client.http.progress import RateLimitNotice
from cartoframes_lite._client.http.retry import NOTHING_DONE, Failure, Outcome, delay_s
from cartoframes_lite._client.http.streams import Body, Stream, close, interrupt_read, iter_body
from cartoframes_lite._client.http.user_sessions import proxies_for_local, register
from cartoframes_lite.credentials import LOOPBACK, Credentials
from cartoframes_lite.errors import (
    APIError,
    ConnectionFailed,
    CredentialsError,
    QueryTimeout,
    RateLimited,
    bare_url,
    error_from_response,
)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 300.0
COPY_TIMEOUT_S = 3600.0  # copyfrom responds only after the database has stored all rows
_MAX_URL_BYTES = 7_000  # servers accept 8 KB for the URL and all headers
_MAX_ERROR_BLOCKS = 64  # limit for the body of an error response, which may be endless
_NOT_CONNECTED = {urllib3.exceptions.NewConnectionError, urllib3.exceptions.NameResolutionError}

_UNKNOWN = Outcome()

T = TypeVar("T")
Statuses = tuple[int, ...]
OK: Statuses = (200,)

_log = logging.getLogger("cartoframes_lite")


def _identity(value: Any) -> Any:
    return value


class Transport:
    """Send requests to one account; safe to share between threads.

    Every request has a timeout. A request that timed out may have been executed by the server, so it is retried only
    if it is idempotent.

    Parameters
    ----------
    credentials : Credentials
    progress : bool, optional
        Show waits for a rate limit. None: only waits of two seconds or more.
    sleep, clock, jitter : callable
        Injected by tests.

    Attributes
    ----------
    credentials : Credentials
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        progress: bool | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.credentials = credentials
        self._base_url = str(credentials.base_url)
        self._progress = progress
        self._sleep, self._clock, self._jitter = sleep, clock, jitter
        self._local = threading.local()
        self.is_local = urlsplit(self._base_url).hostname in LOOPBACK
        self.is_public = credentials.is_public

    def __repr__(self) -> str:
        return f"Transport({self._base_url!r})"

    def request(
        self,
        method: str,
        path: str,
        *,
        idempotent: bool,
        query: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
        json_body: Any = None,
        expect: Statuses = OK,
    ) -> bytes:
        """Send a request and return the response body.

        Parameters
        ----------
        method, path : str
            The path is relative to the base URL of the account, such as ``api/v2/sql``.
        idempotent : bool
            Whether the request may be retried if the server may already have executed it.
        query, form, json_body
            URL parameters; a form-encoded body; a JSON body.
        expect : tuple of int
            Status codes of a successful response, as documented for the endpoint.

        Raises
        ------
        APIError
            If the response has an error status.
        ConnectionFailed
            If there is no response, or it is incomplete or malformed.
        """
        request = _Request(method, path, idempotent, _request_arguments(query, form, json_body), expect)
        return self._send_with_retries(request, lambda response: self._read_body(request, response))

    def json(
        self,
        method: str,
        path: str,
        *,
        idempotent: bool,
        read: Callable[[Any], T] = _identity,
        query: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
        json_body: Any = None,
        expect: Statuses = OK,
    ) -> T:
        """Send a request, decode the JSON response and convert it with ``read``.

        Other parameters are those of ``request``. An ``error`` member is raised also if the status is a success.

        Parameters
        ----------
        read : callable
            Converts the decoded JSON. If a member is missing or has the wrong type, ConnectionFailed is raised: the
            response is not one of the CARTO API.
        """
        request = _Request(method, path, idempotent, _request_arguments(query, form, json_body), expect)

        def receive(response: requests.Response) -> Any:
            return _decode(method, self._url(path), self._read_body(request, response, self_delimiting=True))

        return json_fields.parsed(read, self._send_with_retries(request, receive), self._url(path))

    @contextmanager
    def stream(
        self, method: str, path: str, *, form: Mapping[str, Any], self_delimiting: bool = False
    ) -> Iterator[Stream]:
        """Send an idempotent request and stream the response body in blocks.

        The request is retried only until the response begins. Leaving the context closes the connection if the body
        has not been read to its end.

        Parameters
        ----------
        method, path, form
            As in ``request``.
        self_delimiting : bool, default False
            Whether the format of the body marks its end. If not, a response without Content-Length or chunked
            encoding is an error, because truncation could not be detected.
        """
        request = _Request(method, path, True, _request_arguments(None, form, None))
        response = self._send_with_retries(request, _identity)
        try:
            blocks = iter_body(response, self._url(path), self_delimiting=self_delimiting)
            yield Stream(blocks, partial(interrupt_read, response))
        finally:
            close(response)

    @contextmanager
    def fetch(self, url: str) -> Iterator[Iterator[bytes]]:
        """GET a file whose URL was in a response, in blocks; without the API key, because the host may be any.

        Parameters
        ----------
        url : str
            Absolute, http or https.
        """
        shown_url = bare_url(url)
        timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        headers = {"User-Agent": user_agent(), "Accept-Encoding": "identity"}
        # Not the session of the account, whose headers and cookies must not reach other hosts.
        with new_session(redirects=True) as session:
            try:
                response = session.get(url, stream=True, timeout=timeout, auth=_no_auth, headers=headers)
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                raise ConnectionFailed(
                    f"{shown_url}: could not download the file: check that the host can be reached from here"
                ) from _without_query(error)
            with response:
                if response.status_code not in OK:
                    raise self._error_from_response(_Request("GET", "", True, dict), response, shown_url)
                yield iter_body(response, shown_url)

    def upload(
        self,
        path: str,
        *,
        query: Mapping[str, str],
        body: Callable[[], Iterable[bytes]],
        compress: bool = False,
        content_type: str = "application/octet-stream",
        size_bytes: int | None = None,
        abort: bytes | None = None,
        read: Callable[[Any], T] = _identity,
    ) -> T:
        """POST a body that is generated while it is sent, and decode the JSON response.

        Parameters
        ----------
        path : str
        query : mapping
            URL parameters, at most 7,000 bytes when encoded.
        body : callable
            Returns an iterable of the body's blocks; called once per attempt. An exception raised by the iterable
            aborts the request, so that nothing is committed, and is raised unchanged.
        compress : bool
            Compress with gzip.
        content_type : str
        size_bytes : int, optional
            Length of an uncompressed body. None: chunked encoding.
        abort : bytes, optional
            Final bytes that make the server reject the body; sent if the iterable raises or sending is interrupted.
            None: the connection is closed instead.
        read : callable
            As in ``json``.
        """
        size = len(urlencode(query))
        if size > _MAX_URL_BYTES:
            raise ValueError(
                f"the COPY statement is too long for a URL ({size:,} of at most {_MAX_URL_BYTES:,} bytes): leave out "
                "the list of columns"
            )
        headers = {"Content-Type": content_type, **({"Content-Encoding": "gzip"} if compress else {})}
        body_errors: list[BaseException] = []

        def arguments() -> dict[str, Any]:
            data = Body(body, compress=compress, abort=abort, errors=body_errors, size_bytes=size_bytes)
            timeout = (CONNECT_TIMEOUT_S, COPY_TIMEOUT_S)
            return {"params": query, "data": data, "headers": headers, "timeout": timeout}

        def receive(response: requests.Response) -> Any:
            return _decode("POST", self._url(path), self._read_body(request, response, self_delimiting=True))

        request = _Request("POST", path, False, arguments, is_aborted=lambda: bool(body_errors))
        try:
            payload = self._send_with_retries(request, receive)
            if not body_errors:
                return json_fields.parsed(read, payload, self._url(path))
            body_errors[0].add_note(f"The server accepted the rows that were sent before this error: {path}")
            raise body_errors.pop()
        except (APIError, ConnectionFailed):
            if body_errors:
                raise body_errors.pop() from None
            raise
        finally:
            body_errors.clear()  # break the reference cycle of exception and frame, as in _send_with_retries

    def _url(self, path: str) -> str:
        return f"{self._base_url}/{path}"

    def _session(self) -> requests.Session:
        """Return the session from the credentials, or the one of this thread."""
        if self.credentials.session is not None:
            return register(self.credentials.session)
        # A forked process must not share its parent's connections: either could read the other's responses.
        if getattr(self._local, "process", None) != os.getpid():
            # A local server needs no proxy from the environment.
            self._local.session, self._local.process = new_session(trust_env=not self.is_local), os.getpid()
        session: requests.Session = self._local.session
        return session

    def _read_body(self, request: _Request, response: requests.Response, *, self_delimiting: bool = False) -> bytes:
        """Read the whole response body."""
        with response:
            return b"".join(iter_body(response, self._url(request.path), self_delimiting=self_delimiting))

    def _send_with_retries(self, request: _Request, receive: Callable[[requests.Response], T]) -> T:
        """Send a request, with retries, until it succeeds or the retry rule gives up."""
        queued = rate_limit.queue_for(self._base_url, request.method, request.path).join(self._clock, self._sleep)
        waited_s, attempts, maybe_executed = 0.0, 0, False
        while self._wait_for_rate_limit(queued, request.method, request.path):
            attempts += 1
            attempt = self._attempt(request, receive)
            if attempt.error is None:
                queued.on_success(attempt.limit_headers)
                return cast(T, attempt.result)
            error, outcome = attempt.error, attempt.outcome
            limited = isinstance(error, RateLimited)
            waited = queued.stalled_s if limited else waited_s
            delay = delay_s(
                outcome, idempotent=request.idempotent, attempt=attempts, waited_s=waited, jitter=self._jitter()
            )
            maybe_executed |= not limited and outcome.failure not in NOTHING_DONE
            if limited:
                queued.on_rejected(attempt.limit_headers, delay or outcome.retry_after_s or 0.0)
            else:
                queued.on_success(attempt.limit_headers)
            if delay is None or request.is_aborted():
                break
            if not limited:
                url = self._url(request.path)
                _log.info("%s %s: %s; retry in %.1f s", request.method, url, type(error).__name__, delay)
                self._sleep(delay)
                waited_s += delay
        if isinstance(error, RateLimited):
            error.hint = queued.describe_wait(error.retry_after_s)
        if isinstance(error, ConnectionFailed):
            error.nothing_done = not maybe_executed
        try:
            raise error
        finally:
            # Break the reference cycle of exception and frame, which would keep the connection open until the
            # garbage collector runs.
            del error, attempt

    def _attempt(self, request: _Request, receive: Callable[[requests.Response], T]) -> _Attempt[T]:
        """Send a request once and classify the result."""
        try:
            response = self._send_once(request)
        except CredentialsError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            if isinstance(error, UnicodeEncodeError):  # the request itself cannot be encoded
                raise
            outcome, failed = _outcome_of_exception(error), self._connection_error(request.path, error)
            clear_frames(error)
            return _Attempt(error=failed, outcome=outcome)
        limits = RateLimitHeaders.of(response.headers)
        if response.status_code not in request.expect:
            refused = self._error_from_response(request, response, self._url(request.path))
            return _Attempt(
                error=refused, outcome=_outcome_of_error(refused, response.status_code), limit_headers=limits
            )
        try:
            return _Attempt(result=receive(response), limit_headers=limits)
        except (APIError, ConnectionFailed) as error:
            clear_frames(error.__cause__)
            return _Attempt(
                error=error.with_traceback(None), outcome=_outcome_of_error(error, None), limit_headers=limits
            )

    def _wait_for_rate_limit(self, queued: rate_limit.QueuedRequest, method: str, path: str) -> bool:
        """Wait until the rate limit allows the request; False if the wait would be too long."""
        with RateLimitNotice(f"{method} {self._url(path)}", self._progress) as notice:
            return queued.acquire(lambda wait: notice.say(wait.seconds, str(wait)))

    def _send_once(self, request: _Request) -> requests.Response:
        arguments = request.arguments()
        headers = {
            "User-Agent": user_agent(),
            "Accept-Encoding": "identity" if self.is_local else "gzip",
            **arguments.pop("headers", {}),
        }
        try:
            session = self._session()
            if self.is_local:
                arguments["proxies"] = proxies_for_local(session)
            use_fresh_connections(not request.idempotent)
            return session.request(
                request.method,
                self._url(request.path),
                headers=headers,
                auth=_BasicAuth(self.credentials),
                verify=self.credentials.verify,
                allow_redirects=False,  # never send the API key to another host
                stream=True,
                **arguments,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError):
            raise
        except OSError as error:  # raised by requests before sending if a certificate file is missing
            raise CredentialsError(
                f"{self._base_url}: {error.args[0] if error.args else type(error).__name__}: check verify of the"
                " Credentials, cert of the session, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"
            ) from None
        except BaseException as error:  # noqa: BLE001  # raised again
            # Such as KeyboardInterrupt: the locals of requests' frames contain the Authorization header.
            raise error.with_traceback(None) from None

    def _error_from_response(
        self, request: _Request, response: requests.Response, url: str
    ) -> APIError | ConnectionFailed:
        """Return the exception for a response whose status is not an expected one."""
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
            return error_from_response(request.method, url, status, response.headers, body, public_key=self.is_public)

    def _connection_error(self, path: str, error: Exception) -> ConnectionFailed:
        """Return ConnectionFailed with advice; the original message is dropped, it may contain the full URL."""
        url = f"{self._base_url} ({path})"
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
        failed.__cause__ = _without_query(error)
        return failed


@dataclass(frozen=True, slots=True)
class _Request:
    """A request; ``arguments`` returns the keyword arguments for requests, with a new body for each attempt."""

    method: str
    path: str
    idempotent: bool
    arguments: Callable[[], dict[str, Any]]
    expect: Statuses = OK
    is_aborted: Callable[[], bool] = bool  # returns False


@dataclass(frozen=True, slots=True)
class _Attempt(Generic[T]):
    """Result of one attempt; ``result`` is valid if ``error`` is None."""

    result: T | None = None
    error: APIError | ConnectionFailed | None = None
    outcome: Outcome = _UNKNOWN
    limit_headers: RateLimitHeaders | None = None


class _BasicAuth(requests.auth.AuthBase):
    """Basic authentication in UTF-8; set explicitly, so that .netrc does not override it."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if not self._credentials.is_public:
            pair = f"{self._credentials.username}:{self._credentials.api_key}".encode()
            request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return request


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Prevent requests from reading .netrc."""
    return request


def _request_arguments(
    query: Mapping[str, Any] | None, form: Mapping[str, Any] | None, json_body: Any
) -> Callable[[], dict[str, Any]]:
    """Compose keyword arguments for requests; ValueError or TypeError if the body cannot be serialized to JSON."""
    arguments: dict[str, Any] = {"params": query, "data": form, "timeout": (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)}
    if json_body is not None:
        try:
            arguments["data"] = json.dumps(json_body, allow_nan=False).encode()
        except RecursionError:
            raise ValueError("the request body is nested too deeply for JSON, or contains itself") from None
        arguments["headers"] = {"Content-Type": "application/json"}
    return arguments.copy


def _decode(method: str, url: str, body: bytes) -> Any:
    """Decode the JSON of a successful response; raise its ``error`` member, if any."""
    if not body.strip():
        raise ConnectionFailed(f"{url}: the response is empty")
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        if body.lstrip()[:1] in (b"{", b"["):  # otherwise not JSON at all, such as an HTML page
            raise ConnectionFailed(
                f"{url}: the response is truncated or invalid JSON ({type(error).__name__}): try again"
            ) from error
        raise error_from_response(method, url, 200, {}, body) from error
    if isinstance(payload, dict) and payload.get("error"):
        raise error_from_response(method, url, 200, {}, body)
    return payload


def _scheme_and_host(url: str) -> str:
    """Return scheme and host of a URL from a response, without user information."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a malformed URL"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _without_query(error: Exception) -> OSError:
    """Return an exception that names only the type: that of requests references the request and its headers."""
    return OSError(type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception of requests and the exceptions nested in it by requests and urllib3."""
    yield error
    for cause in (*error.args, getattr(error, "reason", None)):
        if isinstance(cause, BaseException):
            yield from _causes(cause)


def _outcome_of_exception(error: Exception) -> Outcome:
    kinds = set(map(type, _causes(error)))
    kind: Failure = "lost"
    if isinstance(error, requests.exceptions.ConnectTimeout) or kinds & _NOT_CONNECTED:
        kind = "not_connected"
    elif isinstance(error, requests.exceptions.ReadTimeout):
        kind = "read_timeout"
    elif ClosedWhileIdleError in kinds:
        kind = "not_sent"
    elif DroppedError in kinds:
        kind = "dropped"
    return Outcome(failure=kind)


def _outcome_of_error(error: APIError | ConnectionFailed, status: int | None) -> Outcome:
    """Return the input of the retry rule; ``status`` is None if the response had an expected status."""
    if isinstance(error, ConnectionFailed):
        if status is not None and status < 300:
            return Outcome(status=status)
        return Outcome(failure="no_database" if error.nothing_done else "lost")
    return Outcome(
        status=error.status, statement_timeout=isinstance(error, QueryTimeout), retry_after_s=error.retry_after_s
    )
