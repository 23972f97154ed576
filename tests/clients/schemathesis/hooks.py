"""What the description cannot say: which references there are, and that answers hold what is described and no more."""

from urllib.parse import quote

import schemathesis
from hypothesis import strategies as st

# Few, so that they are set, read and deleted in turn.
NAMES = st.sampled_from(["a", "b", "c"])
# Any name that a key may have, in all its escapes.
STRANGE = st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/\\"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..", "credentials", "metadata", "target") and len(name.encode()) < 128
).map(lambda name: quote(name, safe=""))

KEYS = st.builds("keys://fuzz/{}".format, NAMES | STRANGE)
VERSIONS = st.builds("keys://fuzz/{}?version={}".format, NAMES, st.integers(1, 9))

schemathesis.openapi.format("strongroom-reference", st.one_of(KEYS, KEYS, VERSIONS, st.just("env:FUZZ_ONE")))
schemathesis.openapi.format("strongroom-scope", st.sampled_from(["keys://", "keys://fuzz", "keys://none", "env:"]))


@schemathesis.hook
def before_load_schema(context, schema):
    close(schema["components"]["schemas"])


def close(part):
    """Members of answers that the description does not have are found: without this, any may be there."""
    if isinstance(part, dict):
        if part.get("type") == "object" and "properties" in part and "additionalProperties" not in part:
            part["propertyNames"] = {"enum": list(part["properties"])}
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            close(inner)
