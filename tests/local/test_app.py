from __future__ import annotations

import asyncio
import http.client
import logging
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from cartoframes_lite.local import LocalCarto
from cartoframes_lite.local.http.responses import StreamedResponse
from cartoframes_lite.local.postgres.errors import SQLError
from cartoframes_lite.local.routes import sql as sql_routes
from tests.local.sql_client import SQLClient, error_of

QUERY = {"q": "SELECT 1 AS a"}


def test_one_user_responses_at_three_places(carto: LocalCarto) -> None:
    root, _, user = carto.base_url.partition("/user/")
    for prefix in (f"/user/{user}", f"/u/{user}", ""):
        for version in ("v1", "v2"):
            response = requests.get(f"{root}{prefix}/api/{version}/sql", QUERY, timeout=10)
            assert response.json()["rows"] == [{"a": 1}]


def test_an_unknown_user_is_named(carto: LocalCarto) -> None:
    root = carto.base_url.partition("/user/")[0]
    response = requests.get(f"{root}/user/some%20body/api/v2/sql", QUERY, timeout=10)
    assert response.status_code == 404
    assert error_of(response) == (
        "Sorry, we can't find CARTO user 'some body'. Please check that you have entered the correct domain."
    )


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("localhost:8080", 200),
        ("LocalHost", 200),
        ("[::1]:80", 200),
        ("evil.example", 403),
        ("evil.example:80", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost@evil.example", 403),
    ],
)
def test_only_names_of_this_host_are_answered(carto: LocalCarto, host: str, status: int) -> None:
    response = requests.get(f"{carto.base_url}/api/v2/sql", QUERY, headers={"Host": host}, timeout=10)
    assert response.status_code == status
    if status == 403:
        assert error_of(response) == f"host '{host}' is not allowed: this server serves localhost only"


def test_requests_without_a_host_header_are_accepted(carto: LocalCarto) -> None:
    connection = http.client.HTTPConnection(carto.base_url.split("/")[2], timeout=10)
    connection._http_vsn, connection._http_vsn_str = 10, "HTTP/1.0"  # type: ignore[attr-defined]
    connection.putrequest("GET", "/api/v2/sql?q=SELECT%201", skip_host=True)
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 200
    response.read()
    connection.close()


@pytest.mark.parametrize(
    "path", ["/api", "/api/v2/nope", "/user", "/nope", "/user/tester/nope", "/user/tester/api/v2/sql/x"]
)
def test_other_paths_do_not_exist(carto: LocalCarto, path: str) -> None:
    root = carto.base_url.partition("/user/")[0]
    assert requests.get(root + path, timeout=10).status_code == 404


def test_version_and_health(carto: LocalCarto) -> None:
    assert requests.get(f"{carto.base_url}/api/v2/version", timeout=10).json() == {"cartodb_sql_api": "6.0.0"}
    assert requests.get(f"{carto.base_url}/api/v1/health", timeout=10).json()["ok"] is True


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "sql?q=SELECT+1"),
        ("GET", "sql?q=nope"),
        ("OPTIONS", "sql"),
        ("GET", "sql/job/x"),
        ("OPTIONS", "sql/job"),
    ],
)
def test_pages_of_other_origins_may_use_the_sql_api(carto: LocalCarto, method: str, path: str) -> None:
    response = requests.request(method, f"{carto.base_url}/api/v2/{path}", headers={"Origin": "null"}, timeout=10)
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
    assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]


@pytest.mark.parametrize("where", ["header", "query", "form", "json"])
def test_a_key_may_stand_in_four_places(carto: LocalCarto, sql: SQLClient, where: str) -> None:
    sql.run("CREATE TABLE secret (a int)")
    query = {"q": "SELECT * FROM secret"}
    named = {**query, "api_key": sql.key}
    response = {
        "header": lambda: requests.get(sql.url, query, auth=("tester", sql.key or ""), timeout=10),
        "query": lambda: requests.get(sql.url, named, timeout=10),
        "form": lambda: requests.post(sql.url, named, timeout=10),
        "json": lambda: requests.post(sql.url, json=named, timeout=10),
    }[where]()
    assert response.status_code == 200


@pytest.fixture
def sql_in_process(carto_in_process: LocalCarto) -> SQLClient:
    return SQLClient(carto_in_process.base_url, carto_in_process.credentials.api_key)


def test_unexpected_errors_are_logged_without_keys(
    sql_in_process: SQLClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sql = sql_in_process

    def broken(*_: object) -> None:
        raise ZeroDivisionError("broken")

    monkeypatch.setattr(sql_routes, "run_query", broken)
    with caplog.at_level(logging.ERROR, logger="cartoframes_lite.local"):
        response = sql.get("SELECT 1")
    assert (response.status_code, error_of(response)) == (500, "Internal server error")
    [record] = [record for record in caplog.records if record.name.startswith("cartoframes_lite.local")]
    assert record.getMessage() == "GET /api/v2/sql failed"
    assert record.exc_info is not None
    assert sql.key is not None
    assert sql.key not in caplog.text


def test_unexpected_errors_keep_the_connection(sql_in_process: SQLClient, monkeypatch: pytest.MonkeyPatch) -> None:
    address = urlsplit(sql_in_process.base_url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    monkeypatch.setattr(sql_routes, "run_query", lambda *_: 1 / 0)
    for body in (b"q=SELECT+1", b"q=SELECT+1&x=" + b"x" * 500_000):
        used = []
        for _ in range(3):
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            connection.request("POST", f"{address.path}/api/v2/sql", body, headers)
            used.append(connection.sock)
            response = connection.getresponse()
            assert (response.status, response.read()) == (500, b'{"error":["Internal server error"]}')
        assert len(set(used)) == 1
        assert None not in used
    connection.close()


def test_a_multipart_body_that_is_none_is_refused(sql: SQLClient) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = requests.post(sql.url, b"--x\r\nnonsense", headers=headers, timeout=10)
    assert response.status_code == 400
    assert error_of(response)
    form = requests.post(sql.url, files={"q": (None, "SELECT 1 AS a"), "file": ("x", b"y")}, timeout=10)
    assert form.json()["rows"] == [{"a": 1}]


def test_a_response_body_that_fails_is_cut() -> None:
    sent: list[Any] = []

    async def blocks() -> AsyncGenerator[bytes, None]:
        yield b"begun"
        raise SQLError("division by zero", sqlstate="22012")

    async def receive() -> dict[str, str]:
        await asyncio.sleep(60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(StreamedResponse(blocks(), headers={})({"type": "http"}, receive, send))
    assert [message.get("status") for message in sent] == [200, None]
    assert sent[-1]["more_body"] is True  # uvicorn closes the connection then, and the client sees a cut body
