"""The two networks of an adversarial model of 28 x 28 grey images, in two sizes."""

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

WIDTHS = (32, 64, 224)  # channels at 14, 7 and 4 pixels: 0.89 million parameters in both networks
LATENT = 100
SLOPE = 0.2  # of LeakyReLU below 0


def check_widths(widths: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the channels at 14, 7 and 4 pixels. Raises ValueError unless they are three."""
    if len(widths) != 3 or min(widths) < 1:
        raise ValueError(f"needs three numbers of channels, each at least 1, got {widths}")
    return widths[0], widths[1], widths[2]


def image_generator(
    latent: int = LATENT, widths: tuple[int, ...] = WIDTHS, normalise: bool = True
) -> nn.Sequential:
    """Draw images from codes: (B, latent) -> (B, 1, 28, 28) in [0, 1].

    The generator of Radford, Metz and Chintala 2016 at 28 pixels: four transposed convolutions of
    4 x 4 (1 -> 4 -> 7 -> 14 -> 28 pixels), ReLU and batch normalisation between them, a sigmoid
    at the end. normalise: False leaves the normalisation out, which is how training collapses.
    Raises ValueError for a latent size or widths that cannot be.
    """
    if latent < 1:
        raise ValueError(f"latent must be at least 1 dimension, got {latent}")
    at14, at7, at4 = check_widths(widths)
    layers: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1))]
    for before, after, stride in ((latent, at4, 1), (at4, at7, 1), (at7, at14, 2)):
        padding, bias = stride - 1, not normalise
        layers.append(nn.ConvTranspose2d(before, after, 4, stride, padding, bias=bias))
        layers += [nn.BatchNorm2d(after), nn.ReLU()] if normalise else [nn.ReLU()]
    layers += [nn.ConvTranspose2d(at14, 1, 4, stride=2, padding=1), nn.Sigmoid()]
    return initialised(nn.Sequential(*layers))


def image_critic(widths: tuple[int, ...] = WIDTHS, spectral: bool = False) -> nn.Sequential:
    """Judge images: (B, 1, 28, 28) in [0, 1] -> one real number each, (B,).

    Mirror of `image_generator` with LeakyReLU(0.2) and, as the gradient penalty needs, nothing
    that mixes the images of a batch (Gulrajani et al. 2017, section 4). A discriminator's number
    is the logit of "real". spectral: divide each weight by its largest singular value (Miyato et
    al. 2018, eq. 8). Raises ValueError for widths that cannot be.
    """
    at14, at7, at4 = check_widths(widths)
    convolutions = [
        nn.Conv2d(1, at14, 4, stride=2, padding=1),  # (B, at14, 14, 14)
        nn.Conv2d(at14, at7, 4, stride=2, padding=1),  # (B, at7, 7, 7)
        nn.Conv2d(at7, at4, 4),  # (B, at4, 4, 4)
        nn.Conv2d(at4, 1, 4),  # (B, 1, 1, 1)
    ]
    layers: list[nn.Module] = []
    for convolution in convolutions:
        layers += [convolution, nn.LeakyReLU(SLOPE)]
    network = initialised(nn.Sequential(*layers[:-1], nn.Flatten(0)))
    if spectral:
        for convolution in convolutions:
            spectral_norm(convolution)
    return network


def homework_generator(latent: int = LATENT) -> nn.Sequential:
    """Draw images from codes as the homework's table has it: (B, latent) -> (B, 1, 28, 28).

    Three transposed convolutions, of 7 x 7, 4 x 4 and 4 x 4 (1 -> 7 -> 14 -> 28 pixels), with
    batch normalisation and ReLU between them and a sigmoid at the end. Raises ValueError for a
    latent size that cannot be.
    """
    if latent < 1:
        raise ValueError(f"latent must be at least 1 dimension, got {latent}")
    layers: list[nn.Module] = [nn.Unflatten(1, (latent, 1, 1))]
    layers += [nn.ConvTranspose2d(latent, 128, 7, bias=False), nn.BatchNorm2d(128), nn.ReLU()]
    layers += [nn.ConvTranspose2d(128, 64, 4, stride=2, padding=1, bias=False)]
    layers += [nn.BatchNorm2d(64), nn.ReLU()]
    layers += [nn.ConvTranspose2d(64, 1, 4, stride=2, padding=1), nn.Sigmoid()]
    return initialised(nn.Sequential(*layers))


def homework_judge(normalise: bool = True) -> nn.Sequential:
    """Judge images as the homework's table has it: (B, 1, 28, 28) -> logits of "real", (B,).

    Four convolutions to 64, 128, 256 and 512 channels (14, 7, 3 and 1 pixels) with LeakyReLU(0.2),
    batch normalisation in all but the first, and a dense end. So a number depends on the whole
    batch while training. normalise: False leaves the normalisation out, all else being equal.
    """
    layers: list[nn.Module] = [nn.Conv2d(1, 64, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
    for before, after, kernel, stride in ((64, 128, 4, 2), (128, 256, 4, 2), (256, 512, 3, 1)):
        bias, padding = not normalise, stride - 1
        layers.append(nn.Conv2d(before, after, kernel, stride, padding, bias=bias))
        layers += [nn.BatchNorm2d(after)] if normalise else []
        layers.append(nn.LeakyReLU(SLOPE))
    return initialised(nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 1), nn.Flatten(0)))


def initialised(network: nn.Sequential) -> nn.Sequential:
    """Draw weights from N(0, 0.02^2) and normalisers' scales from N(1, 0.02^2); biases are 0.

    Radford, Metz and Chintala 2016, section 4.
    """
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.02)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
    return network
