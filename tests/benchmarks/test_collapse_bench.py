"""CollapseBench: traces, fates and alarms on synthetic runs of known outcome."""

import csv
import math
from dataclasses import replace

import pytest
import torch

from benchmarks.collapse_bench import make, score
from benchmarks.collapse_bench.objectives import OBJECTIVES, OF_TOKENS, TUNING
from benchmarks.collapse_bench.score import ALARMS
from ssl_norm.bench import ALARMS as PRINTED
from ssl_norm.bench import Trace, judge, main, read_trace
from ssl_norm.exit_code import exit_code_of
from ssl_norm.monitors import CollapseMonitor
from ssl_norm.monitors.verdict import PATIENCE

TRACES = sorted(score.TRACES.glob("*.csv.gz"))
STEPS = 800


def course(negative, positive=None, std=None, rank=40.0, loss=1.0):
    """Return a trace from functions of the share of the run."""
    rows = []
    for step in range(1, STEPS + 1):
        share = step / STEPS
        cosine = negative(share)
        spread = std(share) if std else math.sqrt(max(1 - cosine, 0))
        ranks = rank(share) if callable(rank) else rank
        row = {"step": float(step), "negative_cosine": cosine, "feature_std": spread}
        row["positive_cosine"] = positive(share) if positive else cosine + 0.9 * (1 - cosine)
        row |= {"raw_std": spread, "loss": loss, "dimensions": 64.0}
        rows.append(row | {"effective_rank": ranks, "rank_me": ranks})
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return Trace("course", columns, {"loss_at_collapse": 0.0})


def noise(share):
    return 0.01 * math.sin(1000 * share)


def healthy(share):
    return 0.1 + noise(share)


def slow(share):
    return 1 - math.exp(-3.2 * share) * (1 + noise(share))


def fast(share):
    return 0.9999 if share > 0.05 else 0.3


def lost_rank(share):
    return 40.0 if share < 0.3 else 3.0


@pytest.mark.parametrize(
    ("trace", "kind"),
    [
        (course(healthy), "healthy"),
        (course(slow), "complete"),
        (course(fast), "complete"),
        (course(healthy, rank=lost_rank), "dimensional"),
        (course(lambda _: 0.7, positive=lambda _: 0.705), "gap"),
        (course(lambda _: 0.85), "ambiguous"),
    ],
)
def test_the_end_of_a_run_decides_its_fate(trace, kind):
    end = score.fate(trace, healthy_rank=40.0)
    assert end.kind == kind
    assert (end.since is None) == (kind in ("healthy", "ambiguous"))
    assert not end.recovered


def test_a_form_that_lacks_a_part_and_has_not_collapsed_is_open():
    lacking = replace(course(lambda share: 0.7 * share), facts={"without": "predictor"})
    assert score.fate(lacking, 40.0).kind == "open"


def test_a_run_that_leaves_collapse_has_recovered():
    back = course(lambda share: 0.99 if 0.2 < share < 0.5 else 0.1)
    assert score.fate(back, 40.0) == score.Fate("healthy", recovered=True)


@pytest.mark.parametrize("name", ALARMS)
def test_alarms_are_silent_on_health_and_raised_at_complete_collapse(name):
    assert ALARMS[name].fires_at(course(healthy)) is None
    constant = course(
        lambda s: 0.1 if s < 0.1 else 1 - 1e-6, std=lambda s: 1.0 if s < 0.1 else 1e-3, rank=1.0,
        loss=0.0,
    )  # fmt: skip
    fired = ALARMS[name].fires_at(constant)
    assert fired is not None
    if name != "loss at its floor":
        assert fired >= PATIENCE


def test_our_alarm_sees_a_slow_collapse_before_the_cosine_and_a_low_rank():
    ours, before = (ALARMS[name].fires_at(course(slow)) for name in ("ssl_norm", "negative cosine"))
    assert ours < 400
    assert before is None
    assert ALARMS["ssl_norm"].fires_at(course(healthy, rank=lost_rank)) < 300


def test_scores_and_intervals():
    runs = [(t, score.fate(t, 40.0)) for t in (course(healthy), course(fast), course(slow))]
    found = score.score(ALARMS["negative cosine"], runs)
    assert found[:4] == (1, 2, 0, 1)
    assert found.leads[1] < 0  # never raised: minus the rest of the run
    assert score.interval(1, 2) == "1 of 2 (9% to 91%)"
    assert score.tuned(ALARMS["negative cosine"], runs) < 0.96


