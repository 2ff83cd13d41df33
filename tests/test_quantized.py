"""Codes, their prior and their clusters, beside enumeration, loops and scikit-learn."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_samples
from torch import Tensor, nn

from companion.metrics import clusters as measured
from companion.models.code_prior import CodePrior
from companion.models.image_gpt import ImageGPT
from companion.models.quantized import (
    Coded,
    DiscreteVAE,
    FiniteScalars,
    VectorQuantised,
    gumbel_like,
    nearest,
)
from companion.nets.grids import grid_decoder, grid_encoder
from companion.objectives.quantized import (
    finite_scalars,
    gumbel_softmax,
    straight_through,
    temperature_at,
    vector_quantised,
)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def images(n: int = 4) -> Tensor:
    return torch.bernoulli(torch.full((n, 1, 28, 28), 0.3))


def vq(codes: int = 6, depth: int = 3, **how) -> VectorQuantised:
    return VectorQuantised(grid_encoder(depth, 8), grid_decoder(depth, 8), codes, depth, **how)


def all_models() -> list[Coded]:
    dvae = DiscreteVAE(grid_encoder(6, 8), grid_decoder(3, 8), 6, 3)
    fsq = FiniteScalars(grid_encoder(2, 8), grid_decoder(2, 8), (3, 2))
    return [vq(), dvae, fsq]


def test_the_nearest_code_is_the_nearest_of_all_distances():
    z, book = torch.randn(500, 5), torch.randn(40, 5)
    apart = (z[:, None] - book).square().sum(2)
    assert (nearest(z, book) == apart.argmin(1)).all()


def test_without_memory_a_step_of_the_codebook_is_lloyds():
    """scikit-learn's k-means, stopped after one iteration from the same centres."""
    model = vq(codes=5, decay=0.0, revive=False)
    z = torch.randn(400, 3)
    model.codebook.copy_(z[:5])
    how: Any = {"init": z[:5].numpy(), "n_init": 1, "max_iter": 1, "algorithm": "lloyd"}
    lloyd = KMeans(5, **how).fit(z.numpy())
    model.follow(z, nearest(z, model.codebook))
    torch.testing.assert_close(
        model.codebook, torch.from_numpy(lloyd.cluster_centers_), atol=1e-5, rtol=1e-5
    )


def test_the_means_of_kmeans_are_a_fixed_point():
    model, z = vq(codes=4, decay=0.0), torch.randn(300, 3)
    how: Any = {"n_init": 1, "tol": 0.0, "random_state": 0}
    found = KMeans(4, **how).fit(z.double().numpy())
    model.codebook.copy_(torch.from_numpy(found.cluster_centers_).float())
    before = model.codebook.clone()
    model.follow(z, nearest(z, model.codebook))
    torch.testing.assert_close(model.codebook, before, atol=1e-5, rtol=1e-5)


def test_averages_are_those_of_the_paper_code_by_code():
    """van den Oord et al. 2017, appendix A.1, in a loop."""
    model = vq(codes=4, decay=0.9, revive=False)
    counts, sums = model.counts.clone(), model.sums.clone()
    for _ in range(5):
        z, tokens = torch.randn(50, 3), torch.randint(4, (50,))
        model.follow(z, tokens)
        for k in range(4):
            counts[k] = 0.9 * counts[k] + 0.1 * (tokens == k).sum()
            sums[k] = 0.9 * sums[k] + 0.1 * z[tokens == k].sum(0)
    torch.testing.assert_close(model.codebook, sums / counts[:, None])


def test_a_dead_code_begins_anew_at_a_vector_of_the_batch_or_stays_where_it_was():
    z, tokens = torch.randn(200, 3), torch.zeros(200, dtype=torch.int64)
    for revive in (True, False):
        model = vq(codes=5, revive=revive)
        before = model.codebook.clone()
        model.follow(z, tokens)
        apart = (model.codebook[1:, None] - z).abs().amax(2)  # (codes, vectors)
        there = (apart.amin(1) < 1e-5).all()
        assert there == revive
        if not revive:
            torch.testing.assert_close(model.codebook[1:], before[1:])


def test_an_unused_code_does_not_fade_to_nothing():
    model, z = vq(codes=3, decay=0.5, revive=False), torch.randn(20, 3)
    before = model.codebook.clone()
    for _ in range(400):  # 0.5 ** 400 is no float32
        model.follow(z, torch.zeros(20, dtype=torch.int64))
    torch.testing.assert_close(model.codebook[1:], before[1:], rtol=1e-2, atol=1e-2)


def test_the_gradient_passes_the_choice_as_if_it_were_not_there():
    z = torch.randn(7, requires_grad=True)
    through = straight_through(z, z.round())
    torch.testing.assert_close(through, z.round())
    (3 * through).sum().backward()
    torch.testing.assert_close(z.grad, torch.full((7,), 3.0))


