"""What a modality is: Modality, Signal, Processing, Augmentation, Encoder, EncoderOutput.

A modality reads a source into a `Signal`, turns a Signal into tensors (`Processing`), and builds an `Encoder`.
Nothing outside `modalign/modalities` branches on a modality's name: what differs between them is said here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from modalign.errors import ReadError, RecipeError, suggest
from modalign.modalities.descriptions import LabelSet
from modalign.modalities.messages import describe_source, first_problem
from modalign.modalities.spans import TokenSpans, default_cells, lay

Composition = Literal["sequence", "mixture"]


@dataclass(frozen=True)
class Signal:
    """What a reader returns.

    Attributes:
        data: float32 tensor in physical units; its shape is documented by the modality, time is the last axis.
        rate: samples per second (Hz), or None where there is no time axis.
        channels: the names of the channels, in the order of `data`'s first axis.
        meta: what else the source says (`location`, `caption`, ...).
    """

    data: Tensor
    rate: float | None = None
    channels: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)


class EncoderOutput(NamedTuple):
    """What an encoder returns: tokens (B, L, D), mask (B, L; True where a token is real), pooled (B, D)."""

    tokens: Tensor
    mask: Tensor
    pooled: Tensor


class Encoder(nn.Module):
    """An `nn.Module` whose forward takes a collated batch by name and returns `EncoderOutput`.

    Attributes:
        width: D, the size of `pooled`.
        padding: "exact": a padded item has the embedding that it has alone; "fixed": equal lengths only.
        layer_list: the `nn.ModuleList` of its layers, nearest the input first; None: its largest; empty: it has none.
        trains: whether training changes it; False: it has no weights, so that its tower is always frozen.
    """

    width: int
    padding: ClassVar[Literal["exact", "fixed"]] = "exact"
    layer_list: ClassVar[str | None] = None
    trains: ClassVar[bool] = True

    def options(self) -> dict[str, Any]:
        """The options (JSON) from which the same architecture is built again without any other checkpoint."""
        raise NotImplementedError("abstract: an encoder returns the options it was built from")

    def fit(self, inputs: Iterable[Mapping[str, Tensor]], generator: torch.Generator) -> None:
        """Take constants (buffers) from the training split before anything is trained; by default there are none.

        Args:
            inputs: every training item's processed windows, without a batch axis, in the order of the rows; read once.
            generator: for what is drawn, seeded by the run, so that a resumed run finds the same.
        """

    def processing_defaults(self) -> dict[str, Any]:
        """Processing parameters that this encoder dictates (a tokenizer, an image size)."""
        return {}

    def token_spans(self, inputs: Mapping[str, Tensor]) -> TokenSpans | None:
        """What each token of the self-attention stands for in a collated batch of one item; None for other encoders.

        To give it means: the layers of attention are all over these tokens, and nothing else mixes them to speak of.
        """
        return None

    def embedding(self) -> nn.Module | None:
        """The layer that turns ids into vectors, where the main input is ids; gradients end there."""
        return None

    def lora_targets(self) -> list[str]:
        """Names of the modules that LoRA adapts by default: every linear and convolutional layer.

        3-D convolutions of 1 x 1 are left out: peft (0.21) takes them for 2-D ones when it merges, and fails.
        """
        layers = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
        return [
            name
            for name, module in self.named_modules()
            if isinstance(module, layers) and not (isinstance(module, nn.Conv3d) and module.kernel_size[:2] == (1, 1))
        ]


def masked_mean(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean over the real tokens: (B, L, D), (B, L) -> (B, D)."""
    weights = mask.to(tokens.dtype).unsqueeze(-1)
    return (tokens * weights).sum(1) / weights.sum(1).clamp_min(1)


