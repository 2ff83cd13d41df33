# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:priors)=
# # Learned priors: VampPrior and sparse codes (SC-VAE)
#
# *Who says where codes should lie?*
#
# A new library orders its shelves before it has seen a single book.
# The architect draws them in a bell: many in the middle, few at the ends, because bells are convenient.
# Then the books come. Atlases, novels and sheet music do not fill a bell; half of the middle stays empty, and whoever takes a random shelf often takes none.
# One can force the books into the plan, which costs information about them.
# Or one can ask where the books want to stand, and draw the plan from that.
#
# A VAE's prior is such a plan, and so far this book drew it as $\mathcal N(0, I)$.
# This chapter learns it.
# First the question of what the best prior is, which has an exact answer, and the answer's danger.
# Then the VampPrior {cite:p}`tomczak2018vae`, which approximates the answer by a few learned examples.
# And then another plan altogether: each code uses *few* of many building blocks, and an old algorithm, unrolled into a network, finds which (SC-VAE, {cite:t}`xiao2023scvae`).
#
# :::{admonition} You will learn to
# - say which prior is best for an encoder, what it leaves, and why it overfits;
# - build a prior from posteriors at learned pseudo-inputs, and see what it gains in nats;
# - solve the lasso by ISTA and FISTA, with bounds that you can check and orders that you can measure;
# - read ISTA as a network, train it, and say what the trained one no longer promises;
# - put it between encoder and decoder, and see how such a code dies.
#
# You need: the bound and its two terms ({ref}`the evidence lower bound <ch:elbo>`), a trained VAE ({ref}`variational autoencoders <ch:vae>`), and the aggregate posterior ({ref}`disentanglement <sec-beta-vae-parts>`).
# :::

# %% tags=["parameters"]
epochs: int = 0  # 0: recall the published runs; n: train n epochs here
subset: int = 0  # 0: all images; n: train and measure on n at most
seed: int = 0

# %% tags=["hide-input"]
import math

import torch
from IPython.display import Markdown
from sklearn.mixture import GaussianMixture as Fitted
from torch.nn import functional as F

from companion import figures
from companion.claims import check
from companion.data import load
from companion.data.binary import fixed, load_binary
from companion.experiments import (
    extractor_of,
    layered_prior,
    learned_prior,
    sc_vae,
    vae,
)

# %% tags=["hide-input"]
from companion.figures import (
    Explorable,
    image_grid,
    image_rows,
    results_table,
    show,
    show_source,
)
from companion.figures.sketches import Sketch
from companion.metrics import kl_decomposition, mean_of
from companion.models.priors import (
    GaussianMixture,
    VampPrior,
    posteriors_at,
)
from companion.models.sparse import SparseAutoencoder
from companion.models.vae import VAE
from companion.nets.sparse import LISTA, fista, ista, lasso, soft_threshold
from companion.runs import published_seed
from companion.train import train

seed = published_seed(learned_prior, seed, epochs)

# %% tags=["hide-input"]
sketch = Sketch(380, 190)
sketch.node("x", 34, 50, "x", size=(34, 34), shaded=True)
sketch.node("u", 34, 140, "u₁, u₂, …", size=(60, 34), lit=True)
sketch.node("e", 134, 95, "encoder", size=(72, 34))
sketch.node("q", 240, 50, "q(z | x)", size=(70, 34))
sketch.node("p", 240, 140, "p(z)", size=(70, 34), lit=True)
sketch.node("d", 340, 50, "decoder", size=(66, 34))
sketch.link("x", "e").link("u", "e", dashed=True)
sketch.link("e", "q").link("e", "p", dashed=True).link("q", "d")
sketch.words(240, 100, "compared: the rate", small=True)
sketch.words(240, 176, "mean of K posteriors", small=True)
sketch.show(
    "A VampPrior: K images that nobody photographed, the pseudo-inputs, go "
    "through the same encoder as the data. The mean of their posteriors is "
    "the prior; all is trained by one bound.",
    alt="Images and pseudo-inputs enter one encoder; from the images come "
    "posteriors and go to a decoder, from the pseudo-inputs comes the prior.",
    label="fig-priors-idea",
)

# %% [markdown]
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $x$, $x_n$; $N$ | image, that of the data set; number of images | $(B, 1, 28, 28)$ | `x` |
# | $q(z \mid x)$, $p(z)$ | posterior of the encoder; prior | | `model.encode`, `model.prior` |
# | $q(z)$ | aggregate posterior, the mean of $q(z \mid x_n)$ | | `posteriors_at` |
# | $u_k$; $K$ | pseudo-inputs; how many | $(K, 1, 28, 28)$ | `VampPrior.inputs` |
# | $y$; $M$ | what is to be coded; its length | $(B, M)$ | `y` |
# | $D$, $d_j$ | dictionary; its columns, the atoms | $(M, J)$ | `dictionary` |
# | $s$, $s^\star$ | sparse code; a minimiser | $(B, J)$ | `z` in the package |
# | $\lambda$ | price of $\lVert s \rVert_1$ | | `lam` |
# | $J$ | number of atoms | | `latent` |
# | $L$ | largest eigenvalue of $D^\top D$ | | `steepness` |
# | $\tau_k$ | momentum of FISTA | | `t` in the package |
# | $S_t$ | soft threshold: $\mathrm{sign}(v) \max(\lvert v \rvert - t, 0)$ | | `soft_threshold` |
# | $F(s)$ | the lasso $\frac12 \lVert y - D s \rVert^2 + \lambda \lVert s \rVert_1$ | $(B)$ | `lasso` |
# | $W$, $V$, $\theta$ | learned matrices and thresholds of LISTA | | `into`, `kept`, `threshold` |

# %% [markdown]
# (sec-priors-best)=
# ## The best prior is the aggregate posterior, and it leaves the information
#
# The prior stands in one term of the bound only, the rate $\mathrm{KL}(q(z \mid x) \,\|\, p(z))$.
# So with encoder and decoder held, which $p(z)$ makes the mean rate smallest?
#
# :::{prf:theorem} The best prior
# :label: thm-priors-best
# Let $x$ have any law, and $q(z) = \mathbb E_x\, q(z \mid x)$. For every prior $p(z)$ with a finite mean rate,
#
# $$
# \mathbb E_x\, \mathrm{KL}\big(q(z \mid x) \,\|\, p(z)\big) = I_q(x; z) + \mathrm{KL}\big(q(z) \,\|\, p(z)\big) .
# $$ (eq-priors-best)
#
# So the mean rate is at least the mutual information $I_q(x; z)$ of image and code, and equal to it if and only if $p(z) = q(z)$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\log \frac{q(z \mid x)}{p(z)} = \log \frac{q(z \mid x)}{q(z)} + \log \frac{q(z)}{p(z)}$: multiply and divide by $q(z)$, which is positive for almost all $z$ that the encoder draws.
# 2. The mean of the first part over $x$ and $z \sim q(z \mid x)$ is $I_q(x; z)$, by definition.
# 3. The second part does not depend on $x$. Drawing $x$ and then $z$ is drawing $z$ from $q(z)$, so its mean is $\mathrm{KL}(q(z) \,\|\, p(z))$.
# 4. A KL divergence is at least 0, and 0 only between equal laws.
# :::
#
# The gap $\mathrm{KL}(q(z) \,\|\, p(z))$ is what a better prior can save; while the encoder is held, nothing that is done to the prior touches the information. (Trained together they both move.)
# We check it on random worlds of seven images and six codes.

# %%
torch.manual_seed(seed)
px = torch.randn(200, 7).double().softmax(1)
q = (2 * torch.randn(200, 7, 6)).double().softmax(2)  # q(z | x)
whole = (px[..., None] * q).sum(1)  # q(z)
p = torch.randn(200, 6).double().softmax(1)
p[:50] = whole[:50]  # in some worlds the prior is the aggregate


def kl(a, b):
    """KL divergence along the last axis, nats."""
    return (a * (a / b).log()).sum(-1)


rate = (px * kl(q, p[:, None])).sum(1)
information = (px * kl(q, whole[:, None])).sum(1)

# %%
check("thm-priors-best", about="the sum", of="worlds").equal(
    left=rate,
    right=information + kl(whole, p),
    wrong={
        "the prior's gap reversed": information + kl(p, whole),
        "the gap alone": kl(whole, p),
        "an unweighted aggregate": information + kl(q.mean(1), p),
    },
)

# %%
check("thm-priors-best", about="the least rate", of="worlds").at_most(
    smaller=information,
    larger=rate,
    equal_where=torch.arange(200) < 50,
    wrong={
        "the entropy of images": (-(px * px.log()).sum(1), rate),
        "the entropy of codes": (-(whole * whole.log()).sum(1), rate),
    },
)

# %% [markdown]
# How large is the gap of a real VAE? We take the book's small VAE of garments {ref}`with a plane of codes <sec-vae-latent-map>` and estimate the split as in {ref}`disentanglement <sec-beta-vae-parts>`.

# %% tags=["hide-input"]
clothes = load("fashion-mnist").seen_as("unit")
more = clothes.examples("train", 12_000)[0]
some = more[:3000]
unseen = clothes.examples("test", 2000)[0]
plane = train(vae, latent=2, seed=0).model  # published


def parts_of(x):
    """Rate, information and gap of the aggregate of some images, nats."""
    with torch.no_grad():
        law = plane.encode(x).base_dist
    return kl_decomposition(law.mean, law.variance.log(), samples=600)


# %% tags=["hide-input"]
told = []
for x in (some, more):
    parts = parts_of(x)
    known = parts.mutual_information
    told.append(
        f"With {len(x):,} images: mean rate {parts.rate:.2f} nats = "
        f"information {known} (at most log {len(x):,} = "
        f"{math.log(len(x)):.1f}) + gap {parts.rate - known.value:.2f} "
        f"± {known.error:.2f}. "
    )
