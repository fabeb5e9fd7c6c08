//! Types of pg_catalog's own by name: what other lists say of them, they say of names.

use crate::catalog::Oid;

/// Name, number, number of its arrays. *Source*: pg_type.dat.
const TYPES: [(&str, Oid, Oid); 34] = [
    ("bit", 1560, 1561),
    ("bool", 16, 1000),
    ("bpchar", 1042, 1014),
    ("bytea", 17, 1001),
    ("char", 18, 1002),
    ("cidr", 650, 651),
    ("date", 1082, 1182),
    ("float4", 700, 1021),
    ("float8", 701, 1022),
    ("inet", 869, 1041),
    ("int2", 21, 1005),
    ("int4", 23, 1007),
    ("int8", 20, 1016),
    ("interval", 1186, 1187),
    ("json", 114, 199),
    ("jsonb", 3802, 3807),
    ("jsonpath", 4072, 4073),
    ("macaddr", 829, 1040),
    ("macaddr8", 774, 775),
    ("money", 790, 791),
    ("name", 19, 1003),
    ("numeric", 1700, 1231),
    ("oid", 26, 1028),
    ("text", 25, 1009),
    ("time", 1083, 1183),
    ("timestamp", 1114, 1115),
    ("timestamptz", 1184, 1185),
    ("timetz", 1266, 1270),
    ("tsquery", 3615, 3645),
    ("tsvector", 3614, 3643),
    ("uuid", 2950, 2951),
    ("varbit", 1562, 1563),
    ("varchar", 1043, 1015),
    ("xml", 142, 143),
];

/// The name of a type, or of an array's elements.
pub fn name(of: Oid) -> Option<&'static str> {
    TYPES.iter().find(|(_, number, array)| [*number, *array].contains(&of)).map(|(name, ..)| *name)
}

/// The name of an array's elements.
pub fn element_name(of: Oid) -> Option<&'static str> {
    TYPES.iter().find(|(.., array)| *array == of).map(|(name, ..)| *name)
}
