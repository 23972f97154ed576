//! What changes the config, and sees that it does what it must: a good one is in force soon, a wrong one changes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use strongroom::Kind;

use super::Shared;
use super::ask::{Answer, Client, Way};
use super::load::{PRIVATE, key, variable};
use super::program::{Form, WAYS_TO_BE_WRONG};
use crate::soak::random::Random;

/// How long a change may take to be in force, on a machine that has much to do.
const PATIENCE: Duration = Duration::from_secs(20);

/// Changes the config again and again.
pub struct Changes {
    random: Random,
    shared: Arc<Shared>,
    /// The good one that is in force.
    form: Form,
}

impl Changes {
    /// Begins with what is in force.
    pub fn new(random: Random, shared: Arc<Shared>) -> Self {
        Self { random, shared, form: Form::A }
    }

    /// Changes it every `period`.
    ///
    /// # Errors
    /// If the config cannot be written, or the server cannot be asked.
    pub async fn work(mut self, period: Duration) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let (mut owner, mut client) =
            (Client::connect(&shared.program, Way::Unix).await?, Client::connect(&shared.program, Way::Tls).await?);
        let mut ticks = tokio::time::interval(period);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !shared.is_over() {
            ticks.tick().await;
            let wrong = self.random.once_in(4);
            let refused = shared.program.said().refused;
            if wrong {
                shared.program.configure(Form::Wrong(self.random.below(WAYS_TO_BE_WRONG)))?;
            } else {
                self.form = if self.form == Form::A { Form::B } else { Form::A };
                shared.program.configure(self.form)?;
            }
            let begun = Instant::now();
            let mut seen;
            loop {
                seen = Some((in_force(&mut owner).await?, is_private(&mut client).await?));
                let told = !wrong || shared.program.said().refused > refused;
                if (told && seen == Some((Some(self.form), true))) || begun.elapsed() > PATIENCE {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let said = shared.program.said().last.join("\n");
            let told = !wrong || shared.program.said().refused > refused;
            shared.tally(|tally| match (seen, wrong) {
                (Some((Some(form), true)), false) if form == self.form => tally.done("a config that came into force"),
                (Some((Some(form), true)), true) if form == self.form && told => tally.done("a wrong config that did not"),
                (seen, _) => tally.wrong(format!(
                    "{:?} should be in force and what is private hidden, but it is {seen:?} (wrong: {wrong}, told: {told})\n{said}",
                    self.form
                )),
            });
        }
        // The end is that of a good one.
        shared.program.configure(self.form)
    }
}

/// The config that answers: `None` while it is none of the good ones.
async fn in_force(owner: &mut Client) -> Result<Option<Form>> {
    let mut shown = [false, false];
    let answers = owner.many(&["env:FORM_A".to_owned(), "env:FORM_B".to_owned()]).await?;
    for ((answer, shown), name) in answers.iter().zip(&mut shown).zip(["FORM_A", "FORM_B"]) {
        *shown = matches!(answer, Answer::Value(value) if *value == variable(name));
    }
    Ok(match shown {
        [true, false] => Some(Form::A),
        [false, true] => Some(Form::B),
        _ => None,
    })
}

/// Whether a client is refused what only the owner may read.
async fn is_private(client: &mut Client) -> Result<bool> {
    Ok(matches!(client.get(&key(PRIVATE)).await?, Answer::Failed(Kind::PolicyDenied, ..)))
}
