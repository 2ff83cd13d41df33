# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:score-matching)=
# # Score matching
#
# *What can be known from slopes alone?*
#
# A valley lies in thick fog, and two villages lie in the valley.
# Four out of five people live in the larger one.
# Visitors are dropped at random places.
# None of them sees a house, but everybody hears voices, and can tell in which direction they get louder, and how fast.
# So they walk where it gets louder, and by the evening all have arrived.
# Did four out of five arrive in the larger village?
#
# Replace the loudness by the logarithm of a density, and the visitors by samples.
# A density that a network computes must integrate to one, which binds the network to special forms or leaves a constant that nobody can compute; a slope need not.
# This chapter learns slopes from samples, in three ways that are one, walks along them, and finds what slopes at one scale hardly tell.
# The world is a mixture of Gaussians, so every slope, loss and weight has an exact value beside it.
#
# :::{admonition} You will learn to
# - prove Hyvärinen's identity, which fits a slope nobody has seen, and show where it fails;
# - prove that a denoising autoencoder learns the same, and name the constant between the two;
# - trade an exact trace for random slices, and bias for variance;
# - say how wrong a Langevin walk of finite steps is;
# - lose the weights of far modes on purpose, say why no loss warns of it, and get them back by many levels of noise.
#
# You need: integration by parts, conditional means, Gaussian densities.
# :::
#
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $\nabla \log p(x)$ | score of the data | $(B, D)$ | `exact` |
# | $s(x)$ | score of the model | $(B, D)$ | `score` |
# | $\nabla s(x)$ | its Jacobian, $\mathrm{tr}$ its trace | $(B, D, D)$ | |
# | $\tilde x = x + \sigma \varepsilon$ | noisy data, $\varepsilon \sim \mathcal N(0, I)$ | $(B, D)$ | `noisy` |
# | $q_\sigma$ | law of $\tilde x$ | | `world` at one time |
# | $r(\tilde x)$ | a denoiser, a guess of $x$ | $(B, D)$ | `clean` |
# | $\nabla^2$, $\Delta$ | Hessian, and its trace | | |
# | $\alpha$ | step of a Langevin walk | | `step` |

# %% tags=["parameters"]
seed: int = 0
steps: int = 1_000  # of each training with one noise level or none
levels_steps: int = 3_000  # of the network of all noise levels

# %% tags=["hide-input"]
import math
from itertools import pairwise, product

import torch
import torch.nn.functional as F
from IPython.display import Markdown
from scipy.special import roots_legendre

# %% tags=["hide-input"]
from companion import figures
from companion.claims import check
from companion.figures import Explorable, curves, results_table, show
from companion.figures import show_source as source
from companion.figures.sketches import Sketch
from companion.figures.style import PALETTE
from companion.metrics import mean_of
from companion.objectives.scores import (
    denoising_score_loss,
    implicit_score_loss,
    sliced_score_loss,
)
from companion.samplers.langevin import (
    annealed_langevin,
    langevin,
    langevin_path,
)
from companion.words import at_least
from companion.worlds.gaussians import eight_gaussians_density
from companion.worlds.mixture import NoisedMixture

at_least(1, steps=steps, levels_steps=levels_steps)
torch.set_default_dtype(torch.float64)

# %% tags=["hide-input"]
sketch = Sketch(360, 150)
sketch.node("large", 100, 52, "4 of 5", size=(64, 30), shaded=True)
sketch.node("small", 278, 92, "1 of 5", size=(56, 26), shaded=True)
for k, (x, y) in enumerate(((30, 20), (40, 120), (150, 132), (165, 24))):
    sketch.node(k, x, y, "?").link(k, "large")
for k, (x, y) in enumerate(((210, 130), (330, 130), (336, 40), (225, 40)), 4):
    sketch.node(k, x, y, "?").link(k, "small", lit=True)
sketch.show(
    "Visitors (?) walk where the density rises. As many start on one side as "
    "on the other, and nothing on the way tells them how large a village is.",
    alt="Two shaded villages, a large and a small one, with four walkers and "
    "their arrows around each.",
    label="fig-score-matching-valley",
)

# %% [markdown]
# (sec-score-matching-hyvarinen)=
# ## A slope can be fitted to data that never show it
#
# The *score* of a density is the gradient of its logarithm.
# If $p = \tilde p / Z$, then $\nabla \log p = \nabla \log \tilde p$: the constant that makes $p$ integrate to one has no slope.
# (This is not the score of statistics, which differentiates by a parameter.)
#
# To fit $s$ to the score of the data we would minimise
#
# $$
# J(s) = \tfrac12\, \mathbb E_p \lVert s(x) - \nabla \log p(x) \rVert^2,
# $$ (eq-score-matching-explicit)
#
# the *explicit* loss, half of a Fisher divergence; but of $p$ there are only samples.
# Integration by parts moves the derivative from what we lack to what we have {cite:p}`hyvarinen2005estimation`.
#
# :::{prf:theorem} Hyvärinen's identity
# :label: thm-score-matching-hyvarinen
# Let $p$ be a density on $\mathbb R^D$ and $s: \mathbb R^D \to \mathbb R^D$, both continuously differentiable, with finite $\mathbb E_p \lVert s \rVert^2$, $\mathbb E_p \lVert \nabla \log p \rVert^2$ and $\mathbb E_p |\partial_i s_i|$ for all $i$. Then
#
# $$
# \begin{aligned}
# J(s) = {} & \mathbb E_p \big[ \tfrac12 \lVert s \rVert^2 + \mathrm{tr}\, \nabla s \big] \\
# & + \tfrac12\, \mathbb E_p \lVert \nabla \log p \rVert^2.
# \end{aligned}
# $$ (eq-score-matching-hyvarinen)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Expand the square: $J(s) = \tfrac12 \mathbb E_p \lVert s \rVert^2 - \mathbb E_p [s^\top \nabla \log p] + \tfrac12 \mathbb E_p \lVert \nabla \log p \rVert^2$. All three are finite, the middle one by the Cauchy-Schwarz inequality.
# 2. $p\, \nabla \log p = \nabla p$ where $p > 0$; where $p = 0$, also $\nabla p = 0$, because $p \ge 0$ has a minimum there. So $\mathbb E_p[s^\top \nabla \log p] = \sum_i \int s_i\, \partial_i p$.
# 3. $\partial_i (p s_i) = s_i\, \partial_i p + p\, \partial_i s_i$. Both terms on the right and $p s_i$ are integrable, by the Cauchy-Schwarz inequality and by assumption.
# 4. By Fubini's theorem, on almost every line along axis $i$ both $g = p s_i$ and $g'$ are integrable. So $g$ has limits at both ends, $g(b) - g(a) = \int_a^b g'$ having them; as $g$ is integrable, they are 0. Hence $\int g' = 0$.
# 5. Integrate over the other coordinates: $\int s_i\, \partial_i p = -\mathbb E_p\, \partial_i s_i$. Sum over $i$ and insert into line 1.
# :::
#
# The last term does not depend on $s$, so the bracket, the *implicit* loss, has the same minimiser and the same gradients; and it is a mean over data.
# It costs the diagonal of a Jacobian: one backward pass for each coordinate.

# %%
source(implicit_score_loss)

# %% [markdown]
# The check integrates both sides over the plane, for ten random mixtures of Gaussians and ten random fields, which need not be gradients.
# The class `NoisedMixture` is the next chapter's: at time $t$ it holds, in closed form, $\sqrt{\bar\alpha_t}\,(x + \sigma \varepsilon)$ with $\bar\alpha_t = 1 / (1 + \sigma^2)$; we undo the factor where we use it.


# %%
def random_world(D, sigma=0.0):
    """Three Gaussians; time 1 holds sqrt(kept) (x + sigma noise)."""
    weights, means = 0.2 + torch.rand(3), 5 * torch.rand(3, D) - 2.5
    kept = torch.tensor([1.0, 1 / (1 + sigma**2)])
    return NoisedMixture(weights, means, 0.7 + torch.rand(3) / 2, kept)


def field(D, width=6):
    """A random network: x (..., D) -> (..., D)."""
    A, b, C = torch.randn(D, width), torch.randn(width), torch.randn(width, D)
    return lambda x: torch.tanh(x @ A / D**0.5 + b) @ C


# %%
torch.manual_seed(seed)
tick = torch.linspace(-11, 11, 181)
plane, now = torch.cartesian_prod(tick, tick), torch.zeros(181**2).long()
found = []
for _ in range(10):
    world, s = random_world(2), field(2)
    p = world.log_prob(plane, now).exp() * (tick[1] - tick[0]) ** 2
    exact, square = world.score(plane, now), s(plane).square().sum(1)
    explicit = (s(plane) - exact).square().sum(1) / 2
    constant, implicit = (
        exact.square().sum(1) / 2,
        implicit_score_loss(s, plane),
    )
    trace = implicit.detach() - square / 2
    terms = (explicit, constant, square, trace)
    found.append(torch.stack([p @ term for term in terms]))

# %%
explicit, constant, square, trace = torch.stack(found, 1)
check("thm-score-matching-hyvarinen", of="random worlds in the plane").equal(
    left=explicit,
    right=square / 2 + trace + constant,
    how="quadrature",
    rtol=1e-7,
    wrong={
        "the half forgotten": square + trace + constant,
        "the trace subtracted": square / 2 - trace + constant,
        "half of the trace": square / 2 + trace / 2 + constant,
        "the constant forgotten": square / 2 + trace,
    },
)

# %% [markdown]
# (sec-score-matching-boundary)=
# ## Where a density ends in a cliff, the identity lies
#
# The theorem asks for a density that is smooth on the whole space.
# The density of pixels in $[0, 1]$, or of waiting times, is not.
#
# :::{prf:proposition} What the edge adds
# :label: prop-score-matching-boundary
# Let $p$ be a density on the line, 0 outside $[a, b]$; on $[a, b]$ let $p$ and $s$ be continuously differentiable and $p$ positive. Then eq. {eq}`eq-score-matching-hyvarinen` lacks an edge: $J(s) = \mathbb E_p [ \tfrac12 s^2 + s' ] + \tfrac12\, \mathbb E_p (p' / p)^2 - e$, with $e = p(b)\, s(b) - p(a)\, s(a)$.
# If $b = \infty$, with $[a, \infty)$ for $[a, b]$, the same holds with $p(b)\, s(b)$ read as 0, if $\mathbb E_p s^2$, $\mathbb E_p |s'|$ and $\mathbb E_p (p' / p)^2$ are finite.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. As before, $J(s) = \tfrac12 \mathbb E_p s^2 - \int_a^b s\, p' + \tfrac12 \mathbb E_p (p' / p)^2$.
# 2. By integration by parts, $\int_a^b s\, p' = p(b)\, s(b) - p(a)\, s(a) - \int_a^b p\, s'$. Insert.
# 3. If $b = \infty$, then $p s$ and $(p s)'$ are integrable, so $p s$ has the limit 0, as in lines 3 and 4 of the last proof.
# :::
#
# The check has exponential laws $p(x) \propto e^{-\lambda x}$ on $[0, b]$, the uniform one ($\lambda = 0$) among them, and random parabolas as $s$; in the last two cases $b$ is as good as infinite.

