from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from decimal import Decimal

import geopandas as gpd
import numpy as np
import pandas as pd
import pytest
import shapely

import cartoframes_lite as cfl
from cartoframes_lite.write import lease as _lease
from cartoframes_lite.write import staging, staging_names
from cartoframes_lite.write import target as _target
from cartoframes_lite.write.staging_sql import renew_lease, set_lease


@pytest.fixture
def sql(credentials):
    return cfl.Client(credentials).sql


@pytest.fixture
def gdf():
    return gpd.GeoDataFrame(
        {"name": ["a", "b", None], "n": [1, 2, 3]}, geometry=gpd.points_from_xy([0, 1, 2], [3, 4, 5]), crs=4326
    )


def leftovers(sql) -> list[str]:
    return [name for name in sql.tables() if name.startswith(staging_names.PREFIX)]


def test_a_new_table_is_a_carto_table(gdf, credentials, sql):
    assert cfl.to_carto(gdf, "Some Places", credentials) == "some_places"
    assert [column.name for column in sql.columns("some_places")] == [
        "cartodb_id",
        "the_geom",
        "the_geom_webmercator",
        "name",
        "n",
    ]
    rows = sql.rows("SELECT cartodb_id, n, ST_AsText(the_geom) AS shape FROM some_places ORDER BY 1")
    assert [row["cartodb_id"] for row in rows] == [1, 2, 3]
    assert rows[0]["shape"] == "POINT(0 3)"
    (check,) = sql.rows(
        "SELECT max(ST_Distance(the_geom_webmercator, ST_Transform(the_geom, 3857))) AS off FROM some_places"
    )
    assert check["off"] < 1e-6
    assert leftovers(sql) == []


def test_a_new_table_goes_on_counting_and_computing(gdf, credentials, sql):
    cfl.to_carto(gdf, "t", credentials)
    sql.send("INSERT INTO t (name, the_geom) VALUES ('d', ST_SetSRID(ST_MakePoint(1, 2), 4326))")
    (row,) = sql.rows("SELECT cartodb_id, ST_SRID(the_geom_webmercator) AS srid FROM t WHERE name = 'd'")
    assert row == {"cartodb_id": 4, "srid": 3857}


def test_names_of_key_and_sequence(gdf, credentials, sql):
    cfl.to_carto(gdf, "t", credentials)
    cfl.rename_table("t", "u", credentials)
    cfl.to_carto(gdf, "t", credentials)
    assert len(cfl.read_carto("t", credentials)) == 3
    sql.send("INSERT INTO t (name) VALUES ('next')")
    assert sql.rows("SELECT max(cartodb_id) AS id FROM t") == [{"id": 4}]


def test_cartodbfy_false_adds_no_columns(gdf, credentials, sql):
    cfl.to_carto(gdf, "t", credentials, cartodbfy=False)
    assert [column.name for column in sql.columns("t")] == ["name", "n", "the_geom"]


def test_an_empty_frame_makes_an_empty_table(gdf, credentials):
    cfl.to_carto(gdf.iloc[:0], "t", credentials)
    back = cfl.read_carto("t", credentials)
    assert len(back) == 0
    assert isinstance(back, gpd.GeoDataFrame)
    assert back["n"].dtype == "int64"
    cfl.to_carto(gdf.iloc[:0], "t", credentials, if_exists="append")
    cfl.to_carto(gdf.iloc[:0], "t", credentials, if_exists="replace")


def test_a_frame_without_geometry_becomes_a_carto_table(credentials):
    cfl.to_carto(pd.DataFrame({"a": [1]}), "t", credentials)
    back = cfl.read_carto("t", credentials)
    assert back["the_geom"].isna().all()
    assert back.crs == "EPSG:4326"


def test_fail_is_the_default_and_touches_nothing(gdf, credentials):
    cfl.to_carto(gdf, "t", credentials)
    with pytest.raises(cfl.TableExistsError, match="'t' already exists"):
        cfl.to_carto(gdf.iloc[:1], "t", credentials)
    assert len(cfl.read_carto("t", credentials)) == 3


