"""What a diffusion model's bound costs, in bits per dimension."""

import math

import torch
from torch import Tensor

from companion.estimate import Estimate, mean_of
from companion.maths import gaussian_kl
from companion.models.diffusion import Diffusion

LEVELS = 255  # pixels are k / 255 for k in 0..255


def decoded_log_prob(x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """log of a normal's mass on each pixel's own bin, summed: (B, C, H, W) -> (B,), nats.

    Bins are 2 / 255 wide and centred at the 256 levels of [-1, 1]; the first and last reach to
    infinity (Ho et al. 2020, eq. 13).
    """
    law = torch.distributions.Normal(mean.double(), variance.double().sqrt())
    x = x.double()
    below = torch.where(x < -1 + 1 / LEVELS, 0.0, law.cdf(x - 1 / LEVELS))
    above = torch.where(x > 1 - 1 / LEVELS, 1.0, law.cdf(x + 1 / LEVELS))
    return (above - below).clamp_min(1e-12).log().flatten(1).sum(1)


@torch.no_grad()
def bits_per_dimension(
    model: Diffusion, x: Tensor, y: Tensor | None = None, strata: int = 50
) -> Estimate:
    """Upper bound on the bits per pixel of grey images x (B, C, H, W) in [-1, 1] of 256 levels.

    Ho et al. 2020, eq. 5: the cost of x_T, of the T - 1 steps and of the decoded pixels. The
    steps' sum is estimated from one random step in each of `strata` equal parts of 2..T, unbiased;
    the error is over images. Raises ValueError for strata outside 1..T - 1.
    """
    total = model.steps
    if not 1 <= strata < total:
        raise ValueError(f"strata must be from 1 to {total - 1}, got {strata}")
    generator = torch.Generator().manual_seed(0)

    def error(t: Tensor) -> tuple[Tensor, Tensor]:
        noise = torch.randn(x.shape, generator=generator).to(x)
        noisy = model.noised(x, t, noise)
        guess = model.predict(noisy, t, y)
        return (guess.noise - noise).square().flatten(1).sum(1).double(), guess.clean

    kept = model.alpha_bar
    ratio = kept / (1 - kept)
    edges = torch.linspace(2, total + 1, strata + 1).round().long()
    cost = torch.zeros(len(x), dtype=torch.double, device=x.device)
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        t = torch.randint(low, high, (len(x),), generator=generator).to(x.device)
        cost += (high - low) * (ratio[t - 1] - ratio[t]) / (2 * ratio[t]) * error(t)[0]
    first = torch.ones(len(x), dtype=torch.long, device=x.device)
    clean = error(first)[1]
    cost -= decoded_log_prob(x, clean, (1 - kept[1]).expand(clean.shape))
    last = (kept[-1].sqrt() * x.double()).flatten(1)
    cost += gaussian_kl(last, (1 - kept[-1]).log().expand(last.shape))
    return mean_of(cost / (x[0].numel() * math.log(2)), "bits per dimension")
