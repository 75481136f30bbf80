import pytest
import torch
from torch import nn

from ssl_norm.norms import make_norm
from ssl_norm.norms.swap.find import ChannelsLast, NormAct, unwrapped


def wrapped():
    inside = ChannelsLast(make_norm("rbn", 4))
    return NormAct(inside, nn.Identity(), nn.PReLU(5))


@pytest.mark.parametrize("prefix", ["", "0."])
def test_states_have_the_keys_of_the_norm_and_survive_a_round_trip(prefix):
    source = nn.Sequential(wrapped())
    assert unwrapped(source[0]) is source[0].norm.norm
    expected = [f"0.{name}" for name in make_norm("rbn", 4).state_dict()]
    assert sorted(source.state_dict()) == sorted([*expected, "0.act.weight"])
    for parameter in source.parameters():
        nn.init.normal_(parameter)
    state = {f"{prefix}{name[2:]}": value for name, value in source.state_dict().items()}
    target = nn.Sequential(wrapped())
    (target if prefix else target[0]).load_state_dict(state)
    x = torch.randn(3, 5, 4)
    assert torch.equal(target.eval()(x), source.eval()(x))
    del state[f"{prefix}weight"]
    state[f"{prefix}other"] = torch.zeros(2)
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*norm.weight.*Unexpected.*other"):
        (target if prefix else target[0]).load_state_dict(state)
