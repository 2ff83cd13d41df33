"""Make the results page and the read-me's table from the records of the published runs.

python book/_tools/results.py            write book/results.md and the table in README.md
python book/_tools/results.py --check    exit 1 and say why, if one of them is out of step
"""

import argparse
import re
import statistics
import sys
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import overview
from companion.experiments import EXPERIMENTS
from records import Group, RecordError, Result, read_groups, read_json

ROOT = Path(__file__).resolve().parents[2]
START, END = "<!-- results: start -->", "<!-- results: end -->"
ORDER = re.findall(r"- file: book/(\w+/\w+)", (ROOT / "_toc.yml").read_text(encoding="utf8"))
NONE_YET = "No run is published yet."
INTRODUCTION = """\
<!-- Made by book/_tools/results.py from the records in companion/published. Do not edit. -->

# Results: every published run

This page is made from the records of the runs; nobody types a number.
Where a run was repeated with several seeds, a number is the mean over the seeds,
± the standard error of that mean.
With one seed, ± is the standard error over the test examples: it says nothing about other seeds.
"""
ONE_SCREEN = """\
## In one screen

Every number that has a published neighbour or a target of ours.
Each row has a scale of its own, and better is to the right: the dot is ours,
± two standard errors, the band is what is published, the dashed line is what we aimed at.
A verdict speaks of a difference only where it is larger than two standard errors;
how the protocols differ is said below the full tables.
"""
ALL_OF_THEM = """\
## All numbers, by chapter

"None credible" means that we know of no number with the same protocol and a primary source.
The numbers in brackets lead to what differs in the protocol, below the tables of an experiment.
"""


def chapter_of(experiment: str) -> str:
    """The page that an experiment belongs to, "latent/vae", as its module says; "" if none."""
    made = EXPERIMENTS.get(experiment)
    told = sys.modules[made.__module__].__doc__ if made else ""
    found = re.search(r"`(\w+/\w+)`", told or "")
    return found[1] if found else ""


def title_of(chapter: str) -> str:
    """The title of a chapter's page."""
    script = ROOT / f"book/{chapter}.py"
    found = re.search(r"^# # (.+)$", script.read_text(encoding="utf8"), re.M) if chapter else None
    return found[1] if found else "Further runs"


def comparison(
    entries: list[dict[str, Any]], config: dict[str, Any], metric: str
) -> dict[str, Any] | None:
    """Return the first entry for a number of a run; None if there is none.

    A run on a stand-in or on a part of the data stands beside nothing.
    """
    if config["data"]["source"] not in ("original", "procedural") or config["subset"]:
        return None
    for entry in entries:
        named = fnmatchcase(config["experiment"], entry["experiment"])
        chosen = entry["choices"].items() <= config["choices"].items()
        if named and chosen and fnmatchcase(metric, entry["metric"]):
            return entry
    return None


def published(entry: dict[str, Any] | None) -> str:
    """Write the published neighbour of a number, without its source."""
    if entry is None:
        return "not compared"
    if entry["published"] is None:
        return "none credible"
    low, high, unit = entry["published"]["low"], entry["published"]["high"], entry["unit"]
    return (f"{low:g} {unit}" if low == high else f"{low:g} to {high:g} {unit}").strip()


def verdict(ours: Result, entry: dict[str, Any] | None) -> str:
    """Say how our number stands to the published one and to our own target."""
    if entry is None or not (entry["published"] or "target" in entry):
        return ""
    if ours.unit != entry["unit"]:
        raise RecordError(f"unit {ours.unit!r} stands beside the published unit {entry['unit']!r}")
    sign, words = (1 if entry["better"] == "higher" else -1), []
    if entry["published"]:
        low, high = entry["published"]["low"], entry["published"]["high"]
        above, below = ours.value - high, low - ours.value
        if max(above, below) > 2 * ours.error:
            side = "ahead" if (above > below) == (sign > 0) else "behind"
            words.append(f"{side} by {max(above, below):.2g} {ours.unit}".strip())
        elif low < ours.value < high:
            words.append("inside the range")
        else:
            words.append("no difference beyond two standard errors")
    if "target" in entry:
        gap = sign * (ours.value - entry["target"])
        mark = f"our target {'≥' if sign > 0 else '≤'} {entry['target']:g} {ours.unit}".strip()
        words.append(f"{mark} {'reached' if gap >= 0 else f'missed by {-gap:.2g}'}")
    return "; ".join(words)


