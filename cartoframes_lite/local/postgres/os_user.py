"""Operating system user that PostgreSQL runs as, since it cannot run as root."""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cartoframes_lite.local.errors import LocalServerError

_SOCKET_NAME = ".s.PGSQL.5432"
_SOCKET_PATH_MAX = 103  # bytes; the limit of macOS, Linux has 107


@dataclass(frozen=True, slots=True)
class OsUser:
    """A user to run programs as.

    Attributes
    ----------
    uid, gid : int
        Ids of the user and its group.
    foreign : bool
        Whether this is not the user of the current process, which is root then.
    prefix : tuple of str
        Command line that programs are started with, see `find_os_user`.
    """

    uid: int
    gid: int
    foreign: bool = False
    prefix: tuple[str, ...] = ()

    def run(
        self,
        command: Sequence[str | Path],
        *,
        stdin: int = subprocess.DEVNULL,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        """Start a program in a new session, so that it does not receive Ctrl-C."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        switch_user = self.foreign and not self.prefix
        return subprocess.Popen(
            [*self.prefix, *command],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd="/",
            env=environment,
            start_new_session=True,
            umask=0o077,
            user=self.uid if switch_user else None,
            group=self.gid if switch_user else None,
            extra_groups=[] if switch_user else None,
        )

    def make_directory(self) -> Path:
        """Create a temporary directory that only this user can enter, with a path short enough for a Unix socket."""
        parents = [tempfile.gettempdir(), "/tmp"]
        for parent in parents:
            path = Path(parent).resolve()
            length = len(os.fsencode(path / "cartoframes_lite-12345678" / _SOCKET_NAME))
            if length <= _SOCKET_PATH_MAX and (not self.foreign or _can_enter(path, self.uid, self.gid)):
                break
        else:
            raise LocalServerError(f"no usable temporary directory among {parents}; set TMPDIR")
        directory = Path(tempfile.mkdtemp(prefix="cartoframes_lite-", dir=path))
        if self.foreign:
            os.chown(directory, self.uid, self.gid)
        return directory

    def own_empty_directory(self, path: Path) -> None:
        """Create a directory for a new cluster, or take over an empty one."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise LocalServerError(f"{path} is neither empty nor a data directory of PostgreSQL; use another data_dir")
        path.chmod(0o700)
        if self.foreign:
            os.chown(path, self.uid, self.gid)


def find_os_user(data_dir: Path | None) -> OsUser:
    """Choose the user that PostgreSQL runs as.

    The user of the process, unless that is root: then the owner of an existing data directory, else
    ``postgres``, else ``nobody``. If that user cannot reach the data directory because a parent directory is
    accessible to root only (``/root``, pytest's temporary directories), programs are started with the Linux
    capability ``CAP_DAC_OVERRIDE``.

    Parameters
    ----------
    data_dir : Path or None
        Absolute path of the data directory, which may not exist yet.

    Raises
    ------
    LocalServerError
        If the data directory cannot be reached.
    """
    if os.geteuid() != 0:
        return OsUser(os.geteuid(), os.getegid())
    entry = _unprivileged(data_dir)
    user = OsUser(entry.pw_uid, entry.pw_gid, foreign=True)
    if data_dir is None or _can_enter(data_dir.parent, user.uid, user.gid):
        return user
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise LocalServerError(f"the user {entry.pw_name} cannot enter {data_dir.parent}; use another data_dir")
    ids = (f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups")
    capability = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return OsUser(user.uid, user.gid, foreign=True, prefix=(setpriv, *ids, *capability))


def _unprivileged(data_dir: Path | None) -> pwd.struct_passwd:
    """Return the user that PostgreSQL runs as when the current user is root."""
    if data_dir is not None and (data_dir / "PG_VERSION").exists():
        uid = data_dir.stat().st_uid
        if uid != 0:
            try:
                return pwd.getpwuid(uid)
            except KeyError as error:
                raise LocalServerError(f"{data_dir} belongs to user id {uid}, which does not exist") from error
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LocalServerError("PostgreSQL cannot run as root, and there is no user 'postgres' or 'nobody'; create one")


def _can_enter(path: Path, uid: int, gid: int) -> bool:
    """Return whether a user can enter a directory and its parents. Missing ones are skipped: they will be created."""
    for directory in (path, *path.parents):
        try:
            status = directory.stat()
        except FileNotFoundError:
            continue
        if status.st_uid == uid:
            needed = stat.S_IXUSR
        elif status.st_gid == gid:
            needed = stat.S_IXGRP
        else:
            needed = stat.S_IXOTH
        if not status.st_mode & needed:
            return False
    return True
