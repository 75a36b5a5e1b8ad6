"""What the account is and uses, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.state import State

ACCOUNT_TYPE = "ENTERPRISE"


@dataclass(frozen=True, slots=True)
class Usage:
    """How much of its limits the account uses.

    Attributes
    ----------
    quota_bytes, data_bytes : int
        What its tables may take, and take, on disk.
    tables : int
    maps : int
    public : int
        Datasets and maps that everybody may see.
    """

    quota_bytes: int
    data_bytes: int
    tables: int
    maps: int
    public: int


def usage(catalog: Catalog) -> Usage:
    """Measure what the account uses."""
    with catalog.up_to_date() as connection:
        row = connection.execute(
            "SELECT cartodb._cdb_userquotainbytes() AS quota_bytes, cartodb.cdb_userdatasize() AS data_bytes,"
            " count(*) FILTER (WHERE type = 'table') AS tables, count(*) FILTER (WHERE type <> 'table') AS maps,"
            " count(*) FILTER (WHERE CASE type WHEN 'table' THEN has_table_privilege('publicuser', table_oid, 'SELECT')"
            " ELSE map_privacy = 'public' END) AS public FROM cartodb_local.visualizations"
        ).fetchone()
    assert row is not None  # an aggregate returns its row
    return Usage(**row)


def email(state: State) -> str:
    """Return the account's e-mail address: one that nobody has."""
    return f"{state.user}@example.com"
