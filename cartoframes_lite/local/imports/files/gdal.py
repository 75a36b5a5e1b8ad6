"""Files to layers through GDAL, which runs in a process of its own."""

from __future__ import annotations

import json
import mmap
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio

from cartoframes_lite.local.imports.files.archives import SourceFile
from cartoframes_lite.local.imports.files.error_codes import ImportRefused
from cartoframes_lite.local.imports.files.formats import (
    GEOJSON,
    GEOJSON_LINES,
    GEOPACKAGE,
    ODS,
    SHAPEFILE,
    SQLITE,
    XLSX,
    Format,
)
from cartoframes_lite.local.imports.files.layers import GeometryColumn, SourceLayer
from cartoframes_lite.local.imports.files.names import normalize_columns, stem
from cartoframes_lite.local.imports.files.sqlite_check import check_database
from cartoframes_lite.local.imports.files.type_guessing import TIMESTAMP, convert
from cartoframes_lite.local.plan import Plan

_HEARTBEAT_S = 0.25
_READER = Path(__file__).with_name("gdal_reader.py")
_CONFINED = Path(__file__).with_name("sandbox.py")
_GDAL_VARIABLES = ("GDAL", "OGR", "CPL", "VSI", "AWS", "PROJ", "GML", "XLSX", "ODS", "SPATIALITE", "CURL", "SSL")
_NOWHERE = "http://127.0.0.1:1"
# Where the kernel does not do it. And schemas may call no functions but those that only compute.
_RESTRICTIONS = {
    "GDAL_HTTP_PROXY": _NOWHERE,
    "GDAL_HTTPS_PROXY": _NOWHERE,
    "GDAL_HTTP_TIMEOUT": "1",
    "PROJ_NETWORK": "OFF",
    "OGR_SQLITE_PRAGMA": "trusted_schema=OFF",
    "OGR_SQLITE_LIST_VIRTUAL_OGR": "NO",
}
_LINKED_CRS = re.compile(rb'"crs"\s*:\s*\{[^{}]*(?:\{[^{}]*\}[^{}]*)?"type"\s*:\s*"(?:link|url)"', re.IGNORECASE)


def read_layers(
    file: SourceFile,
    format_: Format,
    directory: Path,
    *,
    plan: Plan,
    still_wanted: Callable[[], object],
    type_guessing: bool = True,
) -> list[SourceLayer]:
    """Read all layers of a file.

    Parameters
    ----------
    file : SourceFile
    format_ : Format
        Its format.
    directory : Path
        Empty, for the rows; must last as long as the layers.
    plan : Plan
    still_wanted : callable
        Called a few times a second; what it raises ends the reading.
    type_guessing : bool
        Whether the cells of spreadsheets have types.

    Returns
    -------
    list of SourceLayer
        Those with rows; an empty one only if there is no other.

    Raises
    ------
    ImportRefused
        The format's code if the file is broken or empty, 1019, 2004 or 6668 if there is more in it than the plan
        allows, 6667 if it takes too long, 3101 and 3008 if a shapefile has no, or no good, projection.
    """
    options = dict(format_.options)
    is_sheet = format_ in (XLSX, ODS)
    if is_sheet and not type_guessing:
        options["FIELD_TYPES"] = "STRING"
    _check(file, format_)
    asked = {
        "options": options,
        "headers": is_sheet,
        "ignored": sorted(format_.ignored),
        "most_rows": plan.rows,
        "most_layers": plan.layers,
        "most_columns": plan.columns,
        "timeout_s": plan.import_timeout_s,
    }
    described = _checked(_run(file, format_, directory, asked, still_wanted), file, format_, directory, plan)
    return [_layer(file, format_, one, directory, alone=len(described) == 1) for one in described]


def _checked(
    found: dict[str, Any], file: SourceFile, format_: Format, directory: Path, plan: Plan
) -> list[dict[str, Any]]:
    """Return the layers that are to be loaded, or raise ImportRefused for what was found."""
    if "code" in found:
        raise ImportRefused(found["code"], file.name)
    if "error" in found:
        raise ImportRefused(format_.broken, _without_paths(found["error"], file, directory))
    described = [one for one in found["layers"] if one["rows"]] or found["layers"][:1]
    if not described or (format_.empty is not None and not described[0]["rows"]):
        raise ImportRefused(format_.empty or format_.broken, f"{file.name} has no rows")
    if len(described) > plan.layers:
        raise ImportRefused(1019, f"{plan.layers} are allowed")
    if any(one["rows"] > plan.rows for one in described):
        raise ImportRefused(6668, f"{plan.rows} are allowed")
    return described


