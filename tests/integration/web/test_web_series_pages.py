"""The page of a series: its runs, what to run of them, and a sweep beside it."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from factory_values import HOSTILE, artifact
from monitor.domain import Cell, CellResult, Standing, Sweep, Tier, Worth
from monitor.steps.station import Station
from monitor.store.queries import runs, sweeps
from standins.web import CHECK, Past, Recorder
from standins.web_reading import HARMLESS, Page, client_of, page


def test_a_series_shows_every_run_its_reference_and_its_epochs(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, past = site
    found = page(client, "/series?project=xllamacpp")
    chart = next(attrs for tag, attrs in found.tags if tag == "svg" and attrs.get("class") == "chart")
    assert chart["role"] == "img"
    text = found.text
    assert "9 runs, from 1.1" in text
    assert "epoch 2 began: the kernel changed from 6.12.7 to 6.12.8" in text
    assert f"/compare?reference={past.runs['0.2.40']}&candidate={past.regressed}" in found.links()
    code = page(client, "/series?metric=acceptance_rate&workload=code").text
    assert "workload code" in code
    assert re.search(r"0\.2\.41 ▼ Regressed 30\.\d %", code)
    assert "exact" in code
    page(client, "/series?metric=gpu_memory", 404)
    page(client, "/series?project=nothing", 404)


def test_a_series_says_what_to_run_and_why_the_others_are_not_advised(
    site: tuple[TestClient, Station, Past],
) -> None:
    client, _, past = site
    page = Page(client.get("/series?project=xllamacpp").text)
    assert "What to run Run xllamacpp 0.2.40 with MTP." in page.text
    assert "Last known good 0.2.40 Fastest with MTP 0.2.40" in page.text
    assert f"0.2.41 regressed (incident {past.open})" in page.text
    assert "0.2.38 does not run does not start" in page.text


def test_a_sweep_stands_on_the_page_of_its_series(quiet: Station) -> None:
    client = client_of(quiet, Recorder())
    cells = [
        CellResult(
            cell=Cell(f"n{length}", length, {}, "x", "y"),
            standing=standing,
            sessions=4,
            mtp_rate=200.0,
            speedup=speedup,
            speedup_low=speedup - 0.02,
            speedup_high=speedup + 0.02,
            worth=Worth.PAYS,
            acceptance_rate=0.6,
            acceptance_length=2.4,
            step_time_s=0.01,
            change_percent=None,
            change_low=None,
            change_high=None,
            reason=HOSTILE if standing is Standing.FAILED else "",
        )
        for length, standing, speedup in (
            (2, Standing.BEST, 1.7),
            (3, Standing.SLOWER, 1.5),
            (4, Standing.FAILED, 1),
        )
    ]
    with quiet.store.write() as db:
        run = runs.create(
            db,
            check=CHECK,
            artifact=artifact("1.0"),
            host=quiet.host,
            tier=Tier.QUICK,
            requested_by="x",
            now=quiet.clock(),
        )
        sweeps.save(
            db,
            Sweep(
                id=run.id,
                check_id=CHECK.id,
                check_digest=CHECK.digest,
                project="xllamacpp",
                version="1.0",
                artifact_sha256="s",
                machine_id=quiet.host.machine_id,
                current=3,
                made_at=quiet.clock(),
                blocks=4,
                decided=True,
                baseline_rate=120.0,
                baseline_sessions=4,
                floor=0.02,
                chosen=cells[0].cell,
                cells=tuple(cells),
            ),
        )
    page = Page(client.get(f"/series?project=xllamacpp&check={CHECK.id}").text)
    assert "Use draft length 2 on xllamacpp 1.0 here: a speedup of 1.70× (1.68 to 1.72×)." in page.text
    assert "The check uses 3." in page.text
    assert HARMLESS in page.text
    (told,) = client.get("/api/v1/sweeps").json()["sweeps"]
    assert told["chosen"]["draft_length"] == 2
