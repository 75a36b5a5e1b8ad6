"""``python -m cartoframes_lite.local``: run the embedded server until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence

from cartoframes_lite.local import LocalServerError, start
from cartoframes_lite.local.arguments import make_parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a server, and return the exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command-line arguments without the program name. None reads ``sys.argv``.
    """
    return serve(make_parser("python -m cartoframes_lite.local").parse_args(arguments))


def serve(options: argparse.Namespace) -> int:
    """Start a server, print its base URL and its home page, and wait for Ctrl-C, SIGTERM or SIGHUP.

    Parameters
    ----------
    options : argparse.Namespace
        Arguments parsed by ``arguments.make_parser``.

    Returns
    -------
    int
        Exit status.
    """
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
            in_process=True,
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


if __name__ == "__main__":
    sys.exit(main())
