//! References and the texts that hold them: whatever is read is written as something that reads the
//! same, and whatever is not read is shown by a span that lies in the text.

use strongroom_core::reference::MAX_BYTES;
use strongroom_core::template::{Part, Template, Unknown};
use strongroom_core::{Reference, Shape, Shapes, Text};

fn shapes() -> Shapes {
    let mut shapes = Shapes::builtin();
    assert!(shapes.insert("acme", Shape::uri(true, &["space", "path*"]).unwrap()));
    assert!(shapes.insert("box", Shape::uri(false, &["group", "name?", "key?"]).unwrap()));
    shapes
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let shapes = shapes();
    alone(text, &shapes);
    for unknown in [Unknown::Refuse, Unknown::Keep] {
        among_text(text, &shapes, unknown);
    }
}

fn alone(text: &str, shapes: &Shapes) {
    match Reference::parse(text, shapes) {
        Ok(reference) => {
            reads_back(&reference, shapes, false);
            assert_eq!(Reference::parse_scope(text, shapes).as_ref(), Ok(&reference), "a reference is a scope");
        }
        Err(error) => {
            assert!(text.get(error.span.clone()).is_some(), "{:?} is no part of {text:?}", error.span);
            let _ = format!("{}", error.into_failure(text, Text::new("fuzz"), None));
        }
    }
    if let Ok(scope) = Reference::parse_scope(text, shapes) {
        reads_back(&scope, shapes, true);
    }
}

fn reads_back(reference: &Reference, shapes: &Shapes, scope: bool) {
    let shown = reference.to_string();
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
    assert!(reference.path.iter().all(|part| !part.is_empty()), "{shown:?}");
    let dots = |part: &String| part == "." || part == ".." || part.contains(['/', '\\']);
    let plain = matches!(&*reference.scheme, "env" | "file");
    assert!(plain || !reference.path.iter().any(dots), "{shown:?}");
    assert!(reference.selectors.windows(2).all(|pair| pair[0].0 < pair[1].0), "{shown:?}");
    // What is escaped takes more room than it did.
    if shown.len() <= MAX_BYTES {
        let read = if scope { Reference::parse_scope(&shown, shapes) } else { Reference::parse(&shown, shapes) };
        assert_eq!(read.as_ref(), Ok(reference), "{shown:?}");
    }
}

fn among_text(text: &str, shapes: &Shapes, unknown: Unknown) {
    let template = match Template::parse(text, shapes, unknown) {
        Ok(template) => template,
        Err(errors) => {
            assert!(!errors.is_empty());
            for error in errors {
                let shown = text.get(error.shown.clone()).unwrap();
                assert!(shown.get(error.error.span.clone()).is_some(), "{error:?} in {text:?}");
                let _ = format!("{}", error.into_failure(text, Text::new("fuzz"), None));
            }
            return;
        }
    };
    let mut written = String::new();
    for part in &template.parts {
        match part {
            Part::Literal(literal) => written += &literal.replace("${{", "$${{"),
            Part::Reference(reference, span) => {
                reads_back(reference, shapes, false);
                assert!(text.get(span.clone()).is_some());
                if reference.to_string().len() > MAX_BYTES {
                    return;
                }
                written += &format!("${{{{{reference}}}}}");
            }
        }
    }
    let read = Template::parse(&written, shapes, Unknown::Refuse).unwrap_or_else(|e| panic!("{e:?} in {written:?}"));
    let same = |a: &Part, b: &Part| match (a, b) {
        (Part::Literal(a), Part::Literal(b)) => a == b,
        (Part::Reference(a, _), Part::Reference(b, _)) => a == b,
        _ => false,
    };
    let parts = template.parts.iter().zip(&read.parts);
    assert!(
        template.parts.len() == read.parts.len() && parts.into_iter().all(|(a, b)| same(a, b)),
        "{text:?} and {written:?}"
    );
    if let Some(literal) = template.as_literal()
        && !text.contains("${{")
    {
        assert_eq!(literal, text);
    }
}
