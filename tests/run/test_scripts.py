"""Scripts for clusters: why so many copies, so long and so much; and that shells and schedulers take them as they are meant."""

import dataclasses
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweepstake.base.errors import UserError
from sweepstake.cli import main
from sweepstake.run import estimate as module
from sweepstake.run.estimate import Estimate
from sweepstake.run.scripts import SCHEDULERS
from sweepstake.run.scripts.job import WARNED_SECONDS, Job, Wanted, job_for
from sweepstake.run.settings import Settings
from tests.small import small_study, write_small

HOUR = 3600.0


def cost(missing: int = 88, hours: float | None = 13.0, stacks: int = 1) -> Estimate:
    seconds = None if hours is None else hours * HOUR
    return Estimate(missing, stacks, missing, 1, seconds, 10**6, "the size of npz is not known", 100 * 2**20)


def job(wanted: Wanted | None = None, of: Estimate | None = None, command: list[list[str]] | None = None, folders: list[Path] | None = None,
        **asked: Any) -> Job:
    settings = Settings.of(small_study(), **{"store": "/shared/runs", "workers": 1, **asked})
    return job_for(small_study(), settings, of or cost(), wanted or Wanted(), command or [["sweepstake", "run", "small"]],
                   folders or [Path("/shared")])


@pytest.mark.parametrize(("missing", "hours", "workers", "copies", "limit"), [
    (88, 13.0, 1, 13, 2.25),  # 7 cells of 8:52 each: 1:02, twice, and five minutes.
    (88, 13.0, 4, 4, 2.0),  # 6 cells a worker.
    (88, 0.1, 1, 1, 0.5),
    (5, 50.0, 1, 5, 20.25),  # No copy without a cell.
    (5, 50.0, 4, 2, 20.25),
    (1000, 500.0, 1, 16, 63.25),
])
def test_copies_and_time_come_from_the_estimate(missing: int, hours: float, workers: int, copies: int, limit: float):
    made = job(of=cost(missing, hours), workers=workers)
    assert (made.copies, made.seconds / HOUR, made.cores) == (copies, limit, workers)


def test_the_reasons_are_told():
    assert job(workers=4).about[1:] == [
        "/shared/runs lacks 88 cells. A core takes 8:52 for one and 13:00:00 for all, by steps timed on this machine.",
        "4 copies of 4 workers: a worker computes 6 cells in 53:11.",
        "A copy may take 2:00:00: 2 times that, for a node may be slower, and 5 minutes to start.",
        "A copy may use 4 GiB: PyTorch, the images and a network a worker."]
    assert job(Wanted(copies=3, hours=24, memory="1500M")).about[2:] == [
        "3 copies of 1 worker: a worker computes 30 cells in 4:25:55. So many were asked for.", "A copy may take 24:00:00: as asked.",
        "A copy may use 1.46 GiB: as asked."]


def test_what_is_not_known_is_a_guess_that_says_so():
    unknown, card = job(of=cost(hours=None)), job(device="cuda", of=cost(stacks=3))
    assert (unknown.copies, unknown.seconds, card.copies, card.seconds, card.cores, card.megabytes) == (16, 4 * HOUR, 3, 4 * HOUR, 4, 9216)
    assert unknown.about[1] == "/shared/runs lacks 88 cells. How long they take is not known: the size of npz is not known."
    assert card.about[2:4] == ["3 copies of a card: one a stack, 16 at most.",
                               "A copy may take 4:00:00: a guess, for nothing is known of the time. Say it with --hours."]


def test_nothing_to_run_is_told():
    with pytest.raises(UserError, match=r"/shared/runs: holds every cell of small already\. Nothing is left to run\."):
        job(of=cost(missing=0))


# What schedulers and shells make of them

def test_slurm_is_told_all_that_a_copy_needs():
    said = [line.removeprefix("#SBATCH --") for line in SCHEDULERS["slurm"](job(Wanted(hours=100.5), device="cuda")).splitlines()
            if line.startswith("#SBATCH")]
    assert said == ["job-name=small", "array=0-0", "ntasks=1", "cpus-per-task=4", "gres=gpu:1", "mem=9216M", "time=100:30:00", "requeue",
                    "signal=B:USR1@120", "output=small-%A_%a.log", "open-mode=append"]


def test_pbs_is_told_all_that_a_copy_needs_and_has_no_array_of_one():
    def said(made: Job) -> list[str]:
        return [line.removeprefix("#PBS -") for line in SCHEDULERS["pbs"](made).splitlines() if line.startswith("#PBS")]

    assert said(job(workers=4)) == ["N small", "J 0-3", "l select=1:ncpus=4:mem=4096mb", "l walltime=02:00:00", "r y", "j oe"]
    assert said(job(Wanted(copies=1), device="cuda"))[1:3] == ["l select=1:ncpus=4:mem=9216mb:ngpus=1", "l walltime=04:00:00"]


def manifests(made: Job) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(SCHEDULERS["kubernetes"](made)))


