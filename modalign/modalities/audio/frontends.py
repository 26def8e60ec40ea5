"""Waveform -> features: pure functions of (B, T) tensors on the tensor's own device, and the published parameters.

Sources: LAION-AI/CLAP (`clap`), microsoft/CLAP (`msclap2022`, `msclap2023`), Kaldi by way of AST (`fbank`),
openai/whisper (`whisper`). `logmel` is ours, for the small CNN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.modalities.audio.mel import MelScale, band, window

Frontend = Literal["clap", "msclap2022", "msclap2023", "fbank", "whisper", "logmel", "waveform"]
FLOOR = 1e-10
KALDI_FLOOR = 1.1920928955078125e-07
CHUNK = 1 << 19
"""Samples that are transformed at a time: more would leave the processor's cache."""
FRAMES = 2048
"""Frames of a long clip that are transformed at a time: an hour's spectrum would take gigabytes."""
QUIET = 5e-8
"""Where a band's mean bin is this far below its frame's energy, float32's rounding shows (0.03 dB on real clips): the
frame is done again in float64."""


@dataclass(frozen=True)
class Spec:
    """The numbers of a front end.

    Attributes:
        rate: Hz.
        seconds: the window.
        n_fft: samples of a frame's transform.
        win_length: samples of a frame.
        hop_length: samples between frames.
        mels: bands; 0 where the waveform itself is the feature.
        fmin: lowest edge, Hz.
        fmax: highest edge, Hz.
        scale: the filterbank.
        kind: "db" (10 log10, centred frames), "kaldi" (natural log, whole frames only, pre-emphasis), "whisper"
            (log10, 8 below the maximum at least, the last frame left out), "none".
        mean: subtracted from every feature.
        std: divided by.
        longer: what is done with longer clips.
        shorter: what is done with shorter clips.
        exact: "db" only: within 1e-3 dB of float64 in the quietest band; costs a fifth more.
    """

    rate: int
    seconds: float
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 480
    mels: int = 64
    fmin: float = 50.0
    fmax: float = 14_000.0
    scale: MelScale = "slaney"
    kind: Literal["db", "kaldi", "whisper", "none"] = "db"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    longer: Literal["rand_trunc", "fusion"] = "rand_trunc"
    shorter: Literal["repeatpad", "repeat", "pad", "keep"] = "repeat"
    exact: bool = True


FRONTENDS: dict[Frontend, Spec] = {
    "clap": Spec(48_000, 10.0, shorter="repeatpad"),
    "msclap2022": Spec(44_100, 5.0, hop_length=320),
    "msclap2023": Spec(44_100, 7.0, hop_length=320, fmax=8000.0),
    # 1024 frames of AST are 400 + 1023 * 160 samples. Its mean and std are AudioSet's; it divides by twice the std.
    "fbank": Spec(
        16_000, 10.255, 512, 400, 160, 128, 20.0, 8000.0, "kaldi", "kaldi", (-4.2677393,), (9.1379948,), shorter="pad"
    ),
    "whisper": Spec(16_000, 30.0, 400, 400, 160, 80, 0.0, 8000.0, "slaney", "whisper", shorter="pad"),
    "logmel": Spec(22_050, 5.0, 1024, 1024, 441, 64, 40.0, 9922.5, "htk", "db", exact=False),
    # Attention over the tokens grows with the square of the window.
    "waveform": Spec(16_000, 30.0, mels=0, kind="none", shorter="keep"),
}


def frame_count(samples: int, spec: Spec) -> int:
    """How many frames a waveform of so many samples gives.

    Example:
        >>> frame_count(480_000, FRONTENDS["clap"]), frame_count(164_080, FRONTENDS["fbank"])
        (1001, 1024)
    """
    if spec.kind == "none":
        return samples
    if spec.kind == "kaldi":
        return 1 + (samples - spec.win_length) // spec.hop_length if samples >= spec.win_length else 0
    return samples // spec.hop_length + (spec.kind == "db")