# %%
torch.manual_seed(seed)
nodes, weights = map(torch.tensor, roots_legendre(80))
cases = [*product((-1, 0.0, 0.5, 2), (0.5, 1, 3)), (0.5, 80), (2, 20)]
rate, b = torch.tensor(cases).T[..., None]
c = torch.randn(3, len(cases), 1)
x = b * (1 + nodes) / 2
mass = weights * (-rate * x).exp()
mass = mass / mass.sum(1, keepdim=True)
Z = torch.where(rate == 0, b, -torch.expm1(-rate * b) / rate)
s, slope = c[0] + c[1] * x + c[2] * x**2, c[1] + 2 * c[2] * x
far, near = (c[0] + c[1] * b + c[2] * b**2) * (-rate * b).exp() / Z, c[0] / Z

# %%
terms = (s + rate) ** 2 / 2, s**2 / 2 + slope + rate**2 / 2, far, near
explicit, naive, far, near = ((mass * term).sum(1) for term in terms)
check("prop-score-matching-boundary", of="laws with an edge").equal(
    left=explicit,
    right=naive - far + near,
    how="quadrature",
    wrong={
        "Hyvärinen's identity, no edge": naive,
        "the edge added": naive + far - near,
        "only the far end": naive - far,
        "only the near end": naive + near,
    },
)

# %% [markdown]
# The lie is not small.
# Waiting times with $p(x) = \lambda e^{-\lambda x}$ have the score $-\lambda$; yet for a constant $c$ the implicit loss is $\tfrac12 c^2$, least at 0 whatever the data.
# {ref}`An exercise <ex-score-matching-half-line>` repairs it; noise will do so too.
#
# (sec-score-matching-sliced)=
# ## A random slice of the Jacobian is enough
#
# Images have thousands of coordinates, and the trace would take as many backward passes.
# *Sliced* score matching looks in one random direction $v$ at a time {cite:p}`song2020sliced`; it uses the trace estimator of {cite:t}`hutchinson1989stochastic`.
#
# :::{prf:theorem} Slices are unbiased
# :label: thm-score-matching-sliced
# Let $v$ be independent of $x$ with $\mathbb E\, v v^\top = I$. At every $x$
#
# $$
# \mathbb E_v \big[ \tfrac12 (v^\top s)^2 + v^\top \nabla s\, v \big] = \tfrac12 \lVert s \rVert^2 + \mathrm{tr}\, \nabla s .
# $$ (eq-score-matching-sliced)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. A number is its own trace, and a trace does not change when its factors move in a circle: $v^\top A v = \mathrm{tr}(A v v^\top)$ for any matrix $A$.
# 2. Mean and trace are linear, so $\mathbb E_v\, v^\top A v = \mathrm{tr}(A\, \mathbb E\, v v^\top) = \mathrm{tr}\, A$.
# 3. Take $A = \nabla s$, and $A = s s^\top$, whose trace is $\lVert s \rVert^2$.
# :::
#
# The mean needs only the second moments of $v$; the fourth moments decide how noisy it is.
#
# :::{prf:proposition} Among independent coordinates signs are the quietest
# :label: prop-score-matching-signs
# Let the coordinates of $v$ be independent with mean 0, variance 1 and fourth moment $\kappa$, and $A$ the symmetric part of $\nabla s$, $\tfrac12 (\nabla s + \nabla s^\top)$. Then $\kappa \ge 1$ and
#
# $$
# \mathrm{Var}\, v^\top \nabla s\, v = 2 \sum_{i \ne j} A_{ij}^2 + (\kappa - 1) \sum_i A_{ii}^2 .
# $$ (eq-score-matching-signs)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $v^\top B v = v^\top B^\top v$, so $\nabla s$ may be replaced by $A$.
# 2. $v^\top A v - \mathrm{tr}\, A = 2 \sum_{i < j} A_{ij} v_i v_j + \sum_i A_{ii} (v_i^2 - 1)$. Every term has mean 0, and two different ones are uncorrelated: by independence their product has a factor of mean 0.
# 3. $\mathrm{Var}\, v_i v_j = 1$ for $i \ne j$ and $\mathrm{Var}\, v_i^2 = \kappa - 1 \ge 0$. So the variance is $4 \sum_{i < j} A_{ij}^2 + (\kappa - 1) \sum_i A_{ii}^2$.
# :::
#
# Fair signs $\pm 1$ (Rademacher's law) have $\kappa = 1$, normal directions 3.
# In one dimension signs are exact.
# The loss of the package uses $\tfrac12 \lVert s \rVert^2$ as it stands, which costs nothing and leaves only the trace to chance.

# %%
source(sliced_score_loss)

# %% [markdown]
# Both checks sum over *all* directions of two laws in three dimensions: the 8 signs, and the 27 points with coordinates $0, \pm \sqrt 3$ of probabilities $\tfrac23, \tfrac16, \tfrac16$, whose moments up to the fifth are those of the normal.

# %%
torch.manual_seed(seed)
s, x = field(3), torch.randn(20, 3)
three = {0.0: 2 / 3, 3**0.5: 1 / 6, -(3**0.5): 1 / 6}
laws = {1: {1.0: 0.5, -1.0: 0.5}, 3: three}  # by fourth moment


def slices(law, scale=1.0, reduced=True):
    """All directions' losses (n, 20) and their probabilities (n,)."""
    v = scale * torch.tensor(list(product(law, repeat=3)))
    prob = torch.tensor(list(product(law.values(), repeat=3))).prod(1)
    every = (20, len(v), 3)
    at, v = x[:, None].expand(every), v.expand(every)
    return sliced_score_loss(s, at, v, reduced).detach().T, prob


# %%
full = implicit_score_loss(s, x).detach()
means = [p @ loss for loss, p in (slices(law) for law in laws.values())]
plain = [
    p @ loss for loss, p in (slices(law, 1, False) for law in laws.values())
]
ball = [
    p @ loss for loss, p in (slices(law, 3**-0.5) for law in laws.values())
]
trace = full - s(x).square().sum(1) / 2
check(
    "thm-score-matching-sliced",
    of="points and laws of directions, all directions summed",
).equal(
    left=torch.cat(means + plain),
    right=full.repeat(4),
    how="random instances",
    wrong={
        "directions of mean square length 1": torch.cat(ball * 2),
        "the trace left out": (full - trace).repeat(4),
        "the trace subtracted": (full - 2 * trace).repeat(4),
    },
)

# %%
J = torch.func.vmap(torch.func.jacrev(s))(x)
A = (J + J.mT) / 2
total = A.square().sum((1, 2))
diagonal = A.diagonal(dim1=1, dim2=2).square().sum(1)
lone = J.square().sum((1, 2)) - diagonal
spread = []
for law in laws.values():
    loss, prob = slices(law)
    spread.append(prob @ (loss - prob @ loss) ** 2)
check("prop-score-matching-signs", of="points and laws").equal(
    left=torch.cat(spread),
    right=torch.cat([2 * (total - diagonal), 2 * total]),
    how="random instances",
    wrong={
        "the Jacobian not symmetrised": torch.cat(
            [2 * lone, 2 * (lone + diagonal)]
        ),
        "κ in place of κ - 1": torch.cat(
            [2 * total - diagonal, 2 * total + diagonal]
        ),
        "signs are exact": torch.cat([0 * total, 2 * total]),
    },
)

# %% [markdown]
# (sec-score-matching-denoising)=
# ## To know the slope is to know how to denoise
#
# Now shake the data: $\tilde x = x + \sigma \varepsilon$ with $\varepsilon \sim \mathcal N(0, I)$ and $\sigma > 0$.
# Given $\tilde x$, where was $x$?
#
# :::{prf:theorem} Tweedie's formula
# :label: thm-score-matching-tweedie
# Let $x$ have any law on $\mathbb R^D$, independent of $\varepsilon$, and let $q_\sigma$ be the density of $\tilde x$. Then $q_\sigma$ is positive and smooth, and
#
# $$
# \begin{aligned}
# \mathbb E[x \mid \tilde x] & = \tilde x + \sigma^2\, \nabla \log q_\sigma(\tilde x), \\
# \mathrm{Cov}[x \mid \tilde x] & = \sigma^2 \big( I + \sigma^2\, \nabla^2 \log q_\sigma(\tilde x) \big).
# \end{aligned}
# $$ (eq-score-matching-tweedie)
# :::
#
# :::{prf:proof}
# In steps, with $\varphi$ the density of $\sigma \varepsilon$ and $u = (x - \tilde x) / \sigma^2$:
#
# 1. $q_\sigma(\tilde x) = \mathbb E\, \varphi(\tilde x - x) > 0$, the mean being over $x$. All derivatives of $\varphi$ are bounded, so they move under the mean.
# 2. $\nabla_{\tilde x}\, \varphi(\tilde x - x) = u\, \varphi(\tilde x - x)$, and $\nabla_{\tilde x}^2\, \varphi(\tilde x - x) = (u u^\top - I / \sigma^2)\, \varphi(\tilde x - x)$.
# 3. By Bayes' rule, $\mathbb E[f(x) \mid \tilde x] = \mathbb E[f(x)\, \varphi(\tilde x - x)] / q_\sigma(\tilde x)$. With line 2: $\nabla \log q_\sigma = \nabla q_\sigma / q_\sigma = \mathbb E[u \mid \tilde x]$. That is the first line of the claim.
# 4. In the same way $\nabla^2 q_\sigma / q_\sigma = \mathbb E[u u^\top \mid \tilde x] - I / \sigma^2$.
# 5. $\nabla^2 \log q_\sigma = \nabla^2 q_\sigma / q_\sigma - \nabla \log q_\sigma (\nabla \log q_\sigma)^\top = \mathrm{Cov}[u \mid \tilde x] - I / \sigma^2$, and $\mathrm{Cov}[u \mid \tilde x] = \mathrm{Cov}[x \mid \tilde x] / \sigma^4$.
# :::
#
# {cite:t}`robbins1956empirical` credits the first line to Tweedie; {cite:t}`efron2011tweedie` tells its story.
# The check takes $x$ uniform on $[-1, 1]$, with its cliffs, and a mixture of Gaussians; posteriors by quadrature, slopes by autograd.


# %%
def of_uniform(x, sigma):
    """log q of x uniform on [-1, 1] plus noise, up to a constant."""
    edges = (
        torch.erf((x + 1) / sigma / 2**0.5),
        torch.erf((x - 1) / sigma / 2**0.5),
    )
    return (edges[0] - edges[1]).log()


def of_mixture(x, sigma):
    """The same of 0.7 N(-1, 0.3^2) + 0.3 N(2, 0.6^2)."""
    away = (x[..., None] - torch.tensor([-1.0, 2.0])) ** 2
    variance = torch.tensor([0.09, 0.36]) + sigma[..., None] ** 2
    log_prob = torch.tensor([0.7, 0.3]).log() - variance.log() / 2
    return (log_prob - away / variance / 2).logsumexp(-1)


# %%
still = torch.zeros(())
sides = [], []
sigma = torch.tensor([0.3, 0.7, 1.5]).repeat_interleave(20)
noisy = torch.linspace(-1.8, 1.8, 20).repeat(3).requires_grad_()
for log_q, end in ((of_uniform, 1), (of_mixture, 7)):
    (slope,) = torch.autograd.grad(
        log_q(noisy, sigma).sum(), noisy, create_graph=True
    )
    (bend,) = torch.autograd.grad(slope.sum(), noisy, retain_graph=True)
    x, w = map(torch.tensor, roots_legendre(400))
    x, log_w = end * x, w.log()  # the clean law on [-end, end]
    if log_q is of_mixture:
        log_w = log_w + of_mixture(x, still)
    away = (noisy[:, None] - x) / sigma[:, None]
    post = (log_w - away**2 / 2).softmax(1)
    mean = post @ x
    sides[0].append(torch.stack([mean, post @ x**2 - mean**2], 1).detach())
    sides[1].append(torch.stack([slope, bend], 1).detach())

