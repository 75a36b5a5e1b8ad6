from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg import sql

from cartoframes_lite.local.imports.files import (
    GuessingOptions,
    ImportJobError,
    publish,
    replace,
    stage_file,
    stage_query,
)
from cartoframes_lite.local.plan import Plan
from cartoframes_lite.local.state import State
from tests.local.imports.files.conftest import Importer

Connection = psycopg.Connection[Any]


def query(importer: Importer, text: str, name: str = "t", *, strategy: str | None = None) -> list[str]:
    staged = stage_query(importer.connection, text, name=name, plan=importer.plan)
    return publish(importer.connection, [staged], collision_strategy=strategy, plan=importer.plan)


def one(connection: Connection, text: str) -> Any:
    row = connection.execute(sql.SQL(text)).fetchone()
    assert row is not None
    return row[0]


def test_names_that_are_taken_get_a_number(importer: Importer) -> None:
    path = importer.write("t.csv", "a\n1\n")
    importer.connection.execute("CREATE VIEW t_1 AS SELECT 1")
    assert [importer.run(path), importer.run(path)] == [["t"], ["t_2"]]


def test_sequences_and_indexes_are_called_like_their_table(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "a\n1\n"))
    named = importer.connection.execute(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname LIKE 't%' ORDER BY 1"
    ).fetchall()
    assert named == [("t",), ("t_cartodb_id_seq",), ("t_pkey",), ("t_the_geom_idx",), ("t_the_geom_webmercator_idx",)]
    assert not one(importer.connection, "SELECT count(*) FROM pg_class WHERE relname LIKE 'import\\_%'")


def test_collision_strategy_skip(importer: Importer) -> None:
    query(importer, "SELECT 1 AS a")
    assert importer.run(importer.write("t.csv", "a\n2\n"), strategy="skip") == []
    assert importer.rows("t", "a") == [(1,)]
    assert importer.run(importer.write("u.csv", "a\n2\n"), strategy="skip") == ["u"]
    assert not one(importer.connection, "SELECT count(*) FROM pg_class WHERE relname LIKE 'import\\_%'")


def test_overwriting_keeps_the_table_itself(importer: Importer) -> None:
    connection = importer.connection
    importer.run(importer.write("t.csv", "a,lat,lon\n1,1,2\n2,3,4\n3,5,6\n"))
    connection.execute("CREATE VIEW v AS SELECT sum(a) AS total FROM t")
    connection.execute("CREATE INDEX own_index ON t (a)")
    connection.execute("GRANT SELECT ON t TO publicuser")
    oid = one(connection, "SELECT 't'::regclass::oid")
    path = importer.write("t.csv", "new,lon,a,lat\nx,20,10,10\ny,30,20,10\n")
    assert importer.run(path, strategy="overwrite") == ["t"]
    assert one(connection, "SELECT 't'::regclass::oid") == oid
    assert one(connection, "SELECT total FROM v") == 30
    assert one(connection, "SELECT has_table_privilege('publicuser', 't', 'SELECT')")
    assert one(connection, "SELECT 'own_index'::regclass::text") == "own_index"
    assert importer.rows("t", "cartodb_id", "a", "_new", "ST_X(the_geom)", "round(ST_X(the_geom_webmercator))") == [
        (1, 10, "x", 20.0, 2226390.0),
        (2, 20, "y", 30.0, 3339585.0),
    ]
    connection.execute("INSERT INTO t (a) VALUES (5)")
    assert one(connection, "SELECT max(cartodb_id) FROM t") == 3


def test_overwriting_what_does_not_exist(importer: Importer) -> None:
    assert importer.run(importer.write("t.csv", "a\n1\n"), strategy="overwrite") == ["t"]


@pytest.mark.parametrize("header", ["b\n1", "a\nx", "a\n2020-01-01T00:00:00Z"])
def test_other_columns_are_refused(importer: Importer, header: str) -> None:
    importer.run(importer.write("t.csv", "a\n1\n"))
    assert importer.code(importer.write("t.csv", f"{header}\n"), strategy="overwrite") == 2012


