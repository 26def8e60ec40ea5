"""Classification from a few labelled items a class. One method a file; importing this registers them all."""

from modalign.tasks.few_shot.base import FewShotEstimator
from modalign.tasks.few_shot.base_to_new import BaseToNewGaussian
from modalign.tasks.few_shot.choice import Choice, choose
from modalign.tasks.few_shot.cross_modal import CrossModalPrototypes
from modalign.tasks.few_shot.gaussian import GaussianDiscriminant
from modalign.tasks.few_shot.logistic import Logistic
from modalign.tasks.few_shot.prototypes import Prototypes
from modalign.tasks.few_shot.registry import list_few_shot, make_few_shot, register_few_shot
from modalign.tasks.few_shot.tip_adapter import TipAdapter

__all__ = [
    "BaseToNewGaussian",
    "Choice",
    "CrossModalPrototypes",
    "FewShotEstimator",
    "GaussianDiscriminant",
    "Logistic",
    "Prototypes",
    "TipAdapter",
    "choose",
    "list_few_shot",
    "make_few_shot",
    "register_few_shot",
]
