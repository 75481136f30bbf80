import pytest

from ssl_norm.monitors import CollapseMonitor
from ssl_norm.monitors.tokens import token_cosine
from tests.monitors.samples import random

IMAGES, TOKENS, WIDTH = 32, 10, 16


def observed(tokens):
    monitor = CollapseMonitor(patience=1)
    monitor.observe(1, tokens)
    return monitor.collect(), monitor


def test_equal_tokens_within_images_are_their_own_finding():
    tokens = random(IMAGES, 1, WIDTH).expand(-1, TOKENS, -1)
    values, monitor = observed(tokens)
    assert values["token_cosine"] == pytest.approx(1)
    assert monitor.verdict == "healthy"
    assert "tokens of one image are equal" in monitor.evidence


def test_equal_pooled_vectors_are_a_complete_collapse_although_tokens_differ():
    tokens = random(1, TOKENS, WIDTH).expand(IMAGES, -1, -1)
    values, monitor = observed(tokens)
    assert values["token_cosine"] < 0.5
    assert monitor.verdict == "complete"
    assert "tokens" not in monitor.evidence


def test_long_tokens_are_outliers_and_no_collapse():
    tokens = random(IMAGES, TOKENS, WIDTH)
    tokens[:, 0] *= 50
    values, monitor = observed(tokens)
    assert values["token_outliers"] == pytest.approx(1 / TOKENS)
    assert "10.0% of the tokens are far longer" in monitor.evidence
    assert monitor.verdict != "complete"


def test_one_token_has_no_other():
    assert token_cosine(random(IMAGES, 1, WIDTH)).isnan()
