from __future__ import annotations

import io
import traceback
import tracemalloc
from contextlib import redirect_stderr

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import responses

import cartoframes_lite as cfl
from cartoframes_lite.read.stream import rechunk


@pytest.fixture
def sql(credentials):
    return cfl.Client(credentials).sql


@pytest.fixture
def table(credentials):
    frame = gpd.GeoDataFrame(
        {"name": ["a", "b", "c"], "n": [1, 2, 3]}, geometry=gpd.points_from_xy([0, 1, 2], [3, 4, 5]), crs=4326
    )
    return cfl.to_carto(frame, "places", credentials)


def test_a_table_is_a_geodataframe(table, credentials):
    frame = cfl.read_carto(table, credentials)
    assert isinstance(frame, gpd.GeoDataFrame)
    assert list(frame) == ["cartodb_id", "the_geom", "name", "n"]
    assert frame.crs == "EPSG:4326"
    assert frame.attrs["carto"]["table"] == "places"
    assert credentials.api_key not in repr(frame.attrs)


@pytest.mark.parametrize(
    "source",
    [
        "SELECT name, n FROM places ORDER BY n",
        "select name, n from places order by n;",
        "  \n-- a comment\nSELECT name, n FROM places ORDER BY n -- and one more",
        "/* a comment; */ WITH p AS (SELECT * FROM places) SELECT name, n FROM p ORDER BY n;  ",
        "SELECT name, n FROM places ORDER BY n; -- the end; really",
        "SELECT name, n FROM places WHERE name <> '; -- no end' ORDER BY n /* ; */ ;\n/* bye */ ; ",
        "SELECT name, n FROM places WHERE name <> $$; --$$ AND name <> E'\\'; --' ORDER BY n",
        "(SELECT name, n FROM places ORDER BY n)",
        "VALUES ('a', 1), ('b', 2), ('c', 3)",
        "(VALUES ('a', 1), ('b', 2), ('c', 3))",
    ],
)
def test_any_sql_that_returns_rows(source, table, credentials):
    frame = cfl.read_carto(source, credentials)
    assert type(frame) is pd.DataFrame
    assert frame.to_numpy().tolist() == [["a", 1], ["b", 2], ["c", 3]]


@pytest.mark.parametrize("source", ["TABLE places", "places", "public.places"])
def test_forms_of_a_table(source, table, credentials):
    assert len(cfl.read_carto(source, credentials)) == 3


def test_schema(table, credentials):
    assert len(cfl.read_carto(table, credentials, schema="public")) == 3
    with pytest.raises(ValueError, match="is only for a table name"):
        cfl.read_carto("SELECT 1", credentials, schema="public")


def test_columns_limit_and_index(table, credentials):
    frame = cfl.read_carto(
        table, credentials, columns=["n", "the_geom_webmercator", "cartodb_id"], limit=2, index_col="cartodb_id"
    )
    assert list(frame) == ["n", "the_geom_webmercator"]
    assert frame.index.name == "cartodb_id"
    assert len(frame) == 2
    assert frame.crs == "EPSG:3857"
    assert len(cfl.read_carto(table, credentials, limit=0)) == 0


@pytest.mark.parametrize("several", [list, tuple, np.array, pd.Index, pd.Series])
def test_columns_of_the_index_in_whatever_sequence(several, table, credentials):
    frame = cfl.read_carto(table, credentials, columns=["n", "name"], index_col=several(["n"]))
    assert (frame.index.name, list(frame.index)) == ("n", [1, 2, 3])
    frame = cfl.read_carto(table, credentials, columns=["n", "name"], index_col=several(["name", "n"]))
    assert list(frame.index) == [("a", 1), ("b", 2), ("c", 3)]


def test_decode_geom_false_leaves_ewkb(table, credentials):
    frame = cfl.read_carto(table, credentials, decode_geom=False)
    assert type(frame) is pd.DataFrame
    assert gpd.GeoSeries.from_wkb(frame["the_geom"]).x.tolist() == [0, 1, 2]


