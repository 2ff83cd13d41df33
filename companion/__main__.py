"""The command line: python -m companion train | run | runs | data | publish."""

# Each command imports what it needs, so that --help does not wait for torch.
import argparse
import inspect
import os
import sys
from pathlib import Path
from typing import Any

LESSON = """\
examples:
  python -m companion train vae --epochs 2 -p latent=32
  accelerate launch -m companion train vae --epochs 20     on every GPU of this machine
  python -m companion run latent/vae -p epochs 2           a chapter, with other parameters
  python -m companion runs                                 what was trained here, and published
  python -m companion data get fashion-mnist               download a data set, checksum verified
  python -m companion publish vae-seed0-1a2b3c4d           copy a run to the published ones
"""


def parse_value(name: str, text: str, example: Any) -> Any:
    """Read a parameter as the type of its default. Raises ValueError, in one sentence.

    Truth values are true or false in any case; several numbers are written 16,32,64.
    """
    kind = type(example)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        if kind is tuple:
            return tuple(type(example[0])(part) for part in text.strip("()").split(","))
        return kind(text)
    except (ValueError, KeyError):
        wanted = {bool: "true or false", tuple: "numbers with commas between them"}
        what = wanted.get(kind, kind.__name__)
        raise ValueError(f"{name} must be {what}, got {text!r}") from None


def parse_choices(pairs: list[str], experiment: Any) -> dict[str, Any]:
    """Turn name=value words into the experiment's arguments."""
    from companion.maths import nearest

    known = {k: p.default for k, p in inspect.signature(experiment).parameters.items()}
    found = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise ValueError(f"a choice is written name=value, got {pair!r}")
        if name not in known:
            hint = nearest(name, known)
            raise ValueError(f"{experiment.__name__} has no choice {name!r} {hint}")
        found[name] = parse_value(name, text, known[name])
    return found


def train_command(args: argparse.Namespace) -> None:
    """Train an experiment and print its final numbers."""
    from companion.experiments import EXPERIMENTS
    from companion.maths import nearest
    from companion.train import train

    if args.experiment not in EXPERIMENTS:
        hint = nearest(args.experiment, EXPERIMENTS)
        raise ValueError(f"unknown experiment {args.experiment!r} {hint}")
    experiment = EXPERIMENTS[args.experiment]
    choices = parse_choices(args.choice, experiment)
    run = train(experiment, args.epochs, args.seed, args.subset, **choices)
    if os.environ.get("RANK", "0") != "0":  # of several processes one speaks
        return
    print(run)
    for name, found in run.metrics.items():
        print(f"  {name}: {found['value']:.4g} ± {found['error']:.2g} {found['unit']}")


def run_command(args: argparse.Namespace) -> None:
    """Execute a chapter with other parameters."""
    from companion.chapters import run

    words = args.parameter
    print(run(args.chapter, dict(words), args.output))


def runs_command(args: argparse.Namespace) -> None:
    """List the runs of this machine and the published ones."""
    from companion.runs import PUBLISHED, all_runs, local_runs

    for title, root in {"published": PUBLISHED, "here": local_runs()}.items():
        found = all_runs(root)
        print(f"{title}: {len(found)} runs")
        for run in found:
            metrics = list(run.metrics.items())[:3]
            numbers = ", ".join(f"{k} {v['value']:.4g} ± {v['error']:.1g}" for k, v in metrics)
            print(f"  {run}{'; ' if numbers else ''}{numbers}")


def data_command(args: argparse.Namespace) -> None:
    """Show what data are here, or download one set."""
    from companion.data import fetch, status

    if args.get:
        print(fetch(args.get))
        return
    for row in status():
        print("  ".join(f"{value}" for value in row.values()))


def publish_command(args: argparse.Namespace) -> None:
    """Copy the light part of a finished run to the published ones."""
    from companion.maths import nearest
    from companion.runs import all_runs, local_runs, publish

    found = {run.name: run for run in all_runs(local_runs())}  # the longest of each comes last
    if args.run not in found:
        raise ValueError(f"no finished run {args.run!r} here {nearest(args.run, found)}")
    print(publish(found[args.run], record_only=args.record_only, half=args.half).folder)


def parser() -> argparse.ArgumentParser:
    """Describe every command."""
    shape = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        "python -m companion", description=__doc__, epilog=LESSON, formatter_class=shape
    )
    commands = top.add_subparsers(required=True, metavar="command")

    sub = commands.add_parser("train", help="train an experiment, or go on where it stopped")
    sub.add_argument("experiment", help="its name, for instance vae")
    sub.add_argument("--epochs", type=int, default=0, help="0: recall the published run")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--subset", type=int, default=0, help="first n training examples; 0: all")
    sub.add_argument("-p", "--choice", action="append", default=[], metavar="NAME=VALUE")
    sub.set_defaults(act=train_command)

    sub = commands.add_parser("run", help="execute a chapter with other parameters")
    sub.add_argument("chapter", help="for instance latent/vae")
    pair = {"nargs": 2, "metavar": ("NAME", "VALUE"), "action": "append", "default": []}
    sub.add_argument("-p", "--parameter", **pair)
    sub.add_argument("-o", "--output", type=Path, help="notebook to write")
    sub.set_defaults(act=run_command)

    sub = commands.add_parser("runs", help="list the runs of this machine and the published ones")
    sub.set_defaults(act=runs_command)

    sub = commands.add_parser("data", help="show what data are here; `data get NAME` downloads")
    sub.add_argument("verb", nargs="?", choices=["get"])
    sub.add_argument("get", nargs="?", metavar="NAME")
    sub.set_defaults(act=data_command)

    sub = commands.add_parser("publish", help="copy a finished run to the published ones")
    sub.add_argument("run")
    sub.add_argument("--record-only", action="store_true", help="without weights: a further seed")
    sub.add_argument("--half", action="store_true", help="weights in half precision, not in bytes")
    sub.set_defaults(act=publish_command)
    return top


def main(words: list[str] | None = None) -> int:
    """Run one command; a mistake of the user ends with one sentence and exit status 2."""
    args = parser().parse_args(words)
    try:
        args.act(args)
    except (ValueError, TypeError, RuntimeError, FloatingPointError, OSError) as error:
        if error.__cause__ is None and not str(error):
            raise
        print(f"companion: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
