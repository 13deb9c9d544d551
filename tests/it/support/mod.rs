//! What the tests stand on: servers to talk to, the program to run, and ways to wait.
//!
//! Everything ends with the value that stands for it: servers and processes stop on `Drop`, temporary
//! directories go with them. Everything listens on 127.0.0.1 and on ports that the system chose.

#![allow(dead_code, reason = "every test takes the part of it that it needs")]

pub mod certificates;
pub mod chromium;
pub mod daemons;
pub mod disk;
pub mod http;
pub mod net;
pub mod notify;
pub mod postgres;
pub mod processes;
pub mod pty;
pub mod raw;
pub mod scripted;
pub mod service;
pub mod sftp;
pub mod socks;
pub mod sshd;
pub mod steps;
pub mod tls;
pub mod unftp;
pub mod wait;
pub mod zips;