@pytest.mark.parametrize(("size", "sizes"), [(1, [1, 1, 1]), (2, [2, 1]), (3, [3]), (10, [3])])
def test_chunks(size, sizes, table, credentials):
    chunks = list(cfl.read_carto("SELECT * FROM places ORDER BY n", credentials, chunksize=size))
    assert [len(chunk) for chunk in chunks] == sizes
    assert all(isinstance(chunk, gpd.GeoDataFrame) for chunk in chunks)
    whole = cfl.read_carto("SELECT * FROM places ORDER BY n", credentials)
    pd.testing.assert_frame_equal(pd.concat(chunks, ignore_index=True), whole)


def test_no_rows_are_one_chunk_with_the_columns(table, credentials):
    (chunk,) = cfl.read_carto("SELECT * FROM places WHERE false", credentials, chunksize=5)
    assert list(chunk) == ["cartodb_id", "the_geom", "name", "n"]


def test_rows_without_columns(table, credentials):
    for source, arguments in (("SELECT FROM places", {}), (table, {"columns": []})):
        assert cfl.read_carto(source, credentials, **arguments).shape == (3, 0)
        assert cfl.read_carto(source, credentials, limit=2, **arguments).shape == (2, 0)
        chunks = cfl.read_carto(source, credentials, chunksize=2, **arguments)
        assert [chunk.shape for chunk in chunks] == [(2, 0), (1, 0)]


def test_numbers_of_numpy_and_columns_of_an_index(table, credentials):
    frame = cfl.read_carto(table, credentials, columns=pd.Index(["n"]), limit=np.int64(2))
    assert (list(frame), len(frame)) == (["n"], 2)


def test_rechunk_keeps_every_row():
    batches = [pd_batch(range(start, start + rows)) for start, rows in ((0, 3), (3, 0), (3, 7), (10, 1))]
    groups = [[value for batch in group for value in batch.column(0).to_pylist()] for group in rechunk(batches, 4)]
    assert groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10]]


def pd_batch(values):
    import pyarrow as pa

    return pa.record_batch({"a": pa.array(list(values), pa.int64())})


def test_memory_of_chunks_does_not_grow_with_the_table(credentials):
    def peak(rows: int) -> int:
        query = f"SELECT n, repeat('x', 100) AS filler FROM generate_series(1, {rows}) n"
        tracemalloc.start()
        assert sum(len(chunk) for chunk in cfl.read_carto(query, credentials, chunksize=5_000)) == rows
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    # At most 16 MB are received ahead, however fast the server is; the rows are 50 MB.
    assert peak(400_000) < 32e6


def test_a_chunked_read_can_be_given_up(table, credentials):
    chunks = cfl.read_carto("SELECT generate_series(1, 1000000) AS n", credentials, chunksize=10)
    assert len(next(chunks)) == 10
    chunks.close()
    assert len(cfl.read_carto(table, credentials)) == 3


def test_an_error_after_the_first_rows_raises(credentials):
    query = "SELECT 1 / (30000 - n) AS x, repeat('a', 100) AS t FROM generate_series(1, 40000) n"
    with pytest.raises(cfl.SQLError, match="division by zero"):
        cfl.read_carto(query, credentials)
    with pytest.raises(cfl.SQLError, match="division by zero"):
        list(cfl.read_carto(query, credentials, chunksize=100))


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nope", cfl.TableNotFoundError, "there is no table 'nope'"),
        ("place", cfl.TableNotFoundError, "did you mean 'places'"),
        ("DELETE FROM places", cfl.TableNotFoundError, "a query begins with SELECT"),
        ("SELECT * FROM nope", cfl.SQLError, 'relation "nope" does not exist'),
        ("SELECT nme FROM places", cfl.SQLError, 'Perhaps you meant .*"_?\\w*\\.?name"'),
        ("SELECT selec FROM", cfl.SQLError, "syntax error"),
        ("SELECT 1 AS a, 2 AS a", cfl.SQLError, "ambiguous"),
    ],
)
def test_wrong_sources(source, error, message, table, credentials):
    with pytest.raises(error, match=message):
        cfl.read_carto(source, credentials)
    assert cfl.has_table(table, credentials)


