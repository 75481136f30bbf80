"""Tests that each mutant applies and has tests, and that those of one kill it."""

from tests.mutants.mutant import ROOT, mutants, verdict

MUTANTS = mutants()


def test_each_text_occurs_once_in_its_module_and_is_changed():
    assert not [each for each in MUTANTS if not each.applies() or each.before == each.after]
    faults = {(each.file, each.before, each.after) for each in MUTANTS}
    assert len(faults) == len(MUTANTS)


def test_each_mutant_has_tests_that_exist():
    for mutant in MUTANTS:
        assert mutant.tests
        for test in mutant.tests:
            file, _, name = test.partition("::")
            text = (ROOT / "tests" / file).read_text()
            assert f"def {name}(" in text if name else text


def test_a_mutant_that_was_killed_before_is_killed():
    mutant = next(each for each in MUTANTS if each.file == "learners/ema.py")  # its tests are quick
    assert mutant.was_killed
    assert verdict(mutant)[0] == "killed", mutant
