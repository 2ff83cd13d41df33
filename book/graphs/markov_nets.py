# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:markov-nets)=
# # Markov networks
#
# *If only neighbours count, is a law a product over neighbours?*
#
# A shop window has four lamps in a ring.
# A motor switches them on one after another, clockwise, and then off in the same order: eight patterns out of sixteen, again and again.
# You pass at a random moment and take a photograph.
#
# Cover one lamp of the photograph.
# Its two neighbours tell you something about it; once they are seen, the lamp across tells nothing more.
# No lamp is the cause of another, so the arrows of the last chapter have no place here: the picture is a ring with four edges.
# It seems natural to give a score to what each pair of neighbours shows, by four small tables, and to take the probability of a pattern as proportional to the product of its four scores.
# Can you find the scores?
#
# :::{admonition} You will learn to
# - write a law as a product over the cliques of an undirected graph, and read its independencies off the graph;
# - prove that independence of non-neighbours is enough for such a product if nothing is impossible (Hammersley and Clifford), and see a law for which it is not;
# - turn a Bayesian network into a Markov network, and say when nothing is lost;
# - turn a product of factors into a tree of marginals;
# - sample by asking only neighbours, measure when that gets stuck, and cure it.
#
# You need: {ref}`probability and independence <ch:probability>` for the rules, and {ref}`Bayesian networks <ch:bayes-nets>` for d-separation.
# :::
#
# | symbol | meaning | code |
# | :-- | :-- | :-- |
# | $H$ | undirected graph, nodes $v \in V$ | `net.graph` |
# | $N(v)$ | neighbours of $v$ | `graph.adj[v]` |
# | $x_v$, $x_A$ | state of $v$; states of the nodes in $A$ | `"0"`, `"1"` |
# | $C$ | clique: nodes that are all joined to one another | `maximal_cliques(H)` |
# | $\phi_C(x_C) \ge 0$ | factor, or potential: the score of a clique | `Table` |
# | $Z$ | the constant that makes the law sum to 1 | `net.log_partition()` |
# | $X \perp Y \mid S$ | $X$ is independent of $Y$ given $S$ | `independent(law, X, Y, S)` |
# | $G$, $\mathrm{pa}(v)$ | directed acyclic graph (DAG), parents of $v$ | `dag.pred[v]` |
#
# A set with at most one node is a clique too.

# %% tags=["parameters"]
seed: int = 0
chains: int = 20_000  # Gibbs chains for a test; 2,000 or more
sweeps: int = 200  # length of the chains that get stuck; 20 or more

# %% tags=["hide-input"]
from functools import reduce
from itertools import combinations, permutations, product
from operator import mul

import networkx as nx
import numpy as np
import seaborn
import torch
from IPython.display import Markdown

from companion import figures
from companion.claims import check
from companion.figures import (
    Explorable,
    Sketch,
    circle,
    draw_graph,
    graph_grid,
    layered,
    results_table,
    show,
    show_source,
)
from companion.figures.style import PALETTE

# %% tags=["hide-input"]
from companion.graphs import (
    BayesNet,
    MarkovNet,
    Table,
    all_dags,
    all_graphs,
    canonical_potentials,
    clique_factors,
    d_separated,
    d_separations,
    independent,
    is_i_map,
    is_perfect_map,
    local_statements,
    maximal_cliques,
    minimal_i_map,
    moral,
    pairwise_statements,
    separated,
    separations,
    skeleton,
    statements,
    v_structures,
)
from companion.graphs.networks import medical_diagnosis, server_monitoring

# %% tags=["hide-input"]
from companion.words import at_least

at_least(2000, chains=chains)
at_least(20, sweeps=sweeps)
torch.set_default_dtype(torch.float64)
rng = np.random.default_rng(seed)
generator = torch.Generator().manual_seed(seed)
names = "ABCD"
ring = nx.cycle_graph(names)

# %% tags=["hide-input"]
sketch = Sketch(354, 150)
spots = {"A": (24, 30), "B": (96, 30), "C": (96, 102), "D": (24, 102)}
for name, spot in spots.items():
    sketch.node(name, *spot, shaded=name in "BD")
for a, b in ring.edges:
    sketch.link(a, b, head=False, lit=True)
for y, text in ((24, "φ(AB)"), (70, "φφφφ / Z"), (120, "φ(CD)")):
    sketch.words(60, y, text, small=True)
sketch.words(60, 144, "seen: B, D", small=True)
for name, x, y in (("a", 148, 34), ("b", 200, 34), ("c", 174, 98)):
    sketch.node(name, x, y)
sketch.link("a", "c").link("b", "c").link("a", "b", head=False, dashed=True)
sketch.words(174, 126, "parents marry", small=True)
for name, y in (("ABC", 26), ("BC", 66), ("BCD", 106)):
    sketch.node(name, 300, y, size=(62, 24) if len(name) == 3 else (36, 20))
sketch.link("ABC", "BC", head=False).link("BC", "BCD", head=False)
for x, y, end in ((338, 36, 96), (262, 96, 36)):
    sketch.line((x, y), (x, end), head=True, lit=True)
sketch.words(300, 138, "messages", small=True)
sketch.show(
    "Three ideas: a product over neighbours, in which B and D hide A from C; "
    "from arrows to lines; a tree of cliques that tell what they know.",
    alt="A ring with a factor on each edge; parents joined; a tree of cliques.",
    label="fig-mn-idea",
)

# %% tags=["hide-input"]
patterns = ["".join("01"[k < t <= k + 4] for k in range(4)) for t in range(8)]
figure = figures.blank(1.15)
for axes, pattern in zip(figure.subplots(1, 8), patterns, strict=True):
    corners = np.array([(0, 1), (1, 1), (1, 0), (0, 0)])
    axes.plot(*corners[[0, 1, 2, 3, 0]].T, color="#6E6E6E", lw=1.2, zorder=1)
    tones = ["#FFD54A" if lit == "1" else "#3A3A3A" for lit in pattern]
    axes.scatter(*corners.T, s=190, c=tones, edgecolors="#222222", zorder=2)
    for corner, name, lit in zip(corners, names, pattern, strict=True):
        tone = "black" if lit == "1" else "white"
        look = {"ha": "center", "va": "center_baseline", "fontsize": 9}
        axes.text(*corner, name, color=tone, zorder=3, **look)
    axes.set(xlim=(-0.4, 1.4), ylim=(-0.4, 1.4), aspect="equal")
    axes.set_axis_off()
show(
    figure,
    "The eight patterns of the window, in the order of the motor. Each of "
    "them is on the photograph with probability 1/8.",
    alt="Eight rings of four lamps; the number of lit lamps grows from none to four and falls again.",
    label="fig-mn-lamps",
)

# %%
window = torch.zeros(2, 2, 2, 2)
for pattern in patterns:
    window[tuple(map(int, pattern))] = 1 / 8
lamps = Table(window, names)
print("A ⊥ C | B, D:", independent(lamps, "A", "C", ["B", "D"]))
print("B ⊥ D | A, C:", independent(lamps, "B", "D", ["A", "C"]))

# %% [markdown]
# (sec-mn-factors)=
# ## A product of scores makes separated lamps independent
#
# A *Markov network* over $H$ is a law of the form
#
# $$
# \begin{aligned}
# p(x) & = \frac1Z \prod_{C} \phi_C(x_C), \\
# Z & = \sum_x \prod_C \phi_C(x_C),
# \end{aligned}
# $$ (eq-mn-factors)
#
# with a factor for each clique of $H$, or for the maximal ones alone, which hold the others.
# We say that such a law *factorises* over $H$.
# A factor is no probability: it need not sum to anything.
# For example, let neighbours in the ring agree by a factor $e^J$.


# %%
def wire(pair, J):
    """A factor: e^J if two lamps show the same, else 1."""
    return Table(torch.tensor([[J, 0.0], [0.0, J]]).exp(), pair)


def agreeing(J):
    return MarkovNet([wire(edge, J) for edge in ring.edges])


net = agreeing(1.0)
print(f"log Z = {net.log_partition():.4f} nats")
p_on = net.marginal("A")["1"], net.marginal("A", {"B": "1", "C": "1"})["1"]
print("p(A on) = {:.3f}; given that B and C are on, {:.3f}".format(*p_on))

# %% [markdown]
# A set $S$ *separates* $X$ from $Y$ if every path from $X$ to $Y$ meets $S$.
# The *global Markov property* of $H$ says that then $X \perp Y \mid S$, for all disjoint $X, Y, S$.
# A law that has it is called *Markov for $H$*.
#
# :::{prf:theorem} A product has the global Markov property
# :label: thm-mn-global
# If $p$ factorises over $H$, zeros allowed, then $X \perp Y \mid S$ whenever $S$ separates $X$ from $Y$ in $H$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Let $X'$ be the nodes that paths from $X$ can reach without meeting $S$, and $Y' = V \setminus (X' \cup S)$. As $S$ separates, $Y \subseteq Y'$.
# 2. No edge joins $X'$ to $Y'$, or its end in $Y'$ could be reached. So no clique has nodes in both.
# 3. Collect the factors that name a node of $X'$ in one function and all others in another: $p(x) = f(x_{X'}, x_S)\, g(x_{Y'}, x_S)$.
# 4. Sum over $Y'$, over $X'$, over both: $p(x_{X'}, x_S) = f \sum_{Y'} g$, $p(x_{Y'}, x_S) = g \sum_{X'} f$, and $p(x_S) = \sum_{X'} f \sum_{Y'} g$.
# 5. Multiply: $p(x)\, p(x_S) = f g \sum_{X'} f \sum_{Y'} g = p(x_{X'}, x_S)\, p(x_{Y'}, x_S)$, which is $X' \perp Y' \mid S$.
# 6. Sum this equation over $X' \setminus X$ and $Y' \setminus Y$: $X \perp Y \mid S$.
# :::
#
# To check this and what follows without rounding, we decide independence in integers.
# A law is a table of counts $n$, and $X \perp Y \mid S$ is $n(x, y, s)\, n(s) = n(x, s)\, n(y, s)$.
# Four variables admit 55 statements, so all that holds in a law is one integer of 55 bits, and all that the separations of a graph state is another.

# %%
every = {
    (frozenset((x, y)), s): 1 << k
    for k, (x, y, s) in enumerate(statements(names))
}


def stated(found):
    """Write a set of statements as an integer of 55 bits."""
    return sum({every[frozenset((x, y)), s] for x, y, s in found})


def margins(n):
    """All margins of tables (2, 2, 2, 2, laws), by the names kept."""
    kept = [frozenset(k) for r in range(5) for k in combinations(names, r)]
    out = {k: [i for i, v in enumerate(names) if v not in k] for k in kept}
    return {
        k: n.sum(tuple(axes), keepdims=True, dtype=n.dtype)
        for k, axes in out.items()
    }


# %%
def held(n):
    """All statements that hold in tables of counts: 55 bits for each."""
    at, bits = margins(n), np.zeros(n.shape[-1], np.int64)
    for (pair, s), bit in every.items():
        x, y = pair
        equal = at[x | y | s] * at[s] == at[x | s] * at[y | s]
        bits[equal.all((0, 1, 2, 3))] |= bit
    return bits


graphs = list(all_graphs(names))
G_bits = np.array([stated(separations(H)) for H in graphs])

# %% [markdown]
# The check multiplies random factors from $\{0, 1, 2, 3\}$ over the maximal cliques of each of the 64 graphs on four nodes.


# %%
def products(H, size):
    """Random products of integer factors over the maximal cliques of H."""
    parts = []
    for clique in maximal_cliques(H):
        axes = [*(names.index(v) for v in clique), 4]
        parts += [rng.integers(0, 4, [2] * len(clique) + [size]), axes]
    n = np.einsum(*parts, range(5))
    return n[..., n.sum((0, 1, 2, 3)) > 0]


def unjoined(H):
    """All statements about sets without an edge between them."""
    return [s for s in statements(names) if not nx.cut_size(H, s[0], s[1])]


# %%
drawn = [held(products(H, 40)) for H in graphs]
claimed = [separations(H) for H in graphs]
empty = [[(x, y, frozenset()) for x, y, _ in c] for c in claimed]


def all_hold(claims):
    masks = [stated(found) for found in claims]
    return np.concatenate(
        [bits & m == m for bits, m in zip(drawn, masks, strict=True)]
    )


check(
    "thm-mn-global", kind="random instances", of="products and statements"
).holds(
    all_hold(claimed),
    wrong={
        "independent even if S is not seen": all_hold(empty),
        "no edge is enough": all_hold([unjoined(H) for H in graphs]),
    },
)

# %% [markdown]
# (sec-mn-networks)=
# ## A network is the list of its maximal cliques
#
# To write down the law of a given graph, list its maximal cliques and give each a factor.
# Here are a chain, a square with a chord, and triangles that overlap.

# %%
given = {
    "chain": nx.path_graph("ABCDE"),
    "square with a chord": nx.Graph(["AB", "BC", "CD", "DA", "AC"]),
    "overlapping triangles": nx.Graph(
        ["AB", "AC", "BC", "BD", "CD", "CE", "DE", "EF"]
    ),
}


