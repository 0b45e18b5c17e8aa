"""A ROS domain and a bench for every test, so that tests never hear each other."""

from __future__ import annotations

import http.server
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from e2ec_ros.node import SegmentationNode
    from ros_bench import Bench

SMALL = {"short_side": 64, "long_side": 0}  # px as the network sees images: fast


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A bench in a domain of its own."""
    pytest.importorskip("rclpy", reason="rclpy is missing: run `make test`")
    from e2ec_ros.demo.domains import own_domain
    from ros_bench import Bench, ros_domain

    with own_domain() as domain, ros_domain(domain, tmp_path) as environment:
        made = Bench(environment, tmp_path)
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def console(capfd: pytest.CaptureFixture[str]) -> Callable[[], list[str]]:
    """Gives the lines that the nodes of this process logged so far, without level and time."""

    def lines() -> list[str]:
        # Not by `capfd.readouterr`, which loses what is written between its reading and emptying.
        text = Path("/proc/self/fd/2").read_text(errors="replace")
        return [line.rpartition("[e2ec]: ")[2] for line in text.splitlines()]

    return lines


@pytest.fixture
def make_node(bench: Bench) -> Callable[..., SegmentationNode]:
    """Makes the segmentation node in this process, spinning, with parameters given by name."""
    from rclpy.parameter import Parameter

    from e2ec_ros.node import SegmentationNode

    def make(**parameters: object) -> SegmentationNode:
        given = {**SMALL, **{name.replace("__", "."): v for name, v in parameters.items()}}
        node = SegmentationNode([Parameter(name, value=value) for name, value in given.items()])
        bench.spin(node)
        return node

    return make


@pytest.fixture
def active_node(bench: Bench, make_node: Callable[..., SegmentationNode]) -> SegmentationNode:
    """The segmentation node, active, with the weights that ship."""
    node = make_node()
    assert bench.transition("configure")
    assert bench.transition("activate")
    return node


@pytest.fixture
def serve() -> Iterator[Callable[..., str]]:
    """Serves a motion-JPEG stream on this machine: frame i of the film at i times the pause."""
    import cv2
    from ros_bags import picture

    servers: list[http.server.ThreadingHTTPServer] = []

    def start(count: int, pause: float = 0.0, broken: int | None = None) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                for index in range(count):
                    jpeg = cv2.imencode(".jpg", picture(index, 96, 128)[..., ::-1])[1].tobytes()
                    if index == broken:
                        jpeg = os.urandom(len(jpeg))
                    head = "--frame\r\nContent-Type: image/jpeg\r\n"
                    head += f"Content-Length: {len(jpeg)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + jpeg + b"\r\n")
                    except OSError:
                        return
                    time.sleep(pause)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/video"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()
