# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:jem)=
# # JEM: a classifier as an energy
#
# *What else does a classifier know?*
#
# A customs officer sorts parcels into ten bins, quickly and nearly without a mistake.
# Her rule is a score for each bin, and the parcel goes where the score is highest.
# One day somebody puts a loaf of bread on the belt.
# It has ten scores like everything else, one of them is the highest, and the officer files the bread under "shoes".
# Nobody had ever asked her whether a thing is a parcel at all.
# Yet her ten scores have a size, and not only an order: all could be low for bread and high for parcels, and no parcel would be sorted otherwise.
#
# That unused freedom is this chapter.
# {cite:t}`grathwohl2020your` read the ten logits of a classifier as the joint energy of an image and its class, and train the size as an {ref}`energy-based model <ch:energy>`.
# What comes out classifies, and also draws, doubts and recognises strangers; and its training can run away.
# JEM++ {cite:p}`yang2021jem` changes where chains start and how far they may step.
# Which of the two keeps a training from running away? A table of trainings answers.
#
# :::{admonition} You will learn to
# - read logits as a joint energy, and split its gradient into a classifier's and a generator's;
# - say what the bounded step of JEM++ does, exactly, and what its start knows about the data;
# - measure calibration, and how much of the measured error is due to the finite number of answers;
# - train both models on digits over three seeds, and see which trainings run away;
# - judge the claims for strangers and for attacks, with an attacker who knows the defence.
#
# You need: energies, walks with a free step and the replay buffer ({ref}`energy-based models <ch:energy>`), softmax and cross-entropy.
# :::

# %% tags=["parameters"]
epochs: int = 0  # 0: recall the published runs; n: train n epochs here
subset: int = 0  # 0: all images; n: train and measure on n at most
seed: int = 0

# %% tags=["hide-input"]
import math
from dataclasses import replace

import torch
from IPython.display import Markdown
from scipy.optimize import minimize_scalar
from scipy.stats import binom
from torch.nn import functional as F

from companion import figures
from companion.claims import check
from companion.data import load
from companion.data.forms import unsigned
from companion.experiments import extractor_of, jem, joint_classifier

# %% tags=["hide-input"]
from companion.figures import (
    Explorable,
    image_rows,
    results_table,
    show,
    show_source,
)
from companion.figures.sketches import Sketch
from companion.measures.jem import energy_of, logits_of, refining
from companion.metrics import (
    Frechet,
    binning_bias,
    calibration_error,
    mean_of,
    pgd,
    reliability,
)
from companion.models.energy import Walk
from companion.models.jem import RIDGE, ClassGaussians, JointEnergy
from companion.objectives.jem import RUNAWAY, joint_energy_loss
from companion.runs import published_seed
from companion.samplers.energy import walk_path, walked
from companion.train import train

seed = published_seed(jem, seed, epochs, many=3)

# %% tags=["hide-input"]
sketch = Sketch(380, 170)
sketch.node("x", 40, 85, "x", size=(34, 34), shaded=True)
sketch.node("f", 130, 85, "network", size=(72, 34))
sketch.node("logits", 235, 85, "f(x)", size=(56, 34), lit=True)
sketch.node("soft", 330, 40, "p(y | x)", size=(72, 30))
sketch.node("sum", 330, 130, "log p(x)", size=(72, 30))
sketch.link("x", "f").link("f", "logits")
sketch.link("logits", "soft").link("logits", "sum", dashed=True)
sketch.words(212, 44, "their differences", small=True)
sketch.words(204, 130, "their size: log Σ exp", small=True)
sketch.show(
    "One network, two laws. The differences of the logits are the class "
    "given the image; their common size, which a classifier leaves free, "
    "becomes the log-density of the image, up to a constant.",
    alt="An image enters a network that gives logits; one arrow leads from "
    "them to p(y | x), a dashed one to log p(x).",
    label="fig-jem-idea",
)

# %% [markdown]
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $B$, $D$, $K$ | size of a batch; pixels; classes | | |
# | $f(x)$ | logits; $f(x)[y]$ that of class $y$ | $(B, K)$ | `logits` |
# | $E(x, y)$, $E(x)$ | energies $-f(x)[y]$ and $-\log \sum_y e^{f(x)[y]}$ | $(B)$ | `energy` |
# | $Z$ | $\sum_{x, y} e^{f(x)[y]}$, or an integral over $x$ | | |
# | $\alpha$, $\varepsilon$, $\xi$ | step and noise of a walk; a standard normal draw | | `step`, `noise` |
# | $T$; $\tau$ | temperature of a walk in $x$; that of $p(y \mid x)$ | | `temperature`; `tau` |
# | $\lambda$ | weight of the generative term | | `weight` |
# | $\epsilon$ | largest change of a pixel by an attack, in $[0, 1]$ | | `epsilon` |
# | $\ell$ | largest size of each entry of the gradient | | `limit` |
# | $g$ | gradient of $\log p$ at $x$ | as $x$ | `slope` is $-g$ |
# | $N$ | moves with one gradient of the later layers | | |
# | $m_k$, $C_k$, $\rho$ | mean and covariance of class $k$; what is added to each variance | $(D)$, $(D, D)$ | `means`, `roots`, `RIDGE` |
# | $\hat p_i$, $h_i$ | confidence $\max_y p(y \mid x_i)$; 1 if that answer is right | $(n)$ | `confidence`, `right` |
# | $J$; $n_b$, $v_b$ | number of bins; answers in bin $b$, and their mean $\hat p (1 - \hat p)$ | | |

# %% [markdown]
# (sec-jem-joint)=
# ## The differences of logits classify, and their size is free
#
# :::{prf:theorem} Logits are a joint energy
# :label: thm-jem-joint
# Let $p(x, y) = e^{f(x)[y]} / Z$ with $Z = \sum_{x, y} e^{f(x)[y]}$ finite (over $[-1, 1]^D$ an integral over $x$, finite for continuous $f$). Then
#
# $$
# p(y \mid x) = \frac{e^{f(x)[y]}}{\sum_{y'} e^{f(x)[y']}}, \qquad p(x) = \frac 1Z \sum_y e^{f(x)[y]} .
# $$ (eq-jem-joint)
#
# If a function $c(x)$ is added to all logits, and the sum stays finite, then $p(y \mid x)$ stays as it is, and $p(x)$ is multiplied by $e^{c(x)}$ and normalised anew.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $p(x) = \sum_y p(x, y)$: the sum rule, which is the second formula.
# 2. $p(y \mid x) = p(x, y) / p(x)$, in which $Z$ cancels: the first, a softmax.
# 3. With $f + c$, numerator and denominator of the softmax gain the same factor $e^{c(x)}$.
# 4. The sum in $p(x)$ gains $e^{c(x)}$, because $c$ does not depend on $y$.
# :::
#
# So every classifier that ends in a softmax is already a density of images, up to the constant $Z$, with the energy
#
# $$
# E(x) = -\log \sum_y e^{f(x)[y]}, \qquad p(x) = e^{-E(x)} / Z .
# $$ (eq-jem-energy)
#
# The theorem leaves $c(x)$ free, and the cross-entropy does not ask for any.
# A network that shares its weights among images and logits fixes one all the same: a sure answer needs a large logit, and {ref}`below <sec-jem-strangers>` the size of a plain classifier already tells garments apart.
# Both laws read the same numbers:

# %%
show_source(JointEnergy.energy, JointEnergy.classify)

# %% [markdown]
# To check we take a world that can be enumerated, 64 words of six bits and four classes, and random networks.


# %%
def word_network(width=16, classes=4):
    """Random logits of words of six bits, in double precision."""
    layers = (torch.nn.Linear(6, width), torch.nn.Tanh())
    net = torch.nn.Sequential(*layers, torch.nn.Linear(width, classes))
    for p in net.parameters():
        torch.nn.init.normal_(p, std=0.8)
    return net.double()


torch.manual_seed(seed)
words = 2 * torch.cartesian_prod(*[torch.arange(2.0)] * 6).double() - 1
networks = [word_network() for _ in range(20)]

# %%
with torch.no_grad():
    f = torch.stack([net(words) for net in networks])  # (20, 64, 4)
    shift = torch.randn(20, 64, 1).double()  # c(x)
joint = (f + shift).flatten(1).softmax(1).view_as(f)
check("thm-jem-joint", about="conditional law", of="networks").equal(
    left=joint / joint.sum(2, keepdim=True),
    right=f.softmax(2),
    wrong={
        "a softmax over images": f.softmax(1),
        "the joint law itself": joint,
        "no exponential": f / f.sum(2, keepdim=True),
    },
)

# %%
log_p = f.logsumexp(2) + shift[..., 0]
check("thm-jem-joint", about="law of images", of="networks").equal(
    left=joint.sum(2),
    right=log_p.softmax(1),
    wrong={
        "c(x) changes nothing": f.logsumexp(2).softmax(1),
        "the largest logit alone": (f.amax(2) + shift[..., 0]).softmax(1),
        "the mean logit": (f.mean(2) + shift[..., 0]).softmax(1),
    },
)

# %% [markdown]
# A walk needs the slope of $\log p(x)$ in $x$.
#
# :::{prf:proposition} The slope is a posterior mean
# :label: prop-jem-slope
# Where $f$ is differentiable, $\nabla_x \log \sum_y e^{f(x)[y]} = \sum_y p(y \mid x)\, \nabla_x f(x)[y]$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\nabla \log S = \nabla S / S$ with $S = \sum_y e^{f(x)[y]}$: the chain rule.
# 2. $\nabla S = \sum_y e^{f(x)[y]}\, \nabla f(x)[y]$: the chain rule again, term by term.
# 3. $e^{f(x)[y]} / S = p(y \mid x)$ by {prf:ref}`thm-jem-joint`.
# :::
#
# Where the classifier is sure, a walk climbs that one logit; where it is torn, a mixture.


# %%
def slopes_of(net, x):
    """Slopes of each logit (64, 4, 6), and of log-sum-exp (64, 6)."""
    x = x.clone().requires_grad_()
    logits = net(x)
    each = [
        torch.autograd.grad(logits[:, k].sum(), x, retain_graph=True)[0]
        for k in range(logits.shape[1])
    ]
    (whole,) = torch.autograd.grad(logits.logsumexp(1).sum(), x)
    return torch.stack(each, 1), whole


each, whole = map(
    torch.stack, zip(*(slopes_of(net, words) for net in networks), strict=True)
)

# %%
top = F.one_hot(f.argmax(2), 4)[..., None]
check("prop-jem-slope", of="networks").equal(
    left=whole,
    right=(f.softmax(2)[..., None] * each).sum(2),
    how="autograd",
    wrong={
        "the mean over classes": each.mean(2),
        "the likeliest class alone": (top * each).sum(2),
        "the sum over classes": each.sum(2),
    },
)

