"""Losses of generative adversarial networks; the trainer holds the other player still."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from companion.models.gan import GAN
from companion.recipes import Batch, Terms
from companion.words import nearest

Judge = Callable[[Tensor], Tensor]  # images (B, C, H, W) -> (B,)
GENERATOR_LOSSES = ("non-saturating", "minimax")


def real_and_fake(model: GAN, x: Tensor, apart: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Draw as many images as there are real ones; judge all in one pass, or each kind by itself.

    Real images (B, C, H, W) -> numbers of the real ones (B,), of the fakes (B,), and the fakes.
    apart: for a judge with batch normalisation, so that its batches are of one kind, as they are
    when the generator learns from it.
    """
    fake = model.sample(len(x))
    if apart:
        return model.judge(x), model.judge(fake), fake
    real_score, fake_score = model.judge(torch.cat([x, fake])).chunk(2)
    return real_score, fake_score, fake


def slopes(judge: Judge, x: Tensor) -> Tensor:
    """Norm of each image's gradient, over all of its pixels: (B, C, H, W) -> (B,).

    It can be differentiated again. In single precision, whatever surrounds it.
    """
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):
        x = x.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(judge(x).sum(), x, create_graph=True)
        return gradient.flatten(1).norm(dim=1)


def gradient_penalty(judge: Judge, real: Tensor, fake: Tensor) -> Tensor:
    """(|gradient| - 1)^2 at one point on the way from each real to its fake image: (B,).

    Gulrajani et al. 2017, eq. 3, without lambda: the point's share is uniform in [0, 1], one for
    each image. Raises ValueError unless both are (B, C, H, W).
    """
    if real.shape != fake.shape or real.ndim < 2:
        got = f"{tuple(real.shape)} and {tuple(fake.shape)}"
        raise ValueError(f"needs real and fake images of one shape (B, C, H, W), got {got}")
    share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
    return (slopes(judge, share * real + (1 - share) * fake) - 1).square()


def discriminator_loss(
    model: GAN,
    batch: Batch,
    step: int,
    smoothing: float = 0.0,
    r1: float = 0.0,
    apart: bool = False,
) -> Terms:
    """-E log D(x) - E log(1 - D(G(z))); Goodfellow et al. 2014, eq. 1, with D = sigmoid(judge).

    smoothing: how far below 1 the label of a real image lies (Salimans et al. 2016, section 3.4).
    r1: weight of half the squared gradient at real images (Mescheder et al. 2018, eq. 9).
    apart: judge real images and fakes in batches of their own.
    """
    x = batch[0]
    real, fake, _ = real_and_fake(model, x, apart)
    value = F.softplus(-real) + F.softplus(fake)
    accuracy = ((real > 0).float() + (fake < 0).float()) / 2
    terms = {"loss": value + smoothing * real, "accuracy": accuracy}
    terms |= {"D of real": real.sigmoid(), "D of fake": fake.sigmoid()}
    if r1:
        penalty = slopes(model.judge, x).square()
        terms |= {"loss": terms["loss"] + r1 / 2 * penalty, "penalty": penalty}
    return terms


def generator_loss(model: GAN, batch: Batch, step: int, kind: str = "non-saturating") -> Terms:
    """What the generator minimises on as many codes as the batch has images.

    non-saturating: -E log D(G(z)), Goodfellow et al. 2014, section 3; minimax: E log(1 - D(G(z))),
    its eq. 1, which saturates. `slope`: mean |d loss / d logit|, the share of the discriminator's
    gradient that reaches the generator. Raises ValueError for another kind.
    """
    fake = model.sample(len(batch[0]))
    score = model.judge(fake)
    if kind == "non-saturating":
        loss, slope = F.softplus(-score), (-score).sigmoid()
    elif kind == "minimax":
        loss, slope = -F.softplus(score), score.sigmoid()
    else:
        raise ValueError(f"no generator loss is called {kind!r} {nearest(kind, GENERATOR_LOSSES)}")
    return {"loss": loss, "slope": slope}


def critic_loss(model: GAN, batch: Batch, step: int, weight: float = 0.0) -> Terms:
    """E f(G(z)) - E f(x) + weight * gradient penalty; Arjovsky et al. 2017, eq. 2.

    weight: of the penalty, 10 in Gulrajani et al. 2017; at 0 something else must bound the
    critic's slope. `wasserstein`: E f(x) - E f(G(z)), the distance times the critic's Lipschitz
    constant where the critic is optimal.
    """
    x = batch[0]
    real, fake, drawn = real_and_fake(model, x)
    gap = real - fake
    terms = {"loss": -gap, "wasserstein": gap}
    if weight:
        penalty = gradient_penalty(model.judge, x, drawn)
        terms |= {"loss": weight * penalty - gap, "penalty": penalty}
    return terms


def hinge_loss(model: GAN, batch: Batch, step: int) -> Terms:
    """E max(0, 1 - f(x)) + E max(0, 1 + f(G(z))); Miyato et al. 2018, eq. 16."""
    real, fake, _ = real_and_fake(model, batch[0])
    return {"loss": F.relu(1 - real) + F.relu(1 + fake), "wasserstein": real - fake}


def fooling_loss(model: GAN, batch: Batch, step: int) -> Terms:
    """-E f(G(z)): the generator against a critic; Arjovsky et al. 2017, algorithm 1."""
    return {"loss": -model.judge(model.sample(len(batch[0])))}


class ClippedRMSprop(torch.optim.RMSprop):
    """RMSprop that ends each update inside the box: every weight in [-c, c].

    Arjovsky et al. 2017, algorithm 1, lines 6 and 7. Raises ValueError unless c is above 0.
    """

    def __init__(self, params: Any, lr: float = 5e-5, c: float = 0.01):
        if not c > 0:
            raise ValueError(f"the clipping constant c must be above 0, got {c}")
        super().__init__(params, lr=lr)
        self.c = c

    def step(self, closure: Any = None) -> Any:
        """Update, then clip."""
        value = super().step(closure)
        with torch.no_grad():
            for group in self.param_groups:
                for weight in group["params"]:
                    weight.clamp_(-self.c, self.c)
        return value
