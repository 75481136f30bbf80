import os
import time

import pytest
import torch.multiprocessing
from torch import distributed

from ssl_norm.distributed import local_rank_zero_first
from ssl_norm.errors import UserError


def test_one_process():
    assert local_rank_zero_first(lambda: 5) == 5


def run_rank(rank: int, folder: str) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    os.environ["LOCAL_RANK"] = str(rank)
    done = os.path.join(folder, "done")

    def work() -> str:
        if rank == 0:
            time.sleep(0.5)
            with open(done, "w") as file:
                file.write("by the first")
        with open(done) as file:
            return file.read()

    def fail() -> None:
        assert rank == 0
        raise UserError("the first failed")

    assert local_rank_zero_first(work) == "by the first"
    with pytest.raises(UserError, match="the first failed"):
        local_rank_zero_first(fail)
    distributed.destroy_process_group()


def test_other_ranks_wait_and_share_the_error(tmp_path):
    torch.multiprocessing.spawn(run_rank, (str(tmp_path),), nprocs=2)
