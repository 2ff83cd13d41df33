# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:vae)=
# # What must an autoencoder give up before it can dream?
#
# A shop has 70,000 photographs of clothes, 28 × 28 grey pixels each.
# A network learns to describe any of them by 32 numbers, and to draw the photograph again from those numbers alone.
# It does this well.
# Now we choose 32 numbers ourselves and ask for the garment they describe.
# What comes back is a smear.
#
# The network can copy, yet it cannot invent.
# This chapter finds out what is missing, adds it, and measures what it costs.
#
# :::{admonition} You will learn to
# - say why the code of an autoencoder has no shape of its own, and prove it;
# - derive the bound that a variational autoencoder (VAE) maximises, and both of its terms;
# - train one, draw from it, walk through its code, and read labels from it;
# - attack it, and compare its robustness with that of a plain classifier;
# - recognise three published habits that look harmless and are not: cross-entropy on grey pixels, a squared error without a scale, and blame of the sampler for the blur.
#
# You need: Gaussian densities, the chain rule, and a first course on neural networks.
# :::
#
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $x$ | image, pixels in $[0, 1]$ | $(B, 1, 28, 28)$ | `x` |
# | $z$ | code, $K$ numbers | $(B, K)$ | `z` |
# | $q(z \mid x)$ | what the encoder believes about $z$ | $K$ normals | `q = model.encode(x)` |
# | $p(x \mid z)$ | what the decoder draws from $z$ | a factor per pixel | `model.decode(z)` |
# | $p(z)$ | prior, $\mathcal N(0, I)$ | $K$ normals | `model.prior()` |
# | $\mathcal L$ | evidence lower bound | nats per image | `elbo` |

# %% tags=["parameters"]
epochs: int = 0  # 0: recall the published runs; n: train n epochs here
subset: int = 0  # 0: all images; n: train and measure on the first n
seed: int = 0

# %% tags=["hide-input"]
from copy import deepcopy

import torch
import torch.nn.functional as F
from IPython.display import Markdown, display

from companion import figures, maths, metrics
from companion.claims import check
from companion.data import load, unit
from companion.experiments import autoencoder, classifier, vae
from companion.figures import Explorable, results_table, show, show_source
from companion.models.vae import VAE
from companion.nets import image_encoder
from companion.objectives import negative_elbo
from companion.train import train

# %%
torch.manual_seed(seed)
data = load("fashion-mnist")
x, y = unit(data.test[0][:2000]), data.test[1][:2000]
sizes = f"{len(data.train[0]):,} training and {len(data.test[0]):,} test"
Markdown(f"{sizes} images, source: {data.source}.")

# %% [markdown]
# The images are Fashion-MNIST {cite:p}`xiao2017fashion`: ten kinds of clothes, 60,000 pictures to learn from and 10,000 to test on.

# %% tags=["hide-input"]
shown = torch.stack([x[y == k][0] for k in range(10)])
words = [
    name.replace("/", "/\n").replace(" ", "\n") for name in data.class_names
]
garments = figures.image_grid(shown, columns=10, titles=words)
show(
    garments,
    f"One test image of each class ({data.source} data).",
    alt="Ten small grey photographs of clothes, one of each class.",
    label="fig-vae-data",
)

# %% [markdown]
# (sec-vae-autoencoder)=
# ## An autoencoder's code is whatever its decoder can read
#
# An autoencoder {cite:p}`hinton2006reducing` is a pair of networks.
# The encoder turns an image into a code, $z = e(x)$.
# The decoder turns the code into a distribution over images, $p(x \mid z)$.
# Both are trained together to make the image probable given its own code.
# The only pressure is the bottleneck: here 784 pixels have to pass through $K = 32$ numbers.
#
# The encoder halves the image three times by strided convolutions and ends in one dense layer; the decoder is its mirror.

# %%
show_source(image_encoder)

# %% [markdown]
# `train` answers a question: with `epochs = 0` it recalls the published run, and otherwise it trains that run here.


# %%
def run(experiment, **choices):
    own_seed = choices.pop("seed", seed)
    return train(experiment, epochs, own_seed, subset, **choices)


ae = run(autoencoder)
print(ae)

# %% [markdown]
# Copying works: every image below comes back from 32 numbers.
# Inventing does not: the lowest row decodes codes that we drew ourselves from a normal distribution with the mean and the variances that the codes of the training images have.

# %% tags=["hide-input"]
with torch.no_grad():
    codes = ae.model.code(x)
    copied = ae.model.decode(codes[:10]).mean
    drawn = codes.mean(0) + codes.std(0) * torch.randn(10, ae.model.latent)
    invented = ae.model.decode(drawn).mean
rows = {"image": x[:10], "copy": copied, "invention": invented}
show(
    figures.image_rows(rows),
    "An autoencoder copies (second row) and cannot invent (third row): "
    "random codes fall between the places that the encoder uses.",
    alt="Three rows of ten images: test images, sharp copies of them, and shapeless smears.",
    label="fig-vae-copies",
)

# %% [markdown]
# Why is the normal distribution the wrong place to draw from?
# And which distribution would be the right one?
# The training objective does not say, and this is a theorem, not an accident of this run.
#
# :::{prf:proposition} The code is free
# :label: prop-vae-free-code
# Let $e$ be an encoder, $d$ a decoder and $g$ any invertible map of the code space.
# The pair $(g \circ e,\ d \circ g^{-1})$ has the same loss as $(e, d)$ on every image.
# :::
#
# :::{prf:proof}
# The loss of an image depends on the pair only through what the decoder receives from the encoder, $d(e(x))$.
# For the new pair that is $d(g^{-1}(g(e(x))))$.
# As $g^{-1}(g(z)) = z$, this equals $d(e(x))$.
# :::
#
# So the codes may be stretched, bent and scattered in any invertible way at no cost.
# The cell bends the codes of the run above by $g(z) = \sinh(A z + b)$ and measures the loss of 64 images; the wrong versions undo the bend wrongly.

# %%
decoder = deepcopy(ae.model.decoder).double()
A, b = torch.eye(32) + torch.randn(32, 32) / 32, torch.randn(32).double()
A, z = A.double(), codes[:64].double()
bent = torch.sinh((z @ A.T + b) / (4 * z.std()))  # g
straight = 4 * z.std() * torch.asinh(bent) - b


def nats(code):
    log_prob = maths.bernoulli_log_prob(decoder(code), x[:64].double())
    return -log_prob.sum((1, 2, 3)).detach()


check("prop-vae-free-code").equal(
    left=nats(z),
    right=nats(straight @ torch.linalg.inv(A).T),
    wrong={
        "the shift not undone": nats((straight + b) @ torch.linalg.inv(A).T),
        "A in place of its inverse": nats(straight @ A.T),
    },
)

