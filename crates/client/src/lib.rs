//! Calls a cluster of Muster, and knows its members: what changes comes with the next answer.
//!
//! ```no_run
//! # async fn example(token: &str) -> Result<(), client::Error> {
//! use client::{Context, Request};
//!
//! let shop = Context::to("shop", token)
//!     .router("https://router-1.example/muster/views")
//!     .router("https://router-2.example/muster/views")
//!     .connect()
//!     .await?;
//! let answer = shop.invoke(Request::get("/cart").body("".into()).expect("a path")).await?;
//! println!("{} by one of {} members", answer.status(), shop.view().members.len());
//! # Ok(())
//! # }
//! ```
//!
//! A [`Context`] is the client of one cluster. Its calls go through routers, or straight to the members ([`Way`]); a place that
//! fails is left out at once, and a call that failed is made again elsewhere where that is safe. The view of the cluster
//! that this rests on is never older than any that the client had.
//!
//! What clients and routers say to each other is in docs/reference/wire.md, for other languages.

mod attempt;
mod budget;
mod chance;
mod choice;
mod connection;
mod context;
mod error;
mod evidence;
mod keeper;
mod limits;
mod place;
mod pool;
mod refresh;
mod routers;
mod settings;
mod tls;
mod transaction;

pub use bytes::Bytes;
pub use choice::Prefer;
pub use context::Context;
pub use error::{Error, Failure, How};
pub use http::{Request, Response};
pub use settings::{Settings, Way};
pub use transaction::Transaction;
pub use wire::client_view::{ClientMember, ClientState, ClientView};
pub use wire::id::Epoch;
pub use wire::view::Policy;
