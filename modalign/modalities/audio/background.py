"""A second clip behind the first: recordings of a folder, mixed in as loud as asked."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import torch
from pydantic import Field, field_validator, model_validator
from torch import Generator, Tensor

from modalign.modalities.audio.containers import SUFFIXES
from modalign.modalities.audio.fields import AudioFields
from modalign.modalities.audio.mixing import mix
from modalign.modalities.audio.reader import read_audio
from modalign.modalities.audio.resample import resample
from modalign.modalities.base import Augmentation, Signal


@lru_cache(maxsize=8)
def recordings(folder: Path) -> tuple[Path, ...]:
    """The audio files below a folder, sorted, so that a draw is the same on any machine."""
    return tuple(sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix.lower() in SUFFIXES))


@lru_cache(maxsize=64)
def _wave(path: Path, rate: float) -> Tensor:
    signal = read_audio(path, AudioFields())
    return resample(signal.data[0], signal.rate or rate, rate)


class MixBackground(Augmentation):
    """Mix in a random part of a random recording of a folder, repeated where it is too short.

    Loudness is A-weighted, by CompA's rule (see `mixing.mix`). What is heard behind is in no caption: use backgrounds
    that captions would not mention.

    Attributes:
        folder: with recordings, searched below too.
        low: the least share of the loudness that the signal keeps.
        high: the largest.
    """

    breaks: ClassVar[frozenset[str]] = frozenset({"amplitude"})
    folder: Path
    low: float = Field(0.5, gt=0, lt=1)
    high: float = Field(0.9, gt=0, lt=1)

    @field_validator("folder")
    @classmethod
    def _has_recordings(cls, folder: Path) -> Path:
        if not folder.is_dir() or not recordings(folder):
            raise ValueError(f"is no folder with recordings ({', '.join(SUFFIXES)})")
        return folder

    @model_validator(mode="after")
    def _ordered(self) -> MixBackground:
        if self.low > self.high:
            raise ValueError(f"low ({self.low:g}) is above high ({self.high:g})")
        return self

    def apply(self, signal: Signal, generator: Generator) -> Signal:
        """Draw a recording, a part of it, and the share; mix.

        Raises:
            ReadError: the recording cannot be read.
        """
        files = recordings(self.folder)
        path = files[int(torch.randint(len(files), (), generator=generator))]
        share = self.low + (self.high - self.low) * torch.rand((), generator=generator).item()
        behind = _wave(path, float(signal.rate or 16_000))
        length = signal.data.shape[-1]
        start = int(torch.randint(max(len(behind) - length, 0) + 1, (), generator=generator))
        part = behind[start : start + length]
        part = part.repeat(-(-length // max(len(part), 1)))[:length]
        return replace(signal, data=mix(signal.data[0], part, signal.rate or 16_000, share).float()[None])