def test_every_objective_trains_in_every_form():
    for objective, lacking in make.LACKING.items():
        for without in lacking:
            encoder = "vit" if objective in OF_TOKENS else "mlp"
            run = {"objective": objective, "without": without, "data": "digits", "rate": 1.0,
                   "encoder": encoder, "seed": 0, "steps": 2, "recovers_at": None}  # fmt: skip
            rows = make.train(run, None)
            assert [row["step"] for row in rows] == [1, 2]
            assert all(math.isfinite(row["loss"]) for row in rows)
    assert set(make.LACKING) == set(OBJECTIVES)


def test_a_trace_is_read_as_it_was_written(tmp_path):
    run = next(iter(make.runs())) | {"steps": 21}
    rows = make.train(run, None)
    path = tmp_path / f"{make.name_of(run)}.csv.gz"
    make.write(path, run, rows, "abc")
    trace = read_trace(path)
    assert trace.name == make.name_of(run)
    assert trace.facts["commit"] == "abc"
    assert trace.steps == list(range(1, 22))
    for column in ("negative_cosine", "loss", "raw_std"):
        expected = [row[column] for row in rows]
        assert trace.columns[column] == pytest.approx(expected, rel=1e-4)
    measured = [not math.isnan(rank) for rank in trace.columns["effective_rank"]]
    assert measured == [step in (1, 21) for step in trace.steps]


def test_our_alarm_is_the_verdict_of_the_monitor(tmp_path):
    monitor, rows = CollapseMonitor(), []
    for step in range(1, 201):
        generator = torch.Generator().manual_seed(step)
        images, *noises = torch.randn(3, 64, 32, generator=generator)
        spread = math.exp(-min(step, 130) / 400) + max(step - 160, 0) / 20
        monitor.observe(step, [tuple(1.2 + spread * (images + 0.3 * noise) for noise in noises)])
        rows.append({"step": step, **monitor.collect(), "dimensions": 32, "is": monitor.verdict})
    with (tmp_path / "run.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    found = judge(read_trace(tmp_path / "run.csv"))
    assert found == [row["is"] for row in rows]
    assert {"collapsing", "healthy"} <= set(found)


def test_an_alarm_needs_as_many_steps_with_fewer_rows():
    trace = course(fast)
    rare = replace(trace, columns={name: column[9::10] for name, column in trace.columns.items()})
    for name in ("negative cosine", "ssl_norm"):
        assert ALARMS[name].fires_at(rare) - ALARMS[name].fires_at(trace) in range(20)


def test_the_published_traces_are_the_runs_and_the_split_has_no_overlap():
    names = {path.name.removesuffix(".csv.gz") for path in TRACES}
    assert len(names) >= 120
    assert names <= {make.name_of(run) for run in make.runs()}
    objectives = {read_trace(path).facts["objective"] for path in TRACES[:: len(TRACES) // 60]}
    assert objectives - set(TUNING)
    assert set(TUNING) < set(OBJECTIVES)


def test_the_command_judges_a_trace_and_names_a_wrong_one(tmp_path, capsys):
    assert main([str(TRACES[0])]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in PRINTED)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("step,loss\n1,2\n")
    assert exit_code_of(main, [str(wrong)]) == 2
    assert "negative_cosine, feature_std missing" in capsys.readouterr().err
    wrong.write_text("step,negative_cosine,feature_std\n1,0,1\n2,0,1\n1,0,1\n")
    assert exit_code_of(main, [str(wrong)]) == 2
    assert "step 1 after 2; number the steps of all epochs" in capsys.readouterr().err
    assert exit_code_of(main, [str(tmp_path / "none.csv")]) == 2
    assert "none.csv: there is no such file" in capsys.readouterr().err


def test_a_wrong_run_is_shown_with_its_course():
    """A course that rises to 0.75 and falls again: healthy by its end, reported on the way."""
    rises = course(lambda s: 0.1 + 0.65 * min(s / 0.6, 1) - 1.5 * max(min(s, 0.9) - 0.6, 0))
    missed = course(lambda _: 0.3, std=lambda _: 0.15)
    runs = [(trace, score.fate(trace, 40.0)) for trace in (course(healthy), missed, rises)]
    (first, second) = score.wrong(runs)
    assert (first[0], first[2]) == (missed, None)
    assert (second[0], second[1].kind) == (rises, "healthy")
    text = score.case(*second)
    assert text.startswith(f"`course`: healthy, alarm at step {second[2]}\n")
    assert text.count("collapsing") >= 1
    assert "| 721 to 800 | 0.93 | 0.30 | 0.84 | 40.00 | healthy |" in text
    assert score.case(*first).startswith("`course`: complete from step 1, no alarm\n")
