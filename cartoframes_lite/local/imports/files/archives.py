"""Extract archives with a limit on the extracted size.

Members are written under generated names, so that no member name can lead out of the target directory.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import IO

from cartoframes_lite.local.imports.files.error_codes import ImportJobError

_Stream = BufferedIOBase | IO[bytes]
_BLOCK = 1 << 20
_MAX_DEPTH = 2  # an archive and archives within it
_MAX_MEMBERS = 10_000
_ENCRYPTED = 0x1
_COMPRESSED: dict[bytes, Callable[[Path], _Stream]] = {
    b"\x1f\x8b": gzip.GzipFile,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}
_ARCHIVE_SUFFIXES = (".zip", ".kmz", ".carto", ".gz", ".tgz", ".bz2", ".tbz2", ".xz", ".txz", ".tar")
_SHEET_SUFFIXES = (".xlsx", ".xlsm", ".ods")
_DECOMPRESSION_ERRORS = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
    NotImplementedError,
)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to import.

    Attributes
    ----------
    path : Path
        Local path, with a lower case extension. Files of the same dataset differ only in their extensions.
    name : str
        Original name, without directories.
    """

    path: Path
    name: str

    @property
    def suffix(self) -> str:
        """The extension of the original name, in lower case."""
        return PurePosixPath(self.name).suffix.lower()


def unpack(path: Path, file_name: str, directory: Path, *, limit_bytes: int) -> list[SourceFile]:
    """Extract an archive and the archives within it.

    Parameters
    ----------
    path : Path
        An archive, or any other file, which is then the only one returned.
    file_name : str
        Original name of the file.
    directory : Path
        Empty directory for the extracted files.
    limit_bytes : int
        Maximum size of the file, and of its extracted content, in bytes.

    Raises
    ------
    ImportJobError
        1003 if an archive is damaged, 1004 if a spreadsheet (also a ZIP archive) is damaged, 1005 if the archive is
        empty, 1018 if it is encrypted, 6666 if it exceeds the limit.
    """
    size = path.stat().st_size
    if size == 0:
        raise ImportJobError(1005)
    if size > limit_bytes:
        raise ImportJobError(6666, f"{size} bytes, the limit is {limit_bytes}")
    unpacker = _Unpacker(directory, limit_bytes)
    file = unpacker.target_file(PurePosixPath(file_name.replace("\\", "/")), 0)
    file.path.symlink_to(path.resolve())
    found = unpacker.open(file, 1)
    if not found:
        raise ImportJobError(1005, "the archive contains no file")
    return found


