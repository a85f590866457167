"""Part files: back as they were, or named as damaged; never a wrong number."""

import dataclasses
import os
import stat

import numpy as np
import pytest
from support.studies import EVALUATING, PRUNE, make_part, make_spec

from purejaxvpg.experiment.files import SUM, digest, write_whole
from purejaxvpg.experiment.parts import read_parts, write_part
from purejaxvpg.experiment.spec import Fingerprint

SPEC = make_spec(config=EVALUATING)
IDENTITY = SPEC.to_json()


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "parts").mkdir()
    return tmp_path


def written(folder, part, spec=SPEC):
    """The file that a part is written to."""
    before = set((folder / "parts").iterdir())
    write_part(folder, part, Fingerprint(spec.to_json()))
    (path,) = set((folder / "parts").iterdir()) - before
    return path


def assert_same_part(x, y):
    assert (x.start, x.end, x.width, x.seconds) == (y.start, y.end, y.width, y.seconds)
    groups = [(x.metrics, y.metrics), ([x.runs], [y.runs])]
    groups += [(x.evaluations or (), y.evaluations or ()), (x.state or (), y.state or ())]
    for first, second in groups:
        for a, b in zip(first, second, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("states", [True, False])
def test_a_part_comes_back_as_it_was(folder, states):
    part = make_part(SPEC, [1, 3], 0, 2, states)
    written(folder, part)
    (back,), unusable = read_parts(folder, IDENTITY)
    assert unusable == []
    assert_same_part(back, part)


def test_a_part_without_evaluations_comes_back_without(folder):
    spec = make_spec()
    written(folder, make_part(spec, [0]), spec)
    ((back,), _) = read_parts(folder, spec.to_json())
    assert back.evaluations is None
    assert back.state is None


def test_the_leaves_of_a_state_keep_their_order(folder):
    """There are more than ten, and the tenth does not come before the second."""
    part = make_part(SPEC, [0])._replace(state=[np.full(1, i) for i in range(1200)])
    written(folder, part)
    ((back,), _) = read_parts(folder, IDENTITY)
    assert [int(leaf[0]) for leaf in back.state] == list(range(1200))


def test_the_same_part_is_the_same_file(folder):
    path = written(folder, make_part(SPEC, [1, 3]))
    data = path.read_bytes()
    write_part(folder, make_part(SPEC, [1, 3]), Fingerprint(IDENTITY))
    assert list((folder / "parts").iterdir()) == [path]
    assert path.read_bytes() == data


def test_parts_of_other_runs_or_spans_have_other_names(folder):
    for runs, start, end in [([0], 0, 2), ([0], 0, 4), ([0], 2, 4), ([1], 0, 2), ([0, 1], 0, 2)]:
        written(folder, make_part(SPEC, runs, start, end))
    assert len(list((folder / "parts").iterdir())) == 5


def test_any_program_reads_a_part_as_npz(folder):
    path = written(folder, make_part(SPEC, [1, 3]))
    with np.load(path, allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["runs"], [1, 3])


# -------------------------------------------------------------------------------------- DAMAGE


def test_every_flipped_byte_is_detected(folder):
    """200 random places, and every byte of the last 600: the directory of names and the sums."""
    path = written(folder, make_part(SPEC, [1, 3], states=True))
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    places = [*rng.integers(0, len(data), 200), *range(len(data) - 600, len(data))]
    for place in places:
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        parts, ((named, reason, _),) = read_parts(folder, IDENTITY)
        assert parts == []
        assert named == path
        assert reason == "damaged, or of another make: its sum is wrong"


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.99])
def test_a_truncated_part_is_named_and_the_others_are_read(folder, kept):
    whole, cut = make_part(SPEC, [0]), make_part(SPEC, [1, 3])
    written(folder, whole)
    path = written(folder, cut)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    (back,), ((named, reason, _),) = read_parts(folder, IDENTITY)
    assert_same_part(back, whole)
    assert named == path
    assert "\n" not in reason


