"""Read a file with GDAL, in a process of its own: run as a script.

A damaged or hostile file can so end no more than this process, and GDAL has no drivers but those that its
environment leaves: the ones that follow references to other files or servers are never there.

Arguments: the file, a directory for the result, and options as JSON. The layers become files in Arrow's
stream format; what they are is printed as JSON.
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
    """A layer has more columns than allowed."""


def describe(path: str, layer: str, asked: dict[str, Any]) -> dict[str, Any]:
    """Describe a layer; geometry is None if it has none, else the name of its type."""
    options: dict[str, str] = asked["options"]
    if asked["headers"]:
        options = {**options, "HEADERS": "FORCE" if has_header(path, layer) else "DISABLE"}
    info = pyogrio.read_info(path, layer=layer, **options)
    return {
        "name": layer,
        "fields": [str(name) for name in info["fields"]],
        "crs": info["crs"],
        "geometry": info["geometry_type"],
        "rows": info["features"],  # -1 if only reading tells
        "options": options,
    }


def has_header(path: str, sheet: str) -> bool:
    """Tell whether the first row of a sheet is a header, which it is unless there are nothing but numbers in it."""
    _, table = pyogrio.read_arrow(path, layer=sheet, max_features=1, HEADERS="DISABLE", FIELD_TYPES="STRING")
    cells = [cell for row in table.to_pylist() for cell in row.values() if cell]
    return not cells or not all(_NUMBER.fullmatch(cell) for cell in cells)


def copy(path: str, layer: dict[str, Any], target: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the rows of a layer to a file, at most one more than allowed."""
    fields = [name for name in layer["fields"] if name not in asked["ignored"]]
    rows, column = 0, None
    with pyogrio.open_arrow(
        path,
        layer=layer["name"],
        columns=fields,
        batch_size=_BATCH_ROWS,
        use_pyarrow=True,
        datetime_as_string=True,  # GDAL's own times lose their zones
        **layer["options"],
    ) as (meta, reader):
        if layer["geometry"] is not None:
            column = meta["geometry_name"] or "wkb_geometry"
        with pa.ipc.new_stream(target, reader.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
            for batch in reader:
                rows += batch.num_rows
                writer.write_batch(batch)
                if rows > asked["most_rows"]:
                    break
    return {**layer, "rows": rows, "column": column, "file": target.name}


def copies(path: str, directory: Path, asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Write the layers with rows, at most one more than allowed; one without only if there is no other."""
    copied: list[dict[str, Any]] = []
    empty = None
    for at, (name, _) in enumerate(pyogrio.list_layers(path)):
        layer = describe(path, str(name), asked)
        if not layer["fields"] and layer["geometry"] is None:
            continue
        if len(layer["fields"]) > asked["most_columns"]:
            raise TooManyColumns
        if layer["rows"] != 0:
            layer = copy(path, layer, directory / f"{at}.arrow", asked)
        if layer["rows"]:
            copied.append(layer)
        elif empty is None:
            empty = layer if "file" in layer else copy(path, layer, directory / f"{at}.arrow", asked)
        if len(copied) > asked["most_layers"]:
            break
    return copied or ([] if empty is None else [empty])


def read(path: str, directory: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the layers; tell what they are, or what went wrong."""
    try:
        return {"layers": copies(path, directory, asked)}
    except TooManyColumns:
        return {"code": 2004}
    except CRSError:
        return {"code": 3008}
    except _ERRORS as error:
        return {"error": str(error)}


def main() -> None:
    """Read what the arguments say."""
    # Of single values, mostly; nobody is there to see them.
    warnings.simplefilter("ignore")
    path, directory, asked = sys.argv[1:]
    json.dump(read(path, Path(directory), json.loads(asked)), sys.stdout)


if __name__ == "__main__":
    main()
