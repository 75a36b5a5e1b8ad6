from __future__ import annotations

import io
import json
import os
import sqlite3
import struct
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest

from cartoframes_lite._client.http import downloads
from cartoframes_lite._codec import binary_rows, json_end
from cartoframes_lite.errors import ConnectionFailed, QueryTimeout, SQLError

ERROR = b'{"error":["division by zero"]}'
LONG_ERROR = json.dumps({"error": ["invalid input: " + "x" * 300_000]}).encode()
TIMEOUT = b'{"error":["You are over platform\'s limits: SQL query timeout error. Refactor your query."]}'
BINARY = b"PGCOPY\n\xff\r\n\0" + bytes(8)
FEATURES = b'{"type": "FeatureCollection", "features": [{"type":"Feature","geometry":null,"properties":'


def zipped() -> bytes:
    """Return an archive that is the same at any time: it is part of the ids of tests."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.csv"), "a\n1\n" * 100)
        archive.writestr(zipfile.ZipInfo("b.csv"), "b\n2\n")
    return target.getvalue()


def database(folder: Path) -> bytes:
    path = folder / "x.gpkg"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE t AS SELECT 1 AS a")
    connection.commit()
    connection.close()
    return path.read_bytes()


def check(name: str) -> Callable[[bytes], None]:
    found: Callable[[BinaryIO, str], None] = getattr(downloads, name)
    return lambda content: found(io.BytesIO(content), "here")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("check_rows", b""),
        ("check_rows", b"1\n2\n"),
        ("check_rows", b"a\r\n1\r\n"),
        ("check_rows", b"1\n" + ERROR + b"\n"),
        ("check_rows", b'"two\n lines"\n'),
        ("check_binary_copy", BINARY + b"\xff\xff"),
        ("check_binary_copy", BINARY + b"\0\1\0\0\0\x1e" + ERROR + b"\xff\xff"),
        ("check_geojson", b'{"type": "FeatureCollection", "features": []}'),
        ("check_geojson", FEATURES + b'{"j":{"a":[],"error":["x"]}}}]}'),
        ("check_geojson", FEATURES + b'{"j":"],\\"error\\":[\\"x\\"]}"}}]}\n'),
        ("check_xml", b"<kml><Document></Document></kml>\n"),
        ("check_xml", b"<svg></svg>\n"),
        ("check_object", b'{"type":"Topology","arcs":[undefined]}'),
        ("check_zip", zipped()),
        ("check_zip", b"PK\x05\x06" + bytes(18)),
    ],
)
def test_complete_downloads_are_accepted(name: str, content: bytes) -> None:
    check(name)(content)


@pytest.mark.parametrize("error", [ERROR, LONG_ERROR], ids=["short", "long"])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("check_rows", b""),
        ("check_rows", b"1\n2\n"),
        ("check_rows", b"1\n" + ERROR + b"\n"),
        ("check_binary_copy", BINARY + b"\0\1\0\0\0\1x"),
        ("check_binary_copy", BINARY + b"\0\1\0\0\0\x1e" + ERROR),
    ],
)
def test_an_error_behind_the_data_is_raised(name: str, data: bytes, error: bytes) -> None:
    with pytest.raises(SQLError, match=r"division|invalid"):
        check(name)(data + error)


@pytest.mark.parametrize("error", [ERROR, LONG_ERROR], ids=["short", "long"])
def test_an_error_behind_the_features_is_raised(error: bytes) -> None:
    with pytest.raises(SQLError, match=r"division|invalid"):
        check("check_geojson")(FEATURES + b'{"error":["mine"]}}],' + error[1:])


@pytest.mark.parametrize(("name", "data"), [("check_rows", b"1\n"), ("check_geojson", FEATURES + b"{}}],")])
def test_a_timeout_after_the_data_is_raised(name: str, data: bytes) -> None:
    with pytest.raises(QueryTimeout):
        check(name)(data + (TIMEOUT if name == "check_rows" else TIMEOUT[1:]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("check_rows", b"1\n2"),
        ("check_rows", b"1\n" + ERROR[:-1]),
        ("check_binary_copy", b""),
        ("check_binary_copy", BINARY),
        ("check_binary_copy", BINARY[3:] + b"\xff\xff"),
        ("check_binary_copy", BINARY + b"\xff\xff\0"),
        ("check_geojson", b""),
        ("check_geojson", FEATURES),
        ("check_xml", b"<kml><Document></Document></km"),
        ("check_object", b'{"arcs":['),
        ("check_zip", b""),
        ("check_zip", zipped()[:-1]),
        ("check_zip", zipped()[:-22]),
        ("check_zip", zipped()[10:]),
        ("check_zip", zipped() + b"x"),
        ("check_zip", zipped()[:50] + zipped()[60:]),
        ("check_zip", b"<html>"),
        ("check_sqlite", b""),
        ("check_sqlite", b"SQLite format 3\0"),
    ],
)
def test_incomplete_downloads_are_refused(name: str, content: bytes) -> None:
    with pytest.raises(ConnectionFailed, match="here"):
        check(name)(content)


def test_a_database_has_all_its_pages(tmp_path: Path) -> None:
    whole = database(tmp_path)
    check("check_sqlite")(whole)
    for cut in (1, 4096):
        with pytest.raises(ConnectionFailed):
            check("check_sqlite")(whole[:-cut])


def test_a_failed_download_keeps_the_existing_file(tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("old")
    with pytest.raises(ConnectionFailed):
        downloads.write_blocks(target, [b"1\n", b"2"], check=lambda file: downloads.check_rows(file, "here"))
    assert [*tmp_path.iterdir()] == [target]
    assert target.read_text() == "old"


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    assert downloads.write_blocks(pipe, [b"a", b"b"], check=lambda file: None) == 2
    reader.join()
    assert read == [b"ab"]
    assert pipe.is_fifo()


def test_a_symbolic_link_stays_and_its_file_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    link, file = tmp_path / "link", tmp_path / "real" / "file"
    link.symlink_to(file)
    for content in (b"created", b"replaced"):
        downloads.write_blocks(link, [content], check=lambda file: None)
        assert file.read_bytes() == content
    assert link.is_symlink()
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_csv_that_ends_within_a_field_is_refused():
    downloads.check_csv(io.BytesIO(b'a\r\n"x\ny ""z"""\r\n'), "csv")
    with pytest.raises(ConnectionFailed, match="the last field is incomplete"):
        downloads.check_csv(io.BytesIO(b'a\r\n1,"x\n'), "csv")


