"""Saved policies whose observations and actions are trees, with masks and with memory."""

import collections
import dataclasses
import json
import re
from typing import Any

import gymnasium
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from support.probes import quick_jit
from support.segments import Seen

from purejaxvpg import Hyperparams, VPGConfig, cli
from purejaxvpg.agent import init_stats, make_agent
from purejaxvpg.agent.encoding import Encoder, Part
from purejaxvpg.agent.memory import Sequence
from purejaxvpg.agent.networks import param_shapes
from purejaxvpg.envs.protocol import Masked
from purejaxvpg.experiment import load_policy, load_study, save_policy, train
from purejaxvpg.experiment.accepted import Accepted
from purejaxvpg.experiment.acting import make_act
from purejaxvpg.experiment.cards import FORMATS
from purejaxvpg.experiment.evaluation import policies_of
from purejaxvpg.experiment.files import read_described, write_described
from purejaxvpg.experiment.policy_files import compiled
from purejaxvpg.state import Memory

KEY = jax.random.key(0)
SMALL = {"num_envs": 2, "num_steps": 4, "total_steps": 16, "hidden_sizes": (4,)}
HOUSE = VPGConfig(
    env="support.saved:HOUSE",
    normalize_obs=True,
    policy_obs=("inner", "picture"),
    network="mlp",
    **SMALL,
)
HALLS = VPGConfig(env="support.saved:HALLS", memory="lstm", memory_size=3, **SMALL)
PENDULUM = VPGConfig(env="Pendulum-v1", memory="gru", memory_size=3, **SMALL)


def observed(config, rows=3):
    """Observations of environments just reset, each a little different."""
    env = make_agent(config).env
    reset = quick_jit(jax.vmap(lambda key: env.reset(key, env.default_params)[0]))
    obs = reset(jax.random.split(KEY, rows))

    def differing(x):
        column = jnp.arange(rows).reshape(rows, *[1] * (x.ndim - 1))
        return x if x.dtype == bool else (x + column).astype(x.dtype)

    return jax.tree.map(differing, obs)


