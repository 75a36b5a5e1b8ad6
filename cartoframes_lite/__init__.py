"""Read, write and map CARTO tables with pandas and GeoPandas."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, Any

if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] == __name__:
    # `python -m cartoframes_lite` imports the package before its program, and help should not wait for pandas.
    importlib.import_module("cartoframes_lite.cli.parser").exit_without_package(sys.argv[1:])

import pandas

if TYPE_CHECKING:
    from cartoframes_lite import dask as dask
    from cartoframes_lite import local as local
    from cartoframes_lite._client import Client as Client
    from cartoframes_lite._client.api_keys import APIKey as APIKey
    from cartoframes_lite._client.api_keys import TableGrant as TableGrant
    from cartoframes_lite._client.exports import Export as Export
    from cartoframes_lite._client.http.streams import Stream as Stream
    from cartoframes_lite._client.imports import ImportJob as ImportJob
    from cartoframes_lite._client.imports import ImportOptions as ImportOptions
    from cartoframes_lite._client.maps import Layergroup as Layergroup
    from cartoframes_lite._client.publications import Publication as Publication
    from cartoframes_lite._client.sql_batch import BatchJob as BatchJob
    from cartoframes_lite._client.syncs import Sync as Sync
    from cartoframes_lite._client.users import Account as Account
    from cartoframes_lite._client.users import Organization as Organization
    from cartoframes_lite._client.users import User as User
    from cartoframes_lite._client.visualizations import CatalogChanges as CatalogChanges
    from cartoframes_lite._client.visualizations import CatalogFilters as CatalogFilters
    from cartoframes_lite._client.visualizations import Permission as Permission
    from cartoframes_lite._client.visualizations import Visualization as Visualization
    from cartoframes_lite._codec.pgtypes import SourceColumn as SourceColumn
    from cartoframes_lite.accessor import CartoAccessor as CartoAccessor
    from cartoframes_lite.account import list_datasets as list_datasets
    from cartoframes_lite.account import list_imports as list_imports
    from cartoframes_lite.account import list_publications as list_publications
    from cartoframes_lite.account import list_syncs as list_syncs
    from cartoframes_lite.account import list_visualizations as list_visualizations
    from cartoframes_lite.credentials import Credentials as Credentials
    from cartoframes_lite.credentials import set_default_credentials as set_default_credentials
    from cartoframes_lite.dataset import Dataset as Dataset
    from cartoframes_lite.dataset import ImportKeywords as ImportKeywords
    from cartoframes_lite.errors import APIError as APIError
    from cartoframes_lite.errors import AuthenticationError as AuthenticationError
    from cartoframes_lite.errors import CartoError as CartoError
    from cartoframes_lite.errors import CartoWarning as CartoWarning
    from cartoframes_lite.errors import ConnectionFailed as ConnectionFailed
    from cartoframes_lite.errors import ConversionError as ConversionError
    from cartoframes_lite.errors import ConversionWarning as ConversionWarning
    from cartoframes_lite.errors import CredentialsError as CredentialsError
    from cartoframes_lite.errors import ImportFailed as ImportFailed
    from cartoframes_lite.errors import IncompleteImportWarning as IncompleteImportWarning
    from cartoframes_lite.errors import InsecureConnectionWarning as InsecureConnectionWarning
    from cartoframes_lite.errors import JobError as JobError
    from cartoframes_lite.errors import JobTimeout as JobTimeout
    from cartoframes_lite.errors import NameTakenWarning as NameTakenWarning
    from cartoframes_lite.errors import NonPublicAPIWarning as NonPublicAPIWarning
    from cartoframes_lite.errors import NotFound as NotFound
    from cartoframes_lite.errors import PermissionDenied as PermissionDenied
    from cartoframes_lite.errors import PrivacyNotSet as PrivacyNotSet
    from cartoframes_lite.errors import PublishUnknown as PublishUnknown
    from cartoframes_lite.errors import QueryTimeout as QueryTimeout
    from cartoframes_lite.errors import RateLimited as RateLimited
    from cartoframes_lite.errors import ResponseTimeout as ResponseTimeout
    from cartoframes_lite.errors import ServerError as ServerError
    from cartoframes_lite.errors import SQLError as SQLError
    from cartoframes_lite.errors import TableChangedError as TableChangedError
    from cartoframes_lite.errors import TableExistsError as TableExistsError
    from cartoframes_lite.errors import TableNotFoundError as TableNotFoundError
    from cartoframes_lite.maps import AnonymousMap as AnonymousMap
    from cartoframes_lite.maps import Categories as Categories
    from cartoframes_lite.maps import Formula as Formula
    from cartoframes_lite.maps import Histogram as Histogram
    from cartoframes_lite.maps import InstantiatedMap as InstantiatedMap
    from cartoframes_lite.maps import Layer as Layer
    from cartoframes_lite.maps import Legend as Legend
    from cartoframes_lite.maps import LegendItem as LegendItem
    from cartoframes_lite.maps import Map as Map
    from cartoframes_lite.maps import NamedMap as NamedMap
    from cartoframes_lite.read import read_arrow as read_arrow
    from cartoframes_lite.read import read_carto as read_carto
    from cartoframes_lite.statements import execute as execute
    from cartoframes_lite.tables import copy_table as copy_table
    from cartoframes_lite.tables import create_table_from_query as create_table_from_query
    from cartoframes_lite.tables import delete_table as delete_table
    from cartoframes_lite.tables import describe_table as describe_table
    from cartoframes_lite.tables import has_table as has_table
    from cartoframes_lite.tables import list_tables as list_tables
    from cartoframes_lite.tables import rename_table as rename_table
    from cartoframes_lite.tables import update_privacy_table as update_privacy_table
    from cartoframes_lite.write import to_carto as to_carto

__version__ = "0.1.0"

# The modules are imported at the first use of one of their names: all of them take as long as GeoPandas.
_NAMES_BY_MODULE = {
    "_client": ("Client",),
    "_client.api_keys": ("APIKey", "TableGrant"),
    "_client.exports": ("Export",),
    "_client.http.streams": ("Stream",),
    "_client.imports": ("ImportJob", "ImportOptions"),
    "_client.maps": ("Layergroup",),
    "_client.publications": ("Publication",),
    "_client.sql_batch": ("BatchJob",),
    "_client.syncs": ("Sync",),
    "_client.users": ("Account", "Organization", "User"),
    "_client.visualizations": ("CatalogChanges", "CatalogFilters", "Permission", "Visualization"),
    "_codec.pgtypes": ("SourceColumn",),
    "accessor": ("CartoAccessor",),
    "account": ("list_datasets", "list_imports", "list_publications", "list_syncs", "list_visualizations"),
    "credentials": ("Credentials", "set_default_credentials"),
    "dataset": ("Dataset", "ImportKeywords"),
    "errors": (
        "APIError",
        "AuthenticationError",
        "CartoError",
        "CartoWarning",
        "ConnectionFailed",
        "ConversionError",
        "ConversionWarning",
        "CredentialsError",
        "ImportFailed",
        "IncompleteImportWarning",
        "InsecureConnectionWarning",
        "JobError",
        "JobTimeout",
        "NameTakenWarning",
        "NonPublicAPIWarning",
        "NotFound",
        "PermissionDenied",
        "PrivacyNotSet",
        "PublishUnknown",
        "QueryTimeout",
        "RateLimited",
        "ResponseTimeout",
        "ServerError",
        "SQLError",
        "TableChangedError",
        "TableExistsError",
        "TableNotFoundError",
    ),
    "maps": (
        "AnonymousMap",
        "Categories",
        "Formula",
        "Histogram",
        "InstantiatedMap",
        "Layer",
        "Legend",
        "LegendItem",
        "Map",
        "NamedMap",
    ),
    "read": ("read_arrow", "read_carto"),
    "statements": ("execute",),
    "tables": (
        "copy_table",
        "create_table_from_query",
        "delete_table",
        "describe_table",
        "has_table",
        "list_tables",
        "rename_table",
        "update_privacy_table",
    ),
    "write": ("to_carto",),
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}
_OPTIONAL = ("dask", "local")  # modules that need optional dependencies

# Threads that import modules of the same packages in different orders would find some of them without their names.
_importing = threading.RLock()

__all__ = sorted(_MODULES)

if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name: str) -> Any:
        """Import a public name, or a module, at its first use."""
        if name in _MODULES:
            with _importing:
                module = importlib.import_module(f"{__name__}.{_MODULES[name]}")
            globals()[name] = value = getattr(module, name)
            return value
        if name in _NAMES_BY_MODULE or name in _OPTIONAL:
            with _importing:
                return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names, also those that have not been imported yet."""
    return sorted([*__all__, *_OPTIONAL, "__version__"])


class _LazyAccessor:
    """Descriptor ``DataFrame.carto``: imports the class of the accessor at its first use."""

    def __get__(self, frame: pandas.DataFrame | None, owner: type) -> Any:
        with _importing:
            from cartoframes_lite.accessor import CartoAccessor

        return CartoAccessor if frame is None else CartoAccessor(frame)


# As pandas.api.extensions.register_dataframe_accessor does, which needs the class.
pandas.DataFrame.carto = _LazyAccessor()  # type: ignore[attr-defined]  # pandas does not declare it
