# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:state-spaces)=
# # State spaces: S4 and Mamba
#
# *What does a memory of fixed size keep?*
#
# Somebody reads a long list to you, word by word.
# You hold one small card.
# After every word you may rewrite the card, and you can never ask for a word again.
# In the end you are asked about the list.
#
# A transformer does not play this game: it keeps the whole list on the desk, and looks at all of it for every new word.
# This costs more with each word.
# A *state space* has the card only: reading a word costs the same whether it is the tenth or the ten thousandth.
# So everything depends on the rule by which the card is rewritten.
# In this chapter the rule is linear, which makes it exact to analyse and quick to train, and then it is allowed to look at the word, which is the step from S4 {cite:p}`gu2022s4` to Mamba {cite:p}`gu2023mamba`.
#
# :::{admonition} You will learn to
# - turn a differential equation into a recurrence, without an error for an input held between steps, and say when it is stable;
# - compute one recurrence in three ways: step by step, as a convolution, and as a tree of depth $O(\log T)$;
# - differentiate a scan by a scan, and hold only a part of it in memory;
# - keep the past in Legendre coefficients (HiPPO), and prove that the rule for it is linear;
# - prove that a convolution cannot forget the places and keep the order, and build what can: Mamba, in plain PyTorch;
# - measure memory on tasks that ask for it, and a law of digits in nats beside a transformer of equal size.
#
# You need: linear differential equations, eigenvalues, the chain rule for derivatives.
# :::
#
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $u(t)$, $x_t$ | input, at a time, at a step | $(B, T, D)$ | `x` |
# | $h_t$ | state: $N$ numbers for each of $D$ channels, complex in S4D | $(B, T, N, D)$ | `h`, `states` |
# | $y_t$ | output | $(B, T, D)$ | `y` |
# | $A, B, C$ | how the state decays, what enters, what is read | | `a, b, c` |
# | $\Delta$ | length of a time step: one for each channel in S4D, one for each step too in Mamba | $(D)$, $(B, T, D)$ | `dt` |
# | $\bar A, \bar B$ | the same system in steps: decay and gain | | `decay, gain` |
# | $K_l$ | kernel: what an input still does after $l$ steps | $(D, T)$ | `kernel` |
#
# Two letters serve twice, as they do in the literature.
# In a shape $B$ is the number of sequences, elsewhere it is the matrix of what enters.
# And $c$ is what is read, except in the section on HiPPO, where $c_k$ are the coefficients that are kept.

# %% tags=["parameters"]
epochs: int = 0  # 0: recall the published runs; n: train n epochs here
subset: int = 0  # 0: all sequences and digits; n: train and measure on n
seed: int = 0

# %% tags=["hide-input"]
from functools import partial
from itertools import permutations, product

import numpy as np
import torch
from IPython.display import Markdown
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from torch.nn import functional as F

from companion import figures
from companion.claims import check
from companion.data import load
from companion.experiments import (
    copying,
    digit_network,
    digit_sequence,
    induction_heads,
)
from companion.figures import (
    Explorable,
    Sketch,
    results_table,
    show,
    show_source,
)
from companion.measures.sequences import LENGTHS, measured
from companion.metrics import mean_of
from companion.models import states
from companion.models.states import Block, SequenceLaw, StateSpaceModel
from companion.nets import scan as scans
from companion.nets.scan import SelectiveScan, scan
from companion.nets.state_spaces import (
    S4D,
    Selective,
    fft_convolution,
    hippo,
    zero_order_hold,
)
from companion.objectives.sequences import recall_loss
from companion.runs import published_seed
from companion.train import train
from companion.worlds.recall import selective_copying

seed = published_seed(copying, seed, epochs)
generator = torch.Generator().manual_seed(seed)
randn = partial(torch.randn, generator=generator, dtype=torch.float64)
rand = partial(torch.rand, generator=generator, dtype=torch.float64)

# %% tags=["hide-input"]
sketch, at_x = Sketch(360, 168), (72, 162, 252)
for k, x in enumerate(at_x):
    sketch.node(f"y{k}", x, 20, f"y{'₁₂₃'[k]}")
    sketch.node(f"h{k}", x, 78, f"h{'₁₂₃'[k]}", size=(38, 30), lit=True)
    sketch.node(f"x{k}", x, 136, f"x{'₁₂₃'[k]}", shaded=True)
    sketch.link(f"x{k}", f"h{k}").link(f"h{k}", f"y{k}")
sketch.node("h", 12, 78, "0", size=(22, 30)).node("on", 336, 78, "…")
for one, two in (("h", "h0"), ("h0", "h1"), ("h1", "h2"), ("h2", "on")):
    sketch.link(one, two, lit=True)
for k, x in enumerate(at_x):
    sketch.words(x - 40, 70, f"a{'₁₂₃'[k]}", small=True)
    sketch.words(x + 13, 110, f"b{'₁₂₃'[k]}", small=True)
    sketch.words(x + 13, 50, f"c{'₁₂₃'[k]}", small=True)
sketch.words(
    180, 164, "S4: a, b, c fixed. Mamba: chosen by x at each step.", small=True
)
sketch.show(
    "A state space reads from left to right. The state <i>h</i> is all that "
    "is known of the past: it decays by <i>a</i>, takes in <i>b x</i>, and is "
    "read by <i>c</i>. In S4 the three are fixed; in Mamba each step's word "
    "chooses its own.",
    alt="Three inputs below, three states in a row joined by arrows, three "
    "outputs above.",
    label="fig-state-spaces-idea",
)

# %% [markdown]
# (sec-state-spaces-hold)=
# ## A held input makes the step exact
#
# The continuous system is
#
# $$
# h'(t) = A\, h(t) + B\, u(t), \qquad y(t) = C\, h(t),
# $$ (eq-state-spaces-system)
#
# with a state of $N$ numbers.
# Words come in steps, so let the input stay $u$ for a time $\Delta$, and then change.
# This is called *zero-order hold*.
#
# :::{prf:theorem} Zero-order hold
# :label: thm-state-spaces-hold
# Let $A$ be invertible and $u$ constant on $[0, \Delta]$. Then
#
# $$
# h(\Delta) = \bar A\, h(0) + \bar B\, u, \qquad \bar A = e^{\Delta A}, \qquad \bar B = A^{-1} (e^{\Delta A} - I)\, B .
# $$ (eq-state-spaces-hold)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. By the product rule, $\frac{d}{dt} \big(e^{-tA} h(t)\big) = e^{-tA} (h' - A h) = e^{-tA} B u$, as $A$ commutes with its exponential.
# 2. Integrate from $0$ to $\Delta$ and multiply by $e^{\Delta A}$: $h(\Delta) = e^{\Delta A} h(0) + \int_0^\Delta e^{(\Delta - t) A} dt\, B u$.
# 3. Substitute $s = \Delta - t$: the integral is $\int_0^\Delta e^{sA} ds$.
# 4. $\frac{d}{ds} A^{-1} e^{sA} = e^{sA}$, so the integral is $A^{-1} (e^{\Delta A} - I)$.
# :::
#
# A solver of differential equations knows nothing of this formula.
# Forty random systems of four states are run through it, each for a step of its own.


# %%
def held(A, B, dt, h, u):
    """The state after dt, by a solver."""
    slope, exact = lambda t, h: A @ h + B * u, {"rtol": 1e-11, "atol": 1e-12}
    return solve_ivp(slope, (0, dt), h, "DOP853", **exact).y[:, -1]


def closed(A, B, dt, h, u, decay=expm, power=1):
    """The theorem's, or with another decay or another power of A."""
    bar = decay(dt * A)
    inverse = np.linalg.matrix_power(np.linalg.inv(A), power)
    return bar @ h + inverse @ (bar - np.eye(len(A))) @ B * u


systems = [
    (randn(4, 4).numpy(), randn(4).numpy(), rand(1).item() + 0.1,
     randn(4).numpy(), randn(1).item())
    for _ in range(40)
]  # fmt: skip

# %%
check("thm-state-spaces-hold", of="systems").equal(
    left=np.stack([held(*one) for one in systems]),
    right=np.stack([closed(*one) for one in systems]),
    rtol=1e-7,
    wrong={
        "Euler: I + ΔA": np.stack(
            [closed(*one, decay=lambda m: np.eye(4) + m) for one in systems]
        ),
        "the inverse forgotten": np.stack(
            [closed(*one, power=0) for one in systems]
        ),
        "the inverse twice": np.stack(
            [closed(*one, power=2) for one in systems]
        ),
    },
)

