"""The command line: python -m companion train | measure | run | runs | data | publish."""

# Each command imports what it needs, so that --help does not wait for torch.
import argparse
import os
import signal
import sys
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Any

INTERRUPTED = 130  # the status of a command that Ctrl-C ended: 128 + SIGINT
UNREAD = 141  # of one whose output nobody reads any more: 128 + SIGPIPE
LESSON = """\
examples:
  python -m companion train vae --epochs 2 -p latent=32
  accelerate launch -m companion train vae --epochs 20     on every GPU of this machine
  python -m companion run latent/vae -p epochs=2           a chapter, with other parameters
  python -m companion runs                                 what was trained here, and published
  python -m companion data get fashion-mnist               download a data set, checksum verified
  python -m companion publish vae-seed0-1a2b3c4d           copy a run to the published ones
"""


def parse_choices(words: list[list[str]], experiment: Any) -> dict[str, Any]:
    """Turn what followed each -p into the experiment's arguments."""
    import inspect

    from companion.experiments import recall_by_name
    from companion.runs import Run
    from companion.words import kind_of, nearest, options, pairs, read_word

    known, found = inspect.signature(experiment).parameters, {}
    for name, text in pairs(words).items():
        if name not in known:
            hint = nearest(name, known)
            raise ValueError(f"{experiment.__name__} has no choice {name!r} {hint}")
        kind = kind_of(experiment, name)
        is_run = Run in options(kind)
        found[name] = recall_by_name(text) if is_run else read_word(name, text, kind)
    return found


def train_command(args: argparse.Namespace) -> int:
    """Train an experiment and print its final numbers."""
    if args.subset and not args.epochs:
        raise ValueError(
            f"a subset needs epochs above 0, got {args.subset} and 0: "
            "a published run has seen all of its data"
        )
    from companion.experiments import EXPERIMENTS
    from companion.train import train
    from companion.words import nearest

    if args.experiment not in EXPERIMENTS:
        hint = nearest(args.experiment, EXPERIMENTS)
        raise ValueError(f"unknown experiment {args.experiment!r} {hint}")
    experiment = EXPERIMENTS[args.experiment]
    choices = parse_choices(args.choice, experiment)
    return told(train(experiment, args.epochs, args.seed, args.subset, **choices))


def measure_command(args: argparse.Namespace) -> int:
    """Measure a run that is trained, and print its final numbers."""
    from companion.experiments import measure_by_name

    return told(measure_by_name(args.run))


def told(run: Any) -> int:
    """Print a run and its final numbers; return 130 if it was interrupted."""
    from companion.environment import speaks
    from companion.estimate import Estimate

    if speaks():  # of several processes one
        print(run)
        for name, found in run.metrics.items():
            print(f"  {name}: {Estimate(**found)}")
    return 0 if run.complete else INTERRUPTED


def run_command(args: argparse.Namespace) -> None:
    """Execute a chapter with other parameters."""
    from companion.chapters import run
    from companion.words import pairs

    signal.signal(signal.SIGINT, signal.default_int_handler)  # the kernel is ended, too
    print(run(args.chapter, pairs(args.choice), args.output))


def runs_command(args: argparse.Namespace) -> None:
    """List the runs of this machine and the published ones, and what of them is damaged."""
    from companion.estimate import Estimate
    from companion.runs import local_runs, survey

    for title, root in {"published": None, "here": local_runs()}.items():
        found, damaged = survey(root)
        print(f"{title}: {len(found)} runs{f', {len(damaged)} damaged' if damaged else ''}")
        for run in found:
            metrics = list(run.metrics.items())[:3]
            numbers = ", ".join(f"{k} {Estimate(**v)}" for k, v in metrics)
            print(f"  {run}{'; ' if numbers else ''}{numbers}")
        for why in damaged:
            print(f"  damaged: {why}")


def data_command(args: argparse.Namespace) -> None:
    """Show what data are here, or download one set."""
    from companion.data import fetch, status
    from companion.data.fetching import GETTABLE
    from companion.words import nearest

    if args.verb:
        if not args.get:
            raise ValueError(f"data get needs the name of a data set {nearest('', GETTABLE)}")
        print(fetch(args.get))
        return
    for row in status():
        missing = row.pop("missing")
        print("  ".join(f"{value}" for value in row.values()))
        if missing:
            print(f"  {missing}")


