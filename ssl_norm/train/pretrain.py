"""tools/pretrain.py: one run from configuration to summary."""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from ssl_norm.config import PretrainConfig
from ssl_norm.data import load_splits
from ssl_norm.data.augment import TwoViews
from ssl_norm.data.batches import Batches
from ssl_norm.data.image_set import Splits
from ssl_norm.distributed import rank, world_size
from ssl_norm.errors import CollapseStop, NonFiniteLoss, UserError
from ssl_norm.evaluate.protocol import evaluate_encoder
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.train.build import make_encoder, make_learner
from ssl_norm.train.checkpoint import save_checkpoint
from ssl_norm.train.device import autocast, pick_device, process_group
from ssl_norm.train.environment import describe_environment
from ssl_norm.train.figure import draw_collapse
from ssl_norm.train.loop import Training, count_parameters, train
from ssl_norm.train.optimizer import make_optimizer
from ssl_norm.train.progress import ProgressLine
from ssl_norm.train.recorder import Recorder
from ssl_norm.train.run_folder import norm_names, open_run_folder, plain_config, write_config, write_json
from ssl_norm.train.schedule import effective_learning_rate, learning_rate
