# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:variational-inference)=
# # Variational inference
#
# *What does a diagnosis lose when every disease is weighed alone?*
#
# A patient coughs, is short of breath, and has a mild fever.
# Is it pneumonia?
# With a dozen unknowns one can sum over all cases, and the answer is close to a coin flip.
# With a hundred there are $2^{100}$ cases or more, and one cannot.
# So a doctor in a hurry keeps one number for each unknown, and revises them in turn, each one in the light of the others.
# After a few rounds nothing moves any more, and she is sure: no pneumonia.
#
# What exactly did she lose, and what does it cost to get it back?
#
# :::{admonition} You will learn to
# - bound a sum that is too large to compute, and say by how much the bound misses;
# - derive the update of one factor, and prove that no update ever lowers the bound;
# - run it on a Bayesian network, a mixture of Gaussians and a magnet, beside the exact answer;
# - prove that it is over-confident, see it settle on one of several equal answers, find what cures which;
# - recognise EM as the same climb, and solve its second half in closed form;
# - let draws replace algebra, and predict the variance of both ways to do it.
#
# You need: {ref}`Bayesian networks <ch:bayes-nets>`, the Gaussian density, and the chain rule.
# :::
#
# | symbol | meaning | shape | code |
# | :-- | :-- | :-- | :-- |
# | $x$ | what is observed: evidence, data | | `evidence`, `x` |
# | $z = (z_1, \dots, z_J)$ | what is not, in $J$ blocks | | `q.factors` |
# | $q(z) = \prod_j q_j(z_j)$ | a law whose blocks are independent | a table for each block | `MeanField` |
# | $\mathbb E_{-j}$ | mean over all factors of $q$ but $q_j$ | a function of $z_j$ | `q.mean_log` |
# | $H(q) = -\mathbb E_q \log q$ | entropy | nats | `entropy` |
# | $\mathrm{KL}(q \,\Vert\, p) = \mathbb E_q \log \frac qp$ | Kullback-Leibler divergence | nats | `kl` |
# | $\mathcal L(q)$ | the evidence lower bound, or ELBO | nats | `q.elbo()` |
# | $\Sigma$, $\Lambda = \Sigma^{-1}$ | covariance and precision | $(D, D)$ | `precision` |
# | $t(x)$, $\theta$ | statistics and parameters of an exponential family | $(n,)$ | `t`, `theta` |

# %% tags=["parameters"]
seed: int = 0
draws: int = 20_000  # for what is measured, not for checks; 1,000 or more

# %% tags=["hide-input"]
import itertools
import math
import time
from functools import reduce
from operator import mul

import networkx as nx
import numpy as np
import seaborn
import torch
from IPython.display import Markdown
from scipy.optimize import brentq, minimize, minimize_scalar
from torch.autograd.functional import hessian, jacobian

# %% tags=["hide-input"]
from companion import figures, graphs
from companion.claims import check
from companion.figures import (
    Explorable,
    Sketch,
    results_table,
    show,
    show_source,
)
from companion.figures.style import DASHES, MARKERS, PALETTE
from companion.graphs import Table, entropy
from companion.inference import black_box, ising, mixtures
from companion.inference.mean_field import MeanField, coordinate_ascent
from companion.words import at_least

at_least(1000, draws=draws)

# %% tags=["hide-input"]
sketch = Sketch(354, 146)
for name, x, y in (("z₁", 26, 30), ("z₂", 90, 30), ("x", 58, 96)):
    sketch.node(name, x, y, shaded=name == "x")
sketch.link("z₁", "x").link("z₂", "x")
sketch.link("z₁", "z₂", head=False, dashed=True)
for name, x in (("q₁", 154), ("q₂", 200)):
    sketch.node(name, x, 30, lit=True)
climb = [(262, 112), (288, 76), (314, 54), (340, 46)]
for one, two in itertools.pairwise(climb):
    sketch.line(one, two, lit=True)
sketch.line((252, 20), (344, 20)).line((340, 24), (340, 42))
sketch.words(298, 14, "log p(x)", small=True).words(322, 38, "KL", small=True)
for x, text in ((58, "p(z | x)"), (177, "q(z) = q₁ q₂"), (298, "𝓛(q) climbs")):
    sketch.words(x, 136, text)
sketch.show(
    "A posterior whose causes depend on one another, a law q whose factors do "
    "not, and the bound, which rises and stops a divergence below log p(x).",
    alt="Causes z1, z2 of x, joined; q1, q2 apart; a rise below a level line.",
    label="fig-variational-idea",
)

# %% [markdown]
# (sec-variational-example)=
# ## Two causes of one symptom exclude each other, and a product cannot say so
#
# The smallest case: two diseases, each with a small prior probability, and a patient who is short of breath, which is likely as soon as one of them is there.

# %%
yes_no = ["yes", "no"]
both = {"pneumonia": yes_no, "bronchitis": yes_no}
prior = Table([[0.0025, 0.0475], [0.0475, 0.9025]], both)  # 0.05 each
breathless = Table([[0.96, 0.9], [0.9, 0.005]], both)  # p(breathless | both)
laws = {"exact": (prior * breathless).normalised()}
for start in (1, 2):
    q = MeanField([prior, breathless], generator=start)  # random factors
    coordinate_ascent(q)  # this chapter's method
    laws[f"product, start {start}"] = q.marginal(*both)
cells = list(itertools.product(yes_no, yes_no))
results_table(
    [
        {"pneumonia, bronchitis:": name}
        | {f"{p}, {b}": law[p, b] for p, b in cells}
        for name, law in laws.items()
    ]
)

# %% [markdown]
# The exact table has most of its mass where one disease is present and the other is not.
# No product of two laws can look like that.
# The product that this chapter's method finds bets on one disease; which one is an accident of where it began.
# The rest of the chapter makes this precise.
#
# (sec-variational-gap)=
# ## The bound misses the evidence by a divergence
#
# Let $p(x, z) \ge 0$ be the joint law of what we see and what we do not.
# We want $\log p(x) = \log \sum_z p(x, z)$, and the posterior $p(z \mid x) = p(x, z) / p(x)$.
# (Where $z$ is continuous, read integrals for sums, and "almost everywhere" for "everywhere".
# Nothing below needs $p$ to sum to 1 over $x$: for a Markov network, $p(x, z)$ is the product of its factors and $p(x)$ its normaliser $Z$.)
#
# :::{prf:theorem} The gap of the bound
# :label: thm-variational-gap
# Let $0 < p(x) < \infty$, let $q$ be a law with $q(z) > 0$ only where $p(x, z) > 0$, and let both terms of
#
# $$
# \mathcal L(q) = \mathbb E_q[\log p(x, z)] + H(q)
# $$ (eq-variational-bound)
#
# be finite.
# Then
#
# $$
# \log p(x) = \mathcal L(q) + \mathrm{KL}(q(z) \,\|\, p(z \mid x)) \ge \mathcal L(q),
# $$ (eq-variational-gap)
#
# with equality if and only if $q(z) = p(z \mid x)$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $p(x, z) = p(x)\, p(z \mid x)$, by the definition of the posterior.
# 2. So $\log p(x, z) - \log q(z) = \log p(x) - \log \frac{q(z)}{p(z \mid x)}$ wherever $q(z) > 0$.
# 3. The mean of the left side under $q$ is $\mathcal L(q)$; on the right, $\log p(x)$ is constant and the other term has the mean $-\mathrm{KL}(q(z) \,\|\, p(z \mid x))$.
# 4. A divergence is never negative: $\log u \le u - 1$, so for any two laws $-\mathrm{KL}(q \,\|\, p) = \mathbb E_q \log \frac pq \le \mathbb E_q[\frac pq - 1] = \sum_{z: q(z) > 0} p(z) - 1 \le 0$.
# 5. $\log u = u - 1$ only for $u = 1$, so a divergence is 0 only if $p = q$ wherever $q > 0$; then $p$ sums to 1 there, and is 0 elsewhere, as $q$ is.
# :::
#
# The instances of the checks are Bayesian networks of five nodes with random tables, small enough to sum over all states.
# Node $e$ is observed.

# %%
rng = torch.Generator().manual_seed(seed)
sizes = {"a": 2, "b": 3, "c": 2, "d": 3, "e": 2}
scopes = ["a", "b", "abc", "cd", "bde"]  # parents, then the node itself
seen = {"e": "1"}


def product(tables):
    return reduce(mul, tables)


def instances(n):
    """Draw networks: the tables, p(x, z), and a q with random factors."""
    for _ in range(n):
        tables = []
        for scope in scopes:
            shape = [sizes[node] for node in scope]
            logits = 2 * torch.randn(shape, generator=rng).double()
            tables.append(Table(logits.softmax(-1), list(scope)))
        joint = product(tables).restrict(seen)
        yield tables, joint, MeanField(tables, seen, generator=rng)


# %%
def cross_entropy(q, p):
    """-E_q log p, by a sum over all states."""
    return -torch.xlogy(q.values, p.marginal(*q.names).values).sum().item()


def kl(q, p):
    return cross_entropy(q, p) - cross_entropy(q, q)


def columns(rows):
    """Rows of numbers as one tensor for each column."""
    return torch.tensor(rows, dtype=torch.float64).T


# %% [markdown]
# Each network has a random $q$ and a $q$ that is the posterior, where the bound must be tight.

# %%
rows = []
for tables, joint, q in instances(50):
    log_evidence = joint.values.sum().log().item()
    exact = MeanField(tables, seen, blocks=["abcd"])  # one block for all of z
    exact.factors = [joint.normalised()]
    for either in (q, exact):
        law = product(either.factors)
        both = kl(law, exact.factors[0]), kl(exact.factors[0], law)
        rows.append([log_evidence, either.elbo(), *both, entropy(law)])
evidence, bound, gap, other_way, h = columns(rows)
check("thm-variational-gap", about="an identity", of="nets and laws q").equal(
    left=evidence,
    right=bound + gap,
    wrong={
        "no gap": bound,
        "the divergence the other way": bound + other_way,
        "the entropy left out": bound - h + gap,
    },
)

# %%
check("thm-variational-gap", about="a bound", of="nets and laws q").at_most(
    smaller=bound,
    larger=evidence,
    equal_where=torch.arange(100) % 2 == 1,
    wrong={
        "an upper bound": (evidence, bound),
        "the entropy left out": (bound - h, evidence),
    },
)

# %% [markdown]
# To raise the bound is to bring $q$ nearer to the posterior, and we can do it without knowing the posterior: $\mathcal L$ holds only $p(x, z)$.
#
# The bound has a second form, the one that most of the later chapters train.
# Where $p(x, z) = p(z)\, p(x \mid z)$ has a prior, $\mathbb E_q \log p(z) + H(q) = -\mathrm{KL}(q(z) \,\|\, p(z))$, so
#
# $$
# \mathcal L(q) = \mathbb E_q \log p(x \mid z) - \mathrm{KL}(q(z) \,\|\, p(z)):
# $$ (eq-variational-prior)
#
# how well $q$ explains what was seen, less how far it leaves the prior.
# (Some notes write $\log p(x)$ on the left side. That is an equality only if $q$ is the posterior.)
# The family of $q$ decides how small the gap can be: one family may hold the posterior, and another leave a gap that no data and no training can close ({ref}`ex-variational-families`).
# This chapter's family is that of all products.
#
# (sec-variational-factor)=
# ## The best factor is the exponential of a mean logarithm
#
# From here on $q$ is a product of factors, $q(z) = \prod_j q_j(z_j)$: the *mean-field* family {cite:p}`jordan1999introduction,blei2017variational`.
# A block $z_j$ is one variable, or several.
#
# :::{prf:theorem} The optimal factor
# :label: thm-variational-factor
# Fix all factors but $q_j$, and let $\mathbb E_{-j} \log p(x, z)$ be the mean of $\log p(x, z)$ over them, a function of $z_j$ that may be minus infinity.
# Let $C_j = \log \sum_{z_j} \exp \mathbb E_{-j} \log p(x, z)$ and all entropies $H(q_i)$ be finite.
# With
#
# $$
# q_j^*(z_j) = \exp\big(\mathbb E_{-j} \log p(x, z) - C_j\big)
# $$ (eq-variational-factor)
#
# the bound is
#
# $$
# \mathcal L(q) = C_j + \sum_{i \ne j} H(q_i) - \mathrm{KL}(q_j \,\|\, q_j^*),
# $$ (eq-variational-slice)
#
# so $q_j^*$ is the best factor, and the only best one.
# (Both sides are minus infinity if $q_j$ has mass where $q_j^*$ has none.)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The blocks are independent under $q$, so means may be taken in turn: $\mathbb E_q \log p(x, z) = \mathbb E_{q_j} \mathbb E_{-j} \log p(x, z)$.
# 2. By the definition of $q_j^*$ this is $\mathbb E_{q_j} \log q_j^* + C_j$.
# 3. $\log q$ is a sum over blocks, so $H(q) = \sum_i H(q_i)$.
# 4. Add both: $\mathbb E_{q_j} \log q_j^* + H(q_j)$ is $-\mathrm{KL}(q_j \,\|\, q_j^*)$, and $C_j$ and the other entropies remain, which do not depend on $q_j$.
# 5. A divergence is zero for $q_j = q_j^*$ and positive otherwise (steps 4 and 5 of the proof of {prf:ref}`thm-variational-gap`).
# :::
#
# The code of an update is eq. {eq}`eq-variational-factor`, for any product of tables: those of a Bayesian network with the evidence filled in, or the factors of a Markov network.
# It looks only at the tables that hold a variable of the block; the others add a constant.

# %%
show_source(MeanField.mean_log, MeanField.update)

