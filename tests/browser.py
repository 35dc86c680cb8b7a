"""Drive Chromium through its DevTools protocol, for tests of pages: https://chromedevtools.github.io/devtools-protocol.

A test gets a `Browser`, opens an address, clicks, types, chooses files, asks the page by JavaScript, and takes a screenshot.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from urllib.request import urlopen

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip
KEYS = {"Enter": (13, "\r"), "Tab": (9, ""), "Escape": (27, ""), "ArrowDown": (40, ""), "ArrowUp": (38, "")}


def chromium():
    "Where Chromium is; None where it is not installed."
    return next(filter(None, map(shutil.which, NAMES)), None)


def missing(*packages) -> str:
    "Why a page cannot be tested here: what is not installed; '' where nothing is missing."
    lacking = ([] if chromium() else ["Chromium"]) + [name for name in (*packages, "websocket") if find_spec(name) is None]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


class Browser:
    "One window of a headless Chromium. `errors` are exceptions and errors of the page, `dialogs` the texts of alerts; alerts are closed at once."

    def __init__(self, width=1280, height=900, seconds=60):
        import websocket

        self.seconds, self.number, self.events, self.errors, self.dialogs = seconds, 0, [], [], []
        self.folder = tempfile.mkdtemp()
        command = [chromium(), *FLAGS, f"--window-size={width},{height}", f"--user-data-dir={self.folder}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        try:
            found = Path(self.folder) / "DevToolsActivePort"
            port = self.until(lambda: found.exists() and found.read_text().split("\n")[0], "Chromium to start")
            pages = self.until(lambda: [p for p in self.ask(f"http://127.0.0.1:{port}/json/list") if p["type"] == "page"], "a window")
            self.socket = websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=seconds)
            for domain in ("Page", "Runtime", "DOM", "Log"):
                self.send(f"{domain}.enable")
            self.resize(width, height)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @staticmethod
    def ask(address):
        "What an address gives, as JSON holds it."
        with urlopen(address, timeout=10) as answer:
            return json.load(answer)

    def until(self, condition, what, seconds=None):
        "Wait until `condition()` is true, and return it. Raises `TimeoutError`, which names `what` was waited for."
        end = time.monotonic() + (seconds or self.seconds)
        while time.monotonic() < end:
            if value := condition():
                return value
            time.sleep(0.1)
        raise TimeoutError(f"waited for {what}; errors of the page: {self.errors[-3:]}")

    # --- the protocol

    def receive(self):
        "Read one message; events are noted, and alerts closed."
        message = json.loads(self.socket.recv())
        name, params = message.get("method"), message.get("params", {})
        if name is None:
            return message
        self.events.append((name, params))
        if name == "Page.javascriptDialogOpening":
            self.dialogs.append(params["message"])
            self.post("Page.handleJavaScriptDialog", accept=True)
        elif name == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"].get("exception", {}).get("description") or params["exceptionDetails"]["text"])
        elif name == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        return message

    def post(self, method, **params):
        "Send a command without waiting for its result; returns its number."
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": params}))
        return self.number

    def send(self, method, **params):
        "Send a command; returns its result. Raises `RuntimeError` where Chromium refuses it."
        number = self.post(method, **params)
        while (message := self.receive()).get("id") != number:
            pass
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']['message']}")
        return message["result"]

    def event(self, name):
        "Wait for an event, and take it; returns what it says."
        while True:
            for i, (kind, params) in enumerate(self.events):
                if kind == name:
                    del self.events[i]
                    return params
            self.receive()

    # --- what a test does

    def open(self, address):
        "Open an address, and wait until the page is loaded. Raises `RuntimeError` where nobody answers."
        self.events.clear()
        if failed := self.send("Page.navigate", url=address).get("errorText"):
            raise RuntimeError(f"{address}: {failed}")
        self.event("Page.loadEventFired")

    def run(self, script):
        "What a JavaScript expression gives; a promise is waited for. Raises `RuntimeError` where it fails."
        result = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{script[:200]}: {result['result'].get('description', result['exceptionDetails']['text'])}")
        return result["result"].get("value")

    def wait(self, script, seconds=None):
        "Wait until a JavaScript expression is true; returns it."
        return self.until(lambda: self.run(script), script, seconds)

    def text(self, selector="body"):
        "The text of the first element that a CSS selector finds, as a reader sees it; '' where there is none."
        return self.run(f"(document.querySelector({json.dumps(selector)}) || {{innerText: ''}}).innerText")

    def count(self, selector):
        "How many elements a CSS selector finds."
        return self.run(f"document.querySelectorAll({json.dumps(selector)}).length")

    def click(self, selector):
        "A real click with the mouse on the middle of the first element that a CSS selector finds, once it is there."
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait(f"!!{element}")
        self.run(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
        box = self.run(f"(() => {{ const b = {element}.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()")
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.send(
                "Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left" if kind != "mouseMoved" else "none", clickCount=1
            )

    def write(self, text):
        "Type a text where the cursor stands."
        self.send("Input.insertText", text=text)

    def press(self, key, ctrl=False, shift=False):
        "Press a key, such as Enter, perhaps with control or shift."
        code, text = KEYS.get(key, (ord(key[0].upper()), key))
        settings = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 2 * ctrl + 8 * shift}
        self.send("Input.dispatchKeyEvent", type="keyDown", **settings, **({"text": text} if text and not ctrl else {}))
        self.send("Input.dispatchKeyEvent", type="keyUp", **settings)

    def choose(self, selector, *paths):
        "Click on what opens the dialog for files, and choose files in it."
        self.send("Page.setInterceptFileChooserDialog", enabled=True)
        self.click(selector)
        asked = self.event("Page.fileChooserOpened")
        self.send("DOM.setFileInputFiles", files=[str(Path(path).resolve()) for path in paths], backendNodeId=asked["backendNodeId"])
        self.send("Page.setInterceptFileChooserDialog", enabled=False)

    def resize(self, width, height=900):
        "Give the page another size; below 600 pixels it is a phone."
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def screenshot(self, path, whole=True):
        "Write a picture of the page as PNG, all of it or what a window shows."
        data = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        "End Chromium, and remove what it wrote."
        if hasattr(self, "socket"):
            self.socket.close()
        os.killpg(self.process.pid, signal.SIGKILL)  # all its processes; there is nothing to be saved
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
