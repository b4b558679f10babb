"""Questions to the store and changes of it, one file for each word of the glossary.

Every function takes the session that `Store.read` or `Store.write` yields, and gives back frozen values that
need no database.
"""
