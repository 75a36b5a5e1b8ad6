"""Files and queries become tables of the account; knows nothing of HTTP and of jobs.

Everything happens in a transaction of the caller's: `stage_file` or `stage_query` fill tables under names that
nobody sees, `publish` gives them theirs. What cannot be imported is an `ImportRefused` with one of CARTO's codes.
"""

from __future__ import annotations

from .codes import CODES, Code, ImportRefused
from .names import normalise, normalise_columns
from .publishing import publish, replace
from .staging import Options, stage_file, stage_query
from .tables import Staged, cartodbfy

__all__ = [
    "CODES",
    "Code",
    "ImportRefused",
    "Options",
    "Staged",
    "cartodbfy",
    "normalise",
    "normalise_columns",
    "publish",
    "replace",
    "stage_file",
    "stage_query",
]
