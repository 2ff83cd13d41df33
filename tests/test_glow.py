"""Glow: what starts from data, what is kept, what a class and a scale of the code are."""

import math

import pytest
import torch
from tiny_data import put_in_place
from torch.distributions import Normal

from companion.data.drawing import faces
from companion.experiments import face_glow, glow
from companion.models.glow import ActNorm, ClassPrior, Glow, Invertible1x1
from companion.tensors import pack, unpack
from companion.train import train

SMALL = {"steps": (1, 1), "widths": (8, 8)}


def faces_flow(bits: int = 5, classes: int = 0) -> Glow:
    """A small flow whose weights are not those of the start."""
    torch.manual_seed(0)
    flow = Glow((1, 8, 8), (1, 2), (4, 6), classes, bits)
    for weight in flow.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return flow.eval()


@pytest.mark.parametrize("shape", [(64, 3), (16, 3, 4, 5)])
def test_the_first_batch_comes_out_normalised_and_only_the_first_sets_anything(shape):
    torch.manual_seed(0)
    layer, x = ActNorm(3).double(), 5 + 2 * torch.randn(shape).double()
    z = layer(x)[0].transpose(0, 1).flatten(1)
    torch.testing.assert_close(z.mean(1), torch.zeros(3).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(z.var(1, correction=0), torch.ones(3).double())
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(7 * x - 1)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())


def test_the_scale_is_right_where_the_mean_is_ten_thousand_deviations():
    """In float32 E x^2 - (E x)^2 is off by up to 10 here: a step of float32 at 1e8 is 8."""
    torch.manual_seed(0)
    layer, x = ActNorm(3), 1e4 + torch.randn(64, 3, 8, 8)
    deviation = x.double().transpose(0, 1).flatten(1).std(1, correction=0)
    layer(x)
    torch.testing.assert_close(layer.log_scale.exp() * deviation.float(), torch.ones(3))


def test_measuring_starts_nothing_and_a_copy_is_as_far_as_its_original():
    x = 5 + torch.randn(8, 3, 2, 2)
    layer = ActNorm(3).eval()
    assert torch.equal(layer(x)[0], x) and not layer.started
    layer.train()(x)
    copy = ActNorm(3)
    copy.load_state_dict(unpack(pack(layer.state_dict())))
    assert copy.started and torch.allclose(copy(9 * x)[0], layer(9 * x)[0], rtol=1e-2)


def test_a_channel_that_never_varies_stays_finite():
    z, log_det = ActNorm(2)(torch.zeros(4, 2, 3, 3))
    assert z.isfinite().all() and log_det.isfinite().all()


@pytest.mark.parametrize("experiment", [glow, face_glow])
def test_a_training_that_is_interrupted_goes_on_as_if_it_was_not(
    experiment, monkeypatch, tmp_path
):
    put_in_place(monkeypatch)
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "parts"))
    train(experiment, 1, **SMALL)
    parts = train(experiment, 2, **SMALL).model.state_dict()
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path / "whole"))
    run = train(experiment, 2, **SMALL)
    assert all(torch.equal(parts[name], value) for name, value in run.model.state_dict().items())
    started = [value for name, value in parts.items() if name.endswith("started")]
    assert len(started) == 2 and all(started)
    assert math.isfinite(run.metrics["nll"]["value"])


def test_a_convolution_starts_orthogonal_and_keeps_its_permutation_and_signs():
    torch.manual_seed(0)
    layer = Invertible1x1(6).double()
    W = layer.matrix()
    torch.testing.assert_close(W @ W.T, torch.eye(6).double(), atol=1e-5, rtol=0)
    assert layer.log_det(torch.zeros(2, 6, 3, 3)).abs().max() < 1e-4
    assert {"order", "sign"} == {name for name, _ in layer.named_buffers()}
    for weight in layer.parameters():
        weight.data += torch.randn_like(weight)
    sign = torch.linalg.slogdet(layer.matrix())
    assert sign.sign == torch.linalg.slogdet(W).sign  # no step can turn the orientation
    torch.testing.assert_close(sign.logabsdet, layer.log_size.sum())