def test_append_adds_rows_and_new_ids(gdf, credentials):
    cfl.to_carto(gdf, "t", credentials)
    cfl.to_carto(gdf[["n", "geometry"]], "t", credentials, if_exists="append")
    back = cfl.read_carto("SELECT * FROM t ORDER BY cartodb_id", credentials)
    assert back["cartodb_id"].tolist() == [1, 2, 3, 4, 5, 6]
    assert back["name"].isna().tolist() == [False, False, True, True, True, True]


def test_append_refuses_columns_that_the_table_has_not(gdf, credentials, sql):
    cfl.to_carto(gdf, "t", credentials)
    with pytest.raises(cfl.ConversionError, match=r"\['extra'\]"):
        cfl.to_carto(gdf.assign(extra=1), "t", credentials, if_exists="append")
    assert leftovers(sql) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [(["x"], "is text in the frame and bigint"), ([1.5], "does not fit"), ([True], "is boolean in the frame")],
)
def test_append_refuses_what_the_column_would_change(values, message, credentials):
    cfl.to_carto(pd.DataFrame({"a": [1]}), "t", credentials)
    with pytest.raises(cfl.ConversionError, match=message):
        cfl.to_carto(pd.DataFrame({"a": values}), "t", credentials, if_exists="append")


def test_append_takes_whole_floats_for_integers(credentials):
    cfl.to_carto(pd.DataFrame({"a": [1]}), "t", credentials)
    cfl.to_carto(pd.DataFrame({"a": [2.0, np.nan]}), "t", credentials, if_exists="append")
    assert cfl.read_carto("t", credentials)["a"].tolist() == [1, 2, pd.NA]


def test_append_keeps_every_digit_of_a_float_in_numeric(credentials, sql):
    sql.send("CREATE TABLE t (a numeric)")
    cfl.to_carto(pd.DataFrame({"a": [0.1 + 0.2]}), "t", credentials, if_exists="append")
    assert sql.rows("SELECT a::text FROM t") == [{"a": "0.30000000000000004"}]


def test_a_refused_append_leaves_the_table_unchanged(credentials, sql):
    cfl.to_carto(pd.DataFrame({"a": np.array([1], "int16")}), "t", credentials)
    with pytest.raises(cfl.SQLError, match="out of range"):
        cfl.to_carto(pd.DataFrame({"a": [1, 2**40]}), "t", credentials, if_exists="append")
    assert cfl.read_carto("t", credentials)["a"].tolist() == [1]
    assert leftovers(sql) == []


def identity(sql) -> dict[str, object]:
    (row,) = sql.rows(
        "SELECT 't'::regclass::oid::int8 AS oid,"
        " has_table_privilege('publicuser', 't', 'select') AS public,"
        " to_regclass('t_n_idx') IS NOT NULL AS indexed"
    )
    return row


@pytest.mark.parametrize("columns", [["name", "n", "geometry"], ["n", "name", "geometry"], ["n"]])
def test_a_replaced_table_keeps_its_identity(columns, gdf, credentials, sql):
    cfl.to_carto(gdf, "t", credentials)
    sql.send("CREATE INDEX t_n_idx ON t (n); GRANT SELECT ON t TO publicuser")
    sql.send("CREATE VIEW v AS SELECT n FROM t")
    before = identity(sql)
    new = gdf.assign(n=[10, 20, 30])[columns]
    cfl.to_carto(new, "t", credentials, if_exists="replace")
    assert identity(sql) == before
    assert sorted(cfl.read_carto("v", credentials)["n"]) == [10, 20, 30]
    assert leftovers(sql) == []


