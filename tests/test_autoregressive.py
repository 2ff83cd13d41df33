"""Autoregressive models against enumeration, autograd and themselves without a cache."""

import math
from dataclasses import replace
from itertools import product

import pytest
import tiny_data
import torch
from torch import nn
from torch.nn import functional as F

from companion.data import binary
from companion.data.augment import redrawn
from companion.models.image_gpt import ImageGPT, Reading, choose, sources
from companion.models.made import MADE
from companion.models.pixelcnn import MaskedStack, PixelCNN, TwoStacks
from companion.nets.attention import attend
from companion.nets.masked import MaskedConv2d, region
from companion.samplers import coder

SHUFFLED = torch.tensor([5, 2, 13, 0, 9, 15, 7, 1, 12, 3, 10, 6, 14, 8, 4, 11])
KINDS = {
    "FVSBN": lambda side=4: MADE(side),
    "MADE": lambda side=4: MADE(side, 7),
    "MADE, another order": lambda side=4: MADE(side, 40, SHUFFLED),
    "PixelCNN": lambda side=4: PixelCNN(3, 2, False, side),
    "gated PixelCNN": lambda side=4: PixelCNN(3, 2, True, side),
    "GPT, pixels": lambda side=4: ImageGPT(8, 2, 2, 1, side=side),
    "GPT, blocks, tied": lambda side=4: ImageGPT(8, 2, 1, 2, 0, False, True, side=side),
    "GPT, window": lambda side=4: ImageGPT(8, 1, 2, 2, 2, side=side),
}
kinds = pytest.mark.parametrize("kind", KINDS)


def made(kind: str, seed: int = 0, side: int = 4) -> nn.Module:
    """A model with large random weights, in float64."""
    torch.manual_seed(seed)
    model = KINDS[kind](side)
    for weight in model.parameters():
        nn.init.normal_(weight, std=0.5)
    return model.double()


def all_images() -> torch.Tensor:
    """Every binary image of 4 x 4 pixels: (65536, 1, 4, 4)."""
    return torch.tensor([*product((0.0, 1.0), repeat=16)]).double().view(-1, 1, 4, 4)


def law(model: nn.Module) -> torch.Tensor:
    """Probability of each of the 65,536 images."""
    with torch.no_grad():
        parts = [model.terms(part)["nll"] for part in all_images().split(8192)]
    return torch.exp(-torch.cat(parts))


