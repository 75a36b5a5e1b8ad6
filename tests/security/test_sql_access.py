"""No key reads files, runs programs or changes its role, through any way to send SQL."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from tests.security.api_calls import TIMEOUT_S, APICalls
from tests.security.db_snapshot import differences

KINDS = ["public", "regular", "master"]
CANARY = "the-canary-has-been-read"
STYLE = {"cartocss": "#layer {marker-width: 7}", "cartocss_version": "2.3.0"}

# Of one value, so that they can stand in a query; {file} is to be read, {target} to be written.
EXPRESSIONS = [
    "pg_read_file('{file}')",
    "pg_read_file('{file}', 0, 99)",
    "encode(pg_read_binary_file('{file}'), 'escape')",
    "(SELECT string_agg(f, ' ') FROM pg_ls_dir('{directory}') f)",
    "(SELECT string_agg(name, ' ') FROM pg_ls_logdir())",
    "(SELECT size::text FROM pg_stat_file('{file}'))",
    "lo_import('{file}')::text",
    "lo_get(lo_import('{file}'))::text",
    "lo_export(lo_from_bytea(0, 'x'), '{target}')::text",
    "query_to_xml('COPY (SELECT 1) TO ''{target}''', true, false, '')::text",
    "schema_to_xml('cartodb_local', true, false, '')::text",
    "xmlparse(document '<!DOCTYPE x [<!ENTITY e SYSTEM \"file://{file}\">]><x>&e;</x>')::text",
    "(SELECT string_agg(rolname || rolpassword, ' ') FROM pg_authid)",
    "(SELECT string_agg(token, ' ') FROM cartodb_local.api_keys)",
    "current_setting('data_directory')",
    "current_setting('unix_socket_directories')",
    "(SELECT string_agg(sourcefile, ' ') FROM pg_file_settings)",
    "(SELECT string_agg(auth_method, ' ') FROM pg_hba_file_rules)",
    "pg_reload_conf()::text",
    "pg_rotate_logfile()::text",
    "pg_switch_wal()::text",
    "(SELECT string_agg(pg_terminate_backend(pid)::text, '') FROM pg_stat_activity WHERE usename = 'postgres')",
    "pg_create_restore_point('x')::text",
    "dblink_connect('host=/tmp')::text",
    "cartodb.cdb_setuserquotainbytes(1)::text || pg_read_file('{file}')",
]

STATEMENTS = [
    "CREATE TEMP TABLE x (a text); COPY x FROM '{file}'; SELECT a FROM x",
    "CREATE TEMP TABLE x (a text); COPY x FROM PROGRAM 'cat {file}'; SELECT a FROM x",
    "COPY (SELECT 1) TO '{target}'",
    "COPY (SELECT 1) TO PROGRAM 'touch {target}'",
    "DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''touch {target}'''; END $$",
    "CREATE EXTENSION file_fdw; CREATE SERVER s FOREIGN DATA WRAPPER file_fdw;"
    " CREATE FOREIGN TABLE x (a text) SERVER s OPTIONS (filename '{file}'); SELECT a FROM x",
    "CREATE EXTENSION dblink; SELECT * FROM dblink('dbname=carto user=postgres', 'SELECT 1') t(a int)",
    "CREATE EXTENSION postgres_fdw; SELECT 1",
    "CREATE EXTENSION adminpack; SELECT pg_file_write('{target}', 'x', false)",
    "CREATE EXTENSION plpython3u",
    "CREATE EXTENSION plperlu",
    "CREATE EXTENSION postgis_raster",
    "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/lib/x86_64-linux-gnu/libc.so.6', 'system'",
    "CREATE FUNCTION f() RETURNS text LANGUAGE internal AS 'pg_read_file_v2'",
    "CREATE FUNCTION f() RETURNS text LANGUAGE plpython3u AS 'return open(\"{file}\").read()'",
    "CREATE TRUSTED LANGUAGE x HANDLER plpgsql_call_handler",
    "CREATE FOREIGN DATA WRAPPER w",
    "CREATE EVENT TRIGGER t ON ddl_command_start EXECUTE FUNCTION counting()",
    "CREATE TABLESPACE t LOCATION '{directory}'",
    "CREATE SUBSCRIPTION s CONNECTION 'host=/tmp' PUBLICATION p",
    "CREATE ROLE intruder SUPERUSER",
    "CREATE DATABASE intruder",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "ALTER ROLE postgres PASSWORD 'x'",
    "ALTER SYSTEM SET log_statement = 'all'",
    "ALTER DATABASE carto SET search_path = other",
    "ALTER FUNCTION cartodb.cdb_tablemetadatatouch(regclass) SECURITY INVOKER",
    "CREATE OR REPLACE FUNCTION cartodb.cdb_tablemetadatatouch(regclass) RETURNS void LANGUAGE sql AS 'SELECT 1'",
    "DROP SCHEMA cartodb CASCADE",
    "GRANT pg_read_server_files TO CURRENT_USER",
    "GRANT pg_execute_server_program TO CURRENT_USER",
    "GRANT postgres TO CURRENT_USER",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "SET ROLE pg_read_server_files",
    "SET session_preload_libraries = 'auto_explain'",
    "SET dynamic_library_path = '{directory}'",
    "SET session_replication_role = replica",
    "LOAD 'auto_explain'",
    "LOAD '{file}'",
    "UPDATE pg_authid SET rolsuper = true",
    "INSERT INTO pg_auth_members SELECT 1, 1, 1, true",
    "SELECT * FROM cartodb_local.map_templates",
    "COPY cartodb_local.api_keys TO STDOUT",
]


@dataclass(frozen=True)
class Machine:
    """Files of the machine: one to read, and a path to write."""

    file: Path
    target: Path

    def fill(self, text: str) -> str:
        known = {"file": self.file, "target": self.target, "directory": self.file.parent}
        for name, path in known.items():
            text = text.replace("{" + name + "}", str(path))
        return text


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o777)  # PostgreSQL may run as another user: only its own refusal is to count
    machine = Machine(tmp_path / f"{CANARY}.txt", tmp_path / "written")
    machine.file.write_text(f"{CANARY}\n")
    return machine


@pytest.fixture
def using(api_calls: APICalls) -> Callable[[str], APICalls]:
    api_calls.run("CREATE TABLE IF NOT EXISTS granted (a int, b text)")
    made = {
        "public": api_calls.public,
        "regular": lambda: api_calls.regular("granted", permissions=("select", "insert"), create=True),
        "master": lambda: api_calls,
    }
    return lambda kind: made[kind]()


def layer(query: str, **options: object) -> dict[str, object]:
    return {"type": "mapnik", "options": {"sql": query, **options}}


def mapped(api_calls: APICalls, query: str) -> str:
    """Instantiate a map, and look at its tiles, attributes and dataview."""
    source = (
        f"SELECT 1 AS cartodb_id, ({query})::text AS a, ST_SetSRID(ST_MakePoint(0, 0), 3857) AS the_geom_webmercator"
    )
    nodes = [{"id": "n", "type": "source", "params": {"query": source}}]
    views = {"v": {"type": "aggregation", "source": {"id": "n"}, "options": {"column": "a", "aggregation": "count"}}}
    style = {"cartocss": "#l {text-name: [a]; text-face-name: 'DejaVu Sans Book';}", "cartocss_version": "2.3.0"}
    options = {"attributes": {"id": "cartodb_id", "columns": ["a"]}, "interactivity": ["a"], **style}
    response = api_calls.map(layer(source, **options), dataviews=views, analyses=nodes)
    told = response.text
    if response.status_code == 200:
        token = response.json()["layergroupid"]
        for path in (
            "0/0/0/0.mvt",
            "0/0/0.png",
            "0/0/0/0.grid.json",
            "0/attributes/1",
            "dataview/v",
            "dataview/v/search?q=c",
        ):
            told += api_calls.call("GET", f"/api/v1/map/{token}/{path}").text
    return told


def named(api_calls: APICalls, query: str) -> str:
    """Make a named map and instantiate it without a key."""
    source = f"SELECT 1 AS cartodb_id, ({query})::text AS a, NULL::geometry AS the_geom_webmercator"
    attributes = {"id": "cartodb_id", "columns": ["a"]}
    content = {"version": "1.8.0", "layers": [layer(source, attributes=attributes, **STYLE)]}
    template = {"version": "0.0.1", "name": "t", "auth": {"method": "open"}, "layergroup": content}
    told = api_calls.call("POST", "/api/v1/map/named", json=template).text
    made = api_calls.public().call("POST", "/api/v1/map/named/t", json={})
    if made.status_code == 200:
        told += api_calls.public().call("GET", f"/api/v1/map/{made.json()['layergroupid']}/0/attributes/1").text
    api_calls.call("DELETE", "/api/v1/map/named/t")
    return told + made.text


def exported(api_calls: APICalls, query: str) -> str:
    formats = ("csv", "geojson", "shp", "kml", "svg", "gpkg", "spatialite", "topojson")
    select = f"SELECT ({query})::text AS a, ST_SetSRID(ST_MakePoint(0, 0), 4326) AS the_geom"
    return "".join(api_calls.sql(select, format=one, filename="../../x").text for one in formats)


def in_json(api_calls: APICalls, query: str) -> str:
    body = {"q": f"SELECT {query} AS a", "api_key": api_calls.key or "default_public"}
    return requests.post(f"{api_calls.base_url}/api/v2/sql", json=body, timeout=TIMEOUT_S).text


QUERY_DOORS: dict[str, Callable[[APICalls, str], str]] = {
    "POST": lambda api_calls, query: api_calls.sql(f"SELECT {query} AS a").text,
    "GET": lambda api_calls, query: api_calls.call("GET", "/api/v2/sql", params={"q": f"SELECT {query} AS a"}).text,
    "JSON": in_json,
    "copyto": lambda api_calls, query: (
        api_calls.call("GET", "/api/v2/sql/copyto", params={"q": f"COPY (SELECT {query}) TO STDOUT"}).text
    ),
    "exports": exported,
    "map": mapped,
}
OWNERS_DOORS: dict[str, Callable[[APICalls, str], str]] = {
    "named map": named,
    "job": lambda api_calls, query: (
        json.dumps(api_calls.job(f"CREATE TABLE made AS SELECT ({query})::text AS a"))
        + api_calls.sql("SELECT * FROM made").text
        + api_calls.sql("DROP TABLE IF EXISTS made").text
    ),
    "import": lambda api_calls, query: (
        json.dumps(api_calls.imported(json={"sql": f"SELECT ({query})::text AS a", "table_name": "made"}))
        + api_calls.sql("SELECT * FROM made").text
        + api_calls.sql("DROP TABLE IF EXISTS made").text
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_endpoint_reveals_values_of_the_machine(using, machine, kind):
    client = using(kind)
    opened = {**QUERY_DOORS, **(OWNERS_DOORS if kind == "master" else {})}
    leaked = []
    for text in EXPRESSIONS:
        for name, door in opened.items():
            told = door(client, machine.fill(text))
            # A query of the name of the file may be told of as it is; what is in it, may not.
            if CANARY in told.replace(str(machine.file), "").replace(machine.file.name, "") or machine.target.exists():
                leaked.append((name, text))
            if kind != "master":  # the URLs of its own tiles have it
                assert client.master not in told
    assert leaked == []
    assert using("master").run("SELECT pg_size_pretty(1::bigint) AS a") == [{"a": "1 bytes"}]  # it still responds


@pytest.mark.parametrize("kind", KINDS)
def test_no_statement_gets_beyond_its_role(using, db_snapshots, machine, kind):
    client = using(kind)
    before = db_snapshots.snapshot()
    for text in STATEMENTS:
        statement = machine.fill(text)
        responses = [
            client.sql(statement),
            client.call("GET", "/api/v2/sql", params={"q": statement}),
            client.call("GET", "/api/v2/sql/copyto", params={"q": f"COPY (SELECT 1) TO STDOUT; {statement}"}),
            client.call(
                "POST", "/api/v2/sql/copyfrom", params={"q": f"COPY granted FROM STDIN; {statement}"}, data=b"1\tx\n"
            ),
        ]
        if kind == "master":
            job = client.job(statement)
            assert job["status"] == "failed", (statement, job)
        for response in responses[:2]:
            assert response.status_code in (400, 403), (statement, response.text)
        told = "".join(response.text for response in responses).replace(machine.file.name, "")
        assert CANARY not in told, statement
        assert not machine.target.exists(), statement
    changed = differences(before, db_snapshots.snapshot())
    assert changed == {}


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_files_are_refused_at_both_endpoints(using, machine, kind):
    client = using(kind)
    for text in ("COPY granted FROM '{file}'", "COPY granted FROM PROGRAM 'cat {file}'", "COPY granted TO '{target}'"):
        query = {"q": machine.fill(text)}
        assert client.call("POST", "/api/v2/sql/copyfrom", params=query, data=b"1\tx\n").status_code in (400, 403)
        assert client.call("POST", "/api/v2/sql/copyto", params=query).status_code in (400, 403)
    assert not machine.target.exists()


PRIVATE = [
    "SELECT * FROM bystander",
    "SELECT * FROM other.bystander",
    "SELECT * FROM looking",
    "SELECT counting()",
    "TABLE bystander",
    "SELECT query_to_xml('SELECT * FROM bystander', true, false, '')",
    "SELECT table_to_xml('bystander', true, false, '')",
    "SELECT CDB_UserTables() INTERSECT SELECT 'bystander'",
    "INSERT INTO bystander VALUES (3)",
    "UPDATE bystander SET b = ''",
    "DELETE FROM bystander",
    "TRUNCATE bystander",
    "DROP TABLE bystander",
    "ALTER TABLE bystander RENAME TO mine",
    "ALTER TABLE bystander OWNER TO CURRENT_USER",
    "CREATE TRIGGER t AFTER INSERT ON bystander EXECUTE FUNCTION cartodb.cdb_checkquota()",
    "CREATE INDEX ON bystander (b)",
    "CREATE RULE r AS ON SELECT TO bystander DO INSTEAD SELECT 1",
    "COMMENT ON TABLE bystander IS 'x'",
    "GRANT ALL ON bystander TO CURRENT_USER",
    "LOCK TABLE bystander",
    "CREATE TABLE c (LIKE bystander); INSERT INTO c SELECT * FROM bystander",
    "CREATE VIEW v AS SELECT * FROM bystander; SELECT * FROM v",
    "SELECT CDB_CartodbfyTable('bystander')",
    "REFRESH MATERIALIZED VIEW looking",
    "REASSIGN OWNED BY publicuser TO CURRENT_USER; SELECT * FROM bystander",
]


@pytest.mark.parametrize("kind", ["public", "regular"])
def test_private_tables_stay_private_and_as_they_are(using, db_snapshots, kind):
    client = using(kind)
    before = db_snapshots.snapshot()
    doors = list(QUERY_DOORS.values())
    # What a statement has opened stays open: one door after each of them, and all in the end.
    tried = [[doors[number % len(doors)]] for number in range(len(PRIVATE) - 1)]
    for statement, behind in zip(PRIVATE, [*tried, doors], strict=True):
        told = client.sql(statement).text
        assert "secret" not in told, statement
        assert "kept" not in told, statement
        for door in behind:
            told = door(client, "SELECT string_agg(b, '') FROM bystander")
            assert "secretkept" not in told
        copied = client.call("GET", "/api/v2/sql/copyto", params={"q": "COPY bystander TO STDOUT"})
        assert copied.status_code == 403
        assert (
            client.call(
                "POST", "/api/v2/sql/copyfrom", params={"q": "COPY bystander FROM STDIN"}, data=b"9\n"
            ).status_code
            == 403
        )
    assert differences(before, db_snapshots.snapshot()) == {}


STATISTICS = [
    "ST_EstimatedExtent('bystander', 'the_geom')",
    "ST_EstimatedExtent('public', 'bystander', 'the_geom')",
    "_postgis_stats('bystander', 'the_geom')",
    "_postgis_selectivity('bystander', 'the_geom', ST_MakeEnvelope(0, 0, 9, 9, 4326))",
    "_postgis_join_selectivity('bystander', 'the_geom', 'bystander', 'the_geom')",
    "_postgis_index_extent('bystander', 'the_geom')",
]


@pytest.mark.parametrize("kind", ["public", "regular"])
def test_statistics_tell_nothing_of_private_tables(using, api_calls, kind):
    api_calls.run("UPDATE bystander SET the_geom = ST_SetSRID(ST_MakePoint(a, a), 4326); ANALYZE bystander")
    query = "SELECT count(*) AS n FROM pg_stats WHERE tablename = 'bystander'"
    assert api_calls.run(query)[0]["n"] > 0
    client = using(kind)
    assert client.sql(query).status_code == 403
    parameters = {"q": f"COPY ({query}) TO STDOUT"} | ({"api_key": client.key} if client.key else {})
    assert client.call("GET", "/api/v2/sql/copyto", params=parameters).content == b"0\n"
    for statistic in STATISTICS:
        assert api_calls.sql(f"SELECT {statistic}").status_code == 200, statistic
        assert using(kind).sql(f"SELECT {statistic}").status_code == 403, statistic


@pytest.mark.parametrize("query", ["SELECT 1", {"query": [{"query": "SELECT 1"}]}])
@pytest.mark.parametrize("kind", ["public", "regular"])
def test_jobs_imports_and_the_like_take_the_master_key(using, kind, query):
    client = using(kind)
    assert client.job(query)["status"] == "refused"
    assert client.imported(json={"sql": "SELECT 1 AS a", "table_name": "made"})["state"] == "refused"
    for method, path in (
        ("POST", "/api/v1/synchronizations"),
        ("GET", "/api/v1/imports"),
        ("POST", "/api/v3/api_keys"),
        ("GET", "/api/v3/api_keys/Master"),
        ("POST", "/api/v3/visualization_exports"),
        ("POST", "/api/v1/viz"),
        ("POST", "/api/v1/tables"),
        ("GET", "/api/v1/map/named"),
        ("POST", "/api/v1/map/named"),
    ):
        response = client.call(method, path, **({} if method == "GET" else {"json": {"name": "x"}}))
        assert response.status_code in (401, 403, 404), (path, response.text)
        assert client.master not in response.text


def test_a_regular_key_writes_only_what_was_granted(api_calls):
    api_calls.run("CREATE TABLE granted (a int); CREATE TABLE read_only (a int)")
    client = api_calls.regular("granted", permissions=("select", "insert"))
    client.run("INSERT INTO granted VALUES (1)")
    for statement in (
        "UPDATE granted SET a = 2",
        "DELETE FROM granted",
        "TRUNCATE granted",
        "DROP TABLE granted",
        "INSERT INTO read_only VALUES (1)",
        "CREATE TABLE made (a int)",
        "SELECT lo_creat(-1)",
        "SELECT lo_from_bytea(0, 'x')",
        "CREATE SCHEMA mine",
    ):
        assert client.sql(statement).status_code in (400, 403), statement
    assert api_calls.run("SELECT a FROM granted") == [{"a": 1}]


def test_a_public_key_writes_nothing_at_all(api_calls, db_snapshots):
    before = db_snapshots.snapshot()
    for statement in (
        "CREATE TABLE made (a int)", "CREATE SCHEMA mine", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TYPE t AS (a int)", "CREATE SEQUENCE s", "SELECT lo_creat(-1)", "SELECT lo_create(0)",
        "SELECT lo_from_bytea(0, 'x')", "SELECT cartodb._cdb_touch('bystander')", "CREATE EXTENSION hstore",
        "SELECT setval(pg_get_serial_sequence('bystander', 'cartodb_id'), 99)", "COMMENT ON SCHEMA public IS 'x'",
        "SELECT cartodb.cdb_setuserquotainbytes(1)", "CREATE POLICY p ON bystander",
        "SELECT cartodb.cdb_tablemetadatatouch('bystander')", "SELECT CDB_TableMetadataTouch('bystander'::regclass)",
    ):  # fmt: skip  # a list of words
        assert api_calls.public().sql(statement).status_code in (400, 403), statement
    assert differences(before, db_snapshots.snapshot()) == {}
