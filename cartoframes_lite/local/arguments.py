"""Arguments of ``python -m cartoframes_lite.local`` and ``cartoframes-lite serve``.

The command line loads this file before the package, so that help needs no pandas: it imports only the standard library.
"""

from __future__ import annotations

import argparse


def make_parser(program: str) -> argparse.ArgumentParser:
    """Return the parser.

    Parameters
    ----------
    program : str
        Name of the program in its help.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description="Run an embedded CARTO server on 127.0.0.1. Prints its base URL when it accepts requests.",
    )
    parser.add_argument("--port", type=int, default=0, help="TCP port; 0 selects a free port (default)")
    parser.add_argument("--user", default="local", help="name of the account (default: local)")
    parser.add_argument("--api-key", metavar="KEY", help="master key (default: a random key, printed)")
    parser.add_argument("--dsn", help="existing PostgreSQL database to use instead of a private one")
    parser.add_argument("--data-dir", metavar="DIR", help="data directory of the private PostgreSQL, kept on stop")
    parser.add_argument(
        "--rate-limit", type=_rate_limit, metavar="N:BURST", help="requests per second for each kind of endpoint"
    )
    parser.add_argument("--statement-timeout", type=float, metavar="SECONDS", help="timeout of a statement")
    parser.add_argument(
        "--abandoned-upload",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="how long an upload locks its table if the client disconnected before the COPY started (default: 5)",
    )
    return parser


def _rate_limit(text: str) -> tuple[float, int]:
    """Parse ``PER_SECOND:BURST``."""
    per_second, _, burst = text.partition(":")
    return float(per_second), int(burst)
