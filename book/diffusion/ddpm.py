# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:ddpm)=
# # Denoising diffusion (DDPM)
#
# *Can small repairs make a picture from nothing?*
#
# An office copies a letter, then the copy, then the copy of the copy.
# Each round fades the ink a little and adds a little grain.
# After a thousand rounds there is only grain.
#
# A restorer is hired to undo single rounds: given any sheet, she can roughly guess which part of it is grain.
# One night somebody puts a sheet on her desk that was grain from the start.
# She does not know this; she repairs it, a thousand times, a little each time.
# What is on the sheet in the morning?
#
# :::{admonition} You will learn to
# - jump over any number of noising steps at once, and back one step;
# - split the likelihood's bound into one small regression for each step, and see which weights the usual loss drops;
# - translate between noise, image, velocity and score, and know which of them breaks at high noise;
# - build a U-Net from its parts, train, sample, guide and judge it, and count where its bits go.
#
# You need: {ref}`variational autoencoders <ch:vae>` for the bound, {ref}`score matching <ch:score-matching>` for Tweedie's formula, and {ref}`GANs of images <ch:gan>` for the Fréchet distance.
# :::
#
# | symbol | meaning | code |
# | :-- | :-- | :-- |
# | $x_0$ | image, pixels in $[-1, 1]$ | `x` |
# | $x_t$ | the image after $t$ of $T$ noising steps | `noisy` |
# | $\beta_t$ | variance added by step $t$ | `beta` |
# | $\bar\alpha_t$ | $\prod_{s \le t} (1 - \beta_s)$, the share of the image's variance that is left | `alpha_bar[t]` |
# | $a_t,\ b_t$ | $\sqrt{\bar\alpha_t}$ and $\sqrt{1 - \bar\alpha_t}$: signal and noise | `signal, scale` |
# | $\mathrm{SNR}_t$ | $a_t^2 / b_t^2$ | `ratio` |
# | $\varepsilon$ | standard Gaussian noise | `noise` |
# | $v$ | velocity, $a_t \varepsilon - b_t x_0$ | `velocity` |
# | $\hat\varepsilon, \hat x_0, \hat v$ | the network's guesses, given $x_t$ and $t$ | `guess` |
# | $\eta$ | 1: fresh noise in each step back; 0: none | `eta` |
# | $w$ | strength of guidance | `guidance` |

# %% tags=["parameters"]
epochs: int = 0  # 0: recall the published run; n: train n epochs here
subset: int = 0  # n: train and measure a smaller U-Net on the first n images
seed: int = 0

# %% tags=["hide-input"]
import copy
import math
from functools import partial
from itertools import pairwise, product

import seaborn
import torch
import torch.nn.functional as F
from IPython.display import Markdown
from scipy.special import roots_legendre
from torch import nn
from torch.distributions import Normal, kl_divergence

# %% tags=["hide-input"]
from companion import figures, metrics
from companion.claims import check
from companion.data import load, unit, unsigned
from companion.devices import fast_precision
from companion.experiments import ddpm, extractor_of
from companion.figures import Explorable, curves, results_table, show
from companion.figures import show_source as source
from companion.figures.sketches import Sketch
from companion.figures.style import PALETTE
from companion.files import RunError
from companion.metrics.diffusion import decoded_log_prob
from companion.models.diffusion import (
    SCHEDULES,
    Diffusion,
    cosine_schedule,
    linear_schedule,
)

# %% tags=["hide-input"]
from companion.objectives.diffusion import denoising_loss, weight_of_noise
from companion.paths import Prediction, translate
from companion.runs import published_seed
from companion.samplers import ancestral_variance, implicit_step, sample
from companion.samplers.diffusion import from_fixed_noise as drawn
from companion.samplers.diffusion import path
from companion.train import train
from companion.worlds.mixture import NoisedMixture

seed = published_seed(ddpm, seed, epochs)

# %% tags=["hide-input"]
sketch, at_x = Sketch(360, 130), (22, 112, 202, 338)
names = ("x₀", "xₛ", "xₜ", "x₁₀₀₀")
for place, text in zip(at_x, names, strict=True):
    sketch.node(text, place, 66, size=(40, 26))
for left_one, right_one in pairwise(names):
    sketch.link(left_one, right_one, bend=26, dashed=True)
    sketch.link(right_one, left_one, bend=26, lit=True)
sketch.words(180, 18, "the copier: shrink, add noise (fixed)")
sketch.words(180, 124, "the restorer: guess x₀, go back a step (learned)")
sketch.show(
    "Above, from image to noise: known, nothing is learned. Below, from noise "
    "to image: at each time one network guesses the clean image.",
    alt="Four boxes from image to noise; dashed arrows lead right, orange "
    "ones lead back.",
    label="fig-ddpm-chain",
)

# %% [markdown]
# (sec-ddpm-forward)=
# ## A thousand small steps are one large one
#
# One round of the copier is
#
# $$
# x_t = \sqrt{1 - \beta_t}\, x_{t-1} + \sqrt{\beta_t}\, \varepsilon_t, \quad \varepsilon_t \sim \mathcal N(0, I),
# $$ (eq-ddpm-step)
#
# with $0 < \beta_t < 1$ and $\varepsilon_t$ independent of all that came before {cite:p}`sohl2015deep,ho2020denoising`.
# The image shrinks by just so much that a variance of 1 stays 1.
#
# :::{prf:theorem} Any number of steps at once
# :label: thm-ddpm-marginal
# For $0 \le s < t$, with $c = a_t / a_s$,
#
# $$
# \begin{aligned}
# q(x_t \mid x_s) & = \mathcal N\big(c\, x_s,\ (1 - c^2) I\big), \\
# q(x_t \mid x_0) & = \mathcal N(a_t x_0,\ b_t^2 I).
# \end{aligned}
# $$ (eq-ddpm-marginal)
# :::
#
# :::{prf:proof}
# In steps, by induction over $t$:
#
# 1. For $t = s + 1$ it is eq. {eq}`eq-ddpm-step`, since $c^2 = \bar\alpha_t / \bar\alpha_s = 1 - \beta_t$.
# 2. Let $x_{t-1} = c' x_s + \sqrt{1 - c'^2}\, n$ with $c' = a_{t-1} / a_s$ and $n \sim \mathcal N(0, I)$ made of $\varepsilon_{s+1}, \dots, \varepsilon_{t-1}$, so independent of $x_s$ and of $\varepsilon_t$. Insert it into eq. {eq}`eq-ddpm-step`: the factor of $x_s$ is $\sqrt{1 - \beta_t}\, c' = c$.
# 3. $n$ and $\varepsilon_t$ are independent Gaussians, so their sum is one, with variance $(1 - \beta_t)(1 - c'^2) + \beta_t = 1 - (1 - \beta_t) c'^2 = 1 - c^2$.
# 4. For $s = 0$: $a_0 = 1$, so $c = a_t$ and $1 - c^2 = b_t^2$.
# :::
#
# So step 700 does not need the 699 before it.
# The check writes all $x_t$ of the linear schedule as one matrix that acts on $(x_0, \varepsilon_1, \dots, \varepsilon_{1000})$, row by row from eq. {eq}`eq-ddpm-step`, and takes all pairs $s < t$.

# %%
beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.double)
way = torch.zeros(1001, 1001).double()  # row t: x_t by x_0 and noises
way[0, 0] = 1
for t in range(1, 1001):
    way[t] = (1 - beta[t - 1]).sqrt() * way[t - 1]
    way[t, t] = beta[t - 1].sqrt()
t, s = torch.tril_indices(1001, 1001, -1)  # all s < t
later = way.square().flip(1).cumsum(1).flip(1)  # noise of step s and on
left = torch.stack([way[t, s] / way[s, s], later[t, s + 1]], 1)
kept = linear_schedule()
c, total = (kept[t] / kept[s]).sqrt(), F.pad(beta.cumsum(0), (1, 0))

# %%
check(
    "thm-ddpm-marginal",
    of="signals and variances, for all pairs of times of a schedule",
).equal(
    left=left,
    right=torch.stack([c, 1 - c**2], 1),
    how="exhaustive",
    wrong={
        "variances add up": torch.stack([c, total[t] - total[s]], 1),
        "the image shrinks by its variance": torch.stack([c**2, 1 - c**2], 1),
        "deviation for variance": torch.stack([c, (1 - c**2).sqrt()], 1),
    },
)

# %% [markdown]
# The *linear* schedule lets $\beta_t$ rise from $10^{-4}$ to 0.02 {cite:p}`ho2020denoising`; the *cosine* schedule fixes $\bar\alpha_t$ instead, as a squared cosine {cite:p}`nichol2021improved`.

# %%
source(linear_schedule, cosine_schedule)

# %% tags=["hide-input"]
data = load("mnist").seen_as("signed")
print(f"{data.name}, {data.source} data")
x, _ = data.examples("test", subset or 10_000)
real = unsigned(x)
shown = [(data.test[1] == k).nonzero()[0, 0].item() for k in range(8)]
shown, _ = data.take("test", torch.tensor(shown))
stops, rng = range(0, 1001, 125), torch.manual_seed(seed)
grain = torch.randn(8, 1, 28, 28, generator=rng)
kept = {name: make() for name, make in SCHEDULES.items()}
logs = {name: (k / (1 - k)).log()[1:] for name, k in kept.items()}


def mosaic(*rows):
    """Rows of images (n, 1, 28, 28) in [-1, 1] as one picture."""
    rows = [F.pad(row, (1, 1, 1, 1), value=1.0) for row in rows]
    whole = torch.cat([torch.cat(list(row[:, 0]), 1) for row in rows])
    return ((whole.clamp(-1, 1) + 1) * 7).round() / 14  # 15 greys


# %% tags=["hide-input"]
def drowned(t, grain):
    """The digits at time t of both schedules."""
    rows = []
    for k in kept.values():
        noisy = k[t].sqrt() * shown + (1 - k[t]).sqrt() * grain
        rows.append(noisy.float() / (1 + (1 - k[t])))  # less contrast
    return mosaic(*rows)


names = []
for t in stops:
    told = (f"{k[t] / (1 - k[t]):.2g}" if t else "∞" for k in kept.values())
    names.append(f"t = {t}, signal to noise {' and '.join(told)}")

# %% tags=["hide-input"]
Explorable(
    [drowned(t, grain) for t in stops],
    names,
    "time",
    alt="Two rows of eight digits that drown in noise, the first one sooner.",
    caption="The same digits and the same noise under the linear schedule "
    "(above) and the cosine schedule (below). At t = 500 the linear row is "
    "far fainter than the cosine row.",
    start=4,
    live=figures.Live(
        lambda t: drowned(t, torch.randn(8, 1, 28, 28)),
        figures.Knob("time", [0, 1000], 500),
        again=True,
    ),
)

# %% tags=["hide-input"]
times = torch.arange(1, 1001)
show(
    curves(
        {name: (times, log) for name, log in logs.items()},
        "time t",
        "log SNR",
        height=2.6,
        alt="Two falling curves; the cosine one is higher until it drops.",
    ),
    "Logarithm of the signal-to-noise ratio. The cosine schedule falls more "
    "slowly through the middle, and plunges at the end.",
    label="fig-ddpm-schedules",
)

# %%
faint = {name: (log < math.log(0.01)).sum() for name, log in logs.items()}
Markdown(
    f"Steps of 1,000 whose signal-to-noise ratio is below 1 : 100: "
    f"**{faint['linear']}** of the linear schedule, {faint['cosine']} of the "
    "cosine. Each costs a pass of the network."
)

# %% [markdown]
# (sec-ddpm-posterior)=
# ## If the image were known, the way back would be Gaussian
#
# Where was $x_t$ earlier?
# If $x_0$ is known, a line of algebra tells, for any stride.
#
# :::{prf:theorem} The posterior of a step
# :label: thm-ddpm-posterior
# Let $0 < s < t$, $c = a_t / a_s$ and $\varepsilon = (x_t - a_t x_0) / b_t$. Then $q(x_s \mid x_t, x_0)$ is Gaussian with
#
# $$
# \sigma^2 = \frac{b_s^2}{b_t^2} (1 - c^2), \quad \mu = a_s x_0 + \sqrt{b_s^2 - \sigma^2}\; \varepsilon .
# $$ (eq-ddpm-posterior)
#
# In terms of $x_t$ and $x_0$: $\ \mu = \frac{c\, b_s^2}{b_t^2}\, x_t + \frac{a_s (1 - c^2)}{b_t^2}\, x_0$.
# :::
#
# :::{prf:proof}
# In steps, for one coordinate, because all are independent:
#
# 1. By Bayes' rule $q(x_s \mid x_t, x_0) \propto q(x_t \mid x_s)\, q(x_s \mid x_0)$: given $x_s$, what came before does not matter to $x_t$.
# 2. By {prf:ref}`thm-ddpm-marginal` $-2 \log$ of it is $\frac{(x_t - c x_s)^2}{1 - c^2} + \frac{(x_s - a_s x_0)^2}{b_s^2}$ and a constant: a parabola in $x_s$, so the law is Gaussian.
# 3. The factor of $x_s^2$ is $\frac1{\sigma^2} = \frac{c^2}{1 - c^2} + \frac1{b_s^2} = \frac{c^2 b_s^2 + 1 - c^2}{(1 - c^2)\, b_s^2}$. Here $c^2 b_s^2 = c^2 - a_t^2$, so the numerator is $1 - a_t^2 = b_t^2$.
# 4. From the factor of $x_s$: $\mu = \sigma^2 \big( \frac{c\, x_t}{1 - c^2} + \frac{a_s x_0}{b_s^2} \big)$, which is the last formula.
# 5. Insert $x_t = a_t x_0 + b_t \varepsilon$. With $c\, a_t = c^2 a_s$, the factor of $x_0$ is $a_s (c^2 b_s^2 + 1 - c^2) / b_t^2 = a_s$.
# 6. That of $\varepsilon$ is $c\, b_s^2 / b_t$. It is positive, and its square is $b_s^2 - \sigma^2 = \frac{b_s^2}{b_t^2} (b_t^2 - 1 + c^2) = \frac{b_s^2}{b_t^2}\, c^2 b_s^2$, by line 3.
# :::
#
# The package multiplies the variance by `eta`$^2$: 1 is this theorem, the next chapter is about the others.

# %%
source(ancestral_variance, implicit_step)

# %% [markdown]
# The oracle conditions the joint Gaussian law of $(x_s, x_t)$ given $x_0$, whose covariance is a product of rows of the matrix.

# %%
torch.manual_seed(seed)
pair = torch.stack([torch.randperm(1000)[:2] + 1 for _ in range(400)])
s, t = pair.sort(1).values.T
s[:100] = t[:100] - 1  # some of them single steps
s, t = s[s > 0], t[s > 0]
x0, xt = torch.randn(2, len(s)).double()
noises = way[:, 1:]
both = (noises[s] * noises[t]).sum(1)
gain = both / noises[t].square().sum(1)
mu = way[s, 0] * x0 + gain * (xt - way[t, 0] * x0)
left = torch.stack([mu, noises[s].square().sum(1) - gain * both], 1)

