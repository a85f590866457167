"""Slips of somebody who has read one page: the line that they get says how to go on."""

import pytest

from purejaxvpg import VPGConfig
from purejaxvpg.agent import with_imported
from purejaxvpg.cli import numbers


def test_a_network_named_by_its_file_is_told_the_module():
    with pytest.raises(ImportError) as refused:
        with_imported(VPGConfig(network="torsos.py:Wide"))
    assert str(refused.value) == (
        "network='torsos.py:Wide' cannot be imported: network takes a module and not a file; write "
        "torsos:Wide, with the folder of the file on the path (PYTHONPATH=FOLDER)"
    )


def test_several_values_of_a_number_lead_to_sweep():
    with pytest.raises(
        ValueError, match=r"; to compare several: purejaxvpg sweep --grid name=A,B$"
    ):
        numbers.number("1e-3,1e-2")
    with pytest.raises(ValueError, match=r"write for example 0\.003$"):
        numbers.number("0,003")
