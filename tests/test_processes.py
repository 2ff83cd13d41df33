"""Several processes train one model: the same weights in each, and those of one process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed
from ranks import apart, penalised, weights

from companion.models.glow import ActNorm
from companion.tensors import load_tensors
from companion.train import train

HERE = Path(__file__).parent
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


@pytest.fixture(scope="module")
def launched(tmp_path_factory) -> Path:
    """Train in two processes; return the folder with the weights of each.

    `accelerate launch` starts several processes by this same torch.distributed.run on GPUs, but on
    CPUs by mpirun, which few machines have.
    """
    if not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo, by which processes on CPUs speak")
    folder = tmp_path_factory.mktemp("ranks")
    paths = os.pathsep.join([str(HERE.parent), str(HERE)])
    environment = {**os.environ, "PYTHONPATH": paths, "COMPANION_RUNS": str(folder / "runs")}
    environment |= {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    command = [sys.executable, *LAUNCH, str(HERE / "ranks.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["penalised-2", "wgan-1", "wgan-2", "started-1"])
def test_two_processes_keep_equal_weights(name, launched):
    (first, one), (second, two) = (
        load_tensors(launched / f"{name}-{rank}.safetensors") for rank in (0, 1)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert one["terms"]["loss"] != two["terms"]["loss"]  # though each saw other examples


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_scale_is_set_by_what_all_processes_see(rank, launched):
    layer = ActNorm(2)
    layer(apart().flatten(0, 1))
    there, _ = load_tensors(launched / f"apart-{rank}.safetensors")
    torch.testing.assert_close(there, dict(layer.state_dict()), atol=1e-4, rtol=1e-6)
    assert (layer.log_scale < -0.5).all()  # wider than either half, whose log_scale is 0


@pytest.mark.slow
def test_each_process_draws_its_own_noise(launched):
    noise = [
        load_tensors(launched / f"penalised-2-{rank}.safetensors")[1]["terms"]["noise"]
        for rank in (0, 1)
    ]
    assert noise[0] != noise[1]


@pytest.mark.slow
def test_two_half_batches_move_the_weights_as_one_whole(launched, monkeypatch, tmp_path):
    """The batches of two processes make up that of one; its mean is the mean of their means."""
    monkeypatch.setenv("COMPANION_RUNS", str(tmp_path))
    alone = weights(train(penalised, 2, batch=64))
    together, _ = load_tensors(launched / "penalised-2-0.safetensors")
    begun = penalised().model.state_dict()
    for name, value in alone.items():
        torch.testing.assert_close(together[name], value, atol=1e-6, rtol=1e-4)  # float32
        assert not torch.allclose(begun[name], value, atol=1e-4)