def test_kubernetes_is_told_all_that_a_copy_needs():
    claim, made = manifests(job(Wanted(image="lab/sweepstake:1"), workers=4, folders=[Path("/shared"), Path("/shared/data")]))
    spec, pod = made["spec"], made["spec"]["template"]["spec"]
    assert (claim["kind"], claim["spec"]["accessModes"], made["kind"], spec["completionMode"]) == (
        "PersistentVolumeClaim", ["ReadWriteMany"], "Job", "Indexed")
    assert (spec["completions"], spec["parallelism"], spec["activeDeadlineSeconds"], spec["backoffLimitPerIndex"]) == (4, 4, 7200, 3)
    assert (pod["restartPolicy"], pod["terminationGracePeriodSeconds"], pod["containers"][0]["image"]) == ("Never", 120, "lab/sweepstake:1")
    assert pod["containers"][0]["resources"] == {"requests": {"cpu": 4, "memory": "4096Mi"}, "limits": {"memory": "4096Mi"}}
    assert [each["mountPath"] for each in pod["containers"][0]["volumeMounts"]] == ["/shared", "/cache"]
    assert pod["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"] == "sweepstake-small"
    card, = manifests(job(Wanted(volume="lab"), device="cuda"))
    assert card["spec"]["template"]["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "lab"
    assert card["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1


@pytest.mark.parametrize("wanted", [Wanted(), Wanted(volume="lab")])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_manifests_are_valid_by_kubernetes_own_schema(wanted: Wanted, device: str):
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for each in manifests(job(wanted, device=device)):
        kubernetes_validate.validate(each, "1.29", strict=True)
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate({**each, "spec": {**each["spec"], "completion": 1}}, "1.29", strict=True)


def test_a_volume_cannot_be_mounted_over_everything():
    with pytest.raises(UserError, match="--for kubernetes: /a, /b: no one volume holds these"):
        SCHEDULERS["kubernetes"](job(folders=[Path("/a"), Path("/b")]))


NASTY = ["title='it\\'s $(HOME) `id` \"$x\"\n#SBATCH --array=0-999'", "--quick"]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that write down what they are told, first on the path."""
    for name, then in {"copy": "trap 'exit 143' USR1 TERM; test -e ends && exit $(cat ends); touch ready; while :; do sleep 0.05; done",
                       "scontrol": "", "qsub": f"cat > {tmp_path}/submitted"}.items():
        (tmp_path / name).write_text(f"#!/bin/bash\nprintf '%s\\0' \"$@\" > {tmp_path}/{name}.said\n{then}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for name, value in {"SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3", "PBS_O_WORKDIR": str(tmp_path), "PBS_JOBID": "7[3].s"}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


def begin(cluster: Path, scheduler: str, **changes: Any) -> subprocess.Popen[str]:
    """The script of that scheduler, as a shell runs it on a node; its copy is the program above."""
    made = job(command=[[str(cluster / "copy"), "run"], ["--set", NASTY[0]], NASTY[1:]])
    (cluster / "script").write_text(SCHEDULERS[scheduler](dataclasses.replace(made, **changes)))
    return subprocess.Popen(["bash", "script"], cwd=cluster, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)


def told(cluster: Path, name: str) -> list[str]:
    path = cluster / f"{name}.said"
    return path.read_text().split("\0")[:-1] if path.exists() else []


def wait_for(path: Path) -> None:
    end = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.02)


@pytest.mark.parametrize("scheduler", ["slurm", "pbs"])
@pytest.mark.parametrize("code", [0, 1, 2])
def test_a_copy_that_ends_by_itself_ends_its_job_and_is_told_every_word_as_it_was_said(cluster: Path, scheduler: str, code: int):
    (cluster / "ends").write_text(str(code))
    running = begin(cluster, scheduler)
    assert (running.communicate(timeout=30)[0], running.returncode) == ("", code)
    assert told(cluster, "copy") == ["run", "--set", *NASTY]
    assert not told(cluster, "scontrol") and not (cluster / "submitted").exists()


def test_kubernetes_gives_a_copy_every_word_as_it_was_said():
    *_, made = manifests(job(command=[["sweepstake", "run"], ["--set", NASTY[0]], NASTY[1:]]))
    said = made["spec"]["template"]["spec"]["containers"][0]["command"]
    assert said == ["sweepstake", "run", "--set", NASTY[0].replace("$(", "$$("), "--quick"]


def test_a_copy_that_slurm_warns_puts_itself_back_into_the_queue(cluster: Path):
    running = begin(cluster, "slurm")
    wait_for(cluster / "ready")
    running.send_signal(signal.SIGUSR1)
    assert (running.communicate(timeout=30)[0], running.returncode) == ("", 143)
    assert told(cluster, "scontrol") == ["requeue", "7_3"]


@pytest.mark.parametrize("scheduler", ["slurm", "pbs"])
def test_a_job_that_somebody_ends_waits_for_its_copy_and_is_not_begun_again(cluster: Path, scheduler: str):
    running = begin(cluster, scheduler)
    wait_for(cluster / "ready")
    for pid in session(running.pid):  # As schedulers do.
        with suppress(ProcessLookupError):  # It was one of those that come and go, a `sleep` say.
            os.kill(pid, signal.SIGTERM)
    said = running.communicate(timeout=30)[0].replace("Terminated\n", "")  # Some shells say that of what they waited for.
    assert (said, running.returncode) == ("", 143)
    assert not told(cluster, "scontrol") and not (cluster / "submitted").exists()
    assert session(running.pid) == []


def session(leader: int) -> list[int]:
    """The processes of a session, but for those that only sleep."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, fields = path.read_text().rpartition(")")
            if fields.split()[3] == str(leader) and fields.split()[0] != "Z" and "(sleep" not in name:
                found.append(int(path.parts[2]))
    return found


def test_a_copy_that_is_out_of_time_under_pbs_submits_one_copy_more(cluster: Path):
    running = begin(cluster, "pbs", copies=4, seconds=WARNED_SECONDS + 1)
    assert (running.communicate(timeout=30)[0], running.returncode) == ("", 124)
    script, again = (cluster / "script").read_text(), (cluster / "submitted").read_text()
    assert again == script.replace("#PBS -J 0-3\n", "") != script
    assert told(cluster, "copy") == ["run", "--set", *NASTY]


# The command

@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """What the command prints, and its exit code; nothing is timed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "estimate", lambda study, workers, store=None: cost(len(study.planned)))

    def called(*arguments: object) -> tuple[int, str, str]:
        code = main(["script", *map(str, arguments)])
        return (code, *capsys.readouterr())

    return called


def test_the_command_passes_on_what_it_was_told_with_whole_paths(call, tmp_path: Path):
    code, out, err = call(write_small(tmp_path), "--for", "slurm", "--quick", "--set", "title='a b'", "--engine", "reference", "--save-weights",
                          "last", "--workers", 2, "--data", "data", "--retry")
    words = shlex.split(out[out.index(str(Path(sys.executable).parent)):out.index("&\ncopy=")].replace("\\\n", ""))
    assert (code, err) == (0, "")
    assert words[words.index("run"):] == ["run", str(tmp_path / "small.toml"), "--quick", "--set", "title='a b'",
                                         "--store", str(tmp_path / "runs"), "--data", str(tmp_path / "data"), "--workers", "2",
                                         "--engine", "reference", "--save-weights", "last", "--retry", "--no-wait"]


def test_no_word_of_a_study_is_a_line_of_a_script(call, tmp_path: Path):
    code, out, _ = call(write_small(tmp_path), "--for", "slurm", "--set", "title='''a\n#SBATCH --array=0-999'''")
    before = out[:out.index("\ntrap")]
    assert code == 0 and "a #SBATCH --array=0-999" in before
    assert [line for line in before.splitlines() if line.startswith("#SBATCH --array")] == ["#SBATCH --array=0-3"]


def test_pods_are_told_paths_that_they_see(call, tmp_path: Path):
    made = list(yaml.safe_load_all(call("demo", "--for", "kubernetes", "--store", "/lab/runs", "--data", "/lab/data")[1]))[-1]
    said = made["spec"]["template"]["spec"]["containers"][0]
    assert said["command"] == ["sweepstake", "run", "demo", "--store", "/lab/runs", "--data", "/lab/data", "--workers", "1", "--no-wait"]
    assert (said["workingDir"], said["volumeMounts"][0]["mountPath"]) == ("/lab", "/lab")
    assert call("demo", "--for", "kubernetes") == (2, "", "--store runs: pods have no such folder. Say the path that they see: /shared/runs.\n")


@pytest.mark.parametrize(("said", "error"), [
    (["--for", "lsf"], "--for lsf: say slurm, pbs or kubernetes."),
    (["--for", "slurm", "--copies", 0], "--copies 0: at least 1."),
    (["--for", "slurm", "--cores", -1], "--cores -1: at least 1."),
    (["--for", "slurm", "--workers", 0], "--workers 0: at least 1."),
    (["--for", "slurm", "--hours", 0.1], "--hours 0.1: say from 0.17 (ten minutes) to 10000."),
    (["--for", "slurm", "--hours", "nan"], "--hours nan: say from 0.17 (ten minutes) to 10000."),
    (["--for", "slurm", "--memory", "4 TB"], "--memory 4 TB: say it in whole gigabytes or megabytes, as in 4G or 1500M."),
    (["--for", "slurm", "--memory", "0G"], "--memory 0G: say it in whole gigabytes or megabytes, as in 4G or 1500M."),
])
def test_a_mistake_is_one_line(call, said: list[Any], error: str):
    assert call("demo", *said) == (2, "", f"{error}\n")


def test_the_page_explains_every_directive():
    page = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text(encoding="utf-8")
    shells = [line.split(" ", 1)[1].split("=")[0].split(" ")[0] for name in ("slurm", "pbs") for line in SCHEDULERS[name](job()).splitlines()
              if line.startswith(("#SBATCH", "#PBS"))]
    claim, made = manifests(job())
    keys = [*claim["spec"], *made["spec"], *made["spec"]["template"]["spec"]]
    assert {"--array", "-J", "-l"} <= set(shells) and "completionMode" in keys
    known = {"--job-name", "-N", "resources", "template", "containers", "volumes"}
    assert [word for word in (*shells, *keys) if word not in known and word not in page] == []
