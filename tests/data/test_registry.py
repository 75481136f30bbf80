import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from ssl_norm.config import DataConfig
from ssl_norm.data import DATA, data_entry
from ssl_norm.data.load import load_splits
from ssl_norm.errors import UserError


@pytest.mark.parametrize("name", DATA)
def test_entries_agree_with_the_functions_they_name(name):
    module, _, function = DATA[name].target.partition(":")
    parameters = inspect.signature(getattr(import_module(module), function)).parameters
    assert tuple(parameters) == DATA[name].options
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


def test_defaults_agree_with_the_configuration():
    parameters = inspect.signature(load_splits).parameters
    for key, value in vars(DataConfig()).items():
        if key not in ("name", "resident", "image_size"):  # the last: by source
            assert parameters[key].default == value


def test_an_unknown_name_needs_no_torch():
    code = (
        "import sys; from ssl_norm.data import data_entry\n"
        "try: data_entry('foldr')\n"
        "except ValueError as error: print(error)\n"
        "assert not {'torch', 'PIL', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("unknown data 'foldr'; known: ")
    assert done.stdout.endswith("did you mean 'folder'?\n")


def test_decoding_processes_need_no_torch():
    code = "import sys, ssl_norm.data.cache.cached_pixels; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_are_user_errors():
    with pytest.raises(UserError, match="unknown data 'cifar'"):
        data_entry("cifar")
