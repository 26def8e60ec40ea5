"""Source -> Signal: a file through libsndfile, or an array with its rate; one channel, float32, nominally -1 to 1."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from modalign.errors import MissingExtraError, ReadError
from modalign.modalities.audio.containers import check_container
from modalign.modalities.audio.fields import AudioFields
from modalign.modalities.base import Signal
from modalign.modalities.messages import describe_source

Array = NDArray[Any]
MOST_CHANNELS = 32
SLOWEST, FASTEST = 1000.0, 1_000_000.0
"""Hz: below, nothing of a sound is left that a front end could hear; above, no converter works."""
BLOCK = 1 << 22
"""Samples decoded at a time: a header that lies about the length does not get the memory it asks for."""
LOUDEST = 16.0
"""Float samples beyond this are integers that nobody scaled. Vorbis and float WAV may pass 1.0 a little."""


def read_audio(source: Any, fields: AudioFields) -> Signal:
    """Read a recording, or a window of it; only the window is decoded.

    Args:
        source: a Path (.wav, .flac, .ogg, .opus, .mp3), or an array or tensor (T,), (T, C) or (C, T).
        fields: window, channel, and an array's rate.

    Returns:
        Signal of data (1, T), float32, channels ("mono",); meta `source_channels`, `source_rate`, `format`, `seconds`
        (of the whole recording).

    Raises:
        ReadError: anything that is missing, damaged or implausible; names the source and the mend.

    Example:
        >>> signal = read_audio(np.zeros((8000, 2), np.float32), AudioFields(rate=8000, start=0.5))
        >>> tuple(signal.data.shape), signal.meta["source_channels"]
        ((1, 4000), 2)
    """
    where = describe_source(source)
    if isinstance(source, Path):
        data, rate, frames, kind = _from_file(source, fields, where)
    else:
        data, rate, kind = *_from_array(source, fields, where), "array"
        frames = len(data)
        first, last = window(frames, rate, fields, where)
        data = data[first:last]
    mono = _choose(data, fields.channel, where)
    loudest = float(np.abs(mono).max(initial=0.0))
    if loudest > LOUDEST and np.isfinite(loudest):
        raise ReadError(
            f"{where}: samples reach {loudest:,.0f}, and audio is nominally within -1 to 1; divide integers that were "
            "stored as floats by 32768"
        )
    meta = {"source_channels": data.shape[1], "source_rate": rate, "format": kind, "seconds": frames / rate}
    return Signal(torch.from_numpy(np.ascontiguousarray(mono[None], dtype=np.float32)), rate, ("mono",), meta)


def window(frames: int, rate: float, fields: AudioFields, where: str) -> tuple[int, int]:
    """The first sample and the one after the last.

    Raises:
        ReadError: the window lies outside of the recording, or holds no sample.
    """
    seconds = frames / rate
    first = round((fields.start or 0.0) * rate)
    last = frames if fields.end is None else round(fields.end * rate)
    if frames == 0:
        raise ReadError(f"{where}: has no samples; record or export it again")
    if first >= frames:
        raise ReadError(
            f"{where}: audio.start = {fields.start:g} s is at or after its end ({seconds:.3f} s); mend audio.start"
        )
    if last > frames + max(1, rate * 0.001):  # a duration rounded to milliseconds
        raise ReadError(f"{where}: audio.end = {fields.end:g} s is after its end ({seconds:.3f} s); mend audio.end")
    if last <= first:
        raise ReadError(f"{where}: the window from audio.start to audio.end holds no sample at {rate:g} Hz; widen it")
    return first, min(last, frames)


def _from_file(path: Path, fields: AudioFields, where: str) -> tuple[Array, float, int, str]:
    kind = check_container(path)
    try:
        # Through importlib, since the package has no types.
        soundfile = import_module("soundfile")
    except (ImportError, OSError) as error:  # OSError: the wheel's libsndfile is not there
        raise MissingExtraError("reading audio files", "audio") from error
    try:
        with soundfile.SoundFile(path) as file:
            rate, frames = _plausible(float(file.samplerate), where), int(file.frames)
            if fields.rate is not None and abs(fields.rate - rate) > 1e-6 * rate:
                raise ReadError(
                    f"{where}: audio.rate says {fields.rate:g} Hz and the file's header {rate:g} Hz; remove "
                    "audio.rate, or mend the file"
                )
            if frames > 1 << 40:
                raise ReadError(f"{where}: its header does not say how long it is; encode it again")
            first, last = window(frames, rate, fields, where)
            if first:
                file.seek(first)
            data = _read(file, last - first)
    except (soundfile.SoundFileError, RuntimeError, ValueError) as error:
        raise ReadError(f"{where}: cannot be decoded as {kind} ({_short(error)}); copy or convert it again") from error
    if len(data) < last - first:
        raise ReadError(
            f"{where}: the file is cut short (its header promises {frames:,} samples, and {first + len(data):,} could "
            "be decoded); copy or record it again"
        )
    return data, rate, frames, kind


def _read(file: Any, count: int) -> Array:
    """So many samples (T, C), or those that there are."""
    blocks, left = [], count
    while left > 0:
        asked = min(left, BLOCK)
        blocks.append(file.read(asked, dtype="float32", always_2d=True))
        left -= asked
        if len(blocks[-1]) < asked:
            break
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)


def _plausible(rate: float, where: str) -> float:
    if not SLOWEST <= rate <= FASTEST:
        raise ReadError(
            f"{where}: a rate of {rate:g} Hz is no rate of sound ({SLOWEST:,.0f} to {FASTEST:,.0f} Hz); mend "
            "audio.rate, or the file's header"
        )
    return rate


def _from_array(source: Any, fields: AudioFields, where: str) -> tuple[Array, float]:
    if isinstance(source, torch.Tensor):
        source = source.detach().cpu()
        source = (source.float() if source.dtype in (torch.bfloat16, torch.float16) else source).numpy()
    if not isinstance(source, np.ndarray):
        raise ReadError(f"{where}: give a path, or a numpy or torch array, not {type(source).__name__}")
    if fields.rate is None:
        raise ReadError(f"{where}: an array does not say its rate; set audio.rate (Hz)")
    if source.ndim == 1:
        source = source[:, None]
    if source.ndim != 2:
        raise ReadError(f"{where}: audio is (T,), (T, C) or (C, T), not of shape {source.shape}; reshape it")
    if source.size == 0:
        raise ReadError(f"{where}: has no samples; give a recording")
    if min(source.shape) > MOST_CHANNELS or (max(source.shape) <= MOST_CHANNELS and source.shape[1] != 1):
        raise ReadError(
            f"{where}: it cannot be told which axis of {source.shape} is time; give (T, C) or (C, T) with at most "
            f"{MOST_CHANNELS} channels and more samples than that"
        )
    if source.shape[0] < source.shape[1]:
        source = source.T
    return _to_float(source, where), _plausible(fields.rate, where)


def _to_float(data: Array, where: str) -> Array:
    """Integers to -1 to 1 by their type's own range."""
    if data.dtype == np.uint8:
        return (data.astype(np.float32) - 128.0) / 128.0
    if data.dtype in (np.int16, np.int32):
        return (data / -float(np.iinfo(data.dtype).min)).astype(np.float32)
    if data.dtype.kind != "f":
        raise ReadError(
            f"{where}: samples of type {data.dtype} have no known range; give float32, int16, int32 or uint8"
        )
    return data.astype(np.float32)


def _choose(data: Array, channel: str, where: str) -> Array:
    """One channel of (T, C): (T,)."""
    count = data.shape[1]
    if channel == "mix":
        return data[:, 0] if count == 1 else data.mean(1, dtype=np.float32)
    if channel in ("left", "right"):
        if count != 2:
            raise ReadError(
                f"{where}: audio.channel = {channel} needs two channels, and there are {count}; use mix, or a number"
            )
        return data[:, ("left", "right").index(channel)]
    if int(channel) >= count:
        raise ReadError(f"{where}: audio.channel = {channel}, and there are {count} channels, numbered from 0; mend it")
    return data[:, int(channel)]


def _short(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
