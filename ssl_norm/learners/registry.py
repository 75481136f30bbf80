"""Names of all learners; each is declared at its class. Needs no torch."""

from ssl_norm.registry import Registry

METHODS = Registry(
    "method",
    {
        "byol": "ssl_norm.learners.byol:BYOL",
        "simclr": "ssl_norm.learners.simclr:SimCLR",
        "moco_v2": "ssl_norm.learners.moco_v2:MoCoV2",
    },
)
