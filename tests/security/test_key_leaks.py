"""The API key does not appear in output, stored files, pickles, notebooks or errors."""

from __future__ import annotations

import http.client
import io
import json
import logging
import pickle
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout

import geopandas as gpd
import pandas as pd
import pytest
import requests

import cartoframes_lite as cfl
from cartoframes_lite.write import publishing
from tests.http_servers import ANYWHERE
from tests.security.test_credential_leaks import everything_of, forms

SECRET = "s3cr3t/k+y=%"
FRAME = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy([0, 1], [2, 3]), crs=4326)
DEBUGGED = ("urllib3", "requests", "cartoframes_lite", "asyncio", "")


@pytest.fixture
def said() -> Iterator[io.StringIO]:
    """Capture all logs, output and warnings at the most verbose settings."""
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    levels = {name: logging.getLogger(name).level for name in DEBUGGED}
    for name in DEBUGGED:
        logging.getLogger(name).setLevel(1)
    logging.getLogger().addHandler(handler)
    logging.captureWarnings(True)
    level, http.client.HTTPConnection.debuglevel = http.client.HTTPConnection.debuglevel, 9
    with redirect_stdout(text), redirect_stderr(text), warnings.catch_warnings():
        warnings.simplefilter("always")
        yield text
    http.client.HTTPConnection.debuglevel = level
    logging.captureWarnings(False)
    logging.getLogger().removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def leaks(account: cfl.Credentials, *shown: object) -> list[str]:
    """Return the parts of the key that occur in texts, in any encoding."""
    text = "\n".join(one if isinstance(one, str) else repr(one) for one in shown)
    return [form for form in forms(str(account.api_key), str(account.username)) if form in text]


def test_maps_ask_for_private_tables_without_telling_the_key(credentials, said):
    cfl.to_carto(FRAME, "t", credentials, privacy="private", progress=True)
    style = {"cartocss": "#layer {marker-width: 7}", "cartocss_version": "2.3.0"}
    options = {"sql": "SELECT * FROM t", **style, "attributes": {"id": "cartodb_id", "columns": ["n"]}}
    views = {"v": {"type": "formula", "source": {"id": "n"}, "options": {"operation": "sum", "column": "n"}}}
    nodes = [{"id": "n", "type": "source", "params": {"query": "SELECT * FROM t"}}]
    layers = [{"type": "mapnik", "options": options}]
    shown = cfl.AnonymousMap({"layers": layers, "dataviews": views, "analyses": nodes}, credentials)
    assert shown.static_image(64, 64, bbox=(0, 0, 5, 5)).startswith(b"\x89PNG")
    assert shown.attributes(0, 1) == {"n": 1}
    assert shown.dataview("v") == 3
    assert "/api/v1/map" in said.getvalue()  # it does tell what is asked for
    assert leaks(credentials, said.getvalue(), repr(shown), str(shown)) == []
    assert credentials.api_key in shown.tile_url()  # as is said there: it is for libraries that know no headers


def test_jobs_imports_and_syncs_show_no_key(credentials, said, file_server):
    file_server.files["/t.csv"] = b"a\n1\n"
    dataset = cfl.Dataset.from_url(f"{file_server.url}/t.csv", credentials, progress=True)
    synced = cfl.Dataset.from_url(f"{file_server.url}/t.csv", credentials, sync_interval_s=3600)
    job = cfl.Dataset.from_file(io.BytesIO(b"a\n2\n"), credentials, name="u.csv", wait=False)
    cfl.create_table_from_query("SELECT 1 AS a", "made", credentials)
    shown = [dataset, synced, synced.sync, job, cfl.list_imports(credentials), cfl.list_syncs(credentials)]
    shown += [cfl.list_datasets(credentials), cfl.list_visualizations(credentials), dataset.info(), dataset.permissions]
    html = [one._repr_html_() for one in shown if hasattr(one, "_repr_html_")]
    assert len(html) > 3
    assert leaks(credentials, said.getvalue(), *shown, *html) == []


def test_notebooks_show_no_key(credentials):
    cfl.to_carto(FRAME, "t", credentials)
    frame = cfl.read_carto("t", credentials)
    ways = ("_repr_html_", "_repr_mimebundle_", "_repr_json_", "_repr_markdown_", "__str__", "__repr__", "__dir__")
    shown = []
    for one in (credentials, cfl.Client(credentials), cfl.Dataset("t", credentials), frame, frame.carto):
        shown += [getattr(one, way)() for way in ways if hasattr(one, way)]
    pretty = io.StringIO()
    pretty.text = pretty.write  # what IPython hands over
    credentials._repr_pretty_(pretty, False)
    assert "api_key='***'" in pretty.getvalue()
    assert len(shown) > 15
    assert leaks(credentials, pretty.getvalue(), *shown) == []


def test_names_are_no_markup_in_notebooks(credentials):
    name = "<script>alert(1)</script>"
    assert "<script>" not in cfl.Dataset(name, credentials)._repr_html_()
    cfl.to_carto(FRAME, "t", credentials)
    cfl.Dataset("t", credentials).update(title=name, description=name, tags=[name])
    assert "<script>" not in cfl.Dataset("t", credentials)._repr_html_()


def test_frames_carry_no_key_wherever_they_go(credentials, tmp_path):
    cfl.to_carto(FRAME, "t", credentials)
    frame = cfl.read_carto("t", credentials)
    assert frame.attrs["carto"]["table"] == "t"
    frame.carto.dataset  # noqa: B018  # it finds the credentials again, and may not leave them with the frame
    frame.to_parquet(tmp_path / "geo.parquet")
    pd.DataFrame(frame.drop(columns="the_geom")).to_parquet(tmp_path / "plain.parquet")
    frame.to_feather(tmp_path / "geo.feather")
    frame.to_file(tmp_path / "t.gpkg")
    frame.drop(columns="the_geom").to_json(tmp_path / "t.json")
    files = [path.read_bytes() for path in tmp_path.iterdir()]
    assert len(files) == 5
    for shown in (
        *files,
        pickle.dumps(frame),
        pickle.dumps(FRAME),
        repr(vars(frame)).encode(),
        repr(frame.attrs).encode(),
    ):
        assert leaks(credentials, shown.decode("latin-1")) == []


