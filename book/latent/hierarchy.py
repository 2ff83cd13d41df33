# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:hierarchy)=
# # Hierarchy: two layers of latent variables, and why they collapse
#
# *What does a second layer know that the first does not?*
#
# In a workshop a master says one sentence, an assistant turns it into a sketch, and a painter paints what is sketched.
# One day the master has lost his voice.
# The assistant draws sketches all the same, from habit, the painter paints them, and the customers see no difference.
# Nobody decided that the master should be silent: the workshop works without him, and listening costs time.
#
# A variational autoencoder with two layers of codes is this workshop.
# The top layer $z_2$ is the sentence, the first layer $z_1$ the sketch, the image $x$ the painting.
# Each layer has its price in the bound, and a layer that is not needed falls silent: *posterior collapse*.
# This chapter derives the price of each layer, says exactly when a layer dies where that can be said exactly, makes it happen, and measures which cures work.
#
# :::{admonition} You will learn to
# - write the bound of a two-layer VAE term by term, for both ways to factor $q$;
# - tell why one of the terms is no divergence, and can be negative;
# - predict which directions of the data die, in a linear VAE with one layer and with two;
# - test an estimate of the likelihood where the truth is known, before it is believed;
# - make a layer collapse on purpose, and compare KL annealing, free bits, a $\delta$-VAE and skip connections over three seeds.
#
# You need: the evidence bound and its importance-weighted form ({ref}`ch:elbo`), the VAE ({ref}`ch:vae`), and the rate as a price of information ({ref}`sec-vae-collapse`).
# :::

# %% tags=["parameters"]
epochs: int = 0  # 0: recall the published runs; n: train n epochs here
subset: int = 0  # 0: all images; n: train and measure on n at most
seed: int = 0

# %% tags=["hide-input"]
import math
from types import SimpleNamespace

import torch
from IPython.display import Markdown
from torch.distributions import MultivariateNormal, kl_divergence

from companion import figures
from companion.claims import check
from companion.data.binary import load_binary
from companion.estimate import Estimate, mean_of
from companion.experiments import binary_vae, extractor_of, layered_vae
from companion.figures import Explorable, results_table, show, show_source

# %% tags=["hide-input"]
from companion.figures.sketches import Sketch
from companion.maths import log_normal
from companion.metrics import importance_weighted_nll
from companion.models.hierarchy import Hierarchy, chain, product
from companion.models.hierarchy import rate as rate_of
from companion.nets.dense import DenseDecoder, dense
from companion.objectives.hierarchy import guarded_elbo
from companion.runs import published_seed
from companion.train import train

HORIZON = 30  # epochs of the published run with two layers
seed = published_seed(layered_vae, seed, epochs, horizon=HORIZON)

# %% tags=["hide-input"]
sketch = Sketch(384, 210)
for column, words in (
    (50, "model"),
    (190, "bottom-up q"),
    (330, "top-down q"),
):
    sketch.words(column, 14, words, small=True)
    for row, name in ((50, "z₂"), (115, "z₁"), (180, "x")):
        one = f"{name}{column}"
        sketch.node(one, column, row, name, size=(40, 34), shaded=name == "x")
sketch.link("z₂50", "z₁50").link("z₁50", "x50")
sketch.link("x190", "z₁190").link("z₁190", "z₂190")
sketch.link("x330", "z₂330", bend=34, lit=True).link("x330", "z₁330")
sketch.link("z₂330", "z₁330", lit=True)
sketch.show(
    "Left: the model draws from the top down. Middle: the obvious way to "
    "infer goes back up, and the top layer sees the image only through the "
    "first. Right: the top layer reads the image itself, and the first layer "
    "then takes the same way down as the model.",
    alt="Three columns of z2, z1 and x. Arrows go down in the model, up in "
    "the bottom-up q; in the top-down q from x to both and from z2 to z1.",
    label="fig-hierarchy-idea",
)

# %% [markdown]
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $x$ | image, pixels 0 or 1 | $(B, 1, 28, 28)$ | `x` |
# | $z_1, z_2$; $z_\ell$ | codes, the first beside the pixels; layer $\ell$ of $L$ | $(B, K_\ell)$ | `z[0]`, `z[1]` |
# | $p(x \mid z_1)\, p(z_1 \mid z_2)\, p(z_2)$ | the model | | `decode`, `below`, `prior` |
# | $q(z_1, z_2 \mid x)$ | approximate posterior | | `infer` |
# | distortion; $R_\ell$ | $-\mathbb E_q \log p(x \mid z_1)$; rate of layer $\ell$ | nats | `"distortion"`, `"rate 1"` |
# | $\lambda_i$ | eigenvalues of the data's covariance | $(D)$ | `spectrum` |
# | $\sigma^2$; $\beta$, $\beta_\ell$ | noise variance of a linear decoder; weights of rates | | `noise`; `beta` |
# | $S$; $\omega$ | draws of the importance-weighted estimate; the weight of one | | `samples`; `log_w` |
# | $f$; $\delta$, $\alpha$ | free nats of a layer; floor of a rate, its correlation | nats | `free`; `floor`, `alpha` |

# %% [markdown]
# (sec-hierarchy-elbo)=
# ## Three terms: copy, agree, stay near the prior
#
# The model says $p(x, z_1, z_2) = p(x \mid z_1)\, p(z_1 \mid z_2)\, p(z_2)$, a chain.
# Any $q(z_1, z_2 \mid x)$ gives the bound $\mathcal L = \mathbb E_q \log \frac{p(x, z_1, z_2)}{q(z_1, z_2 \mid x)} \le \log p(x)$, with the gap $\mathrm{KL}(q(z_1, z_2 \mid x) \,\|\, p(z_1, z_2 \mid x))$ ({ref}`ch:elbo`: nothing there asks that the code be one vector).
# What is new is how $q$ factors.
#
# :::{prf:theorem} The bound with two layers
# :label: thm-hierarchy-elbo
# Let all expectations below be finite. With $q = q(z_1 \mid x)\, q(z_2 \mid z_1)$, *bottom-up*,
#
# $$
# \begin{aligned}
# \mathcal L = {} & \mathbb E_{q(z_1 \mid x)} \log p(x \mid z_1) - \mathbb E_{q} \log \frac{q(z_1 \mid x)}{p(z_1 \mid z_2)} \\
# & - \mathbb E_{q(z_1 \mid x)} \mathrm{KL}\big(q(z_2 \mid z_1) \,\|\, p(z_2)\big).
# \end{aligned}
# $$ (eq-hierarchy-up)
#
# With $q = q(z_2 \mid x)\, q(z_1 \mid x, z_2)$, *top-down*,
#
# $$
# \begin{aligned}
# \mathcal L = {} & \mathbb E_{q} \log p(x \mid z_1) - \mathbb E_{q(z_2 \mid x)} \mathrm{KL}\big(q(z_1 \mid x, z_2) \,\|\, p(z_1 \mid z_2)\big) \\
# & - \mathrm{KL}\big(q(z_2 \mid x) \,\|\, p(z_2)\big).
# \end{aligned}
# $$ (eq-hierarchy-down)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\log \frac{p}{q} = \log p(x \mid z_1) + \log p(z_1 \mid z_2) + \log p(z_2) - \log q$: the model is a chain.
# 2. Bottom-up, $\log q = \log q(z_1 \mid x) + \log q(z_2 \mid z_1)$. Pair each part with the prior of the same variable and take means.
# 3. The last pair is $\log \frac{q(z_2 \mid z_1)}{p(z_2)}$; its mean over $z_2$, given $z_1$, is a divergence. The first term holds no $z_2$. That is {eq}`eq-hierarchy-up`.
# 4. Top-down, $\log q = \log q(z_2 \mid x) + \log q(z_1 \mid x, z_2)$. Now the mean over $z_1$ given $z_2$ of $\log \frac{q(z_1 \mid x, z_2)}{p(z_1 \mid z_2)}$ is a divergence, too. That is {eq}`eq-hierarchy-down`.
# :::
#
# The terms ask for three things:
#
# - **Copy.** $\mathbb E \log p(x \mid z_1)$: the first layer must hold what the painter needs. The decoder does not read the top layer; top-down, $z_2$ acts on this term only through the $z_1$ that is drawn given it.
# - **Agree.** The middle term charges what the first layer says about $x$ beyond what the top layer foretells. It is the only term through which the image reaches $p(z_1 \mid z_2)$.
# - **Stay near the prior.** The last term charges all that the top layer says about the image (bottom-up: about $z_1$).
#
# To check this we enumerate: one image of five, four values of $z_1$, three of $z_2$, random tables.


# %% tags=["hide-input"]
def tables(*shape):
    """Random laws, over the last axis, of 100 worlds."""
    return (1.5 * torch.randn(100, *shape).double()).softmax(-1)


def kl(p, q, axes=(-1,)):
    """Divergence of tables, summed over the last axes, in nats."""
    return (p * (p / q).log()).sum(axes)


# %%
torch.manual_seed(seed)
top, middle, bottom = tables(3), tables(3, 4), tables(4, 5)[..., 0]
joint = top[:, None] * middle.transpose(1, 2)  # (100, 4, 3): p(z1, z2)
evidence = (joint.sum(2) * bottom).sum(1)
posterior = joint * bottom[..., None] / evidence[:, None, None]
q1, q2_1 = tables(4), tables(4, 3)  # bottom-up
q = q1[..., None] * q2_1
q2 = q.sum(1)  # the same q, factored from the top
q1_2 = (q / q2[:, None]).transpose(1, 2)  # (100, 3, 4)

# %%
bound = evidence.log() - kl(q, posterior, (1, 2))
copy = (q1 * bottom.log()).sum(1)
agree = (q * (q1[..., None] / middle.transpose(1, 2)).log()).sum((1, 2))
stay = (q1 * kl(q2_1, top[:, None])).sum(1)
check("thm-hierarchy-elbo", about="bottom-up", of="worlds").equal(
    left=bound,
    right=copy - agree - stay,
    wrong={
        "z₁ against its marginal law": copy - kl(q1, joint.sum(2)) - stay,
        "no middle term": copy - stay,
        "the middle term added": copy + agree - stay,
    },
)

# %%
given_top = (q2 * kl(q1_2, middle)).sum(1)
of_top = kl(q2, top)
check("thm-hierarchy-elbo", about="top-down", of="worlds").equal(
    left=bound,
    right=copy - given_top - of_top,
    wrong={
        "two marginal divergences": copy - kl(q1, joint.sum(2)) - of_top,
        "the top's price of the bottom-up form": copy - given_top - stay,
        "the first layer's divergence reversed": copy
        - (q2 * kl(middle, q1_2)).sum(1)
        - of_top,
    },
)

