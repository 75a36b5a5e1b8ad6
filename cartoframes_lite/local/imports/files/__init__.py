"""Load files and query results into tables of the account. Independent of HTTP and import jobs.

Runs in a transaction of the caller: `stage_file` and `stage_query` fill staging tables, `publish` renames them to
their final names. Errors are raised as `ImportJobError` with a code of the Import API.
"""

from __future__ import annotations

from cartoframes_lite.local.imports.files.error_codes import CODES, Code, ImportJobError
from cartoframes_lite.local.imports.files.publishing import publish, replace
from cartoframes_lite.local.imports.files.staging import MAX_TABLES, GuessingOptions, stage_file, stage_query
from cartoframes_lite.local.imports.files.tables import Staged, StagedTable, cartodbfy

__all__ = [
    "CODES",
    "MAX_TABLES",
    "Code",
    "GuessingOptions",
    "ImportJobError",
    "Staged",
    "StagedTable",
    "cartodbfy",
    "publish",
    "replace",
    "stage_file",
    "stage_query",
]
