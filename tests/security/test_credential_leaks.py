"""The API key is sent in one header and appears nowhere else."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import logging
import pickle
import traceback
import urllib.parse
import warnings
from collections.abc import Iterator

import geopandas as gpd
import pandas as pd
import pytest
import requests
import responses

import cartoframes_lite as cfl
from cartoframes_lite.write import publishing

SECRET = "s3cr3t/k+y=%"
FRAME = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy([0, 1], [2, 3]), crs=4326)


def forms(key: str, user: str) -> list[str]:
    """Return all encodings of a key, including those of the header."""
    return [key, urllib.parse.quote(key, safe=""), base64.b64encode(f"{user}:{key}".encode()).decode()]


def everything_of(error: BaseException) -> str:
    """Return the text of a traceback with local variables, as in a debugger or crash report."""
    shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    with contextlib.suppress(TypeError):  # an exception of the standard library may not be picklable
        shown += repr(pickle.dumps(error))
    return f"{shown} {error!r} {error} {error.__dict__} {error.__context__!r} {error.__cause__!r}"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Capture the messages of all loggers at all levels."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield text
    root.removeHandler(handler)
    root.setLevel(level)


def test_a_whole_cycle_with_failures_shows_no_key(carto, logged, tmp_path, monkeypatch):
    account, key = carto.credentials, carto.credentials.api_key
    client = cfl.Client(account)
    shown: list[str] = []
    printed = io.StringIO()
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    monkeypatch.setattr(publishing, "_ATTEMPTS", 1)

    def fails(work) -> None:
        with pytest.raises(Exception) as caught:  # noqa: PT011  # any of them
            work()
        shown.append(everything_of(caught.value))

    with warnings.catch_warnings(record=True) as warned, contextlib.redirect_stdout(printed):
        warnings.simplefilter("always")
        cfl.to_carto(FRAME, "t", account, privacy="link")
        cfl.to_carto(FRAME, "t", account, if_exists="append", compression="gzip", progress=True)
        frame = cfl.read_carto("SELECT *, timestamp 'infinity' AS x FROM t", account)
        table = cfl.read_carto("t", account)
        dataset = table.carto.dataset
        fails(lambda: cfl.to_carto(FRAME, "t", account))
        fails(lambda: cfl.read_carto("nope", account))
        fails(lambda: cfl.read_carto("SELECT 1 / (30000 - n) FROM generate_series(1, 40000) n", account))
        fails(lambda: cfl.to_carto(FRAME.assign(x=1), "t", account, if_exists="append"))
        fails(lambda: client.batch.read("nope"))
        fails(lambda: client.copy.copy_from("COPY nope FROM STDIN", [b"1\n"]))
        fails(lambda: cfl.Dataset("nope", account).delete())
    values = [account, client, dataset, frame.attrs, table.attrs, FRAME.attrs, frame.carto, vars(table.carto)]
    shown += [repr(values), str(values), repr([str(w.message) for w in warned]), logged.getvalue()]
    shown += [repr(pickle.dumps(table)), repr(pickle.dumps(frame))]
    shown.append(printed.getvalue())  # where http.client would print the header, were it let
    assert "POST /user/tester/api/v2/sql" in logged.getvalue()
    for text in forms(key, account.username):
        assert all(text not in item for item in shown)
    assert warned


@pytest.mark.parametrize("where", ["https://host.invalid/user/ann", "http://127.0.0.1:9/user/ann"])
def test_a_server_that_cannot_be_reached(where, logged):
    account = cfl.Credentials(api_key=SECRET, base_url=where)
    with pytest.raises(cfl.ConnectionFailed) as caught:
        cfl.read_carto("t", account)
    shown = everything_of(caught.value) + logged.getvalue()  # before the loop, whose variable would be in it
    assert not [text for text in forms(SECRET, "ann") if text in shown]


@pytest.mark.parametrize(
    "failure",
    [
        requests.exceptions.SSLError("bad certificate"),
        requests.exceptions.ProxyError("no proxy"),
        requests.exceptions.ReadTimeout("slow"),
        requests.exceptions.ConnectionError("lost"),
    ],
    ids=lambda failure: type(failure).__name__,
)
@responses.activate
def test_a_failure_of_requests_takes_no_request_along(failure, logged, monkeypatch):
    monkeypatch.setattr("cartoframes_lite._client.http.retry.TOTAL_S", 0.0)
    account = cfl.Credentials("ann", SECRET)
    responses.post("https://ann.carto.com/api/v2/sql", body=failure)
    with pytest.raises(cfl.ConnectionFailed) as caught:
        cfl.read_carto("t", account)
    shown = everything_of(caught.value) + logged.getvalue()  # before the loop, whose variable would be in it
    assert not [text for text in forms(SECRET, "ann") if text in shown]


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 429, 500])
@responses.activate
def test_a_response_of_any_kind(status, logged, monkeypatch):
    monkeypatch.setattr("cartoframes_lite._client.http.retry.TOTAL_S", 0.0)
    account = cfl.Credentials("ann", SECRET)
    responses.post(
        "https://ann.carto.com/api/v2/sql", body="<html>", status=status, headers={"Location": "https://x/?api_key=1"}
    )
    with pytest.raises(cfl.CartoError) as caught:
        cfl.read_carto("t", account)
    shown = everything_of(caught.value) + logged.getvalue()  # before the loop, whose variable would be in it
    assert not [text for text in forms(SECRET, "ann") if text in shown]
    assert "api_key=1" not in str(caught.value)


@responses.activate
def test_the_key_is_sent_in_the_header_only():
    responses.post("https://ann.carto.com/api/v2/sql", json={"rows": [], "fields": {}, "total_rows": 0})
    cfl.Client(cfl.Credentials("ann", SECRET)).sql.send("SELECT 1")
    (call,) = responses.calls
    assert call.request.headers["Authorization"] == f"Basic {forms(SECRET, 'ann')[2]}"
    assert call.request.url == "https://ann.carto.com/api/v2/sql"
    assert SECRET not in str(call.request.body)


@pytest.mark.parametrize(
    "work",
    [
        lambda: cfl.Credentials(api_key=SECRET),
        lambda: cfl.Credentials("ann", SECRET, base_url="https://bob.carto.com"),
        lambda: cfl.Credentials("ann", SECRET, base_url="http://ann.carto.com"),
        lambda: cfl.Credentials(" ", SECRET),
    ],
)
def test_credentials_that_are_refused_do_not_tell_the_key(work):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # of several kinds
        work()
    assert SECRET not in f"{caught.value!r} {caught.value} {''.join(traceback.format_exception(caught.value))}"


def test_a_frame_in_a_file_has_no_key(credentials, tmp_path):
    cfl.to_carto(pd.DataFrame({"a": [1]}), "t", credentials)
    cfl.read_carto("t", credentials)[["cartodb_id"]].to_parquet(tmp_path / "t.parquet")
    assert credentials.api_key.encode() not in (tmp_path / "t.parquet").read_bytes()