# %% [markdown]
# (sec-jem-split)=
# ## The gradient splits: a classifier's and a generator's
#
# :::{prf:theorem} Two gradients
# :label: thm-jem-split
# Over finitely many $x$, with $f_\theta$ differentiable in $\theta$,
#
# $$
# \nabla_\theta \log p_\theta(x, y) = \underbrace{\nabla_\theta \log p_\theta(y \mid x)}_{\text{minus cross-entropy}} \; - \; \nabla_\theta E_\theta(x) + \mathbb E_{x' \sim p_\theta} \nabla_\theta E_\theta(x') .
# $$ (eq-jem-split)
#
# If the network can add any constant $c$ to all logits at one $x$, the first part does not see it: its derivative in $c$ is 0.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\log p(x, y) = \log p(y \mid x) + \log p(x)$: the product rule.
# 2. $\log p(x) = -E(x) - \log Z$, and $E(x) = -\log \sum_y e^{f(x)[y]}$, so that $Z = \sum_x e^{-E(x)}$.
# 3. Its gradient is data minus dreams, {prf:ref}`thm-energy-phases`.
# 4. $\log p(y \mid x)$ does not depend on $c$, {prf:ref}`thm-jem-joint`.
# :::
#
# (Over pixels the same holds where the derivative may be taken under the integral.)
# This is the homework's loss, cross-entropy plus $-\log p(x)$, whose gradient is estimated with samples:
#
# $$
# L(\theta) = -\log p_\theta(y \mid x) + \lambda \big(E_\theta(x) - E_\theta(x^-)\big),
# $$ (eq-jem-loss)
#
# with $x^-$, a *negative*, the end of a walk, held fixed. If $x^-$ were a draw of $p_\theta$, $\lambda = 1$ would give the gradient of $-\log p(x, y)$; ours is $\lambda = 0.3$, which weighs the two parts differently.
# One could also walk in $x$ and $y$ and estimate the gradient of $\log p(x, y)$ as a whole; the split is better because its first half is exact, and the noise of chains touches only the second {cite:p}`grathwohl2020your`.


# %%
def gradients(net, law):
    """Of E log p(x, y), of E log p(y | x), of E(x) in both phases."""
    parts = [*net.parameters()]

    def flat(value):
        found = torch.autograd.grad(value, parts, retain_graph=True)
        return torch.cat([g.flatten() for g in found])

    logits = net(words)
    log_joint = logits - logits.logsumexp((0, 1))
    energy = -logits.logsumexp(1)
    model = (-energy).softmax(0).detach()
    label = (law * logits.log_softmax(1)).sum()
    return torch.stack(
        [
            flat((law * log_joint).sum()), flat(label),
            flat(law.sum(1) @ energy), flat(model @ energy),
        ]
    )  # fmt: skip


# %%
torch.manual_seed(seed)
laws = torch.randn(20, 256).double().mul(2).softmax(1).view(20, 64, 4)
found = [gradients(*pair) for pair in zip(networks, laws, strict=True)]
exact, label, data, dreams = torch.stack(found, 1)
check("thm-jem-split", of="networks and laws").equal(
    left=exact,
    right=label - data + dreams,
    how="autograd",
    wrong={
        "the classifier's part alone": label,
        "no dreams": label - data,
        "dreams pushed the wrong way": label - data - dreams,
        "the generator's part alone": dreams - data,
    },
)

# %% [markdown]
# In code the two parts share one pass of the network over data and negatives.
# The published programs draw a second batch of data for the labels; ours uses the same.
# Their two safeguards are kept: data get a little noise, and a training that runs away is stopped.
# JEM's program stops at a loss of $10^8$. Ours stops much earlier, and remembers the step: at a mean gap of 100 nats between data and negatives, or at a batch whose mean cross-entropy is above $\log 10$, that of a guess.

# %%
show_source(joint_energy_loss)

# %% [markdown]
# (sec-jem-proximal)=
# ## JEM++ takes a bounded move
#
# JEM walks by $x + \alpha g + \varepsilon\, \xi$ with $\alpha = 1$ and $\varepsilon = 0.01$, where $g = \nabla \log p(x)$.
# By {prf:ref}`prop-energy-temperature` such a walk belongs to the temperature $T = \varepsilon^2 / (2 \alpha) = 5 \cdot 10^{-5}$, while the same logits are read at temperature 1 for $p(y \mid x)$. (The proposition is for small steps without borders; here pixels are clipped.)
# Cooling $p(x)$ is not cooling $p(x, y)$, though: $(\sum_y e^{f(x)[y]})^{1/T}$ is one law of images, $\sum_y e^{f(x)[y]/T}$ another. With the class held, $E(x, y) / T$ is unambiguous.
#
# Nothing bounds the move: where the slope is steep, the chain leaps. Our JEM runs away with a bound as well, {ref}`as trainings show <sec-jem-stability>`.
# JEM++ drops the noise, so that $T = 0$, and cuts each entry of $g$ to $[-\ell, \ell]$.
# What is computed then has a name: a step of projected ascent, $x + \alpha g$, projected to the box of allowed points.
#
# :::{prf:theorem} The cut move is a proximal step
# :label: thm-jem-proximal
# Let $x \in [-1, 1]^D$, $\alpha, \ell > 0$. Among all $u \in [-1, 1]^D$ with $\lVert u - x \rVert_\infty \le \alpha \ell$ exactly one maximises
#
# $$
# \langle g, u - x \rangle - \frac1{2 \alpha} \lVert u - x \rVert_2^2 ,
# $$ (eq-jem-proximal)
#
# namely $u = \mathrm{clip}\big(x + \alpha\, \mathrm{clip}(g, -\ell, \ell),\, -1, 1\big)$, entry by entry. So $t$ moves end within $t \alpha \ell$ of their start in every pixel, whatever the network is.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The objective is a sum over entries, and the constraints are intervals, one for each: entries may be treated alone.
# 2. One entry is $g d - d^2 / (2 \alpha)$ with $d = u - x$: a concave parabola with its top at $d = \alpha g$.
# 3. On an interval a concave parabola is largest at the point nearest to its top. The interval of $d$ is $[-\alpha \ell, \alpha \ell]$ cut with $[-1 - x, 1 - x]$; both contain 0.
# 4. The nearest point of the first is $\mathrm{clip}(\alpha g, -\alpha \ell, \alpha \ell) = \alpha\, \mathrm{clip}(g, -\ell, \ell)$.
# 5. For two intervals that overlap, projecting to the first and then to the second is projecting to their intersection. Add $x$.
# 6. $\lvert d \rvert \le \alpha \ell$ each time, and the triangle inequality gives the bound of $t$ moves.
# :::
#
# Note what it is not.
# Without the quadratic term the best point would be $x + \alpha \ell\, \mathrm{sign}(g)$ (cut to the range), the move of an attacker ({ref}`below <sec-jem-attacks>`), which goes to the bound in every pixel however flat the energy is.
# And the cut is of entries, not of the length of $g$: in the Euclidean norm only $t \alpha \ell \sqrt D$ is promised.


# %%
def best_by_search(g, x, alpha, limit):
    """The maximiser of eq. (jem-proximal), entry by entry, by search."""
    found = []
    for slope, at in zip(g.tolist(), x.tolist(), strict=True):
        low, high = max(at - alpha * limit, -1), min(at + alpha * limit, 1)
        found.append(
            minimize_scalar(
                lambda u, a=at, s=slope: (u - a) ** 2 / (2 * alpha) - s * u,
                bounds=(low, high),
                options={"xatol": 1e-10},
            ).x
        )
    return torch.tensor(found).double()


torch.manual_seed(seed)
g, x = torch.randn(200).double(), 2 * torch.rand(200).double() - 1
alpha, limit = 0.5, 0.8
walk = Walk(1, alpha, 0.0, limit=limit)

# %%
check("thm-jem-proximal", of="entries").equal(
    left=best_by_search(g, x, alpha, limit),
    right=next(walk_path(lambda x: -g, x, walk)),
    atol=1e-5,
    wrong={
        "the attacker's sign": (x + alpha * limit * g.sign()).clamp(-1, 1),
        "no border": x + alpha * g.clamp(-limit, limit),
        "the move cut to ℓ, not to αℓ": (
            x + (alpha * g).clamp(-limit, limit)
        ).clamp(-1, 1),
    },
)

# %%
torch.manual_seed(seed)
begun = 2 * torch.rand(8, 50, 6).double() - 1
landscapes = [word_network() for _ in range(8)]


@torch.enable_grad()
def falling(net, x):
    """The slope of E of a random network."""
    return -slopes_of(net, x)[1]


# %%
def reach(walk):
    """How far walks on eight random networks come, pixel by pixel."""
    ends = [
        [*walk_path(lambda x, net=net: falling(net, x), x, walk)][-1]
        for net, x in zip(landscapes, begun, strict=True)
    ]
    return (torch.stack(ends) - begun).abs()


# %%
moved = reach(Walk(3, 0.2, 0.0, limit=0.5))
allowed = torch.full_like(moved, 3 * 0.2 * 0.5)
length = moved.norm(dim=2, keepdim=True).expand_as(moved)
check("thm-jem-proximal", about="reach", of="walks").at_most(
    moved,
    allowed,
    rtol=1e-9,
    wrong={
        "the bound of one move": (moved, allowed / 3),
        "of the length, not of entries": (length, allowed),
        "without the cut": (reach(Walk(3, 0.2, 0.0, limit=1e9)), allowed),
    },
)

# %% [markdown]
# JEM++ counts its moves in an unusual way.
# After each pass through the network it makes $N$ moves, in which only the gradient of the *first layer* is computed anew, and that of the later layers is kept (the script of its program has ten passes with $N = 5$).
# In the authors' program the first layer is a convolution, which is affine:
#
# :::{prf:proposition} Inner moves through an affine layer are one longer move
# :label: prop-jem-inner
# If the first layer is $x \mapsto A x + b$, the gradient $q$ of the later layers is kept, and $x \in [-1, 1]^D$, then $N$ inner moves with step $\alpha$, each cut at $\ell$ and kept in $[-1, 1]^D$, are one move with step $N \alpha$, cut at $\ell$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The gradient in $x$ is $A^\top q$: it does not depend on $x$, so each inner move adds the same $d = \alpha\, \mathrm{clip}(A^\top q, -\ell, \ell)$.
# 2. Entry by entry, $\mathrm{clip}(\mathrm{clip}(x + d) + d) = \mathrm{clip}(x + 2 d)$: an entry moves in one direction, and once at the border it stays there.
# 3. By induction $N$ moves give $\mathrm{clip}(x + N d)$.
# :::
#
# So that setting, $N = 5$ moves of step 0.2 with $\ell = 1$, is a walk of ten moves of step 1, the step of JEM, and each of its moves may cross half of the range of a pixel.
# We check it with the inner loop as it is programmed, and then need no inner loop.


