"""A second modality in 40 lines, without touching modalign: pure tones as text files of numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel
from torch import Tensor, nn

from modalign import Augmentation, Encoder, EncoderOutput, Modality, Processing, ReadError, Signal, register_modality


class Gain(Augmentation):
    breaks = frozenset({"amplitude"})
    most: float = 0.2

    def apply(self, signal: Signal, generator: torch.Generator) -> Signal:
        gain = 1 + self.most * (2 * torch.rand((), generator=generator) - 1)
        return Signal(signal.data * gain, signal.rate, signal.channels, signal.meta)


class ToneProcessing(Processing):
    scale: float = 1.0

    def __call__(self, signal: Signal) -> dict[str, Tensor]:
        return {"values": signal.data / self.scale}

    def fit(self, signals):
        return self.model_copy(update={"scale": float(np.mean([s.data.abs().max() for s in signals]))})


class ToneEncoder(Encoder):
    padding = "exact"

    def __init__(self, width: int = 12, dropout: float = 0.0) -> None:
        super().__init__()
        self.width, self.dropout = width, nn.Dropout(dropout)
        self.mix = nn.Linear(8, width)

    def options(self) -> dict[str, object]:
        return {"width": self.width, "dropout": self.dropout.p}

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        frames = values[:, 0].unfold(1, 8, 8)
        real = mask.unfold(1, 8, 8).all(-1)
        tokens = self.dropout(self.mix(frames)).tanh().square()
        weights = real.unsqueeze(-1).to(tokens.dtype)
        return EncoderOutput(tokens, real, (tokens * weights).sum(1) / weights.sum(1).clamp_min(1))


class Fields(BaseModel):
    rate: float = 100.0


@register_modality("tone")
class Tone(Modality):
    """Pure tones."""

    processing, encoders, fields = ToneProcessing, {"mix": ToneEncoder}, Fields
    augmentations, templates = {"gain": Gain}, ("a {label} tone", "the sound is {label}")

    def read(self, source: Path, rate: float = 100.0) -> Signal:
        try:
            data = np.loadtxt(source, dtype=np.float32, ndmin=2)
        except ValueError as error:
            raise ReadError(f"{source}: not numbers, one a line ({error})") from None
        return Signal(torch.from_numpy(data.T.copy()), rate, ("tone",))

    def summary_features(self, signal: Signal) -> np.ndarray:
        return np.array([signal.data.abs().mean(), signal.data.diff().abs().mean()], dtype=np.float64)


PITCH = {"low": 1.0, "middle": 3.0, "high": 11.0}


def write_manifest(folder: Path, each: int = 12) -> Path:
    """12 recordings a pitch, by six people, of 64 to 96 samples."""
    generator = np.random.default_rng(5)
    rows = []
    for k in range(each):
        person = k // 2
        split = "train" if person < 4 else "val" if person == 4 else "test"
        for label, pitch in PITCH.items():
            t = np.arange(64 + 8 * (k % 5)) / 100
            wave = np.sin(2 * np.pi * (pitch * t + generator.uniform())) + 0.05 * generator.normal(size=len(t))
            name = f"{label}-{k}"
            np.savetxt(folder / f"{name}.txt", wave, fmt="%.6f")
            caption = f"a {label} tone is heard" if k % 2 else ""
            rows.append(
                {
                    "id": name,
                    "split": split,
                    "group": f"p{person}",
                    "cluster": name,
                    "label": label,
                    "text": caption,
                    "tone": f"{name}.txt",
                }
            )
    path = folder / "manifest.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path
