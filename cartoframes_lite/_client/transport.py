"""Requests to one account: authentication, timeouts, streams, retries, and errors made of answers."""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

import requests
import urllib3

from cartoframes_lite._client import turns
from cartoframes_lite._client.bodies import Sized, Stream, gzipped, shut_down, unpacked, watched
from cartoframes_lite._client.buckets import Told
from cartoframes_lite._client.connection import Adapter, let_go, user_agent
from cartoframes_lite._client.progress import Pause
from cartoframes_lite._client.retry import Failure, Outcome, delay_s
from cartoframes_lite.credentials import LOOPBACK, Credentials
from cartoframes_lite.errors import (
    APIError,
    CartoError,
    ConnectionFailed,
    QueryTimeout,
    RateLimited,
    bare_url,
    error_from_response,
)

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 300.0
COPY_TIMEOUT_S = 3600.0  # copyfrom answers only when the database has everything
_BLOCK_BYTES = 1 << 18
_MAX_URL_BYTES = 7_000  # servers take 8 KB for the URL and all headers

_log = logging.getLogger("cartoframes_lite")


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

        Raises
        ------
        APIError
            If the answer is not a success.
        ConnectionFailed
            If there is no answer.
        """
        arguments = {"params": query, "data": form, "json": json_body, "timeout": (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)}
        with self._send(method, path, idempotent, lambda: arguments) as response:
            try:
                return response.content
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                raise ConnectionFailed(f"{self._place(path)}: the connection broke during the answer") from error

    def json(self, method: str, path: str, *, idempotent: bool, **arguments: Any) -> Any:
        """Send a request and decode the JSON of the answer; an error inside a success is raised, too.

        Parameters are those of ``request``.
        """
        body = self.request(method, path, idempotent=idempotent, **arguments)
        if not body:  # also what is left of an answer that was cut off in its headers
            raise ConnectionFailed(f"{self._place(path)}: the answer is empty")
        try:
            answer = json.loads(body)
        except ValueError as error:
            raise error_from_response(method, self._place(path), 200, {}, body) from error
        if isinstance(answer, dict) and answer.get("error"):
            raise error_from_response(method, self._place(path), 200, {}, body)
        return answer

    @contextmanager
    def stream(self, method: str, path: str, *, form: Mapping[str, Any]) -> Iterator[Stream]:
        """Send a request and give the body of the answer as it arrives, in blocks.

        It is sent again only as long as nothing of the answer has come. Leaving the context closes the
        connection if the answer has not been read to its end.
        """
        arguments = {"data": form, "stream": True, "timeout": (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)}
        with self._send(method, path, True, lambda: arguments) as response:
            yield Stream(self._blocks(response, self._place(path)), partial(shut_down, response))

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
        try:
            # No session: its headers and cookies are meant for the account.
            response = requests.get(
                url, stream=True, timeout=timeout, auth=_no_auth, headers={"User-Agent": user_agent()}
            )
        except requests.RequestException as error:
            raise ConnectionFailed(f"{place}: the file cannot be fetched") from _without_query(error)
        with response:
            if response.status_code >= 300:
                raise error_from_response("GET", place, response.status_code, response.headers, b"")
            yield self._blocks(response, place)

    def _blocks(self, response: requests.Response, place: str) -> Iterator[bytes]:
        try:
            blocks = response.raw.stream(_BLOCK_BYTES, decode_content=False)
            packed = response.headers.get("Content-Encoding", "").lower() == "gzip"
            yield from unpacked(blocks) if packed else blocks
        except (urllib3.exceptions.HTTPError, OSError, EOFError, zlib.error) as error:
            raise ConnectionFailed(
                f"{place}: the connection broke during the answer; nothing is returned, try again"
            ) from error

    def upload(
        self,
        path: str,
        *,
        query: Mapping[str, str],
        body: Callable[[], Iterable[bytes]],
        compress: bool = False,
        content_type: str = "application/octet-stream",
        size_bytes: int | None = None,
    ) -> Any:
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
        """
        if len(urlencode(query)) > _MAX_URL_BYTES:
            raise ValueError("the COPY statement is too long for a URL (7,000 bytes): leave out the list of columns")
        headers = {"Content-Type": content_type, **({"Content-Encoding": "gzip"} if compress else {})}
        broken: list[BaseException] = []

        def arguments() -> dict[str, Any]:
            blocks = watched(body, broken)
            plain = blocks if size_bytes is None else Sized(blocks, size_bytes)
            return {
                "params": query,
                "data": gzipped(blocks) if compress else plain,
                "headers": headers,
                "timeout": (CONNECT_TIMEOUT_S, COPY_TIMEOUT_S),
            }

        try:
            with self._send("POST", path, False, arguments) as response:
                return json.loads(response.content)
        except (ConnectionFailed, ValueError, requests.RequestException) as error:
            if broken:
                raise broken.pop() from None
            if isinstance(error, ConnectionFailed):
                raise
            raise ConnectionFailed(f"{self._place(path)}: the answer did not arrive completely") from error
        finally:
            broken.clear()  # as in _send: an error should not hold the frame that holds it

    def _place(self, path: str) -> str:
        return f"{self._base_url}/{path}"

    def _session(self) -> requests.Session:
        """Give the user's session, or one for this thread."""
        if self._credentials.session is not None:
            return self._credentials.session
        # A forked process has the connections of its parent: answers would go to the one that looks first.
        if getattr(self._local, "process", None) != os.getpid():
            session = requests.Session()
            session.trust_env = not self.is_local  # no proxy stands between this host and itself
            session.mount("https://", Adapter())
            session.mount("http://", Adapter())
            self._local.session, self._local.process = session, os.getpid()
        found: requests.Session = self._local.session
        return found

    def _send(
        self, method: str, path: str, idempotent: bool, arguments: Callable[[], dict[str, Any]]
    ) -> AbstractContextManager[requests.Response]:
        """Send until there is an answer, or the rule says that there will be none."""
        turn = turns.line(self._base_url, method, path).turn(self._clock, self._sleep)
        waited_s, attempt = 0.0, 0
        while self._comes(turn, method, path):
            attempt += 1
            told = None
            try:
                response = self._send_once(method, path, arguments())
            except requests.RequestException as error:
                outcome = _failure(error)
                failed: CartoError = self._connection_failed(path, error)
                let_go(error)
            else:
                told = Told.of(response.headers)
                if response.status_code < 300:
                    turn.passed(told)
                    return response
                failed = self._answered(method, path, response)
                outcome = _outcome(failed)
            limited = isinstance(failed, RateLimited)
            waited = turn.stalled_s if limited else waited_s
            delay = delay_s(outcome, idempotent=idempotent, attempt=attempt, waited_s=waited, jitter=self._jitter())
            if limited:
                turn.refused(told, delay or outcome.retry_after_s or 0.0)
            else:
                turn.passed(told)
            if delay is None:
                break
            if not limited:
                _log.info("%s %s: %s; again in %.1f s", method, self._place(path), type(failed).__name__, delay)
                self._sleep(delay)
                waited_s += delay
        if isinstance(failed, RateLimited):
            failed.hint = turn.excuse(failed.retry_after_s)
        try:
            raise failed
        finally:
            del failed  # it holds this frame, which would hold it: the connection would wait for the garbage collector

    def _comes(self, turn: turns.Turn, method: str, path: str) -> bool:
        """Wait until it is the turn of a request, and tell so; False if that would be too long."""
        with Pause(f"{method} {self._place(path)}", self._progress) as pause:
            return turn.come(lambda wait: pause.say(wait.seconds, str(wait)))

    def _send_once(self, method: str, path: str, arguments: dict[str, Any]) -> requests.Response:
        headers = {
            "User-Agent": user_agent(),
            "Accept-Encoding": "identity" if self.is_local else "gzip",
            **arguments.pop("headers", {}),
        }
        try:
            return self._session().request(
                method,
                self._place(path),
                headers=headers,
                auth=_Key(self._credentials),
                verify=self._credentials.verify,
                allow_redirects=False,  # the key goes to the host that it is meant for
                **arguments,
            )
        except requests.RequestException:
            raise
        except BaseException as error:  # noqa: BLE001  # raised again
            # Such as Ctrl-C: the frames of requests have the header in their locals.
            raise error.with_traceback(None) from None

    def _answered(self, method: str, path: str, response: requests.Response) -> APIError:
        with response:
            if 300 <= response.status_code < 400:
                there = urlsplit(response.headers.get("Location", ""))
                hint = f"set the base_url of the Credentials to where it points: {there.scheme}://{there.netloc}"
                message = f"{self._place(path)} is redirected, which is not followed"
                return APIError(message, status=response.status_code, method=method, url=self._place(path), hint=hint)
            try:
                body = response.content
            except (requests.RequestException, urllib3.exceptions.HTTPError):
                body = b""  # the status says enough
            return error_from_response(
                method,
                self._place(path),
                response.status_code,
                response.headers,
                body,
                public_key=self.is_public,
            )

    def _connection_failed(self, path: str, error: requests.RequestException) -> ConnectionFailed:
        """Say what to do about it; the text of the original error may have the whole URL, so it is not repeated."""
        place = f"{self._base_url} ({path})"
        if isinstance(error, requests.exceptions.SSLError):
            what = "its TLS certificate cannot be verified: pass verify='path of the CA bundle' to Credentials"
        elif isinstance(error, requests.exceptions.ProxyError):
            what = "the proxy does not answer: check HTTP_PROXY and HTTPS_PROXY"
        elif isinstance(error, requests.exceptions.ConnectTimeout):
            what = f"no connection within {CONNECT_TIMEOUT_S:.0f} s: check the host and the network"
        elif isinstance(error, requests.exceptions.Timeout):
            what = "no answer in time"
        elif "NameResolution" in repr(error):
            what = "the name of the host cannot be found: check base_url or username"
        elif "refused" in repr(error):
            what = "the connection was refused: check base_url, and that the server is running"
        else:
            what = "the connection was lost"
        failed = ConnectionFailed(f"{place}: {what}")
        failed.__cause__ = _without_query(error)
        return failed


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


def _without_query(error: requests.RequestException) -> OSError:
    """Keep the kind of a failure, and not the request with its headers that requests hangs on it."""
    return OSError(type(error).__name__)


def _failure(error: requests.RequestException) -> Outcome:
    kind: Failure = "lost"
    if isinstance(error, requests.exceptions.ConnectTimeout) or any(
        name in repr(error) for name in ("NewConnectionError", "NameResolutionError")
    ):
        kind = "not_connected"
    elif isinstance(error, requests.exceptions.ReadTimeout):
        kind = "read_timeout"
    return Outcome(failure=kind)


def _outcome(error: APIError) -> Outcome:
    return Outcome(
        status=error.status, statement_timeout=isinstance(error, QueryTimeout), retry_after_s=error.retry_after_s
    )