# %% [markdown]
# (sec-hierarchy-middle)=
# ## The middle term is no divergence, and can be negative
#
# The bottom-up middle term looks like $\mathrm{KL}(q(z_1 \mid x) \,\|\, p(z_1 \mid z_2))$, averaged.
# It is not: $z_2$ is drawn after $z_1$ and depends on it, so numerator and denominator see the same $z_1$.
# A divergence would average $\log q(z_1 \mid x)$ over the law in its numerator *for each fixed* $z_2$; here, given $z_2$, $z_1$ has the law $q(z_1 \mid x, z_2)$, and not $q(z_1 \mid x)$.
#
# :::{prf:theorem} What the middle term is
# :label: thm-hierarchy-middle
# For $q = q(z_1 \mid x)\, q(z_2 \mid z_1)$ with finite expectations, let $q(z_2 \mid x)$ and $q(z_1 \mid x, z_2)$ be its marginal and conditional laws. Then
#
# $$
# \begin{aligned}
# \mathbb E_q \log \frac{q(z_1 \mid x)}{p(z_1 \mid z_2)} = {} & \mathbb E_{q(z_2 \mid x)} \mathrm{KL}\big(q(z_1 \mid x, z_2) \,\|\, p(z_1 \mid z_2)\big) \\
# & - I_q(z_1; z_2 \mid x),
# \end{aligned}
# $$ (eq-hierarchy-middle)
#
# where $I_q(z_1; z_2 \mid x)$ is the mutual information of the two codes under $q(\cdot \mid x)$ at this $x$. Whatever the factorisation, the rates sum to the joint one:
#
# $$
# \begin{aligned}
# & \mathrm{KL}\big(q(z_1, z_2 \mid x) \,\|\, p(z_1, z_2)\big) \\
# & = \text{middle term} + \mathbb E_{q(z_1 \mid x)} \mathrm{KL}\big(q(z_2 \mid z_1) \,\|\, p(z_2)\big) \\
# & = \mathbb E\, \mathrm{KL}\big(q(z_1 \mid x, z_2) \,\|\, p(z_1 \mid z_2)\big) + \mathrm{KL}\big(q(z_2 \mid x) \,\|\, p(z_2)\big) \ge 0 .
# \end{aligned}
# $$ (eq-hierarchy-sum)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\log \frac{q(z_1 \mid x)}{p(z_1 \mid z_2)} = \log \frac{q(z_1 \mid x, z_2)}{p(z_1 \mid z_2)} - \log \frac{q(z_1 \mid x, z_2)}{q(z_1 \mid x)}$: insert the conditional law.
# 2. The mean of the first part, given $z_2$, is a divergence.
# 3. The mean of the second is $\mathbb E_q \log \frac{q(z_1, z_2 \mid x)}{q(z_1 \mid x)\, q(z_2 \mid x)}$, the definition of $I_q(z_1; z_2 \mid x)$.
# 4. $\log \frac{q(z_1, z_2 \mid x)}{p(z_1 \mid z_2)\, p(z_2)}$ splits into the pairs of steps 2 and 4 of the proof of {prf:ref}`thm-hierarchy-elbo`; both sums are the mean of the same logarithm.
# 5. A divergence is not negative.
# :::
#
# So what the middle term gives back, the top term takes: both sums in {eq}`eq-hierarchy-sum` are the same number, and only the sum is a cost.
# Whoever plots "the KL of layer 1" of a bottom-up model plots something that may fall below zero; whoever clamps it from below at $f$, as free bits do, loosens the bound wherever it is below $f$, and by more than $f$ where it is negative.

# %%
information = (q * (q / (q1[..., None] * q2[:, None])).log()).sum((1, 2))
check("thm-hierarchy-middle", about="the term", of="worlds").equal(
    left=agree,
    right=given_top - information,
    wrong={
        "it is a divergence": given_top,
        "plus the information": given_top + information,
        "against independent codes": kl(q1, joint.sum(2)),
    },
)

# %%
check("thm-hierarchy-middle", about="the sums", of="worlds").equal(
    left=torch.stack([agree + stay, given_top + of_top], 1),
    right=kl(q, joint, (1, 2))[:, None].expand(-1, 2),
    wrong={
        "marginal divergences add up": (kl(q1, joint.sum(2)) + of_top)[:, None]
        .expand(-1, 2)
        .clone(),
        "the joint divergence reversed": kl(joint, q, (1, 2))[:, None]
        .expand(-1, 2)
        .clone(),
    },
)

# %% [markdown]
# How negative? Take numbers: $p(z_2) = \mathcal N(0, 1)$, $p(z_1 \mid z_2) = \mathcal N(z_2, s^2)$, $q(z_1 \mid x) = \mathcal N(m, 1)$, $q(z_2 \mid z_1) = \mathcal N(z_1, s^2)$.
# The top layer repeats the first with a small error $s$, and the model expects exactly that.
# Then $\mathbb E (z_1 - z_2)^2 = s^2$, and the entropies are known, so
#
# $$
# \text{middle} = \log s, \quad \text{top} = \tfrac12 (m^2 + s^2) - \log s, \quad \text{sum} = \tfrac12 (m^2 + s^2).
# $$ (eq-hierarchy-negative)
#
# As $s \to 0$ the middle term falls without bound, and the sum is as small as it was.

# %%
s = torch.linspace(0.05, 1.5, 30).double()
m = 1.0
mean, zero = torch.tensor([m, m]).double(), torch.zeros(2).double()
one = torch.ones_like(s)
by_q = torch.stack([one, one, one, 1 + s**2], 1).view(-1, 2, 2)
by_p = torch.stack([1 + s**2, one, one, one], 1).view(-1, 2, 2)
exact = kl_divergence(
    MultivariateNormal(mean, by_q), MultivariateNormal(zero, by_p)
)
v = 1 / by_q.inverse()[:, 0, 0]  # of z1 given z2, under q
slope = by_q[:, 0, 1] / by_q[:, 1, 1]
away = (slope - 1) ** 2 * by_q[:, 1, 1]  # mean of (E(z1 | z2) - z2)^2
divergence = ((v + away) / s**2 - 1 - (v / s**2).log()) / 2
told = (by_q[:, 0, 0] * by_q[:, 1, 1] / by_q.det()).log() / 2
check("thm-hierarchy-middle", about="log s", of="errors").equal(
    left=divergence - told,
    right=s.log(),
    how="grid",
    wrong={
        "a divergence": divergence,
        "half": s.log() / 2,
        "the sign": -s.log(),
    },
)

# %%
in_middle, on_top = s.log(), (m**2 + s**2) / 2 - s.log()
check("thm-hierarchy-middle", about="the sum", of="errors").equal(
    left=exact,
    right=(m**2 + s**2) / 2,
    how="grid",
    wrong={
        "the middle term clamped at 0": in_middle.clamp_min(0) + on_top,
        "the middle term left out": on_top,
    },
)

# %% tags=["hide-input"]
show(
    figures.curves(
        {
            "top": (s, on_top),
            "sum": (s, in_middle + on_top),
            "middle": (s, in_middle),
        },
        "error s of the top layer",
        "nats",
    ),
    "The two rates of a bottom-up q and their sum, for m = 1. Left of s = 1 "
    "the middle term is negative; the top layer pays for it.",
    alt="Three curves: top falls, middle rises from -3 through 0 at s = 1, "
    "their sum is a flat parabola.",
    label="fig-hierarchy-negative",
)

# %% [markdown]
# (sec-hierarchy-flow)=
# ## Bottom-up, the top layer can only forget
#
# Under the bottom-up $q$, $x \to z_1 \to z_2$ is a Markov chain: given $z_1$, $z_2$ does not look at the image.
# So, by the data processing inequality, $I_q(x; z_2) \le I_q(x; z_1)$ and $I_q(x; z_2) \le I_q(z_1; z_2)$.
# After a collapse $q(z_2 \mid z_1) = p(z_2)$ and $p(z_1 \mid z_2) = p(z_1)$.
# Then all that passes from one image to its copy passes through $z_1$: the model is a VAE with one layer, and a drawn $z_2$ decides nothing.
# Top-down, $q(z_2 \mid x)$ reads the image itself, and no such order holds.

# %% [markdown]
# (sec-hierarchy-linear)=
# ## In a linear VAE a direction dies when its variance is below β σ²
#
# When does a code fall silent? In the linear VAE the answer is exact.
# {prf:ref}`thm-elbo-ppca` found the best one with a learned noise; here the noise $\sigma^2$ is given, and the rate has a weight $\beta$.
#
# :::{prf:theorem} Which directions live
# :label: thm-hierarchy-linear
# Let $\sigma^2 > 0$, $\beta > 0$, and let the data have mean 0 and covariance $\hat C$ with eigenvalues $\lambda_1 \ge \dots \ge \lambda_D$, and $p(z) = \mathcal N(0, I_K)$, $K \le D$, $p(x \mid z) = \mathcal N(Wz, \sigma^2 I)$. Over all $W$ and all $q$, the mean of $\mathbb E_q \log p(x \mid z) - \beta\, \mathrm{KL}(q(z \mid x) \,\|\, p(z))$ is largest, with $c_i = \max(\lambda_i, \beta\sigma^2)$ for $i \le K$ and $c_i = \beta\sigma^2$ for $i > K$, at
#
# $$
# \begin{aligned}
# V = {} & -\tfrac D2 \log (2\pi\sigma^2) + \tfrac{\beta D}{2} \log (\beta \sigma^2) \\
# & - \tfrac \beta2 \sum_{i=1}^D \Big(\log c_i + \frac{\lambda_i}{c_i}\Big).
# \end{aligned}
# $$ (eq-hierarchy-linear)
#
# There, of the first $K$ directions (they are unique if $\lambda_K > \lambda_{K+1}$; if $\lambda_K \le \beta\sigma^2$ it does not matter) exactly those with $\lambda_i > \beta\sigma^2$ are coded, and direction $i$ has the mean rate
#
# $$
# R_i = \tfrac12 \Big(\log \frac{\lambda_i}{\beta\sigma^2}\Big)_+ .
# $$ (eq-hierarchy-water)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. For one $x$, $\mathbb E_q \log p(x \mid z) - \beta\, \mathrm{KL}(q \,\|\, p) = -\beta\, \mathbb E_q \log \frac{q(z)}{p(z)\, p(x \mid z)^{1/\beta}}$. By Jensen's inequality it is at most $\beta \log \int p(z)\, p(x \mid z)^{1/\beta}\, dz$, with equality for $q \propto p(z)\, p(x \mid z)^{1/\beta}$.
# 2. A Gaussian density to the power $1/\beta$ is a Gaussian with $\beta$ times the variance, times a constant: $\mathcal N(x; Wz, \sigma^2 I)^{1/\beta} = (2\pi\sigma^2)^{-D/2\beta} (2\pi\beta\sigma^2)^{D/2}\, \mathcal N(x; Wz, \beta\sigma^2 I)$.
# 3. So the integral is $\mathcal N(x; 0, C)$ times that constant, with $C = WW^\top + \beta\sigma^2 I$: the VAE with weight $\beta$ and noise $\sigma^2$ wants what the likelihood with noise $\beta\sigma^2$ wants.
# 4. The mean of $\log \mathcal N(x; 0, C)$ is $-\tfrac12(D \log 2\pi + \log |C| + \operatorname{tr} C^{-1} \hat C)$. By steps 6 and 7 of the proof of {prf:ref}`thm-elbo-ppca`, for given eigenvalues $c_1 \ge c_2 \ge \dots$ of $C$ it is largest if the eigenvectors are shared in this order: then $\operatorname{tr} C^{-1} \hat C = \sum_i \lambda_i / c_i$.
# 5. All $c_i \ge \beta\sigma^2$, and at most $K$ are larger. $\log c + \lambda / c$ falls until $c = \lambda$ and rises after, so its least value on $c \ge \beta\sigma^2$ is at $c = \max(\lambda, \beta\sigma^2)$; what is gained over $c = \beta\sigma^2$ grows with $\lambda$, so the first $K$ directions are the ones to use. Collecting constants gives {eq}`eq-hierarchy-linear`.
# 6. With $w^2 = \lambda_i - \beta\sigma^2$ step 1's $q$ has, in direction $i$, the variance $\beta\sigma^2 / \lambda_i$ and the mean $w x_i / \lambda_i$, whose square has the mean $w^2 / \lambda_i = 1 - \beta\sigma^2 / \lambda_i$. In $\mathrm{KL} = \tfrac12(\text{mean}^2 + \text{variance} - 1 - \log \text{variance})$ the first three cancel: {eq}`eq-hierarchy-water`.
# :::
#
# Engineers know {eq}`eq-hierarchy-water` as *reverse water-filling*: below the water level $\beta\sigma^2$ nothing is sent.
# Two readings matter. A large $\beta$ and a large noise do the same to $W$ and $q$, so "the decoder's variance is fixed at 1" is a weight on the rate in disguise.
# And at $\beta = 1$ this collapse is no failure of the bound: the bound is tight here, and the likelihood itself wants these directions silent {cite:p}`lucas2019dont`.
#
# The check trains: L-BFGS on the explicit objective from random weights, encoder and decoder apart.


