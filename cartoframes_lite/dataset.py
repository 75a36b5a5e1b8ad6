"""Dataset: a table of an account, to read, extend, rename and delete."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from cartoframes_lite._client import Client
from cartoframes_lite._codec.names import qualify
from cartoframes_lite._codec.to_series import Backend
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.read import read_carto
from cartoframes_lite.tables import delete_table, rename_table
from cartoframes_lite.write import to_carto


@dataclass(slots=True, unsafe_hash=True)  # not frozen, for privacy can be set
class Dataset:
    """A table of an account; nothing is asked of the server before it is used.

    Parameters
    ----------
    name : str
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file, when it is used.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.Dataset("stations").columns()  # doctest: +SKIP
    {'cartodb_id': 'int8', 'the_geom': 'geometry', 'name': 'text'}
    """

    name: str
    credentials: Credentials | None = None

    def read(
        self,
        *,
        columns: Sequence[str] | None = None,
        limit: int | None = None,
        decode_geom: bool = True,
        coerce_float: bool = True,
        dtype_backend: Backend | None = None,
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Read the rows; parameters, result and errors are those of ``read_carto``."""
        return read_carto(
            self.name,
            self.credentials,
            columns=columns,
            limit=limit,
            decode_geom=decode_geom,
            coerce_float=coerce_float,
            dtype_backend=dtype_backend,
            progress=progress,
        )

    def append(self, dataframe: pd.DataFrame | Iterable[pd.DataFrame], *, progress: bool | None = None) -> None:
        """Add rows, all of them or none.

        Parameters
        ----------
        dataframe : DataFrame, GeoDataFrame, or an iterable of them
            Its columns are columns of the table; others of the table get their defaults.
        progress : bool, optional
            As in ``to_carto``.

        Raises
        ------
        TableNotFoundError
            If the table does not exist.
        ConversionError
            If a column does not fit the table.
        """
        Client(self.credentials).sql.require_table(None, self.name)
        to_carto(dataframe, self.name, self.credentials, if_exists="append", progress=progress)

    def columns(self) -> dict[str, str]:
        """Give the columns and their types.

        Returns
        -------
        dict of str to str
            Names of ``pg_type`` by name of the column, in order.

        Raises
        ------
        TableNotFoundError
        """
        sql = Client(self.credentials).sql
        sql.require_table(None, self.name)
        return {column.name: column.pgtype for column in sql.columns(qualify(None, self.name))}

    def rename(self, new_name: str) -> Dataset:
        """Rename the table; this object goes on meaning the old name.

        Returns
        -------
        Dataset
            The table under its new, normalised name.

        Raises
        ------
        TableNotFoundError, TableExistsError
        """
        return Dataset(rename_table(self.name, new_name, self.credentials), self.credentials)

    def delete(self) -> None:
        """Delete the table.

        Raises
        ------
        TableNotFoundError
            If there is none.
        """
        Client(self.credentials).sql.require_table(None, self.name)
        delete_table(self.name, self.credentials)

    @property
    def privacy(self) -> Literal["public", "private", "link"]:
        """Who may see the table; can be set, with the master key."""
        privacy: Literal["public", "private", "link"] = (
            Client(self.credentials).visualizations.get(self.name)["privacy"].lower()
        )
        return privacy

    @privacy.setter
    def privacy(self, privacy: Literal["public", "private", "link"]) -> None:
        Client(self.credentials).visualizations.set_privacy(self.name, privacy)
