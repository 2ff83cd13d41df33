"""Networks of pixels and their certified optimum, against enumeration and other libraries."""

import math
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from companion.measures.digits import pieces
from companion.models.logistic import count, entropy, features_of, fit, forget, newton
from companion.models.pixels import PixelNetwork, quarter_plane, unique
from companion.worlds import tiny

HALF_PLANE = ((0, 1), (0, 3), (1, -2), (1, 0), (2, -1))


def made(parents, hidden=(), position=False, side=3, seed=0) -> PixelNetwork:
    """A network with large random weights, in float64."""
    network = PixelNetwork(parents, hidden, position, nn.SiLU, side).double()
    draw = torch.Generator().manual_seed(seed)
    for weight in network.parameters():
        nn.init.normal_(weight, std=1.5, generator=draw)
    return network


def all_images(side: int) -> torch.Tensor:
    """Every binary image: (2 ** side ** 2, 1, side, side)."""
    return torch.tensor([*product((0.0, 1.0), repeat=side**2)]).double().view(-1, 1, side, side)


def naive_nll(network: PixelNetwork, image: torch.Tensor) -> float:
    """Pixel by pixel from the definition, with nothing shared."""
    side, total = network.side, 0.0
    for r, c in product(range(side), repeat=2):
        inputs = []
        for up, left in network.parents:
            inside = 0 <= r - up < side and 0 <= c - left < side
            inputs.append(image[0, r - up, c - left].item() if inside else 0.0)
        if network.position:
            inputs += [c / (side - 1), r / (side - 1)]
        logit = network.conditional(torch.tensor(inputs).double())[0]
        total -= F.logsigmoid(logit if image[0, r, c] else -logit).item()
    return total


KINDS = pytest.mark.parametrize(
    ("parents", "hidden", "position"),
    [
        (quarter_plane(2), (), False), (quarter_plane(3), (4,), True),
        (quarter_plane(4), (3, 3), False), (HALF_PLANE, (4,), True),
    ],
)  # fmt: skip


def test_blocks_have_3_8_and_15_parents_above_and_to_the_left():
    assert [len(quarter_plane(k)) for k in (2, 3, 4)] == [3, 8, 15]
    assert quarter_plane(2) == ((0, 1), (1, 0), (1, 1))
    for k in (2, 3, 4):
        block = set(product(range(k), repeat=2)) - {(0, 0)}
        assert set(quarter_plane(k)) == block


@KINDS
def test_the_law_sums_to_one_and_is_that_of_the_definition(parents, hidden, position):
    network, images = made(parents, hidden, position), all_images(3)
    nll = network.terms(images)["nll"]
    torch.testing.assert_close(torch.exp(-nll).sum().item(), 1.0, rtol=1e-12, atol=0)
    for i in (0, 77, 300, 511):
        assert nll[i].item() == pytest.approx(naive_nll(network, images[i]), rel=1e-12)


@KINDS
def test_a_logit_depends_on_no_later_pixel_and_on_no_other_than_the_parents(
    parents, hidden, position
):
    network = made(parents, hidden, position, side=6)
    image = torch.randint(0, 2, (1, 1, 6, 6), generator=torch.Generator().manual_seed(1)).double()
    before = network.logits(image)[0, 0]
    for r, c in product(range(6), repeat=2):
        other = image.clone()
        other[0, 0, r, c] = 1 - other[0, 0, r, c]
        moved = (network.logits(other)[0, 0] - before).abs() > 1e-12
        for y, x in moved.nonzero().tolist():
            assert (y - r, x - c) in parents


@KINDS
def test_samples_have_the_law_of_the_model(parents, hidden, position):
    """Chi-squared of 20,000 draws over all 512 images, cells of fewer than 5 put together."""
    network, n = made(parents, hidden, position), 20_000
    law = torch.exp(-network.terms(all_images(3))["nll"]).detach()
    drawn = network.sample(n, torch.Generator().manual_seed(3)).flatten(1).long()
    states = (drawn * 2 ** torch.arange(8, -1, -1)).sum(1)
    seen = torch.bincount(states, minlength=512).double()
    large = n * law >= 5
    expected = torch.cat([n * law[large], n * law[~large].sum()[None]])
    found = torch.cat([seen[large], seen[~large].sum()[None]])
    keep = expected > 0
    chi = ((found - expected)[keep] ** 2 / expected[keep]).sum().item()
    freedom = int(keep.sum()) - 1
    assert chi < freedom + 5 * math.sqrt(2 * freedom)


def test_the_front_sampler_repeats_a_sequential_one_given_the_same_numbers():
    """With certain bets there is one image, along fronts as pixel by pixel."""
    network = made(HALF_PLANE, (), True, side=7)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(400)
    image = torch.zeros(1, 1, 7, 7).double()
    for r, c in product(range(7), repeat=2):
        image[0, 0, r, c] = (network.logits(image)[0, 0, r, c] > 0).double()
    assert torch.equal(network.sample(2)[:1].double(), image)


@pytest.mark.parametrize("kinds", [40, 10**9])
def test_distinct_codes_are_found_by_marking_and_by_sorting(kinds):
    codes = torch.randint(0, 40, (5, 6))
    distinct, place = unique(codes, kinds)
    assert torch.equal(distinct, codes.unique()) and torch.equal(distinct[place], codes)


