"""Tiny experiments on eight Gaussians, one of each kind that the trainer must serve."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from companion.data import Dataset
from companion.metrics import Estimate
from companion.recipes import Batch, Player, Recipe, Terms
from companion.worlds.gaussians import eight_gaussians


def mlp(inputs: int, outputs: int, width: int = 32) -> nn.Sequential:
    """Two hidden layers, smooth enough for a gradient penalty."""
    return nn.Sequential(
        nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
        nn.Linear(width, outputs),
    )  # fmt: skip


def energy_distance(a: Tensor, b: Tensor) -> float:
    """E|x - y| - E|x - x'| / 2 - E|y - y'| / 2: 0 only where two distributions agree (Székely)."""
    within = sum(torch.cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (a, b))
    return (torch.cdist(a, b).mean() - within / 2).item()


def denoising(model: nn.Module, batch: Batch, step: int) -> Terms:
    """Squared error of a point seen through noise: a loss that draws random numbers."""
    x = batch[0]
    error = (model(x + 0.3 * torch.randn_like(x)) - x).square().mean()
    return {"loss": error, "size": x.norm(dim=1).mean()}


def spread(model: nn.Module, data: Dataset) -> dict[str, Estimate]:
    """Measure something cheap that draws random numbers of its own."""
    found = model(torch.randn(100, 2)).std().item()
    return {"spread": Estimate(found, 0.0, 100)}


def denoiser(ema: float = 0.0, clip: float = 1e9, points: int = 256, width: int = 32) -> Recipe:
    """Train one player."""
    model = mlp(2, 2, width)
    players = {"denoiser": Player(model, denoising)}
    data = partial(eight_gaussians, points)
    return Recipe(model, players, data, 64, precision="no", ema=ema, clip=clip, watch=spread)


class Hidden:
    """Hold what no fingerprint may see, so that a recipe can be meddled with under one name."""

    def __init__(self, *held: Any):
        self._held = held

    def __call__(self) -> Any:
        return self._held[0] if len(self._held) == 1 else self._held


class Game(nn.Module):
    """Generator and critic on points of the plane."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.critic = mlp(2, 2), mlp(2, 1)

    def sample(self, n: int) -> Tensor:
        """Draw n points: (n, 2)."""
        return self.generator(torch.randn(n, 2))


def wasserstein(game: Game, batch: Batch, step: int) -> Terms:
    """The critic's loss with a penalty on each sample's gradient; Gulrajani et al. 2017, eq. 3."""
    real, fake = batch[0], game.sample(len(batch[0]))
    t = torch.rand(len(real), 1)
    x = (t * real + (1 - t) * fake).requires_grad_()
    (slope,) = torch.autograd.grad(game.critic(x).sum(), x, create_graph=True)
    penalty = (slope.norm(dim=1) - 1).square().mean()
    gap = game.critic(real).mean() - game.critic(fake).mean()
    return {"loss": penalty - gap, "gap": gap, "penalty": penalty}


def fooling(game: Game, batch: Batch, step: int) -> Terms:
    """Loss of the generator."""
    return {"loss": -game.critic(game.sample(len(batch[0]))).mean()}


def wgan(points: int = 768) -> Recipe:
    """Train two players, five updates of the critic to one of the generator."""
    game, adam = Game(), partial(torch.optim.Adam, betas=(0.0, 0.9))
    critic = Player(game.critic, wasserstein, partial(adam, lr=3e-3), updates=5)
    generator = Player(game.generator, fooling, partial(adam, lr=1e-3))
    players = {"critic": critic, "generator": generator}
    return Recipe(game, players, partial(eight_gaussians, points), 64, precision="no")


class Energy(nn.Module):
    """An energy with a memory of its own samples, a buffer that is saved like a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = mlp(2, 1)
        self.register_buffer("memory", 2 * torch.randn(256, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.energy(x).squeeze(1)

    def walk(self, x: Tensor, steps: int = 10, pace: float = 0.02) -> Tensor:
        """Langevin dynamics from points (N, 2)."""
        for _ in range(steps):
            x = x.clone().requires_grad_()
            (slope,) = torch.autograd.grad(self(x).sum(), x)
            with torch.no_grad():
                x = x - pace * slope + (2 * pace) ** 0.5 * torch.randn_like(x)
        return x


def contrast(model: Energy, batch: Batch, step: int) -> Terms:
    """Energy of data against energy of remembered samples, both kept small."""
    x = batch[0]
    index = torch.randperm(len(model.memory))[: len(x)]
    dreamt = model.walk(model.memory[index])
    model.memory[index] = dreamt
    up, down = model(x), model(dreamt)
    small = up.square().mean() + down.square().mean()
    return {"loss": up.mean() - down.mean() + 0.01 * small, "size": small}


def ebm(points: int = 256) -> Recipe:
    """Train a player whose model carries a replay buffer."""
    model = Energy()
    players = {"energy": Player(model, contrast)}
    return Recipe(model, players, partial(eight_gaussians, points), 64, precision="no")