# %% [markdown]
# If $A$ is diagonal, all of this is done number by number, and needs no matrix.
# That is how it stands in the package:

# %%
show_source(zero_order_hold)

# %% [markdown]
# The shorter the step, the longer is the memory counted in steps: $e^{\Delta a}$ is the share that is left after one.
# A channel with $\Delta = 0.001$ and $a = -\frac12$ forgets half in 1,386 steps, one with $\Delta = 0.1$ in 14.
# So $\Delta$ is a clock, and to *learn* it is to learn how long to remember.
#
# (sec-state-spaces-three)=
# ## One recurrence, three programs
#
# From here on the system lives in steps: $h_t = a_t h_{t-1} + b_t$ with $h_0 = 0$, where $b_t$ is short for $\bar B_t x_t$, and $y_t = c_t h_t$.
# As written it is a loop, $T$ steps deep, and no machine with thousands of cores likes that.
#
# Write one step as a pair $(a, b)$, standing for the map $h \mapsto a h + b$.
# First one step and then another is again such a map:
#
# $$
# (a_1, b_1) \bullet (a_2, b_2) = (a_2 a_1,\; a_2 b_1 + b_2).
# $$ (eq-state-spaces-pair)
#
# :::{prf:theorem} Loop, convolution and scan are one
# :label: thm-state-spaces-three
# 1. The operation $\bullet$ is associative.
# 2. The second part of $(a_1, b_1) \bullet \dots \bullet (a_t, b_t)$, bracketed in any way, is $h_t = \sum_{s \le t} \big( \prod_{r = s + 1}^{t} a_r \big) b_s$.
# 3. If $a$, $\bar B$ and $c$ are the same at every step, $y_t = \sum_{l = 0}^{t - 1} K_l\, x_{t-l}$ with the kernel $K_l = c\, a^l \bar B$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Composing maps is associative, and $\bullet$ composes the maps $h \mapsto a h + b$: applying the first and then the second to $h$ gives $a_2 (a_1 h + b_1) + b_2$, which is the map of eq. {eq}`eq-state-spaces-pair`; and different pairs are different maps.
# 2. So all brackets give the same pair. Bracketed from the left it is the loop, started at $h_0 = 0$: its second part is $h_t$.
# 3. Unrolling the loop, $h_t = b_t + a_t b_{t-1} + a_t a_{t-1} b_{t-2} + \dots$, which is the sum.
# 4. With constant $a$ the product is $a^{t-s}$. Put $b_s = \bar B x_s$ and $l = t - s$ into $y_t = c\, h_t$.
# :::
#
# Associativity is what a parallel machine needs.
# Pair up neighbours, solve the problem of half the length, and fill in what was left out:


# %%
def tree(a, b):
    """All h_t = a_t h_{t-1} + b_t, in a tree over dim 1."""
    n = a.shape[1]
    if n == 1:
        return b
    odd, even, rest = slice(1, n, 2), slice(0, n - 1, 2), slice(2, n, 2)
    h = b.clone()
    pairs = a[:, odd] * b[:, even] + b[:, odd]
    h[:, odd] = tree(a[:, odd] * a[:, even], pairs)
    h[:, rest] += a[:, rest] * h[:, 1 : n - 1 : 2]
    return h


# %% [markdown]
# Each level does work in proportion to its length, and the lengths are $T, T/2, T/4, \dots$: less than $2 T$ pairs in all, in $\log_2 T$ levels, each passed down and up {cite:p}`brent1982regular`.
# The `scan` of the package is this program, which can also run backwards, and which on a CPU takes wide steps one by one.
# For a fixed system there is a third way, a convolution by the fast Fourier transform:

# %%
show_source(fft_convolution)

# %% [markdown]
# Three programs, one result: forty fixed systems of one state each and 100 steps, and forty of 30 steps, where every step has a decay of its own.
# The wrong versions run the kernel from the wrong end, let it begin a step late, leave out the padding, compose pairs in the wrong order, or forget to multiply decays.


# %%
def by_loop(a, b):
    h, all_h = torch.zeros_like(b[:, 0]), []
    for t in range(a.shape[1]):
        h = a[:, t] * h + b[:, t]
        all_h.append(h)
    return torch.stack(all_h, 1)


def folded(a, b, pair):
    """Fold pairs from the right, which is allowed if `pair` composes."""
    out = []
    for t in range(a.shape[1]):
        whole = (a[:, t], b[:, t])
        for s in range(t - 1, -1, -1):
            whole = pair((a[:, s], b[:, s]), whole)
        out.append(whole[1])
    return torch.stack(out, 1)


# %%
decay, inputs = 0.5 + 0.49 * rand(40, 1), randn(40, 100)
a = decay.expand(-1, 100)
loop = by_loop(a, inputs)
kernel = decay ** torch.arange(100)  # (40, 100)
of_fft = fft_convolution(inputs.T[None], kernel)[0].T
a_step_late = F.pad(kernel, (1, 0))[:, :-1]
late = fft_convolution(inputs.T[None], a_step_late)[0].T
turned = fft_convolution(inputs.T[None], kernel.flip(1))[0].T
circular = torch.fft.ifft(torch.fft.fft(inputs) * torch.fft.fft(kernel)).real
check("thm-state-spaces-three", about="fixed systems", of="systems").equal(
    left=torch.stack([loop, loop], 1),
    right=torch.stack([of_fft, tree(a, inputs)], 1),
    wrong={
        "the kernel from its end": torch.stack([turned, of_fft], 1),
        "the kernel a step late": torch.stack([late, of_fft], 1),
        "no padding": torch.stack([circular, of_fft], 1),
    },
)  # fmt: skip

# %%
a, b = 2 * rand(40, 30) - 1, randn(40, 30)  # now every step its own
right_way = folded(a, b, lambda p, q: (q[0] * p[0], q[0] * p[1] + q[1]))
wrong_way = folded(a, b, lambda p, q: (p[0] * q[0], p[0] * q[1] + p[1]))
not_multiplied = folded(a, b, lambda p, q: (q[0], q[0] * p[1] + q[1]))
one_by_one = by_loop(a, b)
check("thm-state-spaces-three", about="changing systems", of="systems").equal(
    left=torch.stack([one_by_one] * 3, 1),
    right=torch.stack([tree(a, b), scan(a, b), right_way], 1),
    wrong={
        "pairs in the wrong order": torch.stack([wrong_way] * 3, 1),
        "the decays not multiplied": torch.stack([not_multiplied] * 3, 1),
    },
)

# %% [markdown]
# (sec-state-spaces-overflow)=
# ## The short way to a parallel scan overflows
#
# There is a tempting program of two lines.
# Let $P_t = a_1 \cdots a_t$; then $h_t = P_t \sum_{s \le t} b_s / P_s$, and cumulative products and sums are parallel in every library.
# It is the same sum, on paper.


# %%
def tempting(a, b):
    product = a.cumprod(1)
    return product * (b / product).cumsum(1)


# %%
a = (0.6 + 0.39 * rand(20, 2000)).float()
b = randn(20, 2000).float()
truth = by_loop(a.double(), b.double())
gaps = {
    "cumulative products": (tempting(a, b) - truth).abs(),
    "tree": (tree(a, b) - truth).abs(),
}
lost = gaps["cumulative products"].isfinite().all(0).logical_not().nonzero()
Markdown(
    f"The first output that is not a number comes at step "
    f"**{lost[0].item() + 1}** of 2,000; the tree's largest error is {gaps['tree'].max():.0e}."
)

# %% tags=["hide-input"]
steps = torch.arange(1, 2001)
show(
    figures.curves(
        {
            name: (steps[19::20], gap.amax(0)[19::20].nan_to_num(
                torch.nan, torch.nan
            ))
            for name, gap in gaps.items()
        },
        "step",
        "largest error",
        scales=("linear", "log"),
        alt="Two flat curves; one ends early.",
    ),
    "Float32, decays between 0.6 and 0.99. The short program is as exact as "
    f"the tree for {lost[0].item()} steps; then its product is 0, its quotient "
    "infinite, and 0 times infinity is no number.",
    label="fig-state-spaces-overflow",
)  # fmt: skip

