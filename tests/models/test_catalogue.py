import subprocess
import sys

import pytest

from ssl_norm.errors import UserError
from ssl_norm.models.catalogue import EncoderName, encoder_names, find_encoder, library_names


@pytest.mark.parametrize(
    ("name", "entry", "model"),
    [
        ("tiny", "tiny", ""),
        ("tiny16", "tiny16", ""),
        ("mypkg.nets:make", "mypkg.nets:make", ""),
        ("timm/resnet18", "timm", "resnet18"),
        ("resnet18", "timm", "resnet18"),
        ("resnet50.a1_in1k", "timm", "resnet50.a1_in1k"),
        ("torchvision/resnet18", "torchvision", "resnet18"),
        ("shufflenet_v2_x0_5", "torchvision", "shufflenet_v2_x0_5"),
    ],
)
def test_grammar(name, entry, model):
    assert find_encoder(name) == EncoderName(entry, model)


def test_equals_what_the_libraries_register():
    import timm
    import torchvision

    assert set(library_names("timm")) == set(timm.list_models())
    assert set(library_names("torchvision")) == set(
        torchvision.models.list_models(torchvision.models)
    )
    assert encoder_names()[0] == "tiny"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("tinny", "tiny"),
        ("resnet-18", "resnet18"),
        ("torchvision/resnet19", "torchvision/resnet1"),
    ],
)
def test_unknown_name_gets_one_line_with_the_nearest(name, nearest):
    with pytest.raises(
        UserError, match=f"unknown encoder '{name}'.*did you mean '{nearest}"
    ) as error:
        find_encoder(name)
    assert "\n" not in str(error.value)


def test_needs_no_torch():
    code = (
        "import sys; import ssl_norm.models.catalogue as c; c.find_encoder('resnet18');"
        "import ssl_norm.learners as l; assert 'byol' in l.METHODS;"
        "assert 'torch' not in sys.modules and 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
