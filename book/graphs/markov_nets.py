# ---
# jupyter:
#   jupytext: {formats: "ipynb,py:percent", text_representation: {extension: .py, format_name: percent}}
#   kernelspec: {name: python3, display_name: Python 3, language: python}
# ---

# %% [markdown]
# (ch:markov-nets)=
# # If only neighbours count, is a law a product over neighbours?
#
# A shop window has four lamps in a ring.
# A motor switches them on one after another, clockwise, and then off in the same order: eight patterns out of sixteen, again and again.
# You pass at a random moment and take a photograph.
#
# Cover one lamp of the photograph.
# Its two neighbours tell you something about it; once they are seen, the lamp across tells nothing more.
# No lamp comes first, so the arrows of the last chapter have no place here: the picture is a ring with four edges.
# It seems natural to describe the window by four small tables, one for each pair of neighbours, that give a score to what the pair shows, and to take the probability of a pattern as proportional to the product of its four scores.
# Can you find the scores?
#
# :::{admonition} You will learn to
# - write a law as a product over the cliques of an undirected graph, and read its independencies off the graph;
# - prove that independence of non-neighbours is enough for such a product if nothing is impossible (Hammersley and Clifford), and see a law for which it is not;
# - turn a Bayesian network into a Markov network, and say when nothing is lost;
# - turn a product of factors into a tree of marginals;
# - sample by asking only neighbours, measure when that gets stuck, and cure it.
#
# You need: independence and its rules ({ref}`ch:probability`), d-separation ({ref}`ch:bayes-nets`).
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
chains: int = 20_000  # Gibbs chains for the test against the exact law
sweeps: int = 200  # length of the chains that get stuck

# %% tags=["hide-input"]
from functools import reduce
from itertools import combinations, permutations, product

import networkx as nx
import numpy as np
import torch
from IPython.display import Markdown
from scipy.optimize import linprog

from companion import figures
from companion.claims import check
from companion.figures import Explorable, draw_graph, graph_grid, layered
from companion.figures import results_table, show, show_source
from companion.figures.style import PALETTE
from companion.graphs import BayesNet, JunctionTree, MarkovNet, Table
from companion.graphs import all_dags, all_graphs, canonical_potentials
from companion.graphs import clique_factors, d_separated, d_separations
from companion.graphs import independencies, independent, is_i_map
from companion.graphs import is_perfect_map, local_statements
from companion.graphs import maximal_cliques, medical_diagnosis
from companion.graphs import minimal_i_map, moral, mutual_information
from companion.graphs import pairwise_statements, separated, separations
from companion.graphs import server_monitoring, skeleton, statements
from companion.graphs import v_structures

rng = np.random.default_rng(seed)
generator = torch.Generator().manual_seed(seed)
names = "ABCD"
ring = nx.cycle_graph(names)

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
# p(x) = \frac1Z \prod_{C} \phi_C(x_C), \qquad Z = \sum_x \prod_C \phi_C(x_C),
# $$ (eq-mn-factors)
#
# with a factor for each clique of $H$, or only for the maximal ones, which hold the others.
# We say that such a law *factorises* over $H$.
# A factor is no probability: it need not sum to anything.
# Here is the smallest interesting one: four lamps whose neighbours like to agree, by a factor $e^J$.


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
# Four variables admit 55 statements, so all that holds in a law is one integer of 55 bits, and all that a graph states is another.

# %%
every = {
    (frozenset((x, y)), s): 1 << k
    for k, (x, y, s) in enumerate(statements(names))
}


def stated(found):
    """Write a set of statements as an integer of 55 bits."""
    return sum({every[frozenset((x, y)), s] for x, y, s in found})


def margins(n):
    """All margins of tables (laws, 2, 2, 2, 2), by the names kept."""
    kept = [frozenset(k) for r in range(5) for k in combinations(names, r)]
    return {
        k: n.sum(
            tuple(1 + names.index(v) for v in names if v not in k),
            keepdims=True,
            dtype=n.dtype,
        )
        for k in kept
    }


# %%
def held(n):
    """All statements that hold in tables of counts: 55 bits for each."""
    at, bits = margins(n), np.zeros(len(n), np.int64)
    for (pair, s), bit in every.items():
        x, y = pair
        equal = at[x | y | s] * at[s] == at[x | s] * at[y | s]
        bits[equal.all((1, 2, 3, 4))] |= bit
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
        axes = [0, *(1 + names.index(v) for v in clique)]
        parts += [rng.integers(0, 4, (size, *[2] * len(clique))), axes]
    n = np.einsum(*parts, range(5))
    return n[n.sum((1, 2, 3, 4)) > 0]


