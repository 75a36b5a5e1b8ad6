"""The account as its owner sees it: ``user_data`` of ``/api/v3/me``, and ``/api/v1/users``."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from cartoframes_lite.local.catalog.account import ACCOUNT_TYPE, count_imports
from cartoframes_lite.local.clock import iso_time
from cartoframes_lite.local.state import State
from cartoframes_lite.local.user_serializers import UserSerializer

_CONCURRENT_SYNCS = 3
_MEGABYTE = 1 << 20
_OTHER_PARTS = ("google_maps_query_string", "org_user", "remove_logo")  # of users in other responses
_UNKNOWN = (
    "geocoder_provider",
    "isolines_provider",
    "routing_provider",
    "trial_ends_at",
    "upgraded_at",
    "notification",
    "do_bq_project",
    "do_bq_dataset",
    "private_map_quota",
    "public_dataset_quota",
    "map_views_quota",
)


def user_data(state: State, users: UserSerializer, master_key: str) -> dict[str, Any]:
    """Serialize the account for its owner. The result contains the master key.

    Parameters
    ----------
    state : State
    users : UserSerializer
    master_key : str
    """
    used, plan, today = users.usage, state.plan, state.clock.now().date()
    organization = users.organization()
    organization["available_quota_for_user"] = organization["unassigned_quota"] + used.quota_bytes
    last_created = used.last_created_at
    owner = {name: value for name, value in users.owner(groups=True).items() if name not in _OTHER_PARTS}
    return {
        **dict.fromkeys(_UNKNOWN),
        **owner,
        "created_at": iso_time(state.master_key.created_at),
        "state": "active",
        "account_type": ACCOUNT_TYPE,
        "account_type_display_name": ACCOUNT_TYPE,
        "table_quota": plan.tables,
        "public_map_quota": plan.public_maps,
        "regular_api_key_quota": plan.api_keys,
        "public_privacy_map_count": used.public_maps,
        "link_privacy_map_count": used.link_maps,
        "password_privacy_map_count": used.password_maps,
        "private_privacy_map_count": used.private_maps,
        "owned_visualization_count": used.maps,
        "visualization_count": used.visualizations,
        **_import_counts(state),
        "last_visualization_created_at": None if last_created is None else iso_time(last_created),
        "db_size_in_megabytes": round(used.data_bytes / _MEGABYTE, 2),
        "remaining_table_quota": max(0, plan.tables - used.tables),
        "remaining_byte_quota": float(used.remaining_bytes),
        "storage": {
            "quota_in_bytes": used.quota_bytes,
            "db_size_in_bytes": used.data_bytes,
            "subscriptions_public_size_in_bytes": 0,
            "subscriptions_premium_size_in_bytes": 0,
            "subscriptions_premium_estimated_size_in_bytes": 0,
        },
        "map_views": 0,
        "unverified": False,
        **{name: _service_quota() for name in ("geocoding", "here_isolines", "mapzen_routing")},
        "twitter": {"enabled": False, **_service_quota(), "block_size": None, "customized_config": False},
        "salesforce": {"enabled": False},
        "mailchimp": {"enabled": False},
        "billing_period": today.replace(day=1).isoformat(),
        "next_billing_period": _next_month(today).isoformat(),
        "api_key": master_key,
        "layers": [],
        "show_trial_reminder": False,
        "show_upgraded_message": False,
        "actions": _actions(state),
        "limits": {
            "concurrent_syncs": _CONCURRENT_SYNCS,
            "concurrent_imports": plan.concurrent_imports,
            "import_file_size": plan.file_bytes,
            "import_table_rows": plan.rows,
            "max_layers": plan.layers,
        },
        "email_notifications": {"do_subscriptions": True, "imports": True},
        "feature_flags": [],
        "needs_password_confirmation": True,
        "mfa_configured": False,
        "is_enterprise": True,
        "do_enabled": False,
        "organization": organization,
    }


def _import_counts(state: State) -> dict[str, int]:
    """Return the numbers of all, failed and complete imports."""
    counts = count_imports(state)
    return {
        "failed_import_count": counts.get("failure", 0),
        "success_import_count": counts.get("complete", 0),
        "import_count": sum(counts.values()),
    }


def _actions(state: State) -> dict[str, bool]:
    """Return what the account may do."""
    return {
        "private_tables": state.plan.private_datasets,
        "private_maps": state.plan.private_datasets,
        "remove_logo": True,
        "sync_tables": True,
        "google_maps_geocoder_enabled": False,
        "google_maps_enabled": False,
        "engine_enabled": True,
        "builder_enabled": True,
        "mobile_sdk_enabled": False,
    }


def _service_quota() -> dict[str, Any]:
    """Return the quota of a service that this server does not have."""
    return {"quota": 0, "block_price": None, "monthly_use": 0, "hard_limit": True}


def _next_month(day: date) -> date:
    """Return the first day of the month after that of a day."""
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1)