# %%
now, then = linear_schedule()[t], linear_schedule()[s]
e = (xt - now.sqrt() * x0) / (1 - now).sqrt()
step = partial(implicit_step, eta=1.0, fresh=torch.zeros(1))
mean = step(xt, Prediction(e, x0), now, then)
variance = ancestral_variance(now, then)
added = 1 - now / then
check("thm-ddpm-posterior", of="pairs of times and pictures").equal(
    left=left,
    right=torch.stack([mean, variance], 1),
    wrong={
        "variance that the step added": torch.stack([mean, added], 1),
        "all of the noise kept": torch.stack(
            [then.sqrt() * x0 + (1 - then).sqrt() * e, variance], 1
        ),
        "late signal": torch.stack(
            [mean + (now.sqrt() - then.sqrt()) * x0, variance], 1
        ),
    },
)

# %% [markdown]
# (sec-ddpm-bound)=
# ## The likelihood's bound is a sum of small regressions
#
# The model goes the other way: $p(x_T) = \mathcal N(0, I)$, then $p(x_{t-1} \mid x_t)$ for $t = T, \dots, 1$.
# Its codes are $x_1, \dots, x_T$ and its encoder is the copier, so it has a bound; as the encoder is Markov, the bound splits.
#
# :::{prf:theorem} The bound splits
# :label: thm-ddpm-elbo
# Let $q(x_{1:T} \mid x_0)$ be any Markov chain and $p(x_{0:T}) = p(x_T) \prod_t p(x_{t-1} \mid x_t)$, all positive and with finite means below. Then $-\log p(x_0) \le L_T + \sum_{t=2}^T L_{t-1} + L_0$ with
#
# $$
# \begin{aligned}
# L_T & = \mathrm{KL}(q(x_T \mid x_0) \,\|\, p(x_T)), \\
# L_{t-1} & = \mathbb E_q\, \mathrm{KL}(q(x_{t-1} \mid x_t, x_0) \,\|\, p(x_{t-1} \mid x_t)), \\
# L_0 & = -\mathbb E_q \log p(x_0 \mid x_1).
# \end{aligned}
# $$ (eq-ddpm-split)
#
# It is an equality if $p$ is the chain run backwards from some law of $x_0$: $p(x_T) = q(x_T)$ and $p(x_{t-1} \mid x_t) = q(x_{t-1} \mid x_t)$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. {prf:ref}`thm-vae-bound` with $z = x_{1:T}$ says $-\log p(x_0) \le \mathbb E_q \log \frac{q(x_{1:T} \mid x_0)}{p(x_{0:T})}$, with equality if $q(x_{1:T} \mid x_0) = p(x_{1:T} \mid x_0)$.
# 2. By the Markov property and Bayes' rule, for $t \ge 2$: $q(x_t \mid x_{t-1}) = q(x_t \mid x_{t-1}, x_0) = q(x_{t-1} \mid x_t, x_0)\, \frac{q(x_t \mid x_0)}{q(x_{t-1} \mid x_0)}$.
# 3. In $q(x_{1:T} \mid x_0) = q(x_1 \mid x_0) \prod_{t \ge 2} q(x_t \mid x_{t-1})$ the fractions cancel but for the last: it equals $q(x_T \mid x_0) \prod_{t \ge 2} q(x_{t-1} \mid x_t, x_0)$.
# 4. So the logarithm in line 1 is $\log \frac{q(x_T \mid x_0)}{p(x_T)} + \sum_{t \ge 2} \log \frac{q(x_{t-1} \mid x_t, x_0)}{p(x_{t-1} \mid x_t)} - \log p(x_0 \mid x_1)$. Take the mean, in the sum first over $x_{t-1}$ given $x_t$.
# 5. A Markov chain run backwards is a Markov chain with the same joint law, so then $p(x_{0:T}) = q(x_{0:T})$, and line 1 is an equality.
# :::
#
# Nothing in it is Gaussian, so the check sums over all 243 paths in each of 60 random worlds with three states and four steps; in half of them $p$ is the chain run backwards.

# %%
torch.manual_seed(seed)
draw = partial(torch.rand, dtype=torch.double)


def law(*shape):
    """Random laws along the last axis, none of them near 0."""
    some = draw(60, *shape, 3) + 0.1
    return some / some.sum(-1, keepdim=True)


q, r, top = [law(3) for _ in range(4)], [law()], law()
p = [law(3) for _ in range(4)]  # p[k][:, b, a]: from x_{k+1} = b to x_k = a
for k in range(4):
    joint = r[-1][:, :, None] * q[k]  # of x_k and x_{k+1}
    r.append(joint.sum(1))
    p[k][:30] = (joint / joint.sum(1, keepdim=True)).mT[:30]
top[:30] = r[-1][:30]
forward = torch.einsum("nab,nbc,ncd,nde->nabcde", *q)
back = torch.einsum("nba,ncb,ndc,ned,ne->nabcde", *p, top)
bound = (forward * (forward / back).log()).sum((2, 3, 4, 5))


# %%
def kl(a, b):
    return (a * (a / b).log()).sum(-1)


last = q[0]  # q(x_t | x_0), from t = 1
split = {"one step": 0, "backwards": 0, "no x_0": 0}
L0 = -(q[0] * p[0].mT.log()).sum(-1)
for k in range(1, 4):  # from x_{k+1} to x_k
    joint = last[..., None] * q[k][:, None]  # x_0, x_k, x_{k+1}
    after = joint.sum(2)
    posterior = (joint / after[:, :, None]).mT  # x_0, x_{k+1}, x_k
    guess, chain = p[k][:, None], r[k][:, :, None] * q[k]
    chain = (chain / chain.sum(1, keepdim=True)).mT[:, None]
    split["one step"] += (after * kl(posterior, guess)).sum(-1)
    split["backwards"] += (after * kl(guess, posterior)).sum(-1)
    split["no x_0"] += (after * kl(chain, guess)).sum(-1)
    last = after
LT = kl(last, top[:, None])

# %%
found = L0 + split["one step"] + LT
check("thm-ddpm-elbo", about="the parts add up", of="chains").equal(
    left=bound,
    right=found,
    wrong={
        "divergences the wrong way round": L0 + split["backwards"] + LT,
        "posterior without x_0": L0 + split["no x_0"] + LT,
        "the last law left out": L0 + split["one step"],
    },
)

# %%
surprise = -back.sum((2, 3, 4, 5)).log()
reversed_chain = (torch.arange(60) < 30)[:, None].expand(60, 3)
check("thm-ddpm-elbo", about="it is a bound", of="chains").at_most(
    surprise,
    found,
    equal_where=reversed_chain,
    wrong={
        "L_T left out": (surprise, L0 + split["one step"]),
        "only L_0": (surprise, L0),
        "an upper bound on log p": (-surprise, -found),
    },
)

# %% [markdown]
# So the bound loses only by a wrong $p(x_T)$ and by wrong steps back.
# Ours are Gaussian: the posterior of {prf:ref}`thm-ddpm-posterior` with a guess $\hat x_0$ in the place of $x_0$.
#
# :::{prf:theorem} A step's divergence is the noise's squared error, weighted
# :label: thm-ddpm-weights
# Let $p(x_{t-1} \mid x_t)$ be $\mathcal N(\mu, \sigma^2 I)$ of eq. {eq}`eq-ddpm-posterior` with $s = t - 1 \ge 1$ and $\hat x_0(x_t)$ for $x_0$, and $\hat\varepsilon = (x_t - a_t \hat x_0) / b_t$. Then, with means over $x_t$ given $x_0$,
#
# $$
# \begin{aligned}
# L_{t-1} & = \tfrac12 \big( \mathrm{SNR}_{t-1} - \mathrm{SNR}_t \big)\, \mathbb E \lVert x_0 - \hat x_0 \rVert^2 \\
# & = \frac{\mathrm{SNR}_{t-1} - \mathrm{SNR}_t}{2\, \mathrm{SNR}_t}\, \mathbb E \lVert \varepsilon - \hat\varepsilon \rVert^2 .
# \end{aligned}
# $$ (eq-ddpm-weights)
# :::
#
# :::{prf:proof}
# In steps, with $s = t - 1$:
#
# 1. The divergence of two Gaussians of the same variance $\sigma^2$ is $\lVert \mu - \hat\mu \rVert^2 / (2 \sigma^2)$ {cite:p}`bishop2006pattern`.
# 2. Here $x_t$ is the same in both, so $\mu - \hat\mu = \frac{a_s (1 - c^2)}{b_t^2} (x_0 - \hat x_0)$.
# 3. $\frac{a_s^2 (1 - c^2)^2}{b_t^4} \cdot \frac{b_t^2}{2\, b_s^2 (1 - c^2)} = \frac{a_s^2 - a_t^2}{2\, b_s^2 b_t^2}$, as $a_s^2 c^2 = a_t^2$.
# 4. $\mathrm{SNR}_s - \mathrm{SNR}_t = \frac{a_s^2 (1 - a_t^2) - a_t^2 (1 - a_s^2)}{b_s^2 b_t^2} = \frac{a_s^2 - a_t^2}{b_s^2 b_t^2}$: the first line.
# 5. $x_0 - \hat x_0 = \frac{b_t}{a_t} (\hat\varepsilon - \varepsilon)$, because both pairs make the same $x_t$. Its square is $\lVert \varepsilon - \hat\varepsilon \rVert^2 / \mathrm{SNR}_t$.
# :::
#
# The check takes the posteriors from the matrix again, and divergences from torch.

# %%
s, t = torch.arange(1, 1000), torch.arange(2, 1001)
x0, e, wrong_e = torch.randn(3, 999).double()
now, then = linear_schedule()[t], linear_schedule()[s]
xt = now.sqrt() * x0 + (1 - now).sqrt() * e
guessed = (xt - (1 - now).sqrt() * wrong_e) / now.sqrt()
both = (noises[s] * noises[t]).sum(1)
gain = both / noises[t].square().sum(1)
spread = (noises[s].square().sum(1) - gain * both).sqrt()


def back_to(clean):
    return Normal(way[s, 0] * clean + gain * (xt - way[t, 0] * clean), spread)


# %%
ratio = linear_schedule() / (1 - linear_schedule())
error = (e - wrong_e).square()
weight = weight_of_noise("bound", linear_schedule(), t)
check(
    "thm-ddpm-weights", of="pictures, one for each step of a schedule"
).equal(
    left=kl_divergence(back_to(x0), back_to(guessed)),
    right=weight * error,
    rtol=1e-7,
    wrong={
        "all weights 1": error,
        "the half forgotten": 2 * weight * error,
        "over the earlier SNR": weight * ratio[t] / ratio[s] * error,
        "the image's weight": weight * ratio[t] * error,
    },
)

# %% [markdown]
# So the restorer is a regression: *add noise, guess the noise, square the error*.
#
# (sec-ddpm-steps)=
# ## Between fixed ends more steps never loosen the bound, and the best guess pays for each
#
# Why a thousand steps?
# Suppose the guess is the best there is, $\hat x_0 = \mathbb E[x_0 \mid x_t]$.
# To hold $x_t$ is to hold $x_t / a_t = x_0 + \varepsilon / \sqrt{\mathrm{SNR}_t}$, so its mean squared error over data and noise depends on the ratio only: call it $m(u)$ at the ratio $u > 0$.
# Even then $L_{t-1} > 0$ unless $x_t$ tells $x_0$.
#
# :::{prf:theorem} The bound is a sum above an integral
# :label: thm-ddpm-steps
# Let $\mathbb E \lVert x_0 \rVert^2 < \infty$. Then $m$ is non-increasing, and for the best guess, with each $L_{t-1}$ averaged over the data,
#
# $$
# \begin{aligned}
# \sum_{t=2}^T L_{t-1} & = \tfrac12 \sum_{t=2}^T \big( \mathrm{SNR}_{t-1} - \mathrm{SNR}_t \big)\, m(\mathrm{SNR}_t) \\
# & \ge \tfrac12 \int_{\mathrm{SNR}_T}^{\mathrm{SNR}_1} m(u)\, du .
# \end{aligned}
# $$ (eq-ddpm-integral)
#
# With the ends $\mathrm{SNR}_1$ and $\mathrm{SNR}_T$ fixed, a further time between two others never increases the sum, and if the largest gap between neighbouring SNRs goes to 0, the sum goes to the integral.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The equality is {prf:ref}`thm-ddpm-weights`; as functions of $x_t$ none has a smaller squared error than the conditional mean.
# 2. Let $s < t$. Who holds $x_s$ can add noise, obtain an $x_t$ and use the best guess from there: its error is $m(\mathrm{SNR}_t)$. The best guess from $x_s$ is at least as good, so $m(\mathrm{SNR}_s) \le m(\mathrm{SNR}_t)$.
# 3. Insert a time with the ratio $u$ between $\mathrm{SNR}_s > u > \mathrm{SNR}_t$. By line 2 $(\mathrm{SNR}_s - u)\, m(u) + (u - \mathrm{SNR}_t)\, m(\mathrm{SNR}_t) \le (\mathrm{SNR}_s - \mathrm{SNR}_t)\, m(\mathrm{SNR}_t)$.
# 4. The sum takes the larger end of $m$ in each interval, so it is at least the integral. It exceeds the sum with the smaller ends by at most half the largest gap times $m(\mathrm{SNR}_T) - m(\mathrm{SNR}_1)$, which is finite as $m \le \mathbb E \lVert x_0 \rVert^2$, and the integral lies between the two.
# :::
#
# The integral is that of {cite:t}`kingma2021variational`; it depends on the two ends only, not on the schedule between them.
# The check takes 30 random mixtures on the line, with $m$ by quadrature: first five times, then nine more between them.


# %%
def least_error(world, times):
    """m at times (n,) of a world on the line, by a sum over x_t."""
    grid = torch.linspace(-4.8, 4.8, 1281, dtype=torch.double)
    found = []
    second = world.deviations**2 + world.means[:, 0] ** 2
    second = (world.log_weights.exp() * second).sum()
    for some in torch.as_tensor(times).split(50):
        at = some.repeat_interleave(1281)
        x = grid.repeat(len(some))[:, None]
        mass = world.log_prob(x, at).exp() * 0.0075
        part = mass * world.predict(x, at).clean[:, 0] ** 2
        found.append(second - part.view(-1, 1281).sum(1))
    return torch.cat(found)


def sums(ratio, m):
    """Half the sum with m at the noisier, and at the cleaner ends."""
    gap = ratio[:-1] - ratio[1:]
    return torch.stack([gap @ m[1:], gap @ m[:-1]]) / 2


# %%
torch.manual_seed(seed)
nodes, at_nodes = map(torch.tensor, roots_legendre(40))
coarse, fine, integral = [], [], []
for _ in range(30):
    log = 4 - 8 * draw(14).sort().values
    log[[0, -1]] = torch.tensor([4.0, -4.0]).double()
    everywhere = torch.cat([log, 4 * nodes]).sigmoid()  # alpha_bar
    means, sizes = 2 * draw(3, 1) - 1, 0.1 + draw(3) / 2
    world = NoisedMixture(draw(3) + 0.1, means, sizes, everywhere)
    m = least_error(world, range(54))
    few = [0, *sorted(torch.randperm(12)[:3].add(1).tolist()), 13]
    coarse.append(sums(log.exp()[few], m[few]))
    fine.append(sums(log.exp(), m[:14]))
    integral.append((at_nodes * 4 * (4 * nodes).exp()) @ m[14:] / 2)

