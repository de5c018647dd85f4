"""A study of seconds, for tests that really run one."""

from pathlib import Path
from typing import Any

from sweepstake.study.study import Study, read_study

SMALL: dict[str, Any] = {"model": {"name": "mlp", "hidden": [12]}, "steps": 10, "rounds": 2, "seeds": 2, "batch_size": 20, "eval_every": 5}
SMALL_TOML = """title = "Small"
model = {name = "mlp", hidden = [12]}
init = ["xavier_normal", "kaiming_normal"]
steps = 10
eval_every = 5
rounds = 2
batch_size = 20
seeds = 2

[quick]
seeds = 1
"""


def small_study(folder: Path = Path(), **changes: Any) -> Study:
    return read_study({**SMALL, **changes}, name="small", text="# small\n", folder=folder)


def write_small(folder: Path, text: str = SMALL_TOML) -> Path:
    path = folder / "small.toml"
    path.write_text(text)
    return path