def test_replace_with_other_columns(gdf, credentials, sql):
    cfl.to_carto(gdf, "t", credentials)
    new = gdf.assign(n=["x", "y", "z"], extra=[1.5, 2.5, None]).drop(columns="name")
    cfl.to_carto(new, "t", credentials, if_exists="replace")
    back = cfl.read_carto("SELECT * FROM t ORDER BY n", credentials)
    assert set(back.columns) == {"cartodb_id", "the_geom", "n", "extra"}
    assert back["n"].tolist() == ["x", "y", "z"]
    assert sql.rows("SELECT count(the_geom_webmercator)::int4 AS n FROM t") == [{"n": 3}]


def test_replace_widens_a_column_that_has_no_room(credentials):
    cfl.to_carto(pd.DataFrame({"a": np.array([1], "int16")}), "t", credentials)
    cfl.to_carto(pd.DataFrame({"a": [2**40]}), "t", credentials, if_exists="replace")
    assert cfl.read_carto("t", credentials)["a"].tolist() == [2**40]


def test_a_replace_blocked_by_a_view_changes_nothing(gdf, credentials, sql):
    cfl.to_carto(gdf, "t", credentials)
    sql.send("CREATE VIEW v AS SELECT name FROM t")
    with pytest.raises(cfl.SQLError, match="depend"):
        cfl.to_carto(gdf.drop(columns="name"), "t", credentials, if_exists="replace")
    assert len(cfl.read_carto("t", credentials)) == 3
    assert leftovers(sql) == []


def test_a_frame_that_was_read_can_replace_its_table(gdf, credentials):
    cfl.to_carto(gdf, "t", credentials)
    back = cfl.read_carto("t", credentials)
    back["n"] += 1
    cfl.to_carto(back.iloc[::-1], "t", credentials, if_exists="replace")
    again = cfl.read_carto("SELECT * FROM t ORDER BY cartodb_id", credentials)
    pd.testing.assert_frame_equal(again, back.sort_values("cartodb_id", ignore_index=True))


def test_geometries_are_reprojected(credentials):
    frame = gpd.GeoDataFrame({"a": [1]}, geometry=[shapely.Point(500_000, 0)], crs=32631)
    cfl.to_carto(frame, "t", credentials)
    assert cfl.read_carto("t", credentials)["the_geom"][0].equals_exact(shapely.Point(3, 0), 1e-9)


def test_a_second_geometry_keeps_its_name(gdf, credentials):
    gdf["area"] = gdf.geometry.to_crs(3857).buffer(10)
    cfl.to_carto(gdf, "t", credentials)
    back = cfl.read_carto("t", credentials)
    assert back.active_geometry_name == "the_geom"
    assert back["area"].crs == "EPSG:3857"
    assert back["area"].geom_equals(gdf["area"]).all()


def test_z_is_kept_and_a_flat_column_refuses_it(gdf, credentials):
    solid = gdf.set_geometry(shapely.force_3d(gdf.geometry.array, 5), crs=4326)
    cfl.to_carto(solid, "solid", credentials)
    assert cfl.read_carto("solid", credentials).has_z.all()
    cfl.to_carto(gdf, "flat", credentials)
    with pytest.raises(cfl.ConversionError, match="3-D in the frame and 2-D in the table"):
        cfl.to_carto(solid, "flat", credentials, if_exists="append")


def test_replace_can_change_the_dimension(gdf, credentials, sql):
    cfl.to_carto(gdf, "t", credentials)
    solid = gdf.set_geometry(shapely.force_3d(gdf.geometry.array, 5), crs=4326)
    cfl.to_carto(solid, "t", credentials, if_exists="replace")
    assert cfl.read_carto("t", credentials).has_z.all()
    sql.send("INSERT INTO t (the_geom) VALUES (ST_SetSRID(ST_MakePoint(1, 2, 3), 4326))")
    assert sql.rows("SELECT count(the_geom_webmercator)::int4 AS n FROM t") == [{"n": 4}]


def test_empty_geometries_fit_any_dimension(gdf, credentials):
    solid = gdf.set_geometry(shapely.force_3d(gdf.geometry.array, 5), crs=4326)
    empty = gdf.set_geometry(gpd.GeoSeries([shapely.Point(), None, shapely.Polygon()], crs=4326))
    cfl.to_carto(iter([solid, empty]), "t", credentials)
    cfl.to_carto(empty, "t", credentials, if_exists="append")
    assert len(cfl.read_carto("t", credentials)) == 9


