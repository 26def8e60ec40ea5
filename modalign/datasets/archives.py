"""Unpacking archives from elsewhere: nothing leaves the folder, and no link or device is made."""

from __future__ import annotations

import lzma
import stat
import tarfile
import zipfile
import zlib
from pathlib import Path

from modalign.errors import ReadError

DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError,
    RuntimeError,  # a member is encrypted, or packed by a method that Python has not
)  # fmt: skip
SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tar archive, and .zip archives inside it; other files are left alone.

    Every member is checked before the first is written.

    Raises:
        ReadError: a member is a link or leaves the folder, or the archive is damaged; names both.
    """
    root = folder.resolve()
    try:
        if zipfile.is_zipfile(archive):
            names = _unpack_zip(archive, root)
        elif tarfile.is_tarfile(archive):
            names = _unpack_tar(archive, root)
        elif archive.name.lower().endswith(SUFFIXES):
            raise tarfile.ReadError("it is none, or its beginning is damaged")
        else:
            return
    except DAMAGED as error:
        raise ReadError(f"{archive}: cannot be unpacked ({str(error)[:120]}); remove it and fetch it again") from None
    for name in names:  # UCI puts the owner's archive into one of its own
        if name.lower().endswith(".zip"):
            inner = root / name
            unpack(inner, inner.parent)


def _unpack_zip(archive: Path, root: Path) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            inside(root, member.filename, archive)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise ReadError(f"{archive}: member {member.filename!r} is a link; the archive is refused")
        opened.extractall(root)
        return opened.namelist()


def _unpack_tar(archive: Path, root: Path) -> list[str]:
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        for member in members:
            inside(root, member.name, archive)
            if not (member.isfile() or member.isdir()):
                raise ReadError(f"{archive}: member {member.name!r} is a link or device; the archive is refused")
        opened.extractall(root, filter="data")
        return [member.name for member in members if member.isfile()]


def inside(root: Path, name: str, source: Path | str) -> Path:
    """The path of a name below a folder.

    Raises:
        ReadError: it leaves the folder.
    """
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ReadError(f"{source}: member {name!r} leaves the folder; the archive is refused")
    return path
