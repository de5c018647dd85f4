"""For Slurm: an array of jobs, each warned before its time limit, which then puts itself back into the queue."""

from sweepstake.run.scripts.job import WARNED_SECONDS, Job


def slurm(job: Job) -> str:
    """A script for sbatch."""
    hours, minutes = divmod(-(-job.seconds // 60), 60)
    card = "\n#SBATCH --gres=gpu:1" if job.card else ""
    return f"""#!/bin/bash
{job.comments}
# Submit it with `sbatch FILE`.
#SBATCH --job-name={job.name}
#SBATCH --array=0-{job.copies - 1}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={job.cores}{card}
#SBATCH --mem={job.megabytes}M
#SBATCH --time={hours:02}:{minutes:02}:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@{WARNED_SECONDS}
#SBATCH --output={job.name}-%A_%a.log
#SBATCH --open-mode=append

# Slurm's warning comes to this shell alone, the end of a job to every process of it.
trap 'warned=yes; kill -USR1 "$copy"' USR1
trap ':' TERM

{job.shell} &
copy=$!
while kill -0 "$copy" 2>/dev/null; do wait "$copy"; done  # A signal ends a wait, not the copy.
wait "$copy"
code=$?

# Out of time with cells left: the same copy again, later. What it has finished is kept.
if [ "$warned" = yes ] && [ "$code" -gt 128 ]; then
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
fi
exit "$code"
"""