# %%
def inner_moves(A, q, x, N, alpha, limit):
    """The loop of JEM++ around its first layer."""
    for _ in range(N):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad((A(x) * q).sum(), x)
        x = (x + alpha * g.clamp(-limit, limit)).clamp(-1, 1)
    return x.detach()


torch.manual_seed(seed)
A = torch.nn.Conv2d(1, 4, 3, padding=1).double()
q, x = torch.randn(10, 4, 8, 8).double(), 2 * torch.rand(10, 1, 8, 8) - 1
x = x.double()
at = x.clone().requires_grad_()
(g,) = torch.autograd.grad((A(at) * q).sum(), at)

# %%
check("prop-jem-inner", of="images").equal(
    left=inner_moves(A, q, x, 5, 0.1, 0.5),
    right=(x + 0.5 * g.clamp(-0.5, 0.5)).clamp(-1, 1),
    how="autograd",
    wrong={
        "one short move": (x + 0.1 * g.clamp(-0.5, 0.5)).clamp(-1, 1),
        "the sum is cut": (x + 0.1 * (5 * g).clamp(-0.5, 0.5)).clamp(-1, 1),
        "a cut five times as wide": (x + 0.5 * g.clamp(-2.5, 2.5)).clamp(
            -1, 1
        ),
    },
)

# %% [markdown]
# (sec-jem-start)=
# ## Chains start where the classes are
#
# The second change is where a chain begins anew.
# JEM takes uniform noise, from which a digit is far; JEM++ takes a Gaussian mixture, one component for each class, with the class's mean and covariance.
# (The homework sets this against "noise and a replay buffer". The buffer stays in JEM++; what changes is what fills it at first and replaces 5 % of its chains.)
#
# :::{prf:proposition} What the start knows
# :label: prop-jem-start
# Let class $k$ of $K$ have $n_k \ge 1$ images with mean $m_k$ and covariance $C_k$ (divided by $n_k$), $\rho > 0$, and $L_k L_k^\top = C_k + \rho I$.
#
# 1. $C_k$ is singular exactly if some non-zero combination of pixels is constant on the class, in particular whenever $n_k \le D$; $C_k + \rho I$ never is, so that $L_k$ exists.
# 2. $m_k + L_k \xi$ with $\xi \sim \mathcal N(0, I)$ has the mean $m_k$ and the covariance $C_k + \rho I$.
# 3. The mixture with equal shares has the mean $m = \frac1K \sum_k m_k$ and the covariance $\rho I + \frac1K \sum_k \big(C_k + (m_k - m)(m_k - m)^\top\big)$. If all classes are of one size, that is the covariance of all images, plus $\rho I$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $a^\top C_k a$ is the variance of $a^\top x$ on the class, so it is 0 exactly if $a^\top x$ is constant (deviations of $n_k$ images from their mean span at most $n_k - 1$ dimensions); $a^\top (C_k + \rho I) a \ge \rho \lVert a \rVert^2 > 0$ for $a \ne 0$, and a positive definite matrix has a Cholesky factor.
# 2. $\mathbb E\, \xi = 0$, and $\mathbb E\, L_k \xi \xi^\top L_k^\top = L_k L_k^\top$.
# 3. The mean of a mixture is the mean of the means. The law of total covariance adds the mean of the covariances to the covariance of the means. With classes of one size the same law, for the empirical distribution, gives the covariance of all images.
# :::
#
# Pixels need $\rho$: in the corner of a digit nothing ever changes.
# The program takes $\rho = 10^{-4}$, noise of 0.01, and cuts draws to $[-1, 1]$, after which the moments are only nearly these.

# %%
show_source(ClassGaussians.fit, ClassGaussians.sample)


# %%
def parted(x, y, classes):
    """Mean and covariance of the mixture, from moments of classes."""
    means = torch.stack([x[y == k].mean(0) for k in range(classes)])
    within = torch.stack(
        [torch.cov(x[y == k].T, correction=0) for k in range(classes)]
    )
    return means, within.mean(0), torch.cov(means.T, correction=0)


torch.manual_seed(seed)
y = torch.arange(4).repeat(25)
sets = [
    (
        torch.randn(100, 5) * torch.rand(5) + y[:, None] * torch.randn(5)
    ).double()
    for _ in range(20)
]
parts = [parted(x, y, 4) for x in sets]
inside, between = (torch.stack([p[i] for p in parts]) for i in (1, 2))

# %%
check("prop-jem-start", about="covariances", of="data sets").equal(
    left=torch.stack([torch.cov(x.T, correction=0) for x in sets]),
    right=inside + between,
    wrong={
        "one component, the mean class": inside,
        "the means alone": between,
        "divided by n - 1": (inside + between) * 100 / 99,
    },
)

# %%
torch.manual_seed(seed)
small = 0.05 * sets[0].float()
cloud = ClassGaussians(lambda: (small, y), (5,), 4)
draws = cloud.sample(torch.arange(4).repeat(20_000)).double()
m, within, means_cov = parted(small.double(), y, 4)
centred = draws - m.mean(0)
total = within + means_cov + RIDGE * torch.eye(5).double()
L = torch.linalg.cholesky(total)
check(
    "prop-jem-start", about="draws", kind="statistical", of="draws"
).unbiased(
    centred[:, :, None] * centred[:, None, :],
    total,
    wrong={
        "one component, the mean class": within,
        "the factor transposed": L.T @ L,
        "eleven times the ridge": total + 10 * RIDGE * torch.eye(5).double(),
    },
)

# %% [markdown]
# How far do the Gaussians help? Their draws, noise, and digits:

# %% tags=["hide-input"]
digits = load("mnist")
train_x, train_y = digits.seen_as("signed").examples("train", 10_000)
cloud = ClassGaussians(lambda: (train_x, train_y), (1, 28, 28))
torch.manual_seed(seed)
ten = torch.arange(10)
firsts = [(train_y == k).nonzero()[0, 0].item() for k in range(10)]
show(
    image_rows(
        {
            "noise": torch.rand(10, 1, 28, 28),
            "class Gaussian": unsigned(cloud.sample(ten)),
            "its mean": unsigned(cloud.means.view(-1, 1, 28, 28)),
            "digit": unsigned(train_x[firsts]),
        },
        titles=[str(k) for k in range(10)],
    ),
    "Where a chain may begin: noise, a draw of the class's Gaussian, and its "
    "mean; below, a digit. The Gaussian knows where ink is and how it varies "
    "together, and nothing of strokes.",
    alt="Rows of noise, of blurred and speckled digits, of smooth mean "
    "digits, and of digits.",
    label="fig-jem-start",
)

# %% [markdown]
# (sec-jem-runs)=
# ## The start decides, not the bound: two changes, four trainings
#
# All begin at the same classifier: four convolutions with smooth activations and no normalisation, 43,000 weights, trained for 15 epochs on all 60,000 digits, each moved by up to two pixels. So our seeds share their weights at the start, and show less spread than independent trainings would.
# Then each goes on with both losses, four times over 10,000 digits:
#
# | | JEM | JEM++ |
# | :-- | :-- | :-- |
# | chains begin anew in | uniform noise | class Gaussians |
# | moves in a visit | 20, step 1, noise 0.01, no bound | 5, step 1, no noise, $\ell = 0.1$ |
# | passes of the network in a visit | 20 | 5 |
#
# By {prf:ref}`prop-jem-inner` the published 50 inner steps are ten moves; ours are five, a quarter of JEM's passes.
# Five moves bounded by 0.1 change a pixel by at most 0.5 in a visit: from black to white takes four visits.
# We leave out batch normalisation, which JEM++ also adds.
# The generative term has the weight 0.3 (the papers: 1), the buffer 2,000 slots (10,000), 5 % begin anew; Adam's rate is at most 0.0003, reached after a warm-up of 16 steps (JEM: 0.0001, and 1,000 steps in the command of its README).
# This was settled before a test digit was looked at, after four short trials of JEM++ with the weights 0.1 and 1, judged on 10,000 training digits that their classifier had not seen. Plain JEM was not tuned.
# What was added after the tests is marked so.

# %%
seeds = range(1 if subset else 3)  # a short trial trains the corners alone
start = train(joint_classifier, epochs, seed, subset)
plus = [train(jem, epochs, seed + k, subset) for k in seeds]
plain = {"gaussians": False, "proximal": False}
jems = [train(jem, epochs, seed + k, subset, **plain) for k in seeds]
mixed = {
    ("Gaussians", "free"): {"proximal": False},
    ("noise", "bounded"): {"gaussians": False},
}
if subset:
    mixed = {}

# %%
table = {("noise", "free"): jems[0]}
for cell, choices in mixed.items():
    table[cell] = train(jem, epochs, seed, subset, **choices)
table["Gaussians", "bounded"] = plus[0]
# %%
by_weight = {
    weight: train(jem, epochs, seed, subset, weight=weight)
    for weight in ((0.0,) if subset else (0.0, 0.01, 0.03, 0.1))
}
bare, by_weight[0.3] = by_weight[0.0], plus[0]
extra = {
    "noise, bounded, 20 moves": {"gaussians": False, "moves": 20},
    "noise, free, a third of the rate": plain | {"rate": 1e-4},
    "Gaussians, 5 moves, no bound": {"limit": 1e9},
}
extra = {} if subset else extra
later = {k: train(jem, epochs, seed, **each) for k, each in extra.items()}

# %% [markdown]
# `bare` is the baseline: the same network goes on over the same digits for as long, as a plain classifier. (The weights between, and the trainings in `later`, were added after the tests; we come to them.)
# A training counts as *diverged* at the first step at which the mean energies of data and negatives differ by more than 100 nats, or the mean cross-entropy of a batch is above $\log 10$, that of a guess. (The second half was added after a trial in which accuracy fell by a fifth while the gap stayed small.) There it stops: from then on no weight, no chain and no slot of the buffer moves. The rule is ours, and strict: JEM's program would have gone on.


# %% tags=["hide-input"]
def rested(run):
    """The step at which a training diverged, or None."""
    step = int(run.metrics["diverged at step"]["value"])
    return None if step < 0 else step


# %% tags=["hide-input"]
def at_stop(run):
    """The terms of the step at which a training diverged, or none."""
    start = "jem/diverged, "
    return {
        key.removeprefix(start): value
        for row in run.history
        for key, value in row.items()
        if key.startswith(start)
    }