def test_duplicate_labels_of_the_index_do_no_harm(credentials):
    cfl.to_carto(pd.DataFrame({"a": [1, 2, 3]}, index=[0, 0, 1]), "t", credentials)
    assert sorted(cfl.read_carto("t", credentials)["a"]) == [1, 2, 3]


@pytest.mark.filterwarnings("ignore:columns are renamed:cartoframes_lite.ConversionWarning")
@pytest.mark.parametrize(
    ("index", "label", "names"),
    [
        (None, None, ["index"]),
        (pd.Index([7, 8], name="Key"), None, ["key"]),
        (pd.Index([7, 8]), "id", ["id"]),
        (pd.MultiIndex.from_tuples([(1, "a"), (2, "b")], names=["x", "y"]), None, ["x", "y"]),
    ],
)
def test_the_index_is_written_if_asked_for(index, label, names, credentials, sql):
    frame = pd.DataFrame({"v": [1, 2]}, index=index)
    cfl.to_carto(frame, "t", credentials, index=True, index_label=label, cartodbfy=False)
    assert [column.name for column in sql.columns("t")] == [*names, "v"]


@pytest.mark.filterwarnings("ignore:columns are renamed:cartoframes_lite.ConversionWarning")
def test_names_are_normalised_and_numbers_are_names(credentials):
    cfl.to_carto(pd.DataFrame({0: [1], "Año": [2], "select": [3]}), "T-1", credentials, cartodbfy=False)
    assert list(cfl.read_carto("t_1", credentials)) == ["_0", "ano", "_select"]


def test_types_can_be_chosen(credentials, sql):
    frame = pd.DataFrame({"price": [1.239], "code": ["00123"], "id": ["00000000-0000-0000-0000-000000000001"]})
    types = {"price": "numeric(10,2)", "id": "uuid", "code": "varchar(5)"}
    cfl.to_carto(frame, "t", credentials, dtype=types)
    assert {c.name: c.pgtype for c in sql.columns("t")}.items() >= {"price": "numeric", "id": "uuid"}.items()
    assert sql.rows("SELECT price::text, code FROM t") == [{"price": "1.24", "code": "00123"}]


def test_wide_tables(credentials):
    frame = pd.DataFrame({f"a_rather_long_name_of_a_column_{i}": [i] for i in range(800)})
    cfl.to_carto(frame, "wide", credentials)
    cfl.to_carto(frame, "wide", credentials, if_exists="append")
    assert cfl.read_carto("wide", credentials).shape == (2, 802)


def test_an_iterator_is_one_table(gdf, credentials):
    cfl.to_carto((gdf.assign(n=gdf["n"] + 10 * i) for i in range(5)), "t", credentials)
    back = cfl.read_carto("SELECT * FROM t ORDER BY cartodb_id", credentials)
    assert back["cartodb_id"].tolist() == list(range(1, 16))
    assert back["n"].tolist() == [n + 10 * i for i in range(5) for n in (1, 2, 3)]
    cfl.to_carto(iter([gdf, gdf]), "t", credentials, if_exists="append")
    cfl.to_carto(iter([gdf, gdf]), "t", credentials, if_exists="replace")
    assert len(cfl.read_carto("t", credentials)) == 6


def test_an_iterator_whose_frames_differ_leaves_nothing(gdf, credentials, sql):
    with pytest.raises(cfl.ConversionError, match="a later frame"):
        cfl.to_carto(iter([gdf, gdf.drop(columns="n")]), "t", credentials)
    assert not cfl.has_table("t", credentials)
    assert leftovers(sql) == []


def test_an_iterator_that_fails_leaves_nothing(gdf, credentials, sql):
    def frames():
        yield gdf
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="the source is gone"):
        cfl.to_carto(frames(), "t", credentials)
    assert not cfl.has_table("t", credentials)
    assert leftovers(sql) == []


