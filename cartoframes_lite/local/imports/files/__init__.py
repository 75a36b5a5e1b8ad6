"""Files and queries become tables of the account; knows nothing of HTTP and of jobs.

Everything happens in a transaction of the caller's: `stage_file` or `stage_query` fill tables under names that
nobody sees, `publish` gives them theirs. What cannot be imported is an `ImportRefused` with one of CARTO's codes.
"""

from __future__ import annotations

from cartoframes_lite.local.imports.files.error_codes import CODES, Code, ImportRefused
from cartoframes_lite.local.imports.files.names import normalize, normalize_columns
from cartoframes_lite.local.imports.files.publishing import publish, replace
from cartoframes_lite.local.imports.files.staging import Options, stage_file, stage_query
from cartoframes_lite.local.imports.files.tables import StagedTable, cartodbfy

__all__ = [
    "CODES",
    "Code",
    "ImportRefused",
    "Options",
    "StagedTable",
    "cartodbfy",
    "normalize",
    "normalize_columns",
    "publish",
    "replace",
    "stage_file",
    "stage_query",
]
