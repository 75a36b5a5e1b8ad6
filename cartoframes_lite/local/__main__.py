"""``python -m cartoframes_lite.local``: run the embedded server until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from cartoframes_lite.local import LocalServerError, start


def main(arguments: Sequence[str] | None = None, *, program: str = "python -m cartoframes_lite.local") -> int:
    """Start a server, print its base URL and its home page, and wait for Ctrl-C, SIGTERM or SIGHUP.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command-line arguments without the program name. None reads ``sys.argv``.
    program : str
        Name of the program in its help.

    Returns
    -------
    int
        Exit status.
    """
    options = _parser(program).parse_args(arguments)
    finish = threading.Event()
    # Installed before the start, so that a signal during the start also leads to a clean stop.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: finish.set())
    try:
        carto = start(
            dsn=options.dsn,
            user=options.user,
            api_key=options.api_key,
            port=options.port,
            data_dir=options.data_dir,
            rate_limit=options.rate_limit,
            statement_timeout_s=options.statement_timeout,
            abandoned_upload_s=options.abandoned_upload,
        )
    except (LocalServerError, ImportError, ValueError) as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    with carto:
        print(carto.base_url, flush=True)
        if options.api_key is None:
            print(f"master key: {carto.credentials.api_key}", flush=True)
        print(f"home page of the account, for a browser: {carto.base_url}", flush=True)
        finish.wait()
    return 0


def _parser(program: str) -> argparse.ArgumentParser:
    """Return the argument parser of the command line."""
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


if __name__ == "__main__":
    sys.exit(main())
