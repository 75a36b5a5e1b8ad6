"""Send a request: wait for its rate limit, send it, and apply the retry rule to the result."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast
from urllib.parse import urlsplit

import requests
import urllib3

from cartoframes_lite._client.http import rate_limit, retry
from cartoframes_lite._client.http.failures import clear_frames, connection_error, connection_failure, status_error
from cartoframes_lite._client.http.leaky_bucket import RateLimitHeaders
from cartoframes_lite._client.http.progress import RateLimitNotice
from cartoframes_lite._client.http.request import Request
from cartoframes_lite._client.http.retry import NOTHING_DONE, Outcome
from cartoframes_lite._client.http.session import FAILURES, Sessions
from cartoframes_lite.base_url import LOOPBACK
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import APIError, CartoError, ConnectionFailed, CredentialsError, RateLimited

_UNKNOWN = Outcome()
_LONG_STATEMENT_S = 30.0  # proxies end requests without a response after 30 to 60 s

T = TypeVar("T")
Receive = Callable[[requests.Response], T]

_log = logging.getLogger("cartoframes_lite")


class Sender:
    """Send requests to one account, with retries; safe to share between threads.

    Parameters
    ----------
    credentials : Credentials
    progress : bool or None
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
        self.base_url = str(credentials.base_url)
        self.is_local = urlsplit(self.base_url).hostname in LOOPBACK
        self.is_public = credentials.is_public
        self.sessions = Sessions(credentials, is_local=self.is_local)
        self.progress, self.jitter = progress, jitter
        self._sleep, self.clock = sleep, clock

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        return f"{self.base_url}/{path}"

    def send(self, request: Request, receive: Receive[T]) -> T:
        """Send a request until it succeeds or the retry rule gives up.

        Parameters
        ----------
        request : Request
        receive : callable
            Reads the response; its APIError or ConnectionFailed is that of the attempt.

        Raises
        ------
        APIError, ConnectionFailed
        """
        queue = rate_limit.queue_for(self.base_url, request.method, request.path)
        attempts = _Attempts(self, request, receive, queue.join(self.clock, self._sleep))
        try:
            return retry.call_with_retries(attempts.next, attempts.delay_s, sleep=self._sleep)
        except RateLimited as error:
            error.hint = attempts.queued.describe_wait(error.retry_after_s)
            raise
        except ConnectionFailed as error:
            error.nothing_done = not attempts.maybe_executed
            raise
        finally:
            attempts.rejection = None  # break the reference cycle, which would keep the connection open


@dataclass(frozen=True, slots=True)
class _Attempt(Generic[T]):
    """Result of one attempt; ``result`` is valid if ``error`` is None."""

    result: T | None = None
    error: APIError | ConnectionFailed | None = None
    outcome: Outcome = _UNKNOWN
    limit_headers: RateLimitHeaders | None = None


class _Attempts(Generic[T]):
    """The attempts of one request.

    Attributes
    ----------
    queued : rate_limit.QueuedRequest
    maybe_executed : bool
        Whether the server may have executed one of the failed attempts.
    rejection : RateLimited or None
        Error of the last attempt, if it exceeded the rate limit.
    """

    def __init__(self, sender: Sender, request: Request, receive: Receive[T], queued: rate_limit.QueuedRequest) -> None:
        self._sender, self._request, self._receive, self.queued = sender, request, receive, queued
        self._url = sender.url(request.path)
        self.maybe_executed = False
        self.rejection: RateLimited | None = None
        self._outcome = _UNKNOWN
        self._attempt_s = 0.0
        self._limit_headers: RateLimitHeaders | None = None

    def next(self) -> T:
        """Send the request once, as soon as the rate limit allows it."""
        with RateLimitNotice(f"{self._request.method} {self._url}", self._sender.progress) as notice:
            is_allowed = self.queued.acquire(lambda wait: notice.say(wait.seconds, str(wait)))
        if not is_allowed and self.rejection is not None:
            raise self.rejection
        started_s = self._sender.clock()
        attempt = self._attempt()
        self._attempt_s = self._sender.clock() - started_s
        self._outcome, self._limit_headers = attempt.outcome, attempt.limit_headers
        if attempt.error is None:
            self.queued.on_success(attempt.limit_headers)
            return cast(T, attempt.result)
        try:
            raise attempt.error
        finally:
            del attempt  # break the reference cycle of exception and frame

    def delay_s(self, error: CartoError, attempt: int, waited_s: float) -> float | None:
        """Apply the retry rule; after a rejection, the queue waits instead of the caller."""
        if error is self.rejection or isinstance(error, CredentialsError):  # the queue has given up; nothing was sent
            return None
        wait_s = retry.delay_s(
            self._outcome,
            idempotent=self._request.idempotent and not self._is_long_statement,
            attempt=attempt,
            waited_s=waited_s,
            jitter=self._sender.jitter(),
        )
        if isinstance(error, RateLimited):
            self.rejection = error.with_traceback(None)
            self.queued.on_rejected(self._limit_headers, wait_s or 0.0)
        else:
            self.maybe_executed |= self._outcome.failure not in NOTHING_DONE
            self.queued.on_success(self._limit_headers)
        if wait_s is None or self._request.is_aborted():
            return None
        if self.rejection is error:
            return 0.0
        _log.info("%s %s: %s; retry in %.1f s", self._request.method, self._url, type(error).__name__, wait_s)
        return wait_s

    @property
    def _is_long_statement(self) -> bool:
        """Whether the last attempt was an SQL statement that may still be running, and would take as long again."""
        has_timed_out = self._outcome.failure == "read_timeout" or self._attempt_s > _LONG_STATEMENT_S
        return has_timed_out and self._request.statement_timeout_s is not None

    def _attempt(self) -> _Attempt[T]:
        """Send the request and classify the result.

        Errors are returned: raised here, they would reference the frames of requests, which contain the key.
        """
        request = self._request
        try:
            response = self._sender.sessions.send(request)
        except FAILURES as error:
            if isinstance(error, UnicodeEncodeError | CredentialsError):  # of the request itself
                raise
            failed = connection_error(self._sender.base_url, request, error)
            outcome = Outcome(failure=connection_failure(error))
            clear_frames(error)
            return _Attempt(error=failed, outcome=outcome)
        limits, status = RateLimitHeaders.of(response.headers), response.status_code
        if status not in request.expect:
            refused = status_error(request, response, self._url, is_public=self._sender.is_public)
            # Another status of success is not from the API, which makes a retry pointless.
            outcome = Outcome(status=status) if status < 300 else Outcome.of(refused)
            return _Attempt(error=refused, outcome=outcome, limit_headers=limits)
        try:
            return _Attempt(result=self._receive(response), limit_headers=limits)
        except (APIError, ConnectionFailed) as error:
            is_timeout = isinstance(error.__cause__, urllib3.exceptions.ReadTimeoutError)
            outcome = Outcome(failure="read_timeout") if is_timeout else Outcome.of(error)
            clear_frames(error.__cause__)
            return _Attempt(error=error.with_traceback(None), outcome=outcome, limit_headers=limits)
