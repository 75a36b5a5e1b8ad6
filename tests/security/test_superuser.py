"""Objects that users create in the database are never run with the rights of the superuser."""

from __future__ import annotations

import time

import psycopg
import pytest

import cartoframes_lite.local
from tests.security.api_calls import APICalls

# Each fits some call better than PostgreSQL's own does, and says with whose rights it was run.
_FUNCTIONS = {
    "quote_ident(name)": "text",
    "lower(name)": "text",
    "upper(name)": "text",
    "format(text, name)": "text",
    "format(text, name, name)": "text",
    "to_regclass(name)": "regclass",
    "left(name, integer)": "text",
    "substring(name, text)": "text",
    "coalesce_name(name, name)": "name",
    "has_table_privilege(name, oid, unknown)": "boolean",
    "has_table_privilege(text, oid, text)": "boolean",
    "array_agg(name)": "text",
    "nextval(text)": "bigint",
    "jsonb_build_object(text, uuid)": "jsonb",
    "pg_get_userbyid(bigint)": "name",
    "current_setting(name)": "text",
    "pg_advisory_xact_lock(integer)": "boolean",
}
_OPERATORS = ["||(text, regclass)", "||(text, regnamespace)", "||(text, name)", "||(name, text)", "=(name, text)",
              "<>(name, text)", "!~(name, text)", "=(oid, bigint)", "=(oid, regclass)", "~(name, text)"]  # fmt: skip


def planted(schema: str) -> str:
    """Compose the statements that create the hostile objects in a schema."""
    statements = [
        f"CREATE TABLE {schema}.runs (who text, super boolean)",
        f"GRANT ALL ON {schema}.runs TO PUBLIC",
        f"GRANT USAGE ON SCHEMA {schema} TO PUBLIC",
    ]
    note = (
        f"BEGIN INSERT INTO {schema}.runs SELECT pg_catalog.concat(current_user, ' ', session_user), rolsuper"
        " FROM pg_catalog.pg_roles"
        " WHERE rolname OPERATOR(pg_catalog.=) session_user OR rolname OPERATOR(pg_catalog.=) current_user;"
        " RETURN NULL; END"
    )
    for signature, result in _FUNCTIONS.items():
        if "unknown" not in signature:
            statements.append(f"CREATE FUNCTION {schema}.{signature} RETURNS {result} LANGUAGE plpgsql AS $${note}$$")
    for number, operator in enumerate(_OPERATORS):
        symbol, _, types = operator.partition("(")
        left, right = types.rstrip(")").split(", ")
        result = "text" if symbol == "||" else "boolean"
        statements += [
            f"CREATE FUNCTION {schema}.o{number}({left}, {right}) RETURNS {result} LANGUAGE plpgsql AS $${note}$$",
            f"CREATE OPERATOR {schema}.{symbol} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = {schema}.o{number})",
        ]
    return "; ".join(statements)


def by_superusers(api_calls: APICalls, schema: str) -> list[object]:
    return api_calls.run(f"SELECT DISTINCT who FROM {schema}.runs WHERE super")


def everything_the_server_does(api_calls: APICalls) -> None:
    """Run all operations of the server that use the superuser."""
    other = api_calls.regular("bystander", create=True)
    other.run("CREATE TABLE made_by_key AS SELECT 1 AS a; SELECT CDB_CartodbfyTable('made_by_key')")
    name = api_calls.call("GET", "/api/v3/api_keys").json()["result"][-1]["name"]
    for privacy in ("public", "private", "link"):
        api_calls.call("PUT", "/api/v1/viz/bystander", json={"privacy": privacy, "name": "bystander"})
    for path in ("/api/v1/viz", "/api/v1/tables/bystander", "/api/v1/tables/bystander/columns", "/api/v4/datasets",
                 "/api/v3/me", "/api/v1/imports", "/api/v1/synchronizations", "/api/v1/map/named"):  # fmt: skip
        assert api_calls.call("GET", path).status_code < 500, path
    api_calls.imported(json={"sql": "SELECT 1 AS a", "table_name": "made"})  # whose own functions may be in its way
    api_calls.call("POST", "/api/v3/visualization_exports", json={"visualization_id": "bystander"})
    api_calls.call("DELETE", f"/api/v3/api_keys/{name}")
    api_calls.call("PUT", "/api/v1/viz/made", json={"name": "renamed"})
    api_calls.call("DELETE", "/api/v1/viz/renamed")


@pytest.mark.parametrize("schema", ["public", '"$user"'])
def test_the_server_runs_no_functions_of_users(api_calls, schema):
    if schema != "public":
        schema = api_calls.run("SELECT quote_ident(current_user) AS role")[0]["role"]
        api_calls.run(f"CREATE SCHEMA {schema}")
    api_calls.run(planted(schema))
    assert api_calls.run(f"SELECT {schema}.quote_ident('a'::name)") == [{"quote_ident": None}]
    assert by_superusers(api_calls, schema) == []
    assert api_calls.run(f"SELECT count(*) > 0 AS found FROM {schema}.runs") == [{"found": True}]
    everything_the_server_does(api_calls)
    assert by_superusers(api_calls, schema) == []


