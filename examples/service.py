"""A service under load: threads of an HTTP server call one model, and the latencies are drawn as a histogram.

The server is Python's own. Eight clients ask for digits one after another; the time in the model and the time of the
whole request are measured. `--plot FILE` draws them.
"""

import argparse
import http.client
import http.server
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import resources

import numpy as np

import cyrnn

parser = argparse.ArgumentParser()
parser.add_argument("--plot", help="where the histogram is drawn")
parser.add_argument("--requests", type=int, default=250, help="of each client")
options = parser.parse_args()

CLIENTS = 8
folder = resources.files("cyrnn") / "data"
model = cyrnn.saving.load_model(folder / "digits.keras")
digits = np.load(folder / "digits.npz")
in_model = []  # seconds; `append` is atomic


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # an answer is sent at once, not its head and its body one after the other

    def do_POST(self):
        image = np.frombuffer(self.rfile.read(int(self.headers["Content-Length"])), np.float32).reshape(1, 8, 8)
        start = time.perf_counter()
        probabilities = model(image)
        in_model.append(time.perf_counter() - start)
        answer = json.dumps({"digit": int(probabilities.argmax())}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *arguments):
        pass


def client(number):
    """Ask again and again. Returns the seconds of each request, and how many answers were right."""
    connection, seconds, right = http.client.HTTPConnection(*server.server_address), [], 0
    for request in range(options.requests):
        index = (number * options.requests + request) % len(digits["x"])
        body = (digits["x"][index] / np.float32(16)).astype(np.float32).tobytes()
        start = time.perf_counter()
        connection.request("POST", "/", body)
        answer = json.loads(connection.getresponse().read())
        seconds.append(time.perf_counter() - start)
        right += answer["digit"] == digits["y"][index]
    connection.close()
    return seconds, right


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
with ThreadPoolExecutor(CLIENTS) as threads:
    results = list(threads.map(client, range(CLIENTS)))
server.shutdown()

count = CLIENTS * options.requests
right = sum(found for _, found in results)
whole = np.concatenate([seconds for seconds, _ in results]) * 1e6
model_alone = np.array(in_model) * 1e6
print(f"{right / count:.1%} of {count:,} answers are right")
print("microseconds               p50      p99    p99.9")
for title, values in (("a request", whole), ("the model in it", model_alone)):
    print(f"  {title:<18}" + "".join(f"{value:9,.0f}" for value in np.percentile(values, [50, 99, 99.9])))
assert right / count > 0.9

if options.plot:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    bins = np.geomspace(model_alone.min(), whole.max(), 80)
    axes.hist(model_alone, bins, label="in the model")
    axes.hist(whole, bins, label="the whole request", hatch="//", alpha=0.6)
    axes.set(xscale="log", xlabel="microseconds", ylabel="requests")
    axes.legend()
    figure.savefig(options.plot, dpi=150)
