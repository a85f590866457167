"""A study that is made longer: more environment steps for every run, from where it stands.

Every run goes through the length that the study had, then on from its state there to the new one,
so a run that was stopped and one that was done both end with the same numbers.  Where nothing but
the end depends on the length, they are those of a run that was begun with the new length.  Learning
rates and greedy actions that follow a schedule over the run follow that of the old length to its
end, and from there on that of the new one; a warning says so.  A pruned study is refused: its rungs
are shares of its length.

With `keep_states` the state of a run at its end is in its part file: the bytes of its parameters
about three times (Adam's two moments), and of its N environments.  A part is written when its chunk
is done, and its states then leave the memory, so there are never more than those of one chunk.
"""

import dataclasses
from typing import Any

from purejaxvpg.experiment.folder import Contents
from purejaxvpg.experiment.groups import configs
from purejaxvpg.experiment.spec import Spec

GREEDY = ("greedy_start", "greedy_end")


def as_begun(wanted: Spec, begun: Spec, folder: Any) -> Spec:
    """The study that is asked for, at the length that the one in the folder has.

    Raises: ValueError, in one line, if it is shorter, or cannot be made longer.
    """
    before, now = begun.config.total_steps, wanted.config.total_steps
    if now < before:
        raise ValueError(
            f"total_steps={now} is less than the {before} of the study in {folder}; accepted: "
            f"{before}, or more to train longer"
        )
    if now > before:
        _check_can_grow(wanted, begun, folder)
    wanted = wanted._replace(lengths=begun.lengths)
    try:
        return wanted._replace(config=dataclasses.replace(wanted.config, total_steps=before))
    except ValueError:  # its batches are of another size: it is another study
        return wanted


def lengthened(contents: Contents, total_steps: int, command: str = "") -> Contents:
    """The contents of a folder as those of a longer study, incomplete; unchanged if it is not.

    Args: command: that asks for it, for the record.

    Raises: ValueError, in one line, if runs are done whose training state is not kept.
    """
    spec = contents.spec
    if total_steps == spec.config.total_steps:
        return contents
    each = configs(spec.design, spec.config)
    ends = [each[int(spec.index.settings(part.runs[:1])[0])].num_updates for part in contents.parts]
    pairs = zip(contents.parts, ends, strict=True)
    lost = sum(len(part.runs) for part, end in pairs if part.end == end and part.state is None)
    if lost:
        raise ValueError(
            f"{lost} of {len(spec.index)} runs are done, and their training state was not kept, so "
            f"they cannot train longer; train to total_steps={total_steps} in another folder "
            f"(--keep-states yes, keep_states=True, keeps it)"
        )
    config = dataclasses.replace(spec.config, total_steps=total_steps)
    longer = spec._replace(config=config, lengths=(*spec.lengths, spec.config.total_steps))
    fields = longer.to_json()
    changed = {name: fields[name] for name in ("format", "lengths")}
    changed["config"] = {**contents.identity["config"], "total_steps": total_steps}
    return contents._replace(
        spec=longer,
        identity={**contents.identity, **changed},
        record=contents.record.replace(
            complete=False,
            lengths=longer.lengths,
            command="\n".join(filter(None, (contents.record.command, command))),
        ),
    )


def bent_schedules(longer: Spec) -> str:
    """A line on the schedules of a study that was made longer; "" if nothing follows one."""
    before, now, hp = longer.lengths[-1], longer.config.total_steps, longer.hyperparams
    schedules = {config.lr_schedule for config in configs(longer.design, longer.config)}
    names = [f"lr_schedule={name}" for name in sorted(schedules - {"constant"})]
    for setting in longer.design.settings():
        start, end = (setting.get(name, getattr(hp, name)) for name in GREEDY)
        if start != end and GREEDY[1] not in names:
            names.append(GREEDY[1])
    if not names:
        return ""
    return (
        f"{' and '.join(names)}: up to {before:,} steps as in a run of that length, and from there "
        f"on as in one of {now:,}, {before / now:.0%} of the way through it; a run that is begun "
        f"with {now:,} steps gives other numbers"
    )


def _check_can_grow(wanted: Spec, begun: Spec, folder: Any) -> None:
    """ValueError if another length would make it another study."""
    why = ""
    if begun.pruning is not None:
        why = "its rungs are shares of total_steps"
    elif "total_steps" in begun.design.names:
        why = "total_steps is one of its axes"
    if why:
        raise ValueError(
            f"the study in {folder} cannot be made longer: {why}; train to total_steps="
            f"{wanted.config.total_steps} in another folder"
        )
