"""Names of tables made of files."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import PurePosixPath

from cartoframes_lite.local.catalog.names import free_table_name


def stem(file_name: str) -> str:
    """Return a file name without directories and extension."""
    name = PurePosixPath(file_name.replace("\\", "/")).name
    return name.rpartition(".")[0] or name


def table_name(name: str, others: Collection[str] = ()) -> str:
    """Return the name of the table made of a file or layer, different from those of other tables of the import.

    Parameters
    ----------
    name : str
        Name of the layer, or of the file without extension. CARTO drops parentheses, quotes and ampersands.
    others : collection of str
    """
    return free_table_name(re.sub("""[()'"&]""", "", name), others)
