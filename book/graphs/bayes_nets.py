# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:bayes-nets)=
# # Bayesian networks
#
# *The alarm rings: what do ten small tables know about it?*
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
# You need: conditional probability, as in {ref}`probability and independence <ch:probability>`.
# :::
#
# | symbol | meaning | code |
# | :-- | :-- | :-- |
# | $G$ | directed acyclic graph (DAG), nodes $v \in V$ | `net.dag` |
# | $x_v$ | state of the variable at node $v$; $x_A$ those of a set $A$ | `"yes"`, `"no"` |
# | $\mathrm{pa}(v)$ | parents of $v$: the nodes with an arrow to it | `dag.pred[v]` |
# | $t_v(x_v \mid x_{\mathrm{pa}(v)})$ | table of $v$: a row of probabilities for each state of its parents | `net.tables[v]` |
# | $\mathrm{nd}(v)$ | non-descendants of $v$: nodes to which no directed path leads from $v$; without $v$ and its parents (`not_below` keeps these two) | `not_below` |
# | $\mathrm{An}(A)$ | the nodes of $A$ and all their ancestors | |
# | $X \perp Y \mid Z$ | the variables $X$ are independent of $Y$ given $Z$ | `independent(law, X, Y, Z)` |
# | $k_v$ | number of states of $x_v$ | `len(net.states[v])` |
# | $d(G)$ | number of free parameters | `net.parameters` |

# %% tags=["parameters"]
seed: int = 0
repeats: int = 20  # data sets for each point of a figure; 2 or more

# %% tags=["hide-input"]
import json
from functools import reduce
from importlib.resources import files
from itertools import combinations, permutations, product
from operator import mul

import networkx as nx
import numpy as np
import seaborn
import torch
from IPython.display import Markdown

from companion import figures, graphs
from companion.claims import check
from companion.figures import Sketch, results_table, show, show_source
from companion.graphs import BayesNet, Reachability, all_dags, d_separated
from companion.graphs import elimination as ve
from companion.words import at_least

at_least(2, repeats=repeats)
generator = torch.Generator().manual_seed(seed)
rng = np.random.default_rng(seed)

# %% tags=["hide-input"]
sketch = Sketch(354, 118)
shapes = {
    "chain": ("ab", "bc", "open", "blocked by B"),
    "fork": ("ba", "bc", "open", "blocked by B"),
    "collider": ("ab", "cb", "blocked", "opened by B"),
}
for k, (name, (one, two, unseen, seen)) in enumerate(shapes.items()):
    left = 118 * k
    spots = {"a": (20, 38), "b": (59, 38), "c": (98, 38)}
    if name != "chain":  # the middle above or below
        spots["b"] = (59, 22 if name == "fork" else 54)
    for letter, (x, y) in spots.items():
        sketch.node((k, letter), left + x, y, letter.upper())
    for a, b in (one, two):
        sketch.link((k, a), (k, b), lit=True)
    sketch.words(left + 59, 82, name)
    sketch.words(left + 59, 98, unseen, small=True)
    sketch.words(left + 59, 113, seen, small=True)
sketch.show(
    "How A can tell something about C through B: in a chain and from a common "
    "cause unless B is seen, through a common effect only if it is.",
    alt="Three small graphs. Chain A to B to C and fork B to A and C are open "
    "until B is seen. Collider A and C to B is blocked until B is seen.",
    label="fig-bn-idea",
)

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
# That is called the *local Markov property* {cite:p}`lauritzen1990independence`.
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
# (Nothing is lost where some $p(x_{\mathrm{pa}(v)})$ is 0 and the equation says $0 = 0$. On the states where all of them are positive it says $p = \prod_v t_v$, and $p$ sums to 1 there; so $\prod_v t_v$ does too, and is 0 on all other states, as $p$ is.)

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


def everything(dag, v):
    return set(dag)


# %%
def one_by_one(laws, dag):
    """For each law, whether v is independent of each of nd(v) by itself."""
    found = torch.ones(len(laws), dtype=torch.bool)
    for v in dag:
        z = frozenset(dag.pred[v])
        for u in not_below(dag, v) - z - {v}:
            found &= holds(laws, frozenset(v), frozenset(u), z)
    return found


def nothing(dag, v):
    return ()


def against(laws, dags, fits, others, given):
    """For graphs and laws, whether fits is the Markov property."""
    found = torch.stack([markov(laws, dag, others, given) for dag in dags])
    return (found == fits).flatten()


# %%
wrong = {
    "independent without knowing the parents": (not_below, nothing),
    "independent of descendants too": (everything, parents),
}
fits = torch.stack([factorises(laws, dag) for dag in dags])  # (graphs, laws)
both = laws, dags, fits
check(
    "thm-bn-factorisation",
    about="four variables",
    of="pairs of a graph and a random law",
).holds(
    against(*both, not_below, parents),
    wrong={name: against(*both, *rule) for name, rule in wrong.items()},
    how="random instances",
)

# %%
Markdown(f"{int(fits.sum()):,} of the {fits.numel():,} pairs factorise.")

# %% [markdown]
# None of these laws has a zero, and zeros were the delicate part of the proof (step 9).
# So a second check takes three bits, all 25 graphs, and all laws whose eight probabilities are proportional to numbers in $\{0, 1, 2\}$.

