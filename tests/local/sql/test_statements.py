"""Statements are classified as in PostgreSQL, in time linear in the length of the text."""

from __future__ import annotations

import time

import pytest

from cartoframes_lite.local.sql.statements import first_word, statements, without_semicolon


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("SELECT 1; SELECT 2", ["SELECT 1", " SELECT 2"]),
        (" ;; SELECT 1 ;\n", [" SELECT 1 "]),
        ("SELECT ';' ';'; x", ["SELECT ';' ';'", " x"]),
        ("SELECT 'it''s;'; x", ["SELECT 'it''s;'", " x"]),
        ("SELECT '\\'; x", ["SELECT '\\'", " x"]),
        ("SELECT E'\\';'; x", ["SELECT E'\\';'", " x"]),
        ("SELECT nice'\\'; x", ["SELECT nice'\\'", " x"]),
        ('SELECT 1 AS ";"";"; x', ['SELECT 1 AS ";"";"', " x"]),
        ("SELECT $$;$$; x", ["SELECT $$;$$", " x"]),
        ("SELECT $a$;$b$;$a$; x", ["SELECT $a$;$b$;$a$", " x"]),
        ("SELECT a$b$; x$b$", ["SELECT a$b$", " x$b$"]),
        ("SELECT $1; x", ["SELECT $1", " x"]),
        ("SELECT 1 -- ;\n; x", ["SELECT 1 -- ;\n", " x"]),
        ("SELECT 1 -- ;\r; x", ["SELECT 1 -- ;\r", " x"]),
        ("SELECT 1 /* ; /* ; */ ; */; x", ["SELECT 1 /* ; /* ; */ ; */", " x"]),
        ("SELECT 'open; x", ["SELECT 'open; x"]),
        ("SELECT /* open; x", ["SELECT /* open; x"]),
        ("SELECT $a$ open; x", ["SELECT $a$ open; x"]),
        ("", []),
    ],
)
def test_statements_end_at_their_semicolons(text: str, parts: list[str]) -> None:
    assert statements(text) == parts


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("SELECT 1", "select"),
        (" \n( (/* a /* b */ c */ -- d\n WITH x AS ()", "with"),
        ("--\rInsert", "insert"),
        ("", ""),
        ("/* open", ""),
        ("1", ""),
        ("'select'", ""),
    ],
)
def test_first_words(text: str, word: str) -> None:
    assert first_word(text) == word


def test_semicolons_are_cut_off() -> None:
    assert without_semicolon("SELECT 1 ; \n") == "SELECT 1 "
    assert without_semicolon("SELECT 1\n") == "SELECT 1\n"


@pytest.mark.parametrize(
    "piece", ["/**/", "/*", "*/", "$", "$a", "$a$", "'", "E'\\", '"', "(", "--", "--\n", "\r", "; ", "a$", " ", "e'"]
)
def test_splitting_statements_is_linear(piece: str) -> None:
    def taken(times: int) -> float:
        text = piece * times + "x"
        begun = time.process_time()
        statements(text), first_word(text), without_semicolon(text)
        return time.process_time() - begun

    assert taken(100_000) < 2  # seconds; what is quadratic takes minutes
