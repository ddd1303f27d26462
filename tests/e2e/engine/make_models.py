"""Makes the tiny models that the real engine serves. Runs in the engine's environment.

    python make_models.py DIRECTORY

Nothing is downloaded: a byte-level vocabulary is trained on a few sentences,
and a Qwen2 of two layers gets random weights. All models share them:

    talker   samples random tokens until the limit. Not all of them are valid
             UTF-8, as with any byte-level vocabulary.
    thinker  reasons, then answers; always `THOUGHT` and `ANSWER`.
    caller   calls a tool; always `TOOL` with `ARGUMENTS`.

Those with a text of their own are the same random model with a bias on the
next token of that text (`sequence_bias`), so whoever reads an answer knows
what it must be, down to the count of tokens. What comes out goes through the
engine's own sampling, stop and parsing code as anything else would.

The texts are also what the tests expect, so this module imports the engine's
packages only when it makes models.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

THOUGHT: Final = "The tide turns at dawn, so the ship leaves early."
ANSWER: Final = "Cast off at dawn \u2014 caf\u00e9 \u6e2f \u26f5!"
TOOL: Final = "get_weather"
ARGUMENTS: Final = {"city": "Troms\u00f8", "days": 2}
TEXTS: Final = {
    "talker": "",
    "thinker": f"<think>{THOUGHT}</think>{ANSWER}",
    "caller": "<tool_call>\n" + json.dumps({"name": TOOL, "arguments": ARGUMENTS}) + "\n</tool_call>",
}
"""What each model says; empty for whatever chance says."""

_END, _PAD, _START = "<|im_end|>", "<|endoftext|>", "<|im_start|>"
_MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>")
_TEMPLATE = """\
{%- if tools %}<|im_start|>system
{{ tools | tojson }}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{{ message.content }}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>
{%- endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tokenizer() -> Any:
    """A byte-level vocabulary that can write every text, trained on the texts themselves."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[_PAD, _START, _END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    words.train_from_iterator([THOUGHT, TEXTS["caller"], "What is the weather like in the harbour?"], trainer)
    # The server recognises thoughts and calls by these; as with Qwen's own, they are no special tokens.
    words.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in _MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token=_END, pad_token=_PAD, chat_template=_TEMPLATE
    )


def habit(ids: list[int]) -> list[tuple[list[int], float]]:
    """Biases under which a model says exactly these tokens.

    Each one counts when all tokens before it have just been said. The longer
    text wins, so that a token which occurs twice does not lead back.
    """
    return [(ids[:end], 500.0 + 100.0 * end) for end in range(1, len(ids) + 1)]


def make(directory: Path) -> None:
    """Write the models into directories named for them."""
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    vocabulary = tokenizer()
    torch.manual_seed(0)
    ends = {"eos_token_id": vocabulary.eos_token_id, "pad_token_id": vocabulary.pad_token_id}
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=131_072,
            bos_token_id=None,
            **ends,
        )
    )
    for name, text in TEXTS.items():
        if text:
            said = vocabulary(text).input_ids
            assert vocabulary.decode(said) == text
            biases = habit([*said, vocabulary.eos_token_id])
            settings = GenerationConfig(do_sample=False, sequence_bias=biases, **ends)
        else:
            # It neither ends nor calls a tool by chance: a test that wants a long text gets one.
            marks = vocabulary.convert_tokens_to_ids([_END, _PAD, _START, *_MARKS])
            never = [([mark], -500.0) for mark in marks]
            settings = GenerationConfig(do_sample=True, sequence_bias=never, **ends)
        model.generation_config = settings
        model.save_pretrained(directory / name)
        vocabulary.save_pretrained(directory / name)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