# %% [markdown]
# A model that can invent must also learn *where* its codes are.
# The cheapest way is to decide it in advance: choose a distribution $p(z)$, and make the encoder fill it.
#
# (sec-vae-model)=
# ## A VAE spends nats so that its codes fill the prior
#
# Fix the prior $p(z) = \mathcal N(0, I)$.
# Together with the decoder it is a generative model: draw $z$, then draw $x$ from $p(x \mid z)$.
# The probability of an image is $p(x) = \int p(z)\, p(x \mid z)\, dz$.
# We would like to maximise it, and cannot: almost all of the 32-dimensional prior has nothing to do with a given image, so a sum over random $z$ would have to be astronomically long.
#
# The way out is to let the encoder propose codes, as a distribution $q(z \mid x)$, and to account for the proposal {cite:p}`kingma2014auto,rezende2014stochastic`.
#
# :::{prf:theorem} The bound and its gap
# :label: thm-vae-bound
# Let $q(z)$ be any density with $q(z) > 0$ only where $p(z \mid x) > 0$, let all means below be finite, and
# $\mathcal L(q) = \mathbb E_q[\log p(x \mid z)] - \mathrm{KL}(q(z) \,\|\, p(z))$.
# Then $\log p(x) = \mathcal L(q) + \mathrm{KL}(q(z) \,\|\, p(z \mid x))$.
# :::
#
# :::{prf:proof}
# $\log p(x)$ does not depend on $z$, so it equals its own mean under $q$: $\log p(x) = \mathbb E_q[\log p(x)]$.
# By Bayes' rule $p(x) = p(x \mid z)\, p(z) / p(z \mid x)$, wherever $p(z \mid x) > 0$.
# Multiply and divide by $q(z)$ inside the logarithm:
#
# $$
# \begin{aligned}
# \log p(x) = {} & \mathbb E_q[\log p(x \mid z)] + \mathbb E_q\Big[\log \frac{p(z)}{q(z)}\Big] \\
# & + \mathbb E_q\Big[\log \frac{q(z)}{p(z \mid x)}\Big].
# \end{aligned}
# $$ (eq-vae-split)
#
# The second term is $-\mathrm{KL}(q(z) \,\|\, p(z))$ and the third is $\mathrm{KL}(q(z) \,\|\, p(z \mid x))$, by definition.
# :::
#
# A Kullback-Leibler divergence is never negative, so $\mathcal L(q) \le \log p(x)$: the *evidence lower bound*.
# It is tight exactly when $q$ is the true posterior.
# We check the identity where everything can be summed: 200 random worlds with six codes and five images.

# %%
prior, q = torch.rand(2, 200, 1, 6, dtype=torch.float64).softmax(-1)
likelihood = torch.randn(200, 5, 6, dtype=torch.float64).softmax(1)
evidence = (likelihood * prior).sum(-1)
posterior = likelihood * prior / evidence[..., None]


def kl(a, b):
    return (a * (a / b).log()).sum(-1)


bound = (q * likelihood.log()).sum(-1) - kl(q, prior)
check("thm-vae-bound").equal(
    left=evidence.log(),
    right=bound + kl(q, posterior),
    wrong={
        "the gap left out": bound,
        "the gap the wrong way round": bound + kl(posterior, q),
    },
)

# %% [markdown]
# The VAE's encoder returns a mean $\mu$ and a log-variance $\log \sigma^2$ for each of the $K$ dimensions, so $q(z \mid x) = \mathcal N(\mu, \mathrm{diag}\,\sigma^2)$, and one of the two terms is a formula.
#
# :::{prf:theorem} The rate of a Gaussian code
# :label: thm-vae-kl
# $\displaystyle \mathrm{KL}\big(\mathcal N(\mu, \mathrm{diag}\, \sigma^2) \,\|\, \mathcal N(0, I)\big) = \tfrac12 \sum_{k=1}^K \big(\mu_k^2 + \sigma_k^2 - 1 - \log \sigma_k^2\big)$ nats.
# :::
#
# :::{prf:proof}
# Both densities are products over dimensions, and the logarithm turns products into sums, so one dimension is enough.
# There, $\log q(z) - \log p(z) = -\tfrac12 \log \sigma^2 - \tfrac{(z - \mu)^2}{2 \sigma^2} + \tfrac{z^2}{2}$; the constants $\tfrac12 \log 2\pi$ cancel.
# Under $q$, $\mathbb E (z - \mu)^2 = \sigma^2$, by the definition of the variance.
# Under $q$, $\mathbb E z^2 = \mu^2 + \sigma^2$, because the second moment is mean squared plus variance.
# Insert both: $-\tfrac12 \log \sigma^2 - \tfrac12 + \tfrac12(\mu^2 + \sigma^2)$.
# :::

# %%
mean, log_variance = torch.randn(2, 100, 1, dtype=torch.float64)
z = torch.linspace(-30, 30, 20_001, dtype=torch.float64)
q = torch.distributions.Normal(mean, (log_variance / 2).exp())
p = torch.distributions.Normal(torch.zeros_like(mean), 1.0)
log_ratio = q.log_prob(z) - p.log_prob(z)
rate = maths.gaussian_kl(mean, log_variance)
check("thm-vae-kl").equal(
    left=torch.trapezoid(q.log_prob(z).exp() * log_ratio, z),
    right=rate,
    how="quadrature",
    wrong={
        "the half forgotten": 2 * rate,
        "deviation for variance": maths.gaussian_kl(mean, log_variance / 2),
        "sign of the logarithm": rate + log_variance[:, 0],
    },
)

# %% [markdown]
# The other term is a mean over $q$, and $q$ depends on the parameters that we want to train.
# Write the draw as $z = \mu + \sigma \varepsilon$ with $\varepsilon \sim \mathcal N(0, 1)$, and the randomness no longer depends on them.
#
# :::{prf:proposition} The reparameterised gradient is unbiased
# :label: prop-vae-reparameterised
# Let $f$ be differentiable, and $f$ and $f'$ grow no faster than a polynomial.
# Then $\nabla_{\mu, \sigma}\, \mathbb E_{z \sim \mathcal N(\mu, \sigma^2)} f(z) = \mathbb E_\varepsilon \big[ f'(\mu + \sigma \varepsilon)\, (1, \varepsilon) \big]$.
# :::
#
# :::{prf:proof}
# Substitute $z = \mu + \sigma \varepsilon$ in the integral: $\mathbb E f(z) = \int f(\mu + \sigma \varepsilon)\, \varphi(\varepsilon)\, d\varepsilon$, where $\varphi$ is the standard normal density and holds neither $\mu$ nor $\sigma$.
# Near any $(\mu, \sigma)$ the derivative of the integrand is bounded by a polynomial in $|\varepsilon|$ times $\varphi$, which is integrable, so the derivative may move under the integral (dominated convergence).
# The chain rule gives $\partial_\mu f = f'$ and $\partial_\sigma f = \varepsilon f'$.
# :::
#
# For $f(z) = z^3$ the truth is known: $\mathbb E z^3 = \mu^3 + 3 \mu \sigma^2$, with the gradient $(3 \mu^2 + 3 \sigma^2,\ 6 \mu \sigma)$.

