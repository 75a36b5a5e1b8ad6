"""List the datasets, maps, imports and synchronizations of an account."""

from __future__ import annotations

from collections.abc import Sequence

from cartoframes_lite._client import Client
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.dataset import Dataset
from cartoframes_lite.imports import ImportJob
from cartoframes_lite.syncs import Sync
from cartoframes_lite.visualizations import Visualization
from cartoframes_lite.write.staging_names import is_staging


def list_datasets(
    credentials: Credentials | None = None,
    *,
    search: str | None = None,
    tags: Sequence[str] = (),
    privacy: Privacy | None = None,
    shared: bool = False,
    locked: bool | None = None,
) -> list[Dataset]:
    """List the datasets of the account, sorted by name.

    Parameters
    ----------
    credentials : Credentials, optional
        Without the master key only public datasets are listed; ``list_tables`` lists all tables that a key can read.
    search : str, optional
        Full-text search in name, description and tags.
    tags : sequence of str
        List datasets that have at least one of these tags.
    privacy : {"public", "private", "link"}, optional
    shared : bool, default False
        Include datasets that other users share with this account.
    locked : bool, optional

    Returns
    -------
    list of Dataset
        ``Client(credentials).visualizations.list("table")`` also returns their sizes and descriptions.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> entry = cfl.Dataset("stations").update(tags=["rail"])
    >>> [dataset.name for dataset in cfl.list_datasets(tags=["rail", "road"])]
    ['stations']
    """
    client = Client(credentials)
    entries = client.visualizations.list(
        "table", search=search, tags=tags, privacy=privacy, shared=shared, locked=locked
    )
    return [Dataset(entry.name, client.credentials) for entry in entries if not is_staging(entry.name)]


def list_visualizations(
    credentials: Credentials | None = None,
    *,
    search: str | None = None,
    tags: Sequence[str] = (),
    privacy: Privacy | None = None,
    shared: bool = False,
    locked: bool | None = None,
) -> list[Visualization]:
    """List the maps of the account, sorted by name. Parameters are those of ``list_datasets``.

    Returns
    -------
    list of Visualization

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> entry = cfl.Client().visualizations.create_map(["stations"], name="Where they are")
    >>> [visualization.name for visualization in cfl.list_visualizations()]
    ['Where they are']
    """
    client = Client(credentials)
    entries = client.visualizations.list(
        "derived", search=search, tags=tags, privacy=privacy, shared=shared, locked=locked
    )
    return [Visualization.from_entry(entry, client.credentials) for entry in entries]


def list_imports(credentials: Credentials | None = None) -> list[ImportJob[Dataset]]:
    """List the imports that the server keeps a record of. Sends one request per import.

    Parameters
    ----------
    credentials : Credentials, optional
        Must use the master key.

    Returns
    -------
    list of ImportJob
    """
    client = Client(credentials)
    jobs = map(client.imports.read, client.imports.list())
    return [ImportJob.from_import(job, client.credentials, Dataset) for job in jobs]


def list_syncs(credentials: Credentials | None = None) -> list[Sync]:
    """List the synchronizations of the account.

    Parameters
    ----------
    credentials : Credentials, optional
        Must use the master key.

    Returns
    -------
    list of Sync
    """
    client = Client(credentials)
    return [Sync.from_synchronization(sync, client.credentials) for sync in client.syncs.list()]