def formula(H):
    """Write the law of a graph as a product over its maximal cliques."""
    scopes = (",".join(clique).lower() for clique in maximal_cliques(H))
    left = ",".join(H).lower()
    return f"p({left}) = \\tfrac1Z " + "".join(
        f"\\,\\phi({scope})" for scope in scopes
    )


Markdown("\n".join(f"- {k}: ${formula(H)}$" for k, H in given.items()))


# %% tags=["hide-input"]
def strip(H):
    """Put four nodes on a circle, others in a strip of triangles."""
    up_and_down = {v: (i / 2, -(i % 2)) for i, v in enumerate(H)}
    return circle(H) if len(H) == 4 else up_and_down


show(
    graph_grid(
        list(given.values()),
        list(given),
        columns=3,
        layout=strip,
        alt="A chain of five nodes; a square with one diagonal; four triangles in a strip with a tail.",
    ),
    "Three networks: the formulas above list their maximal cliques.",
    label="fig-mn-given",
)

# %% [markdown]
# A factor over $k$ binary nodes has $2^k$ numbers, but not all are free: a constant can move from one factor to another, and multiplying one of them by a constant only changes $Z$ ({ref}`ex-mn-networks` counts what is free).
#
# (sec-mn-properties)=
# ## Three Markov properties are one if nothing is impossible
#
# A product has the global property; what if we only know independencies?
# There are three ways to say that only neighbours count.
# Call a law *positive* if every state has positive probability.
#
# - *Global*: $X \perp Y \mid S$ whenever $S$ separates $X$ from $Y$.
# - *Local*: $v \perp V \setminus (N(v) \cup \{v\}) \mid N(v)$ for every node: given its neighbours, a node is independent of the rest. $N(v)$ is its *Markov blanket*.
# - *Pairwise*: $a \perp b \mid V \setminus \{a, b\}$ for any two nodes that are not joined.
#
# :::{prf:theorem} Global, local, pairwise
# :label: thm-mn-properties
# For every law, the global property implies the local one, and the local property implies the pairwise one.
# For a positive law the pairwise property implies the global one {cite:p}`pearl1987graphoids`.
# :::
#
# :::{prf:proof}
# For every law, in steps:
#
# 1. $N(v)$ separates $v$ from the rest, because every path from $v$ begins with a neighbour. So the local property is a part of the global one.
# 2. Let $a, b$ not be joined, so that $b \notin N(a)$. The local property says $a \perp R \mid N(a)$ with $b \in R = V \setminus (N(a) \cup \{a\})$. By weak union ({prf:ref}`thm-probability-semigraphoid`), $R \setminus \{b\}$ may move to the condition: $a \perp b \mid V \setminus \{a, b\}$.
#
# Now let the law be positive and pairwise Markov, and let $S$ separate $X$ from $Y$, neither of them empty. By induction from the largest $S$ down, we may assume the claim for all separating sets with more nodes than $S$.
#
# 3. $|S| = |V| - 2$: then $X$ and $Y$ are two nodes that are not joined, and the claim is the pairwise property.
# 4. $|S| < |V| - 2$ and $X \cup Y \cup S = V$: one of $X, Y$, say $Y$, has two nodes or more; split it into two non-empty parts $Y_1, Y_2$. A larger set still separates, so by assumption $X \perp Y_1 \mid S \cup Y_2$ and $X \perp Y_2 \mid S \cup Y_1$. By intersection ({prf:ref}`thm-probability-intersection`, which needs positivity) $X \perp Y \mid S$.
# 5. Otherwise there is a node $w$ outside of $X \cup Y \cup S$. $S$ separates $w$ from $X$ or from $Y$, or else a path from $X$ to $w$ and one from $w$ to $Y$ would together avoid $S$. Let it be $Y$; otherwise exchange the names $X$ and $Y$.
# 6. $S \cup \{w\}$ separates $X$ from $Y$, and $S \cup X$ separates $w$ from $Y$. Both have more nodes than $S$, so $Y \perp X \mid S \cup \{w\}$ and $Y \perp w \mid S \cup X$.
# 7. By intersection $Y \perp X \cup \{w\} \mid S$, and by decomposition $Y \perp X \mid S$.
# :::
#
# The check takes two families of laws of four bits: *all* 65,535 that are uniform on a non-empty set of patterns, and *all* 65,536 whose weights are 1 or 2, each with all 64 graphs.

# %%
bits = (np.arange(2**16) >> np.arange(16)[:, None] & 1).astype(np.int16)
uniform = bits[:, 1:].reshape(2, 2, 2, 2, -1)
weighted = (bits + 1).reshape(2, 2, 2, 2, -1)
held_uniform, held_weighted = held(uniform), held(weighted)
law_bits = np.concatenate([held_uniform, held_weighted])
positive = np.concatenate(
    [(n > 0).all((0, 1, 2, 3)) for n in (uniform, weighted)]
)  # no pattern is left out


def have(law_bits, masks):
    """For graphs and laws, whether the law has all that is stated."""
    return np.array([law_bits & m == m for m in masks])


P_bits = np.array([stated(pairwise_statements(H)) for H in graphs])
L_bits = np.array([stated(local_statements(H)) for H in graphs])
P, L, G = (have(law_bits, m) for m in (P_bits, L_bits, G_bits))

# %%
check(
    "thm-mn-properties",
    about="any law",
    of="pairs of a graph and a law with weights 0, 1 or 1, 2",
).holds(
    ((~G | L) & (~L | P)).ravel(),
    wrong={
        "pairwise implies local": (~P | L).ravel(),
        "local implies global": (~L | G).ravel(),
    },
)

# %%
alone = [
    stated((a, b, frozenset()) for a, b, _ in pairwise_statements(H))
    for H in graphs
]
check(
    "thm-mn-properties",
    about="positive laws",
    of="pairs of a graph and a law with weights 0, 1 or 1, 2",
).holds(
    (~(positive & P) | G).ravel(),
    wrong={
        "pairwise implies global, zeros allowed": (~P | G).ravel(),
        "pairs that are independent by themselves": (
            ~(positive & have(law_bits, alone)) | G
        ).ravel(),
    },
)

# %% [markdown]
# An implication whose premise never holds is true for free, so we count, without the complete graph, which states nothing.

# %%
few = np.array([len(H.edges) < 6 for H in graphs])[:, None]
rows = {
    "local → pairwise": (L, P, True),
    "global → local": (G, L, True),
    "pairwise → local": (P, L, True),
    "local → global": (L, G, True),
    "pairwise → global, positive laws": (P, G, positive),
}
results_table(
    [
        {
            "rule": name,
            "premise holds for": int((premise & few & among).sum()),
            "conclusion fails for": int(
                (premise & ~conclusion & few & among).sum()
            ),
        }
        for name, (premise, conclusion, among) in rows.items()
    ]
)

# %% [markdown]
# (sec-mn-hc)=
# ## For positive laws, neighbours are enough
#
# Hammersley and Clifford found the theorem below in 1971 and left it unpublished, hoping to get rid of the word "positive" {cite:p}`hammersley1971markov,clifford1990markov`.
# The proof below {cite:p}`grimmett1973theorem,besag1974spatial` computes the factors instead of guessing them.
# Choose a reference state $x^\circ$, and compare states in which only the nodes of a set leave it.
# For $T \subseteq V$ let $h_T(x) = \log p(x_T, x^\circ_{V \setminus T})$, and define the *canonical potential* of every $S \subseteq V$ by
#
# $$
# \log \phi_S(x_S) = \sum_{T \subseteq S} (-1)^{|S \setminus T|}\, h_T(x).
# $$ (eq-mn-canonical)
#
# For $S = \{a, b\}$ this is $h_{ab} - h_a - h_b + h_\varnothing$: how much the pair adds to what its nodes do alone.
#
# :::{prf:theorem} Hammersley and Clifford
# :label: thm-mn-hc
# Let $p$ be positive. Then $p(x) = \prod_{S \subseteq V} \phi_S(x_S)$, and for every graph $H$ on its variables the following are equivalent:
#
# - (a) $p$ factorises over the cliques of $H$;
# - (b) $p$ has the global Markov property of $H$;
# - (c) $p$ has the pairwise Markov property of $H$;
# - (d) $\phi_S$ is constantly 1 for every $S$ that is not a clique.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Insert {eq}`eq-mn-canonical` into $\sum_S \log \phi_S$ and collect the terms with $h_T$: their coefficient is $\sum_{S \supseteq T} (-1)^{|S \setminus T|}$.
# 2. Let $m = |V \setminus T|$. There are $\binom mk$ sets $S \supseteq T$ with $k$ more nodes, so by the binomial theorem the coefficient is $(1 - 1)^m$: 1 for $m = 0$ and 0 otherwise.
# 3. So $\sum_S \log \phi_S = h_V = \log p$, for every positive law. This is Möbius inversion.
# 4. (a) implies (b) by {prf:ref}`thm-mn-global`, and (b) implies (c) by {prf:ref}`thm-mn-properties`.
# 5. (c) implies (d). Let $S$ not be a clique: it holds two nodes $a, b$ that are not joined. Each subset of $S$ is $T$, $Ta = T \cup \{a\}$, $Tb$ or $Tab$ for one $T \subseteq S \setminus \{a, b\}$, and the signs of these four are that of $T$ times $+, -, -, +$. So, with $T$ running over the subsets of $S \setminus \{a, b\}$,
#
#    $$
#    \begin{aligned}
#    & \log \phi_S = \sum_{T} (-1)^{|S \setminus T|} \\
#    & \quad \big( h_T - h_{Ta} - h_{Tb} + h_{Tab} \big).
#    \end{aligned}
#    $$ (eq-mn-four)
#
# 6. In each bracket all nodes but $a, b$ have the same states, say $y$. It is the logarithm of $\frac{p(x_a, x_b, y)\, p(x^\circ_a, x^\circ_b, y)}{p(x_a, x^\circ_b, y)\, p(x^\circ_a, x_b, y)}$.
# 7. By (c), $p(x_a, x_b, y) = p(x_a, y)\, p(x_b, y) / p(y)$, and likewise for the other three. Insert these, and everything in the quotient cancels: it is 1, each bracket is 0, and $\phi_S = 1$.
# 8. (d) implies (a): in $p = \prod_S \phi_S$ only the factors of cliques are left.
# :::
#
# The program is {eq}`eq-mn-canonical` inside of two loops, over $S$ and over $T$.

# %%
show_source(canonical_potentials)

# %% [markdown]
# For the check, take the 65,536 laws with weights $2^{k(x)}$, $k(x) \in \{0, 1\}$.
# None was built over a graph, and their potentials are powers of 2, so that all of {eq}`eq-mn-canonical` happens in integers.
# The sum over subsets is done axis by axis: for a node in $S$ the difference from the reference, for any other the value at the reference.


# %%
def inversion(sign):
    """Matrices that take log p (16,) to log phi_S (16,), one for each S."""
    inside = np.array([[1 + sign, 0], [sign, 1]])  # sign -1: a difference
    outside = np.array([[1, 0], [1, 0]])
    axes = [[inside if v in S else outside for v in names] for S in subsets]
    # kron: one small matrix for each node, acting on its own axis of log p
    return np.array([reduce(np.kron, parts) for parts in axes], np.float32)


subsets = [frozenset(S) for r in range(5) for S in combinations(names, r)]
size = np.array([len(S) for S in subsets])
k = bits.astype(np.float32)  # (16, laws)
log2_phi = inversion(-1) @ k  # (S, 16, laws)

# %%
some = rng.integers(0, 2**16, 20)
for i in some:
    total = weighted[..., i].sum()
    law = Table(torch.tensor(weighted[..., i] / total), names)
    for S, phi in canonical_potentials(law).items():
        ours = log2_phi[subsets.index(frozenset(S)), :, i].reshape([2] * 4)
        keep = tuple(slice(None) if v in S else 0 for v in names)
        shift = np.log2(total) if not S else 0.0
        assert np.allclose(phi.values.log2() + shift, ours[keep])
print(f"the package's potentials agree for {len(some)} laws")


# %%
def is_clique(H, S):
    return all(H.has_edge(*pair) for pair in combinations(S, 2))


def trivial(log_phi, others):
    """Whether, of the potentials marked for each graph, all are 1."""
    varies = (log_phi != 0).any(1)
    return np.array([~varies[marked].any(0) for marked in others])


def multiplies(marks):
    """Whether the potentials marked for each graph multiply to the law."""
    maps = [inversion(-1)[marked].sum(0) for marked in marks]
    return np.array([(M @ k == k).all(0) for M in maps])


cliques = np.array([[is_clique(H, S) for S in subsets] for H in graphs])
above = np.array([[S < T for T in subsets] for S in subsets])
maximal = cliques & ~(cliques @ above.T)  # in no larger clique
pairwise, globally = (have(held_weighted, m) for m in (P_bits, G_bits))

