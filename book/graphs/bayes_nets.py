# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:bayes-nets)=
# # The alarm rings: what do ten small tables know about it?
#
# It is three in the morning and the alarm of a web server rings.
# Perhaps it is only the traffic: many visitors, a busy processor, slow pages.
# Perhaps the new release leaks memory.
# Perhaps the cooling has failed and the machine is about to crash.
# You look at one more dial, the traffic, and it stands at its peak.
# Should that calm you?
#
# This chapter writes down what an engineer knows about such a server as a *Bayesian network*: an arrow from each cause to its effects, and a small table for each variable.
# The arrows say what depends on what; the tables say how much.
# From them every question gets an exact answer, and so does the harder question of what would happen if we *did* something.
#
# :::{admonition} You will learn to
# - prove that a law factorises over a directed graph if and only if each variable is independent of its non-descendants given its parents;
# - read every independence off the graph by d-separation, and prove that what you read is true;
# - say when two graphs mean the same, and prove that too;
# - answer any query exactly by variable elimination, and predict what it costs;
# - tell seeing from doing, and say how far an answer depends on a number in a table.
#
# You need: conditional probability and independence, as in {ref}`ch:probability`.
# :::
#
# | symbol | meaning | code |
# | :-- | :-- | :-- |
# | $G$ | directed acyclic graph (DAG), nodes $v \in V$ | `net.dag` |
# | $x_v$ | state of the variable at node $v$; $x_A$ those of a set $A$ | `"yes"`, `"no"` |
# | $\mathrm{pa}(v)$ | parents of $v$: the nodes with an arrow to it | `dag.pred[v]` |
# | $t_v(x_v \mid x_{\mathrm{pa}(v)})$ | table of $v$: a row of probabilities for each state of its parents | `net.tables[v]` |
# | $\mathrm{nd}(v)$ | non-descendants of $v$: nodes to which no arrows lead from $v$; without $v$ and its parents | `not_below` |
# | $\mathrm{An}(A)$ | the nodes of $A$ and all their ancestors | |
# | $X \perp Y \mid Z$ | the variables $X$ are independent of $Y$ given $Z$ | `independent(law, X, Y, Z)` |
# | $k_v$ | number of states of $x_v$ | `len(net.states[v])` |
# | $d(G)$ | number of free parameters | `net.parameters` |

# %% tags=["parameters"]
seed: int = 0
repeats: int = 20  # data sets drawn for each point of the last figure

# %% tags=["hide-input"]
import json
from functools import reduce
from importlib.resources import files
from itertools import combinations, permutations, product
from operator import mul

import networkx as nx
import numpy as np
import torch
from IPython.display import Markdown

from companion import figures, graphs
from companion.claims import check
from companion.figures import results_table, show, show_source
from companion.graphs import BayesNet, Reachability, all_dags, d_separated
from companion.graphs import elimination as ve

generator = torch.Generator().manual_seed(seed)
rng = np.random.default_rng(seed)

# %% [markdown]
# (sec-bn-factorisation)=
# ## Ten small tables define the law of the whole server
#
# Here is the network in full.
# Each entry of `rows` is a table: its last variable is the one it describes, those before are its parents, and each innermost list is one row of probabilities.
# The numbers are invented, but a real team could have counted them.

# %%
show_source(graphs.server_monitoring)

# %%
server = graphs.server_monitoring()
figures.probability_table(server.tables["heat"], "One of the ten tables.")

# %% tags=["hide-input"]
show(
    figures.draw_graph(
        server.dag, alt="The directed graph of the server network."
    ),
    "The server network: an arrow leads from each cause to its effects. "
    "The alarm listens to slow pages and to crashes only.",
    alt="Ten nodes. Release leads to leak, leak to memory, traffic to load; "
    "load and cooling to heat; load and memory to slow; heat and memory to "
    "crash; slow and crash to alarm.",
    label="fig-bn-server",
)

# %% [markdown]
# The joint law has one probability for every combination of states, and the network claims that it is a product of the tables:
#
# $$
# p(x) = \prod_{v \in V} p(x_v \mid x_{\mathrm{pa}(v)}).
# $$ (eq-bn-factorisation)

# %%
full = server.joint().values.numel() - 1
Markdown(
    f"{server.parameters} numbers in the tables are free; "
    f"a table of the whole law has {full:,}."
)

# %% [markdown]
# What does a product like this say about the world?
# Exactly this: once the parents of a variable are known, its other non-descendants have nothing to add.
# That is called the *local Markov property*.
#
# :::{prf:theorem} Factorisation is the local Markov property
# :label: thm-bn-factorisation
# Let $G$ be a DAG and $p$ a law of finitely many discrete variables.
# There are tables $t_v(x_v \mid x_{\mathrm{pa}(v)}) \ge 0$ with $\sum_{x_v} t_v = 1$ such that $p(x) = \prod_v t_v(x_v \mid x_{\mathrm{pa}(v)})$ for all $x$, if and only if $v \perp \mathrm{nd}(v) \mid \mathrm{pa}(v)$ for every node $v$.
# :::
#
# :::{prf:proof}
# From the product to independence, in steps:
#
# 1. Fix $v$, and list the nodes so that parents come first, in this order: $A = \mathrm{nd}(v) \cup \mathrm{pa}(v)$, then $v$, then the descendants of $v$. That is possible because a parent of a node of $A$ is neither $v$ nor a descendant of $v$, so it is in $A$ too.
# 2. Sum the product over the descendants, the last first. Each time only one table names the variable, and it sums to 1.
# 3. What is left is $p(x_A, x_v) = t_v(x_v \mid x_{\mathrm{pa}(v)}) \prod_{u \in A} t_u(x_u \mid x_{\mathrm{pa}(u)})$.
# 4. Sum over $x_v$ as well: the product over $A$ is $p(x_A)$. So $p(x_A, x_v) = t_v(x_v \mid x_{\mathrm{pa}(v)})\, p(x_A)$.
# 5. Sum this over $x_{\mathrm{nd}(v)}$: $p(x_v, x_{\mathrm{pa}(v)}) = t_v(x_v \mid x_{\mathrm{pa}(v)})\, p(x_{\mathrm{pa}(v)})$. So wherever $p(x_{\mathrm{pa}(v)}) > 0$, the table is the conditional law.
# 6. Multiply step 4 by $p(x_{\mathrm{pa}(v)})$ and use step 5: $p(x_A, x_v)\, p(x_{\mathrm{pa}(v)}) = p(x_v, x_{\mathrm{pa}(v)})\, p(x_A)$. That is the claimed independence, {eq}`eq-probability-independent`.
#
# From independence to the product:
#
# 7. Let $t_v(x_v \mid x_{\mathrm{pa}(v)}) = p(x_v \mid x_{\mathrm{pa}(v)})$, and any law in rows whose condition has probability 0. Number the nodes $v_1, \dots, v_n$, parents first. If $p(x) > 0$, the chain rule gives $p(x) = \prod_i p(x_{v_i} \mid x_{v_1}, \dots, x_{v_{i-1}})$.
# 8. The nodes before $v_i$ are not descendants of it, and contain its parents. By independence from $\mathrm{nd}(v_i)$, hence from any part of it (decomposition, {prf:ref}`thm-probability-semigraphoid`), each factor is $p(x_{v_i} \mid x_{\mathrm{pa}(v_i)})$, which is $t_{v_i}$.
# 9. If $p(x) = 0$, let $i$ be the first place with $p(x_{v_1}, \dots, x_{v_i}) = 0$. Then $p(x_{v_i} \mid x_{v_1}, \dots, x_{v_{i-1}})$ has a condition of positive probability and is 0. By the reason of step 8 it is $t_{v_i}$, so both sides are 0.
# :::
#
# We check it on all 543 DAGs with four nodes.
# Each gets one law, with random tables of two states, and each law is held against every graph.
# So we compare two tables of 543 × 543 answers: does law $j$ factorise over graph $i$, and does it have the local Markov property of graph $i$?
# By step 5 a law factorises if it is the product of its own conditionals; multiplied out, $p(x) \prod_v p(x_{\mathrm{pa}(v)}) = \prod_v p(x_v, x_{\mathrm{pa}(v)})$, there is nothing to divide by.