# %%
left, (slope, bend) = torch.cat(sides[0]), torch.cat(sides[1]).T
at, v = noisy.detach().repeat(2), sigma.repeat(2) ** 2
check(
    "thm-score-matching-tweedie",
    of="points of two laws, three levels of noise",
).equal(
    left=left,
    right=torch.stack([at + v * slope, v * (1 + v * bend)], 1),
    how="quadrature",
    rtol=1e-7,
    wrong={
        "downhill": torch.stack([at - v * slope, v * (1 - v * bend)], 1),
        "σ in place of σ²": torch.stack(
            [at + v.sqrt() * slope, v + v * bend], 1
        ),
        "I left out": torch.stack([at + v * slope, v**2 * bend], 1),
    },
)

# %% [markdown]
# So a score that is learned from noisy data is a denoiser, $r(\tilde x) = \tilde x + \sigma^2 s(\tilde x)$, and a denoiser is a score.
# Vincent's theorem says that the two are also *trained* alike {cite:p}`vincent2011connection`.
#
# :::{prf:theorem} Denoising is score matching, and the constant between them
# :label: thm-score-matching-denoising
# Let $x$ have any law, $\mathbb E \lVert s(\tilde x) \rVert^2 < \infty$ and $r(\tilde x) = \tilde x + \sigma^2 s(\tilde x)$. Then
#
# $$
# \begin{gathered}
# \tfrac12\, \mathbb E \big\lVert s(\tilde x) + \tfrac\varepsilon\sigma \big\rVert^2 = \tfrac1{2 \sigma^4}\, \mathbb E \lVert r(\tilde x) - x \rVert^2 \\
# = \tfrac12\, \mathbb E \lVert s(\tilde x) - \nabla \log q_\sigma(\tilde x) \rVert^2 + C_\sigma,
# \end{gathered}
# $$ (eq-score-matching-denoising)
#
# where $C_\sigma = \tfrac1{2 \sigma^4}\, \mathbb E \lVert x - \mathbb E[x \mid \tilde x] \rVert^2$, the least error of any denoiser over $2 \sigma^4$. It is also $\tfrac D{2 \sigma^2} - \tfrac12\, \mathbb E \lVert \nabla \log q_\sigma \rVert^2$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $s(\tilde x) + \varepsilon / \sigma = \big( r(\tilde x) - \tilde x + \sigma \varepsilon \big) / \sigma^2 = \big( r(\tilde x) - x \big) / \sigma^2$: the first equality.
# 2. By {prf:ref}`thm-score-matching-tweedie`, $\mathbb E[-\varepsilon / \sigma \mid \tilde x] = \mathbb E[x - \tilde x \mid \tilde x] / \sigma^2 = \nabla \log q_\sigma(\tilde x)$.
# 3. A conditional mean has no larger second moment, so $\mathbb E \lVert \nabla \log q_\sigma \rVert^2 \le D / \sigma^2$. Hence $\delta = -\varepsilon / \sigma - \nabla \log q_\sigma(\tilde x)$ has a finite one; $\mathbb E[\delta \mid \tilde x] = 0$, and $\mathbb E[\delta^\top f(\tilde x)] = 0$ for every $f$ with a finite second moment.
# 4. $s + \varepsilon / \sigma = (s - \nabla \log q_\sigma) - \delta$. Square; the cross term vanishes by line 3. So the second equality holds with $C_\sigma = \tfrac12 \mathbb E \lVert \delta \rVert^2$.
# 5. $\delta = (x - \mathbb E[x \mid \tilde x]) / \sigma^2$ by lines 1 and 2. And $\mathbb E \lVert \varepsilon / \sigma \rVert^2 = D / \sigma^2$ is the sum of $\mathbb E \lVert \nabla \log q_\sigma \rVert^2$ and $\mathbb E \lVert \delta \rVert^2$, again by line 3.
# :::
#
# No derivative, no smoothness, no edge: noise has taken care of them.
# The price is that the score is that of $q_\sigma$, not that of $p$.

# %%
source(denoising_score_loss)

# %% [markdown]
# (With `paired` it takes each noise together with its negative; {ref}`below <sec-score-matching-small>` is why.)
# The check is again exact: ten mixtures on the line, ten random $s$, and a double sum over $x$ and $\varepsilon$.

# %%
torch.manual_seed(seed)
tick = torch.linspace(-7.5, 7.5, 121)
u, noise = torch.cartesian_prod(tick, tick).T
bell = (-(u**2 + noise**2) / 2).softmax(0)


def shaken(sigma):
    """A random mixture: x, noise, weights, exact score and denoiser."""
    world = random_world(1, sigma)
    x = (world.means + world.deviations[:, None] * u).reshape(-1, 1)
    e, mass = (
        noise.repeat(3)[:, None],
        (world.log_weights.exp()[:, None] * bell),
    )
    once, kept = torch.ones(len(x)).long(), world.alpha_bar[1].sqrt()
    at = kept * (x + sigma * e)  # the world shrinks as it is noised
    score = kept * world.score(at, once)
    return x, e, mass.reshape(-1), score, world.predict(at, once).clean


# %%
names = "denoising", "autoencoder", "explicit", "least", "fisher", "sigma"
found = {name: [] for name in names}
for sigma in torch.linspace(0.3, 1.2, 10):
    (x, e, mass, exact, clean), s = shaken(sigma), field(1)
    noisy = x + sigma * e
    restored = noisy + sigma**2 * s(noisy)
    terms = (
        denoising_score_loss(s, x, e, sigma),
        ((restored - x) ** 2)[:, 0] / (2 * sigma**4),
        ((s(noisy) - exact) ** 2)[:, 0] / 2,
        ((x - clean) ** 2)[:, 0],
        (exact**2)[:, 0],
        sigma.expand(len(x)),
    )
    for name, term in zip(names, terms, strict=True):
        found[name].append(mass @ term)
loss, restoring, explicit, least, fisher, sigma = map(
    torch.stack, found.values()
)

# %%
by_least = least / (2 * sigma**4)
by_fisher = 1 / (2 * sigma**2) - fisher / 2


def plus(first, second):
    return torch.cat([explicit + first, explicit + second, loss])


check(
    "thm-score-matching-denoising", of="random networks, ten levels of noise"
).equal(
    left=torch.cat([loss, loss, restoring]),
    right=plus(by_least, by_fisher),
    how="quadrature",
    rtol=1e-7,
    wrong={
        "no constant": torch.cat([explicit, explicit, loss]),
        "least error over 2 σ²": plus(least / (2 * sigma**2), by_fisher),
        "the noise alone": plus(by_least, 1 / (2 * sigma**2)),
        "denoiser's error over 2 σ²": torch.cat(
            [explicit + by_least, explicit + by_fisher, loss / sigma**2]
        ),
    },
)

# %% [markdown]
# :::{prf:corollary} One gradient, four losses
# :label: cor-score-matching-gradient
# Let $s_\theta$, for every $\theta$, be continuously differentiable in $x$, with finite $\mathbb E \lVert s_\theta(\tilde x) \rVert^2$ and $\mathbb E \lVert \nabla s_\theta(\tilde x) \rVert$. For the noisy data $\tilde x$, the means of the explicit, the implicit, the sliced and the denoising loss have the same gradient in $\theta$, wherever one of them has any.
# :::
#
# :::{prf:proof}
# Explicit and implicit loss differ by $\tfrac12 \mathbb E \lVert \nabla \log q_\sigma \rVert^2 \le D / (2 \sigma^2)$ ({prf:ref}`thm-score-matching-hyvarinen`, as $q_\sigma$ is smooth), implicit and sliced by nothing ({prf:ref}`thm-score-matching-sliced`), explicit and denoising by $C_\sigma$; there is no $\theta$ in any of these.
# :::

# %%
torch.manual_seed(seed)
names = "explicit", "implicit", "sliced", "denoising", "clean", "bare"
sides = {name: [] for name in names}
for sigma in torch.linspace(0.4, 1.2, 8):
    x, e, mass, exact, _ = shaken(sigma)
    theta = [part.requires_grad_() for part in torch.randn(3, 1, 6)]

    def s(x, theta=theta):
        return torch.tanh(x * theta[0] + theta[1]) @ theta[2].T

    noisy = x + sigma * e
    losses = (
        ((s(noisy) - exact) ** 2)[:, 0] / 2,
        implicit_score_loss(s, noisy),
        sum(
            prob * sliced_score_loss(s, noisy, torch.full_like(noisy, v))
            for v, prob in three.items()
        ),
        denoising_score_loss(s, x, e, sigma),
        implicit_score_loss(s, x),
        ((s(noisy) + e) ** 2)[:, 0] / 2,
    )
    for side, loss in zip(sides.values(), losses, strict=True):
        side.append(torch.cat(torch.autograd.grad(mass @ loss, theta)))

# %%
explicit, *three_ways, clean, bare = map(torch.stack, sides.values())
check("cor-score-matching-gradient", of="random networks").equal(
    left=torch.cat(three_ways),
    right=explicit.repeat(3, 1, 1),
    how="autograd",
    rtol=1e-6,
    wrong={
        "on clean data": clean.repeat(3, 1, 1),
        "the noise not divided by σ": torch.cat([explicit, explicit, bare]),
    },
)

# %% [markdown]
# Here is what noise does to eight Gaussians on a ring, exactly.

# %% tags=["hide-input"]
sigmas = [0.05, 0.2, 0.5, 1, 4]
centres = eight_gaussians_density().component_distribution.mean.double()


def ring(sigma):
    """Eight Gaussians and noise of scale sigma, the only level."""
    kept = torch.tensor([1 / (1 + sigma**2)])
    return NoisedMixture(torch.ones(8), centres, 0.1 * torch.ones(8), kept)


def noised(world, x, k=0):
    """Density, score and denoiser of x (N, D) + noise of level k."""
    a, times = world.alpha_bar[k].sqrt(), torch.full((len(x),), k)
    density = world.log_prob(a * x, times).exp() * a ** x.shape[1]
    clean = world.predict(a * x, times).clean
    return density, a * world.score(a * x, times), clean


grid = torch.cartesian_prod(*2 * [torch.linspace(-3.2, 3.2, 90)])
few = torch.cartesian_prod(*2 * [torch.linspace(-2.8, 2.8, 13)])
box = (-3.2, 3.2, -3.2, 3.2)


