"""Reads which commits lie between two releases.

https://docs.github.com/en/rest/commits/commits#compare-two-commits: commits in the order they were made, at
most 250 on a page that names no size, `total_commits` of all, and in `merge_base_commit` the newest that both
have.
"""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import quote

from packaging.version import InvalidVersion, Version
from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, TypeAdapter, ValidationError

from monitor.domain.commits import Commit, CommitRange
from monitor.errors import CommitUnknownError
from monitor.releases.github.api import Answer, GithubApi, lied
from monitor.releases.github.schema import plain
from monitor.releases.memory import write
from monitor.releases.projects import PROJECTS, build_number

_PER_PAGE, _FIRST_PAGES, _MOST_PAGES = 100, 5, 30
_TITLE = 200
_RANGE = TypeAdapter(CommitRange)
_COMMIT_IN_VERSION = re.compile(r"(?:^|\.)g?([0-9a-f]{7,40})(?:\.|$)")
"""Nightly builds carry it in their local version: 0.33.1.dev5+g0123abc.cu130."""


def git_ref(project: str, version: str) -> str | None:
    """Return the tag or commit that a version of a project was made from, None where that is not known."""
    known = PROJECTS.get(project)
    if known is None or known.repository is None:
        return None
    try:
        local = Version(version).local or ""
    except InvalidVersion:
        return None
    if project == known.upstream and (found := _COMMIT_IN_VERSION.search(local)):
        return found[1]
    build = build_number(project, version)
    if "{build}" in known.tag and build is None:
        return None
    return known.tag.format(version=version.partition("+")[0], build=build)


class CommitHistory:
    """The commits of one repository; what lies between two tags is asked for once and remembered."""

    def __init__(self, api: GithubApi, repository: str) -> None:
        self._api = api
        self._repository = repository

    def commits_between(self, old: str, new: str, *, whole: bool = False) -> CommitRange:
        """Return the commits that the ref `new` has and `old` has not: the first 500, or 3,000 if `whole`.

        Raises:
            SourceError: GitHub could not be asked, or its limits forbid it.
            CommitUnknownError: it does not know one of the two.
            SourceLiedError: it answered with something else.

        """
        most = _MOST_PAGES if whole else _FIRST_PAGES
        known = self.known(old, new)
        if known is not None and (known.is_whole or len(known.commits) >= most * _PER_PAGE):
            return known
        span = f"{quote(old, safe='')}...{quote(new, safe='')}"
        url: str | None = self._api.address(f"/repos/{self._repository}/compare/{span}?per_page={_PER_PAGE}")
        first: _Comparison | None = None
        commits: list[Commit] = []
        for _ in range(most):
            if url is None:
                break
            answer = self._api.get(url, may_lack=True)
            page = self._page(answer, url, old, new)
            first = first or page
            commits += [entry.commit_of() for entry in page.commits]
            url = answer.following
        if first is None:
            raise RuntimeError("at least one page was read")
        found = CommitRange(
            old=old,
            new=new,
            commits=tuple(commits),
            total=max(first.total_commits, len(commits)),
            page=f"{self._api.settings.web_url}/{self._repository}/compare/{span}",
            is_straight=first.status in {"ahead", "identical"},
            base=first.merge_base_commit.commit_of() if first.merge_base_commit is not None else None,
        )
        if self._api.folder is not None:
            write(self._file(old, new), _RANGE.dump_json(found))
        return found

    def known(self, old: str, new: str) -> CommitRange | None:
        """Return what was found between the two before; asks nothing."""
        try:
            return _RANGE.validate_json(self._file(old, new).read_bytes()) if self._api.folder else None
        except (OSError, ValidationError):
            return None

    def _file(self, old: str, new: str) -> Any:
        if self._api.folder is None:
            raise RuntimeError("nothing is remembered without a folder")
        key = hashlib.sha256(f"{self._api.settings.api_url} {self._repository} {old} {new}".encode())
        return self._api.folder / f"github-commits-{key.hexdigest()[:24]}.json"

    @staticmethod
    def _page(answer: Answer, url: str, old: str, new: str) -> _Comparison:
        if answer.status == HTTPStatus.NOT_FOUND:
            raise CommitUnknownError(
                f"GitHub knows nothing between {old} and {new}: one of them is no tag or commit there.",
                advice="see whether the tag was deleted",
            )
        try:
            return _Comparison.model_validate(answer.body)
        except ValidationError as error:
            raise lied(url, "sent JSON that is no comparison of commits") from error


class _Author(BaseModel):
    model_config = ConfigDict(extra="ignore")

    name: str = ""
    date: AwareDatetime | None = None


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore")

    message: str = ""
    author: _Author | None = None


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore")

    sha: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}([0-9a-f]{24})?$")]
    html_url: str = ""
    commit: _Message

    def commit_of(self) -> Commit:
        author = self.commit.author or _Author()
        title = plain(self.commit.message).partition("\n")[0][:_TITLE]
        page = self.html_url if self.html_url.startswith(("https://", "http://127.0.0.1:")) else ""
        return Commit(self.sha, title, plain(author.name)[:_TITLE], author.date, page)


class _Comparison(BaseModel):
    model_config = ConfigDict(extra="ignore")

    status: str
    total_commits: int
    commits: tuple[_Entry, ...]
    merge_base_commit: _Entry | None = None
