"""Trains and evaluates on the real sets that are present, and writes `docs/results.json` and `docs/results.md`.

    python -m benchmarks.results [--root DIR] [--only NAME ...] [--save DIR] [--models DIR] [--keep-floors] [--json]

`--root` (default: `$MODALIGN_DATA`) holds the data sets' folders. Each set is prepared, trained and evaluated fold by
fold; scores of all folds are put together out of fold before any figure is computed. What is there already for other
sets is kept. `--save` keeps each fold's models, and every few-shot and probe run's scores; `--models` takes models that
were kept in place of training; `--keep-floors` takes the slow MiniRocket floor's figures from the JSON that is there.

JSON: a list of rows with the keys `dataset`, `task`, `protocol`, `metric`, `value`, `ci` (95 %), `floor` (the best
linear model's), `floors` (each by name), `untrained`, `chance`, `n_rows`, `n_groups`, `seconds` (with training),
`command`, `predictions`; `few_shot` (`episodes`, and `results` by `features`, `method`, `shots`) and `probe` (`results`
by `features`, `probe`, `fraction`).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.few_and_probe import Learnt, entries, learn, put_together, save_tables, tables

DOCS = Path(__file__).parents[1] / "docs"
MODEL = "modalign"
ROCKET = "MiniRocket and ridge"


@dataclass(frozen=True)
class Fold:
    """One training: options for `modalign data prepare`, and which of the manifest's folds is the test."""

    options: Mapping[str, str] = field(default_factory=dict)
    test_fold: int | None = None
    folds: int = 0


@dataclass(frozen=True)
class Study:
    """A row of the table."""

    name: str
    dataset: str
    folder: str
    task: str
    protocol: str
    recipe: str
    tower: str
    folds: Sequence[Fold]
    settings: Sequence[str] = ()
    rocket: bool = False
    auroc: bool = False  # for one label a row too: accuracy follows the commoner class
    probes: Sequence[str] = ("linear", "mlp")


DIGITS = (
    "training.epochs=50",
    "towers.audio.processing={rate: 8000, seconds: 1.0, shorter: pad}",
)
"""Settings for clips of a second at 8 kHz."""

GLANDS = (
    "dim=64",
    "towers.ct.options={channels: 1, stages: [16, 32, 64, 96], dropout: 0.2}",
    "towers.ct.processing={range: [0, 255], shape: [32, 32, 32], sizing: resize}",
    "towers.ct.augment=[{name: flip, axis: x}, {name: flip, axis: y}, {name: flip, axis: z}, "
    "{name: affine, degrees: 15, shift: 2}]",
    "training.epochs=12",
    "training.learning_rate=0.002",
    "training.best=loss",
)
"""Settings for binary shapes, chosen on AdrenalMNIST3D's val part."""

LINEAR = ("linear",)
"""Probes on MiniRocket's ten thousand features: an MLP's choice of strength there takes hours."""

