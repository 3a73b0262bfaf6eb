"""The search on a cluster of dask, one of whose workers dies while it works."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from search_problems import centred, tiny_network, tiny_samples

from fmcodec.search import Grid, SearchResult, search
from fmcodec.torch import Candidate

distributed = pytest.importorskip("distributed")

GRID = Grid(candidates=(Candidate(),), relative_steps=(0.1, 0.4), coarse_steps=(0.1,), level_widths=())


class FatalOnce:
    """Preprocessing that kills the first other process in which it runs."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker
        self._home = os.getpid()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        if os.getpid() != self._home and not self._marker.exists():
            self._marker.touch()
            os._exit(1)
        return centred(x)


def search_with(executor: object, preprocess: object = centred) -> SearchResult:
    return search(
        tiny_network(preprocess),  # type: ignore[arg-type]
        tiny_samples(8, 1),
        tiny_samples(8, 2),
        grid=GRID,
        points=2,
        probe_images=4,
        executor=executor,  # type: ignore[arg-type]
    )


@pytest.mark.filterwarnings("ignore")
def test_a_worker_that_dies_changes_nothing(tmp_path: Path) -> None:
    alone = search_with(None)
    marker = tmp_path / "a worker died"
    # Workers of one thread each: hooks on a network are for one pass at a time.
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        found = search_with(executor, FatalOnce(marker))
    assert marker.exists()
    assert found.policies == alone.policies
    assert found.frontier == alone.frontier
    for name, policy in found.policies.items():
        assert policy.to_json() == alone.policies[name].to_json()
