# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:glow)=
# # Glow: 1 × 1 convolutions and exact codes
#
# *If a code loses nothing, is it a code that we can edit?*
#
# In {ref}`chapter 11 <ch:faces>` a portrait learned to smile.
# It paid for it: the autoencoder had first thrown away the strands of hair, the frame of the glasses, whatever did not fit into 64 numbers.
# Take a code instead that is as long as the picture and forgets nothing.
# Decode it unchanged, and the portrait comes back to the last grey level.
# So add the vector of the smile, and decode: everything else should stay exactly as it was.
# Should it?
#
# Glow {cite:p}`kingma2018glow` is the flow that made this famous.
# Compared with {ref}`RealNVP <ch:realnvp>` its two new layers stand between the couplings: one learns the permutation, the other lets the data choose where the scale starts; two smaller changes follow ({ref}`there <sec-glow-step>`).
# This chapter proves both, builds them, trains Glow on clothes and on drawn faces whose attributes are known exactly, and then measures every edit that the homework asks for.
#
# :::{admonition} You will learn to
# - compute the determinant of a 1 × 1 convolution from a few numbers, and start it at 0;
# - let the first batch of a training choose scales and shifts;
# - give each class a prior of its own, and read the class off by Bayes' rule;
# - disturb, cut, mix and edit an exact code, and measure what happens to the picture;
# - see an edit leave the range of pixels, and test whether the old length brings it back.
#
# You need: {ref}`couplings <sec-realnvp-coupling>` and {ref}`scales <sec-realnvp-scales>` of RealNVP, and {ref}`attribute vectors <sec-faces-vectors>`.
# :::

# %% tags=["parameters"]
epochs: int = 0  # 0: recall the published runs; n: train n epochs here
subset: int = 0  # 0: all images; n: train and measure on n at most
seed: int = 0
photograph: str = ""  # the path of a picture of a face; "": a drawn one
serious: str = ""  # the path of a picture of a serious person, and ...
smiling: str = ""  # ... of the same person, smiling; "": a drawn one

# %% tags=["hide-input"]
import math

import torch
import torch.nn.functional as F
from IPython.display import Markdown
from scipy.stats import chi
from torch.distributions import Normal

from companion import figures, metrics
from companion.claims import check
from companion.data import load, unit
from companion.data.drawing.faces import (
    KINDS,
    NAMES,
    draw,
    draw_attributes,
    draw_numbered,
)
from companion.experiments import (
    face_glow,
    face_reader,
    face_vae,
    glow,
    realnvp,
)

# %% tags=["hide-input"]
from companion.figures import (
    Explorable,
    Sketch,
    results_table,
    show,
    show_source,
)
from companion.metrics import edits
from companion.models.bijections import back_through
from companion.models.flows import Flow
from companion.models.glow import (
    ActNorm,
    Glow,
    Invertible1x1,
    scales,
    step,
)
from companion.runs import published_seed
from companion.train import train

# %% tags=["hide-input"]
seed = published_seed(face_glow, seed, epochs)
torch.manual_seed(seed)
generator = torch.Generator().manual_seed(seed)