# %% [markdown]
# (`xlogy(w, f)` is $w \log f$, and 0 where $w = 0$: a state that $q$ excludes may be impossible under $p$.)
# *Coordinate ascent* makes one factor after the other the best one; a round through all of them is a *sweep*.
# The next theorem says what each step earns.
#
# :::{prf:theorem} Every update raises the bound
# :label: thm-variational-ascent
# In the setting of {prf:ref}`thm-variational-factor`, let $\mathcal L(q)$ be finite.
# Replacing $q_j$ by $q_j^*$ raises $\mathcal L(q)$ by exactly $\mathrm{KL}(q_j \,\|\, q_j^*)$, and lowers $\mathrm{KL}(q(z) \,\|\, p(z \mid x))$ by as much.
# So the bounds of coordinate ascent never fall, and they converge.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. In eq. {eq}`eq-variational-slice`, neither $C_j$ nor $H(q_i)$, $i \ne j$, depends on $q_j$.
# 2. So only the last term changes, from $-\mathrm{KL}(q_j \,\|\, q_j^*)$ to $0$.
# 3. $\log p(x)$ does not change, so by eq. {eq}`eq-variational-gap` the divergence from the posterior falls by what the bound gains.
# 4. The gains are not negative, and the bound is at most $\log p(x)$; a sequence that never falls and is bounded converges.
# :::
#
# The bounds converge, but the limit may depend on the start, as in the first table.
#
# Both theorems are checked on the random networks, with all means as sums over all states.
# The first is checked before the code's update of one factor, and after it, where only $q_j = q_j^*$ makes the divergence 0.

# %%
rows = []
for _, joint, q in instances(50):
    others = [factor for factor in q.factors if factor.names != ("c",)]
    w, rest = product(others), sum(entropy(factor) for factor in others)
    p = joint.marginal(*w.names, "c").values
    mean_log = (w.values[..., None] * p.log()).sum((0, 1, 2))
    log_mean = (w.values[..., None] * p).sum((0, 1, 2)).log()
    best, other = (Table(f.softmax(0), ["c"]) for f in (mean_log, log_mean))
    c, other_c = (f.logsumexp(0).item() + rest for f in (mean_log, log_mean))
    for _ in range(2):  # before and after the update
        old = q.marginal("c")
        right = c - kl(old, best), c - kl(best, old), other_c - kl(old, other)
        rows.append([q.elbo(), *right])
        q.update(q.owner["c"])
bound, slice_, other_way, of_mean = columns(rows)
check("thm-variational-factor", of="nets and laws q").equal(
    left=bound,
    right=slice_,
    wrong={
        "the divergence the other way": other_way,
        "the logarithm of the mean of p": of_mean,
    },
)

# %%
rows = []
for _, joint, q in instances(25):
    posterior = joint.normalised()
    for j, old in enumerate(q.factors):
        bound, gap = q.elbo(), kl(product(q.factors), posterior)
        q.update(j)
        new, now = q.factors[j], kl(product(q.factors), posterior)
        to_posterior = kl(old, posterior.marginal(*old.names))
        gains = q.elbo() - bound, gap - now
        rows.append([*gains, kl(old, new), kl(new, old), to_posterior])
rise, fall, from_old, from_new, to_posterior = columns(rows)
check("thm-variational-ascent", of="updates").equal(
    left=torch.cat([rise, fall]),
    right=from_old.repeat(2),
    wrong={
        "the divergence the other way": from_new.repeat(2),
        "the divergence from the true marginal": to_posterior.repeat(2),
    },
)

# %% [markdown]
# (sec-variational-bayes-net)=
# ## In a Bayesian network the bound is a sum of local means
#
# A mean over all of $z$ looks as expensive as the sum that we wanted to avoid.
# In a network it is not.
#
# :::{prf:theorem} The bound of a fully factorised posterior
# :label: thm-variational-bayes-net
# Let $p$ be a Bayesian network whose node $v$ has the parents $\mathrm{pa}(v)$; some nodes are observed, and $q$ has one factor for each of the others.
# Give an observed node the factor $q_v$ that is 1 at its observed state, and let $q_{\mathrm{pa}(v)} = \prod_{u \in \mathrm{pa}(v)} q_u$.
# Then
#
# $$
# \begin{aligned}
# \mathcal L(q) = \sum_v \sum_{x_v,\, x_{\mathrm{pa}(v)}} & q_v(x_v)\, q_{\mathrm{pa}(v)}(x_{\mathrm{pa}(v)}) \\
# & \times \log p(x_v \mid x_{\mathrm{pa}(v)}) + \sum_v H(q_v).
# \end{aligned}
# $$ (eq-variational-local)
#
# A term in which $q_v\, q_{\mathrm{pa}(v)}$ is 0 counts as 0.
# The inner sums have at most as many terms as the tables of the network have entries, and the update of $q_v$ needs only the tables that hold $v$: its own and those of its children.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. The network factorises: $\log p(x, z) = \sum_v \log p(x_v \mid x_{\mathrm{pa}(v)})$.
# 2. The mean of a sum is the sum of the means.
# 3. The term of $v$ depends on $v$ and its parents only; all other factors of $q$ sum to 1.
# 4. Under $q$ those nodes are independent, with the law $q_v\, q_{\mathrm{pa}(v)}$; an observed node is constant.
# 5. The entropy of a product is the sum of the entropies, and that of a constant is 0.
# 6. In $\mathbb E_{-v} \log p(x, z)$, a term that does not hold $v$ is a constant; by eq. {eq}`eq-variational-factor` constants cancel with $C_v$.
# :::
#
# So a mean over $2^{100}$ states costs no more than one pass over the tables of a hundred nodes.
# The check sums over all states of $q$, and compares with the local sums of the code.
# (The check of {prf:ref}`thm-variational-factor` compares one update, which reads two of the five tables, with means over all of them.)

# %%
rows = []
for _, joint, q in instances(50):
    law = product(q.factors)
    by_sum = cross_entropy(law, law) - cross_entropy(law, joint)
    h = sum(entropy(factor) for factor in q.factors)
    local = [q.mean_log(table).item() for table in q.tables]
    means = [(t * q.marginal(*t.names)).values.sum() for t in q.tables]
    logs = sum(math.log(mean) for mean in means)
    rows.append([by_sum, sum(local) + h, sum(local[:-1]) + h, logs + h])
brute_force, ours, hidden, swapped = columns(rows)
check("thm-variational-bayes-net", of="nets and laws q").equal(
    left=brute_force,
    right=ours,
    wrong={
        "the table of the observed node left out": hidden,
        "logarithms of means": swapped,
    },
)

# %% [markdown]
# (sec-variational-medical)=
# ## On the medical network the bound rises, and stops short
#
# The patient of the beginning, in the medical network of {ref}`the chapter on Bayesian networks <ch:bayes-nets>`: three of the twelve nodes are observed, so $q$ has nine factors.
# The bound is computed after every single update, and the cell asserts that it never falls.

# %%
net = graphs.medical_diagnosis()
patient = {"cough": "yes", "breathless": "yes", "fever": "mild"}
exact_log_prob = net.evidence_log_prob(patient)
exact_chance = net.posterior("pneumonia", patient)["yes"]
climbs, rows = {}, []
for start in (1, 2):
    q = MeanField(net, patient, generator=start)
    bounds = [q.elbo()]
    for j in list(range(len(q.factors))) * 10:
        q.update(j)
        bounds.append(q.elbo())
        assert bounds[-1] >= bounds[-2] - 1e-12
    climbs[f"start {start}"] = bounds
    rows.append([f"start {start}", bounds[-1], q.marginal("pneumonia")["yes"]])
rows.append(["exact", exact_log_prob, exact_chance])
names = ["", "bound or log p, nats", "p(pneumonia), %"]
results_table(
    [dict(zip(names, row, strict=True)) for row in rows], percent=names[2:]
)

# %% tags=["hide-input"]
series = {k: (range(len(v)), v) for k, v in climbs.items()}
series["log p(evidence)"] = ([0, len(bounds) - 1], [exact_log_prob] * 2)
show(
    figures.curves(series, "updates of one factor", "nats", height=2.6),
    "Coordinate ascent on the medical network from two random starts: the "
    "bound never falls, and ends at two different heights below log p.",
    alt="Two rising curves, flat in the end at two heights below a line.",
    label="fig-variational-medical",
)

# %% [markdown]
# Two starts, two verdicts, both nearly certain, and opposite: what looks like knowledge is an accident of the start.
# The better bound does not help: it is nearly as far from the exact answer as the other, on the other side.

# %% [markdown]
# (sec-variational-kl)=
# ## Reverse KL is too sure of itself: for a Gaussian, that is a theorem
#
# In this section and the next, $p(z)$ is the posterior, and $p_j(z_j)$ are its marginals.
# The divergence that we can lower, $\mathrm{KL}(q \,\|\, p)$, is called *reverse*; it is infinite unless $q$ has no mass where $p$ has none.
# The other direction, $\mathrm{KL}(p \,\|\, q)$, is called *forward*; it is infinite unless $q$ has mass wherever $p$ has some.
#
# :::{prf:theorem} Forward KL keeps the marginals
# :label: thm-variational-forward
# For any law $p(z)$ and any product $q(z) = \prod_j q_j(z_j)$ for which the divergences below are finite,
#
# $$
# \mathrm{KL}(p \,\|\, q) = \mathrm{KL}\Big(p \,\Big\|\, \prod_j p_j\Big) + \sum_j \mathrm{KL}(p_j \,\|\, q_j).
# $$ (eq-variational-forward)
#
# So the product of the marginals is the only minimum; its value, the *total correlation* of $p$, is $\sum_j H(p_j) - H(p)$ where these are finite.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\log \frac{p(z)}{q(z)} = \log \frac{p(z)}{\prod_j p_j(z_j)} + \sum_j \log \frac{p_j(z_j)}{q_j(z_j)}$.
# 2. Take the mean under $p$: the first term is the first divergence.
# 3. The mean under $p$ of a function of $z_j$ is its mean under $p_j$, so the others are $\mathrm{KL}(p_j \,\|\, q_j)$.
# 4. These are zero for $q_j = p_j$ and positive otherwise.
# 5. $\mathbb E_p \log p = -H(p)$ and $\mathbb E_p \log p_j = -H(p_j)$ give the value.
# :::

# %%
rows = []
for _, joint, mean_field in instances(50):
    p, q = joint.normalised(), product(mean_field.factors)
    parts = [(p.marginal(name), q.marginal(name)) for name in p.names]
    total = sum(entropy(mine) for mine, _ in parts) - entropy(p)
    match = sum(kl(mine, its) for mine, its in parts)
    other_way = sum(kl(its, mine) for mine, its in parts)
    rows.append([kl(p, q), total, match, other_way])
forward, total, match, other_way = columns(rows)
check("thm-variational-forward", of="nets and laws q").equal(
    left=forward,
    right=total + match,
    wrong={
        "the total correlation left out": match,
        "marginals compared the other way": total + other_way,
    },
)

# %% [markdown]
# Forward KL would be right about every single disease.
# But it needs means under the posterior, which is what we cannot compute.
# What reverse KL does in its place can be written down for a Gaussian.
#
# :::{prf:theorem} Over-confidence
# :label: thm-variational-overconfident
# Let $p = \mathcal N(\mu, \Sigma)$ in $D$ dimensions, with precision $\Lambda = \Sigma^{-1}$, and let $q = \prod_j q_j$ have densities with means $m_j$, finite variances and finite entropies.
# Then
#
# $$
# \begin{aligned}
# \mathrm{KL}(q \,\|\, p) = {} & \tfrac12 \Big(\sum_j \log \Lambda_{jj} - \log \det \Lambda\Big) \\
# & + \tfrac12 (m - \mu)^\top \Lambda\, (m - \mu) \\
# & + \sum_j \mathrm{KL}\big(q_j \,\|\, \mathcal N(m_j, 1 / \Lambda_{jj})\big).
# \end{aligned}
# $$ (eq-variational-gaussian)
#
# So among all such $q$ the only minimum is $q_j = \mathcal N(\mu_j, 1 / \Lambda_{jj})$.
# Its means are right.
# Its variances are $1 / \Lambda_{jj} \le \Sigma_{jj}$, with equality if and only if $z_j$ is independent of all other coordinates.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $-\mathbb E_q \log p = \tfrac D2 \log 2\pi - \tfrac12 \log \det \Lambda + \tfrac12 \mathbb E_q (z - \mu)^\top \Lambda (z - \mu)$.
# 2. Let $v_j$ be the variance of $q_j$. Under $q$ coordinates are independent, so the last mean is $\sum_j \Lambda_{jj} v_j + (m - \mu)^\top \Lambda (m - \mu)$.
# 3. In the same way $\mathrm{KL}(q_j \,\|\, \mathcal N(m_j, 1 / \Lambda_{jj})) = -H(q_j) + \tfrac12 (\log 2 \pi - \log \Lambda_{jj} + \Lambda_{jj} v_j)$.
# 4. Subtract the sum of line 3 over $j$ from $\mathrm{KL}(q \,\|\, p) = -\sum_j H(q_j) - \mathbb E_q \log p$: entropies and variances cancel, and the first two terms of eq. {eq}`eq-variational-gaussian` remain.
# 5. As $\Lambda$ is positive definite, the last two terms are zero for $m = \mu$ and $q_j = \mathcal N(\mu_j, 1 / \Lambda_{jj})$, and their sum is positive otherwise.
# 6. For the variances, let $z \sim p$ and $e = \Lambda (z - \mu)$; then $\mathrm{Cov}(e, z) = \Lambda \Sigma = I$ and $\mathrm{Var}(e_j) = (\Lambda \Sigma \Lambda)_{jj} = \Lambda_{jj}$.
# 7. By Cauchy-Schwarz, $1 = \mathrm{Cov}(e_j, z_j)^2 \le \Lambda_{jj} \Sigma_{jj}$.
# 8. Equality makes $z_j - \mu_j$ a multiple of $e_j$, which by step 6 is uncorrelated with every other coordinate; then $z_j$ is too, and for Gaussians that is independence.
# 9. Conversely, if $z_j$ is independent of the others, row $j$ of $\Sigma$ is zero off the diagonal, so row $j$ of $\Lambda$ is too, and $\Lambda_{jj} = 1 / \Sigma_{jj}$.
# :::
#
# Given all other coordinates, $z_j$ has a density proportional to $\exp(-\tfrac12 \Lambda_{jj} z_j^2 + \dots)$, so $1 / \Lambda_{jj}$ is its *conditional* variance.
# Each factor answers as if all others were known: that is the over-confidence {cite:p}`turner2011two`.
# Both parts are checked: the identity, for random Gaussian $q$, against PyTorch's divergence of multivariate normals; and the variances.

