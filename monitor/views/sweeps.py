"""A sweep in words: which draft length is best here, and what is not told apart from it."""

from __future__ import annotations

from monitor.domain import CellResult, Standing, Sweep, Worth
from monitor.views import numbers

STANDINGS: dict[Standing, tuple[str, str, str]] = {
    Standing.BEST: ("Best", "▲", "improved"),
    Standing.ALIKE: ("Alike", "=", "unchanged"),
    Standing.OPEN: ("Not told apart", "?", "inconclusive"),
    Standing.SLOWER: ("Slower", "▼", "regressed"),
    Standing.FAILED: ("Fails", "✕", "failed"),
}
"""Standing → its label, mark and colour class."""


def summary(sweep: Sweep) -> str:
    """Return what a sweep found, in sentences."""
    chosen = next((result for result in sweep.cells if result.cell == sweep.chosen), None)
    if chosen is None:
        return f"No cell of the sweep serves on {sweep.project} {sweep.version}."
    best = next(result for result in sweep.cells if result.standing is Standing.BEST)
    if all(result.worth is Worth.COSTS for result in sweep.cells if result.standing is not Standing.FAILED):
        return (
            f"No draft length pays on {sweep.project} {sweep.version} here: the best, {best.cell.name}, "
            f"has a speedup of {_speedup(best)}. Switch MTP off."
        )
    said = [f"Use {named(chosen)} on {sweep.project} {sweep.version} here: a speedup of {_speedup(chosen)}."]
    if chosen is not best:
        said.append(f"{best.cell.name} has the highest mean, but is not faster by what counts.")
    for standing, words in ((Standing.ALIKE, "as fast"), (Standing.OPEN, "not told apart from the best")):
        names = [r.cell.name for r in sweep.cells if r.standing is standing and r is not chosen]
        if names:
            said.append(f"{numbers_of(names)} {'is' if len(names) == 1 else 'are'} {words}.")
    if chosen.cell.draft_length != sweep.current:
        said.append(f"The check uses {sweep.current}.")
    return " ".join(said)


def numbers_of(names: list[str]) -> str:
    """Return names as a list in a sentence: n2, n3 and n5."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def named(result: CellResult) -> str:
    """Return a cell in words: draft length 3, p-min 0.4."""
    options = "".join(f", {name} {value}" for name, value in result.cell.options.items())
    return f"draft length {result.cell.draft_length}{options}"


def change(result: CellResult) -> str:
    """Return the change of a cell's rate against the best, with its interval."""
    if result.change_percent is None:
        return ""
    interval = numbers.interval(result.change_low, result.change_high)
    return f"{numbers.change(result.change_percent)} {interval}".strip()


def _speedup(result: CellResult) -> str:
    interval = numbers.times_interval(result.speedup_low, result.speedup_high)
    return f"{numbers.times(result.speedup)}{f' ({interval})' if interval else ''}"
