//! Byte strings in JSON: names that a directory may hold, and bytes that are usually text.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The longest name of an entry, in bytes: what Linux file systems take (`NAME_MAX`).
pub const NAME_MAX: usize = 255;

/// Bytes that are usually UTF-8: a JSON string then, else `{"base64": "…"}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

#[derive(Serialize, Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Wire {
    Text(String),
    Binary { base64: String },
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_not_utf8) => Wire::Binary { base64: BASE64.encode(&self.0) }.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Wire::deserialize(deserializer)? {
            Wire::Text(text) => Ok(Self(text.into_bytes())),
            Wire::Binary { base64 } => BASE64.decode(base64).map(Self).map_err(de::Error::custom),
        }
    }
}

/// A name that an entry may have: 1 to 255 bytes, neither `/` nor NUL in it, not `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Vec<u8>);

/// Why some bytes cannot be the name of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No bytes at all.
    #[error("a name may not be empty")]
    Empty,
    /// More than [`NAME_MAX`] bytes.
    #[error("a name may not be longer than 255 bytes")]
    TooLong,
    /// `.` or `..`, which every directory has already.
    #[error("a name may not be '.' or '..'")]
    Reserved,
    /// A `/` or a NUL.
    #[error("a name may not hold '/' or NUL")]
    Forbidden,
}

impl Name {
    /// Checks that `bytes` can be a name.
    ///
    /// # Errors
    /// [`NameError`] says which rule they break.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, NameError> {
        let bytes = bytes.into();
        match bytes.as_slice() {
            [] => Err(NameError::Empty),
            [b'.'] | [b'.', b'.'] => Err(NameError::Reserved),
            long if long.len() > NAME_MAX => Err(NameError::TooLong),
            name if name.iter().any(|byte| matches!(byte, b'/' | 0)) => Err(NameError::Forbidden),
            _ => Ok(Self(bytes)),
        }
    }

    /// The bytes of the name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name for a person's eyes; not reversible when it is not UTF-8.
    pub fn display(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes(self.0.clone()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(Bytes::deserialize(deserializer)?.0).map_err(de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
mod openapi {
    //! Both are a string, or an object with the bytes in base64.
    use utoipa::openapi::RefOr;
    use utoipa::openapi::schema::{
        AdditionalProperties, ObjectBuilder, OneOfBuilder, Schema, Type,
    };

    /// Base64 with padding, no bit set that stands for nothing.
    const BASE64: &str =
        "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";
    /// Neither `.` nor `..`, and no `/` and no NUL in it.
    const NAME: &str = r"^([^/\x00.]|\.[^/\x00.]|\.\.[^/\x00])[^/\x00]*$";

    fn either(text: ObjectBuilder, base64: ObjectBuilder) -> RefOr<Schema> {
        let base64 = base64.schema_type(Type::String).pattern(Some(BASE64));
        let binary = ObjectBuilder::new()
            .schema_type(Type::Object)
            .property("base64", base64)
            .required("base64")
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(false)));
        OneOfBuilder::new().item(text.schema_type(Type::String)).item(binary).into()
    }

    impl utoipa::PartialSchema for super::Bytes {
        fn schema() -> RefOr<Schema> {
            either(ObjectBuilder::new(), ObjectBuilder::new())
        }
    }
    impl utoipa::ToSchema for super::Bytes {}
    impl utoipa::PartialSchema for super::Name {
        fn schema() -> RefOr<Schema> {
            let (text, base64) = (ObjectBuilder::new(), ObjectBuilder::new());
            let text = text.max_length(Some(super::NAME_MAX)).pattern(Some(NAME));
            either(
                text,
                base64.min_length(Some(4)).max_length(Some(super::NAME_MAX.div_ceil(3) * 4)),
            )
        }
    }
    impl utoipa::ToSchema for super::Name {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_no_directory_can_hold_is_refused() {
        assert_eq!(Name::new(""), Err(NameError::Empty));
        assert_eq!(Name::new("."), Err(NameError::Reserved));
        assert_eq!(Name::new(".."), Err(NameError::Reserved));
        assert_eq!(Name::new("a/b"), Err(NameError::Forbidden));
        assert_eq!(Name::new("a\0"), Err(NameError::Forbidden));
        assert_eq!(Name::new(vec![b'x'; 256]), Err(NameError::TooLong));
        assert!(Name::new(vec![b'x'; 255]).is_ok());
        assert!(serde_json::from_str::<Name>("\"a/b\"").is_err());
    }

    #[test]
    fn text_travels_as_text_and_other_bytes_as_base64() {
        let json = |bytes: &[u8]| serde_json::to_string(&Bytes(bytes.to_vec())).unwrap();
        assert_eq!(json("秒".as_bytes()), "\"秒\"");
        assert_eq!(json(&[0xff, 0xfe]), r#"{"base64":"//4="}"#);
        assert!(serde_json::from_str::<Bytes>(r#"{"base64":"//4=","more":1}"#).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_trip(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let json = serde_json::to_string(&Bytes(bytes.clone())).unwrap();
            prop_assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap(), Bytes(bytes));
        }
    }
}
