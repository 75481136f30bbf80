"""Checks of norms against the widths of heads and the samples of a batch."""

from collections.abc import Iterator, Mapping

from ssl_norm.errors import UserError
from ssl_norm.norms import NormSpec
from ssl_norm.norms.layers.groups import default_groups
from ssl_norm.settings.method import HeadSettings

HeadNorm = tuple[str, NormSpec, str]  # key of the norm, the norm, the width that it normalizes


def check_head(part: str, head: HeadSettings, norm: NormSpec) -> None:
    """Raise UserError unless a head can have its norms."""
    key = f"method.{part}"
    output_key, output = _norm_of_output(part, head, norm)
    if head.layers == 0 and output_key != f"norm.{part}":
        raise UserError(
            f"{output_key}={output}: a head of 0 layers has no output layer; set {key}.layers=1"
        )
    for norm_key, spec, width in norms_of_head(part, head, norm):
        check_vectors(norm_key, spec)
        check_groups(norm_key, spec, f"{key}.{width}", getattr(head, width))


def norms_of_head(part: str, head: HeadSettings, norm: NormSpec) -> Iterator[HeadNorm]:
    """Yield the norms of the layers of a head."""
    if head.layers > 1:
        yield f"norm.{part}", norm, "hidden_dim"
    if head.layers > 0:
        yield *_norm_of_output(part, head, norm), "output_dim"


def _norm_of_output(part: str, head: HeadSettings, norm: NormSpec) -> tuple[str, NormSpec]:
    if isinstance(head.norm_output, bool):
        return f"norm.{part}", norm if head.norm_output else NormSpec("none")
    return f"method.{part}.norm_output", head.norm_output


def check_vectors(key: str, norm: NormSpec) -> None:
    """Raise UserError unless a norm is meaningful for one value per channel."""
    if not norm.vectors:
        raise UserError(
            f"{key}={norm}: a head has one value per channel of a sample, which '{norm.name}' maps "
            f"to 0; use another norm there, such as {key}=ln"
        )


def check_groups(key: str, norm: NormSpec, width_key: str, width: int) -> None:
    """Raise UserError unless the groups of a norm divide a width.

    A norm that normalizes one sample at a time needs groups of several values.
    """
    if "groups" not in norm.all_options:
        return
    if norm.batch_statistics and norm.option("groups") is None:
        return
    groups: int = norm.option("groups") or default_groups(width)
    if width % groups == 0 and (groups < width or norm.batch_statistics):
        return
    fitting = max(count for count in range(1, min(groups, width - 1) + 1) if width % count == 0)
    name = f"{norm.name}+ws" if norm.weight_standardization else norm.name
    options: Mapping[str, object] = {"name": name, **norm.options, "groups": fitting}
    repair = ", ".join(f"{option}: {value}" for option, value in options.items())
    reason = "of one value each map it to 0" if groups == width else "do not divide it"
    raise UserError(
        f"{key}={norm} with {width_key}={width}: {groups} groups {reason}; use {fitting}: "
        f"{key}='{{{repair}}}'"
    )


def check_chunks(key: str, norm: NormSpec, samples: int, fewest: int) -> None:
    """Raise UserError unless all chunks of the samples of one pass of one process have the fewest.

    Chunks are the domains or ghost batches into which a norm splits its batch.
    """
    domains: int | None = norm.option("domains")
    if domains is not None:
        if samples % domains:
            fitting = _nearest(domains, [d for d in range(1, samples + 1) if samples % d == 0])
            raise UserError(
                f"{key}={norm}: {samples} samples per process and pass are not {domains} equal "
                f"chunks, one for each domain; use domains: {fitting} or another batch_size"
            )
        if not norm.option("shared_statistics"):
            samples //= domains
        if samples < fewest and not norm.option("sync"):
            raise UserError(
                f"{key}={norm}: {samples} sample(s) of a domain have no batch statistics in a head; "
                "use a larger batch_size"
            )
    size: int | None = norm.option("batch_size")
    if size is None or (samples % size or size) >= fewest:
        return
    fitting = _nearest(size, [s for s in range(fewest, samples + 1) if samples % s != 1])
    raise UserError(
        f"{key}={norm}: {samples} samples leave a last ghost batch of one sample, which has no "
        f"batch statistics in a head; use {fitting}: "
        f"{key}='{{name: {norm.name}, batch_size: {fitting}}}'"
    )


def _nearest(number: int, candidates: list[int]) -> int:
    return min(candidates, key=lambda candidate: (abs(candidate - number), candidate))
