"""Usage of the account, and what its owner may change of it: profile, e-mail address and password."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from cartoframes_lite.local.catalog.passwords import check_password, hash_password
from cartoframes_lite.local.catalog.visualizations import Catalog
from cartoframes_lite.local.state import State

ACCOUNT_TYPE = "ENTERPRISE"
PROFILE_FIELDS = (
    "name",
    "last_name",
    "website",
    "description",
    "location",
    "twitter_username",
    "disqus_shortname",
    "available_for_hire",
    "company",
    "industry",
    "phone",
    "job_role",
    "company_employees",
    "use_case",
)
# As cartodb.cdb_userdatasize(), but without waiting for tables that are locked.
_DATA_BYTES = """
SELECT (coalesce(sum(CASE WHEN l.relation IS NULL THEN pg_total_relation_size(c.oid)
                     ELSE c.relpages::bigint * 8192 END), 0) / 2)::bigint
FROM pg_class c
LEFT JOIN pg_locks l ON l.relation = c.oid AND l.mode = 'AccessExclusiveLock' AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' AND NOT EXISTS
    (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""


@dataclass(frozen=True, slots=True)
class Usage:
    """Current usage of the account.

    Attributes
    ----------
    quota_bytes, data_bytes : int
        Storage quota and the storage used by tables.
    tables, visualizations : int
        Number of datasets; of datasets, maps and published pages together.
    public_maps, link_maps, password_maps, private_maps : int
        Number of maps and published pages by privacy.
    last_created_at : datetime or None
        When the newest dataset or map was created.
    """

    quota_bytes: int
    data_bytes: int
    tables: int
    visualizations: int
    public_maps: int
    link_maps: int
    password_maps: int
    private_maps: int
    last_created_at: datetime | None

    @property
    def maps(self) -> int:
        """Number of maps and published pages."""
        return self.public_maps + self.link_maps + self.password_maps + self.private_maps

    @property
    def remaining_bytes(self) -> int:
        """Unused storage; negative over the quota."""
        return self.quota_bytes - self.data_bytes


def usage(catalog: Catalog) -> Usage:
    """Return the current usage of the account."""
    by_privacy = "".join(
        f" count(*) FILTER (WHERE type IN ('derived', 'kuviz') AND map_privacy = '{privacy}') AS {privacy}_maps,"
        for privacy in ("public", "link", "password", "private")
    )
    with catalog.up_to_date() as connection:
        row = connection.execute(
            f"SELECT cartodb._cdb_userquotainbytes() AS quota_bytes, ({_DATA_BYTES}) AS data_bytes,"
            f" count(*) FILTER (WHERE type = 'table') AS tables, count(*) AS visualizations,{by_privacy}"
            " max(created_at) AS last_created_at FROM cartodb_local.visualizations"
        ).fetchone()
    assert row is not None  # an aggregate always returns one row
    return Usage(**row)


def count_public_maps(state: State) -> int:
    """Return the number of maps and published pages that are not private."""
    with state.admin() as connection:
        row = connection.execute(
            "SELECT count(*) AS number FROM cartodb_local.visualizations"
            " WHERE type IN ('derived', 'kuviz') AND map_privacy <> 'private'"
        ).fetchone()
    assert row is not None  # an aggregate always returns one row
    return int(row["number"])


def count_imports(state: State) -> dict[str, int]:
    """Return the number of imports of the account by their state."""
    with state.admin() as connection:
        rows = connection.execute(
            "SELECT state, count(*) AS number FROM cartodb_local.imports GROUP BY state"
        ).fetchall()
    return {row["state"]: row["number"] for row in rows}


def profile(state: State) -> dict[str, Any]:
    """Return the values of `PROFILE_FIELDS` and ``email``, which by default is in the reserved domain example.com."""
    with state.admin() as connection:
        row = connection.execute("SELECT details FROM cartodb_local.profile").fetchone()
    defaults = {**dict.fromkeys(PROFILE_FIELDS), "available_for_hire": False, "email": f"{state.user}@example.com"}
    return {**defaults, **({} if row is None else row["details"])}


def email(state: State) -> str:
    """Return the account's e-mail address."""
    return str(profile(state)["email"])


def update_profile(state: State, details: Mapping[str, Any], password: str | None) -> None:
    """Change values of `PROFILE_FIELDS` and ``email``, and the password unless it is None."""
    with state.admin() as connection:
        connection.execute(
            "INSERT INTO cartodb_local.profile AS old (details, password_hash) VALUES (%s, %s)"
            " ON CONFLICT (is_the_one) DO UPDATE SET details = old.details || excluded.details,"
            " password_hash = coalesce(excluded.password_hash, old.password_hash), updated_at = now()",
            (Jsonb(dict(details)), None if password is None else hash_password(password)),
        )


def is_password(state: State, password: object) -> bool:
    """Return whether a text is the owner's password: the master key, until it was changed."""
    if not isinstance(password, str):
        return False
    with state.admin() as connection:
        row = connection.execute("SELECT password_hash FROM cartodb_local.profile").fetchone()
    if row is not None and row["password_hash"] is not None:
        return check_password(password, row["password_hash"])
    return hmac.compare_digest(password.encode(), state.master_key.token.encode())


def update_owner(state: State, changes: Mapping[str, Any]) -> None:
    """Change the owner's ``email``, ``password`` and ``quota_in_bytes``; other attributes are ignored."""
    details = {"email": changes["email"]} if "email" in changes else {}
    update_profile(state, details, changes.get("password"))
    if "quota_in_bytes" in changes:
        with state.admin() as connection:
            connection.execute("UPDATE cartodb_local.account SET quota_bytes = %s", (changes["quota_in_bytes"],))


def updated_at(state: State) -> datetime:
    """Return when the account was changed the last time."""
    with state.admin() as connection:
        row = connection.execute("SELECT updated_at FROM cartodb_local.profile").fetchone()
    return state.master_key.created_at if row is None else row["updated_at"]
