"""Read a file with GDAL, in a process of its own: run as a script.

A damaged or hostile file can so end no more than this process, and GDAL has no drivers but those that its
environment leaves: the ones that follow references to other files or servers are never there.

Arguments: the file, a directory for the result, and options as JSON. The layers become files in Arrow's
stream format; what they are is printed as JSON.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyogrio
from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

_BATCH_ROWS = 4096
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


def describe(path: str, layer: str, options: dict[str, str]) -> dict[str, Any]:
    """Describe a layer; geometry is None if it has none, else the name of its type."""
    info = pyogrio.read_info(path, layer=layer, **options)
    return {
        "name": layer,
        "fields": [str(name) for name in info["fields"]],
        "crs": info["crs"],
        "geometry": info["geometry_type"],
    }


def copy(path: str, layer: dict[str, Any], target: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the rows of a layer to a file, at most one more than allowed."""
    fields = [name for name in layer["fields"] if name not in asked["ignored"]]
    rows, column = 0, None
    with pyogrio.open_arrow(
        path, layer=layer["name"], columns=fields, batch_size=_BATCH_ROWS, use_pyarrow=True, **asked["options"]
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


def read(path: str, directory: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Write all layers; tell what they are, or what went wrong."""
    try:
        names = [str(name) for name, _ in pyogrio.list_layers(path)]
        described = [describe(path, name, asked["options"]) for name in names[: asked["most_layers"] + 1]]
        usable = [layer for layer in described if layer["fields"] or layer["geometry"] is not None]
        if any(len(layer["fields"]) > asked["most_columns"] for layer in usable):
            return {"code": 2004}
        layers = [copy(path, layer, directory / f"{at}.arrow", asked) for at, layer in enumerate(usable)]
    except CRSError:
        return {"code": 3008}
    except _ERRORS as error:
        return {"error": str(error)}
    return {"layers": layers}


def main() -> None:
    """Read what the arguments say."""
    # Of single values, mostly; nobody is there to see them.
    warnings.simplefilter("ignore")
    path, directory, asked = sys.argv[1:]
    json.dump(read(path, Path(directory), json.loads(asked)), sys.stdout)


if __name__ == "__main__":
    main()
