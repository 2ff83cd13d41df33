# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:digit-networks)=
# # Digit networks: Bayesian networks of pixels
#
# *Does a pixel know its digit from three neighbours?*
#
# Somebody has written a digit, and covers it with a sheet of paper.
# The sheet is drawn away slowly, row by row, pixel by pixel.
# Before each pixel you say how probable ink is there, and pay for your surprise: $-\log p$ of what appears.
# Most pixels cost you nothing, for paper follows paper.
# You pay where a stroke begins, bends or ends.
#
# What you pay in all is the number of *nats* of the image, and your way of betting is a model of digits: whoever can bet can also draw.
# This chapter bets as cheaply as can be, with one small rule for all 784 pixels that looks at 3, 8 or 15 pixels nearby.
# That is a Bayesian network as in {ref}`the chapter on them <ch:bayes-nets>`, and one whose likelihood is exact, whose best parameters can be *proved* to be the best, and whose faults can be named.
#
# :::{admonition} You will learn to
# - turn an image into a Bayesian network, and draw from it exactly, a whole anti-diagonal at a time;
# - fit a shared linear-sigmoid law to 60,000 images, with a certificate that no other weights are better;
# - say when such an optimum exists, and see one escape to infinity;
# - prove that a law shared by all pixels cannot know where a digit stands, and price that ignorance in nats;
# - find the blind side of a neighbourhood, which costs more than anything else in this chapter;
# - compare eighteen networks, linear and with hidden layers, on the same test images.
#
# You need: Bayesian networks and d-separation, gradients and Hessians.
# :::
#
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $x$ | image of black and white pixels, 1 is ink | $(B, 1, S, S)$ | `x` |
# | $k$ | side of the block of parents; it has $m = k^2 - 1$ of them | | `quarter_plane(k)` |
# | $\pi_i$ | pattern of the parents of pixel $i$, zeros outside of the image | $m$ bits | `network.codes(x)` |
# | $\varphi$ | inputs of the law: 1, the pattern, and perhaps the position | $D$ | `network.features(...)` |
# | $w$ | weights of a linear law, bias first | $D$ | `optimum.weights` |
# | $n_u, a_u$ | how often pattern $u$ is seen, and with ink after it, in mean per image | $(U,)$ | `counts.seen, counts.ink` |
# | $L(w)$ | loss: mean negative log-likelihood | nats per image | `optimum.loss` |

# %% tags=["parameters"]
epochs: int = 0  # 0: recall the published runs; n: train n epochs here
subset: int = 0  # 0: all digits; n: train and measure on the first n
seed: int = 0

# %% tags=["hide-input"]
from itertools import pairwise, product

import networkx as nx
import torch
from IPython.display import Markdown
from scipy.optimize import linprog
from torch.nn import functional as F

from companion import figures, graphs
from companion.claims import check
from companion.data import load
from companion.experiments import digit_network
from companion.figures import Explorable, results_table, show, show_source
from companion.measures.digits import pieces
from companion.metrics import mean_of
from companion.models import logistic
from companion.models.logistic import Counts, count, fit, forget, newton
from companion.models.pixels import PixelNetwork, conditional, quarter_plane
from companion.runs import published_seed
from companion.train import train
from companion.worlds import tiny

seed = published_seed(digit_network, seed, epochs)
generator = torch.Generator().manual_seed(seed)

# %% [markdown]
# (sec-digit-networks-graph)=
# ## An image is a Bayesian network once every pixel has parents
#
# Read an image in raster order, and let the parents of a pixel be a few of those that have been read.
# Here they are the three pixels to the left, above, and above to the left.

# %% tags=["hide-input"]
rows, columns = 3, 4
grid = nx.DiGraph()
grid.add_nodes_from(product(range(rows), range(columns)))
for r, c in list(grid):
    for up, left in quarter_plane(2):
        if r >= up and c >= left:
            grid.add_edge((r - up, c - left), (r, c))
chosen = (1, 2)
show(
    figures.draw_graph(
        grid,
        {(r, c): (c, -r) for r, c in grid},
        names={(r, c): f"$x_{{{columns * r + c + 1}}}$" for r, c in grid},
        highlighted=[chosen, *((p, chosen) for p in grid.pred[chosen])],
    ),
    "Twelve pixels as a Bayesian network. The marked pixel has three "
    "parents; a pixel of the first row or column has fewer, and takes what "
    "is missing for paper.",
    alt="A grid of three rows of four nodes; arrows lead to each node from "
    "its left, upper and upper left neighbour.",
    label="fig-digit-networks-grid",
)


# %% tags=["hide-input"]
def cells(side, parents, size=9):
    """Draw a small grid: the last pixel but one, its parents, and the rest."""
    sheet = torch.ones(side, side)
    at = side - 2
    sheet[at, at + 1 :], sheet[at + 1 :] = 0.97, 0.97  # not yet read
    for up, left in parents:
        sheet[at - up, at - left] = 0.6
    sheet[at, at] = 0.0
    sheet = sheet.repeat_interleave(size, 0).repeat_interleave(size, 1)
    sheet[::size], sheet[:, ::size] = 0.8, 0.8
    return F.pad(sheet, (0, 1, 0, 1), value=0.8)


show(
    figures.image_grid(
        torch.stack([cells(6, quarter_plane(k)) for k in (2, 3, 4)])[:, None],
        columns=3,
        titles=[f"{k * k - 1} = {k}² - 1" for k in (2, 3, 4)],
    ),
    "The three neighbourhoods of this chapter: the block of k × k pixels "
    "that ends in the pixel (black), without it. The parents are grey.",
    alt="Three small grids; the parents of a black cell are the grey cells "
    "of the square block above it and to its left.",
    label="fig-digit-networks-blocks",
)

# %% [markdown]
# The homework behind this chapter asks for 3, 8 and 15 parents and draws only the three; the blocks above are our reading of the other two numbers, the one that fits all three.
# Parents outside of the image are 0, that is, paper.
#
# What does such a network define?
#
# :::{prf:theorem} One bet a pixel makes a law, and drawing in order draws from it
# :label: thm-digit-networks-law
# Let every pixel $i$ of an $S \times S$ grid have parents before it in raster order, and let $f_i(\pi_i) \in (0, 1)$ be any functions. Then
#
# $$
# p(x) = \prod_i f_i(\pi_i)^{x_i}\, (1 - f_i(\pi_i))^{1 - x_i}
# $$ (eq-digit-networks-law)
#
# is above zero and sums to 1 over all $2^{S^2}$ images, and drawing $x_i = 1$ with probability $f_i(\pi_i)$, pixel by pixel in raster order, gives an image of this law.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Sum eq. {eq}`eq-digit-networks-law` over the last pixel: no other factor holds it, since it is nobody's parent, and its own factor sums to $f + (1 - f) = 1$.
# 2. What is left is the same product for one pixel less. Repeat until no pixel is left: the sum is 1. Each factor is above zero, so the product is.
# 3. The sum over the pixels after $i$ shows, in the same way, that the first $i$ pixels have the law of the first $i$ factors. So $p(x_i = 1 \mid x_1, \dots, x_{i-1}) = f_i(\pi_i)$.
# 4. By the chain rule, drawing each pixel from its conditional law given all before it draws from $p$; and by step 3 that conditional law needs the parents only.
# :::
#
# The model is thirty lines.
# A pattern of parents is a whole number, one bit for each parent, and a batch of images has few different ones; the law is asked once for each.

# %%
show_source(
    PixelNetwork.codes,
    PixelNetwork.logits_of,
    PixelNetwork.terms,
)

# %% [markdown]
# The first check sums all 512 images of a $3 \times 3$ grid for forty random networks; a wrong version lets a pixel see what it must not.


# %%
def all_images(side):
    """All binary images: (2 ** (side * side), 1, side, side)."""
    n = side * side
    bits = torch.arange(2**n)[:, None] >> torch.arange(n - 1, -1, -1) & 1
    return bits.view(-1, 1, side, side).double()


def random_network(side, k, hidden=(), position=False):
    """A network with weights that are large enough to matter."""
    network = PixelNetwork(
        quarter_plane(k), hidden, position, side=side
    ).double()
    for weight in network.parameters():
        torch.nn.init.normal_(weight, generator=generator)
    return network


# %%
def total(x, logits):
    return (x * logits - F.softplus(logits)).flatten(1).sum(1).exp().sum()


# %%
few = all_images(3)
kinds = list(product((2, 3), ((), (4,)), (False, True))) * 5
networks = [random_network(3, *kind) for kind in kinds]
with torch.no_grad():
    sums = [total(few, net.logits(few)) for net in networks]
    itself = [total(few, net.logits(few.roll(-1, 3))) for net in networks]
    mirrored = [net.logits(few.flip(3)).flip(3) for net in networks]
    pairs = zip(networks, mirrored, strict=True)
    both = [total(few, net.logits(few) + other) for net, other in pairs]
check("thm-digit-networks-law").equal(
    left=torch.stack(sums),
    right=torch.ones(len(networks)).double(),
    wrong={
        "a pixel sees itself": torch.stack(itself),
        "a pixel sees both sides": torch.stack(both),
    },
)

