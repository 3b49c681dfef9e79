//! What a Jaeger agent would read from a datagram, by a decoder that is not
//! the project's.

use std::collections::BTreeMap;
use std::io::Cursor;

use anyhow::{Context as _, Result, ensure};
use thrift::protocol::{TCompactInputProtocol, TInputProtocol, TType};

/// One span of a batch, as far as it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JaegerSpan {
    /// `process.serviceName`.
    pub(super) service: String,
    /// The lower half of the trace id.
    pub(super) trace: u64,
    /// Its id.
    pub(super) id: u64,
}

/// A value of any type.
enum Value {
    Fields(BTreeMap<i16, Value>),
    List(Vec<Value>),
    Number(i64),
    Text(Vec<u8>),
    Other,
}

/// The spans of an `emitBatch` (`agent.thrift` and `jaeger.thrift` of
/// jaeger-idl).
pub(super) fn spans(datagram: &[u8]) -> Result<Vec<JaegerSpan>> {
    let mut input = TCompactInputProtocol::new(Cursor::new(datagram));
    let message = input.read_message_begin()?;
    ensure!(message.name == "emitBatch", "a call of {}", message.name);
    let arguments = read(&mut input, TType::Struct)?;
    let batch = field(&arguments, 1).context("no batch")?;
    let process = field(batch, 1).context("no process")?;
    let Some(Value::Text(service)) = field(process, 1) else {
        anyhow::bail!("no service name");
    };
    let Some(Value::List(spans)) = field(batch, 2) else {
        anyhow::bail!("no spans");
    };
    let number = |span: &Value, id| match field(span, id) {
        Some(Value::Number(number)) => Ok(number.cast_unsigned()),
        _ => anyhow::bail!("no number in field {id}"),
    };
    let span = |span| {
        Ok(JaegerSpan {
            service: String::from_utf8(service.clone())?,
            trace: number(span, 1)?,
            id: number(span, 3)?,
        })
    };
    spans.iter().map(span).collect()
}

fn field(of: &Value, id: i16) -> Option<&Value> {
    match of {
        Value::Fields(fields) => fields.get(&id),
        _ => None,
    }
}

fn read(input: &mut impl TInputProtocol, kind: TType) -> Result<Value> {
    Ok(match kind {
        TType::Bool => {
            input.read_bool()?;
            Value::Other
        }
        TType::I08 => Value::Number(input.read_i8()?.into()),
        TType::I16 => Value::Number(input.read_i16()?.into()),
        TType::I32 => Value::Number(input.read_i32()?.into()),
        TType::I64 => Value::Number(input.read_i64()?),
        TType::Double => {
            input.read_double()?;
            Value::Other
        }
        TType::String => Value::Text(input.read_bytes()?),
        TType::Struct => {
            let mut fields = BTreeMap::new();
            input.read_struct_begin()?;
            loop {
                let field = input.read_field_begin()?;
                if field.field_type == TType::Stop {
                    break;
                }
                let id = field.id.context("a field without a number")?;
                fields.insert(id, read(input, field.field_type)?);
                input.read_field_end()?;
            }
            input.read_struct_end()?;
            Value::Fields(fields)
        }
        TType::List => {
            let list = input.read_list_begin()?;
            let values = (0..list.size).map(|_| read(input, list.element_type));
            let values = values.collect::<Result<_>>()?;
            input.read_list_end()?;
            Value::List(values)
        }
        other => anyhow::bail!("type {other} is in no Jaeger span"),
    })
}