def rand(*shape):
    """Gaussian numbers in double precision."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@torch.no_grad()
def in_parts(function, many):
    """Apply a function to 100 at a time."""
    return torch.cat([function(part) for part in many.split(100)])


# %% tags=["hide-input"]
sketch = Sketch(360, 226)
sketch.words(180, 14, "one step", small=True)
for k, name in enumerate(("actnorm", "1 × 1 conv.", "coupling")):
    sketch.node(name, 92 + 96 * k, 40, name, size=(82, 28), lit=k == 1)
sketch.node("in", 22, 40, "h", size=(24, 24))
sketch.node("out", 344, 40, "h", size=(24, 24))
for a, b in zip(
    ("in", "actnorm", "1 × 1 conv.", "coupling"),
    ("actnorm", "1 × 1 conv.", "coupling", "out"),
    strict=True,
):
    sketch.link(a, b)


# %% tags=["hide-input"]
sketch.words(180, 90, "three scales", small=True)
sketch.node("x", 26, 130, "x", size=(30, 30), shaded=True)
for k in range(3):
    sketch.node(f"s{k}", 98 + 106 * k, 130, "squeeze, steps", size=(88, 28))
    sketch.node(
        f"z{k}", 98 + 106 * k, 194, f"z{k + 1}", size=(44, 26), lit=k == 2
    )
sketch.link("x", "s0").link("s0", "s1").link("s1", "s2")
for k in range(3):
    sketch.link(f"s{k}", f"z{k}")
sketch.words(98, 222, "fine", small=True)
sketch.words(310, 222, "coarse", small=True)
sketch.show(
    "Above: a step of Glow. New are its first two parts, which each place of "
    "the image undergoes alone. Below: at each scale but the last, half of "
    "the numbers leave and are noise; the others are squeezed and go on. An "
    "edit may touch fine numbers, coarse ones, or all.",
    alt="Above, three boxes in a row: actnorm, 1 by 1 convolution, coupling. "
    "Below, an image passes three boxes of steps; from each an arrow goes "
    "down to a part of the noise.",
    label="fig-glow-idea",
)

# %% [markdown]
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $x$ | image, or what reaches a layer | $(B, C, \text{height}, \text{width})$ | `x` |
# | $n$ | places: height times width | | `places` |
# | $y$ | picture before it is rounded to levels; level plus $u$ | as $x$ | `y` |
# | $u$ | where in its level a pixel is put, 0 to 1 | as $x$ | |
# | $W = P L (U + \mathrm{diag}(s))$ | matrix of a 1 × 1 convolution, its factors | $(C, C)$ | `matrix()` |
# | $m_c, d_c$ | mean and standard deviation of channel $c$ in the first batch | $(C)$ | |
# | $s, t$ | of a coupling: log scale and shift | | `s`, `t` |
# | $z = (z_1, z_2, z_3)$ | the code, by scale, the finest first | $(B, D)$ | `parts(z)` |
# | $z_*$ | the last, coarsest scale of the code | $(B, D_*)$ | `top` |
# | $\mu_k, \sigma_k$ | mean and scale of class $k$ for $z_*$ | $(K, D_*)$ | `prior` |
# | $e_k$ | $(z_* - \mu_k) / \sigma_k$ | $(B, D_*)$ | `e` |
# | $S, \epsilon$ | some numbers of the code, noise in these | | `S`, `noise` |
# | $a$ | amplitude of that noise | | `amplitude` |
# | $J_S$ | columns of $\partial y / \partial z$ in $S$ | | `J[:, S]` |
# | $\tau$ | temperature: the noise of a draw is multiplied by it | | `heat` |
# | $\alpha$ | position between two faces | | `alpha` |
# | $v$ | attribute vector | $(D)$ | `v` |
# | $Z_\Delta$ | difference of the codes of one person, smiling and serious | $(D)$ | `delta` |

# %% [markdown]
# (sec-glow-conv)=
# ## A 1 × 1 convolution is one matrix at every place
#
# A coupling keeps half of the channels, so something must mix them before the next one.
# RealNVP alternates; the homework's variant permutes.
# A permutation of channels multiplies the $C$ numbers of each place by a permutation matrix.
# Glow lets training choose the matrix.


# %%
def mix(x, W):
    """A 1 x 1 convolution: the channels of each place times W."""
    return torch.einsum("dc,bchw->bdhw", W, x)


# %% [markdown]
# :::{prf:theorem} Determinant of a 1 × 1 convolution
# :label: thm-glow-conv
# Let $W$ be an invertible $C \times C$ matrix. The map that multiplies the channels of each of $n$ places by $W$ is a bijection, its inverse multiplies by $W^{-1}$, and $\log \lvert \det J \rvert = n \log \lvert \det W \rvert$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Order the numbers of the image by place, and within a place by channel.
# 2. The output at a place depends on the input at that place alone, by $W$. So $J$ has $n$ diagonal blocks $W$ and zeros elsewhere.
# 3. Another order of the numbers multiplies $J$ by a permutation matrix on both sides, whose determinants are $\pm 1$.
# 4. The determinant of a block-diagonal matrix is the product of those of its blocks: $\lvert \det J \rvert = \lvert \det W \rvert^n$.
# 5. The blocks are inverted one by one.
# :::


# %%
def full_log_det(function, x):
    """log |det J| at one image (C, H, W), by automatic differentiation."""
    J = torch.autograd.functional.jacobian(
        lambda v: function(v.view(1, *x.shape)).flatten(), x.flatten()
    )
    return torch.linalg.slogdet(J).logabsdet


# %%
sizes = [(2 + k % 3, 1 + k % 4, 2 + k % 2) for k in range(30)]
matrices = [rand(c, c) for c, _, _ in sizes]
exact = torch.stack(
    [
        full_log_det(lambda v, W=W: mix(v, W), rand(*s))
        for s, W in zip(sizes, matrices, strict=True)
    ]
)
alone = torch.stack([torch.linalg.slogdet(W).logabsdet for W in matrices])
places = torch.tensor([h * w for _, h, w in sizes])
channels = torch.tensor([c for c, _, _ in sizes])
check("thm-glow-conv", of="matrices and sizes").equal(
    left=exact,
    right=places * alone,
    wrong={
        "counted once": alone,
        "counted for each number": places * channels * alone,
        "the inverse's": -places * alone,
    },
    rtol=1e-8,
)

# %% [markdown]
# The determinant of $W$ costs about $C^3$ operations in every step, and a training might walk into a singular $W$.
# Glow writes $W$ as a product in which the determinant can be read:
#
# $$
# W = P L\, (U + \mathrm{diag}(s)),
# $$ (eq-glow-lu)
#
# with a permutation matrix $P$, a lower triangular $L$ with ones on the diagonal, and a strictly upper triangular $U$.
# $P$ is drawn once and stays; $L$, $U$ and $\log \lvert s \rvert$ are learned; the signs of $s$ stay.
#
# :::{prf:theorem} LU form and orthogonal start
# :label: thm-glow-lu
# (a) $\log \lvert \det W \rvert = \sum_i \log \lvert s_i \rvert$, and $W$ is invertible exactly if no $s_i$ is 0.
#
# (b) Every invertible $W$ can be written as {eq}`eq-glow-lu`.
#
# (c) If $W$ starts as an orthogonal matrix, the layer starts with log-determinant 0 and keeps the length of the channels at each place.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. (a) The determinant of a product is the product of the determinants. $\lvert \det P \rvert = 1$, because $P$ reorders.
# 2. $L$ and $U + \mathrm{diag}(s)$ are triangular, so theirs are the products of their diagonals: 1 and $\prod_i s_i$. Take logarithms of sizes. The product is 0 exactly if a factor is.
# 3. (b) By induction on $C$; $C = 1$ is clear. The first column of $W$ has an entry $w \ne 0$; a permutation $\Pi$ brings it to the top: $\Pi W = \begin{pmatrix} w & r \\ c & W' \end{pmatrix}$.
# 4. $R = W' - c\, r / w$ is invertible, since $\det \Pi W = w \det R$. By induction $R = Q L' U'$ with a permutation $Q$, a lower triangular $L'$ with ones on its diagonal and an upper triangular $U'$.
# 5. Then $\begin{pmatrix} 1 & 0 \\ 0 & Q^\top \end{pmatrix} \Pi W = \begin{pmatrix} 1 & 0 \\ Q^\top c / w & L' \end{pmatrix} \begin{pmatrix} w & r \\ 0 & U' \end{pmatrix}$, and the inverse of the product of the two permutations is $P$.
# 6. (c) $W^\top W = I$ gives $(\det W)^2 = 1$, so $\log \lvert \det W \rvert = 0$, and $\lVert W h \rVert^2 = h^\top W^\top W h = \lVert h \rVert^2$.
# :::
#
# Fixing $P$ and the signs costs something: the leading minors of $P^{-1} W$ are $s_1$, $s_1 s_2$, and so on, so none of their signs can change in training, that of the determinant among them.
# (With $P$ fixed but free signs, every $W$ would be a limit of what can be reached.)
# What LU buys is a $W$ that cannot become singular and a determinant that is read off, not much time.

# %%
layers = [Invertible1x1(2 + k % 7).double() for k in range(30)]
for layer in layers:  # after some learning
    for weight in layer.parameters():
        weight.data += 0.3 * rand(*weight.shape)
W = [layer.matrix().detach() for layer in layers]
sizes_of_s = [layer.log_size.detach() for layer in layers]
U = [layer.factors()[1].detach() for layer in layers]
check("thm-glow-lu", about="determinant", of="layers").equal(
    left=torch.stack([torch.linalg.slogdet(one).logabsdet for one in W]),
    right=torch.stack([s.sum() for s in sizes_of_s]),
    wrong={
        "s, not its logarithm": torch.stack(
            [s.exp().sum() for s in sizes_of_s]
        ),
        "all of U": torch.stack([(u.abs() + (u == 0)).log().sum() for u in U]),
        "the other sign": torch.stack([-s.sum() for s in sizes_of_s]),
    },
    rtol=1e-8,
)

# %%
every = [rand(c, c) for c in (2, 3, 5, 8, 12) for _ in range(6)]
factors = [torch.linalg.lu(one) for one in every]


def entries(made):
    """All entries of all matrices in one row."""
    return torch.cat([one.flatten() for one in made])


check("thm-glow-lu", about="every matrix", of="entries").equal(
    left=entries(every),
    right=entries(P @ L @ U for P, L, U in factors),
    wrong={
        "without the permutation": entries(L @ U for _, L, U in factors),
        "the permutation's inverse": entries(
            P.T @ L @ U for P, L, U in factors
        ),
    },
    rtol=1e-8,
)

# %%
fresh = [Invertible1x1(c).double() for c in (2, 4, 8, 16) for _ in range(5)]
inputs = [rand(3, len(layer.sign), 2, 2) for layer in fresh]
lengths = [(x**2).sum(1).flatten() for x in inputs]
through = [
    (layer(x)[0] ** 2).sum(1).flatten().detach()
    for layer, x in zip(fresh, inputs, strict=True)
]
raw = [
    (mix(x, rand(x.shape[1], x.shape[1])) ** 2).sum(1).flatten()
    for x in inputs
]
check("thm-glow-lu", about="orthogonal start", of="places").equal(
    left=torch.cat(lengths),
    right=torch.cat(through),
    wrong={
        "a Gaussian matrix": torch.cat(raw),
        "L alone": torch.cat(
            [
                (mix(x, layer.factors()[0]) ** 2).sum(1).flatten().detach()
                for layer, x in zip(fresh, inputs, strict=True)
            ]
        ),
    },
    rtol=1e-5,
)

# %% tags=["hide-input"]
start = max(
    abs(layer.log_det(x)[0].item())
    for layer, x in zip(fresh, inputs, strict=True)
)
Markdown(
    f"The largest log-determinant among these {len(fresh)} fresh layers is "
    f"{start:.1e}; they were drawn in single precision."
)

# %% [markdown]
# Three lines of the package's layer are the theorem.
# The inverse undoes $P$ and solves two triangular systems; $W$ itself is never inverted.

# %%
show_source(
    Invertible1x1.factors,
    Invertible1x1.matrix,
    Invertible1x1.log_det,
    Invertible1x1.inverse,
)

# %% [markdown]
# (sec-glow-actnorm)=
# ## The first batch sets the scales
#
# A deep flow needs numbers of a moderate size in every layer.
# The published RealNVP normalises by running statistics of recent batches (ours has no such layer); with very few images per processor these are noisy, and Glow learned large images one at a time on each processor.
# *Activation normalisation* has a scale and a shift for each channel, weights like any other, and asks the data once: at the first batch.
#
# :::{prf:theorem} Data-dependent start of actnorm
# :label: thm-glow-actnorm
# Let channel $c$ of a batch have mean $m_c$ and standard deviation $d_c > 0$ over images and $n$ places.
# With $z = (x - m_c) / d_c$ each channel of this batch has mean 0 and variance 1, and the layer has $\log \lvert \det J \rvert = - n \sum_c \log d_c$ for every image, of this batch or not.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The mean is linear: that of $z$ is $(m_c - m_c) / d_c = 0$.
# 2. The variance ignores a shift and is quadratic in a scale: that of $z$ is $d_c^2 / d_c^2 = 1$.
# 3. $m_c$ and $d_c$ are kept as weights, so for the next image they are constants: each number of channel $c$ has the derivative $1 / d_c$ with respect to itself, 0 to all others.
# 4. The Jacobian is diagonal, with $1 / d_c$ for each of $n$ places: the sum of logarithms is the one stated.
# :::
#
# Step 3 is where batch normalisation differs: there $m_c$ and $d_c$ depend on the image itself, so the determinant above is not that of one image's map.

# %%
batches = [
    rand(6, 3, 4, 2) * rand(1, 3, 1, 1).exp() + 3 * rand(1, 3, 1, 1)
    for _ in range(30)
]
norms = [ActNorm(3).double().train() for _ in batches]
outs = [n(x)[0].detach() for n, x in zip(norms, batches, strict=True)]


def moments(made):
    """Mean and variance of each channel, of all batches."""
    found = [(z.mean((0, 2, 3)), z.var((0, 2, 3), correction=0)) for z in made]
    return torch.stack([torch.cat(pair) for pair in found])


# %%
def scaled(x, over, power):
    """Normalise by moments over some axes, with a power of the variance."""
    m, v = (x.mean(over, True), x.var(over, correction=0, keepdim=True))
    return (x - m) / v**power


check("thm-glow-actnorm", about="first batch", of="batches").equal(
    left=torch.tensor([0.0] * 3 + [1.0] * 3).double().expand(30, 6),
    right=moments(outs),
    wrong={
        "divided by the variance": moments(
            [scaled(x, (0, 2, 3), 1.0) for x in batches]
        ),
        "the mean left in": moments(
            [x / x.std((0, 2, 3), correction=0, keepdim=True) for x in batches]
        ),
    },
    atol=1e-9,
)

# %%
later = [rand(3, 4, 2) for _ in norms]
exact = [
    full_log_det(lambda v, n=n: n(v)[0], x)
    for n, x in zip(norms, later, strict=True)
]
log_d = torch.stack(
    [x.std((0, 2, 3), correction=0).log().sum() for x in batches]
)
check("thm-glow-actnorm", about="determinant", of="images").equal(
    left=torch.stack(exact),
    right=-8 * log_d,
    wrong={
        "places forgotten": -log_d,
        "the variance for its root": -2 * 8 * log_d,
        "the batch counted": -6 * 8 * log_d,
    },
    rtol=1e-6,
)

# %% [markdown]
# (sec-glow-step)=
# ## One step: scale, mix, couple
#
# That is all of one step: the two new layers, and the coupling of the last chapter.


# %%
def glow_step(x, norm, W, net):
    """One step by hand: actnorm, 1 x 1 convolution, coupling."""
    places = x.shape[2] * x.shape[3]
    h = (x + norm.shift.view(1, -1, 1, 1)) * norm.log_scale.exp().view(
        1, -1, 1, 1
    )
    h = mix(h, W)
    a, b = h.chunk(2, 1)
    s, t = net(a).chunk(2, 1)
    s = 2 * torch.tanh(s / 2)  # bounded, as in the last chapter
    log_det = places * (norm.log_scale.sum() + torch.linalg.slogdet(W)[1])
    return torch.cat([a, b * s.exp() + t], 1), log_det + s.sum((1, 2, 3))


# %%
layers = [layer.double() for layer in step(4, width=8)]
norm, conv, coupling = layers
x = rand(5, 4, 6, 6)
z, log_det = Flow(layers, 144)(x)
by_hand = glow_step(x, norm, conv.matrix(), coupling.net)
torch.testing.assert_close(z, by_hand[0])
torch.testing.assert_close(log_det, by_hand[1])

# %% [markdown]
# Steps are stacked at several scales, as in RealNVP, with one difference.
# The half that leaves is not declared noise as it is: a small network hears the half that stays, and predicts mean and scale of what leaves.
# The authors' code does so (`split2d_prior`); subtracting the mean and dividing by the scale makes it *one more coupling*, and that is how this book writes it.

# %%
show_source(step, scales)

# %% [markdown]
# In a flow the code is not a summary.
# For a face of 32 × 32 pixels $z$ has 1,024 numbers: 512 leave at the finest scale, 256 at the next, and 256 are the coarsest.
# To encode and to decode are two methods.

# %%
show_source(Glow.code, Glow.pictures)

# %% [markdown]
# `code` throws the lowest bits of each pixel away (`whole`), makes the numbers real and puts each pixel in the middle of its level ($u = \tfrac12$), runs all layers forwards and keeps the first of two results, $z$; the second is $\log \lvert \det J \rvert$.
# `pictures` takes the highest level, runs the layers backwards to $y$, writes 0 where a number has overflowed, rounds down to a level, cuts off what lies outside of the levels, and divides by the highest, so that white is 1.
#
# (sec-glow-prior)=
# ## Each class has a cloud of its own, and Bayes' rule can read it
#
# Where images have labels, the coarsest scale can have another normal law for each class: a mean and a scale for each number, learned with everything else.
# Drawing from class $k$ is drawing from its cloud; and the class of an image can be asked for.
#
# :::{prf:theorem} Likelihood with a prior for each class
# :label: thm-glow-prior
# Let $z = f(x)$ with the last scale $z_*$, and under class $k$ let $z_* \sim \mathcal N(\mu_k, \mathrm{diag}(\sigma_k^2))$ and all other numbers $\mathcal N(0, 1)$, independently. With $e_k = (z_* - \mu_k) / \sigma_k$,
#
# (a) $\log p(x \mid k) = \log p_0(x) + \tfrac12 \lVert z_* \rVert^2 - \tfrac12 \lVert e_k \rVert^2 - \sum_i \log \sigma_{k i}$, where $p_0(x)$ is the flow with all of $z$ standard normal;
#
# (b) if all classes are equally likely, $p(k \mid x)$ is the softmax over $k$ of $-\tfrac12 \lVert e_k \rVert^2 - \sum_i \log \sigma_{k i}$: it depends on $z_*$ only.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. (a) By the change of variables ({prf:ref}`thm-realnvp-volume`) $\log p(x \mid k) = \log p(z \mid k) + \log \lvert \det J_f(x) \rvert$, and $f$ does not know $k$.
# 2. The numbers are independent, so $\log p(z \mid k)$ is a sum. The terms of all other scales are the same for every $k$ and for $p_0(x)$.
# 3. A number of the last scale has $-\tfrac12 e_{k i}^2 - \log \sigma_{k i} - \tfrac12 \log 2 \pi$ under class $k$, and $-\tfrac12 z_{* i}^2 - \tfrac12 \log 2 \pi$ under $p_0(x)$. Subtract.
# 4. (b) By Bayes' rule $p(k \mid x)$ is proportional to $p(x \mid k)$. In (a) only the last two terms depend on $k$; the others cancel in the softmax.
# :::
#
# So Bayes' rule needs no new network: it compares squared distances to class means in units of the class's scales, and charges each class the logarithms of its scales; the check shows that they count.

# %%
small = Glow((1, 4, 4), (1, 1), (4, 4), classes=3).double()
for weight in small.parameters():
    weight.data += 0.2 * rand(*weight.shape)
small.eval()
y = 20 + 200 * torch.rand(30, 1, 4, 4, generator=generator).double()
with torch.no_grad():
    z, _ = small(y)
    top, prior = small.parts(z)[-1], small.prior
    said = small.class_log_prob(y)
volume = torch.stack([full_log_det(lambda v: small(v)[0], one) for one in y])
mean, scale = prior.mean.detach(), prior.log_scale.detach().exp()

# %%
plain = Normal(0.0, 1.0).log_prob(z).sum(1) + volume
own = Normal(mean, scale).log_prob(top[:, None]).sum(2)  # (30, 3)
rest = Normal(0.0, 1.0).log_prob(z[:, : -top.shape[1]]).sum(1)
e = (top[:, None] - mean) / scale
bend = 0.5 * (top**2).sum(1, keepdim=True) - 0.5 * (e**2).sum(2)
check("thm-glow-prior", about="likelihood", of="images and classes").equal(
    left=own + (rest + volume)[:, None],
    right=plain[:, None] + bend - scale.log().sum(1),
    wrong={
        "without the scales' logarithms": plain[:, None] + bend,
        "the scales squared": plain[:, None] + bend - 2 * scale.log().sum(1),
        "without the old prior's term": plain[:, None]
        - 0.5 * (e**2).sum(2)
        - scale.log().sum(1),
    },
    rtol=1e-6,
)

# %%
near = -0.5 * (e**2).sum(2)
check("thm-glow-prior", about="Bayes' rule", of="images and classes").equal(
    left=said.softmax(1),
    right=(near - scale.log().sum(1)).softmax(1),
    wrong={
        "the nearest mean, in units of the scale": near.softmax(1),
        "the nearest mean": (-0.5 * (top[:, None] - mean) ** 2)
        .sum(2)
        .softmax(1),
    },
    rtol=1e-6,
)

# %% [markdown]
# Glow with ten clouds is trained on the same 10,000 images of Fashion-MNIST as RealNVP in the last chapter, with the same batches of 32, Adam and uniform dequantisation.
# Rate, warm-up, epochs and size differ (table and code), and Glow alone is told the labels in training.


# %%
clothes_run = train(glow, epochs, seed, subset, images=10_000, horizon=5)
clothes = clothes_run.model.cpu()
garments = load("fashion-mnist").seen_as("levels").cut(subset)

# %% tags=["hide-input"]
older = train(realnvp, epochs, seed, subset, images=10_000)


def row(name, run):
    """What a run says of itself."""
    return {
        "flow": name,
        "weights": sum(w.numel() for w in run.model.parameters()),
        "epochs": len(run.history),
        "rate": run.config["choices"]["rate"],
        "bits/dim": run.metrics["bits"],
        "class known": run.metrics.get("bits, class known"),
        "class by Bayes' rule, %": run.metrics.get("accuracy"),
    }


results_table(
    [row("RealNVP", older), row("Glow", clothes_run)],
    percent=["class by Bayes' rule, %"],
)

# %% tags=["hide-input"]
show(
    figures.history_curves(
        {"RealNVP": older.history, "Glow": clothes_run.history},
        {"nll": "nats per image"},
    ),
    "Training error (mean of an epoch, dashed) and test error (2,000 images, "
    "solid). Glow is told the class in training and not in the test.",
    alt="Falling curves of two flows, dashed for training and solid for test.",
    label="fig-glow-curves",
)

# %% tags=["hide-input"]
torch.manual_seed(seed)
pixels, kinds_of = garments.examples("test", 500)
with torch.no_grad():
    dense = pixels + torch.rand(pixels.shape)  # one u for both
    each = in_parts(clothes.class_log_prob, dense)
known_class = each.gather(1, kinds_of[:, None])[:, 0]
bits_won = (known_class - each.logsumexp(1)) / math.log(2) + math.log2(10)

# %% tags=["hide-input"]
gain = older.metrics["bits"]["value"] - clothes_run.metrics["bits"]["value"]
Markdown(
    f"Test images cost {abs(gain):.2f} bits per dimension "
    f"{'less' if gain > 0 else 'more'} than with RealNVP, which saw the "
    f"images {len(older.history)} times where Glow saw them "
    f"{len(clothes_run.history)} times. Being told the class is worth "
    f"{metrics.mean_of(bits_won)} bits for a whole image (the first "
    f"{len(each)} test images, the same $u$ for both). Since "
    "$p(x) \\ge p(x \\mid k) / 10$, nobody can gain more than "
    f"$\\log_2 10$ = {math.log2(10):.1f} bits on any image; the most here is "
    f"{bits_won.max():.2f}. Bayes' rule is right on "
    f"{clothes_run.metrics['accuracy']['value']:.0%} of the test images."
)

# %% [markdown]
# The first number is the likelihood of an image whose class is not told: the mean of the ten densities.
# The table compares two short trainings, not two kinds of layers, and does not say what a 1 × 1 convolution is worth: the flows differ in width, depth, rate and in how often they saw the images.
# We know of no published bits of Glow on Fashion-MNIST with a source that can be checked.
# On MNIST, another data set, the survey of {cite:t}`kobyzev2021normalizing` lists 1.05 for Glow and 1.06 for RealNVP (its Table 5).
# Glow's own tables are of colour photographs, with flows of 32 or 48 steps at each of three to six scales.

# %% tags=["hide-input"]
names = [name.replace("/", " or ") for name in garments.class_names]


def of_classes(temperature, times=3):
    """One image of each class and three rows, at a temperature."""
    torch.manual_seed(seed)
    images = clothes.sample(10 * times, temperature)[:, 0]
    return torch.cat(
        [torch.cat([*line], 1) for line in images.view(times, 10, 28, 28)]
    )


heats = (0.0, 0.5, 0.7, 0.85, 1.0, 1.2)
Explorable(
    [of_classes(heat) for heat in heats],
    [f"{heat:g}" for heat in heats],
    "temperature",
    alt="Three rows of ten images, one column for each kind of garment; at "
    "temperature 0 the rows are equal, above 1 they are noisy.",
    caption="Columns: " + ", ".join(names) + ". At temperature 0 each class "
    "shows the image of its mean; noise times the temperature adds the rest.",
    start=2,
    live=figures.Live(of_classes, again=True),
)

# %% [markdown]
# (sec-glow-faces)=
# ## Faces come back to the last grey level
#
# Now the homework's subject.
# It loads a Glow that others trained on photographs of celebrities.
# Ours is trained on the drawn faces of chapter 11, for the reasons given {ref}`there <sec-faces-data>`: nobody's likeness is used, and every attribute is known exactly.
# They have 32 × 32 pixels and, as in the paper's figures of faces, five bits: the lowest three of each pixel are thrown away, which leaves fewer levels to model and costs some smoothness of the shades.
# (`face_glow(size=64)` is the same code at 64 × 64, about four times the work, and `faces="/path"` takes photographs.)


# %%
def run(experiment, **choices):
    """Recall or train; draw no more faces than a short training needs."""
    short = epochs > 0 and subset > 0
    n = max(5, -(-5 * subset // 4)) if short else 20_000
    found = train(experiment, epochs, seed, subset, n=n, **choices)
    found.model.cpu()
    return found


face_run = run(face_glow)
reader_run = run(face_reader, size=32, horizon=5)
model, read = face_run.model, reader_run.model.read


# %%
def code(images):
    """z of pictures with pixels 0..255: (N, 1024)."""
    return in_parts(model.code, images.long())


def paint(z):
    """Pictures of codes, pixels in [0, 1] on 32 levels."""
    return in_parts(model.pictures, z)


# %%
FIT, NEW = 1500, 100
fit, new = slice(0, FIT), slice(FIT, FIT + NEW)
faces, attributes = draw(FIT + NEW, seed=1, size=32)
z = code(faces)
x = model.whole(faces[new].long()) / 31  # what the flow sees
truth, spread = attributes[new], attributes[fit].std(0)
targets = ["smile", "glasses", "age", "beard"]
which_targets = [NAMES.index(name) for name in targets]
assert torch.equal(paint(z[new]), x)

# %% tags=["hide-input"]
SCALES = ("finest", "middle", "coarsest")
torch.manual_seed(seed)
whole = model.whole(faces[new].long()).float()
dense = whole + torch.rand_like(whole)
z_drawn = in_parts(lambda part: model(part)[0], dense)


def relative_length(part):
    """Length of codes, or of a part of them, in units of √numbers."""
    return metrics.mean_of(part.norm(dim=1) / part.shape[1] ** 0.5)


results_table(
    [
        {"scale": name, "numbers": part.shape[1]}
        | {"length of z / √numbers, u = ½": relative_length(part)}
        | {"length, u drawn": relative_length(drawn)}
        for name, part, drawn in zip(
            SCALES, model.parts(z[new]), model.parts(z_drawn), strict=True
        )
    ]
)

# %% tags=["hide-input"]
seen = in_parts(read, x)
binary = torch.tensor([kind == "binary" for kind in KINDS])
right = ((seen > 0.5) == (truth > 0.5))[:, binary].double().mean()
miss = ((seen - truth) / spread).square().mean(0).sqrt()
missed = [f"{name} {miss[NAMES.index(name)]:.2f}" for name in targets]
told = reader_run.metrics["explained"]["value"]
bits = face_run.metrics["bits"]
parts, natural = (
    [relative_length(part).value for part in model.parts(many)]
    for many in (z[new], z_drawn)
)
shortest = parts.index(min(parts))

# %% tags=["hide-input"]
Markdown(
    f"All {NEW} new faces came back exactly; no face was seen in training. "
    "A draw has the length 1.00 at each scale. With $u$ drawn, the lengths "
    f"of codes are {min(natural):.2f} to {max(natural):.2f}; with $u$ = ½ "
    f"they are {min(parts):.2f} to {max(parts):.2f}, least of all at the "
    f"{SCALES[shortest]} scale. The flow needs "
    f"{bits['value']:.3f} ± {bits['error']:.3f} bits per dimension, of 5. "
    "The judge of all edits, a network that reads attributes, was trained on "
    f"faces of this size with all eight bits, {len(reader_run.history)} "
    f"times each; on the new faces with five it reads {right:.1%} of the "
    "binary attributes rightly, and its root mean square miss is, in "
    f"standard deviations: {', '.join(missed)}. It explains {told:.0%} of "
    "the variance of continuous ones, on its own test faces: so small a face "
    "hides much, and so short a training finds less."
)

# %% tags=["hide-input"]
torch.manual_seed(seed)
rows = {"new faces": x[:8], "decoded": paint(z[new][:8])}
for heat in (0.5, 0.7, 1.0):
    rows[f"drawn, τ = {heat:g}"] = model.sample(8, heat)
show(
    figures.image_rows(rows),
    "New faces, what the code gives back (the same, to the last level), and "
    "draws from the flow at three temperatures.",
    alt="Five rows of eight small drawn faces; the first two rows are equal.",
    label="fig-glow-faces",
)

# %% [markdown]
# The first two rows settle the opening scene: here no portrait loses anything by being coded.
# Whether the code can be edited is another question.
#
# (sec-glow-noise)=
# ## Noise in the code: which scale the picture listens to
#
# Add noise to the code, decode, compare.
# For small noise a derivative says what happens to $y$, the picture before rounding.
# (Rounded pictures do not change at all until a pixel has moved by half a level.)
#
# :::{prf:theorem} Small noise in some numbers of the code
# :label: thm-glow-noise
# Let $y(z)$ be twice continuously differentiable with bounded second derivatives, $S$ a set of coordinates, $\epsilon$ standard normal on $S$ and 0 elsewhere, and $J_S$ the columns of $\partial y / \partial z$ in $S$.
# Then $\mathbb E \lVert y(z + a \epsilon) - y(z) \rVert^2 = a^2 \lVert J_S \rVert_F^2 + O(a^3)$ for $a \to 0$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. By Taylor's theorem $y(z + a \epsilon) - y(z) = a J_S \epsilon + r$ with $\lVert r \rVert \le c\, a^2 \lVert \epsilon \rVert^2$.
# 2. Square: $a^2 \lVert J_S \epsilon \rVert^2 + 2 a\, (J_S \epsilon)^\top r + \lVert r \rVert^2$. The last two terms are at most a constant times $a^3 \lVert \epsilon \rVert^3$ and $a^4 \lVert \epsilon \rVert^4$, whose means are finite.
# 3. $\mathbb E \lVert J_S \epsilon \rVert^2 = \sum_{ij} (J_S^\top J_S)_{ij}\, \mathbb E\, \epsilon_i \epsilon_j = \sum_i (J_S^\top J_S)_{ii} = \lVert J_S \rVert_F^2$, as $\mathbb E\, \epsilon_i \epsilon_j$ is 1 for $i = j$ and 0 else.
# :::
#
# (For ReLU networks it is true at almost every $z$, if "bounded" holds near $z$ and $y$ grows at most polynomially; the check is at such a $z$.)

# %%
z0 = small(y[:1])[0].detach()[0]
J = torch.autograd.functional.jacobian(
    lambda v: small.inverse(v[None])[0].flatten(), z0
)
S, a = slice(0, 8), 1e-4  # the finest scale of this small flow
noise = torch.zeros(4000, 16).double()
noise[:, S] = rand(4000, 8)
with torch.no_grad():
    moved = small.inverse(z0 + a * noise)[0] - small.inverse(z0[None])[0]
squares = torch.linalg.matrix_norm(J[:, S]) ** 2
check("thm-glow-noise", about="finest scale", of="draws").unbiased(
    moved.flatten(1).square().sum(1) / a**2,
    truth=squares,
    wrong={
        "all columns": torch.linalg.matrix_norm(J) ** 2,
        "the largest singular value": torch.linalg.matrix_norm(J[:, S], 2)
        ** 2,
        "not squared": squares.sqrt(),
    },
)

# %% [markdown]
# For the faces we add noise of several amplitudes to one scale, or to all, of every new face.
# These amplitudes are not small, so the tables go beyond the theorem.
# *PSNR* is against the face itself, and *identity* asks the reader: among the 50 faces of this table (chance: 2 %), is the one with the nearest attributes the face itself?


# %%
def in_scales(change, z, scale, amount):
    """Change one scale of codes by an amount, or all scales: scale -1."""
    parts = [*model.parts(z)]
    for k in range(3) if scale < 0 else [scale]:
        parts[k] = change(parts[k], amount)
    return torch.cat(parts, 1)


def disturbed(part, amplitude):
    """Add noise."""
    return part + amplitude * torch.randn_like(part)


def decibels(pictures, original):
    """PSNR of each picture; one equal to its original counts as one pixel one level off."""
    error = (pictures - original).square().flatten(1).mean(1)
    return metrics.mean_of(-10 * error.clamp_min(31**-2 / 1024).log10(), "dB")


def known(pictures, n):
    """Share of faces that the reader still takes for themselves."""
    return edits.recognised(in_parts(read, pictures), seen[:n], -1, spread)


# %%
MANY = 50
amplitudes = (0.1, 0.3, 0.5, 0.7, 1.0)
kinds = {**dict(zip(SCALES, range(3), strict=True)), "all": -1}
PSNR = [f"PSNR, {name}" for name in kinds]
IDENTITY = [f"identity, {name}, %" for name in kinds]


def judged(change, told, amounts, write="{:g}"):
    """Change the codes, one scale after the other: a row for each amount."""
    torch.manual_seed(seed)
    rows = {amount: {told: write.format(amount)} for amount in amounts}
    for name, scale in kinds.items():
        for amount, row in rows.items():
            codes = in_scales(change, z[new][:MANY], scale, amount)
            pictures = paint(codes)
            row[f"PSNR, {name}"] = decibels(pictures, x[:MANY])
            row[f"identity, {name}, %"] = known(pictures, MANY)
            row[f"length, {name}"] = metrics.mean_of(codes.norm(dim=1))
    return rows


# %%
heard = judged(disturbed, "amplitude", amplitudes)

# %% tags=["hide-input"]
results_table([*heard.values()], ["amplitude", *PSNR])

# %% tags=["hide-input"]
results_table([*heard.values()], ["amplitude", *IDENTITY], percent=IDENTITY)


# %% tags=["hide-input"]
def one_face(change, amounts, write="{:g}"):
    """Rows of one face, a row for each scale, a column for each amount."""
    torch.manual_seed(seed)
    face = z[new][:1]
    rows = {
        name: torch.cat(
            [paint(in_scales(change, face, scale, a)) for a in amounts]
        )
        for name, scale in kinds.items()
    }
    return figures.image_rows(rows, titles=[write.format(a) for a in amounts])


show(
    one_face(disturbed, (0.0, *amplitudes)),
    "One face with noise in one scale of its code; above the columns, the "
    "amplitude. Compare the rows: which changes grain, which light, hair and "
    "shape?",
    alt="Four rows of a face that is more and more disturbed.",
    label="fig-glow-noise",
)

# %% tags=["hide-input"]
outer = ("finest", "coarsest")
calm, loud = (heard[1.0][f"PSNR, {name}"].value for name in outer)
who = [heard[1.0][f"identity, {name}, %"].value for name in outer]
Markdown(
    "Noise as large as the code itself costs the picture "
    f"{'more' if loud < calm else 'less'} in the coarsest scale "
    f"({loud:.1f} dB) than in the finest ({calm:.1f} dB)"
    f"{', although' if loud < calm else ';'} the finest has twice as many "
    f"numbers. It leaves {who[0]:.0%} of the faces recognisable "
    f"in the finest scale and {who[1]:.0%} in the coarsest."
)

# %% [markdown]
# (sec-glow-zero)=
# ## Zeros have the highest density of z, and no draw is near them
#
# Set a share of the numbers to zero, chosen at random.
# The density of $z$ is highest at 0, so zeros raise it (the density of the picture has a determinant too).
# Yet a draw has the length $\sqrt D$ up to about 1 ({prf:ref}`thm-faces-shell`), and with a share $q$ of zeros it has about $\sqrt{(1 - q) D}$.
# Our codes are short to begin with, because $u$ is put at $\tfrac12$: the row 0 % is their length.


# %%
def zeroed(part, share):
    """Set a random share of the numbers to zero."""
    return part * (torch.rand_like(part) >= share)


shares = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
blank = judged(zeroed, "share set to 0", shares, "{:.0%}")

# %% tags=["hide-input"]
results_table([*blank.values()], ["share set to 0", *PSNR, "length, all"])

# %% tags=["hide-input"]
results_table(
    [*blank.values()], ["share set to 0", *IDENTITY], percent=IDENTITY
)

# %% tags=["hide-input"]
show(
    one_face(zeroed, shares, "{:.0%}"),
    "One face; above the columns, the share of the scale's numbers that are "
    "set to zero. All zeros in all scales is the same picture for everybody.",
    alt="Four rows of a face that becomes smoother or another one.",
    label="fig-glow-zero",
)

# %% tags=["hide-input"]
bare, half = (blank[share]["length, all"].value for share in (0.0, 0.5))
spared, kept = (
    blank[1.0][what].value for what in ("PSNR, finest", "identity, finest, %")
)
rare = chi(1024).ppf(1e-6)
Markdown(
    f"A draw has a length near {chi(1024).mean():.1f}, and one draw in a "
    f"million is shorter than {rare:.1f}; unedited codes have "
    f"{bare:.1f}, and with half of all numbers at zero the length "
    f"is {half:.1f}. Without any number of the finest scale "
    f"{kept:.0%} of the faces are still recognised, at {spared:.1f} dB."
)

# %% [markdown]
# (sec-glow-transfer)=
# ## Adding a smile, from one pair of pictures or from many faces
#
# The homework takes one person, smiling and serious, and adds the difference of the two codes to somebody else's: $z_{\text{new}} = z_{\text{you}} + (z_{\text{smiling}} - z_{\text{serious}})$.
# Glow's paper takes many faces of each kind and the difference of mean codes.
# For drawn faces the pair can be perfect: the same face drawn again, and nothing differs but the smile.
# So the pair has no confounder at all, but one person's difference need not be another's; and {prf:ref}`thm-faces-leak` says that class means have none in the long run, since attributes are independent.
# Four vectors for each attribute, all for one unit of it:
#
# - *one pair*: the difference of one face's two codes (judged for five faces; its error is over these five);
# - *20 pairs*: the mean of 20 such differences;
# - *class means*: the slope of 1,500 codes on this attribute alone;
# - *least squares*: their slopes on all attributes together.


# %%
def drawn_again(rows, g, values):
    """Draw faces with these row numbers again, with attribute g moved."""
    wished = attributes[rows].clone()
    wished[:, g] = values
    return draw_attributes(wished, seed=1, faces=rows, size=32)


def ends(g):
    """The least and the greatest value of an attribute."""
    return (0.0, 1.0) if KINDS[g] == "binary" else (-1.0, 1.0)


def pairs(g, rows):
    """Change of the code for one unit of attribute g, of each face."""
    low, high = (code(drawn_again(rows, g, value)) for value in ends(g))
    return (high - low) / (ends(g)[1] - ends(g)[0])


# %%
lone = edits.lone_directions(z[fit], attributes[fit])
joint = edits.joint_directions(z[fit], attributes[fit])
vectors, five = {}, {}
for name, g in zip(targets, which_targets, strict=True):
    twenty = pairs(g, list(range(20)))
    five[name] = twenty[:5]
    vectors[name] = {
        "one pair": twenty[0],
        "20 pairs": twenty.mean(0),
        "class means": lone[g].float(),
        "least squares": joint[g].float(),
    }

# %% tags=["hide-input"]
first_half, second_half = (
    edits.joint_directions(z[fit][k::2], attributes[fit][k::2]) for k in (0, 1)
)
agree = F.cosine_similarity(first_half, second_half, dim=1)
results_table(
    [
        {"attribute": name, "cosine of two halves' vectors": agree[g].item()}
        | {"length, one pair": vectors[name]["one pair"].norm().item()}
        | {"length, least squares": joint[g].norm().item()}
        for name, g in zip(targets, which_targets, strict=True)
    ]
)

# %% [markdown]
# A vector of 1,024 numbers from 1,500 codes is itself uncertain.
# The first column compares the least-squares vectors of one half of the faces with that of the other; where this cosine is far from 1, much of the vector is chance.
#
# Each of 100 new faces is asked for one change, as in chapter 11: the other class of a binary attribute, or one unit towards the other end.
# The reader judges: *success* if its reading moves by more than half of what was asked; *leakage*, the root mean square change of the other 27 readings in standard deviations; *identity* as above, among 100 faces (chance: 1 %), without the edited attribute.
# *Drawn again* is the perfect edit as this reader sees it.


# %%
def asked_for(g):
    """The change of attribute g that each new face is asked for."""
    old = truth[:, g]
    return 1 - 2 * old if KINDS[g] == "binary" else -old.sign()


def judge(pictures, g, before, gallery=None):
    """Success, leakage and identity of edits of attribute g."""
    after = in_parts(read, pictures)
    edit = edits.measure_edit(before, after, g, asked_for(g), spread)
    gallery = seen if gallery is None else gallery
    known_as = edits.recognised(after, gallery, g, spread)
    return edit.success, edit.leakage, known_as


def moved(z, v, g, strength=1.0):
    """Codes moved along v by what is asked for."""
    return z + strength * asked_for(g)[:, None] * v


# %%
judged, perfect = {}, {}
for name in targets:
    g = NAMES.index(name)
    again = drawn_again(
        list(range(FIT, FIT + NEW)), g, truth[:, g] + asked_for(g)
    )
    perfect[name] = model.whole(again.long()) / 31
    judged["drawn again", name] = judge(perfect[name], g, seen)
    for way, v in vectors[name].items():
        judged[way, name] = judge(paint(moved(z[new], v, g)), g, seen)
    each = [judge(paint(moved(z[new], v, g)), g, seen) for v in five[name]]
    judged["one pair", name] = tuple(
        metrics.mean_of(torch.tensor([found.value for found in kind]))
        for kind in zip(*each, strict=True)
    )

# %% [markdown]
# Beside it stands the autoencoder of chapter 11.
# It sees the same faces at 128 × 128, where it was trained; its decoded pictures are shrunk to 32 × 32 and judged by the same reader, before and after the edit.
# Shrinking averages 4 × 4 pixels, which is not what drawing at 32 × 32 gives; so its faces are looked for among shrunk ones, and *drawn again, shrunk* is its own perfect edit.
# Its least-squares vectors come from 250 faces.
# (The tables of chapter 11 judge it at full size, by a reader of that size, with vectors from 1,000 faces; their numbers differ from these.)


# %%
vae = run(face_vae).model
shrink = torch.nn.AvgPool2d(4)
VAE_FIT = 250
numbers = [*range(VAE_FIT), *range(FIT, FIT + NEW)]
large, large_a = draw_numbered(numbers, seed=1)
with torch.no_grad():
    codes = torch.cat([vae.code(part) for part in unit(large).split(100)])


@torch.no_grad()
def vae_paint(codes):
    """Decoded faces of the autoencoder, 32 pixels a side."""
    return shrink(vae.decode(codes).mean)


# %%
copies = vae_paint(codes[VAE_FIT:])
originals = shrink(unit(large[VAE_FIT:]))
before, gallery = in_parts(read, copies), in_parts(read, originals)
slopes = edits.joint_directions(codes[:VAE_FIT], large_a[:VAE_FIT]).float()
for name, g in zip(targets, which_targets, strict=True):
    pictures = vae_paint(moved(codes[VAE_FIT:], slopes[g], g))
    found = judge(pictures, g, before, gallery)
    judged["VAE, least squares", name] = found
    wished = truth.clone()
    wished[:, g] += asked_for(g)
    again = draw_attributes(wished, seed=1, faces=numbers[VAE_FIT:])
    found = judge(shrink(unit(again)), g, gallery, gallery)
    judged["drawn again, shrunk", name] = found
blurred = metrics.signal_to_noise(copies, originals)
fair = ((gallery > 0.5) == (truth > 0.5))[:, binary].double().mean()
print(f"binary attributes read rightly off shrunk faces: {fair:.1%}")

# %% tags=["hide-input"]
ways = ["drawn again", *vectors["smile"]]
ways += ["drawn again, shrunk", "VAE, least squares"]
results_table(
    [
        {"success of the edit": way}
        | {f"{name}, %": judged[way, name][0] for name in targets}
        for way in ways
    ],
    percent=[f"{name}, %" for name in targets],
)

# %% tags=["hide-input"]
results_table(
    [
        {"leakage, sd": way} | {name: judged[way, name][1] for name in targets}
        for way in ways
    ]
)

# %% tags=["hide-input"]
results_table(
    [
        {"identity kept": way}
        | {f"{name}, %": judged[way, name][2] for name in targets}
        for way in ways
    ],
    percent=[f"{name}, %" for name in targets],
)

# %% tags=["hide-input"]
one, many, best = (
    [judged[way, name] for name in targets]
    for way in ("one pair", "class means", "drawn again")
)
more = ", ".join(
    f"{o[1].value:.2f} / {m[1].value:.2f} / {b[1].value:.2f} ({name})"
    for name, o, m, b in zip(targets, one, many, best, strict=True)
)
Markdown(
    "Leakage of one pair, of class means and of the perfect edit: "
    f"{more}. The perfect edit of a smile is read as one on "
    f"{best[0][0].value:.0%} of the faces, so that column says more about "
    "the reader than about codes. Unedited, the autoencoder's copies are "
    f"{blurred.value:.1f} dB from the faces at this size; Glow's are exact."
)

# %% [markdown]
# Of the four vectors that of one pair leaks most, although nothing but the attribute differs in its two pictures.
# It holds what this attribute does to the code of *that* face: which of its pixels get darker, at its pose and in its light.
# Averaged over many faces, what is particular cancels; an {ref}`exercise <ex-glow-straight>` shows how little of it two faces share.

# %% tags=["hide-input"]
chosen = (truth[:, NAMES.index("smile")] < 0).nonzero()[:6, 0]
g = NAMES.index("smile")
rows = {"new face": x[chosen]}
for way, v in vectors["smile"].items():
    rows[way] = paint(moved(z[new], v, g)[chosen])
rows["drawn again"] = perfect["smile"][chosen]
show(
    figures.image_rows(rows),
    "One unit of smile for six new faces, by four vectors, and the perfect "
    "edit.",
    alt="Six rows of six small faces: originals, four kinds of edits, and "
    "the faces drawn again with a smile.",
    label="fig-glow-transfer",
)


# %% tags=["hide-input"]
def edited(name, strength, number=3):
    """A face with an attribute's least-squares vector added to its code."""
    v = vectors[name]["least squares"]
    picture = paint(z[new][[number]] + strength * v)[0, 0]
    return picture.repeat_interleave(4, 0).repeat_interleave(4, 1)


