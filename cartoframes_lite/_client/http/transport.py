"""Requests to one account: authentication, timeouts, streams, retries, and errors made of answers."""

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
    new_session,
    release,
    use_fresh_connections,
    user_agent,
)
from cartoframes_lite._client.http.leaky_bucket import RateLimitHeaders
from cartoframes_lite._client.http.progress import Pause
from cartoframes_lite._client.http.retry import NOTHING_DONE, Failure, Outcome, delay_s
from cartoframes_lite._client.http.streams import Body, Stream, blocks_of, close, shut_down
from cartoframes_lite._client.http.user_sessions import adopt, direct
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
COPY_TIMEOUT_S = 3600.0  # copyfrom answers only when the database has everything
_MAX_URL_BYTES = 7_000  # servers take 8 KB for the URL and all headers
_MOST_ERROR_BLOCKS = 64  # of an answer that tells of an error; one that goes on and on is not waited for
_NOT_CONNECTED = {urllib3.exceptions.NewConnectionError, urllib3.exceptions.NameResolutionError}

_UNKNOWN = Outcome()

T = TypeVar("T")
Statuses = tuple[int, ...]
OK: Statuses = (200,)

_log = logging.getLogger("cartoframes_lite")


def _as_it_is(answer: Any) -> Any:
    return answer


