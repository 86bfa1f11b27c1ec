"""How a test drives a program: JSON lines out, what the person did in."""

import json
import sys

asked = json.loads(sys.argv[1])


def say(**said):
    print(json.dumps(said), flush=True)


def wait(**said):
    """Says what the person is to do, and gives what came of it."""
    say(**said)
    return sys.stdin.readline().strip()