# %%
rng = torch.Generator().manual_seed(seed)
root = torch.randn(100, 3, 3, generator=rng).double()
precision = root @ root.mT + 0.1 * torch.eye(3)
mu, m, log_v = torch.randn(3, 100, 3, generator=rng).double()
diagonal = precision.diagonal(dim1=1, dim2=2)
p = torch.distributions.MultivariateNormal(mu, precision_matrix=precision)
q = torch.distributions.MultivariateNormal(m, torch.diag_embed(log_v.exp()))
least = (diagonal.log().sum(1) - precision.logdet()) / 2
apart = torch.einsum("bi,bij,bj->b", m - mu, precision, m - mu) / 2


def widths(ratio):
    """Sum of KL(q_j || best) for equal means and ratios of variances."""
    return (ratio - 1 - ratio.log()).sum(1) / 2


right, v = widths(diagonal * log_v.exp()), log_v.exp()
check("thm-variational-overconfident", about="the divergence").equal(
    left=torch.distributions.kl_divergence(q, p),
    right=least + apart + right,
    wrong={
        "marginal variances are best": least + apart + widths(v / p.variance),
        "a perfect fit exists": apart + right,
    },
)

# %%
alone = precision.clone()
alone[:50, 0, 1:] = alone[:50, 1:, 0] = 0  # z_0 independent of the others
variance = torch.linalg.inv(alone).diagonal(dim1=1, dim2=2)
independent = torch.zeros_like(variance, dtype=torch.bool)
independent[:50, 0] = True
conditional = 1 / alone.diagonal(dim1=1, dim2=2)
narrowest = 1 / torch.linalg.eigvalsh(alone)[:, -1:].expand(-1, 3)
check(
    "thm-variational-overconfident", about="the variances", of="Gaussians"
).at_most(
    conditional,
    variance,
    equal_where=independent,
    wrong={
        "conditional and marginal exchanged": (variance, conditional),
        "as narrow as the narrowest direction": (conditional, narrowest),
    },
)

# %% [markdown]
# For two coordinates with correlation $\rho$, $1 / \Lambda_{jj} = (1 - \rho^2)\, \Sigma_{jj}$: at $\rho = 0.9$ reverse KL believes in less than a fifth of the variance.
# The target of the figure has two such modes.
# Among factorised Gaussians the forward optimum takes the mean and the variance of each marginal, so it covers both modes, and the valley between them.
# Reverse KL, climbing from one mode, stays on it, and its variances are smaller than those of the mode itself (found by the method of {ref}`sec-variational-gradients`).

# %% tags=["hide-input"]
middle, corner = torch.zeros(2).double(), torch.tensor([1.3, -1.3]).double()
tilt = torch.tensor([[1.0, 0.9], [0.9, 1.0]]).double()
target = torch.distributions.MixtureSameFamily(
    torch.distributions.Categorical(torch.ones(2).double()),
    torch.distributions.MultivariateNormal(
        torch.stack([corner, -corner]), tilt.expand(2, 2, 2)
    ),
)
rings = {"forward KL": (middle, target.stddev)}
for sign, name in ((1, "reverse KL"), (-1, "the same, other start")):
    start = sign * corner, middle
    rng = torch.Generator().manual_seed(seed)
    climb = black_box.black_box_ascent
    path = climb(target.log_prob, *start, steps=200, generator=rng)
    rings[name] = path.mean[-1], path.log_std[-1].exp()

# %% tags=["hide-input"]
figure = figures.blank(2.9, 5.2)
axes = figure.subplots()
ticks = torch.linspace(-3.8, 3.8, 121).double()
places = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1)
height = target.log_prob(places).exp()
levels, greys = height.max() * torch.tensor([0.1, 0.5, 2]), ["#DDD", "#AAA"]
axes.contourf(ticks, ticks, height, levels, colors=greys)
turn = torch.linspace(0, 2 * torch.pi, 100)[:, None]
for k, (name, (centre, sd)) in enumerate(rings.items()):
    x, y = (centre + 2 * sd * torch.cat([turn.cos(), turn.sin()], 1)).T
    axes.plot(x, y, DASHES[k], color=PALETTE[k], label=name)
axes.set(xlabel="$z_1$", ylabel="$z_2$", aspect="equal")
axes.grid(False)
axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
show(
    figure,
    "A target with two tilted modes, in grey; factorised Gaussians as rings "
    "of two standard deviations. Forward KL covers both modes and the valley; "
    "reverse KL stays on one, and reaches less far than it does.",
    alt="Two tilted blobs with one large ring around both and a small ring "
    "inside each.",
    label="fig-variational-kl",
)

# %% [markdown]
# (sec-variational-cure)=
# ## Two cures: drop what carries no evidence, join what explains away
#
# Why is the doctor so sure?
# Nobody has looked at the shadow on the X-ray, the antibiotic, the aches or the recovery, so they say nothing about the disease.
# Exact inference knows that and ignores them.
# Mean field does not: each of them has a factor that settles near what its parents in the network say, and then pulls them further the same way.
#
# :::{prf:proposition} Dropping a factor never widens the gap
# :label: prop-variational-drop
# Let $z = (a, b)$, and let $q(a, b) = q(a)\, q(b)$ have a finite divergence from $p(a, b)$.
# Then
#
# $$
# \begin{aligned}
# \mathrm{KL}(q(a, b) \,\|\, p(a, b)) = {} & \mathrm{KL}(q(a) \,\|\, p(a)) \\
# & + \mathbb E_{q(a)} \mathrm{KL}(q(b) \,\|\, p(b \mid a)).
# \end{aligned}
# $$ (eq-variational-drop)
#
# So the gap of $q(a)$, with $b$ summed out exactly and its factor dropped, is at most that of $q(a, b)$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $p(a, b) = p(a)\, p(b \mid a)$, so $\log \frac{q(a)\, q(b)}{p(a, b)} = \log \frac{q(a)}{p(a)} + \log \frac{q(b)}{p(b \mid a)}$.
# 2. The mean of the first term under $q$ is $\mathrm{KL}(q(a) \,\|\, p(a))$.
# 3. The mean of the second over $q(b)$ is $\mathrm{KL}(q(b) \,\|\, p(b \mid a))$; then take the mean over $q(a)$.
# 4. That is a mean of divergences, so it is not negative; the first term of the right side is the gap of $q(a)$.
# :::

# %%
rows = []
for _, joint, mean_field in instances(50):
    p, q = joint.normalised(), product(mean_field.factors)
    (p_a, q_a), q_d = (law.marginal(*"abc") for law in (p, q)), q.marginal("d")
    p_d = p.conditional("d", given=list("abc")).values
    inner = (q_d.values * (q_d.values / p_d).log()).sum(-1)
    means = [(law.values * inner).sum().item() for law in (q_a, p_a)]
    means.append(kl(q_d, p.marginal("d")))
    rows.append([kl(q, p), *(kl(q_a, p_a) + mean for mean in means)])
whole, split, under_p, marginal = columns(rows)
check("prop-variational-drop", of="nets and laws q").equal(
    left=whole,
    right=split,
    wrong={
        "the mean taken under p": under_p,
        "b compared with its marginal": marginal,
    },
)

# %% [markdown]
# In a Bayesian network an unobserved node without children is summed out by deleting its table, whose rows sum to 1; then its parents may be next.
# So the first cure costs nothing: keep the evidence, the question, and their ancestors.
# The second costs a larger table: two causes that explain one symptom share a factor, which can say "one or the other".
# Theorems and code are the same, because a block $z_j$ may hold several variables.
# Each row is the best of four random starts; "numbers" counts the free entries of all factors.

# %%
kept = set(patient).union(*(nx.ancestors(net.dag, v) for v in patient))
print("idle nodes:", ", ".join(sorted(set(net.nodes) - kept)))
idle = list(net.tables.values())
busy = [net.tables[node] for node in net.nodes if node in kept]
lungs = ["pneumonia", "bronchitis"]
plans = {
    "each node alone": (idle, []),
    "the same, no idle nodes": (busy, []),
    "pneumonia and bronchitis joined": (busy, [lungs]),
    "all three diseases joined": (busy, [["flu", *lungs]]),
    "joined as well, idle nodes kept": (idle, [lungs]),
}
rows, doctors, gaps = [], {}, {}
for name, (tables, blocks) in plans.items():
    tries = [MeanField(tables, patient, blocks, start) for start in range(4)]
    for q in tries:
        coordinate_ascent(q)
    doctors[name] = q = max(tries, key=lambda q: q.elbo())
    gaps[name] = exact_log_prob - q.elbo()
    free = sum(factor.values.numel() - 1 for factor in q.factors)
    rows.append({"factors": name, "gap, nats": gaps[name], "numbers": free})
results_table(rows)

# %% tags=["hide-input"]
diseases = ["flu", "pneumonia", "bronchitis"]
laws = {name: q.marginal(*diseases) for name, q in doctors.items()}
rows = []
for name, law in {"exact": net.posterior(diseases, patient), **laws}.items():
    chances = {v: law.marginal(v)["yes"] for v in diseases}
    shared = round(graphs.mutual_information(law, *lungs), 9)
    rows.append({"p(yes)": name, **chances, "information, nats": shared})
results_table(rows)

# %% [markdown]
# The last column is the mutual information between pneumonia and bronchitis, that is, how much they explain each other away: no product has any.
# Without the idle nodes the doubt is back, though three separate numbers still cannot say that the diseases exclude each other.
# A joined factor can, and says it a little too loudly.
# Three diseases joined take as many numbers as the first row; they are only better spent.
# The last row shows that the second cure **alone cures nothing**: with the idle nodes kept, a joined factor is as sure as separate ones.
# What took the doubt away were four nodes that nobody had looked at; what the join adds is how the diseases exclude each other.

# %% [markdown]
# (sec-variational-mixture)=
# ## A mixture has $K!$ equal answers, and mean field gives one of them
#
# Three groups of points in the plane, and a model that knows of their shape but not of their places: means $\mu_k \sim \mathcal N(0, s^2 I)$, labels $c_n$ uniform over the $K = 3$ components, points $x_n \sim \mathcal N(\mu_{c_n}, \sigma^2 I)$, with $\sigma = 1$ and $s = 5$.
# Let $q$ have one factor for each mean and one for each label.
# Up to a constant, $\log p(x, z) = -\sum_n \lVert x_n - \mu_{c_n} \rVert^2 / 2 \sigma^2 - \sum_k \lVert \mu_k \rVert^2 / 2 s^2$.
# As a function of one label, its mean over the rest is what stands in the first line below; as a function of one mean it is quadratic, so eq. {eq}`eq-variational-factor` is a Gaussian, and completing the square gives the other two lines.
# With $r_{nk} = q(c_n = k)$,
#
# $$
# \begin{aligned}
# r_{nk} & \propto \exp\big(-\mathbb E_q \lVert x_n - \mu_k \rVert^2 / 2 \sigma^2\big), \\
# 1 / v_k & = 1 / s^2 + \textstyle\sum_n r_{nk} / \sigma^2, \\
# m_k & = v_k \textstyle\sum_n r_{nk}\, x_n / \sigma^2,
# \end{aligned}
# $$ (eq-variational-mixture)
#
# where $q(\mu_k) = \mathcal N(m_k, v_k I)$ and $\mathbb E_q \lVert x_n - \mu_k \rVert^2 = \lVert x_n - m_k \rVert^2 + D v_k$ in $D$ dimensions.

# %%
show_source(
    mixtures.MixtureMeanField.update_labels,
    mixtures.MixtureMeanField.update_means,
)

# %% [markdown]
# The means of $q$ begin at the centre of the data, but for a perturbation of about a thousandth.
# Move the slider: for some sweeps nothing seems to happen, then the three means part.
# The cell asserts that the bound never falls.

# %%
torch.manual_seed(seed)
corners = torch.tensor([[0.0, 2.1], [-2.1, -1.05], [2.1, -1.05]]).double()
points = corners[torch.arange(150) % 3] + torch.randn(150, 2).double()
direction = torch.randn(3, 2).double()
few = points[:12]  # so few that all labellings can be summed


def mixture(perturbation):
    means = points.mean(0) + perturbation * direction
    return mixtures.MixtureMeanField(points, means, noise=1.0, spread=5.0)


q, states, bound = mixture(1e-3), [], -math.inf
for _ in range(10):
    q.step()
    assert q.elbo() >= bound - 1e-9
    bound = q.elbo()
    states.append((q.means, q.shares.argmax(1), bound))


