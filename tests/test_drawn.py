"""Environment parameters that each episode draws for itself."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import probes
from support.assertions import assert_same_bits
from support.probes import quick_jit
from support.refusals import assert_refused
from support.runs import change, collect
from support.shown import Bounded, Branching, Shown
from support.studies import make_spec, make_study

from purejaxvpg import Hyperparams, VPGConfig, cli, envs, make_evaluate, make_learner
from purejaxvpg.agent import make_agent, make_setup
from purejaxvpg.agent.limits import check_episodes_fit
from purejaxvpg.cli import arguments, parsing, repro, typed
from purejaxvpg.envs.drawn import Drawn, draw, drawn
from purejaxvpg.experiment import load_study, train
from purejaxvpg.experiment.groups import apply, resolve
from purejaxvpg.experiment.spec import Spec
from purejaxvpg.experiment.stacking import stack_hyperparams
from purejaxvpg.experiment.well_made import check_well_made
from purejaxvpg.ranges import Choice, LogUniform, Uniform
from purejaxvpg.report.labels import setting_labels
from purejaxvpg.report.reproduce import python_call
from purejaxvpg.serialize import hyperparams_from_json, plain

KEY = jax.random.key(0)
SHOWN = envs.make(Shown())
BOTH = {"level": Uniform(8, 12), "count": Uniform(2, 5)}
CONFIG = VPGConfig(
    env="support.shown:Shown", num_envs=2, num_steps=8, total_steps=64, hidden_sizes=(8,),
    value_iterations=1, eval_every=2, eval_episodes=2,
)  # fmt: skip


def ranged(ranges, env=SHOWN):
    return envs.resolve_params(env, Hyperparams(env_params=ranges).env_params)


def draws(span, number, name="level"):
    """`number` draws of a parameter."""
    keys = jax.random.split(KEY, number)
    return np.asarray(jax.vmap(lambda key: draw(key, ranged({name: span}))[name])(keys))


def steps_of(env, params, num_envs=3, num_steps=40, max_episode_steps=None):
    """(first observations, `VectorStep` `[T, N, ...]`) of action 0."""
    many = envs.vectorize(env, num_envs, max_episode_steps)

    @quick_jit
    def play(key):
        state, obs = many.reset(key, params)

        def one(state, t):
            keys = many.keys(jax.random.fold_in(key, t), t)
            return many.step(keys, state, jnp.zeros(num_envs, jnp.int32), params)

        return obs, jax.lax.scan(one, state, jnp.arange(num_steps))[1]

    return jax.tree.map(np.asarray, play(KEY))


# ----------------------------------------------------------------------------------- EPISODES


def test_an_episode_keeps_its_draw_and_the_next_has_another():
    first, out = steps_of(SHOWN, ranged(BOTH))
    before = np.concatenate([first[None], out.obs[:-1]])  # [T, N, 3]
    np.testing.assert_array_equal(out.final_obs[..., :2], before[..., :2])
    np.testing.assert_array_equal(out.reward, before[..., 0])
    level, count = before[..., 0], before[..., 1]
    done = out.terminated
    assert done.sum() > 20
    assert not out.truncated.any()
    np.testing.assert_array_equal(out.episode.lengths[done], count[done])  # ends by its own count
    assert (out.obs[..., 0] != level)[done].all()
    assert not (out.obs[..., 0] != level)[~done].any()
    episodes = np.concatenate([first[:, 0], out.obs[..., 0][done]])
    assert len(set(episodes.tolist())) == len(episodes)  # of all environments
    assert (episodes.min() >= 8, episodes.max() <= 12, np.ptp(episodes) > 2) == (True,) * 3
    assert set(count.ravel().tolist()) == {2, 3, 4, 5}


def test_an_environment_that_resets_itself_draws_as_well():
    """Its own reset would go on with the parameters of the episode before."""
    env = envs.make(probes.PlainEnv(3))
    params = ranged({"reward": Uniform(1, 2)}, env)
    _, out = steps_of(env, params, num_steps=9)
    reward = out.reward.reshape(3, 3, 3)  # [episode, step, N]
    assert (np.ptp(reward, axis=1) == 0).all()
    assert len(set(reward[:, 0].ravel().tolist())) == 9
    np.testing.assert_array_equal(out.obs[2::3, :, 0], 0)
    np.testing.assert_array_equal(out.final_obs[2::3, :, 0], 3)
    np.testing.assert_array_equal(out.terminated.sum(0), 3)


def test_a_limit_of_the_config_ends_episodes_with_draws():
    _, out = steps_of(SHOWN, ranged({"level": Uniform(8, 12)}), 2, 8, max_episode_steps=2)
    np.testing.assert_array_equal(out.truncated[1::2], True)
    assert (out.obs[1::2, :, 0] != out.final_obs[1::2, :, 0]).all()


# -------------------------------------------------------------------------------------- DRAWS


def test_draws_have_the_distribution_of_their_range():
    n, quantiles = 4000, np.array([0.1, 0.25, 0.5, 0.75, 0.9])
    for span in (Uniform(-3, 5), LogUniform(0.1, 10)):
        values = draws(span, n)
        expected = [span.at(q) for q in quantiles]
        below = (values[:, None] <= expected).mean(0)
        np.testing.assert_allclose(below, quantiles, atol=4 * 0.5 / np.sqrt(n))
        assert (span.low <= values.min(), values.max() <= span.high) == (True, True)
        assert values.dtype == np.float32


def test_whole_numbers_are_drawn_for_whole_parameters_ends_included():
    values, counts = np.unique(draws(Uniform(2, 5), 4000, "count"), return_counts=True)
    np.testing.assert_array_equal(values, [2, 3, 4, 5])
    assert values.dtype == np.int32
    np.testing.assert_allclose(counts / 4000, 0.25, atol=0.03)
    values, counts = np.unique(draws(LogUniform(1, 4), 4000, "count"), return_counts=True)
    np.testing.assert_array_equal(values, [1, 2, 3, 4])
    shares = np.log(np.array([2, 3 / 2, 4 / 3, 5 / 4])) / np.log(5)
    np.testing.assert_allclose(counts / 4000, shares, atol=0.03)
    values = np.unique(draws(Choice((7, 2, 4)), 100, "count"))
    np.testing.assert_array_equal(values, [2, 4, 7])


def test_draws_have_the_type_of_the_default_with_64_bits():
    with jax.enable_x64(True):
        spans = {"level": LogUniform(1e-30, 1e30), "count": Uniform(2, 5)}
        values = draw(KEY, ranged(spans, envs.make(Shown())))
    types = {name: str(x.dtype) for name, x in values.items()}
    assert types == {"level": "float64", "count": "int64"}
    assert 1e-30 <= float(values["level"]) <= 1e30


def test_bounds_beyond_half_of_float32_do_not_overflow():
    values = draws(Uniform(-3e38, 3e38), 100).astype(np.float64)
    assert np.isfinite(values).all()
    assert np.ptp(values) > 3e38


def test_a_reset_splits_its_key_once_and_names_have_keys_of_their_own():
    both, level = ranged(BOTH), ranged({"level": BOTH["level"]})
    obs, state = drawn(SHOWN).reset(KEY, both)
    draw_key, own_key = jax.random.split(KEY)
    assert_same_bits(draw(draw_key, both), state.values)
    assert_same_bits(draw(draw_key, level)["level"], state.values["level"])
    params = Shown().default_params.replace(**state.values)
    assert_same_bits(SHOWN.reset(own_key, params), (obs, state.inner))


def test_without_ranges_the_program_is_that_of_the_environment():
    params = SHOWN.default_params
    state = SHOWN.reset(KEY, params)[1]
    for name, given in (("reset", (KEY, params)), ("step", (KEY, state, 0, params))):
        one, other = (jax.make_jaxpr(getattr(env, name))(*given) for env in (SHOWN, drawn(SHOWN)))
        assert str(one) == str(other)
    assert envs.resolve_params(SHOWN, {"level": 2.0}) == params.replace(level=2.0)


def test_bounds_are_swept_with_vmap():
    def first(low, options):
        params = envs.resolve_params(
            SHOWN, {"level": Uniform(low, 12.0), "count": Choice((2, options))}
        )
        return drawn(SHOWN).reset(KEY, params)[0]

    lows, options = jnp.array([8.0, 9.0, 11.0]), jnp.array([2, 3, 4])
    many = jax.vmap(first)(lows, options)
    np.testing.assert_allclose(many, [first(*x) for x in zip(lows, options, strict=True)], 1e-6)
    fraction = (12 - np.asarray(many[:, 0])) / (12 - np.asarray(lows))
    np.testing.assert_allclose(fraction, fraction[0], 1e-4)  # one draw, on three ranges
    assert np.ptp(many[:, 0]) > 0.1


def test_bounds_are_arrays_outside_of_vmap():
    setup = make_setup(CONFIG)
    hp = Hyperparams(env_params={"level": Uniform(np.array([8.0, 9.0]), np.array([9.0, 10.0]))})
    axes = Hyperparams(*[None] * 10, env_params={"level": 0})
    reset = jax.vmap(lambda hp: setup.env.reset(KEY, setup.agent.env_params(hp))[1], (axes,))
    level = np.asarray(reset(hp)[..., 0])  # [H, N]
    np.testing.assert_allclose(level[1], level[0] + 1, 1e-6)
    assert (level[0, 0] != level[0, 1], level.min() >= 8) == (True, True)


# ----------------------------------------------------------------------------------- TRAINING


def test_a_rollout_sees_draws_and_an_evaluation_the_defaults():
    hp = Hyperparams(env_params=BOTH)
    learner = make_learner(CONFIG)
    state = quick_jit(learner.init)(KEY, hp)
    assert isinstance(state.env_state.inner, Drawn)
    batch, _ = quick_jit(lambda state: collect(CONFIG, state, hp))(state)
    np.testing.assert_array_equal(batch.reward, batch.obs[..., 0])
    assert batch.reward.min() >= 8
    evaluate = quick_jit(make_evaluate(CONFIG))
    outcome = evaluate(KEY, state.params.policy, state.obs_stats, hp)
    np.testing.assert_array_equal(outcome.returns, 3.0)  # of level 1 and count 3
    with pytest.raises(ValueError, match="draws of count, level, and env_params ranges of nothing"):
        jax.eval_shape(learner.update, state, Hyperparams())


def test_a_limit_that_is_drawn_counts_with_its_largest():
    limits = [Uniform(5, 9), LogUniform(2, 9), Choice((9, 3))]
    params = [ranged({"max_steps_in_episode": span}) for span in limits]
    assert [envs.time_limit(SHOWN, p) for p in params] == [9, 9, 9]
    whole = change(CONFIG, rollout="episodes")
    with pytest.raises(ValueError, match="which last up to 9 steps"):
        check_episodes_fit(whole, SHOWN, params[0])
    check_episodes_fit(whole, SHOWN, ranged({"max_steps_in_episode": Uniform(5, 8)}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A whole run with two ranges, in a folder."""
    place = tmp_path_factory.mktemp("drawn") / "run"
    train(CONFIG, num_seeds=1, hp=Hyperparams(env_params=BOTH), folder=place, progress=False)
    return place