@pytest.mark.parametrize("error", [cfl.ConnectionFailed("the other account"), OSError("the disk")])
def test_a_failing_source_is_never_published(error, gdf, credentials, sql):
    def frames():
        yield gdf
        yield gdf
        raise error

    with pytest.raises(type(error), match=str(error)):
        cfl.to_carto(frames(), "t", credentials)
    assert not cfl.has_table("t", credentials)
    assert leftovers(sql) == []


def test_rejected_pieces_are_sent_again(gdf, monkeypatch):
    monkeypatch.setattr(staging, "CHUNK_BYTES", 100)
    monkeypatch.setattr("cartoframes_lite.write.prepare._SLICE_ROWS", 2)
    with cfl.local.start(rate_limit=(2, 1)) as limited:
        cfl.to_carto(pd.concat([gdf] * 4), "t", limited.credentials)
        back = cfl.read_carto("SELECT * FROM t ORDER BY cartodb_id", limited.credentials)
    assert back["cartodb_id"].tolist() == list(range(1, 13))
    assert back["n"].tolist() == [1, 2, 3] * 4


def test_large_frames_are_sent_in_pieces(gdf, credentials, monkeypatch):
    monkeypatch.setattr(staging, "CHUNK_BYTES", 100)
    monkeypatch.setattr("cartoframes_lite.write.prepare._SLICE_ROWS", 2)
    cfl.to_carto(pd.concat([gdf] * 10), "t", credentials)
    assert len(cfl.read_carto("t", credentials)) == 30


def test_uploads_can_be_compressed(gdf, credentials):
    cfl.to_carto(gdf, "t", credentials, compression="gzip")
    assert len(cfl.read_carto("t", credentials)) == 3


@pytest.mark.parametrize("privacy", ["public", "private", "link"])
def test_privacy_of_a_new_table(privacy, gdf, credentials):
    cfl.to_carto(gdf, "t", credentials, privacy=privacy)
    assert cfl.describe_table("t", credentials)["privacy"] == privacy


