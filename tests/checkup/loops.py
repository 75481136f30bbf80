"""BYOL as a plain loop on random images of 16 px, with one change for each public bug."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, interpolate

from ssl_norm.norms import make_norm


def pictures(N: int) -> Tensor:
    return interpolate(torch.randn(N, 3, 4, 4), size=16, mode="bilinear")


def two_views(images: Tensor) -> tuple[Tensor, Tensor]:
    first, second = (images + 0.3 * torch.randn_like(images) for _ in range(2))
    return first, second


def head(width: int, norm: Callable[[int], nn.Module] = nn.BatchNorm1d) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 24), norm(24), nn.ReLU(), nn.Linear(24, 16))


class Network(nn.Module):
    """Encoder and projector."""

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm1d) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2)]
        self.encoder = nn.Sequential(*layers, nn.Flatten())
        self.projector = head(32, norm)

    def forward(self, view: Tensor) -> Tensor:
        return self.projector(self.encoder(view))


class Byol(nn.Module):
    """BYOL in methods, which subclasses with bugs override."""

    momentum = 0.9

    def __init__(self, norm: Callable[[int], nn.Module] = nn.BatchNorm1d) -> None:
        super().__init__()
        self.online, self.predictor = Network(norm), head(16, norm)
        self.teacher = self.make_teacher()
        self.optimizer = torch.optim.SGD(self.trained(), lr=0.1, momentum=0.9)

    def make_teacher(self) -> nn.Module:
        return deepcopy(self.online).requires_grad_(False)

    def trained(self) -> Iterator[nn.Parameter]:
        return (p for p in self.parameters() if p.requires_grad)

    def views(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return two_views(images)

    def targets(self, view: Tensor) -> Tensor:
        with torch.no_grad():
            return self.teacher(view)

    def update(self) -> None:
        with torch.no_grad():
            for target, online in zip(
                self.teacher.parameters(), self.online.parameters(), strict=True
            ):
                target.lerp_(online, 1 - self.momentum)

    def step(self, images: Tensor) -> None:
        first, second = self.views(images)
        losses = [
            1 - cosine_similarity(self.predictor(self.online(one)), self.targets(other)).mean()
            for one, other in ((first, second), (second, first))
        ]
        self.optimizer.zero_grad()
        sum(losses).backward()
        self.optimizer.step()
        self.update()


def arguments(kind: type[Byol] = Byol, N: int = 32, steps: int = 3, **made: Any) -> dict[str, Any]:
    """Return the arguments of `doctor` for a loop."""
    torch.manual_seed(0)
    learner = kind(**made)
    batches = [pictures(N) for _ in range(steps)]
    return {"model": learner, "step_fn": learner.step, "batches": batches, "steps": steps}


def variant(**changed: Any) -> type[Byol]:
    """Return a loop with other methods or attributes."""
    return type("Variant", (Byol,), changed)


def started(change: Callable[[Byol], object], *norms: Any) -> type[Byol]:
    """Return a loop whose networks are changed before its first step."""

    class Started(Byol):
        def __init__(self) -> None:
            super().__init__(*norms)
            change(self)

    return Started


def replace_memory(self: Byol) -> None:
    """Give the target new memory in every step, as in byol-pytorch."""
    for target, online in zip(self.teacher.parameters(), self.online.parameters(), strict=True):
        target.data = 0.9 * target.data + 0.1 * online.data


SharedTeacher = variant(make_teacher=lambda self: self.online)
StillTeacher = variant(update=lambda _: None)
SwappedFactors = variant(momentum=0.01)
NewMemory = variant(update=replace_memory)
TrainedTeacher = variant(
    make_teacher=lambda self: deepcopy(self.online), targets=lambda self, view: self.teacher(view)
)
HoldsAll = variant(trained=lambda self: self.parameters())  # also the frozen ones of the target
NotHeld = variant(trained=lambda self: self.online.parameters())
IdenticalViews = variant(views=lambda _, images: (images, images.clone()))
ForeignViews = variant(views=lambda _, images: (images, pictures(len(images))))
ShiftedViews = variant(
    views=lambda _, images: [view.roll(rows, 0) for rows, view in enumerate(two_views(images))]
)
FrozenEncoder = started(lambda self: self.online.encoder.requires_grad_(False))
ConstantOutputs = started(lambda self: self.online.projector[-1].weight.data.zero_(), nn.Identity)
# Outputs that differ in all directions, by a thousandth of their length.
NearlyEqualOutputs = started(lambda self: self.online.projector[-1].bias.data.fill_(200))
RawPixels = variant(views=lambda _, images: [127 + 60 * view for view in two_views(images)])


class EncoderInEvaluation(FrozenEncoder):
    def step(self, images):
        self.online.encoder.eval()
        super().step(images)


class OneDirection(Byol):
    """Its outputs differ along one line only."""

    def __init__(self):
        super().__init__()
        last = self.online.projector[-1]
        last.weight.data.copy_(last.weight[:, :1] * last.weight[:1])
        last.bias.data.zero_()


class FrozenBiases(Byol):
    """Only its weights are trained, and followed by the target."""

    def trained(self):
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.requires_grad and parameter.ndim > 1)
        return super().trained()


class HeldForNothing(Byol):
    def __init__(self):
        self.unused = None
        super().__init__()

    def trained(self):
        self.unused = nn.Linear(3, 3)
        return self.parameters()


class IdenticalViewsOfStages(IdenticalViews):
    """Equal views that pass a frozen first stage before the network."""

    def __init__(self):
        super().__init__()
        self.stage = nn.Conv2d(3, 3, 1).requires_grad_(False)

    def views(self, images):
        first, second = super().views(images)
        return self.stage(first), self.stage(second)


class ScheduleInPython(Byol):
    """Its momentum rises with a counter that no checkpoint has."""

    updates = 0

    def update(self):
        self.updates += 1
        self.momentum = 1 - 0.1 / self.updates
        super().update()


class ScheduleInBuffer(Byol):
    def __init__(self):
        super().__init__()
        self.register_buffer("updates", torch.zeros(()))

    def update(self):
        self.updates += 1
        super().update()


class SharedBatchNorm(nn.BatchNorm1d):
    sync = True


def ghost_norms(width: int) -> nn.Module:
    return make_norm({"name": "bn", "batch_size": 2}, width)


def with_labels(*, is_sorted: bool) -> dict[str, Any]:
    given, labels = arguments(), torch.arange(96) // 32
    order = torch.arange(96) if is_sorted else torch.randperm(96)
    given["batches"] = list(zip(given["batches"], labels[order].split(32), strict=True))
    step = given["step_fn"]
    return {**given, "step_fn": lambda batch: step(batch[0])}