# %%
names = "ABCD"
dags = list(all_dags(names))
nets = [BayesNet.random(dag, 2, generator) for dag in dags]
laws = torch.stack([net.joint().marginal(*names).values for net in nets])


def keep(laws, kept):
    """Sum laws (laws, A, B, ...) over the variables that are not kept."""
    out = [i for i in range(1, laws.ndim) if names[i - 1] not in kept]
    return laws.sum(out, keepdim=True) if out else laws


def same(left, right):
    """For each law, whether two products are equal, up to rounding."""
    return torch.isclose(left, right, rtol=1e-9, atol=0).flatten(1).all(1)


def holds(laws, x, y, z):
    """For each law, whether x and y are independent given z."""
    left = keep(laws, x | y | z) * keep(laws, z)
    return same(left, keep(laws, x | z) * keep(laws, y | z))


# %%
def factorises(laws, dag):
    """For each law, whether it is the product of its own conditionals."""
    left, right = laws, keep(laws, ())  # the sum of a law, 1 or a count
    for v, pa in dag.pred.items():
        left, right = left * keep(laws, pa), right * keep(laws, {v, *pa})
    return same(left, right)


def markov(laws, dag, others, given):
    """For each law, whether v is independent of others(v) given given(v)."""
    found = torch.ones(len(laws), dtype=torch.bool)
    for v in dag:
        z = frozenset(given(dag, v))
        rest = frozenset(others(dag, v)) - z - {v}
        if rest:
            found &= holds(laws, frozenset(v), rest, z)
    return found


# %%
def not_below(dag, v):
    return set(dag) - nx.descendants(dag, v)


def parents(dag, v):
    return dag.pred[v]


def answers(laws, dags):
    """Tables (graphs, laws): product, Markov, and two false versions."""
    rules = {
        "local": (not_below, parents),
        "independent without knowing the parents": (not_below, lambda *_: ()),
        "independent of descendants too": (lambda dag, v: set(dag), parents),
    }
    fits = torch.stack([factorises(laws, dag) for dag in dags])
    agree = {
        name: (fits == torch.stack([markov(laws, d, *rule) for d in dags]))
        for name, rule in rules.items()
    }
    return fits, agree


# %%
fits, agree = answers(laws, dags)
check("thm-bn-factorisation").holds(
    agree.pop("local").flatten(),
    wrong={name: table.flatten() for name, table in agree.items()},
    how="random instances",
)

# %%
Markdown(f"{int(fits.sum()):,} of the {fits.numel():,} pairs factorise.")

# %% [markdown]
# None of these laws has a zero, and zeros were the delicate part of the proof.
# So a second check takes three bits, all 25 graphs, and all laws whose eight probabilities are proportional to numbers in $\{0, 1, 2\}$.

# %%
small = list(all_dags("ABC"))
digits = torch.tensor(list(product((0.0, 1.0, 2.0), repeat=8)))[1:]
_, agree = answers(digits.double().view(-1, 2, 2, 2), small)
check("thm-bn-factorisation").holds(
    agree.pop("local").flatten(),
    wrong={name: table.flatten() for name, table in agree.items()},
    how="exhaustive",
)

# %% [markdown]
# (sec-bn-parameters)=
# ## A row of $k$ probabilities has $k - 1$ free numbers
#
# A table for $x_v$ has one row for each state of the parents, and each row sums to 1.
# So a network has
#
# $$
# d(G) = \sum_{v \in V} (k_v - 1) \prod_{u \in \mathrm{pa}(v)} k_u
# $$ (eq-bn-parameters)
#
# free parameters ({ref}`ch:probability` proves that none of them is superfluous).
# Turning an arrow around can change that number, and the set of laws that factorise.
# One kind of arrow changes neither: an arrow $x \to y$ is called *covered* if the parents of $y$ are exactly the parents of $x$, and $x$ itself.
#
# :::{prf:proposition} Turning a covered arrow is free
# :label: prop-bn-covered
# Let $x \to y$ be covered in a DAG $G$, and let $G'$ be $G$ with $y \to x$ in its place.
# Then $G'$ is acyclic, the same laws factorise over $G$ and over $G'$, and $d(G) = d(G')$.
# :::
#
# :::{prf:proof}
# In steps, with $P = \mathrm{pa}(x)$ in $G$, so that $\mathrm{pa}(y) = P \cup \{x\}$; here $x$ and $y$ also stand for the states of these nodes, and $P$ for those of the parents:
#
# 1. If $G'$ had a cycle, it would use $y \to x$ and a directed path from $x$ to $y$ of at least two arrows. The last arrow of that path comes from a parent of $y$ other than $x$, thus from a node $w \in P$. Then $w \to x$ in $G$, and $x \to \dots \to w \to x$ is a cycle in $G$: impossible.
# 2. Only two tables change. Given $t_x(x \mid P)$ and $t_y(y \mid P, x)$ of a law that factorises over $G$, let $t'_y(y \mid P) = \sum_x t_x\, t_y$, and $t'_x(x \mid P, y) = t_x\, t_y / t'_y$, or any law where $t'_y = 0$. Their rows sum to 1.
# 3. Then $t'_y\, t'_x = t_x\, t_y$: where $t'_y = 0$, each term of its sum is 0, so both sides are. So the law factorises over $G'$; and the other way round, as $y \to x$ is covered in $G'$.
# 4. With $r$ the number of states of $P$, the two tables of $G$ have $r (k_x - 1) + r k_x (k_y - 1) = r (k_x k_y - 1)$ free parameters. This is symmetric in $x$ and $y$.
# :::
#
# The check turns every arrow in all 543 graphs, first with 2, 3, 4 and 5 states to count, then with the random laws.
# Only the covered arrows must keep the number and the laws.

# %%
sizes = dict(zip(names, (2, 3, 4, 5), strict=True))


def free(dag, less=1):
    """Free parameters of a graph; less=0 forgets that rows sum to 1."""
    rows = {v: np.prod([sizes[u] for u in dag.pred[v]]) for v in names}
    return sum((sizes[v] - less) * rows[v] for v in names)


def turned(dag, x, y):
    other = dag.copy()
    other.remove_edge(x, y)
    other.add_edge(y, x)
    return other


# %%
arrows = [(dag, x, y) for dag in dags for x, y in dag.edges]
covered = np.array([set(g.pred[y]) == {x, *g.pred[x]} for g, x, y in arrows])
one_more = np.array(
    [len(g.pred[y]) == len(g.pred[x]) + 1 for g, x, y in arrows]
)


def kept(count):
    """For each arrow, whether turning it keeps the graph's count."""
    return np.array([count(g) == count(turned(g, x, y)) for g, x, y in arrows])


check("prop-bn-covered", kind="exhaustive").holds(
    kept(free) | ~covered,
    wrong={
        "any arrow may be turned": kept(free),
        "one parent more is enough": kept(free) | ~one_more,
        "rows need not sum to 1": kept(lambda g: free(g, 0)) | ~covered,
    },
)

# %%
place = {frozenset(dag.edges): i for i, dag in enumerate(dags)}
pairs = [(place[frozenset(g.edges)], turned(g, x, y)) for g, x, y in arrows]
pairs = [(i, place.get(frozenset(h.edges))) for i, h in pairs]  # None: cycle
alike = np.array(
    [j is not None and (fits[i] == fits[j]).all() for i, j in pairs]
)
check("prop-bn-covered").holds(
    alike | ~covered,
    wrong={
        "any arrow may be turned": alike,
        "one parent more is enough": alike | ~one_more,
    },
    how="random instances",
)

