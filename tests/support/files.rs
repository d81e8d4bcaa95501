//! The files below a folder.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below this folder, except in folders with these names. Empty if the folder does not exist.
pub fn files_below(folder: &Path, except: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("an entry").path();
        if !path.is_dir() {
            found.push(path);
        } else if !except.iter().any(|it| path.ends_with(it)) {
            found.extend(files_below(&path, except));
        }
    }
    found
}

pub fn is_kind(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|it| it == extension)
}