class _Unpacker:
    """Extract archives into numbered directories, up to the size limit."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        self._directory = directory
        self._limit_bytes = self._left_bytes = limit_bytes
        self._folders: dict[tuple[int, str], Path] = {}
        self._stems: dict[tuple[Path, str], int] = {}
        self._archives = self._members = 0

    def target_file(self, name: PurePosixPath, archive: int) -> SourceFile:
        """Return the generated path of a member; members of one folder with the same stem keep a common stem."""
        folder = self._folders.get((archive, str(name.parent)))
        if folder is None:
            folder = self._directory / f"folder_{len(self._folders)}"
            folder.mkdir()
            self._folders[archive, str(name.parent)] = folder
        key = (folder, name.stem.casefold())
        number = self._stems.setdefault(key, len(self._stems))
        suffix = name.suffix.lower()
        plain = suffix if suffix[1:].isalnum() and suffix.isascii() and len(suffix) < 16 else ""
        path = folder / f"file_{number}{plain}"
        copy = 0
        while path.exists():  # names that differ only in case
            copy += 1
            path = folder / f"file_{number}_{copy}{plain}"
        return SourceFile(path, name.name)

    def open(self, file: SourceFile, depth: int) -> list[SourceFile]:
        """Return the file itself or, for an archive, its extracted files."""
        try:
            return self._open(file, depth)
        except _DECOMPRESSION_ERRORS as error:
            if (
                isinstance(error, OSError) and error.errno is not None
            ):  # raised by the file system, not by a decompressor
                raise ImportJobError(1000, error.strerror or "") from None
            raise ImportJobError(1004 if file.suffix in _SHEET_SUFFIXES else 1003, str(error)) from None

    def _open(self, file: SourceFile, depth: int) -> list[SourceFile]:
        with file.path.open("rb") as opened:
            head = opened.read(512)
        opener = next((opener for magic, opener in _COMPRESSED.items() if head.startswith(magic)), None)
        is_zip = head.startswith((b"PK\3\4", b"PK\5\6"))
        is_tar = head[257:262] == b"ustar"
        if is_zip and _is_spreadsheet(file.path):
            self._check_size(file.path)
            return [file]
        if opener is None and not is_zip and not is_tar:
            if file.suffix in _ARCHIVE_SUFFIXES:
                raise zipfile.BadZipFile("the file is not an archive")
            if file.suffix in _SHEET_SUFFIXES and not head.startswith(b"\xd0\xcf\x11\xe0"):
                raise zipfile.BadZipFile("the file is not a spreadsheet")
            return [file]
        if depth > _MAX_DEPTH:
            return []
        self._archives += 1
        if opener is not None:
            return self._decompress(file, opener, depth)
        members = list(self._unzip(file) if is_zip else self._untar(file))
        found = [inner for member in members for inner in self.open(member, depth + 1)]
        if file.suffix == ".kmz" and sum(inner.suffix == ".kml" for inner in found) == 1:
            # Use the name of the KMZ: its document is usually called doc.kml.
            return [SourceFile(one.path, f"{file.name[:-4]}.kml") for one in found if one.suffix == ".kml"]
        return found

    def _decompress(self, file: SourceFile, opener: Callable[[Path], _Stream], depth: int) -> list[SourceFile]:
        """Decompress a single file, which may be a tar archive."""
        name = file.name
        if file.suffix in (".tgz", ".tbz2", ".txz"):
            name = f"{name[: -len(file.suffix)]}.tar"
        elif file.suffix in _ARCHIVE_SUFFIXES:
            name = name[: -len(file.suffix)]
        inner = self.target_file(PurePosixPath(name), self._archives)
        with opener(file.path) as source:
            self._copy(source, inner.path)
        if inner.path.stat().st_size == 0:
            raise ImportJobError(1005)
        if tarfile.is_tarfile(inner.path):
            return self._open(inner, depth)
        return self.open(inner, depth + 1)

    def _unzip(self, file: SourceFile) -> Iterator[SourceFile]:
        archive = self._archives
        with zipfile.ZipFile(file.path) as packed:
            for member in packed.infolist():
                mode = member.external_attr >> 16
                if member.is_dir() or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)):
                    continue
                if member.flag_bits & _ENCRYPTED:
                    raise ImportJobError(1018)
                target_file = self._target_for_member(member.filename, archive)
                if target_file is not None:
                    with packed.open(member) as source:
                        self._copy(source, target_file.path)
                    yield target_file

    def _untar(self, file: SourceFile) -> Iterator[SourceFile]:
        archive = self._archives
        with tarfile.open(file.path, "r:") as packed:
            for member in packed:
                source = packed.extractfile(member) if member.isreg() else None
                target_file = self._target_for_member(member.name, archive) if source is not None else None
                if source is not None and target_file is not None:
                    self._copy(source, target_file.path)
                    yield target_file

    def _target_for_member(self, member: str, archive: int) -> SourceFile | None:
        """Return the generated path of a member; None for unsafe paths, and for files that CARTO treats as hidden."""
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise ImportJobError(1019, f"more than {_MAX_MEMBERS} files in the archive")
        name = PurePosixPath(member.replace("\\", "/"))
        if name.is_absolute() or any(part.startswith((".", "__")) for part in name.parts):
            return None
        return self.target_file(name, archive) if name.name else None

    def _copy(self, source: _Stream, path: Path) -> None:
        with path.open("wb") as target:
            while block := source.read(_BLOCK):
                self._count_bytes(len(block))
                target.write(block)

    def _check_size(self, path: Path) -> None:
        """Decompress a spreadsheet to check its real size: the sizes in its headers may be wrong."""
        with zipfile.ZipFile(path) as packed:
            for member in packed.infolist():
                if member.flag_bits & _ENCRYPTED:
                    raise ImportJobError(1018)
                with packed.open(member) as source:
                    while block := source.read(_BLOCK):
                        self._count_bytes(len(block))

    def _count_bytes(self, size_bytes: int) -> None:
        self._left_bytes -= size_bytes
        if self._left_bytes < 0:
            raise ImportJobError(6666, f"the extracted content is larger than {self._limit_bytes} bytes")


def _is_spreadsheet(path: Path) -> bool:
    """Return whether a ZIP archive is an Excel or OpenDocument spreadsheet."""
    with zipfile.ZipFile(path) as packed:
        names = packed.namelist()
        if "xl/workbook.xml" in names:
            return True
        if "mimetype" not in names or "content.xml" not in names:
            return False
        with packed.open("mimetype") as mimetype:
            return mimetype.read(128).startswith(b"application/vnd.oasis.opendocument.spreadsheet")