# %% tags=["hide-input"]
def fields(sigma):
    """Draw density, score and denoiser of the ring with noise sigma."""
    figure = figures.blank(2.55)
    left, middle, right = figure.subplots(1, 3)
    density, *_ = noised(ring(sigma), grid)
    density = density.view(90, 90).T
    _, score, clean = noised(ring(sigma), few)
    look = {"origin": "lower", "extent": box, "cmap": "Greys"}
    left.imshow(density, interpolation="bilinear", **look)
    length = score.norm(dim=1, keepdim=True)
    way = score / length * (length / length.max()).sqrt()
    pen = {"color": PALETTE[0], "angles": "xy", "scale_units": "xy"}
    middle.quiver(*few.T, *way.T, scale=2.2, width=0.006, pivot="mid", **pen)
    right.plot(
        *torch.stack([few, clean]).permute(2, 0, 1), c="#BBBBBB", lw=0.7
    )
    right.plot(*clean.T, "o", ms=2.5, color=PALETTE[1])
    heads = f"density, σ = {sigma:.3g}", f"score, up to {length.max():.3g}"
    for axes, head in zip(
        (left, middle, right), (*heads, "denoiser"), strict=True
    ):
        axes.set(xlim=box[:2], ylim=box[2:], xticks=[], yticks=[], aspect=1)
        axes.set_title(head, fontsize=9.5)
        axes.grid(False)
    return figure


# %% tags=["hide-input"]
Explorable(
    [fields(sigma) for sigma in sigmas],
    [f"{sigma:g}" for sigma in sigmas],
    "noise level σ",
    alt="Three squares: a grey density of eight spots that melt into one, a "
    "field of arrows towards them, and lines from a grid to denoised points.",
    caption="Left: the density of the noisy points. Middle: its score (an "
    "arrow's length is the root of the score's). Right: lines from a grid to "
    "where the denoiser puts each point. With the least noise a point is moved "
    "a fifth of the way to the nearest spot; at 0.2, four fifths; with much "
    "noise all go to the middle of the ring.",
    start=2,
    live=figures.Live(fields),
)

# %% [markdown]
# (sec-score-matching-small)=
# ## Little noise is little bias and much variance
#
# If noise is the price, why not take very little?
#
# :::{prf:theorem} What small noise costs, and a pair that avoids it
# :label: thm-score-matching-small
# Let $s_\theta$, $a = \partial_\theta s_\theta$ (for one number $\theta$) and their first derivatives in $x$ be continuous in $(\theta, x)$ and, at each $\theta$, bounded by polynomials in $\lVert x \rVert$, and let $p$ have all moments.
# Let $g(\varepsilon) = \partial_\theta \tfrac12 \lVert s_\theta(x + \sigma \varepsilon) + \varepsilon / \sigma \rVert^2$ at one $x \sim p$, and $\sigma \to 0$. Then
#
# $$
# \begin{gathered}
# \sigma^2\, \mathrm{Var}\, g(\varepsilon) \to \mathbb E_p \lVert a(x) \rVert^2, \\
# \tfrac12 \big( g(\varepsilon) + g(-\varepsilon) \big) \to \partial_\theta\, \ell(x, \varepsilon), \\
# \ell(x, \varepsilon) = \tfrac12 \lVert s_\theta(x) \rVert^2 + \varepsilon^\top \nabla s_\theta(x)\, \varepsilon,
# \end{gathered}
# $$ (eq-score-matching-small)
#
# the second limit in mean square: in pairs the gradient becomes that of a sliced loss with normal directions, of finite variance.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $g(\varepsilon) = a(\tilde x)^\top \big( s_\theta(\tilde x) + \varepsilon / \sigma \big)$, by the chain rule.
# 2. $\sigma g \to a(x)^\top \varepsilon$ at every $x, \varepsilon$, and for $\sigma \le 1$ its square is bounded by a polynomial in $\lVert x \rVert, \lVert \varepsilon \rVert$, which is integrable. So it converges in mean square.
# 3. Hence $\sigma^2\, \mathbb E g^2 \to \mathbb E (a^\top \varepsilon)^2 = \mathbb E_p \lVert a \rVert^2$ and $\sigma\, \mathbb E g \to \mathbb E\, a^\top \varepsilon = 0$: the first claim.
# 4. In the pair, the terms with $s_\theta$ tend to $a^\top s_\theta = \partial_\theta \tfrac12 \lVert s_\theta \rVert^2$, and the others are $\tfrac1{2 \sigma} \big( a(x + \sigma \varepsilon) - a(x - \sigma \varepsilon) \big)^\top \varepsilon \to \varepsilon^\top \nabla a\, \varepsilon = \partial_\theta\, \varepsilon^\top \nabla s_\theta\, \varepsilon$: continuous mixed derivatives may be exchanged.
# 5. By the mean value theorem the quotient is at most $\lVert \nabla a \rVert \lVert \varepsilon \rVert^2$ at a point between, which a polynomial bounds. So this convergence is in mean square too.
# :::
#
# That denoising is poor at small noise is well known {cite:p}`debortoli2024target`.
# The checks, with $s_\theta = \theta \tanh x$ on a mixture: both limits are missed by order $\sigma^2$.

# %%
torch.manual_seed(seed)
x, e, mass, _, _ = shaken(torch.tensor(1.0))
theta = torch.full((len(x), 1), 0.8).requires_grad_()


def s(x):
    return theta * torch.tanh(x)


def gradient(loss):
    """The slope in theta of each point's own loss."""
    return torch.autograd.grad(loss.sum(), theta)[0][:, 0]


# %%
sigmas = [0.4 / 2**k for k in range(6)]
a2, slice_ = torch.tanh(x)[:, 0] ** 2, gradient(sliced_score_loss(s, x, e))
signed = gradient(sliced_score_loss(s, x, torch.ones_like(e)))
gone = {"one": [], "half": [], "squared": []}
gone |= {"pair": [], "signs": [], "twice": []}
plain = gradient(s(x).square().sum(1) / 2)  # of the slice, but for its trace
for sigma in sigmas:
    one = gradient(denoising_score_loss(s, x, e, sigma))
    both = gradient(denoising_score_loss(s, x, e, sigma, paired=True))
    variance = sigma**2 * (mass @ one**2 - (mass @ one) ** 2)
    squared = (mass @ torch.tanh(x)[:, 0]) ** 2
    gone["one"].append((variance - mass @ a2).abs())
    gone["half"].append((variance - mass @ a2 / 2).abs())
    gone["squared"].append((variance - squared).abs())
    for name, other in (
        ("pair", slice_),
        ("signs", signed),
        ("twice", 2 * slice_ - plain),
    ):
        gone[name].append((mass @ (both - other) ** 2).sqrt())

# %%
gone = {name: torch.stack(errors) for name, errors in gone.items()}
check(
    "thm-score-matching-small", about="one network", of="levels of noise"
).order(
    sigmas,
    gone["one"],
    expected=2,
    wrong={
        "half the limit": gone["half"],
        "the mean of a, squared": gone["squared"],
    },
)

# %%
check(
    "thm-score-matching-small",
    about="a pair of networks",
    of="levels of noise",
).order(
    sigmas,
    gone["pair"],
    expected=2,
    wrong={
        "the trace twice": gone["twice"],
        "a slice of signs": gone["signs"],
    },
)

# %% [markdown]
# What does it do to an estimate?
# The data are $n$ draws of $\mathcal N(0, 1)$, the model is $s_\theta(x) = -\theta x$, and the truth is $\theta = 1$.
# With noise the best $\theta$ is $1 / (1 + \sigma^2)$: that is bias, of order $\sigma^2$.

# %% tags=["hide-input"]
n, repeats = 1_000, 200
rng = torch.Generator().manual_seed(seed)
levels = torch.logspace(-2.5, 0.3, 13)
lines = {"implicit": [], "denoising": [], "in pairs": [], "bias alone": []}
for sigma in levels:
    x, e = torch.randn(2, repeats, n, generator=rng)
    up, down = x + sigma * e, x - sigma * e
    pair = ((up - down) * e / sigma).mean(1) / (up**2 + down**2).mean(1)
    fits = (
        1 / (x**2).mean(1),
        (up * e).mean(1) / sigma / (up**2).mean(1),
        pair,
    )
    for name, theta in zip(lines, fits, strict=False):
        lines[name].append((theta - 1).square().mean().sqrt())
    if sigma > 0.04:  # less is far below the picture
        lines["bias alone"].append(1 - 1 / (1 + sigma**2))

# %% tags=["hide-input"]
show(
    curves(
        {
            name: (levels[-len(line) :], torch.stack(line))
            for name, line in lines.items()
        },
        "noise level σ",
        "error of θ (root mean square)",
        scales=("log", "log"),
        alt="A curve in the form of a V for denoising, a flat one for the "
        "implicit loss, and two that rise to the right.",
    ),
    f"Error of θ estimated from {n:,} points, over {repeats} repeats. "
    "Denoising errs on both sides: by chance with little noise, by bias with "
    "much. In pairs the left arm is gone: what is left is a floor, about √2 "
    "times that of the implicit loss, and the bias.",
    label="fig-score-matching-small",
)

# %% [markdown]
# (sec-score-matching-trained)=
# ## Where there are data all but one loss learn the field; elsewhere none
#
# Our valley is that of figure 2 in {cite:t}`song2019generative`: 80 % of the mass around $(5, 5)$ and 20 % around $(-5, -5)$, both of variance 1.
# The networks are small: two hidden layers of 64 units, ten of each kind trained together as one stack of matrices, each with its own data.

# %%
torch.set_default_dtype(torch.float32)
nets, batch = 10, 128
levels = torch.logspace(math.log10(20), math.log10(0.5), 10)
valley = NoisedMixture(
    torch.tensor([0.8, 0.2]),
    torch.tensor([[5.0, 5.0], [-5.0, -5.0]]),
    torch.ones(2),
    torch.cat([torch.ones(1), 1 / (1 + levels**2)]),  # time k: level k - 1
)


def exact(x, k=0):
    """Score of the valley's points (..., 2) + noise of time k."""
    a, flat = valley.alpha_bar[k].sqrt(), x.reshape(-1, 2)
    times = torch.full((len(flat),), k)
    return (a * valley.score(a * flat, times)).view_as(x)


# %%
def networks(sizes, rng):
    layers = []
    for a, b in pairwise(sizes):
        w = torch.randn(nets, a, b, generator=rng) / math.sqrt(a)
        layers += [w, torch.zeros(nets, 1, b)]
    return [part.requires_grad_() for part in layers]


def forward(layers, x):
    """Each network on its own points: (nets, B, in) -> (nets, B, out)."""
    for k in range(0, len(layers), 2):
        x = torch.baddbmm(layers[k + 1], x, layers[k])
        x = F.silu(x) if k < len(layers) - 2 else x
    return x


# %%
def fit(loss, sizes, steps, batch, rng):
    """Adam on fresh draws of the valley; the rate falls in the second half."""
    layers = networks(sizes, rng)
    optimiser = torch.optim.Adam(layers, fused=True)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = 3e-3 * min(1, 2 - 2 * step / steps)
        x = valley.sample(nets * batch, 0, rng).view(nets, batch, 2)
        value = loss(layers, x).mean(1).sum()  # the sum trains each net alone
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return [part.detach() for part in layers]


# %%
rng = torch.Generator().manual_seed(seed)


def normal(x):
    return torch.randn(x.shape, generator=rng)


def signs(x):
    return 2.0 * torch.randint(2, x.shape, generator=rng) - 1


losses = {
    "implicit": lambda s, x: implicit_score_loss(s, x),
    "sliced, signs": lambda s, x: sliced_score_loss(s, x, signs(x)),
    "denoising, σ = 0.3": lambda s, x: denoising_score_loss(
        s, x, normal(x), 0.3
    ),
    "denoising, σ = 0.03": lambda s, x: denoising_score_loss(
        s, x, normal(x), 0.03
    ),
    "the same in pairs": lambda s, x: denoising_score_loss(
        s, x, normal(x), 0.03, True
    ),
}

