"""GradCache: the exact gradient of a large batch, with the memory of a small one (Gao et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from modalign.align.model import AlignmentModel, AlignmentOutput
from modalign.errors import RecipeError

Inputs = Mapping[str, Mapping[str, Tensor] | Sequence[Mapping[str, Tensor]]]
"""Tower -> collated inputs, batch first; or a list of them, cut before."""
Piece = dict[str, Mapping[str, Tensor]]
"""Tower -> collated inputs of a micro-batch."""


def split_inputs(inputs: Inputs, size: int) -> list[Piece]:
    """Cut every tower's inputs into pieces of `size` items, of one tower each; without any inputs, one empty piece.

    Example:
        >>> pieces = split_inputs({"text": {"ids": torch.zeros(3, 7)}, "ecg": {"x": torch.zeros(1, 12, 500)}}, 2)
        >>> [{tower: len(next(iter(own.values()))) for tower, own in piece.items()} for piece in pieces]
        [{'text': 2}, {'text': 1}, {'ecg': 1}]
    """
    parts = {tower: _cut(own, size) if isinstance(own, Mapping) else own for tower, own in inputs.items()}
    pieces: list[Piece] = [{tower: part} for tower, own in parts.items() for part in own]
    return pieces or [{}]


def _cut(own: Mapping[str, Tensor], size: int) -> list[dict[str, Tensor]]:
    starts = range(0, len(next(iter(own.values()))), size)
    return [{key: value[start : start + size] for key, value in own.items()} for start in starts]


def gradcache(
    model: nn.Module,
    inputs: Inputs,
    loss_of: Callable[[AlignmentOutput], Tensor],
    micro_batch: int,
    backward: Callable[[Tensor], object] = torch.Tensor.backward,
) -> Tensor:
    """Add to the parameters' gradients that of `loss_of(model(inputs))`, and return the loss, detached.

    First every micro-batch is embedded without a graph, and the random states are kept. Then the loss and its gradient
    on all embeddings (and on the temperature and bias) are computed. Last, every micro-batch is embedded again with its
    random state put back, and given its embeddings' gradient. The price is one more forward pass.

    Args:
        model: an `AlignmentModel`, or one wrapped in DistributedDataParallel, which then synchronises once.
        inputs: tower -> collated inputs; towers may have different numbers of items, or none.
        loss_of: any loss of the whole batch. It is called once, and parameters of its own get their gradient.
        micro_batch: items of a tower embedded at a time.
        backward: what calls `.backward()`, for a trainer that scales losses.

    Example:
        >>> gradcache(model, batch, lambda out: infonce(*out.embeddings.values(), out.scale), 64)    # doctest: +SKIP
        tensor(3.2189)
    """
    pieces = split_inputs(inputs, micro_batch)
    plain: nn.Module = model.module if hasattr(model, "module") else model  # type: ignore[assignment]
    unsynchronised: Callable[[], AbstractContextManager[None]] = getattr(model, "no_sync", nullcontext)
    states: list[RandomState] = []
    parts: list[AlignmentOutput] = []
    with torch.no_grad():
        for piece in pieces:
            states.append(RandomState(piece))
            parts.append(plain(piece))
    output = _leaves(parts, plain)
    with unsynchronised():
        loss = loss_of(output)
        backward(loss)
    done = dict.fromkeys(output.embeddings, 0)
    for k, (piece, state) in enumerate(zip(pieces, states)):
        last = k == len(pieces) - 1
        with state.put_back(), nullcontext() if last else unsynchronised():
            again: AlignmentOutput = model(piece)
            products = []
            for tower, embeddings in again.embeddings.items():
                start = done[tower]
                done[tower] += len(embeddings)
                products.append(_product(embeddings, output.embeddings[tower].grad, slice(start, done[tower])))
            if last:
                rest = ((again.scale, output.scale), (again.bias, output.bias))
                products += [_product(v, leaf.grad) for v, leaf in rest if v is not None and leaf is not None]
            total = sum(product for product in products if product is not None)
            if isinstance(total, Tensor):
                backward(total)
    return loss.detach()


def _product(value: Tensor, gradient: Tensor | None, part: slice = slice(None)) -> Tensor | None:
    """A scalar whose gradient on `value` is that; 0 where the loss had none, since another process waits for it."""
    if not value.requires_grad:
        return None
    if gradient is None:
        return (value * 0.0).sum()
    return (value * (gradient[part] if gradient.ndim else gradient)).sum()


def _leaves(parts: list[AlignmentOutput], model: nn.Module) -> AlignmentOutput:
    """The whole batch's output, cut from the graph; every tensor asks for its gradient."""
    names = dict.fromkeys(name for part in parts for name in part.embeddings)
    embeddings = {n: torch.cat([p.embeddings[n] for p in parts if n in p.embeddings]).requires_grad_() for n in names}
    scale, bias = parts[0].scale, parts[0].bias
    return AlignmentOutput(
        embeddings,
        scale.detach().clone().requires_grad_(),
        None if bias is None else bias.detach().clone().requires_grad_(),
    )


class RandomState:
    """The random states of the CPU and of the devices that some inputs are on, to be put back later.

    Example:
        >>> state = RandomState({})
        >>> first = torch.rand(2)
        >>> with state.put_back():
        ...     bool((torch.rand(2) == first).all())
        True
    """

    def __init__(self, inputs: Mapping[str, Mapping[str, Tensor]]) -> None:
        tensors = [value for own in inputs.values() for value in own.values()]
        self.kind = next((t.device.type for t in tensors if t.device.type != "cpu"), "cuda")
        self.cpu = torch.get_rng_state()
        self.devices, self.states = get_device_states(*tensors)

    @contextmanager
    def put_back(self) -> Iterator[None]:
        """Draw as then; afterwards the random states are as before."""
        with torch.random.fork_rng(devices=self.devices, device_type=self.kind):
            torch.set_rng_state(self.cpu)
            set_device_states(self.devices, self.states, device_type=self.kind)
            yield


ENCODER = "Take an encoder with GroupNorm or LayerNorm, or keep its statistics with towers.{}.tune: lora or frozen"
HEAD = "Set towers.{}.projection.norm: none"


def refuse_batch_norm(model: AlignmentModel, where: str, part: str) -> None:
    """Refuse a BatchNorm that would train on a part of a batch: its statistics, and the gradient, would be others.

    Args:
        model: the model.
        where: the setting that cuts batches, for the error.
        part: what it cuts them into.

    Raises:
        RecipeError: names the tower, the module and the mend.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.train()  # each tower keeps in eval what stays so in training
    try:
        for name in model.towers:
            for path, module in model.tower(name).named_modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
                    mend = HEAD if path.startswith("projection.") else ENCODER
                    raise RecipeError(
                        f"{where}: towers.{name}: {path} is a BatchNorm that trains; its statistics would be those of "
                        f"{part}, so the gradient would not be the whole batch's. {mend.format(name)}"
                    )
    finally:
        for module, mode in modes:
            module.training = mode
