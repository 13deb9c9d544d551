//! MROSync collects measurement-report zips from a fleet of FTP servers: it mirrors every new zip, remembers each
//! download for ever, announces it by one HTTP call, and keeps the disk below its limit.
//!
//! A file goes one way: listed → new → partial → stored → recorded → notified → evicted. Each arrow is one function
//! that knows no actor; `ARCHITECTURE.md` names them. From outside to inside:
//!
//! - [`cli`], [`config`]: what the operator asks and writes
//! - [`commands`]: `check`, and what changes records while no service runs
//! - [`service`]: `run`; [`control`], [`terminal`], [`web`], [`logging`]: console, status, page and log
//! - [`actors`]: who runs on which thread and asks whom; the only module that knows Actix
//! - [`collector`]: one server, scan after scan
//! - [`mirror`], [`archive`], [`records`], [`quota`], [`notify`]: what is done with a file
//! - [`protocol`]: what a scan needs of a server; [`ftp`] and [`sftp`] keep it, [`connectors`] chooses; [`net`]: the
//!   network below them
//! - [`lateness`], [`status`]: whether files come in time, and what `status` shows
//! - [`base`]: words and tools that all share

pub mod actors;
pub mod archive;
pub mod base;
pub mod cli;
pub mod collector;
pub mod commands;
pub mod config;
pub mod connectors;
pub mod control;
pub mod ftp;
pub mod lateness;
pub mod logging;
pub mod mirror;
pub mod net;
pub mod notify;
pub mod protocol;
pub mod quota;
pub mod records;
pub mod service;
pub mod sftp;
pub mod status;
pub mod terminal;
pub mod web;
