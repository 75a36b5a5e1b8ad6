"""HTTP requests to one account: JSON, streamed downloads and uploads.

A request passes these modules: it is composed (`request`), waits for its rate limit (`rate_limit`), is sent over a
session (`session`, `connection`), and is repeated if the rule allows it (`sender`, `retry`). Its response is parsed
strictly (`response`), read in blocks (`streams`) and converted (`json_fields`), or becomes an exception (`failures`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

import requests

from cartoframes_lite._client.http import json_fields
from cartoframes_lite._client.http.failures import status_error, type_of
from cartoframes_lite._client.http.gzip_encoding import Compression
from cartoframes_lite._client.http.request import (
    CONNECT_TIMEOUT_S,
    COPY_TIMEOUT_S,
    OK,
    READ_TIMEOUT_S,
    Request,
    Statuses,
    compose,
    no_auth,
    user_agent,
)
from cartoframes_lite._client.http.sender import Sender
from cartoframes_lite._client.http.session import FAILURES, new_session
from cartoframes_lite._client.http.streams import Body, Stream, close, interrupt_read, iter_body
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, ConnectionFailed, bare_url

_MAX_URL_BYTES = 7_000  # servers accept 8 KB for the URL and all headers

T = TypeVar("T")


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
        self._sender = Sender(credentials, progress=progress, sleep=sleep, clock=clock, jitter=jitter)
        self.is_local = self._sender.is_local
        self.is_public = self._sender.is_public

    def __repr__(self) -> str:
        return f"Transport({self._sender.base_url!r})"

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
        statement_timeout_s: float | None = None,
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
        statement_timeout_s : float, optional
            Maximum time to wait for the response to an SQL statement, in seconds; when it is up, the statement is not
            sent again. None: 300 s, and an idempotent request is sent again once.

        Raises
        ------
        APIError
            If the response has an error status.
        ConnectionFailed
            If there is no response, or it is incomplete or malformed.
        """
        request = compose(
            method,
            path,
            idempotent=idempotent,
            query=query,
            form=form,
            json_body=json_body,
            expect=expect,
            statement_timeout_s=statement_timeout_s,
        )
        return self._sender.send(
            request,
            partial(
                _read_body,
                url=self._sender.url(path),
                statement_timeout_s=statement_timeout_s,
                self_delimiting=False,
            ),
        )

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
        statement_timeout_s: float | None = None,
    ) -> T:
        """Send a request, decode the JSON response and convert it with ``read``.

        Other parameters are those of ``request``. An ``error`` member is raised also if the status is a success.

        Parameters
        ----------
        read : callable
            Converts the decoded JSON. If a member is missing or has the wrong type, ConnectionFailed is raised: the
            response is not one of the CARTO API.
        """
        request = compose(
            method,
            path,
            idempotent=idempotent,
            query=query,
            form=form,
            json_body=json_body,
            expect=expect,
            statement_timeout_s=statement_timeout_s,
        )
        return json_fields.parsed(read, self._send_for_json(request), self._sender.url(path))

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        form: Mapping[str, Any] | None = None,
        self_delimiting: bool = False,
        statement_timeout_s: float | None = None,
    ) -> Iterator[Stream]:
        """Send an idempotent request and stream the response body in blocks.

        The request is retried only until the response begins. Leaving the context closes the connection if the body
        has not been read to its end.

        Parameters
        ----------
        method, path, form, statement_timeout_s
            As in ``request``. The timeout also holds for each block.
        self_delimiting : bool, default False
            Whether the format of the body marks its end. If not, a response without Content-Length or chunked
            encoding is an error, because truncation could not be detected.
        """
        request = compose(method, path, idempotent=True, form=form, statement_timeout_s=statement_timeout_s)
        response = self._sender.send(request, _identity)
        try:
            blocks = iter_body(
                response,
                self._sender.url(path),
                self_delimiting=self_delimiting,
                statement_timeout_s=statement_timeout_s,
            )
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
                response = session.get(url, stream=True, timeout=timeout, auth=no_auth, headers=headers)
            except FAILURES as error:
                raise ConnectionFailed(
                    f"{shown_url}: could not download the file: check that the host can be reached from here"
                ) from type_of(error)
            with response:
                if response.status_code not in OK:
                    raise status_error(Request("GET", "", True, dict), response, shown_url, is_public=self.is_public)
                yield iter_body(response, shown_url)

    def upload(
        self,
        path: str,
        *,
        query: Mapping[str, str],
        body: Callable[[], Iterable[bytes]],
        compression: Compression = None,
        content_type: str = "application/octet-stream",
        size_bytes: int | None = None,
        abort: bytes | None = None,
        read: Callable[[Any], T] = _identity,
    ) -> T:
        """POST a body that is generated while it is sent, and decode the JSON response.

        Parameters
        ----------
        path, content_type : str
        query : mapping
            URL parameters, at most 7,000 bytes when encoded.
        body : callable
            Returns an iterable of the body's blocks; called once per attempt. An exception raised by the iterable
            aborts the request, so that nothing is committed, and is raised unchanged.
        compression : {"auto", "gzip"} or None
            With gzip: always, or where the connection is slower than compressing; None: not at all.
        size_bytes : int, optional
            Length of an uncompressed body. None: chunked encoding.
        abort : bytes, optional
            Final bytes that make the server reject the body; sent if the iterable raises or sending is interrupted.
            None: the connection is closed instead.
        read : callable
            As in ``json``.
        """
        _check_length(query)
        headers = {"Content-Type": content_type, **({} if compression is None else {"Content-Encoding": "gzip"})}
        body_errors: list[BaseException] = []

        def arguments() -> dict[str, Any]:
            data = Body(body, compression=compression, abort=abort, errors=body_errors, size_bytes=size_bytes)
            return {"params": query, "data": data, "headers": headers, "timeout": (CONNECT_TIMEOUT_S, COPY_TIMEOUT_S)}

        try:
            payload = self._send_for_json(Request("POST", path, False, arguments, is_aborted=lambda: bool(body_errors)))
            if not body_errors:
                return json_fields.parsed(read, payload, self._sender.url(path))
            body_errors[0].add_note(f"The server accepted the rows that were sent before this error: {path}")
            raise body_errors.pop()
        except (APIError, ConnectionFailed):
            if body_errors:
                raise body_errors.pop() from None
            raise
        finally:
            body_errors.clear()  # break the reference cycle of exception and frame

    def _send_for_json(self, request: Request) -> Any:
        """Send a request and decode the JSON response."""
        url = self._sender.url(request.path)
        timeout_s = request.statement_timeout_s
        return self._sender.send(
            request,
            lambda response: json_fields.decode(
                request.method, url, _read_body(response, url=url, statement_timeout_s=timeout_s)
            ),
        )


def _read_body(
    response: requests.Response, *, url: str, statement_timeout_s: float | None, self_delimiting: bool = True
) -> bytes:
    """Read the whole response body."""
    with response:
        return b"".join(
            iter_body(response, url, self_delimiting=self_delimiting, statement_timeout_s=statement_timeout_s)
        )


def _check_length(query: Mapping[str, str]) -> None:
    """Raise ValueError if the parameters of an upload are too long for a URL."""
    size = len(urlencode(query))
    if size > _MAX_URL_BYTES:
        raise ValueError(
            f"the COPY statement is too long for a URL ({size:,} of at most {_MAX_URL_BYTES:,} bytes): leave out "
            "the list of columns"
        )
