"""Publish staged rows; plan again if the table was changed, or if its columns cannot store the rows."""

from __future__ import annotations

import time
from collections.abc import Collection

from cartoframes_lite._codec.names import is_truncated
from cartoframes_lite.errors import CartoError, TableChangedError, TableExistsError
from cartoframes_lite.write.columns import Columns
from cartoframes_lite.write.existing_table import ExistingTable
from cartoframes_lite.write.options import IfExists, WriteOptions
from cartoframes_lite.write.plan import WritePlan, make_plan
from cartoframes_lite.write.publishing import ColumnMisfit, publish, withdraw
from cartoframes_lite.write.staged_sql import Parts, Staged
from cartoframes_lite.write.target import Destination, inspect_target, require_writable

_REPLAN_TIMEOUT_S = 300.0  # for publishing rows that are already staged into a table that others keep changing


def publish_plan(
    destination: Destination,
    staged: Staged,
    plan: WritePlan,
    columns: Columns,
    options: WriteOptions,
    parts: Parts | None = None,
) -> None:
    """Publish the staged rows, with another plan if necessary, provided that the staged columns still fit.

    Parameters
    ----------
    destination : Destination
    staged : Staged
    plan : WritePlan
    columns : tuple of Column
        Columns of the rows, of which the plan was made.
    options : WriteOptions
    parts : Parts, optional
        Staging tables of the partitions.
    """
    deadline = time.monotonic() + _REPLAN_TIMEOUT_S
    misfits: frozenset[str] = frozenset()
    while True:
        transaction = plan.publish(destination.schema, staged, parts)
        try:
            publish(
                destination,
                staged,
                transaction,
                leaves_receipt=plan.change is not None,
                leaves_dead_rows=plan.leaves_dead_rows,
                may_replan=True,
            )
        except (ColumnMisfit, TableChangedError) as error:
            if isinstance(error, ColumnMisfit):
                misfits |= {plan.columns[at].name for at in error.positions}
            try:
                plan = _plan_again(destination, plan, columns, options, misfits, error, deadline)
            except (CartoError, ValueError):
                if withdraw(destination, staged):
                    raise
                return
        else:
            return


def _plan_again(
    destination: Destination,
    plan: WritePlan,
    columns: Columns,
    options: WriteOptions,
    misfits: Collection[str],
    error: CartoError,
    deadline: float,
) -> WritePlan:
    """Return a plan for the table as it is now that can publish the same staging table; else raise the error."""
    existing = plan.existing
    if isinstance(error, TableChangedError):
        existing = inspect_target(destination.client, destination.table).existing
    if existing is None or time.monotonic() > deadline:
        raise error
    check_target(destination.table, destination.table, existing, options["if_exists"])
    new_plan = make_plan(destination.table, columns, existing, options, misfits)
    if not new_plan.has_same_staging(plan):
        raise error
    return new_plan


def check_target(given_name: str, table: str, existing: ExistingTable, if_exists: IfExists) -> None:
    """Check that an existing table may be written to.

    A name that was truncated may not select an existing table: another long name can have the same beginning.
    """
    normalized = "" if given_name == table else f" (normalized from {given_name!r})"
    if if_exists == "fail":
        raise TableExistsError(f'table {table!r}{normalized} already exists: pass if_exists="replace" or "append"')
    if is_truncated(given_name):
        raise ValueError(
            f"table {table!r}{normalized}, a truncated name, already exists: pass table_name={table!r} if you mean"
            " this table, else a shorter name"
        )
    require_writable(table, existing, replace=if_exists in ("replace", "delete_rows"))
