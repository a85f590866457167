"""The settings of a study: which, in what order, in which programs, and what is refused."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purejaxvpg import Hyperparams, VPGConfig, envs
from purejaxvpg.experiment.grid import (
    Choice,
    Design,
    LogUniform,
    Uniform,
    configs,
    make_design,
    resolve,
)

STEADY = settings(deadline=None, derandomize=True, database=None)

CONFIG = VPGConfig(total_steps=64, num_envs=4, num_steps=8, hidden_sizes=(8,))
HP = Hyperparams()


def values(name, given):
    """The values that an axis has."""
    return [point[0] for point in make_design({name: given}).axes[0].points]


def resolved(config=CONFIG, hp=HP, **grid):
    """Groups of a grid; `__` stands for the dot of `env_params.`."""
    return resolve(make_design({k.replace("__", "."): v for k, v in grid.items()}), config, hp)


# ------------------------------------------------------------------------------------- DESIGN


def test_a_grid_is_the_product_with_the_last_axis_fastest():
    design = make_design({"gamma": [0.9, 0.99], "policy_lr": [1, 2, 3]})
    assert design.shape == (2, 3)
    assert design.names == ("gamma", "policy_lr")
    found = [(s["gamma"], s["policy_lr"]) for s in design.settings()]
    assert found == [(0.9, 1), (0.9, 2), (0.9, 3), (0.99, 1), (0.99, 2), (0.99, 3)]


def test_no_axes_make_the_one_setting_of_the_base():
    design = make_design()
    assert design == Design(())
    assert design.settings() == [{}]
    (group,) = resolve(design, CONFIG, HP)
    assert group == (CONFIG, (0,), (HP,))


def test_zip_pairs_values_along_one_dimension():
    design = make_design(zip={"num_envs": [2, 4, 4], "num_steps": [16, 8, 8]})
    (axis,) = design.axes
    assert (axis.dim, axis.names) == ("zip", ("num_envs", "num_steps"))
    assert [tuple(s.values()) for s in design.settings()] == [(2, 16), (4, 8), (4, 8)]


def test_grid_zip_and_sample_multiply():
    design = make_design(
        grid={"gamma": [0.9, 0.99]},
        zip={"num_envs": [2, 4], "num_steps": [16, 8]},
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
    found = values("policy_lr", given)
    assert found == expected
    assert all(type(x) in (int, float) for x in found)


@pytest.mark.parametrize(
    "given", [[(8,), (16, 16)], [[8], [16, 16]], [np.array([8]), np.array([16, 16])]]
)
def test_layer_sizes_are_tuples_however_they_are_given(given):
    assert values("hidden_sizes", given) == [(8,), (16, 16)]
    assert [g.config.hidden_sizes for g in resolved(hidden_sizes=given)] == [(8,), (16, 16)]


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


@STEADY
@given(st.floats(1e-300, 1e300), st.floats(1e-300, 1e300), st.floats(0, 1))
def test_ranges_begin_and_end_exactly_and_never_leave(a, b, fraction):
    low, high = sorted((a, b if b != a else a * 2))
    for span in (Uniform(low, high), LogUniform(low, high), Uniform(-high, high)):
        assert (span.at(0.0), span.at(1.0)) == (span.low, span.high)
        assert span.low <= span.at(fraction) <= span.high


def test_whole_ends_of_a_range_give_floats():
    for span in (Uniform(1, 2), LogUniform(1, 2), Uniform(np.float32(1), np.int64(2))):
        assert [type(span.at(f)) for f in (0.0, 0.5, 1.0)] == [float] * 3


def test_a_choice_is_balanced():
    span = Choice(("tanh", "relu", "elu", "gelu"))
    assert [span.at(f) for f in (0.0, 0.24, 0.25, 0.99, 1.0)] == [
        "tanh", "tanh", "relu", "gelu", "gelu",
    ]  # fmt: skip
    design = make_design(sample={"activation": span}, num_samples=32)
    counts = [sum(s["activation"] == o for s in design.settings()) for o in span.options]
    assert counts == [8, 8, 8, 8]


def test_options_are_plain_values_like_those_of_an_axis():
    assert Choice(np.array([1, 2])).options == (1, 2)
    assert Choice([[8], [16, 16]]).options == ((8,), (16, 16))
    assert type(Choice([np.float64(0.5)]).options[0]) is float


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: Uniform(1, 1), ValueError, r"Uniform\(low=1, high=1\) is no range"),
        (lambda: Uniform(0, math.inf), ValueError, "finite numbers, low < high"),
        (lambda: Uniform(math.nan, 1), ValueError, "is no range"),
        (lambda: Uniform("0", 1), ValueError, "is no range"),
        (lambda: Uniform(0, True), ValueError, "is no range"),
        (lambda: Uniform(False, 2), ValueError, "is no range"),
        (lambda: LogUniform(0.0, 1.0), ValueError, "no logarithm at its low end"),
        (lambda: LogUniform(-1.0, 1.0), ValueError, "accepted: low > 0"),
        (lambda: Choice(()), ValueError, "nothing to choose from"),
        (lambda: Choice("tanh"), TypeError, r"Choice\('tanh'\) has no list of options"),
        (lambda: Choice(3), TypeError, "has no list of options"),
    ],
)
def test_ranges_that_are_none_are_refused(make, error, match):
    with pytest.raises(error, match=match):
        make()


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
        ({"grid": {"gamma": [1]}, "zip": {"gamma": [1]}}, ValueError, "gamma varies twice"),
        (
            {"zip": {"gamma": [1]}, "sample": {"gamma": Uniform(0, 1)}, "num_samples": 1},
            ValueError,
            "gamma varies twice",
        ),
        ({"grid": {"seed": [1, 2]}}, ValueError, "seed is no axis: .*num_seeds"),
        ({"grid": {"gamma": []}}, ValueError, "gamma has no values"),
        ({"zip": {"gamma": []}}, ValueError, "gamma has no values"),
        ({"grid": {"gamma": [0.9, 0.5, 0.9]}}, ValueError, "gamma has 0.9 twice"),
        ({"grid": {"num_envs": [8, 8.0]}}, ValueError, "num_envs has 8.0 twice"),
        ({"grid": {"hidden_sizes": [(8,), [8]]}}, ValueError, r"hidden_sizes has \(8,\) twice"),
        (
            {"zip": {"gamma": [0.9, 0.99], "policy_lr": [1, 2, 3]}},
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


@pytest.mark.parametrize(
    ("grid", "error", "match"),
    [
        ({"gamma": [0.9, "0.99"]}, TypeError, "setting gamma='0.99': .*is not a number"),
        ({"gamma": [0.9, True]}, TypeError, "setting gamma=True: gamma=True is not a number"),
        ({"gamma": [[0.9, 0.99]]}, TypeError, r"gamma=\(0.9, 0.99\) is not a number"),
        ({"gamma": [[0.9, [0.99, 1]]]}, TypeError, "is not a number"),
        ({"gamma": [None]}, TypeError, "gamma=None is not a number"),
        ({"gamma": [0.9, math.nan]}, ValueError, "setting gamma=nan: gamma=nan is out of range"),
        ({"gamma": [0.9, 1.5]}, ValueError, "setting gamma=1.5: .*in \\[0, 1\\]"),
        ({"policy_lr": [-1]}, ValueError, "setting policy_lr=-1: policy_lr=-1 is out of range"),
        ({"num_envs": ["4"]}, TypeError, "setting num_envs='4': .*a whole number"),
        ({"num_envs": [4, 4.5]}, TypeError, "setting num_envs=4.5: .*a whole number"),
        ({"num_envs": [0]}, ValueError, "setting num_envs=0: "),
        ({"num_envs": [3]}, ValueError, "setting num_envs=3: .*does not divide"),
        ({"estimator": ["gae", "gea"]}, ValueError, "setting estimator='gea': .*one of"),
        ({"normalize_obs": [0, 2]}, TypeError, "setting normalize_obs=0: .*True or False"),
        ({"hidden_sizes": [8, 16]}, TypeError, "setting hidden_sizes=8: .*a tuple of whole"),
        ({"env": ["CartPol-v1"]}, ValueError, "setting env='CartPol-v1': .*did you mean CartPole"),
        ({"env_params.gravty": [9.8]}, ValueError, "env_params.gravty=9.8: .*did you mean gravity"),
        ({"env_params.": [9.8]}, ValueError, "is not a parameter of CartPole-v1"),
        ({"env_params.gravity": ["9.8"]}, TypeError, "env_params.gravity='9.8' is not a number"),
        ({"env_params.gravity": [math.nan]}, ValueError, "setting env_params.gravity=nan: "),
        ({"env_params.gravity": [(9.8, 1.0)]}, ValueError, r"has shape \(2,\) where one run"),
        (
            {"env_params.max_steps_in_episode": [20, 20.5]},
            ValueError,
            "max_steps_in_episode=20.5 is not whole",
        ),
        ({"env_params.max_steps_in_episode": [math.inf]}, ValueError, "inf is not whole"),
    ],
)
def test_a_value_that_cannot_be_names_its_setting(grid, error, match):
    with pytest.raises(error, match=match) as caught:
        resolve(make_design(grid), CONFIG, HP)
    assert "\n" not in str(caught.value)


def test_the_whole_setting_is_named():
    design = make_design({"gamma": [0.9], "policy_lr": [1e-3, -1.0]})
    with pytest.raises(ValueError, match=r"setting gamma=0.9, policy_lr=-1.0: policy_lr=-1"):
        resolve(design, CONFIG, HP)


# ------------------------------------------------------------------------------------- GROUPS


def test_traced_axes_share_one_program():
    (group,) = resolved(gamma=[0.9, 0.99], policy_lr=[1e-3, 1e-2])
    assert group.config == CONFIG
    assert group.settings == (0, 1, 2, 3)
    found = [(hp.gamma, hp.policy_lr) for hp in group.hyperparams]
    assert found == [(0.9, 1e-3), (0.9, 1e-2), (0.99, 1e-3), (0.99, 1e-2)]
    assert all(hp.value_lr == HP.value_lr for hp in group.hyperparams)


def test_static_axes_make_one_group_a_config_wherever_they_stand():
    groups = resolved(policy_lr=[1, 2], num_envs=[2, 4], gamma=[0.5, 0.6])
    assert [group.config.num_envs for group in groups] == [2, 4]
    assert [group.settings for group in groups] == [(0, 1, 4, 5), (2, 3, 6, 7)]
    assert [hp.policy_lr for hp in groups[1].hyperparams] == [1, 1, 2, 2]
    assert [hp.gamma for hp in groups[1].hyperparams] == [0.5, 0.6, 0.5, 0.6]


GRIDS = st.fixed_dictionaries(
    {},
    optional={
        "policy_lr": st.lists(st.floats(0, 1), min_size=1, max_size=3, unique=True),
        "num_envs": st.lists(st.sampled_from([1, 2, 4]), min_size=1, unique=True),
        "estimator": st.lists(st.sampled_from(["gae", "td"]), min_size=1, unique=True),
        "gamma": st.lists(st.floats(0, 1), min_size=1, max_size=3, unique=True),
        "hidden_sizes": st.lists(st.sampled_from([(8,), (8, 8), ()]), min_size=1, unique=True),
    },
)


@STEADY
@given(GRIDS)
def test_every_setting_is_in_exactly_one_group_with_its_own_values(grid):
    design = make_design(grid)
    groups = resolve(design, CONFIG, HP)
    settings = design.settings()
    places = [place for group in groups for place in group.settings]
    assert sorted(places) == list(range(len(settings)))
    assert len({group.config for group in groups}) == len(groups)
    static = math.prod(len(grid.get(x, [0])) for x in ("num_envs", "estimator", "hidden_sizes"))
    assert len(groups) == static
    for group in groups:
        assert list(group.settings) == sorted(group.settings)
        for place, hp in zip(group.settings, group.hyperparams, strict=True):
            for name, value in settings[place].items():
                assert getattr(group.config if hasattr(CONFIG, name) else hp, name) == value


def test_configs_are_those_of_the_groups_setting_by_setting():
    design = make_design({"gamma": [0.5, 0.6], "num_envs": [2, 4]})
    assert [config.num_envs for config in configs(design, CONFIG)] == [2, 4, 2, 4]
    assert configs(make_design({"gamma": [0.5, 0.6]}), CONFIG) == [CONFIG, CONFIG]
    assert configs(make_design(), CONFIG) == [CONFIG]


def test_the_configs_of_a_study_are_known_where_its_environment_is_not():
    design = make_design({"env": ["NobodyHasThis-v0"], "env_params.gravity": [9.8]})
    assert configs(design, CONFIG)[0].env == "NobodyHasThis-v0"


# --------------------------------------------------------------------------------- ENVIRONMENT


def test_environment_parameters_are_set_one_by_one():
    (group,) = resolved(env_params__gravity=[5, 9.8], env_params__max_steps_in_episode=[20])
    assert [hp.env_params for hp in group.hyperparams] == [
        {"gravity": 5, "max_steps_in_episode": 20},
        {"gravity": 9.8, "max_steps_in_episode": 20},
    ]


def test_a_base_mapping_of_environment_parameters_stays_underneath():
    hp = Hyperparams(env_params={"force_mag": 7.0, "gravity": 1.0})
    (group,) = resolved(hp=hp, env_params__gravity=[2.0])
    assert group.hyperparams[0].env_params == {"force_mag": 7.0, "gravity": 2.0}
    assert hp.env_params == {"force_mag": 7.0, "gravity": 1.0}


def test_a_base_parameter_object_stays_underneath():
    base = envs.make("CartPole-v1").default_params.replace(force_mag=7.0)
    (group,) = resolved(hp=Hyperparams(env_params=base), env_params__gravity=[2.0, 3.0])
    for hp, gravity in zip(group.hyperparams, (2.0, 3.0), strict=True):
        assert hp.env_params == base.replace(gravity=gravity)
    with pytest.raises(ValueError, match="did you mean gravity"):
        resolved(hp=Hyperparams(env_params=base), env_params__gravty=[2.0])


def test_a_parameter_that_is_a_vector_takes_vectors():
    config = VPGConfig(env="Acrobot-v1", total_steps=64, num_envs=4, num_steps=8)
    torques = [(-1.0, 0.0, 1.0), np.array([-2.0, 0.0, 2.0])]
    (group,) = resolved(config, env_params__available_torque=torques)
    found = [hp.env_params["available_torque"] for hp in group.hyperparams]
    np.testing.assert_array_equal(found, [[-1, 0, 1], [-2, 0, 2]])


def test_environments_are_an_axis():
    groups = resolved(env=["CartPole-v1", "Acrobot-v1"], gamma=[0.9, 0.99])
    assert [group.config.env for group in groups] == ["CartPole-v1", "Acrobot-v1"]
    assert [group.settings for group in groups] == [(0, 1), (2, 3)]
    assert all(hp.env_params is None for group in groups for hp in group.hyperparams)


def test_parameters_must_be_those_of_every_environment():
    both = {"env": ["CartPole-v1", "Acrobot-v1"]}
    groups = resolved(**both, env_params__max_steps_in_episode=[20])
    assert len(groups) == 2
    match = "setting env='Acrobot-v1', .*env_params.gravity is not a parameter of Acrobot-v1"
    with pytest.raises(ValueError, match=match):
        resolved(**both, env_params__gravity=[9.8])
    with pytest.raises(ValueError, match="gravity is not a parameter of Acrobot-v1"):
        resolved(hp=Hyperparams(env_params={"gravity": 9.8}), **both)
    base = envs.make("CartPole-v1").default_params
    with pytest.raises(TypeError, match=r"setting env='Acrobot-v1': .*of another environment"):
        resolved(hp=Hyperparams(env_params=base), **both)
