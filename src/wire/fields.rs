//! Views of messages from a server: ErrorResponse fields, CommandComplete tags, ParameterStatus pairs.

/// Iterates over the fields of an ErrorResponse or NoticeResponse body.
pub fn fields(body: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = body;
    std::iter::from_fn(move || {
        let (&code, after) = rest.split_first()?;
        if code == 0 {
            return None;
        }
        let end = memchr::memchr(0, after)?;
        rest = &after[end + 1..];
        Some((code, &after[..end]))
    })
}

/// One field of an ErrorResponse or NoticeResponse body, by its code (`C` is the SQLSTATE, `M` the message).
pub fn field(body: &[u8], code: u8) -> Option<&[u8]> {
    fields(body).find(|(found, _)| *found == code).map(|(_, value)| value)
}

/// Whether an error says something of the moment, not of the text or of what it names: that it waited too long, was to stop, or that
/// something is short. *Source*: manual of PostgreSQL 15, appendix A: classes 40, 53, 55, 57, 58 and XX.
pub fn is_of_moment(sqlstate: [u8; 5]) -> bool {
    matches!(&sqlstate[..2], b"40" | b"53" | b"55" | b"57" | b"58" | b"XX")
}

/// The tag of a CommandComplete body.
pub fn tag(body: &[u8]) -> &[u8] {
    body.strip_suffix(&[0]).unwrap_or(body)
}

/// Splits a command tag into its words and its row count: `INSERT 0 5` is (`INSERT 0`, 5), `CREATE TABLE` has none.
pub fn tag_rows(tag: &[u8]) -> (&[u8], Option<u64>) {
    let Some(space) = memchr::memrchr(b' ', tag) else { return (tag, None) };
    match std::str::from_utf8(&tag[space + 1..]).ok().and_then(|digits| digits.parse().ok()) {
        Some(rows) => (&tag[..space], Some(rows)),
        None => (tag, None),
    }
}

/// Whether a CommandComplete body says that rows were written, `UPDATE 3`, which gives a transaction an id. Others may have, too.
pub fn tells_of_rows_written(body: &[u8]) -> bool {
    let verbs = [&b"INSERT "[..], b"UPDATE ", b"DELETE ", b"MERGE "];
    verbs.iter().any(|verb| body.starts_with(verb)) && !body.ends_with(b" 0\0")
}

/// The values of a DataRow body; `None` is NULL.
pub fn row(body: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = body.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let (head, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(i32::from_be_bytes(*head)).ok();
        let (value, next) = after.split_at(length.unwrap_or(0).min(after.len()));
        rest = next;
        Some(length.map(|_| value))
    })
}

/// The values of a DataRow body in text format.
pub fn text_row(body: &[u8]) -> Vec<Option<String>> {
    row(body).map(|value| value.map(|value| String::from_utf8_lossy(value).into_owned())).collect()
}

/// Name and value of a ParameterStatus body.
pub fn parameter(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(0, body)?;
    let value = &body[end + 1..];
    Some((&body[..end], value.strip_suffix(&[0])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_without_rows_stays_whole() {
        assert_eq!(tag_rows(b"CREATE TABLE"), (&b"CREATE TABLE"[..], None));
        assert_eq!(tag_rows(b"INSERT 0 5"), (&b"INSERT 0"[..], Some(5)));
        assert_eq!(tag_rows(b"SELECT 0"), (&b"SELECT"[..], Some(0)));
    }

    #[test]
    fn only_a_tag_that_counts_rows_says_that_they_were_written() {
        let bodies = ["INSERT 0 10", "UPDATE 1", "DELETE 20", "MERGE 3"].map(|tag| format!("{tag}\0"));
        assert!(bodies.iter().all(|body| tells_of_rows_written(body.as_bytes())));
        let bodies = ["INSERT 0 0", "UPDATE 0", "SELECT 5", "COPY 5", "CREATE TABLE", ""].map(|tag| format!("{tag}\0"));
        assert!(!bodies.iter().any(|body| tells_of_rows_written(body.as_bytes())));
    }

    #[test]
    fn fields_end_at_the_terminator_or_the_end() {
        assert_eq!(field(b"SERROR\0C42601\0\0", b'C'), Some(&b"42601"[..]));
        assert_eq!(field(b"SERROR\0C426", b'C'), None);
    }

    #[test]
    fn a_row_has_values_and_nulls() {
        let row = b"\0\x02\0\0\0\x02on\xff\xff\xff\xff";
        assert_eq!(text_row(row), [Some("on".to_owned()), None]);
        assert!(text_row(b"").is_empty());
    }

    #[test]
    fn a_parameter_has_a_name_and_a_value() {
        assert_eq!(parameter(b"TimeZone\0UTC\0"), Some((&b"TimeZone"[..], &b"UTC"[..])));
    }
}