# %% tags=["hide-input"]
def trained(spectrum, K, noise, beta):
    """Largest objective and its rate, by L-BFGS on W, G and log d."""
    D, C = len(spectrum), torch.diag(spectrum)
    parts = [torch.randn(D, K).double(), torch.randn(K, D).double() / 3]
    parts = [*parts, torch.zeros(K).double()]
    W, G, log_d = (part.requires_grad_() for part in parts)

    def terms():
        left = torch.eye(D) - W @ G
        off = (left @ C @ left.T).trace() + (W**2 @ log_d.exp()).sum()
        fit = -off / (2 * noise) - D / 2 * math.log(2 * math.pi * noise)
        spread = log_d.exp() - 1 - log_d
        return fit, ((G @ C @ G.T).trace() + spread.sum()) / 2

    return maximised(
        lambda: (lambda f, r: (f - beta * r, r))(*terms()), (W, G, log_d)
    )


# %% tags=["hide-input"]
def maximised(objective, parts, rounds=400):
    """Climb the first number that `objective` returns; return all of them."""
    search = torch.optim.LBFGS(
        parts, max_iter=rounds, tolerance_grad=1e-10,
        tolerance_change=1e-13, line_search_fn="strong_wolfe",
    )  # fmt: skip

    def closure():
        search.zero_grad()
        loss = -objective()[0]
        loss.backward()
        return loss

    search.step(closure)
    return [value.item() for value in objective()]


# %% tags=["hide-input"]
torch.manual_seed(seed)
noise, K = 0.5, 3
spectra = torch.rand(8, 5).double().mul(3).exp().div(4)
spectra = spectra.sort(1, descending=True).values
betas = torch.tensor([0.5, 1.0, 2.0, 8.0]).double().repeat(2)
reached = torch.tensor(
    [
        trained(x, K, noise, b)
        for x, b in zip(spectra, betas.tolist(), strict=True)
    ]
).double()
level = (betas * noise)[:, None]
r = (spectra / level)[:, :K]
each = r.log() / 2


def largest(level):
    """eq. (eq-hierarchy-linear) with this water level, (8, 1)."""
    c = torch.cat([spectra[:, :K].maximum(level), level.expand(-1, 2)], 1)
    rest = 5 * level[:, 0].log() - (c.log() + spectra / c).sum(1)
    return -2.5 * math.log(2 * math.pi * noise) + betas / 2 * rest


value = largest(level)

# %%
check("thm-hierarchy-linear", about="value", of="spectra").equal(
    left=reached[:, 0],
    right=value,
    rtol=1e-4,
    wrong={
        "no direction dies": value
        + betas / 2 * torch.where(r < 1, r - 1 - r.log(), 0 * r).sum(1),
        "level σ² for every β": largest(0 * level + noise),
    },
)

# %%
check("thm-hierarchy-linear", about="rate", of="spectra").equal(
    left=reached[:, 1],
    right=each.clamp_min(0).sum(1),
    rtol=5e-4,
    wrong={
        "dead ones count below zero": each.sum(1),
        "level σ² for every β": (spectra[:, :K] / noise)
        .log()
        .clamp_min(0)
        .sum(1)
        / 2,
        "no half": 2 * each.clamp_min(0).sum(1),
    },
)

# %% [markdown]
# (sec-hierarchy-two)=
# ## With two linear layers the cheaper one takes all
#
# Now put a layer above: $z_2 \sim \mathcal N(0, 1)$, $z_1 \mid z_2 \sim \mathcal N(a z_2, 1)$, $x \mid z_1 \sim \mathcal N(w z_1, \sigma^2)$, all of them numbers; a linear model whose matrices share the eigenvectors of the data is one such problem for each direction.
# Give each layer's rate a weight of its own.
#
# :::{prf:theorem} Two linear layers
# :label: thm-hierarchy-two
# Let $x$ have mean 0 and variance $\lambda$. Over all $q$, and all $w$ and $a$, the mean of
#
# $$
# \mathbb E_q \log p(x \mid z_1) - \beta_1\, \mathbb E\, \mathrm{KL}\big(q(z_1 \mid x, z_2) \,\|\, p(z_1 \mid z_2)\big) - \beta_2\, \mathrm{KL}\big(q(z_2 \mid x) \,\|\, p(z_2)\big)
# $$ (eq-hierarchy-weighted)
#
# has as its supremum the maximum $V$ of {prf:ref}`thm-hierarchy-linear` for one layer with $D = K = 1$ and $\beta = \min(\beta_1, \beta_2)$. With $\lambda > \beta \sigma^2$:
#
# 1. if $\beta_1 < \beta_2$ it is reached with $w a = 0$ only: the top layer is dead;
# 2. if $\beta_1 = \beta_2$ it is reached whenever $w^2 (1 + a^2) = \lambda - \beta\sigma^2$: the top layer may carry nothing ($a = 0$), or nearly all;
# 3. if $\beta_1 > \beta_2$ it is approached as $w \to 0$, $(wa)^2 \to \lambda - \beta_2\sigma^2$: the rate of the first layer, given the top, tends to 0.
#
# If $\lambda \le \beta\sigma^2$ both are dead.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Let $\gamma = \beta_2 / \beta_1$ and $\Sigma = \beta_1 \sigma^2 + w^2$. For given $z_2$ the best $q(z_1 \mid x, z_2)$ gives, by steps 1 to 3 of the last proof, $\beta_1 \log \mathcal N(x; w a z_2, \Sigma) + k_1$ with $k_1 = -\tfrac12 \log(2\pi\sigma^2) + \tfrac{\beta_1}2 \log (2\pi\beta_1\sigma^2)$.
# 2. The best $q(z_2 \mid x)$ gives $\beta_2 \log \int p(z_2)\, \mathcal N(x; w a z_2, \Sigma)^{1/\gamma} dz_2$, which is $\beta_2 \log \mathcal N(x; 0, M) - \tfrac{\beta_1}2 \log (2 \pi \Sigma) + \tfrac{\beta_2}2 \log (2 \pi \gamma \Sigma)$ with $M = w^2 a^2 + \gamma \Sigma$.
# 3. So the mean is $J = k_1 - \tfrac{\beta_2}2 \big(\log M + \tfrac \lambda M \big) + \tfrac{\beta_2 - \beta_1}2 \log \Sigma + k_2$, where $k_2$ depends on the $\beta$ alone, under $M \ge \gamma\Sigma$ and $\Sigma \ge \beta_1\sigma^2$; by the choice of $a$ and $w$ every such pair is reached, except that $\Sigma = \beta_1\sigma^2$ needs $w = 0$ and then $M = \gamma\Sigma$.
# 4. $\beta_2 > \beta_1$: $J$ grows with $\Sigma$, so $\Sigma = M / \gamma$, that is $w a = 0$. What is left is $-\tfrac{\beta_1}2 (\log \Sigma + \lambda / \Sigma)$, one layer with $\beta_1$.
# 5. $\beta_2 = \beta_1$: $J$ depends on $M$ alone, and $M = w^2 (1 + a^2) + \beta\sigma^2$: one layer with $\beta$, and every split of $M$ is as good.
# 6. $\beta_2 < \beta_1$: $J$ falls with $\Sigma$, so $\Sigma \to \beta_1\sigma^2$ with $w \to 0$ while $w a$ stays; then $\gamma\Sigma \to \beta_2\sigma^2$: one layer with $\beta_2$. The best $q(z_1 \mid x, z_2)$ has the precision $1 + w^2 / (\beta_1\sigma^2) \to 1$ and the mean $a z_2$ plus $w (x - w a z_2) / \Sigma \to 0$, so its divergence from $p(z_1 \mid z_2)$ tends to 0.
# :::
#
# The ordinary bound, $\beta_1 = \beta_2 = 1$, sits exactly on the border.
# It does not ask for a top layer, and does not forbid one: every split costs the same in all.
# So whatever else there is decides: where the training starts, which layer learns first, what shape $q$ has.
# So the linear model does not explain why $z_2$ collapses; it says that nothing holds it.
# Annealing, with one weight for all layers, moves along the diagonal of the right-hand map below: it wakes directions, and does not choose a layer.
# Free bits do step off it: the rate of a layer below $f$ has the weight 0.
# With networks in place of $w$ and $a$ a top layer can be worth something, since $p(z_1)$ need not be Gaussian.


