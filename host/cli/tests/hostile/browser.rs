//! Hostile auth plugins that are let open a person's browser, in `login`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::{Arc, Mutex};

use strongroom::{Allocation, Failure, Kind, SignIn, SignInPlace};
use strongroom_core::Name;

use crate::canary::Canary;
use crate::world::{Plan, World, is, logged, told, under_both};

const GOOD: &str =
    "https://login.test/ours/authorize?redirect_uri={redirect-uri}&state={state}&response_mode=form_post";

/// A person who has no browser opened. What they were shown, and what they do then.
struct Person<F> {
    shown: Mutex<Vec<String>>,
    then: F,
}

impl<F: Fn(&str) + Send + Sync> SignIn for Person<F> {
    fn show(&self, _: &SignInPlace) {
        panic!("no code was asked for");
    }

    fn browse(&self, place: &SignInPlace) -> bool {
        self.shown.lock().unwrap().push(place.uri.clone());
        (self.then)(&place.uri);
        false
    }
}

fn world(allocation: Allocation, attack: &str, uri: &str) -> World {
    Plan::new(allocation).token(&Canary::new()).auth(attack, uri).open()
}

/// How a sign-in ends, and the pages that the person was shown.
async fn login(world: &World, then: impl Fn(&str) + Send + Sync) -> (Failure, Vec<String>) {
    let person = Person { shown: Mutex::default(), then };
    let failure = world.strongroom.login(&Name::parse("c").unwrap(), None, &person).await.unwrap_err();
    world.check_failure(&failure);
    (failure, person.shown.into_inner().unwrap())
}

/// What stands for `name` in the query of an address, decoded.
fn of_query(uri: &str, name: &str) -> String {
    let query = uri.split_once('?').unwrap().1;
    let value = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}="))).unwrap();
    value.replace("%3A", ":").replace("%2F", "/")
}

/// Comes back from the page at `uri`, as a browser does.
fn come_back(uri: &str, form: &str) {
    let port: u16 = of_query(uri, "redirect_uri").strip_prefix("http://localhost:").unwrap().parse().unwrap();
    let form = format!("{form}&state={}", of_query(uri, "state"));
    std::thread::spawn(move || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: localhost:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
            form.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    });
}

#[test]
fn an_auth_plugin_whose_page_is_off_its_rule() {
    under_both(async |allocation| {
        for uri in [
            "https://evil.test/?code={state}",
            "https://evil.test/ours/authorize?redirect_uri={redirect-uri}&state={state}",
            "http://login.test/ours/authorize?redirect_uri={redirect-uri}&state={state}",
            "https://login.test:8443/ours/authorize?redirect_uri={redirect-uri}&state={state}",
            "https://login.test@evil.test/ours/authorize?redirect_uri={redirect-uri}&state={state}",
            "https://login.test.evil.test/ours/authorize?redirect_uri={redirect-uri}&state={state}",
            "https://login.test\\\\@evil.test/ours/authorize?redirect_uri={redirect-uri}&state={state}",
            "https://login.test/theirs/authorize?redirect_uri={redirect-uri}&state={state}",
            "https://login.test/ours/authorize/?redirect_uri={redirect-uri}&state={state}",
            "https://login.test/ours/../theirs/authorize?redirect_uri={redirect-uri}&state={state}",
            "https://login.test/ours%2fauthorize?redirect_uri={redirect-uri}&state={state}",
            "https://login.test//ours/authorize?redirect_uri={redirect-uri}&state={state}",
            "javascript:alert(1)?redirect_uri={redirect-uri}&state={state}",
            "file:///etc/passwd?redirect_uri={redirect-uri}&state={state}",
            "--new-window https://login.test/ours/authorize?redirect_uri={redirect-uri}&state={state}",
            "https://login.test/ours/authorize?redirect_uri={redirect-uri}&state={state}#x",
            "https://login.test/ours/authorize?redirect_uri={redirect-uri}&state={state}&a= b",
        ] {
            refused(allocation, uri).await;
        }
    });
}

#[test]
fn an_auth_plugin_that_says_itself_where_the_browser_comes_back_to() {
    under_both(async |allocation| {
        for query in [
            "",
            "redirect_uri={redirect-uri}",
            "state={state}",
            "redirect_uri=https://evil.test/&state={state}",
            "redirect_uri={redirect-uri}&state=chosen",
            "redirect_uri={redirect-uri}.evil.test&state={state}",
            "redirect_uri={state}&state={redirect-uri}",
            "redirect_uri={redirect-uri}&state={state}&redirect_uri=https://evil.test/",
            "redirect_uri={redirect-uri}&state={state}&Redirect_Uri=https://evil.test/",
            "redirect_uri={redirect-uri}&state={state}&%72edirect_uri=https://evil.test/",
            "redirect_uri={redirect-uri}&state={state}&state=x",
            "redirect_uri={redirect-uri}&state={state}&nonce={state}",
            "redirect_uri={redirect-uri}&state={state}&x={other}",
            "x={redirect-uri}&y={state}&redirect_uri=https://evil.test/&state=x",
        ] {
            refused(allocation, &format!("https://login.test/ours/authorize?{query}")).await;
        }
    });
}

/// Nothing is shown, and nothing opened.
async fn refused(allocation: Allocation, uri: &str) {
    let world = world(allocation, "page", uri);
    let (failure, shown) = login(&world, |_| {}).await;
    is(&failure, Kind::PolicyDenied, "login.browser");
    assert!(told(&failure).contains("hostile-auth@"), "it says who it was: {}", told(&failure));
    assert_eq!(shown, [""; 0], "{uri}");
    world.end().await;
}

#[test]
fn an_auth_plugin_that_tells_what_the_browser_brought() {
    under_both(async |allocation| {
        let world = world(allocation, "page", GOOD);
        let code = format!("code-{:016x}", getrandom::u64().unwrap());
        let form = format!("error_description=in+words&code={code}");
        let (failure, shown) = login(&world, |uri| come_back(uri, &form)).await;
        is(&failure, Kind::Unauthenticated, "auth.told");
        let told = told(&failure);
        assert!(told.contains("in words") && !told.contains(&code), "{told}");
        let state = of_query(&shown[0], "state");
        assert!(state.len() >= 22 && !told.contains(&state), "the state is the host's: {told}");
        assert_eq!((logged(&code), logged(&state)), (vec![], vec![]));
        world.end().await;
    });
}

#[test]
fn an_auth_plugin_that_opens_one_browser_after_the_other() {
    under_both(async |allocation| {
        let world = world(allocation, "pages", GOOD);
        let (failure, shown) = login(&world, |uri| come_back(uri, "code=c")).await;
        is(&failure, Kind::Protocol, "login.browser");
        assert_eq!(shown.len(), 1);
        world.end().await;
    });
}

#[test]
fn two_sign_ins_that_share_nothing() {
    under_both(async |allocation| {
        let world = Arc::new(world(allocation, "page", GOOD));
        let (_, first) = login(&world, |uri| come_back(uri, "code=c")).await;
        let (_, second) = login(&world, |uri| come_back(uri, "code=c")).await;
        assert_ne!(of_query(&first[0], "state"), of_query(&second[0], "state"));
        Arc::into_inner(world).unwrap().end().await;
    });
}