# %% tags=["hide-input"]
def picture(means, label, bound):
    """Draw points by their most probable label, and the three means."""
    figure = figures.blank(3.0, 3.8)
    axes = figure.subplots()
    tones = dict(zip("012", PALETTE, strict=False))
    look = {"palette": tones, "legend": False, "linewidth": 0, "s": 14}
    look["markers"] = dict(zip("012", MARKERS, strict=False))
    (x, y), of = points.T.numpy(), label.numpy().astype(str)
    seaborn.scatterplot(x=x, y=y, hue=of, style=of, ax=axes, **look)
    for k in range(3):
        axes.plot(*means[k], MARKERS[k], ms=13, mfc=PALETTE[k], mec="white")
    axes.set(xlabel="$x_1$", ylabel="$x_2$", aspect="equal")
    axes.set(title=f"bound −{-bound:,.1f} nats")
    axes.grid(False)
    return figure


def after_sweeps(sweeps, perturbation):
    """The same from any perturbation, computed anew."""
    q = mixture(perturbation)
    for _ in range(sweeps):
        q.step()
    return picture(q.means, q.shares.argmax(1), q.elbo())


# %% tags=["hide-input"]
Explorable(
    [picture(*state) for state in states],
    list(range(1, len(states) + 1)),
    "sweeps",
    alt="Three large marks part from the centre of a cloud of points.",
    caption="Coordinate ascent on the mixture: small marks are points with "
    "their most probable label, large ones the means of q.",
    live=figures.Live(
        after_sweeps,
        figures.Knob("sweeps", [1, 30], 1),
        figures.Knob("perturbation", [0.0, 0.02], 0.001),
    ),
)

# %% [markdown]
# What if the perturbation is zero?
# Then the means never part, and again this is a theorem.
#
# :::{prf:proposition} A symmetric start stays symmetric
# :label: prop-variational-symmetry
# Let $g = (g_1, \dots, g_J)$ be a bijection of the states of finitely many discrete blocks that acts on each block by itself, with $p(x, g z) = p(x, z)$ for all $z$.
# If $q_i(g_i z_i) = q_i(z_i)$ for every $i$ and every state, then $q_j^*(g_j z_j) = q_j^*(z_j)$: no update breaks the symmetry.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Write $\ell(z) = \log p(x, z)$. By definition, $\log q_j^*(g_j z_j) + C_j$ is the mean of $\ell(g_j z_j, z_{-j})$ over $z_{-j} \sim q_{-j}$.
# 2. $q_{-j}$ is invariant and $g_{-j}$ a bijection, so $g_{-j} z_{-j}$ has the law $q_{-j}$ as well, and may stand in place of $z_{-j}$.
# 3. The mean of $\ell(g_j z_j, g_{-j} z_{-j})$ is that of $\ell(z_j, z_{-j})$, because $p(x, g z) = p(x, z)$.
# 4. That is $\log q_j^*(z_j) + C_j$.
# :::
#
# For a density the same proof holds where $g$ preserves volume.
# In the mixture, $g$ renames the components: it permutes the $K$ means, which are one block (its best factor is a product by itself), and the $K$ states of each label.
# The check has three variables with four states each; $g$ reverses the order of the states.

# %%
rng = torch.Generator().manual_seed(seed)
any_p = torch.rand(50, 4, 4, 4, generator=rng).double() + 0.01
any_q = torch.rand(2, 50, 4, generator=rng).double()
even_p, even_q = any_p + any_p.flip(1, 2, 3), any_q + any_q.flip(2)


def update(p, q):
    """The best factor of the first variable given those of the others."""
    b, c = q / q.sum(2, keepdim=True)
    return torch.einsum("nijk,nj,nk->ni", p.log(), b, c).softmax(1)


def turn(p, q):
    """How much an update changes if its states change places."""
    return update(p, q).flip(1) - update(p, q)


# %%
other_q, other_p = even_q.roll(1, 1), even_p.roll(1, 0)  # symmetric too
for p, q in ((even_p, other_q), (other_p, even_q)):
    assert turn(p, q).abs().max() < 1e-12
check("prop-variational-symmetry", of="symmetric laws").equal(
    left=update(even_p, even_q),
    right=update(even_p, even_q).flip(1),
    wrong={
        "q is not symmetric": update(even_p, even_q) + turn(even_p, any_q),
        "p is not symmetric": update(even_p, even_q) + turn(any_p, even_q),
    },
)

# %%
rows = []
for size in (1e-3, 1e-9, 0.0):
    q, bounds = mixture(size), []
    for _ in range(40):
        q.step()
        bounds.append(q.elbo())
    parted = (n for n, b in enumerate(bounds, 1) if b > bounds[0] + 1)
    row = {"perturbation": f"{size:g}", "nats after one sweep": bounds[0]}
    row |= {"one nat more at sweep": next(parted, None)}
    rows.append(row | {"nats after 40": bounds[-1]})
results_table(rows)

# %% [markdown]
# The symmetric point holds the ascent, the smaller the perturbation the longer, and with none for ever.
# Away from it, $q$ settles on one of $3! = 6$ orders of the names, all equally good.
# That costs at most $\log 6$ nats, changes no answer that does not depend on names, and an average of the six renamed copies takes nearly all of it back ({ref}`ex-variational-copies`).
# What is lost where groups overlap is not so harmless: then the labels depend on one another, and independent factors cannot say so.
#
# (sec-variational-em)=
# ## EM is the same climb, on two coordinates
#
# Let the model have parameters $\theta$, and let $\mathcal F(q, \theta) = \mathbb E_q \log p_\theta(x, z) + H(q)$ be the bound as a function of both.
# EM {cite:p}`dempster1977maximum` is coordinate ascent on $\mathcal F$ {cite:p}`neal1998view`: the E-step is the best $q$, with no restriction, and the M-step the best $\theta$.
#
# :::{prf:theorem} EM never lowers the likelihood
# :label: thm-variational-em
# Let $q(z) = p_\theta(z \mid x)$ be the E-step's answer, let $\theta'$ be any other parameter, and let all terms below be finite.
# Then
#
# $$
# \begin{aligned}
# \log p_{\theta'}(x) - \log p_\theta(x) = {} & \mathcal F(q, \theta') - \mathcal F(q, \theta) \\
# & + \mathrm{KL}\big(p_\theta(z \mid x) \,\|\, p_{\theta'}(z \mid x)\big).
# \end{aligned}
# $$ (eq-variational-em)
#
# So a $\theta'$ that raises $\mathcal F(q, \cdot)$ raises the likelihood by at least as much.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. {prf:ref}`thm-variational-gap` for $\theta'$ and this $q$: $\log p_{\theta'}(x) = \mathcal F(q, \theta') + \mathrm{KL}(q \,\|\, p_{\theta'}(z \mid x))$.
# 2. The same for $\theta$: there the divergence is zero, because $q = p_\theta(z \mid x)$, so $\log p_\theta(x) = \mathcal F(q, \theta)$.
# 3. Subtract the second from the first.
# 4. A divergence is never negative.
# :::
#
# For a mixture of Gaussians both steps are formulas; here the weights, means and covariances are the parameters, and only the labels are in $z$.

# %%
show_source(mixtures.MixtureEM.step)

# %%
rng, rows = torch.Generator().manual_seed(seed), []
for _ in range(20):
    x = torch.randn(30, 2, generator=rng) * torch.tensor([1.0, 3.0])
    em = mixtures.MixtureEM(x, x[:2])
    for _ in range(3):
        before, old = em.log_likelihood(), em.log_joint().log_softmax(1)
        em.step()
        new = em.log_joint().log_softmax(1)  # log p(label | point)
        forth = (old.exp() * (old - new)).sum().item()
        back = (new.exp() * (new - old)).sum().item()
        rise = em.log_likelihood() - before
        rows.append([rise, em.elbo() - before, forth, back])
rise, of_bound, forth, back = columns(rows)
check("thm-variational-em", of="steps of EM").equal(
    left=rise,
    right=of_bound + forth,
    wrong={
        "only the bound rises": of_bound,
        "the divergence the other way": of_bound + back,
    },
)

# %% [markdown]
# (sec-variational-exponential)=
# ## The M-step is solved by matching moments
#
# Why is the M-step a formula?
# Because a table and a Gaussian are exponential families,
#
# $$
# p_\theta(x) = h(x) \exp\big(\theta^\top t(x) - A(\theta)\big),
# $$ (eq-variational-family)
#
# with $h \ge 0$, statistics $t$ and the normaliser $A(\theta) = \log \sum_x h(x)\, e^{\theta^\top t(x)}$.
# Let $\theta$ range over an open convex set on which $A$ is finite, and let the family be *minimal*: a sum $c^\top t(x)$ with $c \ne 0$ is never constant over all $x$ with $h(x) > 0$ (for densities: over almost all of them).
#
# :::{prf:theorem} Maximum likelihood matches moments
# :label: thm-variational-exponential
# Let $\bar t$ be the mean of $t$ over the data, on which $h > 0$.
# The mean log-likelihood $\ell(\theta)$ of a minimal family has
#
# $$
# \nabla \ell(\theta) = \bar t - \mathbb E_\theta\, t(x), \qquad \nabla^2 \ell(\theta) = -\mathrm{Cov}_\theta\, t(x),
# $$ (eq-variational-moments)
#
# and is strictly concave.
# So $\hat\theta$ is a maximum if and only if $\mathbb E_{\hat\theta}\, t(x) = \bar t$, and there is at most one.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Taking the mean over the data, $\ell(\theta) = \theta^\top \bar t - A(\theta) + \text{constant}$.
# 2. The sum (or integral) in $A$ may be differentiated twice, term by term. For $\delta > 0$ there is a constant $C$ with $1 + |t_i| + |t_i t_j| \le C e^{\delta \sum_k |t_k|}$, and if no entry of $\theta'$ differs from that of $\theta$ by more than $\delta$, then $e^{\theta'^\top t} \le e^{\theta^\top t + \delta \sum_k |t_k|}$. So every derivative is at most $C h\, e^{\theta^\top t + 2 \delta \sum_k |t_k|}$, which is at most $C$ times the sum of $h\, e^{\vartheta^\top t}$ over the corners $\vartheta = \theta + 2 \delta\, (\pm 1, \dots, \pm 1)$ of a cube. For small $\delta$ the corners are in the open set, and those sums are finite.
# 3. So $\nabla A(\theta) = \sum_x h\, t\, e^{\theta^\top t} / \sum_x h\, e^{\theta^\top t} = \mathbb E_\theta\, t$, by the chain rule.
# 4. Once more, by the quotient rule: $\nabla^2 A(\theta) = \mathbb E_\theta\, t t^\top - \mathbb E_\theta t\; \mathbb E_\theta t^\top = \mathrm{Cov}_\theta\, t$.
# 5. For $c \ne 0$, $c^\top (\mathrm{Cov}_\theta\, t)\, c = \mathrm{Var}_\theta(c^\top t) > 0$, because the family is minimal.
# 6. So $\ell$ is strictly concave on an open convex set; there a point is a maximum if and only if the gradient is zero, and there cannot be two.
# :::
#
# For a table with states $1, \dots, n$, $t$ counts the states 1 to $n - 1$, and matching moments says: relative frequencies.
# For a Gaussian, $t$ holds the entries of $x$ and those of $x x^\top$ on and above the diagonal, and it says: mean and covariance of the data, divided by $N$ and not by $N - 1$.
# In the M-step, the mean under $q$ replaces each count by an expected count: these are the lines of `MixtureEM.step`.
# An optimum need not exist: if all data are one state, $\bar t$ is on the boundary of what a mean can be, and $\theta$ runs to infinity (an exercise).
#
# The check takes random families on seven states with three statistics, and lets PyTorch differentiate twice.

# %%
rng, rows = torch.Generator().manual_seed(seed), []
for _ in range(50):
    t = torch.randn(7, 3, generator=rng).double()
    log_h = torch.randn(7, generator=rng).double()
    theta = torch.randn(3, generator=rng).double()
    data = t[torch.randint(7, (20,), generator=rng)].mean(0)

    def ell(theta, t=t, log_h=log_h, data=data):
        return theta @ data - (log_h + t @ theta).logsumexp(0)

    p = (log_h + t @ theta).softmax(0)
    mean, square = p @ t, t.T @ (p[:, None] * t)
    slope, bend = data - mean, torch.outer(mean, mean) - square
    found = jacobian(ell, theta), hessian(ell, theta)
    flat, raw = (data - t.mean(0), bend), (slope, -square)
    pairs = found, (slope, bend), flat, raw
    rows.append(torch.stack([torch.cat([a, b.flatten()]) for a, b in pairs]))
found, right, flat, raw = torch.stack(rows, 1)
check("thm-variational-exponential", of="random families").equal(
    left=found,
    right=right,
    how="autograd",
    wrong={"mean without the law": flat, "second moment as covariance": raw},
)