# %% [markdown]
# (sec-bn-inference)=
# ## Every question is a sum, and the order of summing decides its price
#
# A posterior is a quotient of two sums of the product {eq}`eq-bn-factorisation`: above, over all variables that are neither asked for nor observed; below, over all that are not observed.
# The server has few joint states, and one could add them up.
# With 40 nodes of two states there are $2^{40}$, and one could not.
# *Variable elimination* uses nothing but $ab + ac = a(b + c)$: to sum a variable out, multiply only the tables that name it.
#
# :::{prf:theorem} Elimination is exact in any order
# :label: thm-bn-elimination
# Let $\phi_1, \dots, \phi_m$ be functions of some of the discrete variables $x_V$; say that $\phi_j$ *names* a variable if it is a function of it.
# Let $Q \subset V$ and $u \in V \setminus Q$.
# Replace those $\phi_j$ that name $u$ by the one function $\psi = \sum_{x_u} \prod_{j \text{ names } u} \phi_j$.
# The sum of the product over all variables outside $Q$ stays the same.
# So eliminating all variables outside $Q$ one by one, in any order, gives $\sum_{x_{V \setminus Q}} \prod_j \phi_j$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. A finite sum may be done in any order, so sum over $x_u$ first: $\sum_{x_{V \setminus Q}} \prod_j \phi_j = \sum_{x_{V \setminus (Q \cup \{u\})}} \sum_{x_u} \prod_j \phi_j$.
# 2. The functions that do not name $u$ are constant in the inner sum, so they come out of it by the distributive law.
# 3. What remains inside is $\psi$, which does not name $u$.
# 4. Repeat with the new list; each time one variable less is left, until only those in $Q$ are.
# :::
#
# The program follows the proof: `plan` lists the products and sums, one for each variable, and `run` does each of them with one `einsum`.
# (No `einsum` takes too many tables at once, so longer products are cut; `scaled` divides by a number where the result is too small or too large for the machine, and keeps its logarithm.)

# %%
show_source(ve.plan, ve.run)

# %% [markdown]
# In 60 random networks of four nodes with three states we ask for the last node and eliminate the others in each of the six orders.
# The other side multiplies all tables and adds up.


# %%
def only(table, name):
    """Sum one table over all variables but one."""
    return table.marginal(*{name} & set(table.names)).values


eliminated, summed, early, forgot = [], [], [], []
for k in rng.integers(len(dags), size=60):
    tables = list(BayesNet.random(dags[k], 3, generator).tables.values())
    scopes, values = [t.names for t in tables], [t.values for t in tables]
    *others, last = names
    for order in permutations(others):
        steps = ve.plan(scopes, [last], order)
        eliminated.append(ve.run(steps, values)[0])
        summed.append(only(reduce(mul, tables), last))
        early.append(reduce(mul, [only(t, last) for t in tables]))
        without = [torch.ones_like(values[0]), *values[1:]]
        forgot.append(ve.run(steps, without)[0])

# %%
check("thm-bn-elimination").equal(
    left=torch.stack(eliminated),
    right=torch.stack(summed),
    wrong={
        "each table summed by itself": torch.stack(early),
        "one table forgotten": torch.stack(forgot),
    },
)

# %% [markdown]
# Two remarks make it quick.
# First, a node can be left out if it is neither asked for nor observed, and no such node is below it: summed out before its parents, its table gives 1.
# Second, the order matters for the price, though not for the result: each step forms a table over all the variables that are multiplied together.
# In a star, where one hub points at $n$ leaves, eliminating the hub first multiplies the tables of all leaves, and the product has a cell for every state of all of them.
# To find the best order is NP-hard, and so is exact inference itself in general {cite:p}`cooper1990computational`.
# A greedy choice, which takes next the variable that joins the fewest new pairs of variables in a table (weighed by their numbers of states), does well on the four networks below.
# For them the table counts the cells of the largest product that an order forms.

# %% tags=["hide-input"]
medical = graphs.medical_diagnosis()
star = nx.DiGraph([("hub", f"leaf {i}") for i in range(16)])
grid = nx.DiGraph(nx.grid_2d_graph(5, 5).edges)  # edges lead right and down


def cells(net, order=None):
    """Cells of the largest table that an order forms; the greedy one."""
    scopes = [table.names for table in net.tables.values()]
    shapes = [tuple(table.values.shape) for table in net.tables.values()]
    sizes = {v: len(states) for v, states in net.states.items()}
    order = order or ve.elimination_order(scopes, (), sizes)
    return ve.largest_table(ve.plan(scopes, [], order), shapes)


# %% tags=["hide-input"]
rows = []
for title, net in {
    "the server": server,
    "the patient of a later section": medical,
    "a star with 16 leaves": BayesNet.random(star, 2, generator),
    "a grid, 5 × 5": BayesNet.random(grid, 2, generator),
}.items():
    orders = [rng.permutation(len(net.nodes)) for _ in range(200)]
    tried = [cells(net, [net.nodes[i] for i in order]) for order in orders]
    sizes = [len(states) for states in net.states.values()]
    rows.append(
        {
            "network": title,
            "joint law": int(np.prod(sizes)),
            "median of 200 random orders": int(np.median(tried)),
            "worst of them": max(tried),
            "greedy order": cells(net),
        }
    )
results_table(rows)

# %% [markdown]
# Now the night shift can ask.


# %%
def ask(net, evidence, targets):
    """Probability of the last state of each target, given the evidence."""
    return [
        np.nan
        if t in evidence
        else net.posterior(t, evidence).values[-1].item()
        for t in targets
    ]


causes = "traffic load leak memory cooling heat slow crash".split()
rings, peak, quick = {"alarm": "yes"}, {"traffic": "peak"}, {"slow": "no"}
stories = {
    "nothing known": {},
    "the alarm rings": rings,
    "alarm, and peak of traffic": rings | peak,
    "alarm, and pages not slow": rings | quick,
    "alarm, and both": rings | peak | quick,
}
beliefs = np.array([ask(server, e, causes) for e in stories.values()])


# %% tags=["hide-input"]
def belief_figure(beliefs, stories, targets):
    """A table of probabilities, darker where larger."""
    figure = figures.blank(0.75 + 0.42 * len(stories))
    axes = figure.subplots()
    shades = np.sqrt(np.nan_to_num(beliefs))
    axes.imshow(shades, cmap="Blues", vmin=0, vmax=1.35, aspect="auto")
    for (i, j), value in np.ndenumerate(beliefs):
        text = "seen" if np.isnan(value) else f"{value:.3f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=10)
    axes.set_xticks(range(len(targets)), targets, rotation=25, ha="left")
    axes.set_yticks(range(len(stories)), stories)
    axes.xaxis.tick_top()
    axes.tick_params(length=0, labelsize=10)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


# %% tags=["hide-input"]
tops = [f"{c} = {server.states[c][-1]}" for c in causes]
show(
    belief_figure(beliefs, stories, tops),
    "Posterior probabilities in the server network. The alarm makes a crash "
    "more probable; then a peak of traffic makes it less so, pages that are "
    "not slow more, and both together most of all.",
    alt="A table: five rows of evidence, eight columns of causes, "
    "a probability in each cell.",
    label="fig-bn-server-beliefs",
)

# %% [markdown]
# After the alarm, the peak of traffic *explains it away*.
# By itself a peak makes a crash more probable, because load heats the machine.
# But traffic makes pages slow, and slow pages ring the alarm: what they explain, a crash need not.
# Pages that are not slow do the opposite: then only a crash or a false alarm is left.
# And then a peak of traffic has nothing to explain away, and only its heat counts.

# %%
crash = dict(zip(stories, beliefs[:, -1], strict=True))
by_peak = server.posterior("crash", peak)["yes"]
Markdown(
    f"The probability of a crash is {crash['nothing known']:.3f} before we "
    f"know anything, and would be {by_peak:.3f} at a peak of traffic. "
    f"It is {crash['the alarm rings']:.3f} after the alarm; "
    f"{crash['alarm, and peak of traffic']:.3f} after alarm and peak; "
    f"{crash['alarm, and pages not slow']:.3f} if the alarm rings and pages "
    f"are not slow, and {crash['alarm, and both']:.3f} with all three."
)

# %% [markdown]
# The other direction is even simpler.
# *Ancestral sampling* draws each variable from its row, parents first, and so draws exactly from the product {eq}`eq-bn-factorisation`.
# Then a posterior could be read off the draws that agree with the evidence, but most draws do not.

# %%
show_source(BayesNet.sample)