# %% [markdown]
# The second compares 40,000 drawn images with the law, in the probability that two pixels are both ink.
# One wrong version draws every pixel by itself, with the right probability; the other lets the border be ink.

# %%
network = PixelNetwork(quarter_plane(2), side=3).double()
weights = torch.tensor([[2.0, 1.0, -1.5]]).double()  # left, above, both
with torch.no_grad():
    network.conditional[0].weight.copy_(weights)
    network.conditional[0].bias.fill_(-0.8)
    law = torch.exp(-network.terms(few)["nll"])

# %%
flat = few.flatten(1)
together = (flat * law[:, None]).T @ flat  # p(x_i = 1 and x_j = 1)
alone = together.diag()
independent = alone[:, None] * alone + torch.diag(alone - alone**2)


# %%
with torch.no_grad():
    inked = F.pad(few, (1, 0, 1, 0), value=1.0)
    seen = torch.zeros(512, 3, 3).long()
    for j, (up, left) in enumerate(network.parents):
        there = inked[:, 0, 1 - up : 4 - up, 1 - left : 4 - left]
        seen += there.long() << j
    logits = network.logits_of(seen)[:, None]
bordered = (few * logits - F.softplus(logits)).flatten(1).sum(1).exp()
drawn = network.sample(40_000, generator).flatten(1).double()
check("thm-digit-networks-law").unbiased(
    samples=drawn[:, :, None] * drawn[:, None],
    truth=together,
    wrong={
        "each pixel by itself": independent,
        "ink around the image": (flat * bordered[:, None]).T @ flat,
    },
)

# %% [markdown]
# (sec-digit-networks-separation)=
# ## Chapter 2 answers: an anti-diagonal is free, and a few rows say all
#
# That this *is* a Bayesian network can be put to the test: give its tables to `graphs.BayesNet`, and ask there.


# %%
def bayes_net(network):
    """The same law as a table for each pixel, (row, column)."""
    tables, side = {}, network.side
    for r, c in product(range(side), repeat=2):
        inside = [
            (j, (r - up, c - left))
            for j, (up, left) in enumerate(network.parents)
            if r >= up and 0 <= c - left < side
        ]
        bits = torch.tensor([*product((0, 1), repeat=len(inside))]).long()
        codes = (bits << torch.tensor([j for j, _ in inside]).long()).sum(1)
        if network.position:
            codes = codes + (r * side + c << len(network.parents))
        ink = network.logits_of(codes).sigmoid()
        values = torch.stack([1 - ink, ink], 1).view([2] * (len(inside) + 1))
        names = [*(place for _, place in inside), (r, c)]
        tables[r, c] = graphs.Table(values.detach(), names)
    return graphs.BayesNet(tables)


# %%
net = bayes_net(network)
pixels = list(product(range(3), repeat=2))
joint = net.joint().marginal(*pixels).values.flatten()
check("thm-digit-networks-law").equal(
    left=joint,
    right=law,
    how="exhaustive",
    wrong={
        "ink around the image": bordered,
        "rows and columns exchanged": torch.exp(
            -network.terms(few.transpose(2, 3))["nll"]
        ).detach(),
    },
)

# %% [markdown]
# So chapter 2's questions make sense here.
# On a grid of $4 \times 4$ pixels with three parents, which pixels does one need to know to know all that can be known about a pixel in the middle?

# %%
square = bayes_net(random_network(4, 2)).dag
blanket = graphs.markov_blanket(square, (1, 2))
around = {(r, c) for r in (0, 1, 2) for c in (1, 2, 3)} - {(1, 2)}
king = nx.strong_product(nx.path_graph(4), nx.path_graph(4))
moral = graphs.moral(square)
Markdown(
    f"The Markov blanket is the ring of the {len(blanket)} pixels around it "
    f"({'yes' if blanket == around else 'no'}), and the moral graph joins "
    "each pixel with its eight neighbours and no other "
    f"({'yes' if set(moral.edges) == set(king.edges) else 'no'})."
)

# %% [markdown]
# Three parents, but eight pixels in the blanket: children and the other parents of children look back.
#
# Two more questions decide how to draw, and what will go wrong.
# Call the pixels with the same $r + c$ an *anti-diagonal*.
#
# :::{prf:proposition} Fronts and rows
# :label: prop-digit-networks-rows
# Let the parents be the block of side $k$.
# Given all earlier anti-diagonals, the pixels of an anti-diagonal are independent, and the law of each depends on its parents only.
# And given $k - 1$ neighbouring whole rows, all that is above them is independent of all that is below.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. A parent of $(r, c)$ is $(r - a, c - b)$ with $a, b \ge 0$ and $a + b > 0$, so it lies on an earlier anti-diagonal. So anti-diagonal after anti-diagonal is an order in which parents come first.
# 2. The other pixels of the same and of earlier anti-diagonals are therefore no descendants of $(r, c)$. By {prf:ref}`thm-bn-factorisation`, given its parents $(r, c)$ is independent of them all; that is both parts of the first claim.
# 3. For the second claim, let a trail lead from above the rows to below, and take its last node that is not below. The next one is below, and an arrow joins the two. An arrow spans at most $k - 1$ rows, so it cannot lead from above the $k - 1$ rows to below them: the node is in the observed rows.
# 4. Arrows lead down or along a row, so this arrow leads out of the node: the node is no collider on the trail. It is observed, so the trail is blocked, and {prf:ref}`thm-bn-separation` turns separation into independence.
# :::
#
# Chapter 2's program decides it for all anti-diagonals and all rows of a $5 \times 5$ grid.


# %%
def lattice(side, k):
    graph = nx.DiGraph()
    for r, c in product(range(side), repeat=2):
        graph.add_node((r, c))
        for up, left in quarter_plane(k):
            if r >= up and c >= left:
                graph.add_edge((r - up, c - left), (r, c))
    return graph


def fronts(graph, back):
    """Whether the pixels of each anti-diagonal are free, given those before."""
    for front in range(2, 7):
        now = [v for v in graph if sum(v) == front]
        old = [v for v in graph if front - back <= sum(v) < front]
        for v in now:
            yield graphs.d_separated(graph, v, set(now) - {v}, old)


# %%
def strips(graph, thick):
    """Whether rows first..first + thick - 1 part what is above and below."""
    for first in range(1, 5 - max(thick, 1)):
        above = [v for v in graph if v[0] < first]
        strip = [v for v in graph if first <= v[0] < first + thick]
        below = [v for v in graph if v[0] >= first + thick]
        yield graphs.d_separated(graph, above, below, strip)


grids = {k: lattice(5, k) for k in (2, 3, 4)}
told = [[*fronts(g, 9), *[*strips(g, k - 1)][:1]] for k, g in grids.items()]
last = [[*fronts(g, 1), *[*strips(g, k - 1)][:1]] for k, g in grids.items()]
thin = [[*fronts(g, 9), *[*strips(g, k - 2)][:1]] for k, g in grids.items()]
check("prop-digit-networks-rows", kind="exhaustive").holds(
    torch.tensor(told).flatten(),
    wrong={
        "one anti-diagonal back is enough": torch.tensor(last).flatten(),
        "k - 2 rows are enough": torch.tensor(thin).flatten(),
    },
)

# %% [markdown]
# The first claim makes drawing quick: $2 S - 1$ anti-diagonals instead of $S^2$ pixels, and all images at once.

# %%
show_source(PixelNetwork.sample)

# %% [markdown]
# The second is a warning: whatever the lower half of a digit needs to know about the upper one must pass through $k - 1$ rows of ink and paper.
#
# (sec-digit-networks-linear)=
# ## One law for all pixels, and its loss is convex
#
# The simplest law shared by all pixels is linear-sigmoid; with all earlier pixels as parents, and weights of its own for each pixel, it would be the sigmoid network of {cite:t}`frey1996does`:
#
# $$
# P(x_i = 1 \mid \pi_i) = \sigma\big(w_0 + w_1 \pi_{i1} + \dots + w_m \pi_{im}\big) = \sigma(w^\top \varphi_i),
# $$ (eq-digit-networks-linear)
#
# with $\sigma(t) = 1 / (1 + e^{-t})$ and $\varphi_i = (1, \pi_i)$.
# Two further inputs may say where the pixel is: its column and its row, each scaled to $[0, 1]$, from the left and from the top.
# And instead of a linear function a network with hidden layers of width $h$ may turn the inputs into the logit.
#
# :::{prf:proposition} How many parameters
# :label: prop-digit-networks-parameters
# With $m$ parents, $q = 2$ positional inputs or $q = 0$, and hidden layers of widths $h_1, \dots, h_l$, the law has
#
# $$
# \sum_{j=0}^{l} (h_j + 1)\, h_{j+1}, \quad h_0 = m + q, \quad h_{l+1} = 1
# $$ (eq-digit-networks-parameters)
#
# parameters; $m + q + 1$ if it is linear. The number of pixels does not matter.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. A layer from $h_j$ to $h_{j+1}$ numbers has a weight for each pair and a bias for each output: $h_j h_{j+1} + h_{j+1}$.
# 2. The layers follow one another, so their numbers add up.
# 3. All pixels share the law, so nothing is multiplied by $S^2$.
# :::

