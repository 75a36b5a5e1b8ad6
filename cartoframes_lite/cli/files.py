"""Write frames to files of any format."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import geopandas as gpd
import pandas as pd
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

ERRORS_OF_GDAL = (DataSourceError, DataLayerError)  # and the classes derived from them
COMPRESSED = (".gz", ".bz2", ".zip", ".xz", ".zst")
SEPARATORS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".psv": "|"}
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


class UsageError(ValueError):
    """The arguments do not fit each other, or name a format or an account that cannot be used."""


def is_standard_stream(file: str) -> bool:
    """Return whether a file argument stands for the standard input or output."""
    return file == "-"


def suffix_of(path: Path) -> str:
    """Return the suffix of the format, without that of a compression of CSV."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if len(suffixes) > 1 and suffixes[-1] in COMPRESSED and suffixes[-2] in SEPARATORS:
        return suffixes[-2]
    return suffixes[-1] if suffixes else ""


def is_csv(file: str) -> bool:
    """Return whether a file argument stands for CSV, with any separator."""
    return is_standard_stream(file) or suffix_of(Path(file)) in SEPARATORS


def require_utf8_name(file: str) -> None:
    """Raise UsageError for a file name that GDAL cannot open."""
    try:
        file.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the file name {file!r} is not UTF-8, which this format requires: use another name") from None


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
    UsageError
        If the suffix stands for no format.
    ValueError
        Raised by the function if the format cannot hold a frame.
    """
    if is_standard_stream(file):
        return lambda frame: _with_text_geometry(frame).to_csv(sys.stdout, index=False)
    target = Path(file)
    writer = _writer(target, layer)

    def write(frame: pd.DataFrame) -> None:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
            try:
                writer(frame, Path(folder) / target.name)
            except ERRORS_OF_GDAL as error:
                raise ValueError(f"cannot write {file!r}: {error}") from error
            for written in Path(folder).iterdir():  # a shapefile consists of several
                written.replace(target.parent / written.name)

    return write


def _writer(target: Path, name: str) -> Callable[[pd.DataFrame, Path], object]:
    """Return the function that writes the format of a file; raise ValueError for an unknown one."""
    suffix = suffix_of(target)
    if suffix in SEPARATORS:
        return lambda frame, path: _with_text_geometry(frame).to_csv(path, sep=SEPARATORS[suffix], index=False)
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
            raise UsageError(f"cannot derive a format from the suffix of {str(target)!r}: {error}") from error
    require_utf8_name(str(target.absolute()))
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
