"""The selective scan beside the loop and mambapy's parallel scan: speed and peak memory.

python tests/bench/states.py    write `companion/nets/measured.json`, which a chapter shows, and
                                the section of `book/benchmarks.md`; needs mambapy 1.2.0

A whole block is also measured beside the one of transformers that needs no CUDA kernels, if
transformers is installed.
"""

import importlib.util
import json
import multiprocessing
import platform
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch
from page import put
from torch import Tensor
from turns import away, duel, seconds

from companion.models.states import Block
from companion.nets.scan import selective_scan

TITLE = "## The selective scan"
RECORD = Path(__file__).parents[2] / "companion/nets/measured.json"
LENGTHS = (256, 1024, 4096, 16384)
SHAPES = ((1, 64, 16), (8, 64, 16))  # sequences, channels, states
TURNS = 3


def given(n: int, length: int, d: int, state: int) -> list[Tensor]:
    """Inputs as Mamba's are: x, dt, a, b, c."""
    draw = torch.Generator().manual_seed(0)
    x, dt = torch.randn(2, n, length, d, generator=draw)
    b, c = torch.randn(2, n, length, state, generator=draw)
    a = -torch.arange(1.0, state + 1)[:, None].repeat(1, d)
    return [v.requires_grad_() for v in (x, (dt - 3).exp(), a, b, c)]


def loop(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Step after step, the decays at once and no slice that autograd would fill with zeros."""
    decay, enters = torch.exp(dt[:, :, None] * a), b[..., None] * (dt * x)[:, :, None]
    h, states = torch.zeros_like(enters[:, 0]), []
    for one, other in zip(decay.unbind(1), enters.unbind(1), strict=True):
        h = one * h + other
        states.append(h)
    return (c[:, :, None] @ torch.stack(states, 1))[:, :, 0]


def peer() -> Callable[..., Tensor]:
    """mambapy's `MambaBlock.selective_scan`, on its own parallel scan."""
    found = importlib.util.find_spec("mambapy")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("needs mambapy: pip install --no-deps mambapy==1.2.0")
    path = Path(found.submodule_search_locations[0]) / "pscan.py"
    spec = importlib.util.spec_from_file_location("mambapy_pscan", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def scanned(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        decay, gain = torch.exp(dt[..., None] * a.T), dt[..., None] * b[:, :, None]
        states = module.pscan(decay, gain * x[..., None])
        return (states @ c[..., None])[..., 0]

    return scanned


WAYS: dict[str, Callable[[], Callable[..., Tensor]]] = {
    "ours": lambda: selective_scan, "loop": lambda: loop, "mambapy": peer,
}  # fmt: skip


def once(work: Callable[..., Tensor], inputs: list[Tensor]) -> float:
    """Seconds of one pass forward and backward."""
    return seconds(lambda: torch.autograd.grad(work(*inputs).sum(), inputs))


def status(what: str) -> float:
    """A line of this process's /proc/self/status, in MB: VmRSS, or VmHWM, the most there was."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024


def peak(way: str, shape: tuple[int, ...], answer: "multiprocessing.Queue[float]") -> None:
    """Put the memory that a pass adds at most, in MB, into a queue: in a process of its own."""
    torch.set_num_threads(1)
    work, inputs = WAYS[way](), given(*shape)
    once(work, given(1, 8, *shape[2:]))
    Path("/proc/self/clear_refs").write_text("5")  # the most there was begins anew
    before = status("VmRSS")
    once(work, inputs)
    answer.put(status("VmHWM") - before)


def memory(way: str, shape: tuple[int, ...]) -> float:
    """Peak memory of one pass above what was there before it, in MB; before anything is timed."""
    context = multiprocessing.get_context("fork")
    answer: multiprocessing.Queue[float] = context.Queue()
    process = context.Process(target=peak, args=(way, shape, answer))
    process.start()
    found = answer.get()
    process.join()
    return found


def row(n: int, length: int, d: int, state: int) -> dict[str, float]:
    """Time one shape: medians of turns taken, and how far apart the values are."""
    inputs, works = given(n, length, d, state), {way: make() for way, make in WAYS.items()}
    apart = {w: (works[w](*inputs) - loop(*inputs)).abs().max().item() for w in works}
    turns = [{w: once(work, inputs) for w, work in works.items()} for _ in range(TURNS + 1)][1:]
    found: dict[str, float] = {"sequences": n, "length": length, "apart": apart["ours"]}
    for way in works:
        found[f"{way} s"] = median(turn[way] for turn in turns)
    return found


def of_blocks() -> list[str]:
    """A block beside that of transformers in plain PyTorch, as lines of a table."""
    if away("transformers"):
        return ["", "transformers was not installed."]
    from transformers import MambaConfig, MambaModel

    shape: Any = dict(vocab_size=16, hidden_size=32, state_size=16, num_hidden_layers=1)
    theirs: Any = MambaModel(MambaConfig(**shape, use_cache=False)).layers[0]
    lines = [
        "", "A block of width 32 at length 1,024, forward and backward, beside "
        f"transformers {version('transformers')} without its CUDA kernels.", "",
        "| sequences | ours, s | transformers, s | ratio |", "|" + " --: |" * 4,
    ]  # fmt: skip
    ours = Block(32)
    for n in (1, 8):
        x = torch.randn(n, 1024, 32, requires_grad=True)
        a, b, ratio = duel(partial(once, ours, [x]), partial(once, theirs, [x]), TURNS)
        lines.append(f"| {n} | {a:.3f} | {b:.2f} | {ratio:.0f} |")
        print(lines[-1], flush=True)
    return lines


def main() -> None:
    """Measure, print, and write the record and the section."""
    torch.set_num_threads(1)
    machine = f"{platform.machine()} CPU, 1 thread, torch {torch.__version__}, mambapy 1.2.0"
    shapes = [(n, t, *rest) for n, *rest in SHAPES for t in LENGTHS if n * t <= LENGTHS[-1]]
    held = [{f"{way} MB": memory(way, shape) for way in WAYS} for shape in shapes]
    rows = []
    for shape, sizes in zip(shapes, held, strict=True):
        rows.append(row(*shape) | sizes)
        print(rows[-1], flush=True)
    RECORD.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n")
    lines = [
        TITLE, "",
        f"Forward and backward of the scan alone, 64 channels of 16 states; {machine}.",
        f"Medians of {TURNS} turns; memory is the peak above what stood there before.", "",
        "| sequences | length | ours, ms | loop, ms | mambapy, ms | ours, MB | loop, MB "
        "| mambapy, MB | loop / ours | mambapy / ours | memory, ours / mambapy |",
        "|" + " --: |" * 11,
    ]  # fmt: skip
    for r in rows:
        times = [r[f"{way} s"] for way in WAYS]
        most = [r[f"{way} MB"] for way in WAYS]
        cells = [f"{r['sequences']}", f"{r['length']:,}", *(f"{1e3 * t:,.0f}" for t in times)]
        cells += [*(f"{m:,.0f}" for m in most), f"{times[1] / times[0]:.2f}"]
        cells += [f"{times[2] / times[0]:.2f}", f"{most[0] / most[2]:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    put("\n".join(lines + of_blocks()) + "\n", TITLE)


if __name__ == "__main__":
    main()
