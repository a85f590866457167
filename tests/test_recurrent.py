"""Memory: the cells, and that what is learned from is what was done."""

import dataclasses
import itertools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import probes
from support.probes import quick_jit
from support.slow import slow_but

from purejaxvpg import VPGConfig, make_evaluate, make_learner
from purejaxvpg.agent import make_agent, make_setup
from purejaxvpg.agent.cells import GRU, LSTM
from purejaxvpg.agent.memory import Sequence, make_cell, steps_first
from purejaxvpg.cli import parsing
from purejaxvpg.config import Hyperparams, as_float32
from purejaxvpg.serialize import config_from_json, config_to_json
from purejaxvpg.vpg import collect

KEY = jax.random.key(0)
SIZE, FEATURES, ROWS, STEPS = 5, 3, 4, 7
CELLS = {"gru": "gru", "lstm": "lstm", "flax": nn.SimpleCell(features=SIZE)}
SMALL = {"num_envs": 4, "num_steps": 8, "hidden_sizes": (6,), "value_iterations": 1,
         "memory_size": SIZE}  # fmt: skip


def config_of(**fields):
    steps = {"total_steps": 64} if "num_envs" not in fields else {}
    return VPGConfig(**SMALL | steps | fields)


def some(*shape, seed=1):
    return jax.random.normal(jax.random.key(seed), shape)


# -------------------------------------------------------------------------------------- CELLS


