"""Floors: linear models that no alignment should lose to, trained on the train split's labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modalign.align.data import AlignmentDataset
from modalign.align.manifest import Row

Array = NDArray[Any]


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

    One model over the classes where every row has one label, else one against the rest for each label.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    features, tested = hand_features(train, tower), hand_features(test, tower)
    if features is None or tested is None:
        return None

    def make() -> Any:
        return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))

    rows = train.manifest.rows
    if any(len(row.labels) > 1 for row in [*rows, *test.manifest.rows]):
        return one_against_rest(features, indicator(rows, labels), tested, make)
    known = [i for i, row in enumerate(rows) if row.labels[0] in labels]
    truth = [rows[i].labels[0] for i in known]
    if len(set(truth)) < 2:
        return None
    model = make().fit(features[known], truth)
    scores = np.zeros((len(tested), len(labels)))
    scores[:, [list(labels).index(c) for c in model.classes_]] = model.predict_proba(tested)
    return scores


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
