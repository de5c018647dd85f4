"""`--on slurm`: Dask workers as jobs of Slurm, as `[machine.slurm]` says; cancelled when the study has ended."""

from collections.abc import Iterator
from contextlib import contextmanager

from sweepstake.base.errors import UserError
from sweepstake.run.settings import Settings
from sweepstake.run.stopping import signals_kept

try:
    with signals_kept():  # dask_jobqueue takes Ctrl-C as it is imported.
        from dask_jobqueue.slurm import SLURMCluster
except ImportError:
    raise UserError('--on slurm: needs dask-jobqueue. `pip install "sweepstake[slurm]"`.') from None


@contextmanager
def jobs(settings: Settings) -> Iterator[str]:
    """The address of a scheduler in this process, whose workers are queued; they are cancelled at the end."""
    said = settings.slurm
    if said is None:
        raise UserError("--on slurm: the study has no [machine.slurm]. "
                        'Say there what a job is: jobs = 4, cores = 8, memory = "16GB", walltime = "04:00:00".')
    cluster = SLURMCluster(
        cores=said.cores,
        processes=1,
        memory=said.memory,
        walltime=said.walltime,
        queue=said.partition,
        account=said.account,
        interface=said.interface,
        job_extra_directives=list(said.directives),
        job_script_prologue=list(said.prologue),
        python=said.python,
        scheduler_options={"dashboard": False, "dashboard_address": ":0"},
    )
    with cluster:
        cluster.scale(jobs=said.jobs)
        yield cluster.scheduler_address