# %%
sizes = [*product((2, 3, 4), ((), (32,), (32, 32), (5, 7)), (False, True))]


def formula(k, hidden, position, bias=1, q=2):
    widths = [k * k - 1 + q * position, *hidden, 1]
    return sum((a + bias) * b for a, b in pairwise(widths))


counted = [
    sum(w.numel() for w in PixelNetwork(quarter_plane(k), *rest).parameters())
    for k, *rest in sizes
]
check("prop-digit-networks-parameters").equal(
    left=torch.tensor(counted),
    right=torch.tensor([formula(*size) for size in sizes]),
    how="exhaustive",
    wrong={
        "biases forgotten": torch.tensor(
            [formula(*size, bias=0) for size in sizes]
        ),
        "one number for the position": torch.tensor(
            [formula(*size, q=1) for size in sizes]
        ),
    },
)

# %% [markdown]
# To fit, maximise the log-likelihood of the training images; that is, minimise, over all pixels of all images,
#
# $$
# L = -\frac1N \sum_{x} \sum_i \big[ x_i \log P(x_i = 1 \mid \pi_i) + (1 - x_i) \log P(x_i = 0 \mid \pi_i) \big].
# $$ (eq-digit-networks-loss)
#
# A term depends on the pattern and the pixel only.
# So count, for each pattern $u$, how often it is seen, $n_u$, and how often ink follows, $a_u$, both in mean per image.
# With $\log \sigma(z) = z - \log(1 + e^z)$ and $\log(1 - \sigma(z)) = -\log(1 + e^z)$,
#
# $$
# L(w) = \sum_u \big[ n_u \log(1 + e^{z_u}) - a_u z_u \big], \quad z_u = w^\top \varphi_u .
# $$ (eq-digit-networks-counts)
#
# The counts are *sufficient*: 47 million pixels become a table of the patterns that occur, and nothing is lost.
#
# :::{prf:theorem} Gradient and convexity
# :label: thm-digit-networks-concave
# $\nabla L = \sum_u (n_u \sigma(z_u) - a_u)\, \varphi_u$ and $\nabla^2 L = \sum_u n_u\, \sigma(z_u) (1 - \sigma(z_u))\, \varphi_u \varphi_u^\top$.
# So $L$ is convex, and the log-likelihood concave.
# $L$ is strictly convex if and only if the $\varphi_u$ with $n_u > 0$ span $\mathbb R^D$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The derivative of $\log(1 + e^z)$ is $\sigma(z)$, and $z_u$ has the gradient $\varphi_u$: that is $\nabla L$, by the chain rule.
# 2. $\sigma' = \sigma (1 - \sigma)$, which gives $\nabla^2 L$ in the same way.
# 3. For any $v$, $v^\top \nabla^2 L\, v = \sum_u n_u \sigma (1 - \sigma) (v^\top \varphi_u)^2 \ge 0$: $L$ is convex.
# 4. As $0 < \sigma < 1$, the sum is 0 only if $v^\top \varphi_u = 0$ for all $u$ with $n_u > 0$. If these span $\mathbb R^D$ that means $v = 0$; so the Hessian is positive definite everywhere, and $L$ strictly convex.
# 5. If they do not span, some $v \ne 0$ has $v^\top \varphi_u = 0$ for all of them, and $L$ is constant along $v$: not strictly convex.
# :::
#
# Autograd knows nothing of the formula.
# It differentiates eq. {eq}`eq-digit-networks-loss` as it stands, pixel by pixel, at forty random weights.

# %%
pictures = (torch.rand(20, 1, 6, 6, generator=generator) < 0.4).double()
small = PixelNetwork(quarter_plane(3), side=6)
counts = count(small, pictures)
features = logistic.features_of(small, counts)
points = 2 * torch.randn(40, 9, generator=generator).double()


# %%
found, ours, mean, late = [], [], [], []
each = small.features(small.codes(pictures).flatten())
ink = pictures.flatten()
for w in points:
    w.requires_grad_()
    z = each @ w[1:] + w[0]
    loss = -(ink * F.logsigmoid(z) + (1 - ink) * F.logsigmoid(-z))
    found.append(torch.autograd.grad(loss.sum() / 20, w)[0])
    w = w.detach()
    p = torch.sigmoid(features @ w)
    ours.append(features.T @ (counts.seen * p - counts.ink))
    mean.append(features.T @ (p - counts.ink / counts.seen))
    late.append(features.T @ (counts.seen * p * (1 - p) - counts.ink))


# %%
check("thm-digit-networks-concave").equal(
    left=torch.stack(found),
    right=torch.stack(ours),
    how="autograd",
    wrong={
        "patterns not weighted": torch.stack(mean),
        "the slope of the sigmoid twice": torch.stack(late),
    },
)

# %% [markdown]
# Convexity is checked at the middle of 200 pairs of weights; in every second pair the weights differ only along a direction that no pattern sees, and there the loss must be flat.
# A squared error in place of the logarithm fails, and so does a hidden unit.

# %%
blind = torch.cat([features, features[:, 1:2]], 1)  # one input twice
ends = 3 * torch.randn(2, 200, 10, generator=generator).double()
unseen = torch.zeros(10).double()
unseen[1], unseen[-1] = 1.0, -1.0
ends[1, ::2] = ends[0, ::2] + unseen
share = counts.ink / counts.seen


# %%
def losses(weights):
    return torch.stack([logistic.loss_of(blind, counts, w) for w in weights])


def squares(weights):
    p = torch.sigmoid(weights @ blind.T)
    return (counts.seen * (share - p) ** 2).sum(1)


def hidden_unit(weights):
    z = 3 * torch.tanh(weights[:, :9] @ features.T) * weights[:, 9:]
    return (counts.seen * F.softplus(z) - counts.ink * z).sum(1)


# %%
def chords(loss):
    return loss(ends.mean(0)), (loss(ends[0]) + loss(ends[1])) / 2


flat_pairs = torch.arange(200) % 2 == 0
check("thm-digit-networks-concave").at_most(
    *chords(losses),
    equal_where=flat_pairs,
    wrong={
        "squared error": chords(squares),
        "one hidden unit": chords(hidden_unit),
    },
)

# %% [markdown]
# (sec-digit-networks-exists)=
# ## Sometimes there is no best: the optimum escapes to infinity
#
# A convex function need not have a minimum.
#
# :::{prf:theorem} When the maximum of the likelihood exists
# :label: thm-digit-networks-exists
# Let the $\varphi_u$ with $n_u > 0$ span $\mathbb R^D$.
# Call $v \ne 0$ *separating* if $v^\top \varphi_u \ge 0$ wherever ink was seen ($a_u > 0$) and $v^\top \varphi_u \le 0$ wherever paper was seen ($a_u < n_u$).
# $L$ has a minimum if and only if no $v$ is separating; it is then unique.
# If $v$ is separating, $L(w + t v)$ falls for ever as $t$ grows, from every $w$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The slope along $v$ is $\sum_u (n_u \sigma - a_u)\, v^\top \varphi_u = \sum_u \big[ (n_u - a_u)\, \sigma\, v^\top \varphi_u - a_u (1 - \sigma)\, v^\top \varphi_u \big]$.
# 2. If $v$ is separating, both parts of every term are $\le 0$. All are 0 only if $v^\top \varphi_u = 0$ for every $u$, since each pattern was seen with ink or with paper; that contradicts the span. So the slope is below 0 at every $w$, and no $w$ is a minimum.
# 3. If none is separating, every unit vector $v$ has a pattern $u$ with $a_u > 0$ and $v^\top \varphi_u < 0$, or with $a_u < n_u$ and $v^\top \varphi_u > 0$. Let $\delta(v) > 0$ be the largest of the terms $-a_u v^\top \varphi_u$ and $(n_u - a_u) v^\top \varphi_u$.
# 4. $\delta$ is continuous on the unit sphere, which is compact, so it has a least value $\delta > 0$.
# 5. A term of $L$ is $a_u \log(1 + e^{-z_u}) + (n_u - a_u) \log(1 + e^{z_u})$. As $\log(1 + e^{z}) \ge \max(0, z)$, all its parts are $\ge 0$, and $L(t v) \ge t\, \delta(v) \ge t\, \delta$.
# 6. So $L$ exceeds $L(0)$ outside of a ball. On the ball it is continuous and has a least value, which is a minimum everywhere. By {prf:ref}`thm-digit-networks-concave` it is the only one.
# :::
#
# This is the theorem of Albert and Anderson {cite:p}`albert1984existence`.
# For the check, a linear program looks for a separating direction, and Newton's method for an optimum, each without knowing of the other: 80 random sets of counts, with two bits and a one.
# Wrong versions ask that the separation be strict, or only that ink and paper were both seen.


# %%
def direction(features, counts, strict):
    """Whether some v separates, by a linear program."""
    signed = torch.cat(
        [features[counts.ink > 0], -features[counts.ink < counts.seen]]
    ).numpy()
    goal = 0 * signed.sum(0) if strict else -signed.sum(0)
    least = 1.0 if strict else 0.0
    found = linprog(
        goal, -signed, [-least] * len(signed), bounds=[(-9, 9)] * 3
    )
    return found.status == 0 and (strict or found.fun < -1e-6)


