//! `config/peerway.schema.json`: the table of keys as a JSON Schema, for editors.

use serde_json::{Map, Value as Json, json};

use super::keys::{self, Choice, HASH, Key, Kind};
use super::scalar::{RATIOS, Scalar};
use super::section;
use super::tree::{Node, Value};
use super::{Catalogue, Takes};

/// The whole file.
pub(super) fn render(catalogue: &Catalogue) -> String {
    let writer = Writer { catalogue };
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Peerway configuration",
        "description": "One file of the configuration of Peerway, a load-balancing TCP reverse proxy.",
    });
    extend(&mut root, writer.map(keys::ROOT));
    root["$defs"] = json!({
        "variable": {
            "description": "Text with an environment variable, expanded when the file is read.",
            "type": "string",
            "pattern": "\\$\\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}",
        },
        "listener": writer.map(keys::LISTENER),
        "pool": writer.map(keys::POOL),
    });
    let mut text = serde_json::to_string_pretty(&root).unwrap_or_default();
    text.push('\n');
    text
}

struct Writer<'a> {
    catalogue: &'a Catalogue,
}

impl Writer<'_> {
    fn map(&self, keys: &'static [Key]) -> Json {
        let properties: Map<_, _> = keys.iter().map(|key| (key.name.to_owned(), self.key(key))).collect();
        let mut schema = json!({
            "type": ["object", "null"],
            "properties": properties,
            "patternProperties": { "^x-": true },
            "additionalProperties": false,
        });
        // What a listener or pool must have may come from `defaults`, and a file may be one of several.
        let whole = std::ptr::eq(keys, keys::LISTENER) || std::ptr::eq(keys, keys::POOL);
        let required: Vec<_> = keys.iter().filter(|key| key.required && !whole).map(|key| key.name).collect();
        if !required.is_empty() {
            schema["type"] = json!("object");
            schema["required"] = json!(required);
        }
        schema
    }

    fn key(&self, key: &Key) -> Json {
        let mut schema = Json::Object(Map::new());
        if key.later {
            schema["description"] = json!(format!("Not supported yet. {}", key.doc));
            schema["not"] = json!({});
            return schema;
        }
        schema["description"] = json!(key.doc);
        if let Some(default) = section::default(key).filter(|_| key.default != Some("{}")) {
            schema["default"] = plain(&default);
        }
        let kind = self.kind(key.kind);
        let kind = if key.can_be_taken_back() { json!({ "anyOf": [{ "const": "off" }, kind] }) } else { kind };
        extend(&mut schema, kind);
        schema
    }

    fn kind(&self, kind: Kind) -> Json {
        match kind {
            Kind::Scalar(scalar) => self::scalar(scalar),
            Kind::Map(keys) if std::ptr::eq(keys, keys::LISTENER) => json!({ "$ref": "#/$defs/listener" }),
            Kind::Map(keys) if std::ptr::eq(keys, keys::POOL) => json!({ "$ref": "#/$defs/pool" }),
            Kind::Map(keys) => self.map(keys),
            Kind::Named(keys) => self.named(&Kind::Map(keys)),
            Kind::Values(kind) => self.named(kind),
            Kind::List(item) => {
                let item = self.kind(*item);
                json!({ "anyOf": [item, { "type": "array", "items": item }] })
            }
            Kind::Either(kinds) => json!({ "anyOf": kinds.iter().map(|kind| self.kind(*kind)).collect::<Vec<_>>() }),
            Kind::Choice(choices) => self.choice(choices),
            Kind::Policy => self.policy(),
        }
    }

    fn named(&self, kind: &Kind) -> Json {
        json!({
            "type": ["object", "null"],
            "patternProperties": { "^x-": true },
            "propertyNames": { "pattern": "^[^/\\s]{1,128}$" },
            "additionalProperties": self.kind(*kind),
        })
    }

    fn choice(&self, choices: &'static [Choice]) -> Json {
        let mut forms: Vec<Json> = choices
            .iter()
            .flat_map(|choice| {
                let word = json!({ "const": choice.name, "description": choice.doc });
                let value = choice
                    .value
                    .map_or(json!({ "type": ["object", "null"], "maxProperties": 0 }), |kind| self.kind(kind));
                let long = one_key(choice.name, choice.doc, value);
                if choice.needs_value { vec![long] } else { vec![word, long] }
            })
            .collect();
        forms.push(variable());
        json!({ "anyOf": forms })
    }

    fn policy(&self) -> Json {
        let built = self.catalogue.policies;
        let empty = json!({ "type": ["object", "null"], "maxProperties": 0 });
        let mut forms = Vec::new();
        for policy in built {
            forms.push(json!({ "const": policy.name, "description": policy.summary }));
            let parameters = if policy.takes == Takes::Hash { self.map(HASH) } else { empty.clone() };
            forms.push(one_key(policy.name, policy.summary, parameters));
        }
        forms.push(variable());
        json!({ "anyOf": forms })
    }
}

