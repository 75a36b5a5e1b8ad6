from __future__ import annotations

import pytest

from cartoframes_lite._codec.names import normalise
from cartoframes_lite._codec.sources import is_query, without_end


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("SELECT 1", True),
        ("/* a */ -- b\n ((select 1))", True),
        ("--a", False),
        ("/* select 1", False),
        ("selected", False),
        ("places", False),
    ],
)
def test_is_query(source, found):
    assert is_query(source) is found


@pytest.mark.parametrize(
    ("query", "shorter"),
    [
        ("SELECT 1; -- a;", "SELECT 1"),
        ("SELECT ';' ; /* ; */ ;", "SELECT ';' "),
        ("SELECT a$b$c;", "SELECT a$b$c"),
        ("SELECT $a$;$a$", "SELECT $a$;$a$"),
        ("SELECT 'it''s;'", "SELECT 'it''s;'"),
        ("SELECT E'\\';'", "SELECT E'\\';'"),
        ("SELECT ';", "SELECT ';"),
    ],
)
def test_without_end(query, shorter):
    assert without_end(query) == shorter


@pytest.mark.parametrize("part", ["/**/", "/*", "-- \n", "(", " ", "'", "''", '"', "$a$", "$", ";", "E'\\", "a$b"])
def test_no_source_takes_long(part):
    for source in (part * 20_000 + "x", "SELECT 1" + part * 20_000 + "x"):
        is_query(source)
        without_end(source)


@pytest.mark.parametrize("part", ["<", "&", "><", ";&", "-", " ", "<>", "&;"])
def test_no_name_takes_long(part):
    assert len(normalise(part * 100_000)) <= 63
