"""The commands of the command line: each calls the functions of the package and prints the result."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cartoframes_lite._client import Client
from cartoframes_lite._codec.html import format_bytes
from cartoframes_lite._codec.names import qualify, split_schema
from cartoframes_lite._codec.sql_text import changes_data, is_query
from cartoframes_lite.cli.files import UsageError, find_writer, is_csv, is_standard_stream
from cartoframes_lite.cli.output import (
    for_command_line,
    print_error,
    print_fields,
    print_json,
    print_records,
    to_records,
)
from cartoframes_lite.cli.readers import read_frames
from cartoframes_lite.credentials import Credentials, resolve
from cartoframes_lite.dataset import Dataset
from cartoframes_lite.errors import (
    AuthenticationError,
    CartoError,
    ConnectionFailed,
    CredentialsError,
    JobTimeout,
    NonPublicAPIWarning,
    NotFound,
    PermissionDenied,
    QueryTimeout,
    RateLimited,
    ServerError,
    TableExistsError,
    TableNotFoundError,
)
from cartoframes_lite.geoparquet import SUFFIXES, write_parquet
from cartoframes_lite.read import read_arrow, read_carto
from cartoframes_lite.write import to_carto
from cartoframes_lite.write.staging_names import is_staging

# In this order: the first class of which an error is an instance.
_EXIT_CODES: tuple[tuple[tuple[type[BaseException], ...], int], ...] = (
    ((UsageError,), 2),
    ((CredentialsError, AuthenticationError, PermissionDenied, PermissionError), 3),
    ((TableNotFoundError, NotFound, FileNotFoundError), 4),
    ((TableExistsError,), 5),
    ((ConnectionFailed, RateLimited, QueryTimeout, ServerError, JobTimeout), 6),
    ((CartoError, OSError, ImportError, ValueError, TypeError), 1),
)
_SHOWN_ERRORS = tuple(cls for classes, _ in _EXIT_CODES for cls in classes)


@dataclass(frozen=True, slots=True)
class _Call:
    """A command with the account that it uses. ``progress`` is as in ``to_carto``."""

    options: argparse.Namespace
    credentials: Credentials
    progress: bool | None


def run(options: argparse.Namespace) -> int:
    """Run a command; print its error, if any, and return the exit code."""
    try:
        profile = options.profile
        credentials = _credentials(profile)
        # Progress bars in a log file would be noise.
        progress = None if sys.stderr.isatty() and not options.quiet else False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NonPublicAPIWarning)
            warnings.showwarning = _print_warning
            code = _COMMANDS[options.command](_Call(options, credentials, progress))
        sys.stdout.flush()  # not at the exit, where a closed pipe is only a message
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader of the output, such as `head`, has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except _SHOWN_ERRORS as error:
        print_error(error, as_json=options.json)
        return next(code for classes, code in _EXIT_CODES if isinstance(error, classes))


def _credentials(profile: str | None) -> Credentials:
    """Return the credentials of a profile, else those that the package finds."""
    try:
        return resolve(None) if profile is None else Credentials.from_file(profile=profile)
    except CredentialsError:
        raise
    except ValueError as error:  # a base URL that is invalid, or has no user
        source = f"profile {profile!r}" if profile is not None else "CARTO_API_URL or the credentials file"
        raise UsageError(f"{error} (from {source})") from error


def _print_warning(message: Warning | str, *_: object, **__: object) -> None:
    """Print a warning without the line of code that issued it."""
    print(f"cartoframes-lite: warning: {for_command_line(str(message))}", file=sys.stderr)


def _upload(call: _Call) -> int:
    options = call.options
    rows = 0

    def counted() -> Iterator[pd.DataFrame]:
        nonlocal rows
        for frame in read_frames(options.file, layer=options.layer, lnglat=options.lnglat, crs=options.crs):
            rows += len(frame)
            yield frame

    try:
        name = to_carto(
            counted(),
            options.table,
            call.credentials,
            if_exists=options.if_exists,
            key=None if options.key is None else [name.strip() for name in options.key.split(",")],
            privacy=options.privacy,
            progress=call.progress,
        )
    except TableExistsError:
        raise TableExistsError(
            f"the table of {options.table!r} already exists: pass --if-exists replace, append, upsert or delete_rows,"
            " or another name"
        ) from None
    if options.json:
        print_json({"table": name, "rows": rows})
    else:
        print(f"{name}: {rows:,} rows {'appended' if options.if_exists == 'append' else 'written'}")
    return 0


def _download(call: _Call) -> int:
    options = call.options
    keywords = {"limit": options.limit, "progress": call.progress}
    folder = Path(options.file).parent
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "No such directory", str(folder))
    if options.file.lower().endswith(SUFFIXES):  # in bounded memory
        rows = write_parquet(read_arrow(options.source, call.credentials, **keywords), options.file)
    else:
        write = find_writer(options.file, layer=options.source)  # raises before the rows are read
        # Digits of numeric beyond those of a double would be lost; the other formats have no type for them.
        frame = read_carto(options.source, call.credentials, coerce_float=not is_csv(options.file), **keywords)
        write(frame)
        rows = len(frame)
    if is_standard_stream(options.file):
        return 0
    if options.json:
        print_json({"file": str(Path(options.file)), "rows": rows})
    else:
        print(f"{options.file}: {rows:,} rows")
    return 0


def _sql(call: _Call) -> int:
    options = call.options
    query = sys.stdin.read() if options.query == "-" else options.query
    if not query.strip():
        raise UsageError("there is no statement to run")
    if is_query(query) and not changes_data(query):
        frame = read_carto(query, call.credentials, limit=options.limit, coerce_float=False, progress=call.progress)
        records, columns = to_records(frame), list(map(str, frame.columns))
    else:
        response = Client(call.credentials, progress=call.progress).sql.send(query)
        records, columns = response["rows"], list(response.get("fields") or {})
        if not columns:
            changed = response.get("total_rows") or 0
            if options.json:
                print_json({"rows": changed})
            else:
                print(f"{changed:,} rows changed")
            return 0
    if options.json:
        print_json(records)
    else:
        print_records(records, columns)
    return 0


def _list(call: _Call) -> int:
    options, client = call.options, Client(call.credentials, progress=call.progress)
    is_filtered = options.search is not None or options.privacy is not None
    entries = client.visualizations.list("table", search=options.search, privacy=options.privacy)
    rows: dict[str, dict[str, Any]] = {
        entry.name: {
            "name": entry.name,
            "privacy": entry.privacy,
            "rows": entry.row_count,
            "size_bytes": entry.size_bytes,
            "geometry": ", ".join(kind.removeprefix("ST_") for kind in entry.geometry_types) or None,
            "updated_at": entry.updated_at,
        }
        for entry in entries
        if not is_staging(entry.name)
    }
    if not is_filtered:  # without the master key, the catalog has only public datasets
        empty = dict.fromkeys(("privacy", "rows", "size_bytes", "geometry", "updated_at"))
        for name in client.sql.tables():
            if not is_staging(name):
                rows.setdefault(name, {"name": name, **empty})
    records = [rows[name] for name in sorted(rows)]
    if options.json:
        print_json(records)
        return 0
    shown = [
        {
            **{name: value for name, value in record.items() if name != "size_bytes"},
            "size": None if record["size_bytes"] is None else format_bytes(record["size_bytes"]),
            "updated_at": record["updated_at"] and f"{record['updated_at']:%Y-%m-%d %H:%M}",
        }
        for record in records
    ]
    print_records(shown, ["name", "privacy", "rows", "size", "geometry", "updated_at"], noun="tables")
    return 0


def _info(call: _Call) -> int:
    client = Client(call.credentials, progress=call.progress)
    dataset = Dataset(call.options.table, client.credentials)
    columns = dataset.columns()
    entry = client.visualizations.find(dataset.name)
    fields: dict[str, Any] = {"name": dataset.name}
    if entry is None:  # not a dataset, or not visible to the key
        row = read_carto(f"SELECT count(*) AS n FROM ({_all_rows(dataset)}) AS t", client.credentials, progress=False)
        fields["rows"] = int(row["n"].iloc[0])
    else:
        fields |= {
            "privacy": entry.privacy,
            "rows": entry.row_count,
            "size_bytes": entry.size_bytes,
            "geometry": list(entry.geometry_types),
            "description": entry.description,
            "tags": list(entry.tags),
            "license": entry.license,
            "owner": entry.owner,
            "maps": list(entry.dependents),
            "updated_at": entry.updated_at,
            "url": entry.url,
        }
    if call.options.json:
        print_json({**fields, "columns": columns})
        return 0
    if fields.get("size_bytes") is not None:
        fields["size_bytes"] = format_bytes(fields["size_bytes"])
    print_fields({name.removesuffix("_bytes").removesuffix("_at"): value for name, value in fields.items()})
    print()
    print_records([{"column": name, "type": kind} for name, kind in columns.items()], ["column", "type"], noun=None)
    return 0


def _all_rows(dataset: Dataset) -> str:
    return f"TABLE {qualify(*split_schema(dataset.name))}"


def _delete(call: _Call) -> int:
    options = call.options
    dataset = Dataset(options.table, call.credentials)
    if not options.yes:
        if not sys.stdin.isatty():
            raise UsageError(f"not deleted: pass --yes to delete {options.table!r} without a question")
        answer = input(f"Delete {options.table!r} of {call.credentials.base_url}? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            return 1
    dataset.delete(force=options.force)
    if options.json:
        print_json({"deleted": dataset.name})
    else:
        print(f"{dataset.name}: deleted")
    return 0


_COMMANDS: dict[str, Callable[[_Call], int]] = {
    "upload": _upload,
    "download": _download,
    "sql": _sql,
    "list": _list,
    "info": _info,
    "delete": _delete,
}
