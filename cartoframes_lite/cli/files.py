"""Files of any format: read into a frame, and written from a frame."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import geopandas as gpd
import pandas as pd
import pyarrow.parquet as pq
import pyogrio
import shapely
from pyogrio.errors import DataSourceError

from cartoframes_lite.geoparquet import SUFFIXES

_COMPRESSED = (".gz", ".bz2", ".zip", ".xz", ".zst")
_SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
_READERS: dict[str, Callable[..., pd.DataFrame]] = {
    ".xlsx": pd.read_excel,
    ".xls": pd.read_excel,
    ".ods": pd.read_excel,
    ".jsonl": lambda path: pd.read_json(path, lines=True),
    ".ndjson": lambda path: pd.read_json(path, lines=True),
    ".dta": pd.read_stata,
    ".sas7bdat": pd.read_sas,
    ".sav": pd.read_spss,
    ".orc": pd.read_orc,
    ".xml": pd.read_xml,
}
_WRITERS: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    ".xlsx": lambda frame, path: frame.to_excel(path, index=False),
    ".ods": lambda frame, path: frame.to_excel(path, index=False),
    ".jsonl": lambda frame, path: frame.to_json(path, orient="records", lines=True, date_format="iso"),
    ".ndjson": lambda frame, path: frame.to_json(path, orient="records", lines=True, date_format="iso"),
    ".dta": lambda frame, path: frame.to_stata(path, write_index=False),
    ".orc": lambda frame, path: frame.to_orc(path, index=False),
    ".html": lambda frame, path: frame.to_html(path, index=False),
}
# Suffixes that GDAL does not map to one driver.
_DRIVERS = {
    ".json": "GeoJSON",
    ".zip": "ESRI Shapefile",
    ".shp": "ESRI Shapefile",
    ".kml": "LIBKML" if "LIBKML" in pyogrio.list_drivers(write=True) else "KML",
}
_THE_GEOM = "the_geom"
_PICKLES = (".pkl", ".pickle")  # reading one runs code that it contains


def is_standard_stream(file: str) -> bool:
    """Return whether a file argument stands for the standard input or output."""
    return file == "-"


def read_file(file: str, *, layer: str | None, lnglat: str | None, crs: str | None) -> pd.DataFrame:
    """Read a file; with points of two columns, or in a CRS, if these are given.

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If its format is unknown or its content invalid, or the columns are missing.
    """
    frame: pd.DataFrame = _read_csv(sys.stdin, ",") if is_standard_stream(file) else _read_path(file, layer)
    if lnglat is not None:
        names = [name.strip() for name in lnglat.split(",")]
        missing = [name for name in names if name not in frame.columns]
        if len(names) != 2 or missing:
            raise ValueError(f"--lnglat must be two columns of the file, such as lng,lat, not {lnglat!r}")
        points = gpd.points_from_xy(*(pd.to_numeric(frame[name]) for name in names))
        points[frame[names].isna().any(axis=1).to_numpy()] = None
        placed: pd.DataFrame = gpd.GeoDataFrame(frame.drop(columns=names), geometry=points, crs=crs or "EPSG:4326")
        return placed
    if not isinstance(frame, gpd.GeoDataFrame) and _THE_GEOM in frame.columns:
        parsed: pd.DataFrame = _parse_geometry(frame, crs or "EPSG:4326")
        return parsed
    if crs is not None:
        if not isinstance(frame, gpd.GeoDataFrame):
            raise ValueError(f"--crs is for files with geometries, and {file!r} has none")
        frame = frame.set_crs(crs)
    return frame


def _parse_geometry(frame: pd.DataFrame, crs: str) -> gpd.GeoDataFrame:
    """Parse the column ``the_geom`` of a file without a type for geometries: WKT, or hex EWKB as in CARTO's exports."""
    texts = [None if pd.isna(text) else text for text in frame[_THE_GEOM]]
    first = next((text for text in texts if text is not None), "")
    is_hex = re.fullmatch(r"[0-9A-Fa-f]+", str(first)) is not None
    try:
        geometries = shapely.from_wkb(texts) if is_hex else shapely.from_wkt(texts)
    except (shapely.errors.ShapelyError, TypeError) as error:
        raise ValueError(f"the column the_geom contains neither WKT nor hex WKB: {error}") from error
    return gpd.GeoDataFrame(frame.assign(**{_THE_GEOM: geometries}), geometry=_THE_GEOM, crs=crs)


def _read_path(file: str, layer: str | None) -> Any:
    """Read a file by the reader of its suffix, else with GDAL."""
    path = Path(file)
    suffix = _suffix(path)
    if "://" not in file and not file.startswith("/vsi") and not path.is_dir():
        path.open("rb").close()  # raise OSError, with the same message for all formats
    if suffix in _PICKLES:
        raise ValueError(f"{file!r} is a pickle, which can run code when it is read: convert it to Parquet")
    if suffix in _SEPARATORS:
        return _read_csv(file, _SEPARATORS[suffix])
    if suffix in SUFFIXES:
        return gpd.read_parquet(file) if b"geo" in (pq.read_metadata(file).metadata or {}) else pd.read_parquet(file)
    if suffix in (".feather", ".arrow"):
        try:
            return gpd.read_feather(file)
        except ValueError:  # without geometries
            return pd.read_feather(file)
    if suffix in _READERS:
        is_workbook = _READERS[suffix] is pd.read_excel
        return _READERS[suffix](file, **({"sheet_name": layer} if is_workbook and layer else {}))
    if suffix == ".json" and not _is_geojson(path):
        return pd.read_json(path)
    try:
        return pyogrio.read_dataframe(file, layer=layer)
    except DataSourceError as error:
        raise ValueError(f"cannot read {file!r}: {error}") from error


