"""Read, write and map CARTO tables with pandas and GeoPandas."""

from __future__ import annotations

import importlib
import sys
import types

if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] == __name__:
    # `python -m cartoframes_lite` imports the package before its program, and help should not wait for pandas.
    importlib.import_module("cartoframes_lite.cli.parser").exit_without_package(sys.argv[1:])

from cartoframes_lite._client import Client
from cartoframes_lite._client.api_keys import APIKey, TableGrant
from cartoframes_lite._client.exports import Export
from cartoframes_lite._client.http.streams import Stream
from cartoframes_lite._client.imports import ImportJob, ImportOptions
from cartoframes_lite._client.maps import Layergroup
from cartoframes_lite._client.publications import Publication
from cartoframes_lite._client.sql_batch import BatchJob
from cartoframes_lite._client.syncs import Sync
from cartoframes_lite._client.users import Account, Organization, User
from cartoframes_lite._client.visualizations import CatalogChanges, CatalogFilters, Permission, Visualization
from cartoframes_lite._codec.pgtypes import SourceColumn
from cartoframes_lite.accessor import CartoAccessor
from cartoframes_lite.account import list_datasets, list_imports, list_publications, list_syncs, list_visualizations
from cartoframes_lite.credentials import Credentials, set_default_credentials
from cartoframes_lite.dataset import Dataset, ImportKeywords
from cartoframes_lite.errors import (
    APIError,
    AuthenticationError,
    CartoError,
    CartoWarning,
    ConnectionFailed,
    ConversionError,
    ConversionWarning,
    CredentialsError,
    ImportFailed,
    IncompleteImportWarning,
    InsecureConnectionWarning,
    JobError,
    JobTimeout,
    NameTakenWarning,
    NonPublicAPIWarning,
    NotFound,
    PermissionDenied,
    PrivacyNotSet,
    PublishUnknown,
    QueryTimeout,
    RateLimited,
    ResponseTimeout,
    ServerError,
    SQLError,
    TableChangedError,
    TableExistsError,
    TableNotFoundError,
)
from cartoframes_lite.maps import (
    AnonymousMap,
    Categories,
    Formula,
    Histogram,
    InstantiatedMap,
    Layer,
    Legend,
    LegendItem,
    Map,
    NamedMap,
)
from cartoframes_lite.read import read_arrow, read_carto
from cartoframes_lite.statements import execute
from cartoframes_lite.tables import (
    copy_table,
    create_table_from_query,
    delete_table,
    describe_table,
    has_table,
    list_tables,
    rename_table,
    update_privacy_table,
)
from cartoframes_lite.write import to_carto

__version__ = "0.1.0"

__all__ = [
    "APIError",
    "APIKey",
    "Account",
    "AnonymousMap",
    "AuthenticationError",
    "BatchJob",
    "CartoAccessor",
    "CartoError",
    "CartoWarning",
    "CatalogChanges",
    "CatalogFilters",
    "Categories",
    "Client",
    "ConnectionFailed",
    "ConversionError",
    "ConversionWarning",
    "Credentials",
    "CredentialsError",
    "Dataset",
    "Export",
    "Formula",
    "Histogram",
    "ImportFailed",
    "ImportJob",
    "ImportKeywords",
    "ImportOptions",
    "IncompleteImportWarning",
    "InsecureConnectionWarning",
    "InstantiatedMap",
    "JobError",
    "JobTimeout",
    "Layer",
    "Layergroup",
    "Legend",
    "LegendItem",
    "Map",
    "NameTakenWarning",
    "NamedMap",
    "NonPublicAPIWarning",
    "NotFound",
    "Organization",
    "Permission",
    "PermissionDenied",
    "PrivacyNotSet",
    "Publication",
    "PublishUnknown",
    "QueryTimeout",
    "RateLimited",
    "ResponseTimeout",
    "SQLError",
    "ServerError",
    "SourceColumn",
    "Stream",
    "Sync",
    "TableChangedError",
    "TableExistsError",
    "TableGrant",
    "TableNotFoundError",
    "User",
    "Visualization",
    "copy_table",
    "create_table_from_query",
    "delete_table",
    "describe_table",
    "execute",
    "has_table",
    "list_datasets",
    "list_imports",
    "list_publications",
    "list_syncs",
    "list_tables",
    "list_visualizations",
    "read_arrow",
    "read_carto",
    "rename_table",
    "set_default_credentials",
    "to_carto",
    "update_privacy_table",
]


def __getattr__(name: str) -> types.ModuleType:
    """Import the modules that need optional dependencies on first use."""
    if name in ("dask", "local"):
        return importlib.import_module(f"cartoframes_lite.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, also of the modules that are imported on first use."""
    return sorted([*__all__, "__version__", "dask", "local"])
