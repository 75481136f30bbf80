"""Properties of every norm in `NORMS`; the declarations of its class tell which apply."""

import copy
import io
import itertools
import re

import pytest
import torch
from torch import distributed, nn
from torch.func import functional_call
from torch.nn.parallel import DistributedDataParallel

from ssl_norm.norms import NORMS, make_norm, parse_norm
from ssl_norm.norms.layers.weight_standardization import standardize_weights
from ssl_norm.signature import options_of

CHANNELS = 6
SHAPES = [(5, CHANNELS), (5, CHANNELS, 4), (5, CHANNELS, 3, 2), (5, CHANNELS, 2, 3, 2)]
SMALL = {"groups": 3, "domains": 1}  # for few channels and batches of any size
SPECS = {name: parse_norm(name) for name in NORMS}
MIXING = [name for name, spec in SPECS.items() if spec.batch_statistics]
AFFINE = {"weight", "bias"}

each_norm = pytest.mark.parametrize("name", NORMS)
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def pairs(shapes):
    return [(name, s) for name in NORMS for s in shapes if SPECS[name].vectors or len(s) > 2]


each_norm_and_shape = pytest.mark.parametrize(("name", "shape"), pairs(SHAPES), ids=str)
each_norm_and_two_shapes = pytest.mark.parametrize(
    ("name", "shape"), pairs([SHAPES[0], SHAPES[2]]), ids=str
)


def build(name, dtype=torch.float64, **options):
    """Return a norm with random parameters, so that no identity hides a mistake."""
    small = {key: value for key, value in SMALL.items() if key in SPECS[name].all_options}
    return randomize(make_norm({"name": name, **small, **options}, CHANNELS).to(dtype))


def randomize(layer):
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.copy_(
                0.5 + torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
            )
    return layer


def data(*shape, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(*shape, generator=generator, dtype=torch.float64) + 0.7).to(dtype)


class Standardized(nn.Module):
    """A convolution with standardized weights, and the norm that follows it."""

    def __init__(self, name):
        super().__init__()
        self.convolution = randomize(standardize_weights(nn.Conv2d(3, CHANNELS, 2).double()))
        self.norm = build(name)

    def forward(self, x):
        return self.norm(self.convolution(x))


@each_norm_and_shape
@pytest.mark.parametrize("training", [True, False])
def test_keeps_shape_dtype_and_input(name, shape, training):
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = data(*shape, dtype=dtype)
        before = x.clone()
        y = build(name, dtype).train(training)(x)
        assert (y.shape, y.dtype, y.device) == (x.shape, x.dtype, x.device)
        assert torch.equal(x, before)


@each_norm_and_two_shapes
def test_gradients(name, shape):
    layer = build(name)
    parameters = tuple(layer.parameters())

    def function(x, *_):
        return layer(x)

    inputs = (data(*shape).requires_grad_(), *parameters)
    many = len(shape) > 2  # entries: along random directions instead of one by one
    assert torch.autograd.gradcheck(function, inputs, fast_mode=many)
    assert torch.autograd.gradgradcheck(function, inputs, fast_mode=True)


@each_norm_and_two_shapes
def test_batched_gradients_are_those_of_one_after_the_other(name, shape):
    layer, x = build(name), data(*shape).requires_grad_()
    inputs, y = (x, *layer.parameters()), layer(x)
    many = torch.stack([data(*shape, seed=seed) for seed in (1, 2)])
    once = [torch.autograd.grad(y, inputs, one, retain_graph=True) for one in many]
    batched = torch.autograd.grad(y, inputs, many, is_grads_batched=True)
    torch.testing.assert_close(batched, tuple(map(torch.stack, zip(*once, strict=True))))


@each_norm_and_two_shapes
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")  # of torch's own jvp
def test_torch_func_differentiates(name, shape, training):
    layer, x, weights = build(name).train(training), data(*shape), data(*shape, seed=1)
    layer(x)
    buffers = dict(layer.named_buffers())
    parameters = {key: value.detach() for key, value in layer.named_parameters()}

    def forward(x, parameters):
        own = {key: value.clone() for key, value in buffers.items()}
        return functional_call(layer, (parameters, own), (x,))

    def loss(x, parameters, weights):
        return (forward(x, parameters) * weights).sum()

    def loss_of_one(x, weights):
        return loss(x[None], parameters, weights[None])

    leaf = x.clone().requires_grad_()
    wanted = (leaf, *layer.parameters())
    expected = torch.autograd.grad(
        (forward(leaf, dict(layer.named_parameters())) * weights).sum(), wanted
    )
    dx, others = torch.func.grad(loss, argnums=(0, 1))(x, parameters, weights)
    torch.testing.assert_close((dx, *others.values()), expected)
    single = torch.func.vmap(torch.func.grad(loss_of_one))
    if training and SPECS[name].batch_statistics:
        with pytest.raises(ValueError, match=r"batch statistics mix the samples .* vmap"):
            single(x, weights)
    else:
        torch.testing.assert_close(single(x, weights), dx)
    tangent = data(*shape, seed=2)
    if training and name == "zca":
        with pytest.raises(RuntimeError, match="implement the jvp function"):
            torch.func.jvp(lambda x: forward(x, parameters), (x,), (tangent,))
    else:
        _, dy = torch.func.jvp(lambda x: forward(x, parameters), (x,), (tangent,))
        torch.testing.assert_close((dy * weights).sum(), (dx * tangent).sum())


