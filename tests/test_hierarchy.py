"""Layers of latent variables against quadrature, enumeration and Gaussian closed forms."""

import math
from itertools import product as words
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from companion.data.binary import load_binary
from companion.experiments import EXPERIMENTS
from companion.experiments.hierarchy import binary_networks, layered_vae
from companion.metrics import importance_weighted_nll
from companion.models.hierarchy import Hierarchy, chain, normal, product, rate
from companion.models.made import MADE
from companion.models.vae import VAE
from companion.nets.dense import DenseDecoder, dense
from companion.objectives.hierarchy import guarded_elbo

N = 201  # points of the grid of each code
BITS = torch.tensor(list(words((0.0, 1.0), repeat=4))).view(16, 1, 2, 2)  # all images


def tiny(
    top_down: bool = True, skip: bool = False, latents=(1, 1), context=None, alpha=0.0
) -> Any:
    """A hierarchy of images of four pixels, with visible weights."""
    torch.manual_seed(3)
    decoder = DenseDecoder(sum(latents if skip else latents[:1]), [6], skip, (1, 2, 2))
    trunk = nn.Sequential(nn.Flatten(), dense(4, 6))
    model = Hierarchy(trunk, decoder, latents, 6, top_down, skip, context, alpha)
    for p in model.parameters():
        nn.init.normal_(p, std=0.7)
    for head, k in zip(model.heads, latents, strict=True):  # a wide q, whose weights are tame
        nn.init.normal_(head.weight, std=0.1)
        with torch.no_grad():
            head.bias[k:] = 3.0 if top_down else 1.0
    return model


def evidence(model: Hierarchy) -> torch.Tensor:
    """log p(x) of all 16 images, by a sum over a grid of both codes."""
    line = torch.linspace(-9, 9, N)
    step = (line[1] - line[0]).item()
    above = line[:, None]
    top = model.prior().log_prob(above) + math.log(step)  # (N,)
    law = model.below(0, above).base_dist
    first = torch.distributions.Normal(law.mean, law.stddev).log_prob(line) + math.log(step)
    weight = top[:, None] + first  # (N, N): z2, z1
    grid = [line.repeat(N)[:, None], line.repeat_interleave(N)[:, None]]
    found = []
    with torch.no_grad():
        for x in BITS:
            image = x.expand(N * N, 1, 2, 2)
            likelihood = model.decode(grid, image).log_prob(image).view(N, N)
            found.append((weight + likelihood).flatten().logsumexp(0))
    return torch.stack(found)


@pytest.mark.parametrize("top_down", [True, False])
@pytest.mark.parametrize("skip", [True, False])
def test_weights_average_to_the_evidence_that_quadrature_gives(top_down, skip):
    """And the law of images sums to one: sign and constants are right."""
    model = tiny(top_down, skip)
    exact = evidence(model)
    assert exact.logsumexp(0).item() == pytest.approx(0, abs=1e-3)  # the grid's own error
    torch.manual_seed(0)
    with torch.no_grad():
        ratio = (model.log_weights(BITS, 20_000) - exact).exp()
    error = ratio.std(0) / len(ratio) ** 0.5
    assert ((ratio.mean(0) - 1).abs() < 5 * error + 1e-3).all()


def test_a_context_is_part_of_the_law():
    """With a MADE beside the decoder all images still sum to one."""
    made = MADE(side=2, hidden=3)
    assert evidence(tiny(context=made)).logsumexp(0).item() == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("top_down", [True, False])
def test_the_mean_of_the_terms_is_the_mean_log_weight(top_down):
    """Closed rates and rates at the draw have one mean, that of -log w."""
    model = tiny(top_down, latents=(2, 2, 1))
    x = BITS[[3, 9]]
    torch.manual_seed(0)
    with torch.no_grad():
        terms = [torch.stack([*model.terms(x).values()]).sum(0) for _ in range(2000)]
        weights = -model.log_weights(x, 20_000)
    mean = torch.stack(terms)
    error = (mean.var(0) / 2000 + weights.var(0) / 20_000).sqrt()
    assert ((mean.mean(0) - weights.mean(0)).abs() < 5 * error).all()


