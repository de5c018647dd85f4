"""A small net with masks, and the loop that a stranger would write."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sweepstake.tickets.held.masks import Masks


def small_net(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 20), nn.BatchNorm1d(20), nn.ReLU(), nn.Linear(20, 10))


def random_masks(net: nn.Module, keep: float = 0.25, seed: int = 0) -> dict[str, Tensor]:
    """A mask on every matrix."""
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.rand(each.shape, generator=draw) < keep for name, each in net.named_parameters() if each.dim() > 1}


def batch(step: int, size: int = 16) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(step)
    return torch.randn(size, 1, 8, 8, generator=draw), torch.randint(0, 10, (size,), generator=draw)


def train(net: nn.Module, optimiser: torch.optim.Optimizer, steps: int = 4, first: int = 0) -> None:
    for step in range(first, first + steps):
        x, y = batch(step)
        optimiser.zero_grad()
        cross_entropy(net(x), y).backward()
        optimiser.step()


def dead(masks: Masks, net: nn.Module | None = None) -> Tensor:
    """All dead weights, flat."""
    own = dict((net or masks.model).named_parameters())
    return torch.cat([own[name].detach()[~mask] for name, mask in masks.alive.items()])


def dead_state(masks: Masks, optimiser: torch.optim.Optimizer) -> Tensor:
    """The dead of all that an optimiser keeps in a parameter's shape, flat."""
    own = dict(masks.model.named_parameters())
    kept = [value[~mask] for name, mask in masks.alive.items() for value in optimiser.state[own[name]].values()
            if isinstance(value, Tensor) and value.shape == mask.shape]
    return torch.cat(kept)


def holds_only_when_held(loop: Callable[[Masks], Any], net: Callable[[], nn.Module] = small_net,
                         masks: Callable[[nn.Module], dict[str, Tensor]] = random_masks) -> Masks:
    """A loop that brings dead weights back when left alone, and under `held` leaves them at 0 and moves survivors."""
    free = Masks(free_net := net(), masks(free_net))
    loop(free)
    assert dead(free).count_nonzero() > 0
    kept = Masks(kept_net := net(), masks(kept_net))
    before = {name: each.detach().clone() for name, each in kept_net.named_parameters()}
    with kept.held():
        loop(kept)
    assert dead(kept).count_nonzero() == 0
    assert all((dict(kept_net.named_parameters())[name] != before[name])[mask].any() for name, mask in kept.alive.items())
    return kept
