"""azure-identity: every way to sign in, against Entra and the identity endpoints of machines."""

import os
import sys
import threading
import time
import urllib.parse
import urllib.request
import webbrowser

from azure.core.exceptions import ClientAuthenticationError
from azure.identity import (
    AzurePipelinesCredential,
    CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    DeviceCodeCredential,
    EnvironmentCredential,
    InteractiveBrowserCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from common import *

CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"


def claims_of(token):
    import jwt

    return jwt.decode(token.token, options={"verify_signature": False})


def secret():
    token = ClientSecretCredential(TENANT, CLIENT, text("client-secret")).get_token(VAULT_SCOPE)
    claims = claims_of(token)
    equal((claims["aud"], claims["tid"], claims["appid"]), ("https://vault.azure.net", TENANT, CLIENT))
    assert abs(token.expires_on - time.time() - 3599) < 60
    # By its domain, and under an older name of the authority.
    other = ClientSecretCredential("contoso.onmicrosoft.com", CLIENT, text("client-secret"), authority="login.windows.net")
    equal(claims_of(other.get_token(ARM_SCOPE))["aud"], "https://management.azure.com")
    # The resource keeps its slash.
    legacy = other.get_token("https://management.core.windows.net//.default")
    equal(claims_of(legacy)["aud"], "https://management.core.windows.net/")


def secret_refused():
    def ask(tenant=TENANT, client=CLIENT, password=None, scope=VAULT_SCOPE):
        return lambda: ClientSecretCredential(tenant, client, password or text("client-secret")).get_token(scope)

    refused(ClientAuthenticationError, ask(password="wrong & +"), "AADSTS7000215")
    refused(ClientAuthenticationError, ask(password=text("expired-client-secret")), "AADSTS7000222")
    refused(ClientAuthenticationError, ask(client="99999999-0000-0000-0000-000000000000"), "AADSTS700016")
    refused(ClientAuthenticationError, ask(tenant=OTHER_TENANT), "AADSTS700016")
    refused(ClientAuthenticationError, ask(tenant="nosuch.example"), "nosuch.example")
    refused(ClientAuthenticationError, ask(scope="https://nosuch.example/.default"), "AADSTS500011")
    refused(ClientAuthenticationError, ask(scope="https://vault.azure.net/read"), "AADSTS1002012")
    refused(ClientAuthenticationError, ask(scope="https://vault.azure.cn/.default"), "AADSTS500011")


def other_clouds():
    for authority, scope in [("login.chinacloudapi.cn", "https://vault.azure.cn/.default"),
                             ("login.microsoftonline.us", "https://vault.usgovcloudapi.net/.default")]:
        token = ClientSecretCredential(TENANT, CLIENT, text("client-secret"), authority=authority).get_token(scope)
        equal(claims_of(token)["aud"] + "/.default", scope)


def certificate():
    path = str(FOLDER / "client-certificate.pem")
    equal(claims_of(CertificateCredential(TENANT, CLIENT, path).get_token(VAULT_SCOPE))["appid"], CLIENT)
    chain = CertificateCredential(TENANT, CLIENT, path, send_certificate_chain=True)
    equal(claims_of(chain.get_token(VAULT_SCOPE))["appid"], CLIENT)
    refused(ClientAuthenticationError, lambda: CertificateCredential(TENANT, NOBODY, path).get_token(VAULT_SCOPE), "AADSTS700027")
    # The current recommendation (PS256), which msal sends when it is given no SHA-1 thumbprint.
    from msal import ConfidentialClientApplication

    app = ConfidentialClientApplication(CLIENT, authority=f"https://login.microsoftonline.com/{TENANT}", client_credential={
        "private_key": text("client-certificate.pem"), "public_certificate": text("client-certificate.pem")})
    answer = app.acquire_token_for_client([VAULT_SCOPE])
    assert "access_token" in answer, answer


def federated():
    workload = WorkloadIdentityCredential(tenant_id=TENANT, client_id=CLIENT, token_file_path=str(FOLDER / "federated-token"))
    equal(claims_of(workload.get_token(VAULT_SCOPE))["appid"], CLIENT)

    def github():
        url = "https://pipelines.actions.githubusercontent.com/abc/idtoken?api-version=2.0&audience=api://AzureADTokenExchange"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {text('job-token')}"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["value"]

    equal(claims_of(ClientAssertionCredential(TENANT, CLIENT, github).get_token(VAULT_SCOPE))["appid"], CLIENT)
    control("PATCH", "/machine", {"github_subject": "repo:someone/else:ref:refs/heads/main"})
    refused(ClientAuthenticationError, lambda: ClientAssertionCredential(TENANT, CLIENT, github).get_token(VAULT_SCOPE), "AADSTS700213")
    os.environ["SYSTEM_OIDCREQUESTURI"] = "https://dev.azure.com/contoso/project/_apis/distributedtask/hubs/build/plans/1/jobs/2/oidctoken"
    pipelines = AzurePipelinesCredential(tenant_id=TENANT, client_id=CLIENT, service_connection_id="connection", system_access_token=text("job-token"))
    equal(claims_of(pipelines.get_token(VAULT_SCOPE))["appid"], CLIENT)

    def other(issuer="https://cluster.example/", subject="system:serviceaccount:default:app", audience="api://AzureADTokenExchange", lifetime=600):
        body = {"issuer": issuer, "subject": subject, "audience": audience, "lifetime": lifetime}
        assertion = control("POST", "/assertion", body)["assertion"]
        return lambda: ClientAssertionCredential(TENANT, CLIENT, lambda: assertion).get_token(VAULT_SCOPE)

    other()()
    refused(ClientAuthenticationError, other(issuer="https://evil.example/"), "AADSTS700211")
    refused(ClientAuthenticationError, other(audience="api://other"), "AADSTS700212")
    refused(ClientAuthenticationError, other(lifetime=-3600), "AADSTS700024")


def device_code(verdict):
    codes = []

    def shown(uri, code, expires):
        equal(uri, "https://microsoft.com/devicelogin")
        codes.append(code)
        if verdict:
            control("POST", f"/device-codes/{code}/{verdict}", {})

    # Polls wait for whole seconds: the shortest.
    control("PATCH", "/settings", {"device_interval": 1})
    return DeviceCodeCredential(prompt_callback=shown, timeout=8)


def device():
    token = device_code("approve").get_token(VAULT_SCOPE)
    equal(claims_of(token)["upn"], "user@contoso.onmicrosoft.com")
    # By its refresh token, for another resource, with no person near.
    quiet = device_code("approve")
    quiet.get_token(VAULT_SCOPE)
    control("DELETE", "/requests")
    equal(claims_of(quiet.get_token(ARM_SCOPE))["aud"], "https://management.azure.com")
    equal({dict(entry["form"]).get("grant_type") for entry in requests_to("entra")} - {None}, {"refresh_token"})
    control("POST", "/refresh-tokens/revoke")
    control("PATCH", "/settings", {"device_auto_approve": 1})
    before = len(control("GET", "/device-codes"))
    equal(claims_of(quiet.get_token("https://graph.microsoft.com/.default"))["aud"], "https://graph.microsoft.com")
    equal(len(control("GET", "/device-codes")), before + 1)


def device_refused():
    refused(ClientAuthenticationError, lambda: device_code("decline").get_token(VAULT_SCOPE), "AADSTS65004")
    refused(ClientAuthenticationError, lambda: device_code("expire").get_token(VAULT_SCOPE), "AADSTS70020")


def browser():
    opened = []

    def open_page(url, *_):
        opened.append(dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(url).query)))
        threading.Thread(target=lambda: outcome.append(browse(url))).start()
        return True

    def browse(url):
        try:
            return control("POST", "/browse", {"url": url})
        except (AssertionError, ValueError) as error:
            return str(error)

    outcome = []
    webbrowser.open = open_page
    credential = InteractiveBrowserCredential(timeout=20)
    equal(claims_of(credential.get_token(VAULT_SCOPE))["upn"], "user@contoso.onmicrosoft.com")
    equal((opened[0]["code_challenge_method"], opened[0]["response_mode"]), ("S256", "form_post"))
    reader = InteractiveBrowserCredential(timeout=20, login_hint="reader@contoso.onmicrosoft.com")
    equal(claims_of(reader.get_token(VAULT_SCOPE))["upn"], "reader@contoso.onmicrosoft.com")
    control("PATCH", "/settings", {"refuse_browser": True})
    refused(ClientAuthenticationError, lambda: InteractiveBrowserCredential(timeout=20).get_token(VAULT_SCOPE), "AADSTS65004")


