"""The program ``cartoframes-lite``, in a wheel a top-level module.

It loads the parser from its file: an import by name would import the package, and with it pandas, before ``--help``.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path


def main() -> int:
    """Run the command line; return its exit code."""
    package = importlib.util.find_spec("cartoframes_lite")
    assert package is not None  # installed together with this module
    assert package.origin is not None
    path = Path(package.origin).parent / "cli" / "parser.py"
    spec = importlib.util.spec_from_file_location("cartoframes_lite_parser", path)
    assert spec is not None  # the file is Python
    assert spec.loader is not None
    parser = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(parser)
    code: int = parser.main()
    return code
