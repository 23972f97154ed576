//! The commands, a file each: what one does stands in its own file, and what they share in
//! [`crate::session`] and [`crate::variables`].

pub mod audit;
pub mod check;
pub mod delete;
pub mod doctor;
pub mod explain;
pub mod export;
pub mod get;
pub mod init;
pub mod inject;
pub mod list;
pub mod login;
pub mod plugin;
pub mod policy;
pub mod purge;
pub mod recover;
pub mod reference;
pub mod run;
pub mod serve;
pub mod set;
pub mod store;
pub mod token;
pub mod trust;
