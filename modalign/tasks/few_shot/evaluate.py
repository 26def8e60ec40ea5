"""Few-shot classification of a manifest's test rows, beside chance, prompts, an untrained encoder and hand features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from modalign.align.embed import Advance
from modalign.align.manifest import Manifest
from modalign.align.model import AlignmentModel
from modalign.errors import RecipeError
from modalign.tasks.evaluate import MODEL
from modalign.tasks.evaluation import Array, Evaluation, Result, Table, chance, protocol_of, score_result
from modalign.tasks.features import ALIGNED, HAND, UNTRAINED, Features, encode_rows, split_rows, unit_features
from modalign.tasks.few_shot.episodes import too_few
from modalign.tasks.few_shot.runs import CHOOSE_ON, Key, Runs, Summary, methods_for, run_episodes
from modalign.tasks.zero_shot import ZeroShotClassifier

SHOTS = (1, 2, 4, 8, 16)


@dataclass
class FewShotEvaluation(Evaluation):
    """An `Evaluation` with all runs behind its figures.

    Attributes:
        runs: all of them.
        prompts: the figure of classification by prompts, with no labelled rows; None without a text tower.
        floor: chance.
    """

    runs: Runs | None = field(default=None, repr=False)
    prompts: Result | None = None
    floor: Result | None = None

    def save(self, folder: Path, extra: Mapping[str, Any] | None = None) -> None:
        """Write `metrics.json`, `predictions.parquet` (the run shown) and `episodes.parquet` (all)."""
        assert self.runs is not None
        super().save(folder, {"few_shot": summary_rows(self.runs), **(extra or {})})
        self.runs.table().to_parquet(folder / "episodes.parquet", index=False)


def summary_rows(runs: Runs) -> list[dict[str, Any]]:
    """The summaries as they stand in JSON."""
    rows = []
    for (features, method, shots), summary in runs.summaries().items():
        parameters = [dict(run.parameters) for run in runs.runs if run.key == summary.key]
        rows.append(
            {
                "features": features,
                "method": method,
                "shots": shots,
                runs.metric: summary.value,
                "ci": summary.interval and list(summary.interval),
                "validation": None if np.isnan(summary.validation) else summary.validation,
                "episodes": list(summary.figures),
                "parameters": parameters,
            }
        )
    return rows


def best_method(summaries: Mapping[Key, Summary], features: str, shots: int) -> str:
    """The method with the best mean figure on validation (never on test) at a number of shots."""
    own = [s for key, s in summaries.items() if key[0] == features and key[2] == shots]
    return max(own, key=lambda s: -1.0 if np.isnan(s.validation) else s.validation).key[1]


def class_texts(
    models: Mapping[str, AlignmentModel | None],
    tower: str,
    labels: Sequence[str],
    text: str,
    templates: Sequence[str] | None,
    descriptions: Mapping[str, Sequence[str]] | None,
) -> dict[str, Array]:
    """Prefix + "aligned" -> (C, dim) unit rows of the labels, for models with a text tower."""
    found = {}
    for prefix, model in models.items():
        if model is not None and text in model.towers:
            classifier = ZeroShotClassifier(model, tower, labels, templates, descriptions, text)
            found[prefix + ALIGNED] = classifier.class_embeddings.double().numpy()
    return found


def few_shot_features(
    model: AlignmentModel,
    manifest: Manifest,
    tower: str,
    kinds: Sequence[str] = (ALIGNED,),
    untrained: AlignmentModel | None = None,
    advance: Advance | None = None,
) -> Features:
    """The labelled rows, each encoded once, as unit rows.

    Raises:
        ManifestError: train or test have no labelled rows of this modality.
    """
    kept = split_rows(
        manifest, tower, ("train", "val", "test"), lambda i: bool(manifest.rows[i].labels), "a label"
    )  # fmt: skip
    return as_unit(encode_rows(model, kept, tower, kinds, untrained, advance))


def as_unit(features: Features) -> Features:
    """The features as unit rows: aligned embeddings are; the others are scaled by the train rows."""
    train = features.split("train")
    scaled = {k: v if k.endswith(ALIGNED) else unit_features(v, train) for k, v in features.values.items()}
    return Features(features.manifest, scaled)


def evaluate_few_shot(
    model: AlignmentModel,
    manifest: Manifest,
    tower: str,
    shots: Sequence[int] = SHOTS,
    episodes: int = 20,
    *,
    methods: Sequence[str] = (),
    kinds: Sequence[str] = (ALIGNED,),
    choose_on: str = "few",
    seed: int = 0,
    templates: Sequence[str] | None = None,
    descriptions: Mapping[str, Sequence[str]] | None = None,
    text: str = "text",
    untrained: AlignmentModel | None = None,
    features: Features | None = None,
    advance: Advance | None = None,
    ran: Advance | None = None,
) -> FewShotEvaluation:
    """Learn from a few train rows a label, choose on validation rows, and measure on the test rows.

    Args:
        model: the model.
        manifest: all rows, with the splits train and test, and val where parameters are to be chosen on it.
        tower: which modality to classify.
        shots: numbers of rows a label.
        episodes: seeded draws.
        methods: names of `list_few_shot()`; all that fit by default.
        kinds: "aligned" embeddings, the "tower"'s pooled features, or both; the first is the evaluation's own.
        choose_on: "few" (as many validation rows a label as shots), "val" (all of them) or "support" (cross-validation
            within the rows learnt from; also where there are no validation rows).
        seed: of the draws.
        templates: prompt templates; they win over what the modality knows of a label.
        descriptions: label -> sentences; they win over templates.
        text: the tower for prompts.
        untrained: the baseline with random encoders, if there is one.
        features: of `few_shot_features`, where the caller has them.
        advance: for a progress bar, called with the rows encoded.
        ran: likewise, called with 1 for each episode done.

    Raises:
        ManifestError: no labelled rows.
        ModelError: no such tower.
        RecipeError: an option that is not known.
    """
    part = model.tower(tower)
    check_options(shots, episodes, choose_on)
    labels = manifest.vocabulary
    features = features or few_shot_features(model, manifest, tower, kinds, untrained, advance)
    rows = features.rows
    several = any(len(row.labels) > 1 for row in rows)
    said = descriptions if descriptions is not None else ({} if templates else manifest.descriptions)
    texts = class_texts({"": model, UNTRAINED: untrained}, tower, labels, text, templates, said)
    wanted = {kind: methods_for(methods, several, kind in texts) for kind in features.values}
    runs = run_episodes(
        features.values, rows, labels, shots, episodes,
        text=texts, methods=wanted, choose_on=choose_on, seed=seed, advance=ran,
    )  # fmt: skip
    test = features.split("test")
    results = [chance(runs.rows, labels, runs.several)]
    prompts = None
    for kind, name in ((UNTRAINED + ALIGNED, "untrained, prompts"), (ALIGNED, "prompts")):
        if kind in features.values and kind in texts:
            cosines = features.values[kind][test] @ texts[kind].T
            prompts = score_result(name, cosines, runs.rows, labels, "no labelled rows", auroc=several)
            results.append(prompts)
    summaries = runs.summaries()
    most, first = max(shots), kinds[0]
    for kind in [HAND, *(UNTRAINED + k for k in kinds), *reversed(list(kinds))]:
        results += _results(runs, summaries, kind, most, kind == first)
    val_rows = [row for row in rows if row.split == "val"]
    evaluation = FewShotEvaluation(
        title=f"Few-shot classification of {part.modality.name}, {most} rows a label, split test",
        protocol=protocol_of(model.record, manifest, "test"),
        metric=runs.metric,
        labels=labels,
        rows=runs.rows,
        results=results,
        notes=_notes(model, manifest, runs, episodes, choose_on if val_rows else "support", most),
        tables=[shots_table(runs, summaries, shots, results[0], prompts, features.values)],
        runs=runs,
        prompts=prompts,
        floor=results[0],
    )
    evaluation.measure_all()
    return evaluation


def check_options(shots: Sequence[int], episodes: int, choose_on: str) -> None:
    """Refuse what makes no sense.

    Raises:
        RecipeError: names it.
    """
    if not shots or min(shots) < 1:
        raise RecipeError(f"shots {','.join(map(str, shots))!r}: give whole numbers from 1, such as 1,2,4,8,16")
    if episodes < 1:
        raise RecipeError(f"{episodes} episodes: give 1 or more")
    if choose_on not in CHOOSE_ON:
        raise RecipeError(f"parameters cannot be chosen on {choose_on!r}; choose on one of: {', '.join(CHOOSE_ON)}")


def _results(runs: Runs, summaries: Mapping[Key, Summary], kind: str, shots: int, main: bool) -> list[Result]:
    """The methods on these features at the most shots: all of the main features', else the best on validation."""
    if not any(key[0] == kind for key in summaries):
        return []
    best = best_method(summaries, kind, shots)
    names = [key[1] for key in summaries if key[0] == kind and key[2] == shots and key[1] != best] if main else []
    found = []
    for name in [*names, best]:
        summary = summaries[kind, name, shots]
        scores = runs.middle(summary.key).scores if main and name == best else None
        said = f"{kind} features" + (", best on validation" if name == best else "")
        title = MODEL if main and name == best else kind
        found.append(Result(f"{title}: {name}", summary.value, summary.interval, scores, said))
    return found


