"""Few-shot and probe figures of the models that `benchmarks.results` trains: folds put together, and two tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

SHOTS = (1, 2, 4, 8, 16)
FRACTIONS = (0.01, 0.1, 1.0)
METHODS = ("gda", "prototypes", "cross-modal", "tip-adapter", "logistic")


@dataclass
class Learnt:
    """The few-shot and the probe runs of one fold, or of all folds put together."""

    few: Any
    probe: Any


def learn(model: Any, untrained: Any, manifest: Any, tower: str, episodes: int, probes: Sequence[str]) -> Learnt:
    """Encode a fold's rows once by both models, and run all methods and probes on them."""
    from modalign.tasks.features import ALIGNED, HAND, KINDS, UNTRAINED, Features, encode_rows, split_rows
    from modalign.tasks.few_shot.evaluate import as_unit, class_texts
    from modalign.tasks.few_shot.runs import run_episodes
    from modalign.tasks.probe.runs import run_probes

    kept = split_rows(
        manifest, tower, ("train", "val", "test"), lambda i: bool(manifest.rows[i].labels), "a label"
    )  # fmt: skip
    features = encode_rows(model, kept, tower, KINDS, untrained)
    labels = manifest.vocabulary
    texts = class_texts({"": model, UNTRAINED: untrained}, tower, labels, "text", None, manifest.descriptions)
    own = {k: v for k, v in features.values.items() if k in (ALIGNED, UNTRAINED + ALIGNED, HAND)}
    few = run_episodes(as_unit(Features(kept, own)).values, kept.rows, labels, SHOTS, episodes, text=texts)
    by_group = not manifest.official_split
    probe = run_probes(features.values, kept.rows, labels, FRACTIONS, probes, by_group=by_group)
    return Learnt(few, probe)


def put_together(folds: Sequence[Learnt], labels: Sequence[str], auroc: bool) -> Learnt:
    """The folds' test rows one after another, each run with the scores that it has on all of them."""
    return Learnt(*(_joined([getattr(f, name) for f in folds], labels, auroc) for name in ("few", "probe")))


def _joined(folds: Sequence[Any], labels: Sequence[str], auroc: bool) -> Any:
    parts: dict[Any, list[Any]] = {}
    for fold in folds:
        for run in fold.runs:
            scores = in_order(run.scores, fold.labels, labels)
            identity = (run.key, getattr(run, "episode", getattr(run, "seed", 0)))
            parts.setdefault(identity, []).append(replace(run, scores=scores))
    runs = []
    for same in parts.values():
        changed: dict[str, Any] = {"scores": np.concatenate([run.scores for run in same])}
        if hasattr(same[0], "validation"):
            known = [run.validation for run in same if run.validation is not None]
            changed["validation"] = float(np.mean(known)) if known else None
        runs.append(replace(same[0], **changed))
    rows = [row for fold in folds for row in fold.rows]
    several = any(fold.several for fold in folds)
    return replace(folds[0], rows=rows, labels=list(labels), several=several, runs=runs, auroc=auroc)


def in_order(scores: Any, given: Sequence[str], labels: Sequence[str]) -> Any:
    """Columns in the order of `labels`; of those not given, the least score of all."""
    places = [list(given).index(label) if label in given else -1 for label in labels]
    known = np.concatenate([scores, np.full((len(scores), 1), scores.min() if scores.size else 0.0)], axis=1)
    return known[:, places]


def entries(learnt: Learnt, episodes: int) -> dict[str, Any]:
    """The keys `few_shot` and `probe` of a row of the JSON file."""
    from modalign.tasks.few_shot.evaluate import best_method

    summaries = learnt.few.summaries()
    kinds = list(dict.fromkeys(key[0] for key in summaries))
    few = [
        {
            "features": kind, "method": method, "shots": k, "value": s.value, "ci": list(s.interval or ()),
            "validation": s.validation, "best_on_validation": method == best_method(summaries, kind, k),
        }
        for kind in kinds for (features, method, k), s in summaries.items() if features == kind
    ]  # fmt: skip
    probe = [
        {
            "features": features,
            "probe": name,
            "fraction": f,
            "value": s.value,
            "ci": list(s.interval),
            "n_train": s.rows,
        }
        for (features, name, f), s in learnt.probe.summaries().items()
    ]
    return {"few_shot": {"episodes": episodes, "results": few}, "probe": {"results": probe}}


