"""Files, queries and tables become datasets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack, cast, overload

from cartoframes_lite._client import Client
from cartoframes_lite._client.import_codes import title
from cartoframes_lite._client.imports import CollisionStrategy, ImportOptions, Privacy
from cartoframes_lite._client.uploads import File
from cartoframes_lite._codec.names import split_schema
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import ImportFailed
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
    timeout_s: float | None
    progress: bool | None


@dataclass(frozen=True, slots=True)
class Named:
    """The fields of a Dataset; apart from it, since they are frozen and its privacy can be set."""

    name: str
    credentials: Credentials | None = None

    def __post_init__(self) -> None:
        split_schema(self.name)


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
        timeout_s: float | None = 600.0,
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
        >>> import cartoframes_lite as cfl
        >>> path = cfl.Dataset("stations").to_file("stations.gpkg")
        >>> cfl.Dataset.from_file("stations.gpkg", name="again", privacy="private").name
        'again'
        """
        options = ImportOptions(
            privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map
        )
        client = Client(credentials, progress=progress)
        import_id = client.imports.create_from_file(file, options, name=name, progress=progress)
        return cls._made(client, import_id, wait, timeout_s, progress)

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
        timeout_s: float | None = 600.0,
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
        statement = query.strip().rstrip(";")
        if not statement:
            raise ValueError("the query is empty")
        client = Client(credentials, progress=progress)
        import_id = client.imports.create_from_query(statement, name or "query", options)
        return cls._made(client, import_id, wait, timeout_s, progress)

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
        timeout_s: float | None = 600.0,
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
        client = Client(credentials, progress=progress)
        client.sql.require_table(None, table)
        import_id = client.imports.create_from_table(table, name or f"{table}_copy", options)
        return cls._made(client, import_id, wait, timeout_s, progress)

    @classmethod
    def _made(
        cls, client: Client, import_id: str, wait: bool, timeout_s: float | None, progress: bool | None
    ) -> Self | ImportJob:
        """Wait for the dataset of an import, or give the job."""
        if not wait:
            opener = cast("Callable[[str, Credentials], Dataset]", cls)
            return ImportJob.of_import(client.imports.read(import_id), client.credentials, opener)
        job = client.imports.wait(import_id, timeout_s=timeout_s, progress=progress)
        if job.table_name is None:
            raise ImportFailed(
                f"{job.display_name}: {title(job.error_code)} (code {job.error_code}), and the server does not say "
                "which tables those are: use Dataset(name)",
                code=job.error_code,
                title=title(job.error_code),
            )
        return cls(job.table_name, client.credentials)