def test_a_class_has_its_own_normal_law_and_unknown_classes_count_equally():
    flow = faces_flow(8, classes=3)
    y, labels = 256 * torch.rand(5, 1, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    z, log_det = flow(y)
    *fine, top = flow.parts(z)
    law = Normal(flow.prior.mean[labels], flow.prior.log_scale[labels].exp())
    rest = Normal(0.0, 1.0).log_prob(torch.cat(fine, 1)).sum(1) + log_det
    expected = law.log_prob(top).sum(1) + rest
    torch.testing.assert_close(flow.log_prob(y, labels), expected)
    each = torch.stack([flow.log_prob(y, torch.full((5,), k)) for k in range(3)])
    torch.testing.assert_close(flow.log_prob(y).exp(), each.exp().mean(0))
    torch.testing.assert_close(flow.log_prob(y), each.logsumexp(0) - math.log(3))


def test_draws_of_a_class_have_its_mean_and_scale():
    torch.manual_seed(0)
    prior = ClassPrior(2, 4)
    prior.mean.data, prior.log_scale.data = torch.randn(2, 4), 0.5 * torch.randn(2, 4)
    labels = torch.ones(40_000, dtype=torch.long)
    drawn = prior.place(torch.randn(40_000, 4), labels)
    error = prior.log_scale[1].exp() / 200  # one standard error of the mean
    assert ((drawn.mean(0) - prior.mean[1]).abs() < 4.5 * error).all()
    assert (drawn.std(0) / prior.log_scale[1].exp() - 1).abs().max() < 4.5 / 80_000**0.5
    flow = faces_flow(8, classes=3)
    assert flow.sample(4).shape == (4, 1, 8, 8)
    same = [flow.sample(2, 0.0, labels=torch.tensor([k, k])) for k in (0, 1)]
    assert torch.equal(same[0][0], same[0][1]) and not torch.equal(*same)


@pytest.mark.parametrize("bits", [1, 5, 8])
def test_every_picture_comes_back_to_its_level(bits):
    flow = faces_flow(bits).double()
    x = torch.cat([torch.randint(256, (6, 1, 8, 8)), torch.full((1, 1, 8, 8), 255)])
    z = flow.code(x)
    assert z.shape == (7, 64) and [part.shape[1] for part in flow.parts(z)] == [32, 32]
    levels = 2**bits - 1
    assert torch.equal((flow.pictures(z) * levels).round().long(), x // 2 ** (8 - bits))


def test_the_lowest_bits_are_thrown_away():
    flow, x = faces_flow(5), torch.randint(32, (4, 1, 8, 8))
    found = []
    for low in (0, 7):
        torch.manual_seed(0)
        found.append(flow.terms(8 * x + low)["nll"])
    assert torch.equal(*found)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Glow((1, 28, 28), (1, 1, 1), (4, 4, 4)), "2 to the number of scales divides"),
        (lambda: Glow((1, 8, 8), (1, 1), (4,)), "a width for each scale"),
        (lambda: Glow((1, 8, 8), (), ()), "steps >= 1"),
        (lambda: Glow((1, 8, 8), (1, 0), (4, 4)), "steps >= 1"),
        (lambda: Glow((1, 8, 8), (1,), (4,), bits=9), "bits must be 1 to 8"),
        (lambda: face_glow(size=33), "2 to the number of scales divides"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()


def test_images_must_be_whole_numbers():
    with pytest.raises(TypeError, match="whole numbers"):
        faces_flow().terms(torch.rand(2, 1, 8, 8))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 64, 64)])
def test_images_of_every_size_and_colour_of_the_book_have_a_flow(shape):
    flow = Glow(shape, (1, 1), (4, 4))
    x = torch.randint(256, (2, *shape))
    assert flow.terms(x)["nll"].isfinite().all() and flow.sample(1).shape == (1, *shape)


def test_small_faces_are_the_same_however_many_are_drawn_at_once(monkeypatch):
    many = faces.draw(5, 3, 32)[0]
    monkeypatch.setattr(faces, "PIXELS", 32 * 32)
    assert torch.equal(faces.draw(5, 3, 32)[0], many)
