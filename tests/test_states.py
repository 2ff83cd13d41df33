"""State spaces and their scan, against loops in float64, solvers, quadrature and enumeration."""

import math
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch import nn
from torch.nn import functional as F

from companion.data import Dataset
from companion.experiments.sequences import copying, digit_sequence, induction_heads
from companion.measures.sequences import measured, of_lengths, of_recall
from companion.models.states import (
    KINDS,
    CausalTransformer,
    SequenceLaw,
    StateSpaceModel,
    to_images,
    to_tokens,
)
from companion.nets import scan as scans
from companion.nets.scan import scan, selective_scan, step_by_step
from companion.nets.state_spaces import S4D, Selective, fft_convolution, hippo, zero_order_hold
from companion.objectives.sequences import recall_loss
from companion.worlds.recall import FIRST, NOISE, SIGN, UNASKED, induction, selective_copying

DRAW = torch.Generator().manual_seed(0)
randn, rand = partial(torch.randn, generator=DRAW), partial(torch.rand, generator=DRAW)


def loop(a: torch.Tensor, b: torch.Tensor, backwards: bool = False) -> torch.Tensor:
    """The recurrence as it is written."""
    h, out = torch.zeros_like(b[:, 0]), {}
    order = range(a.shape[1])
    for t in reversed(order) if backwards else order:
        out[t] = h = a[:, t] * h + b[:, t]
    return torch.stack([out[t] for t in order], 1)


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("length", [*range(1, 18), 64, 100])
def test_the_parallel_scan_is_the_loop_in_both_directions(length, backwards):
    a, b = 2 * rand(2, length, 3).double() - 1, randn(2, length, 3).double()
    expected = loop(a, b, backwards)
    torch.testing.assert_close(scan(a, b, backwards), expected)
    torch.testing.assert_close(step_by_step(a, b, backwards), expected)


def test_the_scan_has_logarithmic_depth_and_linear_work(monkeypatch):
    """Counted by what it multiplies and adds: fewer than 3 L numbers in 2 log2 L + 1 calls."""
    calls = []
    real = torch.addcmul

    def counted(b, *rest, **more):
        calls.append(b.shape[1])
        return real(b, *rest, **more)

    monkeypatch.setattr(torch, "addcmul", counted)
    for length in (64, 1024, 1000):
        calls.clear()
        scan(rand(1, length, 1), rand(1, length, 1))
        assert len(calls) <= 2 * math.log2(length) + 1 and sum(calls) < 3 * length


def inputs(n: int = 2, length: int = 11, d: int = 3, state: int = 4) -> list[torch.Tensor]:
    """x, dt, a, b, c in float64."""
    kinds = [(n, length, d), (n, length, d), (state, d), (n, length, state), (n, length, state)]
    x, dt, a, b, c = (randn(*shape).double() for shape in kinds)
    return [x, dt.exp() / 5, -a.exp(), b, c]


def selective_loop(*given: torch.Tensor) -> torch.Tensor:
    """Step after step, and every product written out."""
    x, dt, a, b, c = given
    h, out = torch.zeros(len(x), *a.shape).double(), []
    for t in range(x.shape[1]):
        decay = torch.exp(torch.einsum("bd,nd->bnd", dt[:, t], a))
        h = decay * h + torch.einsum("bn,bd,bd->bnd", b[:, t], dt[:, t], x[:, t])
        out.append(torch.einsum("bn,bnd->bd", c[:, t], h))
    return torch.stack(out, 1)


@pytest.mark.parametrize("wide", [0, 1 << 12], ids=["serial", "tree"])
@pytest.mark.parametrize("q", [0, 1, 4, 11, 50])
def test_the_selective_scan_and_its_gradients_are_those_of_the_loop(q, wide, monkeypatch):
    monkeypatch.setattr(scans, "WIDE", wide)
    given = [v.requires_grad_() for v in inputs()]
    weight = randn(2, 11, 3).double()
    x, dt, a, b, c = given
    found, expected = selective_scan(x, dt, a, b, c, q), selective_loop(*given)
    torch.testing.assert_close(found, expected)
    ours = torch.autograd.grad((found * weight).sum(), given)
    theirs = torch.autograd.grad((expected * weight).sum(), given)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_autograd_finds_the_same_gradient_by_differences():
    given = [v.requires_grad_() for v in inputs(1, 5, 2, 2)]
    assert torch.autograd.gradcheck(partial(selective_scan, q=2), given)