# %% [markdown]
# The product underflows, and what it divides overflows.
# The tree never divides.
# It does form products of decays that the loop never forms, and these can overflow only where decays exceed 1 in size.
# For a stable system the worst is an underflow to 0, which is harmless: so small a share of the past is as good as none.
#
# (sec-state-spaces-stable)=
# ## Stable means: bounded in, bounded out
#
# :::{prf:theorem} Stability
# :label: thm-state-spaces-stable
# Let $a$ be a complex number with $\operatorname{Re} a < 0$ and $\Delta > 0$. Then $|e^{\Delta a}| = e^{\Delta \operatorname{Re} a} < 1$.
# The real part of a finite sum of such channels, each with a factor of its own, has a kernel with $\lVert K \rVert_1 = \sum_l |K_l| < \infty$, and if $|x_t| \le M$ for all $t$,
#
# $$
# |y_t| \le \lVert K \rVert_1\, M .
# $$ (eq-state-spaces-stable)
#
# No smaller constant will do.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $|e^{\alpha + i \beta}| = e^{\alpha}$ for real $\alpha, \beta$; here $\alpha = \Delta \operatorname{Re} a < 0$.
# 2. With $r < 1$ the largest $|e^{\Delta a_n}|$, $|K_l| \le \text{const} \cdot r^l$ by {prf:ref}`thm-state-spaces-three`, as a real part is no larger than its number, and a geometric series converges.
# 3. The triangle inequality: $|y_t| \le \sum_l |K_l|\, |x_{t-l}| \le \lVert K \rVert_1 M$.
# 4. For the input $x_{t-l} = M \operatorname{sign} K_l$, $y_t = M \sum_{l < t} |K_l|$, which comes as near to the bound as one likes.
# :::
#
# Forty kernels of four complex channels, each with a random input and with its worst one.
# Smaller constants that look like bounds are caught by the worst input.

# %%
poles = torch.complex(-0.05 - rand(40, 4), 6 * randn(40, 4))
powers = torch.exp(poles[..., None] * torch.arange(400))
weights = torch.complex(randn(40, 4), randn(40, 4))
kernel = 2 * (weights[..., None] * powers).sum(1).real  # (40, 400)
worst = kernel.sign()
noisy = 2 * rand(40, 400) - 1
reached = torch.stack([(kernel * x).sum(1).abs() for x in (noisy, worst)], 1)


# %%
def bound(values):
    return values[:, None].expand(-1, 2)


check("thm-state-spaces-stable", of="kernels").at_most(
    reached,
    bound(kernel.abs().sum(1)),
    equal_where=torch.tensor([False, True]).expand(40, -1),
    wrong={
        "the root of the sum of squares": (reached, bound(kernel.norm(dim=1))),
        "the sum without absolute values": (
            reached, bound(kernel.sum(1).abs())
        ),
        "the largest value": (reached, bound(kernel.abs().amax(1))),
    },
)  # fmt: skip

# %% [markdown]
# Training moves $a$ by gradients, and nothing keeps it below 0 unless the code does.
# So both models of this chapter write $\operatorname{Re} a = -e^{w}$ and learn $w$: every value of $w$ is a stable system.
# An exercise takes this away and watches.

# %% [markdown]
# (sec-state-spaces-hippo)=
# ## HiPPO: the rule that keeps the whole past, smoothed
#
# What should the card hold?
# One answer is to keep the best polynomial through all that was read.
# Stretch the past $[0, t]$ to $[-1, 1]$ and let $c_k(t)$ be the coefficients in Legendre polynomials ($P_k(1) = 1$), scaled to unit length:
#
# $$
# c_k(t) = \frac{\sqrt{2k + 1}}{t} \int_0^t u(s)\, P_k\!\Big(\frac{2s}{t} - 1\Big)\, ds .
# $$ (eq-state-spaces-legendre)
#
# As the functions $\sqrt{2k + 1}\, P_k(2s/t - 1)$ are orthonormal under the mean over $[0, t]$, the polynomial $\sum_{k < N} c_k \sqrt{2k+1} P_k$ is the projection of the past: no polynomial of degree below $N$ is nearer in mean square.
# All of the past would seem to be needed for the integral at the next $t$.
# It is not {cite:p}`gu2020hippo`:
#
# :::{prf:theorem} HiPPO-LegS
# :label: thm-state-spaces-hippo
# Let $u$ be continuous and $t > 0$. The first $N$ coefficients obey a linear equation of their own, $c'(t) = \frac1t \big( B\, u(t) - A\, c(t) \big)$, with $B_k = \sqrt{2k + 1}$ and
#
# $$
# A_{kj} = \sqrt{(2k+1)(2j+1)} \text{ for } j < k, \qquad A_{kk} = k + 1, \qquad A_{kj} = 0 \text{ for } j > k .
# $$ (eq-state-spaces-hippo)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Differentiate $t\, c_k(t)$ by Leibniz' rule. With $z = 2s/t - 1$, $\frac{dz}{dt} = -(z + 1)/t$, and with $P_k(1) = 1$: $c_k + t c_k' = \sqrt{2k+1}\, \big[ u(t) - \frac1t \int_0^t u(s)\, (z + 1) P_k'(z)\, ds \big]$.
# 2. $(z + 1) P_k'$ is a polynomial of degree $k$. Its coefficient on $P_j$ is $\frac{2j+1}{2} \int (z+1) P_k' P_j\, dz$, and by parts this integral is $2 - \int P_k\, \big((z+1) P_j\big)' dz$, as the boundary gives $2$ at $z = 1$ and $0$ at $z = -1$.
# 3. For $j < k$ the last integrand holds a polynomial of degree $j < k$, to which $P_k$ is orthogonal: the coefficient is $2j + 1$.
# 4. For $j = k$ call the integral $I$. $\big((z+1) P_k\big)' = P_k + (z+1) P_k'$, so $I = 2 - \frac{2}{2k+1} - I$ and $I = \frac{2k}{2k+1}$: the coefficient is $k$.
# 5. Insert $(z+1) P_k' = k P_k + \sum_{j<k} (2j+1) P_j$, and $\frac1t \int u P_j = c_j / \sqrt{2j+1}$: $c_k + t c_k' = \sqrt{2k+1}\, u(t) - k c_k - \sum_{j<k} \sqrt{(2k+1)(2j+1)}\, c_j$. Move $c_k$ to the right.
# :::
#
# The check starts ten random signals at $t = \frac12$ with coefficients by quadrature, lets a solver follow the equation to $t = 2$, and compares with quadrature there.

# %%
nodes, heights = np.polynomial.legendre.leggauss(60)
ORDERS = 6
A, B = (m.numpy() for m in hippo(ORDERS))
basis = np.polynomial.legendre.legvander(nodes, ORDERS - 1).T
signals = [(randn(4).numpy(), 4 * rand(4).numpy()) for _ in range(10)]


def signal(t, size, rate):
    return (size * np.sin(rate * np.asarray(t)[..., None] + size)).sum(-1)


def projected(t, *one):
    past = signal((nodes + 1) * t / 2, *one)
    return B * (basis @ (heights * past)) / 2


def followed(A, clock=lambda t: t):
    ends = []
    for one in signals:
        solved = solve_ivp(
            lambda t, c, one=one: (B * signal(t, *one) - A @ c) / clock(t),
            (0.5, 2), projected(0.5, *one), "DOP853", rtol=1e-11, atol=1e-12,
        )  # fmt: skip
        ends.append(solved.y[:, -1])
    return np.stack(ends)


# %%
check("thm-state-spaces-hippo", of="signals").equal(
    left=np.stack([projected(2.0, *one) for one in signals]),
    right=followed(A),
    how="quadrature",
    rtol=1e-6,
    wrong={
        "k on the diagonal": followed(A - np.eye(ORDERS)),
        "A transposed": followed(A.T),
        "the 1/t forgotten": followed(A, clock=lambda t: 1.0),
    },
)

# %% [markdown]
# The $1/t$ says: the longer the past, the less one more moment changes the coefficients.
# In the picture, $N$ numbers hold a signal of growing length.
# It is discretised by the bilinear rule, as the authors do: the trapezoid rule with $1/t$ and $u$ taken at the end of each step.
# There are 100 steps for each unit of time.


# %%
def remembered(u, n):
    """Coefficients of LegS after each of the samples u: (T, n)."""
    A, B = hippo(n)
    c, out = torch.zeros(n, dtype=torch.float64), []
    for k, value in enumerate(u.tolist(), 1):
        right = (c - A @ c / (2 * k) + B * value / k)[:, None]
        left = torch.eye(n, dtype=torch.float64) + A / (2 * k)
        c = torch.linalg.solve_triangular(left, right, upper=False)[:, 0]
        out.append(c)
    return torch.stack(out)


