"""What is kept stays kept: passing errors, things set aside, and files that are not ours."""

import errno
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.studies import all_parts, assert_same_study, make_part, make_spec, make_study

from purejaxvpg.experiment import cube, files, legacy, merge, policies
from purejaxvpg.experiment.checkpoints import Checkpoint, Checkpoints
from purejaxvpg.experiment.files import read_described
from purejaxvpg.experiment.folder import existing, load_study, read_folder
from purejaxvpg.experiment.parts import part_name
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import Fingerprint
from purejaxvpg.experiment.store import Store
from purejaxvpg.state import Metrics

SPEC, ONE = make_spec(), make_spec(grid={})
PASSING = {
    name: OSError(getattr(errno, name), os.strerror(getattr(errno, name)))
    for name in ("EIO", "ESTALE", "EMFILE", "EACCES")
} | {"memory": MemoryError()}


def filled(folder, spec=SPEC, parts=None, join=False):
    """A study in a folder, with a policy for each run: its number."""
    store = Store(spec, folder, StudyRecord(), existing(spec, folder, join))
    for part in all_parts(spec) if parts is None else parts:
        store.add(part._replace(policies={"params/w": part.runs[:, None].astype(np.float32)}))
    return store


def contents(folder):
    """Every file with its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def unreadable(monkeypatch, name, error):
    """Reading a file of this name fails."""
    read = Path.read_bytes

    def fail(self):
        if self.name == name:
            raise error
        return read(self)

    monkeypatch.setattr(Path, "read_bytes", fail)


def make_checkpoint(update, rows=2):
    metrics = Metrics(**{name: np.ones((rows, update), np.float32) for name in Metrics._fields})
    state = [np.arange(rows)]
    return Checkpoint(update, state, metrics, None, seconds=1.0, made_with={"jax": "0"})


def written(folder, identity, *updates, rows=2):
    checkpoints = Checkpoints(folder, identity, keep=9)
    for update in updates:
        checkpoints.save(make_checkpoint(update, rows))
    checkpoints.wait()
    return checkpoints


# ----------------------------------------------------------------------------- PASSING ERRORS


@pytest.mark.parametrize("why", PASSING)
@pytest.mark.parametrize("which", ["parts", "policies", "study.json"])
def test_a_passing_error_is_one_line_and_changes_nothing(tmp_path, monkeypatch, why, which):
    store = filled(tmp_path / "s")
    if which == "policies":  # of the best setting, which is read with the study
        study = store.study(StudyRecord(keep_policies="best"))
        store.finish(study)
    path = min((tmp_path / "s").glob(f"{which}/*.npz"), default=tmp_path / "s" / which)
    before = contents(tmp_path)
    unreadable(monkeypatch, path.name, PASSING[why])
    readers = {
        "load_study": lambda: load_study(tmp_path / "s"),
        "resume": lambda: Store(
            SPEC, tmp_path / "s", StudyRecord(), existing(SPEC, tmp_path / "s", True)
        ),
        "merge": lambda: merge(tmp_path / "all", [tmp_path / "s"]),
    }
    for reader in readers.values():
        with pytest.raises(
            OSError, match=rf"{path.name} cannot be read now \(.+\); it may"
        ) as error:
            reader()
        assert "\n" not in str(error.value)
    monkeypatch.undo()
    assert contents(tmp_path) == before
    assert load_study(tmp_path / "s").complete


@pytest.mark.parametrize("why", PASSING)
def test_a_passing_error_is_no_reason_to_start_again(tmp_path, monkeypatch, why):
    """The newest checkpoint cannot be read: neither is it set aside, nor the one before it used."""
    written(tmp_path, {"a": 1}, 10, 20)
    before = contents(tmp_path)
    unreadable(monkeypatch, "00000020.npz", PASSING[why])
    with pytest.raises(OSError, match=r"00000020.npz cannot be read now"):
        Checkpoints(tmp_path, {"a": 1}).newest()
    monkeypatch.undo()
    assert contents(tmp_path) == before
    assert Checkpoints(tmp_path, {"a": 1}).newest().update == 20


def test_no_study_begins_over_one_that_cannot_be_seen(tmp_path, monkeypatch):
    """`is_file` may be False for a disk that does not answer."""
    filled(tmp_path / "s")
    before, stat = contents(tmp_path), Path.stat

    def fail(self, **how):
        if self.name == "study.json":
            raise PASSING["EIO"]
        return stat(self, **how)

    monkeypatch.setattr(Path, "stat", fail)
    other = make_spec(num_seeds=3)
    with pytest.raises(OSError, match=r"study.json cannot be read now \(Input/output error\)"):
        filled(tmp_path / "s", other, join=True)
    monkeypatch.undo()
    assert contents(tmp_path) == before


# ----------------------------------------------------------------------------------- SET ASIDE


def test_a_part_that_is_set_aside_can_be_taken_back(tmp_path):
    """Two damages of one part are two files; the line says the name."""
    folder = tmp_path / "s"
    filled(folder)
    path = min((folder / "parts").iterdir())
    whole, kept = path.read_bytes(), []
    for number, name in ((1, f"{path.stem}.damaged"), (2, f"{path.stem}.damaged-2")):
        path.write_bytes(whole[:-number])
        with pytest.warns(UserWarning, match=rf"set aside as {name}, rename it to take it back"):
            Store(SPEC, folder, StudyRecord(), existing(SPEC, folder, join=True))
        kept.append(path.with_name(name).read_bytes())
    assert kept == [whole[:-1], whole[:-2]]
    path.with_name(f"{path.stem}.damaged").write_bytes(whole)
    path.with_name(f"{path.stem}.damaged").rename(path)
    assert load_study(folder).complete


def test_a_whole_part_of_something_else_is_refused_and_stays(tmp_path):
    """Run again, it would be written over under the same name."""
    filled(tmp_path / "s")
    filled(tmp_path / "other", make_spec({"policy_lr": [1e-3, 2e-2]}))
    path = max((tmp_path / "s" / "parts").iterdir())
    for other in (tmp_path / "other" / "parts").iterdir():
        (tmp_path / "s" / "parts" / other.name).write_bytes(other.read_bytes())
    before = contents(tmp_path)
    with pytest.raises(
        ValueError, match=rf"{path.name} cannot be used: it belongs to another study"
    ):
        Store(SPEC, tmp_path / "s", StudyRecord(), existing(SPEC, tmp_path / "s", join=True))
    assert contents(tmp_path) == before


def test_a_checkpoint_of_other_devices_stays_and_is_not_written_over(tmp_path):
    """Its chunk has other rows here.  Where it was made, it is used again."""
    there, here = {"part": "a", "rows": 2}, {"part": "a", "rows": 8}
    written(tmp_path, there, 10, 20)
    before = contents(tmp_path)
    checkpoints = Checkpoints(tmp_path, here)
    assert checkpoints.newest() is None
    assert [(path.name, damaged) for path, _, damaged in checkpoints.unusable] == [
        ("00000020.npz", False),
        ("00000010.npz", False),
    ]
    assert "another number of devices" in checkpoints.unusable[0].reason
    checkpoints.save(make_checkpoint(20, rows=8))
    checkpoints.wait()
    assert contents(tmp_path).items() > before.items()
    assert Checkpoints(tmp_path, there).newest().state[0].tolist() == [0, 1]
    assert Checkpoints(tmp_path, here).newest().state[0].tolist() == list(range(8))


def test_of_a_chunk_that_is_done_only_checkpoints_are_removed(tmp_path):
    chunk = tmp_path / "chunks" / "c"
    checkpoints = written(chunk, {}, 10, 20, 30)
    (chunk / "00000030.npz").write_bytes(b"cut")
    assert Checkpoints(chunk, {}).newest().update == 20
    (chunk / "notes.txt").write_text("mine")
    checkpoints.remove()
    assert sorted(path.name for path in chunk.iterdir()) == ["00000030.damaged", "notes.txt"]
    done = written(tmp_path / "more" / "c", {}, 10)
    done.remove()
    assert not (tmp_path / "more").exists()


# ------------------------------------------------------------------------------ AT THE VERY END


def finished(folder, **record):
    store = filled(folder)
    (folder / "chunks" / "x").mkdir(parents=True)
    (folder / "chunks" / "x" / "00000001.npz").write_bytes(b"of another width")
    (folder / "chunks" / "x" / "notes.txt").write_text("mine")
    (folder / "policies" / "mine.npz").write_text("mine")
    return store, store.finish(store.study(StudyRecord(**record)))


def test_the_end_of_a_study_removes_nothing_of_the_owners(tmp_path):
    _, study = finished(tmp_path, keep_policies="best")
    assert study.policies.runs.tolist() == [2, 3]
    names = {str(path) for path in contents(tmp_path)}
    assert {"chunks/x/notes.txt", "policies/mine.npz", "policies/best.npz"} <= names
    assert "chunks/x/00000001.npz" not in names
    assert len([name for name in names if name.startswith("policies/")]) == 2


@pytest.mark.parametrize("error", [ValueError("no such dimension"), PASSING["EIO"]])
def test_a_cube_that_cannot_be_written_is_a_warning(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(cube, "write_cube", fail)
    with pytest.warns(UserWarning, match=r"study.nc could not be written \(.+\); everything is in"):
        _, study = finished(tmp_path)
    assert_same_study(study, make_study(SPEC))
    assert load_study(tmp_path).complete


def test_the_best_policies_that_cannot_be_written_leave_all(tmp_path, monkeypatch):
    store = filled(tmp_path)

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(policies, "write_summed", fail)
    with pytest.warns(UserWarning, match="all policies are kept: .*No space"):
        study = store.finish(store.study(StudyRecord(keep_policies="best")))
    assert study.policies.runs.tolist() == [0, 1, 2, 3]
    assert load_study(tmp_path).policies.arrays([3])["params/w"] == 3


# ------------------------------------------------------------------ FOLDERS THAT FAIL ON THE WAY


@pytest.mark.parametrize("how", ["removed", "renamed"])
def test_a_folder_that_is_gone_is_made_again_with_everything(tmp_path, how):
    first, second = all_parts(SPEC)
    folder = tmp_path / "s"
    store = filled(folder, parts=[first])
    folder.rename(tmp_path / "aside")
    if how == "removed":
        (tmp_path / "aside").rename(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match=rf"{folder} is gone .* purejaxvpg merge WHOLE {folder}"):
        store.add(second)
    assert_same_study(load_study(folder), make_study(SPEC))
    if how == "renamed":  # both together, as the line says, have the policies too
        merged = merge(tmp_path / "whole", [tmp_path / "aside", folder])
        assert merged.policies.runs.tolist() == [0, 1]


def test_results_that_a_folder_cannot_take_are_kept_beside_it(tmp_path):
    """It is a file now.  The rescued folder is a study: parts, policies, and all of before."""
    first, second = all_parts(SPEC)
    folder = tmp_path / "s"
    store = filled(folder, parts=[first])
    folder.rename(tmp_path / "aside")
    folder.write_text("no folder")
    with pytest.raises(
        OSError, match=r"kept in .*s-rescued-.*copy them there with: cp -r"
    ) as error:
        store.add(second._replace(policies={"params/w": second.runs[:, None].astype(np.float32)}))
    assert "\n" not in str(error.value)
    (place,) = tmp_path.glob("s-rescued-*")
    assert str(place) in str(error.value)
    assert_same_study(load_study(place), make_study(SPEC))
    assert load_study(place).policies.arrays([3])["params/w"] == 3


def test_where_nothing_can_be_written_the_line_says_so(tmp_path, monkeypatch):
    store = filled(tmp_path / "s", parts=[])

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(
        OSError, match=r"No space left on device, and nothing could be written else"
    ):
        store.add(make_part(SPEC, [0]))
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_checkpoint_that_could_not_be_written_is_kept_elsewhere(tmp_path, monkeypatch):
    folder = tmp_path / "s"
    store = filled(folder, parts=[])
    chunk = store.chunk_folder(np.arange(2), 0, 4)
    checkpoints = Checkpoints(chunk, {"a": 1})
    chunk.parent.write_text("in the way")
    checkpoints.save(make_checkpoint(3))
    with pytest.raises(OSError, match="chunks") as error:
        checkpoints.wait()
    line = str(store.rescued(error.value, checkpoints=checkpoints))
    (place,) = tmp_path.glob("s-rescued-*")
    assert f"kept in {place}" in line
    there = Checkpoints(place / chunk.relative_to(folder), {"a": 1})
    assert there.newest().update == 3
    assert load_study(place).done.sum() == 0


# ---------------------------------------------------------------------- ROUNDS OF OLD SEARCHES


@pytest.fixture
def old_search(tmp_path):
    """A search of an earlier version, stopped in its second round: setting 2 is done, of setting 3
    three updates of six."""
    folder = tmp_path / "search"
    shutil.copytree(Path(__file__).parent / "recorded" / "bf46240" / "search-interrupted", folder)
    inner = folder / "round-of-setting-00002"
    mark = Fingerprint(read_described(inner / "study.json", [1]))(np.asarray([2, 3]))
    chunk = inner / "chunks" / part_name(np.asarray([2, 3]), 0, 6)
    written(chunk, legacy.chunk_identity(mark, 2, "runs"), 3)
    return folder


def taken_over(folder):
    """The newest checkpoint of runs 6 and 7, as the study of today looks for it."""
    runs = np.asarray([6, 7])
    mark = Fingerprint(read_described(folder / "study.json", [1, 3]))(runs)
    return Checkpoints(
        folder / "chunks" / part_name(runs, 0, 6), legacy.chunk_identity(mark, 2, "runs")
    ).newest()


def test_the_running_chunk_of_an_old_search_is_taken_over(old_search):
    legacy.take_over_round(old_search)
    assert taken_over(old_search).update == 3
    assert not list(old_search.glob("round-of-setting-*"))
    assert sorted(np.concatenate([p.runs for p in read_folder(old_search).parts])) == [*range(6)]


@pytest.mark.parametrize("what", ["notes", "damaged part", "foreign checkpoint"])
def test_what_cannot_be_taken_over_stays(old_search, what):
    inner = old_search / "round-of-setting-00002"
    path = {
        "notes": inner / "notes.txt",
        "damaged part": min(inner.glob("parts/*")),
        "foreign checkpoint": inner / "chunks" / "x" / "00000005.npz",
    }[what]
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    with pytest.warns(UserWarning, match=rf"{inner} stays"):
        legacy.take_over_round(old_search)
    assert path.read_text() == "mine"
    assert taken_over(old_search).update == 3
    with warnings.catch_warnings(action="ignore"):
        legacy.take_over_round(old_search)  # again, when it is resumed again
    assert path.read_text() == "mine"
