"""Manifests: the user's table of paired recordings, read and checked whole before anything heavy starts."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import eq
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from modalign.align.compact import Pool, give_back, records_of, shared_cells
from modalign.align.recordings import name_recordings
from modalign.errors import ManifestError, ReadError, suggest
from modalign.modalities.base import Modality
from modalign.modalities.messages import first_problem

SPLITS = ("train", "val", "test")
ORDINARY = ("id", "split", "group", "cluster", "label", "labels")


class Sidecar(BaseModel):
    """`NAME.meta.yaml` beside a manifest: what holds for all of its rows."""

    model_config = ConfigDict(extra="forbid")
    root: str = ""
    official_split: bool = False
    synthetic: bool = False
    defaults: dict[str, Any] = {}
    descriptions: dict[str, list[str]] = {}
    about: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row, its cells as they stand: tower -> source, and tower -> fields."""

    id: str
    split: str
    group: str
    cluster: str
    labels: tuple[str, ...]
    sources: Mapping[str, Any]
    fields: Mapping[str, Mapping[str, Any]]


@dataclass
class Manifest:
    """The rows of a manifest, checked.

    Attributes:
        path: the file, or "in memory".
        rows: all rows.
        descriptions: label -> sentences, from the sidecar or `--descriptions`.
        official_split: the split is the data set's own, and groups cross it.
        synthetic: the recordings were simulated, and are of nobody.
        table: the table as read, for what else it says (age, sex, device).
        vocabulary: the labels of the whole manifest, sorted; kept when rows are taken from it.
        sha256: of the file, or empty.
        unnamed: rows that are windows of one file without a `cluster`; the file's name stands for it.
    """

    path: str
    rows: list[Row]
    descriptions: dict[str, list[str]] = field(default_factory=dict)
    official_split: bool = False
    table: pd.DataFrame = field(default_factory=pd.DataFrame)
    vocabulary: list[str] = field(default_factory=list)
    sha256: str = ""
    unnamed: int = 0
    synthetic: bool = False

    def split(self, name: str) -> Manifest:
        """The rows of one split ("all" keeps them all).

        Raises:
            ManifestError: it has no rows.
        """
        keep = [i for i, row in enumerate(self.rows) if name in ("all", row.split)]
        if not keep:
            have = sorted({row.split for row in self.rows if row.split})
            raise ManifestError(
                f"{self.path}: no row has split {name!r}; the splits here are: {', '.join(have) or 'none'}"
            )
        return self.take(keep)

    def take(self, indices: Sequence[int]) -> Manifest:
        """The rows at these positions."""
        if len(indices) == len(self.rows) and all(map(eq, indices, range(len(indices)))):
            return replace(self)
        return Manifest(
            self.path,
            [self.rows[i] for i in indices],
            self.descriptions,
            self.official_split,
            self.table.iloc[list(indices)].reset_index(drop=True) if len(self.table) else self.table,
            self.vocabulary,
            self.sha256,
            self.unnamed,
            self.synthetic,
        )

    def only(self, labels: Sequence[str]) -> Manifest:
        """The rows whose labels are all among these, and no others to choose from.

        Raises:
            ManifestError: a label is none of the manifest's.
        """
        for label in labels:
            if label not in self.vocabulary:
                raise ManifestError(f"{self.path}: no row has the label {label!r}; {suggest(label, self.vocabulary)}")
        kept = self.take([i for i, row in enumerate(self.rows) if row.labels and set(row.labels) <= set(labels)])
        kept.vocabulary = sorted(labels)
        return kept

    @property
    def labels(self) -> list[str]:
        """All labels, sorted."""
        return sorted({label for row in self.rows for label in row.labels})

    def has(self, split: str) -> bool:
        """Whether any row has this split."""
        return any(row.split == split for row in self.rows)


def read_manifest(
    path: str | Path,
    towers: Mapping[str, Modality],
    descriptions: Mapping[str, Sequence[str]] | None = None,
    allow_outside: bool = False,
) -> Manifest:
    """Read and check a manifest: CSV, JSON Lines or Parquet, with its optional sidecar `NAME.meta.yaml`.

    Args:
        path: the manifest.
        towers: tower name (its column) -> modality.
        descriptions: label -> sentences, in place of the sidecar's for those labels.
        allow_outside: admit paths that leave the root folder.

    Raises:
        ManifestError: names the file, the row (line of the file), the column and the mend.
    """
    path = Path(path)
    table = _read_table(path)
    sidecar = read_sidecar(path)
    root = (path.parent / sidecar.root).resolve()
    if not root.is_dir():
        raise ManifestError(f"{path.stem}.meta.yaml: root {sidecar.root!r} is not a folder ({root})")
    manifest = parse_table(table, towers, str(path), root, sidecar.defaults, allow_outside)
    manifest.descriptions = {**sidecar.descriptions, **{k: list(v) for k, v in (descriptions or {}).items()}}
    manifest.official_split, manifest.synthetic = sidecar.official_split, sidecar.synthetic
    manifest.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    check_groups(manifest)
    del table
    give_back()
    return manifest


