"""From noise to images: one sampler with any stride and any amount of fresh noise."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from companion.data.forms import unsigned
from companion.devices import fast_precision
from companion.models.diffusion import Diffusion
from companion.paths import Prediction, translate

AT_ONCE = 250  # images drawn together


class Denoiser(Protocol):
    """What a sampler needs of a model: its schedule, and a guess of what is behind x_t."""

    @property
    def alpha_bar(self) -> Tensor:
        """The schedule at times 0..T: (T + 1,), 1 first."""
        ...

    def predict(self, x: Tensor, t: Tensor) -> Prediction:
        """Guess noise and clean image behind x (B, ...) at times t (B,)."""
        ...


def times(steps: int, total: int) -> list[int]:
    """Spread `steps` strides evenly over T = `total`: steps + 1 whole times, from T down to 0.

    Time T and time 0 are always among them, so alpha_bar is read where the network was trained.
    Raises ValueError unless steps is a whole number and 1 <= steps <= total.
    """
    if not hasattr(steps, "__index__"):
        raise ValueError(f"steps must be a whole number, got {steps}")
    if not 1 <= steps <= total:
        raise ValueError(f"steps must be from 1 to {total}, got {steps}")
    return [round(total * k / steps) for k in range(steps, -1, -1)]


def ancestral_variance(now: Tensor, then: Tensor) -> Tensor:
    """Variance of q(x_s | x_t, x_0) for alpha_bar `now` at t and `then` at the earlier s.

    (1 - then) / (1 - now) * (1 - now / then); Ho et al. 2020, eq. 7, for any stride.
    """
    return (1 - then) / (1 - now) * (1 - now / then)


def implicit_step(
    x: Tensor, guess: Prediction, now: Tensor, then: Tensor, eta: float, fresh: Tensor
) -> Tensor:
    """Go from x_t (B, ...) to x_s, one step of Song, Meng and Ermon 2021, eq. 12.

    sqrt(then) x_0 + sqrt(1 - then - sigma^2) noise + sigma fresh, where sigma^2 is eta^2 times the
    ancestral variance: eta 0 adds no noise, eta 1 is the ancestral sampler of Ho et al. 2020.
    """
    variance = eta**2 * ancestral_variance(now, then)
    clean, noise = guess.clean, guess.noise
    return then.sqrt() * clean + (1 - then - variance).sqrt() * noise + variance.sqrt() * fresh


@torch.no_grad()
def path(
    model: Denoiser,
    x: Tensor,
    steps: int = 50,
    eta: float = 0.0,
    clip: float = 0.0,
    generator: torch.Generator | None = None,
    **condition: object,
) -> Iterator[tuple[int, Tensor, Prediction]]:
    """Yield the time reached, x there, and the guess that led to it, from noise x (B, ...) at T.

    clip: the clean guess is held in [-clip, clip], and its noise made to agree; 0: it is not.
    condition: passed on to `predict`, as labels y or guidance. Raises ValueError for steps out of
    range or an eta outside [0, 1].
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must be in [0, 1], got {eta}")
    ways = times(steps, len(model.alpha_bar) - 1)
    guessed: Callable[..., Prediction] = partial(model.predict, **condition)
    for t, s in pairwise(ways):
        now, then = model.alpha_bar[t].to(x.dtype), model.alpha_bar[s].to(x.dtype)
        guess = guessed(x, torch.full((len(x),), t, device=x.device))
        if clip:
            clean = guess.clean.clamp(-clip, clip)
            guess = translate("clean", clean, x, now.sqrt(), (1 - now).sqrt())
        fresh = torch.zeros_like(x)
        if eta and s:
            fresh = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        x = implicit_step(x, guess, now, then, eta, fresh)
        yield s, x, guess


def sample(model: Denoiser, x: Tensor, steps: int = 50, **choices: object) -> Tensor:
    """Turn noise x (B, ...) at time T into samples of the same shape, as `path` does."""
    [(_, found, _)] = deque(path(model, x, steps, **choices), maxlen=1)  # type: ignore[arg-type]
    return found


@torch.no_grad()
def invert(model: Denoiser, x: Tensor, steps: int = 50, **condition: object) -> Tensor:
    """Go the deterministic way backwards, from images x (B, ...) at time 0 to noise at T.

    Each step asks the network at the time it comes from, not at the one it goes to, so the way
    back does not close exactly (Song, Meng and Ermon 2021, section 4.3): the gap shrinks with the
    number of steps. At time 0, where no network was trained, time 1 is asked.
    """
    ways = times(steps, len(model.alpha_bar) - 1)[::-1]
    for t, s in pairwise(ways):
        now, then = model.alpha_bar[t].to(x.dtype), model.alpha_bar[s].to(x.dtype)
        asked = torch.full((len(x),), max(t, 1), device=x.device)
        noise = model.predict(x, asked, **condition).noise  # type: ignore[arg-type]
        clean = (x - (1 - now).sqrt() * noise) / now.sqrt()
        x = then.sqrt() * clean + (1 - then).sqrt() * noise
    return x


@torch.no_grad()
def from_fixed_noise(
    model: Diffusion, n: int, steps: int = 50, shape: Sequence[int] = (1, 28, 28),
    **choices: object,
) -> Tensor:  # fmt: skip
    """Draw images from n fixed noises, classes in turn: (n, *shape) in [0, 1], on the CPU.

    The network runs in the machine's fastest precision, the sampler in float32.
    """
    generator = torch.Generator().manual_seed(0)
    device = next(model.net.parameters()).device
    fresh = torch.Generator(device).manual_seed(1)
    fast = torch.autocast(device.type, torch.bfloat16, enabled=fast_precision() == "bf16")
    found = []
    for begin in range(0, n, AT_ONCE):
        noise = torch.randn(min(AT_ONCE, n - begin), *shape, generator=generator)
        y = torch.arange(begin, begin + len(noise), device=device) % max(model.classes, 1)
        given = {"y": y} if model.classes else {}
        with fast:
            x = sample(
                model, noise.to(device), steps, clip=1.0, generator=fresh, **given, **choices
            )
        found.append(unsigned(x).cpu())
    return torch.cat(found)
