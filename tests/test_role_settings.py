"""Settings of the database role change neither what is read nor what is written."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pandas as pd
import psycopg
import pytest
from psycopg import sql

import cartoframes_lite as cfl

# Without backslashes in literals, which the settings may change the meaning of.
QUERY = """
SELECT
    chr(92) || 'x41' || chr(92) AS back,
    decode('00ff5c27', 'hex') AS raw,
    ARRAY[decode('00ff5c27', 'hex'), NULL] AS raws,
    ARRAY[[decode('00', 'hex')], [decode('5c', 'hex')]] AS grid,
    ARRAY[0.1::float8 + 0.2::float8, 'NaN', NULL, 5e-324] AS doubles,
    ARRAY[0.1::float4] AS singles,
    make_interval(1, -2, 0, 3, 4, 5, 6.789) AS span,
    ARRAY[make_interval(days => -1, secs => 1.5), NULL] AS spans,
    make_timestamptz(2020, 1, 2, 12, 0, 0, 'UTC') AS moment,
    ARRAY[make_timestamptz(2020, 1, 2, 12, 0, 0, 'UTC'), NULL] AS moments,
    make_date(2020, 2, 1) AS day,
    ARRAY[make_date(2020, 2, 1)] AS days,
    ARRAY[timestamptz '0001-01-01 00:00+00', timestamptz '9999-12-31 23:59:59+00'] AS far_moments,
    point(1 / 3::float8, 2) AS point,
    lseg(point(1 / 3::float8, 2), point(3, 4)) AS lseg,
    box(point(1 / 3::float8, 2), point(3, 4)) AS box,
    path '[(0.1234567890123456,2),(3,4)]' AS path,
    polygon '((0.1234567890123456,2),(3,4),(5,1e20))' AS polygon,
    line '{0.1234567890123456,2,3}' AS line,
    circle(point(1 / 3::float8, 2), 3) AS circle,
    ARRAY[point(1 / 3::float8, 2), NULL] AS points,
    jsonb_build_object('a', chr(92)) AS doc,
    1.5::numeric AS number
"""
READ = {
    "back": "\\x41\\",
    "raw": b"\0\xff\\'",
    "raws": [b"\0\xff\\'", None],
    "grid": [[b"\0"], [b"\\"]],
    "doubles": [0.1 + 0.2, float("nan"), None, 5e-324],
    "singles": [0.10000000149011612],
    "span": "10 mons 3 days 04:05:06.789",
    "spans": ["-1 days +00:00:01.5", None],
    "moment": pd.Timestamp("2020-01-02 12:00", tz="UTC"),
    "moments": [dt.datetime(2020, 1, 2, 12, tzinfo=dt.UTC), None],
    "day": dt.date(2020, 2, 1),
    "days": [dt.date(2020, 2, 1)],
    "far_moments": [
        dt.datetime(1, 1, 1, tzinfo=dt.UTC),
        dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC),
    ],
    "point": "(0.3333333333333333,2)",
    "lseg": "[(0.3333333333333333,2),(3,4)]",
    "box": "(3,4),(0.3333333333333333,2)",
    "path": "[(0.1234567890123456,2),(3,4)]",
    "polygon": "((0.1234567890123456,2),(3,4),(5,1e+20))",
    "line": "{0.1234567890123456,2,3}",
    "circle": "<(0.3333333333333333,2),3>",
    "points": ["(0.3333333333333333,2)", None],
    "doc": {"a": "\\"},
    "number": 1.5,
}
SETTINGS = {
    "standard_conforming_strings": "off",
    "backslash_quote": "off",
    "escape_string_warning": "off",
    "bytea_output": "escape",
    "DateStyle": "SQL, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kolkata",
    "extra_float_digits": "-10",
    "xmlbinary": "hex",
    "xmloption": "document",
    "lc_monetary": "C",
}
# The embedded server sets these four for each session; a query can set them, too.
IN_QUERY = ("DateStyle", "IntervalStyle", "TimeZone", "extra_float_digits")
HOSTILE = pd.DataFrame(
    {
        "i": [1, 2, 3],
        "text": ["a\\b'c", "\\x41", "\\'"],
        "raw": [b"\\\0'", b"\xff", None],
        "raws": [[b"\\\0"], None, []],
        "doc": [{"a\\": "\\'"}, None, {"b": [1.5, "\\u0000"]}],
        "moment": pd.to_datetime(["2020-02-01 05:00", None, "1900-01-01 00:00"]).tz_localize("UTC").as_unit("us"),
        "moments": [[dt.datetime(2020, 2, 1, 5, tzinfo=dt.UTC)], None, []],
        "number": [Decimal("1E+50"), None, Decimal("0.1")],
    }
)


@pytest.fixture
def set_role(carto):
    """Change the settings of the owner's role, for the sessions that begin then."""
    (row,) = cfl.Client(carto.credentials).sql.rows("SELECT current_user AS name")
    role = sql.Identifier(row["name"])

    def restart(connection, change):
        connection.execute(change)
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [row["name"]])

    with psycopg.connect(carto.dsn, autocommit=True) as connection:

        def change(settings):
            for name, value in settings.items():
                line = sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(name), sql.Literal(value))
                connection.execute(line)
            restart(connection, "SELECT 1")

        yield change
        restart(connection, sql.SQL("ALTER ROLE {} RESET ALL").format(role))


