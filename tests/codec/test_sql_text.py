from __future__ import annotations

import time
from contextlib import suppress

import pytest

from cartoframes_lite._codec.names import normalize
from cartoframes_lite._codec.sql_text import changes_data, is_query, single_statement

SINGLE = [
    "SELECT 1",
    "(SELECT 1)",
    "SELECT 'it''s (;'",
    "SELECT '\\'",  # a backslash is a letter like any other
    "SELECT E'\\'(;'",
    "SELECT e'\\\\'",
    "SELECT E'a'\n 'b\\'(;'",
    "SELECT E'a' -- ;\n -- (\n 'b\\'(;'",
    "SELECT E'a' 'b'",
    "SELECT U&'(;'",
    'SELECT "a""(;" FROM t',
    "SELECT $$;($a$'$$",
    "SELECT $a$;($$'$b$ $a$",
    "SELECT $é$($é$",
    "SELECT a$b$ FROM t",
    "SELECT 1$a$;$a$",
    "SELECT $1",
    "SELECT 1 -- ;(\n + 1",
    "SELECT 1 -- ;(",
    "SELECT /* ; /* ( */ ; */ 1",
    "SELECT 1--1\n",
    "SELECT 4 */* ( */ 2",
    "SELECT a[1:2], ARRAY[(1)] FROM t",
    "VALUES (1), (2)",
    "SELECT * FROM t WHERE the_geom_webmercator && !bbox!",
]
REFUSED = {
    "SELECT (1": r"'\(' that is not closed",
    "SELECT 1)": r"'\)' without",
    "SELECT 1) AS a; DROP TABLE t; SELECT * FROM (SELECT 1": r"'\)' without",
    "SELECT a[1)": r"'\)' without",
    "SELECT a[1": r"'\[' that is not closed",
    "SELECT 'a": "a string that does not end",
    "SELECT 'a''": "a string that does not end",
    "SELECT E'a\\'": "a string that does not end",
    "SELECT E'a'\n'b\\'": "a string that does not end",
    'SELECT "a': "a quoted name that does not end",
    "SELECT /* 1": "a comment that does not end",
    "SELECT /* /* */ 1": "a comment that does not end",
    "/* SELECT 1": "a comment that does not end",
    "SELECT $$a": r"a string between \$\$ that does not end",
    "SELECT $a$ $A$": r"a string between \$a\$ that does not end",
    "SELECT 1; SELECT 2": "a second statement.*'SELECT 2'",
    "SELECT 1\n;\n/**/ DROP TABLE t": "a second statement.*in line 3",
    "SELECT (1; SELECT 2)": "not closed before a semicolon",
    ";": "is empty",
    "-- only a comment": "is empty",
    "": "is empty",
}
EVIL = ["/**/", "/*", "(", "'", "''", '"', "$", "$a", "$a$", "E'", "E'a'\n", "E''--\n", "--", "--\n", "\\", "\n", ";"]


@pytest.mark.parametrize("query", SINGLE)
@pytest.mark.parametrize("end", ["", ";", " ; ", ";;\n;", "\n; -- the end", ";/* ; */"])
def test_a_statement_without_its_end(query: str, end: str) -> None:
    comment = "\n" if "-- ;(" in query and end else ""
    assert single_statement(query + comment + end).rstrip() == query.rstrip()
    assert is_query(query)


@pytest.mark.parametrize(("query", "reason"), REFUSED.items(), ids=repr)
def test_what_cannot_stand_in_parentheses(query: str, reason: str) -> None:
    with pytest.raises(ValueError, match=f"(?s)the query (has|is).*{reason.removeprefix('is ')}"):
        single_statement(query)


@pytest.mark.parametrize("source", ["stations", "select", "table", "public.with", "selected x", '"select', "a/*", ""])
def test_names_of_tables(source: str) -> None:
    assert not is_query(source)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("WITH a AS (DELETE FROM t RETURNING *) SELECT * FROM a", True),
        ("with a as materialized ( -- rows\n insert into t values (1) returning n) table a", True),
        ("WITH a AS (SELECT 1) SELECT max(update) FROM a", False),
        ("WITH a AS (SELECT 'as (delete') SELECT * FROM a", False),
        ("SELECT 1 AS delete", False),
    ],
)
def test_with_clauses_that_change_data(query: str, expected: bool) -> None:
    assert changes_data(query) is expected


@pytest.mark.parametrize("piece", EVIL, ids=repr)
def test_the_time_grows_with_the_length(piece: str) -> None:
    begun = time.process_time()
    for text in (piece * 20_000, f"SELECT {piece * 20_000}", f"{piece * 20_000}x", f"/*{piece * 20_000}*/ SELECT 1"):
        is_query(text)
        with suppress(ValueError):
            single_statement(text)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("part", ["<", "&", "><", ";&", "-", " ", "<>", "&;"])
def test_no_name_takes_long(part: str) -> None:
    assert len(normalize(part * 100_000)) <= 63
