// @azure/keyvault-secrets: every operation, on a vault that is a group of custom keys which keep what is deleted.
// `DOOR_VAULT` is the vault's address, `DOOR_TOKEN` a caller's token.
import assert from "node:assert/strict";
import { SecretClient } from "@azure/keyvault-secrets";

const url = process.env.DOOR_VAULT;
const asked = [];
const credential = {
  getToken: async (scopes, options) => {
    asked.push([scopes, options?.tenantId]);
    return { token: process.env.DOOR_TOKEN, expiresOnTimestamp: Date.now() + 3_600_000 };
  },
};
const vault = new SecretClient(url, credential, {
  disableChallengeResourceVerification: true,
  retryOptions: { maxRetries: 0 },
});
const refused = (promise, code, status) =>
  assert.rejects(promise, (error) => {
    assert.equal(error.statusCode, status, error.message);
    assert.equal(error.code, code, error.message);
    return true;
  });
const poll = { intervalInMs: 10 };

// The first that the vault hears of this client is a value, which is held back until it was challenged.
const expiresOn = new Date(Math.floor(Date.now() / 1000) * 1000 + 3_600_000);
const one = await vault.setSecret("db", "värde", { contentType: "text/plain", tags: { a: "b" }, expiresOn, enabled: true });
assert.deepEqual([one.value, one.properties.tags, one.properties.contentType], ["värde", { a: "b" }, "text/plain"]);
assert.equal(asked[0][0].toString(), "https://vault.azure.net/.default");
assert.equal(asked[0][1], "11112222-3333-4444-5555-666677778888");
const two = await vault.setSecret("db", "two");
assert.equal((await vault.getSecret("db")).value, "two");
const first = await vault.getSecret("db", { version: one.properties.version });
assert.deepEqual([first.value, first.properties.expiresOn, first.properties.vaultUrl], ["värde", expiresOn, url]);
await refused(vault.getSecret("missing"), "SecretNotFound", 404);
await refused(vault.getSecret("a b"), "BadParameter", 400);

const changed = await vault.updateSecretProperties("db", two.properties.version, { tags: { c: "d" }, enabled: false });
assert.deepEqual([changed.enabled, changed.tags], [false, { c: "d" }]);
await refused(vault.getSecret("db"), "Forbidden", 403);
await vault.updateSecretProperties("db", two.properties.version, { enabled: true });

for (let number = 0; number < 5; number += 1) {
  await vault.setSecret(`listed-${number}`, "v");
}
const names = [];
for await (const page of vault.listPropertiesOfSecrets().byPage({ maxPageSize: 2 })) {
  assert(page.length <= 2);
  names.push(...page.map((item) => item.name));
}
assert.deepEqual(names, ["db", "listed-0", "listed-1", "listed-2", "listed-3", "listed-4"]);
const versions = [];
for await (const item of vault.listPropertiesOfSecretVersions("db")) {
  versions.push(item.version);
}
assert.deepEqual(versions.sort(), [one.properties.version, two.properties.version].sort());

const gone = await (await vault.beginDeleteSecret("db", poll)).pollUntilDone();
assert.equal(gone.properties.recoveryId, `${url}/deletedsecrets/db`);
await refused(vault.setSecret("db", "again"), "Conflict", 409);
const deleted = [];
for await (const item of vault.listDeletedSecrets()) {
  deleted.push(item.name);
}
assert.deepEqual(deleted, ["db"]);
assert.equal((await vault.getDeletedSecret("db")).name, "db");
await (await vault.beginRecoverDeletedSecret("db", poll)).pollUntilDone();
assert.equal((await vault.getSecret("db")).value, "two");
await (await vault.beginDeleteSecret("db", poll)).pollUntilDone();
await vault.purgeDeletedSecret("db");
await refused(vault.getDeletedSecret("db"), "SecretNotFound", 404);
await refused(vault.backupSecret("listed-0"), "NotSupported", 501);
console.log("passed");
