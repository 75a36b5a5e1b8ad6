"""Requests without a key, and maps, write nothing, even if the owner granted privileges to PUBLIC."""

from __future__ import annotations

import psycopg
import pytest

from tests.security.api_calls import APICalls
from tests.security.db_snapshot import DatabaseSnapshots, differences

# What an account can do to make writing easy for requests without a key. As functions are made, everybody may run them.
_GENEROUS = """
    CREATE TABLE open_to_all (a int); GRANT ALL ON open_to_all TO publicuser;
    CREATE SEQUENCE counter; GRANT ALL ON SEQUENCE counter TO publicuser;
    GRANT CREATE ON SCHEMA public TO publicuser;
    CREATE FUNCTION writing() RETURNS int LANGUAGE sql SECURITY DEFINER
        AS 'INSERT INTO open_to_all VALUES (1) RETURNING a';
    CREATE FUNCTION counting_on() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS $$ SELECT nextval('counter') $$;
    CREATE PROCEDURE committing() LANGUAGE plpgsql
        AS 'BEGIN COMMIT; INSERT INTO open_to_all VALUES (1); COMMIT; END';
    GRANT SELECT ON bystander TO publicuser
"""
_INSERT = "INSERT INTO open_to_all VALUES (1)"
STATEMENTS = [
    _INSERT,
    "WITH x AS (INSERT INTO open_to_all VALUES (1) RETURNING a) SELECT * FROM x",
    "SELECT writing()",
    "SELECT counting_on()",
    "SELECT nextval('counter')",
    "SELECT setval('counter', 99)",
    "CALL committing()",
    "CREATE TABLE made (a int)",
    "CREATE TABLE made AS SELECT nextval('counter') AS a",
    "CREATE TEMP TABLE made (a int)",
    "CREATE TEMP TABLE x (a int); CREATE TRIGGER t AFTER INSERT ON x EXECUTE FUNCTION cdb_tablemetadata_trigger();"
    " INSERT INTO x VALUES (1)",
    "SELECT a INTO made FROM open_to_all",
    "TRUNCATE open_to_all",
    "SELECT lo_create(0)",
    "ALTER ROLE CURRENT_USER SET search_path = nowhere",
    "ALTER ROLE CURRENT_USER PASSWORD 'x'",
    "DROP OWNED BY CURRENT_USER",
    "SELECT * FROM open_to_all FOR UPDATE",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_try_advisory_xact_lock_shared(1, 2)",
    "SELECT pg_notify('a', 'b')",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
    "SELECT cartodb.cdb_tablemetadatatouch('open_to_all')",
    "SELECT CDB_CartodbfyTable('open_to_all')",
]
# The ways to get out of a transaction that cannot write, or to begin another one.
ESCAPES = [
    "COMMIT; {}",
    "ROLLBACK; {}",
    "END; {}",
    "ABORT; {}",
    "COMMIT; SET TRANSACTION READ WRITE; {}",
    "COMMIT AND CHAIN; SET TRANSACTION READ WRITE; {}",
    "SET TRANSACTION READ WRITE; {}",
    "BEGIN READ WRITE; {}; COMMIT",
    "BEGIN; SET TRANSACTION READ WRITE; {}; COMMIT",
    "START TRANSACTION READ WRITE; {}; COMMIT",
    "COMMIT; BEGIN TRANSACTION READ WRITE; {}; COMMIT",
    "SET default_transaction_read_only = off; COMMIT; BEGIN; {}; COMMIT",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; COMMIT; {}",
    "SET transaction_read_only = off; {}",
    "SELECT set_config('transaction_read_only', 'off', false); {}",
    "SAVEPOINT s; ROLLBACK TO s; SET TRANSACTION READ WRITE; {}; RELEASE s; COMMIT",
    "RESET ALL; COMMIT; {}",
    "DISCARD ALL; {}",
    "DO $$ BEGIN COMMIT; {}; END $$",
    "DO $$ BEGIN PERFORM set_config('transaction_read_only', 'off', true); {}; END $$",
    "DO $$ BEGIN BEGIN RAISE division_by_zero; EXCEPTION WHEN division_by_zero THEN {}; END; END $$",
    "PREPARE p AS {}; COMMIT; EXECUTE p",
    # What one reader takes for a comment or a string, and another one does not.
    "--\r{} --\n BEGIN",
    "/* /* */ BEGIN; */ {}",
    "SET standard_conforming_strings = off; SELECT '\\' , '; COMMIT; {}; --'",
    "SELECT E'\\'; COMMIT; {}; --'",
    "SELECT $a$ $b$; COMMIT; {}; SELECT $c$ $a$",
    "SELECT 1 AS a$b$; COMMIT; {}; SELECT 1 AS c$d$",
]


