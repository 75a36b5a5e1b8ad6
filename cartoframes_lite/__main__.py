"""``python -m cartoframes_lite``: the quickstart; with a command, the command line ``cartoframes-lite``."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the quickstart, or a command; return the exit code."""
    first = next(iter(sys.argv[1:]), "--picture")
    if first.partition("=")[0] == "--picture":
        from cartoframes_lite import quickstart

        return quickstart.main()
    from cartoframes_lite.cli import parser

    return parser.main()


if __name__ == "__main__":
    sys.exit(main())
