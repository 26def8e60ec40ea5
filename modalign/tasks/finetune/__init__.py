"""Fine-tuning: a head for classes or numbers on towers of an aligned model, whole, by LoRA, or the head alone."""

from modalign.tasks.finetune.config import FinetuneConfig, finetune_config
from modalign.tasks.finetune.evaluate import evaluate_finetuned
from modalign.tasks.finetune.model import FineTuned
from modalign.tasks.finetune.regression import RegressionEvaluation, regression_figures
from modalign.tasks.finetune.run import fine_tune
from modalign.tasks.finetune.target import Target
from modalign.tasks.finetune.trainer import FinetuneTrainer

__all__ = [
    "FineTuned",
    "FinetuneConfig",
    "FinetuneTrainer",
    "RegressionEvaluation",
    "Target",
    "evaluate_finetuned",
    "fine_tune",
    "finetune_config",
    "regression_figures",
]