def _run(
    file: SourceFile, format_: Format, directory: Path, asked: dict[str, Any], still_wanted: Callable[[], object]
) -> dict[str, Any]:
    """Let the other process read; a crash is as good as an error."""
    command = [sys.executable, "-P", str(_CONFINED), str(_READER), str(file.path), str(directory), json.dumps(asked)]
    with subprocess.Popen(
        command,
        env=_environment(format_.drivers),
        stdin=subprocess.DEVNULL,  # GDAL reads from it if told so by a file name
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            output = _output(process, asked["timeout_s"], still_wanted)
        finally:
            process.kill()  # does nothing to one that has ended
    if process.returncode != 0:
        return {"error": f"{file.name} cannot be read"}
    result: dict[str, Any] = json.loads(output)
    return result


def _output(process: subprocess.Popen[bytes], timeout_s: float, still_wanted: Callable[[], object]) -> bytes:
    """Wait for what the other process prints."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return process.communicate(timeout=max(0.0, min(_HEARTBEAT_S, deadline - time.monotonic())))[0]
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise ImportRefused(6667) from None
            still_wanted()


def _environment(drivers: tuple[str, ...]) -> dict[str, str]:
    """Return the environment in which GDAL has these drivers only, and no network."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(_GDAL_VARIABLES) and not name.lower().endswith("_proxy")
    }
    others = ",".join(sorted(_all_drivers() - set(drivers)))
    return {**kept, **_RESTRICTIONS, "GDAL_SKIP": others, "OGR_SKIP": others}


@cache
def _all_drivers() -> frozenset[str]:
    return frozenset(pyogrio.list_drivers())


def _check(file: SourceFile, format_: Format) -> None:
    """Refuse what GDAL should not even open."""
    if format_ is SHAPEFILE:
        _check_parts(file)
    elif format_ in (GEOPACKAGE, SQLITE):
        check_database(file.path)
    elif format_ in (GEOJSON, GEOJSON_LINES) and _links_its_crs(file.path):
        raise ImportRefused(3008, "the file names a server for its coordinate system")


def _links_its_crs(path: Path) -> bool:
    """Tell whether a file of GeoJSON wants its coordinate system to be fetched from somewhere."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _LINKED_CRS.search(content) is not None


def _check_parts(file: SourceFile) -> None:
    """Refuse a shapefile that lacks a part; GDAL would make up what it can."""
    for suffix in (".shx", ".dbf"):
        if not file.path.with_suffix(suffix).exists():
            raise ImportRefused(1006, f"{stem(file.name)}{suffix} is missing")
    if not file.path.with_suffix(".prj").exists():
        raise ImportRefused(3101, f"{stem(file.name)}.prj is missing")


def _layer(file: SourceFile, format_: Format, one: dict[str, Any], directory: Path, *, alone: bool) -> SourceLayer:
    """Make a layer of what the other process has told about it."""
    if format_ is SHAPEFILE and one["geometry"] is not None and one["crs"] is None:
        raise ImportRefused(3008, f"{stem(file.name)}.prj")
    path = directory / one["file"]
    with pa.ipc.open_stream(path) as reader:
        fields = list(reader.schema)
    places = [at for at, field in enumerate(fields) if field.name == one["column"]]
    geometry_at = places[-1] if places else None  # the last: GDAL puts it behind the fields
    names = normalize_columns(field.name for at, field in enumerate(fields) if at != geometry_at)
    geometry = None
    if geometry_at is not None:
        column = "wkb of " + path.stem  # no name of a field has spaces
        names.insert(geometry_at, column)
        geometry = GeometryColumn(column, one["crs"], _has_z(one["geometry"]))
    schema = pa.schema([pa.field(name, _plain(field)) for name, field in zip(names, fields, strict=True)])
    name = stem(file.name)
    if not alone and one["name"].casefold() != name.casefold():
        name = f"{name}_{one['name']}"
    return SourceLayer(name, schema, partial(_batches, path, schema), geometry)


def _has_z(kind: str) -> bool | None:
    """Read GDAL's name of a geometry type: only one of a certain kind says what all rows have."""
    if kind.startswith("Unknown") or kind.endswith("M"):
        return None
    return kind.endswith(" Z") or kind.startswith("2.5D")


def _is_time(field: pa.Field) -> bool:
    """Tell whether text is a time as GDAL writes it."""
    return (field.metadata or {}).get(b"GDAL:OGR:type") == b"DateTime"


def _plain(field: pa.Field) -> pa.DataType:
    """Return the type of plain values for one of Arrow's extensions, as of JSON, and for coded values."""
    arrow = field.type
    if _is_time(field):
        return TIMESTAMP.arrow
    if pa.types.is_dictionary(arrow):
        return arrow.value_type
    return arrow.storage_type if isinstance(arrow, pa.BaseExtensionType) else arrow


def _plain_values(column: pa.Array, field: pa.Field) -> pa.Array:
    """Return plain values; refuse text that GDAL has passed on in another encoding than it should."""
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    values = column.storage if isinstance(column, pa.ExtensionArray) else column
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        raise ImportRefused(2006) from None
    if not _is_time(field):
        return values
    try:
        return convert(values, TIMESTAMP)
    except pa.ArrowInvalid:
        raise ImportRefused(2001, f"not all of {field.name} are times") from None


def _batches(path: Path, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_stream(file) as reader:
        for batch in reader:
            columns = [_plain_values(*pair) for pair in zip(batch.columns, reader.schema, strict=True)]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)


def _without_paths(text: str, file: SourceFile, directory: Path) -> str:
    """Cut the server's paths, and advice to programmers, out of a message of GDAL."""
    for part, plain in ((str(file.path), file.name), (str(file.path.parent), ""), (str(directory.parent), "")):
        text = text.replace(part, plain)
    return text.partition("; It might help")[0]  # to call GDAL in another way
