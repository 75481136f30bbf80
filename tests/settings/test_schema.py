"""JSON schemas of configs/, and the page of all settings."""

from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from omegaconf import OmegaConf

from ssl_norm.settings.folder import CONFIG_FOLDER
from ssl_norm.settings.reference import PAGE, page
from ssl_norm.settings.schema import file_schemas, schema_files, schema_line

FILES = sorted(CONFIG_FOLDER.rglob("*.yaml"))


@pytest.fixture(scope="module")
def schemas():
    return {name: Draft202012Validator(schema) for name, schema in file_schemas().items()}


def validator_of(path: Path, schemas):
    return schemas[Path(schema_line(path)).stem]


def found_errors(validator, content) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(content)]


def test_committed_schemas_are_current():
    for path, content in schema_files():
        assert path.read_text() == content, "run python -m ssl_norm.settings.schema"


def test_every_yaml_names_its_schema_and_fits_it(schemas):
    for path in FILES:
        assert schema_line(path) in path.read_text().splitlines()[:2], path
        content = OmegaConf.to_container(OmegaConf.load(path))
        assert found_errors(validator_of(path, schemas), content) == [], path


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("study", {"epcohs": 3}),
        ("study", {"epochs": 0}),
        ("study", {"steps": 3}),
        ("study", {"tool": "finetune", "epochs": 3}),
        ("study", {"norm": {"encoder": "bm"}}),
        ("study", {"method": {"ema_dekay": 0.5}}),
        ("study", {"arms": {"a": "epochs=3"}}),
        ("method", {"method": {"queue_size": 0}}),
        ("method", {"views": {"full": {"view1": {"flip": 2}}}}),
        ("method", {"recipes": {"digits": {"epochs": 0}}}),
        ("data", {"name": "foldr"}),
        ("data", {"image_size": 4}),
        ("data", {"seed": 4}),
        ("encoder", {"names": "tiny"}),
    ],
)
def test_wrong_files_do_not_fit(schemas, kind, content):
    assert found_errors(schemas[kind], content)


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("study", {"norm": {"encoder": "mypkg.norms:Mine+ws"}}),
        ("study", {"norm": {"encoder": {"name": "gn", "groups": 4}}}),
        ("study", {"tool": "finetune", "steps": 3}),
        ("method", {"method": {"name": "mypkg:SimDINO"}}),
    ],
)
def test_names_of_other_packages_fit(schemas, kind, content):
    assert found_errors(schemas[kind], content) == []


def test_the_page_of_settings_is_current():
    assert PAGE.read_text() == page(), "run python -m ssl_norm.settings.reference"
