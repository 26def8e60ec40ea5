"""Figures of an evaluation on the card of the model's folder."""

from __future__ import annotations

import re
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard

from modalign.align.card import add_result
from modalign.align.storage import CARD
from modalign.errors import ModelError
from modalign.tasks.evaluation import Evaluation

HUB_METRICS = {"accuracy": "accuracy", "macro AUROC": "roc_auc"}
"""The Hub's names of metrics, where it has one."""


def check_card(folder: str | None) -> Path:
    """The card's file.

    Raises:
        ModelError: the model is not a folder that can be written to, or has no card.
    """
    path = Path(folder or "") / CARD
    if folder is None or not path.is_file():
        raise ModelError(f"{path}: no such file; --card needs a model folder with its card (saving a model writes one)")
    return path


def as_result(evaluation: Evaluation, data: str, split: str) -> EvalResult:
    """The evaluation's own figure as the Hub's `model-index` has it, with interval, baselines and protocol beside it.

    Args:
        evaluation: what was measured.
        data: the manifest's name.
        split: that was evaluated.
    """
    main = evaluation.main
    beside = {r.name: round(r.value, 4) for r in evaluation.results if r is not main}
    low, high = main.interval or (None, None)
    interval = None if low is None or high is None else [round(low, 4), round(high, 4)]
    return EvalResult(
        task_type="feature-extraction",
        task_name="classification by prompts",
        dataset_type=re.sub(r"[^a-z0-9]+", "-", data.lower()).strip("-") or "data",
        dataset_name=data,
        dataset_split=split,
        metric_type=HUB_METRICS.get(evaluation.metric, re.sub(r"[^a-z0-9]+", "_", evaluation.metric.lower())),
        metric_name=evaluation.metric,
        metric_value=round(main.value, 4),
        metric_args={
            "protocol": evaluation.protocol,
            **({"interval": interval} if interval else {}),
            "beside": beside,
            "rows": len(evaluation.rows),
        },
    )


def update_card(path: Path, evaluation: Evaluation, data: str, split: str) -> None:
    """Write an evaluation's figure onto a card, in place of an older one of the same data, split and protocol."""
    card = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True)
    add_result(card, as_result(evaluation, data, split)).save(path)
