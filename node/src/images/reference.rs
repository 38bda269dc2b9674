//! Image references: `hello`, `team/hello:v1`, `registry:5000/hello@sha256:…`, `file:///dir/x.wasm`.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

/// The registry and the folder of a name that says neither, as everywhere else.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_NAMESPACE: &str = "library";
const DEFAULT_TAG: &str = "latest";
/// Larger files are not read as images.
const FILE_LIMIT: u64 = 512 << 20;

/// A reference in its normal form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// Why a text is no image reference.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReferenceError {
    #[error("invalid reference format")]
    Format,
    #[error("invalid reference format: repository name must be lowercase")]
    Uppercase,
    #[error("a file image is written file:///absolute/path.wasm")]
    File,
    #[error("file images are not imported: a pod refers to the file itself")]
    FileImport,
}

impl ReferenceError {
    /// As upstream's kubelet puts it.
    pub fn kubelet_message(&self, image: &str) -> String {
        format!(
            "Failed to apply default image tag \"{image}\": \
             couldn't parse image name \"{image}\": {self}"
        )
    }
}

impl Reference {
    /// Reads what a user wrote and fills in what was left out.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        if text.starts_with("file:") {
            return Err(ReferenceError::FileImport);
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(valid_digest(digest)?)),
            None => (text, None),
        };
        // A colon after the last slash begins a tag; before it, a port.
        let last_slash = name.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match name[last_slash..].split_once(':') {
            Some((last, tag)) => (&name[..last_slash + last.len()], Some(valid_tag(tag)?)),
            None => (name, None),
        };
        let (registry, path) = split_registry(name);
        if !valid_registry(registry) {
            return Err(ReferenceError::Format);
        }
        if path.is_empty() || !path.split('/').all(valid_component) {
            let upper = path.chars().any(|c| c.is_ascii_uppercase());
            return Err(if upper { ReferenceError::Uppercase } else { ReferenceError::Format });
        }
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("{registry}/{DEFAULT_NAMESPACE}/{path}")
        } else {
            format!("{registry}/{path}")
        };
        let tag = match (tag, &digest) {
            (None, None) => Some(DEFAULT_TAG.to_owned()),
            (tag, _) => tag,
        };
        Ok(Self { repository, tag, digest })
    }

    /// The digest, where the reference pins one: it then decides alone.
    pub fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_REGISTRY, path),
        Some((first, path)) if first.contains(['.', ':']) || first == "localhost" => (first, path),
        _ => (DEFAULT_REGISTRY, name),
    }
}

/// A host name or address, and perhaps a port.
fn valid_registry(text: &str) -> bool {
    let (host, port) = text.split_once(':').unwrap_or((text, "0"));
    let label = |label: &str| {
        label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
            && !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.parse::<u16>().is_ok()
}

fn valid_component(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    text.chars().all(inner) && edge(text.chars().next()) && edge(text.chars().next_back())
}

fn valid_tag(text: &str) -> Result<String, ReferenceError> {
    let inner = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    let valid = first && text.len() <= 128 && text.chars().all(inner);
    if valid { Ok(text.to_owned()) } else { Err(ReferenceError::Format) }
}

fn valid_digest(text: &str) -> Result<String, ReferenceError> {
    let hex = text.strip_prefix("sha256:").ok_or(ReferenceError::Format)?;
    let valid = hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if valid { Ok(text.to_owned()) } else { Err(ReferenceError::Format) }
}

/// A `file://` image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePath(PathBuf);

/// Why a file image cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error(
        "{} is not in a folder that this node allows for file images: \
         start the node with --allow-images-in {}", path.display(), folder.display()
    )]
    NotAllowed { path: PathBuf, folder: PathBuf },
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is larger than {} MiB", path.display(), FILE_LIMIT >> 20)]
    TooLarge { path: PathBuf },
}

impl FilePath {
    pub fn parse(image: &str) -> Result<Self, ReferenceError> {
        let path = image.strip_prefix("file://").ok_or(ReferenceError::File)?;
        let path = Path::new(path);
        let plain =
            path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        if !path.is_absolute() || !plain {
            return Err(ReferenceError::File);
        }
        Ok(Self(path.to_owned()))
    }

