# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:probability)=
# # Probability and independence
#
# *How deep is a well that answers after three seconds?*
#
# You let a stone fall into a dark well and start a stopwatch.
# At 3.00 seconds you hear the splash.
# The stone needed time to fall, and the sound needed time to come back.
# How deep is the water?
#
# Before the stone falls there is another question.
# You know only that the water stands somewhere between 10 and 60 metres down, any depth as likely as any other.
# Which times should you expect to hear, and is every time as likely as any other?
# That question asks for the law of one number from the law of another.
#
# The chapter answers both, and then turns from curves to tables: laws of several discrete variables.
# It asks which variables tell something about which others, and how many numbers a table needs.
# The rest of the book stands on these two halves.
# A normalising flow is a change of variables with a network in place of the well; a graphical model is a table with independencies.
#
# :::{admonition} You will learn to
# - carry a density through a map, in one dimension and in many, and prove the formula;
# - test a law against simulated draws at a stated rate of false alarms;
# - normalise a law on infinitely many pairs, and see what happens when its mean is infinite;
# - prove the rules that independence obeys, and find the one that fails when a probability is 0;
# - read independence off a table of numbers, and count the numbers that a table needs.
#
# You need: integrals with substitution, partial derivatives, sums of powers, and conditional probability.
# :::
#
# | symbol | meaning | unit or range | code |
# | :-- | :-- | :-- | :-- |
# | $f_X$ | density of the random variable $X$ | 1 / unit of $X$ | `law` |
# | $g$, $h = g^{-1}$ | a map and its inverse | | `g`, `h` |
# | $a$, $c$ | acceleration of the fall, speed of sound | m/s², m/s | `a`, `c` |
# | $x, u, t$ | depth, fall time, heard time | m, s, s | `x`, `u`, `t` |
# | $\zeta(s, q)$ | $\sum_{k \ge 0} (q + k)^{-s}$; $\zeta(s) = \zeta(s, 1)$ | $s > 1$, $q > 0$ | `zeta(s, q)` |
# | $Z(s)$ | sum of $(i + j)^{-s}$ over all pairs $i, j \ge 1$; no relative of a variable $Z$ | $s > 2$ | `Z_pairs(s)` |
# | $p(x, y, z)$ | joint law of discrete $X, Y, Z$ | a table of numbers | `Table` |
# | $X \perp Y \mid Z$ | $X$ and $Y$ are independent given $Z$ | true or false | `independent` |
#
# A capital letter is a random variable, and the small letter is a value of it.

# %% tags=["parameters"]
seed: int = 0
draws: int = 100_000  # stones, and pairs of integers; 20,000 or more

# %% tags=["hide-input"]
from itertools import combinations as subsets
from itertools import pairwise, permutations, product
from math import log, prod

import numpy as np
import seaborn
import torch
from IPython.display import Markdown
from matplotlib import colormaps
from scipy.special import chdtrc, zeta

from companion import figures
from companion.claims import check
from companion.figures import Explorable, Sketch, results_table, show
from companion.figures.style import PALETTE
from companion.graphs import Table, independencies, independent, statements
from companion.graphs import mutual_information as information
from companion.words import at_least

blue, orange, green, _, dark = PALETTE[:5]
at_least(20_000, draws=draws)
torch.set_default_dtype(torch.float64)
torch.manual_seed(seed)
rng = np.random.default_rng(seed)

# %% tags=["hide-input"]
sketch = Sketch(350, 178)
for x in (22, 92):  # the walls
    sketch.line((x, 8), (x, 150))
for k in range(3):  # the water
    sketch.line((26 + 4 * k, 128 + 7 * k), (88 - 4 * k, 128 + 7 * k), lit=True)