share = 100 * (parts.rate - known.value) / parts.rate
Markdown(
    "".join(told) + f"So of its rate on these images this VAE pays about "
    f"{share:.0f} % for codes that do not lie as the bell says. The more "
    "images, the larger the information and the smaller the gap, since their "
    "aggregate is nearer to that of all."
)

# %% [markdown]
# What would fit better? A mixture of $K$ Gaussians with free centres, fitted to draws of $q(z)$, is the plain answer.
# Slide $K$:


# %% tags=["hide-input"]
def codes_of(x):
    """One draw of q(z | x) for each image, and its log-density."""
    with torch.no_grad():
        law = plane.encode(x)
        z = law.sample()
    return z, law.log_prob(z)


torch.manual_seed(seed)
draws, held = codes_of(some), codes_of(unseen)
side = torch.linspace(-4.5, 4.5, 90)
grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)
with torch.no_grad():
    density = posteriors_at(plane, some).log_prob(grid).exp()


def mixture_of(K):
    """K Gaussians fitted to the draws by EM."""
    fit = Fitted(K, covariance_type="diag", random_state=0, max_iter=40)
    fit.fit(draws[0].numpy())
    parts = (fit.means_, fit.covariances_, fit.weights_)
    mean, variance, weight = (torch.tensor(v).float() for v in parts)
    return GaussianMixture(mean, variance.log(), weight.log())


# %% tags=["hide-input"]
def beside(K):
    """The aggregate posterior, and a mixture of K Gaussians."""
    p = mixture_of(int(K))
    figure = figures.blank(3.4)
    over = mean_of((held[1] - p.log_prob(held[0])).double())
    drawn_side = {
        "aggregate posterior q(z)": density,
        f"K = {int(K)}: mean rate {over} nats": p.log_prob(grid).exp(),
    }
    panels = figure.subplots(1, 2)
    for axes, (title, values) in zip(panels, drawn_side.items(), strict=True):
        axes.contourf(side, side, values.sqrt(), levels=12, cmap="Blues")
        axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
        axes.set_title(title, fontsize=11)
    panels[1].plot(*p.mean_of_each.T, "x", color="#D55E00", ms=5)
    return figure


# %% tags=["hide-input"]
counts = (1, 2, 3, 5, 10, 20, 40)
bell = plane.prior().log_prob(held[0])
under_normal = mean_of((held[1] - bell).double())
Explorable(
    [beside(K) for K in counts],
    [str(K) for K in counts],
    "components K",
    alt="Left a lumpy density of codes with rays; right a mixture of "
    "Gaussians that comes nearer as K grows. Crosses mark its centres.",
    caption="Garments in a plane; shades go with the square root of the "
    "density. The rate is that of 2,000 test images: under N(0, I) it is "
    f"{under_normal} nats, and the information, the least that any prior can "
    f"reach, about {known.value:.1f}.",
    start=3,
    live=figures.Live(beside),
)

# %% [markdown]
# (sec-priors-finite)=
# ## A prior made of the data charges a training image at most log N
#
# Why not take the best prior itself, $q(z) = \frac1N \sum_n q(z \mid x_n)$? It needs no fit at all.
#
# :::{prf:proposition} Posteriors at chosen inputs
# :label: prop-priors-finite
# Let $p(z) = \frac1K \sum_{k=1}^K q(z \mid u_k)$, $u_k$ in the space of images.
#
# 1. With $K = N$ and $u_n = x_n$, the training images, $p(z) = q(z)$, and the mean rate over them is $I_q(x; z) \le \log N$.
# 2. For every $u_k$, $\mathrm{KL}(q(z \mid u_k) \,\|\, p(z)) \le \log K$, whatever the encoder; nearly equal if hardly any other posterior overlaps that one.
# 3. For an $x$ that is not among the $u_k$ no bound in $K$ alone holds.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $p = q$ by definition, so the gap of {prf:ref}`thm-priors-best` is 0. The information is at most the entropy of $x$, here $\log N$.
# 2. $p(z) \ge \frac1K q(z \mid u_k)$, since the other terms are not negative. So $\log \frac{q(z \mid u_k)}{p(z)} \le \log K$ at every $z$, and so is its mean. Equality needs that the other terms vanish where $q(z \mid u_k)$ does not, which normal laws do only nearly.
# 3. An extreme case: let all $q(z \mid u_k)$ be the same normal law with covariance $\Sigma$, and $q(z \mid x)$ that law moved by $a$. The KL is $\frac12 a^\top \Sigma^{-1} a$, unbounded in $a$.
# :::
#
# That is what overfitting means here.
# As $z$ becomes an ever sharper name of its image, the rate of a *training* image stops at $\log N$, $\log 60{,}000 \approx 11$ nats, the price of a number in a list. So a decoder may spend as much as it likes on sharp codes and reproduce the list.
# A new image is not on the list, and pays in full.

# %% tags=["hide-input"]
torch.manual_seed(seed)
named_by = 3 * torch.randn(200, 7, 9).double()
named_by[:40] = 60 * torch.eye(7, 9).double()  # each image a code of its own
q = named_by.softmax(2)
rate = kl(q, q.mean(1, keepdim=True)).mean(1)  # the prior is the aggregate
log_n = torch.full_like(rate, math.log(7))
check("prop-priors-finite", about="the whole list", of="worlds").at_most(
    smaller=rate,
    larger=log_n,
    equal_where=torch.arange(200) < 40,
    wrong={
        "half of log N": (rate, log_n / 2),
        "log of N less one": (rate, torch.log(torch.exp(log_n) - 1)),
        "under a uniform prior": (kl(q, torch.tensor(1 / 9)).mean(1), log_n),
    },
)

# %% tags=["hide-input"]
torch.manual_seed(seed)
K = 8
centre = 3 * torch.randn(60, K, 2).double()
centre[:20] *= 40  # in some worlds no two posteriors overlap
width = torch.rand(60, K, 2).double() + 0.2


def in_the_plane(mean, scale, at, wide):
    """Mean of log q / p over draws at one law, p the mixture: (worlds,)."""
    noise = torch.randn(60, 4000, 2).double()
    z = at[:, None] + wide[:, None] * noise
    own = torch.distributions.Normal(at[:, None], wide[:, None])
    each = torch.distributions.Normal(mean[:, None], scale[:, None])
    log_p = each.log_prob(z[:, :, None]).sum(-1).logsumexp(-1) - math.log(K)
    return (own.log_prob(z).sum(-1) - log_p).mean(1)


# %% tags=["hide-input"]
laws = (centre, width)
listed = in_the_plane(*laws, centre[:, 0], width[:, 0])
new = in_the_plane(*laws, centre[:, 0] + 9, width[:, 0])
bound = torch.full_like(listed, math.log(K))
check("prop-priors-finite", about="rate at most log K", of="worlds").at_most(
    smaller=listed,
    larger=bound,
    equal_where=torch.arange(60) < 20,
    wrong={
        "for new images too": (new, bound),
        "half of log K": (listed, bound / 2),
        "log of K less one": (listed, torch.log(torch.exp(bound) - 1)),
    },
)

# %% [markdown]
# (sec-priors-vamp)=
# ## VampPrior: a few learned inputs instead of all the data
#
# The VampPrior ("variational mixture of posteriors", {cite:t}`tomczak2018vae`) keeps the form and shortens the list:
#
# $$
# p(z) = \frac1K \sum_{k=1}^K q(z \mid u_k),
# $$ (eq-priors-vamp)
#
# with $K \ll N$ and *pseudo-inputs* $u_k$ that are parameters, trained by the same bound as the networks.
# It is the finite form of the best prior: a mixture of posteriors, in the only places where posteriors can be.
# The paper gets there by writing the mean rate as the cross-entropy of $q(z)$ and $p(z)$ less the mean entropy of $q(z \mid x)$: only the first holds the prior.
# And it puts this prior at the top of two layers, because there latent dimensions under $\mathcal N(0, I)$ tend to fall idle.
# And prior and encoder are coupled: where the encoder moves its codes, the prior moves along, because it is made of the encoder.
#
# Between $\mathcal N(0, I)$ and this stands the free mixture, whose centres and variances are parameters of their own.
# For 40 latents it costs $81 K$ numbers, weights included, and no pass through the encoder; the VampPrior, whose weights are equal, costs $784 K$, and its components have the shapes that posteriors have.
#
# In code a learned prior is a module that turns the encoder into a law:

# %%
show_source(VampPrior.forward, GaussianMixture.log_prob)

# %% [markdown]
# The KL of a Gaussian to a mixture has no closed form, so the rate is that of the draw: $\log q(z \mid x) - \log p(z)$ at the $z$ that is decoded anyway.
# Its mean is the KL; a single value can be negative.
# The $K$ pseudo-inputs pass the encoder once for a whole batch, and $\log p(z)$ of $B$ codes is two products of matrices and one log-sum-exp: no array of $B \times K \times 40$ numbers is ever built.
#
# ### Three priors, equal networks
#
# All models see MNIST with *dynamic* binarisation: the pixels of a training image are drawn anew, black or white, each time it is seen; test images are drawn once.
# Encoder and decoder have two hidden layers of 300 units each and 40 latents between them, as in the paper's dense models (its gated layers are plain ones here); both mixtures have $K = 200$ components (the paper: 500).
# Adam, batches of 200, 15 epochs, the rate falling from 0.002.
#
# The last rows have two layers of 40 latents, $p(x \mid z_1, z_2)\, p(z_1 \mid z_2)\, p(z_2)$ ({ref}`the chapter on hierarchies <ch:hierarchy>` is about such models), with the prior named at the top; for the VampPrior $p(z_2) = \frac1K \sum_k q(z_2 \mid u_k)$. Inference is $q(z_2 \mid x)\, q(z_1 \mid x, z_2)$, and the decoder reads both codes at each of its layers. Their schedule is another one: the weight of the rates rises from 0 to 1 in the first three epochs.

