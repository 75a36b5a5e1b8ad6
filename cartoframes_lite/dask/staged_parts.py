"""The parts of a write: staged by many workers, and published together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import pandas as pd

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.rate_limit_retry import retry_while_rate_limited
from cartoframes_lite.credentials import Credentials
from cartoframes_lite.write.payload import Payload, conform, with_any_digits
from cartoframes_lite.write.plan import WritePlan
from cartoframes_lite.write.publishing import publish
from cartoframes_lite.write.publishing_sql import Parts, Staged
from cartoframes_lite.write.staging import Compression, Upload, stage_part, staged_parts
from cartoframes_lite.write.target import Destination

Prepare = Callable[[pd.DataFrame], Payload]
Slot = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class StagedPart:
    """What a worker says of a part that it has staged; an empty part has no table."""

    staged: Staged | None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return 0 if self.staged is None else self.staged.rows


@dataclass(frozen=True, slots=True)
class PartUploader:
    """Stages one part; sent to the workers, with the key in it, which no repr shows.

    Attributes
    ----------
    model : Payload
        The columns and types that every part has to have.
    whole : str
        The staging table that stands for the write.
    slot : callable
        Gives a context manager that is held while rows are sent.
    """

    credentials: Credentials
    prepare: Prepare
    model: Payload
    plan: WritePlan
    schema: str
    parent_staging: str
    compression: Compression
    slot: Slot

    def __repr__(self) -> str:
        return f"Uploader({self.plan.table!r}, {self.credentials!r})"

    def __call__(self, frame: pd.DataFrame, number: int) -> StagedPart:
        """Stage a part.

        Raises
        ------
        ConversionError
            If its columns do not fit those of the model.
        """
        payload = self.plan.cast_to_table(conform(with_any_digits(self.prepare(frame)), self.model), 1)
        if not payload.rows:
            return StagedPart(None)
        destination = Destination(Client(self.credentials, progress=False), self.schema, self.plan.table)
        upload = Upload(self.plan.columns, self.plan.first.schema(), lambda: iter([payload]), with_primary_key=False)
        with self.slot():
            staged = retry_while_rate_limited(
                lambda: stage_part(destination, upload, self.parent_staging, number, compression=self.compression)
            )
        return StagedPart(staged)


def model_of(payload: Payload) -> Payload:
    """Keep of a payload what others are measured by: its types, and of each geometry column a row that is not empty."""
    payload = with_any_digits(payload)
    rows: list[int] = []
    for column in payload.columns:
        if column.is_geometry:
            rows += column.smallest_rows()
    return payload.taken(rows)


def write_parts(destination: Destination, plan: WritePlan, upload: Callable[[str], Sequence[StagedPart]]) -> None:
    """Let the parts be staged and publish them in one transaction.

    Parameters
    ----------
    destination : Destination
    plan : WritePlan
    upload : callable
        Stages all parts, given the name of the staging table that stands for the write.
    """
    with staged_parts(destination, plan.columns, with_primary_key=plan.with_primary_key) as whole:
        receipts = upload(whole.name)
        full = [receipt.staged for receipt in receipts if receipt.staged is not None]
        staged = Staged(whole.name, whole.oid, sum(part.rows for part in full), whole.shape)
        gathered = Parts(
            tuple(part.name.removeprefix(whole.name) for part in full), tuple((part.oid, part.rows) for part in full)
        )
        transaction = plan.publish(destination.schema, staged, gathered)
        publish(destination, staged, transaction, leaves_receipt=plan.change is not None)
