"""The network of a classifier that is read as an energy: smooth, without normalisation."""

from torch import nn


def joint_network(classes: int = 10, channels: int = 1, width: int = 24) -> nn.Sequential:
    """Four convolutions, then one linear layer: (B, C, S, S) -> logits (B, classes).

    S: 25 to 32 pixels. Blocks of 2 x 2 pixels become channels first. Smooth activations, so that
    the slope in x is one to walk along; no batch normalisation, so that the energy of an image
    does not depend on those beside it. Raises ValueError for a width below 1.
    """
    if width < 1:
        raise ValueError(f"needs a width of 1 or more, got {width}")
    return nn.Sequential(
        nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, width, 3, padding=1),  # (B, W, S/2, S/2)
        nn.SiLU(), nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),  # (B, 2W, S/4, S/4)
        nn.SiLU(), nn.Conv2d(2 * width, 2 * width, 3, padding=1),
        nn.SiLU(), nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1),  # (B, 4W, 4, 4)
        nn.SiLU(), nn.Flatten(), nn.Linear(64 * width, classes),
    )  # fmt: skip
