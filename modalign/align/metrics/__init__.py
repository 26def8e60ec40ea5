"""Pure metrics, one family a file: tensors and arrays in, figures out."""

from modalign.align.metrics.areas import class_areas, macro_auroc, weighted_areas
from modalign.align.metrics.calibration import (
    Calibration,
    brier_score,
    expected_calibration_error,
    fit_logistic,
    fit_scale,
    reliability_curve,
)
from modalign.align.metrics.classification import balanced_accuracy, confusion_matrix, count, macro_f1
from modalign.align.metrics.composition import (
    CompositionScores,
    composition_scores,
    temporal_accuracy,
    two_way_bootstrap,
)
from modalign.align.metrics.intervals import cluster_bootstrap, cluster_draws, percentile_interval, units_of
from modalign.align.metrics.retrieval import RetrievalFigures, recall_at_k, retrieval_figures, search_ranks
from modalign.align.metrics.significance import paired_permutation

__all__ = [
    "Calibration",
    "CompositionScores",
    "RetrievalFigures",
    "balanced_accuracy",
    "brier_score",
    "class_areas",
    "cluster_bootstrap",
    "cluster_draws",
    "composition_scores",
    "confusion_matrix",
    "count",
    "expected_calibration_error",
    "fit_logistic",
    "fit_scale",
    "macro_auroc",
    "macro_f1",
    "paired_permutation",
    "percentile_interval",
    "recall_at_k",
    "reliability_curve",
    "retrieval_figures",
    "search_ranks",
    "temporal_accuracy",
    "two_way_bootstrap",
    "units_of",
    "weighted_areas",
]
