"""What an account is allowed: the limits that CARTO's plans differ in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits of an account. The defaults are those of CARTO's largest plan.

    Attributes
    ----------
    file_bytes : int
        Largest file to import, also of the files in an archive taken together.
    rows, columns : int
        Most rows and columns of an imported table.
    layers : int
        Most tables of one import.
    tables : int
        Most tables of the account.
    concurrent_imports : int
        Imports that may run or wait at the same time.
    import_timeout_s, download_timeout_s : float
        Longest time of an import, and of the download before it, in seconds.
    private_datasets : bool
        Whether datasets can be private. If not, new ones are public.
    private_addresses : bool
        Whether imports may fetch from, and connect to, private addresses other than loopback.
    rate_limits : mapping of str to tuple of (float, int)
        Requests per second, and burst, by kind of endpoint: ``query``, ``copyfrom``, ``copyto``, ``job_create`` ...
        For other kinds the ``rate_limit`` of ``start`` holds. ``{"query": (15, 15), "copyfrom": (3 / 60, 0)}`` lets
        through 15 queries a second and 3 COPY a minute, as a plan of CARTO does.
    connections : int
        Open connections of clients. For one more the one is closed that has been without a request for longest; if
        requests run on all, the newest is answered with 503.
    head_timeout_s, body_timeout_s : float
        Longest time in which the head of a request, and a body that is held in memory, has to arrive, in seconds (408).
    idle_timeout_s : float
        Longest time in which an upload sends nothing, or a client reads nothing of its response, in seconds. That of
        CARTO's SQL API is the default.
    body_bytes : int
        Bodies that are held in memory at the same time, all together. Another one waits, and is refused (503) if
        there is no room for it within ``body_timeout_s``.
    row_bytes : int
        Largest row of an answer of the SQL API, in any format: larger ones are for COPY.
    """

    file_bytes: int = 1 << 30
    rows: int = 1_000_000
    columns: int = 250
    layers: int = 50
    tables: int = 2000
    concurrent_imports: int = 3
    import_timeout_s: float = 3600.0
    download_timeout_s: float = 600.0
    private_datasets: bool = True
    private_addresses: bool = False
    connections: int = 1000
    head_timeout_s: float = 20.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 600.0
    body_bytes: int = 128 << 20
    row_bytes: int = 10 << 20
    rate_limits: Mapping[str, tuple[float, int]] = field(default_factory=dict)
