"""``python -m cartoframes_lite.local``: run the embedded server until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from cartoframes_lite.local import LocalServerError, start


def main(arguments: Sequence[str] | None = None) -> int:
    """Start a server, print its base URL, wait for Ctrl-C or SIGTERM.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command line without the program's name; None reads ``sys.argv``.

    Returns
    -------
    int
        Exit status.
    """
    options = _parser().parse_args(arguments)
    finish = threading.Event()
    # Before the start, so that an early signal ends in a clean stop, too.
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
        finish.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m cartoframes_lite.local",
        description="An embedded CARTO server on 127.0.0.1. Prints its base URL when it is ready to answer.",
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--user", default="local", help="name of the account (default: local)")
    parser.add_argument("--api-key", metavar="KEY", help="master key (default: a random one, printed)")
    parser.add_argument("--dsn", help="an existing PostgreSQL database, instead of a private one")
    parser.add_argument("--data-dir", metavar="DIR", help="keep the private PostgreSQL here for the next start")
    parser.add_argument(
        "--rate-limit", type=_rate_limit, metavar="N:BURST", help="requests per second for each kind of endpoint"
    )
    parser.add_argument("--statement-timeout", type=float, metavar="SECONDS", help="longest time of a statement")
    parser.add_argument(
        "--abandoned-upload",
        type=float,
        default=5.0,
        metavar="SECONDS",
        help="how long an upload whose client went away at once locks its table (default: 5)",
    )
    return parser


def _rate_limit(text: str) -> tuple[float, int]:
    """Read ``per_second:burst``."""
    per_second, _, burst = text.partition(":")
    return float(per_second), int(burst)


if __name__ == "__main__":
    sys.exit(main())
