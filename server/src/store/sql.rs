//! Updates in SQL's own words, for those that every reservation and every report runs: diesel prepares its own anew each
//! time, since their text may depend on their values.

use super::Conn;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, QueryFragment, QueryId};
use diesel::sql_types::{BigInt, Nullable, Text};

type Backend = <Conn as Connection>::Backend;

pub(crate) enum Value<'a> {
    Number(i64),
    NumberOrNull(Option<i64>),
    Text(&'a str),
    TextOrNull(Option<&'a str>),
}

/// Runs a statement that has one `?` for each of the values.
pub(crate) fn execute(conn: &mut Conn, text: &'static str, values: &[Value<'_>]) -> QueryResult<usize> {
    conn.execute_returning_count(&Statement { text, values })
}

struct Statement<'a> {
    text: &'static str,
    values: &'a [Value<'a>],
}

impl QueryFragment<Backend> for Statement<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, Backend>) -> QueryResult<()> {
        let mut values = self.values.iter();
        for (number, part) in self.text.split('?').enumerate() {
            if number > 0 {
                match values.next() {
                    Some(Value::Number(number)) => pass.push_bind_param::<BigInt, _>(number)?,
                    Some(Value::NumberOrNull(number)) => {
                        pass.push_bind_param::<Nullable<BigInt>, _>(number)?;
                    }
                    Some(Value::Text(text)) => pass.push_bind_param::<Text, _>(text)?,
                    Some(Value::TextOrNull(text)) => pass.push_bind_param::<Nullable<Text>, _>(text)?,
                    None => {
                        return Err(diesel::result::Error::QueryBuilderError("a `?` without a value".into()));
                    }
                }
            }
            pass.push_sql(part);
        }
        Ok(())
    }
}

/// Kept prepared under its text, which says all there is to say.
impl QueryId for Statement<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}