def test_a_part_with_something_behind_it_is_damaged(folder):
    path = written(folder, make_part(SPEC, [0]))
    path.write_bytes(path.read_bytes() + b"x")
    assert read_parts(folder, IDENTITY)[0] == []


def test_foreign_files_are_named(folder):
    np.savez(folder / "parts" / "a.npz", runs=np.arange(2))
    np.savez(folder / "parts" / "b.npz", runs=np.asarray([{"an": "object"}], object))
    (folder / "parts" / "c.npz").write_text("hello")
    (folder / "parts" / "d.npz").mkdir()
    parts, unusable = read_parts(folder, IDENTITY)
    assert parts == []
    assert [path.name for path, _, _ in unusable] == ["a.npz", "b.npz", "c.npz", "d.npz"]
    assert all(reason and "\n" not in reason for _, reason, _ in unusable)


def test_nothing_is_ever_unpickled(folder):
    """A file with a right sum that holds objects: numpy refuses it, and it is named."""
    part = make_part(SPEC, [0])
    objects = np.asarray([[{"an": "object"}] * 4], object)
    path = written(folder, part._replace(metrics=part.metrics._replace(kl=objects)))
    parts, ((named, reason, _),) = read_parts(folder, IDENTITY)
    assert (parts, named) == ([], path)
    assert "allow_pickle" in reason


def test_half_written_files_take_no_name_and_are_not_read(folder, monkeypatch):
    (folder / "parts" / ".00000000-00000004-abc.npz.xyz").write_bytes(b"half")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no space")))
    with pytest.raises(OSError, match="no space"):
        write_part(folder, make_part(SPEC, [0]), Fingerprint(IDENTITY))
    left = [path.name for path in (folder / "parts").iterdir()]
    assert left == [".00000000-00000004-abc.npz.xyz"]
    assert read_parts(folder, IDENTITY) == ([], [])


def test_a_file_is_replaced_whole_and_readable_by_all(folder):
    path = folder / "file"
    write_whole(path, b"first")
    write_whole(path, b"second")
    assert path.read_bytes() == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in folder.iterdir() if p.is_file()] == ["file"]


# --------------------------------------------------------------------------------- FINGERPRINT


@pytest.mark.parametrize(
    "other",
    [
        make_spec({"policy_lr": [1e-3, 3e-2]}, config=EVALUATING),
        make_spec({"value_lr": [1e-3, 1e-2]}, config=EVALUATING),
        make_spec(config=dataclasses.replace(EVALUATING, n_step=6)),
        make_spec(config=EVALUATING, num_seeds=3),
        make_spec({"policy_lr": [1e-3]}, config=EVALUATING),
        make_spec(config=EVALUATING, prune=PRUNE),
    ],
)
def test_a_part_of_another_study_is_left_out(folder, other):
    """It fits by shape, and its numbers would be taken for those of other settings."""
    path = written(folder, make_part(SPEC, [2, 3]))
    parts, ((named, reason, _),) = read_parts(folder, other.to_json())
    assert (parts, named, reason) == ([], path, "it belongs to another study")


def test_a_study_that_grows_by_settings_keeps_its_parts(folder):
    part = make_part(SPEC, [0, 1, 2, 3])
    written(folder, part)
    grown = make_spec({"policy_lr": [1e-3, 1e-2, 1e-1]}, config=EVALUATING)
    ((back,), _) = read_parts(folder, grown.to_json())
    assert_same_part(back, part)
    reordered = make_spec({"policy_lr": [1e-2, 1e-3]}, config=EVALUATING)
    assert read_parts(folder, reordered.to_json())[0] == []


def test_sums_are_of_the_meaning():
    assert digest({"a": 1, "b": [2.0]}) == digest({"b": [2], "a": 1.0})
    assert digest({"a": 1}) != digest({"a": 2})
    assert digest({"a": 1}) != digest({"a": True})
    assert digest({"a": "1"}) != digest({"a": 1})
    assert len(digest(None)) == SUM
