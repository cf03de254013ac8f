//! `sealer version`

use crate::args::Version;
use crate::report::Failure;
use crate::{settings, ui};

/// Shows the version, as JSON or as a number.
pub(crate) fn run(args: &Version) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if args.short {
        ui::data(version);
    } else {
        let shown = serde_json::json!({
            "gitVersion": version,
            "compiler": "rustc",
            "platform": settings::host_platform().to_string(),
        });
        ui::data(&format!("{shown:#}"));
    }
    Ok(())
}
