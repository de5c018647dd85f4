"""Two cores are shared by many tests: one thread each. Caches go to a folder that is thrown away."""

import os
import signal
import tempfile
from collections.abc import Callable

import pytest
import torch

torch.set_num_threads(1)
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="sweepstake-tests-")
for _home in ("TRACKIO_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
    os.environ[_home] = tempfile.mkdtemp(prefix="sweepstake-tests-")  # Read when the library is imported.
os.environ.pop("SWEEPSTAKE_DATA", None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # Begun in a shell's background, where Ctrl-C reaches nobody: some tests send one.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """A command of ours in this process: its exit code, what it printed, and what it told; never a traceback."""
    from sweepstake.cli import main

    def called(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        assert "\x1b" not in out + err
        return code, out, err

    return called
