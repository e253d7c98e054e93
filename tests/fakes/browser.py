"""A headless Chromium, driven through its DevTools protocol."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

COMMANDS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


def command() -> str | None:
    return next((found for name in COMMANDS if (found := shutil.which(name))), None)


class Tab:
    """What is open in it, and what it complained of."""

    def __init__(self, address: str) -> None:
        self.socket = websocket.create_connection(address, suppress_origin=True, timeout=20)
        self.sent, self.complaints = 0, list[str]()
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while True:
            answer = json.loads(self.socket.recv())
            if answer.get("id") == self.sent:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            of, said = answer.get("method"), answer.get("params", {})
            if (
                of in ("Runtime.exceptionThrown", "Page.javascriptDialogOpening")
                or (of == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"))
                or (of == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"))
            ):
                self.complaints.append(json.dumps(said))

    def value(self, expression: str) -> Any:
        """Of JavaScript."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, expression: str) -> None:
        end = time.monotonic() + 10
        while not self.value(expression):
            assert time.monotonic() < end, f"never: {expression}; {self.complaints}"
            time.sleep(0.02)

    def open(self, file: Path, width: int = 1400) -> None:
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=False)
        self.complaints.clear()
        self.send("Page.navigate", url=file.as_uri())
        self.until(f"document.readyState === 'complete' && location.href === {json.dumps(file.as_uri())}")

    def key(self, key: str, code: int = 0, shift: bool = False) -> None:
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
            self.send("Input.dispatchKeyEvent", **event, **(text if kind == "keyDown" else {}))

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        touches = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(points)]
        self.send("Input.dispatchTouchEvent", type=kind, touchPoints=touches)


@contextmanager
def tab(profile: Path) -> Iterator[Tab]:
    """A browser of its own with one tab; `profile` is an empty folder."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    flags = ["--headless", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}", *root]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # Debian's command is a shell script, which would end without the browser that it started
    process = subprocess.Popen([str(command()), *flags, "about:blank"], start_new_session=True, **quiet)
    try:
        port, end = profile / "DevToolsActivePort", time.monotonic() + 60
        while not (port.is_file() and port.read_text().count("\n")):
            assert process.poll() is None and time.monotonic() < end, "the browser did not start"
            time.sleep(0.02)
        url = f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"
        with urllib.request.urlopen(url, timeout=10) as answer:
            pages = [one for one in json.load(answer) if one["type"] == "page"]
        yield Tab(pages[0]["webSocketDebuggerUrl"])
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