def test_the_commitment_moves_the_encoder_alone():
    model, x = vq().eval(), images()
    before = model.codebook.clone()
    loss = vector_quantised(model, (x,), 0, commitment=2.0)
    z = model.raw(x)
    apart = (z - model.codebook[model.choose(z)]).square().sum((1, 2))
    torch.testing.assert_close(loss["apart"], apart)
    torch.testing.assert_close(loss["loss"], loss["distortion"] + 2 * apart)
    torch.testing.assert_close(loss["distortion"], model.terms(x)["distortion"])
    assert (model.codebook == before).all() and not model.codebook.requires_grad
    vector_quantised(model.train(), (x,), 0)
    assert (model.codebook != before).any()


class Place(nn.Module):
    """A decoder whose image hangs on the first place alone."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 784)

    def forward(self, vectors: Tensor) -> Tensor:
        return self.layer(vectors[:, :, 0, 0]).view(-1, 1, 28, 28)


class Says(nn.Module):
    """An encoder that gives fixed logits at the first place, and none elsewhere."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        grid = torch.zeros(len(x), self.logits.shape[-1], 7, 7)
        grid[:, :, 0, 0] = self.logits
        return grid


def test_the_bound_of_a_discrete_vae_is_below_the_sum_over_all_symbols():
    """And tight where q is the posterior; the mean over symbols is taken exactly."""
    model, x = DiscreteVAE(nn.Identity(), Place(), 6, 3), images(5)
    for p in model.decoder.parameters():
        p.data *= 0.1
    with torch.no_grad():
        tokens = torch.arange(6)[:, None].expand(6, 49)
        fit = torch.stack([model.seen(tokens).log_prob(one.expand(6, -1, -1, -1)) for one in x])
        truth = fit.logsumexp(1) - math.log(6)
        for logits, tight in ((torch.randn(5, 6), False), (fit, True)):
            model.encoder = Says(logits)
            q = logits.softmax(1)
            bound = (q * fit).sum(1) - model.rate(model.raw(x))
            assert (bound <= truth + 1e-4).all()
            assert torch.allclose(bound, truth, atol=1e-3) == tight


def test_the_terms_of_a_discrete_vae_are_draws_of_the_bound():
    logits = torch.randn(1, 6)
    model, x = DiscreteVAE(Says(logits), Place(), 6, 3), images(1)
    with torch.no_grad():
        many = [model.terms(x.expand(500, -1, -1, -1))["distortion"] for _ in range(8)]
        tokens = torch.arange(6)[:, None].expand(6, 49)
        fit = -model.seen(tokens).log_prob(x.expand(6, -1, -1, -1))
        truth = (logits.softmax(1) * fit).sum()
    drawn = torch.cat(many)
    assert abs(drawn.mean() - truth) < 4 * drawn.std() / len(drawn) ** 0.5


def test_the_largest_of_logits_and_gumbel_noise_is_a_draw_of_the_softmax():
    logits, n = torch.tensor([0.0, 1.0, -2.0, 0.5]), 100_000
    chosen = (logits + gumbel_like(logits.expand(n, -1))).argmax(1)
    share, law = torch.bincount(chosen) / n, logits.softmax(0)
    assert ((share - law).abs() < 4 * (law * (1 - law) / n).sqrt()).all()


def test_a_cold_gumbel_softmax_is_one_vector_and_a_hot_one_the_mean_of_all():
    model = DiscreteVAE(nn.Identity(), nn.Identity(), 6, 3)
    logits = torch.randn(40, 49, 6)
    cold, hot = model.relaxed(logits, 1e-4), model.relaxed(logits, 1e6)
    book = model.codebook.expand(40, 6, 3)
    assert (torch.cdist(cold, book).amin(2) < 1e-2).float().mean() > 0.999
    torch.testing.assert_close(hot, model.codebook.mean(0).expand(40, 49, 3), atol=1e-3, rtol=0)


def test_the_temperature_falls_by_one_factor_and_then_stays():
    found = [temperature_at(step, 2.0, 0.5, 100) for step in (0, 50, 100, 1000)]
    assert found == pytest.approx([2.0, 1.0, 0.5, 0.5])


def test_finite_scalars_count_all_their_symbols():
    model = FiniteScalars(nn.Identity(), nn.Identity(), (3, 2, 4))
    expected = torch.tensor([*itertools.product(range(3), range(2), range(4))]).float()
    tokens = torch.arange(24)
    torch.testing.assert_close(model.grid, expected)
    share = (expected + 0.5) / torch.tensor([3.0, 2, 4])  # the middle of each level
    assert (model.choose(share.logit()) == tokens).all()
    assert model.vectors(tokens).amin(0).tolist() == [-1.0] * 3
    assert model.vectors(tokens).amax(0).tolist() == [1.0] * 3
    wild = torch.tensor([[-1e4, 1e4, 0.0]])
    assert model.rounded(wild)[0, :2].tolist() == [0.0, 1.0]