@pytest.mark.parametrize(
    ("source", "arguments", "error", "message"),
    [
        ("", {}, TypeError, "source must be"),
        (None, {}, TypeError, "source must be"),
        ("places", {"columns": "n"}, TypeError, "sequence of column names"),
        ("SELECT '\ud800'", {}, ValueError, "lone surrogate"),
        ("SELECT '\0'", {}, ValueError, r"U\+0000"),
        ("places", {"columns": 5}, TypeError, "sequence of column names"),
        ("places", {"columns": (name for name in ["n"])}, TypeError, "sequence of column names"),
        ("places", {"columns": ["n", 1]}, TypeError, r"only strings, not \[1\]"),
        ("places", {"columns": [["n"]]}, TypeError, "only strings"),
        ("places", {"columns": ["\ud800"]}, ValueError, "has no columns"),
        ("places", {"limit": True}, ValueError, "limit"),
        ("places", {"limit": 1.0}, ValueError, "limit"),
        ("places", {"limit": 2**63}, ValueError, "limit"),
        ("places", {"limit": 10**5000}, ValueError, "limit"),
        ("places", {"chunksize": -1}, ValueError, "chunksize"),
        ("places", {"chunksize": True}, ValueError, "chunksize"),
        ("places", {"index_col": []}, ValueError, "index_col"),
        ("places", {"index_col": ["n", "n"]}, ValueError, "distinct names"),
        ("places", {"index_col": ["n", ["name"]]}, ValueError, "distinct names"),
        (".places", {}, ValueError, "SCHEMA.TABLE"),
        ("public.", {}, ValueError, "SCHEMA.TABLE"),
        ("places", {"limit": -1}, ValueError, "limit"),
        ("places", {"chunksize": 0}, ValueError, "chunksize"),
        ("places", {"dtype_backend": "polars"}, ValueError, "dtype_backend"),
        ("places", {"columns": ["nope"]}, ValueError, r"has no columns \['nope'\]"),
        ("places", {"columns": ["n", "n"]}, ValueError, "twice"),
        ("places", {"index_col": "nope"}, ValueError, "index_col"),
    ],
)
def test_wrong_arguments(source, arguments, error, message, table, credentials):
    with pytest.raises(error, match=message):
        cfl.read_carto(source, credentials, **arguments)


def test_a_private_table_needs_a_key(table, carto):
    public = cfl.Credentials(base_url=carto.base_url)
    with pytest.raises(cfl.PermissionDenied, match="default_public"):
        cfl.read_carto(table, public)
    cfl.update_privacy_table(table, "public", carto.credentials)
    assert len(cfl.read_carto(table, public)) == 3


def test_a_wrong_key(table, carto):
    wrong = cfl.Credentials(api_key="wrong", base_url=carto.base_url)
    with pytest.raises(cfl.AuthenticationError, match="api_key"):
        cfl.read_carto(table, wrong)


def test_an_unknown_user(carto):
    nobody = cfl.Credentials(api_key="key", base_url=carto.base_url.replace("tester", "nobody"))
    with pytest.raises(cfl.NotFound, match="nobody"):
        cfl.read_carto("places", nobody)


@responses.activate
def test_the_page_of_a_proxy():
    account = cfl.Credentials("ann", "key")
    page = "<html><body>Welcome</body></html>"
    responses.post("https://ann.carto.com/api/v2/sql", body=page, status=200)
    with pytest.raises(cfl.CartoError, match="base_url"):
        cfl.read_carto("places", account)


def test_no_server():
    account = cfl.Credentials(api_key="key", base_url="http://127.0.0.1:9/user/ann")
    with pytest.raises(cfl.ConnectionFailed, match="server is running"):
        cfl.read_carto("places", account)


def test_no_such_host():
    account = cfl.Credentials(api_key="key", base_url="https://ann.host.invalid")
    with pytest.raises(cfl.ConnectionFailed):
        cfl.read_carto("places", account)


def test_the_bar_can_be_on_or_off(table, credentials):
    for progress, shown in ((True, True), (False, False), (None, False)):
        with redirect_stderr(io.StringIO()) as output:
            cfl.read_carto(table, credentials, progress=progress)
        assert ("reading" in output.getvalue()) is shown


def test_messages_do_not_contain_the_key(carto):
    secret = "a-secret-key"
    account = cfl.Credentials(api_key=secret, base_url=carto.base_url)
    with pytest.raises(cfl.AuthenticationError) as caught:
        cfl.read_carto("places", account)
    assert secret not in f"{caught.value!r} {''.join(traceback.format_exception(caught.value))}"


