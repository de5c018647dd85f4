"""bench/conv.py counts what a step needs, masks the same weights everywhere, and leaves other results alone."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parents[2] / "bench"


def loaded(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def common():
    return loaded("conv_common")


def test_a_weight_is_counted_once_for_each_pixel_that_it_sees_and_no_padding(common):
    whole, sparse = torch.ones(1, 1, 3, 3, dtype=torch.bool), torch.arange(32).view(2, 16) < 5

    # Rows of 4 pixels, padded by 1: the kernel's rows see 3, 4 and 3. The first layer needs no gradient of its input.
    assert common.multiply_adds([whole], [(4, 4, 1)], 1) == 2 * 10 * 10
    assert common.multiply_adds([whole, sparse], [(4, 4, 1)], 3) == 3 * (2 * 10 * 10 + 3 * 5)
    assert common.multiply_adds([whole], [(4, 4, 0)], 1) == 2 * 9 * 4


def test_a_masked_convolution_of_ones_sums_to_its_multiply_adds(common):
    (mask,) = common.masks_of([(6, 3, 5, 5)], 0.2)
    layer = torch.nn.functional.conv2d(torch.ones(1, 3, 9, 9), mask.float(), padding=2)

    assert int(mask.sum()) == 90
    assert common.multiply_adds([mask], [(9, 9, 2)], 1) == 2 * int(layer.sum())


def test_masks_are_the_same_at_every_draw(common):
    once, again = (common.masks_of([(4, 2, 3, 3), (5, 7)], 0.5) for _ in range(2))

    assert [int(mask.sum()) for mask in once] == [36, 18]
    assert all(torch.equal(*pair) for pair in zip(once, again, strict=True))


def test_the_results_of_one_bench_leave_those_of_another(tmp_path):
    out = tmp_path / "latest.json"
    out.write_text('{"worker_mb": 500, "conv": {"steps": 1}}')

    loaded("run").write(out, {"conv": {"steps": 2}})

    assert json.loads(out.read_text()) == {"worker_mb": 500, "conv": {"steps": 2}}
