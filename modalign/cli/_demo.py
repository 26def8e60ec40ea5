"""The demo's steps. Choices were tuned on subjects 1 to 7 alone; subjects 8 to 10 are the test."""

from __future__ import annotations

import json
import shutil
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from modalign.align.config import Recipe
from modalign.align.data import AlignmentDataset
from modalign.align.embed import embed_split
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel
from modalign.align.recipe_files import load_recipe
from modalign.datasets.shoulder_exercises import write_manifest
from modalign.errors import ModelError
from modalign.tasks.evaluate import baselines, dataset_of, labelled, score, single_prompts
from modalign.tasks.evaluation import Evaluation, Result, protocol_of, score_result
from modalign.tasks.report import Gallery, gallery, write_report
from modalign.tasks.table import print_table
from modalign.tasks.training import open_manifest, train
from modalign.tasks.zero_shot import ZeroShotClassifier

LEFT_OUT = "external rotation"
"""The exercise of the second table, named before any result was seen: its mirror image stays in training."""

MARK = ".modalign-demo"


def run(out: Path, seed: int) -> None:
    """Data, training, two tables, files, and what to try next."""
    console = Console()
    started = time.perf_counter()
    prepare(out)
    words = yaml.safe_load((files("modalign.datasets") / "shoulder_exercises.yaml").read_text(encoding="utf-8"))
    training_words = {label: sets["train"] for label, sets in words.items()}
    unseen_words = {label: sets["unseen"] for label, sets in words.items()}
    console.print("[bold]1. Data[/]: 140 smartwatch recordings of 7 shoulder exercises by 10 people (seglearn, BSD)")
    path = write_manifest(out / "data", training_words)
    (out / "data" / "unseen_words.yaml").write_text(yaml.safe_dump(unseen_words, sort_keys=False))
    recipe = load_recipe("shoulder", [f"seed={seed}"])
    manifest = open_manifest(recipe, path)
    console.print(f"   {len(manifest.rows):,} windows of 2 s in {path}; people 1-6 train, 7 val, 8-10 test")
    console.print("[bold]2. Training[/]: a tsai encoder beside the frozen all-MiniLM-L6-v2")
    clock = time.perf_counter()
    model = train(recipe, manifest, out / "run", console=console)
    train_seconds = time.perf_counter() - clock
    untrained = AlignmentModel.from_pretrained(out / "run" / "untrained")
    console.print("[bold]3. People whom training never saw[/]")
    seen = seen_classes(model, untrained, manifest, training_words, unseen_words)
    print_table(seen)
    console.print(f"[bold]4. An exercise that training never saw[/]: {LEFT_OUT}")
    held_out = held_out_class(recipe, manifest, out / "without", training_words, unseen_words, console)
    print_table(held_out)
    examples = gallery(seen, model.tower("motion").modality, "motion")
    save(out, seen, held_out, train_seconds, recipe, examples)
    console.print(f"Done in {time.perf_counter() - started:.0f} s. Model: {out / 'run' / 'model'}")
    console.print(f"Report: {out / 'report.html'}   Figures: {out / 'metrics.json'}, {out / 'predictions.parquet'}")
    console.print("Try next:")
    next_commands(out, manifest)


