"""Every group of the table exists and says of itself what the table says."""

import argparse

import pytest

from fairlead.cli.main import GROUPS, build


@pytest.mark.parametrize("group", GROUPS)
def test_a_groups_module_adds_it_under_its_name_and_line(group: str) -> None:
    commands = next(
        action for action in build(group)._actions if isinstance(action, argparse._SubParsersAction)
    )
    assert list(commands.choices) == list(GROUPS)
    assert {choice.dest: choice.help for choice in commands._choices_actions} == {
        name: line for name, (_, line) in GROUPS.items()
    }
