"""The aggregate posterior q(z) = mean of q(z | x_n): what its KL to the prior is made of."""

from dataclasses import dataclass
from math import log, pi, sqrt

import torch
from torch import Tensor

from companion.estimate import Estimate
from companion.maths import gaussian_kl
from companion.metrics.disentanglement import InformationGap, check_labelled, gap_of

CELLS = 1_000_000  # values held at once in each of a few float64 buffers


@dataclass(frozen=True)
class Decomposition:
    """The mean KL to the prior and its three parts, in nats, and the rate of each dimension.

    The three parts sum to `rate` up to rounding. `per_dimension` (K,): mean KL(q(z_k | x) || p).
    """

    mutual_information: Estimate
    total_correlation: Estimate
    dimension_wise: Estimate
    rate: float
    per_dimension: Tensor


@torch.no_grad()
def kl_decomposition(
    mean: Tensor, log_variance: Tensor, samples: int = 2000, seed: int = 0
) -> Decomposition:
    """Split the mean KL(q(z | x) || N(0, I)) of Gaussian posteriors: mean, log-variance (N, K).

    With p(x) uniform over the N posteriors (Hoffman and Johnson 2016; Chen et al. 2018, eq. 2):
    I(x; z) + KL(q(z) || prod q(z_k)) + sum of KL(q(z_k) || p(z_k)). Points z are drawn from
    q(z), and every density of q sums over all N posteriors, so nothing is biased but by
    p(x) itself: I(x; z) of N points is at most log N, and saturates there.

    At each draw the three log-ratios sum to log q(z | x) / p(z), whose mean, the rate, is known
    in closed form: each is regressed on it (a control variate). The slopes sum to 1, so the
    three estimates sum to the rate exactly; the errors are those of the residuals.
    Raises ValueError for shapes that do not fit, under two posteriors or three samples.
    """
    check_posteriors(mean, log_variance)
    if samples < 3:
        raise ValueError(f"needs at least 3 samples, got {samples}")
    mean, log_variance = mean.double().cpu(), log_variance.double().cpu()
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(mean), (samples,), generator=draw)
    z, log_q = drawn_from(mean[chosen], log_variance[chosen], draw)
    joint, marginals = log_aggregate(z, mean, log_variance)
    product = marginals.sum(1)
    log_prior = -0.5 * (z.square() + log(2 * pi)).sum(1)
    terms = torch.stack([log_q - joint, joint - product, product - log_prior])  # (3, S)
    per_dimension = gaussian_kl(mean[..., None], log_variance[..., None]).mean(0)
    rate = per_dimension.sum().item()
    information, correlation, wise = with_known_sum(terms, rate)
    return Decomposition(information, correlation, wise, rate, per_dimension)


def with_known_sum(terms: Tensor, mean: float) -> list[Estimate]:
    """Estimate the mean of each term (T, S) when the mean of their sum is known, in nats."""
    total = terms.sum(0)
    away = total - total.mean()
    spread = away.square().sum()
    slopes = (terms * away).sum(1) / spread if spread > 1e-20 else torch.full((len(terms),), 0.0)
    values = terms.mean(1) - slopes * (total.mean() - mean)
    residual = terms - terms.mean(1, keepdim=True) - slopes[:, None] * away
    samples = terms.shape[1]
    errors = residual.square().sum(1).div(samples - 2).sqrt() / sqrt(samples)
    found = zip(values.tolist(), errors.tolist(), strict=True)
    return [Estimate(value, error, samples, "nats") for value, error in found]


