"""Audio: recordings of sound, in one channel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from modalign.modalities.audio.augment import AUGMENTATIONS
from modalign.modalities.audio.encoders import ENCODERS
from modalign.modalities.audio.fields import AudioFields
from modalign.modalities.audio.mixing import concatenate, mix
from modalign.modalities.audio.plot import plot_audio
from modalign.modalities.audio.processing import AudioProcessing
from modalign.modalities.audio.reader import read_audio
from modalign.modalities.audio.resample import resample
from modalign.modalities.audio.summary import log_band_summary
from modalign.modalities.base import Composition, Modality, Signal
from modalign.modalities.descriptions import Descriptions, LabelSets, read_wording
from modalign.modalities.registry import register_modality


@register_modality("audio")
class Audio(Modality):
    """Sound.

    A Signal's data is (1, T): samples, nominally from -1 to 1, of one channel (`mono`: the mean of the recording's, or
    the one that `audio.channel` names).

    Example:
        >>> Audio().load(np.zeros((2, 8000), np.float32), rate=8000).data.shape
        torch.Size([1, 8000])
    """

    processing = AudioProcessing
    encoders = ENCODERS
    default_encoder = "cnn"
    fields = AudioFields
    augmentations = AUGMENTATIONS
    private = False
    compositions = ("sequence", "mixture")
    templates, negations, opposites = read_wording(Path(__file__).with_name("templates.yaml"))
    descriptions = Descriptions(Path(__file__).with_name("descriptions.yaml"))
    label_sets = LabelSets(Path(__file__).with_name("label_sets.yaml"))

    def read(self, source: Any, **fields: Any) -> Signal:
        """Read a path (.wav, .flac, .ogg, .opus, .mp3), or an array or tensor (T,), (T, C) or (C, T) with `rate`.

        Raises:
            ReadError: anything that is missing, damaged or implausible; names the source and the mend.
        """
        source = Path(source) if isinstance(source, str) else source
        return read_audio(source, AudioFields(**self.parse_fields(fields)))

    def summary_features(self, signal: Signal) -> np.ndarray[Any, Any]:
        """Mean, standard deviation and 90 % quantile of 40 log-mel bands: (120,), float64."""
        return log_band_summary(signal)

    def compose(self, first: Signal, second: Signal, how: Composition, ratio: float = 0.5) -> Signal:
        """CompA's synthesis: overlaid by A-weighted loudness, or joined by a fade over a tenth of the shorter one."""
        assert first.rate is not None
        assert second.rate is not None
        rate = int(max(first.rate, second.rate))
        a, b = resample(first.data[0], first.rate, rate), resample(second.data[0], second.rate, rate)
        made = mix(a, b, rate, ratio) if how == "mixture" else concatenate(a, b)
        return Signal(made.float().unsqueeze(0), float(rate), first.channels)

    def plot(self, signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
        """The waveform, and the spectrogram on a mel scale below: see `plot.plot_audio`."""
        plot_audio(signal, ax, relevance)
