//! Thrift read by Apache's crate, without any schema.

use std::collections::BTreeMap;

use thrift::protocol::{
    TBinaryInputProtocol, TCompactInputProtocol, TInputProtocol, TMessageType, TType,
};

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Val {
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    List(Vec<Val>),
    Struct(BTreeMap<i16, Val>),
}

impl Val {
    /// A field, if it is there.
    pub(crate) fn get(&self, field: i16) -> Option<&Val> {
        match self {
            Self::Struct(fields) => fields.get(&field),
            other => panic!("no struct: {other:?}"),
        }
    }

    pub(crate) fn int(&self) -> i64 {
        match self {
            Self::Int(n) => *n,
            other => panic!("no number: {other:?}"),
        }
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(self.bytes()).unwrap()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            other => panic!("no bytes: {other:?}"),
        }
    }

    pub(crate) fn list(&self) -> &[Val] {
        match self {
            Self::List(items) => items,
            other => panic!("no list: {other:?}"),
        }
    }
}

fn read(from: &mut dyn TInputProtocol, kind: TType) -> Val {
    match kind {
        TType::Bool => Val::Bool(from.read_bool().unwrap()),
        TType::I08 => Val::Int(from.read_i8().unwrap().into()),
        TType::I16 => Val::Int(from.read_i16().unwrap().into()),
        TType::I32 => Val::Int(from.read_i32().unwrap().into()),
        TType::I64 => Val::Int(from.read_i64().unwrap()),
        TType::Double => Val::Double(from.read_double().unwrap()),
        TType::String => Val::Bytes(from.read_bytes().unwrap()),
        TType::List => {
            let list = from.read_list_begin().unwrap();
            let items = (0..list.size).map(|_| read(from, list.element_type));
            let items = items.collect();
            from.read_list_end().unwrap();
            Val::List(items)
        }
        TType::Struct => {
            from.read_struct_begin().unwrap();
            let mut fields = BTreeMap::new();
            loop {
                let field = from.read_field_begin().unwrap();
                if field.field_type == TType::Stop {
                    break;
                }
                let value = read(from, field.field_type);
                assert_eq!(fields.insert(field.id.unwrap(), value), None);
                from.read_field_end().unwrap();
            }
            from.read_struct_end().unwrap();
            Val::Struct(fields)
        }
        other => panic!("unexpected {other}"),
    }
}

/// A list in the binary protocol that is nothing but itself.
pub(crate) fn binary_list(mut bytes: &[u8]) -> Vec<Val> {
    let list = read(
        &mut TBinaryInputProtocol::new(&mut bytes, true),
        TType::List,
    );
    assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
    list.list().to_vec()
}

/// Name and arguments of a one-way call in the compact protocol.
pub(crate) fn compact_call(mut bytes: &[u8]) -> (String, Val) {
    let mut protocol = TCompactInputProtocol::new(&mut bytes);
    let message = protocol.read_message_begin().unwrap();
    assert_eq!(message.message_type, TMessageType::OneWay);
    let arguments = read(&mut protocol, TType::Struct);
    protocol.read_message_end().unwrap();
    drop(protocol);
    assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
    (message.name, arguments)
}