# %%
flat = {"VampPrior": train(learned_prior, epochs, seed, subset)}
others = {} if subset else {"standard normal": "normal", "mixture": "mixture"}
for name, prior in others.items():
    flat[name] = train(learned_prior, epochs, seed, subset, prior=prior)
TOPS = {"standard normal": "normal", "VampPrior": "vamp"}
ladder = {}
for name, prior in {} if subset else TOPS.items():
    ladder[name] = train(layered_prior, epochs, seed, prior=prior, horizon=24)
vamp = flat["VampPrior"].model

# %% tags=["hide-input"]
order = [k for k in ("standard normal", "mixture", "VampPrior") if k in flat]


def row_of(name, kind, run):
    """One row of the table; the error of a sum is at most the errors' sum."""
    m = run.metrics
    rates = [v for k, v in m.items() if k in ("rate", "rate 1", "rate 2")]
    value, error = (sum(v[k] for v in rates) for k in ("value", "error"))
    return {
        "prior": f"{name}, {kind}",
        "−log p(x)": m["nll"],
        "−bound": {**m["elbo"], "value": -m["elbo"]["value"]},
        "distortion": m["distortion"],
        "rate": {"value": value, "error": error},
        "−bound, all": {**m["elbo, all"], "value": -m["elbo, all"]["value"]},
        "epochs": str(run.epochs),
    }


# %% tags=["hide-input"]
rows = [
    row_of(name, kind, runs[name])
    for kind, runs in (("flat", flat), ("two layers", ladder))
    for name in order
    if name in runs
]
results_table(rows)

# %% [markdown]
# Nats per test image. The columns are of the first 1,000 test images, $-\log p(x)$ by the importance-weighted bound with 5,000 draws; the last bound is of all 10,000. All is one seed: what another seed would change is not in the errors.


# %% tags=["hide-input"]
def behind(a, b, metric="nll", sign=1):
    """How much more a metric is for a than for b: value, error, words."""
    a, b = (run.metrics[metric] for run in (a, b))
    over = sign * (a["value"] - b["value"])
    error = math.hypot(a["error"], b["error"])
    return over, error, f"{over:+.2f} ± {error:.2f}"


best, words, ahead = flat["VampPrior"], [], False
for name in order[:-1]:
    by_bound = behind(flat[name], best, "elbo, all", -1)
    ahead |= name == "mixture" and by_bound[0] < -2 * by_bound[1]
    words.append(
        f"{behind(flat[name], best)[2]} nats ({name}; "
        f"by the bound on all images {by_bound[2]})"
    )
# %% tags=["hide-input"]
told = "Beside the flat VampPrior, −log p(x) of the others is "
told += " and ".join(words or ["not measured in a short trial"])
told += ". The errors are those for different images; for the same ones, as "
told += "here, they are too large if the models find the same images hard. "
if ahead:
    told += "By the bound the free mixture, the baseline, is ahead of the "
    told += "VampPrior in this short training. Whether it would stay so in a "
    told += "long one we did not try. "
# %% tags=["hide-input"]
for name, run in ladder.items():
    m, size = run.metrics, behind(run, flat[name])[2]
    told += f"Two layers with {name}, after {run.epochs} epochs: {size} nats "
    told += f"beside the flat model of {flat[name].epochs} epochs, so that "
    told += "second layer and schedule cannot be told apart. The lower "
    told += f"layer's rate is {m['rate 1']['value']:.2g} nats, the upper "
    told += f"one's {m['rate 2']['value']:.1f}"
    idle = m["rate 1"]["value"] < 0.1
    told += (
        ": the lower layer has died, and tells the decoder nothing of "
        "the image that the upper one does not. "
        if idle
        else ". "
    )
for name in ladder:
    if name != "VampPrior":
        told += f"At equal schedules two layers with {name} are at "
        told += behind(ladder[name], ladder["VampPrior"])[2]
        told += " nats beside the VampPrior's. "
told += "At the end of each schedule the rate of learning is a hundredth of "
told += "its first value, so that curves are flat there without a plateau."
Markdown(told)

# %% [markdown]
# Published numbers for dynamic MNIST, also with 5,000 draws (all test images):
#
# | model | nats | from |
# | :-- | --: | :-- |
# | VAE, one layer, 50 latents | 86.76 | {cite:t}`burda2016importance` |
# | IWAE, two layers | 82.90 | {cite:t}`burda2016importance` |
# | two layers and VampPrior, 40 latents each | 81.24 | {cite:t}`tomczak2018vae`, read where others quote it |
#
# Those were trained for hundreds of epochs or more, ours for as many as the table says, on a part of a processor core.
# Our aim of 81.0 for two layers with a VampPrior is missed; the table says by how much.
# Even our baseline, the normal prior, is far from the published one, so that its distance to the others is that of models which are not fully trained.
# What the controlled part of the table can say is the *difference* that the prior makes at equal networks, images and epochs: among the first three rows, and between the last two. (No published pair of one layer with and without VampPrior was found in a text that we could read.)
#
# ### What the pseudo-inputs have become
#
# They began as random clouds. Only what the encoder says of them is asked for, so that they need not look like digits to be read as digits.

# %% tags=["hide-input"]
digits = load_binary("mnist").cut(subset)
grey = digits.train[0][:20_000]
listed_x = fixed(grey).float() / 255  # drawn once
x_test = digits.seen_as("unit").examples("test", 1000)[0]
n = min(200, len(listed_x))
with torch.no_grad():
    law = vamp.encode(x_test).base_dist
    middle, few_x = law.mean.mean(0), law.mean[:500]
    at_mean = vamp.decode(few_x).log_prob(x_test[:500])
    cost = []
    for unit in range(len(middle)):
        z = few_x.index_fill(1, torch.tensor(unit), middle[unit].item())
        dulled = vamp.decode(z).log_prob(x_test[:500])
        cost.append((at_mean - dulled).mean().item())
serving = sum(c > 1 for c in cost)

# %% tags=["hide-input"]
with torch.no_grad():
    pseudo = vamp.learned.inputs()
    codes = vamp.encoder(pseudo).chunk(2, -1)
    redrawn_of = vamp.decode(codes[0]).mean
torch.manual_seed(seed)
begun = learned_prior().model.learned.inputs().detach()  # as training did
few = slice(0, 10)
moved = (pseudo - begun).abs().mean().item()
apart = (begun - begun.roll(1, 0)).abs().mean().item()
# %% tags=["hide-input"]
show(
    image_rows(
        {
            "at first": begun[few],
            "learned u": pseudo[few],
            "decoded": redrawn_of[few],
            "more u": pseudo[10:20],
            "decoded ": redrawn_of[10:20],
        }
    ),
    "Pseudo-inputs of the flat VampPrior before and after training, and what "
    "the decoder makes of the means of their posteriors. A pixel has moved "
    f"by {moved:.3f} in the mean, where two clouds differ by {apart:.2f}"
    + (
        ": it is the encoder that was adapted, not the picture."
        if moved < apart / 5
        else "."
    ),
    alt="Rows of random clouds, of learned pseudo-inputs, and of decoded "
    "digits.",
    label="fig-priors-pseudo",
)

# %% tags=["hide-input"]
units = {k: int(r.metrics["active units"]["value"]) for k, r in flat.items()}
Markdown(
    "How many latents are used? By Burda's rule, a variance of means above "
    "0.01, "
    + ", ".join(f"{v} of 40 ({k})" for k, v in units.items())
    + ". But the rule takes the scale of N(0, I) for granted, which a "
    "learned prior does not fix. Of the VampPrior's 40, setting one to its "
    f"mean costs more than one nat of distortion for only {serving}."
)

# %% tags=["hide-input"]
torch.manual_seed(seed)
with torch.no_grad():
    z = vamp.encode(listed_x[:5000]).sample()
    moments = (z.mean(0)[None], z.var(0).log()[None], torch.zeros(1))
    bell = GaussianMixture(*moments)
    rows = {
        name: vamp.decode(p.sample((10,))).mean
        for name, p in (
            ("VampPrior", vamp.prior()),
            ("N(0, I)", VAE.prior(vamp)),
            ("fitted Gaussian", bell),
        )
    }
show(
    image_rows(rows),
    "One decoder, codes from three priors: its own, the standard normal, and "
    "one Gaussian with the mean and variances of its codes. The fair "
    "neighbour is the last: what is lost there is the shape of the law, in "
    "the middle row also its scale.",
    alt="Three rows of digits; those of N(0, I) are the worst.",
    label="fig-priors-samples",
)

# %% [markdown]
# (sec-priors-overfit)=
# ## The failure: the data themselves as pseudo-inputs
#
# {prf:ref}`prop-priors-finite` lets us see the overfitting without a new training.
# We keep the trained encoder and give it other priors: one Gaussian with the mean and variances of its codes, its own 200 pseudo-inputs, and the posteriors of $K$ training images.
# The rate of training images that are on the list is then at most $\log K$. What do test images pay?


# %% tags=["hide-input"]
def paid(p, x):
    """Rate of each image under a prior, nats."""
    torch.manual_seed(seed)
    with torch.no_grad():
        law = vamp.encode(x)
        z = law.sample()
        return (law.log_prob(z) - p.log_prob(z)).double()


with torch.no_grad():
    priors = {"one Gaussian, fitted": bell}
    priors["its 200 pseudo-inputs"] = vamp.prior()
