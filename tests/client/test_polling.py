from __future__ import annotations

import pytest

from cartoframes_lite._client import polling
from cartoframes_lite.errors import JobTimeout


class Clock:
    def __init__(self) -> None:
        self.now, self.slept = 0.0, list[float]()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def __call__(self) -> float:
        return self.now


def test_a_finished_job_is_read_once() -> None:
    clock = Clock()
    assert polling.poll(lambda: 7, done=bool, timeout_s=0, what="it", sleep=clock.sleep, clock=clock) == 7
    assert clock.slept == []


def test_the_interval_grows_to_five_seconds() -> None:
    clock = Clock()
    states = iter([False] * 15 + [True])
    polling.poll(lambda: next(states), done=bool, timeout_s=1e6, what="it", sleep=clock.sleep, clock=clock)
    assert clock.slept == sorted(clock.slept)
    assert (clock.slept[0], clock.slept[-1]) == (0.1, 5.0)


def test_the_last_poll_is_at_the_deadline() -> None:
    clock, asked = Clock(), []
    with pytest.raises(JobTimeout, match="it is not done after 7 s"):
        polling.poll(lambda: asked.append(clock()), done=bool, timeout_s=7, what="it", sleep=clock.sleep, clock=clock)
    assert clock() == pytest.approx(7)
    assert asked[-1] == pytest.approx(7)
