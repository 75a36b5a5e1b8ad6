"""Import API: create tables from files, URLs, queries, tables and other databases."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypedDict, TypeVar, cast, get_args

from requests_toolbelt import MultipartEncoder

from cartoframes_lite import user_warnings
from cartoframes_lite._client import polling
from cartoframes_lite._client.connectors import redact_secrets, wrap_connector
from cartoframes_lite._client.http.json_fields import drop_none, integer, record, required, text, texts
from cartoframes_lite._client.http.progress import Progress
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.http.uploads import File, SizedReader, UploadSource, table_name_of_file
from cartoframes_lite._client.import_codes import ALL_SKIPPED, ErrorCode, Source, describe
from cartoframes_lite._client.platform import Platform
from cartoframes_lite._client.polling import update_job
from cartoframes_lite._codec.html import html_table, plain_text
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import ConnectionFailed, ImportFailed, IncompleteImportWarning, JobError, ServerError

PATH = "api/v1/imports"
_FINAL = ("complete", "failure", "stuck")
_BLOCK_BYTES = 1 << 18

CollisionStrategy = Literal["skip", "overwrite"]
Privacy = Literal["public", "private", "link"]
if TYPE_CHECKING:
    PrivacyOfTable = Privacy
else:
    # Properties are annotated with this: jedi, which completes names in IPython, shows nothing of objects that have a
    # property annotated with a Literal.
    PrivacyOfTable = str

D = TypeVar("D")  # Dataset or a subclass


class ImportOptions(TypedDict, total=False):
    """Options of an import.

    Parameters
    ----------
    privacy : {"public", "private", "link"}, optional
        None: the default of the account, which on a free plan is public.
    collision_strategy : {"skip", "overwrite"}, optional
        What to do if a table of this name exists: "skip" leaves it unchanged, and it is the result; "overwrite"
        replaces its rows if the new data have all of its columns with the same types. None: the new table gets a
        numbered name such as ``stations_1``.
    type_guessing : bool, default True
        Guess the types of untyped columns, such as those of CSV. False: they become text.
    quoted_fields_guessing : bool, default True
        Also guess the types of quoted CSV fields.
    content_guessing : bool, default False
        Geocode columns that contain place names, such as countries.
    create_map : bool, default False
        Also create a map of the new dataset, with the same privacy.
    """

    privacy: Privacy | None
    collision_strategy: CollisionStrategy | None
    type_guessing: bool
    quoted_fields_guessing: bool
    content_guessing: bool
    create_map: bool


OPTION_DEFAULTS = ImportOptions(
    privacy=None,
    collision_strategy=None,
    type_guessing=True,
    quoted_fields_guessing=True,
    content_guessing=False,
    create_map=False,
)


@dataclass(frozen=True, slots=True)
class ImportJob(Generic[D]):
    """An import job on the server, with its state at the last request.

    Returned by the ``from_...`` methods of ``Dataset`` with ``wait=False``, by ``list_imports`` and by
    ``Client.imports``. ``refresh`` and ``wait`` update it.

    Attributes
    ----------
    id : str
    state : str
        "enqueued", "pending", "uploading", "unpacking", "importing" or "guessing" while it runs; finally "complete",
        "failure" or "stuck".
    data_type : str or None
        "file", "url", "query", "table", "external_table" or "datasource".
    display_name : str or None
        Name of the source, e.g. of the file.
    table_name : str or None
        Name of the created table; one of them if there are several.
    tables_created : int or None
        Number of tables, including those of an archive that failed; 0 for a query or a copy.
    error_code : int or None
        CARTO's code of the failure. Also set if an import is complete: to 1022 if all tables were skipped, or to the
        code of a file of an archive that failed.
    error : ImportFailed or None
        The exception that ``wait`` raises, if the import failed.
    warnings : str or None
        What a complete import did not do, such as files of an archive that failed. ``wait`` issues it as a
        ``IncompleteImportWarning``.
    visualization_id : str or None
        Id of the map that was created with ``create_map=True``.
    synchronization_id : str or None
        Id of the synchronization that started the import.
    """

    id: str
    state: str
    data_type: str | None
    display_name: str | None
    table_name: str | None
    tables_created: int | None
    error_code: int | None
    error: ImportFailed | None
    warnings: str | None
    visualization_id: str | None
    synchronization_id: str | None
    credentials: Credentials = field(kw_only=True, repr=False, compare=False)
    open_dataset: Callable[[str, Credentials], D] = field(kw_only=True, repr=False, compare=False)

    @classmethod
    def from_response(
        cls, response: Mapping[str, Any], credentials: Credentials, open_dataset: Callable[[str, Credentials], D]
    ) -> ImportJob[D]:
        """Parse a response of the API."""
        state = required(response, "state")
        return cls(
            id=required(response, "id"),
            state=state,
            data_type=text(response, "data_type"),
            display_name=text(response, "display_name"),
            table_name=text(response, "table_name"),
            tables_created=integer(response.get("tables_created_count")),
            error_code=integer(response.get("error_code")),
            error=_failure(response) if state in ("failure", "stuck") else None,
            warnings=_warnings(response, state),
            visualization_id=text(response, "visualization_id"),
            synchronization_id=text(response, "synchronization_id"),
            credentials=credentials,
            open_dataset=open_dataset,
        )

    @property
    def done(self) -> bool:
        """Whether the import has finished, successfully or not."""
        return self.state in _FINAL

    @property
    def dataset(self) -> D | None:
        """The imported dataset, or None. Requests the current state if the job was running at the last request.

        If the table was skipped, this is the existing one; None if the response does not contain its name, and the
        name of the source does not determine it.
        """
        job = self if self.done else self.refresh()
        name = job.table_name or job._skipped_table()
        if job.state != "complete" or name is None:
            return None
        return self.open_dataset(name, self.credentials)

    def __hash__(self) -> int:
        return hash(self.id)  # the state may change

    def refresh(self) -> ImportJob[D]:
        """Request the current state, and return the job."""
        return self._update(Imports(Transport(self.credentials)).read(self.id))

    def wait(self, *, timeout_s: float | None = 600.0, progress: bool | None = None) -> ImportJob[D]:
        """Wait until the import has succeeded. The job has its last state also if an error is raised.

        Parameters
        ----------
        timeout_s : float, default 600
            Maximum time to wait, in seconds. None: no limit.
        progress : bool, optional
            Show the state. None: after two seconds; True: immediately; False: never.

        Returns
        -------
        ImportJob
            The finished job.

        Raises
        ------
        ImportFailed
            If the import failed.
        JobTimeout
            If the import has not finished in time. It continues on the server.
        """
        imports = Imports(Transport(self.credentials, progress=progress))
        imports._wait(self.id, self._update, timeout_s=timeout_s, progress=progress)
        return self

    def _update(self, current: ImportJob[Any]) -> ImportJob[D]:
        """Take over the state of another object of this job, and return this one."""
        return update_job(self, replace(current, open_dataset=self.open_dataset))

    def _skipped_table(self) -> str | None:
        """Return the name of the existing table of a skipped file, which the response does not contain."""
        if self.error_code != ALL_SKIPPED or self.display_name is None:
            return None
        return table_name_of_file(self.display_name)

    def _repr_html_(self) -> str:
        rows = {
            "state": self.state,
            "source": self.display_name,
            "table": self.table_name,
            "tables": self.tables_created,
            "error": self.error,
            "warnings": None if self.error else self.warnings,
        }
        return html_table(f"Import {self.id}", rows)


class Imports:
    """``client.imports``.

    Parameters
    ----------
    transport : Transport
    """

    def __init__(self, transport: Transport) -> None:
        self._platform = Platform(transport)

    def create_from_file(
        self,
        file: File,
        options: ImportOptions,
        *,
        name: str | None = None,
        progress: bool | None = None,
    ) -> str:
        """Upload a file in blocks and start its import.

        Parameters
        ----------
        file : path or binary file
            A file object is sent from its beginning.
        options : ImportOptions
        name : str, optional
            Name of the table: the file is sent under this name, because the API takes no other. CARTO names the tables
            of an archive after its members, so that it has no effect there. For a file object without a name, this
            must be a name with a file extension, such as "stations.csv".
        progress : bool, optional
            As in ``to_carto``.

        Returns
        -------
        str
            The id of the job.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            If a file object is not seekable, or its file extension is unknown.
        """
        # With "skip", CARTO compares the file name itself, not the table name made of it, with the existing tables.
        source = UploadSource.of(file, name, sanitize=options.get("collision_strategy") == "skip")
        # In lower case, because the server treats the text "False" as true.
        query = {member: str(value).lower() for member, value in option_parameters(options).items()}
        file_name = source.file_name
        with source.open() as opened:
            outline = _multipart(file_name, opened)

        def body() -> Iterator[bytes]:
            with source.open() as opened, Progress(file_name, progress, unit="B", total=outline.len) as shown:
                parts = _multipart(file_name, opened, outline.boundary_value)
                yield from shown.count_bytes(iter(lambda: parts.read(_BLOCK_BYTES), b""))

        with note_if_started("import", "list_imports"):
            return self._platform.upload(
                PATH,
                what="importing",
                query=query,
                body=body,
                content_type=outline.content_type,
                size_bytes=outline.len,
                read=_job_id,
            )

    def create_from_url(self, url: str, options: ImportOptions) -> str:
        """Import a file that the server downloads; return the id of the job."""
        return self._create({"url": url}, options)

    def create_from_query(self, query: str, name: str, options: ImportOptions) -> str:
        """Create a table from the rows of a query; return the id of the job."""
        return self._create({"sql": query, "table_name": name}, options)

    def create_from_table(self, table: str, name: str | None, options: ImportOptions) -> str:
        """Copy a table of the account; return the id of the job."""
        return self._create(drop_none(table_copy=table, table_name=name), options)

    def create_from_connector(self, connector: Mapping[str, Any], options: ImportOptions) -> str:
        """Import a table of another database; return the id of the job.

        Parameters
        ----------
        connector : mapping
            As in ``Dataset.from_connector``.
        options : ImportOptions
        """
        with redact_secrets(connector):
            return self._create(wrap_connector(connector), options)

    def read(self, import_id: str) -> ImportJob[Any]:
        """Return the current state of a job."""
        return self._platform.json("GET", f"{PATH}/{import_id}", what="reading an import", read=self._parse)

    def list(self) -> list[str]:
        """List the ids of the jobs of the last 24 hours that have not finished, newest first."""
        return list(self._platform.json("GET", PATH, what="listing imports", read=_ids))

    def wait(self, import_id: str, *, timeout_s: float | None = 600.0, progress: bool | None = None) -> ImportJob[Any]:
        """Wait until an import has succeeded. Parameters and errors are those of ``ImportJob.wait``."""
        return self._wait(import_id, lambda job: job, timeout_s=timeout_s, progress=progress)

    def _wait(
        self,
        import_id: str,
        seen: Callable[[ImportJob[Any]], ImportJob[Any]],
        *,
        timeout_s: float | None,
        progress: bool | None,
    ) -> ImportJob[Any]:
        """Wait until an import has succeeded; call ``seen`` with each state, and return its last result."""
        job = polling.wait(
            lambda: seen(self.read(import_id)),
            final=_FINAL,
            what=f"import {import_id}",
            activity="importing",
            timeout_s=timeout_s,
            progress=progress,
        )
        if job.error is not None:
            raise job.error
        if job.warnings is not None:
            user_warnings.warn(job.warnings, IncompleteImportWarning)
        return job

    def _parse(self, response: Any) -> ImportJob[Any]:
        return ImportJob.from_response(response, self._platform.transport.credentials, _open_dataset)

    def _create(self, source: Mapping[str, Any], options: ImportOptions) -> str:
        body = {**option_parameters(options), **source}
        with note_if_started("import", "list_imports"):
            return self._platform.json("POST", PATH, what="importing", read=_job_id, json_body=body)


def complete_options(options: Mapping[str, Any]) -> ImportOptions:
    """Return the options with defaults for missing ones; raise TypeError or ValueError for invalid ones."""
    for name in options:
        if name not in OPTION_DEFAULTS:
            raise TypeError(f"an import has no option {name!r}: the options are {', '.join(OPTION_DEFAULTS)}")
    for name, choices in (("privacy", get_args(Privacy)), ("collision_strategy", get_args(CollisionStrategy))):
        value = options.get(name)
        if value is not None and value not in choices:
            raise ValueError(f"{name} must be one of {choices}, not {value!r}")
    return cast(ImportOptions, {**OPTION_DEFAULTS, **options})


def option_parameters(options: ImportOptions) -> dict[str, Any]:
    """Return the options as parameters of the Import API."""
    complete = complete_options(options)
    return drop_none(**{"create_vis" if name == "create_map" else name: value for name, value in complete.items()})


@contextmanager
def note_if_started(what: str, listing: str) -> Iterator[None]:
    """Add a note to errors after which the job may have started, because a retry would start it twice."""
    try:
        yield
    except (ConnectionFailed, ServerError) as error:
        if not getattr(error, "nothing_done", False):
            error.add_note(
                f"The {what} may have started nevertheless: check {listing}() and list_tables() before you try again."
            )
        raise


def _open_dataset(name: str, credentials: Credentials) -> Any:
    """Return a Dataset. Its module is made of these services, so that this one can import it only when it is used."""
    return importlib.import_module("cartoframes_lite.dataset").Dataset(name, credentials)


def _multipart(file_name: str, file: SizedReader, boundary: str | None = None) -> MultipartEncoder:
    return MultipartEncoder({"file": (file_name, file, "application/octet-stream")}, boundary=boundary)


def _ids(response: Any) -> tuple[str, ...]:
    return texts(record(response)["imports"])


def _job_id(response: Any) -> str:
    """Return the job id in the response to a new import."""
    import_id = text(response, "item_queue_id")
    if import_id is None and "success" not in response and "item_queue_id" not in response:
        raise KeyError("item_queue_id")
    if import_id is None:
        raise JobError("the server did not start the import and sent no reason: try again", job=dict(response))
    return import_id


def _failure(response: Mapping[str, Any]) -> ImportFailed:
    """Compose the exception for a failed job."""
    code = integer(response.get("error_code"))
    title, what_about, source = _error_text(response, code)
    lines = [f"{_source_name(response)}: {title} (code {code})", *([plain_text(what_about)] if what_about else [])]
    if status := text(response, "http_response_code"):
        lines.append(f"Status of the download: {status}. {text(response, 'http_response_code_message') or ''}".strip())
    lines += _server_warnings(response)
    return ImportFailed("\n".join(lines), code=code, title=title, what_about=what_about, source=source)


def _warnings(response: Mapping[str, Any], state: str) -> str | None:
    """Describe what a complete import did not do; None if it did all."""
    lines = _server_warnings(response)
    code = integer(response.get("error_code"))
    if state == "complete" and code not in (None, ALL_SKIPPED):
        title, what_about, _ = _error_text(response, code)
        lines.insert(0, f"a file in it was not imported: {title} (code {code}). {plain_text(what_about or '')}".strip())
    return f"{_source_name(response)}: {'; '.join(lines)}" if lines else None


def _server_warnings(response: Mapping[str, Any]) -> list[str]:
    """Return the warnings of the response as text."""
    sent = response.get("warnings")
    if not isinstance(sent, Mapping):
        return [str(sent)] if sent else []
    sent = dict(sent)
    lines = []
    if (limit := sent.pop("max_tables_per_import", None)) is not None:
        lines.append(f"only the first {limit} files were imported; import the others on their own")
    if rejected := sent.pop("rejected_layers", None):
        limit = sent.pop("user_max_layers", None)
        names = ", ".join(map(str, rejected)) if isinstance(rejected, list) else rejected
        lines.append(f"the map has no layers for {names}, because it can have at most {limit}")
    return lines + [f"{name}: {value}" for name, value in sent.items()]


def _error_text(response: Mapping[str, Any], code: int | None) -> ErrorCode:
    """Return title, advice and source of an error, as far as possible from the response."""
    sent = response.get("get_error_text")
    sent = sent if isinstance(sent, Mapping) else {}
    known = describe(code)
    return ErrorCode(
        text(sent, "title") or known.title,
        text(sent, "what_about") or known.what_about,
        cast(Source, text(sent, "source") or known.source),
    )


def _source_name(response: Mapping[str, Any]) -> str:
    return text(response, "display_name") or f"import {response['id']}"