sizes = [K for K in (200, 500, 2000, 20_000) if len(listed_x) >= K]
for K in sizes:
    priors[f"{K:,} training images"] = posteriors_at(vamp, listed_x[:K])

# %% tags=["hide-input"]
rows, on_list, off_list = [], {}, {}
for name, p in priors.items():
    on_list[name], off_list[name] = paid(p, listed_x[:n]), paid(p, x_test)
    row = {"prior": name, "training images": mean_of(on_list[name])}
    row["test images"] = mean_of(off_list[name])
    count = name.split()[0].replace(",", "")
    listed_too = name.endswith("training images")
    row["log K"] = f"{math.log(int(count)):.1f}" if listed_too else "–"
    rows.append(row)
results_table(rows)


# %% tags=["hide-input"]
def excess(name):
    """Test rate less that of training images, which are other images."""
    a, b = mean_of(off_list[name]), mean_of(on_list[name])
    return f"{a.value - b.value:.1f} ± {math.hypot(a.error, b.error):.1f}"


own, shortest = "its 200 pseudo-inputs", f"{sizes[0]:,} training images"
longest = f"{sizes[-1]:,} training images"
with torch.no_grad():
    wide = vamp.prior().log_variance.mean().item()
    usual = law.variance.log().mean().item()
Markdown(
    "Mean rates in nats; the training images are the first "
    f"{n}, which are on every list. The list of {sizes[-1]:,} charges test "
    f"images {excess(longest)} nats more than training images, that of "
    f"{sizes[0]:,} {excess(shortest)}, the learned pseudo-inputs "
    f"{excess(own)}. "
    "A bound that is computed with such a list on its own training images "
    "looks splendid and says nothing about new ones. The cure is not that "
    "pseudo-inputs are few: the shortest list charges test images most. They "
    "are *learned*, by a bound that compares all training images with them, "
    "so that their posteriors are wide enough to be shared: their mean "
    f"log-variance is {wide:.2f}, that of test images {usual:.2f}."
)

# %% [markdown]
# (One can also leave an image's own posterior out of the mixture that it is compared with, as {cite:t}`norouzi2020exemplar` do with the data as a list.)
# The information of the encoder limits what any prior can do:

# %% tags=["hide-input"]
info = mean_of(on_list[longest])
saved = mean_of(off_list["one Gaussian, fitted"] - off_list[own])
charged, above = mean_of(off_list[own]).value, ""
if charged > math.log(sizes[-1]):
    above = f"(The learned prior charges {charged:.1f} nats, above that "
    above += "ceiling: so much a list saves on its own images.) "
Markdown(
    f"Of {sizes[-1]:,} images, {info.value:.2f} of {math.log(sizes[-1]):.2f} "
    "nats of information are in the code: nearly every image has a code of "
    f"its own, the estimate is at its ceiling log {sizes[-1]:,}, and in 40 "
    "dimensions the information cannot be told from so few images. "
    + above
    + "What can be told is a difference of gaps, in which the information "
    "cancels: over one Gaussian with the mean and variances of the codes "
    f"the learned prior saves test images {saved.value:.1f} ± "
    f"{saved.error:.1f} nats (image by image), for this encoder."
)

# %% [markdown]
# (sec-priors-ista)=
# ## Another plan: few of many atoms, found by ISTA
#
# A prior can also say something else than *where*: that a code uses few of its numbers.
# Let $y$ be a vector of features, $D$ a *dictionary* with more columns (*atoms*) than rows, and look for a code $s$ with $y \approx D s$ and few numbers that are not 0.
# Counting them is hard; the *lasso* {cite:p}`tibshirani1996regression` charges their size instead:
#
# $$
# F(s) = \tfrac12 \lVert y - D s \rVert^2 + \lambda \lVert s \rVert_1 .
# $$ (eq-priors-lasso)
#
# Up to constants it is $-\log p(y, s)$ for $y \sim \mathcal N(D s, I)$ and a Laplace prior on $s$: its minimiser is the most probable code, one point and no posterior. The zeros come from taking the mode: draws of a Laplace law have none.
#
# The second part has corners, so a gradient alone does not do. Alone, each part is easy:
#
# :::{prf:proposition} The soft threshold is a proximal step
# :label: prop-priors-soft
# For $t \ge 0$ the only minimiser of $\frac12 (u - v)^2 + t \lvert u \rvert$ over $u$ is $S_t(v) = \mathrm{sign}(v) \max(\lvert v \rvert - t, 0)$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The function is strictly convex, so it has one minimiser, where 0 is a subgradient: $u - v + t\, \partial \lvert u \rvert \ni 0$.
# 2. If $u > 0$ this reads $u = v - t$, possible exactly if $v > t$; if $u < 0$, $u = v + t$, exactly if $v < -t$.
# 3. At $u = 0$ the subgradients of $\lvert u \rvert$ are $[-1, 1]$, so it is the minimiser exactly if $\lvert v \rvert \le t$.
# :::

# %% tags=["hide-input"]
torch.manual_seed(seed)
v, t = 3 * torch.randn(300).double(), 2 * torch.rand(300).double()
soft = torch.stack([soft_threshold(a, b) for a, b in zip(v, t, strict=True)])
rivals = torch.cat([soft[:, None], 4 * torch.randn(300, 40).double()], 1)


def price(u):
    """What the minimiser makes least, for many u: (300, k)."""
    return 0.5 * (u - v[:, None]) ** 2 + t[:, None] * u.abs()


def all_of(u):
    """The price of one u beside every rival."""
    return price(u[:, None]).expand(-1, 41)


# %% tags=["hide-input"]
hard = torch.where(v.abs() > t, v, 0 * v)
check("prop-priors-soft", of="numbers").at_most(
    smaller=all_of(soft),
    larger=price(rivals),
    equal_where=torch.arange(41).expand(300, 41) == 0,
    wrong={
        "a hard threshold": (all_of(hard), price(rivals)),
        "shrunk by a factor": (all_of(v / (1 + t)), price(rivals)),
        "no threshold": (all_of(v), price(rivals)),
    },
)

# %% [markdown]
# *ISTA*, iterative soft thresholding {cite:p}`daubechies2004iterative`, takes turns: one gradient step of the smooth part, then the threshold.
#
# $$
# s_{k+1} = S_{\lambda / L}\big(s_k + \tfrac1L D^\top (y - D s_k)\big), \qquad s_0 = 0 .
# $$ (eq-priors-ista)

# %%
show_source(soft_threshold, ista)

# %% [markdown]
# :::{prf:theorem} ISTA falls at 1/k
# :label: thm-priors-ista
# Let $L$ be the largest eigenvalue of $D^\top D$. Then $F(s_{k+1}) \le F(s_k)$, and for every minimiser $s^\star$
#
# $$
# F(s_k) - F(s^\star) \le \frac{L \lVert s_0 - s^\star \rVert^2}{2 k} .
# $$ (eq-priors-ista-rate)
#
# The power of $k$ is not improved without more assumptions: for no $c$ and $\epsilon > 0$ is $c L \lVert s_0 - s^\star \rVert^2 / k^{1 + \epsilon}$ a bound for all lasso problems, and on some the left side falls nearly in proportion to $1/k$ over as many steps as one likes.
# :::
#
# :::{prf:proof}
# Let $f$ be the smooth part, $g = \lambda \lVert \cdot \rVert_1$, and $T(v)$ the step of {eq}`eq-priors-ista` at any $v$. In steps:
#
# 1. $T(v)$ minimises $Q(u) = f(v) + \langle \nabla f(v), u - v \rangle + \frac L2 \lVert u - v \rVert^2 + g(u)$: complete the square, and apply {prf:ref}`prop-priors-soft` to each number.
# 2. $F(T(v)) \le Q(T(v))$, because the second derivatives of $f$, the eigenvalues of $D^\top D$, are at most $L$; and $Q(u) \ge Q(T(v)) + \frac L2 \lVert u - T(v) \rVert^2$, because $Q$ less $\frac L2 \lVert u \rVert^2$ is convex and $Q$ is least at $T(v)$.
# 3. $Q(u) \le F(u) + \frac L2 \lVert u - v \rVert^2$, because a convex $f$ lies above its tangent. Together, for all $u$ and $v$,
#
# $$
# F(T(v)) - F(u) \le \tfrac L2 \lVert u - v \rVert^2 - \tfrac L2 \lVert u - T(v) \rVert^2 .
# $$ (eq-priors-step)
#
# 4. With $u = v = s_k$: $F(s_{k+1}) \le F(s_k)$.
# 5. With $u = s^\star$, $v = s_i$: $F(s_{i+1}) - F(s^\star) \le \frac L2 (\lVert s_i - s^\star \rVert^2 - \lVert s_{i+1} - s^\star \rVert^2)$. The sum over $i < k$ telescopes, and by step 4 it is at least $k (F(s_k) - F(s^\star))$. Divide by $k$.
# 6. For the last sentence: a diagonal dictionary with $D_{jj}^2 = L_j$, and $y$ such that all $s^\star_j = 1$, gives $s_{k,j} = 1 - (1 - L_j / L)^k$, so the left side is $\frac12 \sum_j L_j (1 - L_j / L)^{2k}$. For $J$ eigenvalues $L_j = a_j L$ from $L / k_{\max}$ to $L$, evenly spaced by $\Delta$ in the logarithm, this is nearly $\frac{L}{2 \Delta} \int_0^\infty e^{-2 k a}\, da = L / (4 k \Delta)$ while $k$ is well between $1$ and $k_{\max}$. There $\lVert s_0 - s^\star \rVert^2 = J$ is about $\log(k_{\max}) / \Delta$, so a bound with $k^{1 + \epsilon}$ fails near a large $k_{\max}$. (On each single problem ISTA is in the end geometric.)
# :::
#
# *FISTA* {cite:p}`beck2009fast` makes the same step from a point ahead: $\tau_1 = 1$, $v_1 = s_0$,
#
# $$
# s_k = T(v_k), \quad \tau_{k+1} = \tfrac12 \Big(1 + \sqrt{1 + 4 \tau_k^2}\Big), \quad v_{k+1} = s_k + \tfrac{\tau_k - 1}{\tau_{k+1}} (s_k - s_{k-1}) .
# $$ (eq-priors-fista)
#
# :::{prf:theorem} FISTA falls at 1/k²
# :label: thm-priors-fista
# $F(s_k) - F(s^\star) \le \dfrac{2 L \lVert s_0 - s^\star \rVert^2}{(k + 1)^2}$ for $k \ge 1$. On the slow problems of step 6 of {prf:ref}`thm-priors-ista` the left side falls nearly in proportion to $1/k^2$.
# :::
#
# :::{prf:proof}
# Let $\delta_k = F(s_k) - F(s^\star)$ and $w_k = \tau_k s_k - (\tau_k - 1) s_{k-1} - s^\star$. In steps:
#
# 1. Let $k \ge 1$. $F$ is convex, so at $u = \frac1{\tau_{k+1}} s^\star + (1 - \frac1{\tau_{k+1}}) s_k$ it is at most that mean of its values.
# 2. {eq}`eq-priors-step` with this $u$ and $v = v_{k+1}$, times $\tau_{k+1}^2$: by definition $\tau_{k+1} (v_{k+1} - u) = w_k$ and $\tau_{k+1} (s_{k+1} - u) = w_{k+1}$, so that $\tau_{k+1}^2 \delta_{k+1} - \tau_{k+1} (\tau_{k+1} - 1) \delta_k \le \frac L2 (\lVert w_k \rVert^2 - \lVert w_{k+1} \rVert^2)$.
# 3. $\tau_{k+1} (\tau_{k+1} - 1) = \tau_k^2$, by the choice of $\tau_{k+1}$; so $\tau_k^2 \delta_k + \frac L2 \lVert w_k \rVert^2$ never rises.
# 4. At $k = 1$, {eq}`eq-priors-step` with $u = s^\star$, $v = s_0$ says that it is at most $\frac L2 \lVert s_0 - s^\star \rVert^2$.
# 5. So $\delta_k \le \frac{L}{2 \tau_k^2} \lVert s_0 - s^\star \rVert^2$, and $\tau_k \ge (k + 1) / 2$ by induction: the claim.
# 6. For the last sentence: for small $a = L_j / L$ the error $e$ of coordinate $j$ follows, as $k$ grows, the equation $e'' + \frac3k e' + a e = 0$ with $e(0) = 1$ (that limit we take on trust), so $e = 2 J_1(k \sqrt a) / (k \sqrt a)$ with the Bessel function $J_1$. Since $\int_0^\infty J_1(u)^2 / u\, du = \frac12$, the sum $\frac12 \sum_j L_j e_j^2$ is nearly $2 L / (\Delta k^2)$.
# :::
#
# We check both bounds on 20 random problems and on the slow one of the first proof, and the orders on the slow one.

