"""Losses as functions of embeddings; they need nothing beyond torch."""

from ssl_norm.losses.at_collapse import (
    cross_entropy_at_collapse as cross_entropy_at_collapse,
)
from ssl_norm.losses.contrastive_accuracy import info_nce_accuracy as info_nce_accuracy
from ssl_norm.losses.contrastive_accuracy import nt_xent_accuracy as nt_xent_accuracy
from ssl_norm.losses.declare import loss as loss
from ssl_norm.losses.info_nce import info_nce as info_nce
from ssl_norm.losses.nt_xent import nt_xent as nt_xent
from ssl_norm.losses.registry import LOSSES as LOSSES
from ssl_norm.losses.regression import regression_loss as regression_loss
