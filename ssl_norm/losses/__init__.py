"""Losses as functions of embeddings; they need only torch."""

from ssl_norm.losses.contrastive import cross_entropy_at_collapse as cross_entropy_at_collapse
from ssl_norm.losses.contrastive import info_nce as info_nce
from ssl_norm.losses.contrastive import info_nce_accuracy as info_nce_accuracy
from ssl_norm.losses.contrastive import nt_xent as nt_xent
from ssl_norm.losses.contrastive import nt_xent_accuracy as nt_xent_accuracy
from ssl_norm.losses.declare import loss as loss
from ssl_norm.losses.regression import regression_loss as regression_loss
from ssl_norm.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "regression": "ssl_norm.losses.regression:regression_loss",
        "nt_xent": "ssl_norm.losses.contrastive:nt_xent",
        "info_nce": "ssl_norm.losses.contrastive:info_nce",
    },
    expects="a function decorated by ssl_norm.losses.loss(...)",
    attributes={"declaration": "ssl_norm.losses.declare:Declaration"},
)
