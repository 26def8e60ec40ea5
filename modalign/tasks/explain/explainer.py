"""Explaining a class score, a pair's similarity, and a fused score: windows, target and method brought together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from modalign.align.mode import in_eval
from modalign.align.model import POOLED, AlignmentModel, Tower
from modalign.errors import ModelError
from modalign.modalities.base import Signal
from modalign.tasks.explain.explanation import Explanation, Part
from modalign.tasks.explain.registry import METHODS, Score, Window, choose
from modalign.tasks.explain.targets import Target, class_target, similarity_target, split
from modalign.tasks.zero_shot import ZeroShotClassifier


def explain(tower: Tower, signal: Signal, target: Target, method: str = "auto") -> Explanation:
    """Relevance of one signal for a number of its embedding.

    A recording of several windows is embedded by the mean of their features; each window is then explained with the
    others as they are, and their relevance is put together.

    Args:
        tower: of the model; neither its mode nor its gradients are changed.
        signal: what `Modality.load` returned.
        target: unit embeddings (B, dim) -> (B,).
        method: "attention", "rollout", "gradients", "occlusion"; "auto": the first that the encoder supports, and for
            a recording of several windows, of those that compare windows (gradients, occlusion).

    Raises:
        RecipeError: there is no such method, or the encoder does not have what it needs.
        MissingExtraError: captum is not installed, for gradients and occlusion.
    """
    with in_eval(tower):
        device = tower.projection.mean.device
        batches = [
            {key: value.to(device) for key, value in tower.processing.collate([tower.processing(window)]).items()}
            for window in tower.processing.segments(signal)
        ]
        with torch.no_grad():
            pooled = torch.cat([tower.encoder(**batch).pooled.float() for batch in batches])
            value = float(target.score(tower({POOLED: pooled.mean(0, keepdim=True)}).float())[0])
        windows = [_window(tower, batch, _score_of(tower, target, pooled, k)) for k, batch in enumerate(batches)]
        chosen = choose(method, windows[0], len(windows) > 1)
        relevances = [METHODS[chosen].compute(window) for window in windows]
        restored = tower.processing.restore(relevances, signal)
    parts = [
        Part(w.main[0].detach().cpu(), w.blank[0].cpu(), relevance, w.cells)
        for w, relevance in zip(windows, relevances)
    ]

    def rescore(mains: Sequence[Tensor]) -> float:
        with in_eval(tower), torch.no_grad():
            features = [
                tower.encoder(**{**batch, window.key: main.unsqueeze(0).to(device)}).pooled.float()
                for batch, window, main in zip(batches, windows, mains)
            ]
            mean = torch.cat(features).mean(0, keepdim=True)
            return float(target.score(tower({POOLED: mean}).float())[0])

    return Explanation(
        tower.name, tower.modality, signal, restored, chosen, METHODS[chosen].title, target.name, value, parts, rescore
    )


def _score_of(tower: Tower, target: Target, pooled: Tensor, place: int) -> Score:
    """The target as a function of one window's features, the other windows' as they are."""
    others = (pooled.sum(0) - pooled[place]).detach()

    def score(features: Tensor) -> Tensor:
        return target.score(tower({POOLED: (features + others) / len(pooled)}).float())

    return score


def _window(tower: Tower, batch: Mapping[str, Tensor], score: Score) -> Window:
    key = "values" if "values" in batch else next(k for k, v in batch.items() if v.dtype != torch.bool)
    main = batch[key]
    return Window(
        name=tower.name,
        encoder=tower.encoder,
        inputs=batch,
        key=key,
        blank=tower.processing.blank(main),
        cells=tower.processing.cells(main.shape[1:]),
        spans=tower.modality.token_spans(tower.encoder, batch),
        score=score,
    )


class Explainer:
    """Explain why an item is near a class.

    Args:
        model: an aligned model.
        modality: the tower of the items.
        labels: candidate labels.
        method: "auto", "attention", "rollout", "gradients" or "occlusion".
        target: "score" (the cosine with the class) or "margin" (its lead over the nearest other class).
        templates: prompt templates; None takes the modality's.
        descriptions: label -> sentences; they win over templates.
        text: the tower that encodes prompts.

    Example:
        >>> explainer = Explainer(model, "ecg", ["sinus rhythm", "atrial fibrillation"])    # doctest: +SKIP
        >>> explainer.explain("record.hea", "atrial fibrillation").relevance.shape          # doctest: +SKIP
        torch.Size([12, 5000])

    Raises:
        ModelError: the model has no such tower.
    """

    def __init__(
        self,
        model: AlignmentModel,
        modality: str,
        labels: Sequence[str],
        method: str = "auto",
        target: str = "score",
        templates: Sequence[str] | None = None,
        descriptions: Mapping[str, Sequence[str]] | None = None,
        text: str = "text",
    ) -> None:
        self.classifier = ZeroShotClassifier(model, modality, labels, templates, descriptions, text)
        self.model, self.modality, self.method, self.target = model, modality, method, target

    def explain(self, source: Any, label: str | None = None, **fields: Any) -> Explanation:
        """Relevance for a label's score.

        Args:
            source: a path, an array or a Signal.
            label: which class; None takes the nearest one.
            fields: what a manifest would say of the source (`rate=50`).

        Raises:
            ReadError: the source cannot be read.
            RecipeError: the label is not one of the labels, or the method does not suit the encoder.
        """
        tower = self.model.tower(self.modality)
        signal = read(tower, source, **fields)
        classes, labels = self.classifier.class_embeddings, self.classifier.labels
        if label is None:
            label = self.classifier.predict([signal])[0]
        return explain(tower, signal, class_target(self.target, classes, labels, label), self.method)


def explain_pair(
    model: AlignmentModel, first: tuple[str, Any], second: tuple[str, Any], method: str = "auto"
) -> tuple[Explanation, Explanation]:
    """Both sides of a pair's similarity: each one's relevance, with the other as it is.

    Args:
        model: an aligned model.
        first: a tower's name and a source (a path, an array, a text or a Signal).
        second: likewise.
        method: for each side; "auto" may differ between them.

    Example:
        >>> explain_pair(model, ("audio", "dog.wav"), ("text", "a dog barks"))       # doctest: +SKIP
    """
    sides = [(model.tower(name), read(model.tower(name), source)) for name, source in (first, second)]
    embeddings = [model.embed(tower.name, [signal])[0] for tower, signal in sides]
    names = [signal_name(tower, signal) for tower, signal in sides]
    a, b = (
        explain(tower, signal, similarity_target(embeddings[1 - k], names[1 - k]), method)
        for k, (tower, signal) in enumerate(sides)
    )
    return a, b


def explain_fused(
    model: AlignmentModel, sources: Mapping[str, Any], score: Score, name: str = "fused score", method: str = "auto"
) -> dict[str, Explanation]:
    """One score of several modalities' embeddings, split over them, and traced back through each tower.

    The embeddings are put side by side, in the order of `sources`. Their gradient x value is split at their borders (in
    MoRE at 128 of 256); the sum of each part is that modality's `share`. For a linear head the shares sum to the score,
    less its bias.

    Args:
        model: an aligned model.
        sources: tower -> a path, an array or a Signal.
        score: unit embeddings side by side (B, towers * dim) -> (B,): a linear head on a concatenation, or
            `targets.mean_fusion` for a class of the mean embedding.
        name: of the score.
        method: for each tower.

    Raises:
        ModelError: fewer than two towers.
    """
    if len(sources) < 2:
        raise ModelError(f"explain: a fused score has two towers or more, not {', '.join(sources) or 'none'}")
    signals = {tower: read(model.tower(tower), source) for tower, source in sources.items()}
    parts = {tower: model.embed(tower, [signal]) for tower, signal in signals.items()}
    joined = torch.cat(list(parts.values()), 1).requires_grad_()
    with torch.enable_grad():
        value = score(joined).sum()
        gradient = torch.autograd.grad(value, joined)[0]
    shares = split((gradient * joined).detach(), [part.shape[1] for part in parts.values()])
    found = {}
    for place, (tower, signal) in enumerate(signals.items()):
        own = Target(name, _within(score, list(parts.values()), place))
        explanation = explain(model.tower(tower), signal, own, method)
        found[tower] = replace(explanation, share=float(shares[place].sum()))
    return found


def _within(score: Score, parts: Sequence[Tensor], place: int) -> Score:
    """The fused score as a function of one tower's embedding."""

    def own(embeddings: Tensor) -> Tensor:
        beside = [part.to(embeddings).expand(len(embeddings), -1) for part in parts]
        beside[place] = embeddings
        return score(torch.cat(beside, 1))

    return own


def read(tower: Tower, source: Any, **fields: Any) -> Signal:
    """A Signal as it is, or read by the tower's modality."""
    return source if isinstance(source, Signal) else tower.modality.load(source, **fields)


def signal_name(tower: Tower, signal: Signal) -> str:
    """How a legend names an item: a text by its words, else by its tower."""
    text = signal.meta.get("text")
    if not isinstance(text, str):
        return f"the {tower.name}"
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"
