"""Runs: the record of one training, the question that it answers, and its published form."""

from companion.runs.provenance import provenance
from companion.runs.publish import PEOPLE, Absent, publish
from companion.runs.question import ask, begin, find, find_published, standing
from companion.runs.record import PUBLISHED, Run, all_runs, local_runs, read, write

__all__ = [
    "PEOPLE", "PUBLISHED", "Absent", "Run", "all_runs", "ask", "begin", "find", "find_published",
    "local_runs", "provenance", "publish", "read", "standing", "write",
]  # fmt: skip
