"""The pages that change something: login, and the forms of incidents, runs and deliveries.

Every one is a POST of a form with the CSRF token of its session, and ends by showing a page that is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, HTTPException, Path, Request
from fastapi.responses import HTMLResponse, RedirectResponse

from monitor.errors import UnknownNameError
from monitor.steps import gpu
from monitor.web.errors import Forbidden, Unauthorised, changing
from monitor.web.facts.incidents import incident
from monitor.web.page import render
from monitor.web.pages import SNOOZES
from monitor.web.security import COOKIE, SESSION_S, is_csrf, is_same_site, local_path
from monitor.web.site import Site, SiteOf

router = APIRouter(include_in_schema=False)

Id = Annotated[int, Path(ge=1, le=2**53)]
Form = Mapping[str, str]
_Move = Callable[[int, str, str], object]

_FORM = "application/x-www-form-urlencoded"
_MOST_FIELDS = 20
_LONGEST_WHO, _LONGEST_WHY = 100, 2000
_SEE_OTHER = 303


async def _form(request: Request) -> Form:
    """Return the fields of the form that was sent."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != _FORM:
        raise HTTPException(415, f"A form is sent as {_FORM}.")
    try:
        fields = parse_qsl(
            (await request.body()).decode("utf-8"), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:  # other bytes than UTF-8, or too many fields
        raise HTTPException(400, "The form cannot be understood.") from None
    return dict(fields)


def _same_site(site: SiteOf, request: Request) -> None:
    if not site.access.can_change:
        raise Forbidden("This service is read-only: no `web.token` is configured.")
    if not is_same_site(request.headers, site.names):
        raise Forbidden("The form was sent by another site.", kept="everything as it was")


def _changing(
    site: SiteOf,
    request: Request,
    form: Annotated[Form, Depends(_form)],
    _checked: Annotated[None, Depends(_same_site)],
) -> Form:
    """Return the form of somebody who may change something."""
    session = site.session(request)
    if session is None:
        raise Unauthorised(
            "A change needs somebody who is logged in.",
            kept="everything as it was",
            advice="log in with the token of this service, then send the form again",
        )
    if not is_csrf(session, form.get("csrf", "")):
        raise Forbidden(
            "The form is not one of this session.",
            kept="everything as it was",
            advice="load the page anew and send the form again",
        )
    return form


Changing = Annotated[Form, Depends(_changing)]


# ---------------------------------------------------------------------------------------------
# Login


@router.get("/login")
def get_login(request: Request, to: str = "/") -> HTMLResponse:
    """Show the form that asks for the token."""
    return render(request, "login.html", to=local_path(to), wrong=False)


@router.post("/login", dependencies=[Depends(_same_site)], response_model=None)
def post_login(
    site: SiteOf, request: Request, form: Annotated[Form, Depends(_form)]
) -> HTMLResponse | RedirectResponse:
    """Begin a session for somebody who knows the token."""
    to = local_path(form.get("to", "/"))
    identity = site.access.log_in(form.get("token", ""))
    if identity is None:
        return render(request, "login.html", status=401, to=to, wrong=True)
    answer = RedirectResponse(to, _SEE_OTHER)
    answer.set_cookie(
        COOKIE,
        identity,
        max_age=SESSION_S,
        path="/",
        secure=site.access.secure,
        httponly=True,
        samesite="strict",
    )
    return answer


@router.post("/logout")
def post_logout(site: SiteOf, request: Request, _form: Changing) -> RedirectResponse:
    """End the session."""
    site.access.log_out(request.cookies)
    answer = RedirectResponse("/", _SEE_OTHER)
    answer.delete_cookie(COOKIE, path="/", secure=site.access.secure, httponly=True, samesite="strict")
    return answer


# ---------------------------------------------------------------------------------------------
# Changes


@router.post("/incidents/{incident_id}/{action}")
def post_incident(site: SiteOf, incident_id: Id, action: str, form: Changing) -> RedirectResponse:
    """Move an incident on, for a reason."""
    who = _text(form, "who", _LONGEST_WHO, "say who you are")
    why = _text(form, "why", _LONGEST_WHY, "say why: it is kept in the incident's log")
    incident(site.station, incident_id)
    move = (
        partial(site.actions.snooze, until=site.station.clock() + _quiet(form))
        if action == "snooze"
        else _moves(site, action)
    )
    with changing():
        move(incident_id, who, why)
    return RedirectResponse(f"/incidents/{incident_id}", _SEE_OTHER)


def _moves(site: Site, action: str) -> _Move:
    moves: dict[str, _Move] = {
        "acknowledge": site.actions.acknowledge,
        "resolve": site.actions.resolve,
        "accept": site.actions.accept,
        "false-alarm": site.actions.false_alarm,
        "reopen": site.actions.reopen,
    }
    if action not in moves:
        raise UnknownNameError(
            f"There is no such action: {action}.", advice=f"there are: snooze, {', '.join(moves)}"
        )
    return moves[action]


@router.post("/runs")
def post_run(site: SiteOf, form: Changing) -> RedirectResponse:
    """Put a run in the queue."""
    check = _text(form, "check", 200, "choose a check")
    release = _text(form, "release", 300, "name a release: PROJECT==VERSION")
    with changing(422):
        number = site.enqueue(check, release, "pages")
    return RedirectResponse(f"/runs/{number}", _SEE_OTHER)


@router.post("/gpu/release")
def post_gpu(site: SiteOf, form: Changing) -> RedirectResponse:
    """Let the GPU be measured on again."""
    who = _text(form, "who", _LONGEST_WHO, "say who you are")
    why = _text(form, "why", _LONGEST_WHY, "say what was done: it is kept")
    with changing():
        gpu.release(site.station, who=who, why=why)
    return RedirectResponse("/status#gpu", _SEE_OTHER)


@router.post("/deliveries/{delivery_id}/replay")
def post_replay(site: SiteOf, delivery_id: Id, _form: Changing) -> RedirectResponse:
    """Send a delivery that was given up once more."""
    with changing():
        site.actions.replay(delivery_id)
    return RedirectResponse("/status#destinations", _SEE_OTHER)


def _text(form: Form, name: str, longest: int, advice: str) -> str:
    text = form.get(name, "").strip()
    if not text or len(text) > longest:
        raise HTTPException(
            422, f"The field “{name}” is empty or longer than {longest} characters: {advice}."
        )
    return text


def _quiet(form: Form) -> timedelta:
    hours = form.get("hours", "")
    if hours not in SNOOZES:
        raise HTTPException(422, f"Snooze for one of {', '.join(SNOOZES)} hours.")
    return timedelta(hours=int(hours))
