"""Stage the partitions of a write on workers, and publish them in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import pandas as pd

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.rate_limit import share_with_processes
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.dask.merged_parts import merge_large
from cartoframes_lite.write.columns import Columns
from cartoframes_lite.write.options import Compression, WriteOptions
from cartoframes_lite.write.payload import Payload
from cartoframes_lite.write.plan import WritePlan
from cartoframes_lite.write.prepare import PreparedFrame
from cartoframes_lite.write.replanning import publish_plan
from cartoframes_lite.write.staged_sql import Parts, Staged
from cartoframes_lite.write.staging import Upload, stage_part, staged_parts
from cartoframes_lite.write.target import Destination

Prepare = Callable[[pd.DataFrame], PreparedFrame]
Slot = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class StagedPart:
    """Result of staging one partition; ``staged`` is None for an empty partition, which has no table."""

    staged: Staged | None

    @property
    def rows(self) -> int:
        """Number of rows."""
        return 0 if self.staged is None else self.staged.rows


@dataclass(frozen=True, slots=True)
class PartUploader:
    """Callable that stages one partition on a worker; pickled with the API key, which is not in its repr.

    Attributes
    ----------
    parent_staging : str
        Name of the parent staging table.
    slot : callable
        Returns a context manager to hold during the upload.
    """

    credentials: Credentials
    prepare: Prepare
    plan: WritePlan
    schema: str
    parent_staging: str
    compression: Compression
    slot: Slot

    def __repr__(self) -> str:
        return f"PartUploader({self.plan.table!r}, {self.credentials!r})"

    def __call__(self, frame: pd.DataFrame, number: int) -> StagedPart:
        """Stage a partition.

        Raises
        ------
        ConversionError
            If its columns or values do not fit the model of the plan.
        """
        prepared = replace(self.prepare(frame), origin=f"partition {number}")

        def payloads() -> Iterator[Payload]:
            return self.plan.staged_rows(prepared.payloads())

        if not prepared.rows:
            return StagedPart(None)
        destination = Destination(Client(self.credentials, progress=False), self.schema, self.plan.table)
        upload = Upload(self.plan.columns, payloads, with_sequence=False)
        with self.slot(), share_with_processes():
            staged = stage_part(destination, upload, self.parent_staging, number, compression=self.compression)
        return StagedPart(staged)


def write_parts(
    destination: Destination,
    plan: WritePlan,
    columns: Columns,
    options: WriteOptions,
    upload: Callable[[str], Sequence[StagedPart]],
) -> None:
    """Stage all partitions and publish them in one transaction.

    Parameters
    ----------
    destination : Destination
    plan : WritePlan
    columns : tuple of Column
        Columns of the rows, of which the plan was made.
    options : WriteOptions
    upload : callable
        Stages all partitions, given the name of the parent staging table.
    """
    with staged_parts(destination, plan.columns, with_sequence=plan.with_sequence) as parent:
        results = upload(parent.name)
        tables = [result.staged for result in results if result.staged is not None]
        staged = Staged(parent.name, parent.oid, sum(part.rows for part in tables), parent.shape)
        parts = Parts(
            tuple(part.name.removeprefix(parent.name) for part in tables),
            tuple((part.oid, part.rows) for part in tables),
        )
        is_merged = merge_large(destination, plan, staged, parts)
        publish_plan(destination, staged, plan, columns, options, None if is_merged else parts)
