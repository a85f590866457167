"""Where runs are computed: how many at a time, on which devices, by one compiled program.

A *chunk* is `width` runs on each of D devices.  Every run of a chunk is a row of one vmapped
program, and the devices share nothing (`shard_map`, no collectives), so a run's numbers depend
on the width and on nothing else: not on its place, its neighbours or the number of devices.
For that to hold in *any* sweep, every hyperparameter is an array `[width]` in the program,
swept or not: a constant might be folded, and round differently.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from purejaxvpg import envs
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.normalize import RewardStats
from purejaxvpg.spread import ALONE, Spread
from purejaxvpg.state import TrainResult, TrainState
from purejaxvpg.train import make_segment
from purejaxvpg.vpg import make_learner

Shard = Literal["runs", "envs"]


# ------------------------------------------------------------------------------------ PROGRAM


class Program(NamedTuple):
    """One compiled program for chunks of runs.  W = width * D, the rows of a chunk."""

    width: int  # runs on each device
    rows: int  # W
    own_rows: np.ndarray  # [<= W] int, the rows whose devices belong to this process
    init: Callable[[np.ndarray, Any], TrainState]  # (seeds [W], hp [W]) -> state [W, ...]
    advance: Callable[[TrainState, Any], Any]  # (state, hp [W]) -> TrainResult; state is donated
    place: Callable[[Any], Any]  # numpy [W, ...] -> device arrays, laid out as the program wants
    state_like: TrainState  # shapes and types of the state
    device_bytes: int  # that a chunk takes on each device: arguments, results and temporaries


def compile_program(
    config: VPGConfig,
    length: int,
    width: int,
    devices: Sequence[Any],
    hp_like: Hyperparams,
    shard: Shard = "runs",
) -> Program:
    """Compile `length` updates of a chunk.  The same arguments give the same program again.

    Args:
      hp_like: hyperparameters with leading axis `[...]` of any length, for their structure.
      shard: runs: each device computes `width` runs.  envs: all devices compute one run
        together, its N environments and its batch split over them.
    """
    return _compile_program(config, length, width, tuple(devices), *_likeness(hp_like), shard)


def program_bytes(
    config: VPGConfig, length: int, width: int, device: Any, hp_like: Hyperparams
) -> int:
    """Bytes that a chunk of `width` runs takes on one device, told by compiling it."""
    return _program_bytes(config, length, width, device, *_likeness(hp_like))


@functools.lru_cache(maxsize=256)
def _program_bytes(
    config: VPGConfig, length: int, width: int, device: Any, hp_structure: Any, hp_shapes: tuple
) -> int:
    traced = _trace(config, length, width, (device,), hp_structure, hp_shapes, "runs")
    return _bytes(_compile_segment(traced, tuned=False))


def _likeness(hp_like: Hyperparams) -> tuple[Any, tuple]:
    leaves = tuple((leaf.shape[1:], leaf.dtype) for leaf in jax.tree.leaves(hp_like))
    return jax.tree.structure(hp_like), leaves


@functools.lru_cache(maxsize=32)
def _compile_program(
    config: VPGConfig,
    length: int,
    width: int,
    devices: tuple[Any, ...],
    hp_structure: Any,
    hp_shapes: tuple,
    shard: Shard,
) -> Program:
    traced = _trace(config, length, width, devices, hp_structure, hp_shapes, shard)
    init, advance = _compile_init(traced), _compile_segment(traced)
    place = functools.partial(_place, sharding=traced.over_runs)
    rows = traced.seeds.shape[0]
    return Program(
        width=width,
        rows=rows,
        own_rows=_own_rows(traced.over_runs, rows),
        init=lambda seeds, hp: init(place(seeds), hp),
        advance=advance,
        place=place,
        state_like=traced.state,
        device_bytes=_bytes(advance),
    )


class _Traced(NamedTuple):
    """A chunk's functions, and the shapes and layouts of what they take."""

    init: Callable[..., TrainState]  # (seeds [W] uint32, hp [W]) -> state
    segment: Callable[..., Any]  # (state, hp [W]) -> TrainResult
    seeds: Any
    hp: Any
    state: Any
    mesh: Mesh
    over_runs: NamedSharding  # of seeds, hyperparameters and metrics
    layout: Any  # of the state
    shard: Shard


