from __future__ import annotations

import gzip
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pytest
import shapely

import cartoframes_lite as cfl
from cartoframes_lite.cli import csv_frames
from cartoframes_lite.cli.files import UsageError, find_writer
from cartoframes_lite.cli.parser import main
from cartoframes_lite.cli.readers import read_frames
from cartoframes_lite.local import LocalCarto

QUERY = """
SELECT 7 AS n, 'Süd' AS name, '2026-01-02'::date AS day, '10:20'::time AS at, now() AS updated, true AS flag,
       '{"a": [1]}'::jsonb AS j, '{1,2}'::int[] AS list, ST_Point(1.123456789012345, 2, 4326) AS the_geom
UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
"""


@pytest.fixture(autouse=True)
def empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def account(credentials: cfl.Credentials, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CARTO_API_URL", str(credentials.base_url))
    monkeypatch.setenv("CARTO_API_KEY", str(credentials.api_key))


def read(file: str) -> pd.DataFrame:
    frames = list(read_frames(file, layer=None, lnglat=None, crs=None))
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def rows(carto_server: LocalCarto) -> gpd.GeoDataFrame:
    return cfl.read_carto(QUERY, carto_server.credentials)


@pytest.mark.parametrize(
    "name",
    [
        *("t.csv", "t.csv.gz", "t.tsv", "t.jsonl", "t.feather"),
        *("t.geojson", "t.json", "t.gpkg", "t.fgb", "t.zip", "t.kml", "t.geojsonl"),
    ],
)
def test_a_file_can_be_read_again(rows: gpd.GeoDataFrame, name: str, tmp_path: Path) -> None:
    find_writer(name, layer="SELECT 1")(rows)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    frame = read(name)
    assert isinstance(frame, gpd.GeoDataFrame)
    assert len(frame) == 2
    points = frame.geometry.dropna()
    assert points.x.item() == pytest.approx(1.123456789012345, abs=1e-7)
    assert points.crs == "EPSG:4326"


def test_a_download_can_be_uploaded(account: None, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("t.gpkg", "t.csv"):
        assert main(["download", QUERY, name]) == 0
        assert capsys.readouterr().out == f"{name}: 2 rows\n"
        assert main(["upload", name, "again", "--if-exists", "replace", "--quiet"]) == 0
        assert capsys.readouterr().out == "again: 2 rows written\n"
        stored = cfl.read_carto("again")
        assert stored["name"].dropna().tolist() == ["Süd"]
        assert stored.geometry.dropna().x.item() == 1.123456789012345


@pytest.mark.usefixtures("account")
def test_rows_without_geometry(tmp_path: Path) -> None:
    for name in ("t.gpkg", "t.parquet", "t.csv"):
        assert main(["download", "SELECT 1 AS a, 'x' AS b", name]) == 0
        assert read(name)[["a", "b"]].to_dict("list") == {"a": [1], "b": ["x"]}
        assert main(["upload", name, "t", "--if-exists", "replace"]) == 0
    assert cfl.Dataset("t").read(columns=["a", "b"]).to_dict("list") == {"a": [1], "b": ["x"]}


@pytest.mark.usefixtures("account")
def test_a_table_exported_by_carto(tmp_path: Path) -> None:
    cfl.to_carto(gpd.GeoDataFrame({"n": [1]}, geometry=gpd.points_from_xy([3], [4]), crs=4326), "t")
    cfl.Dataset("t").to_file("t.csv")  # with hex EWKB
    assert main(["upload", "t.csv", "u"]) == 0
    assert cfl.read_carto("u").geometry.to_wkt().tolist() == ["POINT (3 4)"]


@pytest.mark.usefixtures("account")
def test_a_failed_download_leaves_the_old_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.shp").write_text("old")
    assert main(["download", "SELECT 1 AS a, ST_Point(1, 2, 4326) AS the_geom UNION ALL"
                 " SELECT 2, ST_GeomFromText('LINESTRING(0 0, 1 1)', 4326)", "t.shp"]) == 1  # fmt: skip
    assert "cannot write 't.shp'" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["t.shp"]
    assert (tmp_path / "t.shp").read_text() == "old"


@pytest.mark.usefixtures("account")
def test_layers_and_crs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for layer, number in (("one", 1), ("two", 2)):
        points = gpd.GeoDataFrame({"n": [number]}, geometry=gpd.points_from_xy([0], [0]), crs=None)
        with pytest.warns(UserWarning, match="crs"):
            points.to_file("t.gpkg", layer=layer, driver="GPKG")
    assert main(["upload", "t.gpkg", "t", "--layer", "two"]) == 1
    assert "CRS" in capsys.readouterr().err
    assert main(["upload", "t.gpkg", "t", "--layer", "two", "--crs", "EPSG:3857"]) == 0
    assert cfl.read_carto("t")["n"].tolist() == [2]


@pytest.mark.parametrize(
    ("content", "lnglat", "message"),
    [
        ("a,b\n1,2\n", "a,c", "--lnglat must be two columns"),
        ("the_geom\nPOINT(\n", None, "a value that is no geometry in row 0"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, content: str, lnglat: str | None, message: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(ValueError, match=message):
        list(read_frames("t.csv", layer=None, lnglat=lnglat, crs=None))


CSV = """\
count,wide,code,flag,share,mixed,empty,big,the_geom
1, 2,01234,True,1.5,1,,12345678901234567890,POINT (1 2)
,+3,00001,,2,NA,,1,
-3,4,,FALSE,.5e3,"a,b",,2,POINT (3 4)
"""
TYPES = {"count": "int8", "wide": "int8", "code": "text", "flag": "bool", "share": "float8"}
TYPES |= {"mixed": "text", "empty": "text", "big": "text"}


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("rows", [1, 2, 100])
def test_csv_columns_have_the_type_of_all_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(csv_frames, "_ROWS", rows)
    (tmp_path / "t.csv").write_text(CSV)
    assert main(["upload", "t.csv", "t"]) == 0
    columns = cfl.Dataset("t").columns()
    assert {name: columns[name] for name in TYPES} == TYPES
    stored = cfl.read_carto("SELECT * FROM t ORDER BY cartodb_id")
    assert stored["count"].tolist() == [1, pd.NA, -3]
    assert stored["wide"].tolist() == [2, 3, 4]
    assert stored["code"].dropna().tolist() == ["01234", "00001"]
    assert stored["flag"].tolist() == [True, pd.NA, False]
    assert stored["share"].tolist() == [1.5, 2.0, 500.0]
    assert stored["mixed"].dropna().tolist() == ["1", "a,b"]
    assert stored["big"].tolist() == ["12345678901234567890", "1", "2"]
    assert stored.geometry.dropna().x.tolist() == [1, 3]


def test_numbers_of_csv_are_exact(tmp_path: Path) -> None:
    numbers = [0.1, 1 / 3, 1.7976931348623157e308, 5e-324, 0.30000000000000004, -123456789.12345679]
    (tmp_path / "t.csv").write_text("n\n" + "\n".join(map(repr, numbers)) + "\n")
    assert read("t.csv")["n"].tolist() == numbers
    (tmp_path / "i.csv").write_text("n\n9223372036854775807\n\n-9223372036854775808\n")
    assert read("i.csv")["n"].tolist() == [2**63 - 1, -(2**63)]


@pytest.mark.parametrize("name", ["t.csv", "t.parquet", "t.gpkg", "t.fgb"])
def test_large_files_are_read_in_parts(tmp_path: Path, name: str) -> None:
    rows = 150_000
    frame = gpd.GeoDataFrame({"n": range(rows)}, geometry=gpd.points_from_xy([1.5] * rows, [2.5] * rows), crs=4326)
    if name.startswith("t.csv"):
        pd.DataFrame({"n": range(rows), "the_geom": "POINT (1.5 2.5)"}).to_csv(name, index=False)
    elif name == "t.parquet":
        frame.to_parquet(name)
    else:
        frame.to_file(name)
    frames = list(read_frames(name, layer=None, lnglat=None, crs=None))
    assert len(frames) > 2
    assert max(map(len, frames)) < 70_000
    assert sorted(number for part in frames for number in part["n"]) == list(range(rows))
    assert all(part.crs == "EPSG:4326" and part.geometry.iloc[0].y == 2.5 for part in frames)


@pytest.mark.parametrize("name", ["t.gpkg", "t.geojson", "t.jsonl", "t.json"])
def test_integers_with_gaps_stay_integers(tmp_path: Path, name: str) -> None:
    frame = pd.DataFrame({"n": pd.array([1, None, 3], "Int64"), "share": [1.5, None, 2.0]})
    if name in ("t.gpkg", "t.geojson"):
        gpd.GeoDataFrame(frame, geometry=gpd.points_from_xy([0, 1, 2], [0, 1, 2]), crs=4326).to_file(name)
    else:
        frame.to_json(name, orient="records", lines=name == "t.jsonl")
    found = read(name)
    assert pd.api.types.is_integer_dtype(found["n"].dtype)
    assert found["n"].dropna().tolist() == [1, 3]
    assert found["share"].dropna().tolist() == [1.5, 2.0]


def test_files_of_unknown_formats(tmp_path: Path) -> None:
    for name, error in (("t.unknown", UsageError), ("t", UsageError), ("t.pkl", UsageError), ("t.gpkg", ValueError)):
        (tmp_path / name).write_text("junk")
        with pytest.raises(error, match=name) as caught:
            read(name)
        assert isinstance(caught.value, UsageError) == (error is UsageError)
    (tmp_path / "t.parquet").write_text("junk")
    with pytest.raises(cfl.ConversionError, match=r"t\.parquet' is not a Parquet file"):
        read("t.parquet")
    gpd.GeoDataFrame({"n": [1]}, geometry=gpd.points_from_xy([0], [0]), crs=4326).to_file("l.gpkg")
    with pytest.raises(ValueError, match=r"cannot read 'l\.gpkg': .*nope"):
        list(read_frames("l.gpkg", layer="nope", lnglat=None, crs=None))


@pytest.mark.parametrize("text", ["a;b\n1;x,y\n", "a\tb\n1\tx,y\n", "a|b\n1|x,y\n", 'a,b\n1,"x,y"\n', "a;b\n1;x,y;\n"])
def test_the_separator_of_csv_is_found(tmp_path: Path, text: str) -> None:
    for name in ("t.csv", "t.csv.gz"):
        content = text.encode()
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        assert read(name).to_dict("list") == {"a": [1], "b": ["x,y"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a,b\n1,2,3\n4,5\n", "as CSV: Length of header"),
        (b"a,b\n1,2\n3,4,5\n", "as CSV: .*Expected 2 fields in line 3"),
        (b"", "as CSV: No columns"),
        (b"a\n\xe9\n", "not UTF-8"),
    ],
)
def test_csv_that_would_lose_values_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ValueError, match=rf"cannot read 't\.csv'.*{message}"):
        read("t.csv")


def test_a_column_that_a_format_cannot_store(rows: gpd.GeoDataFrame, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot write 't\.gpx': Error adding field 'n'"):
        find_writer("t.gpx", layer="t")(rows)
    assert not list(tmp_path.iterdir())


def test_file_names_that_are_not_utf8(rows: gpd.GeoDataFrame, tmp_path: Path) -> None:
    find_writer("a\udcff.csv", layer="t")(rows)
    assert len(read("a\udcff.csv")) == 2
    with pytest.raises(UsageError, match="is not UTF-8, which this format requires"):
        find_writer("a\udcff.gpkg", layer="t")
    (tmp_path / "a\udcff.geojson").write_text("{}")
    with pytest.raises(UsageError, match="is not UTF-8, which this format requires"):
        read("a\udcff.geojson")


@pytest.mark.parametrize("crs", [None, "EPSG:3857"])
def test_text_geometries_keep_their_srid(crs: str | None, tmp_path: Path) -> None:
    point = shapely.set_srid(shapely.Point(111319.49, 0), 3857)
    texts = ["SRID=3857;POINT (111319.49 0)", shapely.to_wkb(point, hex=True, include_srid=True)]
    (tmp_path / "t.csv").write_text("the_geom,a\n" + "".join(f"{text},1\n" for text in [*texts, ""]))
    (frame,) = read_frames("t.csv", layer=None, lnglat=None, crs=crs)
    assert isinstance(frame, gpd.GeoDataFrame)
    assert frame.crs == "EPSG:3857"
    assert frame.geometry.dropna().x.tolist() == [111319.49, 111319.49]
    with pytest.raises(ValueError, match="already has a CRS"):
        list(read_frames("t.csv", layer=None, lnglat=None, crs="EPSG:2154"))


def test_a_geometry_column_without_values(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("the_geom,a\n,1\n,2\n")
    (frame,) = read_frames("t.csv", layer=None, lnglat=None, crs=None)
    assert isinstance(frame, gpd.GeoDataFrame)
    assert frame.geometry.isna().all()
