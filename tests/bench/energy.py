"""Energy models beside plain loops: a step of training, a step of JEM++, the memory's bytes.

python tests/bench/energy.py    write the section of `book/benchmarks.md`

A step is one update of the weights, chains of 20 moves included. The rivals are loops in plain
PyTorch, as the papers' programs have them; torchebm is not among this project's packages.
"""

from collections.abc import Callable

import torch
from page import put
from torch import Tensor, nn
from torch.nn import functional as F
from turns import duel, machine

from companion.models.energy import EnergyModel, Memory, Walk
from companion.models.jem import JointEnergy
from companion.nets import channels_last
from companion.nets.energy import image_energy
from companion.nets.jem import joint_network
from companion.objectives.energy import contrastive_loss
from companion.objectives.jem import joint_energy_loss

TITLE = "## Energy-based models"
BATCH, SLOTS, TURNS = 64, 1000, 9
SHAPE = (1, 28, 28)
Step = Callable[[], None]


def batch() -> tuple[Tensor, Tensor]:
    """Random images in [-1, 1] and classes."""
    return 2 * torch.rand(BATCH, *SHAPE) - 1, torch.randint(10, (BATCH,))


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One update."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def our_energy() -> Step:
    """The book's step of an energy of images: 20 moves, memory of bytes."""
    model = EnergyModel(channels_last(image_energy(width=16)), SHAPE, Walk(20), SLOTS)
    adam, (x, y) = torch.optim.Adam(model.network.parameters(), 1e-4), batch()
    return lambda: descend(adam, contrastive_loss(model, (x, y), 0)["loss"].mean())


def plain_energy() -> Step:
    """The same step in a plain loop, with a list of float images as its buffer."""
    net, walk, (x, _) = image_energy(width=16), Walk(20), batch()
    adam = torch.optim.Adam(net.parameters(), 1e-4)
    buffer = 2 * torch.rand(SLOTS, *SHAPE) - 1

    def step() -> None:
        rows = torch.randint(SLOTS, (BATCH,))
        fresh = torch.rand(BATCH, 1, 1, 1) < 0.05
        drawn = torch.where(fresh, 2 * torch.rand(BATCH, *SHAPE) - 1, buffer[rows])
        for _ in range(walk.steps):
            drawn.requires_grad_()
            net(drawn).sum().backward()
            assert drawn.grad is not None
            down = walk.step * drawn.grad.clamp(-walk.limit, walk.limit)
            drawn = drawn.detach() - down + walk.noise * torch.randn_like(drawn)
            drawn = drawn.clamp(-1, 1)
        buffer[rows] = drawn
        data, negative = net(x), net(drawn)
        small = data.square() + negative.square()
        descend(adam, (data - negative + 0.1 * small).mean())

    return step


def our_joint() -> Step:
    """A step of JEM++: five passes, which are 20 moves of a quarter of the step."""
    walk = Walk(5, 1.0, 0.0, limit=0.1)
    model = JointEnergy(channels_last(joint_network(width=16)), SHAPE, walk, SLOTS)
    adam, (x, _) = torch.optim.Adam(model.network.parameters(), 1e-4), batch()
    y = model.classify(x / 2 + 0.5).argmax(1)  # with random classes it would stop at once

    def step() -> None:
        descend(adam, joint_energy_loss(model, (x, y), 0, 1.0)["loss"].mean())
        assert model.diverged < 0, "a training that has stopped is no rival"

    return step


def published_joint() -> Step:
    """A step of JEM as its authors' program has it: 20 passes, labels on another batch."""
    net, (x, _), (other, y) = joint_network(width=16), batch(), batch()
    adam = torch.optim.Adam(net.parameters(), 1e-4)
    buffer = 2 * torch.rand(SLOTS, *SHAPE) - 1

    def step() -> None:
        rows = torch.randint(SLOTS, (BATCH,))
        fresh = (torch.rand(BATCH, 1, 1, 1) < 0.05).float()
        drawn = fresh * (2 * torch.rand(BATCH, *SHAPE) - 1) + (1 - fresh) * buffer[rows]
        for _ in range(20):
            drawn = drawn.detach().requires_grad_()
            up = torch.autograd.grad(net(drawn).logsumexp(1).sum(), drawn, retain_graph=True)[0]
            drawn = drawn + up + 0.01 * torch.randn_like(drawn)
        drawn = drawn.detach()
        buffer[rows] = drawn
        loss = net(drawn).logsumexp(1).mean() - net(x).logsumexp(1).mean()
        descend(adam, loss + F.cross_entropy(net(other), y))

    return step


def compared(case: str, rival: str, ours: Step, theirs: Step, target: str) -> str:
    """Let both take turns; a row of the table."""
    a, b, ratio = duel(ours, theirs, TURNS)
    row = f"| {case} | {rival} | {1e3 * a:,.0f} | {1e3 * b:,.0f} | {ratio:.2f} | {target} |"
    print(row)
    return row


def stored(module: nn.Module) -> int:
    """Bytes of a module's buffers."""
    return sum(b.numel() * b.element_size() for b in module.buffers())


def main() -> None:
    """Measure, print, and write the section."""
    torch.manual_seed(0)
    careless = "plain loop, `backward()` in the chain"
    rows = [
        compared("energy, 20 moves", careless, our_energy(), plain_energy(), "≥ 1.1"),
        compared(
            "JEM++, 20 moves in 5 passes",
            "JEM, 20 passes",
            our_joint(),
            published_joint(),
            "≥ 1.5",
        ),
    ]
    ours, plain = stored(Memory(10_000, SHAPE)), 4 * 10_000 * 28 * 28
    lines = [
        TITLE, "",
        f"A step of {BATCH} images of 28 × 28 on {machine()}, "
        f"torch {torch.__version__}; both take turns. "
        "torchebm is not among this project's packages and was not measured.", "",
        "| a step of | rival | ours, ms | rival, ms | ratio | target |",
        "| :-- | :-- | --: | --: | --: | --: |", *rows, "",
        f"A replay buffer of 10,000 images takes {ours / 1e6:.1f} MB as bytes, ages included, "
        f"{ours / plain:.2f} times what float32 takes (target ≤ 0.3).",
    ]  # fmt: skip
    put("\n".join(lines) + "\n", TITLE)


if __name__ == "__main__":
    main()
