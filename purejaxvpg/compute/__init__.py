"""The same numbers in less time: everything that speed, devices and divergence need.

compute     sums, gradients and loops of one run, on one device or split over several
platform    which platform a program is for
rows        passes over a batch in chunks that fit the cache
dense       matrix products with a fast gradient on a CPU
convolution convolutions as matrix products on a CPU
turns       runs under vmap that learn one after the other on a CPU
recurrence  returns and advantages in log2(T) rounds on an accelerator
through_time recurrent cells, differentiated outside the loop over T
resets      reset states drawn ahead on a CPU
stack       reset states that take long to draw, each drawn when it is needed
sparse      a function of few rows among many
sums        returns of long episodes, in two float32
divergence  runs that stay at their last finite state
memo        functions that are made once for the same arguments and settings of jax
numerics    settings of jax that the numbers depend on
varying     loops inside the user's own `jax.shard_map`

Each computes what the plain expression computes, and nothing outside asks for the platform.
"""

from purejaxvpg.compute.compute import Compute, constant, settled
from purejaxvpg.compute.convolution import convolution
from purejaxvpg.compute.dense import dot
from purejaxvpg.compute.divergence import beyond, keep_finite, with_key
from purejaxvpg.compute.memo import forget, memoized
from purejaxvpg.compute.numerics import (
    NUMBERS,
    STUDY_KEYS,
    number_settings,
    traced_settings_named,
)
from purejaxvpg.compute.platform import CPU_WORKING_SET, traced_plainly, untuned, working_set
from purejaxvpg.compute.recurrence import accumulate
from purejaxvpg.compute.resets import ResetKeys, Resets
from purejaxvpg.compute.rows import flatten, is_large, select
from purejaxvpg.compute.sparse import replace_where
from purejaxvpg.compute.stack import Stack
from purejaxvpg.compute.sums import add
from purejaxvpg.compute.through_time import unroll
from purejaxvpg.compute.varying import vary_like

__all__ = [
    "CPU_WORKING_SET",
    "NUMBERS",
    "STUDY_KEYS",
    "Compute",
    "ResetKeys",
    "Resets",
    "Stack",
    "accumulate",
    "add",
    "beyond",
    "constant",
    "convolution",
    "dot",
    "flatten",
    "forget",
    "is_large",
    "keep_finite",
    "memoized",
    "number_settings",
    "replace_where",
    "select",
    "settled",
    "traced_plainly",
    "traced_settings_named",
    "unroll",
    "untuned",
    "vary_like",
    "with_key",
    "working_set",
]