def choices(group: Group, groups: list[Group]) -> str:
    """Name a configuration by what sets it apart from the usual one of its experiment."""
    same = [g for g in groups if g.config["experiment"] == group.config["experiment"]]
    parts = []
    for name, value in {**group.config["choices"], "epochs": group.config["epochs"]}.items():
        runs = Counter[str]()
        for other in same:
            asked = {**other.config["choices"], "epochs": other.config["epochs"]}
            runs[str(asked.get(name))] += len(other.runs)
        (usual, most), *others = runs.most_common()
        if str(value) != usual or (others and others[0][1] == most):
            parts.append(
                f"{name} = {value:g}" if isinstance(value, float) else f"{name} = {value}"
            )
    if group.config["subset"]:
        parts.append(f"first {group.config['subset']:,} examples")
    if (source := group.config["data"]["source"]) not in ("original", "procedural", "exact"):
        parts.append(f"**{source} data**")
    return ", ".join(parts) or ("one configuration" if len(same) == 1 else "the usual choices")


def brief(group: Group, metric: str, groups: list[Group], entries: list[dict[str, Any]]) -> str:
    """Name a configuration by what its comparison asks of it, and what sets it apart there."""
    asked: dict[str, Any] = {}
    rivals = []
    for other in groups:
        entry = comparison(entries, other.config, metric)
        if other.config["experiment"] == group.config["experiment"] and entry:
            if metric in other.metrics and (entry["published"] or "target" in entry):
                rivals.append(other)
            asked = entry["choices"] if other is group else asked
    told = choices(group, rivals) if len(rivals) > 1 else ""
    names = {part.partition(" = ")[0] for part in told.split(", ")}
    parts = [f"{name} = {value}" for name, value in asked.items() if name not in names]
    return ", ".join([*parts, *([told] if told else [])]) or "one configuration"


def table(head: str, rows: list[str]) -> str:
    """Write a Markdown table, its columns aligned to the left."""
    return "\n".join([head, "|" + " :-- |" * (head.count("|") - 1), *rows]) + "\n"


def rows_of(group: Group, entries: list[dict[str, Any]], notes: list[str]) -> str:
    """Write the numbers of one configuration; without the columns that would be empty."""
    rows = []
    for name, ours in sorted(group.metrics.items()):
        entry = comparison(entries, group.config, name)
        beside = published(entry)
        if entry and entry["published"]:
            beside += f" {{cite}}`{entry['published']['source']}`"
        if entry:
            notes += [entry["protocol"]] * (entry["protocol"] not in notes)
            beside += f" ({notes.index(entry['protocol']) + 1})"
        n = f" ({ours.over.partition(', ')[2]})" if ", " in ours.over else ""
        cells = [name.replace("_", " "), f"{ours}{n}", beside, verdict(ours, entry)]
        rows.append((cells, entry is not None))
    if any(compared for _, compared in rows):
        head = "| number | ours | published | verdict |"
        return table(head, [f"| {' | '.join(cells)} |" for cells, _ in rows])
    return table("| number | ours |", [f"| {' | '.join(cells[:2])} |" for cells, _ in rows])


def result_table(same: list[Group], entries: list[dict[str, Any]]) -> str:
    """Write the results of one experiment, each configuration folded, then the protocols."""
    parts: list[str] = []
    notes: list[str] = []
    for group in same:
        over = next(iter(group.metrics.values())).over.partition(",")[0]
        title = f"{choices(group, same)}: {len(group.metrics)} numbers, {over}"
        parts += [f"::::{{dropdown}} {title}\n", rows_of(group, entries, notes), "::::\n"]
    return "\n".join([*parts, *(f"({k}) {note}\n" for k, note in enumerate(notes, start=1))])


def record_row(group: Group, groups: list[Group]) -> str:
    """Return a configuration's line of the table of records."""
    seconds = statistics.fmean(run["wall_seconds"] for run in group.runs)
    hardware = ", ".join(sorted({str(run["hardware"]) for run in group.runs}))
    commits = ", ".join(sorted({f"`{run['commit']}`" for run in group.runs}))
    data, seeds = group.config["data"], ", ".join(str(run["seed"]) for run in group.runs)
    cells = [
        f"`{group.config['experiment']}`",
        choices(group, groups),
        seeds,
        f"{data['name']} ({data['source']}; {data['split']})",
        str(group.config["epochs"]),
        f"{seconds / 60:.1f} min",
        hardware,
        commits,
    ]
    return f"| {' | '.join(cells)} |"


