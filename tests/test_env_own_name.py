"""The name of an environment that a user hands over as an object."""

from gymnax.environments.classic_control.cartpole import CartPole

from purejaxvpg.envs import gymnax_adapter


class Heavy(CartPole):
    """A subclass that inherits gymnax's name."""


class Named(CartPole):
    """A subclass with a name of its own."""

    name = "HeavyPole-v0"


class Heavier(Named):
    """A subclass of that."""


def test_a_subclass_is_not_called_as_the_environment_it_changes():
    names = [gymnax_adapter.adapt(made()).name for made in (CartPole, Heavy, Named, Heavier)]
    assert names == ["CartPole-v1", "Heavy", "HeavyPole-v0", "HeavyPole-v0"]
