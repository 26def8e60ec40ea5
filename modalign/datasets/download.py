"""The owner's download: to a cache folder, resumed where it broke off, and checked before anything reads it.

Nothing is redistributed: addresses are the owners'. Only what has a known checksum is downloaded.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote

from modalign.datasets.archives import inside, unpack
from modalign.datasets.public import Options, PublicDataset
from modalign.errors import ReadError

ATTEMPTS = 3
"""How often a transfer that breaks off is taken up again before the user is told."""
BLOCK = 1 << 20
CONNECTIONS = 4
"""At once, where a data set is thousands of small files."""


def cache_folder() -> Path:
    """`$MODALIGN_CACHE`, else `~/.cache/modalign`."""
    return Path(os.environ.get("MODALIGN_CACHE", Path.home() / ".cache" / "modalign"))


def fetch(dataset: PublicDataset, options: Options | None = None) -> Path:
    """Download, check and unpack what these options need; return the folder. What is there is not fetched again.

    Raises:
        ReadError: there is nothing with a checksum to download, an address cannot be reached, or a checksum is wrong.
    """
    if not dataset.files and not dataset.sums:
        raise ReadError(
            f"{dataset.name}: no checksum is known for the owner's download, so it is not fetched for you; "
            f"get it from {dataset.url} and pass --root"
        )
    folder = cache_folder() / dataset.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, (address, checksum) in dataset.files.items():
        if dataset.needed(name, options or {}):
            _fetch_archive(dataset, folder, name, address, checksum)
    if dataset.sums:
        _fetch_listed(dataset, folder, options or {})
    return folder


def _fetch_archive(dataset: PublicDataset, folder: Path, name: str, address: str, checksum: str) -> None:
    target, stamp = folder / name, folder / f".{name}.done"
    # The stamp is written last, so that an archive that was only half unpacked is unpacked again.
    if stamp.is_file() and stamp.read_text() == checksum:
        return
    if not (target.is_file() and matches(target, checksum)):
        with _bar(name) as bar:
            transfer(address, target, checksum, bar, hint=_hint(dataset))
    unpack(target, folder)
    stamp.write_text(checksum)


def _fetch_listed(dataset: PublicDataset, folder: Path, options: Options) -> None:
    """Every needed file of the owner's list, each checked against it."""
    text = _read(dataset.sums, _hint(dataset))
    base = dataset.sums.rsplit("/", 1)[0]
    wanted = [(name, total) for name, total in parse_sums(text, dataset.sums) if dataset.needed(name, options)]
    if not wanted:
        raise ReadError(f"{dataset.sums}: lists no file that is needed; get it from {dataset.url} and pass --root")
    key = hashlib.sha256(repr(wanted).encode()).hexdigest()
    stamp = folder / f".sums-{key[:16]}.done"
    if stamp.is_file():
        return

    def one(entry: tuple[str, str]) -> None:
        name, checksum = entry
        target = inside(folder, name, dataset.sums)
        target.parent.mkdir(parents=True, exist_ok=True)
        if not (target.is_file() and matches(target, checksum)):
            transfer(f"{base}/{quote(name)}", target, checksum, hint=_hint(dataset))

    with _bar(dataset.name, len(wanted)) as bar, ThreadPoolExecutor(CONNECTIONS) as pool:
        try:
            for _ in pool.map(one, wanted):
                bar(1, 0)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # thousands are still waiting
            raise
    stamp.touch()


def parse_sums(text: str, where: str) -> list[tuple[str, str]]:
    """(name, "sha256:...") of each line of a list as `sha256sum` writes it.

    Raises:
        ReadError: a line is something else.

    Example:
        >>> parse_sums("0" * 64 + "  data/1.dat", "list")[0][0]
        'data/1.dat'
    """
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        digest, _, name = line.strip().partition(" ")
        name = name.strip().removeprefix("*").removeprefix("./")
        if not line.strip():
            continue
        if len(digest) != 64 or set(digest.lower()) - set("0123456789abcdef") or not name:
            raise ReadError(f"{where}: line {number} is not a SHA-256 sum and a name: {line[:80]!r}")
        entries.append((name, f"sha256:{digest.lower()}"))
    return entries