corners = torch.tensor([*product((1.0,), (0, 1), (0, 1))]).double()
weak, strong, mixed, reached = [], [], [], []
for _ in range(80):
    times = torch.randint(1, 4, (4,), generator=generator).double()
    marked = (times * torch.rand(4, generator=generator) * 1.6 - 0.3).round()
    marked = torch.minimum(marked.clamp(min=0), times)
    few_counts = Counts(torch.arange(4), times, marked)
    reached.append(newton(corners, few_counts).certified)
    weak.append(not direction(corners, few_counts, False))
    strong.append(not direction(corners, few_counts, True))
    mixed.append(bool(0 < few_counts.ink.sum() < times.sum()))

# %%
reached = torch.tensor(reached)
check("thm-digit-networks-exists").holds(
    reached == torch.tensor(weak),
    wrong={
        "only strict separation matters": reached == torch.tensor(strong),
        "ink and paper are enough": reached == torch.tensor(mixed),
    },
    how="random instances",
)

# %% [markdown]
# On purpose: the 15-parent law with position, fitted to the *two* most probable images of the tiny world, of $4 \times 4$ pixels, that has a section of its own below.

# %%
world = tiny.tiny_digits()
pair = tiny.decode(world.probs.topk(2).indices)
crowded = PixelNetwork(quarter_plane(4), position=True, side=4)
seen = count(crowded, pair)
lonely = newton(logistic.features_of(crowded, seen), seen, 25)
steps = torch.arange(len(lonely.trace))
runaway = torch.tensor(lonely.trace)
Markdown(
    f"Certified: **{'yes' if lonely.certified else 'no'}**. "
    f"After {steps[-1]} steps of Newton's method the weights have the norm "
    f"{runaway[-1, 2]:.0f}, and still grow; the gradient's is "
    f"{runaway[-1, 1]:.0e}."
)

# %% tags=["hide-input"]
show(
    figures.curves(
        {
            "norm of the weights": (steps, runaway[:, 2]),
            "norm of the gradient": (steps, runaway[:, 1]),
        },
        "Newton step",
        "value",
        scales=("linear", "log"),
        alt="The norm of the weights climbs while that of the gradient falls.",
    ),
    "Two images are separable: with every step the gradient falls, the "
    "weights grow, and nothing is ever reached.",
    label="fig-digit-networks-escape",
)

# %% [markdown]
# A small gradient alone proves nothing, then: here it falls below $10^{-8}$, where we would stop, and there is no optimum to be near.
#
# (sec-digit-networks-certificate)=
# ## A certificate: no weights are better by more than $10^{-15}$ nats
#
# When may one stop, and say that the optimum is reached?
#
# :::{prf:theorem} Certificate of an optimum
# :label: thm-digit-networks-certificate
# At some $w$, let $g$ be the norm of $\nabla L$, let $\mu > 0$ be the least eigenvalue of $\nabla^2 L$, and let $R \ge \lVert \varphi_u \rVert$ for all $u$.
# If $2 e R g < \mu$, then $L$ has a minimum within $1 / R$ of $w$, and
#
# $$
# L(w) - \min L \le \frac{e\, g^2}{2 \mu}.
# $$ (eq-digit-networks-certificate)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The derivative of $\log \sigma'(z)$ is $1 - 2 \sigma(z)$, of size at most 1. So $\sigma'(z + \delta) \ge e^{-|\delta|} \sigma'(z)$.
# 2. For $\lVert v \rVert \le 1 / R$, each $z_u$ changes by $|v^\top \varphi_u| \le 1$ from $w$ to $w + v$; so on the way every term of the Hessian, and the Hessian as a quadratic form, is at least $1 / e$ of what it is at $w$.
# 3. Taylor's formula with this bound: $L(w + v) \ge L(w) - g \lVert v \rVert + \frac{\mu}{2 e} \lVert v \rVert^2$.
# 4. On the sphere $\lVert v \rVert = 1 / R$ the right side exceeds $L(w)$, because $\frac{\mu}{2 e R} > g$. So $L$ is larger on that sphere than in its centre; its least value on the ball lies inside, and as $L$ is convex, it is the minimum everywhere.
# 5. The right side of step 3 is at least $L(w) - e g^2 / (2 \mu)$, its least value over all lengths.
# :::
#
# Step 1 is the property of the logistic loss that is called self-concordance {cite:p}`bach2010self`.
# So two numbers that a computer prints, $g$ and $\mu$, prove that the optimum exists, which is more than a long run of an optimizer ever proves.
# The check steps away from known optima along the flattest direction; wrong versions read the Hessian's largest eigenvalue, or a gradient per weight.

# %%
gaps, bounds, steep, thin = [], [], [], []
for trial in range(40):
    some = (torch.rand(30, 1, 6, 6, generator=generator) < 0.4).double()
    tried = count(small, some)
    best = newton(features_some := logistic.features_of(small, tried), tried)
    hessian = logistic.slopes(features_some, tried, best.weights)[1]
    flattest = torch.linalg.eigh(hessian)[1][:, 0]
    w = best.weights + 0.02 * (1 + trial / 40) * flattest
    gradient, hessian = logistic.slopes(features_some, tried, w)
    g, spectrum = gradient.norm(), torch.linalg.eigvalsh(hessian)
    assert 2 * torch.e * best.radius * g < spectrum[0]
    gaps.append(logistic.loss_of(features_some, tried, w) - best.loss)
    bounds.append(torch.e * g**2 / (2 * spectrum[0]))
    steep.append(torch.e * g**2 / (2 * spectrum[-1]))
    thin.append(torch.e * (g / len(w)) ** 2 / (2 * spectrum[0]))


# %%
gaps = torch.stack(gaps)
check("thm-digit-networks-certificate").at_most(
    gaps,
    torch.stack(bounds),
    wrong={
        "the largest eigenvalue": (gaps, torch.stack(steep)),
        "the gradient per weight": (gaps, torch.stack(thin)),
    },
)

# %% [markdown]
# Now the real thing: Newton's method in double precision on all training digits, for every neighbourhood, without and with position.
# The images are counted once, for the network that sees most; the counts of the others are sums of these.

# %%
show_source(newton)

# %%
data = load("persian")
x, labels = data.examples("train", subset)
test, test_labels = data.examples("test", subset or 5000)
sizes = f"{len(x):,} training and {len(test):,} test digits"
Markdown(f"{sizes}, source: {data.source}.")

# %% [markdown]
# The original is the Hoda set of digits from Iranian forms {cite:p}`khosravi2007introducing`.

# %%
largest = PixelNetwork(quarter_plane(4), position=True)
counted = count(largest, x)
linear, optimum, floors = {}, {}, {}
for k, position in product((2, 3, 4), (False, True)):
    network = PixelNetwork(quarter_plane(k), position=position)
    needed = forget(counted, largest, network)
    linear[k, position] = network
    optimum[k, position] = fit(network, needed)
    floors[k, position] = logistic.entropy(needed)
results_table(
    [
        {
            "parents": k * k - 1,
            "position": "yes" if position else "no",
            "rows": len(forget(counted, largest, linear[k, position]).codes),
            "training nats": o.loss,
            "gradient": f"{o.gradient:.0e}",
            "least curvature": o.curvature,
            "at most from the best": f"{o.gap:.0e}",
        }
        for (k, position), o in optimum.items()
    ]
)

# %% [markdown]
# Each row is a proof: the gradient is at most $10^{-8}$, and by {prf:ref}`thm-digit-networks-certificate` no weights whatever do better by more than the last column, in nats per image.
#
# (sec-digit-networks-neighbours)=
# ## Eight neighbours beat three, and fifteen beat eight, but less
#
# On the training images more parents cannot hurt.
#
# :::{prf:proposition} Nested families cannot lose training likelihood
# :label: prop-digit-networks-nested
# Let every law of a family $\mathcal A$ be a law of the family $\mathcal B$.
# Then $\inf_{\mathcal B} L \le \inf_{\mathcal A} L$ on the same images.
# For linear laws: further parents, and position, never raise the least training loss.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The infimum over a larger set is not larger.
# 2. A linear law with fewer inputs is one with more whose new weights are 0, so the families are nested.
# :::
#
# Of other images it says nothing, and there it fails, as the first wrong version shows: 40 sets of 24 noisy images, fitted, and read on others.

# %%
wide, narrow = (PixelNetwork(quarter_plane(k), side=6) for k in (3, 2))
inside, outside = [], []
noise = (torch.rand(2, 40, 24, 1, 6, 6, generator=generator) < 0.4).double()
for first, other in zip(*noise, strict=True):
    inside.append([fit(net, count(net, first)).loss for net in (wide, narrow)])
    with torch.no_grad():
        read = [net.terms(other)["nll"].mean() for net in (wide, narrow)]
    outside.append(torch.stack(read))
inside = torch.tensor(inside, dtype=torch.float64).T
outside = torch.stack(outside).T
check("prop-digit-networks-nested").at_most(
    *inside,
    wrong={
        "on other images too": tuple(outside),
        "fewer parents are better": tuple(inside.flip(0)),
    },
)