strengths = torch.arange(-3.0, 3.5, 1.0).tolist()
Explorable(
    [[edited(name, s) for s in strengths] for name in targets],
    [targets, [f"{s:+g}" for s in strengths]],
    ["attribute", "strength"],
    alt="A drawn face to which a smile, glasses, age or a beard is added.",
    caption="The least-squares vector of an attribute, added to the code of "
    "a new face. At strength 0 the picture is the face itself, to the last "
    "level.",
    start=[1, 5],
    live=figures.Live(
        edited,
        figures.Knob("attribute", targets, "glasses"),
        figures.Knob("strength", [-4.0, 4.0], 1.0),
        figures.Knob("face", [0, NEW - 1], 3),
    ),
)

# %% [markdown]
# (sec-glow-fusion)=
# ## Two faces fused: the straight way is too short here as well
#
# Fusion takes $z_\alpha = (1 - \alpha) z_1 + \alpha z_2$ for $\alpha = 0, 0.05, \dots, 1$: 21 pictures.
# A convex combination of two Gaussian codes is too short, by $1 / \sqrt 2$ half-way ({prf:ref}`thm-faces-shell`); the round way {eq}`eq-faces-slerp` keeps it where both ends have the same length, and nearly so where they are orthogonal and of similar length.


# %%
def slerp(z1, z2, t):
    """The point at t on the arc between codes, eq. (faces-slerp)."""
    cos = F.cosine_similarity(z1, z2, dim=-1)[..., None]
    angle = cos.clamp(-1, 1).acos()
    arc = ((1 - t) * angle).sin() * z1 + (t * angle).sin() * z2
    return arc / angle.sin()


