"""Folders that somebody else made, or left: links, descriptions that cannot be, locks, debris."""

import copy
import os
import stat
from pathlib import Path

import pytest
from support.processes import in_use
from support.studies import PRUNE, all_parts, make_part, make_spec

from purejaxvpg import cli
from purejaxvpg.experiment import files, legacy, merge
from purejaxvpg.experiment.folder import existing, load_study, read_spec
from purejaxvpg.experiment.locks import locked, remove_unfinished
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.store import Store

SPEC, ONE = make_spec(), make_spec(grid={})


def begun(folder, spec=SPEC, join=False):
    return Store(spec, folder, StudyRecord(), existing(spec, folder, join))


# ---------------------------------------------------------------------------------------- LOCKS


def test_a_lock_outlives_its_owner_so_that_two_cannot_have_it(tmp_path):
    with locked(tmp_path):
        before = (tmp_path / ".lock").stat().st_ino
    with locked(tmp_path):
        assert (tmp_path / ".lock").stat().st_ino == before
        assert (tmp_path / ".owner").exists()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with locked(tmp_path / "new"):  # in which nothing begins
        assert (tmp_path / "new").is_dir()
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(("mine", "theirs"), [("", "-0-of-2"), ("-0-of-2", "")])
def test_the_owner_of_the_whole_and_of_a_shard_keep_each_other_out(tmp_path, mine, theirs):
    with (
        locked(tmp_path, mine),
        pytest.raises(OSError, match=rf"in use by process {os.getpid()} on"),
        locked(tmp_path, theirs),
    ):
        pytest.fail("entered")
    with locked(tmp_path, theirs):
        pass
    with locked(tmp_path, "-0-of-2"), locked(tmp_path, "-1-of-2"):
        pass


def test_a_folder_in_use_is_not_merged_into(tmp_path):
    for name, part in zip("ab", all_parts(SPEC), strict=True):
        begun(tmp_path / name).add(part)
    with in_use(tmp_path / "a", "-1-of-2") as process:
        with pytest.raises(OSError, match=rf"in use by process {process.pid} on .*; wait"):
            merge(tmp_path / "a", [tmp_path / "a", tmp_path / "b"])
        assert load_study(tmp_path / "a").done.sum() == 2
        assert merge(tmp_path / "all", [tmp_path / "a", tmp_path / "b"]).complete  # it is only read
    assert merge(tmp_path / "a", [tmp_path / "a", tmp_path / "b"]).complete


def test_the_name_of_a_file_is_on_the_disk_when_it_is_written(tmp_path, monkeypatch):
    """Its folder is synced after the rename, and the file before."""
    synced, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda h: (synced.append(stat.S_ISDIR(os.fstat(h).st_mode)), fsync(h))
    )
    monkeypatch.setattr(os, "replace", lambda *names: (synced.append("named"), replace(*names)))
    files.write_whole(tmp_path / "file", b"x")
    assert synced == [False, "named", True]


def test_the_next_owner_removes_what_killed_writes_left_and_nothing_else(tmp_path):
    begun(tmp_path)
    left = [
        ".study.json.k3j4_abc",
        "parts/.00000000-00000004-0123456789ab.npz.x1y2z3w4",
        "chunks/c/.00000420.npz.abcdefgh",
        "policies/.best.npz.abcdefgh",
        "..owner.abcdefgh",
    ]
    mine = [
        ".notes",
        ".study.json",
        ".git/.study.json.k3j4",
        "parts/.me.npz.abcdefgh",
        ".bashrc.swp",
    ]
    for name in left + mine:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    remove_unfinished(tmp_path)
    assert [(tmp_path / name).exists() for name in left + mine] == [False] * 5 + [True] * 5


# ------------------------------------------------------------------------------------- BEGINNING


@pytest.mark.parametrize("join", [True, False])
def test_debris_of_a_killed_beginning_is_no_study(tmp_path, join):
    """Killed before the first file had its name; and again, having the lock."""
    (tmp_path / "parts").mkdir()
    for name in (".study.json.abc", ".lock", ".owner", "parts/.x.npz"):
        (tmp_path / name).write_text("{")
    (tmp_path / "parts" / ".x.npz").unlink()
    with pytest.raises(FileNotFoundError, match="nothing was begun in it yet, so begin there"):
        load_study(tmp_path)
    store = begun(tmp_path, join=join)
    store.add(make_part(SPEC, [0]))
    assert load_study(tmp_path).done.sum() == 1


