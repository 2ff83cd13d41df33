"""Energy-based models: p(x) = exp(-E(x) / T) / Z, and the memory of their chains."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from companion.data.forms import as_bytes, signed, unsigned


@dataclass(frozen=True)
class Walk:
    """How chains walk: x - step clamp(dE/dx) + noise * normal, kept within [low, high].

    step, noise: of the first move; noise_end: of the last one, 0 for a constant noise. Between
    them noise_t = noise (noise_end / noise)^(t / (steps - 1)), and the step falls with its square,
    so that all moves belong to one temperature. limit: largest size of each entry of the gradient.
    """

    steps: int = 20
    step: float = 10.0
    noise: float = 0.005
    noise_end: float = 0.0
    limit: float = 0.03
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.step > 0 or not self.limit > 0:
            got = f"{self.steps}, {self.step} and {self.limit}"
            raise ValueError(f"needs steps of 1 or more, step and limit above 0, got {got}")
        if self.noise < 0 or self.noise_end < 0 or (self.noise_end and not self.noise):
            got = f"{self.noise} and {self.noise_end}"
            raise ValueError(f"needs noise of 0 or more, a start above 0 for an end, got {got}")

    @property
    def temperature(self) -> float:
        """T of the law exp(-E / T) that small steps of this kind sample: noise^2 / (2 step)."""
        return self.noise**2 / (2 * self.step)

    def moves(self) -> Iterator[tuple[float, float]]:
        """Step and noise of each move."""
        for t in range(self.steps):
            ratio = self.noise_end / self.noise if self.noise_end else 1.0
            fall = ratio ** (t / max(self.steps - 1, 1))
            yield self.step * fall**2, self.noise * fall


class Memory(nn.Module):
    """A replay buffer: where chains ended, to go on from there. Saved and moved like a weight.

    Images in [-1, 1] are stored as bytes, a quarter of float32's memory; points, for which
    `images` is False, as they are. With classes, slot i belongs to class i mod classes. `age`
    counts the visits of a slot since it began as noise. Raises ValueError for too small a size.
    """

    content: Tensor
    age: Tensor

    def __init__(self, size: int, shape: tuple[int, ...], images: bool = True, classes: int = 0):
        super().__init__()
        if size < max(classes, 1) or (classes and size % classes):
            raise ValueError(f"needs a size that {classes} classes divide, got {size}")
        self.images, self.classes = images, classes
        dtype = torch.uint8 if images else torch.float32
        self.register_buffer("content", torch.zeros(size, *shape, dtype=dtype))
        self.register_buffer("age", torch.zeros(size, dtype=torch.int32))

    def slots(self, n: int, y: Tensor | None = None) -> Tensor:
        """Choose slots at random: n different ones, or one of the class of each y (n,)."""
        if y is None:
            return torch.randperm(len(self.age), device=self.age.device)[:n]
        rows = torch.randint(len(self.age) // self.classes, (len(y),), device=y.device)
        return rows * self.classes + y

    def read(self, slots: Tensor) -> Tensor:
        """What is stored: images (n, C, H, W) in [-1, 1], or points."""
        return signed(self.content[slots]) if self.images else self.content[slots]

    def write(self, slots: Tensor, x: Tensor) -> None:
        """Store where chains ended."""
        x = x.detach()
        self.content[slots] = as_bytes(unsigned(x)) if self.images else x.to(self.content)


class EnergyModel(nn.Module):
    """An energy E(x), or E(x, y) of each of some classes, how its chains walk, and their memory.

    network: (B, ...) -> (B, 1) or (B, classes), linear at its end. shape: of one x. memory: slots
    of the replay buffer; 0: every chain starts from noise, and there is none. reinit: share of
    the chains that start from noise all the same.
    """

    def __init__(
        self, network: nn.Module, shape: tuple[int, ...], walk: Walk, memory: int = 0,
        reinit: float = 0.05, images: bool = True, classes: int = 0,
    ):  # fmt: skip
        super().__init__()
        if not 0 < reinit <= 1:
            raise ValueError(f"reinit is a share of the chains, in (0, 1], got {reinit}")
        self.network, self.shape, self.walk = network, shape, walk
        self.reinit, self.classes = reinit, classes
        self.memory = Memory(memory, shape, images, classes) if memory else None

    def energy(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """E(x), or E(x, y): (B, ...), classes (B,) -> (B,). Raises ValueError where y misfits."""
        if (y is None) == bool(self.classes):
            raise ValueError(f"an energy of {self.classes} classes, got labels {y}")
        found = self.network(x).float()
        return found[:, 0] if y is None else found.gather(1, y[:, None])[:, 0]

    def slope(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """dE/dx, of the shape of x; no gradient of a parameter is computed."""
        with torch.enable_grad(), still(self.network):
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.energy(x, y).sum(), x)[0]

    def noise(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Uniform noise in the walk's box, (n, ...)."""
        place = next(self.network.parameters())
        x = torch.rand(n, *self.shape, generator=generator).to(place)
        return self.walk.low + (self.walk.high - self.walk.low) * x

    def fresh(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Where n chains begin anew, (n, ...): in noise, unless a model knows better."""
        return self.noise(n, generator)

    def begin(self, n: int, y: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Where n chains start, (n, ...), and the slots that they came from, if any."""
        x = self.fresh(n)
        if self.memory is None:
            return x, None
        slots = self.memory.slots(n, y)
        x = x[: len(slots)]  # never more chains than slots
        anew = torch.rand(len(slots), device=x.device) < self.reinit
        anew |= self.memory.age[slots] == 0
        kept = self.memory.read(slots).to(x)
        x = torch.where(anew.view(-1, *[1] * (x.ndim - 1)), x, kept)
        self.memory.age[slots] = torch.where(anew, 1, self.memory.age[slots] + 1).int()
        return x, slots


@contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """Hold the parameters of a network still."""
    mine = [p for p in network.parameters() if p.requires_grad]
    for p in mine:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in mine:
            p.requires_grad_(True)