# %%
learned = {
    name: fit(
        lambda layers, x, loss=loss: loss(lambda y: forward(layers, y), x),
        (2, 64, 64, 2),
        steps,
        batch,
        rng,
    )
    for name, loss in losses.items()
}

# %% tags=["hide-input"]
rows, passes = [], ("D + 1", "2", "1", "1", "1, of 2 points")
held = valley.sample(20_000, 0, rng).view(nets, -1, 2)
square = 16 * torch.rand(nets, 2_000, 2, generator=rng) - 8
for (name, layers), back in zip(learned.items(), passes, strict=True):
    row = {"loss": name, "backward passes": back}
    for place, x in (
        ("where the data are", held),
        ("in the whole square", square),
    ):
        error = (forward(layers, x) - exact(x)).square().sum(-1).mean(1)
        row[f"error {place}"] = mean_of(error.double())
    rows.append(row)
zero = (
    exact(held).square().sum(-1).mean(1),
    exact(square).square().sum(-1).mean(1),
)
rows.append({"loss": "(always saying 0)"})
for column, value in zip(list(rows[0])[2:], zero, strict=True):
    rows[-1][column] = mean_of(value.double())
results_table(rows)

# %% [markdown]
# (The last of the $D + 1$ backward passes is the one for the weights.)
# Errors are $\mathbb E \lVert s - \nabla \log p \rVert^2$, over fresh data or over the uniform law on $[-8, 8]^2$, with standard errors over ten networks.

# %% tags=["hide-input"]
near, wide = (
    [row[f"error {place}"].value for row in rows]
    for place in ("where the data are", "in the whole square")
)
bias = (exact(held[0]) * (1 - 1 / (1 + 0.3**2))).square().sum(-1).mean().item()
Markdown(
    f"Where the data are, the implicit loss leaves {near[0]:.2g} of the "
    f"{near[-1]:.2f} there are to explain, and slices {near[1]:.2g}; tiny "
    f"noise leaves {near[3] / near[0]:.0f} times as much, its pairs "
    f"{near[4] / near[0]:.1f} times. With σ = 0.3 the target itself, the slope "
    f"of the noisy law, is off by {bias:.2g}; in all {near[2]:.2g} is left. "
    f"But over the whole square all are wrong by {min(wide[:-1]):.0f} to "
    f"{max(wide[:-1]):.0f} of {wide[-1]:.0f}, and no loss says so: none of "
    "them ever looks where there are no data."
)

# %% tags=["hide-input"]
arrows = torch.cartesian_prod(*2 * [torch.linspace(-7.5, 7.5, 16)])
fine = torch.cartesian_prod(*2 * [torch.linspace(-8, 8, 120)])
points = valley.sample(400, 0, rng)
figure = figures.blank(5)
panels = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
fields = {"exact": exact(arrows)}
for name in ("implicit", "denoising, σ = 0.3"):
    every = forward(learned[name], arrows.expand(nets, -1, 2))
    fields[name] = every[0]  # the first of ten networks
for axes, (head, field_) in zip(panels, fields.items(), strict=False):
    length = field_.norm(dim=1, keepdim=True)
    way = field_ / length * (length / 15).sqrt()
    pen = {"color": PALETTE[0], "angles": "xy", "scale_units": "xy"}
    axes.plot(*points.T, ".", ms=2, color=PALETTE[1], alpha=0.5)
    axes.quiver(*arrows.T, *way.T, scale=0.9, width=0.006, pivot="mid", **pen)
    axes.set_title(head)

# %% tags=["hide-input"]
guess = forward(learned["implicit"], fine.expand(nets, -1, 2))
error = (guess - exact(fine)).square().sum(-1).mean(0)
error = error.log10().view(120, 120).T
extent = {"origin": "lower", "extent": (-8, 8, -8, 8)}
map_ = panels[3].imshow(error, cmap="Greys", vmin=-3, vmax=3, **extent)
panels[3].plot(*points.T, ".", ms=2, color=PALETTE[1], alpha=0.5)
panels[3].set_title("implicit, squared error")
bar = figure.colorbar(map_, ax=panels, shrink=0.4, ticks=[-3, 0, 3])
bar.ax.set_yticklabels(["0.001", "1", "1000"])
for axes in panels:
    axes.set(
        xlim=(-8, 8), ylim=(-8, 8), xticks=[-5, 5], yticks=[-5, 5], aspect=1
    )
    axes.grid(False)

# %% tags=["hide-input"]
show(
    figure,
    "The exact score, and one network of either loss; an arrow's length is "
    "the root of its vector's, dots are data. Last: the squared error of the "
    "implicit loss, mean of ten networks. Far from the dots the networks are "
    "free; the thin line is where the exact field turns.",
    alt="Three fields of arrows that agree near two clouds of dots and differ "
    "elsewhere; a map of the error, white around the clouds and dark between.",
    label="fig-score-matching-fields",
)

# %% [markdown]
# In the middle of the square the exact field turns round from one arrow to the next; the learned ones have a broad calm there.
# Nothing in the data contradicts them.
#
# (sec-score-matching-langevin)=
# ## A Langevin walk of finite steps ends too wide
#
# A walker who only climbs ends on a top.
# To end in *samples* she must be shaken:
#
# $$
# x_{k+1} = x_k + \tfrac\alpha2\, \nabla \log p(x_k) + \sqrt\alpha\, \varepsilon_k,
# $$ (eq-score-matching-langevin)
#
# with fresh $\varepsilon_k \sim \mathcal N(0, I)$ and a step $\alpha > 0$.
# As $\alpha \to 0$ at a fixed time $k \alpha$, and then $k \alpha \to \infty$, the law of $x_k$ tends to $p$ under mild conditions {cite:p}`roberts1996exponential`.
# For a fixed $\alpha$ it does not, and on a Gaussian all is known.
#
# :::{prf:theorem} The walk's variance
# :label: thm-score-matching-langevin
# Let $p = \mathcal N(m, \tau^2)$ and let $x_0$ have mean $m_0$ and variance $V_0$. With $\rho = 1 - \frac{\alpha}{2 \tau^2}$ and $\alpha \ne 4 \tau^2$, $x_k$ has the mean $m + \rho^k (m_0 - m)$ and the variance $V_\infty + \rho^{2 k} (V_0 - V_\infty)$, where
#
# $$
# V_\infty = \tau^2 \Big/ \Big( 1 - \frac{\alpha}{4 \tau^2} \Big).
# $$ (eq-score-matching-variance)
#
# If $\alpha < 4 \tau^2$, the variance settles at $V_\infty > \tau^2$; if $\alpha > 4 \tau^2$, it grows beyond all bounds.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\nabla \log p(x) = -(x - m) / \tau^2$, so $x_{k+1} - m = \rho (x_k - m) + \sqrt\alpha\, \varepsilon_k$. The means follow.
# 2. $\varepsilon_k$ is independent of $x_k$, so $V_{k+1} = \rho^2 V_k + \alpha$.
# 3. $1 - \rho^2 = \frac{\alpha}{\tau^2} \big( 1 - \frac{\alpha}{4 \tau^2} \big)$, so $V_\infty = \alpha / (1 - \rho^2)$ is the fixed point, and $V_{k+1} - V_\infty = \rho^2 (V_k - V_\infty)$.
# 4. $\rho^2 < 1$ if and only if $0 < \alpha < 4 \tau^2$. Beyond, $V_\infty < 0 \le V_0$, and $\rho^{2 k} (V_0 - V_\infty) \to \infty$.
# :::

# %%
source(langevin_path)

# %%
torch.manual_seed(seed)
torch.set_default_dtype(torch.float64)
m, tau, m0, k = 1.0, 0.8, -1.0, 7
alpha = torch.tensor([0.1, 0.4, 1.0, 2.0, 3.0])  # 4 τ² is 2.56
start = torch.full((50_000, 5), m0) + 0.3 * torch.randn(50_000, 5)
# The package walks all chains with one step. Here each column has a step of
# its own, so it is measured in units of √α, where every step is 1.
unit = alpha.sqrt()
x = langevin(lambda u: -alpha * (u - m / unit) / tau**2, start / unit, 1.0, k)
x = x * unit


def moments(final, rho):
    variance = final + rho ** (2 * k) * (0.3**2 - final)
    mean = m + rho**k * (m0 - m)
    return torch.cat([mean, variance + mean**2])


# %%
rho, limit = 1 - alpha / (2 * tau**2), tau**2 / (1 - alpha / (4 * tau**2))
check("thm-score-matching-langevin", of="chains, 5 step sizes each").unbiased(
    samples=torch.cat([x, x**2], 1),
    truth=moments(limit, rho),
    wrong={
        "ends at τ²": moments(torch.full((5,), tau**2), rho),
        "the whole step": moments(limit, 1 - alpha / tau**2),
        "ends too narrow": moments(tau**2 / (1 + alpha / (4 * tau**2)), rho),
    },
)

# %% [markdown]
# So with the published step of 0.1 in our valley, where $\tau = 1$, the villages come out with a variance of $1 / 0.975$.
# That is the small error.
#
# (sec-score-matching-empty)=
# ## Slopes at one scale hardly know how large a village is
#
# We drop 4,000 walkers anywhere in the square, 4,000 in the small village, and 4,000 as the data.
# They walk 1,000 steps, once by the exact score, once by the ten networks.
# Start, step and number of steps are those of the authors' program for figure 3 of {cite:t}`song2019generative`.

# %%
torch.set_default_dtype(torch.float32)
rng = torch.Generator().manual_seed(seed)
starts = {
    "anywhere in the square": 16 * torch.rand(4_000, 2, generator=rng) - 8,
    "in the small village": torch.randn(4_000, 2, generator=rng) - 5,
    "as the data": torch.randn(4_000, 2, generator=rng) + 5,
}
starts["as the data"][::5] -= 10
x = torch.cat(list(starts.values()))
by_exact = langevin(exact, x, 0.1, 1_000, rng).view(3, 4_000, 2)
layers = learned["implicit"]
part = x.view(3, nets, 400, 2).transpose(0, 1).reshape(nets, -1, 2)
moved = langevin(lambda x: forward(layers, x), part, 0.1, 1_000, rng)
by_net = moved.view(nets, 3, 400, 2)


# %%
def large(x):
    """Share of points (..., B, 2) on the larger village's side: (...)."""
    return (x.sum(-1) > 0).double().mean(-1)


def counted(x):
    """The same with its standard error over walkers (B, 2)."""
    return mean_of((x.sum(-1) > 0).double())


rows = []
for k, name in enumerate(starts):
    row = {"start": name, "share there": large(starts[name]).item()}
    row["exact score"] = counted(by_exact[k])
    row["learned scores"] = mean_of(large(by_net[:, k]))
    rows.append(row | {"truth": 0.8})
results_table(rows)

