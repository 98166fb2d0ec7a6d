"""Leaves nothing behind: ends servers and removes their folders when the test run is gone, however it went.

The run may be interrupted, terminated or killed, so the cleaning is not left to it alone: a small shell waits on a
pipe that the kernel closes when the run has gone.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PID_FILE = "pid"
"""In a server's folder: the arguments for ``kill`` that end it for good, ``-KILL 123``."""

# One that its parent has not fetched yet is gone as well.
_SCRIPT = f"""
runs() {{ [ -e "/proc/$1/status" ] && ! grep -q '^State:.Z' "/proc/$1/status"; }}
read -r _
for file in "$1"/*/{PID_FILE}; do
    [ -e "$file" ] || continue
    read -r signal pid <"$file"
    kill "$signal" "$pid" 2>/dev/null
    tries=100
    while runs "$pid" && [ $tries -gt 0 ]; do sleep 0.1; tries=$((tries - 1)); done
    runs "$pid" && kill -KILL "$pid"
done
rm -rf "$1"
"""


@contextmanager
def watched_folder() -> Iterator[Path]:
    """A temporary folder for servers, a sub-folder each; at the end of the block or of this process it is cleaned."""
    folder = Path(tempfile.mkdtemp(prefix="wecom-crm-servers-"))
    # Servers that refuse to run as root have to get in.
    folder.chmod(0o755)
    # A session of its own: neither Ctrl-C nor a signal to the run's process group may reach it.
    janitor = subprocess.Popen(
        ["/bin/sh", "-c", _SCRIPT, "janitor", folder], stdin=subprocess.PIPE, cwd="/", start_new_session=True
    )
    try:
        yield folder
    finally:
        assert janitor.stdin is not None
        janitor.stdin.close()
        janitor.wait()
