"""Learners by name: `METHODS.load(name)` is a learner's class. Importing this needs no torch."""

from ssl_norm.registry import Registry

METHODS = Registry(
    "method",
    {
        "byol": "ssl_norm.learners.byol:BYOL",
        "simclr": "ssl_norm.learners.simclr:SimCLR",
        "moco_v2": "ssl_norm.learners.moco_v2:MoCoV2",
    },
    expects="a subclass of ssl_norm.learners.learner.Learner",
    base="ssl_norm.learners.learner:Learner",
    only_classes=True,
    methods={"forward": ("view1", "view2")},
)