def test_pieces_keep_only_the_states_at_their_borders():
    """What is saved between the passes: L / Q states of N D numbers, and the inputs."""
    x, dt, a, b, c = (v.requires_grad_() for v in inputs(1, 256, 8, 16))
    kept: list[int] = []

    def note(t: torch.Tensor) -> torch.Tensor:
        kept.append(t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        selective_scan(x, dt, a, b, c, 64)
    assert kept.count(16 * 8) == 4 + 1  # the borders, and a itself
    assert sum(kept) < 256 * 16 * 8 / 2


def test_shapes_that_do_not_fit_are_refused():
    x, dt, a, b, c = inputs()
    with pytest.raises(ValueError, match=r"needs \(B, L, D\) twice"):
        selective_scan(x, dt, a.T, b, c)
    with pytest.raises(ValueError, match=r"needs \(B, L, D\) twice"):
        selective_scan(x, dt, a, b[:, :-1], c)


def test_the_zero_order_hold_is_the_solution_of_the_equation():
    """h' = a h + u with u held, by a solver."""
    a, dt, u, start = -0.7 + 2.1j, 0.6, 1.3, 0.4 + 0.2j
    solved = solve_ivp(lambda t, h: a * h + u, (0, dt), [start + 0j], rtol=1e-10, atol=1e-11)
    exact = torch.tensor(a, dtype=torch.complex128)
    decay, gain = zero_order_hold(exact, torch.tensor(dt).double())
    assert (decay * start + gain * u).item() == pytest.approx(solved.y[0, -1], rel=1e-6)


def test_the_fft_convolution_is_the_causal_sum():
    x, kernel = randn(2, 13, 3).double(), randn(3, 13).double()
    expected = torch.zeros_like(x)
    for t, s in product(range(13), repeat=2):
        if s <= t:
            expected[:, t] += kernel[:, t - s] * x[:, s]
    torch.testing.assert_close(fft_convolution(x, kernel), expected)


def test_hippo_keeps_the_legendre_coefficients_of_the_past():
    """Its equation, solved, against quadrature of u(s) = cos(3 s) + s on [0, t]."""
    a, b = (m.numpy() for m in hippo(6))
    nodes, weights = np.polynomial.legendre.leggauss(40)

    def coefficients(t):
        past = np.cos(3 * (nodes + 1) * t / 2) + (nodes + 1) * t / 2
        basis = [np.polynomial.legendre.Legendre.basis(k)(nodes) for k in range(6)]
        return np.array([b[k] * (weights * past * basis[k]).sum() / 2 for k in range(6)])

    solved = solve_ivp(
        lambda t, c: (b * (np.cos(3 * t) + t) - a @ c) / t, (0.5, 2), coefficients(0.5),
        rtol=1e-10, atol=1e-11,
    )  # fmt: skip
    assert solved.y[:, -1] == pytest.approx(coefficients(2.0), abs=1e-7)


LAYERS = pytest.mark.parametrize("kind", [S4D, Selective])


@LAYERS
def test_a_layer_reads_step_by_step_what_it_reads_at_once(kind):
    torch.manual_seed(0)
    layer, x = kind(6, 4), randn(3, 40, 6)
    at_once, state, one_by_one = layer(x), layer.begin(3), []
    for t in range(40):
        y, state = layer.step(x[:, t], state)
        one_by_one.append(y)
    torch.testing.assert_close(torch.stack(one_by_one, 1), at_once, atol=1e-5, rtol=1e-5)


def made(kind: str, gate: bool = True, vocabulary: int = 5, outputs: int = 5) -> Any:
    """A network with weights that matter."""
    torch.manual_seed(1)
    if kind == "attention":
        network: Any = CausalTransformer(vocabulary, outputs, 8, 2)
    else:
        mixer = {"fixed": S4D, "selective": Selective}[kind]
        network = StateSpaceModel(vocabulary, outputs, 8, 2, partial(mixer, state=4), gate)
    with torch.no_grad():
        network.head.weight.mul_(4)
    return network.eval()


NETWORKS = pytest.mark.parametrize(
    ("kind", "gate"),
    [("selective", True), ("selective", False), ("fixed", True), ("fixed", False),
     ("attention", True)],
)  # fmt: skip


@NETWORKS
def test_a_logit_depends_on_no_later_token(kind, gate):
    network = made(kind, gate)
    tokens = torch.randint(5, (1, 20), generator=DRAW)
    before = network(tokens)
    for t in range(20):
        other = tokens.clone()
        other[0, t] = (other[0, t] + 1) % 5
        moved = (network(other) - before).abs().amax((0, 2)) > 1e-5
        assert not moved[:t].any() and moved[t]


@NETWORKS
def test_the_law_of_small_images_sums_to_one_and_is_what_is_drawn(kind, gate):
    """All 16 images of one token, which only the sign of the beginning comes before."""
    law = SequenceLaw(made(kind, gate, KINDS + 1, KINDS), side=2)
    images = to_images(torch.arange(16)[:, None])
    p = torch.exp(-law.terms(images)["nll"]).double()
    assert p.sum().item() == pytest.approx(1, abs=1e-5)
    drawn = to_tokens(law.sample(4000, torch.Generator().manual_seed(2))).flatten()
    share = torch.bincount(drawn, minlength=16) / 4000
    assert ((share - p).abs() < 5 * (p * (1 - p) / 4000).sqrt() + 1e-3).all()


@NETWORKS
def test_the_law_of_two_by_two_tokens_sums_to_one(kind, gate):
    law = SequenceLaw(made(kind, gate, KINDS + 1, KINDS), side=4)
    tokens = torch.cartesian_prod(*[torch.arange(16)] * 4)
    with torch.no_grad():
        p = torch.cat([torch.exp(-law.terms(to_images(t))["nll"]) for t in tokens.split(8192)])
    assert p.double().sum().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("kind", ["selective", "fixed"])
def test_a_model_samples_by_steps_from_the_law_that_it_trains(kind):
    network = made(kind)
    tokens = torch.randint(5, (4, 50), generator=DRAW)
    states, found = network.begin(4), []
    for t in range(50):
        logits, states = network.step(tokens[:, t], states)
        found.append(logits)
    torch.testing.assert_close(torch.stack(found, 1), network(tokens), atol=1e-5, rtol=1e-5)


def test_tokens_are_blocks_in_raster_order_and_come_back():
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 2] = image[0, 0, 3, 1] = 1
    assert to_tokens(image).tolist() == [[0, 8, 1, 0]]
    many = (rand(5, 1, 28, 28) < 0.5).float()
    assert to_tokens(many).shape == (5, 196) and torch.equal(to_images(to_tokens(many)), many)


