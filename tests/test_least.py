"""A chapter that needs a least value says so beside the parameter and refuses less by name."""

import re
from pathlib import Path

import pytest

from companion.words import at_least

BOOK = Path(__file__).parents[1] / "book"
CHAPTERS = [path for path in sorted(BOOK.glob("*/*.py")) if path.parent.name[0] != "_"]
STATED = re.compile(r"^(\w+): int = [\d_]+  #.*?([\d,_]+) or more", re.MULTILINE)
FREE = {"seed", "epochs", "subset"}  # 0 says something, and what trains refuses too few itself


def first_cell(text: str) -> str:
    return text.partition('# %% tags=["parameters"]')[2].partition("# %%")[0]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_count_has_a_least_value_that_the_chapter_enforces(path):
    """One from which the least cannot be guessed, 1, is told beside the parameter, too."""
    text = path.read_text(encoding="utf8")
    counts = set(re.findall(r"^(\w+): int", first_cell(text), re.MULTILINE)) - FREE
    calls = re.findall(r"^at_least\(([\d_]+), (.*)\)", text, re.MULTILINE)
    least = {
        name: int(number) for number, names in calls for name in re.findall(r"(\w+)=\1\b", names)
    }
    assert set(least) == counts, "a count needs at_least(N, name=name)"
    stated = {name: int(re.sub(r"\D", "", n)) for name, n in STATED.findall(first_cell(text))}
    assert stated.items() <= least.items()
    assert all(number < 3 for name, number in least.items() if name not in stated)


def test_too_few_is_one_sentence_with_the_name_and_the_least():
    at_least(2, repeats=2)
    with pytest.raises(ValueError, match=r"^repeats must be 2 or more, got 1$"):
        at_least(2, repeats=1)
