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
# Whatever she is shown, she lays 7 rows of 7 tiles, each the kind that fits best, and a painter who knows the tiles turns them into a picture again.
# Two things can go wrong before the first mosaic is sold.
# She may reach for the same ten kinds all day, and never learn what the others would be good for.
# And when she lays tiles at random, to invent something, the painter sees rubble: nobody told her which tile stands beside which.
#
# This chapter is about both.
# A code made of symbols is learned as tiles are, by trying which fits; but a choice has no gradient, and there are several ways to pretend that it has one.
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
from sklearn.metrics import silhouette_score

from companion import figures, metrics
from companion.claims import check
from companion.data import load
from companion.data.binary import load_binary
from companion.experiments import (
    cluster_classifier,
    code_prior,
    discrete_vae,
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
from companion.models.quantized import (
    DiscreteVAE,
    FiniteScalars,
    VectorQuantised,
    gumbel_like,
    nearest,
)
from companion.nets.grids import grid_decoder, grid_encoder
from companion.objectives.quantized import straight_through, vector_quantised
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
# | $\gamma$ | decay of an average | | `decay` |
# | $q(c \mid x)$, $p(c)$ | encoder's law and prior of symbols | | |
# | $\bar q(c)$ | mean of $q(c \mid x)$ over images | | |
#
# (sec-quantized-kmeans)=
# ## A codebook is k-means that never stops
#
# Take vectors $z_1, \dots, z_n$ and codes $e_1, \dots, e_K$, and let each vector be replaced by the code of its choice $c_i$.
# What it costs is the distortion $\sum_i \| z_i - e_{c_i} \|^2$.
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
# Let $\bar z_k$ be the mean of the $n_k \ge 1$ vectors that chose $k$, and $N_k > 0$.
#
# (a) $e_k' = e_k + \eta_k (\bar z_k - e_k)$ with $\eta_k = (1 - \gamma)\, n_k / N_k'$, which is in $(0, 1]$.
#
# (b) On fixed vectors, to choose the nearest codes and then to take such a step never raises the distortion. With $\gamma = 0$ it is an iteration of k-means (Lloyd's).
#
# (c) A step leaves the codes where they are if and only if each chosen one is the mean of its vectors: the fixed points of k-means, whatever $\gamma < 1$ is.
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
# The encoder moves while the codebook follows, so the vectors are never fixed in a training; $\gamma$ says how far back the book remembers.
# The next cells check the package's own step, `follow`.


# %%
def book(codes, decay):
    """A codebook of a package's model, with counts of 5 and no revival."""
    model = VectorQuantised(
        torch.nn.Identity(), torch.nn.Identity(), *codes.shape, decay, False
    ).double()
    model.codebook, model.counts = codes.clone(), codes.new_full([len(codes)], 5)
    model.sums = 5 * codes
    return model


# %% tags=["hide-input"]
torch.manual_seed(seed)
sides = {"left": [], "right": [], "no count": [], "old count": [], "away": []}
falls = {"before": [], "after": [], "away": [], "unchosen": []}
for _ in range(20):
    z = torch.randn(300, 3, dtype=torch.float64)
    codes, decay = z[:6].clone(), float(torch.rand(()))
    model, tokens = book(codes, decay), nearest(z, codes)
    model.follow(z, tokens)
    n = torch.bincount(tokens, minlength=6).double()[:, None]
    mean = torch.stack([z[tokens == k].mean(0) for k in range(6)])
    eta = (1 - decay) * n / (decay * 5 + (1 - decay) * n)
    sides["left"].append(model.codebook)
    sides["right"].append(codes + eta * (mean - codes))
    sides["no count"].append(codes + (1 - decay) * (mean - codes))
    sides["old count"].append(codes + (1 - decay) * n / 5 * (mean - codes))
    sides["away"].append(codes - eta * (mean - codes))
    again = nearest(z, model.codebook)
    falls["before"].append((z - codes[tokens]).square().sum())
    falls["after"].append((z - model.codebook[again]).square().sum())
    falls["away"].append((z - sides["away"][-1][tokens]).square().sum())
    falls["unchosen"].append((z - model.codebook[again.flip(0)]).square().sum())
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
    loss["after"],
    loss["before"],
    wrong={
        "away from the mean": (loss["away"], loss["before"]),
        "not the nearest code": (loss["unchosen"], loss["before"]),
    },
)

# %% tags=["hide-input"]
stays = {"k-means": [], "its medians": [], "one step early": []}
for k in range(8):
    torch.manual_seed(k)
    z = torch.randn(200, 2, dtype=torch.float64)
    found = KMeans(4, n_init=1, tol=0, random_state=k).fit(z.numpy())
    centres, own = torch.from_numpy(found.cluster_centers_), found.labels_
    own = torch.from_numpy(own).long()
    starts = {"k-means": centres, "one step early": z[:4]}
    starts["its medians"] = torch.stack(
        [z[own == j].median(0).values for j in range(4)]
    )
    for name, start in starts.items():
        model = book(start, 0.9)
        model.follow(z, nearest(z, start))
        stays[name].append(torch.allclose(model.codebook, start, atol=1e-9))
check(
    "thm-quantized-kmeans", kind="grid", about="fixed points", of="data sets"
).holds(
    torch.tensor(stays.pop("k-means")),
    wrong={name: torch.tensor(flags) for name, flags in stays.items()},
)

