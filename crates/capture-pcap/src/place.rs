//! Where in an expression a mistake is.
//!
//! libpcap says "syntax error" and no more (1.10 and before; 1.8 and before say it twice). So we ask it again, with the expression
//! cut off behind each token: the first prefix that no continuation makes right ends with the token at which the
//! parser gave up. What continuations there are we know from pcap-filter(7); a test asks for every prefix of many right expressions.

use std::fmt;
use std::time::{Duration, Instant};

/// A place in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// At this word or sign.
    Token {
        /// As it stands in the expression.
        token: String,
        /// Characters from the start of the expression to its first one, counted from 1.
        column: usize,
    },
    /// Something is missing behind the last word.
    End,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token { token, column } => write!(f, "near \"{token}\" (column {column})"),
            Self::End => f.write_str("at its end"),
        }
    }
}

/// How long the search may take. An expression with host names asks the name servers at each attempt.
const PATIENCE: Duration = Duration::from_millis(500);

/// What can stand after a prefix, one for each kind of word that some rule of the grammar asks for.
const CONTINUATIONS: [&str; 18] = [
    "",
    "ip",
    "1",
    "1.2.3.4",
    "00:00:00:00:00:01",
    "host 1.2.3.4",
    "dst host 1.2.3.4",
    "port 1",
    "proto 1",
    "localhost",
    "255.0.0.0",
    "1-2",
    "mgt",
    "beacon",
    "nods",
    "pass",
    "match",
    "[0]",
];

/// libpcap's message without what only repeats that it is about a filter.
pub(crate) fn plain(message: &str) -> &str {
    ["can't parse filter expression: ", "syntax error in filter expression: "]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
        .unwrap_or(message)
}

/// The place that a message is about; `None` if it cannot be told. `attempt` compiles and gives the message if that fails.
pub(crate) fn find(expression: &str, message: &str, attempt: &mut dyn FnMut(&str) -> Option<String>) -> Option<Place> {
    let tokens = tokens(expression);
    if !is_syntax(message) {
        return mentioned(expression, &tokens, message);
    }
    let start = Instant::now();
    let over = || start.elapsed() > PATIENCE;
    // There are hundreds of attempts at a token, and each may ask for a host's name. When time is up all that is left is no mistake.
    let mut in_time = |text: &str| if over() { None } else { attempt(text) };
    for token in &tokens {
        let prefix = expression.get(..token.end)?;
        if !is_viable(prefix, &mut in_time) {
            return Some(place(expression, token));
        }
        if over() {
            return None;
        }
    }
    Some(Place::End)
}

fn is_syntax(message: &str) -> bool {
    let message = plain(message);
    message.contains("syntax error") || message.contains("parse error")
}

fn place(expression: &str, token: &Token) -> Place {
    let text = |range| expression.get(range).unwrap_or_default();
    Place::Token { token: text(token.start..token.end).to_owned(), column: text(0..token.start).chars().count() + 1 }
}

/// The only token that the message mentions: one it quotes, or else one with a digit.
fn mentioned(expression: &str, tokens: &[Token], message: &str) -> Option<Place> {
    let is_quote = |c| matches!(c, '\'' | '"' | '`');
    let named: Vec<&str> = message.split(is_quote).skip(1).step_by(2).collect();
    let named = if named.is_empty() {
        message.split_whitespace().filter(|word| word.contains(|c: char| c.is_ascii_digit())).collect()
    } else {
        named
    };
    let mut found = tokens.iter().filter(|t| expression.get(t.start..t.end).is_some_and(|text| named.contains(&text)));
    match (found.next(), found.next()) {
        (Some(token), None) => Some(place(expression, token)),
        _ => None,
    }
}

/// Whether some continuation gives an expression without a *syntax* error: libpcap complains of other mistakes
/// (a port above 65535) only when the words before are right.
fn is_viable(prefix: &str, attempt: &mut dyn FnMut(&str) -> Option<String>) -> bool {
    let prefix = without_names(prefix);
    let closing = closing(&prefix);
    // Where to put a comparison, which arithmetic needs: behind any of the brackets that are closed, or nowhere.
    let ends: Vec<String> = (0..=closing.len())
        .map(|at| {
            let (inner, outer) = closing.split_at(at);
            format!("{} = 1 {}", inner.concat(), outer.concat())
        })
        .chain([closing.concat()])
        .collect();
    CONTINUATIONS.iter().any(|continuation| {
        ends.iter().any(|end| {
            let error = attempt(&format!("{prefix} {continuation} {end}"));
            error.is_none_or(|message| !is_syntax(&message))
        })
    })
}

