"""eval, export: policies that a run or study keeps."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.table import Table

from purejaxvpg.cli import parsing
from purejaxvpg.cli.output import print_diverged
from purejaxvpg.cli.terminal import console, say, user_errors
from purejaxvpg.experiment import policy_files
from purejaxvpg.experiment.evaluation import evaluate_setting, policies_of
from purejaxvpg.experiment.files import write_whole
from purejaxvpg.experiment.folder import load_study
from purejaxvpg.experiment.study import Study
from purejaxvpg.report import tables
from purejaxvpg.report.labels import setting_labels
from purejaxvpg.state import Evaluation
from purejaxvpg.statistics import LAST_EPISODES, bootstrap


def evaluate(args: Any) -> None:
    """Evaluate policies of a run or study, with the environment parameters they trained on."""
    with user_errors():
        if args.num_episodes < 1:
            given = args.num_episodes
            raise ValueError(f"num_episodes={given} is out of range; accepted: an integer >= 1")
        study = _finished(args.folder)
        settings = _settings(study, args)
        seeds = study.seeds if args.seed == -1 else np.asarray([args.seed])
        how = (seeds, args.num_episodes, args.greedy, args.eval_seed)
        outcomes = [evaluate_setting(study, int(h), *how) for h in settings]
    kind = "greedy" if args.greedy else "sampled"
    title = f"{study.config.env}: {args.num_episodes} {kind} episodes a seed"
    labels = setting_labels(study.design.settings())
    if len(settings) == 1:
        label = f" ({labels[settings[0]]})" if study.design.axes else ""
        console.print(tables.summary(title + label, _columns(outcomes[0])))
    else:
        console.print(_table(title, [labels[h] for h in settings], outcomes))
    print_diverged(study)
    cut = sum(int((~np.asarray(outcome.finished)).sum()) for outcome in outcomes)
    if cut:
        console.print(f"{cut} episodes reached the step bound; their returns are partial")


def export(args: Any) -> None:
    """Write the policy of one run, with a card of what it is."""
    with user_errors():
        study = _finished(args.folder)
        settings = _settings(study, args)
        if len(settings) > 1:
            names = study.design.conditions if args.best else study.design.names
            raise ValueError(
                f"{len(settings)} settings are left to choose from; pass "
                f"{'' if args.best else '--best, or '}--where with values of {', '.join(names)}"
            )
        setting, scores = int(settings[0]), study.scores()[settings[0]]  # [S]
        best = int(np.nanargmax(np.where(np.isnan(scores), -np.inf, scores)))
        seed = int(study.seeds[best]) if args.seed == -1 else args.seed
        params, obs_stats = policies_of(study, setting, np.asarray([seed]))
        params, obs_stats = jax.tree.map(lambda x: x[0], (params, obs_stats))
        config, hp = study.setting(setting)
        row = int(np.flatnonzero(study.seeds == seed)[0])
        last = "evaluation" if study.evaluations else f"{LAST_EPISODES} episodes"
        card = {f"return of the last {last}": scores[row], "seed": seed}
        folder = Path(args.out or Path(args.folder) / "policy")
        policy_files.save_policy(folder, config, params, obs_stats, hp, card)
        if args.compiled:
            data = policy_files.compiled(policy_files.load_policy(folder))
            write_whole(folder / "policy.jax", data)
    say(f"policy of seed {seed}: {folder}")


def _finished(folder: str) -> Study:
    """The study in a folder.  Raises: ValueError if none of its runs is done."""
    study = load_study(folder)
    if not study.done.any():
        command = "sweep" if study.design.axes else "train"
        raise ValueError(
            f"no run in {folder} is done; go on with it: purejaxvpg {command} --resume {folder}"
        )
    return study


def _settings(study: Study, args: Any) -> np.ndarray:
    """Places of the settings that --best and --where choose; all that are done without them.

    Both together: the best, of each condition, of the settings that --where leaves.
    """
    where = parsing.pairs("where", args.where, "policy_lr=3e-3")
    if args.best:
        best = study.best_of_each(**where)
        return best if len(best) else np.asarray([study.best(**where)])  # which says why
    if where:
        return study.where(**where)
    return np.flatnonzero(study.done.all(1)) if study.done.all(1).any() else np.arange(1)


def _columns(outcome: Evaluation) -> dict[str, np.ndarray]:
    """Means over the episodes of each seed."""
    return {
        "return": np.asarray(outcome.returns, np.float64).mean(1),
        "episode length": np.asarray(outcome.lengths, np.float64).mean(1),
    }


def _table(title: str, labels: list[str], outcomes: list[Evaluation]) -> Table:
    """One row a setting: the interquartile mean over seeds, and the mean length."""
    table = Table(title=title, title_justify="left")
    table.add_column("setting")
    for heading in ("IQM of returns", "95% of IQM", "episode length", "seeds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, outcome in zip(labels, outcomes, strict=True):
        columns = _columns(outcome)
        iqm = bootstrap(columns["return"])
        interval = "-" if np.isnan(iqm.low) else f"[{iqm.low:.1f}, {iqm.high:.1f}]"
        length = f"{columns['episode length'].mean():.1f}"
        table.add_row(label, f"{iqm.value:.1f}", interval, length, f"{len(columns['return'])}")
    return table
