# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:elbo)=
# # The evidence lower bound (ELBO)
#
# *How much does a VAE lose by bounding?*
#
# A camera watches the hand of a robot's arm.
# It sees where the hand is, with a little noise, and never the joints.
# How probable is what it has just seen?
#
# With two joints we can answer: try every pair of angles on a fine grid, and add up.
# With thirty joints there are more grid points than atoms in the Earth.
# A variational autoencoder (VAE) easily has thirty hidden numbers, and it reports an answer at once; but what it reports is a bound, a number below the truth.
# Is it a nat (the unit of a natural logarithm) below, or a hundred?
# This chapter builds the bound out of the failures that made it necessary, on models so small that the truth is known, and measures what is lost.
#
# :::{admonition} You will learn to
# - say why the likelihood of a latent variable model cannot be summed or averaged out, with exact costs;
# - derive the evidence lower bound (ELBO) by three routes, and its gap;
# - differentiate a mean with respect to the law it is taken under, and say when that is quieter than the score;
# - split what is lost into a part of the family and a part of the network;
# - tighten the bound with more draws, and prove that it grows and where it ends;
# - recognise the linear VAE as probabilistic PCA, and a proposal that is too narrow.
#
# You need: Gaussian densities, Jensen's inequality, and {ref}`variational inference <ch:variational-inference>` for another view of the same bound.
# :::

# %% tags=["parameters"]
seed: int = 0
draws: int = 4_096  # for each x, where chance measures; 16 or more

# %% tags=["hide-input"]
import math
import time

import numpy as np
import torch
from IPython.display import Markdown
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from torch.distributions import MultivariateNormal, Normal

from companion import figures
from companion.claims import check
from companion.figures import Explorable, Sketch, results_table, show
from companion.figures.style import DASHES, MARKERS, PALETTE
from companion.maths import gaussian_kl, log_mean_exp
from companion.metrics import mean_of
from companion.words import at_least

at_least(16, draws=draws)
torch.set_default_dtype(torch.float64)
torch.distributions.Distribution.set_default_validate_args(False)  # speed
standard = Normal(torch.tensor(0.0), 1.0)

# %% tags=["hide-input"]
sketch = Sketch(360, 206)
for name, y, wide, told in (
    ("log p(x)", 24, 264, "log p(x), the truth"),
    ("bound", 78, 196, "bound with one draw"),
    ("more", 132, 240, "bound with S draws"),
):
    lit = name == "log p(x)"
    sketch.node(name, 20 + wide / 2, y, told, size=(wide, 26), lit=lit)
sketch.node("gap", 250, 78, "KL", size=(68, 26), shaded=True)
sketch.node("rest", 272, 132, "", size=(24, 26), shaded=True)
sketch.line((284, 12), (284, 150), dashed=True, lit=True)
sketch.words(322, 82, "the gap", small=True)
sketch.words(322, 136, "smaller", small=True)
sketch.node("fit", 150, 184, "", size=(260, 26))
sketch.words(116, 188.5, "fit, E log p(x | z)")
sketch.node("rate", 248, 184, "− rate", size=(64, 26), shaded=True)
sketch.line((216, 91), (216, 171), dashed=True)
sketch.show(
    "The bound as bars. What is missing to log p(x) is a divergence, from q "
    "to the posterior. More draws make it smaller. Below: the bound with one "
    "draw is the fit less the rate.",
    alt="Four bars. The longest ends at log p of x; the bound ends before "
    "it, and the rest is a divergence; with S draws the rest is smaller; the "
    "bound is a longer bar, the fit, less a part, the rate.",
    label="fig-elbo-idea",
)

# %% [markdown]
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $x$ | what is seen | $(B, D)$ | `x` |
# | $z$ | what is not: the code, $K$ numbers | $(B, K)$ | `z` |
# | $p(z),\ p(x \mid z)$ | prior $\mathcal N(0, I)$ and decoder | | `standard`, `see` |
# | $q(z)$ or $q(z \mid x)$ | proposal, encoder | | `q` |
# | $w = p(x, z) / q(z)$ | importance weight of a draw $z \sim q$ | | `log_w` |
# | $S$ | draws for one $x$ (in the literature often $K$) | | `S` |
# | $\mathcal L = \mathcal L_1$, $\mathcal L_S$ | the bound with one draw, with $S$ | nats | `bound` |
# | $W, s$ | linear decoder and its noise | $(D, K)$ | `W`, `s` |

# %% [markdown]
# (sec-elbo-sum)=
# ## Direct maximum likelihood needs a sum that multiplies with every joint
#
# The arm has $K$ links of length $1 / K$.
# Joint $k$ turns by $1.2\, z_k$ against the link before it, the prior is $z \sim \mathcal N(0, I)$, and the camera adds noise of scale 0.1 to each coordinate of the hand.
# So $p(x \mid z)$ is a Gaussian around a nonlinear function of $z$: a decoder like that of any VAE, but for its weights, which we know.


# %%
def arm(z):
    """The hand (..., 2) of an arm whose K joints are at z (..., K)."""
    angle = (1.2 * z).cumsum(-1)  # each joint turns all links after it
    return torch.stack([angle.cos().mean(-1), angle.sin().mean(-1)], -1)


def log_joint(x, z, see=arm):
    """log p(x, z) = log p(z) + log p(x | z)."""
    fit = Normal(see(z), 0.1).log_prob(x).sum(-1)
    return standard.log_prob(z).sum(-1) + fit


def grid(K, n=101, reach=5.0):
    """All codes of a grid (n^K, K), and the log-volume of one cell."""
    ticks = torch.linspace(-reach, reach, n)
    z = torch.cartesian_prod(*[ticks] * K).view(-1, K)
    return z, K * math.log(2 * reach / (n - 1))


# %% [markdown]
# To fit a model to data by maximum likelihood we need $p(x) = \int p(z)\, p(x \mid z)\, dz$ for every $x$, again after every step.
# On a grid of 101 values for each joint the integral is a sum, and for smooth integrands a very accurate one.
# We time it for one to three joints; below that, the time that the last measured speed predicts.

# %%
rows, x = [], torch.tensor([0.6, 0.3])
for K in (1, 2, 3):
    begun = time.perf_counter()
    z, cell = grid(K)
    value = (log_joint(x, z).logsumexp(0) + cell).item()
    seconds = time.perf_counter() - begun
    row = {"joints": str(K), "terms": f"{len(z):.3g}", "log p(x)": value}
    rows.append(row | {"seconds": f"{seconds:.2g}"})
    speed = len(z) / seconds
for K in (5, 10, 30):
    row = {"joints": f"{K} (not run)", "terms": f"{101.0**K:.2g}"}
    rows.append(row | {"seconds": f"{101.0**K / speed:.1g}"})
results_table(rows)

# %% [markdown]
# A year has $3 \times 10^7$ seconds.
# No grid will do; a rule with fewer values for each joint makes the base smaller, not the exponent.
#
# (sec-elbo-naive)=
# ## Draws from the prior are unbiased, and useless beyond a few informative dimensions
#
# $p(x) = \mathbb E_{z \sim p(z)}\, p(x \mid z)$ is a mean, so we may average over draws instead: *naive Monte Carlo*.
# It is unbiased in any dimension, and each draw is cheap.
# How many do we need?
# For a linear decoder the answer is exact.
#
# :::{prf:theorem} The variance of naive Monte Carlo
# :label: thm-elbo-naive
# Let $z \sim \mathcal N(0, I_K)$ and $p(x \mid z) = \mathcal N(Wz, s^2 I_D)$ with $K \le D$.
# Let $W$ have singular values $s \sqrt{\rho_k}$ and left singular vectors $u_k$, and let $y_k = u_k^\top x / s$.
# For $z \sim p(z)$ the estimator $p(x \mid z)$ has the mean $p(x)$, and
#
# $$
# \begin{aligned}
# \frac{\mathbb E\, p(x \mid z)^2}{p(x)^2} = \prod_{k=1}^K & \frac{1 + \rho_k}{\sqrt{1 + 2 \rho_k}} \\
# & \times \exp \frac{\rho_k\, y_k^2}{(1 + \rho_k)(1 + 2 \rho_k)}.
# \end{aligned}
# $$ (eq-elbo-naive)
#
# The relative variance of the mean of $S$ draws is this, less 1, divided by $S$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The mean is $p(x)$ by the definition of $p(x)$, for any decoder.
# 2. Write $W = U\, \mathrm{diag}(s \sqrt{\rho_k})\, V^\top$. Replacing $z$ by $V^\top z$ leaves the prior unchanged, and rotating $x$ so that its first $K$ axes are the $u_k$ leaves the noise unchanged.
# 3. In these axes, and in units of $s$, the density of $x$ given $z$ is $s^{-D} \prod_{k \le K} \mathcal N(y_k; \sqrt{\rho_k}\, z_k, 1)$ times a factor that does not depend on $z$. That factor and $s^{-D}$ cancel from the quotient.
# 4. The $z_k$ are independent, so the quotient is a product over $k$. Drop the index.
# 5. Below: the mean of $y$ is 0 and its variance is $1 + \rho$, so $p(y)^2 = e^{-y^2 / (1 + \rho)} / (2 \pi (1 + \rho))$.
# 6. Above: $\mathcal N(y; m, 1)^2 = \mathcal N(y; m, \tfrac12) / \sqrt{4 \pi}$, and the mean of $\mathcal N(y; \sqrt\rho z, \tfrac12)$ over $z$ is $\mathcal N(y; 0, \rho + \tfrac12)$. Together $e^{-y^2 / (1 + 2 \rho)} / \sqrt{4 \pi^2 (1 + 2 \rho)}$.
# 7. Divide. The constants give $(1 + \rho) / \sqrt{1 + 2 \rho}$, and the exponent is $y^2 \big( \tfrac1{1 + \rho} - \tfrac1{1 + 2 \rho} \big) = \tfrac{\rho\, y^2}{(1 + \rho)(1 + 2 \rho)}$.
# 8. The variance of one draw is finite, and for $S$ independent draws that of their mean is the $S$-th part of it.
# :::
#
# $\rho_k$ is a ratio of signal to noise.
# A dimension with $\rho_k = 0$ has the factor 1; every other factor is at least $(1 + \rho_k) / \sqrt{1 + 2 \rho_k} > 1$: **every informative dimension multiplies the number of draws**.
# The check sums over a grid, for 30 random decoders with $K = 2$ and $D = 3$.

# %%
torch.manual_seed(seed)
W, s = torch.randn(30, 3, 2), 0.6
x = (W @ torch.randn(30, 2, 1))[..., 0] + s * torch.randn(30, 3)
z, cell = grid(2, n=201, reach=8.0)
p = Normal(torch.einsum("nk,bdk->bnd", z, W), s)
log_p = p.log_prob(x[:, None]).sum(-1)  # (30, n)
mass = standard.log_prob(z).sum(-1) + cell
first, second = [(mass + m * log_p).logsumexp(1) for m in (1, 2)]
U, singular, _ = torch.linalg.svd(W, full_matrices=False)
rho, y = (singular / s) ** 2, torch.einsum("bdk,bd->bk", U, x) / s
base = (1 + rho) / (1 + 2 * rho).sqrt()
lift = (rho * y**2 / (1 + rho) / (1 + 2 * rho)).exp()
check("thm-elbo-naive", of="random worlds").equal(
    left=(second - 2 * first).exp(),
    right=(base * lift).prod(1),
    how="quadrature",
    wrong={
        "the exponent left out": base.prod(1),
        "dimensions added": 1 + (base * lift - 1).sum(1),
        "mean over dimensions": (base * lift).log().mean(1).exp(),
    },
)

# %% [markdown]
# For $K > D$ the formula holds with $D$ factors: after the rotation of line 2, the other codes do not move $x$.
# So what counts is not how many codes there are, but how many directions among them $x$ informs about, at most $D$, and how sharply.
# The hand has only two coordinates.
# Therefore draws from the prior still answer for it where the grid no longer can:

# %%
torch.manual_seed(seed)
hand = torch.tensor([0.6, 0.3])
fit = Normal(arm(torch.randn(20_000, 30)), 0.1).log_prob(hand).sum(-1)
off = (fit.exp().std() / fit.exp().mean() / len(fit) ** 0.5).item()
Markdown(
    f"With thirty joints, {len(fit):,} draws give $\\log p(x) \\approx "
    f"{log_mean_exp(fit).item():.2f}$, with a standard error of {off:.2f}."
)

# %% [markdown]
# An image of a thousand pixels is not so kind: it can inform about every code, and then the factors multiply.
#
# There is a second trouble.
# We want $\log p(x)$: the likelihood of a data set is a product, which no computer can hold and whose gradient one example rules, while its logarithm is a sum ({ref}`an exercise <ex-elbo-logarithm>` measures both).
# But the logarithm of an unbiased estimate is not unbiased: it is too low on average, by Jensen's inequality, the more so the more it varies.
# We return to that {ref}`below <sec-elbo-iwae>`, where it becomes useful.
#
# (sec-elbo-importance)=
# ## The posterior as proposal has no variance at all
#
# Nearly all draws from the prior are far from any pose that explains $x$.
# So draw from another law $q(z)$ that looks where it matters, and correct each draw by its *weight*: $p(x) = \mathbb E_q\, w(z)$ with $w(z) = p(x, z) / q(z)$.
#
# :::{prf:theorem} The variance of a weight
# :label: thm-elbo-weight
# Let $0 < p(x) < \infty$, and $q(z) > 0$ wherever $p(x, z) > 0$.
# Then $\mathbb E_q\, w = p(x)$ and
#
# $$
# \begin{aligned}
# \mathrm{Var}_q(w) & = p(x)^2\, \chi^2, \\
# \chi^2 & = \mathbb E_q\Big[\Big(\frac{p(z \mid x)}{q(z)}\Big)^2\Big] - 1.
# \end{aligned}
# $$ (eq-elbo-weight)
#
# It is zero if and only if $q(z) = p(z \mid x)$ almost everywhere.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\mathbb E_q\, w = \int_{q > 0} p(x, z)\, dz$, which is the whole of $p(x)$, because $p(x, z) = 0$ where $q = 0$.
# 2. Bayes' rule: $p(x, z) = p(x)\, p(z \mid x)$, so $w = p(x)\, h$ with $h = p(z \mid x) / q(z)$.
# 3. $\mathbb E_q\, h = 1$ by line 1, so $\mathrm{Var}_q(h) = \mathbb E_q\, h^2 - 1 = \chi^2$, finite or not.
# 4. A variance is zero if and only if $h$ is constant where $q > 0$; as $h$ has the mean 1, that constant is 1. So $q = p(z \mid x)$ where $q > 0$, and where $q = 0$ both are 0.
# :::
#
# The check's instances are sigmoid belief networks with six binary codes and eight binary pixels: all 64 codes can be summed.

