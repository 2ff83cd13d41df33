"""Damage files in every way: each is refused by one error that names it, or changes nothing.

usage: damage.py [FILES]
"""

import pickle
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from assault.truth import Totals, home, said, snapped
from companion.files import RunError
from companion.runs import Run
from companion.train import resume, train
from companion.train.state import State

TEXTS = ("config.json", "metrics.json", "history.jsonl")
TENSORS = ("weights.safetensors", "snapshots.safetensors", "state-2.safetensors")


def flipped(content: bytes, draw: random.Random) -> bytes:
    """One to twenty bits the other way round."""
    found = bytearray(content)
    for _ in range(draw.choice([1, 1, 1, 20])):
        bit = draw.randrange(8 * len(found))
        found[bit // 8] ^= 1 << bit % 8
    return bytes(found)


def zeroed(content: bytes, draw: random.Random) -> bytes:
    """A block that a disk forgot."""
    at = draw.randrange(len(content))
    return content[:at] + bytes(len(content[at : at + 512])) + content[at + 512 :]


def other_digit(content: bytes, draw: random.Random) -> bytes:
    """One digit for another, as a hand may write it: a text stays well-formed."""
    places = [k for k, byte in enumerate(content) if 48 <= byte < 58]
    at = draw.choice(places or [0])
    return content[:at] + str(draw.randrange(10)).encode() + content[at + 1 :]


STRANGE = [
    b"", b"\0" * 64, b"{}", b"[]", b"null", b"3", b"[" * 100_000, b'{"a": 3}', b"<html></html>",
    b"version https://git-lfs.github.com/spec/v1\n", pickle.dumps({"a": 1}), b"\xff" * 8,
    (2**63).to_bytes(8, "little") + b"{}", (112).to_bytes(8, "little"),
]  # fmt: skip
WAYS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "truncated": lambda content, draw: content[: draw.randrange(len(content))],
    "flipped": flipped,
    "zeroed": zeroed,
    "another digit": other_digit,
    "appended": lambda content, draw: content + draw.randbytes(draw.choice([1, 9, 512])),
    "strange": lambda content, draw: draw.choice(STRANGE),
    "a piece twice": lambda content, draw: (
        content[: (k := draw.randrange(len(content)))] * 2 + content[k:]
    ),
}


def answer(folder: Path) -> str:
    """All that the run of two epochs says, and the state from which it goes on."""
    with home(folder):
        run = train(snapped, 2)
        text, state = said(run), State(snapped())
        begun = Run(run.name, run.folder, dict(run.config))
        resume(state, begun, 2)
        return f"{text} {begun.epochs} {len(begun.history)} {float(sum_of(state)):.9g}"


def sum_of(state: State) -> float:
    """A number that any change of a state changes."""
    tensors = sorted(state.tensors().items())
    return sum((k + 1) * v.double().sum().item() for k, (_, v) in enumerate(tensors))


def others(folder: Path, mine: Path) -> list[Path]:
    """Files of the same kind that belong to another seed or another length."""
    kind = mine.name.split("-")[0]
    return [path for path in folder.rglob(f"{kind}*") if path.parent != mine.parent]


def assault(files: int, seed: int = 0) -> Totals:
    """Damage as many files, one at a time; nothing else is touched."""
    totals, draw = Totals("damaged files"), random.Random(seed)
    with TemporaryDirectory() as place:
        root = Path(place) / "runs"
        with home(root):
            for epochs, number in ((1, 0), (2, 0), (1, 1), (2, 1)):
                run = train(snapped, epochs, number)
            folder = train(snapped, 2).folder
        truth = answer(root)
        for k in range(files):
            path = folder / (TEXTS + TENSORS)[k % 6]
            whole = path.read_bytes()
            way = draw.choice([*WAYS, "another's"])
            if way == "another's":
                shutil.copy(draw.choice(others(run.folder.parents[1], path)), path)
            else:
                path.write_bytes(WAYS[way](whole, draw))
            judge(totals, f"{k}: {path.name} {way}", root, path, truth)
            path.write_bytes(whole)
    return totals


def judge(totals: Totals, title: str, root: Path, path: Path, truth: str) -> None:
    """Ask for the run, and count what came."""
    totals.tried += 1
    try:
        if answer(root) == truth:
            totals.harmless += 1
        else:
            totals.believed.append(title)
    except RunError as error:
        if path.name not in str(error) or "\n" in str(error):
            totals.foreign.append(f"{title}: {error}")
    except Exception as error:
        totals.foreign.append(f"{title}: {type(error).__name__}: {error}")


if __name__ == "__main__":
    found = assault(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
    print(found)
    sys.exit(bool(found.failures))
