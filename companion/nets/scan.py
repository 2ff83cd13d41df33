"""Linear recurrences h_t = a_t h_{t-1} + b_t: a parallel scan, and that of a selective model."""

from typing import Any

import torch
from torch import Tensor

WIDE = 1 << 12  # numbers in a step from which one core is quicker step by step
HELD = 1 << 18  # numbers in the states of one piece of a sequence, about


def scan(a: Tensor, b: Tensor, backwards: bool = False) -> Tensor:
    """All h_t = a_t h_{t-1} + b_t from h_{-1} = 0: (B, L, ...) twice -> (B, L, ...).

    Two steps are one: h_t = a_t a_{t-1} h_{t-2} + (a_t b_{t-1} + b_t). So solve for every second
    t, a scan of half the length, and fill in the others: O(L) work in O(log L) depth (Brent and
    Kung 1982). It multiplies and adds, and never divides. Where a step is wide and the device is
    a CPU, one step after the other is quicker, and done. backwards: h_t = a_t h_{t+1} + b_t.
    """
    n = a.shape[1]
    if n == 1:
        return b
    if a.device.type == "cpu" and a[:, 0].numel() >= WIDE:
        return step_by_step(a, b, backwards)
    first = n % 2 if backwards else 0  # of the pairs; what is left over is an end
    one, two = slice(first, n - 1, 2), slice(first + 1, n, 2)
    late, early = (one, two) if backwards else (two, one)
    rest = slice(1 - first, n - 2, 2) if backwards else slice(2, n, 2)
    before = slice(2 - first, n - 1, 2) if backwards else slice(1, n - 1, 2)
    end = n - 1 if backwards else 0
    h = torch.empty_like(b)
    h[:, end] = b[:, end]
    pairs = torch.addcmul(b[:, late], a[:, late], b[:, early])
    h[:, late] = scan(a[:, late] * a[:, early], pairs, backwards)
    h[:, rest] = torch.addcmul(b[:, rest], a[:, rest], h[:, before])
    return h


def step_by_step(a: Tensor, b: Tensor, backwards: bool = False) -> Tensor:
    """The same recurrence, one fused multiply-add for each step."""
    h = torch.empty_like(b)
    order = slice(None, None, -1 if backwards else 1)
    decays, inputs, out = (v.unbind(1)[order] for v in (a, b, h))
    out[0].copy_(inputs[0])
    for decay, entering, last, now in zip(decays[1:], inputs[1:], out, out[1:], strict=False):
        torch.addcmul(entering, decay, last, out=now)
    return h


def states(h: Tensor, x: Tensor, dt: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Decays and states of one piece of a sequence that begins with state h (B, N, D)."""
    decay = (dt[:, :, None] * a).exp_()  # (B, Q, N, D)
    enters = b[..., None] * (dt * x)[:, :, None]
    enters[:, 0].addcmul_(decay[:, 0], h)
    return decay, scan(decay, enters)


class SelectiveScan(torch.autograd.Function):
    """y_t = c_t h_t with h_t = exp(dt_t a) h_{t-1} + dt_t b_t x_t, piece after piece.

    Between the passes only the states at the borders of the pieces are kept; the backward pass
    computes those inside anew. Memory: (L / Q + Q) states instead of several times L.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, q: int
    ) -> Tensor:
        h = x.new_zeros(len(x), *a.shape)
        borders, out = [], []
        for piece in zip(*(v.split(q, 1) for v in (x, dt, b, c)), strict=True):
            borders.append(h)
            xs, dts, bs, cs = piece
            _, inside = states(h, xs, dts, a, bs)
            out.append((cs[:, :, None] @ inside)[:, :, 0])  # (B, Q, 1, N) (B, Q, N, D)
            h = inside[:, -1].clone()
        ctx.save_for_backward(x, dt, a, b, c, *borders)
        ctx.q = q
        return torch.cat(out, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, a, b, c, *borders = ctx.saved_tensors
        parts = [v.split(ctx.q, 1) for v in (x, dt, b, c, gradients[0])]
        carry, of_a = torch.zeros_like(borders[0]), torch.zeros_like(a)
        found: list[tuple[Tensor, ...]] = []
        for h, xs, dts, bs, cs, g in reversed([*zip(borders, *parts, strict=True)]):
            decay, inside = states(h, xs, dts, a, bs)
            total = cs[..., None] * g[:, :, None]  # (B, Q, N, D): of each state by itself
            total[:, -1] += carry
            total = scan(decay.roll(-1, 1), total, backwards=True)
            carry = decay[:, 0] * total[:, 0]
            of_c = (inside * g[:, :, None]).sum(3)
            of_b = (total * (dts * xs)[:, :, None]).sum(3)
            of_u = (bs[:, :, None] @ total)[:, :, 0]  # of u = dt x
            total[:, 0] *= h
            total[:, 1:] *= inside[:, :-1]
            total *= decay  # now of the exponents dt a
            of_a += (total * dts[:, :, None]).sum((0, 1))
            found.append((of_u * dts, of_u * xs + (total * a).sum(2), of_b, of_c))
        of_x, of_dt, of_b, of_c = (torch.cat(some[::-1], 1) for some in zip(*found, strict=True))
        return of_x, of_dt, of_a, of_b, of_c, None


def selective_scan(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, q: int = 0) -> Tensor:
    """Let D channels of input run through N decaying states each (Gu and Dao 2023, algorithm 2).

    x, dt: (B, L, D); a: (N, D), below 0; b, c: (B, L, N). q: steps in a piece; 0: as many as
    hold about `HELD` numbers. Returns (B, L, D). Raises ValueError for shapes that do not fit.
    """
    n, d = a.shape
    shapes = [tuple(v.shape) for v in (x, dt, a, b, c)]
    if shapes != [(*x.shape[:2], d)] * 2 + [(n, d)] + [(*x.shape[:2], n)] * 2:
        raise ValueError(f"needs (B, L, D) twice, (N, D), (B, L, N) twice, got {shapes}")
    q = q or min(x.shape[1], max(8, HELD // (len(x) * n * d)))
    return SelectiveScan.apply(x, dt, a, b, c, q)
