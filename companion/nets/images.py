"""Small convolutional networks between images and vectors."""

from collections.abc import Callable

from torch import nn


def sizes_and_channels(size: int, width: int) -> tuple[list[int], list[int]]:
    """Halve an image until it is at most 4 pixels wide: 28 -> 14 -> 7 -> 4.

    Raises ValueError for an image of less than 5 pixels, or a network of no channels.
    """
    if not isinstance(size, int) or size < 5 or width < 1:
        raise ValueError(f"size must be at least 5 and width at least 1, got {size} and {width}")
    sizes = [size]
    while sizes[-1] > 4:
        sizes.append((sizes[-1] + 1) // 2)
    return sizes, [width, *[2 * width] * (len(sizes) - 2)]


def image_encoder(
    outputs: int,
    channels: int = 1,
    size: int = 28,
    width: int = 32,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Halve an image by strided convolutions, then a dense layer: (B, C, S, S) -> (B, outputs)."""
    sizes, widths = sizes_and_channels(size, width)
    layers: list[nn.Module] = []
    for here, before, after in zip(sizes, [channels, *widths], widths, strict=False):
        kernel = 4 - here % 2  # 4 halves an even side, 3 an odd one
        convolution = nn.Conv2d(before, after, kernel, stride=2, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), activation()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * sizes[-1] ** 2, outputs))


def image_decoder(
    inputs: int,
    channels: int = 1,
    size: int = 28,
    width: int = 32,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Mirror of `image_encoder`: (B, inputs) -> one real number per pixel, (B, C, S, S)."""
    sizes, widths = sizes_and_channels(size, width)
    sizes, widths = sizes[::-1], widths[::-1]
    layers: list[nn.Module] = [
        nn.Linear(inputs, widths[0] * sizes[0] ** 2),
        activation(),
        nn.Unflatten(1, (widths[0], sizes[0], sizes[0])),
    ]
    for here, before, after in zip(sizes[1:], widths, [*widths[1:], channels], strict=True):
        kernel = 4 - here % 2
        layers += [nn.ConvTranspose2d(before, after, kernel, stride=2, padding=1), activation()]
    return nn.Sequential(*layers[:-1])
