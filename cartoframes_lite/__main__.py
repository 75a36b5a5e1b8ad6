"""``python -m cartoframes_lite``: the quickstart; with a command, the command line ``cartoframes-lite``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the quickstart, or a command; return the exit code."""
    from cartoframes_lite.cli import parser

    if parser.is_quickstart(sys.argv[1:]):
        from cartoframes_lite import quickstart

        return quickstart.main()
    return parser.main()


if __name__ == "__main__":
    sys.exit(main())
