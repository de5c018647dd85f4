"""Two cores are shared by many tests: one thread each. Caches go to a folder that is thrown away."""

import os
import tempfile

import torch

torch.set_num_threads(1)
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="sweepstake-tests-")
os.environ.pop("SWEEPSTAKE_DATA", None)