# %%
mu = torch.full((100_000,), 0.7, dtype=torch.float64, requires_grad=True)
sigma = torch.full_like(mu, 0.5, requires_grad=True)
z = mu + sigma * torch.randn_like(mu)
gradients = torch.stack(torch.autograd.grad((z**3).sum(), (mu, sigma)), -1)
check("prop-vae-reparameterised").unbiased(
    gradients,
    truth=torch.tensor([3 * 0.7**2 + 3 * 0.5**2, 6 * 0.7 * 0.5]),
    wrong={
        "no gradient through the noise": gradients * torch.tensor([1, 0]),
        "noise scaled by the variance": gradients * torch.tensor([1, 0.5]),
    },
)

# %% [markdown]
# That is all the mathematics a VAE needs, and its code is as short.
# The loss returns its two terms under the names of information theory {cite:p}`alemi2018fixing`: the *distortion* is what is lost of the image, the *rate* is what the code costs.

# %%
show_source(negative_elbo, VAE)

# %% [markdown]
# (sec-vae-terms)=
# ## The bound rises because distortion falls faster than rate grows
#
# The VAE below has the networks of the autoencoder; only the last layer of its encoder is twice as wide.
# Both terms are recorded in every epoch, on the training and on the test images.

# %%
model = run(vae)
plane = run(vae, latent=2)
print(model, plane, sep="\n")

# %% tags=["hide-input"]
histories = {"vae, K = 32": model.history, "vae, K = 2": plane.history}
show(
    figures.history_curves(histories, ["distortion", "rate", "elbo"]),
    "Both terms over training. A larger code pays a higher rate and saves "
    "more distortion than it pays.",
    alt="Curves over epochs: distortion falls, rate grows and levels off, the bound rises.",
    label="fig-vae-terms",
)

# %% [markdown]
# At first the rate is near zero: the decoder has nothing to say about $z$ yet, so a code would cost and not pay.
# Then each nat of rate buys more than a nat of distortion, and the code opens.
# It stops where the next nat would buy less than it costs.
#
# (sec-vae-samples)=
# ## Samples and interpolations now stay among clothes
#
# The same experiment as at the beginning: draw codes from $p(z)$ and decode them.

# %% tags=["hide-input"]
torch.manual_seed(seed)
with torch.no_grad():
    rows = {
        "image": x[:10],
        "copy": model.model.decode(model.model.code(x[:10])).mean,
        "invention": model.model.sample(10),
        "another": model.model.sample(10),
    }
show(
    figures.image_rows(rows),
    "A VAE copies a little worse than the autoencoder, and what it draws "
    "from the prior is clothes.",
    alt="Four rows of ten images: test images, copies, and two rows of invented garments.",
    label="fig-vae-samples",
)

# %% [markdown]
# How good are they?
# We measure the Fréchet distance {cite:p}`heusel2017gans` between 10,000 samples and the 10,000 test images on the features of a small classifier that comes with the book.
# A distance by itself means nothing, so three brackets give it a scale: other real images, blurred real images, and noise.

# %% tags=["hide-input"]
frechet = metrics.Frechet(unit(data.test[0]))
real = unit(data.train[0][: len(data.test[0])])
with torch.no_grad():
    samples = torch.cat([model.model.sample(1000) for _ in range(10)])
distances = {
    **frechet.brackets(real),
    "VAE samples": frechet.distance(samples),
}
rows = [
    {"images": k, "squared Fréchet distance": v} for k, v in distances.items()
]
display(results_table(rows))
Markdown(f"The extractor's weights have the hash `{frechet.weights_hash}`.")

# %% [markdown]
# Between two codes the VAE has something to show as well.
# The explorable walks on a straight line from the code of one image to that of another, in both models.

# %% tags=["hide-input"]
pairs = torch.stack([x[y == 9][1], x[y == 7][2], x[y == 0][3], x[y == 1][4]])
ends = pairs[[1, 2, 3, 0]]
frames = []
for t in torch.linspace(0, 1, 13):
    with torch.no_grad():
        between = [
            m.decode((1 - t) * m.code(pairs) + t * m.code(ends)).mean
            for m in (ae.model, model.model)
        ]
    frames.append(torch.cat([torch.cat(list(b[:, 0]), 1) for b in between]))
Explorable(
    frames,
    [f"{t:.2f}" for t in torch.linspace(0, 1, 13)],
    "position between the two codes",
    alt="Two rows of four garments that turn into one another, autoencoder above, VAE below.",
    caption="Upper row: autoencoder, lower row: VAE. Half-way, the autoencoder fades one image "
    "into the other; the VAE passes through garments.",
)

# %% [markdown]
# (sec-vae-traversal)=
# ## A few of the 32 numbers carry the picture
#
# The rate is a sum over dimensions, so we can ask each dimension what it costs.

# %%
with torch.no_grad():
    q = model.model.encode(x).base_dist
    log_variance = 2 * q.stddev.log()
rates = maths.gaussian_kl(q.mean[..., None], log_variance[..., None]).mean(0)
order = rates.argsort(descending=True)
active = metrics.active_units(q.mean)
share = rates[order[:4]].sum() / rates.sum()
Markdown(
    f"{active} of {len(rates)} dimensions are active; "
    f"the four dearest take {share:.0%} of the rate."
)

# %% [markdown]
# Choose a dimension with the first slider and move it with the second.
# The other 31 numbers stay at the code of one ankle boot.

# %% tags=["hide-input"]
steps = torch.linspace(-3, 3, 13)
with torch.no_grad():
    start = model.model.code(x[:1])
    table = []
    for k in order[:10].tolist():
        z = start.repeat(len(steps), 1)
        z[:, k] = steps
        table.append(list(model.model.decode(z).mean[:, 0]))
names = [f"z{k + 1} ({rates[k]:.2f} nats)" for k in order[:10].tolist()]
Explorable(
    table,
    [names, [f"{s:+.1f}" for s in steps]],
    ["dimension", "its value"],
    alt="One garment whose shape and brightness change with a latent dimension.",
    caption="Traversals of the ten dimensions with the highest rate. What a dimension does is not "
    "one property: nothing in the bound asks for that.",
    start=[0, 6],
)

