"""What an evaluation by prompts tells beside its figure: prompts, negations, levels of a tree, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from torch import Tensor

from modalign.align.manifest import Row
from modalign.tasks.ensembles import ENSEMBLES
from modalign.tasks.evaluation import score_of
from modalign.tasks.hierarchy import HierarchicalZeroShot, Hierarchy
from modalign.tasks.negation import negation_table, negation_test
from modalign.tasks.predictions import indicator
from modalign.tasks.prompts import fill
from modalign.tasks.rejection import refused_scores
from modalign.tasks.results import Table
from modalign.tasks.zero_shot import ZeroShotClassifier

Array = NDArray[Any]


def zero_shot_tables(
    classifier: ZeroShotClassifier,
    items: Tensor,
    rows: Sequence[Row],
    several: bool,
    tree: Hierarchy | None = None,
    rule: Literal["children", "path"] = "children",
) -> list[Table]:
    """The tables that apply.

    Args:
        classifier: fitted, where it needs to be.
        items: (N, dim) the rows' embeddings.
        rows: N labelled rows.
        several: whether rows may have several labels.
        tree: groups of the labels, where there are some.
        rule: how groups are scored.
    """
    tables = [prompt_table(classifier, items, rows, several)]
    if several:
        tables.append(negations(classifier, items, rows))
    if tree is not None:
        tables.append(level_table(HierarchicalZeroShot(classifier, tree.keep(classifier.labels), rule), items, rows))
    if classifier.reject_rate is not None:
        tables.append(rejection_table(classifier, items, rows))
    return tables


def variant(classifier: ZeroShotClassifier, **changes: Any) -> ZeroShotClassifier:
    """Another classifier with the same constants as fitted, and other parameters."""
    other: ZeroShotClassifier = clone(classifier).set_params(**{"reject_rate": None, **changes})
    if hasattr(classifier, "mean_"):
        other.mean_ = classifier.mean_
    return other


def prompt_table(classifier: ZeroShotClassifier, items: Tensor, rows: Sequence[Row], several: bool) -> Table:
    """The figure by the default prompts, by the other ensembles, and by one prompt a label: best, worst, spread.

    One prompt a label is the k-th of every label. Where labels have sentences of their own, the modality's templates
    are tried too.
    """
    labels = classifier.labels

    def value(**changes: Any) -> float:
        return score_of(variant(classifier, **changes).decision_function(items), rows, labels, several)

    kind = classifier.model.tower(classifier.modality).modality
    fewest = min(len(sentences) for sentences in classifier.prompts.values())
    templates = list(classifier.templates or kind.templates)
    by_template = all(classifier.prompts[x] == [fill(t, x) for t in templates] for x in labels)
    singles: dict[str, float] = {}
    if not by_template:
        for k in range(fewest):
            one = {label: [sentences[k]] for label, sentences in classifier.prompts.items()}
            singles[f"sentence {k + 1} of each label"] = value(descriptions=one, templates=None)
    for template in dict.fromkeys((*templates, *kind.templates)):
        said = {label: [fill(template, label)] for label in labels}
        singles[f"“{template}”"] = value(descriptions=said, templates=None)
    counts = sorted({len(sentences) for sentences in classifier.prompts.values()})
    count = " to ".join(str(n) for n in dict.fromkeys((counts[0], counts[-1])))
    found: list[list[str | float]] = [["default", value(), f"{count} a label, {classifier.ensemble}"]]
    found += [["default", value(ensemble=name), f"by {name}"] for name in ENSEMBLES if name != classifier.ensemble]
    values = list(singles.values())
    best, worst = (pick(singles, key=lambda name: np.nan_to_num(singles[name])) for pick in (max, min))
    found += [
        ["best alone", singles[best], best],
        ["worst alone", singles[worst], worst],
        ["mean alone", float(np.mean(values)), f"of {len(values)}"],
        ["spread", max(values) - min(values), "best less worst"],
    ]
    note = "Best and worst are those of these very rows: a description of them, and no choice to be made here."
    return Table("Prompts", ["prompts", "macro AUROC" if several else "accuracy", "which"], found, note)


def negations(classifier: ZeroShotClassifier, items: Tensor, rows: Sequence[Row]) -> Table:
    """The negation test of every label."""
    margin = variant(classifier, multi_label="pairs", gamma=0.0).decision_function(items)
    truth = indicator([row.labels for row in rows], classifier.labels)
    return negation_table(negation_test(margin, np.zeros_like(margin), truth, classifier.labels))


def level_table(grouped: HierarchicalZeroShot, items: Tensor, rows: Sequence[Row]) -> Table:
    """Accuracy (or macro AUROC) at each level of a tree, beside chance."""
    several = grouped.classifier.multi_label is not None
    y = [row.labels for row in rows]
    found: list[list[str | float]] = []
    for level in range(1, grouped.tree.depth + 1):
        names = grouped.tree.level(level)
        truth = grouped.truth(y, level)
        guess = 0.5 if several else max(1 / len(names), float(truth.mean(0).max()))
        found.append([str(level), len(names), grouped.score(items, y, level=level), guess])
    note = {
        "children": "A group's score is the sum of its labels' probabilities"
        + (" (with several labels a row, the highest of its labels')." if several else "."),
        "path": "Decided from the top, among siblings by their own prompts.",
    }[grouped.rule]
    columns = ["level", "names", "macro AUROC" if several else "accuracy", "chance"]
    return Table("Levels of the hierarchy", columns, found, note)


def rejection_table(classifier: ZeroShotClassifier, items: Tensor, rows: Sequence[Row]) -> Table:
    """What the threshold of val does to these rows."""
    scores = classifier.decision_function(items)
    columns = ["label", "threshold", "false positives", "true positives"]
    note = f"Set at a false-positive rate of {classifier.reject_rate:g}, on rows that are not these."
    if classifier.multi_label is not None:
        truth = indicator([row.labels for row in rows], classifier.labels)
        over = scores > classifier.threshold_
        found: list[list[str | float]] = []
        for c, label in enumerate(classifier.labels):
            shares = [float(over[truth[:, c] == t, c].mean()) if (truth[:, c] == t).any() else np.nan for t in (0, 1)]
            found.append([label, float(classifier.threshold_[c]), *shares])
        return Table("Thresholds", columns, found, note)
    y = [row.labels[0] for row in rows]
    kept = scores.max(1) > classifier.threshold_
    right = np.array([classifier.labels[k] == own for k, own in zip(scores.argmax(1), y)])
    wrong = refused_scores(scores, y, classifier.labels) > classifier.threshold_
    figures: list[list[str | float]] = [
        ["threshold", float(classifier.threshold_)],
        ["share refused", float(1 - kept.mean())],
        ["accuracy of those kept", float(right[kept].mean()) if kept.any() else np.nan],
        ["accuracy of all", float(right.mean())],
        ["false positives", float(wrong.mean())],
    ]
    note += " False positives: rows that are none of the labels, or else each row with its own label left out."
    return Table(f"Refused as {classifier.reject_label!r}", ["", "value"], figures, note)
