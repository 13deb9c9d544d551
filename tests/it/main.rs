//! Tests of the whole: the real binary and the FTP part against servers that run here, on loopback ports the
//! system chooses. What the tests stand on is in `support`; each other module is one subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::let_underscore_must_use,
    reason = "a test that panics has failed, which is what it is for"
)]

mod amend;
mod check;
mod configuration;
mod conformance;
mod connections;
mod console;
mod control;
mod counters;
mod crash;
mod disks;
mod documents;
mod early_ports;
mod essentials;
mod files;
mod first_hour;
mod fuzz_corpora;
mod growth;
mod hostile;
mod identity;
mod limits;
mod listing;
mod local_faults;
mod logins;
mod lowered_limit;
mod mark;
mod memory;
mod mirror;
mod notify;
mod one_server;
mod order;
mod postgres;
mod proof;
mod properties;
mod quiet;
mod quota;
mod reach;
mod real_servers;
mod records;
mod reload;
mod reload_log;
mod replies;
mod restart;
mod resume;
mod selection;
mod sftp;
mod sftp_faults;
mod sftp_oddities;
mod sftp_reach;
mod signals;
mod status;
mod supervision;
mod support;
mod support_works;
mod terminal;
mod times;
mod tls;
mod unftp;
mod uploads;
mod verify;
mod ways;
mod web;
mod web_api;
mod web_page;