# %% [markdown]
# What do they cost on the test digits, which no network has seen?
# Beside them stands a model without any parents: 784 independent pixels, each with its own frequency of ink (with half a count added, as some pixels never see any).
# All numbers are for the same images, so differences have small errors.


# %%
@torch.no_grad()
def nats(network, images):
    """Nats of each image, (N,)."""
    parts = [network.terms(part)["nll"] for part in images.split(500)]
    return torch.cat(parts).double()


ink = (x.sum(0) + 0.5) / (len(x) + 1)
log_odds = torch.log(ink / (1 - ink)).expand_as(test)
alone = F.binary_cross_entropy_with_logits(log_odds, test, reduction="none")
cost = {"independent pixels": alone.flatten(1).sum(1).double()}
for k, position in linear:
    name = f"{k * k - 1} parents" + ", position" * position
    cost[name] = nats(linear[k, position], test)
table, before = [], None
for name in ("independent pixels", "3 parents", "8 parents", "15 parents"):
    row = {"model": name, "test nats": mean_of(cost[name])}
    if before is not None:
        row["gain over the row above"] = mean_of(before - cost[name])
    before = cost[name]
    table.append(row)
results_table(table)

# %% [markdown]
# The order is that of the number of parents, and each gain is many of its standard errors.
# For binary Persian digits we know of no published likelihood, so none stands beside ours; the official test part is easier than the training part for every model, so test nats below training nats are no mistake.
#
# (sec-digit-networks-faults)=
# ## It draws strokes, and forgets how they began
#
# Drawing ten thousand digits takes a moment.

# %%
torch.manual_seed(seed)
drawn = {"test digits": test[:2000]}
drawn["independent pixels"] = torch.bernoulli(ink.expand(2000, -1, -1, -1))
for k in (2, 3, 4):
    drawn[f"{k * k - 1} parents"] = linear[k, False].sample(2000)

# %% tags=["hide-input"]
show(
    figures.image_rows({name: many[:12] for name, many in drawn.items()}),
    "Test digits, and draws of the four models. With 3 parents strokes "
    "hold together for a few pixels; with 15 they have a width and bend "
    "smoothly, but lead nowhere.",
    alt="Five rows of twelve images: digits, dust, and three rows of "
    "strokes that become smoother.",
    label="fig-digit-networks-drawn",
)

# %% [markdown]
# Locally the strokes are right; the whole is no digit.
# That is {prf:ref}`prop-digit-networks-rows` at work: a stroke that began ten rows above is remembered only through the rows between.
# A number that likelihood does not show makes the fault plain: a digit is nearly always one connected piece of ink.

# %%
results_table(
    [
        {
            "images": name,
            "pieces of ink": mean_of(pieces(many).double()),
            "pixels of ink": mean_of(many.flatten(1).sum(1)),
        }
        for name, many in drawn.items()
    ]
)

# %% [markdown]
# The draws fall into too many pieces.
# And even their ink can be wrong, although the fit seems to forbid it: at the optimum the slope of the bias is 0, so the mean ink *predicted from real pixels* is the mean ink seen.
# But a draw looks at its own pixels, and what it sees there, real digits never showed.
#
# (sec-digit-networks-blind)=
# ## The block is blind on its right side
#
# Look at the drawn strokes again: they lean to the left, like `\`, and those of digits lean to the right, like `/`, as often.
# No block has a pixel above and to the *right*, although it has been read.
# A stroke that comes down from the upper right meets pixels that have seen nothing of it; each of them must bet on ink out of nothing.
#
# So take 15 parents of a half-plane instead: three to the left, and six in each of the two rows above, from three columns left to two columns right.
# The number of parents and of weights is the same, and the fit is certified in the same way.
# (Anti-diagonals no longer come in order; the sampler's fronts are steeper, 3 columns a row.)

# %%
half = [(0, left) for left in (1, 2, 3)]
half += [(up, left) for up in (1, 2) for left in range(-2, 4)]
half_plane = PixelNetwork(tuple(half))
best = fit(half_plane, count(half_plane, x))
looked = nats(half_plane, test)

# %%
torch.manual_seed(seed)
both_sides = half_plane.sample(2000)
results_table(
    [
        {
            "15 parents": name,
            "test nats": mean_of(values),
            "pieces of ink": mean_of(pieces(many).double()),
        }
        for name, values, many in (
            ("block", cost["15 parents"], drawn["15 parents"]),
            ("half-plane", looked, both_sides),
        )
    ]
)

# %% tags=["hide-input"]
gain = mean_of(cost["15 parents"] - looked)
show(
    figures.image_grid(both_sides[:24], columns=12),
    "Draws of the linear law of the half-plane: fewer and larger pieces "
    "with smooth outlines, leaning both ways. It bets far better, and draws "
    "no digits.",
    alt="Two rows of twelve images of blots and short strokes.",
    label="fig-digit-networks-half-plane",
)

# %%
Markdown(
    f"The upper right is worth **{gain}** nats an image, certified optimum "
    f"against certified optimum (gap at most {best.gap:.0e})."
)

# %% [markdown]
# *Which* pixels a law sees matters more here than how many.
# The sheet's three parents have this blindness, and so have our readings of 8 and 15; an exercise asks how far to the right one has to look.
#
# (sec-digit-networks-position)=
# ## A shared law cannot know where the digit stands
#
# :::{prf:theorem} Translations cost nothing
# :label: thm-digit-networks-translation
# Take a network without position, with blocks of side $k$, on an $S \times S$ grid, and let $\tau x$ be $x$ moved $a \ge 0$ rows down and $b \ge 0$ columns to the right.
# If the last $k - 1 + a$ rows and the last $k - 1 + b$ columns of $x$ hold no ink, $p(\tau x) = p(x)$.
#
# So if the box around the ink has $h$ rows and $w$ columns and lies clear of the last $k - 1$ rows and columns, the image is one of
#
# $$
# N(x) = (S - k + 2 - h)\, (S - k + 2 - w)
# $$ (eq-digit-networks-places)
#
# equally probable ones.
# For a set of images that holds each shape in one place only, $q(x) = N(x)\, p(x)$ sums to at most 1.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\log p(x) = \sum_i \ell(x_i, \pi_i)$ with one function $\ell$ for all pixels.
# 2. Continue $x$ by paper over the whole plane. A pixel of the plane has a term other than $\ell_0 = \ell(0, \text{no ink})$ only if there is ink in it or in its block, so only if it lies at most $k - 1$ rows below and $k - 1$ columns to the right of some ink, never above or left of all ink.
# 3. By assumption all such pixels are in the grid, for $x$ and for $\tau x$. And the border rule makes patterns in the grid those of the plane.
# 4. So $\log p(x) = S^2 \ell_0 + \sum_{\text{plane}} (\ell - \ell_0)$, and the sum over the plane does not change when the image moves.
# 5. The box can stand at $S - (k - 1) - h + 1$ heights and at as many places across with $w$ for $h$; each two of these images are translates in the sense of the first part, by way of the one at the upper left.
# 6. The translates of different shapes are different images, and $N(x)$ of them have the probability $p(x)$. So $\sum q$ is the probability of some set of images.
# :::
#
# The first check moves 100 random shapes under random networks; the second counts all images of a $4 \times 4$ grid.

# %%
shapes = torch.zeros(100, 1, 12, 12).double()
shapes[..., :5, :5] = (torch.rand(100, 1, 5, 5) < 0.5).double()
moved = shapes.roll((3, 2), (2, 3))
left, right, edge, mirror, known = [], [], [], [], []
for i, hidden in enumerate(((), (6,), (6, 4), ()) * 25):
    net = random_network(12, 2 + i % 3, hidden)
    placed = random_network(12, 2 + i % 3, hidden, True)
    one, other = shapes[i : i + 1], moved[i : i + 1]
    left.append(nats(net, one))
    right.append(nats(net, other))
    edge.append(nats(net, one.roll((7, 7), (2, 3))))
    mirror.append(nats(net, other.flip(3).roll(-3, 3)))
    known.append(left[-1] + nats(placed, other) - nats(placed, one))
check("thm-digit-networks-translation").equal(
    left=torch.cat(left),
    right=torch.cat(right),
    wrong={
        "up to the last row and column": torch.cat(edge),
        "a mirror image, too": torch.cat(mirror),
        "with position": torch.cat(known),
    },
)


# %%
def places(images, k):
    """N(x) of each image; 1 where the theorem does not apply."""
    side, free = images.shape[2], images.shape[2] - k + 2
    spans, clear = [], torch.ones(len(images), dtype=torch.bool)
    for axis in (3, 2):
        lines = images.amax((1, axis)) > 0  # (N, side)
        first = lines.int().argmax(1)
        last = side - 1 - lines.flip(1).int().argmax(1)
        clear &= (last < side - k + 1) & lines.any(1)
        spans.append((free - (last - first + 1)).clamp(min=1))
    return torch.where(clear, spans[0] * spans[1], 1).double()