alphas = torch.linspace(0, 1, 21)[:, None]
z1, z2 = z[new][4], z[new][9]
fused = {
    "straight": paint((1 - alphas) * z1 + alphas * z2),
    "round": paint(slerp(z1.expand(21, -1), z2.expand(21, -1), alphas)),
}

# %% tags=["hide-input"]
show(
    figures.image_grid(
        torch.cat([*fused.values()]),
        7,
        row_labels=[
            f"{name}, from α = {a:g}"
            for name in fused
            for a in (0.0, 0.35, 0.7)
        ],
    ),
    "Fusion of two faces in 21 steps of 0.05: three rows on the straight "
    "way, three on the round way.",
    alt="Six rows of seven small faces, twice from one face to another.",
    label="fig-glow-fusion",
)

# %%
first, last = z[new][:50], z[new][50:]
halves = {
    "straight": (first + last) / 2,
    "round": slerp(first, last, 0.5),
}
smooth = ~binary


def texture(pictures):
    """Mean difference of neighbouring pixels."""
    return pictures.diff(dim=3).abs().flatten(1).mean(1)


# %% tags=["hide-input"]
table = []
both = [(x[:50], x[50:]), (seen[:50], seen[50:])]
crossed = {name: paint(h) for name, h in halves.items()}
crossed["pixels"] = (x[:50] + x[50:]) / 2
for name, pictures in crossed.items():
    detail = 2 * texture(pictures) / sum(map(texture, both[0]))
    off = (in_parts(read, pictures) - sum(both[1]) / 2) / spread
    far = off[:, smooth].square().mean(1).sqrt()
    length = halves[name].norm(dim=1) if name in halves else None
    table.append(
        {"half-way by": name}
        | {"length of z": None if length is None else metrics.mean_of(length)}
        | {"detail, % of the ends": metrics.mean_of(detail)}
        | {"attributes off their mean, sd": metrics.mean_of(far)}
    )
