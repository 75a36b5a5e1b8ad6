"""Import API: create tables from files, URLs, queries, tables and other databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

from requests_toolbelt import MultipartEncoder

from cartoframes_lite._client import polling
from cartoframes_lite._client.http.json_fields import drop_none, integer, record, required, text, texts
from cartoframes_lite._client.http.progress import Progress, Waiting
from cartoframes_lite._client.http.transport import Transport
from cartoframes_lite._client.http.uploads import File, SizedReader, UploadSource
from cartoframes_lite._client.import_codes import title
from cartoframes_lite._client.platform import Platform
from cartoframes_lite.errors import CartoError, ConnectionFailed, ImportFailed, JobError, ServerError

PATH = "api/v1/imports"
_FINAL = ("complete", "failure", "stuck")
_BLOCK_BYTES = 1 << 18
# Members of a connection that may appear in errors; all others are treated as secrets.
_NOT_SECRET = frozenset({"server", "port", "database", "username", "sslmode", "schema", "warehouse", "encoding"})

CollisionStrategy = Literal["skip", "overwrite"]
Privacy = Literal["public", "private", "link"]


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Options of an import.

    Parameters
    ----------
    privacy : {"public", "private", "link"}, optional
        None: the default of the account, which on a free plan is public.
    collision_strategy : {"skip", "overwrite"}, optional
        What to do if a table of this name exists. None: the new table gets a numbered name such as ``stations_1``.
    type_guessing : bool, default True
        Guess the types of untyped columns, such as those of CSV. False: they become text.
    quoted_fields_guessing : bool, default True
        Also guess the types of quoted CSV fields.
    content_guessing : bool, default False
        Geocode columns that contain place names, such as countries.
    create_map : bool, default False
        Also create a map of the new dataset.
    """

    privacy: Privacy | None = None
    collision_strategy: CollisionStrategy | None = None
    type_guessing: bool = True
    quoted_fields_guessing: bool = True
    content_guessing: bool = False
    create_map: bool = False

    def __post_init__(self) -> None:
        if self.privacy is not None and self.privacy not in get_args(Privacy):
            raise ValueError(f"privacy must be one of {get_args(Privacy)}, not {self.privacy!r}")
        if self.collision_strategy is not None and self.collision_strategy not in get_args(CollisionStrategy):
            raise ValueError(
                f"collision_strategy must be one of {get_args(CollisionStrategy)}, not {self.collision_strategy!r}"
            )

    def api_parameters(self) -> dict[str, Any]:
        """Return the options as parameters of the Import API."""
        return drop_none(
            privacy=self.privacy,
            collision_strategy=self.collision_strategy,
            type_guessing=self.type_guessing,
            quoted_fields_guessing=self.quoted_fields_guessing,
            content_guessing=self.content_guessing,
            create_vis=self.create_map,
        )


@dataclass(frozen=True, slots=True)
class Import:
    """A snapshot of an import job; ``cartoframes_lite.ImportJob`` documents the fields."""

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

    @property
    def done(self) -> bool:
        """Whether the import has finished, successfully or not."""
        return self.state in _FINAL

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> Import:
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
            warnings=text(response, "warnings"),
            visualization_id=text(response, "visualization_id"),
            synchronization_id=text(response, "synchronization_id"),
        )


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
            Name of the table; ignored for an archive with several tables. For a file object without a name, this must
            be a name with a file extension, such as "stations.csv".
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
        source = UploadSource.of(file, name)
        # In lower case, because the server treats the text "False" as true.
        query = {member: str(value).lower() for member, value in options.api_parameters().items()}
        query |= drop_none(table_name=source.table_name)
        file_name = source.file_name
        with source.open() as opened:
            outline = _multipart(file_name, opened)

        def body() -> Iterator[bytes]:
            with source.open() as opened, Progress(file_name, progress, total_bytes=outline.len) as shown:
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

    def read(self, import_id: str) -> Import:
        """Return the current state of a job."""
        return self._platform.json("GET", f"{PATH}/{import_id}", what="reading an import", read=Import.from_response)

    def list(self) -> list[str]:
        """List the ids of the jobs that the server keeps a record of."""
        return list(self._platform.json("GET", PATH, what="listing imports", read=_ids))

    def wait(self, import_id: str, *, timeout_s: float | None = 600.0, progress: bool | None = None) -> Import:
        """Wait until an import has succeeded.

        Parameters
        ----------
        import_id : str
        timeout_s : float, default 600
            Maximum time to wait, in seconds. None: no limit.
        progress : bool, optional
            Show the state, as in ``to_carto``.

        Raises
        ------
        ImportFailed
            If the import failed.
        JobTimeout
            If the import has not finished in time. It continues on the server.
        """
        with Waiting("importing", progress) as shown:

            def poll() -> Import:
                job = self.read(import_id)
                shown.say(job.state)
                return job

            job = polling.poll(poll, done=lambda job: job.done, timeout_s=timeout_s, what=f"import {import_id}")
        if job.error is not None:
            raise job.error
        return job

    def _create(self, source: Mapping[str, Any], options: ImportOptions) -> str:
        body = {**options.api_parameters(), **source}
        with note_if_started("import", "list_imports"):
            return self._platform.json("POST", PATH, what="importing", read=_job_id, json_body=body)


@contextmanager
def note_if_started(what: str, listing: str) -> Iterator[None]:
    """Add a note to errors after which the job may have started, because a retry would start it twice."""
    try:
        yield
    except (ConnectionFailed, ServerError) as error:
        if not getattr(error, "nothing_done", False):
            error.add_note(f"The {what} may have started nevertheless: check {listing}() before you try again.")
        raise


def wrap_connector(connector: Mapping[str, Any]) -> dict[str, Any]:
    """Nest a connector, and all members next to it, in the member ``connector`` that the API requires."""
    inner = connector.get("connector", {})
    return {"connector": {**inner, **{name: value for name, value in connector.items() if name != "connector"}}}


@contextmanager
def redact_secrets(connector: Mapping[str, Any]) -> Iterator[None]:
    """Replace the secrets of a connector in errors by ``***``, because messages of the server may contain them."""
    connection = wrap_connector(connector)["connector"].get("connection", {})
    secrets = [str(value) for name, value in connection.items() if name not in _NOT_SECRET and value]

    def redact(value: Any) -> Any:
        for secret in secrets:
            value = value.replace(secret, "***") if isinstance(value, str) else value
        return value

    try:
        yield
    except CartoError as error:
        error.args = tuple(map(redact, error.args))
        for name, value in vars(error).items():
            setattr(error, name, redact(value))
        raise


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
    error_text = response.get("get_error_text")
    error_text = error_text if isinstance(error_text, Mapping) else {}
    code = integer(response.get("error_code"))
    error_title = str(error_text.get("title") or title(code))
    what_about = text(error_text, "what_about")
    source_name = text(response, "display_name") or f"import {response['id']}"
    lines = [f"{source_name}: {error_title} (code {code})", *([what_about] if what_about else [])]
    if warnings := text(response, "warnings"):
        lines.append(warnings)
    message, source = "\n".join(lines), text(error_text, "source")
    return ImportFailed(message, code=code, title=error_title, what_about=what_about, source=source)