# %% [markdown]
# (sec-variational-ising)=
# ## Mean field sees a magnet where there is none
#
# The Ising model: spins $s_i = \pm 1$ on a square grid of side $L \ge 3$ that closes to a torus, so that every site has four neighbours, and
#
# $$
# p(s) = \frac1Z \exp\Big(\beta \sum_{i \sim j} s_i s_j\Big),
# $$ (eq-variational-ising)
#
# with a sum over *bonds*, the pairs of neighbours, and a coupling $\beta > 0$.
# Nothing is observed, so $\mathcal L$ is a bound on $\log Z$.
# The model cannot tell up from down, so every $\mathbb E s_i$ is exactly 0.
#
# :::{prf:theorem} The mean field's magnet
# :label: thm-variational-ising
# Let $q$ have one factor for each spin, with $\mathbb E_q s_i = m$ for all of them.
# No update changes it if and only if $m = \tanh(4 \beta m)$.
# For $\beta \le \frac14$ the only solution is $m = 0$; for $\beta > \frac14$ there are exactly two more, $\pm m_\beta$, and their bound is higher than that of $m = 0$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. In $\mathbb E_{-i} \log p(s)$ only the four bonds of $i$ hold $s_i$, so by eq. {eq}`eq-variational-factor` $q_i^*(s_i) \propto \exp(4 \beta m s_i)$.
# 2. The mean of $s_i$ under this law is $\tanh(4 \beta m)$, which gives the equation; $m = 0$ solves it.
# 3. On $m > 0$, $\tanh$ is strictly concave, with slope 1 at 0: $\tanh(4 \beta m) < 4 \beta m$. For $4 \beta \le 1$ this is at most $m$: no solution, and none at $-m$, as $\tanh$ is odd.
# 4. For $4 \beta > 1$, $\tanh(4 \beta m) - m$ is strictly concave, 0 at $m = 0$ with positive slope, and negative at $m = 1$: it has exactly one zero $m_\beta > 0$, and is positive before. Again $-m_\beta$ is the other solution.
# 5. The torus has two bonds a site, so the bound per site is $2 \beta m^2 + H$ with the entropy $H$ of a spin of mean $m$; its derivative is $4 \beta m - \mathrm{artanh}\, m$.
# 6. That is positive where $m < \tanh(4 \beta m)$, so by step 4 on $(0, m_\beta)$: the bound at $m_\beta$ is above that at 0, and that at $-m_\beta$ is the same, because $H$ is even.
# :::
#
# The check runs coordinate ascent on the grid from $m = \frac12$, solves the equation by bisection, and asserts that the bound of the magnet is the higher one.
# (Near $\frac14$ the ascent slows down without limit, so the couplings leave out what lies between 0.2 and 0.28.)

# %%
betas = [0.02 * k for k in (*range(1, 11), *range(14, 36))]  # far from 1/4


def magnet(slope):
    """The largest solution of m = tanh(slope m), by bisection."""
    if slope <= 1:
        return 0.0
    return brentq(lambda m: math.tanh(slope * m) - m, 1e-9, 1, xtol=1e-14)


found = []
for beta in betas:
    grid = ising.IsingMeanField(4, beta, means=torch.full((4, 4), 0.5))
    for _ in range(300):
        grid.step()
    found.append(grid.means.mean().item())
    assert beta < 0.25 or grid.elbo() > ising.IsingMeanField(4, beta).elbo()
four, eight, two = ([magnet(k * beta) for beta in betas] for k in (4, 8, 2))
check("thm-variational-ising", kind="grid", of="couplings").equal(
    found,
    four,
    atol=1e-7,
    wrong={"each bond counted twice": eight, "two neighbours": two},
)

# %% [markdown]
# :::{admonition} How the truth on a small torus is found
# :class: dropdown
# A *transfer matrix* {cite:p}`kramers1941statistics` couples the $2^L$ states of a row with those of the next, and $Z$ is the trace of its power $L$.
# Its second derivative with respect to an outer field gives $\mathbb E (\sum_i s_i)^2$; the root of that, divided by $L^2$, is the size of the magnetisation, whatever its sign.
# :::
#
# On the infinite grid the magnet appears at $\beta_c = \frac12 \log(1 + \sqrt 2) \approx 0.44$ {cite:p}`onsager1944crystal`, with magnetisation $(1 - \sinh^{-4} 2 \beta)^{1/8}$ {cite:p}`yang1952spontaneous`: we cite this, and prove nothing about it.
# The cure is again to join what belongs together {cite:p}`saul1996exploiting`: one factor for each column of the grid, by the same code as for the patient.

# %%
side = 6
by_column = [[(i, j) for i in range(side)] for j in range(side)]
up = torch.full((side, side), 0.5)


def exact_grid(beta):
    """log Z, and the size of the magnetisation."""
    field = torch.zeros((), dtype=torch.float64, requires_grad=True)
    log_z = ising.ising_log_partition(side, beta, field)
    (first,) = torch.autograd.grad(log_z, field, create_graph=True)
    (second,) = torch.autograd.grad(first, field)
    return log_z.item(), second.item() ** 0.5 / side**2


def mean_fields(beta):
    """For sites and for columns: the bound, then the magnetisation."""
    sites = ising.IsingMeanField(side, beta, means=up)
    tables = ising.ising_tables(side, beta)
    blocks = MeanField(tables, (), by_column, seed)
    bounds = [coordinate_ascent(q, 500, 1e-6)[-1] for q in (sites, blocks)]
    up_prob = blocks.marginal((0, 0))["+"]
    return *bounds, sites.means[0, 0].item(), abs(2 * up_prob - 1)


# %% tags=["hide-input"]
betas = np.linspace(0.1, 0.6, 13)
log_z, exact = columns([exact_grid(beta) for beta in betas])
*bounds, of_sites, of_columns = columns([mean_fields(b) for b in betas])
assert (bounds[1] > bounds[0]).all()  # columns are better everywhere
beyond = np.linspace(math.log(1 + 2**0.5) / 2, 0.6, 300)
yang = (1 - np.sinh(2 * beyond) ** -4.0).clip(0) ** 0.125
series = {"exact": (betas, exact), "infinite grid": (beyond, yang)}
series |= {"each site": (betas, of_sites), "each column": (betas, of_columns)}
labels = "coupling β", "size of the magnetisation"
show(
    figures.curves(series, *labels, height=3.0),
    "The 6 × 6 torus. With a factor for each site, mean field is a magnet "
    "beyond β = 1/4; with one for each column, a little later; both before "
    "the infinite grid. On the small torus the exact size grows smoothly.",
    alt="The curves of both mean fields leave zero early and steeply, the "
    "exact one rises slowly, that of the infinite grid leaves zero late.",
    label="fig-variational-ising",
)

# %%
gaps_of_sites, gaps_of_columns = (log_z - bound for bound in bounds)
rows = []
for k in (0, 4, 5, 8, 12):
    row = {"coupling β": betas[k].item(), "log Z, nats": log_z[k].item()}
    row |= {"gap, each site": gaps_of_sites[k].item()}
    rows.append(row | {"gap, each column": gaps_of_columns[k].item()})
results_table(rows)

# %% [markdown]
# Columns make the gap smaller at every coupling of the figure, and move the transition towards that of the infinite grid.
# At strong coupling most of what is left is $\log 2 \approx 0.69$, the mixture's lesson once more: two equal answers, up and down, and $q$ holds one of them.
#
# (sec-variational-gradients)=
# ## Draws can replace algebra, at very different prices
#
# Coordinate ascent needs $\mathbb E_{-j} \log p(x, z)$ in closed form.
# *Black-box* variational inference {cite:p}`ranganath2014black` needs only to evaluate $\log p(x, z)$: it climbs an estimated gradient.
# Let $q = \mathcal N(\mu, \mathrm{diag}\, \sigma^2)$, with parameters $\mu$ and $\log \sigma$.
# With respect to a pair $(\mu_i, \log \sigma_i)$ the entropy has the gradient $(0, 1)$, so what must be estimated is the gradient of $\mathbb E_q f(z)$ for $f(z) = \log p(x, z)$.
# There are two ways: the *score* $\nabla \log q$, a gradient with respect to the parameters of $q$ {cite:p}`williams1992simple`, and the draw written as $z = \mu + \sigma \varepsilon$, *reparameterised* {cite:p}`kingma2014auto,rezende2014stochastic`.
#
# :::{prf:theorem} Both gradients are unbiased
# :label: thm-variational-gradients
# Let $f$ be Lipschitz on every ball, so that it is differentiable almost everywhere (Rademacher), and let $f$ and its derivative be bounded by a polynomial in $\lVert z \rVert$.
# Let $\varepsilon \sim \mathcal N(0, I)$ and $z = \mu + \sigma \varepsilon$, entry by entry, and let $b$ be a constant.
# Then the gradient with respect to the pair $(\mu_i, \log \sigma_i)$ is
#
# $$
# \begin{aligned}
# \nabla\, \mathbb E_q f(z) & = \mathbb E\big[(f(z) - b)\, (\varepsilon_i / \sigma_i,\; \varepsilon_i^2 - 1)\big] \\
# & = \mathbb E\big[\partial_i f(z)\, (1,\; \sigma_i \varepsilon_i)\big].
# \end{aligned}
# $$ (eq-variational-gradients)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\mathbb E_q f = \int f(z)\, q(z)\, dz$. For all parameters near $(\mu, \sigma)$ the derivative of $q$ is at most one polynomial times one wider Gaussian density; times $f$ that is integrable, so the derivative may move under the integral.
# 2. $\nabla q = q\, \nabla \log q$, so it is $\mathbb E[f(z)\, \nabla \log q(z)]$.
# 3. $\log q = -\sum_i \big(\log \sigma_i + (z_i - \mu_i)^2 / 2 \sigma_i^2\big) + \text{constant}$, with derivatives $(z_i - \mu_i) / \sigma_i^2 = \varepsilon_i / \sigma_i$ and $(z_i - \mu_i)^2 / \sigma_i^2 - 1 = \varepsilon_i^2 - 1$.
# 4. Both have mean 0, so $b$ may be subtracted from $f$: the first line.
# 5. For the second, substitute: $\mathbb E_q f = \mathbb E f(\mu + \sigma \varepsilon)$, where the law of $\varepsilon$ has no parameter.
# 6. Between two points of a ball, $f$ changes by at most their distance times the largest derivative in the ball (where there is one). So for small changes of a parameter the difference quotients of $f(\mu + \sigma \varepsilon)$ are at most one polynomial in $\lVert \varepsilon \rVert$, which has a finite mean.
# 7. They converge for every $\varepsilon$ for which $f$ is differentiable at $z$, that is, with probability 1, because $z$ has a density; the chain rule gives the limit $\partial_i f(z)\, (1, \sigma_i \varepsilon_i)$. By dominated convergence the limit of the means is the mean of the limit.
# :::
#
# Each is a few lines of code.

# %%
show_source(black_box.score_gradients, black_box.reparameterised_gradients)

# %% [markdown]
# Gauss-Hermite quadrature integrates polynomials against a Gaussian exactly, by a weighted sum over well-chosen $\varepsilon$.
# So for a cubic $f$ we can feed those $\varepsilon$ to the code in place of draws, and compare the weighted mean with the gradient of $\mathbb E_q f$, found by hand: no check here needs chance.

# %%
rule = np.polynomial.hermite_e.hermegauss(12)
nodes, masses = (torch.from_numpy(numbers) for numbers in rule)
noise = torch.cartesian_prod(nodes, nodes)  # (144, 2)
weights = torch.cartesian_prod(masses, masses).prod(1)
weights = weights / weights.sum()


def cubic(z):
    return z[..., 0] * z[..., 1] ** 2 - z[..., 0] ** 3 / 3 + z[..., 1]


def mean_cubic(mean, log_std):
    """E_q of it, from E z^2 = m^2 + v and E z^3 = m^3 + 3 m v."""
    (m1, m2), (v1, v2) = mean, (2 * log_std).exp()
    return m1 * (m2**2 + v2) - m1**3 / 3 - m1 * v1 + m2


# %%
torch.manual_seed(seed)
rows = []
for mean, log_std in torch.randn(50, 2, 2).double() / 2:
    place = cubic, mean, log_std, noise
    scores = black_box.score_gradients(*place, baseline=-1.0)
    slopes = black_box.reparameterised_gradients(*place)
    unscaled = scores * torch.stack([log_std.exp(), torch.ones(2)])
    no_noise = slopes[:, :1].expand(-1, 2, -1)
    pairs = (scores, slopes), (unscaled, slopes), (scores, no_noise)
    means = [
        torch.einsum("s,wsij->wij", weights, torch.stack(p)) for p in pairs
    ]
    truth = torch.stack(jacobian(mean_cubic, (mean, log_std)))
    rows.append(torch.stack([truth.expand(2, 2, 2), *means]))
truth, ours, unscaled, no_noise = torch.stack(rows, 1)
check("thm-variational-gradients", of="random Gaussians").equal(
    left=truth,
    right=ours,
    how="quadrature",
    wrong={
        "noise not divided by its scale": unscaled,
        "noise left out of the chain rule": no_noise,
    },
)

# %% [markdown]
# The constant $b$ is free, so it may as well be a good one.
#
# :::{prf:proposition} The best baseline
# :label: prop-variational-baseline
# Let $s$ be one entry of the score $\nabla \log q(z)$, so $\mathbb E s = 0$, with $0 < \mathbb E s^2 < \infty$ and $\mathbb E f^2 s^2 < \infty$.
# Among all constants, $b^* = \mathbb E[f s^2] / \mathbb E[s^2]$ gives $(f - b)\, s$ the smallest variance.
# It is smaller than that of $b = 0$ by $(\mathbb E[f s^2])^2 / \mathbb E[s^2]$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\mathbb E (f - b)\, s = \mathbb E f s$ for every $b$, because $\mathbb E s = 0$; all means are finite, by Cauchy-Schwarz.
# 2. So the variance is $\mathbb E (f - b)^2 s^2$ less a constant, that is, $\mathbb E f^2 s^2 - 2 b\, \mathbb E f s^2 + b^2\, \mathbb E s^2$ less a constant.
# 3. This parabola in $b$ has its minimum at $b^*$, and there it is lower than at $b = 0$ by $(\mathbb E f s^2)^2 / \mathbb E s^2$.
# :::
#
# The checks of this and the next theorem are by quadrature too.