def test_parts_without_a_description_are_not_begun_over(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "00000000-00000004-0123456789ab.npz").write_text("results")
    with pytest.raises(FileExistsError, match="is not empty, and no study"):
        begun(tmp_path)


def test_a_disk_that_is_full_after_the_description_leaves_a_lock(tmp_path, monkeypatch):
    """Or the same command would be refused: no new file is needed to have the lock."""
    begun(tmp_path)
    assert (tmp_path / ".lock").exists()

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.tempfile, "mkstemp", full)
    with locked(tmp_path):  # its owner has no name then
        assert not (tmp_path / ".owner").exists()


def test_a_beginning_that_fails_is_none(tmp_path, monkeypatch):
    """The disk is full when the description is written: the same command works afterwards."""
    make = files.tempfile.mkstemp

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.tempfile, "mkstemp", full)
    with pytest.raises(OSError, match=r"cannot write .*No space left on device"):
        begun(tmp_path / "s")
    monkeypatch.setattr(files.tempfile, "mkstemp", make)
    assert begun(tmp_path / "s").identity == SPEC.to_json()


def test_of_two_that_begin_at_one_moment_one_does(tmp_path):
    """Both looked, and saw nothing: a description is never written over."""
    store = begun(tmp_path)
    same = Store(SPEC, tmp_path, StudyRecord(command="second"), None)
    assert same.fingerprint([0]) == store.fingerprint([0])
    assert read_spec(tmp_path)[1].command == ""
    with pytest.raises(
        FileExistsError, match=r"another study, begun at this moment \(its seeds differ"
    ):
        Store(make_spec(num_seeds=3), tmp_path, StudyRecord(), None)
    assert len(read_spec(tmp_path)[0].seeds) == 2


# ---------------------------------------------------------------------------------------- LINKS


