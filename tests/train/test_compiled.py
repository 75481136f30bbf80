import pytest
import torch

from ssl_norm.errors import UserError
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.monitors.layers import LayerMonitor
from ssl_norm.train.loop import train
from tests.train.test_loop import make_run


@pytest.fixture
def compile_by(monkeypatch):
    """Return a function that sets the backend of torch.compile."""
    plain = torch.compile

    def set_backend(backend):
        monkeypatch.setattr(torch, "compile", lambda f, **how: plain(f, **how, backend=backend))

    return set_backend


def trained(**changes):
    """Return the weights after 8 steps, and the steps at which a layer was measured."""
    run = make_run(batch_size=8, steps=8, **changes)
    layers = LayerMonitor({"linear": run.network.encoder[1]}, every=100)
    run.monitor = CollapseMonitor(layers=layers)
    measured = []
    measure = layers.measure
    layers.measure = lambda step: measured.append((step, len(measure(step)))) or []
    train(run, lambda row: None, lambda step: None)
    assert "forward" not in vars(run.network.encoder)
    return run.network.state_dict(), measured


def test_compiled_encoders_compute_the_same_and_step_aside_where_layers_are_measured(compile_by):
    calls = []

    def backend(graph, _):
        return lambda *inputs: calls.append(1) or graph.forward(*inputs)

    compile_by(backend)
    weights, measured = trained(compile=True)
    plain_weights, plain_measured = trained()
    assert calls.count(1) == 4 * 4  # both networks, both views, in steps 3, 5, 6 and 7
    assert measured == plain_measured
    assert {step for step, rows in measured if rows} == {1, 2, 4, 8}
    torch.testing.assert_close(weights, plain_weights)


def test_a_compiler_that_fails_is_one_line(compile_by):
    def backend(graph, _):
        raise RuntimeError("no compiler\nat all")

    compile_by(backend)
    with pytest.raises(UserError, match=r"^compile=true: torch cannot compile .*: no compiler$"):
        trained(compile=True)
