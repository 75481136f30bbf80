"""Names of all losses; each is declared at its function. Needs no torch."""

from ssl_norm.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "regression": "ssl_norm.losses.regression:regression_loss",
        "nt_xent": "ssl_norm.losses.nt_xent:nt_xent",
        "info_nce": "ssl_norm.losses.info_nce:info_nce",
    },
)
