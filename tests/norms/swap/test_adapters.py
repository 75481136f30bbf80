import pytest
import torch
from torch import nn

from ssl_norm.norms import make_norm
from ssl_norm.norms.swap.adapters import ChannelsLast, NormAct, unwrapped


def wrapped():
    inside = ChannelsLast(make_norm("rbn", 4))
    return NormAct(inside, nn.Identity(), nn.PReLU(5))


def test_keys_are_those_of_the_norm():
    model = nn.Sequential(wrapped())
    expected = [f"0.{name}" for name in make_norm("rbn", 4).state_dict()]
    assert sorted(model.state_dict()) == sorted([*expected, "0.act.weight"])
    assert unwrapped(model[0]) is model[0].norm.norm


@pytest.mark.parametrize("prefix", ["", "0."])
def test_round_trip(prefix):
    source = nn.Sequential(wrapped())
    for parameter in source.parameters():
        nn.init.normal_(parameter)
    state = {f"{prefix}{name[2:]}": value for name, value in source.state_dict().items()}
    target = nn.Sequential(wrapped())
    (target if prefix else target[0]).load_state_dict(state)
    x = torch.randn(3, 5, 4)
    assert torch.equal(target.eval()(x), source.eval()(x))


def test_what_is_missing_and_what_is_too_much_is_named():
    state = wrapped().state_dict()
    del state["weight"]
    state["other"] = torch.zeros(2)
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*norm.weight.*Unexpected.*other"):
        wrapped().load_state_dict(state)
