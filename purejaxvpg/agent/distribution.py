"""`Policy`: a distribution over actions, as a few pure functions of what the network emits."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import Array


class Policy(NamedTuple):
    """Pure functions of `outputs` `[B, O]`, the numbers that the policy network emits, and of raw
    actions: `[B]` of a Discrete, `[B, n]` of a Box or MultiDiscrete, a tuple of these of several.
    """

    num_outputs: int  # O
    noise: Callable[[Array, tuple], Any]  # (key, shape such as (B,)) -> all chance in actions
    sample: Callable[[Array, Any], Any]  # (outputs, noise) -> raw, a draw from pi
    mode: Callable[[Array], Any]  # outputs -> raw, the greedy action
    log_prob: Callable[[Array, Any], Array]  # (outputs, raw) -> [B]
    entropy: Callable[[Array, Any], Array]  # (outputs, raw) -> [B]
    kl: Callable[[Array, Array], Array]  # (old outputs, new outputs) -> [B], KL(old || new)
    to_env: Callable[[Any], Any]  # raw -> what the environment's step is given
    masked: Callable[[Array, Any], Array] | None = None  # (outputs, mask) -> outputs
    free_outputs: tuple[int, ...] = ()  # columns of outputs that do not depend on the state
    # outputs -> the distribution of raw actions in numbers, by name: `logits` `[B, A]`, or `mean`
    # and `log_std` `[B, *shape]`; of several, with the part behind it: `logits.move`, `logits.0`
    parameters: Callable[[Array], dict[str, Array]] = lambda outputs: {"outputs": outputs}


def over_leading_axes(policy: Policy) -> Policy:
    """The policy, for outputs `[..., O]` and actions and results `[..., ]` alike."""

    def rows(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(outputs: Array, *others: Any) -> Any:
            leading = outputs.shape[:-1]
            if len(leading) == 1:
                return function(outputs, *others)
            flat = jax.tree.map(
                lambda x: x.reshape(-1, *x.shape[len(leading) :]), (outputs, *others)
            )
            return jax.tree.map(lambda x: x.reshape(*leading, *x.shape[1:]), function(*flat))

        return called

    names = ("sample", "mode", "log_prob", "entropy", "kl", "parameters")
    return policy._replace(**{name: rows(getattr(policy, name)) for name in names})
