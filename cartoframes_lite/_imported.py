"""Files, queries and tables become datasets."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack, cast, overload

from cartoframes_lite._client import Client
from cartoframes_lite._client.imports import CollisionStrategy, File, ImportOptions, Privacy
from cartoframes_lite._codec.names import normalise
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.imports import ImportJob

if TYPE_CHECKING:
    from cartoframes_lite.dataset import Dataset


class Options(TypedDict, total=False):
    """What all imports take."""

    name: str | None
    privacy: Privacy | None
    collision_strategy: CollisionStrategy | None
    type_guessing: bool
    quoted_fields_guessing: bool
    content_guessing: bool
    create_map: bool
    timeout_s: float
    progress: bool | None


@dataclass(frozen=True, slots=True)
class Named:
    """The fields of a Dataset; apart from it, since they are frozen and its privacy can be set."""

    name: str
    credentials: Credentials | None = None


class Imported(Named):
    """Files, queries and tables become datasets; ``Dataset`` inherits this and describes the keywords."""

    __slots__ = ()

    @overload
    @classmethod
    def from_file(
        cls,
        file: File,
        credentials: Credentials | None = None,
        *,
        wait: Literal[True] = True,
        **options: Unpack[Options],
    ) -> Self: ...
    @overload
    @classmethod
    def from_file(
        cls, file: File, credentials: Credentials | None = None, *, wait: Literal[False], **options: Unpack[Options]
    ) -> ImportJob: ...
    @classmethod
    def from_file(
        cls,
        file: File,
        credentials: Credentials | None = None,
        *,
        name: str | None = None,
        privacy: Privacy | None = None,
        collision_strategy: CollisionStrategy | None = None,
        type_guessing: bool = True,
        quoted_fields_guessing: bool = True,
        content_guessing: bool = False,
        create_map: bool = False,
        wait: bool = True,
        timeout_s: float = 600.0,
        progress: bool | None = None,
    ) -> Self | ImportJob:
        """Import a file of any kind that CARTO reads: CSV, XLSX, GeoJSON, GPKG, KML, GPX, a zipped shapefile ...

        Parameters
        ----------
        file : path or binary file
            It is sent block by block, whatever its size. A file object is sent from its beginning, and needs a
            ``name`` with an ending, its own or as keyword.
        credentials : Credentials, optional
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``
            Of an archive with several tables, one of them.

        Raises
        ------
        OSError
            If the file cannot be read.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.

        Examples
        --------
        >>> stations = cfl.Dataset.from_file("stations.gpkg")  # doctest: +SKIP
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        client = Client(credentials)
        import_id = client.imports.create_from_file(file, options, name=name, progress=progress)
        source = name or str(file if isinstance(file, str | os.PathLike) else file.name)
        return cls._made(client, import_id, Path(source).stem, wait, timeout_s, progress)

    @overload
    @classmethod
    def from_query(
        cls,
        query: str,
        credentials: Credentials | None = None,
        *,
        wait: Literal[True] = True,
        **options: Unpack[Options],
    ) -> Self: ...
    @overload
    @classmethod
    def from_query(
        cls, query: str, credentials: Credentials | None = None, *, wait: Literal[False], **options: Unpack[Options]
    ) -> ImportJob: ...
    @classmethod
    def from_query(
        cls,
        query: str,
        credentials: Credentials | None = None,
        *,
        name: str | None = None,
        privacy: Privacy | None = None,
        collision_strategy: CollisionStrategy | None = None,
        type_guessing: bool = True,
        quoted_fields_guessing: bool = True,
        content_guessing: bool = False,
        create_map: bool = False,
        wait: bool = True,
        timeout_s: float = 600.0,
        progress: bool | None = None,
    ) -> Self | ImportJob:
        """Make a dataset of the rows of a query; they do not pass through this machine.

        Parameters
        ----------
        query : str
        credentials : Credentials, optional
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``. Without ``name`` it is "query".

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        client = Client(credentials)
        table = name or "query"
        import_id = client.imports.create_from_query(query.strip().rstrip(";"), table, options)
        return cls._made(client, import_id, table, wait, timeout_s, progress)

    @overload
    @classmethod
    def from_table(
        cls,
        table: str,
        credentials: Credentials | None = None,
        *,
        wait: Literal[True] = True,
        **options: Unpack[Options],
    ) -> Self: ...
    @overload
    @classmethod
    def from_table(
        cls, table: str, credentials: Credentials | None = None, *, wait: Literal[False], **options: Unpack[Options]
    ) -> ImportJob: ...
    @classmethod
    def from_table(
        cls,
        table: str,
        credentials: Credentials | None = None,
        *,
        name: str | None = None,
        privacy: Privacy | None = None,
        collision_strategy: CollisionStrategy | None = None,
        type_guessing: bool = True,
        quoted_fields_guessing: bool = True,
        content_guessing: bool = False,
        create_map: bool = False,
        wait: bool = True,
        timeout_s: float = 600.0,
        progress: bool | None = None,
    ) -> Self | ImportJob:
        """Copy a dataset of the account; the rows do not pass through this machine.

        Parameters
        ----------
        table : str
        credentials : Credentials, optional
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``. Without ``name`` it is that of the table with ``_copy``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        TableNotFoundError
            If there is no such table.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        client = Client(credentials)
        client.sql.require_table(None, table)
        new = name or f"{table}_copy"
        import_id = client.imports.create_from_table(table, new, options)
        return cls._made(client, import_id, new, wait, timeout_s, progress)

    @classmethod
    def _made(
        cls, client: Client, import_id: str, source: str, wait: bool, timeout_s: float, progress: bool | None
    ) -> Self | ImportJob:
        """Wait for the dataset of an import, or give the job."""
        if not wait:
            opener = cast("Callable[[str, Credentials], Dataset]", cls)
            return ImportJob.of_import(client.imports.read(import_id), client.credentials, opener)
        job = client.imports.wait(import_id, timeout_s=timeout_s, progress=progress)
        # Of tables that were skipped, the name is what the server would have made of that of the source.
        return cls(job.table_name or normalise(source), client.credentials)