# %% [markdown]
# Shares of walkers on the larger village's side, with standard errors over walkers or over networks. (0 of 4,000 means below 0.001.)
# The exact score of the right law gives the wrong answer, and gives it with great confidence: hardly anybody leaves the village on their side.
# The learned ones do worse: in the empty middle nothing holds their border in its place.
# Song and Ermon print scatter plots and no shares or errors, so no published number stands beside ours.
# In principle slopes know everything: add them up along a path between the villages, and the ratio of the densities appears.
# But the path leads through the empty middle, where no loss looks and no walker goes; where the data are, slopes hardly depend on the weights.
#
# :::{prf:theorem} The score hardly sees the weights of far modes
# :label: thm-score-matching-blind
# Let $p_\pi = \pi\, \mathcal N(\mu_1, \tau^2 I) + (1 - \pi)\, \mathcal N(\mu_2, \tau^2 I)$ and $d = \lVert \mu_1 - \mu_2 \rVert$. For $0 < \pi, \pi' < 1$, with $F = \tfrac12\, \mathbb E_{p_\pi} \lVert \nabla \log p_\pi - \nabla \log p_{\pi'} \rVert^2$,
#
# $$
# F \le \frac{(\pi - \pi')^2}{16\, \pi' (1 - \pi') \sqrt{\pi (1 - \pi)}}\; \frac{d^2}{\tau^4}\; e^{-d^2 / (8 \tau^2)} .
# $$ (eq-score-matching-blind)
# :::
#
# :::{prf:proof}
# In steps, with $p_1, p_2$ the two Gaussians and $h_\pi = \pi p_1 / p_\pi$:
#
# 1. $\nabla \log p_\pi = h_\pi \nabla \log p_1 + (1 - h_\pi) \nabla \log p_2$, and $\nabla \log p_1 - \nabla \log p_2 = (\mu_1 - \mu_2) / \tau^2$. So $F = \frac{d^2}{2 \tau^4} \int p_\pi (h_\pi - h_{\pi'})^2$.
# 2. Over one denominator, $h_\pi - h_{\pi'} = (\pi - \pi')\, p_1 p_2 / (p_\pi p_{\pi'})$.
# 3. A mean of two numbers is at least geometric: $p_\pi \ge 2 \sqrt{\pi (1 - \pi)\, p_1 p_2}$, and $p_{\pi'}^2 \ge 4 \pi' (1 - \pi')\, p_1 p_2$.
# 4. Together $p_\pi (h_\pi - h_{\pi'})^2 = (\pi - \pi')^2 \frac{p_1^2 p_2^2}{p_\pi\, p_{\pi'}^2} \le \frac{(\pi - \pi')^2}{8\, \pi' (1 - \pi') \sqrt{\pi (1 - \pi)}} \sqrt{p_1 p_2}$.
# 5. $\sqrt{p_1 p_2}$ is the density of a Gaussian between the two, times $e^{-d^2 / (8 \tau^2)}$, which is then its integral.
# :::
#
# The phenomenon is known as the blindness of score-based methods {cite:p}`wenliang2020blindness`.

# %%
torch.set_default_dtype(torch.float64)
cases = list(
    product((0.2, 0.5, 0.8), (0.1, 0.4, 0.7), (0.5, 2, 4, 8), (0.7, 1.5))
)
pi, rho, d, tau = torch.tensor(cases).T[..., None]
x = torch.linspace(-16, 16, 8_001)
one, two = (torch.exp(-((x + c * d / 2) ** 2) / (2 * tau**2)) for c in (-1, 1))
one, two = one / tau / (2 * math.pi) ** 0.5, two / tau / (2 * math.pi) ** 0.5


def shares(weight):
    """Of the first Gaussian, at each x; far out the nearer one has all."""
    return torch.sigmoid(weight.logit() + d * x / tau**2)


gap = (shares(pi) - shares(rho)) ** 2 * (pi * one + (1 - pi) * two)
F_exact = (d**2 / (2 * tau**4))[:, 0] * torch.trapezoid(gap, x)

# %%
front = (pi - rho) ** 2 / (16 * rho * (1 - rho) * (pi * (1 - pi)).sqrt())
bound = front * d**2 / tau**4
far = torch.exp(-(d**2) / (8 * tau**2))
check("thm-score-matching-blind", of="pairs of mixtures on a grid").at_most(
    F_exact,
    (bound * far)[:, 0],
    how="quadrature",
    wrong={
        "fading twice as fast": (F_exact, (bound * far**2)[:, 0]),
        "τ² in place of τ⁴": (F_exact, (bound * far * tau**2)[:, 0]),
        "18 in place of 16": (F_exact, (bound * far)[:, 0] * 16 / 18),
    },
)

# %% [markdown]
# For our valley $d^2 / \tau^2 = 200$, and the bound has the factor $e^{-25}$.
# So $F$ can only grow visible if $\tau$ does. Noise of level $\sigma$ makes it $\sqrt{1 + \sigma^2}$; the next figure shows that this is enough.

# %% tags=["hide-input"]
sigma = torch.logspace(-1, 2, 61)
tau, d, w = (1 + sigma**2).sqrt()[:, None], 200**0.5, torch.tensor([0.8, 0.5])
x = tau * torch.linspace(-30, 30, 6_001)  # the villages are at -d/2 and d/2
log_one, log_two = (-((x + c * d / 2) ** 2) / (2 * tau**2) for c in (-1, 1))
right, wrong = (
    torch.logaddexp(v.log() + log_one, (1 - v).log() + log_two) for v in w
)
p = right.softmax(1)
gap = torch.sigmoid(w.logit()[:, None, None] + d * x / tau**2).diff(dim=0)[0]
blind = (p * gap**2).sum(1) * d**2 / (2 * tau[:, 0] ** 4)
informed = (p * (right - wrong)).sum(1)

# %% tags=["hide-input"]
show(
    curves(
        {
            "2 σ² F, score": (sigma, 2 * sigma**2 * blind),
            "KL, density": (sigma, informed),
        },
        "noise level σ",
        "80 : 20 against 50 : 50 (nats)",
        scales=("log", "log"),
        alt="The curve of the score rises by eleven orders of magnitude to a "
        "peak near noise 6 and falls; the KL is flat and then falls with it.",
    ),
    "How well valleys of weights 80 : 20 and 50 : 50 can be told apart under "
    "noise. By the density: at every level up to about half the distance of "
    "the villages, 7. By the score: hardly below noise 2, best near 6; beyond, "
    "noise drowns both. (2 σ² F is in nats for a unit of log σ.)",
    label="fig-score-matching-blind",
)

# %% tags=["hide-input"]
peak = blind.mul(sigma**2).argmax()
Markdown(
    f"At noise 0.1 a KL of {informed[0]:.2f} nats separates the two. To the "
    f"score matching loss, whose F is {blind[0]:.1g} there, they are as good "
    "as the same: a few thousand points do not show such a difference. "
    f"At noise {sigma[peak]:.1f}, 2 σ² F is "
    f"{2 * (sigma**2 * blind)[peak]:.2f} nats."
)

# %% [markdown]
# (sec-score-matching-annealed)=
# ## All levels of noise together know the weights
#
# No single level of noise shows, where its data are, both where a village ends and how large it is.
# All levels together know everything that the density knows.
#
# :::{prf:theorem} KL is score matching at every level
# :label: thm-score-matching-levels
# Let $p$ and $q$ be mixtures of the same finitely many Gaussians $\mathcal N(\mu_k, \tau^2 I)$, $\tau > 0$, with weights that are all positive, $p_\sigma$ and $q_\sigma$ the same after noise of level $\sigma$, and $F(\sigma) = \tfrac12 \mathbb E_{p_\sigma} \lVert \nabla \log p_\sigma - \nabla \log q_\sigma \rVert^2$. Then
#
# $$
# \begin{aligned}
# \mathrm{KL}(p \,\|\, q) & = \int_0^\infty F(\sigma)\, d(\sigma^2) \\
# & = \int_{-\infty}^\infty 2 \sigma^2 F(\sigma)\, d \log \sigma .
# \end{aligned}
# $$ (eq-score-matching-levels)
# :::
#
# :::{prf:proof}
# In steps, with $t = \sigma^2$, $u = \log (p_\sigma / q_\sigma)$, and $p, q$ short for $p_\sigma, q_\sigma$:
#
# 1. The density of $\mathcal N(\mu_k, (\tau^2 + t) I)$ satisfies the heat equation, $\partial_t = \tfrac12 \Delta$. So do $p$ and $q$, which are sums of such.
# 2. $p / q$ lies between the smallest and the largest ratio of weights, so $u$ is bounded; so is $\nabla u$, a difference of weighted means of $\mu_k / (\tau^2 + t)$. Derivatives of $p$ and $q$ are polynomials times Gaussians: so derivatives may move under the integrals below, and integration by parts leaves no edge.
# 3. $\partial_t \int p\, u = \int u\, \partial_t p + \int \partial_t p - \int \frac pq\, \partial_t q$, and the middle term is 0, as $\int p = 1$.
# 4. Insert line 1 and integrate by parts: $-\tfrac12 \int \nabla u^\top \nabla p + \tfrac12 \int \nabla \big( \frac pq \big)^\top \nabla q$. As $\nabla \frac pq = \frac pq \nabla u$, this is $-\tfrac12 \int p\, \nabla u^\top (\nabla \log p - \nabla \log q) = -F$.
# 5. For $t \to \infty$ the KL vanishes: with $\log a \le a - 1$ it is at most $\int (p - q)^2 / q \le \max |\frac pq - 1| \int |p - q|$, and $\int |p - q| \to 0$, as the components grow alike.
# 6. Integrate $\partial_t \mathrm{KL} = -F$ from 0 to $\infty$; and $d(\sigma^2) = 2 \sigma^2\, d \log \sigma$.
# :::
#
# In the last figure, the dashed curve at any level is the integral, over $\log \sigma$, of the solid one at all larger levels.
# (The derivative of the KL along the noise is that of {cite:t}`lyu2009interpretation`; {cite:t}`song2021maximum` train by it.)
# The check integrates over $w = 1 / (\tau^2 + \sigma^2)$.

# %%
z = torch.linspace(-13, 13, 1_301)[:, None]
nodes, weights = map(torch.tensor, roots_legendre(60))
exact_kl, summed, finest = [], [], []
for pi, rho, d, tau in cases:  # weights pi, rho; distance d; deviation tau
    one, two = (-((tau * z + c * d / 2) ** 2) / (2 * tau**2) for c in (-1, 1))
    logs = [
        torch.logaddexp(math.log(v) + one, math.log1p(-v) + two)
        for v in (pi, rho)
    ]
    exact_kl.append((logs[0].softmax(0) * (logs[0] - logs[1])).sum())
    delta = d / tau * ((1 + nodes) / 2).sqrt()  # the distance in widths
    one, two = (-((z + c * delta / 2) ** 2) / 2 for c in (-1, 1))
    p = pi * one.softmax(0) + (1 - pi) * two.softmax(0)
    r = [torch.sigmoid(math.log(v / (1 - v)) + delta * z) for v in (pi, rho)]
    fisher = (p * (r[0] - r[1]) ** 2).sum(0) * d**2 / 2  # half of it, over w²
    parts = fisher * weights / (2 * tau**2)  # of the integral over w
    summed.append(parts.sum())
    finest.append(parts[nodes > 0].sum())  # noise below τ only

# %%
exact_kl, summed, finest = map(torch.stack, (exact_kl, summed, finest))
check("thm-score-matching-levels", of="pairs of mixtures on a grid").equal(
    left=exact_kl,
    right=summed,
    how="quadrature",
    rtol=1e-7,
    wrong={
        "half of it": summed / 2,
        "the factor 2 twice": 2 * summed,
        "little noise only": finest,
    },
)

