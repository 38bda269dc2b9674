//! The tag of an image reference, as far as the pull policy needs it.

/// Longer names are no repositories'.
const NAME_BYTES_MAX: usize = 255;

/// Whether the reference's tag is `latest`, said or unsaid. One with a digest and no tag, or one
/// that is no registry's reference (`file://…`), has none.
pub fn is_latest(reference: &str) -> bool {
    let (named, digest) = match reference.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (reference, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let last_segment = named.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match named[last_segment..].split_once(':') {
        Some((segment, tag)) => (&named[..last_segment + segment.len()], Some(tag)),
        None => (named, None),
    };
    match (tag, digest) {
        (Some(tag), _) => tag == "latest" && is_name(name),
        (None, Some(_)) => false,
        (None, None) => is_name(name),
    }
}

/// Whether this is a repository's name: lower case, behind a host or not.
fn is_name(name: &str) -> bool {
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path),
        _ => ("", name),
    };
    let host_fits =
        host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte));
    host_fits && name.len() <= NAME_BYTES_MAX && path.split('/').all(is_segment)
}

fn is_segment(segment: &str) -> bool {
    let letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = segment.as_bytes();
    bytes.first().is_some_and(letter)
        && bytes.last().is_some_and(letter)
        && bytes.iter().all(|byte| letter(byte) || b"-._".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::is_latest;

    #[test]
    fn only_references_that_mean_latest_are_latest() {
        for reference in
            ["a", "a/b", "h.io/a", "h:80/a/b-c", "localhost/a", "a:latest", "h:80/a:latest"]
        {
            assert!(is_latest(reference), "{reference}");
        }
        for reference in
            ["", "a:1", "A", "h:80/a:1", "a@sha256:0", "file:///a", "file:///a.wasm", "a b", "a//b"]
        {
            assert!(!is_latest(reference), "{reference}");
        }
    }
}
