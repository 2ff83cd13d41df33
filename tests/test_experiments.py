"""Experiments are wired as they say: no choice is inert, the settings are the published ones."""

import inspect
import json
import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from golden import trace
from tiny_data import put_in_place

from companion.data.augment import flip_and_shift, redrawn, shift, shifted
from companion.data.forms import stored
from companion.experiments import EXPERIMENTS, vq_vae
from companion.objectives import negative_tc_elbo
from companion.recipes import Recipe
from companion.train import train
from companion.train.loop import steps_of
from companion.train.state import State

OTHER = train(vq_vae, data="fashion-mnist", horizon=2)  # a first phase that is not the usual one
SMALL = {"channels": (8, 16)}  # a U-Net for tests
LIGHT = {"width": 8, "layers": 2}  # a transformer for tests
THIN = {"width": 8}  # a flow for tests
BASE = {
    "ddpm": SMALL,
    "image_gpt": LIGHT,
    "pixel_cnn": LIGHT,
    "halves_image_flow": THIN,
    "realnvp": THIN,
    "energy_model": {"width": 4, "steps": 2},
    "jem": {"moves": 2},
    "glow": dict(widths=(8, 8)),
    "face_glow": dict(steps=(1, 1), widths=(8, 8)),
    "residual_points": dict(blocks=2, width=8),
    "continuous_points": dict(steps=2, width=8),
    "residual_digits": dict(blocks=(1, 1), width=4),
    "binary_vae": dict(hidden=20, latent=4, rate=1e-2),
    "layered_vae": dict(hidden=20, latents=(4, 3), rate=1e-2),
    "code_prior": LIGHT,
    "learned_prior": dict(components=5, latent=4, hidden=16),
    "sc_vae": dict(hidden=16, features=8, atoms=20),
    "layered_prior": dict(components=5, latents=(4, 3), hidden=16, warmup=0.0),
}  # choices beside which one is changed
CHANGED = {
    "autoencoder": dict(
        latent=8, likelihood="gaussian", data="mnist", split="80/20", horizon=13
    ),
    "vae": dict(
        latent=8, beta=3.0, likelihood="gaussian", head=10.0, data="mnist", split="80/20",
        horizon=13,
    ),
    "classifier": dict(data="mnist", split="80/20", horizon=13),
    "extractor": dict(data="mnist", horizon=13),
    "beta_vae": dict(beta=3.0, latent=4, images=7, horizon=13),
    "beta_tcvae": dict(beta=3.0, latent=4, images=7, horizon=13),
    "two_layer_face_vae": dict(beta=3.0, latent=8, faces="olivetti", n=10),
    "four_layer_face_vae": dict(
        beta=3.0, latent=8, faces="olivetti", n=10, dropout=0.5, colour=False
    ),
    "face_vae": dict(beta=3.0, latent=8, faces="olivetti", n=10, horizon=13),
    "face_reader": dict(n=10, horizon=13, size=32),
    "gan": dict(
        loss="minimax", data="mnist", smoothing=0.1, r1=5.0, normalise=False, rate=1e-4,
        critic_rate=1e-4, generator_updates=2, ema=0.5, net="homework",
    ),
    "wgan": dict(
        constraint="clipping", data="mnist", critic_updates=3, c=0.02, penalty=3.0, rate=3e-4,
        ema=0.5,
    ),
    "ddpm": dict(
        data="fashion-mnist", predicts="noise", weighting="simple", schedule="linear", steps=100,
        channels=(16, 16), labels=False, horizon=13, ema=0.05, thorough=False,
    ),
    "digit_network": dict(
        parents=8, layers=1, position=False, width=16, activation="silu", optimizer="sgd",
        rate=1e-3, horizon=13,
    ),
    "made": dict(data="persian", hidden=20, images=7, rate=1e-4, horizon=13),
    "pixel_cnn": dict(
        data="persian", gated=False, width=4, layers=1, images=7, rate=1e-4, horizon=13
    ),
    "image_gpt": dict(
        data="persian", width=16, layers=1, heads=4, block=1, window=1, factorised=False,
        tied=True, labels=True, falls=False, split="85/10/5", images=7, rate=1e-4, horizon=13,
    ),
    "point_flow": dict(
        data="eight-gaussians", couplings=4, width=16, bounded=False, rate=1e-4, horizon=13
    ),
    "halves_image_flow": dict(
        data="mnist", couplings=6, width=16, images=7, rate=1e-4, horizon=13
    ),
    "realnvp": dict(
        data="mnist", each=3, width=16, blocks=2, images=7, rate=1e-4, horizon=13,
        learned_noise=True,
    ),
    "energy_model": dict(
        data="persian", labels=True, steps=3, step=1.0, noise=0.1, noise_end=0.001, limit=1e-7,
        memory=0, weight=1.0, width=8, images=7, rate=1e-4, horizon=13,
    ),
    "point_energy": dict(
        steps=3, step=0.1, limit=0.01, memory=0, weight=1.0, rate=1e-4, horizon=13
    ),
    "joint_classifier": dict(data="fashion-mnist", width=8, horizon=13),
    "jem": dict(
        gaussians=False, proximal=False, weight=0.0, moves=3, limit=1e-7, memory=20, images=7,
        rate=1e-4, horizon=13,
    ),
    "glow": dict(
        data="mnist", steps=(1, 2), widths=(16, 8), labels=False, images=7, rate=1e-4, horizon=13
    ),
    "face_glow": dict(
        size=64, steps=(1, 2), widths=(16, 8), bits=8, faces="olivetti", n=10, colour=True,
        rate=1e-4, horizon=13,
    ),
    "residual_points": dict(
        data="two-moons", blocks=3, width=16, bound=0.7, sure=1, stop=1.0, rate=1e-4, horizon=13
    ),
    "continuous_points": dict(data="two-moons", steps=3, width=16, rate=1e-4, horizon=13),
    "residual_digits": dict(
        data="fashion-mnist", blocks=(1, 2), width=8, bound=0.7, images=7, rate=1e-4, horizon=13
    ),
    "binary_vae": dict(data="persian", latent=5, hidden=30, images=7, rate=1e-4, horizon=13),
    "layered_vae": dict(
        data="persian", latents=(3, 3, 3), top_down=False, skip=False, depth=1, hidden=30,
        context=5, warmup=2.0, free=3.0, alpha=0.5, images=7, rate=1e-4, horizon=13,
    ),
    "copying": dict(
        mixer="fixed", gate=False, length=20, letters=3, width=16, layers=2, rate=1e-3, horizon=13
    ),
    "induction_heads": dict(
        mixer="attention", length=20, width=16, layers=1, rate=1e-3, horizon=13
    ),
    "digit_sequence": dict(
        mixer="fixed", data="mnist", images=20, width=16, layers=1, rate=1e-3, horizon=13
    ),
    "vq_vae": dict(
        data="persian", codes=32, depth=8, width=16, commitment=2.0, decay=0.5, revive=False,
        rate=1e-4, horizon=13,
    ),
    "discrete_vae": dict(
        data="persian", codes=32, depth=8, width=16, hot=2.0, cold=0.1, rate=1e-4, horizon=13
    ),
    "fsq_vae": dict(data="persian", levels=(3, 3), width=16, rate=1e-4, horizon=13),
    "flat_vae": dict(data="persian", latent=8, rate=1e-4, horizon=13),
    "code_prior": dict(
        first=OTHER, data="fashion-mnist", width=16, layers=1, rate=1e-4, horizon=13
    ),
    "cluster_classifier": dict(
        first=OTHER, data="fashion-mnist", pseudo=False, clusters=3, horizon=13
    ),
    "learned_prior": dict(
        prior="mixture", components=7, data="persian", latent=6, hidden=20, images=7, rate=1e-4,
        horizon=13,
    ),
    "layered_prior": dict(
        prior="mixture", components=7, data="persian", latents=(5, 3), hidden=20, warmup=1.0,
        images=7, rate=1e-4, horizon=13,
    ),
    "sc_vae": dict(
        lam=0.1, normalised=False, features=10, atoms=30, steps=2, data="persian", hidden=20,
        images=7, rate=1e-4, horizon=13,
    ),
}  # fmt: skip
ALSO = {  # golden numbers of more choices
    f"gan, {net}": ("gan", {"net": net}) for net in ("homework", "homework-bare-judge")
} | {f"copying, {mixer}": ("copying", {"mixer": mixer}) for mixer in ("fixed", "attention")}
BESIDE = {
    ("wgan", "c"): {"constraint": "clipping"},
    ("image_gpt", "tied"): {"window": 0},
}  # where a choice matters only beside another
ALL = [(name, choice) for name, changes in CHANGED.items() for choice in changes]


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    put_in_place(monkeypatch)


