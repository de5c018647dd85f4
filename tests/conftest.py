"""Two cores are shared by many tests: one thread each. Caches go to a folder that is thrown away."""

import os
import signal
import tempfile

import torch

torch.set_num_threads(1)
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="sweepstake-tests-")
os.environ.pop("SWEEPSTAKE_DATA", None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # Begun in a shell's background, where Ctrl-C reaches nobody: some tests send one.
    signal.signal(signal.SIGINT, signal.default_int_handler)