def test_pickled_credentials_hold_nothing_of_the_session():
    session = requests.Session()
    session.headers["Cookie"] = "of-the-session"
    account = cfl.Credentials("ann", SECRET, session=session)
    for kept in (account, cfl.Dataset("t", account)):
        pickled = pickle.dumps(kept)
        assert SECRET.encode() in pickled
        assert b"of-the-session" not in pickled
        assert pickle.loads(pickled) == kept
    with pytest.raises(TypeError, match="pickle its credentials"):
        pickle.dumps(cfl.Client(account))


@pytest.mark.parametrize("where", ["argument", "environment", "file"])
def test_a_key_that_is_no_text_is_not_told(where, monkeypatch, tmp_path):
    key = f"{SECRET}\udc80"
    path = tmp_path / "creds.json"
    path.write_text(json.dumps({"username": "ann", "api_key": key}))
    monkeypatch.setenv("CARTO_USERNAME", "ann")
    monkeypatch.setenv("CARTO_API_KEY", SECRET)
    monkeypatch.setattr("os.environ", {"CARTO_USERNAME": "ann", "CARTO_API_KEY": key})
    made = {
        "argument": lambda: cfl.Credentials("ann", key),
        "environment": cfl.Credentials.from_env,
        "file": lambda: cfl.Credentials.from_file(path),
    }
    with pytest.raises(cfl.CredentialsError, match="lone surrogate") as caught:
        made[where]()
    assert SECRET not in f"{caught.value!r} {caught.value} {''.join(traceback.format_exception(caught.value))}"
    assert caught.value.__context__ is None


def test_tracebacks_with_locals_show_no_key(said, recording_server, monkeypatch):
    monkeypatch.setattr("cartoframes_lite._client.http.retry.TOTAL_S", 0.0)
    monkeypatch.setattr(publishing, "_ATTEMPTS", 1)
    server = recording_server()
    body = f'{{"error":["{SECRET} is no key"]}}'.encode()
    account = cfl.Credentials(api_key=SECRET, base_url=server.base_url)
    client = cfl.Client(account)

    def broken() -> Iterator[bytes]:
        yield b"1\n"
        raise RuntimeError("the source broke")

    calls = [
        lambda: client.sql.send("SELECT 1"),
        lambda: client.copy.copy_from("COPY t FROM STDIN", broken),
        lambda: client.batch.create("SELECT 1"),
        lambda: client.users.me(),
        lambda: client.api_keys.list(),
        lambda: client.visualizations.list("table"),
        lambda: client.syncs.list(),
        lambda: cfl.AnonymousMap([], account).layergroup_id,
        lambda: cfl.Dataset.from_file(io.BytesIO(b"a"), account, name="t.csv"),
        lambda: cfl.to_carto(FRAME, "t", account),
    ]
    shown = []
    for status in (401, 403, 404, 500):
        server.put(ANYWHERE, body, status=status)
        # The server may say what it likes; the rest is ours.
        shown += [_told(call).replace(f"{SECRET} is no key", "") for call in calls]
    assert len(shown) == 40
    assert leaks(account, said.getvalue(), *shown) == []


def _told(call: Callable[[], object]) -> str:
    """Return the text of the error of a call, raised in a separate frame without earlier texts in its locals."""
    with pytest.raises((cfl.CartoError, RuntimeError)) as caught:
        call()
    return everything_of(caught.value)


def test_interrupted_requests_show_no_key(recording_server):
    server = recording_server()
    server.hang(ANYWHERE)
    account = cfl.Credentials(api_key=SECRET, base_url=server.base_url)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.2, signal.pthread_kill, [main, signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        cfl.Client(account).sql.send("SELECT 1")
    assert leaks(account, everything_of(caught.value)) == []


def test_the_error_of_a_source_says_where_it_was(credentials):
    def broken() -> Iterator[bytes]:
        yield b"1\n"
        raise RuntimeError("the source broke")

    client = cfl.Client(credentials)
    client.sql.send("CREATE TABLE t (a int)")
    with pytest.raises(RuntimeError, match="the source broke") as caught:
        client.copy.copy_from("COPY t FROM STDIN", broken)
    assert leaks(credentials, everything_of(caught.value)) == []
    assert client.sql.rows("SELECT count(*) FROM t") == [{"count": 0}]
    assert "in broken" in "".join(traceback.format_exception(caught.value))


def test_hooks_for_crashes_see_no_key(monkeypatch):
    monkeypatch.setattr("cartoframes_lite._client.http.retry.TOTAL_S", 0.0)
    account = cfl.Credentials("ann", SECRET, base_url="http://127.0.0.1:9/user/ann")
    text = io.StringIO()
    try:
        cfl.read_carto("t", account)
    except cfl.ConnectionFailed as error:
        frames = traceback.TracebackException.from_exception(error, capture_locals=True)
        print("".join(frames.format()), file=text)
        trace = error.__traceback__
        while trace is not None:
            text.write(repr(trace.tb_frame.f_locals.items() if trace.tb_frame.f_code.co_filename != __file__ else ""))
            trace = trace.tb_next
    assert "read_carto" in text.getvalue()
    assert leaks(account, text.getvalue()) == []
    assert SECRET not in repr(sys.exc_info())
