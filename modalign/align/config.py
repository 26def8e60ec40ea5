"""Recipes: what to align, how, and for how long, checked whole before anything heavy starts."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from modalign.errors import suggest
from modalign.modalities.registry import list_modalities


class Section(BaseModel):
    """A part of a recipe: keys that are not known are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ProjectionConfig(Section):
    """From an encoder's pooled features to the shared space."""

    kind: Literal["linear", "mlp", "residual", "identity"] = "mlp"
    hidden: int | None = Field(None, ge=1, description="width of the mlp's hidden layer; None: the shared dimension")
    activation: Literal["relu", "gelu"] = Field("relu", description="of the mlp")
    norm: Literal["none", "batch"] = Field("none", description="batch: a BatchNorm after each of the mlp's layers")
    dropout: float = Field(0.0, ge=0, lt=1, description="on the pooled features, while training")
    center: bool = Field(False, description="subtract the training set's mean feature (frozen encoders only)")
    standardize: bool = Field(False, description="likewise, and divide each feature by its standard deviation")
    noise: float = Field(0.0, ge=0, description="Gaussian noise on the pooled features while training, in their sd")
    frozen: bool = Field(False, description="keep its weights: those of `init`, with only an adapter trained")
    solve: Literal["whiten", "ridge"] | None = Field(
        None,
        description="a linear projection found in one step, not trained: whiten the training features, or regress on "
        "the embeddings of the whitened towers that this one is paired with (frozen encoders only)",
    )
    shrinkage: float = Field(
        0.001,
        gt=0,
        le=1,
        description="of solve: whiten, a share of the variance; 0.1 where captions are hundreds of different sentences",
    )


