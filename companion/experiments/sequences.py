"""Chapter `likelihood/state_spaces`: memory tasks, and digits read as sequences of tokens."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from companion.data import Dataset, load, small
from companion.data.forms import as_bytes
from companion.maths import cosine
from companion.measures.sequences import of_law, of_lengths, of_recall
from companion.models.states import KINDS, CausalTransformer, SequenceLaw, StateSpaceModel
from companion.nets.state_spaces import S4D, Selective
from companion.objectives.sequences import recall_loss
from companion.recipes import Player, Recipe, own_terms
from companion.words import nearest
from companion.worlds.recall import VOCABULARY, dataset, induction, selective_copying

SHOWN = 24  # digits that each epoch leaves in the run, always of the same random numbers
TEST = 2000  # sequences that a memory is judged by
MIXERS: dict[str, Callable[[int], nn.Module]] = {"selective": Selective, "fixed": S4D}
KNOWN = (*MIXERS, "attention")
ADAM = partial(torch.optim.AdamW, betas=(0.9, 0.95), weight_decay=0.01)


def network(
    mixer: str, gate: bool, vocabulary: int, outputs: int, width: int, layers: int
) -> nn.Module:
    """Build blocks along time of one kind. Raises ValueError for what cannot be.

    Attention is a transformer, whose layers have no gate.
    """
    if mixer not in KNOWN:
        raise ValueError(f"no mixer is called {mixer!r} {nearest(mixer, KNOWN)}")
    if mixer == "attention":
        if not gate:
            raise ValueError("attention has no gate that could be left out: gate=True is allowed")
        return CausalTransformer(vocabulary, outputs, width, layers)
    return StateSpaceModel(vocabulary, outputs, width, layers, MIXERS[mixer], gate)


def player(model: nn.Module, loss: Callable, rate: float, horizon: int) -> Player:
    """Adam with decoupled weight decay; the rate rises for a tenth of the horizon, then falls."""
    pace = partial(ADAM, lr=rate)
    return Player(model, loss, pace, cosine(horizon, 0.1 * horizon, 0.01))


def copying(
    mixer: str = "selective",
    gate: bool = True,
    length: int = 60,
    letters: int = 4,
    width: int = 32,
    layers: int = 1,
    rate: float = 7e-3,
    horizon: int = 3,
) -> Recipe:
    """Learn to repeat letters that stand at random places among noise; 32,768 sequences an epoch.

    mixer: "selective" (Mamba), "fixed" (S4D) or "attention". gate: of Mamba's block. Raises
    ValueError for what cannot be.
    """
    model = network(mixer, gate, VOCABULARY, VOCABULARY, width, layers)
    make = partial(selective_copying, length=length, letters=letters)
    make(1, generator=torch.Generator())  # so that what cannot be is refused now
    return Recipe(
        model, {"reader": player(model, recall_loss, rate, horizon)},
        partial(dataset, "selective copying", make, 32_768, TEST), 32, clip=1.0, precision="no",
        watch=of_recall,
    )  # fmt: skip


def induction_heads(
    mixer: str = "selective",
    length: int = 32,
    width: int = 32,
    layers: int = 2,
    rate: float = 5e-3,
    horizon: int = 2,
) -> Recipe:
    """Learn to say what came after the sign the last time; 16,384 sequences an epoch.

    Measured at other lengths, too. mixer: as in `copying`. Raises ValueError for what cannot be.
    """
    model = network(mixer, True, VOCABULARY, VOCABULARY, width, layers)
    make = partial(induction, length=length)
    make(1, generator=torch.Generator())
    return Recipe(
        model, {"reader": player(model, recall_loss, rate, horizon)},
        partial(dataset, "induction", make, 16_384, TEST), 32, clip=1.0, precision="no",
        watch=of_recall, measure=of_lengths,
    )  # fmt: skip


def shown(model: SequenceLaw) -> Tensor:
    """Digits of fixed random numbers, as they are kept: uint8 (24, 1, 28, 28)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return as_bytes(model.sample(SHOWN))


def digits(data: str, images: int) -> Dataset:
    """The first images of a set; all, if it has fewer."""
    whole = load(data)
    return whole.cut(min(images, len(whole.train[0])))


def digit_sequence(
    mixer: str = "selective",
    data: str = "persian",
    images: int = 60_000,
    width: int = 32,
    layers: int = 3,
    rate: float = 4e-3,
    horizon: int = 1,
) -> Recipe:
    """Learn the law of binary digits, block of 2 x 2 pixels after block, exactly, in nats.

    mixer: as in `copying`. data: digits of 28 x 28 pixels, cut at one half where they are grey;
    images: how many of them. Raises ValueError for what cannot be.
    """
    if images < 1:
        raise ValueError(f"images must be at least 1, got {images}")
    model = SequenceLaw(network(mixer, True, KINDS + 1, KINDS, width, layers))
    source = partial(digits, small(data), images)
    return Recipe(
        model, {"law": player(model, own_terms, rate, horizon)}, source, 16,
        clip=1.0, precision="no", watch=of_law, keep=shown,
    )  # fmt: skip
