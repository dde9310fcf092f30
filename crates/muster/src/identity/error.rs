//! What can be wrong with this machine's membership of a cell. Each says whether something has changed.

use crate::tls::TlsError;
use std::io;
use std::path::PathBuf;
use wire::error_code::{self, ErrorCode};

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Nothing has changed.
    #[error("{}: this machine is in no cell: there is no certificate in {}", self.code(), directory.display())]
    None { directory: PathBuf },
    /// Nothing has changed.
    #[error("{}: this machine has no cell's authority: {} is missing; `muster init` makes it", self.code(), path.display())]
    NoAuthority { path: PathBuf },
    /// Nothing has changed.
    #[error("{}: this machine is in a cell already: there is {}", self.code(), path.display())]
    InACell { path: PathBuf },
    /// Nothing has changed.
    #[error("{}: what says who this machine is cannot be used", self.code())]
    Files {
        #[source]
        source: TlsError,
    },
    /// Nothing has changed.
    #[error("{}: {} is no certificate of a cell's node", self.code(), path.display())]
    Meaningless { path: PathBuf },
    /// What is there may be new in part; the same command may be repeated once the cause is gone.
    #[error("{}: {} cannot be written", self.code(), path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Nothing has changed.
    #[error("{}: no certificate can be made: {why}", self.code())]
    Make { why: String },
    /// Nothing has changed; nothing was said to whoever answered, if anybody did.
    #[error("{}: the manager was not reached at {address}: {why}", error_code::CELL_NOT_REACHED)]
    NotReached { address: String, why: String },
    /// Nothing has changed, and nothing was said to it.
    #[error("{}: what answers at {address} is not a manager of this cell: {why}", self.code())]
    OtherCell { address: String, why: String },
    /// Nothing has changed here.
    #[error("{code}: {message}")]
    Refused { code: String, message: String },
}

impl IdentityError {
    /// The code under which docs/errors explains this.
    pub fn code(&self) -> ErrorCode {
        match self {
            IdentityError::None { .. } | IdentityError::NoAuthority { .. } => error_code::IN_NO_CELL,
            IdentityError::InACell { .. } => error_code::IN_A_CELL_ALREADY,
            IdentityError::Files { .. } | IdentityError::Meaningless { .. } | IdentityError::Make { .. } => {
                error_code::IDENTITY_NOT_USABLE
            }
            IdentityError::Write { .. } => error_code::STATE_DIRECTORY_NOT_USABLE,
            IdentityError::NotReached { .. } => error_code::CELL_NOT_REACHED,
            IdentityError::OtherCell { .. } => error_code::OTHER_CELL,
            // It has a code of its own.
            IdentityError::Refused { .. } => error_code::NODE_REFUSED,
        }
    }
}
