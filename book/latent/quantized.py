# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:quantized)=
# # Quantised codes: VQ-VAE, the discrete VAE, and a prior over codes
#
# *What is lost when a picture must be spelt with 64 letters?*
#
# A setter of mosaics owns a box of 64 kinds of tiles.
# Whatever she is shown, she lays 7 rows of 7 tiles, each the kind that fits best, and a painter turns them into a picture again.
# Two things can go wrong before the first mosaic is sold.
# She may reach for the same ten kinds all day, and never learn what the others would be good for.
# And when she lays tiles at random, to invent something, the painter sees rubble: nobody told her which tile stands beside which.
#
# Symbols are learned as tiles are, by trying which fits; but a choice has no gradient, and there are several ways to pretend that it has one.
# Once the symbols are there, inventing is a matter of spelling, and a language model spells.
#
# :::{admonition} You will learn to
# - say in which sense a codebook is k-means that never stops;
# - compute how biased the straight-through gradient is, and what Gumbel-softmax and REINFORCE pay instead;
# - train a VQ-VAE, a discrete VAE and finite scalars, let a codebook collapse, and cure it;
# - put a learned prior over the codes, and count bits with its rate in them;
# - find clusters in codes without labels, and judge them, and their pseudo-labels, honestly.
#
# You need: the bound of a VAE and its two terms ({ref}`variational autoencoders <ch:vae>`), and how a transformer reads tokens ({ref}`Image GPT <ch:image-gpt>`).
# :::

# %% tags=["parameters"]
epochs: int = 0  # 0: recall the published runs; n: train n epochs here
subset: int = 0  # 0: all images; n: train and measure on the first n
seed: int = 0

# %% tags=["hide-input"]
import math

import torch
import torch.nn.functional as F
from IPython.display import Markdown
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE

from companion import figures, metrics
from companion.claims import check
from companion.data import load
from companion.data.binary import load_binary
from companion.experiments import (
    cluster_classifier,
    code_prior,
    discrete_vae,
    extractor_of,
    flat_vae,
    fsq_vae,
    vq_vae,
)

# %% tags=["hide-input"]
from companion.figures import (
    Explorable,
    Sketch,
    results_table,
    show,
    show_source,
)
from companion.metrics import clusters as judged
from companion.models.classifier import Classifier
from companion.models.code_prior import CodePrior
from companion.models.quantized import (
    DiscreteVAE,
    FiniteScalars,
    VectorQuantised,
    gumbel_like,
    nearest,
)

# %% tags=["hide-input"]
from companion.nets import image_encoder
from companion.nets.grids import grid_decoder, grid_encoder
from companion.objectives.quantized import (
    straight_through,
    temperature_at,
    vector_quantised,
)
from companion.runs import published_seed
from companion.train import train

seed = published_seed(vq_vae, seed, epochs)

# %% tags=["hide-input"]
sketch = Sketch(380, 190)
sketch.node("x", 26, 60, "x", size=(36, 36), shaded=True)
sketch.node("e", 92, 60, "encoder", size=(60, 32))
sketch.node("c", 178, 60, "nearest\ncode", size=(60, 40), lit=True)
sketch.node("d", 264, 60, "decoder", size=(60, 32))
sketch.node("p", 346, 60, "copy", size=(44, 36), shaded=True)
for one, two in ("xe", "ec", "cd", "dp"):
    sketch.link(one, two, lit=one == "c")
sketch.node("book", 178, 150, "codebook\nof K", size=(70, 40))
sketch.link("book", "c", dashed=True)
sketch.node("prior", 306, 150, "prior over\nsymbols", size=(78, 40))
sketch.link("prior", "d", dashed=True, bend=-14)
sketch.words(134, 22, "49 vectors", small=True)
sketch.words(222, 22, "49 symbols", small=True)
sketch.show(
    "A VQ-VAE. Each of 49 places says a vector, the nearest code of a book "
    "takes its place, and the decoder sees only codes. Below: the book "
    "follows the vectors that choose it, and a second training learns which "
    "symbols stand beside which, to invent new ones.",
    alt="Image, encoder, nearest code, decoder and copy in a row; below "
    "them the codebook and a prior over symbols.",
    label="fig-quantized-idea",
)

# %% [markdown]
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $x$ | image, pixels 0 or 1 | $(B, 1, 28, 28)$ | `x` |
# | $T$, $K$, $D$ | places, 49; symbols, 64; numbers in a code | | |
# | $z$ | what the encoder says | $(B, T, D)$ | `raw` |
# | $c$ | symbols, $c_t \in \{1, \dots, K\}$ | $(B, T)$ | `tokens` |
# | $e_k$ | code of symbol $k$ | $(K, D)$ | `codebook` |
# | $a$; $\pi$ | logits of a symbol; their softmax | $(K)$ | `logits` |
# | $G$; $\tau$ | Gumbel noise; temperature | $(K)$ | `gumbel_like` |
# | $\gamma$; $\eta_k$ | decay of an average; step of code $k$ | | `decay`; `eta` |
# | $f_k$, $J$ | loss of symbol $k$, and its mean | | `corners` |
# | $A$ | $\log \sum_k e^{a_k}$ | | |
# | $\beta$ | weight of the commitment | | `commitment` |
# | $H$; $P$ | entropy, in nats; perplexity $e^H$ | | |
# | $q(c \mid x)$, $p(c)$ | encoder's law and prior of symbols | | |
# | $\bar q(c)$ | mean of $q(c \mid x)$ over images | | |
#
# (sec-quantized-kmeans)=
# ## A codebook is k-means that never stops
#
# Take vectors $z_1, \dots, z_n$ and codes $e_1, \dots, e_K$, and let each vector be replaced by the code of its choice $c_i$.
# It costs the distortion $\sum_i \| z_i - e_{c_i} \|^2$.
# The VQ-VAE {cite:p}`oord2017neural` lets each code follow two running averages, of how many vectors choose it and of their sum:
#
# $$
# \begin{aligned}
# N_k' &= \gamma N_k + (1 - \gamma)\, n_k, \\
# m_k' &= \gamma m_k + (1 - \gamma) \sum_{c_i = k} z_i, \qquad e_k' = m_k' / N_k',
# \end{aligned}
# $$ (eq-quantized-ema)
#
# where $n_k$ vectors of the batch chose $k$, and $e_k = m_k / N_k$ before.
#
# :::{prf:theorem} The codebook's step is online k-means
# :label: thm-quantized-kmeans
# Let $0 \le \gamma < 1$ and $N_k > 0$, and let $\bar z_k$ be the mean of the $n_k \ge 1$ vectors that chose $k$. (A code that no vector chose stays; for $\gamma = 0$ by agreement.)
#
# (a) $e_k' = e_k + \eta_k (\bar z_k - e_k)$ with $\eta_k = (1 - \gamma)\, n_k / N_k'$, which is in $(0, 1]$.
#
# (b) On fixed vectors, all of them in each step, neither to choose the nearest codes nor to take such a step raises the distortion. With $\gamma = 0$ it is an iteration of k-means (Lloyd's).
#
# (c) A step leaves the codes where they are if and only if each chosen one is the mean of its vectors: the fixed points of k-means, whatever $\gamma$ is.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $m_k' = \gamma N_k e_k + (1 - \gamma) n_k \bar z_k$, as $m_k = N_k e_k$ and a sum is $n_k$ times its mean.
# 2. Divide by $N_k' = \gamma N_k + (1 - \gamma) n_k$: the weights of $e_k$ and $\bar z_k$ are $1 - \eta_k$ and $\eta_k$. This is (a); $\eta_k \le 1$ because $\gamma N_k \ge 0$.
# 3. To choose the nearest code minimises each summand of the distortion over $c_i$, so it does not raise the sum.
# 4. For fixed choices, $\sum_{c_i = k} \| z_i - e \|^2 = \sum_{c_i = k} \| z_i - \bar z_k \|^2 + n_k \| \bar z_k - e \|^2$: the cross term vanishes, as deviations from a mean sum to zero.
# 5. By (a) the step multiplies $\bar z_k - e_k$ by $1 - \eta_k \in [0, 1)$, so the last term does not grow. With steps 3 and 4 this is (b); for $\gamma = 0$, $\eta_k = 1$ and $e_k' = \bar z_k$.
# 6. As $\eta_k > 0$, $e_k' = e_k$ if and only if $\bar z_k = e_k$: (c).
# :::
#
# In a training the encoder moves and each step sees one batch, so (b) and (c) need not hold step by step; $\gamma$ says how far back the book remembers.
# The cells check the package's own step, `follow`; the fixed points come from scikit-learn, which knows nothing of it.


# %%
def book(codes, decay):
    """A codebook of a package's model, at random counts, without revival."""
    model = VectorQuantised(
        torch.nn.Identity(), torch.nn.Identity(), *codes.shape, decay, False
    ).double()
    model.counts = torch.randint(1, 20, (len(codes),)).double()
    model.codebook, model.sums = codes.clone(), model.counts[:, None] * codes
    return model


def cost(vectors, chosen):
    """The distortion of vectors (N, D) in place of which codes stand."""
    return (vectors - chosen).square().sum()


# %% tags=["hide-input"]
torch.manual_seed(seed)
sides = {"left": [], "right": [], "no count": [], "old count": [], "away": []}
falls = {"before": [], "stepped": [], "again": [], "over": [], "second": []}
for _ in range(20):
    z = torch.randn(300, 3, dtype=torch.float64)
    codes, decay = z[:6].clone(), float(torch.rand(()))
    model, tokens = book(codes, decay), nearest(z, codes)
    old = model.counts.clone()[:, None]
    model.follow(z, tokens)
    n = torch.bincount(tokens, minlength=6).double()[:, None]
    mean = torch.stack([z[tokens == k].mean(0) for k in range(6)])
    eta = (1 - decay) * n / (decay * old + (1 - decay) * n)
    way, now = mean - codes, model.codebook
    sides["left"].append(now)
    sides["right"].append(codes + eta * way)
    sides["no count"].append(codes + (1 - decay) * way)
    sides["old count"].append(codes + (1 - decay) * n / old * way)
    sides["away"].append(codes - eta * way)
    falls["before"].append(cost(z, codes[tokens]))
    falls["stepped"].append(cost(z, now[tokens]))
    falls["again"].append(cost(z, now[nearest(z, now)]))
    falls["over"].append(cost(z, (codes + 2.5 * eta * way)[tokens]))
    second = torch.cdist(z, now).argsort(1)[:, 1]
    falls["second"].append(cost(z, now[second]))

# %% tags=["hide-input"]
part = {name: torch.stack(found) for name, found in sides.items()}
loss = {name: torch.stack(found) for name, found in falls.items()}
check("thm-quantized-kmeans", about="the step", of="codebooks").equal(
    part.pop("left"),
    part.pop("right"),
    wrong={
        "a step of 1 − γ, whatever the counts": part["no count"],
        "the count before the step": part["old count"],
        "away from the mean": part["away"],
    },
)

