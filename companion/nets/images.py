"""Small convolutional networks between images and vectors."""

from collections.abc import Callable

import torch
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


def sprite_encoder(outputs: int) -> nn.Sequential:
    """Encode 64 x 64 black-and-white images: (B, 1, 64, 64) -> (B, outputs).

    The network of Burgess et al. 2018, appendix A.1 (convolutions of 32 channels, two layers of
    256 units), except that its two outermost convolutions are one that takes pixels 4 x 4 at a
    time: as many parameters, a third of the time.
    """
    return nn.Sequential(
        nn.PixelUnshuffle(4), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),  # (B, 32, 16, 16)
        nn.Conv2d(32, 32, 4, stride=2, padding=1), nn.ReLU(),  # (B, 32, 8, 8)
        nn.Conv2d(32, 32, 4, stride=2, padding=1), nn.ReLU(),  # (B, 32, 4, 4)
        nn.Flatten(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(),
        nn.Linear(256, outputs),
    )  # fmt: skip


def sprite_decoder(inputs: int) -> nn.Sequential:
    """Mirror of `sprite_encoder`: (B, inputs) -> one logit per pixel, (B, 1, 64, 64)."""
    return nn.Sequential(
        nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(),
        nn.Linear(256, 512), nn.ReLU(), nn.Unflatten(1, (32, 4, 4)),
        nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), nn.ReLU(),  # (B, 32, 8, 8)
        nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1), nn.ReLU(),  # (B, 32, 16, 16)
        nn.Conv2d(32, 16, 3, padding=1), nn.PixelShuffle(4),
    )  # fmt: skip


def face_encoder(outputs: int, width: int = 32, size: int = 128) -> nn.Sequential:
    """Encode faces of 32, 64 or 128 pixels a side: (B, 1, size, size) -> (B, outputs).

    Pixels are read 4 x 4 at a time first, of the smaller faces 2 x 2.
    """
    patch = 4 if size == 128 else 2
    layers: list[nn.Module] = [nn.PixelUnshuffle(patch), nn.Conv2d(patch**2, width, 3, padding=1)]
    halvings = (width, 2 * width), (2 * width, 4 * width), (4 * width, 4 * width)
    for before, after in halvings[: 2 if size == 32 else 3]:
        layers += [nn.BatchNorm2d(before), nn.ReLU()]
        layers += [nn.Conv2d(before, after, 4, stride=2, padding=1, bias=False)]
    layers += [nn.BatchNorm2d(4 * width), nn.ReLU(), nn.Flatten()]  # (B, 4 width, 4, 4)
    return nn.Sequential(*layers, nn.Linear(64 * width, outputs))


def face_decoder(inputs: int, width: int = 32) -> nn.Sequential:
    """Mirror of `face_encoder`: (B, inputs) -> one real number per pixel, (B, 1, 128, 128)."""
    layers: list[nn.Module] = [nn.Linear(inputs, 64 * width), nn.Unflatten(1, (4 * width, 4, 4))]
    for before, after in ((4 * width, 4 * width), (4 * width, 2 * width), (2 * width, width)):
        layers += [
            nn.ReLU(),
            nn.ConvTranspose2d(before, after, 4, stride=2, padding=1, bias=False),
        ]
        layers += [nn.BatchNorm2d(after)]
    return nn.Sequential(
        *layers, nn.ReLU(), nn.Conv2d(width, 16, 3, padding=1), nn.PixelShuffle(4)
    )


def two_layer_encoder(outputs: int) -> nn.Sequential:
    """Encode 128 x 128 faces by two convolutions: (B, 1, 128, 128) -> (B, outputs).

    Convolution, ReLU, convolution, flatten, dense.
    """
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU(),  # (B, 16, 64, 64)
        nn.Conv2d(16, 32, 4, stride=4), nn.Flatten(),  # (B, 32, 16, 16) -> (B, 8192)
        nn.Linear(8192, outputs),
    )  # fmt: skip


def two_layer_decoder(inputs: int) -> nn.Sequential:
    """Mirror of `two_layer_encoder`: (B, inputs) -> one real number per pixel.

    Dense, reshape, transposed convolution, ReLU, convolution; (B, 1, 128, 128).
    """
    return nn.Sequential(
        nn.Linear(inputs, 8192), nn.Unflatten(1, (32, 16, 16)),
        nn.ConvTranspose2d(32, 8, 8, stride=8), nn.ReLU(),  # (B, 8, 128, 128)
        nn.Conv2d(8, 1, 3, padding=1),
    )  # fmt: skip


def four_layer_encoder(outputs: int, channels: int = 3, dropout: float = 0.1) -> nn.Sequential:
    """Encode 128 x 128 pictures by the homework's table: (B, C, 128, 128) -> (B, outputs).

    Four convolutions of 32, 64, 64 and 64 channels, each with batch normalisation, ReLU and
    dropout; then 4,096 numbers, so each of them halves the side.
    """
    layers: list[nn.Module] = []
    for before, after in ((channels, 32), (32, 64), (64, 64), (64, 64)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after)]
        layers += [nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4096, outputs))  # (B, 64, 8, 8)


def four_layer_decoder(inputs: int, channels: int = 3, dropout: float = 0.1) -> nn.Sequential:
    """Mirror of `four_layer_encoder`: each convolution after a doubling of the side.

    (B, inputs) -> one real number per pixel and channel, (B, C, 128, 128); none is clipped.
    """
    layers: list[nn.Module] = [nn.Linear(inputs, 4096), nn.ReLU(), nn.Unflatten(1, (64, 8, 8))]
    for before, after in ((64, 64), (64, 64), (64, 32)):
        layers += [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1)]
        layers += [nn.BatchNorm2d(after), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(
        *layers, nn.Upsample(scale_factor=2), nn.Conv2d(32, channels, 3, padding=1)
    )


def channels_last(model: nn.Module) -> nn.Module:
    """Keep weights channel by channel innermost, the order in which convolutions run fastest."""
    return model.to(memory_format=torch.channels_last)
