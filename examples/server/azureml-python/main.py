"""Reads a secret as jobs written for Azure ML do. Nothing here knows of Strongroom."""

from azureml.core import Run

password = Run.get_context(allow_offline=False).get_secret("db-password")
print(f"got a password of {len(password)} characters")
