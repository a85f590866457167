"""A policy at play: episodes, pictures, animations, the command, the report."""

import argparse
import base64
import subprocess
import sys

import gymnax
import jax
import numpy as np
import pytest
from gymnax.environments import spaces
from PIL import Image
from support import probes
from support.reports import report, synthetic
from support.studies import make_spec, make_study

from purejaxvpg import VPGConfig, cli, envs, make_evaluate
from purejaxvpg.agent import init_stats, make_agent
from purejaxvpg.cli import code, environments, parsing, playing
from purejaxvpg.envs import pictures
from purejaxvpg.envs.protocol import BrokenContract, Environment
from purejaxvpg.experiment import animation, load_study, play, train, write_animation
from purejaxvpg.experiment.design import make_design
from purejaxvpg.experiment.evaluation import evaluate_setting, evaluation_keys, policies_of
from purejaxvpg.experiment.playing import Episode, Moment, best_seed
from purejaxvpg.experiment.policies import Block, Policies, leaves_of

SMALL = {
    "num_envs": 2, "num_steps": 8, "total_steps": 32, "hidden_sizes": (8,), "value_iterations": 1,
}  # fmt: skip


class Drawn(probes.RandomLength):
    """Every pixel of its picture is (time, length, 7)."""

    def render(self, state, params):
        picture = np.zeros((6, 8, 3), np.uint8)
        picture[:] = (int(state.time), int(state.x), 7)
        return picture


def untrained(config):
    """A study of the seed 5, with a policy at its initial weights."""
    agent, made = make_agent(config), make_study(make_spec({}, 1, config))
    obs = np.ones((1, *agent.env.obs_shape), np.float32)
    init = jax.jit(lambda key: agent.networks.init(key, obs).policy)
    stats = init_stats(agent.encoder.shapes)
    stats = stats._replace(mean=jax.tree.map(lambda x: x + 2.0, stats.mean))
    leaves = leaves_of(init(jax.random.key(0)), stats)
    arrays = {name: np.asarray(leaf)[None] for name, leaf in leaves.items()}
    return made._replace(policies=Policies((Block(np.asarray([0]), lambda: arrays),)))