results_table(table, percent=["detail, % of the ends"])

# %% tags=["hide-input"]
found = {entry["half-way by"]: entry for entry in table}
kept = {k: e["detail, % of the ends"].value for k, e in found.items()}
off = {k: e["attributes off their mean, sd"].value for k, e in found.items()}
Markdown(
    f"Half-way, the straight way keeps {kept['straight']:.0%} of the detail "
    f"of the ends and the round way {kept['round']:.0%}: shorter codes are "
    "smoother faces. Nearest to the mean of the two faces' attributes, as "
    f"the reader sees them, is *{min(off, key=lambda k: off[k])}*: a face "
    "half-way in the code is not half-way in every attribute."
)

# %% [markdown]
# A code in scales can be fused in another way: take the coarse numbers of one face and the fine ones of another.

# %% tags=["hide-input"]
parts = [model.parts(codes) for codes in (z[new][:6], z[new][6:12])]
rows = {"coarse from": x[:6], "fine from": x[6:12]}
for k, name in ((1, "finest swapped"), (2, "finest and middle swapped")):
    mixed = [*parts[1][:k], *parts[0][k:]]
    rows[name] = paint(torch.cat(mixed, 1))
show(
    figures.image_rows(rows),
    "The codes of two faces, mixed by scale: the coarse numbers of the first "
    "row with the fine ones of the second.",
    alt="Four rows of six small faces.",
    label="fig-glow-levels",
)

