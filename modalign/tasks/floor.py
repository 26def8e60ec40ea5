"""Floors: linear models that no alignment should lose to, trained on the train split's labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modalign.align.data import AlignmentDataset
from modalign.align.manifest import Row
from modalign.tasks.evaluation import score_of

Array = NDArray[Any]

STRENGTHS = (0.001, 0.01, 0.1, 1.0)
"""scikit-learn's C, from strong to weak regularisation."""
FOLDS = 3


def hand_features(dataset: AlignmentDataset, tower: str) -> Array | None:
    """(N, F) hand features of the rows, or None where the modality has none."""
    modality = dataset.modalities[tower]
    features = []
    for i in range(len(dataset)):
        one = modality.summary_features(dataset.signal(i, tower, dataset.options_of(i, tower)[0]))
        if one is None:
            return None
        features.append(one)
    return np.stack(features)


def processed_values(dataset: AlignmentDataset, tower: str) -> Array:
    """(N, C, T) processed inputs of the rows, about the middle of each; all of one length."""
    processing = dataset.processing[tower]
    values = []
    for i in range(len(dataset)):
        segments = processing.segments(dataset.signal(i, tower, dataset.options_of(i, tower)[0]))
        values.append(processing(segments[len(segments) // 2])["values"])
    return torch.stack(values).numpy()


def indicator(rows: Sequence[Row], labels: Sequence[str]) -> Array:
    """(N, C) of 0 and 1: which labels each row has."""
    return np.array([[label in row.labels for label in labels] for row in rows], dtype=int)


def one_against_rest(train: Array, truth: Array, test: Array, make: Any) -> Array:
    """Scores (N, C): a model for each label that has both positives and negatives; the others' scores stay 0."""
    scores = np.zeros((len(test), truth.shape[1]))
    for c in range(truth.shape[1]):
        if 0 < truth[:, c].sum() < len(truth):
            model = make().fit(train, truth[:, c])
            scores[:, c] = model.decision_function(test)
    return scores


def linear_floor(train: AlignmentDataset, test: AlignmentDataset, tower: str, labels: Sequence[str]) -> Array | None:
    """Logistic regression on hand features: scores (N, C); None where the modality has no hand features.

    One model over the classes where every row has one label, else one against the rest for each label. How strongly it
    is regularised is chosen by cross-validation within the train rows, by group: at one fixed strength a few hundred
    rows of many features make it a straw man.
    """
    features, tested = hand_features(train, tower), hand_features(test, tower)
    if features is None or tested is None:
        return None
    rows = train.manifest.rows
    several = any(len(row.labels) > 1 for row in [*rows, *test.manifest.rows])
    known = [i for i, row in enumerate(rows) if several or row.labels[0] in labels]
    if not several and len({rows[i].labels[0] for i in known}) < 2:
        return None
    features, rows = features[known], [rows[i] for i in known]
    # Where an official split lets groups cross it, the test rows' groups were seen, and held-out rows stand for them.
    by_group = not train.manifest.official_split
    strength = chosen_strength(features, rows, labels, several, by_group)
    return logistic_scores(features, rows, tested, labels, several, strength)


def logistic_scores(
    train: Array, rows: Sequence[Row], test: Array, labels: Sequence[str], several: bool, strength: float
) -> Array:
    """Scores (N, C) of logistic regression of one strength (scikit-learn's C) on standardised features."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def make() -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))

    if several:
        return one_against_rest(train, indicator(rows, labels), test, make)
    model = make().fit(train, [row.labels[0] for row in rows])
    scores = np.zeros((len(test), len(labels)))
    scores[:, [list(labels).index(c) for c in model.classes_]] = model.predict_proba(test)
    return scores


Scorer = Callable[[Array, Sequence[Row], Array, Sequence[str], bool, float], Array]
"""As `logistic_scores`: train features, their rows, test features, labels, several, strength -> (N, C)."""


def held_out_folds(rows: Sequence[Row], by_group: bool = True) -> list[tuple[Array, Array]]:
    """(fitted, held out) positions of `FOLDS` folds by group (or row), or none where there are too few."""
    from sklearn.model_selection import GroupKFold

    groups = [(row.group or row.cluster or row.id) if by_group else row.id for row in rows]
    folds = min(FOLDS, len(set(groups)))
    return list(GroupKFold(folds).split(groups, groups=groups)) if folds > 1 else []


def chosen_strength(
    features: Array,
    rows: Sequence[Row],
    labels: Sequence[str],
    several: bool,
    by_group: bool = True,
    scores_of: Scorer = logistic_scores,
    strengths: Sequence[float] = STRENGTHS,
) -> float:
    """The strength that does best on held-out groups (or rows) of these; 1 where there are too few."""
    folds = held_out_folds(rows, by_group)
    if not folds:
        return 1.0
    figures = {}
    for strength in strengths:
        scores = np.zeros((len(rows), len(labels)))
        for fitted, held in folds:
            part = [rows[i] for i in fitted]
            if not several and len({row.labels[0] for row in part}) < 2:
                return 1.0
            scores[held] = scores_of(features[fitted], part, features[held], labels, several, strength)
        figures[strength] = score_of(scores, rows, labels, several)
    return max(figures, key=lambda strength: (np.nan_to_num(figures[strength]), strength))


def rocket_floor(train: AlignmentDataset, test: AlignmentDataset, tower: str, labels: Sequence[str]) -> Array:
    """MiniRocket features (Dempster et al. 2020, by tsai) with ridge, one against the rest: scores (N, C)."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from tsai.models.MINIROCKET_Pytorch import MiniRocketFeatures, get_minirocket_features

    values, tested = processed_values(train, tower), processed_values(test, tower)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        rocket = MiniRocketFeatures(values.shape[1], values.shape[2], random_state=0)
        rocket.fit(torch.from_numpy(values))
    features, others = (
        np.asarray(get_minirocket_features(v, rocket, chunksize=256, use_cuda=False, to_np=True)).squeeze(-1)
        for v in (values, tested)
    )

    def make() -> Any:
        return make_pipeline(StandardScaler(with_std=False), RidgeClassifierCV(np.logspace(-1, 5, 7)))

    return one_against_rest(features, indicator(train.manifest.rows, labels), others, make)