def _trace(
    config: VPGConfig,
    length: int,
    width: int,
    devices: tuple[Any, ...],
    hp_structure: Any,
    hp_shapes: tuple,
    shard: Shard,
) -> _Traced:
    mesh = Mesh(np.asarray(devices), (shard,), axis_types=(AxisType.Auto,))
    rows = width * len(devices) if shard == "runs" else width
    spread = Spread(len(devices), "envs") if shard == "envs" else ALONE
    one_init = make_learner(config, spread).init
    segment = jax.vmap(make_segment(config, length, spread))

    def init(seeds: jax.Array, hp: Hyperparams) -> TrainState:  # [W] uint32
        return jax.vmap(lambda seed, hp: one_init(jax.random.key(seed), hp))(seeds, hp)

    # What of a chunk lies where: whole runs, or of every run a share of its environments.
    rows_spec: Any = P("runs") if shard == "runs" else P()
    state_spec: Any = P("runs") if shard == "runs" else over_environments(None)
    over_runs = NamedSharding(mesh, rows_spec)
    layout = jax.tree.map(lambda spec: NamedSharding(mesh, spec), state_spec)
    leaves = [jax.ShapeDtypeStruct((rows, *s), d, sharding=over_runs) for s, d in hp_shapes]
    hp = jax.tree.unflatten(hp_structure, leaves)
    seeds = jax.ShapeDtypeStruct((rows,), np.uint32, sharding=over_runs)
    # Each device by itself: split by the compiler instead, a loop that runs until the last row is
    # done would wait for all devices in every turn.
    result_spec = TrainResult(state_spec, rows_spec, rows_spec)
    init = jax.shard_map(init, mesh=mesh, in_specs=rows_spec, out_specs=state_spec, check_vma=False)
    segment = jax.shard_map(
        segment, mesh=mesh, in_specs=(state_spec, rows_spec), out_specs=result_spec, check_vma=False
    )
    state = _with_layout(jax.eval_shape(init, seeds, hp), layout)
    return _Traced(init, segment, seeds, hp, state, mesh, over_runs, layout, shard)


def _compile_init(traced: _Traced) -> Any:
    with jax.set_mesh(traced.mesh):
        jitted = jax.jit(traced.init, out_shardings=traced.layout)
        return jitted.lower(traced.seeds, traced.hp).compile(_options(traced, tuned=False))


def _compile_segment(traced: _Traced, tuned: bool = True) -> Any:
    out_shardings = None
    with jax.set_mesh(traced.mesh):
        if traced.shard == "envs":
            result = jax.eval_shape(traced.segment, traced.state, traced.hp)
            out_shardings = jax.tree.map(lambda _: traced.over_runs, result)
            out_shardings = out_shardings._replace(state=traced.layout)
        # The old state is given up to the new one: without that, two would be held at once.
        jitted = jax.jit(traced.segment, donate_argnums=0, out_shardings=out_shardings)
        return jitted.lower(traced.state, traced.hp).compile(_options(traced, tuned))


def _options(traced: _Traced, tuned: bool) -> dict[str, Any]:
    """Of the compiler."""
    options: dict[str, Any] = {}
    if traced.shard == "runs":
        # A program for several devices is tidied once more than one for a single device, before
        # the passes that both go through, and what is folded there rounds otherwise (jax 0.11).
        # Runs share nothing, so there is nothing to clean up after the partitioner.
        options["xla_disable_hlo_passes"] = "spmd-cleanup"
    if not tuned and traced.mesh.devices.flat[0].platform == "cpu":
        # Tuning machine code is most of a compilation there.  A program that only tells its
        # memory needs none, nor does one that runs once a chunk.
        options["xla_backend_optimization_level"] = 0
    return options


def over_environments(*leading: str | None) -> TrainState:
    """Where the parts of a state lie whose N environments are spread over the devices.

    Args:
      leading: what the axes before N are spread over; None for one that is not.
    """
    whole: Any = P()
    split: Any = P(*leading, "envs")
    rewards = RewardStats(*[whole] * len(RewardStats._fields))._replace(returns=split)
    whole_state = TrainState(*[whole] * len(TrainState._fields))
    return whole_state._replace(env_state=split, obs=split, reward_stats=rewards)


