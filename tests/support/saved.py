"""Environments by name (`support.saved:HOUSE`), for policies that are saved with their config."""

import jax.numpy as jnp
from gymnax.environments import spaces

from support import trees

HOUSE = trees.house()  # observations and actions are trees
ROOMS = trees.rooms()  # a mask of one Discrete
HALLS = trees.rooms(  # masks of a part of a Dict
    spaces.Dict({"one": spaces.Discrete(2), "free": spaces.Discrete(3)}),
    lambda time, params: {"one": jnp.arange(2) == time % 2, "free": None},
)

CELLAR = HOUSE._replace(  # trees, and a mask that leaves one action of three
    name="Cellar",
    action_mask=lambda time, params: {"move": jnp.arange(3) == 1, "pair": None, "force": None},
)
