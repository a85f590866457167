"""What an update costs, without a clock: operations, bytes and loops of the compiled program.

A budget is what was counted when it was last lowered, per minor version of jax.  A count above it
by more than `SLACK` is work that a change has added: make it cheaper, or raise the budget and say
why.  To see the counts: `pytest tests/test_budgets.py -s`.
"""

import re

import jax
import pytest
from support.slow import slow_but

from purejaxvpg import VPGConfig, make_learner, make_train

T, N, U, V = 16, 8, 5, 3  # all different, so that a shape tells where it comes from
CONFIGS = {
    "CartPole-v1": VPGConfig(
        num_envs=N, num_steps=T, total_steps=T * N * U, hidden_sizes=(32, 32), value_iterations=V
    ),
    "Pendulum-v1": VPGConfig(
        env="Pendulum-v1",
        num_envs=N,
        num_steps=T,
        total_steps=T * N * U,
        hidden_sizes=(32, 32),
        value_iterations=V,
        normalize_obs=True,
        normalize_rewards=True,
    ),
}
SLACK = 1.05

# (environment, jax) -> flops, bytes accessed, bytes of temporaries, loops.  A loop's turn is
# counted once, whatever its length.
BUDGETS: dict[tuple[str, str], tuple[float, float, int, int]] = {
    ("CartPole-v1", "0.9"): (2986964.0, 1638347.0, 129312, 14),
    ("Pendulum-v1", "0.9"): (2943815.0, 1627333.0, 125912, 15),
    ("CartPole-v1", "0.11"): (2985893.0, 1637951.0, 115296, 14),
    ("Pendulum-v1", "0.11"): (2944969.0, 1622749.0, 113248, 15),
}


@pytest.fixture(scope="module", params=slow_but(["CartPole-v1"], CONFIGS))
def update(request):
    """Name, and the compiled update."""
    learner = make_learner(CONFIGS[request.param])
    state = jax.eval_shape(learner.init, jax.random.key(0))
    return request.param, jax.jit(learner.update, donate_argnums=0).lower(state).compile()


def trip_counts(text: str) -> list[int]:
    """Of the loops whose length the compiler knows."""
    return [int(n) for n in re.findall(r'"known_trip_count":\{"n":"(\d+)"\}', text)]


def test_an_update_stays_within_its_budget(update):
    name, compiled = update
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    loops = len(re.findall(r" while\(", compiled.as_text()))
    counted = (cost["flops"], cost["bytes accessed"], memory.temp_size_in_bytes, loops)
    version = ".".join(jax.__version__.split(".")[:2])
    print(f"\n    ({name!r}, {version!r}): {counted},")
    if (name, version) not in BUDGETS:
        pytest.skip(f"no budget for jax {version}")
    for what, number, budget in zip(
        ("flops", "bytes accessed", "bytes of temporaries", "loops"),
        counted,
        BUDGETS[name, version],
        strict=True,
    ):
        assert number <= budget * SLACK, f"{what}: {number}, and the budget is {budget}"


def test_no_loop_is_longer_than_a_rollout(update):
    """T steps of the rollout and of the estimators, V value iterations; nothing else repeats."""
    counts = trip_counts(update[1].as_text())
    assert T in counts, "the rollout's loop was not found; has its form in the program changed?"
    assert set(counts) <= {T, V} | set(range(1, T // 2 + 1)), counts
    assert max(counts) == T


@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_of_a_rollout_leaves_the_program(name):
    """The result holds U numbers of each kind and a state, and nothing of shape [T, N]."""
    result = jax.eval_shape(make_train(CONFIGS[name]), jax.random.key(0))
    assert {leaf.shape for leaf in result.metrics} == {(U,)}
    shapes = [leaf.shape for leaf in jax.tree.leaves(result)]
    assert not [shape for shape in shapes if T in shape or shape[:1] == (T * N,)]