def test_the_gru_is_flaxs():
    """The same numbers, its three products with x and with h taken apart."""
    ours, theirs = GRU(SIZE), nn.GRUCell(SIZE)
    h, x = some(ROWS, SIZE), some(ROWS, FEATURES, seed=2)
    params = ours.init(KEY, h, x)["params"]
    params["bias"], params["inputs"]["bias"] = some(SIZE, seed=3), some(3 * SIZE, seed=4)
    kernels, biases = (jnp.split(params["inputs"][k], 3, -1) for k in ("kernel", "bias"))
    recurrent = jnp.split(params["recurrent"], 3, -1)
    flax = {}
    for gate, kernel, bias, hidden in zip("rzn", kernels, biases, recurrent, strict=True):
        flax |= {f"i{gate}": {"kernel": kernel, "bias": bias}, f"h{gate}": {"kernel": hidden}}
        np.testing.assert_allclose(hidden @ hidden.T, np.eye(SIZE), atol=1e-5)
    flax["hn"]["bias"] = params["bias"]
    expected, _ = theirs.apply({"params": flax}, h, x)
    h, same = ours.apply({"params": params}, h, x)
    np.testing.assert_allclose(h, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(h, same)


def test_the_lstm_is_flaxs():
    ours, theirs = LSTM(SIZE), nn.OptimizedLSTMCell(SIZE)
    memory, x = (some(ROWS, SIZE), some(ROWS, SIZE, seed=5)), some(ROWS, FEATURES, seed=2)
    params = ours.init(KEY, memory, x)["params"]
    params["inputs"]["bias"] = some(4 * SIZE, seed=4)
    kernels, recurrent = (
        jnp.split(k, 4, -1) for k in (params["inputs"]["kernel"], params["recurrent"])
    )
    flax = {}
    biases = jnp.split(params["inputs"]["bias"], 4)
    for gate, kernel, bias, hidden in zip("ifgo", kernels, biases, recurrent, strict=True):
        flax |= {f"i{gate}": {"kernel": kernel}, f"h{gate}": {"kernel": hidden, "bias": bias}}
    expected, out = theirs.apply({"params": flax}, memory, x)
    after, same = ours.apply({"params": params}, memory, x)
    for a, b in zip((*after, same), (*expected, out), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", CELLS)
def test_a_replay_is_its_steps(name):
    """Memories and outputs of each step; memory is zero where an episode starts."""
    cell = make_cell(config_of(memory=CELLS[name]), FEATURES)
    x = some(ROWS, STEPS, FEATURES)
    starts = jnp.zeros((ROWS, STEPS), bool).at[1, 3].set(True).at[2, 0].set(True)
    variables = cell.init(KEY, x[:, 0])
    memory = jax.tree.map(lambda h: h + 0.5, cell.zero(ROWS))
    after, out = cell.replay(variables, memory, x, starts)
    for t in range(STEPS):
        fresh = cell.zero(ROWS)
        memory = jax.tree.map(
            lambda h, zero: jnp.where(starts[:, t, None], zero, h),  # noqa: B023
            memory,
            fresh,
        )
        memory, expected = cell.step(variables, memory, x[:, t])
        np.testing.assert_allclose(out[:, t], expected, rtol=1e-5, atol=1e-6)
        for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(memory), strict=True):
            np.testing.assert_allclose(a[:, t], b, rtol=1e-5, atol=1e-6)


# ------------------------------------------------------------------------------------ ROLLOUTS


@pytest.fixture(scope="module", params=slow_but(["gru", "flax"], ["gru", "lstm", "flax"]))
def rolled(request):
    """A setup, its state after one update, and the rollout that follows."""
    # CartPole, with episodes of five steps in rollouts of eight.
    config = config_of(max_episode_steps=5, memory=CELLS[request.param])
    setup, hp = make_setup(config), as_float32(Hyperparams())
    learner = make_learner(config)
    state, _ = quick_jit(learner.update)(quick_jit(learner.init)(KEY))
    after, batch, _ = quick_jit(lambda state: collect(setup, state, hp))(state)
    return setup, state, after, batch


def test_the_replayed_outputs_are_those_of_the_rollout(rolled):
    setup, state, _, batch = rolled
    assert 0 < (batch.terminated | batch.truncated).sum() < batch.reward.size
    rows = setup.sequences(setup.rows(batch.obs), batch)
    outputs = setup.agent.networks.policy(state.params.policy, rows)
    np.testing.assert_allclose(steps_first(outputs), batch.outputs, rtol=1e-4, atol=1e-6)
    # Not so if memory went on over an end, or began at zero.
    for wrong in (
        rows._replace(starts=jnp.zeros_like(rows.starts)),
        rows._replace(memory=jax.tree.map(jnp.zeros_like, rows.memory)),
    ):
        outputs = setup.agent.networks.policy(state.params.policy, wrong)
        assert np.abs(steps_first(outputs) - batch.outputs).max() > 1e-5


def test_memory_goes_on_between_rollouts_and_stops_at_ends(rolled):
    setup, state, after, batch = rolled
    done = batch.terminated[-1] | batch.truncated[-1]
    zero = setup.agent.networks.no_memory(1)
    for h, none in zip(jax.tree.leaves(after.memory.policy), jax.tree.leaves(zero), strict=False):
        at_zero = (h == none).reshape(len(h), -1).all(-1)
        np.testing.assert_array_equal(at_zero, done)
    assert jax.tree.structure(state.memory) == jax.tree.structure(after.memory)


def test_v_remembers_what_it_saw(rolled):
    """V after the whole rollout, replayed from its start, is V one step at a time."""
    setup, state, _, batch = rolled
    networks, params = setup.agent.networks, state.params
    rows = setup.sequences(setup.rows(batch.obs), batch)
    values, memory = networks.values(params, rows)
    h, done = state.memory.value, batch.terminated | batch.truncated
    for t in range(len(batch.reward)):
        obs = jax.tree.map(lambda x: x[t], batch.obs)  # noqa: B023
        np.testing.assert_allclose(
            networks.value_after(params, obs, h), values[:, t], rtol=1e-4, atol=1e-5
        )
        h = jax.tree.map(
            lambda m, zero: jnp.where(done[t][:, None], zero, m[:, t]),  # noqa: B023
            memory,
            networks.no_memory(len(values)).value,
        )


@pytest.mark.parametrize(
    ("rollout", "shared"),
    slow_but([("segments", False)], itertools.product(["segments", "episodes"], [False, True])),
)
def test_chunks_are_taken_over_environments(rollout, shared):
    """gradient_rows of two sequences of eight steps: the update of one chunk, up to rounding."""
    env = probes.Endless(5)
    outcomes = []
    for rows in (None, 16):
        config = config_of(env=env, memory="gru", gradient_rows=rows, shared_torso=shared,
                           rollout=rollout)  # fmt: skip
        learner = make_learner(config)
        outcomes.append(quick_jit(lambda key, x=learner: x.update(x.init(key)))(KEY))
    (whole, metrics), (chunked, same) = outcomes
    assert metrics.finite
    pair = map(jax.tree.leaves, ((whole.params, metrics), (chunked.params, same)))
    for a, b in zip(*pair, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_without_memory_nothing_is_carried():
    state = jax.eval_shape(make_learner(config_of()).init, KEY)
    assert jax.tree.leaves(state.memory) == []
    assert "cell" not in state.params.policy


@pytest.mark.parametrize("memory", ["rnn", nn.Dense(3), 3])
def test_other_memories_are_refused(memory):
    with pytest.raises(ValueError, match=r"(?s)memory=.* is unknown; choose None, gru, lstm"):
        make_agent(config_of(memory=memory))


# ------------------------------------------------------------------------------------ LEARNING


class Recall(probes.Probe):
    """Shows +1 or -1 at first and nothing after; at the third step the same sign is to be named."""

    def draw(self, key):
        return jax.random.rademacher(key, (), jnp.float32)

    def observation(self, state):
        return jnp.where(state.time == 0, state.x, 0)[None]

    def outcome(self, state, action, params):
        last = state.time == 2
        right = (action == 1) == (state.x > 0)
        return jnp.where(last, jnp.where(right, 1.0, -1.0), 0.0), last


RECALL = {
    "env": Recall(), "num_envs": 32, "num_steps": 12, "total_steps": 32 * 12 * 60,
    "hidden_sizes": (8,), "memory_size": 8, "value_iterations": 2, "gradient_rows": None,
}  # fmt: skip


@pytest.mark.parametrize(("memory", "low", "high"), [("gru", 0.9, 1), (None, -0.3, 0.3)])
def test_it_learns_what_only_memory_can(memory, low, high):
    config = VPGConfig(**RECALL, memory=memory)
    learner = make_learner(config)

    def run(key):
        hp = Hyperparams(policy_lr=2e-2, value_lr=2e-2)
        state, _ = jax.lax.scan(
            lambda s, _: learner.update(s, hp), learner.init(key), length=config.num_updates
        )
        return make_evaluate(config, 64)(key, state.params.policy, state.obs_stats)

    returns = quick_jit(run)(KEY).returns
    assert low <= returns.mean() <= high


def test_evaluation_remembers_too():
    """An untrained policy whose outputs depend on memory acts as its replay says."""
    config = dataclasses.replace(config_of(env=Recall(), memory="gru"), eval_steps=3)
    agent = make_agent(config)
    state = quick_jit(make_learner(config).init)(KEY)
    policy = state.params.policy
    policy["head"]["params"]["Dense_0"]["kernel"] = some(SIZE, 2) * 10
    outcome = quick_jit(make_evaluate(config, 64))(KEY, policy, state.obs_stats)
    x = jnp.array([1.0, -1.0])
    obs = jnp.stack([x, 0 * x, 0 * x], axis=1)[..., None]  # [2, 3, 1]
    starts = jnp.zeros((2, 3), bool)
    rows = Sequence(obs, starts, agent.networks.no_memory(2))
    last = agent.networks.policy(policy, rows)[:, -1].argmax(-1)
    expected = {True: 1.0, False: -1.0}
    returns = {expected[bool(a == (s > 0))] for a, s in zip(last, x, strict=True)}
    assert set(np.unique(outcome.returns)) == returns


# -------------------------------------------------------------------------------- COMMAND LINE


@pytest.mark.parametrize(
    ("words", "memory"),
    [
        ("", None),
        ("--memory gru", "gru"),
        ("--memory flax.linen:SimpleCell", "flax.linen:SimpleCell"),
    ],
)
def test_it_is_a_flag_and_written_as_json(words, memory):
    config, _ = parsing.config_of(parsing.parse(f"train CartPole-v1 {words}".split()))
    assert config.memory == memory
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config


def test_a_cell_by_name_has_memory_size_features():
    config = config_of(memory="flax.linen:SimpleCell")
    memory = make_agent(config).networks.no_memory(3)
    assert memory.policy.shape == memory.value.shape == (3, SIZE)