def pictures(n: int, side: int = 8, seed: int = 0) -> torch.Tensor:
    """Blotches: noise that is smoothed and cut, (n, 1, side, side)."""
    noise = torch.randn(n, 1, side + 2, side + 2, generator=torch.Generator().manual_seed(seed))
    return (F.avg_pool2d(noise, 3, 1) > 0.1).float()


@pytest.mark.parametrize(("k", "position"), [(2, False), (3, True), (4, False)])
def test_the_certified_optimum_is_that_of_scikit_learn(k, position):
    """Its own loss at its own weights: ours is never above, and the weights agree."""
    from sklearn.linear_model import LogisticRegression

    images, network = pictures(300), PixelNetwork(quarter_plane(k), position=position, side=8)
    optimum = fit(network, count(network, images))
    assert optimum.certified and optimum.gradient <= 1e-8 and optimum.gap < 1e-12
    x = network.features(network.codes(images).flatten())
    y = images.flatten()
    theirs = LogisticRegression(C=1e12, tol=1e-10, max_iter=5000).fit(x, y)
    found = [*theirs.intercept_, *theirs.coef_[0]]
    assert optimum.weights.tolist() == pytest.approx(found, abs=2e-3)
    nll = network.terms(images.double())["nll"].mean().item()
    assert nll == pytest.approx(optimum.loss, rel=1e-12)
    z = torch.tensor(theirs.decision_function(x))
    assert optimum.loss <= (F.softplus(z).sum() - (z * y).sum()).item() / 300 + 1e-9


def test_counts_can_be_forgotten_but_nothing_learned_from_it():
    images = pictures(50)
    large = PixelNetwork(quarter_plane(4), position=True, side=8)
    counted = count(large, images)
    for k, position in product((2, 3, 4), (False, True)):
        small = PixelNetwork(quarter_plane(k), position=position, side=8)
        for ours, theirs in zip(forget(counted, large, small), count(small, images), strict=True):
            torch.testing.assert_close(ours, theirs)
    with pytest.raises(ValueError, match="sees something new"):
        forget(count(small, images), small, PixelNetwork(HALF_PLANE, side=8))


def test_weighted_images_count_as_often_as_their_weight_says():
    images, network = pictures(6), PixelNetwork(quarter_plane(3), position=True, side=8)
    often = count(network, images.repeat_interleave(torch.tensor([1, 2, 3, 1, 2, 1]), 0))
    weights = torch.tensor([1, 2, 3, 1, 2, 1]).double() / 10
    for ours, theirs in zip(count(network, images, weights), often, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_floor_is_the_best_table_and_no_network_is_below_it():
    images, network = pictures(60), PixelNetwork(quarter_plane(3), side=8)
    counted = count(network, images)
    floor = entropy(counted)
    p = (counted.ink / counted.seen).clamp(1e-300, 1 - 1e-16)
    by_hand = -(counted.ink * p.log() + (counted.seen - counted.ink) * (1 - p).log()).sum()
    assert floor == pytest.approx(by_hand.item(), rel=1e-9)
    assert floor < fit(network, counted).loss


def test_separable_data_are_not_certified():
    network = PixelNetwork(quarter_plane(2), side=4)
    stripes = torch.zeros(1, 1, 4, 4)
    stripes[..., ::2] = 1.0  # ink exactly where the left neighbour is paper
    stripes[..., 1:, ::2] = 1.0
    counted = count(network, stripes)
    optimum = newton(features_of(network, counted), counted)
    assert not optimum.certified and optimum.gap == math.inf
    assert optimum.trace[-1][2] > 10 and optimum.trace[-1][0] < 1e-3


def test_the_full_graph_knows_the_tiny_world_and_fewer_parents_know_less():
    """KL to the truth falls with the block; every pixel's own table is the best of its graph."""
    world, images = tiny.tiny_digits(), tiny.decode(torch.arange(tiny.STATES))
    found = []
    for k in (2, 3, 4):
        network = PixelNetwork(quarter_plane(k), position=True, side=4)
        counted = count(network, images, world.probs)
        assert counted.seen.sum().item() == pytest.approx(16)
        table, line = entropy(counted) - world.entropy, fit(network, counted).loss - world.entropy
        assert 0 < table < line
        nll = network.terms(images.double())["nll"]
        kl = (world.probs * (world.probs.log() + nll)).sum().item()
        assert kl == pytest.approx(line, abs=1e-9)
        found.append(table)
    assert found[0] > found[1] > found[2]


def test_pieces_touch_along_edges_and_corners_within_one_image():
    images = torch.zeros(3, 1, 4, 4)
    images[0, 0, 0, 0] = images[0, 0, 1, 1] = images[0, 0, 3, 3] = 1
    images[1, 0, 3] = 1
    assert pieces(images).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: quarter_plane(5), "2, 3 or 4 pixels a side, got 5"),
        (lambda: PixelNetwork(((0, 0),)), "come later"),
        (lambda: PixelNetwork(((0, -1),)), "come later"),
        (lambda: PixelNetwork(()), "got 0 parents"),
        (lambda: PixelNetwork(quarter_plane(2)).terms(torch.zeros(1, 1, 9, 9)), "28, 28"),
        (lambda: PixelNetwork(quarter_plane(2)).sample(0), "at least 1 image, got 0"),
        (lambda: fit(made(quarter_plane(2), (3,)), None), "has layers"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()
