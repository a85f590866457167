"""Shards that ran apart, put together: the whole study, or a line that says why not."""

import numpy as np
import pytest
from support.studies import (
    EVALUATING,
    PRUNE,
    all_parts,
    assert_same_study,
    make_part,
    make_spec,
    make_study,
)

from purejaxvpg.experiment.folder import existing, load_study
from purejaxvpg.experiment.jax_settings import changed_jax_settings
from purejaxvpg.experiment.merging import merge
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.store import Store

SPEC = make_spec()
OTHER = make_spec({"policy_lr": [1e-3, 2e-2]})


def with_policies(part):
    """The part with policies of one number each, that of its run."""
    return part._replace(policies={"params/w": part.runs[:, None].astype(np.float32)})


def filled(folder, parts, spec=SPEC):
    store = Store(spec, folder, StudyRecord(), existing(spec, folder, join=False))
    for part in parts:
        store.add(part)
    return store


def shards(tmp_path, spec=SPEC):
    """The study in two folders, a setting in each, and the one whole study."""
    first, second = all_parts(spec)
    filled(tmp_path / "a", [with_policies(first)], spec)
    filled(tmp_path / "b", [with_policies(second)], spec)
    return tmp_path / "a", tmp_path / "b", make_study(spec)


def test_merged_shards_equal_the_whole(tmp_path):
    a, b, whole = shards(tmp_path, make_spec(config=EVALUATING))
    merged = merge(tmp_path / "all", [b, a])
    assert merged.complete
    assert merged.record.merged_from == 2
    assert merged.record.complete is True
    assert merged.record.seconds == 0.5
    assert_same_study(merged, whole)
    assert_same_study(load_study(tmp_path / "all"), whole)
    assert load_study(tmp_path / "all").record == merged.record
    np.testing.assert_array_equal(load_study(a).updates, [[4, 4], [0, 0]])  # as it was


def test_policies_of_all_shards_come_along(tmp_path):
    a, b, _ = shards(tmp_path)
    merged = merge(tmp_path / "all", [b, a])
    for study in (merged, load_study(tmp_path / "all")):
        np.testing.assert_array_equal(study.policies.runs, [0, 1, 2, 3])
        np.testing.assert_array_equal(study.policies.arrays([3, 0, 2])["params/w"], [[3], [0], [2]])
    assert load_study(a).policies.runs.tolist() == [0, 1]


def test_a_shard_that_kept_no_policies_is_merged_without(tmp_path):
    a, _, whole = shards(tmp_path)
    filled(tmp_path / "c", all_parts(SPEC)[1:])
    merged = merge(tmp_path / "all", [a, tmp_path / "c"])
    assert_same_study(merged, whole)
    assert merged.policies.runs.tolist() == [0, 1]


def test_what_missing_shards_would_bring_is_nan(tmp_path):
    a, _, whole = shards(tmp_path)
    merged = merge(tmp_path / "all", [a])
    assert not merged.complete
    assert merged.record.complete is False
    np.testing.assert_array_equal(merged.updates, [[4, 4], [0, 0]])
    np.testing.assert_array_equal(merged.metrics["kl"][0], whole.metrics["kl"][0])
    assert np.isnan(merged.metrics["kl"][1]).all()
    assert not (tmp_path / "all" / "study.nc").exists()


def test_merging_in_steps_or_again_or_twice_is_harmless(tmp_path):
    a, b, whole = shards(tmp_path)
    merge(tmp_path / "all", [a, a])
    merged = merge(tmp_path / "all", [b, tmp_path / "all"])
    assert_same_study(merged, whole)
    again = merge(tmp_path / "all", [a, b, b, tmp_path / "a" / ".." / "a"])
    assert_same_study(again, whole)
    assert again.record.seconds == 0.5
    assert again.record.merged_from == 2
    assert len(list((tmp_path / "all" / "parts").iterdir())) == 2
    assert again.policies.runs.tolist() == [0, 1, 2, 3]


def test_merging_into_a_source_completes_it(tmp_path):
    a, b, whole = shards(tmp_path)
    assert_same_study(merge(a, [a, b]), whole)
    assert_same_study(load_study(a), whole)


def test_shards_of_a_run_are_merged_too(tmp_path):
    """One setting, its seeds apart: the outcome is a run folder."""
    spec = make_spec(grid={})
    for name, run in (("a", 0), ("b", 1)):
        filled(tmp_path / name, [make_part(spec, [run])], spec)
    assert_same_study(merge(tmp_path / "all", [tmp_path / "a", tmp_path / "b"]), make_study(spec))
    names = {path.name for path in (tmp_path / "all").iterdir()}
    assert names == {"run.json", "parts", "metrics.npz", ".lock"}


def test_parts_of_different_studies_are_not_merged(tmp_path):
    a, _, _ = shards(tmp_path)
    filled(tmp_path / "c", all_parts(OTHER), OTHER)
    with pytest.raises(ValueError, match=r"c and .*a are parts of different studies \(their axes"):
        merge(tmp_path / "all", [a, tmp_path / "c"])
    assert not (tmp_path / "all").exists()
    with pytest.raises(ValueError, match="c holds another study"):
        merge(tmp_path / "c", [a])


