"""Learned priors and sparse codes against closed forms, enumeration and scikit-learn."""

import math
from typing import Any

import pytest
import torch
from sklearn.linear_model import Lasso
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal
from torch.nn import functional as F

from companion.experiments import layered_prior, learned_prior, sc_vae
from companion.metrics import importance_weighted_nll
from companion.models.priors import (
    GaussianMixture,
    LearnedPriorHierarchy,
    LearnedPriorVAE,
    MixturePrior,
    VampPrior,
    posteriors_at,
)
from companion.models.sparse import SparseAutoencoder
from companion.nets.sparse import LISTA, fista, ista, lasso, soft_threshold

SHAPE = (1, 8, 8)


def parts(k: int = 30, d: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Means, log-variances and log-weights of a random mixture."""
    torch.manual_seed(0)
    mean, log_variance = torch.randn(2, k, d, dtype=torch.float64)
    return mean, log_variance, torch.randn(k, dtype=torch.float64).log_softmax(0)


def oracle(mean: Tensor, log_variance: Tensor, log_weight: Tensor) -> MixtureSameFamily:
    """The same mixture, by torch."""
    each = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    return MixtureSameFamily(Categorical(logits=log_weight), each)


def test_the_fused_density_is_that_of_torch():
    z = torch.randn(4, 50, 5, dtype=torch.float64)
    ours, theirs = GaussianMixture(*parts()), oracle(*parts())
    torch.testing.assert_close(ours.log_prob(z), theirs.log_prob(z))
    single = GaussianMixture(*(p.float() for p in parts())).log_prob(z.float())
    torch.testing.assert_close(single.double(), theirs.log_prob(z), rtol=1e-4, atol=1e-4)


def test_the_fused_density_stays_exact_in_single_precision_where_posteriors_are_sharp():
    """Squares of z times precisions cancel: variances of e^-6, codes of a few units."""
    mean, _, weight = parts(200, 40)
    sharp = torch.full_like(mean, -6)
    z = mean[:50] + 0.05 * torch.randn(50, 40, dtype=torch.float64)
    ours = GaussianMixture(mean.float(), sharp.float(), weight.float()).log_prob(z.float())
    torch.testing.assert_close(
        ours.double(), oracle(mean, sharp, weight).log_prob(z), rtol=1e-3, atol=0.05
    )


def test_draws_have_the_moments_of_the_mixture():
    draws = GaussianMixture(*parts()).sample((100_000,))
    mean, variance = oracle(*parts()).mean, oracle(*parts()).variance
    error = (variance / len(draws)).sqrt()
    assert ((draws.mean(0) - mean).abs() < 4.5 * error).all()
    torch.testing.assert_close(draws.var(0), variance, rtol=0.05, atol=0)


def test_a_mixture_refuses_parts_that_do_not_fit():
    mean, log_variance, weight = parts()
    with pytest.raises(ValueError, match="needs means"):
        GaussianMixture(mean, log_variance[:3], weight)
    for law in (lambda: MixturePrior(0, 2), lambda: VampPrior(0)):
        with pytest.raises(ValueError, match="at least 1 component"):
            law()


def small(law: nn.Module) -> Any:
    """A VAE of images of 8 x 8, with two latent dimensions."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    decoder = nn.Sequential(nn.Linear(2, 64), nn.Unflatten(1, SHAPE))
    return LearnedPriorVAE(encoder, decoder, 2, law)


def test_a_vamp_prior_is_the_mixture_of_its_posteriors():
    model = small(VampPrior(6, SHAPE))
    z = torch.randn(20, 2)
    with torch.no_grad():
        laws = model.encode(model.learned.inputs())
        each = laws.log_prob(z[:, None])  # (20, 6)
        expected = each.logsumexp(1) - math.log(6)
        torch.testing.assert_close(model.prior().log_prob(z), expected)
        aggregate = posteriors_at(model, model.learned.inputs(), batch=4)
        torch.testing.assert_close(aggregate.log_prob(z), expected)


@pytest.mark.parametrize("law", [VampPrior(6, SHAPE), MixturePrior(6, 2)])
def test_the_rate_at_draws_has_the_mean_kl(law):
    """Against quadrature on a fine grid of the plane."""
    model, x = small(law), torch.rand(1, *SHAPE)
    side = torch.linspace(-12, 12, 1201)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        q, p = model.encode(x), model.prior()
        log_q = q.log_prob(grid)
        cell = (side[1] - side[0]) ** 2
        exact = (log_q.exp() * (log_q - p.log_prob(grid))).sum() * cell
        rates = model.terms(x.expand(20_000, *SHAPE))["rate"].double()
    error = rates.std() / len(rates) ** 0.5
    assert abs(rates.mean() - exact) < 4 * error + 1e-3


def test_the_importance_weighted_estimate_finds_the_likelihood_of_a_learned_prior():
    """Against quadrature of p(x, z) over the plane of codes."""
    model, x = small(VampPrior(6, SHAPE)), (torch.rand(4, *SHAPE) < 0.5).float()
    side = torch.linspace(-8, 8, 161)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        law, log_p = model.decode(grid), model.prior().log_prob(grid)
        logits = law.logits.flatten(1)
        log_x = x.flatten(1) @ logits.T - F.softplus(logits).sum(1)  # (4, G)
        exact = (log_x + log_p).logsumexp(1) + 2 * math.log(side[1] - side[0])
    torch.manual_seed(0)
    found = importance_weighted_nll(model, x, 20_000)
    assert found.value == pytest.approx(-exact.mean().item(), abs=0.02)


def test_pseudo_inputs_learn_from_the_rate_alone():
    model, x = small(VampPrior(6, SHAPE)), torch.rand(5, *SHAPE)
    terms = model.terms(x)
    for name, learns in (("distortion", False), ("rate", True)):
        [found] = torch.autograd.grad(
            terms[name].sum(), [model.learned.logits], retain_graph=True, allow_unused=True
        )
        assert (found is not None and bool(found.abs().sum() > 0)) == learns


def test_a_ladder_reads_its_top_layer_as_its_inference_does():
    model: Any = layered_prior(components=5, latents=(4, 3), hidden=16).model
    assert isinstance(model, LearnedPriorHierarchy)
    x = torch.rand(6, 1, 28, 28)
    top = model.infer(x)[1][-1].base_dist
    mean, log_variance = model.top(x).chunk(2, -1)
    torch.testing.assert_close(top.mean, mean)
    torch.testing.assert_close(top.variance.log(), log_variance, rtol=1e-4, atol=1e-4)
    assert model.terms(x)["rate 2"].shape == (6,)
    with pytest.raises(ValueError, match="no function of the image"):
        LearnedPriorHierarchy(
            model.trunk, model.decoder, (4, 3), 16, False, learned=MixturePrior(5, 3)
        )


def test_an_unknown_prior_is_refused():
    for experiment in (learned_prior, layered_prior):
        with pytest.raises(ValueError, match="no prior is called 'vam'"):
            experiment(prior="vam")


# Sparse codes


def problems(n: int = 12) -> tuple[Tensor, Tensor]:
    """A dictionary of 40 atoms in 20 dimensions, and what is to be coded."""
    torch.manual_seed(0)
    dictionary = F.normalize(torch.randn(20, 40, dtype=torch.float64), dim=0)
    return dictionary, torch.randn(n, 20, dtype=torch.float64)


def by_scikit_learn(dictionary: Tensor, y: Tensor, lam: float) -> Tensor:
    """The lasso's minimisers by coordinate descent."""
    fit = Lasso(alpha=lam / len(dictionary), fit_intercept=False, tol=1e-12, max_iter=200_000)
    return torch.from_numpy(fit.fit(dictionary.numpy(), y.T.numpy()).coef_)


@pytest.mark.parametrize("lam", [0.3, 1.0])
def test_ista_and_fista_end_where_scikit_learn_does(lam):
    dictionary, y = problems()
    expected = by_scikit_learn(dictionary, y, lam)
    least = lasso(y, dictionary, expected, lam)
    for solve, steps in ((ista, 8000), (fista, 1500)):
        found = solve(y, dictionary, lam, steps)[-1]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(lasso(y, dictionary, found, lam), least, rtol=1e-8, atol=1e-9)


def test_the_soft_threshold_is_that_of_torch():
    v = torch.linspace(-3, 3, 601, dtype=torch.float64)
    torch.testing.assert_close(soft_threshold(v, 0.7), F.softshrink(v, 0.7))


def test_ista_never_rises():
    dictionary, y = problems()
    path = ista(y, dictionary, 0.1, 300)
    values = torch.stack([lasso(y, dictionary, z, 0.1) for z in path])
    assert (values.diff(dim=0) < 1e-12).all()


@pytest.mark.parametrize("shared", [True, False])
def test_lista_begins_as_ista(shared):
    dictionary, y = problems()
    for steps in (1, 2, 7):
        net = LISTA(dictionary, 0.2, steps, shared)
        torch.testing.assert_close(net(y), ista(y, dictionary, 0.2, steps)[-1])
        assert len(net.into) == (1 if shared else steps)


def test_a_lasso_that_cannot_be_is_refused():
    dictionary, y = problems()
    for wrong in (
        lambda: ista(y, dictionary, -0.1, 3),
        lambda: fista(y, dictionary, math.nan, 3),
        lambda: LISTA(dictionary, 0.1, 0),
    ):
        with pytest.raises(ValueError, match="must be 0 or above"):
            wrong()


def test_the_code_of_an_sc_vae_is_zero_exactly_where_no_atom_reaches_the_threshold():
    """Of half of the images: the threshold is moved to the median of what atoms reach."""
    model: Any = sc_vae(hidden=16, features=8, atoms=20, steps=3).model
    assert isinstance(model, SparseAutoencoder)
    x = torch.rand(200, 1, 28, 28)
    with torch.no_grad():
        reach = F.linear(model.encoder(x), model.sparse.into[0]).abs().amax(1)
        model.sparse.threshold.fill_(reach.median().item())
        zero = (model.code(x) == 0).all(1)
    assert (zero == (reach <= reach.median())).all()
    assert 90 < zero.sum() < 110


def test_the_terms_of_an_sc_vae_are_minus_the_log_joint():
    model: Any = sc_vae(hidden=16, features=8, atoms=20, lam=0.4).model
    x = torch.rand(5, 1, 28, 28).round()
    with torch.no_grad():
        e, z = model.encoder(x), model.code(x)
        terms = model.terms(x)
        mean = z @ model.dictionary.T
        log_e = Normal(mean, 1.0).log_prob(e).sum(1) + 4 * math.log(2 * math.pi)
        log_z = torch.distributions.Laplace(0.0, 1 / 0.4).log_prob(z).sum(1) + 20 * math.log(5)
    torch.testing.assert_close(terms["misfit"], -log_e, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms["price"], -log_z, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(terms["distortion"], -model.decode(z).log_prob(x))
    torch.testing.assert_close(model.dictionary.norm(dim=0), torch.ones(20))
    with pytest.raises(ValueError, match="codes must have 20 numbers"):
        model.decode(z[:, :3])