def matches(path: Path, checksum: str) -> bool:
    """Whether a file has a checksum, "sha256:..." or "md5:..."."""
    return digest(path, checksum.partition(":")[0]) == checksum.partition(":")[2].lower()


def digest(path: Path, kind: str) -> str:
    """A file's hash in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def transfer(
    address: str, target: Path, checksum: str, report: Callable[[int, int], None] | None = None, hint: str = ""
) -> None:
    """Download one file, going on from `.NAME.part` where there is one, and check it before it gets its name.

    Args:
        address: of the file.
        target: where to.
        checksum: "sha256:..." or "md5:...".
        report: called with (bytes more, bytes in all or 0).
        hint: what to do when it cannot be had, for the error.

    Raises:
        ReadError: it cannot be reached, breaks off again and again, or is not the published file.
    """
    staged = target.with_name(f".{target.name}.part")
    for attempt in range(ATTEMPTS):
        before = staged.stat().st_size if staged.is_file() else 0
        try:
            _append(address, staged, report)
            break
        except (OSError, http.client.HTTPException) as error:
            status = error.code if isinstance(error, urllib.error.HTTPError) else 0
            if status == 416:  # the part is as long as the file, or longer: whether it is right is decided below
                break
            after = staged.stat().st_size if staged.is_file() else 0
            if attempt + 1 < ATTEMPTS and after > before:
                continue
            kept = f"; {after:,} bytes are kept, and the same command goes on from there" if after else ""
            raise ReadError(f"{address} cannot be had ({error}){kept}. {hint}".rstrip()) from None
    kind = checksum.partition(":")[0]
    if not matches(staged, checksum):
        actual = digest(staged, kind)
        staged.unlink()
        raise ReadError(
            f"{address} has {kind.upper()} {actual}, not {checksum.partition(':')[2]}; it is not the published file "
            f"and was removed. {hint}".rstrip()
        )
    staged.replace(target)


def _append(address: str, staged: Path, report: Callable[[int, int], None] | None) -> None:
    """One request: the rest of the file where the server can, else all of it.

    Raises:
        OSError: the server cannot be reached, or the answer is shorter than it says.
    """
    have = staged.stat().st_size if staged.is_file() else 0
    with _open(address, have) as response:
        resumed = response.status == 206 and (response.headers.get("Content-Range") or "").startswith(f"bytes {have}-")
        length = int(response.headers.get("Content-Length") or 0)
        total = length + (have if resumed else 0)
        if report is not None and resumed:
            report(have, total)
        got = 0
        with staged.open("ab" if resumed else "wb") as out:
            while block := response.read(BLOCK):
                out.write(block)
                got += len(block)
                if report is not None:
                    report(len(block), total)
    if got < length:
        raise OSError(f"it broke off after {got:,} of {length:,} bytes")


def _open(address: str, begin: int = 0) -> Any:
    """A response, from byte `begin` on where the server can. Some owners refuse Python's own User-Agent."""
    headers = {"User-Agent": "modalign", **({"Range": f"bytes={begin}-"} if begin else {})}
    return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60)


def _read(address: str, hint: str) -> str:
    try:
        with _open(address) as response:
            return str(response.read().decode("utf-8"))
    except (OSError, UnicodeDecodeError, http.client.HTTPException) as error:
        raise ReadError(f"{address} cannot be had ({error}). {hint}") from None


def _hint(dataset: PublicDataset) -> str:
    return f"Or get {dataset.name} from {dataset.url} and pass --root"


class _bar:
    """A progress bar on stderr; a context manager that gives `(more, total)`."""

    def __init__(self, title: str, total: int = 0) -> None:
        from rich.console import Console
        from rich.progress import Progress

        self.progress = Progress(console=Console(stderr=True), transient=True)
        self.task = self.progress.add_task(title, total=total or None)

    def __enter__(self) -> Callable[[int, int], None]:
        self.progress.start()

        def advance(more: int, total: int) -> None:
            if total:
                self.progress.update(self.task, total=total)
            self.progress.advance(self.task, more)

        return advance

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
