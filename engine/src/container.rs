//! Container images inside the image: what names them, where they come from, and the files they become below `registry/`
//! (spec §3.5, §3.6; `docs/design/container-images.md`).
//!
//! Names are resolved to manifests all at once; what comes of it is a definition of its own, planned and run as any other.

mod archive;
mod base;
mod carry;
mod fetch;
mod layout;
mod lists;
mod look;
mod lower;
mod places;
mod resolve;
mod stream;
mod wanted;

pub use self::archive::{Archived, Archives};
pub use self::carry::{Carried, Carrying, carry, options};
pub(crate) use self::fetch::BlobSources;
pub use self::lists::{Ignored, ImageList, ListError, Listed, WithAuth};
pub(crate) use self::places::Place;
pub use self::resolve::{ContainerError, FailedImage};
pub(crate) use self::resolve::{Kept, Known};
pub(crate) use self::stream::Streams;
pub use self::wanted::{ContainerImage, ListedPlatform, NamedBy, Wanted, carried_by};
pub(crate) use self::wanted::{annotate, listed_by};
