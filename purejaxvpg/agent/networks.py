"""Networks: a trunk that turns observations into features, and two heads on features.

A trunk is a torso and, if asked for, memory (memory.py).  A torso is a flax module that maps
observations to features `[B, F]`.  Observations are float32 `[B, *obs_shape]` or, of several
arrays, a dict of these by dotted name such as `agent.position`, encoded as encoding.py says
(bytes of pictures from 0 to 1).  That is the whole contract for a module of the user's own; the
heads are added here.  Its `params` are float32 and are trained.  Its other collections are carried
along as they were made, so it may read constants and running statistics, and neither change them
nor draw random numbers.

A module of flax.nnx is given by its class, or by a function of `rngs` that makes it.  Each
`nnx.Param` is trained, and variables of other types are carried along (flax_torsos.py).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.agent.distribution import Policy
from purejaxvpg.agent.encoding import Encoder, unmasked
from purejaxvpg.agent.flax_torsos import name_of
from purejaxvpg.agent.memory import Sequence
from purejaxvpg.agent.torsos import flax_dot
from purejaxvpg.agent.trunk import Trunk, make_trunk
from purejaxvpg.config import VPGConfig
from purejaxvpg.envs.protocol import Masked
from purejaxvpg.state import Memory, Params


class PolicyHead(nn.Module):
    """Features `[B, F]` -> the parameters of a distribution, `[B, num_outputs]`.

    The columns `free_outputs` are parameters of their own, the same for every state: logarithms of
    standard deviations.
    """

    num_outputs: int
    free_outputs: tuple[int, ...]

    @nn.compact
    def __call__(self, features: Array) -> Array:
        # A small gain: the first policy is close to uniform, whatever the features.
        init = nn.initializers.orthogonal(0.01)
        size = self.num_outputs - len(self.free_outputs)
        outputs = nn.Dense(size, kernel_init=init, dot_general=flax_dot)(features)
        if not self.free_outputs:
            return outputs
        free = self.param("log_std", nn.initializers.zeros, (len(self.free_outputs),), jnp.float32)
        free = jnp.broadcast_to(free, (*outputs.shape[:-1], len(self.free_outputs)))
        both = jnp.concatenate([outputs, free], axis=-1)
        order = [i for i in range(self.num_outputs) if i not in self.free_outputs]
        place = np.argsort([*order, *self.free_outputs])
        return both if (place == np.arange(self.num_outputs)).all() else both[..., place]


class ValueHead(nn.Module):
    """Features `[B, F]` -> V `[B]`."""

    @nn.compact
    def __call__(self, features: Array) -> Array:
        return nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0))(features)[..., 0]


class Networks(NamedTuple):
    """Pure functions of the two networks.  B rows; O = number of outputs of the policy head.

    Observations are those of the environment, pytrees `[B, ...]`, normalised or not, `Masked` or
    not.  Where they are `Masked`, outputs of actions that are not possible are -inf.

    With memory, `policy`, `value_inputs` and `value` take and give sequences: rows are a
    `Sequence` of n environments and T steps in place of observations `[B, ...]`, and results are
    `[n, T, ...]` in place of `[B, ...]`.
    """

    init: Callable[[Array, Any], Params]  # (key, obs [B, ...])
    no_memory: Callable[[int], Memory]  # n -> what is remembered where an episode begins
    # (params.policy, obs [N, ...], memory.policy) -> memory.policy, outputs [N, O]
    act: Callable[[Any, Any, Any], tuple[Any, Array]]
    # (params.policy that acted, rows) -> [B, F], of the policy's trunk
    features: Callable[[Any, Any], Array]
    outputs: Callable[[Any, Array, Any], Array]  # (params.policy, features, rows) -> [B, O]
    policy: Callable[[Any, Any], Array]  # (any params.policy, rows) -> [B, O]
    value_inputs: Callable[[Any, Any], Any]  # (params.policy, rows) -> [B, ...]
    value: Callable[[Any, Any], Array]  # (params.value, value_inputs) -> [B]
    # (params, rows) -> V [B], and what it remembers after each step
    values: Callable[[Params, Any], tuple[Array, Any]]
    # (params, obs [M, ...], what is remembered [M, ...]) -> V [M]
    value_after: Callable[[Params, Any, Any], Array]


def make_networks(config: VPGConfig, encoder: Encoder, policy: Policy) -> Networks:
    """Policy and value networks for observations that an encoder takes.

    V is computed from `value_inputs`: the observations themselves, or, with a shared torso, the
    features that the policy's trunk makes of them.

    Raises: as `make_trunk`; ValueError for an unknown name of an observation's part.
    """
    policy_trunk = make_trunk(config, encoder.choose(config.policy_obs, "policy_obs"))
    value_trunk = make_trunk(config, encoder.choose(config.value_obs, "value_obs"))
    head, value_head = PolicyHead(policy.num_outputs, policy.free_outputs), ValueHead()

    def outputs(params: Any, features: Array, rows: Any) -> Array:
        obs = rows.obs if isinstance(rows, Sequence) else rows
        x: Any = head.apply(params["head"], features)
        return policy.masked(x, obs.mask) if isinstance(obs, Masked) and policy.masked else x

    def act(params: Any, obs: Any, memory: Any) -> tuple[Any, Array]:
        memory, features = policy_trunk.step(params, obs, memory)
        return memory, outputs(params, features, obs)

    def features(params: Any, rows: Any) -> Array:
        if not isinstance(rows, Sequence):
            return policy_trunk.features(params, rows)
        return policy_trunk.replay(params, *rows[:2], rows.memory.policy, rows.after)[1]

    def new_features(params: Any, rows: Any) -> Array:
        return features(params, rows._replace(after=None) if isinstance(rows, Sequence) else rows)

    def policy_outputs(params: Any, rows: Any) -> Array:
        return outputs(params, new_features(params, rows), rows)

    def init(key: Array, obs: Any) -> Params:
        keys = jax.random.split(key, 4)  # policy's torso and head, then the value's
        cell_keys = jax.random.split(jax.random.fold_in(key, 4))
        params = _init(policy_trunk, head, (keys[0], cell_keys[0], keys[1]), obs)
        if config.shared_torso:
            x = policy_trunk.step(params, obs, policy_trunk.zero(num_rows(obs)))[1]
            return Params(params, {"head": value_head.init(keys[3], x)})
        return Params(params, _init(value_trunk, value_head, (keys[2], cell_keys[1], keys[3]), obs))

    def no_memory(rows: int) -> Memory:
        return Memory(
            policy_trunk.zero(rows), () if config.shared_torso else value_trunk.zero(rows)
        )

    shared = policy_trunk, features if config.shared_torso else None
    value = _value_functions(value_head, value_trunk, *shared)
    return Networks(init, no_memory, act, features, outputs, policy_outputs, *value)


def _init(trunk: Trunk, head: nn.Module, keys: tuple[Array, Array, Array], obs: Any) -> dict:
    """Variables of a trunk and of the head on it.  keys: of torso, cell and head."""
    variables = trunk.init(*keys[:2], obs)
    features = trunk.step(variables, obs, trunk.zero(num_rows(obs)))[1]
    return variables | {"head": head.init(keys[2], features)}


def _value_functions(
    head: ValueHead,
    own_trunk: Trunk,
    policy_trunk: Trunk,
    policy_features: Callable[[Any, Any], Array] | None,
) -> tuple[Callable[..., Any], ...]:
    """`value_inputs`, `value`, `values` and `value_after` of `Networks`.

    Args: policy_features: (params.policy, rows) -> features, if V reads those; else None.
    """
    trunk = policy_trunk if policy_features else own_trunk

    def variables(params: Params) -> Any:
        return params.policy if policy_features else params.value

    def v(params: Any, features: Array) -> Array:
        x: Any = head.apply(params["head"], features)
        return x

    def value_inputs(policy_params: Any, rows: Any) -> Any:
        if policy_features:
            return policy_features(policy_params, rows)
        if isinstance(rows, Sequence):
            return rows._replace(obs=unmasked(rows.obs))
        return unmasked(rows)

    def value(params: Any, inputs: Any) -> Array:
        if policy_features:
            return v(params, inputs)
        if not isinstance(inputs, Sequence):
            return v(params, trunk.features(params, inputs))
        return v(params, trunk.replay(params, *inputs[:2], inputs.memory.value)[1])

    def values(params: Params, rows: Any) -> tuple[Array, Any]:
        if not isinstance(rows, Sequence):
            return value(params.value, value_inputs(params.policy, rows)), ()
        at_hand = (rows.memory.policy, rows.after) if policy_features else (rows.memory.value,)
        after, features = trunk.replay(variables(params), *rows[:2], *at_hand)
        return v(params.value, features), after

    def value_after(params: Params, obs: Any, memory: Any) -> Array:
        return v(params.value, trunk.step(variables(params), obs, memory)[1])

    return value_inputs, value, values, value_after


def num_rows(obs: Any) -> int:
    """B."""
    return jax.tree.leaves(obs)[0].shape[0]


def param_shapes(networks: Networks, encoder: Encoder, rows: int = 1) -> Params:
    """Shapes and types of the networks' variables; nothing is computed."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(networks.init, key, encoder.example(rows))


def check_torso(config: VPGConfig, networks: Networks, encoder: Encoder) -> None:
    """Refuse a user's torso that breaks its contract, by tracing it.

    Raises: ValueError or TypeError, in one line.
    """
    if isinstance(config.network, str):
        return
    one, two = (param_shapes(networks, encoder, rows) for rows in (1, 2))
    for (path, x), (_, y) in zip(*map(jax.tree.leaves_with_path, (one, two)), strict=True):
        if x.shape != y.shape:
            raise ValueError(
                f"network {name_of(config.network)} has a variable whose shape depends on "
                f"the number of observations, {jax.tree_util.keystr(path)}: {x.shape} for one and "
                f"{y.shape} for two; the number differs between acting, learning and evaluation"
            )
