"""Read and write tables larger than memory, partition by partition, with Dask."""

from cartoframes_lite.dask.frames import read_carto, to_carto

__all__ = ["read_carto", "to_carto"]
