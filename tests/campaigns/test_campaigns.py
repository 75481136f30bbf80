"""Tests that the property of each campaign holds in a short sample of its trials."""

import pytest

from tests.campaigns.campaign import campaigns, run


@pytest.mark.parametrize("name", campaigns())
def test_the_property_holds_in_a_sample(name):
    module = campaigns()[name]
    broken = [result for result in run(module, module.SAMPLE, seed=1) if result.kind]
    assert not broken
