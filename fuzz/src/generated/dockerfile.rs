//! Dockerfiles.

use std::collections::BTreeMap;
use std::fmt::Write;

use imgplan::test_support::base::name::Platform;
use imgplan::test_support::dockerfile::{Dockerfile, ReachRequest, ReferenceKind};

use crate::choices::{Choices, ShownOnPanic};

/// Values of build arguments, valid in an image name or not.
const VALUES: [&str; 10] =
    ["1.0", "v2", "3.12-slim", "it's", "a b", "\"q\"", "$HOME", "C:\\x`", "a=b,c", "é"];

const FRAGMENTS: [&str; 12] = [
    "\\\n", "FROM ", "ARG ", "<<EOF\n", "EOF\n", " AS ", "--from=", "${", "}", "`", "#", "ONBUILD ",
];

/// A generated Dockerfile and the facts that follow from how it was generated.
struct Document {
    text: String,
    /// The names and defaults of the ARGs before the first FROM.
    globals: Vec<(String, String)>,
    stages: Vec<Base>,
}

/// The image that a FROM names.
enum Base {
    /// An earlier stage or `scratch`.
    Internal,
    /// A literal name.
    Image(String),
    /// `name:${ARG}` with the index of the global ARG.
    Tagged(usize),
    /// `${ARG}` with the index of the global ARG.
    Arg(usize),
}

/// Parses, resolves and lowers a Dockerfile. An unchanged document is accepted, and its FROMs have
/// the images that were generated, also after lowering. Lowering a lowered file changes nothing. A
/// file with replaced references can be read, and has the new ones.
pub fn dockerfile(input: &[u8]) -> bool {
    let choices = &mut Choices::new(input);
    let document = document(choices);
    let args: BTreeMap<String, String> = document
        .globals
        .iter()
        .filter(|_| choices.percent(50))
        .map(|(name, _)| name.clone())
        .collect::<Vec<_>>()
        .into_iter()
        .map(|name| (name, choices.pick(&VALUES).to_owned()))
        .collect();
    let last = choices.maybe(40, |choices| choices.below(document.stages.len()));
    let target = last.map(|index| choices.pick(&[format!("s{index}"), index.to_string()]));
    let text = choices.mutated(&document.text, &FRAGMENTS);
    let shown = format!("{text}\n--- {args:?} {target:?}");
    let _shown = ShownOnPanic(&shown);
    let is_changed = text != document.text;
    let file = match Dockerfile::parse(&text) {
        Ok(file) => file,
        Err(errors) => {
            assert!(is_changed, "{errors:?}");
            let in_text = |error: &_| -> bool { in_text(&text, error) };
            assert!(!errors.is_empty() && errors.iter().all(in_text), "{errors:?}");
            return false;
        }
    };
    check_references(&file);
    if !is_changed {
        let expected = expected(&document, &BTreeMap::new(), document.stages.len());
        assert_in_order(&from_images(&file), &expected);
    }
    let _ = (file.unused_args(&args, target.as_deref()), file.args());
    let Ok(lowered) = file.lowered(&args, target.as_deref()) else {
        assert!(is_changed, "the document cannot be lowered");
        return true;
    };
    let shown = lowered.text().to_owned();
    let _shown = ShownOnPanic(&shown);
    check_references(&lowered);
    let again = lowered.lowered(&args, None).expect("a lowered file can be lowered");
    assert_eq!(again.text(), lowered.text());
    if !is_changed {
        let kept = last.map_or(document.stages.len(), |index| index + 1);
        assert_in_order(&from_images(&lowered), &expected(&document, &args, kept));
    }
    true
}

/// Returns true if the span of an error is within the text.
fn in_text(text: &str, error: &imgplan::test_support::dockerfile::DockerfileError) -> bool {
    text.get(error.span.clone()).is_some()
}

/// Checks the spans of all references, and replaces them.
fn check_references(file: &Dockerfile) {
    assert_eq!(file.with_replaced(&[]), file.text());
    for platform in [Platform::Amd64, Platform::Arm64] {
        let reach = file.reach(&ReachRequest::new(platform)).expect("there is a last stage");
        for path in &reach.paths {
            let span = path.span.clone();
            assert!(span.is_none_or(|span| file.text().get(span).is_some()), "{path:?}");
        }
        // Those of stages that are not needed are only there because of an error.
        let needed = |file: &Dockerfile| -> Vec<_> {
            let references = file.references(platform).into_iter();
            references.filter(|reference| reference.needed).collect()
        };
        let references = needed(file);
        let mut replacements = Vec::new();
        for reference in &references {
            assert_eq!(file.text().get(reference.span.clone()), Some(reference.text.as_str()));
            replacements.push((reference.span.clone(), "host/me/new:v1".to_owned()));
        }
        let replaced = file.with_replaced(&replacements);
        let again = Dockerfile::parse(&replaced).expect("a file with new references can be read");
        let images = needed(&again);
        assert_eq!(images.len(), references.len(), "{replaced}");
        for (image, before) in images.iter().zip(&references) {
            // A platform that cannot be resolved stays an error.
            let is_new = image.image.as_deref() == Ok("host/me/new:v1");
            assert!(is_new || before.image.is_err(), "{image:?} in {replaced}");
        }
    }
}

/// Checks that all images are expected, in this order. Those of stages that the last one does not
/// need are left out.
fn assert_in_order(images: &[String], expected: &[String]) {
    let mut rest = expected.iter();
    let all_found = images.iter().all(|image| rest.any(|expected| expected == image));
    assert!(all_found, "{images:?} and not {expected:?}");
}

/// Returns the images of the FROMs that the last stage needs.
fn from_images(file: &Dockerfile) -> Vec<String> {
    let references = file.references(Platform::Amd64).into_iter();
    let images = references.filter(|reference| reference.kind == ReferenceKind::From);
    images.map(|reference| reference.image.expect("every ARG has a value")).collect()
}