def row_of(cell, run):
    """One training in one line."""
    gaps = [row["jem/gap"] for row in run.history if "jem/gap" in row]
    found = {"start": cell[0], "moves": cell[1]}
    found["accuracy, %"] = run.metrics["accuracy"]
    found["cross-entropy"] = run.metrics["cross-entropy"]
    gaps = [f"{gap:.1f}" for gap in gaps] + ["–"] * (
        len(run.history) - len(gaps)
    )
    found["mean gap by epoch"] = ", ".join(gaps)
    for what in ("starts", "short walks", "memory"):
        found[f"Fréchet, {what}"] = run.metrics[f"frechet, {what}"]
    found["diverged at step"] = "no" if rested(run) is None else rested(run)
    return found


# %% tags=["hide-input"]
results_table(
    [row_of(*entry) for entry in table.items()], percent=["accuracy, %"]
)

# %% tags=["hide-input"]
real = digits.seen_as("unit").examples("test", subset or 10_000)
frechet = Frechet(real[0], extractor_of("mnist").model)
others = digits.seen_as("unit").examples("train", 4_000)
floor = frechet.floor(*others, 1000, draws=3)
memory_of = {
    cell: run.metrics["frechet, memory"]["value"]
    for cell, run in table.items()
}
best = min(memory_of, key=memory_of.get)
Markdown(
    "One seed for each cell. The gap is the mean energy of negatives less "
    "that of data in training, up to the stop; at 0 the mean energies "
    "agree. Starts are 1,000 fresh ones, short walks one visit from them, "
    "memory the slots of the buffer that were visited most. Fréchet distances "
    "are squared, on the features of the book's own digit classifier, of "
    f"1,000 images to {len(real[0]):,} test digits; 1,000 training digits have "
    f"{floor.value:.1f}. The memory comes nearest to digits with {best[0]} "
    f"and {best[1]} moves, {memory_of[best]:.0f}."
)

# %% tags=["hide-input"]
shown = {"JEM++": plus[0], "JEM": jems[0], "baseline": bare}
eras = [0, *(row["epoch"] for row in bare.history)]


def over_epochs(key):
    """A test number from the start on, of the three models."""
    first = start.history[-1][key]
    return {
        name: (eras, [first, *(row[key] for row in run.history)])
        for name, run in shown.items()
    }


# %% tags=["hide-input"]
show(
    figures.curves(
        {
            name: (x, [100 * v for v in values])
            for name, (x, values) in over_epochs("test/accuracy").items()
        },
        "epoch",
        "test accuracy, %",
    ),
    "Test accuracy while the classifier learns to be an energy as well; "
    "epoch 0 is the classifier that all begin with.",
    alt="Three curves over epochs that begin at one point.",
    label="fig-jem-accuracy",
)

# %% tags=["hide-input"]
show(
    figures.curves(
        over_epochs("test/cross-entropy"), "epoch", "test cross-entropy, nats"
    ),
    "The other half of the loss on test digits, for the same trainings.",
    alt="Three curves over epochs that begin at one point.",
    label="fig-jem-loss",
)

# %% tags=["hide-input"]
sheets = {}
for (begin, moves), run in table.items():
    kept = run.snapshots[max(run.snapshots)].float() / 255
    sheets[f"{begin}, {moves}"] = kept[20:30]
show(
    image_rows(sheets),
    "What the four buffers have kept longest at the end (of a diverged "
    "training: as they were when it stopped).",
    alt="Four rows of ten images.",
    label="fig-jem-table",
)

# %% tags=["hide-input"]
passes = {
    "JEM++": plus[0],
    "Gaussians, free": table.get(("Gaussians", "free")),
}
phases = {
    f"{name}, E of {side}": (
        eras[1:],
        [row[f"jem/E of {side}"] for row in run.history],
    )
    for name, run in passes.items()
    if run is not None and rested(run) is None
    for side in ("data", "negatives")
}
show(
    figures.curves(phases, "epoch", "mean E(x), nats"),
    "The two sides of the generative term, mean over each epoch of training. "
    "Trainings that diverged within the first epoch have no such curve.",
    alt="Curves of mean energies of data and of negatives over epochs.",
    label="fig-jem-phases",
)

# %% [markdown]
# (sec-jem-stability)=
# ## Trainings from noise run away, with either move

# %% tags=["hide-input"]
named_runs = {f"JEM, seed {run.config['seed']}": run for run in jems}
named_runs |= {f"JEM++, seed {run.config['seed']}": run for run in plus}
named_runs |= {f"{a}, {b}": table[a, b] for a, b in mixed} | later


def stop_of(name, run):
    """How a training ended, in one line."""
    found = at_stop(run)
    row = {"training": name, "diverged at step": "no"}
    if found:
        row["diverged at step"] = rested(run)
        by_gap = abs(found["gap"]) >= RUNAWAY
        row["by"] = "gap" if by_gap else "cross-entropy of a batch"
        row["mean gap of epoch 1"] = f"{run.history[0]['jem/gap']:.1f}"
        for key in ("cross_entropy", "E of data", "E of negatives"):
            row[f"{key.replace('_', '-')} there"] = f"{found[key]:.1f}"
    row["accuracy, %"] = run.metrics["accuracy"]
    row["Fréchet, memory"] = run.metrics["frechet, memory"]
    return row


ends = [stop_of(*entry) for entry in named_runs.items()]
columns = list(dict.fromkeys(key for row in ends for key in row))
ends = [{key: row.get(key, "–") for key in columns} for row in ends]
results_table(ends, percent=["accuracy, %"])