def test_repeated_names_are_explained(table, credentials):
    query = "SELECT * FROM places a JOIN places b ON a.n = b.n"
    for arguments in ({}, {"chunksize": 2}, {"where": "true"}, {"columns": ["n"]}):
        with pytest.raises(cfl.SQLError, match="ambiguous") as caught:
            list(cfl.read_carto(query, credentials, **arguments))
        assert "several columns named 'cartodb_id', 'the_geom', 'the_geom_webmercator', 'name', 'n'" in str(
            caught.value
        )
        assert 'SELECT a."cartodb_id", b."cartodb_id" AS "cartodb_id_2"' in str(caught.value)
    query = "SELECT a.n, a.name, b.n FROM places a JOIN places b ON a.n = b.n"
    with pytest.raises(cfl.SQLError, match=r"named 'n': .*columns=\['name'\]"):
        cfl.read_carto(query, credentials)
    assert sorted(cfl.read_carto(query, credentials, columns=["name"])["name"]) == ["a", "b", "c"]
    with pytest.raises(cfl.SQLError, match=r"named 'n'"):
        cfl.read_arrow(query, credentials).read_all()
    with pytest.raises(cfl.SQLError, match=r"named 'n'"):
        cfl.dask.read_carto(query, credentials, index_col="n", consistent=False)
    with pytest.raises(cfl.JobError, match=r"named 'n'"):
        cfl.read_carto(query, credentials, batch=True)


def test_expressions_without_names_are_explained(credentials):
    with pytest.raises(cfl.SQLError, match="several columns without a name: name each of them"):
        cfl.read_carto("SELECT 1, 2 + 2", credentials)
    with pytest.raises(cfl.SQLError, match="several columns named 'a'") as caught:
        cfl.read_carto("SELECT 1 AS a, 2 AS a", credentials)
    assert "leave them out" not in str(caught.value)


def test_other_ambiguities_are_not_repeated_names(table, credentials):
    with pytest.raises(cfl.SQLError, match="ambiguous") as caught:
        cfl.read_carto("SELECT n FROM places a JOIN places b ON a.n = b.n", credentials)
    assert "several columns" not in str(caught.value)


def test_a_title_finds_its_table(credentials):
    table = cfl.to_carto(pd.DataFrame({"n": [1, 2]}), "Stations of Paris", credentials)
    for source in ("Stations of Paris", " Stations of Paris ", "public.Stations of Paris"):
        frame = cfl.read_carto(source, credentials, where="n > 1")
        assert frame["n"].tolist() == [2]
    assert cfl.read_carto("Stations of Paris", credentials).attrs["carto"]["table"] == table
    assert len(cfl.read_carto("Stations of Paris", credentials, schema="public", chunksize=5).__next__()) == 2
    assert cfl.read_arrow("Stations of Paris", credentials).read_all().num_rows == 2
    assert len(cfl.dask.read_carto("Stations of Paris", credentials).compute()) == 2
    assert len(cfl.Dataset("Stations of Paris", credentials).read()) == 2


@pytest.mark.parametrize("title", ["Table of stations", "Select cities", "With or without trains", "Values by year"])
def test_a_title_that_begins_like_a_query(title, credentials):
    table = cfl.to_carto(pd.DataFrame({"n": [1, 2]}), title, credentials)
    frame = cfl.read_carto(title, credentials)
    assert (len(frame), frame.attrs["carto"]["table"]) == (2, table)


def test_a_table_with_the_exact_name_is_read(credentials):
    cfl.to_carto(pd.DataFrame({"n": [1, 2]}), "stations", credentials)
    cfl.execute('CREATE TABLE "Stations" AS SELECT 7 AS n', credentials=credentials)
    assert cfl.read_carto("Stations", credentials)["n"].tolist() == [7]


def test_a_title_without_table_suggests_names(table, credentials):
    cfl.to_carto(pd.DataFrame({"n": [1, 2]}), "Stations of Paris", credentials)
    with pytest.raises(cfl.TableNotFoundError, match="did you mean 'stations_of_paris'"):
        cfl.read_carto("Station of Paris", credentials)
    with pytest.raises(cfl.TableNotFoundError, match="did you mean 'stations_of_paris'"):
        cfl.Dataset("Stations of Paris", credentials).columns()
    with pytest.raises(cfl.TableNotFoundError, match="a query begins with SELECT"):
        cfl.read_carto("UPDATE it all", credentials)