/// Returns the images that the first `kept` FROMs name if the ARGs have these values.
fn expected(document: &Document, args: &BTreeMap<String, String>, kept: usize) -> Vec<String> {
    let value = |index: usize| {
        let (name, default) = &document.globals[index];
        args.get(name).unwrap_or(default).clone()
    };
    let mut images = Vec::new();
    for (index, base) in document.stages.iter().take(kept).enumerate() {
        match base {
            Base::Internal => {}
            Base::Image(image) => images.push(image.clone()),
            Base::Tagged(arg) => images.push(format!("name:{}", value(*arg))),
            Base::Arg(arg) => {
                let value = value(*arg);
                let is_stage = (0..index).any(|stage| value == format!("s{stage}"));
                images.extend((!is_stage && value != "scratch").then_some(value));
            }
        }
    }
    images
}

fn document(choices: &mut Choices<'_>) -> Document {
    let escape = choices.pick(&['\\', '\\', '`']);
    let mut text = String::new();
    if choices.percent(20) {
        text.push_str("# syntax=docker/dockerfile:1\n");
    }
    if escape == '`' {
        text.push_str("# escape=`\n");
    }
    let mut globals = Vec::new();
    for name in ["A", "B_1", "WHICH"] {
        let default = choices.pick(&["1", "v2", "s0", "s1", "scratch"]);
        let written =
            choices.pick(&[default.to_owned(), format!("\"{default}\""), format!("'{default}'")]);
        let _ = writeln!(text, "{} {name}={written}", choices.pick(&["ARG", "arg"]));
        globals.push((name.to_owned(), default.to_owned()));
        filler(choices, &mut text);
    }
    let mut stages = Vec::new();
    for index in 0..1 + choices.below(4) {
        let (written, base) = match choices.below(6) {
            0 => ("scratch".to_owned(), Base::Internal),
            1 if index > 0 => (format!("s{}", choices.below(index)), Base::Internal),
            2 => {
                let arg = choices.below(3);
                (format!("name:${{{}}}", globals[arg].0), Base::Tagged(arg))
            }
            3 => ("$WHICH".to_owned(), Base::Arg(2)),
            _ => {
                let image = choices.pick(&["alpine:3", "ghcr.io/a/b@sha256:00", "redis"]);
                (image.to_owned(), Base::Image(image.to_owned()))
            }
        };
        let platform =
            choices.pick(&["", "", "--platform=linux/amd64 ", "--platform=$BUILDPLATFORM "]);
        let (from, keyword) = (choices.pick(&["FROM", "from"]), choices.pick(&["AS", "as"]));
        let _ = writeln!(text, "{from} {platform}{written} {keyword} s{index}");
        stages.push(base);
        for _ in 0..choices.below(6) {
            filler(choices, &mut text);
            instruction(choices, &mut text, index, escape);
        }
    }
    Document { text, globals, stages }
}

/// Adds a comment or a blank line, or nothing.
fn filler(choices: &mut Choices<'_>, text: &mut String) {
    text.push_str(choices.pick(&["", "", "", "# FROM x\n", "\n", "  # a \\\n"]));
}

fn instruction(choices: &mut Choices<'_>, text: &mut String, stage: usize, escape: char) {
    let from = if stage > 0 && choices.percent(50) {
        let index = choices.below(stage);
        choices.pick(&[format!("s{index}"), index.to_string()])
    } else {
        choices.pick(&["busybox:1", "ghcr.io/a/b:v1"]).to_owned()
    };
    let onbuild = choices.pick(&["", "", "", "ONBUILD "]);
    let line = match choices.below(20) {
        0 => format!("{onbuild}COPY --chown=1:1 a b* ./dst/"),
        1 => format!("{onbuild}COPY --from={from} /x /y"),
        2 => "COPY [\"a b\", \"c\", \"/dst\"]".to_owned(),
        3 => "COPY <<A <<-'B' /dst/\nFROM x\nA\n\tCOPY $A .\n\tB".to_owned(),
        4 => "RUN <<EOF cat && cat <<\"E 2\"\nFROM y\nEOF\nARG z\nE 2".to_owned(),
        5 => format!(
            "{onbuild}RUN --mount=type=bind,from={from},target=/m --mount=type=cache,target=/c x"
        ),
        6 => "ARG A".to_owned(),
        7 => "ARG B_1=\"x y\" C='z' WHICH".to_owned(),
        8 => format!("{onbuild}ARG A=9"),
        9 => format!("RUN a && {escape}\n  # comment\n\n  b \"${{A:-x}}\" {escape}  \n  c"),
        10 => "ENV PATH=/x:$PATH K=\"v w\"".to_owned(),
        11 => "ADD https://example.com/x.tar ${A}/x /y".to_owned(),
        13 => "SHELL [\"pwsh\", \"-c\"]".to_owned(),
        14 => format!("HEALTHCHECK --interval=5m {escape}\n  CMD x || exit 1"),
        15 => "COPY --from=$WHICH /x /y".to_owned(),
        16 => format!("ARG D={escape}\n  1 A"),
        17 => format!("{onbuild}COPY --link --from={from} <<EOF /y\nx ${{A}}\nEOF"),
        18 => "ENV A 1 2 3".to_owned(),
        19 => format!("RUN --mount=from={from},source=\"a b\",target=/z --network=none \"x\""),
        12 => "CMD [\"a\", \"b\"]".to_owned(),
        _ => format!("LABEL a=\"b\" {escape}\n  c=d"),
    };
    text.push_str(&line);
    text.push_str(choices.pick(&["\n", "\n", "\n", "\r\n"]));
}
