"""Tell from a frame alone which columns its staging table will have, before the target is known."""

from __future__ import annotations

from cartoframes_lite._codec.frame import THE_GEOM
from cartoframes_lite._codec.names import is_truncated
from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.columns import Columns, find, web_mercator
from cartoframes_lite.write.fit import cast_columns
from cartoframes_lite.write.model import with_types_for_missing
from cartoframes_lite.write.options import WriteOptions
from cartoframes_lite.write.plan import plan_new
from cartoframes_lite.write.statements import column_definitions


def expected_definitions(
    columns: Columns, options: WriteOptions, *, given_name: str, must_exist: bool
) -> tuple[str | None, str | None]:
    """Return the definition of the staging table if the target does not exist, and the likely one if it does.

    None if the write would then be refused, or a further request has to decide whether it is.
    """
    cartodbfy = options["cartodbfy"]
    try:
        plan = plan_new("", columns, cartodbfy=cartodbfy)
        existing = _expected_columns(columns, cartodbfy=cartodbfy)
    except ConversionError:  # raised again by the plan, if it is the one that applies
        return None, None
    may_exist = options["if_exists"] != "fail" and bool(columns) and not is_truncated(given_name)
    return (
        None if must_exist or "." in given_name else column_definitions(plan.columns, with_sequence=plan.with_sequence),
        column_definitions(existing, with_sequence=False) if may_exist else None,
    )


def _expected_columns(columns: Columns, *, cartodbfy: bool) -> Columns:
    """Return the staging columns of most plans for an existing table.

    Others result from a column without values, or with another kind of number or another dimension in the table.
    """
    model = with_types_for_missing(columns, {}, append=False, cartodbfy=cartodbfy)
    staged = cast_columns(model, {})
    shape = find(staged, THE_GEOM) if cartodbfy else None
    return staged if shape is None else (*staged, web_mercator(shape))
