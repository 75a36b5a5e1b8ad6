"""Read and write tables larger than memory, partition by partition, with Dask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cartoframes_lite.dask.frames import read_carto, to_carto

__all__ = ["read_carto", "to_carto"]


def __getattr__(name: str) -> Any:
    """Import Dask when a function is used, not when IPython completes ``cartoframes_lite.``."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cartoframes_lite.dask import frames

    return getattr(frames, name)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
