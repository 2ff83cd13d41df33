"""Chapters `adversarial/gan` and `adversarial/wgan`: adversarial models of small grey images."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from companion.data import load
from companion.data.forms import as_bytes
from companion.experiments.images import extractor_of
from companion.measures.adversarial import OfGenerator
from companion.models.gan import GAN
from companion.nets import (
    channels_last,
    homework_generator,
    homework_judge,
    image_critic,
    image_generator,
)
from companion.objectives import (
    GENERATOR_LOSSES,
    ClippedRMSprop,
    critic_loss,
    discriminator_loss,
    fooling_loss,
    generator_loss,
    hinge_loss,
)
from companion.recipes import Player, Recipe
from companion.samplers.codes import from_fixed_codes
from companion.words import nearest

BATCH = 64
LATENT = 100
SHOWN = 36  # images of the same codes that each watched epoch leaves in the run
NETS = ("compact", "homework", "homework-bare-judge")
CONSTRAINTS = ("clipping", "gradient-penalty", "spectral-norm")


def shown(model: GAN) -> Tensor:
    """Images of the first fixed codes as they are kept: uint8 (36, 1, 28, 28)."""
    return as_bytes(from_fixed_codes(model, SHOWN))


def recipe(model: GAN, critic: Player, generator: Player, data: str, ema: float) -> Recipe:
    """What all of these models share: batches of 64, the critic first, one way to be judged."""
    judge = extractor_of(data)
    found = OfGenerator(judge.model)
    players = {"critic": critic, "generator": generator}
    return Recipe(
        model, players, partial(load, data), BATCH, ema=ema,
        watch=found.watch, measure=found.measure, keep=shown, saved="generator",
        stands_on=(judge,),
    )  # fmt: skip


def adam(rate: float, beta1: float, beta2: float = 0.999) -> Callable[..., torch.optim.Adam]:
    """Name an Adam of this learning rate and these averages; all parameters in one kernel."""
    return partial(torch.optim.Adam, lr=rate, betas=(beta1, beta2), fused=True)


def networks(net: str, normalise: bool) -> GAN:
    """Build the pair that `gan` trains. Raises ValueError for one that cannot be."""
    if net not in NETS:
        raise ValueError(f"no pair of networks is called {net!r} {nearest(net, NETS)}")
    if net == "compact":
        pair = image_generator(LATENT, normalise=normalise), image_critic()
    elif not normalise:
        raise ValueError("normalise=False is a choice of the compact networks only")
    else:
        pair = homework_generator(LATENT), homework_judge(normalise=net == "homework")
    generator, judge = map(channels_last, pair)
    return GAN(generator, judge, LATENT)


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
    net: str = "compact",
) -> Recipe:
    """Train a DCGAN: latent 100, batches of 64, Adam with beta1 = 0.5.

    loss: of the generator, "non-saturating" or "minimax". smoothing: how far below 1 the label of
    a real image lies. r1: weight of the discriminator's squared slope at real images. normalise:
    the batches of the compact generator. rate, critic_rate: learning rates of the two players.
    generator_updates: for each one of the discriminator. ema: decay of the averaged weights that
    are measured and kept; 0: the last ones. net: "compact", 4 x 4 convolutions, a judge without
    normalisation; "homework", the homework's table, with batch normalisation in both networks;
    "homework-bare-judge", that table without it in the judge. Raises ValueError for a value that
    cannot be.
    """
    if loss not in GENERATOR_LOSSES:
        raise ValueError(f"no generator loss is called {loss!r} {nearest(loss, GENERATOR_LOSSES)}")
    if not (0 <= smoothing < 0.5 and r1 >= 0):
        got = f"smoothing={smoothing} and r1={r1}"
        raise ValueError(f"smoothing must be in [0, 0.5) and r1 0 or above, got {got}")
    if not (rate > 0 and critic_rate > 0):
        raise ValueError(f"learning rates must be above 0, got {rate} and {critic_rate}")
    model, apart = networks(net, normalise), net == "homework"
    if apart and r1:
        raise ValueError(
            f"r1 needs a judge of single images, the homework's has batches, got {r1}"
        )
    judging = partial(discriminator_loss, smoothing=smoothing, r1=r1, apart=apart)
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
    value is 1, with the hinge loss and Adam 2e-4, betas 0 and 0.9 (Miyato et al. 2018, for
    residual networks).
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
    model = GAN(
        channels_last(image_generator(LATENT)),
        channels_last(image_critic(spectral=spectral)),
        LATENT,
    )
    if constraint == "clipping":
        rate = rate or 5e-5
        loss, critic_pace = critic_loss, partial(ClippedRMSprop, lr=rate, c=c)
        pace = partial(torch.optim.RMSprop, lr=rate)
    else:
        loss = hinge_loss if spectral else partial(critic_loss, weight=penalty)
        critic_pace = pace = adam(rate or (2e-4 if spectral else 1e-4), 0.0, 0.9)
    critic = Player(model.critic, loss, critic_pace, updates=critic_updates)
    return recipe(model, critic, Player(model.generator, fooling_loss, pace), data, ema)
