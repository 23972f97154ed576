"""Reads a secret as programs written for Azure do. Nothing here knows of Strongroom."""

import os

from azure.identity import DefaultAzureCredential
from azure.keyvault.secrets import SecretClient

vault = SecretClient(f"https://{os.environ['KEY_VAULT_NAME']}.vault.azure.net", DefaultAzureCredential())
password = vault.get_secret("db-password").value
print(f"got a password of {len(password)} characters")
