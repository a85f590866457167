"""Studies made of numbers, with no training: for tests of what is done with them afterwards."""

import numpy as np

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment.assemble import assemble
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.groups import configs
from purejaxvpg.experiment.parts import Part
from purejaxvpg.experiment.pruning import SuccessiveHalving
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.state import Evaluation, Metrics

CONFIG = VPGConfig(total_steps=4 * 32, num_envs=4, num_steps=8, hidden_sizes=(8,))  # U = 4
EVALUATING = VPGConfig(
    total_steps=4 * 32, num_envs=4, num_steps=8, hidden_sizes=(8,), eval_every=2, eval_episodes=3
)
PRUNE = SuccessiveHalving(rungs=2, keep=0.5)


def make_spec(grid=None, num_seeds=2, config=CONFIG, hp=None, prune=None, **design):
    """A spec of seeds 5, 6, ...; `design` holds further arguments of `make_design`."""
    grid = {"policy_lr": [1e-3, 1e-2]} if grid is None and not design else grid
    seeds = np.arange(5, 5 + num_seeds)
    return Spec(config, hp or Hyperparams(), make_design(grid, **design), seeds, prune)


def make_part(spec, runs, start=0, end=None, states=False, **metrics):
    """Numbers that are a function of run, update and name alone, whatever part they are in."""
    runs = np.asarray(runs)
    config = configs(spec.design, spec.config)[spec.index.settings(runs)[0]]
    end = config.num_updates if end is None else end
    cell = runs[:, None] * 100.0 + np.arange(start, end)
    values = {name: (cell + i / 16).astype(np.float32) for i, name in enumerate(Metrics._fields)}
    values["finite"] = np.ones(cell.shape, bool)
    for name, value in metrics.items():
        values[name] = np.broadcast_to(value, cell.shape)
    evaluations = None
    if config.eval_every:
        numbers = np.arange(start, end, config.eval_every)
        returns = runs[:, None, None] + numbers[:, None] / 8 + np.arange(config.eval_episodes)
        evaluations = Evaluation(
            returns.astype(np.float32),
            np.full(returns.shape, 7, np.int32),
            np.ones(returns.shape, bool),
        )
    state = None
    if states:
        state = [
            (runs[:, None] + np.linspace(0, 1, 3)).astype(np.float32),
            runs.astype(np.uint32) + end,
        ]
    return Part(runs, start, end, Metrics(**values), evaluations, state, width=2, seconds=0.25)


def all_parts(spec, **metrics):
    """One part for each setting."""
    settings = range(spec.design.size)
    return [make_part(spec, spec.index.of_settings([h]), **metrics) for h in settings]


def make_study(spec, parts=None, **record):
    """The study of these parts (None: of all), with a record of these fields."""
    return assemble(spec, all_parts(spec) if parts is None else parts, StudyRecord(**record))


def assert_same_study(x, y):
    """Every number alike; records may differ."""
    for name in ("seeds", "steps", "updates", "num_updates", "pruned"):
        np.testing.assert_array_equal(getattr(x, name), getattr(y, name), name)
    for name in ("metrics", "evaluations"):
        first, second = getattr(x, name), getattr(y, name)
        assert first.keys() == second.keys()
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], key)
    assert (x.config, x.hyperparams, x.design) == (y.config, y.hyperparams, y.design)