@pytest.fixture(scope="module")
def study():
    """A policy with memory, that sees normalised observations."""
    return untrained(
        VPGConfig(env=Drawn(5), memory="gru", memory_size=4, normalize_obs=True, **SMALL)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run of CartPole."""
    place = tmp_path_factory.mktemp("runs") / "run"
    config = VPGConfig(env="CartPole-v1", **SMALL)
    train(config, num_seeds=2, folder=place, progress=False)
    return place


def episode(times=(0, 1, 2), render=None):
    """An episode by hand, of an environment in the states with these times."""
    env = Environment("Drawn", *[None] * 5, obs_shape=(3,), render=render or Drawn(5).render)
    states = [probes.State(time=np.int32(t), x=np.float32(4)) for t in times]
    moments = [Moment(state, np.zeros(3)) for state in states]
    returns = np.arange(len(times), dtype=np.float32) / 2
    return Episode(env, None, moments, returns, finished=True)


# ------------------------------------------------------------------------------------- EPISODES


@pytest.mark.parametrize("greedy", [True, False])
def test_episodes_are_those_of_an_evaluation(study, greedy):
    """Returns of RandomLength tell the draws of its resets, and those of the actions."""
    config, hp = study.setting(0)
    params, stats = jax.tree.map(lambda x: x[0], policies_of(study, 0, np.asarray([5])))
    key = evaluation_keys(np.asarray([5]), 7)[0]
    expected = jax.jit(make_evaluate(config, 4, greedy))(key, params, stats, hp)
    episodes = play(study, 0, seed=5, num_episodes=4, greedy=greedy, eval_seed=7)
    assert [x.returns[-1] for x in episodes] == np.asarray(expected.returns).tolist()
    assert [x.length for x in episodes] == np.asarray(expected.lengths).tolist()
    assert len({x.length for x in episodes}) > 1
    for each in episodes:
        assert each.finished
        halves = np.diff(each.returns) - np.arange(1, each.length + 1)  # of the actions
        assert set(halves.tolist()) <= {0.0, 0.5}
        for time, picture in enumerate(each.pictures()):
            assert picture.shape == (6, 8, 3)
            assert (picture == (time, each.length, 7)).all()  # also after the last step
        assert time == each.length


def test_a_bound_cuts_episodes(study):
    """With 2 steps at most, episodes of 1 and 2 are whole, and others are cut after 2."""
    whole = play(study, 0, seed=5, num_episodes=4, eval_seed=7)
    cut = play(study, 0, seed=5, num_episodes=4, eval_seed=7, max_steps=2)
    assert [x.length for x in cut] == [min(x.length, 2) for x in whole]
    assert [x.finished for x in cut] == [x.length <= 2 for x in whole]
    assert {x.finished for x in cut} == {True, False}
    assert [x.returns.tolist() for x in cut] == [x.returns[:3].tolist() for x in whole]
    assert [int(x.moments[-1].state.time) for x in cut] == [x.length for x in cut]


class DrawnPlain(probes.PlainEnv):
    """Its picture shows the step and the number of the episode."""

    def render(self, state, params):
        return np.broadcast_to(np.asarray([*state, 0], np.uint8), (4, 4, 3))


def test_no_state_of_the_next_episode_is_shown():
    """An environment that resets itself has no last state; its last observation is there."""
    config = VPGConfig(env=DrawnPlain(3), **SMALL)
    (whole,) = play(untrained(config))
    assert [x.obs.tolist() for x in whole.moments] == [[0, 0], [1, 0], [2, 0], [3, 0]]
    assert [x[0, 0].tolist() for x in whole.pictures()] == [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    assert whole.returns.tolist() == [0, 1, 2, 3]


def test_the_best_seed_is_one_that_did_not_diverge():
    study = synthetic(make_design({}), 3, diverged=[(0, int(np.argmax(scores_of())), 3)])
    left = [s for s in range(3) if s != np.argmax(scores_of())]
    assert best_seed(study, 0) == max(left, key=lambda s: scores_of()[s])
    everything = synthetic(make_design({}), 3, diverged=[(0, s, 3) for s in range(3)])
    assert best_seed(everything, 0) == 0
    with pytest.raises(ValueError, match=r"no run of setting 0 is done"):
        best_seed(synthetic(make_design({}), 3, missing=[(0, s) for s in range(3)]), 0)


def scores_of():
    return synthetic(make_design({}), 3).scores()[0]


def test_policies_that_are_not_kept_are_refused():
    with pytest.raises(ValueError, match=r"the policy of run 0 is not kept"):
        play(make_study(make_spec()), seed=5)


def test_an_environment_without_pictures_is_refused():
    config = VPGConfig(env="MemoryChain-bsuite", **SMALL)
    with pytest.raises(ValueError, match=r"MemoryChain-bsuite cannot be drawn: .*give your env"):
        play(make_study(make_spec(config=config)), seed=5)


# ------------------------------------------------------------------------------------- PICTURES


@pytest.mark.parametrize(
    ("name", "shape", "cells"),
    [
        ("CartPole-v1", (167, 300, 3), None),
        ("Pendulum-v1", (200, 200, 3), None),
        ("Breakout-MinAtar", (160, 160, 3), 16),
        ("Catch-bsuite", (160, 80, 3), 16),
        ("FourRooms-misc", (208, 208, 3), 16),  # gymnax's own render gives a figure
        ("DeepSea-bsuite", (8, 8, 3), 1),  # of its observation, for it resets itself
    ],
)
def test_gymnax_is_drawn(name, shape, cells):
    """Different states give different pictures, and equal ones equal pictures."""
    env = envs.make(name)
    params = env.default_params
    paint = pictures.painter(env, params)
    key, other = jax.random.split(jax.random.key(1))
    obs, state = env.reset(key, params)
    first = paint(state, obs)
    assert (first.shape, first.dtype) == (shape, np.uint8)
    np.testing.assert_array_equal(paint(*reversed(env.reset(key, params))), first)
    action = jax.numpy.asarray(env.action_space(params).sample(other))
    for _ in range(3):
        out = env.step(other, state, action, params)
        obs, state = out.obs, out.state
    assert (paint(state, obs) != first).any()
    if cells:  # each a square of one colour
        assert (first == first[::cells, ::cells].repeat(cells, 0).repeat(cells, 1)).all()


def test_minatar_has_a_colour_for_each_channel():
    env = envs.make("Breakout-MinAtar")
    obs, state = env.reset(jax.random.key(0), env.default_params)
    picture = env.render(state, env.default_params)[::16, ::16]
    for channel in range(4):
        seen = {tuple(x) for x in picture[np.asarray(obs)[..., channel] > 0].tolist()}
        color = tuple(int(x) for x in pictures.COLORS[channel])
        assert any(all(a >= b for a, b in zip(x, color, strict=True)) for x in seen)
    assert (picture[~np.asarray(obs).any(-1)] == 0).all()


def test_a_subclass_of_a_game_is_drawn_like_the_game():
    """Whatever it observes."""

    class Flat(type(gymnax.make("Catch-bsuite")[0])):
        def get_obs(self, state, params=None, key=None):
            return super().get_obs(state).reshape(-1)

        def observation_space(self, params):
            return spaces.Box(0, 1, (50,))

    env, game = envs.make(Flat()), envs.make("Catch-bsuite")
    state = game.reset(jax.random.key(0), game.default_params)[1]
    flat, usual = (x.render(state, x.default_params) for x in (env, game))
    np.testing.assert_array_equal(flat, usual)
    assert flat.shape == (160, 80, 3)


def observed(shape, low, high, dtype=np.float32):
    space = spaces.Box(low, high, shape, dtype)
    return Environment("Seen", *[None] * 4, lambda params: space, obs_shape=shape)


def test_observations_that_are_pictures_are_drawn():
    def drawn(obs, *bounds):
        obs = np.asarray(obs)
        return pictures.painter(observed(obs.shape, *bounds), None)(None, obs)

    grey = np.full((5, 4), 0.25)
    assert drawn(grey, -1, 1).tolist() == np.full((5, 4, 3), 159).tolist()  # 255 (1.25 / 2)
    colours = np.arange(60, dtype=np.uint8).reshape(5, 4, 3)
    np.testing.assert_array_equal(drawn(colours, 0, 255), colours)
    stacked = np.stack([np.zeros((4, 4)), np.full((4, 4), 9)], -1).astype(np.uint8)
    assert drawn(stacked, 0, 255).tolist() == np.full((4, 4, 3), 9).tolist()
    channels = np.zeros((4, 4, 2), bool)
    channels[0, 0, 1] = channels[1, 1, 0] = True
    picture = drawn(channels, 0, 1)
    assert picture[0, 0].tolist() == [78, 154, 241]
    assert picture[1, 1].tolist() == [240, 240, 240]
    assert picture.astype(bool).any(-1).sum() == 2


@pytest.mark.parametrize(
    ("shape", "low", "high"),
    [((4,), 0, 1), ((3, 8), 0, 1), ((8, 8), 0, np.inf), ((8, 8), np.zeros((8, 8)), np.eye(8))],
)
def test_other_observations_are_no_pictures(shape, low, high):
    with pytest.raises(ValueError, match=r"Seen cannot be drawn: it gives no render\(state, par"):
        pictures.painter(observed(shape, low, high), None)


@pytest.mark.parametrize(
    ("picture", "given"),
    [
        (None, "NoneType"),
        (np.zeros((4, 4, 3)), r"float64\[4, 4, 3\]"),
        (np.zeros((4, 4), np.uint8), r"uint8\[4, 4\]"),
        (("fig", "ax"), "<U3"),
    ],
)
def test_other_values_of_render_are_refused(picture, given):
    with pytest.raises(BrokenContract, match=rf"Drawn.render returned {given}.*; expected uint8"):
        next(episode(render=lambda state, params: picture).pictures())


def test_errors_of_render_are_one_line():
    """The user's with its place, and those of the machine as they are."""

    def wrong(state, params):
        return state.colour

    def no_display(state, params):
        raise RuntimeError("no OpenGL context; install libegl1")

    with pytest.raises(BrokenContract, match=r"Drawn raised AttributeError at .*test_render.py:"):
        next(episode(render=wrong).pictures())
    with pytest.raises(RuntimeError, match=r"^no OpenGL context; install libegl1$"):
        next(episode(render=no_display).pictures())


# ------------------------------------------------------------------------------------ ANIMATIONS


def read(path):
    """Frames, durations in ms, and comment of a GIF."""
    frames, durations = [], []
    with Image.open(path) as image:
        for k in range(image.n_frames):
            image.seek(k)
            durations.append(image.info["duration"])
            frames.append(np.asarray(image.convert("RGB")))
        return frames, durations, image.info["comment"]


def test_a_gif_has_a_frame_for_each_moment(tmp_path):
    """Its pixels are exact, an end stays for half a second, and small pictures are enlarged."""
    path = tmp_path / "play.gif"
    episodes = [episode(), episode((0, 1))]
    assert write_animation(path, episodes, note="seed 3", text=False) == 5
    frames, durations, comment = read(path)
    assert [x.shape for x in frames] == [(27 * 6, 27 * 8, 3)] * 5  # at least 160 each side
    assert [x[0, 0].tolist() for x in frames] == [[t, 4, 7] for t in (0, 1, 2, 0, 1)]
    assert all((x == x[0, 0]).all() for x in frames)
    assert durations == [50, 50, 500, 50, 500]
    assert comment == b"made by purejaxvpg: seed 3"
    assert write_animation(path, episodes, fps=10, scale=2, text=False) == 5  # ours: replaced
    frames, durations, _ = read(path)
    assert frames[0].shape == (12, 16, 3)
    assert durations == [100, 100, 500, 100, 500]


def test_thirty_steps_a_second_stay_thirty(tmp_path):
    write_animation(tmp_path / "x.gif", [episode(range(31))], fps=30, scale=1, text=False)
    durations = read(tmp_path / "x.gif")[1]
    assert sum(durations[:-1]) == 1000
    assert set(durations[:-1]) == {30, 40}


def test_the_line_below_says_step_and_return():
    plain = list(animation.frames_of([episode()], scale=20, text=False))
    first, second, _ = animation.frames_of([episode()], scale=20)
    height = plain[0].shape[0]
    np.testing.assert_array_equal(first[:height], plain[0])
    assert first[height:].shape == (animation.STRIP, 160, 3)
    np.testing.assert_array_equal(first[height:], animation._strip("step 0  return 0.00", 160))
    np.testing.assert_array_equal(second[height:], animation._strip("step 1  return 0.50", 160))
    assert (first[height:] != second[height:]).any()
    assert (first[height:] < 128).any()
    two = list(animation.frames_of([episode(), episode()], scale=20))[3]
    line = animation._strip("episode 2  step 0  return 0.00", 160)
    np.testing.assert_array_equal(two[height:], line)


def test_a_last_state_that_is_gone_is_left_out():
    """An environment that resets itself keeps its last observation, and not its last state."""
    gone = episode()
    gone.moments[-1] = gone.moments[-1]._replace(state=None)
    assert len(list(gone.pictures())) == 2
    assert animation.holds_of([gone, episode()], 20) == [1, 10, 1, 1, 10]
    seen = gone._replace(env=observed((4, 4), 0, 1))
    seen.moments[:] = [Moment(None, np.full((4, 4), k)) for k in (0, 0, 1)]
    assert [int(x.max()) for x in seen.pictures()] == [0, 0, 255]


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (tmp_path / "theirs.gif").write_bytes(b"GIF89a")
    lines = {
        "x.png": (ValueError, r"ends in none of .gif, .mp4, .svg"),
        "theirs.gif": (FileExistsError, r"is no animation of this package, and stays"),
        "x.mp4": (RuntimeError, r"needs ffmpeg, which is not installed; run: pip install imageio-"),
        "x.svg": (ValueError, r"Drawn has no SVG, which pgx's board games alone have"),
    }
    for name, (kind, line) in lines.items():
        with pytest.raises(kind, match=line):
            write_animation(tmp_path / name, [episode()])
    with pytest.raises(ValueError, match=r"fps=51 is out of range; accepted: 1 to 50"):
        write_animation(tmp_path / "x.gif", [episode()], fps=51)
    sizes = episode(render=lambda state, params: np.zeros((4 + int(state.time), 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"pictures of \[4, 4, 3\] and \[5, 4, 3\]; expected one"):
        write_animation(tmp_path / "x.gif", [sizes])
    assert [x.name for x in tmp_path.iterdir()] == ["theirs.gif"]
    assert (tmp_path / "theirs.gif").read_bytes() == b"GIF89a"


def fake_ffmpeg(folder, code):
    path = folder / "ffmpeg"
    path.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
    path.chmod(0o755)


def test_an_mp4_is_written_by_ffmpeg(tmp_path, monkeypatch):
    """It is given every frame as bytes, an end as often as it stays, and the note."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    monkeypatch.setenv("PATH", str(bin_folder))
    fake_ffmpeg(bin_folder, "open(sys.argv[-1], 'wb').write(repr(sys.argv).encode() + b'\\n' "
                "+ sys.stdin.buffer.read())")  # fmt: skip
    path = tmp_path / "play.mp4"
    options = {"fps": 60, "scale": 1, "text": False}
    assert write_animation(path, [episode((9, 8))], note="seed 3", **options) == 2
    command, _, raw = path.read_bytes().partition(b"\n")
    assert b"'-s', '8x6', '-r', '60'" in command
    assert b"'comment=made by purejaxvpg: seed 3'" in command
    pixels = np.frombuffer(raw, np.uint8).reshape(-1, 6, 8, 3)
    assert pixels[:, 0, 0, 0].tolist() == [9] + [8] * 30
    assert animation.is_ours(path)
    fake_ffmpeg(bin_folder, "sys.exit('no encoder')")
    with pytest.raises(RuntimeError, match=r"ffmpeg could not write an mp4 \(no encoder\); write"):
        write_animation(path, [episode()] * 50, **options)
    assert path.read_bytes().endswith(raw)  # stays as it was


def test_drawing_loads_no_window_system():
    code = (
        "import sys, jax; from purejaxvpg import envs; e = envs.make('CartPole-v1');"
        "e.render(e.reset(jax.random.key(0), e.default_params)[1], e.default_params);"
        "print([m for m in ('matplotlib.pyplot', 'tkinter', 'pygame') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# ------------------------------------------------------------------------ COMMAND LINE AND REPORT


def command(line, capsys):
    """Exit code, and what a command prints."""
    capsys.readouterr()
    code = cli.main(line.split())
    printed = capsys.readouterr()
    return code, printed.out or printed.err


def test_render_shows_the_episodes_of_eval(folder, capsys):
    """In play.gif of the folder, which the report then shows."""
    study = load_study(folder)
    seed = int(study.seeds[np.argmax(study.scores()[0])])
    outcome = evaluate_setting(study, 0, [seed], 2, False, 3)
    flags = "--episodes 2 --eval-seed 3 --sampled --scale 1 --no-text"
    code, printed = command(f"render {folder} {flags}", capsys)
    lengths = np.asarray(outcome.lengths)[0]
    frames, durations, comment = read(folder / "play.gif")
    assert code == 0
    assert f"seed {seed}: the best in training; return {lengths.mean():.1f}, length" in printed
    assert f"{lengths.sum() + 2} frames: {folder / 'play.gif'}" in printed
    assert sum(durations) == 50 * lengths.sum() + 2 * 500  # equal frames in a row are one
    assert frames[0].shape == (167, 300, 3)
    words = f"seed {seed}, actions drawn from the policy"
    assert comment.decode() == f"made by purejaxvpg: {words}"
    assert command(f"report {folder}", capsys)[0] == 0
    page = (folder / "report" / "report.html").read_text()
    data = base64.b64encode((folder / "play.gif").read_bytes()).decode()
    assert f'src="data:image/gif;base64,{data}"' in page
    assert f"Episodes of {words}." in page


def test_render_says_what_it_cuts_and_refuses(folder, capsys, tmp_path):
    code, printed = command(f"render {folder} --max-steps 2 --out {tmp_path}/a/x.gif", capsys)
    assert (code, (tmp_path / "a/x.gif").exists()) == (0, True)
    assert "1 of 1 episodes were cut at --max-steps 2" in printed
    (tmp_path / "theirs.gif").write_bytes(b"GIF89a")
    lines = {
        "--seed 9": "seed=9 is not in the study; accepted: 0 to 1",
        f"--out {tmp_path}/theirs.gif": "stays as it is; choose another place",
        f"--out {tmp_path}/x.webp": "ends in none of .gif, .mp4, .svg",
        "--episodes 0": "num_episodes=0 is out of range",
        "--max-steps 0": "max_steps=0 is out of range",
        "--scale 100": "scale=100 is out of range",
    }
    for flags, line in lines.items():
        code, printed = command(f"render {folder} {flags}", capsys)
        assert (code, printed.count("\n")) == (2, 1)
        assert line in printed


def test_an_animation_names_its_setting():
    drawn = argparse.Namespace(sampled=True)
    label = playing._note(make_study(make_spec()), 1, 5, drawn)
    assert label == "policy_lr=0.01, seed 5, actions drawn from the policy"


def test_render_imports_the_code_that_a_folder_names(monkeypatch):
    """As eval does, and tells what of it changed since."""
    calls = []
    monkeypatch.setattr(code, "_import_again", lambda *args, **how: calls.append((args, how)))
    code.import_code(parsing.parse(["render", "some/run"]))
    assert calls == [(("some/run",), {"evaluated": True})]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("CartPole-v1", "yes"),
        ("DeepSea-bsuite", "its observation"),
        ("MemoryChain-bsuite", "no"),
    ],
)
def test_envs_says_what_can_be_drawn(name, words):
    assert environments._pictures(envs.make(name)) == words


def test_a_report_links_to_what_is_large(tmp_path, monkeypatch):
    study, path = synthetic(make_design({}), 2), tmp_path / "a run" / "play.gif"
    write_animation(path, [episode()], scale=1)
    text, page = report(study, tmp_path / "report", animation=path)
    assert [x["src"][:22] for x in page.attributes("img")].count("data:image/gif;base64,") == 1
    monkeypatch.setattr("purejaxvpg.report.play.MOST_BYTES", 10)
    text, page = report(study, tmp_path / "report", animation=path)
    assert "data:image/gif" not in text
    assert "../a%20run/play.gif" in [x["href"] for x in page.attributes("a")]
    path.write_bytes(b"GIF89a")
    with pytest.raises(ValueError, match=r"play.gif is no animation of this package"):
        report(study, tmp_path / "report", animation=path)
    assert animation.animation_in(path.parent) is None