# %% [markdown]
# (sec-glow-failure)=
# ## Too strong an edit saturates the pixels; the length of the code hardly shows it
#
# Every code has a real-valued image $y$, and every $y$ in the open stretched interval has that code again; but a picture is $y$ rounded, and near the ends of the interval $y$ cannot be stored.
# Now ask for more than one unit of glasses, and follow the edited code: its length; the largest number that reaches the last layer, whose sigmoid makes pixels (the median over faces); the share of pixels outside of the levels 0 to 32; and whether decoding and encoding, in single precision and without rounding to levels, comes back.
#
# Two ways back are tried: *on shell* gives each scale of the edited code its old length, and *re-encoded* is the code of the picture that one sees, rounded to levels.


# %%
@torch.no_grad()
def strained(codes):
    """Length, logits, pixels out of range, and broken round trips."""
    logit, *others = model.layers
    h = in_parts(lambda part: back_through(others, part)[0], codes)
    y = logit.inverse(h)[0]
    back = in_parts(lambda part: model(part)[0], y)
    miss = (back - codes).norm(dim=1) / codes.norm(dim=1)
    outside = ((y < 0) | (y >= 32)).flatten(1).double().mean(1)
    return {
        "length / √D": relative_length(codes),
        "largest logit": h.abs().flatten(1).amax(1).median().item(),
        "pixels outside 0..32, %": metrics.mean_of(outside),
        "round trip breaks, %": metrics.mean_of((~(miss < 1e-3)).double()),
    }


# %%
def on_shell(codes, before):
    """Give each scale of edited codes the length that it had before."""
    pairs_of = zip(model.parts(codes), model.parts(before), strict=True)
    kept = [
        F.normalize(c, dim=1) * b.norm(dim=1)[:, None] for c, b in pairs_of
    ]
    return torch.cat(kept, 1)


# %%
g = NAMES.index("glasses")
v = vectors["glasses"]["least squares"]
half = slice(0, 50)
stretched = {}
for s in (1.0, 2.0, 4.0, 8.0):
    far = moved(z[new], v, g, s)
    seen_code = code((paint(far) * 255).round())
    versions = {"edited": far, "on shell": on_shell(far, z[new])}
    for name, codes in (versions | {"re-encoded": seen_code}).items():
        success = judge(paint(codes), g, seen)[0]
        found = {"strength": f"{s:g}", "code": name} | strained(codes[half])
        stretched[s, name] = found | {"success, %": success}

# %% tags=["hide-input"]
shares_of = ("pixels outside 0..32, %", "round trip breaks, %", "success, %")
results_table([*stretched.values()], percent=[*shares_of])

# %% tags=["hide-input"]
most = {name: stretched[8.0, name] for name in (*versions, "re-encoded")}
long = {name: found["length / √D"].value for name, found in most.items()}
broken = {name: found[shares_of[1]].value for name, found in most.items()}
cured = broken["on shell"] < broken["edited"] / 2
Markdown(
    f"At strength 8 the edited code has {long['edited']:.2f} times the length "
    f"of a draw, its picture's code {long['re-encoded']:.2f} times; unedited "
    f"ones have {relative_length(z[new][half]).value:.2f}. The round trip breaks for "
    f"{broken['edited']:.0%} of the faces as edited and for "
    f"{broken['on shell']:.0%} with the old lengths: the length "
    f"{'was the fault' if cured else 'is not the fault'}. From the picture's "
    f"own code it breaks for {broken['re-encoded']:.0%}, and "
    f"{most['re-encoded'][shares_of[2]].value:.0%} of its pictures show the "
    f"edit ({most['edited'][shares_of[2]].value:.0%} as edited)."
)

# %% tags=["hide-input"]
shown = [0, 1, 2, 4, 8]
bare = (truth[:, g] == 0).nonzero()[0, 0].item()
rows = {}
for name in ("as edited", "on the shell"):
    far = torch.cat([moved(z[new], v, g, float(s))[[bare]] for s in shown])
    if name == "on the shell":
        far = on_shell(far, z[new][[bare]].expand(len(far), -1))
    rows[name] = paint(far)
