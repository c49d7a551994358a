"""Says so when this Python is too old; runs on any Python, so it uses nothing new."""

import sys

LEAST = (3, 11)

if sys.version_info[:2] < LEAST:
    found = ".".join(str(part) for part in sys.version_info[:3])
    wanted = ".".join(str(part) for part in LEAST)
    sys.exit(
        "error: Python " + found + " (" + sys.executable + ") is too old; " + wanted + " or newer is needed\n"
        "hint:  name another: make up PYTHON=python" + wanted
    )