# %% [markdown]
# (sec-vae-latent-map)=
# ## Two numbers already sort the clothes
#
# With $K = 2$ the whole code space fits on a page.
# No label was used in training; the colours are added afterwards.
# First the VAE, whose codes are told where to be.

# %% tags=["hide-input"]
with torch.no_grad():
    z = plane.model.code(x)
show(
    figures.latent_map(z[:800], y[:800], data.class_names),
    "VAE: means of q(z | x) for 800 test images. Shoes, bags, trousers and "
    "tops live apart; pullovers, coats and shirts share one place.",
    alt="Scatter plot of two-dimensional codes of a VAE, coloured by class.",
    label="fig-vae-map",
)

# %% [markdown]
# Then the autoencoder with $K = 2$.
# It separates the classes as well, but look at the axes: the scale, the centre and the long arms are an accident, as {prf:ref}`prop-vae-free-code` says they must be.

# %% tags=["hide-input"]
flat_ae = run(autoencoder, latent=2)
with torch.no_grad():
    z = flat_ae.model.code(x)
show(
    figures.latent_map(z[:800], y[:800], data.class_names),
    "Autoencoder: codes of the same images. Nothing says where a new code "
    "should be drawn.",
    alt="Scatter plot of two-dimensional codes of an autoencoder, by class.",
    label="fig-ae-map",
)

# %% [markdown]
# Decoding the VAE's plane at the quantiles of the prior draws an atlas of clothes.

# %% tags=["hide-input"]
quantiles = torch.distributions.Normal(0.0, 1.0).icdf(
    torch.linspace(0.02, 0.98, 11)
)
with torch.no_grad():
    tiles = plane.model.decode(torch.cartesian_prod(quantiles, quantiles)).mean
show(
    figures.latent_grid(tiles, quantiles),
    "The plane of the VAE decoded, at the quantiles of the prior: every "
    "place is some garment.",
    alt="A square of 11 by 11 garments that change smoothly.",
    label="fig-vae-plane",
)

# %% [markdown]
# (sec-vae-head)=
# ## A linear head reads the class from the code
#
# How much does the code know about the label?
# We ask in two ways.
# A *linear probe* is a logistic regression on the frozen code: it changes nothing in the model.
# A *joint head* is one linear layer on $z$ that is trained together with the VAE; its cross-entropy is weighted by 100 or by 1,000 nats.
# Two neighbours show what to expect: the same probe on the first 32 principal components, which are a code without any network, and a plain classifier, the same encoder with 32 features and one linear layer.
# The published range is that of networks of two or three convolutions in the read-me of Fashion-MNIST {cite:p}`xiao2017readme`.

# %%
plain = run(classifier)
light = run(vae, head=100.0)
head = run(vae, head=1000.0, horizon=25)

# %%
flat = unit(data.train[0][:10_000]).flatten(1)
variances, directions = torch.linalg.eigh(torch.cov(flat.T))


def components(images, labels):
    return unit(images).flatten(1) @ directions[:, -32:], labels


_, linear = metrics.linear_probe(
    components(*data.train), components(*data.test)
)

# %% tags=["hide-input"]
seeds = [0, 1, 2] if epochs == 0 else [seed]


def over_seeds(metric, experiment, **choices):
    found = [run(experiment, seed=s, **choices).metrics[metric] for s in seeds]
    if len(seeds) == 1:
        return found[0]
    return metrics.mean_of(torch.tensor([one["value"] for one in found]))


asked = {
    "linear probe on the autoencoder": ("probe accuracy", autoencoder, {}),
    "linear probe on the VAE": ("probe accuracy", vae, {}),
    "VAE, joint head": ("accuracy", vae, {"head": 1000.0, "horizon": 25}),
    "plain classifier": ("accuracy", classifier, {}),
}
rows = [
    {
        "model": name,
        "test accuracy, %": over_seeds(metric, experiment, **choices),
    }
    for name, (metric, experiment, choices) in asked.items()
]
rows[-1]["published, %"] = "87.6–93.9"
rows.insert(
    0,
    {
        "model": "linear probe on 32 principal components",
        "test accuracy, %": linear,
    },
)
results_table(rows, percent=["test accuracy, %"])

# %% [markdown]
# The probe on the VAE cannot see more than the code holds, and the bound keeps only what helps to draw pixels: a shirt and a coat of one outline cost the same to draw.
# Labels in the loss move the code, and the accuracy follows; what it costs stands in the next table.

# %%
rows = [
    {
        "weight of the label, nats": weight,
        "accuracy, %": one.metrics[metric],
        "bound, nats": one.metrics["elbo"],
        "rate, nats": one.metrics["rate"],
    }
    for weight, one, metric in (
        ("0 (probe)", model, "probe accuracy"),
        ("100", light, "accuracy"),
        ("1,000", head, "accuracy"),
    )
]
results_table(rows, percent=["accuracy, %"])

# %% [markdown]
# Part of that cost is not the label's: the models with a head see mirrored and shifted images in training, which help to classify and are a harder set to describe.
#
# (sec-vae-fgsm)=
# ## One step along the sign of the gradient fools all of them
#
# How much can an adversary gain who may change each pixel by at most $\varepsilon$?
# To first order the answer is exact {cite:p}`goodfellow2015explaining`.
#
# :::{prf:theorem} The fast gradient sign method is the best linear attack
# :label: thm-vae-fgsm
# Let $g$ be the gradient of the loss with respect to the image.
# Among all $\delta$ with $|\delta_i| \le \varepsilon$ for each pixel $i$, the linearised gain $g^\top \delta$ is largest at $\delta = \varepsilon\, \mathrm{sign}(g)$, where it is $\varepsilon \lVert g \rVert_1$.
# :::
#
# :::{prf:proof}
# $g^\top \delta = \sum_i g_i \delta_i \le \sum_i |g_i|\, |\delta_i|$, because a product is at most its absolute value.
# $\sum_i |g_i|\, |\delta_i| \le \varepsilon \sum_i |g_i|$, because $|\delta_i| \le \varepsilon$.
# For $\delta_i = \varepsilon\, \mathrm{sign}(g_i)$ each $g_i \delta_i = \varepsilon |g_i|$, so both steps are equalities.
# :::
#
# The cell takes the gradient of the plain classifier at 50 images and tries, for each, 20 random changes at the corners of the cube and the theorem's own.