# %%
torch.manual_seed(seed)
codes = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6)  # (64, 6)
pixels = torch.randint(2, (100, 1, 8)).double()
logits = codes @ torch.randn(100, 6, 8) * 1.5 + torch.randn(100, 1, 8)
log_fit = torch.distributions.Bernoulli(logits=logits).log_prob(pixels).sum(-1)


def random_law():
    """A product of six random coins for each of 100 worlds, (100, 64)."""
    coins = torch.distributions.Bernoulli(logits=torch.randn(100, 1, 6))
    return coins.log_prob(codes).sum(-1).exp()


prior, q = random_law(), random_law()
joint = prior * log_fit.exp()
evidence = joint.sum(1)
posterior = joint / evidence[:, None]

# %%
w = joint / q
variance = (q * (w - evidence[:, None]) ** 2).sum(1)
chi2 = (posterior**2 / q).sum(1) - 1
other_way = (q**2 / posterior).sum(1) - 1
check("thm-elbo-weight", of="worlds").equal(
    left=variance,
    right=evidence**2 * chi2,
    wrong={
        "the laws exchanged": evidence**2 * other_way,
        "p(x) not squared": evidence * chi2,
    },
)

# %% [markdown]
# So there is a perfect proposal, and it is no use: to evaluate $p(z \mid x)$ we need $p(x)$.
# But a proposal that is *near* the posterior may do, and for Gaussians we can say how near.
#
# :::{prf:theorem} A proposal that is too wide, or beside the point
# :label: thm-elbo-proposal
# Let the posterior be $\mathcal N(m, \Sigma)$ in $K$ dimensions and the proposal $\mathcal N(m + \Sigma^{1/2} t,\ r^2 \Sigma)$: $r$ times as wide, and shifted by $t$ in units of the posterior's deviations.
# For $r^2 > \tfrac12$,
#
# $$
# 1 + \chi^2 = \Big( \frac{r^2}{\sqrt{2 r^2 - 1}} \Big)^K \exp \frac{\lVert t \rVert^2}{2 r^2 - 1},
# $$ (eq-elbo-proposal)
#
# and for $r^2 \le \tfrac12$ the variance is infinite.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Substitute $u = \Sigma^{-1/2} (z - m)$: the posterior becomes $\mathcal N(0, I)$, the proposal $\mathcal N(t, r^2 I)$, and the Jacobian cancels from $\int p(z \mid x)^2 / q(z)\, dz$.
# 2. Both are products over coordinates, so the integral is a product of $K$ integrals. One of them is $\frac{r}{\sqrt{2 \pi}} \int \exp\big({-u^2} + \tfrac{(u - t)^2}{2 r^2}\big)\, du$.
# 3. The exponent is $-a u^2 - \tfrac{t u}{r^2} + \tfrac{t^2}{2 r^2}$ with $a = 1 - \tfrac1{2 r^2}$. For $r^2 \le \tfrac12$, $a \le 0$ and the integral is infinite.
# 4. For $a > 0$ complete the square: $\int \exp(-a u^2 - \tfrac{t u}{r^2})\, du = \sqrt{\pi / a}\, \exp \tfrac{t^2}{4 a r^4}$.
# 5. The factor: $\tfrac{r}{\sqrt{2 \pi}} \sqrt{\pi / a} = r / \sqrt{2 a} = r^2 / \sqrt{2 r^2 - 1}$.
# 6. The exponent: $\tfrac{t^2}{2 r^2} \big( \tfrac1{2 r^2 - 1} + 1 \big) = \tfrac{t^2}{2 r^2 - 1}$, because $4 a r^4 = 2 r^2 (2 r^2 - 1)$.
# 7. Multiply over coordinates; the squares of $t$ add up.
# :::

# %%
torch.manual_seed(seed)
r, t = torch.rand(40, 1) + 0.85, torch.randn(40, 3)
u = torch.linspace(-30, 30, 6_001)
wide = Normal(t[..., None], r[..., None])
log_ratio = 2 * standard.log_prob(u) - wide.log_prob(u)
integral = torch.trapezoid(log_ratio.exp(), u).prod(1)
r, shift = r[:, 0], (t**2).sum(1)
base = r**2 / (2 * r**2 - 1).sqrt()
check("thm-elbo-proposal", of="random proposals").equal(
    left=integral,
    right=base**3 * (shift / (2 * r**2 - 1)).exp(),
    how="quadrature",
    wrong={
        "one dimension": base * (shift / (2 * r**2 - 1)).exp(),
        "shift over the proposal's variance": base**3 * (shift / r**2).exp(),
    },
)

# %% [markdown]
# With $S$ draws the relative error is $\sqrt{\chi^2 / S}$; one also says that they are worth $S / (1 + \chi^2)$ draws, the *effective sample size*.
# The growth is still exponential in $K$, but of a base that we control: at $r = 1.2$ it is 1.05.
# The figure puts the whole chain on one page: a linear decoder with $\rho_k = 24$ and a typical observation, $y_k^2 = 1 + \rho_k$.
# Marks are measured with 200,000 draws.

# %%
rho = 24.0
prior_base = (1 + rho) / math.sqrt(1 + 2 * rho) * math.exp(rho / (1 + 2 * rho))
wide_base = 1.44 / math.sqrt(1.88)
bases = {
    "prior": prior_base,
    "1 deviation off": wide_base * math.exp(1 / 1.88),
    "1.2 times as wide": wide_base,
}
torch.manual_seed(seed)
post = Normal(math.sqrt(rho / (1 + rho)), (1 + rho) ** -0.5)  # of a z_k
laws = {
    "prior": standard,
    "1 deviation off": Normal(post.mean + post.stddev, 1.2 * post.stddev),
    "1.2 times as wide": Normal(post.mean, 1.2 * post.stddev),
}
marks = {name: [] for name in laws}
for name, law in laws.items():
    for K in (1, 2, 4, 8) if name != "prior" else (1, 2, 3):
        z = law.sample((200_000, K))
        ratio = (post.log_prob(z) - law.log_prob(z)).sum(-1).exp()
        marks[name].append((K, 100 * ratio.var().item()))

# %% tags=["hide-input"]
dimensions = np.arange(1, 33)
lines = {"grid": 101.0**dimensions}
for name, base in bases.items():
    lines[name] = 100 * (base**dimensions - 1)
figure = figures.blank(3.6)
axes = figure.subplots()
for k, (name, line) in enumerate(lines.items()):
    axes.plot(dimensions, line, DASHES[k], color=PALETTE[k], label=name)
    if name in marks:
        axes.plot(
            *zip(*marks[name], strict=True), MARKERS[k], color=PALETTE[k]
        )

# %% tags=["hide-input"]
axes.axhline(1, color=PALETTE[4], lw=1.2, label="posterior")
axes.set(yscale="log", ylim=(0.4, 1e30), xlabel="dimensions K of the code")
axes.set(ylabel="draws (or terms) for 10 % error")
axes.legend(
    frameon=False,
    bbox_to_anchor=(1.01, 1),
    loc="upper left",
    title="codes come from",
    alignment="left",
)
show(
    figure,
    "What an answer costs: draws for a relative error of 10 %, or terms of a "
    "grid with 101 values in each dimension. The grid leaves the page first; "
    "the prior costs more than any other law; a proposal near the posterior "
    "stays cheap for as long as it is near in every dimension.",
    alt="Lines on a logarithmic axis: a grid and the prior rise steeply, a "
    "shifted proposal less, a slightly too wide one hardly.",
    label="fig-elbo-chain",
)

# %% [markdown]
# The chain so far: the sum is too long; draws from the prior miss, if $x$ says much about many codes; draws from the posterior need the answer; draws from *near* the posterior work.
# So who tells us where the posterior is?
# The next step turns this question into an objective.

# %% [markdown]
# (sec-elbo-routes)=
# ## Three routes lead to one bound
#
# :::{prf:theorem} Three routes, one bound, one gap
# :label: thm-elbo-routes
# Let $0 < p(x) < \infty$, let $q(z) > 0$ only where $p(x, z) > 0$, and let all means below be finite.
# These are one number, $\mathcal L(q)$:
#
# 1. *Jensen:* what remains of $\log \mathbb E_q\, w$ when mean and logarithm change places, $\mathbb E_q \log w$; it is also $\mathbb E_q[\log p(x \mid z)] - \mathrm{KL}(q(z) \,\|\, p(z))$;
# 2. *divergence:* $\log p(x) - \mathrm{KL}(q(z) \,\|\, p(z \mid x))$;
# 3. *importance sampling:* the mean of the logarithm of the estimate of $p(x)$ from one draw of $q$.
#
# And
#
# $$
# \log p(x) - \mathcal L(q) = \mathrm{KL}(q(z) \,\|\, p(z \mid x)) \ge 0,
# $$ (eq-elbo-gap)
#
# with equality only for $q(z) = p(z \mid x)$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Where $q$ is positive so is $p(x, z)$, and $\mathbb E_q\, w = \int_{q > 0} p(x, z)\, dz \le p(x)$. So $\log p(x) \ge \log \mathbb E_q\, w$.
# 2. The logarithm is concave, so by Jensen's inequality $\log \mathbb E_q\, w \ge \mathbb E_q \log w$. This is route 1, and it shows the bound.
# 3. $\log w = \log p(x \mid z) + \log \frac{p(z)}{q(z)}$; its mean is the second form of route 1, by the definition of KL.
# 4. Bayes' rule: $\log w = \log p(x) - \log \frac{q(z)}{p(z \mid x)}$; its mean under $q$ is route 2. So both routes give $\mathbb E_q \log w$, and eq. {eq}`eq-elbo-gap` is route 2 read backwards.
# 5. The estimate of $p(x)$ from one draw is its weight $w$, and the mean of its logarithm is $\mathbb E_q \log w$ once more: route 3.
# 6. Jensen's step is an equality only if $w$ is constant under $q$; with equality in line 1 too, that constant is $p(x)$. So $p(x, z) = p(x)\, q(z)$ and $p(z \mid x) = q(z)$ wherever $q > 0$; both integrate to 1 there, so the posterior has nothing elsewhere.
# :::
#
# The gap is the one of {ref}`variational inference <ch:variational-inference>`; here each route says something of its own.
# Jensen tells why there is a loss: $w$ varies.
# The divergence tells how much; and as $\log p(x)$ does not depend on $q$, whoever raises $\mathcal L$ by changing $q$ lowers the divergence to the posterior by exactly as much, without ever computing a posterior.
# Importance sampling tells what to do about it: take more draws.


# %%
def kl(a, b):
    """KL(a || b) of laws that are tables, along the last axis."""
    return (a * (a / b).log()).sum(-1)


jensen = (q * (joint / q).log()).sum(1)
fit = (q * log_fit).sum(1)
routes = torch.stack([jensen, fit - kl(q, prior)], 1)
versions = {
    "theorem": evidence.log() - kl(q, posterior),
    "the divergence to the prior": evidence.log() - kl(q, prior),
    "the divergence the other way": evidence.log() - kl(posterior, q),
}
right, *wrong = (torch.stack([v, v], 1) for v in versions.values())
check("thm-elbo-routes", about="both routes", of="worlds").equal(
    left=routes,
    right=right,
    wrong=dict(zip(list(versions)[1:], wrong, strict=True)),
)

# %%
tight = torch.arange(200) >= 100  # the second half: q is the posterior
both = torch.cat([q, posterior])
bound = (both * (joint.repeat(2, 1) / both).log()).sum(1)
no_rate = (both * log_fit.repeat(2, 1)).sum(1)
turned = no_rate - kl(prior.repeat(2, 1), both)
log_p = evidence.log().repeat(2)
check("thm-elbo-routes", about="a bound", of="worlds").at_most(
    bound,
    log_p,
    equal_where=tight,
    wrong={
        "KL to the prior left out": (no_rate, log_p),
        "KL to the prior the other way": (turned, log_p),
    },
)

