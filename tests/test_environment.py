"""What the environment says: read in one place, documented in one place, understood alike."""

import re
from pathlib import Path

import pytest

from companion import environment
from companion.data.places import cache, homes
from companion.environment import VARIABLES, named_folder, offline
from companion.runs import local_runs

ROOT = Path(__file__).parents[1]
READ = re.compile(r"os\.environ|getenv")
PATHS = {"COMPANION_DATA": lambda: homes()[0][1], "COMPANION_CACHE": cache}
PATHS["COMPANION_RUNS"] = local_runs


def test_the_package_reads_the_environment_in_one_place() -> None:
    files = [path for path in sorted((ROOT / "companion").rglob("*.py"))]
    reading = [path.name for path in files if READ.search(path.read_text(encoding="utf8"))]
    assert reading == ["environment.py"]
    source = Path(environment.__file__).read_text(encoding="utf8")
    asked = re.findall(r'environ\.get\("(\w+)"', source)
    assert {*asked, *PATHS} == set(VARIABLES)


def test_the_read_me_documents_every_variable_and_no_other() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf8")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", text, re.MULTILINE))
    assert rows == VARIABLES
    named = set(re.findall(r"COMPANION_[A-Z]+", text))
    for path in (ROOT / "companion").rglob("*.py"):
        named |= set(re.findall(r"COMPANION_[A-Z]+", path.read_text(encoding="utf8")))
    assert named <= set(VARIABLES)


@pytest.mark.parametrize("variable", PATHS)
def test_a_tilde_is_the_home_folder(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")
    monkeypatch.setenv(variable, "~/there")
    assert PATHS[variable]() == Path("/somebody/there")
    monkeypatch.setenv(variable, "")
    assert named_folder(variable) is None


@pytest.mark.parametrize("word", ["", "0", "false", "False", "no", "NO", "off", " off "])
def test_a_word_for_no_is_not_offline(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPANION_OFFLINE", word)
    assert not offline()


@pytest.mark.parametrize("word", ["1", "true", "yes", "on", "TRUE"])
def test_a_word_for_yes_is_offline(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMPANION_OFFLINE", word)
    assert offline()
