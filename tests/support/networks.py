"""Networks of a shape, without an environment."""

from purejaxvpg.agent.categorical import categorical
from purejaxvpg.agent.encoding import of_array
from purejaxvpg.agent.networks import make_networks


def networks_of(config, obs_shape, num_outputs, free_std=False):
    """Networks for observations of one array.  free_std: half of the outputs are free."""
    free = range(num_outputs // 2, num_outputs) if free_std else ()
    policy = categorical(num_outputs)._replace(free_outputs=tuple(free))
    return make_networks(config, of_array(obs_shape), policy)
