"""Chapters `adversarial/gan` and `adversarial/wgan`: adversarial models of small grey images.

A generator is measured and kept with the running statistics of its batch normalisation, so that
an image depends on its code alone.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from companion.data import Dataset, load
from companion.experiments.images import fast, images
from companion.maths import nearest
from companion.metrics import Estimate, Frechet
from companion.metrics.coverage import class_histogram, effective_classes, imbalance, overlap
from companion.metrics.frechet import extractor
from companion.models.gan import GAN
from companion.nets import image_critic, image_generator
from companion.objectives import (
    GENERATOR_LOSSES,
    ClippedRMSprop,
    critic_loss,
    discriminator_loss,
    fooling_loss,
    generator_loss,
    hinge_loss,
)
from companion.players import Player, Recipe

BATCH = 64
LATENT = 100
WATCHED = 5000  # images that are drawn whenever a model is watched, always of the same codes
REAL = 10_000  # test images, the first ones, that they are compared with
SHOWN = 36  # images of the same codes that each watched epoch leaves in the run
CONSTRAINTS = ("clipping", "gradient-penalty", "spectral-norm")


@torch.no_grad()
def drawn(model: GAN, n: int) -> Tensor:
    """Images of n fixed codes, the first n of one list: (n, 1, 28, 28) in [0, 1], on the CPU."""
    z = torch.randn(n, model.latent, generator=torch.Generator().manual_seed(0))
    device = next(model.generator.parameters()).device
    return torch.cat([model.generate(part.to(device)).cpu() for part in z.split(500)])


def shown(model: GAN) -> Tensor:
    """Images of the first fixed codes as they are kept: uint8 (36, 1, 28, 28)."""
    return (255 * drawn(model, SHOWN)).round().to(torch.uint8)


class Judge:
    """Measure a generator against the test images, whose features are found only once."""

    def __init__(self) -> None:
        self.seen: tuple[str, int] | None = None

    def against(self, data: Dataset) -> Frechet:
        """Features of the real images of a data set."""
        asked = (data.sha256, len(data.test[0]))
        if self.seen != asked:
            self.frechet = Frechet(images(data, REAL)[0].cpu(), data.name)
            self.seen = asked
        return self.frechet

    def watch(self, model: GAN, data: Dataset) -> dict[str, Estimate]:
        """Squared Fréchet distance of 5,000 images, and how evenly they fill the classes."""
        frechet = self.against(data)
        features = frechet.embed(drawn(model, WATCHED))
        shares = class_histogram(frechet.network.head(features))
        return {
            "frechet": frechet.distance_of(features),
            "classes": effective_classes(shares, WATCHED),
            "imbalance": imbalance(shares, WATCHED),
        }

    def measure(self, model: GAN, data: Dataset) -> dict[str, Estimate]:
        """The distance of as many images as there are real ones, and how the two sets overlap."""
        frechet = self.against(data)
        features = frechet.embed(drawn(model, len(frechet.features)))
        found = overlap(frechet.features[:WATCHED], features[:WATCHED])
        return {"frechet, as many": frechet.distance_of(features), **found._asdict()}


def recipe(model: GAN, critic: Player, generator: Player, data: str, ema: float) -> Recipe:
    """What all of these models share: batches of 64, the critic first, one way to be judged."""
    extractor(data)  # without it nothing could be watched: better to know now
    judge = Judge()
    players = {"critic": critic, "generator": generator}
    return Recipe(
        model, players, partial(load, data), BATCH, ema=ema,
        watch=judge.watch, measure=judge.measure, keep=shown,
    )  # fmt: skip


def adam(rate: float, beta1: float, beta2: float = 0.999) -> Callable[..., torch.optim.Adam]:
    """Name an Adam of this learning rate and these averages; all parameters in one kernel."""
    return partial(torch.optim.Adam, lr=rate, betas=(beta1, beta2), fused=True)


def gan(
    loss: str = "non-saturating",
    data: str = "fashion-mnist",
    smoothing: float = 0.0,
    r1: float = 0.0,
    normalise: bool = True,
    rate: float = 2e-4,
    critic_rate: float = 2e-4,
    generator_updates: int = 1,
    ema: float = 0.0,
) -> Recipe:
    """Train the homework's DCGAN: latent 100, 4 x 4 convolutions, Adam with beta1 = 0.5.

    loss: of the generator, "non-saturating" or "minimax". smoothing: how far below 1 the label of
    a real image lies. r1: weight of the discriminator's squared slope at real images. normalise:
    the generator's batches. rate, critic_rate: learning rates of the two players.
    generator_updates: for each one of the discriminator. ema: decay of the averaged weights that
    are measured and kept; 0: the last ones. Raises ValueError for a value that cannot be.
    """
    if loss not in GENERATOR_LOSSES:
        raise ValueError(f"no generator loss is called {loss!r} {nearest(loss, GENERATOR_LOSSES)}")
    if not 0 <= smoothing < 0.5 or r1 < 0:
        got = f"smoothing={smoothing} and r1={r1}"
        raise ValueError(f"smoothing must be in [0, 0.5) and r1 0 or above, got {got}")
    if min(rate, critic_rate) <= 0:
        raise ValueError(f"learning rates must be above 0, got {rate} and {critic_rate}")
    model = GAN(fast(image_generator(LATENT, normalise=normalise)), fast(image_critic()), LATENT)
    judging = partial(discriminator_loss, smoothing=smoothing, r1=r1)
    critic = Player(model.critic, judging, adam(critic_rate, 0.5))
    drawing = partial(generator_loss, kind=loss)
    generator = Player(model.generator, drawing, adam(rate, 0.5), updates=generator_updates)
    return recipe(model, critic, generator, data, ema)


def wgan(
    constraint: str = "gradient-penalty",
    data: str = "fashion-mnist",
    critic_updates: int = 5,
    c: float = 0.01,
    penalty: float = 10.0,
    rate: float = 0.0,
    ema: float = 0.0,
) -> Recipe:
    """Train a Wasserstein GAN with the networks of `gan`.

    constraint: what bounds the critic's slope. "clipping": every weight in [-c, c], RMSprop 5e-5
    (Arjovsky et al. 2017, algorithm 1); "gradient-penalty": weight `penalty`, Adam 1e-4 with betas
    0 and 0.9 (Gulrajani et al. 2017, algorithm 1); "spectral-norm": each layer's largest singular
    value is 1, with the hinge loss and Adam 2e-4, betas 0 and 0.9 (Miyato et al. 2018, table 1).
    critic_updates: for each one of the generator. rate: learning rate of both; 0: the source's, as
    given here. ema: as in `gan`. Raises ValueError for a value that cannot be.
    """
    if constraint not in CONSTRAINTS:
        hint = nearest(constraint, CONSTRAINTS)
        raise ValueError(f"no constraint is called {constraint!r} {hint}")
    if not (c > 0 and penalty > 0 and rate >= 0):
        got = f"c={c}, penalty={penalty} and rate={rate}"
        raise ValueError(f"needs c and penalty above 0 and rate 0 or above, got {got}")
    spectral = constraint == "spectral-norm"
    model = GAN(fast(image_generator(LATENT)), fast(image_critic(spectral=spectral)), LATENT)
    if constraint == "clipping":
        rate = rate or 5e-5
        loss, critic_pace = critic_loss, partial(ClippedRMSprop, lr=rate, c=c)
        pace = partial(torch.optim.RMSprop, lr=rate)
    else:
        loss = hinge_loss if spectral else partial(critic_loss, weight=penalty)
        critic_pace = pace = adam(rate or (2e-4 if spectral else 1e-4), 0.0, 0.9)
    critic = Player(model.critic, loss, critic_pace, updates=critic_updates)
    return recipe(model, critic, Player(model.generator, fooling_loss, pace), data, ema)