def save_tables(learnt: Learnt, folder: Path) -> None:
    """Every run's scores of every test row, from which the figures can be computed again."""
    folder.mkdir(parents=True, exist_ok=True)
    learnt.few.table().to_parquet(folder / "few_shot.parquet", index=False, compression="zstd")
    learnt.probe.table().to_parquet(folder / "probe.parquet", index=False, compression="zstd")


def tables(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Markdown: few-shot by k, and probes by share of the labels."""
    few = [row for row in rows if row.get("few_shot")]
    if few:
        yield from ("", "## Few labelled rows a class", "")
        yield "The encoder was aligned on captions of these classes: k counts the labels that the classifier saw,"
        yield "not all that the model saw. Rows a class come from train, parameters are chosen on k val rows a class,"
        yield "the test rows are those above; mean over seeded episodes, ± half its 95 % interval over episodes."
        yield "*Best on val* names the method that was. Beside them: prompts (no labelled rows), and what was best on"
        yield "val on the untrained encoder's embeddings and on hand features (the linear floor's)."
        yield ""
        heads = ("data", "metric", "k", "best on val", *METHODS, "prompts", "untrained", "hand features", "chance")
        yield f"| {' | '.join(heads)} |"
        yield "|---|---|---:|---|" + "---:|" * (len(heads) - 4)
        for row in few:
            yield from _few_lines(row)
    probed = [row for row in rows if row.get("probe")]
    if probed:
        yield from ("", "## Probes", "")
        yield "Linear (logistic regression) and MLP probes on frozen features; regularisation is chosen by"
        yield "cross-validation within the rows learnt from, by group. 1 and 10 %: means over three nested, stratified"
        yield "subsets of the train rows. *Tower*: pooled, before the projection. *Hand*: the linear floor's features."
        yield ""
        columns = [("tower", "linear"), ("tower", "mlp"), ("aligned", "linear"), ("aligned", "mlp")]
        columns += [("untrained tower", "linear"), ("untrained aligned", "linear"), ("hand", "linear")]
        heads = ("data", "metric", "labels", "rows", *(f"{kind}, {name}" for kind, name in columns), "chance")
        yield f"| {' | '.join(heads)} |"
        yield "|---|---|---:|" + "---:|" * (len(heads) - 3)
        for row in probed:
            yield from _probe_lines(row, columns)


def _few_lines(row: Mapping[str, Any]) -> Iterator[str]:
    results = row["few_shot"]["results"]
    for k in sorted({r["shots"] for r in results}):
        at = {(r["features"], r["method"]): r for r in results if r["shots"] == k}
        best = {r["features"]: r for r in at.values() if r["best_on_validation"]}
        own = best["aligned"]
        half = f" ± {(own['ci'][1] - own['ci'][0]) / 2:.3f}" if own["ci"] else ""
        each = [f"{at['aligned', m]['value']:.3f}" if ("aligned", m) in at else "–" for m in METHODS]
        others = [f"{best[kind]['value']:.3f}" if kind in best else "–" for kind in ("untrained aligned", "hand")]
        yield (
            f"| {row['dataset']} | {row['metric']} | {k} | **{own['value']:.3f}**{half} ({own['method']}) | "
            f"{' | '.join(each)} | {row['value']:.3f} | {' | '.join(others)} | {row['chance']:.3f} |"
        )


def _probe_lines(row: Mapping[str, Any], columns: Sequence[tuple[str, str]]) -> Iterator[str]:
    results = row["probe"]["results"]
    for fraction in sorted({r["fraction"] for r in results}):
        at = {(r["features"], r["probe"]): r for r in results if r["fraction"] == fraction}
        cells = []
        for column in columns:
            one = at.get(column)
            said = "–" if one is None else f"{one['value']:.3f}"
            if column == columns[0] and one is not None:
                said = f"**{said}** ({one['ci'][0]:.3f}–{one['ci'][1]:.3f})"
            cells.append(said)
        n = next(iter(at.values()))["n_train"]
        yield (
            f"| {row['dataset']} | {row['metric']} | {100 * fraction:g} % | {n} | {' | '.join(cells)} | "
            f"{row['chance']:.3f} |"
        )