# %% tags=["hide-input"]
check("thm-quantized-kmeans", about="the distortion", of="codebooks").at_most(
    torch.stack([loss["stepped"], loss["again"]], 1),
    torch.stack([loss["before"], loss["stepped"]], 1),
    wrong={
        "a step of 2.5 η, choices held": (
            torch.stack([loss["over"], loss["again"]], 1),
            torch.stack([loss["before"], loss["stepped"]], 1),
        ),
        "the second nearest code": (
            torch.stack([loss["stepped"], loss["second"]], 1),
            torch.stack([loss["before"], loss["stepped"]], 1),
        ),
    },
)

# %% tags=["hide-input"]
stays = {"k-means": [], "medians": [], "too early": [], "vectors": []}
for k in range(8):
    torch.manual_seed(k)
    z = torch.randn(200, 2, dtype=torch.float64)
    found = KMeans(4, n_init=1, tol=0, random_state=k).fit(z.numpy())
    centres, own = torch.from_numpy(found.cluster_centers_), found.labels_
    own = torch.from_numpy(own).long()
    early = KMeans(4, init=z[:4].numpy(), n_init=1, max_iter=1).fit(z.numpy())
    starts = {"k-means": centres, "vectors": z[:4]}
    starts["too early"] = torch.from_numpy(early.cluster_centers_)
    starts["medians"] = torch.stack(
        [z[own == j].median(0).values for j in range(4)]
    )
    for name, start in starts.items():
        model = book(start, float(torch.rand(())))
        model.follow(z, nearest(z, start))
        stays[name].append(torch.allclose(model.codebook, start, atol=1e-9))
check(
    "thm-quantized-kmeans", kind="grid", about="fixed points", of="data sets"
).holds(
    torch.tensor(stays.pop("k-means")),
    wrong={name: torch.tensor(flags) for name, flags in stays.items()},
)

# %% [markdown]
# (sec-quantized-straight)=
# ## A choice has no gradient, and every substitute has a price
#
# The decoder receives a chosen code, and for almost every $z$ a small move changes no choice.
# So the gradient of $-\log p(x \mid c)$ with respect to the encoder is zero almost everywhere, and of no use.
# The *straight-through* estimator {cite:p}`bengio2013estimating` goes forward with the choice and backward as if there had been none: in code, `z + (chosen - z).detach()`.
# For symbols that are drawn at random, $c \sim \pi = \mathrm{softmax}(a)$, the loss has a mean $J(a) = \sum_k \pi_k f_k$ with a true gradient to compare with,
#
# $$
# \partial J / \partial a_j = \pi_j (f_j - J) .
# $$ (eq-quantized-exact)
#
# Let the loss be $f(y)$ of a vector $y$ in the simplex, at whose corner $\delta_k$ it is $f_k$.
# Straight-through draws a corner, takes $\nabla f$ there, and multiplies it with the slope of the softmax: $g_j = \sum_i \partial_i f(\delta_c)\, \partial \pi_i / \partial a_j$.
#
# :::{prf:theorem} The bias of the straight-through gradient
# :label: thm-quantized-straight
# Let there be two symbols, let the second have the probability $\pi$ and the logit $a$, and let $\varphi(t)$ be the loss at $y = (1 - t, t)$, twice differentiable.
#
# (a) The true gradient is $\partial J / \partial a = \pi (1 - \pi) \big( \varphi(1) - \varphi(0) \big)$.
#
# (b) The mean of the straight-through gradient is $\pi (1 - \pi) \big( (1 - \pi) \varphi'(0) + \pi \varphi'(1) \big)$.
#
# (c) For a quadratic $\varphi$ the second is larger than the first by $\pi (1 - \pi) (\pi - \tfrac12)\, \varphi''$. So it is unbiased at $\pi = \tfrac12$, or for a linear $\varphi$, and nowhere else with $0 < \pi < 1$.
#
# (d) REINFORCE, $(f_c - b)\, \partial \log \pi_c / \partial a$, is unbiased for any number of symbols, any loss and any constant $b$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $J = (1 - \pi) \varphi(0) + \pi \varphi(1)$ and $\partial \pi / \partial a = \pi (1 - \pi)$, the slope of the logistic function: (a).
# 2. A draw gives $\varphi'(0)$ with probability $1 - \pi$ and $\varphi'(1)$ with $\pi$, both times $\partial t / \partial a = \pi (1 - \pi)$ because the backward pass takes $t$ for $\pi$: (b).
# 3. For a quadratic, $\varphi(1) - \varphi(0) = \tfrac12 \big( \varphi'(0) + \varphi'(1) \big)$: the trapezoidal rule is exact for the linear $\varphi'$.
# 4. Subtract: $(1 - \pi) \varphi'(0) + \pi \varphi'(1) - \tfrac12 \varphi'(0) - \tfrac12 \varphi'(1) = (\pi - \tfrac12) \big( \varphi'(1) - \varphi'(0) \big)$, and the bracket is $\varphi''$: (c).
# 5. $\mathbb E[f_c\, \partial \log \pi_c] = \sum_k \pi_k f_k\, \partial \pi_k / \pi_k = \partial J$, and $\sum_k \partial \pi_k = \partial 1 = 0$ takes $b$ away: (d).
# :::
#
# In a VQ-VAE the choice is not drawn, and the case is worse: there the exact gradient is zero almost everywhere and the straight-through one is not.
# It follows the slope of the loss at the code; that it helps is an observation, not a theorem.
# Autograd checks the formulas, for random quadratic decoders.


# %%
def loss_at(y):
    """Squared error of the decoder y E against a picture: (..., K) -> (...)."""
    return (y @ codes - picture).square().sum(-1)


def by_straight_through(logits):
    """Loss of drawn symbols, with the gradient of their probabilities."""
    soft = logits.softmax(-1)
    drawn = torch.distributions.Categorical(logits=logits).sample()
    hard = F.one_hot(drawn, logits.shape[-1]).to(soft)
    return loss_at(straight_through(soft, hard))


# %% tags=["hide-input"]
torch.manual_seed(seed)
found = {"mean": [], "law": [], "unbiased": [], "squared": [], "sign": []}
for _ in range(100):
    codes = torch.randn(2, 3, dtype=torch.float64)
    picture = torch.randn(3, dtype=torch.float64)
    a = torch.randn((), dtype=torch.float64, requires_grad=True)
    logits = torch.stack([torch.zeros_like(a), a])
    soft = logits.softmax(0)
    each = []
    for hard in torch.eye(2, dtype=torch.float64):
        value = loss_at(straight_through(soft, hard))
        each.append(torch.autograd.grad(value, a, retain_graph=True)[0])
    share = soft[1].item()
    exact = torch.autograd.grad(
        (soft * loss_at(torch.eye(2, dtype=torch.float64))).sum(), a
    )[0]
    bend = 2 * (codes[1] - codes[0]).square().sum()
    extra = share * (1 - share) * (share - 0.5) * bend
    found["mean"].append((1 - share) * each[0] + share * each[1])
    found["law"].append(exact + extra)
    found["unbiased"].append(exact)
    found["sign"].append(exact - extra)
    found["squared"].append(exact + share * (1 - share) * bend)

# %% tags=["hide-input"]
part = {name: torch.stack(values) for name, values in found.items()}
check("thm-quantized-straight", about="the bias", of="decoders").equal(
    part["mean"],
    part["law"],
    wrong={
        "no bias": part["unbiased"],
        "the other sign": part["sign"],
        "no factor π − ½": part["squared"],
    },
)

# %% [markdown]
# (sec-quantized-gumbel)=
# ## The largest of noisy logits is a draw of the softmax
#
# *Gumbel* noise is $G = -\log(-\log U)$ for a uniform $U$, with the distribution function $\Pr(G \le g) = e^{-e^{-g}}$.
#
# :::{prf:theorem} Gumbel-max
# :label: thm-quantized-gumbel
# Let $G_1, \dots, G_K$ be independent Gumbel noise, and $A = \log \sum_k e^{a_k}$. Then
#
# $$
# \Pr\big( \arg\max_j (a_j + G_j) = k,\ \max_j (a_j + G_j) \le t \big) = e^{a_k - A} \, e^{-e^{-(t - A)}} .
# $$ (eq-quantized-gumbel)
#
# So the winner is a draw of $\mathrm{softmax}(a)$, the largest value is $A$ plus Gumbel noise, and the two are independent.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $a_k + G_k$ has the density $e^{-(g - a_k)} e^{-e^{-(g - a_k)}}$ at $g$, the derivative of its distribution function.
# 2. It wins at $g$ if all others are below: with probability $\prod_{j \ne k} e^{-e^{-(g - a_j)}}$, by independence; ties have probability zero.
# 3. In the product of both the exponents add up: $\sum_j e^{-(g - a_j)} = e^{A - g}$. So the joint density of "$k$ wins, at $g$" is $e^{a_k} e^{-g} e^{-e^{A - g}}$.
# 4. Its integral to $t$ is $e^{a_k - A}\, e^{-e^{A - t}}$, as $\frac{d}{dg} e^{-e^{A - g}} = e^{A - g} e^{-e^{A - g}}$.
# 5. The right side is a function of $k$ times one of $t$: independence. With $t \to \infty$ its first factor is the softmax.
# :::
#
# The maximum still has no gradient, but it has a neighbour that has one: $\mathrm{softmax}\big( (a + G) / \tau \big)$ is the winner's corner as $\tau \to 0$ and the middle of the simplex as $\tau \to \infty$ {cite:p}`jang2017categorical,maddison2017concrete`.
# The check integrates the density of steps 1 and 2 numerically, for random logits and three kinds of noise.

# %% tags=["hide-input"]
torch.manual_seed(seed)
g = torch.linspace(-30, 60, 60_001, dtype=torch.float64)
unit_normal = torch.distributions.Normal(0.0, 1.0)


def wins(a, density, below, t=60.0):
    """Probability that the first of logits a wins, below t: by quadrature."""
    inside = g <= t
    others = torch.stack([below(g - one) for one in a[1:]]).prod(0)
    return torch.trapezoid((density(g - a[0]) * others)[inside], g[inside])


def gumbel_below(v):
    return (-(-v).exp()).exp()


# %% tags=["hide-input"]
cases = 2 * torch.randn(12, 5, dtype=torch.float64)
levels = torch.linspace(-1.0, 4.0, 12, dtype=torch.float64)
levels = g[torch.searchsorted(g, levels)]
total = cases.logsumexp(1)
kinds = {
    "Gumbel": (lambda v: (-v - (-v).exp()).exp(), gumbel_below),
    "normal": (lambda v: unit_normal.log_prob(v).exp(), unit_normal.cdf),
    "exponential": (
        lambda v: torch.where(v > 0, (-v).exp(), 0.0),
        lambda v: 1 - (-v.clamp_min(0)).exp(),
    ),
}
won = {
    name: torch.stack(
        [wins(a, *laws, t) for a, t in zip(cases, levels, strict=True)]
    )
    for name, laws in kinds.items()
}