/// The prefix with every host name replaced by one that no name server is asked for.
fn without_names(prefix: &str) -> String {
    let is_name = |word: &str| {
        word.contains('.') && !word.contains([':', '/', '\\']) && word.contains(|c: char| c.is_ascii_alphabetic())
    };
    let mut replaced = String::with_capacity(prefix.len());
    let mut done = 0;
    for token in tokens(prefix) {
        let text = |range| prefix.get(range).unwrap_or_default();
        replaced.push_str(text(done..token.start));
        let word = text(token.start..token.end);
        replaced.push_str(if is_name(word) { "localhost" } else { word });
        done = token.end;
    }
    replaced
}

/// What closes the open brackets, innermost first.
fn closing(prefix: &str) -> Vec<&'static str> {
    let mut open = Vec::new();
    for character in prefix.chars() {
        match character {
            '(' => open.push(")"),
            '[' => open.push("]"),
            ')' | ']' => drop(open.pop()),
            _ => {}
        }
    }
    open.reverse();
    open
}

/// A word or sign: octets of the expression.
struct Token {
    start: usize,
    end: usize,
}

/// Splits coarsely: what belongs to a number, name or address is one word, whatever libpcap makes of it.
fn tokens(expression: &str) -> Vec<Token> {
    const PAIRS: [&str; 8] = ["&&", "||", ">=", "<=", "==", "!=", "<<", ">>"];
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | ':' | '\\' | '/' | '-');
    let mut tokens = Vec::new();
    let mut start = 0;
    while let Some(rest) = expression.get(start..)
        && let Some(first) = rest.chars().next()
    {
        let len = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if PAIRS.iter().any(|pair| rest.starts_with(pair)) {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push(Token { start, end: start + len });
        }
        start += len;
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CompileError, Libpcap};
    use capture::LinkType;

    fn libpcap() -> Libpcap {
        Libpcap::load(None).expect("libpcap is installed where tests run")
    }

    #[test]
    fn every_prefix_of_a_right_expression_is_viable() {
        let libpcap = libpcap();
        for expression in crate::filter::EXPRESSIONS {
            assert!(libpcap.judge(expression, LinkType::ETHERNET).is_some(), "{expression} is right");
            for token in tokens(expression) {
                let prefix = &expression[..token.end];
                let viable = is_viable(prefix, &mut |attempt| libpcap.compile_message(attempt, LinkType::ETHERNET));
                assert!(viable, "{prefix:?} of {expression:?}");
            }
        }
    }

    #[test]
    fn mistakes_are_found() {
        let libpcap = libpcap();
        for (expression, message) in [
            ("tcp prot 80", r#"filter "tcp prot 80": syntax error near "prot" (column 5)"#),
            ("tcp port", r#"filter "tcp port": syntax error at its end"#),
            ("tcp port 80 and", r#"filter "tcp port 80 and": syntax error at its end"#),
            ("(tcp", r#"filter "(tcp": syntax error at its end"#),
            ("tcp)", r#"filter "tcp)": syntax error near ")" (column 4)"#),
            ("ip[0", r#"filter "ip[0": syntax error at its end"#),
            ("ip[0] = 1 ]", r#"filter "ip[0] = 1 ]": syntax error near "]" (column 11)"#),
            ("tcp @ 5", r#"filter "tcp @ 5": syntax error near "@" (column 5)"#),
            ("udp and tcp or or ip", r#"filter "udp and tcp or or ip": syntax error near "or" (column 16)"#),
            (
                "tcp[tcpflags] & tcp-foo != 0",
                r#"filter "tcp[tcpflags] & tcp-foo != 0": syntax error near "tcp-foo" (column 17)"#,
            ),
            (
                "port 99999999",
                r#"filter "port 99999999": illegal port number 99999999 > 65535 near "99999999" (column 6)"#,
            ),
            ("vlan 5000", r#"filter "vlan 5000": VLAN tag 5000 greater than maximum 4095 near "5000" (column 6)"#),
        ] {
            let error = libpcap.compile(&[expression], LinkType::ETHERNET, 0).expect_err(expression);
            assert_eq!(error.to_string(), message);
        }
    }

    /// As if a name server did not answer.
    #[test]
    fn slow_attempts_end_the_search() {
        let start = Instant::now();
        let found = find("host nowhere prot 80", "syntax error", &mut |_| {
            std::thread::sleep(Duration::from_millis(200));
            Some("syntax error".to_owned())
        });
        assert_eq!(found, None);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }

    #[test]
    fn a_zero_octet_is_an_error_of_the_expression() {
        let error = libpcap().compile(&["tcp\0port 80"], LinkType::ETHERNET, 0).expect_err("a zero");
        assert!(matches!(error, CompileError::Expression { .. }), "{error}");
    }
}
