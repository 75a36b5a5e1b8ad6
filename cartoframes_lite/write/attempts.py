"""Write the rows of a source to a table: inspect it, plan, stage and publish; again if the table was changed."""

from __future__ import annotations

from functools import partial

from cartoframes_lite._client import Client
from cartoframes_lite._client.http.progress import Waiting
from cartoframes_lite.errors import SQLError, TableChangedError
from cartoframes_lite.write.direct import plan_direct, refuse_staging
from cartoframes_lite.write.early_staging import EarlyStaging, inspect_and_stage
from cartoframes_lite.write.expected_staging import expected_staging
from cartoframes_lite.write.options import FrameOptions
from cartoframes_lite.write.plan import WritePlan, make_plan
from cartoframes_lite.write.replanning import check_target, publish_plan
from cartoframes_lite.write.source import RowSource
from cartoframes_lite.write.spatial_indexes import build_spatial_indexes
from cartoframes_lite.write.staging import Upload, stage
from cartoframes_lite.write.target import (
    Destination,
    Target,
    drop_stale_staging,
    inspect_target,
    require_existing,
)

_MAX_PLANS = 5  # whole writes, each from a new description of the table
_ACTIONS = {"replace": "replace the rows of", "upsert": "upsert into", "delete_rows": "replace the rows of"}


def write_rows(
    client: Client, table: str, source: RowSource, options: FrameOptions, *, given_name: str, must_exist: bool
) -> None:
    """Plan and write; plan again if the table was created, dropped or changed concurrently.

    Parameters
    ----------
    client : Client
    table : str
    source : RowSource
    options : FrameOptions
    given_name : str
        Name of the table as the user gave it.
    must_exist : bool
        Whether to raise TableNotFoundError if the table does not exist.
    """
    stale_dropped = False
    expected = expected_staging(
        (str(client.credentials.base_url), table),
        source.columns,
        options,
        given_name=given_name,
        must_exist=must_exist,
    )
    for plans_left in reversed(range(_MAX_PLANS)):
        with inspect_and_stage(client, table, new=expected.new, existing=expected.existing) as (target, early):
            if must_exist:
                require_existing(target)
            if target.existing is not None:
                check_target(given_name, table, target.existing, options["if_exists"])
            elif "." in given_name:
                _refuse_schema(client, given_name)
            if not stale_dropped:
                drop_stale_staging(target)
                stale_dropped = True
            plan = make_plan(table, source.columns, target.existing, options)
            source.check(plan)
            if plan.change is not None:
                expected.remember(plan.staging_definition)
            if not target.may_create:
                _append_directly(target, plan, source, options)
                return
            try:
                _stage_and_publish(target.destination, plan, source, early, options)
            except (SQLError, TableChangedError) as error:
                if source.failure is not None or not plans_left:
                    raise
                if isinstance(error, SQLError) and inspect_target(client, table).existing == target.existing:
                    raise
            else:
                return


def _refuse_schema(client: Client, table_name: str) -> None:
    """Raise ValueError for the name of an existing table with its schema, of which another name would be made."""
    schema, _, table = table_name.partition(".")
    if schema and table and client.sql.has_table(schema, table):
        raise ValueError(
            f"table_name={table_name!r} is the name of a table with its schema, and rows are written to the schema of"
            f" the account: pass {table!r}"
        )


def _stage_and_publish(
    destination: Destination, plan: WritePlan, source: RowSource, early: EarlyStaging, options: FrameOptions
) -> None:
    """Upload all rows to a staging table and publish them."""
    upload = Upload(
        plan.columns,
        partial(plan.staged_rows, source),
        with_sequence=plan.with_sequence,
        may_be_slow=source.may_be_slow,
        rows=source.rows,
    )
    progress = options["progress"]
    with (
        stage(destination, upload, early, compression=options["compression"], progress=progress) as staged,
        Waiting("publishing", progress),
    ):
        build_spatial_indexes(destination, staged, plan.spatial_indexes)
        publish_plan(destination, staged, plan, source.columns, options)


def _append_directly(target: Target, plan: WritePlan, source: RowSource, options: FrameOptions) -> None:
    """Append with a key that may not create staging tables; raise PermissionDenied for any other write."""
    if target.existing is None or options["if_exists"] != "append":
        action = "create" if target.existing is None else _ACTIONS[options["if_exists"]]
        refuse_staging(target.destination, action, "rows are uploaded to a staging table")
    plan_direct(target.destination, target.existing, plan.columns).run(
        partial(plan.staged_rows, source),
        rows=source.rows,
        may_be_slow=source.may_be_slow,
        compression=options["compression"],
        progress=options["progress"],
    )
