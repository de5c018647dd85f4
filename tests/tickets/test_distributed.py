"""Two processes train one net on batches of their own with DistributedDataParallel, by gloo on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).parents[2]


def test_two_processes_end_with_equal_masks_and_weights_and_the_dead_at_0(tmp_path):
    here = {**os.environ, "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen([sys.executable, "-m", "tests.tickets.two_processes", str(rank), str(tmp_path)], cwd=ROOT, env=here,
                             stderr=subprocess.PIPE, text=True) for rank in range(2)]
    try:
        said = [each.communicate(timeout=120)[1] for each in both]
    finally:
        for each in both:
            each.kill()
    assert [each.returncode for each in both] == [0, 0], said

    first, second = (torch.load(tmp_path / f"{rank}-True.pt", weights_only=True) for rank in range(2))
    for what in ("masks", "weights", "w_init", "grads"):
        assert [name for name in first[what] if not torch.equal(first[what][name], second[what][name])] == [], what
    for name, mask in first["masks"].items():
        assert first["weights"][name][~mask].count_nonzero() == 0
        assert first["grads"][name][~mask].count_nonzero() == 0
        assert (first["weights"][name] != first["w_init"][name])[mask].any()
        free = torch.load(tmp_path / "0-False.pt", weights_only=True)
        assert free["weights"][name][~mask].count_nonzero() > 0
