"""Contract of an environment by running it: what tracing cannot see."""

import warnings
from collections.abc import Iterator

import jax
import numpy as np

from purejaxvpg.envs.faults import user_code
from purejaxvpg.envs.keys import ignores_its_key
from purejaxvpg.envs.params import param_names
from purejaxvpg.envs.protocol import BrokenContract, Environment
from purejaxvpg.envs.spaces import is_known, outside, spaces_by_name
from purejaxvpg.envs.trial import LIMITS, Trial, trials

SHORT = 128  # steps of the check that every environment of a user gets
FEW_ENDS = 3  # too few to judge by

_RUN: dict[Environment, None] = {}  # environments that have passed


def run_once(env: Environment, tested: bool = False) -> None:
    """The check in short, unless this environment has passed it in this process.

    Args: tested: this project's tests check it; take it for passed.
    """
    if env in _RUN:
        return
    if not tested:
        run(env, SHORT)
    _RUN[env] = None
    if len(_RUN) > 256:
        del _RUN[next(iter(_RUN))]


def run(env: Environment, num_steps: int) -> None:
    """Run an environment and judge what it does.  Raises and warns: as `envs.check_env`."""
    if not is_known(env.action_space(env.default_params)):
        return  # no policy takes such a space, which is said elsewhere
    # Run now and quietly, whatever the caller is tracing, looking for, or doing without.
    with (
        jax.ensure_compile_time_eval(),
        jax.disable_jit(False),
        jax.debug_nans(False),
        jax.transfer_guard("allow"),
        user_code(env.name),
    ):
        trial, short = trials(env, num_steps)
    for seen in [trial, short] if env.resets_itself else []:
        if seen and (fault := _fault(seen)):
            raise BrokenContract(f"{env.name}.step {fault}")
    doubts = [*_doubts(env, trial), _limit_terminates(env, trial, short)]
    if ignores_its_key(env.reset, env.default_params):
        doubts.append("reset draws random numbers, and not from its key: all episodes begin alike")
    for doubt in filter(None, doubts):
        warnings.warn(f"{env.name}: {doubt}", UserWarning, stacklevel=4)


def _fault(trial: Trial) -> str | None:
    """How a step that should reset itself does not."""
    done = trial.ends.done
    remedy = (
        "after an end, step returns the state and observation of a new episode, and the last "
        "observation of the old one in info['final_observation']"
    )
    if _ends_again(done):
        again = "does not reset itself: after an end nearly every step is another end"
        return f"{again}; {remedy}"
    if done.sum() < FEW_ENDS or not trial.final_is_next:
        return None
    resets_vary = _chance_to_agree(trial) ** int(done.sum()) < 1e-6
    counts = [m & f for m, f in zip(trial.state_moved, trial.state_fixed, strict=True)]
    back = [c & b for c, b in zip(counts, trial.state_back, strict=True)]
    # Such as a clock: the same after each reset, another number later on.
    has_clock, clock_is_back = (any(x.any() for x in xs) for xs in (counts, back))
    unlike = not resets_vary and not trial.next_is_first
    if (has_clock and not clock_is_back) or (unlike and not has_clock):
        return f"does not reset itself: the state after an end is none that reset returns; {remedy}"
    if resets_vary:
        return (
            f"returns the observation after the reset as info['final_observation'] (or does not "
            f"reset itself): at all of {int(done.sum())} ends the two were equal; {remedy}"
        )
    return None


def _ends_again(done: np.ndarray) -> bool:
    after_end = done[1:][done[:-1]]  # of steps that follow an end, which are ends
    first_end = done.argmax(0)[done.any(0)]
    enough = len(after_end) >= FEW_ENDS and after_end.mean() > 0.9
    return bool(enough and (first_end > 0).mean() > 0.5)


def _chance_to_agree(trial: Trial) -> float:
    """Fraction of pairs of resets that return the same observation."""
    rows = np.concatenate([x.reshape(len(x), -1) for x in trial.first_obs.values()], axis=1)
    agree = (rows[:, None] == rows[None]).all(-1)
    return float(agree[~np.eye(len(rows), dtype=bool)].mean())


def _doubts(env: Environment, trial: Trial) -> Iterator[str | None]:
    spaces = spaces_by_name(env.observation_space(env.default_params))
    done = trial.ends.done
    if not trial.rewards_finite:
        yield "a reward is not finite (NaN or infinite)"
    if not trial.obs_finite:
        yield "an observation is not finite (NaN or infinite)"
    else:
        for name, first_obs in trial.first_obs.items():
            low, high = trial.obs_low[name], trial.obs_high[name]
            doubt = outside(spaces.get(name), first_obs.shape[1:], low, high)
            yield f"{name}: {doubt}" if doubt and name else doubt
    same_start = _chance_to_agree(trial) == 1
    suspicious = trial.final_is_next and trial.obs_moved and same_start and trial.next_is_first
    if env.resets_itself and suspicious and done.sum() >= FEW_ENDS:
        yield (
            "the last observation of every episode is the first of the next one; is "
            "info['final_observation'] the one before the reset?"
        )


def _limit_terminates(env: Environment, trial: Trial, short: Trial | None) -> str | None:
    """How ends that a shorter time limit brings are reported, if as terminations."""
    if short is None:
        return None
    ends = short.ends
    if ends.done.sum() < FEW_ENDS or ends.truncated.any():
        return None
    longest = ends.lengths.max()
    at_limit = ends.lengths == longest
    if not ends.terminated[at_limit].all() or not (trial.ends.lengths > longest).any():
        return None
    names = [name for name in param_names(env.default_params) if name in LIMITS]
    return (
        f"the time limit ({', '.join(names)}) ends episodes as terminated, so that V of what "
        f"follows is taken for 0; report it as truncated, unless the task itself ends there"
    )
