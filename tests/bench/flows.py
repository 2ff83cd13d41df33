"""RealNVP beside nflows, normflows and zuko: training, density, drawing.

python tests/bench/flows.py    write the section of `book/benchmarks.md`

Points: eight couplings of halves in the plane, networks of two hidden layers of 64 units.
Images: one squeeze, four couplings, half of the channels leave, four more after another squeeze,
on 28 x 28, all with the same convolutional networks. Every rival has as many weights as ours and
trains by the same plain loop; a rival that is not installed is left out, and the section says so.
"""

import math
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from page import put
from torch import Tensor, nn
from turns import away, count, duel, machine, module, step_of

from companion.models.bijections import Coupling, FactorOut, Flatten, Squeeze
from companion.models.flows import Flow, plane_flow
from companion.nets.coupling import conv_net, dense_net

TITLE = "## Flows"
POINTS, IMAGES, TURNS = 1024, 64, 9
COUPLINGS, WIDTH = 8, 24
SIZES = {"points": (POINTS, (2,)), "images": (IMAGES, (1, 28, 28))}
net = partial(conv_net, width=WIDTH, blocks=1)


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


def cases(model: Any, x: Tensor) -> dict[str, Callable[[], object]]:
    """What is timed, for one model."""
    return {
        "a step of training": step_of(model, lambda: -model.log_prob(x).mean(), lr=1e-4),
        "density": torch.no_grad()(lambda: model.log_prob(x)),
        "drawing": torch.no_grad()(lambda: model.sample(len(x))),
    }


def main() -> None:
    """Measure, print, and write the section."""
    missing = away(*RIVALS)
    lines = [
        TITLE, "",
        f"{POINTS:,} points or {IMAGES} images at a time; {machine()}, "
        f"torch {torch.__version__}; medians of {TURNS} turns."
        + "".join(f" {name} was not installed." for name in missing),
        "", "| case | rival | weights, ours and theirs | ours, ms | rival, ms | ratio |",
        "| :-- | :-- | --: | --: | --: | --: |",
    ]  # fmt: skip
    for kind, (n, shape) in SIZES.items():
        for name, rival in RIVALS.items():
            if name in missing or (name, kind) == ("zuko", "images"):
                continue
            torch.manual_seed(0)
            ours, theirs, x = OURS[kind](), rival(kind), torch.randn(n, *shape)
            assert ours.log_prob(x).isfinite().all() and theirs.log_prob(x).isfinite().all()
            assert theirs.sample(3).numel() == 3 * math.prod(shape)
            weights = " and ".join(f"{count(model):,}" for model in (ours, theirs))
            mine, other = cases(ours, x), cases(theirs, x)
            for case, work in mine.items():
                a, b, ratio = duel(work, other[case], TURNS)
                row = f"| {case}, {kind} | {name} {version(name)} | {weights}"
                lines.append(f"{row} | {1e3 * a:.1f} | {1e3 * b:.1f} | {ratio:.2f} |")
                print(lines[-1], flush=True)
    put("\n".join(lines) + "\n", TITLE)


if __name__ == "__main__":
    main()
