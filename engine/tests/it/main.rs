//! The engine against real servers and real files.

mod http;
mod server;
mod users;
