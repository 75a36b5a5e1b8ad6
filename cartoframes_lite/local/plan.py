"""Limits of an account that depend on its CARTO plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Plan:
    """Limits of an account. The defaults are those of CARTO's largest plan.

    Attributes
    ----------
    file_bytes : int
        Maximum size of a file to import, in bytes; for an archive, of all its files together.
    rows, columns : int
        Maximum number of rows and columns of an imported table.
    layers : int
        Maximum number of tables of one import.
    tables : int
        Maximum number of tables of the account.
    api_keys : int, optional
        Maximum number of regular API keys. None means unlimited.
    public_maps : int, optional
        Maximum number of maps and published pages that are not private. None means unlimited.
    concurrent_imports : int
        Maximum number of imports that are running or queued.
    import_timeout_s, download_timeout_s : float
        Timeout of an import, and of the download before it, in seconds.
    private_datasets : bool
        Whether datasets can be private. If not, new ones are public.
    private_addresses : bool
        Whether imports may fetch from, and connect to, private addresses other than loopback.
    rate_limits : mapping of str to tuple of (float, int)
        Requests per second and burst, by kind of endpoint: ``query``, ``copyfrom``, ``copyto``, ``job_create`` ...
        Other kinds use the ``rate_limit`` of ``start``. ``{"query": (15, 15), "copyfrom": (3 / 60, 0)}`` allows
        15 queries per second and 3 COPY requests per minute, as one of CARTO's plans does.
    connections : int
        Maximum number of open client connections. Beyond it, the connection that has been idle longest is closed;
        if every connection has a running request, the new one gets a 503.
    head_timeout_s, body_timeout_s : float
        Timeout of a request head, and of a request body that is held in memory, in seconds (408).
    idle_timeout_s : float
        Timeout of an upload that sends nothing, or of a client that does not read its response, in seconds.
        The default is that of CARTO's SQL API.
    upload_bytes, upload_window_s : int, float
        Minimum number of bytes, as sent, of an upload of ``copyfrom`` in every window of so many seconds; a slower
        one is rejected (400). CARTO has windows of 15 s; its published configuration has a minimum of 0 bytes, which
        rejects no upload, but its own servers reject slow ones.
    body_bytes : int
        Maximum size of all request bodies held in memory at the same time, in bytes. A body that does not fit waits,
        and gets a 503 after ``body_timeout_s``.
    row_bytes : int
        Maximum size of a row in a response of the SQL API, in bytes, in any format. COPY has no such limit.
    """

    file_bytes: int = 1 << 30
    rows: int = 1_000_000
    columns: int = 250
    layers: int = 50
    tables: int = 2000
    api_keys: int | None = None
    public_maps: int | None = None
    concurrent_imports: int = 3
    import_timeout_s: float = 3600.0
    download_timeout_s: float = 600.0
    private_datasets: bool = True
    private_addresses: bool = False
    connections: int = 1000
    head_timeout_s: float = 20.0
    body_timeout_s: float = 60.0
    idle_timeout_s: float = 600.0
    upload_bytes: int = 0
    upload_window_s: float = 15.0
    body_bytes: int = 128 << 20
    row_bytes: int = 10 << 20
    rate_limits: Mapping[str, tuple[float, int]] = field(default_factory=dict)
