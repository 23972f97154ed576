// Reads a secret with Azure's client for Node.js. The token is the caller's, from the environment; with
// @azure/identity, its DefaultAzureCredential stands here instead.
import { SecretClient } from "@azure/keyvault-secrets";

const credential = {
  getToken: async () => ({ token: process.env.VAULT_TOKEN, expiresOnTimestamp: Date.now() + 3_600_000 }),
};
// The vault's name is not below vault.azure.net, and the door does not pretend that it is.
const options = { disableChallengeResourceVerification: true };
const vault = new SecretClient(process.env.VAULT_URL, credential, options);
const secret = await vault.getSecret("db-password");
console.log(`got a password of ${secret.value.length} characters`);
