"""Handle the requests of a Hub client."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, quote, unquote, urlsplit

from mirror import upload
from mirror.answer import Answer, Refused, apply_fault, file_answer, json_answer, lfs_headers
from mirror.fault import Fault, Origin
from mirror.file import BLOCK, File
from mirror.listing import info, rows
from mirror.repository import Repository
from mirror.state import Request, State

RANGE = re.compile(r"bytes=(\d*)-(\d*)")

Query = Mapping[str, list[str]]


def handler(mirror: State, origin: Origin) -> type[BaseHTTPRequestHandler]:
    """Bind a handler to its mirror and its origin."""
    return type("Bound", (_Handler,), {"mirror": mirror, "origin": origin})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    mirror: State
    origin: Origin
    fault: Fault

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.fault = Fault()
        try:
            answer = self._answer()
        except Refused as refused:
            answer = refused.answer
        self._send(apply_fault(answer, self.fault))

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self.fault = Fault()
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        try:
            match parts:
                case ["store", self.mirror.secret, "upload", oid]:
                    answer = upload.store(self.mirror, oid, body)
                case _:
                    with self.mirror.writing:
                        answer = upload.post(self.mirror, parts, body, self._require_write_access)
        except Refused as refused:
            answer = refused.answer
        self._send(answer)

    do_PUT = do_POST

    def _require_write_access(self, name: str) -> None:
        token = self._token()
        if token is None or name not in self.mirror.tokens[token]:
            raise Refused(403 if token else 401, "", "You don't have the rights to write here.")

    def _answer(self) -> Answer:
        url = urlsplit(self.path)
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        query = parse_qs(url.query)
        match parts:
            case ["store", self.mirror.secret, owner, name, commit, *path]:
                repository = self.mirror.repositories[f"{owner}/{name}"]
                return self._file(repository, commit, "/".join(path))
            case _ if self.origin == "store":
                raise Refused(404, "EntryNotFound", "Entry not found")
            case ["api", "models", owner, name]:
                return self._info(f"{owner}/{name}", "main", query)
            case ["api", "models", owner, name, "revision", revision]:
                return self._info(f"{owner}/{name}", revision, query)
            case ["api", "models", owner, name, "tree", revision, *folder]:
                return self._tree(f"{owner}/{name}", revision, "/".join(folder), query)
            case ["api", "whoami-v2"]:
                if self._token() is None:
                    raise Refused(401, "", "Invalid username or password.")
                return json_answer({"type": "user", "name": "someone"})
            case [owner, name, "resolve", revision, *path]:
                return self._resolve(f"{owner}/{name}", revision, "/".join(path))
            case _:
                raise Refused(404, "", "Sorry, we can't find the page you are looking for.")

    def _use(self, key: str) -> None:
        self.fault = self.mirror.fault(key, self.command, self.origin)

    def _token(self) -> str | None:
        authorization = self.headers.get("Authorization")
        if authorization is None:
            return None
        token = authorization.removeprefix("Bearer ")
        if token not in self.mirror.tokens:
            raise Refused(401, "", "Invalid credentials in Authorization header")
        return token

    def _find(self, name: str, revision: str, *, gate: bool) -> tuple[Repository, str]:
        token = self._token()
        repository = self.mirror.repositories.get(name)
        has_access = token is not None and name in self.mirror.tokens[token]
        if repository is None or (repository.private and not has_access):
            # The Hub does not tell a stranger whether a repository is missing or private.
            raise Refused(404 if token else 401, "RepoNotFound", "Repository not found")
        if gate and repository.gated and not has_access:
            why = "you are not in the authorized list" if token else "please log in"
            message = f"Access to model {name} is restricted: {why}."
            raise Refused(403 if token else 401, "GatedRepo", message)
        commit = repository.commit(revision)
        if commit is None:
            raise Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repository, commit

    def _info(self, name: str, revision: str, query: Query) -> Answer:
        self._use("/info")
        repository, commit = self._find(name, revision, gate=False)
        return json_answer(info(name, repository, commit, blobs=query.get("blobs") == ["true"]))

    def _tree(self, name: str, revision: str, folder: str, query: Query) -> Answer:
        self._use("/tree")
        repository, commit = self._find(name, revision, gate=False)
        recursive = query.get("recursive", [""])[0].lower() == "true"
        listed = rows(repository.files(commit), folder, recursive=recursive) + repository.forged
        if folder and not listed:
            raise Refused(404, "EntryNotFound", f"{folder} does not exist on {revision!r}")
        start = int(query.get("cursor", ["0"])[0])
        stop = start + self.mirror.page
        headers = {}
        if stop < len(listed):
            next = f"{urlsplit(self.path).path}?recursive={recursive}&cursor={stop}"
            headers["Link"] = f'<{self.mirror.url}{next}>; rel="next"'
        return json_answer(listed[start:stop], headers)

    def _resolve(self, name: str, revision: str, path: str) -> Answer:
        repository, commit = self._find(name, revision, gate=True)
        file = repository.files(commit).get(path)
        if file is None or not file.lfs:
            return self._file(repository, commit, path)
        self._use(path)
        place = quote(f"/store/{self.mirror.secret}/{name}/{commit}/{path}")
        headers = {"Location": self.mirror.store + place, "X-Repo-Commit": commit}
        return Answer(302, headers | lfs_headers(file))

    def _file(self, repository: Repository, commit: str, path: str) -> Answer:
        self._use(path)
        file = repository.files(commit).get(path)
        if file is None:
            raise Refused(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        return file_answer(
            file, commit, self._span(file) if self.fault.ranges else None, self.fault
        )

    def _span(self, file: File) -> tuple[int, int] | None:
        """Return the requested range as start and end, or None for all."""
        requested = RANGE.fullmatch(self.headers.get("Range") or "")
        if_range = self.headers.get("If-Range")
        if not requested or (if_range and if_range.strip('"') != file.etag):
            return None
        first, last = requested.groups()
        if not first:
            return max(file.size - int(last or 0), 0), file.size
        return int(first), min(int(last) + 1, file.size) if last else file.size

    def _send(self, answer: Answer) -> None:
        fault, authorized = self.fault, "Authorization" in self.headers
        request = Request(
            self.command,
            self.path,
            self.headers.get("Range"),
            authorized,
            self.origin,
            answer.status,
        )
        self.mirror.note(request)
        time.sleep(fault.stall)
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.length is None:
            self.close_connection = True
            self.send_header("Connection", "close")
        elif "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(answer.length))
        try:
            self.end_headers()
            if self.command == "HEAD":
                return
            for piece in _pieces(answer, fault):
                request.sent += len(piece)
                self.wfile.write(piece)
                if fault.trickle:
                    time.sleep(fault.trickle[1])
            if request.sent == fault.cut:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            self.close_connection = True


def _pieces(answer: Answer, fault: Fault) -> Iterator[bytes]:
    """Yield the body, up to its declared length or to the connection's cut."""
    limits = [limit for limit in (answer.length, fault.cut) if limit is not None]
    remaining = min(limits, default=None)
    size = fault.trickle[0] if fault.trickle else BLOCK
    for block in answer.body:
        piece = block[:remaining]
        yield from (piece[at : at + size] for at in range(0, len(piece), size))
        if remaining is not None:
            remaining -= len(piece)
            if not remaining:
                return
