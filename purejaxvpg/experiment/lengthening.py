"""A study that is made longer: more environment steps for every run, from where it stands.

Every run goes through the length that the study had, then on from its state there to the new one,
so a run that was stopped and one that was done both end with the numbers of a run that was begun
with the new length.  That holds where nothing but the end depends on the length: not for learning
rates or greedy actions that follow a schedule over the whole run, and not for pruning, whose rungs
are shares of it.  Those are refused.
"""

import dataclasses
from typing import Any

from purejaxvpg.experiment.folder import Contents
from purejaxvpg.experiment.groups import configs
from purejaxvpg.experiment.spec import Spec


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
        _check_no_schedule(wanted, begun, folder)
    wanted = wanted._replace(lengths=begun.lengths)
    try:
        return wanted._replace(config=dataclasses.replace(wanted.config, total_steps=before))
    except ValueError:  # its batches are of another size: it is another study
        return wanted


def lengthened(contents: Contents, total_steps: int) -> Contents:
    """The contents of a folder as those of a longer study, incomplete; unchanged if it is not.

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
            f"(--keep-states, keep_states=True, keeps it)"
        )
    config = dataclasses.replace(spec.config, total_steps=total_steps)
    longer = spec._replace(config=config, lengths=(*spec.lengths, spec.config.total_steps))
    fields = longer.to_json()
    changed = {name: fields[name] for name in ("format", "lengths")}
    changed["config"] = {**contents.identity["config"], "total_steps": total_steps}
    return contents._replace(
        spec=longer,
        identity={**contents.identity, **changed},
        record=contents.record.replace(complete=False),
    )


def _check_no_schedule(wanted: Spec, begun: Spec, folder: Any) -> None:
    """ValueError if another length would change more than the end of the runs."""
    hp, settings = begun.hyperparams, begun.design.settings()
    schedules = {config.lr_schedule for config in configs(begun.design, begun.config)}
    greedy = [
        [setting.get(name, getattr(hp, name)) for name in ("greedy_start", "greedy_end")]
        for setting in settings
    ]
    why = ""
    if begun.pruning is not None:
        why = "its rungs are shares of total_steps"
    elif "total_steps" in begun.design.names:
        why = "total_steps is one of its axes"
    elif schedules - {"constant"}:
        names = " and ".join(sorted(schedules - {"constant"}))
        why = f"lr_schedule={names} ends at total_steps, so that every update would be another one"
    elif any(start != end for start, end in greedy):
        why = "greedy_start to greedy_end is spread over total_steps, so that every update would"
        why += " be another one"
    if why:
        raise ValueError(
            f"the study in {folder} cannot be made longer: {why}; train to total_steps="
            f"{wanted.config.total_steps} in another folder"
        )