def flat_logits(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Logits in the order in which they are told, one row for each pixel or block of pixels."""
    if isinstance(model, ImageGPT):
        return model(model.tokens(x))[0]
    z = model.logits(x).flatten()
    return z[model.order] if isinstance(model, MADE) else z


@kinds
def test_the_law_sums_to_one(kind):
    assert law(made(kind)).sum().item() == pytest.approx(1, rel=1e-12)


@kinds
def test_nothing_leaks_from_what_comes_later(kind):
    """Each pixel is turned over: what was told before it, and it itself, keep their logits."""
    model = made(kind)
    x = torch.bernoulli(torch.full((1, 1, 4, 4), 0.5)).double()
    before, felt = flat_logits(model, x), 0
    order = getattr(model, "order", torch.arange(16))
    if isinstance(model, ImageGPT):  # the pixels of a block are told at once
        square = torch.arange(16).double().view(1, 1, 4, 4)
        order = F.pixel_unshuffle(square, model.block)[0].flatten(1).T.long()
    for told, pixels in enumerate(order):
        for pixel in pixels.reshape(-1).tolist():
            other = x.clone().flatten()
            other[pixel] = 1 - other[pixel]
            moved = (flat_logits(model, other.view_as(x)) - before).abs()
            assert moved[: told + 1].max() == 0
            felt += int(moved.sum() > 1e-9)
    assert felt >= 12  # the last pixels have nobody to tell


@kinds
def test_samples_have_the_law_of_the_model(kind):
    """Chi-squared of 8,000 draws over the 512 states of nine pixels."""
    model, n = made(kind), 8000
    chosen = [0, 1, 2, 4, 5, 6, 8, 10, 15]
    worth = 2 ** torch.arange(8, -1, -1)

    def states(x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1)[:, chosen].long() * worth).sum(1)

    probs = torch.zeros(512).double().index_add(0, states(all_images()), law(model))
    drawn = model.sample(n, generator=torch.Generator().manual_seed(3))
    seen = torch.bincount(states(drawn), minlength=512).double()
    large = n * probs >= 5
    expected = torch.cat([n * probs[large], n * probs[~large].sum()[None]])
    found = torch.cat([seen[large], seen[~large].sum()[None]])
    chi = ((found - expected) ** 2 / expected.clamp(min=1e-9)).sum().item()
    freedom = len(expected) - 1
    assert chi < freedom + 5 * math.sqrt(2 * freedom)


def test_a_network_without_hidden_units_is_one_logistic_regression_for_each_pixel():
    model, x = made("FVSBN"), all_images()[12345:12346]
    for i in range(16):
        weight, bias = model.direct.weight[i, :i], model.direct.bias[i]
        z = model.logits(x).flatten()[i]
        assert z.item() == pytest.approx((x.flatten()[:i] @ weight + bias).item(), rel=1e-12)


def test_regions_are_what_they_are_called():
    assert region("before", 1).int().tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]
    assert region("above", 1).int().tolist() == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert region("left or here", 1).int().tolist() == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]
    assert (region("up to here", 2) == region("above", 2) | region("left or here", 2)).all()


@pytest.mark.parametrize("seen", ["before", "up to here", "above", "above or level", "left"])
def test_a_convolution_of_a_box_is_the_masked_one(seen):
    layer, x = MaskedConv2d(2, 3, seen, 2).double(), torch.randn(2, 2, 6, 7).double()
    kernel = torch.zeros(3, 2, 5, 5).double()
    inside = region(seen, 2)
    weight = (layer.weight * layer.mask)[:, :, layer.mask.bool()]
    kernel[:, :, inside] = weight.detach()
    torch.testing.assert_close(layer(x), F.conv2d(x, kernel, layer.bias, padding=2))


def seen_by(stack: nn.Module, side: int, r: int, c: int) -> torch.Tensor:
    """Which pixels the features of pixel (r, c) depend on: bool (side, side)."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, side, side).double().requires_grad_()
    for weight in stack.double().parameters():
        nn.init.normal_(weight)
    return torch.autograd.grad(stack(x)[0, :, r, c].sum(), x)[0][0, 0] != 0


def test_one_stack_is_blind_above_a_slope_and_two_are_not():
    """Kernels of three: a pixel b columns to the right is seen from a rows below if b <= a."""
    side, r, c, layers = 13, 8, 5, 12
    place = torch.arange(side)
    up, right = r - place[:, None], place[None] - c
    before = (up > 0) | ((up == 0) & (right < 0))
    blind = seen_by(MaskedStack(4, layers, first=1), side, r, c)
    assert torch.equal(blind, before & (right <= up))
    assert torch.equal(seen_by(TwoStacks(4, layers, first=1), side, r, c), before)


def test_tokens_are_blocks_and_come_back():
    x = torch.bernoulli(torch.full((5, 1, 6, 6), 0.5))
    for block in (1, 2):
        model = ImageGPT(4, 1, 1, block, side=6)
        assert torch.equal(model.images(model.tokens(x)), x)
    assert model.tokens(x)[0, 1] == (x[0, 0, :2, 2:4].flatten() * torch.tensor([1, 2, 4, 8])).sum()


def test_a_position_reads_the_tokens_of_its_window_that_came_before():
    assert sources(3, 0)[:, 0].tolist() == [9, 0, 1, 2, 3, 4, 5, 6, 7]  # 9: outside
    assert sources(3, 1)[4].tolist() == [3, 2, 1, 0]  # left; above: right, straight, left
    assert sources(3, 1)[5].tolist() == [4, 9, 2, 1]


def test_each_place_of_a_window_has_words_of_its_own():
    """What stands to the left and what stands above are not told alike."""
    model, here = ImageGPT(8, 1, 1, 2, 1, side=6), torch.tensor([4])
    tokens = torch.randint(16, (5, 9), generator=torch.Generator().manual_seed(0))
    tokens[:, 3] = 15 - tokens[:, 1]
    turned = tokens.clone()
    turned[:, [1, 3]] = tokens[:, [3, 1]]
    assert (
        ((model.embed(tokens, here, None) - model.embed(turned, here, None)).abs() > 1e-3)
        .any(2)
        .all()
    )


def test_a_factorised_position_is_a_row_plus_a_column():
    model = ImageGPT(8, 1, 1, 2, factorised=True, side=6)
    rows, columns = model.places.split(3)
    found = model.place(torch.arange(9)).view(3, 3, 8)
    torch.testing.assert_close(found, rows[:, None] + columns)


def test_rows_that_are_given_are_kept_and_the_others_drawn():
    torch.manual_seed(0)
    model, ink = ImageGPT(8, 1, 1, 2, side=6), torch.ones(20, 1, 6, 6)
    for rows in (0, 2, 4):
        x = model.sample(20, given=ink, rows=rows, generator=torch.Generator().manual_seed(0))
        assert x[:, :, :rows].all() and not x[:, :, rows:].flatten(1).all(1).any()


@pytest.mark.parametrize("kind", [k for k in KINDS if k.startswith("GPT")])
def test_a_cache_changes_nothing(kind):
    """The law of each next token, to 1e-5 in single precision, and the digits drawn."""
    model = made(kind).float()
    x = model.sample(40, generator=torch.Generator().manual_seed(1))
    tokens, reading = model.tokens(x), Reading(model, 40)
    whole = model(tokens).softmax(2)
    for t in range(model.steps):
        gap = (reading.logits().softmax(1) - whole[:, t]).abs().max()
        assert gap < 1e-5
        reading.read(tokens[:, t])
    for temperature in (0.0, 0.7):
        slow, quick = (
            model.sample(
                20, temperature=temperature, given=x[:20], rows=2, cached=cached,
                generator=torch.Generator().manual_seed(2),
            )
            for cached in (False, True)
        )  # fmt: skip
        assert torch.equal(slow, quick) and torch.equal(quick[:, :, :2], x[:20, :, :2])


def test_a_label_is_needed_where_it_was_learned_and_changes_the_law():
    torch.manual_seed(0)
    model = ImageGPT(8, 1, 2, 2, 1, classes=3, side=4)
    x = torch.zeros(3, 1, 4, 4)
    nll = model.terms(x, torch.arange(3))["nll"]
    assert len(nll.unique()) == 3 and model.sample(6).shape == (6, 1, 4, 4)
    with pytest.raises(ValueError, match="needs the labels"):
        model.terms(x)


def test_temperature_draws_from_the_tempered_law():
    logits = torch.tensor([[2.0, 0.0, -1.0, 0.5]]).expand(20_000, -1)
    for temperature in (0.5, 2.0):
        drawn = choose(logits, temperature, torch.Generator().manual_seed(0))
        share = torch.bincount(drawn, minlength=4) / 20_000
        p = (logits[0] / temperature).softmax(0)
        assert ((share - p).abs() < 4.5 * (p * (1 - p) / 20_000).sqrt()).all()
    assert (choose(logits, 0.0, None) == 0).all()


def test_a_row_without_keys_is_zero_and_the_others_are_torchs():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 5, 4).double()
    seen = torch.ones(5, 5, dtype=torch.bool).tril(-1)
    found = attend(q, k, v, seen)
    assert (found[:, 0] == 0).all()
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    torch.testing.assert_close(found[:, 1:], expected[:, 1:])