def with_environment(**variables):
    """Sets exactly these of the variables that choose a source."""
    for name in ["IDENTITY_ENDPOINT", "IDENTITY_HEADER", "IMDS_ENDPOINT", "MSI_ENDPOINT", "MSI_SECRET", "IDENTITY_SERVER_THUMBPRINT"]:
        os.environ.pop(name, None)
    os.environ.update(variables)


SYSTEM = "55556666-ffff-7777-aaaa-8888bbbb9999"
WORKER_OBJECT = "44445555-eeee-6666-ffff-7777aaaa8888"
WORKER_RESOURCE = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/{GROUP}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/worker"


def selections(only_client=False):
    equal(claims_of(ManagedIdentityCredential().get_token(VAULT_SCOPE))["oid"], SYSTEM)
    equal(claims_of(ManagedIdentityCredential(client_id=WORKER).get_token(VAULT_SCOPE))["oid"], WORKER_OBJECT)
    if not only_client:
        for config in [{"object_id": WORKER_OBJECT}, {"resource_id": WORKER_RESOURCE}]:
            equal(claims_of(ManagedIdentityCredential(identity_config=config).get_token(VAULT_SCOPE))["oid"], WORKER_OBJECT)


def imds():
    with_environment()
    selections()
    refused(Exception, lambda: ManagedIdentityCredential(client_id=CLIENT).get_token(VAULT_SCOPE), "Identity not found")
    refused(Exception, lambda: ManagedIdentityCredential().get_token("https://nosuch.example/.default"), "AADSTS500011")
    # Through its own address, which the proxy leads here; the transport of clients knows no exception for it.
    del os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"]
    equal(claims_of(ManagedIdentityCredential().get_token(VAULT_SCOPE))["oid"], SYSTEM)
    os.environ["AZURE_POD_IDENTITY_AUTHORITY_HOST"] = HTTP
    control("DELETE", "/requests")
    fault(service="imds", kind="status", status=410, times=1)
    equal(claims_of(ManagedIdentityCredential().get_token(VAULT_SCOPE))["oid"], SYSTEM)
    equal([entry["status"] for entry in requests_to("imds")], [410, 200])
    control("POST", "/remove", {"identities": [SYSTEM]})
    # The trap: the one user-assigned identity answers for the machine.
    equal(claims_of(ManagedIdentityCredential().get_token(VAULT_SCOPE))["oid"], WORKER_OBJECT)
    control("POST", "/seed", {"identities": [{"client_id": CLIENT, "object_id": "o", "tenant": TENANT, "resource_id": "/second"}]})
    refused(Exception, lambda: ManagedIdentityCredential().get_token(VAULT_SCOPE), "Multiple user assigned identities")