/// A map with `name` as its only key.
fn one_key(name: &str, doc: &str, value: Json) -> Json {
    json!({
        "type": "object",
        "description": doc,
        "properties": { name: value },
        "required": [name],
        "additionalProperties": false,
    })
}

/// Where a value must not be plain text, a variable may still stand.
fn variable() -> Json {
    json!({ "$ref": "#/$defs/variable" })
}

fn scalar(scalar: Scalar) -> Json {
    let exact = match scalar {
        Scalar::Bool => json!({ "type": "boolean" }),
        Scalar::Count { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Scalar::Weight => json!({ "type": "integer", "minimum": 1, "maximum": 65_535 }),
        Scalar::Ratio => json!({ "type": "number", "minimum": RATIOS.start(), "maximum": RATIOS.end() }),
        Scalar::Duration { .. } => pattern("^([0-9]+(us|ms|s|m|h|d))+$"),
        Scalar::Size => pattern("^[0-9]+([KMGT]i)?B$"),
        Scalar::Rate { min: 0 } => pattern("^[0-9]+/s$"),
        Scalar::Rate { .. } => pattern("^0*[1-9][0-9]*/s$"),
        Scalar::ByteRate => pattern("^0*[1-9][0-9]*([KMGT]i)?B/s$"),
        Scalar::Share => pattern("^(100(\\.0+)?|[0-9]{1,2}(\\.[0-9]+)?)%$"),
        Scalar::Factor => pattern("^[0-9]+(\\.[0-9]+)?x$"),
        Scalar::Text | Scalar::Path | Scalar::Filter | Scalar::Regex => {
            return json!({ "type": "string", "minLength": 1 });
        }
        Scalar::Name => pattern("^[^/\\s]{1,128}$"),
        Scalar::Ip => pattern("^([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]+$"),
        Scalar::Endpoint => pattern("^(unix:.+|([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]+)$"),
        Scalar::Bind => pattern("^(unix:.+|([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]+(-[0-9]+)?)$"),
        Scalar::Target => pattern("^(unix:.+|([0-9A-Za-z._-]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]+)$"),
        Scalar::Source => pattern("^[0-9A-Fa-f:.]+$"),
        Scalar::Network => pattern("^[0-9A-Fa-f:.]+/[0-9]{1,3}$"),
        Scalar::Mode => pattern("^[0-7]{3,4}$"),
        Scalar::Hex => pattern("^([0-9A-Fa-f]{2})+$"),
        Scalar::Statuses => {
            json!({ "anyOf": [{ "type": "integer", "minimum": 200, "maximum": 599 }, pattern("^[2-5][0-9]{2}(-[2-5][0-9]{2})?$")] })
        }
        Scalar::Method => pattern("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"),
        Scalar::Token => pattern("^[!-~]+$"),
        Scalar::HttpPath => pattern("^/[!-~]*$"),
        Scalar::Congestion => pattern("^[0-9A-Za-z_-]{1,15}$"),
        Scalar::Interval => pattern("^interval +([0-9]+(us|ms|s|m|h|d))+$"),
    };
    json!({ "anyOf": [exact, variable()] })
}

fn pattern(pattern: &str) -> Json {
    json!({ "type": "string", "pattern": pattern })
}

/// A default as JSON.
fn plain(node: &Node) -> Json {
    match &node.value {
        Value::Bool(value) => json!(value),
        Value::Int(number) => u64::try_from(*number).map_or(Json::Null, Json::from),
        Value::Text(text) => json!(text),
        Value::List(items) => Json::Array(items.iter().map(plain).collect()),
        _ => Json::Null,
    }
}

fn extend(schema: &mut Json, more: Json) {
    if let (Json::Object(schema), Json::Object(more)) = (schema, more) {
        schema.extend(more);
    }
}
