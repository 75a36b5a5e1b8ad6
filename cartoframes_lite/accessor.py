"""The accessor ``DataFrame.carto``: delegates only."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import pandas as pd

from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._client.syncs import Sync
from cartoframes_lite.credentials import Credentials, last_used, resolve
from cartoframes_lite.dataset import Dataset
from cartoframes_lite.errors import CartoError
from cartoframes_lite.write import to_carto
from cartoframes_lite.write.plan import IfExists
from cartoframes_lite.write.staging import Compression

P = ParamSpec("P")
R = TypeVar("R")


def _delegate(method: Callable[Concatenate[Dataset, P], R]) -> Callable[Concatenate[CartoAccessor, P], R]:
    """Return a method of the accessor that calls a method of the Dataset of its frame."""

    @wraps(method)
    def call(self: CartoAccessor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self.dataset, *args, **kwargs)

    return call


@pd.api.extensions.register_dataframe_accessor("carto")
class CartoAccessor:
    """Accessor ``df.carto``: write a frame to a table, and get the Dataset of a frame.

    Parameters
    ----------
    frame : DataFrame or GeoDataFrame

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> gdf.carto.to_table("Stations of Paris", privacy="link").name
    'stations_of_paris'
    >>> gdf.carto.privacy
    'link'
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def to_table(
        self,
        name: str,
        credentials: Credentials | None = None,
        *,
        if_exists: IfExists = "fail",
        geom_col: Hashable | None = None,
        index: bool = False,
        index_label: Hashable | Sequence[Hashable] | None = None,
        dtype: Mapping[Any, str] | None = None,
        cartodbfy: bool = True,
        privacy: Privacy | None = None,
        compression: Compression = "auto",
        progress: bool | None = None,
    ) -> Dataset:
        """Write the frame to a table."""
        resolved = resolve(credentials)  # the Dataset must not depend on the default at a later time
        table = to_carto(
            self._frame,
            name,
            resolved,
            if_exists=if_exists,
            geom_col=geom_col,
            index=index,
            index_label=index_label,
            dtype=dtype,
            cartodbfy=cartodbfy,
            privacy=privacy,
            compression=compression,
            progress=progress,
        )
        return Dataset(table, resolved)

    to_table.__doc__ = (to_carto.__doc__ or "").replace(
        "    str\n        The name of the table.", "    Dataset\n        The table."
    )

    @property
    def dataset(self) -> Dataset:
        """The Dataset that this frame was read from or written to.

        Raises
        ------
        CartoError
            If the frame was not read from or written to a table; or if the credentials of its account are neither
            in use nor the default.
        """
        origin = self._frame.attrs.get("carto")
        if not isinstance(origin, dict) or not {"table", "schema", "base_url"} <= origin.keys():
            raise CartoError(
                "the frame was neither read from a table nor written to one: write it with "
                "df.carto.to_table(name), or use cartoframes_lite.Dataset(name)"
            )
        name = origin["table"] if origin["schema"] is None else f"{origin['schema']}.{origin['table']}"
        credentials = last_used(origin["base_url"]) or resolve(None)
        if credentials.base_url != origin["base_url"]:  # never use the table of this name in another account
            raise CartoError(
                f"the frame belongs to {origin['base_url']}, and no credentials for it are in use: "
                f"use cartoframes_lite.Dataset({name!r}, credentials)"
            )
        return Dataset(name, credentials)

    @property
    def privacy(self) -> Privacy:
        """Privacy of the table of this frame: "public", "private" or "link". Can be set; see ``Dataset.privacy``."""
        return self.dataset.privacy

    @privacy.setter
    def privacy(self, privacy: Privacy) -> None:
        self.dataset.privacy = privacy

    @property
    def sync(self) -> Sync | None:
        """Synchronization of the table of this frame, or None."""
        return self.dataset.sync

    map = _delegate(Dataset.map)
