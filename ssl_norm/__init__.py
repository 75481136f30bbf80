"""Self-supervised pretraining with a choice of norms and with live measurement of collapse.

Importing the package does not import torch; each name is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssl_norm.api import diagnose as diagnose
    from ssl_norm.api import finetune as finetune
    from ssl_norm.api import linear_eval as linear_eval
    from ssl_norm.api import load_encoder as load_encoder
    from ssl_norm.api import population_stats as population_stats
    from ssl_norm.api import pretrain as pretrain
    from ssl_norm.api import report as report
    from ssl_norm.checkup import doctor as doctor
    from ssl_norm.monitors import CollapseCallback as CollapseCallback
    from ssl_norm.monitors import CollapseMonitor as CollapseMonitor
    from ssl_norm.monitors import attach as attach
    from ssl_norm.norms import make_norm as make_norm
    from ssl_norm.norms import replace_norms as replace_norms

__version__ = "0.1.0"

_HOMES = {
    "doctor": "checkup",
    **dict.fromkeys(("CollapseCallback", "CollapseMonitor", "attach"), "monitors"),
    "make_norm": "norms",
    "replace_norms": "norms",
    **dict.fromkeys(("pretrain", "finetune", "linear_eval", "diagnose"), "api"),
    **dict.fromkeys(("population_stats", "report", "load_encoder"), "api"),
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    """Import a name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
