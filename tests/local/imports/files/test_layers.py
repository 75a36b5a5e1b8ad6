"""Layers that GDAL reads: headers of sheets, times with zones, layers without rows, curves."""

from __future__ import annotations

import json
import sqlite3
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from cartoframes_lite.local.plan import Plan
from tests.local.imports.files.conftest import Importer
from tests.local.imports.files.test_formats import frame, write

KML = '<?xml version="1.0"?><kml xmlns="http://www.opengis.net/kml/2.2"><Document>{}</Document></kml>'
PLACEMARK = "<Placemark>{}<Point><coordinates>2,1</coordinates></Point></Placemark>"
GPX = '<?xml version="1.0"?><gpx version="1.1" creator="t" xmlns="http://www.topografix.com/GPX/1/1">{}</gpx>'
WRITTEN = ("2020-01-01T12:00:00+05:30", "2020-01-01T12:00:00.250-03:00", "2020-01-01T12:00:00Z", "2020-01-01T12:00:00")
MOMENTS = [
    (datetime(2020, 1, 1, 6, 30),),
    (datetime(2020, 1, 1, 15, 0, 0, 250_000),),
    (datetime(2020, 1, 1, 12),),
    (datetime(2020, 1, 1, 12),),
]


def kml_times(importer: Importer) -> Path:
    marks = (PLACEMARK.format(f"<TimeStamp><when>{text}</when></TimeStamp>") for text in WRITTEN)
    return importer.write("t.kml", KML.format("".join(marks)))


def gpx_times(importer: Importer) -> Path:
    points = (f'<wpt lat="1" lon="2"><time>{text}</time></wpt>' for text in WRITTEN)
    return importer.write("t.gpx", GPX.format("".join(points)))


def geojson_times(importer: Importer) -> Path:
    features = [{"type": "Feature", "properties": {"time": text}, "geometry": None} for text in WRITTEN]
    return importer.write("t.geojson", json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.mark.parametrize(
    ("make", "column"), [(kml_times, "timestamp"), (gpx_times, '"time"'), (geojson_times, '"time"')]
)
def test_times_have_their_zones(importer: Importer, make: Any, column: str) -> None:
    importer.run(make(importer))
    assert importer.rows("t", f"{column} AT TIME ZONE 'UTC'") == MOMENTS


@pytest.mark.parametrize(
    ("driver", "extension"),
    [("GPKG", "gpkg"), ("SQLite", "sqlite"), ("FlatGeobuf", "fgb"), ("XLSX", "xlsx"), ("ODS", "ods")],
)
def test_times_of_other_formats(importer: Importer, driver: str, extension: str) -> None:
    table = frame().assign(moment=pd.to_datetime(["2020-01-01T12:00:00.250", None]))
    zoned = frame().assign(moment=pd.to_datetime(["2020-01-01T12:00:00.250+05:30", None]))
    if driver in ("XLSX", "ODS"):  # where times have no zones
        table, zoned = (one.drop(columns="geometry") for one in (table, table))
    importer.run(write(table, importer.directory / f"plain.{extension}", driver))
    importer.run(write(zoned, importer.directory / f"zoned.{extension}", driver))
    assert importer.own_columns("plain")["moment"] == "timestamp with time zone"
    plain, zoned_rows = (importer.rows(name, "moment AT TIME ZONE 'UTC'") for name in ("plain", "zoned"))
    assert plain == [(datetime(2020, 1, 1, 12, 0, 0, 250_000),), (None,)]
    hour, minute = (12, 0) if driver in ("XLSX", "ODS") else (6, 30)
    assert zoned_rows == [(datetime(2020, 1, 1, hour, minute, 0, 250_000),), (None,)]


def folders(importer: Importer, *, empty: int, filled: int) -> Path:
    parts = [f"<Folder><name>e{at}</name></Folder>" for at in range(empty)]
    parts += [f"<Folder><name>f{at}</name>{PLACEMARK.format('')}</Folder>" for at in range(filled)]
    return importer.write("t.kml", KML.format("".join(parts)))


def test_empty_layers_do_not_count(importer: Importer) -> None:
    plan = Plan(layers=3)
    assert importer.run(folders(importer, empty=20, filled=3), plan=plan) == ["t_f0", "t_f1", "t_f2"]
    assert importer.code(folders(importer, empty=20, filled=4), plan=plan) == 1019


SHEETS = [("xlsx", "XLSX"), ("ods", "ODS")]


@pytest.mark.parametrize(("extension", "driver"), SHEETS)
def test_the_first_row_of_a_sheet_is_its_header(importer: Importer, extension: str, driver: str) -> None:
    table = pd.DataFrame({"name": ["x", "y"], "town": ["Ä", "b"]})
    importer.run(write(table, importer.directory / f"t.{extension}", driver))
    assert importer.rows("t", "name", "town") == [("x", "Ä"), ("y", "b")]


@pytest.mark.parametrize(("extension", "driver"), SHEETS)
def test_a_sheet_of_numbers_has_no_header(importer: Importer, extension: str, driver: str) -> None:
    table = pd.DataFrame({"1": [3, 5], "2.5": [4, 6]})
    importer.run(write(table, importer.directory / f"t.{extension}", driver))
    assert len(importer.rows("t", "1")) == 3
    assert not {"1", "_1"} & set(importer.own_columns("t"))


def test_curves_are_refused_in_words(importer: Importer) -> None:
    path = write(frame(), importer.directory / "t.gpkg", "GPKG")
    string = struct.pack("<BII6d", 1, 8, 3, 0, 0, 1, 1, 2, 0)  # CIRCULARSTRING (0 0, 1 1, 2 0)
    header = struct.pack("<2sBBi", b"GP", 0, 1, 4326)
    with sqlite3.connect(path) as connection:
        for trigger in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f'DROP TRIGGER "{trigger[0]}"')
        connection.execute("UPDATE t SET geom = ?", (header + string,))
    connection.close()
    assert importer.code(path) == 2014