# %% tags=["hide-input"]
law_of = (cases[:, 0] - total).exp()
claimed = law_of * gumbel_below(levels - total)
check("thm-quantized-gumbel", kind="quadrature", of="logits").equal(
    won["Gumbel"],
    claimed,
    rtol=1e-4,
    wrong={
        "normal noise": won["normal"],
        "exponential noise": won["exponential"],
        "the largest without A": law_of * gumbel_below(levels),
        "the winner's logit for A": law_of
        * gumbel_below(levels - cases[:, 0]),
    },
)

# %% tags=["hide-input"]
n, a = 40_000, torch.tensor([0.5, -1.0, 1.0, 0.0], dtype=torch.float64)
noisy = a + gumbel_like(a.expand(n, 4))
hits = F.one_hot(noisy.argmax(1), 4).double()
uniform = F.one_hot((a + torch.rand(n, 4).double()).argmax(1), 4).double()
check(
    "thm-quantized-gumbel", kind="statistical", about="its sampler"
).unbiased(
    hits,
    a.softmax(0),
    wrong={
        "uniform noise": uniform,
        "half of the logits": (a / 2).softmax(0),
    },
)

# %% [markdown]
# (sec-quantized-price)=
# ## Every estimator pays, in bias or in variance
#
# Four symbols, one picture, and every estimator of this chapter.
# Gumbel-softmax puts the mixture of codes into the decoder; its gradient is unbiased for another loss, that of mixtures.

# %%
torch.manual_seed(seed)
codes, picture = torch.randn(4, 3).double(), torch.randn(3).double()
logits = torch.tensor([1.5, 0.0, -0.5, 0.5]).double()
corners = loss_at(torch.eye(4).double())
law = logits.softmax(0)
exact = law * (corners - law @ corners)  # eq. (quantized-exact)


# %%
def gradients(loss_of, draws=20_000):
    """Gradient of each draw's own loss: (draws, 4)."""
    many = logits.expand(draws, 4).clone().requires_grad_()
    return torch.autograd.grad(loss_of(many).sum(), many)[0]


def relaxed(temperature):
    """The loss of a Gumbel-softmax mixture, as a function of logits."""
    return lambda a: loss_at(((a + gumbel_like(a)) / temperature).softmax(-1))


# %%
def reinforce(a, baseline=0.0):
    """A loss whose gradient is (f - b) times that of log q(symbol)."""
    q = torch.distributions.Categorical(logits=a)
    drawn = q.sample()
    return (corners[drawn] - baseline) * q.log_prob(drawn)


heats = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
drawn = {"straight-through": gradients(by_straight_through)}
drawn |= {f"Gumbel-softmax, τ = {t:g}": gradients(relaxed(t)) for t in heats}
drawn["REINFORCE"] = gradients(reinforce)
mean_loss = float(law @ corners)
drawn["REINFORCE, b = J"] = gradients(lambda a: reinforce(a, mean_loss))

# %% tags=["hide-input"]
rows = [{"estimator": "exact", "mean, symbol 1": exact[0].item()}]
for name, draws in drawn.items():
    off = draws.mean(0) - exact
    noise = (draws.var(0) / len(draws)).sum().sqrt().item()
    row = {"estimator": name, "mean, symbol 1": metrics.mean_of(draws[:, 0])}
    row["size of the bias"] = f"{off.norm():.3f}"
    row["its noise"] = f"{noise:.3f}"
    row["standard deviation"] = f"{draws.var(0).sum().sqrt():.2f}"
    rows.append(row)
results_table(rows)

# %% [markdown]
# The bias is the length of the difference between mean and exact gradient over four logits; "its noise" is what chance alone would put there with 20,000 draws.
# A bias within two of its noise cannot be told from none: so it is with REINFORCE.
# Without a baseline it pays in variance; with $b = J$ it is, here, as steady as straight-through, but in a network the noise of 49 choices falls on each.
# A hot Gumbel-softmax is steady and wrong, a cold one nearly right and unsteady.

# %% tags=["hide-input"]
hot = [drawn[f"Gumbel-softmax, τ = {t:g}"] for t in heats]
bias = [(d.mean(0) - exact).norm().item() for d in hot]
spread = [d.var(0).sum().sqrt().item() for d in hot]
flat = drawn["straight-through"]
show(
    figures.curves(
        {
            "bias": (heats, bias),
            "standard deviation": (heats, spread),
            "bias, straight-through": (
                heats,
                [(flat.mean(0) - exact).norm().item()] * len(heats),
            ),
        },
        "temperature τ of the Gumbel-softmax",
        "length of the vector of four logits",
        scales=("log", "log"),
    ),
    "Gumbel-softmax trades bias for variance. The level line is the "
    "straight-through estimator's bias, which no temperature changes.",
    alt="Two curves over the temperature: bias rises, standard deviation "
    "falls; a level line between them.",
    label="fig-quantized-estimators",
)

# %% tags=["hide-input"]
check(
    "thm-quantized-straight", kind="statistical", about="REINFORCE"
).unbiased(
    drawn["REINFORCE"],
    exact,
    wrong={
        "straight-through": drawn["straight-through"],
        "Gumbel-softmax at τ = 1": drawn["Gumbel-softmax, τ = 1"],
        "the other sign": -exact,
    },
)

# %% [markdown]
# (sec-quantized-bound)=
# ## The bound of a discrete VAE counts letters
#
# :::{prf:theorem} The bound with a uniform prior
# :label: thm-quantized-bound
# Let $p(c) = K^{-T}$, let $q(c \mid x) = \prod_t q_t(c_t \mid x)$ with entropies $H_t$, and let $p(x \mid c) > 0$. Then
#
# $$
# \log p(x) = \mathbb E_q[\log p(x \mid c)] - \sum_t (\log K - H_t) + \mathrm{KL}\big( q(c \mid x) \,\|\, p(c \mid x) \big) ,
# $$ (eq-quantized-bound)
#
# so without the last term it is a lower bound. For a deterministic encoder that says $c^*$ it is
#
# $$
# \log p(x) \ge \log p(x \mid c^*) - T \log K ,
# $$ (eq-quantized-vq)
#
# and what is lost is $-\log p(c^* \mid x)$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. {prf:ref}`thm-vae-bound` holds with sums for integrals: $\log p(x) = \mathbb E_q \log p(x \mid c) - \mathrm{KL}(q \,\|\, p) + \mathrm{KL}(q \,\|\, p(c \mid x))$.
# 2. $\mathrm{KL}(q \,\|\, p) = -\sum_t H_t + T \log K$, as entropies of independent symbols add up and $-\log p(c) = T \log K$ for every word.
# 3. A KL divergence is not negative: the bound.
# 4. If $q$ puts all on $c^*$, all $H_t = 0$, the mean is one value, and the last KL is $\log 1 - \log p(c^* \mid x)$.
# :::
#
# A VQ-VAE pays $T \log K$ = 49 × 4.16 = 204 nats for its word, whatever the image is.
# So the rate has no gradient, and the loss leaves it out: what is trained is the distortion, and a *commitment* $\beta \| z - e_c \|^2$ that keeps vectors near their codes, since the straight-through gradient is only as good as the two are close.

# %% tags=["hide-input"]
torch.manual_seed(seed)
K, T, worlds = 4, 3, 60
words = torch.cartesian_prod(*[torch.arange(K)] * T)  # (64, 3)
fit = torch.randn(worlds, len(words), dtype=torch.float64) - 3
q_t = (2 * torch.randn(worlds, T, K, dtype=torch.float64)).softmax(-1)
q = torch.stack([q_t[:, t, words[:, t]] for t in range(T)]).prod(0)
evidence = fit.logsumexp(1) - T * math.log(K)
posterior = fit.softmax(1)
H = -(q_t * q_t.log()).sum((1, 2))
distortion = -(q * fit).sum(1)
gap = (q * (q / posterior).log()).sum(1)
bound = -distortion - (T * math.log(K) - H)
check("thm-quantized-bound", about="the identity", of="worlds").equal(
    evidence,
    bound + gap,
    wrong={
        "the gap left out": bound,
        "the entropy with the other sign": bound + gap - 2 * H,
        "log K once, not T times": bound + gap + (T - 1) * math.log(K),
    },
)

# %% tags=["hide-input"]
best = fit.argmax(1, keepdim=True)
told = fit.gather(1, best)[:, 0]
lost = -posterior.gather(1, best)[:, 0].log()
check("thm-quantized-bound", about="one word", of="worlds").equal(
    evidence,
    told - T * math.log(K) + lost,
    wrong={
        "nothing is lost": told - T * math.log(K),
        "words are free": told + lost,
    },
)

# %% [markdown]
# (sec-quantized-rate)=
# ## A prior that knows the language pays less than log K a letter
#
# After the training, words have the law $\bar q(c)$, the mean of $q(c \mid x)$ over the images, and we need not keep the uniform prior.
#
# :::{prf:theorem} The rate under any prior
# :label: thm-quantized-rate
# Let $c \sim \bar q$, a law of words of $T$ symbols with entropy $H(\bar q)$, and let $p(c) > 0$ wherever $\bar q(c) > 0$.
#
# (a) A prior $p$ pays $\mathbb E_{\bar q}[-\log p(c)] = H(\bar q) + \mathrm{KL}(\bar q \,\|\, p)$ nats a word.
#
# (b) The least is $H(\bar q) \le \sum_t H(\bar q_t) \le T \log K$, with $\bar q_t$ the law of place $t$. The first is an equality if and only if places are independent, the second if and only if each is uniform.
#
# (c) So a family of priors that holds the uniform one pays, at its best on the same words, at most $\log K$ nats a place.
#
# (d) The rate of an encoder that draws is less, by the mean entropy of its draws: $\mathbb E_x \mathrm{KL}(q(c \mid x) \,\|\, p) = \mathbb E_{\bar q}[-\log p(c)] - \mathbb E_x H(q(c \mid x)) = I(x; c) + \mathrm{KL}(\bar q \,\|\, p)$, with $I$ the mutual information. For a deterministic encoder that entropy is 0, and (a) is the rate.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $-\log p = -\log \bar q + \log (\bar q / p)$; take means under $\bar q$: (a).
# 2. The KL divergence is not negative, and zero only at $p = \bar q$: the least is $H(\bar q)$.
# 3. Put $p = \prod_t \bar q_t$ into (a): the left side is $\sum_t H(\bar q_t)$, so it is at least $H(\bar q)$, with equality only where $\bar q$ is that product.
# 4. Put the uniform law of one place into (a): $\log K = H(\bar q_t) + \mathrm{KL}(\bar q_t \,\|\, \text{uniform})$, so $H(\bar q_t) \le \log K$, with equality only for the uniform one. This is (b).
# 5. The best of a family pays no more than its uniform member, which pays $T \log K$: (c).
# 6. Take the mean of $\log (q / p) = \log q - \log p$ under $q(c \mid x)$, then over $x$. With (a) and $I(x; c) = H(\bar q) - \mathbb E_x H(q(c \mid x))$ this is (d).
# :::
#
# (c) is about the words that a prior is fitted to.
# Badly trained, or asked about other words, a prior may pay more.

