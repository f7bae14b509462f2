//! What a device takes for the server's state of each node is what the server has.
//!
//! A device compares all that comes with these bases. One that is wrong shows itself later only, as a change that is lost or
//! as devices that differ and do not know it.

use std::collections::BTreeMap;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use crate::harness::api::Api;
use crate::harness::device::Device;

/// States by id of the node, each with its version; null for one that was deleted.
type States = BTreeMap<String, (u64, Value)>;

/// The bases of a device that are not what the server has; a line each.
pub(crate) fn wrong_bases(device: &Device, server: &Api) -> String {
    let there = states_of(server);
    let wrong = bases_of(device).into_iter().filter(|(id, base)| there.get(id) != Some(base));
    wrong.map(|(id, base)| format!("{id}: {base:?}, but {:?}\n", there.get(&id))).collect()
}

/// All that the server has.
fn states_of(server: &Api) -> States {
    let (mut states, mut since) = (States::new(), 0);
    loop {
        let page =
            server.get(&format!("/fs/changes?since={since}&deleted=true")).expect(200).json();
        for node in page["nodes"].as_array().unwrap() {
            let version = node["version"].as_u64().unwrap();
            let state = sorted(node["state"].clone());
            states.insert(node["id"].as_str().unwrap().to_owned(), (version, state));
        }
        since = page["cursor"].as_u64().unwrap();
        if since == page["head"].as_u64().unwrap() {
            return states;
        }
    }
}

/// All that a device takes for what the server has.
fn bases_of(device: &Device) -> States {
    let path = device.state().join("state.db");
    let database = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    let bases =
        "SELECT lower(hex(id)), base, state FROM nodes LEFT JOIN bases USING (ino) WHERE base > 0";
    let mut statement = database.prepare(bases).unwrap();
    let rows = statement.query_map([], |row| {
        let (id, version, state) =
            (row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, Option<String>>(2)?);
        let state = state.map_or(Value::Null, |text| serde_json::from_str(&text).unwrap());
        Ok((id, (version.cast_unsigned(), sorted(state))))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// A state with its names in order.
fn sorted(mut state: Value) -> Value {
    if let Some(entries) = state.get_mut("entries").and_then(Value::as_array_mut) {
        entries.sort_by_key(Value::to_string);
    }
    state
}
