"""Studies with given scores, in memory and in folders, with no training."""

import numpy as np

from purejaxvpg.experiment.assemble import assemble
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.store import Store
from support.studies import CONFIG, make_part, make_spec

RISE = np.asarray([0.25, 0.5, 0.75, 1])  # of a run's returns: at its end its score


def parts_of(spec, scores, **metrics):
    """Parts whose runs end 20 episodes an update, those of the last one with their score as mean.

    Args: scores: [H, S]; NaN: the run diverges at its third update.
    """
    parts = []
    for h, row in enumerate(np.asarray(scores, float)):
        counts, levels = np.full((len(row), 4), 20.0), row[:, None] * RISE
        lost = np.isnan(row)[:, None] & (np.arange(4) >= 2)
        values = {
            "episode_count": np.where(lost, 0, counts),
            "episode_return_sum": np.where(np.isnan(levels), 0, 20 * levels),
            "finite": ~lost,
            **metrics,
        }
        parts.append(make_part(spec, spec.index.of_settings([h]), **values))
    return parts


def scored(scores, grid=None, config=CONFIG, first_seed=5, record=None, **metrics):
    """A study with these scores, [H, S]; a run for [S]."""
    spec = _spec(scores, grid, config, first_seed)
    record = {"seconds": 10.0, "compile_seconds": 90.0, "complete": True, **(record or {})}
    return assemble(spec, parts_of(spec, np.atleast_2d(scores), **metrics), StudyRecord(**record))


def write(folder, scores, grid=None, config=CONFIG, first_seed=5, **metrics):
    """The folder of such a study.  Returns: its path, as text."""
    spec = _spec(scores, grid, config, first_seed)
    store = Store(spec, folder, StudyRecord(), None)
    for part in parts_of(spec, np.atleast_2d(scores), **metrics):
        store.add(part)
    store.finish(store.study(StudyRecord()))
    return str(folder)


def _spec(scores, grid, config, first_seed):
    spec = make_spec(grid or {}, np.shape(scores)[-1], config)
    return spec._replace(seeds=np.arange(first_seed, first_seed + np.shape(scores)[-1]))
