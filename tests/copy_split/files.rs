//! COPY files to try: mostly well-formed, some of them spoilt.

use pgbraid::wire::copy::Format;
use proptest::prelude::*;

/// A file and how to read it.
#[derive(Clone, Debug)]
pub struct CopyFile {
    /// Its format.
    pub format: Format,
    /// Columns of the table.
    pub columns: usize,
    /// Which column is the key.
    pub key_field: usize,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// Text or CSV.
pub fn line_file() -> impl Strategy<Value = CopyFile> {
    let shape = prop_oneof![3 => Just(3usize), 1 => Just(1usize)].prop_flat_map(|columns| (Just(columns), 0..columns));
    (line_format(), shape).prop_flat_map(|(format, (columns, key_field))| {
        let data = line_data(&format, columns);
        (Just(format), data).prop_map(move |(format, data)| CopyFile { format, columns, key_field, data })
    })
}

/// Binary.
pub fn binary_file() -> impl Strategy<Value = CopyFile> {
    (binary_data(), 0usize..3).prop_map(|(data, key_field)| CopyFile {
        format: Format::Binary,
        columns: 3,
        key_field,
        data,
    })
}

fn line_format() -> impl Strategy<Value = Format> {
    let text =
        (prop::sample::select(vec!["\\N", "", "nil", "7"]), prop::sample::select(b"\t\t,|A".to_vec()), any::<bool>())
            .prop_map(|(null, delimiter, header)| Format::Text { delimiter, null: null.into(), header });
    let quotes = prop::sample::select(vec![
        (b'"', b'"'),
        (b'"', b'"'),
        (b'"', b'\\'),
        (b'\'', b'"'),
        (b'a', b'\\'),
        (b'"', b','),
        (b'"', b'.'),
    ]);
    let csv = (prop::sample::select(vec!["", "", "nil", "7"]), quotes, prop::sample::select(b",,|\t".to_vec()));
    let csv = (csv, any::<(bool, bool, bool)>()).prop_map(
        |((null, (quote, escape), delimiter), (force_not_null, force_null, header))| Format::Csv {
            delimiter,
            quote,
            escape,
            null: null.into(),
            force_not_null,
            force_null,
            header,
        },
    );
    prop_oneof![text, csv].prop_filter("it is refused", Format::is_splittable)
}

/// Lines that mostly have the right number of fields and end alike, sometimes with a nasty insertion.
fn line_data(format: &Format, columns: usize) -> impl Strategy<Value = Vec<u8>> + use<> {
    let delimiter = match format {
        Format::Text { delimiter, .. } | Format::Csv { delimiter, .. } => *delimiter,
        Format::Binary => b'\t',
    };
    let words = prop::sample::select(match format {
        Format::Csv { quote, escape, .. } => csv_words(*quote, *escape, delimiter),
        Format::Text { .. } | Format::Binary => text_words(delimiter),
    });
    let width = prop_oneof![20 => Just(columns), 1 => 0usize..5];
    let line = width.prop_flat_map(move |width| prop::collection::vec(words.clone(), width));
    let line = line.prop_map(move |fields| fields.join(&[delimiter][..]));
    let end = prop::sample::select(vec![&b"\n"[..], b"\n", b"\r\n", b"\r"]);
    let tail = prop::sample::select(vec![
        &b""[..],
        b"",
        b"",
        b"\\.",
        b"\\.\n",
        b"\\.\r\n",
        b"\\.\r",
        b"x",
        b"\\.\nrub\r\n\rbish\xff",
    ]);
    let nasty = prop::sample::select(vec![
        &b"\\."[..],
        b"\\.\n",
        b"\n",
        b"\r",
        b"\r\n",
        b"\\",
        b"\\.x",
        b"\"",
        b"\"\"",
        b",",
        b"\t",
        b"\\\n",
        b"\\\r\n",
        b"\xff",
        b"\0",
    ]);
    let insertion = prop_oneof![3 => Just(None), 1 => (nasty, any::<prop::sample::Index>()).prop_map(Some)];
    (prop::collection::vec(line, 0..7), end, tail, any::<bool>(), insertion).prop_map(
        |(lines, end, tail, last_end, insertion)| {
            let mut data = lines.join(end);
            if last_end || !tail.is_empty() {
                data.extend_from_slice(end);
            }
            data.extend_from_slice(tail);
            if let Some((nasty, place)) = insertion {
                let at = place.index(data.len() + 1);
                data.splice(at..at, nasty.iter().copied());
            }
            data
        },
    )
}

fn text_words(delimiter: u8) -> Vec<Vec<u8>> {
    let words: &[&[u8]] = &[
        b"",
        b"a",
        b"7",
        b"nil",
        b"\\N",
        b"\\\\",
        b"\\\\.",
        b"\\t",
        b"\\n\\r",
        b"\\b\\f\\v",
        b"\\101",
        b"\\7",
        b"\\x41",
        b"\\x4",
        b"\\x",
        b"\\xg",
        b"\\q",
        b"\\\n",
        b"Z\xc3\xbcrich",
        b"\\303\\274",
        b"\\xff",
        b" a ",
        b"\"",
        b"a,b",
        b"\\0",
    ];
    let mut words: Vec<_> = words.iter().map(|word| word.to_vec()).filter(|word| !word.contains(&delimiter)).collect();
    words.push(vec![b'\\', delimiter]);
    words
}

fn csv_words(quote: u8, escape: u8, delimiter: u8) -> Vec<Vec<u8>> {
    // q, e and d stand for the quote, the escape and the delimiter.
    let words: &[&[u8]] = &[
        b"",
        b"7",
        b"nil",
        b"qq",
        b"qnilq",
        b"q7q",
        b"a",
        b"qaq",
        b"qadbq",
        b"qaeqbq",
        b"qeeq",
        b"qeaq",
        b"aqbqc",
        b"qaqqbq",
        b"qa\nbq",
        b"qa\r\nbq",
        b"qa\rbq",
        b"q\\.\nq",
        b"\\N",
        b"\\",
        b"a\\.",
        b"Z\xc3\xbcrich",
        b" qaq",
        b"e",
        b"\\.q",
        b"\\.",
    ];
    let letter = |byte: u8| match byte {
        b'q' => quote,
        b'e' => escape,
        b'd' => delimiter,
        other => other,
    };
    words.iter().map(|word| word.iter().copied().map(letter).collect()).collect()
}

fn binary_data() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        6 => "[a-zä]{0,6}".prop_map(|s| [&(s.len() as i32).to_be_bytes()[..], s.as_bytes()].concat()),
        2 => Just((-1i32).to_be_bytes().to_vec()),
    ];
    let spoilt = prop::sample::select(vec![&[255u8, 255, 255, 254][..], &[0, 0, 0, 9, 1], &[0, 0, 0, 1, 0], &[0, 0]]);
    let spoilt = prop_oneof![20 => Just(None), 1 => spoilt.prop_map(Some)];
    let width = prop_oneof![20 => Just(3usize), 1 => 0usize..5];
    let row = width.prop_flat_map(move |width| prop::collection::vec(field.clone(), width));
    let row = (row, spoilt).prop_map(|(fields, spoilt)| {
        [&(fields.len() as i16).to_be_bytes()[..], &fields.concat(), spoilt.unwrap_or_default()].concat()
    });
    let header = |rest: &[u8]| [b"PGCOPY\n\xff\r\n\0", rest].concat();
    let header = prop_oneof![
        9 => Just(header(&[0; 8])),
        1 => prop::sample::select(vec![
            header(&[0, 0, 5, 5, 0, 0, 0, 3, b'e', b'x', b't']),
            header(&[0, 1, 0, 0, 0, 0, 0, 0]),
            header(&[0, 2, 0, 0, 0, 0, 0, 0]),
            header(&[0, 0, 0, 0, 255, 0, 0, 0]),
            b"PGCOPY\n\xff\n\n\0\0\0\0\0\0\0\0\0".to_vec(),
        ]),
    ];
    let tail = prop::sample::select(vec![&[255u8, 255][..], &[255, 255], &[], &[255, 255, 0], &[255, 254], &[0]]);
    let cut = prop_oneof![5 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    (header, prop::collection::vec(row, 0..6), tail, cut).prop_map(|(header, rows, tail, cut)| {
        let mut data = [&header[..], &rows.concat(), tail].concat();
        if let Some(cut) = cut {
            data.truncate(cut.index(data.len() + 1));
        }
        data
    })
}
