#!/usr/bin/env python3
"""Records a drain with a turn in flight, and renders it as `src/guide/drain.svg`.

It runs the real example gateway and the real command, writes down what they print and when, and shows it at the
same pace. Nothing is made up. Run it from the repository, after a build:

    cargo build --features cli --bins --examples
    python3 examples/record_drain.py
    TIDEGATE_BLESS=1 cargo test --all-features --test it
"""

import html
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILT = os.path.join(ROOT, "target", "debug")
COLUMNS = 52
HOLD_S = 4.0

started = time.monotonic()
events = []  # (seconds, pane, style, text)
lock = threading.Lock()


def note(pane, style, text):
    with lock:
        now = time.monotonic() - started
        for line in textwrap.wrap(text, COLUMNS, subsequent_indent="  ") or [""]:
            events.append((now, pane, style, line))


def say(connection, text):
    note("user", "typed", f"> {text}")
    connection.sendall(f"{text}\n".encode())


def hear(lines):
    note("user", "answer", next(lines).strip())


def operator(home, *arguments):
    shown = " ".join(arguments)
    note("operator", "typed", f"$ tidegate {shown}")
    process = subprocess.Popen(
        [os.path.join(BUILT, "tidegate"), "--home", home, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
    )

    def read():
        for line in process.stdout:
            note("operator", "answer", line.rstrip().replace(home, "HOME"))
        note("operator", "quiet", f"(exit code {process.wait()})")

    reader = threading.Thread(target=read)
    reader.start()
    return reader


def record():
    with tempfile.TemporaryDirectory() as home:
        gateway = subprocess.Popen(
            [os.path.join(BUILT, "examples", "gateway"), "--home", home],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            host, port = json.loads(gateway.stdout.readline())["address"].rsplit(":", 1)
            connect = lambda: socket.create_connection((host, int(port)))
            with connect() as at_work, connect() as newcomer:
                answers, refusals = at_work.makefile(), newcomer.makefile()
                time.sleep(0.5)
                say(at_work, "sleep 5000")
                time.sleep(1)
                draining = operator(home, "drain", "--holder", "updater", "--lease", "10m", "--wait")
                time.sleep(2)
                say(newcomer, "hello")
                hear(refusals)
                hear(answers)
                draining.join()
                time.sleep(1.2)
                operator(home, "cancel", "--holder", "updater").join()
                time.sleep(1.2)
                say(newcomer, "hello")
                hear(refusals)
        finally:
            gateway.send_signal(signal.SIGTERM)
            gateway.wait()


def render():
    line_height, top, left, middle = 19, 66, 20, 452
    panes = {"user": left, "operator": middle}
    rows = {"user": 0, "operator": 0}
    length = max(at for at, *_ in events) + HOLD_S
    styles, lines = [], []
    for number, (at, pane, style, text) in enumerate(sorted(events, key=lambda event: event[0])):
        share = 100 * at / length
        styles.append(
            f"@keyframes k{number}{{0%,{share:.2f}%{{opacity:0}}{share + 0.01:.2f}%,100%{{opacity:1}}}}"
            f".k{number}{{animation:k{number} {length:.1f}s step-end infinite}}"
        )
        y = top + rows[pane] * line_height
        rows[pane] += 1
        text = html.escape(text, quote=False).replace(" ", "\u00a0")
        lines.append(f'<text class="k{number} {style}" x="{panes[pane]}" y="{y}">{text}</text>')
    height = top + max(rows.values()) * line_height + 10
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {height}" width="900" height="{height}" role="img">',
            "<title>A drain with a turn in flight, as recorded</title>",
            "<style>text{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;fill:#d9e2ec}"
            ".typed{fill:#7bdcb5}.quiet,.head{fill:#9fb3c8}" + "".join(styles)
            + "@media (prefers-reduced-motion:reduce){text{animation:none!important}}</style>",
            f'<rect width="900" height="{height}" rx="10" fill="#102a43"/>',
            f'<rect x="438" y="14" width="1" height="{height - 28}" fill="#486581"/>',
            f'<text class="head" x="{left}" y="32">users, over a socket</text>',
            f'<text class="head" x="{middle}" y="32">an operator, in a shell</text>',
            *lines,
            "</svg>\n",
        ]
    )


if __name__ == "__main__":
    record()
    target = os.path.join(ROOT, "src", "guide", "drain.svg")
    with open(target, "w", encoding="utf-8") as file:
        file.write(render())
    print(f"{target}: {len(events)} lines", file=sys.stderr)