# %%
nights = server.sample(100_000, generator)
loud = nights[:, server.nodes.index("alarm")] == 1
crashes = nights[loud, server.nodes.index("crash")].double()
error = crashes.std() / len(crashes) ** 0.5
Markdown(
    f"{len(crashes):,} of {len(nights):,} nights have an alarm, and "
    f"a share of {crashes.mean():.4f} ± {error:.4f} of these a crash; the "
    f"exact probability is {crash['the alarm rings']:.4f}."
)

# %% [markdown]
# (sec-bn-separation)=
# ## The graph alone says which variables can inform which
#
# That traffic and cooling compete once the alarm rings is visible in the drawing, without a number.
# Take a *trail*: a path that may follow arrows in either direction and visits no node twice.
# A node in its middle is a *collider* on it if both arrows of the trail point at it, as at $\text{slow} \to \text{alarm} \leftarrow \text{crash}$.
#
# Given a set $Z$ of observed nodes, a trail is *active* if
# - no node in its middle that is not a collider is in $Z$, and
# - every collider on it is in $Z$ or has a descendant in $Z$.
#
# Sets $X$ and $Y$ are *d-separated* by $Z$ if no trail from $X$ to $Y$ is active {cite:p}`pearl1988probabilistic`.
# Try it: start somewhere, observe nodes, and see where the information can go.

# %%
figures.SeparationExplorable(
    server.dag,
    source="traffic",
    observed=("alarm",),
    caption="Which nodes can traffic inform? Observe nodes to open and to "
    "block trails; lit nodes are those that an active trail reaches.",
    alt="The server network; nodes can be observed, and those that are "
    "d-connected to the start light up.",
    label="fig-bn-ball",
)

# %%
for seen in ([], ["alarm"], ["alarm", "load"]):
    trail = graphs.active_trail(server.dag, "traffic", "cooling", seen)
    print(f"given {seen}:", " – ".join(trail) if trail else "separated")

# %% [markdown]
# A shortest active trail is the reason why two nodes are not separated.
# That separated nodes are indeed independent needs a proof, and it goes through undirected graphs.
# The *moral graph* of a DAG joins ("marries") the parents of every node and forgets the directions.
#
# :::{prf:lemma} d-separation is separation among ancestors
# :label: lem-bn-moral
# Let $X, Y, Z$ be disjoint sets of nodes of a DAG $G$, $A = \mathrm{An}(X \cup Y \cup Z)$, and $G_A$ the graph $G$ without all other nodes.
# Then $Z$ d-separates $X$ from $Y$ in $G$ if and only if every path from $X$ to $Y$ in the moral graph of $G_A$ meets $Z$ {cite:p}`lauritzen1990independence`.
# :::
#
# :::{prf:proof}
# From an active trail to a path that avoids $Z$, in steps:
#
# 1. From any node on an active trail follow the trail's arrows forward. They lead to an end of the trail, or to a collider, which is in $\mathrm{An}(Z)$. So all nodes of the trail are in $A$.
# 2. The two neighbours of a collider on the trail are parents of a node of $A$, so they are married: leave the collider out.
# 3. Two colliders never stand side by side, since the arrow between them would need two heads. So all that is left are the ends and non-colliders, none of which is in $Z$.
#
# From a path in the moral graph that avoids $Z$ to an active trail:
#
# 4. Replace every marriage $a - b$ of the path by $a \to c \leftarrow b$, with $c \in A$ a child of both. The result is a *walk* in $G_A$, a trail that may visit nodes twice. Its non-colliders are nodes of the path, so none is in $Z$.
# 5. Suppose a collider $c$ of the walk is not in $\mathrm{An}(Z)$. As $c \in A$, arrows lead from $c$ to some $w \in X \cup Y$, and none of the nodes on that way is in $Z$. If $w \in X$, start at $w$ instead, walk the arrows backwards to $c$ and continue as before; if $w \in Y$, walk to $c$ and follow the arrows to $w$. Now $c$ and the new nodes are non-colliders outside $Z$, and there is one such collider less.
# 6. Repeat until every collider is in $\mathrm{An}(Z)$ and every non-collider outside $Z$. Among all walks with this property take a shortest one, from $x \in X$ to $y \in Y$.
# 7. It visits no node twice. Suppose $v$ comes twice, and cut out what lies between. If $v$ is now a non-collider, one of the two arrows that remain at it points away from $v$; so $v$ was a non-collider at that visit too, and $v \notin Z$. (If $v$ is now an end, nothing is asked of it.)
# 8. If $v$ is now a collider and was one at either visit, $v \in \mathrm{An}(Z)$. Otherwise the loop that was cut left $v$ along an arrow and came back to $v$ against one, so somewhere in the loop the direction turned: the first such place is a collider and a descendant of $v$. It is in $\mathrm{An}(Z)$, hence so is $v$.
# 9. So the shorter walk has the same property, against the choice of the shortest. A walk without repetition is a trail, and this one is active.
# :::
#
# :::{prf:theorem} d-separation is sound
# :label: thm-bn-separation
# If $Z$ d-separates $X$ from $Y$ in $G$, then $X \perp Y \mid Z$ in every law that factorises over $G$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Let $A = \mathrm{An}(X \cup Y \cup Z)$. Sum the product over all nodes outside $A$, children before parents: each time one kernel is left that names the variable, and it sums to 1. So $p(x_A) = \prod_{v \in A} p(x_v \mid x_{\mathrm{pa}(v)})$.
# 2. The nodes that one factor names, $v$ and its parents, are all joined to one another in the moral graph of $G_A$.
# 3. By {prf:ref}`lem-bn-moral`, $Z$ separates $X$ from $Y$ there. Let $X'$ be what can be reached from $X$ without meeting $Z$, and $Y' = A \setminus (X' \cup Z) \supseteq Y$. No edge joins $X'$ and $Y'$.
# 4. So each factor names no node of $Y'$, or none of $X'$: $p(x_A) = g(x_{X'}, x_Z)\, h(x_{Y'}, x_Z)$.
# 5. Summing gives $p(x_{X'}, x_Z) = g\, \textstyle\sum_{Y'} h$, $p(x_{Y'}, x_Z) = h \sum_{X'} g$ and $p(x_Z) = \sum_{X'} g \sum_{Y'} h$, so $p(x_A)\, p(x_Z) = p(x_{X'}, x_Z)\, p(x_{Y'}, x_Z)$. This is $X' \perp Y' \mid Z$.
# 6. Sum over the rest of $X'$ and of $Y'$: $X \perp Y \mid Z$.
# :::
#
# First the lemma, with active trails found by brute force from the definition: every pair of nodes, every $Z$, every DAG on four nodes.


# %%
def active(dag, path, given, below=True):
    """Whether a trail is active, word by word from the definition."""
    for a, v, b in zip(path, path[1:], path[2:], strict=False):
        if dag.has_edge(a, v) and dag.has_edge(b, v):
            opening = {v} | nx.descendants(dag, v) if below else {v}
            if not opening & given:
                return False
        elif v in given:
            return False
    return True


# %%
def moral_separated(dag, x, y, given, every=False):
    top = {x, y, *given}
    kept = (
        set(names)
        if every
        else top.union(*(nx.ancestors(dag, v) for v in top))
    )
    return graphs.separated(graphs.moral(dag.subgraph(kept)), x, y, given)


cases = [
    (dag, x, y, frozenset(z))
    for dag in dags
    for x, y in combinations(names, 2)
    for r in range(3)
    for z in combinations(set(names) - {x, y}, r)
]

# %%
trails = {
    dag: {
        pair: list(nx.all_simple_paths(graphs.skeleton(dag), *pair))
        for pair in combinations(names, 2)
    }
    for dag in dags
}


def blocked(dag, x, y, z, below=True):
    return not any(active(dag, t, z, below) for t in trails[dag][x, y])


# %%
truth = np.array([blocked(*case) for case in cases])
shallow = np.array([blocked(*case, below=False) for case in cases])
by_moral = np.array([moral_separated(*case) for case in cases])
whole = np.array([moral_separated(*case, every=True) for case in cases])
check("lem-bn-moral").holds(
    truth == by_moral,
    wrong={
        "the moral graph of all nodes": truth == whole,
        "only an observed collider is open": shallow == by_moral,
    },
)