# %% tags=["hide-input"]
torch.manual_seed(seed)
joint = (2 * torch.randn(50, len(words), dtype=torch.float64)).softmax(1)
prior = torch.randn(50, len(words), dtype=torch.float64).softmax(1)
pays = -(joint * prior.log()).sum(1)
entropy = -(joint * joint.log()).sum(1)
kl = (joint * (joint / prior).log()).sum(1)
check("thm-quantized-rate", about="cross-entropy", of="laws of words").equal(
    pays,
    entropy + kl,
    wrong={
        "the entropy alone": entropy,
        "KL the other way round": entropy
        + (prior * (prior / joint).log()).sum(1),
        "the entropy of the prior": -(prior * prior.log()).sum(1) + kl,
    },
)

# %% tags=["hide-input"]
flat_law = torch.full_like(joint[:1], 1 / len(words))
laws = torch.cat([joint, q[:10], flat_law])  # the last eleven: products
each = torch.stack(
    [
        torch.stack([laws[:, words[:, t] == k].sum(1) for k in range(K)], 1)
        for t in range(T)
    ]
)  # (T, laws, K)
whole, places = torch.special.entr(laws).sum(1), torch.special.entr(each)
mixed = torch.special.entr(each.mean(0)).sum(1) * T  # of the mean of places
places = places.sum((0, 2))
limit = torch.full_like(places, T * math.log(K))
shares = torch.linspace(0, 1, 5, dtype=torch.float64)
family = torch.stack([s * prior[0] + (1 - s) * flat_law[0] for s in shares])
paid = -laws @ family.log().T  # (laws, 5): each member of a family
tight = torch.zeros(len(laws), 4, dtype=torch.bool)
tight[len(joint) :, 0] = tight[-1] = True

# %% tags=["hide-input"]
left = torch.stack([whole, places, mixed, paid.amin(1)], 1)
right = torch.stack([places, mixed, limit, limit], 1)


def other(side, column, values):
    """The same numbers with another column."""
    return torch.cat(
        [side[:, :column], values[:, None], side[:, column + 1 :]], 1
    )


check("thm-quantized-rate", about="the chain", of="laws of words").at_most(
    left,
    right,
    equal_where=tight,
    wrong={
        "any member of a family": (other(left, 3, paid[:, -1]), right),
        "one place in the middle": (left, other(right, 0, places / T)),
        "places pay less than words": (
            other(left, 0, places),
            other(right, 0, whole),
        ),
    },
)

# %% tags=["hide-input"]
q_x = q.view(12, 5, -1)  # twelve worlds of five images
mean_q, p = q_x.mean(1), prior[:12]
kl_x = (q_x * (q_x / p[:, None]).log()).sum(2).mean(1)
drawn_entropy = torch.special.entr(q_x).sum(2).mean(1)
charged = -(mean_q * p.log()).sum(1)
information = (q_x * (q_x / mean_q[:, None]).log()).sum(2).mean(1)
shift = (mean_q * (mean_q / p).log()).sum(1)
check("thm-quantized-rate", about="draws", of="encoders").equal(
    torch.stack([kl_x, kl_x], 1),
    torch.stack([charged - drawn_entropy, information + shift], 1),
    wrong={
        "draws are charged": torch.stack([charged, information + shift], 1),
        "the prior knows all": torch.stack([kl_x + 0, information], 1),
        "the entropy is added": torch.stack(
            [charged + drawn_entropy, information + shift], 1
        ),
    },
)

# %% [markdown]
# (sec-quantized-vq)=
# ## A VQ-VAE on digits spells with nearly all of its letters
#
# The digits are MNIST in black and white: a grey is the probability of ink, drawn anew whenever a training image is seen, and once for all for the test images.
# So $p(x \mid c)$ is a probability of binary images, and nats and bits below are of those.
# The encoder reads blocks of 4 × 4 pixels and looks around twice; the decoder mirrors it.

# %%
show_source(grid_encoder, grid_decoder)

# %% [markdown]
# The loss, and what the codebook does in each step of a training:

# %%
show_source(vector_quantised, VectorQuantised.follow)

# %% [markdown]
# The last lines of `follow` cure what the opening feared.
# A code that is chosen less than once a batch, on average, is *dead*: it is put on a vector of the batch, drawn at random, from where it can win choices again {cite:p}`dhariwal2020jukebox`.
# Six steps by hand, on one batch: the codebook has no gradient, and yet it moves:

# %%
torch.manual_seed(seed)
data = load_binary("mnist").cut(subset)
x, y = data.examples("test", 2000)

# %% tags=["show-input"]
batch = torch.bernoulli(data.examples("train", 64)[0])
net = VectorQuantised(grid_encoder(16), grid_decoder(16), 64, 16)
adam, start = torch.optim.Adam(net.parameters(), 2e-3), net.codebook.clone()
for step in range(6):
    terms = vector_quantised(net, (batch,), step)
    loss = terms["loss"].mean()
    adam.zero_grad()
    loss.backward()
    adam.step()
    if step in (0, 5):
        print(f"step {step}: {terms['distortion'].mean():.0f} nats; codebook "
              f"moved by {(net.codebook - start).norm():.1f}")  # fmt: skip

# %% [markdown]
# The published run did so for six epochs of 60,000 digits, in batches of 128, with Adam at $2 \cdot 10^{-3}$, falling along a cosine.


# %%
def run(experiment, **choices):
    """Recall the published run, or train it here."""
    length = choices.get("horizon", 0)
    passes = min(epochs, length) if length else epochs
    found = train(experiment, passes, seed, subset, **choices)
    found.model.cpu()
    return found


vq_run = run(vq_vae)
vq = vq_run.model
m = vq_run.metrics
print(vq_run)

# %% tags=["hide-input"]
shown = x[:8]
with torch.no_grad():
    tokens = vq.tokens(shown)
    copies = vq.seen(tokens).mean
# a colour for each symbol: its place on the first axis of the codebook
centred = vq.codebook.float() - vq.codebook.float().mean(0)
axis = torch.linalg.svd(centred, full_matrices=False).Vh[0]
order = (centred @ axis).argsort().argsort().float() / (vq.vocabulary - 1)
tiles = order[tokens].view(-1, 1, 7, 7).repeat_interleave(4, 2)
tiles = tiles.repeat_interleave(4, 3)
show(
    figures.image_rows({"image": shown, "symbols": tiles, "copy": copies}),
    "Strokes survive, grain does not: binary test digits, their 49 symbols "
    "(a grey for each, by the first axis of the codebook), and the mean "
    "image of the decoder.",
    alt="Three rows of eight: digits, mosaics of 7 by 7 grey tiles, smooth "
    "copies of the digits.",
    label="fig-quantized-copies",
)

# %% tags=["hide-input"]
table = [
    {
        "": "VQ-VAE",
        "distortion, nats": m["distortion"],
        "rate T log K, nats": m["rate"],
        "symbols in use": m["used"],
        "perplexity of use": m["perplexity"],
    }
]
results_table(table)

# %% [markdown]
# The *perplexity* of use is $e^H$ with $H$ the entropy of how often each symbol is chosen: $K$ if all are chosen equally often, 1 if it is always the same one.

# %% tags=["hide-input"]
share, history = m["perplexity"]["value"] / vq.vocabulary, vq_run.history
told = f"It is {share:.0%} of K."
if len(history) > 1:
    fell = history[-2]["test/distortion"] - history[-1]["test/distortion"]
    told += (
        " In the last epoch, at a learning rate near its end, the distortion "
        f"of test digits still fell by {fell:.2f} nats: the training is "
        f"{'not at' if fell > 0.1 else 'near'} its plateau."
    )
Markdown(told)

# %% [markdown]
# (sec-quantized-collapse)=
# ## Without revival the codebook collapses to a few symbols
#
# Two twins of the run are trained for one epoch each, one of them without the revival of dead codes.
# Its codebook begins at normal draws, and the encoder's vectors elsewhere.
# The few codes that happen to be near are chosen, follow, and come nearer; the others are chosen by nobody, so nothing moves them.

# %%
short = dict(horizon=1)
dead_run = run(vq_vae, **short, revive=False)
alive_run = run(vq_vae, **short)
twins = {"without revival": dead_run, "with revival": alive_run}

# %% tags=["hide-input"]
rows = []
for name, one in twins.items():
    row = {"codebook": name, "symbols in use": one.metrics["used"]}
    row["perplexity"] = one.metrics["perplexity"]
    row["distortion, nats"] = one.metrics["distortion"]
    row["Fréchet of copies"] = one.metrics["copies, frechet"]
    most = 49 * math.log(one.metrics["perplexity"]["value"])
    row["49 log P"] = f"{most:.1f}"
    row["distortion + 49 log P"] = (
        f"{row['distortion, nats']['value'] + most:.1f}"
    )
    rows.append(row)
results_table(rows)

# %% tags=["hide-input"]
dead, alive = (one.metrics for one in twins.values())
extra = {
    k: dead[k]["value"] - alive[k]["value"]
    for k in ("distortion", "copies, frechet")
}
unsure = math.hypot(
    dead["copies, frechet"]["error"], alive["copies, frechet"]["error"]
)
Markdown(
    f"The collapsed book costs {extra['distortion']:.1f} nats of distortion, and "
    f"{extra['copies, frechet']:.1f} ± {unsure:.1f} in the Fréchet distance of "
    "copies, of classifier features of the mean images."
)

# %% tags=["hide-input"]
curves_of = {}
for name, one in twins.items():
    with torch.no_grad():
        found = torch.cat([one.model.tokens(part) for part in x.split(500)])
    used = torch.bincount(found.flatten(), minlength=64).sort(descending=True)
    curves_of[name] = (range(1, 65), 100 * used.values / used.values.sum())
show(
    figures.curves(
        curves_of,
        "symbols, the commonest first",
        "share of all places, in per cent",
    ),
    "How often each symbol is used on test digits. Without revival a few "
    "symbols do all the work.",
    alt="Two falling curves: one reaches zero after a few symbols, the "
    "other stays above it to the end.",
    label="fig-quantized-usage",
)

# %% [markdown]
# A codebook with perplexity $P$ says at most $T \log P$ nats on average, whatever the places have to do with each other: {prf:ref}`thm-quantized-rate` (b), and the entropy of a mean of laws is no less than the mean of their entropies ({ref}`ex-quantized-entropy`).
# So collapse is a loss at a fixed price of 204 nats; with a prior that knows the places the collapsed book is, by the last column, the cheaper code.
# What more letters spell may be noise of the draw ({ref}`sec-quantized-prior`): whether collapse is a fault hangs on what one pays for.
# Both rows are one epoch, one seed.
#
# (sec-quantized-dvae)=
# ## The discrete VAE draws its letters, and pays only for what it knows
#
# The homework draws another road: the encoder says logits of 64 symbols at each place, Gumbel noise is added, a softmax at temperature $\tau$ makes a soft one-hot vector, and the decoder sees the mixture of codes.

# %%
show_source(DiscreteVAE)

# %% [markdown]
# The temperature falls by one factor in each step, so that it would be ½ after 1,000.
# Training sees mixtures; the bound is that of real symbols, {prf:ref}`thm-quantized-bound`, so test images are measured with a hard draw.

# %%
dvae_run = run(discrete_vae)
fsq_run = run(fsq_vae)
dvae, fsq = dvae_run.model, fsq_run.model

