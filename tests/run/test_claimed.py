"""Claims: one holder at a time, wherever its process is, and none for ever."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from sweepstake.run import claims
from sweepstake.run.claims import BEATS_MISSED, Claims, Holder, claimed, is_held

ID = "0123456789abcdef"
BEAT = 0.05


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "claims").mkdir()
    return tmp_path / "claims"


def elsewhere(folder: Path, number: int = 1, **said: object) -> Path:
    """A claim of a process on another machine, of which nothing is known here."""
    fields: dict[str, object] = {"host": "node7", "pid": 42, "machine": "another", "process": "1", "beat_seconds": BEAT, **said}
    path = folder / f"{ID}.{number}"
    path.write_bytes(msgspec.json.encode(fields) + b"\n")
    return path


def ended(folder: Path) -> Path:
    """A claim that a process of this machine made and was killed with."""
    code = f"""
import os, signal
from pathlib import Path
from sweepstake.run.claims import Claims
Claims(Path({str(folder)!r})).take({ID!r}, 3)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, cwd=Path(__file__).parents[2], check=False)
    return folder / f"{ID}.1"


def watch(ours: Claims, seconds: float) -> bool:
    """Whether the claim there expires within so many seconds of being looked at."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if ours.has_expired(ours.all()[ID]):
            return True
        time.sleep(BEAT / 2)
    return False


def test_one_of_many_gets_a_cell_and_the_next_once_it_is_released(folder: Path):
    first, second = Claims(folder), Claims(folder)
    claim = first.take(ID, 0)
    assert claim is not None
    assert second.take(ID, 0) is None
    assert first.all()[ID].holder.pid == os.getpid()
    first.release(ID)
    assert first.all() == {}
    assert second.take(ID, 0) is not None


def test_of_many_at_once_exactly_one_gets_a_free_cell_and_exactly_one_an_expired_one(folder: Path):
    def race(over: claims.Held | None) -> int:
        runs = [Claims(folder) for _ in range(8)]
        threads = [threading.Thread(target=each.take, args=(ID, 0, over)) for each in runs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(bool(each.held) for each in runs)

    assert race(None) == 1
    assert race(Claims(folder).all()[ID]) == 1
    assert Claims(folder).all()[ID].number == 2


def test_a_holder_that_gives_signs_is_left_alone_and_one_that_stops_expires(folder: Path):
    holder, other = Claims(folder, BEAT), Claims(folder)
    assert holder.take(ID, 0) is not None
    assert not watch(other, 2 * BEATS_MISSED * BEAT)
    holder._closed.set()  # Frozen: its claim stays, its signs do not come.
    assert watch(other, 20 * BEATS_MISSED * BEAT)


def test_no_clock_is_compared_with_another(folder: Path):
    """A node whose clock is wrong by an hour loses nothing, and keeps nothing."""
    path, ours = elsewhere(folder), Claims(folder)
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    assert not ours.has_expired(ours.all()[ID])
    os.utime(path, (time.time() + 3600, time.time() + 3600))
    assert watch(ours, 20 * BEATS_MISSED * BEAT)


def test_a_watcher_that_slept_does_not_take_what_slept_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch):
    elsewhere(folder)
    ours = Claims(folder)
    now = time.monotonic()
    monkeypatch.setattr(claims.time, "monotonic", lambda: now)
    assert not ours.has_expired(ours.all()[ID])
    now += 3600
    assert not ours.has_expired(ours.all()[ID])


def test_a_killed_process_of_this_machine_is_known_at_once(folder: Path):
    ended(folder)
    ours = Claims(folder)
    held = ours.all()[ID]
    assert held.holder.has_ended()
    assert ours.has_expired(held)
    claim = ours.take(ID, 3, held)
    assert claim is not None
    assert (claim.number, claim.tried, len(claim.holder.before)) == (2, 2, 1)


def test_a_process_whose_number_is_anothers_now_has_ended(folder: Path):
    path = ended(folder)
    said = msgspec.json.decode(path.read_bytes().partition(b"\n")[0], type=Holder)
    assert not msgspec.structs.replace(said, pid=os.getpid(), process=claims._process(os.getpid())).has_ended()
    assert msgspec.structs.replace(said, pid=os.getpid()).has_ended()


def test_takes_are_counted_over_all_holders_until_a_round_is_finished(folder: Path):
    for number in (1, 2, 3):
        ours = Claims(folder)
        claim = ours.take(ID, 3, ours.all().get(ID))
        assert claim is not None
        assert (claim.tried, claim.is_hopeless) == (number, False)
    ours = Claims(folder)
    further = ours.take(ID, 4, ours.all()[ID])
    assert further is not None
    assert further.tried == 1
    ours.release(ID)
    assert list(folder.iterdir()) == []


def test_the_deaths_of_workers_count_with_the_takes(folder: Path):
    first = Claims(folder)
    claim = first.take(ID, 0)
    assert claim is not None
    claim.died()
    claim.died()
    assert (claim.tried, claim.is_hopeless) == (3, False)
    second = Claims(folder)
    over = second.take(ID, 0, second.all()[ID])
    assert over is not None
    assert over.is_hopeless
    assert "begun 3 times at round 0" in over.story


def test_a_holder_whose_cell_was_taken_over_knows_it(folder: Path):
    first, second = Claims(folder), Claims(folder)
    claim = first.take(ID, 0)
    assert claim is not None
    assert is_held(str(claim.path))
    assert second.take(ID, 0, second.all()[ID]) is not None
    assert not is_held(str(claim.path))
    first.release(ID)  # Of a claim that no longer counts, this frees nothing.
    assert second.all()[ID].number == 2


def test_a_claim_that_was_never_written_to_its_end_expires_too(folder: Path):
    (folder / f"{ID}.1").touch()
    (folder / "tmpabc").touch()  # Nobody's: no name of a claim.
    held = Claims(folder).all()
    assert list(held) == [ID]
    assert held[ID].holder == Holder()


def test_one_cell_alone_is_claimed_for_a_block(folder: Path):
    with claimed(folder, ID) as ours:
        assert ours
        with claimed(folder, ID) as theirs:
            assert not theirs
    assert list(folder.iterdir()) == []
    elsewhere(folder)
    with claimed(folder, ID) as ours:  # Of another machine: it gives no sign, and is taken over.
        assert ours


def test_a_folder_that_takes_no_claim_is_told(folder: Path):
    folder.rmdir()
    with pytest.raises(claims.CannotWrite, match="No such file"):
        Claims(folder).take(ID, 0)
