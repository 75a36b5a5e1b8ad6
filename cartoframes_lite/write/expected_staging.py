"""Tell from a frame alone which columns its staging table will have, before the target is known."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from cartoframes_lite._codec.frame import THE_GEOM
from cartoframes_lite._codec.names import is_truncated
from cartoframes_lite.errors import ConversionError
from cartoframes_lite.write.columns import Columns, find, web_mercator
from cartoframes_lite.write.fit import cast_columns
from cartoframes_lite.write.model import with_types_for_missing
from cartoframes_lite.write.options import WriteOptions
from cartoframes_lite.write.plan import plan_new
from cartoframes_lite.write.statements import column_definitions

_MAX_REMEMBERED = 100

_Key = tuple[str, str, str]  # base URL, table, and definition that follows from the frame
_needed: OrderedDict[_Key, str] = OrderedDict()  # definitions that plans needed instead, the oldest first


@dataclass(frozen=True, slots=True)
class ExpectedStaging:
    """Definitions of the staging table that the plan probably needs.

    Attributes
    ----------
    new, existing : str or None
        If the target does not exist, and if it exists. None: the write would be refused, or another request has to
        decide whether it is.
    """

    new: str | None
    existing: str | None
    _key: _Key

    def remember(self, needed: str) -> None:
        """Expect what the plan for the existing table has needed, when the same columns are written to it again."""
        _needed.pop(self._key, None)
        if needed != self._key[-1]:
            _needed[self._key] = needed
            if len(_needed) > _MAX_REMEMBERED:
                _needed.popitem(last=False)


def expected_staging(
    destination: tuple[str, str], columns: Columns, options: WriteOptions, *, given_name: str, must_exist: bool
) -> ExpectedStaging:
    """Return the definitions for the columns of a frame.

    Parameters
    ----------
    destination : tuple of (str, str)
        Base URL of the account, and name of the table.
    columns : tuple of Column
    options : WriteOptions
    given_name : str
        Name of the table as the user gave it.
    must_exist : bool
        Whether the write is refused if the table does not exist.
    """
    cartodbfy = options["cartodbfy"]
    try:
        plan = plan_new("", columns, cartodbfy=cartodbfy)
        new = plan.staging_definition
        existing = column_definitions(_expected_columns(columns, cartodbfy=cartodbfy), with_sequence=False)
    except ConversionError:  # raised again by the plan, if it is the one that applies
        return ExpectedStaging(None, None, (*destination, ""))
    key = (*destination, existing)
    may_exist = options["if_exists"] != "fail" and bool(columns) and not is_truncated(given_name)
    return ExpectedStaging(
        None if must_exist or "." in given_name else new, _needed.get(key, existing) if may_exist else None, key
    )


def _expected_columns(columns: Columns, *, cartodbfy: bool) -> Columns:
    """Return the staging columns of most plans for an existing table.

    Others result from a column without values, or with another kind of number or another dimension in the table.
    """
    model = with_types_for_missing(columns, {}, append=False, cartodbfy=cartodbfy)
    staged = cast_columns(model, {})
    shape = find(staged, THE_GEOM) if cartodbfy else None
    return staged if shape is None else (*staged, web_mercator(shape))