# %%
same = pairwise == globally
same &= pairwise == trivial(log2_phi, ~cliques)
same &= pairwise == multiplies(cliques)
unsigned = trivial(inversion(1) @ k, ~cliques)
only_pairs = trivial(log2_phi, ~cliques & (size == 2))
check("thm-mn-hc", of="pairs of a graph and a law with weights 1, 2").holds(
    same.ravel(),
    wrong={
        "signs dropped": (pairwise == unsigned).ravel(),
        "only pairs are looked at": (pairwise == only_pairs).ravel(),
        "factors for edges only": (
            pairwise == multiplies(cliques & (size <= 2))
        ).ravel(),
        "potentials of maximal cliques only": (
            pairwise == multiplies(maximal)
        ).ravel(),
    },
)

# %% [markdown]
# (sec-mn-lamps)=
# ## The running lights are no product, only a limit of products
#
# Back to the window, where eight patterns never occur; its law was found by Moussouris {cite:p}`moussouris1974gibbs`.
# Let $s(x) = [x_A = x_B] + [x_B = x_C] + [x_C = x_D] + [x_D \ne x_A]$, where $[\cdot]$ is 1 if true and 0 if not.
#
# :::{prf:theorem} The running lights
# :label: thm-mn-lamps
# Let $p$ be uniform on the eight patterns of the window.
#
# - (a) $p$ has the global Markov property of the ring.
# - (b) $p$ does not factorise over the ring.
# - (c) If a share $\varepsilon$ of the photographs, $0 < \varepsilon \le 1$, is replaced by one of all sixteen patterns at random, the law does factorise over the ring. It is
#
# $$
# \begin{aligned}
# (1 - \varepsilon)\, p(x) + \frac{\varepsilon}{16} & = \frac1Z e^{J s(x)}, \\
# e^{2J} & = \frac2\varepsilon - 1.
# \end{aligned}
# $$ (eq-mn-window)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. In the ring the only separations of non-empty sets are $A$ from $C$ by $\{B, D\}$, and $B$ from $D$ by $\{A, C\}$.
# 2. The motor's step $(x_A, x_B, x_C, x_D) \mapsto (1 - x_D, x_A, x_B, x_C)$ only permutes the eight patterns, so it leaves the law as it is. It turns the first statement into the second, so the first is enough for (a).
# 3. Given $x_B, x_D$ there are two patterns: 0000 and 1000, 1100 and 1110, 1111 and 0111, 0011 and 0001. In each case one of the lamps $A$ and $C$ is certain, hence independent of the other.
# 4. For (b): the patterns 0000, 0111, 1000, 1100 show all four states of the pair $A, B$. By the motor's step, every pair of neighbours shows all four.
# 5. If $p$ were $\tfrac1Z \phi_{AB}\, \phi_{BC}\, \phi_{CD}\, \phi_{DA}$ (factors of single lamps go into these), every $\phi$ would be positive in all four states, since some possible pattern shows each. Then all sixteen products are positive, but $p$ is 0 for eight.
# 6. For (c): once around the ring the lamps change an even number of times, so an even number of neighbours agree; as the last term of $s$ counts a difference, $s$ is odd: 1 or 3.
# 7. $s = 3$ means that one term is 0; there are 4 choices for it and 2 for $x_A$, and together they fix the pattern. So at most eight patterns have $s = 3$. Those of the window do: $s(0000) = 3$, and the motor's step does not change $s$, it only moves the terms. So they are all, and $s = 1$ for the eight others.
# 8. So either side of {eq}`eq-mn-window` is constant on the window's patterns, and on the eight others. Both sum to 1, so they agree if the others have the same probability together: $\frac\varepsilon2 = \frac{8 e^J}{8 e^{3J} + 8 e^J} = \frac{1}{1 + e^{2J}}$. That is the stated $J$. Each term of $s$ names two neighbours.
# :::
#
# The first check reads (a) and (b) off the law: two independencies, sixteen states of pairs that occur, and a pattern that does not.


# %%
def facts(shown):
    """Whether the law of a random pattern is Markov, and no product."""
    p = torch.zeros(2, 2, 2, 2)
    for pattern in shown:
        p[tuple(map(int, pattern))] += 1 / len(shown)
    law = Table(p, names)
    markov = [independent(law, *s) for s in separations(ring)]
    pairs = [law.marginal(*edge).values.flatten() > 0 for edge in ring.edges]
    return [*markov, *torch.cat(pairs).tolist(), bool((p == 0).any())]


check(
    "thm-mn-lamps",
    about="Markov and no product",
    of="statements about one law",
).holds(
    facts(patterns),
    wrong={
        "off in the reverse order": facts(patterns[:5] + patterns[3:0:-1]),
        "one lamp at a time": facts(["1000", "0100", "0010", "0001"]),
        "every pattern": facts(list(product("01", repeat=4))),
    },
)


# %%
def nearly(J):
    """Three pairs of neighbours like to agree, the last to differ."""
    differ = Table(wire("DA", J).values.flip(0), "DA")
    return MarkovNet([*(wire(pair, J) for pair in ("AB", "BC", "CD")), differ])


def in_order(net):
    return net.joint().marginal(*names).values


# %%
share = np.geomspace(1e-4, 1, 20)
J = np.log(2 / share - 1) / 2


def laws_of(make, Js):
    return torch.stack([in_order(make(J)) for J in Js])


check(
    "thm-mn-lamps",
    kind="grid",
    about="products come close",
    of="shares of noise",
).equal(
    left=torch.stack([(1 - e) * lamps.values + e / 16 for e in share]),
    right=laws_of(nearly, J),
    wrong={
        "all four pairs like to agree": laws_of(agreeing, J),
        "J twice as large": laws_of(nearly, 2 * J),
        "the −1 forgotten": laws_of(nearly, np.log(2 / share) / 2),
    },
)

# %% [markdown]
# With noise the law is positive and Markov for the ring, so {prf:ref}`thm-mn-hc` must find scores, and it does, without being told of $J$.
# The less noise, the larger is the ratio $e^J$ of two scores; without noise there are none.
# Laws that factorise over the ring can have a limit that does not.

# %%
rows = []
for e in (0.1, 1e-2, 1e-4, 1e-8):
    law = Table((1 - e) * lamps.values + e / 16, names)
    built = MarkovNet(clique_factors(law, ring))
    assert torch.allclose(in_order(built), law.values, rtol=1e-9)
    pair = canonical_potentials(law)["A", "B"]["1", "1"]
    J = np.log(2 / e - 1) / 2
    assert np.isclose(np.log(pair), 2 * J)
    rows.append({"share of noise": e, "J": J, "ratio of scores": np.exp(J)})
results_table(rows)

# %% [markdown]
# Are there more such laws?
# A uniform law factorises exactly if every pattern that looks possible on each maximal clique is possible ({ref}`ex-mn-window`).
# The table lists all graphs on four nodes for which some of the 65,535 uniform laws are Markov for the graph and no product.

# %%
at_uniform = margins(uniform.astype(np.int32))


def factorises(H):
    """For all uniform laws, whether they are products over H."""
    looks = np.ones_like(uniform, dtype=bool)
    for clique in maximal_cliques(H):
        looks &= at_uniform[frozenset(clique)] > 0
    return (looks == (uniform > 0)).all((0, 1, 2, 3))


is_product = np.array([factorises(H) for H in graphs])
markov = have(held_uniform, G_bits)
assert not (is_product & ~markov).any()  # as the first theorem says
bad = [
    (sorted(map("".join, H.edges)), int(m.sum()), int((m & ~f).sum()))
    for H, m, f in zip(graphs, markov, is_product, strict=True)
    if (m & ~f).any()
]
results_table(
    [
        {"graph": " ".join(e), "Markov laws": m, "not a product": n}
        for e, m, n in bad
    ]
)

# %% [markdown]
# Three graphs out of 64, and all three are rings of four.
# The next sections find out what is wrong with a ring.
#
# (sec-mn-moral)=
# ## Marrying the parents gives the smallest undirected map
#
# A Bayesian network is a Markov network whose factors are its tables, with $Z = 1$.
# A table names a node and its parents, so these must all be joined: that is the moral graph.
# Say that a graph *states* the independencies that separation gives, or d-separation if it has arrows.
# It is an *I-map* of a law if all that it states holds there, and a *perfect map* if, besides, nothing else holds there.
#
# :::{prf:theorem} The moral graph is the smallest I-map
# :label: thm-mn-moral
# Let $M$ be the moral graph of a DAG $G$.
#
# - (a) $M$ is an I-map of every law that factorises over $G$.
# - (b) Every undirected graph with this property contains all edges of $M$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. For (a): each table of the product over $G$ names a node and its parents, which form a clique of $M$. Apply {prf:ref}`thm-mn-global`.
# 2. For (b): let $H$ lack the edge $a - b$ of $M$. Then all other nodes separate $a$ from $b$ in $H$, so $H$ states $a \perp b \mid V \setminus \{a, b\}$. We need a law that factorises over $G$ in which this is false.
# 3. If $a \to b$ in $G$, let $b$ copy $a$ and all other nodes be independent fair coins. This factorises over $G$, as $a$ is a parent of $b$. Whatever the others show, $a$ and $b$ are equal and uncertain, hence dependent.
# 4. If $b \to a$, exchange the names.
# 5. Otherwise $a$ and $b$ were married: $a \to c \leftarrow b$. Let $c = a + b$ modulo 2 and all other nodes be independent fair coins. Given $c$ and the rest, $b$ is $a$ or its opposite, as $c$ says, and uncertain: dependent.
# :::
#
# First in the graphs alone: in all 543 DAGs, two nodes are not joined in $M$ exactly if the rest d-separates them.
# Then in numbers: take random tables over each DAG, and join the pairs that are dependent given the rest; the result is to be $M$.


# %%
def siblings_married(dag):
    """A wrong moral graph: it marries the children of each node."""
    return skeleton(moral(dag.reverse()))


dags = list(all_dags(names))
pairs = list(combinations(names, 2))
rest = {pair: [v for v in names if v not in pair] for pair in pairs}
joined = [
    not d_separated(dag, *pair, rest[pair]) for dag in dags for pair in pairs
]


# %%
def edges_of(make):
    return np.array(
        [H.has_edge(*pair) for H in map(make, dags) for pair in pairs]
    )


check(
    "thm-mn-moral",
    about="the moral graph",
    of="pairs of variables, in all graphs",
).holds(
    edges_of(moral) == joined,
    wrong={
        "nobody is married": edges_of(skeleton) == joined,
        "siblings are married": edges_of(siblings_married) == joined,
    },
)

# %%
nets = [BayesNet.random(dag, 2, generator) for dag in dags]
laws = [net.joint().marginal(*names) for net in nets]
smallest = [minimal_i_map(law) for law in laws]
found = np.array([H.has_edge(*pair) for H in smallest for pair in pairs])
check(
    "thm-mn-moral",
    kind="random instances",
    about="it is the least I-map",
    of="pairs of variables, in random nets",
).holds(
    found == edges_of(moral),
    wrong={
        "nobody is married": found == edges_of(skeleton),
        "siblings are married": found == edges_of(siblings_married),
    },
)

# %% tags=["hide-input"]
medical = medical_diagnosis()
married = moral(medical.dag)
new = [e for e in married.edges if not skeleton(medical.dag).has_edge(*e)]
show(
    draw_graph(married, layered(medical.dag), dashed=new, highlighted=new),
    "The moral graph of the medical network. The dashed edges are marriages: "
    "two parents of one node compete once it is seen.",
    alt="Twelve nodes from season and smoker down to recovered; dashed edges join parents of a common child.",
    label="fig-mn-moral",
)

# %% [markdown]
# (sec-mn-perfect)=
# ## Arrows and lines say the same exactly on chordal graphs
#
# Marriage forgets: at a v-structure, $a \to c \leftarrow b$ with $a, b$ not joined, some set d-separates $a$ from $b$, but nothing separates a married couple.
# When is nothing forgotten?
# A graph is *chordal* if every cycle of four or more nodes has a chord: an edge between two of its nodes that are not neighbours on the cycle.
# A node is *simplicial* if its neighbours are all joined to one another.
#
# :::{prf:lemma} A chordal graph has simplicial nodes
# :label: lem-mn-simplicial
# A chordal graph that is not complete has two simplicial nodes that are not joined {cite:p}`dirac1961rigid`.
# :::
#
# :::{prf:proof}
# By induction on the number of nodes, in steps:
#
# 1. Let $a, b$ not be joined, and $S$ a smallest set that separates them. Let $A$ be the nodes that $a$ can reach without meeting $S$, $a$ included, and $B$ those that $b$ can reach.
# 2. Every $s \in S$ has a neighbour in $A$ and one in $B$, or $S \setminus \{s\}$ would separate too.
# 3. $S$ is a clique. For $s, t \in S$ take a shortest path among those from $s$ to $t$ with one or more inner nodes, all of them in $A$, and likewise one for $B$: together a cycle of at least four nodes, which has a chord. The shortest paths leave no other chord than $s - t$, because no edge joins $A$ to $B$.
# 4. $A \cup S$ has fewer nodes, as $b$ is missing, and is chordal. If it is complete, $a$ is simplicial in it. If not, by induction it has two simplicial nodes that are not joined; at most one is in the clique $S$, so one is in $A$.
# 5. The neighbours of a node of $A$ are all in $A \cup S$, so it is simplicial in the whole graph too.
# 6. Likewise there is one in $B$, and no edge joins the two.
# :::
#
# All 1,024 graphs on five nodes:

