"""Pure metrics, one family a file: tensors and arrays in, figures out."""

from modalign.align.metrics.classification import confusion_matrix, macro_auroc
from modalign.align.metrics.intervals import cluster_bootstrap
from modalign.align.metrics.retrieval import recall_at_k

__all__ = ["cluster_bootstrap", "confusion_matrix", "macro_auroc", "recall_at_k"]