@pytest.fixture
def generous(api_calls: APICalls) -> APICalls:
    """Return an account whose owner has granted too many privileges."""
    api_calls.run(_GENEROUS)
    return api_calls


def sequence_and_settings(api_calls: APICalls) -> object:
    """Return the sequences and settings of a database."""
    return (
        api_calls.run("SELECT last_value, is_called FROM counter"),
        api_calls.run("SELECT count(*) FROM pg_db_role_setting WHERE setrole <> 0"),
        api_calls.run("SELECT count(*) FROM pg_largeobject_metadata"),
    )


@pytest.mark.parametrize("statement", STATEMENTS)
def test_no_statement_without_a_key_writes(generous: APICalls, db_snapshots: DatabaseSnapshots, statement: str) -> None:
    before = db_snapshots.snapshot(), sequence_and_settings(generous)
    response = generous.public().sql(statement)
    assert response.status_code in (400, 403), response.text
    generous.public().call("GET", "/api/v2/sql/copyto", params={"q": f"COPY ({statement}) TO STDOUT"})
    assert differences(before[0], db_snapshots.snapshot()) == {}
    assert sequence_and_settings(generous) == before[1]


def test_read_only_transactions_cannot_be_left(
    generous: APICalls, db_snapshots: DatabaseSnapshots, is_long: bool
) -> None:
    formats = ("csv", "geojson", "svg", "topojson", "shp")
    public, before = generous.public(), (db_snapshots.snapshot(), sequence_and_settings(generous))
    for number, escape in enumerate(ESCAPES):
        for more, statement in enumerate((_INSERT, "SELECT writing()", "SELECT counting_on()")):
            query = escape.format(statement.replace("SELECT", "PERFORM") if "DO $$" in escape else statement)
            public.sql(query)
            # They put the query into one of their own in the same way: one after the other in the short profile.
            for form in formats if is_long else (formats[(number + more) % len(formats)],):
                public.sql(f"SELECT 1 AS a) AS x; {query}; SELECT * FROM (SELECT 1 AS a", format=form)
            public.sql(f"SELECT 1 AS a) AS x; {query}; --", order_by="a", rows_per_page=1, page=0)
            public.call("GET", "/api/v2/sql/copyto", params={"q": f"COPY open_to_all TO STDOUT; {query}"})
            public.call(
                "POST", "/api/v2/sql/copyfrom", params={"q": f"COPY open_to_all FROM STDIN; {query}"}, data="1\n"
            )
            assert differences(before[0], db_snapshots.snapshot()) == {}, query
    assert sequence_and_settings(generous) == before[1]


def test_errors_are_those_of_missing_rights(api_calls: APICalls) -> None:
    api_calls.run("GRANT SELECT ON bystander TO publicuser")
    for statement, status, message in (
        ("INSERT INTO bystander VALUES (3)", 403, "permission denied for table bystander"),
        ("UPDATE bystander SET b = ''", 403, "permission denied for table bystander"),
        ("SELECT * FROM bystander FOR UPDATE", 403, "permission denied for table bystander"),
        ("CREATE TABLE made (a int)", 403, "permission denied for schema public"),
        ("TRUNCATE bystander", 403, "permission denied for table bystander"),
        ("DROP TABLE bystander", 400, "must be owner of table bystander"),
        ("/* ( */ (SELECT 1 LIMIT 0); DELETE FROM other.bystander", 403, "permission denied for schema other"),
    ):
        response = api_calls.public().sql(statement)
        assert (response.status_code, response.json()["error"]) == (status, [message])


def test_reading_in_transactions_of_ones_own_goes_on(generous: APICalls) -> None:
    public = generous.public()
    assert public.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1 AS a; COMMIT") == [{"a": 1}]
    assert public.run("SET search_path = other; BEGIN; SHOW search_path; COMMIT; SELECT 2 AS a") == [
        {"search_path": "other"},
        {"a": 2},
    ]
    assert public.run("SELECT ';' AS a; ; SELECT $$;$$ AS a; -- ; end") == [{"a": ";"}, {"a": ";"}]
    copied = public.call(
        "GET", "/api/v2/sql/copyto", params={"q": "COPY (SELECT a FROM bystander ORDER BY a) TO STDOUT;"}
    )
    assert copied.text == "1\n2\n"
    generous.run(_INSERT)
    assert public.run("SELECT count(*) AS n FROM open_to_all") == [{"n": 1}]


