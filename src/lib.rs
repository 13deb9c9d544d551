//! MROSync collects measurement-report zips from a fleet of FTP servers: it mirrors every new zip, remembers each
//! download for ever, announces it by one HTTP call, and keeps the disk below its limit.
//!
//! A file goes one way: listed → new → partial → stored → recorded → notified → evicted. Each arrow is one function
//! that knows no actor; `ARCHITECTURE.md` names them. From outside to inside:
//!
//! - [`cli`], [`config`]: what the operator asks and writes
//! - [`app`], [`amend`], [`mark`], [`check`], [`control`], [`overview`], [`logging`], [`systemd`]: the service, its probes, console, status, log and overseer
//! - [`terminal`]: what a person at a terminal gets beyond plain lines
//! - [`web`]: the status page and what programs read
//! - [`actors`]: who runs on which thread and asks whom; the only module that knows Actix
//! - [`mirror`], [`quota`], [`records`], [`notify`]: what is done
//! - [`remote`]: what a scan needs of a server; [`ftp`] and [`sftp`]: conversations with servers
//! - [`lateness`], [`status`]: whether files come in time, and what `status` shows
//! - [`base`]: words and tools that all share

pub mod actors;
pub mod adopt;
pub mod amend;
pub mod app;
pub mod archive;
pub mod base;
pub mod check;
pub mod cli;
pub mod collector;
pub mod config;
pub mod control;
pub mod ftp;
pub mod lateness;
pub mod logging;
pub mod mark;
pub mod mirror;
pub mod notify;
pub mod overview;
pub mod quota;
pub mod records;
pub mod remote;
pub mod sftp;
pub mod status;
pub mod systemd;
pub mod terminal;
pub mod web;
