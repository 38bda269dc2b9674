//! A container's termination message: where its guest writes it, and what is read of it at the end.
//!
//! WASI knows folders, not single files: the file's parent becomes a folder of the container's own,
//! mounted there, unless the path lies in a volume. There the file is the volume's, and counts where
//! this start of the container has changed it. An HTTP component ends with nothing of it running, and
//! each mount costs each of its requests: it gets a folder only for a path other than the default.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use copepod_runtime::{Mount, World, folder};
use k8s_openapi::api::core::v1::Container;

/// What the API server fills in.
const PATH_DEFAULT: &str = "/dev/termination-log";
/// How much of the file counts, from its end, as upstream.
const FILE_BYTES: u64 = 4096;

/// The file of one start of a container.
#[derive(Debug)]
pub struct Termination {
    path: String,
    place: Option<Place>,
    /// The file as it was before the start, where it lies in a volume.
    before: Option<(u64, SystemTime)>,
}

/// Where a path of the guest lies on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Own { guest_folder: String, folder: PathBuf, file: PathBuf },
    Volume { folder: PathBuf, file: PathBuf },
}

impl Place {
    fn parts(&self) -> (&Path, &Path) {
        match self {
            Self::Own { folder, file, .. } | Self::Volume { folder, file } => (folder, file),
        }
    }
}

impl Termination {
    /// Makes the file ready, in `own_folder` where it lies in none of `mounts`.
    pub fn prepare(
        container: &Container,
        world: World,
        mounts: &[Mount],
        own_folder: PathBuf,
    ) -> io::Result<Self> {
        let path = container.termination_message_path.clone().unwrap_or_default();
        let wanted = world == World::Command || path != PATH_DEFAULT;
        let place = place(&path, mounts, own_folder).filter(|_| wanted);
        let mut before = None;
        match &place {
            Some(Place::Own { folder, file, .. }) => {
                fs::create_dir_all(folder)?;
                File::create(folder.join(file))?;
            }
            Some(Place::Volume { folder, file }) => before = folder::state(folder, file)?,
            None => {}
        }
        Ok(Self { path, place, before })
    }

    /// The folder that the guest needs for it.
    pub fn mount(&self) -> Option<Mount> {
        match self.place.as_ref()? {
            Place::Own { guest_folder, folder, .. } => Some(Mount {
                guest_path: guest_folder.clone(),
                host_dir: folder.clone(),
                read_only: false,
            }),
            Place::Volume { .. } => None,
        }
    }

    /// What the guest has left, and removes the folder made for it. Empty where it left nothing.
    pub fn take(self) -> String {
        let Some(place) = &self.place else { return String::new() };
        let (folder, file) = place.parts();
        let said = match folder::state(folder, file) {
            Ok(None) => String::new(),
            Ok(now) if now == self.before => String::new(),
            Ok(Some(_)) => match folder::read_end(folder, file, FILE_BYTES) {
                Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
                Err(error) => self.unreadable(&error),
            },
            Err(error) => self.unreadable(&error),
        };
        if let Place::Own { folder, .. } = place
            && let Err(error) = fs::remove_dir_all(folder)
        {
            tracing::debug!(folder = %folder.display(), %error, "a termination message stays");
        }
        said
    }

    fn unreadable(&self, error: &io::Error) -> String {
        format!("Error on reading termination log {}: {error}", self.path)
    }
}

fn place(path: &str, mounts: &[Mount], own_folder: PathBuf) -> Option<Place> {
    let path = absolute(path)?;
    let file = PathBuf::from(path.file_name()?);
    let volume = mounts
        .iter()
        .filter_map(|mount| Some((mount, absolute(&mount.guest_path)?)))
        .filter(|(_, at)| path.starts_with(at) && path != *at)
        .max_by_key(|(_, at)| at.components().count());
    if let Some((mount, at)) = volume {
        let file = path.strip_prefix(&at).ok()?.to_owned();
        return Some(Place::Volume { folder: mount.host_dir.clone(), file });
    }
    let guest_folder = path.parent()?.to_str()?.to_owned();
    Some(Place::Own { guest_folder, folder: own_folder, file })
}

/// The path from the root, as upstream completes it; `None` where it climbs.
fn absolute(path: &str) -> Option<PathBuf> {
    let mut whole = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => whole.push(name),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(guest_path: &str) -> Mount {
        Mount {
            guest_path: guest_path.to_owned(),
            host_dir: PathBuf::from("/host").join(guest_path.trim_start_matches('/')),
            read_only: false,
        }
    }

    #[test]
    fn a_path_lies_in_a_folder_of_its_own_or_in_the_innermost_volume() {
        let mounts = [mount("/data"), mount("/data/deep/"), mount("/dev/shm")];
        let own = |guest_folder: &str, file: &str| {
            Some(Place::Own {
                guest_folder: guest_folder.to_owned(),
                folder: "/own".into(),
                file: file.into(),
            })
        };
        let volume = |folder: &str, file: &str| {
            Some(Place::Volume { folder: folder.into(), file: file.into() })
        };
        for (path, expected) in [
            ("/dev/termination-log", own("/dev", "termination-log")),
            ("said", own("/", "said")),
            ("/a//b/./c", own("/a/b", "c")),
            ("/data/said", volume("/host/data", "said")),
            ("/data/x/said", volume("/host/data", "x/said")),
            ("/data/deep/said", volume("/host/data/deep/", "said")),
            ("/database", own("/", "database")),
            ("/data/../x", None),
            ("/", None),
            ("", None),
        ] {
            assert_eq!(place(path, &mounts, "/own".into()), expected, "{path}");
        }
    }

    #[test]
    fn the_end_of_the_file_counts_and_in_a_volume_only_what_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let container = |path: &str| Container {
            termination_message_path: Some(path.to_owned()),
            ..Container::default()
        };
        let own = dir.path().join("own");
        let prepare = |path: &str, mounts: &[Mount]| {
            Termination::prepare(&container(path), World::Command, mounts, own.clone()).unwrap()
        };
        assert_eq!(prepare("/dev/log", &[]).take(), "");
        let termination = prepare("/dev/log", &[]);
        fs::write(own.join("log"), format!("begin{}", "x".repeat(4096))).unwrap();
        assert_eq!(termination.take(), "x".repeat(4096));
        assert!(!own.exists());

        let mounts =
            [Mount { guest_path: "/v".into(), host_dir: dir.path().into(), read_only: false }];
        fs::write(dir.path().join("said"), "old").unwrap();
        assert_eq!(prepare("/v/said", &mounts).take(), "");
        let termination = prepare("/v/said", &mounts);
        fs::write(dir.path().join("said"), "newer").unwrap();
        assert_eq!(termination.take(), "newer");
        // A link that leads out of the volume is not followed.
        let termination = prepare("/v/link", &mounts);
        std::os::unix::fs::symlink("/etc/hostname", dir.path().join("link")).unwrap();
        assert!(termination.take().starts_with("Error on reading"));
    }

    #[test]
    fn an_http_component_gets_no_folder_for_the_default_path() {
        let dir = tempfile::tempdir().unwrap();
        for (path, mounted) in [(PATH_DEFAULT, false), ("/tmp/said", true)] {
            let container = Container {
                termination_message_path: Some(path.to_owned()),
                ..Container::default()
            };
            let prepared =
                Termination::prepare(&container, World::Http, &[], dir.path().join("own")).unwrap();
            assert_eq!(prepared.mount().is_some(), mounted, "{path}");
        }
    }
}