# %% tags=["hide-input"]
torch.manual_seed(seed)
steps = torch.arange(1, 1025)


def gaps(D, y, lam, best):
    """F(s_k) - F(s*) of ISTA and FISTA: two times (steps, problems)."""
    paths = [how(y, D, lam, 1024)[1:] for how in (ista, fista)]
    return [
        torch.stack([lasso(y, D, s, lam) for s in p]) - best for p in paths
    ]


slow = torch.logspace(-8, 0, 80).double()  # eigenvalues
D_slow = slow.sqrt().diag()
y_slow = ((slow + 0.1) / slow.sqrt())[None]  # the minimiser is all ones
best = lasso(y_slow, D_slow, torch.ones(1, 80).double(), 0.1)
found = [gaps(D_slow, y_slow, 0.1, best)]
reach = [torch.tensor([80.0]).double()]  # L |s*|^2
D = F.normalize(torch.randn(20, 40).double(), dim=0)
y = torch.randn(20, 20).double()  # twenty problems, one dictionary
least = fista(y, D, 0.1, 6000)[-1]
found.append(gaps(D, y, 0.1, lasso(y, D, least, 0.1)))
reach.append(torch.linalg.matrix_norm(D, 2) ** 2 * least.square().sum(1))
by_ista, by_fista = (torch.cat([f[i] for f in found], 1) for i in (0, 1))
far, k = torch.cat(reach), steps[:, None].double()

# %%
near = slice(0, 256)
allowed, faster = (far / (2 * k))[near].T, (2 * far / (k + 1) ** 2)[near].T
ours, lesser = by_ista[near].T, far * 0.9 ** k[near]
check("thm-priors-ista", about="bound", of="problems").at_most(
    smaller=ours,
    larger=allowed,
    atol=1e-8,
    wrong={
        "the bound of FISTA": (ours, faster),
        "geometric": (ours, lesser.T),
        "over k times more": (ours, allowed / k[near].T),
    },
)

# %%
theirs = by_fista[near].T
check("thm-priors-fista", about="bound", of="problems").at_most(
    smaller=theirs,
    larger=faster,
    atol=1e-8,
    wrong={
        "1 / k³": (theirs, faster / k[near].T),
        "geometric": (theirs, lesser.T),
        "a hundredth of it": (theirs, faster / 100),
    },
)

# %%
at = torch.tensor([64, 128, 256, 512, 1024])
loose = [b[0, -1] / v[0, -1] for b, v in ((allowed, ours), (faster, theirs))]
h = 1 / at.double()
first, second = by_ista[at - 1, 0], by_fista[at - 1, 0]
check("thm-priors-ista", about="order").order(
    h, first, expected=1, wrong={"of FISTA": 2.0, "FISTA's errors": second}
)

# %%
check("thm-priors-fista", about="order").order(
    h, second, expected=2, wrong={"of ISTA": 1.0, "ISTA's errors": first}
)

# %% tags=["hide-input"]
apart = math.log(slow[1] / slow[0])  # Δ of step 6
Markdown(
    f"On the slow problem, at k = {len(ours[0])}, the bounds are "
    f"{loose[0]:.0f} and {loose[1]:.0f} times the values: what is checked is "
    "the power, not the constant. The last steps of both proofs foretell "
    f"{1 / (4 * apart):.2f} / k and {2 / apart:.2f} / k²; found at "
    f"k = {at[-1]} are {first[-1] * at[-1]:.2f} / k and "
    f"{second[-1] * at[-1] ** 2:.2f} / k²."
)

# %% tags=["hide-input"]
every = torch.unique(torch.logspace(0, 3, 40).long()) - 1
show(
    figures.curves(
        {
            "ISTA": (steps[every], by_ista[every, 0]),
            "FISTA": (steps[every], by_fista[every, 0]),
            "bound 1/k": (steps[every], (far / (2 * k))[every, 0]),
            "bound 1/k²": (steps[every], (2 * far / (k + 1) ** 2)[every, 0]),
            "random, ISTA": (steps[every], by_ista[every, 1].clamp(min=1e-12)),
        },
        "steps k",
        "F less its minimum",
        scales=("log", "log"),
    ),
    "The slow problem, in lines parallel to the bounds, and a random one, on "
    "which ISTA ends steeper than any power. The bounds are those of the slow "
    "problem: bounds are for the worst case.",
    alt="Falling lines in logarithmic axes: ISTA with slope minus one, FISTA "
    "with slope minus two, each below its bound.",
    label="fig-priors-orders",
)

# %% [markdown]
# FISTA is no descent method: on the way a value may rise. Its bound is below ISTA's from the second step on, which promises nothing for a single problem.
#
# One more fact about the lasso will explain a death below.
#
# :::{prf:proposition} When the code is zero
# :label: prop-priors-dead
# $s^\star = 0$ exactly if $\lambda \ge \max_j \lvert d_j^\top y \rvert$. With atoms of length 1 this holds for every $y$ with $\lVert y \rVert \le \lambda$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. A minimiser is a fixed point of {eq}`eq-priors-ista`, and conversely: both say that 0 is a subgradient of $F$.
# 2. At $s = 0$ the step is $S_{\lambda / L}(D^\top y / L)$, which is 0 exactly if no $\lvert d_j^\top y \rvert$ exceeds $\lambda$. Then all iterates of ISTA, begun at 0, are 0 too.
# 3. If 0 is a minimiser it is the only one: $D s$ is the same for all minimisers ($F$ is strictly convex in $D s$), here 0, so that any other would cost $\lambda \lVert s \rVert_1 > 0$ more.
# 4. $\lvert d_j^\top y \rvert \le \lVert d_j \rVert \lVert y \rVert$, the Cauchy-Schwarz inequality.
# :::

# %% tags=["hide-input"]
torch.manual_seed(seed)
dead, bars = [], []
for _ in range(60):
    D = F.normalize(torch.randn(20, 40).double(), dim=0)
    y = torch.randn(1, 20).double()
    lam = (torch.rand(()) + 0.5).item() * (y @ D).abs().max().item()
    dead.append(not fista(y, D, lam, 50)[-1].any())
    sizes_of = (y @ D).abs().max(), y.norm(), (y @ D).abs().mean()
    bars.append([lam >= size.item() for size in sizes_of])
dead, bars = torch.tensor(dead), torch.tensor(bars)
check("prop-priors-dead", of="lasso problems").holds(
    dead == bars[:, 0],
    how="random instances",
    wrong={
        "the length of y": dead == bars[:, 1],
        "the mean over atoms": dead == bars[:, 2],
    },
)

