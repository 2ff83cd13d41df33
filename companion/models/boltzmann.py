"""A restricted Boltzmann machine that is small enough to be exact, and its contrastive divergence.

p(v, h) = exp(v' W h + b' v + c' h) / Z over bits v (D,) and h (H,). Sums over all h are sums of
2^H terms, sums over all v are done coordinate by coordinate.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def bits(n: int) -> Tensor:
    """All 2^n words of n bits, the first bit counts most: float64 (2^n, n)."""
    words = torch.arange(2**n)[:, None] >> torch.arange(n - 1, -1, -1)
    return (words & 1).double()


class Boltzmann(nn.Module):
    """A restricted Boltzmann machine, in float64; log-probabilities in nats.

    Raises ValueError for more than 12 hidden bits: all 2^H are summed.
    """

    def __init__(self, visible: int, hidden: int, spread: float = 0.1):
        super().__init__()
        if not 1 <= hidden <= 12 or visible < 1:
            raise ValueError(
                f"needs 1 to 12 hidden bits and a visible one, got {hidden}, {visible}"
            )
        self.W = nn.Parameter(spread * torch.randn(visible, hidden, dtype=torch.float64))
        self.b = nn.Parameter(torch.zeros(visible, dtype=torch.float64))
        self.c = nn.Parameter(torch.zeros(hidden, dtype=torch.float64))

    def on_hidden(self, v: Tensor) -> Tensor:
        """Probabilities that each h_j is 1 given v: (..., D) -> (..., H)."""
        return torch.sigmoid(v @ self.W + self.c)

    def on_visible(self, h: Tensor) -> Tensor:
        """Probabilities that each v_i is 1 given h: (..., H) -> (..., D)."""
        return torch.sigmoid(h @ self.W.T + self.b)

    def energy(self, v: Tensor, beta: float = 1.0) -> Tensor:
        """-log of the sum over h of exp(-beta E(v, h)): (..., D) -> (...)."""
        return -(beta * v @ self.b) - F.softplus(beta * (v @ self.W + self.c)).sum(-1)

    def log_hidden(self) -> Tensor:
        """Log of the sum over v, for each of all h: (2^H,)."""
        h = bits(len(self.c)).to(self.W.device)
        return h @ self.c + F.softplus(h @ self.W.T + self.b).sum(-1)

    def log_z(self) -> Tensor:
        """Log of the partition function, exact."""
        return self.log_hidden().logsumexp(0)

    def log_prob(self, v: Tensor) -> Tensor:
        """Exact log-probability of bits (..., D), in nats."""
        return -self.energy(v) - self.log_z()

    @torch.no_grad()
    def gibbs(self, v: Tensor, steps: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """Sample h given v, then v given h, `steps` times: (N, D) -> the same."""
        for _ in range(steps):
            h = torch.bernoulli(self.on_hidden(v), generator=generator)
            v = torch.bernoulli(self.on_visible(h), generator=generator)
        return v

    def statistics(self, states: Tensor, law: Tensor) -> Tensor:
        """E [v h', v, h] under a law (N,) of states (N, D), h given v: (D H + D + H,), flat.

        -dE/d(W, b, c) has this mean: it is what both phases of the gradient compare.
        """
        h = self.on_hidden(states)
        pairs = (law[:, None] * states).T @ h
        return torch.cat([pairs.flatten(), law @ states, law @ h])

    def own_statistics(self) -> Tensor:
        """The same under the model itself, by a sum over all h."""
        h, law = bits(len(self.c)).to(self.W.device), self.log_hidden().softmax(0)
        v = self.on_visible(h)
        pairs = (law[:, None] * v).T @ h
        return torch.cat([pairs.flatten(), law @ v, law @ h])

    def kernels(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """P(h | v) (N, 2^H) and P(v | h) (2^H, N), for all states (N, D) there are."""
        h = bits(len(self.c)).to(self.W.device)
        up, down = states @ self.W + self.c, h @ self.W.T + self.b
        forth = up @ h.T - F.softplus(up).sum(-1, keepdim=True)
        back = down @ states.T - F.softplus(down).sum(-1, keepdim=True)
        return forth.exp(), back.exp()