class Transport:
    """Sends requests to one account; safe to share between threads.

    Timeouts are always set. A request that timed out is sent again only if that cannot do harm: what it did on
    the server is not known.

    Parameters
    ----------
    credentials : Credentials
    progress : bool, optional
        Whether to show that a request waits for a rate limit: None if it is two seconds or more.
    sleep, clock, jitter : callable
        Replaced in tests.
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
        self._credentials = credentials
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
        """Send a request and return the body of the answer.

        Parameters
        ----------
        method, path : str
            The path is relative to the account, as ``api/v2/sql``.
        idempotent : bool
            Whether it may be sent again when it is not known what became of it.
        query, form, json_body
            URL parameters; the body as a form; the body as JSON.
        expect : tuple of int
            The statuses of a success, as the endpoint documents them.

        Raises
        ------
        APIError
            If the server refuses.
        ConnectionFailed
            If there is no answer, not all of it, or one that is not the server's.
        """
        call = _Call(method, path, idempotent, _arguments(query, form, json_body), expect)
        return self._send(call, lambda response: self._whole(call, response))

    def json(
        self,
        method: str,
        path: str,
        *,
        idempotent: bool,
        read: Callable[[Any], T] = _as_it_is,
        query: Mapping[str, Any] | None = None,
        form: Mapping[str, Any] | None = None,
        json_body: Any = None,
        expect: Statuses = OK,
    ) -> T:
        """Send a request and decode the JSON of the answer; an error inside a success is raised, too.

        Parameters are those of ``request``, and:

        Parameters
        ----------
        read : callable
            Makes of the decoded answer what is returned. An answer that it cannot read, for it lacks a member or has
            one of another type, is a ConnectionFailed: it is not one of the API.
        """
        call = _Call(method, path, idempotent, _arguments(query, form, json_body), expect)

        def receive(response: requests.Response) -> Any:
            return _decode(method, self._place(path), self._whole(call, response, proves_end=True))

        return json_fields.parsed(read, self._send(call, receive), self._place(path))

    @contextmanager
    def stream(self, method: str, path: str, *, form: Mapping[str, Any], proves_end: bool = False) -> Iterator[Stream]:
        """Send a request and give the body of the answer as it arrives, in blocks.

        It is sent again only as long as nothing of the answer has come. Leaving the context closes the
        connection if the answer has not been read to its end.

        Parameters
        ----------
        method, path, form
            As in ``request``.
        proves_end : bool, default False
            Whether the body shows by itself that it is complete. Else an answer that does not say how long it is, is
            an error.
        """
        call = _Call(method, path, True, _arguments(None, form, None))
        response = self._send(call, _as_it_is)
        try:
            blocks = blocks_of(response, self._place(path), proves_end=proves_end)
            yield Stream(blocks, partial(shut_down, response))
        finally:
            close(response)

    @contextmanager
    def fetch(self, url: str) -> Iterator[Iterator[bytes]]:
        """GET a file that an answer has named, in blocks; without the key, for it may be anywhere.

        Parameters
        ----------
        url : str
            Absolute, http or https.
        """
        place = bare_url(url)
        timeout = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        headers = {"User-Agent": user_agent(), "Accept-Encoding": "identity"}
        # Not the session of the account: its headers and cookies are meant for the account.
        with new_session(redirects=True) as session:
            try:
                response = session.get(url, stream=True, timeout=timeout, auth=_no_auth, headers=headers)
            except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
                raise ConnectionFailed(f"{place}: the file cannot be fetched") from _without_query(error)
            with response:
                if response.status_code not in OK:
                    raise self._error_of(_Call("GET", "", True, dict), response, place)
                yield blocks_of(response, place)

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
        read: Callable[[Any], T] = _as_it_is,
    ) -> T:
        """POST a body that is made while it is sent, and decode the JSON of the answer.

        Parameters
        ----------
        path : str
        query : mapping
            URL parameters, at most 7,000 bytes when encoded.
        body : callable
            Makes the body, from its beginning each time. An error that it raises breaks off the request, so that
            nothing is committed, and comes through as it is.
        compress : bool
            Send gzip.
        content_type : str
        size_bytes : int, optional
            Length of a body that is not compressed. None sends it in chunks.
        abort : bytes, optional
            What makes the server refuse a body that ends with it: sent if the body breaks off, or if the sending is
            interrupted. None closes the connection instead.
        read : callable
            As in ``json``.
        """
        if len(urlencode(query)) > _MAX_URL_BYTES:
            raise ValueError("the COPY statement is too long for a URL (7,000 bytes): leave out the list of columns")
        headers = {"Content-Type": content_type, **({"Content-Encoding": "gzip"} if compress else {})}
        broken: list[BaseException] = []

        def arguments() -> dict[str, Any]:
            data = Body(body, compress=compress, abort=abort, broken=broken, size_bytes=size_bytes)
            timeout = (CONNECT_TIMEOUT_S, COPY_TIMEOUT_S)
            return {"params": query, "data": data, "headers": headers, "timeout": timeout}

        def receive(response: requests.Response) -> Any:
            return _decode("POST", self._place(path), self._whole(call, response, proves_end=True))

        call = _Call("POST", path, False, arguments, given_up=lambda: bool(broken))
        try:
            answer = self._send(call, receive)
            if not broken:
                return json_fields.parsed(read, answer, self._place(path))
            broken[0].add_note(f"The server has not refused the rows that had been sent before: {path}")
            raise broken.pop()
        except (APIError, ConnectionFailed):
            if broken:
                raise broken.pop() from None
            raise
        finally:
            broken.clear()  # as in _send: an error should not hold the frame that holds it

    def _place(self, path: str) -> str:
        return f"{self._base_url}/{path}"

    def _session(self) -> requests.Session:
        """Give the user's session, or one for this thread."""
        if self._credentials.session is not None:
            return adopt(self._credentials.session)
        # A forked process has the connections of its parent: answers would go to the one that looks first.
        if getattr(self._local, "process", None) != os.getpid():
            # No proxy stands between this host and itself.
            self._local.session, self._local.process = new_session(trust_env=not self.is_local), os.getpid()
        found: requests.Session = self._local.session
        return found

    def _whole(self, call: _Call, response: requests.Response, *, proves_end: bool = False) -> bytes:
        """Read the body of an answer to its end."""
        with response:
            return b"".join(blocks_of(response, self._place(call.path), proves_end=proves_end))

    def _send(self, call: _Call, receive: Callable[[requests.Response], T]) -> T:
        """Send until there is an answer, or the rule says that there will be none."""
        queued = rate_limit.queue_for(self._base_url, call.method, call.path).join(self._clock, self._sleep)
        waited_s, attempt, perhaps_done = 0.0, 0, False
        while self._comes(queued, call.method, call.path):
            attempt += 1
            tried = self._attempt(call, receive)
            if tried.failed is None:
                queued.on_success(tried.headers)
                return cast(T, tried.received)
            failed, outcome = tried.failed, tried.outcome
            limited = isinstance(failed, RateLimited)
            waited = queued.stalled_s if limited else waited_s
            delay = delay_s(
                outcome, idempotent=call.idempotent, attempt=attempt, waited_s=waited, jitter=self._jitter()
            )
            perhaps_done |= not limited and outcome.failure not in NOTHING_DONE
            if limited:
                queued.on_rejected(tried.headers, delay or outcome.retry_after_s or 0.0)
            else:
                queued.on_success(tried.headers)
            if delay is None or call.given_up():
                break
            if not limited:
                place = self._place(call.path)
                _log.info("%s %s: %s; again in %.1f s", call.method, place, type(failed).__name__, delay)
                self._sleep(delay)
                waited_s += delay
        if isinstance(failed, RateLimited):
            failed.hint = queued.describe_wait(failed.retry_after_s)
        if isinstance(failed, ConnectionFailed):
            failed.nothing_done = not perhaps_done
        try:
            raise failed
        finally:
            # It holds this frame, which would hold it: the connection would wait for the garbage collector.
            del failed, tried

    def _attempt(self, call: _Call, receive: Callable[[requests.Response], T]) -> _Attempt[T]:
        """Send once."""
        try:
            response = self._send_once(call)
        except CredentialsError:
            raise
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError) as error:
            if isinstance(error, UnicodeEncodeError):  # of what was to be sent
                raise
            outcome, failed = _failure(error), self._connection_failed(call.path, error)
            release(error)
            return _Attempt(failed=failed, outcome=outcome)
        told = RateLimitHeaders.of(response.headers)
        if response.status_code not in call.expect:
            refused = self._error_of(call, response, self._place(call.path))
            return _Attempt(failed=refused, outcome=_outcome(refused, response.status_code), headers=told)
        try:
            return _Attempt(received=receive(response), headers=told)
        except (APIError, ConnectionFailed) as error:
            release(error.__cause__)
            return _Attempt(failed=error.with_traceback(None), outcome=_outcome(error, None), headers=told)

    def _comes(self, join: rate_limit.QueuedRequest, method: str, path: str) -> bool:
        """Wait until it is the turn of a request, and tell so; False if that would be too long."""
        with Pause(f"{method} {self._place(path)}", self._progress) as pause:
            return join.acquire(lambda wait: pause.say(wait.seconds, str(wait)))

    def _send_once(self, call: _Call) -> requests.Response:
        arguments = call.arguments()
        headers = {
            "User-Agent": user_agent(),
            "Accept-Encoding": "identity" if self.is_local else "gzip",
            **arguments.pop("headers", {}),
        }
        try:
            session = self._session()
            if self.is_local:
                arguments["proxies"] = direct(session)
            use_fresh_connections(not call.idempotent)
            return session.request(
                call.method,
                self._place(call.path),
                headers=headers,
                auth=_Key(self._credentials),
                verify=self._credentials.verify,
                allow_redirects=False,  # the key goes to the host that it is meant for
                stream=True,
                **arguments,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, ValueError):
            raise
        except OSError as error:  # requests does not find the file, and asks nobody
            raise CredentialsError(
                f"{self._base_url}: {error.args[0] if error.args else type(error).__name__}: check verify of the"
                " Credentials, cert of the session, REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"
            ) from None
        except BaseException as error:  # noqa: BLE001  # raised again
            # Such as Ctrl-C: the frames of requests have the header in their locals.
            raise error.with_traceback(None) from None

    def _error_of(self, call: _Call, response: requests.Response, place: str) -> APIError | ConnectionFailed:
        """Make the error for an answer that has another status than a success."""
        status = response.status_code
        with response:
            if status < 300:
                expected = " or ".join(map(str, call.expect))
                return ConnectionFailed(
                    f"{place}: the answer has the status {status} in place of {expected}: check what is on the way"
                )
            if status < 400:
                there = response.headers.get("Location", "")
                hint = f"set the base_url of the Credentials to where it points: {_origin(there)}"
                message = f"{place} is redirected, which is not followed"
                return APIError(message, status=status, method=call.method, url=place, hint=hint)
            try:
                body = b"".join(islice(blocks_of(response, place, proves_end=True), _MOST_ERROR_BLOCKS))
            except ConnectionFailed:
                body = b""  # the status says enough
            return error_from_response(call.method, place, status, response.headers, body, public_key=self.is_public)

    def _connection_failed(self, path: str, error: Exception) -> ConnectionFailed:
        """Say what to do about it; the text of the original error may have the whole URL, so it is not repeated."""
        place = f"{self._base_url} ({path})"
        kinds = set(map(type, _causes(error)))
        if isinstance(error, requests.exceptions.SSLError):
            what = "its TLS certificate cannot be verified: pass verify='path of the CA bundle' to Credentials"
        elif isinstance(error, requests.exceptions.ProxyError):
            what = "the proxy does not answer: check HTTP_PROXY and HTTPS_PROXY"
        elif isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
            what = (
                "the address of the host, or of a proxy, is none: check base_url, HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
            )
        elif isinstance(error, requests.exceptions.ConnectTimeout):
            what = f"no connection within {CONNECT_TIMEOUT_S:.0f} s: check the host and the network"
        elif isinstance(error, requests.exceptions.Timeout):
            what = "no answer in time"
        elif urllib3.exceptions.NameResolutionError in kinds:
            what = "the name of the host cannot be found: check base_url or username"
        elif urllib3.exceptions.NewConnectionError in kinds:
            what = "the connection was refused: check base_url, and that the server is running"
        elif HTTPException in kinds or not isinstance(error, requests.exceptions.ConnectionError):
            what = "the answer is malformed or cut off: check base_url, and what is on the way"
        else:
            what = "the connection was lost"
        failed = ConnectionFailed(f"{place}: {what}")
        failed.__cause__ = _without_query(error)
        return failed