# %% [markdown]
# (sec-priors-lista)=
# ## LISTA: the steps of ISTA are layers
#
# Write {eq}`eq-priors-ista` as $s_{k+1} = S_\theta(W y + V s_k)$: a linear layer with a skip from the input, and a soft threshold in the place of a ReLU.
# {cite:t}`gregor2010learning` took that at its word.
#
# :::{prf:proposition} Unrolled ISTA
# :label: prop-priors-lista
# With $W = D^\top / L$, $V = I - D^\top D / L$ and $\theta = \lambda / L$ in every layer, a network of $k$ layers $s \mapsto S_\theta(W y + V s)$, begun at $s = 0$, gives exactly the $k$-th iterate of ISTA.
# :::
#
# :::{prf:proof}
# $s + \frac1L D^\top (y - D s) = \frac1L D^\top y + (I - \frac1L D^\top D) s$. So one layer is one step, and by induction $k$ are $k$.
# :::

# %%
show_source(LISTA.forward)

# %%
torch.manual_seed(seed)
D = F.normalize(torch.randn(20, 40).double(), dim=0)
y = torch.randn(200, 20).double()
path = ista(y, D, 0.2, 9)
layers = LISTA(D, 0.2, 8, shared=False)
check("prop-priors-lista", of="inputs").equal(
    left=layers(y).detach(),
    right=path[8],
    wrong={
        "one step more": path[9],
        "one step less": path[7],
        "FISTA": fista(y, D, 0.2, 8)[8],
    },
)

# %% [markdown]
# Now the weights are free to learn. ISTA treats every $y$ as if it were the worst; data are not the worst, and a few layers may know short cuts for *them*.
# We train on draws $y = D s + $ noise of sparse codes, each network by the lasso's own value, without any solution to imitate:


# %%
def drawn(n):
    """Features of codes of which about a tenth is not 0: (n, 20)."""
    s = torch.randn(n, 40) * (torch.rand(n, 40) < 0.1)
    return s @ D.float().T + 0.05 * torch.randn(n, 20)


# %%
def learned(k, rounds=300):
    """k layers of LISTA, each with its own weights, trained on draws."""
    net = LISTA(D.float(), 0.2, k, shared=False)
    adam = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(rounds):
        y = drawn(128)
        loss = lasso(y, D.float(), net(y), 0.2).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    return net


# %% tags=["hide-input"]
torch.manual_seed(seed)
rounds = 300 if not subset else 50
nets = {k: learned(k, rounds) for k in (1, 2, 4, 8)}
laws = {"new draws": drawn(1000), "dense": torch.randn(1000, 20)}
laws["dense, ten times"] = 10 * torch.randn(1000, 20)
rows, beaten = [], {}
for law_name, y in laws.items():
    D32 = D.float()
    least = lasso(y, D32, fista(y, D32, 0.2, 500)[-1], 0.2)
    by = {"ISTA": ista(y, D32, 0.2, 8), "FISTA": fista(y, D32, 0.2, 8)}
    for k, net in nets.items():
        row = {"inputs": law_name, "k": str(k)}
        for name, codes_by in by.items():
            over = lasso(y, D32, codes_by[k], 0.2) - least
            row[f"{name}, k steps"] = mean_of(over.double())
        with torch.no_grad():
            mine = lasso(y, D32, net(y), 0.2) - least
        row["LISTA, k layers"] = mean_of(mine.double())
        over = lasso(y, D32, by["ISTA"][k], 0.2) - least
        beaten[law_name, k] = mean_of((over - mine).double())
        rows.append(row)
results_table(rows)

# %% tags=["hide-input"]
ahead = [
    k
    for k in nets
    if beaten["new draws", k].value > 4 * beaten["new draws", k].error
]
last = {r["inputs"]: r for r in rows if r["k"] == "8"}
ours, plain_ones = "LISTA, k layers", ("ISTA, k steps", "FISTA, k steps")
times = {k: r[plain_ones[0]].value / r[ours].value for k, r in last.items()}
best_law = max(times, key=times.get)
lost = [k for k, r in last.items() if r[plain_ones[1]].value < r[ours].value]
Markdown(
    "F less its minimum, mean over 1,000 inputs. "
    "On new draws of the law that they were trained on, LISTA is ahead of "
    "as many steps of ISTA, input by input and beyond four standard errors, "
    f"for k = {', '.join(map(str, ahead)) or 'none'}. At k = 8 it is "
    + ", ".join(f"{v:.1f} times nearer ({k})" for k, v in times.items())
    + f". The gain is largest on {best_law}. With the weights of ISTA "
    "its bounds are gone: no number of layers promises the minimum. "
    f"Eight steps of FISTA are ahead of it on: {', '.join(lost) or 'none'}."
)

# %% [markdown]
# (sec-priors-scvae)=
# ## SC-VAE: learned ISTA between encoder and decoder

# %% tags=["hide-input"]
sketch = Sketch(380, 150)
sketch.node("x", 26, 45, "x", size=(32, 34), shaded=True)
sketch.node("e", 96, 45, "encoder", size=(68, 34))
sketch.node("l", 186, 45, "LISTA", size=(60, 34), lit=True)
sketch.node("D", 266, 45, "D s", size=(44, 34))
sketch.node("d", 340, 45, "decoder", size=(66, 34))
sketch.node("m", 186, 120, "½‖y − D s‖² + λ‖s‖₁", size=(150, 30))
for a, b in (("x", "e"), ("e", "l"), ("l", "D"), ("D", "d")):
    sketch.link(a, b)
sketch.link("l", "m", dashed=True)
sketch.words(140, 34, "y", small=True).words(231, 34, "s", small=True)
sketch.show(
    "SC-VAE: features y, a sparse code s from some layers of learned ISTA, "
    "and a decoder that sees the combination D s of few atoms. The lasso is "
    "a part of the loss.",
    alt="A chain from x through encoder, LISTA and D s to the decoder; a "
    "dashed arrow from LISTA to the lasso.",
    label="fig-priors-scvae",
)

# %% [markdown]
# SC-VAE {cite:p}`xiao2023scvae` gives each image a sparse code: the encoder maps $x$ to features $y$, learned ISTA finds $s$ with $y \approx D s$, and the decoder draws from $D s$. All is trained by
#
# $$
# -\log p(x \mid D s) + \tfrac12 \lVert y - D s \rVert^2 + \lambda \lVert s \rVert_1 .
# $$ (eq-priors-scvae)
#
# **What ISTA does here.** The posterior of a VAE is a formula of its encoder; the sparse code of $y$ is the solution of a minimisation problem, {eq}`eq-priors-lasso`, which has none. A linear layer gives no zeros; a soft threshold gives exact ones (so would a ReLU, of one sign), and ISTA puts them where the lasso wants them: through $V = I - D^\top D / L$ atoms that explain the same part of $y$ compete, from the second step on. The steps are themselves differentiable layers, so that gradients of the reconstruction pass through the *solver* to dictionary and encoder. A small fixed number of layers is used; how near to the minimum they come is measured, not promised ({ref}`an exercise <ex-priors-scvae>`). In this way inference, which a VAE amortises by one network, is amortised by a short optimisation; and since a code is no longer drawn with noise, there is no KL that could collapse, as in VAEs, and no codebook that could, as where codes are chosen from a list: that is the paper's motive. It has a collapse of its own instead: {ref}`the next section <sec-priors-death>`.
#
# Two things it is not.
# It is no variational autoencoder in the strict sense: there is no $q(z \mid x)$, the three terms are $-\log p(x, y, s)$ at one point up to a constant, no bound of $\log p(x)$; so its loss must not stand in one column with nats of bounds.
# And ours draws no images: that would need a law of sparse codes, learned afterwards. (The paper makes images by changing the codes of given ones.)
#
# The first version of the paper learns its atoms; the final one fixes orthogonal atoms (a cosine transform) and learns the rest, for codes of patches of large photographs.
# Ours learns $J = 128$ atoms of length 1 for $M = 40$ features of a whole digit; five layers with shared weights; $\lambda = 0.5$. Features are normalised to mean 0 and variance 1 for each image, for a reason that comes at once.

# %%
show_source(SparseAutoencoder.code, SparseAutoencoder.terms)

# %%
sparse = train(sc_vae, epochs, seed, subset)
short = {"images": 10_000, "horizon": 6}
prices = () if subset else (0.1, 0.5, 1.0, 2.0, 4.0, 8.0)
by_price = {
    lam: train(sc_vae, epochs, seed, lam=lam, **short) for lam in prices
}
bare = None
if not subset:
    bare = train(sc_vae, epochs, seed, normalised=False, **short)

# %% [markdown]
# (sec-priors-death)=
# ### The failure: a code that dies, and when it must
#
# At the start LISTA *is* ISTA ({prf:ref}`prop-priors-lista`). So by step 2 of {prf:ref}`prop-priors-dead` an image's code is 0 exactly if no atom meets its features with more than $\lambda$.
# An encoder begins with small features: not normalised, they give codes of 0 from the first step even at $\lambda = 0.5$. Where all thresholds give 0, neither $W$, $V$, $\theta$ nor the dictionary receives a gradient, nor the encoder one from the reconstruction; and the misfit, now $\frac12 \lVert y \rVert^2$, shrinks the features further.
# Normalised features have $\lVert y \rVert \le \sqrt{40} \approx 6.3$, at the start and ever after: above that price every code is 0, and for ever.
# This says when a code is *born* dead; a trained $W$ obeys no such bound. Below 6.3 it is a matter of which atoms were drawn:


# %% tags=["hide-input"]
def at_first(lam=0.5, normalised=True):
    """Share of test images whose code is not 0 at the first step."""
    torch.manual_seed(seed)
    new = sc_vae(lam=lam, normalised=normalised).model
    with torch.no_grad():
        met = (new.encoder(x_test) @ new.dictionary).abs().amax(1)
    return f"{100 * (met > lam).double().mean():.0f} %"


