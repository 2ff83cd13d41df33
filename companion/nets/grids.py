"""Convolutions between 28 x 28 images and a grid of 7 x 7 places, each a block of 4 x 4 pixels."""

from torch import nn

BLOCK = 4  # pixels a side


def grid_encoder(outputs: int, width: int = 48) -> nn.Sequential:
    """Read blocks of pixels, then look around twice: (B, 1, 28, 28) -> (B, outputs, 7, 7)."""
    layers: list[nn.Module] = [nn.PixelUnshuffle(BLOCK)]
    for before, after in ((BLOCK**2, width), (width, width)):
        convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(width, outputs, 1))


def grid_decoder(inputs: int, width: int = 48) -> nn.Sequential:
    """Mirror of `grid_encoder`: (B, inputs, 7, 7) -> one logit a pixel, (B, 1, 28, 28)."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.ReLU(),
        nn.Conv2d(width, BLOCK**2, 3, padding=1), nn.PixelShuffle(BLOCK),
    )  # fmt: skip
