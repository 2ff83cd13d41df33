"""Linear state spaces as layers: fixed and diagonal (S4D), or chosen by what is read (Mamba)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from companion.nets.scan import selective_scan

RATES = (1e-3, 1e-1)  # time steps dt at the start, between these
State = tuple[Tensor, ...]  # what a layer remembers of the past, each (B, ...)


def zero_order_hold(a: Tensor, dt: Tensor) -> tuple[Tensor, Tensor]:
    """Decay e^(dt a) and gain (e^(dt a) - 1) / a of h' = a h + u, with u held for dt.

    Both broadcast; a is not 0. The next state is decay * h + gain * u, exactly.
    """
    decay = torch.exp(dt * a)
    return decay, (decay - 1) / a


def fft_convolution(x: Tensor, kernel: Tensor) -> Tensor:
    """y_t = sum_{s <= t} kernel_{t - s} x_s: x (B, L, D), kernel (D, L) -> (B, L, D).

    In O(L log L): both are padded to 2 L, so that the end does not run round into the beginning.
    """
    n = 2 * x.shape[1]
    spectrum = torch.fft.rfft(x, n, dim=1) * torch.fft.rfft(kernel, n).T
    return torch.fft.irfft(spectrum, n, dim=1)[:, : x.shape[1]]


def hippo(n: int) -> tuple[Tensor, Tensor]:
    """Matrices A (n, n) and B (n,) of HiPPO-LegS, float64: c' = -(A c - B u) / t (Gu et al. 2020).

    c(t) are the coefficients of the past u on [0, t] in Legendre polynomials of length 1.
    """
    k = torch.arange(n, dtype=torch.float64)
    root = (2 * k + 1).sqrt()
    return torch.tril(root[:, None] * root, -1) + torch.diag(k + 1), root


def log_rates(n: int) -> Tensor:
    """Logarithms of n time steps, even in the logarithm between RATES: (n,)."""
    low, high = map(math.log, RATES)
    return torch.linspace(low, high, n)


class S4D(nn.Module):
    """D channels, each a fixed system of N complex states: (B, L, D) -> (B, L, D).

    h' = a h + u, y = 2 Re(c h) + skip u, a = -1/2 + i pi n at the start, discretised by a zero-
    order hold (Gu et al. 2022, S4D-Lin). Trained as a convolution, sampled as a recurrence.
    """

    def __init__(self, width: int, state: int = 8):
        super().__init__()
        self.log_decay = nn.Parameter(torch.full((width, state), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(state).float().repeat(width, 1))
        self.log_dt = nn.Parameter(log_rates(width)[:, None])
        self.c = nn.Parameter(torch.randn(width, state, 2) / math.sqrt(2 * state))
        self.skip = nn.Parameter(torch.ones(width))

    def system(self) -> tuple[Tensor, Tensor]:
        """Decays, and gains times c, of all channels: complex (D, N)."""
        a = torch.complex(-self.log_decay.exp(), self.frequency)
        decay, gain = zero_order_hold(a, self.log_dt.exp())
        return decay, gain * torch.view_as_complex(self.c)

    def kernel(self, length: int) -> Tensor:
        """K_l = 2 Re sum_n c_n gain_n decay_n^l of each channel: (D, L)."""
        decay, weight = self.system()
        powers = torch.exp(decay.log()[..., None] * torch.arange(length, device=decay.device))
        return 2 * (weight[:, None] @ powers)[:, 0].real  # (D, 1, N) (D, N, L)

    def forward(self, x: Tensor) -> Tensor:
        """Read a whole sequence at once."""
        return fft_convolution(x, self.kernel(x.shape[1])) + self.skip * x

    def begin(self, n: int) -> State:
        """The state before anything is read."""
        return (self.log_decay.new_zeros(n, *self.log_decay.shape) + 0j,)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one step (B, D)."""
        decay, weight = self.system()
        h = decay * state[0] + x[..., None]  # the gain is in the weight
        return 2 * (weight * h).sum(2).real + self.skip * x, (h,)


class Selective(nn.Module):
    """D channels of N real states whose steps, inputs and outputs depend on what is read (S6).

    h_t = e^(dt_t a) h_{t-1} + dt_t b_t x_t, y_t = c_t h_t + skip x_t, where dt_t, b_t and c_t are
    linear functions of x_t, dt through a softplus (Gu and Dao 2023, algorithm 2).
    """

    def __init__(self, width: int, state: int = 8):
        super().__init__()
        rank = -(-width // 16)
        self.sizes = [rank, state, state]
        self.choose = nn.Linear(width, rank + 2 * state, bias=False)
        self.rate = nn.Linear(rank, width)
        self.log_a = nn.Parameter(
            torch.arange(1.0, state + 1).log()[:, None].repeat(1, width)
        )  # (N, D)
        self.skip = nn.Parameter(torch.ones(width))
        with torch.no_grad():
            self.rate.bias.copy_(log_rates(width).exp().expm1().log())  # softplus gives the rates

    def chosen(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the input decides: dt (..., D), and a (N, D), b and c (..., N)."""
        rate, b, c = self.choose(x).split(self.sizes, -1)
        return F.softplus(self.rate(rate)), -self.log_a.exp(), b, c

    def forward(self, x: Tensor) -> Tensor:
        """Read a whole sequence at once."""
        return selective_scan(x, *self.chosen(x)) + self.skip * x

    def begin(self, n: int) -> State:
        """The state before anything is read."""
        return (self.log_a.new_zeros(n, *self.log_a.shape),)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one step (B, D)."""
        dt, a, b, c = self.chosen(x)
        h = torch.exp(dt[:, None] * a) * state[0] + b[..., None] * (dt * x)[:, None]
        return (c[..., None] * h).sum(1) + self.skip * x, (h,)
