"""A server on this machine for the tests of downloads: it honours ranges, counts requests, and can break off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Site:
    """Files by path. `breaks[path]` answers are cut in the middle; with `ranges` off, every answer is whole."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks: dict[str, int] = {}
        self.ranges = True
        self.asked: list[tuple[str, str]] = []
        self.address = ""

    def put(self, path: str, content: bytes) -> str:
        self.files[path] = content
        return f"{self.address}/{path}"


@contextmanager
def serve() -> Iterator[Site]:
    """A running site."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.lstrip("/")
            wanted = self.headers.get("Range", "")
            site.asked.append((path, wanted))
            content = site.files.get(path)
            if content is None:
                self.send_error(404)
                return
            begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and site.ranges else 0
            if begin and begin >= len(content):
                self.send_error(416)
                return
            body = content[begin:]
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if site.breaks.get(path, 0):
                site.breaks[path] -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
