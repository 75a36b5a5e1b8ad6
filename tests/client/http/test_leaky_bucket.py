from __future__ import annotations

import pytest

from cartoframes_lite._client.http.leaky_bucket import LeakyBucket, RateLimitHeaders
from cartoframes_lite.local.http.rate_limits import RateLimits

EMPTY = {"Carto-Rate-Limit-Limit": "3", "Carto-Rate-Limit-Remaining": "0", "Carto-Rate-Limit-Reset": "45"}


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, RateLimitHeaders(3, 3, 45)),
        ({"Carto-Rate-Limit-Remaining": "2"}, RateLimitHeaders(3, 1, 45)),
        ({"Carto-Rate-Limit-Limit": "0"}, None),
        ({"Carto-Rate-Limit-Remaining": "4"}, None),
        ({"Carto-Rate-Limit-Remaining": "-1"}, None),
        ({"Carto-Rate-Limit-Reset": "1.5"}, None),
        ({"Carto-Rate-Limit-Reset": "٣"}, None),
        ({"Carto-Rate-Limit-Limit": ""}, None),
    ],
    ids=str,
)
def test_rate_limit_headers_are_parsed(changed: dict[str, str], told: RateLimitHeaders | None) -> None:
    assert RateLimitHeaders.of({**EMPTY, **changed}) == told
    assert RateLimitHeaders.of({name.lower(): value for name, value in {**EMPTY, **changed}.items()}) == told


def test_responses_without_headers_slow_nothing_down() -> None:
    assert RateLimitHeaders.of({"Content-Type": "text/html"}) is None
    bucket = LeakyBucket()
    for _ in range(1000):
        bucket = bucket.on_sent(5).on_success(None, sent_at=5)
    assert bucket.free_at <= 5


def test_no_request_before_retry_after() -> None:
    bucket = LeakyBucket().on_sent(100).on_rejected(None, sent_at=100, now=101, wait_s=7)
    assert bucket.free_at == 108
    # Neither a shorter wait that another request is told, nor what is learned from late responses, opens it earlier.
    assert bucket.on_rejected(None, sent_at=100, now=102, wait_s=1).free_at == 108
    assert bucket.on_success(RateLimitHeaders(31, 1, 0), sent_at=100).free_at == 108


def test_requests_after_a_rejection_are_spaced() -> None:
    bucket = LeakyBucket().on_sent(0).on_rejected(None, sent_at=0, now=0, wait_s=1)
    assert bucket.on_sent(bucket.free_at).free_at > bucket.free_at


def test_simultaneous_rejections_widen_the_interval_once() -> None:
    bucket = LeakyBucket()
    for _ in range(50):
        bucket = bucket.on_rejected(None, sent_at=0, now=0.1, wait_s=1)
    assert bucket.interval_s == LeakyBucket().on_rejected(None, sent_at=0, now=0.1, wait_s=1).interval_s


def test_a_refusal_that_is_shorter_than_the_interval_counts() -> None:
    bucket = LeakyBucket(interval_s=20).on_sent(0).on_rejected(None, sent_at=0, now=0, wait_s=2)
    assert bucket.free_at == 2


def test_the_interval_is_bounded_by_retry_after() -> None:
    bucket, now = LeakyBucket(), 0.0
    for _ in range(1000):
        now = bucket.on_sent(now).free_at + 1
        bucket = bucket.on_rejected(None, sent_at=now, now=now, wait_s=3)
    assert bucket.interval_s == 3


@pytest.mark.parametrize(
    ("told", "interval_s"),
    [
        (RateLimitHeaders(3, 3, 45), 15.0),
        (RateLimitHeaders(1, 1, 20), 20.0),
        (RateLimitHeaders(31, 16, 1), 1 / 16),
        (RateLimitHeaders(31, 0, 0), 0.0),
    ],
    ids=str,
)
def test_the_interval_is_read_from_what_is_used_up(told: RateLimitHeaders, interval_s: float) -> None:
    assert LeakyBucket().on_success(told, sent_at=0).interval_s == interval_s


def test_a_burst_may_go_at_once() -> None:
    bucket = (
        LeakyBucket().on_success(RateLimitHeaders(3, 0, 0), sent_at=0).on_success(RateLimitHeaders(3, 3, 60), sent_at=0)
    )
    assert bucket.free_at == 20  # all used up: one each 20 seconds
    for _ in range(3):
        assert bucket.free_at <= 100
        bucket = bucket.on_sent(100)
    assert bucket.free_at > 100


def send(limits: tuple[float, int], seconds: float, *, told: bool) -> tuple[int, int]:
    """Count the accepted and the rejected requests of a server, if a bucket delays them."""
    now = 0.0
    server, bucket = RateLimits(limits, clock=lambda: now), LeakyBucket()
    passed = refused = 0
    while now < seconds:
        now = max(now + 0.001, bucket.free_at)
        bucket, verdict = bucket.on_sent(now), server.take("query")
        headers = RateLimitHeaders.of(verdict.headers) if told else None
        if verdict.allowed:
            passed, bucket = passed + 1, bucket.on_success(headers, sent_at=now)
        else:
            wait_s = float(verdict.headers["Retry-After"])
            refused, bucket = refused + 1, bucket.on_rejected(headers, sent_at=now, now=now, wait_s=wait_s)
    return passed, refused


@pytest.mark.parametrize("told", [True, False], ids=["headers", "refusals alone"])
@pytest.mark.parametrize("limits", [(15, 15), (15, 0), (5, 1), (1, 0), (0.2, 0), (3 / 60, 0), (3 / 60, 2)], ids=str)
def test_the_limit_is_used_and_rarely_exceeded(limits: tuple[float, int], told: bool) -> None:
    passed, refused = send(limits, 1000, told=told)
    allowed = limits[0] * 1000 + limits[1] + 1
    assert passed > (0.75 if told else 0.6) * allowed
    assert refused < (0.4 if told else 0.9) * passed
