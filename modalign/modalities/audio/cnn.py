"""A small convolutional net on log-mel bands, which trains on a CPU in minutes."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from modalign.errors import ModelError, RecipeError
from modalign.modalities.base import Encoder, EncoderOutput, masked_mean


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each place of (B, C, F, M): padding has no part in it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        out: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return out.permute(0, 3, 1, 2)


class Block(nn.Module):
    """Two convolutions of 3 x 3, then the mean of each 2 x 2; frames that are padding stay 0."""

    def __init__(self, before: int, after: int, norm: Literal["batch", "layer"]) -> None:
        super().__init__()
        kind = nn.BatchNorm2d if norm == "batch" else ChannelNorm
        self.first = nn.Conv2d(before, after, 3, padding=1, bias=False)
        self.first_norm = kind(after)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.second_norm = kind(after)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, F, M), (B, F) -> (B, C', F / 2, M // 2), (B, F / 2); F is even."""
        real = mask[:, None, :, None].to(x.dtype)
        x = F.relu(self.first_norm(self.first(x)), inplace=True) * real
        x = F.relu(self.second_norm(self.second(x))) * real
        return F.avg_pool2d(x, 2), mask.unflatten(1, (-1, 2)).any(-1)  # type: ignore[no-untyped-call]


class Stem(nn.Module):
    """A convolution of 5 x 5 at every second place: most of the cost of a small net lies in its first layers."""

    def __init__(self, channels: int, norm: Literal["batch", "layer"]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 5, stride=2, padding=2, bias=False)
        self.norm = nn.BatchNorm2d(channels) if norm == "batch" else ChannelNorm(channels)

    def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, F, M), (B, F) -> (B, C, F / 2, M / 2), (B, F / 2); F is even."""
        mask = mask.unflatten(1, (-1, 2)).any(-1)  # type: ignore[no-untyped-call]
        return F.relu(self.norm(self.conv(x))) * mask[:, None, :, None].to(x.dtype), mask


class CnnEncoder(Encoder):
    """A stem and blocks of two convolutions, each halving time and frequency; tokens are time steps, with the bands
    side by side.

    Pooled is the mean plus the maximum over the real tokens (as in PANNs, Kong et al. 2020), so that both a steady
    sound and a short one count.

    Args:
        mels: bands of the front end.
        channels: of the stem and of each block.
        width: D.
        norm: "batch", or "layer" (over channels) where batches are small or gradients are cached.
        dropout: on the tokens, in training.

    Raises:
        RecipeError: an option is out of range.

    Example:
        >>> encoder = CnnEncoder()
        >>> encoder(torch.zeros(2, 1, 250, 64), torch.ones(2, 250, dtype=torch.bool)).pooled.shape
        torch.Size([2, 256])
    """

    padding = "exact"

    def __init__(
        self,
        *,
        mels: int = 64,
        channels: tuple[int, ...] = (16, 32, 64, 128),
        width: int = 256,
        norm: Literal["batch", "layer"] = "batch",
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        channels = tuple(channels)
        if norm not in ("batch", "layer"):
            raise RecipeError(f"encoder 'cnn': norm is batch or layer, not {norm!r}")
        if not 0 <= dropout < 1:
            raise RecipeError(f"encoder 'cnn': dropout is between 0 and 1, not {dropout!r}")
        if not channels or any(not isinstance(n, int) or n < 1 for n in (*channels, width, mels)):
            raise RecipeError("encoder 'cnn': channels, width and mels are whole numbers above 0")
        if mels % (1 << len(channels)):
            raise RecipeError(
                f"encoder 'cnn': {len(channels)} stages halve the bands, so mels is a multiple of "
                f"{1 << len(channels)}, not {mels}"
            )
        self.mels, self.width = mels, width
        self._options = {"mels": mels, "channels": list(channels), "width": width, "norm": norm, "dropout": dropout}
        self.blocks = nn.ModuleList([Stem(channels[0], norm), *(Block(a, b, norm) for a, b in pairwise(channels))])
        self.join = nn.Linear(channels[-1] * (mels >> len(channels)), width)
        self.dropout = nn.Dropout(dropout)

    def options(self) -> dict[str, Any]:
        """The options it was built from."""
        return dict(self._options)

    def processing_defaults(self) -> dict[str, Any]:
        """Log-mel with as many bands."""
        return {"frontend": "logmel", "mels": self.mels}

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, 1, F, M), mask (B, F) -> tokens (B, F / 2^blocks, D), mask, pooled (B, D).

        Raises:
            ModelError: another number of bands.
        """
        if values.ndim != 4 or values.shape[1] != 1 or values.shape[3] != self.mels:
            raise ModelError(
                f"encoder 'cnn' takes (B, 1, frames, {self.mels}), not {tuple(values.shape)}; set its option mels to "
                "processing.mels, with the front end logmel"
            )
        x = values.to(self.join.weight.dtype)
        # Whole tokens only, so that a clip's last one is the same whatever the batch is padded to.
        lacking = -x.shape[2] % (1 << len(self.blocks))
        x, real = F.pad(x, (0, 0, 0, lacking)), F.pad(mask, (0, lacking))
        for block in self.blocks:
            x, real = block(x, real)
        tokens = self.dropout(F.relu(self.join(x.permute(0, 2, 1, 3).flatten(2))))
        loudest = tokens.masked_fill(~real.unsqueeze(-1), float("-inf")).amax(1)
        return EncoderOutput(tokens, real, masked_mean(tokens, real) + loudest)
