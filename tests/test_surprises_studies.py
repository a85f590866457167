"""Studies that lose nothing: folders that are replaced midway, states, lengths, old runs."""

import dataclasses
import shutil
import warnings
from pathlib import Path

import jax
import numpy as np
import pytest
from support.processes import in_use
from support.studies import CONFIG, all_parts, assert_same_study, make_part, make_spec, make_study

from purejaxvpg import Hyperparams, debug
from purejaxvpg.cli import training
from purejaxvpg.experiment import engine, rescue
from purejaxvpg.experiment import store as store_module
from purejaxvpg.experiment.assemble import programs
from purejaxvpg.experiment.checks import check_options
from purejaxvpg.experiment.files import write_described
from purejaxvpg.experiment.folder import existing, load_study, read_spec
from purejaxvpg.experiment.locks import locked
from purejaxvpg.experiment.parts import read_parts
from purejaxvpg.experiment.prepare import make_resources, prepare
from purejaxvpg.experiment.prepared import Options
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.schedule import Work
from purejaxvpg.experiment.segments import Segment
from purejaxvpg.experiment.stacking import stack_hyperparams
from purejaxvpg.experiment.store import Store
from purejaxvpg.state import Metrics

SPEC = make_spec()
RECORDED = Path(__file__).parent / "recorded" / "bf46240"


def begin(folder, spec=SPEC, join=False):
    return Store(spec, folder, StudyRecord(), existing(spec, folder, join))


def longer(spec=SPEC, steps=2 * CONFIG.total_steps):
    config = dataclasses.replace(spec.config, total_steps=steps)
    return spec._replace(config=config, lengths=(spec.config.total_steps,))


def prepared(spec, folder, **options):
    resources = make_resources(jax.devices()[:1], "runs", 2, None)
    return prepare(spec, Options(resources, **options), folder, resume=True)


# --------------------------------------------------------- FOLDERS THAT ARE REPLACED ON THE WAY


@pytest.mark.parametrize("part", ["", "-0-of-2"])
def test_a_folder_that_is_made_again_is_locked_again(tmp_path, part):
    """Whoever renamed the first took its lock along."""
    first, second = all_parts(SPEC)
    folder = tmp_path / "s"
    with locked(folder, part):
        store = begin(folder, join=True)
        store.add(first)
        folder.rename(tmp_path / "aside")
        with pytest.warns(UserWarning, match="was made again"):
            store.add(second)
        with pytest.raises(OSError, match="in use by process"), locked(folder, part):
            pass
    with locked(folder), locked(tmp_path / "aside"):  # both are given back
        pass
    assert_same_study(load_study(folder), make_study(SPEC))


def test_nothing_is_written_beside_another_process_in_the_new_place(tmp_path):
    """It began the same study there.  Our results are kept elsewhere, all of them."""
    first, second = all_parts(SPEC)
    folder = tmp_path / "s"
    with locked(folder):
        store = begin(folder, join=True)
        store.add(first)
        folder.rename(tmp_path / "aside")
        begin(folder)
        with in_use(folder), pytest.raises(OSError, match=r"in use by process .* are kept in"):
            store.add(second)
    assert load_study(folder).done.sum() == 0
    (place,) = tmp_path.glob("s-rescued-*")
    assert_same_study(load_study(place), make_study(SPEC))


def test_a_folder_that_another_shard_made_again_gets_all_that_was_done(tmp_path):
    first, second = all_parts(SPEC)
    folder = tmp_path / "s"
    with locked(folder, "-0-of-2"), locked(folder, "-1-of-2"):
        ours, theirs = begin(folder, join=True), begin(folder, join=True)
        ours.add(first)
        folder.rename(tmp_path / "aside")
        with pytest.warns(UserWarning, match="was made again"):
            theirs.restore()
        assert load_study(folder).done.sum() == 0
        ours.join_others()
        theirs.add(second)
    assert_same_study(load_study(folder), make_study(SPEC))


def test_a_folder_in_the_place_of_ours_gets_all_that_was_done(tmp_path):
    """A copy from before, say, put back by its owner."""
    first, second = all_parts(SPEC)
    folder = tmp_path / "s"
    with locked(folder):
        store = begin(folder, join=True)
        shutil.copytree(folder, tmp_path / "before")
        store.add(first)
        shutil.rmtree(folder)
        (tmp_path / "before").rename(folder)
        with pytest.warns(UserWarning, match=f"{folder} is another folder by now"):
            store.add(second)
    assert_same_study(load_study(folder), make_study(SPEC))


