"""Losses as functions of embeddings; they need nothing beyond torch."""

from ssl_norm.losses.info_nce import info_nce as info_nce
from ssl_norm.losses.nt_xent import nt_xent as nt_xent
from ssl_norm.losses.regression import regression_loss as regression_loss
