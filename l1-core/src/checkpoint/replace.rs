//! A file that is whole at every moment: written beside its place, synced, renamed into it.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::Path,
};

use tempfile::{Builder, NamedTempFile};

/// Puts what `write` writes in the place of the file at `path`, which is left as it was if anything fails.
///
/// The temporary file is gone after an error too. Only a killed program leaves one behind, and the next call for the same path
/// removes it.
pub(super) fn replace<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let Some(name) = path.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path ends in no file name").into());
    };
    let names = TemporaryNames::of(name);
    names.remove_left_over(folder);
    let temporary = names.create(folder).map_err(|error| unwritable(folder, error.kind()))?;
    // Says until the program ends, in whatever way, that the file is in use. Not every file system has locks.
    let _ = temporary.as_file().try_lock();

    let mut writer = BufWriter::with_capacity(1 << 20, temporary.as_file());
    write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    temporary.as_file().sync_all()?;
    let file = temporary.persist(path).map_err(|error| error.error)?;
    drop(file);
    sync_folder(folder);
    Ok(())
}

/// Why there can be no new file, without the temporary file's name, of which the caller knows nothing.
fn unwritable(folder: &Path, kind: io::ErrorKind) -> io::Error {
    let why = if folder.exists() { format!("takes no new file ({kind})") } else { "does not exist".to_owned() };
    io::Error::new(kind, format!("the folder {} {why}", folder.display()))
}

/// `.NAME.XXXXXX.tmp`: which temporary files belong to a file.
struct TemporaryNames {
    prefix: OsString,
}

const SUFFIX: &str = ".tmp";
const RANDOM: usize = 6;

impl TemporaryNames {
    fn of(name: &OsStr) -> Self {
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(".");
        Self { prefix }
    }

    fn create(&self, folder: &Path) -> io::Result<NamedTempFile> {
        let mut builder = Builder::new();
        builder.prefix(&self.prefix).suffix(SUFFIX).rand_bytes(RANDOM);
        // As `File::create` would: the umask takes away what it does not want.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        builder.tempfile_in(folder)
    }

    fn matches(&self, name: &OsStr) -> bool {
        let random = name.as_encoded_bytes().strip_prefix(self.prefix.as_encoded_bytes());
        let random = random.and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        random.is_some_and(|random| random.len() == RANDOM && random.iter().all(u8::is_ascii_alphanumeric))
    }

    /// Removes what killed programs left. A file that is locked is one that another program is writing.
    fn remove_left_over(&self, folder: &Path) {
        // What cannot be listed or removed hinders nobody.
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && self.matches(&entry.file_name()) && is_unlocked(&entry.path()) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

fn is_unlocked(path: &Path) -> bool {
    File::open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Makes the renaming itself survive a power failure. Where a folder cannot be synced (not on every system, nor without the
/// right to list it), such a failure leaves the old file in its place: still a whole one, so that this is no error.
fn sync_folder(folder: &Path) {
    #[cfg(unix)]
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    #[cfg(not(unix))]
    let _ = folder;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_in_the_middle_leaves_the_old_file_and_nothing_beside_it() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("file");
        fs::write(&path, "old")?;
        let failing = replace(&path, |file| {
            // More than the buffer holds, so that some of it is on the disk.
            file.write_all(&[7; 3 << 20])?;
            Err(io::Error::other("no more"))
        });
        assert_eq!(failing.map_err(|error| error.to_string()), Err("no more".to_owned()));
        assert_eq!(fs::read(&path)?, b"old");
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
        replace(&path, |file| file.write_all(b"new"))?;
        assert_eq!(fs::read(&path)?, b"new");
        assert_eq!(fs::read_dir(folder.path())?.count(), 1);
        Ok(())
    }
}
