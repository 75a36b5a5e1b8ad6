"""to_carto: a DataFrame into a table of a CARTO account, all of it or nothing."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, get_args

import pandas as pd

from cartoframes_lite._client import Client
from cartoframes_lite._client.imports import Privacy
from cartoframes_lite._codec.names import is_truncated, normalize, refuse_system_name
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.errors import (
    CartoError,
    ConnectionFailed,
    PrivacyNotSet,
    SQLError,
    TableChangedError,
    TableExistsError,
)
from cartoframes_lite.write.existing_table import ExistingTable
from cartoframes_lite.write.payload import Payload, conform, prepare, require_geometry, with_any_digits
from cartoframes_lite.write.plan import IfExists, WritePlan, plan_into, plan_new
from cartoframes_lite.write.publishing import publish, withdraw
from cartoframes_lite.write.publishing_sql import Staged
from cartoframes_lite.write.staging import Compression, Upload, stage
from cartoframes_lite.write.staging_names import is_staging
from cartoframes_lite.write.target import Destination, drop_stale_staging, inspect_target, require_writable

# Payloads of an iterator that are kept for a second try. A server that turns a request away does so at once.
_KEPT_BYTES = 256 << 20
_PLANS = 5  # a table that changes more often while rows are sent is somebody's mistake
_REPLANNED_S = 300.0  # how long other writers may be faster, once the rows are there


def to_carto(
    dataframe: pd.DataFrame | Iterable[pd.DataFrame],
    table_name: str,
    credentials: Credentials | None = None,
    *,
    if_exists: IfExists = "fail",
    geom_col: Hashable | None = None,
    index: bool = False,
    index_label: Hashable | Sequence[Hashable] | None = None,
    dtype: Mapping[Any, str] | None = None,
    cartodbfy: bool = True,
    privacy: Privacy | None = None,
    compression: Compression = "auto",
    progress: bool | None = None,
) -> str:
    """Write a frame to a table.

    The frame is checked completely before the first request. Its rows go into a staging table by a binary
    ``COPY``, and one transaction then makes that the new table, or adds its rows to the target, or replaces the
    rows of the target by them. Readers see the old table or the new one. Whatever fails before leaves the target
    as it was; if the answer to the transaction is lost, the server is asked whether it happened.

    Parameters
    ----------
    dataframe : DataFrame, GeoDataFrame, or an iterable of them
        An iterable is written as one table; its frames have the columns of the first.
    table_name : str
        Normalized as column names are: lower case, ASCII letters, digits and underscores.
    credentials : Credentials, optional
        Default: those of ``set_default_credentials``, else of the environment, else of the file.
    if_exists : {"fail", "replace", "append"}
        What to do if there is such a table. A replaced table keeps its identity: privacy, grants, indexes, and the
        maps that show it; columns that are not in the frame go, new ones come. Append fills columns that are not
        in the frame with their defaults.
    geom_col : label, optional
        The geometry that becomes ``the_geom``. Default: the active one. All geometries are reprojected to
        EPSG:4326; Z is kept.
    index : bool, default False
        Write the index as columns.
    index_label : label or sequence of labels, optional
        Names for them.
    dtype : mapping of label to str, optional
        PostgreSQL types, as ``{"price": "numeric(10,2)"}``. A float type keeps NaN as NaN; else it is NULL.
    cartodbfy : bool, default True
        Make it a CARTO table, with ``cartodb_id``, ``the_geom`` and ``the_geom_webmercator``, for maps.
    privacy : {"public", "private", "link"}, optional
        Set after the table is published; takes the master key. None leaves it as it is; a new table gets the
        default of the account.
    compression : {"auto", "gzip"} or None
        "auto" sends gzip unless the server is on this host.
    progress : bool, optional
        A progress bar: None shows one after two seconds, False never, True at once.

    Returns
    -------
    str
        The name of the table.

    Raises
    ------
    ConversionError
        If a column has a type or a value that PostgreSQL cannot hold, names collide, or a geometry has no CRS.
    TableExistsError
        If the table exists and ``if_exists`` is "fail".
    QueryTimeout
        If publishing takes longer than the account allows and the key may not use the Batch API.
    PublishUnknown
        If the connection breaks while the rows are published, and the server does not say whether they were.
    PrivacyNotSet
        If the rows were written, and the privacy could not be set.
    ConnectionFailed, PermissionDenied, SQLError
        If the server cannot be reached or refuses.

    Examples
    --------
    >>> import cartoframes_lite as cfl
    >>> cfl.to_carto(gdf, "stations", if_exists="replace")
    'stations'
    >>> cfl.to_carto(gdf, "Stations in 2026", dtype={"year": "smallint"}, privacy="private")
    'stations_in_2026'
    """
    check_arguments(table_name, if_exists, privacy, compression)
    table = normalized_table_name(table_name)
    payload_of = partial(prepare, geom_col=geom_col, index=index, index_label=index_label, dtype=dtype)
    source = _Source.of(dataframe, payload_of)
    if cartodbfy:
        require_geometry(source.first)
    client = Client(credentials, progress=progress)
    if privacy is not None:
        client.visualizations.require_settable()
    _write(client, table_name, source, if_exists, cartodbfy, compression, progress)
    if privacy is not None:
        set_privacy(client, table, privacy)
    if isinstance(dataframe, pd.DataFrame):
        dataframe.attrs["carto"] = {
            "base_url": client.credentials.base_url,
            "username": client.credentials.username,
            "table": table,
            "schema": None,  # as read_carto has it for a table of the account
        }
    return table


def set_privacy(client: Client, table: str, privacy: Privacy) -> None:
    """Set the privacy of a table whose rows are published.

    Raises
    ------
    PrivacyNotSet
        If that fails, so that nobody takes it for a write that failed.
    """
    try:
        client.visualizations.set_privacy(table, privacy)
    except CartoError as error:
        raise PrivacyNotSet(
            f"the rows are in {table!r}, and its privacy could not be set to {privacy!r}: do not write them again, but"
            f" call update_privacy_table({table!r}, {privacy!r})"
        ) from error


def check_arguments(table_name: object, if_exists: object, privacy: object, compression: object) -> None:
    """Refuse arguments that cannot be meant, before any request."""
    if not isinstance(table_name, str) or not table_name.strip():
        raise TypeError(f"table_name must be a name, not {table_name!r}")
    for name, value, allowed in (
        ("if_exists", if_exists, get_args(IfExists)),
        ("privacy", privacy, (*get_args(Privacy), None)),
        ("compression", compression, ("auto", "gzip", None)),
    ):
        if value not in allowed:
            raise ValueError(f"{name} must be one of {allowed}, not {value!r}")


def normalized_table_name(name: str) -> str:
    """Normalize the name of the table."""
    table = normalize(name)
    if is_staging(table):
        raise ValueError(f"{table!r} is a name of staging tables, which the next write drops: choose another one")
    refuse_system_name(table)
    return table


def _write(
    client: Client,
    table_name: str,
    source: _Source,
    if_exists: IfExists,
    cartodbfy: bool,
    compression: Compression,
    progress: bool | None,
) -> None:
    """Plan and write; plan again if somebody else has made, dropped or changed the table in the meantime."""
    table, swept = normalized_table_name(table_name), False
    for plans_left in reversed(range(_PLANS)):
        target = inspect_target(client, table)
        if target.existing is not None:
            check_target(table_name, table, target.existing, if_exists)
        if not swept:
            drop_stale_staging(target)
            swept = True
        plan = make_plan(table, source.first, target.existing, if_exists, cartodbfy=cartodbfy)
        upload = _upload(plan, source)
        try:
            with stage(target.destination, upload, compression=compression, progress=progress) as staged:
                _publish(target.destination, staged, plan, source.first, if_exists, cartodbfy)
        except (SQLError, TableChangedError) as error:
            if source.failure is not None or not plans_left:
                raise
            if isinstance(error, SQLError) and inspect_target(client, table).existing == target.existing:
                raise
        else:
            return


def _publish(
    destination: Destination, staged: Staged, plan: WritePlan, first: Payload, if_exists: IfExists, cartodbfy: bool
) -> None:
    """Publish the staged rows; plan again if the table was changed, as long as they are staged as they have to be."""
    deadline = time.monotonic() + _REPLANNED_S
    while True:
        transaction = plan.publish(destination.schema, staged)
        try:
            publish(destination, staged, transaction, leaves_receipt=plan.change is not None, may_replan=True)
        except TableChangedError as changed:
            try:
                existing = inspect_target(destination.client, destination.table).existing
                if existing is None or time.monotonic() > deadline:
                    raise changed
                check_target(destination.table, destination.table, existing, if_exists)
                again = plan_into(destination.table, first, existing, if_exists, cartodbfy=cartodbfy)
                if not again.stages_like(plan):
                    raise changed
            except (CartoError, ValueError):
                if withdraw(destination, staged):
                    raise
                return
            plan = again
        else:
            return


def check_target(given: str, table: str, existing: ExistingTable, if_exists: IfExists) -> None:
    """Refuse a table that is there, if it is not to be written to, or may not be the one that is meant."""
    normalized = "" if given == table else f", which is what {given!r} becomes,"
    if if_exists == "fail":
        raise TableExistsError(f'the table {table!r}{normalized} exists already: pass if_exists="replace" or "append"')
    if is_truncated(given):
        raise ValueError(f"the table {table!r}{normalized} is there already: if it is the one you mean, give that name")
    require_writable(table, existing, replace=if_exists == "replace")


def make_plan(
    table: str, first: Payload, existing: ExistingTable | None, if_exists: IfExists, *, cartodbfy: bool
) -> WritePlan:
    """Plan a new table, or to write into the one that exists."""
    if existing is None:
        return plan_new(table, first, cartodbfy=cartodbfy)
    return plan_into(table, first, existing, if_exists, cartodbfy=cartodbfy)


class _Source:
    """The payloads of a frame, or of an iterator of frames, from the beginning as often as they are there."""

    def __init__(self, first: Payload, rest: Iterator[Payload]) -> None:
        self.first = first
        self._kept, self._rest, self._kept_bytes = [first], rest, 0
        self.failure: BaseException | None = None

    @classmethod
    def of(cls, frames: pd.DataFrame | Iterable[pd.DataFrame], prepare: Any) -> _Source:
        """Prepare the first frame; the others are prepared as they are sent."""
        if isinstance(frames, pd.DataFrame):
            return cls(prepare(frames), iter(()))
        if not isinstance(frames, Iterable):
            raise TypeError(f"expected a DataFrame, a GeoDataFrame or an iterable of them, got {type(frames).__name__}")
        iterator = iter(frames)
        frame = next(iterator, None)
        if frame is None:
            raise ValueError("the iterable has no frame, so the columns of the table are not known")
        first = with_any_digits(prepare(frame))
        return cls(first, (conform(prepare(frame), first) for frame in iterator))

    def __iter__(self) -> Iterator[Payload]:
        if not self._kept:
            raise ConnectionFailed(
                "the rows have to be sent again, and the frames of an iterator cannot be had a second time: start again"
            )
        if self.failure is not None:  # an iterator that has raised looks like one that is at its end
            raise self.failure
        yield from tuple(self._kept)
        while (payload := self._next()) is not None:
            self._keep(payload)
            yield payload

    def _next(self) -> Payload | None:
        try:
            return next(self._rest, None)
        except BaseException as error:
            self.failure = error
            raise

    def _keep(self, payload: Payload) -> None:
        """Keep a payload for a second try, as long as that does not take much memory."""
        self._kept_bytes += payload.size_bytes
        if self._kept_bytes > _KEPT_BYTES:
            self._kept.clear()
        elif self._kept:
            self._kept.append(payload)


def _upload(plan: WritePlan, source: _Source) -> Upload:
    def payloads() -> Iterator[Payload]:
        first_id = 1
        for payload in source:
            yield plan.cast_to_table(payload, first_id)
            first_id += payload.rows

    return Upload(plan.columns, plan.first.schema(), payloads, with_primary_key=plan.with_primary_key)