# %%
five = list(all_graphs("ABCDE"))


def simplicial(H):
    return [
        v
        for v in H
        if all(H.has_edge(*pair) for pair in combinations(H.adj[v], 2))
    ]


def apart(H):
    ends = combinations(simplicial(H), 2)
    return any(not H.has_edge(*pair) for pair in ends)


# %%
complete = np.array([H.size() == 10 for H in five])
chordal = np.array([nx.is_chordal(H) for H in five])
two = np.array([apart(H) for H in five])
three = np.array([len(simplicial(H)) > 2 for H in five])
check("lem-mn-simplicial", of="graphs on five nodes").holds(
    ~(chordal & ~complete) | two,
    wrong={
        "any graph that is not complete": complete | two,
        "three of them": ~(chordal & ~complete) | three,
        "complete graphs too": ~chordal | two,
    },
)

# %% [markdown]
# :::{prf:theorem} When arrows and lines say the same
# :label: thm-mn-perfect
#
# - (a) An undirected graph that states exactly what the DAG $G$ states exists if and only if $G$ has no v-structure. It is the skeleton of $G$, which then is its moral graph.
# - (b) A DAG that states exactly what the undirected graph $H$ states exists if and only if $H$ is chordal.
# :::
#
# :::{prf:proof}
# What is joined, in steps:
#
# 1. In an undirected graph, two nodes are not joined exactly if some set separates them: all the others do.
# 2. The same holds in a DAG. An edge is an active trail, whatever is seen. If $a, b$ are not joined, let $a$ be no descendant of $b$; then $\mathrm{pa}(b)$ d-separates them. For a trail from $b$ to $a$ that begins at a parent of $b$ is blocked there. One that begins at a child of $b$ must turn, as $a$ is no descendant; at its first turn is a collider, a descendant of $b$, and neither it nor its descendants are parents of $b$.
# 3. So graphs that state the same have the same skeleton, whether with arrows or without.
#
# A DAG $G$ without v-structure, with skeleton $M$:
#
# 4. All parents of a node are joined already, so the moral graph of $G$ is $M$.
# 5. Let $S$ separate $X$ from $Y$ in $M$. The moral graph of the ancestors of $X \cup Y \cup S$ has no edges beyond those of $M$, so $S$ separates there too, which is d-separation by {prf:ref}`lem-bn-moral`.
# 6. Let $S$ not separate them in $M$, and take a shortest path from $X$ to $Y$ that avoids $S$. If it had a collider, the two nodes beside it would be joined, and there would be a shorter path. So it is a trail without colliders and without nodes in $S$: active.
#
# A DAG $G$ with a v-structure $a \to c \leftarrow b$:
#
# 7. Let $a$ be no descendant of $b$. By step 2, $G$ states $a \perp b \mid \mathrm{pa}(b)$, and $c \notin \mathrm{pa}(b)$, being a child. An undirected graph that states the same as $G$ has its skeleton; there the path $a - c - b$ avoids $\mathrm{pa}(b)$, so it does not state this.
#
# A chordal graph $H$:
#
# 8. By {prf:ref}`lem-mn-simplicial` it has a simplicial node (if it is complete, every node is one). Take it out; what is left is chordal, as its cycles are cycles of $H$. Repeat: this lists all nodes.
# 9. Draw each edge as an arrow from the node that is listed later to the earlier one. There is no cycle. The parents of a node are those of its neighbours that were left when it was taken out, and they are joined: no v-structure. By (a), the DAG states what $H$ states.
#
# A DAG $G$ that states the same as $H$:
#
# 10. By step 3, $H$ is its skeleton, and by (a) it has no v-structure. Take a cycle of $H$ of four or more nodes, and its node $c$ that is last in an order with parents first. Both neighbours of $c$ on the cycle are parents of $c$, so they are joined: the cycle has a chord.
# :::
#
# The check compares the statements, written as integers, of all 543 DAGs and all 64 graphs.

# %%
dag_bits = np.array([stated(d_separations(dag)) for dag in dags])
vees = np.array([bool(v_structures(dag)) for dag in dags])
colliders = np.array([max(d for _, d in dag.in_degree) > 1 for dag in dags])
own = np.array([stated(separations(skeleton(dag))) for dag in dags])
check(
    "thm-mn-perfect",
    about="from arrows to edges",
    of="directed graphs on four nodes",
).holds(
    (np.isin(dag_bits, G_bits) == ~vees) & ((dag_bits == own) == ~vees),
    wrong={
        "no node with two parents": np.isin(dag_bits, G_bits) == ~colliders,
        "always": np.isin(dag_bits, G_bits),
    },
)

# %%
directed = np.isin(G_bits, dag_bits)
check(
    "thm-mn-perfect", about="from edges to arrows", of="graphs on four nodes"
).holds(
    directed == [nx.is_chordal(H) for H in graphs],
    wrong={
        "no cycle at all": directed == [not nx.cycle_basis(H) for H in graphs],
        "no cycle of four or more": directed
        == [all(len(c) < 4 for c in nx.simple_cycles(H)) for H in graphs],
    },
)

# %% tags=["hide-input"]
kinds = {}  # on four nodes, the degrees tell graphs apart
for H, yes in zip(graphs, directed, strict=True):
    degrees = tuple(sorted(d for _, d in H.degree))
    kinds.setdefault(degrees, []).append((H, bool(yes)))
ordered = sorted(kinds.values(), key=lambda kind: kind[0][0].size())


def sides(of):
    return sum(ring.has_edge(*edge) for edge in of[0].edges)


# %% tags=["hide-input"]
drawn = [max(kind, key=sides) for kind in ordered]  # nearest to the square
show(
    graph_grid(
        [H for H, _ in drawn],
        [f"{len(kind)} graph" + "s" * (len(kind) > 1) for kind in ordered],
        columns=4,
        names=dict.fromkeys(names, ""),
        marks=[yes for _, yes in drawn],
        alt="The eleven graphs on four nodes without names; all but the ring are ticked.",
    ),
    "The census of four nodes: each kind of undirected graph, how many graphs "
    "it is if the nodes have names, and whether a DAG states exactly the "
    "same. Only the ring has none.",
    label="fig-mn-census",
)

# %%
shared = set(G_bits) & set(dag_bits)
every_meaning = set(G_bits) | set(dag_bits)
Markdown(
    f"On four nodes, DAGs have {len(set(dag_bits))} meanings and undirected "
    f"graphs {len(set(G_bits))}. They share {len(shared)}, "
    f"so together they can say {len(every_meaning)} different things."
)

# %% [markdown]
# The classical examples are the *diamond*, our ring, and the *v-structure*.
# Take a law of each and look, by trying all, for the smallest graph of the other kind that is an I-map.

# %%
diamond = agreeing(1.0).joint().marginal(*names)
best = min(
    (dag for dag in dags if is_i_map(dag, diamond)),
    key=lambda dag: dag.size(),
)
vee = nx.DiGraph(["AC", "BC"])
vee_law = BayesNet.random(vee, 2, generator).joint()
lines = min(
    (H for H in all_graphs("ABC") if is_i_map(H, vee_law)),
    key=lambda H: H.size(),
)
rows = []
for title, graph, law in (
    ("ring", ring, diamond),
    ("smallest DAG for it", best, diamond),
    ("v-structure", vee, vee_law),
    ("smallest graph for it", lines, vee_law),
):
    row = {"graph": title, "edges": graph.size()}
    row["I-map"] = is_i_map(graph, law)
    rows.append(row | {"perfect map": is_perfect_map(graph, law)})
results_table(rows)

# %% tags=["hide-input"]
show(
    graph_grid(
        [ring, best, vee, lines],
        [row["graph"] for row in rows],
        columns=4,
        layout=lambda g: (
            {"A": (0, 1), "B": (1, 1), "C": (0.5, 0.13)}
            if len(g) == 3
            else circle(g)
        ),
        marks=[row["perfect map"] for row in rows],
        alt="A ring of four nodes, a directed graph with five edges, a v-structure, and a triangle.",
    ),
    "The diamond and the v-structure, and the best that the other kind of "
    "graph can do for them: one edge more, and no perfect map.",
    label="fig-mn-diamond",
)

# %% [markdown]
# (sec-mn-junction)=
# ## On a chordal graph the factors are marginals
#
# The laws of a chordal graph need no $Z$ and no positivity: they are made of their own marginals.
#
# :::{prf:theorem} Junction tree
# :label: thm-mn-junction
# Let $H$ be chordal and $p$ any law with the global Markov property of $H$, zeros allowed.
# The maximal cliques $C_1, \dots, C_m$ of $H$ can be joined to a tree in which the cliques that hold any given node hang together.
# With the *separator* $S_{ij} = C_i \cap C_j$ for each edge $ij$ of the tree,
#
# $$
# p(x) \prod_{ij} p(x_{S_{ij}}) = \prod_{k=1}^m p(x_{C_k}).
# $$ (eq-mn-junction)
# :::
#
# :::{prf:proof}
# By induction on the number of nodes; for one node the claim is $p(x) = p(x)$. In steps:
#
# 1. Let $v$ be a simplicial node ({prf:ref}`lem-mn-simplicial`; in a complete graph, any node), $N = N(v)$, $C = N \cup \{v\}$ and $W = V \setminus \{v\}$.
# 2. $N$ separates $v$ from the rest, so $p(x)\, p(x_N) = p(x_W)\, p(x_C)$.
# 3. $p(x_W)$ has the global Markov property of $H$ without $v$, which is chordal. For if $S$ separates $X$ from $Y$ there, it does so in $H$: a path through $v$ enters and leaves it by two nodes of $N$, which are joined, so it may leave $v$ out. So by induction the claim holds for $p(x_W)$.
# 4. The only maximal clique of $H$ that holds $v$ is $C$. The others are those of $H$ without $v$, except $N$ if it is one.
# 5. If $N$ is not a maximal clique there, it is a part of one, $C_j$. Hang $C$ on $C_j$; the separator is $N$ (if it is empty, $p(x_N) = 1$). The cliques of each node of $N$ still hang together, and $v$ is only in $C$. Multiply step 2 by the old separators and insert the claim for $p(x_W)$: on the left one more separator, $N$, on the right one more clique, $C$. This is {eq}`eq-mn-junction`.
# 6. If $N$ is a maximal clique there, put $C$ in its place. Separators stay the same, as $v$ is in no other clique. As in step 5, $p(x)\, p(x_N) \prod p(x_{S_{ij}}) = p(x_C) \prod' p(x_{C_k})$, where $\prod'$ runs over the old cliques and holds $p(x_N)$. Where $p(x_N) > 0$, divide by it. Elsewhere $p(x) = p(x_C) = 0$, and {eq}`eq-mn-junction` is $0 = 0$.
# :::
#
# Where all separators have positive probability, divide by them; elsewhere $p(x) = 0$.
# With each separator divided into one of its two cliques, $p$ factorises over $H$: a chordal graph leaves no Markov law without a product, and of the 64 graphs only the three rings are not chordal.
#
# The check takes the 61 chordal graphs and all 65,535 uniform laws, in integers: {eq}`eq-mn-junction` is to hold exactly for the laws that are Markov.
# (That it holds for no other law follows from {prf:ref}`thm-mn-global`.)

# %%
chordal_of_64 = [k for k, H in enumerate(graphs) if nx.is_chordal(H)]


def tree_of(H):
    scopes = maximal_cliques(H)
    ones = [Table(torch.ones([2] * len(C)), C) for C in scopes]
    return MarkovNet(ones).junction_tree()


def identity(tree, separators):
    """For all uniform laws, whether the marginals multiply to the law."""
    left, right = at_uniform[frozenset(names)], 1
    missing = len(tree.cliques) - 1 - len(separators)
    for S in [*separators, *[()] * missing]:  # the empty set has n = total
        left = left * at_uniform[frozenset(S)]
    for C in tree.cliques:
        right = right * at_uniform[frozenset(C)]
    return (left == right).all((0, 1, 2, 3))


# %%
verdicts = {"right": [], "once": [], "forgotten": []}
for k in chordal_of_64:
    tree = tree_of(graphs[k])
    for v in names:
        with_v = [i for i, C in enumerate(tree.cliques) if v in C]
        assert nx.is_connected(tree.tree.subgraph(with_v))
    S = [tree.separator(*edge) for edge in tree.tree.edges]
    for way, some in zip(verdicts, (S, set(S), ()), strict=True):
        verdicts[way].append(identity(tree, some) == markov[k])
right, once, forgotten = map(np.ravel, verdicts.values())
check(
    "thm-mn-junction",
    of="pairs of a chordal graph and a law with weights 0, 1",
).holds(
    right,
    wrong={
        "every separator once": once,
        "separators forgotten": forgotten,
    },
)

