"""Reports of studies made of numbers that look like returns, and their pages, parsed."""

from html.parser import HTMLParser

import numpy as np

from purejaxvpg import Hyperparams, VPGConfig
from purejaxvpg.experiment.groups import configs
from purejaxvpg.experiment.record import StudyRecord
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.page import write_report
from purejaxvpg.state import Metrics

CONFIG = VPGConfig(num_envs=4, num_steps=32, total_steps=128 * 12)
LRS, LAMBDAS = (1e-4, 1e-3, 1e-2), (0.9, 1.0)
RECORD = {
    "command": "purejaxvpg sweep CartPole-v1 --grid policy_lr=1e-4,1e-3,1e-2",
    "versions": {"python": "3.11.9", "jax": "0.9.2"},
    "device": "cpu:0",
    "num_devices": 2,
    "widths": [8, 4],
    "seconds": 93.0,
    "compile_seconds": 11.0,
    "steps": 93_000,
    "complete": True,
}


def synthetic(design, seeds=8, config=CONFIG, missing=(), diverged=(), reached=None, record=RECORD):
    """A study whose runs end one episode of 32 steps per environment and update; setting h of H
    climbs towards 100 (h + 1), more or less.

    Args: missing: [(h, s)]; diverged: [(h, s, first update without `finite`, from 1)];
    reached: {h: updates at which it was pruned}.
    """
    each = configs(design, config)
    num_updates = np.asarray([config.num_updates for config in each])
    shape = (len(each), seeds, num_updates.max())
    rng = np.random.default_rng(0)
    metrics = {name: np.full(shape, np.nan, np.float32) for name in Metrics._fields}
    steps = np.full((shape[0], shape[2]), np.nan)
    updates = np.zeros(shape[:2], int)
    for h, s in np.ndindex(shape[:2]):
        batch = each[h].steps_per_update
        steps[h, : num_updates[h]] = np.arange(1, num_updates[h] + 1) * batch
        if (h, s) in missing:
            continue
        end = updates[h, s] = (reached or {}).get(h, num_updates[h])
        level = 100 * (h + 1) * np.linspace(0.1, 1, num_updates[h])[:end] + rng.normal(0, 30, end)
        metrics["episode_return_sum"][h, s, :end] = level * each[h].num_envs
        metrics["episode_count"][h, s, :end] = each[h].num_envs
        metrics["finite"][h, s, :end] = 1
    for h, s, first in diverged:
        metrics["finite"][h, s, first - 1 :] = 0
    evaluations = {}
    if most := max(c.num_updates // c.eval_every if c.eval_every else 0 for c in each):
        returns = np.full((*shape[:2], most, 3), np.nan)
        for h in [h for h, c in enumerate(each) if c.eval_every]:
            at = np.arange(each[h].eval_every, num_updates[h] + 1, each[h].eval_every) - 1
            level = metrics["episode_return_sum"][h][:, at, None] / each[h].num_envs
            returns[h, :, : len(at)] = level + np.arange(3)
        evaluations["returns"] = returns
        evaluations["finished"] = np.where(np.isnan(returns), np.nan, 1)
    pruned = np.asarray([h in (reached or {}) for h in range(shape[0])])
    return Study(
        config, Hyperparams(), design, np.arange(seeds), steps, metrics, evaluations, updates,
        num_updates, pruned, StudyRecord(**record),
    )  # fmt: skip


class Page(HTMLParser):
    """Tags with their attributes, text by section, and the rows of every table."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.section, self.texts = [], {}, "", {}
        self.cell = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag == "section":
            self.section = attrs.get("id", attrs.get("class", ""))
        elif tag == "table":
            self.tables.setdefault(self.section, []).append([])
        elif tag == "tr":
            self.tables[self.section][-1].append([])
        elif tag in ("td", "th"):
            self.cell = ""
        elif tag == "data" and self.cell is not None:
            self.values = float(attrs["value"])

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[self.section][-1][-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        self.texts[self.section] = self.texts.get(self.section, "") + data
        if self.cell is not None:
            self.cell += data

    def attributes(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def report(study, folder, **options):
    path = write_report(study, folder, **options)
    assert path == folder / "report.html"
    text = path.read_text(encoding="utf-8")
    return text, Page(text)
