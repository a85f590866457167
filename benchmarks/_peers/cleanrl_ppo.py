"""CleanRL's ppo.py from a checkout, one epoch of one minibatch: the rate that it prints last.

Its summary writer is stood in for by one that writes nothing.
"""

import contextlib
import io
import json
import runpy
import sys
import types
from pathlib import Path


class Silent:
    """A SummaryWriter that writes nothing."""

    def __init__(self, *_: object):
        pass

    def __getattr__(self, name: str):
        return lambda *_: None


job = json.loads(sys.argv[1])
board = types.ModuleType("torch.utils.tensorboard")
board.SummaryWriter = Silent
sys.modules["torch.utils.tensorboard"] = board
batch = job["envs"] * job["steps"]
total = batch * min(job["updates"], max(1, 30_000 // batch))
sys.argv = ["ppo.py", "--num-envs", job["envs"], "--num-steps", job["steps"], "--update-epochs", 1]
sys.argv += ["--num-minibatches", 1, "--total-timesteps", total, "--ent-coef", 0.0, "--no-cuda"]
sys.argv = [str(word) for word in sys.argv]
printed = io.StringIO()
with contextlib.redirect_stdout(printed):
    runpy.run_path(str(Path(job["checkout"]) / "cleanrl" / "ppo.py"), run_name="__main__")
rates = [line.split()[1] for line in printed.getvalue().splitlines() if line.startswith("SPS:")]
print(json.dumps({"steps": total, "seconds": total / float(rates[-1])}))
