"""azure-keyvault-secrets: every operation, with the check of the challenge's resource on."""

import datetime

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets._shared import http_challenge_cache
from common import *

credential = ClientSecretCredential(TENANT, CLIENT, text("client-secret"))
nobody = ClientSecretCredential(TENANT, NOBODY, text("nobody-client-secret"))
# The official client polls every two seconds; here it need not wait.
POLL = {"_polling_interval": 0.01}


def client(vault="mykeyvault", suffix="vault.azure.net", who=credential, **more):
    return SecretClient(f"https://{vault}.{suffix}", who, **more)


def get():
    vault = client()
    control("DELETE", "/requests")
    equal(vault.get_secret("secret1", "secretversion1").value, "value-of-secret1-version1")
    first, second = requests_to("key-vault")
    equal((first["status"], "authorization" in first["headers"]), (401, False))
    equal((second["status"], "authorization" in second["headers"]), (200, True))
    equal(first["request_id"], second["request_id"])
    latest = vault.get_secret("secret1")
    equal((latest.value, latest.properties.content_type), ("value-of-secret1-version2", "text/plain"))
    equal((latest.properties.version, latest.properties.tags), ("03bcccc7c8cf4546a0e3e21e52560441", {"env": "dev"}))
    equal(vault.get_secret("expired").value, "value-of-expired")
    equal(vault.get_secret("not-yet-valid").properties.expires_on.year, 3000)
    equal(vault.get_secret("certificate").properties.content_type, "application/x-pkcs12")
    assert vault.get_secret("certificate").properties.key_id.endswith("/keys/certificate/" + vault.get_secret("certificate").properties.key_id[-32:])
    refused(HttpResponseError, lambda: vault.get_secret("disabled"), "SecretDisabled")
    refused(ResourceNotFoundError, lambda: vault.get_secret("missing"), "SecretNotFound")
    refused(ResourceNotFoundError, lambda: vault.get_secret("secret1", "0" * 32), "secret1/0000")
    refused(HttpResponseError, lambda: vault.get_secret("under_score"), "BadParameter")
    refused(HttpResponseError, lambda: vault.get_secret("a" * 128), "BadParameter")


def set_and_update():
    vault = client()
    # In an hour, whole seconds.
    later = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).replace(microsecond=0)
    control("DELETE", "/requests")
    # A vault that nothing has asked yet: the value must not go out before the challenge.
    client("emptyvault").set_secret("new", "value")
    first, second = requests_to("key-vault")
    equal((first["content_length"], first["status"]), (0, 401))
    assert second["content_length"] > 0
    made = vault.set_secret("new", "value & more", content_type="text/plain", tags={"a": "b"}, expires_on=later, enabled=True)
    equal((made.value, made.properties.tags, made.properties.expires_on), ("value & more", {"a": "b"}, later))
    equal(made.properties.recovery_level, "Recoverable+Purgeable")
    again = vault.set_secret("new", "")
    assert again.properties.version != made.properties.version
    equal(vault.get_secret("new").value, "")
    equal(vault.get_secret("new", made.properties.version).value, "value & more")
    updated = vault.update_secret_properties("new", enabled=False, tags={"c": "d"})
    equal((updated.enabled, updated.tags), (False, {"c": "d"}))
    refused(HttpResponseError, lambda: vault.get_secret("new"), "SecretDisabled")
    equal(vault.update_secret_properties("new", enabled=True).tags, {"c": "d"})
    vault.set_secret("large", "x" * 25600)
    refused(HttpResponseError, lambda: vault.set_secret("large", "x" * 25601), "25600")
    blob = vault.backup_secret("new")
    vault.begin_delete_secret("new", **POLL).wait()
    refused(ResourceExistsError, lambda: vault.restore_secret_backup(blob), "ObjectIsDeletedButRecoverable")
    vault.purge_deleted_secret("new")
    refused(ResourceExistsError, lambda: vault.restore_secret_backup(blob), "ObjectIsBeingDeleted")
    equal(vault.restore_secret_backup(blob).name, "new")
    equal(len(list(vault.list_properties_of_secret_versions("new"))), 2)


def listing():
    vault = client()
    names = [f"listed-{number:03}" for number in range(60)]
    control("POST", "/seed", {"secrets": [{"vault": "emptyvault.vault.azure.net", "name": name, "value": "v"} for name in names]})
    empty = client("emptyvault")
    equal([item.name for item in empty.list_properties_of_secrets()], names)
    control("POST", "/seed", {"vaults": [{"name": "emptyvault", "tenant": TENANT, "subscription": SUBSCRIPTION,
                                          "resource_group": GROUP, "location": "eastus", "empty_pages": True}]})
    control("DELETE", "/requests")
    pages = [[item.name for item in page] for page in empty.list_properties_of_secrets(max_page_size=20).by_page()]
    equal([len(page) for page in pages], [0, 20, 0, 20, 0, 20])
    equal(sum(pages, []), names)
    equal(len(requests_to("key-vault")), 6)
    refused(HttpResponseError, lambda: list(empty.list_properties_of_secrets(max_page_size=26)), "BadParameter")
    assert "disabled" in [item.name for item in vault.list_properties_of_secrets()]
    versions = list(vault.list_properties_of_secret_versions("secret1"))
    equal([item.version for item in versions], ["secretversion1", "03bcccc7c8cf4546a0e3e21e52560441"])


