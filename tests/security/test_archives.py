"""Archives write no file outside of the target directory, and do not exceed the limits of size and number."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cartoframes_lite.local.imports.files import ImportJobError
from cartoframes_lite.local.imports.files.archives import unpack

CSV = b"a\n1\n"
LIMIT = 1 << 20
NAMES = [
    *("../evil.csv", "../../evil.csv", "a/../../evil.csv", "..\\evil.csv", "a\\..\\..\\evil.csv", "/evil.csv"),
    *("//evil.csv", "C:\\evil.csv", "\\\\host\\share\\evil.csv", "./../evil.csv", "a/./../../evil.csv", "..", "."),
    *(
        "evil.csv/",
        "evil\0.csv",
        "~/evil.csv",
        "$HOME/evil.csv",
        "a" * 300 + ".csv",
        "con.csv",
        "a:b.csv",
        " .csv",
        "-rf",
    ),
]


def zipped(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tarred(path: Path, *members: tarfile.TarInfo, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(CSV) if member.isreg() else None)
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(CSV) if kind == tarfile.REGTYPE else 0
    return info


@pytest.fixture
def unpacked(tmp_path: Path) -> Callable[[Path], list[bytes]]:
    """Unpack an archive, check that no other file was created, and return the files."""
    (tmp_path / "secret.csv").write_bytes(b"secret\n")
    directory = tmp_path / "into" / "here"
    directory.mkdir(parents=True)

    def run(path: Path) -> list[bytes]:
        before = {found for found in tmp_path.rglob("*") if directory not in found.parents}
        try:
            found = unpack(path, path.name, directory, limit_bytes=LIMIT)
        except ImportJobError:
            found = []
        assert {found for found in tmp_path.rglob("*") if directory not in found.parents} == before | {path}
        for inside in directory.rglob("*"):
            linked = inside.is_symlink()
            assert linked == (inside.is_symlink() and inside.readlink() == path.resolve())
            assert linked or stat.S_ISREG(inside.lstat().st_mode) or inside.is_dir()
        return [one.path.read_bytes() for one in found]

    return run


@pytest.mark.parametrize("name", NAMES)
def test_names_of_members_reach_no_other_directory(unpacked, tmp_path, name):
    assert set(unpacked(zipped(tmp_path / "t.zip", (name, CSV), ("good.csv", CSV)))) <= {CSV}
    assert not list(Path("/").glob("evil.csv"))


@pytest.mark.parametrize("name", [name for name in NAMES if "\0" not in name])
@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_nor_do_those_of_tar(unpacked, tmp_path, name, mode):
    path = tmp_path / f"t.tar{mode[1:].replace(':', '.')}"
    assert set(unpacked(tarred(path, member(name), member("good.csv"), mode=mode))) == {CSV}
    assert not list(Path("/").glob("evil.csv"))


@pytest.mark.parametrize("target", ["../../secret.csv", "/etc/passwd", "/proc/self/environ", "."])
def test_links_and_devices_are_no_files(unpacked, tmp_path, target):
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    members = [member(f"evil{number}.csv", kind, target) for number, kind in enumerate(kinds)]
    through = [member("dir", tarfile.SYMTYPE, str(tmp_path)), member("dir/written.csv")]
    assert unpacked(tarred(tmp_path / "t.tar", *members, *through, member("good.csv"))) == [CSV, CSV]
    for directory in (tmp_path / "into" / "here").iterdir():
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
    link = zipfile.ZipInfo("evil.csv")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert unpacked(zipped(tmp_path / "t.zip", (link, target.encode()), ("good.csv", CSV))) == [CSV]


def zeros(compress: Callable[[bytes], bytes]) -> bytes:
    return compress(bytes(64 * LIMIT))


def zip_of(content: bytes, name: str = "t.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


BOMBS = {
    "t.csv.gz": lambda: zeros(gzip.compress),
    "t.csv.bz2": lambda: zeros(bz2.compress),
    "t.csv.xz": lambda: zeros(lzma.compress),
    "t.zip": lambda: zip_of(bytes(64 * LIMIT)),
    "nested.zip": lambda: zip_of(zip_of(bytes(64 * LIMIT)), "t.zip"),
    "zipped.gz.zip": lambda: zip_of(zeros(gzip.compress), "t.csv.gz"),
    "t.xlsx": lambda: zip_of(bytes(64 * LIMIT), "xl/workbook.xml"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_given_up_at_the_limit(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(BOMBS[name]())
    assert path.stat().st_size < LIMIT
    (tmp_path / "into").mkdir()
    started = time.thread_time()
    with pytest.raises(ImportJobError) as caught:
        unpack(path, name, tmp_path / "into", limit_bytes=LIMIT)
    assert caught.value.code == 6666
    assert time.thread_time() - started < 5
    assert sum(os.path.getsize(found) for found in (tmp_path / "into").rglob("*") if found.is_file()) <= 3 * LIMIT


def test_sizes_that_headers_lie_about_are_counted(tmp_path):
    packed = bytearray(zip_of(bytes(8 * LIMIT)))
    size = (8 * LIMIT).to_bytes(4, "little")
    while size in packed:
        at = packed.index(size)
        packed[at : at + 4] = (9).to_bytes(4, "little")
    path = tmp_path / "t.zip"
    path.write_bytes(packed)
    (tmp_path / "into").mkdir()
    with pytest.raises(ImportJobError) as caught:
        unpack(path, "t.zip", tmp_path / "into", limit_bytes=LIMIT)
    assert caught.value.code in (1003, 6666)


def test_archives_in_archives_come_to_an_end(unpacked, tmp_path):
    content = CSV
    for _ in range(20):
        content = zip_of(content, "t.zip")
    path = tmp_path / "t.zip"
    path.write_bytes(content)
    assert unpacked(path) == []


def test_members_are_counted(tmp_path):
    path = zipped(tmp_path / "t.zip", *[(f"{number}.csv", b"") for number in range(10_001)])
    (tmp_path / "into").mkdir()
    with pytest.raises(ImportJobError) as caught:
        unpack(path, "t.zip", tmp_path / "into", limit_bytes=LIMIT)
    assert caught.value.code == 1019