@each_norm
def test_compiles_into_one_graph(name):
    policies = {"population": "cumulative", "evaluation": "batch"}
    known = {key: value for key, value in policies.items() if key in SPECS[name].all_options}
    layer = build(name, **known)
    torch.compiler.reset()
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True, backend="eager")
    for training in (True, True, False):
        inputs = [data(5, CHANNELS, 3, 2).requires_grad_() for _ in range(2)]
        outputs = [layer.train(training)(inputs[0]), compiled.train(training)(inputs[1])]
        for y in outputs:
            y.square().sum().backward()
        torch.testing.assert_close(outputs[1], outputs[0])
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad)
    torch.testing.assert_close(compiled._orig_mod.state_dict(), layer.state_dict())


@each_norm_and_two_shapes
@pytest.mark.parametrize("training", [True, False])
def test_dtypes_of_input_and_norm_may_differ(name, shape, training):
    x = data(*shape)
    for own, given in itertools.product((torch.bfloat16, torch.float32, torch.float64), repeat=2):
        layer = build(name, own).train(training)
        y = layer(x.to(given))
        assert y.dtype == given
        expected = copy.deepcopy(layer).double()
        for key, buffer in build(name, own).named_buffers():
            expected.get_buffer(key).copy_(buffer)
        tolerance = max(torch.finfo(given).eps, torch.finfo(torch.float32).eps)
        torch.testing.assert_close(
            y.double(), expected(x.to(given).double()), rtol=tolerance, atol=10 * tolerance
        )


@each_norm_and_two_shapes
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.filterwarnings("ignore:var:UserWarning")
def test_empty_batches(name, shape, training):
    layer, x = build(name).train(training), torch.zeros(0, *shape[1:]).double().requires_grad_()
    if training and (SPECS[name].batch_statistics or name == "act"):
        with pytest.raises(ValueError, match=r"more than one value per channel .* shape \(0, 6"):
            layer(x)
    else:
        layer(x).sum().backward()
        assert x.grad.shape == x.shape


@each_norm
def test_gradients_with_weight_standardization(name):
    layer = Standardized(name)

    def function(x, *_):
        return layer(x)

    x = data(3, 3, 3, 3).requires_grad_()
    assert torch.autograd.gradcheck(function, (x, *layer.parameters()), fast_mode=True)


@each_norm
def test_misspelled_option_is_named(name):
    with pytest.raises(TypeError, match=f"norm '{name}' has no option 'epz'"):
        make_norm({"name": name, "epz": 1e-3}, CHANNELS)


def has_eps(equation):
    named = (SPECS[word].cls.equation for word in re.findall(r"\w+", equation) if word in SPECS)
    return "eps" in equation or any(map(has_eps, named))


@pytest.mark.parametrize("name", [n for n, spec in SPECS.items() if has_eps(spec.cls.equation)])
def test_eps_of_the_equation_changes_the_output(name):
    x = data(8, 4, 5, 5)
    of_small, of_large = (make_norm({"name": name, "eps": eps}, 4).double()(x) for eps in (1e-5, 1))
    assert not torch.allclose(of_small, of_large, rtol=0.01)


@pytest.mark.parametrize("name", [n for n, spec in SPECS.items() if "affine" in spec.all_options])
def test_affine_false_owns_nothing_affine(name):
    layer = build(name, affine=False)
    assert not AFFINE & set(dict(layer.named_parameters()))
    assert AFFINE & set(dict(build(name).named_parameters()))
    assert layer(data(5, CHANNELS, 3, 2)).shape == (5, CHANNELS, 3, 2)


