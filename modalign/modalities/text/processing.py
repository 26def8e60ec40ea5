"""Text -> token ids, by the checkpoint's own tokenizer, and a count of the texts that its limit cuts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import Field, PrivateAttr
from torch import Tensor

from modalign.errors import ModelError, RecipeError
from modalign.modalities.base import Processing, Signal


@lru_cache(maxsize=8)
def _tokenizer(source: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise RecipeError(
            f"text.processing.tokenizer: cannot load a tokenizer from {source!r}; give a folder with "
            f"tokenizer.json or a Hub id that this machine can reach ({str(error).splitlines()[0]})"
        ) from error


class TextProcessing(Processing):
    """Tokenise text.

    Attributes:
        tokenizer: a folder or Hub id of a transformers tokenizer; dictated by the encoder.
        max_length: tokens at most, special ones included; longer texts are cut, and `notes` counts them.
        prefix: put before every text (the E5 family wants "query: ").
        suffix: put after it (msclap ends texts for GPT-2 with " <|endoftext|>"); what is cut loses it.
    """

    tokenizer: str
    max_length: int = Field(256, ge=2)
    prefix: str = ""
    suffix: str = ""
    _seen: int = PrivateAttr(0)
    _cut: int = PrivateAttr(0)

    def notes(self) -> list[str]:
        """How many texts were cut at `max_length`, of those tokenised so far in this process."""
        return [f"{self._cut} of {self._seen} texts cut at {self.max_length} tokens"] if self._cut else []

    def cuts(self, signal: Signal) -> bool:
        """Whether the text has more tokens than `max_length`."""
        return len(self._whole(signal)) > self.max_length

    def _framed(self, text: str) -> str:
        return self.prefix + text + self.suffix

    def _whole(self, signal: Signal) -> list[int]:
        text = self._framed(signal.meta["text"])
        ids: list[int] = _tokenizer(self.tokenizer)(text, truncation=False, verbose=False)["input_ids"]
        return ids

    def __call__(self, signal: Signal) -> dict[str, Tensor]:
        """Signal with `meta["text"]` -> `input_ids` (L,), int64."""
        ids = self._whole(signal)
        self._seen += 1
        if len(ids) > self.max_length:
            self._cut += 1
            ids = _tokenizer(self.tokenizer)(
                self._framed(signal.meta["text"]), truncation=True, max_length=self.max_length
            )["input_ids"]
        return {"input_ids": torch.tensor(ids, dtype=torch.int64)}

    def collate(self, items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Pad at the end: `input_ids` and `mask`, both (B, L)."""
        pad = _tokenizer(self.tokenizer).pad_token_id
        ids = [item["input_ids"] for item in items]
        lengths = torch.tensor([len(i) for i in ids])
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=0 if pad is None else pad)
        return {"input_ids": padded, "mask": torch.arange(padded.shape[1]) < lengths.unsqueeze(1)}

    def restore(self, relevances: Sequence[Tensor], signal: Signal) -> Tensor:
        """Relevance of the text's characters: (characters,), each with that of its token. Special tokens' is left out.

        Raises:
            ModelError: the tokenizer does not say where in the text its tokens stand.
        """
        tokenizer, text = _tokenizer(self.tokenizer), str(signal.meta["text"])
        try:
            said = tokenizer(
                self._framed(text), truncation=True, max_length=self.max_length, return_offsets_mapping=True
            )
        except NotImplementedError as error:
            raise ModelError(
                f"text: the tokenizer {self.tokenizer!r} does not say where its tokens stand in a text; use one with "
                "tokenizer.json"
            ) from error
        out, shift = torch.zeros(len(text)), len(self.prefix)
        for value, (first, last) in zip(relevances[0].float().tolist(), said["offset_mapping"]):
            out[max(first - shift, 0) : max(last - shift, 0)] = value
        return out

    def blank(self, values: Tensor) -> Tensor:
        """The mask token, or what the tokenizer has in its place."""
        tokenizer = _tokenizer(self.tokenizer)
        ids = (tokenizer.mask_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id, 0)
        return torch.full_like(values, next(i for i in ids if i is not None))

    def parameters(self) -> dict[str, Any]:
        """The parameters; the tokenizer's files go beside them."""
        return {**self.model_dump(mode="json"), "tokenizer": "saved beside the weights"}

    def save_assets(self, folder: Path) -> None:
        """Write the tokenizer's files."""
        folder.mkdir(parents=True, exist_ok=True)
        tokenizer = _tokenizer(self.tokenizer)
        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is not None:  # the last text's limit is no part of it: the same tokenizer gives the same files
            backend.no_truncation()
            backend.no_padding()
        tokenizer.save_pretrained(folder)

    def load_assets(self, folder: Path) -> Self:
        """Use the tokenizer in `folder`."""
        return self.model_copy(update={"tokenizer": str(folder)})