def _with_layout(shapes: Any, layout: Any) -> Any:
    """Shapes with shardings; `layout` is a tree, or a prefix of one, of shardings."""
    full = jax.tree.broadcast(layout, shapes)
    return jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), shapes, full
    )


def _place(tree: Any, sharding: NamedSharding) -> Any:
    # From a callback, so that in a cluster each process gives only the rows of its own devices.
    def one(x: Any) -> jax.Array:
        x = np.asarray(x)
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    return jax.tree.map(one, tree)


def _own_rows(sharding: NamedSharding, rows: int) -> np.ndarray:
    slices = sharding.addressable_devices_indices_map((rows,)).values()
    own = [np.arange(rows)[index] for index in slices if index is not None]
    return np.unique(np.concatenate(own))


def fetch(tree: Any) -> Any:
    """The rows that this process's devices hold, as numpy arrays; keys as their data."""

    def one(x: jax.Array) -> np.ndarray:
        x = _data(x)
        if x.is_fully_addressable:
            return np.asarray(x)
        pieces = {
            shard.index[0].start or 0: np.asarray(shard.data) for shard in x.addressable_shards
        }
        return np.concatenate([pieces[start] for start in sorted(pieces)])

    return jax.tree.map(one, tree)


def fetched_like(tree: Any) -> Any:
    """Shapes and types of what `fetch` brings where all devices are this process's; nothing is
    brought."""
    return jax.eval_shape(lambda tree: jax.tree.map(_data, tree), tree)


def _data(x: jax.Array) -> jax.Array:
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def restore(like: TrainState, host_state: Any) -> TrainState:
    """The state that `fetch` brought to the host, on the devices again.  One process only.

    Args: like: arrays, or their shapes, types and shardings.
    """

    def one(like: Any, x: np.ndarray) -> jax.Array:
        is_key = jnp.issubdtype(like.dtype, jax.dtypes.prng_key)
        array = jax.random.wrap_key_data(jnp.asarray(x)) if is_key else x
        return jax.device_put(array, like.sharding)

    return jax.tree.map(one, like, host_state)


def _bytes(compiled: Any) -> int:
    found = compiled.memory_analysis()
    used = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return used - found.alias_size_in_bytes  # what is donated is counted on both sides


# ---------------------------------------------------------------------------- HYPERPARAMETERS


def stack_hyperparams(config: VPGConfig, hps: Sequence[Hyperparams]) -> Hyperparams:
    """Settings as arrays `[H, ...]`, every leaf of them, the environment's parameters included.

    An environment whose code branches on a parameter cannot have that one traced; there only
    the parameters that `hps` name are.
    """
    env = envs.make(config.env, **dict(config.env_kwargs))
    numbers = [f.name for f in dataclasses.fields(Hyperparams) if f.name != "env_params"]
    stacked = {name: np.asarray([getattr(hp, name) for hp in hps], np.float32) for name in numbers}

    params, defaults = [hp.env_params for hp in hps], env.default_params
    if _all_traceable(config):
        params = [envs.resolve_params(env, own) for own in params]
    elif params[0] is None:
        return Hyperparams(**stacked)
    elif isinstance(params[0], Mapping):
        defaults = {name: envs.get_param(defaults, name) for name in params[0]}

    def stack(default: Any, *values: Any) -> np.ndarray:
        # In the default's own type: 10 for a gravity of 9.8 would be an integer otherwise.
        return np.stack([np.asarray(v, jnp.asarray(default).dtype) for v in values])

    return Hyperparams(**stacked, env_params=jax.tree.map(stack, defaults, *params))


@functools.lru_cache(maxsize=64)
def _all_traceable(config: VPGConfig) -> bool:
    env = envs.make(config.env, **dict(config.env_kwargs))
    learner = make_learner(config)

    def one_update(params: Any) -> Any:
        hp = Hyperparams(env_params=params)
        return learner.update(learner.init(jax.random.key(0), hp), hp)

    try:
        jax.eval_shape(one_update, env.default_params)
    except Exception:  # whatever an environment's own code raises when a branch meets a tracer
        return False
    return True
