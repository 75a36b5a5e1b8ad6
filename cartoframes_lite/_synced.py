"""URLs and other databases become datasets, once or again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self, Unpack, overload

from cartoframes_lite._client import Client
from cartoframes_lite._client.imports import CollisionStrategy, ImportOptions, Privacy, without_passwords, wrapped
from cartoframes_lite._client.syncs import checked_interval
from cartoframes_lite._imported import Imported, Options
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import CartoError, ImportFailed
from cartoframes_lite.imports import ImportJob
from cartoframes_lite.tables import free_name, rename_table
from cartoframes_lite.write import set_privacy


class Synced(Imported):
    """URLs and other databases become datasets; ``Dataset`` inherits this and describes the keywords."""

    __slots__ = ()

    @overload
    @classmethod
    def from_url(
        cls,
        url: str,
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        wait: Literal[True] = True,
        **options: Unpack[Options],
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
        **options: Unpack[Options],
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
        timeout_s: float | None = 600.0,
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
            takes neither ``collision_strategy`` nor ``name`` then, and the privacy is set after the first import.
        name, privacy, collision_strategy, type_guessing, quoted_fields_guessing, content_guessing, create_map, \
wait, timeout_s, progress
            See ``help(Dataset)``. The API takes no ``name``: the table is renamed after the import, which takes
            ``wait=True`` and no ``collision_strategy``.

        Returns
        -------
        Dataset, or ImportJob with ``wait=False``

        Raises
        ------
        ValueError
            If the interval is shorter than 900 seconds, or the keywords do not go together.
        TableExistsError
            If there is a table ``name``.
        PrivacyNotSet
            If the privacy of a synchronized dataset could not be set after its import.
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
        if not isinstance(url, str) or not url.strip():
            raise ValueError(f"url must be the address of a file, not {url!r}")
        client = Client(credentials, progress=progress)
        new = None if name is None else free_name(client, None, name, "fail")
        if sync_interval_s is not None:
            return cls._synchronized(client, url, sync_interval_s, options, wait, timeout_s, progress)
        import_id = client.imports.create_from_url(url, options)
        made = cls._made(client, import_id, wait, timeout_s, progress)
        if isinstance(made, ImportJob) or new is None or new == made.name:
            return made
        try:
            return cls(rename_table(made.name, new, client.credentials), client.credentials)
        except CartoError as error:
            error.add_note(f"The file was imported, as {made.name!r}.")
            raise

    @overload
    @classmethod
    def from_connector(
        cls,
        connector: Mapping[str, Any],
        credentials: Credentials | None = None,
        *,
        sync_interval_s: int | None = None,
        wait: Literal[True] = True,
        **options: Unpack[Options],
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
        **options: Unpack[Options],
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
        timeout_s: float | None = 600.0,
        progress: bool | None = None,
    ) -> Self | ImportJob:
        """Let the server fetch a table or the rows of a query of another database, once or again and again.

        Parameters
        ----------
        connector : mapping
            ``provider`` ("postgres", "mysql", "sqlserver", "hive" ...), ``connection`` (a mapping with ``server``,
            ``port``, ``database``, ``username``, ``password`` ...), and ``schema`` with ``table``, or ``sql_query``
            with ``import_as``. It may be wrapped in a member ``connector``, with ``interval`` and others beside it. The
            password is in no repr and no log.
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
        source = _checked(connector, name)
        interval_s = source.pop("interval", None) if sync_interval_s is None else sync_interval_s
        if interval_s is not None:
            _check_sync(interval_s, None, options, wait)
        client = Client(credentials, progress=progress)
        with without_passwords(source):
            if interval_s is not None:
                return cls._synchronized(client, source, interval_s, options, wait, timeout_s, progress)
            import_id = client.imports.create_from_connector(source, options)
            return cls._made(client, import_id, wait, timeout_s, progress)

    @classmethod
    def _synchronized(
        cls,
        client: Client,
        source: str | Mapping[str, Any],
        interval_s: int,
        options: ImportOptions,
        wait: bool,
        timeout_s: float | None,
        progress: bool | None,
    ) -> Self | ImportJob:
        """Begin a synchronization; if its first import fails, there is to be none."""
        if options.privacy is not None:
            client.visualizations.require_settable()
        sync, import_id = client.syncs.create(source, interval_s, replace(options, privacy=None))
        try:
            made = cls._made(client, import_id, wait, timeout_s, progress)
        except ImportFailed:
            client.syncs.delete(sync.id)
            raise
        if not isinstance(made, ImportJob) and options.privacy is not None:
            set_privacy(client, made.name, options.privacy)
        return made


def _check_sync(interval_s: int, name: str | None, options: ImportOptions, wait: bool) -> None:
    """Refuse what the API of synchronizations does not take."""
    checked_interval(interval_s)
    if name is not None or options.collision_strategy is not None:
        raise ValueError("a synchronization takes neither name nor collision_strategy")
    if options.privacy is not None and not wait:
        raise ValueError("privacy= of a synchronization takes wait=True: it is set after the first import")


def _checked(connector: Mapping[str, Any], name: str | None) -> dict[str, Any]:
    """Unwrap a connector; refuse one that says neither what nor where."""
    found: dict[str, Any] = wrapped(connector)["connector"]
    if not found.get("provider") or not isinstance(found.get("connection"), Mapping):
        raise ValueError("a connector needs a provider, and a connection that is a mapping")
    return found if name is None else {**found, "import_as": name}
