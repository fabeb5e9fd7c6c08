//! The other rules of the house.

/// Directories of the machine the code was written on, which mean nothing elsewhere. Put together, so that this file has none.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const NOTE: &str = concat!("TO", "DO");
/// How much a note of something missing must say at least.
const NOTE_CHARS: usize = 20;
/// What a reason begins with.
const REASONS: [&str; 6] = ["because ", "so that ", "since ", "*Source*", "*Measured*", "as PostgreSQL"];

/// A file begins by saying what it is for.
pub fn missing_header(source: &str) -> Option<&'static str> {
    let first = source.lines().next().unwrap_or_default();
    let said = first.strip_prefix("//!").is_some_and(|text| !text.trim().is_empty());
    (!said).then_some("does not begin with `//!` and what it is for")
}

/// Lines with a path of the machine, or with a note that something is to be done that does not say what.
pub fn forbidden_words(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, line) in source.lines().enumerate() {
        let number = number + 1;
        found.extend(MACHINE_PATHS.iter().filter(|path| line.contains(*path)).map(|path| format!("{number}: {path}")));
        if let Some((_, text)) = line.split_once(NOTE)
            && text.chars().filter(|c| c.is_alphanumeric()).count() < NOTE_CHARS
        {
            found.push(format!("{number}: {NOTE} that does not say what is missing and what happens until then"));
        }
    }
    found
}

/// Public items of a file of limits whose doc comment gives no reason.
pub fn limits_without_reason(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut doc = String::new();
    for (number, line) in source.lines().enumerate() {
        let line = line.trim();
        if let Some(text) = line.strip_prefix("///") {
            doc += text;
        } else if line.starts_with("pub ") {
            if !REASONS.iter().any(|reason| doc.contains(reason)) {
                found.push(format!("{}: {line}: why this much?", number + 1));
            }
            doc.clear();
        } else if !line.starts_with('#') {
            doc.clear();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_header_is_found() {
        assert!(missing_header("use std::io;\n").is_some());
        assert!(missing_header("\n//! Late.\n").is_some());
        assert!(missing_header("//!\n//! Second line.\n").is_some());
        assert!(missing_header("// A comment.\n").is_some());
        assert!(missing_header("").is_some());
        assert!(missing_header("//! What it is for.\n").is_none());
    }

    #[test]
    fn forbidden_words_are_found_with_their_line() {
        assert_eq!(forbidden_words(&format!("a\nb {}x\n", MACHINE_PATHS[0])), [format!("2: {}", MACHINE_PATHS[0])]);
        assert_eq!(forbidden_words(&format!("// {NOTE}")).len(), 1);
        assert_eq!(forbidden_words(&format!("// {NOTE}: fix")).len(), 1);
        let said = format!("// {NOTE}: replicas are not asked; until then primaries serve all reads.");
        assert!(forbidden_words(&said).is_empty());
        assert!(forbidden_words("a network/host").is_empty());
    }

    #[test]
    fn a_limit_without_reason_is_found() {
        let source = "/// Rows.\npub const A: u8 = 1;\n/// Rows, because of B.\n#[doc(hidden)]\npub const B: u8 = 1;\n\npub fn c() {}\n";
        assert_eq!(
            limits_without_reason(source),
            ["2: pub const A: u8 = 1;: why this much?", "7: pub fn c() {}: why this much?"]
        );
    }
}
