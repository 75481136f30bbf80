"""What the README promises runs as it stands there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_both_set_up_lines_are_there():
    assert "    pip install -e . && python tools/pretrain.py\n" in README
    assert '    pip install -e ".[dev]" && pytest\n' in README


def test_python_example(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "20 norm layers replaced" in printed
    assert "'positive_cosine'" in printed


def test_every_file_and_folder_named_is_there():
    named = re.findall(r"(?:tools|benchmarks|results|ssl_norm)/[\w./]*", README)
    for name in named:
        assert (ROOT / name).exists(), name