def _read_csv(file: str | TextIO, separator: str) -> pd.DataFrame:
    """Read CSV; the_geom is text, because hex digits with a single E among them would be a number."""
    return pd.read_csv(file, sep=separator, low_memory=False, dtype={_THE_GEOM: str})


def _suffix(path: Path) -> str:
    """Return the suffix of the format, without that of a compression of CSV."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in _COMPRESSED and suffixes[-2] in _SEPARATORS:
        return suffixes[-2]
    return suffixes[-1] if suffixes else ""


def _is_geojson(path: Path) -> bool:
    """Return whether the beginning of a JSON file looks like that of GeoJSON or TopoJSON."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return re.search(rb'"type"\s*:\s*"(?:Feature|FeatureCollection|Topology|GeometryCollection)"', head) is not None


def find_writer(file: str, *, layer: str) -> Callable[[pd.DataFrame], None]:
    """Return the function that writes a frame to a file, which is created or replaced only when it is complete.

    Parameters
    ----------
    file : str
        Its suffix determines the format. "-" stands for CSV to the standard output.
    layer : str
        Name of the layer, in formats that have one.

    Raises
    ------
    ValueError
        If the suffix stands for no format. The function raises it if the format cannot hold a frame.
    """
    if is_standard_stream(file):
        return lambda frame: _with_text_geometry(frame).to_csv(sys.stdout, index=False)
    target = Path(file)
    writer = _writer(target, layer)

    def write(frame: pd.DataFrame) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            try:
                writer(frame, Path(folder) / target.name)
            except (DataSourceError, pyogrio.errors.FeatureError, pyogrio.errors.GeometryError) as error:
                raise ValueError(f"cannot write {file!r}: {error}") from error
            for written in Path(folder).iterdir():  # a shapefile consists of several
                written.replace(target.parent / written.name)

    return write


def _writer(target: Path, name: str) -> Callable[[pd.DataFrame, Path], object]:
    """Return the function that writes the format of a file; raise ValueError for an unknown one."""
    suffix = _suffix(target)
    if suffix in _SEPARATORS:
        return lambda frame, path: _with_text_geometry(frame).to_csv(path, sep=_SEPARATORS[suffix], index=False)
    if suffix in (".feather", ".arrow"):
        return lambda frame, path: frame.to_feather(path)
    if suffix in _WRITERS:
        return lambda frame, path: _WRITERS[suffix](_with_text_geometry(frame), path)
    if suffix in _DRIVERS:
        driver = _DRIVERS[suffix]
    else:
        try:
            driver = pyogrio.detect_write_driver(target)
        except ValueError as error:
            raise ValueError(f"cannot derive a format from the suffix of {str(target)!r}: {error}") from error
    layer = re.sub(r"\W+", "_", name)[:60] if re.fullmatch(r"[\w.]+", name) else target.stem

    def write(frame: pd.DataFrame, path: Path) -> None:
        written = path.with_suffix(".shz") if suffix == ".zip" else path  # GDAL's suffix of a zipped shapefile
        frame = _for_gdal(frame, has_times=driver != _DRIVERS[".zip"])
        # FlatGeobuf stores no missing geometries together with an index.
        has_index = not (isinstance(frame, gpd.GeoDataFrame) and frame.geometry.isna().any())
        options = {} if has_index or driver != "FlatGeobuf" else {"SPATIAL_INDEX": "NO"}
        pyogrio.write_dataframe(frame, written, driver=driver, layer=layer, **options)
        if written != path:
            written.replace(path)

    return write


def _with_text_geometry(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose geometries are WKT, and whose dicts and lists are JSON."""
    result = _with_text_objects(pd.DataFrame(frame))
    for column in frame.columns[frame.dtypes == "geometry"]:
        result[column] = shapely.to_wkt(frame[column].array, rounding_precision=-1)
    return result


def _for_gdal(frame: pd.DataFrame, *, has_times: bool) -> pd.DataFrame:
    """Return a frame with types that GDAL writes; further geometry columns become WKT."""
    result = _with_text_objects(frame)
    active = frame.active_geometry_name if isinstance(frame, gpd.GeoDataFrame) else None
    for column in frame.columns[frame.dtypes == "geometry"]:
        if column != active:
            result[column] = shapely.to_wkt(frame[column].array, rounding_precision=-1)
    for column in _object_columns(frame):
        if any(isinstance(value, bytes) for value in result[column]):
            result[column] = [None if value is None else value.hex() for value in result[column]]
    for column in frame.columns:
        dtype = frame[column].dtype
        is_time = pd.api.types.is_datetime64_any_dtype(dtype)
        if isinstance(dtype, pd.ArrowDtype) or (is_time and not has_times):
            result[column] = frame[column].astype("string")
    return result


def _with_text_objects(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose dicts and lists are JSON."""
    result = frame.copy(deep=False)
    for column in _object_columns(frame):
        values = frame[column]
        if any(isinstance(value, (dict, list)) for value in values):
            result[column] = [_json_text(value) for value in values]
    return result


def _object_columns(frame: pd.DataFrame) -> list[Any]:
    """Return the columns of Python objects."""
    return [column for column, dtype in frame.dtypes.items() if pd.api.types.is_object_dtype(dtype)]


def _json_text(value: Any) -> Any:
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, (dict, list)) else value
