import pytest

from ssl_norm.cli.split_checks import check_splits
from ssl_norm.config import ByolConfig, NormConfig, PretrainConfig
from ssl_norm.errors import UserError


@pytest.mark.parametrize(
    ("processes", "view_statistics", "right"),
    [(1, "separate", True), (4, "separate", False), (4, "joint", True)],
)
def test_samples_are_those_of_a_process_and_of_joint_views(processes, view_statistics, right):
    norm = NormConfig(projector="domain", view_statistics=view_statistics)
    config = PretrainConfig(method=ByolConfig(), norm=norm, batch_size=12)
    if right:
        check_splits(config, processes)
    else:
        with pytest.raises(UserError, match=r"norm.projector=domain: the 3 samples that a process"):
            check_splits(config, processes)


def test_sync_gathers_single_samples_of_domains():
    synchronized = NormConfig(projector={"name": "domain", "sync": True})
    check_splits(PretrainConfig(method=ByolConfig(), norm=synchronized, batch_size=8), 4)
