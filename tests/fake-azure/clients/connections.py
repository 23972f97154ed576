"""azure-ai-ml: workspace connections of all twelve auth types, through its public operations where they
serve, and else through its own decoder of the service's answers."""

import os

from azure.ai.ml import MLClient
from azure.ai.ml.entities import (
    AccessKeyConfiguration,
    AccountKeyConfiguration,
    AadCredentialConfiguration,
    ApiKeyConfiguration,
    ManagedIdentityConfiguration,
    NoneCredentialConfiguration,
    PatTokenConfiguration,
    SasTokenConfiguration,
    ServicePrincipalConfiguration,
    UsernamePasswordConfiguration,
    WorkspaceConnection,
)
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from common import *

os.environ["AZURE_ML_CLI_PRIVATE_FEATURES_ENABLED"] = "False"
credential = ClientSecretCredential(TENANT, CLIENT, text("client-secret"))
nobody = ClientSecretCredential(TENANT, NOBODY, text("nobody-client-secret"))
METADATA = {"OPENAI_API_VERSION": "2023-05-15", "OPENAI_API_BASE": "https://aoai.openai.azure.com/"}


def client(who=credential, workspace=WORKSPACE, **more):
    return MLClient(who, SUBSCRIPTION, GROUP, workspace, enable_telemetry=False, **more)


def raw(ml):
    """What the public operations stand on."""
    return ml.connections._operation


def secrets(ml, name):
    return raw(ml).list_secrets(GROUP, WORKSPACE, name).properties


def decoded():
    """Every row of the table of credentials, as the official decoder reads it."""
    ml = client()
    key = secrets(ml, "aoai_connection")
    equal((key.auth_type, key.credentials.key, key.category), ("ApiKey", "key-of-aoai_connection", "AzureOpenAI"))
    equal((key.target, key.metadata["ApiVersion"], key.group), ("https://aoai.openai.azure.com/", "2023-07-01-preview", "AzureAI"))
    custom = secrets(ml, "multi_connection_langchain")
    equal((custom.credentials["keys"] if not hasattr(custom.credentials, "keys_property") else custom.credentials.keys_property)["OPENAI_API_KEY"], "key-of-multi_connection_langchain")
    equal(dict(custom.metadata), METADATA)
    equal(secrets(ml, "blob_account_key").credentials.key, "account-key")
    equal(secrets(ml, "git_pat").credentials.pat, "personal-access-token")
    equal(secrets(ml, "blob_sas").credentials.sas, "?sv=signature")
    login = secrets(ml, "sql_login").credentials
    equal((login.username, login.password), ("app", "sql-password"))
    principal = secrets(ml, "service_principal").credentials
    equal((principal.client_id, principal.client_secret, principal.tenant_id), (CLIENT, "connection-client-secret", TENANT))
    access = secrets(ml, "s3_access_key").credentials
    equal((access.access_key_id, access.secret_access_key), ("access-key-id", "secret-access-key"))
    equal(secrets(ml, "managed_identity").credentials.client_id, WORKER)
    oauth = secrets(ml, "oauth2_login").credentials
    equal((oauth.client_secret, oauth.refresh_token, oauth.developer_token), ("oauth2-client-secret", "refresh-token", "developer-token"))
    equal((secrets(ml, "entra_search").auth_type, secrets(ml, "public_feed").auth_type), ("AAD", "None"))


