"""The U-Net's parts against torch's own, and what must not leak."""

import pytest
import torch
from torch import nn

from companion.nets.unet import Attention, ResBlock, UNet, normal, time_embedding


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def woken(module: nn.Module) -> nn.Module:
    """Draw the weights that begin at zero, so that a test sees what they do."""
    for p in module.parameters():
        if p.ndim > 1 and p.abs().max() == 0:
            nn.init.normal_(p, 0, 0.1)
    return module


@pytest.mark.parametrize(("channels", "heads"), [(16, 4), (16, 1), (24, 2)])
def test_attention_is_torch_s(channels, heads):
    """Also where the number of heads is not their width."""
    attention = woken(Attention(channels, heads))
    x = 4 * torch.randn(2, channels, 3, 5)
    oracle = nn.MultiheadAttention(channels, heads, batch_first=True)
    with torch.no_grad():
        oracle.in_proj_weight.copy_(attention.qkv.weight[:, :, 0, 0])
        oracle.in_proj_bias.copy_(attention.qkv.bias)
        oracle.out_proj.weight.copy_(attention.out.weight[:, :, 0, 0])
        oracle.out_proj.bias.copy_(attention.out.bias)
        tokens = attention.norm(x).flatten(2).mT  # (B, N, C)
        seen = x + oracle(tokens, tokens, tokens)[0].mT.reshape(x.shape)
        expected = seen + attention.feed(seen)
        torch.testing.assert_close(attention(x), expected, rtol=1e-4, atol=1e-5)


def test_attention_does_not_care_where_a_pixel_is():
    attention, order = woken(Attention(16)), torch.randperm(12)
    x = torch.randn(2, 16, 12, 1)
    torch.testing.assert_close(attention(x)[:, :, order], attention(x[:, :, order]))


def test_times_a_step_apart_are_told_apart():
    e = time_embedding(torch.arange(1001), 128)
    assert e.shape == (1001, 128) and e.abs().max() <= 1
    assert torch.cdist(e, e).fill_diagonal_(9).min() > 0.1


def test_fresh_blocks_change_nothing_and_a_fresh_network_says_zero():
    x, e = torch.randn(2, 16, 7, 7), torch.randn(2, 32)
    assert torch.equal(ResBlock(16, 16, 32)(x, e), x)
    assert torch.equal(Attention(16)(x), x)
    assert UNet()(torch.randn(2, 1, 28, 28), torch.tensor([1, 900])).abs().max() == 0


def test_each_image_is_treated_alone():
    net = woken(UNet(channels=(8, 16, 16), classes=10))
    x = torch.randn(3, 1, 28, 28, requires_grad=True)
    found = net(x, torch.tensor([1, 500, 900]), torch.tensor([0, 1, 10]))
    (gradient,) = torch.autograd.grad(found[1].sum(), x)
    assert gradient[1].abs().max() > 0 and gradient[[0, 2]].abs().max() == 0


def test_time_and_label_reach_the_picture():
    net = woken(UNet(channels=(8, 16), classes=10))
    x, early, late = torch.randn(1, 1, 8, 8), torch.tensor([5]), torch.tensor([800])
    assert not torch.allclose(net(x, early), net(x, late))
    assert not torch.allclose(net(x, early, torch.tensor([3])), net(x, early, torch.tensor([4])))
    assert torch.equal(net(x, early), net(x, early, torch.tensor([10])))  # 10: no label


def test_the_published_size_is_below_three_million():
    assert 1.7e6 < sum(p.numel() for p in UNet(classes=10).parameters()) < 2e6


def test_every_weight_is_used():
    net = woken(UNet(classes=10))
    net(torch.randn(2, 1, 28, 28), torch.tensor([3, 4]), torch.tensor([1, 2])).sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"divisible by 4, got \(30, 28\)"):
        UNet()(torch.randn(1, 1, 30, 28), torch.ones(1))
    with pytest.raises(ValueError, match="heads must divide 16 channels, got 3"):
        Attention(16, heads=3)
    with pytest.raises(
        ValueError, match=r"two or more levels of 8 or more channels, got \(4, 8\)"
    ):
        UNet(channels=(4, 8))
    with pytest.raises(ValueError, match="width must be even and at least 4, got 7"):
        time_embedding(torch.ones(1), 7)


def test_wavelengths_of_time_go_from_2_pi_to_2_pi_times_the_longest():
    e = time_embedding(torch.tensor([torch.pi / 2, torch.pi / 2 * 10_000]), 16)
    assert e[0, 0].item() == pytest.approx(1) and e[1, 7].item() == pytest.approx(1)
    ratio = e[0, :8].asin().log().diff()  # sines fall in frequency by one factor
    torch.testing.assert_close(ratio[1:], ratio[1:2].expand(6), atol=1e-3, rtol=0)  # float32


def test_eight_channels_are_normalised_together_no_more_and_no_fewer():
    x = torch.arange(32.0)[:, None, None] * (1 + torch.rand(2, 32, 4, 4))  # channels differ
    groups = x.unflatten(1, (4, 8)).flatten(2)  # (B, 4, 8 * 16)
    mean, deviation = groups.mean(2, keepdim=True), groups.std(2, correction=0, keepdim=True)
    expected = ((groups - mean) / deviation).view_as(x)
    torch.testing.assert_close(normal(32)(x), expected, rtol=1e-4, atol=1e-4)  # float32, eps 1e-5