def test_estimate_honours_its_count_and_falls_with_it():
    model, asked = tiny(), []
    weigh = model.log_weights
    model.log_weights = lambda x, n: (asked.append(n), weigh(x, n))[1]  # type: ignore
    torch.manual_seed(0)
    many = BITS.repeat(40, 1, 1, 1)
    found = [importance_weighted_nll(model, many, n).value for n in (1, 5, 50)]
    assert found[0] > found[1] > found[2]
    asked.clear()
    importance_weighted_nll(model, BITS, 1501, batch=16)
    assert sum(asked) == 1501 and max(asked) * 16 <= 2000


def test_middle_rate_of_a_bottom_up_q_can_be_negative_and_a_divergence_cannot():
    up, down = tiny(False), tiny(True)
    with torch.no_grad():
        for law in (up.heads[0], up.heads[1], up.priors[0][1]):
            nn.init.zeros_(law.weight)
            nn.init.zeros_(law.bias)
        up.priors[0][1].bias[1] = -4.0  # p(z1 | z2) = N(0, e^-4)
        up.heads[0].bias[1] = -3.9
        at_draws = torch.cat([up.terms(BITS)["rate 1"] for _ in range(50)])
        assert (at_draws < 0).any()
        for _ in range(20):
            assert (down.terms(BITS)["rate 1"] >= 0).all()


def test_product_is_the_exact_posterior_of_a_linear_layer():
    prior = normal(torch.tensor([[0.3, 1.2, -0.5, 0.4]]))
    said = normal(torch.tensor([[1.0, -2.0, 0.1, -0.7]]))
    x = torch.linspace(-12, 12, 4001)
    for k in range(2):
        p, s = (torch.distributions.Normal(q.mean[0, k], q.stddev[0, k]) for q in (prior, said))
        w = (p.log_prob(x) + s.log_prob(x)).softmax(0)
        mean = (w * x).sum()
        both = product(said, prior)
        assert both.mean[0, k].item() == pytest.approx(mean.item(), abs=1e-4)
        variance = (w * (x - mean) ** 2).sum().item()
        assert both.variance[0, k].item() == pytest.approx(variance, rel=1e-3)


def test_chain_is_a_walk_of_unit_variance_and_holds_up_the_rate():
    k, alpha = 5, 0.8
    law = chain(k, alpha, torch.zeros(1))
    torch.manual_seed(0)
    z = [torch.randn(200_000)]
    for _ in range(k - 1):
        z.append(alpha * z[-1] + (1 - alpha**2) ** 0.5 * torch.randn(200_000))
    drawn = torch.stack(z).cov()
    assert (drawn - law.covariance_matrix).abs().max() < 5 * 1.5 / 200_000**0.5
    best = torch.diag(1 / law.precision_matrix.diagonal())
    least = kl_divergence(MultivariateNormal(torch.zeros(k), best), law).item()
    floor = ((k - 2) * math.log(1 + alpha**2) - math.log(1 - alpha**2)) / 2
    assert least == pytest.approx(floor, rel=1e-4)
    for _ in range(20):
        other = best * torch.rand(k).add(0.5).diag()
        assert kl_divergence(MultivariateNormal(torch.randn(k), other), law).item() > floor


def test_a_rate_without_a_closed_form_has_its_mean():
    q, p = normal(torch.zeros(1, 10)), chain(5, 0.7, torch.zeros(1))
    exact = kl_divergence(MultivariateNormal(torch.zeros(5), torch.eye(5)), p)
    torch.manual_seed(0)
    z = q.sample(torch.Size((50_000,)))
    drawn = rate(z, q, p, True)[:, 0]
    assert abs(drawn.mean() - exact) < 5 * drawn.std() / 50_000**0.5


def test_what_is_held_stays_and_the_rest_is_drawn():
    model = tiny(skip=True)
    held = torch.full((50, 1), 0.7)
    for layer in (0, 1):
        z = model.generate(50, {layer: held})
        assert torch.equal(z[layer], held) and z[1 - layer].std() > 0.05
    first = [model.generate(4000, {1: torch.full((4000, 1), v)})[0].mean() for v in (-1.0, 1.0)]
    laws = [model.below(0, torch.tensor([[v]])) for v in (-1.0, 1.0)]
    for drawn, law in zip(first, laws, strict=True):
        assert abs(drawn - law.mean[0, 0]) < 5 * law.stddev[0, 0] / 4000**0.5


