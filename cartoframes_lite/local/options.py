"""Arguments of `start`, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from cartoframes_lite.local.plan import Plan


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Arguments of `cartoframes_lite.local.start`, which documents them; ValueError if one is invalid."""

    dsn: str | None = field(repr=False)
    user: str
    api_key: str | None = field(repr=False)
    port: int
    data_dir: str | None
    rate_limit: tuple[float, int] | None
    statement_timeout_s: float | None
    abandoned_upload_s: float
    plan: Plan

    def __post_init__(self) -> None:
        """Raise ValueError for invalid arguments, before anything is started."""
        if self.dsn is not None and self.data_dir is not None:
            raise ValueError("dsn and data_dir are mutually exclusive: data_dir belongs to a private PostgreSQL")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", self.user):
            raise ValueError(
                f"invalid user {self.user!r}: user is part of URLs and must consist of letters, digits, '-', '_' and"
                " '.'"
            )
        if self.api_key is not None and (not self.api_key or self.api_key == "default_public"):
            raise ValueError(f"invalid api_key {self.api_key!r}: the master key must not be empty or default_public")
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port must be between 0 and 65535, not {self.port}; 0 selects a free port")
        if self.rate_limit is not None and (self.rate_limit[0] <= 0 or self.rate_limit[1] < 0):
            raise ValueError(f"rate_limit must be (requests per second > 0, burst >= 0), not {self.rate_limit}")
        if self.statement_timeout_s is not None and self.statement_timeout_s <= 0:
            raise ValueError(f"statement_timeout_s must be positive, not {self.statement_timeout_s}")
        if self.abandoned_upload_s < 0:
            raise ValueError(f"abandoned_upload_s must not be negative, not {self.abandoned_upload_s}")

    def to_json(self) -> dict[str, Any]:
        """Return the options as values that JSON can represent."""
        plan = _values(self.plan)
        return _values(self) | {"plan": plan | {"rate_limits": dict(self.plan.rate_limits)}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ServerOptions:
        """Return the options that `to_json` has described."""
        rate_limit, plan = values["rate_limit"], values["plan"]
        limits = {kind: tuple(limit) for kind, limit in plan["rate_limits"].items()}
        return cls(
            **{
                **values,
                "rate_limit": None if rate_limit is None else tuple(rate_limit),
                "plan": Plan(**{**plan, "rate_limits": limits}),
            }
        )


def _values(options: ServerOptions | Plan) -> dict[str, Any]:
    """Return the fields of a dataclass; `asdict` would copy them."""
    return {one.name: getattr(options, one.name) for one in fields(type(options))}
