"""The names of all norms and the grammar that selects one, without torch: errors answer at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from ssl_norm.intervals import Interval
from ssl_norm.names import unknown_name


@dataclass(frozen=True)
class NormEntry:
    """One norm: where its constructor lives, the options it takes, and what it computes.

    Attributes:
        target: `module:callable`; called as `callable(num_features, **options)`.
        options: names of the keyword options; a contract test holds them against the signature.
        batch_statistics: whether training mixes the samples of a batch.
        equation: one line for the table of norms.
        preset: values of options that differ from the constructor's own defaults.
        vectors: whether it takes (N, C) inputs, as in MLP heads.
        nonlinear: whether it stands in the place of a norm and its activation.
    """

    target: str
    options: tuple[str, ...]
    batch_statistics: bool
    equation: str
    preset: Mapping[str, Any] = field(default_factory=dict)
    vectors: bool = True
    nonlinear: bool = False


EVALUATIONS = ("population", "batch")
POPULATIONS = ("ema", "cumulative", "exact")
BATCH_OPTIONS = (
    "eps",
    "update_rate",
    "affine",
    "batch_size",
    "sync",
    "evaluation",
    "population",
)  # of every batch norm

NORMS: Mapping[str, NormEntry] = MappingProxyType(
    {
        "none": NormEntry("torch.nn:Identity", (), False, "y = x"),
        "bn": NormEntry(
            "ssl_norm.norms.layers.batch_norm:BatchNorm",
            BATCH_OPTIONS,
            True,
            "y = gamma (x - E) / sqrt(V + eps) + beta; E, V over batch and space, per channel",
        ),
        "ghost": NormEntry(
            "ssl_norm.norms.layers.batch_norm:BatchNorm",
            BATCH_OPTIONS,
            True,
            "bn over chunks of batch_size consecutive samples, 32 unless told",
            preset={"batch_size": 32},
        ),
        "ln": NormEntry(
            "ssl_norm.norms.layers.group_norm:LayerNorm",
            ("eps", "affine"),
            False,
            "y = gamma (x - E) / sqrt(V + eps) + beta; E, V over channels and space, per sample",
        ),
        "gn": NormEntry(
            "ssl_norm.norms.layers.group_norm:GroupNorm",
            ("groups", "eps", "affine"),
            False,
            "y = gamma (x - E) / sqrt(V + eps) + beta; E, V over a group and space, per sample",
        ),
        "in": NormEntry(
            "ssl_norm.norms.layers.instance_norm:InstanceNorm",
            ("eps", "affine"),
            False,
            "y = gamma (x - E) / sqrt(V + eps) + beta; E, V over space, per sample and channel",
            vectors=False,
        ),
        "rms": NormEntry(
            "ssl_norm.norms.layers.rms_norm:RMSNorm",
            ("eps", "affine"),
            False,
            "y = gamma x / sqrt(Q + eps); Q: mean of x^2 over channels and space, per sample",
        ),
        "rbn": NormEntry(
            "ssl_norm.norms.layers.representative_batch_norm:RepresentativeBatchNorm",
            (*BATCH_OPTIONS, "identity_init"),
            True,
            "s = bn(x + w_m K(x)); y = gamma s sigmoid(w_v K(s) + w_b) + beta; K: mean over space",
        ),
        "brn": NormEntry(
            "ssl_norm.norms.layers.batch_renorm:BatchRenorm",
            (*BATCH_OPTIONS, "r_max", "d_max", "warmup_steps", "r_ramp_steps", "d_ramp_steps"),
            True,
            "y = gamma (r (x - E) / sqrt(V + eps) + d) + beta; r, d: clipped, towards evaluation's y",
        ),
        "frozen": NormEntry(
            "ssl_norm.norms.layers.frozen_batch_norm:FrozenBatchNorm",
            ("eps", "affine"),
            False,
            "y = gamma (x - E) / sqrt(V + eps) + beta; E, V: constants, those of a checkpoint",
        ),
        "act": NormEntry(
            "ssl_norm.norms.layers.act_norm:ActNorm",
            ("eps",),
            False,
            "y = gamma x + beta; at first bn's of the first training batch, from then on parameters",
        ),
        "domain": NormEntry(
            "ssl_norm.norms.layers.domain_batch_norm:DomainBatchNorm",
            (*BATCH_OPTIONS, "domains", "affine_per_domain", "shared_statistics"),
            True,
            "bn of the samples of each domain: equal chunks of a batch, or by label",
        ),
        "ubn": NormEntry(
            "ssl_norm.norms.layers.unsupervised_batch_norm:UnsupervisedBatchNorm",
            BATCH_OPTIONS,
            True,
            "bn; E, V: constants of the labelled and unlabelled samples, where these are given",
        ),
        "switch": NormEntry(
            "ssl_norm.norms.layers.switchable_norm:SwitchableNorm",
            BATCH_OPTIONS,
            True,
            "y = gamma (x - E) / sqrt(V + eps) + beta; E, V: learned mixtures of those of in, ln, bn",
        ),
        "frn": NormEntry(
            "ssl_norm.norms.layers.filter_response_norm:FilterResponseNorm",
            ("eps", "affine", "threshold"),
            False,
            "y = max(gamma x / sqrt(Q + eps) + beta, tau); Q: mean of x^2 over space, tau learned",
            nonlinear=True,
        ),
        "evonorm-s0": NormEntry(
            "ssl_norm.norms.layers.evonorm:EvoNormS0",
            ("groups", "eps", "affine"),
            False,
            "y = gamma x sigmoid(v x) / sqrt(V + eps) + beta; V over a group and space, per sample",
            nonlinear=True,
        ),
        "evonorm-b0": NormEntry(
            "ssl_norm.norms.layers.evonorm:EvoNormB0",
            BATCH_OPTIONS,
            True,
            "y = gamma x / max(sqrt(V + eps), v x + sqrt(I + eps)) + beta; V of the batch, I over space",
            nonlinear=True,
        ),
        "zca": NormEntry(
            "ssl_norm.norms.layers.whitening:DecorrelatedBatchNorm",
            ("groups", "eps", "update_rate", "affine"),
            True,
            "y = gamma (S + eps I)^(-1/2) (x - E) + beta; E, S: mean, covariance of a group's channels",
        ),
        "iternorm": NormEntry(
            "ssl_norm.norms.layers.whitening:IterativeNorm",
            ("groups", "eps", "update_rate", "iterations", "affine"),
            True,
            "as zca, the root by Newton's iterations: P' = (3 P - P^3 S / tr S) / 2 from P = I",
        ),
    }
)


UNSET_BY_NULL = ("batch_size", "groups")  # whose null stands for the norm's own choice
OPTION_VALUES: Mapping[str, Interval | type[bool] | tuple[str, ...]] = MappingProxyType(
    {
        "groups": Interval(1, whole=True),
        "eps": Interval(0, ends="()"),
        "update_rate": Interval(0, 1, "(]"),
        "iterations": Interval(1, whole=True),
        "affine": bool,
        "batch_size": Interval(1, whole=True),
        "sync": bool,
        "evaluation": EVALUATIONS,
        "population": POPULATIONS,
        "identity_init": bool,
        "r_max": Interval(1),
        "d_max": Interval(0),
        "warmup_steps": Interval(0, whole=True),
        "r_ramp_steps": Interval(1, whole=True),
        "d_ramp_steps": Interval(1, whole=True),
        "domains": Interval(1, whole=True),
        "affine_per_domain": bool,
        "shared_statistics": bool,
        "threshold": bool,
    }
)


@dataclass(frozen=True)
class NormSpec:
    """A parsed norm choice: name, options, and whether weights before it are standardized.

    Attributes:
        constructor: what builds a norm of the user's own, called with `num_features` alone; None: the
            name is one of `NORMS`.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    weight_standardization: bool = False
    constructor: Callable[[int], Any] | None = None

    @property
    def batch_statistics(self) -> bool:
        """Whether this norm mixes the samples of a batch in training; of a user's own: not known, no."""
        return self.constructor is None and NORMS[self.name].batch_statistics

    def __str__(self) -> str:
        suffix = "+ws" if self.weight_standardization else ""
        options = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.name}{suffix}" + (f"({options})" if options else "")


