"""The floor: logistic regression on the modality's hand features, trained on the train split."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modalign.align.data import AlignmentDataset

Array = NDArray[Any]


def hand_features(dataset: AlignmentDataset, tower: str, rows: Sequence[int]) -> Array | None:
    """(N, F) hand features of these rows, or None where the modality has none."""
    modality = dataset.modalities[tower]
    features = []
    for i in rows:
        one = modality.summary_features(dataset.signal(i, tower, dataset.options_of(i, tower)[0]))
        if one is None:
            return None
        features.append(one)
    return np.stack(features)


def linear_floor(train: AlignmentDataset, test: AlignmentDataset, tower: str, labels: Sequence[str]) -> Array | None:
    """Scores (N, C) of the test rows by logistic regression; None where there are no hand features or no labels.

    Only single-label rows are used to fit.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    usable = [
        i
        for i, row in enumerate(train.manifest.rows)
        if len(row.labels) == 1 and row.labels[0] in labels and train.options_of(i, tower)
    ]
    truth = [train.manifest.rows[i].labels[0] for i in usable]
    if len(set(truth)) < 2:
        return None
    features = hand_features(train, tower, usable)
    tested = hand_features(test, tower, range(len(test)))
    if features is None or tested is None:
        return None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features, truth)
    scores = np.zeros((len(tested), len(labels)))
    place = [list(labels).index(c) for c in model.classes_]
    scores[:, place] = model.predict_proba(tested)
    return scores
