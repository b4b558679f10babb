"""`mtp-monitor models`: the weights of the checks, what is here of them and whether it is still whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli import output
from monitor.errors import ModelError, UnknownNameError

if TYPE_CHECKING:
    from monitor.checks.hub import Progress
    from monitor.checks.models import ModelStatus
    from monitor.domain import ModelSpec
    from monitor.settings import Settings

SCHEMA = "mtp-monitor/models/1"
PINS = "The commit and its files are written down: later fetches take them, wherever the branch goes."


def register(app: typer.Typer) -> None:
    """Add the group to `app`."""
    group = typer.Typer(
        help="List, fetch and verify the weights that the checks serve.",
        no_args_is_help=True,
        rich_markup_mode=None,
        epilog=output.examples(
            "mtp-monitor models list",
            "mtp-monitor models fetch synthetic-qwen35",
            "mtp-monitor models verify",
        ),
    )
    group.command("list")(list_)
    group.command("fetch", epilog=output.examples("mtp-monitor models fetch synthetic-qwen35"))(fetch)
    group.command("verify", epilog=output.examples("mtp-monitor models verify"))(verify)
    group.command("accept", epilog=output.examples("mtp-monitor models accept gemma-4-31b-fp8"))(accept)
    app.add_typer(group, name="models", rich_help_panel=output.SET_UP)


def list_(ctx: typer.Context, *, as_json: output.JsonFlag = False) -> None:
    """List the models of all checks.

    Looks at names and sizes only; `verify` reads the content.
    """
    settings = output.settings(ctx)
    found = statuses(settings)
    if as_json:
        entries = [_facts(status) for status in found]
        output.emit(SCHEMA, {"models_dir": settings.models_dir, "models": entries})
        return
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("model", "from", "here"):
        table.add_column(title, overflow="fold")
    table.add_column("checks", justify="right")
    for status in found:
        here = f"✓ {output.gib(status.bytes or 0)}" if status.path else "– not here"
        table.add_row(status.spec.name, origin(status.spec), here, str(len(status.checks)))
    output.out.print(table)
    output.tell(f"Models lie in {settings.models_dir}.")


def fetch(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Model as `models list` shows it.")],
    *,
    newest: Annotated[
        bool,
        typer.Option(
            "--newest",
            help="Take the commit that the check's branch stands for now, instead of the one fetched first. "
            "Runs stop until `models accept`.",
        ),
    ] = False,
    as_json: output.JsonFlag = False,
) -> None:
    """Fetch a model, or write it from its seed.

    The commit and the sha256 of each file that came first are written down in the state folder. Later
    fetches take that commit, wherever a branch has gone, and refuse other files. An interrupted download goes
    on where it stopped. A token for gated weights comes from MTP_MONITOR_MODELS__TOKEN or
    `models.token_file` and goes to the hub only.
    """
    settings = output.settings(ctx)
    for status in named(name, statuses(settings)):
        _bring(settings, status, newest=newest)
    fetched = named(name, statuses(settings))
    if as_json:
        output.emit(
            SCHEMA, {"models_dir": settings.models_dir, "models": [_facts(status) for status in fetched]}
        )
        return
    for status in fetched:
        output.out.print(f"✓ {status.spec.name}  {output.gib(status.bytes or 0)}", soft_wrap=True)
        output.out.print(f"  path     {status.path}", soft_wrap=True)
        if status.sha256:
            output.out.print(f"  sha256   {status.sha256}", soft_wrap=True)
        if status.revision:
            output.out.print(f"  commit   {status.revision}", soft_wrap=True)
            if status.revision != status.spec.revision:
                output.tell(PINS)


def _bring(settings: Settings, status: ModelStatus, *, newest: bool) -> None:
    from monitor.checks import models  # noqa: PLC0415
    from monitor.checks.hub import Hub  # noqa: PLC0415
    from monitor.checks.lock import ModelLock  # noqa: PLC0415

    spec, lock = status.spec, ModelLock(settings.state)
    token = settings.models.token.get_secret_value() if settings.models.token else None
    endpoint = settings.models.endpoint
    pin, again = lock.pin(spec), False
    if newest and spec.kind == "huggingface":
        commit = Hub(token=token, endpoint=endpoint).commit(spec.repository or "", spec.revision or "")
        pin, again = models.Pin(commit), commit != status.revision
    with _progress(spec) as progress:
        models.fetch(
            spec,
            settings.models_dir,
            token,
            endpoint=endpoint,
            pin=pin,
            again=again,
            progress=progress,
        )
    if again and lock.pin(spec) is not None:
        output.tell(f"Its runs stop until you take these files: mtp-monitor models accept {spec.name}")
    elif spec.kind == "huggingface":
        with output.err.status(f"hashing {spec.name}"):
            lock.confirm(spec, models.verify(spec, settings.models_dir))


def verify(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Only this model. Default: all that are here.", show_default=False
        ),
    ] = None,
    *,
    as_json: output.JsonFlag = False,
) -> None:
    """Hash models again and compare.

    With what was recorded when they came, and with what the checks pin.
    """
    from monitor.checks import models  # noqa: PLC0415

    settings = output.settings(ctx)
    found = statuses(settings)
    chosen = named(name, found) if name is not None else [status for status in found if status.path]
    entries, errors = [], []
    for status in chosen:
        entry = _facts(status) | {"whole": True, "error": None}
        try:
            with output.err.status(f"hashing {status.spec.name}"):
                verified = models.verify(status.spec, settings.models_dir)
            entry |= {"sha256": verified.sha256, "files": verified.files, "bytes": verified.bytes}
        except ModelError as error:
            entry |= {"whole": False, "error": error.what}
            errors.append(error)
        entries.append(entry)
    if as_json:
        output.emit(SCHEMA, {"models_dir": settings.models_dir, "models": entries})
    else:
        for entry in entries:
            mark = f"✓ {entry['name']}  {entry['sha256']}" if entry["whole"] else f"✗ {entry['name']}"
            output.out.print(mark, soft_wrap=True)
    if not chosen:
        output.tell(f"There is no model in {settings.models_dir} yet; `mtp-monitor models list` names them.")
    for altered in errors:
        output.tell_error(altered)
    if errors:
        raise typer.Exit(output.Code.FAILED)


def accept(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Model as `models list` shows it.")],
    *,
    as_json: output.JsonFlag = False,
) -> None:
    """Take the files that are here as the model's from now on: a new epoch of its checks begins.

    What a model was measured with first is written down; other files later stop its runs until then.
    """
    from monitor.checks import models  # noqa: PLC0415
    from monitor.checks.lock import ModelLock  # noqa: PLC0415

    settings = output.settings(ctx)
    lock = ModelLock(settings.state)
    accepted = []
    for status in named(name, statuses(settings)):
        with output.err.status(f"hashing {status.spec.name}"):
            changed = lock.accept(status.spec, models.verify(status.spec, settings.models_dir))
        accepted.append(_facts(status) | {"changed": changed, "generation": lock.generation(status.spec)})
    if as_json:
        output.emit(SCHEMA, {"models_dir": settings.models_dir, "models": accepted})
        return
    for entry in accepted:
        text = f"accepted: {entry['changed']}" if entry["changed"] else "unchanged, nothing to accept"
        output.out.print(output.harmless(f"{entry['name']}  {text}"), soft_wrap=True)


# ---------------------------------------------------------------------------------------------
# Models by name


def statuses(settings: Settings) -> list[ModelStatus]:
    """Return every model of the checks that this configuration knows."""
    from monitor.checks import loader, models  # noqa: PLC0415

    return models.list_models(loader.load_checks(settings.check_dirs).values(), settings.models_dir)


def named(name: str, found: list[ModelStatus]) -> list[ModelStatus]:
    """Return the models called `name`; checks may give one name to several weights.

    Raises:
        UnknownNameError: when there is none.

    """
    if chosen := [status for status in found if status.spec.name == name]:
        return chosen
    from monitor.validation import nearest  # noqa: PLC0415

    raise UnknownNameError(
        f"There is no model {name!r}.",
        advice=f"{nearest(name, {status.spec.name for status in found})} (`mtp-monitor models list`)",
    )


def origin(spec: ModelSpec) -> str:
    """Return where a model comes from, for people."""
    if spec.kind == "synthetic":
        return "written here from a seed"
    if spec.kind == "path":
        return f"yours: {', '.join(spec.files)}"
    revision = spec.revision or ""
    return f"{spec.repository}@{revision[:12]}"


def _facts(status: ModelStatus) -> dict[str, Any]:
    spec = status.spec
    return {
        "name": spec.name,
        "kind": spec.kind,
        "repository": spec.repository,
        "wanted_revision": spec.revision,
        "revision": status.revision,
        "present": status.path is not None,
        "path": status.path,
        "bytes": status.bytes,
        "sha256": status.sha256,
        "checks": status.checks,
    }


@contextmanager
def _progress(spec: ModelSpec) -> Iterator[Progress]:
    """Show on stderr what `fetch` tells, a bar for each file."""
    from rich import progress as bars  # noqa: PLC0415

    columns = (
        bars.TextColumn("{task.description}", markup=False),
        bars.BarColumn(),
        bars.DownloadColumn(),
        bars.TransferSpeedColumn(),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=output.err, transient=True) as shown:
        if spec.kind == "synthetic":
            shown.add_task(f"writing {spec.name}", total=None)
        tasks: dict[str, bars.TaskID] = {}

        def tell(file: str, done: int, total: int) -> None:
            if file not in tasks:
                tasks[file] = shown.add_task(output.harmless(file), total=total)
            shown.update(tasks[file], completed=done, total=total)

        yield tell
