//! Templates: text with `{{lead.name}}` or `{{lead.name|there}}` in it. No logic; a value is data and is never expanded again.

use std::collections::BTreeMap;

/// How a value is written into its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Escape {
    /// Plain text of several lines: control characters but line ends and tabs go.
    Text,
    /// One line, for a subject: all control characters become spaces.
    Line,
    /// HTML text and attributes.
    Html,
}

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// `{{` without its `}}`.
    #[error("{{{{ at character {at} is never closed")]
    Unclosed {
        /// Counted from 1.
        at: usize,
    },
    /// A name that stands for nothing here.
    #[error("there is no variable {0:?}")]
    Unknown(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Words(String),
    Variable { name: String, default: String },
}

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

/// The variables that a mail may name; below `lead.fields.` every name goes.
pub(crate) const VARIABLES: &[&str] = &[
    "lead.name",
    "lead.email",
    "lead.phone",
    "lead.business_type",
    "lead.stage",
    "agent_name",
    "tenant_name",
    "call_id",
    "caller",
    "summary",
    "today",
];

impl Template {
    /// Reads a template and refuses names that stand for nothing.
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find("{{") {
            let (words, tail) = rest.split_at(open);
            let Some(close) = tail.find("}}") else {
                let at = text[..text.len() - tail.len()].chars().count() + 1;
                return Err(TemplateError::Unclosed { at });
            };
            let (name, default) = tail[2..close].split_once('|').unwrap_or((&tail[2..close], ""));
            let name = name.trim();
            let known = VARIABLES.contains(&name) || name.strip_prefix("lead.fields.").is_some_and(is_field);
            if !known {
                return Err(TemplateError::Unknown(name.chars().take(60).collect()));
            }
            pieces.push(Piece::Words(words.to_owned()));
            pieces.push(Piece::Variable { name: name.to_owned(), default: default.trim().to_owned() });
            rest = &tail[close + 2..];
        }
        pieces.push(Piece::Words(rest.to_owned()));
        Ok(Self(pieces))
    }

    /// The text with its values; what has none gets its default.
    pub(crate) fn render(&self, values: &BTreeMap<String, String>, escape: Escape) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Words(words) => out.push_str(words),
                Piece::Variable { name, default } => {
                    let value = values.get(name).filter(|value| !value.trim().is_empty()).unwrap_or(default);
                    insert(&mut out, value, escape);
                }
            }
        }
        out
    }
}

fn is_field(name: &str) -> bool {
    (1..=40).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn insert(out: &mut String, value: &str, escape: Escape) {
    for letter in value.chars() {
        match (escape, letter) {
            (Escape::Html, '&') => out.push_str("&amp;"),
            (Escape::Html, '<') => out.push_str("&lt;"),
            (Escape::Html, '>') => out.push_str("&gt;"),
            (Escape::Html, '"') => out.push_str("&quot;"),
            (Escape::Html, '\'') => out.push_str("&#39;"),
            (Escape::Line, c) if c.is_control() => out.push(' '),
            (_, c) if c.is_control() && c != '\n' && c != '\t' => {}
            (_, c) => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_defaults_and_own_fields_find_their_places() {
        let template =
            Template::parse("Hello {{ lead.name | there }}, about {{lead.fields.budget|your plan}}.").unwrap();
        assert_eq!(template.render(&values(&[]), Escape::Text), "Hello there, about your plan.");
        let known = values(&[("lead.name", "Ann"), ("lead.fields.budget", "$5")]);
        assert_eq!(template.render(&known, Escape::Text), "Hello Ann, about $5.");
    }

    #[test]
    fn a_value_is_data_in_text_line_and_html() {
        let template = Template::parse("{{lead.name}}").unwrap();
        let nasty = values(&[("lead.name", "\"><script>\u{1}\r\nBcc: {{lead.email}}&'")]);
        assert_eq!(template.render(&nasty, Escape::Html), "&quot;&gt;&lt;script&gt;\nBcc: {{lead.email}}&amp;&#39;");
        let subject = template.render(&nasty, Escape::Line);
        assert!(!subject.contains(['\r', '\n', '\u{1}']) && subject.contains("{{lead.email}}"), "{subject}");
    }

    #[test]
    fn unknown_names_and_open_braces_are_refused() {
        assert_eq!(Template::parse("{{lead.nam}}"), Err(TemplateError::Unknown("lead.nam".into())));
        assert_eq!(Template::parse("{{lead.fields.a-b}}"), Err(TemplateError::Unknown("lead.fields.a-b".into())));
        assert_eq!(Template::parse("Für {{lead.name"), Err(TemplateError::Unclosed { at: 5 }));
        assert!(Template::parse("{ not } {{{{").is_err());
        assert_eq!(Template::parse("{{}}").unwrap_err().to_string(), "there is no variable \"\"");
    }
}