# %% [markdown]
# (sec-elbo-kl)=
# ## Between two Gaussians the divergence is a formula
#
# The second term of route 1, $\mathrm{KL}(q(z) \,\|\, p(z))$, is called the *rate*.
# With Gaussians on both sides no draw is needed for it.
#
# :::{prf:theorem} KL between two Gaussians
# :label: thm-elbo-kl
# For positive definite $\Sigma_0, \Sigma_1$ in $K$ dimensions,
#
# $$
# \begin{aligned}
# & \mathrm{KL}\big(\mathcal N(\mu_0, \Sigma_0) \,\|\, \mathcal N(\mu_1, \Sigma_1)\big) \\
# & \quad = \tfrac12 \Big( \mathrm{tr}(\Sigma_1^{-1} \Sigma_0) + \delta^\top \Sigma_1^{-1} \delta \\
# & \qquad - K + \log \frac{|\Sigma_1|}{|\Sigma_0|} \Big),
# \end{aligned}
# $$ (eq-elbo-kl)
#
# with $\delta = \mu_1 - \mu_0$. For $\Sigma_i = \mathrm{diag}\, \sigma_i^2$ it is
#
# $$
# \tfrac12 \sum_{k=1}^K \Big( \frac{\sigma_{0k}^2 + \delta_k^2}{\sigma_{1k}^2} - 1 + \log \frac{\sigma_{1k}^2}{\sigma_{0k}^2} \Big).
# $$ (eq-elbo-kl-diagonal)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\log \mathcal N(z; \mu, \Sigma) = -\tfrac12 \big( K \log 2 \pi + \log |\Sigma| + (z - \mu)^\top \Sigma^{-1} (z - \mu) \big)$, so in the difference of two the constants cancel.
# 2. A quadratic form is a trace: $(z - \mu)^\top A (z - \mu) = \mathrm{tr}\big(A (z - \mu)(z - \mu)^\top\big)$, and the mean may be taken inside.
# 3. Under the first law $\mathbb E (z - \mu_0)(z - \mu_0)^\top = \Sigma_0$, so its own form has the mean $\mathrm{tr}\, I = K$.
# 4. $z - \mu_1 = (z - \mu_0) - \delta$, and the cross terms have mean 0, so $\mathbb E (z - \mu_1)(z - \mu_1)^\top = \Sigma_0 + \delta \delta^\top$.
# 5. The other form has the mean $\mathrm{tr}(\Sigma_1^{-1} \Sigma_0) + \delta^\top \Sigma_1^{-1} \delta$. Collect: eq. {eq}`eq-elbo-kl`.
# 6. For diagonal matrices the trace, the form and the log-determinants are sums over $k$.
# :::
#
# The first formula is checked against the definition, summed over a grid that is spread like the first law; the second against the first.


# %%
def gaussian_kl_full(m0, C0, m1, C1):
    """KL(N(m0, C0) || N(m1, C1)) in nats, (B, K) and (B, K, K) -> (B,)."""
    d, trace = m1 - m0, torch.linalg.solve(C1, C0).diagonal(dim1=1, dim2=2)
    form = (d * torch.linalg.solve(C1, d)).sum(1)
    return (trace.sum(1) + form - d.shape[1] + C1.logdet() - C0.logdet()) / 2


# %%
torch.manual_seed(seed)
m0, m1 = torch.randn(2, 16, 2)
A = torch.randn(2, 16, 2, 2)
A[:, 8:, [0, 1], [1, 0]] = 0  # the second half is diagonal
C0, C1 = A @ A.mT / 2 + 0.3 * torch.eye(2)
u, cell = grid(2, reach=9.0)
z = m0 + torch.einsum("bij,nj->nbi", torch.linalg.cholesky(C0), u)
p0, p1 = (
    MultivariateNormal(m, C).log_prob(z) for m, C in ((m0, C0), (m1, C1))
)
mass = (standard.log_prob(u).sum(1) + cell).exp()  # of each grid point
ours, back = gaussian_kl_full(m0, C0, m1, C1), gaussian_kl_full(m1, C1, m0, C0)
check(
    "thm-elbo-kl", about="any covariances", of="random pairs of Gaussians"
).equal(
    left=mass @ (p0 - p1),
    right=ours,
    how="quadrature",
    rtol=1e-7,
    wrong={
        "the other direction": back,
        "the logarithm's sign": ours - (C1.logdet() - C0.logdet()),
        "K forgotten": ours + 1,
    },
)

# %%
v0, v1 = (C[8:].diagonal(dim1=1, dim2=2) for C in (C0, C1))
d2 = (m1 - m0)[8:] ** 2
sums = ((v0 + d2) / v1 - 1 + (v1 / v0).log()).sum(1) / 2
deviations = ((v0 + d2) / v1 - 1 + (v1 / v0).log() / 2).sum(1) / 2
scaled = ((v0 + d2) / v1.sqrt() - 1 + (v1 / v0).log()).sum(1) / 2
check("thm-elbo-kl", about="diagonal ones", of="pairs of Gaussians").equal(
    left=ours[8:],
    right=sums,
    wrong={"log of deviations": deviations, "one deviation": scaled},
)

# %% [markdown]
# (sec-elbo-drag)=
# ## Drag $q$, and watch the bound
#
# Now the camera stands at the side and sees only the *height* of the hand, and the arm has one joint.
# A height of 0.8 can mean that the arm is still on its way up, or already over the top: the posterior has two modes, the nearer one with most of the mass.
# Choose the mean and the scale of a Gaussian $q$.
# The bar on the right is what the bound misses, the divergence, on a logarithmic axis: the shorter, the better.

# %% tags=["hide-input"]
height, seen = (lambda z: arm(z)[..., 1:]), torch.tensor([0.8])
z, cell = grid(1, n=2_001)
log_p = log_joint(seen, z, height)
log_evidence = (log_p.logsumexp(0) + cell).item()
curve = (log_p - log_evidence).exp()
means = [-0.5, 0.25, 0.6, 0.8, 1.3, 1.8, 2.4]
scales = [0.08, 0.15, 0.25, 0.4, 0.6, 1.0, 1.6]


def one_bound(mean, scale):
    log_q = Normal(mean, scale).log_prob(z[:, 0])
    return ((log_q + cell).exp() * (log_p - log_q)).sum().item(), log_q.exp()


# %% tags=["hide-input"]
figure = figures.blank(2.5, 4.9)
left, right = figure.subplots(1, 2, width_ratios=(4, 1))
left.fill_between(z[::3, 0], curve[::3], color="#BBBBBB", lw=0)
(line,) = left.plot([], [], color=PALETTE[0], animated=True)
left.set(xlim=(-1.6, 3.6), ylim=(0, 3.1), xlabel="z", ylabel="density")
bar = right.bar([0], [1], color=PALETTE[0], width=0.7, animated=True)[0]
bar.set_alpha(0.6)  # so that the line behind it is seen
right.axhline(math.log(2), color=PALETTE[1])
right.set(xticks=[], yscale="log", ylim=(0.1, 200), ylabel="gap, nats")
title = left.set_title("bound", animated=True)
figure.draw_without_rendering()
figure.set_layout_engine("none")  # what does not move is drawn once
figure.canvas.draw()
still = figure.canvas.copy_from_bbox(figure.bbox)


# %% tags=["hide-input"]
def bound_of(mean, scale):
    """Draw q beside the posterior, with the bar of its gap."""
    value, density = one_bound(mean, scale)
    line.set_data(z[:, 0], density)
    bar.set(y=0.1, height=log_evidence - value - 0.1)
    told = f"bound {value:.2f}, gap {log_evidence - value:.2f} nats"
    title.set_text(told.replace("-", "−"))
    figure.canvas.restore_region(still)
    for part in (line, bar, title):
        part.axes.draw_artist(part)
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].copy()


frames = [[bound_of(mean, scale) for scale in scales] for mean in means]
found = {
    (mean, scale): one_bound(mean, scale)[0]
    for mean in means
    for scale in scales
}

# %% tags=["hide-input"]
Explorable(
    frames,
    [means, scales],
    ["mean of q", "scale of q"],
    alt="A grey posterior with two humps, a blue Gaussian, and a bar for "
    "the gap beside a line at log 2.",
    caption="Grey: the posterior. Blue: q, and the gap of its bound as a bar. "
    "Orange: log 2, what it costs to cover one of two equal humps. A wide q "
    "pays more than one that forgets the second hump.",
    start=[2, 4],
    live=figures.Live(bound_of),
)

# %%
(mean, scale), best = max(found.items(), key=lambda pair: pair[1])
prior_gap = log_evidence - one_bound(0.0, 1.0)[0]
Markdown(
    f"The best of these frames has mean {mean}, scale {scale} and a gap of "
    f"{log_evidence - best:.2f} nats. The prior as $q$ would lose "
    f"{prior_gap:.1f} nats: it pays for every draw that does not explain $x$."
)

# %% [markdown]
# (sec-elbo-gradients)=
# ## Differentiate through the draw
#
# A computer that drags needs the gradient of a mean whose law depends on the parameters.
# There are two ways. The chapter on {ref}`variational inference <ch:variational-inference>` has them for independent coordinates; here with a full covariance, $z = \mu + L \varepsilon$.
#
# :::{prf:theorem} Both gradients are unbiased
# :label: thm-elbo-gradients
# Let $L$ be lower triangular with a positive diagonal, $\varepsilon \sim \mathcal N(0, I)$ and $z = \mu + L \varepsilon$.
# Let $f$ be locally Lipschitz, with $f$ and its gradient (which exists almost everywhere) bounded by a polynomial.
# With $\mathrm{tril}$ for the lower triangle,
#
# $$
# \begin{aligned}
# \nabla_\mu\, \mathbb E f(z) & = \mathbb E\, \nabla f(z) \\
# & = \mathbb E\big[f(z)\, L^{-\top} \varepsilon\big], \\
# \nabla_L\, \mathbb E f(z) & = \mathbb E\, \mathrm{tril}\big(\nabla f(z)\, \varepsilon^\top\big) \\
# & = \mathbb E\, \mathrm{tril}\big(f(z)\, L^{-\top} (\varepsilon \varepsilon^\top - I)\big).
# \end{aligned}
# $$ (eq-elbo-gradients)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. *Reparameterised.* $\mathbb E f(z) = \int f(\mu + L \varepsilon)\, \varphi(\varepsilon)\, d\varepsilon$, where the standard normal density $\varphi$ holds no parameter.
# 2. Between two points $f$ differs by at most their distance times the bound of its gradient nearby. So near any $(\mu, L)$ the difference quotients of $f(\mu + L \varepsilon)$ are at most a polynomial in $\lVert \varepsilon \rVert$, whose mean is finite; so the limit moves under the integral, by dominated convergence.
# 3. A locally Lipschitz $f$ is differentiable almost everywhere (Rademacher's theorem), and $L$ is invertible; so for almost every $\varepsilon$ the chain rule gives $\partial f / \partial \mu_i = \partial_i f(z)$ and $\partial f / \partial L_{ij} = \partial_i f(z)\, \varepsilon_j$, for the entries $j \le i$ that $L$ has.
# 4. *Score.* $\mathbb E f(z) = \int f(z)\, q(z)\, dz$. Near any $(\mu, L)$ the derivatives of $q$ are at most a polynomial times a wider Gaussian density, so again they move inside, and $\nabla q = q\, \nabla \log q$.
# 5. $\log q(z) = -\sum_i \log L_{ii} - \tfrac12 \lVert \varepsilon \rVert^2 + \text{constant}$ with $\varepsilon = L^{-1} (z - \mu)$ for a fixed $z$.
# 6. $d \varepsilon = -L^{-1} d\mu - L^{-1} dL\, \varepsilon$, so $-\varepsilon^\top d \varepsilon = \varepsilon^\top L^{-1} d\mu + \varepsilon^\top L^{-1} dL\, \varepsilon$: the gradients are $L^{-\top} \varepsilon$ and $\mathrm{tril}(L^{-\top} \varepsilon \varepsilon^\top)$.
# 7. $-\sum_i \log L_{ii}$ adds $-1 / L_{ii}$ on the diagonal, which is $-\mathrm{tril}(L^{-\top})$, because $L^{-\top}$ is upper triangular with diagonal $1 / L_{ii}$.
# :::
#
# Without chance: Gauss-Hermite quadrature is exact for polynomials, and $f(z) = c^\top z + z^\top A z + (v^\top z)^3$ has a mean that can be differentiated.

# %%
nodes, masses = np.polynomial.hermite_e.hermegauss(8)
nodes, masses = torch.tensor(nodes), torch.tensor(masses / masses.sum())
noise = torch.cartesian_prod(nodes, nodes)  # (64, 2)
weights = torch.cartesian_prod(masses, masses).prod(1)
torch.manual_seed(seed)
c, v, mu = torch.randn(3, 20, 2)
A = torch.randn(20, 2, 2)
A = A + A.mT
L = torch.randn(20, 2, 2).tril(-1) + torch.diag_embed(torch.rand(20, 2) + 0.4)
mu.requires_grad_(), L.requires_grad_()
along, C = (v * mu).sum(1), L.tril() @ L.tril().mT
mean_f = (c * mu).sum(1) + torch.einsum("bi,bij,bj->b", mu, A, mu)
mean_f = mean_f + (A * C).sum((1, 2)) + along**3
mean_f = mean_f + 3 * along * torch.einsum("bi,bij,bj->b", v, C, v)
by_hand = torch.autograd.grad(mean_f.sum(), (mu, L))
mu, L = mu.detach(), L.detach()


# %%
def averaged(values):
    """Mean over the 64 noises of (b, 64, ...), with row axes made flat."""
    return torch.einsum("bn...,n->b...", values, weights).flatten(1)


z = mu[:, None] + noise @ L.mT  # (20, 64, 2)
vz, Az = z @ v[:, :, None], z @ A
f = (c[:, None] * z + Az * z).sum(-1, keepdim=True) + vz**3
slope = c[:, None] + 2 * Az + 3 * vz**2 * v[:, None]
outer = noise[:, :, None] * noise[:, None]  # (64, 2, 2)
back, eye = torch.linalg.inv(L).mT[:, None], torch.eye(2)
right = (slope[..., None] * noise[:, None]).tril()
score = [averaged(f * (noise @ torch.linalg.inv(L)))]
score.append(averaged((f[..., None] * (back @ (outer - eye))).tril()))
no_eye = averaged((f[..., None] * (back @ outer)).tril())
turned = averaged(f * (noise @ torch.linalg.inv(L).mT))

