"""Find the programs of a PostgreSQL installation that has PostGIS."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from cartoframes_lite.local.errors import LocalServerError

# Major version that `apt-get install postgresql` installs, by codename of the release.
_DEBIAN_VERSIONS = {
    "bullseye": 13,
    "bookworm": 15,
    "trixie": 17,
    "focal": 12,
    "jammy": 14,
    "noble": 16,
    "plucky": 17,
    "questing": 17,
}


def find_binaries(major: int | None = None) -> Path:
    """Find the directory that holds ``postgres`` and ``initdb``.

    Searches ``PATH``, Debian's directories (newest version first), the active conda environment, Homebrew,
    Postgres.app and the directory that ``pg_config`` prints.

    Parameters
    ----------
    major : int, optional
        Required major version, that of an existing data directory.

    Raises
    ------
    LocalServerError
        If there is no installation with PostGIS. The message contains the command that installs it.
    """
    without_postgis: list[int] = []
    for directory in dict.fromkeys(_candidates()):
        if not all(os.access(directory / name, os.X_OK) for name in ("postgres", "initdb")):
            continue
        found = _major_version(directory)
        if found is None or (major is not None and found != major):
            continue
        if _has_postgis(directory, found):
            return directory
        without_postgis.append(found)
    raise LocalServerError(_missing_message(major, without_postgis))


def find_postgis_library(directory: Path) -> str | None:
    """Return the name of PostGIS's library for ``shared_preload_libraries``, None if it was not found.

    Preloading by the postmaster saves some 10 ms in each session that uses a geometry.
    """
    for libraries in (directory.parent / "lib", *sorted((directory.parent / "lib").glob("postgresql*"))):
        for path in libraries.glob("postgis-[0-9]*"):
            if path.suffix in (".so", ".dylib"):
                return path.stem
    return None


def _candidates() -> Iterator[Path]:
    """Yield directories that may contain the programs, in order of preference."""
    for name in ("postgres", "initdb", "pg_ctl"):
        if path := shutil.which(name):
            yield Path(path).resolve().parent
    yield from _newest_first(Path("/usr/lib/postgresql"), "*/bin")
    for prefix in filter(None, (os.environ.get("CONDA_PREFIX"), sys.prefix)):
        yield Path(prefix, "bin")
    for homebrew in ("/opt/homebrew/opt", "/usr/local/opt", "/home/linuxbrew/.linuxbrew/opt"):
        yield from _newest_first(Path(homebrew), "postgresql*/bin")
    yield from _newest_first(Path("/Applications/Postgres.app/Contents/Versions"), "*/bin")
    yield from _newest_first(Path("/usr"), "pgsql-*/bin")
    if path := shutil.which("pg_config"):
        yield Path(_output(path, "--bindir"))


def _newest_first(parent: Path, pattern: str) -> list[Path]:
    """Return matching directories, highest version first."""

    def version(path: Path) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", path.parent.name)]

    return sorted((path.resolve() for path in parent.glob(pattern)), key=version, reverse=True)


@cache
def _major_version(directory: Path) -> int | None:
    """Return the major version of ``postgres`` in a directory, None if it cannot be run."""
    match = re.search(r"\) (\d+)", _output(str(directory / "postgres"), "--version"))
    return int(match[1]) if match else None


def _has_postgis(directory: Path, major: int) -> bool:
    """Return whether an installation of PostgreSQL has the extension PostGIS."""
    shared = [
        Path(f"/usr/share/postgresql/{major}"),
        directory.parent / "share",
        directory.parent / "share" / "postgresql",
        directory.parent / "share" / f"postgresql@{major}",
    ]
    if not str(directory).startswith("/usr/lib/postgresql/"):
        shared = shared[1:]
    if any((share / "extension" / "postgis.control").exists() for share in shared):
        return True
    config = directory / "pg_config"
    return config.exists() and Path(_output(str(config), "--sharedir"), "extension/postgis.control").exists()


def _output(*command: str) -> str:
    """Return the output of a command, empty if it fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _missing_message(major: int | None, without_postgis: list[int]) -> str:
    """Return the error message for a missing installation, with the command that installs it."""
    if without_postgis:
        problem = f"PostgreSQL {without_postgis[0]} is installed, but its extension PostGIS is not"
    elif major:
        problem = f"the data directory belongs to PostgreSQL {major}, which is not installed with PostGIS"
    else:
        problem = "PostgreSQL with PostGIS is not installed"
    return f"{problem}; install it with: {_install_command(major or next(iter(without_postgis), None))}"


def _install_command(major: int | None) -> str:
    """Return the installation command of this platform's package manager."""
    if os.environ.get("CONDA_PREFIX"):
        return "conda install -c conda-forge postgis"
    if sys.platform == "darwin":
        return "brew install postgis"
    sudo = "" if os.geteuid() == 0 else "sudo "
    if shutil.which("apt-get"):
        version = major or _DEBIAN_VERSIONS.get(_codename())
        postgis = f"postgresql-{version}-postgis-3" if version else "postgresql-postgis"
        return f"{sudo}apt-get install postgresql {postgis}"
    if shutil.which("dnf"):
        return f"{sudo}dnf install postgresql-server postgis"
    return "conda install -c conda-forge postgis"


def _codename() -> str:
    """Return the codename of the Debian or Ubuntu release, empty if it is unknown."""
    try:
        release = Path("/etc/os-release").read_text()
    except OSError:
        return ""
    match = re.search(r"^(?:UBUNTU_CODENAME|VERSION_CODENAME)=(\w+)", release, re.MULTILINE)
    return match[1] if match else ""