def least_samples(spec: Spec) -> int:
    """The shortest waveform the front end can take: a frame, or what its reflection needs."""
    return {"none": 400, "kaldi": spec.win_length, "db": spec.n_fft // 2 + 1, "whisper": spec.n_fft // 2 + 1}[spec.kind]


def features(wave: Tensor, spec: Spec) -> Tensor:
    """Waveforms (B, T) of any dtype at the front end's rate -> (B, frames, mels), float32; (B, T) for "waveform".

    Example:
        >>> features(torch.zeros(2, 480_000), FRONTENDS["clap"]).shape
        torch.Size([2, 1001, 64])
    """
    wave = wave.float()
    if spec.kind == "none":
        return wave
    several = max(1, CHUNK // max(wave.shape[1], 1))
    return torch.cat([_features(part, spec) for part in wave.split(several)])  # type: ignore[no-untyped-call]


def _features(wave: Tensor, spec: Spec) -> Tensor:
    if spec.kind == "kaldi":
        return kaldi_fbank(wave, spec)
    if spec.kind == "db":
        return mel_power(wave, spec, spec.exact).clamp_min_(FLOOR).log10_().mul_(10.0)
    logs = mel_power(wave, spec)[:, :-1].clamp_min(FLOOR).log10_()
    return (torch.maximum(logs, logs.amax((1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def mel_power(wave: Tensor, spec: Spec, exact: bool = False) -> Tensor:
    """Centred frames (ends reflected), Hann, squared magnitudes, mel bands: (B, T) -> (B, frames, mels).

    Args:
        wave: (B, T), float32.
        spec: the front end.
        exact: do frames with bands far below their energy again in float64.
    """
    half, total = spec.n_fft // 2, wave.shape[1]
    before, after = wave[:, 1 : half + 1].flip(1), wave[:, total - half - 1 : total - 1].flip(1)
    count, blocks = 1 + total // spec.hop_length, []
    for first in range(0, count, FRAMES):
        start = first * spec.hop_length - half
        end = (min(first + FRAMES, count) - 1) * spec.hop_length + half
        parts = (before[:, half + min(start, 0) :], wave[:, max(start, 0) : end], after[:, : max(end - total, 0)])
        blocks.append(_block_power(torch.cat(parts, 1), spec, exact))
    return torch.cat(blocks, 1) if len(blocks) > 1 else blocks[0]


def _block_power(padded: Tensor, spec: Spec, exact: bool) -> Tensor:
    cut = padded.unfold(1, spec.n_fft, spec.hop_length)
    weights = window("hann", spec.n_fft, padded.device, torch.float32)
    frames = cut * weights
    power = _bands(frames, spec)
    if exact:
        energy = torch.linalg.vector_norm(frames, dim=-1).square_() * spec.n_fft
        quiet = (power.clamp_min(FLOOR) / weight(power, spec)).amin(-1) < QUIET * energy
        if quiet.any():
            weights = window("hann", spec.n_fft, padded.device, torch.float64)
            power[quiet] = _bands(cut[quiet].double().mul_(weights), spec).float()
    return power


def weight(power: Tensor, spec: Spec) -> Tensor:
    """What each band adds up of a flat spectrum: (mels,)."""
    return _filters(power, spec)[2].sum(0) / 2


def kaldi_fbank(wave: Tensor, spec: Spec) -> Tensor:
    """Kaldi's filterbank without dither: (B, T) -> (B, frames, mels).

    A frame's mean is taken off, so a constant offset of the whole waveform (which LanguageBind takes off first) has no
    part in it.
    """
    frames = wave.unfold(1, spec.win_length, spec.hop_length)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], -1)
    frames = (frames - 0.97 * before) * window("hann_symmetric", spec.win_length, wave.device, wave.dtype)
    return _bands(F.pad(frames, (0, spec.n_fft - spec.win_length)), spec).clamp_min_(KALDI_FLOOR).log_()


def _filters(like: Tensor, spec: Spec) -> tuple[int, int, Tensor]:
    return band(spec.rate, spec.n_fft, spec.mels, spec.fmin, spec.fmax, spec.scale, like.device, like.dtype)


def _bands(frames: Tensor, spec: Spec) -> Tensor:
    first, last, filters = _filters(frames, spec)
    spectrum = torch.fft.rfft(frames)[..., first:last]
    return torch.view_as_real(spectrum).flatten(-2).square() @ filters