# %% [markdown]
# Any graph becomes chordal with more edges.
# The *junction tree* of a Markov network adds them and puts each factor into a clique that holds it.
# Let $\psi_i$ be the product of those in $C_i$, so $p(x) = \frac1Z \prod_i \psi_i(x_{C_i})$, and let $N(i)$ be the neighbours of clique $i$ in the tree.
# Neighbours tell one another what they know about their separator {cite:p}`lauritzen1988local`: the *message* from $i$ to $j$ is
#
# $$
# \mu_{i \to j}(x_{S_{ij}}) = \sum_{x_{C_i \setminus S_{ij}}} \psi_i(x_{C_i}) \prod_{k \in N(i) \setminus j} \mu_{k \to i}(x_{S_{ki}}).
# $$ (eq-mn-message)
#
# It needs the messages from all other neighbours first, so leaves begin; in the end each edge has carried one message each way.
#
# :::{prf:theorem} Two messages for each edge are enough
# :label: thm-mn-messages
# For every clique, $\psi_i(x_{C_i}) \prod_{k \in N(i)} \mu_{k \to i}(x_{S_{ki}}) = Z\, p(x_{C_i})$, zeros allowed.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Cut the edge $ij$ of the tree. Let $T_{i \to j}$ be the cliques on the side of $i$, and $V_{i \to j}$ their variables. Cliques that hold a variable hang together, so one that occurs on both sides is in $C_i$ and in $C_j$: $V_{i \to j} \cap V_{j \to i} = S_{ij}$.
# 2. We show that $\mu_{i \to j}$ is the sum of $\prod_{k \in T_{i \to j}} \psi_k$ over $V_{i \to j} \setminus S_{ij}$, by induction on the number of cliques in $T_{i \to j}$. If there is one, this is {eq}`eq-mn-message` with an empty product.
# 3. Without $C_i$, $T_{i \to j}$ falls into the $T_{k \to i}$ with $k \in N(i) \setminus j$. By step 1 for the edge $ki$, $V_{k \to i}$ shares only $S_{ki}$ with $C_i$, and with the other parts. So the sets $V_{k \to i} \setminus S_{ki}$ are disjoint, and none meets $C_i$.
# 4. By the distributive law the sum over all of these sets is $\psi_i$ times a product of sums, one for each $k$, and those are the $\mu_{k \to i}$ by induction. What is left to sum over is $C_i \setminus S_{ij}$: that is {eq}`eq-mn-message`.
# 5. For the theorem do step 4 with all of $N(i)$: the left side is the sum of $\prod_k \psi_k$ over all variables outside of $C_i$, which is $Z\, p(x_{C_i})$.
# :::


# %%
def message(tree, psi, i, j):
    """What clique i tells its neighbour j about their separator."""
    law = psi[i]
    for k in set(tree.tree.adj[i]) - {j}:
        law = law * message(tree, psi, k, i)
    return law.marginal(*tree.separator(i, j))


def known(tree, psi, tell=message):
    """What each clique knows once all neighbours have told, in one row."""
    laws = []
    for i, C in enumerate(tree.cliques):
        told = [tell(tree, psi, k, i) for k in tree.tree.adj[i]]
        laws.append(reduce(mul, told, psi[i]).marginal(*C).values.flatten())
    return torch.cat(laws)


# %% [markdown]
# The check takes random networks over 60 of the graphs on five nodes; the wrong messages are those that a first program sends.


# %%
def echo(tree, psi, i, j):
    """A message that holds what j said before."""
    return message(tree, psi, i, j) * message(tree, psi, j, i)


def own(tree, psi, i, j):
    """A message without what i was told."""
    return psi[i].marginal(*tree.separator(i, j))


def upwards(tree, psi, i, j):
    """A message only towards clique 0."""
    far = nx.shortest_path_length(tree.tree, 0)
    law = message(tree, psi, i, j)
    ones = Table(torch.ones_like(law.values), law.states)
    return law if far[i] > far[j] else ones


def random_net(H):
    factors = []
    for C in maximal_cliques(H):
        values = torch.rand([2] * len(C), generator=generator)
        factors.append(Table(values + 0.1, C))
    return MarkovNet(factors)


# %%
rows = {way: [] for way in (message, echo, own, upwards)}
exact = []
for k in rng.permutation(len(five))[:60]:
    net = random_net(five[k])
    tree, joint = net.junction_tree(), net.joint()
    psi = []
    for C, home in zip(tree.cliques, tree.homes, strict=True):
        ones = Table(torch.ones([2] * len(C)), C)
        psi.append(reduce(mul, [tree.tables[t] for t in home], ones))
    Z = np.exp(net.log_partition())
    margins_of = [joint.marginal(*C).values.flatten() for C in tree.cliques]
    exact.append(Z * torch.cat(margins_of))
    for way, found in rows.items():
        found.append(known(tree, psi, way))

# %%
right, echoed, silent, one_way = map(torch.cat, rows.values())
check("thm-mn-messages", kind="random instances").equal(
    left=torch.cat(exact),
    right=right,
    wrong={
        "an answer holds the question": echoed,
        "what was heard is not passed on": silent,
        "towards one clique only": one_way,
    },
)

# %% [markdown]
# The package sends the same messages, divided by their sums so that nothing becomes too small, and adds up the logarithms for $\log Z$.
# For the medical network, with a patient who coughs and has a high fever:

# %%
network = MarkovNet(medical)
tree = network.junction_tree()
evidence = {"cough": "yes", "fever": "high"}
beliefs = tree.calibrate(evidence)
cells = max(law.values.numel() for law in beliefs.cliques)
exact = medical.evidence_log_prob(evidence)
assert np.isclose(beliefs.log_partition, exact)  # by elimination
every_cell = np.prod([len(s) for s in medical.states.values()])
Markdown(
    f"{len(tree.cliques)} cliques; the largest has {cells} cells, "
    f"the joint law {every_cell:,}. "
    f"log p(evidence) = {beliefs.log_partition:.4f} nats."
)

# %% tags=["hide-input"]
labels = {i: ", ".join(C) for i, C in enumerate(tree.cliques)}
top = max(tree.tree, key=tree.tree.degree)
places = layered(nx.bfs_tree(tree.tree, top))
show(
    draw_graph(tree.tree, places, names=labels),
    "The junction tree of the medical network. What two neighbours share is "
    "their separator; the cliques that hold any one variable hang together.",
    alt="A tree whose nodes are cliques of two to four variables each.",
    label="fig-mn-junction",
)

# %% [markdown]
# (sec-mn-gibbs)=
# ## Gibbs sampling asks only the neighbours
#
# With large cliques, sums are out of reach.
# *Gibbs sampling* visits the nodes in turn and draws each from its law given all others {cite:p}`geman1984stochastic`.
# Only factors that name the node count, so it needs nothing but the Markov blanket, and no $Z$.

# %%
show_source(MarkovNet.conditional, MarkovNet.gibbs)

# %% [markdown]
# Part (c) of the next theorem is Doeblin's bound {cite:p}`levin2009markov`.
# Let $K_v(x, y)$ be the probability that an update of $v$ leads from $x$ to $y$, and $K = K_1 K_2 \cdots K_{|V|}$ the matrix of a whole *sweep* over all nodes.
#
# :::{prf:theorem} Gibbs sampling keeps the law, and finds it
# :label: thm-mn-gibbs
# - (a) Each update is in *detailed balance*: $p(x)\, K_v(x, y) = p(y)\, K_v(y, x)$.
# - (b) A sweep keeps the law: $p K = p$.
# - (c) If $p$ is positive, let $\delta$ be the number of all states $x$ times the smallest entry of $K$. Then $\delta > 0$, and from any law $\mu$ of the start, after $t$ sweeps, $\tfrac12 \sum_x |\mu K^t - p| \le (1 - \delta)^t$.
# :::
#
# :::{prf:proof}
# Write $x_{-v}$ for the states of all nodes but $v$. In steps:
#
# 1. $K_v(x, y) = p(y_v \mid x_{-v})$ if $y_{-v} = x_{-v}$, and 0 otherwise. In the first case $p(x)\, K_v(x, y) = p(x_{-v})\, p(x_v \mid x_{-v})\, p(y_v \mid x_{-v})$, in which $x$ and $y$ may change places: (a). (Where $p(x_{-v}) = 0$ any rule for $v$ will do: there $p(x) = p(y) = 0$.)
# 2. Sum (a) over $x$: $\sum_x p(x)\, K_v(x, y) = p(y) \sum_x K_v(y, x) = p(y)$. So $p K_v = p$ for each $v$, and $p K_1 \cdots K_{|V|} = p$: (b).
# 3. A sweep leads from $x$ to $y$ with probability $\prod_v p(y_v \mid y_{<v}, x_{>v})$, where $<$ and $>$ are before and after in the sweep. For positive $p$ all factors are positive, so $\delta > 0$; and $\delta \le 1$, because a row sums to 1. If $\delta = 1$ all entries are equal, and one sweep ends in $p$, whatever the start.
# 4. If $\delta < 1$ write $K = \delta U + (1 - \delta) R$, where every entry of $U$ is 1 / (number of states). $R$ has no negative entry and its rows sum to 1.
# 5. $\mu K - p K = (1 - \delta)(\mu - p) R$, as $\mu U = p U$. A matrix like $R$ does not increase $\sum |\cdot|$, by the triangle inequality, and $p K = p$.
# 6. Repeat $t$ times, beginning with $\tfrac12 \sum |\mu - p| \le 1$: (c).
# :::
#
# For the check, one random network over each of the 64 graphs gets its matrices from the method that the sampler uses.
# The tempting mistake is to update all nodes at once, from the same old state.


# %%
def states(net):
    """All states (n, nodes); the last node changes fastest."""
    sizes = [len(labels) for labels in net.states.values()]
    return torch.cartesian_prod(*map(torch.arange, sizes))


def updates(net):
    """Transition matrices (n, n) of the updates, in the sweep's order."""
    grid, found = states(net), []
    where = torch.arange(len(grid)).view(*(grid.amax(0) + 1))
    for i, node in enumerate(net.nodes):
        rows = net.conditional(node, grid)
        K = torch.zeros(len(grid), len(grid))
        for state in range(rows.shape[1]):
            moved = grid.clone()
            moved[:, i] = state
            K[where[tuple(grid.T)], where[tuple(moved.T)]] = rows[:, state]
        found.append(K)
    return found


# %%
def at_once(net):
    """Transition matrix if all nodes are updated from the old state."""
    grid = states(net)
    rows = [net.conditional(node, grid) for node in net.nodes]
    choices = [row[:, grid[:, i]] for i, row in enumerate(rows)]
    return torch.stack(choices).prod(0)


# %%
nets = [random_net(H) for H in graphs]
p = torch.stack([net.joint().values.flatten() for net in nets])
single = torch.stack([torch.stack(updates(net)) for net in nets])
order = [single.roll(-i, 1).unbind(1) for i in range(4)]  # begin at node i
swept = torch.stack([reduce(torch.matmul, Ks) for Ks in order], 1)
sweep = swept[:, 0]
parallel = torch.stack([at_once(net) for net in nets])


# %%
def reversible(K):
    """For matrices (64, 4, 16, 16), whether p K is symmetric."""
    flow = p[:, None, :, None] * K
    return ((flow - flow.mT).abs().amax((2, 3)) < 1e-12).flatten()


check(
    "thm-mn-gibbs",
    kind="random instances",
    about="reversible updates",
    of="nets, four updates each",
).holds(
    reversible(single),
    wrong={
        "a whole sweep": reversible(swept),
        "all at once": reversible(parallel[:, None].expand(-1, 4, -1, -1)),
    },
)


# %%
def after(K, t=1, start=p):
    """The law after t steps from a start, (64, 16)."""
    return (start[:, None] @ torch.linalg.matrix_power(K, t))[:, 0]


check(
    "thm-mn-gibbs", kind="random instances", about="the law stays", of="nets"
).equal(
    left=p,
    right=after(sweep),
    wrong={
        "all at once": after(parallel),
        "the matrix the wrong way round": after(sweep.mT),
    },
)

# %%
corner = torch.eye(16)[0].expand(64, 16)  # all lamps off
ts = (1, 2, 3, 5, 8)


def misses(K):
    gaps = [(after(K, t, corner) - p).abs().sum(1) / 2 for t in ts]
    return torch.stack(gaps, 1)


def bound(entry):
    delta = (16 * entry).clamp(max=1)
    return torch.stack([(1 - delta) ** t for t in ts], 1)


lowest = bound(sweep.amin((1, 2)))
check("thm-mn-gibbs", about="how fast it comes", of="nets").at_most(
    misses(sweep),
    lowest,
    atol=1e-12,
    wrong={
        "all at once": (misses(parallel), bound(parallel.amin((1, 2)))),
        "the mean entry": (misses(sweep), bound(sweep.mean((1, 2)))),
    },
)

# %% [markdown]
# The sampler itself is random, so its check is a test.
# Many chains start in the dark and make two sweeps: their law is not $p$ yet, but row 0 of $K^2$.
# The shares of lit lamps, and of neighbours that agree, must have its means, and neither those of $K$ nor those of $p$.

# %%
net = agreeing(1.0)
K = reduce(torch.matmul, updates(net))
place = {v: i for i, v in enumerate(net.nodes)}


