"""Write DataFrames to tables of a CARTO account."""

from cartoframes_lite.write.frames import to_carto

__all__ = ["to_carto"]
