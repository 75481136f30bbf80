import os
import time
from pathlib import Path

import pytest
import torch
from torch import distributed

from ssl_norm.distributed import local_rank_zero_first
from ssl_norm.errors import UserError
from tests import warm


def test_one_process():
    assert local_rank_zero_first(lambda: 5) == 5


def run_rank(rank: int, folder: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    os.environ["LOCAL_RANK"] = str(rank)
    done = folder / "done"

    def work() -> str:
        if rank == 0:
            time.sleep(0.5)
            done.write_text("by the first")
        return done.read_text()

    def fail() -> None:
        assert rank == 0
        raise UserError("the first failed")

    torch.save(local_rank_zero_first(work), folder / f"rank{rank}.pt")
    with pytest.raises(UserError, match="the first failed"):
        local_rank_zero_first(fail)
    distributed.destroy_process_group()


def test_other_ranks_wait_and_share_the_error(tmp_path):
    assert warm.ranks(run_rank, 2, tmp_path) == ["by the first"] * 2