def test_free_nats_cost_nothing_and_do_not_pull():
    model = tiny(latents=(2, 2))
    x = (BITS,)

    def slopes(**words):
        torch.manual_seed(0)
        terms = guarded_elbo(model, x, 0, **words)
        parts = [*model.priors.parameters()]
        grads = torch.autograd.grad(terms["loss"].mean(), parts)
        return terms, torch.cat([g.flatten() for g in grads])

    plain, pull = slopes()
    much, none = slopes(free=100.0)
    torch.testing.assert_close(much["loss"], much["distortion"] + 200)
    assert pull.abs().max() > 0
    torch.manual_seed(0)  # only the way through the draw of z_1 is left
    distortion = model.terms(BITS)["distortion"].mean()
    alone = torch.autograd.grad(distortion, [*model.priors.parameters()])
    torch.testing.assert_close(none, torch.cat([g.flatten() for g in alone]))
    rates = plain["rate 1"] + plain["rate 2"]
    torch.testing.assert_close(plain["loss"], plain["distortion"] + rates)
    little, _ = slopes(free=1e-6)
    torch.testing.assert_close(little["loss"].mean(), plain["loss"].mean())


def test_annealing_raises_the_weight_to_one():
    model = tiny()
    for step, weight in ((0, 0.0), (5, 0.5), (10, 1.0), (50, 1.0)):
        torch.manual_seed(0)
        terms = guarded_elbo(model, (BITS,), step, warmup=10)
        rates = terms["rate 1"] + terms["rate 2"]
        torch.testing.assert_close(terms["loss"], terms["distortion"] + weight * rates)


def test_warmup_is_told_in_epochs_of_the_images_that_are_used():
    loss = layered_vae(images=5_000, warmup=4.0).players["vae"].loss
    assert loss.keywords["warmup"] == 200  # type: ignore[attr-defined]
    loss = layered_vae(warmup=1.0).players["vae"].loss
    assert loss.keywords["warmup"] == 600  # type: ignore[attr-defined]


def test_the_baseline_is_a_vae_whose_prior_others_may_replace():
    model = VAE(*binary_networks(3, 8), 3)
    x = torch.bernoulli(torch.full((4, 1, 28, 28), 0.2))
    assert model.log_weights(x, 5).shape == (5, 4)
    model.prior = lambda: chain(3, 0.5, x)  # type: ignore[method-assign]
    terms = model.terms(x)
    assert set(terms) == {"distortion", "rate"} and terms["rate"].isfinite().all()


def test_test_digits_are_drawn_once_and_training_digits_anew():
    recipe = EXPERIMENTS["binary_vae"]()
    data = load_binary("mnist")
    assert set(data.test[0].unique().tolist()) <= {0, 255}
    x = data.examples("train", 50)
    one, two = (recipe.augment(x)[0] for _ in range(2))
    assert set(one.unique().tolist()) <= {0.0, 1.0}
    if ((x[0] > 0) & (x[0] < 1)).any():
        assert not torch.equal(one, two)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda: tiny(latents=()), "needs latents"),
        (lambda: tiny(latents=(2, 0)), "needs latents"),
        (lambda: tiny(alpha=1.0), r"alpha in \[0, 1\)"),
        (lambda: layered_vae(free=-1.0), "warmup and free must be 0 or above"),
        (lambda: layered_vae(warmup=-1.0), "warmup and free must be 0 or above"),
        (lambda: guarded_elbo(tiny(), (BITS,), 0, -1), "warmup and free must be"),
        (lambda: tiny().sample(0), "n must be at least 1"),
        (lambda: tiny(context=MADE(side=2)).decode([torch.zeros(1, 1)] * 2), "needs the image"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(wrong, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        wrong()
    assert "\n" not in str(caught.value)


def test_a_skip_decoder_reads_the_code_at_every_layer():
    """Its Jacobian does not vanish when all hidden units are silenced."""
    decoder = DenseDecoder(2, [5, 5], skip=True, shape=(1, 2, 2))
    plain = DenseDecoder(2, [5, 5], skip=False, shape=(1, 2, 2))
    for net in (decoder, plain):
        with torch.no_grad():
            hidden: Any = net.layers[1:]
            for layer in hidden:
                layer.weight[:, :5] = 0
        jacobian = torch.autograd.functional.jacobian(net, torch.randn(1, 2))
        assert (jacobian.abs().max() > 0) == net.skip
