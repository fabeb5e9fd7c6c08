//! Types of pg_catalog: their numbers, and which name has which. What other lists say of types, they say of names.

use crate::catalog::Oid;

/// Numbers of those that the planner names. *Source*: pg_type.dat.
#[allow(missing_docs)]
pub mod oid {
    use crate::catalog::Oid;
    pub const BOOL: Oid = 16;
    pub const INT8: Oid = 20;
    pub const INT2: Oid = 21;
    pub const INT4: Oid = 23;
    pub const TEXT: Oid = 25;
    pub const FLOAT4: Oid = 700;
    pub const FLOAT8: Oid = 701;
    pub const UNKNOWN: Oid = 705;
    pub const MONEY: Oid = 790;
    pub const INT2_ARRAY: Oid = 1005;
    pub const INT4_ARRAY: Oid = 1007;
    pub const TEXT_ARRAY: Oid = 1009;
    pub const BPCHAR_ARRAY: Oid = 1014;
    pub const VARCHAR_ARRAY: Oid = 1015;
    pub const INT8_ARRAY: Oid = 1016;
    pub const BPCHAR: Oid = 1042;
    pub const VARCHAR: Oid = 1043;
    pub const DATE: Oid = 1082;
    pub const TIMESTAMP: Oid = 1114;
    pub const TIMESTAMPTZ: Oid = 1184;
    pub const INTERVAL: Oid = 1186;
    pub const NUMERIC: Oid = 1700;
    pub const UUID: Oid = 2950;
    pub const UUID_ARRAY: Oid = 2951;
}

/// Name, number, number of its arrays. *Source*: pg_type.dat.
const TYPES: [(&str, Oid, Oid); 34] = [
    ("bit", 1560, 1561),
    ("bool", oid::BOOL, 1000),
    ("bpchar", oid::BPCHAR, oid::BPCHAR_ARRAY),
    ("bytea", 17, 1001),
    ("char", 18, 1002),
    ("cidr", 650, 651),
    ("date", oid::DATE, 1182),
    ("float4", oid::FLOAT4, 1021),
    ("float8", oid::FLOAT8, 1022),
    ("inet", 869, 1041),
    ("int2", oid::INT2, oid::INT2_ARRAY),
    ("int4", oid::INT4, oid::INT4_ARRAY),
    ("int8", oid::INT8, oid::INT8_ARRAY),
    ("interval", oid::INTERVAL, 1187),
    ("json", 114, 199),
    ("jsonb", 3802, 3807),
    ("jsonpath", 4072, 4073),
    ("macaddr", 829, 1040),
    ("macaddr8", 774, 775),
    ("money", oid::MONEY, 791),
    ("name", 19, 1003),
    ("numeric", oid::NUMERIC, 1231),
    ("oid", 26, 1028),
    ("text", oid::TEXT, oid::TEXT_ARRAY),
    ("time", 1083, 1183),
    ("timestamp", oid::TIMESTAMP, 1115),
    ("timestamptz", oid::TIMESTAMPTZ, 1185),
    ("timetz", 1266, 1270),
    ("tsquery", 3615, 3645),
    ("tsvector", 3614, 3643),
    ("uuid", oid::UUID, oid::UUID_ARRAY),
    ("varbit", 1562, 1563),
    ("varchar", oid::VARCHAR, oid::VARCHAR_ARRAY),
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
