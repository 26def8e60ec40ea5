"""Encoders: one adapter over tsai's models, and a function for each that says its options.

tsai takes seconds to import and changes the process's warning filters, so it is imported when an encoder is built.
Convolutional nets of tsai move under padding (cosine 0.985 and 0.959 measured), hence `padding = "fixed"`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from modalign.errors import MissingExtraError, ModelError, RecipeError
from modalign.modalities.base import Encoder, EncoderOutput


class TsaiEncoder(Encoder):
    """A backbone of tsai without its head: tokens are its time steps, pooled is their mean.

    Args:
        name: what errors call it.
        backbone: (B, C, T) -> (B, D, L).
        width: D.
        options: from which the same encoder is built again.
        samples: the only length it takes, or None.
        dropout: on the tokens, in training.
    """

    padding = "fixed"

    def __init__(
        self,
        name: str,
        backbone: nn.Module,
        width: int,
        *,
        options: dict[str, Any],
        samples: int | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.name = name
        self.backbone = backbone
        self.width = width
        self.samples = samples
        if not 0 <= dropout < 1:
            raise RecipeError(f"encoder {name!r}: dropout is between 0 and 1, not {dropout!r}")
        self.dropout = nn.Dropout(dropout)
        self._options = options

    def options(self) -> dict[str, Any]:
        """The options it was built from."""
        return dict(self._options)

    def processing_defaults(self) -> dict[str, Any]:
        """No padded batches."""
        return {"padding": self.padding}

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, C, T), mask (B, T; all True) -> tokens (B, L, D), mask (B, L), pooled (B, D).

        Raises:
            ModelError: another number of channels or samples than it was built for, or a padded batch.
        """
        self._check(values, mask)
        # A model in half precision takes float32 batches; under autocast this changes nothing.
        features = self.backbone(values.to(next(self.backbone.parameters()).dtype))
        tokens = self.dropout(features.transpose(1, 2))
        return EncoderOutput(tokens, mask.new_ones(tokens.shape[:2], dtype=torch.bool), tokens.mean(1))

    def _check(self, values: Tensor, mask: Tensor) -> None:
        channels = self._options["channels"]
        if values.ndim != 3 or values.shape[1] != channels:
            raise ModelError(
                f"encoder {self.name!r} takes (B, {channels}, T), not {tuple(values.shape)}; set its option channels "
                "to the number of processing.channels"
            )
        if self.samples is not None and values.shape[2] != self.samples:
            raise ModelError(
                f"encoder {self.name!r} takes windows of {self.samples} samples, not {values.shape[2]}; set its option "
                "samples to processing.window times processing.rate"
            )
        # On a GPU the same is refused by the collate function, since reading the mask here would wait for the device.
        if mask.device.type == "cpu" and not torch.compiler.is_compiling() and not mask.all():
            raise ModelError(
                f"encoder {self.name!r} takes no padded windows (their embedding would move); set processing.window, "
                "so that all have one length"
            )


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


def fcn(
    channels: int = 6,
    *,
    layers: Sequence[int] = (128, 256, 128),
    kss: Sequence[int] = (7, 5, 3),
    residual: bool = False,
    dropout: float = 0.0,
) -> TsaiEncoder:
    """tsai's FCNPlus: three convolutions; a token a sample. Width: the last of `layers`."""
    _positive("fcn", channels=channels, layers=layers, kss=kss)
    _count("fcn", "layers", layers, 3)
    _kernels("fcn", kss)
    model = _tsai("FCNPlus")(channels, 1, layers=list(layers), kss=list(kss), residual=residual)
    options = {"channels": channels, "layers": list(layers), "kss": list(kss), "residual": residual, "dropout": dropout}
    return TsaiEncoder("fcn", model.backbone, layers[2], options=options, dropout=dropout)


def resnet(channels: int = 6, *, nf: int = 64, kss: Sequence[int] = (7, 5, 3), dropout: float = 0.0) -> TsaiEncoder:
    """tsai's ResNetPlus: three residual blocks of three convolutions; a token a sample. Width: 2 * nf."""
    _positive("resnet", channels=channels, nf=nf, kss=kss)
    _kernels("resnet", kss)
    model = _tsai("ResNetPlus")(channels, 1, nf=nf, ks=list(kss))
    options = {"channels": channels, "nf": nf, "kss": list(kss), "dropout": dropout}
    return TsaiEncoder("resnet", model.backbone, model.head_nf, options=options, dropout=dropout)


