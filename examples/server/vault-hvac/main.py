"""Reads a password with hvac, as from any Vault: VAULT_ADDR and VAULT_TOKEN say where and who."""

import os

import hvac

client = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"])
secret = client.secrets.kv.v2.read_secret_version("app/db", raise_on_deleted_version=True)
print(f"got a password of {len(secret['data']['data']['password'])} characters")
