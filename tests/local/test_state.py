from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from cartoframes_lite.local.postgres.cluster import Cluster, open_cluster
from cartoframes_lite.local.postgres.grants import NotGrantedError
from cartoframes_lite.local.state import KeyExistsError, State

Connect = Callable[[str | None], psycopg.Connection[Any]]
SQL = [{"type": "apis", "apis": ["sql"]}]


def granted(*tables: tuple[str, list[str]], schemas: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    listed = [{"schema": "public", "name": name, "permissions": words} for name, words in tables]
    return [*SQL, {"type": "database", "tables": listed, "schemas": schemas or []}]


def kinds(state: State) -> list[str]:
    keys = state.keys()
    return [key.kind for key in keys]


def test_tokens_find_their_keys(state: State) -> None:
    assert (master := state.key("master-key")) is not None
    assert master.kind == "master"
    assert master.apis == {"sql", "maps"}
    public = state.key("default_public")
    assert public is not None
    assert public.role == "publicuser"
    assert state.key(None) == state.key("") == public
    assert state.key("wrong") is None


def test_token_is_not_in_the_repr(state: State) -> None:
    assert "master-key" not in repr(state.key("master-key"))


def test_sessions_cannot_leave_their_role(state: State, connect: Connect) -> None:
    connection = connect("master-key")
    for statement in ("RESET ROLE", "RESET SESSION AUTHORIZATION", "SET ROLE NONE"):
        connection.execute(statement.encode())
        row = connection.execute("SELECT current_user, session_user").fetchone()
        assert row == (state.owner_role, state.owner_role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SET ROLE postgres")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("SET ROLE publicuser")


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT lo_import('/etc/passwd')",
        "SELECT pg_ls_dir('/')",
        "CREATE TABLE t (line text); COPY t FROM '/etc/passwd'",
        "CREATE TABLE t (line text); COPY t FROM PROGRAM 'id'",
        "COPY (SELECT 1) TO '/tmp/out'",
        "SELECT * FROM cartodb_local.api_keys",
        "SELECT * FROM pg_authid",
        "CREATE ROLE intruder",
        "CREATE EXTENSION dblink",
        "CREATE EXTENSION postgres_fdw",
        "ALTER SYSTEM SET fsync = on",
        "SELECT cartodb_local.drop_user_objects()",
        "INSERT INTO cdb_tablemetadata VALUES (0, now())",
        "DROP SCHEMA cartodb CASCADE",
    ],
)
def test_owner_is_kept_in_its_account(connect: Connect, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connect("master-key").execute(statement.encode())


def test_owner_may_make_schemas_and_trusted_extensions(connect: Connect) -> None:
    owner = connect("master-key")
    owner.execute("CREATE SCHEMA s; CREATE TABLE s.t (i int); CREATE EXTENSION citext; CREATE TYPE e AS ENUM ('a')")


def test_public_role_reads_only_what_it_is_granted(connect: Connect) -> None:
    owner, public = connect("master-key"), connect(None)
    owner.execute("CREATE TABLE t AS SELECT 1 AS i")
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table t"):
        public.execute("SELECT * FROM t")
    owner.execute("GRANT SELECT ON t TO publicuser")
    assert public.execute("SELECT * FROM t").fetchall() == [(1,)]
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        public.execute("INSERT INTO t VALUES (2)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        public.execute("CREATE TABLE mine (i int)")


def test_regular_key_may_do_what_its_grants_say(state: State, connect: Connect) -> None:
    owner = connect("master-key")
    owner.execute("CREATE TABLE a (id serial, v int); CREATE TABLE b (v int)")
    key = state.create_key("writer", granted(("a", ["select", "insert"])))
    assert key.apis == {"sql"}
    session = connect(key.token)
    session.execute("INSERT INTO a (v) VALUES (7)")  # needs the sequence, too
    assert session.execute("SELECT id, v FROM a").fetchall() == [(1, 7)]
    for refused in ("DELETE FROM a", "SELECT * FROM b", "CREATE TABLE c (i int)"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            session.execute(refused.encode())


def test_the_owner_may_use_tables_of_regular_keys(state: State, connect: Connect) -> None:
    key = state.create_key("maker", granted(schemas=[{"name": "public", "permissions": ["create"]}]))
    connect(key.token).execute("CREATE TABLE made AS SELECT 1 AS i")
    owner = connect("master-key")
    owner.execute("ALTER TABLE made ADD j int")
    state.delete_key("maker")
    assert state.key(key.token) is None
    owner.execute("DROP TABLE made")


def test_delete_ends_the_sessions_of_the_key(state: State, connect: Connect) -> None:
    key = state.create_key("short", SQL)
    session = connect(key.token)
    state.delete_key("short")
    with pytest.raises(psycopg.OperationalError):
        session.execute("SELECT 1")


def test_names_are_unique_and_built_in_keys_stay(state: State) -> None:
    state.create_key("twice", SQL)
    with pytest.raises(KeyExistsError):
        state.create_key("twice", SQL)
    for name in ("Master", "Default public", "unknown"):
        with pytest.raises(LookupError):
            state.delete_key(name)


def test_grant_on_a_missing_table_creates_nothing(state: State) -> None:
    with pytest.raises(NotGrantedError):
        state.create_key("broken", granted(("nope", ["select"])))
    assert kinds(state) == ["master", "default"]


@pytest.mark.parametrize(
    "section",
    [
        {"tables": [{"schema": "cartodb_local", "name": "api_keys", "permissions": ["select"]}]},
        {"tables": [{"schema": "pg_catalog", "name": "pg_authid", "permissions": ["select"]}]},
        {"tables": [{"schema": "cartodb", "name": "cdb_tablemetadata", "permissions": ["insert"]}]},
        {"schemas": [{"name": "cartodb", "permissions": ["create"]}]},
        {"schemas": [{"name": "cartodb_local", "permissions": ["create"]}]},
    ],
)
def test_key_cannot_be_granted_what_is_not_the_owners(state: State, section: dict[str, Any]) -> None:
    with pytest.raises(NotGrantedError):
        state.create_key("greedy", [*SQL, {"type": "database", **section}])
    assert kinds(state) == ["master", "default"]


def test_table_made_over_the_dsn_can_be_granted(state: State, cluster: Cluster, connect: Connect) -> None:
    with psycopg.connect(cluster.dsn, autocommit=True) as superuser:
        superuser.execute("CREATE TABLE t AS SELECT 1 AS i")
    assert connect("master-key").execute("SELECT i FROM t").fetchone() == (1,)
    token = state.create_key("k", granted(("t", ["select"]))).token
    assert connect(token).execute("SELECT i FROM t").fetchone() == (1,)
    state.delete_key("k")


def test_regenerated_token_replaces_the_old_one(state: State) -> None:
    old = state.create_key("k", SQL)
    new = state.regenerate_key("k")
    assert state.key(old.token) is None
    assert state.key(new.token) == new
    assert new.role == old.role
    with pytest.raises(LookupError):
        state.regenerate_key("Default public")


def test_reset_empties_the_account(state: State, cluster: Cluster, connect: Connect) -> None:
    owner = connect("master-key")
    owner.execute(
        "CREATE EXTENSION citext; CREATE SCHEMA s; CREATE TABLE s.t (i int); CREATE TABLE t (id serial, c citext);"
        "SELECT cdb_cartodbfytable('t'); CREATE TYPE mood AS ENUM ('a'); CREATE DOMAIN d AS int;"
        "CREATE VIEW v AS SELECT * FROM t;"
        "CREATE MATERIALIZED VIEW m AS SELECT 1 AS i; CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1';"
        "CREATE TYPE pair AS (a int, b int); SELECT lo_from_bytea(0, 'abc'); ALTER ROLE CURRENT_USER SET jit = on"
    )
    with psycopg.connect(cluster.dsn, autocommit=True) as superuser:
        superuser.execute("CREATE TABLE over_dsn (i int); CREATE TYPE over_dsn_type AS (i int)")
    state.create_key("k", granted(("t", ["select"])))
    forgotten: list[int] = []
    state.on_reset.append(lambda: forgotten.append(1))
    state.reset()
    state.on_reset.clear()
    assert forgotten == [1]
    with psycopg.connect(cluster.dsn) as superuser:
        left = superuser.execute(
            "SELECT relname FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('c', 'i')"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND deptype = 'e')"
            " UNION ALL SELECT typname FROM pg_type t WHERE typnamespace = 'public'::regnamespace AND typtype <> 'c'"
            " AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND deptype IN ('e', 'i'))"
            " UNION ALL SELECT nspname FROM pg_namespace WHERE nspname = 's'"
            " UNION ALL SELECT rolname FROM pg_roles WHERE rolname LIKE '%\\_key\\_%'"
            " UNION ALL SELECT tabname::text FROM cartodb.cdb_tablemetadata"
            " UNION ALL SELECT oid::text FROM pg_largeobject_metadata"
            " UNION ALL SELECT 'setting' FROM pg_db_role_setting WHERE setrole <> 0"
        ).fetchall()
    assert left == []
    assert kinds(state) == ["master", "default"]
    connect("master-key").execute("CREATE TABLE t (i int)")


def test_reset_leaves_rights_alone_that_are_as_they_were(state: State, cluster: Cluster, connect: Connect) -> None:
    """Revoking and granting them again would take ten times as long as the rest of the reset, before each test."""
    versions = "SELECT array_agg(xmin::text ORDER BY oid) FROM pg_proc WHERE proacl IS NOT NULL"
    with psycopg.connect(cluster.dsn, autocommit=True) as superuser:
        before = superuser.execute(versions).fetchone()
        connect("master-key").execute(
            "CREATE TABLE t (id serial); SELECT cdb_cartodbfytable('t'); GRANT SELECT ON t TO publicuser;"
            "CREATE SCHEMA s; CREATE TABLE s.t (i int); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"
        )
        state.reset()
        assert superuser.execute(versions).fetchone() == before
        assert superuser.execute("SELECT to_regclass('t'), to_regnamespace('s')").fetchone() == (None, None)


@pytest.mark.parametrize(
    ("given_by", "statement", "question"),
    [
        ("owner", "GRANT CREATE ON SCHEMA public TO publicuser", "has_schema_privilege('public', 'CREATE')"),
        (
            "superuser",
            "GRANT EXECUTE ON FUNCTION pg_notify TO PUBLIC",
            "has_function_privilege('pg_notify(text,text)', 'EXECUTE')",
        ),
        ("superuser", "GRANT TEMPORARY ON DATABASE carto TO PUBLIC", "has_database_privilege('carto', 'TEMPORARY')"),
    ],
)
def test_reset_takes_rights_away_that_were_given(
    state: State, cluster: Cluster, connect: Connect, given_by: str, statement: str, question: str
) -> None:
    asked = f"SELECT {question}".encode()
    with psycopg.connect(cluster.dsn, autocommit=True) as superuser:
        giver = connect("master-key") if given_by == "owner" else superuser
        giver.execute(statement.encode())
    assert connect(None).execute(asked).fetchone() == (True,)
    state.reset()
    assert connect(None).execute(asked).fetchone() == (False,)


def test_reset_forgets_default_rights(state: State, connect: Connect) -> None:
    connect("master-key").execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO publicuser")
    state.reset()
    connect("master-key").execute("CREATE TABLE t (i int)")
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connect(None).execute("SELECT * FROM t")


def test_reset_ends_what_is_running(state: State, connect: Connect) -> None:
    owner = connect("master-key")
    owner.execute("CREATE TABLE t (i int); BEGIN; LOCK TABLE t")
    state.reset()
    with pytest.raises(psycopg.OperationalError):
        owner.execute("SELECT 1")


def test_account_survives_a_restart_on_its_data_directory(tmp_path: Path) -> None:
    first = open_cluster(None, tmp_path / "database")
    state = State(first, "tester", api_key="first-key")
    token = state.create_key("kept", SQL).token
    with psycopg.connect(state.conninfo(state.owner_role), autocommit=True) as owner:
        owner.execute("CREATE TABLE t AS SELECT 1 AS i; SELECT cdb_setuserquotainbytes(1e9::bigint)")
    state.close()
    first.stop()
    second = open_cluster(None, tmp_path / "database")
    try:
        again = State(second, "renamed")
        assert again.owner_role == state.owner_role
        assert again.master_key.token == "first-key"
        kept = again.key(token)
        assert kept is not None
        with psycopg.connect(again.conninfo(kept.role)) as session:
            assert session.execute("SELECT current_user").fetchone() == (kept.role,)
        with psycopg.connect(again.conninfo(again.owner_role)) as owner:
            assert owner.execute("SELECT i, cdb_userquotainbytes() FROM t").fetchone() == (1, 10**9)
        again.close()
    finally:
        second.stop()