# %%
def spread(values):
    """Variance under q of values (n, 144), one row for each instance."""
    return values**2 @ weights - (values @ weights) ** 2


a, lam = torch.randn(2, 50, 2, dtype=torch.float64)
sigma = torch.rand(50, 1).double() + 0.2
z = a[:, None] + sigma[:, None] * noise  # (50, 144, 2)
s = noise[:, 0] / sigma

# %%
f = cubic(z) + 1
by_s, by_square = (f * s) @ weights, (f * s**2) @ weights
fisher = s**2 @ weights
best, mean_f = (by_square / fisher)[:, None], (f @ weights)[:, None]
check("prop-variational-baseline", of="random Gaussians").equal(
    left=spread(f * s) - spread((f - best) * s),
    right=by_square**2 / fisher,
    how="quadrature",
    wrong={
        "the score not squared": by_s**2 / fisher,
        "the mean of f as baseline": spread(f * s) - spread((f - mean_f) * s),
    },
)

# %% [markdown]
# How much do the two ways differ?
# Where $f$ is quadratic there is an exact answer.
# It covers Gaussian posteriors with independent coordinates.
#
# :::{prf:theorem} Two variances
# :label: thm-variational-variance
# Let $q = \mathcal N(\mu, \sigma^2 I)$ in $D$ dimensions, $f(z) = -\tfrac12 \sum_i \lambda_i (z_i - c_i)^2$, $a = \mu - c$ and $\delta = \mathbb E_q f - b$.
# For the derivative with respect to $\mu_1$, one draw of the reparameterised gradient has the variance $\lambda_1^2 \sigma^2$, and one of the score's has
#
# $$
# \begin{aligned}
# V(\delta) = {} & (\delta - \lambda_1 \sigma^2)^2 / \sigma^2 + \lambda_1^2 (a_1^2 + \sigma^2) \\
# & + \sum_{i=1}^D \lambda_i^2 (a_i^2 + \tfrac12 \sigma^2).
# \end{aligned}
# $$ (eq-variational-variance)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $\partial_1 f = -\lambda_1 (a_1 + \sigma \varepsilon_1)$, whose variance is $\lambda_1^2 \sigma^2$.
# 2. $f - b = \delta + \sum_i w_i$ with $w_i = -\lambda_i \big(a_i \sigma \varepsilon_i + \tfrac12 \sigma^2 (\varepsilon_i^2 - 1)\big)$, which are independent, with mean 0 and variance $\lambda_i^2 (a_i^2 \sigma^2 + \tfrac12 \sigma^4)$, because $\mathrm{Var}(\varepsilon^2) = 2$ and $\mathbb E \varepsilon^3 = 0$.
# 3. Expand $\sigma^2\, \mathbb E (f - b)^2 (\varepsilon_1 / \sigma)^2 = \mathbb E\, \varepsilon_1^2 (\delta + \sum_i w_i)^2$; products that hold a $w_i$, $i > 1$, in the first power have mean 0. What remains is $\delta^2 + 2 \delta\, \mathbb E \varepsilon_1^2 w_1 + \mathbb E \varepsilon_1^2 w_1^2 + \sum_{i > 1} \mathrm{Var}\, w_i$.
# 4. $\mathbb E \varepsilon_1^2 w_1 = -\lambda_1 \sigma^2$, from $\mathbb E \varepsilon^2 (\varepsilon^2 - 1) = 2$.
# 5. $\mathbb E \varepsilon_1^2 w_1^2 = \lambda_1^2 (3 a_1^2 \sigma^2 + \tfrac52 \sigma^4)$, from $\mathbb E \varepsilon^4 = 3$ and $\mathbb E \varepsilon^2 (\varepsilon^2 - 1)^2 = 15 - 6 + 1 = 10$; the mixed term is odd.
# 6. The mean of the estimator is $-\lambda_1 a_1$, by {prf:ref}`thm-variational-gradients`.
# 7. Divide by $\sigma^2$ and subtract $\lambda_1^2 a_1^2$: $V = (\delta^2 - 2 \delta \lambda_1 \sigma^2) / \sigma^2 + \lambda_1^2 (2 a_1^2 + \tfrac52 \sigma^2) + \sum_{i > 1} \lambda_i^2 (a_i^2 + \tfrac12 \sigma^2)$.
# 8. Complete the square in $\delta$, which takes $\lambda_1^2 \sigma^2$, and put the term $i = 1$ into the sum.
# :::

# %%
delta, v = torch.randn(50).double(), sigma[:, 0] ** 2
quadratic = -(lam[:, None] * z**2).sum(-1) / 2
f = quadratic - (quadratic @ weights - delta)[:, None]  # E f - b = delta
each, lam1 = lam**2 * (a**2 + v[:, None] / 2), lam[:, 0]
own = lam1**2 * (a[:, 0] ** 2 + v)


def pair(of_score):
    """The variances of both ways, reparameterised first."""
    return torch.stack([lam1**2 * v, of_score], 1)


theorem = (delta - lam1 * v) ** 2 / v + own + each.sum(1)
check("thm-variational-variance", of="random quadratics").equal(
    left=torch.stack([spread(-lam[:, :1] * z[..., 0]), spread(f * s)], 1),
    right=pair(theorem),
    how="quadrature",
    wrong={
        "f and score independent": pair(delta**2 / v + each.sum(1)),
        "only the own dimension counts": pair(theorem - each[:, 1]),
    },
)

# %% [markdown]
# The reparameterised gradient does not feel the other dimensions at all.
# The score's does: each dimension adds its own noise to $f$.
# If all dimensions are alike, the best it can do, at $\delta = \lambda_1 \sigma^2$, still grows like $D$; without a baseline $\delta = \mathbb E_q f$ itself grows like $D$, and the variance like $D^2$.
# The figure measures it for $\lambda_i = \sigma = 1$ and $a_i = \frac12$, and the cell compares with the theorem.


# %%
def half_square(z):
    return -(z**2).sum(1) / 2


dimensions, apart = [1, 2, 4, 8, 16, 32, 64], 0.0
series = {"score, b = 0": [], "score, best b": [], "reparameterised": []}
torch.manual_seed(seed)
for d in dimensions:
    noise = torch.randn(draws, d, dtype=torch.float64)
    place = half_square, torch.full((d,), 0.5), torch.zeros(d), noise
    mean_f = -1.25 * d / 2
    g = {"reparameterised": black_box.reparameterised_gradients(*place)}
    theory = {"reparameterised": 1.0}
    for name, b in (("score, b = 0", 0.0), ("score, best b", mean_f - 1)):
        g[name] = black_box.score_gradients(*place, baseline=b)
        theory[name] = (mean_f - b - 1) ** 2 + 1.25 + 0.75 * d
    for name, measured in series.items():
        measured.append(g[name][:, 0, 0].var().item())
        apart = max(apart, abs(measured[-1] / theory[name] - 1))
assert apart < 30 / draws**0.5

# %% tags=["hide-input"]
labels = "dimensions D", "variance of one draw"
series = {name: (dimensions, values) for name, values in series.items()}
figure = figures.curves(series, *labels, scales=("log", "log"), height=2.8)
figure.axes[0].set_xticks(dimensions, [str(d) for d in dimensions])
figure.axes[0].minorticks_off()
show(
    figure,
    f"Variance of the gradient with respect to one mean, from {draws:,} draws,"
    f" never more than {apart:.0%} off the theorem. The reparameterised one "
    "does not grow with the dimension, the other two do.",
    alt="Three curves on logarithmic axes: one flat, one rising, one rising "
    "twice as steeply.",
    label="fig-variational-variance",
)

# %% [markdown]
# What does it mean for an ascent?
# The target is a posterior that we know: linear regression with ten correlated features, weights $w \sim \mathcal N(0, I)$ and noise of variance 1.
# Its posterior is Gaussian, so {prf:ref}`thm-variational-overconfident` gives the gap of any $q$ and the smallest one, and the evidence is a Gaussian density.
# The baseline that is used in practice is the mean of $f$ over the *other* draws of the step {cite:p}`mnih2016variational`.

# %%
torch.manual_seed(seed)
features = torch.randn(40, 10).double()
features = features + 0.8 * features.roll(1, 1)
target = features @ torch.randn(10).double() + torch.randn(40).double()
precision = features.T @ features + torch.eye(10)
mu = torch.linalg.solve(precision, features.T @ target)
standard = torch.distributions.Normal(0 * mu[0], 1.0)
least = (precision.diagonal().log().sum() - precision.logdet()) / 2


def log_joint(w):
    errors = target - w @ features.T
    return standard.log_prob(errors).sum(1) + standard.log_prob(w).sum(1)


def gap_after(path):
    """KL(q || posterior) after each step, by eq. (variational-gaussian)."""
    apart = path.mean - mu
    ratio = (2 * path.log_std).exp() * precision.diagonal()
    return least + ((apart @ precision) * apart).sum(1) / 2 + widths(ratio)


# %%
def timed(compute, *args, **kwargs):
    """A result, and the milliseconds that it took."""
    begun = time.perf_counter()
    return compute(*args, **kwargs), 1000 * (time.perf_counter() - begun)


rows = []
ways = {
    "score": black_box.score_gradients,
    "score, baseline": black_box.leave_one_out_gradients,
    "reparameterised": black_box.reparameterised_gradients,
}
zero, final, ascent_ms = torch.zeros(10).double(), {}, {}
for name, way in ways.items():
    rng = torch.Generator().manual_seed(seed)
    climb = black_box.black_box_ascent, log_joint, zero, zero - 1, way
    path, ascent_ms[name] = timed(*climb, samples=10, generator=rng)
    gap = gap_after(path)
    final[name] = gap[-1].item()
    row = {"gradient": name, "gap at first, nats": gap[0].item()}
    row |= {f"after {n}": gap[n].item() for n in (100, 300, 1000)}
    rows.append(row | {"least for a product": least.item()})
results_table(rows)

# %% [markdown]
# Each step has ten draws, for all three: two of the ways come close to the best that a product can do, and the plain score does not.
# Its gradient is not wrong, by {prf:ref}`thm-variational-gradients`, only noisy: it asks for more draws or smaller steps.
# It still works where $f$ cannot be differentiated or $z$ is discrete, and reparameterisation does not.
#
# (sec-variational-results)=
# ## Every answer beside the exact one
#
# All models of this chapter, small enough to know the truth; bounds, evidence and divergences are in nats, and the divergence is the gap, by {prf:ref}`thm-variational-gap`.
# (The patient alone: the better of the two starts. The mixture: twelve points. The magnet: $6 \times 6$, $\beta = 0.3$.)


# %% tags=["hide-input"]
grid, of_points = ising.ising_tables(side, 0.3), mixtures.MixtureMeanField
law = torch.distributions.MultivariateNormal(
    0 * target, torch.eye(40) + features @ features.T
)
exact_of = {
    "patient": lambda: graphs.medical_diagnosis().evidence_log_prob(patient),
    "mixture": lambda: mixtures.mixture_log_evidence(few, 3, 1.0, 5.0),
    "magnet": lambda: ising.ising_log_partition(side, 0.3).item(),
    "regression": lambda: law.log_prob(target).item(),
}
models = {
    "patient, each node alone": lambda: MeanField(idle, patient, (), 2),
    "patient, no idle nodes": lambda: MeanField(busy, patient),
    "patient, two joined": lambda: MeanField(busy, patient, [lungs]),
    "mixture": lambda: of_points(few, few[:3], 1.0, 5.0),
    "mixture, symmetric": lambda: of_points(few, 0 * few[:3], 1.0, 5.0),
    "magnet, each site": lambda: ising.IsingMeanField(side, 0.3, means=up),
    "magnet, each column": lambda: MeanField(grid, {}, by_column, 0),
}

# %% tags=["hide-input"]
truths, found, rows = {k: timed(f) for k, f in exact_of.items()}, [], []
for name, make in models.items():
    bounds, ms = timed(coordinate_ascent, make())
    found.append((name, bounds[-1], len(bounds) - 1, ms))
for name, gap in final.items():
    bound = truths["regression"][0] - gap
    found.append((f"regression, {name}", bound, None, ascent_ms[name]))
for name, bound, sweeps, ms in found:
    exact, exact_ms = truths[name.split(",")[0]]
    row = {"model": name, "bound": bound, "log p": exact}
    row |= {"KL to the truth": exact - bound, "sweeps": sweeps}
    rows.append(row | {"ms": round(ms, 1), "log p, ms": round(exact_ms, 1)})
results_table(rows)

# %% [markdown]
# Read the two columns of milliseconds with care: they are of one run on one machine.
# At these sizes the exact answer is often the quicker one; that is how we can know the truth.
# What differs is growth: the sum of the mixture triples with every point, the transfer matrix of the magnet has four times as many entries for every site more in a side, and a sweep of single factors grows in proportion to the model.
#
# ## Limits
#
# Everything here is small, so that it can be exact; on large models nobody knows the gap, and the bound alone does not tell a good optimum from a bad one.
# We took the best of a few starts, which is no guarantee.
# A small gap does not make every answer right: no product has any correlation, however good its bound.
# The reparameterised gradient is the better one on smooth problems like ours; {prf:ref}`thm-variational-variance` is about quadratic $f$ and says nothing about others, and there are functions for which the score has the lower variance {cite:p}`mohamed2020monte`.
#
# ## Exercises
#
# ```{exercise-start} Right margins, wrong law
# :label: ex-variational-marginals
# ```
# (Derive.) Let $q$ be the product of the *exact* posterior marginals of the patient.
# Why is its gap the divergence from the posterior?
# How many terms has its bound by eq. {eq}`eq-variational-local`, against a sum over all states?
# Is its gap larger or smaller than that of mean field, and is it over-confident?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-variational-marginals
# :class: dropdown
# ```
# {prf:ref}`thm-variational-gap` holds for every $q$; the code compares both sides.
# The local sums have as many terms as the tables have entries once the evidence is filled in.
# By {prf:ref}`thm-variational-forward` this $q$ is the optimum of the forward KL; every single marginal is right, so it is not over-confident about any node.
# But it is a product, so its gap cannot be below that of the best product, and here it is far above that of mean field: reverse KL pays for the combinations that this $q$ allows and the posterior hardly does.

