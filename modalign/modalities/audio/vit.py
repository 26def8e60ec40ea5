"""An image transformer on the spectrogram of a sound: LanguageBind's audio tower."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from modalign.errors import ModelError
from modalign.modalities.base import Encoder, EncoderOutput
from modalign.modalities.imaging.vit import VitEncoder
from modalign.modalities.spans import TokenSpans, grid_spans, with_special

FRAMES, BANDS = 1036, 126
"""LanguageBind's spectrogram: with patches of 14, 74 along time by 9 along frequency."""


class VitAudioEncoder(Encoder):
    """A vision transformer (`imaging/vit.py`) on Kaldi's filterbank, the same image in each of its channels.

    LanguageBind's (PKU-YuanGroup/LanguageBind) is CLIP's ViT-L/14 on 126 bands and 1036 frames. Its positions are
    resized to the spectrogram's patches. Otherwise than there, channels are equal, not three chunks of a long clip,
    which is covered by windows instead.

    Args:
        checkpoint: a folder or a Hub id, of an image transformer or of a whole CLIP.
        hf_config: instead of a checkpoint: a transformers config (dict) to build without weights.
        frames: of the spectrogram; a multiple of the patch.
        bands: likewise.
        options: `revision`, `pooling`, `drop_key` and `schedule`: see `VitEncoder`.

    Raises:
        RecipeError: neither or both of checkpoint and hf_config, or an option out of range.
        ModelError: the checkpoint cannot be loaded, or frames or bands are no whole number of patches.

    Example:
        >>> import torch
        >>> config = {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8, "hidden_size": 16}
        >>> small = {"intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
        >>> encoder = VitAudioEncoder(hf_config={**config, **small}, frames=64, bands=16)
        >>> encoder(torch.zeros(2, 1, 64, 16), torch.ones(2, 64, dtype=torch.bool)).tokens.shape
        torch.Size([2, 16, 16])
    """

    padding = "fixed"

    def __init__(
        self,
        checkpoint: str | None = None,
        *,
        hf_config: dict[str, Any] | None = None,
        frames: int = FRAMES,
        bands: int = BANDS,
        **options: Any,
    ) -> None:
        super().__init__()
        self.image = VitEncoder(checkpoint, hf_config=hf_config, **options)
        self.width, self.frames, self.bands, self.patch = self.image.width, frames, bands, self.image.stride
        if min(frames, bands) < 1 or frames % self.patch or bands % self.patch:
            raise ModelError(
                f"encoder 'vit': {frames} frames and {bands} bands are no whole number of patches of {self.patch}; set "
                "its options frames and bands"
            )

    def options(self) -> dict[str, Any]:
        """The transformers config itself, so that no checkpoint is needed to build it again."""
        return {**self.image.options(), "frames": self.frames, "bands": self.bands}

    def lora_targets(self) -> list[str]:
        """The attention's query and value projections."""
        return self.image.lora_targets()

    def processing_defaults(self) -> dict[str, Any]:
        """Kaldi's filterbank of so many bands and frames, shorter clips begun again, AudioSet's mean and deviation."""
        return {
            "frontend": "fbank",
            "rate": 16_000,
            "seconds": (400 + (self.frames - 1) * 160) / 16_000,
            "mels": self.bands,
            "shorter": "repeat",
        }

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, 1, F, M), mask (B, F) -> tokens (B, patches, D), frequency first, mask, pooled (B, D).

        Raises:
            ModelError: another number of frames or bands.
        """
        if values.shape[1:] != (1, self.frames, self.bands):
            raise ModelError(
                f"encoder 'vit' takes (B, 1, {self.frames}, {self.bands}), not {tuple(values.shape)}; leave "
                "processing.seconds and processing.mels to it"
            )
        out = self.image(values.transpose(2, 3).expand(-1, self.image.channels, -1, -1))
        heard = mask[:, :: self.patch].repeat(1, self.bands // self.patch)
        return EncoderOutput(out.tokens, heard, out.pooled)

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans:
        """The class token, then patches, frequency first; see `VitEncoder.token_spans`."""
        size = (1, self.patch, self.patch)
        turned = inputs["values"].transpose(2, 3).expand(-1, self.image.channels, -1, -1)
        image = self.image.token_spans({"values": turned})
        special = int(image.spans[:, 0, 0].isnan().sum())
        spans = with_special(grid_spans(inputs["values"].shape[1:], size, size, (0, 2, 1)), special)
        return TokenSpans(spans, image.read)
