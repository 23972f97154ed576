//! Entra ID as an issuer: the fake Azure's tokens, with the keys that it publishes, fetched the way a server does it.

use fake_azure::{Fake, Options, defaults};
use strongroom::{Setup, Source, Strongroom};
use strongroom_core::policy::{Accounts, Policy};

use super::*;

struct Nobody;

impl Accounts for Nobody {
    fn uid(&self, _: &str) -> Option<u32> {
        None
    }

    fn gid(&self, _: &str) -> Option<u32> {
        None
    }
}

fn open(fake: &Fake, changes: &[(&str, &str)]) -> Strongroom {
    let mut text = format!(
        "[issuers.entra]\nissuer = \"https://sts.windows.net/{tenant}/\"\n\
         jwks = \"https://login.microsoftonline.com/{tenant}/discovery/v2.0/keys\"\naudiences = [\"api://strongroom\"]\n\
         algorithms = [\"RS256\"]\nnetwork = \"public\"\n\
         [callers.trainer]\njwt = {{ issuer = \"entra\", claims = {{ appid = \"{client}\", idtyp = \"app\" }} }}\n\
         [ca.fake]\nfile = \"ca.pem\"\nhosts = [\"login.microsoftonline.com\"]\n\
         [addresses]\n\"login.microsoftonline.com\" = \"127.0.0.1:{port}\"\n",
        tenant = defaults::TENANT,
        client = defaults::CLIENT,
        port = fake.https_port(),
    );
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    let source = Source::Text { text, folder: fake.folder().to_owned() };
    Strongroom::open(Setup { source, ..Setup::without_config() }).unwrap()
}

fn verifier(strongroom: &Strongroom) -> Verifier {
    let own = strongroom.clone();
    let fetch: Fetch = Arc::new(move |issuer| {
        let (own, issuer) = (own.clone(), issuer.clone());
        Box::pin(async move { own.fetch(&issuer.origin, &issuer.target, &issuer.network).await })
    });
    Verifier::new(&strongroom.access().issuers, fetch)
}

#[test]
fn a_token_of_entra_is_a_caller() {
    let fake = Fake::start(Options::default()).unwrap();
    let strongroom = open(&fake, &[]);
    let policy: Policy = strongroom.policy(&Nobody).unwrap();
    let now = SystemTime::now();
    run(async {
        let verifier = verifier(&strongroom);
        let identity = verifier.identify(&fake.access_token("api://strongroom"), now).await.unwrap();
        let names: Vec<String> = policy.identify(&identity, None).names().map(ToString::to_string).collect();
        assert_eq!(names, ["trainer"]);
        let other = fake.access_token("https://vault.azure.net");
        assert_eq!(outcome(&verifier, &other, now).await, "token.audience");
        let later = now + Duration::from_secs(3700);
        assert_eq!(outcome(&verifier, &fake.access_token("api://strongroom"), later).await, "token.expired");
        // Another fake has other keys, by other names.
        let stranger = Fake::start(Options::default()).unwrap();
        assert_eq!(outcome(&verifier, &stranger.access_token("api://strongroom"), now).await, "token.key");
    });
}

#[test]
fn keys_come_only_from_where_the_config_says_and_as_it_says() {
    let fake = Fake::start(Options::default()).unwrap();
    let token = fake.access_token("api://strongroom");
    let now = SystemTime::now();
    run(async {
        let address = format!("= \"127.0.0.1:{}\"", fake.https_port());
        let table = [
            // Nobody of the system's authorities vouches for the fake.
            (vec![("hosts = [\"login.microsoftonline.com\"]", "hosts = [\"other.example\"]")], "token.keys"),
            // Not there, and not JSON.
            (vec![("/discovery/v2.0/keys", "/discovery/v3.0/keys")], "token.keys"),
            (vec![("/discovery/v2.0/keys", "/v2.0/.well-known/openid-configuration")], "token.keys"),
            // An address that is not where the issuer's entry allows.
            (
                vec![
                    (address.as_str(), "= \"192.0.2.1:1\""),
                    ("\"login.microsoftonline.com\" =", "\"x.example\" ="),
                    ("https://login.microsoftonline.com/", "https://127.0.0.1/"),
                ],
                "token.keys",
            ),
            (vec![], "ok"),
        ];
        for (changes, code) in table {
            let strongroom = open(&fake, &changes);
            assert_eq!(outcome(&verifier(&strongroom), &token, now).await, code, "{changes:?}");
        }
    });
}

#[test]
fn an_offline_host_fetches_no_keys() {
    let fake = Fake::start(Options::default()).unwrap();
    let strongroom = open(&fake, &[]);
    let issuer = strongroom.access().issuers.values().next().unwrap().clone();
    run(async {
        let setup = Setup { source: Source::Nothing, offline: true, ..Setup::without_config() };
        let offline = Strongroom::open(setup).unwrap();
        let failure = offline.fetch(&issuer.origin, &issuer.target, &issuer.network).await.unwrap_err();
        assert_eq!((failure.kind(), failure.code()), (Kind::Unavailable, "offline"));
        let mut plain = issuer.origin.clone();
        plain.secure = false;
        let failure = strongroom.fetch(&plain, &issuer.target, &issuer.network).await.unwrap_err();
        assert_eq!(failure.code(), "fetch.address");
        let private = strongroom.fetch(&issuer.origin, &issuer.target, &issuer.network).await.unwrap();
        assert!(private.starts_with(b"{"));
    });
}
