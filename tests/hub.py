"""A Hub on this machine: the part of its HTTP API by which huggingface_hub makes, fills and reads a repository."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

SHA = "a" * 40


class Hub:
    """`files` of the one repository as they were committed, `asked` each request's method and path."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.large: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Hub:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def create(self, body: bytes) -> object:
        said = json.loads(body)
        return {"url": f"{self.url}/{said['organization']}/{said['name']}"}

    def preupload(self, body: bytes) -> object:
        def mode(name: str) -> str:
            return "lfs" if name.endswith(".safetensors") else "regular"

        files = json.loads(body)["files"]
        return {"files": [{"path": f["path"], "uploadMode": mode(f["path"]), "shouldIgnore": False} for f in files]}

    def batch(self, body: bytes) -> object:
        objects = json.loads(body)["objects"]
        for said in objects:
            said["actions"] = {k: {"href": f"{self.url}/lfs/{said['oid']}"} for k in ("upload", "verify")}
        return {"transfer": "basic", "objects": objects}

    def commit(self, body: bytes) -> object:
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.files[value["path"]] = self.blobs[value["oid"]]
                self.large.add(value["path"])
        return {"commitUrl": f"{self.url}/user/name/commit/{SHA}", "commitOid": SHA, "success": True}

    def info(self, body: bytes) -> object:
        return {"id": "user/name", "sha": SHA, "siblings": [{"rfilename": name} for name in self.files]}

    def tree(self, body: bytes) -> object:
        found = []
        for name, content in self.files.items():
            entry = {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            if name in self.large:
                sha256 = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"oid": sha256, "size": len(content), "pointerSize": 134}
            found.append(entry)
        return found

    def handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self
        answers = {
            r"POST /api/repos/create": hub.create,
            r"POST /api/validate-yaml": lambda body: {"errors": [], "warnings": []},
            r"POST /api/models/user/name/preupload/main": hub.preupload,
            r"POST /user/name.git/info/lfs/objects/batch": hub.batch,
            r"POST /lfs/\w+": lambda body: {},
            r"POST /api/models/user/name/commit/main": hub.commit,
            r"GET /api/models/user/name(/revision/\w+)?": hub.info,
            rf"GET /api/models/user/name/tree/{SHA}": hub.tree,
        }

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                path = unquote(urlsplit(self.path).path)
                hub.asked.append(f"{self.command} {path}")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if self.command == "PUT":
                    hub.blobs[path.rpartition("/")[2]] = body
                    return self.send(200, b"")
                if "/resolve/" in path:
                    return self.resolve(path.partition("/resolve/")[2].partition("/")[2])
                for pattern, make in answers.items():
                    if re.fullmatch(pattern, f"{self.command} {path}"):
                        return self.send(200, json.dumps(make(body)).encode())
                return self.send(404, b"{}")

            def resolve(self, name: str) -> None:
                if name not in hub.files:
                    return self.send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": SHA})
                content = hub.files[name]
                etag = f'"{hashlib.sha256(content).hexdigest()}"'
                return self.send(200, content, {"ETag": etag, "X-Repo-Commit": SHA})

            def send(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
                self.send_response(status)
                for key, value in {"Content-Type": "application/json", **(headers or {})}.items():
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *args: object) -> None:
                pass

            do_GET = do_HEAD = do_POST = do_PUT = answer

        return Handler