    /// Reads the file if it lies, with every symbolic link followed, in an allowed folder.
    pub fn read(&self, allowed: &[PathBuf]) -> Result<Bytes, FileError> {
        let failed = |source| FileError::Read { path: self.0.clone(), source };
        // Judged by the name alone first: a path outside tells nothing about what exists there.
        let named_inside = allowed.iter().any(|folder| {
            self.0.starts_with(folder)
                || folder.canonicalize().is_ok_and(|folder| self.0.starts_with(folder))
        });
        if !named_inside {
            return Err(self.not_allowed());
        }
        let real = self.0.canonicalize().map_err(failed)?;
        let inside = allowed
            .iter()
            .filter_map(|folder| folder.canonicalize().ok())
            .any(|folder| real.starts_with(folder));
        if !inside {
            return Err(self.not_allowed());
        }
        if fs::metadata(&real).map_err(failed)?.len() > FILE_LIMIT {
            return Err(FileError::TooLarge { path: self.0.clone() });
        }
        fs::read(&real).map(Bytes::from).map_err(failed)
    }

    fn not_allowed(&self) -> FileError {
        let folder = self.0.parent().unwrap_or(Path::new("/")).to_owned();
        FileError::NotAllowed { path: self.0.clone(), folder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_brought_to_their_normal_form() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (text, expected) in [
            ("hello", "docker.io/library/hello:latest".to_owned()),
            ("hello:v1", "docker.io/library/hello:v1".into()),
            ("team/hello", "docker.io/team/hello:latest".into()),
            ("docker.io/hello", "docker.io/library/hello:latest".into()),
            ("index.docker.io/hello", "docker.io/library/hello:latest".into()),
            ("localhost/hello", "localhost/hello:latest".into()),
            ("reg.example:5000/a/b:x", "reg.example:5000/a/b:x".into()),
            (&format!("hello@{digest}"), format!("docker.io/library/hello@{digest}")),
            (&format!("hello:v1@{digest}"), format!("docker.io/library/hello:v1@{digest}")),
        ] {
            assert_eq!(Reference::parse(text).unwrap().to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for (text, expected) in [
            ("", ReferenceError::Format),
            ("Hello", ReferenceError::Uppercase),
            ("hello:", ReferenceError::Format),
            ("hello:a b", ReferenceError::Format),
            ("a//b", ReferenceError::Format),
            ("../b", ReferenceError::Format),
            ("reg:x/b", ReferenceError::Format),
            ("hello@sha256:12", ReferenceError::Format),
            ("file:///x.wasm", ReferenceError::FileImport),
        ] {
            assert_eq!(Reference::parse(text).unwrap_err(), expected, "{text}");
        }
    }

    #[test]
    fn file_images_stay_in_their_folder() {
        let root = tempfile::tempdir().unwrap();
        let (inside, outside) = (root.path().join("in"), root.path().join("out"));
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir_all(&outside).unwrap();
        fs::write(inside.join("a.wasm"), b"x").unwrap();
        fs::write(outside.join("b.wasm"), b"y").unwrap();
        std::os::unix::fs::symlink(outside.join("b.wasm"), inside.join("link.wasm")).unwrap();
        let allowed = [inside.clone()];
        let read = |path: PathBuf| {
            FilePath::parse(&format!("file://{}", path.display())).unwrap().read(&allowed)
        };
        assert_eq!(read(inside.join("a.wasm")).unwrap(), Bytes::from_static(b"x"));
        assert!(matches!(read(outside.join("b.wasm")), Err(FileError::NotAllowed { .. })));
        assert!(matches!(read(inside.join("link.wasm")), Err(FileError::NotAllowed { .. })));
        assert!(matches!(read(inside.join("none.wasm")), Err(FileError::Read { .. })));
        assert!(FilePath::parse("file:///in/../out/b.wasm").is_err());
        assert!(FilePath::parse("file://relative.wasm").is_err());
    }
}