# %% tags=["hide-input"]
def two_layers(spread, noise, b1, b2):
    """Objective and rates (3, N) of N problems, climbed together.

    The first layer is counted in units of the image: h = w z1, and b = w a,
    so that the limit w -> 0 with b fixed is a point like any other.
    """
    start = (0.5, 0.5, 0.2, 0.1, 0.3, 0.0, 0.0)
    parts = [torch.full_like(spread, v).requires_grad_() for v in start]

    def terms():
        w, b, e, f, c, log_d, log_g = parts
        d, g = log_d.exp(), log_g.exp()
        seen, told = w * e, b + w * f  # h ~ N(seen x + told z2, w^2 g)
        off = spread * (1 - seen - told * c) ** 2 + told**2 * d + w**2 * g
        fit = -off / (2 * noise) - math.log(2 * math.pi * noise) / 2
        first = (spread * (e + f * c) ** 2 + f**2 * d + g - 1 - log_g) / 2
        top = (spread * c**2 + d - 1 - log_d) / 2
        return torch.stack([fit - b1 * first - b2 * top, first, top])

    maximised(lambda: (terms()[0].sum(),), parts, 700)
    return terms().detach()


# %% tags=["hide-input"]
weights = [(1, 1), (2, 2), (1, 2), (0.5, 1), (1.5, 3), (2, 1), (1, 0.5)]
cases = [(v, *pair) for v in (0.3, 1.6, 6.0) for pair in weights]
found = two_layers(
    *torch.tensor(cases).double().T[:1],
    0.5,
    *torch.tensor(cases).double().T[1:],
)


# %% tags=["hide-input"]
def best(v, beta, noise=0.5):
    """V for one direction."""
    c = max(v, beta * noise)
    rest = beta / 2 * (math.log(beta * noise) - math.log(c) - v / c)
    return rest - math.log(2 * math.pi * noise) / 2


values = [
    torch.tensor([best(v, how(b1, b2)) for v, b1, b2 in cases]).double()
    for how in (
        min,
        max,
        lambda a, b: (a + b) / 2,
        lambda a, b: a,
        lambda a, b: b,
    )
]

# %%
check("thm-hierarchy-two", about="value", of="weights and variances").equal(
    left=found[0],
    right=values[0],
    atol=1e-4,
    how="grid",
    wrong={
        "the larger weight": values[1],
        "the mean weight": values[2],
        "the first layer's": values[3],
        "the top layer's": values[4],
    },
)


# %% tags=["hide-input"]
def at_split(v, beta, a, w2, noise=0.5):
    """The objective at one split, with the exact q, by 2 x 2 Gaussians."""
    one = torch.eye(2, dtype=torch.float64)
    C = one + a * (one.flip(0) + a * torch.diag(one[0]))  # of z1, z2
    row = math.sqrt(w2) * one[:1]
    gain = C @ row.T / (row @ C @ row.T + beta * noise)
    P = C - gain @ row @ C  # of z given x
    moved = v * (gain.T @ torch.linalg.solve(C, gain)).item()
    shrunk = torch.linalg.solve(C, P).trace() - 2 - P.logdet() + C.logdet()
    off = v * (1 - (row @ gain).item()) ** 2 + (row @ P @ row.T).item()
    fit = -off / (2 * noise) - math.log(2 * math.pi * noise) / 2
    return fit - beta * (shrunk + moved) / 2


# %% tags=["hide-input"]
splits = [
    (v, beta, a)
    for v, beta in ((1.6, 1.0), (6.0, 1.0), (6.0, 2.0))
    for a in (0.0, 0.3, 1.0, 3.0, 10.0)
]
objective = [
    torch.stack([at_split(*case, how(*case)) for case in splits])
    for how in (
        lambda v, beta, a: (v - beta / 2) / (1 + a * a),
        lambda v, beta, a: v - beta / 2,
        lambda v, beta, a: (v - beta / 2) / (a * a or 1),
    )
]

# %%
check("thm-hierarchy-two", about="any split", of="splits").equal(
    left=objective[0],
    right=torch.tensor(
        [best(v, beta) for v, beta, _ in splits], dtype=torch.float64
    ),
    how="grid",
    wrong={
        "w² = λ − βσ² for every a": objective[1],
        "w²a² = λ − βσ²": objective[2],
    },
)

# %%
unequal = torch.tensor([b1 != b2 for _, b1, b2 in cases])
dearer = torch.tensor([1 if b1 > b2 else 2 for _, b1, b2 in cases])
rates = found.gather(0, dearer[None])[0, unequal]
kept = found.gather(0, 3 - dearer[None])[0, unequal]
alive = torch.tensor([v > min(b1, b2) * 0.5 for v, b1, b2 in cases])[unequal]
check("thm-hierarchy-two", about="which layer dies").holds(
    (rates < 1e-3) & ((kept > 1e-3) == alive),
    how="grid",
    wrong={
        "the cheaper layer dies": (kept < 1e-3) & ((rates > 1e-3) == alive),
        "none dies": (rates > 1e-3) & (kept > 1e-3),
        "one of them always lives": (rates < 1e-3) & (kept > 1e-3),
    },
)

# %% tags=["hide-input"]
digits = load_binary("mnist").cut(subset)
pixels = digits.examples("test")[0].flatten(1).double()
spectrum = torch.linalg.eigvalsh(pixels.T.cov()).flip(0)
levels = torch.logspace(-2.3, 1, 60).double()
water = (spectrum[:, None] / levels).log().clamp_min(0) / 2  # (784, 60)

# %% tags=["hide-input"]
figure = figures.blank(3.2)
left, right = figure.subplots(1, 2)
for i in (0, 1, 4, 19, 99):
    left.plot(levels, water[i], label=f"direction {i + 1}")
left.set(xscale="log", xlabel="βσ²", ylabel="rate (nats)")
left.legend(frameon=False)
line = torch.linspace(0, 2, 200)
one, two = torch.meshgrid(line, line, indexing="ij")
phase = torch.where(one < two, 1, 2) * (torch.minimum(one, two) < 1)
right.imshow(
    phase.T, origin="lower", extent=(0, 2, 0, 2), cmap="Blues", vmax=4
)
for words, at in (
    ("first layer\nalone", (0.4, 1.4)),
    ("top layer\nalone", (1.4, 0.4)),
    ("both dead", (1.5, 1.5)),
):
    right.text(*at, words, ha="center", va="center")
right.text(0.42, 0.56, "any split", ha="center", va="center", rotation=45)

# %% tags=["hide-input"]
right.plot([0, 1], [0, 1], color=figures.COLOURS["data"])
right.set(xlabel="β₁σ² / λ", ylabel="β₂σ² / λ")
show(
    figure,
    "Computed, not trained. Left: rates of five directions of binary test "
    "digits in a linear VAE; each dies where βσ² passes its eigenvalue. "
    "Right: which of two linear layers lives, by the price of each; on the "
    "line, where the ordinary bound is, any split of the rate is as good.",
    alt="Left: five falling curves that end at zero one after the other. "
    "Right: a square with three regions and a diagonal line in the lower "
    "left quarter.",
    label="fig-hierarchy-phases",
)

# %% tags=["hide-input"]
living = {v: (spectrum > v).sum() for v in (1.0, 0.5, 0.25)}
Markdown(
    f"Test digits: {digits.source}. Half a squared error, σ² = 1, leaves "
    f"{living[1.0]} of 784 directions alive, the squared error itself, σ² = 1/2, "
    f"{living[0.5]}, and σ² = 1/4 {living[0.25]}."
)

# %% [markdown]
# (sec-hierarchy-model)=
# ## The model: read upwards, then meet the prior on the way down
#
# Why should $q$ come from the top? In the model above the posterior of $z_1$ given $x$ *and* $z_2$ is, up to a constant, $p(x \mid z_1)\, p(z_1 \mid z_2)$: what the image says, times what the top layer foretells.
# A *ladder* VAE {cite:p}`sonderby2016ladder` builds $q$ in this shape: features go up without noise, and on the way down the Gaussian that they propose is multiplied by the prior's.
#
# :::{prf:proposition} The product of two Gaussians
# :label: prop-hierarchy-product
# The normalised product of the densities $\mathcal N(\mu_a, \sigma_a^2)$ and $\mathcal N(\mu_b, \sigma_b^2)$ is a Gaussian with the precision $\sigma_a^{-2} + \sigma_b^{-2}$ and the mean $(\mu_a \sigma_a^{-2} + \mu_b \sigma_b^{-2}) / (\sigma_a^{-2} + \sigma_b^{-2})$. For $p(x \mid z_1) = \mathcal N(w z_1, \sigma^2)$, $w \ne 0$, and a Gaussian $p(z_1 \mid z_2)$ the exact $p(z_1 \mid x, z_2)$ has this form, with $\mu_a = x / w$ and $\sigma_a^2 = \sigma^2 / w^2$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The logarithm of the product is $-\tfrac12 \sigma_a^{-2} (z - \mu_a)^2 - \tfrac12 \sigma_b^{-2} (z - \mu_b)^2$ plus a constant: the coefficient of $-\tfrac12 z^2$ is the precision, and that of $z$ is precision times mean.
# 2. $p(z_1 \mid x, z_2) \propto p(x \mid z_1)\, p(z_1 \mid z_2)$ by Bayes' rule, since $x$ depends on $z_2$ through $z_1$ only.
# 3. As a function of $z_1$, $(x - w z_1)^2 / \sigma^2 = (z_1 - x/w)^2 / (\sigma^2 / w^2)$.
# :::

# %%
torch.manual_seed(seed)
x, w, ahead, spread, noise = torch.randn(5, 40).double()
spread, noise = spread.exp(), noise.exp()  # variances
said = torch.distributions.Independent(
    torch.distributions.Normal(x / w, (noise / w**2).sqrt()), 0
)
foretold = torch.distributions.Independent(
    torch.distributions.Normal(ahead, spread.sqrt()), 0
)
met = product(said, foretold)
gain = spread * w / (w**2 * spread + noise)  # regression of z1 on x
exact = ahead + gain * (x - w * ahead)
check("prop-hierarchy-product", of="models").equal(
    left=torch.stack([met.mean, met.variance], 1),
    right=torch.stack([exact, spread - gain * w * spread], 1),
    wrong={
        "plain average": torch.stack(
            [(x / w + ahead) / 2, (spread + noise / w**2) / 2], 1
        ),
        "variances add": torch.stack([exact, spread + noise / w**2], 1),
        "what the image says alone": torch.stack([x / w, noise / w**2], 1),
    },
)

# %%
show_source(Hierarchy.upward, Hierarchy.downward)

# %% [markdown]
# The terms are those of the theorem, one for each layer; where $q$ comes from below, a lower layer's rate is $\log q / p$ at the draw, and may be negative.

# %%
show_source(Hierarchy.terms, rate_of)

