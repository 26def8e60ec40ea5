"""FusionClassifier: late fusion of embeddings with missing modalities, in scikit-learn's manner."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from modalign.align.recipe_files import parse_section
from modalign.align.storage import check_checksums, write_checksums
from modalign.errors import ModelError, RecipeError, suggest
from modalign.tasks.fusion.criterion import Criterion, Kind, balanced_weights
from modalign.tasks.fusion.options import FusionOptions
from modalign.tasks.fusion.registry import build_head

Array = NDArray[Any]


class FusionClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify rows by the embeddings of several modalities, any of which may be missing.

    Args:
        how: "concat", "mean", or "sequential" (MultiModN).
        missing: "learned", "zero" or (for the mean) "skip"; see `FusionOptions`.
        modality_dropout: chance that a modality is left out of a row in training.
        dropout: on the joined features.
        state: size of the sequential form's state.
        hidden: width of its encoders.
        penalty: weight of its state change.
        class_weight: None, or "balanced".
        epochs: passes over the rows.
        batch_size: rows an update.
        learning_rate: of AdamW.
        weight_decay: of AdamW.
        classes: labels in the order of the scores' columns.
        seed: of weights, batches and dropout.

    Attributes:
        modalities_: names, in the order in which `fit` got them (the order of the sequence).
        classes_: C labels.
        several_: whether rows may have several labels.
        head_: the fitted head.

    Example:
        >>> X = {"a": np.array([[0., 1.], [1., 0.], [np.nan, np.nan]]), "b": np.array([[1.], [-1.], [1.]])}
        >>> FusionClassifier(epochs=50).fit(X, ["yes", "no", "yes"]).predict(X)
        array(['yes', 'no', 'yes'], dtype='<U3')
    """

    def __init__(
        self,
        how: str = "concat",
        missing: str = "learned",
        modality_dropout: float = 0.0,
        dropout: float = 0.0,
        state: int = 32,
        hidden: int = 64,
        penalty: float = 1.0,
        class_weight: str | None = None,
        epochs: int = 100,
        batch_size: int = 64,
        learning_rate: float = 0.01,
        weight_decay: float = 0.01,
        classes: Sequence[Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.how, self.missing, self.modality_dropout, self.dropout = how, missing, modality_dropout, dropout
        self.state, self.hidden, self.penalty, self.class_weight = state, hidden, penalty, class_weight
        self.epochs, self.batch_size, self.learning_rate = epochs, batch_size, learning_rate
        self.weight_decay, self.classes, self.seed = weight_decay, classes, seed

    def fit(self, X: Mapping[str, Any], y: Any, present: Mapping[str, Any] | None = None) -> Self:
        """Learn from rows.

        Args:
            X: modality -> (N, d); a row of NaN is missing.
            y: N labels; or (N, C) of 0 and 1 where rows may have several.
            present: modality -> N booleans, in place of NaN.

        Raises:
            RecipeError: an option, the shapes, or one class alone.
        """
        options = self._options()
        self.modalities_ = list(X)
        if hasattr(self, "head_"):  # of an earlier fit, on features of other widths maybe
            delattr(self, "head_")
        features, there = self._rows(X, present)
        y = np.asarray(y)
        if len(y) != len(there):
            raise RecipeError(f"{len(y)} labels for {len(there)} rows")
        self.several_ = y.ndim == 2
        truth = self._truth(y)
        kind: Kind = "multi" if self.several_ else "single"
        target = truth.float() if self.several_ else truth.argmax(1)
        criterion = Criterion(kind, balanced_weights(truth, kind) if self.class_weight == "balanced" else None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.head_ = build_head([x.shape[1] for x in features], truth.shape[1], options)
            self.head_.fit_inputs(features, there)
            self._train(features, there, target, criterion)
        self.head_.eval()
        return self

    def _train(self, features: Sequence[Tensor], there: Tensor, target: Tensor, criterion: Criterion) -> None:
        trained = [p for p in self.head_.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=self.learning_rate, weight_decay=self.weight_decay)
        self.head_.train()
        for _ in range(self.epochs):
            for rows in torch.randperm(len(target)).split(self.batch_size):  # type: ignore[no-untyped-call]
                optimiser.zero_grad()
                criterion(self.head_([x[rows] for x in features], there[rows]), target[rows]).backward()
                optimiser.step()

    def _options(self) -> FusionOptions:
        if self.class_weight not in (None, "balanced"):
            raise RecipeError(f"class_weight: {self.class_weight!r} is neither None nor 'balanced'")
        names = ("how", "missing", "modality_dropout", "dropout", "state", "hidden", "penalty")
        return parse_section(FusionOptions, {name: getattr(self, name) for name in names}, "FusionClassifier")

    def _truth(self, y: Array) -> Tensor:
        """(N, C) of 0 and 1; sets `classes_`."""
        if self.several_:
            self.classes_ = np.arange(y.shape[1]) if self.classes is None else np.asarray(self.classes)
            if len(self.classes_) != y.shape[1] or not np.isin(y, (0, 1)).all():
                raise RecipeError(f"y of shape {y.shape} for {len(self.classes_)} classes: give (N, C) of 0 and 1")
            return torch.from_numpy(y.astype(np.int64))
        self.classes_ = np.unique(y) if self.classes is None else np.asarray(self.classes)
        strange = sorted(set(y.tolist()) - set(self.classes_.tolist()))
        if strange:
            raise RecipeError(f"the label {strange[0]!r} is not among classes={self.classes_.tolist()}")
        if len(set(y.tolist())) < 2:
            raise RecipeError(f"the rows have one class, {sorted(set(y.tolist()))}; give rows of two or more")
        return torch.from_numpy((y[:, None] == self.classes_).astype(np.int64))

    def _rows(self, X: Mapping[str, Any], present: Mapping[str, Any] | None) -> tuple[list[Tensor], Tensor]:
        """Features in the order of the modalities, and (N, M) which are there."""
        strange = next((name for name in [*X, *(present or {})] if name not in self.modalities_), None)
        if strange is not None:
            raise RecipeError(f"no modality {strange!r} was learnt; {suggest(strange, self.modalities_)}")
        lacking = next((name for name in self.modalities_ if name not in X), None)
        if lacking is not None:
            raise RecipeError(f"X has no {lacking!r}; give (N, d) of NaN where no row has it")
        arrays = {name: np.asarray(X[name], dtype=np.float32) for name in self.modalities_}
        n = len(next(iter(arrays.values())))
        features, there = [], []
        for m, (name, values) in enumerate(arrays.items()):
            learnt = getattr(self, "head_", None)
            width = learnt.widths[m] if learnt is not None and len(learnt.widths) == len(arrays) else None
            if values.ndim != 2 or len(values) != n or width not in (None, values.shape[1]):
                wanted = f"({n}, {width or 'd'})"
                raise RecipeError(f"X[{name!r}] has the shape {values.shape}; it must be {wanted} as the others are")
            absent = np.isnan(values)
            if present is None:
                if (absent.any(1) & ~absent.all(1)).any():
                    row = int((absent.any(1) & ~absent.all(1)).argmax())
                    raise RecipeError(f"X[{name!r}]: row {row} is NaN in part; a missing row is NaN throughout")
                own = ~absent.all(1)
            else:
                own = np.asarray(present.get(name, np.ones(n)), dtype=bool)
                if own.shape != (n,) or absent[own].any():
                    raise RecipeError(f"present[{name!r}]: give {n} booleans, False wherever the row holds NaN")
            features.append(torch.from_numpy(values))
            there.append(torch.from_numpy(own))
        return features, torch.stack(there, 1)

    @torch.no_grad()
    def decision_function(self, X: Mapping[str, Any], present: Mapping[str, Any] | None = None) -> Array:
        """Logits (N, C), for two classes too. A row may lack every modality."""
        check_is_fitted(self)
        logits: Array = self.head_(*self._rows(X, present)).logits.numpy()
        return logits

    def predict_proba(self, X: Mapping[str, Any], present: Mapping[str, Any] | None = None) -> Array:
        """Softmax of the logits (N, C), or the sigmoid of each for several labels a row; not calibrated."""
        logits = torch.from_numpy(self.decision_function(X, present))
        probabilities: Array = (logits.sigmoid() if self.several_ else logits.softmax(1)).numpy()
        return probabilities

    def predict(self, X: Mapping[str, Any], present: Mapping[str, Any] | None = None) -> Array:
        """The likeliest label of each row; (N, C) of 0 and 1, from p = 0.5 on, where rows may have several."""
        logits = self.decision_function(X, present)
        chosen: Array = (logits >= 0).astype(int) if self.several_ else self.classes_[logits.argmax(1)]
        return chosen

    def score(self, X: Mapping[str, Any], y: Any, sample_weight: Any = None) -> float:
        """Accuracy: of the label, or of the whole set of labels."""
        right = self.predict(X) == np.asarray(y)
        return float(np.average(right.all(1) if right.ndim == 2 else right, weights=sample_weight))

    def save(self, folder: str | Path) -> None:
        """Write `fusion.json`, `head.safetensors` and their hashes.

        Raises:
            RecipeError: the classes are neither words nor numbers.
        """
        check_is_fitted(self)
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        about = {
            "parameters": {k: v for k, v in self.get_params().items() if k != "classes"},
            "modalities": self.modalities_,
            "widths": self.head_.widths,
            "classes": self.classes_.tolist(),
            "several": self.several_,
        }
        try:
            (folder / "fusion.json").write_text(json.dumps(about, indent=1))
        except TypeError as error:
            raise RecipeError(f"classes must be words or numbers to be saved ({error})") from None
        save_file({k: v.contiguous() for k, v in self.head_.state_dict().items()}, folder / "head.safetensors")
        write_checksums(folder)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """What `save` wrote, its hashes checked.

        Raises:
            ModelError: a file is missing or damaged.
        """
        folder = Path(folder)
        check_checksums(folder)
        try:
            about = json.loads((folder / "fusion.json").read_text())
            made = cls(**about["parameters"], classes=about["classes"])
            made.modalities_, made.several_ = about["modalities"], about["several"]
            made.classes_ = np.asarray(about["classes"])
            made.head_ = build_head(about["widths"], len(made.classes_), made._options())
            made.head_.load_state_dict(load_file(folder / "head.safetensors"))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"{folder}: not a saved FusionClassifier, or damaged ({error})") from None
        made.head_.eval()
        return made
