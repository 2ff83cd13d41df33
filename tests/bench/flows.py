"""RealNVP beside nflows, normflows and zuko: training, density, drawing.

python tests/bench/flows.py    write the section of `book/benchmarks.md`

Points: eight couplings of halves in the plane, networks of two hidden layers of 64 units.
Images: one squeeze, four couplings, half of the channels leave, four more after another squeeze,
on 28 x 28, all with the same convolutional networks. Every rival has as many weights as ours and
trains by the same plain loop; a rival that is not installed is left out, and the section says so.
"""

import importlib
import importlib.util
import math
import platform
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from page import put
from torch import Tensor, nn

from companion.models.bijections import Coupling, FactorOut, Flatten, Squeeze
from companion.models.flows import Flow, plane_flow
from companion.nets.coupling import conv_net, dense_net

TITLE = "## Flows"
POINTS, IMAGES, TURNS = 1024, 64, 9
COUPLINGS, WIDTH = 8, 24
SIZES = {"points": (POINTS, (2,)), "images": (IMAGES, (1, 28, 28))}
net = partial(conv_net, width=WIDTH, blocks=1)


def module(name: str) -> Any:
    """Import a rival by name, since types of these packages cannot be checked here."""
    return importlib.import_module(name)


def our_points() -> Flow:
    """The book's flow of the plane."""
    return plane_flow(COUPLINGS, 64)


def our_images() -> Flow:
    """Squeeze, four couplings of channel halves, half leaves; the same again."""
    inner = [Squeeze(), *(Coupling(8, range(k % 2, 8, 2), net) for k in range(4))]
    rest = FactorOut((4, 14, 14), [*inner, Flatten((8, 7, 7))])
    outer = [Squeeze(), *(Coupling(4, range(k % 2, 4, 2), net) for k in range(4))]
    return Flow([*outer, rest], 784)


class Alone(nn.Module):
    """A network that is also given a context, and leaves it."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, _: Any = None) -> Tensor:
        return self.net(x)


class Nflows(nn.Module):
    """nflows' couplings, one mask against the other."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        coupling = module("nflows.transforms.coupling").AffineCouplingTransform
        t = module("nflows.transforms")
        masks = [torch.arange(2) % 2, (torch.arange(2) + 1) % 2]
        dense, conv = ((lambda i, o, make=make: Alone(make(i, o))) for make in (dense_net, net))
        if kind == "points":
            layers = [coupling(masks[k % 2], dense) for k in range(COUPLINGS)]
            body, shape = t.CompositeTransform(layers), [2]
        else:
            body = t.MultiscaleCompositeTransform(2)
            for channels, size in ((4, 14), (8, 7)):
                some = torch.arange(channels) % 2
                layers = [coupling((some, 1 - some)[k % 2], conv) for k in range(4)]
                part = t.CompositeTransform([t.SqueezeTransform(), *layers])
                body.add_transform(part, (channels, size, size))
            shape = [784]
        base = module("nflows.distributions.normal").StandardNormal(shape)
        self.flow = module("nflows.flows.base").Flow(body, base)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x)

    def sample(self, n: int) -> Tensor:
        return self.flow.sample(n)


class Normflows(nn.Module):
    """normflows' couplings of halves with a swap after each."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        nf = module("normflows")

        def block(channels: int, make: Callable[[int, int], nn.Module]) -> list[Any]:
            half = channels // 2
            coupling = nf.flows.AffineCouplingBlock(make(half, 2 * half), split_mode="channel")
            return [coupling, nf.flows.Permute(channels, mode="swap")]

        self.classes = () if kind == "points" else (None,)
        if kind == "points":
            flows = [layer for _ in range(COUPLINGS) for layer in block(2, dense_net)]
            self.flow = nf.NormalizingFlow(nf.distributions.DiagGaussian(2, False), flows)
        else:
            scales = [
                [layer for _ in range(4) for layer in block(channels, net)] + [nf.flows.Squeeze()]
                for channels in (8, 4)
            ]
            shapes = [(8, 7, 7), (2, 14, 14)]
            bases = [nf.distributions.DiagGaussian(shape, False) for shape in shapes]
            self.flow = nf.MultiscaleFlow(bases, scales, [nf.flows.Merge()], class_cond=False)

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow.log_prob(x, *self.classes)

    def sample(self, n: int) -> Tensor:
        return self.flow.sample(n)[0]


class Zuko(nn.Module):
    """zuko's RealNVP in the plane."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        if kind != "points":
            raise ValueError("zuko has no couplings of images")
        flows = module("zuko.flows")
        self.flow = flows.RealNVP(2, transforms=COUPLINGS, hidden_features=(64, 64))

    def log_prob(self, x: Tensor) -> Tensor:
        return self.flow().log_prob(x)

    def sample(self, n: int) -> Tensor:
        return self.flow().sample((n,))


RIVALS = {"nflows": Nflows, "normflows": Normflows, "zuko": Zuko}
OURS = {"points": our_points, "images": our_images}


def seconds(work: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def duel(ours: Callable[[], object], theirs: Callable[[], object]) -> tuple[float, float]:
    """Medians of the seconds of both, which take turns; the first turn does not count."""
    turns = [(seconds(ours), seconds(theirs)) for _ in range(TURNS + 1)][1:]
    mine, other = (median(column) for column in zip(*turns, strict=True))
    return mine, other


def step_of(model: Any, x: Tensor) -> Callable[[], None]:
    """One step of a plain loop."""
    adam = torch.optim.Adam(model.parameters(), 1e-4)

    def step() -> None:
        adam.zero_grad()
        (-model.log_prob(x).mean()).backward()
        adam.step()

    return step


def cases(model: Any, x: Tensor) -> dict[str, Callable[[], object]]:
    """What is timed, for one model."""
    return {
        "a step of training": step_of(model, x),
        "density": torch.no_grad()(lambda: model.log_prob(x)),
        "drawing": torch.no_grad()(lambda: model.sample(len(x))),
    }


def main() -> None:
    """Measure, print, and write the section."""
    away = [name for name in RIVALS if importlib.util.find_spec(name) is None]
    lines = [
        TITLE, "",
        f"{POINTS:,} points or {IMAGES} images at a time; {platform.machine()} CPU, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}; medians of {TURNS} turns."
        + "".join(f" {name} was not installed." for name in away),
        "", "| case | rival | weights, ours and theirs | ours, ms | rival, ms | ratio |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]  # fmt: skip
    for kind, (n, shape) in SIZES.items():
        for name, rival in RIVALS.items():
            if name in away or (name, kind) == ("zuko", "images"):
                continue
            torch.manual_seed(0)
            ours, theirs, x = OURS[kind](), rival(kind), torch.randn(n, *shape)
            assert ours.log_prob(x).isfinite().all() and theirs.log_prob(x).isfinite().all()
            assert theirs.sample(3).numel() == 3 * math.prod(shape)
            sizes = (sum(w.numel() for w in model.parameters()) for model in (ours, theirs))
            weights = " and ".join(f"{size:,}" for size in sizes)
            mine, other = cases(ours, x), cases(theirs, x)
            for case, work in mine.items():
                a, b = (1000 * t for t in duel(work, other[case]))
                known = f"{name} {version(name)}"
                lines.append(
                    f"| {case}, {kind} | {known} | {weights} | {a:.1f} | {b:.1f} | {b / a:.2f} |"
                )
                print(lines[-1], flush=True)
    put("\n".join(lines) + "\n", TITLE)


if __name__ == "__main__":
    main()