def test_every_choice_of_every_experiment_is_tried():
    """A new experiment, or a new choice, must say here what changes it."""
    offered = {name: set(inspect.signature(e).parameters) for name, e in EXPERIMENTS.items()}
    assert {name: set(changes) for name, changes in CHANGED.items()} == offered


@cache
def plain(name: str, beside: str) -> dict:
    """What an experiment does with its defaults, and with the choices that must stand beside."""
    with pytest.MonkeyPatch.context() as patch:
        put_in_place(patch)
        return trace(EXPERIMENTS[name], 2, **json.loads(beside))


@pytest.mark.parametrize(("name", "choice"), ALL, ids=[f"{n}-{c}" for n, c in ALL])
def test_no_choice_is_inert(name, choice):
    """It changes the terms or the weights of two steps, or else what is measured."""
    beside = {**BASE.get(name, {}), **BESIDE.get((name, choice), {})}
    before = plain(name, json.dumps(beside))
    after = trace(EXPERIMENTS[name], 2, **{**beside, choice: CHANGED[name][choice]})
    assert before == trace(EXPERIMENTS[name], 2, **beside)  # the same choices, the same steps
    assert before != after


def test_golden_numbers_come_back():
    """After five steps; `python tests/golden.py` writes them anew, for a change that is meant."""
    golden = json.loads((Path(__file__).parent / "golden.json").read_text())
    assert golden.keys() == {*EXPERIMENTS, *ALSO}
    for name, expected in golden.items():
        experiment, choices = ALSO.get(name, (name, BASE.get(name, {})))
        found = trace(EXPERIMENTS[experiment], 5, **choices)["golden"]
        assert found == pytest.approx(expected, rel=5e-3), name


