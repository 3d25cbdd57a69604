//! The test restore: a real PostgreSQL says that it can be done.
//!
//! A backup is chosen and its way worked out from the model (`choose`); it is restored into a sandbox; a server of the
//! right major replays WAL that walproof hands to it (`serve`, `ask`, `pull`), with settings that harm nobody
//! (`settings`); where it arrived (`replay`, `log`) is compared with where the archive ends (`end`).

mod around;
mod ask;
mod choose;
mod dumps;
mod end;
mod keep;
mod log;
mod pages;
mod pull;
pub(crate) mod replay;
mod run;
mod series;
mod serve;
pub mod settings;
mod verdict;

pub use ask::ask;
pub use choose::{Choice, Pick, Refusal, Target, Wish, candidates, choose};
pub use end::{End, EndUnknown, end_of};
pub use run::{Options, run};
pub use series::Tested;
pub use serve::{Served, WalServer, Withheld};
