"""The settings of a study: which, in what order, drawn how, and what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest

from purejaxvpg.experiment.design import Design, make_design
from purejaxvpg.ranges import LogUniform, Uniform


def values(name, given):
    """The values that an axis has."""
    return [point[0] for point in make_design({name: given}).axes[0].points]


# ------------------------------------------------------------------------------------- DESIGN


def test_a_grid_is_the_product_with_the_last_axis_fastest():
    design = make_design({"gamma": [0.9, 0.99], "policy_lr": [1, 2, 3]})
    assert design.shape == (2, 3)
    assert design.names == ("gamma", "policy_lr")
    pairs = [(s["gamma"], s["policy_lr"]) for s in design.settings()]
    assert pairs == [(0.9, 1), (0.9, 2), (0.9, 3), (0.99, 1), (0.99, 2), (0.99, 3)]


def test_no_axes_make_the_one_setting_of_the_base():
    design = make_design()
    assert design == Design(())
    assert design.settings() == [{}]


def test_zip_pairs_values_along_one_dimension():
    design = make_design(zipped={"num_envs": [2, 4, 4], "num_steps": [16, 8, 8]})
    (axis,) = design.axes
    assert (axis.dim, axis.names) == ("zip", ("num_envs", "num_steps"))
    assert [tuple(s.values()) for s in design.settings()] == [(2, 16), (4, 8), (4, 8)]


def test_grid_zip_and_sample_multiply():
    design = make_design(
        grid={"gamma": [0.9, 0.99]},
        zipped={"num_envs": [2, 4], "num_steps": [16, 8]},
        sample={"policy_lr": LogUniform(1e-4, 1e-2)},
        num_samples=3,
    )
    assert [axis.dim for axis in design.axes] == ["gamma", "zip", "sample"]
    settings = design.settings()
    assert len(settings) == 2 * 2 * 3
    assert list(settings[0]) == ["gamma", "num_envs", "num_steps", "policy_lr"]
    assert len({s["policy_lr"] for s in settings}) == 3
    assert [s["num_steps"] for s in settings[:6]] == [16, 16, 16, 8, 8, 8]
    assert [s["policy_lr"] for s in settings[:3]] == [s["policy_lr"] for s in settings[3:6]]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (range(1, 4), [1, 2, 3]),
        (np.array([0.5, 0.25]), [0.5, 0.25]),
        (np.linspace(0, 1, 3), [0.0, 0.5, 1.0]),
        ([np.int64(3), np.float64(0.5)], [3, 0.5]),
        (jnp.array([0.5, 0.25]), [0.5, 0.25]),
        ((x / 2 for x in range(2)), [0.0, 0.5]),
    ],
)
def test_values_come_as_any_ordered_collection_and_leave_as_python_numbers(given, expected):
    plain = values("policy_lr", given)
    assert plain == expected
    assert all(type(x) in (int, float) for x in plain)


@pytest.mark.parametrize(
    "given", [[(8,), (16, 16)], [[8], [16, 16]], [np.array([8]), np.array([16, 16])]]
)
def test_layer_sizes_are_tuples_however_they_are_given(given):
    assert values("hidden_sizes", given) == [(8,), (16, 16)]


def test_nested_lists_become_nested_tuples():
    assert values("network", [[1, [2, 3]]]) == [(1, (2, 3))]


# ------------------------------------------------------------------------------------ SAMPLES


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_samples_are_in_range_and_decided_by_their_seed(sampler):
    def drawn(seed):
        spans = {"policy_lr": LogUniform(1e-4, 1e-2), "gamma": Uniform(0.9, 1.0)}
        design = make_design(sample=spans, num_samples=50, sampler=sampler, sample_seed=seed)
        return np.array(design.axes[0].points)

    points = drawn(1)
    assert points.shape == (50, 2)
    assert ((points >= [1e-4, 0.9]) & (points <= [1e-2, 1.0])).all()
    np.testing.assert_array_equal(points, drawn(1))
    assert not (points == drawn(2)).any()


def test_sobol_points_fill_every_cell_of_the_space_alike():
    """16 of them: one in each of 16 bins of an axis, one in each of the 4 x 4 cells."""
    spans = {"gamma": Uniform(0, 1), "gae_lambda": Uniform(0, 1)}
    points = np.array(make_design(sample=spans, num_samples=16).axes[0].points)
    for column in points.T:
        assert sorted(np.floor(column * 16)) == list(range(16))
    assert len({tuple(cell) for cell in np.floor(points * 4).tolist()}) == 16


def test_log_uniform_is_even_in_the_logarithm():
    span = LogUniform(1e-4, 1e-2)
    assert span.at(0.5) == pytest.approx(1e-3)
    design = make_design(sample={"policy_lr": span}, num_samples=64)
    logs = np.log10([s["policy_lr"] for s in design.settings()])
    assert np.histogram(logs, bins=4, range=(-4, -2))[0].tolist() == [16] * 4


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"sample": {"gamma": Uniform(0, 1)}}, ValueError, "num_samples=0 .*integer >= 1"),
        ({"sample": {"gamma": Uniform(0, 1)}, "num_samples": 2.5}, ValueError, "num_samples=2.5"),
        ({"sample": {"gamma": Uniform(0, 1)}, "num_samples": True}, ValueError, "num_samples=True"),
        (
            {"sample": {"gamma": (0, 1)}, "num_samples": 2},
            TypeError,
            r"sample of gamma is \(0, 1\)",
        ),
        ({"num_samples": 4}, ValueError, "num_samples=4 of nothing"),
        (
            {"sample": {"gamma": Uniform(0, 1)}, "num_samples": 2, "sampler": "halton"},
            ValueError,
            "sampler='halton' is unknown; choose one of: sobol, random",
        ),
        (
            {"sample": {"gamma": Uniform(0, 1)}, "num_samples": 2, "sample_seed": -1},
            ValueError,
            "sample_seed=-1 is out of range",
        ),
    ],
)
def test_bad_samples_are_one_line(arguments, error, match):
    with pytest.raises(error, match=match) as caught:
        make_design(**arguments)
    assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------- NAMES


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"grid": {"polcy_lr": [1]}}, ValueError, "axis polcy_lr .*did you mean policy_lr"),
        ({"grid": {"num_env": [1]}}, ValueError, "did you mean .*num_envs"),
        ({"grid": {"env_params": [1]}}, ValueError, "env_params is neither.* env_params.<field>"),
        ({"grid": {3: [1]}}, ValueError, "axis 3 is neither"),
        ({"grid": {"gamma": [1]}, "zipped": {"gamma": [1]}}, ValueError, "gamma varies twice"),
        (
            {"zipped": {"gamma": [1]}, "sample": {"gamma": Uniform(0, 1)}, "num_samples": 1},
            ValueError,
            "gamma varies twice",
        ),
        ({"grid": {"seed": [1, 2]}}, ValueError, "seed is no axis: .*num_seeds"),
        ({"grid": {"gamma": []}}, ValueError, "gamma has no values"),
        ({"zipped": {"gamma": []}}, ValueError, "gamma has no values"),
        ({"grid": {"gamma": [0.9, 0.5, 0.9]}}, ValueError, "gamma has 0.9 twice"),
        ({"grid": {"num_envs": [8, 8.0]}}, ValueError, "num_envs has 8.0 twice"),
        ({"grid": {"hidden_sizes": [(8,), [8]]}}, ValueError, r"hidden_sizes has \(8,\) twice"),
        (
            {"zipped": {"gamma": [0.9, 0.99], "policy_lr": [1, 2, 3]}},
            ValueError,
            "gamma has 2, policy_lr has 3; make them equal",
        ),
        ({"grid": {"gamma": 0.9}}, TypeError, "values of gamma are 0.9; accepted: a list"),
        ({"grid": {"env": "CartPole-v1"}}, TypeError, "values of env are 'CartPole-v1'"),
        ({"grid": {"gamma": {0.9: 1}}}, TypeError, "accepted: a list of values"),
        ({"grid": {"gamma": {0.9, 0.5}}}, TypeError, "accepted: a list of values"),
        ({"grid": {"gamma": np.array(0.9)}}, TypeError, "accepted: a list of values"),
        ({"grid": {"gamma": Uniform(0, 1)}}, TypeError, "a range goes with sample"),
    ],
)
def test_bad_axes_are_one_line(arguments, error, match):
    with pytest.raises(error, match=match) as caught:
        make_design(**arguments)
    assert "\n" not in str(caught.value)
