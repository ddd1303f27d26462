"""Questions that mean the same in other words, and such that nearly look the same and do not."""

from __future__ import annotations

import random
from collections.abc import Iterator

_APPS = (
    "Lumen", "Harbor", "Quarry", "Meadow", "Pylon", "Cinder", "Orchid", "Falcon", "Mosaic", "Tundra",
    "Beacon", "Willow", "Kestrel", "Drift", "Ember", "Fjord", "Garnet", "Hazel", "Indigo", "Juniper",
)  # fmt: skip
_THINGS = (
    "invoice",
    "report",
    "calendar",
    "profile",
    "backup",
    "password",
    "workspace",
    "mailbox",
    "theme",
    "label",
)
_ACTS = ("export", "rename", "archive", "share", "delete", "restore")
_PHRASINGS = (
    "How do I {act} a {thing} in {app}?",
    "How can I {act} a {thing} in {app}?",
    "Please tell me how to {act} a {thing} in {app}",
    "What is the way to {act} a {thing} in {app}?",
)


class Traffic:
    """Questions by chance, and what a model that knows would answer to each."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.answers: dict[str, str] = {}
        self._asked: list[tuple[str, str, str]] = []

    def questions(self) -> Iterator[str]:
        """Without end. Most of them ask again, in other words, what was asked before."""
        asked = self._asked
        while True:
            if asked and self._random.random() < 0.6:
                meaning = self._random.choice(asked[-30:])
            else:
                meaning = (
                    self._random.choice(_ACTS),
                    self._random.choice(_THINGS),
                    self._random.choice(_APPS),
                )
                asked.append(meaning)
            yield self._text(meaning)

    def _text(self, meaning: tuple[str, str, str]) -> str:
        act, thing, app = meaning
        text = self._random.choice(_PHRASINGS).format(act=act, thing=thing, app=app)
        self.answers[text] = f"In {app}: open the {thing} and choose {act}."
        return text
