"""A release that has no MTP by its own design: said, not failed, and nobody is told."""

from __future__ import annotations

from pathlib import Path

from monitor import pipeline
from monitor.domain import RunState
from monitor.engines import engine_for
from monitor.steps.publish import run_view
from monitor.store.queries import incidents, runs
from standins.service import World, check


def test_a_release_without_mtp_is_skipped_with_the_reason_and_the_next_is_measured(tmp_path: Path) -> None:
    name = "llama-cpp-python"
    world = World(tmp_path, checks=(check(engine=name),), engine=engine_for(name))
    world.release("2026.6.9294")
    with world.station() as station:
        pipeline.cycle(station)
        with station.store.read() as db:
            (skipped,) = runs.recent(db)
            assert incidents.in_state(db) == []
        assert skipped.state is RunState.SKIPPED
        assert "no MTP in this release" in skipped.reason
        assert world.sessions == []
        assert "no MTP in this release" in str(run_view(station, skipped.id).reason)

        pipeline.cycle(station)
        with station.store.read() as db:
            assert [run.id for run in runs.recent(db)] == [skipped.id]

        example = tmp_path / "share" / "llama-cpp-python" / "server.py"
        example.parent.mkdir(parents=True)
        example.write_text('draft_model: Optional[Literal["prompt-lookup-decoding", "draft-mtp"]] = None\n')
        world.wait(hours=2)
        world.release("2026.6.9538")
        pipeline.cycle(station)
        with station.store.read() as db:
            assert [run.state for run in runs.recent(db)] == [RunState.DONE, RunState.SKIPPED]
            assert incidents.in_state(db) == []
