"""Choose the columns of a frame that are written, with their names and requested types in the table."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import geopandas as gpd
import pandas as pd

from cartoframes_lite._codec.frame import THE_GEOM, WEB_MERCATOR, is_geometry
from cartoframes_lite._codec.names import normalize_columns
from cartoframes_lite._codec.pgtypes import checked_type
from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.columns import check_column_count


def choose_columns(
    frame: pd.DataFrame,
    geom_col: Hashable | None,
    index: bool,
    index_label: Hashable | Sequence[Hashable] | None,
    dtype: Mapping[Any, str] | None,
    key: Hashable | Sequence[Hashable] | None,
) -> list[tuple[pd.Series[Any], str, str | None, bool]]:
    """Return the columns to write: the series, its name in the table, the type requested for it, and if it is a key."""
    name = frame.active_geometry_name if isinstance(frame, gpd.GeoDataFrame) else None
    frame = pd.DataFrame(frame)  # without attrs, of which pandas makes a deep copy for each column
    active = _active_geometry(frame, name, geom_col)
    if index:
        frame = _with_index(frame, index_label)
    # CARTO computes the_geom_webmercator; omitting it lets a frame that was read with it be written back.
    kept = [item for item in frame.items() if not (item[0] == WEB_MERCATOR and is_geometry(item[1]))]
    labels = [THE_GEOM if _is_active(label, active) else label for label, _ in kept]
    if not _is_active(THE_GEOM, active) and labels.count(THE_GEOM) > 1:
        raise ConversionError(
            f"columns {active!r} (the geometry) and {THE_GEOM!r} would both be named {THE_GEOM!r} in the table: "
            f"rename or drop the column {THE_GEOM!r}"
        )
    names = normalize_columns(labels)
    if WEB_MERCATOR in names:
        label = kept[names.index(WEB_MERCATOR)][0]
        raise ConversionError(
            f"column {label!r} would be named {WEB_MERCATOR!r}, a column that CARTO computes: rename or drop it"
        )
    labels = [label for label, _ in kept]
    requested = _requested_types(dtype or {}, labels, names)
    keys = _key_names(key, labels, names)
    check_column_count(len(names))
    return [(series, name, requested.get(name), name in keys) for (_, series), name in zip(kept, names, strict=True)]


def _is_active(label: Hashable, active: Hashable | None) -> bool:
    """Check whether a label is that of the active geometry, which may be None."""
    return active is not None and label == active


def _active_geometry(frame: pd.DataFrame, active: Hashable | None, geom_col: Hashable | None) -> Hashable | None:
    """Return the label of the column that becomes the_geom; ``active`` is the GeoDataFrame's active geometry."""
    geometries = [label for label, series in frame.items() if is_geometry(series)]
    if geom_col is not None:
        if geom_col not in frame.columns:
            raise ValueError(
                f"geom_col={geom_col!r} is not a column of the frame; its columns are {list(frame.columns)}"
            )
        if geom_col not in geometries:
            raise ConversionError(
                f"geom_col={geom_col!r} is neither a geometry column nor text or WKB: convert it, and set its CRS,"
                f" e.g. df[{geom_col!r}] = geopandas.GeoSeries.from_wkt(df[{geom_col!r}], crs=4326)"
            )
        return geom_col
    if active is not None:
        return active
    if len(geometries) > 1 and THE_GEOM not in geometries:
        raise ValueError(
            f"the frame has several geometry columns, {geometries}: pass the one that becomes {THE_GEOM} as geom_col"
        )
    return THE_GEOM if THE_GEOM in geometries else next(iter(geometries), None)


def _with_index(frame: pd.DataFrame, label: Hashable | Sequence[Hashable] | None) -> pd.DataFrame:
    """Insert the index levels as the first columns."""
    try:
        return frame.reset_index(names=label)
    except IndexError as error:
        raise ConversionError(
            f"index_label={label!r} has fewer names than the index has levels ({frame.index.nlevels}): pass one name"
            " per level"
        ) from error
    except ValueError as error:
        raise ConversionError(
            f"the index cannot be written as a column: {error}; pass another name as index_label"
        ) from error


def _requested_types(dtype: Mapping[Any, str], labels: list[Hashable], names: list[str]) -> dict[str, str]:
    """Validate the types requested with ``dtype`` and map column names of the table to them."""
    found = _names_in_table("dtype has the keys", dtype, labels, names)
    return {name: checked_type(sql_type) for name, sql_type in zip(found, dtype.values(), strict=True)}


def _key_names(key: Hashable | Sequence[Hashable] | None, labels: list[Hashable], names: list[str]) -> list[str]:
    """Return the names in the table of the columns of the key; a tuple can be a label or a sequence of labels."""
    if key is None:
        return []
    is_label = isinstance(key, str) or not isinstance(key, Sequence) or (isinstance(key, tuple) and key in labels)
    keys = [key] if is_label or not isinstance(key, Sequence) else list(key)
    if not keys or len(set(keys)) < len(keys):
        raise ValueError(f"key={key!r} must be a column, or a list of different columns")
    return _names_in_table("key has the columns", keys, labels, names)


def _names_in_table(what: str, given: Iterable[Any], labels: list[Hashable], names: list[str]) -> list[str]:
    """Return the names in the table of columns given by their labels, or by these names."""
    known: dict[Any, str] = {**dict(zip(labels, names, strict=True)), **{name: name for name in names}}
    given = list(given)
    unknown = [label for label in given if label not in known]
    if unknown:
        raise ValueError(f"{what} {unknown}, which are not columns of the frame; its columns are {labels}")
    return [known[label] for label in given]
