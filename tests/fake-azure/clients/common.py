"""What the scripts share: each starts Microsoft's own clients on a fake Azure that runs already.

The environment leads them there (`HTTPS_PROXY`, `REQUESTS_CA_BUNDLE`, ...); `FAKE_AZURE_CONTROL` is the
URL of control and `FAKE_AZURE_FOLDER` the folder of its files. No script may need anything else.
"""

import json
import logging
import os
import pathlib
import time
import urllib.error
import urllib.request
import warnings

CONTROL = os.environ["FAKE_AZURE_CONTROL"]
FOLDER = pathlib.Path(os.environ["FAKE_AZURE_FOLDER"])
HTTP = CONTROL.removesuffix("/control")
TENANT = "aaaabbbb-0000-cccc-1111-dddd2222eeee"
OTHER_TENANT = "bbbbcccc-1111-dddd-2222-eeee3333ffff"
SUBSCRIPTION = "aaaa0a0a-bb1b-cc2c-dd3d-eeeeee4e4e4e"
GROUP = "myresourcegroup"
WORKSPACE = "myworkspace"
CLIENT = "00001111-aaaa-2222-bbbb-3333cccc4444"
NOBODY = "11112222-bbbb-3333-cccc-4444dddd5555"
WORKER = "33334444-dddd-5555-eeee-6666ffff7777"
VAULT = "https://mykeyvault.vault.azure.net"
VAULT_SCOPE = "https://vault.azure.net/.default"
ARM_SCOPE = "https://management.azure.com/.default"

# Refusals are what most tests are about; the clients warn of each.
logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
# Control is on this machine: no proxy.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def control(method, path, body=None):
    """Asks control, and gives its JSON."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(CONTROL + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with _opener.open(request, timeout=20) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from None


def requests_to(service):
    return control("GET", f"/requests?service={service}")


def fault(**fault):
    control("POST", "/faults", fault)


def text(name):
    return (FOLDER / name).read_text()


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
    """Runs one test on the default content, and says that it passed, in how many seconds."""
    control("POST", "/reset")
    start = time.monotonic()
    test()
    print(f"{test.__name__} passed in {time.monotonic() - start:.1f} s", flush=True)
