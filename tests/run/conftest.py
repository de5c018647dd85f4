"""Clusters of this machine, begun once for all tests that compute on them."""

import warnings
from collections.abc import Iterator

import pytest

from tests.run.clusters import Nodes


@pytest.fixture(scope="session")
def dask_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler with one node of two workers."""
    pytest.importorskip("distributed")
    with Nodes(tmp_path_factory.mktemp("dask")) as nodes:
        nodes.start_scheduler()
        nodes.start_node("one", workers=2)
        yield nodes.address


@pytest.fixture(scope="session")
def ray_here() -> Iterator[None]:
    """A Ray of two cores in this process, which runs of ours use."""
    pytest.importorskip("ray")
    from sweepstake.run.executors.ray import begin

    with warnings.catch_warnings(action="ignore"):
        import ray

        begin("ray", 2)
        yield
        ray.shutdown()
