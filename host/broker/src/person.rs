//! The person's own permission, verified beside that of a mount's credential.
//!
//! Azure ML's `enforce_access_to_default_secret_stores` stands for it: who deploys must be allowed to read what the
//! endpoint will read. What can be read is found out in the one way that cannot be wrong, by reading it; the value is
//! dropped, and an answer for the one identity never stands for the other.

use std::sync::Arc;

use strongroom_core::{Failure, Kind, Name, Reference};

use crate::Inner;
use crate::mounts::Mounted;

impl Inner {
    pub(crate) async fn ask_as_person(self: &Arc<Self>, references: &[Reference]) -> Vec<Result<(), Failure>> {
        // What no credential reads, everybody who runs this reads.
        let of = |reference| self.route(reference).ok().filter(|mounted| mounted.mount.credential.is_some());
        let asked: Vec<Reference> =
            references.iter().filter(|one| of(one).is_some_and(|mounted| mounted.person.is_some())).cloned().collect();
        let mut answers = self.resolve_all(&asked, true).await.into_iter();
        let mut told = Vec::with_capacity(references.len());
        for reference in references {
            told.push(match of(reference) {
                None => Ok(()),
                Some(mounted) => match &mounted.mount.person {
                    None => Err(nobody(mounted).about(reference.to_string())),
                    Some(person) => match answers.next() {
                        Some(answer) => answer.map(drop).map_err(|failure| self.refused(person, failure)),
                        None => Err(Failure::new(Kind::Internal, "resolve.unanswered", "there was no answer")),
                    },
                },
            });
        }
        told
    }

    /// The backend's refusal, as one of the person's.
    fn refused(&self, person: &Name, failure: Failure) -> Failure {
        let known: Vec<_> =
            self.mounts.meant(person).into_iter().filter_map(|credential| self.known(credential).ok()).collect();
        let identity =
            known.iter().flatten().flat_map(|known| &known.attributes).find(|(key, _)| key.as_str() == "identity");
        let who = match identity {
            Some((_, identity)) => format!("{identity}, credential {person}"),
            None => format!("credential {person}"),
        };
        let lacks = match failure.kind() {
            Kind::Denied => "the person's own permission is missing",
            _ => "the person's own permission cannot be verified",
        };
        let message = format!("{lacks} ({who}): {}", failure.message());
        failure
            .reworded(message)
            .attribute("person", person.as_str())
            .help("the endpoint's file enforces access to the default secret stores, so who runs this must be allowed to read them, too")
    }
}

fn nobody(mounted: &Mounted) -> Failure {
    let name = &mounted.name;
    let message = format!(
        "the endpoint's file enforces access to the default secret stores, and the mount {name} does not say who the person is"
    );
    Failure::new(Kind::InvalidConfig, "enforce.no-person", message)
        .on_mount(name)
        .at(mounted.mount.source.place(name))
        .help(format!("person = \"me\" under [mounts.{name}], and a [credentials.me] that the person signs in with, such as device-code"))
}
