"""For PBS (OpenPBS, PBS Professional): an array of subjobs, each of which submits its successor when it is out of time.

PBS sends no warning, so the script sends its own. It lets nobody but its operators put a job back into the queue.
"""

from sweepstake.run.scripts.job import WARNED_SECONDS, Job


def pbs(job: Job) -> str:
    """A script for qsub."""
    hours, minutes = divmod(-(-job.seconds // 60), 60)
    array = f"\n#PBS -J 0-{job.copies - 1}" if job.copies > 1 else ""  # PBS takes no array of one.
    card = ":ngpus=1" if job.card else ""
    return f"""#!/bin/bash
{job.comments}
# Submit it with `qsub FILE`.
#PBS -N {job.name[:15].rstrip("-")}{array}
#PBS -l select=1:ncpus={job.cores}:mem={job.megabytes}mb{card}
#PBS -l walltime={hours:02}:{minutes:02}:00
#PBS -r y
#PBS -j oe

cd "$PBS_O_WORKDIR" || exit 2
exec >> "{job.name}-$PBS_JOBID.log" 2>&1

# The end of a job comes to every process of it; this shell waits for its copy.
trap ':' TERM
timeout --signal=USR1 {job.seconds - WARNED_SECONDS} \\
    {job.shell}
code=$?

# Out of time (124 is timeout's word for it) with cells left: one copy more, later. What this one has finished is kept.
if [ "$code" -eq 124 ]; then
    sed '/^#PBS -J/d' "$0" | qsub
fi
exit "$code"
"""