def app_service():
    with_environment(IDENTITY_ENDPOINT=f"{HTTP}/app-service/token", IDENTITY_HEADER=text("identity-header"))
    selections()
    os.environ["IDENTITY_HEADER"] = "wrong"
    refused(ClientAuthenticationError, lambda: ManagedIdentityCredential().get_token(VAULT_SCOPE))


def azure_ml():
    with_environment(MSI_ENDPOINT=f"{HTTP}/azure-ml/token", MSI_SECRET=text("msi-secret"))
    selections()
    for expiry in ["number", "text"]:
        control("PATCH", "/machine", {"expiry": expiry})
        token = ManagedIdentityCredential().get_token(VAULT_SCOPE)
        assert abs(token.expires_on - time.time() - 86399) < 60, token.expires_on
    refused(Exception, lambda: ManagedIdentityCredential().get_token("https://nosuch.example/.default"))


def arc():
    with_environment(IDENTITY_ENDPOINT=f"{HTTP}/arc/metadata/identity/oauth2/token", IMDS_ENDPOINT=HTTP)
    if control("GET", "/machine")["arc_folder"] != "/var/opt/azcmagent/tokens":
        # The official client reads no other folder, and only root can make that one.
        print("arc: not tried, /var/opt/azcmagent/tokens cannot be made here")
        return
    selections()
    control("PATCH", "/machine", {"arc_old": True})
    refused(Exception, lambda: ManagedIdentityCredential(client_id=WORKER).get_token(VAULT_SCOPE))
    control("PATCH", "/machine", {"arc_realm": "/etc/passwd"})
    refused(Exception, lambda: ManagedIdentityCredential().get_token(VAULT_SCOPE))


