"""Commands, examples, paths and links of the README and docs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PAGES = ("README.md", "docs/collapse.md", "docs/batch_statistics.md")


def test_set_up_commands():
    assert "    pip install -e . && python tools/pretrain.py\n" in README
    assert '    pip install -e ".[dev]" && pytest\n' in README


def test_python_example(capsys):
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(compile(example, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "20 norm layers replaced" in printed
    assert "'positive_cosine'" in printed


def test_training_loop_example(capsys):
    page = (ROOT / "docs" / "collapse.md").read_text()
    example, _ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(compile(example, "collapse.md", "exec"), {})
    assert capsys.readouterr().out.startswith("healthy - negative cosine")


def test_layer_map_example(tmp_path, monkeypatch):
    page = (ROOT / "docs" / "collapse.md").read_text()
    _, example = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(example, "collapse.md", "exec"), names)
    assert sorted({row.step for row in names["rows"]}) == [1, 2, 4, 8, 16, 32, 50, 100]
    assert (tmp_path / "layers.png").stat().st_size > 1000


@pytest.mark.parametrize("page", PAGES)
def test_named_paths_exist(page):
    text = (ROOT / page).read_text()
    named = re.findall(r"(?:tools|benchmarks|results|ssl_norm|docs)/[\w./]*", text)
    for name in named:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page):
    for link in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        assert link.startswith("https://") or (ROOT / page).parent.joinpath(link).exists(), link
