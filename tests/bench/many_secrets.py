"""Many secrets of one vault with Microsoft's own client, as a program has them that does without Strongroom.

    many_secrets.py PORT COUNT THREADS

`processes` times it whole. Names lead to PORT of this machine as `[addresses]` leads Strongroom there: no proxy stands
between. The service principal is the environment's.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import urllib3.util.connection

port, count, threads = (int(argument) for argument in sys.argv[1:])
dial = urllib3.util.connection.create_connection
urllib3.util.connection.create_connection = lambda _, *rest, **more: dial(("127.0.0.1", port), *rest, **more)

from azure.core.pipeline.transport import RequestsTransport
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient
from requests import Session
from requests.adapters import HTTPAdapter

# As many connections as threads: with its default of ten the others would connect anew each time.
session = Session()
session.mount("https://", HTTPAdapter(pool_maxsize=threads))
credential = ClientSecretCredential(*(os.environ[f"AZURE_{name}"] for name in ("TENANT_ID", "CLIENT_ID", "CLIENT_SECRET")))
client = SecretClient("https://mykeyvault.vault.azure.net", credential,
                      transport=RequestsTransport(session=session, session_owner=False))


def get(number):
    return client.get_secret(f"bench-{number}").value


# The first alone: the others need its challenge and its token.
values = [get(0)]
with ThreadPoolExecutor(threads) as pool:
    values += pool.map(get, range(1, count))
if values != [f"value-of-bench-{number}-of-some-bytes" for number in range(count)]:
    sys.exit("a value is not what it should be")