class Augmentation(BaseModel):
    """A random change of a Signal, drawn from a generator. Its fields are its options.

    `breaks` names what a caption or label may rely on and this changes: laterality, rate, rhythm, amplitude, order,
    gravity, location. `p` is the probability that it is applied.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    breaks: ClassVar[frozenset[str]] = frozenset()
    p: float = Field(1.0, ge=0, le=1)

    def apply(self, signal: Signal, generator: torch.Generator) -> Signal:
        """Return the changed signal; the one given stays as it is."""
        raise NotImplementedError("abstract: an augmentation returns a new Signal")


class Processing(BaseModel):
    """Signal -> tensors, deterministic. Its fields are its parameters, and are saved with the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kept: ClassVar[bool] = True
    """Whether what `prepare` makes is worth its place on disk; otherwise it is kept in memory alone."""

    def __call__(self, signal: Signal) -> dict[str, Tensor]:
        """Turn one Signal into the encoder's inputs, without a batch axis; `values` has shape (C, T) by default."""
        raise NotImplementedError("abstract: a processing returns the encoder's inputs by name")

    def collate(self, items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Batch processed items: `values` (B, C, T), padded with zeros at the end, and `mask` (B, T)."""
        lengths = [item["values"].shape[-1] for item in items]
        longest = max(lengths)
        values = torch.stack([nn.functional.pad(i["values"], (0, longest - n)) for i, n in zip(items, lengths)])
        mask = torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)
        return {"values": values, "mask": mask}

    def prepare(self, signal: Signal) -> Signal:
        """The costly and deterministic first part, done once an item and kept (on disk, where a run has a cache).

        Idempotent: what was prepared comes back as it is. `__call__`, `crop` and `segments` take both kinds.
        """
        return signal

    def prepare_parameters(self) -> dict[str, Any]:
        """What `prepare` depends on; items that others have prepared are not taken."""
        return self.parameters()

    def crop(self, signal: Signal, generator: torch.Generator) -> Signal:
        """Where recordings may be longer than what the encoder takes: one random window of it, for training."""
        return signal

    def segments(self, signal: Signal) -> list[Signal]:
        """The windows that cover a whole recording at inference; their pooled features are averaged."""
        return [signal]

    def restore(self, relevances: Sequence[Tensor], signal: Signal) -> Tensor:
        """Relevance back to the signal: what `segments` and `__call__` did, undone; what `Modality.plot` draws.

        By default the windows, of the lengths that `segments` gives them, lie evenly over the recording, and their last
        axis is time. Where windows overlap, relevance adds up, as in the mean of their features.

        Args:
            relevances: of each window of `segments(signal)`, in the shape of its main input (without the batch axis).
            signal: as `Modality.load` gave it.
        """
        total, lengths = signal.data.shape[-1], [window.data.shape[-1] for window in self.segments(signal)]
        rows = signal.data.shape[0]
        same = all(part.ndim == 2 and len(part) == rows for part in relevances)
        parts = [part if same else part.reshape(-1, part.shape[-1]).sum(0, keepdim=True) for part in relevances]
        step = (total - lengths[-1]) / max(len(parts) - 1, 1)
        laid = [lay(part, k * step, k * step + n, total) for k, (part, n) in enumerate(zip(parts, lengths))]
        return torch.stack(laid).sum(0)

    def blank(self, values: Tensor) -> Tensor:
        """What stands for nothing in the place of the main input (B, ...): zeros, the training mean of most inputs."""
        return torch.zeros_like(values)

    def cells(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Sizes of the parts of a main input of `shape` (without the batch axis) that are blanked out at once."""
        return default_cells(shape)

    def fit(self, signals: Iterable[Signal]) -> Self:
        """Return a copy whose constants come from these (training) signals. By default there are none."""
        return self

    def parameters(self) -> dict[str, Any]:
        """The parameters as JSON, without any path of this machine: what a saved model holds."""
        return self.model_dump(mode="json")

    def cuts(self, signal: Signal) -> bool:
        """Whether the encoder would not see the whole of it: a text longer than its limit."""
        return False

    def notes(self) -> list[str]:
        """What the user should be told of the items processed so far (how many texts were cut)."""
        return []

    def save_assets(self, folder: Path) -> None:
        """Write the files that the parameters alone cannot say (a tokenizer) into `folder`, made when needed."""

    def load_assets(self, folder: Path) -> Self:
        """Return a copy that uses the files that `save_assets` wrote."""
        return self


class Modality:
    """A registered kind of input. Subclass it, name its parts, and register it with `@register_modality(name)`.

    Attributes:
        processing: the Processing class.
        encoders: encoder name -> factory; the factory takes the encoder's options by keyword.
        default_encoder: the name used where a recipe names none.
        fields: what a manifest may say of a source in `<modality>.<key>` columns, a pydantic model.
        augmentations: augmentation name -> class.
        compositions: how two of its recordings can be made into one (see `compose`).
        is_path: whether a manifest's cell is a path (True) or the content itself (text).
        private: whether its recordings may show patients; reports then show none unasked, and no ids. Safe by default.
        templates: prompt templates with `{label}`.
        negations: prompt templates with `{label}` that say a label is absent.
        descriptions: label -> sentences, for labels the modality knows.
        opposites: label -> sentences that say it is absent, where `negations` would not do ("no finding").
        label_sets: name -> labels that belong together, those of a public data set for example.
    """

    name: str = ""
    processing: ClassVar[type[Processing]]
    encoders: ClassVar[Mapping[str, Callable[..., Encoder]]]
    default_encoder: ClassVar[str] = ""
    fields: ClassVar[type[BaseModel] | None] = None
    augmentations: ClassVar[Mapping[str, type[Augmentation]]] = {}
    is_path: ClassVar[bool] = True
    private: ClassVar[bool] = True
    compositions: ClassVar[tuple[Composition, ...]] = ()
    templates: ClassVar[tuple[str, ...]] = ("{label}",)
    negations: ClassVar[tuple[str, ...]] = ("no {label}",)
    descriptions: ClassVar[Mapping[str, Sequence[str]]] = {}
    opposites: ClassVar[Mapping[str, Sequence[str]]] = {}
    label_sets: ClassVar[Mapping[str, LabelSet]] = {}

    def read(self, source: Any, **fields: Any) -> Signal:
        """Read a path, or an in-memory source, into a Signal. Subclasses say how; callers use `load`.

        Raises:
            ReadError: names the source and the mend.
        """
        raise NotImplementedError("abstract: a modality reads a source into a Signal")

    def load(self, source: Any, **fields: Any) -> Signal:
        """Check the fields, read the source, and refuse what no encoder should see.

        Raises:
            ReadError: a field is wrong, the source cannot be read, is empty, or holds NaN or infinite values.
        """
        where = describe_source(source)
        try:
            parsed = self.parse_fields(fields)
        except ReadError as error:
            raise ReadError(f"{where}: {error}") from None
        if self.is_path and isinstance(source, (str, Path)):
            source = Path(source)
            if not source.is_file() and not source.is_dir():
                raise ReadError(f"{where}: no such file; check the path")
            if source.is_file() and source.stat().st_size == 0:
                raise ReadError(f"{where}: the file is empty; copy or record it again")
        signal = self.read(source, **parsed)
        if not torch.isfinite(signal.data).all():
            bad = int((~torch.isfinite(signal.data)).sum())
            raise ReadError(
                f"{where}: {bad} of {signal.data.numel()} values are NaN or infinite; fill or cut them first"
            )
        return signal

    def summary_features(self, signal: Signal) -> np.ndarray[Any, Any] | None:
        """A fixed-length vector of hand features for the linear floor, or None where there is no such floor."""
        return None

    def compose(self, first: Signal, second: Signal, how: Composition, ratio: float = 0.5) -> Signal:
        """Two recordings made into one, for tests of what an encoder knows of order and mixture.

        Args:
            first: a recording.
            second: another.
            how: one of `compositions`: "sequence" (first, then second) or "mixture" (both at once).
            ratio: of a mixture: how loud the first is beside the second, from 0 to 1.

        Raises:
            ReadError: the two do not go together.
        """
        raise NotImplementedError("abstract: a modality with compositions composes two recordings")

    def plot(self, signal: Signal, ax: Any, relevance: Tensor | None = None) -> None:
        """Draw a signal as people of its field look at it; here, its channels over seconds.

        Args:
            signal: what `load` returned.
            ax: a matplotlib Axes; more axes may be put into its area.
            relevance: in the signal's own shape, or (T',) over time; drawn as colour over the signal. Its last axis
                may be coarser than the signal's, and then lies evenly over it.

        Raises:
            MissingExtraError: matplotlib is not installed.
            ValueError: the relevance does not fit the signal.
        """
        from modalign.modalities.drawing import traces

        traces(signal, ax, relevance)

    def token_spans(self, encoder: Encoder, inputs: Mapping[str, Tensor]) -> TokenSpans | None:
        """What the tokens of an encoder's attention stand for: as the encoder says it. See `Encoder.token_spans`."""
        return encoder.token_spans(inputs)

    def plot_inches(self, signal: Signal) -> tuple[float, float]:
        """Width and height of an Axes in which `plot` is well read."""
        return 9.0, 4.0

    def build_encoder(self, name: str = "", **options: Any) -> Encoder:
        """Build an encoder by name.

        Raises:
            RecipeError: the name or an option is not known.
        """
        name = name or self.default_encoder or next(iter(self.encoders))
        if name not in self.encoders:
            raise RecipeError(f"{self.name} has no encoder {name!r}: {suggest(name, self.encoders)}")
        factory = self.encoders[name]
        try:
            inspect.signature(factory).bind(**options)
        except TypeError as error:
            raise RecipeError(
                f"encoder {name!r} of {self.name}: {error}; options: {inspect.signature(factory)}"
            ) from None
        return factory(**options)

    def build_processing(self, **parameters: Any) -> Processing:
        """Build the processing from its parameters.

        Raises:
            RecipeError: a parameter is not known or out of range.
        """
        try:
            return self.processing(**parameters)
        except ValidationError as error:
            raise RecipeError(f"processing of {self.name}: {first_problem(error)}") from None

    def build_augmentations(self, specs: Sequence[Mapping[str, Any]]) -> list[Augmentation]:
        """Build augmentations from `{"name": ..., option: ...}` mappings.

        Raises:
            RecipeError: the name or an option is not known.
        """
        built = []
        for spec in specs:
            options = dict(spec)
            name = options.pop("name", "")
            if name not in self.augmentations:
                raise RecipeError(f"{self.name} has no augmentation {name!r}: {suggest(name, self.augmentations)}")
            try:
                built.append(self.augmentations[name](**options))
            except ValidationError as error:
                raise RecipeError(f"augmentation {name!r} of {self.name}: {first_problem(error)}") from None
        return built

    def parse_fields(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Check and convert what a manifest says of a source (empty cells left out).

        Raises:
            ReadError: a key is not known, or its value is not of the kind it must be.
        """
        if not values:
            return {}
        known = self.fields.model_fields if self.fields else {}
        for key in values:
            if key not in known:
                raise ReadError(f"{self.name}.{key} is not a field of {self.name}: {suggest(key, known)}")
        assert self.fields is not None
        try:
            return self.fields(**values).model_dump(exclude_unset=True)
        except ValidationError as error:
            raise ReadError(f"{self.name}.{first_problem(error)}") from None


def augment(signal: Signal, augmentations: Sequence[Augmentation], generator: torch.Generator) -> Signal:
    """Apply each augmentation with its probability, in order."""
    for augmentation in augmentations:
        if torch.rand((), generator=generator) < augmentation.p:
            signal = augmentation.apply(signal, generator)
    return signal
