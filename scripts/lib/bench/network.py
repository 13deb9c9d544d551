"""Where the servers are: on loopback, or at the far end of a long wire."""

import fcntl
import os
import socket
import statistics
import struct
import subprocess
import time
from pathlib import Path

from .disk import run

TUNSETIFF = 0x400454CA
IFF_TUN_WITHOUT_HEADER = 0x0001 | 0x1000


def near_address(number: int) -> str:
    return f"127.0.{1 + number // 200}.{1 + number % 200}"


class Near:
    """Loopback of this network namespace."""

    name = "loopback"
    enter: list[str] = []

    def __init__(self):
        run("ip", "link", "set", "lo", "up")

    def address(self, number: int) -> str:
        return near_address(number)

    def close(self):
        pass


class Far:
    """A second network namespace, behind two TUN devices and a program that delays every packet between them."""

    def __init__(self, helpers: Path, round_trip: float, mtu: int):
        self.name = f"{round_trip * 1000:.0f} ms away"
        self.holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
        own = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{self.holder.pid}/ns/net") != own, "a network namespace")
        self.enter = ["nsenter", f"--net=/proc/{self.holder.pid}/ns/net"]
        near, far = open_tun("bench-near"), open_tun("bench-far")
        run("ip", "link", "set", "bench-far", "netns", str(self.holder.pid))
        for enter, device, address in (([], "bench-near", "10.77.0.1/16"), (self.enter, "bench-far", "10.77.0.2/16")):
            run(*enter, "ip", "address", "add", address, "dev", device)
            run(*enter, "ip", "link", "set", device, "mtu", str(mtu), "txqueuelen", "10000", "up")
        run(*self.enter, "ip", "link", "set", "lo", "up")
        microseconds = str(round(round_trip / 2 * 1e6))
        self.wire = subprocess.Popen([helpers, "delay", microseconds], stdin=near, stdout=far)
        os.close(near)
        os.close(far)

    def address(self, number: int) -> str:
        address = f"10.77.{1 + number // 200}.{1 + number % 200}"
        run(*self.enter, "ip", "address", "replace", f"{address}/16", "dev", "bench-far")
        return address

    def measured(self, address: str) -> float:
        """The round trip as it really is: the time that a TCP connection takes, the median of some."""
        times = []
        for _ in range(11):
            began = time.monotonic()
            socket.create_connection((address, 21), timeout=10).close()
            times.append(time.monotonic() - began)
        return statistics.median(times)

    def close(self):
        for process in (self.wire, self.holder):
            process.kill()
            process.wait()


def open_tun(name: str) -> int:
    device = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_WITHOUT_HEADER))
    return device


def wait_for(condition, what: str, seconds: float = 20):
    """Waits until the condition holds; errors of the system count as not yet."""
    until = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except OSError:
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"waited {seconds} s for {what}")
        time.sleep(0.005)
