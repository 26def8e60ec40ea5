"""Explanations: what an aligned model's score rests on, in the input's own units.

A method is a file of its own and registers itself; the order of the imports is the order in which "auto" tries them.
"""

from modalign.tasks.explain import attention, gradients, occlusion, rollout  # noqa: F401 - each registers itself
from modalign.tasks.explain.explainer import Explainer, explain, explain_fused, explain_pair
from modalign.tasks.explain.explanation import Explanation, draw
from modalign.tasks.explain.faithfulness import Faithfulness, deletion_insertion
from modalign.tasks.explain.registry import METHODS, register_method
from modalign.tasks.explain.targets import Target, class_target, mean_fusion, similarity_target, split

__all__ = [
    "METHODS",
    "Explainer",
    "Explanation",
    "Faithfulness",
    "Target",
    "class_target",
    "deletion_insertion",
    "draw",
    "explain",
    "explain_fused",
    "explain_pair",
    "mean_fusion",
    "register_method",
    "similarity_target",
    "split",
]
