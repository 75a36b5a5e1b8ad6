"""Delete rows exactly once, and count them.

The transaction stores the number of rows in a staging table and renames this table to a receipt, which proves that it
was committed, as when rows are published.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.json_fields import parsed
from cartoframes_lite._client.sql import PATH
from cartoframes_lite._codec.names import literal, qualify, quote
from cartoframes_lite.errors import CartoError, PublishUnknown
from cartoframes_lite.write.columns import Column
from cartoframes_lite.write.early_staging import inspect_and_stage
from cartoframes_lite.write.publishing import publish, published_size
from cartoframes_lite.write.staged_checks_sql import require_shape
from cartoframes_lite.write.staged_sql import BUSY, Staged, lock_staging, size_of, transaction
from cartoframes_lite.write.staging import Upload, stage
from cartoframes_lite.write.staging_sql import RECEIPT
from cartoframes_lite.write.statements import do_block
from cartoframes_lite.write.target import (
    Destination,
    drop_receipt,
    drop_stale_staging,
    require_existing,
)

_COUNT = Column("deleted", "bigint", pa.int64())


def delete_rows(client: Client, table: str, condition: str) -> int:
    """Delete the rows that meet a condition, let the table reuse their space, and return their number.

    An API key that may not create tables sends a single statement instead, whose outcome is not known if the connection
    is lost.

    Raises
    ------
    TableNotFoundError
    PublishUnknown
        If the connection is lost, and it cannot be determined whether the rows were deleted, or how many.
    """
    upload = Upload((_COUNT,), lambda: iter(()), with_sequence=False)
    with inspect_and_stage(client, table, new=None, existing=upload.definition) as (target, early):
        destination, oid = target.destination, require_existing(target).oid
        delete = f"DELETE FROM {destination.relation} WHERE (\n{condition}\n)"
        if not target.may_create:
            response = client.sql.send(delete)
            return parsed(lambda found: int(found["total_rows"]), response, PATH)
        drop_stale_staging(target)
        with stage(destination, upload, early, compression=None, progress=False) as staged:
            request = _delete_and_count(destination, staged, delete, oid)
            result = publish(destination, staged, request, leaves_receipt=False)
            number = _deleted(destination, staged, result)
            drop_receipt(destination, staged.name, has_dead_rows=number > 0, size_bytes=published_size(result))
    return number


def _delete_and_count(destination: Destination, staged: Staged, delete: str, oid: int) -> str:
    """Compose the transaction that deletes the rows, stores their number, and renames the staging table to a receipt.

    The number is in the result, too, so that the receipt is read only if the response is lost.
    """
    staging, target = qualify(destination.schema, staged.name), literal(destination.relation)
    body = "\n".join(
        (
            lock_staging(staging, staged),
            require_shape(f"{staged.oid:d}", staged),
            f"IF to_regclass({target})::oid IS DISTINCT FROM {oid:d} THEN"
            " RAISE EXCEPTION 'CFL02 it was dropped or created again by another process'; END IF;",
            # Not a statement of the block, whose variables the condition could use.
            f"EXECUTE {literal(delete)};\nGET DIAGNOSTICS n = ROW_COUNT;",
            f"INSERT INTO {staging} VALUES (n);",
            f"ALTER TABLE {staging} RENAME TO {quote(staged.name + RECEIPT)};",
            BUSY,
        )
    )
    block = do_block(body, declare="n bigint; item text; queue text;")
    number = f"({_select_number(destination, staged)}) AS n"
    return transaction(block, destination.schema, staged, number, size_of(destination.relation))


def _select_number(destination: Destination, staged: Staged) -> str:
    return f"SELECT {quote(_COUNT.name)}::text AS n FROM {qualify(destination.schema, staged.name + RECEIPT)}"


def _deleted(destination: Destination, staged: Staged, result: Mapping[str, Any] | None) -> int:
    """Return the number of deleted rows from the result of the transaction, or query it."""
    try:
        row = destination.client.sql.row(_select_number(destination, staged), "n") if result is None else result
        return parsed(lambda row: int(row["n"]), row, "the deleted rows")
    except CartoError as error:
        raise PublishUnknown(
            f"rows of table {destination.table!r} were deleted, but the connection was lost before their number was"
            " read"
        ) from error