# %%
(coarse, low), (fine, under) = torch.stack(coarse, 1), torch.stack(fine, 1)
integral = torch.stack(integral)
check("thm-ddpm-steps", of="random schedules and worlds").at_most(
    torch.stack([fine, integral], 1),
    torch.stack([coarse, fine], 1),
    how="quadrature",
    rtol=1e-6,
    wrong={
        "more steps cost more": (
            torch.stack([coarse, integral], 1),
            torch.stack([fine, coarse], 1),
        ),
        "the cleaner end's error": (
            torch.stack([under, integral], 1),
            torch.stack([low, under], 1),
        ),
        "the half forgotten": (
            torch.stack([fine, 2 * integral], 1),
            torch.stack([coarse, fine], 1),
        ),
    },
)

# %% [markdown]
# On the line each part of the bound is an integral, and so is the data's entropy, below which no model's mean $-\log p$ can lie.
# The world is three narrow Gaussians; $p(x_0 \mid x_1)$ is a Gaussian around $\hat x_0$ with variance $1 / \mathrm{SNR}_1$.

# %%
towns = torch.tensor([[-0.9], [0.1], [0.8]]).double()
crowds = torch.tensor([0.5, 0.3, 0.2]).double()
widths = torch.tensor([0.1, 0.15, 0.05]).double()
home = partial(NoisedMixture, crowds, towns, widths)


def price(kept):
    """Nats above the entropy that the best guess pays on this schedule."""
    world, ratio = home(kept), kept[1:] / (1 - kept[1:])
    m = least_error(world, range(1, len(kept)))
    last = kept[-1] * (crowds @ (widths**2 + towns[:, 0] ** 2))
    last = (last - kept[-1] - (1 - kept[-1]).log()) / 2
    first = ((2 * math.pi / ratio[0]).log() + ratio[0] * m[0]) / 2
    grid = torch.linspace(-2, 2, 4001).double()[:, None]
    log_prob = world.log_prob(grid, torch.zeros(4001).long())
    entropy = -(log_prob.exp() * log_prob).sum() * 0.001
    return (last + sums(ratio, m)[0] + first - entropy).item()


# %%
def even(steps):
    """alpha_bar whose log SNR falls by equal steps, from 9 to -9."""
    kept = torch.linspace(9, -9, steps).double().sigmoid()
    return torch.cat([torch.ones(1).double(), kept])


rows, nats = [], {}
for steps in (25, 100, 400, 1000):
    row = {"steps": str(steps)}
    for name, make in {**SCHEDULES, "even in log SNR": even}.items():
        row[name] = nats[name, steps] = price(make(steps))
    rows.append(row)
results_table(rows)

# %%
first = {name: make() for name, make in SCHEDULES.items()}
first = {n: (k / (1 - k))[1:3].tolist() for n, k in first.items()}
Markdown(
    "Nats above the entropy. With steps that are even in log SNR the price "
    "falls as 1 / T: a tenth of the steps costs "
    f"{nats['even in log SNR', 100] / nats['even in log SNR', 1000]:.1f} "
    "times as much. The other two do not fall to 0: from t = 1 to t = 2 their "
    f"SNR falls by factors of {first['linear'][0] / first['linear'][1]:.1f} and "
    f"{first['cosine'][0] / first['cosine'][1]:.1f} with 1,000 steps, and "
    "near 2 with any larger number."
)

# %% [markdown]
# Where there is little noise and the density of the data is smooth, $m(u) \approx 1 / u$ in each dimension, so that a step with the ratio $r$ of the two SNRs costs $\tfrac12 (r - 1 - \log r)$ too much; {ref}`an exercise <ex-ddpm-euler>` adds them up.
# (Digits are not smooth: a pixel that is always black needs no guess. The left panel of the figure in {ref}`sec-ddpm-memory` is $u\, m(u)$ for each pixel, with the network's error in the place of the least one, and lies well below 1 also where there is least noise.)
#
# (sec-ddpm-simple)=
# ## The simple loss drops the weights, and with them the grain
#
# {cite:t}`ho2020denoising` dropped the weights of {prf:ref}`thm-ddpm-weights`: their *simple* loss counts the noise's error alike at all times, and their pictures got better, their bound worse.
# The best guess is the same under any weights above 0, since it is best at each $t$ for itself.
# But a small network has to choose where to err.

# %%
source(weight_of_noise)

# %% tags=["hide-input"]
kept, t = cosine_schedule(), torch.arange(1, 1001)
weights = {
    name: (t, weight_of_noise(name, kept, t).clamp(max=1e4))
    for name in ("simple", "bound", "velocity")
}
show(
    curves(
        weights,
        "time t",
        "weight of the noise's error",
        scales=("linear", "log"),
        alt="Three curves: a constant, one that is high at both ends, and "
        "one that rises from 1; the last two shoot up at t = 1000.",
    ),
    "How the three losses weigh the squared error of the noise, cosine "
    "schedule, cut at 10,000. (At t = 1 the bound is not a squared error; "
    "the weight of t = 2 is used.)",
    label="fig-ddpm-weights",
)

# %% [markdown]
# The bound cares for both ends, but not alike.

# %%
last = {}
for name, make in SCHEDULES.items():
    of_bound = weight_of_noise("bound", make(), torch.arange(2, 1001))
    last[name] = (of_bound[-1] / of_bound.sum()).item()
    print(f"{name}: {last[name]:.1%} of the bound's weights lie on t = 1000")

# %% [markdown]
# The cosine schedule ends with one step that throws nearly all of the rest away ($\beta_{1000} = 0.999$), and that step alone outweighs the 998 others: a bound on this schedule is above all a bet on a single time.
# So the weights of two bounds may only be compared on one schedule; {ref}`the trials <sec-ddpm-trials>` come back to this.
# Ours is trained with the third curve, which comes next.
#
# (sec-ddpm-names)=
# ## Noise, image, velocity and score are one guess in four words
#
# Write $a_t = \cos\varphi$ and $b_t = \sin\varphi$.
# Then $x_t = \cos\varphi\, x_0 + \sin\varphi\, \varepsilon$ moves on a quarter of a circle, and its derivative by the angle is the *velocity* $v = \cos\varphi\, \varepsilon - \sin\varphi\, x_0$ {cite:p}`salimans2022progressive`.
#
# :::{prf:theorem} Four names of one guess
# :label: thm-ddpm-names
# Given $x_t$ with $0 < a_t < 1$, each of $x_0, \varepsilon, v$ determines the others:
#
# $$
# \begin{pmatrix} x_0 \\ \varepsilon \end{pmatrix} = \begin{pmatrix} a_t & -b_t \\ b_t & a_t \end{pmatrix} \begin{pmatrix} x_t \\ v \end{pmatrix}.
# $$ (eq-ddpm-turn)
#
# 1. For guesses translated in this way,
# $\lVert v - \hat v \rVert^2 = \lVert \varepsilon - \hat\varepsilon \rVert^2 / a_t^2 = \lVert x_0 - \hat x_0 \rVert^2 / b_t^2$.
# 2. If they are conditional means given $x_t$, then $\nabla \log q(x_t) = -\hat\varepsilon / b_t$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $(x_t, v)$ is $(x_0, \varepsilon)$ turned by the matrix with rows $(a_t, b_t)$ and $(-b_t, a_t)$, which is orthogonal because $a_t^2 + b_t^2 = 1$. Its transpose turns it back: eq. {eq}`eq-ddpm-turn`.
# 2. $x_t$ is given, so by that equation $x_0 - \hat x_0 = -b_t (v - \hat v)$ and $\varepsilon - \hat\varepsilon = a_t (v - \hat v)$. Square.
# 3. $\tilde x = x_t / a_t = x_0 + \sigma \varepsilon$ with $\sigma = b_t / a_t$ is noisy data as in {prf:ref}`thm-score-matching-tweedie`: $\hat x_0 = \tilde x + \sigma^2\, \nabla \log q_\sigma(\tilde x)$.
# 4. The logarithm of the density of $x_t = a_t \tilde x$ is $\log q_\sigma(x_t / a_t)$ and a constant, so $\nabla \log q_\sigma(\tilde x) = a_t\, \nabla \log q(x_t)$.
# 5. Together $a_t \hat x_0 = x_t + b_t^2\, \nabla \log q(x_t)$, and $\hat\varepsilon = (x_t - a_t \hat x_0) / b_t = -b_t\, \nabla \log q(x_t)$.
# :::
#
# So the network is a score model of all noise levels at once, and at each time the simple loss is that of {prf:ref}`thm-score-matching-denoising`, times $2 / \mathrm{SNR}_t$.

# %%
source(translate)

# %%
torch.manual_seed(seed)
plane = NoisedMixture(
    draw(4), 4 * draw(4, 2) - 2, 0.2 + draw(4), cosine_schedule()
)
t = torch.randint(1, 1000, (300,))
noisy = torch.randn(300, 2).double().requires_grad_()
(slope,) = torch.autograd.grad(plane.log_prob(noisy, t).sum(), noisy)
signal = plane.alpha_bar[t].sqrt()[:, None]
scale = (1 - signal**2).sqrt()
guess, noisy = plane.predict(noisy, t), noisy.detach()
words = [
    translate(kind, getattr(guess, kind), noisy, signal, scale).noise
    for kind in ("noise", "clean", "velocity")
]
flipped = scale * noisy - signal * guess.velocity


# %%
def scores(found):
    return torch.cat([-one / scale for one in found], 1).detach()


check("thm-ddpm-names", about="one score", of="random guesses").equal(
    left=slope.repeat(1, 3),
    right=scores(words),
    how="autograd",
    rtol=1e-6,
    wrong={
        "downhill": -scores(words),
        "over the variance": scores(words) / scale,
        "not divided": scores(words) * scale,
        "velocity the other way": scores([*words[:2], flipped]),
    },
)

# %%
other = [one + torch.randn(300, 2).double() for one in guess[:3]]
found, errors = [], []
for kind, one in zip(("noise", "clean", "velocity"), other, strict=True):
    new = translate(kind, one.detach(), noisy, signal, scale)
    gap = [
        (a - b).detach().square().sum(1)
        for a, b in zip(new, guess, strict=True)
    ]
    found.append(gap[2])
    errors.append(torch.stack(gap[:2], 1))
v, (e, x0) = torch.cat(found), torch.cat(errors).T
a2, b2 = (signal**2).repeat(3, 1)[:, 0], (scale**2).repeat(3, 1)[:, 0]
check("thm-ddpm-names", about="errors", of="guesses").equal(
    left=torch.stack([v, v], 1),
    right=torch.stack([e / a2, x0 / b2], 1),
    rtol=1e-6,
    wrong={
        "signal and noise exchanged": torch.stack([e / b2, x0 / a2], 1),
        "errors are equal": torch.stack([e, x0], 1),
    },
)

# %% [markdown]
# So the loss in $v$ is the loss in $\varepsilon$ with weight $1 / \bar\alpha_t = 1 + 1 / \mathrm{SNR}_t$.
#
# :::{prf:proposition} Which error grows
# :label: prop-ddpm-amplified
# In a step from $t$ to $s \ge 1$ with the mean $\mu$ of eq. {eq}`eq-ddpm-posterior`, an error of the guess arrives in $x_s$ multiplied by
#
# $$
# -k \ \text{for } \hat v, \quad -\frac k{a_t} \ \text{for } \hat\varepsilon, \quad \frac k{b_t} \ \text{for } \hat x_0 .
# $$ (eq-ddpm-amplified)
#
# Here $k = a_s (1 - c^2) / b_t$, and $k \le a_s b_t < 1$: a step never enlarges errors of $\hat v$ and $\hat x_0$, but those of $\hat\varepsilon$ without bound as $a_t \to 0$ with $s$ fixed.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\mu$ depends on the guess only through $\hat x_0$, with the factor $a_s (1 - c^2) / b_t^2 = k / b_t$ ({prf:ref}`thm-ddpm-posterior`).
# 2. $\hat x_0 = a_t x_t - b_t \hat v = (x_t - b_t \hat\varepsilon) / a_t$ changes by $-b_t$ and $-b_t / a_t$ times the errors.
# 3. $1 - c^2 \le 1 - a_s^2 c^2 = b_t^2$, so $k \le a_s b_t < 1$ and $k / b_t \le a_s < 1$. With $s$ fixed, $a_t \to 0$ makes $c \to 0$ and $b_t \to 1$, so $k \to a_s$ and $k / a_t \to \infty$.
# :::

# %%
s = torch.randint(1, 990, (300,))
t = s + 1 + (draw(300) * (1000 - s)).long()  # strides of any length
now, then = cosine_schedule()[t], cosine_schedule()[s]
a, b, zero = now.sqrt(), (1 - now).sqrt(), torch.zeros(300).double()
slopes = []
for kind in ("velocity", "noise", "clean"):
    said = torch.randn(300).double().requires_grad_()
    here = 0.3 + zero
    mean = step(here, translate(kind, said, here, a, b), now, then)
    slopes.append(torch.autograd.grad(mean.sum(), said)[0])
k = then.sqrt() * (1 - now / then) / b
check("prop-ddpm-amplified", of="random pairs of times").equal(
    left=torch.stack(slopes, 1),
    right=torch.stack([-k, -k / a, k / b], 1),
    how="autograd",
    wrong={
        "noise is as safe": torch.stack([-k, -k, k / b], 1),
        "over the noise": torch.stack([-k, -k / b, k / a], 1),
        "late signal": torch.stack([-k, -k / a, k / b], 1)
        * (now / then).sqrt()[:, None],
    },
)

# %%
check("prop-ddpm-amplified").at_most(
    torch.stack([k, k / b], 1),
    torch.stack([then.sqrt() * b, then.sqrt()], 1),
    wrong={
        "late signal": (
            torch.stack([k, k / b], 1),
            torch.stack([a * b, a], 1),
        ),
        "errors of the noise as well": (
            torch.stack([k / a, k / b], 1),
            torch.stack([then.sqrt() * b, then.sqrt()], 1),
        ),
        "the square of the signal": (
            torch.stack([k, k / b], 1),
            torch.stack([then * b, then], 1),
        ),
    },
)

# %% [markdown]
# (sec-ddpm-amplified)=
# ## A small error of the noise ruins large steps
#
# To the exact guess for the three towns we add 0.02, in one of the three words, and sample from the same noise.


# %%
class Spoilt:
    """An exact world whose guess is wrong by 0.02 in one of its words."""

    def __init__(self, kind, world):
        self.kind, self.world = kind, world
        self.alpha_bar = world.alpha_bar

    def predict(self, x, t):
        a = self.alpha_bar[t].sqrt()[:, None]
        guess = self.world.predict(x, t)
        if not self.kind:
            return guess
        said = getattr(guess, self.kind) + 0.02
        return translate(self.kind, said, x, a, (1 - a**2).sqrt())


# %%
start = torch.randn(3000, 1, generator=torch.manual_seed(seed)).double()
line, rows, spoilt = home(cosine_schedule()), [], {}
for kind in ("", "velocity", "clean", "noise", "noise, clipped"):
    row = {"0.02 added to": kind or "nothing"}
    word, _, clip = kind.partition(", ")
    for steps in (10, 50, 250):
        fresh = torch.Generator().manual_seed(seed)
        found = sample(
            Spoilt(word, line),
            start,
            steps,
            eta=1.0,
            clip=1.2 * bool(clip),
            generator=fresh,
        )
        east = metrics.mean_of((found[:, 0] > 0.5).double())
        row[f"{steps} steps, %"] = spoilt[kind, steps] = east
    rows.append(row)