# %% [markdown]
# (sec-hierarchy-estimate)=
# ## The estimate is tested before it is believed
#
# Papers of this field compare $-\log p(x)$, estimated by importance weights with $S = 5{,}000$ draws.
# A wrong sign, a lost constant or a number of draws that is ignored would go unnoticed on digits, where nobody knows the truth.
# So first a world whose $p(x)$ is known.
#
# :::{prf:proposition} The weight of a draw of all layers
# :label: prop-hierarchy-weight
# Let $\omega = p(x \mid z) \prod_\ell p(z_\ell \mid z_{\ell+1}) \,/\, q(z_1, \dots, z_L \mid x)$ with $q > 0$ wherever the numerator is. Then $\mathbb E_q \omega = p(x)$, and $-\mathbb E \log \frac1S \sum_s \omega_s$ falls with $S$ to $-\log p(x)$ if $\mathbb E_q \log \omega$ is finite.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\mathbb E_q \omega = \int q \cdot \frac{p(x, z)}{q}\, dz = \int p(x, z)\, dz = p(x)$, all layers at once.
# 2. The rest is {prf:ref}`thm-elbo-iwae` with the vector of all codes in place of one.
# :::


# %% tags=["hide-input"]
def normal(mean, covariance):
    """A Gaussian with a full covariance, in double precision."""
    return MultivariateNormal(mean.double(), covariance.double())


# %% tags=["hide-input"]
class LinearLayers:
    """z2 (2), z1 (3) and x (6) all Gaussian; q is wider than the posterior."""

    def __init__(self, noise=0.3):
        A, W = torch.randn(3, 2).double(), torch.randn(6, 3).double()
        tall = torch.cat([torch.eye(2).double(), A])
        own = torch.diag(torch.tensor([0.0, 0, 1, 1, 1])).double()
        self.prior = normal(torch.zeros(5), tall @ tall.T + own)
        self.read = torch.cat([torch.zeros(6, 2).double(), W], 1)
        self.noise = noise * torch.eye(6).double()
        C = self.prior.covariance_matrix
        self.data = normal(
            torch.zeros(6), self.read @ C @ self.read.T + self.noise
        )
        self.gain = C @ self.read.T @ self.data.precision_matrix
        self.posterior = C - self.gain @ self.read @ C

    def log_weights(self, x, samples):
        q = normal(x @ self.gain.T, 2 * self.posterior)
        z = q.sample((samples,))
        likelihood = normal(z @ self.read.T, self.noise).log_prob(x)
        return likelihood + self.prior.log_prob(z) - q.log_prob(z)


# %%
torch.manual_seed(seed)
linear = LinearLayers()
images = linear.data.sample((4,))
log_w = linear.log_weights(images, 20_000) - linear.data.log_prob(images)
check("prop-hierarchy-weight", about="mean").unbiased(
    log_w.exp(),
    torch.ones(4),
    wrong={
        "half of the logarithm": (log_w / 2).exp(),
        "q's constant lost": (log_w - math.log(2) * 2.5).exp(),
        "the mean of logarithms": 1 + log_w,
    },
)

# %%
show_source(Hierarchy.log_weights, importance_weighted_nll)

# %% [markdown]
# These two run on the digits, so they are tested too.
# First the weights, in a world of 16 pictures of four pixels: $\sum_x p(x) = 1$, whatever the networks.

# %% tags=["hide-input"]
pictures = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 4)
pictures = pictures.view(16, 1, 2, 2)


def toy(top_down):
    """Log-weights (20000, 16) of a small hierarchy with random networks."""
    trunk = torch.nn.Sequential(torch.nn.Flatten(), dense(4, 6))
    decoder = DenseDecoder(2, [6], True, (1, 2, 2))
    model = Hierarchy(trunk, decoder, (1, 1), 6, top_down, skip=True)
    with torch.no_grad():
        return model.log_weights(pictures, 20_000).double()


# %%
torch.manual_seed(seed)
both = torch.stack([toy(True), toy(False)], 2)  # (20000, 16, 2)
check("prop-hierarchy-weight", about="all pictures sum to 1").unbiased(
    both.exp().sum(1),
    torch.ones(2),
    wrong={
        "half of the logarithm": (both / 2).exp().sum(1),
        "a layer's constant lost": (both - math.log(2 * math.pi) / 2)
        .exp()
        .sum(1),
    },
)

# %% [markdown]
# Then the average over draws, in the linear world: how far is it above the truth of the same 500 images?
# With one draw it should be $\mathrm{KL}(q \,\|\, p(z \mid x))$, here $\tfrac52 (1 - \log 2)$, since $q$ has twice the posterior's covariance in five dimensions.

# %% tags=["hide-input"]
many = linear.data.sample((500,))
relative = SimpleNamespace(
    log_weights=lambda x, n: linear.log_weights(x, n) - linear.data.log_prob(x)
)
by_draws = {
    n: importance_weighted_nll(relative, many, n) for n in (1, 10, 100, 1000)
}
assert abs(by_draws[1].value - 2.5 * (1 - math.log(2))) < 4 * by_draws[1].error
results_table(
    [
        {"draws S": n, "above the truth (nats)": found}
        for n, found in by_draws.items()
    ]
)

# %% tags=["hide-input"]
Markdown(
    f"Theory for one draw: {2.5 * (1 - math.log(2)):.3f} nats. "
    f"With 1,000 the difference is {by_draws[1000]}."
)

# %% [markdown]
# From now on "nats" are $-\log p(x)$, estimated with the stated $S$; each is above the truth on average.

# %% [markdown]
# (sec-hierarchy-digits)=
# ## Binary digits: one layer and two
#
# The data are MNIST with black and white pixels, each drawn with its grey level as probability {cite:p}`salakhutdinov2008quantitative`.
# Training images are drawn anew for every batch (*dynamic* binarisation, of each training image a new picture each epoch); test images were drawn once, with a fixed seed.
# Two recipes, which differ in more than a layer.
# Flat: 40 codes, no warm-up.
# Two layers: 40 and 20 codes, a ladder, rates that are warmed up, and a decoder that reads both layers, again at each of its hidden layers.
# Encoder and decoder are dense with two hidden layers of 256 units and SiLU, what lies between the codes has one; batches hold 100 images, and Adam's rate rises to 0.002 for half an epoch and then falls along half a cosine to a hundredth of it.
#
# With $p(x \mid z_1, z_2)$ in place of $p(x \mid z_1)$ the copy term is $\mathbb E_q \log p(x \mid z_1, z_2)$; the rates of {prf:ref}`thm-hierarchy-elbo` stay as they are, but the top layer now has a second use, and {prf:ref}`thm-hierarchy-two` does not speak of this model.

# %%
flat = train(binary_vae, epochs, seed, subset)
ladder = train(layered_vae, epochs, seed, subset, horizon=HORIZON)

# %% tags=["hide-input"]


def below_zero(metric):
    """The negative of a recorded number, with its error."""
    return Estimate(-metric["value"], metric["error"], metric["n"])


# %% tags=["hide-input"]
runs = {"VAE, one layer": flat, "hierarchical VAE, two layers": ladder}
rows = [
    {
        "model": name,
        "nats": Estimate(**run.metrics["nll"]),
        "−ELBO, same images": below_zero(run.metrics["elbo"]),
        "−ELBO, all": below_zero(run.metrics["elbo, all"]),
        "epochs": run.epochs,
        "weights": sum(w.numel() for w in run.model.parameters()),
    }
    for name, run in runs.items()
]
published = {
    "VAE, one layer (Burda et al.)": 86.76,
    "VAE, two layers (same)": 85.33,
    "IWAE, two layers, 50 draws (same)": 82.90,
    "ladder VAE (Sønderby et al.)": 81.74,
}
results_table(
    [*rows] + [{"model": n, "nats": v} for n, v in published.items()]
)

# %% tags=["hide-input"]
one, two = (row["nats"] for row in rows)
x = digits.examples("test", one.n)[0]
torch.manual_seed(seed)
with torch.no_grad():
    bounds = [sum(run.model.terms(x).values()) for run in (flat, ladder)]
paired = mean_of(bounds[0] - bounds[1], "nats")
here, whole = (-flat.metrics[k]["value"] for k in ("elbo", "elbo, all"))
choices = ladder.config["choices"]
Markdown(
    f"Test digits: {digits.source}; {one.n:,} of them, the first ones, for the "
    f"estimate. The two-layer model was trained for {ladder.epochs} epochs, its "
    f"rates warmed up over the first {choices['warmup']:g}, the flat one for "
    f"{flat.epochs}. Two layers are {abs(one.value - two.value):.2f} nats "
    f"{'better' if two.value < one.value else 'worse'}; of the bound, where the "
    f"two are compared image by image, one less two layers is {paired}. This is a "
    "difference between two recipes, one seed each, and does not say what the second "
    f"layer is worth. These images are {'easier' if here < whole else 'harder'}: "
    f"the flat model's −ELBO is {here:.1f}, that of all test images {whole:.1f}; "
    f"so {'add' if here < whole else 'take off'} about {abs(whole - here):.1f} nats "
    "before comparing with numbers of all test images."
)

# %% [markdown]
# The published numbers are for digits that are drawn anew; the flat VAE has 50 codes and 5,000 draws, the others of {cite:t}`burda2016importance` 100 and 50 codes.
# We read all of them where others quote them, that of the ladder {cite:p}`sonderby2016ladder` in two later papers (Rolfe 2017, Table 1; Chen et al. 2017, Table 2).
# How wide those networks were, how long they were trained and on which test images they were measured we have not seen, so we do not say why ours differ.

# %% tags=["hide-input"]
show(
    figures.history_curves(
        {"VAE, one layer": flat.history, "two layers": ladder.history},
        {"elbo": "ELBO (nats per image)"},
    ),
    "The bound of 1,000 test digits while the two models train.",
    alt="Two rising curves of the bound over epochs that flatten.",
    label="fig-hierarchy-history",
)

# %% tags=["hide-input"]


