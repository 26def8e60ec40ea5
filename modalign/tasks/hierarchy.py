"""Labels in groups and groups of groups: scores of a parent from its children, or a path of decisions from the top."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone

from modalign.align.metrics import macro_auroc
from modalign.errors import RecipeError, suggest
from modalign.modalities.base import Modality
from modalign.tasks.zero_shot import ZeroShotClassifier, label_sets_of, single_labels_of

Array = NDArray[Any]
RULES = ("children", "path")


@dataclass(frozen=True)
class Hierarchy:
    """A tree of labels, held as one path a leaf.

    Attributes:
        paths: for each leaf, the names from its topmost group down to the label itself.

    Example:
        >>> tree = Hierarchy.parse({"moving": ["walking", "running"], "sitting": None})
        >>> tree.leaves, tree.level(1)
        (['walking', 'running', 'sitting'], ['moving', 'sitting'])
    """

    paths: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, tree: Any, where: str = "hierarchy") -> Self:
        """From a list of labels, or group -> labels or groups (None: the group is itself a label).

        Raises:
            RecipeError: it is no such tree, or a name stands twice where names must differ.
        """
        paths = tuple(_paths(tree, (), where))
        made = cls(paths)
        if not paths:
            raise RecipeError(f"{where}: has no labels")
        for level in range(1, made.depth + 1):
            names = made.leaves if level == made.depth else made.level(level)
            doubled = next((name for name in names if names.count(name) > 1), None)
            if doubled is not None:
                raise RecipeError(f"{where}: {doubled!r} stands twice at level {level}")
        return made

    @property
    def leaves(self) -> list[str]:
        """The labels themselves."""
        return [path[-1] for path in self.paths]

    @property
    def depth(self) -> int:
        """The number of levels; level 1 is the coarsest."""
        return max(len(path) for path in self.paths)

    def level(self, level: int) -> list[str]:
        """The names at a level; a leaf above it stays as it is."""
        return [node[0] for node in dict.fromkeys(_nodes(self.paths, level))]

    def members(self, level: int) -> Array:
        """(L, C) of booleans: which leaves are under each name of a level."""
        nodes = list(_nodes(self.paths, level))
        return np.array([[node == own for node in nodes] for own in dict.fromkeys(nodes)])

    def keep(self, labels: Sequence[str]) -> Hierarchy:
        """The tree with these leaves alone.

        Raises:
            RecipeError: a label is no leaf.
        """
        strange = next((label for label in labels if label not in self.leaves), None)
        if strange is not None:
            raise RecipeError(f"the hierarchy has no label {strange!r}; {suggest(strange, self.leaves)}")
        return Hierarchy(tuple(path for path in self.paths if path[-1] in labels))

    def decisions(self) -> dict[tuple[str, ...], list[str]]:
        """Path of a group -> the names among which is decided there; () is the top."""
        found: dict[tuple[str, ...], list[str]] = {}
        for path in self.paths:
            for k, name in enumerate(path):
                siblings = found.setdefault(path[:k], [])
                if name not in siblings:
                    siblings.append(name)
        return found


def _nodes(paths: Sequence[tuple[str, ...]], level: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each leaf, the name and the whole path of its node at a level."""
    for path in paths:
        own = path[:level]
        yield own[-1], own


def _paths(tree: Any, above: tuple[str, ...], where: str) -> Iterator[tuple[str, ...]]:
    if tree is None and above:
        yield above
    elif isinstance(tree, Mapping):
        for name, below in tree.items():
            yield from _paths(below, (*above, str(name)), where)
    elif isinstance(tree, (list, tuple)) and tree and all(isinstance(name, str) and name.strip() for name in tree):
        yield from ((*above, name) for name in tree)
    else:
        at = " > ".join(above) or "the top"
        raise RecipeError(f"{where}: at {at}: write a list of labels, or groups with lists; given: {tree!r}")


