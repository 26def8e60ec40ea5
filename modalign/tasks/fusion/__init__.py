"""Late fusion of several modalities, some of which may be missing."""

from modalign.tasks.fusion.criterion import Criterion, balanced_weights
from modalign.tasks.fusion.dropout import drop_modalities
from modalign.tasks.fusion.embeddings import Encoded, encode_modalities, fusion_inputs
from modalign.tasks.fusion.estimator import FusionClassifier
from modalign.tasks.fusion.head import FusionHead
from modalign.tasks.fusion.late import LateFusion
from modalign.tasks.fusion.options import FusionOptions, HeadOutput
from modalign.tasks.fusion.registry import HEADS, build_head
from modalign.tasks.fusion.sequential import SequentialFusion
from modalign.tasks.fusion.subsets import modality_table, subsets_of

__all__ = [
    "HEADS",
    "Criterion",
    "Encoded",
    "FusionClassifier",
    "FusionHead",
    "FusionOptions",
    "HeadOutput",
    "LateFusion",
    "SequentialFusion",
    "balanced_weights",
    "build_head",
    "drop_modalities",
    "encode_modalities",
    "fusion_inputs",
    "modality_table",
    "subsets_of",
]
