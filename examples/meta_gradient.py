"""Hyperparameters by gradient: learning rate and lambda learn while the agent does.

    python examples/meta_gradient.py            # a few minutes
    python examples/meta_gradient.py --smoke    # tiny sizes

An update is a differentiable function of its hyperparameters eta: theta' = update(theta, eta).
Xu et al. 2018 ("Meta-gradient reinforcement learning") climb, after each update,

    d/d eta  J(theta')   =   grad_theta' J(theta') . d theta' / d eta

where the first factor is the policy gradient on fresh experience of theta', judged with fixed
hyperparameters, and the second is the derivative through the update.  `policy_loss` of a second
update is the surrogate whose gradient in theta' is the first factor; so all of it is one `jax.grad`
through two updates.

What it is not: the derivative of the return at the end.  It looks one update ahead, and sampled
actions pass no gradient.  An agent that begins with a learning rate 30 times too small and a poor
lambda is trained twice: with eta fixed, and with eta learned.  Writes a figure of both, and prints

    eta fixed    return   43.5   policy_lr 0.0001   gae_lambda 0.500
    eta learned  return  444.7   policy_lr 0.026   gae_lambda 0.617
    (medians of 8 seeds at the end)

The figure also shows the limit of looking one update ahead: the learning rate goes on growing, to
where some seeds forget what they had learned.
"""

import argparse
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from purejaxvpg import Hyperparams, VPGConfig, make_learner

START = {"policy_lr": float(np.log(1e-4)), "gae_lambda": 0.0}  # unconstrained: logarithm, logit
JUDGE = Hyperparams(gae_lambda=0.95)  # of the fresh experience; never learned


def hyperparams(eta) -> Hyperparams:
    rates = {"policy_lr": jnp.exp(eta["policy_lr"]), "value_lr": 3e-3}
    return Hyperparams(gae_lambda=jax.nn.sigmoid(eta["gae_lambda"]), **rates)


def make_meta_loss(learner):
    def meta_loss(eta, state):
        after, metrics = learner.update(state, hyperparams(eta))
        # V of the judge is a measuring stick: eta must not lower the loss by bending it.
        fixed = after.params._replace(value=lax.stop_gradient(after.params.value))
        _, fresh = learner.update(after._replace(params=fixed), JUDGE)
        return fresh.policy_loss, (after, metrics)  # training goes on from `after`

    return meta_loss


def make_meta_train(config: VPGConfig):
    learner = make_learner(config)
    meta_grad = jax.grad(make_meta_loss(learner), has_aux=True)

    def train(key, meta_lr):
        """A whole run; with meta_lr = 0 eta stays.  Returns etas [U] and metrics [U]."""
        # Clipped: Adam's step is nearly a sign, so its derivative has rare and huge spikes.
        optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(meta_lr))

        def one_update(carry, _):
            state, eta, opt_state = carry
            grads, (state, metrics) = meta_grad(eta, state)
            change, opt_state = optimizer.update(grads, opt_state)
            return (state, optax.apply_updates(eta, change), opt_state), (eta, metrics)

        eta = jax.tree.map(jnp.float32, START)
        start = (learner.init(key), eta, optimizer.init(eta))
        return lax.scan(one_update, start, length=config.num_updates)[1]

    return train


def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--out", type=Path, default=Path("runs/meta_gradient.png"))
    args = parser.parse_args(argv)

    config, seeds = VPGConfig(total_steps=200_000, diagnostics=False), 8
    if args.smoke:
        tiny = {"hidden_sizes": (8,), "value_iterations": 1, "diagnostics": False}
        config, seeds = VPGConfig(total_steps=320, num_envs=2, num_steps=16, **tiny), 2
    keys = jax.vmap(jax.random.key)(jnp.arange(seeds))
    train = jax.vmap(make_meta_train(config), in_axes=(0, None))  # over seeds
    train = jax.jit(jax.vmap(train, in_axes=(None, 0)))  # and over eta fixed, eta learned
    eta, metrics = train(keys, jnp.array([0.0, 0.05]))  # [2, S, U] each

    hp = jax.vmap(jax.vmap(jax.vmap(hyperparams)))(eta)
    sums, counts = np.cumsum([metrics.episode_return_sum, metrics.episode_count], axis=-1)
    back = max(config.num_updates // 10, 1)  # updates of a moving mean
    lagged = [np.pad(x, [(0, 0), (0, 0), (back, 0)])[..., :-back] for x in (sums, counts)]
    returns = (sums - lagged[0]) / np.maximum(counts - lagged[1], 1)  # [2, S, U]
    for name, row in (("fixed", 0), ("learned", 1)):
        middle = [np.median(x[row, :, -1]) for x in (returns, hp.policy_lr, hp.gae_lambda)]
        print(
            "eta {:8} return {:6.1f}   policy_lr {:.2g}   gae_lambda {:.3f}".format(name, *middle)
        )
    print(f"(medians of {seeds} seeds at the end)")
    draw(args.out, config, {"return": returns, "policy_lr": hp.policy_lr, "λ": hp.gae_lambda})


def draw(out: Path, config: VPGConfig, panels) -> None:
    import matplotlib.pyplot as plt

    steps = np.arange(1, config.num_updates + 1) * config.steps_per_update / 1000
    figure, axes = plt.subplots(1, len(panels), figsize=(9, 2.6), layout="constrained")
    for ax, (title, x) in zip(axes, panels.items(), strict=True):
        for color, label, curves in zip(("0.6", "tab:blue"), ("fixed", "learned"), x, strict=True):
            ax.plot(steps, np.asarray(curves).T, color=color, lw=0.5, alpha=0.5)
            ax.plot(steps, np.median(curves, axis=0), color=color, lw=2, label=label)
        ax.set(
            title=title, xlabel="thousand steps", yscale="log" if title == "policy_lr" else "linear"
        )
    axes[0].legend()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out, dpi=150)
    plt.close(figure)
    print(f"figure: {out}")


if __name__ == "__main__":
    main()
