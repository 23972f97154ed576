"""azure-keyvault-secrets: every operation, on a vault that is a group of custom keys which keep what is deleted."""

import datetime
import sys

from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.keyvault.secrets import ApiVersion, KeyVaultSecretIdentifier, SecretClient
from azure.keyvault.secrets._shared import http_challenge_cache
from common import *


def client(token=TOKEN, url=VAULT, **more):
    return SecretClient(url, Given(token), verify_challenge_resource=False, retry_total=0, **more)


def challenge():
    # What the config names is what the client asks its credential for.
    http_challenge_cache.clear()
    credential = Given()
    vault = SecretClient(VAULT, credential, verify_challenge_resource=False)
    # The first that a vault hears of this client is a value, which is held back until it was challenged.
    vault.set_secret("first", "value")
    equal(credential.asked, [(("https://vault.azure.net/.default",), "11112222-3333-4444-5555-666677778888")])
    http_challenge_cache.clear()
    refused(ClientAuthenticationError, lambda: client("wrong").get_secret("first"), "AKV10001")
    # The resource is checked unless the client opts out, and this host is not below it.
    http_challenge_cache.clear()
    refused(ValueError, lambda: SecretClient(VAULT, Given()).get_secret("first"), "does not match the requested domain")


def set_and_get():
    vault = client()
    later = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)).replace(microsecond=0)
    one = vault.set_secret("db", "värde & more", content_type="text/plain", tags={"a": "b"}, expires_on=later, enabled=True)
    equal((one.name, one.value, one.properties.content_type), ("db", "värde & more", "text/plain"))
    equal((one.properties.tags, one.properties.expires_on, one.properties.enabled), ({"a": "b"}, later, True))
    two = vault.set_secret("db", "")
    assert one.properties.version != two.properties.version
    latest = vault.get_secret("db")
    equal((latest.value, latest.properties.version, latest.properties.tags), ("", two.properties.version, None))
    first = vault.get_secret("db", one.properties.version)
    equal((first.value, first.properties.tags, first.properties.expires_on), ("värde & more", {"a": "b"}, later))
    assert first.properties.created_on is not None
    # Whoever keeps an id finds the vault, the name and the version again.
    identifier = KeyVaultSecretIdentifier(first.id)
    equal((identifier.vault_url, identifier.name, identifier.version), (VAULT, "db", one.properties.version))
    large = vault.set_secret("large", "x" * 25_600)
    equal(len(vault.get_secret("large", large.properties.version).value), 25_600)
    refused(ResourceNotFoundError, lambda: vault.get_secret("missing"), "SecretNotFound", "missing")
    refused(ResourceNotFoundError, lambda: vault.get_secret("db", "0" * 32), "SecretNotFound", "db/0000")
    refused(HttpResponseError, lambda: vault.get_secret("a b"), "BadParameter")
    refused(HttpResponseError, lambda: vault.get_secret("a" * 128), "BadParameter")


def every_version_of_the_interface():
    for version in ApiVersion:
        equal(client(api_version=version).get_secret("db").value, "")


def update():
    vault = client()
    made = vault.set_secret("changing", "one", tags={"a": "b", "c": "d"}, content_type="text/plain")
    # Tags are replaced as a whole, and all else stays.
    changed = vault.update_secret_properties("changing", tags={"c": "e", "f": "g"})
    equal((changed.tags, changed.content_type, changed.version), ({"c": "e", "f": "g"}, "text/plain", made.properties.version))
    equal(vault.get_secret("changing").properties.tags, {"c": "e", "f": "g"})
    off = vault.update_secret_properties("changing", made.properties.version, enabled=False)
    equal((off.enabled, off.tags), (False, {"c": "e", "f": "g"}))
    refused(HttpResponseError, lambda: vault.get_secret("changing"), "Forbidden", "SecretDisabled")
    equal([item.enabled for item in vault.list_properties_of_secret_versions("changing")], [False])
    equal(vault.update_secret_properties("changing", enabled=True, content_type="a/b").content_type, "a/b")
    equal(vault.get_secret("changing").value, "one")
    refused(ResourceNotFoundError, lambda: vault.update_secret_properties("missing", enabled=True), "SecretNotFound")


