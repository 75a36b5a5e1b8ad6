"""Arguments and exit codes of the command line ``cartoframes-lite``.

The launcher loads this file before the package, so that help and usage errors need no pandas: it imports only the
standard library at its top.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from runpy import run_path
from typing import NoReturn

_QUICKSTART_OPTIONS = ("--picture", "--page", "--basemap")  # of `python -m cartoframes_lite`
_EPILOG = """\
credentials:
  --profile NAME, else CARTO_API_URL (or CARTO_USERNAME) and CARTO_API_KEY in the environment, else the file written by
  Credentials.save(); Credentials.save(profile="NAME") writes a profile to the same file

exit codes:
  0 success                                1 other errors
  2 invalid arguments or account URL       3 missing credentials, or no permission
  4 table or file not found                5 table exists already
  6 server not reachable, rate limit or timeout: worth another try
  130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        Command-line arguments without the program name. None reads ``sys.argv``.

    Returns
    -------
    int
        Exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["serve"]:
        server_options = _parse_server(given[1:])
        from cartoframes_lite.local.__main__ import serve

        return serve(server_options)
    options = _parse(given)
    if options.command == "completion":
        from cartoframes_lite.cli.completion import script

        sys.stdout.write(script(options.shell))
        return 0
    from cartoframes_lite.cli.commands import run

    return run(options)


def is_quickstart(arguments: Sequence[str]) -> bool:
    """Return whether arguments of ``python -m cartoframes_lite`` are those of the quickstart."""
    return not arguments or arguments[0].partition("=")[0] in _QUICKSTART_OPTIONS


def exit_without_package(arguments: Sequence[str]) -> None:
    """Exit if the arguments ask for help, the version or completion, or are invalid, which needs no pandas."""
    if is_quickstart(arguments):
        return
    if arguments[0] == "serve":
        _parse_server(arguments[1:])
    elif _parse(list(arguments)).command == "completion":
        sys.exit(main(arguments))


def _parse(arguments: list[str]) -> argparse.Namespace:
    """Parse the arguments; exit if they are invalid, or ask for help or the version."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.command == "upload" and (options.if_exists == "upsert") is (options.key is None):
        parser.error("upload: --if-exists upsert and --key COLUMNS require each other")
    return options


def _parse_server(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments of ``serve``, which are those of the embedded server; exit as ``_parse`` does."""
    # From its file, as the launcher loads this one: an import by name would import the package.
    parser = run_path(str(Path(__file__).parents[1] / "local" / "arguments.py"))["make_parser"]
    options: argparse.Namespace = parser("cartoframes-lite serve").parse_args(arguments)
    return options


class _Version(argparse.Action):
    """Print the version, without importing the package that contains it."""

    def __call__(self, parser: argparse.ArgumentParser, *others: object) -> NoReturn:
        package = (Path(__file__).parents[1] / "__init__.py").read_text(encoding="utf-8")
        _, _, rest = package.partition('__version__ = "')
        print(parser.prog, rest.partition('"')[0])
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """Parser that does not accept abbreviated options, which later options would make ambiguous."""

    def __init__(self, **keywords: object) -> None:
        super().__init__(**keywords, allow_abbrev=False)  # type: ignore[arg-type]  # the keywords of argparse

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.format_usage()}{self.prog}: error: {message}\n")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="cartoframes-lite",
        description="Tables of a CARTO account: upload, download, query, list and delete them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    common = _common_options()
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(name: str, description: str) -> argparse.ArgumentParser:
        summary = description.partition(".")[0]
        summary = summary[0].lower() + summary[1:]
        return commands.add_parser(name, help=summary, description=description, parents=[common])

    _add_upload(add("upload", "Write a file to a table. Reads any format of GDAL (pyogrio) and pandas."))
    _add_download(add("download", "Write a table or the rows of a query to a file. The suffix determines the format."))
    _add_sql(add("sql", "Run SQL. Shows the rows, or the number of changed rows."))
    listing = add("list", "List the tables, with privacy, rows and size.")
    listing.add_argument("--search", metavar="TEXT", help="only datasets with TEXT in name, description or tags")
    listing.add_argument("--privacy", choices=("public", "private", "link"), help="only datasets of this privacy")
    info = add("info", "Show the columns, size and privacy of a table.")
    info.add_argument("table", metavar="TABLE")
    delete = add("delete", "Delete a table.")
    delete.add_argument("table", metavar="TABLE")
    delete.add_argument("--yes", action="store_true", help="do not ask")
    delete.add_argument("--force", action="store_true", help="delete it even if maps use it")
    commands.add_parser("serve", help="run the embedded server; see serve --help", add_help=False)
    completion = commands.add_parser("completion", help="print a script for the completion of a shell")
    completion.add_argument("shell", choices=("bash", "zsh", "fish"))
    return parser


def _common_options() -> _Parser:
    """Return the options of all commands that use an account."""
    common = _Parser(add_help=False)
    common.add_argument("--profile", metavar="NAME", help="profile of the credentials file")
    common.add_argument("--json", action="store_true", help="print results and errors as JSON")
    common.add_argument("--quiet", "-q", action="store_true", help="show no progress")
    return common


def _add_upload(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="path, or - for CSV from the standard input")
    parser.add_argument("table", metavar="TABLE", help="its normalized form is the name of the table")
    parser.add_argument(
        "--if-exists",
        choices=("fail", "replace", "append", "upsert", "delete_rows"),
        default="fail",
        help="what to do if the table exists (default: fail)",
    )
    parser.add_argument("--key", metavar="COLUMNS", help="columns that identify a row, for --if-exists upsert")
    parser.add_argument("--privacy", choices=("public", "private", "link"), help="privacy of the table")
    parser.add_argument("--layer", help="layer of a file with several, or sheet of a workbook")
    parser.add_argument(
        "--lnglat", type=_two_columns, metavar="LNG,LAT", help="columns with longitude and latitude, for points"
    )
    parser.add_argument("--crs", help="CRS of a file that does not contain it, such as EPSG:4326")


def _two_columns(text: str) -> str:
    """Check the value of ``--lnglat``."""
    names = [name.strip() for name in text.split(",")]
    if len(names) != 2 or not all(names):
        raise argparse.ArgumentTypeError(f"expected two columns, such as lng,lat, not {text!r}")
    return text


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="TABLE|SQL")
    parser.add_argument("file", metavar="FILE", help="path, or - for CSV to the standard output")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N rows")


def _add_sql(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", metavar="SQL", help="a statement, or - for the standard input")
    parser.add_argument("--limit", type=int, metavar="N", help="show at most N rows of a query")


if __name__ == "__main__":
    sys.exit(main())