results_table(rows, percent=[f"{steps} steps, %" for steps in (10, 50, 250)])

# %%
truth, (now, then) = crowds[2].item(), line.alpha_bar[[1000, 900]]
grown = then.sqrt() * (1 - now / then) / (now * (1 - now)).sqrt()
Markdown(
    f"Share of the smallest town, whose true share is {truth:.0%}. An error "
    f"of 0.02 in the noise makes it {spoilt['noise', 10].value:.0%} in ten "
    f"steps (no error: {spoilt['', 10].value:.0%}); the same error in the "
    f"velocity leaves it at {spoilt['velocity', 10].value:.0%}. To clip the "
    "guess of the image to its range is the usual repair: "
    f"{spoilt['noise, clipped', 10].value:.0%}. The first of ten steps "
    f"multiplies an error of the noise by {grown:,.0f}."
)

# %% [markdown]
# Two cures: clip $\hat x_0$ to the range of pixels, as our sampler does, or let the network say $\hat v$, as ours does.
# {ref}`Below <sec-ddpm-rounded>` we try both on digits.
#
# (sec-ddpm-unet)=
# ## The restorer is a U-Net, and its parts are short
#
# The guess needs both a view of the whole and every pixel.
# A U-Net {cite:p}`ronneberger2015unet` halves the image, and doubles it again, with a bridge at each size.
# The run is recalled first; the U-Net that we build will have to agree with its network.

# %% tags=["hide-input"]
sketch, levels = (
    Sketch(360, 214),
    (("28 × 28", 32), ("14 × 14", 64), ("7 × 7", 128)),
)
for row, (side, wide) in enumerate(levels):
    for way_name, x_at in (("down", 66 + 24 * row), ("up", 294 - 24 * row)):
        where = (x_at, 40 + 58 * row)
        sketch.node((way_name, row), *where, f"{wide}", size=(46, 26))
    sketch.words(180, 34 + 58 * row, f"{side}: the skip", small=True)
    sketch.link(("down", row), ("up", row), dashed=True)
    if row:
        sketch.link(("down", row - 1), ("down", row))
        sketch.link(("up", row), ("up", row - 1))
sketch.node("middle", 180, 200, "middle, attention", size=(128, 24))
sketch.link(("down", 2), "middle").link("middle", ("up", 2))
sketch.words(66, 18, "xₜ, t, label").words(294, 18, "v̂")
sketch.show(
    "The U-Net with its channels. Left, the contracting path: a block, then "
    "halve. Right, the expansive path: double, put the kept picture beside, "
    "a block. Time and label enter every block.",
    alt="A U of boxes: 32, 64 and 128 channels down, a middle with attention, "
    "and up again, with dashed bridges.",
    label="fig-ddpm-unet",
)

# %%
channels = (16, 32, 64) if subset else (32, 64, 128)  # a trial is short
run = train(ddpm, epochs, seed, subset, channels=channels)
model = run.model.cpu()
print(run)

# %% [markdown]
# **Time as sines.** The time becomes a vector of sines and cosines, fast ones and slow ones {cite:p}`vaswani2017attention`.
# The inner product of two such vectors is $\sum_k \cos \omega_k (t - s)$ with $\omega_k = 10^{-4 k / 63}$, which depends on the difference only.


# %%
def time_embedding(t, width=128):
    """(B,) -> (B, width)"""
    k = torch.arange(width // 2) / (width // 2 - 1)
    angle = t.float()[:, None] * torch.exp(-math.log(10_000) * k)
    return torch.cat([angle.sin(), angle.cos()], 1)


with torch.no_grad():
    wave = time_embedding(torch.arange(1001)).double()
    inner = wave @ wave.T
    for gap in (0, 1, 50, 400):
        same = inner.diagonal(gap)
        assert (same - same[0]).abs().max() < 5e-3
for gap in (0, 1, 50, 400):
    print(f"{gap} apart: inner product {inner[0, gap]:.1f}")

# %% [markdown]
# **GroupNorm**: within each image, each group of 8 channels is shifted and scaled to mean 0 and variance 1 {cite:p}`wu2018group`.


# %%
def group_norm(x, groups, gain, shift):
    parts = x.reshape(len(x), groups, -1)  # (B, groups, numbers)
    variance, mean = torch.var_mean(parts, 2, correction=0, keepdim=True)
    x = ((parts - mean) / (variance + 1e-5).sqrt()).view_as(x)
    return x * gain[:, None, None] + shift[:, None, None]


class Norm(nn.Module):
    """(B, C, H, W) -> the same"""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        groups = len(self.weight) // 8
        return group_norm(x, groups, self.weight, self.bias)


# %%
torch.manual_seed(seed)
h, gain, shift = torch.randn(2, 32, 7, 7), torch.randn(32), torch.randn(32)
torch.testing.assert_close(
    group_norm(h, 4, gain, shift), F.group_norm(h, 4, gain, shift)
)

# %% [markdown]
# **The ResNet block** {cite:p}`he2016deep`: norm, SiLU ($x \cdot \mathrm{sigmoid}(x)$), convolution, twice; between the two the embedded time is added to every pixel; and the input is added to the result.
# Where the numbers of channels differ, a $1 \times 1$ convolution matches them.


# %%
class ResBlock(nn.Module):
    """(B, before, H, W), (B, E) -> (B, after, H, W)"""

    def __init__(self, before, after, width=128):
        super().__init__()
        self.norm1, self.norm2 = Norm(before), Norm(after)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        self.time = nn.Linear(width, after)
        same = before == after
        self.match = nn.Identity() if same else nn.Conv2d(before, after, 1)

    def forward(self, x, e):
        h = self.conv1(F.silu(self.norm1(x)))
        h = h + self.time(F.silu(e))[:, :, None, None]  # to every pixel
        return self.match(x) + self.conv2(F.silu(self.norm2(h)))


# %% [markdown]
# The oracle writes the same with functions of torch, convolutions as sums over patches.


# %%
def patches(layer, x):
    """A 3 x 3 convolution as one matrix that acts on each patch."""
    columns = F.unfold(x, 3, padding=1)  # (B, 9 C, H W)
    y = layer.weight.flatten(1) @ columns + layer.bias[:, None]
    return y.unflatten(2, x.shape[2:])


block, x32, e = ResBlock(32, 64), torch.randn(2, 32, 7, 7), torch.randn(2, 128)
with torch.no_grad():
    y = patches(block.conv1, F.silu(F.group_norm(x32, 4)))
    y = y + block.time(e * e.sigmoid())[..., None, None]
    y = patches(block.conv2, F.silu(F.group_norm(y, 8)))
    bridge = block.match.weight[:, :, 0, 0] @ x32.flatten(2)
    y = y + bridge.view_as(y) + block.match.bias[:, None, None]
    torch.testing.assert_close(block(x32, e), y, rtol=1e-4, atol=1e-4)

# %% [markdown]
# **Attention.** At $7 \times 7$ each of the $N = 49$ places $i$ asks a question $\mathbf q_i$, offers a key $\mathbf k_i$ and a value $\mathbf v_i$, and takes a mean of all values, weighted by how well the keys fit its question {cite:p}`vaswani2017attention`:
#
# $$
# \mathbf y_i = \sum_j \mathrm{softmax}_j \big( \mathbf q_i^\top \mathbf k_j / \sqrt{C / \text{heads}} \big)\, \mathbf v_j .
# $$ (eq-ddpm-attention)
#
# Several *heads* do this side by side, each on its share of the $C$ channels.
# Attention and the feed-forward layer behind it each begin with a GroupNorm and are added to their input.


# %%
def attend(q, k, v, heads):
    """(B, C, N) three times -> (B, C, N)"""
    q, k, v = (one.unflatten(1, (heads, -1)) for one in (q, k, v))
    fit = torch.einsum("bhci,bhcj->bhij", q, k) / math.sqrt(q.shape[2])
    return torch.einsum("bhij,bhcj->bhci", fit.softmax(-1), v).flatten(1, 2)


class Attention(nn.Module):
    """(B, C, H, W) -> the same"""

    def __init__(self, c, heads=4):
        super().__init__()
        self.heads, self.norm = heads, Norm(c)
        self.qkv, self.out = nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)
        wide, narrow = nn.Conv2d(c, 2 * c, 1), nn.Conv2d(2 * c, c, 1)
        self.feed = nn.Sequential(Norm(c), wide, nn.SiLU(), narrow)

    def forward(self, x):
        qkv = self.qkv(self.norm(x)).flatten(2).chunk(3, 1)  # (B, C, N) each
        x = x + self.out(attend(*qkv, self.heads).view_as(x))
        return x + self.feed(x)


# %%
torch.manual_seed(seed)
q, k, v = torch.randn(3, 2, 4, 49, 16)  # torch: (B, heads, N, C / heads)
flat = [one.mT.flatten(1, 2) for one in (q, k, v)]
theirs = F.scaled_dot_product_attention(q, k, v)
torch.testing.assert_close(
    attend(*flat, 4), theirs.mT.flatten(1, 2), rtol=1e-4, atol=1e-5
)

# %% [markdown]
# **Contracting path, middle, expansive path.** Down: a block, keep its picture, halve by a stride of 2.
# Middle: block, attention, block.
# Up: double, put the kept picture beside (the *skip*), a block.


# %%
def contracting(sizes):
    blocks, halves = nn.ModuleList(), nn.ModuleList()
    for before, after in pairwise((sizes[0], *sizes)):
        blocks.append(ResBlock(before, after))
        halves.append(nn.Conv2d(after, after, 3, stride=2, padding=1))
    halves[-1] = nn.Identity()  # the last picture is not halved
    return blocks, halves


def middle(c):
    return nn.ModuleList([ResBlock(c, c), Attention(c), ResBlock(c, c)])


def expansive(sizes):
    blocks, doubles = nn.ModuleList(), nn.ModuleList()
    for below, here in pairwise((sizes[-1], *sizes[::-1])):
        twice = nn.Upsample(scale_factor=2)
        doubles.append(nn.Sequential(twice, nn.Conv2d(below, here, 1)))
        blocks.append(ResBlock(2 * here, here))  # the skip comes beside
    doubles[0] = nn.Identity()
    return blocks, doubles


# %% [markdown]
# **The whole.** The label is a learned vector that is added to the embedded time; an eleventh vector means *no label*.


# %%
class UNet(nn.Module):
    """(B, 1, 28, 28), (B,), (B,) or None -> (B, 1, 28, 28)"""

    def __init__(self, sizes=(32, 64, 128), width=128):
        super().__init__()
        two = nn.Linear(width, width), nn.Linear(width, width)
        self.embed = nn.Sequential(two[0], nn.SiLU(), two[1])
        self.label = nn.Embedding(11, width)
        self.stem = nn.Conv2d(1, sizes[0], 3, padding=1)
        self.down, self.shrink = contracting(sizes)
        self.middle = middle(sizes[-1])
        self.up, self.grow = expansive(sizes)
        last = nn.Conv2d(sizes[0], 1, 3, padding=1)
        self.head = nn.Sequential(Norm(sizes[0]), nn.SiLU(), last)

    def forward(self, x, t, y=None):
        e = self.embed(time_embedding(t))
        e = e + self.label(torch.full_like(t, 10) if y is None else y)
        h, kept = contract(self, self.stem(x), e)
        block, attention, last = self.middle
        h = last(attention(block(h, e)), e)
        return self.head(expand(self, h, kept, e))


# %%
def contract(net, h, e):
    kept = []
    for block, halve in zip(net.down, net.shrink, strict=True):
        kept.append(block(h, e))
        h = halve(kept[-1])
    return h, kept


def expand(net, h, kept, e):
    for block, double in zip(net.up, net.grow, strict=True):
        h = block(torch.cat([double(h), kept.pop()], 1), e)
    return h


page = UNet(channels)
page.load_state_dict(model.net.state_dict())
t, y = torch.tensor([1, 300, 700, 1000]), torch.arange(4)
with torch.no_grad():
    for label in (y, None):
        ours, theirs = (net(shown[:4], t, label) for net in (page, model.net))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
print("with the run's weights the page's U-Net is the package's")


# %%
def one_call(net, parts):
    """Each part's weights, and the shape that it gives for one image."""
    rows, hooks = [], []
    for name, some in parts.items():
        count = sum(p.numel() for part in some for p in part.parameters())
        row = {"part": name, "weights": count}
        rows.append(row)

        def note(module, given, out, row=row):
            row["shape of its last output"] = " × ".join(map(str, out.shape))

        hooks.append(some[-1].register_forward_hook(note))
    with torch.no_grad():
        net(shown[:1], t[:1], y[:1])
    for hook in hooks:
        hook.remove()
    return rows


# %%
parts = {
    "time": [page.embed],
    "label": [page.label],
    "stem": [page.stem],
    "contracting path": [*page.shrink, *page.down],
    "middle": [*page.middle],
    "expansive path": [*page.grow, *page.up],
    "head": [page.head],
}
rows = one_call(page, parts)
total_weights = sum(row["weights"] for row in rows)
results_table([*rows, {"part": "all", "weights": total_weights}])

# %% [markdown]
# Which input pixels move one output pixel, by convolutions alone, with all levels and with the lower ones cut off? (On a sheet of 112 × 112, so that no border cuts the window.)


# %%
def seen(net):
    """Side of the window of inputs that move the middle output pixel."""
    there = torch.randn(1, 1, 112, 112, generator=torch.manual_seed(seed))
    there.requires_grad_()
    out = net(there, torch.tensor([500]), torch.tensor([3]))[0, 0, 56, 56]
    (slope,) = torch.autograd.grad(out, there)
    return (slope[0, 0] != 0).any(0).sum().item()


blind = UNet(channels)
blind.load_state_dict(page.state_dict())
blind.middle[1] = nn.Identity()  # no attention
for module in list(blind.modules()):
    for name, child in list(module.named_children()):
        if isinstance(child, Norm):  # its mean is over the whole image
            setattr(module, name, nn.Identity())

# %%
sides = [seen(blind)]
for lower in blind.grow[1:]:  # from below: 7 x 7, then 14 x 14
    for p in lower.parameters():
        nn.init.zeros_(p)
    sides.append(seen(blind))
Markdown(
    f"The upper level alone sees a window of {sides[2]} × {sides[2]} pixels; "
    f"halving once widens it to {sides[1]}, halving twice to {sides[0]}: only "
    "then does every output pixel see the whole digit."
)

# %% [markdown]
# **Averaged weights.** An exponential moving average of the weights damps the jumps of single steps; {ref}`below <sec-ddpm-trials>` we measure what it is worth here.
# With a constant decay it would for some thousand steps be mostly the random weights that it began with; so the decay is smaller at first.


# %%
@torch.no_grad()
def average(slow, fast, k, decay=0.999):
    share = 1 - min(decay, (1 + k) / (10 + k))  # k steps are done
    for a, b in zip(slow.parameters(), fast.parameters(), strict=True):
        a.lerp_(b, share)  # a <- a + share (b - a)


slow, fast, values = nn.Linear(1, 1), nn.Linear(1, 1), torch.randn(1000)
first = slow.weight.item()
for k, value in enumerate(values):
    nn.init.constant_(fast.weight, value)
    average(slow, fast, k)