def compared(groups: list[Group], entries: list[dict[str, Any]]) -> list[Any]:
    """Every number with a published neighbour or a target, in the order of the chapters."""
    found = []
    for group in groups:
        experiment = group.config["experiment"]
        for name, ours in sorted(group.metrics.items()):
            entry = comparison(entries, group.config, name)
            if entry and (entry["published"] or "target" in entry):
                how = brief(group, name, groups, entries)
                what = f"{experiment}, {how}: {name}".replace("_", " ")
                where = chapter_of(experiment)
                row = title_of(where), what, ours, entry, published(entry), verdict(ours, entry)
                found.append((ORDER.index(where) if where in ORDER else len(ORDER), row))
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


def page(groups: list[Group], entries: list[dict[str, Any]]) -> str:
    """Return the text of the results page."""
    if not groups:
        return f"{INTRODUCTION}\n{NONE_YET}\n"
    parts = [INTRODUCTION, ONE_SCREEN, overview.table(compared(groups, entries)), ALL_OF_THEM]
    names = sorted({group.config["experiment"] for group in groups})
    for chapter in (*ORDER, ""):
        mine = [name for name in names if chapter_of(name) == chapter]
        if mine:
            link = f" ({{doc}}`{chapter}`)" if chapter else ""
            parts.append(f"### {title_of(chapter)}{link}\n")
        for experiment in mine:
            same = [group for group in groups if group.config["experiment"] == experiment]
            parts += [f"**Experiment `{experiment}`**\n", result_table(same, entries)]
    head = "| experiment | choices | seeds | data | epochs | training time | hardware | commit |"
    rows = [record_row(group, groups) for group in groups]
    made = f"::::{{dropdown}} {len(rows)} configurations\n\n{table(head, rows)}\n::::\n"
    return "\n".join([*parts, "## How they were made\n", made])


def summary(groups: list[Group], entries: list[dict[str, Any]]) -> str:
    """Return the read-me's table: the headline numbers that have a published neighbour."""
    rows = []
    for group in groups:
        for name, ours in sorted(group.metrics.items()):
            entry = comparison(entries, group.config, name)
            if entry is None or not (entry.get("headline") and entry["published"]):
                continue
            beside, source = published(entry), entry["published"]
            cells = [
                f"`{group.config['experiment']}`",
                brief(group, name, groups, entries),
                name.replace("_", " "),
                f"{ours} ({ours.over})",
                f"{beside} ([{source['name']}]({source['url']}))",
                verdict(ours, {k: v for k, v in entry.items() if k != "target"}),
            ]
            rows.append(f"| {' | '.join(cells)} |")
    if not rows:
        return f"{NONE_YET}\n"
    return table("| experiment | choices | number | ours | published | verdict |", rows)


def filled(readme: str, text: str) -> str:
    """Put a text between the markers of the read-me. Raises RecordError without markers."""
    parts = re.split(f"({START}\n|{END})", readme)
    if len(parts) != 5:
        raise RecordError(f"README.md must have {START} and {END} once each, in this order")
    return "".join([*parts[:2], text, *parts[3:]])


def pages(root: Path = ROOT) -> dict[Path, str]:
    """Return the files that the records decide, and their texts."""
    groups = read_groups(root / "companion/published")
    entries = read_json(root / "book/published_numbers.json")["comparisons"]
    bib = (root / "book/references.bib").read_text(encoding="utf8")
    for entry in entries:
        source = (entry["published"] or {}).get("source")
        if source and not re.search(rf"@\w+\{{{re.escape(source)},", bib):
            raise RecordError(f"published_numbers.json cites {source!r}, not in references.bib")
    readme = root / "README.md"
    return {
        root / "book/results.md": page(groups, entries),
        readme: filled(readme.read_text(encoding="utf8"), summary(groups, entries)),
    }


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Run the command line on a project's folder; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    options, status = parser.parse_args(arguments), 0
    try:
        texts = pages(root)
    except RecordError as error:
        print(error)
        return 1
    for path, text in texts.items():
        name = path.relative_to(root)
        if not options.check:
            path.write_text(text, encoding="utf8")
        elif not path.exists() or path.read_text(encoding="utf8") != text:
            print(f"{name} is out of step: run python book/_tools/results.py")
            status = 1
            continue
        print(f"{name}: in step")
    return status


if __name__ == "__main__":
    sys.exit(main())
