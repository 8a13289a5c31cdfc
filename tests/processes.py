"""Processes that end with whoever starts them: servers of tests and benchmarks outlive nobody, also when these are killed."""

import shutil

SETPRIV = shutil.which("setpriv")  # of Debian's util-linux


def owned(*command: str) -> list[str]:
    """The command, killed by the kernel when the thread that starts it ends, however that ends (PR_SET_PDEATHSIG).

    Start it in the main thread: a thread of a pool may end long before its process does.
    """
    return [SETPRIV, "--pdeathsig", "KILL", *command] if SETPRIV else [*command]