ADAM, RMS = torch.optim.Adam, torch.optim.RMSprop
SETTINGS = {  # player: optimizer, rate, betas, updates in a step
    ("vae", ()): {"vae": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("autoencoder", ()): {"ae": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("classifier", ()): {"classifier": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("extractor", ()): {"extractor": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("beta_vae", ()): {"vae": (ADAM, 1.5e-3, (0.9, 0.999), 1)},
    ("beta_tcvae", ()): {"vae": (ADAM, 1.5e-3, (0.9, 0.999), 1)},
    ("two_layer_face_vae", ()): {"vae": (ADAM, 5e-4, (0.9, 0.999), 1)},
    ("four_layer_face_vae", ()): {"vae": (ADAM, 5e-4, (0.9, 0.999), 1)},  # the homework's
    ("face_vae", ()): {"vae": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("face_reader", ()): {"reader": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("gan", ()): {  # Radford et al. 2016, section 4
        "critic": (ADAM, 2e-4, (0.5, 0.999), 1),
        "generator": (ADAM, 2e-4, (0.5, 0.999), 1),
    },
    ("gan", (("net", "homework"),)): {  # the sheet's rate; its optimiser is not named
        "critic": (ADAM, 2e-4, (0.5, 0.999), 1),
        "generator": (ADAM, 2e-4, (0.5, 0.999), 1),
    },
    ("wgan", ()): {  # Gulrajani et al. 2017, algorithm 1
        "critic": (ADAM, 1e-4, (0.0, 0.9), 5),
        "generator": (ADAM, 1e-4, (0.0, 0.9), 1),
    },
    ("wgan", (("constraint", "clipping"),)): {  # Arjovsky et al. 2017, algorithm 1
        "critic": (RMS, 5e-5, None, 5),
        "generator": (RMS, 5e-5, None, 1),
    },
    ("wgan", (("constraint", "spectral-norm"),)): {  # Miyato et al. 2018, table 1
        "critic": (ADAM, 2e-4, (0.0, 0.9), 5),
        "generator": (ADAM, 2e-4, (0.0, 0.9), 1),
    },
    ("ddpm", (("channels", (8, 16)),)): {"denoiser": (ADAM, 1e-3, (0.9, 0.99), 1)},
    ("digit_network", ()): {"network": (ADAM, 2e-2, (0.9, 0.999), 1)},
    ("made", ()): {"model": (ADAM, 1e-3, (0.9, 0.99), 1)},
    ("pixel_cnn", ()): {"model": (ADAM, 3e-3, (0.9, 0.99), 1)},
    ("image_gpt", ()): {"model": (ADAM, 3e-3, (0.9, 0.99), 1)},
    ("point_flow", ()): {"flow": (ADAM, 3e-3, (0.9, 0.999), 1)},
    ("halves_image_flow", ()): {"flow": (ADAM, 2e-3, (0.9, 0.99), 1)},
    ("realnvp", ()): {"flow": (ADAM, 5e-3, (0.9, 0.99), 1)},
    ("energy_model", ()): {"energy": (ADAM, 2e-3, (0.0, 0.999), 1)},
    ("point_energy", ()): {"energy": (ADAM, 3e-3, (0.0, 0.999), 1)},
    ("joint_classifier", ()): {"classifier": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("jem", ()): {"jem": (ADAM, 3e-4, (0.9, 0.999), 1)},
    ("glow", ()): {"flow": (ADAM, 3e-3, (0.9, 0.99), 1)},
    ("face_glow", ()): {"flow": (ADAM, 3e-3, (0.9, 0.99), 1)},
    ("residual_points", ()): {"flow": (ADAM, 1e-2, (0.9, 0.999), 1)},
    ("continuous_points", ()): {"flow": (ADAM, 1e-2, (0.9, 0.999), 1)},
    ("residual_digits", ()): {"flow": (ADAM, 5e-3, (0.9, 0.99), 1)},
    ("binary_vae", ()): {"vae": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("layered_vae", ()): {"vae": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("digit_network", (("optimizer", "sgd"), ("rate", 0.01))): {
        "network": (torch.optim.SGD, 1e-2, None, 1)
    },
    **{
        (name, (("mixer", mixer),)): {"reader": (torch.optim.AdamW, rate, (0.9, 0.95), 1)}
        for name, rate in (("copying", 7e-3), ("induction_heads", 5e-3))
        for mixer in ("selective", "attention")
    },
    ("layered_prior", ()): {"model": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("learned_prior", ()): {"model": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("sc_vae", ()): {"model": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("digit_sequence", ()): {"law": (torch.optim.AdamW, 4e-3, (0.9, 0.95), 1)},
    **{
        (name, ()): {"codes": (ADAM, 2e-3, (0.9, 0.999), 1)}
        for name in ("vq_vae", "discrete_vae", "fsq_vae")
    },
    ("flat_vae", ()): {"vae": (ADAM, 2e-3, (0.9, 0.999), 1)},
    ("code_prior", ()): {"prior": (ADAM, 3e-3, (0.9, 0.99), 1)},
    ("cluster_classifier", ()): {"classifier": (ADAM, 2e-3, (0.9, 0.999), 1)},
}
BATCHES = {
    "gan": 64, "wgan": 64, "face_vae": 32, "digit_network": 64, "made": 64, "pixel_cnn": 32,
    "image_gpt": 16, "copying": 32, "induction_heads": 32, "digit_sequence": 16,
    "point_flow": 200, "halves_image_flow": 32, "realnvp": 32, "point_energy": 200,
    "glow": 32, "face_glow": 32, "residual_digits": 32, "residual_points": 200,
    "continuous_points": 200, "jem": 64, "binary_vae": 100, "layered_vae": 100,
    "code_prior": 64, "layered_prior": 200, "learned_prior": 200, "sc_vae": 200,
}  # fmt: skip
CLIPPED = (
    "made", "pixel_cnn", "image_gpt", "copying", "induction_heads", "digit_sequence", "code_prior",
)  # fmt: skip
AVERAGED = {"ddpm": (0.999, 1.0)} | dict.fromkeys(CLIPPED, (0.0, 1.0))  # decay, largest gradient
AVERAGED |= {"point_energy": (0.0, 10.0), "energy_model": (0.0, 1.0)}
AVERAGED |= dict.fromkeys(("point_flow", "residual_points", "continuous_points"), (0.0, 5.0))
AVERAGED |= dict.fromkeys(
    ("halves_image_flow", "realnvp", "glow", "face_glow", "residual_digits"), (0.0, 500.0)
)


@pytest.mark.parametrize(("asked", "expected"), SETTINGS.items(), ids=lambda key: str(key)[:30])
def test_players_hold_the_published_settings(asked, expected):
    name, choices = asked
    recipe = EXPERIMENTS[name](**dict(choices))
    found = {}
    for who, player in recipe.players.items():
        optimizer = player.optimizer(player.moves.parameters())
        [group] = optimizer.param_groups
        found[who] = (type(optimizer), group["lr"], group.get("betas"), player.updates)
        assert issubclass(found[who][0], expected[who][0])
    same = {who: (expected[who][0], *rest) for who, (_, *rest) in found.items()}
    assert same == expected
    assert recipe.batch_size == BATCHES.get(name, 128)
    assert (recipe.ema, recipe.clip) == AVERAGED.get(name, (0.0, math.inf))
    assert {key[0] for key in SETTINGS} == EXPERIMENTS.keys()


@pytest.mark.parametrize(
    ("name", "choices", "steps"),
    [
        ("vae", {}, 60_000 // 128), ("gan", {}, 60_000 // 128),
        ("gan", {"generator_updates": 8}, 60_000 // 576), ("wgan", {}, 60_000 // 384),
    ],
)  # fmt: skip
def test_an_epoch_shows_each_image_about_once_to_all_players_together(name, choices, steps):
    assert steps_of(EXPERIMENTS[name](**choices), 60_000) == steps


def lines(n: int) -> torch.Tensor:
    """Images with a half-bright column on the left and a bright row from its top to the right."""
    x = torch.zeros(n, 1, 28, 28)
    x[:, :, 4, 5:20], x[:, :, 4:24, 4] = 1.0, 0.5
    return x


def test_clothes_are_mirrored_and_shifted_and_digits_are_only_shifted():
    """Nothing is ever turned upside down: the bright row stays above the half-bright column."""
    torch.manual_seed(0)
    clothes, digits = flip_and_shift((lines(4000), 1))[0], shift((lines(4000), 1))[0]
    for moved in (clothes, digits):
        bright, half = (moved == 1).nonzero(), (moved == 0.5).nonzero()
        tops = bright[:, 2].view(4000, 15)
        assert (tops == tops[:, :1]).all()  # the row is still a row
        below = half[:, 2].view(4000, 20)
        assert (below.min(1).values == tops[:, 0]).all()
        down = tops[:, 0] - 4
        across = bright[:, 3].view(4000, 15).min(1).values
        shares = torch.stack([(down == k).double().mean() for k in range(-2, 3)])
        assert (shares - 0.2).abs().max() < 4 * 0.4 / 4000**0.5  # standard error sqrt(.16 / n)
        assert len(across.unique()) == (8 if moved is clothes else 5)
    left = (clothes == 0.5).nonzero()[:, 3].view(4000, 20)[:, 0] < 14
    assert abs(left.double().mean() - 0.5) < 4 * 0.5 / 4000**0.5
    assert (shifted(lines(3)).sum((1, 2, 3)) == lines(3).sum((1, 2, 3))).all()  # nothing falls off


def test_what_is_trained_on_moved_images_and_what_is_not():
    moved = {"classifier": flip_and_shift, "extractor": flip_and_shift}
    binary = ("made", "pixel_cnn", "image_gpt", "binary_vae", "layered_vae", "flat_vae")
    codes = ("vq_vae", "discrete_vae", "fsq_vae", "layered_prior", "learned_prior", "sc_vae")
    moved |= dict.fromkeys((*binary, *codes), redrawn)
    moved["joint_classifier"] = shift
    for name, experiment in EXPERIMENTS.items():
        assert experiment().augment is moved.get(name, stored)
    assert EXPERIMENTS["extractor"](data="mnist").augment is shift
    assert EXPERIMENTS["extractor"](data="persian").augment is shift
    assert EXPERIMENTS["vae"](head=1.0).augment is flip_and_shift


def stepped(recipe: Recipe, name: str) -> tuple[State, torch.Tensor]:
    """Let one player move once on the first 16 examples; its random numbers begin at seed 5."""
    state = State(replace(recipe, precision="no", clip=math.inf))
    batch = recipe.data().seen_as(recipe.form).take("train", slice(16))
    torch.manual_seed(5)
    state.update(name, batch, 0, 0.5)
    return state, batch[0]


@pytest.mark.parametrize(
    ("name", "choices", "sign"),
    [("gan", {}, -1), ("gan", {"loss": "minimax"}, -1), ("wgan", {}, -1)],
)
def test_a_generator_is_moved_towards_what_the_critic_takes_for_real(name, choices, sign):
    """By hand: plain descent on minus log D, or on minus the critic, of the same draws."""
    torch.manual_seed(0)
    recipe = EXPERIMENTS[name](**choices)
    slow = replace(recipe.players["generator"], optimizer=lambda p: torch.optim.SGD(p, 0.1))
    recipe = replace(recipe, players={**recipe.players, "generator": slow})
    critic = recipe.model.critic
    torch.manual_seed(5)
    before = critic(recipe.model.sample(16)).mean()
    weights = [*recipe.model.generator.parameters()]
    gradient = torch.autograd.grad(before, weights)  # upwards: more real
    old = [w.detach().clone() for w in weights]
    state, _ = stepped(recipe, "generator")
    new = [*state.model.generator.parameters()]
    along = sum(((a - b) * g).sum() for a, b, g in zip(new, old, gradient, strict=True))
    size = sum((a - b).square().sum() for a, b in zip(new, old, strict=True)).sqrt()
    steep = sum(g.square().sum() for g in gradient).sqrt()
    assert along > 0.8 * size * steep > 0  # cosine of the angle: each draw is weighted otherwise


@pytest.mark.parametrize("name", ["gan", "wgan"])
def test_a_critic_is_moved_to_tell_real_from_fake(name):
    torch.manual_seed(0)
    recipe = EXPERIMENTS[name]()
    model, real = recipe.model, recipe.data().take("train", slice(16))[0]

    def gap() -> float:
        with torch.no_grad():
            torch.manual_seed(9)
            return (model.judge(real).mean() - model.judge(model.sample(16)).mean()).item()

    before = gap()
    stepped(recipe, "critic")
    assert gap() > before


@pytest.mark.parametrize(
    ("name", "choices"), [("vae", {}), ("gan", {}), ("wgan", {}), ("ddpm", SMALL)]
)
def test_images_are_judged_by_an_extractor_of_their_own_kind(name, choices):
    for data in ("mnist", "fashion-mnist"):
        recipe = EXPERIMENTS[name](data=data, **choices)
        [judge] = recipe.stands_on
        assert judge.config["choices"]["data"] == data


def test_the_aggregate_of_a_few_images_is_told_how_few_they_are():
    """The weights of the batch's posteriors depend on the number of images behind it."""
    found = trace(EXPERIMENTS["beta_tcvae"], 1, images=7)["terms"][0]["vae/total correlation"]
    torch.manual_seed(0)
    recipe = EXPERIMENTS["beta_tcvae"](images=7)
    batch = recipe.data().seen_as("unit").take("train", torch.arange(16))
    torch.manual_seed(1)
    expected = negative_tc_elbo(recipe.model, batch, 0, n=7, beta=25.0)["total correlation"]
    assert found == pytest.approx(expected.mean().item(), rel=1e-3)
