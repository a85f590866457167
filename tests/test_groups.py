"""Settings by compiled program, the environment's parameters, and values that cannot be."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from purejaxvpg import Hyperparams, VPGConfig, envs
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.groups import Group, configs, resolve

STEADY = settings(deadline=None, derandomize=True, database=None)

CONFIG = VPGConfig(total_steps=64, num_envs=4, num_steps=8, hidden_sizes=(8,))
HP = Hyperparams()


def resolved(config=CONFIG, hp=HP, **grid):
    """Groups of a grid; `__` stands for the dot of `env_params.`."""
    return resolve(make_design({k.replace("__", "."): v for k, v in grid.items()}), config, hp)


# ------------------------------------------------------------------------------------- VALUES


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
    rates = [(hp.gamma, hp.policy_lr) for hp in group.hyperparams]
    assert rates == [(0.9, 1e-3), (0.9, 1e-2), (0.99, 1e-3), (0.99, 1e-2)]
    assert all(hp.value_lr == HP.value_lr for hp in group.hyperparams)


def test_no_axes_make_the_one_group_of_the_base():
    assert resolve(make_design(), CONFIG, HP) == [Group(CONFIG, (0,), (HP,))]


def test_layer_sizes_given_as_lists_are_those_of_the_config():
    for sizes in ([(8,), (16, 16)], [[8], [16, 16]], [np.array([8]), np.array([16, 16])]):
        assert [g.config.hidden_sizes for g in resolved(hidden_sizes=sizes)] == [(8,), (16, 16)]


def test_static_axes_make_one_group_a_config_wherever_they_stand():
    groups = resolved(policy_lr=[1, 2], num_envs=[2, 4], gamma=[0.5, 0.6])
    assert [group.config.num_envs for group in groups] == [2, 4]
    assert [group.settings for group in groups] == [(0, 1, 4, 5), (2, 3, 6, 7)]
    assert [hp.policy_lr for hp in groups[1].hyperparams] == [1, 1, 2, 2]
    assert [hp.gamma for hp in groups[1].hyperparams] == [0.5, 0.6, 0.5, 0.6]


GRIDS = st.fixed_dictionaries(
    {},
    optional={
        "policy_lr": st.lists(st.floats(0, 1, width=32), min_size=1, max_size=3, unique=True),
        "num_envs": st.lists(st.sampled_from([1, 2, 4]), min_size=1, unique=True),
        "estimator": st.lists(st.sampled_from(["gae", "td"]), min_size=1, unique=True),
        "gamma": st.lists(st.floats(0, 1, width=32), min_size=1, max_size=3, unique=True),
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
    torques_of_settings = [hp.env_params["available_torque"] for hp in group.hyperparams]
    np.testing.assert_array_equal(torques_of_settings, [[-1, 0, 1], [-2, 0, 2]])


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
