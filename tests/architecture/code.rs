//! Rust source as the rules need it: tokens with their lines, without comments and literals.
//!
//! This is no parser of Rust. It knows just enough (nested comments, raw strings, lifetimes) that
//! what remains are the words and brackets of the code, and it finds three things in them: paths,
//! functions, and what is compiled for tests only.

/// One word or sign of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// An identifier, keyword or number; `::`; or a single sign.
    pub text: String,
    /// The line on which it stands, from 1.
    pub line: usize,
}

/// A path such as `crate::store::tree`, with groups spelt out; a glob ends with `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    /// The words in order; a last `self` of a group is left out.
    pub words: Vec<String>,
    /// The line of its first word.
    pub line: usize,
    /// The name under which it is imported; `None` where it is used in the code.
    pub import: Option<Import>,
}

/// An import of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Import {
    /// The name that it has in the file.
    pub alias: String,
    /// Public if the file passes it on (`pub use`).
    pub reach: Reach,
}

/// Who can use what an item names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The file.
    Private,
    /// Others, too: `pub`, `pub(crate)`, `pub(super)`, `pub(in …)`.
    Public,
}

/// A named item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Definition {
    /// The keyword: `struct`, `fn`, `mod`, …
    pub keyword: String,
    /// The name.
    pub name: String,
    /// The line of its name.
    pub line: usize,
    /// Who can use it.
    pub reach: Reach,
}

/// A function with a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// The name.
    pub name: String,
    /// The line of `fn`.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub length: usize,
}

/// Cuts `source` into tokens, leaving comments, strings and character literals out.
pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let characters: Vec<char> = source.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < characters.len() {
        let rest = &characters[at..];
        let skipped = comment(rest).or_else(|| literal(rest));
        let length = skipped.unwrap_or_else(|| word(rest));
        let text: String = rest[..length].iter().collect();
        let begins_at = line;
        line += text.matches('\n').count();
        at += length;
        if skipped.is_none() && !text.trim().is_empty() {
            tokens.push(Token { text, line: begins_at });
        }
    }
    tokens
}

