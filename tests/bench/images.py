"""The cases of images: one epoch of a VAE by the book's trainer, by hand, and by a rival."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from turns import Work, duel, epoch_of

from companion.data import load
from companion.models.vae import VAE
from companion.nets import image_decoder, image_encoder
from companion.objectives import negative_elbo
from companion.recipes import Player, Recipe

BATCH = 128
IMAGES = 10 * BATCH
TURNS = 8


@dataclass(frozen=True)
class Row:
    """One comparison; `ratio` is ours over the rival's, above 1 where ours is quicker."""

    case: str
    rival: str
    ours: float  # images per second
    theirs: float
    ratio: float
    target: str


def network(size: int, fast: bool = False) -> VAE:
    """The VAE of the chapter at another image size."""
    torch.manual_seed(0)
    model = VAE(image_encoder(64, size=size), image_decoder(32, size=size), 32)
    return model.to(memory_format=torch.channels_last) if fast else model


def pictures(size: int) -> Tensor:
    """Random grey images as they are stored: uint8 (IMAGES, 1, size, size)."""
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (IMAGES, 1, size, size), dtype=torch.uint8, generator=draw)


def trainer(size: int, fast: bool = False) -> Callable[[], None]:
    """One epoch of the book's trainer."""
    model, precision = network(size, fast), "auto" if fast else "no"
    players = {"vae": Player(model, negative_elbo)}
    recipe = Recipe(model, players, partial(load, "mnist"), BATCH, precision=precision)
    return epoch_of(recipe, pictures(size))


def step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor) -> None:
    """One update as anybody would write it by hand."""
    loss = negative_elbo(model, (x,), 0)["loss"].mean()  # type: ignore[arg-type]
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def bare_loop(size: int) -> Callable[[], None]:
    """A hand-written loop over shuffled batches of the same images in memory."""
    images, model = pictures(size), network(size)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def epoch() -> None:
        for index in torch.randperm(IMAGES).split(BATCH):
            step(model, optimizer, images[index].float() / 255)

    return epoch


class Pictures(torch.utils.data.Dataset):
    """Images one by one, as a DataLoader wants them."""

    def __init__(self, size: int):
        self.images = pictures(size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> Tensor:
        return self.images[i].float() / 255


def loader_loop(size: int) -> Callable[[], None]:
    """The same loop, fed by a DataLoader with two worker processes that persist."""
    model = network(size)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    loader = torch.utils.data.DataLoader(
        Pictures(size), BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )

    def epoch() -> None:
        for x in loader:
            step(model, optimizer, x)

    return epoch


def pythae_epoch(size: int) -> Callable[[], None]:
    """One epoch of pythae's own trainer on its own VAE with our networks."""
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE as TheirVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = image_encoder(64, size=size)

        def forward(self, x: Tensor) -> ModelOutput:
            mean, log_variance = self.net(x).chunk(2, 1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.net = image_decoder(32, size=size)

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.net(z)))

    config = VAEConfig(input_dim=(1, size, size), latent_dim=32, reconstruction_loss="bce")
    images = pictures(size).float() / 255
    settings = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(), num_epochs=1, learning_rate=1e-3, no_cuda=True,
        per_device_train_batch_size=BATCH, per_device_eval_batch_size=BATCH,
    )  # fmt: skip
    theirs = BaseTrainer(
        TheirVAE(config, Encoder(), Decoder()), BaseDataset(images, torch.zeros(IMAGES)),
        training_config=settings,
    )  # fmt: skip
    theirs.prepare_training()
    return lambda: theirs.train_step(1)


def compare(case: str, rival: str, ours: Work, theirs: Work, target: str) -> Row:
    """Let both take turns with an epoch."""
    a, b, ratio = duel(ours, theirs, TURNS)
    row = Row(case, rival, IMAGES / a, IMAGES / b, ratio, target)
    print(f"{case}: {row.ours:,.0f} img/s, {rival} {row.theirs:,.0f} img/s, ratio {ratio:.2f}")
    return row


def rows() -> list[Row]:
    """Measure every case."""
    found = []
    for size in (28, 64):
        case = f"VAE, 1 × {size} × {size}"
        beside = partial(compare, case)
        found.append(
            beside("hand-written loop, same arithmetic", trainer(size), bare_loop(size), "≥ 0.95")
        )
        found.append(
            beside(
                "DataLoader, 2 workers, same arithmetic", trainer(size), loader_loop(size), "> 1"
            )
        )
        fast = "channels last, bf16 where the hardware has it"
        try:
            same, default = trainer(size), trainer(size, fast=True)
            found.append(beside("pythae 0.1.2, same arithmetic", same, pythae_epoch(size), "> 1"))
            found.append(beside(f"pythae 0.1.2; ours {fast}", default, pythae_epoch(size), "> 1"))
        except ImportError:
            print("pythae is not installed: its rows are left out")
        how = f"plain float32 loop; ours {fast}"
        found.append(beside(how, trainer(size, fast=True), bare_loop(size), "≥ 1.25"))
    return found
