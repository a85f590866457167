"""The acting side: spaces to distributions, networks, normalisers, optimizers.

setup       `make_setup`: agent, N environments and compute, put together
policy      from an action space to a distribution over its actions (categorical, gaussian)
networks    two trunks and two heads, for policy and value
trunk       torso and memory
torsos      mlp, cnn, or a module of the user's own
memory      recurrent cells
encoding    from observations to what networks see
limits      longest episodes
normalize   running statistics of observations and rewards
imported    parts that a config gives as `module:Name`
bootstrap   V of the observation before a reset
given       parameters and states that a user hands in
optimize    optax rules with traced learning rates
"""

from purejaxvpg.agent.bootstrap import bootstrap, store_final, value_after
from purejaxvpg.agent.given import check_policy, check_state
from purejaxvpg.agent.imported import with_imported
from purejaxvpg.agent.limits import check_episodes_fit, check_limit, episode_limit
from purejaxvpg.agent.normalize import init_reward_stats, init_stats, merge, restart, scale_rewards
from purejaxvpg.agent.optimize import global_norm, make_optimizer, take_step
from purejaxvpg.agent.setup import (
    Agent,
    Setup,
    first_state,
    make_agent,
    make_setup,
    remember,
    with_network,
)

__all__ = [
    "Agent",
    "Setup",
    "bootstrap",
    "check_episodes_fit",
    "check_limit",
    "check_policy",
    "check_state",
    "episode_limit",
    "first_state",
    "global_norm",
    "init_reward_stats",
    "init_stats",
    "make_agent",
    "make_optimizer",
    "make_setup",
    "merge",
    "remember",
    "restart",
    "scale_rewards",
    "store_final",
    "take_step",
    "value_after",
    "with_imported",
    "with_network",
]
