"""Tower and AlignmentModel: named towers into one space, and a temperature."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modalign.align import adapter, storage
from modalign.align.config import ModelConfig, Recipe, TowerConfig
from modalign.align.hub import HubModel
from modalign.align.lora import add_lora, merge_lora
from modalign.align.mode import in_eval
from modalign.align.privacy import without_paths
from modalign.align.projection import Projection
from modalign.align.start import start_from
from modalign.align.temperature import Temperature
from modalign.align.tuning import FeatureAdapter, layer_list, only_biases
from modalign.errors import ModelError, RecipeError, suggest
from modalign.modalities.base import Encoder, Modality, Processing, Signal
from modalign.modalities.registry import get_modality

POOLED = "pooled"
"""The input name under which a tower takes features that were encoded before, in place of the encoder's inputs."""


class AlignmentOutput(NamedTuple):
    """`embeddings`: tower -> (B, dim) unit rows; `scale`: 1 / temperature; `bias` of the logits, where there is one.

    `features`: tower -> (B, width), pooled and not yet projected, where the batch was encoded in one piece.
    """

    embeddings: dict[str, Tensor]
    scale: Tensor
    bias: Tensor | None = None
    features: Mapping[str, Tensor] | None = None


class Tower(nn.Module):
    """Encoder + projection, with the processing that the encoder was trained on."""

    def __init__(self, name: str, config: TowerConfig, dim: int, assets: Path | None = None) -> None:
        super().__init__()
        self.name = name
        self.config = config
        self.modality: Modality = get_modality(config.modality or name)
        self.encoder: Encoder = self.modality.build_encoder(config.encoder, **config.options)
        self.processing: Processing = self.modality.build_processing(
            **{**self.encoder.processing_defaults(), **config.processing}
        )
        if assets is not None:
            self.processing = self.processing.load_assets(assets)
        self.width = self.encoder.width
        self.padding = self.encoder.padding
        self._encoder_options = self.encoder.options()
        self.layer_list = layer_list(self.encoder)
        if not self.encoder.trains and config.tune != "frozen":
            raise RecipeError(f"towers.{name}.tune: the encoder has nothing to train; set tune: frozen")
        if config.tune == "lora":
            self.encoder = add_lora(self.encoder, config.lora, name)
        elif config.tune == "bitfit":
            only_biases(self.encoder, name)
        elif config.tune == "frozen":
            self.encoder.requires_grad_(False)
        self.projection = Projection(self.width, dim, config.projection)
        self.adapter = None if config.adapter is None else FeatureAdapter(self.width, config.adapter)

    @property
    def frozen(self) -> bool:
        """Whether the encoder never changes, so that each item need be encoded only once."""
        return self.config.tune == "frozen"

    def saved_config(self) -> TowerConfig:
        """The config from which the same architecture is built again with no other checkpoint."""
        update = {
            "options": self._encoder_options,
            "processing": self.processing.parameters(),
            "augment": without_paths(self.config.augment),  # a folder of noises is no part of the model
        }
        return self.config.model_copy(update=update)

    def take_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Use saved processing parameters (constants of another training), with this tower's own files."""
        own = self.processing.parameters()
        changed = {k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items() if own.get(k) != v}
        self.processing = self.processing.model_copy(update=changed)

    def merge(self) -> None:
        """Fold LoRA's updates into the weights; the encoder is then an ordinary one."""
        if self.config.tune == "lora":
            self.encoder = merge_lora(self.encoder)
            self.config = self.config.model_copy(update={"tune": "full"})

    def train(self, mode: bool = True) -> Self:
        """Training mode, but a frozen encoder stays in eval, and so does BatchNorm where most weights stay."""
        super().train(mode)
        if self.frozen:
            self.encoder.eval()
        elif self.config.tune != "full":
            for module in self.encoder.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def encode(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Collated inputs -> pooled features (B, width)."""
        if self.frozen:
            with torch.no_grad():
                pooled: Tensor = self.encoder(**inputs).pooled
        else:
            pooled = self.encoder(**inputs).pooled
        return pooled

    @torch.no_grad()
    def encode_whole(self, signals: Sequence[Signal], batch_size: int = 64) -> Tensor:
        """Pooled features (N, width), float32, of whole recordings: the mean over each one's windows."""
        device = self.projection.mean.device
        windows = [self.processing.segments(signal) for signal in signals]
        items = [self.processing(window) for segments in windows for window in segments]
        chunks = []
        for start in range(0, len(items), batch_size):
            batch = self.processing.collate(items[start : start + batch_size])
            chunks.append(self.encode({k: v.to(device) for k, v in batch.items()}).float())
        if not chunks:
            return torch.zeros(0, self.width, device=device)
        features = torch.cat(chunks)
        if len(items) == len(signals):
            return features
        return torch.stack([part.mean(0) for part in features.split([len(segments) for segments in windows])])  # type: ignore[no-untyped-call]

    def pool(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Collated inputs, or `{"pooled": (B, width)}`, -> pooled features (B, width)."""
        return inputs[POOLED] if POOLED in inputs else self.encode(inputs)

    def project(self, pooled: Tensor) -> Tensor:
        """Pooled features (B, width) -> (B, dim) unit rows."""
        pooled = pooled if self.adapter is None else self.adapter(pooled)
        return F.normalize(self.projection(pooled), dim=-1)

    def forward(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Collated inputs, or `{"pooled": (B, width)}`, -> (B, dim) unit rows."""
        return self.project(self.pool(inputs))


class AlignmentModel(
    nn.Module,
    HubModel,
    library_name="modalign",
    tags=["modalign", "contrastive", "multimodal"],
):
    """Named towers into one space.

    Args:
        config: a `ModelConfig`, or the mapping of one.
        assets: the folder of a saved model, for files that towers need besides weights.

    Example:
        >>> model = AlignmentModel({"towers": {"text": {"tune": "frozen"}, "motion": {}}})   # doctest: +SKIP
        >>> model.embed("text", ["a person walks"]).shape                                     # doctest: +SKIP
        torch.Size([1, 256])

    Raises:
        RecipeError: the config names what is not there.
        ModelError: a checkpoint cannot be loaded.
    """

    accepts_loss_kwargs = False
    """Tells transformers' Trainer that the loss is a mean over the batch, so that it divides accumulated gradients."""

    def __init__(self, config: dict[str, Any] | ModelConfig, *, assets: Path | None = None) -> None:
        super().__init__()
        self.source = config if isinstance(config, ModelConfig) else ModelConfig(**config)
        self.base: str | None = None
        self.seed: int | None = None
        self.init: str | None = None
        self.started: frozenset[str] = frozenset()  # towers whose weights and constants came from another model
        self.record: dict[str, Any] | None = None  # what it was trained on, for naming an evaluation's protocol
        self.towers = nn.ModuleDict(
            {
                name: Tower(name, tower, self.source.dim, assets / name if assets else None)
                for name, tower in self.source.towers.items()
            }
        )
        temperature = self.source.temperature
        self.temperature = Temperature(**temperature.model_dump())
        self.remember_buffers()

    @property
    def dim(self) -> int:
        """Size of the shared space."""
        return self.source.dim

    @property
    def text(self) -> str:
        """The tower that encodes prompts: as training named it, or "text"."""
        return str((self.record or {}).get("text", "text"))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.temperature.log_scale.device

    def tower(self, name: str) -> Tower:
        """A tower by name.

        Raises:
            ModelError: there is none.
        """
        if name not in self.towers:
            raise ModelError(f"the model has no tower {name!r}; {suggest(name, self.towers)}")
        tower = self.towers[name]
        assert isinstance(tower, Tower)
        return tower

    def saved_config(self) -> ModelConfig:
        """The config from which this architecture is built again with no other checkpoint."""
        towers = {name: self.tower(name).saved_config() for name in self.towers}
        return self.source.model_copy(update={"towers": towers})

    def remember_buffers(self) -> None:
        """Take the buffers as they are now for the base's; an adapter holds those that differ from them."""
        self.fresh_buffers = adapter.fingerprints(dict(self.named_buffers()))

    def forward(self, inputs: Mapping[str, Mapping[str, Tensor]]) -> AlignmentOutput:
        """Embed any subset of the towers.

        Args:
            inputs: tower name -> collated inputs, batch first; towers may have different batch sizes.
        """
        features = {name: self.tower(name).pool(tower_inputs) for name, tower_inputs in inputs.items()}
        embeddings = {name: self.tower(name).project(pooled) for name, pooled in features.items()}
        return AlignmentOutput(embeddings, self.temperature(), self.temperature.bias, features)

    @torch.no_grad()
    def embed(self, tower: str, sources: Sequence[Any], batch_size: int = 64, **fields: Any) -> Tensor:
        """Read, process and embed sources: (N, dim) unit rows on the CPU, in eval mode whatever the model's mode.

        Args:
            tower: the tower's name.
            sources: paths, arrays, texts or Signals.
            batch_size: sources encoded at a time.
            fields: what a manifest would say of the sources (`rate=50`).

        Raises:
            ReadError: a source cannot be read.
        """
        part = self.tower(tower)
        signals = [s if isinstance(s, Signal) else part.modality.load(s, **fields) for s in sources]
        with in_eval(part):
            embeddings: Tensor = part({POOLED: part.encode_whole(signals, batch_size)}).float().cpu()
        return embeddings

    def merge(self) -> Self:
        """Fold every LoRA into its weights, in place; embeddings stay the same but for rounding."""
        for name in self.towers:
            self.tower(name).merge()
        self.source = self.source.model_copy(update={"towers": {n: self.tower(n).config for n in self.towers}})
        return self

    def trainable_table(self) -> list[tuple[str, int, int]]:
        """(part, parameters, trainable ones) for each tower's encoder, adapter and projection, and the temperature."""
        parts: dict[str, nn.Module] = {}
        for name in self.towers:
            parts[f"{name}.encoder"] = self.tower(name).encoder
            adapted = self.tower(name).adapter
            parts |= {} if adapted is None else {f"{name}.adapter": adapted}
            parts[f"{name}.projection"] = self.tower(name).projection
        parts["temperature"] = self.temperature
        return [
            (
                name,
                sum(p.numel() for p in module.parameters()),
                sum(p.numel() for p in module.parameters() if p.requires_grad),
            )
            for name, module in parts.items()
        ]

    def changed_tensors(self) -> dict[str, Tensor]:
        """Every trainable parameter, and every buffer that is no longer as the base has it."""
        saved = self.state_dict()
        trained = {name for name, p in self.named_parameters() if p.requires_grad}
        now = adapter.fingerprints({n: b for n, b in self.named_buffers() if n in saved})
        changed = trained | {name for name, value in now.items() if self.fresh_buffers.get(name) != value}
        return {name: saved[name] for name in sorted(changed)}

    def save_adapter(self, folder: str | Path) -> None:
        """Save only what training changed (a few MB), with the base's name and hash."""
        tensors = self.changed_tensors()
        about = {
            "base": self.base,
            "seed": self.seed,
            "init": self.init,
            "started": sorted(self.started),
            "config": self.source.model_dump(mode="json"),
            "base_sha256": adapter.base_hash(self.state_dict(), set(tensors)),
            "processing": {name: self.tower(name).processing.parameters() for name in self.towers},
        }
        adapter.write_adapter(Path(folder), about, tensors)

    @classmethod
    def load_adapter(cls, folder: str | Path, base: str | Path | None = None) -> Self:
        """Build the base again, check that it is the one the adapter was trained on, and put the adapter on it.

        Args:
            folder: what `save_adapter` wrote.
            base: the base's folder or Hub id, where it is no longer where it was.

        Raises:
            ModelError: a file is missing or damaged, or the base is another one.
        """
        about, tensors = adapter.read_adapter(Path(folder))
        source = base if base is not None else about["base"] or about.get("init")
        if source is not None and not about.get("init"):
            model = cls.from_pretrained(source)
        else:
            with seeded(about["seed"] or 0):
                model = cls(about["config"])
            model.seed = about["seed"]
            if source is not None:
                model.take_weights(str(source), about["started"])
        state = model.state_dict()
        unknown = [name for name in tensors if name not in state or state[name].shape != tensors[name].shape]
        if unknown:
            raise ModelError(f"{folder}: {unknown[0]} has no place in the base; this adapter is for another model")
        if adapter.base_hash(state, set(tensors)) != about["base_sha256"]:
            raise ModelError(
                f"{folder}: the base's weights are not those that the adapter was trained on; "
                "give the right one as base=, and the same versions of the checkpoints"
            )
        model.load_state_dict(tensors, strict=False)
        for name, parameters in about["processing"].items():
            model.tower(name).take_parameters(parameters)
        return model.eval()

    def take_weights(self, init: str, started: Collection[str] | None = None) -> None:
        """Start from a saved model: all towers that both have, or those of `started`. See `start_from`."""
        source = type(self).from_pretrained(init).merge()
        start_from(self, source, set(source.towers if started is None else started), init)
        self.init = init

    def _save_pretrained(self, save_directory: Path) -> None:
        assets = {name: self.tower(name).processing for name in self.towers}
        storage.write_folder(save_directory, self.saved_config(), self.record, self.state_dict(), assets)
        self.remember_weights(save_directory)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> Self:
        """Load a saved folder, or a Hub repository; in eval mode, on the CPU.

        Args:
            pretrained_model_name_or_path: a folder, or a Hub id.
            options: `revision`, `cache_dir`, `force_download`, `token`, `local_files_only`, for a Hub id.

        Raises:
            ModelError: there is no such model, or it is damaged; names the file.
        """
        saved = storage.read_folder(str(pretrained_model_name_or_path), **options)
        model = cls(saved.config, assets=saved.folder)
        try:
            model.load_state_dict(saved.tensors)
        except RuntimeError as error:
            raise ModelError(f"{saved.folder / 'model.safetensors'}: {' '.join(str(error).split())[:400]}") from None
        model.base, model.record = str(saved.folder), saved.record
        model.remember_card(saved)
        model.remember_buffers()
        return model.eval()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw random weights from a seed, and leave the caller's random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def build_model(recipe: Recipe, started: Collection[str] | None = None) -> AlignmentModel:
    """The model of a recipe: random parts drawn from its seed, weights from `recipe.init` where it has one.

    Args:
        recipe: the recipe.
        started: the towers that take weights from `recipe.init`; None: all that it has too.

    Raises:
        RecipeError: `init` has no tower of the recipe's, or one of another shape.
        ModelError: a checkpoint cannot be loaded.
    """
    with seeded(recipe.seed):
        model = AlignmentModel(recipe.model_part())
    model.seed = recipe.seed
    if recipe.init:
        model.take_weights(recipe.init, started)
    return model