class LoraOptions(Section):
    """Options of peft's LoraConfig that apply to any tower."""

    r: int = Field(8, ge=1)
    alpha: int = Field(16, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    bias: Literal["none", "all", "lora_only"] = "none"
    targets: list[str] | None = Field(None, description="module names; None: the encoder family's defaults")
    layers: tuple[int, int] | None = Field(
        None, description="first and last of the layers adapted, from 0; negative ones count from the end; None: all"
    )
    rslora: bool = Field(False, description="rank-stabilised: the update is scaled by alpha / sqrt(r), not alpha / r")
    dora: bool = Field(False, description="the length of each row of weights is learnt apart from its direction")


class AdapterConfig(Section):
    """A residual on the encoder's pooled features, which leaves them unchanged before training."""

    kind: Literal["linear", "mlp"] = "mlp"
    hidden: int | None = Field(None, ge=1, description="width of the mlp's hidden layer; None: a quarter of the input")


class TowerConfig(Section):
    """One tower: which modality, which encoder, how processed, how tuned."""

    modality: str = Field("", description="a registered modality; empty: the tower's own name")
    encoder: str = Field("", description="one of the modality's encoders; empty: its default")
    options: dict[str, Any] = Field(default_factory=dict, description="the encoder's options")
    processing: dict[str, Any] = Field(default_factory=dict)
    augment: list[dict[str, Any]] = Field(default_factory=list, description="used in training only, in this order")
    projection: ProjectionConfig = ProjectionConfig()
    tune: Literal["full", "lora", "bitfit", "frozen"] = Field(
        "full", description="what of the encoder trains: all, low-rank updates, its biases, nothing"
    )
    lora: LoraOptions = LoraOptions()
    adapter: AdapterConfig | None = Field(None, description="trained between the encoder and the projection")

    @model_validator(mode="after")
    def _only_an_mlp_has_layers(self) -> Self:
        own = self.projection
        if own.kind != "mlp" and (own.hidden or own.norm != "none" or own.activation != "relu"):
            raise ValueError("projection.hidden, activation and norm are of kind: mlp")
        return self

    @model_validator(mode="after")
    def _center_needs_a_fixed_feature(self) -> Self:
        if self.projection.center and self.tune != "frozen":
            raise ValueError("projection.center needs tune: frozen, since the mean of a tuned encoder's features moves")
        if self.tune == "frozen" and self.augment:
            raise ValueError("a frozen tower is encoded once, so augment has no use; set tune: full, lora or bitfit")
        return self


class TemperatureConfig(Section):
    """The learnable temperature: logits are cosines divided by it."""

    init: float = Field(0.07, gt=0, le=1)
    learnable: bool = True
    max_scale: float = Field(100.0, gt=1, description="1 / temperature is clamped to [1, this]")
    bias: float | None = Field(None, description="first bias of the logits, learnt; for losses that add one (siglip)")


class ModelConfig(Section):
    """All that `AlignmentModel` is built from."""

    towers: dict[str, TowerConfig] = Field(min_length=1)
    dim: int = Field(256, ge=2, description="size of the shared space")
    temperature: TemperatureConfig = TemperatureConfig()

    @model_validator(mode="after")
    def _known_modalities(self) -> Self:
        for name, tower in self.towers.items():
            modality = tower.modality or name
            if modality not in list_modalities():
                raise ValueError(f"towers.{name}: no modality {modality!r}; {suggest(modality, list_modalities())}")
        return self


class Pair(Section):
    """An edge between two towers that the loss contrasts."""

    a: str
    b: str
    weight: float = Field(1.0, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            if len(value) not in (2, 3):
                raise ValueError("a pair is [tower, tower] or [tower, tower, weight]")
            return dict(zip(("a", "b", "weight"), value))
        return value


class LossTerm(Section):
    """A registered loss, its options, and its weight in the sum."""

    name: str = "infonce"
    options: dict[str, Any] = Field(default_factory=dict)
    weight: float = Field(1.0, gt=0)


class LossConfig(LossTerm):
    """What is trained on: a loss, and others that are added to it."""

    plus: list[LossTerm] = Field(default_factory=list, description="further losses of the sum")
    positives: Literal["item", "label"] = Field(
        "item", description="what makes rows positives of each other: equal items, or equal sets of labels too"
    )


class TrainingConfig(Section):
    """The schedule; what is named as in `transformers.TrainingArguments` is that."""

    epochs: float = Field(10, gt=0)
    batch_size: int = Field(64, ge=2, description="rows that are contrasted with each other; accumulation adds none")
    micro_batch: int | None = Field(
        None,
        ge=1,
        description="items encoded at a time, for the whole batch's gradient in the memory of these; None: all",
    )
    accumulation: int = Field(1, ge=1, description="batches averaged into one update; adds no negatives")
    modality_dropout: float = Field(
        0.0, ge=0, lt=1, description="chance that a row goes without a modality, while two are left to it"
    )
    hard_captions: list[Literal["order", "attributes", "negation"]] = Field(
        default_factory=list, description="rules that make wrong captions, for losses that take them (compa, negclip)"
    )
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    warmup: float = Field(0.1, ge=0, lt=1, description="share of the steps")
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"] = "cosine"
    optim: str = Field("adamw_torch", description="lion, or one that transformers' TrainingArguments names")
    layer_decay: float | dict[str, float] = Field(
        1.0, description="a layer's learning rate as a share of the next one's; one for all tuned towers, or by tower"
    )
    ema: float = Field(0.0, ge=0, lt=1, description="decay of the running mean of the weights that is kept; 0: none")
    max_grad_norm: float = Field(1.0, ge=0)
    bf16: bool = False
    evaluate_every: float = Field(1, gt=0, description="epochs between evaluations and checkpoints")
    best: str = Field("auto", description="the val metric that chooses the checkpoint; auto: accuracy, else R@1")
    keep_checkpoints: int = Field(2, ge=1)
    log_every: int = Field(10, ge=1, description="steps between logged losses")
    buckets: int = Field(0, ge=0, description="classes of length that batches are drawn from, to pad less; 0: none")
    workers: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="processes that read and process rows; auto: from the cores, none where little is read"
    )
    cache: str | None = Field(
        None, description="folder for recordings whose preparation is costly (CT); None: `cache` in the run's folder"
    )
    tensorboard: bool = Field(False, description="needs the extra 'logging'")


class Recipe(ModelConfig):
    """A whole run."""

    towers: dict[str, TowerConfig] = Field(min_length=2)
    name: str = "unnamed"
    description: str = ""
    seed: int = 0
    init: str = Field(
        "", description="a saved model (folder or Hub id) whose weights and constants training starts from"
    )
    pairs: list[Pair] = Field(min_length=1, description="or `all`, or `star: TOWER`: that one with every other")
    loss: LossConfig = LossConfig()
    training: TrainingConfig = TrainingConfig()
    text: str = Field("text", description="the tower that encodes prompts, where there is one")
    templates: dict[str, list[str]] = Field(default_factory=dict, description="tower -> prompt templates with {label}")

    @model_validator(mode="before")
    @classmethod
    def _pairs_by_name(cls, tree: Any) -> Any:
        if not isinstance(tree, dict) or not isinstance(tree.get("towers"), dict):
            return tree
        towers, pairs = list(tree["towers"]), tree.get("pairs")
        if pairs == "all":
            return {**tree, "pairs": [list(pair) for pair in combinations(towers, 2)]}
        if isinstance(pairs, dict) and list(pairs) == ["star"]:
            return {**tree, "pairs": [[pairs["star"], other] for other in towers if other != pairs["star"]]}
        return tree

    @model_validator(mode="after")
    def _projections_can_be_fitted(self) -> Self:
        for name, tower in self.towers.items():
            own, where = tower.projection, f"towers.{name}.projection"
            if (own.standardize or own.solve) and tower.tune != "frozen":
                raise ValueError(f"{where}: standardize and solve need tune: frozen, since tuned features move")
            if own.solve and (own.kind != "linear" or own.noise or own.dropout):
                raise ValueError(f"{where}.solve: needs kind: linear, without noise and dropout, since nothing trains")
            for other in self.partners(name) if own.solve == "ridge" else ():
                theirs = self.towers[other]
                whitened = theirs.projection.solve == "whiten" or theirs.projection.kind == "identity"
                if theirs.tune != "frozen" or not whitened:
                    raise ValueError(
                        f"{where}.solve: ridge regresses on {other!r}, whose embeddings must be there before; set "
                        f"towers.{other}.tune: frozen, and its projection: {{kind: linear, solve: whiten}}"
                    )
        return self

    def partners(self, tower: str) -> dict[str, float]:
        """The towers that this one is paired with, and the pairs' weights."""
        ends = [(p.b if p.a == tower else p.a, p.weight) for p in self.pairs if tower in (p.a, p.b)]
        return dict(ends)

    @model_validator(mode="after")
    def _losses_fit(self) -> Self:
        for term in (self.loss, *self.loss.plus):
            anchor = term.options.get("anchor")
            if anchor and anchor not in self.towers:
                raise ValueError(f"loss.options.anchor: no tower {anchor!r}; {suggest(str(anchor), self.towers)}")
        if self.training.modality_dropout and len(self.towers) < 3:
            raise ValueError("training.modality_dropout: a row of two towers can go without neither; leave it out")
        return self

    @model_validator(mode="after")
    def _pairs_name_towers(self) -> Self:
        for pair in self.pairs:
            for end in (pair.a, pair.b):
                if end not in self.towers:
                    raise ValueError(f"pairs: no tower {end!r}; {suggest(end, self.towers)}")
            if pair.a == pair.b:
                raise ValueError(f"pairs: {pair.a!r} is paired with itself")
        idle = set(self.towers) - {end for pair in self.pairs for end in (pair.a, pair.b)}
        if idle:
            raise ValueError(f"pairs: no pair names the tower {sorted(idle)[0]!r}, so it would not be trained")
        return self

    def model_part(self) -> ModelConfig:
        """The part that is saved with the weights."""
        return ModelConfig(towers=self.towers, dim=self.dim, temperature=self.temperature)
