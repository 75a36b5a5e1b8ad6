from __future__ import annotations

import contextlib
import inspect
import subprocess
import sys
import threading
import time
from types import FrameType
from typing import Any

import pytest

from cartoframes_lite._client.http.leaky_bucket import RateLimitHeaders
from cartoframes_lite._client.http.rate_limit import (
    ExpectedWait,
    QueuedRequest,
    RateLimitQueue,
    endpoint_kind,
    queue_for,
)
from cartoframes_lite._client.http.retry import TOTAL_S


class Time:
    """A clock that only sleeping moves forward."""

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
    """Do not tell."""


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
def test_requests_that_the_server_counts_together_stand_in_one_line(method: str, path: str, name: str) -> None:
    assert endpoint_kind(method, path) == name
    assert queue_for("https://a", method, path) is queue_for("https://a", method, path)
    assert queue_for("https://a", method, path) is not queue_for("https://b", method, path)


def test_without_a_limit_nobody_waits(fake: Time) -> None:
    free = RateLimitQueue()
    for _ in range(100):
        queued = fake.join(free)
        assert queued.acquire(ignore)
        queued.on_success(None)
    assert fake.slept == []


def test_a_wait_is_told_before_it_begins(fake: Time) -> None:
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


def test_another_call_waits_for_what_this_one_was_told(fake: Time) -> None:
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


def test_a_call_waits_on_as_long_as_others_get_through(fake: Time) -> None:
    limited = RateLimitQueue()
    queued, other = fake.join(limited), fake.join(limited)
    for _ in range(100):
        assert queued.acquire(ignore)
        queued.on_rejected(None, 30)
        other.on_success(None)
    assert fake.now > 1000 + 5 * TOTAL_S


def test_too_long_a_wait_is_not_begun_and_the_next_call_asks_for_itself(fake: Time) -> None:
    limited = RateLimitQueue()
    queued = fake.join(limited)
    queued.acquire(ignore)
    queued.on_rejected(None, 86_400)
    assert not queued.acquire(ignore)
    assert fake.join(limited).acquire(ignore)
    assert fake.slept == []
    assert "retry after 86,400 s" in queued.describe_wait(86_400)


def test_an_interrupted_wait_leaves_the_line(fake: Time) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    limited = RateLimitQueue()
    queued = limited.join(fake.clock, interrupt)
    queued.acquire(ignore)
    queued.on_rejected(None, 20)
    with pytest.raises(KeyboardInterrupt):
        queued.acquire(ignore)
    assert not limited.waiting


def test_wherever_a_wait_is_interrupted_it_leaves_the_line(fake: Time) -> None:
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


def test_first_come_first_served_also_after_a_refusal() -> None:
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
def test_a_forked_process_does_not_wait_for_the_threads_of_its_parent() -> None:
    subprocess.run([sys.executable, "-c", _FORK], check=True, timeout=30)
