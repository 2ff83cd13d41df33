"""A few steps of each experiment, in numbers. `python tests/golden.py` writes golden.json anew."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from companion.recipes import Recipe
from companion.train.state import State

EPOCHS = (0.1, 12.0)  # where the steps are said to be: the rate depends on it
AT_ONCE = 16


def trace(experiment: Callable[..., Recipe], count: int, /, **choices: Any) -> dict[str, Any]:
    """Play some steps on a small set; return all terms, weights and rates, and three scalars."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # other threads, other sums
    try:
        torch.manual_seed(0)
        recipe = experiment(**choices)
        state = State(replace(recipe, precision="no"))
        data = recipe.data().seen_as(recipe.form)
        torch.manual_seed(1)
        seen, terms = 0, []
        for step in range(count):
            for name, player in recipe.players.items():
                for _ in range(player.updates):
                    batch = data.take("train", torch.arange(seen, seen + AT_ONCE) % 64)
                    found = state.update(name, batch, step, EPOCHS[step % 2])
                    terms.append({f"{name}/{k}": v.item() for k, v in found.items()})
                    seen += AT_ONCE
            if state.average is not None:
                state.average.update_parameters(state.model)
    finally:
        torch.set_num_threads(threads)
    rates = {k: o.param_groups[0]["lr"] for k, o in state.optimizers.items()}
    norms = [sum(p.double().norm().item() for p in part.parameters()) for part in parts(state)]
    measured = getattr(recipe.measure, "thorough", None)
    golden = [terms[-1][next(iter(terms[-1]))], *norms]
    return {"terms": terms, "rates": rates, "norms": norms, "measured": measured, "golden": golden}


def parts(state: State) -> tuple[torch.nn.Module, torch.nn.Module]:
    """The model in training, and the one that is measured."""
    return state.model, state.measured


def main() -> None:
    """Write the golden numbers of every experiment."""
    from test_experiments import ALSO, BASE
    from tiny_data import put_in_place

    from companion.experiments import EXPERIMENTS

    with pytest.MonkeyPatch.context() as patch:
        put_in_place(patch)
        asked = {n: (n, BASE.get(n, {})) for n in EXPERIMENTS} | ALSO
        found = {k: trace(EXPERIMENTS[n], 5, **c)["golden"] for k, (n, c) in asked.items()}
    assert all(math.isfinite(value) for values in found.values() for value in values)
    (Path(__file__).parent / "golden.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
