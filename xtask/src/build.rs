//! Building the binary.

use std::path::PathBuf;

use anyhow::Result;

use crate::app;
use crate::step::{cargo, run, step};
use crate::workspace::Workspace;

/// Leaves one self-contained binary, app included, and says where.
pub(crate) fn release_binary(workspace: &Workspace) -> Result<PathBuf> {
    app::build(workspace)?;
    step("build the server", "about 6 minutes the first time", || {
        run(cargo().args(["build", "--release", "--package", "lockkeeper"]).current_dir(&workspace.root))
    })?;
    Ok(workspace.target.join("release").join("lockkeeper"))
}
