"""Downloads from a server on this machine: right and wrong files, broken transfers, and archives that are refused."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from modalign.datasets import download, registry
from modalign.datasets.archives import unpack
from modalign.datasets.public import PublicDataset
from modalign.errors import ReadError
from tests.datasets.web import Site, serve

BODY = bytes(range(256)) * 40


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("MODALIGN_CACHE", str(tmp_path / "cache"))
    with serve() as running:
        yield running


def named(kind: str, content: bytes) -> str:
    return f"{kind}:{hashlib.new(kind, content).hexdigest()}"


def dataset(**parts: Any) -> PublicDataset:
    return PublicDataset("toy", "a toy", lambda root, out: out, "https://example.org/toy", **parts)


def zipped(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_file_is_checked_and_a_second_call_fetches_nothing(kind: str, site: Site) -> None:
    toy = dataset(files={"a.bin": (site.put("a.bin", BODY), named(kind, BODY))})
    folder = download.fetch(toy)
    assert (folder / "a.bin").read_bytes() == BODY
    assert download.fetch(toy) == folder
    assert len(site.asked) == 1


@pytest.mark.parametrize("kind", ["md5", "sha256"])
def test_a_wrong_checksum_leaves_nothing(kind: str, site: Site) -> None:
    toy = dataset(files={"a.bin": (site.put("a.bin", BODY), named(kind, b"other"))})
    with pytest.raises(ReadError, match=rf"{kind.upper()} .* not the published file.*pass --root"):
        download.fetch(toy)
    assert not any(download.cache_folder().rglob("*a.bin*"))


def test_a_transfer_that_breaks_goes_on_where_it_was(site: Site) -> None:
    toy = dataset(files={"a.bin": (site.put("a.bin", BODY), named("sha256", BODY))})
    site.breaks["a.bin"] = 1
    assert (download.fetch(toy) / "a.bin").read_bytes() == BODY
    assert [wanted for _, wanted in site.asked] == ["", f"bytes={len(BODY) // 2}-"]


def test_a_transfer_that_breaks_again_and_again_is_kept_for_the_next_call(site: Site) -> None:
    toy = dataset(files={"a.bin": (site.put("a.bin", BODY), named("sha256", BODY))})
    site.breaks["a.bin"] = download.ATTEMPTS
    with pytest.raises(ReadError, match=r"broke off after [\d,]+ of [\d,]+ bytes.*are kept"):
        download.fetch(toy)
    assert (download.fetch(toy) / "a.bin").read_bytes() == BODY
    assert site.asked[-1][1].startswith("bytes=")


def test_a_server_without_ranges_begins_again(site: Site) -> None:
    toy = dataset(files={"a.bin": (site.put("a.bin", BODY), named("sha256", BODY))})
    site.breaks["a.bin"], site.ranges = 1, False
    assert (download.fetch(toy) / "a.bin").read_bytes() == BODY


def test_a_part_that_is_too_long_is_removed(site: Site) -> None:
    toy = dataset(files={"a.bin": (site.put("a.bin", BODY), named("sha256", BODY))})
    part = download.cache_folder() / "toy" / ".a.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(BODY + b"more")
    with pytest.raises(ReadError, match="not the published file"):
        download.fetch(toy)
    assert (download.fetch(toy) / "a.bin").read_bytes() == BODY


def test_what_cannot_be_reached_says_so(site: Site) -> None:
    toy = dataset(files={"a.bin": (f"{site.address}/none", named("sha256", BODY))})
    with pytest.raises(ReadError, match=r"/none cannot be had \(HTTP Error 404.*pass --root"):
        download.fetch(toy)
    with pytest.raises(ReadError, match=r"no checksum is known.*example\.org/toy and pass --root"):
        download.fetch(dataset())


def test_an_archive_and_the_archive_in_it_are_unpacked_again_when_that_broke_off(site: Site) -> None:
    content = zipped(**{"inner.zip": zipped(**{"data/x.txt": b"1"}), "readme": b"r"})
    toy = dataset(files={"a.zip": (site.put("a.zip", content), named("md5", content))})
    folder = download.fetch(toy)
    assert (folder / "data" / "x.txt").read_bytes() == b"1"
    (folder / "data" / "x.txt").unlink()
    (folder / ".a.zip.done").unlink()
    assert (download.fetch(toy) / "data" / "x.txt").is_file()
    assert len(site.asked) == 1, "the archive itself was right, and was not fetched again"


def test_the_owners_list_of_sums(site: Site) -> None:
    files = {"a/1.dat": b"one", "a/2 b.dat": b"two", "notes.txt": b"-"}
    listed = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items())
    for name, content in files.items():
        site.put(f"set/{name.replace(' ', '%20')}", content)
    sums = site.put("set/SHA256SUMS.txt", listed.encode())
    toy = dataset(sums=sums, needed=lambda name, options: name.startswith(options.get("part", "a")))
    folder = download.fetch(toy)
    assert {p.name for p in folder.rglob("*") if p.is_file() and p.suffix == ".dat"} == {"1.dat", "2 b.dat"}
    assert not (folder / "notes.txt").exists()
    asked = len(site.asked)
    download.fetch(toy)
    assert len(site.asked) == asked + 1, "the list alone is read again"
    assert (download.fetch(toy, {"part": "notes"}) / "notes.txt").is_file()


@pytest.mark.parametrize(
    ("listed", "says"),
    [
        (f"{hashlib.sha256(b'other').hexdigest()}  a.dat\n", "not the published file"),
        (f"{'0' * 64}  ../a.dat\n", "leaves the folder"),
        ("<html>not found</html>\n", "line 1 is not a SHA-256 sum"),
        ("", "lists no file that is needed"),
    ],
)
def test_a_list_that_is_wrong(listed: str, says: str, site: Site, tmp_path: Path) -> None:
    site.put("a.dat", b"one")
    with pytest.raises(ReadError, match=says):
        download.fetch(dataset(sums=site.put("SHA256SUMS.txt", listed.encode())))
    assert not list(tmp_path.rglob("a.dat"))


def hostile(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "zip link":
        with zipfile.ZipFile(stream, "w") as archive:
            member = zipfile.ZipInfo("link")
            member.external_attr = 0o120777 << 16
            archive.writestr(member, "/etc/passwd")
    elif kind.startswith("zip"):
        return zipped(**{"good": b"1", "/abs" if kind == "zip absolute" else "../out": b"2"})
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as tar:
            member = tarfile.TarInfo("../out" if kind == "tar dots" else "link")
            if kind != "tar dots":
                member.type = tarfile.SYMTYPE if kind == "tar link" else tarfile.CHRTYPE
                member.linkname = "/etc"
            tar.addfile(member)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["zip dots", "zip absolute", "zip link", "tar dots", "tar link", "tar device"])
def test_hostile_archives_write_nothing(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "in" / "folder"
    folder.mkdir(parents=True)
    archive = tmp_path / "a"
    archive.write_bytes(hostile(kind))
    with pytest.raises(ReadError, match=r"'(\.\./out|/abs|link)'.*the archive is refused"):
        unpack(archive, folder)
    assert not any(folder.iterdir())
    assert not (tmp_path / "in" / "out").exists()


def test_a_cut_archive_is_an_error_of_ours(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x"), io.BytesIO(b""))
        member = tarfile.TarInfo("y")
        member.size = 100_000
        tar.addfile(member, io.BytesIO(bytes(range(250)) * 400))
    archive.write_bytes(archive.read_bytes()[:120])
    with pytest.raises(ReadError, match=r"a\.tar\.gz: cannot be unpacked"):
        unpack(archive, tmp_path)


def test_every_registered_download_has_a_whole_checksum_and_a_safe_address() -> None:
    lengths = {"md5": 32, "sha256": 64}
    for known in registry.list_datasets():
        assert known.url.startswith("http") or "physionet.org" in known.url, known.name
        assert not known.sums or re.fullmatch(r"https://physionet\.org/files/[\w./-]+/SHA256SUMS\.txt", known.sums)
        for address, checksum in known.files.values():
            kind, _, value = checksum.partition(":")
            assert address.startswith("https://"), address
            assert re.fullmatch(rf"[0-9a-f]{{{lengths[kind]}}}", value), known.name


@pytest.mark.parametrize(
    ("name", "options", "file", "needed"),
    [
        ("ptb-xl", {}, "records100/00000/00001_lr.dat", True),
        ("ptb-xl", {}, "records500/00000/00001_hr.dat", False),
        ("ptb-xl", {"rate": "500"}, "records500/00000/00001_hr.dat", True),
        ("ptb-xl", {"rate": "500"}, "ptbxl_database.csv", True),
        ("ptb-xl", {}, "example_physionet.py", False),
        ("ludb", {}, "data/1.dat", True),
        ("ludb", {}, "data/1.atr_i", False),
        ("cinc2021", {}, "training/georgia/g1/E00001.mat", True),
        ("cinc2021", {}, "evaluate-2021.zip", False),
        ("cpsc2018", {}, "training/cpsc_2018/g1/A0001.hea", True),
        ("cpsc2018", {}, "training/georgia/g1/E00001.mat", False),
        ("medmnist", {"subset": "organmnist3d", "size": "64"}, "organmnist3d_64.npz", True),
        ("medmnist", {"subset": "organmnist3d", "size": "64"}, "organmnist3d.npz", False),
    ],
)
def test_only_what_the_options_need(name: str, options: dict[str, str], file: str, needed: bool) -> None:
    assert registry.get_dataset(name).needed(file, options) is needed


def test_prepare_passes_the_options_and_a_local_copy_comes_first(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    roots: list[Path] = []

    def prepare(root: Path, out: Path, **options: str) -> Path:
        roots.append(root)
        return out

    files = {name: (site.put(name, name.encode()), named("md5", name.encode())) for name in ("a", "b")}
    toy = PublicDataset("toy", "", prepare, "", files=files, needed=lambda n, o: n == o["part"], options={"part": ""})
    monkeypatch.setitem(registry._datasets, "toy", toy)
    registry.prepare("toy", None, tmp_path / "m.csv", {"part": "b"})
    assert {p.name for p in roots[0].iterdir() if not p.name.startswith(".")} == {"b"}
    registry.prepare("toy", tmp_path, tmp_path / "m.csv")
    assert roots[1] == tmp_path
    near = PublicDataset("near", "", prepare, "", local=lambda: tmp_path / "installed")
    monkeypatch.setitem(registry._datasets, "near", near)
    registry.prepare("near", None, tmp_path / "m.csv")
    assert roots[2] == tmp_path / "installed"


def test_an_archive_that_cannot_be_unpacked(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.txt", "hello" * 1000)
    whole, central = stream.getvalue(), stream.getvalue().index(b"PK\x01\x02")
    damaged, encrypted, strange = bytearray(whole), bytearray(whole), bytearray(whole)
    damaged[45] ^= 0xFF
    damaged[46] ^= 0xFF
    encrypted[6] = encrypted[central + 8] = 1
    strange[8] = strange[central + 10] = 99
    for content in (damaged, encrypted, strange, b"no archive"):
        (tmp_path / "a.zip").write_bytes(content)
        with pytest.raises(ReadError, match=r"a\.zip: cannot be unpacked"):
            unpack(tmp_path / "a.zip", tmp_path / "out")
