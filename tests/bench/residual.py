"""A training step of a residual flow beside plain autograd of the same estimator.

python tests/bench/residual.py    write the section of `book/benchmarks.md`

Both have the same blocks, weights, probes and numbers of terms. The rivals ask autograd for each
product with the Jacobian. "sum": the series itself is differentiated, through all of its terms;
"Neumann": only the last product is, as in the code that its authors published.
"""

from itertools import accumulate
from typing import Any

import torch
from page import put
from torch import Tensor, nn
from torch.nn import functional as F
from turns import duel

from companion.maths import log_normal
from companion.models.bijections import Both, summed
from companion.models.residual import ResidualBlock, Roulette, Series, signs
from companion.nets.lipschitz import STEEPEST, LipschitzNet, conv_lipschitz

TITLE = "## Residual flows"
SHAPE, WIDTH, BLOCKS, BATCH = (4, 14, 14), 32, 6, 64
TERMS = (3, 8)  # the mean number, and a long one
WAYS = ("ours", "sum", "Neumann")


def value(net: LipschitzNet, x: Tensor, weights: list[Tensor]) -> Tensor:
    """g(x), one operation after the other."""
    beta = F.softplus(net.beta)
    for k, layer in enumerate(net.each):
        if k:
            x = x * torch.sigmoid(beta[k - 1] * x) / STEEPEST
        x = layer.linear(x, weights[k], layer.bias)
    return x


def by_autograd(net: LipschitzNet, n: int, x: Tensor, through: bool) -> Both:
    """z and the estimate; `through`: differentiate the sum, else the last product only."""
    weights = [layer.scaled() for layer in net.each]
    if not x.requires_grad:
        x = x.requires_grad_()
    weight = Roulette().weight
    with torch.enable_grad():
        g, v = value(net, x, weights), signs(x)
        u, y, total = v, torch.zeros_like(v), x.new_zeros(len(x))
        for k in range(1, n + 1):
            y = y + (-1) ** (k + 1) * weight(k) * u
            (u,) = torch.autograd.grad(g, x, u, create_graph=through, retain_graph=True)
            total = total + (-1) ** (k + 1) * weight(k) / k * summed(u * v)
        if through:
            return x + g, total
        (last,) = torch.autograd.grad(g, x, y, create_graph=True)
        along = summed(last * v)
    return x + g, total.detach() + along - along.detach()


class Body(nn.Module):
    """Blocks in one of three ways, with a fixed number of terms."""

    def __init__(self, way: str, n: int) -> None:
        super().__init__()
        nets = (conv_lipschitz(SHAPE, WIDTH) for _ in range(BLOCKS))
        self.blocks = nn.ModuleList(ResidualBlock(net, Roulette()) for net in nets)
        self.way, self.n = way, n
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Both:
        """z and the sum of the estimates."""
        total: Any = 0.0
        for block in self.blocks:
            net: Any = block.net
            if self.way == "ours":
                x, gain = Series.apply(net, self.n, Roulette().weight, x, *net.weights())
            else:
                x, gain = by_autograd(net, self.n, x, self.way == "sum")
            total = total + gain
        return x, total


def made(way: str, n: int) -> tuple[Any, Any]:
    """One step of a plain loop, and what it estimates."""
    torch.manual_seed(0)
    body, x = Body(way, n), torch.randn(BATCH, *SHAPE)
    adam = torch.optim.Adam(body.parameters(), 1e-4)

    def step() -> None:
        adam.zero_grad()
        z, log_det = body(x.clone())
        (-(log_normal(z.flatten(1)).sum(1) + log_det).mean()).backward()
        adam.step()

    return step, body


def peak(step: Any) -> float:
    """Largest sum of what one step has allocated at a time, in megabytes, by the profiler."""
    with torch.profiler.profile(profile_memory=True) as profile:
        step()
    recorded: Any = profile.profiler
    events = recorded.kineto_results.events()
    sizes = [(e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]"]
    return max(accumulate(size for _, size in sorted(sizes))) / 1e6


def main() -> None:
    """Measure, print, and write the section."""
    lines = [
        TITLE, "",
        f"{BLOCKS} blocks of 3 × 3, 1 × 1 and 3 × 3 convolutions with {WIDTH} channels on "
        f"{SHAPE[0]} × {SHAPE[1]} × {SHAPE[2]}, {BATCH} images, one step of training; "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}. Memory is the "
        "most that a step has allocated at a time. Aims: twice as fast at half of the memory.",
        "", "| rival | terms | ours, ms | rival, ms | ratio | ours, MB | rival, MB | share |",
        "| :-- | --: | --: | --: | --: | --: | --: | --: |",
    ]  # fmt: skip
    for n in TERMS:
        for way in WAYS[1:]:
            ours, mine = made("ours", n)
            theirs, other = made(way, n)
            x = torch.randn(3, *SHAPE)
            torch.manual_seed(1)
            a = mine(x)[0].detach()
            torch.manual_seed(1)
            torch.testing.assert_close(a, other(x)[0].detach(), rtol=1e-3, atol=1e-3)
            fast, slow, ratio = duel(ours, theirs, 9)
            small, large = peak(ours), peak(theirs)
            lines.append(
                f"| plain autograd, {way} | {n} | {1000 * fast:.0f} | {1000 * slow:.0f} | "
                f"{ratio:.2f} | "
                f"{small:.0f} | {large:.0f} | {small / large:.2f} |"
            )
            print(lines[-1], flush=True)
    put("\n".join(lines) + "\n", TITLE)


if __name__ == "__main__":
    main()
