//! Setting, deleting and listing. A mount is read-only unless its config says `write = true`.

use std::sync::Arc;
use std::time::Instant;

use strongroom_core::manifest::Function;
use strongroom_core::{Failure, Kind, Reference, Text, Value};
use strongroom_sandbox::{Page, Receipt, call};

use crate::Inner;
use crate::mounts::{Mounted, Provided, Provider};
use crate::resolve::{Asked, Entry, Prepared};

/// The most pages and the most bytes of names of one listing: a catalog that never ends must end.
const MAX_PAGES: usize = 10_000;
const MAX_NAMES_BYTES: usize = 32 << 20;

/// A change, as the plugin is asked for it.
enum Change<'a> {
    Put { value: &'a Value, attributes: &'a [(String, String)], expected: Option<&'a str> },
    Remove,
    Annotate { attributes: &'a [(String, String)] },
    Recover,
    Purge,
}

impl Change<'_> {
    fn function(&self) -> Function {
        match self {
            Self::Put { .. } => Function::Put,
            Self::Remove => Function::Remove,
            Self::Annotate { .. } => Function::Annotate,
            Self::Recover => Function::Recover,
            Self::Purge => Function::Purge,
        }
    }

    /// For a sentence: "cannot ... files here".
    fn verb(&self) -> &'static str {
        match self {
            Self::Put { .. } => "set",
            Self::Remove => "delete",
            Self::Annotate { .. } => "change",
            Self::Recover => "recover",
            Self::Purge => "purge",
        }
    }

    async fn ask(self, prepared: &mut Prepared, reference: &Reference) -> Result<Receipt, Failure> {
        if let Self::Put { value, .. } = &self {
            prepared.touched.note(value.expose());
        }
        let call = prepared.take_call();
        let plugin = &prepared.plugin;
        match self {
            Self::Put { value, attributes, expected } => plugin.put(call, reference, value, attributes, expected).await,
            Self::Remove => plugin.remove(call, reference).await,
            Self::Annotate { attributes } => plugin.annotate(call, reference, attributes).await,
            Self::Recover => plugin.recover(call, reference).await,
            Self::Purge => plugin.purge(call, reference).await,
        }
    }
}

impl Inner {
    pub(crate) async fn set(
        self: &Arc<Self>,
        reference: &Reference,
        value: &Value,
        attributes: &[(String, String)],
        expected: Option<&str>,
    ) -> Result<Receipt, Failure> {
        self.write(reference, Change::Put { value, attributes, expected }).await
    }

    pub(crate) async fn delete(self: &Arc<Self>, reference: &Reference) -> Result<Receipt, Failure> {
        self.write(reference, Change::Remove).await
    }

    pub(crate) async fn annotate(
        self: &Arc<Self>,
        reference: &Reference,
        attributes: &[(String, String)],
    ) -> Result<Receipt, Failure> {
        self.write(reference, Change::Annotate { attributes }).await
    }

    pub(crate) async fn recover(self: &Arc<Self>, reference: &Reference) -> Result<Receipt, Failure> {
        self.write(reference, Change::Recover).await
    }

    pub(crate) async fn purge(self: &Arc<Self>, reference: &Reference) -> Result<Receipt, Failure> {
        self.write(reference, Change::Purge).await
    }

    /// All names under `scope`, page after page.
    pub(crate) async fn list(self: &Arc<Self>, scope: &Reference) -> Result<Page, Failure> {
        self.pages(scope, Function::Names).await
    }

    /// All versions of a secret.
    pub(crate) async fn versions(self: &Arc<Self>, reference: &Reference) -> Result<Page, Failure> {
        self.pages(reference, Function::Versions).await
    }

