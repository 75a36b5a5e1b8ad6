"""Staging tables that another process renames or changes: the write raises, and nothing is published."""

from __future__ import annotations

import pandas as pd
import psycopg
import pytest

import cartoframes_lite as cfl
from cartoframes_lite import tables
from cartoframes_lite.write import attempts, replanning

FRAME = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
OTHERS = {
    "renamed": "ALTER TABLE {} RENAME TO away",
    "moved": "CREATE SCHEMA other; ALTER TABLE {} SET SCHEMA other",
    "swapped": "ALTER TABLE {0} RENAME TO away; CREATE TABLE {0} AS SELECT * FROM away",
    "column dropped": "ALTER TABLE {} DROP COLUMN b",
    "column renamed": "ALTER TABLE {} RENAME COLUMN b TO c",
    "column added": "ALTER TABLE {} ADD COLUMN c int",
    "type changed": "ALTER TABLE {} ALTER COLUMN b TYPE varchar(9)",
    "unlogged": "ALTER TABLE {} SET UNLOGGED",
    "rule": "CREATE RULE r AS ON INSERT TO {} DO INSTEAD NOTHING",
    "inherited": "CREATE TABLE child () INHERITS ({0}); INSERT INTO child SELECT * FROM {0} LIMIT 1",
}


@pytest.fixture
def between(monkeypatch, credentials):
    """Run SQL between the upload and publishing."""
    sql = cfl.Client(credentials).sql
    publish = attempts.publish_plan

    def play(statements: str) -> None:
        def publish_after(destination, staged, *others):
            sql.send(statements.format(f'"{staged.name}"'))
            publish(destination, staged, *others)

        monkeypatch.setattr(attempts, "publish_plan", publish_after)

    return play


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("if_exists", ["fail", "append", "replace"])
def test_a_staging_table_that_somebody_else_changes(if_exists, others, between, credentials):
    sql = cfl.Client(credentials).sql
    if if_exists != "fail":
        sql.send("CREATE TABLE t AS SELECT 0::int8 AS a, 'old' AS b")
    between(OTHERS[others])
    with pytest.raises(cfl.CartoError, match="the table 't' was not changed") as raised:
        cfl.to_carto(FRAME, "t", credentials, if_exists=if_exists, cartodbfy=False, progress=False)
    assert not isinstance(raised.value, cfl.PublishUnknown)
    assert sql.has_table(None, "t") is (if_exists != "fail")
    if if_exists != "fail":
        assert sql.rows("SELECT a, b FROM t") == [{"a": 0, "b": "old"}]


def test_staging_tables_used_by_views_are_dropped_later(between, credentials):
    sql = cfl.Client(credentials).sql
    left = "SELECT c.relname FROM pg_class c WHERE starts_with(c.relname, 'cfl_staging') AND c.relkind = 'r'"
    between("CREATE VIEW v AS SELECT a FROM {0}; ALTER TABLE {0} ADD COLUMN c int")
    with pytest.raises(cfl.CartoError, match="another process changed the staging table"):
        cfl.to_carto(FRAME, "t", credentials, progress=False)
    between("DROP VIEW v")
    assert [row["relname"][-10:] for row in sql.rows(left)] == ["_withdrawn"]
    cfl.to_carto(FRAME, "t", credentials, progress=False)
    between("SELECT 1")
    cfl.to_carto(FRAME, "u", credentials, progress=False)
    assert sql.rows(left) == []


@pytest.mark.parametrize("if_exists", ["fail", "append", "replace"])
def test_a_table_created_and_dropped_during_the_write(if_exists, between, monkeypatch, credentials):
    sql = cfl.Client(credentials).sql
    between("DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT 0 AS other")
    ask = attempts.inspect_target

    def asked(client, table):
        sql.send("DROP TABLE IF EXISTS t")
        between("SELECT 1")
        return ask(client, table)

    planned = []
    for module in (attempts, replanning):
        monkeypatch.setattr(module, "inspect_target", lambda *others: (asked if planned else ask)(*others))
        monkeypatch.setattr(
            module,
            "make_plan",
            lambda *others, plan=module.make_plan, **more: planned.append(1) or plan(*others, **more),
        )
    cfl.to_carto(FRAME, "t", credentials, if_exists=if_exists, progress=False)
    assert sql.rows("SELECT a, b FROM t ORDER BY a") == [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]


@pytest.mark.parametrize("if_exists", ["fail", "replace"])
def test_a_name_taken_during_a_copy(if_exists, monkeypatch, credentials):
    sql = cfl.Client(credentials).sql
    publish, made = tables.publish, []

    def publish_after(*others, **more):
        if len(made) < 2:
            sql.send("DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT 0 AS other")
            made.append(1)
        publish(*others, **more)

    monkeypatch.setattr(tables, "publish", publish_after)
    if if_exists == "fail":
        with pytest.raises(cfl.TableExistsError, match="another client created"):
            cfl.create_table_from_query("SELECT 1 AS a", "t", credentials)
        assert sql.rows("SELECT * FROM t") == [{"other": 0}]
    else:
        cfl.create_table_from_query("SELECT 1 AS a", "t", credentials, if_exists="replace")
        assert sql.rows("SELECT a FROM t") == [{"a": 1}]
    left = "SELECT c.relname FROM pg_class c WHERE starts_with(c.relname, 'cfl_staging') AND c.relkind = 'r'"
    assert sql.rows(left) == []


@pytest.mark.parametrize("if_exists", ["append", "replace"])
def test_an_event_trigger_that_drops_the_table(if_exists, carto, credentials):
    sql = cfl.Client(credentials).sql
    sql.send("CREATE TABLE t AS SELECT 0::int8 AS a, 'old' AS b")
    with psycopg.connect(carto.dsn, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION dropping() RETURNS event_trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF tg_tag = 'ALTER TABLE' THEN DROP TABLE IF EXISTS public.t; END IF; END $$"
        )
        connection.execute("CREATE EVENT TRIGGER dropping ON ddl_command_start EXECUTE FUNCTION dropping()")
        try:
            with pytest.raises(cfl.CartoError, match="dropped while it was written"):
                cfl.to_carto(FRAME, "t", credentials, if_exists=if_exists, cartodbfy=False, progress=False)
        finally:
            connection.execute("DROP EVENT TRIGGER dropping")
    assert sql.rows("SELECT a, b FROM t") == [{"a": 0, "b": "old"}]