/// Length of the comment that `rest` begins with.
fn comment(rest: &[char]) -> Option<usize> {
    match rest {
        ['/', '/', ..] => {
            Some(rest.iter().position(|&character| character == '\n').unwrap_or(rest.len()))
        }
        ['/', '*', ..] => {
            let (mut depth, mut at) = (0, 0);
            while at < rest.len() {
                match rest[at..] {
                    ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
                    ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
                if depth == 0 {
                    break;
                }
            }
            Some(at)
        }
        _ => None,
    }
}

/// Length of the string or character literal that `rest` begins with.
fn literal(rest: &[char]) -> Option<usize> {
    let prefix = rest.iter().take_while(|character| matches!(character, 'b' | 'c' | 'r')).count();
    let raw = rest[..prefix].contains(&'r');
    let marks = rest[prefix..].iter().take_while(|&&character| character == '#').count();
    match rest.get(prefix + marks) {
        Some('"') if raw => {
            Some(prefix + marks + 1 + raw_string(&rest[prefix + marks + 1..], marks))
        }
        Some('"') if marks == 0 => Some(prefix + 1 + escaped(&rest[prefix + 1..], '"')),
        Some('\'') if marks == 0 && is_character(&rest[prefix + 1..]) => {
            Some(prefix + 1 + escaped(&rest[prefix + 1..], '\''))
        }
        _ => None,
    }
}

/// True if a character, not a lifetime, follows a `'`.
fn is_character(rest: &[char]) -> bool {
    matches!(rest, ['\\', ..] | [_, '\'', ..])
}

/// Length of the rest of a literal up to and with its closing `quote`.
fn escaped(rest: &[char], quote: char) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            character if character == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// Length of the rest of a raw string that ends with a quote and this many `#`.
fn raw_string(rest: &[char], marks: usize) -> usize {
    let closes = |at: usize| {
        let end = rest.get(at + 1..at + 1 + marks);
        rest[at] == '"' && end.is_some_and(|end| end.iter().all(|&mark| mark == '#'))
    };
    (0..rest.len()).find(|&at| closes(at)).map_or(rest.len(), |at| at + 1 + marks)
}

/// Length of the word or sign that `rest` begins with.
fn word(rest: &[char]) -> usize {
    let letters = rest
        .iter()
        .take_while(|character| character.is_alphanumeric() || **character == '_')
        .count();
    match rest {
        [':', ':', ..] => 2,
        _ => letters.max(1),
    }
}

/// The tokens that are compiled outside of tests: items under `#[cfg(test)]` are left out.
pub(crate) fn without_tests(tokens: &[Token]) -> Vec<Token> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(&tokens[at..]) {
            at = end_of_item(tokens, at);
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// The names of modules in files of their own that are declared for tests only.
pub(crate) fn test_modules(tokens: &[Token]) -> Vec<String> {
    let starts = (0..tokens.len()).filter(|at| is_test_attribute(&tokens[*at..]));
    let items = starts.map(|at| &tokens[at..end_of_item(tokens, at)]);
    let declared = items.filter_map(|item| match item {
        [.., word, name, end] if word.text == "mod" && end.text == ";" => Some(name.text.clone()),
        _ => None,
    });
    declared.collect()
}

fn is_test_attribute(rest: &[Token]) -> bool {
    let begins_with = |words: &[&str]| {
        rest.len() >= words.len() && rest.iter().zip(words).all(|(token, word)| token.text == *word)
    };
    begins_with(&["#", "[", "cfg", "(", "test", ")", "]"])
        || begins_with(&["#", "[", "cfg", "(", "all", "(", "test"])
        || begins_with(&["#", "[", "cfg", "(", "any", "(", "test", ",", "fuzzing"])
}

/// Index after the item at `from`: past its `;`, or past the brace that closes its first block.
fn end_of_item(tokens: &[Token], from: usize) -> usize {
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(from) {
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// All functions with a body.
pub(crate) fn functions(tokens: &[Token]) -> Vec<Function> {
    let named = |pair: &&[Token]| pair[0].text == "fn" && is_word(&pair[1].text);
    let starts = (0..).zip(tokens.windows(2)).filter(|(_, pair)| named(pair));
    starts
        .filter_map(|(at, pair)| {
            let last = &tokens[end_of_item(tokens, at) - 1];
            let length = last.line - pair[0].line + 1;
            let has_body = last.text == "}";
            has_body.then(|| Function { name: pair[1].text.clone(), line: pair[0].line, length })
        })
        .collect()
}

/// Keywords that a name of the file follows.
const KEYWORDS: [&str; 9] =
    ["fn", "struct", "enum", "trait", "type", "const", "static", "union", "mod"];

/// All items with a name, those within other items among them.
pub(crate) fn definitions(tokens: &[Token]) -> Vec<Definition> {
    let named = |(_, pair): &(usize, &[Token])| {
        KEYWORDS.contains(&pair[0].text.as_str()) && is_word(&pair[1].text)
    };
    let found = (0..).zip(tokens.windows(2)).filter(named);
    found
        .map(|(at, pair)| Definition {
            keyword: pair[0].text.clone(),
            name: pair[1].text.clone(),
            line: pair[1].line,
            reach: reach(&tokens[..at]),
        })
        .collect()
}

/// The reach of the item whose keyword comes after `before`.
fn reach(before: &[Token]) -> Reach {
    let text = |back: usize| before.iter().nth_back(back).map_or("", |token| token.text.as_str());
    let back = usize::from(matches!(text(0), "const" | "async" | "unsafe"));
    let is_public = match text(back) {
        "pub" => true,
        ")" => {
            let word = before.iter().rev().skip_while(|token| token.text != "(").nth(1);
            word.is_some_and(|token| token.text == "pub")
        }
        _ => false,
    };
    if is_public { Reach::Public } else { Reach::Private }
}

/// All paths of two words or more, and single words that are imported.
pub(crate) fn paths(tokens: &[Token]) -> Vec<Path> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before].text.as_str());
        if !is_word(&tokens[at].text) || matches!(before, "::" | ".") {
            at += 1;
            continue;
        }
        let line = tokens[at].line;
        let reach = (before == "use").then(|| reach(&tokens[..at - 1]));
        let mut spelt_out = Vec::new();
        at = spell_out(tokens, at, &mut Vec::new(), &mut spelt_out);
        spelt_out.retain(|(words, _)| words.len() > 1 || reach.is_some());
        found.extend(spelt_out.into_iter().map(|(words, alias)| {
            let import = reach.map(|reach| Import { alias, reach });
            Path { words, line, import }
        }));
    }
    found
}

/// Adds every path of the use tree at `at` to `found`, with the name that it goes by; answers the index after the tree.
fn spell_out(
    tokens: &[Token],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let text = |at: usize| tokens.get(at).map_or("", |token| token.text.as_str());
    let depth = prefix.len();
    loop {
        match text(at) {
            "{" => {
                at += 1;
                while !matches!(text(at), "}" | "") {
                    at = spell_out(tokens, at, prefix, found);
                    while !matches!(text(at), "," | "}" | "{" | "") {
                        at += 1;
                    }
                    at += usize::from(text(at) == ",");
                }
                at += 1;
                break;
            }
            "self" if depth > 0 => {}
            word if word == "*" || is_word(word) => prefix.push(word.to_owned()),
            _ => break,
        }
        at += 1;
        if text(at) != "::" {
            let alias =
                if text(at) == "as" { text(at + 1) } else { prefix.last().map_or("", |it| it) };
            found.push((prefix.clone(), alias.to_owned()));
            break;
        }
        at += 1;
    }
    prefix.truncate(depth);
    at
}

fn is_word(text: &str) -> bool {
    text.starts_with(|character: char| character.is_alphabetic() || character == '_')
}