def features(x):
    """Lit lamps and agreeing neighbours: (N, 4) -> (N, 8)."""
    agree = [x[:, place[a]] == x[:, place[b]] for a, b in ring.edges]
    return torch.cat([x, torch.stack(agree, 1)], 1).double()


dark = torch.zeros(chains, 4, dtype=torch.int64)
x = net.gibbs(2, chains, dark, generator)
means = {
    t: torch.linalg.matrix_power(K, t)[0] @ features(states(net))
    for t in (1, 2, 100)
}
check("thm-mn-gibbs", about="draws of the package", of="chains").unbiased(
    features(x[-1]),
    truth=means[2],
    wrong={"one sweep": means[1], "the stationary law": means[100]},
)

# %% [markdown]
# Now the patient, beside the exact answers; nodes that were observed keep their state.
# After ± stands one standard error, from the spread over 100 chains.

# %%
x = network.gibbs(300, 100, generator=generator, evidence=evidence)[100:]
rows = []  # x: (200, 100, nodes)
for i, node in enumerate(network.nodes):
    if node in evidence:
        continue
    shares = (x[..., i] == 1).double().mean(0)  # one for each chain
    exact = beliefs.marginal(node).values[1].item()
    error = shares.std().item() / len(shares) ** 0.5
    z = abs(shares.mean().item() - exact) / error
    assert z < 5
    rows.append(
        {
            "variable": f"{node} = {network.states[node][1]}",
            "junction tree, %": exact,
            "Gibbs, %": {"value": shares.mean().item(), "error": error},
        }
    )
results_table(rows, percent=["junction tree, %", "Gibbs, %"])

# %% [markdown]
# (sec-mn-stick)=
# ## Two lamps that nearly always agree make it stick
#
# The errors in the table differ, although all variables had the same chains.

# %%
rows.sort(key=lambda row: -row["Gibbs, %"]["error"])
worst = ", ".join(row["variable"] for row in rows[:3])
trio = medical.posterior(["pneumonia", "shadow", "antibiotic"], evidence)
agree = trio.values[0, 0, 0] + trio.values[1, 1, 1]
Markdown(
    f"The largest errors are those of: {worst}. For this patient, pneumonia, "
    f"shadow and antibiotic are all three yes or all three no with "
    f"probability {agree:.0%}."
)

# %% [markdown]
# Where nodes agree so often, a single one seldom changes against the others.
# {prf:ref}`thm-mn-gibbs` promises a limit, but $\delta$ may be tiny.
# The smallest case is two lamps that agree by a factor $e^J$: to change both, one of them must first disagree.
#
# :::{prf:proposition} How long two lamps stick
# :label: prop-mn-stick
# Let two binary nodes have the factor $e^J$ if they agree and 1 if not, $J \ge 0$, and let the chain start in their law.
# Then the correlation of the second node with itself $t$ sweeps later is $\lambda^t$ with $\lambda = \tanh^2(J / 2)$, and
#
# $$
# \tau = 1 + 2 \sum_{t=1}^\infty \lambda^t = \cosh J.
# $$ (eq-mn-stick)
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. Either node, given the other, equals it with probability $\alpha = e^J / (1 + e^J)$, and $2 \alpha - 1 = \tanh(J / 2)$.
# 2. Write the states as $\pm 1$. Then the mean of a node after its update is $(2 \alpha - 1)$ times the other node.
# 3. A sweep draws $x$ from the old $y$, then the new $y$ from $x$. So the mean of the new $y$ is $(2 \alpha - 1)^2 = \lambda$ times the old, and after $t$ sweeps $\lambda^t$. As $y$ has mean 0 and variance 1, this is the correlation.
# 4. As $\lambda < 1$, the geometric series gives $1 + 2 \sum \lambda^t = \frac{1 + \lambda}{1 - \lambda}$. With $\lambda = \sinh^2 \!/ \cosh^2$ at $J / 2$ this is $\cosh^2 + \sinh^2 = \cosh J$, because $\cosh^2 - \sinh^2 = 1$.
# :::
#
# Over a large number $n$ of sweeps, the mean of the node has about $\tau / n$ times the variance of one draw: $\tau$ sweeps are worth one independent draw.
# For large $J$ it grows as $\tfrac12 e^J$.


# %%
def sweep_of(net):
    return reduce(torch.matmul, updates(net))


def slowness(J):
    """Correlations 1 and 3 sweeps later, and tau, from the matrix."""
    net = MarkovNet([wire("AB", J)])
    K, p = sweep_of(net), net.joint().values.flatten()
    f = torch.tensor([-1.0, 1, -1, 1])  # node B; its mean is 0
    # K - 1 p has the powers K^t - 1 p, so that their sum exists
    total = torch.linalg.inv(torch.eye(4) - K + p.expand(4, -1))
    powers = [K, K @ K @ K, 2 * total - torch.eye(4)]
    return torch.stack([(p * f) @ power @ f for power in powers])


# %%
Js = torch.linspace(0.25, 8, 32)
lam = (Js / 2).tanh() ** 2


def predicted(lam, tau):
    return torch.stack([lam, lam**3, tau], 1)


check("prop-mn-stick", kind="grid", of="strengths J").equal(
    left=torch.stack([slowness(J.item()) for J in Js]),
    right=predicted(lam, Js.cosh()),
    rtol=1e-6,
    wrong={
        "one update is a sweep": predicted((Js / 2).tanh(), Js.exp()),
        "the sum begins at t = 0": predicted(lam, Js.cosh() + 2),
        "correlations one way only": predicted(lam, (Js.cosh() + 1) / 2),
    },
)

# %% [markdown]
# The cure is to update together what sticks together.
# A *block* of nodes is one variable with more states, so the same program can sample it.


# %%
def together(net, a, b):
    """Make one variable, with four states, of two binary nodes."""
    factors, both = [], Table(torch.ones(2, 2), [a, b])
    for factor in net.factors:
        if {a, b} & set(factor.names):
            factor = both * factor
            _, _, *others = factor.names
            sizes = factor.values.shape[2:]
            factor = Table(factor.values.reshape(4, *sizes), [a + b, *others])
        factors.append(factor)
    return MarkovNet(factors)


def stuck(J):
    """A ring with one strong wire and three weak ones."""
    weak = [wire(pair, 0.5) for pair in ("BC", "CD", "DA")]
    return MarkovNet([wire("AB", J), *weak])


# %% [markdown]
# Both samplers run on a ring with one strong wire, from exact draws.
# With the state of lamp $A$ as $\pm 1$, $n$ times the mean square of the chains' means over $n$ sweeps estimates the sweeps per draw.
# From the matrix it is $1 + 2 \sum_{t < n} (1 - \tfrac tn) \rho_t$, where $\rho_t$ is the correlation over $t$ sweeps.


# %%
def run(net, many=400):
    """Measured and exact sweeps per draw for lamp A, and the chains."""
    grid, law = states(net), net.joint().values.flatten()
    start = grid[torch.multinomial(law, many, True, generator=generator)]
    half = len(net.states[net.nodes[0]]) // 2  # A is on from this state
    x = net.gibbs(sweeps, many, start, generator)[..., 0] >= half
    squares = sweeps * (2.0 * x - 1).mean(0) ** 2
    error = squares.std().item() / many**0.5
    K, exact = sweep_of(net), 1.0
    f = moved = 2.0 * (grid[:, 0] >= half) - 1
    for t in range(1, sweeps):
        moved = K @ moved
        exact += 2 * (1 - t / sweeps) * ((law * f) @ moved).item()
    return squares.mean().item(), error, exact, x[:, 0]


Js = (0, 1, 2, 4, 6, 8)
single = [run(stuck(J)) for J in Js]
blocks = [run(together(stuck(J), "A", "B")) for J in Js]
for found, error, exact, _ in [*single, *blocks]:
    assert abs(found - exact) < 5 * error

# %% tags=["hide-input"]
blue, orange = PALETTE[:2]
figure = figures.blank(3.4)
left, right = figure.subplots(1, 2, width_ratios=[1, 1.15])
for runs, tone, mark, name, spot in (
    (single, orange, "s", "one lamp at a time", (3.9, 45)),
    (blocks, blue, "o", "A and B together", (8, 1.9)),
):
    found, error, exact, _ = zip(*runs, strict=True)
    left.plot(Js, exact, color=tone)
    left.errorbar(Js, found, 2 * np.array(error), fmt=mark, color=tone)
    left.text(*spot, name, color=tone, ha="right")
left.set(yscale="log", xlabel="coupling $J$ of A and B", ylim=(0.7, 300))
left.set_ylabel(f"sweeps per draw, of {sweeps}")
for runs, tone, low in ((single, orange, 1.5), (blocks, blue, 0)):
    right.step(range(sweeps), runs[-2][3] + low, color=tone, lw=1)
right.set(yticks=(0, 1, 1.5, 2.5), yticklabels=["off", "on"] * 2)
right.set(xlabel="sweep", title=f"lamp A, J = {Js[-2]}")
show(
    figure,
    "Left: sweeps that are worth one draw, exact (lines) and measured "
    "(marks, two standard errors). At 200, all sweeps are worth one draw. "
    "Right: a chain of each kind; above one lamp at a time, below in blocks.",
    alt="Left, an orange curve that rises by two orders of magnitude and a flat blue one. Right, an orange trace with long constant stretches above a blue one that alternates.",
    label="fig-mn-stick",
)

# %% [markdown]
# Blocks help only where we know what sticks.
# If all four wires are strong, no pair of lamps can turn around alone.
# Move the slider and see 2,000 chains forget that they began in the dark.

# %% tags=["hide-input"]
couplings, moments = (0.5, 2.5), (0, 1, 2, 4, 16, 64, 128)
sorts = ["0", "1", "2\nnear", "2\nacross", "3", "4"]
cells = torch.cartesian_prod(*[torch.arange(2)] * 4)
lit = cells.sum(1)
across = (lit == 2) & (cells[:, 0] == cells[:, 2])
sort = lit + (lit > 2) + across  # of each of the 16 patterns


def lit_lamps(J, moments, chance=None):
    """Exact law of the number of lit lamps, and that of chains over time."""
    net, dark = agreeing(J), torch.zeros(2000, 4, dtype=torch.int64)
    drawn = net.gibbs(max(*moments, 1), 2000, dark, chance)
    x = torch.cat([dark[None], drawn])[
        ..., [net.nodes.index(v) for v in names]
    ]
    number = sort[x @ torch.tensor([8, 4, 2, 1])]
    share = [torch.bincount(number[t], minlength=6) / 2000 for t in moments]
    return torch.zeros(6).index_add(0, sort, in_order(net).flatten()), share


runs = [lit_lamps(J, moments, generator) for J in couplings]


# %% tags=["hide-input"]
def frame(couplings, runs, t):
    """Draw exact and sampled laws of two rings at the moment t."""
    figure = figures.blank(2.6, 6.8)
    panels = zip(
        figure.subplots(1, 2, sharey=True), couplings, runs, strict=True
    )
    for axes, J, (exact, share) in panels:
        look = {"color": blue, "alpha": 0.35, "errorbar": None, "ax": axes}
        seaborn.barplot(x=sorts, y=exact.numpy(), **look)
        axes.plot(range(6), share[t], "s", color=orange, ms=5)
        axes.set(ylim=(-0.02, 1.03), title=f"J = {J:g}", xlabel="lit lamps")
        axes.grid(axis="x")
    figure.axes[0].set_ylabel("probability")
    return figure


# %% tags=["hide-input"]
Explorable(
    [frame(couplings, runs, t) for t in range(len(moments))],
    moments,
    "sweeps",
    alt="Two bar charts of how many lamps are lit, with squares; at the left the squares reach the bars within a few sweeps, at the right slowly.",
    caption="How many lamps are lit (if two, near or across): exact law "
    "(bars), and 2,000 Gibbs chains that began in the dark (squares). With "
    "strong wires the light side is found late.",
    start=3,
    live=figures.Live(
        lambda t, *J: frame(J, [lit_lamps(j, (t, t)) for j in J], 0),
        figures.Knob("sweeps", moments, 4),
        *[figures.Knob(f"J, {j}", [0.0, 4.0], j) for j in couplings],
        again=True,
    ),
)

# %% [markdown]
# ## Limits
#
# The exhaustive checks stop at four or five nodes; the proofs do not.
# {prf:ref}`thm-mn-hc` computes factors from a law, not from data; there $Z$ couples all factors.
# The cost of a junction tree grows exponentially with its largest clique.
# Where that is too much one sends the same messages on a graph with loops, without a theorem that they end or are right (loopy belief propagation; {cite:t}`murphy2023probabilistic` has it, and factor graphs).
# How scores are learned from data, by means over data less means under the model, is told in {ref}`the chapter on energies <ch:energy>`.
# The bound in {prf:ref}`thm-mn-gibbs` is mostly too weak to plan a run with, and no chain can tell from its past that there is a part of the law which it has not visited.
#
# ## Exercises
#
# ```{exercise-start} The server without arrows
# :label: ex-mn-networks
# ```
# (Recall.) Factorise the server network of {ref}`the chapter on Bayesian networks <ch:bayes-nets>` over the maximal cliques of its moral graph.
# Which of its ten tables become one factor?
#
# Let node $v$ have $k_v$ states.
# Show that the positive laws that factorise over a graph have $\sum_C \prod_{v \in C} (k_v - 1)$ free parameters, where $C$ runs over all non-empty cliques, maximal or not.
# How many are they for the server, and why more than in the Bayesian network?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-networks
# :class: dropdown
# ```
# The tables of a root and of its child share a clique.
# Two maximal cliques absorb no table: marriages have closed them, and their factor is 1.

