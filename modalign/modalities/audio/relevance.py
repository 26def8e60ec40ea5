"""Relevance of features back to the recording: frames to seconds, bands to the mel axis of the drawing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from modalign.modalities.audio.frontends import Spec, frame_count
from modalign.modalities.audio.lengths import fill, thirds
from modalign.modalities.audio.mel import hertz_to_mel, mel_to_hertz
from modalign.modalities.spans import lay, redistribute

BANDS = 64
MOST_COLUMNS = 20_000


def band_edges(spec: Spec, rate: float) -> Tensor:
    """Edges (mels + 1,) of the front end's bands, in rows of `plot.mel_axis(rate, BANDS)`."""
    low, high = (float(hertz_to_mel(hertz, spec.scale)) for hertz in (spec.fmin, spec.fmax))
    step = (high - low) / (spec.mels + 1)
    # A triangle reaches over two steps; half of it lies within half a step of its peak.
    hertz = mel_to_hertz(low + step * (np.arange(spec.mels + 1) + 0.5), spec.scale)
    return torch.from_numpy(hertz_to_mel(hertz, "htk") / float(hertz_to_mel(rate / 2, "htk")) * BANDS)


def over_samples(relevance: Tensor, spec: Spec, real: int, samples: int) -> Tensor:
    """Relevance over frames (rows, F), or over samples, of a filled window -> over its `real` samples, in hops.

    Args:
        relevance: (rows, F).
        spec: the front end.
        real: samples of sound before the window was filled.
        samples: the window's length.

    Returns:
        (rows, cells): cells of one hop (of one sample for a waveform) over the sound; repetitions are added up.
    """
    hop = spec.hop_length if spec.kind != "none" else 1
    # A frame's middle, less half a hop, is where its cell begins.
    begin = spec.win_length / 2 - hop / 2 if spec.kind == "kaldi" else -hop / 2
    if spec.kind == "none":
        begin = 0.0
    filled = fill(torch.zeros(real), samples, spec.shorter)[1] if real < samples else real
    if spec.kind == "kaldi" and spec.shorter == "pad":
        filled = real
    cells = max(1, round(real / hop))
    out = torch.zeros(len(relevance), cells)
    for start in range(0, filled, real):
        first = (begin - start) / hop
        out += lay(relevance, first, first + relevance.shape[1], cells)
    return out


def window_relevance(relevance: Tensor, spec: Spec, real: int, samples: int) -> Tensor:
    """One window's relevance, in the shape of its `values`, -> (bands or 1, cells over its sound)."""
    if spec.kind == "none":
        return over_samples(relevance.reshape(1, -1), spec, real, samples)
    views = relevance.transpose(1, 2)  # (views, M, F)
    total = frame_count(real, spec)
    if spec.longer == "fusion" and real > samples:
        chunk = views.shape[2]
        whole = lay(views[0], 0, total, total)
        for view, start in zip(views[1:], thirds(total, chunk)):
            whole = whole + lay(view, start, start + chunk, total)
        return over_samples(whole, spec, real, real)
    return over_samples(views.sum(0), spec, real, samples)


def restore(
    relevances: Sequence[Tensor],
    spec: Spec,
    samples: int,
    starts: Sequence[int],
    lengths: Sequence[int],
    seconds: float,
    rate: float,
    count: int,
) -> Tensor:
    """Put windows together.

    Args:
        relevances: of each window, in the shape of its `values`.
        spec: the front end.
        samples: the window in samples at the front end's rate.
        starts: of each window, likewise.
        lengths: of each window, likewise.
        seconds: of the recording.
        rate: of the recording, Hz.
        count: samples of the recording.

    Returns:
        (BANDS, columns) on the mel axis of the recording; (1, count) for a waveform.
    """
    waveform = spec.kind == "none"
    columns = count if waveform else max(1, min(round(seconds * spec.rate / spec.hop_length), MOST_COLUMNS))
    total = seconds * spec.rate
    out: Tensor | None = None
    for relevance, start, length in zip(relevances, starts, lengths):
        cells = window_relevance(relevance.float(), spec, length, samples)
        part = lay(cells, start / total * columns, (start + length) / total * columns, columns)
        out = part if out is None else out + part
    assert out is not None
    if waveform:
        return out
    return redistribute(out.T, band_edges(spec, rate), BANDS).T.contiguous()
