"""List the datasets, maps, published pages, imports and synchronizations of an account."""

from __future__ import annotations

from typing import Unpack

from cartoframes_lite._client import Client
from cartoframes_lite._client.imports import ImportJob
from cartoframes_lite._client.listing import Listing
from cartoframes_lite._client.publications import Publication
from cartoframes_lite._client.syncs import Sync
from cartoframes_lite._client.visualizations import CatalogFilters, Visualization, catalog_filters, entry_columns
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.dataset import Dataset
from cartoframes_lite.write.staging_names import is_staging


@catalog_filters
def list_datasets(credentials: Credentials | None = None, **keywords: Unpack[CatalogFilters]) -> list[Dataset]:
    """List the datasets of the account, sorted by name.

    Parameters
    ----------
    credentials : Credentials, optional
        Without the master key only public datasets are listed; ``list_tables`` lists all tables that a key can read.
    **keywords
        Those of ``CatalogFilters``.

    Returns
    -------
    list of Dataset
        A notebook displays it as one table, with privacy, rows and size at the time of the call.
        ``Client(credentials).visualizations.list("table")`` also returns their sizes and descriptions.

    Raises
    ------
    AuthenticationError
        If the API key is unknown.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> entry = cfl.Dataset("stations").update(tags=["rail"])
    >>> [dataset.name for dataset in cfl.list_datasets(tags=["rail", "road"])]
    ['stations']
    """
    client = Client(credentials)
    entries = [entry for entry in client.visualizations.list("table", **keywords) if not is_staging(entry.name)]
    columns = {entry.name: entry_columns(entry) for entry in entries}
    datasets = [Dataset(entry.name, client.credentials) for entry in entries]
    return Listing(datasets, "datasets", lambda dataset: columns.get(dataset.name, {"name": dataset.name}))


@catalog_filters
def list_visualizations(
    credentials: Credentials | None = None, **keywords: Unpack[CatalogFilters]
) -> list[Visualization]:
    """List the maps of the account, sorted by name.

    Parameters
    ----------
    credentials : Credentials, optional
        As in ``list_datasets``.
    **keywords
        Those of ``CatalogFilters``.

    Returns
    -------
    list of Visualization

    Raises
    ------
    AuthenticationError
        If the API key is unknown.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> entry = cfl.Client().visualizations.create_map(["stations"], name="Where they are")
    >>> [visualization.name for visualization in cfl.list_visualizations()]
    ['Where they are']
    """
    return Client(credentials).visualizations.list("derived", **keywords)


def list_publications(credentials: Credentials | None = None) -> list[Publication]:
    """List the published pages of the account, sorted by name.

    Parameters
    ----------
    credentials : Credentials, optional
        Without the master key only pages without a password are listed.

    Returns
    -------
    list of Publication

    Raises
    ------
    AuthenticationError
        If the API key is unknown.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> page = cfl.Client().publications.create("<html><p>Stations</p></html>", name="stations")
    >>> [publication.name for publication in cfl.list_publications()]
    ['stations']
    """
    return Client(credentials).publications.list()


def list_imports(credentials: Credentials | None = None) -> list[ImportJob[Dataset]]:
    """List the imports of the last 24 hours that have not finished. Sends one request per import.

    ``Client(credentials).imports.read(id)`` returns any import, also a finished one.

    Parameters
    ----------
    credentials : Credentials, optional
        Must use the master key.

    Returns
    -------
    list of ImportJob
    """
    imports = Client(credentials).imports
    return Listing((imports.read(import_id) for import_id in imports.list()), "imports", _import_columns)


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
    return Client(credentials).syncs.list()


def _import_columns(job: ImportJob[Dataset]) -> dict[str, object]:
    """Return the columns of an import in a notebook."""
    return {"source": job.display_name, "state": job.state, "table": job.table_name, "id": job.id}