# %%
images = x[:50].clone().requires_grad_()
loss = F.cross_entropy(plain.model.classify(images), y[:50], reduction="sum")
g = torch.autograd.grad(loss, images)[0].flatten(1).double()
epsilon = 0.05
tries = epsilon * torch.randn(21, *g.shape).sign().double()
tries[-1] = epsilon * g.sign()
gain = (tries * g).sum(-1)
size = {p: epsilon * g.norm(p, dim=1).expand(21, -1) for p in (1, 2)}
largest = epsilon * g.abs().amax(1).expand(21, -1)
is_fgsm = torch.zeros(gain.shape, dtype=torch.bool)
is_fgsm[-1] = True
check("thm-vae-fgsm").at_most(
    gain,
    size[1],
    equal_where=is_fgsm,
    wrong={"2-norm": (gain, size[2]), "largest entry": (gain, largest)},
)

# %% [markdown]
# The code of the attack is the formula, and a clamp that keeps pixels in $[0, 1]$.

# %%
show_source(metrics.fgsm)

# %% [markdown]
# Four classifiers are attacked, each through its own gradient: the probes on the codes of the autoencoder and of the VAE, the VAE with the joint head, and the plain classifier.

# %% tags=["hide-input"]
epsilons = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2]
attacked = {
    "autoencoder + probe": (ae, "probe, "),
    "vae + probe": (model, "probe, "),
    "vae + joint head": (head, ""),
    "classifier": (plain, ""),
}
series = {}
for name, (victim, prefix) in attacked.items():
    found = [
        victim.metrics[f"{prefix}robust accuracy at {e:g}"] for e in epsilons
    ]
    series[name] = (
        epsilons,
        [f["value"] for f in found],
        [f["error"] for f in found],
    )
show(
    figures.curves(
        series, "ε, share of the pixel range", "accuracy under attack"
    ),
    "Accuracy on 2,000 test images under FGSM; bands are one standard error.",
    alt="Four falling curves of accuracy against the strength of the attack.",
    label="fig-vae-fgsm",
)

# %% tags=["hide-input"]
rows, titles = {}, None
for e in (0.0, 0.02, 0.05, 0.1, 0.2):
    rows[f"ε = {e:g}"] = metrics.fgsm(
        plain.model.classify, shown, torch.arange(10), e
    )
with torch.no_grad():
    said = [
        data.class_names[int(k)]
        for k in plain.model.classify(rows["ε = 0.1"]).argmax(1)
    ]
show(
    figures.image_rows(rows, titles=[f"at 0.1:\n{word}" for word in said]),
    "The same garments under stronger and stronger attacks on the plain "
    "classifier; above, what it sees at ε = 0.1.",
    alt="Five rows of ten garments with growing noise.",
    label="fig-vae-attacked",
)

# %%
rows, columns = [], (0.0, 0.02, 0.05, 0.1)
for name, (victim, prefix) in attacked.items():
    key = prefix + "robust accuracy at {:g}"
    here = {f"ε = {e:g}": victim.metrics[key.format(e)] for e in columns}
    rows.append({"accuracy, %": name, **here})
results_table(rows, percent=[f"ε = {e:g}" for e in columns])

# %% [markdown]
# A bottleneck is no shield.
# A code of 32 numbers is a smooth function of 784 pixels, so many small changes add up in it as they do in a classifier, and a linear probe reads the sum.
# What is called robustness of a VAE in the literature often measures something else: here every attack goes through the gradient of the very model that is attacked.
#
# (sec-vae-grey)=
# ## Cross-entropy on grey pixels is not a likelihood
#
# Most VAEs on grey images minimise the binary cross-entropy, and so did ours.
# For a pixel $x \in \{0, 1\}$, $\lambda^x (1 - \lambda)^{1 - x}$ is a probability.
# For a grey pixel it ought to be a density on $[0, 1]$, and it is not: its integral is not one.
# What it lacks is known {cite:p}`loaiza2019continuous`.
#
# :::{prf:theorem} The normaliser of the continuous Bernoulli
# :label: thm-vae-continuous-bernoulli
# Let $\eta = \log \frac{\lambda}{1 - \lambda}$.
# The function $C(\lambda)\, \lambda^x (1 - \lambda)^{1 - x}$ is a density on $[0, 1]$ if and only if $C = \eta / \tanh(\eta / 2)$, with $C = 2$ at $\eta = 0$.
# It has the mean $\frac{1}{1 - e^{-\eta}} - \frac1\eta$, not $\lambda$.
# :::
#
# :::{prf:proof}
# $\lambda^x (1 - \lambda)^{1 - x} = (1 - \lambda)\, e^{\eta x}$, by the definition of $\eta$.
# $\int_0^1 e^{\eta x}\, dx = (e^\eta - 1) / \eta$, by elementary integration, for $\eta \neq 0$.
# $1 - \lambda = 1 / (1 + e^\eta)$, so the integral of the product is $\frac{1}{\eta}\, \frac{e^\eta - 1}{e^\eta + 1} = \tanh(\eta / 2) / \eta$, and $C$ must be its inverse.
# As $\eta \to 0$, $\tanh(\eta / 2) / \eta \to \tfrac12$.
# The density is proportional to $e^{\eta x}$, so its mean is the derivative of $\log \int_0^1 e^{\eta x} dx = \log(e^\eta - 1) - \log \eta$, which is $\frac{e^\eta}{e^\eta - 1} - \frac1\eta$.
# :::

# %%
eta = torch.linspace(-12, 12, 64, dtype=torch.float64)
grid = torch.linspace(0, 1, 20_001, dtype=torch.float64)
e, t = torch.meshgrid(eta, grid, indexing="ij")
bce = maths.bernoulli_log_prob(e, t).exp()
mass = torch.trapezoid(bce, grid)
centre = torch.trapezoid(bce * grid, grid) / mass
C = maths.continuous_bernoulli_log_normaliser(eta).exp()
one, formula = torch.ones_like(C), maths.continuous_bernoulli_mean(eta)


def pair(constant, mean):
    return torch.stack([constant, mean], 1)


check("thm-vae-continuous-bernoulli").equal(
    left=pair(1 / mass, centre),
    right=pair(C, formula),
    how="quadrature",
    rtol=1e-6,
    wrong={
        "cross-entropy as it is: C = 1": pair(one, formula),
        "the mean is lambda": pair(C, torch.sigmoid(eta)),
        "tanh(eta)": pair(eta / torch.tanh(eta), formula),
    },
)

# %% [markdown]
# How much is $\log C$ on real images?
# We read three models as densities: the cross-entropy VAE with and without its missing term, and a VAE that was trained with it.

# %%
grey = run(vae, likelihood="continuous-bernoulli")
with torch.no_grad():
    q = model.model.encode(x).base_dist
    logits = model.model.decoder(q.sample())
    cross_entropy = -maths.bernoulli_log_prob(logits, x).flatten(1).sum(1)
    log_C = maths.continuous_bernoulli_log_normaliser(logits).flatten(1).sum(1)
    rate = maths.gaussian_kl(q.mean, 2 * q.stddev.log())