def cloud_shell():
    with_environment(MSI_ENDPOINT=f"{HTTP}/cloud-shell/token")
    equal(claims_of(ManagedIdentityCredential().get_token(VAULT_SCOPE))["upn"], "user@contoso.onmicrosoft.com")


def chain():
    with_environment()
    token = DefaultAzureCredential(exclude_developer_credentials=True).get_token(VAULT_SCOPE)
    equal(claims_of(token)["oid"], SYSTEM)
    os.environ.update(AZURE_TENANT_ID=TENANT, AZURE_CLIENT_ID=CLIENT, AZURE_CLIENT_SECRET=text("client-secret"))
    equal(claims_of(DefaultAzureCredential().get_token(VAULT_SCOPE))["appid"], CLIENT)
    equal(claims_of(EnvironmentCredential().get_token(VAULT_SCOPE))["appid"], CLIENT)
    os.environ["AZURE_CLIENT_SECRET"] = "wrong"
    refused(ClientAuthenticationError, lambda: EnvironmentCredential().get_token(VAULT_SCOPE), "AADSTS7000215")
    for name in ["AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"]:
        del os.environ[name]


def faults():
    quick = dict(retry_backoff_factor=0.01)
    for status in [429, 500, 503]:
        fault(service="entra", path="*/token", kind="status", status=status, retry_after="0", times=2)
        ClientSecretCredential(TENANT, CLIENT, text("client-secret"), **quick).get_token(VAULT_SCOPE)
    fault(service="entra", path="*/token", kind="aadsts", number=53003, claims='{"access_token":{}}', times=1)
    refused(ClientAuthenticationError, lambda: ClientSecretCredential(TENANT, CLIENT, text("client-secret")).get_token(VAULT_SCOPE), "AADSTS53003")
    # The official client follows the metadata wherever it points: its secret leaves for that host.
    fault(service="entra", kind="foreign_token_endpoint", times=1)
    credential = ClientSecretCredential(TENANT, CLIENT, text("client-secret"), retry_total=0, retry_connect=0)
    refused(Exception, lambda: credential.get_token(VAULT_SCOPE))
    assert control("GET", "/counters")["unknown_hosts"]["evil.example"] > 0


AREAS = {
    "entra": [secret, secret_refused, other_clouds, certificate, federated, browser, faults],
    "device": [device, device_refused],
    "machines": [imds, app_service, azure_ml, arc, cloud_shell, chain],
}

for test in AREAS[sys.argv[1]]:
    run(test)
