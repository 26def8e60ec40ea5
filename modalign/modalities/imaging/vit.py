"""Vision transformers of `transformers` as 2-D encoders: ViT, DeiT, DINOv2 and 3, CLIP's and SigLIP's image towers."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from modalign.errors import ModelError, RecipeError
from modalign.modalities.base import Encoder, EncoderOutput
from modalign.modalities.layers import checkpoints
from modalign.modalities.layers.hf_drop_key import set_drop_key
from modalign.modalities.spans import TokenSpans, grid_spans, mean_rows, one_row, with_special

CLASSES = {
    "vit": "ViTModel",
    "vit_msn": "ViTMSNModel",
    "deit": "DeiTModel",
    "ijepa": "IJepaModel",
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
    "clip": "CLIPVisionModel",
    "clip_vision_model": "CLIPVisionModel",
    "siglip": "SiglipVisionModel",
    "siglip_vision_model": "SiglipVisionModel",
}
"""`model_type` -> class. A whole CLIP or SigLIP checkpoint gives its image tower."""
WITHOUT_POOLER = ("vit", "deit", "ijepa")
"""Their pooler is a layer that many checkpoints lack; the class token (or, for I-JEPA, the mean) is used."""
UNTRAINED = ("mask_token",)
SPECIAL = {"deit": 2, "ijepa": 0, "siglip_vision_model": 0}
"""Tokens before the registers and patches, where they are not one."""

Pooling = Literal["own", "cls", "mean"]


class VitEncoder(Encoder):
    """A vision transformer. Tokens are its patches, row by row; class and register tokens are not among them.

    Args:
        checkpoint: a folder or a Hub id; its weights are loaded (safetensors only).
        hf_config: instead of a checkpoint: a transformers config (dict) to build without weights, as
            `{"model_type": "vit", "num_channels": 1, "hidden_size": 192}`; what is left out is the class's default.
        revision: the Hub revision to pin.
        pooling: "own" (what the model itself pools; the class token of ViT, DeiT and DINOv2, the attention head of
            SigLIP), "cls" or "mean" (over patches).
        drop_key: DropKey's ratio in training, in the first block.
        schedule: "constant" (MoRE's pretraining: 0.3) or "linear" down to 0 in the last block (its fine-tuning: 0.2).

    Raises:
        RecipeError: neither or both of checkpoint and hf_config, or an option out of range.
        ModelError: the checkpoint cannot be loaded, or is of another family.

    Example:
        >>> encoder = VitEncoder("facebook/dinov2-small", drop_key=0.2, schedule="linear")    # doctest: +SKIP
        >>> encoder(torch.zeros(2, 3, 224, 224)).tokens.shape
        torch.Size([2, 256, 384])
    """

    padding = "fixed"

    def __init__(
        self,
        checkpoint: str | None = None,
        *,
        hf_config: dict[str, Any] | None = None,
        revision: str | None = None,
        pooling: Pooling = "own",
        drop_key: float = 0.0,
        schedule: str = "constant",
    ) -> None:
        super().__init__()
        checkpoints.one_of("vit", checkpoint, hf_config)
        if pooling not in ("own", "cls", "mean"):
            raise RecipeError(f"encoder 'vit': pooling is one of own, cls, mean, not {pooling!r}")
        self._preprocessor: dict[str, Any] = {}
        if hf_config is not None:
            kind = str(hf_config.get("model_type"))
            self.model = checkpoints.build("vit", tuple(CLASSES), hf_config, _class_of, **_arguments(kind))
        else:
            source = str(checkpoint)
            kind = checkpoints.kind_of("vit", tuple(CLASSES), source, revision)
            self.model = checkpoints.load(
                "vit", source, revision, _class_of(kind), untrained=UNTRAINED, **_arguments(kind)
            )
            self._preprocessor = checkpoints.side_file(source, "preprocessor_config.json", revision)
        config = self.model.config
        if pooling == "cls" and config.model_type in ("siglip_vision_model", "ijepa"):
            raise RecipeError(f"encoder 'vit': {config.model_type} has no class token; set pooling to own or mean")
        self.pooling: Pooling = pooling
        self.width, self.channels = int(config.hidden_size), int(config.num_channels)
        self.stride = int(config.patch_size)
        self._resizes = "interpolate_pos_encoding" in inspect.signature(self.model.forward).parameters
        self._drop = {"drop_key": drop_key, "schedule": schedule}
        if drop_key or schedule != "constant":
            set_drop_key(self.model, drop_key, schedule)

    def options(self) -> dict[str, Any]:
        """The transformers config itself, so that no checkpoint is needed to build it again."""
        return {"hf_config": checkpoints.config_of(self.model), "pooling": self.pooling, **self._drop}

    def lora_targets(self) -> list[str]:
        """The attention's query and value projections."""
        return ["q_proj", "v_proj"]

    def processing_defaults(self) -> dict[str, Any]:
        """The model's size and channels; the checkpoint's own mean and standard deviation where it says them."""
        with checkpoints.reading("vit", "preprocessor_config.json"):
            return self._dictated(self._preprocessor)

    def _dictated(self, said: dict[str, Any]) -> dict[str, Any]:
        size = _size_of(said) or _pair(self.model.config.image_size)
        defaults: dict[str, Any] = {"size": size, "channels": self.channels}
        if said.get("do_normalize", bool(said)) and "image_mean" in said and "image_std" in said:
            # Our images are in [0, 1]; nearly all checkpoints scale bytes by 1 / 255.
            scale = 255 * float(said.get("rescale_factor", 1 / 255)) if said.get("do_rescale", True) else 255.0
            defaults["mean"] = tuple(float(m) / scale for m in said["image_mean"])
            defaults["std"] = tuple(float(s) / scale for s in said["image_std"])
        return defaults

    def forward(self, values: Tensor) -> EncoderOutput:
        """Values (B, C, H, W) -> tokens (B, patches, D), mask (B, patches; all True), pooled (B, D).

        Raises:
            ModelError: another number of channels, or sides that are no whole number of patches.
        """
        size = tuple(values.shape[-2:])
        if values.ndim != 4 or values.shape[1] != self.channels or size[0] % self.stride or size[1] % self.stride:
            raise ModelError(
                f"encoder 'vit' takes (B, {self.channels}, H, W), H and W multiples of {self.stride}, not "
                f"{tuple(values.shape)}; leave processing.size and processing.channels to it"
            )
        own = tuple(_pair(self.model.config.image_size))
        resize = {"interpolate_pos_encoding": True} if self._resizes and size != own else {}
        # A model in half precision takes float32 batches; under autocast this changes nothing.
        out = self.model(pixel_values=values.to(next(self.model.parameters()).dtype), **resize)
        hidden = out.last_hidden_state
        patches = size[0] // self.stride * (size[1] // self.stride)
        tokens = hidden[:, hidden.shape[1] - patches :]
        pooled = getattr(out, "pooler_output", None) if self.pooling == "own" else None
        if pooled is None:
            mean = self.pooling == "mean" or hidden.shape[1] == patches
            pooled = tokens.mean(1) if mean else hidden[:, 0]
        return EncoderOutput(tokens, tokens.new_ones(tokens.shape[:2]).bool(), pooled)

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans:
        """Class and register tokens, then patches. SigLIP's attention head is taken for a mean of the patches."""
        patches = grid_spans(inputs["values"].shape[1:], (self.channels, self.stride, self.stride))
        special = SPECIAL.get(self.model.config.model_type, 1)
        special += int(getattr(self.model.config, "num_register_tokens", 0) or 0)
        spans = with_special(patches, special)
        if special and self.pooling != "mean":
            return TokenSpans(spans, one_row(len(spans), 0))
        return TokenSpans(spans, mean_rows(~spans[:, 0, 0].isnan()))


def _class_of(kind: str) -> Any:
    import transformers

    return getattr(transformers, CLASSES[kind])


def _arguments(kind: str) -> dict[str, Any]:
    return {"add_pooling_layer": False} if kind in WITHOUT_POOLER else {}


def _pair(size: Any) -> list[int]:
    return [int(size), int(size)] if isinstance(size, int) else [int(size[0]), int(size[1])]


def _size_of(said: dict[str, Any]) -> list[int] | None:
    """The size that a preprocessor ends with: its crop, else its resize."""
    for key, flag in (("crop_size", "do_center_crop"), ("size", "do_resize")):
        size = said.get(key)
        if size is None or not said.get(flag, True):
            continue
        if isinstance(size, dict):
            size = [size["height"], size["width"]] if "height" in size else size.get("shortest_edge")
        if size is not None:
            return _pair(size)
    return None