def test_weights_of_attention_are_those_that_the_block_uses():
    model = made("GPT, window")
    [block] = model.blocks
    x = torch.randn(2, 4, 8).double()
    q, k, v = block.split(x)
    whole = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(block.weights(x) @ v, whole)


def test_bits_come_back_as_tokens_and_are_as_many_as_the_nats_say():
    model = made("GPT, blocks, tied").float()
    x = model.sample(300, generator=torch.Generator().manual_seed(0))
    tokens = model.tokens(x)
    bits = coder.encode(Reading(model, 300), tokens)
    assert torch.equal(coder.decode(Reading(model, 300), bits), tokens)
    needed = model.terms(x)["nll"].sum().item() / math.log(2)
    assert needed - 1 < len(bits) < 1.005 * needed + 3


def test_a_coder_survives_laws_that_are_nearly_certain_and_wrong():
    class Stubborn:
        tokens = torch.zeros(3, 40, dtype=torch.int64)

        def logits(self) -> torch.Tensor:
            return torch.tensor([[50.0, 0.0, -50.0]]).expand(3, -1)

        def read(self, tokens: torch.Tensor) -> None:
            self.found = [*getattr(self, "found", []), tokens]

    tokens = torch.randint(0, 3, (3, 40), generator=torch.Generator().manual_seed(0))
    bits, reader = coder.encode(Stubborn(), tokens), Stubborn()
    coder.decode(reader, bits)
    assert torch.equal(torch.stack(reader.found, 1), tokens)


