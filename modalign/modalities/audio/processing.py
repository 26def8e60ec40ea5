"""Signal -> features: one rate, one length, one front end. Features are computed for a whole batch in `collate`.

`__call__` gives a waveform of the window's length; `collate` runs the front end once over all of them, in the workers
that load the data, so that a training step waits for neither a per-clip transform nor the transfer of waveforms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from modalign.errors import ReadError
from modalign.modalities.audio import frontends, relevance
from modalign.modalities.audio.frontends import FRONTENDS, Frontend, Spec
from modalign.modalities.audio.lengths import fill, fuse
from modalign.modalities.audio.resample import resample
from modalign.modalities.base import Processing, Signal

STARTS = "chunk_starts"
MASKS = "spec_masks"
"""Keys of a Signal's meta by which training's random choices reach the front end."""
FITTED = 2000
"""Recordings from which constants are taken, at most."""
REMAINDER = 0.01
"""What is left of a recording after its last window is left out below this share of the window."""


class AudioProcessing(Processing):
    """Resample, cut or fill, and compute features. What is None is the front end's own (`frontends.FRONTENDS`).

    Attributes:
        frontend: "clap" (LAION), "msclap2022", "msclap2023", "fbank" (Kaldi, for AST), "whisper", "logmel" (the small
            CNN's) or "waveform" (wav2vec2 and its kin).
        rate: Hz.
        seconds: the window; None is the front end's own.
        longer: what is longer than the window: "rand_trunc" (a random window in training, all windows at inference) or
            "fusion" (CLAP: the whole clip shrunk, and a front, middle and back chunk: random in training, the middle of
            each third at inference).
        shorter: what is shorter: "repeatpad" (whole repetitions, then zeros), "repeat" (cut to fit), "pad" (zeros) or
            "keep" (as it is; batches are padded and masked).
        hop: seconds between the starts of windows at inference, at most the window; None: the window, so that they
            touch. The last window ends with the recording.
        mel_scale: "htk" or "slaney"; None for "clap": htk with fusion and slaney without, as LAION has it.
        quantize: round samples to 16 bits and back, as LAION does; it moves quiet bands by up to 16 dB.
        normalize: zero mean and unit variance for each clip ("waveform" only, where the checkpoint wants it).
        n_fft: samples of a frame.
        hop_length: samples between frames.
        mels: bands.
        fmin: lowest edge, Hz.
        fmax: highest edge, Hz.
        mean: subtracted, one value or one a band; "logmel" takes it from the training set by `fit`.
        std: divided by, likewise.

    Example:
        >>> process = AudioProcessing(frontend="clap")
        >>> item = process(Signal(torch.zeros(1, 96_000), 48_000.0, ("mono",)))
        >>> process.collate([item])["values"].shape
        torch.Size([1, 1, 1001, 64])
    """

    frontend: Frontend = "logmel"
    rate: int | None = Field(None, ge=1000)
    seconds: float | None = Field(None, gt=0, allow_inf_nan=False)
    longer: Literal["rand_trunc", "fusion"] | None = None
    shorter: Literal["repeatpad", "repeat", "pad", "keep"] | None = None
    hop: float | None = Field(None, gt=0, allow_inf_nan=False)
    mel_scale: Literal["htk", "slaney"] | None = None
    quantize: bool = False
    normalize: bool = False
    n_fft: int | None = Field(None, ge=16)
    hop_length: int | None = Field(None, ge=1)
    mels: int | None = Field(None, ge=1)
    fmin: float | None = Field(None, ge=0)
    fmax: float | None = Field(None, gt=0)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @model_validator(mode="after")
    def _numbers_fit(self) -> Self:
        spec = self.spec
        if spec.kind != "none":
            if spec.fmax > spec.rate / 2 + 1e-6:
                raise ValueError(f"fmax ({spec.fmax:g} Hz) is above half the rate ({spec.rate} Hz)")
            if spec.fmin >= spec.fmax:
                raise ValueError(f"fmin ({spec.fmin:g} Hz) is not below fmax ({spec.fmax:g} Hz)")
            if self.normalize:
                raise ValueError("normalize is for the front end 'waveform'")
        if self.hop is not None and self.hop > spec.seconds:
            raise ValueError(f"hop ({self.hop:g} s) is above the window ({spec.seconds:g} s): parts would be left out")
        if spec.longer == "fusion" and spec.kind != "db":
            raise ValueError(f"longer = fusion is for CLAP's front end, not {self.frontend!r}")
        if self.mel_scale is not None and spec.kind != "db":
            raise ValueError(f"the front end {self.frontend!r} has one mel scale; leave mel_scale out")
        if self.samples < frontends.least_samples(spec):
            raise ValueError(f"seconds = {spec.seconds:g} holds no frame at {spec.rate} Hz")
        if (spec.mean is None) != (spec.std is None):
            raise ValueError("mean and std go together")
        for key, values in (("mean", spec.mean), ("std", spec.std)):
            if values is None:
                continue
            if len(values) not in (1, spec.mels):
                raise ValueError(f"{key} has {len(values)} values for {spec.mels} bands; give one, or one a band")
            if not all(math.isfinite(v) and (key == "mean" or v > 0) for v in values):
                raise ValueError(f"{key} must be finite" + (" and above 0" if key == "std" else ""))
        return self

    @property
    def spec(self) -> Spec:
        """The front end's numbers, with what this processing changes."""
        return _resolve(
            self.frontend, self.mel_scale,
            rate=self.rate, seconds=self.seconds, longer=self.longer, shorter=self.shorter, n_fft=self.n_fft,
            hop_length=self.hop_length, mels=self.mels, fmin=self.fmin, fmax=self.fmax, mean=self.mean, std=self.std,
        )  # fmt: skip

    @property
    def samples(self) -> int:
        """The window in samples."""
        return round(self.spec.seconds * self.spec.rate)

    kept: ClassVar[bool] = False  # resampling again is cheaper than a second copy of every recording

    def prepare_parameters(self) -> dict[str, Any]:
        """What `prepare` depends on."""
        return {"rate": self.spec.rate}

    def prepare(self, signal: Signal) -> Signal:
        """Resample to the front end's rate: the very signal where it has that rate, or none.

        Raises:
            ReadError: the signal has no rate.
        """
        if signal.rate is None:
            raise ReadError("audio: the signal has no rate; read it with audio.rate (Hz)")
        wave = resample(signal.data[0], signal.rate, self.spec.rate)
        return replace(signal, data=wave.unsqueeze(0), rate=float(self.spec.rate))

    def __call__(self, signal: Signal) -> dict[str, Tensor]:
        """Signal (1, T) -> `wave` (T',) at the front end's rate, and `real`, how many samples of it are sound.

        With fusion, `starts` (3,) too; after the augmentation `spec_augment`, `masks` (K, 4).

        Raises:
            ReadError: the signal has no rate, or no sample.
        """
        spec, samples = self.spec, self.samples
        if signal.data.shape[-1] == 0:
            raise ReadError("audio: the signal has no samples")
        signal = self.prepare(signal)
        wave = signal.data[0]
        if len(wave) > samples and spec.longer == "rand_trunc":
            first = (len(wave) - samples) // 2
            wave = wave[first : first + samples]
        if self.quantize:
            wave = (wave.clamp(-1.0, 1.0) * 32767.0).trunc() / 32767.0
        if self.normalize:
            wave = (wave - wave.mean()) / (wave.var(correction=0) + 1e-7).sqrt()
        wave, _ = fill(wave, frontends.least_samples(spec), "pad")
        real = len(wave)
        # Kaldi's silence is padded to its features, as AST does; the others' to the waveform.
        if not (spec.kind == "kaldi" and spec.shorter == "pad"):
            wave, real = fill(wave, samples, spec.shorter)
        item = {"wave": wave, "real": torch.tensor(real)}
        if spec.longer == "fusion":
            item["starts"] = torch.tensor(signal.meta.get(STARTS, (math.nan,) * 3), dtype=torch.float64)
        if MASKS in signal.meta:
            if spec.kind == "none":
                raise ReadError("audio: spec_augment masks bands, and the front end 'waveform' has none; leave it out")
            item["masks"] = torch.tensor(signal.meta[MASKS], dtype=torch.float32).reshape(-1, 4)
        return item

    def collate(self, items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Features of a batch.

        Returns:
            `values` (B, C, F, M), where C is 4 with fusion and else 1, and `mask` (B, F), True where a frame is of
            sound; for "waveform" `values` (B, T) and `mask` (B, T). With fusion also `longer` (B,).
        """
        spec = self.spec
        computed = self._features(items)
        counts = [frontends.frame_count(int(item["real"]), spec) for item in items]
        target = max(len(one) for one in computed)
        if spec.kind == "kaldi" and spec.shorter == "pad":
            target = frontends.frame_count(self.samples, spec)
            computed = [_pad(one, target) for one in computed]
        extra = {}
        if spec.longer == "fusion":
            target = frontends.frame_count(self.samples, spec)
            fused = [
                fuse(one, target, None if item["starts"].isnan().any() else item["starts"])
                for one, item in zip(computed, items)
            ]
            values = torch.stack([views for views, _ in fused])
            extra["longer"] = torch.tensor([longer for _, longer in fused])
            counts = [target if longer else count for count, (_, longer) in zip(counts, fused)]
        elif spec.kind == "none":
            values = torch.stack([_pad(one, target) for one in computed])
        elif spec.mean is None:
            values = torch.stack([_pad(one, target) for one in computed]).unsqueeze(1)
        else:
            values = torch.stack([_pad(_standardise(one, spec), target) for one in computed]).unsqueeze(1)
        _mask_bands(values, [item.get("masks") for item in items], counts)
        mask = torch.arange(target) < torch.tensor(counts).unsqueeze(1)
        return {"values": values, "mask": mask, **extra}

    def _features(self, items: Sequence[dict[str, Tensor]]) -> list[Tensor]:
        """Each item's features; items of one length go through the front end together."""
        by_length: dict[int, list[int]] = {}
        for n, item in enumerate(items):
            by_length.setdefault(len(item["wave"]), []).append(n)
        computed: dict[int, Tensor] = {}
        for places in by_length.values():
            waves = [items[n]["wave"] for n in places]
            batch = torch.stack(waves) if len(waves) > 1 else waves[0].unsqueeze(0)  # a long one is not copied
            computed |= dict(zip(places, frontends.features(batch, self.spec)))
        return [computed[n] for n in range(len(items))]

    def crop(self, signal: Signal, generator: torch.Generator) -> Signal:
        """One random window of a longer recording; with fusion, the whole of it and three random chunk starts."""
        spec = self.spec
        if spec.longer == "fusion":
            starts = tuple(torch.rand(3, generator=generator, dtype=torch.float64).tolist())
            return replace_meta(signal, {STARTS: starts})
        signal, width = self.prepare(signal), self.samples
        if signal.data.shape[-1] <= width:
            return signal
        first = int(torch.randint(signal.data.shape[-1] - width + 1, (), generator=generator))
        return Signal(signal.data[:, first : first + width], signal.rate, signal.channels, signal.meta)

    def segments(self, signal: Signal) -> list[Signal]:
        """The windows that cover a recording, `hop` seconds apart, the last one at its end; with fusion, the whole."""
        signal, width = self.prepare(signal), self.samples
        if self.spec.longer == "fusion":
            return [signal]
        starts = self._starts(signal.data.shape[-1])
        if len(starts) == 1:
            return [signal]
        return [Signal(signal.data[:, s : s + width], signal.rate, signal.channels, signal.meta) for s in starts]

    def _starts(self, length: int) -> list[int]:
        """The first sample of each window, at the front end's rate."""
        left = length - self.samples
        if self.spec.longer == "fusion" or left <= REMAINDER * self.samples:
            return [0]
        step = max(1, round((self.hop or self.spec.seconds) * self.spec.rate))
        return [*range(0, left, step), left]

    def restore(self, relevances: Sequence[Tensor], signal: Signal) -> Tensor:
        """Relevance over the recording: (64, columns) on the mel axis of `plot.mel_axis`; (1, T) for a waveform."""
        prepared = self.prepare(signal)
        windows = self.segments(prepared)
        starts = self._starts(prepared.data.shape[-1])
        rate = signal.rate or 1.0
        count = signal.data.shape[-1]
        return relevance.restore(
            relevances, self.spec, self.samples, starts, [w.data.shape[-1] for w in windows], count / rate, rate, count
        )

    def blank(self, values: Tensor) -> Tensor:
        """The training mean where features are standardised, silence in a waveform, else the lowest value there is."""
        if self.spec.kind == "none" or self.spec.mean is not None:
            return torch.zeros_like(values)
        return values.flatten(1).amin(1).view(-1, *[1] * (values.ndim - 1)).expand_as(values).clone()

    def fit(self, signals: Iterable[Signal]) -> Self:
        """For "logmel": a copy with each band's mean and standard deviation over (up to 2,000) recordings.

        Raises:
            ReadError: there is no signal.
        """
        if self.frontend != "logmel" or self.mean is not None:
            return self
        spec = replace(self.spec, mean=None, std=None)
        count, total, squares = 0, torch.zeros(spec.mels).double(), torch.zeros(spec.mels).double()
        for signal in islice(signals, FITTED):
            wave, _ = fill(
                self.prepare(signal).data[0],
                frontends.least_samples(spec), "pad",
            )  # fmt: skip
            block = frontends.features(wave.unsqueeze(0), spec)[0].double()
            count, total, squares = count + len(block), total + block.sum(0), squares + block.square().sum(0)
        if not count:
            raise ReadError("audio: no training signal to take the mean and deviation from; check the split column")
        mean = total / count
        std = (squares / count - mean.square()).clamp_min(0).sqrt()
        std = torch.where(std > 1e-3, std, 1.0)  # dB: a band that never sounds
        return self.model_copy(update={"mean": tuple(mean.tolist()), "std": tuple(std.tolist())})


def replace_meta(signal: Signal, update: dict[str, Any]) -> Signal:
    """The same samples with more said of them."""
    return Signal(signal.data, signal.rate, signal.channels, {**signal.meta, **update})


@lru_cache(maxsize=256)
def _resolve(frontend: Frontend, mel_scale: Literal["htk", "slaney"] | None, **given: Any) -> Spec:
    changed = {key: value for key, value in given.items() if value is not None}
    spec = FRONTENDS[frontend]
    if frontend == "logmel" and "rate" in changed:
        # Frames of about 46 ms every 20 ms at any rate, up to where resampling leaves something.
        rate = changed["rate"]
        spec = replace(spec, n_fft=1 << round(math.log2(rate * 0.046)), hop_length=round(rate * 0.02), fmax=0.45 * rate)
    spec = replace(spec, **changed)
    if spec.kind == "db":
        spec = replace(spec, win_length=spec.n_fft)
    if mel_scale is not None:
        return replace(spec, scale=mel_scale)
    return replace(spec, scale="htk") if frontend == "clap" and spec.longer == "fusion" else spec


def _pad(one: Tensor, target: int) -> Tensor:
    """Zeros after the last frame, or frames cut: (F, ...) -> (target, ...)."""
    if len(one) >= target:
        return one[:target]
    return torch.cat([one, one.new_zeros(target - len(one), *one.shape[1:])])


def _standardise(one: Tensor, spec: Spec) -> Tensor:
    mean, std = _constants(spec.mean or (0.0,), spec.std or (1.0,))
    return (one - mean) / std


@lru_cache(maxsize=32)
def _constants(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    return torch.tensor(mean), torch.tensor(std)


def _mask_bands(values: Tensor, masks: Sequence[Tensor | None], counts: Sequence[int]) -> None:
    """SpecAugment, in place: rectangles (time from, to, band from, to; shares of the sound and of the bands)."""
    for one, rectangles, frames in zip(values, masks, counts):
        if rectangles is None:
            continue
        blank = one[..., :frames, :].mean()
        bands = one.shape[-1]
        for t0, t1, f0, f1 in rectangles.tolist():
            one[..., round(t0 * frames) : round(t1 * frames), round(f0 * bands) : round(f1 * bands)] = blank
