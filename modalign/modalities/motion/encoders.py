"""Encoders: tsai's models, a function for each that says its options, and UniMTS's graph encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from modalign.errors import RecipeError
from modalign.modalities.base import Encoder
from modalign.modalities.layers.minirocket import MiniRocket
from modalign.modalities.layers.options import fraction, positive
from modalign.modalities.layers.tsai import FixedLength, tsai_model
from modalign.modalities.motion.stgcn import STGCN
from modalign.modalities.spans import TokenSpans, grid_spans


class PatchTokens(nn.Module):
    """PatchTST's patches and transformer without reversible norm and head: (B, C, T) -> (B, C * D, L).

    The transformer is the same for all channels and sees one at a time, so the channels' tokens are put side by side:
    a mean over them would not tell an accelerometer from a gyroscope.
    """

    def __init__(self, transformer: nn.Module, patch_len: int, stride: int) -> None:
        super().__init__()
        self.transformer = transformer
        self.patch_len, self.stride = patch_len, stride

    def forward(self, values: Tensor) -> Tensor:
        """Cut into patches (the first value is held before the beginning, as in tsai) and transform them."""
        held = nn.functional.pad(values, (self.stride, 0), mode="replicate")
        patches = held.unfold(-1, self.patch_len, self.stride).transpose(2, 3)  # (B, C, patch_len, L)
        out: Tensor = self.transformer(patches)  # (B, C, D, L)
        return out.flatten(1, 2)

    def spans(self, shape: Sequence[int]) -> TokenSpans:
        """A token is a patch of one channel; attention runs within a channel, and each one's mean is pooled."""
        channels, samples = shape
        # What is held before the beginning counts with the first samples.
        spans = grid_spans((channels, samples + self.stride), (1, self.patch_len), (1, self.stride))
        spans[:, 1] = (spans[:, 1] - self.stride).clamp_min(0)
        each = len(spans) // channels
        return TokenSpans(spans, spans.new_full((len(spans),), 1 / each))


def fcn(
    channels: int = 6,
    *,
    layers: Sequence[int] = (128, 256, 128),
    kss: Sequence[int] = (7, 5, 3),
    residual: bool = False,
    dropout: float = 0.0,
) -> FixedLength:
    """tsai's FCNPlus: three convolutions; a token a sample. Width: the last of `layers`."""
    fraction("fcn", dropout=dropout)
    positive("fcn", channels=channels, layers=layers, kss=kss)
    _count("fcn", "layers", layers, 3)
    _kernels("fcn", kss)
    model = tsai_model("FCNPlus", "motion")(channels, 1, layers=list(layers), kss=list(kss), residual=residual)
    options = {"channels": channels, "layers": list(layers), "kss": list(kss), "residual": residual, "dropout": dropout}
    return FixedLength("fcn", model.backbone, layers[2], options=options, dropout=dropout)


def resnet(channels: int = 6, *, nf: int = 64, kss: Sequence[int] = (7, 5, 3), dropout: float = 0.0) -> FixedLength:
    """tsai's ResNetPlus: three residual blocks of three convolutions; a token a sample. Width: 2 * nf."""
    fraction("resnet", dropout=dropout)
    positive("resnet", channels=channels, nf=nf, kss=kss)
    _kernels("resnet", kss)
    model = tsai_model("ResNetPlus", "motion")(channels, 1, nf=nf, ks=list(kss))
    options = {"channels": channels, "nf": nf, "kss": list(kss), "dropout": dropout}
    return FixedLength("resnet", model.backbone, model.head_nf, options=options, dropout=dropout)


def xresnet(
    channels: int = 6,
    *,
    layers: Sequence[int] = (2, 2, 2, 2),
    expansion: int = 1,
    widen: float = 1.0,
    ks: int = 3,
    dropout: float = 0.0,
) -> FixedLength:
    """tsai's XResNet1dPlus (18 layers by default); a token about 32 samples. Width: 512 * widen * expansion."""
    fraction("xresnet", dropout=dropout)
    positive("xresnet", channels=channels, layers=layers, expansion=expansion, widen=widen, ks=ks)
    if len(layers) < 4 or expansion not in (1, 4):
        raise RecipeError(
            f"encoder 'xresnet': layers has four numbers or more and expansion is 1 or 4, not {layers}, {expansion}"
        )
    _kernels("xresnet", [ks], count=1)
    model = tsai_model("XResNet1dPlus", "motion")(
        c_in=channels, c_out=1, layers=list(layers), expansion=expansion, widen=widen, ks=ks
    )  # fmt: skip
    options = {
        "channels": channels, "layers": list(layers), "expansion": expansion, "widen": widen, "ks": ks,
        "dropout": dropout,
    }  # fmt: skip
    return FixedLength("xresnet", model.backbone, model.head_nf, options=options, dropout=dropout)


