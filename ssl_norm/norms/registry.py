"""Names of all norms."""

from ssl_norm.registry import Registry

NORMS = Registry(
    "norm",
    {
        "none": "ssl_norm.norms.layers.no_norm:NoNorm",
        "bn": "ssl_norm.norms.layers.batch_norm:BatchNorm",
        "ghost": "ssl_norm.norms.layers.batch_norm:GhostBatchNorm",
        "ln": "ssl_norm.norms.layers.group_norm:LayerNorm",
        "gn": "ssl_norm.norms.layers.group_norm:GroupNorm",
        "in": "ssl_norm.norms.layers.instance_norm:InstanceNorm",
        "rms": "ssl_norm.norms.layers.rms_norm:RMSNorm",
        "rbn": "ssl_norm.norms.layers.representative_batch_norm:RepresentativeBatchNorm",
        "brn": "ssl_norm.norms.layers.batch_renorm:BatchRenorm",
        "frozen": "ssl_norm.norms.layers.frozen_batch_norm:FrozenBatchNorm",
        "act": "ssl_norm.norms.layers.act_norm:ActNorm",
        "domain": "ssl_norm.norms.layers.domain_batch_norm:DomainBatchNorm",
        "ubn": "ssl_norm.norms.layers.unsupervised_batch_norm:UnsupervisedBatchNorm",
        "switch": "ssl_norm.norms.layers.switchable_norm:SwitchableNorm",
        "frn": "ssl_norm.norms.layers.filter_response_norm:FilterResponseNorm",
        "evonorm-s0": "ssl_norm.norms.layers.evonorm:EvoNormS0",
        "evonorm-b0": "ssl_norm.norms.layers.evonorm:EvoNormB0",
        "zca": "ssl_norm.norms.layers.whitening:DecorrelatedBatchNorm",
        "iternorm": "ssl_norm.norms.layers.whitening:IterativeNorm",
    },
    expects="an nn.Module, or a function that returns one, of num_features",
    base="torch.nn:Module",
    arguments=1,
    methods={"forward": ("x",)},
)
