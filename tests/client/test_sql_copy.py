from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cartoframes_lite._client.sql_copy import Copy
from cartoframes_lite.errors import ConnectionFailed, SQLError

from .conftest import Wire, response

STORED = response("200 OK", b'{"time": 0.1, "total_rows": 1}')
LIMITED = response("429 Too Many", b'{"error":["slow"],"detail":"rate-limit"}', "Retry-After: 1")


def in_path(folder: Path) -> Path:
    path = folder / "rows"
    path.write_bytes(b"a,b\n")
    return path


SOURCES: dict[str, Callable[[Path], Any]] = {
    "path": in_path,
    "path as str": lambda folder: str(in_path(folder)),
    "file": lambda folder: io.BytesIO(b"a,b\n"),
    "list": lambda folder: [b"a,", b"b\n"],
    "factory": lambda folder: lambda: iter([b"a,b\n"]),
}


@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_each_source_can_be_sent_again(wire: Wire, tmp_path: Path, source: Callable[[Path], Any]) -> None:
    copy = Copy(wire.play(LIMITED, STORED))
    assert copy.copy_from("COPY t FROM STDIN", source(tmp_path)) == 1
    wire.close()
    sent = [head.partition(b"\r\n\r\n")[2] for head in wire.heads]
    assert sent[0] == sent[1]
    assert b"a," in sent[0]
    assert b"/api/v2/sql/copyfrom?q=COPY" in wire.heads[0]


def test_an_iterator_can_be_sent_once(wire: Wire) -> None:
    with pytest.raises(ConnectionFailed, match="second time"):
        Copy(wire.play(LIMITED, STORED)).copy_from("COPY t FROM STDIN", iter([b"a,b\n"]))


def test_a_file_appears_only_when_it_is_whole(wire: Wire, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    copy = Copy(wire.play(response("200 OK", b'1\n2\n{"error":["division by zero"]}')))
    with pytest.raises(SQLError, match="division by zero"):
        copy.copy_to_file("COPY t TO STDOUT", target)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_has_what_was_sent(wire: Wire, tmp_path: Path) -> None:
    copy = Copy(wire.play(response("200 OK", b"1\n2\n")))
    assert copy.copy_to_file("COPY t TO STDOUT", tmp_path / "out.csv") == 4
    assert (tmp_path / "out.csv").read_bytes() == b"1\n2\n"
