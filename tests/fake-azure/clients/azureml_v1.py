"""azureml-core: `Keyvault`, `Run.get_secret` and the v1 authentication classes."""

import os

from azureml.core import Run, Workspace
from azureml.core.authentication import MsiAuthentication, ServicePrincipalAuthentication, TokenAuthentication
from azureml.exceptions import UserErrorException
from common import *

RUN = "calm_root_1234567890"


def workspace(**more):
    principal = ServicePrincipalAuthentication(TENANT, CLIENT, text("client-secret"), **more)
    return Workspace.get(WORKSPACE, auth=principal, subscription_id=SUBSCRIPTION, resource_group=GROUP)


def vault_of(found):
    vault = found.get_default_keyvault()
    vault.set_secret("one", "1")
    vault.set_secret("one", "first")
    vault.set_secrets({"two": "second", "three": "third"})
    equal(vault.get_secret("one"), "first")
    equal(vault.get_secrets(["one", "three", "missing"]), {"one": "first", "three": "third", "missing": None})
    equal(vault.get_secret_content_type("one"), "application/NotProvided")
    equal({entry["name"] for entry in vault.list_secrets()}, {"one", "two", "three", "workspace-secret"})
    vault.delete_secret("one")
    vault.delete_secrets(["two", "three"])
    equal([entry["name"] for entry in vault.list_secrets()], ["workspace-secret"])
    refused(Exception, lambda: vault.get_secret("one"), "not found")


def keyvault():
    vault_of(workspace())


def paging():
    vault = workspace().get_default_keyvault()
    secrets = [{"vault": "myworkspacekv.vault.azure.net", "name": f"n-{number:03}", "value": "v", "throughMl": True} for number in range(70)]
    control("POST", "/seed", {"secrets": secrets})
    # What the vault holds from elsewhere is read and not listed.
    control("POST", "/seed", {"secrets": [{"vault": "myworkspacekv.vault.azure.net", "name": "elsewhere", "value": "found"}]})
    control("DELETE", "/requests")
    names = [entry["name"] for entry in vault.list_secrets()]
    equal(len(names), 71)
    equal(len(requests_to("ml")), 3)
    equal(vault.get_secret("elsewhere"), "found")


def from_tokens():
    from azure.identity import ClientSecretCredential

    asked = []

    def token(audience):
        asked.append(str(audience))
        scope = "https://ml.azure.com/.default" if "AZUREML" in str(audience) else "https://management.core.windows.net//.default"
        return ClientSecretCredential(TENANT, CLIENT, text("client-secret")).get_token(scope).token

    found = Workspace.get(WORKSPACE, auth=TokenAuthentication(token), subscription_id=SUBSCRIPTION, resource_group=GROUP)
    vault_of(found)
    assert asked, asked


def machine():
    variables = {"MSI_ENDPOINT": f"{HTTP}/azure-ml/token", "MSI_SECRET": text("msi-secret"),
                 # Set on Azure ML's computes; without it part of the SDK takes the endpoint for Cloud Shell's.
                 "APPSETTING_WEBSITE_SITE_NAME": "AMLCompute"}
    os.environ.update(variables)
    scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    control("POST", "/seed", {"assignments": [{"principal": "55556666-ffff-7777-aaaa-8888bbbb9999", "role": "Contributor", "scope": scope}]})
    found = Workspace.get(WORKSPACE, auth=MsiAuthentication(), subscription_id=SUBSCRIPTION, resource_group=GROUP)
    vault_of(found)
    for name in variables:
        del os.environ[name]


def job():
    os.environ.update(
        AZUREML_RUN_ID=RUN, AZUREML_ARM_SUBSCRIPTION=SUBSCRIPTION, AZUREML_ARM_RESOURCEGROUP=GROUP, AZUREML_ARM_WORKSPACE_NAME=WORKSPACE,
        AZUREML_ARM_PROJECT_NAME="training", AZUREML_SERVICE_ENDPOINT="https://centralus.api.azureml.ms",
        AZUREML_DISCOVERY_SERVICE_ENDPOINT="https://centralus.api.azureml.ms/discovery", AZUREML_RUN_TOKEN=text("run-token"),
        AZUREML_EXPERIMENT_ID="77778888-bbbb-9999-cccc-0000dddd1111", AZUREML_WORKSPACE_ID="66667777-aaaa-8888-bbbb-9999cccc0000",
    )
    current = Run.get_context(allow_offline=False)
    equal(current.id, RUN)
    equal(current.get_secret("workspace-secret"), "value-of-workspace-secret")
    equal(current.get_secrets(["workspace-secret", "missing"]), {"workspace-secret": "value-of-workspace-secret", "missing": None})
    refused(Exception, lambda: current.get_secret("missing"), "not found")
    # The run's token is for nothing else.
    import requests

    answer = requests.get(f"https://management.azure.com/subscriptions/{SUBSCRIPTION}?api-version=2020-01-01", headers={"Authorization": f"Bearer {text('run-token')}"})
    equal((answer.status_code, answer.json()["error"]["code"]), (401, "InvalidAuthenticationTokenAudience"))


for test in [keyvault, paging, from_tokens, machine, job]:
    run(test)
