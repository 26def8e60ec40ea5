"""IU X-ray (Open-i): 3,955 chest X-ray reports of Indiana University with 7,470 images, frontal and lateral.

Source: Demner-Fushman et al. 2016, doi:10.1093/jamia/ocv080; openi.nlm.nih.gov (NLMCXR). Two layouts: the owners' XML
reports and PNG files, and the two tables indiana_reports.csv and indiana_projections.csv of the copy on Kaggle.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from modalign.datasets.manifest import choice, hashed_split, read_table, seed_of, write_manifest
from modalign.datasets.registry import PublicDataset, register_dataset
from modalign.errors import ReadError

TABLES = ("indiana_reports.csv", "indiana_projections.csv")
VIEWS = {"frontal": "frontal", "lateral": "lateral"}


@dataclass(frozen=True)
class Report:
    """One report: its number, sections, problems, and (image file's name, view or nothing)."""

    uid: str
    findings: str
    impression: str
    problems: tuple[str, ...]
    images: tuple[tuple[str, str], ...]


def clean(text: str) -> str:
    """A section as one line, without the X's that stand for what was taken out.

    Example:
        >>> clean(" The  XXXX lungs are clear. XXXX ")
        'The lungs are clear.'
    """
    return " ".join(re.sub(r"\bX{2,}\b[.,]?", " ", text).split())


def prepare(root: Path, out: Path, *, text: str = "both", views: str = "all", seed: str = "0") -> Path:
    """Write the manifest, a row an image; see the registered options.

    Raises:
        ReadError: neither layout is there, or a report is damaged.
        RecipeError: an option has a value that is not known.
    """
    choice("text", text, ("both", "findings", "impression"))
    choice("views", views, ("all", *VIEWS.values()))
    number = seed_of(seed)
    images = {p.stem: p.relative_to(root).as_posix() for p in root.rglob("*.png")}
    rows: list[dict[str, Any]] = []
    silent = absent = 0
    for report in _reports(root):
        sections = {"both": (report.findings, report.impression), "findings": (report.findings,)}
        said = " ".join(part for part in sections.get(text, (report.impression,)) if part)
        group = f"report-{report.uid}"
        silent += not said
        for name, view in report.images:
            if not said or views not in ("all", view):
                continue
            if Path(name).stem not in images and name not in images:
                absent += 1
                continue
            rows.append(
                {
                    "id": Path(name).stem if name.endswith(".png") else name,
                    "split": hashed_split(group, number),
                    "group": group,
                    "cluster": group,
                    "labels": ";".join(report.problems),
                    "text": said,
                    "xray": images.get(Path(name).stem) or images[name],
                    "xray.view": view,
                }
            )
    about = f"IU X-ray (Demner-Fushman et al. 2016), split by a hash of the report (seed {number}), text: {text}"
    about += f"; left out: {silent} reports without text, {absent} images without a file"
    return write_manifest(rows, out, root, about, "xray")


def _reports(root: Path) -> Iterator[Report]:
    paths = [next(iter(sorted(root.rglob(name))), None) for name in TABLES]
    if paths[0] is not None and paths[1] is not None:
        yield from _from_tables(paths[0], paths[1])
        return
    files = sorted(root.rglob("*.xml"), key=lambda p: (len(p.stem), p.stem))
    if not files:
        raise ReadError(f"{root}: holds neither {' and '.join(TABLES)} nor reports as .xml; give the folder with both")
    for path in files:
        yield _from_xml(path)


def _from_tables(reports: Path, projections: Path) -> Iterator[Report]:
    images: dict[str, list[tuple[str, str]]] = {}
    for record in read_table(projections, ("uid", "filename", "projection")).to_dict("records"):
        view = str(record["projection"]).strip().lower()
        if view not in VIEWS:
            raise ReadError(f"{projections}: {record['filename']}: projection {view!r} is not Frontal or Lateral")
        images.setdefault(str(record["uid"]), []).append((str(record["filename"]), VIEWS[view]))
    for record in read_table(reports, ("uid", "Problems", "findings", "impression")).to_dict("records"):
        uid = str(record["uid"])
        found = _problems(str(record["Problems"]).split(";"))
        sections = (clean(str(record["findings"])), clean(str(record["impression"])))
        yield Report(uid, *sections, found, tuple(images.get(uid, ())))


def _from_xml(path: Path) -> Report:
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ReadError(f"{path}: declares entities, which a report has no need of; get the data set again")
    try:
        tree = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise ReadError(f"{path}: is no XML ({error}); get the data set again") from None
    sections: dict[str, str] = {}
    for part in tree.iter("AbstractText"):
        sections[(part.get("Label") or "").strip().upper()] = clean("".join(part.itertext()))
    found = _problems([part.text or "" for part in tree.iter("major")])
    images = tuple((part.get("id") or "", "") for part in tree.iter("parentImage"))
    return Report(path.stem, sections.get("FINDINGS", ""), sections.get("IMPRESSION", ""), found, images)


def _problems(terms: list[str]) -> tuple[str, ...]:
    """The headings of the terms, without their qualifiers: `Cardiomegaly/mild` is cardiomegaly."""
    heads = [term.split("/")[0].strip().lower() for term in terms]
    return tuple(dict.fromkeys(head for head in heads if head))


register_dataset(
    PublicDataset(
        name="iu-xray",
        about="IU X-ray (Open-i): 7,470 chest X-rays with 3,955 reports in English (Demner-Fushman et al. 2016)",
        prepare=prepare,
        url="https://openi.nlm.nih.gov/faq (NLMCXR_png.tgz and NLMCXR_reports.tgz)",
        options={
            "text": "both (findings and impression, default), findings, or impression",
            "views": "all (default), frontal or lateral; the XML reports do not say which an image is",
            "seed": "of the split (70 train, 10 val, 20 test in a hundred, by report); 0 by default",
        },
    )
)