# %%
truth = torch.cat([g.flatten(1) for g in by_hand], 1)
check("thm-elbo-gradients", of="random Gaussians").equal(
    left=torch.cat([truth, truth], 1),
    right=torch.cat([averaged(slope), averaged(right), *score], 1),
    how="quadrature",
    rtol=1e-8,
    wrong={
        "no trace of the noise": torch.cat(
            [
                averaged(slope),
                averaged(slope[..., None].expand_as(right)),
                *score,
            ],
            1,
        ),
        "I left out": torch.cat([truth, score[0], no_eye], 1),
        "L not transposed": torch.cat([truth, turned, score[1]], 1),
    },
)

# %% [markdown]
# Which of the two is quieter?
# For quadratic $f$ the chapter on {ref}`variational inference <ch:variational-inference>` has both variances, in all dimensions at once.
# One often reads that reparameterisation always wins.
# Here is exactly how far that goes for the mean of a coordinate.
#
# :::{prf:theorem} Up to cubics the reparameterised gradient wins
# :label: thm-elbo-variance
# Let $z_i = \mu_i + \sigma_i \varepsilon_i$ be independent normals, fix a coordinate $k$, and let $R = \partial_k f(z)$ and $T = f(z)\, \varepsilon_k / \sigma_k$, the two estimators of $\partial_{\mu_k} \mathbb E f$.
# If $f$ is a polynomial in $z_k$ of degree at most 3, whose coefficients are polynomials in the other coordinates, then $\mathrm{Var}\, R \le \mathrm{Var}\, T$.
# For degree 4 this is false: in one dimension with $\mu = 0$, $\sigma = 1$ and $f(z) = z^4 - 18 z^2 + 39$, $\mathrm{Var}\, R = 672$ and $\mathrm{Var}\, T = 504$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $R$ and $T$ have the same mean ({prf:ref}`thm-elbo-gradients`), so we compare second moments. Hold the other coordinates fixed: if $\mathbb E R^2 \le \mathbb E T^2$ for each value of them, then also on average.
# 2. So let $g(\varepsilon) = f(\mu + \sigma \varepsilon)$ in one dimension; $\sigma R = g'(\varepsilon)$ and $\sigma T = \varepsilon\, g(\varepsilon)$.
# 3. Expand $g = \sum_n a_n h_n$ in Hermite polynomials that are normalised, $\mathbb E\, h_m h_n = 1$ for $m = n$ and 0 otherwise. They satisfy $h_n' = \sqrt n\, h_{n-1}$ and $\varepsilon h_n = \sqrt{n + 1}\, h_{n+1} + \sqrt n\, h_{n-1}$.
# 4. So $\mathbb E\, g'^2 = \sum_n n\, a_n^2$.
# 5. The coefficient of $h_m$ in $\varepsilon g$ is $\sqrt m\, a_{m-1} + \sqrt{m + 1}\, a_{m+1}$; the sum of their squares is
#
#    $$
#    \begin{aligned}
#    \mathbb E\, \varepsilon^2 g^2 = {} & \textstyle\sum_n (2 n + 1)\, a_n^2 \\
#    & + 2 \textstyle\sum_n \sqrt{(n + 1)(n + 2)}\, a_n a_{n+2}.
#    \end{aligned}
#    $$ (eq-elbo-hermite)
#
# 6. If $a_n = 0$ for $n > 3$, the difference of lines 5 and 4 is a sum of squares: $(a_0 + \sqrt 2\, a_2)^2 + a_2^2 + 2 \big(a_1 + \sqrt{3/2}\, a_3\big)^2 + a_3^2 \ge 0$.
# 7. For the quartic both means are 0, because $f$ is even. With $\mathbb E z^2, \mathbb E z^4, \dots = 1, 3, 15, 105, 945$: $\mathbb E (4 z^3 - 36 z)^2 = 240 - 864 + 1296 = 672$.
# 8. And $\mathbb E\, z^2 f^2 = 945 - 36 \cdot 105 + 402 \cdot 15 - 1404 \cdot 3 + 1521 = 504$.
# :::
#
# A baseline is a constant that is subtracted from $f$, so the first part holds with any baseline.
# The check has random cubics in two coordinates; the quartics are the counter-example, perturbed.


# %%
def variances(powers):
    """Exact (Var R, Var T) of f = sum_n c_n(z_2) z_1^n; powers (b, n, 64)."""
    e, n = noise[:, 0], torch.arange(powers.shape[1])
    f = (powers * e ** n[:, None]).sum(1)
    slope = (powers[:, 1:] * n[1:, None] * e ** n[:-1, None]).sum(1)
    both = torch.stack([slope, f * e])
    return both**2 @ weights - (both @ weights) ** 2


torch.manual_seed(seed)
cubic = torch.randn(50, 4, 1) + torch.randn(50, 4, 1) * noise[:, 1]
quartic = torch.tensor([39.0, 0, -18, 0, 1])[:, None].expand(50, 5, 64)
quartic = quartic + 0.1 * torch.randn(50, 5, 1)
exact = torch.tensor([39.0, 0, -18, 0, 1])[None, :, None].expand(1, 5, 64)
assert torch.allclose(variances(exact)[:, 0], torch.tensor([672.0, 504.0]))
R, T = variances(cubic)
check("thm-elbo-variance", of="random cubics").at_most(
    R,
    T,
    how="quadrature",
    wrong={
        "quartics too": tuple(variances(quartic)),
        "the score wins": (T, R),
    },
)

# %% [markdown]
# What loses is a wave.
# For $f(z) = \cos(\omega z)$ the derivative grows with $\omega$ and the function does not.
# The figure has both variances for $\mu = \frac12$, $\sigma = 1$: lines from the formulas that an exercise derives, marks from 20,000 draws.


# %%
def wave_variances(omega, mu, sigma):
    """Var R and Var T for f = cos(omega z), exact."""
    tau = omega * sigma
    fast = (-2 * tau**2).exp() * (2 * omega * mu).cos()
    mean2 = omega**2 * (-(tau**2)).exp() * (omega * mu).sin() ** 2
    R = omega**2 * (1 - fast) / 2 - mean2
    T = (1 + (1 - 4 * tau**2) * fast) / 2 / sigma**2 - mean2
    return R, T


# %% tags=["hide-input"]
omega = torch.linspace(0.15, 4, 200)
some = torch.tensor([0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0])
torch.manual_seed(seed)
e = torch.randn(20_000, 1)
z = 0.5 + e
measured = (-some * (some * z).sin()).var(0), ((some * z).cos() * e).var(0)
figure = figures.blank(3.2)
axes = figure.subplots()
names = "reparameterised", "score"
for k, line in enumerate(wave_variances(omega, 0.5, 1.0)):
    axes.plot(omega, line, DASHES[k], color=PALETTE[k], label=names[k])
    axes.plot(some, measured[k], MARKERS[k], color=PALETTE[k])
axes.set(yscale="log", xlabel="frequency ω, where σ = 1")
axes.set(ylabel="variance of one draw")
axes.legend(frameon=False)
show(
    figure,
    "The slower the function changes across q, the better the "
    "reparameterised gradient; across a fast wave the score is quieter.",
    alt="Two curves that cross near frequency one: the reparameterised one "
    "starts lower and ends higher.",
    label="fig-elbo-wave",
)

# %% [markdown]
# Where a decoder changes fast with $z$ its posterior is narrow, and a $q$ that imitates the posterior then sees only a slow piece of it.
# So for a VAE one expects the left end of the figure; we measure it below, as soon as there is an encoder.

# %% [markdown]
# (sec-elbo-amortised)=
# ## One network for all observations: two gaps, and both can be measured
#
# Everything is ready but for one thing: a $q$ for every $x$ is an optimisation for every $x$.
# *Amortisation* trains one network that maps $x$ to the parameters of $q(z \mid x)$ {cite:p}`kingma2014auto,rezende2014stochastic`.
# With the exact rate of {prf:ref}`thm-elbo-kl` and one reparameterised draw, the loss of a VAE is a few lines.


# %%
def bound(x, mean, log_std, noise):
    """One draw of the ELBO of the two-joint arm for each x (B, 2), (B,)."""
    z = mean + log_std.exp() * noise
    fit = Normal(arm(z), 0.1).log_prob(x).sum(-1)
    return fit - gaussian_kl(mean, 2 * log_std)


def pose(n):
    """What the camera sees of n random poses of an arm with two joints."""
    z = torch.randn(n, 2)
    return arm(z) + 0.1 * torch.randn(n, 2)