share = (9 / (10 + torch.arange(1000))).clamp(min=1e-3).double()
stays = (1 - share).flip(0).cumprod(0).flip(0)  # of what came before step k
explicit = (values * share * F.pad(stays[1:], (0, 1), value=1.0)).sum()
left = stays[0].item()
assert abs(slow.weight.item() - (explicit + left * first)) < 1e-4
print(f"after 1,000 steps: {left:.0e} of the first weights is left; "
      f"with a constant decay {0.999**1000:.0%}")  # fmt: skip

# %% [markdown]
# (sec-ddpm-training)=
# ## It is trained on single steps, and draws whole digits
#
# Add noise, guess, square the error: at a random time for each image, with the velocity's weight.

# %%
source(denoising_loss)

# %% [markdown]
# That is all there is to training. Here is the whole of it in plain PyTorch, for a small U-Net, a few hundred images and some seconds: Adam, a rate that warms up, a bound on the gradient, the average of the weights, and every tenth label withheld.
# One thing the parts above leave out: the last layer of every residual branch and of the head starts at zero (`silent`), so that a fresh network changes nothing and says 0.


# %% tags=["hide-input"]
def silent(net):
    """Start each residual branch, and the head, at zero."""
    ends = [net.head[-1]]
    for part in net.modules():
        if isinstance(part, ResBlock):
            ends.append(part.conv2)
        if isinstance(part, Attention):
            ends += [part.out, part.feed[-1]]
    for end in ends:
        nn.init.zeros_(end.weight)
        nn.init.zeros_(end.bias)
    return net