# %% tags=["hide-input"]
ran_away = {
    name: sum(rested(run) is not None for run in runs)
    for name, runs in (("JEM", jems), ("JEM++", plus))
}
steps = len(plus[0].history) * max(1, (subset or 10_000) // 64)
gone = {cell for cell, run in table.items() if rested(run) is not None}
by_start = gone == {("noise", "free"), ("noise", "bounded")}
Markdown(
    f"Of {len(jems)} trainings each, of {steps} steps, {ran_away['JEM']} of "
    f"JEM and {ran_away['JEM++']} of JEM++ diverged by this criterion. "
    + (
        "Three seeds are few: with none of three, a chance of divergence of "
        f"up to {1 - 0.05 ** (1 / 3):.0%} would still go unseen with "
        "probability 5 %. "
        if len(jems) == 3 and 0 in ran_away.values()
        else ""
    )
    + (
        "Of the four cells both that start in noise diverged, with either "
        "move, and none that starts in Gaussians: here the start decides, "
        "not the bound."
        if by_start
        else f"Of the {len(table)} cells {len(gone)} diverged."
    )
)

# %% [markdown]
# Two cautions. The rule is strict: it stops at one batch, where the papers' program would have gone on, and whether those trainings would have recovered we did not try.
# And plain JEM was not tuned; its last row, with a third of the rate (that of its authors' program), was added after the tests and has the same short warm-up.
#
# How steep are the networks, and how often does the bound act at all?

# %% tags=["hide-input"]
bound = plus[0].model.walk.limit
torch.manual_seed(seed)
places = {
    "noise": torch.rand(100, 1, 28, 28),
    "Gaussian starts": unsigned(cloud.sample(torch.arange(100) % 10)),
    "digits": real[0][:100],
}


def slopes_at(run, x):
    """Sizes of the entries of the slope of E, image by image."""
    return run.model.slope(2 * x - 1).abs().flatten(1).double()


def kept_at(run, snapshot):
    """The 20 slots of the buffer that were visited most."""
    return run.snapshots[snapshot][20:40].float() / 255


# %% tags=["hide-input"]
rows = []
steep = {"classifier": start, "JEM": jems[0], "JEM++": plus[0]}
steep |= {k: run for k, run in later.items() if "no bound" in k}
for name, run in steep.items():
    row = {"model": name}
    for place, x in places.items():
        found = slopes_at(run, x)
        row[f"median, {place}"] = f"{found.median():.3f}"
        row[f"above ℓ, {place}, %"] = mean_of((found > bound).double().mean(1))
    row["above ℓ, memory, %"] = "–"
    if run is not start:
        old = slopes_at(run, kept_at(run, max(run.snapshots)))
        row["above ℓ, memory, %"] = mean_of((old > bound).double().mean(1))
    rows.append(row)
results_table(rows, percent=[k for k in rows[0] if k.endswith("%")])

# %% tags=["hide-input"]
far = slopes_at(jems[0], places["noise"]).median().item()
cut = [row["above ℓ, Gaussian starts, %"].value for row in rows]
text = (
    "Sizes of the entries of the slope, and the share of them that the bound "
    f"ℓ = {bound:g} would cut, at the end of each training (of JEM: at its "
    "stop; its own walk has no bound). At Gaussian starts the bound would "
    f"cut {cut[0]:.0%} in the first row, with which all begin, and "
    f"{cut[2]:.1%} in that of JEM++. "
    "With the median slope of JEM near noise 20 moves of step "
    f"1 go {20 * far:.2f}, of a range of 2. "
)
if by_start:
    till = ", ".join(f"{run.history[0]['jem/gap']:+.0f}" for run in jems)
    last = ", ".join(f"{at_stop(run)['gap']:+.0f}" for run in jems)
    text += (
        f"The mean gaps of JEM up to the stop are {till} nats, at the stop "
        f"{last}: at first its chains end below the data, at last above "
        "them, where lowering the energy of data always pays and nothing "
        "limits it. "
    )
if by_start:
    text += (
        "What turns the gap we do not know. The slope near noise has become "
        "flatter than that of the first row, so that new chains get less far; "
        "but the buffers show strokes by then. "
    )
# %% tags=["hide-input"]
if "Gaussians, 5 moves, no bound" in later:
    free = later["Gaussians, 5 moves, no bound"]
    text += (
        "Five moves from Gaussians without any bound have an accuracy of "
        f"{100 * free.metrics['accuracy']['value']:.2f} % and a memory at "
        f"{free.metrics['frechet, memory']['value']:.0f} (JEM++, the same "
        f"seed: {100 * plus[0].metrics['accuracy']['value']:.2f} % and "
        f"{plus[0].metrics['frechet, memory']['value']:.0f}), and "
        f"{'did not diverge' if rested(free) is None else 'diverged'}. "
        "This pair differs in the bound alone, the columns of the table of "
        "four also in noise and in the number of moves."
    )
Markdown(text)

# %% [markdown]
# That free walks from noise soon find energies below those of digits is seen in {ref}`an exercise <ex-jem-gaussians>`.
# In {ref}`the plane <sec-energy-plane>` dreams overshot. Here the table shows something else: free walks from noise end on average below the data, until at the stop they are above; bounded ones of five moves are above already on average.

# %% [markdown]
# (sec-jem-calibration)=
# ## The classifier's calibration error is all bias, that of JEM++ is not
#
# A classifier is *calibrated* if answers given with confidence $\hat p$ are right in a share $\hat p$ of the cases.
# The *expected calibration error* {cite:p}`guo2017calibration` sorts answers into bins, here 20 of equal width as in JEM's paper, and takes
#
# $$
# \mathrm{ECE} = \sum_b \frac{n_b}{n} \Big\lvert \frac1{n_b} \sum_{i \in b} h_i - \frac1{n_b} \sum_{i \in b} \hat p_i \Big\rvert .
# $$ (eq-jem-ece)
#
# An absolute value of noise is not zero on average. So even a perfect classifier gets a bill:
#
# :::{prf:theorem} The binning bias
# :label: thm-jem-ece
# Let the $h_i$ be independent given the confidences, with $P(h_i = 1) = \hat p_i$ (perfect calibration), and let $J$ bins hold answers, of them $n_b$ in bin $b$ with the mean $v_b$ of $\hat p_i (1 - \hat p_i)$. Then, given the confidences,
#
# $$
# 0 \le \mathbb E\, \mathrm{ECE} \le \frac1n \sum_b \sqrt{n_b v_b} \le \frac12 \sqrt{\frac Jn},
# $$ (eq-jem-bias)
#
# and $\mathbb E\, \mathrm{ECE}$ is 0 only if all $\hat p_i$ are 0 or 1. If all confidences are one $p \in (0, 1)$, then $\sqrt n\; \mathbb E\, \mathrm{ECE} \to \sqrt{2 p (1 - p) / \pi}$: the bias falls like $n^{-1/2}$.
# :::
#
# :::{prf:proof}
# Let $S_b = \sum_{i \in b} (h_i - \hat p_i)$, so that $\mathrm{ECE} = \frac1n \sum_b \lvert S_b \rvert$.
#
# 1. $\mathbb E\, S_b = 0$, and by independence $\mathbb E\, S_b^2 = \sum_{i \in b} \hat p_i (1 - \hat p_i) = n_b v_b$.
# 2. $\mathbb E \lvert S_b \rvert \le \sqrt{\mathbb E\, S_b^2}$ by Jensen's inequality: the second bound.
# 3. $v_b \le \frac14$, and $\sum_b \sqrt{n_b} \le \sqrt{J \sum_b n_b} = \sqrt{J n}$ by Cauchy and Schwarz: the third.
# 4. $\mathbb E \lvert S_b \rvert = 0$ means $S_b = 0$ surely, which needs variance 0.
# 5. With one confidence there is one bin, and $S / \sqrt{n p (1 - p)}$ tends to a standard normal, whose mean size is $\sqrt{2 / \pi}$; the sizes converge in mean because their squares have bounded means.
# :::
#
# The true error is 0 here, so all of it is bias. It comes from the finite $n$, also with a single bin; more bins multiply it.
# Bins err in the other direction too: answers that are too sure and others that are too modest cancel within one.
# For one confidence the mean is a sum over a binomial law, without any drawing:


# %%
def exact_bias(n, p):
    """Mean |S| / n of n answers of confidence p, by summing."""
    k = torch.arange(n + 1).double()
    law = torch.tensor(binom.pmf(k.numpy(), n, p))
    return (law * (k - n * p).abs()).sum() / n


ns = torch.tensor([250, 500, 1000, 2000, 4000])
ps = (0.5, 0.7, 0.9, 0.97)
bias = torch.tensor([[exact_bias(int(n), p) for n in ns] for p in ps])
spread = torch.tensor([p * (1 - p) for p in ps])[:, None]
root, fast = (spread / ns).sqrt().flatten(), (spread / ns).flatten()

# %%
check("thm-jem-ece", about="bound", of="numbers and confidences").at_most(
    bias.flatten(),
    root,
    rtol=1e-6,
    how="grid",
    wrong={
        "unbiased": (bias.flatten(), 0 * root),
        "falls like 1/n": (bias.flatten(), fast),
        "two thirds of the bound": (bias.flatten(), 2 / 3 * root),
    },
)

# %%
check("thm-jem-ece", about="rate", of="numbers").order(
    1 / ns.double(),
    bias[2],
    expected=0.5,
    wrong={
        "like 1/n": 1,
        "not at all": 0,
        "its square": bias[2] ** 2,
    },
)

# %% [markdown]
# With unequal confidences we draw outcomes, 300 times for each of ten sets of answers, with `reliability`, the same function that measures our models:

# %%
torch.manual_seed(seed)
sets = [torch.rand(n).pow(1 / 6) for n in range(200, 2200, 200)]
drawn = torch.stack(
    [reliability(p, torch.bernoulli(p.expand(300, -1))).error for p in sets]
)
upper = drawn.mean(1) + 4 * drawn.std(1) / 300**0.5  # the mean is a draw, too


def ceiling(p, bins=20):
    """The second bound of eq. (jem-bias)."""
    place = (p * bins).ceil().clamp(1, bins)
    held = [p[place == b].double() for b in place.unique()]
    return sum((q * (1 - q)).sum().sqrt() for q in held) / len(p)


# %%
limits = torch.stack([ceiling(p) for p in sets])
check("thm-jem-ece", about="many bins", of="sets of answers").at_most(
    upper,
    limits,
    how="random instances",
    rtol=1e-6,
    wrong={
        "unbiased": (upper, 0 * limits),
        "one bin's bound": (
            upper,
            torch.stack([ceiling(p, 1) for p in sets]),
        ),
        "0.7 of the bound": (upper, 0.7 * limits),
    },
)

# %% [markdown]
# Now the models, on 10,000 test digits.
# The generative term pulls on the size of logits, so it changes the confidence of a classifier without asking it.
# The usual repair, *temperature scaling*, is one number: divide the logits by a temperature $\tau$ that makes the cross-entropy least on held-out images {cite:p}`guo2017calibration`. All training digits were seen by the classifier with which every training began; so we fit $\tau$ on one half of the test digits and apply it to the other, both ways (added after the tests).
# No answer changes. The row JEM is the network at its stop.

# %% tags=["hide-input"]
x_test, y_test = real
models = {"classifier": start, "baseline": bare, "JEM": jems[0]}
models["JEM++"] = plus[0]
logits = {name: logits_of(run.model, x_test) for name, run in models.items()}
sure = {name: f.softmax(1).max(1) for name, f in logits.items()}


def temperature_of(f, y):
    """The temperature of least cross-entropy of some logits."""
    found = minimize_scalar(
        lambda s: F.cross_entropy(f / math.exp(s), y).item(), bounds=(-3, 3)
    )
    return math.exp(found.x)


def cooled(f):
    """Logits of each half over the temperature of the other; both of them."""
    n = len(f) // 2
    first = temperature_of(f[:n], y_test[:n])
    second = temperature_of(f[n:], y_test[n:])
    return torch.cat([f[:n] / second, f[n:] / first]), (first, second)


# %% tags=["hide-input"]
rows, taus = [], {}
for name, (p, answer) in sure.items():
    right = answer == y_test
    f, taus[name] = cooled(logits[name])
    at_tau = f.softmax(1).amax(1)
    row = {"model": name, "accuracy, %": mean_of(right.double())}
    row["mean confidence, %"] = mean_of(p)
    row["ECE, %"] = calibration_error(p, right)
    row["bias, if perfect, %"] = binning_bias(p)
    row["τ"] = " and ".join(f"{tau:.2f}" for tau in taus[name])
    row["ECE at τ, %"] = calibration_error(at_tau, right)
    rows.append(row | {"bias at τ, %": binning_bias(at_tau)})
results_table(rows, percent=[k for k in rows[0] if k.endswith("%")])

# %% tags=["hide-input"]
diagram = {"perfect": ([0.3, 1.0], [0.3, 1.0])}
for name, (p, answer) in sure.items():
    at = reliability(p, answer == y_test)
    held = at.count >= 20
    size = (at.accuracy * (1 - at.accuracy) / at.count.clamp_min(1)).sqrt()
    if held.any():
        line = at.confidence[held], at.accuracy[held], size[held]
        diagram[name] = line
show(
    figures.curves(diagram, "confidence", "share of right answers"),
    "Reliability: in each bin of 20 answers or more, how often they were "
    "right, ± one standard error. Below the diagonal a model is too sure, "
    "above it too modest.",
    alt="Curves of right answers against confidence, beside the diagonal.",
    label="fig-jem-reliability",
)

# %% tags=["hide-input"]
named = {row["model"]: row for row in rows}
wrong_by = {
    name: row["mean confidence, %"].value - row["accuracy, %"].value
    for name, row in named.items()
}


def verdict(row, error, bias):
    """Whether a measured error is more than its bias, in words."""
    size = math.hypot(row[error].error, row[bias].error)
    over = row[error].value - row[bias].value > 2 * size
    return "more than its bias" if over else "within its bias"


# %% tags=["hide-input"]
told = [
    f"{name}: {verdict(row, 'ECE, %', 'bias, if perfect, %')}, at τ "
    f"{verdict(row, 'ECE at τ, %', 'bias at τ, %')}"
    for name, row in named.items()
]
eces = [f"{100 * run.metrics['ece']['value']:.1f}" for run in plus]
Markdown(
    "The error beside what a perfect classifier with the same confidences "
    f"would be billed, two standard errors: {'; '.join(told)}. "
    "The mean confidence is above the accuracy by "
    + ", ".join(f"{100 * v:+.2f} % ({n})" for n, v in wrong_by.items())
    + f". ECE of JEM++ by seed: {', '.join(eces)} %."
)

# %% [markdown]
# JEM's paper reports better calibration, for classifiers that were too sure. Ours had nothing to repair, as the first row shows; the generative term at this weight made it too modest.

# %% [markdown]
# (sec-jem-strangers)=
# ## Strangers: at the weight 0.3 the size gains against garments, and loses against other digits
#
# Two signs of a stranger come for free: a low $\log p(x)$, which is the size, and a low $\max_y p(y \mid x)$, which is in the differences.
# The table has, for each sign, the area under its ROC curve: the share of pairs (digit, stranger) in which the stranger looks stranger; 0.5 is chance. There are 1,000 test digits and as many garments (Fashion-MNIST) or Persian digits.


# %% tags=["hide-input"]
def over_seeds(runs, key):
    """The mean of a number over trainings, with the error of that mean."""
    values = [run.metrics[key]["value"] for run in runs]
    return (
        mean_of(torch.tensor(values))
        if len(runs) > 1
        else runs[0].metrics[key]
    )


# %% tags=["hide-input"]
kinds, signs = ("garments", "persian digits"), ("E", "max p")
compared = {name: [run] for name, run in models.items()}
compared[f"JEM++, mean of {len(plus)}"] = plus
area = {
    (name, sign, kind): over_seeds(runs, f"auroc of {sign}, {kind}")
    for name, runs in compared.items()
    for sign in signs
    for kind in kinds
}
results_table(
    [
        {"model": name}
        | {
            f"{sign}, {kind}": area[name, sign, kind]
            for kind in kinds
            for sign in signs
        }
        for name in compared
    ]
)

# %% tags=["hide-input"]
garments = load("fashion-mnist").seen_as("unit").examples("test", 1000)[0]
edges = range(-26, 4)
heaps = {}
for name in ("classifier", "JEM++"):
    for what, x in (("digits", x_test[:1000]), ("garments", garments)):
        E = energy_of(logits_of(models[name].model, x))
        share = torch.histc(E, len(edges), edges[0], edges[-1] + 1) / len(E)
        heaps[f"{name}, {what}"] = ([k + 0.5 for k in edges], share)
show(
    figures.curves(heaps, "E(x), nats", "share of images"),
    "Energies of test digits and of garments, before and after. What counts "
    "is how little the two heaps of one model overlap.",
    alt="Four humps over an axis of energies.",
    label="fig-jem-energies",
)

# %% tags=["hide-input"]
ink = (x_test[:1000], garments)
greys = [((x > 0.1) & (x < 0.9)).double().mean((1, 2, 3)) for x in ink]
by_grey = (greys[1][:, None] > greys[0]).double().mean().item()
persian = load("persian").seen_as("unit").examples("test", 1000)[0]
pairs = {
    kind: [
        (
            r.metrics[f"auroc of E, {kind}"],
            r.metrics[f"auroc of max p, {kind}"],
        )
        for r in plus
    ]
    for kind in kinds
}


# %% tags=["hide-input"]
def counted(kind):
    """In how many seeds E is the better sign, or max p, beyond two errors."""
    ahead = [
        (e["value"] - p["value"]) / math.hypot(e["error"], p["error"])
        for e, p in pairs[kind]
    ]
    return sum(z > 2 for z in ahead), sum(z < -2 for z in ahead)


means = {
    (name, what): mean_of(energy_of(logits_of(models[name].model, x)).double())
    for name in ("classifier", "JEM++")
    for what, x in (("digits", ink[0]), ("Persian digits", persian))
}
# %% tags=["hide-input"]
Markdown(
    "Of the "
    f"{len(plus)} seeds of JEM++, E is the better sign than max p beyond two "
    f"standard errors in {counted('garments')[0]} against garments (max p in "
    f"{counted('garments')[1]}) and in {counted('persian digits')[0]} against "
    f"Persian digits (max p in {counted('persian digits')[1]}). "
    f"Garments are an easy stranger: the share of grey pixels alone has "
    f"{by_grey:.3f}. Persian digits are strokes on black as well; mean "
    "energies in nats: "
    + ", ".join(f"{what} {e} ({name})" for (name, what), e in means.items())
    + "."
)

# %% [markdown]
# (sec-jem-attacks)=
# ## Attacks: a few moves down the energy, and an attacker who knows
#
# An attack moves each pixel by at most $\epsilon$ (the range is 1) so that the answer changes; we take ten steps of projected gradient ascent {cite:p}`madry2018towards` on 300 test digits.
# JEM's paper walks a few moves from the image it is given before it classifies, back to where images are likely.
# Such a defence must be judged against an attacker who knows it {cite:p}`athalye2018obfuscated`: the "unaware" one attacks the logits, the "knowing" one the logits at the walk's end, whose slope is taken through the walk as if it did nothing.
# A plain classifier walks as JEM does, free and with noise; the baseline and JEM++ with the bound. Five moves may change a pixel by a quarter of the range, more than $\epsilon$.
# The diverged JEM is left out: its logits are so large that an attack finds no slope, and what it survives is no robustness.

# %% tags=["hide-input"]
rows = []
judged = {name: run for name, run in models.items() if rested(run) is None}
for name, run in judged.items():
    m = run.metrics
    for epsilon in ("0.1", "0.2"):
        row = {
            "model": name,
            "ε": epsilon,
            "no attack, walked, %": m["walked, 0"],
        }
        row["attacked, no walk, %"] = m[f"pgd, {epsilon}"]
        row["unaware, walked, %"] = m[f"pgd, walked, {epsilon}"]
        row["knowing, walked, %"] = m[f"pgd, known, {epsilon}"]
        rows.append(row)
results_table(rows, percent=[k for k in rows[0] if k.endswith("%")])

# %% [markdown]
# Where the knowing attacker does worse than the unaware one, the attack is at fault, and no defence has succeeded {cite:p}`athalye2018obfuscated`.
# Two things may be wrong with it: where a walk has made the answer certain, the cross-entropy has no slope left; and a walk is not the identity.
# A third attacker, added after the tests, goes up the *margin*, the best rival's logit less that of the right class, whose slope does not vanish. For each image we count the worst of the three.


# %% tags=["hide-input"]
def rivalry(classify, y):
    """Two small logits, of class y and of its best rival: no slope vanishes."""

    def two(x):
        f = classify(x)
        own = f.gather(1, y[:, None])
        rival = f.scatter(1, y[:, None], -math.inf).amax(1, keepdim=True)
        return torch.cat([own, rival], 1) / 1000

    return two


# %% tags=["hide-input"]
def survivors(model, epsilon=0.1):
    """Which of 150 answers are right, without and after a walk, by attack."""
    n = min(150, len(x_test))
    x, y, walking = x_test[:n], y_test[:n], refining(model)
    zero = torch.zeros_like(y)
    moved = {
        "unaware": pgd(model.classify, x, y, epsilon),
        "knowing": pgd(walking, x, y, epsilon),
        "margin": pgd(rivalry(walking, y), x, zero, epsilon),
    }
    bare = model.classify(moved["unaware"]).argmax(1) == y
    return {"no walk": bare.double()} | {
        how: (walking(at).argmax(1) == y).double() for how, at in moved.items()
    }


# %% tags=["hide-input"]
torch.manual_seed(seed)
rows = []
for name, run in judged.items():
    found = survivors(run.model)
    worst = torch.stack([found[k] for k in found if k != "no walk"]).amin(0)
    row = {"model": name, "no walk, %": mean_of(found["no walk"])}
    for how in ("unaware", "knowing", "margin"):
        row[f"{how}, %"] = mean_of(found[how])
    row["worst of three, %"] = mean_of(worst)
    row["walk, gain on unaware, %"] = mean_of(
        found["unaware"] - found["no walk"]
    )
    row["gain on the worst, %"] = mean_of(worst - found["no walk"])
    row["margin less knowing, %"] = mean_of(found["margin"] - found["knowing"])
    rows.append(row)
results_table(rows, percent=[k for k in rows[0] if k.endswith("%")])

# %% tags=["hide-input"]
gains = [row["margin less knowing, %"] for row in rows]
by_seed = ", ".join(
    f"{100 * r.metrics['pgd, 0.1']['value']:.0f}" for r in plus
)
Markdown(
    "ε = 0.1, 150 digits; gains are differences image by image, with their own errors. "
    "The worst of three is an upper bound on what a stronger attacker "
    "leaves: ours makes ten steps from one random start, JEM's program 40 "
    "from up to 20. Without a walk the seeds of JEM++ keep "
    f"{by_seed} % right, the baseline "
    f"{100 * bare.metrics['pgd, 0.1']['value']:.0f} %."
    + (
        " The margin attacker does no better than the knowing one: a "
        "vanishing slope alone does not explain its failure, and the walk "
        "taken as the identity is what is left. To differentiate through the "
        "walk we did not try."
        if all(gain.value >= -2 * gain.error for gain in gains)
        else " Some answers fall to the margin alone: there the slope of the "
        "cross-entropy had vanished."
    )
)

# %% [markdown]
# None of these models was trained against attacks. The digit networks of {cite:t}`madry2018towards`, which were, still answer most of MNIST rightly under an attack of $\epsilon = 0.3$.

# %% [markdown]
# (sec-jem-samples)=
# ## A sample of each class, by climbing its logit
#
# With $y$ held, a walk down $E(x, y) = -f(x)[y]$ climbs one logit.
# The chain starts at a draw of the class's Gaussian, and moves as JEM++ does in training (whose negatives walked $E(x)$, with no class held).

# %% tags=["hide-input"]
asked = torch.arange(30) % 10


def climbed(moves):
    """Three rows of ten images, one column a class, after some moves."""
    x = cloud.sample(asked)
    if moves:
        walk = replace(plus[0].model.walk, steps=moves)
        x = walked(plus[0].model, x, asked, walk)
    lines = unsigned(x)[:, 0].view(3, 10, 28, 28)
    return torch.cat([torch.cat([*line], 1) for line in lines])


# %% tags=["hide-input"]
stops, frames = (0, 1, 2, 5, 10, 20, 40), []
for moves in stops:
    torch.manual_seed(seed)
    frames.append(climbed(moves))
Explorable(
    frames,
    [str(k) for k in stops],
    "moves",
    alt="Three rows of ten images, one column a digit; speckled clouds at 0 "
    "moves, clearer strokes after some.",
    caption="Thirty walks from class Gaussians down E(x, y), one column for "
    "each digit. Training made five moves in a visit.",
    start=4,
    live=figures.Live(climbed, again=True),
)

# %% tags=["hide-input"]
torch.manual_seed(seed)
asked = torch.arange(100) % 10
x, rows = cloud.sample(asked), []
done = 0
for moves in (0, 5, 20, 60):
    if moves > done:
        walk = replace(plus[0].model.walk, steps=moves - done)
        x, done = walked(plus[0].model, x, asked, walk), moves
    row = {"moves": moves}
    said = plus[0].model.energy(x, asked) - plus[0].model.energy(x)
    row["p(y | x) of the model, %"] = mean_of((-said).exp().double().detach())
    row["read as asked by another, %"] = mean_of(
        (frechet.read(unsigned(x)) == asked).double()
    )
    row["Fréchet, of 100"] = frechet.distance(unsigned(x))
    rows.append(row)
results_table(rows, percent=[k for k in rows[0] if k.endswith("%")])

# %% tags=["hide-input"]
first, last = rows[0], rows[-1]
key = "read as asked by another, %"
Markdown(
    "The other reader is the book's extractor, a classifier that has seen "
    f"no sample. It reads {first[key].value:.0%} of the starts as asked, "
    f"and {last[key].value:.0%} after {last['moves']} moves, at which the "
    "model itself is "
    f"{last['p(y | x) of the model, %'].value:.0%} sure of the class. "
    + (
        "So the walk does not convince itself alone."
        if last[key].value - first[key].value
        > 3 * math.hypot(last[key].error, first[key].error)
        else "Beyond three standard errors nobody but itself is convinced."
    )
    + " Fréchet distances of 100 images have a bias of their own: compare "
    "them in this table only."
)

# %% [markdown]
# (sec-jem-copies)=
# ## No more stored samples lie near a training digit than chance allows

# %% tags=["hide-input"]
stored = plus[0].snapshots[max(plus[0].snapshots)][20:40].float() / 255
pixels = unsigned(train_x).flatten(1)
near, which = torch.cdist(stored.flatten(1), pixels).min(1)
usual, _ = torch.cdist(x_test[:200].flatten(1), pixels).min(1)
show(
    image_rows(
        {
            "stored": stored[:10],
            "nearest": pixels[which[:10]].view(-1, 1, 28, 28),
        }
    ),
    "What the buffer of JEM++ has kept longest, and the nearest of the "
    "10,000 training digits it was trained on.",
    alt="Two rows of ten digits.",
    label="fig-jem-copies",
)

# %% tags=["hide-input"]
Markdown(
    f"Median distance to the nearest training digit: {near.median():.1f} for "
    f"{len(near)} stored samples, {usual.median():.1f} for 200 test digits, "
    "which cannot be copies. A twentieth of the test digits are nearer than "
    f"{usual.quantile(0.05):.1f}; of the stored samples "
    f"{int((near < usual.quantile(0.05)).sum())} are, where {len(near) / 20:g} "
    "would be expected of test digits. (Walked images carry specks, which "
    "add to distances of pixels; this can hide a copy.)"
)

# %% [markdown]
# (sec-jem-price)=
# ## A tenth of the weight classifies better, tells garments apart better, and draws nothing
#
# The weight of the generative term sets the exchange rate. The rows between 0 and 0.3 were added after the tests; every row is one seed, so a best row is picked after looking, on the test digits.

# %% tags=["hide-input"]
rows = []
for weight, run in by_weight.items():
    m = run.metrics
    row = {"weight": f"{weight:g}", "accuracy, %": m["accuracy"]}
    row["ECE, %"] = m["ece"]
    row["area of E, garments"] = m["auroc of E, garments"]
    row["area of E, Persian digits"] = m["auroc of E, persian digits"]
    row["attacked, ε = 0.1, %"] = m["pgd, 0.1"]
    row["Fréchet, memory"] = m.get("frechet, memory")
    rows.append(row)
results_table(rows, percent=["accuracy, %", "ECE, %", "attacked, ε = 0.1, %"])

# %% tags=["hide-input"]
areas = {
    kind: [
        run.metrics[f"auroc of E, {kind}"]["value"]
        for run in by_weight.values()
    ]
    for kind in kinds
}
top, kin = (
    max(range(len(found)), key=found.__getitem__) for found in areas.values()
)
weights, begins = [*by_weight], plus[0].metrics["frechet, starts"]["value"]
kept = by_weight[weights[top]].metrics.get("frechet, memory", {}).get("value")
paid = bare.metrics["accuracy"]["value"] - plus[0].metrics["accuracy"]["value"]
# %% tags=["hide-input"]
Markdown(
    f"From the first row to the last the classifier pays {100 * paid:.1f} "
    "points of accuracy. In this table, picked after looking, garments are "
    f"told apart best with the weight {weights[top]:g} "
    f"({areas['garments'][top]:.3f}), Persian digits with {weights[kin]:g} "
    f"({areas['persian digits'][kin]:.3f}). "
    + (
        f"The memory of weight {weights[top]:g} is further from digits "
        f"({kept:.0f}) than where chains begin ({begins:.0f}): strangers and "
        "attacks do not need samples that look like digits. "
        if kept is not None and kept > begins
        else ""
    )
    + "A low density of pixels is something else than doubt about the class."
)

# %% [markdown]
# (sec-jem-report)=
# ## Limits, or what this chapter may claim
#
# On CIFAR-10, in the table of {cite:t}`jiang2025classifier`, accuracy and FID of the two models are:
#
# | | accuracy, % | FID |
# | :-- | --: | --: |
# | JEM | 92.90 | 38.40 |
# | JEM++ | 93.73 | 37.12 |
#
# Those are wide residual networks of 28 layers, ten times as wide as usual, trained on colour photographs, for 200 epochs by the default of JEM's program and 150 in the script of JEM++, in recipes of their own: JEM by Adam without normalisation, JEM++ by plain gradient descent with batch normalisation. So the difference cannot be credited to start and bound.
# Nothing here can be set beside these numbers: other images, a network about a thousand times smaller, other features, and this budget:

# %% tags=["hide-input"]
everyone = [start, *jems, *plus, *(table[cell] for cell in mixed)]
everyone += [run for weight, run in by_weight.items() if weight < 0.3]
everyone += later.values()
minutes = sum(run.config["wall_seconds"] for run in everyone) / 60
m = plus[0].metrics
aims = [
    ("accuracy, %", "accuracy", "≥", 0.993, 100),
    ("ECE, %", "ece", "≤", 0.005, 100),
    ("area, E, garments", "auroc of E, garments", "≥", 0.99, 1),
]


least = min(weight for weight in by_weight if weight > 0)


def aimed(what, ours, aim, reached, before, small):
    """One line of the table of targets."""
    verdict = "reached" if reached else "missed"
    names = ["JEM++", "ours", "our target", "verdict", "as a classifier"]
    names.append(f"weight {least:g}")
    row = (what, ours, aim, verdict, before, small)
    return dict(zip(names, row, strict=True))


# %% tags=["hide-input"]
rows = []
for what, key, sign, aim, factor in aims:
    values = torch.tensor([run.metrics[key]["value"] for run in plus])
    value = values.mean().item()
    error = values.std().item() / len(plus) ** 0.5 if len(plus) > 1 else 0.0
    before, small = (
        f"{factor * run.metrics[key]['value']:.3g}"
        for run in (start, by_weight[least])
    )
    reached = value >= aim if sign == "≥" else value <= aim
    goal = f"{sign} {factor * aim:.3g}"
    digits_of = 2 if factor > 1 else 3
    rows.append(
        aimed(
            what,
            f"{factor * value:.{digits_of}f} ± {factor * error:.{digits_of}f}",
            goal,
            reached,
            before,
            small,
        )
    )
# %% tags=["hide-input"]
after, first = (named[name]["ECE at τ, %"] for name in ("JEM++", "classifier"))
ours = (
    f"{100 * after.value:.2g} ± {100 * after.error:.1g}",
    "≤ 0.5",
    after.value <= 0.005,
    f"{100 * first.value:.2g}",
    "–",
)
rows.append(aimed("ECE at τ, %, first seed", *ours))
lost = ran_away["JEM++"]
ours = f"{lost} of {len(plus)}", "0 of 3", not lost, "–", "–"
rows.append(aimed("diverged trainings", *ours))
results_table(rows)

# %% tags=["hide-input"]
bill = named["JEM++"]["bias, if perfect, %"].value
Markdown(
    f"All {len(everyone)} trainings took {minutes:.0f} minutes of a shared "
    f"processor core, {len(plus[0].history)} passes over 10,000 digits each "
    "for the energies. The price of the second law is seen in the first "
    "row: the same network as a plain classifier, trained on for as long, "
    f"has an accuracy of {100 * bare.metrics['accuracy']['value']:.2f} %. "
    "What a perfect classifier with the confidences of JEM++ would be "
    f"billed, {100 * bill:.2f} %, is "
    f"{'above' if bill > aims[1][3] else 'below'} the target for its raw "
    "calibration error. "
    f"The last column is one training, with the weight {least:g}, added after "
    "the tests; its memory is no digits "
    f"(Fréchet {by_weight[least].metrics['frechet, memory']['value']:,.0f}, "
    f"where chains begin {m['frechet, starts']['value']:,.0f}): "
    "as a classifier that doubts it may do, as a generator it does not."
)

# %% [markdown]
# Nothing was trained to a plateau: in the curves of {ref}`the trainings <sec-jem-runs>` both energies of JEM++ still rise in the fourth epoch.
# There is no training on CIFAR-10 here: our hour of a processor went into digits.
# JEM++ also brings back batch normalisation, plain gradient descent and the reuse of later layers, which we did not try.
# Two of the four cells of the table have one seed, and so have all rows that were added after the tests.
# The generative term has a third of the published weight; with the full one a first trial, on validation digits, drew better and classified worse.
# What the walks sample is no density at any temperature that could be named: JEM++ has no noise.
# And the plain JEM of the table has the step, noise and number of moves of its authors' program, but a network without residual blocks, a third of the weight, Adam's rate three times theirs, and chains kept in the range of pixels, which its program does not.
#
# ## Exercises
#
# ```{exercise-start} What is a good start?
# :label: ex-jem-start
# ```
# (Measure.) The homework asks for MNIST or CIFAR-10, and for a classifier of at least 85 % on MNIST, or 70 % on CIFAR-10, to begin with.
# What does a threshold of 85 % exclude? Measure the nearest class mean, a linear classifier of pixels, and the class Gaussians of this chapter, used as a classifier by Bayes' rule.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-jem-start
# :class: dropdown
# ```
# Little: of the four below, the numbers say which fail it. A linear classifier knows no strokes; a start above 85 % may still be far from what a small convolutional network reaches. (On CIFAR-10 a linear classifier of pixels stays far below 70 %, so that threshold does ask for a network; we do not run it here.)
# Four epochs of Adam for the linear one, on the same 10,000 digits; 2,000 test digits:

# %%
flat, test = train_x.flatten(1), 2 * x_test[:2000].flatten(1) - 1
to_mean = torch.cdist(test, cloud.means).argmin(1)
torch.manual_seed(seed)
plane = torch.nn.Linear(784, 10)
adam = torch.optim.Adam(plane.parameters(), 1e-3)
for _ in range(4):
    for k in torch.randperm(len(flat)).split(100):
        loss = F.cross_entropy(plane(flat[k]), train_y[k])
        adam.zero_grad()
        loss.backward()
        adam.step()

# %%
inverse = [torch.linalg.inv(L) for L in cloud.roots]
away_from = [
    ((test - m) @ R.T).square().sum(1) / 2 - R.diagonal().log().sum()
    for m, R in zip(cloud.means, inverse, strict=True)
]
guesses = {
    "nearest class mean": to_mean,
    "linear classifier": plane(test).argmax(1),
    "class Gaussians, Bayes' rule": torch.stack(away_from, 1).argmin(1),
    "our start": logits["classifier"][:2000].argmax(1),
}
for name, guess in guesses.items():
    found = mean_of((guess == y_test[:2000]).double())
    verdict_85 = "fails" if found.value < 0.85 else "passes"
    size = f"{100 * found.value:.1f} ± {100 * found.error:.1f} %"
    print(f"{name}: {size}, {verdict_85} 85 %")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The loss by hand
# :label: ex-jem-loss
# ```
# (Code.) Write $E(x) = -\log \sum_y e^{f(x)[y]}$ and the loss, cross-entropy plus $-\log p(x)$ with its gradient from negatives, in plain PyTorch.
# Compare value and gradients with the package's, for the same negatives. Where must the gradient not go?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-jem-loss
# :class: dropdown
# ```
# It must not pass through the walk: negatives are data of the negative phase. Without a memory and with one move of a walk that stands still, the package's negatives are the noise it begins with, so both sides have the same.

# %%
net = start.model.network
still = JointEnergy(net, (1, 28, 28), Walk(1, 1e-12, 0.0, limit=1e-9))
x, y = train_x[:16], train_y[:16]
torch.manual_seed(seed)
with torch.enable_grad():
    theirs = joint_energy_loss(still, (x, y), 0, 0.3, jitter=0.0)[
        "loss"
    ].mean()
    torch.manual_seed(seed)
    torch.randn_like(x)  # the noise on the data, times 0
    negatives = still.noise(16)
    energy = lambda x: -net(x).logsumexp(1)  # noqa: E731
    ours = F.cross_entropy(net(x), y)
    ours = ours + 0.3 * (energy(x).mean() - energy(negatives).mean())
    sides = (ours, theirs)
    pairs = [torch.autograd.grad(one, [*net.parameters()]) for one in sides]
torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
for a, b in zip(*pairs, strict=True):
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)
print(f"loss by hand {ours:.4f}, of the package {theirs:.4f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The missing update
# :label: ex-jem-walk
# ```
# (Derive.) The homework's sheet announces the update of the negatives, and the sentence breaks off. Complete it, for JEM and for JEM++.
# Which temperature has each walk? The sheet wants samples "without losing accuracy": which part of the gradient can cost accuracy at all, and what did it cost here?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-jem-walk
# :class: dropdown
# ```
# $x_{t+1} = x_t + \alpha \nabla \log p(x_t) + \varepsilon\, \xi_t$, which is $x_t - \alpha \nabla E(x_t) + \varepsilon\, \xi_t$, and $x_{t+1} = \mathrm{clip}(x_t + \alpha\, \mathrm{clip}(\nabla \log p(x_t), -\ell, \ell), -1, 1)$.
# The first belongs to $T = \varepsilon^2 / (2 \alpha)$ ({prf:ref}`prop-energy-temperature`), the second has no noise, $T = 0$.
# By {prf:ref}`thm-jem-split` the cross-entropy's part is that of a plain classifier. The generative part is free of charge only if it changes nothing but the common size of logits; ours does not.

# %%
for name, run in {"JEM": jems[0], "JEM++": plus[0]}.items():
    walk, first = run.model.walk, start.metrics["accuracy"]["value"]
    lost = run.metrics["accuracy"]["value"] - first
    print(f"{name}: T = {walk.temperature:.1e}, accuracy {100 * lost:+.2f} %")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Noise or Gaussians
# :label: ex-jem-gaussians
# ```
# (Measure.) Which of "noise", "class Gaussian" and "the mean of a class" is nearest to digits by Fréchet distance, and which has the lowest energy under the classifier before any generative training? Is a low energy there a good sign?
# What remains of the replay buffer in JEM++?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-jem-gaussians
# :class: dropdown
# ```
# All of it remains: 95 % of the chains go on from stored images. The Gaussians fill it at first, and replace noise for the other 5 %.
# The classifier's energies already rank what is near digits before what is far, though nobody trained them to: {prf:ref}`thm-jem-joint` says that cross-entropy does not determine them, not that they are noise. Low here means "a large logit", so a low energy is no certificate of a digit: the last line walks from noise and finds low energies that are none.

# %%
torch.manual_seed(seed)
kinds = torch.arange(300) % 10
starts = {
    "noise": 2 * torch.rand(300, 1, 28, 28) - 1,
    "class Gaussian": cloud.sample(kinds),
    "digits": 2 * x_test[:300] - 1,
}
for name, x in starts.items():
    E = energy_of(logits_of(start.model, unsigned(x)))
    far = frechet.distance(unsigned(x))
    print(f"{name}: squared Fréchet distance {far.value:.0f}")
    print(f"  energy under the classifier {mean_of(E)}")
ends = walked(start.model, starts["noise"][:100])
E = start.model.energy(ends).detach().double()
print(f"walks of JEM from noise: energy under the classifier {mean_of(E)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Read the table of four
# :label: ex-jem-table
# ```
# (Measure.) What do the bounded moves change, with either start, and what do the Gaussians change, with either move? What do both together?
# The bounded walks have a quarter of the passes: which comparison would separate the bound from the number of passes?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-jem-table
# :class: dropdown
# ```
# Differences of cells in a row or a column of {ref}`the table <sec-jem-runs>`. They are of one seed; the three seeds of two corners show how far seeds can be apart.
# Start, bound and number of moves are three choices of two: eight cells, not four. Two of the others were trained after the tests, 20 bounded moves from noise and five free ones from Gaussians.
# From noise, bounded and free moves compare wrecks, which allows no conclusion about the moves. From Gaussians the cells with five moves, with and without the bound, separate it from the rest; at the end it {ref}`cuts few entries <sec-jem-stability>`.

# %%
accuracies = {k: run.metrics["accuracy"]["value"] for k, run in table.items()}
for cell, value in accuracies.items():
    print(f"{cell}: {100 * value:.2f} %, memory {memory_of[cell]:.0f}")
for name, run in later.items():
    step = rested(run)
    print(
        f"{name}: {100 * run.metrics['accuracy']['value']:.2f} %, "
        f"memory {run.metrics['frechet, memory']['value']:.0f}, "
        f"{'did not diverge' if step is None else f'diverged at step {step}'}"
    )
for name, runs in (("JEM", jems), ("JEM++", plus)):
    found = [f"{100 * r.metrics['accuracy']['value']:.2f}" for r in runs]
    print(f"{name}, accuracy by seed: {', '.join(found)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A report in four lines
# :label: ex-jem-report
# ```
# (Recall.) The homework asks for the accuracy, generated images, a comparison with the paper, and curves of loss and accuracy. Where on this page is each? Write the report in four lines, with errors, and say what may not be concluded.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-jem-report
# :class: dropdown
# ```
# Curves (of test accuracy, of the test cross-entropy, of the two sides of the generative term) and the four buffers' images: {ref}`the four trainings <sec-jem-runs>`; samples by class: {ref}`the walks <sec-jem-samples>`; the papers' numbers: {ref}`the limits <sec-jem-report>`.

# %%
said = [
    over_seeds(plus, key) for key in ("accuracy", "ece", "frechet, memory")
]
said = [
    (e["value"], e["error"]) if isinstance(e, dict) else (e.value, e.error)
    for e in said
]
(acc, d_acc), (ece, d_ece), (old, d_old) = said
# %%
print(
    f"JEM++, {len(plus)} seeds: {100 * acc:.2f} ± {100 * d_acc:.2f} % accuracy "
    f"(a plain classifier {100 * bare.metrics['accuracy']['value']:.2f} %), "
    f"ECE {100 * ece:.1f} ± {100 * d_ece:.1f} %.\n"
    f"Its memory is at a squared distance of {old:.0f} ± {d_old:.0f}, fresh starts "
    f"at {plus[0].metrics['frechet, starts']['value']:.0f}, digits at "
    f"{floor.value:.1f}.\n"
    f"{ran_away['JEM']} of {len(jems)} trainings of plain, untuned JEM "
    "diverged by our own rule.\n"
    "Not to be concluded: that JEM++ beats JEM on CIFAR-10, that three seeds "
    "show stability in general, or that these distances are FIDs."
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} How many answers for how small an error?
# :label: ex-jem-bias
# ```
# (Derive.) A classifier gives all of $n$ answers with confidence 0.99 and is perfectly calibrated. How large must $n$ be so that its expected ECE is below 0.1 %? Why does the number of bins not matter here, and when does it?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-jem-bias
# :class: dropdown
# ```
# All answers are in one bin. By {prf:ref}`thm-jem-ece` the bias is about $\sqrt{2 p (1 - p) / (\pi n)}$, below $10^{-3}$ for $n > 2 \cdot 0.99 \cdot 0.01 / (\pi \cdot 10^{-6}) \approx 6{,}300$. Bins matter where answers are spread over them: the bound grows like $\sqrt J$.

# %%
for n in (1_000, 6_300, 25_000):
    print(f"n = {n:,}: exact bias {100 * exact_bias(n, 0.99):.3f} %")
p, answer = sure["JEM++"]
for bins in (5, 20, 100):
    found = calibration_error(p, answer == y_test, bins)
    print(f"JEM++ with {bins} bins: {100 * found.value:.2f} %")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} One temperature for both laws? (open)
# :label: ex-jem-temperature
# ```
# (Open.) The logits are read at temperature 1 for $p(y \mid x)$ and walked at $5 \cdot 10^{-5}$ or 0. Is there a training in which both laws have the same temperature, and does anything get better?
# Measure first how many nats the energy of a stored sample falls in 50 more moves of JEM++.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-jem-temperature
# :class: dropdown
# ```
# (The joint law at temperature $\tau$ has the marginal $\sum_y e^{f(x)[y] / \tau}$, the walk at $T$ belongs to $(\sum_y e^{f(x)[y]})^{1/T}$: they agree at 1.) At temperature 1 a step of $\alpha$ needs noise of $\sqrt{2 \alpha}$, which for $\alpha = 1$ covers the range of a pixel; steps would have to be a thousand times smaller, and chains as much longer. Learning with several noise levels is one way out ({ref}`denoising diffusion <ch:ddpm>`). We know of no joint energy of images that is walked at the temperature at which it classifies.

# %%
here = 2 * stored - 1
walk = replace(plus[0].model.walk, steps=50)
there = walked(plus[0].model, here, walk=walk)
with torch.no_grad():
    fall = plus[0].model.energy(there) - plus[0].model.energy(here)
print(f"change of energy in 50 moves: {mean_of(fall)} nats")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What else does a classifier know?
#
# Something, and by accident: the common size of its logits is free, a plain classifier's own size already tells most garments from digits, and it can be taught to say whether a thing is a parcel at all.
# The lesson is taught with dreams, and where they begin decided: from noise, with bounded moves or free ones, the training ran away by our strict rule; from Gaussians that know the classes it did not, with the bound or without.
# The officer who has learned it draws digits, is more modest than she need be, and sorts a little worse than before; with a tenth of the lesson she draws nothing and doubts better.
# And her doubt is about pixels: at the weight 0.3 she would send back the bread, and let through a parcel with foreign writing.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
