"""modalign: align audio, motion, ECG, X-ray and CT with text in one embedding space.

The public names are imported when they are first used, so `import modalign` costs little and loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "AlignmentModel": "modalign.align.model",
    "AlignmentTrainer": "modalign.align.trainer",
    "Augmentation": "modalign.modalities.base",
    "Encoder": "modalign.modalities.base",
    "EncoderOutput": "modalign.modalities.base",
    "Explainer": "modalign.tasks.explain",
    "Explanation": "modalign.tasks.explain",
    "FewShotClassifier": "modalign.tasks.few_shot.classifier",
    "FineTuned": "modalign.tasks.finetune.model",
    "FusionClassifier": "modalign.tasks.fusion.estimator",
    "HierarchicalZeroShot": "modalign.tasks.hierarchy",
    "Hierarchy": "modalign.tasks.hierarchy",
    "ManifestError": "modalign.errors",
    "ModalignError": "modalign.errors",
    "Modality": "modalign.modalities.base",
    "ModelError": "modalign.errors",
    "Processing": "modalign.modalities.base",
    "ReadError": "modalign.errors",
    "Recipe": "modalign.align.config",
    "RecipeError": "modalign.errors",
    "Signal": "modalign.modalities.base",
    "ZeroShotClassifier": "modalign.tasks.zero_shot",
    "build_model": "modalign.align.model",
    "check_modality": "modalign.modalities.testing",
    "deletion_insertion": "modalign.tasks.explain",
    "explain_fused": "modalign.tasks.explain",
    "explain_pair": "modalign.tasks.explain",
    "fine_tune": "modalign.tasks.finetune.run",
    "get_modality": "modalign.modalities.registry",
    "list_modalities": "modalign.modalities.registry",
    "load_recipe": "modalign.align.recipe_files",
    "read_manifest": "modalign.align.manifest",
    "register_loss": "modalign.align.losses.registry",
    "register_modality": "modalign.modalities.registry",
    "train": "modalign.tasks.training",
}

__all__ = [*sorted(_HOME), "__version__"]  # noqa: PLE0604 - the names are listed once, above

if TYPE_CHECKING:
    from modalign.align.config import Recipe as Recipe
    from modalign.align.losses.registry import register_loss as register_loss
    from modalign.align.manifest import read_manifest as read_manifest
    from modalign.align.model import AlignmentModel as AlignmentModel
    from modalign.align.model import build_model as build_model
    from modalign.align.recipe_files import load_recipe as load_recipe
    from modalign.align.trainer import AlignmentTrainer as AlignmentTrainer
    from modalign.errors import ManifestError as ManifestError
    from modalign.errors import ModalignError as ModalignError
    from modalign.errors import ModelError as ModelError
    from modalign.errors import ReadError as ReadError
    from modalign.errors import RecipeError as RecipeError
    from modalign.modalities.base import Augmentation as Augmentation
    from modalign.modalities.base import Encoder as Encoder
    from modalign.modalities.base import EncoderOutput as EncoderOutput
    from modalign.modalities.base import Modality as Modality
    from modalign.modalities.base import Processing as Processing
    from modalign.modalities.base import Signal as Signal
    from modalign.modalities.registry import get_modality as get_modality
    from modalign.modalities.registry import list_modalities as list_modalities
    from modalign.modalities.registry import register_modality as register_modality
    from modalign.modalities.testing import check_modality as check_modality
    from modalign.tasks.explain import Explainer as Explainer
    from modalign.tasks.explain import Explanation as Explanation
    from modalign.tasks.explain import deletion_insertion as deletion_insertion
    from modalign.tasks.explain import explain_fused as explain_fused
    from modalign.tasks.explain import explain_pair as explain_pair
    from modalign.tasks.few_shot.classifier import FewShotClassifier as FewShotClassifier
    from modalign.tasks.finetune.model import FineTuned as FineTuned
    from modalign.tasks.finetune.run import fine_tune as fine_tune
    from modalign.tasks.fusion.estimator import FusionClassifier as FusionClassifier
    from modalign.tasks.hierarchy import HierarchicalZeroShot as HierarchicalZeroShot
    from modalign.tasks.hierarchy import Hierarchy as Hierarchy
    from modalign.tasks.training import train as train
    from modalign.tasks.zero_shot import ZeroShotClassifier as ZeroShotClassifier


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'modalign' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return __all__
