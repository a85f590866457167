"""eval, export: policies that a run or study keeps."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.table import Table

from purejaxvpg.cli import typed
from purejaxvpg.cli.output import print_diverged
from purejaxvpg.cli.terminal import console, say, show, user_errors
from purejaxvpg.envs import get_param, make, ranges_of, shown
from purejaxvpg.experiment import policy_files
from purejaxvpg.experiment.evaluation import evaluate_setting, policies_of
from purejaxvpg.experiment.files import inside, write_whole
from purejaxvpg.experiment.folder import load_study
from purejaxvpg.experiment.study import Study
from purejaxvpg.extras import require
from purejaxvpg.report import tables
from purejaxvpg.report.labels import BASE, range_labels, setting_labels
from purejaxvpg.state import Evaluation
from purejaxvpg.statistics import LAST_EPISODES, bootstrap

WAYS = ("greedy", "sampled")  # the mode of the policy, or draws from it


def evaluate(args: Any) -> None:
    """Evaluate policies of a run or study, with the environment parameters they trained on, or
    those of --env-params, a row for each.

    Greedily and with actions drawn from them, unless one of the two is asked for: they may score
    very differently.
    """
    with user_errors():
        _check_episodes(args)
        study = finished_study(args.folder)
        settings = chosen_settings(study, args)
        seeds = study.seeds if args.seed == -1 else np.asarray([args.seed])
        ways = [way for way in WAYS if getattr(args, way)] or list(WAYS)
        points = typed.combinations(args.env_params)
        rows = [(int(h), point) for h in settings for point in points]
        outcomes = [
            {way: _outcome(study, h, seeds, args, way, point) for way in ways} for h, point in rows
        ]
        defaults = _defaults_of_ranges(study, rows)
    episodes = " and ".join(f"{args.num_episodes} {way}" for way in ways)
    title = f"{shown(study.config.env)}: {episodes} episodes a seed"
    labels = _labels(study, rows)
    if len(rows) == 1:
        label = f" ({labels[0]})" if labels[0] else ""
        show(tables.summary(title + label, _rows(outcomes[0])))
    else:
        show(_table(title, labels, outcomes))
    say(*defaults)
    print_unjudged(study)
    print_diverged(study)
    for way in ways:
        cut = sum(int((~np.asarray(outcome[way].finished)).sum()) for outcome in outcomes)
        if cut:
            console.print(f"{cut} {way} episodes reached the step bound; their returns are partial")


def export(args: Any) -> None:
    """Write the policy of one run, with a card of what it is.

    The run is the best of its setting by episodes in which policies act as this one will.
    """
    with user_errors():
        _check_episodes(args)
        if args.onnx:
            require("onnx", "onnx")  # now, not when all seeds have been evaluated
        study = finished_study(args.folder)
        setting, way = only_setting(study, args), "sampled" if args.sampled else "greedy"
        seeds = _candidates(study, setting) if args.seed == -1 else np.asarray([args.seed])
        outcome = _outcome(study, setting, seeds, args, way)
        returns = np.asarray(outcome.returns, np.float64).mean(1)  # [K]
        trained = study.scores()[setting, np.searchsorted(study.seeds, seeds)]  # [K]
        place = _best(returns, trained)
        seed, judged = int(seeds[place]), f"mean return of {args.num_episodes} {way} episodes"
        last = "evaluation" if study.evaluations else f"{LAST_EPISODES} episodes"
        scores = {judged: returns[place], f"return of the last {last}": trained[place]}
        params, obs_stats = policies_of(study, setting, np.asarray([seed]))
        params, obs_stats = jax.tree.map(lambda x: x[0], (params, obs_stats))
        config, hp = study.setting(setting)
        defaults = _defaults_of_ranges(study, [(setting, {})])
        folder = Path(args.out) if args.out else inside(Path(args.folder), "policy")
        card = {**scores, "seed": seed}
        policy_files.save_policy(folder, config, params, obs_stats, hp, card, onnx=args.onnx)
        if args.compiled:
            policy = policy_files.load_policy(folder)
            data = policy_files.compiled(policy, sampled=args.sampled)
            write_whole(folder / "policy.jax", data)
    chosen = f"the best of {len(seeds)} by" if args.seed == -1 else "as asked for, with"
    say(f"seed {seed}: {chosen} a {judged}, {returns[place]:.1f}")
    say(*defaults)
    print_unjudged(study)
    print_diverged(study)
    say(f"policy of seed {seed}: {folder}")


def _check_episodes(args: Any) -> None:
    if args.num_episodes < 1:
        given = args.num_episodes
        raise ValueError(f"num_episodes={given} is out of range; accepted: an integer >= 1")


def _outcome(
    study: Study, setting: int, seeds: np.ndarray, args: Any, way: str, env_params: Any = None
) -> Evaluation:
    how = (seeds, args.num_episodes, way == "greedy", args.eval_seed)
    return evaluate_setting(study, setting, *how, env_params)


def _labels(study: Study, rows: list[tuple[int, dict[str, Any]]]) -> list[str]:
    """Setting and parameters of each row, as text.  Args: rows: places of settings, parameters."""
    settings = setting_labels(study.design.settings())
    points = setting_labels([point for _, point in rows])
    labels = zip([settings[h] for h, _ in rows], points, strict=True)
    return [", ".join(text for text in label if text != BASE) for label in labels]


def _defaults_of_ranges(study: Study, rows: list[tuple[int, dict[str, Any]]]) -> list[str]:
    """Lines on parameters that training drew and that these evaluations leave at their defaults.

    Args: rows: places of settings, and the parameters that evaluations give them.
    """
    lines: dict[str, None] = {}
    for place, given in rows:
        config, hp = study.setting(place)
        ranges = ranges_of(hp.env_params)
        ranges = {name: span for name, span in ranges.items() if name not in given}
        if ranges:
            env = make(config.env, **dict(config.env_kwargs))
            at = ", ".join(f"{name}={get_param(env.default_params, name)}" for name in ranges)
            lines[
                f"evaluated at the environment's default of {at}; training drew "
                f"{range_labels(ranges)} for each episode"
            ] = None
    return list(lines)


def _candidates(study: Study, setting: int) -> np.ndarray:
    """Seeds to choose from: those that are done, and did not diverge if any did not.  [K]"""
    done, diverged = study.done[setting], study.diverged[setting]  # [S]
    eligible = done & ~diverged if (done & ~diverged).any() else done
    return study.seeds[eligible]


def _best(returns: np.ndarray, trained: np.ndarray) -> int:
    """Place of the highest return; of several, of the highest score in training.  `[K]` each."""
    pairs = [np.nan_to_num(x, nan=-np.inf).tolist() for x in (returns, trained)]
    order = list(zip(*pairs, strict=True))
    return order.index(max(order))


def finished_study(folder: str) -> Study:
    """The study in a folder.  Raises: ValueError if none of its runs is done."""
    study = load_study(folder)
    if not study.done.any():
        command = "sweep" if study.design.axes else "train"
        raise ValueError(
            f"no run in {folder} is done; go on with it: purejaxvpg {command} --resume {folder}"
        )
    return study


def chosen_settings(study: Study, args: Any) -> np.ndarray:
    """Places of the settings that --best and --where choose; all that are done without them.

    Both together: the best, of each condition, of the settings that --where leaves.
    """
    where = typed.pairs("where", args.where, "policy_lr=3e-3")
    if args.best:
        best = study.best_of_each(**where)
        return best if len(best) else np.asarray([study.best(**where)])  # which says why
    if where:
        return study.where(**where)
    return np.flatnonzero(study.done.all(1)) if study.done.all(1).any() else np.arange(1)


def only_setting(study: Study, args: Any) -> int:
    """Place of the one setting that --best and --where leave.  Raises: ValueError for several."""
    settings = chosen_settings(study, args)
    if len(settings) > 1:
        names = study.design.conditions if args.best else study.design.names
        raise ValueError(
            f"{len(settings)} settings are left to choose from; pass "
            f"{'' if args.best else '--best, or '}--where with values of {', '.join(names)}"
        )
    return int(settings[0])


def print_unjudged(study: Study) -> None:
    """How many runs could not be chosen, since they are not done."""
    if missing := int((~study.done & ~study.pruned[:, None]).sum()):
        say(f"{missing} of {study.done.size} runs are not done, and were not judged")


def _means(outcome: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths, means over the episodes of each seed.  `[S]` each"""
    returns, lengths = (np.asarray(x, np.float64) for x in (outcome.returns, outcome.lengths))
    return returns.mean(1), lengths.mean(1)


def _rows(outcomes: dict[str, Evaluation]) -> dict[str, np.ndarray]:
    """Rows of a table of one setting: both ways of a number beneath each other."""
    means = {way: _means(outcome) for way, outcome in outcomes.items()}
    kinds = ("return", "length")
    return {f"{way} {kind}": means[way][i] for i, kind in enumerate(kinds) for way in means}


def _table(title: str, labels: list[str], outcomes: list[dict[str, Evaluation]]) -> Table:
    """A row for each setting and way: the interquartile mean over seeds, and the mean length."""
    table = Table(title=title, title_justify="left")
    table.add_column("setting", overflow="fold")
    for heading in ("actions", "IQM of returns", "95% of IQM", "length", "seeds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for label, ways in zip(labels, outcomes, strict=True):
        for number, (way, outcome) in enumerate(ways.items()):
            returns, lengths = _means(outcome)
            iqm = bootstrap(returns)
            interval = "-" if np.isnan(iqm.low) else f"[{iqm.low:.1f}, {iqm.high:.1f}]"
            numbers = (f"{iqm.value:.1f}", interval, f"{lengths.mean():.1f}", f"{len(returns)}")
            table.add_row("" if number else label, way, *numbers)
    return table
