"""One compiled program for a chunk of runs, on all devices.

A *chunk* is `width` runs on each of D devices.  Every run of a chunk is a row of one vmapped
program, and the devices share nothing (`shard_map`, no collectives), so a run's numbers depend
on the width and on nothing else: not on its place, its neighbours or the number of devices.
For that to hold in *any* study, every hyperparameter is an array `[width]` in the program,
swept or not: a constant might be folded, and round differently.
"""

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from purejaxvpg.compute import STUDY_KEYS, memoized, untuned
from purejaxvpg.compute.layout import local_rows, over_environments, place
from purejaxvpg.config import Hyperparams, VPGConfig
from purejaxvpg.state import TrainResult, TrainState
from purejaxvpg.train import make_span
from purejaxvpg.vpg import make_learner

Split = Literal["runs", "envs"]


class Program(NamedTuple):
    """One compiled program for chunks of runs.  W = width * D, the rows of a chunk."""

    width: int  # runs on each device
    rows: int  # W
    local_rows: np.ndarray  # [<= W] int, the rows whose devices belong to this process
    init: Callable[[np.ndarray, Any], TrainState]  # (seeds [W], hp [W]) -> state [W, ...]
    advance: Callable[..., TrainResult]  # (state, hp [W], updates done, count); state is donated
    place: Callable[[Any], Any]  # numpy [W, ...] -> device arrays, laid out as the program wants
    state_like: TrainState  # shapes and types of the state
    device_bytes: int  # that a chunk takes on each device: arguments, results and temporaries


class _Shape(NamedTuple):
    """Everything that decides a program.  Hashable."""

    config: VPGConfig
    capacity: int  # most updates of a call
    width: int
    devices: tuple[Any, ...]
    hp_structure: Any
    hp_leaves: tuple  # shape and dtype of each, without the leading axis
    split: Split

    @property
    def rows(self) -> int:
        return self.width * len(self.devices) if self.split == "runs" else self.width


def compile_program(
    config: VPGConfig,
    capacity: int,
    width: int,
    devices: Sequence[Any],
    hp_like: Hyperparams,
    split: Split = "runs",
) -> Program:
    """Compile a chunk's program.  The same arguments give the same program again.

    Args:
      capacity: most updates of a call.
      hp_like: hyperparameters with leading axis `[...]` of any length, for their structure.
      split: runs: each device computes `width` runs.  envs: all devices compute one run
        together, its N environments and its batch split over them.
    """
    shape = _Shape(config, capacity, width, tuple(devices), *_likeness(hp_like), split)
    return _compile(shape)


def program_bytes(
    config: VPGConfig, capacity: int, width: int, device: Any, hp_like: Hyperparams
) -> int:
    """Bytes that a chunk of `width` runs takes on one device, measured by compiling it."""
    shape = _Shape(config, capacity, width, (device,), *_likeness(hp_like), "runs")
    return _program_bytes(shape)


def _likeness(hp_like: Hyperparams) -> tuple[Any, tuple]:
    leaves = tuple((leaf.shape[1:], leaf.dtype) for leaf in jax.tree.leaves(hp_like))
    return jax.tree.structure(hp_like), leaves


@memoized(256)
def _program_bytes(shape: _Shape) -> int:
    return _bytes(_Traced(shape).lower_advance().compile(_options(shape, tuned=False)))


@memoized(32)
def _compile(shape: _Shape) -> Program:
    traced = _Traced(shape)
    with ThreadPoolExecutor(1) as pool:  # the one is compiled while the other is traced
        compiling = pool.submit(traced.lower_init().compile, _options(shape, tuned=False))
        advance = traced.lower_advance().compile(_options(shape, tuned=True))
        init = compiling.result()
    to_rows = functools.partial(place, sharding=traced.over_rows)
    scalar = functools.partial(place, sharding=traced.everywhere)

    def advanced(state: TrainState, hp: Any, done: int, count: int) -> TrainResult:
        result = advance(state, hp, *scalar((np.int32(done), np.int32(count))))
        return result._replace(state=jax.tree.map(_laid_out, result.state, traced.state))

    return Program(
        width=shape.width,
        rows=shape.rows,
        local_rows=local_rows(traced.over_rows, shape.rows),
        init=lambda seeds, hp: init(to_rows(seeds), hp),
        advance=advanced,
        place=to_rows,
        state_like=traced.state,
        device_bytes=_bytes(advance),
    )


