"""Each finding about a library is a whole script, and its page is in step. No network is used."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import findings

ROOT = Path(__file__).parents[1]
SCRIPTS = findings.scripts()
PLAN = findings.plan_of()
HEAD = """\
#!/usr/bin/env bash
# title: A title
# chapter: latent/vae, graphs/probability
# package: one==1.0, two-more==2.3.post1
# guess: A guess.
# behaviour: First.
#   Second.
# hurts: Somebody.
# safe: A way.
# seen: 2026-01-31
set -euo pipefail
"""


def install_line(script: Path) -> list[str]:
    """Return the words that a script installs."""
    (words,) = re.findall(r'^"\$folder/bin/pip" install -q (.+) \|\| exit 3$', code(script), re.M)
    return words.split()


def code(script: Path) -> str:
    """Return a script's text without its head."""
    return re.sub(r"\A(#.*\n)+", "", script.read_text(encoding="utf8"))


def name(script: Path) -> str:
    """Return the name that pytest shows for a script."""
    return script.stem


def small(tmp_path: Path, head: str = HEAD) -> Path:
    """Return a script with a head of its own."""
    script = tmp_path / "small.sh"
    script.write_text(head)
    return script


def test_there_are_findings_about_many_libraries() -> None:
    first = {findings.read(script, PLAN).packages[0] for script in SCRIPTS}
    assert len(SCRIPTS) >= 8 and len(first) >= 5


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_head_is_whole_and_names_chapters_of_the_book(script: Path) -> None:
    assert findings.read(script, PLAN).name == script.stem


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / "findings/run.sh"], ids=name)
def test_script_is_executable_and_its_syntax_is_sound(script: Path) -> None:
    assert os.access(script, os.X_OK)
    done = subprocess.run(["bash", "-n", str(script)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_script_leaves_nothing_behind_and_stops_at_an_error(script: Path) -> None:
    lines = code(script).splitlines()
    assert lines[0] == "set -euo pipefail"
    assert lines[1:3] == ["folder=$(mktemp -d)", "trap 'rm -rf \"$folder\"' EXIT"]
    assert 'cd "$folder"' in lines


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_script_installs_the_pinned_packages_of_its_head_and_no_other(script: Path) -> None:
    assert install_line(script) == list(findings.read(script, PLAN).packages)
    assert code(script).count("install -q") == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_script_runs_without_our_package_and_names_no_machine(script: Path) -> None:
    assert not re.search(r"^\s*(import|from) companion\b", code(script), re.MULTILINE)
    assert "unset PYTHONPATH" in code(script)
    text = script.read_text(encoding="utf8").removeprefix("#!/usr/bin/env bash")
    assert not re.search(r"https?://|--index|(?<![\w.])/(home|root|tmp|work|opt|usr)/", text)


def test_the_page_is_in_step_with_the_scripts() -> None:
    page = (ROOT / "book/findings.md").read_text(encoding="utf8")
    assert page == findings.page(), "run python book/_tools/findings.py"


def test_a_head_is_read_with_its_chapters_in_the_order_of_the_book(tmp_path: Path) -> None:
    found = findings.read(small(tmp_path), ("graphs/probability", "latent/vae"))
    assert found.chapters == ("graphs/probability", "latent/vae")
    assert found.packages == ("one==1.0", "two-more==2.3.post1")
    assert found.texts["behaviour"] == "First.\nSecond."
    text = findings.section(found)
    assert "Seen on 2026-01-31 with one 1.0, two-more 2.3.post1: `findings/small.sh`." in text
    assert "**What happens:** First.\nSecond.\n\n**Who gets hurt:** Somebody." in text


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("# guess: A guess.\n", "", "the head has"),
        ("# guess: A guess.\n", "# guess:\n", "the wrong line '# guess:'"),
        ("# safe: A way.\n", "# safe: A way.\n# safe: Another.\n", "the wrong line"),
        ("latent/vae", "latent/vea", "no chapter 'latent/vea'"),
        ("one==1.0", "one>=1.0", "'one>=1.0' is no package pinned"),
        ("2026-01-31", "January", "'January' is no date"),
    ],
)
def test_a_wrong_head_is_refused(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert old in HEAD
    with pytest.raises(findings.FindingError, match=fault):
        findings.read(small(tmp_path, HEAD.replace(old, new)), PLAN)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a small project: the runner, the plan of the book, and one finding."""
    for folder in ("findings", "book"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / "book/homework.yml", tmp_path / "book")
    shutil.copy(ROOT / "findings/run.sh", tmp_path / "findings")
    (tmp_path / "findings/good.sh").write_text(HEAD)
    return tmp_path


def test_the_check_refuses_a_page_that_was_edited(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert findings.main([], project) == 0
    assert findings.main(["--check"], project) == 0
    page = project / "book/findings.md"
    page.write_text(page.read_text().replace("A guess.", "A guses."))
    assert findings.main(["--check"], project) == 1
    assert "out of step" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("ending", "status", "word"),
    [("exit 0", 0, "holds"), ("exit 3", 0, "could not be installed"), ("exit 1", 1, "CHANGED")],
)
def test_the_runner_tells_what_holds_and_fails_only_for_a_change(
    project: Path, ending: str, status: int, word: str
) -> None:
    (project / "findings/new.sh").write_text(f"{HEAD}echo the output\n{ending}\n")
    command = ["bash", str(project / "findings/run.sh")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == status
    lines = sorted(done.stdout.splitlines())
    assert len(lines) == 2 and any(re.match(rf"{word} +new", line) for line in lines)
    assert any(re.match("holds +good", line) for line in lines)
    assert (project / "_build/findings/new.txt").read_text() == "the output\n"
