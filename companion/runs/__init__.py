"""Runs: the record of one training, the question that it answers, and its published form."""

from typing import TYPE_CHECKING, Any

from companion.files import RunError
from companion.runs.provenance import provenance
from companion.runs.publish import PEOPLE, publish
from companion.runs.question import (
    ask,
    begin,
    find,
    find_published,
    published_seed,
    standing,
)
from companion.runs.record import PUBLISHED, Run, all_runs, local_runs, read, seal, survey, write

if TYPE_CHECKING:
    from companion.runs.absent import Absent

__all__ = [
    "PEOPLE", "PUBLISHED", "Absent", "Run", "RunError", "all_runs", "ask", "begin", "find",
    "find_published", "local_runs", "provenance", "publish", "published_seed", "read", "seal",
    "standing", "survey", "write",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load the one class that needs torch when it is asked for: a list of runs never does."""
    if name == "Absent":
        from companion.runs.absent import Absent

        return Absent
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