def test_the_answers_of_the_worlds_are_what_stands_in_the_sequences():
    draw = torch.Generator().manual_seed(3)
    tokens, answers = selective_copying(50, 20, 5, draw)
    for row, answer in zip(tokens.tolist(), answers.tolist(), strict=True):
        assert [t for t in row if t >= FIRST] == answer[20:]
        assert row[20:] == [SIGN] * 5 and answer[:20] == [UNASKED] * 20
        assert row.count(NOISE) == 15
    tokens, answers = induction(50, 12, draw)
    for row, answer in zip(tokens.tolist(), answers.tolist(), strict=True):
        assert row.count(SIGN) == 2 and row[-1] == SIGN
        assert answer == [UNASKED] * 11 + [row[row.index(SIGN) + 1]]
        assert answer[-1] >= FIRST


class Oracle(nn.Module):
    """Knows one answer in two: says letter 2, always."""

    def __init__(self) -> None:
        super().__init__()
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return 9 * F.one_hot(torch.full_like(tokens, 2), 16).float() + self.anchor


def test_recall_is_measured_where_something_is_asked_and_nowhere_else():
    tokens = torch.full((4, 6), SIGN, dtype=torch.uint8)
    answers = torch.full((4, 6), UNASKED, dtype=torch.uint8)
    answers[:, 4], answers[:, 5] = 2, torch.tensor([2, 3, 3, 3], dtype=torch.uint8)
    data = Dataset("few", (tokens, answers), (tokens, answers), (), "procedural", "")
    found = of_recall(Oracle(), data)
    assert found["accuracy"].value == pytest.approx(5 / 8) and found["accuracy"].n == 4
    right = math.log(math.exp(9) + 15) - 9
    assert found["cross_entropy"].value == pytest.approx(right + 9 * 3 / 8, rel=1e-5)
    many = replace(data, test=tuple(t.repeat(500, 1) for t in data.test))
    lengths = of_lengths(Oracle(), many)
    assert lengths["accuracy at 64"].value == pytest.approx(1 / 14, abs=5 * (1 / 14 / 500) ** 0.5)
    model = Oracle()
    recall_loss(model, (tokens, answers), 0)["loss"].mean().backward()
    assert model.anchor.grad is not None and model.anchor.grad.isfinite()


def test_the_record_of_the_bench_is_of_equal_values():
    rows = measured()["rows"]
    assert {row["length"] for row in rows} >= {256, 1024, 4096, 16384}
    assert all(row["apart"] < 1e-4 and row["ours MB"] < row["mambapy MB"] for row in rows)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: copying("selectiv"), r"no mixer is called 'selectiv' \(did you mean 'selective'"),
        (lambda: copying("attention", gate=False), "attention has no gate"),
        (lambda: copying(length=3, letters=4), "1 to 3 letters among 3 places, got 4"),
        (lambda: induction_heads(length=3), "at least 4 tokens, got 3"),
        (lambda: digit_sequence("fixd"), "did you mean 'fixed'"),
        (lambda: SequenceLaw(nn.Identity()).sample(0), "at least 1 image, got 0"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()
