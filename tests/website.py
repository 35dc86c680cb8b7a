"A web server for a folder on this machine, with ranges, that can hang up in the middle or send slowly."

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        site = self.server.site
        name = unquote(self.path).lstrip("/")
        path, wanted = site.folder / name, self.headers.get("Range")
        site.asked.append((name, wanted))
        if not path.is_file():
            return self.send_error(404)
        body, tag = path.read_bytes(), f'"{path.stat().st_mtime_ns}"'
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.headers.get("If-Range") == tag else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = site.cuts.pop(name, len(body))
        self.close_connection = end < len(body)
        try:
            for i in range(start, end, site.piece):
                self.wfile.write(body[i : min(i + site.piece, end)])
                time.sleep(site.pause)
        except OSError:  # the other side was killed
            self.close_connection = True

    def log_message(self, *args):
        pass


class Website:
    "Serves `folder` while it is open; `asked` are the requests, `cuts` (name -> bytes) where it hangs up once."

    def __init__(self, folder, pause=0.0, piece=1 << 16):
        self.folder, self.pause, self.piece, self.asked, self.cuts = Path(folder), pause, piece, [], {}

    def __enter__(self):
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.site, self.server.handle_error = self, lambda *args: None
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.server.shutdown()
        self.server.server_close()
