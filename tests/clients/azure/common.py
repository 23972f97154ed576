"""What the scripts share: each runs Azure's own clients on a server's door.

`DOOR_VAULT` is the vault's address, `DOOR_TOKEN` a caller's token; `REQUESTS_CA_BUNDLE` has the test's authority.
"""

import logging
import os
import time
import warnings

from azure.core.credentials import AccessToken

VAULT = os.environ.get("DOOR_VAULT")
TOKEN = os.environ.get("DOOR_TOKEN")
# The official client polls every two seconds; here it need not wait.
POLL = {"_polling_interval": 0.01}

# Refusals are what most tests are about; the clients warn of each.
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")


class Given:
    """A credential that gives one token for everything, and notes what it was asked for."""

    def __init__(self, token=TOKEN):
        self.token = token
        self.asked = []

    def get_token(self, *scopes, **more):
        self.asked.append((scopes, more.get("tenant_id")))
        return AccessToken(self.token, int(time.time()) + 3600)


def refused(error, action, *words):
    """The exception that an action ends in, which must hold the words."""
    try:
        action()
    except error as raised:
        shown = f"{raised} {getattr(raised, 'error', '')}"
        for word in words:
            assert word in shown, f"{word!r} is not in {shown!r}"
        return raised
    raise AssertionError(f"{action} did not raise {error}")


def equal(left, right):
    assert left == right, f"{left!r} is not {right!r}"


def run(test):
    test()
    print(f"{test.__name__} passed", flush=True)
