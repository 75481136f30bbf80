"""Summaries of a run."""

import pytest

from ssl_norm.train.summary import final_scores


def score(domain, statistics, origin, top1, split="test"):
    return {
        "split": split, "domain": domain, "statistics": statistics, "statistics_from": origin,
        "top1": top1,
    }  # fmt: skip


def test_scores_are_means_over_domains_and_the_first_of_exact_statistics():
    rows = [
        score("clean", "population", "", 0.5),
        score("contrast:5", "population", "", 0.25),
        score("fog:3", "population", "", 0.0),
        score("clean", "population", "", 1.0, split="train"),
        score("clean", "exact", "all", 0.75),
        score("clean", "exact", "all", 0.125),
        score("contrast:5", "exact", "mixture", 0.25),
        score("clean", "exact", "labelled", 0.5),
    ]
    found = final_scores(["clean", "contrast:5"], rows)
    expected = {"top1": 0.375, "top1_exact": 0.5, "top1_exact_labelled": 0.5}
    assert found == pytest.approx(expected)
