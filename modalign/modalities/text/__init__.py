"""Text: any transformers encoder, or the offline MiniLM."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from modalign.errors import ReadError
from modalign.modalities.base import Modality, Signal
from modalign.modalities.registry import register_modality
from modalign.modalities.text.encoders import TextEncoder
from modalign.modalities.text.fields import TextFields
from modalign.modalities.text.plot import plot_text, text_inches
from modalign.modalities.text.processing import TextProcessing


@register_modality("text")
class Text(Modality):
    """Captions, reports and prompts. A source is the text itself, not a path; `Signal.meta["text"]` holds it."""

    processing, fields = TextProcessing, TextFields
    encoders = {"transformers": TextEncoder}  # noqa: RUF012 - declared a ClassVar by the base
    is_path = False

    def read(self, source: Any, **fields: Any) -> Signal:
        """Read a string.

        Raises:
            ReadError: it is not a string, or holds nothing but white space.
        """
        if not isinstance(source, str):
            raise ReadError(f"a text must be a string, not {type(source).__name__}: {str(source)[:80]!r}")
        text = " ".join(source.split())
        if not text:
            raise ReadError("a text is empty; leave the cell empty where there is none, or write a caption")
        return Signal(torch.zeros(0), meta={"text": text})

    def plot(self, signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
        """The text, wrapped; relevance is a value a character: see `plot.plot_text`."""
        plot_text(signal, ax, relevance)

    def plot_inches(self, signal: Signal) -> tuple[float, float]:
        """The size that holds the whole text."""
        return text_inches(signal)
