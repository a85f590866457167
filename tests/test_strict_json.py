"""JSON files are JSON (RFC 8259), which has no Infinity; those of before are still read."""

import hashlib
import json
import math

import numpy as np
import pytest

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.files import digest, read_described, write_described
from purejaxvpg.experiment.folder import load_study, read_spec
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.store import Store
from purejaxvpg.report.reproduce import python_call
from purejaxvpg.serialize import from_json, to_strict_json

FIELDS = {"format": 3, "inf": math.inf, "deep": [[-math.inf, 1.5], {"x": math.nan, "y": "inf"}]}


def refuse(constant):
    raise AssertionError(f"{constant} is not JSON")


def strict(text):
    """The text as a reader takes it that knows no Infinity."""
    return json.loads(text, parse_constant=refuse)


def endless_study():
    """One setting without clipping, and one axis whose values are not all finite."""
    axes = make_design({"max_grad_norm": [0.5, math.inf]})
    return Spec(VPGConfig(), Hyperparams(max_grad_norm=math.inf), axes, np.arange(2))


def test_numbers_that_json_lacks_come_back_as_they_were():
    text = to_strict_json(FIELDS)
    marked = strict(text)
    assert marked["inf"] == {"$float": "inf"}
    assert marked["deep"][0] == [{"$float": "-inf"}, 1.5]
    back = from_json(text)
    assert back["inf"] == math.inf
    assert back["deep"][0] == [-math.inf, 1.5]
    assert math.isnan(back["deep"][1]["x"])
    assert back["deep"][1]["y"] == "inf"  # a word stays a word


def test_a_description_is_strict_and_keeps_its_sum(tmp_path):
    path = tmp_path / "x.json"
    write_described(path, FIELDS)
    strict(path.read_text())
    assert digest(read_described(path, [3])) == digest(FIELDS)


def test_a_description_of_before_is_read(tmp_path):
    """Earlier versions wrote Infinity, and summed it as such."""
    fields = {"format": 3, "inf": math.inf}
    text = json.dumps(fields, sort_keys=True).replace("3", "3.0")
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**fields, "sha256": hashlib.sha256(text.encode()).hexdigest()}))
    assert "Infinity" in path.read_text()
    assert read_described(path, [3]) == fields


def test_a_study_without_clipping_is_strict_json_and_read_back(tmp_path):
    spec = endless_study()
    Store(spec, tmp_path, StudyRecord(seconds=math.inf))
    strict((tmp_path / "study.json").read_text())
    back, record, _ = read_spec(tmp_path)
    assert back.hyperparams.max_grad_norm == math.inf
    assert back.design.settings() == [{"max_grad_norm": 0.5}, {"max_grad_norm": math.inf}]
    assert digest(back.to_json()) == digest(spec.to_json())  # its parts are still its own
    assert record.seconds == math.inf


def test_the_python_call_of_such_a_study_runs(tmp_path, monkeypatch):
    Store(endless_study(), tmp_path, StudyRecord())
    code = python_call(load_study(tmp_path))
    calls = []
    names = {}
    monkeypatch.setattr(
        "purejaxvpg.experiment.sweep", lambda *args, **words: calls.append((args, words))
    )
    exec(code, names)
    ((_, words),) = calls
    assert words["hp"].max_grad_norm == math.inf
    assert words["grid"] == {"max_grad_norm": [0.5, math.inf]}


def test_attributes_of_a_cube_are_strict(tmp_path):
    pytest.importorskip("xarray")
    Store(endless_study(), tmp_path, StudyRecord())
    attributes = load_study(tmp_path).to_xarray().attrs
    assert strict(attributes["hyperparams"])["max_grad_norm"] == {"$float": "inf"}
    for name in ("config", "record"):
        strict(attributes[name])
