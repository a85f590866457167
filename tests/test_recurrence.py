"""x_t = b_t + a x_{t+1}: the way of a CPU and that of an accelerator, beside a plain loop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from purejaxvpg.compute import accumulate

T, N = 11, 5
CPU, ACCELERATOR = "cpu", "gpu"


@pytest.fixture(params=[CPU, ACCELERATOR])
def backend(request, monkeypatch):
    """The platform that the code is traced for; it runs on the CPU either way."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)
    return request.param


def numbers(seed: int = 0):
    """Addends and stops."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(T, N)), rng.random((T, N)) < 0.3


def loop(addends, factor, stops, reverse):
    """By the definition."""
    found, last = np.zeros_like(addends), np.zeros(N)
    for t in reversed(range(T)) if reverse else range(T):
        last = addends[t] + factor * np.where(stops[t], 0, last)
        found[t] = last
    return found


@pytest.mark.usefixtures("x64", "backend")
@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("factor", [0.0, 0.9, 1.0])
def test_accumulate_is_the_loop(factor, reverse):
    addends, stops = numbers()
    actual = accumulate(jnp.asarray(addends), factor, jnp.asarray(stops), reverse)
    np.testing.assert_allclose(actual, loop(addends, factor, stops, reverse), rtol=1e-13)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nothing_goes_past_a_stop(poison):
    """Not even NaN and infinity, which are not 0 when multiplied by 0."""
    addends, stops = numbers()
    stops[4] = True
    addends[6, 2] = poison
    actual = np.asarray(accumulate(jnp.asarray(addends, jnp.float32), 0.9, jnp.asarray(stops)))
    assert np.isfinite(actual[:5]).all()
    assert not np.isfinite(actual[6, 2])
    assert np.isfinite(np.delete(actual, 2, axis=1)).all()


@pytest.mark.usefixtures("x64", "backend")
@pytest.mark.parametrize("factor", [0.0, 0.8])
def test_derivatives(factor):
    """For the factor, at 0 too, and for the addends, one of which is inf beyond a stop."""
    addends, stops = numbers()
    stops[4] = True
    eps = 1e-6

    def total(addends, factor):
        return jnp.sin(accumulate(addends, factor, jnp.asarray(stops)))[:5].sum()

    for_addends, for_factor = jax.grad(total, (0, 1))(jnp.asarray(addends), factor)
    up, down = (np.sin(loop(addends, factor + e, stops, True))[:5].sum() for e in (eps, -eps))
    np.testing.assert_allclose(for_factor, (up - down) / (2 * eps), rtol=1e-7)
    assert (np.asarray(for_addends)[5:] == 0).all()
    addends[6, 2] = np.inf
    beyond = jax.grad(total)(jnp.asarray(addends), factor)
    np.testing.assert_allclose(beyond[:5], for_addends[:5], rtol=1e-12)


def test_the_type_is_kept(backend):
    """A factor of another type does not make a type of the two."""
    addends, stops = numbers()
    for dtype in (jnp.float32, jnp.bfloat16):
        actual = accumulate(jnp.asarray(addends, dtype), jnp.float32(0.9), jnp.asarray(stops))
        assert actual.dtype == dtype


def test_an_accelerator_does_not_wait_for_every_step(backend):
    """One loop of T turns on a CPU; elsewhere no loop at all."""
    addends, stops = map(jnp.asarray, numbers())
    program = str(jax.make_jaxpr(lambda b, s: accumulate(b, 0.9, s))(addends, stops))
    assert ("scan" in program) == (backend == CPU)