elbo = -cross_entropy - rate
rows = [
    {
        "model": "cross-entropy, as reported",
        "bound, nats": metrics.mean_of(elbo),
    },
    {
        "model": "with its normaliser",
        "bound, nats": metrics.mean_of(elbo + log_C),
    },
    {
        "model": "trained as continuous Bernoulli",
        "bound, nats": metrics.elbo_terms(grey.model, x)["elbo"],
    },
]
display(results_table(rows))
missing = metrics.mean_of(log_C, "nats")
Markdown(f"The missing normaliser is worth {missing} per image.")

# %% [markdown]
# The missing term changes the number, and its sign.
# It is also not a constant: it rewards decisive pixels, so leaving it out changes what is learned.
#
# The third row is a second lesson.
# A density may be as high as it likes at a single value, and many pixels of these images have exactly one.

# %%
black = (x == 0).float().mean()
Markdown(f"{black:.0%} of all pixels are exactly black.")

# %% [markdown]
# The model that knows its normaliser earns most of its nats by growing ever more certain of that black.
# So neither number says how well clothes are described.
# What does is the probability of the 256 grey levels that were stored, in bits per dimension {cite:p}`theis2016note`; the chapters on autoregressive models and flows use it.
# Bounds may be compared only between models that are probabilities, or densities, of the same variable.
#
# (sec-vae-blur)=
# ## The blur is the mean of everything the code allows
#
# VAE pictures are blurred, and the prior, the bound and the sampler all have been blamed.
# The likelihood is enough.
#
# :::{prf:theorem} The best decoder draws the conditional mean
# :label: thm-vae-mean
# Fix any encoder, and a pixel with $0 < \mathbb E[x \mid z] < 1$.
# For Bernoulli, continuous Bernoulli and Gaussian likelihoods alike, the decoder that maximises $\mathbb E \log p(x \mid z)$ has the mean $\mathbb E[x \mid z]$.
# What it loses is $\mathrm{Var}(x) - \mathrm{Var}(\mathbb E[x \mid z]) = \mathbb E\, \mathrm{Var}(x \mid z)$.
# :::
#
# :::{prf:proof}
# All three have the form $\log p(x \mid \eta) = \eta x - A(\eta) + h(x)$, up to a positive factor, with one natural parameter $\eta$ per pixel: $A = \log(1 + e^\eta)$, $A = \log \frac{e^\eta - 1}{\eta}$ and $A = \eta^2 / 2$.
# Given $z$, the mean of this is $\eta\, \mathbb E[x \mid z] - A(\eta)$ plus a constant, because it is linear in $x$.
# $A$ is the logarithm of an integral of $e^{\eta x}$ against a positive measure, so $A'' > 0$: its second derivative is a variance.
# So the mean is strictly concave in $\eta$, and has its only maximum where $A'(\eta) = \mathbb E[x \mid z]$; such an $\eta$ exists, because $A'$ is continuous and runs through all of $(0, 1)$.
# $A'$ is the mean of the distribution, by differentiating its normaliser.
# The second sentence is the law of total variance.
# :::
#
# The cell takes 64 random distributions of a grey pixel (given 64 codes) and finds the best parameter by brute force on a fine grid, without the theorem.

# %%
levels = torch.linspace(0, 1, 9, dtype=torch.float64)
half = torch.full((9,), 0.5, dtype=torch.float64)
weights = torch.distributions.Dirichlet(half).sample((64,))
eta = torch.linspace(-60, 60, 60_001, dtype=torch.float64)
truth = weights @ levels
log_C = maths.continuous_bernoulli_log_normaliser(eta)
models = {  # A(eta) and the mean
    "Bernoulli": (F.softplus(eta), torch.sigmoid(eta)),
    "continuous Bernoulli": (
        F.softplus(eta) - log_C,
        maths.continuous_bernoulli_mean(eta),
    ),
    "Gaussian": (eta**2 / 2, eta),
}
best = [
    mean[(truth[:, None] * eta - A).argmax(1)] for A, mean in models.values()
]
median = levels[(weights.cumsum(1) < 0.5).sum(1)]
mode = levels[weights.argmax(1)]
check("thm-vae-mean").equal(
    left=torch.stack(best, 1),
    right=torch.stack([truth] * 3, 1),
    atol=2e-3,
    rtol=0,
    wrong={
        "it draws the median": torch.stack([median] * 3, 1),
        "it draws the mode": torch.stack([mode] * 3, 1),
    },
)

# %% [markdown]
# The second sentence is checked on the same distributions, as 16 worlds of four codes with random weights.

# %%
worlds, codes_prob = weights.view(16, 4, 9), half.new_ones(16, 4)
codes_prob = torch.distributions.Dirichlet(codes_prob).sample()


def average(values):
    return (codes_prob * values).sum(1)


mean_z, square_z = worlds @ levels, worlds @ levels**2
total = average(square_z) - average(mean_z) ** 2
kept = average(mean_z**2) - average(mean_z) ** 2
check("thm-vae-mean").equal(
    left=total - kept,
    right=average(square_z - mean_z**2),
    wrong={"all of it is lost": total, "what is kept is lost": kept},
)

# %% [markdown]
# A mean over sharp alternatives is not sharp.
# The power spectrum shows it: whatever $z$ does not determine is missing at high frequencies, and the Gaussian VAE with a learned scale, which pays for a finer code, misses less.

# %% tags=["hide-input"]
sharp = run(vae, likelihood="gaussian")


def spectrum(images):
    """Mean power by spatial frequency, in rings one cycle wide."""
    power = (
        torch.fft.rfft2(images[:, 0] - images[:, 0].mean(0))
        .abs()
        .square()
        .mean(0)
    )
    fy, fx = (
        torch.fft.fftfreq(28)[:, None] * 28,
        torch.fft.rfftfreq(28)[None] * 28,
    )
    ring = (fy**2 + fx**2).sqrt().round().long()
    return torch.stack([power[ring == r].mean() for r in range(1, 14)])


with torch.no_grad():
    pictures = {
        "data": x,
        "autoencoder": ae.model.decode(ae.model.code(x)).mean,
        "vae": model.model.decode(model.model.code(x)).mean,
        "vae, Gaussian with learned scale": sharp.model.decode(
            sharp.model.code(x)
        ).mean,
    }
kept = {
    k: (range(1, 14), spectrum(v) / spectrum(x))
    for k, v in pictures.items()
    if k != "data"
}
show(
    figures.curves(
        kept,
        "spatial frequency, cycles per image",
        "share of the data's power",
    ),
    "Power of the reconstructions relative to the images: all lose fine detail, the finest first.",
    alt="Falling curves of relative power against spatial frequency.",
    label="fig-vae-blur",
)

