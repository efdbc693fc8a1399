//! Objects that must be objects: serde also reads a struct from a list, field by field in the order
//! in which we happen to declare them. And labels, of which most are skipped without being built.

use std::{borrow::Cow, collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, Visitor, value::MapAccessDeserializer},
};

struct Map<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Map<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Only<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Only<T> {
            type Value = Map<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Map)
            }
        }
        from.deserialize_map(Only(PhantomData))
    }
}

/// An object.
pub(super) fn map<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Map::deserialize(from).map(|map| map.0)
}

/// An object, or null.
pub(super) fn map_or_null<'de, D, T>(from: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::<Map<T>>::deserialize(from)?.map(|map| map.0))
}

/// A list of objects, or null.
pub(super) fn maps_or_null<'de, D, T>(from: D) -> Result<Option<Vec<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let maps = Option::<Vec<Map<T>>>::deserialize(from)?;
    Ok(maps.map(|maps| maps.into_iter().map(|map| map.0).collect()))
}

/// The labels and annotations that are read, of all kinds. Others (an annotation may hold the whole
/// object once more) are skipped without being built.
const READ: [&str; 6] = [
    "endpoints.kubernetes.io/last-change-trigger-time",
    "ingressclass.kubernetes.io/is-default-class",
    "kubernetes.io/service-name",
    "service.kubernetes.io/headless",
    "service.kubernetes.io/service-proxy-name",
    "topology.kubernetes.io/zone",
];

/// Labels or annotations, as far as they are read.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<(&'static str, String)>);

impl Texts {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Only;
        impl<'de> Visitor<'de> for Only {
            type Value = Texts;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    match name {
                        Some(name) => texts.push((name, map.next_value()?)),
                        None => {
                            let IgnoredAny = map.next_value()?;
                        }
                    }
                }
                Ok(Texts(texts))
            }
        }
        from.deserialize_map(Only)
    }
}

/// A name that is read, or another.
struct Name(Option<&'static str>);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Only;
        impl Visitor<'_> for Only {
            type Value = Name;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
                Ok(Name(READ.into_iter().find(|known| *known == text)))
            }
        }
        from.deserialize_str(Only)
    }
}

/// A text, borrowed from the JSON where it has no escapes. (In an `Option` or a list, serde itself
/// would copy a `Cow`.)
#[derive(Debug)]
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Only;
        impl<'de> Visitor<'de> for Only {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        from.deserialize_str(Only)
    }
}

/// What `metadata.labels` is read as: [`Texts`], or all of them.
pub(super) type AllTexts = BTreeMap<String, String>;
