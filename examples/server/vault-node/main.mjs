// Reads a password with node-vault, as from any Vault: VAULT_ADDR and VAULT_TOKEN say where and who.
import nodeVault from "node-vault";

const vault = nodeVault({ endpoint: process.env.VAULT_ADDR, token: process.env.VAULT_TOKEN });
const secret = await vault.read("secret/data/app/db");
console.log(`got a password of ${secret.data.data.password.length} characters`);
