"""What norms refuse, whatever their kind."""

import pytest
import torch

from ssl_norm.norms import NORMS
from tests.norms.test_contract import CHANNELS, build


@pytest.mark.parametrize("name", [name for name in NORMS if name != "none"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_integers_are_refused(name, training, dtype):
    with pytest.raises(TypeError, match=rf"floating-point numbers, got {dtype}; call .float\(\)"):
        build(name).train(training)(torch.ones(4, CHANNELS, 3, 3, dtype=dtype))
