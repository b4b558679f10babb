"""From samples to a verdict. Pure: values in, values out; no database, network, clock or chance.

`verdict.judge` is the way in. `docs/judging.md` explains the statistics in prose.
"""
