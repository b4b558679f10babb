"""Reads releases, notes and commits from GitHub, within the limits it sets.

`api.py` asks and obeys, `quota.py` remembers what may still be asked, `schema.py` says what an answer must
look like, `ledger.py` keeps what was read of a repository, `repository.py` reads it with as few requests as
it takes, and `source.py` makes releases of it.
"""