def late(run):
    """What the last tenth of the epochs gained, in nats."""
    rows = [row["test/elbo"] for row in run.history]
    return rows[-1] - rows[-1 - max(1, len(rows) // 10)] if rows[1:] else 0.0


spread = -flat.metrics["elbo, all"]["value"] - flat.history[-1]["vae/loss"]
Markdown(
    f"In the last tenth of the epochs the bound gained {late(flat):.2f} (one "
    f"layer) and {late(ladder):.2f} nats (two), while the learning rate fell "
    "to its end: that says the schedule has ended, not that a model is at "
    "a plateau. Training "
    f"images cost the flat model {abs(spread):.1f} nats "
    f"{'less' if spread > 0 else 'more'} than test images in its last epoch; the "
    "rest of the distance to the published numbers we have not taken apart."
)

# %% [markdown]
# (sec-hierarchy-top)=
# ## What the top layer knows
#
# Hold one layer at what $q$ says of a test digit, and draw the other anew from the model.
# If the top layer is held, $z_1$ comes from $p(z_1 \mid z_2)$; if the first is held, $z_2$ comes from $p(z_2)$, not from $p(z_2 \mid z_1)$, for which we have no sampler: the pairs are unlikely ones, and what is measured is how much the decoder listens to $z_2$.

# %% tags=["hide-input"]
WAYS = ("hold z₂, draw z₁", "hold z₁, draw z₂", "hold both", "draw both")
HELD = dict(zip(WAYS, ((1,), (0,), (0, 1), ()), strict=True))
shown, labels = digits.examples("test", 200)
chosen = [
    int((labels == k).nonzero()[0])
    for k in (2, 3, 4, 7, 9)
    if (labels == k).any()
]


def again(x, way, n):
    """n images for each image x, with one layer held and one drawn."""
    with torch.no_grad():
        z = ladder.model.infer(x.repeat_interleave(n, 0), mean=True)[0]
        drawn = ladder.model.generate(n * len(x), {i: z[i] for i in HELD[way]})
        return ladder.model.decode(drawn).mean


# %% tags=["hide-input"]
def variations(way, digit):
    """A test digit, and eight images that share a layer with it."""
    torch.manual_seed(seed)
    x = shown[digit][None]
    return (
        torch.cat([x[0, 0], *again(x, way, 8)[:, 0]], 1)
        .repeat_interleave(3, 0)
        .repeat_interleave(3, 1)
    )


# %% tags=["hide-input"]
Explorable(
    [[variations(way, d) for d in chosen] for way in WAYS],
    [WAYS, [str(labels[d].item()) for d in chosen]],
    ["what is held", "digit"],
    alt="A black-and-white digit, then eight grey ones that share a layer "
    "of codes with it.",
    caption="First a test digit, then eight images (means of the decoder) "
    "with one layer held at the mean of q and the other drawn.",
    start=[0, 0],
    live=figures.Live(
        variations,
        figures.Knob("what is held", WAYS, WAYS[0]),
        figures.Knob("digit", [0, len(shown) - 1], chosen[0]),
        again=True,
    ),
)

# %% [markdown]
# A picture is easily over-read, so a classifier judges: of the redrawn images of 500 test digits, how many keep the class that it gave the original?

# %% tags=["hide-input"]
judge = extractor_of("mnist").model
x = digits.examples("test", 500)[0]
torch.manual_seed(seed)
with torch.no_grad():
    said = judge.classify(x).argmax(1)
    kept = {
        way: (judge.classify(again(x, way, 1)).argmax(1) == said).double()
        for way in WAYS
    }
results_table(
    [
        {"held and drawn": way, "same class (%)": mean_of(share)}
        for way, share in kept.items()
    ],
    percent=["same class (%)"],
)

# %% tags=["hide-input"]
above = mean_of(kept[WAYS[0]] - kept[WAYS[3]])
under = mean_of(kept[WAYS[2]] - kept[WAYS[0]])
a, c, b, d = (100 * mean_of(kept[way]).value for way in WAYS)
Markdown(
    f"With both held, {b:.0f} of 100 images keep the class: the ceiling. With "
    f"none held, {d:.0f} do: chance. Held top: {a:.0f}, which is "
    f"{100 * above.value:.0f} ± {100 * above.error:.0f} above chance and "
    f"{100 * under.value:.0f} ± {100 * under.error:.0f} under the ceiling. Held "
    f"first layer: {c:.0f}."
)

# %% tags=["hide-input"]
rates = [ladder.metrics[f"rate {i}, all"]["value"] for i in (1, 2)]
watched = ladder.metrics["elbo"]["n"]
active = [
    f"{ladder.metrics[f'active units {i + 1}']['value']:.0f} of {size}"
    for i, size in enumerate(choices["latents"])
]
Markdown(
    f"Rates: {rates[0]:.1f} nats for the first layer given the top, and "
    f"{rates[1]:.1f} for the top, of which at least "
    f"{ladder.metrics['information of the top']['value']:.1f} nats tell of the "
    f"image (of {watched:,} images the estimate cannot exceed "
    f"{math.log(watched):.1f}). Active units: {active[0]} and {active[1]}."
)

# %% [markdown]
# (sec-hierarchy-collapse)=
# ## Collapse on purpose, in two ways
#
# Two settings invite it; both use 5,000 digits, 20 epochs, narrow networks of 100 units and no warm-up (the two-layer run above has one), so that three seeds fit in minutes.
#
# - **Strong decoder.** One layer of 32 codes, and beside the decoder a {ref}`masked network <sec-image-gpt-masks>` adds to each pixel's logit what the pixels before it say. It can model digits without any code.
# - **Deep stack.** Four layers of 32, 16, 8 and 4 codes, $q$ from the bottom up, the decoder reads $z_1$ alone.
#
# Three instruments: the rate of each layer; *active units*, codes whose posterior mean has a variance above 0.01 over the data (taken at the means of the layers that it is read from); and what the top layer tells.
# A rate can be high while its layer tells nothing, as {prf:ref}`thm-hierarchy-delta` will show, so it is the information that decides.
# If the top is read from the image, with one layer or top-down, it is $I(x; z_L)$, in the column "I(x; top)".
# Bottom-up we know only $I(z_{L-1}; z_L)$, in "I(below; top)", which is at least as large ({ref}`sec-hierarchy-flow`): near 0 it proves collapse, far from 0 it proves nothing.
# The two columns are not to be compared.

# %%
seeds = (0, 1, 2) if epochs == 0 else (seed,)
small = dict(images=5_000, hidden=100, horizon=20, skip=False)
strong = dict(small, latents=(32,), context=50)
deep = dict(small, latents=(32, 16, 8, 4), top_down=False)


def three(**choices):
    """The same training with each seed."""
    choices = {"warmup": 0.0, **choices}
    return [train(layered_vae, epochs, s, subset, **choices) for s in seeds]


plain = {"strong decoder": three(**strong), "deep stack": three(**deep)}


# %% tags=["hide-input"]
def over(runs, name, sign=1):
    """Mean of a metric over seeds, and the standard error between them."""
    found = torch.tensor([sign * run.metrics[name]["value"] for run in runs])
    error = found.std().item() / len(found) ** 0.5 if len(found) > 1 else 0.0
    return Estimate(found.mean().item(), error, len(found), "")


# %% tags=["hide-input"]
INFORMATION = "I(x; top)", "I(below; top)"
RATES = [f"rate {i}" for i in (1, 2, 3, 4)]
COLUMNS = ["training", "−ELBO", *RATES, "active on top", *INFORMATION]


def row_of(name, runs):
    """The instruments of one setting; the last rate is that of the top."""
    choices = runs[0].config["choices"]
    layers = len(choices["latents"])
    upward = layers > 1 and not choices["top_down"]
    return {
        "training": name,
        "−ELBO": over(runs, "elbo, all", -1),
        **{key: over(runs, f"{key}, all") for key in RATES[:layers]},
        "active on top": over(runs, f"active units {layers}"),
        INFORMATION[upward]: over(runs, "information of the top"),
    }


results_table([row_of(*pair) for pair in plain.items()], COLUMNS)

# %% [markdown]
# Bottom-up, rates 1 to 3 are middle terms, no divergences, and could be negative.

# %% [markdown]
# (sec-hierarchy-cures)=
# ## The cures, and what each of them promises
#
# **KL annealing** starts with a rate that costs nothing and raises its weight to 1 {cite:p}`bowman2016generating,sonderby2016ladder`: in {prf:ref}`thm-hierarchy-linear` the water level starts at 0, where each of the first $K$ directions with any variance is alive, and rises to $\sigma^2$. At the end exactly those of the theorem are left; what annealing changes is the way there.
#
# **Free bits** {cite:p}`kingma2016improved` do not charge a layer's first $f$ nats.
#
# :::{prf:theorem} Free bits still bound, and a rate below $f$ does not pull
# :label: thm-hierarchy-free
# Let $\Delta$ be the distortion and $R_1, \dots, R_L$ the rates of a $q$, means over a batch, and $J_f = \Delta + \sum_\ell \max(f, R_\ell)$ with $f \ge 0$. Then
#
# 1. $-J_f \le \mathcal L \le$ the mean of $\log p(x)$, with $-J_f = \mathcal L$ exactly if all $R_\ell \ge f$; if no $R_\ell$ is negative, $J_f \le -\mathcal L + L f$;
# 2. where no $R_\ell$ equals $f$, $\nabla J_f = \nabla \Delta + \sum_{R_\ell > f} \nabla R_\ell$;
# 3. clamped for each image instead of the batch, the objective is at least as large: the mean of $\max(f, R_\ell(x))$ is $\ge \max(f, R_\ell)$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\max(f, R) \ge R$, with equality if and only if $R \ge f$; sum over layers: $J_f \ge \Delta + \sum R_\ell = -\mathcal L$. And $\max(f, R) \le f + R$ for $R \ge 0$.
# 2. Near a point with $R_\ell < f$ the maximum is the constant $f$, near one with $R_\ell > f$ it is $R_\ell$.
# 3. $\max(f, \cdot)$ is convex: Jensen's inequality.
# :::
#
# So the clamped objective is a bound, a looser one.
# What is often written instead, $\Delta + \sum_\ell (R_\ell - f)_+$, is $J_f - Lf$ and bounds nothing.
# And free bits permit, they do not order: below $f$ a layer is moved by the distortion and by the rates of *other* layers that lie above $f$; with one layer, by the distortion alone.
# If neither has a use for it, any rate up to $f$ is as good.

# %%
torch.manual_seed(seed)
free = 0.4
rates = torch.stack([given_top, of_top], 1)
clamped = -copy + rates.clamp_min(free).sum(1)
loose = -copy + (rates - free).clamp_min(0).sum(1)
check("thm-hierarchy-free", about="bound", of="worlds").at_most(
    -bound,
    clamped,
    equal_where=(rates >= free).all(1),
    wrong={
        "free nats subtracted": (-bound, loose),
        "a ceiling in place of a floor": (
            -bound,
            -copy + rates.clamp_max(free).sum(1),
        ),
    },
)

# %%
theta = torch.randn(100, 4).double().requires_grad_()
table = theta.softmax(1)[..., None] * q2_1
parts = {
    "Δ": -(table.sum(2) * bottom.log()).sum(1),
    "top": kl(table.sum(1), top),
}
parts["first"] = kl(table, joint, (1, 2)) - parts["top"]
J = parts["Δ"] + sum(parts[k].clamp_min(free) for k in ("first", "top"))
slope = {
    k: torch.autograd.grad(v.sum(), theta, retain_graph=True)[0]
    for k, v in {**parts, "J": J}.items()
}
over_f = {k: (parts[k] > free).double()[:, None] for k in ("first", "top")}
check("thm-hierarchy-free", about="gradient", of="worlds").equal(
    left=slope["J"],
    right=slope["Δ"] + sum(over_f[k] * slope[k] for k in over_f),
    how="autograd",
    wrong={
        "all rates pull": slope["Δ"] + slope["first"] + slope["top"],
        "no rate pulls": slope["Δ"],
        "only rates below f pull": slope["Δ"]
        + sum((1 - over_f[k]) * slope[k] for k in over_f),
    },
)

# %% [markdown]
# In code, annealing and free bits are one line each:

# %%
show_source(guarded_elbo)

# %% [markdown]
# **A $\delta$-VAE** {cite:p}`razavi2019preventing` makes a zero rate impossible: the prior ties the codes together, and $q$ cannot follow, because its codes are independent.
#
# :::{prf:theorem} The floor of a δ-VAE
# :label: thm-hierarchy-delta
# Let $p = \mathcal N(0, \Lambda^{-1})$ with $K \times K$ precision $\Lambda$, and $q = \mathcal N(\mu, \mathrm{diag}\, v)$. Then
#
# $$
# \mathrm{KL}(q \,\|\, p) \ge \delta = \tfrac12 \Big( \sum_k \log \Lambda_{kk} - \log |\Lambda| \Big),
# $$ (eq-hierarchy-delta)
#
# with equality exactly for $\mu = 0$ and $v_k = 1 / \Lambda_{kk}$. For the chain $z_1 \sim \mathcal N(0, 1)$, $z_k \mid z_{k-1} \sim \mathcal N(\alpha z_{k-1}, 1 - \alpha^2)$ with $\lvert \alpha \rvert < 1$ and $K \ge 2$,
#
# $$
# \delta = \tfrac12 \big( (K - 2) \log (1 + \alpha^2) - \log (1 - \alpha^2) \big).
# $$ (eq-hierarchy-chain)
#
# The $q$ of the floor does not depend on $x$: it has the rate $\delta$ and tells nothing.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $2\, \mathrm{KL} = \sum_k \Lambda_{kk} v_k + \mu^\top \Lambda \mu - K - \log |\Lambda| - \sum_k \log v_k$: the formula for two Gaussians, with a diagonal covariance in the trace.
# 2. $\mu^\top \Lambda \mu \ge 0$ with equality at $\mu = 0$ only, since $\Lambda$ is positive definite.
# 3. $\Lambda_{kk} v - \log v \ge 1 + \log \Lambda_{kk}$ with equality at $v = 1 / \Lambda_{kk}$ only. Insert: {eq}`eq-hierarchy-delta`.
# 4. For the chain, $\log p$ holds $-\tfrac12 z_1^2 - \tfrac12 \sum_{k \ge 2} (z_k - \alpha z_{k-1})^2 / (1 - \alpha^2)$. The coefficient of $-\tfrac12 z_k^2$ is $(1 + \alpha^2) / (1 - \alpha^2)$ for $1 < k < K$; for $k = 1$ it is $1 + \alpha^2 / (1 - \alpha^2) = 1 / (1 - \alpha^2)$, and for $k = K$ the same.
# 5. $|\Lambda| = (1 - \alpha^2)^{-(K-1)}$, the product of the conditional precisions. Collect the powers of $1 - \alpha^2$: $-(K - 2) - 2 + (K - 1) = -1$.
# :::
#
# So the floor holds for the rate, not for the information.
# It removes the reward for silence, since saying nothing already costs $\delta$; it does not make the codes speak.


# %%
def floor(K, alpha):
    """eq. (eq-hierarchy-chain), in nats."""
    return ((K - 2) * math.log1p(alpha**2) - math.log1p(-(alpha**2))) / 2


# %%
torch.manual_seed(seed)
settings = [(K, a) for K in (2, 3, 8, 32) for a in (0.3, 0.6, 0.9)]
priors = [chain(K, a, torch.zeros(1).double()) for K, a in settings]
best_q = [
    normal(
        torch.zeros(K), torch.diag(1 / p.precision_matrix.diagonal().double())
    )
    for (K, _), p in zip(settings, priors, strict=True)
]
other_q = [
    normal(torch.randn(K) / 4, torch.diag(torch.rand(K) + 0.05))
    for K, _ in settings
]
twice = [
    normal(torch.zeros(p.loc.numel()), p.covariance_matrix) for p in priors
]

# %%
cost = torch.tensor(
    [
        kl_divergence(q, p).item()
        for side in (best_q, other_q)
        for q, p in zip(side, twice, strict=True)
    ]
).double()

# %%
floors = torch.tensor([floor(K, a) for K, a in settings] * 2).double()
first_try = torch.tensor(
    [floor(K, a) + math.log1p(a * a) / 2 for K, a in settings] * 2
).double()
other_way = torch.tensor(
    [-(K - 1) * math.log1p(-a * a) / 2 for K, a in settings] * 2
).double()
at_best = torch.arange(24) < 12
check("thm-hierarchy-delta", of="posteriors").at_most(
    floors,
    cost,
    equal_where=at_best,
    rtol=1e-4,
    wrong={
        "K - 1 in place of K - 2": (first_try, cost),
        "the divergence the other way round": (other_way, cost),
        "no floor": (0 * floors, cost),
    },
)

# %% [markdown]
# **Skip connections** from the codes to every hidden layer of the decoder {cite:p}`dieng2019avoiding` shorten the way: each layer's code is used directly, so its gradient need not pass through the layers below.
# Our row changes two things: the decoder reads all four layers in place of $z_1$ alone, and reads them again at each hidden layer.
# **Top-down inference** does the same for $q$: the top layer sees the image, not only a noisy $z_1$.

# %%
cures = {
    "strong decoder": plain["strong decoder"],
    "+ annealing over 10 epochs": three(**strong, warmup=10.0),
    "+ 8 free nats": three(**strong, free=8.0),
    "+ δ-VAE, α = 0.9": three(**strong, alpha=0.9),
    "deep stack": plain["deep stack"],
    "+ skip connections": three(**dict(deep, skip=True)),
    "+ top-down q": three(**dict(deep, top_down=True)),
}

# %% tags=["hide-input"]
table = [row_of(name, runs) for name, runs in cures.items()]
results_table(table, COLUMNS)

# %% tags=["hide-input"]


def rising(runs, term):
    """Mean over seeds of a term of the test images, by epoch."""
    found = torch.tensor(
        [[row[f"test/{term}"] for row in r.history] for r in runs]
    )
    return range(1, found.shape[1] + 1), found.mean(0)


# %% tags=["hide-input"]
figure = figures.blank(3.0)
axes = figure.subplots(1, 2)
for k, ((name, runs), dash) in enumerate(
    zip(cures.items(), ["-", "--", ":", "-.", "-", "--", ":"], strict=True)
):
    term = "rate 1" if k < 4 else "rate 4"
    axes[k // 4].plot(*rising(runs, term), dash, label=name)
axes[0].axhline(floor(32, 0.9), lw=0.8, color=figures.COLOURS["data"])
for axis, words in zip(axes, ("strong decoder", "deep stack"), strict=True):
    axis.set(xlabel="epoch", ylabel="rate (nats)", title=f"top layer, {words}")
    axis.set_ylim(0, 2 * axis.get_ylim()[1])  # room for the names
    axis.legend(frameon=False, loc="upper right")
show(
    figure,
    "Rate of the top layer while the models train, mean of the seeds. Left: "
    "watch whether annealing keeps the code when the price reaches 1 (epoch "
    "10); the line is the δ-VAE's floor, below which its mean rate cannot be. "
    "Right: the fourth layer of the stack.",
    alt="Two panels, with four and with three curves of the top layer's rate "
    "over 20 epochs.",
    label="fig-hierarchy-cures",
)

# %% tags=["hide-input"]
by_name = {row["training"]: row for row in table}


def told(name):
    """What the top layer tells, in words."""
    row = by_name[name]
    return f"{row.get(INFORMATION[0]) or row.get(INFORMATION[1])} nats"


def first(names, key, sign=1):
    """The best row, and all that are within two joint errors of it."""
    found = {name: by_name[name][key] for name in names}
    best = max(names, key=lambda name: sign * found[name].value)
    tied = [
        f"*{name}*"
        for name, v in found.items()
        if sign * (found[best].value - v.value)
        <= 2 * math.hypot(v.error, found[best].error)
    ]
    plain_too = f"*{names[0]}*" in tied
    note = " (so no cure is clearly better than none)" if plain_too else ""
    return ", ".join(tied) + note


# %% tags=["hide-input"]
deeper = by_name["+ top-down q"]
silent = [key for key in RATES if deeper[key].value < 0.5]
awake = over(cures["+ top-down q"], "active units 1")
relay = (
    f"With the top-down q {' and '.join(silent)} stay below half a nat: such a "
    "layer says nothing of its own, and hands down what the layers above say; so "
    f"{awake.value:.0f} of the first layer's 32 units are active all the same. "
    if "rate 1" in silent
    else ""
)
strong_ones, deep_ones = list(cures)[:4], list(cures)[4:]

# %% tags=["hide-input"]
Markdown(
    f"Strong decoder: the code tells {told('strong decoder')} without a cure; "
    f"most with {first(strong_ones, INFORMATION[0])}. Lowest −ELBO: "
    f"{first(strong_ones, '−ELBO', -1)}. The δ-VAE's rate is "
    f"{by_name['+ δ-VAE, α = 0.9']['rate 1']} nats over a floor of "
    f"{floor(32, 0.9):.1f}, and it tells {told('+ δ-VAE, α = 0.9')}. Deep stack: "
    f"the top shares {told('deep stack')} with the layer below, with skip "
    f"connections {told('+ skip connections')}; top-down it tells "
    f"{told('+ top-down q')} of the image. Lowest −ELBO: "
    f"{first(deep_ones, '−ELBO', -1)}. {relay}(Rows within two joint errors of the "
    f"best are named together; means of {len(seeds)} seeds, standard errors "
    "between them; the −ELBO is the ordinary one, without free nats or weights.)"
)

# %% [markdown]
# Two cautions. The information is estimated with 1,000 images and cannot exceed $\log 1000 = 6.9$ nats: a value near that says "at least".
# And these are trainings of 1,000 steps of small networks: they say which way a cure pulls, not how good a long training would be.
#
# ## Limits
#
# The linear theorems are about optima, not about trainings, and about directions that do not mix; {prf:ref}`thm-hierarchy-two` has one number in each layer, and chooses $w$ and $a$ freely.
# The importance-weighted estimate bounds $-\log p(x)$ from above on average, and how far above it is for a given $q$ is unknown: part of the difference between two models may be a difference of their $q$.
# All test images were used while the chapter was written, none to choose a setting by its result; the seeds of the two large models are one each.
#
# ## Exercises
#
# ```{exercise-start} The bound in three terms
# :label: ex-hierarchy-terms
# ```
# (Derive.) For $p(x \mid z_1)\, p(z_1 \mid z_2)\, p(z_2)$ and $q(z_1 \mid x)\, q(z_2 \mid z_1)$ write the evidence bound as three terms, and say what each asks for. Which of them are divergences? Give a case where the middle one is $-2$ nats.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-hierarchy-terms
# :class: dropdown
# ```
# By {eq}`eq-hierarchy-up` the bound is *copy*, $\mathbb E_{q(z_1 \mid x)} \log p(x \mid z_1)$, how well $z_1$ explains the image, less *agree*, $\mathbb E_q \log \frac{q(z_1 \mid x)}{p(z_1 \mid z_2)}$, what $z_1$ says beyond what $z_2$ foretells, less *stay*, $\mathbb E_{q(z_1 \mid x)} \mathrm{KL}(q(z_2 \mid z_1) \,\|\, p(z_2))$, how far the top is from its prior. Only the last is a divergence (averaged): the first is a mean log-likelihood, and in the middle $z_2$ depends on the $z_1$ of the numerator. In the example of {eq}`eq-hierarchy-negative` it is $\log s$, which is $-2$ at $s = e^{-2}$; we draw to see it.

# %%
torch.manual_seed(seed)
s = math.exp(-2)
z1 = 1 + torch.randn(100_000).double()
z2 = z1 + s * torch.randn(100_000).double()
drawn = log_normal(z1 - 1) - log_normal((z1 - z2) / s) + math.log(s)
found = mean_of(drawn, "nats")
assert abs(found.value + 2) < 5 * found.error
print(f"middle term: {found}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Why the top layer collapses
# :label: ex-hierarchy-why
# ```
# (Derive.) Hold $q(z_1 \mid x)$. Show that agree and stay together cost at least $\mathrm{KL}(q(z_1 \mid x) \,\|\, p(z_1))$ with $p(z_1) = \int p(z_1 \mid z_2)\, p(z_2)\, dz_2$, and when they cost just that. What, then, is the only use of $z_2$, and why does it collapse?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-hierarchy-why
# :class: dropdown
# ```
# $\text{agree} + \text{stay} = \mathrm{KL}(q(z_1, z_2 \mid x) \,\|\, p(z_1, z_2)) = \mathrm{KL}(q(z_1 \mid x) \,\|\, p(z_1)) + \mathbb E_{q(z_1 \mid x)} \mathrm{KL}(q(z_2 \mid z_1) \,\|\, p(z_2 \mid z_1))$, by the chain rule taken from $z_1$. The second part is 0 exactly if $q(z_2 \mid z_1)$ is the model's own posterior. So $z_2$ is of use only in giving $z_1$ a better prior $p(z_1)$ than one Gaussian; on average over the images that can save at most $\mathrm{KL}(q(z_1) \,\|\, \mathcal N)$ against a Gaussian prior $\mathcal N$, with $q(z_1)$ the mean of $q(z_1 \mid x)$ over the images. And while $q(z_2 \mid z_1)$ is still wrong, which it is at the start, it costs the second part. Setting $p(z_1 \mid z_2) = p(z_1)$ and $q(z_2 \mid z_1) = p(z_2)$ makes that part 0 at once, with no learning: collapse is the first place where the top layer costs nothing. $p(x \mid z_1)$ never misses it.

# %%
alone = kl(q1, joint.sum(2))
exact_top = joint / joint.sum(2, keepdim=True)
mismatch = (q1 * kl(q2_1, exact_top)).sum(1)
torch.testing.assert_close(agree + stay, alone + mismatch)
assert (alone <= agree + stay).all()
print(
    "a silent top with the same p(z₁) is cheaper in every world, by "
    f"{mean_of(mismatch, 'nats')} on average"
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} What that says of the flow of information
# :label: ex-hierarchy-flow
# ```
# (Measure.) With the bottom-up $q$, show that $I_q(x; z_2) \le I_q(x; z_1)$, and that $I_q(x; z_2) = 0$ after a collapse. Does the inequality hold for the top-down $q$? What does the collapse say about the flow of information?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-hierarchy-flow
# :class: dropdown
# ```
# $x \to z_1 \to z_2$ is a Markov chain under the bottom-up $q$: the data processing inequality. The top layer can only forget; what the first layer did not keep never reaches it, and what it keeps in detail the top layer has to hear through the noise of $q(z_1 \mid x)$. A collapsed top has $q(z_2 \mid z_1) = p(z_2)$, so $z_2$ is independent of $x$: all information flows from $x$ to $z_1$ and back, none goes by the top, and the chain is a VAE with one layer. Top-down, $q(z_2 \mid x)$ reads the image itself, and no such order holds: the code finds cases with more information above.


# %%
def information_of(conditional):
    """I(x; z) for tables (N, x, z) and five equally likely images."""
    return kl(conditional, conditional.mean(1, keepdim=True)).mean(1)


torch.manual_seed(seed)
up1 = tables(5, 4)
up2 = up1 @ q2_1  # (100, 5, 3)
assert (information_of(up2) <= information_of(up1)).all()

# %%
down2 = tables(5, 3)
down1 = (down2[..., None] * tables(5, 3, 4)).sum(2)
more = (information_of(down2) > information_of(down1)).double().mean()
dead = top[:, None].expand(-1, 5, -1)
print(
    f"bottom-up the top keeps {(information_of(up2) / information_of(up1)).mean():.0%}"
    f" of the information; top-down it has more in {more:.0%} of the worlds; "
    f"collapsed {information_of(dead).abs().max():.1g} nats"
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Two cures
# :label: ex-hierarchy-cures
# ```
# (Derive and code.) Name two cures and say, for each, what it changes in the bound, and whether the trained objective still bounds $\log p(x)$. For annealing, use {prf:ref}`thm-hierarchy-linear`: how many of the 784 directions of the test digits are alive when the weight is 0.01, 0.1 and 1, for $\sigma^2 = 0.25$?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-hierarchy-cures
# :class: dropdown
# ```
# Annealing weighs the rates with $\beta < 1$: while it lasts, distortion plus $\beta$ times the rates is at most $-\mathcal L$, and less unless the rates sum to 0 (their sum is never negative, {eq}`eq-hierarchy-sum`), so it bounds nothing; at the end it is the bound. Free bits: a bound throughout, looser by at most $f$ a layer if no rate is negative ({prf:ref}`thm-hierarchy-free`). A $\delta$-VAE changes the model, not the bound ({prf:ref}`thm-hierarchy-delta`); so do skip connections; top-down inference changes $q$ only.

# %%
for weight in (0.01, 0.1, 1.0):
    print(f"weight {weight:g}: {(spectrum > weight * 0.25).sum()} alive")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Another floor: a variance that is fixed
# :label: ex-hierarchy-fixed
# ```
# (Derive.) Let $q(z \mid x) = \mathcal N(\mu(x), s^2 I)$ in $K$ dimensions with a fixed $s$, and $p(z) = \mathcal N(0, I)$. What is the least rate? Which $s$ gives $K = 32$ codes the floor of the chain with $\alpha = 0.9$?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-hierarchy-fixed
# :class: dropdown
# ```
# {eq}`eq-hierarchy-delta` with $\Lambda = I$ would give 0, but $v$ is not free: $\mathrm{KL} = \tfrac12 (\lVert \mu \rVert^2 + K s^2 - K - K \log s^2) \ge \tfrac K2 (s^2 - 1 - \log s^2)$, with equality at $\mu = 0$; it is positive for $s \ne 1$. Bisection gives the $s$ below 1.

# %%
low, high = 0.01, 1.0
for _ in range(60):
    s = (low + high) / 2
    rate = 16 * (s**2 - 1 - 2 * math.log(s))
    low, high = (s, high) if rate > floor(32, 0.9) else (low, s)
one = normal(torch.zeros(32), s**2 * torch.eye(32))
exact = kl_divergence(one, normal(torch.zeros(32), torch.eye(32))).item()
assert abs(exact - floor(32, 0.9)) < 1e-6
print(f"s = {s:.3f}: a floor of {exact:.2f} nats")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} How many draws are enough?
# :label: ex-hierarchy-draws
# ```
# (Measure.) For 25 test digits, estimate the nats of the flat model with $S = 1, 10, 100, 1000$. By how much does each tenfold increase lower the estimate? What would you expect of 5,000?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-hierarchy-draws
# :class: dropdown
# ```
# {prf:ref}`thm-elbo-rate` does not apply, since the weights need not be bounded, so the trend is all we have: expect of 5,000 less than the last tenfold gained. We then try it. A published number with few draws is too high by an amount that nobody knows; hence the convention.

# %%
torch.manual_seed(seed)
few = digits.examples("test", 25)[0]
with torch.no_grad():
    parts = [flat.model.log_weights(few, 1000).double() for _ in range(5)]
log_w, last = torch.cat(parts), None
for n in (1, 10, 100, 1000, 5000):
    blocks = log_w.view(-1, n, len(few)).logsumexp(1) - math.log(n)
    each = -blocks.mean(0)  # of each digit
    gain = "" if last is None else f", lower by {mean_of(last - each)}"
    print(f"S = {n:4d}: {each.mean():.2f} nats{gain}")
    last = each

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Which information should a layer hold? (open)
# :label: ex-hierarchy-open
# ```
# (Open.) Nothing in the bound says that the top layer should hold the class and the first the stroke. Propose a term or a constraint that does, without labels, and say what it costs in nats.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-hierarchy-open
# :class: dropdown
# ```
# Open as far as we know. By {prf:ref}`thm-hierarchy-two` unequal weights move all of a linear direction's rate to the cheaper layer; weights that depend on the direction would sort them. They have a price: the code prints what a linear model of the test digits, $\sigma^2 = 0.25$, loses of its log-likelihood if its $W$ was chosen with a weight of 0.8 or 0.5.

# %%
noise = 0.25


def likelihood(c):
    """Mean log-density with these eigenvalues, up to a constant."""
    return -(c.log() + spectrum / c).sum() / 2


for weight in (0.8, 0.5):
    w2 = (spectrum - weight * noise).clamp_min(0)
    lost = likelihood(spectrum.clamp_min(noise)) - likelihood(w2 + noise)
    print(f"weight {weight}: {lost:.2f} nats lost")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What does a second layer know that the first does not?
#
# In the chain, nothing that the decoder needs: the bound asks it only to foretell the first layer, and a linear model does not even ask for that; a decoder that reads both layers gives it a second way to live.
# Whether it lives is decided by the rest: how much better a prior it makes for the first layer, what $q$ lets it see, which layer learns first, and what it costs while it learns.
# Cures lower the price (for a time: annealing; up to $f$: free bits), charge silence as much as speech up to $\delta$ (δ-VAE), or shorten the way (skip connections, top-down $q$); a rate that is bought so is information only if the decoder listens.
# What the best prior for the first layer would be, with no second layer at all, is the question of chapter 14.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
