from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shapely

from cartoframes_lite.local.imports.files import CODES
from cartoframes_lite.local.plan import Plan
from tests.local.imports.files.conftest import Importer
from tests.local.imports.files.test_formats import CSV, frame, packed, shapefile, write


def zipped_shapefile(importer: Importer, *, without: str = "", **changed: bytes) -> Path:
    files: dict[str, Path | bytes] = {
        file.name: changed.get(file.suffix[1:], file)
        for file in shapefile(importer.directory)
        if file.suffix != without
    }
    return packed(importer.directory / "t.zip", files)


def encrypted_zip(importer: Importer) -> Path:
    path = packed(importer.directory / "t.zip", {"t.csv": CSV})
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flags of the member, and in the directory
    content[content.index(b"PK\1\2") + 8] |= 1
    return importer.write("t.zip", bytes(content))


def cut(path: Path, size: int) -> Path:
    path.write_bytes(path.read_bytes()[:size])
    return path


def xlsx(importer: Importer) -> Path:
    return write(frame().drop(columns="geometry"), importer.directory / "t.xlsx", "XLSX")


def hollow_xlsx(importer: Importer) -> Path:
    path = xlsx(importer)
    with zipfile.ZipFile(path) as archive:
        files: dict[str, Path | bytes] = {name: archive.read(name)[:40] for name in archive.namelist()}
    return packed(path, files)


def bad_crs(importer: Importer) -> Path:
    return zipped_shapefile(importer, prj=b'GEOGCS["nowhere"')


def far_away(importer: Importer) -> Path:
    table = frame(25830).set_geometry([shapely.Point(1e12, 1e12)] * 2, crs=25830)
    return write(table, importer.directory / "t.gpkg", "GPKG")


EMPTY_KML = '<kml xmlns="http://www.opengis.net/kml/2.2"><Document><NetworkLink/></Document></kml>'
EMPTY_GPX = '<gpx version="1.1" xmlns="http://www.topografix.com/GPX/1/1"></gpx>'

