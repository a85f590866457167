"""Segments made by hand, and logs read back."""

import json
import struct
from pathlib import Path

import jax
import numpy as np

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.loggers import Segment
from purejaxvpg.state import Evaluation, Metrics

CONFIG = VPGConfig(num_envs=2, num_steps=8, total_steps=16 * 12, hidden_sizes=(8,))  # U = 12
U = CONFIG.num_updates


def make_segment(first, updates, config=CONFIG, runs=(0, 1), values=({}, {}), **metrics):
    """Two runs, or others, from update `first` to `updates`; the i-th field of metrics is
    100 i + run + update / 16.

    Args: metrics: other values of fields, `[k, n]` or what broadcasts to it.
    """
    runs, now = np.asarray(runs), np.arange(first + 1, updates + 1)
    shape = (len(runs), len(now))
    each = {}
    for i, name in enumerate(Metrics._fields):
        value = metrics.get(name, 100 * i + runs[:, None] + now / 16)
        each[name] = np.broadcast_to(np.asarray(value, np.float32), shape)
    each["finite"] = np.broadcast_to(np.asarray(metrics.get("finite", True), bool), shape)
    evaluations = None
    if config.eval_every:
        at = now[now % config.eval_every == 0]
        returns = np.broadcast_to(runs[:, None, None] + at[:, None] + np.asarray([0.0, 1.0]),
                                  (len(runs), len(at), 2))  # fmt: skip
        evaluations = Evaluation(returns, np.full(returns.shape, 7), np.ones(returns.shape, bool))
    hp = Hyperparams(policy_lr=np.float32(0.5) + runs.astype(np.float32))
    hp = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x, np.float32), len(runs)), hp)
    settings = runs // 2 if values[0] else np.zeros(len(runs), int)
    ids = (runs, updates, config.num_updates, updates / 4)
    return Segment(*ids, Metrics(**each), evaluations, None, config, hp, runs % 2, settings,
                   values, 0)  # fmt: skip


def read_lines(path):
    """Rows of metrics.jsonl as dicts.  ValueError for what strict JSON does not have."""

    def refuse(name):
        raise ValueError(name)

    return [json.loads(line, parse_constant=refuse) for line in Path(path).read_text().splitlines()]


def without_rates(rows):
    """The rows less what depends on the clock."""
    return [{name: x for name, x in row.items() if name != "charts/SPS"} for row in rows]


def read_events(folder):
    """(step, {tag: value}) of the event files of a run, as TensorBoard shows them: what a session
    begins at purges what the sessions before it have there and later."""
    from tensorboardX.proto.event_pb2 import Event, SessionLog

    points = []
    for path in sorted(Path(folder).glob("events*"), key=lambda path: path.name.split(".")[3:]):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 16 + length
            if event.HasField("session_log") and event.session_log.status == SessionLog.START:
                points = [(step, values) for step, values in points if step < event.step]
            if event.HasField("summary"):
                values = {value.tag: value.simple_value for value in event.summary.value}
                points.append((event.step, values))
    return points
