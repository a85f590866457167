"""Learning curves are those recorded at commit bf46240 (see support/curves.py).

They are equal to the last bit on the processor that recorded them, and up to rounding elsewhere.
Two are equal up to rounding there too: a convolution is a matrix product on a CPU now, and the
policy's step goes back once through a shared torso, where it went once for each of its two losses.
"""

import functools
from pathlib import Path

import jax
import numpy as np
import pytest
from support import curves
from support.assertions import assert_same_bits
from support.slow import slow_but

FILE = Path(__file__).parent / "recorded" / f"curves-{jax.__version__}.npz"
FIRST = 3  # updates that are compared where the processor rounds otherwise
ROUNDED = ("cnn", "shared_torso")  # their arithmetic has another order than when they were recorded
# Absolute tolerance there.  The policy's loss is a sum of large terms that cancel.
TOLERANCE = {"policy_loss": 1e-4}

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason=f"no curves are recorded for jax {jax.__version__}"
)


@functools.cache
def recorded() -> dict[str, np.ndarray]:
    """All arrays of the file."""
    with np.load(FILE, allow_pickle=False) as file:
        return dict(file)


def recorded_of(name: str, how: str = "trained") -> dict[str, np.ndarray]:
    """Metric -> `[SEEDS, updates]`, of one curve."""
    start = f"{how}.{name}."
    return {k.removeprefix(start): x for k, x in recorded().items() if k.startswith(start)}


def is_exact(name: str) -> bool:
    """Whether a curve is compared to the last bit."""
    return str(recorded()["processor"]) == curves.processor() and name not in ROUNDED


def assert_recorded(
    name: str, trained: dict[str, np.ndarray], exact: bool, how: str = "trained"
) -> None:
    """The numbers are those of the file, all of them or (not `exact`) the first up to rounding."""
    expected = recorded_of(name, how)
    assert trained.keys() == expected.keys()
    if exact:
        assert_same_bits(trained, expected)
        return
    for metric, x in expected.items():
        span = FIRST
        if metric == "evaluation_returns":
            span //= curves.settings(name)[0].eval_every
        assert trained[metric].shape == x.shape
        atol = TOLERANCE.get(metric, 1e-6)
        np.testing.assert_allclose(
            trained[metric][:, :span], x[:, :span], rtol=1e-3, atol=atol, err_msg=metric
        )


def test_every_curve_is_recorded():
    names = {key.split(".")[1] for key in recorded() if key.startswith("trained.")}
    assert names == set(curves.CURVES)
    assert recorded()["jax"] == jax.__version__


QUICK = ("clip", "cnn", "episodes")  # others differ in Psi or a head


@pytest.mark.parametrize("name", slow_but(QUICK, curves.CURVES))
def test_a_curve_is_as_recorded(name):
    assert_recorded(name, curves.trained(name), is_exact(name))


IN_EVERY_RUN = ("clip", "evaluated")  # each takes a compilation of its own
SWEPT = [
    pytest.param(n, marks=() if n in IN_EVERY_RUN else pytest.mark.slow) for n in curves.CURVES
]


@pytest.mark.skipif(
    FILE.exists() and str(recorded()["processor"]) != curves.processor(),
    reason="recorded on another processor",
)
@pytest.mark.parametrize("name", SWEPT)
def test_a_study_is_as_recorded(name):
    """The engine's program, whose segments may end anywhere, gives the bits of equal segments."""
    assert_recorded(name, curves.swept(name), is_exact(name), "swept")


def test_a_change_is_noticed():
    """One unit in the last place where the processor is the same, and a percent elsewhere."""
    name, metric = "evaluated", "evaluation_returns"
    same = recorded_of(name)
    assert_recorded(name, same, exact=True)
    assert_recorded(name, same, exact=False)

    nearly = {**same, metric: np.nextafter(same[metric], np.float32(np.inf))}
    assert_recorded(name, nearly, exact=False)
    with pytest.raises(AssertionError):
        assert_recorded(name, nearly, exact=True)

    for metric, x in same.items():
        if x.dtype == np.float32 and np.abs(x[:, 0]).max() > 100 * TOLERANCE.get(metric, 1e-6):
            with pytest.raises(AssertionError):
                assert_recorded(name, {**same, metric: np.float32(1.01) * x}, exact=False)
    without = {key: x for key, x in same.items() if key != metric}
    with pytest.raises(AssertionError):
        assert_recorded(name, without, exact=False)
