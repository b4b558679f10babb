"""How refusals and failures are answered: as a page or as a document, with what was kept and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from monitor.errors import MonitorError, SampleFileError, StoreBusyError, UnknownNameError
from monitor.web.page import render
from monitor.web.security import HEADERS

_NOT_FOUND, _METHOD, _BROKEN, _UNAVAILABLE = 404, 405, 500, 503
_TITLES = {
    400: "That cannot be understood",
    401: "Please log in",
    403: "That is not allowed",
    404: "Nothing was found",
    405: "Not in that way",
    409: "That does not fit any more",
    415: "That cannot be understood",
    422: "That cannot be understood",
    500: "Something is broken",
    503: "Not now",
}


class Unauthorised(MonitorError):  # noqa: N818 - named as HTTP names it
    """The request needs a token, or a session, that it did not bring."""


class Forbidden(MonitorError):  # noqa: N818
    """The request may not change anything."""


class Refused(MonitorError):  # noqa: N818
    """A change could not be made as things stand; `status` says so in HTTP."""

    def __init__(self, error: MonitorError, status: int) -> None:
        super().__init__(error.what, kept=error.kept, advice=error.advice)
        self.status = status


@contextmanager
def changing(status: int = 409) -> Iterator[None]:
    """Answer a change that is refused with `status`: the address was right, what it asks for does not fit.

    Raises:
        Refused: for every MonitorError but a store that is busy, which is worth another try.

    """
    try:
        yield
    except StoreBusyError:
        raise
    except MonitorError as error:
        raise Refused(error, status) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDocument:
    """What happened, what was kept, and what to do next."""

    schema: Literal["mtp-monitor/api/error/1"] = "mtp-monitor/api/error/1"
    error: str
    kept: str = ""
    advice: str = ""


def status_of(error: MonitorError) -> int:
    """Return the HTTP status that says the same as the error."""
    if isinstance(error, Unauthorised):
        return 401
    if isinstance(error, Forbidden):
        return 403
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, UnknownNameError | SampleFileError):
        return _NOT_FOUND
    # What is left are a store or a disk that do not answer: later it may be another matter.
    return _UNAVAILABLE


def register(app: FastAPI) -> None:
    """Let `app` answer every kind of failure in the form it was asked in."""
    app.add_exception_handler(MonitorError, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _misunderstood)
    app.add_exception_handler(Exception, _failed)


def _refused(request: Request, error: Exception) -> Response:
    if not isinstance(error, MonitorError):
        raise error
    status = status_of(error)
    return _answer(request, status, error.what, kept=error.kept, advice=error.advice)


def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == _NOT_FOUND:
        what = "Nothing lies at this address."
    elif error.status_code == _METHOD:
        what = "This address cannot be asked in that way."
    else:
        what = str(error.detail)
    answer = _answer(request, error.status_code, what)
    answer.headers.update(error.headers or {})
    return answer


def _misunderstood(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    # What was given is not repeated: it may be a secret, and it is not needed.
    told = [f"`{'.'.join(str(part) for part in one['loc'][1:])}`: {one['msg']}" for one in error.errors()]
    return _answer(request, 422, "; ".join(told) or "The request cannot be understood.")


def _failed(request: Request, _error: Exception) -> Response:
    answer = _answer(
        request,
        _BROKEN,
        "The page could not be made.",
        kept="everything that was measured",
        advice="the log of the service says why",
    )
    # This answer is given outside of what sets the headers of all others.
    answer.headers.update(HEADERS)
    return answer


def _answer(request: Request, status: int, what: str, *, kept: str = "", advice: str = "") -> Response:
    if request.url.path.startswith("/api/"):
        document = {
            "schema": "mtp-monitor/api/error/1",
            "error": what,
            "kept": kept,
            "advice": advice,
        }
        answer: Response = JSONResponse(document, status)
        if status == 401:  # noqa: PLR2004
            answer.headers["www-authenticate"] = "Bearer"
        return answer
    title = _TITLES.get(status, "That did not work")
    return render(request, "error.html", status=status, title=title, what=what, kept=kept, advice=advice)
