"""Stand-ins: pictures drawn by the package where the original data cannot be had."""

from collections.abc import Callable

import torch
from torch import Tensor

from companion.data.drawing import accessories, garments
from companion.data.drawing.canvas import SIZE, Dice
from companion.data.drawing.digits import digit
from companion.data.drawing.scenes import SIDE, scene

CHUNK = 500  # images drawn at once: small enough for the processor's cache
CLOTHES: list[Callable[[Dice], Tensor]] = [
    garments.t_shirt,
    garments.trouser,
    garments.pullover,
    garments.dress,
    garments.coat,
    accessories.sandal,
    garments.shirt,
    accessories.sneaker,
    accessories.bag,
    accessories.ankle_boot,
]
PAINTERS: dict[str, tuple[Callable[[Dice, int], Tensor], tuple[int, int, int]]] = {
    "cifar-10": (scene, (3, SIDE, SIDE)),
    "fashion-mnist": (lambda dice, label: CLOTHES[label](dice), (1, SIZE, SIZE)),
    "mnist": (digit, (1, SIZE, SIZE)),
}


def draw(name: str, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw n images of "cifar-10", "fashion-mnist" or "mnist": uint8 (n, C, H, W); labels (n,).

    Classes come in a random order and in equal number, as far as n allows.
    """
    paint, shape = PAINTERS[name]
    images = torch.empty(n, *shape, dtype=torch.uint8)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    labels = torch.empty(n, dtype=torch.int64)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the pieces are so small that on a busy machine more are slower
    try:
        for label in range(10):
            labels[order[label::10]] = label
            for part, where in enumerate(order[label::10].split(CHUNK)):
                dice = Dice(len(where), seed * 1_000_003 + label * 1_009 + part)
                picture = paint(dice, label).view(-1, *shape)
                images[where] = (picture.clamp(0, 1) * 255).round().to(torch.uint8)
    finally:
        torch.set_num_threads(threads)
    return images, labels
