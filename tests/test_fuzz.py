"""200 command lines that are wrong: exit code 2, one line, no traceback, no file left behind."""

import random

import pytest

from purejaxvpg import cli

CASES = 200
TINY = "--num-envs 2 --num-steps 8 --total-steps 64 --hidden-sizes 8 --value-iterations 1"

# Words that make a good line bad, wherever they are put after the command's own.
TRAIN_OR_SWEEP = [
    "--num-envs 0", "--num-envs -3", "--num-envs x", "--num-envs 2.5", "--num-envs",
    "--num-steps 0", "--num-steps 7", "--num-steps 1e3", "--total-steps -1", "--total-steps 63",
    "--hidden-sizes 0", "--hidden-sizes -4 8", "--hidden-sizes a", "--value-iterations -1",
    "--policy-lr -1", "--policy-lr nan", "--policy-lr inf", "--policy-lr x", "--value-lr -0.1",
    "--gamma 1.1", "--gamma -0.1", "--gamma nan", "--gamma", "--gae-lambda 2", "--gae-lambda ''",
    "--max-grad-norm 0", "--max-grad-norm -1", "--adam-eps 0", "--adam-eps inf",
    "--entropy-coef inf", "--entropy-coef x", "--value-coef -1", "--greedy-start 2",
    "--greedy-end -1", "--estimator gea", "--estimator", "--estimator total_return",
    "--value-target x", "--rollout whole", "--rollout episodes", "--std none",
    "--bounding squash", "--optimizer adma", "--lr-schedule step", "--network rnn",
    "--network no.such:Net", "--estimator json:no_such", "--optimizer json:__doc__",
    "--activation reluu", "--kernel-init orthogonall", "--n-step 0", "--gradient-rows 0",
    "--eval-every 3", "--eval-every -1", "--eval-episodes 0", "--eval-steps 0", "--init-std 0",
    "--init-std -1", "--min-std 2", "--obs-clip 0", "--obs-clip inf", "--max-episode-steps 0",
    "--env-params gravity", "--env-params gravity=x", "--env-params gravty=9.8",
    "--env-params gravity=nan", "--env-params gravity=1 gravity=2", "--env-kwargs size",
    "--env-kwargs size=10", "--num-seeds 0", "--num-seeds -1", "--num-seeds x", "--seed -1",
    "--seed 4294967296", "--seed x", "--no-such-flag", "--numenvs 2", "--diagnostics maybe",
    "--checkpoint-minutes -1", "--checkpoint-minutes x", "--checkpoint-minutes inf",
    "--checkpoint-updates -1", "--checkpoint-updates 1.5", "--keep-policies some",
    "--keep-policies", "--chunk-size 0", "--chunk-size -1", "--chunk-size x",
    "--memory-limit x", "--memory-limit -1", "--memory-limit 1PB", "--memory-limit 10",
    "--split seeds", "-x", "surplus", "''", "--resume there",
]  # fmt: skip
SWEEP = [
    "--grid policy_lr", "--grid policy_lr=", "--grid =1", "--grid polcy_lr=1", "--grid gamma=2",
    "--grid gamma=a", "--grid num_envs=3", "--grid gamma=0.9 gamma=0.8",
    "--zip gamma=0.9,0.8 policy_lr=1,2", "--zipped gamma=0.9,0.8 policy_lr=1",
    "--zipped gamma", "--sample gamma=0.9", "--sample gamma=log:0:1",
    "--sample gamma=uniform:1:0 --num-samples 2", "--sample gamma=uniform:0:1",
    "--num-samples 3", "--sampler grid", "--shard 1", "--shard 2/2", "--shard -1/2",
    "--shard a/b", "--prune best", "--prune successive_halving --shard 0/2",
    "--prune successive_halving --rungs 1", "--prune successive_halving --keep 1",
    "--prune successive_halving --keep nan", "--process-id 1", "--num-processes 2",
    "--coordinator here:1",
]  # fmt: skip
WHOLE = [
    "", "trian CartPole-v1", "train", "train CartPole-v2", "train cartpole",
    "train --env CartPole-v1", "train CartPole-v1 Pendulum-v1", "sweep", "plan",
    "sweep Nothing-v0", "eval", "eval none", "eval file", "eval none --num-episodes 0",
    "eval none --seed x", "eval none --best --where", "eval file --where gamma",
    "export", "export none", "export file", "export none --seed x",
    "repro", "repro none", "repro file", "merge", "merge out", "merge out none",
    "merge out file", "report", "report none", "report file", "report none --target x",
    "envs all", "--version 2", "--nothing", "train --resume none", "train --resume file",
    "sweep --resume none", "sweep --resume file", "train CartPole-v1 --out file",
    "train CartPole-v1 --out file/below", "sweep CartPole-v1 --out file",
    "sweep CartPole-v1 --out file/below",
]  # fmt: skip


def lines():
    """Each bad word on a line that is good without it, in a random place and order."""
    draw, found = random.Random(0), list(WHOLE)
    for command, bad in (("train", TRAIN_OR_SWEEP), ("sweep", SWEEP + TRAIN_OR_SWEEP)):
        for words in bad:
            good = [command, "CartPole-v1", TINY, "--out out"]
            place = draw.choice([3, 4])  # behind the good ones, for the last of a name counts
            found.append(" ".join([*good[:place], words, *good[place:]]))
    draw.shuffle(found)
    return found


ALL = lines()


def test_there_are_enough():
    assert len(set(ALL)) >= CASES


@pytest.mark.parametrize("part", range(8))
def test_a_bad_line_is_one_line(part, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for line in ALL[part::8]:
        words = [word.strip("'") for word in line.split(" ")] if line else []
        code = cli.main(words)
        said = capsys.readouterr()
        assert code == 2, (line, said.out)
        assert said.err.count("\n") == 1, (line, said.err)
        assert said.err.startswith("purejaxvpg: error: "), line
        assert "Traceback" not in said.err + said.out
        assert [path.name for path in tmp_path.iterdir()] == ["file"], line
        assert (tmp_path / "file").read_text() == ""