def soft_delete():
    vault = client()
    vault.set_secret("gone", "1")
    deleted = vault.begin_delete_secret("gone", **POLL)
    refused(ResourceNotFoundError, lambda: vault.get_secret("gone"), "SecretNotFound")
    refused(ResourceExistsError, lambda: vault.set_secret("gone", "2"), "ObjectIsBeingDeleted")
    deleted.wait()
    result = deleted.result()
    equal(result.recovery_id, f"{VAULT}/deletedsecrets/gone")
    equal((result.scheduled_purge_date - result.deleted_date).days, 90)
    refused(ResourceExistsError, lambda: vault.set_secret("gone", "2"), "ObjectIsDeletedButRecoverable")
    assert "gone" in [item.name for item in vault.list_deleted_secrets()]
    assert "gone" not in [item.name for item in vault.list_properties_of_secrets()]
    equal(vault.get_deleted_secret("gone").name, "gone")
    vault.begin_recover_deleted_secret("gone", **POLL).wait()
    equal(vault.get_secret("gone").value, "1")
    vault.update_secret_properties("gone", enabled=False)
    # A deleted secret that is disabled answers its poll with 403, which is done too.
    vault.begin_delete_secret("gone", **POLL).wait()
    refused(HttpResponseError, lambda: vault.get_deleted_secret("gone"), "SecretDisabled")
    vault.purge_deleted_secret("gone")
    refused(ResourceNotFoundError, lambda: vault.get_deleted_secret("gone"), "Deleted Secret not found")
    refused(ResourceExistsError, lambda: vault.set_secret("gone", "2"), "ObjectIsBeingDeleted")
    equal(vault.set_secret("gone", "2").value, "2")
    protected = client("protectedvault")
    protected.begin_delete_secret("secret1", **POLL).wait()
    refused(HttpResponseError, lambda: protected.purge_deleted_secret("secret1"), "Forbidden")


def refusals():
    refused(HttpResponseError, lambda: client(who=nobody).get_secret("secret1"), "ForbiddenByRbac", "getSecret/action", "mykeyvault")
    refused(HttpResponseError, lambda: client("policyvault", who=nobody).get_secret("secret1"), "AccessDenied", "secrets get permission")
    equal(client("policyvault").get_secret("secret1").value, "value-of-secret1-in-policyvault")
    refused(HttpResponseError, lambda: client("firewalledvault").get_secret("secret1"), "ForbiddenByFirewall")
    refused(HttpResponseError, lambda: client("privatevault").get_secret("secret1"), "ForbiddenByConnection")
    # Another tenant's vault: the challenge names it, and the credential does not follow.
    refused(ClientAuthenticationError, lambda: client("fabrikamvault").get_secret("secret1"), OTHER_TENANT)
    refused(Exception, lambda: client("nosuchvault", retry_total=0).get_secret("secret1"), "502")


def faults():
    vault = client(retry_backoff_factor=0.01)
    vault.get_secret("secret1")
    for status in [429, 500, 503]:
        control("DELETE", "/requests")
        fault(service="key-vault", kind="status", status=status, times=2)
        equal(vault.get_secret("secret1").name, "secret1")
        equal([entry["status"] for entry in requests_to("key-vault")], [status, status, 200])
    fault(service="key-vault", kind="status", status=429, retry_after="0", times=1)
    equal(vault.get_secret("secret1").name, "secret1")
    fault(service="key-vault", kind="drop", times=1)
    equal(vault.get_secret("secret1").name, "secret1")
    fault(service="key-vault", kind="truncate", times=1)
    refused(Exception, lambda: client(retry_total=0).get_secret("secret1"))
    fault(service="key-vault", kind="not_json", times=1)
    refused(Exception, lambda: vault.get_secret("secret1"))
    http_challenge_cache.clear()
    fault(service="key-vault", kind="foreign_challenge", times=1)
    refused(ValueError, lambda: client().get_secret("secret1"), "evil.example")
    http_challenge_cache.clear()
    fault(service="key-vault", kind="foreign_authority", times=1)
    control("DELETE", "/requests")
    equal(client().get_secret("secret1").name, "secret1")
    equal({entry["host"] for entry in requests_to("entra")} - {"login.microsoftonline.com"}, set())


def claims():
    vault = client()
    vault.get_secret("secret1")
    control("POST", "/claims", {"service": "key-vault", "claims": {"access_token": {"nbf": {"essential": True, "value": "1700000000"}}}})
    control("DELETE", "/requests")
    equal(vault.get_secret("secret1").name, "secret1")
    equal([entry["status"] for entry in requests_to("key-vault")], [401, 200])
    (token,) = [entry for entry in requests_to("entra") if entry["path"].endswith("/token")]
    assert "1700000000" in dict(token["form"])["claims"] and "CP1" in dict(token["form"])["claims"]
    control("DELETE", "/claims")


def token_life():
    vault = client()
    vault.get_secret("secret1")
    control("POST", "/tokens/revoke")
    # The official client asks its credential again, whose own cache still has the token.
    refused(ClientAuthenticationError, lambda: vault.get_secret("secret1"), "Unauthorized")
    control("POST", "/reset")
    # A token that is nearly over is renewed before it is used.
    control("PATCH", "/settings", {"token_lifetime": 200})
    vault = client(who=ClientSecretCredential(TENANT, CLIENT, text("client-secret")))
    control("DELETE", "/requests")
    vault.get_secret("secret1"), vault.get_secret("secret1")
    equal(len([entry for entry in requests_to("entra") if entry["path"].endswith("/token")]), 2)
    control("POST", "/clock", {"advance_seconds": 4000})
    refused(ClientAuthenticationError, lambda: client().get_secret("secret1"), "TokenExpired")


for test in [get, set_and_update, listing, soft_delete, refusals, faults, claims, token_life]:
    # The official client keeps challenges for the whole process.
    http_challenge_cache.clear()
    run(test)