STUDIES = (
    Study(
        "esc10", "esc50", "audio_esc10", "10 environmental sounds", "seen classes, 5 official folds", "audio", "audio",
        [Fold({"part": "esc10", "fold": str(k)}) for k in range(1, 6)],
        ["training.epochs=20", "training.evaluate_every=10"],
    ),
    Study(
        "fsdd-official", "fsdd", "audio_fsdd600", "10 spoken digits",
        "seen classes, official takes, not subject-independent", "audio", "audio", [Fold({"rule": "official"})], DIGITS,
    ),
    Study(
        "fsdd-speaker", "fsdd", "audio_fsdd600", "10 spoken digits", "seen classes, unseen people", "audio", "audio",
        [Fold({"rule": "speaker"})], DIGITS,
    ),
    Study(
        "ptb-xl-500", "ptb-xl", "ecg_ptbxl500", "5 superclasses, several a record",
        "seen classes, unseen people, 10 folds by patient", "ecg_small", "ecg",
        [Fold({"task": "super", "text": "none"}, test_fold=k, folds=10) for k in range(1, 11)], rocket=True,
        probes=LINEAR,
    ),
    Study(
        "motionsense", "motionsense", "imu_motionsense", "6 activities, phone in the pocket",
        "seen classes, unseen people", "motion_small", "motion", [Fold({"hop": "2.56"})],
        ["towers.motion.processing={rate: 50, window: 2.56}", "towers.motion.options={samples: 128}"], rocket=True,
        probes=LINEAR,
    ),
    Study(
        "kermany", "kermany", "cxr_kermany3", "normal, bacterial, viral pneumonia",
        "seen classes, official test set", "xray", "xray", [Fold()],
    ),
    Study(
        "mednist", "mednist", "img_mednist6", "6 kinds of image", "seen classes, split by content", "xray", "xray",
        [Fold()], ["training.epochs=6"],
    ),
    Study(
        "adrenalmnist3d", "medmnist", "ct_adrenalmnist3d", "normal or hyperplastic gland",
        "seen classes, official split", "ct", "ct", [Fold({"subset": "adrenalmnist3d"})], [*GLANDS], auroc=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What the command line says."""

    root: Path
    save: Path | None = None
    models: Path | None = None
    keep_floors: bool = False


def run_fold(study: Study, number: int, options: Options, work: Path) -> tuple[Any, Learnt]:
    """Prepare, train and evaluate one fold: by prompts and floors, and from a few labelled rows and by probes."""
    from modalign.align.model import AlignmentModel
    from modalign.align.recipe_files import load_recipe
    from modalign.datasets.registry import prepare
    from modalign.tasks.crossval import with_fold
    from modalign.tasks.evaluate import dataset_of, evaluate_zero_shot, labelled
    from modalign.tasks.evaluation import score_result
    from modalign.tasks.floor import rocket_floor
    from modalign.tasks.training import open_manifest, train

    fold = study.folds[number]
    path = prepare(study.dataset, options.root / study.folder, work / "manifest.csv", fold.options)
    recipe = load_recipe(study.recipe, list(study.settings))
    manifest = open_manifest(recipe, path)
    if fold.test_fold is not None:
        manifest = with_fold(manifest, manifest.table["fold"].astype(int).tolist(), fold.test_fold, fold.folds)
    kept = options.models / study.name / str(number) if options.models else None
    if kept is not None and (kept / "model").is_dir():
        model, folder = AlignmentModel.from_pretrained(kept / "model"), kept
    else:
        folder = work / "run"
        model = train(recipe, manifest, folder, title=f"{study.name} {fold.test_fold or dict(fold.options)}")
    saved = options.save / study.name / str(number) if options.save else folder
    if saved.resolve() != folder.resolve():  # --save and --models may be one folder
        for name in ("model", "untrained"):
            shutil.copytree(folder / name, saved / name, dirs_exist_ok=True)
    untrained = AlignmentModel.from_pretrained(folder / "untrained")
    evaluation = evaluate_zero_shot(model, manifest, study.tower, untrained=untrained)
    if study.rocket and not options.keep_floors:
        test = dataset_of(model, labelled(manifest, "test", study.tower))
        known = dataset_of(model, labelled(manifest, "train", study.tower))
        scores = rocket_floor(known, test, study.tower, evaluation.labels)
        line = score_result(ROCKET, scores, evaluation.rows, evaluation.labels)
        evaluation.results.insert(0, line)
    return evaluation, learn(model, untrained, manifest, study.tower, episodes_of(study), study.probes)


def episodes_of(study: Study) -> int:
    """Draws of few rows: 20, and 10 where several folds have their own each."""
    return 20 if len(study.folds) == 1 else 10


def run_study(study: Study, options: Options, before: Mapping[str, Any]) -> dict[str, Any]:
    """All folds of a study, put together out of fold; `before` is its row as it stands."""
    from modalign.tasks.evaluation import Evaluation, chance, score_result
    from modalign.tasks.predictions import pool

    started = time.perf_counter()
    rows: list[Any] = []
    parts: dict[str, list[Any]] = {}
    learnt = []
    for number in range(len(study.folds)):
        with tempfile.TemporaryDirectory() as work:
            evaluation, runs = run_fold(study, number, options, Path(work))
        learnt.append(runs)
        for result in evaluation.results:
            if result.scores is not None:
                parts.setdefault(result.name, []).append(evaluation.predictions_of(result))
        rows += evaluation.rows
    pooled = {name: pool(said) for name, said in parts.items()}
    labels, metric = pooled[MODEL].labels, pooled[MODEL].metric
    metric = "macro AUROC" if study.auroc else metric
    results = {name: score_result(name, p.scores, rows, labels, auroc=study.auroc) for name, p in pooled.items()}
    whole = Evaluation(study.name, study.protocol, metric, labels, rows, [results[MODEL]])
    predictions = DOCS / "predictions" / f"{study.name}.parquet"
    predictions.parent.mkdir(parents=True, exist_ok=True)
    whole.predictions().to_parquet(predictions, index=False)
    together = put_together(learnt, labels, study.auroc)
    if options.save:
        save_tables(together, options.save / study.name)
    floors = {n: r.value for n, r in results.items() if n not in (MODEL, "untrained")}
    if study.rocket and options.keep_floors:
        floors |= {n: value for n, value in before.get("floors", {}).items() if n == ROCKET}
    main = results[MODEL]
    seconds = round(time.perf_counter() - started)
    return {
        "dataset": study.name,
        "task": study.task,
        "protocol": study.protocol,
        "metric": metric,
        "value": main.value,
        "ci": list(main.interval or ()),
        "floor": max(floors.values(), default=None),
        "floors": floors,
        "untrained": results["untrained"].value,
        "chance": 0.5 if study.auroc else chance(rows, labels).value,
        "n_rows": len(rows),
        "n_groups": len({row.group for row in rows if row.group}),
        "seconds": before.get("seconds", seconds) if options.models else seconds,
        "command": f"python -m benchmarks.results --only {study.name}",
        "predictions": str(predictions.relative_to(DOCS.parent)),
        **entries(together, episodes_of(study)),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Markdown."""
    yield "# Results"
    yield ""
    yield "Written by `python -m benchmarks.results`; every figure is computed from the predictions beside it."
    yield "Small CPU encoders, trained from scratch on each set's own training part beside a frozen all-MiniLM-L6-v2."
    yield "Captions are made from labels wherever a set has none of its own, so these are *label-derived*."
    yield ""
    heads = ("data", "task", "protocol", "metric", "modalign", "95 % interval", "best linear floor", "untrained")
    yield f"| {' | '.join((*heads, 'chance', 'rows', 'groups'))} |"
    yield "|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|"
    for r in rows:
        low, high = r["ci"]
        floor = max(r["floors"], key=r["floors"].get, default="") if r["floors"] else ""
        yield (
            f"| {r['dataset']} | {r['task']} | {r['protocol']} | {r['metric']} | **{r['value']:.3f}** | "
            f"{low:.3f}–{high:.3f} | {r['floor']:.3f} ({floor}) | {r['untrained']:.3f} | {r['chance']:.3f} | "
            f"{r['n_rows']} | {r['n_groups'] or '–'} |"
        )
    yield ""
    for r in rows:
        beaten = "beats" if r["value"] > r["floor"] else "does not beat"
        yield f"- **{r['dataset']}** {beaten} its floor. `{r['command']}` ({r['seconds']} s); `{r['predictions']}`"
    yield from tables(rows)
    notes = DOCS / "results_notes.md"
    if notes.is_file():
        yield ""
        yield notes.read_text().strip()


def main() -> None:
    """Run the studies asked for, and write the two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=os.environ.get("MODALIGN_DATA"))
    parser.add_argument("--only", nargs="*", choices=[s.name for s in STUDIES])
    parser.add_argument("--save", type=Path, help="keep models and all few-shot and probe runs' scores in this folder")
    parser.add_argument("--models", type=Path, help="take the models that this folder has, in place of training")
    parser.add_argument("--keep-floors", action="store_true", help="take MiniRocket's figures from the JSON as it is")
    parser.add_argument("--json", action="store_true", help="print the rows too")
    arguments = parser.parse_args()
    if arguments.root is None:
        parser.error("give --root, or set MODALIGN_DATA")
    options = Options(Path(arguments.root), arguments.save, arguments.models, arguments.keep_floors)
    target = DOCS / "results.json"
    done = {r["dataset"]: r for r in (json.loads(target.read_text()) if target.is_file() else [])}
    for study in STUDIES:
        if not arguments.only or study.name in arguments.only:
            done[study.name] = run_study(study, options, done.get(study.name, {}))
            rows = [done[s.name] for s in STUDIES if s.name in done]
            target.write_text(json.dumps(rows, indent=1) + "\n")
            (DOCS / "results.md").write_text("\n".join(table(rows)) + "\n")
    if arguments.json:
        print(target.read_text())


if __name__ == "__main__":
    main()
