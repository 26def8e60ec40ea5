"""Encoders over transformers' audio models: CLAP's HTSAT, AST, the wav2vec2 family and Whisper's encoder.

Each is built from a `checkpoint` (folder or Hub id) or from an `hf_config` (a transformers config; random weights),
and dictates its front end, from the checkpoint's preprocessor_config.json where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from modalign.errors import ModelError
from modalign.modalities.audio import checkpoints
from modalign.modalities.audio.cnn import CnnEncoder
from modalign.modalities.audio.vit import VitAudioEncoder
from modalign.modalities.base import Encoder, EncoderOutput, masked_mean
from modalign.modalities.spans import TokenSpans, grid_spans, mean_rows, one_row, with_special


class HfAudioEncoder(Encoder):
    """What the four families share: loading, saving, half precision.

    Args:
        checkpoint: a folder or a Hub id; its weights are loaded (safetensors only).
        hf_config: instead of a checkpoint: a transformers config (dict) to build without weights.
        revision: the Hub revision to pin.

    Raises:
        RecipeError: neither or both of checkpoint and hf_config.
        ModelError: the checkpoint cannot be loaded, or is of another family.
    """

    family: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    targets: ClassVar[tuple[str, ...]] = ("q_proj", "v_proj")

    def __init__(
        self, checkpoint: str | None = None, *, hf_config: dict[str, Any] | None = None, revision: str | None = None
    ) -> None:
        super().__init__()
        checkpoints.one_of(self.family, checkpoint, hf_config)
        self._preprocessor: dict[str, Any] = {}
        if hf_config is not None:
            self.model = checkpoints.build(self.family, self.kinds, hf_config)
        else:
            self.model = checkpoints.load(self.family, self.kinds, str(checkpoint), revision)
            self._preprocessor = checkpoints.side_file(str(checkpoint), "preprocessor_config.json", revision)
        self.width = int(self.model.config.hidden_size)

    def options(self) -> dict[str, Any]:
        """The transformers config itself, so that no checkpoint is needed to build it again."""
        return {"hf_config": checkpoints.config_of(self.model)}

    def lora_targets(self) -> list[str]:
        """The attention's query and value projections."""
        return list(self.targets)

    def _said(self, key: str, default: float, above: float = 0.0) -> float:
        """A number of the checkpoint's preprocessor."""
        return checkpoints.number(self._preprocessor, key, default, above)

    def _cast(self, values: Tensor) -> Tensor:
        """A model in half precision takes float32 batches; under autocast this changes nothing."""
        return values.to(next(self.model.parameters()).dtype)

    def _mels(self, values: Tensor, views: int) -> Tensor:
        """Check (B, views, F, M) and give it back.

        Raises:
            ModelError: another shape than the model takes.
        """
        mels = int(self.model.config.num_mel_bins)
        if values.ndim != 4 or values.shape[1] != views or values.shape[3] != mels:
            raise ModelError(
                f"encoder {self.family!r} takes (B, {views}, frames, {mels}), not {tuple(values.shape)}; leave the "
                "processing's frontend, mels and longer to the encoder"
            )
        return self._cast(values)