# %% tags=["hide-input"]
time = torch.arange(1, 801) / 100
heard = torch.tensor(signal(time, *signals[0])) + (time > 5) * (time < 6)
held_by = {n: remembered(heard, n) for n in (4, 16, 64)}


def recalled(n, t):
    """What n numbers hold of the first t samples, beside them."""
    held = held_by[n] if n in held_by else remembered(heard[:t], n)
    z = 2 * time[:t] / time[t - 1] - 1
    basis = np.polynomial.legendre.legvander(z.numpy(), n - 1)
    read = basis @ (held[t - 1] * hippo(n)[1]).numpy()
    return figures.curves(
        {"heard": (time[:t:4], heard[:t:4]), "kept": (time[:t:4], read[::4])},
        "time",
        "signal",
        height=2.2,
    )


Explorable(
    [[recalled(n, t) for t in (150, 300, 450, 600, 800)] for n in held_by],
    ([f"{n} numbers" for n in held_by], ["1.5", "3", "4.5", "6", "8"]),
    ("state", "time"),
    alt="A wavy curve, and a smoother curve over it that stands for what is "
    "kept of it.",
    caption="What is left of the past at each time. Four numbers keep the "
    "trend; with 64 even the step between 5 and 6 is there. As time goes on "
    "the same numbers must serve a longer past.",
    start=(1, 4),
    live=figures.Live(
        lambda n, end: recalled(n, round(100 * end)),
        figures.Knob("numbers", [1, 64], 16),
        figures.Knob("time", [0.1, 8.0], 8.0),
    ),
)

# %% [markdown]
# (sec-state-spaces-s4d)=
# ## S4D: complex decays, and a kernel of any length
#
# A matrix $A$ of $N \times N$ is dear.
# S4 takes HiPPO's matrix with the sign turned and without the $1/t$, so that the past fades exponentially instead of being rescaled, in a form that is quick to use.
# That a *diagonal* part of it does about as well was found by DSS {cite:p}`gupta2022dss`.
# S4D {cite:p}`gu2022s4d` simplifies it, for instance to $a_n = -\frac12 + i \pi n$: decaying waves of ascending frequency.
# Each of the $D$ channels is such a system with a $\Delta$ of its own.
# $B = 1$, and $a$, $\Delta$ and $C$ are learned.
# A real signal comes out of twice the real part.

# %%
show_source(S4D.system, S4D.kernel, S4D.forward, S4D.step)

# %% [markdown]
# Trained by FFT in one go, used step by step with $N$ complex numbers for each channel to carry: the same function, by {prf:ref}`thm-state-spaces-three`.

# %% tags=["hide-input"]
torch.manual_seed(seed)
drawn = S4D(3, 8)
with torch.no_grad():
    drawn.log_dt.copy_(torch.tensor([[0.003], [0.02], [0.1]]).log())
    drawn.c.copy_(drawn.c[:1].expand_as(drawn.c))
    kernels = drawn.kernel(400)
show(
    figures.curves(
        {
            f"Δ = {dt}": (torch.arange(400), k / k.abs().max())
            for dt, k in zip((0.003, 0.02, 0.1), kernels, strict=True)
        },
        "steps since the input",
        "kernel, largest value 1",
        alt="Three decaying waves; the smaller the step the slower.",
    ),
    "One kernel of S4D before training, with three clocks: the shorter the "
    "step Δ, the more it is stretched, and the further back it reaches.",
    label="fig-state-spaces-kernels",
)

# %% [markdown]
# (sec-state-spaces-order)=
# ## A convolution cannot forget the places and keep the order
#
# Let the list hold two letters at unknown places among noise.
# Which one came first?
#
# :::{prf:theorem} A convolution that ignores the places ignores the order
# :label: thm-state-spaces-order
# Let letters $1, \dots, m$ and noise $0$ be vectors $e_0, \dots, e_m$. A sequence of $T \ge 3$ places holds letter $i$ at place $p$, letter $j$ at $q > p$, and noise elsewhere.
# Let $y = \sum_s W_s x_s$ with any matrices $W_s$, as every convolution has it at its last step.
# If $y$ depends on $i$ and $j$ only, whatever $p$ and $q$ are, then $y(i, j) = y(j, i)$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Replacing noise by letters one at a time, $y = n + v_p(i) + v_q(j)$ with $n = \sum_s W_s e_0$ and $v_s(i) = W_s (e_i - e_0)$.
# 2. Keep $p = 1$ and move $q$ through $2, \dots, T$: $v_q(j)$ is the same for all of these $q$, for every $j$.
# 3. Keep $q = T$ and move $p$ through $1, \dots, T - 1$: $v_p(i)$ is the same for all of these $p$.
# 4. As $T \ge 3$, place 2 is in both lists, so $v_s(i) = v(i)$ at every place, and $y = n + v(i) + v(j)$ is symmetric.
# :::
#
# Whatever network reads such a $y$, "ab" and "ba" are the same to it.
# The assumption matters: a $y$ that keeps the places may keep the order as well.
# With letters 1, 2, 3 and noise 0, the one number $y = \sum_s 4^s x_s$ is a convolution and determines the whole sequence, and a nonlinear reader can decide from it.
# The check takes 40 random elements of the space of all $W$ that ignore the places ($T = 5$, three letters), found by linear algebra.
# Wrong versions ignore the place of the second letter only, or no place.

# %%
PLACES, LETTERS = 5, 3
pairs = list(permutations(range(1, LETTERS + 1), 2))


def one_hot(i, j, p, q):
    """The sequence as the coefficients of W: (PLACES * (LETTERS + 1),)."""
    tokens = torch.zeros(PLACES).long()
    tokens[p], tokens[q] = i, j
    return F.one_hot(tokens, LETTERS + 1).double().flatten()


def that_ignore(places, draws=40):
    """Random W whose output does not depend on which of the places it is."""
    rows = [
        one_hot(i, j, *place) - one_hot(i, j, *places[0])
        for i, j in product(range(1, LETTERS + 1), repeat=2)
        for place in places
    ]
    _, sizes, basis = torch.linalg.svd(torch.stack(rows))
    free = basis[int((sizes > 1e-9).sum()) :]
    return randn(draws, len(free)) @ free


def asymmetry(weights):
    gaps = [one_hot(i, j, 0, 1) - one_hot(j, i, 0, 1) for i, j in pairs]
    return weights @ torch.stack(gaps).T


# %%
ordered = [(p, q) for p in range(PLACES) for q in range(p + 1, PLACES)]
symmetric = asymmetry(that_ignore(ordered))
check("thm-state-spaces-order", of="convolutions").equal(
    left=symmetric,
    right=torch.zeros_like(symmetric),
    atol=1e-9,
    wrong={
        "only the second place is free": asymmetry(
            that_ignore([(0, q) for q in range(1, PLACES)])
        ),
        "no place is free": asymmetry(that_ignore([(0, 1)])),
    },
)

# %% [markdown]
# (sec-state-spaces-selective)=
# ## Selection: the word chooses the step
#
# Mamba lets $\Delta$, $B$ and $C$ be functions of the word.
# Noise can choose $\Delta_t = 0$: then $e^{\Delta_t a} = 1$ and nothing enters, so the card stays as it is, and the letters stand on it as if there had been no noise.
# A letter can choose a large $\Delta_t$, and overwrite.

# %%
show_source(Selective.chosen, Selective.forward, Selective.step)