def test_map_queries_cannot_write_as_the_owner(generous: APICalls, db_snapshots: DatabaseSnapshots) -> None:
    before = db_snapshots.snapshot(), sequence_and_settings(generous)
    point = "ST_SetSRID(ST_MakePoint(0, 0), 3857) AS the_geom_webmercator"
    off = "set_config('default_transaction_read_only', 'off', false), set_config('transaction_read_only', 'off', true)"
    for expression in ("writing()", "counting_on()", off):
        layers = [
            {"type": "mapnik", "options": {"sql": f"SELECT {value}, 1 AS cartodb_id, {point}"}}
            for value in (off, expression, "writing()", "counting_on()")
        ]
        made = generous.map(*layers)
        if made.status_code == 200:
            tile = f"/api/v1/map/{made.json()['layergroupid']}/0/0/0.mvt"
            assert generous.call("GET", tile).status_code >= 400
    assert differences(before[0], db_snapshots.snapshot()) == {}
    assert sequence_and_settings(generous) == before[1]


def test_security_definer_functions_for_everybody_only_read(api_calls: APICalls) -> None:
    found = api_calls.run(
        "SELECT p.oid::regprocedure::text AS function FROM pg_proc p WHERE prosecdef"
        " AND has_function_privilege('publicuser', p.oid, 'EXECUTE') ORDER BY 1"
    )
    assert found == [{"function": "_cdb_userquotainbytes()"}]
    assert api_calls.run("SELECT provolatile AS v FROM pg_proc WHERE proname = '_cdb_userquotainbytes'") == [{"v": "s"}]


def test_keys_with_grants_keep_what_only_they_may_do(api_calls: APICalls) -> None:
    client = api_calls.regular("bystander", permissions=("select", "insert"), create=True)
    client.run("CREATE TEMP TABLE x (a int); INSERT INTO x VALUES (1)")
    client.run("SELECT pg_advisory_lock(1), pg_notify('a', 'b')")
    client.run("CREATE TABLE made (a int); SELECT CDB_CartodbfyTable('made'); INSERT INTO made (a) VALUES (1)")


def test_rights_of_an_older_data_directory_are_taken_away(tmp_path) -> None:
    from cartoframes_lite.local import start

    with start(user="tester", data_dir=tmp_path / "data") as carto:
        client = APICalls.of(carto).regular(create=True)
        with psycopg.connect(carto.dsn, autocommit=True) as connection:
            connection.execute("GRANT TEMPORARY ON DATABASE carto TO PUBLIC, publicuser")
            connection.execute("GRANT EXECUTE ON FUNCTION cartodb.cdb_tablemetadata_trigger() TO PUBLIC")
    with start(user="tester", data_dir=tmp_path / "data") as carto:
        with psycopg.connect(carto.dsn) as connection:
            rights = (
                "SELECT has_database_privilege('publicuser', 'carto', 'TEMPORARY'),"
                " has_function_privilege('publicuser', 'cartodb.cdb_tablemetadata_trigger()', 'EXECUTE')"
            )
            assert connection.execute(rights).fetchone() == (False, False)
        again = APICalls.of(carto)
        assert APICalls(again.base_url, client.key, again.master).sql("CREATE TEMP TABLE x (a int)").status_code == 200


NOTIFYING = (
    "NOTIFY a",
    "NOTIFY a; COMMIT",
    "NOTIFY a; END",
    "NOTIFY a; COMMIT AND CHAIN",
    "NOTIFY a; /* */ COMMIT",
    "NOTIFY a; -- x\n END /* */ WORK",
    "NOTIFY a; BEGIN",
    "BEGIN; NOTIFY a; COMMIT WORK; SELECT 1",
    "DO $$ BEGIN EXECUTE 'NOT' || 'IFY a'; END $$; COMMIT TRANSACTION AND NO CHAIN",
    "PREPARE p AS SELECT 1; NOTIFY a; COMMIT PREPARED 'p'",
)


def test_nothing_is_notified_without_a_key(api_calls: APICalls, carto) -> None:
    public = api_calls.public()
    with psycopg.connect(carto.dsn, autocommit=True) as listening:
        listening.execute("LISTEN a")
        for query in NOTIFYING:
            public.sql(query)
            public.sql(query.replace("a;", "a; SELECT 1;"), format="csv")
            public.call("GET", "/api/v2/sql/copyto", params={"q": f"COPY (SELECT 1) TO STDOUT; {query}"})
            assert list(listening.notifies(timeout=0.05)) == [], query
        api_calls.run("NOTIFY a")
        assert len(list(listening.notifies(timeout=5, stop_after=1))) == 1


def test_commits_without_a_key_have_no_effect(api_calls: APICalls) -> None:
    for query in ("SELECT 1 AS a; COMMIT", "COMMIT; SELECT 1 AS a", "BEGIN; SELECT 1 AS a; END", "/**/ COMMIT"):
        response = api_calls.public().sql(query)
        assert response.status_code == 200
        assert "warnings" not in response.json(), (query, response.text)
    assert api_calls.public().sql("COMMIT x").status_code == 400