def rows_of(*rows: list[bytes | None]) -> bytes:
    """Write a binary COPY."""
    body = BINARY
    for row in rows:
        body += struct.pack(">h", len(row))
        for value in row:
            body += struct.pack(">i", -1) if value is None else struct.pack(">i", len(value)) + value
    return body + b"\xff\xff"


NESTED = rows_of([b"\0\2", None], [b"a", b"\xff\xff"])
COPIES = {
    "nulls": rows_of(*[[b"\0\0\0\2", None, b"", None]] * 6),
    "a count as a value": rows_of(*[[b"\0\2", b"\0\2\0\0\0\1x"]] * 6),
    "a COPY as a value": rows_of([NESTED, None], [None, NESTED]),
    "all bits": rows_of(*[[b"\xff" * 9, None, b"\xff"]] * 3),
    "no columns": rows_of([], [], []),
    "many columns": rows_of(*[[b"x", None] * 20] * 2),
    "a long value": rows_of([b"\xff" * 5_000_000], [b"1"], [b"\xff" * 5_000_000]),
}


@pytest.mark.parametrize("window", [16, 1 << 21])
@pytest.mark.parametrize("whole", COPIES.values(), ids=COPIES)
def test_a_binary_copy_ends_where_its_rows_end(whole: bytes, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary_rows, "_WINDOW_BYTES", window)
    check("check_binary_copy")(whole)
    cuts = range(len(BINARY), len(whole)) if len(whole) < 5000 else [9, 4_999_999, 5_000_030, len(whole) - 3]
    for cut in cuts:
        for behind in (b"", b"\xff", b"\xff\xff"):
            if whole[:cut] + behind in (whole, BINARY + b"\xff\xff") or is_row_end(whole, cut + len(behind) - 2):
                continue
            with pytest.raises(ConnectionFailed):
                check("check_binary_copy")(whole[:cut] + behind)


def is_row_end(whole: bytes, at: int) -> bool:
    """Walk rows one field after the other, to see whether one ends there."""
    place = len(BINARY)
    while place < at:
        (count,) = struct.unpack_from(">h", whole, place)
        place += 2
        for _ in range(count):
            (length,) = struct.unpack_from(">i", whole, place)
            place += 4 + max(0, length)
    return place == at


def test_a_file_with_a_binary_copy_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes(COPIES["nulls"])
    with path.open("rb") as file:
        downloads.check_binary_copy(file, "here")


DOCUMENT = (
    b' {"type":"Topology","objects":{"a]}":{"b":"\\\\","c":"\\"}]","d":"\\\\\\"{"}},'
    b'"arcs":[[[1,2],[3,4]],[],undefined]}'
)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
@pytest.mark.parametrize("whole", [DOCUMENT, b"{}", b'[{"a":"}"}]', b'f({"features":[{}]});'])
def test_a_document_ends_where_its_brackets_do(whole: bytes, size: int) -> None:
    def complete(content: bytes) -> bool:
        return json_end.is_complete([content[at : at + size] for at in range(0, len(content), size)])

    assert complete(whole)
    assert complete(whole + b"\n")
    end = whole.rindex(b"}" if whole[-1:] != b"]" else b"]")
    assert not [cut for cut in range(end + 1) if complete(whole[:cut])]
    for behind in (whole, b"}", b"]", b'"', b'{"error":["x"]}', b"x", b'x"'):
        assert not complete(whole + behind)


@pytest.mark.parametrize("content", [b"<svg></svg>\n<!-- made by x -->\n", b"<kml></kml ><?x y?> <!-- --> "])
def test_comments_may_follow_a_document(content: bytes) -> None:
    check("check_xml")(content)
    with pytest.raises(ConnectionFailed):
        check("check_xml")(content.replace(b"</", b"< "))


def test_a_document_that_comes_twice_is_refused() -> None:
    with pytest.raises(ConnectionFailed, match="the document is incomplete"):
        check("check_xml")(b'<?xml version="1.0"?><kml></kml>' * 2)


def test_features_that_are_cut_between_two_are_refused():
    with pytest.raises(ConnectionFailed, match="the features are incomplete"):
        downloads.check_geojson(io.BytesIO(b'{"type":"FeatureCollection","features":[{"type":"Feature"}'), "geojson")