@pytest.mark.parametrize(("old", "new", "kind"), [("1", "1.5", "double precision"), ("1.5", "1", "double precision")])
def test_columns_of_numbers_take_wider_types(importer: Importer, old: str, new: str, kind: str) -> None:
    importer.run(importer.write("t.csv", f"a\n{old}\n"))
    assert importer.run(importer.write("t.csv", f"a\n{new}\n"), strategy="overwrite") == ["t"]
    assert importer.rows("t", "a") == [(float(new),)]
    assert importer.columns("t")["a"] == kind


def test_longer_texts_widen_their_column(importer: Importer) -> None:
    query(importer, "SELECT 'abc'::varchar(3) AS a")
    assert query(importer, "SELECT 'abcdef'::varchar(6) AS a", strategy="overwrite") == ["t"]
    assert importer.own_columns("t") == {"a": "character varying(6)"}


def test_types_that_views_depend_on_are_kept(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "a\n1\n"))
    importer.connection.execute("CREATE VIEW v AS SELECT a FROM t")
    assert importer.code(importer.write("t.csv", "a\n1.5\n"), strategy="overwrite") == 2013


def test_z_does_not_fit_a_flat_table(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "geom\nPOINT(1 2)\n"))
    assert importer.code(importer.write("t.csv", "geom\nPOINT Z (1 2 3)\n"), strategy="overwrite") == 2012


def test_what_is_no_table_is_refused(importer: Importer) -> None:
    importer.connection.execute("CREATE VIEW t AS SELECT 1 AS a")
    assert importer.code(importer.write("t.csv", "a\n1\n"), strategy="overwrite") == 2013
    staged = stage_query(importer.connection, "SELECT 1 AS a", name="x", plan=Plan())
    with pytest.raises(ImportJobError, match="2013"):
        replace(importer.connection, staged, "nowhere")


def test_tables_of_others_are_refused(importer: Importer, state: State) -> None:
    with state.admin() as admin:
        admin.execute("CREATE TABLE public.theirs (a integer)")
        admin.execute("REVOKE ALL ON public.theirs FROM PUBLIC")
    path = importer.write("theirs.csv", "a\n1\n")
    assert importer.code(path, strategy="overwrite") == 2013


def test_an_unknown_collision_strategy_is_refused(importer: Importer) -> None:
    with pytest.raises(ValueError, match="replace"):
        publish(importer.connection, [], collision_strategy="replace", plan=Plan())


def test_overwriting_when_the_account_is_full(importer: Importer) -> None:
    plan = Plan(tables=1)
    path = importer.write("t.csv", "a\n1\n")
    importer.run(path, plan=plan)
    assert importer.run(path, plan=plan, strategy="overwrite") == ["t"]
    assert importer.run(path, plan=plan, strategy="skip") == []
    assert importer.code(path, plan=plan) == 8002


def test_a_query(importer: Importer) -> None:
    text = "SELECT 'x;%' AS a, ST_SetSRID(ST_MakePoint(2, 1), 4326) AS g -- a comment"
    assert query(importer, text, "My Query") == ["my_query"]
    assert importer.points("my_query") == ["SRID=4326;POINT(2 1)"]
    assert importer.rows("my_query", "cartodb_id", "a") == [(1, "x;%")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("SELECT * FROM nowhere", 8003),
        ("SELECT 1 / 0 AS a", 8003),
        ("SELECT 1 WHERE 'x'::text = 1", 8004),
        ("", 8003),
        ("SELECT 1 AS a; COMMIT", 8003),
        ("SELECT 1 AS a, 2 AS a", 8003),
        ("SELECT 1 AS cartodb_id FROM generate_series(1, 2)", 2011),
        ("SELECT 1 AS a FROM generate_series(1, 6)", 6668),
        ("SELECT 1 AS a, 2 AS b, 3 AS c, 4 AS d", 2004),
    ],
)
def test_queries_that_are_refused(importer: Importer, text: str, code: int) -> None:
    with pytest.raises(ImportJobError) as refused:
        stage_query(importer.connection, text, name="t", plan=Plan(rows=5, columns=3))
    assert refused.value.code == code


