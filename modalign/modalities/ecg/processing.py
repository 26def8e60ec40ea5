"""Signal -> model input: one rate, one order of leads, one length, and one constant of the training set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import BeforeValidator, Field, PrivateAttr, field_validator, model_validator
from torch import Tensor

from modalign.errors import ModelError, ReadError, suggest
from modalign.modalities.base import Processing, Signal
from modalign.modalities.ecg import filters, normalise
from modalign.modalities.ecg.leads import ORDERS, STANDARD, derive_limb, flat_leads, lead_name, limb_sources
from modalign.modalities.resampling import resample
from modalign.modalities.windows import restore


def _parse_leads(value: Any) -> Any:
    if isinstance(value, str):
        if value.lower() in ORDERS:
            return ORDERS[value.lower()]
        value = [part.strip() for part in value.split(",")]
    return tuple(value) if isinstance(value, (list, tuple)) else value


class EcgProcessing(Processing):
    """Choose leads, notch, resample, take the baseline out (`prepare`), cut, normalise: in this order.

    Attributes:
        rate: the model's rate, Hz.
        leads: the model's leads in its order; "standard" (I, II, III, aVR, aVL, aVF, V1-V6) or "merl" (aVF before aVL)
            stand for twelve. Leads of the signal that are not named here are left out; absent ones are zeros.
        derive: derive limb leads that are absent from two of I, II, III.
        lead_mask: add a row of ones (lead there) or zeros (absent) for each lead below the values: (2 C, T). The
            encoder's option `channels` is then twice the number of leads.
        seconds: the model's length; None takes any length. What is longer is cut about its centre, or, by `crop` and
            `segments`, at random in training and covered whole at inference.
        hop: seconds between the starts of windows at inference; None: `seconds`, so that windows just touch. The last
            window ends where the recording ends.
        short: what to do with what is shorter than `seconds`: "zero" (default; zeros follow, as MERL does) or
            "refuse". An encoder of exact padding is given it as it is, and a mask.
        baseline: "none", "highpass" (zero-phase, at `cutoff`) or "median" (MoRE's cascade).
        cutoff: of the high-pass, Hz; at most 0.67, so that ST stays.
        notch: mains, 50 or 60 Hz, filtered at the source's rate, before resampling. Where it is not below 0.45 of
            that rate it is left out, and `notes` says so.
        flat: a lead that does not move for most of the recording: "mask" it as absent (default), "keep" it, or
            "refuse" the recording. One whose leads are all flat is refused, unless they are kept.
        normalise: "constant" (mV / `scale`), "merl", "more" (see `normalise.py`) or "none" (mV).
        scale: the constant in mV: the standard deviation over all leads and samples of the training set, by `fit`;
            None before: 1.
        padding: whether the encoder takes padded batches; dictated by the encoder.

    Example:
        >>> signal = Signal(torch.randn(2, 5000), 500.0, ("II", "I"))
        >>> tuple(EcgProcessing(rate=100, seconds=5)(signal)["values"].shape)
        (12, 500)
    """

    rate: float = Field(100.0, gt=0, le=10_000, allow_inf_nan=False)
    leads: Annotated[tuple[str, ...], BeforeValidator(_parse_leads)] = STANDARD
    derive: bool = False
    lead_mask: bool = False
    seconds: float | None = Field(None, gt=0, allow_inf_nan=False)
    hop: float | None = Field(None, gt=0, allow_inf_nan=False)
    short: Literal["zero", "refuse"] = "zero"
    baseline: Literal["none", "highpass", "median"] = "none"
    cutoff: float = Field(0.5, ge=0.05, le=0.67)
    notch: Literal[50, 60] | None = None
    flat: Literal["mask", "keep", "refuse"] = "mask"
    normalise: Literal["constant", "merl", "more", "none"] = "constant"
    scale: float | None = Field(None, gt=0, allow_inf_nan=False)
    padding: Literal["exact", "fixed"] = "fixed"
    _seen: int = PrivateAttr(0)
    _odd: dict[str, int] = PrivateAttr(default_factory=dict)

    @field_validator("leads")
    @classmethod
    def _known(cls, leads: tuple[str, ...]) -> tuple[str, ...]:
        if not leads:
            raise ValueError("names no lead")
        spelt = []
        for name in leads:
            known = lead_name(name)
            if known is None:
                raise ValueError(f"{name!r} is no lead: {suggest(name, STANDARD)}")
            if known in spelt:
                raise ValueError(f"{name!r} is given twice")
            spelt.append(known)
        return tuple(spelt)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.seconds is not None and self.samples == 0:
            raise ValueError(f"seconds: {self.seconds:g} s hold no sample at {self.rate:g} Hz")
        if self.hop is not None and self.seconds is None:
            raise ValueError("hop needs seconds, the length of a window")
        if self.hop is not None and self.seconds is not None and self.hop > self.seconds:
            raise ValueError(
                f"hop ({self.hop:g} s) is at most seconds ({self.seconds:g} s), or parts would be left out"
            )
        return self

    @property
    def samples(self) -> int | None:
        """The window's length in samples, or None where any length is taken."""
        return None if self.seconds is None else round(self.seconds * self.rate)

    def __call__(self, signal: Signal) -> dict[str, Tensor]:
        """Signal (C', T') in mV -> `values` (C, T), or (2 C, T) with `lead_mask`; float32.

        Raises:
            ReadError: the signal has no rate or none of the leads, or (by option) a flat lead or too few samples.
        """
        signal = self.prepare(signal)
        self._seen += 1
        for what in signal.meta["odd"]:
            self._note(what)
        values = self._fit_length(signal)
        if self.normalise == "constant":
            values = normalise.by_constant(values, self.scale or 1.0)
        elif self.normalise != "none":
            values = getattr(normalise, self.normalise)(values)
        if self.lead_mask:
            there = torch.isfinite(values).all(1, keepdim=True)
            values = torch.cat([values, there.to(values.dtype).expand_as(values)])
        return {"values": self._fill_up(values.nan_to_num(0.0))}

    def prepare_parameters(self) -> dict[str, Any]:
        """What `prepare` depends on."""
        keys = ("rate", "leads", "derive", "baseline", "cutoff", "notch", "flat")
        return {key: getattr(self, key) for key in keys}

    def prepare(self, signal: Signal) -> Signal:
        """The model's leads at the model's rate, filtered, in mV (C, T); an absent lead is NaN.

        Of the whole recording, before it is cut into windows: filters bend at the edges of what they see. Idempotent,
        and marked in the signal's meta, where `baseline` tells augmentations what has been taken out.

        Raises:
            ReadError: the signal has no rate, none of the leads, only flat ones, or (by option) a flat one.
        """
        done = repr(sorted(self.prepare_parameters().items()))
        if signal.meta.get("prepared") == done:
            return signal
        if signal.rate is None:
            raise ReadError("ecg: the signal has no rate; read it with ecg.rate (Hz)")
        values, odd = self._choose(signal)
        if self.notch is not None:
            if self.notch < filters.NOTCH_LIMIT * signal.rate:
                values = filters.notch(values, signal.rate, self.notch)
            else:
                odd.append(f"without the notch at {self.notch} Hz, since their rate is {signal.rate:g} Hz")
        values = filters.without_baseline(
            resample(values, signal.rate, self.rate), self.rate, self.baseline, self.cutoff
        )
        said = {"prepared": done, "odd": tuple(odd), "source_rate": signal.rate}
        meta = {**signal.meta, **said, "baseline": self.baseline, "cutoff": self.cutoff}
        return Signal(values, self.rate, self.leads, meta)

    def crop(self, signal: Signal, generator: torch.Generator) -> Signal:
        """One window at random, where the recording is longer than `seconds`."""
        signal, length = self.prepare(signal), self.samples
        if length is None or signal.data.shape[1] <= length:
            return signal
        first = int(torch.randint(signal.data.shape[1] - length + 1, (), generator=generator))
        return _part(signal, first, length)

    def segments(self, signal: Signal) -> list[Signal]:
        """Windows of `seconds`, `hop` apart, that cover the whole recording; the last one ends where it ends."""
        signal = self.prepare(signal)
        starts = self._starts(signal)
        return [signal] if len(starts) == 1 else [_part(signal, first, self.samples or 0) for first in starts]

    def _starts(self, signal: Signal) -> list[int]:
        """The first sample of each window of a prepared signal."""
        length, total = self.samples, signal.data.shape[1]
        # What rounding leaves over is no window of its own.
        if length is None or total <= length + self._slack(signal):
            return [0]
        hop = max(round((self.hop or self.seconds or 0) * self.rate), 1)
        return [*range(0, total - length, hop), total - length]

    def restore(self, relevances: Sequence[Tensor], signal: Signal) -> Tensor:
        """Relevance of the signal's own leads and samples: (C', T'). A derived lead's goes to those it came from."""
        prepared = self.prepare(signal)
        count, total = signal.data.shape[1], prepared.data.shape[1]
        lengths = [window.data.shape[1] for window in self.segments(prepared)]
        starts = [start * count / total for start in self._starts(prepared)]
        leads = [part[: len(self.leads)] for part in relevances]  # below them, perhaps, which leads there are
        placed = restore(leads, starts, lengths, count / total, count, wrapped=False)
        out = torch.zeros_like(signal.data)
        for name, row in zip(self.leads, placed):
            sources = [name] if name in signal.channels else limb_sources(name, signal.channels) if self.derive else []
            for source in sources:
                out[signal.channels.index(source)] += row / len(sources)
        return out

    def collate(self, items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Batch: `values` (B, C, T) and `mask` (B, T).

        Raises:
            ModelError: lengths differ, and the encoder's embedding of an item would move with the padding.
        """
        lengths = {item["values"].shape[-1] for item in items}
        if self.padding == "fixed" and len(lengths) > 1:
            raise ModelError(
                f"ecg: this encoder takes no padding, and the batch has recordings of {min(lengths)} to {max(lengths)} "
                "samples; set processing.seconds"
            )
        return super().collate(items)

    def fit(self, signals: Iterable[Signal]) -> Self:
        """A copy whose `scale` is the standard deviation over these signals: one pass, one signal in memory at a time.

        Raises:
            ReadError: there is no signal.
        """
        count, mean, squares, seen = 0, 0.0, 0.0, False
        for signal in signals:
            seen = True
            values = self.prepare(signal).data
            block = values[torch.isfinite(values).all(1)].double()
            n = block.numel()
            if not n:
                continue
            own = float(block.mean())
            shift, total = own - mean, count + n
            squares += float((block - own).square().sum()) + shift**2 * count * n / total
            mean += shift * n / total
            count = total
        if not seen:
            raise ReadError("ecg: no training signal to take the scale from; check the split column")
        scale = math.sqrt(squares / count) if count else 0.0
        # Five digits, so that the last bits of another machine's sums do not make another model.
        return self.model_copy(update={"scale": float(f"{scale:.5g}") if scale > 1e-6 else 1.0})

    def notes(self) -> list[str]:
        """What was odd in the recordings processed so far in this process."""
        return [f"{count} of {self._seen} recordings {what}" for what, count in self._odd.items()]

    def _note(self, what: str) -> None:
        self._odd[what] = self._odd.get(what, 0) + 1

    def _choose(self, signal: Signal) -> tuple[Tensor, list[str]]:
        """Rows in the model's order, and what is odd: NaN where there is no such lead, or a flat one that is masked."""
        data, channels, rate = signal.data, signal.channels, signal.rate or self.rate
        if self.derive:
            data, channels = derive_limb(data, channels, rate)
        rows, odd = _rows(self.leads, channels), []
        if max(rows) < 0:
            raise ReadError(
                f"ecg: the signal has {', '.join(channels) or 'no named lead'}, and the model wants "
                f"{', '.join(self.leads)}; mend ecg.leads, or processing.leads"
            )
        if min(rows) >= 0:
            values = data if rows == tuple(range(len(channels))) else data[list(rows)]
        else:
            values = data.new_full((len(rows), data.shape[1]), float("nan"))
            here = [i for i, row in enumerate(rows) if row >= 0]
            values[here] = data[[rows[i] for i in here]]
            odd.append("lack leads, which are zeros")
        flat = flat_leads(values, rate)
        if self.flat == "keep" or not flat.any():
            return values, odd
        names = [name for name, is_flat in zip(self.leads, flat.tolist()) if is_flat]
        if self.flat == "refuse" or not (torch.isfinite(values).all(1) & ~flat).any():
            mend = ", or set processing.flat = mask" if self.flat == "refuse" else ""
            raise ReadError(f"ecg: flat leads: {', '.join(names)}; record it again{mend}")
        odd.append("have a flat lead, which is masked")
        return torch.where(flat.unsqueeze(1), values.new_tensor(float("nan")), values), odd

    def _slack(self, signal: Signal) -> int:
        """The samples that rounding to the source's rate may give or take."""
        return max(math.ceil(self.rate / float(signal.meta["source_rate"])), 1)

    def _fit_length(self, signal: Signal) -> Tensor:
        """Cut about the centre; one sample that rounding takes is held."""
        values, wanted = signal.data, self.samples
        length = values.shape[1]
        if wanted is None or length == wanted:
            return values
        if length > wanted:
            first = (length - wanted) // 2
            return values[:, first : first + wanted]
        if wanted - length <= self._slack(signal):
            return torch.cat([values, values[:, -1:].expand(-1, wanted - length)], 1)
        return values

    def _fill_up(self, values: Tensor) -> Tensor:
        lacking = (self.samples or 0) - values.shape[1]
        if lacking <= 0:
            return values
        if self.short == "refuse":
            raise ReadError(
                f"ecg: a recording of {values.shape[1] / self.rate:.3g} s is shorter than processing.seconds "
                f"({self.seconds:g}); leave it out, or set processing.short = zero"
            )
        if self.padding == "exact":
            return values
        self._note(f"are shorter than {self.seconds:g} s, and filled with zeros")
        return torch.nn.functional.pad(values, (0, lacking))


@lru_cache(maxsize=256)
def _rows(wanted: tuple[str, ...], given: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(given.index(name) if name in given else -1 for name in wanted)


def _part(signal: Signal, first: int, length: int) -> Signal:
    return Signal(signal.data[:, first : first + length], signal.rate, signal.channels, signal.meta)