# %% [markdown]
# (The code takes $\Delta_t B_t$ for the gain, as the authors' program does, the first order of $\bar B$; for the decay it takes the exact $e^{\Delta_t a}$.)
#
# What is lost is the convolution, but not all that one might think.
#
# :::{prf:theorem} What selection breaks
# :label: thm-state-spaces-selective
# Let $h_t = a_t h_{t-1} + b_t x_t$ and $y_t = c_t h_t$, with one state.
# 1. For given $a_t, b_t, c_t$ the map from $x$ to $y$ is linear, with the matrix $M_{ts} = c_t\, a_t a_{t-1} \cdots a_{s+1}\, b_s$ for $s \le t$, and 0 for $s > t$.
# 2. If all $a_t > 0$ and $b_t, c_t$ are constants other than 0, $M$ is a convolution if and only if $a_2 = a_3 = \dots = a_T$.
# 3. If $a_t = \alpha(x_t)$ with a function $\alpha$ that is not constant, and $b_t = c_t = 1$, the map from $x$ to $y$ is not linear, so it is no convolution with any kernel. It still commutes with shifts, zeros put in front, from $h_0 = 0$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. {prf:ref}`thm-state-spaces-three`, part 2, with $b_s x_s$ for $b_s$, is the sum $y_t = \sum_s M_{ts} x_s$.
# 2. A convolution has $M_{ts}$ depend on $t - s$ only. One step off the diagonal $M_{t, t-1} = c\, a_t\, b$, so $a_t$ must be the same for all $t \ge 2$. If it is, $M_{ts} = c\, a^{t-s} b$.
# 3. Let $x_1 = 1$ and $x_2 = r$. Then $y_2 = \alpha(r) + r$. If the map were linear, this would be $y_2$ of $(1, 0)$ plus $y_2$ of $(0, r)$, which is $\alpha(0) + r$. So $\alpha(r) = \alpha(0)$ for every $r$, against the assumption.
# 4. Zeros in front leave $h = 0$, whatever $\alpha(0)$ is, as $b_t x_t = 0$. After them the same recurrence runs on the same words: the output is the old one, later.
# :::
#
# So "not time-invariant" is true of the linear system that a given input sets up, and false of the layer's map from inputs to outputs.
# (A whole block starts from zeros that its biases fill, so there it holds only for a past without beginning.)
# The first check feeds impulses into 40 random selective systems, the second shifts and adds up inputs of 40 random layers of the package.
# There the wrong versions are other layers: a fixed one, which is linear, and one that is told its place, which a shift changes.

# %%
a, b, c = 0.2 + rand(40, 8), randn(40, 8), randn(40, 8)
impulses = torch.eye(8).double().expand(40, 8, 8)  # one in each column
seen = scan(
    a[..., None].expand(-1, -1, 8).contiguous(), b[..., None] * impulses
)


def matrix(a, first=1, last=0):
    """Products of a from s + first to t - last, under the diagonal."""
    M = torch.zeros(40, 8, 8).double()
    for t, s in product(range(8), repeat=2):
        if s <= t:
            M[:, t, s] = a[:, s + first : t + 1 - last].prod(1)
    return c[..., None] * M * b[:, None]


check("thm-state-spaces-selective", about="the matrix", of="systems").equal(
    left=c[..., None] * seen,
    right=matrix(a),
    wrong={
        "the word's own decay counts": matrix(a, first=0),
        "the last decay does not": matrix(a, last=1),
        "one decay for all": matrix(a.mean(1, keepdim=True).expand(-1, 8)),
    },
)


# %%
def tried(layer, x):
    """Does it commute with a shift, and is it not linear?"""
    y, later = layer(x), layer(F.pad(x, (0, 0, 5, 0)))[:, 5:]
    adds = torch.allclose(layer(x[:1] + x[1:]), y[:1] + y[1:])
    return torch.allclose(later, y, atol=1e-12) and not adds


def told(layer):
    return lambda x: layer(x + torch.linspace(0, 1, x.shape[1])[:, None])


found = []
with torch.no_grad():
    for trial in range(40):
        torch.manual_seed(trial)
        one, s4d = Selective(4, 3).double(), S4D(4, 3).double()
        x = randn(2, 20, 4)
        found.append([tried(f, x) for f in (one, s4d, told(one))])
selective, fixed, placed = torch.tensor(found).T
check("thm-state-spaces-selective", about="shifts and sums").holds(
    selective,
    how="random instances",
    wrong={"a fixed layer": fixed, "a layer told its place": placed},
)

# %% [markdown]
# (sec-state-spaces-gradient)=
# ## The gradient of a scan is a scan, backwards
#
# Without a convolution there is the scan, and its gradient is another.
#
# :::{prf:theorem} Gradient of a scan
# :label: thm-state-spaces-gradient
# Let $h_t = a_t h_{t-1} + b_t$, and let a loss depend on the states with partial derivatives $g_t = \partial L / \partial h_t$, the other states held.
# With $G_{T+1} = 0$ and
#
# $$
# G_t = g_t + a_{t+1} G_{t+1},
# $$ (eq-state-spaces-gradient)
#
# $\frac{dL}{db_t} = G_t$ and $\frac{dL}{da_t} = G_t\, h_{t-1}$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Let $G_t$ be the derivative of $L$ when $h_t$ moves and all later states follow. $h_t$ acts on $L$ itself, which is $g_t$, and on $h_{t+1} = a_{t+1} h_t + b_{t+1}$, which is $a_{t+1} G_{t+1}$ by the chain rule.
# 2. After the last step nothing follows: $G_{T+1} = 0$.
# 3. $b_t$ moves $h_t$ with slope 1, and $a_t$ moves it with slope $h_{t-1}$.
# :::

# %%
a = (2 * rand(40, 12) - 1).requires_grad_()
b, w = randn(40, 12).requires_grad_(), randn(40, 12)
h = by_loop(a, b)
of_a, of_b = torch.autograd.grad((w * h.sin()).sum(), (a, b))
a, h, g = a.detach(), h.detach(), (w * h.cos()).detach()
before = F.pad(h[:, :-1], (1, 0))


def gradients(decays, states):
    total = by_loop(decays.flip(1), g.flip(1)).flip(1)
    return torch.stack([total * states, total], 1)


late = F.pad(a[:, 1:], (0, 1))  # a_{t+1} at place t
check("thm-state-spaces-gradient", of="recurrences").equal(
    left=torch.stack([of_a, of_b], 1),
    right=gradients(late, before),
    how="autograd",
    wrong={
        "the decay of the same step": gradients(a, before),
        "the state after the step": gradients(late, h),
    },
)

# %% [markdown]
# Automatic differentiation would keep every state of every channel for this, $T \cdot N \cdot D$ numbers several times over.
# Instead cut the sequence into pieces of $Q$ steps, keep the states at their borders, and compute those inside anew on the way back, which costs one more pass and needs $(T / Q + Q)\, N D$ numbers.

# %%
show_source(scans.states, SelectiveScan.forward)

# %%
show_source(SelectiveScan.backward)

# %% [markdown]
# What does that buy?
# The table is a record of `make bench`: forward and backward of the scan alone on one core, 64 channels of 16 states, beside the plain loop and beside the parallel scan of mambapy.

# %%
record = measured()
results_table(
    [
        {
            "sequences": row["sequences"],
            "length": row["length"],
            "ours, ms": round(1e3 * row["ours s"]),
            "loop, ms": round(1e3 * row["loop s"]),
            "mambapy, ms": round(1e3 * row["mambapy s"]),
            "ours, MB": round(row["ours MB"]),
            "loop, MB": round(row["loop MB"]),
            "mambapy, MB": round(row["mambapy MB"]),
        }
        for row in record["rows"]
    ]
)

# %%
longest = max(record["rows"], key=lambda row: row["length"])
Markdown(
    f"At length {longest['length']:,} ours takes "
    f"{longest['ours MB'] / longest['mambapy MB']:.2f} of the memory and "
    f"{longest['ours s'] / longest['mambapy s']:.2f} of the time of mambapy, "
    f"{longest['ours MB'] / longest['loop MB']:.2f} and "
    f"{longest['ours s'] / longest['loop s']:.2f} of those of the loop. "
    f"Measured on: {record['machine']}."
)

# %% [markdown]
# The programs took turns on a busy machine, so look at ratios, not at milliseconds.
# The loop and mambapy keep the states of all steps for the way back; ours keeps the borders of its pieces.
# Ours takes the tree for one sequence and the loop for eight.
# That the gain in time comes from touching less memory is likely, and not measured.
# On one core the tree has no depth to save; on a machine with thousands of cores the depth counts.
#
# (sec-state-spaces-block)=
# ## Mamba's block
#
# One block widens each step, looks a few steps back by a short convolution, runs the selective scan, multiplies by a *gate* that sees the present step only, and narrows again {cite:p}`gu2023mamba`.

# %%
show_source(Block.forward, Block.finish, Block.step)

# %% [markdown]
# The step form carries three inputs of the short convolution and the $N D$ numbers of the scan, whatever the length of the past.
# Both forms are one function:

