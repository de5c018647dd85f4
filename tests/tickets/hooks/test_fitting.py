"""What all trainers' callbacks share."""

import importlib
import sys

import pytest

from sweepstake.base.errors import UserError


@pytest.mark.parametrize("library", ["lightning.pytorch", "transformers", "skorch.callbacks"])
def test_a_trainer_that_is_not_installed_is_told_with_the_extra_that_brings_it(library, monkeypatch):
    extra = "huggingface" if library == "transformers" else library.split(".")[0]
    monkeypatch.setitem(sys.modules, library.split(".")[0], None)  # So that nothing of it is imported first.
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, f"sweepstake.tickets.hooks.{extra}", raising=False)
    with pytest.raises(UserError, match=rf'pip install "sweepstake\[{extra}\]"'):
        importlib.import_module(f"sweepstake.tickets.hooks.{extra}")
