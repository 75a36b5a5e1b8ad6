"""The accessor ``DataFrame.carto``: delegates only."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar, Unpack

import pandas as pd

from cartoframes_lite._client.imports import Privacy, PrivacyOfTable
from cartoframes_lite._client.syncs import Sync
from cartoframes_lite._codec.whole_tables import describe_difference
from cartoframes_lite.credentials import Credentials, last_used, resolve
from cartoframes_lite.dataset import Dataset
from cartoframes_lite.errors import CartoError
from cartoframes_lite.write import to_carto
from cartoframes_lite.write.options import FrameOptions, frame_keywords

P = ParamSpec("P")
R = TypeVar("R")


def _delegate(method: Callable[Concatenate[Dataset, P], R]) -> Callable[Concatenate[CartoAccessor, P], R]:
    """Return a method of the accessor that calls a method of the Dataset of its frame."""

    @wraps(method)
    def call(self: CartoAccessor, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return method(self._whole_table(), *args, **kwargs)

    return call


@pd.api.extensions.register_dataframe_accessor("carto")
class CartoAccessor:
    """Accessor ``df.carto``: write a frame to a table, and get the Dataset of a frame.

    ``privacy``, ``sync`` and ``map`` concern the whole table, so the frame has to be the table: the object that
    ``read_carto`` returned for a table with all of its rows, or that was written as a whole table, with the same
    columns, rows and values. For any other frame, such as a filtered one, they raise a CartoError that names the
    table. ``dataset`` also works for these.

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

    @frame_keywords
    def to_table(self, name: str, credentials: Credentials | None = None, **keywords: Unpack[FrameOptions]) -> Dataset:
        """Write the frame to a table, atomically, as ``cartoframes_lite.to_carto`` does, and with its errors.

        Parameters
        ----------
        name : str
            Normalized like column names: lower case, ASCII letters, digits and underscores.
        credentials : Credentials, optional
            Default: those of ``set_default_credentials``, else of the environment, else of the file.
        **keywords
            See ``FrameOptions``.

        Returns
        -------
        Dataset
            The table.

        Examples
        --------
        >>> gdf.carto.to_table("stations", if_exists="replace").columns()["year"]
        'int8'
        """
        resolved = resolve(credentials)  # the Dataset must not depend on the default at a later time
        return Dataset(to_carto(self._frame, name, resolved, **keywords), resolved)

    @property
    def dataset(self) -> Dataset:
        """The Dataset that this frame, or the frame that it was derived from, was read from or written to.

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

    def _whole_table(self) -> Dataset:
        """Return the Dataset; raise CartoError if the frame is not all of its rows."""
        dataset = self.dataset
        difference = describe_difference(self._frame)
        if difference is not None:
            raise CartoError(
                f"this frame is not the table {dataset.name!r}: {difference}. For the table, use"
                f" cartoframes_lite.Dataset({dataset.name!r}); to make a table of the frame, df.carto.to_table(name)"
            )
        return dataset

    @property
    def privacy(self) -> PrivacyOfTable:
        """Privacy of the table of this frame: "public", "private" or "link". Can be set; see ``Dataset.privacy``."""
        return self._whole_table().privacy

    @privacy.setter
    def privacy(self, privacy: Privacy) -> None:
        self._whole_table().privacy = privacy

    @property
    def sync(self) -> Sync | None:
        """Synchronization of the table of this frame, or None."""
        return self._whole_table().sync

    map = _delegate(Dataset.map)
