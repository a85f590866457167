"""render: a policy at play, as an animation."""

from pathlib import Path
from typing import Any

import numpy as np

from purejaxvpg.cli.output import print_diverged
from purejaxvpg.cli.policies import finished_study, only_setting, print_unjudged
from purejaxvpg.cli.terminal import say, user_errors
from purejaxvpg.experiment.animation import NAME, check_place, write_animation
from purejaxvpg.experiment.files import inside
from purejaxvpg.experiment.playing import best_seed, play
from purejaxvpg.experiment.study import Study
from purejaxvpg.report.labels import setting_labels


def render(args: Any) -> None:
    """Show episodes of one policy of a run or study, those that eval counts with as many."""
    with user_errors():
        study = finished_study(args.folder)
        setting = only_setting(study, args)
        path = check_place(args.out or inside(Path(args.folder), NAME))
        seed = best_seed(study, setting) if args.seed == -1 else args.seed
        how = (args.num_episodes, not args.sampled, args.eval_seed, args.max_steps)
        episodes = play(study, setting, seed, *how)
        note = _note(study, setting, seed, args)
        frames = write_animation(path, episodes, args.fps, args.scale, args.text, note)
    returns, lengths = [x.returns[-1] for x in episodes], [x.length for x in episodes]
    chosen = "the best in training" if args.seed == -1 else "as asked for"
    say(f"seed {seed}: {chosen}; return {np.mean(returns):.1f}, length {np.mean(lengths):.1f}")
    if cut := sum(not x.finished for x in episodes):
        say(f"{cut} of {len(episodes)} episodes were cut at --max-steps {args.max_steps:,}")
    print_unjudged(study)
    print_diverged(study)
    say(f"{frames:,} frames: {path}")


def _note(study: Study, setting: int, seed: int, args: Any) -> str:
    """Words on the policy, for the file."""
    label = setting_labels(study.design.settings())[setting] if study.design.axes else ""
    way = "actions drawn from the policy" if args.sampled else "the policy's mode"
    return ", ".join(filter(None, [label, f"seed {seed}", way]))