@pytest.mark.parametrize(
    ("frame", "arguments", "error", "message"),
    [
        ([1], {}, TypeError, "must be a DataFrame"),
        (5, {}, TypeError, "must be a DataFrame"),
        (iter([]), {}, ValueError, "empty iterable"),
        (pd.DataFrame({"a": [1]}), {"if_exists": "truncate"}, ValueError, "if_exists must be one of"),
        (pd.DataFrame({"a": [1]}), {"privacy": "secret"}, ValueError, "privacy must be one of"),
        (
            pd.DataFrame({"a": [1]}),
            {"privacy": "public", "cartodbfy": False},
            ValueError,
            "only a cartodbfied table has",
        ),
        (pd.DataFrame({"a": [1]}), {"compression": "zstd"}, ValueError, "compression must be one of"),
        (pd.DataFrame({"a": [1]}), {"dtype": {"b": "text"}}, ValueError, r"dtype has the keys \['b'\]"),
        (pd.DataFrame({"a": [1]}), {"dtype": {"a": "text; DROP TABLE x"}}, ValueError, "PostgreSQL type"),
        (pd.DataFrame({"a": [1]}), {"geom_col": "g"}, ValueError, "geom_col='g' is not a column"),
        (pd.DataFrame({"a": [1]}), {"geom_col": "a"}, cfl.ConversionError, "set its CRS"),
        (pd.DataFrame({"a": [shapely.Point(0, 0)]}), {}, cfl.ConversionError, "no CRS"),
        (gpd.GeoDataFrame(geometry=[shapely.Point(0, 0)]), {}, cfl.ConversionError, "set_crs"),
        (pd.DataFrame({"a": [1], "A": [2]}), {}, cfl.ConversionError, "'a' and 'A'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), {}, cfl.ConversionError, "'a' and 'a'"),
        (pd.DataFrame({"the_geom_webmercator": [1]}), {}, cfl.ConversionError, "CARTO computes"),
        (pd.DataFrame({"cartodb_id": [1, 1]}), {}, cfl.ConversionError, "unique integers"),
        (pd.DataFrame({"cartodb_id": ["a"]}), {}, cfl.ConversionError, "unique integers"),
        (pd.DataFrame({"c": [1j]}), {}, cfl.ConversionError, "'c'"),
        (pd.DataFrame({"the_geom": ["POINT (0 0)"]}), {}, cfl.ConversionError, "not a geometry"),
        (pd.DataFrame({"s": ["\0"]}), {}, cfl.ConversionError, r"U\+0000"),
    ],
)
def test_bad_input_is_refused_before_the_first_request(frame, arguments, error, message):
    nowhere = cfl.Credentials("ann", "key", base_url="http://127.0.0.1:9/user/ann")
    with pytest.raises(error, match=message):
        cfl.to_carto(frame, "t", nowhere, **arguments)


def test_the_line_that_says_the_crs_can_be_run(credentials):
    gdf = gpd.GeoDataFrame(geometry=[shapely.Point(0, 0)])
    with pytest.raises(cfl.ConversionError) as refused:
        cfl.to_carto(gdf, "t", credentials)
    exec(str(refused.value).partition("set it: ")[2], {"gdf": gdf})
    assert cfl.to_carto(gdf, "t", credentials) == "t"


def test_writes_with_a_public_key_leave_nothing(gdf, carto, sql):
    public = cfl.Credentials(base_url=carto.base_url)
    with pytest.raises(cfl.PermissionDenied, match="default_public"):
        cfl.to_carto(gdf, "t", public)
    assert leftovers(sql) == []


def test_frames_remember_their_table_and_no_key(gdf, credentials):
    cfl.to_carto(gdf, "t", credentials)
    assert gdf.attrs["carto"]["table"] == "t"
    assert credentials.api_key not in repr(gdf.attrs)


_NAME_A_TABLE = "from cartoframes_lite.write import staging_names; print(staging_names.staging_name(), flush=True)"


def lease(sql, name: str, hours: int) -> None:
    """Create a staging table whose lease expires after a number of hours."""
    sql.send(f'CREATE TABLE "{name}" (a int)')
    sql.send(set_lease("public", name).join(("DO $$ BEGIN ", " END $$")).replace("interval '24", f"interval '{hours}"))


def test_only_abandoned_staging_tables_are_dropped(gdf, credentials, sql):
    ended = subprocess.run([sys.executable, "-c", _NAME_A_TABLE], capture_output=True, text=True, check=True).stdout
    script = [sys.executable, "-c", f"{_NAME_A_TABLE}; input()"]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as living:
        alive = living.stdout.readline().strip()
        given_up = staging_names.staging_name()
        going_on = staging_names.staging_name()
        elsewhere, old = f"{staging_names.PREFIX}00000000_00000000", f"{staging_names.PREFIX}00000000_00000001"
        for name in (ended.strip(), alive, given_up, going_on, elsewhere):
            lease(sql, name, 24)
        lease(sql, old, -1)
        staging_names.active_writes.add(going_on)
        cfl.to_carto(gdf, "t", credentials)
        staging_names.active_writes.discard(going_on)
        assert leftovers(sql) == sorted([alive, going_on, elsewhere])
        living.communicate("")


def test_a_lease_renewed_late_keeps_its_table(credentials, sql):
    name = f"{staging_names.PREFIX}00000000_00000000"
    lease(sql, name, -1)
    target = _target.inspect_target(cfl.Client(credentials), "t")
    assert target.leftovers == ((name, True),)
    sql.send(renew_lease("public", name))
    _target.drop_stale_staging(target)
    assert leftovers(sql) == [name]


def test_a_write_renews_its_lease(gdf, credentials, sql, monkeypatch):
    monkeypatch.setattr(_lease, "RENEW_S", 0.05)
    seen: list[str] = []

    def frames():
        for number in range(3):
            (row,) = sql.rows(f"SELECT obj_description('{leftovers(sql)[0]}'::regclass) AS until") if number else [{}]
            seen.extend(row.values())
            time.sleep(1.1)
            yield gdf

    monkeypatch.setattr(staging, "CHUNK_BYTES", 1)
    cfl.to_carto(frames(), "t", credentials)
    assert len(set(seen)) == 2


def test_a_copy_of_a_lock_file_proves_nothing(tmp_path):
    """A container cloned from the disk of another one has the same kernel, and so the same boot id."""
    name = staging_names.begin_write()
    original = staging_names._path(name)
    copy = tmp_path / original.parent.name / original.name
    copy.parent.mkdir()
    copy.write_bytes(original.read_bytes())
    script = (
        "import sys; from cartoframes_lite.write.staging_names import is_abandoned;"
        " print([is_abandoned(sys.argv[1], lease_has_expired=has) for has in (False, True)])"
    )
    python = [sys.executable, "-c", script, name]
    here = subprocess.run(python, capture_output=True, text=True, check=True).stdout
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    there = subprocess.run(python, capture_output=True, text=True, check=True, env=environment).stdout
    assert (here.strip(), there.strip()) == ("[False, False]", "[False, True]")
    staging_names.end_write(name)
    assert subprocess.run(python, capture_output=True, text=True, check=True).stdout.strip() == "[True, True]"
    original.unlink()


def test_cloned_processes_keep_each_others_writes():
    """Cloned processes share memory: a process treats only writes that it began itself as ended."""
    name = staging_names.staging_name()
    theirs = f"{name[:-8]}{'0' * 8}"
    assert staging_names.is_abandoned(name, lease_has_expired=False)
    assert not staging_names.is_abandoned(theirs, lease_has_expired=False)
    assert not staging_names.is_abandoned(f"{theirs}_0_abcdef", lease_has_expired=False)
    staging_names.end_write(name, leaves_nothing=True)


def test_a_write_that_is_over_leaves_no_lock_file(gdf, credentials, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    cfl.to_carto(gdf, "t", credentials)
    cfl.copy_table("t", "u", credentials)
    assert list(staging_names._folder().iterdir()) == []


def test_stale_lock_files_are_removed_once_a_day(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))

    def old_lock_file():
        name = staging_names.begin_write()
        staging_names.end_write(name)
        os.utime(staging_names._path(name), (0, 0))
        return staging_names._path(name)

    first, second = old_lock_file(), old_lock_file()
    assert first.exists()  # the cleanup was before
    staging_names._last_cleanups.clear()
    third = old_lock_file()
    assert [path.exists() for path in (first, second, third)] == [False, False, True]


def test_cloned_machines_keep_each_others_staging_tables(credentials, sql):
    script = (
        "import os, platform, sys, time, uuid\n"
        "platform.node = lambda: 'clone'; uuid.getnode = lambda: 1; os.getpid = lambda: 7\n"
        "now = time.time; time.time = lambda: now() + float(sys.argv[3])\n"
        "import pandas as pd, cartoframes_lite as cfl\n"
        "def frames():\n"
        "    yield pd.DataFrame({'a': [1]})\n"
        "    if sys.argv[4] == 'slow': print('sending', flush=True); input()\n"
        "    yield pd.DataFrame({'a': [2]})\n"
        "from cartoframes_lite.write import staging; staging.CHUNK_BYTES = 1\n"
        "cfl.to_carto(frames(), sys.argv[4], cfl.Credentials(api_key=sys.argv[1], base_url=sys.argv[2]))\n"
    )
    python = [sys.executable, "-c", script, str(credentials.api_key), str(credentials.base_url)]
    with subprocess.Popen(
        [*python, "-90000", "slow"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as slow:
        assert slow.stdout.readline() == "sending\n"
        subprocess.run([*python, "90000", "quick"], check=True)
        cfl.to_carto(pd.DataFrame({"a": [0]}), "another", credentials)
        slow.communicate("\n")
        assert slow.returncode == 0
    assert sorted(cfl.read_carto("slow", credentials)["a"]) == [1, 2]


def test_the_next_write_drops_tables_of_killed_writers(gdf, credentials, sql):
    script = (
        "import os, signal, sys\n"
        "import pandas as pd, cartoframes_lite as cfl\n"
        "def frames():\n"
        "    yield pd.DataFrame({'a': [1]})\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "cfl.to_carto(frames(), 't', cfl.Credentials(api_key=sys.argv[1], base_url=sys.argv[2]))\n"
    )
    arguments = [sys.executable, "-c", script, str(credentials.api_key), str(credentials.base_url)]
    assert subprocess.run(arguments, check=False).returncode == -9
    assert not cfl.has_table("t", credentials)
    assert len(leftovers(sql)) == 1
    deadline = time.monotonic() + 20
    while leftovers(sql) and time.monotonic() < deadline:  # the server may keep the broken upload open for seconds
        cfl.to_carto(gdf, "other", credentials, if_exists="replace")
    assert leftovers(sql) == []


def test_readers_see_the_old_table_or_the_new_one(credentials):
    frame = pd.DataFrame({"version": [0] * 5000})
    cfl.to_carto(frame, "t", credentials)
    seen: list[tuple[int, list[int]]] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            back = cfl.read_carto("t", credentials, progress=False)
            seen.append((len(back), back["version"].unique().tolist()))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for version in range(1, 6):
        cfl.to_carto(frame.assign(version=version), "t", credentials, if_exists="replace", progress=False)
    stop.set()
    for reader in readers:
        reader.join()
    assert {rows for rows, _ in seen} == {5000}
    assert all(len(versions) == 1 for _, versions in seen)


def test_two_replaces_at_once_leave_one_of_them(credentials):
    frame = pd.DataFrame({"version": [0] * 2000})
    cfl.to_carto(frame, "t", credentials)
    arguments = {"if_exists": "replace", "progress": False}
    writers = [
        threading.Thread(target=cfl.to_carto, args=(frame.assign(version=version), "t", credentials), kwargs=arguments)
        for version in range(4)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    back = cfl.read_carto("t", credentials)
    assert len(back) == 2000
    assert back["version"].nunique() == 1


def test_the_name_of_a_system_table_is_refused():
    with pytest.raises(ValueError, match="'pg_class' begins with"):
        cfl.to_carto(pd.DataFrame({"a": [1]}), "pg_class", cfl.Credentials("ann", "key"))


@pytest.mark.parametrize("if_exists", ["append", "replace"])
def test_a_frame_without_columns_cannot_go_into_a_table(if_exists, gdf, credentials, sql):
    cfl.to_carto(gdf, "t", credentials)
    with pytest.raises(cfl.ConversionError, match="no columns"):
        cfl.to_carto(pd.DataFrame(index=range(3)), "t", credentials, if_exists=if_exists)
    assert len(cfl.read_carto("t", credentials)) == 3
    assert leftovers(sql) == []


def test_names_of_63_bytes_can_do_everything(gdf, credentials):
    name = cfl.to_carto(gdf, "x" * 80, credentials)
    assert name == "x" * 63
    cfl.to_carto(gdf, name, credentials, if_exists="append")
    cfl.to_carto(gdf.assign(z=1), name, credentials, if_exists="replace")
    assert len(cfl.read_carto(name, credentials)) == 3


def test_frames_with_decimals_of_growing_length(credentials):
    frames = [pd.DataFrame({"a": [Decimal(text)]}) for text in ("1.5", "100000.12345", "1E-12")]
    cfl.to_carto(iter(frames), "t", credentials)
    back = cfl.read_carto("SELECT a FROM t ORDER BY cartodb_id", credentials, coerce_float=False)
    assert back["a"].tolist() == [Decimal("1.5"), Decimal("100000.12345"), Decimal("1E-12")]