def far_apart(config):
    """Parameters whose outputs differ clearly between observations."""
    agent, rng = make_agent(config), np.random.default_rng(1)
    shapes = param_shapes(agent.networks, agent.encoder).policy
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), shapes)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Parameters, statistics and the saved policy of HOUSE."""
    folder, params = tmp_path_factory.mktemp("house"), far_apart(HOUSE)
    stats = init_stats(make_agent(HOUSE).encoder.shapes)
    stats = stats._replace(mean=jax.tree.map(lambda x: x + 0.25, stats.mean), count=jnp.ones(()))
    save_policy(folder, HOUSE, params, stats)
    return params, stats, load_policy(folder)


@pytest.fixture(scope="module")
def halls(tmp_path_factory):
    folder, params = tmp_path_factory.mktemp("halls"), far_apart(HALLS)
    save_policy(folder, HALLS, params)
    return params, folder, load_policy(folder)


def in_training(config, params, stats, obs, memory, key=None):
    """Actions and memory by the functions that training uses."""
    agent = make_agent(config)
    policy = agent.policy(agent.env_params(Hyperparams()))

    def act(params, stats, obs, memory, key):
        memory, outputs = agent.networks.act(params, agent.see(stats, obs), memory)
        noise = None if key is None else policy.noise(key, (len(outputs),))
        raw = policy.mode(outputs) if key is None else policy.sample(outputs, noise)
        return policy.to_env(raw), memory

    return quick_jit(act)(params, stats, obs, memory, key)


def assert_close(given, expected):
    assert jax.tree.structure(given) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(given), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)


# -------------------------------------------------------------------------------------- TREES


@pytest.mark.parametrize("key", [None, KEY], ids=["greedy", "drawn"])
def test_trees_act_as_in_training(house, key):
    """Batched, one, by dotted name, and without the part that the policy does not see."""
    params, stats, saved = house
    obs = observed(HOUSE)
    expected, _ = in_training(HOUSE, params, stats, obs, (), key)
    assert_close(saved.act(obs, key), expected)
    assert len(set(np.round(np.asarray(expected["force"])[:, 0], 4))) > 1
    flat = {"inner.kind": obs["inner"]["kind"], "inner.where": obs["inner"]["where"],
            "picture": obs["picture"]}  # fmt: skip
    assert_close(saved.act(flat, key), expected)
    assert_close(jax.jit(saved.act)(flat, key), expected)
    if key is None:
        one = saved.act(jax.tree.map(lambda x: np.asarray(x)[1], obs))
        assert_close(one, jax.tree.map(lambda x: x[1], expected))


def test_products_are_actions_that_gymnasium_takes(house):
    obs = jax.tree.map(lambda x: np.asarray(x)[0], observed(HOUSE))
    space = gymnasium.spaces.Dict(
        {
            "move": gymnasium.spaces.Discrete(3),
            "pair": gymnasium.spaces.MultiDiscrete([2, 4]),
            "force": gymnasium.spaces.Box(-2, 2, (2,)),
        }
    )
    action = house[2].act(obs, KEY)
    assert space.contains(action), action
    assert action["force"].flags.writeable


def test_no_observations_have_no_actions(house):
    obs = jax.tree.map(lambda x: x[:0], observed(HOUSE))
    shapes = jax.tree.map(np.shape, house[2].act(obs))
    assert shapes == {"force": (0, 2), "move": (0,), "pair": (0, 2)}


PARTS = (
    ("agent.kind", Part((), "int32", 3)),
    ("agent.place", Part((2,), "float32")),
    ("picture", Part((1, 1, 1), "uint8", None, True)),
    ("unseen", Part((), "float32")),
)
GRID = Encoder((("", Part((2,), "int32", 3)),))


def total(obs, mask, memory, key):
    """A number of each: the encoded parts times 1, 10, 100, their elements times 1, 2, 3."""
    leaves = jax.tree.leaves(obs)
    rows = [x.reshape(len(x), -1) @ jnp.arange(1.0, 1 + x[0].size) for x in leaves]
    return sum(10**i * row for i, row in enumerate(rows)), memory


NAMES = tuple(name for name, _ in PARTS)
act = make_act(total, Accepted(Encoder(PARTS[:3]), NAMES))


@dataclasses.dataclass
class Agent:
    kind: int
    place: tuple


Place = collections.namedtuple("Place", ["kind", "place"])


@pytest.mark.parametrize("inner", [Agent, Place, lambda *x: {"place": x[1], "kind": x[0]}])
def test_parts_come_in_any_container(inner):
    """kind 2 is one-hot [0, 0, 1]; place [1, 2]; a byte of 51 is 0.2."""
    obs = {"agent": inner(2, (1.0, 2.0)), "picture": [[[51]]], "unseen": 0.0}
    assert act(obs) == pytest.approx(3 + 10 * (1 + 4) + 100 * 0.2)
    batch = {"agent": inner([2, 0], [[1, 2], [3, 4]]), "picture": np.full((2, 1, 1, 1), 51)}
    np.testing.assert_allclose(act(batch), [73, 1 + 10 * 11 + 20])


def test_floats_of_pictures_are_encoded_already():
    obs = {"agent.kind": np.eye(3)[2], "agent.place": [1, 2], "picture": np.full((1, 1, 1), 0.2)}
    assert act(obs) == pytest.approx(73)


GOOD = {"agent.kind": 2, "agent.place": [1, 2], "picture": [[[51]]]}


@pytest.mark.parametrize(
    ("obs", "kind", "line"),
    [
        (
            GOOD | {"agent.place": [1, 2, 3]},
            ValueError,
            r"^obs\['agent.place'\] has shape \(3,\); accepted: \(2,\), or \[B, ...\] of them$",
        ),
        (
            GOOD | {"agent.kind": 3},
            ValueError,
            r"^obs\['agent.kind'\]=3 is out of range; accepted: an integer in \[0, 3\)",
        ),
        (
            GOOD | {"picture": [[[51.0]]]},
            ValueError,
            r"^obs\['picture'\] has floats up to 51; accepted: bytes from 0 to 255 or floats from",
        ),
        (
            GOOD | {"agent.kind": [1, 2]},
            ValueError,
            r"^obs\['agent.kind'\] is a batch of 2 and obs\['agent.place'\] is one; accepted: one",
        ),
        (
            {k: x for k, x in GOOD.items() if k != "picture"},
            ValueError,
            r"^obs\['picture'\] is missing; accepted: bytes",
        ),
        (GOOD | {"other": 0}, ValueError, r"^obs has a part 'other'; accepted: \['agent.kind', "),
        ({"agent": 3}, TypeError, r"^obs\['agent'\] is a int, which has no parts; accepted: \['ag"),
        (np.zeros(3), TypeError, r"^obs is a ndarray, which has no parts; accepted: \['agent.k"),
        (
            GOOD | {"agent.place": "ab"},
            TypeError,
            r"^obs\['agent.place'\] is a str, not an array of numbers; accepted: \(2,\)",
        ),
        (
            (GOOD, {}),
            ValueError,
            r"^obs has a part '0' \(env.reset\(\) returns obs and info\); accepted",
        ),
    ],
)
def test_a_part_that_does_not_fit_is_one_line(obs, kind, line):
    with pytest.raises(kind, match=line) as error:
        act(obs)
    assert "\n" not in str(error.value)


def test_grids_are_integers_or_one_hot():
    act = make_act(total, Accepted(GRID, ("",)))
    assert act([2, 1]) == 3 + 5
    np.testing.assert_array_equal(act([[2, 1], [0, 0]]), [8, 1 + 4])
    assert act(np.eye(3)[[2, 1]].reshape(6)) == 8
    with pytest.raises(ValueError, match=r"obs=3 is out of range; accepted: integers in \[0, 3\)"):
        act([3, 0])


# -------------------------------------------------------------------------- MASKS AND MEMORY


def test_masks_and_memory_act_as_in_training(halls):
    """Two steps of an LSTM; the mask in the observation, or beside it."""
    params, _, saved = halls
    obs, memory = observed(HALLS), make_agent(HALLS).networks.no_memory(3).policy
    given, remembered = saved.act(obs), None
    for key in (None, KEY):
        expected, memory = in_training(HALLS, params, None, obs, memory, key)
        given, remembered = saved.act(obs, remembered, key)
        assert_close((given, remembered), (expected, memory))
        assert isinstance(remembered[0], np.ndarray)
    beside, _ = saved.act(obs.obs, mask=obs.mask)
    assert_close(beside, saved.act(obs)[0])
    row = jax.tree.map(lambda x: x[1], saved.initial_memory(3))
    assert_close(saved.initial_memory(), row)


@pytest.mark.parametrize("possible", [0, 1])
@pytest.mark.parametrize("key", [None, KEY])
def test_what_is_not_possible_is_not_done(halls, possible, key):
    mask = {"one": np.arange(2) == possible}
    for form in (mask, {"one": mask["one"].astype(np.int8), "free": None}):
        action, _ = halls[2].act(np.ones(1), key=key, mask=form)
        assert action["one"] == possible


RIGHT = {"one": [True, False]}


@pytest.mark.parametrize(
    ("arguments", "kind", "line"),
    [
        ({}, ValueError, r"^mask is missing; accepted: {one: bool\[2\] or .*, free: None}, True"),
        ({"mask": {"one": [1, 0, 1]}}, ValueError, r"^mask\['one'\] is int64\[3\]; accepted: bool"),
        ({"mask": {}}, ValueError, r"^mask\['one'\] is missing; accepted: bool\[2\]"),
        ({"mask": RIGHT | {"free": [1] * 3}}, ValueError, r"^mask\['free'\] is given, and these"),
        ({"mask": RIGHT | {"two": 1}}, TypeError, r"of other parts; accepted: a dict of \['one'"),
        ({"mask": [True, False]}, TypeError, r"^mask is a list of other parts; accepted: a dict"),
        ({"mask": {"one": [[1, 0]] * 2}}, ValueError, r"^obs is one and mask\['one'\] is a batch"),
        ({"mask": RIGHT, "memory": np.zeros(3)}, TypeError, r"^memory is a ndarray; accepted"),
        (
            {"mask": RIGHT, "memory": (np.zeros(3), np.zeros(4))},
            ValueError,
            r"^memory\[1\] has shape \(4,\); accepted: \(3,\), or \[B",
        ),
    ],
)  # fmt: skip
def test_masks_and_memories_that_do_not_fit_are_one_line(halls, arguments, kind, line):
    with pytest.raises(kind, match=line) as error:
        halls[2].act(np.ones(1), **arguments)
    assert "\n" not in str(error.value)


def test_a_mask_that_is_not_needed_is_refused():
    for given in ({"obs": GOOD, "mask": [True]}, {"obs": Masked(GOOD, [True])}):
        with pytest.raises(ValueError, match=r"^mask is given, and this policy takes none"):
            act(**given)
    with pytest.raises(ValueError, match=r"^mask is given twice: obs is a Masked"):
        act(Masked(GOOD, [True]), mask=[True])


def test_step_by_step_is_the_replay(tmp_path):
    """A GRU over seven steps; the first of two episodes ends after the fourth."""
    params, networks = far_apart(PENDULUM), make_agent(PENDULUM).networks
    save_policy(tmp_path, PENDULUM, params)
    saved = load_policy(tmp_path)
    obs = jax.random.normal(KEY, (2, 7, 3))
    starts = jnp.zeros((2, 7), bool).at[0, 4].set(True)
    zero = networks.no_memory(2).policy
    agent = make_agent(PENDULUM)
    policy = agent.policy(agent.env_params(Hyperparams()))
    rows = Sequence(obs, starts, Memory(zero, ()))
    expected = quick_jit(lambda x: policy.to_env(policy.mode(networks.policy(params, x))))(rows)
    memory = saved.initial_memory(2)
    for t in range(7):
        fresh = np.asarray(starts[:, t, None])
        memory = np.where(fresh, 0, memory)
        actions, memory = saved.act(np.asarray(obs[:, t]), memory)
        np.testing.assert_allclose(actions, expected[:, t], rtol=1e-4, atol=1e-5)
    one: Any = None
    for t in range(4):
        action, one = saved.act(np.asarray(obs[0, t]), one)
        np.testing.assert_allclose(action, expected[0, t], rtol=1e-4, atol=1e-5)
    assert (action.shape, one.shape) == ((1,), (3,))
    with pytest.raises(TypeError, match=r"^memory is a key; accepted: act\(obs, memory, key\)"):
        saved.act(np.ones(3), KEY)


# ---------------------------------------------------------------------------- CARDS, PROGRAMS


def test_the_card_says_what_is_called_and_the_program_is_act(halls):
    saved = halls[2]
    card = saved.card
    assert card["mask"] == {"kind": "dict", "parts": [["one", [2]], ["free", None]]}
    assert card["memory"] == {"kind": "lstm", "shapes": [[3], [3]], "dtypes": ["float32"] * 2}
    assert card["call"] == {
        "arguments": [
            ["obs", "float32[B, 1]"],
            ["mask", {"free": None, "one": "bool[B, 2]"}],
            ["memory", ["float32[B, 3]"] * 2],
            ["key_data", "uint32[2], of programs that draw"],
        ],
        "returns": "actions, memory",
    }
    obs, _ = observed(HALLS)
    mask, memory = {"one": np.eye(2, dtype=bool)[[0, 1, 1]], "free": None}, saved.initial_memory(3)
    _, memory = saved.act(obs, memory, mask=mask)
    program = jax.export.deserialize(bytearray(compiled(saved, ("cpu",), sampled=True)))
    drawn = program.call(obs, mask, memory, jax.random.key_data(KEY))
    assert_close(drawn, saved.act(obs, memory, KEY, mask=mask))


def test_a_program_of_trees_takes_bytes_and_one_hot(house):
    saved, obs = house[2], observed(HOUSE)
    assert saved.card["call"]["arguments"][0] == [
        "obs",
        {"inner.kind": "float32[B, 3]", "inner.where": "float32[B, 2]",
         "picture": "uint8[B, 4, 4, 1]"},
    ]  # fmt: skip
    assert (saved.card["obs_shape"], saved.card["observations"]) == (None, {"kind": "several"})
    program = jax.export.deserialize(bytearray(compiled(saved, ("cpu",))))
    given = {
        "inner.kind": jax.nn.one_hot(obs["inner"]["kind"], 3),
        "inner.where": obs["inner"]["where"].astype(jnp.float32),
        "picture": obs["picture"],
    }
    assert_close(program.call(given), saved.act(obs))


@pytest.mark.parametrize("name", ["FrozenLake-misc", "Pendulum-v1"])
def test_cards_of_format_1_are_read(tmp_path, name):
    """Earlier versions wrote no encoder, mask, memory or call; the first no observations either."""
    config = VPGConfig(env=name, **SMALL)
    params = far_apart(config)
    save_policy(tmp_path, config, params)
    obs, now = observed(config), load_policy(tmp_path)
    card = read_described(tmp_path / "card.json", FORMATS)
    added = {"use", "encoder", "mask", "memory", "call"}
    added |= set() if "Lake" in name else {"observations"}
    write_described(
        tmp_path / "card.json", {k: x for k, x in card.items() if k not in added} | {"format": 1}
    )
    before = load_policy(tmp_path)
    np.testing.assert_array_equal(before.act(obs), now.act(obs))
    for field in added - {"encoder", "use"}:
        assert before.card[field] == now.card[field]
    save_policy(tmp_path, config, params)  # and is written over
    assert json.loads((tmp_path / "card.json").read_text())["format"] == 3


def test_a_card_of_format_2_is_read(tmp_path):
    """It said nothing of how to use the policy elsewhere."""
    config = VPGConfig(env="Pendulum-v1", **SMALL)
    save_policy(tmp_path, config, far_apart(config))
    obs, now = observed(config), load_policy(tmp_path)
    card = read_described(tmp_path / "card.json", FORMATS)
    assert list(card)[:2] == ["format", "use"]
    del card["use"]
    write_described(tmp_path / "card.json", card | {"format": 2})
    before = load_policy(tmp_path)
    np.testing.assert_array_equal(before.act(obs), now.act(obs))
    assert before.card["call"] == now.card["call"]


@pytest.mark.slow
def test_studies_keep_evaluate_and_export_them(tmp_path, capsys):
    """Trees, a mask and a GRU: each of four steps pays 1, for only action 1 is possible."""
    run = tmp_path / "run"
    config = VPGConfig(
        env="support.saved:CELLAR", memory="gru", memory_size=3, network="mlp", normalize_obs=True,
        **SMALL,
    )  # fmt: skip
    segments = Seen()
    train(config, num_seeds=2, folder=run, on_segment=segments)
    study, state = load_study(run), segments[-1].state
    params, stats = policies_of(study, 0, study.seeds)
    for x, y in ((params, state.params.policy), (stats, state.obs_stats)):
        jax.tree.map(np.testing.assert_array_equal, x, y)
    assert set(stats.mean) == {"inner.kind", "inner.where", "late.0", "picture"}
    arguments = [str(run), "--num-episodes", "2"]
    assert cli.main(["eval", *arguments, "--greedy"]) == 0, capsys.readouterr().err
    assert re.search(r"greedy return.* 4\.0 ", capsys.readouterr().out)
    assert cli.main(["export", *arguments]) == 0, capsys.readouterr().err
    assert (run / "policy" / "policy.jax").stat().st_size > 0
    action, memory = load_policy(run / "policy").act(observed(config))
    np.testing.assert_array_equal(action["move"], [1, 1, 1])
    assert memory.shape == (3, 3)
