"""Checks, folder and widths of a study, before it runs."""

import warnings
from collections.abc import Sequence
from typing import Any

import jax

from purejaxvpg.experiment import code
from purejaxvpg.experiment.checks import (
    check_as_begun,
    check_options,
    check_width_as_begun,
    checked_groups,
)
from purejaxvpg.experiment.devices import start_devices, use_every_core
from purejaxvpg.experiment.folder import (
    Contents,
    bring_up_to_date,
    existing,
    face_of,
    read_spec,
)
from purejaxvpg.experiment.groups import Group
from purejaxvpg.experiment.jax_settings import jax_settings
from purejaxvpg.experiment.lengthening import as_begun, bent_schedules, lengthened
from purejaxvpg.experiment.locks import locked
from purejaxvpg.experiment.logs import check_logs
from purejaxvpg.experiment.paths import expanded
from purejaxvpg.experiment.planning import GroupPlan, Resources, plan_shard
from purejaxvpg.experiment.prepared import Options, Prepared
from purejaxvpg.experiment.progress import Clock
from purejaxvpg.experiment.pruning import pruning_to_json
from purejaxvpg.experiment.record import StudyRecord, commit, compiler_flags, versions
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.store import Store, width_of


def make_resources(
    devices: Sequence[Any] | None, split: Any, chunk_size: Any, memory_limit: Any
) -> Resources:
    """The devices given, or all of them (each core of a CPU), and how they are used.

    Raises: ValueError, in one line, if jax can start none.
    """
    if devices is None:
        use_every_core()
    devices = start_devices() if devices is None else devices
    if not isinstance(devices, Sequence) or not all(isinstance(d, jax.Device) for d in devices):
        raise TypeError(f"devices={devices!r}; accepted: a list of jax.devices(), or None for all")
    if not len(devices):
        raise ValueError("devices=[] are none; accepted: a list of jax.devices(), or None for all")
    return Resources(list(devices), split, chunk_size, memory_limit)


def prepare(
    spec: Spec,
    options: Options,
    folder: Any = None,
    resume: bool = False,
    grown: Contents | None = None,
) -> Prepared:
    """A study that is checked, has its folder and its widths.  A study that does not fit leaves no
    folder.

    Args:
      folder, resume: as in `sweep`.
      grown: the study before it grew by settings, which it goes on from.

    Raises: as `sweep`.
    """
    folder = None if folder is None else expanded(folder)
    check_options(options, spec.pruning, folder, resume)
    check_logs(spec, options, folder)
    spec = code.as_begun(spec, folder)
    groups = checked_groups(spec, options.resources)
    contents, begun_length = grown, 0
    if contents is None:
        contents, begun_length = _joined(spec, folder, resume, options)
    now = record = _record_of_now(spec, options)
    if contents is not None:
        spec, record = (spec if grown else contents.spec), contents.record
        done = record.complete and not (grown or begun_length)
        check_as_begun(folder, record, now, options.other_settings, done)
        for line in [] if done else code.changed(record):
            warnings.warn(line, stacklevel=3)
        record = record.replace(imports={**record.imports, **now.imports})
    record = _with_what_is_kept(record, spec, options)
    clock, num_devices = Clock(options.on_progress), len(options.resources.devices)
    planned = dict(enumerate(record.program_widths)) if record.num_devices == num_devices else {}
    parts, plans = contents.parts if contents else [], []
    for place, group in enumerate(groups):
        done = width_of(parts, spec.index.of_settings(group.settings))
        plans.append(_plan(spec, group, done or planned.get(place, 0), options, clock))
    if contents is not None and not grown and not options.other_settings:
        check_width_as_begun(folder, plans, planned)
    if contents is None:
        widths = [group_plan.width if group_plan else 0 for group_plan in plans]
        record = record.replace(num_devices=num_devices, program_widths=widths)
    if contents is not None and folder is not None:  # nothing is refused from here on
        bring_up_to_date(folder, options.locked)
    store = Store(spec, folder, record, contents)
    if store.folder is not None and begun_length and jax.process_index() == 0:
        with locked(store.folder):
            store.describe(spec, record)
    now = now.replace(keep_policies=record.keep_policies, keep_states=record.keep_states)
    return Prepared(spec, groups, plans, store, now, options, clock, begun_length)


def _record_of_now(spec: Spec, options: Options) -> StudyRecord:
    device = options.resources.devices[0]
    return StudyRecord(
        command=options.command,
        imports=code.sums(options.imports),
        files=code.sums(code.files_of(spec)),
        versions=versions(),
        commit=commit(),
        device=device.device_kind,
        jax_settings=jax_settings(device),
        split=options.resources.split,
        xla_flags=compiler_flags(),
        prune=pruning_to_json(spec.pruning),
    )


def _with_what_is_kept(record: StudyRecord, spec: Spec, options: Options) -> StudyRecord:
    """The record with what the options keep of each run; else as it was begun."""
    if options.keep_policies:
        record = record.replace(keep_policies=options.keep_policies)
    if options.keep_states is not None:
        return record.replace(keep_states=options.keep_states)
    if record.keep_states is None:  # of one setting, the state is little beside all the rest
        one_setting = not spec.design.axes and record.keep_policies != "none"
        return record.replace(keep_states=one_setting)
    return record


def _joined(spec: Spec, folder: Any, resume: bool, options: Options) -> tuple[Contents | None, int]:
    """Contents of the folder of this study, made as long as is asked for; and the total_steps that
    it had before, or 0 if it is not made longer."""
    join = resume or _together(options)
    if folder is None or not join or face_of(folder) is None:
        return existing(spec, folder, join), 0
    contents = existing(as_begun(spec, read_spec(folder)[0], folder), folder, join)
    assert contents is not None
    before, now = contents.spec.config.total_steps, spec.config.total_steps
    longer = lengthened(contents, now, options.command)
    if longer is contents:
        return contents, 0
    if options.shard is not None or not resume:
        raise ValueError(
            f"the study in {folder} has total_steps={before}, and {spec.config.total_steps} is "
            f"given; make it longer in one process, without a shard (resume=True, --resume)"
        )
    if line := bent_schedules(longer.spec):
        warnings.warn(line, stacklevel=4)
    return longer, before


def _together(options: Options) -> bool:
    """Whether other processes put their parts into the same folder."""
    return options.shard is not None or jax.process_count() > 1


def _plan(spec: Spec, group: Group, begun: int, options: Options, clock: Clock) -> GroupPlan | None:
    """Width and chunks of a group; None if this shard has no runs of it.

    Args: begun: the width that it was begun with; 0 if it begins.
    """
    resources = options.resources
    # A study that goes on keeps the width it began with: another width rounds otherwise.
    if resources.chunk_size == "auto" and begun:
        resources = resources._replace(chunk_size=begun, memory_limit=None)
    with clock.compiling("measuring memory"):
        return plan_shard(spec, group, resources, options.shard)
