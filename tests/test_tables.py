from __future__ import annotations

import geopandas as gpd
import pandas as pd
import psycopg
import pytest

import cartoframes_lite as cfl
from cartoframes_lite.write.staging_names import staging_name


@pytest.fixture
def table(credentials):
    frame = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy([0, 1], [3, 4]), crs=4326)
    return cfl.to_carto(frame, "places", credentials)


def test_list_and_has(table, credentials):
    assert cfl.list_tables(credentials) == ["places"]
    assert cfl.has_table("places", credentials)
    assert cfl.has_table("places", credentials, schema="public")
    assert not cfl.has_table("nope", credentials)


def test_delete(table, credentials):
    assert cfl.delete_table("places", credentials)
    assert not cfl.delete_table("places", credentials)
    assert cfl.list_tables(credentials) == []


def test_rename(table, credentials):
    assert cfl.rename_table("places", "New Places", credentials) == "new_places"
    assert cfl.list_tables(credentials) == ["new_places"]
    with pytest.raises(cfl.TableNotFoundError, match="'places'"):
        cfl.rename_table("places", "other", credentials)


def test_rename_to_a_name_that_is_taken(table, credentials):
    cfl.to_carto(pd.DataFrame({"a": [1]}), "other", credentials)
    with pytest.raises(cfl.TableExistsError, match="'other' exists"):
        cfl.rename_table("places", "other", credentials)
    cfl.rename_table("places", "other", credentials, if_exists="replace")
    assert cfl.list_tables(credentials) == ["other"]
    assert "n" in cfl.read_carto("other", credentials)
    with pytest.raises(ValueError, match="already"):
        cfl.rename_table("other", "other", credentials)


@pytest.mark.parametrize("cartodbfy", [True, False])
def test_copy(cartodbfy, table, credentials):
    assert cfl.copy_table("places", "copy", credentials, cartodbfy=cartodbfy) == "copy"
    pd.testing.assert_frame_equal(cfl.read_carto("copy", credentials), cfl.read_carto("places", credentials))
    with pytest.raises(cfl.TableExistsError):
        cfl.copy_table("places", "copy", credentials)
    cfl.copy_table("places", "copy", credentials, if_exists="replace")
    with pytest.raises(ValueError, match="if_exists"):
        cfl.copy_table("places", "copy", credentials, if_exists="append")


def test_indexes_of_copies_are_named_after_them(table, credentials, carto):
    cfl.copy_table("places", "copy", credentials)
    with psycopg.connect(carto.dsn) as connection:
        found = connection.execute("SELECT indexname FROM pg_indexes WHERE tablename = 'copy' ORDER BY 1").fetchall()
    assert found == [("copy_pkey",), ("copy_the_geom_idx",), ("copy_the_geom_webmercator_idx",)]


def test_create_from_query(table, credentials):
    query = "SELECT n * 10 AS tens, the_geom FROM places -- a comment"
    assert cfl.create_table_from_query(query, "tens", credentials) == "tens"
    frame = cfl.read_carto("tens", credentials)
    assert sorted(frame["tens"]) == [10, 20]
    assert "cartodb_id" in frame


def test_a_query_that_fails_replaces_nothing(table, credentials):
    with pytest.raises(cfl.SQLError, match="division by zero"):
        cfl.create_table_from_query("SELECT 1/0 AS a", "places", credentials, if_exists="replace")
    assert len(cfl.read_carto("places", credentials)) == 2


def test_describe(table, credentials):
    described = cfl.describe_table("places", credentials)
    assert described == {"privacy": "private", "num_rows": 2, "geom_type": "point"}
    with pytest.raises(cfl.TableNotFoundError):
        cfl.describe_table("nope", credentials)


def test_privacy(table, credentials):
    cfl.update_privacy_table("places", "public", credentials)
    assert cfl.describe_table("places", credentials)["privacy"] == "public"
    with pytest.raises(ValueError, match="privacy must be one of"):
        cfl.update_privacy_table("places", "secret", credentials)
    with pytest.raises(cfl.TableNotFoundError):
        cfl.update_privacy_table("nope", "public", credentials)


