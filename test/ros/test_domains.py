"""Domains are not shared, and come back when their user ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

from e2ec_ros.demo.domains import DOMAINS, own_domain

HOLD = """
from e2ec_ros.demo.domains import own_domain
with own_domain() as domain:
    print(domain, flush=True)
    input()
"""


def test_nobody_else_gets_a_domain_until_it_is_given_back() -> None:
    with own_domain() as first, own_domain() as second:
        assert first != second
        command = [sys.executable, "-c", HOLD]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            third = int(child.stdout.readline())
            child.communicate("\n")
        assert third not in (first, second)
        assert 1 <= third <= 101
    later = []
    for _ in range(DOMAINS):
        with own_domain() as domain:
            later.append(domain)
    assert first in later
    assert later[0] not in (first, second)


def test_a_domain_in_which_a_robot_has_nodes_is_left_alone() -> None:
    rclpy = pytest.importorskip("rclpy", reason="rclpy is missing: run `make test`")
    with own_domain() as domain:
        pass
    context = rclpy.context.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("robot", context=context)
    try:
        for _ in range(DOMAINS):
            with own_domain() as other:
                assert other != domain
    finally:
        node.destroy_node()
        context.shutdown()
