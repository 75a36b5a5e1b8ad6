"""Script that reads a file with GDAL in a separate process.

A damaged or hostile file can crash only this process. The environment limits the GDAL drivers; drivers that follow
references to other files or servers are disabled.

Arguments: the file, an output directory, and settings as JSON. Each layer is written to a file in Arrow's stream
format; the descriptions of the layers are printed as JSON.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio
from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

_BATCH_ROWS = 4096
_NUMBER = re.compile(r"\s*-?\d+([.,]\d*)?\s*")  # as in delimited text
_ERRORS = (
    DataLayerError,
    DataSourceError,
    FeatureError,
    FieldError,
    GeometryError,
    RuntimeError,
    ValueError,
    UnicodeError,
    pa.ArrowException,
)


class TooManyColumns(Exception):
    """A layer exceeds the maximum number of columns."""


def describe(path: str, layer: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a layer; `geometry` is the name of its geometry type or None."""
    options: dict[str, str] = settings["options"]
    if settings["headers"]:
        options = {**options, "HEADERS": "FORCE" if has_header(path, layer) else "DISABLE"}
    info = pyogrio.read_info(path, layer=layer, **options)
    return {
        "name": layer,
        "fields": [str(name) for name in info["fields"]],
        "crs": info["crs"],
        "geometry": info["geometry_type"],
        "rows": info["features"],  # -1 if unknown before reading
        "options": options,
    }


def has_header(path: str, sheet: str) -> bool:
    """Return whether the first row of a sheet is a header: it is unless all of its cells are numbers."""
    _, table = pyogrio.read_arrow(path, layer=sheet, max_features=1, HEADERS="DISABLE", FIELD_TYPES="STRING")
    cells = [cell for row in table.to_pylist() for cell in row.values() if cell]
    return not cells or not all(_NUMBER.fullmatch(cell) for cell in cells)


def copy_layer(path: str, layer: dict[str, Any], target: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Write the rows of a layer to a file; stop once the limit is exceeded."""
    fields = [name for name in layer["fields"] if name not in settings["ignored"]]
    rows, column = 0, None
    with pyogrio.open_arrow(
        path,
        layer=layer["name"],
        columns=fields,
        batch_size=_BATCH_ROWS,
        use_pyarrow=True,
        datetime_as_string=True,  # GDAL's Arrow timestamps lose their time zones
        **layer["options"],
    ) as (meta, reader):
        if layer["geometry"] is not None:
            column = meta["geometry_name"] or "wkb_geometry"
        with pa.ipc.new_stream(target, reader.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            for batch in reader:
                rows += batch.num_rows
                writer.write_batch(batch)
                if rows > settings["max_rows"]:
                    break
    return {**layer, "rows": rows, "column": column, "file": target.name}


def copy_layers(path: str, directory: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Write all layers with rows, or a single empty one; stop once the limit of layers is exceeded."""
    copied: list[dict[str, Any]] = []
    empty = None
    for at, (name, _) in enumerate(pyogrio.list_layers(path)):
        layer = describe(path, str(name), settings)
        if not layer["fields"] and layer["geometry"] is None:
            continue
        if len(layer["fields"]) > settings["max_columns"]:
            raise TooManyColumns
        if layer["rows"] != 0:
            layer = copy_layer(path, layer, directory / f"{at}.arrow", settings)
        if layer["rows"]:
            copied.append(layer)
        elif empty is None:
            empty = layer if "file" in layer else copy_layer(path, layer, directory / f"{at}.arrow", settings)
        if len(copied) > settings["max_layers"]:
            break
    return copied or ([] if empty is None else [empty])


def read(path: str, directory: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Write the layers; return their descriptions, or an error code or message."""
    try:
        return {"layers": copy_layers(path, directory, settings)}
    except TooManyColumns:
        return {"code": 2004}
    except CRSError:
        return {"code": 3008}
    except _ERRORS as error:
        return {"error": str(error)}


def main() -> None:
    """Run with the command line arguments."""
    # Mostly about single values; nothing reads stderr of this process.
    warnings.simplefilter("ignore")
    path, directory, settings = sys.argv[1:]
    json.dump(read(path, Path(directory), json.loads(settings)), sys.stdout)


if __name__ == "__main__":
    main()