def inception(
    channels: int = 6, *, nf: int = 32, depth: int = 6, ks: int = 40, bottleneck: bool = True, dropout: float = 0.0
) -> FixedLength:
    """tsai's InceptionTimePlus: `depth` modules of kernels ks, ks/2 and ks/4; a token a sample. Width: 4 * nf."""
    fraction("inception", dropout=dropout)
    positive("inception", channels=channels, nf=nf, depth=depth, ks=ks)
    if ks < 8:
        raise RecipeError(f"encoder 'inception': ks is 8 or more, since kernels of ks/2 and ks/4 follow, not {ks}")
    model = tsai_model("InceptionTimePlus", "motion")(channels, 1, nf=nf, depth=depth, ks=ks, bottleneck=bottleneck)
    options = {"channels": channels, "nf": nf, "depth": depth, "ks": ks, "bottleneck": bottleneck, "dropout": dropout}
    return FixedLength("inception", model.backbone, model.head_nf, options=options, dropout=dropout)


def patchtst(
    channels: int = 6,
    *,
    samples: int = 100,
    patch_len: int = 16,
    stride: int = 8,
    depth: int = 3,
    d_model: int = 64,
    heads: int = 8,
    d_ff: int = 128,
    dropout: float = 0.1,
) -> FixedLength:
    """tsai's PatchTST (its transformer normalises by batch); a token a patch. Width: channels * d_model.

    `samples` is the window's length, since positions are learnt. `revin` is off: it would take gravity out.
    """
    positive(
        "patchtst", channels=channels, samples=samples, patch_len=patch_len, stride=stride, depth=depth,
        d_model=d_model, heads=heads, d_ff=d_ff,
    )  # fmt: skip
    if patch_len > samples:
        raise RecipeError(f"encoder 'patchtst': patch_len ({patch_len}) is at most samples ({samples})")
    fraction("patchtst", dropout=dropout)
    if d_model % heads:
        raise RecipeError(f"encoder 'patchtst': d_model ({d_model}) is a multiple of heads ({heads})")
    model = tsai_model("PatchTST", "motion")(
        channels, None, samples, revin=False, patch_len=patch_len, stride=stride, n_layers=depth, d_model=d_model,
        n_heads=heads, d_ff=d_ff, dropout=dropout,
    )  # fmt: skip
    backbone = PatchTokens(model.model.backbone, patch_len, stride)
    options = {
        "channels": channels, "samples": samples, "patch_len": patch_len, "stride": stride, "depth": depth,
        "d_model": d_model, "heads": heads, "d_ff": d_ff, "dropout": dropout,
    }  # fmt: skip
    return FixedLength("patchtst", backbone, channels * d_model, options=options, samples=samples)


def minirocket(channels: int = 6, *, samples: int = 100, features: int = 9996) -> MiniRocket:
    """Fixed random kernels (`layers/minirocket.py`), for a few hundred windows. `samples`: 2 s at 50 Hz."""
    return MiniRocket(channels, samples=samples, features=features)


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "fcn": fcn, "resnet": resnet, "xresnet": xresnet, "inception": inception, "patchtst": patchtst,
    "stgcn": STGCN, "minirocket": minirocket,
}  # fmt: skip


def _count(encoder: str, key: str, values: Sequence[int], count: int) -> None:
    if len(values) != count:
        raise RecipeError(f"encoder {encoder!r}: {key} has {count} numbers, not {list(values)}")


def _kernels(encoder: str, kss: Sequence[int], count: int = 3) -> None:
    _count(encoder, "kss", kss, count)
    if any(k % 2 == 0 for k in kss):
        # tsai pads an even kernel by a module that registers its weight twice, which safetensors refuses.
        raise RecipeError(f"encoder {encoder!r}: kernel sizes are odd, not {list(kss)}")