def test_losses_and_terms_speak_of_one_model():
    x = images()
    losses: Any = (vector_quantised, gumbel_softmax, finite_scalars)
    for model, loss in zip(all_models(), losses, strict=True):
        model.eval()
        found, terms = loss(model, (x,), 0), model.terms(x)
        assert found["loss"].shape == (4,) and terms.keys() == {"distortion", "rate"}
        if not isinstance(model, DiscreteVAE):
            torch.testing.assert_close(found["distortion"], terms["distortion"])
            torch.testing.assert_close(terms["rate"], torch.full((4,), 49 * math.log(6)))
        found["loss"].mean().backward()
        assert all(p.grad is not None for p in model.encoder.parameters())
        assert model.sample(3).shape == (3, 1, 28, 28)
        assert model.code(x).shape == (4, 49 * model.vectors(model.tokens(x)).shape[2])


def test_a_prior_over_codes_sums_to_one():
    """All 81 grids of 2 x 2 places with three symbols."""
    model = ImageGPT(16, 1, block=1, window=1, side=2, vocabulary=3)
    grids = torch.tensor([*itertools.product(range(3), repeat=4)])
    logits = model(grids).log_softmax(2)
    total = logits.gather(2, grids[..., None]).sum((1, 2)).exp().sum()
    assert total.item() == pytest.approx(1.0, abs=1e-5)


def test_a_prior_over_codes_sees_no_later_code_and_draws_symbols():
    model = CodePrior(5, 16, 1)
    tokens = torch.randint(5, (2, 49))
    later = tokens.clone()
    later[:, 30:] = (later[:, 30:] + 1) % 5
    torch.testing.assert_close(model(tokens)[:, :31], model(later)[:, :31])
    assert (model(tokens)[:, 31:] != model(later)[:, 31:]).any()
    drawn = model.sample(6)
    assert drawn.shape == (6, 49) and drawn.dtype == torch.int64
    assert drawn.min() >= 0 and drawn.max() < 5


def test_matching_is_the_best_of_all_permutations():
    table = torch.randint(0, 50, (5, 5))
    best = max(
        itertools.permutations(range(5)), key=lambda p: sum(table[i, p[i]] for i in range(5))
    )
    assert measured.matched(table).tolist() == list(best)
    many = torch.tensor([[1, 5], [6, 2], [0, 3]])
    assert measured.matched(many).tolist() == [1, 0, 1]


def test_a_table_counts_pairs_and_purity_is_the_share_of_the_commonest():
    clusters, labels = torch.randint(4, (300,)), torch.randint(3, (300,))
    table = measured.contingency(clusters, labels)
    for k, y in itertools.product(range(4), range(3)):
        assert table[k, y] == ((clusters == k) & (labels == y)).sum()
    loop = sum(max((labels[clusters == k] == y).sum().item() for y in range(3)) for k in range(4))
    assert measured.purity(table) == pytest.approx(loop / 300)
    wide = measured.contingency(clusters, labels, 7)  # clusters that no example is in, too
    assert wide.shape == (7, 3) and torch.equal(wide[:4], table) and not wide[4:].any()
    assert len(measured.matched(wide)) == 7
    renamed = measured.agreement((labels + 1) % 3, labels)
    assert renamed == pytest.approx({"accuracy": 1, "purity": 1, "NMI": 1, "ARI": 1})


@pytest.mark.parametrize("clusters", [[0, 1, 2, 1, 0] * 20, [5, *[2] * 99], [3, 1] * 50])
def test_the_silhouette_is_scikit_learns(clusters):
    points, clusters = torch.randn(100, 4).double(), torch.tensor(clusters)
    each = np.asarray(silhouette_samples(points.numpy(), clusters.numpy()))
    found = measured.silhouette(measured.distances(points), clusters)
    assert found.value == pytest.approx(each.mean(), abs=1e-10)
    assert found.error == pytest.approx(each.std(ddof=1) / 10, abs=1e-10)
    assert measured.silhouette(measured.distances(points), 0 * clusters).value == 0


def test_the_perplexity_of_k_codes_used_equally_is_k():
    tokens = torch.arange(12).repeat(5, 4)
    assert measured.perplexity(tokens, 20).value == pytest.approx(12)
    rows = torch.distributions.Categorical(torch.tensor([0.7, 0.2, 0.1])).sample((4000, 10))
    p = np.bincount(rows.flatten()) / rows.numel()
    assert measured.perplexity(rows, 3).value == pytest.approx(math.exp(-(p * np.log(p)).sum()))
    one, many = measured.perplexity(rows[:1000], 3), measured.perplexity(rows, 3)
    assert one.error == pytest.approx(2 * many.error, rel=0.1)


def test_impossible_codes_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="vocabulary must be 2 or more, got 1"):
        vq(codes=1)
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1.0"):
        vq(decay=1.0)
    with pytest.raises(ValueError, match="levels must be two or more"):
        FiniteScalars(nn.Identity(), nn.Identity(), (3, 1))
    with pytest.raises(ValueError, match="needs clusters"):
        measured.contingency(torch.zeros(3).long(), torch.zeros(2).long())
