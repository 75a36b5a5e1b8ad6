"""The memory for a request is bounded; requests over the limit get an error."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import requests

from cartoframes_lite.local import LocalCarto
from cartoframes_lite.local.http.request_bodies import MAX_BODY_BYTES
from tests.security.api_calls import TIMEOUT_S, APICalls

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


def endless(length: int) -> Iterator[bytes]:
    """Yield a body without a declared length."""
    for _ in range(length // 65_536 + 1):
        yield b"x" * 65_536


@pytest.mark.parametrize(
    "path", ["/api/v2/sql", "/api/v2/sql/job", "/api/v2/sql/copyto", "/api/v1/viz", "/api/v3/api_keys"]
)
@pytest.mark.parametrize("kind", [FORM, JSON, "multipart/form-data; boundary=x", "text/plain"])
def test_bodies_are_refused_before_they_are_in_memory(api_calls: APICalls, path: str, kind: str) -> None:
    for body in (b"x" * (MAX_BODY_BYTES + 1), endless(MAX_BODY_BYTES)):
        try:
            response = api_calls.call("POST", path, data=body, headers={"Content-Type": kind})
        except requests.ConnectionError:  # the response came, and the connection ended, while the body was sent
            continue
        assert response.status_code == 413, response.text
        assert "too large" in response.text
    assert api_calls.run("SELECT 1 AS a") == [{"a": 1}]


def test_oversized_content_lengths_are_refused_immediately(carto: LocalCarto) -> None:
    address = urlsplit(carto.base_url)
    for length in (str(MAX_BODY_BYTES + 1), "9" * 18):
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=TIMEOUT_S)
        connection.putrequest("POST", f"{address.path}/api/v2/sql")
        connection.putheader("Content-Type", FORM)
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()


def test_large_bodies_within_the_limit_are_read(api_calls: APICalls) -> None:
    comment = "/*" + "x" * 990_000 + "*/"  # a query has at most a million characters
    assert api_calls.run(f"SELECT 1 AS a {comment}") == [{"a": 1}]
    body = json.dumps({"q": "SELECT 2 AS a", "other": "x" * (MAX_BODY_BYTES - 1000)})
    response = api_calls.call("POST", "/api/v2/sql", data=body, headers={"Content-Type": JSON})
    assert response.json()["rows"] == [{"a": 2}]


def part(name: str, value: bytes, header: bytes = b"") -> bytes:
    return b'--x\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n' % (name.encode(), header, value)


@pytest.mark.parametrize(
    "body",
    [
        lambda: part("a", b"x" * (1 << 20) + b"x"),
        lambda: b"".join(part(f"n{number}", b"x" * 20_000) for number in range(60)),
        lambda: b"".join(part(f"n{number}", b"") for number in range(1100)),
        lambda: part("a", b"x", b"; x=" + b"y" * 20_000),
        lambda: part("a", b"x", b"\r\nX-A: b" * 5000),
    ],
)
def test_parameters_beside_a_file_are_bounded(api_calls: APICalls, body: Callable[[], bytes]) -> None:
    response = api_calls.call(
        "POST",
        "/api/v1/imports",
        data=body() + b"--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert response.status_code in (400, 413), response.text  # the parser has limits of its own


def test_forms_with_too_many_parameters_are_refused(api_calls: APICalls) -> None:
    response = api_calls.call("POST", "/api/v2/sql", data="&".join(["q=1"] * 2000), headers={"Content-Type": FORM})
    assert response.status_code == 413


def test_json_that_is_nested_deeply_is_refused(api_calls: APICalls) -> None:
    for depth, status in ((90, 200), (150, 400), (900, 400), (100_000, 400)):
        body = '{"q": "SELECT 1 AS a", "x": ' + "[" * depth + "]" * depth + "}"
        response = api_calls.call("POST", "/api/v2/sql", data=body, headers={"Content-Type": JSON})
        assert response.status_code == status, (depth, response.text)


def test_large_and_deep_values_are_written(api_calls: APICalls) -> None:
    assert api_calls.run("SELECT repeat('x', 200000)::bytea AS a")[0]["a"]["data"] == [120] * 200_000
    deep = "[" * 3000 + "]" * 3000
    response = api_calls.sql("SELECT (repeat('[', 3000) || repeat(']', 3000))::json AS a")
    assert response.status_code == 200
    assert f'{{"rows":[{{"a":{deep}}}]' in response.text