def xresnet(
    channels: int = 6,
    *,
    layers: Sequence[int] = (2, 2, 2, 2),
    expansion: int = 1,
    widen: float = 1.0,
    ks: int = 3,
    dropout: float = 0.0,
) -> TsaiEncoder:
    """tsai's XResNet1dPlus (18 layers by default); a token about 32 samples. Width: 512 * widen * expansion."""
    _positive("xresnet", channels=channels, layers=layers, expansion=expansion, widen=widen, ks=ks)
    if len(layers) < 4 or expansion not in (1, 4):
        raise RecipeError(
            f"encoder 'xresnet': layers has four numbers or more and expansion is 1 or 4, not {layers}, {expansion}"
        )
    _kernels("xresnet", [ks], count=1)
    model = _tsai("XResNet1dPlus")(
        c_in=channels, c_out=1, layers=list(layers), expansion=expansion, widen=widen, ks=ks
    )  # fmt: skip
    options = {
        "channels": channels, "layers": list(layers), "expansion": expansion, "widen": widen, "ks": ks,
        "dropout": dropout,
    }  # fmt: skip
    return TsaiEncoder("xresnet", model.backbone, model.head_nf, options=options, dropout=dropout)


def inception(
    channels: int = 6, *, nf: int = 32, depth: int = 6, ks: int = 40, bottleneck: bool = True, dropout: float = 0.0
) -> TsaiEncoder:
    """tsai's InceptionTimePlus: `depth` modules of kernels ks, ks/2 and ks/4; a token a sample. Width: 4 * nf."""
    _positive("inception", channels=channels, nf=nf, depth=depth, ks=ks)
    if ks < 8:
        raise RecipeError(f"encoder 'inception': ks is 8 or more, since kernels of ks/2 and ks/4 follow, not {ks}")
    model = _tsai("InceptionTimePlus")(channels, 1, nf=nf, depth=depth, ks=ks, bottleneck=bottleneck)
    options = {"channels": channels, "nf": nf, "depth": depth, "ks": ks, "bottleneck": bottleneck, "dropout": dropout}
    return TsaiEncoder("inception", model.backbone, model.head_nf, options=options, dropout=dropout)


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
) -> TsaiEncoder:
    """tsai's PatchTST (its transformer normalises by batch); a token a patch. Width: channels * d_model.

    `samples` is the window's length, since positions are learnt. `revin` is off: it would take gravity out.
    """
    _positive(
        "patchtst", channels=channels, samples=samples, patch_len=patch_len, stride=stride, depth=depth,
        d_model=d_model, heads=heads, d_ff=d_ff,
    )  # fmt: skip
    if patch_len > samples:
        raise RecipeError(f"encoder 'patchtst': patch_len ({patch_len}) is at most samples ({samples})")
    if not 0 <= dropout < 1:
        raise RecipeError(f"encoder 'patchtst': dropout is between 0 and 1, not {dropout!r}")
    if d_model % heads:
        raise RecipeError(f"encoder 'patchtst': d_model ({d_model}) is a multiple of heads ({heads})")
    model = _tsai("PatchTST")(
        channels, None, samples, revin=False, patch_len=patch_len, stride=stride, n_layers=depth, d_model=d_model,
        n_heads=heads, d_ff=d_ff, dropout=dropout,
    )  # fmt: skip
    backbone = PatchTokens(model.model.backbone, patch_len, stride)
    options = {
        "channels": channels, "samples": samples, "patch_len": patch_len, "stride": stride, "depth": depth,
        "d_model": d_model, "heads": heads, "d_ff": d_ff, "dropout": dropout,
    }  # fmt: skip
    return TsaiEncoder("patchtst", backbone, channels * d_model, options=options, samples=samples)


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "fcn": fcn, "resnet": resnet, "xresnet": xresnet, "inception": inception, "patchtst": patchtst,
}  # fmt: skip


def _tsai(name: str) -> Any:
    """A class of tsai.models.

    Raises:
        MissingExtraError: tsai is not installed.
    """
    try:
        # fastai silences all warnings of the process when it is imported.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return getattr(import_module(f"tsai.models.{name}"), name)
    except ImportError as error:
        raise MissingExtraError(f"the motion encoders ({name} of tsai)", "motion") from error


def _positive(encoder: str, **options: float | Sequence[int]) -> None:
    for key, value in options.items():
        for number in value if isinstance(value, Sequence) else [value]:
            if not isinstance(number, (int, float)) or isinstance(number, bool) or number <= 0:
                raise RecipeError(f"encoder {encoder!r}: {key} is above 0, not {value!r}")


def _count(encoder: str, key: str, values: Sequence[int], count: int) -> None:
    if len(values) != count:
        raise RecipeError(f"encoder {encoder!r}: {key} has {count} numbers, not {list(values)}")


def _kernels(encoder: str, kss: Sequence[int], count: int = 3) -> None:
    _count(encoder, "kss", kss, count)
    if any(k % 2 == 0 for k in kss):
        # tsai pads an even kernel by a module that registers its weight twice, which safetensors refuses.
        raise RecipeError(f"encoder {encoder!r}: kernel sizes are odd, not {list(kss)}")
