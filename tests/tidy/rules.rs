//! The other rules of the house.

/// Directories of the machine the code was written on, which mean nothing elsewhere. Put together, so that this file has none.
const MACHINE_PATHS: [&str; 2] = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
const NOTE: &str = concat!("TO", "DO");
/// How much a note of something missing must say at least.
const NOTE_CHARS: usize = 20;
/// What names of limits end with.
const LIMITS: [&str; 3] = ["_MAX", "_MIN", "_BYTES"];
/// Longer functions have a second subject.
const FUNCTION_LINES_MAX: usize = 70;

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

/// Constants that are limits, by their names, and have no comment above them that says what they limit. One comment may be for
/// several that follow each other.
pub fn limits_without_comment(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut said = false;
    for (number, line) in source.lines().enumerate() {
        let line = line.trim();
        let rest = line.strip_prefix("pub ").unwrap_or(line);
        let rest = rest.strip_prefix("pub(super) ").or(rest.strip_prefix("pub(crate) ")).unwrap_or(rest);
        let name = rest.strip_prefix("const ").and_then(|rest| rest.split_once(':')).map(|(name, _)| name);
        match name {
            Some(name) if !said && LIMITS.iter().any(|end| name.ends_with(end)) => {
                found.push(format!("{}: {name}: a limit of what, and why so much?", number + 1));
            }
            Some(_) => {}
            None if line.starts_with("//") => said = true,
            None if line.starts_with('#') => {}
            None => said = false,
        }
    }
    found
}

/// Functions that are too long, as rustfmt writes them: the closing brace stands under the first word.
pub fn long_functions(source: &str) -> Vec<String> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let word = line.trim_start();
        let indent = &line[..line.len() - word.len()];
        let begins = ["fn ", "pub fn ", "async fn ", "pub async fn ", "const fn ", "pub const fn "];
        let restricted = word.strip_prefix("pub(").and_then(|rest| rest.split_once(") ")).map(|(_, rest)| rest);
        if !begins.iter().any(|begin| restricted.unwrap_or(word).starts_with(begin)) {
            continue;
        }
        let end = format!("{indent}}}");
        // What is only declared, in a trait, or stands on one line has no such brace.
        let declared = format!("{indent})");
        let ends = |line: &&str| **line == end || line.starts_with(&declared) && line.ends_with(';');
        let last = lines[start..].iter().position(ends).unwrap_or(0);
        let count = if word.ends_with(';') || word.ends_with('}') { 1 } else { last + 1 };
        if count > FUNCTION_LINES_MAX {
            found.push(format!("{}: a function of {count} lines, more than {FUNCTION_LINES_MAX}", start + 1));
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
    fn a_limit_without_comment_is_found() {
        let source = "/// Rows.\nconst A_MAX: u8 = 1;\nconst B_MAX: u8 = 1;\n\npub(super) const C_BYTES: u8 = 1;\nconst D: u8 = 1;\n\
            /// Of a name.\n#[doc(hidden)]\npub const E_MIN: u8 = 1;\n";
        assert_eq!(limits_without_comment(source), ["5: C_BYTES: a limit of what, and why so much?"]);
    }

    #[test]
    fn a_long_function_is_found() {
        let of = |lines: usize| {
            format!("impl A {{\n    pub(super) async fn b() {{\n{}    }}\n}}\n", "        c();\n".repeat(lines - 2))
        };
        assert!(long_functions(&of(FUNCTION_LINES_MAX)).is_empty());
        assert_eq!(long_functions(&of(FUNCTION_LINES_MAX + 1)), ["2: a function of 71 lines, more than 70"]);
    }
}
