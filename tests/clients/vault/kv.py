"""KV version 2 through hvac: all that the Vault door offers. Prints one line a part that went well."""

import os
import sys

import hvac
from hvac import exceptions

address, token, canary = os.environ["VAULT_ADDR"], os.environ["VAULT_TOKEN"], os.environ["CANARY"]
client = hvac.Client(url=address, token=token)
kv = client.secrets.kv.v2


def refused(kind, call, words=""):
    try:
        call()
    except kind as error:
        assert words in str(error), str(error)
        return
    raise AssertionError(f"no {kind.__name__}")


assert client.is_authenticated()
known = client.auth.token.lookup_self()["data"]
assert known["policies"] == ["app"] and known["ttl"] == 0 and known["id"] == token
health = client.sys.read_health_status(method="GET")
assert health["initialized"] and not health["sealed"] and not health["standby"]
assert client.sys.read_health_status(method="HEAD").status_code == 200
assert client.sys.is_initialized() and not client.sys.is_sealed()
print("health and token")

first = kv.create_or_update_secret("app/db", secret={"user": "app", "password": canary, "port": 5432})
assert first["data"]["version"] == 1 and first["data"]["created_time"].startswith("20")
read = kv.read_secret_version("app/db", raise_on_deleted_version=True)["data"]
assert read["data"] == {"user": "app", "password": canary, "port": 5432} and read["metadata"]["version"] == 1
assert read["metadata"]["destroyed"] is False and read["metadata"]["deletion_time"] == ""
kv.create_or_update_secret("app/db", secret={"value": "plain"}, cas=1)
refused(exceptions.InvalidRequest, lambda: kv.create_or_update_secret("app/db", {"a": "b"}, cas=1), "check-and-set")
refused(exceptions.InvalidRequest, lambda: kv.create_or_update_secret("app/db", {"a": "b"}, cas=0), "check-and-set")
assert kv.read_secret_version("app/db", version=1, raise_on_deleted_version=True)["data"]["data"]["user"] == "app"
assert kv.read_secret_version("app/db", raise_on_deleted_version=True)["data"]["data"] == {"value": "plain"}
refused(exceptions.InvalidPath, lambda: kv.read_secret_version("app/none", raise_on_deleted_version=True))
refused(exceptions.InvalidPath, lambda: kv.read_secret_version("app/db", version=9, raise_on_deleted_version=True))
print("read, write, cas")

# hvac merges by itself, and writes what comes out with cas: null stays.
kv.patch("app/db", secret={"more": {"a": 1}, "value": None})
patched = kv.read_secret_version("app/db", raise_on_deleted_version=True)["data"]["data"]
assert patched == {"more": {"a": 1}, "value": None}, patched
refused(exceptions.InvalidPath, lambda: kv.patch("app/none", secret={"a": "b"}))
print("patch")

kv.update_metadata("app/db", custom_metadata={"team": "a", "owner": "b"})
kv.create_or_update_secret("app/db", secret={"value": "fourth"})
known = kv.read_secret_metadata("app/db")["data"]
assert known["current_version"] == 4 and sorted(known["versions"]) == ["1", "2", "3", "4"]
assert known["custom_metadata"] == {"team": "a", "owner": "b"}, known
kv.update_metadata("app/db", custom_metadata={"team": "c"})
assert kv.read_secret_metadata("app/db")["data"]["custom_metadata"] == {"team": "c"}
refused(exceptions.InvalidRequest, lambda: kv.update_metadata("app/db", max_versions=3), "config decides")
print("metadata")

kv.create_or_update_secret("app/api", secret={"value": "x"})
assert kv.list_secrets("")["data"]["keys"] == ["app/"]
assert kv.list_secrets("app")["data"]["keys"] == ["api", "db"]
assert kv.read_secret_version("app", raise_on_deleted_version=True)["data"]["data"] == {"api": "x", "db": "fourth"}
refused(exceptions.InvalidRequest, lambda: kv.create_or_update_secret("app", {"a": "b"}), "group of keys")
refused(exceptions.InvalidPath, lambda: kv.list_secrets("none"))
print("list and groups")

kv.delete_latest_version_of_secret("app/db")
refused(exceptions.InvalidPath, lambda: kv.read_secret_version("app/db", raise_on_deleted_version=True))
gone = kv.read_secret_version("app/db", raise_on_deleted_version=False)["data"]
assert gone["data"] is None and gone["metadata"]["version"] == 4 and gone["metadata"]["deletion_time"]
kv.undelete_secret_versions("app/db", versions=[4])
assert kv.read_secret_version("app/db", raise_on_deleted_version=True)["data"]["data"] == {"value": "fourth"}
kv.delete_secret_versions("app/db", versions=[1, 2])
kv.destroy_secret_versions("app/db", versions=[1, 3])
versions = kv.read_secret_metadata("app/db")["data"]["versions"]
assert [versions[n]["destroyed"] for n in "1234"] == [True, False, True, False]
assert [bool(versions[n]["deletion_time"]) for n in "1234"] == [False, True, False, False]
kv.undelete_secret_versions("app/db", versions=[1, 2])
assert kv.read_secret_version("app/db", version=2, raise_on_deleted_version=True)["data"]["data"] == {"value": "plain"}
kv.delete_metadata_and_all_versions("app/db")
refused(exceptions.InvalidPath, lambda: kv.read_secret_metadata("app/db"))
print("delete, undelete, destroy")

mounts = client.sys.list_mounted_secrets_engines()["data"]
assert mounts["secret/"]["options"] == {"version": "2"}, mounts
assert kv.read_configuration()["data"]["max_versions"] == 0
able = client.sys.get_capabilities(paths=["secret/data/app/db", "secret/metadata/app", "sys/policies"])["data"]
assert "read" in able["secret/data/app/db"] and "list" in able["secret/metadata/app"], able
assert able["sys/policies"] == ["deny"]
refused(exceptions.InvalidRequest, lambda: client.sys.list_policies(), "not offered")
refused(exceptions.InvalidRequest, lambda: client.sys.unwrap("x"), "not offered")
print("the server itself")

other = hvac.Client(url=address)
login = other.auth.approle.login(role_id="app", secret_id=token)["auth"]
assert login["client_token"] == other.token != token and 3500 < login["lease_duration"] <= 3600
assert other.secrets.kv.v2.list_secrets("app")["data"]["keys"] == ["api"]
known = other.auth.token.lookup_self()["data"]
assert 0 < known["ttl"] <= 3600 and known["renewable"] and known["path"] == "auth/approle/login"
assert other.auth.token.renew_self()["auth"]["lease_duration"] > 0
ended = other.token
other.auth.token.revoke_self()
refused(exceptions.Forbidden, lambda: hvac.Client(url=address, token=ended).secrets.kv.v2.list_secrets("app"))
for role, secret in [("app", "wrong"), ("other", token), ("owner", token)]:
    login = lambda: hvac.Client(url=address).auth.approle.login(role_id=role, secret_id=secret)
    refused(exceptions.InvalidRequest, login, "invalid role or credential")
refused(exceptions.InvalidRequest, lambda: hvac.Client(url=address).auth.jwt.jwt_login("app", "a.b.c"), "invalid role")
refused(exceptions.Forbidden, lambda: hvac.Client(url=address, token="wrong").secrets.kv.v2.list_secrets("app"))
print("logins")
sys.exit(0)
