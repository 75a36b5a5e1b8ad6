from __future__ import annotations

import contextlib
import heapq
import inspect
import subprocess
import sys
import threading
import time
from itertools import pairwise
from random import Random
from types import FrameType
from typing import Any

import pytest

from cartoframes_lite._client.http.leaky_bucket import RateLimitHeaders
from cartoframes_lite._client.http.rate_limit import (
    SHARED_TOTAL_S,
    ExpectedWait,
    QueuedRequest,
    RateLimitQueue,
    endpoint_kind,
    queue_for,
    share_with_processes,
)
from cartoframes_lite._client.http.retry import TOTAL_S, Outcome, delay_s
from cartoframes_lite.local.http.rate_limits import RateLimits


class Time:
    """A clock that advances only while sleeping."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def join(self, queue: RateLimitQueue) -> QueuedRequest:
        return queue.join(self.clock, self.sleep)


@pytest.fixture
def fake() -> Time:
    return Time()


def ignore(wait: ExpectedWait) -> None:
    """Ignore the expected wait."""


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", "api/v2/sql", "api/v2/sql"),
        ("POST", "api/v2/sql", "api/v2/sql"),
        ("POST", "api/v2/sql/copyfrom", "POST api/v2/sql/copyfrom"),
        ("POST", "api/v2/sql/copyto", "POST api/v2/sql/copyto"),
        ("POST", "api/v2/sql/job", "POST api/v2/sql/job"),
        ("GET", "api/v2/sql/job/6f1c", "GET api/v2/sql/job"),
        ("GET", "api/v1/viz/6f1c", "GET api/v1/viz"),
        ("PUT", "api/v1/tables/name", "PUT api/v1/tables"),
        ("POST", "api/v1/map", "POST api/v1/map/"),
        ("GET", "api/v1/map/6f1c/0/1/2/3.png", "GET api/v1/map/tile"),
        ("GET", "api/v1/map/6f1c/0/attributes/7", "GET api/v1/map/attributes"),
        ("GET", "api/v1/map/6f1c/dataview/sums", "GET api/v1/map/dataview"),
        ("GET", "api/v1/map/6f1c/dataview/sums/search", "GET api/v1/map/search"),
        ("GET", "api/v1/map/static/center/6f1c/1/2/3/4/5.png", "GET api/v1/map/static"),
        ("POST", "api/v1/map/named/places", "POST api/v1/map/named"),
    ],
)
def test_requests_with_a_common_limit_share_a_queue(method: str, path: str, name: str) -> None:
    assert endpoint_kind(method, path) == name
    assert queue_for("https://a", method, path) is queue_for("https://a", method, path)
    assert queue_for("https://a", method, path) is not queue_for("https://b", method, path)


def test_no_wait_without_a_rate_limit(fake: Time) -> None:
    free = RateLimitQueue()
    for _ in range(100):
        queued = fake.join(free)
        assert queued.acquire(ignore)
        queued.on_success(None)
    assert fake.slept == []


def test_a_wait_is_logged_before_it_starts(fake: Time) -> None:
    told: list[ExpectedWait] = []
    limited = RateLimitQueue()
    queued = fake.join(limited)
    assert queued.acquire(told.append)
    queued.on_rejected(None, 20)
    assert queued.acquire(told.append)
    assert (told, fake.slept) == ([ExpectedWait(20, 0)], [20])
    assert str(told[0]) == "about 20 s"
    assert str(ExpectedWait(0.2, 1)) == "about 1 s, 1 request ahead"
    assert str(ExpectedWait(1000, 3)) == "about 1,000 s, 3 requests ahead"


def test_retry_after_holds_for_other_calls(fake: Time) -> None:
    limited = RateLimitQueue()
    first, second = fake.join(limited), fake.join(limited)
    first.acquire(ignore)
    first.on_rejected(None, 20)
    assert second.acquire(ignore)
    assert fake.slept == [20]


def test_a_call_gives_up_when_nothing_gets_through(fake: Time) -> None:
    limited = RateLimitQueue()
    queued = fake.join(limited)
    while queued.acquire(ignore):
        queued.on_rejected(None, 30)
        assert queued.stalled_s <= TOTAL_S
    assert fake.now == 1000 + TOTAL_S
    assert not limited.waiting


def test_a_call_waits_while_others_are_served(fake: Time) -> None:
    limited = RateLimitQueue()
    queued, other = fake.join(limited), fake.join(limited)
    for _ in range(100):
        assert queued.acquire(ignore)
        queued.on_rejected(None, 30)
        other.on_success(None)
    assert fake.now > 1000 + 5 * TOTAL_S


def test_a_wait_beyond_the_deadline_is_not_started(fake: Time) -> None:
    limited = RateLimitQueue()
    queued = fake.join(limited)
    queued.acquire(ignore)
    queued.on_rejected(None, 86_400)
    assert not queued.acquire(ignore)
    assert fake.join(limited).acquire(ignore)
    assert fake.slept == []
    assert "retry after 86,400 s" in queued.describe_wait(86_400)


def test_an_interrupted_wait_leaves_the_queue(fake: Time) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    limited = RateLimitQueue()
    queued = limited.join(fake.clock, interrupt)
    queued.acquire(ignore)
    queued.on_rejected(None, 20)
    with pytest.raises(KeyboardInterrupt):
        queued.acquire(ignore)
    assert not limited.waiting


def test_an_interrupt_at_any_point_leaves_the_queue(fake: Time) -> None:
    lines, first = inspect.getsourcelines(QueuedRequest.acquire)
    body = range(first, first + next(n for n, line in enumerate(lines) if line.strip() == "finally:"))
    interrupted_at = set()
    for number in body:
        limited = RateLimitQueue()
        queued = fake.join(limited)
        queued.on_rejected(None, 20)

        def interrupt(frame: FrameType, event: str, _: object, number: int = number) -> Any:
            if frame.f_code is QueuedRequest.acquire.__code__ and (event, frame.f_lineno) == ("line", number):
                interrupted_at.add(number)
                raise KeyboardInterrupt
            return interrupt

        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            with contextlib.suppress(KeyboardInterrupt):
                queued.acquire(ignore)
        finally:
            sys.settrace(before)
        assert not limited.waiting
    assert len(interrupted_at) >= 5


def test_the_queue_is_fifo_also_after_a_rejection() -> None:
    limited, came = RateLimitQueue(), []
    lock = threading.Lock()
    turns = [limited.join(time.monotonic, time.sleep) for _ in range(20)]
    for queued in turns:  # all are on their way before the first is refused
        assert queued.acquire(ignore)
    for queued in reversed(turns):
        queued.on_rejected(RateLimitHeaders(1, 1, 0), 0.2)

    def again(number: int) -> None:
        assert turns[number].acquire(ignore)
        with lock:
            came.append(number)
        turns[number].on_success(None)

    threads = [threading.Thread(target=again, args=(number,)) for number in reversed(range(20))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert came == list(range(20))


class Wait(Exception):  # no error: ends a wait of a simulated process
    """Raised instead of sleeping."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Account:
    """Simulate processes that share a limit and always have a request waiting; time only passes between requests."""

    def __init__(self, limit: tuple[float, int], processes: int, *, sends_headers: bool) -> None:
        self.now = 0.0
        self.limits = RateLimits(limit, clock=self.clock)
        self.sends_headers = sends_headers
        self.queues = [RateLimitQueue() for _ in range(processes)]
        self.served: list[list[float]] = [[0.0] for _ in range(processes)]
        self.early = 0

    def clock(self) -> float:
        return self.now

    @staticmethod
    def sleep(seconds: float) -> None:
        raise Wait(seconds)

    def run(self, seconds: float) -> None:
        random = Random(1)
        queued = [queue.join(self.clock, self.sleep) for queue in self.queues]
        not_before = [0.0] * len(queued)
        agenda = [(random.random() / 100, number) for number in range(len(queued))]
        while (event := heapq.heappop(agenda))[0] < seconds:
            self.now, number = event
            try:
                assert queued[number].acquire(ignore)
            except Wait as wait:
                heapq.heappush(agenda, (self.now + wait.seconds + 1e-6, number))
                continue
            self.early += self.now < not_before[number]
            decision = self.limits.take("query")
            headers = RateLimitHeaders.of(decision.headers) if self.sends_headers else None
            if decision.allowed:
                self.served[number].append(self.now)
                queued[number].on_success(headers)
                queued[number] = self.queues[number].join(self.clock, self.sleep)
            else:
                outcome = Outcome(status=429, retry_after_s=float(decision.headers["Retry-After"]))
                wait_s = delay_s(outcome, idempotent=False, attempt=1, waited_s=0, jitter=random.random())
                assert wait_s is not None
                not_before[number] = self.now + float(decision.headers["Retry-After"])
                queued[number].on_rejected(headers, wait_s)
            heapq.heappush(agenda, (self.now + 0.01, number))