# %%
torch.manual_seed(seed)
trial = StateSpaceModel(17, 16, 32, 3)
tokens = torch.randint(17, (2, 300), generator=generator)
with torch.no_grad():
    at_once = trial(tokens)
    memory, steps_taken = trial.begin(2), []
    for t in range(300):
        logits, memory = trial.step(tokens[:, t], memory)
        steps_taken.append(logits)
gap = (torch.stack(steps_taken, 1) - at_once).abs().max()
carried = sum(part[0].numel() for state in memory for part in state)
Markdown(
    f"Largest difference over 300 steps: {gap:.0e}. Carried from step to "
    f"step: {carried:,} numbers for each sequence."
)

# %% [markdown]
# In what follows only the layer along time changes between `selective` (Mamba's) and `fixed` (S4D), in the same block and with the same number of parameters.
# `attention` is a transformer of its own, with other norms, an MLP and positions.
#
# (sec-state-spaces-copying)=
# ## The fixed layer learns which letters came, the selective one also in which order
#
# Selective copying {cite:p}`jing2019gated,gu2023mamba`: four letters of fourteen stand at random places among 56 places of noise; then come four marks, and at each the next letter is to be said.

# %%
shown_tokens, answers = selective_copying(3, 60, 4, generator)
letters = ".?abcdefghijklmn"
for line, answer in zip(shown_tokens.tolist(), answers.tolist(), strict=True):
    said = "".join(letters[k] for k in answer if k < len(letters))
    print("".join(letters[k] for k in line), "->", said)

# %% [markdown]
# One block of width 32, three passes over 32,768 sequences in batches of 32, and AdamW (weight decay 0.01, gradients clipped at length 1) with a rate that rises to 0.007 and falls along half a cosine.

# %% tags=["hide-input"]
lists = product(range(14), repeat=4)
in_any_order = np.mean([max(map(k.count, k)) / 4 for k in lists])
Markdown(
    f"Guessing is right once in fourteen times, {100 / 14:.1f} %. Who knows "
    "which letters came, and nothing of their order, is right in "
    f"{100 * in_any_order:.1f} % (the best answer to each of the 14⁴ lists is "
    "its commonest letter)."
)

# %%
show_source(recall_loss, copying)


# %%
def run(experiment, **choices):
    found = train(experiment, epochs, seed, subset, **choices)
    found.model.cpu()
    return found


copied = {
    "S4D": run(copying, mixer="fixed"),
    "selective (Mamba)": run(copying),
}
published = {"S4D": "56.4 (S4)", "selective (Mamba)": "99.8"}
results_table(
    [
        {
            "layer": name,
            "parameters": sum(p.numel() for p in one.model.parameters()),
            "right, %": one.metrics["accuracy"],
            "published, %": published[name],
        }
        for name, one in copied.items()
    ],
    percent=["right, %"],
)

# %% [markdown]
# The last column is Table 1 of {cite:t}`gu2023mamba`: sequences of length 4,096 with 16 letters and far longer training, so another task in size; only the order can be compared.
# Both of its rows stand in Mamba's block, as ours do; its fixed layer is S4, ours is S4D.
# In a plainer block without a gate the same table gives 18.3 % to S4 and 97.0 % to the selective layer.
# Errors are over 2,000 test sequences; each row is one training.

# %% tags=["hide-input"]
show(
    figures.history_curves(
        {name: one.history for name, one in copied.items()},
        {
            "accuracy": "share of answers that are right",
            "cross_entropy": "nats per answer",
        },
        alt="One curve rises to one, the other stays below 0.4.",
    ),
    "Selective copying. With a selective layer the share of right answers "
    "goes up to one; the fixed layer, with as many parameters, stops early and far below.",
    label="fig-state-spaces-copying",
)

# %% tags=["hide-input"]
listed, asked = selective_copying(2_000, 60, 4, generator)
asked = asked[:, 60:].long()
with torch.no_grad():
    said = copied["S4D"].model(listed.long())[:, 60:].argmax(2)
among = (said[:, :, None] == asked[:, None]).any(2).double().mean()
differ = torch.tensor([len(set(one)) == 4 for one in asked.tolist()])
placed = mean_of((said == asked)[differ].double().mean(1))
alone = copied["S4D"].metrics["accuracy"]["value"]
Markdown(
    f"The fixed layer is far above guessing, and with {100 * alone:.1f} % "
    f"hardly above the {100 * in_any_order:.1f} % of who knows the letters "
    f"without their order. On {len(listed):,} fresh sequences "
    f"{100 * among:.1f} % of its answers are among the four letters. Where "
    f"the four differ {100 * placed.value:.1f} ± {100 * placed.error:.1f} % "
    "are right, a quarter by chance. It has learned which letters came, and "
    "little of when."
)

# %% [markdown]
# This is what {prf:ref}`thm-state-spaces-order` speaks of: a convolution cannot forget the places and keep the order.
# It does not follow from it, as around our convolution there are nonlinear functions, a short look back and a gate.
#
# How does the selective layer choose?
# There are three ways: a large $\Delta_t$ at letters, as imagined above, a small $B_t$ at noise, or an input $x_t$ that the short convolution has already made small at noise.
# In all of them, what enters is $\Delta_t B_t x_t$, a matrix with the length $\lVert B_t \rVert\, \lVert \Delta_t x_t \rVert$.

# %%
many, _ = selective_copying(200, 60, 4, generator)
block = copied["selective (Mamba)"].model.blocks[0]
with torch.no_grad():
    x = block.norm(copied["selective (Mamba)"].model.embed(many.long()))
    u = block.widen(x).chunk(2, -1)[0]
    u = F.silu(block.taps(F.pad(u.mT, (states.TAPS - 1, 0))).mT)
    dt, a, b, c = block.mixer.chosen(u)
enters = b.norm(dim=2) * (dt * u).norm(dim=2)  # (200, 64)

# %%
is_letter = (many > 1)[:, :60]
recent = F.max_pool1d(F.pad(is_letter.float(), (4, 0)), 5, 1) > 0
table = []
entries = {
    "mean Δ": dt.mean(2), "‖B‖": b.norm(dim=2), "‖x‖": u.norm(dim=2),
    "‖Δ x‖": (dt * u).norm(dim=2), "what enters": enters,
}  # fmt: skip
for name, what in entries.items():
    row = {"": name}
    row["at letters"] = mean_of(what[:, :60][is_letter])
    row["at noise"] = mean_of(what[:, :60][~recent])
    table.append(
        row | {"ratio": row["at letters"].value / row["at noise"].value}
    )
results_table(table)

# %% tags=["hide-input"]
marked, places = many[0] > 1, torch.arange(64)
show(
    figures.curves(
        {
            "what enters": (places, enters[0]),
            "a letter stands here": (places[marked], enters[0][marked]),
        },
        "place",
        "length of Δ b x",
        alt="A low line with peaks, at the letters.",
    ),
    "What the trained layer lets in along one sequence: much at the four "
    "letters (marked), and little at noise.",
    label="fig-state-spaces-enters",
)

# %% [markdown]
# (Noise is counted where no letter stands, nor stood in the four places before; the short convolution sees three of these.)
#
# The means do not say what the answers need.
# So hold $\Delta$ or $B$ at its mean at the 60 places, which makes the layer deaf to the word in this one respect, and ask again.

# %% tags=["hide-input"]
mixer, kept = block.mixer, copied["selective (Mamba)"].model
asked, right = selective_copying(500, 60, 4, generator)


def deaf(*which):
    """Share right if dt (0) or b (2) is its mean at the 60 places."""

    def chosen(x):
        found = [v.clone() for v in Selective.chosen(mixer, x)]
        for k in which:
            found[k][:, :60] = (dt, a, b, c)[k][:, :60].mean((0, 1))
        return found

    mixer.chosen = chosen
    with torch.no_grad():
        said = kept(asked.long())[:, 60:].argmax(2)
    del mixer.chosen
    return mean_of((said == right[:, 60:]).double().mean(1))


held_at_mean = {"nothing": deaf(), "Δ": deaf(0), "B": deaf(2)}
results_table(
    [{"held at its mean": k, "right, %": v} for k, v in held_at_mean.items()],
    percent=["right, %"],
)