def drawn_from(mean: Tensor, log_variance: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw one point of each Gaussian (S, K); return it and its log-density (S,)."""
    noise = torch.randn(mean.shape, generator=draw, dtype=torch.float64)
    log_prob = -0.5 * (noise.square() + log_variance + log(2 * pi)).sum(1)
    return mean + (0.5 * log_variance).exp() * noise, log_prob


def log_aggregate(z: Tensor, mean: Tensor, log_variance: Tensor) -> tuple[Tensor, Tensor]:
    """Return log q(z) and log q(z_k) of points (S, K) under N posteriors: (S,) and (S, K)."""
    joints, marginals = [], torch.empty_like(z)
    scale = (-0.5 * log_variance).exp()
    centre, constant = mean * scale, log_variance + log(2 * pi)
    size = CELLS // len(mean) + 1
    for part, out in zip(z.split(size), marginals.split(size), strict=True):
        joint = z.new_zeros(len(part), len(mean))
        for k in range(z.shape[1]):
            each = (part[:, k, None] * scale[:, k]).sub_(centre[:, k]).square_()
            each.add_(constant[:, k]).mul_(-0.5)  # (S, N): log q(z_k | x_n)
            joint += each
            out[:, k] = each.logsumexp(1) - log(len(mean))
        joints.append(joint.logsumexp(1) - log(len(mean)))
    return torch.cat(joints), marginals


@torch.no_grad()
def mutual_information_gap_of_posteriors(
    posteriors: tuple[Tensor, Tensor], factors: Tensor, samples: int = 1000,
    seed: int = 0, reshaped: bool = False,
) -> InformationGap:  # fmt: skip
    """Measure the MIG of Gaussian posteriors for factors (N, F); 1 at best.

    `posteriors`: means and log-variances (N, K). Chen et al. 2018, eq. 4-6: I(z_k; v) is the
    mean of log q(z_k | v) / q(z_k) over a draw of each of `samples` posteriors; q(z_k) mixes all
    N, q(z_k | v) those that share the value. The authors leave the shape of dSprites out, and
    mix all of its images. Of fewer, mixtures are too sharp, all informations too high and gaps
    mostly too small: have hundreds of each value. The error is that of the drawn points.

    `reshaped=True` repeats a mistake of a program in wide use: drawn codes are reshaped from
    (S, K) to (K, S), not transposed, so most points come from other dimensions, where a sharp
    q(z_k | v) is all but 0: the best informations turn negative, which counts as 0.
    Raises ValueError as `mutual_information_gap` does.
    """
    check_posteriors(*posteriors)
    check_labelled(posteriors[0], factors)
    if samples < 2:
        raise ValueError(f"needs at least 2 samples, got {samples}")
    mean, log_variance = (x.double().cpu() for x in posteriors)
    draw = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(mean), generator=draw)[:samples]
    z, _ = drawn_from(mean[chosen], log_variance[chosen], draw)
    whole = log_marginals(z, mean, log_variance, reshaped)
    information, pointwise, surprise = [], [], []
    for factor in factors.cpu().T:
        ratio, rarity = -whole, torch.empty_like(whole[:, 0])
        for value in factor[chosen].unique():
            of, members = factor[chosen] == value, factor == value
            ratio[of] += log_marginals(z[of], mean[members], log_variance[members], reshaped)
            rarity[of] = -members.double().mean().log()
        information.append(ratio.mean(0))
        pointwise.append(ratio[:, information[-1].topk(2).indices])
        surprise.append(rarity)
    return gap_of(*(torch.stack(x, -1) for x in (information, pointwise, surprise)))


def log_marginals(z: Tensor, mean: Tensor, log_variance: Tensor, reshaped: bool) -> Tensor:
    """log q(z_k) of points (S, K), or of the same numbers in the wrong order: (S, K)."""
    points = z.reshape(z.shape[1], -1).T if reshaped else z
    return log_aggregate(points, mean, log_variance)[1]


def check_posteriors(mean: Tensor, log_variance: Tensor) -> None:
    """Raise ValueError unless these are means and log-variances (N, K) of N >= 2 Gaussians."""
    if mean.ndim != 2 or mean.shape != log_variance.shape or len(mean) < 2 or not mean.shape[1]:
        got = f"{tuple(mean.shape)} and {tuple(log_variance.shape)}"
        raise ValueError(f"needs means and log-variances (N, K), N at least 2, got {got}")
    for name, values in (("means", mean), ("log-variances", log_variance)):
        if not values.is_floating_point() or not values.isfinite().all():
            kind = values.dtype if not values.is_floating_point() else "values that are not"
            raise ValueError(f"{name} must be finite floats, got {kind}")