show(
    figures.image_rows(rows, titles=[f"{s}" for s in shown]),
    "Glasses of rising strength on one face, with the code as edited and "
    "with each scale brought back to its old length; compare the rows.",
    alt="Two rows of a face with glasses of rising strength; compare the "
    "rows.",
    label="fig-glow-failure",
)

# %% [markdown]
# The pixels of a strong edit run into black and white, and there the sigmoid is flat.
# Beyond a logit of about 17 it is 1 to the last digit of single precision: every larger number gives the same pixel, and no inverse can tell them apart; more digits only move that border.
# The map is a bijection on paper only, as in {ref}`the last chapter <sec-realnvp-failure>`.
# The code of the saturated picture has to explain pixels that no face has, and grows.
# The reader gives no warning: see its success.
#
# So the way back is through the picture: whole levels lie inside of the range, the code of a picture decodes to it exactly, and the next edit can start from there.
# What was out of range is lost, and undoing the edit no longer gives the first face.
#
# (sec-glow-own)=
# ## Your own photograph, on your own machine
#
# The homework asks for your own picture among the faces.
# Give its path, `photograph="/path/to/me.jpg"`, as a parameter of the first code cell; the middle of the picture is cut out and shrunk to 32 × 32 grey pixels.
# Two more, `serious` and `smiling`, one person twice, are used {ref}`in an exercise <ex-glow-smile>`; give both or none.
#
# :::{admonition} Privacy
# :class: note
# The picture is read from your disk by this notebook and sent nowhere.
# But the outputs of a notebook are saved with it: clear them before you pass the file on, and use pictures of others only with their consent.
# The book itself shows no photograph of a person: below is a drawn face.
# :::


# %%
def a_face(path, drawn):
    """The picture at a path, or else a drawn face: uint8 (1, 1, 32, 32)."""
    if not path:
        return drawn
    from PIL import Image

    from companion.data.faces import square

    return square(Image.open(path), 32)[None]


you = a_face(photograph, faces[new][20:21])
z_you = code(you)
flat = torch.full((1, 1, 32, 32), 64)  # one grey level everywhere
for name, z_one in (("this face", z_you), ("one grey level", code(flat))):
    lengths = [
        f"{scale} {part.norm().item() / part.shape[1] ** 0.5:.2f}"
        for scale, part in zip(SCALES, model.parts(z_one), strict=True)
    ]
    print(f"{name}: length / √numbers: {', '.join(lengths)}")
print("exact:", torch.equal(paint(z_you), model.whole(you.long()) / 31))

# %%
torch.manual_seed(seed)
for name, pictures in (
    ("this face", you),
    ("one grey level", flat),
    ("drawn faces, mean", faces[new]),
):
    nats = in_parts(lambda part: model.terms(part)["nll"], pictures.long())
    print(f"{name}: {nats.mean():.0f} nats")

# %% [markdown]
# A photograph comes back as well, as long as numbers in single precision carry it (the line above says whether).
# That is no sign that it is a good code: this flow has seen drawings only.
# The length is no alarm either: a flow may give a picture that it has never seen a shorter code, and a higher density, than any face; compare one constant grey level.
# For photographs train on photographs: `train(face_glow, epochs=8, faces="/path/to/pictures")`, or `faces="celeba"` where you have the right to use it.

# %% [markdown]
# ## Limits
#
# %% tags=["hide-input"]
minutes = [r.config["wall_seconds"] / 60 for r in (face_run, clothes_run)]
short = clothes_run.metrics["bits"]["value"] - 2.90
Markdown(
    f"The flow of faces was trained for {minutes[0]:.0f} minutes and that of "
    f"clothes for {minutes[1]:.0f}, on one core that was not ours alone, each "
    "with one seed; the errors in the tables are over faces or images, not "
    "over trainings. The aim of this book for Glow on Fashion-MNIST, 2.90 "
    f"bits per dimension, is {'missed' if short > 0 else 'reached'} by "
    f"{abs(short):.2f}: more epochs, all 60,000 images and wider networks "
    "are the same code."
)

# %% [markdown]
# The judge is a network and makes errors, most of all on pictures that are no faces.
# Drawn faces are aligned, grey and small; their attributes are independent, which flatters class means.
# The two edits, of Glow and of the autoencoder, come from models of different size, training and resolution, with vectors from 1,500 and from 250 faces: the tables compare what these two do, not what flows and autoencoders can do.
# We trained no flow with a permutation in place of the 1 × 1 convolution, so nothing here says what that convolution is worth.

# %% [markdown]
# ## Exercises
#
# ```{exercise-start} Read Glow, then encode, edit, decode
# :label: ex-glow-paper
# ```
# (Recall and code.) Read *Glow* {cite:p}`kingma2018glow`.
# Which does the paper have: (a) a permutation that is learned; (b) statistics of recent batches; (c) masks in a checkerboard; (d) samples at temperature 1 in its figures of faces?
# Then load a trained flow, encode a face, change the first number of its coarsest scale by 3, decode, and encode the picture again.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-glow-paper
# :class: dropdown
# ```
# (a) Yes, generalised to any invertible matrix. (b) No: actnorm asks the first batch only. (c) No: all couplings split channels. (d) Only in the figure that varies the temperature; its other random faces are drawn at 0.7.
# The code of the picture is not exactly the edited code: the picture was rounded to its 32 levels.

# %%
flow = train(face_glow).model if epochs == 0 else model
with torch.no_grad():
    z_face = flow.code(faces[new][:1].long())
    changed = z_face.clone()
    changed[0, -256] += 3.0
    picture = flow.pictures(changed)
    again = flow.code((picture * 255).round().long())
print(f"pixels that differ: {(picture != x[:1]).double().mean():.0%}")
print(f"code moved by 3, comes back at {(again - changed).norm():.2f} from it")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} From TensorFlow to PyTorch, line by line
# :label: ex-glow-lines
# ```
# (Code.) The authors' code is TensorFlow 1: [openai/glow](https://github.com/openai/glow), `model.py`.
# Find there: the start of the 1 × 1 convolution, its log-determinant, its inverse, the scale of the coupling, the first batch, the prior of what leaves.
# Say for each what the PyTorch line of this book does, and where the two differ.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-glow-lines
# :class: dropdown
# ```
# | there | here | difference |
# | :-- | :-- | :-- |
# | `np.linalg.qr(np.random.randn(...))[0]` | `torch.linalg.qr(torch.randn(...))[0]` | none: a random orthogonal matrix |
# | `scipy.linalg.lu(np_w)`, `np.sign(np_s)`, `np.log(abs(np_s))` | `torch.linalg.lu`, `sign`, `log_size` | theirs is switched off in the code as published: it learns $W$ itself |
# | `tf.log(abs(tf.matrix_determinant(w))) * shape[1] * shape[2]` | `log_size.sum()` times places | no determinant to compute; but forming $L U$ is of order $C^3$ too |
# | `tf.matrix_inverse(w)` | two `solve_triangular` | no inverse matrix is formed |
# | `tf.nn.conv2d(z, w, ..., data_format='NHWC')` | `W @ x.flatten(2)` | channels last, and `w` acts as $W^\top$ on the channels of a place there |
# | `scale = tf.nn.sigmoid(h + 2.)`; `z2 += shift; z2 *= scale` | `s = 2 tanh(s / 2)`; `b * exp(s) + t` | theirs can only shrink, by a factor near 0.88 at the start; the order of shift and scale |
# | `arg_scope([actnorm], init=True)` on `data_init` | `if self.training and not self.started` | a pass before training there, the first training batch here |
# | `pz.logp(z2)` with mean and log scale from `z1` | a coupling before `FactorOut` | the same terms in another place; our log scale is bounded by 2, theirs is not |
# | `linear_zeros("y_emb", y_onehot, 2 * n_z)` in `prior` | `ClassPrior` | one mean and log scale for each channel there, the same at all places; one for each number here |
# | `feeds`, `sess.run`, `global_variables_initializer` | nothing | PyTorch runs each line when it stands there |
#
# The order of shift and scale changes no density, as the check says: $(b + t)\, e^s = b\, e^s + t e^s$ is the same family.

