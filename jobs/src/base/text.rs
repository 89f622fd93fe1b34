//! Text within keys.

/// A part of a key that is put together with colons.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('%', "%25").replace(':', "%3A")
}
