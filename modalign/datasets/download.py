"""The owner's download: to a cache folder, with progress, checked by SHA-256, unpacked without links or `..`."""

from __future__ import annotations

import hashlib
import os
import tarfile
import urllib.request
import zipfile
from pathlib import Path

from modalign.datasets.public import PublicDataset
from modalign.errors import ReadError


def cache_folder() -> Path:
    """`$MODALIGN_CACHE`, else `~/.cache/modalign`."""
    return Path(os.environ.get("MODALIGN_CACHE", Path.home() / ".cache" / "modalign"))


def fetch(dataset: PublicDataset) -> Path:
    """Download, check and unpack a data set's files; return the folder. What is there already is not fetched again.

    Raises:
        ReadError: the owner offers no plain file, the address cannot be reached, or a checksum is wrong.
    """
    if not dataset.files:
        raise ReadError(
            f"{dataset.name}: its owner offers no plain download; get it from {dataset.url} and pass --root"
        )
    folder = cache_folder() / dataset.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, (address, sha256) in dataset.files.items():
        target = folder / name
        if not target.is_file() or _sha256(target) != sha256:
            _download(dataset, address, target, sha256)
            unpack(target, folder)
    return folder


def _download(dataset: PublicDataset, address: str, target: Path, sha256: str) -> None:
    from rich.progress import wrap_file

    staged = target.with_name(f".{target.name}.part")
    try:
        with urllib.request.urlopen(address, timeout=60) as response:
            total = int(response.headers.get("Content-Length") or 0)
            with wrap_file(response, total=total, description=target.name) as stream, staged.open("wb") as out:
                while block := stream.read(1 << 20):
                    out.write(block)
    except OSError as error:
        raise ReadError(
            f"{dataset.name}: {address} cannot be reached ({error}); get it from {dataset.url} and pass --root"
        ) from None
    actual = _sha256(staged)
    if actual != sha256:
        staged.unlink()
        raise ReadError(
            f"{dataset.name}: {address} has SHA-256 {actual}, not {sha256}; the file is not the published one"
        )
    staged.replace(target)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a .zip or .tar archive; links and paths that leave the folder are refused. Other files are left alone.

    Raises:
        ReadError: names the archive and the member.
    """
    root = folder.resolve()
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            for member in opened.infolist():
                _inside(root, member.filename, archive)
            opened.extractall(root)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as tar:
            for entry in tar:
                _inside(root, entry.name, archive)
                if not (entry.isfile() or entry.isdir()):
                    raise ReadError(f"{archive}: member {entry.name!r} is a link or device; the archive is refused")
            tar.extractall(root, filter="data")


def _inside(root: Path, name: str, archive: Path) -> None:
    if not (root / name).resolve().is_relative_to(root):
        raise ReadError(f"{archive}: member {name!r} leaves the folder; the archive is refused")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
