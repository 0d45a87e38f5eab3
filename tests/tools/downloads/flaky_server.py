"""An HTTP server on this machine that misbehaves as told."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


class FlakyServer:
    """Serves ``files``; what a path does to each of its requests stands in ``behaviours``, the last for all others.

    A behaviour is a word, with a number after a colon:
      ok          answers as it should, ranges too
      no_range    always sends the whole file
      chunked     the whole file without its length
      truncate:n  ends the connection after n bytes
      stall:n     sends n bytes, then nothing until the server stops
      wrong       another file of the same length
      html, page  a web page, called so or not
      n           the status n

    Attributes:
        requests: path, Range header and Authorization header of each request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.behaviours: dict[str, list[str]] = {}
        self.redirects: dict[str, str] = {}
        self.requests: list[tuple[str, str | None, str | None]] = []
        self.stopped = threading.Event()
        self.url = ""

    def ranges(self, path: str) -> list[str | None]:
        return [range_ for asked, range_, _ in self.requests if asked == path]

    def add_hub(self, kind: str, repo_id: str, files: dict[str, bytes], lfs: Callable[[str], bool]) -> None:
        """Let it look like a repository on Hugging Face."""
        revision = "c" * 40
        api, prefix = f"/api/{kind}s/{repo_id}", "" if kind == "model" else f"/{kind}s"
        info = {"id": repo_id, "sha": revision, "siblings": [{"rfilename": name} for name in files]}
        self.files[api] = self.files[f"{api}/revision/main"] = json.dumps(info).encode()
        tree = []
        for name, content in files.items():
            entry = {"type": "file", "path": name, "size": len(content), "oid": git_blob(content)}
            if lfs(name):
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
            tree.append(entry)
            self.files[f"{prefix}/{repo_id}/resolve/{revision}/{name}"] = content
        self.files[f"{api}/tree/{revision}"] = json.dumps(tree).encode()


def git_blob(content: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _handler(server: FlakyServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            server.requests.append((path, self.headers.get("Range"), self.headers.get("Authorization")))
            if path in server.redirects:
                self._begin(302, {"Location": server.redirects[path], "Content-Length": "0"})
                return
            behaviours = server.behaviours.get(path, ["ok"])
            word, _, number = (behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]).partition(":")
            if path not in server.files:
                word = "404"
            if word.isdecimal():
                self._begin(int(word), {"Content-Length": "0"})
                return
            if word in ("html", "page"):
                page = b"\n<!DOCTYPE html><html><body>Sign in</body></html>"
                kind = "text/html; charset=utf-8" if word == "html" else "application/octet-stream"
                self._begin(200, {"Content-Type": kind, "Content-Length": str(len(page))}, page)
                return
            self._send(word, int(number or 0), server.files[path])

        def _send(self, word: str, number: int, content: bytes) -> None:
            if word == "wrong":
                content = bytes(255 - value for value in content)
            if word == "chunked":
                self._begin(200, {"Content-Type": "application/octet-stream"}, content)
                return
            start, status, headers = 0, 200, {"Content-Type": "application/octet-stream"}
            asked = self.headers.get("Range")
            if asked and word != "no_range":
                start = int(asked.removeprefix("bytes=").rstrip("-"))
                if start >= len(content):
                    self._begin(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
                    return
                status = 206
                headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            headers["Content-Length"] = str(len(content) - start)
            body = content[start:]
            self._begin(status, headers, body[:number] if word in ("truncate", "stall") else body)
            if word == "stall":
                self.wfile.flush()
                server.stopped.wait()
            self.close_connection = True

        def _begin(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is what the tests are about."""


@contextmanager
def flaky_server() -> Iterator[FlakyServer]:
    server = FlakyServer()
    http = _Quiet(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{http.server_address[1]}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.stopped.set()
        http.shutdown()
        thread.join()
        http.server_close()
