"""Scripts that run many copies of one command on a cluster: one function a scheduler, each in a file of its own.

Every copy takes cells from the same store, so a script says nothing about which copy computes what.
"""

from collections.abc import Callable

from sweepstake.base.errors import UserError, one_of
from sweepstake.run.scripts.job import Job
from sweepstake.run.scripts.kubernetes import kubernetes
from sweepstake.run.scripts.pbs import pbs
from sweepstake.run.scripts.slurm import slurm

SCHEDULERS: dict[str, Callable[[Job], str]] = {"slurm": slurm, "pbs": pbs, "kubernetes": kubernetes}


def check_scheduler(name: str) -> None:
    """There is a script for it."""
    if name not in SCHEDULERS:
        raise UserError(f"--for {name}: say {one_of(list(SCHEDULERS))}.")
