"""What of a finished run is published, and what stands where nothing was."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from companion.files import RunError
from companion.runs import record
from companion.runs.record import Run
from companion.tensors import load_tensors, pack, pressed

PEOPLE = ("olivetti", "celeba")  # data that are photographs of people


class Absent(nn.Module):
    """Stand where a model, or a part of it, would be that was not published; say so when used."""

    def __init__(self, run: Run, part: str = ""):
        super().__init__()
        held = f"of {run.name} only its {part} is" if part else f"{run.name} is"
        kept = "published" if part else "a record of numbers: its weights are not published"
        self.reason = f"{held} {kept}; to have more, train with epochs above 0"

    def __getattr__(self, name: str) -> Any:
        raise RunError(self.reason)

    def forward(self, *inputs: Any) -> Any:
        """Raise RunError."""
        raise RunError(self.reason)


def publish(
    run: Run, root: Path | None = None, *, record_only: bool = False, bits: int = 8,
    whole: bool = False,
) -> Run:  # fmt: skip
    """Copy the light part of a complete run: packed weights, nine of its snapshots.

    Of the weights, those of the part that the recipe says is `saved`; whole: all of them.
    record_only: no weights; of photographs of people there are none, and no snapshots. bits: of a
    weight, as few as leave the run's numbers within their errors. Raises RunError for a run that
    no result may rest on.
    """
    if not run.complete:
        raise RunError(f"{run.name} is not complete: only a finished run can be published")
    if run.config["subset"] or run.source == "stand-in":
        what = f"{run.config['subset'] or 'all'} of the {run.source} data"
        raise RunError(f"{run.name} saw {what}; to publish it, train on all of the original")
    weights, pictures = load_tensors(run.weights)[0], run.folder / "snapshots.safetensors"
    kept = load_tensors(pictures)[0] if pictures.exists() else {}
    saved, config = run.config.get("saved", ""), dict(run.config)
    if saved and not whole:
        weights = {k: v for k, v in weights.items() if k.startswith(f"{saved}.")}
    elif whole:
        config["saved"] = ""
    people = run.config["data"]["name"] in PEOPLE
    if record_only or people:
        weights, kept, config = {}, {} if people else kept, {**config, "record_only": True}
    light = pack(weights, bits)
    run = replace(run, config=config)
    return record.write(run, (root or record.PUBLISHED) / run.name, light, thinned(kept))


def thinned(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """Keep nine epochs at most, the first and the last among them, further and further apart."""
    last = int(max(kept, default=0))
    wanted = [last ** (k / 8) for k in range(9)] if kept else []
    near = {min(kept, key=lambda epoch, at=at: abs(int(epoch) - at)) for at in wanted}
    return {epoch: pressed(kept[epoch]) for epoch in sorted(near)}
