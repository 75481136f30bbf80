"""Settings of tools/doctor.py."""

from collections.abc import Iterator, Mapping

from pydantic import ValidationInfo

from ssl_norm.options import Text, option
from ssl_norm.settings.pretrain import PretrainSettings

OF_WHOLE_RUNS = (
    *("run_dir", "loggers", "monitor", "linear_probe", "probe_labels", "checkpoint_every"),
    *("keep_every", "norm.freeze_last_epochs"),
)


class DoctorSettings(PretrainSettings):
    """Check a run for public bugs before it starts: pairs of views, target, optimizer, statistics.

    python tools/doctor.py method=byol data=folder data.root=~/photos
                                 the run that tools/pretrain.py would start with these settings
    python tools/doctor.py target=mycode:loop
                                 your own loop: loop() returns the arguments of ssl_norm.doctor
    """

    target: Text | None = option(
        None, "module:function that returns the arguments of ssl_norm.doctor for another loop"
    )
    check_steps: int = option(3, "steps that are run and undone", unit="steps", ge=2, le=10**6)

    def unused(self) -> Mapping[str, str]:
        """Return the settings that a check does not read: all of a run if another loop is checked."""
        if self.target is None:
            reason = "the steps of a check are undone and leave no files"
            return {**dict.fromkeys(OF_WHOLE_RUNS, reason), **super().unused()}
        reason = f"target={self.target} is checked instead of a run of this package"
        return dict.fromkeys([*PretrainSettings.model_fields, "check_steps"], reason)

    def _faults(self, info: ValidationInfo) -> Iterator[str]:
        if self.resume:
            yield "resume=true: the check concerns the first steps of a run; leave it out"
        if not self.train:
            yield "train=false: a run without steps has nothing to check; leave it out"
        yield from super()._faults(info)
