"""A chapter that needs a least value says so beside the parameter and refuses less by name."""

import re
from pathlib import Path

import pytest

from companion.words import at_least

CHAPTERS = sorted((Path(__file__).parents[1] / "book/graphs").glob("*.py"))
STATED = re.compile(r"^(\w+): int = [\d_]+  #.*?([\d,_]+) or more", re.MULTILINE)


def first_cell(text: str) -> str:
    return text.partition('# %% tags=["parameters"]')[2].partition("# %%")[0]


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_count_has_a_least_value_that_the_chapter_enforces(path):
    text = path.read_text(encoding="utf8")
    stated = dict(STATED.findall(first_cell(text)))
    counts = set(re.findall(r"^(\w+): int", first_cell(text), re.MULTILINE)) - {"seed"}
    assert counts == set(stated), "a count needs '... N or more' in its comment"
    for name, least in stated.items():
        number = int(re.sub(r"\D", "", least))
        calls = re.findall(rf"^at_least\(([\d_]+), {name}={name}\)", text, re.MULTILINE)
        assert [int(call.replace("_", "")) for call in calls] == [number]


def test_too_few_is_one_sentence_with_the_name_and_the_least():
    at_least(2, repeats=2)
    with pytest.raises(ValueError, match=r"^repeats must be 2 or more, got 1$"):
        at_least(2, repeats=1)
