"""Usage of the account: storage, tables and maps."""

from __future__ import annotations

from dataclasses import dataclass

from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.state import State

ACCOUNT_TYPE = "ENTERPRISE"


@dataclass(frozen=True, slots=True)
class Usage:
    """Current usage of the account.

    Attributes
    ----------
    quota_bytes, data_bytes : int
        Storage quota and the storage used by tables.
    tables, maps : int
        Number of datasets and maps.
    public : int
        Number of public datasets and maps.
    """

    quota_bytes: int
    data_bytes: int
    tables: int
    maps: int
    public: int


def usage(catalog: Catalog) -> Usage:
    """Return the current usage of the account."""
    with catalog.up_to_date() as connection:
        row = connection.execute(
            "SELECT cartodb._cdb_userquotainbytes() AS quota_bytes, cartodb.cdb_userdatasize() AS data_bytes,"
            " count(*) FILTER (WHERE type = 'table') AS tables, count(*) FILTER (WHERE type <> 'table') AS maps,"
            " count(*) FILTER (WHERE CASE type WHEN 'table' THEN has_table_privilege('publicuser', table_oid, 'SELECT')"
            " ELSE map_privacy = 'public' END) AS public FROM cartodb_local.visualizations"
        ).fetchone()
    assert row is not None  # an aggregate always returns one row
    return Usage(**row)


def email(state: State) -> str:
    """Return the account's e-mail address, in the reserved domain example.com."""
    return f"{state.user}@example.com"


def count_public_maps(state: State) -> int:
    """Return the number of maps and published pages that are not private."""
    with state.admin() as connection:
        row = connection.execute(
            "SELECT count(*) AS number FROM cartodb_local.visualizations"
            " WHERE type <> 'table' AND map_privacy <> 'private'"
        ).fetchone()
    assert row is not None  # an aggregate always returns one row
    return int(row["number"])