# %% [markdown]
# (sec-vae-collapse)=
# ## What goes wrong: a squared error without a scale silences the code
#
# "Use the squared error as reconstruction loss and add the KL" is the most common recipe for a VAE.
# As a likelihood, $\tfrac12 \lVert x - \hat x \rVert^2$ is a Gaussian with standard deviation 1, on pixels that lie in $[0, 1]$: the decoder is told that every pixel is drowned in noise as large as its range.
# A code that describes details below the noise cannot pay its rate.
#
# :::{prf:theorem} What the rate buys
# :label: thm-vae-rate
# Let $q(z) = \mathbb E_x\, q(z \mid x)$.
# Then $\mathbb E_x \mathrm{KL}(q(z \mid x) \,\|\, p(z)) = I_q(x; z) + \mathrm{KL}(q(z) \,\|\, p(z)) \ge I_q(x; z)$: the code knows at most as many nats about the image as its rate.
# :::
#
# :::{prf:proof}
# Write $\log \frac{q(z \mid x)}{p(z)} = \log \frac{q(z \mid x)}{q(z)} + \log \frac{q(z)}{p(z)}$ and take the mean over $x$ and $z$.
# The first term becomes $I_q(x; z)$, by the definition of mutual information.
# The second holds $z$ alone, whose distribution is $q(z)$, so it becomes $\mathrm{KL}(q(z) \,\|\, p(z))$, which is never negative.
# :::

# %%
encoder = torch.randn(200, 7, 6, dtype=torch.float64).softmax(-1)
image = torch.rand(200, 7, dtype=torch.float64).softmax(-1)
p = torch.rand(200, 6, dtype=torch.float64).softmax(-1)
aggregate = (image[..., None] * encoder).sum(1)
rate = (image * kl(encoder, p[:, None])).sum(-1)
joint = image[..., None] * encoder
independent = image[..., None] * aggregate[:, None]
information = kl(joint.flatten(1), independent.flatten(1))
check("thm-vae-rate").equal(
    left=rate,
    right=information + kl(aggregate, p),
    wrong={
        "the rate is the information": information,
        "the divergence reversed": information + kl(p, aggregate),
    },
)

# %% [markdown]
# Five VAEs with the same networks; only the likelihood, or the weight $\beta$ of the rate {cite:p}`higgins2017beta`, differs.

# %%
collapsed = run(vae, likelihood="unit-gaussian")
heavy = run(vae, beta=100.0)
five = {
    "cross-entropy, β = 100": heavy,
    "squared error (scale 1)": collapsed,
    "cross-entropy, β = 1": model,
    "continuous Bernoulli": grey,
    "Gaussian, scale learned": sharp,
}
names = {"active units": "active of 32", "rate": "rate, nats"}
names["probe accuracy"] = "probe accuracy, %"
rows = [
    {"VAE": label, **{names[k]: one.metrics[k] for k in names}}
    for label, one in five.items()
]
results_table(rows, percent=["probe accuracy, %"])

# %% tags=["hide-input"]
with torch.no_grad():
    rows = {"image": x[:10]}
    for name, r in {
        "β = 100": heavy,
        "scale 1": collapsed,
        "scale learned": sharp,
    }.items():
        rows[name] = r.model.decode(r.model.code(x[:10])).mean
show(
    figures.image_rows(rows),
    "The pathology and its cure: a code that may not pay for detail draws "
    "averages; with a learned scale the detail comes back.",
    alt="Rows of images: originals, averages, coarse shapes, and faithful copies.",
    label="fig-vae-collapse",
)

# %% [markdown]
# A dimension is *active* if its posterior mean varies over the data by more than 0.01 {cite:p}`burda2016importance`; an inactive one has collapsed to the prior, and its rate is zero.
# How many can survive a scale of 1?
# In the linear VAE, which is probabilistic PCA, a direction is kept exactly if its variance exceeds that of the noise {cite:p}`lucas2019dont`.
# So we count the principal components of the images with variance above 1.

# %%
survive = int((variances > 1).sum())
found = int(collapsed.metrics["active units"]["value"])
Markdown(
    f"Directions with variance above 1: **{survive}**. "
    f"Active units of the VAE with scale 1: **{found}**."
)

# %% [markdown]
# The linear count is the right order and not exact: networks can bend several directions into one dimension of the code, and here they use fewer.
# The cure is one parameter: let the model learn the scale of its own noise.
# It is the last row of the table and of the figure: all 32 dimensions come back.
#
# ## All numbers of this chapter in one place

# %% tags=["hide-input"]
everything = {
    "autoencoder": ae,
    "VAE": model,
    "VAE, K = 2": plane,
    "VAE, joint head": head,
    "VAE, continuous Bernoulli": grey,
    "VAE, Gaussian": sharp,
    "plain classifier": plain,
}
pick = ("elbo", "nll", "rate", "probe accuracy", "accuracy", "frechet")
rows = [
    {"model": label, **{k: one.metrics.get(k) for k in pick}}
    for label, one in everything.items()
]
results_table(rows)

# %% [markdown]
# `elbo` and `nll` (importance-weighted, 100 draws, the first 1,000 test images) are in nats per image; they may be compared only between rows with the same likelihood, and for the cross-entropy rows they are no densities at all.
# Fashion-MNIST has no agreed protocol for likelihoods, so no published number stands beside ours; we know of none that names its variable and could be repeated.
#
# ## Limits
#
# The networks are small (a quarter of a million parameters) so that a reader can train them in minutes; wider ones copy better and change none of the conclusions.
# Error bars of single runs are over test images; where three seeds are shown they are over seeds, and three seeds say little about rare failures.
# The Fréchet distance is on our own extractor and can be compared with nothing outside this book.
# FGSM is the weakest of the gradient attacks: it bounds robustness from above only ({prf:ref}`thm-vae-fgsm` is about the linearised loss, and networks are not linear).

# %% [markdown]
# ## Exercises
#
# ```{exercise-start} A prior that is wider
# :label: ex-vae-kl
# ```
# Derive $\mathrm{KL}(\mathcal N(\mu, \sigma^2) \,\|\, \mathcal N(0, s^2))$.
# For which $s$ is the mean rate of a whole data set of codes smallest?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-vae-kl
# :class: dropdown
# ```
# The steps of {prf:ref}`thm-vae-kl` with $\log p(z) = -\tfrac12 \log s^2 - z^2 / (2 s^2)$ give $\tfrac12 \big( (\mu^2 + \sigma^2) / s^2 - 1 - \log(\sigma^2 / s^2) \big)$.
# The mean over the data depends on $s$ through $\overline{\mu^2 + \sigma^2} / s^2 + \log s^2$, whose derivative vanishes at $s^2 = \overline{\mu^2 + \sigma^2}$: the variance of the aggregate code.

