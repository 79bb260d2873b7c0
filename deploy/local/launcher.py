"""Replaces itself with a command that the kernel kills as soon as this program's parent is gone.

Run as ``python launcher.py PARENT_PID COMMAND ARGUMENT…``. The death signal is asked for here, between fork and
exec in a program of one thread, and survives the exec. Asking for it in ``subprocess``'s ``preexec_fn`` would run
Python code in the forked copy of a process with threads, which may deadlock.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the death signal where the system has one, then become the command."""
    parent_pid = int(sys.argv[1])
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the request took effect: then no signal will come.
        if os.getppid() != parent_pid:
            sys.exit(1)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - to become the command is the point


if __name__ == "__main__":
    main()
