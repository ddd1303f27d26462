"""The ingest gate: a file is let in when it is known to be harmless, never because nothing was found.

`worker.inspect(path)` is the way in: a subprocess with limits reads the bytes
and answers with a `Verdict`; whatever goes wrong there is a refusal.

    worker      starts, limits and kills the subprocess; the only module that does
    inspection  one file: its kind by content, then that kind's reader
    tree        a folder: names, links, and what files say about each other
    convert     plain checkpoints to safetensors, without unpickling

Every reader allows what it knows: opcodes, globals, header fields, archive
layouts. What it does not know is a finding of a rule in `rules`, which either
refuses or holds the file until somebody approves it by that rule's name.
"""