def test_two_imports_do_not_get_one_name(importer: Importer, state: State) -> None:
    """The second import waits until the first is committed, and then finds its table."""
    path = importer.write("t.csv", "a\n1\n")
    staged = importer.stage(path)
    with psycopg.connect(state.conninfo(state.owner_role)) as other:
        other.execute("SELECT 1")  # begins a transaction
        others = stage_file(
            other, path, file_name="t.csv", options=GuessingOptions(), plan=Plan(), directory=importer.temporary
        ).tables
        assert publish(other, others, collision_strategy=None, plan=Plan()) == ["t"]
        importer.connection.execute("SET LOCAL lock_timeout = '50ms'")
        with pytest.raises(psycopg.errors.LockNotAvailable), importer.connection.transaction():
            publish(importer.connection, staged, collision_strategy=None, plan=Plan())
        other.commit()
        assert publish(importer.connection, staged, collision_strategy=None, plan=Plan()) == ["t_1"]


@pytest.mark.parametrize(("old", "new"), [("bigint", "integer"), ("integer", "bigint"), ("smallint", "integer")])
def test_types_of_ids_may_differ(importer: Importer, old: str, new: str) -> None:
    query(importer, f"SELECT 1::{old} AS cartodb_id, 'x' AS a")
    importer.connection.execute(f"ALTER TABLE t ALTER cartodb_id TYPE {old}")
    assert query(
        importer, f"SELECT n::{new} AS cartodb_id, 'y' AS a FROM generate_series(5, 6) n", strategy="overwrite"
    )
    assert importer.rows("t", "cartodb_id") == [(5,), (6,)]
    assert importer.columns("t")["cartodb_id"] == old


def test_ids_that_do_not_fit_are_given_anew(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "cartodb_id,a\n7,x\n"))
    importer.run(importer.write("t.csv", "cartodb_id,a\n30000000000,x\n20000000000,y\n"), strategy="overwrite")
    assert importer.rows("t", "cartodb_id", "a") == [(1, "y"), (2, "x")]
    importer.connection.execute("INSERT INTO t (a) VALUES ('z')")
    assert importer.rows("t", "cartodb_id") == [(1,), (2,), (3,)]


@pytest.mark.parametrize(
    ("old", "new"),
    [("bigint", "integer"), ("double precision", "integer"), ("double precision", "bigint"), ("numeric", "bigint")],
)
def test_numbers_keep_the_wider_type(importer: Importer, old: str, new: str) -> None:
    query(importer, f"SELECT 1::{old} AS a")
    assert query(importer, f"SELECT 2::{new} AS a", strategy="overwrite") == ["t"]
    assert importer.rows("t", "a") == [(2,)]
    assert importer.own_columns("t") == {"a": old}
    query(importer, f"SELECT 1::{new} AS a", name="u")
    assert query(importer, f"SELECT 2::{old} AS a", name="u", strategy="overwrite") == ["u"]
    assert importer.own_columns("u") == {"a": old}


def test_a_name_that_somebody_else_is_about_to_use(importer: Importer, state: State) -> None:
    path = importer.write("t.csv", "a\n1\n")
    with psycopg.connect(state.conninfo(state.owner_role)) as other:
        other.execute("CREATE TABLE t (a integer)")
        assert importer.run(path) == ["t_1"]
        assert importer.code(path, strategy="overwrite") == 2013
        other.rollback()
    assert one(importer.connection, "SHOW lock_timeout") == "0"


def test_a_name_that_only_a_type_has(importer: Importer) -> None:
    importer.connection.execute("CREATE TYPE t AS ENUM ('x')")
    importer.connection.execute("CREATE TABLE u (a integer)")
    importer.connection.execute("CREATE INDEX t_1 ON u (a)")
    assert importer.run(importer.write("t.csv", "a\n1\n")) == ["t_2"]


def test_a_percent_sign_in_a_name(importer: Importer) -> None:
    staged = stage_query(importer.connection, "SELECT 1 AS a", name="x", plan=Plan())
    importer.connection.execute(f'ALTER TABLE public."{staged.table}" RENAME TO "100%s"')
    other = stage_query(importer.connection, "SELECT 2 AS a", name="x", plan=Plan())
    replace(importer.connection, other, "100%s")
    assert importer.rows("100%s", "a") == [(2,)]