# %% [markdown]
# So let one network learn the score of *every* level, and walk from the coarsest to the finest {cite:p}`song2019generative`.
# The levels stand at equal distances in $\log \sigma$, and each loss counts $\sigma^2$ times.
# Up to a factor, and a constant at each level, that is the sum over our levels of the integral in eq. {eq}`eq-score-matching-levels`, with the network in place of $\nabla \log q_\sigma$.
# (It would be a KL if one density had all these slopes, and the levels ran from 0 to infinity.)
# The network sees $x$ in units of the noisy law and the logarithm of $\sigma$; its output is divided by $\sigma$, the size that a score has.


# %%
def at_level(layers, x, sigma):
    """A score for all levels: x (nets, B, 2), sigma (nets, B, 1)."""
    scaled = x / (25 + sigma**2).sqrt()
    return forward(layers, torch.cat([scaled, sigma.log() / 2], -1)) / sigma


def all_levels(layers, x):
    which = torch.randint(len(levels), (*x.shape[:2], 1), generator=rng)
    sigma = levels[which]
    loss = denoising_score_loss(
        lambda noisy: at_level(layers, noisy, sigma), x, normal(x), sigma
    )
    return sigma[..., 0] ** 2 * loss


# %%
torch.set_default_dtype(torch.float32)
rng = torch.Generator().manual_seed(seed)
ladder = fit(all_levels, (3, 64, 64, 2), levels_steps, 2 * batch, rng)

# %% [markdown]
# The walk takes 100 steps at each of ten levels. (`langevin` returns where `langevin_path` ends.)
# The authors' program has the same steps and the same largest level, 20, but only the exact score, and ends without noise; ours ends at the level 0.5.

# %%
source(annealed_langevin)


# %%
sigmas = levels.tolist()


def by_ladder(x, sigma):
    return at_level(ladder, x, torch.full((*x.shape[:2], 1), sigma))


def by_truth(x, sigma):
    return exact(x, sigmas.index(sigma) + 1)


start = torch.cat(list(starts.values())[:2])
part = start.view(2, nets, 400, 2).transpose(0, 1).reshape(nets, -1, 2)
by_nets = annealed_langevin(by_ladder, part, sigmas, 0.1, 100, rng)
by_nets = by_nets.view(nets, 2, 400, 2)
by_levels = annealed_langevin(by_truth, start, sigmas, 0.1, 100, rng)
by_levels = by_levels.view(2, -1, 2)

# %% tags=["hide-input"]
rows = []
for k, name in enumerate(list(starts)[:2]):
    row = {"start": name, "one level, exact score": counted(by_exact[k])}
    row["ten levels, learned"] = mean_of(large(by_nets[:, k]))
    row["ten levels, exact score"] = counted(by_levels[k])
    rows.append(row | {"truth": 0.8})
results_table(rows)

# %% [markdown]
# The start is forgotten, and the weights are back.
# Is an error left that is too small for 4,000 walkers?
# Along the line through both villages the walk is a chain on the line, so its law follows from powers of a matrix, without chance.


# %%
def share(levels, step, steps, N=201):
    """Exact share at x > 0 after the walk from the small village."""
    half, law, x = 50**0.5, torch.ones(1), torch.tensor([-(50**0.5)])
    for sigma in levels:
        v, a = 1 + sigma**2, step * (sigma / levels[-1]) ** 2
        wide = half + 6 * (v / (1 - a / (4 * v))) ** 0.5
        grid = torch.linspace(-wide, wide, N)

        def moves(x, v=v, a=a, grid=grid):
            pull = half * torch.tanh(half * x / v + math.log(4) / 2) - x
            mean = x + a / (2 * v) * pull
            return (-((grid - mean[:, None]) ** 2) / (2 * a)).softmax(1)

        rest = torch.linalg.matrix_power(moves(grid), steps - 1)
        law, x = law @ moves(x) @ rest, grid
    return law[x > 0].sum().item()


# %%
torch.set_default_dtype(torch.float64)
rows = []
for count, step, each in (
    (10, 0.1, 100),
    (10, 0.1, 1_000),
    (10, 0.02, 1_000),
    (40, 0.02, 1_000),
):
    sigmas = torch.logspace(math.log10(20), math.log10(0.5), count).tolist()
    row = {"levels": count, "last step": step, "steps at each": each}
    rows.append(row | {"share": share(sigmas, step, each), "truth": 0.8})
results_table(rows)

# %%
lacks = [row["truth"] - row["share"] for row in rows]
Markdown(
    f"With the exact score our ladder lacks {lacks[0]:.3f}. Patience, smaller "
    f"steps and more levels, in this order, leave {lacks[1]:.3f}, "
    f"{lacks[2]:.3f} and {lacks[3]:.3f}."
)

# %% tags=["hide-input"]
away = by_levels[by_levels.sum(-1) > 0] - 5
v = 1 + levels[-1].item() ** 2
Markdown(
    "And the walk ends in samples of the last noisy law. In the larger "
    f"village their variance is {away.var():.2f} ± "
    f"{away.var() * (2 / away.numel()) ** 0.5:.2f}; the data have 1, the noisy "
    f"law has {v:.2f}, and finite steps make it {v / (1 - 0.1 / (4 * v)):.2f}."
)

# %% tags=["hide-input"]
figure = figures.blank(2.3)
panels = figure.subplots(1, 4, sharey=True)
ends = {
    "data": starts["as the data"],
    "exact, one level": by_exact[0],
    "learned, one level": by_net[:, 0].reshape(-1, 2),
    "learned, ten levels": by_nets[:, 0].reshape(-1, 2),
}
for axes, (name, x) in zip(panels, ends.items(), strict=True):
    up = x.sum(-1) > 0
    axes.plot(*x[up][::3].T, ".", ms=1.5, color=PALETTE[0])
    axes.plot(*x[~up][::3].T, ".", ms=1.5, color=PALETTE[1])
    axes.set(
        xlim=(-9, 9), ylim=(-9, 9), xticks=[-5, 5], yticks=[-5, 5], aspect=1
    )
    axes.set_title(f"{name}\n{large(x):.0%} upper", fontsize=9.5)
    axes.grid(False)
show(
    figure,
    "Data, and where walkers from anywhere in the square end, every third "
    "drawn. Above each panel: the share in the upper, larger village.",
    alt="Four panels with two clouds of dots; in the first and the last the "
    "upper one is much fuller, in the others it is not.",
    label="fig-score-matching-ends",
)

# %% [markdown]
# ## Limits
#
# All theorems on losses are about means over the law. Our networks get fresh points at every step; over $N$ fixed points the implicit loss has no minimum, as a field may be 0 and fall as steeply as it likes at each of them.
#
# ## Exercises
#
# ```{exercise-start} Three losses, and what they cost
# :label: ex-score-matching-sheet
# ```
# (Derive.) Derive from the explicit loss, for one dimension, a loss without the unknown slope. Why is its form in $D$ dimensions of little use for pictures? Show that the denoising loss is an explicit loss and a constant; of which density? Check it where all is Gaussian.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-score-matching-sheet
# :class: dropdown
# ```
# $\tfrac12 \mathbb E (s - (\log p)')^2$ $= \tfrac12 \mathbb E s^2 - \int s\, p' + \tfrac12 \mathbb E ((\log p)')^2$, as $p\, (\log p)' = p'$; integrate the middle term by parts: $\mathbb E[\tfrac12 s^2 + s']$ and a constant ({prf:ref}`thm-score-matching-hyvarinen`).
# In $D$ dimensions $s'$ is a trace: $D$ backward passes, one for each coordinate; a random slice costs one ({ref}`sec-score-matching-sliced`).
# The denoising loss is the explicit one of the *noisy* law $q_\sigma$ ({prf:ref}`thm-score-matching-denoising`), not of $p$: for $p = \mathcal N(0, 1)$, $s(x) = -a x$ and $v = 1 + \sigma^2$ all three are polynomials in $a$.

# %%
a, sigma = torch.linspace(-1, 3, 41), 0.5
v = 1 + sigma**2
explicit, clean = v * (a - 1 / v) ** 2 / 2, (a - 1) ** 2 / 2
implicit = a**2 * v / 2 - a + 1 / (2 * v)  # Hyvärinen, of q_σ
denoising = (a**2 * v - 2 * a + 1 / sigma**2) / 2
torch.testing.assert_close(implicit, explicit)
constant = (1 / sigma**2 - 1 / v) / 2
torch.testing.assert_close(denoising - explicit, constant + 0 * a)
assert (denoising - clean).std() > 0.1  # p itself will not do
print(f"denoising = explicit of q_σ + {constant:.1f}, for all 41 slopes")

# %%
for D in (2, 28, 784):
    net = torch.nn.Sequential(
        torch.nn.Linear(D, 64), torch.nn.Tanh(), torch.nn.Linear(64, D)
    )
    x, calls, trace = torch.randn(8, D, requires_grad=True), 0, 0
    out = net(x)
    for i in range(D):
        (row,) = torch.autograd.grad(out[:, i].sum(), x, retain_graph=True)
        trace, calls = trace + row[:, i], calls + 1
    jacobian = torch.func.vmap(torch.func.jacrev(net))(x)
    torch.testing.assert_close(trace, jacobian.diagonal(dim1=1, dim2=2).sum(1))
    print(f"D = {D}: {calls} backward passes for the trace, 1 for a slice")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Likelihood in disguise
# :label: ex-score-matching-gaussian
# ```
# (Derive.) Prove Hyvärinen's identity for $D = 1$ and a smooth $p > 0$ in two lines.
# Then fit a Gaussian, $s(x) = -\Lambda (x - \mu)$ with symmetric positive definite $\Lambda$, to $N$ points by the implicit loss. Which $\mu$ and $\Lambda$ win?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-score-matching-gaussian
# :class: dropdown
# ```
# $J = \tfrac12 \int p s^2 - \int s\, p' + \text{const}$, and $\int s\, p' = -\int p\, s'$ by parts, $p s$ being 0 at both ends.
# The loss is $\tfrac12 \mathrm{tr}(\Lambda S_\mu \Lambda) - \mathrm{tr}\, \Lambda$ with $S_\mu$ the mean of $(x - \mu)(x - \mu)^\top$, which is $S + (\bar x - \mu)(\bar x - \mu)^\top$ for points of mean $\bar x$ and covariance $S$. So $\mu = \bar x$ is best for every $\Lambda$.
# The loss is convex in $\Lambda$, and its gradient vanishes if $\tfrac12 (S \Lambda + \Lambda S) = I$. If $S$ is positive definite, only $\Lambda = S^{-1}$ solves this: the estimate of maximum likelihood.

# %%
torch.set_default_dtype(torch.float64)
torch.manual_seed(seed)
x = torch.randn(300, 3) @ torch.randn(3, 3) + torch.randn(3)
mean, S = x.mean(0), torch.cov(x.T, correction=0)


def gaussian_loss(mu, precision):
    return implicit_score_loss(lambda x: -(x - mu) @ precision, x).mean()


best = [part.requires_grad_() for part in (mean, torch.linalg.inv(S))]
for slope in torch.autograd.grad(gaussian_loss(*best), best):
    assert slope.abs().max() < 1e-10
