// KV version 2 through node-vault.
import assert from "node:assert";
import nodeVault from "node-vault";

const vault = nodeVault({ endpoint: process.env.VAULT_ADDR, token: process.env.VAULT_TOKEN });
const status = (code) => (error) => error.response?.statusCode === code;

assert.equal((await vault.health()).sealed, false);
assert.equal((await vault.tokenLookupSelf()).data.type, "service");
await vault.write("secret/data/app/db", { data: { password: "first" } });
await vault.write("secret/data/app/db", { data: { password: "second" }, options: { cas: 1 } });
await assert.rejects(vault.write("secret/data/app/db", { data: {}, options: { cas: 1 } }), status(400));
const read = await vault.read("secret/data/app/db");
assert.deepEqual([read.data.data, read.data.metadata.version], [{ password: "second" }, 2]);
assert.deepEqual((await vault.list("secret/metadata/app")).data.keys, ["db"]);
await vault.delete("secret/data/app/db");
await assert.rejects(vault.read("secret/data/app/db"), status(404));
await vault.write("secret/undelete/app/db", { versions: [2] });
assert.equal((await vault.read("secret/data/app/db")).data.data.password, "second");
await assert.rejects(vault.read("secret/data/app/none"), status(404));
await assert.rejects(nodeVault({ endpoint: process.env.VAULT_ADDR, token: "wrong" }).read("secret/data/app/db"), status(403));
console.log("passed");
