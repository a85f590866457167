"""Speed compared with other libraries on the same work, in turn: ours, theirs, ours, theirs.

    python benchmarks/peers.py                                  # all that pip can install
    python benchmarks/peers.py --peer rejax --shape 64 128
    python benchmarks/peers.py --peer spinningup_vpg --spinningup CHECKOUT --shape 8 500
    python benchmarks/peers.py --peer cleanrl_ppo --cleanrl CHECKOUT

Each peer gets a separate virtual environment in the folder `--environments`.  It is made at the
first use from the package registry (those with PyTorch are large).  Each measurement is a separate
process.

Same work for all: CartPole, two tanh layers of 64 for the policy and for the value function,
batches of N x T steps, one gradient step of each per batch.  A peer that has the option takes
`--value-iterations` steps of the value function.  The table below and the files of `_peers/` list
the differences.  Rates are steps per second without compilation.
"""

import importlib.util
import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any, NamedTuple

import _common

HERE = Path(__file__).parent
SHAPES = [(4, 128), (64, 128), (2048, 32), (2048, 128)]  # N, T


class Peer(NamedTuple):
    """A library: packages to install, and differences between its work and ours."""

    requirements: tuple[str, ...]
    differs: str
    checkout: str = ""  # name of the option that gives a checkout of it


PEERS = {
    "rejax": Peer(
        ("rejax==0.1.3", "gymnax<1", "jax[cpu]>=0.9,<0.10"),
        "PPO's ratio and clipping; V of every step while it acts; a batch that is shuffled",
    ),
    "sbx_ppo": Peer(
        ("sbx-rl", "gymnasium"),
        "environments step in Python; PPO's ratio and clipping",
    ),
    "stable_baselines3_a2c": Peer(
        ("stable-baselines3", "gymnasium"),
        "environments step in Python; one joint loss, RMSProp",
    ),
    "cleanrl_ppo": Peer(
        ("torch", "gymnasium", "tyro", "numpy"),
        "environments step in Python; PPO's ratio and clipping; its own printed rate",
        "cleanrl",
    ),
    "spinningup_vpg": Peer(
        ("torch", "gymnasium", "scipy", "numpy"),
        "one environment, stepped in Python, for all N x T steps of a batch",
        "spinningup",
    ),
}


def environment(name: str, folder: Path) -> Path:
    """Path to the Python of a peer's virtual environment, which is made if it is missing."""
    home = folder / name
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    done = home / "installed"
    if not done.exists():
        print(f"setting up {home}", flush=True)
        venv.create(home, with_pip=True, clear=True)
        command = [python, "-m", "pip", "install", "--quiet", *PEERS[name].requirements]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            last = (result.stderr.strip().splitlines() or ["pip printed no error"])[-1]
            raise SystemExit(f"{name} cannot be installed: {last}")
        done.touch()
    return python


def measure(python: Path, name: str, job: dict[str, Any]) -> dict[str, float]:
    """Measure one run in a separate process."""
    command = [str(python), str(HERE / "_peers" / f"{name}.py"), json.dumps(job)]
    return _common.apart(command, name)


def main() -> None:
    """Measure each peer in turn with this package."""
    parser = _common.parser(__doc__)
    parser.add_argument("--peer", action="append", choices=sorted(PEERS), help="only this one")
    parser.add_argument("--shape", nargs=2, type=int, action="append", metavar=("N", "T"))
    parser.add_argument("--value-iterations", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--environments", type=Path, default=HERE / ".peers", metavar="FOLDER")
    for peer in PEERS.values():
        if peer.checkout:
            parser.add_argument(f"--{peer.checkout}", metavar="CHECKOUT", default="")
    args = parser.parse_args()
    this_python = Path(sys.executable)
    if importlib.util.find_spec("purejaxvpg") is None:
        raise SystemExit("purejaxvpg is not installed for this Python; pip install -e .")
    shapes = [(2, 4)] if args.smoke else args.shape or SHAPES
    names = args.peer or [n for n, p in PEERS.items() if not p.checkout or vars(args)[p.checkout]]
    if args.smoke:
        names, args.repeats = [], 1  # installs nothing, measures only ours
    results = []
    for num_envs, num_steps in shapes:
        job = {
            "envs": num_envs,
            "steps": num_steps,
            "updates": 2 if args.smoke else max(2, 500_000 // (num_envs * num_steps)),
            "value_iterations": args.value_iterations,
        }
        for name in names or ["ours"]:
            theirs = environment(name, args.environments) if name in PEERS else this_python
            checkout = vars(args)[PEERS[name].checkout] if names and PEERS[name].checkout else ""
            pairs = []
            for _ in range(args.repeats):
                ours = measure(this_python, "ours", job)
                peer = measure(theirs, name, job | {"checkout": checkout})
                pairs.append((ours["steps"] / ours["seconds"], peer["steps"] / peer["seconds"]))
            middle = [_common.median_and_spread(list(rates)) for rates in zip(*pairs, strict=True)]
            ratio, low, high = _common.median_and_spread([ours / peer for ours, peer in pairs])
            print(
                f"{num_envs:>5} x {num_steps:<4} {name:<22} {middle[1][0]:>12,.0f} steps/s "
                f"({middle[1][1]:,.0f} to {middle[1][2]:,.0f}); ours {middle[0][0]:,.0f} "
                f"({middle[0][1]:,.0f} to {middle[0][2]:,.0f}): {ratio:.2f} x "
                f"({low:.2f} to {high:.2f})",
                flush=True,
            )
            results.append({"name": name, **job, "pairs": pairs, "ratio": ratio})
    for name in names:
        print(f"{name}: {PEERS[name].differs}")
    _common.report(results, args.json)


if __name__ == "__main__":
    main()