# %%
ended = temperature_at(469, 1.0, 0.5)  # an epoch: 60,000 / 128 steps
print(f"temperature at the end of the epoch: {ended:.2f}")


def at_temperature(temperature, which=4):
    """A digit decoded from mixtures at a temperature: nine draws."""
    torch.manual_seed(seed)
    with torch.no_grad():
        logits = dvae.raw(x[which : which + 1]).expand(9, -1, -1)
        images = dvae.decode(dvae.relaxed(logits, temperature)).mean[:, 0]
    return torch.cat(
        [torch.cat([*line], 1) for line in images.view(3, 3, 28, 28)]
    )


# %% tags=["hide-input"]
heats = (0.1, 0.5, 0.72, 2.0, 5.0, 20.0)
Explorable(
    [at_temperature(t) for t in heats],
    [f"{t:g}" for t in heats],
    "temperature",
    alt="Nine decodings of one digit; alike and sharp at low temperature, "
    "grey and shapeless at high ones.",
    caption="Nine draws of the mixtures of one test digit. Training ended "
    f"at {ended:.2f}. A hot mixture is near the mean of all codes, which the "
    "decoder never learned to read.",
    start=2,
    live=figures.Live(
        at_temperature,
        figures.Knob("temperature", [0.05, 20.0], 0.72),
        figures.Knob("test image", [0, min(len(x), 500) - 1], 4),
    ),
)

# %% [markdown]
# (sec-quantized-fsq)=
# ## Finite scalars have no codebook that could collapse
#
# One cure throws the codebook away {cite:p}`mentzer2024finite`: the encoder says three numbers a place, each is squeezed into a range and rounded to one of four levels, and $4^3 = 64$ symbols are there from the start, on a grid.
# The gradient is straight-through again; there is no commitment, no average, no revival.
# Its use may still be uneven: the table's perplexity says how much.

# %%
show_source(FiniteScalars.bounded, FiniteScalars.rounded)

# %%
flat_run = run(flat_vae)
ways = {"VQ-VAE": alive_run, "discrete VAE": dvae_run, "FSQ": fsq_run}

# %% tags=["hide-input"]
rows = []
for name, one in ways.items():
    found = one.metrics
    row = {"model": name, "epochs": one.epochs, "used": found["used"]}
    row["perplexity"] = found["perplexity"]
    row["distortion"] = found["distortion"]
    row["rate"] = found["rate"]
    row["sum, nats"] = found["nats"]
    row["Fréchet of copies"] = found["copies, frechet"]
    rows.append(row)
row = {"model": "VAE, 32 normal numbers", "epochs": flat_run.epochs}
row["distortion"] = flat_run.metrics["distortion"]
row["rate"] = flat_run.metrics["rate"]
total = sum(flat_run.metrics[k]["value"] for k in ("distortion", "rate"))
row["sum, nats"] = total
rows.append(row)
judged_by = extractor_of("mnist").model.cpu()
greys = load("mnist").cut(subset).examples("test")[0]
row = {"model": "the binary digits themselves"}
with torch.no_grad():
    row["Fréchet of copies"] = metrics.Frechet(greys, judged_by).distance(
        data.examples("test")[0]
    )
rows.append(row)
results_table(rows)

# %% [markdown]
# Nats a digit, on the 10,000 binary test digits; the sum is an upper bound of $-\log p(x)$ under the prior of training: uniform over symbols, or normal.
# (The Fréchet distance is to grey digits, and the last row is what was copied: mean images are nearer to greys than it is.)
# The rows are no contest: one seed each, one epoch (the VAE two), far from a plateau.
# VQ-VAE and FSQ pay 204 for any word, so they may as well say all that a word can hold.
# The discrete VAE has a rate in its loss, says less, and copies less well; how much of that is the price, and how much the short training and the step from mixtures to symbols, one run does not tell.
#
# (sec-quantized-prior)=
# ## A second training learns to spell
#
# The first run is held still.
# Its symbols are data now: every training digit, drawn once in black and white, becomes a word of 49, and a small causal transformer learns $p(c) = \prod_t p(c_t \mid c_1, \dots, c_{t-1})$, in raster order.
# It is the book's {ref}`Image GPT <ch:image-gpt>` with symbols in place of blocks of pixels: two layers of 48 channels, three epochs in batches of 64.

# %%
show_source(CodePrior)

# %%
prior_run = run(code_prior, first=vq_run)
prior, found = prior_run.model, prior_run.metrics


def bits(nats):
    """Bits per dimension of a digit's nats."""
    return nats / 784 / math.log(2)


# %% tags=["hide-input"]
rows = []
for name, key in {
    "uniform": "uniform prior, ",
    "independent places": "independent places, ",
    "learned, autoregressive": "",
}.items():
    row = {"model": "VQ-VAE", "prior": name, "rate": found[f"{key}rate"]}
    row["nats a place"] = f"{found[f'{key}rate']['value'] / 49:.2f}"
    row["sum, nats"] = found[f"{key}nats"]
    row["bits/dim"] = found[f"{key}bits"]
    row["Fréchet of samples"] = found[f"{key}frechet"]
    rows.append(row)
measured = flat_run.metrics
row = {"model": "VAE", "prior": "normal", "rate": measured["rate"]}
row["sum, nats"], row["bits/dim"] = total, measured["bound, bits"]
rows.append(row)
row = {"model": "VAE, 100 weighted draws", "prior": "normal"}
row["sum, nats"], row["bits/dim"] = measured["nll"], measured["bits"]
rows.append(row)
results_table(rows)

# %% [markdown]
# All sums are upper bounds of $-\log p(x)$ of binary digits: for the VQ-VAE $-\log p(x \mid c^*) - \log p(c^*)$, at one word, by {eq}`eq-quantized-vq` with the learned prior in place of the uniform one; for the VAE the negative bound, and the tighter estimate with importance weights (1,000 digits).
# Bits per dimension are nats divided by 784 and by $\log 2$.
# "Independent places" is the product of the training words' frequencies, place by place.
# The decoder is the stored one, with rounded weights, so the distortion is a little off that of {ref}`sec-quantized-vq`; the VAE's sum and bits come from two draws of $z$.

# %% tags=["hide-input"]
gain = found["uniform prior, rate"]["value"] - found["rate"]["value"]
context = found["independent places, rate"]["value"] - found["rate"]["value"]
nearer = found["uniform prior, frechet"]["value"] / found["frechet"]["value"]
diff = found["bits"]["value"] - measured["bound, bits"]["value"]
by_draws = bits(dvae_run.metrics["nats"]["value"])


def beside(excess):
    """A difference in words."""
    return f"{abs(excess):.3f} {'more' if excess > 0 else 'fewer'}"


# %% tags=["hide-input"]
Markdown(
    f"The learned prior saves {gain:.0f} of 204 nats; {context:.0f} of them "
    "because it knows what came before, the others because it knows which "
    "symbols are common where. Its samples are "
    f"{nearer:.0f} times nearer to digits, by the squared Fréchet distance, "
    "than those of the uniform prior. With its rate in it "
    f"the VQ-VAE needs {found['bits']['value']:.3f} bits/dim, "
    f"{beside(diff)} than the VAE's bound. "
    f"The discrete VAE, under its uniform prior, needs {by_draws:.3f}, "
    f"{beside(by_draws - found['bits']['value'])} than the VQ-VAE and "
    f"{beside(by_draws - measured['bound, bits']['value'])} than the VAE's "
    "bound. It is charged for its symbols in its loss; it differs in its "
    "draws and its length of training, too."
)

# %% tags=["hide-input"]
grey = load("mnist").cut(subset).examples("test")[0].double()
own_noise = torch.special.entr(grey) + torch.special.entr(1 - grey)
grain = metrics.mean_of(own_noise.flatten(1).sum(1), "nats")
left_over = found["distortion"]["value"]
Markdown(
    ("Why so many? " if diff > 0 else "")
    + "Given its greys, a test digit's draw of black and white has "
    f"{grain.value:.1f} nats of entropy, and the distortion is {left_over:.1f}. "
    + (
        "A decoder that knew the greys and no more could not be below the "
        "first number on average, so the symbols spell at least "
        f"{grain.value - left_over:.0f} nats of noise, which no prior can foresee; "
        f"the VQ-VAE exceeds the VAE's bound by {784 * math.log(2) * diff:.0f} "
        "in all. Nothing in its loss charges for noise; a VAE's does."
        if left_over < grain.value
        else "So the symbols need not spell the noise of the draw."
    )
)

# %% tags=["hide-input"]
torch.manual_seed(seed)
with torch.no_grad():
    invented = {
        "uniform": vq.seen(torch.randint(64, (10, 49))).mean,
        "learned": vq.seen(prior.sample(10)).mean,
        "learned ": vq.seen(prior.sample(10)).mean,
    }
show(
    figures.image_rows(invented),
    "Words drawn from the uniform prior decode to rubble; words drawn from "
    "the learned prior decode to strokes, many of them digits.",
    alt="One row of speckled patterns, two rows of handwritten digits.",
    label="fig-quantized-samples",
)

# %% [markdown]
# Van den Oord et al. report 4.67 bits/dim for a VQ-VAE on CIFAR-10, and 4.51 for a VAE {cite:p}`oord2017neural`: colour photographs, so nothing here stands beside it.
#
# What does one letter do?
# Change the middle symbol of 200 digits to a random one: where does the picture change?

# %%
torch.manual_seed(seed)
with torch.no_grad():
    words_of = vq.tokens(x[:200])
    changed = words_of.clone()
    changed[:, 24] = torch.randint(64, (len(words_of),))
    moved = (vq.seen(changed).mean - vq.seen(words_of).mean).abs().sum((0, 1))
inside = {4: moved[12:16, 12:16].sum(), 12: moved[8:20, 8:20].sum()}
for side, amount in inside.items():
    print(f"in the {side} x {side} pixels around: {amount / moved.sum():.0%}")

# %% [markdown]
# In the place and in the blocks beside it.


# %%
def respelt(symbol, row=3, column=3, which=0):
    """A digit, and the same with another symbol at a place."""
    with torch.no_grad():
        tokens = vq.tokens(x[which : which + 1])
        before = vq.seen(tokens).mean[0, 0]
        tokens[0, 7 * row + column] = symbol
        after = vq.seen(tokens).mean[0, 0]
    return torch.cat([before, torch.ones(28, 2), after], 1)


