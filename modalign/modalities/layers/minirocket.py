"""MiniRocket as an encoder: fixed random kernels, for the few hundred recordings that a net cannot learn from.

Dempster, Schmidt and Webb 2021, doi:10.1145/3447548.3467231; several channels as in its authors' code and in tsai's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from modalign.errors import ModelError, RecipeError
from modalign.modalities.base import Encoder, EncoderOutput
from modalign.modalities.layers.options import positive
from modalign.modalities.layers.tsai import check_input

TAPS = 9
KERNELS = 84
"""Every kernel of nine taps of which three are 2 and six are -1, so that a constant gives 0."""
DILATIONS = 32
"""How many dilations a kernel has at most."""
CHANNELS = 9
"""How many channels are summed before a kernel at most."""


class MiniRocket(Encoder):
    """84 kernels of fixed weights, dilated, on random sums of channels: the share of samples above fitted biases.

    Nothing in it learns by gradient. `fit` takes the biases, quantiles of the kernels' responses to training windows;
    before, they are random (in -1 to 1), which is the untrained baseline. Set `tune: frozen`, so that each window is
    encoded once.

    Args:
        channels: of the input.
        samples: the window's length, to which dilations go up; the only one taken.
        features: width, made a multiple of 84 from above.

    Example:
        >>> encoder = MiniRocket(3, samples=50, features=84)
        >>> encoder(torch.randn(2, 3, 50), torch.ones(2, 50, dtype=torch.bool)).pooled.shape
        torch.Size([2, 84])

    Raises:
        RecipeError: an option is out of range.
    """

    padding = "fixed"
    trains = False
    mix: Tensor
    biases: Tensor
    kernels: Tensor

    def __init__(self, channels: int, *, samples: int, features: int = 9996) -> None:
        super().__init__()
        positive("minirocket", channels=channels, samples=samples, features=features)
        if samples < TAPS:
            raise RecipeError(f"encoder 'minirocket': samples is {TAPS} or more, not {samples}")
        self.channels, self.samples = channels, samples
        self.dilations, self.counts = dilations_for(samples, -(-features // KERNELS))
        self.width = KERNELS * sum(self.counts)
        taps = torch.tensor(list(combinations(range(TAPS), 3)))
        self.register_buffer("kernels", torch.full((KERNELS, TAPS), -1.0).scatter_(1, taps, 2.0), persistent=False)
        self.register_buffer("mix", _mixes(len(self.dilations) * KERNELS, channels).unflatten(0, (-1, KERNELS)))  # type: ignore[no-untyped-call]
        self.register_buffer("biases", torch.rand(self.width) * 2 - 1)

    def options(self) -> dict[str, int]:
        """The options it was built from."""
        return {"channels": self.channels, "samples": self.samples, "features": self.width}

    def processing_defaults(self) -> dict[str, str]:
        """No padded batches."""
        return {"padding": self.padding}

    def lora_targets(self) -> list[str]:
        """None: no weight is learnt."""
        return []

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, C, T), mask (B, T; all True) -> one token (B, 1, D), mask (B, 1), pooled (B, D) in 0 to 1.

        Raises:
            ModelError: another number of channels or samples than it was built for, or a padded batch.
        """
        self._check(values)
        if mask.device.type == "cpu" and not torch.compiler.is_compiling() and not mask.all():
            raise ModelError("encoder 'minirocket' takes no padded batch; give one length to all")
        values = values.to(_exact(values))
        parts = []
        for i, biases in enumerate(self._biases_by_dilation()):
            responses = self._responses(values, i)
            edge = TAPS // 2 * self.dilations[i]
            # Half the kernels see the zeros beyond the ends, the others do not.
            parts.append(_shares(responses[:, i % 2 :: 2], biases[i % 2 :: 2]))
            parts.append(_shares(responses[:, 1 - i % 2 :: 2, edge:-edge], biases[1 - i % 2 :: 2]))
        pooled = torch.cat(parts, 1).to(torch.promote_types(self.biases.dtype, torch.float32))
        return EncoderOutput(pooled.unsqueeze(1), mask.new_ones(len(pooled), 1), pooled)

    @torch.no_grad()
    def fit(self, inputs: Iterable[Mapping[str, Tensor]], generator: torch.Generator) -> None:
        """Take each kernel's biases from its responses to one training window, drawn at random.

        Args:
            inputs: processed windows, `values` (C, T).
            generator: draws the windows.

        Raises:
            ModelError: there is none, or one is of another shape.
        """
        slots = len(self.dilations) * KERNELS
        windows = _sample((item["values"] for item in inputs), slots, generator)
        if not windows:
            raise ModelError("encoder 'minirocket': no training window to fit its biases on; check the split column")
        values = torch.stack(windows)
        self._check(values)
        chosen = torch.arange(slots) % len(values)
        chosen = chosen[torch.randperm(slots, generator=generator)].view(-1, KERNELS)
        # Quantiles by the golden ratio, evenly spread however many are taken.
        shares = (torch.arange(1, self.width + 1, dtype=torch.float64) * ((5**0.5 + 1) / 2)) % 1
        biases = []
        for i, (count, quantiles) in enumerate(zip(self.counts, shares.split([KERNELS * c for c in self.counts]))):  # type: ignore[no-untyped-call]
            one = (values[chosen[i]].double() * self.mix[i].cpu().unsqueeze(-1)).sum(1)
            responses = self._convolve(one.unsqueeze(0), self.kernels.cpu().double().unsqueeze(1), i, KERNELS)[0]
            biases += [
                torch.quantile(response, share) for response, share in zip(responses, quantiles.view(KERNELS, count))
            ]
        self.biases.copy_(torch.cat(biases))

    def _check(self, values: Tensor) -> None:
        check_input("minirocket", values, self.channels, 1)
        if values.shape[2] != self.samples:
            raise ModelError(
                f"encoder 'minirocket' takes windows of {self.samples} samples, not {values.shape[2]}; set its option "
                "samples to the window's seconds times the rate of the processing"
            )

    def _biases_by_dilation(self) -> list[Tensor]:
        """(84, count) for each dilation."""
        parts = self.biases.split([KERNELS * count for count in self.counts])  # type: ignore[no-untyped-call]
        return [part.view(KERNELS, -1) for part in parts]

    def _responses(self, values: Tensor, i: int) -> Tensor:
        """(B, C, T) -> (B, 84, T) at dilation i. A sum of channels goes into the weights: one convolution, no group."""
        weights = self.mix[i].to(values.dtype).unsqueeze(-1) * self.kernels.to(values.dtype).unsqueeze(1)
        return self._convolve(values, weights, i)

    def _convolve(self, values: Tensor, weights: Tensor, i: int, groups: int = 1) -> Tensor:
        dilation = self.dilations[i]
        return F.conv1d(values, weights, padding=TAPS // 2 * dilation, dilation=dilation, groups=groups)


def dilations_for(samples: int, features: int) -> tuple[list[int], list[int]]:
    """The dilations for a length, exponentially spread, and how many of a kernel's features each of them has.

    Example:
        >>> dilations_for(50, 6)
        ([1, 2, 3, 4, 6], [2, 1, 1, 1, 1])
    """
    most = min(features, DILATIONS)
    spread = np.logspace(0, np.log2((samples - 1) / (TAPS - 1)), most, base=2).astype(np.int32)
    dilations, counts = np.unique(spread, return_counts=True)
    counts = (counts * (features / most)).astype(np.int32)
    for i in range(features - counts.sum()):
        counts[i % len(counts)] += 1
    return dilations.tolist(), counts.tolist()


def _mixes(count: int, channels: int) -> Tensor:
    """(count, C) bool: which channels are summed; few more often than many."""
    largest = torch.tensor(float(min(channels, CHANNELS) + 1)).log2()
    sizes = (2 ** (torch.rand(count) * largest)).int().clamp_max(min(channels, CHANNELS))
    order = torch.rand(count, channels).argsort(1).argsort(1)
    return order < sizes.unsqueeze(1)


def _exact(values: Tensor) -> torch.dtype:
    """Double, in which sums of a few float32 values are exact: a value at a bias falls on one side in any batch."""
    return torch.float32 if values.device.type == "mps" else torch.float64


def _shares(responses: Tensor, biases: Tensor) -> Tensor:
    """(B, K, T) responses, (K, N) biases -> (B, K * N): the share of samples above each."""
    above = [(responses > bias.unsqueeze(-1)).sum(-1) for bias in biases.to(responses.dtype).unbind(1)]
    return (
        torch.stack(above, -1).flatten(1).to(torch.float64 if responses.dtype == torch.float64 else torch.float32)
        / (responses.shape[-1])
    )


def _sample(items: Iterable[Tensor], most: int, generator: torch.Generator) -> list[Tensor]:
    """At most so many items of a stream, each as likely (reservoir sampling)."""
    kept: list[Tensor] = []
    for n, item in enumerate(items):
        if n < most:
            kept.append(item)
        elif (place := int(torch.randint(n + 1, (), generator=generator))) < most:
            kept[place] = item
    return kept
