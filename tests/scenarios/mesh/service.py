"""A small HTTP service; the others of this folder say what it answers."""
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def serve(method, answer):
    """Answers `method` requests for /ANY/PRODUCT by `answer(product)`: (status, text)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def reply(self):
            status, text = answer(int(self.path.split("/")[2]))
            body = f"{text}\n".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    setattr(Handler, f"do_{method}", Handler.reply)
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("", int(sys.argv[1])), Handler).serve_forever()