def public():
    """The public operations: list, get with secrets, create, update, delete."""
    ml = client()
    names = {connection.name for connection in ml.connections.list()}
    assert {"aoai_connection", "multi_connection_langchain", "s3_access_key"} <= names, names
    without = ml.connections.get("aoai_connection")
    equal(without.credentials.key, None)
    equal(ml.connections.get("aoai_connection", populate_secrets=True).credentials.key, "key-of-aoai_connection")
    for name, kind, credentials, member in [
        ("made_api_key", "azure_open_ai", ApiKeyConfiguration(key="made"), ("key", "made")),
        # The official entity writes an account key as `sas`, and its decoder then finds no `key`.
        ("made_account_key", "azure_blob", AccountKeyConfiguration(account_key="made"), None),
        ("made_pat", "git", PatTokenConfiguration(pat="made"), ("pat", "made")),
        ("made_sas", "azure_sql_db", SasTokenConfiguration(sas_token="made"), ("sas", "made")),
        ("made_login", "azure_sql_db", UsernamePasswordConfiguration(username="me", password="made"), ("password", "made")),
        ("made_principal", "azure_sql_db", ServicePrincipalConfiguration(tenant_id=TENANT, client_id=CLIENT, client_secret="made"), ("client_secret", "made")),
        ("made_access_key", "s3", AccessKeyConfiguration(access_key_id="id", secret_access_key="made"), ("secret_access_key", "made")),
        ("made_identity", "container_registry", ManagedIdentityConfiguration(client_id=WORKER, resource_id="/r"), ("client_id", WORKER)),
        ("made_aad", "cognitive_search", AadCredentialConfiguration(), None),
        ("made_none", "python_feed", NoneCredentialConfiguration(), None),
    ]:
        made = ml.connections.create_or_update(WorkspaceConnection(name=name, type=kind, target="https://t.example", credentials=credentials,
                                                                          metadata={"m": "1", "ContainerName": "c", "AccountName": "a"}))
        equal((made.name, made.target), (name, "https://t.example"))
        if member:
            equal(getattr(secrets(ml, name).credentials, member[0]), member[1])
        equal(ml.connections.get(name).metadata["m"], "1")
    ml.connections.delete("made_pat")
    refused(ResourceNotFoundError, lambda: ml.connections.get("made_pat"), "can't be found in this workspace")


def written():
    """The two auth types that the public entities lack are written as their wire form."""
    ml = client()
    for name, auth_type, category, credentials in [
        ("made_custom", "CustomKeys", "CustomKeys", {"keys": {"A": "value-one"}}),
        ("made_oauth", "OAuth2", "GenericHttp", {"clientSecret": "value-one"}),
    ]:
        body = {"properties": {"authType": auth_type, "category": category, "target": "_", "credentials": credentials, "metadata": {"M": "1"}}}
        raw(ml).create(GROUP, WORKSPACE, name, body)
        assert "value-one" in str(secrets(ml, name).as_dict()), secrets(ml, name).as_dict()
        assert "value-one" not in str(raw(ml).get(GROUP, WORKSPACE, name).as_dict())


def paging():
    control("POST", "/seed", {"workspaces": [{"name": WORKSPACE, "subscription": SUBSCRIPTION, "resource_group": GROUP, "tenant": TENANT,
                                              "location": "centralus", "vault": "myworkspacekv.vault.azure.net", "page_size": 5}]})
    control("DELETE", "/requests")
    equal(len([connection.name for connection in raw(client()).list(GROUP, WORKSPACE)]), 13)
    equal(len(requests_to("arm")), 3)


def refusals():
    refused(HttpResponseError, lambda: client(nobody).connections.get("aoai_connection"), "AuthorizationFailed", "connections/read")
    refused(HttpResponseError, lambda: secrets(client(nobody), "aoai_connection"), "connections/listsecrets/action")
    refused(ResourceNotFoundError, lambda: client().connections.get("missing"), "Connection missing can't be found in this workspace")
    refused(ResourceNotFoundError, lambda: raw(client()).get(GROUP, "nosuchworkspace", "aoai_connection"), "ResourceNotFound")
    refused(ResourceNotFoundError, lambda: raw(client()).get("nosuchgroup", WORKSPACE, "aoai_connection"), "ResourceGroupNotFound")
    # The system-assigned identity of an endpoint: it may read secrets and not list.
    control("POST", "/remove", {"assignments": ["aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb"]})
    scope = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}/providers/Microsoft.MachineLearningServices/workspaces/{WORKSPACE}"
    control("POST", "/seed", {"assignments": [{"principal": "aaaaaaaa-0000-1111-2222-bbbbbbbbbbbb", "scope": scope,
                                               "role": "Azure Machine Learning Workspace Connection Secrets Reader"}]})
    equal(secrets(client(), "aoai_connection").credentials.key, "key-of-aoai_connection")
    refused(HttpResponseError, lambda: client().connections.get("aoai_connection"), "connections/read")


def faults():
    ml = client()
    for status in [429, 503]:
        fault(service="arm", path="*/connections/*", kind="status", status=status, retry_after="0", times=2)
        equal(secrets(ml, "aoai_connection").credentials.key, "key-of-aoai_connection")
    fault(service="arm", kind="not_json", times=1)
    refused(Exception, lambda: secrets(ml, "aoai_connection"))
    control("POST", "/claims", {"service": "arm", "claims": {"access_token": {"nbf": {"essential": True, "value": "1700000000"}}}})
    equal(secrets(ml, "aoai_connection").credentials.key, "key-of-aoai_connection")


for test in [decoded, public, written, paging, refusals, faults]:
    run(test)