class _Traced:
    """A chunk's functions, and the shapes and layouts of their arguments."""

    def __init__(self, shape: _Shape):
        self.split = shape.split
        self.mesh = Mesh(np.asarray(shape.devices), (shape.split,), axis_types=(AxisType.Auto,))
        split_runs = shape.split == "runs"
        devices = 1 if split_runs else len(shape.devices)
        one_init = make_learner(shape.config, devices).init
        span = make_span(shape.config, shape.capacity, devices)

        key = functools.partial(jax.random.key, impl=STUDY_KEYS)

        def init(seeds: jax.Array, hp: Hyperparams) -> TrainState:  # [W] uint32
            return jax.vmap(lambda seed, hp: one_init(key(seed), hp))(seeds, hp)

        # Partition specs: split whole runs over devices, or split each run's environments.
        rows_spec: Any = P("runs") if split_runs else P()
        state_spec: Any = P("runs") if split_runs else over_environments(None)
        self.over_rows = NamedSharding(self.mesh, rows_spec)
        self.everywhere = NamedSharding(self.mesh, P())
        self.layout = jax.tree.map(lambda spec: NamedSharding(self.mesh, spec), state_spec)
        leaves = [self._like((shape.rows, *s), d, self.over_rows) for s, d in shape.hp_leaves]
        self.hp = jax.tree.unflatten(shape.hp_structure, leaves)
        self.seeds = self._like((shape.rows,), np.uint32, self.over_rows)
        self.number = self._like((), np.int32, self.everywhere)
        # Each device by itself: split by the compiler instead, a loop that runs until the last row
        # is done would wait for all devices in every turn.
        mapped = functools.partial(jax.shard_map, mesh=self.mesh, check_vma=False)
        self.init = mapped(init, in_specs=rows_spec, out_specs=state_spec)
        self.span = mapped(
            jax.vmap(span, in_axes=(0, 0, None, None)),
            in_specs=(state_spec, rows_spec, P(), P()),
            out_specs=TrainResult(state_spec, rows_spec, rows_spec),
        )
        state = jax.eval_shape(self.init, self.seeds, self.hp)
        layout = jax.tree.broadcast(self.layout, state)
        self.state = jax.tree.map(lambda x, s: self._like(x.shape, x.dtype, s), state, layout)

    def lower_init(self) -> Any:
        with jax.set_mesh(self.mesh):
            return jax.jit(self.init, out_shardings=self.layout).lower(self.seeds, self.hp)

    def lower_advance(self) -> Any:
        arguments, out_shardings = (self.state, self.hp, self.number, self.number), None
        with jax.set_mesh(self.mesh):
            if self.split == "envs":
                result = jax.eval_shape(self.span, *arguments)
                out_shardings = jax.tree.map(lambda _: self.over_rows, result)
                out_shardings = out_shardings._replace(state=self.layout)
            # The old state is given up to the new one: else two would be held at once.
            jitted = jax.jit(self.span, donate_argnums=0, out_shardings=out_shardings)
            return jitted.lower(*arguments)

    @staticmethod
    def _like(shape: tuple[int, ...], dtype: Any, sharding: NamedSharding) -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def _laid_out(x: jax.Array, like: Any) -> jax.Array:
    """x in the layout that the next call wants.  jax leaves arrays without elements (as MuJoCo's
    state has some) on all devices, and then refuses them."""
    return x if x.size else place(np.empty(x.shape, x.dtype), sharding=like.sharding)


def _options(shape: _Shape, tuned: bool) -> dict[str, Any]:
    """Options of the compiler."""
    options = {} if tuned else untuned(shape.devices[0])
    if shape.split == "runs":
        # A program for several devices is tidied once more than one for a single device, before
        # the passes that both go through, and the constants folded there round otherwise (jax
        # 0.11).  Runs share nothing, so there is nothing to clean up after the partitioner.
        options["xla_disable_hlo_passes"] = "spmd-cleanup"
    return options


def _bytes(compiled: Any) -> int:
    used = compiled.memory_analysis()
    total = used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes
    return total - used.alias_size_in_bytes  # donated arguments are counted on both sides