def parse_table(
    table: pd.DataFrame,
    towers: Mapping[str, Modality],
    path: str = "in memory",
    root: Path | None = None,
    defaults: Mapping[str, Any] | None = None,
    allow_outside: bool = False,
) -> Manifest:
    """Turn a table into checked rows; see `read_manifest`."""
    columns = [str(c) for c in table.columns]
    present = [name for name in towers if name in columns]
    _check_columns(columns, towers, path)
    keyed = {name: {c.partition(".")[2]: c for c in columns if c.startswith(f"{name}.")} | {} for name in present}
    constant = _split_defaults(defaults or {}, towers, path)
    seen: dict[str, int] = {}
    rows: list[Row] = []
    pool = Pool()
    header = path.endswith((".csv", ".tsv"))  # it is line 1 of these
    for i, record in enumerate(records_of(table)):
        number = i + 1 + header
        where = f"{path}: row {number}"
        identifier = _text(record.get("id"))
        if not identifier:
            raise ManifestError(f"{where}: id is empty; give every row a unique id")
        if identifier in seen:
            raise ManifestError(f"{where}: id {identifier!r} stands in row {seen[identifier]} too; ids are unique")
        seen[identifier] = number
        split = _text(record.get("split"))
        if split and split not in SPLITS:
            raise ManifestError(f"{where}: split {split!r} is not one of train, val, test")
        sources: dict[str, Any] = {}
        fields: dict[str, Mapping[str, Any]] = {}
        for name in present:
            source = _source(record[name], towers[name], root, where, name, allow_outside)
            if source is None:
                continue
            said = {k: record[c] for k, c in keyed[name].items() if not _empty(record[c])}
            try:
                fields[name] = pool.one(towers[name].parse_fields({**constant.get(name, {}), **said}))
            except ReadError as error:
                raise ManifestError(f"{where}: {error}") from None
            sources[name] = pool.one(source)
        labels = _labels(record)
        if not sources and not labels:
            raise ManifestError(f"{where}: every one of {', '.join(present)} is empty; remove the row")
        group, cluster = (pool.one(_text(record.get(column))) for column in ("group", "cluster"))
        sources, labels = pool.one(sources), pool.one(labels)
        rows.append(Row(identifier, pool.one(split), group, cluster, labels, sources, pool.each(fields)))
    vocabulary = sorted({label for row in rows for label in row.labels})
    unnamed = name_recordings(rows)
    return Manifest(path, rows, table=table, vocabulary=vocabulary, unnamed=unnamed)


def check_groups(manifest: Manifest) -> None:
    """Refuse groups (patients, subjects) and clusters (recordings) in two splits, unless the split is an official one.

    Raises:
        ManifestError: names the group or cluster and the two splits.
    """
    if manifest.official_split:
        return
    first: dict[tuple[str, str], str] = {}
    for row in manifest.rows:
        for kind, name, unit in (("group", row.group, "people"), ("cluster", row.cluster, "recordings")):
            if not name or not row.split or first.setdefault((kind, name), row.split) == row.split:
                continue
            raise ManifestError(
                f"{manifest.path}: {kind} {name!r} is in both {first[kind, name]} and {row.split}, so the test "
                f"would not be of unseen {unit}. Move its rows to one split, or, if the split is the data set's own, "
                f"write 'official_split: true' in {Path(manifest.path).stem}.meta.yaml (reports then say "
                "'not subject-independent')"
                + ("; rows of one file are one recording, unless 'cluster' names others" if manifest.unnamed else "")
            )


def read_descriptions(path: str | Path) -> dict[str, list[str]]:
    """Read a YAML file of label -> list of sentences.

    Raises:
        ManifestError: it is not that.
    """
    path = Path(path)
    try:
        loaded = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ManifestError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(loaded, dict) or not loaded:
        raise ManifestError(f"{path}: must map each label to a list of sentences")
    for label, sentences in loaded.items():
        good = isinstance(sentences, list) and sentences and all(isinstance(s, str) and s.strip() for s in sentences)
        if not good:
            raise ManifestError(f"{path}: {label!r} must have a list of sentences, at least one, none empty")
    return {str(label): list(sentences) for label, sentences in loaded.items()}


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise ManifestError(f"{path}: no such file")
    suffix = path.suffix.lower()
    table: pd.DataFrame
    try:
        if suffix in {".csv", ".tsv"}:
            # Text only: pandas would guess that an id 007 is a number.
            options: dict[str, Any] = {"sep": "," if suffix == ".csv" else "\t", "dtype": str, "keep_default_na": False}
            header = pd.read_csv(path, header=None, nrows=1, **options).iloc[0].tolist()
            _check_doubled(header, path)  # pandas would rename the second one
            table = pd.read_csv(path, **options)
        elif suffix in {".jsonl", ".ndjson"}:
            table = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines() if line.strip()])
        elif suffix in {".parquet", ".pq"}:
            table = pd.read_parquet(path)
        else:
            raise ManifestError(
                f"{path}: a manifest is .csv, .tsv, .jsonl or .parquet, not {suffix or 'without suffix'}"
            )
    except ManifestError:
        raise
    except Exception as error:  # each parser has errors of its own
        raise ManifestError(f"{path}: cannot be read as {suffix}: {' '.join(str(error).split())[:200]}") from None
    if not len(table):
        raise ManifestError(f"{path}: has no rows")
    return shared_cells(table)


