"""Loggers of a run by name; needs no torch."""

from ssl_norm.registry import Registry

# A logger is a class after `ssl_norm.train.loggers.Logger`; it is called with the run folder and
# the number of steps already done.
LOGGERS = Registry(
    "logger",
    {
        "tensorboard": "ssl_norm.train.tensorboard:TensorBoard",
    },
    expects="a subclass of ssl_norm.train.loggers.Logger",
    base="ssl_norm.train.loggers:Logger",
    only_classes=True,
)
