"""Files that attack the server: links to other files and URLs, deep nesting, slow parsing."""

from __future__ import annotations

import json
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cartoframes_lite.local.imports.files import ImportJobError, sandbox
from cartoframes_lite.local.imports.files.delimited import _quoted_columns
from cartoframes_lite.local.imports.files.sqlite_check import check_database
from tests.local.imports.files.conftest import Importer
from tests.local.imports.files.test_formats import GEOJSON, POINTS, ROWS, frame, write

CREATE = "CREATE VIRTUAL TABLE v USING VirtualText('{}', 'UTF-8', 0, POINT, NONE, ',')"
SPELLINGS = {
    CREATE: "v",
    CREATE.replace("VIRTUAL", "/* */virtual--\n").replace(" v ", ' "using" '): "using",
    CREATE.replace(" v ", " IF NOT EXISTS v "): "v",
    CREATE.replace(" v ", " [a b] ").replace("VirtualText", '"VirtualText"'): "a b",
    CREATE.replace("VirtualText", "`virtualtext`"): "v",
    CREATE.replace(" v ", " v\xa0USING\xa0rtree "): "v\xa0USING\xa0rtree",  # one name to SQLite
}


def database(importer: Importer, driver: str, statement: str, name: str = "v") -> Path:
    """Write a database whose schema declares a table that was never created."""
    path = write(frame(), importer.directory / f"t.{driver.lower()}", driver)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("INSERT INTO sqlite_master VALUES ('table', ?, ?, 0, ?)", (name, name, statement))
        if driver == "GPKG":
            connection.execute("INSERT INTO gpkg_contents (table_name, data_type) VALUES (?, 'attributes')", (name,))
    connection.close()
    return path


@pytest.mark.parametrize("driver", ["SQLite", "GPKG"])
def test_tables_that_link_to_other_files_are_refused(importer: Importer, driver: str) -> None:
    secret = importer.write("secret.csv", "secret,1\n")
    assert importer.code(database(importer, driver, CREATE.format(secret))) == 2001


@pytest.mark.parametrize("statement", SPELLINGS)
def test_table_links_in_other_spellings_are_refused(importer: Importer, statement: str) -> None:
    with pytest.raises(ImportJobError, match="virtual table"):
        check_database(database(importer, "SQLite", statement, SPELLINGS[statement]))


def test_indexes_of_spatialite_are_harmless(importer: Importer) -> None:
    modules = ("VirtualSpatialIndex", "VirtualElementary", "VirtualKNN2", "rtree")
    for number, module in enumerate(modules):
        (importer.directory / "t.sqlite").unlink(missing_ok=True)
        check_database(database(importer, "SQLite", f"CREATE VIRTUAL TABLE v{number} USING {module}()", f"v{number}"))
    importer.run(write(frame(), importer.directory / "s.sqlite", "SQLite", SPATIALITE="YES"))
    assert importer.rows("s", "name", "n") == ROWS
    assert importer.points("s") == POINTS


def test_views_that_compute_are_layers(importer: Importer) -> None:
    path = write(frame(), importer.directory / "t.gpkg", "GPKG")
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE VIEW v AS SELECT fid AS fid, ST_MinX(geom) AS x, upper(name) AS upper FROM t")
        connection.execute("INSERT INTO gpkg_contents (table_name, data_type) VALUES ('v', 'attributes')")
    connection.close()
    assert importer.run(path) == ["t", "t_v"]
    assert importer.rows("t_v", "x") == [("2.0",), ("-3.5",)]