@pytest.mark.parametrize("sends_headers", [True, False], ids=["headers", "rejections alone"])
@pytest.mark.parametrize("limit", [(1, 1), (1, 0), (5, 1), (3 / 60, 0), (3 / 60, 2)], ids=str)
def test_processes_that_share_a_limit_are_all_served(limit: tuple[float, int], sends_headers: bool) -> None:
    processes, seconds = 4, 600 / limit[0]
    with share_with_processes():
        account = Account(limit, processes, sends_headers=sends_headers)
        account.run(seconds)
    assert account.early == 0
    counts = [len(served) - 1 for served in account.served]
    assert sum(counts) > 0.4 * 600
    assert min(counts) > sum(counts) / processes / 2
    longest = max(max(b - a for a, b in pairwise([*served, seconds])) for served in account.served)
    assert longest < 25 * processes / limit[0]  # 25 times as long as if requests were in order


def test_a_process_alone_uses_most_of_a_limit() -> None:
    account = Account((1, 0), 1, sends_headers=True)
    account.run(600)
    assert len(account.served[0]) > 0.85 * 600
    assert account.early == 0


def test_a_limit_shared_with_processes_is_waited_for_longer(fake: Time) -> None:
    limited = RateLimitQueue()
    with share_with_processes():
        queued = fake.join(limited)
    alone = fake.join(limited)
    for request in (queued, alone):
        assert request.acquire(ignore)
        request.on_rejected(None, 2 * TOTAL_S)
    assert not alone.acquire(ignore)
    assert queued.acquire(ignore)
    assert fake.now == 1000 + 2 * TOTAL_S
    assert f"{SHARED_TOTAL_S:,.0f} s" in queued.describe_wait(None)


_FORK = """
import os
from cartoframes_lite._client.http.rate_limit import queue_for
found = queue_for("https://a", "GET", "x")
found.waiting[0] = None
child = os.fork()
if child == 0:
    os._exit(queue_for("https://a", "GET", "x").waiting != {})
status = os.waitpid(child, 0)[1]
assert os.waitstatus_to_exitcode(status) == 0
assert queue_for("https://a", "GET", "x") is found
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_a_forked_process_has_an_empty_queue() -> None:
    subprocess.run([sys.executable, "-c", _FORK], check=True, timeout=30)