# %% [markdown]
# The last check takes its fixed points from scikit-learn, which knows nothing of our step.
#
# (sec-quantized-straight)=
# ## A choice has no gradient, and every substitute has a price
#
# The decoder receives a code, and the code was chosen: its distance from $z$ may change, but for almost every $z$ a small move changes no choice.
# So the gradient of the loss with respect to the encoder is zero almost everywhere, and of no use.
# The *straight-through* estimator {cite:p}`bengio2013estimating` goes forward with the choice and backward as if there had been none: in code, `z + (chosen - z).detach()`.
# What is that worth?
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
# It follows the slope of the loss at the code, as if the decoder had a straight line from there to $z$; that it helps is an observation, not a theorem.
# We check the formulas with autograd, for random quadratic decoders.


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
# Now four symbols, one picture, and every estimator that this chapter uses.
# Gumbel-softmax, which the next section derives, puts a mixture of codes into the decoder, at a temperature $\tau$; its gradient is exact for another loss, that of mixtures.

# %%
torch.manual_seed(seed)
codes, picture = torch.randn(4, 3).double(), torch.randn(3).double()
logits = torch.tensor([1.5, 0.0, -0.5, 0.5]).double()
corners = loss_at(torch.eye(4).double())
law = logits.softmax(0)
exact = law * (corners - law @ corners)  # eq. (quantized-exact)


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
# The size of the bias is the length of the difference between mean and exact gradient over all four logits; "its noise" is what chance alone would put there with 20,000 draws.
# Two estimators have no bias beyond it, and pay in variance; the cold Gumbel-softmax approaches them from the other side, with less and less bias and more and more variance.

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
check("thm-quantized-straight", kind="statistical", about="REINFORCE").unbiased(
    drawn["REINFORCE"],
    exact,
    wrong={
        "straight-through": drawn["straight-through"],
        "Gumbel-softmax at τ = 1": drawn["Gumbel-softmax, τ = 1"],
        "the other sign": -exact,
    },
)

# %% [markdown]
# (sec-quantized-gumbel)=
# ## The largest of noisy logits is a draw of the softmax
#
# A draw from a softmax can be written as a maximum of logits with noise, if the noise has one particular law.
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
# The check integrates step 2 numerically, for random logits and for three kinds of noise.

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
law_of = (cases[:, 0] - total).exp()
claimed = law_of * gumbel_below(levels - total)
check("thm-quantized-gumbel", kind="quadrature", of="logits").equal(
    claimed,
    won["Gumbel"],
    rtol=1e-4,
    wrong={
        "normal noise": won["normal"],
        "exponential noise": won["exponential"],
    },
)

# %% tags=["hide-input"]
n, a = 40_000, torch.tensor([0.5, -1.0, 1.0, 0.0], dtype=torch.float64)
noisy = a + gumbel_like(a.expand(n, 4))
hits = F.one_hot(noisy.argmax(1), 4).double()
uniform = F.one_hot((a + torch.rand(n, 4).double()).argmax(1), 4).double()
check("thm-quantized-gumbel", kind="statistical", about="its sampler").unbiased(
    hits,
    a.softmax(0),
    wrong={
        "uniform noise": uniform,
        "half of the logits": (a / 2).softmax(0),
    },
)

# %% [markdown]
# (sec-quantized-bound)=
# ## The bound of a discrete VAE counts letters
#
# With a uniform prior every one of the $K^T$ words is as probable as any other.
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
# So the rate has no gradient, and its loss needs none of it: what is trained is the distortion, and a *commitment* $\beta \| z - e_c \|^2$ that keeps vectors near their codes, since the straight-through gradient is only as good as the two are close.

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
# After the training, words are as they are, with the law $\bar q(c)$: the mean of $q(c \mid x)$ over the images.
# Nothing forces us to keep the uniform prior.
#
# :::{prf:theorem} The rate under any prior
# :label: thm-quantized-rate
# Let $c \sim \bar q$, a law of words of $T$ symbols, and let $H(\bar q)$ be its entropy.
#
# (a) A prior $p$ pays $\mathbb E_{\bar q}[-\log p(c)] = H(\bar q) + \mathrm{KL}(\bar q \,\|\, p)$ nats a word.
#
# (b) The least is $H(\bar q) \le \sum_t H(\bar q_t) \le T \log K$, with $\bar q_t$ the law of place $t$. The first is an equality if and only if places are independent, the second if and only if each is uniform.
#
# (c) So a family of priors that holds the uniform one pays, at its best on the same words, at most $\log K$ nats a place.
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
# :::
#
# (c) is about the words that a prior is fitted to, and about its best member.
# A prior that is badly trained, or asked about other words, may pay more.

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
each = torch.stack(
    [
        torch.stack([joint[:, words[:, t] == k].sum(1) for k in range(K)], 1)
        for t in range(T)
    ]
)  # (T, worlds, K)
places = -(each * each.log()).sum((0, 2))
chain = torch.stack([entropy, places], 1)
limits = torch.stack([places, torch.full_like(places, T * math.log(K))], 1)
check("thm-quantized-rate", about="the chain", of="laws of words").at_most(
    chain,
    limits,
    wrong={
        "any prior": (
            torch.stack([pays, -(joint * prior.log()).sum(1)], 1),
            limits,
        ),
        "one place in the middle": (
            torch.stack([entropy, places], 1),
            torch.stack([places / T, limits[:, 1]], 1),
        ),
    },
)
