"""The Hub's side of a model: the card that goes beside the weights, and pushing both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, PyTorchModelHubMixin

from modalign.align.card import HERE, kept_card, model_card
from modalign.align.storage import Saved, weights_hash


class HubModel(PyTorchModelHubMixin):
    """huggingface_hub's mixin with modalign's card. A card is of certain weights: other weights get a new one."""

    _card: tuple[str, str] | None = None
    """The card it was loaded with, and the hash of the weights that the card is of."""
    _saved = ""
    """The hash of the weights that were saved last."""

    def remember_card(self, saved: Saved) -> None:
        """Take the card of a folder that this model was loaded from."""
        self._card = (saved.card, saved.weights) if saved.card is not None else None

    def remember_weights(self, folder: Path) -> None:
        """Take the weights of a folder for those that were saved last."""
        self._saved = weights_hash(folder)

    def generate_model_card(self, *args: Any, repo_id: str = HERE, **options: Any) -> ModelCard:
        """The card that goes beside the weights; called when the model is saved or pushed.

        The card that the model was loaded with is kept, with the figures and words on it, while the weights are the
        same.

        Args:
            args: none; the mixin's signature.
            repo_id: the model's name on the Hub.
            options: `license` of the weights and `datasets`, by the Hub's ids.
        """
        if self._card is not None and self._card[1] == self._saved:
            return kept_card(self._card[0], repo_id=repo_id, **options)
        model: Any = self  # an AlignmentModel
        recordings = [name for name in model.towers if model.tower(name).modality.is_path]
        return model_card(model.saved_config(), model.record, recordings, repo_id=repo_id, **options)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Save to a temporary folder and upload it, as huggingface_hub's mixin does, the card naming `repo_id`.

        Args:
            repo_id: "user/name".
            options: the mixin's: `private`, `token`, `branch`, `commit_message`; `model_card_kwargs={"license": ...}`.
        """
        said = {"repo_id": repo_id, **(options.pop("model_card_kwargs", None) or {})}
        return str(super().push_to_hub(repo_id, model_card_kwargs=said, **options))