def shots_table(
    runs: Runs,
    summaries: Mapping[Key, Summary],
    shots: Sequence[int],
    floor: Result,
    prompts: Result | None,
    kinds: Sequence[str] | Mapping[str, Any],
) -> Table:
    """Features and method against shots."""
    rows: list[list[str | float]] = [["", "chance", *[f"{floor.value:.3f}"] * len(shots)]]
    if prompts is not None:
        rows.append(["aligned", "prompts, no labelled rows", *[f"{prompts.value:.3f}"] * len(shots)])
    for kind in kinds:
        baseline = kind == HAND or kind.startswith(UNTRAINED)
        for method in dict.fromkeys(key[1] for key in summaries if key[0] == kind and not baseline):
            cells = [_cell(summaries[kind, method, k]) if (kind, method, k) in summaries else "" for k in shots]
            rows.append([kind, method, *cells])
        chosen = [best_method(summaries, kind, k) for k in shots]
        cells = [_cell(summaries[kind, method, k]) for method, k in zip(chosen, shots)]
        rows.append([kind, "the best on validation", *cells])
    return Table(
        f"{runs.metric} by labelled rows a class",
        ["features", "method", *(f"k = {k}" for k in shots)],
        rows,
        "Mean over episodes ± half its 95 % interval: of the draw of labelled rows alone, the test rows being fixed.",
    )