# %%
s, t, b = rand(3, 50)
theirs = (b + t) * torch.sigmoid(s + 2)
s_here = F.logsigmoid(s + 2)  # our log scale
t_here = t * s_here.exp()  # our shift
torch.testing.assert_close(theirs, b * s_here.exp() + t_here)
print(f"their scale at the start: {torch.sigmoid(torch.tensor(2.0)):.3f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Noise on one face
# :label: ex-glow-noise
# ```
# (Measure.) Add noise of the amplitudes 0.1, 0.3, 0.5, 0.7 and 1 to the whole code of your face, decode, and compare each picture with the original by eye and by PSNR.
# Then bring each scale of the noisy code back to its old length. What is this for, and does it help?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-glow-noise
# :class: dropdown
# ```
# Noise adds about $a^2 D$ to $\lVert z \rVert^2$. Bringing each scale back to its old length keeps it typical; the line below says whether the picture gets nearer.

# %%
torch.manual_seed(seed)
noise = torch.randn_like(z_you)
mine = model.whole(you.long()) / 31
versions = {"noise": [], "noise, old lengths": []}
for a in amplitudes:
    codes = z_you + a * noise
    both_ways = (codes, on_shell(codes, z_you))
    for name, one in zip(versions, both_ways, strict=True):
        versions[name].append(paint(one))
errors = {
    name: [(p - mine).square().mean().item() for p in pictures]
    for name, pictures in versions.items()
}
for name, found in errors.items():
    far = [f"{-10 * math.log10(max(e, 1e-12)):.1f} dB" for e in found]
    print(name, ", ".join(far))
nearer = [
    f"{a:g}"
    for a, raw, kept in zip(amplitudes, *errors.values(), strict=True)
    if kept < raw
]
print("nearer with old lengths at:", ", ".join(nearer) or "no amplitude")

# %% tags=["hide-input"]
show(
    figures.image_rows(
        {name: torch.cat(p) for name, p in versions.items()},
        titles=[f"{a:g}" for a in amplitudes],
    ),
    "Noise of rising amplitude on one code, as it is and with each scale "
    "brought back to its old length.",
    alt="Two rows of five pictures of a face, more and more disturbed.",
    label="fig-glow-exercise-noise",
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A value set to zero
# :label: ex-glow-zero
# ```
# (Measure.) Set one number of your face's code to zero, then 16, then 256, from the finest scale and from the coarsest.
# How many pixels does one number of each scale change, and which number changes the picture most?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-glow-zero
# :class: dropdown
# ```
# The zeros are spread evenly over the scale; then each of the 1,024 numbers is set to zero alone.

# %%
table = []
for name, low, high in (("finest", 0, 512), ("coarsest", 768, 1024)):
    for count in (1, 16, 256):
        where = torch.linspace(low, high, count + 2)[1:-1].long()
        codes = z_you.clone()
        codes[:, where] = 0
        wrong = paint(codes) - mine
        touched = (wrong != 0).double().mean().item()
        table.append(
            {"scale": name, "zeros": count}
            | {"pixels that change, %": touched}
            | {"root mean square": wrong.square().mean().sqrt().item()}
        )
results_table(table, percent=["pixels that change, %"])

# %%
ones = z_you.repeat(1024, 1)
ones.fill_diagonal_(0.0)
wrong = paint(ones) - mine
effect = wrong.square().flatten(1).mean(1)
which = effect.argmax().item()
reach = (wrong != 0).flatten(1).double().sum(1)
for name, part in zip(SCALES, model.parts(reach[None]), strict=True):
    print(f"{name}: one number changes {part.mean():.0f} pixels")
scale_of = SCALES[int(which >= 512) + int(which >= 768)]
print(f"most is changed by number {which}, of the {scale_of} scale")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Someone else's smile on your face
# :label: ex-glow-smile
# ```
# (Measure.) Take one person, smiling and serious, encode both, and add $Z_\Delta = Z_{\text{smiling}} - Z_{\text{serious}}$ to the code of several faces, one of them yours.
# Does the expression change, and which scale of $Z_\Delta$ does most of it?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-glow-smile
# :class: dropdown
# ```
# The person in the pictures `serious` and `smiling`, or else the drawn person number 0, gives the vector.
# For a drawn person it is the full range of the smile, so that +2 is asked; the reader says what it sees.
# Where a row is within its error of the first, a scale alone does as much as all of them; within its error of 0, the expression has not changed as far as this reader can tell.

# %%
SMILE = NAMES.index("smile")
drawn_pair = [drawn_again([0], SMILE, end) for end in (-1.0, 1.0)]
z_serious, z_smiling = (
    code(a_face(path, face))
    for path, face in zip((serious, smiling), drawn_pair, strict=True)
)
delta = z_smiling - z_serious
several = torch.cat([z_you, z[new][:5]])
kept = {"all of it": slice(0, 1024), "finest": slice(0, 512)}
kept |= {"middle": slice(512, 768), "coarsest": slice(768, 1024)}
pictures = {"faces": paint(several)}
for name, where in kept.items():
    part = torch.zeros_like(delta)
    part[:, where] = delta[:, where]
    pictures[name] = paint(several + part)

# %%
smiles = {name: in_parts(read, p)[:, SMILE] for name, p in pictures.items()}
change = {name: smiles[name] - smiles["faces"] for name in kept}
results_table(
    [
        {"added": name, "change of the smile read": metrics.mean_of(found)}
        for name, found in change.items()
    ]
)

# %% tags=["hide-input"]
by = max(SCALES, key=lambda name: change[name].mean().item())
asked = "" if serious else "asked +2, "
print(
    f"{asked}read {change['all of it'].mean():+.2f}; of the scales alone, the "
    f"{by} does most ({change[by].mean():+.2f})"
)

# %% tags=["hide-input"]
show(
    figures.image_rows(pictures),
    "Six faces, the first one yours, with another person's smile in their "
    "codes.",
    alt="Five rows of six small faces.",
    label="fig-glow-exercise-smile",
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Fuse yourself with somebody
# :label: ex-glow-fusion
# ```
# (Code.) Fuse your face with another one, $\alpha = 0, 0.05, \dots, 1$, 21 pictures, straight and round.
# Where is $\lVert z_\alpha \rVert$ least, and how far is the middle picture from the mean of the two photographs?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-glow-fusion
# :class: dropdown
# ```
# The strip of 21 pictures is {ref}`in the text <sec-glow-fusion>`; here are its lengths for your face.

# %%
ends_z = z_you[0], z[new][7]
line = (1 - alphas) * ends_z[0] + alphas * ends_z[1]
arc = slerp(*(end.expand(21, -1) for end in ends_z), alphas)
blend = (mine + x[7:8]) / 2
for name, codes in (("straight", line), ("round", arc)):
    length = codes.norm(dim=1)
    least = alphas[length.argmin()].item()
    far = (paint(codes[10:11]) - blend).square().mean().log10()
    print(
        f"{name}: shortest at α = {least:.2f}, {length.min():.1f}; the middle "
        f"is {-10 * far:.1f} dB from the mean of the pictures"
    )

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} What does LU save?
# :label: ex-glow-cost
# ```
# (Derive.) How many multiplications does the log-determinant of a layer with $C$ channels cost (a) from the $C n \times C n$ Jacobian of $n$ places, (b) from $W$ by elimination, (c) in LU form? Count (a) and (b) as $m^3 / 3$ for an $m \times m$ matrix.
# What else does a step cost that makes the difference of (b) and (c) matter less than it looks?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-glow-cost
# :class: dropdown
# ```
# (a) $(C n)^3 / 3$, (b) $C^3 / 3$, (c) none: $C$ numbers are added.
# But the layer forms $L U$ in every step, about $C^3 / 3$ multiplications as well.
# The product $W h$ at every place costs $C^2 n$ for each image, and the coupling's convolutions far more; only for many channels at few places does $C^3$ count.

# %%
for C, H, width in ((4, 16, 32), (16, 4, 96), (96, 4, 512)):
    net = H * H * (9 * C // 2 * width + width**2 + 9 * width * C)
    print(
        f"C = {C}, {H} × {H}: (a) {(C * H * H) ** 3 / 3:.0e}, "
        f"(b) {C**3 / 3:.0e}, product {C * C * H * H:.0e}, "
        f"coupling {net:.0e}"
    )

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A straight smile (open)
# :label: ex-glow-straight
# ```
# (Open.) Nothing in the likelihood asks that attributes lie along straight lines of $z$: rotate the coarsest scale by any orthogonal matrix, and the density is the same, the smile is another vector.
# Bend it, by a map that keeps the Gaussian, and there may be no vector at all.
# How straight is the smile in this flow? Find a measure, and a training that makes it straighter without labels.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-glow-straight
# :class: dropdown
# ```
# Whether a training without labels can do it is open; without further assumptions it cannot, for the reason that the exercise gives.
# Two measures. *Straightness*: chord over path of one person's codes as an attribute goes from -1 to 1 in eight steps, 1 on a straight line; beside it the same for the pictures themselves.
# *Agreement*: the mean cosine between the changes of two persons, 1 if all have the same vector.
# (A binary attribute has no way from one end to the other, so it has an agreement only.)


# %%
def straightness(ways):
    """Chord over path of (persons, steps, numbers)."""
    paths = ways.diff(dim=1).norm(dim=2).sum(1)
    return metrics.mean_of((ways[:, -1] - ways[:, 0]).norm(dim=1) / paths)


def walk(g, persons=10, steps=9):
    """Pictures (persons, steps, 1024) as attribute g goes from -1 to 1."""
    rows = [k for k in range(persons) for _ in range(steps)]
    values = torch.linspace(-1, 1, steps).repeat(persons)
    shown = drawn_again(rows, g, values)
    return shown.view(persons, steps, 1, 32, 32)


# %%
table = []
for name, g in zip(targets, which_targets, strict=True):
    each = F.normalize(pairs(g, list(range(20))), dim=1)
    cosines = (each @ each.T)[torch.ones(20, 20).triu(1) > 0]
    line = {"attribute": name, "agreement": cosines.mean().item()}
    if KINDS[g] != "binary":
        ways = walk(g)
        z_ways = code(ways.flatten(0, 1)).view(10, 9, -1)
        levels = model.whole(ways.long()).flatten(2).float()
        line |= {"straightness of codes": straightness(z_ways)}
        line |= {"of the coarsest": straightness(z_ways[..., 768:])}
        line |= {"of pictures": straightness(levels)}
    table.append(line)
results_table(table)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## If a code loses nothing, is it a code that we can edit?
#
# It is a code in which nothing has to be given up first: at strength 0 the face is the face, and every edit can be made, and undone as long as the code itself is kept.
# But exactness is not meaning.
# The likelihood never asked for an axis of smiles, and what two persons' changes share has to be averaged out of many faces.

# %% tags=["hide-input"]
vector, best, other = (
    [judged[way, name] for name in targets]
    for way in ("least squares", "drawn again", "VAE, least squares")
)


def span(edits_made, k, form):
    """From the least to the greatest of one judgement."""
    values = [edit[k].value for edit in edits_made]
    least, greatest = f"{min(values):{form}}", f"{max(values):{form}}"
    return least if least == greatest else f"{least} to {greatest}"


worse = [
    name
    for name, (_, v, _), (_, b, _) in zip(targets, vector, best, strict=True)
    if v.value - b.value > 2 * math.hypot(v.error, b.error)
]

# %% tags=["hide-input"]
Markdown(
    "A least-squares vector is read as the wished change on "
    f"{span(vector, 0, '.0%')} of the faces, a perfect edit on "
    f"{span(best, 0, '.0%')}. Does all else stay? In a perfect edit it does, "
    "and the same reader sees the other attributes move by "
    f"{span(best, 1, '.2f')} standard deviations; after the vector by "
    f"{span(vector, 1, '.2f')}, more than that, beyond two standard errors, "
    f"for: {', '.join(worse) or 'no attribute'}. The same person is "
    f"recognised after it on {span(vector, 2, '.0%')} of the faces, after "
    f"the autoencoder's on {span(other, 2, '.0%')}. Losing nothing says "
    "nothing about where an attribute lies."
)

# %% [markdown]
# And far from the faces the exact inverse ends where the digits end.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
