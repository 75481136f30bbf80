"""Checks of ghost batches and domains against the samples that a norm sees at once; needs no torch."""

from ssl_norm.cli.head_checks import norm_spec, norm_spec_of, norms_of_head
from ssl_norm.config import HeadConfig, PretrainConfig
from ssl_norm.errors import UserError
from ssl_norm.norms import NormSpec


def check_splits(config: PretrainConfig, processes: int) -> None:
    """Check that all chunks have batch statistics: domains are equal, and none in a head is one sample."""
    views = 2 if config.norm.view_statistics == "joint" else 1
    samples = config.batch_size // processes * views
    check_split("norm.encoder", norm_spec("norm.encoder", config.norm.encoder), samples, 1)
    for part in ("projector", "predictor"):
        head: HeadConfig | None = getattr(config.method, part, None)
        if head is not None:
            for key, spec, _ in norms_of_head(part, head, norm_spec_of(config, part)):
                check_split(key, spec, samples, 2)


def check_split(key: str, spec: NormSpec, samples: int, fewest: int) -> None:
    """Check into which chunks a norm splits its input.

    Args:
        key: of the norm.
        spec: the norm.
        samples: what one process passes at once.
        fewest: samples that a chunk needs.
    """
    options = spec.all_options
    if "domains" in options:
        domains: int = options["domains"]
        if samples % domains:
            fitting = nearest(domains, [d for d in range(1, samples + 1) if samples % d == 0])
            raise UserError(
                f"{key}={spec}: the {samples} samples that a process passes at once are not {domains} "
                f"equal chunks, one for each domain; use domains: {fitting} or another batch_size"
            )
        if not options.get("shared_statistics", False):
            samples //= domains
        if samples < fewest and not options.get("sync", False):
            raise UserError(
                f"{key}={spec}: {samples} sample(s) of a domain have no batch statistics in a head; "
                "use a larger batch_size"
            )
    size: int | None = options.get("batch_size")
    if size is None or (samples % size or size) >= fewest:
        return
    fitting = nearest(size, [s for s in range(fewest, samples + 1) if samples % s != 1])
    raise UserError(
        f"{key}={spec}: of {samples} samples the last ghost batch has one, and no statistics in a head; "
        f"{fitting} would do: {key}='{{name: {spec.name}, batch_size: {fitting}}}'"
    )


def nearest(number: int, candidates: list[int]) -> int:
    """Return the candidate that is nearest to a number, the smaller of two."""
    return min(candidates, key=lambda candidate: (abs(candidate - number), candidate))