def unjoined(H):
    """All statements about sets without an edge between them."""
    return [s for s in statements(names) if not nx.cut_size(H, s[0], s[1])]


drawn = [held(products(H, 40)) for H in graphs]
claimed = [[s for s in statements(names) if separated(H, *s)] for H in graphs]
empty = [[(x, y, frozenset()) for x, y, _ in c] for c in claimed]


def all_hold(claims):
    masks = [stated(found) for found in claims]
    return np.concatenate(
        [bits & m == m for bits, m in zip(drawn, masks, strict=True)]
    )


check("thm-mn-global", kind="random instances").holds(
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
show(
    graph_grid(
        list(given.values()),
        list(given),
        columns=3,
        alt="A chain of five nodes; a square with one diagonal; four triangles in a strip with a tail.",
    ),
    "Three networks: the formulas above list their maximal cliques.",
    label="fig-mn-given",
)

# %% [markdown]
# How many numbers does that take if all variables are binary?
# A factor over $k$ nodes has $2^k$ numbers, but not all are free: a constant can move from one factor to another.
# The number of directions in which the law can move is the number of non-empty cliques of any size (exercise).

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
# (sec-mn-properties)=
# ## Three Markov properties are one if nothing is impossible
#
# A product has the global property; what if we only know independencies?
# There are three ways to say that only neighbours count.
#
# - *Global*: $X \perp Y \mid S$ whenever $S$ separates $X$ from $Y$.
# - *Local*: $v \perp V \setminus (N(v) \cup \{v\}) \mid N(v)$ for every node: given its neighbours, a node is independent of the rest. $N(v)$ is its *Markov blanket*.
# - *Pairwise*: $a \perp b \mid V \setminus \{a, b\}$ for any two nodes that are not joined.
#
# :::{prf:theorem} Global, local, pairwise
# :label: thm-mn-properties
# For every law, the global property implies the local one, and that the pairwise one.
# For a positive law the pairwise property implies the global one {cite:p}`pearl1987graphoids`.
# :::
#
# :::{prf:proof}
# For every law, in steps:
#
# 1. $N(v)$ separates $v$ from the rest, because every path from $v$ begins with a neighbour. So the local property is a part of the global one.
# 2. Let $a, b$ not be joined. The local property says $a \perp R \mid N(a)$ with $b \in R = V \setminus (N(a) \cup \{a\})$. By weak union ({prf:ref}`thm-probability-semigraphoid`), $R \setminus \{b\}$ may move to the condition: $a \perp b \mid V \setminus \{a, b\}$.
#
# Now let the law be positive and pairwise Markov, and let $S$ separate $X$ from $Y$, all three disjoint, $X$ and $Y$ not empty. We go down from the largest $S$ to smaller ones, and assume the claim for all separating sets with more nodes than $S$.
#
# 3. $|S| = |V| - 2$: then $X$ and $Y$ are two nodes that are not joined, and the claim is the pairwise property.
# 4. $|S| < |V| - 2$ and $X \cup Y \cup S = V$: one of $X, Y$, say $Y$, has two nodes or more; split it into $Y_1, Y_2$. A larger set still separates, so by assumption $X \perp Y_1 \mid S \cup Y_2$ and $X \perp Y_2 \mid S \cup Y_1$. By intersection ({prf:ref}`thm-probability-intersection`, which needs positivity) $X \perp Y \mid S$.
# 5. Otherwise there is a node $w$ outside of $X \cup Y \cup S$. $S$ separates $w$ from $X$ or from $Y$, or else a path from $X$ to $w$ and one from $w$ to $Y$ would together avoid $S$. Let it be $Y$; otherwise exchange the names $X$ and $Y$.
# 6. $S \cup \{w\}$ separates $X$ from $Y$, and $S \cup X$ separates $w$ from $Y$. Both have more nodes than $S$, so $Y \perp X \mid S \cup \{w\}$ and $Y \perp w \mid S \cup X$.
# 7. By intersection $Y \perp X \cup \{w\} \mid S$, and by decomposition $Y \perp X \mid S$.
# :::
#
# The check takes two families of laws of four bits: *all* 65,535 that are uniform on a non-empty set of patterns, and *all* 65,536 whose weights are 1 or 2, each with all 64 graphs.

# %%
bits = (np.arange(2**16)[:, None] >> np.arange(16) & 1).astype(np.int16)
uniform, weighted = bits[1:].reshape(-1, 2, 2, 2, 2), bits + 1
weighted = weighted.reshape(-1, 2, 2, 2, 2)
held_uniform, held_weighted = held(uniform), held(weighted)
law_bits = np.concatenate([held_uniform, held_weighted])
positive = np.arange(len(law_bits)) >= 2**16 - 2  # no pattern is left out


def have(law_bits, masks):
    """For graphs and laws, whether the law has all that is stated."""
    return np.array([law_bits & m == m for m in masks])


P_bits = np.array([stated(pairwise_statements(H)) for H in graphs])
L_bits = np.array([stated(local_statements(H)) for H in graphs])
P, L, G = (have(law_bits, m) for m in (P_bits, L_bits, G_bits))

# %%
check("thm-mn-properties").holds(
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
check("thm-mn-properties").holds(
    (~(positive & P) | G).ravel(),
    wrong={
        "pairwise implies global, zeros allowed": (~P | G).ravel(),
        "pairs that are independent by themselves": (
            ~(positive & have(law_bits, alone)) | G
        ).ravel(),
    },
)

# %% [markdown]
# An implication whose premise never holds is true for free, so we count, over all graphs but the complete one, which states nothing.

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
# Now the question of the title.
# Hammersley and Clifford found the theorem below in 1971 and left it unpublished, hoping to get rid of the word "positive" {cite:p}`hammersley1971markov,clifford1990markov`; the proof by inversion of sums over subsets is due to several authors {cite:p}`besag1974spatial,lauritzen1996graphical`.
# Its idea is to compute the factors instead of guessing them.
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
# 5. (c) implies (d). Let $S$ not be a clique: it holds two nodes $a, b$ that are not joined. Each subset of $S$ is $T$, $T \cup a$, $T \cup b$ or $T \cup ab$ for one $T \subseteq S \setminus \{a, b\}$, and the signs of these four are those of $T$ times $+, -, -, +$:
#
#    $$
#    \log \phi_S = \sum_{T \subseteq S \setminus \{a, b\}} (-1)^{|S \setminus T|} \big( h_T - h_{T \cup a} - h_{T \cup b} + h_{T \cup ab} \big).
#    $$ (eq-mn-four)
#
# 6. In each bracket all nodes but $a, b$ have the same states, say $y$. It is the logarithm of $\frac{p(x_a, x_b, y)\, p(x^\circ_a, x^\circ_b, y)}{p(x_a, x^\circ_b, y)\, p(x^\circ_a, x_b, y)}$.
# 7. By (c), $p(x_a, x_b, y) = p(x_a, y)\, p(x_b, y) / p(y)$, and likewise for the other three. In the quotient everything cancels: it is 1, each bracket is 0, and $\phi_S = 1$.
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
    matrices = [
        reduce(np.kron, [inside if v in S else outside for v in names])
        for S in subsets
    ]
    return np.array(matrices, np.float32)


subsets = [frozenset(S) for r in range(5) for S in combinations(names, r)]
size = np.array([len(S) for S in subsets])
k = bits.astype(np.float32)
log2_phi = np.array([k @ M.T for M in inversion(-1)])  # (S, laws, 16)

# %%
some = rng.integers(0, 2**16, 20)
for i in some:
    total = weighted[i].sum()
    law = Table(torch.tensor(weighted[i] / total), names)
    for S, phi in canonical_potentials(law).items():
        ours = log2_phi[subsets.index(frozenset(S)), i].reshape(2, 2, 2, 2)
        keep = tuple(slice(None) if v in S else 0 for v in names)
        shift = np.log2(total) if not S else 0.0
        assert np.allclose(phi.values.log2() + shift, ours[keep])
print(f"the package's potentials agree for {len(some)} laws")

# %%
cliques = np.array([[H.subgraph(S).size() == len(S) * (len(S) - 1) / 2
                     for S in subsets] for H in graphs])
pairwise = have(held_weighted, P_bits)


def trivial(log_phi, others):
    """Whether, of the potentials marked for each graph, all are 1."""
    varies = (log_phi != 0).any(2)
    return np.array([~(varies & o[:, None]).any(0) for o in others])


def multiplies(some):
    """Whether the potentials marked for each graph multiply to the law."""
    return np.array([(log2_phi[s].sum(0) == k).all(1) for s in some])


unsigned = np.array([k @ M.T for M in inversion(1)])
largest = [np.isin(np.arange(16), [subsets.index(frozenset(c))
           for c in maximal_cliques(H)]) for H in graphs]
check("thm-mn-hc").holds(
    ((pairwise == trivial(log2_phi, ~cliques))
     & (pairwise == multiplies(cliques))).ravel(),
    wrong={
        "signs dropped": (pairwise == trivial(unsigned, ~cliques)).ravel(),
        "only pairs are looked at": (
            pairwise == trivial(log2_phi, ~cliques & (size == 2))
        ).ravel(),
        "factors for edges only": (
            pairwise == multiplies(cliques & (size <= 2))
        ).ravel(),
        "potentials of maximal cliques only": (
            pairwise == multiplies(largest)
        ).ravel(),
    },
)

# %%
incomplete = np.array([len(H.edges) < 6 for H in graphs])
count = pairwise[incomplete].sum()
Markdown(
    f"The pairwise property holds for {count:,} pairs of a law and an "
    "incomplete graph, and the law is a product in exactly these cases."
)

# %% [markdown]
# (sec-mn-lamps)=
# ## The running lights are no product, only a limit of products
#
# Back to the window, where eight patterns never occur.
# Its law was found by Moussouris {cite:p}`moussouris1974gibbs`; the eight patterns are the cycle of a twisted ring counter.
# Let $s(x) = [x_A = x_B] + [x_B = x_C] + [x_C = x_D] + [x_D \ne x_A]$, where $[\cdot]$ is 1 if true and 0 if not.
#
# :::{prf:theorem} The running lights
# :label: thm-mn-lamps
# Let $p$ be uniform on the eight patterns of the window.
#
# - (a) $p$ has the global Markov property of the ring.
# - (b) $p$ does not factorise over the ring.
# - (c) $q_J(x) = e^{J s(x)} / Z$ does, and $\tfrac12 \sum_x |p(x) - q_J(x)| = \frac{1}{1 + e^{2J}}$.
# :::
#
# :::{prf:proof}
# In steps:
#
# 1. In the ring the only separations are $A$ from $C$ by $\{B, D\}$, and $B$ from $D$ by $\{A, C\}$.
# 2. The motor's step $(x_A, x_B, x_C, x_D) \mapsto (1 - x_D, x_A, x_B, x_C)$ takes the eight patterns to one another, and makes of the first statement the second. So the first is enough for (a).
# 3. Given $x_B, x_D$ there are two patterns: 0000 and 1000, 1100 and 1110, 1111 and 0111, 0011 and 0001. In each case one of the lamps $A$ and $C$ is certain, hence independent of the other.
# 4. For (b): the patterns 0000, 0111, 1000, 1100 show all four states of the pair $A, B$. By the motor's step, every pair of neighbours shows all four.
# 5. If $p$ were $\tfrac1Z \phi_{AB}\, \phi_{BC}\, \phi_{CD}\, \phi_{DA}$ (factors of single lamps go into these), every $\phi$ would be positive in all four states, since some possible pattern shows each. Then all sixteen products are positive, but $p$ is 0 for eight.
# 6. For (c): once around the ring the lamps change an even number of times, so an even number of neighbours agree; as the last term of $s$ counts a difference, $s$ is odd: 1 or 3.
# 7. $s = 3$ means that one term is 0; there are 4 choices for it and 2 for $x_A$, which fix the pattern. So there are eight patterns with $s = 3$, and those of the window are such.
# 8. Hence $q_J$ is constant on the window's patterns, and the others have $q_J = \frac{8 e^J}{8 e^{3J} + 8 e^J} = \frac{1}{1 + e^{2J}}$ together. Half the sum of differences is the mass that is in the wrong place, which is this.
# :::
#
# The first check reads (a) and (b) off the law: the two independencies, the sixteen states of pairs of neighbours that occur, and a pattern that does not.


# %%
def facts(shown):
    """Whether a uniform law on patterns is Markov, and why no product."""
    p = torch.zeros(2, 2, 2, 2)
    for pattern in shown:
        p[tuple(map(int, pattern))] = 1 / len(shown)
    law = Table(p, names)
    markov = [independent(law, *s) for s in separations(ring)]
    pairs = [law.marginal(*edge).values.flatten() > 0 for edge in ring.edges]
    return [*markov, *torch.cat(pairs).tolist(), bool((p == 0).any())]


check("thm-mn-lamps").holds(
    facts(patterns),
    wrong={
        "off in the reverse order": facts(patterns[:5]),
        "one lamp at a time": facts(["1000", "0100", "0010", "0001"]),
        "every pattern": facts(map("".join, product("01", repeat=4)).__iter__)
        if False
        else facts(list(map("".join, product("01", repeat=4)))),
    },
)