def listing():
    vault = client()
    names = [f"listed-{number:03}" for number in range(60)]
    for name in names:
        vault.set_secret(name, "v", tags={"n": name})
    found = [item for item in vault.list_properties_of_secrets() if item.name.startswith("listed-")]
    equal([item.name for item in found], names)
    equal((found[3].tags, found[3].enabled, found[3].vault_url), ({"n": "listed-003"}, True, VAULT))
    pages = [[item.name for item in page] for page in vault.list_properties_of_secrets(max_page_size=25).by_page()]
    assert all(len(page) == 25 for page in pages[:-1]) and len(pages) > 2, pages
    equal([name for page in pages for name in page if name.startswith("listed-")], names)
    for value in "abc":
        vault.set_secret("many", value)
    versions = [item.version for page in vault.list_properties_of_secret_versions("many", max_page_size=2).by_page() for item in page]
    equal(sorted(vault.get_secret("many", version).value for version in versions), ["a", "b", "c"])
    refused(ResourceNotFoundError, lambda: list(vault.list_properties_of_secret_versions("missing")), "SecretNotFound")
    refused(HttpResponseError, lambda: list(vault.list_properties_of_secrets(max_page_size=26)), "BadParameter", "maxresults")


def deletion():
    vault = client()
    made = vault.set_secret("gone", "value")
    gone = vault.begin_delete_secret("gone", **POLL).result()
    equal((gone.name, gone.recovery_id), ("gone", f"{VAULT}/deletedsecrets/gone"))
    assert gone.scheduled_purge_date > gone.deleted_date
    refused(ResourceNotFoundError, lambda: vault.get_secret("gone"), "SecretNotFound")
    refused(ResourceExistsError, lambda: vault.set_secret("gone", "again"), "ObjectIsDeletedButRecoverable")
    equal([item.name for item in vault.list_deleted_secrets()], ["gone"])
    equal(vault.get_deleted_secret("gone").recovery_id, gone.recovery_id)
    refused(ResourceNotFoundError, lambda: vault.get_deleted_secret("db"), "SecretNotFound")
    equal(vault.begin_recover_deleted_secret("gone", **POLL).result().name, "gone")
    equal(vault.get_secret("gone", made.properties.version).value, "value")
    refused(ResourceNotFoundError, lambda: vault.begin_recover_deleted_secret("gone", **POLL), "SecretNotFound")
    vault.begin_delete_secret("gone", **POLL).wait()
    vault.purge_deleted_secret("gone")
    refused(ResourceNotFoundError, lambda: vault.get_deleted_secret("gone"), "SecretNotFound")
    equal(vault.set_secret("gone", "anew").name, "gone")
    refused(ResourceNotFoundError, lambda: vault.begin_delete_secret("missing", **POLL), "SecretNotFound")


def without_soft_delete():
    # Another vault, whose mount keeps nothing: the client knows at once that this was the end.
    vault = client(url=os.environ["DOOR_PLAIN_VAULT"])
    vault.set_secret("gone", "value")
    poller = vault.begin_delete_secret("gone")
    assert poller.done()
    equal(poller.result().recovery_id, None)
    refused(ResourceNotFoundError, lambda: vault.get_secret("gone"), "SecretNotFound")
    # A vault in which nothing is is still a vault.
    equal([item.name for item in vault.list_properties_of_secrets()], [])
    vault.set_secret("stays", "value")
    refused(HttpResponseError, lambda: list(vault.list_deleted_secrets()), "NotSupported")


def variables():
    # A mount that has no versions and takes no writes.
    vault = client(url=os.environ["DOOR_ENV_VAULT"])
    secret = vault.get_secret("APP_PASSWORD")
    equal((len(secret.value), secret.properties.version), (int(os.environ["APP_PASSWORD_LENGTH"]), None))
    assert [item.name for item in vault.list_properties_of_secrets()] == ["APP_PASSWORD"]
    refused(HttpResponseError, lambda: vault.set_secret("APP_PASSWORD", "x"), "Forbidden", "ForbiddenByPolicy")
    refused(ResourceNotFoundError, lambda: vault.get_secret("APP_PASSWORD", "1"), "SecretNotFound")


def not_offered():
    vault = client()
    refused(HttpResponseError, lambda: vault.backup_secret("db"), "NotSupported")
    refused(HttpResponseError, lambda: vault.restore_secret_backup(b"x"), "NotSupported")
    refused(ResourceNotFoundError, lambda: client(url=os.environ["DOOR_NO_VAULT"]).get_secret("db"), "VaultNotFound")


for test in [challenge, set_and_get, every_version_of_the_interface, update, listing, deletion, without_soft_delete, variables, not_offered]:
    run(test)
