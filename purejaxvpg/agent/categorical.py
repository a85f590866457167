"""A categorical distribution over actions, and several of them side by side."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from purejaxvpg.agent.distribution import Policy


def categorical(num_actions: int) -> Policy:
    """pi(a|s) = softmax(outputs)_a; an output of -inf is a probability of 0.

    Computed over `[A, B]`, actions first: a row of A = 2 numbers is too short for the vector
    units of a CPU, B of them are not (1.2x for the whole step of the policy).
    """

    def log_probs(outputs: Array) -> Array:  # [B, A] -> [A, B]
        return jax.nn.log_softmax(outputs.T, axis=0)

    def sample(outputs: Array, noise: Array) -> Array:
        # The first action at which the sum of probabilities passes the noise, uniform in [0, 1).
        # (The usual maximum of logits + Gumbel noise takes A random numbers and 2 A logarithms.)
        # Unnormalised: the noise is stretched to their sum instead.
        odds = jnp.exp(outputs.T - outputs.max(-1)[None])  # [A, B]
        sums = jnp.cumsum(odds, axis=0)  # [A, B]
        drawn = (sums[:-1] <= noise[None] * sums[-1:]).sum(0, dtype=jnp.int32)
        if num_actions == 2:
            return drawn
        # Sums of hundreds are rounded each in its own way, and may rise at an action of odds 0.
        taken = jnp.arange(num_actions)[:, None] == drawn[None]  # [A, B]
        return jnp.where((taken & (odds > 0)).any(0), drawn, mode(outputs))

    def mode(outputs: Array) -> Array:
        return lax.argmax(outputs.T, 0, jnp.int32)

    def log_prob(outputs: Array, raw: Array) -> Array:
        taken = jnp.arange(num_actions)[:, None] == raw[None]  # [A, B]
        return jnp.where(taken, log_probs(outputs), 0).sum(0)

    def expected(log_p: Array, x: Array) -> Array:
        """sum_a p(a) x(a).  Of an action that is never taken x counts nothing: 0 * inf is NaN."""
        p = jnp.exp(log_p)
        return (p * jnp.where(p > 0, x, 0)).sum(0)

    def entropy(outputs: Array, raw: Array) -> Array:
        log_p = log_probs(outputs)
        return -expected(log_p, log_p)

    def kl(old: Array, new: Array) -> Array:
        log_p, log_q = log_probs(old), log_probs(new)
        return expected(log_p, log_p - log_q)

    return Policy(
        num_outputs=num_actions,
        noise=lambda key, rows: jax.random.uniform(key, rows, jnp.float32),
        sample=sample,
        mode=mode,
        log_prob=log_prob,
        entropy=entropy,
        kl=kl,
        to_env=lambda raw: raw,
        masked=_masked,
        parameters=lambda outputs: {"logits": outputs},
    )


def _masked(outputs: Array, mask: Array) -> Array:
    """Outputs `[B, A]`, -inf for actions that are not possible.

    Where none is possible (an episode that is over) all count as possible: a distribution over
    nothing would be NaN.
    """
    return jnp.where(mask | ~mask.any(-1, keepdims=True), outputs, -jnp.inf)


def multi_categorical(nvec: np.ndarray) -> Policy:
    """A product of categorical distributions, for MultiDiscrete spaces.

    pi(a|s) = prod_i pi_i(a_i|s): log-probabilities, entropies and divergences add up.  The outputs
    lie side by side; raw actions are `[B, k]`, for the environment of the shape of `nvec`.
    """
    numbers = np.asarray(nvec).reshape(-1)  # [k]
    parts = [categorical(int(n)) for n in numbers]
    ends = np.cumsum(numbers)[:-1].tolist()

    def split(outputs: Array) -> list[Array]:
        return jnp.split(outputs, ends, axis=-1)

    def masked(outputs: Array, mask: Array) -> Array:
        columns = mask.reshape(*outputs.shape[:-1], len(numbers), -1)  # [B, k, n]
        each = enumerate(zip(split(outputs), numbers, strict=True))
        return jnp.concatenate([_masked(x, columns[..., i, :n]) for i, (x, n) in each], axis=-1)

    def total(name: str, *columns: list[Array]) -> Array:
        each = zip(parts, *columns, strict=True)
        return sum(getattr(part, name)(*xs) for part, *xs in each)  # type: ignore[return-value]

    def columns(raw: Array) -> list[Array]:
        return [raw[:, i] for i in range(len(numbers))]

    return Policy(
        num_outputs=int(numbers.sum()),
        noise=lambda key, rows: jax.random.uniform(key, (*rows, len(numbers)), jnp.float32),
        sample=lambda outputs, noise: jnp.stack(
            [p.sample(*x) for p, *x in zip(parts, split(outputs), columns(noise), strict=True)], -1
        ),
        mode=lambda outputs: jnp.stack(
            [p.mode(x) for p, x in zip(parts, split(outputs), strict=True)], -1
        ),
        log_prob=lambda outputs, raw: total("log_prob", split(outputs), columns(raw)),
        entropy=lambda outputs, raw: total("entropy", split(outputs), columns(raw)),
        kl=lambda old, new: total("kl", split(old), split(new)),
        to_env=lambda raw: raw.reshape(raw.shape[:-1] + np.shape(nvec)),
        masked=masked,
        parameters=lambda outputs: {f"logits.{i}": x for i, x in enumerate(split(outputs))},
    )
