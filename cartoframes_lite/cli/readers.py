"""Read files of any format in frames, in bounded memory where the format allows it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyogrio

from cartoframes_lite._codec.frame import is_geometry
from cartoframes_lite.cli.csv_frames import read_csv
from cartoframes_lite.cli.files import (
    ERRORS_OF_GDAL,
    SEPARATORS,
    UsageError,
    is_standard_stream,
    require_utf8_name,
    suffix_of,
)
from cartoframes_lite.geoparquet import SUFFIXES, read_parquet
from cartoframes_lite.write.arrow_frames import frames_of
from cartoframes_lite.write.frame_geometry import with_geometry

_THE_GEOM = "the_geom"
_PICKLES = (".pkl", ".pickle")  # reading one runs code that it contains
_MAX_EXACT = 2**53


def _untyped(read: Callable[..., pd.DataFrame], **keywords: Any) -> Callable[..., pd.DataFrame]:
    """Return a reader of a format without types, for which pandas makes floats of integers if values are missing."""

    def read_with_integers(path: str, **more: Any) -> pd.DataFrame:
        frame = read(path, **keywords, **more)
        for name, column in frame.items():
            if column.dtype == "float64" and column.isna().any():
                present = column.dropna()
                if len(present) and (present % 1 == 0).all() and present.abs().max() <= _MAX_EXACT:
                    frame[name] = column.astype("Int64")
        return frame

    return read_with_integers


_READERS: dict[str, Callable[..., pd.DataFrame]] = {
    ".xlsx": _untyped(pd.read_excel),
    ".xls": _untyped(pd.read_excel),
    ".ods": _untyped(pd.read_excel),
    ".jsonl": _untyped(pd.read_json, lines=True),
    ".ndjson": _untyped(pd.read_json, lines=True),
    ".dta": pd.read_stata,
    ".sas7bdat": pd.read_sas,
    ".sav": pd.read_spss,
    ".orc": pd.read_orc,
    ".xml": _untyped(pd.read_xml),
}
_WORKBOOKS = (".xlsx", ".xls", ".ods")


def read_frames(file: str, *, layer: str | None, lnglat: str | None, crs: str | None) -> Iterator[pd.DataFrame]:
    """Read a file in frames; with points of two columns, or in a CRS, if these are given.

    Yields at least one frame. CSV, Parquet and the formats of GDAL are read in bounded memory.

    Raises
    ------
    OSError
        If the file cannot be opened.
    UsageError
        If its format is unknown or not allowed, or the columns of ``lnglat`` are missing.
    ValueError
        If its content is invalid.
    """
    for frame in _read(file, layer):
        yield _located(frame, file, lnglat, crs)


def _located(frame: pd.DataFrame, file: str, lnglat: str | None, crs: str | None) -> pd.DataFrame:
    """Return a frame with the geometry that the arguments, or a column ``the_geom``, describe."""
    if lnglat is not None:
        names = [name.strip() for name in lnglat.split(",")]
        if len(names) != 2 or any(name not in frame.columns for name in names):
            raise UsageError(
                f"--lnglat must be two columns of the file, such as lng,lat, not {lnglat!r}: it has"
                f" {', '.join(map(str, frame.columns))}"
            )
        points = gpd.points_from_xy(*(_floats(frame[name]) for name in names))
        points[frame[names].isna().any(axis=1).to_numpy()] = None
        placed: pd.DataFrame = gpd.GeoDataFrame(frame.drop(columns=names), geometry=points, crs=crs or "EPSG:4326")
        return placed
    if not isinstance(frame, gpd.GeoDataFrame) and _THE_GEOM in frame.columns:
        parsed: pd.DataFrame = _parse_geometry(frame, crs)
        return parsed
    if crs is not None:
        if not isinstance(frame, gpd.GeoDataFrame):
            raise UsageError(f"--crs is for files with geometries, and {file!r} has none")
        frame = frame.set_crs(crs)
    return frame


def _floats(column: pd.Series[Any]) -> Any:
    return pd.to_numeric(column).to_numpy(dtype="float64", na_value=np.nan)


def _parse_geometry(frame: pd.DataFrame, crs: str | None) -> gpd.GeoDataFrame:
    """Parse the column ``the_geom`` of a file without a type for geometries, as ``geom_col`` of ``to_carto`` does."""
    parsed = with_geometry(frame, _THE_GEOM, None)
    if not is_geometry(parsed[_THE_GEOM]):  # without values
        return gpd.GeoDataFrame(frame.assign(**{_THE_GEOM: None}), geometry=_THE_GEOM, crs=crs or "EPSG:4326")
    located = gpd.GeoDataFrame(parsed, geometry=_THE_GEOM)
    if crs is None:
        return located
    # Values without SRID are in EPSG:4326 so far; another SRID is not overridden.
    return located.set_crs(crs, allow_override=located.crs == "EPSG:4326")


def _read(file: str, layer: str | None) -> Iterator[pd.DataFrame]:
    """Read a file by the reader of its suffix, else with GDAL."""
    if is_standard_stream(file):
        yield from read_csv(file, None, as_text=(_THE_GEOM,))
        return
    path = Path(file)
    suffix = suffix_of(path)
    if "://" not in file and not file.startswith("/vsi") and not path.is_dir():
        path.open("rb").close()  # raise OSError, with the same message for all formats
    if suffix in _PICKLES:
        raise UsageError(f"{file!r} is a pickle, which can run code when it is read: convert it to Parquet")
    if suffix in SEPARATORS:
        separator = None if suffix == ".csv" else SEPARATORS[suffix]
        yield from read_csv(file, separator, as_text=(_THE_GEOM,))
    elif suffix in SUFFIXES:
        yield from read_parquet(file)
    elif suffix in (".feather", ".arrow"):
        try:
            yield gpd.read_feather(file)
        except ValueError:  # without geometries
            yield pd.read_feather(file)
    elif suffix in _READERS:
        yield _READERS[suffix](file, **({"sheet_name": layer} if suffix in _WORKBOOKS and layer else {}))
    elif suffix == ".json" and not _is_geojson(path):
        yield _untyped(pd.read_json)(file)
    else:
        require_utf8_name(file)
        try:
            yield from _read_with_gdal(file, layer)
        except (*ERRORS_OF_GDAL, pa.ArrowException) as error:
            message = f"cannot read {file!r}: {error}"
            raise ValueError(message) if _is_format(suffix) else UsageError(message) from error


def _read_with_gdal(file: str, layer: str | None) -> Iterator[pd.DataFrame]:
    """Read a file in batches as Arrow data, whose types have missing values; one with M values or curves as a whole."""
    # FlatGeobuf's own implementation returns invalid arrays if geometries are missing.
    pyogrio.set_gdal_config_options({"OGR_FLATGEOBUF_STREAM_BASE_IMPL": True})
    with pyogrio.open_arrow(file, layer=layer, use_pyarrow=True) as (info, reader):
        if re.search("Measured|Curve|Surface|Circular|TIN|Triangle| Z?M", info["geometry_type"] or ""):
            yield pyogrio.read_dataframe(file, layer=layer)
            return
        name = info["geometry_name"] or "wkb_geometry"
        schema = pa.schema([field.with_metadata(None) for field in reader.schema])
        batches = (_valid(pa.RecordBatch.from_arrays(batch.columns, schema=schema)) for batch in reader)
        for frame in frames_of(pa.RecordBatchReader.from_batches(schema, batches)):
            if name in schema.names:
                wkb = [value if isinstance(value, bytes) else None for value in frame[name]]
                frame[name] = gpd.GeoSeries.from_wkb(wkb, crs=info["crs"])
                yield gpd.GeoDataFrame(frame, geometry=name)
            else:
                yield frame


def _valid(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch of a driver after checks without which reading an invalid one would end the process."""
    batch.validate(full=True)
    return batch


def _is_format(suffix: str) -> bool:
    """Return whether GDAL has a format for a suffix."""
    try:
        pyogrio.detect_write_driver(f"file{suffix}")
    except ValueError:
        return False
    return True


def _is_geojson(path: Path) -> bool:
    """Return whether the beginning of a JSON file looks like that of GeoJSON or TopoJSON."""
    with path.open("rb") as file:
        head = file.read(1 << 16)
    return re.search(rb'"type"\s*:\s*"(?:Feature|FeatureCollection|Topology|GeometryCollection)"', head) is not None
