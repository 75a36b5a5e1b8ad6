"""Operations of keys other than the master key, and their errors."""

from __future__ import annotations

import time

import geopandas as gpd
import pandas as pd
import pytest
import requests

import cartoframes_lite as cfl
import cartoframes_lite.local

FRAME = gpd.GeoDataFrame({"n": [1, 2]}, geometry=gpd.points_from_xy([0, 1], [2, 3]), crs=4326)
ALL = ["select", "insert", "update", "delete"]


def regular_key(master: cfl.Credentials, permissions: list[str], *, create: bool = True) -> cfl.Credentials:
    database = {
        "type": "database",
        "tables": [{"schema": "public", "name": "owned", "permissions": permissions}],
        "schemas": [{"name": "public", "permissions": ["create"]}] if create else [],
    }
    response = requests.post(
        f"{master.base_url}/api/v3/api_keys",
        json={"name": "regular", "grants": [{"type": "apis", "apis": ["sql", "maps"]}, database]},
        auth=(str(master.username), str(master.api_key)),
        timeout=10,
    )
    response.raise_for_status()
    return cfl.Credentials(api_key=response.json()["token"], base_url=master.base_url)


@pytest.fixture
def owned(credentials):
    return cfl.to_carto(FRAME, "owned", credentials)


def test_a_regular_key_creates_appends_and_replaces(owned, credentials):
    key = regular_key(credentials, ALL)
    for table in ("own", owned):
        cfl.to_carto(FRAME, table, key, if_exists="append")
        cfl.to_carto(FRAME, table, key, if_exists="append")
        assert len(cfl.read_carto(table, key)) == (4 if table == "own" else 6)
        cfl.to_carto(FRAME, table, key, if_exists="replace")
        assert len(cfl.read_carto(table, credentials)) == 2
    cfl.to_carto(FRAME.assign(added=1.5), "own", key, if_exists="replace")
    assert cfl.list_tables(credentials) == ["own", "owned"]


@pytest.mark.parametrize(("permissions", "create"), [(["select"], False), (["select"], True), (ALL, False)])
def test_a_key_without_the_grants_changes_nothing(permissions, create, owned, credentials):
    key = regular_key(credentials, permissions, create=create)
    assert len(cfl.read_carto(owned, key)) == 2
    for if_exists in ("replace",) if permissions == ALL else ("append", "replace"):
        with pytest.raises(cfl.PermissionDenied, match="grant"):
            cfl.to_carto(FRAME, owned, key, if_exists=if_exists)
    assert cfl.list_tables(credentials) == [owned]
    assert len(cfl.read_carto(owned, credentials)) == 2


def test_privacy_is_refused_before_anything_is_written(owned, credentials):
    key = regular_key(credentials, ALL)
    with pytest.raises(cfl.PermissionDenied, match="privacy of a dataset requires the master key"):
        cfl.to_carto(FRAME, "new", key, privacy="public")
    assert not cfl.has_table("new", credentials)


def test_regular_keys_do_not_wait_for_the_catalog(owned, credentials, monkeypatch):
    monkeypatch.setattr("cartoframes_lite._client.visualizations._REGISTRATION_TIMEOUT_S", 600.0)
    key = regular_key(credentials, ALL)
    begun = time.monotonic()
    with pytest.raises(cfl.PermissionDenied, match="'owned' requires the master key"):
        cfl.describe_table(owned, key)
    assert time.monotonic() - begun < 300


def test_a_regular_key_describes_tables(owned, credentials):
    cfl.update_privacy_table(owned, "public", credentials)
    key = regular_key(credentials, ["select"])
    assert cfl.describe_table(owned, key) == {"privacy": "public", "num_rows": 2, "geom_type": "point"}
    cfl.to_carto(FRAME, "plain", key, cartodbfy=False)
    assert cfl.describe_table("plain", key)["privacy"] is None


def test_publishing_beyond_the_statement_timeout():
    with cartoframes_lite.local.start(statement_timeout_s=1) as server:
        master = server.credentials
        cfl.to_carto(FRAME, "owned", master)
        cfl.Client(master).sql.send(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM pg_sleep(0.02); RETURN NEW; END';"
            "CREATE TRIGGER slow BEFORE INSERT ON owned FOR EACH ROW EXECUTE FUNCTION slow()"
        )
        key = regular_key(master, ALL)
        many = pd.DataFrame({"n": range(75)})
        with pytest.raises(cfl.QueryTimeout, match="publishing 'owned' takes longer") as caught:
            cfl.to_carto(many, "owned", key, if_exists="append")
        assert "master key" in str(caught.value)
        assert len(cfl.read_carto("owned", master)) == 2
        cfl.to_carto(many, "owned", master, if_exists="append")  # becomes a batch job
        assert len(cfl.read_carto("owned", master)) == 77


def test_publishing_wide_tables_beyond_the_statement_timeout():
    columns = [f"column_with_a_rather_long_name_{number:03}" for number in range(450)]
    wide = pd.DataFrame({name: [number] * 40 for number, name in enumerate(columns)})
    with cartoframes_lite.local.start(statement_timeout_s=1) as server:
        master = server.credentials
        cfl.to_carto(wide[:1], "wide", master)
        sql = cfl.Client(master).sql
        sql.send(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql"
            " AS 'BEGIN PERFORM pg_sleep(0.04); RETURN NEW; END';"
            "CREATE TRIGGER slow BEFORE INSERT ON wide FOR EACH ROW EXECUTE FUNCTION slow()"
        )
        for mode, rows in [("append", 41), ("replace", 40)]:
            cfl.to_carto(wide, "wide", master, if_exists=mode)
            back = cfl.read_carto("wide", master)
            assert len(back) == rows
            assert back[columns[449]].tolist() == [449] * rows
        sql.send(f"ALTER TABLE wide ADD CHECK ({columns[0]} = 0)")
        with pytest.raises(cfl.CartoError, match="violates check constraint"):
            cfl.to_carto(wide + 1, "wide", master, if_exists="append")
        assert len(cfl.read_carto("wide", master)) == 40
        assert [name for name in sql.tables() if name.startswith("cfl_")] == []
        assert sql.rows("SELECT proname FROM pg_proc WHERE starts_with(proname::text, 'cfl_')") == []


def test_a_failed_privacy_reports_the_written_rows(credentials, monkeypatch):
    def refuse(self, name, privacy):
        raise cfl.ConnectionFailed("the connection was lost")

    monkeypatch.setattr("cartoframes_lite._client.visualizations.Visualizations.set_privacy", refuse)
    frame = pd.DataFrame({"a": [1]})
    with pytest.raises(cfl.PrivacyNotSet, match=r"the rows were written to table 't'.*do not write them again"):
        cfl.to_carto(frame, "t", credentials, privacy="private")
    assert len(cfl.read_carto("t", credentials)) == 1