class ClapEncoder(HfAudioEncoder):
    """LAION-CLAP's audio tower (HTSAT), with or without feature fusion; a whole ClapModel folder gives its tower.

    `pooled` is the model's own: the mean over all tokens. Tokens are (2 bands of frequency, 32 of time), frequency
    first; the mask marks those that saw sound. Unlike the released code, a batch without long clips flags none.

    Example:
        >>> encoder = ClapEncoder("laion/clap-htsat-unfused")      # doctest: +SKIP
        >>> encoder.width
        768
    """

    padding = "fixed"
    family = "clap"
    kinds = ("clap", "clap_audio_model")
    targets = ("query", "value")

    def processing_defaults(self) -> dict[str, Any]:
        """CLAP's front end; fusion where the model has it."""
        config, said = self.model.config, self._preprocessor
        rate, hop = int(self._said("sampling_rate", 48_000)), int(self._said("hop_length", 480))
        # HTSAT takes at most so many frames.
        most = (int(config.spec_size) ** 2 // int(config.num_mel_bins) - 1) * hop / rate
        return {
            "frontend": "clap",
            "rate": rate,
            "seconds": self._said("max_length_s", min(10.0, most)),
            "n_fft": int(self._said("fft_window_size", 1024)),
            "hop_length": hop,
            "mels": int(config.num_mel_bins),
            "fmin": self._said("frequency_min", 50.0, above=-1.0),
            "fmax": self._said("frequency_max", 14_000.0),
            "longer": "fusion" if config.enable_fusion else "rand_trunc",
            "shorter": str(said.get("padding", "repeatpad")),
        }

    def forward(self, values: Tensor, mask: Tensor, longer: Tensor | None = None) -> EncoderOutput:
        """Values (B, 1 or 4, F, M), mask (B, F), with fusion longer (B,) -> tokens (B, 64, D), mask, pooled (B, D).

        Raises:
            ModelError: the batch was not made by this encoder's front end.
        """
        fusion = bool(self.model.config.enable_fusion)
        if fusion != (longer is not None):
            raise ModelError(
                f"encoder 'clap': the model has {'' if fusion else 'no '}feature fusion, and the processing "
                f"{'has none' if fusion else 'has'}; leave processing.longer to the encoder"
            )
        flags = None if longer is None else longer.unsqueeze(1)
        with self._statistics_of_one(longer):
            out = self.model(input_features=self._mels(values, 4 if fusion else 1), is_longer=flags)
        bands, steps = out.last_hidden_state.shape[2:]
        tokens = out.last_hidden_state.flatten(2).transpose(1, 2)
        heard = mask[:, torch.arange(steps, device=mask.device) * mask.shape[1] // steps]
        return EncoderOutput(tokens, heard.repeat(1, bands), out.pooler_output)

    @contextmanager
    def _statistics_of_one(self, longer: Tensor | None) -> Iterator[None]:
        """In training, a single long clip has no batch statistics: fusion's BatchNorm uses its running ones."""
        if not self.training or longer is None or int(longer.sum()) != 1:
            yield
            return
        norms = [
            m for m in self.model.audio_encoder.patch_embed.fusion_model.modules() if isinstance(m, nn.BatchNorm2d)
        ]
        states = [norm.training for norm in norms]
        try:
            for norm in norms:
                norm.eval()
            yield
        finally:
            for norm, state in zip(norms, states):
                norm.train(state)


class AstEncoder(HfAudioEncoder):
    """Audio Spectrogram Transformer (`ASTModel`) on Kaldi's filterbank.

    `pooled` is the model's own: the mean of the class and the distillation token, which come first among the tokens;
    patches follow, frequency first. As published, silence that fills a short clip is attended to.
    """

    padding = "fixed"
    family = "ast"
    kinds = ("audio-spectrogram-transformer",)

    def processing_defaults(self) -> dict[str, Any]:
        """Kaldi's filterbank, of as many frames as the model has positions for."""
        config, said = self.model.config, self._preprocessor
        rate = int(self._said("sampling_rate", 16_000))
        defaults: dict[str, Any] = {
            "frontend": "fbank",
            "rate": rate,
            "seconds": (400 + (int(config.max_length) - 1) * 160) / rate,
            "mels": int(config.num_mel_bins),
        }
        if said.get("do_normalize", True) is False:
            return defaults | {"mean": (0.0,), "std": (1.0,)}
        if "mean" in said and "std" in said:
            defaults |= {"mean": (self._said("mean", 0.0, above=-math.inf),), "std": (2.0 * self._said("std", 1.0),)}
        return defaults

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, 1, F, M), mask (B, F) -> tokens (B, 2 + patches, D), mask, pooled (B, D).

        Raises:
            ModelError: another number of frames or bands than the model has positions for.
        """
        config = self.model.config
        if values.shape[2] != config.max_length:
            raise ModelError(
                f"encoder 'ast' takes {config.max_length} frames, not {values.shape[2]}; leave processing.seconds to it"
            )
        out = self.model(input_values=self._mels(values, 1)[:, 0])
        steps = (config.max_length - config.patch_size) // config.time_stride + 1
        bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        heard = mask[:, torch.arange(steps, device=mask.device) * config.time_stride].repeat(1, bands)
        special = torch.ones_like(mask[:, :1]).expand(-1, 2)
        return EncoderOutput(out.last_hidden_state, torch.cat([special, heard], 1), out.pooler_output)

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans:
        """The class and the distillation token, whose mean is pooled, then patches, frequency first."""
        config = self.model.config
        size = (1, config.patch_size, config.patch_size)
        stride = (1, config.time_stride, config.frequency_stride)
        spans = with_special(grid_spans(inputs["values"].shape[1:], size, stride, (0, 2, 1)), 2)
        return TokenSpans(spans, one_row(len(spans), 0, 1))


class Wav2Vec2Encoder(HfAudioEncoder):
    """The wav2vec2 family on the waveform. Pooled is the mean over the real tokens.

    Padding is exact. Models whose first layer normalises each clip over time (`feat_extract_norm` "group", the base
    ones), and those that convolve the tokens again further up, would take padding into that; they get clips of one
    length at a time.
    The model's own masking in training is off: it draws from numpy's global generator, and fails on short clips.
    """

    padding = "exact"
    family = "wav2vec2"
    by_mask: ClassVar[tuple[str, ...]] = ("wav2vec2", "hubert", "wavlm", "unispeech", "unispeech-sat")
    """Kinds that a mask over the waveform keeps exact, where the first layer does."""
    kinds = (*by_mask, "data2vec-audio", "wav2vec2-conformer")
    plain: ClassVar[tuple[str, ...]] = ("wav2vec2", "hubert", "unispeech", "unispeech-sat", "data2vec-audio")
    """Kinds whose layers are attention and feed-forward alone."""

    def __init__(
        self, checkpoint: str | None = None, *, hf_config: dict[str, Any] | None = None, revision: str | None = None
    ) -> None:
        super().__init__(checkpoint, hf_config=hf_config, revision=revision)
        self.model.config.apply_spec_augment = False
        if getattr(self.model.config, "add_adapter", False):
            raise ModelError("encoder 'wav2vec2': a checkpoint with add_adapter is not supported; use one without")

    def processing_defaults(self) -> dict[str, Any]:
        """The waveform at 16 kHz, of zero mean and unit variance unless the checkpoint says otherwise."""
        rate = int(self._said("sampling_rate", 16_000))
        normalize = bool(self._preprocessor.get("do_normalize", True))
        return {"frontend": "waveform", "rate": rate, "normalize": normalize}

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, T), mask (B, T) -> tokens (B, L, D), mask (B, L), pooled (B, D).

        Raises:
            ModelError: the batch is not of waveforms.
        """
        if values.ndim != 2:
            raise ModelError(
                f"encoder 'wav2vec2' takes waveforms (B, T), not {tuple(values.shape)}; leave processing.frontend to it"
            )
        values = self._cast(values)
        lengths = mask.sum(1)
        steps = self.model._get_feat_extract_output_lengths(lengths)
        config = self.model.config
        if config.model_type in self.by_mask and config.feat_extract_norm == "layer":
            tokens = self.model(values, attention_mask=mask.long()).last_hidden_state
        else:
            tokens = self._by_length(values, lengths.tolist(), steps.tolist())
        real = torch.arange(tokens.shape[1], device=mask.device) < steps.unsqueeze(1)
        return EncoderOutput(tokens, real, masked_mean(tokens, real))

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans | None:
        """A token is the samples that the convolutions before it see; none where attention is of another kind."""
        config = self.model.config
        if config.model_type not in self.plain:
            return None
        stride, seen = 1, 1
        for kernel, step in zip(config.conv_kernel, config.conv_stride):
            seen, stride = seen + (kernel - 1) * stride, stride * step
        spans = grid_spans(inputs["values"].shape[1:], (seen,), (stride,))
        steps = int(self.model._get_feat_extract_output_lengths(inputs["mask"].sum(1)))
        return TokenSpans(spans, mean_rows(torch.arange(len(spans)) < steps))

    def _by_length(self, values: Tensor, lengths: list[int], steps: list[int]) -> Tensor:
        parts: list[Tensor] = [values] * len(lengths)
        for length in sorted(set(lengths)):
            places = [i for i, n in enumerate(lengths) if n == length]
            hidden = self.model(values[places, :length]).last_hidden_state
            for i, one in zip(places, hidden):
                parts[i] = torch.nn.functional.pad(one, (0, 0, 0, max(steps) - len(one)))
        return torch.stack(parts)


class WhisperEncoder(HfAudioEncoder):
    """Whisper's encoder. It takes 30 s always; pooled is the mean over the tokens of sound, not of silence."""

    padding = "fixed"
    family = "whisper"
    kinds = ("whisper",)

    def processing_defaults(self) -> dict[str, Any]:
        """Whisper's log-mel of as many frames as the model has positions for."""
        config = self.model.config
        rate, hop = int(self._said("sampling_rate", 16_000)), int(self._said("hop_length", 160))
        return {
            "frontend": "whisper",
            "rate": rate,
            "seconds": int(config.max_source_positions) * 2 * hop / rate,
            "n_fft": int(self._said("n_fft", 400)),
            "hop_length": hop,
            "mels": int(config.num_mel_bins),
        }

    def forward(self, values: Tensor, mask: Tensor) -> EncoderOutput:
        """Values (B, 1, F, M), mask (B, F) -> tokens (B, F / 2, D), mask, pooled (B, D).

        Raises:
            ModelError: another number of frames or bands than the model takes.
        """
        frames = 2 * int(self.model.config.max_source_positions)
        if values.shape[2] != frames:
            raise ModelError(
                f"encoder 'whisper' takes {frames} frames, not {values.shape[2]}; leave processing.seconds to it"
            )
        tokens = self.model(self._mels(values, 1)[:, 0].transpose(1, 2)).last_hidden_state
        return EncoderOutput(tokens, mask[:, ::2], masked_mean(tokens, mask[:, ::2]))

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans:
        """A token is two frames; the mean of those of sound is pooled."""
        _, frames, mels = inputs["values"].shape[1:]
        return TokenSpans(grid_spans((1, frames, mels), (1, 2, mels)), mean_rows(inputs["mask"][0, ::2]))


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "cnn": CnnEncoder,
    "clap": ClapEncoder,
    "ast": AstEncoder,
    "wav2vec2": Wav2Vec2Encoder,
    "whisper": WhisperEncoder,
    "vit": VitAudioEncoder,
}
