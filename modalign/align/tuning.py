"""Ways to train little of a tower besides LoRA (biases, an adapter on pooled features), and rates by depth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modalign.align.config import AdapterConfig
from modalign.errors import RecipeError, suggest
from modalign.modalities.base import Encoder


class FeatureAdapter(nn.Module):
    """`x + f(x)` on pooled features (B, width), with f zero before training: a frozen encoder's space, bent a little.

    CLIP-Adapter (Gao et al. 2021) blends by a fixed share instead of adding from zero; its bottleneck is the default.

    Example:
        >>> adapter = FeatureAdapter(8, AdapterConfig())
        >>> x = torch.randn(2, 8)
        >>> torch.equal(adapter(x), x)
        True
    """

    def __init__(self, width: int, config: AdapterConfig) -> None:
        super().__init__()
        self.change: nn.Module
        if config.kind == "linear":
            self.change = last = nn.Linear(width, width)
        else:
            last = nn.Linear(config.hidden or max(width // 4, 1), width)
            self.change = nn.Sequential(nn.Linear(width, last.in_features), nn.ReLU(), last)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, width) -> (B, width)."""
        features = pooled.to(next(self.parameters()).dtype)
        changed: Tensor = features + self.change(features)
        return changed


def only_biases(encoder: nn.Module, tower: str) -> None:
    """BitFit (Ben Zaken et al. 2022): freeze everything but the biases, those of norms included.

    Raises:
        RecipeError: the encoder has none.
    """
    found = False
    for name, parameter in encoder.named_parameters():
        is_bias = name.rpartition(".")[2].endswith("bias")  # MultiheadAttention has an in_proj_bias
        parameter.requires_grad_(is_bias and parameter.requires_grad)
        found = found or parameter.requires_grad
    if not found:
        raise RecipeError(f"towers.{tower}.tune: bitfit trains biases, and this encoder has none; set tune: lora")


def layer_list(encoder: Encoder) -> str:
    """Name of an encoder's list of layers: as it says, else the list of two or more with the most parameters."""
    if encoder.layer_list is not None:
        return encoder.layer_list
    lists = {n: m for n, m in encoder.named_modules() if isinstance(m, nn.ModuleList) and len(m) > 1}
    return max(lists, key=lambda name: sum(p.numel() for p in lists[name].parameters()), default="")


def layer_of(name: str, layers: str) -> int | None:
    """The layer that a module or parameter belongs to, or None.

    Example:
        >>> layer_of("model.layer.3.query.weight", "model.layer"), layer_of("model.embed.weight", "model.layer")
        (3, None)
    """
    inside = name.removeprefix(f"{layers}.")
    number = inside.partition(".")[0]
    return int(number) if inside != name and number.isdecimal() else None


def depths(names: Iterable[str], layers: str, count: int) -> dict[str, int]:
    """Parameter -> 0 where it comes before the first layer, k + 1 in layer k, `count + 1` after the last.

    Args:
        names: of all parameters, in the order in which the encoder made them.
        layers: name of the list of layers.
        count: how many there are.
    """
    found: dict[str, int] = {}
    reached = False
    for name in names:
        layer = layer_of(name, layers)
        reached = reached or layer is not None
        found[name] = layer + 1 if layer is not None else count + 1 if reached else 0
    return found


def layer_rates(towers: Mapping[str, Any], decay: float | Mapping[str, float]) -> dict[nn.Parameter, float]:
    """Parameter -> its share of the learning rate, for encoders whose rate falls layer by layer towards the input.

    As in BEiT (Bao et al. 2021): `decay ** (layers + 1 - depth)`. What is not in the mapping has the whole rate.

    Args:
        towers: name -> Tower.
        decay: one for every tower whose encoder trains, or one by tower.

    Raises:
        RecipeError: a decay that is none, no such tower, or an encoder whose layers cannot be told.
    """
    tuned = [name for name, tower in towers.items() if not tower.frozen]
    by_tower = dict(decay) if isinstance(decay, Mapping) else dict.fromkeys(tuned, float(decay))
    rates: dict[nn.Parameter, float] = {}
    for name, share in by_tower.items():
        where = f"training.layer_decay: {name}"
        if name not in tuned:
            raise RecipeError(f"{where}: no tower of this name whose encoder trains; {suggest(name, tuned)}")
        if not 0 < share <= 1:
            raise RecipeError(f"{where}: must be above 0 and at most 1, not {share}")
        if share == 1:
            continue
        tower = towers[name]
        if not tower.layer_list:
            raise RecipeError(
                f"{where}: the layers of this encoder cannot be told; give the decay by tower "
                "(training.layer_decay: {text: 0.8}), or leave it at 1"
            )
        plain = {_plain(n): p for n, p in tower.encoder.named_parameters()}
        numbers = [layer_of(n, tower.layer_list) for n in plain]
        count = 1 + max((n for n in numbers if n is not None), default=-1)
        rates |= {plain[n]: share ** (count + 1 - d) for n, d in depths(plain, tower.layer_list, count).items()}
    return rates


def split_groups(optimizer: torch.optim.Optimizer, rates: Mapping[nn.Parameter, float]) -> None:
    """Divide an optimizer's groups by rate; the order depends on nothing but the model, so that a run resumes."""
    groups = list(optimizer.param_groups)
    optimizer.param_groups.clear()
    for group in groups:
        shares: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            shares.setdefault(rates.get(parameter, 1.0), []).append(parameter)
        for share, parameters in sorted(shares.items(), reverse=True) or [(1.0, [])]:
            optimizer.add_param_group({**group, "params": parameters, "lr": group["lr"] * share})


def _plain(name: str) -> str:
    """A parameter's name without what peft puts before it."""
    return name.removeprefix("base_model.model.")
