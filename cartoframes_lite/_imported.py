"""The ways in which something becomes a dataset: files, URLs, queries, tables and other databases."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, TypedDict, Unpack, cast, overload

from cartoframes_lite._client import Client
from cartoframes_lite._client.imports import CollisionStrategy, File, ImportOptions, Privacy, without_passwords
from cartoframes_lite._client.syncs import checked_interval
from cartoframes_lite._codec.names import normalise
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.imports import ImportJob
from cartoframes_lite.tables import free_name, rename_table

if TYPE_CHECKING:
    from cartoframes_lite.dataset import Dataset


class _Options(TypedDict, total=False):
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
    """The ways in which something becomes a dataset; ``Dataset`` inherits them and describes their keywords."""

    __slots__ = ()

    @overload
    @classmethod
    def from_file(
        cls,
        file: File,
        credentials: Credentials | None = None,
        *,
        wait: Literal[True] = True,
        **options: Unpack[_Options],
    ) -> Self: ...
    @overload
    @classmethod
    def from_file(
        cls, file: File, credentials: Credentials | None = None, *, wait: Literal[False], **options: Unpack[_Options]
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
    def from_url(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        wait: Literal[True] = True,
        **options: Unpack[_Options],
    ) -> Self: ...
    @overload
    @classmethod
    def from_url(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        wait: Literal[False],
        **options: Unpack[_Options],
    ) -> ImportJob: ...
    @classmethod
    def from_url(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
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
        """Let the server fetch a file, once or again and again.

        Parameters
        ----------
        url : str
            Where the server finds it, http or https.
        credentials : Credentials, optional
        sync_interval_s : int, optional
            Fetch it again at this interval, in seconds, at least 900; ``dataset.sync`` tells how it goes. The API
            takes neither ``collision_strategy`` nor ``name`` then, and the privacy is set afterwards.
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``. The table is renamed to ``name`` afterwards, so it takes ``wait=True``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        ValueError
            If the interval is shorter than 900 seconds, or the keywords do not go together.
        TableExistsError
            If there is a table ``name``.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        if sync_interval_s is not None:
            _check_sync(sync_interval_s, name, options, wait)
        if name is not None and (not wait or collision_strategy is not None):
            raise ValueError("name= takes wait=True and no collision_strategy: the table is renamed after the import")
        client = Client(credentials)
        new = None if name is None else free_name(client, None, name, "fail")
        if sync_interval_s is None:
            import_id = client.imports.create_from_url(url, options)
        else:
            _, import_id = client.syncs.create(url, sync_interval_s, replace(options, privacy=None))
        made = cls._made(client, import_id, url, wait, timeout_s, progress)
        if isinstance(made, ImportJob):
            return made
        if sync_interval_s is not None and privacy is not None:
            client.visualizations.set_privacy(made.name, privacy)
        if new is None or new == made.name:
            return made
        return cls(rename_table(made.name, new, client.credentials), client.credentials)

    @overload
    @classmethod
    def from_query(
        cls,
        query: str,
        credentials: Credentials | None = None,
        *,
        wait: Literal[True] = True,
        **options: Unpack[_Options],
    ) -> Self: ...
    @overload
    @classmethod
    def from_query(
        cls, query: str, credentials: Credentials | None = None, *, wait: Literal[False], **options: Unpack[_Options]
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
        **options: Unpack[_Options],
    ) -> Self: ...
    @overload
    @classmethod
    def from_table(
        cls, table: str, credentials: Credentials | None = None, *, wait: Literal[False], **options: Unpack[_Options]
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

    @overload
    @classmethod
    def from_connector(
        cls,
        connector: Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        wait: Literal[True] = True,
        **options: Unpack[_Options],
    ) -> Self: ...
    @overload
    @classmethod
    def from_connector(
        cls,
        connector: Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        wait: Literal[False],
        **options: Unpack[_Options],
    ) -> ImportJob: ...
    @classmethod
    def from_connector(
        cls,
        connector: Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
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
        """Let the server fetch a table or the rows of a query of another database, once or again and again.

        Parameters
        ----------
        connector : mapping
            ``provider`` ("postgres", "mysql", "sqlserver", "hive" ...), ``connection`` (a mapping with ``server``,
            ``port``, ``database``, ``username``, ``password`` ...), and ``schema`` with ``table``, or ``sql_query``
            with ``import_as``. It may be wrapped in a member ``connector``. The password is in no repr and no log.
        credentials : Credentials, optional
        sync_interval_s : int, optional
            Fetch it again at this interval, in seconds, at least 900; as in ``from_url``.
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        ValueError
            If the interval is shorter than 900 seconds, or the keywords do not go together.
        ImportFailed, JobTimeout, PermissionDenied, RateLimited
            See ``help(Dataset)``.
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        if sync_interval_s is not None:
            _check_sync(sync_interval_s, None, options, wait)
        source = {**connector, **({} if name is None else {"import_as": name})}
        client = Client(credentials)
        with without_passwords(source):
            if sync_interval_s is None:
                import_id = client.imports.create_from_connector(source, options)
            else:
                _, import_id = client.syncs.create(source, sync_interval_s, replace(options, privacy=None))
            made = cls._made(client, import_id, name or "connector", wait, timeout_s, progress)
        if not isinstance(made, ImportJob) and sync_interval_s is not None and privacy is not None:
            client.visualizations.set_privacy(made.name, privacy)
        return made

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


def _check_sync(interval_s: int, name: str | None, options: ImportOptions, wait: bool) -> None:
    """Refuse what the API of synchronizations does not take."""
    checked_interval(interval_s)
    if name is not None or options.collision_strategy is not None:
        raise ValueError("a synchronization takes neither name nor collision_strategy")
    if options.privacy is not None and not wait:
        raise ValueError("privacy= of a synchronization takes wait=True: it is set after the first import")