@pytest.fixture
def outside(tmp_path):
    """A folder of the user's, and a function that says whether it is as it was."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "file").write_text("precious")
    (folder / "00000001.npz").write_text("precious")
    return folder


def untouched(outside):
    return {path.name: path.read_text() for path in outside.iterdir()} == {
        "file": "precious",
        "00000001.npz": "precious",
    }


@pytest.mark.parametrize("name", ["parts", "policies", "chunks", "checkpoints"])
def test_folders_that_are_links_are_refused(tmp_path, outside, name):
    begun(tmp_path / "s").add(make_part(SPEC, [0]))
    inner = tmp_path / "s" / name
    if inner.exists():
        inner.rename(tmp_path / "before")
    inner.symlink_to(outside)
    with pytest.raises(
        OSError, match=rf"{inner} is a link, and nothing is written through"
    ) as error:
        begun(tmp_path / "s", join=True)
    assert "\n" not in str(error.value)
    assert untouched(outside)


def test_a_link_for_a_running_chunk_is_refused_and_emptied_by_nobody(tmp_path, outside):
    store = begun(tmp_path / "s")
    chunk = store.chunk_folder([0, 1], 0, 4)
    chunk.parent.mkdir()
    chunk.symlink_to(outside)
    with pytest.raises(OSError, match="is a link"):
        store.chunk_folder([0, 1], 0, 4)
    for part in all_parts(SPEC):
        store.add(part)
    store.finish(store.study(StudyRecord()))
    assert untouched(outside)


@pytest.mark.parametrize("name", ["run.json", "metrics.npz", ".owner"])
def test_files_that_are_links_are_replaced(tmp_path, outside, name):
    folder = tmp_path / "s"
    store = begun(folder, ONE)
    for part in all_parts(ONE):
        store.add(part)
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(outside / "file")
    with locked(folder):
        store.describe(ONE, StudyRecord())
        store.finish(store.study(StudyRecord()))
    assert untouched(outside)
    assert not (folder / name).is_symlink()


@pytest.mark.parametrize("part", ["", "-0-of-2"])
def test_a_lock_that_is_a_link_is_refused(tmp_path, outside, part):
    (tmp_path / f".lock{part}").symlink_to(outside / "file")
    with (
        pytest.raises(OSError, match=rf"\.lock{part} is a link, and no lock"),
        locked(tmp_path, part),
    ):
        pytest.fail("entered")
    assert untouched(outside)


def test_pictures_and_reports_are_not_written_through_links(tmp_path, outside, capsys):
    folder = tmp_path / "s"
    store = begun(folder)
    for part in all_parts(SPEC):
        store.add(part)
    (folder / "report").symlink_to(outside)
    assert cli.main(["report", str(folder)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "report is a link" in error
    (folder / "report").unlink()
    (folder / "report").mkdir()
    for name in ("report.html", "learning_curves.png"):
        (folder / "report" / name).symlink_to(outside / "file")
    assert cli.main(["report", str(folder)]) == 0
    assert untouched(outside)
    assert "<html" in (folder / "report" / "report.html").read_text()


def test_an_old_run_whose_checkpoints_are_a_link(tmp_path, outside):
    from_before = Path(__file__).parent / "recorded" / "bf46240" / "run-interrupted" / "run.json"
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "run.json").write_bytes(from_before.read_bytes())
    (tmp_path / "s" / "checkpoints").symlink_to(outside)
    with pytest.raises(OSError, match="checkpoints is a link"):
        legacy.upgrade(tmp_path / "s")
    assert untouched(outside)


# --------------------------------------------------------------------------------- DESCRIPTIONS

WRONG = [None, [], {}, "x", -1, 10**30, 1.5, True, [1], [[]], {"a": 1}, "drop"]
RECORD = StudyRecord(
    versions={"jax": "0"}, widths=[1], chunks=[1], settings_at_the_end=[0], complete=True
)


def places(value, at=()):
    """The path of every value in JSON, but the whole."""
    if isinstance(value, list):
        value = dict(enumerate(value))
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*at, key)
        yield from places(inner, (*at, key))


def changed(fields, at, value):
    fields = inner = copy.deepcopy(fields)
    for key in at[:-1]:
        inner = inner[key]
    if value == "drop":
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return fields


def refusal(folder):
    """The line that says why a study cannot be read, or ""."""
    try:
        study = load_study(folder)
    except ValueError as error:
        return str(error)
    assert study.scores().shape == (study.design.size, len(study.seeds))
    return ""


@pytest.mark.parametrize("spec", [make_spec(prune=PRUNE), ONE], ids=["study.json", "run.json"])
@pytest.mark.filterwarnings("ignore")
def test_a_description_with_a_right_sum_that_cannot_be_is_one_line(tmp_path, spec, monkeypatch):
    """Every value replaced by every other: it is read, or refused in a line; never a traceback."""
    monkeypatch.setattr(files.os, "fsync", lambda _: None)
    store, refused = begun(tmp_path, spec), 0
    store.describe(spec, RECORD)
    whole = files.read_described(tmp_path / spec.face, [3])
    for at in places(whole):  # fields of the config have tests of their own: some values each
        for value in (
            WRONG if at[0] not in ("config", "hyperparams") else WRONG[len(str(at)) % 6 :: 6]
        ):
            files.write_described(tmp_path / spec.face, changed(whole, at, value))
            line = refusal(tmp_path)
            assert "\n" not in line, (at, value)
            refused += bool(line)
    assert refused > 100


@pytest.mark.parametrize(
    ("at", "value", "line"),
    [
        (("seeds",), "drop", "its seeds are None, and no list"),
        (("seeds", 0), "x", r"its seeds are \['x', 6\]; accepted: integers"),
        (("axes", 0), [1], r"an axis is \[1\]; accepted: \[name, names, points\]"),
        (
            ("axes", 0, 2, 0),
            [],
            "the axis policy_lr has no points, or such that are no values of policy_lr",
        ),
        (("record", "complete"), "x", "its record has complete='x'; accepted: bool"),
        (("config",), [], r"its config are \[\], and no dict"),
    ],
)
def test_the_line_says_what_is_wrong(tmp_path, at, value, line):
    begun(tmp_path)
    whole = files.read_described(tmp_path / "study.json", [3])
    files.write_described(tmp_path / "study.json", changed(whole, at, value))
    with pytest.raises(ValueError, match=rf"study.json cannot be read: {line}"):
        load_study(tmp_path)
