"""Chapter `likelihood/digit_networks`: Bayesian networks over the pixels of Persian digits."""

from functools import partial

import torch
from torch import Tensor, nn

from companion.data import load
from companion.data.forms import as_bytes
from companion.maths import cosine
from companion.measures.digits import of_samples
from companion.models.pixels import PixelNetwork, quarter_plane
from companion.recipes import Player, Recipe, own_terms
from companion.words import nearest

SHOWN = 24  # digits that each epoch leaves in the run, always of the same random numbers
BLOCKS = {3: 2, 8: 3, 15: 4}  # parents -> pixels a side of their block
ACTIVATIONS = {"silu": nn.SiLU, "relu": nn.ReLU}
OPTIMIZERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def shown(model: PixelNetwork) -> Tensor:
    """Digits of fixed random numbers, as they are kept: uint8 (24, 1, 28, 28)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return as_bytes(model.sample(SHOWN))


def digit_network(
    parents: int = 15,
    layers: int = 2,
    position: bool = True,
    width: int = 32,
    activation: str = "relu",
    optimizer: str = "adam",
    rate: float = 2e-2,
    horizon: int = 3,
) -> Recipe:
    """Train one conditional law, shared by all pixels, given 3, 8 or 15 pixels before.

    layers: hidden ones of `width` units; 0: linear. position: two more inputs. horizon: epochs
    in which the learning rate falls to a hundredth. Raises ValueError for what cannot be.
    """
    for name, known in ((activation, ACTIVATIONS), (optimizer, OPTIMIZERS)):
        if name not in known:
            raise ValueError(f"nothing is called {name!r} here {nearest(name, known)}")
    if parents not in BLOCKS or layers < 0 or width < 1 or not rate > 0:
        got = f"parents={parents}, layers={layers}, width={width}, rate={rate}"
        raise ValueError(f"needs 3, 8 or 15 parents, layers >= 0, width and rate > 0, got {got}")
    model = PixelNetwork(
        quarter_plane(BLOCKS[parents]), [width] * layers, position, ACTIVATIONS[activation]
    )
    pace = partial(OPTIMIZERS[optimizer], lr=rate)
    player = Player(model, own_terms, pace, cosine(horizon, warmup=0.1, floor=0.01))
    return Recipe(
        model, {"network": player}, partial(load, "persian"), 64, measure=of_samples, keep=shown
    )
