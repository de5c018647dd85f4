"""A signal ends a run once, and what it was about to give back is given back."""

import os
import signal
import subprocess
import sys
import time
import weakref
from importlib.util import find_spec
from pathlib import Path

import pytest

from sweepstake.run.stopping import Stopping, stoppable, unstopped

ROOT = Path(__file__).parents[2]
HANDLERS = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)}


@pytest.mark.parametrize(("first", "second"), [(signal.SIGUSR1, signal.SIGTERM), (signal.SIGTERM, signal.SIGTERM)])
@pytest.mark.parametrize("writing", [False, True])
def test_a_second_signal_stops_no_stopping(first: int, second: int, writing: bool):
    done = []
    with pytest.raises(Stopping), stoppable():
        try:
            if writing:
                with unstopped():
                    os.kill(os.getpid(), first)
                    done.append("written")
            else:
                os.kill(os.getpid(), first)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), second)
            time.sleep(0.05)
            done.append("given back")
    assert done == [*(["written"] if writing else []), "given back"]
    assert {number: signal.getsignal(number) for number in HANDLERS} == HANDLERS


def test_a_signal_that_comes_where_nothing_can_be_raised_stops_a_moment_later():
    class Thing:
        pass

    def callback(_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        done.append("went on")  # Not reached: it is raised here, and dropped by Python.

    done, thing = [], Thing()
    hook, reference = sys.unraisablehook, weakref.ref(thing, callback)
    with pytest.raises(Stopping), stoppable():
        del thing
        done.append("dropped")
        time.sleep(30)
    assert done == ["dropped"] and reference() is None and sys.unraisablehook is hook
    assert {number: signal.getsignal(number) for number in HANDLERS} == HANDLERS


def test_importing_dasks_queue_leaves_ctrl_c_alone():
    if find_spec("dask_jobqueue") is None:  # Not importorskip: importing it takes Ctrl-C away.
        pytest.skip("dask-jobqueue is not installed")
    code = """
import signal
import subprocess
import sys
before = signal.getsignal(signal.SIGINT)
import sweepstake.run.executors.slurm
print(signal.getsignal(signal.SIGINT) is before)
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT).stdout == "True\n"


def test_beginning_ray_leaves_sigterm_alone(ray_here):
    assert {number: signal.getsignal(number) for number in HANDLERS} == HANDLERS
