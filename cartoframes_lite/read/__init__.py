"""Read tables and queries of a CARTO account into DataFrames."""

from cartoframes_lite.read.frames import read_carto

__all__ = ["read_carto"]
