"""Whether an answer is in the language of its question.

py3langid tells the language: a naive Bayes model over byte n-grams, 97
languages, 0.05 ms for a sentence, nothing fetched. A mismatch is called only when both
texts are long enough, the model is sure of both, the languages are no near
relatives, and the question names no language itself: who asks for French in
English wants French.
"""

from __future__ import annotations

import importlib
import re
from typing import Any, Final

import msgspec

from fairlead.errors import UsageError

_LEAST_LETTERS: Final = 30
_LEAST_SIGNS: Final = 12
_SURE: Final = 0.6
_MAX_CHARS: Final = 2000
_NOT_PROSE: Final = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|https?://\S+|[\w.+-]+@[\w.-]+|<[^<>\n]*>", re.DOTALL
)
_SIGN: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0e7f]")
_RELATIVES: Final = (
    {"no", "nb", "nn", "da"}, {"hr", "bs", "sr"}, {"id", "ms", "jv"}, {"cs", "sk"}, {"gl", "pt", "es"},
    {"ca", "oc", "es", "an"}, {"af", "nl"}, {"fa", "ps", "ur"}, {"hi", "mr", "ne"}, {"bg", "mk"},
)  # fmt: skip
"""Languages that short texts do not tell apart reliably."""
_NAMES: Final = re.compile(
    r"\b(?:translat\w*|übersetz\w*|tradu\w+|traduc\w+|vertaal\w*|перевед\w*|"
    r"english|german|french|spanish|italian|portuguese|dutch|polish|russian|ukrainian|turkish|arabic|hebrew|hindi|"
    r"chinese|mandarin|cantonese|japanese|korean|vietnamese|thai|indonesian|swedish|norwegian|danish|finnish|czech|"
    r"greek|hungarian|romanian|bulgarian|persian|farsi|latin|"
    r"englisch|deutsch|französisch|spanisch|italienisch|anglais|allemand|français|espagnol|inglés|alemán|francés|"
    r"español|inglese|tedesco|francese|inglês|alemão|francês|английск\w*|немецк\w*|французск\w*|русск\w*)\b"
    r"|翻译|翻訳|번역|英语|英語|영어|中文|日本語|한국어",
    re.IGNORECASE,
)


class Languages(msgspec.Struct, frozen=True, kw_only=True):
    """The languages of a question and its answer; "" where it cannot be told."""

    prompt: str
    answer: str
    mismatch: bool | None
    """None when either is not known, or the question may ask for another language."""


class Language:
    """The model in memory: 130 MB."""

    def __init__(self) -> None:
        """Load it, in half a second.

        Raises:
            UsageError: the extra is not installed.
        """
        try:
            module: Any = importlib.import_module("py3langid.langid")
        except ImportError as error:
            raise UsageError(
                "semantic metrics need a package that is not installed: py3langid",
                hint="pip install 'fairlead[signals]'",
            ) from error
        self._model: Any = module.LanguageIdentifier.from_model_file(module.MODEL_FILE, norm_probs=True)

    def of(self, text: str) -> str:
        """ISO 639-1 code of a text's language; "" when it is too short or the model is not sure."""
        prose = _NOT_PROSE.sub(" ", text[: _MAX_CHARS * 4])[:_MAX_CHARS]
        if sum(map(str.isalpha, prose)) < _LEAST_LETTERS and len(_SIGN.findall(prose)) < _LEAST_SIGNS:
            return ""
        code, sure = self._model.classify(prose.encode("utf-8", "replace").decode())
        return str(code) if sure >= _SURE else ""

    def compare(self, prompt: str, answer: str) -> Languages:
        """The languages of both, and whether they differ."""
        asked, answered = self.of(prompt), self.of(answer)
        mismatch: bool | None = None
        if asked and answered:
            if asked == answered or any(asked in kin and answered in kin for kin in _RELATIVES):
                mismatch = False
            elif _NAMES.search(prompt) is None:
                mismatch = True
        return Languages(prompt=asked, answer=answered, mismatch=mismatch)
