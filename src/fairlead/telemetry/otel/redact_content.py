"""Takes credentials and personal data out of prompts and answers that are about to be exported.

A net, not a proof: it knows the shapes of credentials, e-mail addresses, IBANs
and long numbers (cards, phones, accounts), and whatever the configuration adds.
Names and addresses of people have no shape that could be looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from fairlead.config.otel_options import Redaction
from fairlead.telemetry.redact import HIDDEN, redact

_PERSONAL: Final = re.compile(
    r"(?P<email>[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24})"
    r"|\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b"
    r"|(?<![\w.])\+?\d(?:[ ()./-]{0,2}\d){8,18}(?![\w])"
)


class Redactor:
    """Redacts text by built-in and configured rules."""

    def __init__(self, rules: Iterable[Redaction] = ()) -> None:
        """Use `rules` too; their patterns are valid."""
        self._rules = [(re.compile(rule.pattern), rule.replacement) for rule in rules]

    def __call__(self, text: str) -> str:
        """`text` without what looks like a credential or personal data."""
        for pattern, replacement in self._rules:
            # The replacement is text, whatever it looks like.
            text = pattern.sub(lambda _, put=replacement: put, text)  # type: ignore[misc]  # a bound default
        return _PERSONAL.sub(HIDDEN, redact(text))
