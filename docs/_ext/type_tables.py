"""The tables of docs/types.md: what the codec makes of a value of each type, found out by letting it make it."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import geopandas as gpd
import pandas as pd
import pyarrow as pa
import shapely
from generated import directive, table
from sphinx.application import Sphinx

from cartoframes_lite._codec import pgtypes
from cartoframes_lite._codec.frame import from_arrow
from cartoframes_lite._codec.to_series import Backend
from cartoframes_lite.write.payload import prepare

_POINT = shapely.Point(2.35, 48.85)
_NOON = datetime.datetime(2026, 11, 21, 12)
# One value for each kind of text or bytes that is read, and for each Arrow type.
_SAMPLES: dict[pgtypes.Kind, Any] = {
    pgtypes.Kind.NUMERIC: "1.5",
    pgtypes.Kind.JSON: '{"a": 1}',
    pgtypes.Kind.ARRAY: "[1]",
}
_SENT_BYTES = {"path": 5, "polygon": 4, "circle": 24}  # of other types that come in binary form 16
_VALUES: dict[pa.DataType, Any] = {
    pa.bool_(): True,
    pa.date32(): _NOON.date(),
    pa.time64("us"): _NOON.time(),
    pa.timestamp("us"): _NOON,
    pa.timestamp("us", tz="UTC"): _NOON,
    pa.large_string(): "text",
    pa.large_binary(): b"bytes",
}
# What stands for the types that are read as text.
_OTHERS = ("`text`", "`varchar`", "`uuid`", "`money`", "any other type, such as an enum or a range")


def _sample(rule: pgtypes.Incoming) -> Any:
    if rule.kind is pgtypes.Kind.GEOMETRY:
        return shapely.to_wkb(shapely.set_srid(_POINT, 4326), include_srid=True)
    if rule.kind is pgtypes.Kind.BINARY_TEXT:
        return bytes(_SENT_BYTES.get(str(rule.element), 16))
    return _SAMPLES.get(rule.kind) or _VALUES.get(rule.arrow, 1)


def _read(pgtype: str, values: Sequence[Any], coerce_float: bool, backend: Backend | None = None) -> str:
    """Say what a column with these values becomes."""
    column = pgtypes.SourceColumn("c", pgtype, srid=4326)
    batch = pa.record_batch([pa.array(values, column.rule.arrow)], names=["c"])
    series = from_arrow([batch], [column], coerce_float=coerce_float, backend=backend)["c"]
    return _name(series)


def _name(series: pd.Series) -> str:
    """Name a dtype; that of Python objects by their class."""
    if series.dtype == object:
        return f"objects: `{type(series[0]).__name__}`"
    return f"`{series.dtype}`"


def reading() -> str:
    """Write the table of types that are read, those together that become the same."""
    groups: dict[tuple[str, ...], list[str]] = {}
    known = [(f"`{name}`", name) for name in pgtypes._INCOMING]
    exact = "`numeric`, with `coerce_float=False`"
    for shown, pgtype in [*known, (exact, "numeric"), *((name, "text") for name in _OTHERS), ("arrays", "_int4")]:
        value = _sample(pgtypes.incoming(pgtype))
        cells = [
            _read(pgtype, [value], shown != exact),
            _read(pgtype, [value, None], shown != exact),
            _read(pgtype, [value, None], shown != exact, "numpy_nullable"),
            _read(pgtype, [value, None], shown != exact, "pyarrow"),
        ]
        cells[1:] = ["" if cell == cells[0] else cell for cell in cells[1:]]
        groups.setdefault(tuple(cells), []).append(shown)
    head = ["PostgreSQL", "read as", "with NULL", '`"numpy_nullable"`', '`"pyarrow"`']
    return table(head, ([", ".join(names), *cells] for cells, names in groups.items()))


def _written() -> dict[str, Any]:
    """Give columns of every dtype that can be written, by the name that the table has for it."""
    numbers = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
    numbers += [number.replace("int", "Int").replace("uI", "UI") for number in numbers]
    floats = ["float16", "float32", "float64", "Float32", "Float64"]
    columns: dict[str, Any] = {f"`{dtype}`": pd.Series([1], dtype=dtype) for dtype in [*numbers, *floats]}
    columns |= {f"`{dtype}`": pd.Series([True], dtype=dtype) for dtype in ("bool", "boolean")}
    columns |= {f"`{dtype}`": pd.Series(["text"], dtype=dtype) for dtype in ("str", "string", "object", "category")}
    columns |= {f"`datetime64[{unit}]`": pd.Series([_NOON]).astype(f"M8[{unit}]") for unit in ("s", "ms", "us", "ns")}
    columns |= {f"`datetime64[us, {zone}]`": pd.Series([_NOON]).dt.tz_localize(zone) for zone in ("UTC", "Asia/Tokyo")}
    columns |= {f"`timedelta64[{unit}]`": pd.Series([datetime.timedelta(1)]).astype(f"m8[{unit}]") for unit in ("us",)}
    arrow = [pa.date32(), pa.time64("us"), pa.decimal128(9, 2), pa.binary()]
    samples = [_NOON.date(), _NOON.time(), Decimal("1.5"), b"bytes"]
    for kind, value in zip(arrow, samples, strict=True):
        series = pd.Series(pd.arrays.ArrowExtensionArray(pa.array([value], kind)))
        columns[f"`{series.dtype}`"] = series
    objects = [*samples, _NOON, datetime.timedelta(1), uuid.UUID(int=1), {"a": 1}, 1 << 70]
    named = {f"objects: `{type(value).__name__}`": value for value in objects}
    named["objects: `int` beyond `int8`"] = named.pop("objects: `int`")
    named |= {"lists of one type, e.g. `int`": [1], "lists of `str`": ["a"], "lists of several types": [1, "a"]}
    columns |= {name: pd.Series([value], dtype=object) for name, value in named.items()}
    columns["`geometry`"] = gpd.GeoSeries([_POINT], crs=4326)
    return columns


def writing() -> str:
    """Write the table of dtypes that are written, those together for which the same column is made."""
    groups: dict[str, list[str]] = {}
    for name, series in _written().items():
        (column,) = prepare(pd.DataFrame({"c": series})).columns
        groups.setdefault(column.final_type, []).append(name)
    return table(["written from", "PostgreSQL"], ([", ".join(names), f"`{pg}`"] for pg, names in groups.items()))


def appending() -> str:
    """Write which families of types may be appended to columns of which others."""
    names = [*pgtypes._FAMILIES, "uuid"]
    rows = []
    for have in names:
        others = [want for want in names if want != have and pgtypes.convertible(have, want)]
        rows.append([_members(have), ", ".join(others) if others else "none"])
    return table(["values of", "also into columns of"], rows)


def _members(family: str) -> str:
    members = [name for name, of in pgtypes._MEMBERS.items() if of == family and " " not in name]
    return family + (f" ({', '.join(f'`{name}`' for name in members)})" if members not in ([], [family]) else "")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directives."""
    app.add_directive("types-read", directive(reading))
    app.add_directive("types-written", directive(writing))
    app.add_directive("types-appended", directive(appending))
    return {"parallel_read_safe": True}