@dataclass(frozen=True, slots=True)
class _Call:
    """A request, and what is known about it; ``arguments`` makes those of requests, with the body, for each try."""

    method: str
    path: str
    idempotent: bool
    arguments: Callable[[], dict[str, Any]]
    expect: Statuses = OK
    given_up: Callable[[], bool] = bool  # returns False


@dataclass(frozen=True, slots=True)
class _Attempt(Generic[T]):
    """How a request went that was sent once; ``received`` counts if nothing has ``failed``."""

    received: T | None = None
    failed: APIError | ConnectionFailed | None = None
    outcome: Outcome = _UNKNOWN
    headers: RateLimitHeaders | None = None


class _Key(requests.auth.AuthBase):
    """Basic authentication in UTF-8; set explicitly, so that a .netrc does not replace it."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if not self._credentials.is_public:
            pair = f"{self._credentials.username}:{self._credentials.api_key}".encode()
            request.headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return request


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keep requests from looking into .netrc."""
    return request


def _arguments(
    query: Mapping[str, Any] | None, form: Mapping[str, Any] | None, json_body: Any
) -> Callable[[], dict[str, Any]]:
    """Compose what requests is given; ValueError or TypeError if the body cannot be written as JSON."""
    arguments: dict[str, Any] = {"params": query, "data": form, "timeout": (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)}
    if json_body is not None:
        try:
            arguments["data"] = json.dumps(json_body, allow_nan=False).encode()
        except RecursionError:
            raise ValueError("the request is nested too deeply for JSON, or contains itself") from None
        arguments["headers"] = {"Content-Type": "application/json"}
    return arguments.copy


