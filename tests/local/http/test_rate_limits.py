from __future__ import annotations

import pytest

from cartoframes_lite.local.http.rate_limits import RateLimits


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("rate_limit", "steps"),
    [
        # Each step: seconds after the first request, allowed, remaining, reset, retry-after.
        ((1, 1), [(0, 1, 1, 1, None), (0, 1, 0, 2, None), (0, 0, 0, 2, 2), (0.5, 0, 0, 1, 1), (2.5, 1, 1, 1, None)]),
        ((1, 1), [(0, 1, 1, 1, None), (0.01, 1, 0, 1, None), (0.02, 0, 0, 1, 1), (1.02, 1, 0, 1, None)]),
        ((1, 0), [(0, 1, 0, 1, None), (0, 0, 0, 1, 2), (0.999, 0, 0, 0, 1), (1, 1, 0, 1, None)]),
        ((10, 2), [(0, 1, 2, 0, None), (0, 1, 1, 0, None), (0, 1, 0, 0, None), (0, 0, 0, 0, 1), (0.1, 1, 0, 0, None)]),
        ((0.1, 0), [(0, 1, 0, 10, None), (3.5, 0, 0, 6, 7), (10, 1, 0, 10, None)]),
    ],
)
def test_requests_leak_out_of_the_bucket(
    rate_limit: tuple[float, int], steps: list[tuple[float, int, int, int, int | None]]
) -> None:
    clock = Clock()
    limits = RateLimits(rate_limit, clock=clock)
    for after, allowed, remaining, reset, retry_after in steps:
        clock.now = 1000.0 + after
        verdict = limits.take("query")
        expected = {
            "Carto-Rate-Limit-Limit": str(rate_limit[1] + 1),
            "Carto-Rate-Limit-Remaining": str(remaining),
            "Carto-Rate-Limit-Reset": str(reset),
        }
        if retry_after is not None:
            expected["Retry-After"] = str(retry_after)
        assert (verdict.allowed, verdict.headers) == (bool(allowed), expected), after


def test_each_kind_of_endpoint_has_its_bucket() -> None:
    limits = RateLimits((1, 0), clock=Clock())
    assert limits.take("query").allowed
    assert not limits.take("query").allowed
    assert limits.take("copyto").allowed


def test_a_kind_of_endpoint_can_have_its_limit() -> None:
    clock = Clock()
    limits = RateLimits((1, 1), {"copyfrom": (3 / 60, 0)}, clock=clock)
    assert [limits.take("query").allowed for _ in range(3)] == [True, True, False]
    assert [limits.take("copyfrom").allowed for _ in range(2)] == [True, False]
    assert limits.take("copyfrom").headers["Retry-After"] == "21"
    clock.now += 20
    assert limits.take("copyfrom").allowed


def test_one_kind_alone_can_be_limited() -> None:
    limits = RateLimits(None, {"copyto": (1, 0)}, clock=Clock())
    assert all(limits.take("query").headers == {} for _ in range(100))
    assert [limits.take("copyto").allowed for _ in range(2)] == [True, False]


def test_a_wait_as_long_as_told_is_always_enough() -> None:
    clock = Clock()
    limits = RateLimits((3, 2), clock=clock)
    for _ in range(100):
        verdict = limits.take("query")
        if not verdict.allowed:
            clock.now += int(verdict.headers["Retry-After"])
            assert limits.take("query").allowed


def test_without_a_limit_there_are_no_headers() -> None:
    limits = RateLimits(None)
    assert all(limits.take("query").headers == {} for _ in range(1000))


def test_reset_fills_the_rate_limit_buckets() -> None:
    limits = RateLimits((1, 0), clock=Clock())
    limits.take("query")
    limits.reset()
    assert limits.take("query").allowed


@pytest.mark.parametrize("rate_limit", [(0, 1), (-1, 1), (1, -1)])
def test_a_limit_that_makes_no_sense_is_refused(rate_limit: tuple[float, int]) -> None:
    with pytest.raises(ValueError, match="rate_limit"):
        RateLimits(rate_limit)
    with pytest.raises(ValueError, match="rate_limit"):
        RateLimits(None, {"query": rate_limit})
