"""The part of Databricks' REST interface that MLflow's client asks to register, alias, upload, list and fetch models of
Unity Catalog, on loopback. Versions are kept in memory, and the files that are uploaded in a folder."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

MODELS, FILES, FOLDERS = "/api/2.0/mlflow/unity-catalog/", "/api/2.0/fs/files", "/api/2.0/fs/directories"
TOKEN = "made-up"


class Missing(Exception):
    """What is asked for isn't there."""


class Catalog(ThreadingHTTPServer):
    """The server; `folder` holds what was uploaded, as `Models/catalog/schema/name/version/…`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.lock = folder, threading.Lock()
        self.models: dict[str, dict[str, Any]] = {}
        """Name -> versions, in order, and aliases."""
        self.asked: list[str] = []
        """Every request, as `METHOD /path`."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, request: str, given: dict[str, Any]) -> dict[str, Any]:
        """What a call of the models' interface returns."""
        name = given.get("name") or "".join(re.findall("'(.+)'", given.get("filter", "")))
        if request == "POST registered-models/create":
            self.models[name] = {"versions": [], "aliases": {}}
            return {"registered_model": {"name": name}}
        if request == "GET registered-models/search":
            return {"registered_models": [{"name": one} for one in self.models]}
        if request.startswith("GET registered-models:is-databricks-sdk"):
            return {"is_databricks_sdk_models_artifact_repository_enabled": True}
        if name not in self.models:
            raise Missing(name)
        model = self.models[name]
        if request == "GET registered-models/get":
            return {"registered_model": {"name": name}}
        if request == "POST model-versions/create":
            number = str(len(model["versions"]) + 1)
            kept = {key: given[key] for key in ("source", "tags") if key in given}
            made = {"name": name, "version": number, "creation_timestamp": 1767225600000, **kept}
            model["versions"].append(made | {"status": "PENDING_REGISTRATION"})
        elif request == "POST registered-models/alias":
            model["aliases"][given["alias"]] = given["version"]
            return {}
        elif request == "GET model-versions/search":
            return {"model_versions": [{**one, "tags": []} for one in model["versions"]]}
        elif request == "GET registered-models/alias":
            number = model["aliases"].get(given["alias"], "")
        else:
            number = given["version"]
        found = next((one for one in model["versions"] if one["version"] == number), None)
        if found is None:
            raise Missing(f"{name} {number}")
        if request == "POST model-versions/finalize":
            found["status"] = "READY"
        aliases = [{"alias": alias, "version": of} for alias, of in model["aliases"].items() if of == number]
        return {"model_version": {**found, "aliases": aliases}}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Catalog

    def do_GET(self) -> None:
        """Any request."""
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        where = self.server.folder / unquote(url.path).removeprefix(FILES).removeprefix(FOLDERS).lstrip("/")
        self.server.asked.append(f"{self.command} {url.path}")
        if url.path in ("/.well-known/databricks-config", "/api/2.0/mlflow/experiments/search"):
            self.reply(200, b"{}")
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.reply(401, b'{"error_code": "UNAUTHENTICATED", "message": "no such token"}')
        elif url.path.startswith(MODELS):
            given = dict(parse_qsl(url.query)) | json.loads(body or b"{}")
            try:
                with self.server.lock:
                    found = self.server.answer(f"{self.command} {url.path.removeprefix(MODELS)}", given)
                self.reply(200, json.dumps(found).encode())
            except Missing as error:
                missing = {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"{error} does not exist"}
                self.reply(404, json.dumps(missing).encode())
        elif self.command == "PUT" and url.path.startswith(FILES):
            where.parent.mkdir(parents=True, exist_ok=True)
            where.write_bytes(body)
            self.reply(204)
        elif url.path.startswith(FILES) and where.is_file():
            self.reply(200, where.read_bytes())
        elif url.path.startswith(FOLDERS) and where.is_dir():
            there = [
                {"path": f"/{path.relative_to(self.server.folder)}", "is_directory": path.is_dir(), "file_size": 1}
                for path in sorted(where.iterdir())
            ]
            self.reply(200, json.dumps({"contents": there}).encode())
        else:  # `create-download-url` too: the client then asks for the file itself
            self.reply(404, b'{"error_code": "NOT_FOUND", "message": "not here"}')

    do_HEAD = do_POST = do_PUT = do_GET

    def reply(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be silent."""


@contextmanager
def serving(folder: Path) -> Iterator[Catalog]:
    """The server while the block runs."""
    with Catalog(folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