# %%
everything = all_images(4)
corner = (everything[:, 0, 0].amax(1) > 0) & (
    everything[:, 0, :, 0].amax(1) > 0
)
sums, room, tight, rows_only = [], [], [], []
for k, hidden in product((2, 3), ((), (4,), (4, 4), (8,))):
    p = torch.exp(-nats(random_network(4, k, hidden), everything))
    far = everything[:, 0, 5 - k :].sum((1, 2)) + everything[
        :, 0, :, 5 - k :
    ].sum((1, 2))
    held = (far == 0) & (everything.sum((1, 2, 3)) > 0)
    shape = corner & held
    sums.append(p[held].sum())
    room.append((places(everything, k) * p)[shape].sum())
    tight.append((places(everything, k + 1) * p)[shape].sum())
    rows_only.append((places(everything, k).sqrt() * p)[shape].sum())
check("thm-digit-networks-translation").equal(
    left=torch.stack(sums),
    right=torch.stack(room),
    wrong={
        "one place less each way": torch.stack(tight),
        "one way only": torch.stack(rows_only),
    },
)

# %% [markdown]
# Our digits stand in the middle of their frames, each shape in one place.
# So without training anything, the law $q(x) = N(x)\, p(x)$ is better than $p$ by $\log N(x)$ nats on *every* image.
# That is the price of not knowing the place; position as an input can win it back, if the law can use it.

# %%
worth = {k: places(test, k).log() for k in (2, 3, 4)}
results_table(
    [
        {
            "parents": k * k - 1,
            "without": mean_of(cost[f"{k * k - 1} parents"]),
            "price of the place": mean_of(worth[k]),
            "gain of a linear position": mean_of(
                cost[f"{k * k - 1} parents"]
                - cost[f"{k * k - 1} parents, position"]
            ),
        }
        for k in (2, 3, 4)
    ]
)

# %% [markdown]
# With 3 and 8 parents a linear law wins back only a part: it can say that ink is rarer further down or further right, but "rarer near all four edges" is not linear in the position.
# With 15 parents the theorem needs three clear rows and columns, and most frames leave two, so that its price is counted for few digits and is only a lower bound.
# The picture shows how often each pixel is ink.

# %% tags=["hide-input"]
torch.manual_seed(seed)
maps = {"test digits": test.mean(0)}
maps["linear"] = linear[4, False].sample(4000).mean(0)
maps["linear, position"] = linear[4, True].sample(4000).mean(0)


# %% [markdown]
# (sec-digit-networks-hidden)=
# ## A hidden layer sees combinations
#
# Nothing in the theorems on laws and translations needs linearity.
# A law with hidden layers can answer to combinations: "ink above and to the left, but not at the corner".
# Its loss is no longer convex, and nothing is certified; it is trained by Adam {cite:p}`kingma2015adam` on batches of 64 digits, three epochs, with 32 units in each layer.

# %%
show_source(conditional)


# %%
def run(**choices):
    found = train(digit_network, epochs, seed, subset, **choices)
    found.model.cpu()
    return found


def sheet(images, across=8):
    """Join images (N, 1, 28, 28) with pixels in [0, 1] to one picture."""
    lines = [torch.cat(list(row[:, 0]), 1) for row in images.split(across)]
    return torch.cat(lines).float()


names = {0: "linear", 1: "1 hidden layer", 2: "2 hidden layers"}
runs, models = {}, {(0, k, p): net for (k, p), net in linear.items()}
for layers, k, position in product((1, 2), (2, 3, 4), (False, True)):
    choices = {"parents": k * k - 1, "layers": layers, "position": position}
    runs[layers, k, position] = run(**choices)
    models[layers, k, position] = runs[layers, k, position].model
paid = {key: nats(network, test) for key, network in models.items()}

# %% tags=["hide-input"]
ends = [[row["test/nll"] for row in one.history][-2:] for one in runs.values()]
gained = [end[0] - end[-1] for end in ends]
Markdown(
    f"In their last epoch the twelve gained from {min(gained):.2f} to "
    f"{max(gained):.2f} test nats, while the learning rate fell to nearly "
    "nothing: those that gained most are not at their best yet."
)

# %% [markdown]
# Here is the whole table, linear laws at their certified optimum, on the same test digits.

# %%
table = []
for k, layers in product((2, 3, 4), (0, 1, 2)):
    both = {p: paid[layers, k, p] for p in (False, True)}
    row = {"parents": k * k - 1, "law": names[layers]}
    for position, word in ((False, "without"), (True, "with")):
        network = models[layers, k, position]
        row[f"parameters, {word}"] = sum(
            w.numel() for w in network.parameters()
        )
        row[f"nats, {word} position"] = mean_of(both[position])
    row["gain of position"] = mean_of(both[False] - both[True])
    table.append(row)
results_table(table)

# %%
best_key = min(paid, key=lambda key: paid[key].mean())
Markdown(
    f"The best of the eighteen pays {mean_of(paid[best_key])} nats. "
    "The linear law of the half-plane, with its 16 numbers, pays "
    f"{mean_of(looked)}; the difference is "
    f"**{mean_of(paid[best_key] - looked)}**."
)

# %% tags=["hide-input"]
torch.manual_seed(seed)
maps["2 layers, position"] = models[2, 4, True].sample(4000).mean(0)
show(
    figures.image_grid(
        torch.stack([*maps.values()]), columns=4, titles=list(maps)
    ),
    "How often each pixel is ink, 15 parents. Without position ink lies everywhere but "
    "at the border of zeros above and to the left; a linear position tilts "
    "it; hidden layers bring it to the middle.",
    alt="Four grey maps: a bright blot in the middle, a nearly even plane, "
    "a tilted plane, and a blot in the middle.",
    label="fig-digit-networks-maps",
)

# %% [markdown]
# How far could a law of these parents go at all?
# Without position the best shared law whatever, with any number of layers, gives each pattern the frequency of ink that was counted after it; its training loss is an entropy, and a floor.

# %%
trained = {}
for layers, k in product((0, 1, 2), (2, 3, 4)):
    network = models[layers, k, False].double()
    needed = forget(counted, largest, network)
    with torch.no_grad():
        z = network.logits_of(needed.codes)
    trained[layers, k] = (needed.seen @ F.softplus(z) - needed.ink @ z).item()
results_table(
    [
        {"parents": k * k - 1}
        | {f"{names[layers]}": trained[layers, k] for layers in (0, 1, 2)}
        | {"floor": floors[k, False]}
        for k in (2, 3, 4)
    ]
)

# %% [markdown]
# These are training nats per image.
# The three parents have only eight patterns, and one hidden layer is enough for them; with fifteen there are thousands, and the networks come near the floor and do not reach it.
#
# The next picture draws from all eighteen.

# %% tags=["hide-input"]
torch.manual_seed(seed)
networks = {
    f"{k * k - 1} parents, {names[n]}": (n, k)
    for k, n in product((2, 3, 4), names)
}


def drawn_by(network, position):
    """Draw 24 images from one of the eighteen networks."""
    layers, k = networks[network]
    return sheet(models[layers, k, position == "with"].sample(24))


# %% tags=["hide-input"]
Explorable(
    [[drawn_by(name, p) for p in ("without", "with")] for name in networks],
    (list(networks), ["without", "with"]),
    ("network", "position"),
    alt="Three rows of eight drawn images, more and more like digits.",
    caption="Twenty-four draws of each of the eighteen networks. Position "
    "with hidden layers brings the ink to the middle; fifteen parents make "
    "strokes of even width.",
    start=(8, 1),
    live=figures.Live(drawn_by, again=True),
)

# %%
judged = [
    (0, 4, False),
    (0, 4, True),
    (1, 4, True),
    (2, 4, False),
    (2, 4, True),
]
torch.manual_seed(seed)
table = [
    {"model": "test digits", "pieces of ink": mean_of(pieces(test).double())}
]
for layers, k, position in judged:
    many = models[layers, k, position].sample(2000)
    name = f"{k * k - 1} parents, {names[layers]}" + ", position" * position
    found = mean_of(pieces(many).double())
    table.append({"model": name, "pieces of ink": found})
results_table(table)

# %% [markdown]
# Better bets, better strokes, and fewer pieces, but still more than one: more layers see more in the same block, and no layer sees beyond it.
# The cure of the long-range fault is a wider context, and a law that can use it; the next chapter's Image GPT lets every pixel see all that were read before.
#
# (sec-digit-networks-training)=
# ## Stochastic gradients reach the optimum, nearly
#
# The homework trains the linear law, too, by SGD or Adam.
# Because its optimum is known, we can say how much that leaves on the table.
# Two hundred steps by hand, batches of 64, fifteen parents without position:


# %% tags=["show-input"]
def descend(optimizer, steps=200, **settings):
    """Train the linear law; its distance from the optimum, step by step."""
    torch.manual_seed(seed)
    network = PixelNetwork(quarter_plane(4))
    needed = forget(counted, largest, network)
    inputs = logistic.features_of(network, needed)
    law = network.float().conditional[0]
    chosen, gaps = optimizer(network.parameters(), **settings), []
    for _ in range(steps):
        batch = x[torch.randint(len(x), (64,))]
        chosen.zero_grad()
        network.terms(batch)["nll"].mean().backward()
        chosen.step()
        w = torch.cat([law.bias, law.weight[0]]).detach().double()
        loss = logistic.loss_of(inputs, needed, w).item()
        gaps.append(loss - optimum[4, False].loss)
    return gaps


