use strongroom_plugin::testing::Host;
use strongroom_plugin::{Catalog, Kind};

use super::*;

#[test]
fn a_reference_that_no_vault_can_mean_is_not_asked() {
    let host = Host::new();
    let vault = "myvault.vault.azure.net";
    for (reference, code) in [
        (Reference::new(["secrets", "n"]), "keyvault.host"),
        (at("evil.example", &["secrets", "n"]), "keyvault.host"),
        (at("vault.azure.net", &["secrets", "n"]), "keyvault.host"),
        (at("myvault.vault.azure.net.evil.example", &["secrets", "n"]), "keyvault.host"),
        (at("myvaultxvault.azure.net", &["secrets", "n"]), "keyvault.host"),
        (at("my.managedhsm.azure.net", &["secrets", "n"]), "keyvault.managed-hsm"),
        (at("my.managedhsm.azure.cn", &["secrets", "n"]), "keyvault.managed-hsm"),
        (at("my.managedhsm.usgovcloudapi.net", &["secrets", "n"]), "keyvault.managed-hsm"),
        (at("myvault.vault.azure.net:443", &["secrets", "n"]), "keyvault.port"),
        (at("myvault.vault.azure.net:8443", &["secrets", "n"]), "keyvault.port"),
        (at("evil:443.vault.azure.net", &["secrets", "n"]), "keyvault.port"),
        (at("a.b.vault.azure.net", &["secrets", "n"]), "keyvault.vault-name"),
        (at("ab.vault.azure.net", &["secrets", "n"]), "keyvault.vault-name"),
        (at("1vault.vault.azure.net", &["secrets", "n"]), "keyvault.vault-name"),
        (at("vault-.vault.azure.net", &["secrets", "n"]), "keyvault.vault-name"),
        (at("my--vault.vault.azure.net", &["secrets", "n"]), "keyvault.vault-name"),
        (at("my_vault.vault.azure.net", &["secrets", "n"]), "keyvault.vault-name"),
        (at(&format!("{}.vault.azure.net", "v".repeat(25)), &["secrets", "n"]), "keyvault.vault-name"),
        (at(vault, &["keys", "n"]), "keyvault.form"),
        (at(vault, &["secrets"]), "keyvault.form"),
        (at(vault, &["secrets", "n", "v"]), "keyvault.form"),
        (at(vault, &["secrets", "a_b"]), "keyvault.name"),
        (at(vault, &["secrets", ".."]), "keyvault.name"),
        (at(vault, &["secrets", &"x".repeat(128)]), "keyvault.name"),
        (at(vault, &["secrets", "n"]).with_selector("version", "versions"), "keyvault.version"),
        (at(vault, &["secrets", "n"]).with_selector("version", ""), "keyvault.version"),
        (at(vault, &["secrets", "n"]).with_selector("version", "../m"), "keyvault.version"),
        (at(vault, &["secrets", "n"]).with_selector("verson", "1"), "reference.selector"),
    ] {
        assert_eq!(told(resolve(&reference)), (Kind::InvalidReference, code.to_owned()), "{reference:?}");
    }
    for (scope, code) in [
        (at(vault, &["keys"]), "keyvault.scope"),
        (at(vault, &["secrets", "n"]), "keyvault.scope"),
        (at(vault, &["secrets"]).with_selector("state", "purged"), "keyvault.state"),
        (at(vault, &["secrets"]).with_selector("version", "1"), "reference.selector"),
        (at("my.managedhsm.azure.net", &["secrets"]), "keyvault.managed-hsm"),
    ] {
        let answer = KeyVault::names(&context(), &scope, "", None);
        assert_eq!(told(answer), (Kind::InvalidReference, code.to_owned()), "{scope:?}");
    }
    assert!(host.asked().is_empty());
}

#[test]
fn each_cloud_has_its_vaults() {
    for suffix in ["vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net"] {
        let host = Host::new().answer(json(503, ""));
        resolve(&at(&format!("my-vault1.{suffix}"), &["secrets", "N-1"])).unwrap_err();
        assert_eq!(host.asked(), [format!("GET https://my-vault1.{suffix}/secrets/N-1?api-version=7.4")]);
    }
}