# %%
small = list(all_dags("ABC"))
digits = torch.tensor(list(product((0.0, 1.0, 2.0), repeat=8)))[1:]
counts = digits.double().view(-1, 2, 2, 2)
both = counts, small, torch.stack([factorises(counts, g) for g in small])
singly = torch.stack([one_by_one(counts, g) for g in small])
check(
    "thm-bn-factorisation",
    about="three variables",
    of="pairs of a graph and a law with counts 0, 1, 2",
).holds(
    against(*both, not_below, parents),
    wrong={name: against(*both, *rule) for name, rule in wrong.items()}
    | {"of each non-descendant by itself": (singly == both[2]).flatten()},
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
# free parameters ({ref}`the chapter on probability <ch:probability>` proves that none of them is superfluous).
# Turning an arrow around can change that number, and the set of laws that factorise.
# One kind of arrow changes neither: an arrow $x \to y$ is called *covered* if the parents of $y$ are exactly the parents of $x$, and $x$ itself.
#
# :::{prf:proposition} Turning a covered arrow is free
# :label: prop-bn-covered
# Let $x \to y$ be covered in a DAG $G$, and let $G'$ be $G$ with $y \to x$ in its place {cite:p}`chickering1995transformational`.
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
# Covered arrows must keep the number and the laws; what other arrows do is not claimed.

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


check(
    "prop-bn-covered",
    kind="exhaustive",
    about="free numbers",
    of="arrows of the graphs on four variables",
).holds(
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
same_laws = np.array(
    [j is not None and (fits[i] == fits[j]).all() for i, j in pairs]
)
check(
    "prop-bn-covered", about="laws", of="arrows, judged on random laws"
).holds(
    same_laws | ~covered,
    wrong={
        "any arrow may be turned": same_laws,
        "one parent more is enough": same_laws | ~one_more,
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
# The program is the proof.


# %%
def eliminate(tables, order):
    """Sum the variables of `order` out of a product of tables, in turn."""
    for v in order:
        psi = reduce(mul, [t for t in tables if v in t.names])
        rest = [name for name in psi.names if name != v]
        left = [t for t in tables if v not in t.names]
        tables = [*left, psi.marginal(*rest)]
    return reduce(mul, tables)


# %% [markdown]
# The alarm rings: what is the law of *crash*?
# Cut the alarm's table at "yes", and watch the network shrink, one variable a row.

# %%
known = {"alarm": "yes"}
tables = [
    t.restrict({k: v for k, v in known.items() if k in t.names})
    for t in server.tables.values()
]
scopes = [t.names for t in tables]
sizes = {v: len(states) for v, states in server.states.items()}
order = ve.elimination_order(scopes, ["crash"], sizes)
law = eliminate(tables, order).normalised()
assert np.isclose(law["yes"], server.posterior("crash", known)["yes"])
print(f"p(crash | alarm) = {law['yes']:.4f}")

# %% tags=["hide-input"]
rows = []
for v in order:
    named = [scope for scope in scopes if v in scope]
    psi = tuple(dict.fromkeys(n for scope in named for n in scope if n != v))
    scopes = [scope for scope in scopes if v not in scope] + [psi]
    rows.append(
        {
            "sum out": v,
            "tables multiplied": len(named),
            "new function of": ", ".join(psi) or "nothing",
            "cells of the product": sizes[v]
            * int(np.prod([sizes[n] for n in psi])),
        }
    )
results_table(rows)

# %% [markdown]
# (The package does the same with one `einsum` a variable {cite:p}`dechter1999bucket`, keeps the list of steps for the next question of the same kind, and where a result could become too small for the machine it divides by the largest entry and keeps its logarithm.)
#
# In 60 random networks of four nodes with three states we ask for $D$ and eliminate the others in each of the six orders.
# The other side multiplies all tables and adds up.


# %%
def only(table, name):
    """Sum one table over all variables but one."""
    return table.marginal(*{name} & set(table.names)).values


eliminated, summed, early, late = [], [], [], []
for k in rng.integers(len(dags), size=60):
    tables = list(BayesNet.random(dags[k], 3, generator).tables.values())
    scopes, values = [t.names for t in tables], [t.values for t in tables]
    *others, last = names
    for order in permutations(others):
        steps = ve.plan(scopes, [last], order)
        eliminated.append(ve.run(steps, values)[0])
        summed.append(only(reduce(mul, tables), last))
        early.append(reduce(mul, [only(t, last) for t in tables]))
        plain = eliminate(tables, order).values
        assert torch.allclose(plain, eliminated[-1], rtol=1e-12)
        first = [{*t.names} - {order[0]} for t in tables]
        apart = [
            t.marginal(*kept) for t, kept in zip(tables, first, strict=True)
        ]
        late.append(only(reduce(mul, apart), last))

# %%
check("thm-bn-elimination", of="nets, each in six orders").equal(
    left=torch.stack(eliminated),
    right=torch.stack(summed),
    wrong={
        "each table summed by itself": torch.stack(early),
        "the first variable, table by table": torch.stack(late),
    },
)

# %% [markdown]
# Two remarks make it quick.
# First, a node can be left out if neither it nor any node below it is asked for or observed: summed out after those below it, its table gives 1.
# Second, the order matters for the price, though not for the result: each step forms a table over all the variables that are multiplied together.
# In a star, where one hub points at $n$ leaves, eliminating the hub first multiplies the tables of all leaves, and the product has a cell for every state of all of them.
# (The number of variables in the largest product of the best order, less one, is the *treewidth* of the graph that joins the variables of each table.)
# To find the best order is NP-hard {cite:p}`arnborg1987complexity`, and so is exact inference itself in general {cite:p}`cooper1990computational`.
# A greedy choice, which takes next the variable that joins the fewest new pairs of variables in a table (weighed by their numbers of states), does well on the four networks below.
# For them the table counts the cells of the largest product that an order forms.

# %% tags=["hide-input"]
medical = graphs.medical_diagnosis()
star = nx.DiGraph([("hub", f"leaf {i}") for i in range(16)])
grid = nx.DiGraph(nx.grid_2d_graph(5, 5).edges)  # edges lead right and down


def cells(net, order=None):
    """Cells of the largest product that an order forms, if not the greedy."""
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


causes = [v for v in server.nodes if v not in ("release", "alarm")]
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
    words = [
        ["seen" if np.isnan(value) else f"{value:.3f}" for value in row]
        for row in beliefs
    ]
    seaborn.heatmap(
        np.sqrt(np.nan_to_num(beliefs)),
        annot=np.array(words),
        annot_kws={"color": "#111111"},
        fmt="",
        cmap="Blues",
        vmin=0,
        vmax=1.35,
        cbar=False,
        yticklabels=list(stories),
        ax=axes,
    )
    axes.xaxis.tick_top()
    axes.set_xticklabels(targets, rotation=25, ha="left")
    axes.tick_params(length=0, labelsize=10)
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
# Where a kernel runs, observe what you like; on this page the slider walks through the five rows of the table.


# %% tags=["hide-input"]
def believed(**evidence):
    """Bars of the last state of each cause, given what is not unknown."""
    known = {k: v for k, v in evidence.items() if v != "unknown"}
    figure = figures.blank(2.6)
    axes = figure.subplots()
    look = {"errorbar": None, "color": figures.style.PALETTE[0]}
    seaborn.barplot(x=ask(server, known, causes), y=tops, ax=axes, **look)
    told = ", ".join(f"{k} = {v}" for k, v in known.items())
    axes.set(xlim=(0, 1), xlabel=f"probability, given {told or 'nothing'}")
    return figure


# %% tags=["hide-input"]
knobs = [
    figures.Knob(v, ["unknown", *server.states[v]])
    for v in ("alarm", "traffic", "slow", "cooling")
]
figures.Explorable(
    [believed(**known) for known in stories.values()],
    list(stories),
    "evidence",
    alt="Eight bars: the probabilities of the causes; what is seen has none.",
    caption="Each row of the table as bars.",
    live=figures.Live(
        lambda *seen: believed(
            **{k.name: v for k, v in zip(knobs, seen, strict=True)}
        ),
        *knobs,
    ),
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
# Three nodes show all there is to it (the diagram at the top).
# In a *chain* $A \to B \to C$ and in a *fork* $A \leftarrow B \to C$, $A$ and $C$ are dependent, and independent once $B$ is known.
# In a *collider* $A \to B \leftarrow C$ it is the other way round: two causes know nothing of one another until their effect is seen.
# In numbers, with random tables:

# %%
triples = {"A → B → C": ["AB", "BC"], "A ← B → C": ["BA", "BC"]}
triples["A → B ← C"] = ["AB", "CB"]
rows = []
for name, pair in triples.items():
    law = BayesNet.random(nx.DiGraph(pair), 2, generator).joint()
    bits = [graphs.mutual_information(law, "A", "C", z) for z in ([], "B")]
    blocked = [value < 1e-12 for value in bits]
    assert blocked == [name == "A → B ← C", name != "A → B ← C"]
    rows.append({"graph": name, "I(A; C)": bits[0], "I(A; C | B)": bits[1]})
results_table(
    [r | {k: round(v, 6) for k, v in list(r.items())[1:]} for r in rows]
)

# %% [markdown]
# A longer way is open if each of its triples is.
# Take a *trail*: a path that may follow arrows in either direction and visits no node twice.
# A node in its middle is a *collider* on it if both arrows of the trail point at it, as at $\text{slow} \to \text{alarm} \leftarrow \text{crash}$.
#
# Given a set $Z$ of observed nodes, a trail with both ends outside of $Z$ is *active* if
# - no node in its middle that is not a collider is in $Z$, and
# - every collider on it is in $Z$ or has a descendant in $Z$.
#
# In particular a single arrow, which has no middle, is always active.
# For disjoint sets of nodes, $Z$ *d-separates* $X$ from $Y$ if no trail from a node of $X$ to a node of $Y$ is active {cite:p}`pearl1988probabilistic`.
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
# An active trail is the reason why two nodes are not separated.
# That separated nodes are indeed independent needs a proof, and it goes through undirected graphs.
# The *moral graph* of a DAG joins every two parents of a node (it "marries" them) and then forgets the directions.
#
# :::{prf:lemma} d-separation is separation among ancestors
# :label: lem-bn-moral
# Let $X, Y, Z$ be disjoint sets of nodes of a DAG $G$, let $A = \mathrm{An}(X \cup Y \cup Z)$, and let $G_A$ be the graph $G$ without the nodes outside of $A$.
# Then $Z$ d-separates $X$ from $Y$ in $G$ if and only if every path from $X$ to $Y$ in the moral graph of $G_A$ meets $Z$ {cite:p}`lauritzen1990independence`.
# :::
#
# :::{prf:proof}
# From an active trail to a path that avoids $Z$, in steps:
#
# 1. All nodes of an active trail are in $A$: the ends are in $X \cup Y$ and the colliders in $\mathrm{An}(Z)$, by definition. From any other node one arrow of the trail leads away; follow the trail in that direction for as long as its arrows point forward. You stop at an end or at a collider, so the node is an ancestor of one that is in $A$.
# 2. The two neighbours of a collider on the trail are parents of a node of $A$, so they are married: leave the collider out.
# 3. Two colliders never stand side by side, since the arrow between them would need two heads. So after leaving all colliders out we have a path in the moral graph of $G_A$, of ends and non-colliders, none of which is in $Z$.
#
# From a path in the moral graph that avoids $Z$ to an active trail:
#
# 4. Where two neighbours $a, b$ on the path are not joined by an arrow but only married, put $a \to c \leftarrow b$ between them, with $c \in A$ a child of both. The result is a *walk* in $G_A$ from $X$ to $Y$: like a trail, but it may visit a node several times, and at each visit the node is a collider or not. Its non-colliders are nodes of the path, so none is in $Z$.
# 5. Suppose a collider $c$ of the walk is not in $\mathrm{An}(Z)$. As $c \in A$, arrows lead from $c$ to some $w \in X \cup Y$ (perhaps $c$ itself), and none of the nodes on that way is in $Z$. If $w \in X$, start at $w$ instead, walk the arrows backwards to $c$ and continue as before; if $w \in Y$, walk to $c$ and follow the arrows to $w$. Now $c$ and the new nodes are ends or non-colliders, outside $Z$, and at least one such collider is gone.
# 6. Repeat until every collider is in $\mathrm{An}(Z)$ and every non-collider outside $Z$. Among all walks from $X$ to $Y$ with this property take a shortest one.
# 7. It visits no node twice. Suppose it visits $v$ twice, and cut out what lies between. If $v$ is now an end, nothing is asked of it. If $v$ is now a non-collider, one of the two arrows that remain at it points away from $v$; at the visit to which this arrow belongs $v$ was a non-collider too, so $v \notin Z$.
# 8. If $v$ is now a collider and was one at either visit, $v \in \mathrm{An}(Z)$. If it was one at neither, the loop that was cut left $v$ along an arrow and came back to $v$ against one. Follow the loop from $v$: where its arrows turn for the first time there is a collider, a descendant of $v$. It is in $\mathrm{An}(Z)$, hence so is $v$.
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
# 1. Let $A = \mathrm{An}(X \cup Y \cup Z)$. Sum the product over all nodes outside $A$, children before parents: each time one table is left that names the variable, and it sums to 1. The parents of a node of $A$ are in $A$, so $p(x_A) = \prod_{v \in A} t_v(x_v \mid x_{\mathrm{pa}(v)})$.
# 2. The nodes that one factor names, $v$ and its parents, are all joined to one another in the moral graph of $G_A$.
# 3. By {prf:ref}`lem-bn-moral` every path there from $X$ to $Y$ meets $Z$. Let $X'$ be $X$ and what can be reached from it without meeting $Z$, and $Y' = A \setminus (X' \cup Z) \supseteq Y$. No edge joins $X'$ and $Y'$.
# 4. So each factor names no node of $Y'$, or none of $X'$: $p(x_A) = g(x_{X'}, x_Z)\, h(x_{Y'}, x_Z)$.
# 5. Summing gives $p(x_{X'}, x_Z) = g\, \textstyle\sum_{Y'} h$, $p(x_{Y'}, x_Z) = h \sum_{X'} g$ and $p(x_Z) = \sum_{X'} g \sum_{Y'} h$, so $p(x_A)\, p(x_Z) = p(x_{X'}, x_Z)\, p(x_{Y'}, x_Z)$. This is $X' \perp Y' \mid Z$.
# 6. By decomposition, on either side, $X \perp Y \mid Z$.
# :::
#
# First the lemma, with active trails found by brute force from the definition: every DAG on four nodes, and all 55 statements about disjoint sets $X, Y, Z$ of them.


# %%
def trails(dag, a, b):
    """All trails from a to b: the colliders, the other inner nodes."""
    for path in nx.all_simple_paths(graphs.skeleton(dag), a, b):
        inner = zip(path, path[1:], path[2:], strict=False)
        colliders = {v for u, v, w in inner if {u, w} <= {*dag.pred[v]}}
        yield colliders, set(path[1:-1]) - colliders


def active(trail, given, opens):
    """Whether a trail is active, word by word from the definition."""
    colliders, others = trail
    return not others & given and all(opens[c] & given for c in colliders)


def moral_of_ancestors(dag, top):
    kept = top.union(*(nx.ancestors(dag, v) for v in top))
    return graphs.moral(dag.subgraph(kept))


# %%
every = list(graphs.statements(names))  # triples X, Y, Z
tops = {x | y | z for x, y, z in every}


def by_trails(known, opens):
    """For every statement, whether no trail from X to Y is active."""
    return [
        not any(
            active(trail, z, opens)
            for pair in product(x, y)
            for trail in known[frozenset(pair)]
        )
        for x, y, z in every
    ]


def by_paths(graph_of):
    """For every statement, whether every path from X to Y meets Z."""
    return [
        graphs.separated(graph_of[x | y | z], x, y, z) for x, y, z in every
    ]


# %%
found = []
for dag in dags:
    pairs = combinations(names, 2)
    known = {frozenset(p): list(trails(dag, *p)) for p in pairs}
    opens = {v: {v} | nx.descendants(dag, v) for v in names}
    found.append(
        (
            by_trails(known, opens),
            by_paths({top: moral_of_ancestors(dag, top) for top in tops}),
            by_paths(dict.fromkeys(tops, graphs.moral(dag))),
            by_trails(known, {v: {v} for v in names}),
            by_paths(dict.fromkeys(tops, graphs.skeleton(dag))),
        )
    )
# each (graphs, statements)
truth, by_moral, whole, shallow, bare = np.array(found).swapaxes(0, 1)

# %%
check(
    "lem-bn-moral",
    kind="exhaustive",
    of="statements about the graphs on four variables",
).holds(
    (truth == by_moral).flatten(),
    wrong={
        "the moral graph of all nodes": (truth == whole).flatten(),
        "only an observed collider is open": (shallow == by_moral).flatten(),
    },
)

# %% [markdown]
# Then the theorem: whatever is read off a graph must hold in each of the random laws that factorise over it.
# The reader is the *Bayes ball* of the package, which answers without listing trails ({ref}`sec-bn-speed`); on all these graphs it agrees with the brute force.

# %%
balls = [Reachability(dag) for dag in dags]
said = np.array([[ball.separated(*s) for s in every] for ball in balls])
assert (said == truth).all()
true = torch.stack([holds(laws, *s) for s in every], 1).numpy()


def sound(read):
    """For each graph and law that fit: is all that is read off true?"""
    errors = read.astype(int) @ (~true).T.astype(int)  # (graphs, laws)
    return (errors == 0)[fits.numpy()]


check(
    "thm-bn-separation", of="pairs of a graph and a random law that fits"
).holds(
    sound(said),
    wrong={
        "paths block as in an undirected graph": sound(bare),
        "only an observed collider is open": sound(shallow),
    },
    how="random instances",
)

# %%
assert not (true & ~said).any()
Markdown(
    f"{said.sum():,} statements are read off the graphs; {true.sum():,} hold "
    f"in the laws that were drawn for these graphs; "
    f"{(true & ~said).sum()} of them were not read off."
)

# %% [markdown]
# That nothing else holds is what *completeness* predicts.
# It does not say that a law over $G$ can have no other independence: a table whose rows are all equal makes one.
# It says that no other independence holds in *every* law over $G$; and more, the tables in which another one holds are a set of measure zero {cite:p}`geiger1990identifying,meek1995strong`.
# We do not prove it here; our tables were drawn at random, and none fell into that set.
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
# Data can tell us which independencies hold, but $x \to y$ and $y \to x$ state the same: nothing.
# Call two DAGs *equivalent* if the same laws factorise over both.
# The *skeleton* of a DAG is the graph that is left when the directions are forgotten.
# A *v-structure* is a pair of arrows $a \to c \leftarrow b$ whose $a$ and $b$ are not joined.
#
# :::{prf:theorem} Markov equivalence
# :label: thm-bn-equivalence
# Two DAGs $G, H$ on the same nodes are equivalent if and only if they have the same skeleton and the same v-structures {cite:p}`verma1990equivalence`.
# :::
#
# :::{prf:proof}
# Equivalent graphs look alike. Let $G$ and $H$ be equivalent. We give each variable two states and use laws in which two or three nodes are related and all others are independent fair coins, in steps:
#
# 1. Suppose $x, y$ are joined in $G$ but not in $H$, and let $x$ be no descendant of $y$ in $H$ (otherwise exchange their names). Take fair coins, but $y$ a copy of $x$, or $x$ of $y$, along the arrow of $G$. This law factorises over $G$, so over $H$ too, and by {prf:ref}`thm-bn-factorisation` $y \perp x \mid \mathrm{pa}(y)$ with the parents in $H$. But neither $x$ nor $y$ is among these, so given them $x$ and $y$ are still a coin and its copy: a contradiction. So each edge of $G$ is one of $H$, and by symmetry the skeletons agree.
# 2. Let $a \to c \leftarrow b$ be a v-structure of $G$. Take fair coins, but $c = a + b$ modulo 2. This law factorises over $G$, so over $H$ too. In $H$ the same edges are there; suppose they do not both point at $c$.
# 3. Let $a$ be no descendant of $b$ in $H$ (otherwise exchange their names). As $a$ and $b$ are not joined, $a \notin \mathrm{pa}(b)$ in $H$, and so $b \perp a \mid \mathrm{pa}(b)$.
# 4. If $c \in \mathrm{pa}(b)$ in $H$: given $c$ and other coins $b$ is a fair coin, and given $a$ as well it is known. This is no independence.
# 5. If $c \notin \mathrm{pa}(b)$, then $b \to c$, and so $c \to a$ by step 2: $a$ is a descendant of $b$, against step 3. So $H$ has the v-structure; and by symmetry, $G$ has those of $H$.
#
# Graphs that look alike are equivalent. Let skeletons and v-structures agree, and let $\Delta$ be the set of edges that point differently in $G$ and $H$ {cite:p}`chickering1995transformational`:
#
# 6. If $\Delta$ is empty, $G = H$. Otherwise list the nodes of $G$, parents first. Let $y$ be the first node with an arrow $x \to y$ of $G$ in $\Delta$, and among these $x$ take the last. Steps 7 to 9 show that in $G$ this arrow is covered.
# 7. First, let $w \to x$ in $G$. As $x$ comes before $y$, this arrow is not in $\Delta$, so $w \to x$ in $H$, where also $y \to x$. If $w$ and $y$ were not joined, $H$ would have a v-structure at $x$ that $G$ does not have. So they are joined, and $w \to y$ in $G$, because $y \to w$ would close a cycle with $w \to x \to y$.
# 8. Second, let $w \to y$ in $G$ with $w \ne x$. If $w$ and $x$ were not joined, $G$ would have a v-structure at $y$ that $H$ does not have, since there $y \to x$. So they are joined.
# 9. Suppose $x \to w$ in $G$. Then $w$ is later than $x$, so by the choice of $x$ the arrow $w \to y$ is not in $\Delta$; and $w$ is before $y$, so by the choice of $y$ the arrow $x \to w$ is not either. In $H$ we have $x \to w \to y \to x$, a cycle: impossible. So $w \to x$ in $G$. With step 7, $y$ has exactly the parents of $x$, and $x$.
# 10. By {prf:ref}`prop-bn-covered` turning $x \to y$ keeps the graph acyclic and the laws the same, so by the first half of this proof it keeps skeleton and v-structures. The new graph differs from $H$ in one edge less. Repeat until it is $H$.
# :::
#
# The check takes all pairs of the 543 graphs.
# Two of them are equivalent in the numbers if the law of each factorises over the other.

# %%
equivalent = (fits & fits.T).numpy()


def bones(dag):
    return frozenset(map(frozenset, dag.edges))  # the skeleton


def meaning(dag):
    return bones(dag), frozenset(graphs.v_structures(dag))


def all_colliders(dag):
    return bones(dag), frozenset(
        (frozenset(pair), v)
        for v in dag
        for pair in combinations(sorted(dag.pred[v]), 2)
    )


def decides(key):
    """For all pairs of graphs: equivalent if and only if key agrees?"""
    keys = [key(dag) for dag in dags]
    number = {k: i for i, k in enumerate(dict.fromkeys(keys))}
    kind = np.array([number[k] for k in keys])
    return (equivalent == (kind[:, None] == kind)).flatten()


# %%
check("thm-bn-equivalence", of="pairs of graphs, judged on random laws").holds(
    decides(meaning),
    wrong={
        "the skeleton is enough": decides(bones),
        "all colliders count, joined or not": decides(all_colliders),
    },
    how="random instances",
)

# %%
classes = {}
for dag in small:
    classes.setdefault(meaning(dag), []).append(dag)
Markdown(
    f"The {len(dags)} DAGs on four nodes have {len(set(map(meaning, dags)))} "
    f"meanings, the {len(small)} on three nodes {len(classes)}."
)

# %% tags=["hide-input"]
ordered = sorted(classes.values(), key=lambda c: (c[0].size(), len(c)))
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
    "apart by observed data, however many. Each v-structure is alone in its "
    "class.",
    alt="Twenty-five small directed graphs with the number of their class.",
    label="fig-bn-classes",
)

# %% [markdown]
# (sec-bn-intervention)=
# ## Seeing is not doing
#
# If a colleague tells you that the alarm is silent, a crash is less probable.
# If you silence the alarm yourself by cutting its wire, it is not.
# The graph knows the difference, if its arrows are causes: an action sets a variable by hand, so the arrows into it no longer count, and all other tables stay {cite:p}`pearl1995causal`.
# The law after the action $\mathrm{do}(x_a)$, which sets node $a$ to the state $x_a$, is the product without the table of $a$, with that $x_a$ in all the others:
#
# $$
# p(x_{V \setminus \{a\}} \mid \mathrm{do}(x_a)) = \prod_{v \ne a} t_v(x_v \mid x_{\mathrm{pa}(v)}).
# $$ (eq-bn-do)
#
# :::{prf:theorem} Doing is seeing, with the parents' own law
# :label: thm-bn-do
# Let $p$ factorise over $G$ with the tables $t_v$, let $P = \mathrm{pa}(a)$, and let $p(x_a \mid x_P) > 0$ for all $x_P$ of positive probability.
# Then for a node $y \notin P \cup \{a\}$, with the sum over all $x_P$ of positive probability,
#
# $$
# p(x_y \mid \mathrm{do}(x_a)) = \sum_{x_P} p(x_y \mid x_a, x_P)\, p(x_P).
# $$ (eq-bn-adjust)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Where $p(x_P) > 0$, the table of $a$ is $p(x_a \mid x_P)$, by step 5 of {prf:ref}`thm-bn-factorisation`. So by {eq}`eq-bn-do` $p(x_{V \setminus \{a\}} \mid \mathrm{do}(x_a)) = p(x) / p(x_a \mid x_P)$.
# 2. Where $p(x_P) = 0$, the left side is 0. Indeed $x_P$ has the same probability before and after the action: it is a sum of products of the tables of $P$ and their ancestors, and $a$ is none of these.
# 3. Where $p(x_P) > 0$, sum over all variables but $x_y$, $x_P$ and the fixed $x_a$; the divisor does not depend on them: $p(x_y, x_P \mid \mathrm{do}(x_a)) = p(x_y, x_a, x_P) / p(x_a \mid x_P)$.
# 4. The numerator is $p(x_y \mid x_a, x_P)\, p(x_a \mid x_P)\, p(x_P)$. Divide, and sum over $x_P$; by step 2 nothing is missing.
# :::
#
# We check it on all 543 graphs, acting on $B$ and looking at every other node that is not its parent.

# %%
done, adjusted, seen, even = [], [], [], []
for dag, net in zip(dags, nets, strict=True):
    up, joint = list(dag.pred["B"]), net.joint()
    acted = net.intervene({"B": "1"}).joint()
    observed = joint.given({"B": "1"})
    for y in sorted(set("ACD") - set(up)):
        done.append(acted.prob({y: "1"}))
        given = joint.conditional(y, ["B", *up]).values[1, ..., 1]
        adjusted.append((given * joint.marginal(*up).values).sum().item())
        seen.append(observed.prob({y: "1"}))
        even.append(given.mean().item())

# %%
check("thm-bn-do", of="questions, asked of random nets").equal(
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
# ## The treated recover less often, and still the treatment helps
#
# The second network is a doctor's: season and smoking, three diseases, what one sees and measures, a treatment, and recovery.

# %%
show_source(graphs.medical_diagnosis)

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
    belief_figure(beliefs, visits, diseases),
    "Each row adds one finding to those above it. "
    "Aching limbs speak for flu, and so against pneumonia and bronchitis; "
    "the X-ray brings pneumonia back.",
    alt="A table: five rows of findings, three diseases, probabilities.",
    label="fig-bn-diagnosis",
)

# %% [markdown]
# Of the variables in the network only flu causes aching limbs, and flu makes pneumonia more probable.
# Yet here aching limbs lower the probability of pneumonia: flu now explains the cough and the fever.
#
# The most probable state of all other variables together is another question than the most probable state of each disease.
# `most_probable` answers it by the same elimination, with a maximum in the place of the sum.
# With a cough and a shadow the two answers differ: pneumonia is more probable than not, but its probability is spread over many combinations of the other variables, and in the single most probable one there is no disease at all.

# %%
evidence = {"cough": "yes", "shadow": "yes"}
best, _ = medical.most_probable(evidence)
rows = [
    {
        "disease": name,
        "p(yes | evidence)": medical.posterior(name, evidence)["yes"],
        "in the most probable state of all": best[name],
    }
    for name in diseases
]
results_table(rows)

# %% [markdown]
# Who is given the antibiotic?
# Most who have a shadow on the X-ray and few others, so pneumonia is more frequent among the treated.
# That is why patients with the antibiotic recover less often than those without, and still it helps.

# %%
rows = []
for dose in ({"antibiotic": "no"}, {"antibiotic": "yes"}):
    see, do = medical.posterior, medical.intervene(dose).posterior
    rows.append(
        {
            **dose,
            "pneumonia, if we see it": see("pneumonia", dose)["yes"],
            "recovered, if we see it": see("recovered", dose)["yes"],
            "recovered, if we do it": do("recovered")["yes"],
        }
    )
results_table(rows)

# %% [markdown]
# (sec-bn-sensitivity)=
# ### An answer depends on one number through two straight lines
#
# Every number in the tables is somebody's estimate.
# How much does an answer depend on one of them?
#
# :::{prf:theorem} A posterior is a quotient of two straight lines
# :label: thm-bn-sensitivity
# Let one entry of one row of one table be $\theta$, and let the other entries of the row share $1 - \theta$ in fixed proportions.
# Then for every state $q$ of the variables asked for and every evidence $e$ there are numbers $a, b, c, d$ with
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
def with_entry(net, node, row, theta):
    """The network with theta as the last entry of one row of one table."""
    rows = net.tables[node].values.clone()
    others = rows[row][:-1]
    shares = (1 - theta) * others / others.sum()
    rows[row] = torch.cat([shares, rows.new_tensor([theta])])
    table = graphs.Table(rows, net.tables[node].states)
    return BayesNet({**net.tables, node: table})


def above_below(net, query, evidence):
    """p(q, e) and p(e)."""
    both = net.evidence_log_prob(query | evidence)
    return np.exp([both, net.evidence_log_prob(evidence)])


def line(ends, thetas):
    """The straight line between the values at 0 and at 1."""
    return ends[0] + thetas * (ends[1] - ends[0])


# %% [markdown]
# A straight line is known from two points.
# So in 100 random networks of four nodes with three states, for a random entry, query and evidence, we measure $p(q, e)$ and $p(e)$ at $\theta = 0$ and $1$, and predict the posterior at five values between.

# %%
middle = np.linspace(0.1, 0.9, 5)
posterior, predicted, straight, fixed = [], [], [], []
for k in rng.integers(len(dags), size=100):
    net = BayesNet.random(dags[k], 3, generator)
    node, (q, e) = rng.choice(net.nodes), rng.permutation(net.nodes)[:2]
    row = tuple(rng.integers(3, size=net.tables[node].values.ndim - 1))
    ends = [with_entry(net, node, row, t) for t in (0, 1)]
    nets_between = [with_entry(net, node, row, t) for t in middle]
    query, evidence = {q: "2"}, {e: "1"}
    above, below = np.transpose(
        [above_below(end, query, evidence) for end in ends]
    )
    exact = [net.posterior(q, evidence)["2"] for net in nets_between]
    posterior.append(exact)
    predicted.append(line(above, middle) / line(below, middle))
    straight.append(np.linspace(exact[0], exact[-1], len(middle)))
    fixed.append(line(above, middle) / below.mean())

# %%
check("thm-bn-sensitivity", of="nets, five values each").equal(
    left=np.array(posterior),
    right=np.array(predicted),
    wrong={
        "the posterior itself is a line": np.array(straight),
        "p(e) does not depend on it": np.array(fixed),
    },
)

# %% [markdown]
# For the patient, let $\theta$ be the share of healthy lungs that show a shadow, $p(\text{shadow} \mid \text{no pneumonia})$.

# %%
shadowed, ill = {"cough": "yes", "shadow": "yes"}, {"pneumonia": "yes"}
healthy = (0,)  # the row of no pneumonia
extremes = [with_entry(medical, "shadow", healthy, t) for t in (0, 1)]
above, below = np.transpose(
    [above_below(net, ill, shadowed) for net in extremes]
)
thetas = np.linspace(0, 0.75, 151)
curve = line(above, thetas) / line(below, thetas)


# %% tags=["hide-input"]
def sensitivity_frame(theta):
    """Posterior against the entry, with the present value marked."""
    figure = figures.blank(3.0)
    axes = figure.subplots()
    axes.plot(thetas, curve, color=figures.style.PALETTE[0])
    net = with_entry(medical, "shadow", healthy, theta)
    value = net.posterior("pneumonia", shadowed)["yes"]
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
    caption="The curve is predicted from its two ends at 0 and 1, the dot is "
    "computed. How sure the X-ray makes us depends on how often healthy lungs "
    "show a shadow; the network says 0.03.",
    start=4,
    live=figures.Live(sensitivity_frame),
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
# Without pseudo-counts two things go wrong: a row whose condition no patient met has no estimate at all, and a state that did not occur gets probability zero.

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
    for v, truth in medical.tables.items():
        log_ratio = truth.values.log() - net.tables[v].values.log()
        total += (weights[v] * log_ratio).sum().item()
    return total


weights = {  # the true p(x_v, parents), by which each log-ratio counts
    v: medical.posterior(table.names).values
    for v, table in medical.tables.items()
}

# %%
counts = [100, 300, 1000, 3000, 10_000, 30_000]
priors = [1e-6, 0.001, 1.0, 10.0]
excess = np.zeros((len(priors), len(counts), repeats))
for (j, n), k in product(enumerate(counts), range(repeats)):
    patients = medical.sample(n, generator)
    for i, prior in enumerate(priors):
        net = BayesNet.fit(medical.dag, medical.states, patients, prior)
        excess[i, j, k] = distance(net)

# %% [markdown]
# How far is the fitted law from the truth?
# We measure the divergence $\KL{p}{\hat p}$ of the true law $p$ from the fitted $\hat p$.
# The logarithm of a product is a sum, so it is a sum over the tables.
# For maximum likelihood and much data, $2n$ times this divergence is nearly a $\chi^2$ variable with $d(G)$ degrees of freedom, whose mean is $d(G)$: about $d(G) / 2n$ nats per patient, half a nat for each free parameter, shared by $n$ patients.
# (Nearly, and in law: its *mean* is infinite at every $n$, because a count of zero has a positive probability, and then $\hat p$ forbids what can happen. So a tiny $\alpha$ stands for maximum likelihood in the figure. Where counts are zero the curve shows that $\alpha$ and not the likelihood; two of them show by how much.)

# %% tags=["hide-input"]
lines = {
    f"α = {prior:g}": (
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
    f"Mean over {repeats} data sets, with its standard error. One "
    "pseudo-count in each cell (α = 1) is better than nearly none, "
    "and than ten, most clearly for few patients.",
    alt="Falling curves of KL divergence against the number of patients.",
    label="fig-bn-learning",
)

# %%
at = counts.index(300)
whole_law = medical.joint().values.numel() - 1
Markdown(
    "With 300 patients: "
    + "; ".join(
        f"{excess[i, at].mean():.3f} ± "
        f"{excess[i, at].std(ddof=1) / repeats**0.5:.3f} nats with "
        f"α = {prior:g}"
        for i, prior in enumerate(priors)
    )
    + f". By the same theory a table of the whole law, {whole_law:,} free "
    f"numbers, would need about {whole_law / free_numbers:.0f} times the "
    "patients for the same distance."
)

# %% [markdown]
# A probability of zero is a statement about every future patient, and a count of zero does not support it.
# One pseudo-count in each cell is the cure; too many drown the data.
#
# (sec-bn-speed)=
# ## A rolling ball decides d-separation in linear time
#
# d-separation can be decided without listing trails, of which there may be exponentially many.
# Imagine a ball that rolls from $X$ along the arrows, in either direction, and bounces by the rules of active trails.
# Where it may go next depends only on the node and on whether it came from above (from a parent) or from below (from a child), so each node is met at most twice, and the time is at most proportional to the number of nodes and arrows {cite:p}`shachter1998bayes`.
# The ball may come back to a node, so it follows walks and not trails; by steps 6 to 9 of {prf:ref}`lem-bn-moral` that makes no difference.
# In the program `True` says that a node is met from below; `opens` is $\mathrm{An}(Z)$, the colliders that let the ball through.


# %%
def reached(dag, start, seen):
    """All nodes that the ball meets from `start`, but those that are seen."""
    opens = set(seen).union(*(nx.ancestors(dag, v) for v in seen))
    met, todo = set(), [(start, True)]
    while todo:
        v, from_below = todo.pop()
        if (v, from_below) not in met:
            met.add((v, from_below))
            if v not in seen:  # no collider: down, from wherever
                todo += [(child, False) for child in dag.succ[v]]
            if v not in seen if from_below else v in opens:
                todo += [(parent, True) for parent in dag.pred[v]]
    return {v for v, _ in met} - set(seen) - {start}


for seen in ([], ["alarm"], ["slow", "load"]):
    lit = reached(server.dag, "traffic", seen)
    others = set(server.nodes) - {"traffic", *seen}
    assert lit == {
        v for v in others if not d_separated(server, "traffic", v, seen)
    }
    print(f"given {seen}, traffic informs: {', '.join(sorted(lit))}")

# %% [markdown]
# Posteriors are quick as well, and those of the package agree in its tests with those of two other libraries, on ALARM, a network of 37 nodes for the surveillance of patients {cite:p}`beinlich1989alarm`.
# Such networks are exchanged as BIF files: `read_bif("alarm.bif")` loads one, and `write_bif` writes yours, or refuses to write what would not come back as it was.
#
# :::{admonition} Which file survives the way between two programs?
# :class: warning
# Not every one.
# The UAI format, read by its own description, gives $P = 0.576$ for one query of a network of three nodes; pyAgrum 3.3.1 reads the same file as 0.276, and pgmpy 1.1.2 as 0.276 or 0.576, from run to run ({doc}`a script shows it <../findings>`).
# Two libraries can agree on a wrong number.
# Whatever the format, check one marginal by a sum over all states after the journey.
# :::
#
# The table shows the time for one answer that `make bench` measured, all in one process on one machine, medians over turns in which the two libraries alternate.
# A ratio above 1 means that ours is quicker.
# A network keeps the plan of a query for the next evidence on the same nodes, and in the benchmark every timed query of the other rows finds its plan kept; the rows "without kept plans" measure it without, and hold that time against pyAgrum too.
# pyAgrum is asked in two ways: for all nodes at once, or for one node after the other.

# %% tags=["hide-input"]
record = json.loads(
    files("companion.graphs").joinpath("measured.json").read_text()
)
fresh = {
    row["case"]: row["ours"]
    for row in record["rows"]
    if row["rival"].endswith("ours without kept plans")
}
for row in list(record["rows"]):
    if row["rival"].startswith("pyAgrum") and row["case"] in fresh:
        ours = fresh[row["case"]]
        name = row["rival"] + ", ours without kept plans"
        ratio = row["theirs"] / ours
        also = {"rival": name, "ours": ours, "ratio": ratio}
        record["rows"].append(row | also)

# %% tags=["hide-input"]
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
slower = [
    f"{row['rival']} ({row['case']})"
    for row in record["rows"]
    if row["ratio"] < 1
]
Markdown(f"Slower than: {'; '.join(slower) or 'none of them'}.")

# %% tags=["hide-input"]
points = record["scaling"]
edges = np.array([point["edges"] for point in points])
times = 1e3 * np.array([point["seconds"] for point in points])
show(
    figures.curves(
        {
            "ours": (edges, times),
            "proportional": (edges, times[0] * edges / edges[0]),
        },
        "arrows",
        "milliseconds for one query",
        scales=("log", "log"),
    ),
    "One d-separation query that has to visit the whole graph, up to "
    f"{points[-1]['nodes']:,} nodes, beside time proportional to the arrows "
    "(through the first point).",
    alt="Time of a query against arrows, on logarithmic axes.",
    label="fig-bn-scaling",
)

# %% [markdown]
# ## Limits
#
# The arrows of a network are an assumption, and no test of this chapter can tell an arrow that is a cause from one that only fits: by {prf:ref}`thm-bn-equivalence` observed data alone cannot, where a class has more than one graph.
# Exact answers need tables over the variables that an elimination brings together, and in a dense graph of a few dozen nodes these no longer fit into any memory; then one samples, or bounds, as in {ref}`the chapter on variational inference <ch:variational-inference>`.
# And the numbers of both networks are invented; only their logic is real.
# Left out, and found in {cite:t}`murphy2023probabilistic`: tables given by a formula (noisy-or), Gaussian networks, plates, weighted samples given evidence, and the search for a graph in data beyond the last exercise.
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
# Every node contributes one factor with its parents behind the bar; the code lists them with their free parameters, for example $(3 - 1) \cdot 2 \cdot 2 = 8$ for $p(\text{fever} \mid \text{flu}, \text{pneumonia})$.
# The sum is 40.
# All nodes but fever have two states, so a table of the whole law has $2^{11} \cdot 3 - 1 = 6143$.
# Given flu, pneumonia and bronchitis, cough is independent of everything that is not below it; as nothing is below it, of all the rest.

# %%
total = 0
for v in medical.nodes:
    *up, size = medical.tables[v].values.shape
    total += (size - 1) * int(np.prod(up))
    bar = " | " if up else ""
    factor = f"p({v}{bar}{', '.join(medical.dag.pred[v])})"
    print(f"{factor:44} {(size - 1) * int(np.prod(up))}")
assert total == medical.parameters == 40
assert medical.joint().values.numel() - 1 == 2**11 * 3 - 1
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
# (a) Yes: every trail has a collider, and nothing is observed.
# (b) No: season – flu – pneumonia – smoker; pneumonia is a collider, and cough, which is below it, is observed.
# (c) No: season – flu – cough – bronchitis; the collider cough is observed.
# (d) Yes: upwards the only way out of shadow is pneumonia, which is observed and no collider there, and downwards the collider recovered is closed.
# (e) Yes: upwards shadow is observed and no collider, and downwards recovered is closed.
# (f) No: antibiotic – recovered – pneumonia – flu; the collider recovered is observed, and pneumonia is neither a collider there nor observed.

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
# ```{exercise-start} Two networks in words
# :label: ex-bn-two
# ```
# (Recall.) Draw each network, write its joint law as a product, and decide the statements; give an active trail for every "no".
#
# A *server room*, all binary: $O$, the door has been open for too long; $A$, the air conditioning fails; $T$, the temperature is above its limit; $M$, a text message arrives; $S$, a siren sounds.
# The arrows are $O \to T$, $A \to T$, $T \to M$ and $O \to S$.
# (a) $O \perp A$; (b) $O \perp A \mid M$; (c) $S \perp M$; (d) $S \perp M \mid O$.
#
# An *illness*: $M$, the immune system; $S$, the season; $I$, how severe it is; $F$, the patient's means; $T$, the drug; $D$, death.
# The arrows are $M \to I$, $S \to I$, $I \to T$, $F \to T$, $I \to D$ and $T \to D$.
# (e) $F \perp D$; (f) $S \perp D \mid I$; (g) $M \perp F$; (h) $M \perp F \mid T$; (i) $M \perp T \mid D, I$.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-two
# :class: dropdown
# ```
# The joint laws are $p(O)\, p(A)\, p(T \mid O, A)\, p(M \mid T)\, p(S \mid O)$ and $p(M)\, p(S)\, p(F)\, p(I \mid M, S)\, p(T \mid I, F)\, p(D \mid I, T)$.
# (a) Yes: the only trail has the collider $T$.
# (b) No: $M$ is below that collider.
# (c) No: $S \leftarrow O \to T \to M$.
# (d) Yes: $O$ is observed and no collider.
# (e) No: $F \to T \to D$.
# (f) Yes: every trail out of $S$ goes through $I$, along an arrow that leaves it, or ends at $M$.
# (g) Yes: every trail has the collider $T$ or $D$.
# (h) No: $M \to I \to T \leftarrow F$.
# (i) Yes. Here $D$ is an observed collider on $M \to I \to D \leftarrow T$, and one published answer says no for that reason; but $I$ stands on the same trail, is observed and is no collider there.
# The cell compares each answer with a law that has random tables.

# %%
stories_of = {
    "server room": (["OT", "AT", "TM", "OS"], "O-A O-A|M S-M S-M|O"),
    "illness": (
        ["MI", "SI", "IT", "FT", "ID", "TD"],
        "F-D S-D|I M-F M-F|T M-T|DI",
    ),
}
yes = []
for name, (arrows_of, asked) in stories_of.items():
    dag = nx.DiGraph(arrows_of)
    law = BayesNet.random(dag, 2, generator).joint()
    for statement in asked.split():
        pair, _, given = statement.partition("|")
        ends = *pair.split("-"), list(given)
        trail = graphs.active_trail(dag, *ends)
        assert graphs.independent(law, *ends) == (trail is None)
        yes.append(trail is None)
        print(name, statement, "yes" if yes[-1] else " – ".join(trail))
assert yes == [True, False, False, True, False, True, True, False, True]

# %% tags=["hide-input"]
show(
    figures.graph_grid(
        [nx.DiGraph(arrows_of) for arrows_of, _ in stories_of.values()],
        list(stories_of),
        columns=2,
        layout=figures.layered,
        alt="The server room: O to T and S, A to T, T to M. "
        "The illness: M and S to I, I and F to T, I and T to D.",
    ),
    "The two networks of the exercise.",
    label="fig-bn-two",
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A chain, by its product alone
# :label: ex-bn-steps
# ```
# (Derive.) Let $X_1 \to X_2 \to \dots \to X_n$ be a chain.
# Use only that a node is independent of its non-descendants given its parents, and that the joint law is the product of the tables; d-separation is not allowed.
# Show that
# (a) $X_t \perp X_{t-4} \mid X_{t-2}$;
# (b) $X_t \perp X_s \mid X_r$ for all $s < r < t$;
# (c) given $X_{t-1}$ and $X_{t+1}$, $X_t$ is independent of all other variables.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-steps
# :class: dropdown
# ```
# (b) Sum the product over all variables after $t$, the last first: each time one table sums to 1.
# For $u < v$ let $M_{uv}(x_u, x_v)$ be the sum of $\prod_{k=u}^{v-1} p(x_{k+1} \mid x_k)$ over the variables between them; it is a function of $x_u$ and $x_v$ alone.
# Sum over those before $s$, between $s$ and $r$, and between $r$ and $t$: $p(x_s, x_r, x_t) = p(x_s)\, M_{sr}(x_s, x_r)\, M_{rt}(x_r, x_t)$, because the factors up to $x_s$ sum to $p(x_s)$.
# Summed over $x_t$ this is $p(x_s, x_r) = p(x_s)\, M_{sr}$; summed over $x_s$, $p(x_r, x_t) = p(x_r)\, M_{rt}$.
# So $p(x_s, x_r, x_t)\, p(x_r) = p(x_s, x_r)\, p(x_r, x_t)$.
#
# (a) is the case $s = t - 4$, $r = t - 2$.
#
# (c) Only the tables $p(x_t \mid x_{t-1})$ and $p(x_{t+1} \mid x_t)$ name $x_t$.
# So with $N = (x_{t-1}, x_{t+1})$ and $R$ for all the rest, the product is $\phi(x_t, N)\, \psi(N, R)$, and {ref}`ex-probability-factor` says that $X_t \perp R \mid N$.
#
# The cell multiplies the tables for $M_{rt}$, and compares with elimination.

# %%
links = [(k, k + 1) for k in range(1, 7)]
chain = BayesNet.random(nx.DiGraph(links), 3, generator)
steps = [chain.tables[k].values for k in range(2, 8)]
M_37 = reduce(torch.matmul, steps[2:])  # from 3 to 7
for state in "012":  # of a variable before 3
    seven = [chain.posterior(7, {1: state, 3: k}).values for k in "012"]
    assert torch.allclose(torch.stack(seven), M_37)
law = chain.joint()
assert graphs.independent(law, 7, 3, 5)  # (a)
assert graphs.independent(law, 4, [1, 2, 6, 7], [3, 5])  # (c)
assert not graphs.independent(law, 4, [1, 2, 6, 7], [3])
print(M_37.numpy().round(3))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} What a node needs
# :label: ex-bn-blanket
# ```
# (Derive.) Prove that the Markov blanket of a node d-separates it from all other nodes, and that every set which does so contains the blanket.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-blanket
# :class: dropdown
# ```
# Let $B$ be the blanket of $v$, and let $u$ be a node outside of $B \cup \{v\}$.
# A trail from $v$ to $u$ begins $v \leftarrow a$ or $v \to c$.
# In the first case $a$ is a parent and no collider on the trail (an arrow leaves it towards $v$), and it is observed: blocked.
# In the second, if $c$ is no collider, it is observed: blocked.
# If $c$ is a collider, the trail goes on $v \to c \leftarrow b$; $b$ is another parent of $c$, so it is in $B$, it is not the end $u$, and it is no collider since an arrow leaves it towards $c$: blocked.
# With {prf:ref}`thm-bn-separation`, $v$ is independent of all the rest given $B$.
#
# Now let $S$ d-separate $v$ from all nodes outside of $S \cup \{v\}$.
# Every parent and every child of $v$ is in $S$, because nothing blocks a single arrow.
# Another parent $b$ of a child $c$ is in $S$ too: otherwise $v \to c \leftarrow b$ would be active, because $c \in S$.

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
# Compute $p(\text{crash} \mid \text{alarm}, \text{slow})$ in the server network from its tables, eliminating one variable after another.
# Should the slow pages calm you?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-server
# :class: dropdown
# ```
# Write $M$, $L$, $H$ for memory, load, heat.
# Leak and release give $p(M)$; traffic gives $p(L)$; cooling gives $p(H \mid L)$.
# Then $\psi(L, H, \text{crash}) = \sum_M p(M)\, p(\text{slow} \mid L, M)\, p(\text{crash} \mid H, M)$, and the sum of $p(L)\, p(H \mid L)\, \psi$ over $H$ and $L$; the alarm multiplies the result for each state of crash.
# Yes, they should calm you: they explain the alarm, and a crash is less probable than after the alarm alone.

# %%
t = {v: table.values.numpy() for v, table in server.tables.items()}
p_memory = t["release"] @ t["leak"] @ t["memory"]
p_load = t["traffic"] @ t["load"]
p_heat = np.einsum("lch,c->lh", t["heat"], t["cooling"])
psi = np.einsum("m,lm,hmc->lhc", p_memory, t["slow"][..., 1], t["crash"])
weight = np.einsum("l,lh,lhc->c", p_load, p_heat, psi)
answer = weight * t["alarm"][1, :, 1]
answer = answer / answer.sum()
exact = server.posterior("crash", {"alarm": "yes", "slow": "yes"})
assert np.allclose(answer, exact.values)
assert answer[1] < crash["the alarm rings"]
print(
    f"p(crash) = {answer[1]:.4f}, with the alarm alone "
    f"{crash['the alarm rings']:.4f}"
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} An arrow without a table
# :label: ex-bn-missing
# ```
# (Code.) Five binary variables have the arrows $B \to A$, $B \to D$, $C \to D$ and $C \to E$, and these numbers:
#
# | | |
# | :-- | :-- |
# | $P(B = 1) = 0.4$ | $P(C = 1) = 0.7$ |
# | $P(A = 1) = 0.2$ | |
# | $P(E = 1 \mid C = 0) = 0.5$ | $P(E = 1 \mid C = 1) = 0.1$ |
# | $P(D = 1 \mid C = 0, B = 0) = 0.2$ | $P(D = 1 \mid C = 0, B = 1) = 0.4$ |
# | $P(D = 1 \mid C = 1, B = 0) = 0.6$ | $P(D = 1 \mid C = 1, B = 1) = 0.8$ |
#
# Find (a) $P(E = 1)$; (b) $P(C = 0)$; (c) $P(C = 1 \mid B = 1)$; (d) $P(C = 1 \mid B = 1, D = 0)$; (e) $P(D = 0 \mid A = 1)$; (f) $P(E = 1 \mid A = 1, D = 1)$.
# One arrow has no table. Which of the answers need it, and how far can they move?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-missing
# :class: dropdown
# ```
# The arrow $B \to A$ needs $P(A = 1 \mid B)$, two numbers, and only the margin 0.2 is given.
# The first four questions do not ask about $A$, which has no children, so its table sums to 1 and they have an answer:
# (a) $0.3 \cdot 0.5 + 0.7 \cdot 0.1 = 0.22$;
# (b) $0.3$;
# (c) $0.7$, as $B \perp C$;
# (d) $\frac{0.7 \cdot 0.2}{0.7 \cdot 0.2 + 0.3 \cdot 0.6} = 0.4375$.
#
# The last two have none without an assumption.
# If $A$ does not depend on $B$, the arrow is idle, and (e) is $P(D = 0) = 0.44$ and (f) is $0.16$; that is what the sheet must mean.
# In general let $w = P(B = 1 \mid A = 1)$: any number from 0 to 1 is compatible with the margin, and the code moves it.
# A network is its graph *and* a table for each node; the arrow alone says nothing.


# %%
def five(w):
    """The network in which P(B = 1 | A = 1) is w."""
    a = torch.tensor([0.2 * (1 - w) / 0.6, 0.2 * w / 0.4])  # P(A = 1 | B)
    d = torch.tensor([[0.2, 0.4], [0.6, 0.8]])  # rows C, columns B
    e = torch.tensor([0.5, 0.1])
    rows = {"B": torch.tensor(0.4), "C": torch.tensor(0.7), "BA": a, "CBD": d}
    rows["CE"] = e
    tables = {k: torch.stack([1 - p, p], -1).double() for k, p in rows.items()}
    return BayesNet(
        {k[-1]: graphs.Table(p, list(k)) for k, p in tables.items()}
    )


questions = {
    "(a)": ("E", "1", {}),
    "(b)": ("C", "0", {}),
    "(c)": ("C", "1", {"B": "1"}),
    "(d)": ("C", "1", {"B": "1", "D": "0"}),
    "(e)": ("D", "0", {"A": "1"}),
    "(f)": ("E", "1", {"A": "1", "D": "1"}),
}

# %%
rows = []
for letter, (node, state, seen) in questions.items():
    idle, low, high = (
        five(w).posterior(node, seen)[state] for w in (0.4, 0.0, 1.0)
    )
    row = {"question": letter, "A independent of B": idle}
    rows.append(row | {"w = 0": low, "w = 1": high})
idle = [row["A independent of B"] for row in rows]
assert np.allclose(idle, [0.22, 0.3, 0.7, 0.4375, 0.44, 0.16], atol=1e-6)
moves = [not np.isclose(row["w = 0"], row["w = 1"]) for row in rows]
assert moves == [False] * 4 + [True] * 2
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The worth of a test
# :label: ex-bn-medical
# ```
# (Measure.) A patient coughs and has a mild fever.
# Which single further finding or fact, on average, tells most about pneumonia: breathlessness, a shadow, aching limbs, whether the patient smokes, or the season?
# Compute the mutual information $I$ of pneumonia with each, given the evidence, in nats ({eq}`eq-probability-information`).
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-bn-medical
# :class: dropdown
# ```
# With $x$ for pneumonia, $t$ for the finding and $e$ for the evidence, $I = \sum_{x, t} p(x, t \mid e) \log \frac{p(x, t \mid e)}{p(x \mid e)\, p(t \mid e)}$, all from the posterior of the pair.
# The X-ray tells most.

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
# ```{exercise-start} Which arrows are causes? (open)
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
# It is a sum over the nodes, so 32 numbers, one for each node and each set of parents, give all 543 scores.
# Equivalent graphs get the same likelihood and, by {prf:ref}`prop-bn-covered` and the proof of {prf:ref}`thm-bn-equivalence`, the same $d(G)$: the score cannot choose between them.
# An arrow that points one way in some of the best graphs and the other way in others cannot be known from such data; setting one of its ends by hand, if one could, would decide.
#
# And is the best graph the right one?
# Here we can look: in the medical network the four variables have the arrows flu → pneumonia, flu → fever, pneumonia → fever and flu → aches (smoker and season are parents of one of them each, and add nothing).
# With 1,000 patients the winner **lacks an edge**, the one from flu to pneumonia: flu makes pneumonia many times as probable, but both are rare, a handful of the patients have both, and the price of the edge is higher than what it earns.
# The score finds the true class only with many more patients.
# So a best score is no proof, and a missing edge in a learned graph may only mean too few data.


# %%
def local_scores(net, nodes, n):
    """BIC of each node with each set of parents, from n drawn patients."""
    x = net.sample(n, generator)
    x = {v: x[:, net.nodes.index(v)] for v in nodes}
    found = {}
    for v, k in product(nodes, range(len(nodes))):
        for up in combinations([u for u in nodes if u != v], k):
            sizes = [len(net.states[u]) for u in (*up, v)]
            place = np.ravel_multi_index(
                [x[u].numpy() for u in (*up, v)], sizes
            )
            count = np.bincount(place, minlength=np.prod(sizes))
            count = count.reshape(-1, sizes[-1]).astype(float)
            share = count / count.sum(1, keepdims=True).clip(1)
            fit = np.where(count > 0, count * np.log(share.clip(1e-300)), 0)
            free = (sizes[-1] - 1) * len(count)
            found[v, frozenset(up)] = fit.sum() - free / 2 * np.log(n)
    return found


# %%
four = ["flu", "pneumonia", "fever", "aches"]
truth = nx.DiGraph(medical.dag.subgraph(four))
candidates = [(dag, meaning(dag)) for dag in all_dags(four)]
rows = []
for n, times in ((1000, 20), (20_000, 20)):
    right, lacking, behind = 0, 0, []
    for _ in range(times):
        of = local_scores(medical, four, n)
        score = {
            m: sum(of[v, frozenset(dag.pred[v])] for v in dag)
            for dag, m in candidates
        }
        best = max(score, key=score.get)
        right += best == meaning(truth)
        lacking += frozenset(("flu", "pneumonia")) not in best[0]
        behind.append(score[best] - score[meaning(truth)])
    row = {"patients": n, "true class is best, of 20": right}
    row["winner lacks flu – pneumonia"] = lacking
    row["true score is behind by, nats"] = np.mean(behind)
    rows.append(row)
assert (
    rows[0]["true class is best, of 20"] < rows[1]["true class is best, of 20"]
)
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## Should the peak of traffic calm you?

# %% tags=["hide-input"]
before, after = crash["nothing known"], crash["the alarm rings"]
with_peak = crash["alarm, and peak of traffic"]
Markdown(
    f"A little. The alarm made a crash {after / before:.1f} times as probable "
    "as before. The peak of traffic explains the alarm, and takes "
    f"{1 - with_peak / after:.0%} of that probability away; what is left is "
    f"still {with_peak / before:.1f} times the probability before the alarm."
)

# %% [markdown]
# And look at the pages as well.
# If they are slow, be calmer.
# If they are not, the traffic explains nothing, the alarm rings for something else, and you should run.
# Ten small tables knew all this, and each conclusion was a quotient of sums of their products.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