def test_databases_that_are_broken(importer: Importer) -> None:
    assert importer.code(database(importer, "SQLite", "CREATE nonsense")) == 2001


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Listen on a port; a connection fails the test."""
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    with socket.create_server((request.param, 0), family=family) as server:
        server.settimeout(0.0)
        yield server


def url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}/crs" if ":" in host else f"http://{host}:{port}/crs"


def assert_nobody_came(listener: socket.socket) -> None:
    with pytest.raises(BlockingIOError):
        listener.accept()


@pytest.mark.parametrize("kind", ["link", "URL", "url", "name"])
def test_coordinate_systems_are_not_fetched(importer: Importer, listener: socket.socket, kind: str) -> None:
    properties = {"href": url(listener), "url": url(listener), "name": url(listener), "type": "ogcwkt"}
    for crs in ({"type": kind, "properties": properties}, {"properties": properties, "type": kind}):
        path = importer.write("t.geojson", json.dumps({"crs": crs, **GEOJSON}))
        if kind == "name":
            importer.stage(path)
        else:
            assert importer.code(path) == 3008
    assert_nobody_came(listener)


def test_disguised_links_are_not_followed(importer: Importer, listener: socket.socket) -> None:
    crs = {"type": "link", "properties": {"href": url(listener), "type": "ogcwkt"}}
    text = json.dumps({"crs": crs, **GEOJSON}).replace('"crs"', '"cr\\u0073"')
    importer.stage(importer.write("t.geojson", text))
    assert_nobody_came(listener)


@pytest.mark.skipif(sys.platform != "linux", reason="only the kernel of Linux can be asked")
def test_the_sandbox_has_no_sockets(tmp_path: Path, listener: socket.socket) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import socket, sys\n"
        "try:\n    socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "except PermissionError:\n    print('refused')\n"
    )
    host, port = listener.getsockname()[:2]
    command = [sys.executable, str(sandbox.__file__), str(script), host, str(port)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "refused\n"
    assert_nobody_came(listener)


@pytest.mark.parametrize("text", ["<OGRVRTDataSource><OGRVRTLayer/></OGRVRTDataSource>", "<?xml version='1.0'?>\n<a/>"])
@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t"])
def test_other_xml_is_no_delimited_text(importer: Importer, name: str, text: str) -> None:
    assert importer.code(importer.write(name, text)) == 1002


def test_headers_in_brackets_are_delimited_text(importer: Importer) -> None:
    importer.run(importer.write("t.csv", "<id>,<name>\n1,x\n"))
    assert importer.rows("t", "_", "__1") == [(1, "x")]  # tags are removed from names


QUICK_S = 10.0  # of computing, for files of one or two megabytes: what is quadratic takes minutes


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ('a,b\n1,"x\n' + "2,y\n" * 400_000, 2003),
        ("a,b\n" + "2,y\n" * 400_000 + '1,"x\n2,y\n', 2003),
        ("a,b\n" + '"x"y,"z\n' * 200_000, 2003),
        ('a,b\n1,"' + "x\n" * 800_000 + '"\n', None),
        ("a,b\n" + 'x"y,z\n' * 250_000, None),
        ("a,b\n" + '"",""""\n' * 200_000, None),
        ('"\n' * 800_000, 2003),
        ("a" * 1_600_000, 2003),
        ("\n" * 1_600_000, 1005),
        ("," * 1_600_000, 2004),
        ("the_geom,b\nPoint" + " " * 1_000_000 + "x,1\n", None),
        ("the_geom,b\n" + " " * 1_000_000 + "x,1\n", None),
        ("the_geom,b\n" + '"SRID=1SRID=1' * 50_000 + '",1\n', None),
        ("the_geom,b\nSRID=" + "9" * 5000 + ";POINT(1 1),1\n", None),
        ("a\n" + "9" * 1_000_000 + "\n", None),
        ("<!--" * 16_000, None),
        ("<a>" + "\n" * 60_000 + "<", 1002),
    ],
    ids=range(17),
)
@pytest.mark.parametrize("quoted", [True, False])
def test_import_time_is_linear_in_the_text(importer: Importer, text: str, code: int | None, quoted: bool) -> None:
    path = importer.write("t.csv", text)
    begun = time.process_time()
    if code is None:
        importer.stage(path, quoted_fields_guessing=quoted)
    else:
        assert importer.code(path, quoted_fields_guessing=quoted) == code
    assert time.process_time() - begun < QUICK_S


def test_only_quoted_fields_count_as_quoted(importer: Importer) -> None:
    text = 'a,b,c,d\n"1",2,"",x"4\n3,"4\n",,5"\n,"",6,"7"",""8"\n'
    path = importer.write("t.csv", text)
    assert _quoted_columns(path, ",", skip_header=True) == {0, 1, 3}
    assert _quoted_columns(importer.write("h.csv", '"a\nb",c\n1,"2"\n'), ",", skip_header=True) == {1}


@pytest.mark.parametrize("levels", [150, 50_000])
@pytest.mark.parametrize(
    ("opening", "middle", "closing"),
    [
        ("GEOMETRYCOLLECTION(", "POINT(1 1)", ")"),
        ("010700000001000000", "0101000000" + "0" * 32, ""),
        ("0107000020E610000001000000", "0101000000" + "0" * 32, ""),
        ("01EF03000001000000", "01E9030000" + "0" * 48, ""),
        ("000000000700000001", "0000000001" + "0" * 32, ""),
        ("0107000000020000000101000000" + "0" * 32, "0101000000" + "0" * 32, ""),
        ("010600000001000000", "0101000000" + "0" * 32, ""),
        ('{""type"":""GeometryCollection"",""geometries"":[', '{""type"":""Point"",""coordinates"":[1,1]}', "]}"),
    ],
    ids=["wkt", "wkb", "ewkb", "wkb z", "big endian", "second member", "multipolygon", "geojson"],
)
def test_geometries_that_are_nested_deeply_stay_text(
    importer: Importer, opening: str, middle: str, closing: str, levels: int
) -> None:
    importer.run(importer.write("t.csv", f'geom,b\n"{opening * levels}{middle}{closing * levels}",1\n'))
    assert importer.rows("t", "the_geom IS NULL", "geom IS NOT NULL") == [(True, True)]


def test_geometries_that_are_nested_a_little_are_read(importer: Importer) -> None:
    lines = ["GEOMETRYCOLLECTION(" * 40 + "POINT(1 1)" + ")" * 40, "MULTIPOLYGON(" + "((0 0,1 0,1 1,0 0))," * 300]
    text = "geom\n" + "".join(f'"{line.rstrip(",")}{")" * line.startswith("M")}"\n' for line in lines)
    importer.run(importer.write("t.csv", text))
    assert importer.rows("t", "ST_NumGeometries(the_geom)") == [(1,), (300,)]
