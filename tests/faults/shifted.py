"""Runs a module in a process whose clock is wrong: python -m tests.faults.shifted SECONDS MODULE ARGS."""

import runpy
import sys
import time

if __name__ == "__main__":
    seconds, module = float(sys.argv[1]), sys.argv[2]
    right = time.time
    time.time = lambda: right() + seconds
    sys.argv[:] = sys.argv[2:]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
