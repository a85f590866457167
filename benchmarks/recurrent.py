"""Steps per second of training with memory, beside PureJaxRL's ppo_rnn.py.

    python benchmarks/recurrent.py
    python benchmarks/recurrent.py --purejaxrl CHECKOUT     # A B A B, in this one process

Same for both: a dense layer of 128 with relu, a GRU of 128, Adam, one policy and one value gradient
step on each batch; PureJaxRL's ppo_rnn.py therefore runs one epoch of one minibatch.

Differences: PureJaxRL has one GRU for policy and value, and a dense layer of 128 after it for each;
`shared` here has one GRU too, `separate` one for each network, and neither has a layer after it.
`cell alone` is `shared` without the dense layer before the GRU: the network of `hidden_sizes=()`.
PureJaxRL also returns the info of every step.  Its file is changed in two places, for today's flax:
the size of a GRU is an argument, and its first carry is zeros.
"""

import _common
import jax
from throughput import ours, purejaxrl

SIZE = 128
CHANGES = {
    "nn.GRUCell()(rnn_state, ins)": f"nn.GRUCell({SIZE})(rnn_state, ins)",
    "nn.GRUCell.initialize_carry(\n            jax.random.PRNGKey(0), (batch_size,), hidden_size\n"
    "        )": "jnp.zeros((batch_size, hidden_size))",
}


def with_memory(
    env: str,
    shape: tuple[int, int, int],
    shared: bool,
    memory: str | None = "gru",
    hidden_sizes: tuple[int, ...] = (SIZE,),
):
    """Jitted run of this package.  shape: environments, steps, updates."""
    return ours(
        env,
        shape,
        hidden_sizes=hidden_sizes,
        activation="relu",
        memory=memory,
        memory_size=SIZE,
        shared_torso=shared,
        value_iterations=1,
        diagnostics=False,
    )


def main() -> None:
    """Compile all contenders, then run them in turn."""
    parser = _common.parser(__doc__)
    parser.add_argument("--purejaxrl", metavar="CHECKOUT", help="a checkout of PureJaxRL")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--shape", nargs=2, type=int, default=(64, 128), metavar=("N", "T"))
    parser.add_argument("--updates", type=int, default=20, help="of a run")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    repeats, updates = (1, 2) if args.smoke else (args.repeats, args.updates)
    shape = (2, 4, updates) if args.smoke else (*args.shape, updates)
    runs = {
        "shared": with_memory(args.env, shape, shared=True),
        "separate": with_memory(args.env, shape, shared=False),
        "cell alone": with_memory(args.env, shape, shared=True, hidden_sizes=()),
        "without memory": with_memory(args.env, shape, shared=False, memory=None),
    }
    if args.purejaxrl:
        runs["PureJaxRL"] = purejaxrl(args.purejaxrl, "ppo_rnn.py", CHANGES)(args.env, *shape)
    key, steps = jax.random.key(0), shape[0] * shape[1] * updates
    compiling = {name: _common.seconds(lambda run=run: run(key)) for name, run in runs.items()}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):  # A B A B, so other load on the machine affects all equally
        for name, run in runs.items():
            rates[name].append(steps / _common.seconds(lambda run=run: run(key)))
    print(f"{args.env}, {shape[0]} x {shape[1]}; steps/s, median of {repeats} (least to largest)")
    for name in runs:
        middle, low, high = _common.median_and_spread(rates[name])
        line = f"{name:<16} {middle / 1e3:8.1f}k ({low / 1e3:.1f} to {high / 1e3:.1f})"
        line += f"  first call {compiling[name]:.1f} s"
        if "PureJaxRL" in runs and name != "PureJaxRL":
            pairs = [a / b for a, b in zip(rates[name], rates["PureJaxRL"], strict=True)]
            line += f"  {_common.median_and_spread(pairs)[0]:.2f} x PureJaxRL"
        print(line, flush=True)
    _common.report([{"name": name, "rates": rates[name]} for name in runs], args.json)


if __name__ == "__main__":
    main()
