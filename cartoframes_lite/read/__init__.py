"""Read tables and queries of a CARTO account into DataFrames, or as Arrow record batches."""

from cartoframes_lite.read.arrow import read_arrow
from cartoframes_lite.read.frames import read_carto

__all__ = ["read_arrow", "read_carto"]
