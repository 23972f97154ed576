//! Device codes.

use serde::Serialize;
use serde_json::json;

use super::{At, Refusal, required};
use crate::http::{Answer, Pairs};
use crate::random;
use crate::token::Subject;
use crate::world::World;

/// What the person did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing yet.
    Pending,
    /// Signed in.
    Approved,
    /// Said no.
    Declined,
    /// Waited too long.
    Expired,
    /// Done: a code serves once.
    Used,
}

/// A sign-in on another device.
#[derive(Debug, Clone, Serialize)]
pub struct Device {
    /// What the person types.
    pub user_code: String,
    /// The application.
    pub client_id: String,
    /// The scopes asked for.
    pub scope: String,
    /// How far it is.
    pub verdict: Verdict,
    /// The person's object id, once they signed in.
    pub person: Option<String>,
    /// Polls so far.
    pub polls: u32,
    /// So many more polls are told to slow down.
    pub slow_down: u32,
    #[serde(skip)]
    expires: i64,
    #[serde(skip)]
    interval: i64,
    #[serde(skip)]
    polled: Option<i64>,
}

pub(super) fn begin(world: &mut World, at: &At<'_>, form: &Pairs) -> Result<Answer, Refusal> {
    let app = at.app(world, form)?;
    let client_id = app.client_id.clone();
    let scope = required(form, "scope")?;
    at.resource(scope, false)?;
    let (user_code, device_code) = (random::user_code(), format!("{}{}", random::hex(), random::hex()));
    let settings = &world.settings;
    let device = Device {
        user_code: user_code.clone(),
        client_id,
        scope: scope.to_owned(),
        verdict: Verdict::Pending,
        person: None,
        polls: 0,
        slow_down: 0,
        expires: world.clock.now().saturating_add(settings.device_expires_in),
        interval: settings.device_interval,
        polled: None,
    };
    let answer = json!({
        "user_code": user_code, "device_code": device_code, "verification_uri": "https://microsoft.com/devicelogin",
        "expires_in": settings.device_expires_in, "interval": settings.device_interval,
        "message": format!(
            "To sign in, use a web browser to open the page https://microsoft.com/devicelogin and enter the code {user_code} \
             to authenticate."
        ),
    });
    world.sign_ins.devices.insert(device_code, device);
    Ok(Answer::json(200, &answer))
}

pub(super) fn poll(world: &mut World, at: &At<'_>, form: &Pairs) -> Result<Answer, Refusal> {
    let client_id = at.app(world, form)?.client_id.clone();
    let code = required(form, "device_code").or_else(|_| required(form, "code"))?;
    let now = world.clock.now();
    let auto = world.settings.device_auto_approve;
    let unknown = || Refusal::new(70_018, "Invalid verification code.");
    let device =
        world.sign_ins.devices.get_mut(code).filter(|known| known.client_id == client_id).ok_or_else(unknown)?;
    device.polls = device.polls.saturating_add(1);
    // A second of grace: clients round.
    let early =
        device.polled.replace(now).is_some_and(|last| now < last.saturating_add(device.interval).saturating_sub(1));
    if device.slow_down > 0 || early {
        device.slow_down = device.slow_down.saturating_sub(1);
        device.interval = device.interval.saturating_add(5);
        return Err(Refusal::new(90_055, "The client is polling too quickly."));
    }
    if device.verdict == Verdict::Pending && auto.is_some_and(|polls| device.polls > polls) {
        device.verdict = Verdict::Approved;
    }
    if device.verdict == Verdict::Expired || device.expires <= now {
        return Err(Refusal::new(
            70_020,
            "The provided value for the input parameter 'device_code' is not valid. Device code expired.",
        ));
    }
    match device.verdict {
        Verdict::Pending => {
            Err(Refusal::new(70_016, "OAuth 2.0 device flow error. Authorization is pending. Continue polling."))
        }
        Verdict::Declined => Err(Refusal::new(65_004, "User declined to consent to access the app.")),
        Verdict::Approved => {
            device.verdict = Verdict::Used;
            let (person, scope) = (device.person.clone(), device.scope.clone());
            let subject = subject(world, at, &client_id, person.as_deref())?;
            let mut form = form.clone();
            form.retain(|(name, _)| name != "scope");
            form.push(("scope".into(), scope));
            super::user_answer(world, at, &subject, &form, None)
        }
        Verdict::Used | Verdict::Expired => Err(Refusal::new(54_005, "OAuth2 code was already redeemed.")),
    }
}

/// The person who signs in: the one named, else the one of the settings, else the tenant's first.
pub(super) fn subject(world: &World, at: &At<'_>, client_id: &str, named: Option<&str>) -> Result<Subject, Refusal> {
    let named = named.or(world.settings.person.as_deref());
    let found = match named {
        Some(name) => world.directory.user(name),
        None => world.directory.users.iter().find(|user| user.tenant == at.tenant.id),
    };
    let user = found.filter(|user| user.tenant == at.tenant.id).ok_or_else(|| {
        Refusal::new(
            50_020,
            "User account from identity provider does not exist in the tenant and cannot access the application.",
        )
    })?;
    Ok(Subject {
        object_id: user.object_id.clone(),
        app_id: client_id.to_owned(),
        tenant: user.tenant.clone(),
        name: Some(user.name.clone()),
    })
}

impl Device {
    /// What the person does: `approve`, `decline`, `expire`, or `slow-down` for so many polls.
    ///
    /// # Errors
    ///
    /// In words, for another verdict.
    pub fn decide(&mut self, verdict: &str, person: Option<String>, times: Option<u64>) -> Result<(), String> {
        match verdict {
            "approve" => (self.verdict, self.person) = (Verdict::Approved, person),
            "decline" => self.verdict = Verdict::Declined,
            "expire" => self.verdict = Verdict::Expired,
            "slow-down" => self.slow_down = u32::try_from(times.unwrap_or(1)).unwrap_or(u32::MAX),
            other => return Err(format!("{other} is none of approve, decline, expire, slow-down")),
        }
        Ok(())
    }
}
