"""Loggers of a run by name; needs no torch."""

from ssl_norm.registry import Registry

# Loggers are subclasses of `ssl_norm.train.loggers.Logger`, called with the run folder and the
# number of steps already done.
LOGGERS = Registry(
    "logger",
    {
        "tensorboard": "ssl_norm.train.tensorboard:TensorBoard",
    },
    expects="a subclass of ssl_norm.train.loggers.Logger",
    base="ssl_norm.train.loggers:Logger",
    only_classes=True,
)
