"""FineTuned: the towers of an aligned model with a head for classes or numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modalign.align.mode import in_eval
from modalign.align.model import POOLED, AlignmentModel, AlignmentOutput, Tower
from modalign.align.storage import CARD, write_checksums
from modalign.align.temperature import Temperature
from modalign.errors import ModelError, RecipeError, suggest
from modalign.modalities.base import Signal
from modalign.modalities.messages import first_problem
from modalign.tasks.finetune.config import FinetuneConfig
from modalign.tasks.finetune.target import Target
from modalign.tasks.fusion.embeddings import Encoded
from modalign.tasks.fusion.options import HeadOutput
from modalign.tasks.fusion.registry import build_head

Array = NDArray[Any]


class TunedOutput(NamedTuple):
    """A batch's output: of the head, and of the towers, for the contrastive term."""

    head: HeadOutput
    aligned: AlignmentOutput


class FineTuned(nn.Module):
    """Towers of an aligned model, and a head that reads one of them or several fused.

    Made by `fine_tune`, or loaded with `FineTuned.load(folder)`. The folder is a model's folder too, so what takes an
    `AlignmentModel` (embedding, search, explanation) takes the fine-tuned towers.

    Args:
        aligned: the towers that take part.
        config: what was asked for, with `start` text or random.
        target: what the outputs mean.

    Example:
        >>> tuned = FineTuned.load("runs/tuned/model")                       # doctest: +SKIP
        >>> tuned.predict(["a.wav", "b.wav"])                                # doctest: +SKIP
        ['dog bark', 'rain']
        >>> fused.predict({"ecg": ["a.hea", None], "xray": ["a.png", "b.png"]})   # doctest: +SKIP
    """

    accepts_loss_kwargs = False
    """Tells transformers' Trainer that the loss is a mean over the batch, so that it divides accumulated gradients."""

    def __init__(self, aligned: AlignmentModel, config: FinetuneConfig, target: Target) -> None:
        super().__init__()
        # Not called `config`: transformers' Trainer writes into a model's `config`.
        self.aligned, self.settings, self.target = aligned, config, target
        widths = [self._width(name) for name in config.modalities]
        moving = config.tune != "head" and config.start == "random"
        self.head = build_head(widths, target.outputs, config.fusion, by_row=moving)

    def _width(self, name: str) -> int:
        return self.aligned.dim if self.settings.features == "aligned" else self.aligned.tower(name).width

    @property
    def temperature(self) -> Temperature:
        """The aligned model's."""
        return self.aligned.temperature

    @property
    def record(self) -> dict[str, Any] | None:
        """What it was trained on."""
        return self.aligned.record

    def train(self, mode: bool = True) -> Self:
        """Training mode, but towers in which nothing is trained stay in eval as a whole."""
        super().train(mode)
        for tower in self.aligned.towers.values():
            if not any(p.requires_grad for p in tower.parameters()):
                tower.eval()
        return self

    def forward(self, inputs: Mapping[str, Mapping[str, Tensor]], rows: Mapping[str, Mapping[str, Tensor]]) -> Any:
        """A batch -> `TunedOutput`.

        Args:
            inputs: tower -> collated inputs; equal items once.
            rows: modality -> `index` (B,), the row of the tower's inputs, and `present` (B,) bool.
        """
        embeddings, pooled = {}, {}
        for name, own in inputs.items():
            tower = self._tower(name)
            pooled[name] = tower.pool(own)
            embeddings[name] = tower.project(pooled[name])
        source = embeddings if self.settings.features == "aligned" else pooled
        features, present = [], []
        for name in self.settings.modalities:
            index = rows[name]["index"]
            present.append(rows[name]["present"])
            nothing = torch.zeros(len(index), self._width(name), device=index.device)
            features.append(source[name][index] if name in source else nothing)
        head = self.head(features, torch.stack(present, 1))
        return TunedOutput(head, AlignmentOutput(embeddings, self.temperature(), self.temperature.bias, pooled))

    def _tower(self, name: str) -> Tower:
        return self.aligned.tower(name)

    @torch.no_grad()
    def logits(self, encoded: Encoded, present: Array | None = None, batch_size: int = 4096) -> Array:
        """What the head says (N, C) of rows that were encoded before; `present` (N, M) in place of what they have."""
        source = encoded.aligned if self.settings.features == "aligned" else encoded.pooled
        features = [source[name] for name in self.settings.modalities]
        given = encoded.present if present is None else torch.from_numpy(present)
        device = self.aligned.device
        with in_eval(self.head):
            parts = [
                self.head([f[s : s + batch_size].to(device) for f in features], given[s : s + batch_size].to(device))
                for s in range(0, len(given), batch_size)
            ]
        rows = [part.logits.float().cpu() for part in parts] or [torch.zeros(0, self.target.outputs)]
        found: Array = torch.cat(rows).numpy()
        return found

    # Files

    def encode(self, X: Any, **fields: Any) -> Encoded:
        """Read and encode sources, in eval mode.

        Args:
            X: sources (paths, arrays, texts, Signals); of several modalities a mapping: modality -> N sources, None
                where one is missing.
            fields: what a manifest would say of the sources (`rate=50`); of several modalities a mapping for each
                (`audio={"rate": 8000}`).

        Raises:
            ReadError: a source cannot be read.
            RecipeError: no such modality, lists of unequal lengths, or an item without any.
        """
        names = self.settings.modalities
        given = dict(X) if isinstance(X, Mapping) else {names[0]: X}
        if not isinstance(X, Mapping) and len(names) > 1:
            raise RecipeError(f"this model takes several modalities; give a mapping of {', '.join(names)} to sources")
        strange = next((name for name in given if name not in names), None)
        if strange is not None:
            raise RecipeError(f"no modality {strange!r} in this head; {suggest(strange, names)}")
        said = fields if isinstance(X, Mapping) else {names[0]: fields}
        counts = {name: len(sources) for name, sources in given.items()}
        if len(set(counts.values())) != 1:
            raise RecipeError(
                f"as many sources of each modality are needed, None where one is missing; given: {counts}"
            )
        n = next(iter(counts.values()))
        present = torch.tensor(
            [[name in given and given[name][i] is not None for name in names] for i in range(n)], dtype=torch.bool
        ).reshape(n, len(names))
        if n and not present.any(1).all():
            raise RecipeError(f"item {int((~present.any(1)).int().argmax())} has none of {', '.join(names)}")
        aligned, pooled = {}, {}
        for m, name in enumerate(names):
            part = self._tower(name)
            kept = present[:, m].nonzero().flatten()
            signals = [self._signal(name, given[name][int(i)], said.get(name, {})) for i in kept]
            pooled[name], aligned[name] = torch.zeros(n, part.width), torch.zeros(n, self.aligned.dim)
            with in_eval(part), torch.no_grad():
                found = part.encode_whole(signals)
                aligned[name][kept] = part({POOLED: found}).float().cpu()
            pooled[name][kept] = found.cpu()
        return Encoded(aligned, pooled, present)

    def _signal(self, name: str, source: Any, fields: Mapping[str, Any]) -> Signal:
        return source if isinstance(source, Signal) else self._tower(name).modality.load(source, **fields)

    def decision_function(self, X: Any, **fields: Any) -> Array:
        """Logits (N, C); for regression standardised numbers (N, 1). X and fields: see `encode`."""
        return self.logits(X if isinstance(X, Encoded) else self.encode(X, **fields))

    def predict_proba(self, X: Any, **fields: Any) -> Array:
        """Softmax of the logits (N, C), or the sigmoid of each for several labels a row; not calibrated.

        Raises:
            RecipeError: the head is for numbers.
        """
        if self.target.kind == "regression":
            raise RecipeError(f"this head says numbers ({self.target.column}), not probabilities; use predict")
        logits = torch.from_numpy(self.decision_function(X, **fields))
        p: Array = (logits.sigmoid() if self.target.kind == "multi" else logits.softmax(1)).numpy()
        return p

    def predict(self, X: Any, **fields: Any) -> Any:
        """The label of each item; a tuple of labels where there may be several; (N,) numbers in the column's units."""
        logits = self.decision_function(X, **fields)
        if self.target.kind == "regression":
            return logits[:, 0].astype(np.float64) * self.target.sd + self.target.mean
        labels = self.target.labels
        if self.target.kind == "single":
            return [labels[i] for i in logits.argmax(1)]
        return [tuple(labels[c] for c in np.flatnonzero(row)) for row in self.target.decided(logits)]

    def score(self, X: Any, y: Sequence[Any], **fields: Any) -> float:
        """Accuracy; of the whole set of labels where there may be several; R2 for regression."""
        predicted = self.predict(X, **fields)
        if self.target.kind == "regression":
            truth = np.asarray(y, dtype=np.float64)
            return float(1 - ((truth - predicted) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
        several = self.target.kind == "multi"
        return float(np.mean([set(p) == set(t) if several else p == t for p, t in zip(predicted, y)]))

    def merge(self) -> Self:
        """Fold every LoRA into its weights, in place; the figures stay the same but for rounding."""
        self.aligned.merge()
        return self

    def trainable_table(self) -> list[tuple[str, int, int]]:
        """(part, parameters, trainable ones)."""
        own = [p.numel() for p in self.head.parameters()]
        trained = [p.numel() for p in self.head.parameters() if p.requires_grad]
        return [*self.aligned.trainable_table(), ("head", sum(own), sum(trained))]

    # A folder

    def save(self, folder: str | Path) -> None:
        """Write a model's folder (see `modalign.align.storage`), with `finetune.json` and `head.safetensors`.

        Nothing else is needed to load it, no pickle is written, and hashes are checked on loading.
        """
        folder = Path(folder)
        self.aligned.save_pretrained(folder)
        about = {"config": self.settings.model_dump(mode="json"), "target": self.target.model_dump(mode="json")}
        (folder / "finetune.json").write_text(json.dumps(about, indent=1))
        state = {name: tensor.detach().contiguous().cpu() for name, tensor in self.head.state_dict().items()}
        save_file(state, folder / "head.safetensors")
        write_checksums(folder)
        card = folder / CARD
        if card.is_file() and _HEADING not in card.read_text(encoding="utf-8"):
            card.write_text(card.read_text(encoding="utf-8").rstrip() + self._card_section(), encoding="utf-8")

    def _card_section(self) -> str:
        target = self.target
        what = f"the number `{target.column}`" if target.kind == "regression" else f"{len(target.labels)} labels"
        read = "', '".join(self.settings.modalities)
        return (
            f"\n\n{_HEADING}\n\nA head for {what} reads '{read}' (tuned: {self.settings.tune}). Its figures hold for "
            "rows like those it was tuned on, and its probabilities are not calibrated.\n\n"
            "```python\nfrom modalign.tasks.finetune import FineTuned\n\ntuned = FineTuned.load('.')  # this folder\n"
            "# tuned.predict([file])\n```\n"
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Load what `save` wrote, in eval mode, on the CPU; a run's folder stands for its `model`.

        Raises:
            ModelError: there is no such folder, or it is damaged; names the file.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file() and (folder / "model" / "config.json").is_file():
            folder = folder / "model"
        aligned = AlignmentModel.from_pretrained(folder)
        if not (folder / "finetune.json").is_file():
            raise ModelError(f"{folder}: a model without a head; make one with modalign finetune")
        try:
            about = json.loads((folder / "finetune.json").read_text())
            config, target = FinetuneConfig(**about["config"]), Target(**about["target"])
            made = cls(aligned, config, target)
            made.head.load_state_dict(load_file(folder / "head.safetensors"))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else " ".join(str(error).split())[:400]
            raise ModelError(f"{folder}: the head cannot be loaded: {problem}") from None
        return made.eval()


_HEADING = "## The fine-tuned head"