# %%
with torch.no_grad():
    q = model.model.encode(x).base_dist
best = (q.mean**2 + q.variance).mean(0).sqrt()


def mean_rate(s):
    wide = torch.distributions.Normal(torch.zeros(32), s)
    return torch.distributions.kl_divergence(q, wide).sum(1).mean()


for factor in (0.9, 0.99, 1.01, 1.1):
    assert mean_rate(best) < mean_rate(best * factor)
print(f"s = 1: {mean_rate(torch.ones(32)):.3f} nats")
print(f"best s: {mean_rate(best):.3f} nats")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Straight or round?
# :label: ex-vae-interpolate
# ```
# Half-way on a straight line between two draws from the prior, how long is the code, compared with a typical draw?
# Does a walk on the sphere ("slerp") give better images?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-vae-interpolate
# :class: dropdown
# ```
# If $z_1, z_2 \sim \mathcal N(0, I)$ are independent, $(z_1 + z_2)/2 \sim \mathcal N(0, I/2)$: it is shorter by $\sqrt 2$.
# Divided by $\sqrt 2$ instead of 2 it has the right length.
# The Fréchet distance decides.

# %%
torch.manual_seed(seed)
a, b = torch.randn(2, 2000, 32)
ways = {
    "a draw from the prior": a,
    "half-way, straight": (a + b) / 2,
    "half-way, round": (a + b) / 2**0.5,
}
rows = []
for name, z in ways.items():
    with torch.no_grad():
        distance = frechet.distance(model.model.decode(z).mean)
    length = metrics.mean_of(z.norm(dim=1))
    rows.append({"code": name, "length": length, "squared distance": distance})
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Another split
# :label: ex-vae-split
# ```
# The homework asks for a random 80/20 split of all 70,000 images.
# Evaluate the published VAE on the 20 %. Why is the bound better there, and why does that mean nothing?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-vae-split
# :class: dropdown
# ```
# The published run has seen the official 60,000 training images, and about six sevenths of the new test set are among them.
# An honest number needs a model that is trained on the same 80 %: `train(vae, epochs=15, split="80/20")`.

# %%
images, labels = load("fashion-mnist", split="80/20").test
sets = {
    "official test set": data.test[0][:5000],
    "80/20 test set": images[:5000],
    "official training set": data.train[0][:5000],
}
rows = []
for name, part in sets.items():
    bound = metrics.elbo_terms(model.model, unit(part))["elbo"]
    rows.append({"images": name, "bound, nats": bound})
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The floor of the cross-entropy
# :label: ex-vae-bce
# ```
# A perfect copy has cross-entropy zero on black and white images. What is it on grey ones?
# Compute the floor for the test images. How much of the autoencoder's distortion is real?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-vae-bce
# :class: dropdown
# ```
# $-x \log \lambda - (1 - x) \log(1 - \lambda)$ is smallest at $\lambda = x$, where it is the binary entropy of $x$.
# Nothing can go below the sum of these entropies.

# %%
full = unit(data.test[0])
entropy = torch.special.entr(full) + torch.special.entr(1 - full)
floor = metrics.mean_of(entropy.flatten(1).sum(1), "nats")
reported = ae.metrics["distortion"]["value"]
assert reported > floor.value
print(f"floor {floor}, autoencoder {reported:.1f} nats:")
print(f"{reported - floor.value:.1f} nats are its own error")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Ten small steps
# :label: ex-vae-attack
# ```
# Take ten FGSM steps of $\varepsilon / 5$, and after each project back into the cube of width $\varepsilon$ around the image {cite:p}`madry2018towards`.
# Compare with one step, at $\varepsilon = 0.02$.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-vae-attack
# :class: dropdown
# ```
# The linearisation is renewed at every step, so the attack follows the curve of the loss.


# %%
def projected(classify, x, y, epsilon, steps=10):
    moved = x
    for _ in range(steps):
        moved = metrics.fgsm(classify, moved, y, epsilon / 5)
        moved = x + (moved - x).clamp(-epsilon, epsilon)
    return moved


few, labels = x[:1000], y[:1000]
rows = []
for name, victim in {"plain classifier": plain, "joint head": head}.items():
    classify = victim.model.classify
    once = metrics.robust_accuracy(classify, few, labels, 0.02)
    moved = projected(classify, few, labels, 0.02)
    often = metrics.accuracy(classify, moved, labels)
    assert often.value <= once.value + 0.02
    rows.append({"model": name, "one step, %": once, "ten steps, %": often})
results_table(rows, percent=["one step, %", "ten steps, %"])

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Draw from where the codes are (open)
# :label: ex-vae-open
# ```
# The codes do not fill the prior perfectly. Fit a better distribution to them, and draw from that.
# How far down can you bring the Fréchet distance without touching the networks? There is no last word here.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-vae-open
# :class: dropdown
# ```
# A first answer: one Gaussian with a full covariance, then a mixture of twenty, fitted by EM to codes drawn from $q(z \mid x)$ of training images; the same can be done to the autoencoder.
# Chapters on priors, flows and diffusion in this book are later answers.

# %%
from sklearn.mixture import GaussianMixture

torch.manual_seed(seed)
seen = unit(data.train[0][:10_000])
with torch.no_grad():
    coded = {
        "VAE": (model.model, model.model.encode(seen).sample()),
        "autoencoder": (ae.model, ae.model.code(seen)),
    }
rows = []
for name, (m, z) in coded.items():
    for parts in (1, 20):
        mixture = GaussianMixture(parts, reg_covar=1e-4, random_state=seed)
        new = torch.from_numpy(mixture.fit(z).sample(5000)[0]).float()
        with torch.no_grad():
            distance = frechet.distance(m.decode(new).mean)
        rows.append(
            {"decoder": name, "Gaussians": parts, "squared distance": distance}
        )
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What it gave up
#
# An autoencoder that wants to dream must give up certainty about its own codes.
# It says what it believes about $z$ as a distribution, pays for every nat by which that belief differs from a prior that was fixed in advance, and in return its codes lie where we can find them.
# The price is on this page in nats, and so is the gain.
# What remains blurred is not the fault of dreaming: it is the mean of all that 32 numbers cannot tell apart, under a likelihood that knows pixels one by one.
#
# And was the price necessary?
# The last exercise says: not to draw pictures.
# A mixture of twenty Gaussians, fitted to the codes of the plain autoencoder after its training, draws garments that are nearer to real ones than those of our VAE.
# What the VAE has and that pair has not is a bound on $\log p(x)$, one objective for both halves, and a $q(z \mid x)$ that knows what it does not know.
# The two ideas meet again in this book: better priors, flows on codes, and diffusion.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