# %% tags=["hide-input"]
loud, calm = ([v[:, :60][w] for v in (dt, u)] for w in (is_letter, ~recent))
faster = loud[0].mean(0) / calm[0].mean(0)
power = (loud[0] * loud[1]).square().mean(0)
k = power.argmax()
Markdown(
    "In our trained layer *B* is as long at noise as at letters. What enters "
    f"comes mostly through one channel, with {100 * power[k] / power.sum():.0f}"
    f" % of ‖Δ x‖². Its input is {loud[1][:, k].mean():.2f} at letters and "
    f"{calm[1][:, k].mean():.2f} at noise, before the scan has begun. The "
    "clocks differ channel by channel, which their mean hides: "
    f"{(faster > 1).sum()} of {len(faster)} run faster at letters, in the "
    f"median {faster.median():.1f} times as fast and at most "
    f"{faster.max():.0f} times. With each Δ held at its channel's mean "
    f"{100 * held_at_mean['Δ'].value:.0f} % of the answers are right, with "
    f"*B* held {100 * held_at_mean['B'].value:.0f} %: the layer needs both."
)

# %% [markdown]
# (sec-state-spaces-induction)=
# ## What is learned at length 32, asked at length 512
#
# Induction {cite:p}`olsson2022context`, in the synthetic form of {cite:t}`gu2023mamba`: among random letters there is one sign; at the end the sign comes again, and what followed it the first time is to be said.
# Trained at length 32 with two layers each, in two passes over 16,384 sequences, and asked at other lengths.

# %%
heads = {
    "selective (Mamba)": run(induction_heads),
    "S4D": run(induction_heads, mixer="fixed"),
    "attention": run(induction_heads, mixer="attention"),
}
at_lengths = {
    name: [one.metrics[f"accuracy at {length}"] for length in LENGTHS]
    for name, one in heads.items()
}
results_table(
    [
        {
            "layer": name,
            "parameters": sum(p.numel() for p in one.model.parameters()),
            "right at 32, %": one.metrics["accuracy"],
        }
        | {
            f"at {length}, %": one.metrics[f"accuracy at {length}"]
            for length in (16, 128, 512)
        }
        for name, one in heads.items()
    ],
    percent=["right at 32, %", "at 16, %", "at 128, %", "at 512, %"],
)

# %% tags=["hide-input"]
show(
    figures.curves(
        {
            name: (
                torch.tensor(LENGTHS).log2(),
                [one["value"] for one in found],
                [one["error"] for one in found],
            )
            for name, found in at_lengths.items()
        },
        "log₂ of the length (5 in training)",
        "share of answers that are right",
        alt="One curve stays at one; one falls beyond length 32, "
        "one on both sides of it.",
    ),
    "Induction beyond the length of training. A band is one standard error "
    "over 500 sequences.",
    label="fig-state-spaces-lengths",
)

# %% [markdown]
# At the length of training all three are right.
# At other lengths only the selective layer is always right: to write what follows a sign and to keep it is a rule that knows no length.
# The fixed layer fails at 16, too, as its kernel must fit the places it saw.
# The transformer fails beyond 32, where it meets positions that it never saw.
# {cite:t}`gu2023mamba` train at length 256 and find the selective layer right at every length that they ask for, up to $2^{20}$, about a million tokens.
# Ours are small trainings on one core, asked up to 512.
#
# (sec-state-spaces-digits)=
# ## Digits, two by two pixels at a time
#
# Now a law of images.
# A block of $2 \times 2$ black and white pixels is a token, one of 16; a digit of $28 \times 28$ pixels is a sequence of 196.
# By the chain rule
#
# $$
# -\log p(x) = - \sum_{t=1}^{196} \log p(x_t \mid x_1, \dots, x_{t-1}),
# $$ (eq-state-spaces-nats)
#
# and the model gives every factor in one pass.

# %%
show_source(SequenceLaw.logits, SequenceLaw.token_nll, SequenceLaw.sample)

# %%
data = load("persian")
laws = {
    "Mamba": run(digit_sequence),
    "S4D": run(digit_sequence, mixer="fixed"),
    "transformer": run(digit_sequence, mixer="attention", layers=2),
}
JUDGED = min(subset or 500, len(data.test[0]))
digits, labels = data.examples("test", JUDGED)


@torch.no_grad()
def token_nats(law, images):
    """Nats of each token of each image, (N, 196)."""
    return torch.cat([law.token_nll(part) for part in images.split(50)])


each = {name: token_nats(one.model, digits) for name, one in laws.items()}
paid = {name: found.double().sum(1) for name, found in each.items()}


# %% [markdown]
# All three laws are trained alike.

# %% tags=["hide-input"]
weights = {
    name: sum(p.numel() for p in one.model.parameters())
    for name, one in laws.items()
}
share, seen = weights["transformer"] / weights["Mamba"], len(data.train[0])
Markdown(
    f"They see the same {seen:,} training digits once, {seen // 16:,} steps "
    "of 16, in the same order and with the same optimizer (AdamW, rate 0.004, "
    "weight decay 0.01, gradients clipped at length 1). Mamba has "
    f"{weights['Mamba']:,} parameters, S4D {weights['S4D']:,} and the "
    f"transformer {weights['transformer']:,}, {share:.2f} times as many as Mamba."
)

# %% [markdown]
# One pass is a short training; it compares them, and shows none at its best.
# As a neighbour stands the best network of fifteen parents of {ref}`the chapter on digit networks <ch:digit-networks>`, on the same test digits; it saw 60,000 digits three times.

# %%
neighbour = train(digit_network, 0, 0).model
with torch.no_grad():
    of_parents = neighbour.terms(digits)["nll"].double()
paid["15 parents (digit networks)"] = of_parents
table = []
for name, one in paid.items():
    row = {"law": name}
    if name in laws:
        row["parameters"] = weights[name]
        row["nats, the run's test"] = laws[name].metrics["nll"]
    row[f"nats, first {JUDGED}"] = mean_of(one)
    if name != "S4D":
        row["more than S4D"] = mean_of(one - paid["S4D"])
    table.append(row)
results_table(table)

# %% [markdown]
# No likelihood of binary Persian digits is published, so our own are the only neighbours.
# All three pay far less than the fifteen parents.
# But the order of the memory tasks is turned round: the fixed layer pays least and the selective one most.
# A likely reason, not measured here: in a digit every block has its place, and the block above always came 14 steps ago, so a kernel for fixed distances is what is wanted, and there is little to select.
# {cite:t}`gu2023mamba` see the same trade in audio: to choose what enters helps on texts, and can hurt on signals.
# The differences are paired, digit by digit, and speak of these trained models, one of each kind; another seed would move them by an amount that was not measured.
#
# Where in the image do the laws pay?

# %% tags=["hide-input"]
maps = torch.stack([one.mean(0).view(1, 14, 14) for one in each.values()])
show(
    figures.image_grid(
        F.interpolate(maps / maps.max(), scale_factor=8),
        columns=3,
        titles=list(each),
    ),
    "Mean nats of each of the 196 blocks, white is most. All pay in the middle, "
    "where the strokes are.",
    alt="Three grey maps with a bright middle.",
    label="fig-state-spaces-where",
)


# %% tags=["hide-input"]
drawn = {
    name: one.snapshots[max(one.snapshots)][:12].float() / 255
    for name, one in laws.items()
}
show(
    figures.image_rows({"test digits": digits[:12], **drawn}),
    f"Test digits (source: {data.source}), and draws of the laws after "
    "training, as the runs themselves drew them, from the same random numbers.",
    alt="Four rows of twelve binary images of digits.",
    label="fig-state-spaces-drawn",
)

# %% [markdown]
# Drawing costs a state space one step for each token.
# A transformer without a cache of its keys and values reads everything again each time; with a cache it would still hold, and look at, all that was drawn.

# %%
law = laws["Mamba"].model
state = sum(part[0].numel() for one in law.network.begin(1) for part in one)
net = laws["transformer"].model.network
layers, width = len(net.encoder.layers), net.embed.embedding_dim
Markdown(
    f"To draw token 196 Mamba carries **{state:,}** numbers, as for any other "
    f"token; a cache of the transformer holds "
    f"{2 * layers * width} for each token, here {196 * 2 * layers * width:,}, "
    f"which is {196 * 2 * layers * width / state:.0f} times as many, and "
    f"{16_384 * 2 * layers * width:,} at length 16,384."
)

# %% [markdown]
# ## Limits
#
# Everything here is small.

# %% tags=["hide-input"]
memories, images = (
    [one.config["wall_seconds"] / 60 for one in some]
    for some in ((*copied.values(), *heads.values()), laws.values())
)
Markdown(
    f"One core, {min(memories):.0f} to {max(memories):.0f} minutes for each "
    f"memory and {min(images):.0f} to {max(images):.0f} for each law of "
    f"digits, one seed each, sequences of {many.shape[1]} tokens in copying, "
    f"32 in induction and {law.length} in a digit."
)

