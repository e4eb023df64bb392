//! The control socket's file: private, made in one step, never taken from a daemon that lives.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::BindError;

/// Removes the socket when dropped, unless another took its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the socket: its directory 0700 where it has to be made, itself 0600 from its first
/// moment at this path.
pub(super) async fn bind(path: &Path) -> Result<(UnixListener, SocketFile), BindError> {
    let failed = |source| BindError::Socket { path: path.to_owned(), source };
    prepare_directory(path)?;
    refuse_living(path).await?;
    // Bound under another name and renamed: nobody connects before the mode is set, and the file
    // of a dead daemon is replaced without a moment of absence.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let made = path.with_file_name(format!(".{name}{}", std::process::id()));
    let _ = fs::remove_file(&made);
    let listener = UnixListener::bind(&made).map_err(failed)?;
    let placed = fs::set_permissions(&made, fs::Permissions::from_mode(0o600))
        .and_then(|()| fs::rename(&made, path))
        .and_then(|()| inode(path));
    match placed {
        Ok(inode) => Ok((listener, SocketFile { path: path.to_owned(), inode })),
        Err(source) => {
            let _ = fs::remove_file(&made);
            Err(failed(source))
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

fn prepare_directory(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Socket { path: path.to_owned(), source };
    let directory = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    let directory = directory.unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
    let mode = fs::metadata(directory).map_err(failed)?.mode();
    // In a sticky directory others may write, and not replace what is ours.
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        return Err(BindError::OpenDirectory(directory.to_owned()));
    }
    Ok(())
}

async fn refuse_living(path: &Path) -> Result<(), BindError> {
    let meta = match fs::symlink_metadata(path) {
        Ok(meta) => meta,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(BindError::Socket { path: path.to_owned(), source }),
    };
    if !meta.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match UnixStream::connect(path).await {
        Ok(stream) => {
            let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
            Err(BindError::Taken { path: path.to_owned(), pid })
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(source) => Err(BindError::Socket { path: path.to_owned(), source }),
    }
}
