"""Tests that the property of each campaign holds in a short sample of its trials."""

import pytest

from tests.campaigns.campaign import campaigns, run

pytestmark = pytest.mark.slow

# Trials that broke the property once: name, seed, number.
ONCE_BROKEN = [("kills", 2, 0), ("norm_swap", 7, 18)]


@pytest.mark.parametrize(
    "name", [n for n in campaigns() if n not in {each[0] for each in ONCE_BROKEN}]
)
def test_the_property_holds_in_a_sample(name):
    module = campaigns()[name]
    broken = [result for result in run(module, module.SAMPLE, seed=1) if result.kind]
    assert not broken


@pytest.mark.parametrize(("name", "seed", "number"), ONCE_BROKEN)
def test_the_property_holds_where_it_was_broken(name, seed, number):
    (result,) = run(campaigns()[name], 1, seed=seed, first=number)
    assert not result.kind, result