# %% [markdown]
# Then the theorem, with the Bayes ball of the package, which answers without listing trails ({ref}`sec-bn-speed`), against independence in the tables of numbers: for each DAG its own random law, and all 55 statements about four variables.

# %%
said, true, unmarried = [], [], []
for _i, dag in enumerate(dags):
    ball, undirected = Reachability(dag), graphs.skeleton(dag)
    for s in graphs.statements(names):
        said.append(ball.separated(*s))
        unmarried.append(graphs.separated(undirected, *s))
        true.append(s)
independent_in = {s: holds(*s) for s in set(true)}
true = [bool(independent_in[s][i // 55]) for i, s in enumerate(true)]
said, true, unmarried = map(np.array, (said, true, unmarried))
check("thm-bn-separation").holds(
    ~said | true,
    wrong={
        "paths block as in an undirected graph": ~unmarried | true,
        "what is not separated is independent": said | true,
    },
    how="random instances",
)

# %%
Markdown(
    f"{said.sum():,} statements are read off the graphs; {true.sum():,} hold "
    f"in the laws; {(true & ~said).sum()} hold and were not read off."
)

# %% [markdown]
# The last number is what *completeness* says.
# It is not that a law over $G$ can have no other independence: a table whose rows are all equal makes one.
# It is that no other independence holds in *every* law over $G$; and more, tables in which another one holds form a set of measure zero {cite:p}`geiger1990identifying,meek1995strong`.
# We do not prove it here; tables drawn at random show it.
#
# With d-separation one also sees what a node needs: its *Markov blanket*, the parents, the children and the other parents of the children.
# Given the blanket, every trail to the rest is blocked (exercise).

# %%
for node in ("load", "crash"):
    print(node, "needs", sorted(graphs.markov_blanket(server.dag, node)))

# %% [markdown]
# (sec-bn-equivalence)=
# ## Two graphs mean the same if skeleton and v-structures agree
#
# The data can tell us which independencies hold, but $x \to y$ and $y \to x$ state the same: nothing.
# Call two DAGs *equivalent* if the same laws factorise over both.
# A *v-structure* is a pair of arrows $a \to c \leftarrow b$ whose $a$ and $b$ are not joined.
#
# :::{prf:theorem} Markov equivalence
# :label: thm-bn-equivalence
# Two DAGs $G, H$ on the same nodes are equivalent if and only if they have the same skeleton and the same v-structures {cite:p}`verma1990equivalence`.
# :::
#
# :::{prf:proof}
# Equivalent graphs look alike. We give each variable two states and use laws in which some nodes are related and all others are independent fair coins, in steps:
#
# 1. Let $x, y$ be joined in $G$ but not in $H$, and let $x$ be a non-descendant of $y$ in $H$ (one of the two is). Take fair coins, but $y$ a copy of $x$, or $x$ of $y$, along the arrow of $G$. This law factorises over $G$. Over $H$ it would have $y \perp x \mid \mathrm{pa}(y)$ by {prf:ref}`thm-bn-factorisation`; but whatever else is known, except one of the two, they are equal and uncertain. So the skeletons agree.
# 2. Let $a \to c \leftarrow b$ be a v-structure of $G$. Take fair coins, but $c = a + b$ modulo 2. This law factorises over $G$. In $H$ the same edges are there; suppose they do not both point at $c$.
# 3. Let $a$ be a non-descendant of $b$ in $H$ (otherwise exchange their names); then $b \perp a \mid \mathrm{pa}(b)$, and $a \notin \mathrm{pa}(b)$.
# 4. If $c \in \mathrm{pa}(b)$: given $c$ and other coins, $a$ determines $b$, which is uncertain without it. This is no independence.
# 5. If $c \notin \mathrm{pa}(b)$, then $b \to c$, and so $c \to a$ by step 2: $a$ is a descendant of $b$, against step 3. So $H$ has the v-structure; and by symmetry, $G$ has those of $H$.
#
# Graphs that look alike are equivalent. Let skeletons and v-structures agree, and let $\Delta$ be the set of edges that point differently in $G$ and $H$ {cite:p}`chickering1995transformational`:
#
# 6. If $\Delta$ is empty, $G = H$. Otherwise list the nodes of $G$, parents first. Let $y$ be the first node with an arrow $x \to y$ of $G$ in $\Delta$, and among these $x$ take the last.
# 7. This arrow is covered. First, let $w \to x$ in $G$. As $x$ comes before $y$, this arrow is not in $\Delta$, so $w \to x$ in $H$, where also $y \to x$. If $w$ and $y$ were not joined, $H$ had a v-structure at $x$ that $G$ has not. So they are joined, and $w \to y$ in $G$ because $w \to x \to y$.
# 8. Second, let $w \to y$ in $G$ with $w \ne x$. If $w$ and $x$ were not joined, $G$ had a v-structure at $y$ that $H$ has not, since there $y \to x$. So they are joined.
# 9. Suppose $x \to w$ in $G$. Then $w$ is later than $x$, so by the choice of $x$ the arrow $w \to y$ is not in $\Delta$; and $w$ is before $y$, so by the choice of $y$ the arrow $x \to w$ is not either. In $H$ we have $x \to w \to y \to x$, a cycle: impossible. So $w \to x$ in $G$.
# 10. By {prf:ref}`prop-bn-covered` turning $x \to y$ keeps the graph acyclic and the laws the same, so by the first half of this proof it keeps skeleton and v-structures. $\Delta$ has one edge less. Repeat until it is empty.
# :::
#
# The check takes all pairs of the 543 graphs.
# Two of them are equivalent in the numbers if the law of each factorises over the other.

# %%
alike = (product & product.T).numpy()


def same_among(keys):
    """For all pairs of graphs, whether they have the same key."""
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    found = np.array([place[key] for key in keys])
    return found[:, None] == found[None, :]


bones = [frozenset(map(frozenset, dag.edges)) for dag in dags]
vees = [frozenset(graphs.v_structures(dag)) for dag in dags]
pairs = [
    frozenset(
        (frozenset(p), v)
        for v in names
        for p in combinations(sorted(dag.pred[v]), 2)
    )
    for dag in dags
]
# %%
claimed = same_among(list(zip(bones, vees, strict=True)))
check("thm-bn-equivalence").holds(
    (alike == claimed).flatten(),
    wrong={
        "the skeleton is enough": (alike == same_among(bones)).flatten(),
        "all colliders count, joined or not": (
            alike == same_among(list(zip(bones, pairs, strict=True)))
        ).flatten(),
    },
    how="random instances",
)

# %%
classes = len(set(zip(bones, vees, strict=True)))
small = list(all_dags("ABC"))
kinds = {}
for dag in small:
    key = graphs.skeleton(dag).edges, frozenset(graphs.v_structures(dag))
    kinds.setdefault((frozenset(map(frozenset, key[0])), key[1]), []).append(
        dag
    )
Markdown(
    f"The {len(dags)} DAGs on four nodes have {classes} meanings, "
    f"the {len(small)} on three nodes {len(kinds)}."
)

# %% tags=["hide-input"]
ordered = sorted(kinds.values(), key=lambda c: (c[0].size(), len(c)))
shown = [dag for group in ordered for dag in group]
titles = [f"class {k + 1}" for k, group in enumerate(ordered) for _ in group]
show(
    figures.graph_grid(
        shown,
        titles,
        columns=5,
        alt="All 25 directed acyclic graphs on three nodes.",
    ),
    "All DAGs on three nodes, by meaning: graphs of one class cannot be told "
    "apart by any amount of data. A v-structure is alone in its class.",
    alt="Twenty-five small directed graphs with the number of their class.",
    label="fig-bn-classes",
)

# %% [markdown]
# (sec-bn-intervention)=
# ## Seeing is not doing
#
# You silence the alarm.
# Does that make a crash less probable?
# If a colleague tells you that the alarm is silent, it does; if you cut its wire, it does not.
# The graph knows the difference, if its arrows are causes: an action sets a variable by hand, so the arrows into it no longer count, and all other tables stay {cite:p}`pearl1995causal`.
# The law after the action $\mathrm{do}(x_a)$ is the product without the table of $a$, at that $x_a$:
#
# $$
# p(x_{V \setminus a} \mid \mathrm{do}(x_a)) = \prod_{v \ne a} p(x_v \mid x_{\mathrm{pa}(v)}).
# $$ (eq-bn-do)
#
# :::{prf:theorem} Doing is seeing, with the parents' own law
# :label: thm-bn-do
# Let $p$ factorise over $G$, let $P = \mathrm{pa}(a)$, $p(x_a \mid x_P) > 0$ for all $x_P$ of positive probability, and $y \notin P \cup \{a\}$.
# Then
#
# $$
# p(x_y \mid \mathrm{do}(x_a)) = \sum_{x_P} p(x_y \mid x_a, x_P)\, p(x_P).
# $$ (eq-bn-adjust)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. By {eq}`eq-bn-factorisation` and {eq}`eq-bn-do`, $p(x_{V \setminus a} \mid \mathrm{do}(x_a)) = p(x) / p(x_a \mid x_P)$ wherever $p(x_P) > 0$. Elsewhere the left side is 0 too: the nodes of $P$ and their ancestors are non-descendants of $a$, so their tables are the same in both products.
# 2. Sum over all variables but $x_y$ and $x_P$; the divisor does not depend on them: $p(x_y, x_P \mid \mathrm{do}(x_a)) = p(x_y, x_a, x_P) / p(x_a \mid x_P)$.
# 3. The numerator is $p(x_y \mid x_a, x_P)\, p(x_a \mid x_P)\, p(x_P)$. Divide, and sum over $x_P$.
# :::
#
# We check it on all 543 graphs, acting on $B$ and looking at every other node that is not its parent.

# %%
done, adjusted, seen, even = [], [], [], []
for dag, net in zip(dags, nets, strict=True):
    up = list(dag.pred["B"])
    for y in set("ACD") - set(up):
        act = net.intervene({"B": "1"})
        done.append(act.posterior(y)["1"])
        law = net.posterior([y, "B", *up])
        given = law.conditional([y], ["B", *up]).values[1, ..., 1]
        weight = law.marginal(*up).values
        adjusted.append((given * weight).sum().item())
        seen.append(net.posterior(y, {"B": "1"})["1"])
        even.append(given.mean().item())
# %%
check("thm-bn-do").equal(
    left=np.array(done),
    right=np.array(adjusted),
    wrong={
        "doing is seeing": np.array(seen),
        "every state of the parents weighs the same": np.array(even),
    },
)

# %%
silence = {"alarm": "no"}
rows = [
    {
        "crash = yes": "we know nothing",
        "probability": server.posterior("crash")["yes"],
    },
    {
        "crash = yes": "we see that the alarm is silent",
        "probability": server.posterior("crash", silence)["yes"],
    },
    {
        "crash = yes": "we silence the alarm",
        "probability": server.intervene(silence).posterior("crash")["yes"],
    },
]
results_table(rows)

# %% [markdown]
# (sec-bn-medical)=
# ## A patient who coughs
#
# The second network is a doctor's: season and smoking, three diseases, what one sees and measures, a treatment, and recovery.

# %% tags=["hide-input"]
show(
    figures.draw_graph(
        medical.dag, alt="The directed graph of the medical network."
    ),
    "The medical network. The antibiotic depends on the X-ray (shadow), "
    "recovery on pneumonia and on the antibiotic.",
    alt="Twelve nodes from season and smoker over flu, pneumonia and "
    "bronchitis to symptoms, X-ray shadow, antibiotic and recovery.",
    label="fig-bn-medical",
)

# %%
diseases = ["flu", "pneumonia", "bronchitis"]
visits = {"a patient": {}}
for word, finding in (
    ("… coughs", {"cough": "yes"}),
    ("… has a high fever", {"fever": "high"}),
    ("… has aching limbs", {"aches": "yes"}),
    ("… has a shadow on the X-ray", {"shadow": "yes"}),
):
    visits[word] = {**list(visits.values())[-1], **finding}
beliefs = np.array([ask(medical, e, diseases) for e in visits.values()])

# %% tags=["hide-input"]
show(
    belief_figure(beliefs, visits, diseases, "Diagnosis by evidence."),
    "Each row adds one finding to those above it. "
    "Aching limbs speak for flu, and so against pneumonia and bronchitis; "
    "the X-ray brings pneumonia back.",
    alt="A table: five rows of findings, three diseases, probabilities.",
    label="fig-bn-diagnosis",
)

# %% [markdown]
# Aching limbs are caused by flu alone, and yet they lower the probability of pneumonia, although flu itself raises it: flu now explains the fever.
# The most probable explanation of everything together is another question than the most probable state of each disease.
# `most_probable` answers it by the same elimination, with a maximum in the place of the sum.
# With a cough and a shadow the two answers differ: pneumonia is more probable than not, but its probability is spread over many stories, and the single most probable story is a healthy one.

# %%
evidence = {"cough": "yes", "shadow": "yes"}
best, _ = medical.most_probable(evidence)
rows = [
    {
        "disease": name,
        "p(yes | evidence)": medical.posterior(name, evidence)["yes"],
        "in the best explanation": best[name],
    }
    for name in diseases
]
results_table(rows)

# %% [markdown]
# Who is given the antibiotic?
# Those with a shadow on the X-ray, the ill ones.
# So patients with the antibiotic recover less often than those without, and still it helps.

# %%
rows = []
for given in ("no", "yes"):
    dose = {"antibiotic": given}
    acted = medical.intervene(dose)
    rows.append(
        {
            "antibiotic": given,
            "recovered, if we see it": medical.posterior("recovered", dose)[
                "yes"
            ],
            "recovered, if we do it": acted.posterior("recovered")["yes"],
        }
    )
results_table(rows)

# %% [markdown]
# (sec-bn-sensitivity)=
# ### How much does an answer depend on one number?
#
# Every number in the tables is somebody's estimate.
# An answer depends on each of them in the simplest way a quotient can.
#
# :::{prf:theorem} A posterior is a quotient of two straight lines
# :label: thm-bn-sensitivity
# Let one entry of one row of one table be $\theta$, and let the other entries of the row share $1 - \theta$ in fixed proportions.
# Then for every query $q$ and evidence $e$ there are numbers $a, b, c, d$ with
#
# $$
# p(q \mid e) = \frac{a + b\,\theta}{c + d\,\theta}
# $$ (eq-bn-sensitivity)
#
# wherever $p(e) > 0$ {cite:p}`castillo1997sensitivity`.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. $p(q, e)$ is a sum of products {eq}`eq-bn-factorisation`, over all states of the variables in neither.
# 2. Each product contains exactly one entry of the table in question. If it lies in another row, the product does not depend on $\theta$.
# 3. If it lies in the row, it is $\theta$, or $(1 - \theta)$ times a fixed share. Either is a straight line in $\theta$, and the rest of the product is constant.
# 4. So $p(q, e)$ is a sum of straight lines, $a + b\,\theta$; and $p(e)$, which is the sum of $p(q, e)$ over $q$, is another one.
# :::


# %%
def with_rate(theta):
    """The patient's network with p(shadow | no pneumonia) = theta."""
    rows = medical.tables["shadow"].values.clone()
    rows[0] = torch.tensor([1 - theta, theta])
    table = graphs.Table(rows, medical.tables["shadow"].states)
    return BayesNet({**medical.tables, "shadow": table})


shadowed = {"cough": "yes", "shadow": "yes"}
thetas = np.linspace(0, 1, 101)
answers, both, seen = [], [], []
for theta in thetas:
    net = with_rate(theta)
    answers.append(net.posterior("pneumonia", shadowed)["yes"])
    both.append(
        np.exp(net.evidence_log_prob({**shadowed, "pneumonia": "yes"}))
    )
    seen.append(np.exp(net.evidence_log_prob(shadowed)))


# %%
def line(values):
    return values[0] + thetas * (values[-1] - values[0])


check("thm-bn-sensitivity").equal(
    left=np.array(answers),
    right=line(both) / line(seen),
    wrong={
        "the posterior itself is a line": line(answers),
        "p(e) does not depend on it": line(both) / seen[0],
    },
)


# %% tags=["hide-input"]
def sensitivity_frame(theta):
    """Posterior against the entry, with the present value marked."""
    figure = figures.blank(3.0)
    axes = figure.subplots()
    axes.plot(thetas, answers, color=figures.style.PALETTE[0])
    value = with_rate(theta).posterior("pneumonia", shadowed)["yes"]
    axes.plot(
        [theta], [value], "o", color=figures.style.PALETTE[1], markersize=9
    )
    axes.annotate(
        f"{value:.3f}",
        (theta, value),
        (8, 8),
        textcoords="offset points",
        fontsize=11,
    )
    axes.set(
        xlabel="p(shadow | no pneumonia)",
        xlim=(-0.02, 0.75),
        ylim=(0, 1.1),
        ylabel="p(pneumonia | cough, shadow)",
    )
    return figure


# %% tags=["hide-input"]
stops = [0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2, 0.3, 0.5, 0.7]
figures.Explorable(
    [sensitivity_frame(theta) for theta in stops],
    [f"{theta:g}" for theta in stops],
    "p(shadow | no pneumonia)",
    alt="A falling curve: the posterior of pneumonia against one table entry, "
    "with a marked point.",
    caption="How sure the X-ray makes us depends on how often healthy lungs "
    "show a shadow. The network says 0.03.",
    start=4,
)

# %% [markdown]
# (sec-bn-learning)=
# ## What goes wrong: a table counted from few patients forbids what it has not seen
#
# The tables can be counted from data.
# The maximum of the likelihood is the plain share of each state in each row; with a Dirichlet prior one adds $\alpha$ pseudo-counts to every cell, and the posterior mean is
#
# $$
# \hat p(x_v \mid x_{\mathrm{pa}(v)}) = \frac{n(x_v, x_{\mathrm{pa}(v)}) + \alpha}{n(x_{\mathrm{pa}(v)}) + k_v\, \alpha}.
# $$ (eq-bn-dirichlet)
#
# Without pseudo-counts two things happen at once: rows of which no patient was an example have no estimate at all, and a state that did not occur gets probability zero, for ever.

# %%
few = medical.sample(100, generator)
try:
    BayesNet.fit(medical.dag, medical.states, few, prior=0)
except ValueError as error:
    print(error)


# %%
def distance(net):
    """KL(truth || net) in nats per patient, summed table by table."""
    total = 0.0
    for v in medical.nodes:
        names = medical.tables[v].names
        weight = medical.posterior(names).values
        there = weight > 0
        log_ratio = medical.tables[v].values.log() - net.tables[v].values.log()
        total += (weight * log_ratio)[there].sum().item()
    return total


# %%
counts = [100, 300, 1000, 3000, 10_000, 30_000]
priors = [0.001, 1.0, 10.0]
excess = np.array(
    [
        [
            [
                distance(
                    BayesNet.fit(
                        medical.dag,
                        medical.states,
                        medical.sample(n, generator),
                        prior,
                    )
                )
                for _ in range(repeats)
            ]
            for n in counts
        ]
        for prior in priors
    ]
)

# %% [markdown]
# How far is the fitted law from the truth?
# For much data, theory expects $d(G) / 2n$ nats per patient: half a nat for each free parameter, shared by $n$ patients.

# %% tags=["hide-input"]
lines = {
    f"{prior:g} pseudo-counts": (
        counts,
        excess[i].mean(-1),
        excess[i].std(-1, ddof=1) / repeats**0.5,
    )
    for i, prior in enumerate(priors)
}
free_numbers = medical.parameters
lines["theory: d / 2n"] = (counts, [free_numbers / 2 / n for n in counts])
show(
    figures.curves(
        lines,
        "patients",
        "KL(truth || fit), nats per patient",
        scales=("log", "log"),
    ),
    f"Mean over {repeats} data sets, with its standard error. "
    "Hardly any pseudo-counts are worse than one, and so are ten.",
    alt="Falling curves of KL divergence against the number of patients.",
    label="fig-bn-learning",
)

# %%
at = counts.index(300)
Markdown(
    "With 300 patients: "
    + "; ".join(
        f"{excess[i, at].mean():.3f} ± "
        f"{excess[i, at].std(ddof=1) / repeats**0.5:.3f} nats with "
        f"{prior:g} pseudo-counts"
        for i, prior in enumerate(priors)
    )
    + f". A table of the whole law, {medical.joint().values.numel() - 1:,} "
    f"free numbers, would need about "
    f"{(medical.joint().values.numel() - 1) / free_numbers:.0f} times the "
    "patients for the same distance."
)

# %% [markdown]
# Zero is a statement about every future patient, and a count of zero does not support it.
# One pseudo-count in each cell is the cure; too many drown the data.
#
# (sec-bn-speed)=
# ## Exact and quick, beside other libraries
#
# d-separation is decided without listing trails, of which there may be exponentially many.
# Imagine a ball that rolls from $X$ and bounces by the rules of active trails; what matters at a node is only whether it was entered from below or from above, so the ball visits each node at most twice {cite:p}`shachter1998bayes`.

# %%
show_source(Reachability._roll)

# %% [markdown]
# The posteriors of the package agree with those of two other libraries in its tests, on random networks and on ALARM, a network of 37 nodes for the surveillance of patients {cite:p}`beinlich1989alarm`.
# The table shows the speed that `make bench` measured, all in one process on one machine; a ratio above 1 means that ours is quicker.

# %% tags=["hide-input"]
record = json.loads(
    files("companion.graphs").joinpath("measured.json").read_text()
)
results_table(
    [
        {
            "task": row["case"],
            "beside": row["rival"],
            "ours, µs": 1e6 * row["ours"],
            "theirs, µs": 1e6 * row["theirs"],
            "ratio": row["ratio"],
        }
        for row in record["rows"]
    ]
)

# %% tags=["hide-input"]
points = record["scaling"]
show(
    figures.curves(
        {
            "ours": (
                [p["edges"] for p in points],
                [1e3 * p["seconds"] for p in points],
            ),
            "proportional": (
                [p["edges"] for p in points],
                [
                    1e3
                    * points[0]["seconds"]
                    * p["edges"]
                    / points[0]["edges"]
                    for p in points
                ],
            ),
        },
        "edges",
        "milliseconds for one query",
        scales=("log", "log"),
    ),
    "One d-separation query that has to visit the whole graph, up to 10,000 "
    "nodes, beside time proportional to the edges (through the first point).",
    alt="Time of a query against edges, on logarithmic axes.",
    label="fig-bn-scaling",
)

# %% [markdown]
# ## Limits
#
# The arrows of a network are an assumption, and no test of this chapter can tell an arrow that is a cause from one that only fits: {prf:ref}`thm-bn-equivalence` says that data alone cannot.
# Exact answers need tables over the variables that an elimination brings together, and in a dense graph of a few dozen nodes these no longer fit into any memory; then one samples, or bounds, as in {ref}`ch:variational-inference`.
# And the numbers of both networks are invented; only their logic is real.
#
# ## Exercises
#
# ```{exercise-start} Factorise a graph
# :label: ex-bn-factorise
# ```
# (Recall.) Write the joint law of the medical network as a product, count its free parameters by hand, and compare with a table of the whole law.
# Which independence does the local Markov property state for *cough*?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-factorise
# :class: dropdown
# ```
# Every node contributes one factor with its parents behind the bar, for example $p(\text{fever} \mid \text{flu}, \text{pneumonia})$ with $(3 - 1) \cdot 2 \cdot 2 = 8$ free parameters.
# Given flu, pneumonia and bronchitis, cough is independent of everything that is not below it; as nothing is below it, of all the rest.

# %%
count = {
    v: (len(medical.states[v]) - 1)
    * int(np.prod([len(medical.states[u]) for u in medical.dag.pred[v]]))
    for v in medical.nodes
}
print(
    " ".join(
        f"p({v}{' | ' if medical.dag.pred[v] else ''}{', '.join(medical.dag.pred[v])})"
        for v in medical.nodes
    )
)
assert sum(count.values()) == medical.parameters == 40
rest = set(medical.nodes) - {"cough", *medical.dag.pred["cough"]}
assert d_separated(medical.dag, "cough", rest, medical.dag.pred["cough"])

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Read the graph
# :label: ex-bn-separation
# ```
# (Recall.) In the medical network, decide with pencil: (a) season ⊥ smoker; (b) season ⊥ smoker given cough; (c) season ⊥ bronchitis given cough; (d) shadow ⊥ fever given pneumonia; (e) antibiotic ⊥ flu given shadow; (f) antibiotic ⊥ flu given shadow and recovered.
# For every "no" give an active trail.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-separation
# :class: dropdown
# ```
# (a) yes: every trail has a collider and nothing is observed. (b) no. (c) no. (d) yes: the only way out of shadow upwards is pneumonia, and downwards the collider recovered is closed. (e) yes. (f) no: recovered is a collider with parents pneumonia and antibiotic, and pneumonia is no collider on the way to flu.

# %%
questions = [
    ("season", "smoker", []),
    ("season", "smoker", ["cough"]),
    ("season", "bronchitis", ["cough"]),
    ("shadow", "fever", ["pneumonia"]),
    ("antibiotic", "flu", ["shadow"]),
    ("antibiotic", "flu", ["shadow", "recovered"]),
]
found = [graphs.active_trail(medical.dag, *q) for q in questions]
for letter, trail in zip("abcdef", found, strict=True):
    print(letter, "separated" if trail is None else " – ".join(trail))
assert [t is None for t in found] == [True, False, False, True, True, False]

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} What a node needs
# :label: ex-bn-blanket
# ```
# (Derive.) Prove that a node is independent of everything else given its Markov blanket, and that in general no smaller set will do.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-blanket
# :class: dropdown
# ```
# Let $B$ be the blanket of $v$ and $u$ outside of $B \cup \{v\}$.
# A trail from $v$ to $u$ begins $v \leftarrow a$ or $v \to c$.
# In the first case $a$ is a parent and no collider on the trail (an arrow leaves it towards $v$), and it is observed: blocked.
# In the second, if $c$ is no collider, it is observed: blocked.
# If $c$ is a collider, the trail goes on $v \to c \leftarrow b$; $b$ is another parent of $c$, so it is in $B$, it is not the end $u$, and it is no collider since an arrow leaves it towards $c$: blocked.
#
# No smaller set: leave out a parent or a child, and that neighbour itself is not separated from $v$; leave out another parent $b$ of a child $c$ that is no neighbour of $v$, and $v \to c \leftarrow b$ is active, because $c$ is observed.

# %%
for net in (server, medical):
    for v in net.nodes:
        blanket = graphs.markov_blanket(net.dag, v)
        rest = set(net.nodes) - blanket - {v}
        assert not rest or d_separated(net.dag, v, rest, blanket)
        for member in blanket:
            outside = rest | {member}
            assert not d_separated(net.dag, v, outside, blanket - {member})

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} How many graphs mean the same as a chain?
# :label: ex-bn-chain
# ```
# (Derive.) The chain $x_1 \to x_2 \to \dots \to x_n$ has no v-structure.
# How many DAGs are equivalent to it?
# And how many to a DAG in which every two nodes are joined?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-chain
# :class: dropdown
# ```
# An orientation of the path without v-structure has no place where two arrows meet head to head, so all arrows point away from one node, the source: $n$ graphs.
# If all nodes are joined there is no v-structure at all, and every orientation without a cycle is an order of the nodes: $n!$ graphs.

# %%
chain = nx.DiGraph(["AB", "BC", "CD"])
complete = nx.DiGraph(list(combinations("ABCD", 2)))
assert sum(graphs.markov_equivalent(chain, dag) for dag in dags) == 4
assert sum(graphs.markov_equivalent(complete, dag) for dag in dags) == 24

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Elimination by hand
# :label: ex-bn-server
# ```
# (Code.) The alarm rings and pages are slow.
# Compute $p(\text{crash} \mid \text{alarm}, \text{slow})$ in the server network from its tables, eliminating one variable after another; leave out what sums to 1.
# Did the slow pages calm you?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-server
# :class: dropdown
# ```
# Write $M$, $L$, $H$ for memory, load, heat.
# Leak and release give $p(M)$; traffic gives $p(L)$; cooling gives $p(H \mid L)$.
# Then $\sum_M p(M)\, p(\text{slow} \mid L, M)\, p(\text{crash} \mid H, M)$ for each $L, H$, and the sum over both with $p(L)\, p(H \mid L)$; the alarm multiplies the result for each state of crash.

# %%
t = {v: table.values.numpy() for v, table in server.tables.items()}
p_memory = t["release"] @ t["leak"] @ t["memory"]
p_load = t["traffic"] @ t["load"]
parents_of_heat = server.tables["heat"].names
p_heat = np.einsum("lch,c->lh", t["heat"], t["cooling"])
weight = np.einsum(
    "m,lm,hmc,l,lh->c", p_memory, t["slow"][..., 1], t["crash"], p_load, p_heat
)
answer = weight * t["alarm"][1, :, 1]
answer = answer / answer.sum()
exact = server.posterior("crash", {"alarm": "yes", "slow": "yes"})
assert parents_of_heat == ("load", "cooling", "heat")
assert np.allclose(answer, exact.values)
print(
    f"p(crash) = {answer[1]:.4f}, with the alarm alone "
    f"{server.posterior('crash', {'alarm': 'yes'})['yes']:.4f}"
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The worth of a test
# :label: ex-bn-medical
# ```
# (Measure.) A patient coughs and has a mild fever.
# Which single further finding, on average, tells most about pneumonia?
# Compute the mutual information of pneumonia with each, given the evidence, in nats.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-medical
# :class: dropdown
# ```
# $I(\text{pneumonia}; T \mid e) = \sum_t p(t \mid e)\, \mathrm{KL}(p(\cdot \mid t, e) \,\|\, p(\cdot \mid e))$, from the posterior of the pair.

# %%
evidence = {"cough": "yes", "fever": "mild"}
worth = {}
for test in ("breathless", "shadow", "aches", "smoker", "season"):
    pair = medical.posterior(["pneumonia", test], evidence).values
    alone = pair.sum(1, keepdim=True) * pair.sum(0, keepdim=True)
    worth[test] = (pair * (pair / alone).log()).sum().item()
print({test: round(value, 4) for test, value in worth.items()})
assert max(worth, key=worth.get) == "shadow"

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Which arrows are causes?
# :label: ex-bn-open
# ```
# (Open.) Draw 1,000 patients, forget the graph, and look for it: among the graphs over flu, pneumonia, fever and aches, which fit best?
# Which of their arrows could you never know from such data, and which observation or experiment would decide?
# This exercise has no one answer.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-open
# :class: dropdown
# ```
# A start: score each of the 543 graphs by the log-likelihood of the fitted tables minus $\tfrac12 d(G) \log n$ (the BIC).
# Equivalent graphs get the same likelihood and, by {prf:ref}`prop-bn-covered` and the proof of {prf:ref}`thm-bn-equivalence`, the same $d(G)$: the score cannot choose between them.

# %%
four = ["flu", "pneumonia", "fever", "aches"]
columns = [medical.nodes.index(v) for v in four]
patients = medical.sample(1000, generator)[:, columns]
states = {v: medical.states[v] for v in four}
order = {v: i for i, v in enumerate(four)}
scores = []
for dag in all_dags(four):
    net = BayesNet.fit(dag, states, patients, prior=1e-3)
    place = [order[v] for v in net.nodes]
    fitted = net.log_prob(patients[:, place]).sum().item()
    scores.append((fitted - net.parameters / 2 * np.log(1000), dag))
scores.sort(key=lambda pair: -pair[0])
best = [dag for score, dag in scores if score > scores[0][0] - 0.01]
print(
    len(best),
    "graphs share the best score, for example",
    ", ".join(f"{a} → {b}" for a, b in best[0].edges),
)
assert all(graphs.markov_equivalent(best[0], dag) for dag in best)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Should the peak of traffic calm you?
#
# Yes.
# It explains the alarm, and what is explained needs no second cause: the crash, which the alarm had made several times as probable as on a quiet night, loses part of that again.
# But look at the pages as well.
# If they are quick, the alarm rings for something else, and you should run.
# Ten small tables knew all this, and each conclusion was a sum of their products.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
