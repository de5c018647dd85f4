"""Imported by the fork server before any work.

Every worker is forked with the kernels compiled and the libraries loaded.
"""

import atexit
import contextlib
import os
import sys
import warnings

import numpy as np
import torch

from sweepstake.engine.choose import warm
from sweepstake.engine.images import prepare
from sweepstake.pieces.datasets import Data
from sweepstake.study.study import read_study


def ready() -> None:
    """One step of a network of one unit."""
    torch.set_num_threads(1)
    (tiny,) = read_study({"model": {"name": "mlp", "hidden": [1]}, "steps": 1, "batch_size": 1}, name="tiny").cells
    x, y = np.zeros((2, 1, 2, 2), np.uint8), np.zeros(2, np.int64)
    warm(tiny, prepare(tiny, Data(x, y, x, y, 2)))


# What fails here fails again in a worker, which can tell it; a fork server that ended could not.
with contextlib.suppress(Exception), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    ready()

if any("multiprocessing.forkserver" in each for each in sys.orig_argv):
    # The server ends after its command, whose output it holds open:
    # Python would put torch away first, for a second or more.
    atexit.register(os._exit, 0)