# %%
server = server_monitoring()
H = moral(server.dag)
states_of = {v: len(labels) for v, labels in server.states.items()}
rows = []
for clique in maximal_cliques(H):
    inside = [v for v, t in server.tables.items() if {*t.names} <= {*clique}]
    rows.append(
        {
            "factor over": ", ".join(clique),
            "absorbs the tables of": ", ".join(inside),
        }
    )
free = sum(
    np.prod([states_of[v] - 1 for v in clique])
    for clique in nx.enumerate_all_cliques(H)
)
assert free > server.parameters
assert sum(not row["absorbs the tables of"] for row in rows) == 2
print(f"free: {free} as a Markov, {server.parameters} as a Bayesian network")
results_table(rows)

# %% [markdown]
# The moral graph states less than the DAG, so more laws have its Markov property: these need more parameters.
#
# Now the count.
# By {prf:ref}`thm-mn-hc` such a law is the product of its canonical potentials of cliques, and {eq}`eq-mn-canonical` computes them from the law.
# If one node of $S$ is at its reference, the terms with and without it cancel: $\phi_S = 1$ there.
# The other $\prod_{v \in S} (k_v - 1)$ values of each non-empty clique may be any positive numbers; $\phi_\varnothing$ makes the sum 1.
# For the product of any such $\phi_S$ has them as its canonical potentials.
# Indeed {eq}`eq-mn-canonical` is linear in $\log p$, so look at one $\log \phi_S$ alone.
# In the potential of a set $U$ with a node outside of $S$, the terms with and without that node cancel; if $U \subset S$, all its terms have a node of $S$ at the reference, and are 0; if $U = S$, only $T = S$ is left.
# The cell counts in another way: $\log p$ is a sum of one table for each maximal clique, and the rank of this linear map, less one for $Z$, is the number of free parameters.

# %%
for H in graphs:
    sizes = {v: int(rng.integers(2, 5)) for v in names}
    cells = np.indices([sizes[v] for v in names]).reshape(4, -1)
    columns = [np.ones((cells.shape[1], 1))]
    for C in maximal_cliques(H):
        shape = [sizes[v] for v in C]
        at = [cells[names.index(v)] for v in C]
        columns.append(np.eye(np.prod(shape))[np.ravel_multi_index(at, shape)])
    rank = np.linalg.matrix_rank(np.hstack(columns))
    cliques_of = nx.enumerate_all_cliques(H)
    free = [np.prod([sizes[v] - 1 for v in C]) for C in cliques_of]
    assert rank - 1 == sum(free)
print(f"the count is right for {len(graphs)} graphs")

# %% [markdown]
# For binary nodes the count is that of the non-empty cliques; for the three networks of the chapter:

# %%
results_table(
    [
        {
            "network": name,
            "maximal cliques": len(maximal_cliques(H)),
            "numbers in the factors": sum(
                2 ** len(clique) for clique in maximal_cliques(H)
            ),
            "free": len(list(nx.enumerate_all_cliques(H))),
            "free in a full table": 2 ** len(H) - 1,
        }
        for name, H in given.items()
    ]
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Reading two graphs
# :label: ex-mn-read
# ```
# (Recall.) The first graph has the edges A–B, B–C, B–D, C–D, C–E, C–G, D–E, D–F, E–F, F–H and G–I.
# Which hold in every law that factorises over it?
# (a) $I \perp F$; (b) $B \perp I \mid F$; (c) $A \perp G \mid C, E$; (d) $p(B \mid C, D, F) = p(B \mid C, D)$.
#
# The second has the edges A–B, A–C, B–C, B–D, B–E, C–D, C–F, D–F, E–F and E–G.
# (e) Write its law as a product over the maximal cliques.
# Which hold? (f) $G \perp A$; (g) $F \perp A \mid D, C$; (h) $G \perp C \mid E$; (i) $p(A \mid B, C) = p(A \mid B, C, E)$.
# (j) The factor of $E$ and $G$ is multiplied by 5. What changes?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-read
# :class: dropdown
# ```
# (a) No: I–G–C–D–F.
# (b) No: B–C–G–I avoids $F$.
# (c) Yes: $G$ has the neighbours $C$ and $I$, and $I$ leads nowhere else.
# (d) Yes: it says $B \perp F \mid C, D$, and $B$'s only other neighbour is $A$.
# (e) $\frac1Z\, \phi(a, b, c)\, \phi(b, c, d)\, \phi(c, d, f)\, \phi(b, e)\, \phi(e, f)\, \phi(e, g)$.
# (f) No: G–E–B–A.
# (g) No: A–B–E–F avoids $D$ and $C$ (one published answer overlooks it).
# (h) Yes: every path out of $G$ meets $E$.
# (i) Yes: $B$ and $C$ are all the neighbours of $A$.
# (j) $Z$ becomes five times as large, and $p$ stays: the constant cancels.

# %%
first = nx.Graph(
    ["AB", "BC", "BD", "CD", "CE", "CG", "DE", "DF", "EF", "FH", "GI"]
)
second = nx.Graph(["AB", "AC", "BC", "BD", "BE", "CD", "CF", "DF", "EF", "EG"])
asked = {
    first: ["I-F", "B-I|F", "A-G|CE", "B-F|CD"],
    second: ["G-A", "F-A|DC", "G-C|E", "A-E|BC"],
}
verdict = []
for H, questions in asked.items():
    law = random_net(H).joint()  # one law that factorises, without a zero
    for question in questions:
        pair, _, given = question.partition("|")
        ends = *pair.split("-"), list(given)
        yes = separated(H, *ends)
        assert yes == independent(law, *ends, atol=1e-12)
        verdict.append(yes)
assert verdict == [False, False, True, True, False, False, True, True]

# %%
five_times = random_net(second).factors
before = MarkovNet(five_times)
k = next(k for k, t in enumerate(five_times) if set(t.names) == set("EG"))
five_times[k] = Table(5 * five_times[k].values, five_times[k].states)
after_it = MarkovNet(five_times)
ratio = np.exp(after_it.log_partition() - before.log_partition())
assert np.isclose(ratio, 5)
assert torch.allclose(after_it.joint().values, before.joint().values)
print(formula(second), "; Z grows by a factor of", round(ratio, 9))

# %% tags=["hide-input"]
show(
    graph_grid(
        [first, second],
        ["first", "second"],
        columns=2,
        layout=nx.kamada_kawai_layout,
        alt="Two undirected graphs on nine and on seven nodes.",
    ),
    "The two graphs of the exercise.",
    label="fig-mn-read",
)

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} A ring summed by hand
# :label: ex-mn-ring
# ```
# (Derive.) Four variables with the values $\pm 1$ stand in a ring A–B–C–D–A, with the factors $e^{AB}$, $e^{[B \ne C]}$, $e^{D + CD}$ and $e^{-AD}$.
#
# (a) Find $Z\, p(a, b, c)$, $Z\, p(a, b)$, $Z\, p(a)$ and $Z$, as simple as you can.
# (b) What are the three normalised laws?
# (c) Find $p(a \mid b, c, d)$ and $p(a \mid b, d)$. What do they say about $A$ and $C$?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-ring
# :class: dropdown
# ```
# (a) $D$ is named by two factors: $\sum_D e^{D + CD - AD} = 2 \cosh(1 + C - A)$, so $Z\, p(A, B, C) = 2 \cosh(1 + C - A)\, e^{AB + [B \ne C]}$.
# Write $h = 2 \cosh 1$ and $k = 2 \cosh 3$, and sum over $C$.
# For $A = 1$ both cosines have the argument $\pm 1$: $Z\, p(1, B) = (1 + e)\, h\, e^B$.
# For $A = -1$: $Z\, p(-1, 1) = e^{-1} (k + e h)$ and $Z\, p(-1, -1) = e\, (e k + h)$.
# Sum over $B$: $Z\, p(A = 1) = (1 + e)\, h^2$, as $e + e^{-1} = h$, and $Z\, p(A = -1) = e^{-1} (k + e h) + e\, (e k + h)$.
# $Z$ is the sum of both, about 203.08.
#
# (b) Divide by $Z$; for example $p(A = 1) \approx 0.1744$.
#
# (c) Only two factors name $A$: $p(A = 1 \mid B, C, D) = \frac{e^{B - D}}{e^{B - D} + e^{D - B}} = \sigma(2 (B - D))$ with $\sigma(u) = 1 / (1 + e^{-u})$.
# $C$ does not occur, so its mean over $C$ is the same: $p(a \mid b, d) = p(a \mid b, c, d)$, which is $A \perp C \mid B, D$. The ring states it too.

# %%
value = torch.tensor([-1.0, 1.0])
one, two = value[:, None], value  # rows, columns


def factor(pair, exponent):
    states_of = {key: ["-1", "1"] for key in pair}
    return Table((exponent + 0 * one * two).exp(), states_of)


factors_of_ring = [
    factor("AB", one * two),
    factor("BC", (one != two).double()),
    factor("CD", two + one * two),
    factor("AD", -one * two),
]
four = MarkovNet(factors_of_ring)
Z = np.exp(four.log_partition())
h, k, e = 2 * np.cosh(1), 2 * np.cosh(3), np.e

# %%
A, B, C = np.meshgrid(*[[-1, 1]] * 3, indexing="ij")
by_hand = 2 * np.cosh(1 + C - A) * np.exp(A * B + (B != C))
assert np.allclose(Z * four.marginal(["A", "B", "C"]).values, by_hand)
pairs_by_hand = [
    [e * (e * k + h), (k + e * h) / e],  # A = -1; B = -1, 1
    [(1 + e) * h / e, (1 + e) * h * e],
]
assert np.allclose(Z * four.marginal(["A", "B"]).values, pairs_by_hand)
single_by_hand = np.sum(pairs_by_hand, 1)
assert np.isclose(single_by_hand[1], (1 + e) * h**2)
assert np.isclose(single_by_hand.sum(), Z)
given_all = four.joint().conditional("A", ["B", "C", "D"]).values[..., 1]
given_two = four.joint().conditional("A", ["B", "D"]).values[..., 1]
sigma = (2 * (one - two)).sigmoid()  # rows B, columns D
assert torch.allclose(given_two, sigma)
assert torch.allclose(given_all, sigma[:, None])
print(f"Z = {Z:.3f}; p(A = 1) = {single_by_hand[1] / Z:.4f}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} As small as possible
# :label: ex-mn-properties
# ```
# (Derive.) Find a law and a graph, with as few nodes as you can, such that the law is pairwise but not locally Markov; and another that is locally but not globally Markov.
# Prove that fewer nodes are not enough.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-properties
# :class: dropdown
# ```
# Copies of one coin do both: given one copy, the others are certain.
# Three copies and no edge: the pairwise property holds, but no node is independent of the other two.
# On two nodes both properties say the same.
# Four copies and the edges $A - B$, $C - D$: given its neighbour a node is certain, so the local property holds, but $\{A, B\}$ and $\{C, D\}$ are dependent.
# On three nodes local implies global: a statement given one node is the pairwise one; if nothing is given, $X$ or $Y$ is a single node without neighbours, and the local property says that it is independent of both others.
# The cell tries all uniform laws of three bits, as laws of four of which $D$ is always 0.

# %%
three = (uniform[:, :, :, 1] == 0).all((0, 1, 2))
no_D = np.array([H.degree["D"] == 0 for H in graphs])
P3, L3, G3 = (m[no_D][:, : uniform.shape[-1]][:, three] for m in (P, L, G))
assert P3.shape == (8, 255) and not (L3 & ~G3).any() and (P3 & ~L3).any()
copies = torch.zeros(2, 2, 2, 2)
copies[0, 0, 0, 0] = copies[1, 1, 1, 1] = 0.5
copies, two = Table(copies, names), nx.Graph(["AB", "CD"])
assert all(independent(copies, *s) for s in local_statements(two))
assert not is_i_map(two, copies)
print("pairwise, not local:", (P3 & ~L3).sum(), "cases on three nodes")
print("local, not global:", (L & ~G).sum(), "cases on four nodes")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The only window
# :label: ex-mn-window
# ```
# (Derive.) (a) Show that the uniform law on a set $U$ of patterns factorises over $H$ exactly if every $x$ whose states on each maximal clique occur in $U$ is itself in $U$.
#
# (b) In the window every pair of neighbours shows all four states. Show by machine that, up to the names of lamps and states, no other uniform law that is Markov for the ring and no product does that.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-window
# :class: dropdown
# ```
# (a) If the law is a product, its factors are positive at all that occurs in $U$, so the product is positive at $x$. Conversely the product of the indicators "this state of the clique occurs in $U$" is 1 on $U$ and 0 elsewhere.
#
# (b) Turn the ring around or over and exchange the states of any lamps: the window becomes as many laws as the cell finds, and they are the same.

# %%
k = [set(map(frozenset, H.edges)) for H in graphs].index(
    set(map(frozenset, ring.edges))
)
strange = markov[k] & ~is_product[k]
for edge in ring.edges:
    strange &= (at_uniform[frozenset(edge)] > 0).all((0, 1, 2, 3))
turns = [
    turn
    for turn in permutations(names)
    if all(ring.has_edge(turn[i], turn[i - 1]) for i in range(4))
]
orbit = set()
for turn, flips in product(turns, product((False, True), repeat=4)):
    axes = [i for i in range(4) if flips[i]]
    moved = lamps.marginal(*turn).values.flip(axes)
    orbit.add(tuple((moved > 0).flatten().tolist()))
found = {tuple(U) for U in (bits[:, 1:].T[strange] > 0).tolist()}
assert found == orbit
print(f"{len(found)} laws, all of them the window under other names")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} What marriage forgets
# :label: ex-mn-moral
# ```
# (Recall.) Moralise three networks: a class with five symptoms (arrows from the class), a hidden chain of four states each with its observation, and the server.
# Which of them lose independencies? Name a lost one for each v-structure.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-moral
# :class: dropdown
# ```
# The first two have no node with two parents, so no v-structure, and by {prf:ref}`thm-mn-perfect` they lose nothing.
# For a v-structure $a \to c \leftarrow b$ with $a$ no descendant of $b$, the proof names the lost statement: $a \perp b \mid \mathrm{pa}(b)$.