def test_tables_that_a_write_is_filling_are_not_listed(credentials):
    sql = cfl.Client(credentials).sql
    sql.send(f'CREATE TABLE "{staging_name()}" (a int); CREATE TABLE cfl_staging_of_mine (a int)')
    assert cfl.list_tables(credentials) == ["cfl_staging_of_mine"]


def test_a_table_of_another_schema_has_its_own_privacy(table, carto, credentials):
    sql = cfl.Client(credentials).sql
    role = sql.rows("SELECT current_user AS name")[0]["name"]
    with psycopg.connect(carto.dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA other CREATE TABLE places (n int)")
        connection.execute(f"GRANT ALL ON SCHEMA other TO {role}; GRANT ALL ON other.places TO {role}")
    cfl.update_privacy_table("places", "public", credentials)
    assert cfl.describe_table("places", credentials, schema=sql.schema())["privacy"] == "public"
    assert cfl.describe_table("places", credentials, schema="other")["privacy"] is None
    assert cfl.Dataset("other.places", credentials).sync is None


def test_a_column_that_is_called_as_a_geometry(credentials):
    cfl.Client(credentials).sql.send("CREATE TABLE texts (the_geom text); INSERT INTO texts VALUES ('here')")
    assert cfl.describe_table("texts", credentials) == {"privacy": None, "num_rows": 1, "geom_type": None}


def test_what_is_neither_table_nor_view(table, credentials):
    sql = cfl.Client(credentials).sql
    sql.send(
        "CREATE SEQUENCE counter; CREATE TYPE pair AS (a int); CREATE INDEX by_n ON places (n);"
        " CREATE VIEW v AS SELECT 1"
    )
    assert cfl.has_table("v", credentials)
    for name in ("counter", "pair", "by_n", "places_pkey"):
        assert not cfl.has_table(name, credentials)
        with pytest.raises(cfl.SQLError, match="is not a table"):
            cfl.delete_table(name, credentials)
        with pytest.raises(cfl.TableExistsError):
            cfl.copy_table("places", name, credentials)


@pytest.mark.parametrize("name", [None, 5, b"x", "", " "])
def test_a_new_name_is_a_text(name, table, credentials):
    dead = cfl.Credentials("ann", base_url="http://127.0.0.1:1/user/ann")  # nothing is asked before
    for use in (cfl.rename_table, cfl.copy_table):
        with pytest.raises(TypeError, match="table name must be a non-empty str"):
            use("places", name, dead)
    with pytest.raises(TypeError, match="table name must be a non-empty str"):
        cfl.create_table_from_query("SELECT 1 AS a", name, dead)


def test_a_privacy_is_refused_before_any_request():
    dead = cfl.Credentials("ann", base_url="http://127.0.0.1:1/user/ann")
    with pytest.raises(ValueError, match="privacy must be one of"):
        cfl.update_privacy_table("places", "secret", dead)


def test_views_are_listed_on_request(table, credentials):
    cfl.execute("CREATE VIEW a_view AS SELECT * FROM places", credentials=credentials)
    cfl.execute("CREATE MATERIALIZED VIEW z_view AS SELECT * FROM places", credentials=credentials)
    assert cfl.list_tables(credentials) == ["places"]
    assert cfl.list_tables(credentials, include_views=True) == ["a_view", "places", "z_view"]
    public = cfl.Credentials(base_url=credentials.base_url)
    with pytest.raises(cfl.PermissionDenied):
        cfl.list_tables(public, include_views=True)


def test_a_view_is_described_at_once(table, credentials, monkeypatch):
    monkeypatch.setattr("cartoframes_lite._client.visualizations._REGISTRATION_TIMEOUT_S", 600.0)
    cfl.execute("CREATE VIEW a_view AS SELECT * FROM places", credentials=credentials)
    expected = {**cfl.describe_table("places", credentials), "privacy": None}
    assert cfl.describe_table("a_view", credentials) == expected