def read_sidecar(path: Path) -> Sidecar:
    """What `NAME.meta.yaml` beside a manifest says; the defaults where there is none.

    Raises:
        ManifestError: it is no mapping of known keys.
    """
    sidecar = path.with_name(f"{path.stem}.meta.yaml")
    if not sidecar.is_file():
        return Sidecar()
    try:
        return Sidecar(**(yaml.safe_load(sidecar.read_text()) or {}))
    except ValidationError as error:
        raise ManifestError(
            f"{sidecar}: {first_problem(error)}; known keys: {', '.join(Sidecar.model_fields)}"
        ) from None
    except (yaml.YAMLError, TypeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{sidecar}: not a YAML mapping ({' '.join(str(error).split())[:200]})") from None


def _check_doubled(columns: Sequence[str], path: str | Path) -> None:
    if len(set(columns)) != len(columns):
        doubled = next(c for c in columns if list(columns).count(c) > 1)
        raise ManifestError(f"{path}: the column {doubled!r} stands twice")


def _check_columns(columns: Sequence[str], towers: Mapping[str, Modality], path: str) -> None:
    _check_doubled(columns, path)
    if "id" not in columns:
        raise ManifestError(f"{path}: has no column 'id'; {suggest('id', columns)}")
    if not any(name in columns for name in towers):
        raise ManifestError(f"{path}: has no column for any of {', '.join(towers)}; its columns: {', '.join(columns)}")
    for column in columns:
        tower, dot, key = column.partition(".")
        if dot and tower in towers:
            fields = towers[tower].fields
            known = fields.model_fields if fields else {}
            if key not in known:
                raise ManifestError(
                    f"{path}: column {column!r}: {towers[tower].name} has no field {key!r}; {suggest(key, known)}"
                )


def _split_defaults(
    defaults: Mapping[str, Any], towers: Mapping[str, Modality], path: str
) -> dict[str, dict[str, Any]]:
    constant: dict[str, dict[str, Any]] = {}
    for column, value in defaults.items():
        tower, dot, key = str(column).partition(".")
        if not dot:
            raise ManifestError(f"{Path(path).stem}.meta.yaml: defaults: {column!r} is not <tower>.<key>")
        if tower in towers:
            constant.setdefault(tower, {})[key] = value
    return constant


def _source(value: Any, modality: Modality, root: Path | None, where: str, name: str, allow_outside: bool) -> Any:
    if _empty(value):
        return None
    if not modality.is_path:
        if isinstance(value, str):
            return (value,)
        given = list(value) if isinstance(value, Iterable) else [None]
        texts = [str(v) for v in given if not _empty(v)]
        if not given:  # Parquet's empty list comes as an array
            return None
        if len(texts) < len(given):
            raise ManifestError(f"{where}: {name} must be a text or a list of texts; given: {value!r}")
        return tuple(texts)
    if not isinstance(value, (str, Path)):
        return value  # an in-memory array
    path = Path(value)
    full = path if root is None else root / path
    if root is not None and not allow_outside and not full.resolve().is_relative_to(root):
        raise ManifestError(
            f"{where}: {name} {str(value)!r} leaves the manifest's folder {root}; move the file, set 'root' in the "
            "sidecar, or pass --allow-outside"
        )
    if not full.exists():
        raise ManifestError(f"{where}: {name}: no such file: {full}")
    return full


def _labels(record: Mapping[str, Any]) -> tuple[str, ...]:
    several = record.get("labels")
    if not _empty(several):
        parts = several.split(";") if isinstance(several, str) else [str(v) for v in several]  # type: ignore[union-attr]
        return tuple(dict.fromkeys(p.strip() for p in parts if p.strip()))
    single = _text(record.get("label"))
    return (single,) if single else ()


def _text(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a column of whole numbers with gaps comes as floats
    return "" if _empty(value) else str(value).strip()


def _empty(value: Any) -> bool:
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, str):
        return not value.strip()
    return isinstance(value, (list, tuple)) and not value