rows = []
named = {f"{lam:g}": (run, at_first(lam)) for lam, run in by_price.items()}
if bare is not None:
    named["0.5, not normalised"] = bare, at_first(normalised=False)
named["0.5, all images, longer"] = sparse, at_first()
for name, (run, alive_at_first) in named.items():
    m = run.metrics
    row = {"λ": name, "alive at first": alive_at_first}
    row["distortion"] = m["distortion, all"]
    row["misfit"], row["price"] = m["misfit, all"], m["price, all"]
    row["atoms of an image"] = m["atoms of an image"]
    row["atoms in use, of 128"] = f"{m['atoms in use']['value']:.0f}"
    rows.append(row)
results_table(rows)


# %% tags=["hide-input"]
def atoms_of(run):
    """Mean number of atoms of an image."""
    return run.metrics["atoms of an image"]["value"]


alive = [f"{k:g}" for k, r in by_price.items() if atoms_of(r) > 0]
gone = [f"{k:g}" for k, r in by_price.items() if atoms_of(r) == 0]
# %% tags=["hide-input"]
told = f"Nats per test image. Alive: λ = {', '.join(alive)}; dead: "
told += f"λ = {', '.join(gone) or 'none'}. A dead model draws one image, "
told += "whatever λ is: dead rows of equal training are equal. "
told += "Alive at first: the share of test images of which some atom meets "
told += "the untrained features with more than λ. "
if bare is not None and atoms_of(bare) == 0:
    told += "Without normalisation λ = 0.5 is dead too, with it alive. "
if by_price and atoms_of(by_price[2.0]) > 0:
    few_atoms = by_price[2.0].metrics["atoms in use"]["value"]
    told += f"At λ = 2 only {few_atoms:.0f} of 128 atoms are used by any test "
    told += "image; whether others ever were the table does not say. "
if gone:
    shrunk = by_price[float(gone[-1])].metrics["misfit, all"]["value"]
    told += "Once all are dead the misfit goes on shrinking the features, "
    told += "past the small constant in the normalisation's denominator: "
    told += f"it is {shrunk:.2f}, and not 20. "
Markdown(told if by_price else "A short trial trains one price only.")

# %% [markdown]
# Six epochs over 10,000 images for each price: the rows are comparable with one another, and none is at its plateau.
#
# ### What an atom draws
#
# The decoder's picture of a code that uses one atom alone, with the commoner of its two signs and at the median size of that sign, for the most used atoms:

# %% tags=["hide-input"]
net = sparse.model
with torch.no_grad():
    s_test = net.code(x_test)
    used = (s_test != 0).double().mean(0)
    top = used.argsort(descending=True)[:20]
    sign = s_test[:, top].sign().sum(0).sign()  # the commoner one
    same = (s_test[:, top] * sign).where(s_test[:, top] * sign > 0, math.nan)
    size = (sign * same.nanmedian(0).values).nan_to_num()
    alone = torch.zeros(20, net.latent).scatter_(
        1, top[:, None], size[:, None]
    )
    drawn_by = net.decode(alone).mean
show(
    image_grid(drawn_by, 10, titles=[f"{100 * used[j]:.0f} %" for j in top]),
    "One atom at a time, with the share of test digits that use it. Single "
    "atoms are no strokes: the decoder is no sum, and has seen no code with "
    "one atom. The rarer ones leave it at nearly the same grey picture.",
    alt="Twenty blurred pictures, many of them nearly the same grey ghost.",
    label="fig-priors-atoms",
)

# %% [markdown]
# How many atoms does a digit need? Keep the $k$ largest numbers of each code, and set the others to 0:


# %% tags=["hide-input"]
def kept(k):
    """Ten test digits above, and drawn from their k largest atoms."""
    k = int(k)
    with torch.no_grad():
        s = s_test[:10]
        least = s.abs().topk(k, 1).values[:, -1:] if k else math.inf
        copies = net.decode(s * (s.abs() >= least)).mean
    lines = [torch.cat([*rows[:, 0]], 1) for rows in (x_test[:10], copies)]
    return torch.cat(lines)


stops = (0, 1, 2, 3, 5, 8, 12, 20)
Explorable(
    [kept(k) for k in stops],
    [str(k) for k in stops],
    "atoms kept",
    alt="Ten digits in a row, and below them copies that become clearer as "
    "more atoms are kept.",
    caption="Test digits and what the decoder draws from the largest atoms "
    "of their codes.",
    start=4,
    live=figures.Live(kept),
)

# %% [markdown]
# (sec-priors-compare)=
# ### Beside a VAE with as many numbers
#
# Both decoders below see 40 numbers, and both networks have hidden layers of 150 units and ten epochs over all images. The sparse code holds 128 numbers, most of them 0; the VAE's code is read at the mean of $q(z \mid x)$, and at a draw.
# A half-way point of two digits with different labels is taken where the code lives, between sparse codes or between means, and read by the book's classifier of digits: how sure is it, and does it say one of the two labels?
# ({ref}`Vector-quantised codes <ch:quantized>` have a table of their own.)

# %% tags=["hide-input"]
small = {"prior": "normal", "hidden": 150, "horizon": 10}
plain = train(learned_prior, epochs, seed, subset, **small)
reader = extractor_of("mnist").model.eval()
x_all, y_all = digits.seen_as("unit").examples("test", 2000)[:2]
half = len(x_all) // 2
differ = (y_all[:half] != y_all[half : 2 * half]).nonzero()[:, 0]
pair = y_all[differ], y_all[differ + half]


def between(code, decode):
    """Decoded half-way points: sure, and one of the two labels, each."""
    with torch.no_grad():
        a, b = code(x_all[differ]), code(x_all[differ + half])
        p = reader.classify(decode((a + b) / 2)).softmax(1)
    said = (p.argmax(1) == pair[0]) | (p.argmax(1) == pair[1])
    return p.amax(1).double(), said.double()


# %% tags=["hide-input"]
halves, right = ("half-way: sure", "one of the two"), {}


def compared(name, code, decode, drawn=None):
    """One row: nats of reconstruction, numbers that are not 0, half-ways."""
    with torch.no_grad():
        z = code(x_all)
        row = {"code": name}
        row["distortion"] = mean_of(-decode(z).log_prob(x_all).double())
        row["at a draw"] = drawn
        row["numbers not 0"] = mean_of((z != 0).sum(1).double())
    half_way = between(code, lambda z: decode(z).mean)
    right[name] = half_way[1]
    return row | dict(zip(halves, map(mean_of, half_way), strict=True))


# %% tags=["hide-input"]
with torch.no_grad():
    noisy = -plain.model.decode(plain.model.encode(x_all).sample()).log_prob(
        x_all
    )
rows = [
    compared("SC-VAE", net.code, net.decode),
    compared(
        "VAE", plain.model.code, plain.model.decode, mean_of(noisy.double())
    ),
]
of_pixels = between(lambda x: x, lambda x: x)
right["the pixels"] = of_pixels[1]
pixels = {"code": "the pixels"}
none = dict.fromkeys(("distortion", "at a draw", "numbers not 0"))
rows.append(
    pixels | none | dict(zip(halves, map(mean_of, of_pixels), strict=True))
)
results_table([{k: row[k] for k in rows[0]} for row in rows])

# %% tags=["hide-input"]
ends = x_all[[0, 1]], x_all[[half, half + 1]]
shares = torch.linspace(0, 1, 9)
lines = {}
with torch.no_grad():
    for name, model in (("SC-VAE", net), ("VAE", plain.model)):
        a, b = (model.code(e) for e in ends)
        for i in (0, 1):
            path = torch.lerp(a[i], b[i], shares[:, None])
            lines[f"{name}, pair {i + 1}"] = model.decode(path).mean
show(
    image_rows(lines),
    "From one test digit to another in equal steps of the code.",
    alt="Four rows of nine pictures that go from one digit to another.",
    label="fig-priors-between",
)

# %% tags=["hide-input"]
ours, theirs = rows[0], rows[1]
sc, drawn_code = ours["distortion"], theirs["at a draw"]
over, error = (
    sc.value - drawn_code.value,
    math.hypot(sc.error, drawn_code.error),
)
with torch.no_grad():
    both = net.code(x_all[differ]) + net.code(x_all[differ + half])
ahead = {
    name: mean_of(right[name] - right["the pixels"])
    for name in ("SC-VAE", "VAE")
}
# %% tags=["hide-input"]
told = "At the mean of its code the VAE reconstructs at "
told += f"{theirs['distortion'].value:.0f} nats, at a draw at "
told += f"{drawn_code.value:.0f}, the SC-VAE at {sc.value:.0f}: "
told += f"{over:+.1f} ± {error:.1f} beside the draw. "
if over > 2 * error:
    told += (
        "So this SC-VAE, at λ = 0.5, reconstructs worse than a drawn code; "
    )
    told += "how much of that is sparsity the table cannot tell. "
told += "The VAE's code costs "
told += f"{plain.metrics['rate, all']['value']:.0f} nats; the numbers of the "
told += "SC-VAE are real and without noise, so no finite rate is theirs. "
Markdown(
    told + "A half-way point is read as one of its two labels more often than "
    "half-way pixels by "
    + " and ".join(
        f"{100 * v.value:.0f} ± {100 * v.error:.0f} points ({k})"
        for k, v in ahead.items()
    )
    + ". Half-way points of sparse codes use the atoms of both, "
    f"{(both != 0).sum(1).double().mean():.0f} in the mean where a code has "
    f"{ours['numbers not 0'].value:.0f}: the set of sparse codes is not "
    "convex, and a straight line leaves it."
)

