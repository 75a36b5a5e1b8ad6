"""Names of tables, columns and schemas are never executed and never refer to another object."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from psycopg import sql

import cartoframes_lite as cfl
from cartoframes_lite._codec.names import normalize
from tests.security.api_calls import APICalls
from tests.security.db_snapshot import DatabaseSnapshots, differences
from tests.security.hostile_names import NAMES

Call = Callable[[str, cfl.Credentials], object]
POINTS = gpd.GeoDataFrame({"a": [1, 2]}, geometry=gpd.points_from_xy([0, 1], [2, 3]), crs=4326)
PLAIN = pd.DataFrame({"a": [1, 2]})
STYLE = {"cartocss": "#layer {marker-width: 7}", "cartocss_version": "2.3.0"}
EXPECTED = (cfl.CartoError, ValueError, TypeError, LookupError, OSError)


def named(column: str) -> pd.DataFrame:
    return pd.DataFrame({"a": [1], column: ["x"]})


def layer(**options: object) -> dict[str, object]:
    return {"type": "mapnik", "options": {"sql": "SELECT * FROM target", **STYLE, **options}}


def dataview(**options: object) -> dict[str, object]:
    views = {"v": {"type": "aggregation", "source": {"id": "n"}, "options": {"aggregation": "count", **options}}}
    nodes = [{"id": "n", "type": "source", "params": {"query": "SELECT * FROM target"}}]
    return {"layers": [layer()], "dataviews": views, "analyses": nodes}


# Each takes a name, and may make, change or drop a table that is named so, or the one that is called target.
TABLES: dict[str, Call] = {
    "to_carto": lambda n, c: cfl.to_carto(POINTS, n, c),
    "to_carto replace": lambda n, c: cfl.to_carto(PLAIN, n, c, if_exists="replace"),
    "to_carto append": lambda n, c: cfl.to_carto(PLAIN, n, c, if_exists="append", cartodbfy=False),
    "rename_table": lambda n, c: cfl.rename_table("target", n, c),
    "rename_table replace": lambda n, c: cfl.rename_table("target", n, c, if_exists="replace"),
    "rename_table from": lambda n, c: cfl.rename_table(n, "renamed", c),
    "copy_table": lambda n, c: cfl.copy_table("target", n, c),
    "copy_table replace": lambda n, c: cfl.copy_table("target", n, c, if_exists="replace"),
    "copy_table from": lambda n, c: cfl.copy_table(n, "renamed", c),
    "create_table_from_query": lambda n, c: cfl.create_table_from_query("SELECT 1 AS a", n, c, if_exists="replace"),
    "delete_table": cfl.delete_table,
    "has_table": cfl.has_table,
    "has_table schema": lambda n, c: cfl.has_table("target", c, schema=n),
    "describe_table": cfl.describe_table,
    "describe_table schema": lambda n, c: cfl.describe_table("target", c, schema=n),
    "update_privacy_table": lambda n, c: cfl.update_privacy_table(n, "public", c),
    "read_carto schema": lambda n, c: cfl.read_carto("target", c, schema=n),
    "Dataset append": lambda n, c: cfl.Dataset(n, c).append(PLAIN),
    "Dataset read": lambda n, c: cfl.Dataset(n, c).read(),
    "Dataset to_file": lambda n, c: cfl.Dataset(n, c).to_file("export.csv", format="csv"),
    "Dataset map": lambda n, c: cfl.Dataset(n, c).map().layergroup_id,
    "Layer": lambda n, c: cfl.AnonymousMap(cfl.Layer(cfl.Dataset(n, c)), c).layergroup_id,
    "Dataset columns": lambda n, c: cfl.Dataset(n, c).columns(),
    "Dataset rename": lambda n, c: cfl.Dataset(n, c).rename("renamed"),
    "Dataset rename to": lambda n, c: cfl.Dataset("target", c).rename(n),
    "Dataset delete": lambda n, c: cfl.Dataset(n, c).delete(force=True),
    "Dataset info": lambda n, c: cfl.Dataset(n, c).info(),
    "Dataset update": lambda n, c: cfl.Dataset("target", c).update(description=n, tags=[n], license=n),
    "Dataset privacy": lambda n, c: setattr(cfl.Dataset(n, c), "privacy", "public"),
    "Dataset share": lambda n, c: cfl.Dataset("target", c).share(n),
    "Dataset sync": lambda n, c: cfl.Dataset(n, c).sync,
    "Dataset html": lambda n, c: cfl.Dataset(n, c)._repr_html_(),
    "Dataset from_table": lambda n, c: cfl.Dataset.from_table(n, c, name="renamed"),
}
COLUMNS: dict[str, Call] = {
    "column": lambda n, c: cfl.to_carto(named(n), "target", c, if_exists="replace"),
    "column append": lambda n, c: cfl.to_carto(named(n), "target", c, if_exists="append"),
    "index_label": lambda n, c: cfl.to_carto(PLAIN, "target", c, if_exists="replace", index=True, index_label=n),
    "geom_col": lambda n, c: cfl.to_carto(
        POINTS.rename_geometry(n).assign(z=POINTS.geometry), "target", c, if_exists="replace", geom_col=n
    ),
    "dtype key": lambda n, c: cfl.to_carto(named(n), "target", c, if_exists="replace", dtype={n: "varchar(9)"}),
    "dtype of none": lambda n, c: cfl.to_carto(PLAIN, "target", c, if_exists="replace", dtype={n: "text"}),
    "dtype value": lambda n, c: cfl.to_carto(PLAIN, "target", c, if_exists="replace", dtype={"a": n}),
    "dtype of a new column": lambda n, c: cfl.to_carto(named("b"), "target", c, if_exists="replace", dtype={"b": n}),
    "columns": lambda n, c: cfl.read_carto("target", c, columns=["a", n]),
    "index_col": lambda n, c: cfl.read_carto("target", c, index_col=n),
    "color_by": lambda n, c: cfl.AnonymousMap(cfl.Layer("target", color_by=n), c).layergroup_id,
    "size_by": lambda n, c: cfl.AnonymousMap(cfl.Layer("target", size_by=n), c).layergroup_id,
    "interactivity": lambda n, c: cfl.AnonymousMap(cfl.Layer("target", interactivity=[n]), c).layergroup_id,
    "attributes": lambda n, c: cfl.AnonymousMap([layer(attributes={"id": n, "columns": [n]})], c).attributes(0, 1),
    "dataview column": lambda n, c: cfl.AnonymousMap(dataview(column=n), c).dataview("v"),
    "dataview search": lambda n, c: cfl.AnonymousMap(dataview(column="a"), c).dataview("v", search=n),
    "aggregation": lambda n, c: (
        cfl.AnonymousMap(
            [
                layer(
                    aggregation={"columns": {n: {"aggregate_function": "sum", "aggregated_column": n}}, "threshold": 1}
                )
            ],
            c,
        ).layergroup_id
    ),
    "aggregation dimension": lambda n, c: (
        cfl.AnonymousMap(
            [layer(aggregation={"dimensions": {n: n}, "threshold": 1, "placement": "centroid"})], c
        ).layergroup_id
    ),
}

# These wait for CARTO's catalog, half a minute if a table is none that it has.
WAITING = ("describe_table", "update_privacy_table", "Dataset info", "Dataset privacy")


@pytest.fixture
def attack(
    api_calls: APICalls,
    db_snapshots: DatabaseSnapshots,
    credentials: cfl.Credentials,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Call, str], None]:
    monkeypatch.chdir(tmp_path)  # a file that is written replaces the one that was there, be it a device
    before = db_snapshots.snapshot()

    def attack(call: Call, name: str) -> None:
        api_calls.run("CREATE TABLE target (a int); INSERT INTO target VALUES (1); SELECT CDB_CartodbfyTable('target')")
        with suppress(*EXPECTED):
            call(name, credentials)
        db_snapshots.drop_new()
        assert differences(before, db_snapshots.snapshot()) == {}

    return attack


@pytest.mark.filterwarnings("ignore:columns are renamed:cartoframes_lite.ConversionWarning")
@pytest.mark.parametrize("kind", ["tables", "columns"])
def test_nothing_else_is_changed(attack, is_long, kind):
    calls = TABLES if kind == "tables" else COLUMNS

    @settings(max_examples=2_000 if is_long else 15, deadline=None)
    @given(NAMES, st.sampled_from(sorted(calls)))
    def holds(name: str, call: str) -> None:
        assume(normalize(name) not in ("bystander", "looking", "target", "renamed"))
        assume(name != "spatial_ref_sys" or call not in WAITING)
        attack(calls[call], name)

    holds()


@pytest.mark.filterwarnings("ignore:columns are renamed:cartoframes_lite.ConversionWarning")
@pytest.mark.parametrize("call", [*TABLES, *COLUMNS])
def test_each_of_them_takes_hostile_names(attack, call):
    for name in (
        'x"; DROP TABLE bystander; --',
        "x'); DROP TABLE bystander; --",
        "x\0y",
        "select 1) AS q; DROP TABLE bystander CASCADE; SELECT (1",
        "select null::geometry AS the_geom_webmercator) AS q; DROP TABLE bystander CASCADE;"
        " SELECT 1 AS d FROM (SELECT null::geometry AS the_geom_webmercator",
    ):
        attack({**TABLES, **COLUMNS}[call], name)


@pytest.mark.parametrize(
    "kind",
    [
        "int REFERENCES bystander",
        "int UNIQUE",
        "text COLLATE ucs_basic",
        "int NULL PRIMARY KEY",
        "int GENERATED ALWAYS AS IDENTITY",
        "SETOF int",
        "int, DROP COLUMN b",
        "bystander_a_seq DEFAULT counting()",
    ],
)
def test_a_type_is_not_more_than_a_type(attack, kind):
    with pytest.raises(ValueError, match="not the name of a PostgreSQL type"):
        cfl.to_carto(PLAIN, "x", cfl.Credentials("nobody", "key"), dtype={"a": kind})
    attack(COLUMNS["dtype of a new column"], kind)


@pytest.mark.parametrize(
    "name", ['a"b', "a'b; --", "sélect", "日本" * 10, "$publish$", "a\\b", "%s {0}", "x" * 63, " a "]
)
def test_hostile_names_refer_to_the_right_tables(api_calls, db_snapshots, credentials, name):
    quoted = sql.Identifier(name).as_string()
    api_calls.run(f"CREATE TABLE {quoted} AS SELECT 7 AS {quoted}; CREATE TABLE free AS SELECT 1 AS a")
    before = db_snapshots.snapshot()
    assert cfl.has_table(name, credentials)
    assert cfl.Dataset(name, credentials).columns() == {name: "int4"}
    if name.strip() == name:
        assert cfl.read_carto(name, credentials, columns=[name])[name].tolist() == [7]
    assert differences(before, db_snapshots.snapshot()) == {}
    assert cfl.copy_table(name, "free", credentials, if_exists="replace", cartodbfy=False) == "free"
    assert cfl.read_carto("free", credentials)[name].tolist() == [7]
    assert cfl.rename_table(name, "free", credentials, if_exists="replace") == "free"
    assert not cfl.has_table(name, credentials)
    assert cfl.delete_table("free", credentials)
    assert [row["b"] for row in api_calls.run("SELECT b FROM bystander ORDER BY a")] == ["secret", "kept"]


@pytest.mark.parametrize("name", ["é" * 31 + "日", "x" * 62 + "é", "a" * 61 + "😀"])
def test_names_over_63_bytes_are_refused(credentials, name):
    assert len(name.encode()) > 63
    for call in (cfl.has_table, cfl.delete_table, cfl.describe_table, cfl.read_carto):
        with pytest.raises(ValueError, match="longer than 63 bytes"):
            call(name, credentials)


@pytest.mark.parametrize(
    "labels",
    [
        ("A b", "a-b"),
        ("x" * 63 + "1", "x" * 63 + "2"),
        ("é" * 70, "e" * 65),
        ("日", "Ri "),
        ("1", 1),
        ("select", "_select"),
    ],
)
def test_two_columns_that_become_one_are_both_named(labels):
    with pytest.raises(cfl.ConversionError) as caught:
        cfl.to_carto(pd.DataFrame([[1, 2]], columns=list(labels)), "t", cfl.Credentials("nobody", "key"))
    assert all(repr(label) in str(caught.value) for label in labels)


@pytest.mark.parametrize("if_exists", ["replace", "append"])
def test_tables_with_a_common_prefix_are_distinct(credentials, if_exists):
    first, second = "x" * 63 + "_2023", "x" * 63 + "_2024"
    table = cfl.to_carto(PLAIN, first, credentials)
    writes = [lambda: cfl.to_carto(PLAIN, second, credentials, if_exists=if_exists)]
    if if_exists == "replace":
        writes += [
            lambda: cfl.copy_table("other", second, credentials, if_exists="replace"),
            lambda: cfl.create_table_from_query("SELECT 1 AS b", second, credentials, if_exists="replace"),
            lambda: cfl.rename_table("other", second, credentials, if_exists="replace"),
        ]
    cfl.to_carto(PLAIN.assign(b=1), "other", credentials)
    for write in writes:
        with pytest.raises(ValueError, match=r"already exists|exists already|is there already") as caught:
            write()
        assert repr(table) in str(caught.value)
        assert repr(second) in str(caught.value)
    assert list(cfl.read_carto(table, credentials, columns=["a"])["a"]) == [1, 2]


def test_existing_tables_are_reported_by_the_given_name(credentials):
    cfl.to_carto(PLAIN, "my_table", credentials)
    with pytest.raises(cfl.TableExistsError, match=r"'my_table' \(normalized from 'My Täble'\) already exists"):
        cfl.to_carto(PLAIN, "My Täble", credentials)


def test_tables_of_other_schemas_are_not_replaced(api_calls, db_snapshots, credentials):
    role = api_calls.run("SELECT current_user AS role")[0]["role"]
    api_calls.run(f'ALTER ROLE "{role}" SET search_path = public, other, cartodb')
    end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s"
    db_snapshots.connection.execute(end, (role,))  # sessions that are kept have the old one
    assert api_calls.run("SHOW search_path") == [{"search_path": "public, other, cartodb"}]
    api_calls.run("CREATE TABLE other.elsewhere AS SELECT 'kept' AS a; CREATE TABLE here AS SELECT 1 AS a")
    for replace in (
        lambda: cfl.copy_table("here", "elsewhere", credentials, if_exists="replace"),
        lambda: cfl.create_table_from_query("SELECT 2 AS a", "elsewhere", credentials, if_exists="replace"),
        lambda: cfl.rename_table("here", "elsewhere", credentials, if_exists="replace"),
    ):
        replace()
        assert api_calls.run("SELECT a FROM other.elsewhere") == [{"a": "kept"}]
        assert cfl.delete_table("elsewhere", credentials)
    assert not cfl.delete_table("elsewhere", credentials)
    assert api_calls.run("SELECT a FROM other.elsewhere") == [{"a": "kept"}]