sketch.line((44, 14), (44, 122), head=True).words(34, 70, "u")
sketch.line((72, 122), (72, 14), head=True, dashed=True)
sketch.words(57, 170, "t = u + x / c").words(10, 70, "x")
sketch.node("x", 152, 40, "depth X", size=(66, 30))
sketch.node("t", 300, 40, "time T", size=(66, 30)).link("x", "t")
sketch.words(226, 32, "g").words(
    226, 74, "density × slope of the inverse", small=True
)
for k, letter in enumerate("abcd"):
    place = 136 + 30 * (k % 2), 112 + 26 * (k // 2)
    sketch.node(letter, *place, size=(30, 26))
sketch.words(262, 122, "a d = b c:").words(262, 140, "X tells nothing of Y")
sketch.words(226, 170, "independence is read off a table", small=True)
sketch.show(
    "The two halves of the chapter. A map carries a law from one variable to "
    "another; a table of numbers tells which variables know of one another.",
    alt="A well: a stone falls for u seconds, the sound rises. The depth X "
    "leads to the time T by a map g. A two by two table a, b, c, d.",
    label="fig-probability-idea",
)

# %% [markdown]
# (sec-probability-change)=
# ## A density is multiplied by the slope of the inverse map
#
# Call $f_X \ge 0$ the density of $X$ if $P(X \le x) = \int_{-\infty}^x f_X$ for every $x$; for a vector, if $P(X \in S) = \int_S f_X$ for every set $S$ that has a volume.
# A map moves probability and neither makes nor destroys any.
# Where it crowds the values together the density must rise, where it pulls them apart the density must fall.
# The picture shows this for the well; the formulas of its densities come in the next section.
# Without air a stone falls $x = \tfrac12 a u^2$ metres in $u$ seconds, and the sound comes back in $x / c$ seconds.
# The depth has a flat density (below); five strips of equal probability go through the curve and become five strips of heard time, and each keeps its area.

# %%
a, c = 9.81, 343.0  # m/s^2; m/s, in air of 20 degrees Celsius
shallow, deep = 10.0, 60.0  # m: between full and empty


def fall(x):
    """Seconds until a stone has fallen x metres from rest, without air."""
    return (2 * x / a) ** 0.5


def heard(x):
    """Seconds until the splash is heard, x metres up."""
    return fall(x) + x / c


depths = np.linspace(shallow, deep, 200)


# %% tags=["hide-input"]
figure = figures.blank(4.6)
grid = figure.add_gridspec(2, 2, width_ratios=[1, 3], height_ratios=[3, 1])
curve = figure.add_subplot(grid[0, 1], xlim=(0, 62), ylim=(1, 3.8))
below = figure.add_subplot(grid[1, 1], sharex=curve)
left = figure.add_subplot(grid[0, 0], sharey=curve)
for k, ends in enumerate(pairwise(np.linspace(shallow, deep, 6))):
    x = np.linspace(*ends, 40)
    slope = 1 / (a * x * 2) ** 0.5 + 1 / c  # seconds per metre
    shade = {"color": blue, "alpha": 0.2 + 0.16 * k, "lw": 0}
    below.fill_between(x, 0, 1 / (deep - shallow), **shade)
    left.fill_betweenx(heard(x), 0, 1 / (deep - shallow) / slope, **shade)
    shade["alpha"] /= 4
    curve.fill_between(x, 0, heard(x), **shade)
    curve.fill_betweenx(heard(x), 0, x, **shade)
curve.plot(depths, heard(depths), color=orange, lw=2.5)
below.set(xlabel="depth $x$ (m)", ylabel="density (1/m)", ylim=(0, 0.03))
left.set(xlabel="density (1/s)", ylabel="heard time $t$ (s)", xlim=(0.65, 0))
show(
    figure,
    "The curve takes depths to heard times. Each shade is a fifth of the "
    "probability on either axis: where the curve is steep, its strip of time "
    "is wide and the density of the time is low.",
    alt="A rising curve; a flat density below, a rising density at the left.",
    label="fig-probability-areas",
)

# %% [markdown]
# :::{prf:theorem} Change of variable
# :label: thm-probability-change
# Let $X$ have a density $f_X$ that is 0 outside of an open interval $I$ and continuous in $I$ but for finitely many points.
# Let $g$ map $I$ one-to-one onto an open interval $J$, with a continuous derivative that is nowhere 0, and let $h : J \to I$ be its inverse.
# Then $Y = g(X)$ has the density
#
# $$
# f_Y(y) = f_X(h(y))\, |h'(y)|, \qquad h'(y) = \frac{1}{g'(h(y))},
# $$ (eq-probability-change)
#
# for $y$ in $J$, and 0 elsewhere.
# :::
#
# :::{prf:proof}
# In steps, for any $y$ in $J$; write $I = (i_0, i_1)$ and $J = (j_0, j_1)$, where the ends may be infinite:
#
# 1. $g'$ is continuous and never 0, so by the intermediate value theorem it has one sign in all of $I$: $g$ rises everywhere or falls everywhere.
# 2. The inverse of such a function has the continuous derivative $h'(y) = 1 / g'(h(y))$, of the same sign.
# 3. Let $g$ rise. Then $g(X) \le y$ exactly if $X \le h(y)$, so $P(Y \le y) = \int_{i_0}^{h(y)} f_X(x)\, dx$.
# 4. Substitute $x = h(v)$, $dx = h'(v)\, dv$, on each piece where $f_X$ is continuous (where $f_X$ is unbounded at an end, or the piece infinitely long, this is a limit): $x$ goes from $i_0$ to $h(y)$ as $v$ goes from $j_0$ to $y$. So $P(Y \le y) = \int_{j_0}^{y} f_X(h(v))\, h'(v)\, dv$, and $h' = |h'|$.
# 5. Let $g$ fall. Then $g(X) \le y$ exactly if $X \ge h(y)$, so $P(Y \le y) = \int_{h(y)}^{i_1} f_X(x)\, dx$.
# 6. The same substitution now runs backwards: as $x$ goes from $h(y)$ up to $i_1$, $v$ goes from $y$ down to $j_0$. So $P(Y \le y) = \int_{y}^{j_0} f_X(h(v))\, h'(v)\, dv$, which is $\int_{j_0}^{y} f_X(h(v))\, (-h'(v))\, dv$.
# 7. Here $h' < 0$, so $-h' = |h'|$, and both cases end in the same formula.
# 8. So $P(Y \le y)$ is the integral of {eq}`eq-probability-change` from $j_0$ to $y$. As $Y$ lies in $J$, this says that {eq}`eq-probability-change` is its density.
# :::
#
# The check takes seven maps, four that rise and three that fall, and computes the probability of 42 intervals in two ways.
# One way integrates the formula.
# The other uses neither $h$ nor a derivative: it finds the ends of the interval on the $x$-axis by bisection and looks up the exact distribution function of $X$.

# %%
nodes, weights = map(torch.tensor, np.polynomial.legendre.leggauss(40))


def integral(f, edges):
    """Integrate f between neighbouring edges, by Gauss-Legendre nodes."""
    half, middle = edges.diff() / 2, (edges[1:] + edges[:-1]) / 2
    return half * (f(middle[:, None] + half[:, None] * nodes) * weights).sum(1)


def bisect(g, y, low, high):
    """Solve g(x) = y for a monotone g, without its derivative."""
    low, high = torch.full_like(y, low), torch.full_like(y, high)
    rises = g(high) > g(low)
    for _ in range(60):
        x = (low + high) / 2
        right = (g(x) < y) == rises  # the solution is right of x
        low, high = torch.where(right, x, low), torch.where(right, high, x)
    return x


def slope(f, x):
    """Derivative of f at each x, by automatic differentiation."""
    x = x.detach().requires_grad_()
    return torch.autograd.grad(f(x).sum(), x)[0]


# %%
normal = torch.distributions.Normal(0.0, 1.0)
gamma = torch.distributions.Gamma(2.0, 1.0)
line, wide = (-9, 9), (0.01, 60)  # where bisection looks for x
maps = [  # law of X, map, inverse, where x lies, where y lies
    (normal, torch.exp, torch.log, line, (0.2, 3)),
    (normal, torch.sinh, torch.asinh, line, (-2, 3)),
    (normal, torch.sigmoid, torch.logit, line, (0.1, 0.8)),
    (gamma, torch.sqrt, torch.square, wide, (0.3, 3)),
    (gamma, torch.reciprocal, torch.reciprocal, wide, (0.2, 3)),
    (normal, lambda x: 2 - 3 * x, lambda y: (2 - y) / 3, line, (-4, 3)),
    (gamma, lambda x: (-x).exp(), lambda y: -y.log(), wide, (0.05, 0.9)),
]


# %%
def versions(law, g, h):
    """The density of g(X) by the formula, and three wrong ones."""

    def f_x(y):
        return law.log_prob(h(y)).exp()

    return (
        lambda y: f_x(y) * slope(h, y).abs(),
        f_x,
        lambda y: f_x(y) * slope(g, h(y)).abs(),
        lambda y: f_x(y) * slope(h, y),
    )


# %%
exact, found = [], []
for law, g, h, where, (low, high) in maps:
    y = torch.linspace(low, high, 7)
    exact.append(law.cdf(bisect(g, y, *where)).diff().abs())
    found.append(torch.stack([integral(f, y) for f in versions(law, g, h)]))
right, bare, upside_down, signed = torch.cat(found, 1)
check(
    "thm-probability-change", kind="quadrature", of="intervals of seven maps"
).equal(
    torch.cat(exact),
    right,
    wrong={
        "no derivative": bare,
        "derivative upside down": upside_down,
        "no absolute value": signed,
    },
)

# %% [markdown]
# In several dimensions the slope becomes a determinant: the factor by which the inverse map multiplies small volumes.
# Write $J_h(y)$ for the matrix of partial derivatives $\partial h_i / \partial y_k$, the *Jacobian* of $h$.
#
# :::{prf:theorem} Change of variables in several dimensions
# :label: thm-probability-volume
# Let $X$ have the density $f_X$ on an open set $A \subseteq \R^d$.
# Let $g$ map $A$ one-to-one onto an open set $B \subseteq \R^d$, with continuous partial derivatives and a Jacobian whose determinant is nowhere 0, and let $h$ be its inverse.
# Then $Y = g(X)$ has, on $B$, the density
#
# $$
# f_Y(y) = f_X(h(y))\, |\det J_h(y)|, \qquad \det J_h(y) = \frac{1}{\det J_g(h(y))}.
# $$ (eq-probability-volume)
# :::
#
# :::{prf:proof}
# We use one theorem of calculus without a proof, the substitution in multiple integrals {cite:p}`rudin1987real`: if $h$ maps $B$ one-to-one onto $A$ with continuous partial derivatives and $\det J_h \ne 0$, then $\int_{h(S)} f(x)\, dx = \int_S f(h(y))\, |\det J_h(y)|\, dy$ for all measurable $f \ge 0$ and $S \subseteq B$.
# In steps:
#
# 1. As $\det J_g \ne 0$, the inverse function theorem gives $h$ continuous partial derivatives, and the chain rule on $g(h(y)) = y$ gives $J_g(h(y))\, J_h(y) = \mathrm{Id}$, the unit matrix.
# 2. The determinant of a product is the product of determinants, so $\det J_h(y) = 1 / \det J_g(h(y))$, which is not 0.
# 3. For $S \subseteq B$, $g(X) \in S$ exactly if $X \in h(S)$, so $P(Y \in S) = \int_{h(S)} f_X(x)\, dx$.
# 4. By the substitution, this is $\int_S f_X(h(y))\, |\det J_h(y)|\, dy$.
# 5. A function whose integral over every $S$ is $P(Y \in S)$ is the density of $Y$.
# :::
#
# For the check we bend a normal law in the plane: $(x_1, x_2) \mapsto (x_2,\ x_1 e^{\tanh x_2} + 2 \sin x_2)$, then a matrix $M$.
# A flow is built from many such steps.
# For twenty bumps $\varphi(y) = e^{-|y - m|^2}$, whose middles $m$ are drawn at random, we compute $\E\, \varphi(Y)$ in two ways: over $x$, as $\int \varphi(g(x)) f_X(x)\, dx$, which needs no Jacobian, and over $y$, with {eq}`eq-probability-volume`.

# %%
M = torch.tensor([[1.0, 0.4], [-0.6, 0.8]])


def g(x):
    x1, x2 = x.unbind(-1)
    bent = x1 * x2.tanh().exp() + 2 * x2.sin()
    return torch.stack([x2, bent], -1) @ M.T


def h(y):
    x2, bent = (y @ torch.linalg.inv(M).T).unbind(-1)
    return torch.stack([(bent - 2 * x2.sin()) * (-x2.tanh()).exp(), x2], -1)


side = torch.linspace(-9, 9, 241)
plane = torch.cartesian_prod(side, side)  # (N, 2), for x and for y
middles = 1.5 * torch.randn(20, 2)


def bumps(y):
    return (-torch.cdist(middles, y).square()).exp()  # (20, N)


# %%
def in_plane(values):
    """Sum over the grid times the area of its squares: (20, N) -> (20,)."""
    return values.sum(1) * (side[1] - side[0]) ** 2


def f_x(x):
    return normal.log_prob(x).sum(-1).exp()


J_h = torch.func.vmap(torch.func.jacrev(h))(plane)  # (N, 2, 2)
det, moved = torch.linalg.det(J_h), f_x(h(plane)) * bumps(plane)
check(
    "thm-probability-volume", kind="quadrature", of="random bumps in the plane"
).equal(
    left=in_plane(f_x(plane) * bumps(g(plane))),
    right=in_plane(moved * det.abs()),
    wrong={
        "no determinant": in_plane(moved),
        "determinant upside down": in_plane(moved / det.abs()),
        "no absolute value": in_plane(moved * det),
        "product of the diagonal": in_plane(
            moved * J_h.diagonal(dim1=1, dim2=2).prod(1).abs()
        ),
    },
)

# %% [markdown]
# A set of area 0 has probability 0 under any density, so the theorem may lose one: it is enough that $g$ is one-to-one once a set of area 0 is taken out of $A$.
# The case that everybody meets are polar coordinates, $(x, y) = h(r, \theta) = (r \cos \theta,\ r \sin \theta)$.
# From $r > 0$, $-\pi < \theta < \pi$ this is one-to-one onto the plane without the ray $y = 0$, $x \le 0$, and $\det J_h = r \cos^2 \theta + r \sin^2 \theta = r$, so
#
# $$
# f_{R, \Theta}(r, \theta) = r\, f_{X, Y}(r \cos \theta,\ r \sin \theta).
# $$ (eq-probability-polar)
#
# Two variables with a joint density are *independent* if it can be taken as $f_{X, Y}(x, y) = f_X(x)\, f_Y(y)$ for all $x$ and $y$.
# Any product $u(x)\, v(y)$ on the *whole* plane will do: integrated over $y$ and over $x$ it gives $f_X = u \int v$ and $f_Y = v \int u$, and $\int u \int v = 1$.
# A formula that is a product on a disc, and 0 outside, is none: {ref}`ex-probability-disc` has stones that are dependent in $x$ and $y$, and independent in $r$ and $\theta$.

# %% [markdown]
# (sec-probability-well)=
# ## A uniform depth is not a uniform time
#
# Now the well.
# It is a cylinder, so equal amounts of water are equal differences of depth.
# If every amount of water between full and empty is equally likely, the depth $X$ of the surface is uniform between $x_0$ and $x_1$, here 10 and 60 metres.
# Let $U$ be the fall time and $T$ the heard time.
#
# :::{prf:proposition} The densities of the well
# :label: prop-probability-well
# Let $X$ be uniform on $(x_0, x_1)$ with $x_0 \ge 0$, let $x = \tfrac12 a u^2$ be the depth after a fall of $u$ seconds, and let the sound travel at speed $c$.
# Between the times that belong to $x_0$ and $x_1$,
#
# $$
# \begin{aligned}
# f_U(u) & = \frac{a u}{x_1 - x_0}, \\
# f_T(t) & = \frac{c}{x_1 - x_0} \Big(1 - \frac1r\Big), \quad r = \sqrt{1 + \frac{2 a t}{c}},
# \end{aligned}
# $$ (eq-probability-well)
#
# and the depth that belongs to a heard time is $x = \frac{c^2}{2a} (r - 1)^2$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. From $u$ to depth the map is $h(u) = \tfrac12 a u^2$, with $h'(u) = a u > 0$. By {prf:ref}`thm-probability-change`, $f_U(u) = f_X(\tfrac12 a u^2)\, a u$, and $f_X = 1 / (x_1 - x_0)$.
# 2. The sound needs $x / c$ seconds, so $t = u + \frac{a u^2}{2c}$, which rises with $u > 0$.
# 3. For given $t$ this is a quadratic equation for $u$. Its only positive root is $u = \frac ca (r - 1)$.
# 4. Insert it into $x = \tfrac12 a u^2$: this gives $x = \frac{c^2}{2a} (r - 1)^2$.
# 5. By the chain rule $\frac{du}{dt} = \frac ca \cdot \frac{1}{2 r} \cdot \frac{2a}{c} = \frac1r > 0$.
# 6. By {prf:ref}`thm-probability-change`, from $U$ to $T$, $f_T(t) = f_U(u)\, \frac1r = \frac{a u}{(x_1 - x_0)\, r}$, and $a u = c (r - 1)$ by step 3.
# :::
#
# The check compares the formulas, integrated over 40 intervals of each time, with the share of the depths in between, which bisection finds from `fall` and `heard` alone.


# %%
def r(t):
    return (1 + 2 * a * t / c) ** 0.5


def depth_of(t):
    return c**2 / (2 * a) * (r(t) - 1) ** 2


flat = 1 / (deep - shallow)
ends = torch.tensor([shallow, deep])
u = torch.linspace(*fall(ends).tolist(), 41)
t = torch.linspace(*heard(ends).tolist(), 41)
share = [bisect(f, s, 1, 99).diff() * flat for f, s in ((fall, u), (heard, t))]


def both(of_u, of_t):
    return torch.cat([integral(of_u, u), integral(of_t, t)])


# %%
check(
    "prop-probability-well",
    kind="quadrature",
    of="intervals of depth and time",
).equal(
    left=torch.cat(share),
    right=both(lambda u: a * u * flat, lambda t: c * flat * (1 - 1 / r(t))),
    wrong={
        "formula of the fall for both": both(*[lambda s: a * s * flat] * 2),
        "uniform in time too": both(*[lambda s: flat + 0 * s] * 2),
        "law of the fall, slope forgotten": both(
            lambda u: a * u * flat, lambda t: c * flat * (r(t) - 1)
        ),
    },
)

# %% [markdown]
# Formulas can be checked against formulas for ever; a simulation only drops stones.

# %%
x = rng.uniform(shallow, deep, draws)
stones = {  # draws, density, between
    "depth": (x, lambda x: flat + 0 * x, ends),
    "fall time": (fall(x), lambda u: a * u * flat, fall(ends)),
    "heard time": (
        heard(x),
        lambda t: c * flat * (1 - 1 / r(t)),
        heard(ends),
    ),
}

# %% tags=["hide-input"]
figure = figures.blank(2.9)
panels = zip(figure.subplots(1, 3), stones.items(), strict=True)
for axes, (name, (found, density, _)) in panels:
    count, edges = np.histogram(found, bins=20)
    width, middle = edges[1] - edges[0], (edges[1:] + edges[:-1]) / 2
    error = (count * (1 - count / draws)) ** 0.5
    axes.stairs(count / draws / width, edges, fill=True, fc=blue, alpha=0.25)
    spots = middle, count / draws / width, 2 * error / draws / width
    axes.errorbar(*spots, fmt=".", color=blue)
    s = np.linspace(*edges[[0, -1]], 200)
    axes.plot(s, density(s), color=orange)
    if name == "heard time":
        axes.plot(s, a * s * flat, "--", color=dark, lw=1.2)
    unit = "m" if name == "depth" else "s"
    axes.set(xlabel=f"{name} ({unit})", ylim=(0, None))
    axes.set_ylabel(f"density (1/{unit})")
    axes.locator_params(axis="y", nbins=6)
show(
    figure,
    "Simulated stones (bars, dots with two standard errors) and the densities "
    "of the proposition (orange lines). Dashed: the formula of the fall time "
    "in place of that of the heard time; it is too high everywhere.",
    alt="Three histograms with curves on their tops: flat, rising, bent.",
    label="fig-probability-well",
)

# %% [markdown]
# Do the dots lie close enough to the lines?
# The *Kolmogorov-Smirnov distance* is the largest difference, over all $x$, between the share $F_n(x)$ of the $n$ draws that are at most $x$ and the probability $F(x)$ of being so.
# For independent draws it exceeds $\varepsilon$ with probability at most $2 e^{-2 n \varepsilon^2}$ {cite:p}`massart1990tight`.
# So we allow $\varepsilon = \sqrt{\log(2 / \alpha) / (2n)}$, and a true law is rejected with probability at most $\alpha$, here $10^{-4}$.
# Each $F$ comes from integrating the density of the proposition.


# %%
def distance(sample, density, between):
    """Largest gap between the draws' distribution and a density's."""
    edges = torch.linspace(*between, 2001)
    F = np.append(0, integral(density, edges).cumsum(0))
    x, rank = np.sort(sample), np.arange(len(sample) + 1) / len(sample)
    gap = np.interp(x, edges, F) - [rank[1:], rank[:-1]]  # after, before x
    return np.abs(gap).max()


# %%
level = 1e-4
allowed = (log(2 / level) / (2 * draws)) ** 0.5
wrong = {
    "heard time, formula of the fall": lambda t: a * t * flat,
    "heard time, uniform": lambda t: 1 / heard(ends).diff() + 0 * t,
}
tests = stones | {k: (heard(x), f, heard(ends)) for k, f in wrong.items()}
gaps = {name: distance(*test) for name, test in tests.items()}
assert all((gaps[name] > allowed) == (name in wrong) for name in gaps)
results_table(
    [
        {"density": name, "largest gap": gap, "allowed": allowed}
        for name, gap in gaps.items()
    ]
)

# %% [markdown]
# The first three distances agree, and that is no accident.
# Both maps rise, so each stone keeps its rank, and if the proposition is true it keeps its $F$ as well: three tests are one.
# The two wrong densities are rejected.
#
# (sec-probability-zeta)=
# ## A law on pairs of integers needs the zeta function
#
# From here on the variables are discrete, and a law is a table of probabilities.
# A table may be infinite.
# Let two positive integers $i, j$ have
#
# $$
# p(i, j) = \frac{(i + j)^{-s}}{Z(s)}, \qquad Z(s) = \sum_{i, j \ge 1} (i + j)^{-s}.
# $$ (eq-probability-pairs)
#
# For which exponents $s$ does this make sense, and what do $i$ and $j$ know of one another?
#
# :::{prf:theorem} Pairs of integers
# :label: thm-probability-zeta
# $Z(s)$ is finite exactly for $s > 2$. Then
#
# $$
# \begin{aligned}
# Z(s) & = \zeta(s - 1) - \zeta(s), \\
# p(i) & = \frac{\zeta(s, i + 1)}{Z(s)}, \qquad p(j \mid i) = \frac{(i + j)^{-s}}{\zeta(s, i + 1)}.
# \end{aligned}
# $$ (eq-probability-zeta)
#
# The mean is $\E\, i = \frac{Z(s - 1)}{2 Z(s)}$, so it is finite for $s > 3$ and infinite for $2 < s \le 3$.
# The two integers are dependent for every $s > 2$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. No term is negative, so the sums below may be taken in any order, whether they are finite or not.
# 2. For each $n \ge 2$ there are $n - 1$ pairs with $i + j = n$, namely $i = 1, \dots, n - 1$. So $Z(s) = \sum_{n \ge 2} (n - 1)\, n^{-s}$.
# 3. For $s > 2$ both $\sum n^{1 - s}$ and $\sum n^{-s}$ converge, and the term $n = 1$ of their difference is $1 - 1 = 0$. So $Z(s) = \zeta(s - 1) - \zeta(s)$.
# 4. For $s \le 2$ use $n - 1 \ge n / 2$, true for $n \ge 2$: $Z(s) \ge \tfrac12 \sum_{n \ge 2} n^{1 - s} \ge \tfrac12 \sum_{n \ge 2} \tfrac1n = \infty$.
# 5. Sum over $j$, with $k = j - 1$: $\sum_{j \ge 1} (i + j)^{-s}$ is $\sum_{k \ge 0} (i + 1 + k)^{-s} = \zeta(s, i + 1)$. Divide by $Z(s)$ for $p(i)$.
# 6. Divide $p(i, j)$ by $p(i)$: $Z(s)$ cancels, which gives $p(j \mid i)$.
# 7. The law is symmetric, so $i$ and $j$ have the same mean, $\tfrac12 \E(i + j)$.
# 8. As in step 2, $Z(s)\, \E(i + j) = \sum_{n \ge 2} n\, (n - 1)\, n^{-s}$, and $n \cdot n^{-s} = n^{-(s - 1)}$, so this is $Z(s - 1)$. By steps 3 and 4 it is finite exactly for $s - 1 > 2$.
# 9. If $i$ and $j$ were independent, $p(1, 1)\, p(2, 2)$ and $p(1, 2)\, p(2, 1)$ would both be $p_1(1)\, p_1(2)\, p_2(1)\, p_2(2)$, with $p_1$ and $p_2$ the laws of $i$ and of $j$. But they are $8^{-s} / Z^2$ and $9^{-s} / Z^2$.
# :::
#
# The check adds up the pairs one by one, as far as $i + j \le N$, and encloses the rest between two bounds.
# As $x^{-q}$ falls, $\sum_{n > N} n^{-q}$ lies between $\int_{N+1}^\infty x^{-q} dx$ and $\int_N^\infty x^{-q} dx$, that is, between $\frac{(N + 1)^{1 - q}}{q - 1}$ and $\frac{N^{1 - q}}{q - 1}$.
# Every claimed value of $Z(s)$, $p(i)$ and $\E\, i$ must lie between its bounds, which are rigorous up to rounding; $p(j \mid i)$ needs nothing new.

# %%
N = 1000
i, j = np.indices((N, N)) + 1
inside = i + j <= N
i, n = i[inside], (i + j)[inside].astype(float)


def rest(q):
    """Bounds of the sum of n^-q over n > N, as an array (low, high)."""
    return np.array([(N + 1) ** (1 - q), N ** (1 - q)]) / (q - 1)


def enclosures(s):
    """Bounds of Z(s), of Z(s) p(i) for i = 1, 2, 7, and, for s + 1, of E i.

    The sum over n > N of (n - 1) n^-s is rest(s - 1) - rest(s); what is
    taken away has its bounds the other way round, hence [::-1].
    """
    pairs = n**-s
    z = pairs.sum() + rest(s - 1) - rest(s)[::-1]
    rows = [pairs[i == k].sum() + rest(s) for k in (1, 2, 7)]
    # of the law with exponent s + 1: sums of i (i + j)^-(s + 1), of (i + j)^-(s + 1)
    mean = (i * pairs / n).sum() + (rest(s - 1) - rest(s)[::-1]) / 2
    z_next = (pairs / n).sum() + rest(s) - rest(s + 1)[::-1]
    return np.array([z, *rows, mean / z_next[::-1]])  # (5, 2)


# %%
exponents = np.linspace(2.1, 6, 14)
bounds = np.array([enclosures(s) for s in exponents])  # (14, 5, 2)


def within(normaliser, row=1, half=2):
    found = []
    for s in exponents:
        mean = normaliser(s) / normaliser(s + 1) / half
        row_sums = (zeta(s, k + row) for k in (1, 2, 7))
        found.append([normaliser(s), *row_sums, mean])
    slack = 1e-12 * bounds[..., 0]  # rounding
    low, high = bounds[..., 0] - slack, bounds[..., 1] + slack
    return (low <= found) & (found <= high)


def Z_pairs(s):
    return zeta(s - 1) - zeta(s)


# %%
check(
    "thm-probability-zeta",
    kind="grid",
    about="the sums",
    of="sums at 14 exponents",
).holds(
    within(Z_pairs),
    wrong={
        "n pairs of each sum": within(lambda s: zeta(s - 1)),
        "n pairs, begun at n = 2": within(lambda s: zeta(s - 1) - 1),
        "row begins at i": within(Z_pairs, row=0),
        "mean of i + j": within(Z_pairs, half=1),
    },
)

# %% [markdown]
# The sum that is claimed to be infinite cannot be enclosed, but its growth can be bounded.
# At $s = 2$, step 4 and an integral give $\sum_{i + j \le N} (i + j)^{-2} \ge \tfrac12 \sum_{n = 2}^N \tfrac1n \ge \tfrac12 \log \frac{N + 1}{2}$, which grows without limit.
# The check takes every $N$ up to 1,000; at $s = 2.5$ and $s = 3$, where the sum is finite and only the mean is infinite, the same bound fails.

# %%
upto = np.arange(2, N + 1)


def partial_sums(s):
    return ((upto - 1.0) * upto**-s).cumsum()


half_log = np.log((upto + 1) / 2) / 2
check(
    "thm-probability-zeta",
    kind="grid",
    about="no finite sum at s = 2",
    of="sizes, one after another",
).at_most(
    half_log,
    partial_sums(2.0),
    wrong={
        f"the same bound for s = {s:g}": (half_log, partial_sums(s))
        for s in (2.5, 3.0)
    },
)

# %% [markdown]
# To draw a pair, draw $n = i + j$ first, whose law is proportional to $(n - 1)\, n^{-s}$; given $n$, $i$ is uniform on $1, \dots, n - 1$.
# NumPy draws from the law proportional to $n^{1 - s}$, and keeping such an $n$ with probability $\frac{n - 1}{n}$ makes $(n - 1)\, n^{-s}$ of it.
# (It leaves out numbers that do not fit into 64 bits: fewer than one in a billion here.)
# The shares of $i = 1, 2, 3$ are compared with $p(i)$ for two exponents.


# %%
def draw_pairs(s, size, rng):
    """Draw i and j, each (size,), from p(i, j) = (i + j)^-s / Z."""
    tries = int(1.1 * size * zeta(s - 1) / Z_pairs(s)) + 1000
    n = rng.zipf(s - 1, tries)
    n = n[rng.random(tries) < (n - 1) / n][:size]
    i = rng.integers(1, n)
    return i, n - i


# %%
drawn = {s: draw_pairs(s, draws, rng) for s in (2.5, 4.0)}
k = np.arange(1, 4)
shares = [i[:, None] == k for i, _ in drawn.values()]


def at_each(p):
    return np.concatenate([p(s) for s in drawn])


check(
    "thm-probability-zeta", about="draws", of="draws at each exponent"
).unbiased(
    np.concatenate(shares, 1).astype(float),
    truth=at_each(lambda s: zeta(s, k + 1) / Z_pairs(s)),
    wrong={
        "row begins at i": at_each(lambda s: zeta(s, k) / zeta(s - 1)),
        "marginal is the law of one integer": at_each(
            lambda s: k**-s / zeta(s)
        ),
    },
)

# %%
logs = {"xscale": "log", "yscale": "log"}
many = np.unique(np.geomspace(10, draws, 120).astype(int))
walks = {s: [] for s in drawn}
for s, _ in product(drawn, range(3)):
    i, _ = draw_pairs(s, draws, rng)
    walks[s].append(i.cumsum(dtype=float)[many - 1] / many)

# %% tags=["hide-input"]
figure = figures.blank(3.4)
shape, walk = figure.subplots(1, 2, subplot_kw=logs)
k, seen = np.arange(1, 201), np.array([1, 2, 3, 5, 8, 13, 22, 36, 60, 100])
for s, tone, mark in zip(drawn, (orange, blue), "so", strict=True):
    share = (drawn[s][0][:, None] == seen).mean(0)
    often = share * draws >= 20
    spots = np.stack([seen, share, 2 * (share / draws) ** 0.5])[:, often]
    shape.errorbar(*spots, fmt=mark, color=tone, label=f"s = {s:g}")
    shape.plot(k, zeta(s, k + 1) / Z_pairs(s), color=tone, lw=1.3)
    walk.plot(many, np.transpose(walks[s]), color=tone, lw=1)
walk.text(300, 60, "s = 2.5", color=orange)
walk.text(300, 2.6, "s = 4", color=blue)
walk.axhline(Z_pairs(3) / (2 * Z_pairs(4)), color=dark, ls="--", lw=1.2)
shape.set(xlabel="$i$", ylabel="$p(i)$")
walk.set(xlabel="pairs drawn", ylabel="mean of $i$")
shape.legend(frameon=False)
show(
    figure,
    "Left: the law of one integer (lines), and simulated shares with two "
    "standard errors. Right: the mean so far, in three simulations each. For "
    "s = 4 it settles at the theorem's mean (dashed); for s = 2.5, where the "
    "mean is infinite, it still jumps after thousands of pairs.",
    alt="Left, two falling curves with dots; right, level and jumping lines.",
    label="fig-probability-zeta",
)

# %% [markdown]
# The right half is a warning for later chapters.
# Every mean of draws is finite, and looks like an estimate; only a proof says that there is something to estimate.
#
# Walk through the exponents to see the dependence.
# A large $i$ makes a large $j$ likely: $p(j \mid i)$ is nearly flat as long as $j$ is small beside $i$.

# %% tags=["hide-input"]
exponents = (2.1, 2.5, 3, 3.5, 4, 5, 6)
size, j = np.arange(1, 13), np.geomspace(1, 100, 60)
ticks, box = (1, 4, 8, 12), (0.5, 12.5, 0.5, 12.5)
shades = colormaps["Blues"].resampled(14)


def frame(s):
    """Draw the joint law and three conditional ones."""
    figure = figures.blank(3.0, 6.8)
    figure.get_layout_engine().set(wspace=0.07)
    heat, lines = figure.subplots(1, 2)
    joint = -s * np.log10(size[:, None] + size) - np.log10(Z_pairs(s))
    look = {"vmin": -7, "vmax": 0, "cmap": shades, "origin": "lower"}
    picture = heat.imshow(joint, extent=box, **look)
    figure.colorbar(picture, ax=heat, shrink=0.8, label="$\\log_{10} p(i, j)$")
    heat.set(xlabel="$j$", ylabel="$i$", xticks=ticks, yticks=ticks)
    heat.grid(False)
    for i, tone, dash in ((1, blue, "-"), (4, orange, "--"), (16, green, ":")):
        given = (i + j) ** -s / zeta(s, i + 1)
        lines.plot(j, given, dash, color=tone, label=f"$p(j \\mid i = {i})$")
    lines.set(xscale="log", yscale="log", ylim=(1e-6, 1), xlabel="$j$")
    lines.minorticks_off()
    lines.legend(frameon=False, loc="lower left")
    return figure


# %% tags=["hide-input"]
Explorable(
    [frame(s) for s in exponents],
    [f"{s:g}" for s in exponents],
    "exponent s",
    alt="A heat map of p(i, j) and three falling curves of p(j | i).",
    caption="The joint law and the law of <i>j</i> given <i>i</i>. If the two "
    "were independent, the three curves would be one.",
    start=2,
    live=figures.Live(frame),
)

# %% [markdown]
# (sec-probability-axioms)=
# ## Independence obeys four rules, and a fifth if nothing is impossible
#
# Let $X, Y, W, Z$ be discrete variables, or groups of them; each statement below is about all of their values at once.
# We say that $X$ and $Y$ are *independent given* $Z$, $X \perp Y \mid Z$, if
#
# $$
# p(x, y, z)\, p(z) = p(x, z)\, p(y, z) \quad \text{for all } x, y, z.
# $$ (eq-probability-independent)
#
# Where $p(z) > 0$ this says $p(x, y \mid z) = p(x \mid z)\, p(y \mid z)$; where $p(z) = 0$ both sides are 0, and it says nothing.
# Without $Z$, read $p(z) = 1$.
# The next theorem lets us conclude independence from independence, without looking at a number {cite:p}`dawid1979conditional`.
# Relations that obey its four rules are called semi-graphoids {cite:p}`pearl1988probabilistic`.
#
# :::{prf:theorem} The semi-graphoid axioms
# :label: thm-probability-semigraphoid
# For every law of $X, Y, W, Z$:
#
# - *symmetry*: $X \perp Y \mid Z$ implies $Y \perp X \mid Z$;
# - *decomposition*: $X \perp (Y, W) \mid Z$ implies $X \perp Y \mid Z$;
# - *weak union*: $X \perp (Y, W) \mid Z$ implies $X \perp Y \mid (Z, W)$;
# - *contraction*: $X \perp Y \mid (Z, W)$ and $X \perp W \mid Z$ together imply $X \perp (Y, W) \mid Z$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Symmetry: {eq}`eq-probability-independent` does not change when $x$ and $y$ change places.
# 2. Decomposition: the premise is $p(x, y, w, z)\, p(z) = p(x, z)\, p(y, w, z)$. Sum it over $w$: $p(x, y, z)\, p(z) = p(x, z)\, p(y, z)$.
# 3. Weak union: in the same way the premise, summed over $y$, gives $p(x, w, z)\, p(z) = p(x, z)\, p(w, z)$.
# 4. Multiply the premise by $p(w, z)$ and use step 3 on the right side: $p(x, y, w, z)\, p(w, z)\, p(z)$ equals $p(x, w, z)\, p(y, w, z)\, p(z)$.
# 5. If $p(z) > 0$, divide by it: this is $X \perp Y \mid (Z, W)$. If $p(z) = 0$, both sides of the conclusion are 0, because no probability in it exceeds $p(z)$.
# 6. Contraction: the premises are $p(x, y, w, z)\, p(w, z) = p(x, w, z)\, p(y, w, z)$ and $p(x, w, z)\, p(z) = p(x, z)\, p(w, z)$.
# 7. Multiply the first by $p(z)$ and use the second on the right side: $p(x, y, w, z)\, p(z)\, p(w, z)$ equals $p(x, z)\, p(y, w, z)\, p(w, z)$.
# 8. If $p(w, z) > 0$, divide by it: this is the conclusion. If $p(w, z) = 0$, then $p(x, y, w, z) = p(y, w, z) = 0$, and both sides of the conclusion are 0.
# :::
#
# No sampling here.
# We take *all* laws that are uniform on a non-empty subset of the 16 states of four bits, and count in integers, so that $=$ means equal.


# %%
def margins(count):
    """All margins of tables (laws, ...) by the set of axes that are kept."""
    axes = range(1, count.ndim)
    kept = (frozenset(k) for n in range(count.ndim) for k in subsets(axes, n))
    return {k: count.sum(tuple(set(axes) - k), keepdims=True) for k in kept}


def ci(count, x, y, given=frozenset()):
    """Decide for each table whether x, y are independent given z."""
    left = count[x | y | given] * count[given]
    equal = left == count[x | given] * count[y | given]
    return equal.reshape(len(equal), -1).all(1)


X, Y, W, Z = (frozenset([k]) for k in (1, 2, 3, 4))  # axis 0 counts the laws
support = np.arange(1, 2**16)[:, None] >> np.arange(16) & 1
four_bits = margins(support.reshape(-1, 2, 2, 2, 2).astype(np.int16))


def holds(x, y, given):
    return ci(four_bits, x, y, given)


# %%
true_rules = {
    "symmetry": (holds(X, Y, Z), holds(Y, X, Z)),
    "decomposition": (holds(X, Y | W, Z), holds(X, Y, Z)),
    "weak union": (holds(X, Y | W, Z), holds(X, Y, Z | W)),
    "contraction": (
        holds(X, Y, Z | W) & holds(X, W, Z),
        holds(X, Y | W, Z),
    ),
}
false_rules = {
    "decomposition reversed": (holds(X, Y, Z), holds(X, Y | W, Z)),
    "weak union without W": (holds(X, Y, Z), holds(X, Y, Z | W)),
    "contraction, one premise": (holds(X, Y, Z | W), holds(X, Y | W, Z)),
    "composition": (holds(X, Y, Z) & holds(X, W, Z), holds(X, Y | W, Z)),
    "intersection": (
        holds(X, Y, Z | W) & holds(X, W, Z | Y),
        holds(X, Y | W, Z),
    ),
}
check("thm-probability-semigraphoid", "exhaustive", of="laws").holds(
    np.all([~p | q for p, q in true_rules.values()], axis=0),
    wrong={name: ~p | q for name, (p, q) in false_rules.items()},
)

# %% [markdown]
# A rule whose premises never hold would be true for free.
# So the table says how often they hold, and how often the conclusion then fails.

# %%
results_table(
    [
        {
            "rule": name,
            "premises hold for": int(p.sum()),
            "conclusion fails for": int((p & ~q).sum()),
        }
        for name, (p, q) in {**true_rules, **false_rules}.items()
    ]
)

# %% [markdown]
# Two of the false rules are tempting.
# *Composition* says that if neither $Y$ nor $W$ alone tells anything about $X$, both together tell nothing; it fails for fair independent bits $Y, W$ and $X = Y + W$ modulo 2.
# *Intersection* looks like contraction, but here both premises are conditional.
# It fails too, though not if every combination of states is possible.
#
# :::{prf:theorem} Intersection
# :label: thm-probability-intersection
# Let $p(y, w, z) > 0$ for all $y, w, z$, as it is for every positive law.
# Then $X \perp Y \mid (Z, W)$ and $X \perp W \mid (Z, Y)$ together imply $X \perp (Y, W) \mid Z$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. As $p(y, w, z) > 0$, the law of $X$ given $y, w, z$ exists, and we may divide the first premise by $p(w, z)\, p(y, w, z)$ and the second by $p(y, z)\, p(y, w, z)$: $p(x \mid y, w, z) = p(x \mid w, z)$ and $p(x \mid y, w, z) = p(x \mid y, z)$, for all $x, y, w, z$.
# 2. So $p(x \mid w, z) = p(x \mid y, z)$ for **every** pair $y, w$. Here positivity is needed: a pair that cannot occur would give no equation.
# 3. The left side does not depend on $y$ and the right side not on $w$, so both are a number $k(x, z)$ that depends on neither. By step 1, $p(x \mid y, w, z) = k(x, z)$.
# 4. Multiply by $p(y, w \mid z)$ and sum over $y$ and $w$: $p(x \mid z) = k(x, z)$.
# 5. So $p(x \mid y, w, z) = p(x \mid z)$. Multiply by $p(y, w, z)\, p(z)$: this is $X \perp (Y, W) \mid Z$.
# :::
#
# A value of $Z$ only chooses which law of $X, Y, W$ we look at, so the check leaves it out.
# It takes all laws of three bits whose eight probabilities are proportional to numbers in $\{0, 1, 2, 3\}$, not all of them 0.

# %%
digits = np.arange(1, 4**8)[:, None] >> 2 * np.arange(8) & 3
three_bits = margins(digits.reshape(-1, 2, 2, 2))  # (laws, X, Y, W)
pairs_yw = (three_bits[Y | W] > 0).all((1, 2, 3))
pairs_xy = (three_bits[X | Y] > 0).all((1, 2, 3))
by_w, by_y = ci(three_bits, X, Y, W), ci(three_bits, X, W, Y)
alone = ci(three_bits, X, Y) & ci(three_bits, X, W)
group = ci(three_bits, X, Y | W)
check(
    "thm-probability-intersection",
    kind="exhaustive",
    of="laws of three bits with weights 0 to 3",
).holds(
    ~(pairs_yw & by_w & by_y) | group,
    wrong={
        "without positivity": ~(by_w & by_y) | group,
        "positive pairs x, y instead": ~(pairs_xy & by_w & by_y) | group,
        "one premise is enough": ~(pairs_yw & by_w) | group,
        "premises without conditions": ~(pairs_yw & alone) | group,
    },
)

# %%
positive = (digits > 0).all(1)
cases = {
    "all": np.ones(len(digits), bool),
    "every pair y, w possible": pairs_yw,
    "all states possible": positive,
}
results_table(
    [
        {
            "laws": name,
            "number": int(some.sum()),
            "both premises hold for": int((some & by_w & by_y).sum()),
            "conclusion fails for": int((some & by_w & by_y & ~group).sum()),
        }
        for name, some in cases.items()
    ]
)

# %% [markdown]
# The simplest law that breaks intersection is a coin and two copies of it, $X = Y = W$.
# Given $W$, the value of $X$ is known, and $Y$ adds nothing; given $Y$, it is known too, and $W$ adds nothing: both premises hold.
# But $X$ is not independent of its copies.
# To see how positivity helps, we spoil the copies: with probability $\varepsilon$ all three bits are drawn anew, fair and independent.
# We measure dependence by the *mutual information*
#
# $$
# I(X; Y \mid Z) = \sum_{x, y, z} p(x, y, z) \log \frac{p(x, y, z)\, p(z)}{p(x, z)\, p(y, z)}
# $$ (eq-probability-information)
#
# in nats, with $0 \log 0 = 0$.
# It is the mean over $z$ of the Kullback-Leibler divergence of $p(x, y \mid z)$ from $p(x \mid z)\, p(y \mid z)$, where the divergence of $p$ from $q$ is $\sum p \log \frac pq$.
# By Jensen's inequality such a divergence is never negative, and 0 only if $p = q$; so $I$ is 0 exactly for independence.
# Our law stays the same if $Y$ and $W$ change places, so one of the two premises is enough to draw.

# %%
coin = torch.zeros(2, 2, 2)
coin[0, 0, 0] = coin[1, 1, 1] = 0.5
copies = Table(coin, "XYW")
assert independent(copies, "X", "Y", "W")
assert independent(copies, "X", "W", "Y")
assert not independent(copies, "X", ["Y", "W"])

# %%
spoilt = np.geomspace(1e-6, 1, 60)
nats = []
for e in spoilt:
    law = Table((1 - e) * coin + e / 8, "XYW")
    premise = information(law, "X", "Y", "W")
    nats.append([premise, information(law, "X", ["Y", "W"])])

# %% tags=["hide-input"]
figure = figures.blank(2.8)
first, second, right = figure.subplots(1, 3, width_ratios=[1, 1, 2.4])
figure.get_layout_engine().set(wspace=0.08)
for w, axes in enumerate((first, second)):
    table = coin[:, :, w].numpy()
    told = np.where(table, "½", "0")
    look = {"cmap": "Blues", "vmin": 0, "vmax": 0.8, "cbar": False}
    look |= {"fmt": "", "annot_kws": {"size": 13}, "square": True}
    seaborn.heatmap(table, annot=told, ax=axes, **look)
    axes.set(title=f"W = {w}", xlabel="$y$")
    axes.tick_params(length=0, labelrotation=0)
first.set_ylabel("$x$")
lines = right.plot(spoilt, nats, color=blue)
lines[0].set(color=orange, ls="--", label="premise: $Y$, given $W$")
lines[1].set_label("conclusion: $(Y, W)$")
right.set(xscale="log", xlabel="$\\varepsilon$, share drawn anew")
right.set_ylabel("information about $X$ (nats)")
right.legend(frameon=False, loc="center left")
show(
    figure,
    "Left: the coin with two copies, p(x, y, w). Right: spoilt copies. For "
    "small ε the premise is almost true, and the conclusion is wrong by "
    "almost log 2 = 0.69 nats.",
    alt="Two tables, a half in each; one curve falls late, one stays low.",
    label="fig-probability-copies",
)

# %% [markdown]
# So the theorem is true and still fragile: premises that hold *nearly* do not make the conclusion hold nearly.
# Whoever tests independence on data and then reasons by intersection should remember this figure.
#
# (sec-probability-tables)=
# ## Independence is read off a table by its minors
#
# Given a table of numbers, must we compute all margins to see which variables are independent?
# No: it is enough to look at four numbers at a time, two rows and two columns, whose determinant is called a *minor* of the table.
#
# :::{prf:proposition} Reading a table
# :label: prop-probability-minors
# $X \perp Y \mid Z$ if and only if for all $x, x', y, y', z$
#
# $$
# p(x, y, z)\, p(x', y', z) = p(x, y', z)\, p(x', y, z).
# $$ (eq-probability-minors)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Let {eq}`eq-probability-minors` hold. Sum it over all $x'$ and $y'$. The left side becomes $p(x, y, z)\, p(z)$.
# 2. The right side becomes $p(x, z)\, p(y, z)$, because $y'$ occurs only in its first factor and $x'$ only in its second. That is independence, {eq}`eq-probability-independent`.
# 3. Now let $X \perp Y \mid Z$. If $p(z) = 0$, both sides of {eq}`eq-probability-minors` are 0.
# 4. If $p(z) > 0$, then $p(x, y, z) = p(x, z)\, p(y, z) / p(z)$, and both sides are $p(x, z)\, p(x', z)\, p(y, z)\, p(y', z) / p(z)^2$.
# :::
#
# So: cut the table into slices, one for each $z$; in each slice all minors must be 0.
# Then its rows are proportional.
# A common factor of the whole table changes nothing, so counts do as well as probabilities.
# The check compares the two sides on the same tables of three bits as before, with the third as $Z$.

# %%
n = digits.reshape(-1, 2, 2, 2)
minors = n[:, 0, 0] * n[:, 1, 1] - n[:, 0, 1] * n[:, 1, 0]  # (laws, z)
by_minors, truth = (minors == 0).all(1), ci(three_bits, X, Y, W)
summed = n.sum(3)
collapsed = (
    summed[:, 0, 0] * summed[:, 1, 1] - summed[:, 0, 1] * summed[:, 1, 0]
)
check(
    "prop-probability-minors",
    kind="exhaustive",
    about="given a bit",
    of="laws of three bits with weights 0 to 3",
).holds(
    by_minors == truth,
    wrong={
        "minors of the sum over z": (collapsed == 0) == truth,
        "one slice is enough": (minors == 0).any(1) == truth,
        "minors that add up to 0": (minors.sum(1) == 0) == truth,
    },
)

# %% [markdown]
# A slice of bits has only one minor.
# A second check takes all tables of three by three numbers in $\{0, 1, 2\}$, without $Z$.
# Here one is tempted to look at fewer minors than all nine, at those of neighbours or at those with the first row and column; a row of zeros hides what they miss.

# %%
nine = np.arange(1, 3**9)[:, None] // 3 ** np.arange(9) % 3
nine = nine.reshape(-1, 3, 3)
spots = list(product(subsets(range(3), 2), repeat=2))  # rows, columns
vanish = np.stack(
    [
        nine[:, i, k] * nine[:, j, m] == nine[:, i, m] * nine[:, j, k]
        for (i, j), (k, m) in spots
    ],
    axis=1,  # (tables, minors)
)
near = [j - i == m - k == 1 for (i, j), (k, m) in spots]
first = [i == k == 0 for (i, _), (k, _) in spots]
truth = ci(margins(nine), X, Y)

# %%
check(
    "prop-probability-minors",
    kind="exhaustive",
    about="three values each",
    of="laws of two variables with weights 0 to 2",
).holds(
    vanish.all(1) == truth,
    wrong={
        "neighbours only": vanish[:, near].all(1) == truth,
        "with the first row and column": vanish[:, first].all(1) == truth,
    },
)

# %% [markdown]
# Three tables of small integers; divide by their sums to get laws of three bits.
# Try to read them before you look at the titles.

# %%
read_these = {  # [x][y][z]
    "A": [[[9, 1], [3, 3]], [[3, 3], [1, 9]]],
    "B": [[[7, 1], [3, 5]], [[3, 5], [1, 7]]],
    "C": [[[3, 1], [1, 3]], [[1, 3], [3, 1]]],
}


def written(statement):
    """Write a statement of independence as text."""
    x, y, given = ("".join(sorted(names)) for names in statement)
    return f"{x} ⊥ {y}" + (f" | {given}" if given else "")


laws = {k: Table(n, "XYZ").normalised() for k, n in read_these.items()}
read = {k: sorted(map(written, independencies(p))) for k, p in laws.items()}

# %% tags=["hide-input"]
figure = figures.blank(4.2)
grid = figure.subplots(2, 3)
for k, (name, numbers) in enumerate(read_these.items()):
    n = np.array(numbers)
    for z in range(2):
        axes = grid[z, k]
        look = {"cmap": "Blues", "vmax": 14, "cbar": False, "square": True}
        look["annot_kws"] = {"color": "#111111", "fontsize": 13}
        seaborn.heatmap(n[:, :, z], annot=True, ax=axes, vmin=0, **look)
        minor = n[0, 0, z] * n[1, 1, z] - n[0, 1, z] * n[1, 0, z]
        axes.set_ylabel(f"Z = {z}\n$x$")
        axes.set_xlabel(f"$y$\ndeterminant {minor}".replace("-", "−"))
    grid[0, k].set_title(f"{name}:  " + ", ".join(read[name]))
show(
    figure,
    "Three tables, a slice for each value of Z, and the independencies that "
    "hold in each. Only in A do the determinants of both slices vanish.",
    alt="Three pairs of two by two tables of integers with their "
    "determinants, titled by the independencies that hold.",
    label="fig-probability-tables",
)

# %% [markdown]
# The titles were computed in floating point, by the definition and not by the minors; here are all nine statements about three variables again, in integers.

# %%
counts = margins(np.array(list(read_these.values())))  # (3, 2, 2, 2)
axis = {"X": 1, "Y": 2, "Z": 3}
every = list(statements("XYZ"))
rows = []
for s in sorted(every, key=lambda s: (len(s[1] | s[0]), written(s))):
    verdict = ci(counts, *(frozenset(axis[v] for v in part) for part in s))
    for name, yes in zip(read_these, verdict, strict=True):
        assert yes == (written(s) in read[name])
    marks = {
        k: "yes" if v else "–"
        for k, v in zip(read_these, verdict, strict=True)
    }
    rows.append({"statement": written(s)} | marks)
results_table(rows)

# %% [markdown]
# Table A is what a common cause $Z$ makes: $X$ and $Y$ tell something about one another only because both listen to $Z$.
# Table B is what a common effect makes: $X$ and $Y$ are independent until $Z$ is seen.
# In table C any two variables are independent, and yet each is dependent on the other two together, as in the sum modulo 2.
# No directed graph, the subject of the next chapter, shows all three independencies of C and claims no false one: to show them it must have no arrow at all, and then it claims $X \perp (Y, Z)$ too.
#
# (sec-probability-parameters)=
# ## Structure saves all but a few of a table's numbers
#
# A table of $n$ bits has $2^n$ numbers, which sum to 1.
# The chain rule writes any law as a product, $p(x_1, \dots, x_n) = \prod_v p(x_v \mid x_1, \dots, x_{v-1})$.
# A *structure* shortens it: each variable $v$ gets a set $\mathrm{pa}(v)$ of *parents* among the variables before it, and given them it does not depend on the others before it,
#
# $$
# p(x_1, \dots, x_n) = \prod_{v=1}^n p(x_v \mid x_{\mathrm{pa}(v)}).
# $$ (eq-probability-structure)
#
# Let $v$ have $k_v$ states, and $q_v = \prod_{w \in \mathrm{pa}(v)} k_w$ states of its parents, where an empty product is 1.
# How many numbers can be chosen freely?
# We count them by the rank of the Jacobian of the map from parameters to the $\prod_v k_v$ joint probabilities: the number of directions in which the law can move.
#
# :::{prf:theorem} Free parameters
# :label: thm-probability-parameters
# The map from positive conditional tables to the joint law {eq}`eq-probability-structure` is one-to-one.
# Its Jacobian, with respect to all but the last entry of each row of each table, has everywhere the rank
#
# $$
# m = \sum_{v=1}^n (k_v - 1)\, q_v.
# $$ (eq-probability-parameters)
#
# Without structure, when all variables before $v$ are its parents, $m = \prod_v k_v - 1$; when nobody has parents, $m = \sum_v (k_v - 1)$.
# :::
#
# :::{prf:proof}
# In steps; write $t_v(x_v \mid x_{\mathrm{pa}(v)})$ for the tables:
#
# 1. The table of $v$ has $q_v$ rows of $k_v$ positive numbers that sum to 1. All but the last of a row may move freely in an open set, and fix the last. That makes $m$ parameters in all, so the Jacobian has $m$ columns and at most rank $m$.
# 2. Sum {eq}`eq-probability-structure` over $x_n$, then $x_{n-1}$, down to $x_{v+1}$: each time the last factor sums to 1. So $p(x_1, \dots, x_v) = \prod_{w \le v} t_w$.
# 3. Divide this equation for $v$ by the one for $v - 1$: $t_v(x_v \mid x_{\mathrm{pa}(v)}) = p(x_v \mid x_1, \dots, x_{v-1})$.
# 4. Multiply by $p(x_1, \dots, x_{v-1})$, and sum over all of these but the parents: $t_v(x_v \mid x_{\mathrm{pa}(v)})\, p(x_{\mathrm{pa}(v)}) = p(x_v, x_{\mathrm{pa}(v)})$.
# 5. So each table can be computed from the joint law, as a quotient of sums of its entries with a positive denominator: the map is one-to-one, and its inverse is differentiable.
# 6. Computing parameters $\to$ law $\to$ parameters changes nothing. By the chain rule the product of the two Jacobians is the unit matrix of size $m$, whose rank is $m$. A product has at most the rank of its factors, so the first Jacobian has at least rank $m$.
# 7. Without structure $q_v = k_1 \cdots k_{v-1}$, so $(k_v - 1)\, q_v = k_1 \cdots k_v - k_1 \cdots k_{v-1}$, and the sum telescopes to $k_1 \cdots k_n - 1$.
# 8. Without parents $q_v = 1$.
# :::
#
# The check does not use the parameters of the proof.
# It writes every row as a softmax of $k_v$ numbers, its *logits*.
# These are one too many for each row, as a constant may be added to them, so the rank of the map from the logits to the law must still be $m$.
# Linear algebra finds it for 40 random structures of two to five variables with two to four states.


# %%
def tables_of(logits, parents, sizes):
    """Cut the logits up: a table for each variable, its parents first."""
    shapes = [[sizes[w] for w in [*pa, v]] for v, pa in enumerate(parents)]
    parts = logits.split([prod(shape) for shape in shapes])
    shaped = zip(parts, shapes, strict=True)
    return [part.view(shape).softmax(-1) for part, shape in shaped]


def product_law(tables, parents):
    factors = []
    for v, table in enumerate(tables):
        factors += [table, [*parents[v], v]]
    return torch.einsum(*factors, list(range(len(tables))))


# %%
def random_logits(parents, sizes):
    rows = [prod(sizes[w] for w in pa) for pa in parents]
    return torch.randn(sum(q * k for q, k in zip(rows, sizes, strict=True)))


def directions(parents, sizes):
    """Rank of the map from the logits of all rows to the joint law."""

    def law(logits):
        tables = tables_of(logits, parents, sizes)
        return product_law(tables, parents).flatten()

    J = torch.func.jacfwd(law)(random_logits(parents, sizes))
    return int(torch.linalg.matrix_rank(J, rtol=1e-10))


def random_structure():
    n = int(rng.integers(2, 6))
    top = 5 if n < 5 else 3  # at most 256 joint states
    parents = [[w for w in range(v) if rng.random() < 0.6] for v in range(n)]
    return parents, rng.integers(2, top, n).tolist()


# %%
structures = [random_structure() for _ in range(40)]


def counted(numbers, joined=prod):
    """Sum numbers(k) times the rows of the table over all variables."""
    return np.array(
        [
            sum(
                numbers(sizes[v]) * joined([sizes[w] for w in pa])
                for v, pa in enumerate(parents)
            )
            for parents, sizes in structures
        ]
    )


# %%
check("thm-probability-parameters", about="the count", of="structures").equal(
    left=np.array([directions(*one) for one in structures]),
    right=counted(lambda k: k - 1),
    wrong={
        "rows not normalised": counted(lambda k: k),
        "parents' states added": counted(
            lambda k: k - 1, joined=lambda k: sum(k) or 1
        ),
        "parents ignored": counted(lambda k: k - 1, joined=lambda q: 1),
        "the full table": np.array([prod(k) - 1 for _, k in structures]),
    },
)

# %% [markdown]
# That the map is one-to-one is checked by going back: each table must be the quotient of step 4.

# %%
tables, back, joint_only, turned = [], [], [], []
for parents, sizes in structures:
    logits = random_logits(parents, sizes)
    tables += tables_of(logits, parents, sizes)
    law = product_law(tables[-len(sizes) :], parents)
    for v, pa in enumerate(parents):
        others = [w for w in range(len(sizes)) if w not in (*pa, v)]
        both = law.sum(others) if others else law  # p(parents, v)
        over = list(range(len(pa)))
        back.append(both / both.sum(-1, keepdim=True))
        joint_only.append(both)
        turned.append(both / both.sum(over, keepdim=True) if pa else both)


def flat_list(tables):
    return torch.cat([table.flatten() for table in tables])


# %%
check(
    "thm-probability-parameters", about="the tables", of="rows of tables"
).equal(
    left=flat_list(tables),
    right=flat_list(back),
    wrong={
        "not divided by p(parents)": flat_list(joint_only),
        "divided by p(v) instead": flat_list(turned),
    },
)

# %% tags=["hide-input"]
n = np.arange(1, 41)
many = {
    "all before": 2.0**n - 1,
    "3 before": np.minimum(2.0 ** (n - 1), 8).cumsum(),
    "1 before": np.minimum(2.0 ** (n - 1), 2).cumsum(),
    "no parents": n.astype(float),
}
figure = figures.curves(
    {name: (n, numbers) for name, numbers in many.items()},
    "bits",
    "free parameters",
    scales=("linear", "log"),
)
memory = figure.axes[0]
memory.axhline(16 * 2**30 / 8, color="#777777", lw=1, ls=":")
memory.text(1, 16 * 2**30 / 5, "16 GiB of numbers of 8 bytes", va="bottom")
memory.set_ylim(0.7, 3e12)
show(
    figure,
    "Free parameters of a law of bits, when the parents of a bit are all bits "
    "before it, the three or the one just before it, or none.",
    alt="Four curves over the number of bits, logarithmic: one rises straight "
    "beyond the dotted memory limit, three flatten near one another.",
    label="fig-probability-parameters",
)

# %%
results_table(
    [
        {"parents of a bit": name}
        | {f"{bits} bits": int(many[name][bits - 1]) for bits in (5, 20, 40)}
        for name in many
    ]
)

# %% [markdown]
# (sec-probability-limits)=
# ## Limits
#
# The well has no air in it: in air a stone falls more slowly, so the same three seconds mean a shallower well, and an exercise finds by how much.
# The theorems on densities ask for maps that are smooth and one-to-one; where a map folds, the formula needs a sum over all $x$ that go to the same $y$, and a network with a kink needs care at the kink.
# The axioms are sound, and they are not complete: some implications between independencies are true for every law and do not follow from them, and no finite list of such rules is complete {cite:p}`studeny1992conditional`.
# Equality in a table is an exact notion.
# Counts from the world hardly ever satisfy it, and an exercise shows what to ask of them.

# %% [markdown]
# ## Exercises
#
# ```{exercise-start} Uniform in what?
# :label: ex-probability-well
# ```
# (Derive.) Now let the *fall time* be uniform between $u_0 = 1$ s and $u_1 = 3.5$ s.
# Derive the densities of the depth and of the heard time, and compare both with simulated stones.
# Someone says: "I know nothing about the well, so I take the uniform law." What do you answer?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-well
# :class: dropdown
# ```
# With $u = \sqrt{2 x / a}$, $\frac{du}{dx} = 1 / \sqrt{2 a x}$, so $f_X(x) = \frac{1}{(u_1 - u_0) \sqrt{2 a x}}$.
# By step 5 of {prf:ref}`prop-probability-well`, $\frac{du}{dt} = \frac1r$, so $f_T(t) = \frac{1}{(u_1 - u_0)\, r}$.
# The answer: uniform in *what*?
# Ignorance of the depth and ignorance of the time are different laws.
# A density means nothing without its variable, and no law is uniform in all of them.

# %%
u0, u1 = 1.0, 3.5
u = rng.uniform(u0, u1, draws)
x = a * u**2 / 2
x0, x1 = a * u0**2 / 2, a * u1**2 / 2
t0, t1 = u0 + x0 / c, u1 + x1 / c
gaps = {
    "depth": distance(
        x, lambda x: 1 / (u1 - u0) / (2 * a * x) ** 0.5, (x0, x1)
    ),
    "heard time": distance(
        u + x / c, lambda t: 1 / (u1 - u0) / r(t), (t0, t1)
    ),
    "depth, as if uniform": distance(
        x, lambda x: 1 / (x1 - x0) + 0 * x, (x0, x1)
    ),
}
assert gaps["depth"] < allowed and gaps["heard time"] < allowed
assert gaps["depth, as if uniform"] > allowed
results_table(
    [
        {"density": name, "largest gap": gap, "allowed": allowed}
        for name, gap in gaps.items()
    ]
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The floor of the well
# :label: ex-probability-disc
# ```
# (Derive.) Seen from above, the floor of a well is the disc $x^2 + y^2 \le 1$, in metres.
# Stones are dropped from the middle of its top, the air moves them aside, and they land with the density $f(x, y) = \alpha\, e^{\sqrt{x^2 + y^2}}$.
#
# (a) Find $\alpha$.
# (b) How probable is a landing at most $\tfrac14$ m from the middle? And one between $\tfrac12$ and $\tfrac34$ m from it?
# (c) Are $X$ and $Y$ independent? Answer without a marginal or a conditional density.
# (d) Let $R = \sqrt{X^2 + Y^2}$ and $\Theta = \mathrm{atan2}(Y, X)$. Find the density $f_{R, \Theta}$ whose integral over $S$ is $P((R, \Theta) \in S)$.
# (e) Are $R$ and $\Theta$ independent, and why?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-disc
# :class: dropdown
# ```
# (d) comes first.
# As in {eq}`eq-probability-polar`, $h(r, \theta) = (r \cos \theta,\ r \sin \theta)$ has $|\det J_h| = r$, so $f_{R, \Theta}(r, \theta) = \alpha\, r\, e^r$ for $0 < r < 1$, $-\pi < \theta < \pi$; the ray that was left out has probability 0.
#
# (a) It integrates to 1: $2 \pi \alpha \int_0^1 r e^r dr = 2 \pi \alpha\, \big[(r - 1)\, e^r\big]_0^1 = 2 \pi \alpha$, so $\alpha = \frac{1}{2 \pi}$.
#
# (b) $P(R \le r) = 1 - (1 - r)\, e^r$. At $\tfrac14$ this is $1 - \tfrac34 e^{1/4}$, and between $\tfrac12$ and $\tfrac34$ lies $\tfrac12 e^{1/2} - \tfrac14 e^{3/4}$.
#
# (c) No. $X > 0.8$ is possible and so is $Y > 0.8$, but both together lie outside of the disc: $0 \ne P(X > 0.8)\, P(Y > 0.8)$. A support that is not a product of two sets is enough.
#
# (e) Yes: $\frac{1}{2 \pi} \cdot r e^r$ is a product of a function of $\theta$ and one of $r$, on a product of two intervals. $\Theta$ is uniform and $R$ has the density $r e^r$. The same stones are dependent in one pair of coordinates and independent in another.
#
# The cell knows nothing of polar coordinates: it adds up small squares, and drops stones by rejection.

# %%
middle = (np.arange(-1000, 1000) + 0.5) / 1000  # of small squares
radius = np.hypot(middle[:, None], middle)
mass = np.where(radius <= 1, np.exp(radius), 0) / 1e6
alpha = 1 / mass.sum()
near = alpha * mass[radius <= 0.25].sum()
ring = alpha * mass[(radius >= 0.5) & (radius <= 0.75)].sum()
assert abs(alpha * 2 * np.pi - 1) < 1e-3
assert abs(near - (1 - 0.75 * np.exp(0.25))) < 1e-3
assert abs(ring - (np.exp(0.5) / 2 - np.exp(0.75) / 4)) < 1e-3
print(f"α = {alpha:.4f}, near {near:.4f}, ring {ring:.4f}")

# %%
spot = rng.uniform(-1, 1, (3 * draws, 2))
length = np.hypot(*spot.T)
landed = (length <= 1) & (rng.random(3 * draws) < np.exp(length - 1))
spot, length = spot[landed][:draws], length[landed][:draws]
angle = np.arctan2(*spot.T[::-1])
assert len(spot) == draws and not (spot > 0.8).all(1).any()  # (c)
assert distance(length, lambda r: r * r.exp(), (0, 1)) < allowed
assert distance(length, lambda r: r.exp() / (np.e - 1), (0, 1)) > allowed
edges = [
    np.quantile(length, np.linspace(0, 1, 5)),
    np.linspace(-np.pi, np.pi, 5),
]
share = np.histogram2d(length, angle, edges)[0] / draws  # (e): all 1/16
assert abs(share * 16 - 1).max() < 5 * (16 / draws) ** 0.5
print("of sixteen equal parts in r and θ:", share.min(), "to", share.max())

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Finite row by row, infinite in all
# :label: ex-probability-zeta
# ```
# (Derive.) For the law {eq}`eq-probability-pairs`, compute $P(i = j)$, and the mean of $j$ given $i$.
# For which $s$ is this conditional mean finite?
# Compare with the mean of $j$ without condition.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-zeta
# :class: dropdown
# ```
# $P(i = j) = \frac{1}{Z(s)} \sum_i (2 i)^{-s} = \frac{2^{-s} \zeta(s)}{Z(s)}$.
# With $j = (i + j) - i$, $\E(j \mid i) = \frac{\zeta(s - 1, i + 1)}{\zeta(s, i + 1)} - i$, which is finite for every $s > 2$.
# So for $2 < s \le 3$ the mean given *any* $i$ is finite, and the mean without condition is not.
# It is the sum of $p(i)\, \E(j \mid i)$, infinitely many finite parts: for large $i$, $\E(j \mid i)$ is near $\frac{i}{s - 2}$ (replace both sums by integrals), $p(i)$ falls like $i^{1 - s}$, and $\sum_i i \cdot i^{1 - s}$ is infinite.

# %%
i, j = np.indices((1000, 1000)) + 1
for s in (4.5, 6.0):
    p = (i + j) ** -s / Z_pairs(s)
    same = 2**-s * zeta(s) / Z_pairs(s)
    given = zeta(s - 1, i[:, 0] + 1) / zeta(s, i[:, 0] + 1) - i[:, 0]
    np.testing.assert_allclose(np.trace(p), same, rtol=1e-9)
    near = (p * j).sum(1)[:5] / p.sum(1)[:5]
    np.testing.assert_allclose(near, given[:5], rtol=1e-4)
k = np.array([1, 10, 100, 1000])
mean = zeta(1.5, k + 1) / zeta(2.5, k + 1) - k
assert abs(mean[-1] / (k[-1] / 0.5) - 1) < 0.01  # i / (s - 2)
print("s = 2.5; i =", k, " mean of j given i:", mean.round(1))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A power for each pair
# :label: ex-probability-powers
# ```
# (Derive.) Let $p(i, n) = \alpha\, (1 / i)^n$ for $i, n \in \{2, 3, \dots\}$.
#
# (a) Find $\alpha$.
# (b) Find both marginal laws. Which has a finite mean?
# (c) Find both conditional laws.
# (d) Are $i$ and $n$ independent?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-powers
# :class: dropdown
# ```
# (a) Sum over $n$ first, a geometric series: $\sum_{n \ge 2} i^{-n} = \frac{i^{-2}}{1 - 1 / i} = \frac{1}{i (i - 1)} = \frac{1}{i - 1} - \frac1i$.
# Its sum over $i \ge 2$ telescopes to 1, so $\alpha = 1$.
#
# (b) By (a) $p(i) = \frac{1}{i (i - 1)}$, whose mean $\sum \frac{1}{i - 1}$ is infinite.
# Summing over $i$ in its place, $p(n) = \zeta(n) - 1$.
# As probabilities sum to 1, so do the numbers $\zeta(2) - 1, \zeta(3) - 1, \dots$
# The mean of $n$ is finite: by (c), given $i$, $n - 1$ counts the throws until an event of probability $1 - \frac1i$, so $\E(n \mid i) = 1 + \frac{i}{i - 1} \le 3$.
#
# (c) $p(i \mid n) = \frac{i^{-n}}{\zeta(n) - 1}$ and $p(n \mid i) = i (i - 1)\, i^{-n}$.
#
# (d) No: $p(n \mid i)$ depends on $i$. Or by {prf:ref}`prop-probability-minors`: $p(2, 2)\, p(3, 3) = \frac{1}{108}$ and $p(2, 3)\, p(3, 2) = \frac{1}{72}$.

# %%
i, n = np.arange(2, 2002.0), np.arange(2, 80.0)
table = i[:, None] ** -n
np.testing.assert_allclose(table.sum(1), 1 / (i * (i - 1)), rtol=1e-12)
assert abs(table.sum() - (1 - 1 / i[-1])) < 1e-12  # the rest telescopes
np.testing.assert_allclose(table.sum(0)[3:], zeta(n[3:], 2), rtol=1e-8)
above = np.floor(1 / rng.uniform(size=draws)) + 1  # P(i > m) = 1 / m
power = 1 + rng.geometric(1 - 1 / above)
for k in (2, 3, 4):
    truth = zeta(k, 2)  # zeta(k) - 1
    error = (truth * (1 - truth) / draws) ** 0.5
    assert abs((power == k).mean() - truth) < 4.5 * error
assert not np.isclose(table[0, 0] * table[1, 1], table[0, 1] * table[1, 0])
mean = (n * zeta(n, 2)).sum()
print(f"E n = {mean:.4f}; of the draws {power.mean():.4f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The smallest counter-example
# :label: ex-probability-graphoid
# ```
# (Derive.) Prove the *chain* form of contraction and weak union: $X \perp (Y, W) \mid Z$ holds **if and only if** $X \perp W \mid Z$ and $X \perp Y \mid (Z, W)$.
# Then find, for each of the five false rules of the chapter, a counter-example with as few possible states as you can.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-graphoid
# :class: dropdown
# ```
# From left to right: decomposition (with $Y$ and $W$ exchanged) gives the first part and weak union the second; from right to left it is contraction.
# For the second part the code searches all laws that are uniform on a subset of the 16 states, so among these no counter-example is smaller than the one shown.

# %%
states = list(product("01", repeat=4))
chain = holds(X, W, Z) & holds(X, Y, Z | W)
assert (chain == holds(X, Y | W, Z)).all()
smallest = []
for name, (p, q) in false_rules.items():
    broken = np.flatnonzero(p & ~q)
    best = broken[support[broken].sum(1).argmin()]
    cells = ["".join(states[k]) for k in np.flatnonzero(support[best])]
    smallest.append({"rule": name, "equally likely x y w z": ", ".join(cells)})
results_table(smallest)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A product of two tables
# :label: ex-probability-factor
# ```
# (Derive.) Let $P(a, b, c) = \phi(a, b)\, \psi(a, c)$ for discrete variables, with $\phi, \psi > 0$.
# Prove that $B$ and $C$ are independent given $A$.
# Is the positivity needed? Is every law with $B \perp C \mid A$ of this form?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-factor
# :class: dropdown
# ```
# Sum over $c$, over $b$, and over both: $P(a, b) = \phi(a, b) \sum_c \psi(a, c)$, $P(a, c) = \psi(a, c) \sum_b \phi(a, b)$ and $P(a) = \sum_b \phi(a, b) \sum_c \psi(a, c)$.
# Multiply: $P(a, b, c)\, P(a) = P(a, b)\, P(a, c)$, which is {eq}`eq-probability-independent`.
# Nothing was divided, so zeros are allowed.
# And yes: $\phi(a, b) = P(a, b)$ and $\psi(a, c) = P(c \mid a)$ will do, with any law in rows where $P(a) = 0$.
# This is the smallest case of a theorem on graphs ({prf:ref}`thm-mn-global`), with the graph $B - A - C$.

# %%
phi, psi = rng.integers(0, 4, (2, 5000, 2, 2))  # zeros too
law = np.einsum("lxy,lxw->lxyw", phi, psi)  # A, B, C are the axes X, Y, W
law = margins(law[law.sum((1, 2, 3)) > 0])
assert ci(law, Y, W, X).all()
print(f"dependent without A: {1 - ci(law, Y, W).mean():.0%} of the laws")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Nine counts
# :label: ex-probability-counts
# ```
# (Recall.) Let $A \in \{0, 1, 2\}$, $B \in \{1, 2, 3, 4\}$ and $C \in \{2, 3\}$.
# What is the least number of free parameters of a table of
# (a) $P(A, B, C)$; (b) $P(A \mid B)$; (c) $P(B \mid A)$; (d) $P(A \mid B, C)$; (e) $P(C \mid A, B)$; (f) $P(A, B \mid C)$;
# (g) $P(A, B, C)$, if the three are independent; (h) $P(A, B, C)$, if $B \perp C \mid A$?
# Give the reason for each.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-counts
# :class: dropdown
# ```
# A conditional table has a row for each state behind the bar, and a row that sums to 1 has one free number less than cells.
# (a) $24 - 1 = 23$.
# (b) $4 \cdot 2 = 8$.
# (c) $3 \cdot 3 = 9$ (the sheet asks this one twice; perhaps another pair was meant).
# (d) $8 \cdot 2 = 16$.
# (e) $12 \cdot 1 = 12$.
# (f) $2 \cdot (12 - 1) = 22$: a row is a law of the pair.
# (g) $2 + 3 + 1 = 6$.
# (h) $P(A)\, P(B \mid A)\, P(C \mid A)$ has $2 + 3 \cdot 3 + 3 \cdot 1 = 14$.
# That no smaller number is enough is {prf:ref}`thm-probability-parameters`; the cell counts directions, for a conditional table those of its rows.

# %%
kinds = {"A": 3, "B": 4, "C": 2}


def of_rows(names, given):
    """Rank of the map from the logits of all rows to a conditional table."""
    shape = [prod(kinds[v] for v in part) for part in (given, names)]
    J = torch.func.jacfwd(lambda x: x.softmax(-1).flatten())(
        torch.randn(shape)
    )
    return int(torch.linalg.matrix_rank(J.flatten(1), rtol=1e-10))


sizes = list(kinds.values())
counted_by_rank = {
    "P(A, B, C)": directions([[], [0], [0, 1]], sizes),
    **{f"P({x} | {y})": of_rows(x, y) for x, y in ("AB", "BA")},
    "P(A | B, C)": of_rows("A", "BC"),
    "P(C | A, B)": of_rows("C", "AB"),
    "P(A, B | C)": of_rows("AB", "C"),
    "P(A, B, C), independent": directions([[], [], []], sizes),
    "P(A, B, C), B ⊥ C | A": directions([[], [0], [0]], sizes),
}
assert [*counted_by_rank.values()] == [23, 8, 9, 16, 12, 22, 6, 14]
results_table([{"table": k, "free": v} for k, v in counted_by_rank.items()])

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A doctor's table
# :label: ex-probability-parameters
# ```
# (Recall.) A disease with 5 values is to be found from 10 symptoms that are present or absent.
# How many free parameters has the full joint table?
# How many are left if the symptoms are independent given the disease? And if, besides, each symptom after the first also depends on the one before it?
# Would you rather have fewer parameters or fewer assumptions?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-parameters
# :class: dropdown
# ```
# Full: $5 \cdot 2^{10} - 1$.
# Given the disease: $4$ for the disease and $5$ for each symptom.
# With the symptom before it: $4 + 5 + 9 \cdot 5 \cdot 2$.
# The last question has no answer without data: fewer parameters are estimated better, and fewer assumptions are wrong less often.
# The ranks below are for the same questions about 4 symptoms, where the Jacobian is small.

# %%
disease, symptoms = 5, 10
full = disease * 2**symptoms - 1
alone = (disease - 1) + symptoms * disease
linked = (disease - 1) + disease + (symptoms - 1) * disease * 2
sizes = [5, 2, 2, 2, 2]
assert directions([[], [0], [0], [0], [0]], sizes) == 4 + 4 * 5
assert directions([[], [0], [0, 1], [0, 2], [0, 3]], sizes) == 4 + 5 + 3 * 10
assert directions([list(range(v)) for v in range(5)], sizes) == 5 * 2**4 - 1
print(f"full: {full:,}; given the disease: {alone}; linked: {linked}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Nearly independent
# :label: ex-probability-decimal
# ```
# (Measure.) Two variables have the joint law
#
# | $m$ | $n$ | $p(m, n)$ |
# | --: | --: | --: |
# | −1 | 1 | 0.04 |
# | −1 | 2 | 0.06 |
# | 0 | 1 | 0.05 |
# | 0 | 2 | 0.08 |
# | 1 | 1 | 0.30 |
# | 1 | 2 | 0.47 |
#
# Find $p(m)$ and $p(n)$, and the conditional laws $p(m \mid n)$ and $p(n \mid m)$.
# Are the two independent, and why?
# About how many draws would show it? (Use the test of the next exercise, at 5 %.)
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-decimal
# :class: dropdown
# ```
# Sums of rows and of columns give $p(m) = (0.10, 0.13, 0.77)$ and $p(n) = (0.39, 0.61)$; divided by them, the table gives the conditional laws that the cell prints.
# They are dependent: a minor is not 0, $0.04 \cdot 0.08 - 0.06 \cdot 0.05 = 0.0002$, so $p(n \mid m)$ changes with $m$.
# But no entry misses the product of its margins by more than 0.001.
# $2 N I$ exceeds the limit of the $\chi^2$ law with $(3 - 1)(2 - 1) = 2$ degrees of freedom only for about $N = \chi^2_{0.95} / 2 I$ draws.
# (The sheet announces the values 1, 2, 3 for both variables; its table has those above.)

# %%
states = {"m": ["−1", "0", "1"], "n": ["1", "2"]}
law = Table([[0.04, 0.06], [0.05, 0.08], [0.30, 0.47]], states)
print(
    "p(m | n), a row for each n:",
    law.conditional("m", "n").values.numpy().round(4),
)
print(
    "p(n | m), a row for each m:",
    law.conditional("n", "m").values.numpy().round(4),
)
alone = law.marginal("m").values[:, None] * law.marginal("n").values
off = (law.values - alone).abs().max().item()
nats_of = information(law, "m", "n")
needed = -log(0.05) / nats_of  # chi^2 with 2 degrees: P = exp(-x / 2)
assert not independent(law, "m", "n") and off < 0.00101
assert abs(chdtrc(2, 2 * needed * nats_of) - 0.05) < 1e-9
print(f"off by {off:.4f}; I = {nats_of:.2e} nats; about {needed:,.0f} draws")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Which treatment is better?
# :label: ex-probability-simpson
# ```
# (Measure.) Two treatments $T$ of kidney stones, the size $Z$ of the stone, and success $S$ {cite:p}`charig1986comparison,julious1994confounding`.
# Open surgery succeeded with 81 of 87 small and 192 of 263 large stones, keyhole surgery with 234 of 270 small and 55 of 80 large ones.
# Which treatment succeeds more often in all, and which for each size?
# Which of the nine independencies between $T$, $Z$ and $S$ are compatible with these counts?
# Use that for $n$ patients $2 n I$, with $I$ of {eq}`eq-probability-information` computed from the shares, is nearly a $\chi^2$ variable if $X \perp Y \mid Z$ holds, with $(k_x - 1)(k_y - 1) k_z$ degrees of freedom, where $k$ counts the states of each group of variables.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-simpson
# :class: dropdown
# ```
# Keyhole surgery is ahead in all, and open surgery for each size: the order reverses, because open surgery got most of the large stones, which are harder.
# None of the nine holds exactly in the counts; the question for data is whether they are further from it than chance would bring them.
# The p-value is the probability of a $2 n I$ at least as large if the statement holds.
# At the level of 1 % two statements survive, $T \perp S$ and $T \perp S \mid Z$: these counts do not show that either treatment is better.

# %%
good = np.array([[81, 192], [234, 55]])  # treatment (open, keyhole) x size
bad = np.array([[87, 263], [270, 80]]) - good
patients = np.stack([bad, good], -1)
law = Table(patients / patients.sum(), "TZS")
one = margins(patients[None])
rows = []
for x, y, given in every:
    axes = (frozenset(axis[v] for v in part) for part in (x, y, given))
    assert not ci(one, *axes)
    swap = {"X": "T", "Y": "Z", "Z": "S"}
    x, y, given = ({swap[v] for v in part} for part in (x, y, given))
    freedom = (2 ** len(x) - 1) * (2 ** len(y) - 1) * 2 ** len(given)
    g2 = 2 * patients.sum() * information(law, x, y, given)
    row = {"statement": written((x, y, given)), "2nI": g2}
    rows.append(row | {"degrees": freedom, "p-value": chdtrc(freedom, g2)})
by_size = good / (good + bad)
overall = good.sum(1) / (good + bad).sum(1)
assert overall[0] < overall[1] and (by_size[0] > by_size[1]).all()
kept = {row["statement"] for row in rows if row["p-value"] > 0.01}
assert kept == {"T ⊥ S", "T ⊥ S | Z"}
results_table(sorted(rows, key=lambda row: -row["p-value"]))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Does air matter?
# :label: ex-probability-air
# ```
# (Derive.) Air slows a round stone of radius $R$ by a force that grows with the square of its speed.
# It then never exceeds the speed $w$ with $w^2 = \frac{8 R \rho_s a}{3 C \rho_a}$, and after $u$ seconds the depth is $x(u) = \frac{w^2}{a} \log \cosh \frac{a u}{w}$.
# Here $C = 0.47$ is the drag coefficient of a sphere, and $\rho_s = 2600$ and $\rho_a = 1.2$ kg/m³ are the densities (of mass) of stone and of air.
# Find the depth that belongs to 3.00 s for radii of 0.5, 1, 3 and 10 cm.
# Which is the larger error, to neglect the air or to neglect the time of the sound?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-air
# :class: dropdown
# ```
# Both errors have the same sign: each makes the well look deeper than it is.
# Solve $u + x(u) / c = 3.00$ for $u$ by bisection.
# At a radius of one centimetre the air counts slightly more than the sound; at ten, much less.


# %%
def with_air(u, radius):
    """Metres that a stone falls through air in u seconds."""
    w = (8 * radius * 2600 * a / (3 * 0.47 * 1.2)) ** 0.5
    return w**2 / a * torch.log(torch.cosh(a * u / w))


def depth_in_air(t, radius):
    u = bisect(lambda u: u + with_air(u, radius) / c, t, 0, 3)
    return with_air(u, radius)


rows, three = [], torch.tensor([3.0])
sound = a * 9 / 2 - depth_of(3.0)
for radius in (0.005, 0.01, 0.03, 0.1):
    x = depth_in_air(three, radius).item()
    row = {"radius, cm": 100 * radius, "depth, m": x}
    row["error without air, m"] = depth_of(3.0) - x
    rows.append(row | {"error without sound, m": sound})
air = [row["error without air, m"] for row in rows]
assert air[1] > sound > air[2] and air[3] < sound / 4
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Which sets of independencies exist? (open)
# :label: ex-probability-open
# ```
# (Open.) For four variables there are 55 statements of independence, so $2^{55}$ sets of them.
# Which of these sets are *all* that hold in some law?
# Count those that occur among the uniform laws on subsets of four bits, and find others.
# For four variables with any numbers of states the list is known {cite:p}`matus1999conditional`; we know of no complete answer for five.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-probability-open
# :class: dropdown
# ```
# A first answer: the uniform laws on subsets give the first number below.
# The second counts sets that differ only in the names of the four variables as one: of the 24 forms that a set takes when the variables change names, the code keeps the least.
# Which sets do laws that are not uniform add, for instance the random networks of the next chapter?
# Which can the axioms rule out?

# %%
order = list(statements((1, 2, 3, 4)))
facts = np.stack([ci(four_bits, *s) for s in order], 1)
patterns = np.unique(facts, axis=0)  # a row of 55 answers for each set
place = {(frozenset((x, y)), z): k for k, (x, y, z) in enumerate(order)}
forms = []  # each form as bytes, which can be compared
for new in permutations((1, 2, 3, 4)):
    moved = [[frozenset(new[v - 1] for v in p) for p in s] for s in order]
    columns = [place[frozenset((x, y)), z] for x, y, z in moved]
    forms.append(list(map(bytes, patterns[:, columns])))
least = {min(of_one_set) for of_one_set in zip(*forms, strict=True)}
assert len(least) < len(patterns) <= 24 * len(least)
print(f"{len(patterns):,} sets of independencies")
print(f"{len(least):,} up to the names of the variables")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## How deep it is
#
# The stone has fallen, and the stopwatch shows 3.00 seconds.

# %% tags=["hide-input"]
depth, metres_per_second = depth_of(3.0), c * (1 - 1 / r(3.0))
first, last = heard(ends).tolist()
growth = (1 - 1 / r(last)) / (1 - 1 / r(first))
Markdown(
    f"By the formula for the depth, the water is **{depth:.1f} m** down: "
    f"{fall(depth):.2f} s of fall and {depth / c:.2f} s of sound. "
    f"Without the sound we would say {a * 9 / 2:.1f} m. "
    f"The slope of the inverse map there is {metres_per_second:.1f} m/s, so a "
    f"thumb that is 0.1 s late is {metres_per_second / 10:.1f} m off.\n\n"
    f"Before the fall we had to expect a time between {first:.2f} and "
    f"{last:.2f} s, and no, not every time was as likely: from the first to "
    f"the last the density grows by a factor of {growth:.1f}."
)

# %% [markdown]
# {prf:ref}`prop-probability-well` and its figure say why.
# The slope that turns an error of the thumb into an error of the depth is the slope that multiplies densities: where a second of time covers many metres of well, many wells sound alike, and the density of the heard time is high.
# One derivative tells what a measurement is worth and how likely it was.
# The tables of this chapter have no slopes; in their place are the zeros of their determinants, which say what a variable is worth for another.
# The next chapter draws them as a graph.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
