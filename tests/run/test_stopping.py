"""A signal ends a run once, and what it was about to give back is given back."""

import os
import signal
import time

import pytest

from sweepstake.run.stopping import Stopping, stoppable, unstopped

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