# %% tags=["hide-input"]
symbols = order.argsort()[:: 64 // 10].tolist()
places = ((1, 3), (3, 3), (5, 3))
Explorable(
    [[respelt(k, *place) for k in symbols] for place in places],
    [[f"row {r}, column {c}" for r, c in places], [str(k) for k in symbols]],
    ["place", "symbol"],
    alt="Left a digit, right the same digit, changed around one place.",
    caption="Left: a test digit, decoded. Right: one of its 49 symbols "
    "replaced. Rows and columns count from 0.",
    start=[1, 5],
    live=figures.Live(
        respelt,
        figures.Knob("symbol", [0, 63], symbols[5]),
        figures.Knob("row", [0, 6], 3),
        figures.Knob("column", [0, 6], 3),
        figures.Knob("test image", [0, min(len(x), 500) - 1], 0),
    ),
)

# %% [markdown]
# (sec-quantized-clusters)=
# ## Clusters of codes know digits, but not how many there are
#
# The homework groups codes by k-means, chooses the number of groups by their *silhouette* {cite:p}`rousseeuw1987silhouettes`, and takes the groups for labels.
# The silhouette of a point is $(b - a) / \max(a, b)$, with $a$ its mean distance to its own cluster and $b$ to the nearest other one; 1 is far apart, 0 is a border.
# We measured it for every $k$ from 2 to 30, on 3,000 training digits, for the vectors $z$ before the choice ("latents") and for their codes, 784 numbers each.
# These records, here and in the next section, are of *grey* training images, which the encoder never saw in training; the cells below draw them in black and white, so the two are not to be compared.

# %% tags=["hide-input"]
fashion_run = run(vq_vae, data="fashion-mnist", horizon=2)


def scores(one, kind):
    """The numbers of clusters that were measured, and their silhouettes."""
    found = {}
    for key, value in one.metrics.items():
        if key.startswith(f"{kind}, ") and key.endswith("silhouette"):
            found[int(key.split()[1])] = value
    values = [found[k]["value"] for k in found]
    return [*found], values, [found[k]["error"] for k in found]


# %% tags=["hide-input"]
series = {
    "latents, digits": scores(vq_run, "latents"),
    "codes, digits": scores(vq_run, "codes"),
    "codes, clothes": scores(fashion_run, "codes"),
}


def best_of(scored):
    """The number of clusters with the largest silhouette."""
    k, values, _ = scored
    return k[max(range(len(values)), key=values.__getitem__)]


best = {name: best_of(scored) for name, scored in series.items()}
show(
    figures.curves(series, "number of clusters k", "mean silhouette"),
    "Silhouettes of k-means by the number of clusters; bands are one "
    "standard error of a mean over 3,000 images.",
    alt="Three curves over k from 2 to 30; those of digits are nearly level "
    "and low.",
    label="fig-quantized-silhouettes",
)

# %% tags=["hide-input"]
ks, values, errors = series["codes, digits"]
top = max(values)
near = [
    k for k, v, e in zip(ks, values, errors, strict=True) if v + 2 * e >= top
]
Markdown(
    f"For codes of digits the largest is at k = {best['codes, digits']}, for "
    f"latents at {best['latents, digits']}, for codes of clothes at "
    f"{best['codes, clothes']}. But {len(near)} of the {len(ks)} values of k "
    f"({', '.join(map(str, near))}) lie within two standard errors of the "
    "largest, and this error leaves out that k-means began once: from one k "
    "to the next the curve jumps by several of them. All of digits are small, "
    f"{min(values):.2f} to {top:.2f}: hardly apart. The largest of clothes is "
    f"{max(series['codes, clothes'][1]):.2f}, where there are ten classes. "
    "The measure does not find them, and nothing says that it should."
)

# %% [markdown]
# The measure itself has two traps.
# Computed in float32 by products of matrices, small distances are differences of large numbers, and equal codes get distances that are not zero; and on a small sample another $k$ wins.


# %%
@torch.no_grad()
def in_parts(function, many):
    """Apply a function to 500 at a time."""
    return torch.cat([function(part) for part in many.split(500)])


torch.manual_seed(seed)
seen, labels = data.examples("train", 3000)
seen = torch.bernoulli(seen)  # black and white, as test digits are
codes_seen = in_parts(vq.code, seen)
groups = KMeans(10, n_init=1, random_state=0).fit(codes_seen.numpy())
members = torch.from_numpy(groups.labels_).long()

# %% tags=["hide-input"]
of_greys = in_parts(vq.tokens, data.examples("train", 3000)[0])
same = (of_greys == in_parts(vq.tokens, seen)).double().mean()
print(f"symbols that a grey image shares with its draw: {same:.0%}")


# %%
def by_products(points):
    """Distances of all pairs in the precision of the points: (N, N)."""
    size = points.square().sum(1)
    square = size[:, None] + size - 2 * points @ points.T
    return square.clamp_min(0).sqrt()


# %% tags=["hide-input"]
table = []
for offset in (0.0, 100.0, 1000.0):
    some, own = codes_seen[:1000] + offset, members[:1000]
    row = {"added to every number": f"{offset:g}"}
    for kind, points in {"64": some.double(), "32": some}.items():
        apart = by_products(points)
        found = judged.silhouette(apart.double(), own)
        row[f"silhouette, float{kind}"] = f"{found.value:.5f}"
    row["a point from itself, float32"] = f"{apart.diagonal().max():.2g}"
    table.append(row)
results_table(table)

# %% [markdown]
# A number that is added to all codes changes no distance, but in float32 it takes the digits away that the difference needs. (scikit-learn computes in float64.)
# And which $k$ wins hangs on how many images one took:

# %% tags=["hide-input"]
table = []
for n in (100, 300, 1000):
    some = codes_seen[:n]
    apart = judged.distances(some)
    row, tried = {"images": f"{n:,}"}, []
    for k in (2, 5, 8, 10, 15, 20, 25):
        fit = KMeans(k, n_init=1, random_state=0).fit(some.numpy())
        own = torch.from_numpy(fit.labels_).long()
        tried.append((k, judged.silhouette(apart, own)))
        row[f"k = {k}"] = f"{tried[-1][1].value:.3f}"
    row["best"] = judged.best_clusters(tried)
    table.append(row)
results_table(table)

# %% [markdown]
#
# (sec-quantized-confusion)=
# ## Ten clusters name half of new digits, thirty nearly three quarters
#
# Ten clusters take the naming with the most matches, one label each (the *Hungarian* method {cite:p}`kuhn1955hungarian`); of more clusters than labels each takes its commonest label, and the matrix is not square.
# Beside the share of right names stand purity, the share that a majority vote gets, and two measures that need no names: normalised mutual information (NMI) and the adjusted Rand index (ARI).

# %% tags=["hide-input"]
rows = []
for data_name, one in {"digits": vq_run, "clothes": fashion_run}.items():
    for kind in ("latents", "codes"):
        for k in (10, 20, 30):
            key = f"{kind}, {k} clusters: "
            if f"{key}accuracy" not in one.metrics:
                continue  # a trial measures fewer
            row = {"images": data_name, "clusters of": kind, "k": k}
            share = one.metrics[f"{key}accuracy"]["value"]
            noise = math.sqrt(share * (1 - share) / 3000)  # binomial
            row["named right, %"] = metrics.Estimate(share, noise, 3000)
            for what in ("purity", "NMI", "ARI"):
                row[what] = f"{one.metrics[f'{key}{what}']['value']:.2f}"
            rows.append(row)
results_table(rows, percent=["named right, %"])

# %% [markdown]
# On 3,000 grey training images, one start of k-means; the images that are counted named the clusters, so these are upper readings.
# Purity cannot fall when a cluster is split: 3,000 clusters of one image have purity 1.
# NMI of random clusters grows with $k$, too, but its normaliser holds it back: 3,000 clusters of one image have $2 \log 10 / (\log 10 + \log 3000) = 0.45$.
# ARI is corrected for chance, and has 0 there.
#
# Now black and white digits: clusters are named by 3,000 training digits, and counted on test digits that k-means did not see.

# %%
test_x, test_y = load_binary("mnist").cut(subset).examples("test", 5000)
test_codes = in_parts(vq.code, test_x)
found = torch.from_numpy(groups.predict(test_codes.numpy())).long()
names = judged.matched(judged.contingency(members, labels, 10))
table_of = judged.contingency(found, test_y)

# %% tags=["hide-input"]
rows = []
for k in (10, 20, 30):
    many = KMeans(k, n_init=1, random_state=0).fit(codes_seen.numpy())
    own = torch.from_numpy(many.labels_).long()
    called = judged.matched(judged.contingency(own, labels, k))
    new = torch.from_numpy(many.predict(test_codes.numpy())).long()
    row = {"clusters of codes": k}
    row["the digits that named them, %"] = metrics.mean_of(
        (called[own] == labels).double()
    )
    row["test digits, %"] = metrics.mean_of((called[new] == test_y).double())
    rows.append(row)
results_table(rows, percent=[*rows[0]][1:])


# %% tags=["hide-input"]
def heat(axes, counts, rows, columns, named):
    """Draw counts as shares of each row, with numbers."""
    shares = counts / counts.sum(1, keepdim=True).clamp_min(1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set(xticks=range(len(columns)), yticks=range(len(rows)))
    axes.set_xticklabels(columns)
    axes.set_yticklabels(rows)
    axes.set(xlabel=named[0], ylabel=named[1])
    axes.grid(False)
    for i, line in enumerate(counts.int().tolist()):
        for j, number in enumerate(line):
            if number:
                dark = shares[i, j] > 0.5
                axes.text(
                    j, i, number, ha="center", va="center", fontsize=8,
                    color="white" if dark else "#333333",
                )  # fmt: skip


# %% tags=["hide-input"]
by_label = table_of[names.argsort()].T if len(table_of) == 10 else table_of.T
figure = figures.blank(4.2)
heat(
    figure.subplots(),
    by_label,
    [str(k) for k in range(len(by_label))],
    [str(int(k)) for k in names.sort().values],
    ("cluster, by its name", "true digit"),
)
show(
    figure,
    "Some digits have a cluster to themselves, others share: counts of 5,000 "
    "test digits, rows are true digits, columns the ten clusters by the "
    "names that the training digits gave them.",
    alt="A ten by ten matrix with weight on the diagonal, and blocks beside "
    "it where digits share clusters.",
    label="fig-quantized-confusion",
)

# %% tags=["hide-input"]
right = (names[found] == test_y).double()
pairs = by_label.clone()
pairs.fill_diagonal_(0)
i, j = divmod(int(pairs.argmax()), pairs.shape[1])
Markdown(
    f"On the diagonal stand {metrics.mean_of(right).value:.1%} of the test "
    f"digits. The largest number beside it is {int(pairs[i, j])}: digits "
    f"{i} in the cluster named {int(names.sort().values[j])}."
)

# %% [markdown]
# The homework's sheet shows such a matrix, with 65,181 of its 70,000 images on the diagonal, 93.1 %; its rows add up to the whole of MNIST, training and test images together; it does not say which model or method made it, with how many clusters, named how, in which of several trials.
# Ours is made with $k = 10$, named on training images, and counted on others; the last table says how much of the difference more clusters make up.
#
# And the clusters of clothes?

# %% tags=["hide-input"]
clothes = load("fashion-mnist").cut(subset)
fashion = fashion_run.model
kinds = [c.replace("T-shirt/top", "T-shirt") for c in clothes.class_names]
sets = {"digits": (table_of, [str(k) for k in range(10)], names)}
known_x, known_y = clothes.examples("train", 3000)
new_x, new_y = clothes.examples("test", 3000)
known_codes = in_parts(fashion.code, known_x)
fashion_groups = KMeans(10, n_init=1, random_state=0).fit(known_codes.numpy())
guess = torch.from_numpy(
    fashion_groups.predict(in_parts(fashion.code, new_x).numpy())
).long()
fashion_own = torch.from_numpy(fashion_groups.labels_).long()
called_of = judged.matched(judged.contingency(fashion_own, known_y, 10))
sets["clothes"] = (judged.contingency(guess, new_y), kinds, called_of)

# %% tags=["hide-input"]
figure = figures.blank(4.7)
tones = [*figures.style.PALETTE]
for axes, (title, (counts, words_of, called)) in zip(
    figure.subplots(1, 2, sharey=True), sets.items(), strict=True
):
    turned = called[: len(counts)].argsort()
    share = counts[turned] / counts[turned].sum(1, keepdim=True).clamp_min(1)
    base = torch.zeros(len(share))
    for label in range(share.shape[1]):
        axes.bar(
            range(len(share)), share[:, label], bottom=base, width=0.85,
            color=tones[label], label=words_of[label],
            hatch="//" if label % 2 else "",
        )  # fmt: skip
        base += share[:, label]
    axes.set(title=title, xticks=range(len(share)))
    axes.set_xticklabels(
        [words_of[called[i]] for i in turned],
        rotation=90 if title == "clothes" else 0,
    )
    axes.legend(
        ncols=3, fontsize=7,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.15 if title == "digits" else -0.285),
    )  # fmt: skip

# %% tags=["hide-input"]
figure.axes[0].set_ylabel("share of true label")
show(
    figure,
    "Shares of each true label within every cluster, ten clusters of codes "
    "each, by the names that training images gave them. A bar of one tone is "
    "a pure cluster.",
    alt="Two panels of ten stacked bars; several bars are nearly of one "
    "tone, others are halves and thirds.",
    label="fig-quantized-shares",
)

# %% [markdown]
# (sec-quantized-tsne)=
# ## t-SNE shows the same codes in several ways, all of them true and none a measurement
#
# t-SNE {cite:p}`maaten2008visualizing` puts points into the plane so that neighbours stay neighbours.
# *Its* perplexity is about how many neighbours count; it begins at random, and ends elsewhere with another seed.
# We run it for 400 iterations on the codes' 30 principal components.

# %%
few = test_codes[:300]
plane = torch.pca_lowrank(few, q=30)
plane = (plane[0] * plane[1]).numpy()
maps = {
    f"perplexity {p}, seed {s}": TSNE(
        perplexity=p, init="random", random_state=s, max_iter=400
    ).fit_transform(plane)
    for p, s in ((5, 0), (40, 0), (40, 1))
}

# %% tags=["hide-input"]
figure = figures.blank(2.7)
for axes, (title, points) in zip(
    figure.subplots(1, 3), maps.items(), strict=True
):
    axes.scatter(*points.T, c=test_y[: len(few)], cmap="tab10", s=5)
    axes.set(title=title, xticks=[], yticks=[])
    for digit in range(10):
        own = points[(test_y[: len(few)] == digit).numpy()]
        if len(own):
            axes.text(*own.mean(0), str(digit), weight="bold", fontsize=11)
show(
    figure,
    "Groups stay, their places do not: the same codes of test digits three "
    "times; colours and numbers are true digits, a number stands at the mean "
    "of its digit.",
    alt="Three scatter plots of coloured points in groups; the groups lie "
    "at other places in each.",
    label="fig-quantized-tsne",
)

# %% [markdown]
# Groups of one digit appear in all three; sizes of groups and distances between them are no measurement, and their places change with the seed.
#
# (sec-quantized-pseudo)=
# ## A classifier of pseudo-labels learns the mistakes of its labels
#
# Now all 70,000 images are annotated by the names of their clusters; k-means saw the codes of 10,000 training digits, drawn in black and white, and their true labels named the clusters.
# The same small network learns the grey images for one epoch, once with true labels and once with these.

# %%
standing = train(vq_vae)  # published, in a trial too: it annotates all
taught = {
    "digits, true labels": train(
        cluster_classifier, first=standing, pseudo=False
    ),
    "digits, 10 clusters": train(cluster_classifier, first=standing),
}

# %% tags=["hide-input"]


def annotated_table(runs):
    """What labels were right, and what classifiers of them answer."""
    keys = {
        "right labels, all 70,000, %": "right labels among all images",
        "right labels, test, %": "right labels among test images",
        "test accuracy, %": "accuracy",
        "agrees with such labels, %": "accuracy on what it was taught",
    }
    rows = [
        {"taught": name} | {k: one.metrics[v] for k, v in keys.items()}
        for name, one in runs.items()
    ]
    return results_table(rows, percent=[*keys])


annotated_table(taught)

# %% tags=["hide-input"]
own = taught["digits, 10 clusters"].metrics
gap = own["accuracy"]["value"] - own["right labels among test images"]["value"]
Markdown(
    f"Of the labels that it was taught "
    f"{own['right labels among all images']['value']:.1%} are right, and "
    f"{own['accuracy']['value']:.1%} of its answers are. That is "
    f"{abs(100 * gap):.1f} points {'more' if gap > 0 else 'less'} than the "
    "clusters' own names get on the test digits: "
    + (
        "hardly any error averaged out. A cluster that holds fours and nines "
        "is a rule, and a network learns rules."
        if gap < 0.02
        else "part of the errors did average out."
    )
)

# %% [markdown]
# As many wrong labels at random mostly average out, at least on clothes ({ref}`ex-quantized-pseudo`).
# More clusters, named by majority, make better labels ({ref}`sec-quantized-confusion`).
# The silhouette happens to ask for more than ten on digits, and for two on clothes.
# The true labels of 10,000 digits named them, so this is no learning without labels.
#
# (sec-quantized-limits)=
# ## Limits
#
# One network size, one grid, one $K$, one seed, one to six epochs, mostly far from a plateau.
# The bits are of this book's own draw of binary test digits, and compare with nothing printed elsewhere.
# The VQ-VAE's bound uses one word; words that decode alike are counted as if they were impossible, so the model's true $-\log p(x)$ is lower by an unknown amount.
# The Fréchet distances are on the features of the book's small classifier, between means of $p(x \mid c)$ and grey test digits.
# Clothes were trained on grey pixels with the binary cross-entropy, which is no likelihood: no nats are given for them.
#
# ## Exercises
#
# ```{exercise-start} The figure of the sheet
# :label: ex-quantized-figure
# ```
# (Code.) The homework draws: encoder, log-probabilities plus Gumbel noise, a soft one-hot vector, a codebook, a sample, a decoder. Take MNIST or Fashion-MNIST and any discrete variant, and train it until its copies are good.
# Write the path from logits to the decoder's input in plain PyTorch and compare with the package's. Where does the temperature enter, and what does the decoder see at test time?
# Which of our models copies best?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-quantized-figure
# :class: dropdown
# ```
# `F.gumbel_softmax` is the step in the middle: noise is added, then the sum is divided by $\tau$.
# The sheet writes log-probabilities where the package has logits: they differ by $A$, which changes neither the softmax at any $\tau$ nor the winner.
# In a test the decoder sees one code at each place: for the bound that of a draw, which is $\tau \to 0$; for copies and their Fréchet distance that of the most probable symbol.
# With the same random numbers both give the same vectors.

# %%
with torch.no_grad():
    logits = dvae.raw(x[:8])
    torch.manual_seed(1)
    ours = dvae.relaxed(logits, 0.5)
    torch.manual_seed(1)
    theirs = F.gumbel_softmax(logits, tau=0.5) @ dvae.codebook
torch.testing.assert_close(ours, theirs)
for name, one in {"VQ-VAE, six epochs": vq_run, **ways}.items():
    distance = metrics.Estimate(**one.metrics["copies, frechet"])
    print(f"{name}, copies: {distance}")

# %% tags=["hide-input"]
nearer_to = min(
    ways, key=lambda k: ways[k].metrics["copies, frechet"]["value"]
)
fits = {k: one.metrics["distortion"]["value"] for k, one in ways.items()}
Markdown(
    f"After one epoch {nearer_to} copies best by this distance, and "
    f"{min(fits, key=fits.get)} by distortion, {min(fits.values()):.0f} nats; "
    f"six epochs of the VQ-VAE bring {vq_run.metrics['distortion']['value']:.0f}"
    ". That is the run that answers *until its copies are good*: "
    "`train(vq_vae, 6, seed)`. The discrete VAE of one epoch, at "
    f"{fits['discrete VAE']:.0f}, is not there."
)

# %% tags=["hide-input"]
with torch.no_grad():
    rows = {"image": x[8:16]}
    for name, one in ways.items():
        model = one.model
        rows[name] = model.seen(model.tokens(x[8:16])).mean
show(
    figures.image_rows(rows),
    "The discrete VAE, which pays for its symbols, smooths most. Eight test "
    "digits and their copies after one epoch, each at the encoder's own "
    "symbols (for the discrete VAE the most probable ones).",
    alt="Four rows of eight digits: originals and three rows of copies.",
    label="fig-quantized-three",
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Explain the VQ-VAE
# :label: ex-quantized-vqvae
# ```
# (Derive.) Explain the VQ-VAE: what replaces the KL term, what the three terms of its published loss are, and which of encoder, codebook and decoder each of them moves.
# Write the loss by hand with `detach`, and check by its gradients. What does the running average do in place of the second term?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-quantized-vqvae
# :class: dropdown
# ```
# An encoder says a vector at each of $T$ places, the nearest code takes its place, and a decoder sees the codes: $q(c \mid x)$ puts all its mass on the nearest ones.
# So its entropy is 0, and under a uniform prior the KL term is $T \log K$, a constant, and disappears.
# What remains is $-\log p(x \mid e_c) + \| \mathrm{sg}(z) - e_c \|^2 + \beta \| z - \mathrm{sg}(e_c) \|^2$, where sg lets no gradient through and $\beta = 0.25$.
# The first term moves the decoder, and straight through the encoder; the second moves the codebook alone; the third the encoder alone.
# Gradient descent on the second, with a rate for each code, is the running average: its gradient in $e_k$ is $-2 n_k (\bar z_k - e_k)$, and {prf:ref}`thm-quantized-kmeans` (a) steps against it, by $\eta_k / (2 n_k)$ times it.
# In a second phase the autoencoder is held still and an autoregressive prior is fitted to its words: under the uniform one, words that no image has are as probable as any, and samples are rubble.

# %%
net = VectorQuantised(grid_encoder(16), grid_decoder(16), 64, 16)
book_of = net.codebook.clone().requires_grad_()
z = net.raw(x[:16])
e = book_of[net.choose(z.detach())]
first = -net.decode(z + (e - z).detach()).log_prob(x[:16]).sum()
second = (z.detach() - e).square().sum()
third = (z - e.detach()).square().sum()

# %%
parts = {"encoder": net.encoder[-1].weight, "codebook": book_of}
parts["decoder"] = net.decoder[0].weight
rows = []
for name, term in {"first": first, "second": second, "third": third}.items():
    slopes = torch.autograd.grad(
        term, [*parts.values()], retain_graph=True, allow_unused=True
    )
    moved = [s is not None and bool(s.abs().max() > 0) for s in slopes]
    rows.append({"term": name} | {
        part: "moves" if m else "–" for part, m in zip(parts, moved, strict=True)
    })  # fmt: skip
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} How many clusters?
# :label: ex-quantized-silhouette
# ```
# (Measure.) Run k-means on the quantised representations, for several numbers of clusters, with the silhouette of each, and plot it. Which $k$ is best?
# Do it again with other images. Is it the same $k$?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-quantized-silhouette
# :class: dropdown
# ```
# The plot for 3,000 images stands in the section {ref}`sec-quantized-clusters`.
# On three samples of 700 images that are not among them:

# %%
torch.manual_seed(seed)
drawn_again = torch.bernoulli(data.examples("train", 5100)[0][-2100:])
table, more = [], [drawn_again[k::3] for k in range(3)]
for number, some in enumerate(more):
    points = in_parts(vq.code, some)
    apart, tried = judged.distances(points), []
    for k in (2, 6, 10, 14, 20, 26):
        fit = KMeans(k, n_init=1, random_state=0).fit(points.numpy())
        own = torch.from_numpy(fit.labels_).long()
        tried.append((k, judged.silhouette(apart, own)))
    row = {"sample": str(number)}
    row |= {f"k = {k}": f"{one.value:.3f}" for k, one in tried}
    table.append(row | {"best": judged.best_clusters(tried)})
results_table(table)

# %% tags=["hide-input"]
ways_of = sorted({row["best"] for row in table})
print("one k for all" if len(ways_of) == 1 else f"not one k: {ways_of}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Pseudo-labels
# :label: ex-quantized-pseudo
# ```
# (Measure.) Take the best number of clusters, make the cluster numbers pseudo-labels, and annotate the whole set.
# Train a classifier on the true labels, and the same classifier on the pseudo-labels. Compare their accuracies. What would you tell somebody who reports only the agreement on what was taught?
# Do both for Fashion-MNIST.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-quantized-pseudo
# :class: dropdown
# ```
# "Best" by the silhouette is, for digits, a $k$ with more clusters than classes, so each takes its commonest label.

# %%
k = best_of(scores(standing, "codes"))
taught[f"digits, {k} clusters"] = train(
    cluster_classifier, first=standing, clusters=k
)
annotated_table(taught)

# %% [markdown]
# Who reports only the agreement on what was taught says how well a network copies the rule of the clusters, not how well it knows digits: the first is above 90 % where half of the labels are wrong.
# Report the accuracy on true labels, and the share of right labels beside it.
#
# Clothes here and now, on 2,000 images and two epochs, a small part of the set; k-means sees 3,000.
# In the last row as many labels are wrong as with ten clusters, but at random.

# %%
said = {"true labels": (known_y, new_y)}
for k in (best["codes, clothes"], 10):
    many = KMeans(k, n_init=1, random_state=0).fit(known_codes.numpy())
    own = torch.from_numpy(many.labels_).long()
    called = judged.matched(judged.contingency(own, known_y, k))
    new = many.predict(in_parts(fashion.code, new_x).numpy())
    said[f"{k} clusters"] = (called[own], called[torch.from_numpy(new).long()])

# %% tags=["hide-input"]
torch.manual_seed(seed)
false = said["10 clusters"][0] != known_y
elsewhere = (known_y + torch.randint(1, 10, known_y.shape)) % 10
at_random = false[torch.randperm(len(false))]
said["wrong at random"] = (torch.where(at_random, elsewhere, known_y), new_y)


def learned(say):
    """A classifier of 2,000 clothes' labels, after two epochs."""
    torch.manual_seed(seed)
    network = Classifier(image_encoder(32), 32)
    adam = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(2):
        for some in torch.randperm(min(2000, len(say))).split(64):
            wrong = F.cross_entropy(network.classify(known_x[some]), say[some])
            adam.zero_grad()
            wrong.backward()
            adam.step()
    return network.eval()


# %% tags=["hide-input"]
rows = []
for name, (say, new) in said.items():
    network, row = learned(say), {"taught": name}
    row["right labels, %"] = metrics.mean_of((say == known_y)[:2000].double())
    with torch.no_grad():
        answer = in_parts(network.classify, new_x).argmax(1)
    row["test, %"] = metrics.mean_of((answer == new_y).double())
    if "random" not in name:
        agrees = metrics.mean_of((answer == new).double())
        row["agrees with such labels, %"] = agrees
    rows.append(row)
results_table(rows, percent=[*rows[0]][1:])

# %% tags=["hide-input"]
test = {row["taught"]: row["test, %"].value for row in rows}
by_rule, by_chance = test["10 clusters"], test["wrong at random"]
Markdown(
    f"Two names of ten equal classes cannot be right on more than 20 %: the "
    "sheet's recipe works only where the silhouette happens to be generous. "
    f"With as many wrong labels {by_chance:.0%} are right if they are wrong at "
    f"random, and {by_rule:.0%} if they follow clusters"
    + (
        ": noise mostly averages out, a rule does not."
        if by_chance > by_rule
        else "."
    )
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The four charts
# :label: ex-quantized-charts
# ```
# (Measure.) Draw the results: the matrix of clusters against labels, the share of each true label in every cluster, and t-SNE with colours.
# The page has them for ten clusters. Draw the matrix for the $k$ of the best silhouette, where it is not square. Which digits are split, and which still share a cluster?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-quantized-charts
# :class: dropdown
# ```
# The charts stand in the sections {ref}`sec-quantized-confusion` and {ref}`sec-quantized-tsne`.

# %%
k = best["codes, digits"]
many = KMeans(k, n_init=1, random_state=0).fit(codes_seen.numpy())
own = torch.from_numpy(many.labels_).long()
called = judged.matched(judged.contingency(own, labels, k))
guess_of = torch.from_numpy(many.predict(test_codes.numpy())).long()
wide = judged.contingency(guess_of, test_y, k)
turned = called.argsort()
split = torch.bincount(called, minlength=10).tolist()
print("clusters named 0 to 9:", split)
print(f"named right: {(called[guess_of] == test_y).double().mean():.1%}")
two = (wide / wide.sum(1, keepdim=True).clamp_min(1)).topk(2, 1)
for i in two.values[:, 1].argsort(descending=True)[:4].tolist():
    (a, b), (p, q) = two.indices[i].tolist(), two.values[i].tolist()
    print(f"a cluster named {called[i]}: {p:.0%} are {a}, {q:.0%} are {b}")

# %% tags=["hide-input"]
figure = figures.blank(5.2)
heat(
    figure.subplots(),
    wide[turned],
    [str(int(called[i])) for i in turned],
    [str(d) for d in range(wide.shape[1])],
    ("true digit", "cluster, by its name"),
)
show(
    figure,
    "Most rows belong to one digit: counts of 5,000 test digits in the "
    "clusters of the best silhouette, sorted by name; a digit that is split "
    "has several rows.",
    alt="A tall matrix with several rows for each digit, most of each row "
    "in one column.",
    label="fig-quantized-wide",
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The sheet's matrix
# :label: ex-quantized-sheet
# ```
# (Recall.) A report shows a matrix of clusters against labels with 65,181 of 70,000 on its diagonal. Name four things that it must say before that can be compared with another number.
# Could a matrix have 93 % on its diagonal although the clusters know nothing?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-quantized-sheet
# :class: dropdown
# ```
# What was clustered and by which method; how many clusters, and who chose the number; how clusters were named, on which images; whether the model or the choice among trials has seen labels.
# Yes, if the same images name and are counted: with as many clusters as images, each named by its own label, it has 100 %, and random clusters of a few images are far above 10 %.
# On new images such clusters are right 10 % of the time.

# %%
torch.manual_seed(seed)
truth = load_binary("mnist").train[1][:6000]
for m_each in (1, 2, 5, 20, 600):
    chance = torch.randperm(6000) // m_each
    share = judged.purity(judged.contingency(chance, truth))
    print(f"random clusters of {m_each:3d} images: purity {share:.0%}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} What a symbol can carry
# :label: ex-quantized-entropy
# ```
# (Derive.) A codebook of 64 symbols has perplexity $P$ over all places together. Show that a prior of independent places pays at most $49 \log P$ nats on average, if it knows each place's own law. When is it equal?
# Compute both sides for the published run.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-quantized-entropy
# :class: dropdown
# ```
# $\log P$ is the entropy of the mean law $\frac1T \sum_t \bar q_t$, and entropy is concave: $\frac1T \sum_t H(\bar q_t) \le H\big( \frac1T \sum_t \bar q_t \big)$.
# Entropy is strictly concave, so it is equal if and only if all places have one law. Here on the same test digits, so without the error of a prior fitted elsewhere:

# %%
with torch.no_grad():
    spelt = torch.cat([vq.tokens(part) for part in test_x.split(500)])
law_at = F.one_hot(spelt, 64).double().mean(0)  # (49, 64)
places_pay = torch.special.entr(law_at).sum()
mean_law = law_at.mean(0)
limit = 49 * torch.special.entr(mean_law).sum()
assert places_pay <= limit
print(f"places {places_pay:.1f}, limit {limit:.1f}, 49 log 64 = 203.8 nats")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A better word (open)
# :label: ex-quantized-open
# ```
# (Open.) The bound uses the nearest codes. Any other word gives a bound, too. Find words with a smaller sum of distortion and rate, without touching the networks. There is no last word here.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-quantized-open
# :class: dropdown
# ```
# A first answer: for each digit try, at one random place after the other, the symbol that a few draws propose, and keep it if the sum falls.
# Every kept change tightens {eq}`eq-quantized-vq`.

# %%
target = x[:50]


def costs(tokens):
    """Distortion and rate of the target with these symbols: (50,) nats."""
    return prior.terms(tokens)["nll"] - vq.seen(tokens).log_prob(target)


# %%
torch.manual_seed(seed)
with torch.no_grad():
    word = vq.tokens(target)
    now = begun = costs(word)
    for _ in range(60):
        tried = word.clone()
        place = torch.randint(49, (50, 1))
        tried.scatter_(1, place, torch.randint(64, (50, 1)))
        then = costs(tried)
        better = then < now
        word = torch.where(better[:, None], tried, word)
        now = torch.where(better, then, now)
print(f"{begun.mean():.2f} nats at first, {now.mean():.2f} after 60 trials")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What was lost?

# %% tags=["hide-input"]
Markdown(
    "Spelt with 64 letters, a digit keeps its strokes: "
    f"{prior_run.metrics['distortion']['value']:.0f} nats of distortion are "
    "left. The word costs 204 nats, or "
    f"{prior_run.metrics['rate']['value']:.0f} with a prior that can spell, "
    f"and at least {grain.value - left_over:.0f} of them spell noise."
    if left_over < grain.value
    else "Spelt with 64 letters, a digit keeps its strokes."
)

# %% [markdown]
# What was lost is the gradient, and each substitute has its price: a bias, a variance, or a rounding that pretends to be none.
# What was won is that inventing became spelling.
# A uniform prior spells rubble; a small transformer, trained on words that a finished network wrote, spells strokes, many of them digits.
# And the letters know something of the classes, though not their number, and not their names.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
