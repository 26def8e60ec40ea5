"""Hand features for the linear floor: what forty log bands do over a recording."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modalign.modalities.audio import frontends
from modalign.modalities.audio.frontends import Spec
from modalign.modalities.audio.lengths import fill
from modalign.modalities.base import Signal

BANDS = 40
RANGE = 80.0
"""dB below the recording's maximum at which bands are cut, so that silence after a clip does not rule the mean."""


def log_band_summary(signal: Signal) -> NDArray[Any]:
    """Mean, standard deviation and 90 % quantile of 40 log-mel bands (dB, up to half the rate) over time: (120,)."""
    rate = round(signal.rate or 16_000)
    n_fft = 1 << round(np.log2(rate * 0.025))
    spec = Spec(rate, 0.0, n_fft, n_fft, n_fft // 2, BANDS, 20.0, rate / 2, "htk", "db", exact=False)
    wave, _ = fill(signal.data[0], frontends.least_samples(spec), "pad")
    mel = frontends.features(wave.unsqueeze(0), spec)[0].double()
    mel = torch.maximum(mel, mel.max() - RANGE)
    parts = [mel.mean(0), mel.std(0, correction=0), torch.quantile(mel, 0.9, dim=0)]
    return np.asarray(torch.cat(parts).numpy())