def _decode(method: str, place: str, body: bytes) -> Any:
    """Decode the JSON of a success; raise the error inside it, if there is one."""
    if not body.strip():
        raise ConnectionFailed(f"{place}: the answer is empty")
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        if body.lstrip()[:1] in (b"{", b"["):  # else it is a page of something else
            raise ConnectionFailed(
                f"{place}: the answer is JSON that was cut off, or that cannot be decoded: {type(error).__name__}"
            ) from error
        raise error_from_response(method, place, 200, {}, body) from error
    if isinstance(answer, dict) and answer.get("error"):
        raise error_from_response(method, place, 200, {}, body)
    return answer


def _origin(url: str) -> str:
    """Name the host of a URL that an answer has."""
    try:
        there = urlsplit(url)
    except ValueError:
        return "a malformed URL"
    return f"{there.scheme}://{there.netloc.rpartition('@')[2]}"


def _without_query(error: Exception) -> OSError:
    """Keep the kind of a failure, and not the request with its headers that requests hangs on it."""
    return OSError(type(error).__name__)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Give an error of requests and those inside it, as it and urllib3 nest them."""
    yield error
    inside = (*error.args, getattr(error, "reason", None))
    for cause in inside:
        if isinstance(cause, BaseException):
            yield from _causes(cause)


def _failure(error: Exception) -> Outcome:
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


def _outcome(error: APIError | ConnectionFailed, status: int | None) -> Outcome:
    """Say what the retry rule has to know; the status is None if it was that of a success."""
    if isinstance(error, ConnectionFailed):
        if status is not None and status < 300:
            return Outcome(status=status)
        return Outcome(failure="no_database" if error.nothing_done else "lost")
    return Outcome(
        status=error.status, statement_timeout=isinstance(error, QueryTimeout), retry_after_s=error.retry_after_s
    )