MAKERS: dict[str, tuple[int, Callable[[Importer], Path]]] = {
    "no format": (1002, lambda i: i.write("t.exe", b"MZ\x90")),
    "a page": (1002, lambda i: i.write("t.csv", "<!DOCTYPE html><html><body>Sign in</body></html>")),
    "old spreadsheet": (1002, lambda i: i.write("t.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(512))),
    "nothing readable": (1002, lambda i: packed(i.directory / "t.zip", {"a.png": b"\x89PNG", "b.exe": b"MZ"})),
    "broken zip": (1003, lambda i: cut(packed(i.directory / "t.zip", {"t.csv": CSV * 500}), 60)),
    "no zip": (1003, lambda i: i.write("t.zip", "no archive")),
    "broken gzip": (1003, lambda i: i.write("t.csv.gz", gzip.compress(CSV * 500)[:-12])),
    "broken tar": (1003, lambda i: i.write("t.tgz", gzip.compress(b"x" * 257 + b"ustar" + b"x" * 100))),
    "no spreadsheet": (1004, lambda i: i.write("t.xlsx", "no spreadsheet")),
    "cut spreadsheet": (1004, lambda i: cut(xlsx(i), 2000)),
    "hollow spreadsheet": (1004, hollow_xlsx),
    "empty": (1005, lambda i: i.write("t.csv", "")),
    "blank": (1005, lambda i: i.write("t.csv", " \n\n  \n")),
    "empty in gzip": (1005, lambda i: i.write("t.csv.gz", gzip.compress(b""))),
    "empty zip": (1005, lambda i: packed(i.directory / "t.zip", {})),
    "no tracks": (1005, lambda i: i.write("t.gpx", EMPTY_GPX)),
    "no shapefile": (1006, lambda i: zipped_shapefile(i, shp=b"garbage" * 40)),
    "garbage in shapefile": (1006, lambda i: zipped_shapefile(i, shp=b"\0\0\x27\x0a" + b"\xff" * 40)),
    "no index": (1006, lambda i: zipped_shapefile(i, without=".shx")),
    "no attributes": (1006, lambda i: zipped_shapefile(i, without=".dbf")),
    "alone": (1006, lambda i: next(file for file in shapefile(i.directory) if file.suffix == ".shp")),
    "encrypted zip": (1018, encrypted_zip),
    "encrypted spreadsheet": (
        1018,
        lambda i: i.write(
            "t.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2_000_000) + "EncryptedPackage".encode("utf-16-le")
        ),
    ),
    "broken geopackage": (2001, lambda i: i.write("t.gpkg", b"SQLite format 3\0" + b"\xff" * 200)),
    "broken kml": (2001, lambda i: i.write("t.kml", '<kml xmlns="http://www.opengis.net/kml/2.2"><Document>')),
    "no encoding": (2002, lambda i: i.write("t.csv", bytes(range(128, 256)) * 4)),
    "odd UTF-16": (2002, lambda i: i.write("t.csv", b"\xff\xfea\0,\0b\0\n\0c")),
    "ragged": (2003, lambda i: i.write("t.csv", "a,b\n1,2\n1,2,3\n")),
    "short line": (2003, lambda i: i.write("t.csv", "a,b,c\n1,2,3\n1,2\n")),
    "open quotes": (2003, lambda i: i.write("t.csv", 'a,b\n1,"2\n1,2\n')),
    "binary": (2003, lambda i: i.write("t.csv", b"a,b\n1,\0\n")),
    "text of json not in UTF-8": (
        2006,
        lambda i: i.write("t.geojson", '{"type":"Feature","geometry":null,"properties":{"lat":"é"}}'.encode("cp1252")),
    ),
    "ids are text": (2011, lambda i: i.write("t.csv", "cartodb_id,a\nx,1\n")),
    "ids are fractions": (2011, lambda i: i.write("t.csv", "cartodb_id,a\n1.5,1\n")),
    "ids with gaps": (2011, lambda i: i.write("t.csv", "cartodb_id,a\n1,1\n,2\n")),
    "ids twice": (2011, lambda i: i.write("t.csv", "cartodb_id,a\n1,1\n1,2\n")),
    "beyond the projection": (2014, far_away),
    "other json": (3007, lambda i: i.write("t.json", '{"a": 1}')),
    "list of objects": (3007, lambda i: i.write("t.json", '[{"a": 1}]')),
    "cut json": (3007, lambda i: i.write("t.geojson", '{"type": "FeatureCollection", "features": [{"ty')),
    "unknown projection": (3008, bad_crs),
    "no projection": (3101, lambda i: zipped_shapefile(i, without=".prj")),
    "no placemarks": (3202, lambda i: i.write("t.kml", EMPTY_KML)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_broken_files(importer: Importer, name: str) -> None:
    code, make = MAKERS[name]
    assert importer.code(make(importer)) == code


def many_sheets(importer: Importer) -> Path:
    for number in range(3):
        table = frame().drop(columns="geometry")
        write(table, importer.directory / "t.xlsx", "XLSX", layer=f"l{number}", append=number > 0)
    return importer.directory / "t.xlsx"


LIMITS: dict[str, tuple[int, dict[str, Any], Callable[[Importer], Path]]] = {
    "sheets": (1019, {"layers": 2}, many_sheets),
    "columns of text": (2004, {"columns": 2}, lambda i: i.write("t.csv", "a,b,c\n1,2,3\n")),
    "columns of a layer": (2004, {"columns": 1}, lambda i: write(frame(), i.directory / "t.gpkg", "GPKG")),
    "bytes": (6666, {"file_bytes": 10}, lambda i: i.write("t.csv", "a\n" + "x\n" * 10)),
    "bytes in zip": (6666, {"file_bytes": 4000}, lambda i: packed(i.directory / "t.zip", {"t.csv": CSV * 2000})),
    "bytes in gzip": (6666, {"file_bytes": 4000}, lambda i: i.write("t.csv.gz", gzip.compress(CSV * 2000))),
    "bytes in two": (
        6666,
        {"file_bytes": 5000},
        lambda i: packed(i.directory / "t.zip", {"a.csv": CSV * 999, "b.csv": CSV * 999}),
    ),
    "bytes in a spreadsheet": (
        6666,
        {"file_bytes": 40_000},
        lambda i: packed(i.directory / "t.xlsx", {"xl/workbook.xml": b"<x/>", "xl/sheet.xml": b" " * 100_000}),
    ),
    "rows of text": (6668, {"rows": 3}, lambda i: i.write("t.csv", "a\n1\n2\n3\n4\n")),
    "rows of a layer": (6668, {"rows": 1}, lambda i: write(frame(), i.directory / "t.gpkg", "GPKG")),
    "time": (6667, {"import_timeout_s": 0.001}, lambda i: write(frame(), i.directory / "t.gpkg", "GPKG")),
    "tables": (8002, {"tables": 0}, lambda i: i.write("t.csv", "a\n1\n")),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_limits_of_the_plan(importer: Importer, name: str) -> None:
    code, limits, make = LIMITS[name]
    assert importer.code(make(importer), plan=replace(Plan(), **limits)) == code


def test_a_header_can_lie_about_its_size(importer: Importer) -> None:
    path = packed(importer.directory / "t.zip", {"t.csv": CSV * 5000})
    content = path.read_bytes()
    size = len(CSV * 5000).to_bytes(4, "little")
    assert content.count(size) == 2
    importer.write("t.zip", content.replace(size, (100).to_bytes(4, "little")))
    assert importer.code(path, plan=replace(Plan(), file_bytes=4000)) in (1003, 6666)


def test_the_quota(importer: Importer) -> None:
    path = importer.write("t.csv", "a\n" + "some text\n" * 10_000)
    importer.connection.execute("SELECT cartodb.cdb_setuserquotainbytes(20000)")
    assert importer.code(path) == 8001


def test_codes_are_complete() -> None:
    assert len(CODES) == 66
    assert all(code.title and code.what_about for code in CODES.values())
    assert CODES[8001].title == "Over account storage limit, please upgrade"
    assert CODES[1100].what_about == (
        "Provided URL doesn't return a file (error 404). Please check that URL is still valid and that you can download"
        " the file and try again."
    )
    assert {number for number, code in CODES.items() if code.source == "cartodb"} == {1, 1000, 6667, 6671, 99999}
    assert {number for number, code in CODES.items() if code.source == "external"} == {1009, 1012}
