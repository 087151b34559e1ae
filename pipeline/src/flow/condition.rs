//! The tiny language of `when`: `== != < > && || in`, no calls.

use super::compile::Reason;

/// What a condition is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expr {
    Or(Vec<Expr>),
    And(Vec<Expr>),
    Compare(Operand, Op, Operand),
    In(Operand, Vec<Operand>),
    Truth(Operand),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Equal,
    Unequal,
    Less,
    Greater,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Null,
    Text(String),
    Name(String),
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Mark(&'static str),
    Word(String),
    Text(String),
}

const MARKS: [&str; 11] = ["==", "!=", "&&", "||", "<", ">", "[", "]", ",", "(", ")"];

fn scan(text: &str) -> Result<Vec<Token>, Reason> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        if let Some(mark) = MARKS.iter().find(|mark| rest.starts_with(**mark)) {
            out.push(Token::Mark(mark));
            rest = &rest[mark.len()..];
        } else if c == '\'' || c == '"' {
            let body = &rest[1..];
            let end = body.find(c).ok_or_else(|| Reason::Condition(format!("{c} is not closed")))?;
            out.push(Token::Text(body[..end].to_owned()));
            rest = &body[end + 1..];
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || "._-+".contains(c))).unwrap_or(rest.len());
            if end == 0 {
                return Err(Reason::Condition(format!("unexpected {c}")));
            }
            out.push(Token::Word(rest[..end].to_owned()));
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    Ok(out)
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
}

impl Parser {
    fn take(&mut self, mark: &str) -> bool {
        let hit = matches!(self.tokens.get(self.at), Some(Token::Mark(m)) if *m == mark);
        self.at += usize::from(hit);
        hit
    }

    fn or(&mut self, depth: u8) -> Result<Expr, Reason> {
        let mut all = vec![self.and(depth)?];
        while self.take("||") {
            all.push(self.and(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::Or(all) })
    }

    fn and(&mut self, depth: u8) -> Result<Expr, Reason> {
        let mut all = vec![self.compare(depth)?];
        while self.take("&&") {
            all.push(self.compare(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::And(all) })
    }

    fn compare(&mut self, depth: u8) -> Result<Expr, Reason> {
        if self.take("(") {
            if depth == 0 {
                return Err(Reason::Condition("too many brackets".to_owned()));
            }
            let inner = self.or(depth - 1)?;
            return if self.take(")") { Ok(inner) } else { Err(Reason::Condition("missing )".to_owned())) };
        }
        let left = self.operand()?;
        for (mark, op) in [("==", Op::Equal), ("!=", Op::Unequal), ("<", Op::Less), (">", Op::Greater)] {
            if self.take(mark) {
                return Ok(Expr::Compare(left, op, self.operand()?));
            }
        }
        if matches!(self.tokens.get(self.at), Some(Token::Word(w)) if w == "in") {
            self.at += 1;
            if !self.take("[") {
                return Err(Reason::Condition("`in` wants a list".to_owned()));
            }
            let mut list = Vec::new();
            while !self.take("]") {
                list.push(self.operand()?);
                if !self.take(",") && !matches!(self.tokens.get(self.at), Some(Token::Mark("]"))) {
                    return Err(Reason::Condition("a list ends with ]".to_owned()));
                }
            }
            return Ok(Expr::In(left, list));
        }
        Ok(Expr::Truth(left))
    }

    fn operand(&mut self) -> Result<Operand, Reason> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        match token {
            Some(Token::Text(text)) => Ok(Operand::Text(text)),
            Some(Token::Word(word)) if word == "null" => Ok(Operand::Null),
            Some(Token::Word(word)) if word == "true" || word == "false" || word.parse::<f64>().is_ok() => {
                Ok(Operand::Text(word))
            }
            Some(Token::Word(word)) => {
                let name = word.strip_prefix("vars.").unwrap_or(&word);
                Ok(Operand::Name(name.to_owned()))
            }
            _ => Err(Reason::Condition("a value is missing".to_owned())),
        }
    }
}

/// Reads a condition.
pub(crate) fn parse(text: &str) -> Result<Expr, Reason> {
    let mut parser = Parser { tokens: scan(text)?, at: 0 };
    let expr = parser.or(8)?;
    if parser.at < parser.tokens.len() {
        return Err(Reason::Condition("something is left over at the end".to_owned()));
    }
    Ok(expr)
}

impl Expr {
    /// Whether the condition holds; `look` finds variables.
    pub(crate) fn holds(&self, look: &dyn Fn(&str) -> Option<String>) -> bool {
        let value = |operand: &Operand| match operand {
            Operand::Null => None,
            Operand::Text(text) => Some(text.clone()),
            Operand::Name(name) => look(name),
        };
        match self {
            Expr::Or(all) => all.iter().any(|e| e.holds(look)),
            Expr::And(all) => all.iter().all(|e| e.holds(look)),
            Expr::Truth(operand) => value(operand).is_some_and(|v| !v.is_empty() && v != "false"),
            Expr::In(left, list) => {
                let left = value(left);
                list.iter().any(|item| value(item) == left)
            }
            Expr::Compare(left, op, right) => {
                let (left, right) = (value(left), value(right));
                let number = |v: &Option<String>| v.as_ref().and_then(|v| v.parse::<f64>().ok());
                let order = match (number(&left), number(&right)) {
                    (Some(a), Some(b)) => a.partial_cmp(&b),
                    _ => left.as_ref().zip(right.as_ref()).map(|(a, b)| a.cmp(b)),
                };
                match op {
                    Op::Equal => left == right || order == Some(std::cmp::Ordering::Equal),
                    Op::Unequal => left != right && order != Some(std::cmp::Ordering::Equal),
                    Op::Less => order == Some(std::cmp::Ordering::Less),
                    Op::Greater => order == Some(std::cmp::Ordering::Greater),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str) -> bool {
        parse(text).unwrap().holds(&|name| match name {
            "day" => Some("tuesday".to_owned()),
            "n" => Some("10".to_owned()),
            _ => None,
        })
    }

    #[test]
    fn conditions_compare_and_combine() {
        for (text, want) in [
            ("vars.day == null", false),
            ("vars.none == null", true),
            ("day == 'tuesday' && n > 9", true),
            ("n < 9 || day != \"monday\"", true),
            ("day in ['monday', 'tuesday']", true),
            ("(n < 9 || none) && day", false),
            ("n == 10.0", true),
            ("day", true),
        ] {
            assert_eq!(holds(text), want, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "a ==", "a in b", "a == 'x", "a b", "f(x)", "(a", "a in [b c]", "a ; b"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"(".repeat(100_000)).is_err());
    }
}