# %% tags=["hide-input"]
ways = {
    "Adam, rate 0.02": descend(torch.optim.Adam, lr=0.02),
    "SGD, rate 0.01": descend(torch.optim.SGD, lr=0.01),
}
passes = torch.arange(1, 201) * 64 / len(x)
show(
    figures.curves(
        {name: (passes, gaps) for name, gaps in ways.items()},
        "epochs",
        "nats per image above the optimum",
        scales=("linear", "log"),
        alt="Two falling curves on a logarithmic axis.",
    ),
    "The first fifth of an epoch. SGD is at once near the optimum in the "
    "steep directions and then creeps along the flat ones; Adam starts more "
    "slowly.",
    label="fig-digit-networks-descent",
)

# %%
table = []
choices = {"parents": 15, "layers": 0, "position": False}
for name, more in {
    "Adam": {},
    "SGD": {"optimizer": "sgd", "rate": 0.01},
}.items():
    one = run(**choices, **more)
    network = one.model.double()
    needed = forget(counted, largest, network)
    with torch.no_grad():
        z = network.logits_of(needed.codes)
    loss = needed.seen @ F.softplus(z) - needed.ink @ z
    gap = loss.item() - optimum[4, False].loss
    row = {"optimizer": name, "epochs": one.epochs}
    table.append(row | {"nats above the optimum": f"{gap:.2g}"})
results_table(table)

# %% [markdown]
# SGD ends within a thousandth of a nat of the proved optimum; Adam, at the rate that suits hidden layers, within a tenth.
# Without the certificate nobody could have said so.
#
# And this is what the sheet wants to be watched: digits drawn after every epoch, always from the same random numbers.

# %% tags=["hide-input"]
watched = {
    "3 parents, 1 hidden layer": runs[1, 2, False],
    "8 parents, 2 hidden layers, position": runs[2, 3, True],
    "15 parents, 2 hidden layers, position": runs[2, 4, True],
}
common = sorted(
    set.intersection(*(set(r.snapshots) for r in watched.values()))
)
Explorable(
    [
        [sheet(one.snapshots[epoch] / 255) for epoch in common]
        for one in watched.values()
    ],
    (list(watched), [str(epoch) for epoch in common]),
    ("network", "after epoch"),
    alt="Three rows of eight drawn images, sharper with each epoch.",
    caption="The same random numbers after each epoch. Most is learned in "
    "the first one.",
    start=(2, len(common) - 1),
)

# %% [markdown]
# (sec-digit-networks-classes)=
# ## One network for each class, and ten together
#
# If the digit is known, ten networks can each learn one.
# Each is a linear law with position and eight parents, which this time look to the upper right as well: two to the left, and three in each of the two rows above.
# Each is fitted to the certificate on the images of its class alone.

# %%
torch.manual_seed(seed)
eight = [(0, 1), (0, 2), *((up, c) for up in (1, 2) for c in (-1, 0, 1))]
of_class, worst, share = {}, 0.0, torch.bincount(labels, minlength=10)
of_all = PixelNetwork(tuple(eight), position=True)
fit(of_all, count(of_all, x))
for digit in range(10):
    network = PixelNetwork(tuple(eight), position=True)
    best = fit(network, count(network, x[labels == digit]))
    of_class[digit], worst = network, max(worst, best.gap)
Markdown(
    f"The loosest of the ten certificates: {worst:.0e} nats from the best."
)

# %% tags=["hide-input"]
by_class = torch.stack([of_class[d].sample(6) for d in range(10)], 1)
show(
    figures.image_grid(
        by_class.flatten(0, 1), columns=10, titles=list(data.class_names)
    ),
    "Six draws of the network of each class. They have the weight and the "
    "slant of their class, ۰ much ink and ۱ one stroke or none, and are "
    "still no digits.",
    alt="Six rows of ten drawn digits, a column for each class.",
    label="fig-digit-networks-classes",
)

# %% [markdown]
# With $p(y)$ the share of class $y$, the ten are one law of images, $p(x) = \sum_y p(y)\, p(x \mid y)$, and a classifier by Bayes' rule.

# %%
few_test, few_labels = test[:2000], test_labels[:2000]
log_prob = -torch.stack([nats(of_class[d], few_test) for d in range(10)], 1)
with_class = log_prob + (share / share.sum()).log()
known = -log_prob[torch.arange(len(few_test)), few_labels]
mixture = -torch.logsumexp(with_class, 1)
one = nats(of_all, few_test)
right = (with_class.argmax(1) == few_labels).double()
Markdown(
    f"Nats per image, class known: **{mean_of(known)}**; class summed out: "
    f"**{mean_of(mixture)}**; one network for all classes: "
    f"**{mean_of(one)}**. "
    f"The ten as a classifier are right on {100 * right.mean():.1f} % of "
    f"{len(few_test):,} test digits."
)

# %% [markdown]
# The sum over ten classes is a law with a memory of its own: which network draws is decided before the first pixel, and holds to the last.
# It is the smallest of latent variables, and it pays.
#
# (sec-digit-networks-tiny)=
# ## In the tiny world every family shows its distance to the truth
#
# On real digits nobody knows the true law.
# The tiny world of this book does: a law over all 65,536 binary $4 \times 4$ images, made of drawn Persian digits, with each probability known.
# There the loss is a sum over all images, and its excess over the entropy is $\mathrm{KL}(p \,\|\, \text{model})$, exactly.

# %%
images = tiny.decode(torch.arange(tiny.STATES))
truth, entropy = world.probs, world.entropy
marks = (truth[:, None] * images.flatten(1)).sum(0)
pixelwise = torch.special.entr(marks) + torch.special.entr(1 - marks)
table = [{"parents": 0, "any law per pixel": pixelwise.sum().item() - entropy}]
seen_all = PixelNetwork(quarter_plane(4), position=True, side=4)
exact = count(seen_all, images, truth)
for k in (2, 3, 4):
    row = {"parents": k * k - 1}
    for position, word in ((False, ""), (True, ", position")):
        net = PixelNetwork(quarter_plane(k), position=position, side=4)
        needed = forget(exact, seen_all, net)
        row["linear" + word] = fit(net, needed).loss - entropy
        best = "any law per pixel" if position else "any shared law"
        row[best] = logistic.entropy(needed) - entropy
    table.append(row)
order = ["parents", "linear", "linear, position"]
results_table(table, [*order, "any shared law", "any law per pixel"])


# %% [markdown]
# Four families of each neighbourhood, in nats: linear, linear with position, the best law shared by all pixels, and the best law of each pixel for itself, which is the best Bayesian network on that graph.
# What is left in the last column is what the *graph* cannot say, whatever its tables; what lies between the columns is what the sharing, and the linearity, cost.
# Hidden layers with position live between "linear, position" and "any law per pixel".

# %%
torch.manual_seed(seed)
table = []
for k in (2, 3):
    net = PixelNetwork(quarter_plane(k), (32, 32), True, side=4)
    needed = forget(exact, seen_all, net)
    inputs = net.double().features(needed.codes)
    lbfgs = torch.optim.LBFGS(
        net.parameters(), max_iter=300, line_search_fn="strong_wolfe"
    )

    def closure(net=net, inputs=inputs, needed=needed, lbfgs=lbfgs):
        lbfgs.zero_grad()
        z = net.conditional(inputs)[:, 0]
        loss = needed.seen @ F.softplus(z) - needed.ink @ z
        loss.backward()
        return loss

    lbfgs.step(closure)
    row = {"parents": k * k - 1, "2 hidden layers": closure().item() - entropy}
    floor = logistic.entropy(needed) - entropy
    table.append(row | {"any law per pixel": floor})
results_table(table)

# %% [markdown]
# ## Limits
#
# The networks with hidden layers were trained for three epochs, as much as two busy cores allowed, and with one seed; the table of floors says how much longer training could still gain without position.
# Errors are over test images and say nothing about other seeds.
# The certificate speaks of the linear law on the training images: it proves that nothing was left on the table there, not that the law is a good one; and it trusts double precision, whose rounding it leaves out.
# Raster order is a choice; a fitted model depends on it, which the next chapter measures.

# %% [markdown]
# ## Exercises
#
# ```{exercise-start} Parents by hand
# :label: ex-digit-networks-border
# ```
# (Recall.) The digits are white ink on black, pixels 0 or 1.
# Number the pixels of a grid of $3 \times 4$ as in the first figure, and write down the parents of each in the network with three parents.
# What stands in for the parents that are missing, and how many are they?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-digit-networks-border
# :class: dropdown
# ```
# Every pixel would have three; 12 pixels have $3 \cdot 12 = 36$ in all, and the arrows of the drawn graph are those that exist.
# The others are fixed to 0, paper, so the first pixel always sees the pattern 000.

# %%
number = {v: columns * v[0] + v[1] + 1 for v in grid}
for v in grid:
    print(number[v], sorted(number[u] for u in grid.pred[v]))