def prepare(out: Path) -> None:
    """Make the folder anew; only one that a demo made before is emptied.

    Raises:
        ModelError: it holds something else.
    """
    if out.exists() and any(out.iterdir()) and not (out / MARK).exists():
        raise ModelError(f"{out}: is not empty, and no demo made it; give another --out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARK).touch()


def seen_classes(
    model: AlignmentModel,
    untrained: AlignmentModel,
    manifest: Manifest,
    training_words: dict[str, list[str]],
    unseen_words: dict[str, list[str]],
) -> Evaluation:
    """The first table: the test people, by training's wordings and by others."""
    test = labelled(manifest, "test", "motion")
    labels, rows = manifest.vocabulary, test.rows
    dataset = dataset_of(model, test)
    results = baselines(manifest, dataset, "motion", labels)
    twin = score(untrained, dataset_of(untrained, test), "motion", labels, descriptions=training_words)
    results.insert(1, score_result("untrained", twin, rows, labels, "frozen random encoder, trained projection"))
    results.append(single_wording(model, dataset, {label: unseen_words[label] for label in labels}))
    unseen = score(model, dataset, "motion", labels, descriptions=unseen_words)
    several = min(len(s) for s in unseen_words.values())
    results.append(score_result("modalign, unseen wordings", unseen, rows, labels, f"{several} a class, averaged"))
    classifier = ZeroShotClassifier(model, "motion", labels, descriptions=training_words)
    embedded = embed_split(model, dataset, "motion").embeddings
    own = classifier.decision_function(embedded)
    results.append(score_result("modalign, training's wordings", own, rows, labels, "all of a class, averaged"))
    people = len({row.group for row in rows})
    return Evaluation(
        "Shoulder exercises from a smartwatch, 2 s windows",
        protocol_of(model.record, manifest, "test"),
        "accuracy",
        labels,
        rows,
        results,
        [f"There are {people} test people, so the intervals (bootstrap over recordings) say little of other people."],
        embeddings=embedded,
        classes=classifier.class_embeddings,
        scale=model.temperature().item(),
    )


def single_wording(model: AlignmentModel, dataset: AlignmentDataset, words: dict[str, list[str]]) -> Result:
    """Unseen wordings one at a time: their mean, and the worst and best."""
    singles = single_prompts(model, dataset, "motion", words)
    values = [single.value for single in singles]
    note = f"one a class: worst {min(values):.3f}, best {max(values):.3f}"
    return Result("modalign, single unseen wording", sum(values) / len(values), None, None, note)


def held_out_class(
    recipe: Recipe,
    manifest: Manifest,
    out: Path,
    training_words: dict[str, list[str]],
    unseen_words: dict[str, list[str]],
    console: Console,
) -> Evaluation:
    """The second table: train without one exercise, then ask for all seven; its recall."""
    kept = [i for i, row in enumerate(manifest.rows) if row.split == "test" or LEFT_OUT not in row.labels]
    shorter = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 10})})
    model = train(shorter, manifest.take(kept), out, untrained=False, title=f"without {LEFT_OUT}", console=console)
    test = labelled(manifest, "test", "motion")
    dataset = dataset_of(model, test)
    results = []
    members = [i for i, row in enumerate(test.rows) if LEFT_OUT in row.labels]
    others = [i for i in range(len(test.rows)) if i not in set(members)]
    results.append(Result("chance", 1 / len(test.labels)))
    for name, words in (("its own words", training_words), ("other words", unseen_words)):
        scores = score(model, dataset, "motion", test.labels, descriptions=words)
        for title, index in ((f"recall of {LEFT_OUT}", members), ("recall of the six others", others)):
            subset = [test.rows[i] for i in index]
            result = score_result(f"{title}, {name}", scores[index], subset, test.labels)
            results.append(Result(result.name, result.value, result.interval, None, result.note))
    own = score(model, dataset, "motion", test.labels, descriptions=training_words)
    results.append(score_result("all seven, its own words", own, test.rows, test.labels))
    return Evaluation(
        f"Trained without {LEFT_OUT}: recall among all seven",
        "held-out class (zero-shot), unseen people",
        "accuracy",
        test.labels,
        test.rows,
        results,
        [f"{len(members)} windows of {LEFT_OUT}; 10 epochs. Near 0: what was not seen is never chosen."],
    )


def save(
    out: Path, seen: Evaluation, held_out: Evaluation, train_seconds: float, recipe: Recipe, examples: Gallery
) -> None:
    """`metrics.json`, `predictions.parquet` and `report.html`."""
    named = {result.name: result for result in seen.results}

    def figure(name: str) -> dict[str, Any]:
        result = named[name]
        return {"accuracy": result.value, "ci": result.interval and list(result.interval)}

    metrics = {
        "protocol": seen.protocol,
        "seed": recipe.seed,
        "modalign": figure("modalign, training's wordings"),
        "unseen_wording": figure("modalign, unseen wordings"),
        "unseen_wording_single": figure("modalign, single unseen wording"),
        "untrained": figure("untrained"),
        "linear": figure("linear"),
        "chance": named["chance"].value,
        "train_seconds": train_seconds,
        "held_out": {"label": LEFT_OUT, **{r.name: r.value for r in held_out.results}},
        "counts": seen.counts(),
    }
    (out / "metrics.json").write_text(json.dumps(metrics, indent=1))
    seen.predictions().to_parquet(out / "predictions.parquet", index=False)
    settings = [("recipe", recipe.name), ("seed", str(recipe.seed)), ("training", f"{train_seconds:.0f} s")]
    title, command = "modalign demo: a smartwatch and words", f"modalign demo --seed {recipe.seed}"
    said = recipe.model_dump(mode="json")
    write_report(
        out / "report.html", title, [seen, held_out], settings, command=command, recipe=said, examples=examples
    )


def next_commands(out: Path, manifest: Manifest) -> None:
    """Print two commands that work as they stand."""
    model, data = out / "run" / "model", out / "data"
    test = next(row for row in manifest.rows if row.split == "test")
    name = test.sources["motion"].relative_to(data.resolve())
    labels = ";".join(manifest.labels)
    print(
        f'  modalign zero-shot {model} --modality motion --labels "{labels}" '
        f"--field rate=50 --field unit=g --field gyro_unit=rad/s "
        f'--field "columns=acc_x,acc_y,acc_z,gyro_x,gyro_y,gyro_z" --field end=2 {data / name}'
    )
    print(
        f"  modalign evaluate {model} {data / 'manifest.csv'} --modality motion "
        f"--descriptions {data / 'unseen_words.yaml'} --out {out / 'evaluation'}"
    )