def _cell(summary: Summary) -> str:
    if summary.interval is None:
        return f"{summary.value:.3f}"
    return f"{summary.value:.3f} ± {(summary.interval[1] - summary.interval[0]) / 2:.3f}"


def _notes(
    model: AlignmentModel, manifest: Manifest, runs: Runs, episodes: int, choose_on: str, most: int
) -> list[str]:
    train = [row for row in manifest.split("train").rows if row.labels]
    labels = {label for row in train for label in row.labels}
    notes = [
        f"{episodes} episodes; labelled rows from train, parameters by {CHOOSE_ON[choose_on]}; test rows fixed. "
        "Intervals are over episodes. What is shown of single rows is of the episode nearest to the mean."
    ]
    if labels & set((model.record or {}).get("labels", ())):
        notes.append(
            "The encoder was aligned on captions of these classes: k counts the labels that the classifier saw, not "
            "all that the model saw."
        )
    for label, count in too_few(train, sorted(labels), most).items():
        notes.append(f"{label!r} has {count} train rows, fewer than {most}; all of them are taken.")
    repeated = max((run.repeated for run in runs.runs if run.key[2] == most), default=0)
    if repeated:
        notes.append(
            f"At k = {most} up to {repeated} rows of an episode are of a recording that gave another one: there are "
            "too few recordings for rows that share none."
        )
    never = [label for label in manifest.vocabulary if label not in labels]
    if never:
        notes.append(f"No train row has {', '.join(never)}: never chosen.")
    if manifest.official_split or (model.record or {}).get("official_split"):
        notes.append("The data set's official split: groups may cross it, so this is not subject-independent.")
    return notes