    async fn pages(self: &Arc<Self>, scope: &Reference, function: Function) -> Result<Page, Failure> {
        whole(scope)?;
        let name = self.mounts.router.route(scope)?;
        let mounted = self.mounts.all.get(name).ok_or_else(|| gone(scope))?;
        let Provider::Plugin(provided) = &mounted.provider else {
            return Err(Failure::new(Kind::Unsupported, "plugin.unsupported", "files are not listed").on_mount(name));
        };
        let mut all = Page { entries: Vec::new(), next: None };
        let mut cursor: Option<String> = None;
        let mut until = None;
        let mut bytes = 0_usize;
        for count in 0.. {
            let mut prepared = self.prepared(mounted, provided, scope, function).await?;
            // One request, one deadline, however many pages it comes in.
            let until = *until.get_or_insert(prepared.call.deadline);
            prepared.call.deadline = until.min(prepared.call.deadline);
            let _permits = self.admit_on(mounted, prepared.call.deadline, 0).await?;
            let call = prepared.take_call();
            let mut asked = match function {
                Function::Versions => prepared.plugin.versions(call, scope, cursor.as_deref()).await,
                _ => prepared.plugin.names(call, scope, None, cursor.as_deref()).await,
            };
            prepared.settle(&mounted.name, &mut asked.as_mut().err().into_iter());
            let page = asked?;
            bytes = bytes.saturating_add(page.entries.iter().map(size_of_entry).sum());
            if count >= MAX_PAGES || bytes > MAX_NAMES_BYTES {
                let message = format!("the listing has more than {MAX_PAGES} pages or 32 MiB of names");
                return Err(Failure::new(Kind::LimitExceeded, "list.too-long", message)
                    .on_mount(name)
                    .about(scope.to_string())
                    .help("list a narrower scope"));
            }
            all.entries.extend(page.entries);
            if page.next.is_none() || page.next == cursor {
                break;
            }
            cursor = page.next;
        }
        // What the mount does not answer is not shown either.
        if let Some(allow) = &mounted.mount.allow {
            let base = scope.joined_path();
            all.entries.retain(|entry| {
                let path = if base.is_empty() { entry.name.clone() } else { format!("{base}/{}", entry.name) };
                allow.iter().any(|pattern| pattern.matches(&path) || pattern.matches(&format!("{path}/x")))
            });
        }
        Ok(all)
    }

    /// The mount, if it may be written to. What is kept of it is forgotten first: from now on it may be wrong.
    async fn writable(&self, reference: &Reference, what: &str) -> Result<(&Mounted, &Provided), Failure> {
        let mounted = self.route(reference)?;
        let name = &mounted.name;
        let Provider::Plugin(provided) = &mounted.provider else {
            return Err(Failure::new(Kind::Unsupported, "plugin.unsupported", format!("cannot {what} files here"))
                .on_mount(name)
                .about(reference.to_string()));
        };
        if !mounted.mount.write {
            return Err(Failure::new(Kind::PolicyDenied, "mount.read-only", format!("the mount {name} is read-only"))
                .on_mount(name)
                .about(reference.to_string())
                .help(format!("if it may be written to: write = true under [mounts.{name}]")));
        }
        self.keeping.permits(provided)?;
        self.forget_values(mounted).await?;
        Ok((mounted, provided))
    }

    async fn prepared(
        self: &Arc<Self>,
        mounted: &Mounted,
        provided: &Provided,
        reference: &Reference,
        function: Function,
    ) -> Result<Prepared, Failure> {
        let references = std::slice::from_ref(reference);
        let asked = Asked {
            entry: Entry::Mount(mounted),
            references,
            function,
            arrived: Instant::now(),
            depth: 0,
            acquiring: None,
        };
        self.prepare_on(provided, &asked)
            .await
            .map_err(|failure| failure.on_mount(&mounted.name).about(reference.to_string()))
    }

    /// Writes: to a mount that may be written to, forgetting what is kept of it before and once more after, for
    /// another process may have read while this one wrote.
    async fn write(self: &Arc<Self>, reference: &Reference, change: Change<'_>) -> Result<Receipt, Failure> {
        whole(reference)?;
        let (mounted, provided) = self.writable(reference, change.verb()).await?;
        let mut prepared = self.prepared(mounted, provided, reference, change.function()).await?;
        let _permits = self.admit_on(mounted, prepared.call.deadline, 0).await?;
        let mut result = change.ask(&mut prepared, reference).await;
        self.cache.forget(&mounted.name);
        prepared.settle(&mounted.name, &mut result.as_mut().err().into_iter());
        if let Err(failure) = self.forget_values(mounted).await {
            (self.plugins.warn)(failure.help("what is kept of this mount may be out of date"));
        }
        result
    }
}

/// That a reference is of a whole secret: plugins know nothing of fields, and would take the whole for a part.
fn whole(reference: &Reference) -> Result<(), Failure> {
    if reference.field.is_none() {
        return Ok(());
    }
    let message = "only a whole secret is changed or listed, and not a field of its value";
    Err(Failure::new(Kind::InvalidReference, "reference.field", message).help("leave out what follows the #"))
}

fn size_of_entry(entry: &call::Entry) -> usize {
    let attribute = |(key, value): &(Text, Text)| key.as_str().len() + value.as_str().len();
    size_of::<call::Entry>() + entry.name.len() + entry.attributes.iter().map(attribute).sum::<usize>()
}

fn gone(scope: &Reference) -> Failure {
    Failure::new(Kind::Internal, "route.mount", "the router names a mount that is not there").about(scope.to_string())
}