def read_hierarchy(path: str | Path) -> Hierarchy:
    """Read a YAML file of group -> labels, or group -> groups.

    Raises:
        RecipeError: it is not that.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())[:200]})") from None
    return Hierarchy.parse(tree, str(path))


def label_set(modality: Modality, name: str) -> Hierarchy:
    """One of a modality's label sets, as a tree (of one level where it has no groups).

    Raises:
        RecipeError: there is none of that name.
    """
    if name not in modality.label_sets:
        raise RecipeError(f"{modality.name} has no label set {name!r}; {suggest(name, modality.label_sets)}")
    return Hierarchy.parse(modality.label_sets[name].tree, name)


class HierarchicalZeroShot(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Zero-shot classification at every level of a tree of labels.

    Args:
        classifier: whose labels are the tree's leaves, in any order; its options hold for the groups' prompts too.
        tree: the labels in groups.
        rule: "children": a group's probability is the sum of its leaves' (with several labels an item, its score is
            its highest leaf's). "path": groups have prompts of their own; from the top, each step decides among
            siblings, and a label's probability is the product along its path.

    Example:
        >>> tree = Hierarchy.parse({"moving": ["walking", "running"], "still": ["sitting", "lying"]})
        >>> flat = ZeroShotClassifier(model, "motion", tree.leaves)                       # doctest: +SKIP
        >>> HierarchicalZeroShot(flat, tree).predict(["walk.csv"], level=1)               # doctest: +SKIP
        ['moving']

    Raises:
        RecipeError: the labels are not the tree's leaves, or the rule is not known or does not fit.
    """

    def __init__(
        self, classifier: ZeroShotClassifier, tree: Hierarchy, rule: Literal["children", "path"] = "children"
    ) -> None:
        self.classifier, self.tree, self.rule = classifier, tree, rule
        if rule not in RULES:
            raise RecipeError(f"no rule {rule!r}; {suggest(str(rule), RULES)}")
        odd = sorted(set(classifier.labels) ^ set(tree.leaves))
        if odd:
            raise RecipeError(f"{odd[0]!r} is not both a label of the classifier and a leaf of the tree")
        if rule == "path" and classifier.multi_label == "cosine":
            raise RecipeError(
                'rule "path" multiplies probabilities, and raw cosines are none; use "pairs" or "children"'
            )

    def fit(self, X: Any = None, y: Any = None, **fields: Any) -> Self:
        """Fit the classifier within."""
        self.classifier.fit(X, y, **fields)
        return self

    def level_scores(self, X: Any, level: int, **fields: Any) -> Array:
        """(N, L) scores of the names of a level: probabilities, or with "cosine" the highest leaf's cosine."""
        items = self.classifier.embed(X, **fields)
        members = self.tree.members(level)
        if self.rule == "path":
            chosen = members.argmax(1)  # any leaf of the group: the product ends at the group's level
            return self._path_probabilities(items, level)[:, chosen]
        order = [self.classifier.labels.index(leaf) for leaf in self.tree.leaves]
        if self.classifier.multi_label == "cosine":
            scores = self.classifier.decision_function(items)[:, order]
        else:
            scores = self.classifier.predict_proba(items)[:, order]
        if self.classifier.multi_label is None:
            return np.asarray(scores @ members.T.astype(scores.dtype))
        return np.stack([scores[:, own].max(1) for own in members], axis=1)

    def _node_probabilities(self, items: Any) -> dict[tuple[str, ...], Array]:
        """Path of a node -> (N,) its probability among its siblings, or against its absence."""
        names = list(dict.fromkeys(name for path in self.tree.paths for name in path))
        every = clone(self.classifier).set_params(labels=names, reject_rate=None)
        if every.gamma:  # a group is as seen as all of its labels are
            known = set(self.classifier.seen_labels())
            leaves = {name: [p[-1] for p in self.tree.paths if name in p] for name in names}
            every.set_params(seen=[name for name in names if known.issuperset(leaves[name])])
        if hasattr(self.classifier, "mean_"):
            every.mean_ = self.classifier.mean_
        logits = torch.tensor(every.decision_function(items) * every.probability_scale())
        found: dict[tuple[str, ...], Array] = {}
        for above, siblings in self.tree.decisions().items():
            own = logits[:, [names.index(name) for name in siblings]]
            p = own.softmax(-1) if self.classifier.multi_label is None else own.sigmoid()
            found |= {(*above, name): p[:, k].numpy() for k, name in enumerate(siblings)}
        return found

    def _path_probabilities(self, items: Any, level: int) -> Array:
        each = self._node_probabilities(items)
        products = [
            np.prod([each[path[: k + 1]] for k in range(min(level, len(path)))], axis=0) for path in self.tree.paths
        ]
        return np.stack(products, axis=1)

    def predict(self, X: Any, level: int | None = None, **fields: Any) -> list[str]:
        """The name at a level (None: the label itself) of each item that has one label.

        By "children" the most probable name of the level; by "path" the end of the decisions from the top, so that
        what is said at one level is within what is said above it.

        Raises:
            RecipeError: the classifier gives several labels an item.
        """
        if self.classifier.multi_label is not None:
            raise RecipeError("several labels an item: use level_scores, or the classifier's own predict")
        level = self.tree.depth if level is None else level
        if self.rule == "children":
            names = self.tree.level(level)
            return [names[k] for k in self.level_scores(X, level, **fields).argmax(1)]
        items = self.classifier.embed(X, **fields)
        each, decisions = self._node_probabilities(items), self.tree.decisions()
        said = []
        for i in range(len(items)):
            at: tuple[str, ...] = ()
            while at in decisions and len(at) < level:
                at = max(((*at, name) for name in decisions[at]), key=lambda path: float(each[path][i]))
            said.append(at[-1])
        return said

    def truth(self, y: Any, level: int) -> Array:
        """(N, L) of 0 and 1: which names of a level the items' labels are under."""
        members, leaves = self.tree.members(level), self.tree.leaves
        own = label_sets_of(y, self.classifier.labels)
        leaf = np.array([[label in labels for label in leaves] for labels in own], dtype=bool)
        return (leaf @ members.T).astype(int)

    def score(self, X: Any, y: Any, sample_weight: Any = None, level: int | None = None, **fields: Any) -> float:
        """Accuracy at a level (None: of the labels themselves); macro AUROC with several labels an item."""
        level = self.tree.depth if level is None else level
        if self.classifier.multi_label is not None:
            return macro_auroc(self.truth(y, level), self.level_scores(X, level, **fields))[0]
        names = self.tree.level(level)
        truth = self.truth([(label,) for label in single_labels_of(y)], level)
        place = {name: k for k, name in enumerate(names)}
        said = self.predict(X, level, **fields)
        return float(np.average([truth[i, place[name]] for i, name in enumerate(said)], weights=sample_weight))