# %% [markdown]
# That S4D fails at selective copying is measured for this network and this training.
# {prf:ref}`thm-state-spaces-order` is about a convolution whose last output itself ignores the places; a nonlinear reader of an output that keeps the places, or a deep stack, may recover the order.
# The transformer has sinusoidal positions; others extrapolate better.
# The benchmarks compare programs in PyTorch on one core; fused kernels for graphics cards are another matter.
# A fixed card must forget something: a model of this kind cannot repeat an arbitrary text that holds more bits than its state.

# %% [markdown]
# ## Exercises
#
# ```{exercise-start} A clock by hand
# :label: ex-state-spaces-clock
# ```
# (Recall.) A channel has $a = -2$ and reads a constant input 1.
# For $\Delta = 0.1$ give $\bar A$ and $\bar B$, the state after three steps from 0, and its limit.
# After how many steps is half of an input forgotten? What does Euler's rule give for $\Delta = 1.5$?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-state-spaces-clock
# :class: dropdown
# ```
# $\bar A = e^{-0.2} \approx 0.819$, $\bar B = (e^{-0.2} - 1) / (-2) \approx 0.091$; the limit is $-1/a = \frac12$ whatever $\Delta$ is, since a held input is no approximation.
# Half is forgotten after $\log 2 / 0.2 = 3.5$ steps.
# Euler's factor at $\Delta = 1.5$ is $1 - 3 = -2$: it explodes, and the exact $e^{-3}$ does not.

# %%
decay, gain = zero_order_hold(torch.tensor(-2.0), torch.tensor(0.1))
h = torch.zeros(())
for _ in range(3):
    h = decay * h + gain
print(f"{decay:.3f} {gain:.3f}; after three steps {h:.3f}")
torch.testing.assert_close(gain / (1 - decay), torch.tensor(0.5))
print(f"half-life {torch.log(torch.tensor(2.0)) / 0.2:.1f} steps")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The gate of a recurrent network
# :label: ex-state-spaces-gate
# ```
# (Derive.) Let $N = 1$, $a = -1$, $B = C = 1$, $\Delta_t = \operatorname{softplus}(z_t)$ with $z_t$ linear in $x_t$, discretised by zero-order hold.
# Show that $h_t = (1 - g_t)\, h_{t-1} + g_t x_t$ with $g_t = \sigma(z_t)$: the selective system is a gated recurrent network.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-state-spaces-gate
# :class: dropdown
# ```
# $e^{-\Delta_t} = e^{-\log(1 + e^{z_t})} = 1 / (1 + e^{z_t}) = 1 - \sigma(z_t)$, and the gain is $(e^{-\Delta_t} - 1) / (-1) = \sigma(z_t)$.
# This is Theorem 1 of {cite:t}`gu2023mamba`.

# %%
z = 3 * randn(50)
decay, gain = zero_order_hold(torch.tensor(-1.0).double(), F.softplus(z))
torch.testing.assert_close(decay, 1 - z.sigmoid())
torch.testing.assert_close(gain, z.sigmoid())

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Another tree
# :label: ex-state-spaces-tree
# ```
# (Code.) The scan of {cite:t}`hillis1986data` does $\log_2 T$ rounds; in round $k$ every step composes with the one $2^k$ before it.
# Write it, show that it gives the same states, and count what it multiplies beside `tree`.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-state-spaces-tree
# :class: dropdown
# ```
# It has half the depth of `tree`, which goes down and up again, and up to $T \log_2 T$ compositions instead of fewer than $2 T$.


# %%
def rounds(a, b):
    """Hillis and Steele's scan; also the number of compositions."""
    shift, count = 1, 0
    while shift < a.shape[1]:
        count += a.shape[1] - shift
        old_a, old_b = F.pad(a, (shift, 0), value=1.0), F.pad(b, (shift, 0))
        b = a * old_b[:, : b.shape[1]] + b
        a = a * old_a[:, : a.shape[1]]
        shift *= 2
    return b, count


def of_tree(n):
    """Compositions of `tree`: the pairs, those inside, and the rest."""
    return n // 2 + of_tree(n // 2) + (n - 1) // 2 if n > 1 else 0


a, b = 2 * rand(4, 1000) - 1, randn(4, 1000)
found, count = rounds(a, b)
torch.testing.assert_close(found, tree(a, b))
print(f"{count:,} compositions, and {of_tree(1000):,} in the tree")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} One unstable channel
# :label: ex-state-spaces-unstable
# ```
# (Measure.) A channel reads the constant input 1, and is to say $t^{3/2} / 100$ at step $t \le 100$.
# Fit it by gradient descent, once with $a$ itself as the parameter, started at $-0.01$, and once with $a = -e^w$.
# What does each say at step 2,000, where the formula says 894?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-state-spaces-unstable
# :class: dropdown
# ```
# The free parameter crosses 0, since a growing state fits the 100 steps well; at step 2,000 it has exploded.
# With $a = -e^w$ no $w$ is unstable: the output is wrong, and bounded.


# %%
def fitted(constrained):
    """Fit y_t = t^1.5 / 100 for 100 steps; the last output of 2,000."""
    start = float(np.log(0.01)) if constrained else -0.01
    w, c = (torch.tensor(v, requires_grad=True) for v in (start, 0.05))
    adam = torch.optim.Adam([w, c], lr=3e-3)

    def output(length):
        a = -w.exp() if constrained else w
        powers = torch.exp(a * torch.arange(length))
        return c * powers.cumsum(0)

    goal = torch.arange(1, 101) ** 1.5 / 100
    for _ in range(500):
        adam.zero_grad()
        (output(100) - goal).square().mean().backward()
        adam.step()
    return output(2000)[-1].item()


print(f"a free: {fitted(False):.3g}; a = -exp(w): {fitted(True):.3g}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} How much of the past is in the state?
# :label: ex-state-spaces-past
# ```
# (Measure.) Keep 8, 16, 32 and 64 coefficients of LegS for a random walk of 800 steps, and measure the error of the reconstruction, as a share of the walk's own size.
# Which power of $N$ does it follow?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-state-spaces-past
# :class: dropdown
# ```
# A walk is rough: its error in mean square falls about as $1 / N$, so the error itself as $N^{-1/2}$, and four times the numbers only halve it.

# %%
walks = randn(8, 800).cumsum(1)
z = torch.arange(1, 801).double() / 400 - 1
for n in (8, 16, 32, 64):
    basis = torch.tensor(np.polynomial.legendre.legvander(z.numpy(), n - 1))
    ends = torch.stack([remembered(walk, n)[-1] for walk in walks])
    read = (ends * hippo(n)[1]) @ basis.T
    share = (read - walks).norm() / walks.norm()
    print(f"{n:3d} numbers: {share:.3f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A longer memory (open)
# :label: ex-state-spaces-open
# ```
# (Open.) Which change lowers the nats of the digits most at equal parameters and equal updates: more states, more channels, more layers, two directions of reading, the row and column as input?
# `digit_sequence` takes `width`, `layers` and `rate`; the rest is yours.
# There is no last word here.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-state-spaces-open
# :class: dropdown
# ```
# A start: what each choice costs in parameters.

# %%
for width, layers in ((32, 3), (48, 2), (24, 5), (64, 1)):
    count = sum(
        p.numel() for p in StateSpaceModel(17, 16, width, layers).parameters()
    )
    print(f"width {width}, {layers} layers: {count:,} parameters")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What does a memory of fixed size keep?

# %% tags=["hide-input"]
both = [copied[name] for name in ("selective (Mamba)", "S4D")]
mamba, s4d = (one.metrics["accuracy"]["value"] for one in both)
cards = [one.model.blocks[0].mixer.begin(1)[0] for one in both]
card, other = (h.numel() * (1 + h.is_complex()) for h in cards)
Markdown(
    "It keeps what its rule lets in. A fixed rule keeps a smoothed picture of "
    "all that was heard, noise included; a rule that looks at the word keeps "
    f"the letters and lets the noise pass: {100 * mamba:.0f} % of the letters "
    f"against {100 * s4d:.0f} %, on a card of {card:,} real numbers "
    f"against {other:,}. Where every word has its place, as in the digits, "
    "the fixed rule was the better one."
)

# %% [markdown]
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