# %%
free = [node for node in net.nodes if node not in patient]
q = MeanField(net, patient)
local = sum(table.values.numel() for table in q.tables)
states_of = math.prod(len(net.states[node]) for node in free)
q.factors = [net.posterior(f.names, patient) for f in q.factors]
margins = exact_log_prob - q.elbo()
assert margins > gaps["each node alone"]
divergence = kl(product(q.factors), net.posterior(free, patient))
assert math.isclose(margins, divergence)
print(f"{local} terms instead of {states_of} states")
print(f"gap {margins:.3f} nats, mean field {gaps['each node alone']:.3f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} An old friend
# :label: ex-variational-seidel
# ```
# (Derive.) Derive the optimal factor $q_j$ for $p = \mathcal N(\mu, \Sigma)$ from eq. {eq}`eq-variational-factor`, and say why no update lowers the bound.
# Which classical algorithm is coordinate ascent here?
# In two dimensions with correlation $\rho$, by which factor does the error of the means shrink in a sweep?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-variational-seidel
# :class: dropdown
# ```
# As a function of $z_j$, $\log p = -\tfrac12 \Lambda_{jj} (z_j - \mu_j)^2 - (z_j - \mu_j) \sum_{k \ne j} \Lambda_{jk} (z_k - \mu_k)$ plus a constant.
# Its mean over the other factors puts $m_k$ for $z_k$; completing the square, $q_j = \mathcal N(m_j, 1 / \Lambda_{jj})$ with
#
# $$
# m_j = \mu_j - \sum_{k \ne j} \frac{\Lambda_{jk}}{\Lambda_{jj}} (m_k - \mu_k).
# $$ (eq-variational-seidel)
#
# By {prf:ref}`thm-variational-ascent` each such update raises the bound, by $\mathrm{KL}(q_j \,\|\, q_j^*)$.
# It is the Gauss-Seidel method for $\Lambda (m - \mu) = 0$: solve equation $j$ for unknown $j$, in turn.
# With two coordinates of variance 1, $\Lambda_{12} / \Lambda_{11} = -\rho$, so an update multiplies the error by $\rho$ and hands it to the other coordinate: $\rho^2$ in a sweep.

# %%
rho = 0.9
cov = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
lam, m = cov.inverse(), torch.ones(2).double()  # mu = 0
v, bounds, errors = 1 / lam.diagonal(), [], []
p = torch.distributions.MultivariateNormal(torch.zeros(2).double(), cov)
for _ in range(6):
    for j, k in ((0, 1), (1, 0)):
        m[j] = -lam[j, k] / lam[j, j] * m[k]
        q = torch.distributions.MultivariateNormal(m.clone(), torch.diag(v))
        bounds.append(-torch.distributions.kl_divergence(q, p).item())
    errors.append(m[1].item())
ratios = [after / before for before, after in itertools.pairwise(errors)]
assert all(math.isclose(ratio, rho**2) for ratio in ratios)
assert bounds == sorted(bounds)
print(f"the error shrinks by {ratios[0]:.4f} in a sweep, rho^2 = {rho**2:.4f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A family that cannot, and one that can
# :label: ex-variational-families
# ```
# (Derive.) Here $q$ is no product but a law of one parameter or two.
#
# (a) Let $z \sim \mathcal N(0, 1)$ and $x_k \mid z \sim \mathcal N(z, \sigma_k^2)$ for $k = 1, 2$.
# Approximate $p(z \mid x_1, x_2)$ by a Laplace law, $q(z) = \frac{1}{2 b} e^{-|z - m| / b}$.
# Find the best $m$ and $b$ in closed form, and the gap that is left.
#
# (b) Let $p(z) = e^{-z}$, $z > 0$, and $p(x \mid z) = z\, e^{-z x}$, $x > 0$.
# Approximate $p(z \mid x)$ by $q_\theta(z) = \theta^2 z\, e^{-\theta z}$, whose mean is $2 / \theta$.
# Find the best $\theta$, and the gap that is left.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-variational-families
# :class: dropdown
# ```
# (a) The posterior is $\mathcal N(\mu, 1 / \Lambda)$ with $\Lambda = 1 + \sigma_1^{-2} + \sigma_2^{-2}$ and $\mu = (x_1 / \sigma_1^2 + x_2 / \sigma_2^2) / \Lambda$: add the exponents and complete the square.
# The Laplace law has the mean $m$, the variance $2 b^2$ and the entropy $1 + \log 2 b$.
# So
#
# $$
# \begin{aligned}
# \mathrm{KL}(q \,\|\, p) = {} & -1 - \log 2 b + \tfrac12 \log \tfrac{2 \pi}{\Lambda} \\
# & + \tfrac12 \Lambda \big(2 b^2 + (m - \mu)^2\big).
# \end{aligned}
# $$ (eq-variational-laplace)
#
# It is least for $m = \mu$, and $-\frac1b + 2 \Lambda b = 0$, that is $b = 1 / \sqrt{2 \Lambda}$: the variances agree.
# What is left is $\tfrac12 \log \pi - \tfrac12 \approx 0.072$ nats *whatever the data*: an ELBO of this family misses $\log p(x)$ by that much, and no training can close the gap.
#
# (b) $\log p(x, z) = \log z - z (1 + x)$ and $-\log q_\theta = -2 \log \theta - \log z + \theta z$; the logarithms of $z$ cancel.
# With $\mathbb E_q z = 2 / \theta$, $\mathcal L(\theta) = 2 - 2 \log \theta - 2 (1 + x) / \theta$.
# Its derivative $-\frac2\theta + \frac{2 (1 + x)}{\theta^2}$ is 0 at $\theta = 1 + x$ only, a maximum, where $\mathcal L = -2 \log(1 + x)$.
# That is $\log p(x)$, since $p(x) = \int_0^\infty z\, e^{-z (1 + x)} dz = (1 + x)^{-2}$: the family holds the posterior, and the gap is 0.
#
# The code knows none of these formulas: it sums over a grid and searches.

# %%
grid = torch.linspace(-40, 40, 400_001, dtype=torch.float64)
width = (grid[1] - grid[0]).item()


def grid_bound(log_joint, log_q):
    """E_q[log p(x, z) - log q(z)] by a sum over the grid."""
    weight = log_q.exp()
    kept = weight > 0
    return (weight * (log_joint - log_q))[kept].sum().item() * width


def normal_log(x, mean, variance):
    return (
        -((x - mean) ** 2) / variance / 2
        - math.log(2 * math.pi * variance) / 2
    )


# %%
rows = []
for x1, x2, v1, v2 in ((0.3, 1.2, 0.5, 2.0), (-3.0, 4.0, 1.0, 0.2)):
    prec = 1 + 1 / v1 + 1 / v2
    mid = (x1 / v1 + x2 / v2) / prec
    log_p = normal_log(grid, 0.0, 1.0)
    log_p = log_p + normal_log(x1, grid, v1) + normal_log(x2, grid, v2)
    truth = log_p.logsumexp(0).item() + math.log(width)

    def loss(of, log_p=log_p):
        m, log_b = of
        log_q = -(grid - m).abs() / math.exp(log_b) - log_b - math.log(2)
        return -grid_bound(log_p, log_q)

    best = minimize(loss, [0.0, 0.0], method="Nelder-Mead", tol=1e-10)
    assert abs(best.x[0] - mid) < 1e-3
    assert abs(math.exp(best.x[1]) - (2 * prec) ** -0.5) < 1e-3
    rows.append(
        {"model": f"Laplace, x = {x1:g}, {x2:g}", "gap": truth + best.fun}
    )
assert all(abs(r["gap"] - math.log(math.pi) / 2 + 0.5) < 1e-4 for r in rows)

# %%
positive = grid[grid > 0]
for x in (0.5, 4.0):
    log_p = positive.log() - positive * (1 + x)
    truth = log_p.logsumexp(0).item() + math.log(width)

    def loss_of(rate, log_p=log_p):
        log_q = 2 * math.log(rate) + positive.log() - rate * positive
        return -grid_bound(log_p, log_q)

    best = minimize_scalar(loss_of, bounds=(0.1, 20), method="bounded")
    assert abs(best.x - (1 + x)) < 1e-3
    assert abs(truth + 2 * math.log(1 + x)) < 1e-6
    rows.append({"model": f"Gamma, x = {x:g}", "gap": truth + best.fun})
assert all(abs(row["gap"]) < 1e-6 for row in rows[2:])
results_table([row | {"gap": round(row["gap"], 6)} for row in rows])

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Two switches and a dial
# :label: ex-variational-switches
# ```
# (Derive.) Two hidden switches $h_1, h_2 \in \{0, 1\}$, each on with probability $\tfrac12$, move a dial: $p(v \mid h) = \mathcal N(v;\ w_0 + w_1 h_1 + w_2 h_2,\ \sigma^2)$, a Bayesian network $h_1 \to v \leftarrow h_2$.
# The dial was read twice, $v^1 = 1$ and $v^2 = -1$.
# Give each reading $i$ a fully factorised posterior of its own, not amortised, with the parameters $Q^i_{jk} = q^i_j(h_j = k)$.
# Derive the evidence lower bound of both readings, and simplify it.
# What is the update of $Q^i_{11}$?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-variational-switches
# :class: dropdown
# ```
# By {prf:ref}`thm-variational-bayes-net` (with a density in the place of the table of $v$) the bound is a sum of local means.
# Write $m_{ij} = Q^i_{j1}$, so $Q^i_{j0} = 1 - m_{ij}$.
#
# 1. Each prior term is $\sum_k Q^i_{jk} \log \tfrac12 = -\log 2$, whatever $Q$.
# 2. Each entropy is $H(m) = -m \log m - (1 - m) \log(1 - m)$.
# 3. The dial's term is $-\tfrac12 \log 2 \pi \sigma^2 - \frac{1}{2 \sigma^2} \mathbb E_q (v^i - w_0 - w_1 h_1 - w_2 h_2)^2$. A mean square is the square of the mean plus the variance; under $q$ the switches are independent, so the variance is $\sum_j w_j^2 m_{ij} (1 - m_{ij})$.
#
# Together
#
# $$
# \begin{aligned}
# \mathcal L = \sum_{i=1}^2 \Big\{ & -2 \log 2 - \tfrac12 \log 2 \pi \sigma^2 + \sum_j H(m_{ij}) \\
# & - \tfrac{1}{2 \sigma^2} \big(v^i - w_0 - \textstyle\sum_j w_j m_{ij}\big)^2 \\
# & - \tfrac{1}{2 \sigma^2} \textstyle\sum_j w_j^2 m_{ij} (1 - m_{ij}) \Big\}.
# \end{aligned}
# $$ (eq-variational-switches)
#
# The sheet leaves $w$ and $\sigma$ as symbols, so the data only fill in $v^1 = 1$ and $v^2 = -1$.
# For the update take {eq}`eq-variational-factor`: the logarithm of the odds is the difference of the dial's term between $h_1 = 1$ and $h_1 = 0$, in the mean over $h_2$: $\log \frac{m_{i1}}{1 - m_{i1}} = \frac{w_1}{\sigma^2} \big(v^i - w_0 - w_2 m_{i2} - \tfrac12 w_1\big)$.

# %%
switches = torch.cartesian_prod(*[torch.tensor([0.0, 1.0]).double()] * 2)
readings = torch.tensor([1.0, -1.0]).double()


def by_formula(w, s2, m):
    """The bound of both readings; m: (2 readings, 2 switches)."""
    off = readings - w[0] - m @ w[1:]
    spare = (w[1:] ** 2 * m * (1 - m)).sum(1)
    h = -torch.xlogy(m, m) - torch.xlogy(1 - m, 1 - m)
    fit = -(off**2 + spare) / s2 / 2 - math.log(2 * math.pi * s2) / 2
    return (fit - 2 * math.log(2) + h.sum(1)).sum()


def by_sum(w, s2, m):
    """The same by a sum over the four states of the switches."""
    q = (switches * m[:, None] + (1 - switches) * (1 - m[:, None])).prod(-1)
    fit = normal_log(readings[:, None], w[0] + switches @ w[1:], s2)
    return (q * (fit - 2 * math.log(2) - q.log())).sum()


# %%
rng = torch.Generator().manual_seed(seed)
for _ in range(20):
    w = torch.randn(3, generator=rng).double()
    m = torch.rand(2, 2, generator=rng).double()
    assert torch.isclose(by_formula(w, 0.7, m), by_sum(w, 0.7, m))
    odds = w[1] / 0.7 * (readings - w[0] - w[2] * m[:, 1] - w[1] / 2)
    m[:, 0] = odds.sigmoid()
    m.requires_grad_()
    (slope,) = torch.autograd.grad(by_formula(w, 0.7, m), m)
    assert slope[:, 0].abs().max() < 1e-9  # nothing left to gain
print("the bound by the formula and by the sum agree; the update is a maximum")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Two coins that mostly agree
# :label: ex-variational-pair
# ```
# (Derive.) Two coins show equal sides with probability $1 - 2 \alpha$, $\alpha < \frac14$; the two equal outcomes are equally probable, and so are the two others.
# Over products, what is the optimum of the forward KL, and which laws does no update of coordinate ascent change?
# Below which $\alpha$ has the reverse KL more than one optimum?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-variational-pair
# :class: dropdown
# ```
# Forward: the product of the marginals, which are uniform for every $\alpha$.
# Reverse: with $s, t = \pm 1$ for the sides, $\log p(s, t) = \beta s t$ plus a constant, where $\beta = \tfrac12 \log \frac{1 - 2 \alpha}{2 \alpha} > 0$.
# So no update changes $q$ if $\mathbb E s = \tanh(\beta\, \mathbb E t)$ and $\mathbb E t = \tanh(\beta\, \mathbb E s)$.
# The two means are equal: $\tanh$ rises, so if $\mathbb E s > \mathbb E t$, then $\mathbb E t = \tanh(\beta\, \mathbb E s) > \tanh(\beta\, \mathbb E t) = \mathbb E s$, which is impossible, and the other way in the same manner.
# As in the proof of {prf:ref}`thm-variational-ising`, with $\beta$ for $4 \beta$, $m = \tanh(\beta m)$ has solutions other than 0 if and only if $\beta > 1$, that is, $\alpha < 1 / (2 + 2 \mathrm e^2)$, and then their bound is the higher one: two optima, in which both coins lean to one side.


# %%
def lean(alpha):
    """How far a coin of the optimum leans to one side."""
    law = Table([[0.5 - alpha, alpha], [alpha, 0.5 - alpha]], ["s", "t"])
    q = MeanField([law], generator=torch.Generator().manual_seed(1))
    coordinate_ascent(q, sweeps=5000, tolerance=0)
    return abs(q.marginal("s")["0"] - 0.5)


critical = 1 / (2 + 2 * math.exp(2))
above, below = lean(critical * 1.1), lean(critical * 0.9)
assert above < 1e-3 < 0.1 < below
print(
    f"critical: {critical:.4f}; leaning {above:.1e} above, {below:.2f} below"
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Six copies of one answer
# :label: ex-variational-copies
# ```
# (Derive.) The mixture's mean field settles on one of $K!$ orders of the names.
# What does that cost, and how much of it does the average of the $K!$ renamed copies of $q$ take back?
# Measure it for twelve points, where the evidence can be summed, and groups at several distances.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-variational-copies
# :class: dropdown
# ```
# For the first twelve points the exact evidence can be summed over all $3^{12}$ labellings.
# The cure is to average the $K!$ renamed copies $q_\pi$ of $q$: a mixture of products, whose bound is
#
# $$
# \begin{aligned}
# \mathcal L(\bar q) & = \mathcal L(q) + \mathbb E_q \log \frac{q}{\bar q}, \\
# \bar q & = \tfrac1{K!} \textstyle\sum_\pi q_\pi,
# \end{aligned}
# $$ (eq-variational-copies)
#
# because renaming changes neither $p$ nor $\bar q$.
# The second term is at most $\log K!$, because $\bar q \ge q / K!$; it is estimated from draws, hence the standard errors (one below a thousandth is shown as a thousandth).
# It is less than $\log K!$ where copies overlap: if two components of $q$ have become equal, only three of six copies differ, and it is $\log 3$.


# %%
def gain_of_copies(q, n):
    """Draws of log q - log of the average of its six renamed copies, (n,)."""
    of_means, of_labels = q.factors
    means, labels = of_means.sample((n, 1)), of_labels.sample((n,))
    fit = of_means.log_prob(means.transpose(1, 2)).sum(-1)
    hits = torch.nn.functional.one_hot(labels, 3).double()  # (n, N, K)
    fit = fit + hits.mT @ of_labels.logits  # (n, K, K): k under the name l
    orders = itertools.permutations(range(3))
    copies = [fit[:, range(3), order].sum(1) for order in orders]
    return copies[0] - torch.stack(copies).logsumexp(0) + math.log(6)


# %%
torch.manual_seed(seed)
rows = []
for scale in (0.5, 0.7, 1.0, 1.5):
    x = few + (scale - 1) * corners[torch.arange(12) % 3]
    evidence = mixtures.mixture_log_evidence(x, 3, noise=1.0, spread=5.0)
    q = mixtures.MixtureMeanField(x, x[:3], noise=1.0, spread=5.0)
    gap = evidence - coordinate_ascent(q)[-1]
    gain = gain_of_copies(q, draws)
    error = gain.std().item() / draws**0.5
    left = {"value": gap - gain.mean().item(), "error": max(error, 1e-3)}
    row = {"distance of groups": f"{scale:g} ×", "gap, nats": gap}
    rows.append(row | {"gap of six copies": left, "log 6": math.log(6)})
results_table(rows)

# %% [markdown]
# Where the groups are far apart the gap is nearly $\log 6$, and the copies remove nearly all of it.
# They change no answer that does not depend on names, such as how likely two points are of one group: a broken symmetry of names is harmless.
# What the copies do not remove is not harmless.
# It is largest where the groups overlap: then the labels depend on one another, and independent factors cannot say so.
#
# ```{solution-end}
# ```
#
# ```{exercise-start} Two queues
# :label: ex-variational-em
# ```
# (Derive.) Counts come from two sources, Poisson with unknown rates $\lambda_k$, mixed with unknown weights $w_k$.
# Derive both steps of EM as coordinate ascent on $\mathcal F$, and check on drawn data that the likelihood never falls.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-variational-em
# :class: dropdown
# ```
# E-step: by {prf:ref}`thm-variational-gap` the best $q$ is the posterior of the sources, $r_{nk} \propto w_k \lambda_k^{x_n} \mathrm e^{-\lambda_k}$.
# M-step: as a function of the parameters, $\mathcal F$ is $\sum_{nk} r_{nk} (\log w_k + x_n \log \lambda_k - \lambda_k)$ plus a constant.
# The Poisson family has $t(x) = x$ and mean $\lambda$, so by {prf:ref}`thm-variational-exponential`, with point $n$ counted $r_{nk}$ times, moments match: $\lambda_k = \sum_n r_{nk} x_n / \sum_n r_{nk}$ and $w_k = \frac1N \sum_n r_{nk}$.

# %%
torch.manual_seed(seed)
counts = torch.cat([torch.full((200,), 2.0), torch.full((100,), 9.0)])
counts = torch.poisson(counts).double()
rates, weights = torch.tensor([1.0, 5.0]).double(), torch.ones(2).double() / 2
likelihoods = []
for _ in range(60):
    law = torch.distributions.Poisson(rates)
    log_p = law.log_prob(counts[:, None]) + weights.log()
    likelihoods.append(log_p.logsumexp(1).sum().item())
    r = log_p.softmax(1)  # E-step
    rates = (r * counts[:, None]).sum(0) / r.sum(0)  # M-step
    weights = r.mean(0)
pairs = itertools.pairwise(likelihoods)
assert all(after >= before - 1e-9 for before, after in pairs)
print("rates {:.2f} and {:.2f}".format(*rates.tolist()), end=", ")
print("weights {:.2f} and {:.2f}".format(*weights.tolist()))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Ten heads in a row
# :label: ex-variational-exponential
# ```
# (Derive.) From {prf:ref}`thm-variational-exponential`, find the maximum-likelihood parameters of the law with density $\lambda \mathrm e^{-\lambda x}$, $x > 0$, and of the Poisson law with rate $\lambda$.
# Then toss a coin ten times, all heads.
# What does the theorem say, what does gradient ascent do, and what changes with one head and one tail added?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-variational-exponential
# :class: dropdown
# ```
# Both have $t(x) = x$, with $\theta = -\lambda$ and $\theta = \log \lambda$; the means are $1 / \lambda$ and $\lambda$, so $\hat\lambda = 1 / \bar x$ and $\hat\lambda = \bar x$.
# For the coin, $t(x) = x$ is 1 for heads and 0 for tails, and $\mathbb E_\theta\, t = 1 / (1 + \mathrm e^{-\theta})$, which is 1 for no $\theta$: there is no maximum, and $\theta$ grows without end, like the logarithm of the number of steps.
# With one head and one tail more, $\bar t = \frac{11}{12}$, and $\hat\theta = \log 11$.

# %%
ends = {}
for name, mean_t in (("ten heads", 1.0), ("one of each added", 11 / 12)):
    theta, visited = 0.0, []
    for _ in range(20_000):
        theta += mean_t - 1 / (1 + math.exp(-theta))
        visited.append(theta)
    ends[name] = visited[9_999], visited[-1]
    print(f"{name}: {visited[9_999]:.4f}, then {visited[-1]:.4f}")
before, after = ends["ten heads"]
assert math.isclose(after - before, math.log(2), rel_tol=1e-3)  # log steps
assert math.isclose(ends["one of each added"][1], math.log(11))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A posterior without a formula
# :label: ex-variational-logistic
# ```
# (Code.) Logistic regression with two weights, prior $\mathcal N(0, I)$, thirty labelled points: its posterior has no closed form.
# Fit a factorised Gaussian with `black_box_ascent`, and find the gap by a sum over a fine grid.
# At the end of the ascent, how do the variances of the two gradient estimators compare?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-variational-logistic
# :class: dropdown
# ```
# The integrand is smooth and nearly 0 at the border, so a sum over the grid is exact to many digits, for $p(x)$ and for the mean under $q$ alike.
# The variances are measured, because {prf:ref}`thm-variational-variance` speaks of quadratic $f$ only; the score gets its best baseline for each entry, by {prf:ref}`prop-variational-baseline`.

# %%
torch.manual_seed(seed)
inputs = (
    torch.randn(30, 2).double() @ torch.tensor([[1.0, 0.9], [0, 0.5]]).double()
)
labels = (torch.rand(30) < torch.sigmoid(inputs.sum(1))).double()


def log_posterior(w):
    logits = w @ inputs.T
    fit = labels * logits - torch.nn.functional.softplus(logits)
    return fit.sum(1) + standard.log_prob(w).sum(1)


rng = torch.Generator().manual_seed(seed)
path = black_box.black_box_ascent(
    log_posterior, zero[:2], zero[:2], steps=1000, generator=rng
)
w = torch.cartesian_prod(*[torch.linspace(-7, 7, 281).double()] * 2)
cell = math.log((14 / 280) ** 2)
found = torch.distributions.Normal(path.mean[-1], path.log_std[-1].exp())
log_q, log_p = found.log_prob(w).sum(1), log_posterior(w)
evidence = log_p.logsumexp(0).item() + cell
bound = ((log_q + cell).exp() * (log_p - log_q)).sum().item()
assert 0 < evidence - bound < 0.5
print(f"log p {evidence:.3f}, bound {bound:.3f}, gap {evidence - bound:.3f}")

# %%
noise = torch.randn(draws, 2, generator=rng, dtype=torch.float64)
here = path.mean[-1], path.log_std[-1], noise
s = black_box.score(path.log_std[-1], noise)
f = log_posterior(here[0] + here[1].exp() * noise)[:, None, None]
best = (f * s**2).mean(0) / (s**2).mean(0)
of_slope = black_box.reparameterised_gradients(log_posterior, *here).var(0)
ratio = ((f - best) * s).var(0) / of_slope
assert (ratio > 1).all()
print("variance, score / reparameterised:", ratio.numpy().round(1).tolist())

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Which to join? (open)
# :label: ex-variational-blocks
# ```
# (Open.) We joined pneumonia and bronchitis because we knew that they explain each other away.
# Find a rule that chooses a block without the exact posterior.
# This question is open: we know of no rule that is always best.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-variational-blocks
# :class: dropdown
# ```
# A first answer: the bound itself needs no posterior, and by {prf:ref}`thm-variational-gap` it says which of two blocks leaves the smaller gap.
# So try every pair, and go on from the best.
# Here this rule finds our pair; but it costs an ascent for each pair, and each ascent may end in a poor optimum.

# %%
free = [node for node in net.nodes if node in kept and node not in patient]
rows = []
for pair in itertools.combinations(free, 2):
    q = MeanField(busy, patient, [pair])
    bound = coordinate_ascent(q, tolerance=1e-6)[-1]
    rows.append({"joined": " and ".join(pair), "bound, nats": bound})
rows.sort(key=lambda row: -row["bound, nats"])
assert set(rows[0]["joined"].split(" and ")) == set(lungs)
results_table(rows[:4])

# %% [markdown]
# ```{solution-end}
# ```
#
# ## What she lost

# %%
names = list(plans)
names = [names[0], names[1], names[2], names[4]]
says = [doctors[name].marginal("pneumonia")["yes"] for name in names]
lost = [gaps[name] for name in names]
Markdown(
    f"She lost exactly a divergence: {lost[0]:.2f} nats between what she "
    "believes and the posterior. With it went the correlation of the "
    f"diseases, and nearly all of her doubt: she says {says[0]:.0%} where "
    f"the answer is {exact_chance:.0%}. The doubt comes back once she no "
    "longer weighs what nobody looked at: then the diseases may stay apart, "
    f"and she says {says[1]:.0%}, with a gap of {lost[1]:.2f} nats. To weigh "
    "together what explains each other away brings back the correlation "
    f"({says[2]:.0%}, {lost[2]:.2f} nats); by itself, with the idle nodes "
    f"kept, it cures nothing ({says[3]:.1%})."
)

# %% [markdown]
# That is the whole of variational inference: choose a family that can say what matters, climb a bound that never falls, and know what the family cannot say.
# The rest of this book chooses ever richer families, and lets networks choose the parameters.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