print("missing:", 36 - grid.number_of_edges())
assert (data.train[0] % 255 == 0).all()  # 0 paper, 255 ink

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} How far to the right?
# :label: ex-digit-networks-half-plane
# ```
# (Measure.) Fit the linear law for three to the left and, in each of two rows above, six neighbouring columns that reach 0, 1, 2 or 3 columns to the right of the pixel.
# Compare with 3, 8 and 15 parents of the blocks.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-digit-networks-half-plane
# :class: dropdown
# ```
# All four have 15 parents; only the place of the window changes.
# The first 10,000 images are enough to see it: one column to the right is worth nearly all of the gain.

# %%
table = [
    {"parents": name, "test nats": mean_of(cost[f"{name} parents"])}
    for name in ("3", "8", "15")
]
for reach in range(4):
    window = [(u, c) for u in (1, 2) for c in range(-reach, 6 - reach)]
    net = PixelNetwork(((0, 1), (0, 2), (0, 3), *window))
    fit(net, count(net, x[:10_000]))
    name = f"15, {reach} columns to the right"
    table.append({"parents": name, "test nats": mean_of(nats(net, test))})
results_table(table)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A loss without its bracket
# :label: ex-digit-networks-loss
# ```
# (Derive.) A sheet prints the loss as $-\sum_i x_i \log P(x_i \mid \pi_i) + (1 - x_i) \log(1 - P(x_i \mid \pi_i))$, without brackets.
# What does this say, taken at its word, for $P(X_i = 1 \mid \pi_i) = \sigma(w_0 + w_1 x_{\text{left}} + w_2 x_{\text{top}} + w_3 x_{\text{top-left}})$?
# What does it need, and what is its gradient then?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-digit-networks-loss
# :class: dropdown
# ```
# The minus would bind the first term only: the loss would be $\sum_i [-x_i \log P + (1 - x_i) \log(1 - P)]$, which is unbounded below, as a pixel of paper is rewarded for a large $P$.
# And $P(x_i \mid \pi_i)$ must mean $P(X_i = 1 \mid \pi_i)$, or the two terms could not be told apart.
# With brackets it is eq. {eq}`eq-digit-networks-loss`, and {prf:ref}`thm-digit-networks-concave` gives the gradient: $\sum_i (P_i - x_i)\, (1, x_{\text{left}}, x_{\text{top}}, x_{\text{top-left}})$.

# %%
blank_page = torch.zeros(1, 1, 6, 6).double()
for bias in (0.0, 10.0, 100.0):
    p = torch.sigmoid(torch.tensor(bias)).double()
    log_other = -F.softplus(torch.tensor(bias)).double()
    printed = (-blank_page * p.log() + (1 - blank_page) * log_other).sum()
    print(f"bias {bias:5.1f}: {printed:9.1f} as printed", end="")
    print(f", {-log_other * 36:9.1f} with brackets")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} One layer, two layers, ReLU, SiLU
# :label: ex-digit-networks-depth
# ```
# (Measure.) In every scenario, what does the first hidden layer gain on the test digits, and what the second?
# Is SiLU better than ReLU?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-digit-networks-depth
# :class: dropdown
# ```
# Paired differences, all on the same digits.
# The first layer gains most where there is most to combine.
# Without position the second adds next to nothing, since one layer is already near the floor; with position it adds several nats.

# %%
table = []
for k, position in product((2, 3, 4), (False, True)):
    steps = [paid[layers, k, position] for layers in (0, 1, 2)]
    row = {"parents": k * k - 1, "position": "yes" if position else "no"}
    row["first layer gains"] = mean_of(steps[0] - steps[1])
    table.append(row | {"second layer gains": mean_of(steps[1] - steps[2])})
results_table(table)

# %%
smooth = run(activation="silu", position=False)
difference = mean_of(paid[2, 4, False] - nats(smooth.model, test))
print(f"15 parents, 2 layers: SiLU gains {difference} nats over ReLU")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} What is the place worth?
# :label: ex-digit-networks-position
# ```
# (Measure.) Compare the gain of position in all nine settings with the price $\log N(x)$ of {prf:ref}`thm-digit-networks-translation`.
# Which networks win back more than the price, and how can they?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-digit-networks-position
# :class: dropdown
# ```
# The price is what it costs *not to know where the box stands*.
# A law with position can gain more, because position also tells where in the digit a pixel is: a stroke at the bottom bends in another way than one at the top.

# %%
table = []
for layers, k in product((0, 1, 2), (2, 3, 4)):
    gain = paid[layers, k, False] - paid[layers, k, True]
    row = {"law": names[layers], "parents": k * k - 1, "gain": mean_of(gain)}
    table.append(row | {"gain less price": mean_of(gain - worth[k])})
results_table(table)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} How fast may one go down?
# :label: ex-digit-networks-descent
# ```
# (Code.) Near the optimum gradient descent with rate $\eta$ multiplies the error along an eigenvector of the Hessian by $1 - \eta \lambda$.
# For which rates does it converge? How many steps does it need for a factor of ten along the flattest direction?
# Try it with the exact gradient.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-digit-networks-descent
# :class: dropdown
# ```
# It converges for $\eta < 2 / \lambda_{\max}$, and along the flattest direction a factor of ten takes about $\log 10 / (\eta\, \mu)$ steps.
# That ratio, $\lambda_{\max} / \mu$, is why SGD creeps, and what Newton's method does not feel.

# %%
best = optimum[4, False]
needed = forget(counted, largest, linear[4, False])
inputs = logistic.features_of(linear[4, False], needed)
limit = 2 / best.steepest
print(f"limit {limit:.4f}; condition {best.steepest / best.curvature:.0f}")
for factor in (0.5, 0.95, 1.05):
    w = best.weights + 1e-3
    for _ in range(150):
        w = w - factor * limit * logistic.slopes(inputs, needed, w)[0]
    gap = logistic.loss_of(inputs, needed, w) - best.loss
    print(f"rate {factor:.2f} of the limit: {gap:.1e} nats above")
slow = torch.log(torch.tensor(10.0)) / (0.5 * limit * best.curvature)
print(f"a factor of ten along the flattest direction: {slow:.0f} steps")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Draw pixel by pixel
# :label: ex-digit-networks-draw
# ```
# (Code.) Write the plain sampler, one pixel after the other in raster order, and show that it draws from the same law as the one along anti-diagonals.
# How much slower is it?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-digit-networks-draw
# :class: dropdown
# ```
# The law is the same by {prf:ref}`prop-digit-networks-rows`; the mean ink of both must agree within its error.


# %%
@torch.no_grad()
def pixel_by_pixel(network, n):
    images = torch.zeros(n, 1, network.side, network.side)
    for r, c in product(range(network.side), repeat=2):
        logits = network.logits(images)[:, 0, r, c]
        images[:, 0, r, c] = torch.bernoulli(logits.sigmoid()).float()
    return images


torch.manual_seed(seed)
little = random_network(6, 3, (4,))
slow, quick = pixel_by_pixel(little, 4000), little.sample(4000)
gap = (slow.mean(0) - quick.mean(0)).abs()
error = ((slow.var(0) + quick.var(0)) / 4000).sqrt().clamp(min=1e-3)
print(f"largest difference: {(gap / error).max():.1f} standard errors")
assert (gap / error).max() < 5

# %% [markdown]
# It computes all logits of all pixels at each of the $S^2$ steps, so it costs about $S^2$ passes over the image; the fronts cost one.
#
# ```{solution-end}
# ```
#
# ```{exercise-start} A better bet of fifteen bits (open)
# :label: ex-digit-networks-open
# ```
# (Open.) With 15 bits of context, which need not be neighbours, how low can you bring the test nats?
# Pixels further away, the number of the row, whether the row above held any ink: anything that has been read before may be one of the bits.
# There is no last word here.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-digit-networks-open
# :class: dropdown
# ```
# A start: let four of the fifteen look far away, along the four directions that have been read.

# %%
far = [(0, 1), (0, 2), (0, 3), (1, -1), (1, 0), (1, 1), (2, -1), (2, 0)]
far += [(2, 1), (3, 0), (1, 2), (0, 6), (6, 0), (5, 5), (5, -5)]
scattered = PixelNetwork(tuple(far))
best = fit(scattered, count(scattered, x[:10_000]))
found = nats(scattered, test)
print(f"{mean_of(found)} nats; less than")
print(f"the block by {mean_of(cost['15 parents'] - found)}")
print(f"the half-plane by {mean_of(looked - found)}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Does a pixel know its digit from three neighbours?

# %% tags=["hide-input"]
first, last_one = cost["independent pixels"], paid[2, 4, True]
three = cost["3 parents"]
part = (first - three).mean() / (first - last_one).mean()
Markdown(
    f"It knows its stroke. Of the {(first - last_one).mean():.0f} nats that "
    "the best of our eighteen networks saves over independent pixels, the "
    f"linear law of three neighbours saves {100 * part:.0f} %."
)

# %% [markdown]
# It does not know its digit.
# Three neighbours do not tell it where it is, which digit is being drawn, or what happened ten rows above, and a proof stands behind each of these.
# What it takes to know more is a longer memory, and that is the next chapter.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