def test_reads_ignore_settings_of_the_role(set_role, credentials):
    set_role(SETTINGS)
    styles = ", ".join(f"set_config('{name}', '{SETTINGS[name]}', true)" for name in IN_QUERY)
    query = f"WITH styles AS MATERIALIZED (SELECT {styles}) SELECT found.* FROM styles, ({QUERY}) AS found"
    for source in (QUERY, query):
        (row,) = cfl.read_carto(source, credentials).to_dict("records")
        assert repr(row) == repr(READ)


def test_arrays_of_domains_are_read_as_base_types(set_role, credentials):
    types = {"day": "date", "ratio": "float8", "raw": "bytea", "span": "interval"}
    made = "; ".join(f"CREATE DOMAIN {name} AS {below}" for name, below in types.items())
    cfl.Client(credentials).sql.send(f"{made}; CREATE TYPE mood AS ENUM ('happy')")
    set_role(SETTINGS)
    columns = (
        "ARRAY[make_date(2020, 2, 1)::day] AS a, ARRAY[(1 / 3::float8)::ratio] AS b, ARRAY[decode('00ff', 'hex')::raw]"
        " AS c, ARRAY[make_interval(1, 2)::span] AS d, ARRAY['happy'::mood] AS e"
    )
    styles = ", ".join(f"set_config('{name}', '{SETTINGS[name]}', true)" for name in IN_QUERY)
    query = f"WITH styles AS MATERIALIZED (SELECT {styles}) SELECT found.* FROM styles, (SELECT {columns}) AS found"
    (row,) = cfl.read_carto(query, credentials).to_dict("records")
    expected = {"a": [dt.date(2020, 2, 1)], "b": [1 / 3], "c": [b"\0\xff"], "d": ["1 year 2 mons"], "e": ["happy"]}
    assert row == expected


@pytest.mark.parametrize("cartodbfy", [True, False])
def test_writes_ignore_settings_of_the_role(cartodbfy, set_role, credentials):
    set_role(SETTINGS)
    for if_exists in ("fail", "append", "replace"):
        cfl.to_carto(HOSTILE, "back\\slash's", credentials, if_exists=if_exists, cartodbfy=cartodbfy, progress=False)
        back = cfl.read_carto("back_slash_s", credentials, columns=list(HOSTILE), coerce_float=False)
        expected = pd.concat([HOSTILE] * (2 if if_exists == "append" else 1))
        pd.testing.assert_frame_equal(
            back.sort_values("i", ignore_index=True), expected.sort_values("i", ignore_index=True)
        )


@pytest.mark.parametrize("path", ["''", "nowhere", "pg_catalog", "pg_temp, public"])
def test_a_search_path_without_schemas_is_an_error(path, carto, credentials):
    (row,) = cfl.Client(credentials).sql.rows("SELECT current_user AS name")
    role = sql.Identifier(row["name"])
    with psycopg.connect(carto.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE {} SET search_path = {}").format(role, sql.SQL(path)))
        try:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [row["name"]]
            )
            for write in (
                lambda: cfl.to_carto(HOSTILE, "t", credentials),
                lambda: cfl.create_table_from_query("SELECT 1 AS a", "t", credentials),
            ):
                with pytest.raises(cfl.CartoError, match="search_path of the API key's database role"):
                    write()
        finally:
            connection.execute(sql.SQL("ALTER ROLE {} RESET search_path").format(role))
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [row["name"]]
            )