NormLike = str | Mapping[str, Any] | Callable[[int], Any] | NormSpec


def parse_norm(spec: NormLike) -> NormSpec:
    """Return the norm that a string (`gn+ws`) or a mapping (`{name: gn+ws, groups: 16}`) selects.

    A class or function of a user's own, which builds a layer from `num_features`, is a norm as well.

    Raises:
        ValueError: the name is not in `NORMS`, the mapping has no `name`, or the value of an option
            is not among its `OPTION_VALUES`.
        TypeError: an option is not one of the norm's, or `spec` is neither string, mapping nor callable.

    Example:
        >>> str(parse_norm({"name": "gn+ws", "groups": 16}))
        'gn+ws(groups=16)'
    """
    if isinstance(spec, NormSpec):
        return spec
    if callable(spec):
        function = getattr(spec, "func", spec)  # of functools.partial
        return NormSpec(getattr(function, "__name__", type(spec).__name__), constructor=spec)
    if isinstance(spec, str):
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        raise TypeError(f"a norm is a name or a mapping with 'name', got {spec!r}")
    options = dict(spec)
    full_name = options.pop("name", None)
    if not isinstance(full_name, str):
        raise ValueError(f"a norm given as a mapping needs 'name', got {dict(spec)!r}")
    name, plus, suffix = full_name.partition("+")
    if name not in NORMS or (plus and suffix != "ws"):
        known = [f"{norm}+ws" for norm in NORMS] if plus else NORMS
        raise ValueError(unknown_name("norm", full_name, known))
    for option, value in options.items():
        if option not in NORMS[name].options:
            raise TypeError(unknown_name(f"option of norm '{name}'", option, NORMS[name].options))
        check_option(name, option, value)
    return NormSpec(name, options, weight_standardization=bool(plus))


def check_option(norm: str, option: str, value: object) -> None:
    """Raise ValueError unless an option, where its values are known, has one of them."""
    allowed = OPTION_VALUES.get(option)
    if allowed is None or (value is None and option in UNSET_BY_NULL):
        return
    if isinstance(allowed, tuple):
        if value not in allowed:
            raise ValueError(unknown_name(f"{option} of norm '{norm}'", str(value), allowed))
        return
    if isinstance(value, bool) if isinstance(allowed, type) else value in allowed:
        return
    expected = "true or false" if isinstance(allowed, type) else str(allowed)
    raise ValueError(f"{option} of norm '{norm}': {expected} expected, got {value!r}")