# %% [markdown]
# (sec-priors-limits)=
# ## Limits
#
# Our schedules are too short for any of our nats to stand as a result; the published trainings are at least ten times as long, and a prior that is learned needs time of its own.
# Each row is one seed.
# The two-layer model differs from the paper's in the shape of its networks and in how $q(z_1 \mid x, z_2)$ is made: as the product of $p(z_1 \mid z_2)$ and a Gaussian of the image, a ladder, where the paper takes one network of both.
# Our SC-VAE codes a whole digit by one sparse vector, the paper codes patches of photographs; its own numbers are not set beside ours, since no number of the paper was found that has our protocol.
# The rates under lists of training images hold for one encoder, that of the flat VampPrior, which was not trained under those priors.
#
# So who says where codes should lie? The codes do, and a prior may listen; but it must listen to all images that could come, and not to a list of those that did.
#
# ## Exercises
#
# ```{exercise-start} VampPrior, read and explained
# :label: ex-priors-vamp
# ```
# (Recall and derive.) The homework asks to read and explain the VampPrior. Which problem of a standard normal prior does it address, what is the prior, how are its parameters trained, and what keeps it from overfitting?
# Show that its pseudo-inputs receive a gradient from the rate alone, and the encoder from both sides of it.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-priors-vamp
# :class: dropdown
# ```
# A normal prior over-regularises: besides the information, the mean rate pays the gap $\mathrm{KL}(q(z) \,\|\, p(z))$ ({prf:ref}`thm-priors-best`), and dimensions are given up to lower it. The best prior, the aggregate posterior, is a sum over all data, costly and overfitting ({prf:ref}`prop-priors-finite`). The VampPrior is that sum over $K \ll N$ pseudo-inputs, {eq}`eq-priors-vamp`, which are trained with all else by the bound; fitted to all $N$ training images at once, with $K$ entries where a list has $N$, they must be shared. In the two-layer model it is the prior of the top layer only.
# The distortion and $\log q(z \mid x)$ do not contain $u_k$, so it is moved by $-\log p(z)$ alone. With responsibilities $r_k(z) = q(z \mid u_k) / \sum_j q(z \mid u_j)$,
#
# $$
# \nabla_{u_k} \big(-\log p(z)\big) = -r_k(z)\, \nabla_{u_k} \log q(z \mid u_k) :
# $$
#
# each pseudo-input is pulled to the codes that it already explains. The encoder is moved from both sides: by $z$ and $q(z \mid x)$, and by $p(z)$ through its own posteriors at $u_k$, with the same weights $r_k$. To see them apart, hold one side:

# %%
with torch.enable_grad():
    x, q, p = x_test[:20], vamp.encode(x_test[:20]), vamp.prior()
    z, of_p = q.rsample(), (p.mean_of_each, p.log_variance, p.log_weight)
    fixed_p = GaussianMixture(*(v.detach() for v in of_p))
    terms = {
        "distortion": -vamp.decode(z).log_prob(x),
        "rate, prior held": q.log_prob(z) - fixed_p.log_prob(z),
        "-log p(z), code held": -p.log_prob(z.detach()),
    }

# %%
with torch.enable_grad():
    inputs, weight = vamp.learned.logits, next(vamp.encoder.parameters())
    for name, term in terms.items():
        found = torch.autograd.grad(
            term.mean(), (inputs, weight), retain_graph=True, allow_unused=True
        )
        sizes_by = ["none" if g is None else f"{g.norm():.2e}" for g in found]
        print(f"{name}: pseudo-inputs {sizes_by[0]}, encoder {sizes_by[1]}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} SC-VAE, and the role of ISTA
# :label: ex-priors-scvae
# ```
# (Recall and measure.) The homework asks to read and explain SC-VAE, and the role of ISTA in it. Explain both in your words.
# Then measure how well the five learned layers solve the lasso that the loss contains: compare $F$ at their codes with $F$ after 5 steps of ISTA and at the minimum, for the trained dictionary and features of test digits.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-priors-scvae
# :class: dropdown
# ```
# Its motive is collapse: VAEs lose latents to their prior (posterior collapse), vector-quantised ones lose entries of their codebook. A sparse code has neither a KL nor a choice of one entry. The encoder gives features, ISTA turns them into a sparse combination of atoms, the decoder draws from the combination. ISTA is the inference: soft thresholds give exact zeros, the matrix $V$ lets atoms compete for what they both explain, and all steps pass gradients ({ref}`the section <sec-priors-scvae>`). The learned layers need not solve the lasso well, since the reconstruction pulls at them too, and the decoder was trained on *their* codes:

# %%
with torch.no_grad():
    y, D_net = net.encoder(x_test), net.dictionary
    solved = {
        "5 learned layers": net.sparse(y),
        "5 steps of ISTA": ista(y, D_net, net.lam, 5)[-1],
        "500 steps of FISTA": fista(y, D_net, net.lam, 500)[-1],
    }
    for name, s in solved.items():
        value = mean_of(lasso(y, D_net, s, net.lam).double())
        atoms = (s != 0).sum(1).double().mean()
        nats = mean_of(-net.decode(s).log_prob(x_test).double())
        print(f"{name}: F = {value}, {atoms:.1f} atoms, {nats} nats")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} One step is enough
# :label: ex-priors-orthogonal
# ```
# (Derive and code.) Let the atoms be orthonormal, as many as features, as in the final version of SC-VAE. Solve the lasso in closed form. How many steps of ISTA does it take, and what is then left for learned layers to learn?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-priors-orthogonal
# :class: dropdown
# ```
# $\lVert y - D s \rVert = \lVert D^\top y - s \rVert$, so the lasso falls apart into one-dimensional problems, and by {prf:ref}`prop-priors-soft` $s^\star = S_\lambda(D^\top y)$. Here $L = 1$, and the first step of ISTA from 0 is just that. So learned layers have nothing to gain for the lasso; what they can learn is something else, such as a threshold for each atom, or a code that the decoder likes better.

# %%
torch.manual_seed(seed)
D_ortho = torch.linalg.qr(torch.randn(16, 16).double())[0]
y = torch.randn(50, 16).double()
path = ista(y, D_ortho, 0.3, 3)
torch.testing.assert_close(path[1], soft_threshold(y @ D_ortho, 0.3))
torch.testing.assert_close(path[1], path[3])
print(f"{(path[1] == 0).double().mean():.0%} zeros after one step")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The list that draws
# :label: ex-priors-list
# ```
# (Derive and measure.) A VAE whose prior is the mixture of the posteriors of all $N$ training images has a training rate of at most $\log N$. What is its best possible training bound, and what would you see in samples? Measure on the trained flat VampPrior how near draws of the list's prior are to training images, beside draws of its own prior.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-priors-list
# :class: dropdown
# ```
# Take the training images as drawn once, and all different. If every posterior is so sharp that its decoder draws its own image without error, the distortion is 0 and the rate $\log N$: a bound of $-\log N$ nats for each. No model does better: $\sum_n p(x_n) \le 1$ for different binary images, so by Jensen's inequality the mean of $\log p(x_n)$ is at most $-\log N$, and the bound is below that. Samples are training images. With our encoder, whose posteriors are not sharp, we look how much nearer to the list its draws are:

# %%
torch.manual_seed(seed)
bank = listed_x[:2000].flatten(1)
of_list = posteriors_at(vamp, listed_x[:2000])
with torch.no_grad():
    for name, p in (("the list", of_list), ("its own prior", vamp.prior())):
        images = vamp.decode(p.sample((200,))).mean.flatten(1)
        near = torch.cdist(images, bank).amin(1)
        print(f"draws of {name}: nearest of 2,000 {mean_of(near.double())}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} How many components work?
# :label: ex-priors-working
# ```
# (Measure.) The mixture has 200 components of equal weight. Do all of them serve? For codes of test images, compute the responsibilities of the components, and from their mean the number of components that work, $e^H$ with $H$ the entropy of the mean responsibilities. What is the largest it can be?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-priors-working
# :class: dropdown
# ```
# The largest is $K$, if all are used alike. The weights of the VampPrior are equal, so a component without duties wastes a share $1 / K$ of the mass, at most $\log \frac{K}{K - m}$ nats for $m$ of them if the others keep their shapes.

# %%
with torch.no_grad():
    p, z = vamp.prior(), vamp.encode(x_test).sample()
    each = torch.distributions.Normal(
        p.mean_of_each, (0.5 * p.log_variance).exp()
    )
    log_each = each.log_prob(z[:, None]).sum(2)  # (images, K)
    share = log_each.softmax(1).mean(0)
    working = torch.special.entr(share).sum().exp()
print(f"{working:.0f} of {len(share)} components work")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A better list
# :label: ex-priors-open
# ```
# (Open.) {cite:t}`norouzi2020exemplar` keep training images as the list, with two changes: an image's own entry is left out while it trains, and all entries share one variance. Which sentence of {prf:ref}`prop-priors-finite` does each change break? Train it, and compare rates of training and test images.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-priors-open
# :class: dropdown
# ```
# Open. Leaving out its own entry takes $p(z) \ge \frac1N q(z \mid x_n)$ from the proof, and with it the bound of the training rate; the shared variance keeps an entry from becoming a sharp name. A start: for a list without the image itself, compute the training rate of the trained encoder, which must now be about that of test images:

# %%
with torch.no_grad():
    K = min(2000, len(listed_x) // 2)
    without = posteriors_at(vamp, listed_x[n : n + K])
on_it = posteriors_at(vamp, listed_x[:K])
print("own entry on the list:", mean_of(paid(on_it, listed_x[:n])))
print("own entry left out:", mean_of(paid(without, listed_x[:n])))

# %% [markdown]
# ```{solution-end}
# ```
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
