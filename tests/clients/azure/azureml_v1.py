"""azureml-core, in a job: `Run.get_secret(s)`, and the whole of `Keyvault`."""

from azureml.core import Run
from common import *

current = Run.get_context(allow_offline=False)
vault = current.experiment.workspace.get_default_keyvault()


def job():
    equal(current.id, os.environ["AZUREML_RUN_ID"])
    vault.set_secret("one", "1")
    equal(current.get_secret("one"), "1")
    equal(current.get_secrets(["one", "missing"]), {"one": "1", "missing": None})
    refused(Exception, lambda: current.get_secret("missing"), "not found")


def keyvault():
    vault.set_secret("one", "first")
    vault.set_secrets({"two": "second", "three": "third"})
    equal(vault.get_secret("one"), "first")
    equal(vault.get_secrets(["one", "three", "missing"]), {"one": "first", "three": "third", "missing": None})
    equal(vault.get_secret_content_type("one"), "application/NotProvided")
    equal({entry["name"] for entry in vault.list_secrets()}, {"one", "two", "three"})
    vault.delete_secret("one")
    vault.delete_secrets(["two", "three"])
    equal(vault.list_secrets(), [])
    refused(Exception, lambda: vault.get_secret("one"), "not found")


def refusals():
    # What the policy does not let the caller have is as if it were not there, in a batch; alone it is refused.
    equal(current.get_secrets(["one", "hidden"]), {"one": None, "hidden": None})
    refused(Exception, lambda: current.get_secret("hidden"), "Forbidden")
    refused(Exception, lambda: vault.set_secret("a b", "x"))


for test in [job, keyvault, refusals]:
    run(test)
