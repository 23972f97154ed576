// The bundled plugins: the names of their folders, their manifests and their files. The one list of
// them, included as an array by whatever builds, checks or embeds them.
[
    "auth-token",
    "azure-cli",
    "azure-key-vault",
    "azure-workspace-connection",
    "browser",
    "azureml-keyvault",
    "azureml-run",
    "device-code",
    "env",
    "keys",
    "managed-identity",
    "service-principal",
    "token-command",
]
