"""A command with random settings ends with code 0, or with code 2 and one line that says why."""

import contextlib
import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, get_args, get_origin

from hypothesis import HealthCheck, Phase, given, seed
from hypothesis import settings as rules
from hypothesis import strategies as st

from ssl_norm.cli import entry
from ssl_norm.norms import NORMS
from ssl_norm.option_errors import choices_of, model_of
from ssl_norm.settings.models import MODELS
from ssl_norm.signature import declared_options
from tests.campaigns.campaign import Broken, Chance
from tests.campaigns.commands import command
from tests.settings.test_ranges import SETTINGS, ends, ranges

TRIALS, SAMPLE = 1000, 5
ENDINGS = (0, 2, 3, 4)
RUNS = 0.3  # share of the trials whose tool is run, not only its settings checked
SHORT = {
    "pretrain": "data=digits data.limit=32 batch_size=16 epochs=1 train=false loggers=[] "
    "linear_probe=false monitor.layers_every=0 device=cpu",
    "finetune": "data=digits labels=32 batch_size=16 steps=2 loggers=[] evaluation.limit=32 "
    "evaluation.samples=[32] evaluation.batch_sizes=[32] device=cpu",
    "linear_eval": "checkpoint={run} labels=0.1 random_init=false device=cpu",
    "population_stats": "checkpoint={run} samples=64 labels=0.1 device=cpu",
    "diagnose": "checkpoint={run} samples=32 random_init=false device=cpu",
    "report": "runs={run}",
    "doctor": "data=digits data.limit=32 batch_size=16 check_steps=2 loggers=[] device=cpu",
    "toy": "steps=2 seeds=1 draws=2 unlabelled=50",
}
# Settings of the length of a run, whose ends are long but not faults, and of other machines.
LENGTHS = {
    "epochs", "steps", "seeds", "draws", "samples", "data.limit", "labels", "data.workers",
    "evaluation.uncertainty", "evaluation.samples", "evaluation.limit", "sgd.epochs", "views",
    "evaluation.adapt_samples", "labels_per_class", "unlabelled", "layers", "hidden_dim",
    "train", "linear_probe", "target", "check_steps", "encoder.name", "data.name",
    "checkpoint", "device", "run_dir", "batch_size", "data.image_size", "data.cache_size",
    "data.download", "evaluation.every", "monitor.embeddings", "accumulate",
    "linear_eval.views", "random_init", "runs", "network",
}  # fmt: skip
PLAIN = (
    r"null true nan inf -inf 1e400 -1 0 1 0.5 [] {} [1] [null] {name:bn} ${x} ${oc.env:HOME} \ ~ "
    r"[/] [bold]x[/bold] = a=b 1,2 1_000 0x10 $x$ range(1,3) choice(a,b) ' \""
)
ODD = ("\x1b[31m", "a\nb", "caf\udce9", "\u0663", "", " ", "9" * 300, "9" * 5000)
JUNK = st.one_of(
    st.sampled_from([*PLAIN.split(" "), *ODD]),
    st.text(max_size=12),
    st.integers(-(10**30), 10**30).map(str),
    st.floats().map(repr),
)


def draw(strategy: st.SearchStrategy[Any], chance: random.Random) -> Any:
    """Return a random example of a strategy, the same for the same state of `chance`."""
    found = []

    @seed(chance.getrandbits(64))
    @rules(
        max_examples=8,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def example(value: Any) -> None:
        found.append(value)

    example()
    return found[-1]


def norms() -> st.SearchStrategy[str]:
    """Return norms with an option at one of its ends, or with a wrong value."""

    def options(name: str) -> st.SearchStrategy[str]:
        found = declared_options(NORMS, name)
        if not found:
            return st.just(name)
        return st.sampled_from(sorted(found)).flatmap(
            lambda key: values_of(found[key].annotation).map(
                lambda value: f"{{name: {name}, {key}: {value}}}"
            )
        )

    names = st.sampled_from([*NORMS, *(f"{name}+ws" for name in NORMS)])
    return st.one_of(names, st.sampled_from(list(NORMS)).flatmap(options), JUNK)


def values_of(annotation: Any) -> st.SearchStrategy[str]:
    """Return values of an annotation as they are typed: at its ends, inside, and wrong ones."""
    ways = [JUNK]
    if found := choices_of(annotation):
        ways += 3 * [st.sampled_from(found)]
    if list(ranges(annotation)):
        number = st.sampled_from([repr(end) for end in ends(annotation)])
        low, *_, high = sorted(ends(annotation))
        kind = st.integers if isinstance(low, int) else st.floats
        number = st.one_of(number, kind(low, high).map(repr))
        if {get_origin(part) for part in (annotation, *get_args(annotation))} & {tuple, list}:
            number = st.lists(number, max_size=4).map(lambda items: f"[{','.join(items)}]")
        ways += 3 * [number]
    if annotation is bool:
        ways += 3 * [st.sampled_from(["true", "false"])]
    return st.one_of(ways)


def commands(tool: str, *, all_keys: bool) -> st.SearchStrategy[list[str]]:
    """Return random settings of a tool."""
    fields = {
        key: field
        for key, field in SETTINGS[tool].items()
        if model_of(field.annotation) is None and (all_keys or key not in LENGTHS)
    }

    def setting(key: str) -> st.SearchStrategy[str]:
        annotation = fields[key].rebuild_annotation()
        is_norm = key.startswith("norm.") and not choices_of(annotation)
        is_norm = is_norm and not list(ranges(annotation))
        return (norms() if is_norm else values_of(annotation)).map(lambda value: f"{key}={value}")

    known = st.sampled_from(sorted(fields)).flatmap(setting)
    wrong = st.builds("{}={}".format, st.text(max_size=8), JUNK)
    return st.lists(st.one_of(known, known, known, known, known, wrong), min_size=1, max_size=5)


@cache
def trained() -> Path:
    """Return a short run that the tools of checkpoints read."""
    folder = Path(mkdtemp()) / "run"
    typed = SHORT["pretrain"].replace("train=false ", "").split()
    code, text = command("pretrain", *typed, f"run_dir={folder}")
    assert code == 0, text
    return folder


@contextlib.contextmanager
def replaced(load: Callable[[str], Any] | None) -> Iterator[None]:
    """Check settings without the tool, where a function is given."""
    before = entry.load_object
    if load is not None:
        entry.load_object = load  # type: ignore[assignment]
    try:
        yield
    finally:
        entry.load_object = before


def trial(chance: Chance, folder: Path) -> None:
    """Run a command with random settings and check how it ends."""
    tool = chance.choice(list(MODELS))
    is_run = chance.random() < RUNS
    start = SHORT[tool].format(run=trained() if "{run}" in SHORT[tool] and is_run else "x").split()
    typed = [*start, *draw(commands(tool, all_keys=not is_run), chance)]
    chance.what = f"{tool} {typed}"
    with contextlib.chdir(folder), replaced(None if is_run else lambda _: lambda *_, **__: None):
        code, error = command(tool, *typed)
    lines = [line for line in error.splitlines() if line.startswith("error: ")]
    if code not in ENDINGS or "Traceback" in error:
        raise Broken("traceback", f"code {code}: {error[-2000:]}")
    if code and (len(lines) != 1 or not error.rstrip().endswith(lines[0])):
        raise Broken("silent", f"code {code} without one line: {error[-2000:]}")
