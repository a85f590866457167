"""Small searches, and an engine that pretends to train their runs."""

import jax
import numpy as np

from purejaxvpg import VPGConfig
from purejaxvpg.experiment import Choice, LogUniform, engine
from purejaxvpg.experiment.parts import Part
from purejaxvpg.state import Evaluation, Metrics

CONFIG = VPGConfig(
    num_envs=2,
    num_steps=8,
    total_steps=64,
    hidden_sizes=(8,),
    value_iterations=1,
    eval_every=2,
    eval_episodes=2,
    eval_steps=20,
)
SPACE = {"policy_lr": LogUniform(1e-4, 1.0), "gae_lambda": Choice((0.9, 1.0))}
SIZES = {"num_seeds": 2, "rounds": 3, "batch": 4}
# Two chunks a round, and one program for all tests that train.
WIDE = {"chunk_size": 4, "devices": jax.devices()[:1]}


def near_a_hundredth(setting, seed):
    """A score that is best at policy_lr = 0.01, a little different for each seed."""
    return -abs(np.log10(setting["policy_lr"]) + 2) + 0.01 * seed


class Pretended:
    """An engine that trains nothing: it gives each run the score that a function says."""

    def __init__(self, score=near_a_hundredth, stop_at=None):
        self.score, self.stop_at, self.calls = score, stop_at, 0

    def __call__(self, prepared):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyboardInterrupt
        spec, store = prepared.spec, prepared.store
        for group in prepared.groups:
            runs = spec.index.of_settings(group.settings)
            done = store.done(0, group.config.num_updates)
            store.add(self.part(spec, group.config, runs[[int(run) not in done for run in runs]]))
        return engine._finish(prepared, np.arange(spec.design.size), ())

    def part(self, spec, config, runs):
        settings = np.asarray(spec.design.settings())[spec.index.settings(runs)]
        seeds = spec.seeds[spec.index.seed_places(runs)]
        scores = np.asarray(list(map(self.score, settings, seeds)), np.float32)
        shape = (len(runs), config.num_updates)
        metrics = {name: np.ones(shape, np.float32) for name in Metrics._fields}
        metrics["finite"] *= np.isfinite(scores)[:, None]
        every, episodes = config.num_updates // config.eval_every, config.eval_episodes
        returns = np.broadcast_to(scores[:, None, None], (len(scores), every, episodes))
        evaluation = Evaluation(*[returns] * len(Evaluation._fields))
        # The policy of a run is its number.
        policies = {"params/w": runs[:, None].astype(np.float32)}
        whole = (0, config.num_updates, Metrics(**metrics), evaluation, None)
        return Part(runs, *whole, width=2, seconds=1.0, policies=policies)


def pretend_to_train(monkeypatch):
    """Searches train nothing.  Returns: a function that sets the scores of their runs."""

    def pretend(*args, **kwargs):
        monkeypatch.setattr(engine, "run", Pretended(*args, **kwargs))
        return engine.run

    pretend()
    return pretend
