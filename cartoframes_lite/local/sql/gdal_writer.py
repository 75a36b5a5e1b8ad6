"""Write the rows of an Arrow file with GDAL. Also run as a script, in a separate process.

pyogrio holds Python's global interpreter lock while GDAL writes: seconds for 100,000 rows, during which a server could
not handle other requests.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError, FeatureError, FieldError, GeometryError

GEOMETRY = "the_geom"
GDAL_ERRORS = (
    DataLayerError,
    DataSourceError,
    FeatureError,
    FieldError,
    GeometryError,
    RuntimeError,
    pa.ArrowException,
)


@dataclass(frozen=True, slots=True)
class Output:
    """Source, destination and options of a file to be written.

    Attributes
    ----------
    source : str
        Path of an Arrow stream. Its columns are strings, except the geometry column, which is WKB.
    path, layer, driver : str
        Path of the file, name of the layer, and name of the GDAL driver.
    types : list of str
        Name of the Arrow type of each column in the file.
    geometry_type : str
        Geometry type as named by pyogrio; empty without a geometry column.
    layer_options, dataset_options : dict
        Options of the GDAL driver.
    """

    source: str
    path: str
    layer: str
    driver: str
    types: list[str]
    geometry_type: str
    layer_options: dict[str, str]
    dataset_options: dict[str, str]


def write(output: Output) -> None:
    """Write the rows, in batches of some thousands."""
    geometry: dict[str, str] = {}
    if output.geometry_type:
        geometry = {"geometry_name": GEOMETRY, "geometry_type": output.geometry_type, "crs": "EPSG:4326"}
    # pyogrio turns GDAL's warnings, such as truncated field names, into Python warnings, which nobody would read.
    with pa.OSFile(output.source) as file, pa.ipc.open_stream(file) as rows, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        types = map(pa.type_for_alias, output.types)
        schema = pa.schema([pa.field(name, kind) for name, kind in zip(rows.schema.names, types, strict=True)])
        pyogrio.write_arrow(
            pa.RecordBatchReader.from_batches(schema, _converted(rows, schema)),
            output.path,
            layer=output.layer,
            driver=output.driver,
            layer_options=output.layer_options,
            dataset_options=output.dataset_options,
            **geometry,
        )


def _converted(rows: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the batches with their columns cast to the types of a schema."""
    for batch in rows:
        arrays = [convert(array, kind) for array, kind in zip(batch.columns, schema.types, strict=True)]
        yield pa.record_batch(arrays, schema=schema)


def convert(array: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast strings in PostgreSQL's format to an Arrow type; raise ArrowInvalid for a value that does not fit."""
    if pa.types.is_boolean(kind):
        return pc.equal(array, "true")
    return array.cast(kind)


def main() -> int:
    """Write the file described by the only argument, an `Output` as JSON; print the error message on failure."""
    try:
        write(Output(**json.loads(sys.argv[1])))
    except GDAL_ERRORS as error:
        sys.stdout.write(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