# %% tags=["show-input"]
def learn(net, images, labels, steps, kept, hidden=0.1, batch=64, rate=2e-3):
    """Train net to guess the velocity; give its averaged copy and the losses."""
    optimizer = torch.optim.Adam(net.parameters(), rate, betas=(0.9, 0.99))
    slow, losses = copy.deepcopy(net), []
    for k in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1, (k + 1) / 20)
        rows = torch.randint(len(images), (batch,))
        x, t = images[rows], torch.randint(1, len(kept), (batch,))
        y = labels[rows].masked_fill(torch.rand(batch) < hidden, 10)
        a, e = kept[t].sqrt()[:, None, None, None], torch.randn_like(x)
        b = (1 - a**2).sqrt()
        loss = (net(a * x + b * e, t, y) - (a * e - b * x)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        average(slow, net, k)
        losses.append(loss.item())
    return slow, losses


# %%
torch.manual_seed(seed)
few, of = data.examples("train", 600)
course = cosine_schedule().float()
length = 20 if subset else 60  # a trial is short
_, losses = learn(silent(UNet((8, 16, 32))), few, of, length, course, batch=32)
chunks = torch.tensor(losses).view(-1, 10).mean(1)
show(
    curves(
        {"mean of ten steps": (10 * torch.arange(len(chunks)) + 5, chunks)},
        "step",
        "squared error",
        height=2.2,
        alt="A curve that falls steeply, then slowly.",
    ),
    "The velocity's error in the plain loop on 600 digits. Saying 0 would cost about "
    "1: the velocity has about the variance of image and noise.",
    label="fig-ddpm-loop",
)

# %%
assert subset or chunks[-1] < 0.8 * chunks[0]
print(f"first ten steps {chunks[0]:.3f}, last ten {chunks[-1]:.3f}")

# %% [markdown]
# The published run is this loop with the larger network, all 60,000 images, batch 128, a rate of $10^{-3}$ that warms up for a fifth of an epoch and then falls along a cosine.
# To train the noise instead, as many do, put `e` in the place of `a * e - b * x`.

# %% tags=["hide-input"]
at = [row["epoch"] for row in run.history if "test/noise" in row]
noise_error = [r["test/noise"] for r in run.history if "test/noise" in r]
speed = [row["examples/s"] for row in run.history]
watched = run.snapshots
rows = {
    f"epoch {k}": unit(images[:10])
    for k, images in watched.items()
    if len(watched) < 6 or k in list(watched)[:: len(watched) // 5]
}
rows["fresh noise"] = drawn(model, 10, 25, eta=1.0)
show(
    figures.image_rows(
        rows,
        alt="Rows of ten drawn digits, 0 to 9, one row for each epoch shown.",
    ),
    "Drawn after some epochs from the same ten noises with the labels 0 to 9, "
    "in 25 steps without fresh noise; the last row with it, after all epochs.",
    label="fig-ddpm-epochs",
)

# %%
hours = run.config.get("wall_seconds", 0) / 3600
Markdown(
    f"{total_weights:,} weights, {run.epochs} epochs on {run.source} data, "
    f"{hours:.1f} hours, {sum(speed) / len(speed):.0f} images/s on the mean. "
    f"Squared error of the noise on test images: {noise_error[0]:.4f} after "
    f"epoch {at[0]}, **{noise_error[-1]:.4f}** after epoch {at[-1]}."
)

# %% [markdown]
# (sec-ddpm-sampling)=
# ## It decides the large things first
#
# To sample, begin with noise and step back, with any stride: guess $\hat x_0$, clip it, go to the mean of eq. {eq}`eq-ddpm-posterior`, add fresh noise of its variance (`eta` 1).
# With `eta` 0 nothing fresh is added and all of the guessed noise is kept, $x_s = a_s \hat x_0 + b_s \hat\varepsilon$ (this is {ref}`DDIM <ch:ddim>`). `eta` 1 is the sampler of {cite:t}`ho2020denoising`. Our results are drawn with fresh noise unless they say *without*.

# %%
source(path)

# %% tags=["hide-input"]
fast = partial(
    torch.autocast, "cpu", torch.bfloat16, enabled=fast_precision() == "bf16"
)
torch.manual_seed(seed)
first, asked = torch.randn(8, 1, 28, 28), torch.arange(8)
stages = {1000: (first, 0 * first)}
with fast():
    way_back = path(
        model,
        first,
        50,
        1.0,
        1.0,
        torch.Generator().manual_seed(seed),
        y=asked,
    )
    for s, now, guess in way_back:
        stages[s] = now, guess.clean.clamp(-1, 1)

# %% tags=["hide-input"]
stops = [1000, 900, 800, 700, 500, 300, 0]


def paled(noisy, s):
    return noisy / (2 - model.alpha_bar[s].item())


def walk(strides, eta, w):
    """Walk back anew, and tell how far it is."""
    x, chosen = torch.randn(8, 1, 28, 28), {"y": asked, "guidance": w}
    with fast():
        way = path(model, x, strides, eta, 1.0, **chosen)
        for k, (s, now, guess) in enumerate(way, 1):
            both = paled(now, s), guess.clean.clamp(-1, 1)
            yield k / strides, mosaic(*both)


# %% tags=["hide-input"]
Explorable(
    [mosaic(paled(stages[s][0], s), stages[s][1]) for s in stops],
    [f"t = {s}" for s in stops],
    "time",
    alt="Eight squares of noise that turn into the digits 0 to 7, above the "
    "guesses of the final digits.",
    caption="The walk back in 50 steps with fresh noise, labels 0 to 7. "
    "Above: the image now. Below: the network's guess of the end, from the "
    "step before. The best guess is a mean over all that is still possible: "
    "at first an average of the class.",
    start=2,
    live=figures.Live(
        walk,
        figures.Knob("strides", [2, 50], 10),
        figures.Knob("fresh noise", [0.0, 1.0], 1.0),
        figures.Knob("guidance", [0.0, 6.0], 1.0),
        again=True,
    ),
)

# %% [markdown]
# (sec-ddpm-result)=
# ## How far from real: fifty steps, and ten
#
# We judge drawn digits by the squared Fréchet distance of the chapter on {ref}`GANs of images <ch:gan>`, with an extractor for digits that comes with the book, to the test images.
# The floor is that of as many training images, as many of each class: mean and deviation of 20 draws out of 10,000. Blurred training images and pure noise show the scale.
# Distance and floor are both too large by a bias that shrinks as the number of images grows, so *times the floor* depends on that number; the *excess* hardly does, and is what other pages may be compared with.

# %% tags=["hide-input"]
budgets = (50, 10)
counted = run.metrics["frechet, 50 steps, fresh noise"]["n"]
judge = extractor_of("mnist")
frechet = metrics.Frechet(real, judge.model)
rng = torch.Generator().manual_seed(seed)
pool = torch.randperm(len(data.train[1]), generator=rng)[: len(real)]
others, kinds = data.seen_as("unit").take("train", pool)
floor = frechet.floor(others, kinds, counted // 10 * 10)
_, *marks = frechet.brackets(others[:1000]).values()
names = "real images (the floor)", "blurred", "noise"
brackets = dict(zip(names, (floor, *marks), strict=True))

# %% tags=["hide-input"]
rows = []
for steps, how in product(budgets, (", fresh noise", "")):
    row = {"images": f"drawn in {steps} steps{how or ', without'}"}
    row["squared distance"] = run.metrics[f"frechet, {steps} steps{how}"]
    row["read as asked, %"] = run.metrics[f"recognised, {steps} steps{how}"]
    rows.append(row)
rows += [{"images": k, "squared distance": v} for k, v in brackets.items()]
over = {}
for row in rows:
    found = row["squared distance"]
    value = found["value"] if isinstance(found, dict) else found.value
    over[row["images"]] = value / floor.value
    row["excess over the floor"] = f"{value - floor.value:.2f}"
    row["times the floor"] = f"{over[row['images']]:.1f}"
results_table(rows, percent=["read as asked, %"])

# %%
reached = {k: over[f"drawn in {k} steps, fresh noise"] for k in budgets}
words, error = {}, {}
for steps, aim in ((50, 1.5), (10, 3)):
    found = run.metrics[f"frechet, {steps} steps, fresh noise"]
    parts = found["error"] / found["value"], floor.error / floor.value
    error[steps] = reached[steps] * math.hypot(*parts)
    words[steps] = "reached" if reached[steps] <= aim else "missed"
Markdown(
    f"{counted:,} images against {len(real):,}; the extractor names "
    f"{judge.metrics['accuracy']['value']:.1%} of the test digits rightly; "
    "errors are those of another drawing. We aimed "
    "at 1.5 times the floor in 50 steps and at 3 times in 10. Drawn without "
    "fresh noise, as we first did, the network ends at "
    f"{over['drawn in 50 steps, without']:.1f} and "
    f"{over['drawn in 10 steps, without']:.1f}; with fresh noise, to which we "
    f"changed after that, at {reached[50]:.2f} ± {error[50]:.2f} "
    f"({words[50]}) and {reached[10]:.2f} ± {error[10]:.2f} ({words[10]})."
)

# %% [markdown]
# Nobody else has used our extractor, so these distances have no neighbours in print. For the bits there are two, flows on the same digits with the same measure.

# %%
bits = run.metrics["bits"]
ours = {"model": "this U-Net", "data": "MNIST", "bits/dim, at most": bits}
ours["weights"] = f"{total_weights / 1e6:.1f} M"
rows = [ours | {"source": "the run above, given the label"}]
glow = {"model": "Glow (a flow)", "data": "MNIST", "bits/dim, at most": "1.05"}
rows.append(glow | {"source": "Chen et al. 2019, table 1"})
flow = {"model": "Residual Flow", "data": "MNIST", "bits/dim, at most": "0.97"}
rows.append(flow | {"source": "Chen et al. 2019, table 1"})
theirs = {"model": "DDPM", "data": "CIFAR-10", "bits/dim, at most": "3.75"}
theirs |= {"FID, Inception": "3.17", "weights": "35.7 M"}
rows.append(theirs | {"source": "Ho et al. 2020, table 1, appendix B"})
columns = ["model", "data", "weights", "bits/dim, at most"]
results_table(rows, [*columns, "FID, Inception", "source"])

# %% [markdown]
# The last row may not be ranked with the others: photographs in colour, another extractor {cite:p}`ho2020denoising`.
# The flows {cite:p}`chen2019residual` bound the bits of the same 256 levels; the label that only we are given is worth at most $\log_2 10$ bits, or 0.004 for each pixel, on the mean.

# %%
gap = bits["value"] - 0.97
verdict = "so as a compressor it loses" if gap > 0 else "and it wins"
Markdown(
    f"Our model's bound, of {bits['n']} test digits, is {abs(gap):.2f} bits "
    f"per pixel {'above' if gap > 0 else 'below'} the better flow's, {verdict}. "
    f"The count is of few digits at few times, ± {bits['error']:.3f}; a "
    "second one follows below."
)

# %% [markdown]
# (sec-ddpm-memory)=
# ## Are the digits copies?
#
# Had it stored the training images, drawn digits (12 steps, fresh noise) would lie nearer to them than test digits do.

# %% tags=["hide-input"]
drawn_now = drawn(model, 100, 12, eta=1.0)  # ten of every class
train_set = data.seen_as("unit").examples("train", subset)[0].flatten(1)
size = train_set.square().sum(1)


def nearest_of(images):
    """Distance to the nearest training image, and its index."""
    found = []
    for z in images.flatten(1).split(50):  # |z - x|^2 = z.z - 2 z.x + x.x
        least = torch.addmm(size, z, train_set.T, alpha=-2).min(1)
        square = least.values + z.square().sum(1)
        found.append((square.clamp_min(0).sqrt(), least.indices))
    return map(torch.cat, zip(*found, strict=True))


# %% tags=["hide-input"]
show(
    figures.image_grid(
        drawn_now,
        10,
        [str(k) for k in range(10)],
        alt="Ten rows of drawn digits, 0 to 9 in each.",
    ),
    "Ten of every class, drawn in 12 steps with fresh noise. None was left out.",
    label="fig-ddpm-hundred",
)

# %% tags=["hide-input"]
(new, twin), (held_out, _) = nearest_of(drawn_now), nearest_of(real[:500])
show(
    figures.image_rows(
        {
            "drawn": drawn_now[:10],
            "nearest": train_set[twin[:10]].unflatten(1, (1, 28, 28)),
        },
        alt="Ten drawn digits above the training images nearest to them.",
    ),
    "Ten drawn digits, and below each the nearest of the training images.",
    label="fig-ddpm-nearest",
)

# %%
near, control = metrics.mean_of(new), metrics.mean_of(held_out)
z = (near.value - control.value) / math.hypot(near.error, control.error)
verdict = "nearer" if z < -3 else "farther" if z > 3 else "as far"
Markdown(
    f"Mean distance to the nearest training image: drawn {near.value:.2f} ± "
    f"{near.error:.2f}, test digits {control.value:.2f} ± {control.error:.2f} "
    f"({verdict}{'' if verdict == 'as far' else ' than test digits'}). "
    f"Nearest of {len(new)} drawn ones: {new.min():.2f}; of as many test "
    f"digits: {held_out[: len(new)].min():.2f}."
)

# %% [markdown]
# The mean would not show a few copies; the least distance would, as a copy's is nearly 0.
#
# (sec-ddpm-bits)=
# ## Most of the bits pay for grain that nobody sees
#
# The bound is a sum over levels of noise: where do its bits go?
# We measure the noise's error and the bound on test digits, one random time for each digit in each interval of times.


# %%
@torch.no_grad()
def squared_errors(x, t, y, rng):
    """Squared error of the noise of each image, and the guess of x_0."""
    e = torch.randn(x.shape, generator=rng)
    with fast():
        guess = model.predict(model.noised(x, t, e), t, y)
    return (guess.noise - e).square().flatten(1).sum(1), guess.clean


rng, kept = torch.Generator().manual_seed(seed), model.alpha_bar
some = x[: 20 if subset else 100]
y = data.test[1][: len(some)]
edges = torch.logspace(math.log10(2), math.log10(1001), 21).round().long()
edges = edges.unique().tolist()
level, simple, cost = [], [], []
for low, high in pairwise(edges):
    t = torch.randint(low, high, (len(some),), generator=rng)
    error, _ = squared_errors(some, t, y, rng)
    weight = weight_of_noise("bound", kept, t) * (high - low)
    level.append((low * (high - 1)) ** 0.5)
    simple.append(metrics.mean_of(error / 784))
    cost.append(weight * error / 784 / math.log(2))

# %% tags=["hide-input"]
once = torch.ones(len(some), dtype=torch.long)
_, clean = squared_errors(some, once, y, rng)
spread = (1 - kept[1]).expand(clean.shape)
decode = -decoded_log_prob(some, clean, spread) / 784 / math.log(2)
mean, left = (kept[-1].sqrt() * some).double(), 1 - kept[-1]
prior = (mean.square() + left - 1 - left.log()).flatten(1).sum(1) / 2
prior = prior / 784 / math.log(2)
total = metrics.mean_of(sum(cost) + decode + prior)
cut = max(edge for edge in edges if edge <= 100)
small = [c for c, low in zip(cost, edges[:-1], strict=True) if low < cut]
spent = (decode.mean() + sum(c.mean() for c in small)).item() / total.value

# %% tags=["hide-input"]
figure = figures.blank(2.9)
left, right = figure.subplots(1, 2)
value = torch.tensor([s.value for s in simple])
left.plot(level, value, "o-", color=PALETTE[0])
left.set(xscale="log", yscale="log", ylabel="squared error of the noise")
bars = [decode.mean().item(), *(c.mean().item() for c in cost)]
right.bar(range(len(bars)), bars, color=PALETTE[1])
ticks = [0, *range(4, len(bars), 5)]
names = ["1", *(str(edges[k - 1]) for k in ticks[1:])]
right.set_xticks(ticks, names)
right.set(ylabel="bits per dimension")
for axes in (left, right):
    axes.set_xlabel("time t")
show(
    figure,
    "Left: squared error of the noise, per pixel, on test digits. Right: "
    "what each interval of times contributes to the bound; t = 1 is the "
    "decoding into 256 levels.",
    alt="Left a curve over time on logarithmic axes, right a bar for each "
    "interval of times.",
    label="fig-ddpm-bits",
)

# %%
Markdown(
    f"All intervals together: {total.value:.3f} ± {total.error:.3f} bits per "
    f"dimension of {len(some)} digits; the run's own count is "
    f"{bits['value']:.3f} ± {bits['error']:.3f}, of {bits['n']} digits at "
    f"other times. **{spent:.0%}** of them are spent below t = {cut}, of "
    f"{len(kept) - 1:,}, and {decode.mean() / total.value:.0%} at t = 1 "
    f"alone; L_T is {prior.mean():.0e}."
)

# %% [markdown]
# Part of the price at $t = 1$ is of our own making.
# The decoder is a Gaussian of the fixed deviation $b_1$, as in {cite:t}`ho2020denoising`: wide beside half a level of grey, so that even a perfect guess pays.
# Any other deviation makes a bound as well. (We hold each level's probability above $10^{-12}$; this adds less than $10^{-9}$ to their sum.)

# %%
rows, whole = [], {}
for width in (1, 1 / 2, 1 / 4, 1 / 8):
    row = {"deviation": f"b₁ · {width:g}"}
    for name, guess in (("a perfect guess", some), ("our guess", clean)):
        at_1 = -decoded_log_prob(some, guess, width**2 * spread)
        row[f"bits at t = 1, {name}"] = (at_1 / 784 / math.log(2)).mean()
    whole[width] = metrics.mean_of(
        sum(cost) + at_1 / 784 / math.log(2) + prior
    )
    rows.append(row | {"all bits": whole[width]})
results_table(rows)

# %%
best = min(whole, key=lambda width: whole[width].value)
Markdown(
    f"Half a level of grey is {1 / 255:.4f}, and b₁ is "
    f"{(1 - kept[1]).sqrt():.4f}. The best of these decoders brings the bound "
    f"from {whole[1].value:.2f} to **{whole[best].value:.2f}** bits per "
    "dimension, on the digits it was chosen by, with the same network."
)

# %% [markdown]
# What is bought for all these bits?

# %% tags=["hide-input"]
when = (50, 100, 300, 500, 700, 900)
rows = {"digits": [], "noisy": [], "guess": []}
for k, t in enumerate(when):
    one = shown[2 + k][None]
    at_t = torch.tensor([t])
    noisy = model.noised(one, at_t, grain[k][None])
    with torch.no_grad():
        guess = model.predict(noisy, at_t, torch.tensor([2 + k])).clean
    for row, image in zip(
        rows.values(), (one, noisy / 1.5, guess), strict=True
    ):
        row.append((image[0].clamp(-1, 1) + 1) / 2)
show(
    figures.image_rows(
        {name: torch.stack(row) for name, row in rows.items()},
        [f"t = {t}" for t in when],
        alt="Three rows of six images: clean digits, the same in noise that "
        "grows to the right, and guesses.",
    ),
    "Test digits, noisy at six times, and what the network makes of them, "
    "given the label.",
    label="fig-ddpm-guess",
)

# %% [markdown]
# At $t = 100$ the guess already looks like the digit, so what is spent below decides nothing that one sees. The simple loss hardly asks for it {cite:p}`ho2020denoising`.
#
# (sec-ddpm-guidance)=
# ## Guidance follows a score that may belong to no noised law
#
# A random tenth of the labels was withheld in training, so the network also has a guess $\hat\varepsilon_\emptyset$ without label.
# *Guidance* goes beyond the labelled one, $\hat\varepsilon_y$, away from the other {cite:p}`ho2022classifier`:
#
# $$
# \hat\varepsilon_w = \hat\varepsilon_\emptyset + w\, (\hat\varepsilon_y - \hat\varepsilon_\emptyset), \quad w > 1 .
# $$ (eq-ddpm-guidance)
#
# ($w = 1$ is the labelled guess, $w = 0$ the other. Many write $(1 + w)\, \hat\varepsilon_y - w\, \hat\varepsilon_\emptyset$: their $w$ is ours less 1. They withhold a tenth of the labels, or a fifth; little depends on it.)
# It is said that this samples from $p(x)\, p(y \mid x)^w$.
# At each single $t$ it does follow the score of $q(x_t)\, q(y \mid x_t)^w$; but these are not one law under more and more noise, so the samples need not have it.
#
# :::{prf:theorem} What guidance is, and is not
# :label: thm-ddpm-guidance
# Let $y$ have finitely many values and $w \ge 0$; let $\hat\varepsilon_y$ and $\hat\varepsilon_\emptyset$ be conditional means, with and without label.
#
# 1. $-\hat\varepsilon_w / b_t$ is the score of the density proportional to $q(x_t)\, q(y \mid x_t)^w$, which can be normalised as $q(y \mid x_t) \le 1$.
# 2. Let $x_0$ be $1$ or $-1$ with equal probability, $y = x_0$, and $w > 1$. For $y = 1$ the guess $\hat x_0 = (x_t - b_t \hat\varepsilon_w) / a_t$ falls as $x_t$ rises:
#
# $$
# \hat x_0 = w - (w - 1) \tanh(a_t x_t / b_t^2) .
# $$ (eq-ddpm-beyond)
#
# So at no $0 < t \le T$ is there a law of $x_0$, tilted or not, of which this is the best guess; by {prf:ref}`thm-ddpm-names`, $-\hat\varepsilon_w / b_t$ is the score of no law noised to time $t$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. By {prf:ref}`thm-ddpm-names`, given $y$ as well, $-\hat\varepsilon_w / b_t = (1 - w) \nabla \log q(x_t) + w \nabla \log q(x_t \mid y)$.
# 2. By Bayes' rule $\log q(x_t \mid y) = \log q(x_t) + \log q(y \mid x_t)$ and a constant. So the sum is $\nabla \log q(x_t) + w \nabla \log q(y \mid x_t)$.
# 3. For the two points, the best labelled guess of $x_0$ is 1. That without label is $\tanh(a_t x_t / b_t^2)$: the odds of $1$ against $-1$ are $\exp(2 a_t x_t / b_t^2)$.
# 4. $\hat x_0$ is affine in $\hat\varepsilon$, and the weights $1 - w$ and $w$ sum to 1, so eq. {eq}`eq-ddpm-guidance` holds for it as well, and gives eq. {eq}`eq-ddpm-beyond`.
# 5. By {prf:ref}`thm-score-matching-tweedie`, in whose notation $\mathrm{Cov}[x_0 \mid \tilde x] = \sigma^2\, \nabla \mathbb E[x_0 \mid \tilde x]$, a best guess never falls: its slope is a variance over $\sigma^2$.
# :::
#
# The first check takes a mixture of four Gaussians in the plane, of which two have the label, the second the two points.

# %%
torch.manual_seed(seed)
kept = cosine_schedule()
share, means, widths4 = draw(4) + 0.1, 4 * draw(4, 2) - 2, 0.2 + draw(4)
every = NoisedMixture(share, means, widths4, kept)
named = NoisedMixture(share[:2], means[:2], widths4[:2], kept)
t = torch.randint(50, 900, (300,))
b = (1 - kept[t]).sqrt()[:, None]
point, w = torch.randn(300, 2).double().requires_grad_(), 5 * draw(300)
label = named.log_prob(point, t) - every.log_prob(point, t)
tilted = every.log_prob(point, t) + w * label
(slope,) = torch.autograd.grad(tilted.sum(), point)
plain, asked = every.predict(point, t).noise, named.predict(point, t).noise


def guided(w):
    return (-(plain + w[:, None] * (asked - plain)) / b).detach()


# %%
check("thm-ddpm-guidance", about="the score", of="random points").equal(
    left=slope,
    right=guided(w),
    how="autograd",
    rtol=1e-6,
    wrong={
        "the label counts w + 1 times": guided(w + 1),
        "only the labelled guess": guided(w / w),
        "between the two": guided(1 / w),
    },
)

# %%
ones = torch.ones(2).double()
points = NoisedMixture(
    ones, torch.tensor([[1.0], [-1.0]]).double(), 0 * ones, kept
)
at = torch.randn(300, 1).double().requires_grad_()
w, a = 1 + 4 * draw(300, 1), kept[t].sqrt()[:, None]
e1 = (at - a) / b  # the best guess given the label 1
e = points.predict(at, t).noise
clean = (at - b * (e + w * (e1 - e))) / a
(slope,) = torch.autograd.grad(clean.sum(), at)
th = torch.tanh(a * at / b**2).detach()
bend = (a / b**2) * (1 - th**2)
check("thm-ddpm-guidance", about="two points", of="random points").equal(
    left=torch.cat([clean.detach(), slope], 1),
    right=torch.cat([w - (w - 1) * th, -(w - 1) * bend], 1),
    how="autograd",
    rtol=1e-6,
    wrong={
        "the label alone": torch.cat([th / th, 0 * bend], 1),
        "it rises": torch.cat([w + (w - 1) * th, (w - 1) * bend], 1),
        "w in place of w - 1": torch.cat([w - w * th, -w * bend], 1),
    },
)

# %% [markdown]
# That guided samplers miss the tilted law has been shown before {cite:p}`bradley2024classifier`; how far do they miss?
# The data are two Gaussians of deviation 0.5 at $\pm 1$, the label says *right*, and everything is exact.


# %%
class Guided:
    """Follow eq. (ddpm-guidance) in an exact world."""

    def __init__(self, w):
        centres = torch.tensor([[1.0], [-1.0]]).double()
        make = partial(NoisedMixture, deviations=ones / 2, alpha_bar=kept)
        self.all = make(ones, centres)
        self.right = NoisedMixture(ones[:1], centres[:1], ones[:1] / 2, kept)
        self.w, self.alpha_bar = w, kept

    def predict(self, x, t):
        none, one = self.all.predict(x, t), self.right.predict(x, t)
        return Prediction(
            *(n + self.w * (o - n) for n, o in zip(none, one, strict=True))
        )


# %% tags=["hide-input"]
torch.manual_seed(seed)
grid = torch.linspace(-3, 5, 1601).double()[:, None]
zero = torch.zeros(1601).long()
rows, laws, draws = [], {}, {}
for w in (1, 2, 4):
    world = Guided(w)
    found = sample(world, torch.randn(4000, 1).double(), 250, eta=1.0)[:, 0]
    both = world.all.log_prob(grid, zero)
    tilt = both + w * (world.right.log_prob(grid, zero) - both)
    law = tilt.softmax(0)
    mean = law @ grid[:, 0]
    deviation = (law @ (grid[:, 0] - mean) ** 2).sqrt()
    row = {"w": f"{w}", "tilted law, mean": mean.item()}
    row |= {"samples, mean": metrics.mean_of(found)}
    row |= {"tilted law, deviation": deviation.item()}
    rows.append(row | {"samples, deviation": found.std().item()})
    laws[w], draws[w] = law / 0.005, found.numpy()

# %% tags=["hide-input"]
figure = figures.blank(2.3)
panels = figure.subplots(1, 3, sharey=True)
for axes, w in zip(panels, laws, strict=True):
    bars = {"element": "step", "color": "#999999", "stat": "density"}
    seaborn.histplot(x=draws[w], bins=50, binrange=(-1, 4), ax=axes, **bars)
    axes.plot(grid[:, 0], laws[w], color=PALETTE[1])
    axes.set(title=f"w = {w}", xlim=(-1, 4), xlabel="x")
panels[0].set_ylabel("density")
show(
    figure,
    "Grey: 4,000 samples under exact guidance, 250 steps with fresh noise. "
    "Line: the law proportional to p(x) p(y | x)<sup>w</sup> that they are "
    "said to have.",
    alt="Three histograms with a curve each; the first agree, the others lie "
    "to the right of their curves.",
    label="fig-ddpm-guided",
)

# %%
results_table(rows)

# %% [markdown]
# Guidance pushes samples beyond the tilted law, away from the other class: a caricature.
# What does that do to digits?

# %% tags=["hide-input"]
drawings, strengths = {}, (0, 1, 2, 4)
rng = torch.Generator().manual_seed(seed + 1)
same, asked = torch.randn(10, 1, 28, 28, generator=rng), torch.arange(10)
for w in strengths:
    with fast():
        found = sample(model, same, 20, clip=1.0, y=asked, guidance=float(w))
    drawings[f"w = {w}"] = (found.float().clamp(-1, 1) + 1) / 2
show(
    figures.image_rows(
        drawings,
        [str(k) for k in range(10)],
        alt="Four rows of ten digits; the first row ignores the labels above.",
    ),
    "The same ten noises, labels as above, four strengths of guidance, 20 "
    "steps without fresh noise. With w = 0 the noise alone decides.",
    label="fig-ddpm-labels",
)

# %%
rows = []
for w in strengths:
    key = f"guidance {w}"
    if f"frechet, {key}" in run.metrics:
        row = {"w": str(w), "squared distance": run.metrics[f"frechet, {key}"]}
        row["read as asked, %"] = run.metrics[f"recognised, {key}"]
        rows.append(row)
results_table(rows, percent=["read as asked, %"]) if rows else Markdown(
    "This run did not measure guidance: the full one does, with all data."
)

# %%
if rows:
    distance = {r["w"]: r["squared distance"]["value"] for r in rows}
    read = {r["w"]: r["read as asked, %"]["value"] for r in rows}
    best, clear = min(distance, key=distance.get), max(read, key=read.get)
    text = (
        f"{rows[0]['squared distance']['n']:,} images each, 20 steps without "
        "fresh noise: to be compared with one another only, as fewer images "
        "make the distance larger. The distance is least at "
        f"**w = {best}**; the share that is read as asked first reaches its "
        f"maximum at **w = {clear}** ({read[clear]:.1%}). From w = 1 to w = 4 "
        f"the distance is multiplied by {distance['4'] / distance['1']:.1f}."
    )
else:
    text = "The published run says more."
Markdown(text)

# %% [markdown]
# (sec-ddpm-trials)=
# ## What each choice is worth
#
# Short trainings of a smaller network (16, 32 and 64 channels, four epochs), which differ in one or two choices; drawn without fresh noise.

# %%
small = {"channels": (16, 32, 64), "horizon": 4, "thorough": False}
noise = {"predicts": "noise"}
choices = {
    "velocity, cosine schedule": {},
    "the same, no averaging": {"ema": 0.0},
    "noise, simple loss": noise | {"weighting": "simple"},
    "noise, the bound's weights": noise | {"weighting": "bound"},
    "noise, simple, linear schedule": noise
    | {"weighting": "simple", "schedule": "linear"},
}
trials, rows = {}, []
for name, choice in choices.items():
    try:
        trials[name] = train(ddpm, 0, seed, **small, **choice).metrics
    except RunError:
        continue
    found = trials[name]
    row = {"trained with": name, "bits/dim": found["bits"]}
    for steps in (50, 10):
        row[f"distance, {steps} steps"] = found[f"frechet, {steps} steps"]
    rows.append(row)
results_table(rows) if rows else Markdown("No side trial is published.")


# %%
def at(name, key):
    return trials[name][key]["value"]


plain, weighted = "noise, simple loss", "noise, the bound's weights"
lines = []
if {plain, weighted} <= trials.keys():
    key = "frechet, 50 steps"
    change = at(weighted, "bits") - at(plain, "bits")
    lines.append(
        f"In place of the simple loss, the bound's weights change the bits by "
        f"{change:+.2f} and multiply the distance by "
        f"{at(weighted, key) / at(plain, key):.3g}."
    )
first, bare = list(choices)[:2]
if {first, bare} <= trials.keys():
    ratio = at(bare, "frechet, 50 steps") / at(first, "frechet, 50 steps")
    lines.append(
        f"Without averaging the first row's is multiplied by {ratio:.2f}."
    )
lines.append("One seed each, so small differences mean nothing.")
Markdown(" ".join(lines))

# %% [markdown]
# Read these bits with care. All rows but the last are on the cosine schedule, where nearly the whole weight of the bound lies on $t = 1000$ ({ref}`sec-ddpm-simple`): there a mean squared error of the noise of 0.001 costs about 0.7 bits for each pixel, so the rows that predict the noise are judged, and the bound's row is trained, above all at a time at which there is nothing left to see.

# %%
per_pixel = weight_of_noise("bound", cosine_schedule(), torch.tensor(1000))
at_last = 0.001 * per_pixel.item() / math.log(2)
assert 0.6 < at_last < 0.8
Markdown(
    f"An error of 0.001 at t = 1000 costs {at_last:.2f} bits per pixel on the "
    "cosine schedule. A network that says the velocity is spared this: its "
    "squared error becomes one of the noise by the factor "
    f"{cosine_schedule()[1000].item():.0e} there."
)

# %% [markdown]
# So the table does not say what {cite:t}`ho2020denoising` found, better bits for worse pictures: they trained on the linear schedule, on which the last time has a thousandth of the weight. It says that a schedule and a weight have to be chosen together. Besides, the bound's gradients are noisy, and {cite:t}`nichol2021improved` draw the times by importance to tame them; we draw them evenly, and for four epochs only.
#
# (sec-ddpm-rounded)=
# ## The same guess, said as noise and rounded, is debris
#
# Our network above draws with a clipped $\hat x_0$; what if it did not?
# We say its guess in one of the words, and round that to bfloat16, 16-bit numbers in which networks often answer: an error of less than half a percent.
# (Drawn without fresh noise, where an error of $\hat\varepsilon$ arrives in $x_s$ multiplied by $b_s - a_s b_t / a_t$: as large.)


# %%
class Rounded:
    """A model whose guess is said in one word, in 16 bits."""

    def __init__(self, kind):
        self.kind, self.alpha_bar = kind, model.alpha_bar

    def predict(self, x, t, y):
        said = getattr(model.predict(x, t, y), self.kind)
        said = said.bfloat16().float()
        return translate(self.kind, said, x, *model.rates(t, x))


# %%
many = 20 if subset else 50
same = torch.randn(many, 1, 28, 28, generator=rng)
wanted, pictures, rows = torch.arange(many) % 10, {}, []
for word, clip in (("noise", 0.0), ("noise", 1.0), ("velocity", 0.0)):
    with fast():
        found = sample(Rounded(word), same, 10, clip=clip, y=wanted)
    found = ((found.float() + 1) / 2).clamp(0, 1)
    with torch.no_grad():
        read = frechet.network.classify(found).argmax(1) == wanted
    name = f"{word}, {'clipped' if clip else 'as it is'}"
    pictures[name] = found[:10]
    row = {"said as": name, "read as asked, %": metrics.mean_of(read.double())}
    rows.append(row)
results_table(rows, percent=["read as asked, %"])

# %% tags=["hide-input"]
show(
    figures.image_rows(
        pictures,
        alt="Three rows of ten images, drawn from the guess said as noise, "
        "as noise and clipped, and as velocity.",
    ),
    "Ten steps from the same noises, labels 0 to 9, by one network. First "
    "row: its guess as noise, rounded. Second: the same, with the guess of "
    "the image clipped to the range of pixels. Third: as velocity, rounded, "
    "not clipped.",
    label="fig-ddpm-rounded",
)

# %% [markdown]
# (sec-ddpm-clothes)=
# ## The same lines draw clothes
#
# Only the name of the data changes, and the number of epochs: ten of Fashion-MNIST, judged with the extractor of the chapter on {ref}`GANs of images <ch:gan>`.

# %% tags=["hide-input"]
wardrobe = {"data": "fashion-mnist", "horizon": 10, "thorough": False}
clothes, rack = train(ddpm, 0, seed, **wardrobe), load("fashion-mnist")
names = [name.split("/")[0].split()[-1] for name in rack.class_names]
show(
    figures.image_grid(
        unit(clothes.snapshots[max(clothes.snapshots)]),
        10,
        [*names, *[""] * 20],
        alt="Three rows of ten drawn pieces of clothing, one of each class.",
    ),
    "Drawn in 25 steps, without fresh noise, from 30 noises, each column with the "
    "label above it. Most are garments of that name, not all of them.",
    label="fig-ddpm-clothes",
)

# %% tags=["hide-input"]
stylist = metrics.Frechet(
    rack.examples("test", len(real))[0], extractor_of("fashion-mnist").model
)
others, kinds = rack.take("train", pool)
bottom, rows = stylist.floor(others, kinds, 10 if subset else 5000), []
for steps, how in product(budgets, (", fresh noise", "")):
    key = f"{steps} steps{how}"
    far, read = clothes.metrics[f"frechet, {key}"], f"recognised, {key}"
    row = {"images": f"drawn in {steps} steps{how or ', without'}"}
    row["squared distance"] = far
    row["over the floor"] = f"{far['value'] / bottom.value:.1f}"
    rows.append(row | {"read as asked, %": clothes.metrics[read]})
rows.append({"images": "real (the floor)", "squared distance": bottom})
results_table(rows, percent=["read as asked, %"])

# %% [markdown]
# No row comes near the floor, and in ten steps fresh noise makes it worse, where on digits it helped.
# The figure shows what is missing: plain garments are right, sandals and patterns are torn.
# It is the same network, trained for half as many epochs, on data that hold more.
#
# ## Limits
#
# One network, one seed, small grey pictures.
# The distance is on the book's own extractors; the bits are a bound, for known labels, from few digits; copies of strokes were not looked for.
# The variance of the steps is not learned {cite:p}`nichol2021improved`, and scalings and times of training are not tuned {cite:p}`karras2022elucidating`.
# Also left out: guidance by the gradient of a classifier, filling in a part of an image, diffusion of codes in place of pixels, transformers in place of the U-Net; {cite:t}`murphy2023probabilistic` is a start.
#
# ## Exercises
#
# ```{exercise-start} Two steps by hand
# :label: ex-ddpm-posterior
# ```
# (Derive.) Derive $q(x_1 \mid x_2, x_0)$ from eq. {eq}`eq-ddpm-step` by completing the square, with $\beta_1, \beta_2$ only, and split $-\mathbb E_q \log \frac{p(x_{0:2})}{q(x_{1:2} \mid x_0)}$ into its three terms. What do they become for data $x_0 \sim \mathcal N(0, 1)$, and for which $p$ is the bound an equality?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-ddpm-posterior
# :class: dropdown
# ```
# $-2 \log q$ is $\frac{(x_2 - \sqrt{1 - \beta_2}\, x_1)^2}{\beta_2} + \frac{(x_1 - \sqrt{1 - \beta_1}\, x_0)^2}{\beta_1}$ and a constant. The factor of $x_1^2$ is $\frac{1 - \beta_2}{\beta_2} + \frac1{\beta_1}$, so with $b_2^2 = \beta_1 + \beta_2 - \beta_1 \beta_2$ the variance is $\beta_1 \beta_2 / b_2^2$, and the mean $\big( \beta_1 \sqrt{1 - \beta_2}\, x_2 + \beta_2 \sqrt{1 - \beta_1}\, x_0 \big) / b_2^2$.
# The terms are $L_2 + L_1 + L_0$ of {prf:ref}`thm-ddpm-elbo` with $T = 2$, for instance $L_2 = \tfrac12 (a_2^2 x_0^2 - a_2^2 - \log b_2^2)$; the code has all three.
# For $x_0 \sim \mathcal N(0, 1)$ all $x_t$ are $\mathcal N(0, 1)$, and the chain run backwards is itself: $p(x_{t-1} \mid x_t) = \mathcal N(\sqrt{1 - \beta_t}\, x_t, \beta_t)$ makes the bound an equality. Its variance is $\beta_t$, not $\sigma^2$ of the posterior.

# %%
beta1, beta2 = 0.3, 0.6
a1, a2 = math.sqrt(1 - beta1), math.sqrt((1 - beta1) * (1 - beta2))
b2 = beta1 + beta2 - beta1 * beta2
for x0 in (-1.0, 0.5, 2.0):
    L2 = (a2**2 * x0**2 + b2 - 1 - math.log(b2)) / 2
    x2 = a2 * x0 + math.sqrt(b2) * torch.linspace(-8, 8, 4001).double()
    mean = (beta1 * math.sqrt(1 - beta2) * x2 + beta2 * a1 * x0) / b2
    post = Normal(mean, math.sqrt(beta1 * beta2 / b2))
    true = Normal(math.sqrt(1 - beta2) * x2, math.sqrt(beta2))
    L1 = Normal(a2 * x0, math.sqrt(b2)).log_prob(x2).softmax(0)
    L1 = L1 @ kl_divergence(post, true)
    second = (x0 * (1 - a1**2)) ** 2 + a1**2 * beta1
    L0 = math.log(2 * math.pi * beta1) / 2 + second / (2 * beta1)
    surprise = -Normal(0.0, 1.0).log_prob(torch.tensor(x0)).item()
    assert abs(L2 + L1 + L0 - surprise) < 1e-6
print("three x_0: the three terms sum to -log p(x_0), an equality")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A schedule that ends too early
# :label: ex-ddpm-schedule
# ```
# (Measure.) A homework trains with $T = 200$ and $\beta_t$ rising evenly from $10^{-4}$ to 0.04. How much of the image's amplitude is left in $x_T$? What does the bound pay, on the mean over digits, for a sampler that begins with pure noise all the same? What would be visible?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-ddpm-schedule
# :class: dropdown
# ```
# $L_T = \tfrac12 \sum_i \big( a_T^2 x_i^2 + b_T^2 - 1 - \log b_T^2 \big)$ over the pixels. Nearly all of a digit is black, $x_i = -1$, so the mean of $x_T$ is not 0 but about $-a_T$: the network has always seen sheets that are a little darker than pure noise, and it draws what they would have become. The samples tend to be too grey on the mean, as little as that may be here.

# %%
beta = torch.linspace(1e-4, 0.04, 200, dtype=torch.double)
left = (1 - beta).prod()
mean_square = (left * x.double().square()).flatten(1).sum(1)
mismatch = (mean_square + 784 * (1 - left - 1 - (1 - left).log())) / 2
print(f"{left.sqrt():.1%} of the amplitude, {left:.4f} of the variance; "
      f"L_T = {mismatch.mean():.1f} nats an image")  # fmt: skip
assert abs(left.sqrt() - 0.13) < 0.005
ours = [(make()[-1] * 784 / 2).item() for make in SCHEDULES.values()]
print("at most, for the two schedules of this chapter:",
      ", ".join(f"{nats:.3f}" for nats in ours), "nats")  # fmt: skip

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Halve by a stride, or by a mean
# :label: ex-ddpm-halving
# ```
# (Code.) Give the page's U-Net a flag: halve by a convolution with stride 2, or by the mean of $2 \times 2$ pixels followed by a $1 \times 1$ convolution. How many weights does the mean save, and which of the two is a special case of a convolution with stride 2 and a kernel of $2 \times 2$? Train both by the plain loop; does it matter at this budget?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-ddpm-halving
# :class: dropdown
# ```
# The mean followed by a $1 \times 1$ convolution $W$ is the $2 \times 2$ convolution with stride 2 whose four taps are all $W / 4$: the strided one can be it, and can do more, for instance keep edges that the mean blurs.


# %%
class Halve(nn.Module):
    """(B, c, H, W) -> (B, c, H / 2, W / 2), by the mean of 2 x 2 pixels."""

    def __init__(self, c):
        super().__init__()
        self.mix = nn.Conv2d(c, c, 1)

    def forward(self, x, e=None):
        return self.mix(F.avg_pool2d(x, 2))


pool = Halve(16)
taps = pool.mix.weight.expand(16, 16, 2, 2) / 4
h = torch.randn(2, 16, 14, 14)
torch.testing.assert_close(
    pool(h), F.conv2d(h, taps, pool.mix.bias, stride=2), rtol=1e-4, atol=1e-5
)

# %%
nets = {"stride": UNet((8, 16, 32)), "mean": UNet((8, 16, 32))}
nets["mean"].shrink[0], nets["mean"].shrink[1] = Halve(8), Halve(16)
for name, net in nets.items():
    torch.manual_seed(seed)
    length = 8 if subset else 20  # a trial is short
    _, losses = learn(silent(net), few, of, length, course, batch=32)
    weights = sum(p.numel() for p in net.parameters())
    print(f"{name}: {weights:,} weights, last 5 steps "
          f"{sum(losses[-5:]) / 5:.3f}")  # fmt: skip

# %% [markdown]
# One seed and 20 steps, or 8 in a trial: they show that both run, not which is better.
#
# ```{solution-end}
# ```
#
# ```{exercise-start} A whole homework
# :label: ex-ddpm-homework
# ```
# (Code.) Build and train, with the parts of this page, what a homework asks for: MNIST in $[-1, 1]$; residual blocks with an embedded time; attention with four heads; halving by a stride or a mean, doubling by the nearest pixel and a convolution; a U-Net with 96 channels, multipliers 1, 2, 2, attention where the image is halved once and twice, two blocks at each size, and normalisation in 32 groups; $T = 200$ steps with $\beta$ from $10^{-4}$ to 0.04; noising, loss, one step back, sampling; the mean loss of each epoch; 100 samples; labels withheld with probability 0.2; guidance with $(1 + w)\, \hat\varepsilon_y - w\, \hat\varepsilon_\emptyset$ and $w = 2$; ten images of each class; a measure of quality, described.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-ddpm-homework
# :class: dropdown
# ```
# Noising is `noised`, eq. {eq}`eq-ddpm-marginal`; the loss is in `learn`, the step back in eq. {eq}`eq-ddpm-posterior`. The measure is the Fréchet distance of {ref}`sec-ddpm-result`, with its floor: a distance of a hundred images to a hundred others, in 64 features, says nothing.
# Below, the network, at full size to be counted; then a narrow one, trained for a few steps to see that all fits. On a GPU, `learn(silent(SheetUNet()), *data.examples("train"), 10_000, sheet, hidden=0.2)` is the homework.


# %%
class Stage(nn.Module):
    """A residual block, with attention behind it or without."""

    def __init__(self, before, after, width, attends):
        super().__init__()
        self.block = ResBlock(before, after, width)
        self.attend = Attention(after) if attends else nn.Identity()

    def forward(self, h, e):
        return self.attend(self.block(h, e))


class Doubling(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.conv = nn.Conv2d(c, c, 3, padding=1)

    def forward(self, h, e):
        return self.conv(F.interpolate(h, scale_factor=2))


# %%
class SheetUNet(nn.Module):
    """(B, 1, 28, 28), (B,), (B,) or None -> (B, 1, 28, 28)"""

    def __init__(self, c=96, groups=32):
        super().__init__()
        self.c, w, sizes = c, 4 * c, (c, 2 * c, 2 * c)
        self.embed = nn.Sequential(nn.Linear(c, w), nn.SiLU(), nn.Linear(w, w))
        self.label, self.stem = nn.Embedding(11, w), nn.Conv2d(1, c, 3, 1, 1)
        self.down, sides = downwards(sizes, w)
        both = (Stage(2 * c, 2 * c, w, attends) for attends in (True, False))
        self.middle = nn.ModuleList(both)
        self.up = upwards(sizes, w, sides)
        self.head = nn.Sequential(Norm(c), nn.SiLU(), nn.Conv2d(c, 1, 3, 1, 1))
        regroup(self, groups)

    def forward(self, x, t, y=None):
        e = self.embed(time_embedding(t, self.c))
        e = e + self.label(torch.full_like(t, 10) if y is None else y)
        kept = [self.stem(x)]
        for part in self.down:
            kept.append(part(kept[-1], e))
        h = self.middle[1](self.middle[0](kept[-1], e), e)
        for part in self.up:
            skip = isinstance(part, Stage)
            h = part(torch.cat([h, kept.pop()], 1) if skip else h, e)
        return self.head(h)


# %%
def downwards(sizes, w):
    """Two stages at each size, halving between; and the channels kept."""
    parts, now, sides = nn.ModuleList(), sizes[0], [sizes[0]]
    for level, after in enumerate(sizes):
        for before in (now, after):
            parts.append(Stage(before, after, w, level > 0))
        now = after
        if level + 1 < len(sizes):
            parts.append(Halve(now))
        sides += [now] * (2 + (level + 1 < len(sizes)))
    return parts, sides


def upwards(sizes, w, sides):
    parts, now = nn.ModuleList(), sizes[-1]
    for level in reversed(range(len(sizes))):
        for _ in range(3):
            before = now + sides.pop()
            now = sizes[level]
            parts.append(Stage(before, now, w, level > 0))
        if level:
            parts.append(Doubling(now))
    return parts


# %%
def regroup(net, groups):
    """Normalise in this many groups."""
    for part in list(net.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, Norm):
                setattr(part, name, nn.GroupNorm(groups, len(child.weight)))


# %%
beta = torch.linspace(1e-4, 0.04, 200)
sheet = torch.cat([torch.ones(1), (1 - beta).cumprod(0)])
weights = sum(p.numel() for p in SheetUNet().parameters())
torch.manual_seed(seed)
narrow, losses = learn(
    silent(SheetUNet(16, 8)), few, of, 16, sheet, hidden=0.2, batch=16
)
print(f"{weights / 1e6:.1f} million weights; the narrow one's loss: "
      f"{losses[0]:.2f}, after 16 steps {sum(losses[-5:]) / 5:.2f}")  # fmt: skip
assert sum(losses[-5:]) / 5 < losses[0]

# %%
of_sheet = Diffusion(narrow, sheet.double(), "velocity", 10)
one_each = torch.arange(10)  # ten of each class in the homework
noises = torch.randn(10, 1, 28, 28)
found = sample(of_sheet, noises, 10, clip=1.0, y=one_each, guidance=3.0)
one, none = (
    of_sheet.predict(noises, torch.full((10,), 150), y).noise
    for y in (one_each, None)
)
theirs = (1 + 2.0) * one - 2.0 * none
ours = of_sheet.predict(
    noises, torch.full((10,), 150), one_each, guidance=3.0
).noise
torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
print(f"{tuple(found.shape)} drawn; w = 2 of the sheet is w = 3 here")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The weights of three losses
# :label: ex-ddpm-weights
# ```
# (Derive.) Three networks are trained by the plain squared error of $\hat\varepsilon$, of $\hat x_0$ and of $\hat v$. Say each loss as a weight of the noise's error and of the image's error. Which of the three learns next to nothing at $t = T$, and which at $t = 1$?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-ddpm-weights
# :class: dropdown
# ```
# By {prf:ref}`thm-ddpm-names`, in the error of the noise: $1$, $1 / \mathrm{SNR}_t$, $1 / a_t^2 = 1 + 1 / \mathrm{SNR}_t$; in that of the image: $\mathrm{SNR}_t$, $1$, $1 / b_t^2 = 1 + \mathrm{SNR}_t$.
# At $t = T$ the first network has only to copy its input, at $t = 1$ the second. The velocity's weight is the sum of both.

# %%
a2 = cosine_schedule()[1:-1]
snr = a2 / (1 - a2)
in_noise = torch.stack([torch.ones(999), 1 / snr, 1 / a2])
in_image = torch.stack([snr, torch.ones(999), 1 / (1 - a2)])
torch.testing.assert_close(in_noise * snr, in_image)
for weight in (in_noise, in_image):
    torch.testing.assert_close(weight[2], weight[0] + weight[1])
    larger = weight[:2].amax(0)
    assert (weight[2] >= larger).all() and (weight[2] <= 2 * larger).all()
print("999 times: velocity's weight is the sum of the other two")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The price that stays
# :label: ex-ddpm-euler
# ```
# (Derive.) Let $b_t^2 = h t$ for the first $K$ times, and $u\, m(u) \to D$ for $u \to \infty$, as for every smooth density in $D$ dimensions. What do the terms $L_1, \dots, L_{K-1}$ with the best guess cost above their part of the integral, as $h \to 0$? Where does the table of {ref}`sec-ddpm-steps` end for $T \to \infty$?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-ddpm-euler
# :class: dropdown
# ```
# $\mathrm{SNR}_{t-1} - \mathrm{SNR}_t = \frac1{h (t - 1)} - \frac1{h t}$ and $m(\mathrm{SNR}_t) \approx D h t$, so $L_{t-1} \to \frac D2 \cdot \frac1{t - 1}$, while its part of the integral goes to $\frac D2 \log \frac t{t-1}$.
# The sum is $\frac D2 (1 + \tfrac12 + \dots + \tfrac1{K-1} - \log K)$, which rises to $\frac D2 \gamma$ with Euler's constant $\gamma \approx 0.577$.
# The steps after $K$ add about $D / 4 K$, as $\tfrac12 (r - 1 - \log r) \approx \tfrac14 (r - 1)^2$ with $r = t / (t - 1)$, and the ends pay for the rest of the integral. Both schedules have $b_t^2 \approx h t$ at the start, so they end near 0.289 nats for each dimension.

# %%
h, K = 1e-8, 200
t = torch.arange(1, K + 1).double()
start = home(torch.cat([torch.ones(1).double(), 1 - h * t]))
ratio, m = (1 - h * t) / (h * t), least_error(start, range(1, K + 1))
above = sums(ratio, m)[0] - (ratio[0] / ratio[-1]).log() / 2
harmonic = (1 / t[:-1]).sum() - math.log(K)
assert ((m * ratio - 1).abs() < 1e-3).all()
assert abs(above / (harmonic / 2) - 1) < 3e-3
print(
    f"{K} times cost {above.item():.4f} nats; half of Euler's constant: 0.2886"
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Attention, the slow way
# :label: ex-ddpm-attention
# ```
# (Code.) Write multi-head attention with loops over heads and places, and compare. Show that the page's `Attention` does not know where a place is. How do the blocks around it know? What would it cost at $28 \times 28$, compared to $7 \times 7$?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-ddpm-attention
# :class: dropdown
# ```
# Any permutation of the places commutes with it: nothing in eq. {eq}`eq-ddpm-attention` names a place. Convolutions know their neighbours, and the zeros they pad with show the border.
# The weights are a matrix of $N^2$ numbers for each head: 16 times as many places make 256 times as many.

# %%
torch.manual_seed(seed)
attention, h = Attention(16), torch.randn(2, 16, 12, 1)
with torch.no_grad():
    q, k, v = attention.qkv(attention.norm(h)).flatten(2).chunk(3, 1)
    slow = torch.zeros_like(v)
    for head in range(4):
        part = slice(4 * head, 4 * head + 4)
        for place in range(12):
            fit = (q[:, part, place, None] * k[:, part]).sum(1) / 4**0.5
            weight = fit.softmax(1)[:, None]
            slow[:, part, place] = (weight * v[:, part]).sum(2)
    torch.testing.assert_close(attend(q, k, v, 4), slow, atol=1e-5, rtol=1e-4)
    order = torch.randperm(12)
    moved, after = attention(h)[:, :, order], attention(h[:, :, order])
    torch.testing.assert_close(moved, after, atol=1e-5, rtol=1e-4)
print(f"weights of one head: {49**2:,} at 7 x 7, {784**2:,} at 28 x 28")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The wrong clock
# :label: ex-ddpm-clock
# ```
# (Measure.) Does the network need to be told the time, or does it see the noise? Give it noisy test digits of $t = 400$ and lie about the time. How fast does its error of the image grow, and in which direction is a lie worse?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-ddpm-clock
# :class: dropdown
# ```
# The error is least at or near the true time, so the network uses what it is told. Told too early a time, it trusts the sheet and leaves grain on it; told too late a time, it distrusts the sheet, and still speaks of the wrong angle $\varphi'$. Even one that knew $x_0$ and $\varepsilon$ would then leave $\sin\varphi\, (\cos\varphi - \cos\varphi')\, \varepsilon$ in $\hat x_0$, and multiply $x_0$ by $\cos^2\varphi + \sin\varphi \sin\varphi'$ in place of 1. The print says which lie is worst.
# (Translate with the true $a_t, b_t$; else the translation errs, too.)

# %%
told, errors, looks = (200, 300, 400, 500, 600), [], []
t = torch.full((60,), 400)
e = torch.randn(60, 1, 28, 28, generator=torch.manual_seed(seed))
noisy = model.noised(x[:60], t, e)
signal, scale = model.rates(t, noisy)
for lie in told:
    with torch.no_grad(), fast():
        said = model.net(noisy, torch.full((60,), lie), data.test[1][:60])
    said = translate(model.predicts, said.float(), noisy, signal, scale)
    errors.append((said.clean - x[:60]).square().mean().item())
    looks.append((said.clean[0].clamp(-1, 1) + 1) / 2)
print(f"the worst lie is {told[errors.index(max(errors))]}")

# %%
if epochs == 0:
    assert abs(told[errors.index(min(errors))] - 400) <= 100
    assert errors[0] > 1.2 * min(errors) < errors[-1]
show(
    figures.image_grid(
        torch.stack(looks),
        len(looks),
        [f"told {k}\n{one:.3f}" for k, one in zip(told, errors, strict=True)],
        alt="Five guesses of one digit, told five times.",
    ),
    "One test digit at t = 400, as the network guesses it when told another "
    "time; below the time, the squared error of the image per pixel.",
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} When does guidance act? (open)
# :label: ex-ddpm-interval
# ```
# (Open.) Guide with $w = 4$ only while $t > 500$, only while $t \le 500$, or always. Is there an interval that keeps the gain of being read and loses less of the variety? There is no last word here {cite:p}`kynkaanniemi2024applying`.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-ddpm-interval
# :class: dropdown
# ```
# A first answer is the table, drawn without fresh noise: the variance of pixels around their class's mean falls where drawings become alike.


# %%
class Interval:
    """Guidance w where low < t <= high, and the plain labelled guess else."""

    def __init__(self, low, high, w=4.0):
        self.low, self.high, self.w = low, high, w
        self.alpha_bar = model.alpha_bar

    def predict(self, x, t, y):
        w = self.w if self.low < t[0] <= self.high else 1.0
        return model.predict(x, t, y, guidance=w)


# %%
many = 20 if subset else 40
rows, wanted = [], torch.arange(many) % 10
same = torch.randn(many, 1, 28, 28, generator=torch.manual_seed(seed))
for low, high in ((0, 0), (500, 1000), (0, 500), (0, 1000)):
    with fast():
        found = sample(Interval(low, high), same, 10, clip=1.0, y=wanted)
    found = ((found.float() + 1) / 2).clamp(0, 1)
    with torch.no_grad():
        read = frechet.network.classify(found).argmax(1) == wanted
    by_class = found.view(-1, 10, 784)
    spread = by_class.var(0).sum(1).mean().item()
    name = f"{low} < t ≤ {high}" if high else "never"
    row = {"guided while": name, "read as asked": f"{read.sum()} of {many}"}
    rows.append(row | {"variance within a class": spread})
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What is on the sheet in the morning

# %%
share = run.metrics["recognised, 50 steps, fresh noise"]["value"]
Markdown(
    f"A digit: {share:.1%} of those that our restorer made from pure grain in "
    "50 repairs are read as what she was asked for, and the squared distance "
    f"of {counted:,} of them from real ones is {reached[50]:.1f} times that of "
    f"other real ones; after 10 repairs it is {reached[10]:.1f} times. She "
    f"has {total_weights / 1e6:.1f} million numbers, and was never shown how "
    "to draw."
)

# %% [markdown]
# So yes: each repair has an answer, the mean of all that could be under this much grain, and she goes only a small part of the way there, strewing a little fresh grain, before she looks again.
# The next chapter asks which repairs are needed.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
