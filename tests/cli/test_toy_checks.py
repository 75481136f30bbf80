import pytest

from ssl_norm.cli.toy_checks import check_toy, unlabelled_per_step
from ssl_norm.config import ToyConfig, UbnConfig
from ssl_norm.errors import UserError


def test_the_defaults_pass_and_make_whole_joint_batches():
    check_toy(ToyConfig())
    assert unlabelled_per_step(ToyConfig(labels_per_class=4, ubn=UbnConfig(ratio=4.0))) == 32
    assert unlabelled_per_step(ToyConfig(labels_per_class=1, ubn=UbnConfig(ratio=1.5))) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels_per_class": 0}, "labels_per_class=0: an integer of at least 1 expected"),
        ({"unlabelled": 1}, "unlabelled=1: an integer of at least 2 expected"),
        ({"noise": -0.1}, "noise=-0.1: a number of at least 0 expected"),
        ({"layers": 1}, "layers=1: an integer of at least 2 expected"),
        ({"draws": 1}, "draws=1: an integer of at least 2 expected"),
        ({"lr": 0.0}, "lr=0.0: a number above 0 expected"),
        ({"seeds": 0}, "seeds=0: an integer in [1, 2147483648] expected"),
        ({"seed": 2**40}, "seed=1099511627776: an integer in [0, 2147483648] expected"),
        (
            {"labels_per_class": 100},
            "ubn.ratio=4 of 200 labelled points makes 800 unlabelled ones a step, and unlabelled=500 are there; "
            "use a ratio from 0.005 to 2.5",
        ),
        ({"ubn": UbnConfig(ratio=0.01)}, "makes 0 unlabelled ones a step"),
        ({"control": "gm"}, "control: unknown norm 'gm'"),
        ({"control": "rbn"}, "control=rbn has batch statistics, as bn and ubn have"),
        ({"control": "in"}, "control=in: a head has one value per channel"),
        ({"control": "{name: gn, groups: 7}"}, "control"),
        (
            {"output": "toy.txt"},
            "output=toy.txt: a file name that ends in .png, .pdf, .svg expected",
        ),
        ({"output": " "}, "output is empty; name the picture"),
    ],
)
def test_wrong_settings_are_one_line(settings, message):
    with pytest.raises(UserError) as caught:
        check_toy(ToyConfig(**settings))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