def test_a_run_that_was_stopped_goes_on_to_the_same_bits(folder, tmp_path):
    hp = Hyperparams(env_params=BOTH)
    partial = train(
        CONFIG, num_seeds=1, hp=hp, folder=tmp_path / "run", progress=False,
        on_segment=lambda segment: segment.updates >= 2,
    )  # fmt: skip
    assert partial.updates.max() == 2
    train(CONFIG, num_seeds=1, hp=hp, folder=tmp_path / "run", progress=False, resume=True)
    whole, resumed = load_study(folder), load_study(tmp_path / "run")
    assert resumed.complete
    assert_same_bits(whole.metrics, resumed.metrics)
    assert_same_bits(whole.policies.arrays([0]), resumed.policies.arrays([0]))
    np.testing.assert_array_equal(whole.evaluations["returns"], 3.0)
    assert (whole.metrics["episode_return_sum"][0, 0] > 3.0 * 5).any()


def test_a_run_is_evaluated_at_the_default_or_at_a_grid(folder, capsys):
    assert load_study(folder).hyperparams == Hyperparams(env_params=BOTH)
    words = ["eval", str(folder), "--greedy", "--num-episodes", "2"]
    assert cli.main(words) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert (
        "evaluated at the environment's default of level=1.0, count=3; training drew "
        "level ~ uniform(8, 12), count ~ uniform(2, 5) for each episode"
    ) in printed
    assert "greedy return │ 3.0" in printed
    assert cli.main([*words, "--env-params", "level=8,10", "count=2"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "level=8, count=2 │ greedy │ 16.0" in printed
    assert "level=10, count=2 │ greedy │ 20.0" in printed
    assert "default" not in printed
    assert_refused([*words, "--env-params", "levels=8"], "did you mean level?", capsys)
    ranged_words = [*words, "--env-params", "level=uniform:8:9"]
    assert_refused(ranged_words, "level ~ uniform(8, 9) is drawn in training alone", capsys)


def test_an_exported_card_says_the_range(folder, tmp_path):
    words = ["export", str(folder), "--out", str(tmp_path / "p"), "--no-compiled"]
    assert cli.main([*words, "--num-episodes", "1"]) == 0
    card = json.loads((tmp_path / "p" / "card.json").read_text())
    assert card["env_params"]["level"] == {"kind": "uniform", "numbers": [8, 12]}


# ---------------------------------------------------------------------------- FILES AND WORDS

EVERY_KIND = {"level": LogUniform(1e-3, 2.5), "count": Choice((2, 7)), "bound": 2.0}


def test_ranges_are_kept_and_typed_as_they_are():
    hp = Hyperparams(env_params={**EVERY_KIND, "max_steps_in_episode": Uniform(2, 5)})
    assert hyperparams_from_json(json.loads(json.dumps(plain(hp)))) == hp
    words = typed.flag_words("env_params", hp.env_params)
    assert words == [
        "--env-params", "level=log:0.001:2.5", "count=choice:2:7", "bound=2.0",
        "max_steps_in_episode=uniform:2:5",
    ]  # fmt: skip
    args = parsing.parse(["train", "support.shown:Shown", *words])
    assert parsing.config_of(args)[1] == hp
    spec = make_spec({"gamma": [0.9]}, config=CONFIG, hp=hp)
    assert Spec.from_json(json.loads(json.dumps(spec.to_json())))[:3] == spec[:3]
    study = make_study(make_spec({}, hp=hp), [])
    assert " ".join(words) in repro.command(study, "out")
    namespace = {}
    code = python_call(study).replace("study = sweep(", "study = dict(c=", 1)
    exec(code.replace("study = dict(c=", "study = (lambda *a, **k: k)("), namespace)
    assert namespace["study"]["hp"] == hp


def test_a_parameter_object_may_hold_ranges():
    params = Shown().default_params.replace(level=Uniform(8, 12), bound=3.0)
    resolved = envs.resolve_params(SHOWN, params)
    assert resolved.ranges == {"level": Uniform(8, 12)}
    assert_same_bits(resolved.default, Shown().default_params.replace(bound=3.0))


def test_an_axis_may_hold_ranges_beside_values():
    """Each kind is a program of its own; bounds of one kind are not."""
    words = ["sweep", "support.shown:Shown", "--grid"]
    args = parsing.parse([*words, "env_params.level=uniform:8:12,uniform:1:2,9.5"])
    spec = arguments.spec_of(args)
    assert Spec.from_json(json.loads(json.dumps(spec.to_json())))[2] == spec.design
    groups = resolve(spec.design, CONFIG, Hyperparams())
    assert [group.settings for group in groups] == [(0, 1), (2,)]
    for config in (CONFIG, change(CONFIG, env=Branching())):  # some cannot have all traced
        params = stack_hyperparams(config, groups[0].hyperparams).env_params
        level = envs.ranges_of(params)["level"]
        np.testing.assert_array_equal([level.low, level.high], [[8, 1], [12, 2]])
        assert level.low.dtype == np.float32
    assert isinstance(params, dict)
    assert isinstance(stack_hyperparams(CONFIG, groups[0].hyperparams).env_params, envs.Ranged)
    labels = setting_labels(spec.design.settings())
    assert labels[0] == "env_params.level ~ uniform(8, 12)"
    assert labels[2] == "env_params.level=9.5"


def test_axes_go_over_a_parameter_object_with_ranges():
    params = Shown().default_params.replace(level=Uniform(8, 12), pair=np.ones(2))
    values = {"env_params.bound": 2.0, "env_params.count": Uniform(2, 5)}
    _, hp = apply(values, CONFIG, Hyperparams(env_params=params))
    resolved = envs.resolve_params(SHOWN, hp.env_params)
    assert resolved.ranges == BOTH
    assert_same_bits(resolved.default, Shown().default_params.replace(bound=2.0, pair=np.ones(2)))


def test_an_axis_of_a_folder_is_no_range_of_other_parts():
    fields = make_spec({"env_params.level": [Uniform(1, 2), 3.0]}).to_json()
    check_well_made(fields)
    fields["axes"][0][2][0] = [{"kind": "uniform", "numbers": 2}]
    with pytest.raises(ValueError, match=r"such that are no values of env_params\.level"):
        check_well_made(fields)


# ------------------------------------------------------------------------------------ REFUSED


@pytest.mark.parametrize(
    ("ranges", "match"),
    [
        ({"levl": Uniform(1, 2)}, "levl is not a parameter of Shown; did you mean level"),
        ({"count": Uniform(1.5, 2)}, r"count ~ uniform\(1.5, 2\) has numbers that are not whole"),
        ({"count": Choice((1, 2.5))}, "has numbers that are not whole"),
        ({"count": Uniform(1, 2**31)}, "out of range; accepted: below 2,147,483,647"),
        ({"level": Uniform(1, 1e39)}, "env_params.level=1e.39 is out of range"),
        ({"level": Choice((1, np.nan))}, "env_params.level=nan is out of range"),
        ({"level": Uniform(np.ones(2), 2)}, r"bounds of shape \(2,\)"),
        ({"branch": Uniform(0, 1)}, "is a truth value; accepted: Choice"),
        ({"pair": Uniform(0, 1)}, "is no single number"),
    ],
)  # fmt: skip
def test_a_range_that_cannot_be_drawn_is_refused(ranges, match):
    with pytest.raises(ValueError, match=match):
        ranged(ranges)


def test_a_range_of_a_parameter_that_decides_a_branch_is_refused():
    env = envs.make(Branching())
    assert set(ranged({"level": Uniform(1, 2)}, env).ranges) == {"level"}
    with pytest.raises(
        ValueError, match=r"branch ~ choice\(False, True\) cannot .*Branching needs"
    ):
        ranged({"branch": Choice((False, True))}, env)
    assert draws(Choice((False, True)), 50, "branch").tolist().count(True) in range(10, 40)


def test_a_range_of_the_bounds_of_actions_is_refused():
    env = envs.make(Bounded())
    assert set(ranged({"level": Uniform(1, 2)}, env).ranges) == {"level"}
    with pytest.raises(ValueError, match="the action space of Bounded depends on it"):
        ranged({"bound": Uniform(1, 2)}, env)
    agent = make_agent(change(CONFIG, env=Bounded()))
    hp = Hyperparams(env_params={"level": Uniform(1, 2), "bound": 3.0})
    policy = agent.policy(agent.env_params(hp))
    assert float(policy.to_env(jnp.full((1,), 9.0))[0]) == 3.0


def test_arrays_are_no_ends_of_a_sample():
    with pytest.raises(TypeError, match="sample of gamma has arrays as its bounds"):
        make_spec(sample={"gamma": Uniform(np.zeros(2), np.ones(2))}, num_samples=2)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("gravity=uniform:12:8", "Uniform(low=12, high=8) is no range"),
        ("gravity=uniform:8", "--env-params gravity=uniform:8 is no range; write gravity=log:LOW"),
        ("gravity=uniform:a:b", "is no range; accepted: finite numbers"),
        ("gravity=log:0:1", "has no logarithm at its low end"),
        ("gravity=choice:1:x", "env_params.gravity='x' is not a number"),
        ("gravty=uniform:8:12", "did you mean gravity?"),
    ],
)
def test_a_range_that_is_none_is_refused_on_the_command_line(value, message, capsys, tmp_path):
    words = ["train", "CartPole-v1", "--out", str(tmp_path / "x"), "--env-params", value]
    assert_refused(words, message, capsys)