def test_a_part_smuggled_in_from_another_study_stops_the_merge(tmp_path):
    a, b, _ = shards(tmp_path)
    filled(tmp_path / "c", all_parts(OTHER), OTHER)
    for path in (tmp_path / "c" / "parts").iterdir():
        (a / "parts" / path.name).write_bytes(path.read_bytes())
    with pytest.raises(ValueError, match=r"it belongs to another study; run that shard again"):
        merge(tmp_path / "all", [a, b])


def test_a_damaged_shard_is_named(tmp_path):
    a, b, _ = shards(tmp_path)
    (path,) = (b / "parts").iterdir()
    path.write_bytes(path.read_bytes()[1:])
    with pytest.raises(ValueError, match=rf"{path.name}: damaged.* run that shard again") as error:
        merge(tmp_path / "all", [a, b])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "all").exists()


def test_merging_nothing_or_no_study_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="name at least one study folder"):
        merge(tmp_path / "all", [])
    with pytest.raises(ValueError, match="in a list"):
        merge(tmp_path / "all", str(tmp_path / "a"))
    with pytest.raises(FileNotFoundError, match="empty is no run or study folder"):
        merge(tmp_path / "all", [tmp_path / "empty"])


def test_merging_keeps_what_was_pruned(tmp_path):
    spec = make_spec(prune=PRUNE)
    parts = [make_part(spec, [0, 1], 0, 2), make_part(spec, [2, 3], 0, 2)]
    store = filled(tmp_path / "s", [*parts, make_part(spec, [0, 1], 2, 4)], spec)
    store.describe(spec, StudyRecord(complete=True, settings_at_the_end=[0]))
    merged = merge(tmp_path / "all", [tmp_path / "s"])
    np.testing.assert_array_equal(merged.pruned, [False, True])
    assert merged.complete


def test_a_merged_study_keeps_the_policies_it_was_begun_to_keep(tmp_path):
    """keep_policies="best": those of the best setting alone."""
    better = [with_policies(p) for p in all_parts(SPEC, episode_count=20.0, episode_return_sum=1)]
    sums = np.full((2, 4), 100, np.float32)
    better[1] = better[1]._replace(metrics=better[1].metrics._replace(episode_return_sum=sums))
    for name, part in zip("ab", better, strict=True):
        record = StudyRecord(keep_policies="best")
        folder = tmp_path / name
        Store(SPEC, folder, record, existing(SPEC, folder, join=False)).add(part)
    merged = merge(tmp_path / "all", [tmp_path / "a", tmp_path / "b"])
    assert merged.best() == 1
    assert merged.policies.runs.tolist() == [2, 3]
    assert load_study(tmp_path / "all").policies.runs.tolist() == [2, 3]


# --------------------------------------------------------------- SHARDS THAT OVERLAP, OR DIFFER


def test_folders_that_hold_other_numbers_of_a_run_are_not_merged(tmp_path):
    """Run 3 is in both, and differs in one number of its third update."""
    first, second = all_parts(SPEC)
    kl = np.array(second.metrics.kl)
    kl[1, 2] = np.nextafter(kl[1, 2], 1)
    filled(tmp_path / "a", [first, second])
    filled(tmp_path / "b", [second._replace(metrics=second.metrics._replace(kl=kl))])
    line = rf"run 3 \(setting 1, seed {SPEC.seeds[1]}\) is in .*a and in .*b, .* from update 3 on"
    with pytest.raises(ValueError, match=line) as error:
        merge(tmp_path / "all", [tmp_path / "a", tmp_path / "b"])
    assert "\n" not in str(error.value)
    assert not (tmp_path / "all").exists()


def test_a_folder_that_holds_other_numbers_already_is_left_alone(tmp_path):
    first, second = all_parts(SPEC)
    other = second._replace(metrics=second.metrics._replace(kl=second.metrics.kl + 1))
    filled(tmp_path / "all", [other])
    filled(tmp_path / "a", [first, second])
    with pytest.raises(ValueError, match="their numbers differ from update 1 on"):
        merge(tmp_path / "all", [tmp_path / "a"])
    assert len(list((tmp_path / "all" / "parts").iterdir())) == 1


def test_versions_and_settings_of_all_shards_are_recorded(tmp_path):
    for name, part, version in zip("ab", all_parts(SPEC), "12", strict=True):
        settings = {"jax_enable_x64": version == "2", "device": "cpu"}
        record = StudyRecord(versions={"jax": version, "numpy": "3"}, jax_settings=settings)
        folder = tmp_path / name
        Store(SPEC, folder, record, existing(SPEC, folder, join=False)).add(part)
    with pytest.warns(UserWarning, match="jax is '1' or '2'; jax_enable_x64 is False or True"):
        merged = merge(tmp_path / "all", [tmp_path / "a", tmp_path / "b"])
    assert merged.record.versions == {"jax": "1 and 2", "numpy": "3"}
    assert merged.record.jax_settings == {"jax_enable_x64": [False, True], "device": "cpu"}
    assert load_study(tmp_path / "all").record == merged.record
    assert changed_jax_settings(merged.record.jax_settings, {"device": "gpu"}) == ["device"]
