"""Losses of quantised autoencoders: how a gradient gets past a choice."""

from torch import Tensor

from companion.models.quantized import DiscreteVAE, FiniteScalars, VectorQuantised
from companion.recipes import Batch, Terms


def straight_through(z: Tensor, chosen: Tensor) -> Tensor:
    """Give the chosen values forward, and their gradient to z backward (Bengio et al. 2013)."""
    return z + (chosen - z).detach()


def vector_quantised(
    model: VectorQuantised, batch: Batch, step: int, commitment: float = 0.25
) -> Terms:
    """-log p(x | e) + commitment |z - e|^2, e held; van den Oord et al. 2017, eq. 3.

    In training the codebook follows its vectors, in place of the equation's second term.
    """
    x = batch[0]
    z = model.raw(x)
    tokens = model.choose(z)
    e = model.vectors(tokens)
    distortion = -model.decode(straight_through(z, e)).log_prob(x)
    apart = (z - e).square().flatten(1).sum(1)
    if model.training:
        model.follow(z.detach().flatten(0, 1), tokens.flatten())
    return {"loss": distortion + commitment * apart, "distortion": distortion, "apart": apart}


def temperature_at(step: int, hot: float, cold: float, steps: int = 1000) -> float:
    """Fall from hot to cold, by the same factor in each of so many steps, and then stay."""
    return hot * (cold / hot) ** min(1.0, step / steps)


def gumbel_softmax(
    model: DiscreteVAE, batch: Batch, step: int, hot: float = 1.0, cold: float = 0.5
) -> Terms:
    """-log p(x | mixed vectors) + KL(q || uniform); Jang et al. 2017, section 2.2.

    Of relaxed symbols, so no bound of the model's -log p(x): that is in `model.terms`.
    """
    x = batch[0]
    logits = model.raw(x)
    mixed = model.relaxed(logits, temperature_at(step, hot, cold))
    distortion, rate = -model.decode(mixed).log_prob(x), model.rate(logits)
    return {"loss": distortion + rate, "distortion": distortion, "rate": rate}


def finite_scalars(model: FiniteScalars, batch: Batch, step: int) -> Terms:
    """-log p(x | rounded numbers), and nothing beside it; Mentzer et al. 2024, section 3."""
    x = batch[0]
    raw = model.raw(x)
    whole = straight_through(model.bounded(raw), model.rounded(raw))
    distortion = -model.decode(model.centred(whole)).log_prob(x)
    return {"loss": distortion, "distortion": distortion}
