"""What stands where a model would be that was not published."""

from typing import Any

from torch import nn

from companion.files import RunError
from companion.runs.record import Run


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
