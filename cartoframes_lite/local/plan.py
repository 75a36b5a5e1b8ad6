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
    rate_limits: Mapping[str, tuple[float, int]] = field(default_factory=dict)
