"""What pages and API show, read from the store: one dataclass a document, the same for both.

Nothing here writes. Dates are in UTC, times in seconds, rates in tokens per second, shares as fractions.
"""
