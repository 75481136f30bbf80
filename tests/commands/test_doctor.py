"""The command `doctor`: checks of a run before it starts, and of a user's loop."""

import pytest

from tests.checkup import loops
from tests.tool import run

RUN = "device=cpu batch_size=24 data.limit=96 encoder.name=tiny16"


def doctor(arguments):
    return run("doctor", *arguments.split())


def sound():
    return loops.arguments()


def broken():
    return loops.arguments(loops.StillTeacher)


def nothing():
    return None


@pytest.mark.parametrize("method", ["byol", "simclr", "moco_v2"])
def test_a_run_of_the_package_passes_and_leaves_no_files(monkeypatch, tmp_path, method):
    monkeypatch.chdir(tmp_path)
    queue = "method.queue_size=96" if method == "moco_v2" else ""
    code, out, _ = doctor(f"{RUN} method={method} {queue}")
    assert code == 0
    assert not any(line.startswith(("fail", "warn")) for line in out.splitlines()), out
    assert "pass         views_match" in out
    assert list(tmp_path.iterdir()) == []


def test_a_broken_run_has_an_exit_code_of_its_kind():
    code, out, error = doctor(f"{RUN} augment.std=[0.001,0.001,0.001]")
    assert code == 5
    assert "-> divide pixels by 255" in out
    assert error.endswith("error: 1 check of 13 failed: pixels_normalized\n")


@pytest.mark.parametrize("given", ["train=false", "resume=true run_dir=x"])
def test_a_run_without_first_steps_is_refused(given):
    code, out, error = doctor(f"{RUN} {given}")
    assert (code, out) == (2, "")
    assert "leave it out" in error


def test_an_arm_of_a_study_is_checked():
    given = "study=byol_collapse arm=none data=digits data.image_size=16 data.cache_size=null"
    assert doctor(f"{given} {RUN}")[0] == 0


@pytest.mark.parametrize(("name", "code"), [("sound", 0), ("broken", 5), ("nothing", 2)])
def test_a_loop_of_the_user_is_checked(name, code):
    found, out, error = doctor(f"target={__name__}:{name}")
    assert found == code
    assert ("pass         views_match" in out) == (name != "nothing")
    assert ("target_moves" in error) == (name == "broken")
    assert ("expected a dict of arguments" in error) == (name == "nothing")
