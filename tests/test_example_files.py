"""The files of examples/ run at a tiny size, and show what they say that they show."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from support.files import in_folder

from purejaxvpg import VPGConfig, make_learner
from purejaxvpg.advantages import Discounts, Trajectory, future_return, gae
from purejaxvpg.statistics import interquartile_mean

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "examples"
NAMES = sorted(path.name for path in FOLDER.iterdir() if path.suffix in (".py", ".ipynb"))
TINY = VPGConfig(total_steps=96, num_envs=2, num_steps=16, hidden_sizes=(8,), value_iterations=1,
                 diagnostics=False)  # fmt: skip


@pytest.fixture(autouse=True)
def no_windows():
    before = matplotlib.get_backend()
    matplotlib.use("agg")
    yield
    matplotlib.use(before)


@pytest.fixture
def example(monkeypatch):
    """An example as a module, by its name."""

    def load(name):
        monkeypatch.syspath_prepend(FOLDER)
        monkeypatch.delitem(sys.modules, name, raising=False)
        return importlib.import_module(name)

    yield load
    for path in FOLDER.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_own_env(example, tmp_path, capsys):
    drone = example("own_env")
    params, key = drone.Drone.default_params, jax.random.key(0)
    step = jax.jit(drone.Drone.step)
    _, state = drone.Drone.reset(key, params)
    middle = state._replace(inner=drone.State(jnp.zeros(()), jnp.zeros(())))
    # Half power carries the drone's weight: it stays, for 1 a step, until the clock stops it.
    state, total = middle, 0.0
    for _ in range(drone.LIMIT):
        out = step(key, state, jnp.array([params["gravity"] / drone.POWER]), params)
        state, total = out.state, total + float(out.reward)
    assert (total, bool(out.truncated), bool(out.terminated)) == (drone.LIMIT, True, False)
    # Without power it falls by t^2 / 2, out of the picture after 2 s = 40 steps.
    state, steps, lost = middle, 0, False
    while not lost:
        out = step(key, state, jnp.zeros(1), params)
        state, steps, lost = out.state, steps + 1, bool(out.terminated)
    assert steps == 40

    drone.main(["--smoke", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    scores = [float(x) for x in re.findall(r"gust .*?   +([\d.]+) \[", printed)]
    assert len(scores) == 3
    assert all(10 < score <= drone.LIMIT for score in scores)
    assert scores[2] < scores[0]  # a storm carries it off, whoever flies
    assert (tmp_path / "drone.gif").read_bytes().startswith(b"GIF8")


@pytest.mark.slow
def test_own_network(example, capsys):
    network = example("own_network")
    torso = network.Residual(width=8, depth=1)
    shapes = jax.eval_shape(torso.init, jax.random.key(0), jnp.zeros((1, 4)))
    size = sum(x.size for x in jax.tree.leaves(shapes)) + 8 * 2 + 2  # and the head's
    network.main(["--smoke"])
    assert capsys.readouterr().out.splitlines()[-1].endswith(f" {size}")


def random_trajectory():
    rng = np.random.default_rng(0)
    rewards, values, after_end = jnp.asarray(rng.normal(size=(3, 6, 3)), jnp.float32)
    terminated, truncated = jnp.asarray(rng.random((2, 6, 3)) < 0.2)
    next_values = jnp.where(terminated | truncated, after_end, jnp.roll(values, -1, axis=0))
    every = jnp.ones((6, 3), bool)
    return Trajectory(rewards, values, next_values, terminated, truncated, every)


@pytest.mark.slow
def test_own_estimator(example, capsys):
    estimator = example("own_estimator")
    trajectory = random_trajectory()
    ends = [gae(trajectory, Discounts(0.9, x)) for x in (0.0, 1.0)]
    psi = estimator.both_ends(trajectory, Discounts(0.9, 0.5))
    np.testing.assert_allclose(psi, (ends[0] + ends[1]) / 2, rtol=1e-5, atol=1e-6)
    estimator.check(gae)
    with pytest.raises(AssertionError):  # without - V it is no advantage
        estimator.check(future_return)
    estimator.main(["--smoke"])
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == ["gae", "both_ends"]
    assert rows[0].endswith("0.50")  # beside itself


@pytest.mark.slow
def test_recurrent(example, capsys):
    example("recurrent").main(["--smoke"])
    rows = re.findall(r"length +2   (no memory|gru) +(\S+) \[", capsys.readouterr().out)
    returns = {memory: float(value) for memory, value in rows}
    assert abs(returns["no memory"]) < 0.25  # what was shown is gone
    assert returns["gru"] > 0.75


@pytest.mark.slow
def test_the_meta_gradient_is_the_derivative_through_an_update(example):
    meta = example("meta_gradient")
    learner = make_learner(TINY)
    loss = meta.make_meta_loss(learner)
    # A state where between the points no action flips and no entry of Adam's step changes sign.
    state = jax.jit(learner.init)(jax.random.key(5))
    size = 5e-2
    shift = jnp.array([[0, 0], [size, 0], [-size, 0], [0, size], [0, -size]])
    etas = {"policy_lr": -4.0 + shift[:, 0], "gae_lambda": 2.0 + shift[:, 1]}
    both = jax.value_and_grad(lambda eta, state: loss(eta, state)[0])
    losses, grads = jax.jit(jax.vmap(both, in_axes=(0, None)))(etas, state)
    for name, up in (("policy_lr", 1), ("gae_lambda", 3)):
        numeric = (losses[up] - losses[up + 1]) / (2 * size)
        assert abs(numeric) > 1e-5
        np.testing.assert_allclose(grads[name][0], numeric, rtol=0.05)


@pytest.mark.slow
def test_meta_gradient(example, tmp_path, capsys):
    example("meta_gradient").main(["--smoke", "--out", str(tmp_path / "meta.png")])
    printed = capsys.readouterr().out
    rates = dict(re.findall(r"eta (\w+) .*?policy_lr (\S+)", printed))
    assert float(rates["fixed"]) == 1e-4
    assert float(rates["learned"]) != 1e-4
    assert (tmp_path / "meta.png").read_bytes().startswith(b"\x89PNG")


def test_the_worst_quarter_becomes_the_best_quarter(example):
    population = example("population")
    learner, members = make_learner(TINY), jnp.arange(8.0)
    states = jax.eval_shape(learner.init, jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 8)
    states = jax.tree.map(lambda _: members, states)._replace(key=keys)
    genes = {"policy_lr": members, "value_lr": -members}
    fitness = jnp.array([3.0, -jnp.inf, 7.0, 1.0, 2.0, 9.0, 4.0, 5.0])  # worst: 1, 3; best: 2, 5
    evolved, changed = population.evolve(jax.random.key(2), states, genes, fitness)

    for leaf in jax.tree.leaves(evolved._replace(key=members)):
        np.testing.assert_array_equal(leaf[jnp.array([0, 2, 4, 5, 6, 7])], [0, 2, 4, 5, 6, 7])
    np.testing.assert_array_equal(evolved.update, [0, 2, 2, 5, 4, 5, 6, 7])
    assert (evolved.key == keys).all()  # each goes on with chance of its own
    differs = changed["policy_lr"] != members
    np.testing.assert_array_equal(differs, [False, True, False, True] + [False] * 4)
    assert changed["policy_lr"][1] != 2  # a copy, and then a step


@pytest.mark.slow
def test_population(example, capsys):
    outcomes = example("population").main(["--smoke"])
    (fixed, still), (evolved, moved) = outcomes["never evolves"], outcomes["evolves"]
    for name in fixed:
        assert (fixed[name] == fixed[name][0]).all()
        assert (evolved[name][0] == fixed[name][0]).all()  # both begin alike
        assert (evolved[name][1] != evolved[name][0]).sum() == 1  # a quarter of 4 members
    assert (still[0] == moved[0]).all()
    assert "never evolves" in capsys.readouterr().out


def test_paper_figure(example, tmp_path, capsys):
    figure = example("paper_figure")
    figure.main(["--smoke", "--out", str(tmp_path)])
    printed, drawn = capsys.readouterr().out, (tmp_path / "figure.pdf").read_bytes()
    assert drawn.startswith(b"%PDF")
    assert "On CartPole-v1, λ = 0.98 has an IQM of" in printed
    figure.main(["--smoke", "--out", str(tmp_path)])  # goes on where it was: at the end
    assert capsys.readouterr().out == printed
    assert (tmp_path / "figure.pdf").read_bytes() == drawn


def test_compare_with_ppo(example, capsys):
    scores = np.loadtxt(FOLDER / "ppo_cartpole.csv", delimiter=",", skiprows=4)[:, 1]
    example("compare_with_ppo").main(["--smoke"])
    printed = capsys.readouterr().out
    assert f"ppo_cartpole         16   {interquartile_mean(scores):.1f} [" in printed
    assert "The IQM of ppo_cartpole is" in printed


def test_log_to_tensorboard(example, tmp_path, capsys):
    pytest.importorskip("tensorboardX", reason="the extra tensorboard is not installed")
    example("log_to_tensorboard").main(["--smoke", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 4  # seeds x updates
    means = []
    for update in range(1, 5):
        rows = [x for x in lines if x["update"] == update and x["charts/episodes"]]
        counts = sum(x["charts/episodes"] for x in rows)
        sums = sum(x["charts/episodic_return"] * x["charts/episodes"] for x in rows)
        means.append(sums / max(counts, 1))
    assert f"best mean return of an update {max(means):6.1f}" in printed.splitlines()[-4]
    for seed in (0, 1):
        (events,) = (tmp_path / "tensorboard" / f"seed_{seed}").glob("events.out.tfevents.*")
        assert b"charts/episodic_return" in events.read_bytes()


@pytest.mark.slow
def test_deploy(tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    command = [sys.executable, FOLDER / "deploy.py", "--smoke", "--out", tmp_path / "run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    returns = re.findall(r"policy\.(jax|onnx) +returns \[(.*)\]", done.stdout)
    assert [name for name, _ in returns] == ["jax", "onnx"]
    assert all(int(x) >= 8 for x in returns[0][1].split(", "))  # nobody falls sooner
    assert "the same actions: True" in done.stdout


# The tour


def cells():
    notebook = json.loads((FOLDER / "tour.ipynb").read_text())
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_tour_is_committed_without_outputs():
    assert all(not cell["outputs"] and cell["execution_count"] is None for cell in cells())


@pytest.mark.timeout(900)  # six programs are compiled
@pytest.mark.slow
def test_tour(tmp_path, capsys):
    sizes = "sizes = dict(num_envs=2, num_steps=32, total_steps=1920, hidden_sizes=(8,))"
    names = {}
    with in_folder(tmp_path):
        for cell in cells():
            tagged = "parameters" in cell["metadata"].get("tags", ())
            code = f"{sizes}\nnum_seeds = 2" if tagged else "".join(cell["source"])
            exec(compile(code, "tour.ipynb", "exec"), names)
    import matplotlib.pyplot as plt

    plt.close("all")
    printed = capsys.readouterr().out
    assert len(re.findall(r"gravity +[\d.]+: interquartile mean", printed)) == 3
    # Heavier poles fall sooner, whoever balances them.
    moon, _, jupiter = names["mean_return"](names["planets"], names["first"]).mean(-1)
    assert moon > jupiter
    assert names["table"].shape[0] == 3 * 2 * 2
    assert (names["lights"].scores() > 12).all()  # 10 is chance


@pytest.mark.slow
def test_tour_in_jupyter(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.read(FOLDER / "tour.ipynb", as_version=4)
    nbclient.NotebookClient(
        notebook, timeout=1200, resources={"metadata": {"path": tmp_path}}
    ).execute()
    assert "20 is perfect" in notebook.cells[-2].outputs[-1]["text"]


# The list


@pytest.mark.parametrize("page", ["examples/README.md", "docs/examples.md"])
def test_every_example_is_in_the_lists(page):
    text = (ROOT / page).read_text()
    assert sorted(set(re.findall(r"\((?:\.\./examples/)?(\w+\.(?:py|ipynb))\)", text))) == NAMES


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".py")])
def test_an_example_is_short_and_says_how_to_run_it(name):
    text = (FOLDER / name).read_text()
    assert len(text.splitlines()) <= 130
    assert f"python examples/{name} --smoke" in text
