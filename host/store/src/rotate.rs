//! Changing what the store is sealed with, and whose a space is.
//!
//! Both write every value they touch anew, in one transaction: a crash leaves all of it or nothing.
//! A master key is made before the transaction and forgotten after it, so that at every moment the
//! one that the file names exists. They must never forget a key before it is certain that no store
//! needs it.

use std::sync::Arc;

use strongroom_core::{Failure, Kind, Name};

use crate::crypt::{self, DataKeys, ID_BYTES};
use crate::holder::{Ask, How, Site, Unlock};
use crate::roots::{self, SpaceRow};
use crate::space::check_lineage;
use crate::store::{Shared, Store, View};
use crate::{database, failures, folder};

impl Store {
    /// Makes a new master key, held as `unlock` says (the rules are those of a new store), and a new
    /// data key, and seals every value again under it. Other processes that have the store open load
    /// the new key at their next call; one that cannot (it has the old passphrase) fails then.
    /// Copies of the file that were made before can still be opened with the old key.
    ///
    /// Says how the key is held from now on.
    ///
    /// # Errors
    /// As [`Store::open`] for a new store, and as [`crate::Space::get`]. Then the old key is still
    /// the one. `store.corrupt` also if any value of the store is not genuine: none is lost over that.
    pub fn rotate(&self, unlock: Unlock) -> Result<How, Failure> {
        let shared = self.shared();
        let wants = unlock.wants_passphrase();
        let offer = unlock.settle(&shared.path, wants, Ask::New)?;
        let _guard = folder::guard(&shared.folder, shared.patience)?;
        let site = Site { store: &shared.path, guarded: &shared.folder, patience: shared.patience };
        let old_offer = shared.offer();
        let (holder, master) = offer.new_master(site)?;
        let text = holder.text()?;
        let prepared = || -> Result<_, Failure> { Ok((crypt::random::<ID_BYTES>()?, crypt::random_key()?)) };
        let rotated = prepared().and_then(|(id, data)| {
            let keys = Arc::new(DataKeys::derive(id, &data));
            shared
                .write(|view| {
                    let old_holder = view.holder()?;
                    let mut head = view.head.clone();
                    head.key = id;
                    head.holder.clone_from(&text);
                    head.wrapped = crypt::wrap(&master, &head.binding(), &data)?;
                    reseal(view, head, &keys)?;
                    Ok((old_holder, true))
                })
                .map(|old_holder| (old_holder, keys))
        });
        match rotated {
            Ok((old_holder, keys)) => {
                shared.keep(offer, keys);
                old_holder.forget(&old_offer, site);
                shared.trim();
                Ok(holder.how())
            }
            Err(failure) => {
                // A commit that reports a failure may yet have happened: ask the file.
                if shared.held_otherwise(&text) {
                    holder.forget(&offer, site);
                }
                Err(failure)
            }
        }
    }

    /// Gives what `mount` keeps for lineage `from` to lineage `to`, after a person has said so: from
    /// then on plugins of `from` see nothing there. Says how many keys that are.
    ///
    /// # Errors
    /// `store.adopt-nothing` if `from` has no keys there; `store.adopt-conflict` if `to` has some
    /// already; `store.lineage`; and as [`crate::Space::set`].
    pub fn adopt(&self, mount: &Name, from: &str, to: &str) -> Result<u64, Failure> {
        check_lineage(from)?;
        check_lineage(to)?;
        self.shared().write(|view| {
            let nothing = || {
                let message = format!("mount {mount} keeps nothing of that plugin lineage");
                Failure::new(Kind::NotFound, "store.adopt-nothing", message)
                    .on_mount(mount)
                    .about(from)
                    .help("`strongroom doctor` lists which lineages keep something on which mount")
            };
            let mut source = view.space(mount.as_str(), from)?.filter(|space| space.keys > 0).ok_or_else(nothing)?;
            let mut target = view.space(mount.as_str(), to)?.unwrap_or_else(|| view.new_space(mount.as_str(), to));
            if target.keys > 0 || from == to {
                let message = format!("mount {mount} already keeps keys for that plugin lineage");
                return Err(Failure::new(Kind::Conflict, "store.adopt-conflict", message)
                    .on_mount(mount)
                    .about(to)
                    .help("delete them first: two lineages' keys are never merged"));
            }
            let counter = view.head.counter;
            let keys = Arc::clone(&view.keys);
            move_rows(view, &source, &target, &view.head, &keys, counter)?;
            (target.keys, target.bytes) = (source.keys, source.bytes);
            (source.keys, source.bytes) = (0, 0);
            let View { connection, head, spaces, path, .. } = view;
            for space in [&mut source, &mut target] {
                space
                    .sign_all(connection, head, &keys)
                    .and_then(|()| space.write(connection, spaces, head, &keys))
                    .map_err(|error| failures::sqlite(path, &error))?;
            }
            Ok((u64::try_from(target.keys).unwrap_or_default(), true))
        })
    }
}

/// Seals every value under `keys`, and signs everything anew for `head`.
fn reseal(view: &mut View<'_>, head: database::Head, keys: &Arc<DataKeys>) -> Result<(), Failure> {
    let mut all = Vec::with_capacity(view.spaces.len());
    for listed in &view.spaces {
        let mut space = view
            .space(&listed.mount, &listed.lineage)?
            .ok_or_else(|| view.corrupt("the record of a space is missing"))?;
        move_rows(view, &space, &space, &head, keys, head.counter)?;
        space
            .sign_all(view.connection, &head, keys)
            .and_then(|()| space.write(view.connection, &mut all, &head, keys))
            .map_err(|error| view.failed(&error))?;
    }
    view.head = head;
    view.spaces = all;
    view.keys = Arc::clone(keys);
    Ok(())
}

/// Opens each row of `from` and writes it, sealed under `keys`, as a row of `to` (which may be the
/// same). One value is in memory at a time.
fn move_rows(
    view: &View<'_>,
    from: &SpaceRow,
    to: &SpaceRow,
    head: &database::Head,
    keys: &DataKeys,
    counter: i64,
) -> Result<(), Failure> {
    let mut leaves = Vec::new();
    let genuine = from
        .check_all(view.connection, &view.head, &view.keys, |leaf| leaves.push(leaf))
        .map_err(|error| view.failed(&error))?;
    if !genuine {
        return Err(view.corrupt("rows were exchanged, removed, added or changed"));
    }
    for leaf in leaves {
        let value = view.unseal(from, &leaf)?;
        let binding = database::value_binding(head, &to.mount, &to.lineage, &leaf.key, counter);
        let sealed = crypt::seal(&keys.values, &binding, &value)?;
        view.connection.execute("DELETE FROM entry WHERE id = ?1", [leaf.id]).map_err(|error| view.failed(&error))?;
        view.insert(to, roots::bucket(head, &leaf.key), &leaf.key, counter, &sealed)?;
    }
    Ok(())
}

impl Shared {
    /// True only if the file certainly names another holder than `text`.
    fn held_otherwise(&self, text: &str) -> bool {
        let head = database::open(&self.path, self.patience).ok().and_then(|file| database::Head::read(&file).ok());
        head.is_some_and(|head| head.holder != text)
    }

    /// Moves the log into the file and cuts it, so that what was sealed under the old key is gone
    /// from it; readers of that moment may keep that from happening until the next checkpoint.
    fn trim(&self) {
        if let Ok(file) = database::open(&self.path, self.patience) {
            let _ = file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
    }
}