@each_norm
@pytest.mark.parametrize("training", [True, False])
def test_channels_last_equals_contiguous(name, training):
    x = data(5, CHANNELS, 3, 2).requires_grad_()
    last = x.detach().to(memory_format=torch.channels_last).requires_grad_()
    layer = build(name).train(training)
    y, y_last = copy.deepcopy(layer)(x), copy.deepcopy(layer)(last)
    y.square().sum().backward()
    y_last.square().sum().backward()
    torch.testing.assert_close(y_last, y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(last.grad, x.grad, rtol=1e-12, atol=1e-12)
    assert y_last.is_contiguous(memory_format=torch.channels_last)


@each_norm_and_two_shapes
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(name, shape, training, dtype):
    x = (data(64, *shape[1:]) + 100).to(dtype)
    y, expected = (
        build(name, kind).train(training)(x.to(given))
        for kind, given in ((torch.float32, dtype), (torch.float64, torch.float64))
    )
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(y.double(), expected, rtol=0.51 * step, atol=0.25 * step)


@each_norm
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_keeps_dtype_and_finite_gradients(name, dtype):
    layer = build(name, torch.float32)
    x = data(5, CHANNELS, 3, 2, dtype=dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(x)
    y.float().square().sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    assert {p.grad.dtype for p in layer.parameters()} <= {torch.float32}
    assert all(g.isfinite().all() for g in (x.grad, *(p.grad for p in layer.parameters())))


@each_norm
@pytest.mark.parametrize("suffix", ["", "+ws"])
def test_state_dict_round_trip(name, suffix):
    layer, other = (Standardized(name) if suffix else build(name) for _ in range(2))
    x = data(5, 3, 4, 3) if suffix else data(5, CHANNELS, 4, 3)
    layer(x)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(layer.eval()(x), other.eval()(x))


@each_norm
def test_deep_copies_and_pickles_are_independent(name):
    layer = Standardized(name)
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    x = data(5, 3, 4, 3)
    expected = layer(x)
    for other in (copy.deepcopy(layer), torch.load(file, weights_only=False)):
        with torch.no_grad():
            layer.convolution.weight.zero_()
        torch.testing.assert_close(other(x), expected, rtol=1e-12, atol=1e-12)


def statistics_of(layer):
    """Return the running mean and the running variances or covariances of a norm."""
    return {key: value for key, value in layer.named_buffers() if key.startswith("running_")}


@pytest.mark.parametrize("name", MIXING)
@each_shape
def test_running_statistics_are_a_moving_average(name, shape):
    layer = build(name, update_rate=0.3)
    expected = statistics_of(build(name))
    for seed in range(1, 4):
        layer(data(*shape, seed=seed))
        only = build(name, update_rate=1.0)
        only(data(*shape, seed=seed))
        for key, value in statistics_of(only).items():
            expected[key] = 0.7 * expected[key] + 0.3 * value
    torch.testing.assert_close(statistics_of(layer), expected, rtol=1e-12, atol=1e-12)
    assert (layer.num_batches_tracked == 3).all()


@pytest.mark.parametrize("name", MIXING)
@each_shape
def test_evaluation_by_the_statistics_of_a_batch_is_training_on_it(name, shape):
    layer, x = build(name, update_rate=1.0), data(*shape)
    y = layer(x)
    values = x.numel() / CHANNELS
    for key, statistic in statistics_of(layer).items():
        if key != "running_mean":
            statistic.mul_((values - 1) / values)  # unbiased to biased
    torch.testing.assert_close(layer.eval()(x), y, rtol=1e-10, atol=1e-10)
    alone = torch.cat([layer(sample) for sample in x.split(1)])
    torch.testing.assert_close(alone, y, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", MIXING)
def test_one_value_per_channel(name):
    layer = build(name)
    with pytest.raises(ValueError, match=r"more than one value per channel .* shape \(1, 6\)"):
        layer(data(1, CHANNELS))
    assert layer.eval()(data(1, CHANNELS)).shape == (1, CHANNELS)
    assert (layer.num_batches_tracked == 0).all()


@pytest.mark.parametrize("name", [name for name in NORMS if name != "none"])
def test_wrong_channels(name):
    with pytest.raises(ValueError, match=r"shape \(N, 6, \*spatial\), got \(5, 7, 2\)"):
        build(name)(data(5, CHANNELS + 1, 2))


@pytest.mark.parametrize("name", [name for name in NORMS if name != "none"])
@pytest.mark.parametrize("training", [True, False])
def test_integers_are_refused(name, training):
    for dtype in (torch.uint8, torch.int64):
        with pytest.raises(TypeError, match=rf"numbers, got {dtype}; call .float\(\)"):
            build(name).train(training)(torch.ones(4, CHANNELS, 3, 3, dtype=dtype))


@each_norm
def test_declares_its_equation_and_its_options(name):
    kind = NORMS.load(name)
    assert kind.equation
    for option in options_of(kind).values():
        assert option.text, f"Args: of {kind.__name__} do not explain {option.name}"
        assert option.annotation not in (int, float), f"{option.name} has no range"


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory):
    """A process group of one rank, as DistributedDataParallel needs."""
    store = tmp_path_factory.mktemp("ranks") / "store"
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@each_norm_and_two_shapes
@pytest.mark.usefixtures("one_rank")
def test_every_parameter_has_a_gradient_under_ddp(name, shape):
    layer = nn.Sequential(nn.PReLU(dtype=torch.float64), build(name))
    model = DistributedDataParallel(layer)
    for seed in range(2):  # the second step waits for all gradients of the first
        model(data(*shape, seed=seed)).square().sum().backward()
    assert [key for key, p in layer.named_parameters() if p.grad is None] == []