for _ in range(100):
    tilt = 0.1 * torch.randn(3, 3)
    worse = gaussian_loss(mean + 0.1 * torch.randn(3), best[1] + tilt + tilt.T)
    assert worse > gaussian_loss(*best)
print("no slope at the sample's mean and inverse covariance; 100 others lose")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The constant, by hand
# :label: ex-score-matching-constant
# ```
# (Derive.) Let $x \sim \mathcal N(0, \tau^2)$ on the line. Derive $q_\sigma$, $\mathbb E[x \mid \tilde x]$ and $C_\sigma$, and prove for $s(x) = -\theta x$ that score matching is a denoising autoencoder.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-score-matching-constant
# :class: dropdown
# ```
# $q_\sigma = \mathcal N(0, v)$ with $v = \tau^2 + \sigma^2$, so its score is $-\tilde x / v$, and Tweedie's formula gives $\mathbb E[x \mid \tilde x] = \tilde x\, \tau^2 / v$, the well-known shrinking.
# The posterior variance is $\tau^2 \sigma^2 / v$, so $C_\sigma = \tau^2 / (2 \sigma^2 v)$.
# Directly: $\tfrac12 \mathbb E(-\theta \tilde x + \varepsilon / \sigma)^2 = \tfrac12 (\theta^2 v - 2 \theta + 1 / \sigma^2)$, while $\tfrac12 \mathbb E(-\theta \tilde x + \tilde x / v)^2 = \tfrac12 (\theta^2 v - 2 \theta + 1 / v)$. The difference is $\tfrac12 (1 / \sigma^2 - 1 / v)$, the same.

# %%
u, noise = torch.cartesian_prod(tick, tick).T
for tau, sigma, theta in product((0.5, 2.0), (0.1, 0.6), (0.3, 1.0)):
    v = tau**2 + sigma**2
    x = (tau * u)[:, None]
    mass = (-(u**2 + noise**2) / 2).softmax(0)
    denoise = mass @ denoising_score_loss(
        lambda x, theta=theta: -theta * x, x, noise[:, None], sigma
    )
    explicit = (theta - 1 / v) ** 2 * v / 2
    torch.testing.assert_close(
        denoise - explicit, torch.tensor(tau**2 / (2 * sigma**2 * v))
    )
print("8 cases: the constant is τ² / (2 σ² (τ² + σ²))")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Waiting times
# :label: ex-score-matching-half-line
# ```
# (Derive.) On $[0, \infty)$ with $p(0) > 0$ the implicit loss lies. Weight the explicit loss with $x^2$ {cite:p}`hyvarinen2007some`, repeat the proof, and estimate the rate of an exponential law with $s = -\theta$.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-score-matching-half-line
# :class: dropdown
# ```
# $\int x^2 s\, p' = [x^2 s\, p] - \mathbb E (x^2 s)'$, and the edge is 0 at $x = 0$. So the loss is $\mathbb E[\tfrac12 x^2 s^2 + (x^2 s)']$ and a constant.
# For $s = -\theta$ it is $\tfrac12 \theta^2\, \mathbb E x^2 - 2 \theta\, \mathbb E x$, smallest at $\theta = 2\, \mathbb E x / \mathbb E x^2$. For an exponential law that is $\frac{2 / \lambda}{2 / \lambda^2} = \lambda$.

# %%
torch.manual_seed(seed)
lam, n = torch.tensor([0.5, 1.0, 3.0]), 100_000
x = (-torch.rand(n, 3).log() / lam).requires_grad_()
theta = (2 * x.mean(0) / (x**2).mean(0)).detach().requires_grad_()
(change,) = torch.autograd.grad((-theta * x**2).sum(), x, create_graph=True)
loss = ((theta * x) ** 2 / 2 + change).mean(0)
(slope,) = torch.autograd.grad(loss.sum(), theta)
error = (2 / n) ** 0.5 * lam  # its standard error, to first order
assert slope.abs().max() < 1e-9
assert ((theta - lam).abs() < 4 * error).all()
print(f"rates {lam.tolist()}: estimated {theta.detach().numpy().round(2)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} One coordinate at a time
# :label: ex-score-matching-directions
# ```
# (Code.) Implement sliced score matching with $v = \sqrt D\, e_i$, $i$ uniform, and compare it with the implicit loss and with slices of signs. Derive its variance. When is it better than signs?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-score-matching-directions
# :class: dropdown
# ```
# $\mathbb E\, v v^\top = D \cdot \tfrac1D \sum e_i e_i^\top = I$, so it is unbiased. $v^\top \nabla s\, v = D A_{ii}$ has the variance $D \sum A_{ii}^2 - (\mathrm{tr}\, A)^2$.
# With $A$ the symmetric part of $\nabla s$, it is better than signs if that is less than $2 \sum_{i \ne j} A_{ij}^2$.
# It is 0 if the diagonal is constant, whatever stands beside it; signs are exact if nothing stands beside it, whatever the diagonal.

# %%
torch.manual_seed(seed)
D, rows = 5, []
x, mixed = torch.randn(1, D), torch.randn(D, D)
mixed = mixed + mixed.T
coordinates = D**0.5 * torch.eye(D)
corners = torch.tensor(list(product((-1.0, 1.0), repeat=D)))
for name, M in (
    ("constant diagonal", mixed - mixed.diag().diag() + torch.eye(D)),
    ("only a diagonal", torch.arange(1.0, D + 1).diag()),
):
    row, exact_loss = (
        {"Jacobian": name},
        implicit_score_loss(lambda x, M=M: x @ M, x),
    )
    for law, v in (("coordinates", coordinates), ("signs", corners)):
        sliced = sliced_score_loss(
            lambda x, M=M: x @ M, x.expand(len(v), D), v
        )
        torch.testing.assert_close(sliced.mean(0, keepdim=True), exact_loss)
        row[f"variance, {law}"] = sliced.var(correction=0).item()
    formula = D * M.diag().square().sum() - M.trace() ** 2
    assert abs(row["variance, coordinates"] - formula) < 1e-9
    rows.append(row)

# %%
assert rows[0]["variance, coordinates"] < 1e-9 < rows[0]["variance, signs"]
assert rows[1]["variance, signs"] < 1e-9 < rows[1]["variance, coordinates"]
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Eight villages
# :label: ex-score-matching-ring
# ```
# (Measure.) Give the eight Gaussians of the ring the weights $\tfrac1{36}, \dots, \tfrac8{36}$, start everybody in the smallest, and walk with the exact score: at one level of noise, and down ladders that begin at 0.3, 1 and 4. How far are the shares from the truth? Does the ladder have to begin at the size of the ring?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-score-matching-ring
# :class: dropdown
# ```
# At one level the field is exact, and nobody leaves the village where all began.
# It is enough to hear the next village, 1.5 away: from there the walk goes on, so a ladder from 1 does as well as one from 4.


# %%
torch.manual_seed(seed)
truth, rows, off = torch.arange(1.0, 9) / 36, [], []
start = centres[0] + 0.1 * torch.randn(1_000, 2)
for top, count in ((0.05, 1), (0.3, 6), (1, 10), (4, 14)):
    rungs = torch.logspace(math.log10(top), math.log10(0.05), count).tolist()
    kept = 1 / (1 + torch.tensor(rungs) ** 2)
    uneven = NoisedMixture(truth, centres, 0.1 * torch.ones(8), kept)

    def walked(x, sigma, world=uneven, rungs=rungs):
        k = rungs.index(sigma)
        a, times = world.alpha_bar[k].sqrt(), torch.full((len(x),), k)
        return a * world.score(a * x, times)

    x = annealed_langevin(walked, start, rungs, 0.0005, 560 // count)
    found = torch.bincount(torch.cdist(x, centres).argmin(1), minlength=8)
    off.append((found / len(x) - truth).abs().sum().item() / 2)
    row = {"ladder begins at": f"{top:g}", "levels": count}
    row["villages reached"] = int((found > 0).sum())
    rows.append(row | {"total variation from the truth": off[-1]})

# %%
lucky = torch.multinomial(truth, 1_000 * 200, True).view(200, 1_000)
lucky = torch.stack([(lucky == k).double().mean(1) for k in range(8)], 1)
chance = ((lucky - truth).abs().sum(1) / 2).mean().item()
assert off[0] > 0.9 and off[1] > 0.3 and max(off[2:]) < 2 * chance
rows.append({"ladder begins at": "(1,000 draws of the truth)"})
rows[-1]["total variation from the truth"] = chance
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} How long is long enough? (open)
# :label: ex-score-matching-crossing
# ```
# (Open.) With the exact score at one level the weights would come right in the end. Two equal Gaussians of variance 1 on the line are $d$ apart, and all walkers start in one. How does the time until a quarter has crossed grow with $d$? What does that mean for $d = \sqrt{200}$? And how does the time of a ladder of levels grow with $d$?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-score-matching-crossing
# :class: dropdown
# ```
# With $U = -\log p$, small steps and a high barrier, walkers cross at the rate $k = \tfrac1{4 \pi} \sqrt{U''_{\text{low}}\, |U''_{\text{top}}|}\, e^{-h}$ for a unit of time {cite:p}`kramers1940brownian`. Here $h \approx d^2 / 8 - \log 2$, $U''_{\text{low}} \approx 1$ and $|U''_{\text{top}}| = d^2 / 4 - 1$.
# The share that has crossed is $\tfrac12 (1 - e^{-2 k t})$, a quarter at $t = \log 2 / (2 k)$.
# From $d = 5$ on it holds within a factor of 2; we did not test where the rest comes from.
# A ladder needs enough steps where the villages merge, at $\sigma \approx d / 2$, and there its steps are as large as $\sigma^2$ allows; that its time grows with $\log d$ only is our guess.


# %%
def kramers(d):
    """Steps of 0.1 until a quarter has crossed, for high barriers."""
    rate = math.sqrt(d**2 / 4 - 1) / (4 * math.pi) * 2 * math.exp(-(d**2) / 8)
    return math.log(2) / (2 * rate) / 0.1


rng, rows = torch.Generator().manual_seed(seed), []
for d in (3.0, 4.0, 5.0, 6.0, 7.0):
    x, k = torch.randn(1_000, generator=rng) - d / 2, 0
    while (x > 0).double().mean() < 0.25:
        pull = -x + d / 2 * torch.tanh(d / 2 * x)
        x = x + 0.05 * pull + 0.1**0.5 * torch.randn(1_000, generator=rng)
        k += 1
    rows.append({"d": d, "steps": k, "Kramers": kramers(d)})
ratio = [row["steps"] / row["Kramers"] for row in rows[2:]]
assert all(0.5 < one < 2 for one in ratio)
rows.append({"d": 200**0.5, "Kramers": f"{kramers(200**0.5):.1e}"})
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What the visitors can know

# %% tags=["hide-input"]
lost, back = counted(by_exact[0]).value, mean_of(large(by_nets[:, 0]))
Markdown(
    f"No: {lost:.0%} of the visitors dropped anywhere in the square arrived in "
    "the larger village, though everybody heard every voice exactly. With ten "
    f"levels of noise {back.value:.0%} ± {back.error:.1%} did, and they had "
    "learned the slopes themselves, from where people were."
)

# %% [markdown]
# Slopes where people live say where they live, but hardly how many, as long as each village is out of the other's hearing.
# Shake everything until the two sound like one, and the same slopes carry the weights.
# The next chapter does this with images.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
