"""A study that is checked, has its folder and its widths, and only waits to be run."""

import dataclasses
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from purejaxvpg.config import VPGConfig
from purejaxvpg.experiment.checkpoints import Checkpoint
from purejaxvpg.experiment.devices import any_of_processes
from purejaxvpg.experiment.groups import Group
from purejaxvpg.experiment.planning import GroupPlan, Resources
from purejaxvpg.experiment.policies import KeepPolicies
from purejaxvpg.experiment.progress import Clock, Progress
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.runs import Shard
from purejaxvpg.experiment.segments import Segment
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.store import Store


def _ignore(_: Any) -> None:
    pass


class Options(NamedTuple):
    """How a study is run.  None of it changes what the study is."""

    resources: Resources
    shard: Shard | None = None
    keep_policies: KeepPolicies | None = None  # None: as it was begun, or all
    keep_states: bool | None = None  # of runs that are done; None: as begun, or of one setting
    checkpoint_minutes: float = 1.0
    checkpoint_updates: int = 0
    on_progress: Callable[[Progress], None] = _ignore
    on_segment: Callable[[Segment], Any] = _ignore  # returns True to stop, with everything kept
    on_start: Callable[[Checkpoint | None], None] = _ignore  # of each chunk
    on_keep: Callable[[], None] = lambda: None  # before a checkpoint or a part is written
    log: tuple[str, ...] = ()  # logs in the folder beside metrics.jsonl: logs.py
    command: str = ""
    other_settings: bool = False  # of jax, than the study was begun under: allowed
    imports: tuple[str, ...] = ()  # modules and files to import first, where the folder is used
    locked: bool = False  # whether the folder is locked already, for more than this study

    def with_hooks(self, on_progress: Any, on_segment: Any) -> "Options":
        """The options with a user's hooks, where there are any."""
        hooks = {"on_progress": on_progress, "on_segment": on_segment}
        return self._replace(**{name: hook for name, hook in hooks.items() if hook is not None})


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Everything that a run of a study needs.  Setting `stop` ends it after the running segment."""

    spec: Spec
    groups: Sequence[Group]
    plans: Sequence[GroupPlan | None]  # of each group; None where this shard has no runs
    store: Store
    record: StudyRecord
    options: Options
    clock: Clock
    longer_than: int = 0  # total_steps before this call made it longer; 0: it did not
    programs: set[tuple[VPGConfig, int]] = dataclasses.field(default_factory=set)  # compiled here
    stop: threading.Event = dataclasses.field(default_factory=threading.Event)
    agreed: threading.Event = dataclasses.field(default_factory=threading.Event)  # by all processes

    def agree_to_stop(self) -> bool:
        """Whether any process of a cluster wants to stop, told to all of them after the same
        segment: one that stopped alone would leave the others waiting for it."""
        if any_of_processes(self.stop.is_set()):
            self.stop.set()
            self.agreed.set()
        return self.agreed.is_set()

    def stops(self) -> bool:
        """Whether to begin nothing more."""
        return (self.stop if jax.process_count() == 1 else self.agreed).is_set()
