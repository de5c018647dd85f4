"""For Kubernetes (1.29 or newer): an indexed Job, and a claim of the volume that all its pods share."""

import json
import os
from pathlib import Path

from sweepstake.base.errors import UserError
from sweepstake.run.scripts.job import WARNED_SECONDS, Job

IMAGE = "sweepstake"
RETRIES = 3
"""Of a copy that dies; those that a node's drain or a preemption ends do not count."""


def kubernetes(job: Job) -> str:
    """A manifest for kubectl."""
    name = f"sweepstake-{job.name.lower()}"
    volume = job.volume or name
    return f"{job.comments}\n# Submit it with `kubectl apply -f FILE`.\n{_claim(job, volume)}{_job(job, name, volume)}"


def _claim(job: Job, volume: str) -> str:
    """Of a new volume, where none is named."""
    if job.volume:
        return ""
    gigabytes = 1 + 2 * (job.disk_bytes or 10**10) // 10**9
    return f"""apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {json.dumps(volume)}
spec:
  accessModes: [ReadWriteMany]
  resources:
    requests:
      storage: {gigabytes}G
---
"""


def _job(job: Job, name: str, volume: str) -> str:
    card = "\n              nvidia.com/gpu: 1" if job.card else ""
    mount = json.dumps(str(_mount(job.folders)))
    command = "\n".join(f"            - {_text(word)}" for part in job.command for word in part)
    return f"""apiVersion: batch/v1
kind: Job
metadata:
  name: {json.dumps(name)}
spec:
  completionMode: Indexed
  completions: {job.copies}
  parallelism: {job.copies}
  activeDeadlineSeconds: {job.seconds}
  backoffLimitPerIndex: {RETRIES}
  podFailurePolicy:
    rules:
      - action: Ignore
        onPodConditions:
          - type: DisruptionTarget
            status: "True"
      - action: FailIndex
        onExitCodes:
          operator: In
          values: [1, 2]
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: {WARNED_SECONDS}
      containers:
        - name: copy
          image: {json.dumps(job.image or IMAGE)}
          command:
{command}
          workingDir: {mount}
          env:
            - name: XDG_CACHE_HOME
              value: /cache
          resources:
            requests:
              cpu: {job.cores}
              memory: {job.megabytes}Mi
            limits:
              memory: {job.megabytes}Mi{card}
          volumeMounts:
            - name: shared
              mountPath: {mount}
            - name: cache
              mountPath: /cache
      volumes:
        - name: shared
          persistentVolumeClaim:
            claimName: {json.dumps(volume)}
        - name: cache
          emptyDir: {{}}
"""


def _text(word: str) -> str:
    """A word of the command as it is: JSON's strings are YAML's, and `$(NAME)` would be a variable's."""
    return json.dumps(word.replace("$(", "$$("))


def _mount(folders: list[Path]) -> Path:
    """The folder that holds all that a pod reads and writes."""
    mount = Path(os.path.commonpath(folders))
    if mount == Path(mount.anchor):
        said = ", ".join(str(folder) for folder in dict.fromkeys(folders))
        raise UserError(f"--for kubernetes: {said}: no one volume holds these. Put all below one folder, "
                        "as in --store /shared/runs --data /shared/data.")
    return mount