def test_the_server_runs_no_functions_of_users_on_restart(tmp_path):
    with cartoframes_lite.local.start(user="tester", data_dir=tmp_path / "data") as carto:
        doors = APICalls.of(carto)
        doors.run(planted("public"))
    with cartoframes_lite.local.start(user="tester", data_dir=tmp_path / "data") as carto:
        doors = APICalls.of(carto)
        assert by_superusers(doors, "public") == []
        carto.reset()
        doors.run("SELECT 1")


def test_security_definer_functions_ignore_the_search_path(api_calls):
    client = api_calls.regular("bystander", create=True)
    before = api_calls.run("SELECT updated_at FROM cartodb.cdb_tablemetadata ORDER BY 1")
    statement = (
        "CREATE FUNCTION has_table_privilege(name, regclass, text) RETURNS boolean LANGUAGE sql AS 'SELECT true';"
        "CREATE TEMP TABLE cdb_tablemetadata (tabname regclass PRIMARY KEY, updated_at timestamptz);"
        "CREATE TEMP TABLE account (quota_bytes bigint); INSERT INTO account VALUES (1);"
        "CREATE TEMP TABLE pg_roles AS SELECT true AS rolsuper;"
        "SET search_path = pg_temp, public, pg_catalog; SELECT cartodb._cdb_userquotainbytes() AS quota"
    )
    assert client.run(statement)[-1] == {"quota": 2**40}
    assert client.sql("SELECT cartodb.cdb_tablemetadatatouch('bystander')").status_code == 403
    assert api_calls.run("SELECT updated_at FROM cartodb.cdb_tablemetadata ORDER BY 1") == before
    definers = (
        "SELECT proname FROM pg_proc WHERE prosecdef AND NOT proconfig @> '{\"search_path=pg_catalog, pg_temp\"}'"
    )
    own = (
        "AND pronamespace IN ('cartodb'::regnamespace, (SELECT oid FROM pg_namespace WHERE nspname = 'cartodb_local'))"
    )
    assert api_calls.run(f"{definers} {own}") == []


def test_changes_through_views_update_the_metadata(api_calls):
    api_calls.run(
        "CREATE TABLE t (a int); CREATE VIEW v AS SELECT a FROM t; CREATE TRIGGER track_updates AFTER INSERT ON t"
        " FOR EACH STATEMENT EXECUTE FUNCTION cartodb.cdb_tablemetadata_trigger(); INSERT INTO t VALUES (1)"
    )
    client = api_calls.regular("v", permissions=("select", "insert"))
    query = "SELECT updated_at AS at FROM cartodb.cdb_tablemetadata WHERE tabname = 't'::regclass"
    (before,) = api_calls.run(query)
    time.sleep(1.1)  # JSON has seconds
    client.run("INSERT INTO v VALUES (1)")
    assert api_calls.run(query) != [before]


@pytest.mark.parametrize("query", [
    "SELECT 1 AS a$b$ ; DROP TABLE bystander CASCADE; SELECT 1 AS c$d$",
    "SELECT 1 AS a$$ ; DROP TABLE bystander CASCADE; SELECT 1 AS c$$",
    "SELECT E'\\' ; DROP TABLE bystander CASCADE; --'",
    "SELECT U&\"\\0061\" FROM bystander; DROP TABLE bystander CASCADE",
    "SELECT $a$ $b$ ; DROP TABLE bystander CASCADE; SELECT $c$ $a$",
    "SELECT 1 /* /* */ ; DROP TABLE bystander CASCADE; */",
])  # fmt: skip
def test_asking_which_tables_a_query_has_runs_nothing(api_calls, query):
    api_calls.sql(f"SELECT CDB_QueryTablesText($outer${query}$outer$)")
    api_calls.map({"type": "mapnik", "options": {"sql": query}})
    assert api_calls.run("SELECT count(*) AS n FROM bystander") == [{"n": 2}]


def test_settings_of_the_public_role_are_reset(tmp_path):
    spoilt = "ALTER ROLE publicuser SET search_path = nowhere; ALTER ROLE publicuser SET local_preload_libraries = 'x'"
    for again in range(2):
        with cartoframes_lite.local.start(user="tester", data_dir=tmp_path / "data") as carto:
            public = APICalls.of(carto).public()
            assert public.run("SELECT CDB_LatLng(1.0, 2.0) IS NULL AS a") == [{"a": False}], again
            assert public.sql(spoilt.replace("publicuser", "CURRENT_USER")).status_code == 400
            with psycopg.connect(carto.dsn) as connection:
                settings = "SELECT count(*) FROM pg_db_role_setting WHERE setrole <> 0"
                assert connection.execute(settings).fetchone() == (0,)
                connection.execute(spoilt)
            if again:
                carto.reset()
                assert public.run("SELECT CDB_LatLng(1.0, 2.0) IS NULL AS a") == [{"a": False}]