def test_a_warning_that_is_an_error_loses_no_part(tmp_path):
    store = begin(tmp_path / "s")
    shutil.rmtree(tmp_path / "s")
    with warnings.catch_warnings(action="error"), pytest.raises(UserWarning, match="made again"):
        store.add(make_part(SPEC, [0, 1]))
    assert load_study(tmp_path / "s").done.tolist() == [[True, True], [False, False]]


def test_a_place_that_took_some_of_the_results_stays(tmp_path, monkeypatch):
    """Two parts to rescue, and room for one, in each place."""
    first, second = all_parts(SPEC)
    folder = tmp_path / "s"
    store = begin(folder)
    store.add(first)
    shutil.rmtree(folder)
    folder.write_text("no folder")
    monkeypatch.setattr(rescue.tempfile, "gettempdir", lambda: str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    write = rescue.write_part

    def one(place, part, *args):
        if list(place.glob("parts/*.npz")):
            raise OSError(28, "No space left on device")
        write(place, part, *args)

    monkeypatch.setattr(rescue, "write_part", one)
    with pytest.raises(OSError, match=r"only some of the results .* elsewhere, in ") as error:
        store.add(second)
    places = [*tmp_path.glob("s-rescued-*"), *tmp_path.glob("temporary/s-rescued-*")]
    assert len(places) == 2
    for place in places:
        assert f"cp -r {place}/. {folder}/" in str(error.value)
        assert load_study(place).done.tolist() == [[True, True], [False, False]]


def test_the_description_of_a_folder_is_read_once(tmp_path, monkeypatch):
    """Not for every part; again when it is another one."""
    spec, reads, is_another = make_spec(num_seeds=6), [], store_module.is_another
    monkeypatch.setattr(
        store_module, "is_another", lambda *given: reads.append(1) or is_another(*given)
    )
    store = begin(tmp_path / "s", spec)
    for run in range(6):
        store.add(make_part(spec, [run]))
    assert len(reads) == 1
    other = make_spec(num_seeds=5).to_json()
    write_described(tmp_path / "s" / "study.json", {**other, "record": {}})
    with pytest.raises(OSError, match=r"another study is in .*/s by now"):
        store.add(make_part(spec, [6]))


def test_a_study_that_was_made_longer_meanwhile_stays_longer(tmp_path):
    """Between our look into the folder and our lock: it would be written back."""
    spec = make_spec(grid={})
    late = begin(tmp_path / "s", spec)
    late.catch_up()
    fields = longer(spec).to_json()
    write_described(tmp_path / "s" / "run.json", {**fields, "record": {}})
    with pytest.raises(OSError, match=r"changed the study in .* \(its config and lengths differ\)"):
        late.catch_up()


# ---------------------------------------------------------------------------------------- STATES


def test_states_of_runs_that_are_done_are_in_the_folder_and_not_in_memory(tmp_path):
    """Those that runs go on from stay in memory, here of run 2; and so it is when they are read."""
    store = begin(tmp_path / "s")
    store.add(make_part(SPEC, [0, 1], states=True))
    store.add(make_part(SPEC, [2], end=2, states=True))
    again = begin(tmp_path / "s", join=True)
    again.catch_up()
    for parts in (store.parts, again.parts):
        assert {tuple(part.runs): part.state is None for part in parts} == {
            (0, 1): True,
            (2,): False,
        }
    again.join_others()
    assert sum(part.state is None for part in again.parts) == 1
    in_folder, _ = read_parts(tmp_path / "s", SPEC.to_json())
    assert all(part.state is not None for part in in_folder)


@pytest.mark.parametrize("kept", [True, False])
def test_without_a_folder_no_state_of_a_run_at_its_end_is_kept(tmp_path, kept):
    """Nothing could go on from it."""
    resources = make_resources(jax.devices()[:1], "runs", 2, None)
    study = prepare(make_spec(grid={}), Options(resources), tmp_path / "s" if kept else None)
    assert study.record.keep_states  # as by default, for one setting
    hps = stack_hyperparams(CONFIG, [Hyperparams()])
    chunk = engine._chunk(study, Work(0, np.arange(2), 0, 4, 2), np.arange(2), hps)
    assert chunk.keep_states is kept


def test_states_are_kept_in_a_folder_or_refused():
    resources = make_resources(jax.devices()[:1], "runs", 1, None)
    for keep_states in (None, False):
        check_options(Options(resources, keep_states=keep_states), None, None, False)
    with pytest.raises(ValueError, match="keep_states=True keeps states in the folder"):
        check_options(Options(resources, keep_states=True), None, None, False)


# --------------------------------------------------------------------------------------- LENGTHS


def test_programs_are_counted_by_length_and_width():
    spec = longer()
    parts = [make_part(SPEC, [0, 1]), make_part(spec, [0, 1], start=4), make_part(SPEC, [2, 3])]
    assert {(c.total_steps, width) for c, width in programs(spec, parts)} == {(128, 2), (256, 2)}
    halved = parts[0]._replace(width=1)  # it ran out of memory
    assert len(programs(spec, [*parts, halved])) == 3


def test_the_record_counts_the_programs_of_a_longer_study(tmp_path, monkeypatch):
    """Both lengths of a run that was stopped are compiled in one call.  Nothing is trained here."""

    def run_chunk(program, chunk, *_):
        return make_part(SPEC, chunk.runs, chunk.start, chunk.end, states=True)

    monkeypatch.setattr(engine, "compile_program", lambda *given: type("P", (), {"rows": 2}))
    monkeypatch.setattr(engine, "run_chunk", run_chunk)
    monkeypatch.setattr(engine, "_checkpoints", lambda *_: engine.contextlib.nullcontext())
    spec = make_spec(grid={})
    prepared(spec, tmp_path / "s")
    study = engine.run(prepared(longer(spec)._replace(lengths=()), tmp_path / "s"))
    assert study.complete
    assert (study.record.compilations, study.record.lengths) == (2, [128])


@pytest.mark.parametrize(("update", "steps"), [(0, 128), (3, 128), (4, 256), (7, 256)])
def test_a_diverged_update_is_looked_at_under_its_own_config(update, steps, monkeypatch):
    """A learning rate that follows a schedule is that of the length that the update belongs to."""
    config = dataclasses.replace(CONFIG, lr_schedule="linear")
    spec, looked_at = longer(make_spec(config=config)), []
    monkeypatch.setattr(
        debug, "find_operation", lambda config, *_: looked_at.append(config) or "here"
    )
    metrics = Metrics(**{name: np.ones((1, 1)) for name in Metrics._fields})
    metrics = metrics._replace(finite=np.zeros((1, 1), bool))
    state = type("State", (tuple,), {"update": update})()
    monkeypatch.setattr(training.jax.tree, "map", lambda _, x: x)
    ids = np.asarray([0])
    hp = Hyperparams()
    segment = Segment(ids, 8, 8, 1.0, metrics, None, state, config, hp, ids, ids, [{}], 0)
    training._Finder(spec)(segment)
    assert looked_at == [dataclasses.replace(config, total_steps=steps)]


def test_the_finder_of_the_command_line_knows_the_lengths(tmp_path, monkeypatch):
    spec, specs = make_spec(grid={}), []
    prepared(spec, tmp_path / "s")

    def run(given):
        specs.append(given.options.on_segment.spec)
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run", run)
    args = type("Args", (), {"debug_nans": True, "resume": str(tmp_path / "s"), "shard": ""})
    options = Options(make_resources(jax.devices()[:1], "runs", 2, None))
    with pytest.raises(KeyboardInterrupt):
        training._train(args, longer(spec)._replace(lengths=()), options, tmp_path / "s", True)
    assert [spec.lengths for spec in specs] == [(128,)]


# -------------------------------------------------------------------------------------- OLD RUNS


@pytest.mark.parametrize("name", ["run", "run-format-1"])
def test_an_old_run_that_cannot_go_on_stays_as_it_is(tmp_path, name):
    """It has no states, so it cannot train longer."""
    folder = tmp_path / name
    shutil.copytree(RECORDED / name, folder)
    before = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    spec = read_spec(folder)[0]
    with pytest.raises(ValueError, match="their training state was not kept"):
        prepared(longer(spec, 2 * spec.config.total_steps)._replace(lengths=()), folder)
    after = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert after == before