def test_binary_digits_are_fixed_for_testing_and_drawn_anew_for_training(monkeypatch):
    grey = torch.randint(0, 256, (200, 1, 28, 28)).to(torch.uint8)
    labels = torch.arange(200) % 10
    part = grey, labels
    data = replace(tiny_data.load("mnist"), train=part, test=part)
    monkeypatch.setattr(binary, "load", lambda name: data)
    one, other = (binary.load_binary("mnist").test[0] for _ in range(2))
    assert torch.equal(one, other) and set(one.unique().tolist()) == {0, 255}
    share = grey.double() / 255
    error = (share * (1 - share)).sum().sqrt()
    assert abs((one / 255).double().sum() - share.sum()) < 4.5 * error
    x = grey / 255
    first, second = redrawn((x,))[0], redrawn((x,))[0]
    assert not torch.equal(first, second) and set(first.unique().tolist()) == {0.0, 1.0}
    split = binary.load_binary("mnist", "85/10/5", 100)
    parts = [binary.held_out(15, part) for part in ("validation", "test")]
    assert len(split.train[0]) == 85 and [len(part) for part in parts] == [10, 5]
    assert sorted(torch.cat(parts).tolist()) == [*range(15)]
    kept = torch.cat([split.train[1], split.test[1]]).sort().values
    assert torch.equal(kept, labels[:100].sort().values)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: MADE(2, -1), "hidden >= 0"),
        (lambda: MADE(2, 0, torch.tensor([0, 1, 2, 2])), "an order of 4 pixels"),
        (lambda: MADE(2).terms(torch.zeros(1, 1, 3, 3)), "2, 2"),
        (lambda: MADE(2).sample(0), "at least 1 image"),
        (lambda: PixelCNN(0), "width >= 1"),
        (lambda: PixelCNN(2).sample(0), "at least 1 image"),
        (lambda: MaskedConv2d(1, 1, "abov", 1), "did you mean 'above'"),
        (lambda: ImageGPT(6, heads=4), "heads must divide the width"),
        (lambda: ImageGPT(8, block=3), "blocks of 1 or 2"),
        (lambda: ImageGPT(8, window=1, tied=True), "not both"),
        (lambda: ImageGPT(8, 1).terms(torch.zeros(1, 1, 4, 4)), "28, 28"),
        (lambda: ImageGPT(8, 1).sample(1, rows=3), "whole blocks"),
        (lambda: binary.load_binary("persian", "85/15"), "no split is called"),
        (lambda: binary.load_binary("persian", images=10**6), "at most the"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(make, reason):
    with pytest.raises(ValueError, match=reason):
        make()