def publish_command(args: argparse.Namespace) -> None:
    """Copy the light part of a finished run to the published ones."""
    from companion.runs import local_runs, publish, survey
    from companion.words import nearest

    runs, damaged = survey(local_runs())
    found = {run.name: run for run in runs}  # the longest of each comes last
    if args.run not in found:
        also = "".join(f"; {why}" for why in damaged if args.run in str(why))
        raise ValueError(f"no finished run {args.run!r} here {nearest(args.run, found)}{also}")
    how = {"record_only": args.record_only, "bits": args.bits, "whole": args.whole}
    print(publish(found[args.run], **how).folder)


def added(commands: Any, name: str, act: Callable[..., Any], what: str) -> argparse.ArgumentParser:
    """Add a command that does something."""
    found = commands.add_parser(name, help=what)
    found.set_defaults(act=act)
    return found


def parser() -> argparse.ArgumentParser:
    """Describe every command."""
    shape = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        "python -m companion", description=__doc__, epilog=LESSON, formatter_class=shape
    )
    to = top.add_subparsers(required=True, metavar="command")
    choice: dict[str, Any] = {"nargs": "+", "metavar": "NAME=VALUE", "action": "append"}
    choice |= {"default": [], "help": "may be repeated; `NAME VALUE` is the same"}

    sub = added(to, "train", train_command, "train an experiment, or go on where it stopped")
    sub.add_argument("experiment", help="its name, for instance vae")
    sub.add_argument("--epochs", type=int, default=0, help="0: recall the published run")
    sub.add_argument("--seed", type=int, default=0)
    sub.add_argument("--subset", type=int, default=0, help="first n training examples; 0: all")
    sub.add_argument("-p", "--choice", **choice)

    sub = added(to, "measure", measure_command, "measure a trained run whose measure failed")
    sub.add_argument("run")

    sub = added(to, "run", run_command, "execute a chapter with other parameters")
    sub.add_argument("chapter", help="for instance latent/vae")
    sub.add_argument("-p", "--choice", **choice)
    sub.add_argument("-o", "--output", type=Path, help="notebook to write")

    added(to, "runs", runs_command, "list the runs of this machine and the published ones")

    sub = added(to, "data", data_command, "show what data are here; `data get NAME` downloads")
    sub.add_argument("verb", nargs="?", choices=["get"])
    sub.add_argument("get", nargs="?", metavar="NAME")

    sub = added(to, "publish", publish_command, "copy a finished run to the published ones")
    sub.add_argument("run")
    sub.add_argument("--record-only", action="store_true", help="without weights: a further seed")
    sub.add_argument("--bits", type=int, default=8, help="of a weight, 4 to 16")
    sub.add_argument("--whole", action="store_true", help="also the parts that are not `saved`")
    return top


def main(words: list[str] | None = None) -> int:
    """Run one command; return its exit status.

    A mistake of the user ends with one sentence and status 2, an interrupt with one and 130; a
    reader who has seen enough, such as `head`, ends it without a word.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="namereplace")  # where a console has no sign such as ±
    args = parser().parse_args(words)
    try:
        status = args.act(args) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print("companion: interrupted", file=sys.stderr)
        return INTERRUPTED
    except MemoryError:
        print("companion: there is not enough memory", file=sys.stderr)
        return 2
    except BrokenPipeError:  # let the rest vanish, or Python would complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    except (ValueError, TypeError, RuntimeError, FloatingPointError, OSError) as error:
        if error.__cause__ is None and not str(error):
            raise
        print(f"companion: {error}", file=sys.stderr)
        return 2


def leave(*_: Any) -> None:
    """End an interrupted command at once, but for a training, which has its own way.

    Libraries lose a KeyboardInterrupt while they are imported: it comes back as another error,
    or as another exit status. Nothing is lost by not unwinding: files appear whole.
    """
    os.write(2, b"companion: interrupted\n")
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, leave)
    status = main()
    if status == INTERRUPTED:  # Python would end with another if a library saw the interrupt
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
