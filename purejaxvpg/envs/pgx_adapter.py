# pyright: reportMissingImports=false
"""pgx's games of one player: 2048 and MinAtar.

Traps of pgx 2.6:

- Games of several players are refused: there is one learner here.
- An action that is not legal ends the game with a reward of -1.  2048 gives its `action_mask`, so
  that no policy takes one; in MinAtar all actions are always legal, and there is no mask.
- There is no time limit, and some MinAtar games need not end.  `max_steps_in_episode=...` sets
  one, which is then a parameter.
- Freeway alone has a clock, which no observation shows and which ends the game as terminated.  It
  is lifted, and the same number of steps is the default of our limit: such an end is truncated.
- Stepping a state that has ended returns it again.  That never happens here, for `vectorize`
  starts anew.
"""

import copy
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from purejaxvpg.envs.arguments import construct, constructor_arguments, sort_arguments
from purejaxvpg.envs.clock import LIMIT, NEVER, clocked
from purejaxvpg.envs.protocol import Environment, Step
from purejaxvpg.extras import require

NAMES = (
    "2048",
    "minatar-asterix",
    "minatar-breakout",
    "minatar-freeway",
    "minatar-seaquest",
    "minatar-space_invaders",
)

DOWNLOADS = ()

REFUSED = {
    name: f"a game of {players} players; pgx's of one: {', '.join(NAMES)}"
    for players, names in {
        2: "animal_shogi backgammon chess connect_four gardner_chess go_9x9 go_19x19 hex "
        "kuhn_poker leduc_holdem othello shogi tic_tac_toe",
        3: "sparrow_mahjong",
        4: "bridge_bidding",
    }.items()
    for name in names.split()
}
"""Names of the library that are no environments for one learner, and why."""

STICKY = "sticky_action_prob"  # of MinAtar: the chance that the action before is repeated
FREEWAY_STEPS = 2501  # its timer of 2500 has to fall below 0


def make(name: str, /, **kwargs: Any) -> Environment:
    """A game of pgx.

    Args:
      kwargs: `max_steps_in_episode`; of MinAtar also `use_minimal_action_set` and
        `sticky_action_prob` (a parameter, which may be traced).

    Raises: ValueError for another keyword.
    """
    import pgx

    game_class: Any = type(pgx.make(name))  # type: ignore[arg-type]
    accepted = constructor_arguments(game_class)
    params = (STICKY, LIMIT) if STICKY in accepted else (LIMIT,)
    arguments, values = sort_arguments(name, kwargs, accepted, params)
    game = construct(name, game_class, arguments)
    is_freeway = name == "minatar-freeway"
    limit = values.pop(LIMIT, FREEWAY_STEPS if is_freeway else None)
    defaults = {STICKY: game.sticky_action_prob} | values if STICKY in accepted else None
    env = _adapt(name, game, defaults, endless=is_freeway)
    return env if limit is None else clocked(env, limit)


def _adapt(name: str, game: Any, defaults: Any, endless: bool) -> Environment:
    from gymnax.environments import spaces

    action_space = spaces.Discrete(game.num_actions)
    observation_space = spaces.Box(0, 1, game.observation_shape, jnp.bool_)

    def with_params(params: Any) -> Any:
        if params is None:
            return game
        changed = copy.copy(game)
        changed.sticky_action_prob = params[STICKY]
        return changed

    def reset(key: Array, params: Any) -> tuple[Any, Any]:
        state = game.init(key)
        if endless:
            state = state.replace(_terminate_timer=jnp.int32(NEVER))
        return state.observation, state

    def step(key: Array, state: Any, action: Array, params: Any) -> Step:
        state = with_params(params).step(state, action, key)
        obs, reward = state.observation, state.rewards[0]
        return Step(state, obs, obs, reward, state.terminated, state.truncated)

    masked = name == "2048"
    return Environment(
        name=name,
        reset=reset,
        step=step,
        default_params=defaults,
        action_space=lambda params: action_space,
        observation_space=lambda params: observation_space,
        action_mask=(lambda state, params: state.legal_action_mask) if masked else None,
        render=_draw_tiles if masked else _minatar_picture(),
    )


# ------------------------------------------------------------------------------------ PICTURES

TILE = 40  # pixels
CELL = 16


def _draw_tiles(state: Any, params: Any) -> np.ndarray:
    """Board of 2048 with its numbers, darker with them (as pgx's own SVG): uint8 [160, 160, 3]."""
    image_module = require("PIL.Image", "cli")
    draw_module = require("PIL.ImageDraw", "cli")
    picture = image_module.new("RGB", (4 * TILE, 4 * TILE))
    draw = draw_module.Draw(picture)
    for place, power in enumerate(np.asarray(state._board).tolist()):
        row, column = divmod(place, 4)
        box = [column * TILE, row * TILE, (column + 1) * TILE - 1, (row + 1) * TILE - 1]
        shade = max(242 - 22 * power, 0)
        draw.rectangle(box, fill=(shade,) * 3, outline=(0, 0, 0))
        if power:
            middle = (box[0] + TILE / 2, box[1] + TILE / 2)
            ink = (0, 0, 0) if power < 7 else (255, 255, 255)
            draw.text(middle, str(2**power), fill=ink, anchor="mm")
    return np.asarray(picture, np.uint8)


def _minatar_picture() -> Callable[[Any, Any], np.ndarray]:
    from pgx.minatar.utils import get_cmap  # type: ignore[import]

    def draw(state: Any, params: Any) -> np.ndarray:
        """Highest channel of each cell in pgx's own colours: uint8 [160, 160, 3]."""
        obs = np.asarray(state.observation)
        palette: Any = get_cmap(obs.shape[-1])
        colours = np.array([(0, 0, 0), *palette])
        highest = (obs * (np.arange(obs.shape[-1]) + 1)).max(-1)
        picture = np.rint(255 * colours[highest]).astype(np.uint8)
        return picture.repeat(CELL, 0).repeat(CELL, 1)

    return draw