# %%
symptoms = nx.DiGraph([("class", f"symptom {i}") for i in range(5)])
hidden = nx.DiGraph(
    [(f"h{i}", f"h{i + 1}") for i in range(3)]
    + [(f"h{i}", f"x{i}") for i in range(4)]
)
assert not v_structures(symptoms) and not v_structures(hidden)


def order_of(vee):
    return server.nodes.index(vee[1])


for ends, child in sorted(v_structures(server.dag), key=order_of):
    a, b = sorted(ends, key=server.nodes.index)  # so a is no descendant of b
    known = list(server.dag.pred[b])
    assert d_separated(server.dag, a, b, known)
    assert moral(server.dag).has_edge(a, b)  # nothing separates them there
    print(f"{a} → {child} ← {b}: lost {a} ⊥ {b} | {', '.join(known) or '–'}")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Seven nodes, from arrows to cliques
# :label: ex-mn-seven
# ```
# (Recall.) A Bayesian network has the arrows $x_1 \to x_2$, $x_1 \to x_3$, $x_2 \to x_4$, $x_2 \to x_5$, $x_3 \to x_5$, $x_3 \to x_6$, $x_5 \to x_6$, $x_4 \to x_7$ and $x_6 \to x_7$.
#
# (a) Factorise its law. (b) What is the Markov blanket of $x_6$? (c) Draw the moral graph. (d) Is that a perfect map of the network? (e) Is it chordal? Factorise over its maximal cliques.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-seven
# :class: dropdown
# ```
# (a) $p(x_1)\, p(x_2 \mid x_1)\, p(x_3 \mid x_1)\, p(x_4 \mid x_2)\, p(x_5 \mid x_2, x_3)\, p(x_6 \mid x_3, x_5)\, p(x_7 \mid x_4, x_6)$.
# (b) Parents $x_3, x_5$, child $x_7$, and its other parent $x_4$.
# (c) The skeleton with two marriages, $x_2 - x_3$ and $x_4 - x_6$; $x_3$ and $x_5$ are joined already.
# (d) No, by {prf:ref}`thm-mn-perfect`: the v-structures $x_2 \to x_5 \leftarrow x_3$ and $x_4 \to x_7 \leftarrow x_6$ lose $x_2 \perp x_3 \mid x_1$ and $x_4 \perp x_6 \mid x_2$.
# (e) No: the ring $x_2 - x_4 - x_6 - x_5$ has no chord. The law is $\frac1Z\, \phi(x_1, x_2, x_3)\, \phi(x_2, x_3, x_5)\, \phi(x_3, x_5, x_6)\, \phi(x_2, x_4)\, \phi(x_4, x_6, x_7)$, with $Z = 1$ if each factor is the product of the tables it takes.

# %%
seven = nx.DiGraph(["12", "13", "24", "25", "35", "36", "56", "47", "67"])
married = moral(seven)
assert set(married.adj["6"]) == set("3574")  # a blanket: neighbours here
assert set(map(frozenset, married.edges)) - set(
    map(frozenset, skeleton(seven).edges)
) == {frozenset("23"), frozenset("46")}
assert d_separated(seven, "2", "3", "1") and d_separated(seven, "4", "6", "2")
assert not separated(married, "2", "3", "1")
assert not nx.is_chordal(married)
ring_of_four = married.subgraph("2465")
assert ring_of_four.size() == 4 and not nx.is_chordal(ring_of_four)
found = {"".join(sorted(C)) for C in maximal_cliques(married)}
assert found == {"123", "235", "356", "24", "467"}
print("maximal cliques:", *sorted(found))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} An island, and a missing edge
# :label: ex-mn-island
# ```
# (Derive.) A Bayesian network has the arrows $O \to S$, $O \to T$, $A \to T$, $A \to M$, $T \to M$, $S \to B$ and $B \to M$, and a node $C$ without arrows.
# Someone draws an undirected graph for it: O–A, O–S, O–T, A–T, A–M, S–B, B–T, B–M, T–M, and $C$ alone.
#
# (a) Factorise the network. (b) What is the Markov blanket of $T$? (c) Is the undirected graph a perfect map of it? (d) Is it chordal? (e) Factorise over its maximal cliques.
# (f) Sum $C$ out of the Bayesian network, and out of a Markov network over the drawn graph. What becomes of the law of the others, and of $Z$? What is different when $S$ is summed out?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-island
# :class: dropdown
# ```
# (a) $p(O)\, p(A)\, p(C)\, p(S \mid O)\, p(T \mid O, A)\, p(B \mid S)\, p(M \mid A, T, B)$.
# (b) Parents $O, A$, child $M$, and its other parent $B$ ($A$ is one already).
# (c) It is **not even an I-map**. $A$ and $B$ are both parents of $M$, so the moral graph joins them; the drawing does not, and claims $A \perp B$ given all others, which is false once $M$ is seen. (Two published answers look only for lost statements, such as $O \perp A$, and miss this.)
# (d) No: O–S–B–T has no chord.
# (e) $\frac1Z\, \phi(o, a, t)\, \phi(a, t, m)\, \phi(b, t, m)\, \phi(o, s)\, \phi(s, b)\, \phi(c)$.
# (f) In the Bayesian network drop $p(C)$, which sums to 1. In the Markov network drop $\phi(C)$: the law of the others stays as it is, and $Z$ is divided by $\sum_c \phi(c)$.
# A node with neighbours leaves a trace: summing $S$ out makes one new factor over $O$ and $B$, so these must be joined.

# %%
island = nx.DiGraph(["OS", "OT", "AT", "AM", "TM", "SB", "BM"])
island.add_node("C")
drawing = nx.Graph(["OA", "OS", "OT", "AT", "AM", "SB", "BT", "BM", "TM"])
drawing.add_node("C")
assert set(moral(island).adj["T"]) == set("OAMB")
others = list("OSTMC")
assert separated(drawing, "A", "B", others)  # claimed
assert not d_separated(island, "A", "B", others)  # and false
assert moral(island).has_edge("A", "B")
assert not separated(drawing, "O", "A") and d_separated(island, "O", "A")
assert not nx.is_chordal(drawing)
found = {"".join(sorted(C)) for C in maximal_cliques(drawing)}
assert found == {"AOT", "AMT", "BMT", "OS", "BS", "C"}
net = random_net(drawing)
alone = next(t for t in net.factors if t.names == ("C",))
rest = MarkovNet([t for t in net.factors if t is not alone])
log_ratio = net.log_partition() - rest.log_partition()
assert np.isclose(log_ratio, alone.values.sum().log())
kept = net.marginal(rest.nodes).values
assert torch.allclose(kept, rest.joint().values)
fewer = net.marginal(list("OATMB"))  # S and C summed out
assert not independent(fewer, "O", "B", list("ATM"))  # joined by S
print("maximal cliques of the drawing:", *sorted(found))

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} One edge less
# :label: ex-mn-drop
# ```
# (Derive.) A graph is a perfect map of a list $L$ of independencies: it states those in $L$ and no other.
# One edge is taken away.
# Is what is left still an I-map, that is, does $L$ hold all that it states?
# Prove it or refute it, (a) for a directed acyclic graph, (b) for an undirected one.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-drop
# :class: dropdown
# ```
# Never, in either case.
# The map is perfect, so for two joined nodes $x, y$ there is no statement $x \perp y \mid S$ in $L$, for any $S$: joined nodes are separated by nothing (steps 1 and 2 of the proof of {prf:ref}`thm-mn-perfect`).
# (a) Take $x \to y$ away. $x$ was no descendant of $y$, and with fewer arrows it is none. So the smaller graph states $x \perp y \mid \mathrm{pa}(y)$, with the parents that are left.
# (b) The smaller graph states $x \perp y$ given all other nodes, the pairwise property.

# %%
refuted = 0
for H in [*dags[::9], *graphs]:
    read = d_separations if H.is_directed() else separations
    listed = stated(read(H))
    for edge in H.edges:
        smaller = H.copy()
        smaller.remove_edge(*edge)
        assert stated(read(smaller)) & ~listed  # something new is stated
        refuted += 1
print(f"{refuted:,} edges of all graphs and a ninth of the DAGs: never")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} The census of five nodes
# :label: ex-mn-five
# ```
# (Code.) For how many of the 1,024 graphs on five nodes does a DAG state exactly the same?
# Write the function that makes the DAG, and test it by enumeration.
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-five
# :class: dropdown
# ```
# For the chordal ones. Step 9 of the proof of {prf:ref}`thm-mn-perfect` is the function: take out simplicial nodes, and let the arrows come from what is left.


# %%
def direct(H):
    """A DAG that states the same as a chordal graph."""
    dag, left = nx.DiGraph(), H.copy()
    dag.add_nodes_from(H)
    while left:
        v = simplicial(left)[0]
        dag.add_edges_from((u, v) for u in left.adj[v])
        left.remove_node(v)
    return dag


tested = rng.permutation(np.flatnonzero(chordal))[:40]
for i in tested:
    dag, said = direct(five[i]), separations(five[i])
    assert all(
        d_separated(dag, *s) == (s in said) for s in statements("ABCDE")
    )
print(f"{chordal.sum()} of {len(five):,}; {len(tested)} of them tested")

# %% [markdown]
# ```{solution-end}
# ```
#
# ```{exercise-start} Which blocks? (open)
# :label: ex-mn-open
# ```
# (Open.) For the window with a little noise, the right side of {eq}`eq-mn-window` with $J = 4$, compare single updates with blocks of two lamps, for each of the ways to pair the lamps.
# (A measure: the second largest eigenvalue, in size, of the transition matrix of one sweep; the smaller it is, the sooner a chain forgets its start.)
# Can you give a rule that chooses blocks from the factors alone, for a network too large for its transition matrix?
# ```{exercise-end}
# ```
#
# ```{solution-start} ex-mn-open
# :class: dropdown
# ```
# The second largest eigenvalue of a sweep's matrix is the share that a sweep leaves, in the long run, of the slowest correlation.
# Of these updates, two blocks of neighbours leave the least, whichever way they are paired.
# The second question is open: blocks are found by trial, along the strongest factors, or at random; one block of all nodes, sampled by a junction tree, always works and often is too large.

# %%
net = nearly(4.0)
kinds_of_blocks = {
    "single lamps": net,
    "A, B together, C and D single": together(net, "A", "B"),
    "A, B and C, D": together(together(net, "A", "B"), "C", "D"),
    "B, C and D, A": together(together(net, "B", "C"), "D", "A"),
    "A, C and B, D": together(together(net, "A", "C"), "B", "D"),
}
rows = []
for name, blocked in kinds_of_blocks.items():
    values = torch.linalg.eigvals(sweep_of(blocked)).abs().sort().values
    rows.append({"updates": name, "second eigenvalue": values[-2].item()})
one, pair, two, turned, across = (row["second eigenvalue"] for row in rows)
assert np.isclose(two, turned) and two < min(one, pair, across)
results_table(rows)

# %% [markdown]
# ```{solution-end}
# ```
#
# ## The scores of the window
#
# Can you find the scores?
# No: every pair of neighbours shows all it can show, so every score would be positive, and all sixteen patterns possible ({prf:ref}`thm-mn-lamps`).
# But let one photograph in a million be noise, and there are scores; only their ratio grows without limit as the noise goes.
#
# If only neighbours count, is a law a product over neighbours?
# Over cliques of neighbours it is, in two cases: if nothing is impossible, and {eq}`eq-mn-canonical` computes the factors; or if the graph is chordal, and the factors are marginals.
# The ring of four is the smallest graph that is not chordal, and the window is what happens there when patterns are missing.
# The next chapter keeps the factors and gives up exactness.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