# %%
def train_encoder(own_seed, steps=1_500):
    """A network x -> (mean, log_std) of q(z | x), trained on new poses."""
    torch.manual_seed(own_seed)
    encoder = torch.nn.Sequential(
        torch.nn.Linear(2, 64), torch.nn.SiLU(),
        torch.nn.Linear(64, 64), torch.nn.SiLU(),
        torch.nn.Linear(64, 4),
    )  # fmt: skip
    adam = torch.optim.Adam(encoder.parameters(), lr=1e-2, fused=True)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        x = pose(256)
        mean, log_std = encoder(x).chunk(2, -1)
        loss = -bound(x, mean, log_std, torch.randn(256, 2)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        cosine.step()
    return encoder


encoders = [train_encoder(own) for own in range(seed, seed + 3)]
encoder = encoders[0]

# %% [markdown]
# Which gradient is the quieter one for this encoder?
# For 100 poses and 400 draws each we compare the variance of the two estimates of $\partial_\mu \mathbb E \log p(x \mid z)$, with the mean subtracted from the score's as a baseline; and the same for the prior as $q$, under which the decoder swings through its whole range.

# %%
x, rows = pose(100)[:, None], []
with torch.no_grad():
    mean, log_std = encoder(x).chunk(2, -1)
for name, m, scale in (
    ("trained encoder", mean, log_std.exp()),
    ("prior", 0 * mean, torch.ones_like(mean)),
):
    e = torch.randn(100, 400, 2)
    z = (m + scale * e).requires_grad_()
    fit = Normal(arm(z), 0.1).log_prob(x).sum(-1)
    (R,) = torch.autograd.grad(fit.sum(), z)
    fit = fit.detach()[..., None]
    T = (fit - fit.mean(1, keepdim=True)) * e / scale
    ratio = (T.var(1) / R.var(1)).flatten()  # one for each number of a code
    row = {"q": name, "variance, score / reparameterised": ratio.median()}
    rows.append(row | {"least": ratio.min(), "largest": ratio.max()})
results_table(rows)

# %% [markdown]
# The decoder is the true arm and stays as it is, so every nat that is lost is lost by $q$.
# How much, and why?
# For 100 new observations we sum over the grid: the exact $\log p(x)$, the exact posterior, and the exact bound of any Gaussian.

# %%
torch.manual_seed(seed + 1)
x = pose(100)
z, cell = grid(2)
log_p = torch.stack([log_joint(one, z) for one in x])  # (100, 101^2)
evidence = log_p.logsumexp(1) + cell
posterior = (log_p - evidence[:, None] + cell).exp()  # masses


def exact_bound(mean, L):
    """The ELBO of each q = N(mean, L L'), summed over the grid, (100,)."""
    away = (z - mean[:, None]).mT
    noise = torch.linalg.solve_triangular(L, away, upper=False)
    log_q = standard.log_prob(noise).sum(1) - L.logdet()[:, None]
    return ((log_q + cell).exp() * (log_p - log_q)).sum(1)


# %% [markdown]
# The best Gaussian for one $x$ is found by the same gradient, with a quadrature in place of draws, from two starts: the mean and the mode of the exact posterior.
# One family has independent coordinates, as the network has; the other a full covariance.
# Strictly, what two starts find is only the best that we know; the true best can lose less, not more.


# %%
def best_gaussian(x, start, full, steps=150):
    """Ascend the bound of each x from a start: means and factors of q."""
    nodes, masses = np.polynomial.hermite_e.hermegauss(8)
    noise = torch.cartesian_prod(*[torch.tensor(nodes)] * 2)[:, None]
    mass = torch.tensor(np.outer(masses, masses).ravel() / masses.sum() ** 2)
    mean = start.clone().requires_grad_()
    log_std = torch.full_like(x, -1.5).requires_grad_()
    tilt = torch.zeros(len(x), requires_grad=full)
    free = [mean, log_std, tilt] if full else [mean, log_std]
    optimiser = torch.optim.Adam(free, lr=0.06)
    for _ in range(steps):
        below = torch.stack([torch.zeros_like(tilt), tilt], -1)
        step = log_std.exp() * noise + below * noise[..., :1]
        fit = Normal(arm(mean + step), 0.1).log_prob(x).sum(-1)
        rate = gaussian_kl(mean, 2 * log_std) + tilt**2 / 2
        optimiser.zero_grad()
        (rate.sum() - (mass @ fit).sum()).backward()
        optimiser.step()
    L = torch.diag_embed(log_std.detach().exp())
    L[:, 1, 0] = tilt.detach()
    return mean.detach(), L


# %%
starts = torch.cat([posterior @ z, z[posterior.argmax(1)]])  # two for each x
gaps, fitted, index = {}, {}, torch.arange(100)
for name, full in (("full covariance", True), ("independent", False)):
    means, roots = best_gaussian(x.repeat(2, 1), starts, full)
    tries = means.view(2, 100, 2), roots.view(2, 100, 2, 2)
    values = torch.stack(
        [exact_bound(tries[0][j], tries[1][j]) for j in (0, 1)]
    )
    better, pick = values.max(0)
    gaps[name] = evidence - better
    fitted[name] = [part[pick, index] for part in tries]
others = []  # two more trainings, to see how much the first one is luck
for one in reversed(encoders):
    with torch.no_grad():
        mean, log_std = one(x).chunk(2, -1)
    fitted["network"] = mean, torch.diag_embed(log_std.exp())
    gaps["network"] = evidence - exact_bound(*fitted["network"])
    others.append(gaps["network"].mean().item())
fitted["prior"] = 0 * mean, torch.eye(2).expand(100, 2, 2)
gaps["prior"] = evidence - exact_bound(*fitted["prior"])

# %% tags=["hide-input"]
far = x.norm(dim=1) > 0.5  # so that the arm is seen well
i = int((gaps["full covariance"] * far).argmax())
torch.manual_seed(seed)
poses = z[torch.multinomial(posterior[i], 40)]  # cells of the grid
poses = poses + 0.1 * (torch.rand(40, 2) - 0.5)  # somewhere in their cells
angle = (1.2 * poses).cumsum(1)
steps = torch.stack([angle.cos(), angle.sin()], -1).cumsum(1) / 2
joints = torch.cat([torch.zeros(40, 1, 2), steps], 1)
# %% tags=["hide-input"]
figure = figures.blank(3.0)
left, right = figure.subplots(1, 2)
for one in joints:
    left.plot(*one.T, color=PALETTE[4], lw=0.8, alpha=0.3)
left.plot(*x[i], "x", color=PALETTE[1], ms=9, mew=2.5)
left.set(aspect="equal", xlim=(-0.3, 1.1), ylim=(-0.7, 0.6))
left.set(title="poses that explain the cross")
ticks = torch.linspace(-5, 5, 101)
right.contourf(ticks, ticks, posterior[i].view(101, 101).T, 8, cmap="Greys")
turn = torch.linspace(0, 2 * math.pi, 100)
ring = torch.stack([turn.cos(), turn.sin()], -1)
for k, name in enumerate(("full covariance", "independent", "network")):
    m, L = (part[i] for part in fitted[name])
    right.plot(
        *(m + 2 * ring @ L.T).T, DASHES[k], color=PALETTE[k], label=name
    )
across, up = (posterior[i] @ z).tolist()  # its mean, in the middle
right.set(xlim=(across - 2.2, across + 2.2), aspect="equal")
right.set(ylim=(up - 2.2, up + 2.2))
right.set(xlabel="$z_1$", ylabel="$z_2$", title="posterior and Gaussians")
right.legend(frameon=False, loc="upper right", fontsize=8)
right.grid(False)
left.grid(False)

# %% tags=["hide-input"]
show(
    figure,
    "Of the hands at some distance from the shoulder, the one with which the "
    "best Gaussian loses most. Left: forty poses from its exact posterior; "
    "the elbow can be on either side. Right: the posterior, and Gaussians as "
    "rings of two standard deviations.",
    alt="Left: many bent arms that end near one cross. Right: two grey "
    "patches, and rings of which each covers one.",
    label="fig-elbo-arm",
)

# %% [markdown]
# The gap of a network splits into two parts {cite:p}`cremer2018inference`.
# The *approximation gap* is what the best member of the family loses.
# The *amortisation gap* is what the network loses beside that, because it answers at once, and for all $x$ together.

# %%
apart_nats = gaps["network"] - gaps["independent"]
assert apart_nats.mean() > 0
results_table(
    [
        {"gap of 100 observations": name, "nats": mean_of(values)}
        for name, values in {
            "best Gaussian, full covariance": gaps["full covariance"],
            "best Gaussian, independent": gaps["independent"],
            "network, independent": gaps["network"],
            "of this, no Gaussian does better": gaps["full covariance"],
            "of this, independence": gaps["independent"]
            - gaps["full covariance"],
            "of this, amortisation": apart_nats,
            "prior as q": gaps["prior"],
        }.items()
    ]
)

# %% [markdown]
# Two narrow Gaussian modes of equal mass, far apart, cost a Gaussian about $\log 2 \approx 0.69$ nats: it describes one and forgets the other.
# Independence costs more on average: given the hand, the two joints are correlated, as the tilted ring in the figure shows.
# And the network?

# %%
cov = fitted["full covariance"][1] @ fitted["full covariance"][1].mT
tied = cov[:, 0, 1].abs() / cov.diagonal(dim1=1, dim2=2).prod(1).sqrt()
worst = apart_nats.argsort(descending=True)[:10]
share, behind = apart_nats[worst].sum() / apart_nats.sum(), x[:, 0] < 0
Markdown(
    "Within the best Gaussian with full covariance the two joints have a "
    f"correlation of size {tied.median():.2f} (median). "
    f"Ten of the 100 observations carry {share:.0%} of the amortisation gap, "
    f"whose median is {apart_nats.median():.2f} nats. The hand is behind the "
    f"shoulder in {behind[worst].sum()} of these ten, and in "
    f"{behind.sum()} of the 100. Three trainings of the network lose "
    + ", ".join(f"{value:.2f}" for value in reversed(others))
    + " nats in the mean."
)

# %% [markdown]
# An explanation: behind the shoulder the arm can turn left or right, so the best $q$ must somewhere jump from one to the other as $x$ moves.
# A smooth function cannot jump, and on its way across it is badly wrong.
#
# (sec-elbo-iwae)=
# ## More draws raise the bound, and they raise it to the top
#
# Route 3 of {prf:ref}`thm-elbo-routes` used one draw.
# With $S$ draws the estimate of $p(x)$ varies less, so its logarithm should lose less: the *importance-weighted* bound {cite:p}`burda2016importance`
#
# $$
# \mathcal L_S = \mathbb E \log \Big( \frac1S \sum_{i=1}^S w(z_i) \Big), \qquad z_i \sim q.
# $$ (eq-elbo-iwae)
#
# :::{prf:theorem} The bound grows with the draws, to the evidence
# :label: thm-elbo-iwae
# Let $q(z) > 0$ wherever $p(x, z) > 0$, $0 < p(x) < \infty$, and let $\log w$ be integrable, with mean $\mathcal L_1$.
# Then
#
# $$
# \begin{aligned}
# & \mathcal L_1 \le \mathcal L_2 \le \dots \le \log p(x), \\
# & \lim_{S \to \infty} \mathcal L_S = \log p(x).
# \end{aligned}
# $$ (eq-elbo-grows)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Write $\bar w_A$ for the mean of the weights in a set $A$ of draws, and $\bar w_S$ for that of all $S$.
# 2. *It grows.* Of $S + 1$ draws leave one out, in each of the $S + 1$ ways: sets $A_1, \dots, A_{S+1}$ of $S$ draws. Each draw is in $S$ of them, so $\bar w_{S+1} = \frac1{S + 1} \sum_j \bar w_{A_j}$.
# 3. All means of logarithms here are finite: $\log \bar w_S$ lies between the mean of the $S$ values $\log w(z_i)$ and $\bar w_S$, and both are integrable. By Jensen's inequality for the concave logarithm, $\log \bar w_{S+1} \ge \frac1{S + 1} \sum_j \log \bar w_{A_j}$.
# 4. Draws are independent with one law, so each $\log \bar w_{A_j}$ has the mean $\mathcal L_S$; take means: $\mathcal L_{S+1} \ge \mathcal L_S$.
# 5. *It stays below.* By Jensen again, $\mathcal L_S \le \log \mathbb E\, \bar w_S = \log p(x)$, by {prf:ref}`thm-elbo-weight`.
# 6. *It arrives.* $\mathbb E\, w = p(x) < \infty$, so $\bar w_S \to p(x)$ almost surely, by the strong law of large numbers; and $a_S = \frac1S \sum_i \log w(z_i) \to \mathcal L_1$ almost surely, by the same law.
# 7. Jensen once more, for each outcome: $\log \bar w_S - a_S \ge 0$. So Fatou's lemma applies:
#
#    $$
#    \begin{aligned}
#    \log p(x) - \mathcal L_1 & = \mathbb E \lim_S\, (\log \bar w_S - a_S) \\
#    & \le \liminf_S\, \mathbb E\, (\log \bar w_S - a_S).
#    \end{aligned}
#    $$ (eq-elbo-fatou)
#
# 8. The right side is $\liminf_S \mathcal L_S - \mathcal L_1$, so $\liminf_S \mathcal L_S \ge \log p(x)$. With line 5 the limit exists and is $\log p(x)$.
# :::
#
# No variance had to be finite, and no weight bounded.
# How fast it arrives is another matter.
# The next theorem needs weights between two positive constants: that is so for codes that take finitely many values, and for the prior as proposal if $p(x \mid z)$ is bounded on both sides, as it is for the arm.
# It is *not* so for a Gaussian $q$ that is narrower somewhere than the posterior; then the gap may fall more slowly.
#
# :::{prf:theorem} The last part of the gap falls as $1 / S$
# :label: thm-elbo-rate
# Let $q(z) > 0$ wherever $p(x, z) > 0$, and $a \le w \le b$ with constants $0 < a \le b < \infty$. Then, as $S \to \infty$,
#
# $$
# \log p(x) - \mathcal L_S = \frac{\mathrm{Var}_q(w)}{2 S\, p(x)^2} + O(S^{-2}).
# $$ (eq-elbo-rate)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Let $u = \bar w_S / p(x) - 1$. Then $\log p(x) - \mathcal L_S = -\mathbb E \log(1 + u)$, with $u$ in the interval from $a / p(x) - 1 > -1$ to $b / p(x) - 1$.
# 2. On this interval the fourth derivative of $\log(1 + u)$ is bounded, so by Taylor's theorem $|\log(1 + u) - u + \tfrac12 u^2 - \tfrac13 u^3| \le c\, u^4$ with a constant $c$.
# 3. $\mathbb E\, u = 0$, and $\mathbb E\, u^2 = \mathrm{Var}_q(w) / (S\, p(x)^2)$, by independence.
# 4. With $v_i = w(z_i) / p(x) - 1$, expand $\mathbb E (\sum_i v_i)^3 / S^3$. The $v_i$ are independent with mean 0, so a term in which some index occurs once is 0, and $\mathbb E\, u^3 = \mathbb E\, v^3 / S^2$.
# 5. In the same way at most $3 S^2$ terms of $\mathbb E (\sum_i v_i)^4$ remain, and each is bounded: $\mathbb E\, u^4 \le C / S^2$.
# 6. Insert: $-\mathbb E \log(1 + u) = \tfrac12 \mathbb E\, u^2 + O(S^{-2})$.
# :::
#
# For unbounded weights one needs moments; {cite:p}`domke2018importance` has conditions.
# With three codes the mean in eq. {eq}`eq-elbo-iwae` is a finite sum over how often each code is drawn, so both theorems are checked without chance.


# %%
def iwae(S, q, w, largest=False):
    """Exact bounds with S draws of codes with laws q and weights w (b, 3).

    largest: with the largest weight drawn in the place of their mean.
    """
    i = torch.arange(S + 1.0)
    a, b = torch.meshgrid(i, i, indexing="ij")
    n = torch.stack([a, b, S - a - b], -1)[a + b <= S]  # how often, (M, 3)
    ways = math.lgamma(S + 1) - torch.lgamma(n + 1).sum(1, keepdim=True)
    chance = (ways + n @ q.log().T).exp()  # (M, b), multinomial
    pooled = (w * (n[:, None] > 0)).amax(-1) if largest else n @ w.T / S
    return (chance * pooled.log()).sum(0)


# %%
torch.manual_seed(seed)
q3, w3 = torch.randn(30, 3).softmax(1), torch.randn(30, 3).exp()
p3 = (q3 * w3).sum(1)
L_S = torch.stack([iwae(2**j, q3, w3) for j in range(9)], 1)
top, every = p3.log()[:, None], 2.0 ** torch.arange(9)
lower = torch.cat([L_S, L_S[:, -1:]], 1)
upper = torch.cat([L_S[:, 1:], top, top], 1)
summed = torch.cat([L_S + every.log(), L_S[:, -1:]], 1)
best = torch.stack([iwae(2**j, q3, w3, largest=True) for j in range(9)], 1)
best = (
    torch.cat([best, best[:, -1:]], 1),
    torch.cat([best[:, 1:], top, top], 1),
)
check("thm-elbo-iwae", of="worlds, nine sample sizes each").at_most(
    lower,
    upper,
    wrong={
        "the largest weight, not the mean": best,
        "weights summed, not averaged": (summed, top.expand(30, 10)),
    },
)

# %%
gap = top - L_S
limit = (q3 * (w3 - p3[:, None]) ** 2).sum(1) / (2 * p3**2)
check("thm-elbo-rate", about="the constant", of="worlds").equal(
    left=2 * 256 * gap[:, 8] - 128 * gap[:, 7],  # cancels what falls as 1 / S
    right=limit,
    rtol=2e-3,
    wrong={
        "the half forgotten": 2 * limit,
        "p(x) not squared": limit * p3,
        "deviation for variance": (limit / 2).sqrt() / 2**0.5,
    },
)

# %%
check("thm-elbo-rate", about="the order", of="sample sizes").order(
    every[3:],
    gap[:, 3:].mean(0),
    expected=-1,
    wrong={"as the error of a mean": -0.5, "as its square": -2},
)

# %% [markdown]
# Now the arm, with four proposals: the best independent Gaussian of each $x$, the network, the prior, and a mixture that draws nine times in ten from the network and else from the prior.
# All bounds are means over the same 100 observations; the line at the top is the exact mean of $\log p(x)$.

# %%
torch.manual_seed(seed)
sizes = [4**j for j in range(6) if 4**j <= draws // 4]
curves = {}
spare = torch.rand(draws, 100, 1) < 0.1  # draws that the prior makes
for name in ("independent", "network", "defended", "prior"):
    m, L = fitted["network" if name == "defended" else name]
    z_s = m + torch.einsum("bij,sbj->sbi", L, torch.randn(draws, 100, 2))
    if name == "defended":
        z_s = torch.where(spare, torch.randn(draws, 100, 2), z_s)
    log_q = MultivariateNormal(m, scale_tril=L).log_prob(z_s)
    if name == "defended":
        other = standard.log_prob(z_s).sum(-1) + math.log(0.1)
        log_q = torch.logaddexp(log_q + math.log(0.9), other)
    log_w = log_joint(x, z_s) - log_q  # (draws, 100)
    parts = [
        log_mean_exp(log_w[: draws // S * S].view(-1, S, 100), 1).mean(0)
        for S in sizes
    ]
    curves[name] = torch.stack(parts)  # (sizes, 100)

# %% tags=["hide-input"]
figure = figures.blank(3.2)
left, right = figure.subplots(1, 2)
labels = {"independent": "best independent", "network": "network"}
labels |= {"defended": "network, a tenth prior", "prior": "prior"}
for k, (name, found) in enumerate(curves.items()):
    style = {"color": PALETTE[k], "marker": MARKERS[k], "ls": DASHES[k]}
    left.plot(sizes, found.mean(1), **style)
    lost = (evidence - found).mean(1)
    right.plot(sizes, lost, label=labels[name], **style)
left.axhline(evidence.mean(), color=PALETTE[4], lw=1.2)
left.set(xscale="log", xlabel="draws S", ylabel="bound, nats")
left.text(1, evidence.mean() + 0.08, "exact log p(x)", fontsize=9)
left.set(ylim=(evidence.mean() - 6, evidence.mean() + 0.7))
right.set(xscale="log", yscale="log", xlabel="draws S")
right.set(ylabel="gap, nats")
right.legend(frameon=False, loc="lower left", fontsize=8.5)
show(
    figure,
    "The importance-weighted bound of the arm against the number of draws, "
    "for good proposals and a poor one (which starts below the left panel). "
    "Right: the same gaps on logarithmic axes.",
    alt="Left: four rising curves under a line. Right: four falling curves.",
    label="fig-elbo-draws",
)

# %%
lost = {name: (evidence - found).mean(1) for name, found in curves.items()}
better = (lost["defended"] < lost["network"]).tolist()
ahead = [f"{S:,}" for S, won in zip(sizes, better, strict=True) if won]
Markdown(
    f"With one draw the network loses {lost['network'][0]:.2f} nats, with "
    f"{sizes[-1]:,} draws {lost['network'][-1]:.2f}. The prior comes from "
    f"{lost['prior'][0]:.0f} nats and overtakes it: "
    f"{lost['prior'][-1]:.3f}. The mixture begins at "
    f"{lost['defended'][0]:.2f}, beats the network alone at S = "
    f"{', '.join(ahead) or 'none'}, and ends at {lost['defended'][-1]:.3f}."
)

# %% [markdown]
# Why does the poor proposal win in the end?
# Its weights $p(x \mid z)$ lie between two positive constants, because the hand never leaves its reach, so {prf:ref}`thm-elbo-rate` holds.
# A Gaussian that describes one elbow hardly ever draws the other one, and then with an enormous weight; the limit of {prf:ref}`thm-elbo-iwae` is still $\log p(x)$, but far away.
# The mixture is the worse bound at $S = 1$, where every tenth draw is wasted, and the better one from a few draws on; {ref}`a later section <sec-elbo-narrow>` comes back to it.
# That the prior catches up so soon is a matter of the two coordinates that are seen: with thirty informative dimensions it would need the draws of the first figure.
#
# (sec-elbo-signal)=
# ## A tighter bound can leave the encoder without a signal
#
# Should we then train with many draws?
# For the decoder, yes.
# For the encoder there is a catch {cite:p}`rainforth2018tighter`: as $S$ grows the bound depends less and less on $q$, so the gradient vanishes as $1 / S$, but its deviation only as $1 / \sqrt S$.
# The *signal-to-noise ratio*, mean over deviation, falls as $1 / \sqrt S$.
# We do not prove it; we measure it, for $z \sim \mathcal N(0, 1)$, $x \mid z \sim \mathcal N(\theta z, 1)$ at $\theta = x = 1$, and a $q = \mathcal N(\mu, \sigma^2)$ that is off.
# With $\hat w_i = w(z_i) / \sum_j w(z_j)$, the gradients of one estimate are
#
# $$
# \begin{aligned}
# \partial_\theta & : \textstyle\sum_i \hat w_i\, (x - \theta z_i)\, z_i, \\
# \partial_\mu & : \textstyle\sum_i \hat w_i\, \partial_z \log p(x, z_i), \\
# \partial_\mu \text{, twice} & : \textstyle\sum_i \hat w_i^2\, \partial_z \log w(z_i).
# \end{aligned}
# $$ (eq-elbo-signal)
#
# In the last $\partial_z$ leaves the parameters of $q$ alone; it is the *doubly reparameterised* gradient {cite:p}`tucker2019doubly`.
# It estimates the same derivative as the second, because the score inside it has been reparameterised once more; so we take the signal of both from the quieter one.

# %%
torch.manual_seed(seed)
mu, sigma, many = 0.8, 0.9, [1, 2, 4, 8, 16, 32, 64]
ratios = {"decoder": [], "encoder": [], "encoder, doubly": []}
for S in many:
    e = torch.randn(20_000, S)
    z_s = mu + sigma * e
    log_w = standard.log_prob(z_s) + standard.log_prob(1 - z_s)
    log_w = log_w - standard.log_prob(e)
    share = log_w.softmax(1)
    slope = 1 - 2 * z_s  # of log p(x, z)
    gradients = (
        (share * (1 - z_s) * z_s).sum(1),
        (share * slope).sum(1),
        (share**2 * (slope + e / sigma)).sum(1),
    )
    apart = gradients[1] - gradients[2]  # both have one mean
    assert apart.mean().abs() < 5 * apart.std() / len(apart) ** 0.5
    signals = [gradients[k].mean().abs() for k in (0, 2, 2)]
    for kept, g, signal in zip(
        ratios.values(), gradients, signals, strict=True
    ):
        kept.append((signal / g.std()).item())

# %% tags=["hide-input"]
show(
    figures.curves(
        {name: (many, kept) for name, kept in ratios.items()},
        "draws S",
        "signal to noise of one gradient",
        scales=("log", "log"),
    ),
    "More draws help the decoder and starve the encoder; reparameterised "
    "twice, the encoder gains from them too, from two draws on.",
    alt="Three lines on logarithmic axes, one of which falls.",
    label="fig-elbo-signal",
)

# %%
ends = np.log(many[2:])
slopes = {
    name: np.polyfit(ends, np.log(kept[2:]), 1)[0]
    for name, kept in ratios.items()
}
Markdown(
    "Slopes from four draws on: "
    + ", ".join(f"{name} {slope:+.2f}" for name, slope in slopes.items())
    + "; the theory says +½ for the decoder, −½ for the encoder, and +½ for "
    "it again, reparameterised twice."
)

# %% [markdown]
# (sec-elbo-ppca)=
# ## The linear VAE is probabilistic PCA, and loses nothing
#
# Is there a VAE whose bound is the likelihood?
# Take a linear decoder, $p(x \mid z) = \mathcal N(Wz + b, s^2 I)$, and a linear encoder, $q(z \mid x) = \mathcal N(V x + v, \mathrm{diag}\, d)$ with one $d$ for all $x$.
# The model is *probabilistic PCA* {cite:p}`tipping1999probabilistic`.
#
# :::{prf:theorem} The best linear VAE
# :label: thm-elbo-ppca
# Let $N$ data have the mean $\bar x$ and the covariance $\hat C$ (divided by $N$) with eigenvectors $u_k$ and eigenvalues $\lambda_1 \ge \dots \ge \lambda_D$; let $K < D$ and $\bar s^2 = \frac1{D - K} \sum_{k > K} \lambda_k > 0$.
# The largest mean ELBO per example of the linear VAE is the largest mean log-likelihood of probabilistic PCA, and both are
#
# $$
# \begin{aligned}
# -\tfrac12 \Big( & D \log 2 \pi + D + \sum_{k=1}^K \log \lambda_k \\
# & + (D - K) \log \bar s^2 \Big).
# \end{aligned}
# $$ (eq-elbo-ppca)
#
# It is reached at $b = \bar x$, $s = \bar s$, and $W$ with the columns $\sqrt{\lambda_k - \bar s^2}\, u_k$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. By eq. {eq}`eq-elbo-gap`, the mean ELBO is at most the mean log-likelihood, for every encoder.
# 2. $\log p(z) + \log p(x \mid z)$ is quadratic in $z$; completing the square, the posterior is $\mathcal N(M^{-1} W^\top (x - b),\ s^2 M^{-1})$ with $M = W^\top W + s^2 I$: its mean is linear in $x$, and its covariance is the same for all $x$.
# 3. Let the columns of an orthogonal $R$ be eigenvectors of $W^\top W$. For $WR$ in place of $W$, $M$ is diagonal, so the posterior is one of the encoders, and the bound is tight.
# 4. $(WR)(WR)^\top = W W^\top$, so $p(x) = \mathcal N(b, C)$ with $C = W W^\top + s^2 I$ has not changed. By lines 1 and 3 the two maxima are equal.
# 5. The mean log-likelihood is $-\tfrac12 \big( D \log 2 \pi + \log |C| + \mathrm{tr}\, C^{-1} \hat C + (\bar x - b)^\top C^{-1} (\bar x - b) \big)$, and $b = \bar x$ is best.
# 6. Let $c_1 \ge \dots \ge c_D$ be the eigenvalues of $C$; $c_k = s^2$ for $k > K$. Then $\mathrm{tr}\, C^{-1} \hat C = \sum_{ij} P_{ij} \lambda_j / c_i$, where $P_{ij}$ is the squared inner product of two eigenvectors; rows and columns of $P$ sum to 1.
# 7. A linear function of such $P$ is smallest at a permutation (Birkhoff's theorem), and of all permutations the one that pairs the largest $\lambda$ with the largest $c$ is best (rearrangement inequality): $\mathrm{tr}\, C^{-1} \hat C \ge \sum_k \lambda_k / c_k$.
# 8. So the bracket of line 5 is at least $D \log 2 \pi + \sum_{k \le K} (\log c_k + \lambda_k / c_k) + (D - K)(\log s^2 + \bar s^2 / s^2)$.
# 9. $\log c + \lambda / c \ge \log \lambda + 1$, with equality at $c = \lambda$. Use it for each $\lambda_k$, $k \le K$, and $D - K$ times for $\bar s^2$: the value of eq. {eq}`eq-elbo-ppca`.
# 10. All equalities hold together for the stated $W$ and $s$: $C$ has the eigenvectors $u_k$, $c_k = \lambda_k$ for $k \le K$, and $\lambda_K \ge \bar s^2 > 0$, so the roots exist. Its columns are orthogonal, so $M$ is diagonal and $R = I$ will do in line 3.
# :::
#
# Gradient ascent has no other local maximum to get stuck in {cite:p}`lucas2019dont`; we rely on it below and do not prove it.
# The data are 178 wines, 13 measurements each, scaled to variance 1.
# A linear VAE is trained for $K = 1, \dots, 8$ by L-BFGS on its ELBO, from random weights; the right side needs only eigenvalues.


# %%
wine = torch.tensor(load_wine().data)
wine = (wine - wine.mean(0)) / wine.std(0, correction=0)
N, D = wine.shape


def linear_elbo(x, W, V, log_d, log_s):
    """Mean ELBO of the linear VAE with b = v = 0 on centred x (N, D)."""
    m = x @ V.T
    square = ((x - m @ W.T) ** 2).sum(1).mean() + (W**2 @ log_d.exp()).sum()
    fit = -square / (2 * (2 * log_s).exp())
    fit = fit - x.shape[1] * (log_s + math.log(2 * math.pi) / 2)
    return fit - gaussian_kl(m, log_d).mean()


# %%
def fit_linear(x, K, steps=800):
    """Train a linear VAE with K codes by L-BFGS; its parts and its bound."""
    W, V = 0.1 * torch.randn(x.shape[1], K), 0.1 * torch.randn(K, x.shape[1])
    parts = [W, V, torch.zeros(K), torch.zeros(())]
    for part in parts:
        part.requires_grad_()
    optimiser = torch.optim.LBFGS(
        parts, max_iter=steps, line_search_fn="strong_wolfe",
        tolerance_grad=1e-8, tolerance_change=1e-10, history_size=30,
    )  # fmt: skip

    def closure():
        optimiser.zero_grad()
        loss = -linear_elbo(x, *parts)
        loss.backward()
        return loss

    optimiser.step(closure)
    return [part.detach() for part in parts], -closure().item()


# %%
torch.manual_seed(seed)
lam, U = torch.linalg.eigh(wine.T @ wine / N)
lam, U = lam.flip(0), U.flip(1)
trained = {K: fit_linear(wine, K) for K in range(1, 9)}


# %%
def closed(K, noise):
    """Eq. (elbo-ppca), with a noise variance of one's choice in its place."""
    logs = lam[:K].log().sum() + (D - K) * math.log(noise)
    rest = lam[K:].sum().item() / noise - (D - K)  # 0 at the best noise
    return -(D * math.log(2 * math.pi) + D + logs + rest) / 2


check("thm-elbo-ppca", kind="grid", of="trained models, K = 1 to 8").equal(
    left=torch.tensor([value for _, value in trained.values()]),
    right=torch.stack([closed(K, lam[K:].mean().item()) for K in trained]),
    rtol=1e-6,
    wrong={
        "noise: the next eigenvalue": torch.stack(
            [closed(K, lam[K].item()) for K in trained]
        ),
        "noise: averaged over all D": torch.stack(
            [closed(K, lam[K:].sum().item() / D) for K in trained]
        ),
    },
)

# %% [markdown]
# The network has found the principal components: the columns of $W$ span the same space as the first $K$ eigenvectors, and scikit-learn's likelihood is the same number, but for the $N - 1$ by which it divides the covariance.

# %%
rows = []
for K in (1, 2, 4, 8):
    (W, *_), value = trained[K]
    angle = torch.linalg.svdvals(torch.linalg.qr(W).Q.T @ U[:, :K]).min()
    library = PCA(K).fit(wine.numpy()).score(wine.numpy())
    row = {"codes K": K, "linear VAE, nats": f"{value:.4f}"}
    row["closed form"] = f"{closed(K, lam[K:].mean().item()):.4f}"
    row["scikit-learn"] = f"{library:.4f}"
    row["smallest cosine to PCA"] = f"{angle:.6f}"
    rows.append(row)
results_table(rows)

# %% [markdown]
# (sec-elbo-narrow)=
# ## What goes wrong: a proposal that is too narrow looks fine
#
# {prf:ref}`thm-elbo-proposal` has a cliff at $r^2 = \tfrac12$.
# It matters, because the encoder of a VAE maximises $-\mathrm{KL}(q \,\|\, p(z \mid x))$, which prefers a $q$ that is too narrow to one that is too wide ({ref}`variational inference <ch:variational-inference>` shows it).
# Let the posterior be $\mathcal N(0, I)$ in six dimensions, and $q$ be 0.6 times as wide.
# The cure is a *defensive mixture* {cite:p}`hesterberg1995weighted`: one draw in ten comes from a law that is 1.5 times as wide, and the weight has the mixture as its denominator.

# %%
K, S = 6, 20_000


def narrow_weights(share, runs=8):
    """Weights (runs, S), p(x) = 1; `share` of the draws from a wide law."""
    wide = torch.rand(runs, S, 1) < share
    z = torch.randn(runs, S, K) * torch.where(wide, 1.5, 0.6)
    laws = [Normal(0.0, scale).log_prob(z).sum(-1) for scale in (0.6, 1.5)]
    logs = torch.tensor([1 - share, share]).log()
    log_q = torch.logaddexp(laws[0] + logs[0], laws[1] + logs[1])
    return (standard.log_prob(z).sum(-1) - log_q).exp()


torch.manual_seed(seed)
plans = {
    "q is 0.6 times as wide": narrow_weights(0.0),
    "a tenth is drawn wider": narrow_weights(0.1),
}

# %% tags=["hide-input"]
figure = figures.blank(3.0)
counts = torch.arange(1, S + 1)
seen = torch.unique(torch.logspace(1, math.log10(S), 250).long()) - 1
for k, (axes, name) in enumerate(
    zip(figure.subplots(1, 2, sharey=True), plans, strict=True)
):
    running = (plans[name].cumsum(1) / counts)[:, seen]
    axes.plot(counts[seen], running.T, color=PALETTE[1 - k], lw=1, alpha=0.8)
    axes.axhline(1, color=PALETTE[4], lw=1.2)
    axes.set(xscale="log", xlabel="draws", title=name, ylim=(0, 1.9))
figure.axes[0].set_ylabel("estimate of p(x), truth 1")
show(
    figure,
    "Running estimates, eight runs each. Left: many runs lie below the truth "
    "for long, until a rare draw throws one of them up. Right: with the "
    "mixture they come together at the truth.",
    alt="Left: lines that mostly lie below one, and jump. Right: lines that "
    "settle at one.",
    label="fig-elbo-narrow",
)


# %%
def worth(w):
    """Effective share of the draws, as one would estimate it from them."""
    return (w.mean(1) ** 2 / (w**2).mean(1)).median().item()


# %%
u = torch.linspace(0, 15, 60_001)  # the radius of z
log_area = math.log(2) + K / 2 * math.log(math.pi) - math.lgamma(K / 2)
shell = log_area + (K - 1) * u.log()
flat = torch.stack([-((u / r) ** 2) / 2 - K * math.log(r) for r in (0.6, 1.5)])
flat = flat - K / 2 * math.log(2 * math.pi)
log_q = (flat + torch.tensor([[0.9], [0.1]]).log()).logsumexp(0)
log_p = -(u**2) / 2 - K / 2 * math.log(2 * math.pi)
second = torch.trapezoid((shell + 2 * log_p - log_q).exp(), u).item()
exact = {name: 1 / second for name in plans} | {next(iter(plans)): 0.0}
results_table(
    [
        {
            "proposal": name,
            "median estimate": w.mean(1).median().item(),
            "lowest": w.mean(1).min().item(),
            "highest": w.mean(1).max().item(),
            "100 draws look worth, %": worth(w[:, :100]),
            "all look worth, %": worth(w),
            "are worth, %": exact[name],
        }
        for name, w in plans.items()
    ],
    percent=["100 draws look worth, %", "all look worth, %", "are worth, %"],
)

# %% [markdown]
# From a hundred draws the two proposals look not far apart: what will ruin the narrow one has not been drawn yet, and the warning light is fed by the same blind draws.
# Its effective share then falls and falls, and its limit is zero.
# With the mixture every weight is at most ten times the quotient of posterior and wide law, and the report is true.
# An exercise proves it.
#
# (sec-elbo-results)=
# ## The chain, link by link
#
# Everything in one place: the arm with two joints, in nats per observation that are lost, and what each link repaired.

# %% tags=["hide-input"]
many = f"{sizes[-1]:,} draws"
final = {
    "naive Monte Carlo, one draw": gaps["prior"],
    f"naive Monte Carlo, {many}": evidence - curves["prior"][-1],
    "best Gaussian of each x, correlated": gaps["full covariance"],
    "best Gaussian of each x, independent": gaps["independent"],
    "amortised: the VAE's encoder": gaps["network"],
    f"amortised, {many}": evidence - curves["network"][-1],
    f"the same, a tenth prior, {many}": evidence - curves["defended"][-1],
}
results_table(
    [
        {
            "link": name,
            "lost, nats": mean_of(values),
            "median": values.median().item(),
            "worst of 100": values.max().item(),
        }
        for name, values in final.items()
    ]
)

# %% [markdown]
# ## Limits
#
# The decoder of the arm was known and stayed fixed.
# In a VAE it learns too, and then the gap is no longer only a loss of accuracy in a report: the decoder moves towards models whose posteriors $q$ can imitate {cite:p}`turner2011two`.
# Errors are over observations; the network was trained three times, for 1,500 steps, and only the first is looked into: with more steps its amortisation gap shrinks further, but never below zero.
# Importance-weighted numbers with many draws have been measured here in two dimensions; {prf:ref}`thm-elbo-proposal` says that the draws must grow exponentially with the dimension, if $q$ is off by as much in every dimension.
# No published number stands beside ours: the truth is a sum over a grid, or a formula.

# %% [markdown]
# ## Exercises
#
# ```{exercise-start} A bound from above
# :label: ex-elbo-above
# ```
# (Derive.) Recall the three routes to $\mathcal L(q)$: where does Jensen's inequality enter, what is the gap, and why does maximising $\mathcal L$ over the parameters of $q$ minimise a divergence that nobody can compute? Does a higher bound mean a better model?
# Now take the mean of $\log w$ under the *posterior* in place of $q$.
# Which divergence separates it from $\log p(x)$, and on which side?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-elbo-above
# :class: dropdown
# ```
# Jensen: $\log \mathbb E_q\, w \ge \mathbb E_q \log w$. The gap is $\mathrm{KL}(q \,\|\, p(z \mid x))$, and $\log p(x)$ is a constant for $q$, so its derivative with respect to the parameters of $q$ is zero and the two move by opposite amounts.
# With respect to the decoder it is no constant: there a bound may rise because the likelihood does, or because the gap shrinks, so a higher bound alone proves neither (the last exercise has an example).
#
# $\log w = \log p(x) + \log \frac{p(z \mid x)}{q(z)}$, and its mean under $p(z \mid x)$ is $\log p(x) + \mathrm{KL}(p(z \mid x) \,\|\, q)$: a bound from above, if $q(z) > 0$ wherever the posterior is positive.
# Where one can draw from the posterior (as for data that the model has drawn itself) the two bounds enclose $\log p(x)$.

# %%
log_w = (joint / q).log()
posterior_of_codes = joint / joint.sum(1, keepdim=True)
below, above = (q * log_w).sum(1), (posterior_of_codes * log_w).sum(1)
middle = joint.sum(1).log()
assert (below < middle).all() and (middle < above).all()
assert torch.allclose(above - middle, kl(posterior_of_codes, q))
assert torch.allclose(middle - below, kl(q, posterior_of_codes))
print(f"first world: {below[0]:.3f} < {middle[0]:.3f} < {above[0]:.3f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Why the logarithm?
# :label: ex-elbo-logarithm
# ```
# (Recall.) Why do we maximise $\log p(x)$ and not $p(x)$, which has its maximum at the same place?
# Give three reasons, one about many data, one about the computer, one about estimates.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-elbo-logarithm
# :class: dropdown
# ```
# *Data.* Independent examples have the likelihood $\prod_i p(x_i)$. Its logarithm is a sum, so a mean over a minibatch estimates it and its gradient. The product has the gradient $\prod_i p(x_i) \sum_j \nabla \log p(x_j)$: the same direction, times a factor that is nearly 0, and a minibatch says nothing about that factor. (For *one* example the two have one maximum; for a sum of $p(x_i)$ in place of the product they have not.)
#
# *Computer.* The product underflows; densities of images do so for a single example.
#
# *Estimates.* There is a price: an average of weights is unbiased for $p(x)$, but its logarithm is too low for $\log p(x)$. That loss is the gap of the bound; with independent estimates the product would stay unbiased, at a variance that grows as the exponential of the number of data.

# %%
torch.manual_seed(seed)
fit = Normal(arm(torch.randn(64, 500, 100, 2)), 0.1).log_prob(x).sum(-1)
log_estimate = log_mean_exp(fit, 0)  # 500 estimates for each of 100 hands
ratio = (log_estimate - evidence).exp().mean(1)
off = mean_of(ratio - 1)
assert abs(off.value) < 5 * off.error
low = mean_of((log_estimate - evidence).mean(1), "nats")
assert low.value < -5 * low.error
print(f"mean of 500 estimates of p(x) / p(x), minus 1: {off}")
print(f"of their logarithms, minus log p(x): {low}")
print(f"784 pixels of probability 0.3: {0.3**784}, {784 * math.log(0.3):.0f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The decoder's gradient, and all the data
# :label: ex-elbo-data
# ```
# (Derive.) The encoder's gradient needed a theorem. What is the gradient of the bound in the *decoder's* weights $\theta$, and its Monte Carlo estimate?
# Then write down objective and gradients for $N$ examples, and an estimate of each from a minibatch of $B$.
# Last, amortise: one encoder for all examples, a decoder with a mean and a scale for each pixel, a prior whose mean and scale are learned. What is the final objective, what do its terms mean, and what are the steps of the training?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-elbo-data
# :class: dropdown
# ```
# $q$ holds no $\theta$, so the derivative moves inside (by dominated convergence, where the derivative of the integrand has an integrable bound): $\nabla_\theta \mathcal L = \mathbb E_q \nabla_\theta \log p_\theta(x, z)$, estimated by the mean of $\nabla_\theta \log p_\theta(x, z_s)$ over draws $z_s \sim q$. No trick is needed, and the rate adds nothing unless the prior is learned.
#
# For a data set the objective is $\sum_i \mathcal L(x_i; \theta, \lambda)$, with one encoder $\lambda$ for all.
# Each $i$ is in a random minibatch $b$ with probability $B / N$, so $\frac NB \sum_{i \in b} \mathcal L(x_i)$ and $\frac NB \sum_{i \in b} \nabla \mathcal L(x_i)$ are unbiased; with one reparameterised draw for each example they still are, since the means of draws and of batches may be taken in any order.
# The usual loss, the *mean* over the batch, is this divided by $N$: the step size takes up the constant. It must not be forgotten where a term that belongs to the whole data set once, such as a prior on $\theta$, is added.
#
# *The whole.* With $q_\lambda(z \mid x) = \mathcal N(\mu_\lambda(x), \mathrm{diag}\, \sigma_\lambda^2(x))$ maximise $\sum_i \mathbb E_q \log \mathcal N\big(x_i; \mu_\theta(z), \mathrm{diag}\, s_\theta^2(z)\big) - \mathrm{KL}\big(q_\lambda(z \mid x_i) \,\|\, \mathcal N(\mu_z, \sigma_z^2 I)\big)$: the fit asks the code to explain the example, the rate asks it to cost little beside the prior, by eq. {eq}`eq-elbo-kl-diagonal`, which here has parameters on both sides.
# (The sheet takes a sigmoid both as the name of the nonlinearity and for the scale $s_\theta$; a scale below 1 is then all that the decoder can have.)
# The training: draw a minibatch; encode it to means and scales; draw $z = \mu + \sigma \varepsilon$; decode, and add up fit and rate; differentiate in $\theta$, $\lambda$, $\mu_z$ and $\sigma_z$ at once; take a step; repeat.
# {ref}`sec-vae-loop` has it in thirty lines.
#
# The cell has eight wines and a linear decoder, where the bound's gradient is exact; and all 56 minibatches of three.

# %%
torch.manual_seed(seed)
eight, V = wine[:8], torch.randn(2, 13) / 5
W0 = (torch.randn(13, 2) / 3).requires_grad_()
nothing = torch.zeros(2), torch.zeros(())  # log-variances, log-scale: all 1
whole = 8 * linear_elbo(eight, W0, V, *nothing)
(exact_slope,) = torch.autograd.grad(whole, W0)
z = eight @ V.T + torch.randn(20_000, 8, 2)
miss = eight - z @ W0.detach().T
each = miss[..., None] * z[..., None, :]  # d log p / dW, (20000, 8, 13, 2)
total = each.sum(1)
error = total.std(0) / len(total) ** 0.5
assert ((total.mean(0) - exact_slope).abs() < 5 * error).all()

# %%
slopes = each.mean(0)  # of the eight examples
batches = torch.combinations(torch.arange(8), 3)
sums = slopes[batches].sum(1)  # (56, 13, 2)
assert torch.allclose(8 / 3 * sums.mean(0), slopes.sum(0))
size = slopes.sum(0).norm()
print(f"draws: within {(total.mean(0) - exact_slope).norm() / size:.1%}")
print(f"{len(batches)} minibatches, with N / B: ", end="")
print(f"{(8 / 3 * sums.mean(0)).norm() / size:.3f} of the gradient's length")
print(f"without: {sums.mean(0).norm() / size:.3f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Other units, same divergence
# :label: ex-elbo-units
# ```
# (Derive.) Show that the KL between two Gaussians does not change when both are mapped by one invertible affine map.
# Use it to derive eq. {eq}`eq-elbo-kl` from the case in which the second law is $\mathcal N(0, I)$.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-elbo-units
# :class: dropdown
# ```
# Under $z \mapsto A z + c$ both densities are divided by $|\det A|$, which cancels from the quotient, and the mean is over the same draws.
# Take $A = \Sigma_1^{-1/2}$, $c = -A \mu_1$: the second law becomes $\mathcal N(0, I)$, the first $\mathcal N(-A \delta, A \Sigma_0 A)$.
# The divergence of $\mathcal N(\mu, \Sigma)$ from $\mathcal N(0, I)$ is $\tfrac12 (\mathrm{tr}\, \Sigma + \mu^\top \mu - K - \log |\Sigma|)$.
# Insert; twice the divergence is $\mathrm{tr}\, \Sigma_1^{-1} \Sigma_0 + \delta^\top \Sigma_1^{-1} \delta - K - \log (|\Sigma_0| / |\Sigma_1|)$.

# %%
torch.manual_seed(seed)
A, shift = torch.randn(16, 2, 2), torch.randn(16, 2)


def mapped(m, C):
    return torch.einsum("bij,bj->bi", A, m) + shift, A @ C @ A.mT


moved = gaussian_kl_full(*mapped(m0, C0), *mapped(m1, C1))
assert torch.allclose(moved, gaussian_kl_full(m0, C0, m1, C1))
oracle = torch.distributions.kl_divergence(
    MultivariateNormal(m0, C0), MultivariateNormal(m1, C1)
)
assert torch.allclose(moved, oracle)
print(f"{len(A)} pairs of Gaussians: the same before, after, and in torch")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A wave
# :label: ex-elbo-wave
# ```
# (Derive.) Show that the reparameterised gradient with respect to $\mu$ is unbiased for $f(z) = \cos(\omega z)$, $z \sim \mathcal N(\mu, \sigma^2)$, and derive both variances.
# Find values of $\omega \sigma$ below which it is the quieter one for every $\mu$, and above which the score is.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-elbo-wave
# :class: dropdown
# ```
# From $\mathbb E\, e^{i \omega z} = e^{i \omega \mu - \tau^2 / 2}$ with $\tau = \omega \sigma$: $\mathbb E f = e^{-\tau^2 / 2} \cos \omega \mu$, and $\mathbb E f' = -\omega e^{-\tau^2 / 2} \sin \omega \mu$ is its derivative.
# Write $g = e^{-2 \tau^2} \cos 2 \omega \mu = \mathbb E \cos 2 \omega z$.
# Then $\mathbb E f'^2 = \tfrac12 \omega^2 (1 - g)$.
# For the score, $\mathbb E\, \varepsilon^2 \cos 2 \omega z = (1 - 4 \tau^2)\, g$, because $\mathbb E\, \varepsilon^2 e^{i a \varepsilon} = (1 - a^2)\, e^{-a^2 / 2}$; so $\mathbb E f^2 \varepsilon^2 / \sigma^2 = \big(1 + (1 - 4 \tau^2)\, g\big) / 2 \sigma^2$.
# The means are equal, so the difference of the variances, times $2 \sigma^2$, is $1 - \tau^2 + (1 - 3 \tau^2)\, g$, with $|g| \le e^{-2 \tau^2}$.
# For $\tau^2 \le \tfrac13$ it is at least $1 - \tau^2 - (1 - 3 \tau^2) = 2 \tau^2 > 0$: reparameterise.
# For $\tau^2 \ge \tfrac32$ it is negative, since $\tau^2 - 1 \ge \tfrac12$ outgrows $(3 \tau^2 - 1)\, e^{-2 \tau^2} \le 0.18$: the score wins.

# %%
phase = torch.linspace(0, 2 * math.pi, 101)[:, None]
tau = torch.cat(
    [torch.linspace(0.05, 3**-0.5, 50), torch.linspace(1.5**0.5, 6, 50)]
)
R, T = wave_variances(tau, phase / tau, torch.tensor(1.0))
assert (R < T)[:, :50].all() and (R > T)[:, 50:].all()
for column in range(len(some)):
    exact_R, exact_T = wave_variances(some[column], 0.5, 1.0)
    assert abs(measured[0][column] / exact_R - 1) < 0.1
    assert abs(measured[1][column] / exact_T - 1) < 0.1
print("formulas within 10 % of the marks; both ranges hold at 101 phases")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The code that is never drawn
# :label: ex-elbo-missed
# ```
# (Derive.) {prf:ref}`thm-elbo-iwae` asks for $q(z) > 0$ wherever $p(x, z) > 0$.
# Where does $\mathcal L_S$ go if $q$ leaves out a part of the posterior?
# Prove it, and check it with four codes of which $q$ draws three.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-elbo-missed
# :class: dropdown
# ```
# Replace $p(x, z)$ by $\tilde p(x, z) = p(x, z)$ where $q(z) > 0$, and 0 elsewhere.
# No weight changes, and for $\tilde p$ the theorem holds: $\mathcal L_S$ still grows, and its limit is $\log \tilde p(x) = \log p(x) + \log P(q > 0)$ with the probability under the posterior.
# More draws do not help against a mode that cannot be drawn.

# %%
torch.manual_seed(seed + 1)  # or its first row would be that of q3
four = torch.randn(20, 4).exp()  # p(x, z) of four codes
limits = (four[:, :3].sum(1)).log()
found = [iwae(S, q3[:20], four[:, :3] / q3[:20]) for S in (1, 16, 256)]
assert (found[0] < found[1]).all() and (found[1] < found[2]).all()
assert (found[2] < limits).all() and (limits - found[2]).mean() < 0.02
lasting = (four.sum(1).log() - limits).mean()
print(f"256 draws: {(limits - found[2]).mean():.4f} nats from that limit,")
print(f"which is {lasting:.2f} nats below log p(x)")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The same law, another bound
# :label: ex-elbo-rotate
# ```
# (Derive.) Rotate the codes of probabilistic PCA with $K = 2$: $W R$ in place of $W$.
# What happens to $p(x)$, and what to the ELBO with the best independent encoder?
# Which rotation is worst?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-elbo-rotate
# :class: dropdown
# ```
# $p(x)$ does not change, because $W R R^\top W^\top = W W^\top$.
# The posterior's precision becomes $R^\top M R / s^2$, and the best independent $q$ has the right mean and the variances $s^2 / (R^\top M R)_{kk}$ ({ref}`variational inference <ch:variational-inference>` proves it).
# The gap is $\tfrac12 \big( \sum_k \log (R^\top M R)_{kk} - \log |M| \big)$.
# The trace is fixed, so the product of the diagonal is largest when both are equal: at 45 degrees.


# %%
def ppca(K):
    """The closed-form W of the wines, and its log noise scale."""
    noise = lam[K:].mean()
    return U[:, :K] * (lam[:K] - noise).sqrt(), noise.log() / 2


def best_bound(W, log_s):
    """The ELBO of the wines with the best independent linear encoder."""
    M = W.T @ W + (2 * log_s).exp() * torch.eye(W.shape[1])
    log_d = 2 * log_s - M.diagonal().log()
    gap = (M.diagonal().log().sum() - M.logdet()) / 2
    return linear_elbo(wine, W, torch.linalg.solve(M, W.T), log_d, log_s), gap


W, log_s = ppca(2)
top = closed(2, lam[2:].mean().item())
for degrees in (0, 15, 30, 45, 60):
    a = torch.tensor(math.radians(degrees))
    R = torch.stack([a.cos(), -a.sin(), a.sin(), a.cos()]).view(2, 2)
    value, gap = best_bound(W @ R, log_s)
    assert torch.isclose(top - value, gap)
    print(f"{degrees:2d} degrees: the bound loses {gap:.4f} nats")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The defence
# :label: ex-elbo-defensive
# ```
# (Derive.) Write down $p(x)$ for a model with a hidden $z$. What is hard about it, how is it approximated with draws from the prior, and how with draws from a proposal? Which proposal would you choose, by intuition?
# Say in one sentence each why the first two fail and what the third needs.
# Then let $q_\alpha = (1 - \alpha)\, q + \alpha\, q_0$ with another law $q_0$.
# Bound its weights and $1 + \chi^2$ by those of $q_0$, whatever $q$ is.
# How far is the bound from the truth for {ref}`the narrow proposal <sec-elbo-narrow>`?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-elbo-defensive
# :class: dropdown
# ```
# $p(x) = \int p(z)\, p(x \mid z)\, dz \approx \frac1S \sum_s p(x \mid z_s)$ with $z_s \sim p(z)$, or $\frac1S \sum_s \frac{p(z_s)\, p(x \mid z_s)}{q(z_s)}$ with $z_s \sim q$; choose $q$ where the product above is large, that is, like the posterior.
# The sum gets longer by a factor with every dimension; draws from the prior hit the posterior with a probability that shrinks by a factor with every informative dimension; importance sampling needs a proposal near the posterior, with tails that are not lighter.
# As $q_\alpha \ge \alpha\, q_0$, each weight is at most $\frac1\alpha \frac{p(x, z)}{q_0(z)}$, and $1 + \chi^2 = \int \frac{p(z \mid x)^2}{q_\alpha(z)}\, dz \le \frac1\alpha (1 + \chi_0^2)$ with the $\chi_0^2$ of $q_0$.
# For $q_0$ 1.5 times as wide as the posterior the right side is a formula, {prf:ref}`thm-elbo-proposal`.

# %%
ceiling = (1.5**2 / math.sqrt(2 * 1.5**2 - 1)) ** 6 / 0.1
largest = plans["a tenth is drawn wider"].max().item()
assert second <= ceiling and largest <= 1.5**6 / 0.1
print(f"1 + chi^2 = {second:.2f}, bound {ceiling:.1f}")
print(f"largest weight {largest:.1f}, bound {1.5**6 / 0.1:.1f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Which model is better? (open)
# :label: ex-elbo-which
# ```
# (Open.) Find two models of the wines of which the better one, by likelihood, has the worse ELBO.
# How should models be compared whose likelihoods nobody knows?
# There is no last word on this.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-elbo-which
# :class: dropdown
# ```
# A first answer: take $K = 4$, rotated so that all four codes overlap as much as they can, against $K = 3$ with upright codes.
# The fourth code makes the likelihood better and the rotation makes the bound worse.
# A fair comparison raises $S$ for both until the order no longer changes, says how large $S$ was, and adds the bound from above where data are the model's own.

# %%
half = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / math.sqrt(2)
W3, W4 = ppca(3), ppca(4)
turned = W4[0] @ torch.kron(half, half), W4[1]
rows = []
for name, model in (("K = 3", W3), ("K = 4, turned", turned)):
    value, gap = best_bound(*model)
    row = {"model": name, "log-likelihood, nats": value + gap}
    rows.append(row | {"ELBO, nats": value})
assert rows[0]["ELBO, nats"] > rows[1]["ELBO, nats"]
like = [row["log-likelihood, nats"] for row in rows]
assert like[0] < like[1]
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What a VAE loses

# %%
steps = [
    gaps[name].mean().item()
    for name in ("full covariance", "independent", "network")
]
Markdown(
    "It loses exactly a divergence, from its encoder to the posterior. For "
    f"the hand of the arm that was {steps[2]:.2f} nats on average, and "
    f"{gaps['network'].max():.0f} at worst. On average "
    f"{steps[0]:.2f} were lost because the posterior is not a Gaussian, "
    f"{steps[1] - steps[0]:.2f} because the coordinates of $q$ are "
    f"independent, and {steps[2] - steps[1]:.2f} because one network, "
    f"trained for a few seconds, answered for all observations. With {sizes[-1]:,} draws, a tenth of "
    f"them from the prior, {lost['defended'][-1]:.3f} nats were left; for "
    "the linear VAE nothing was lost at all."
)

# %% [markdown]
# With thirty joints we still knew the truth, because a hand shows only two numbers.
# For a VAE of images nobody can sum, but the answer has the same parts: the loss is a divergence, never negative, and a better family, a better network or more draws make it smaller.
# Between two models whose bounds differ by less than what they may have lost, the bounds do not decide.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
