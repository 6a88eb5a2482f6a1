//! Tables that compare the parser with the behaviour of Docker.

use proptest::prelude::*;

use std::collections::BTreeMap;
use std::ops::Range;

use super::model::ReferenceKind;
use super::reach::{BuildReach, ReachRequest, WholeContext};
use super::*;
use crate::base::name::Platform;

fn parse(text: &str) -> Dockerfile {
    Dockerfile::parse(text).unwrap_or_else(|errors| panic!("{text:?}: {errors:?}"))
}

/// Returns the references as `kind image`, or `kind ?VARIABLE` if unresolved.
fn images(text: &str) -> Vec<String> {
    let file = parse(text);
    let show = |reference: Reference| {
        assert_eq!(reference.text, text[reference.span.clone()]);
        let kind = match reference.kind {
            ReferenceKind::From => "F",
            ReferenceKind::CopyFrom => "C",
            ReferenceKind::MountFrom => "M",
        };
        let image = reference.image.unwrap_or_else(|error| format!("?{}", error.name));
        format!("{kind} {image}")
    };
    references_of_all(&file, Platform::Arm64).into_iter().map(show).collect()
}

/// Returns what a build of a stage reaches.
fn reach(file: &Dockerfile, target: Option<&str>, platform: Platform) -> BuildReach {
    file.reach(&ReachRequest { target, ..ReachRequest::new(platform) }).unwrap()
}

/// Returns the references that the builds of the stages reach, in order.
fn references_of_all(file: &Dockerfile, platform: Platform) -> Vec<Reference> {
    let last = file.stages.len() - 1;
    let targets = (0..=last).map(|index| Some(index.to_string()).filter(|_| index < last));
    let mut references: Vec<Reference> =
        targets.flat_map(|target| reach(file, target.as_deref(), platform).references).collect();
    references.sort_by_key(|reference| (reference.span.start, !reference.needed));
    references.dedup_by_key(|reference| reference.span.start);
    references
}

/// Returns the text of each reference.
fn written(text: &str) -> Vec<String> {
    let references = references_of_all(&parse(text), Platform::Amd64);
    references.into_iter().map(|reference| reference.text).collect()
}

/// Returns the paths that a build copies, with a `?` before paths with unknown variables, and a `-`
/// before those that only some builders copy.
fn sources(text: &str) -> Vec<String> {
    reach(&parse(text), None, Platform::Arm64)
        .paths
        .into_iter()
        .map(|source| {
            let unknown = if source.resolved { "" } else { "?" };
            let uncertain = if source.certain { "" } else { "-" };
            format!("{uncertain}{unknown}{}", source.path)
        })
        .collect()
}

/// Returns the errors as `message @ underlined text`.
fn errors(text: &str) -> Vec<String> {
    let errors = match Dockerfile::parse(text) {
        Ok(file) => reach(&file, None, Platform::Amd64).errors,
        Err(errors) => errors,
    };
    assert!(!errors.is_empty(), "{text}");
    errors.iter().map(|error| format!("{error} @ {}", &text[error.span.clone()])).collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn references() {
    let table: &[(&str, &[&str])] = &[
        ("FROM a", &["F a"]),
        ("from A/b:1 as X\nFROM x", &["F A/b:1"]),
        ("\u{feff}FROM a\r\nRUN x\r\nFROM b\r\n", &["F a", "F b"]),
        ("  \t FROM  a  \t AS\tB \nFROM b", &["F a"]),
        // A FROM finds stages by their names in lower case only.
        ("FROM a AS B\nFROM B", &["F a", "F B"]),
        ("FROM --platform=$BUILDPLATFORM a AS b", &["F a"]),
        ("FROM scratch", &[]),
        ("FROM a AS a\nFROM a\nFROM A", &["F a", "F A"]),
        ("FROM b\nFROM a AS b", &["F b", "F a"]),
        (
            "FROM a@sha256:00\nFROM h:5000/x/y:1.2@sha256:11",
            &["F a@sha256:00", "F h:5000/x/y:1.2@sha256:11"],
        ),
        // Directives must be the first lines; an escape directive changes continuations.
        (
            "# syntax=docker/dockerfile:1\n# escape=`\nFROM a\nRUN x `\nFROM y\nFROM b",
            &["F a", "F b"],
        ),
        ("#Escape = `\nFROM a`\nb", &["F ab"]),
        ("# note\n# escape=`\nFROM a\nRUN x \\\nFROM y\nFROM b", &["F a", "F b"]),
        ("\n# escape=`\nFROM a\nRUN x \\\nFROM y\nFROM b", &["F a", "F b"]),
        // Continuations with comments and empty lines inside, blanks after the mark, and two marks.
        ("FROM \\\n# comment \\\n\n   # other\n  a \\  \n AS b\nFROM b", &["F a"]),
        ("FROM a\nRUN x \\\\\nFROM b", &["F a", "F b"]),
        ("FROM a\nRUN x \\", &["F a"]),
        ("FR\\\nOM a", &["F a"]),
        ("FROM a\nRUN x # \\\nFROM c", &["F a"]),
        ("FROM a\n# x \\\nFROM b", &["F a", "F b"]),
        // Variables.
        ("ARG T=1 U='two' V=\"3\" W\nFROM a:$T-${U}-$V", &["F a:1-two-3"]),
        ("ARG T=1\nARG U=$T.2\nFROM a:${U}", &["F a:1.2"]),
        ("FROM a:${T:-d}\nFROM b:${T-d}\nFROM c${T:+:x}", &["F a:d", "F b:d", "F c"]),
        ("ARG T=\nFROM a:${T:-d}\nFROM b${T-d}\nFROM c${T+x}", &["F a:d", "F b", "F cx"]),
        ("ARG A=x\nARG B=${A:-${C}}\nFROM $B\nFROM ${A:+${B}}y", &["F x", "F xy"]),
        (
            "ARG V=3.12.1\nFROM a:${V%.*}\nFROM b:${V%%.*}\nFROM c:${V#*.}\nFROM d:${V##*.}",
            &["F a:3.12", "F b:3", "F c:12.1", "F d:1"],
        ),
        ("ARG V=1.2.3\nFROM a:${V/./-}\nFROM a:${V//./-}", &["F a:1-2.3", "F a:1-2-3"]),
        ("ARG T\nFROM a:$T\nFROM $U\nFROM ${P}b\nFROM ${T:?no}", &["F ?T", "F ?U", "F b", "F ?T"]),
        ("FROM a:$TARGETARCH\nFROM b:${TARGETOS}$TARGETVARIANT", &["F a:arm64", "F b:linux"]),
        ("FROM a:x\\$y\nFROM \"b\"\nFROM 'c':$TARGETARCH", &["F a:x$y", "F b", "F c:arm64"]),
        ("# escape=`\nFROM a:x`$y", &["F a:x$y"]),
        ("FROM a\nARG T=1\nFROM b:$T", &["F a", "F ?T"]),
        ("ARG T=\nFROM $T\nFROM b:$T", &["F ?T", "F ?T"]),
        ("ARG B=build\nFROM a AS build\nFROM $B", &["F a"]),
        ("ARG TARGETARCH=x\nFROM a:$TARGETARCH", &["F a:x"]),
        ("FROM a:$TARGETSTAGE AS x\nFROM b:$TARGETSTAGE AS Last", &["F a:0", "F b:last"]),
        ("FROM a AS x\nFROM b:$TARGETSTAGE", &["F a", "F b:default"]),
        // COPY --from and mounts.
        (
            "FROM a AS x\nFROM b\nCOPY --from=X s d\nCOPY --from=0 s d\nCOPY --from=img s d",
            &["F a", "F b", "C img"],
        ),
        ("FROM a\nCOPY --chown=1 --from=i --link [\"s\", \"d\"]", &["F a", "C i"]),
        ("FROM a\nADD --chown=x s d\nCOPY --from=scratch s d", &["F a"]),
        (
            "FROM a\nCOPY --from=$I s d\nRUN --mount=from=${J}:1,target=/x y",
            &["F a", "C ?I", "M ?J"],
        ),
        (
            "FROM a AS x\nFROM b\nRUN --mount=type=bind,from=i,source=/s --mount=type=cache,target=/t \\\n\
          --mount=From=X,target=/u --mount=target=/v,from=0 cmd --mount=from=no",
            &["F a", "F b", "M i", "M 0"],
        ),
        ("FROM a\nRUN --mount=from=i,from=j x", &["F a", "M j"]),
        // ONBUILD triggers count only if a stage of this file runs them.
        ("FROM a\nONBUILD COPY --from=i s d", &["F a"]),
        (
            "FROM a AS x\nONBUILD COPY --from=i s d\nONBUILD RUN --mount=from=j y\nFROM x",
            &["F a", "C i", "M j"],
        ),
        ("FROM a AS x\nONBUILD COPY --from=y s d\nFROM b AS y\nFROM x", &["F a", "F b"]),
    ];
    for (text, expected) in table {
        assert_eq!(images(text), *expected, "{text}");
    }
}

#[test]
fn reference_spans_can_be_replaced() {
    let table = [
        ("FROM \"a\" AS x", vec!["\"a\""]),
        ("FROM a\\\nb", vec!["a\\\nb"]),
        ("ARG X=1\nFROM ${X:-y} AS z", vec!["${X:-y}"]),
        ("FROM a\nCOPY --from=\"i\" s d", vec!["a", "i"]),
        ("FROM a\nCOPY --\"from=i\" s d", vec!["a", "i"]),
        ("FROM a\nCOPY --from=i\"j\" s d", vec!["a", "i\"j\""]),
        ("FROM a\nCOPY --from='i'j s d", vec!["a", "'i'j"]),
        ("FROM a\nRUN --mount=\"type=bind,from=i,target=/x\" y", vec!["a", "i"]),
        ("FROM a\nRUN --mount=from=\\\ni,target=/x y", vec!["a", "i"]),
        ("\u{feff}# é\r\nFROM é\r\n", vec!["é"]),
    ];
    for (text, expected) in table {
        assert_eq!(written(text), expected, "{text}");
        let file = parse(text);
        let spans = file.references(Platform::Amd64);
        let new: Vec<_> = spans.into_iter().map(|r| (r.span, "host/p:1".to_owned())).collect();
        let replaced = images(&file.with_replaced(&new));
        assert!(replaced.iter().all(|image| image.ends_with(" host/p:1")), "{text}: {replaced:?}");
    }
}

#[test]
fn heredocs() {
    let table: &[(&str, &[&str])] = &[
        ("RUN <<EOF\nFROM no\nEOF", &[]),
        ("RUN cat <<EOF > f\nFROM no\nEOF", &[]),
        ("RUN python3 <<'EOF'\nFROM no\nEOF", &[]),
        ("RUN <<-EOT\n\tFROM no\n\tEOT", &[]),
        ("RUN <<EOT\n\tEOT\nEOT", &[]),
        ("RUN <<A cat <<\"B C\" 3<<D\nA\nFROM no\nB C\nD", &[]),
        ("RUN cat << EOF\nFROM no\nEOF", &[]),
        ("RUN --mount=from=i <<EOF\nCOPY --from=no s d\nEOF", &["M i"]),
        ("RUN cat <<<EOF", &[]),
        ("RUN cat <<< EOF", &[]),
        ("RUN echo \"<<EOF\" '<<X' \\<<Y", &[]),
        ("RUN [\"<<EOF\"]", &[]),
        ("RUN x \\\n <<EOF\nFROM no\\\nEOF", &[]),
        ("RUN <<EOF\r\nFROM no\r\nEOF\r", &[]),
        ("RUN echo $((1<<2))", &[]),
        ("COPY <<EOF /x\nFROM no\nEOF", &[]),
        ("COPY <<A <<B s /x/\nFROM no\nA\nB", &[]),
        ("ADD <<EOF /x\nFROM no\nEOF", &[]),
        ("ONBUILD RUN <<EOF\nFROM no\nEOF", &[]),
        ("CMD cat <<EOF", &[]),
        ("ENV X=<<EOF", &[]),
        ("RUN <<EOF\nEOF ", &["error"]),
        ("RUN <<EOF\nx", &["error"]),
        ("RUN <<A <<B\nB\nA", &["error"]),
    ];
    for (line, expected) in table {
        let text = format!("FROM a\n{line}\nFROM b\n");
        let mut all = vec!["F a"];
        all.extend(*expected);
        all.push("F b");
        if *expected == ["error"] {
            let errors = errors(&text);
            assert!(errors.len() == 1 && errors[0].contains("is not closed"), "{line}: {errors:?}");
        } else {
            assert_eq!(images(&text), all, "{line}");
        }
    }
}

#[test]
fn copies() {
    let table: &[(&str, &[&str])] = &[
        ("FROM a\nCOPY a b/ ./c d/", &["a", "b/", "./c"]),
        ("FROM a\nCOPY [\"a b\", \"\\u0063d\", \"/\"]", &["a b", "cd"]),
        ("FROM a\nCOPY [a b", &["[a"]),
        ("FROM a\nCOPY --chown=1:1 --chmod=755 a b", &["a"]),
        ("FROM a\nCOPY --from=x a b", &[]),
        ("FROM a\nADD https://x/y git@h:a/b ssh://h/r git://h/r me@h.x:r l d", &["l"]),
        ("FROM a\nADD x@y z", &["x@y"]),
        ("FROM a\nCOPY <<EOF s /d\nEOF", &["s"]),
        ("FROM a\nONBUILD COPY s d\nONBUILD ADD t d", &[]),
        ("FROM a\nCOPY arr\\[0].txt d", &["arr[0].txt"]),
        ("FROM a\nCOPY \"q r\" d", &["?\"q", "?r\""]),
        ("ARG V=1\nFROM a\nCOPY x$V d\nARG V\nCOPY x$V d", &["?x$V", "x1"]),
        ("FROM scratch\nCOPY x$V d", &["x"]),
        ("FROM a\nARG TARGETARCH\nCOPY bin-$TARGETARCH d", &["bin-arm64"]),
        ("FROM a\nENV A=1 B=$A\nENV C=${A}2 D e f\nCOPY $B$A $C d", &["error"]),
        (
            "FROM a\nENV A=1\nENV B=$A C=\"x y\"\nENV D old $A\nCOPY $B $C $D d",
            &["1", "x y", "old 1"],
        ),
        ("FROM a\nENV A=1\nENV A=2 B=$A\nCOPY $B d", &["1"]),
        ("FROM a\nENV A=$PATH:/x\nCOPY $A d", &["?$A"]),
        ("FROM a\nARG X\nCOPY ${X:-y} d", &["?${X:-y}"]),
        ("FROM a AS b\nENV A=1\nFROM b\nCOPY $A d", &["1"]),
        ("FROM a AS b\nENV A=1\nFROM c\nCOPY $A d", &["?$A"]),
        // The platform of the builder is not known.
        ("FROM a\nARG BUILDARCH\nCOPY bin-$BUILDARCH c d", &["-bin-arm64", "c", "-bin-amd64"]),
        ("FROM a\nARG BUILDOS\nCOPY bin-$BUILDOS d", &["bin-linux"]),
        ("ARG X=$BUILDARCH\nFROM a\nARG X\nCOPY $X d", &["-arm64", "-amd64"]),
        // The builder decides which stage is built, and which of the sources are URLs.
        (
            "FROM a AS f-amd64\nCOPY x d\nFROM a AS f-arm64\nCOPY y d\nFROM f-$BUILDARCH\nCOPY z d",
            &["-y", "z", "-x"],
        ),
        (
            "FROM a\nARG BUILDARCH\nARG U=${BUILDARCH#amd64}\nADD ${U:+http://}x y z d",
            &["y", "z", "-x"],
        ),
        // A stage that is not built.
        ("FROM a AS b\nCOPY x d\nFROM c\nCOPY y d", &["y"]),
        ("FROM a AS b\nCOPY x d\nFROM b\nCOPY y d", &["x", "y"]),
        ("FROM a AS b\nCOPY x d\nFROM c\nCOPY --from=B y d\nCOPY z d", &["x", "z"]),
        (
            "ARG G=g\nFROM scratch AS b\nONBUILD ARG G\nONBUILD ENV A=$G\nCOPY b$A d\nFROM b\nCOPY $A d",
            &["b", "g"],
        ),
    ];
    for (text, expected) in table {
        if *expected == ["error"] {
            assert!(Dockerfile::parse(text).is_err(), "{text}");
        } else {
            assert_eq!(sources(text), *expected, "{text}");
        }
    }
}

#[test]
fn syntax_errors() {
    let table: &[(&str, &[&str])] = &[
        ("", &["the Dockerfile has no FROM @ "]),
        ("# only\n\n", &["the Dockerfile has no FROM @ "]),
        ("ARG X=1", &["the Dockerfile has no FROM @ "]),
        ("RUN x\nCOPY a b\nFROM a", &["RUN comes before the first FROM @ RUN"]),
        (
            "FROM a\nRUM x\nCOYP a b",
            &["unknown instruction `RUM` @ RUM", "unknown instruction `COYP` @ COYP"],
        ),
        ("FORM a\nRUN x", &["unknown instruction `FORM` @ FORM"]),
        (
            "FROM a\nRUN x &&\napt-get update\nsomething-else\nRUN y\n",
            &["unknown instruction `apt-get` @ apt-get"],
        ),
        ("FROM", &["FROM has no arguments @ FROM"]),
        ("FROM \"\"", &["FROM has no image @ \"\""]),
        ("FROM a b", &["unexpected text after the image of FROM @ b"]),
        ("FROM a # x", &["unexpected text after the image of FROM @ # x"]),
        ("FROM a AS 1x", &["invalid stage name `1x` @ 1x"]),
        ("FROM ${", &["missing `}` @ ${"]),
        ("FROM ${a^}", &["Docker has no modifier `^` @ ${a^}"]),
        ("# escape=x\nFROM a", &["invalid escape character `x` @ # escape=x"]),
        ("# syntax=a\n# syntax=b\nFROM a", &["duplicate directive `syntax` @ # syntax=b"]),
        ("FROM a\nCOPY x", &["COPY needs a source and a destination @ x"]),
        ("FROM a\nCOPY [\"a\", 1]", &["the JSON array of COPY may hold strings only @ [\"a\", 1]"]),
        ("FROM a\nCOPY --form=x a b", &["COPY has no flag `--form` @ --form=x"]),
        ("FROM a AS x\nCOPY --from=x a b", &["the stage `x` is not built before this one @ x"]),
        (
            "FROM a AS z\nCOPY --from=y a b\nFROM b AS y\nFROM z",
            &["the stage `y` is not built before this one @ y"],
        ),
        ("FROM a\nCOPY --from=3 a b", &["there is no stage 3 @ 3"]),
        ("FROM a\nENV x", &["ENV needs a name and a value @ x"]),
        ("FROM a\nENV x=1 y", &["this argument of ENV has no `=` @ y"]),
        ("ARG =x\nFROM a", &["ARG has no name @ =x"]),
        ("FROM a\nONBUILD FROM b", &["ONBUILD cannot be followed by FROM @ FROM"]),
        ("FROM a\nONBUILD ROM b", &["unknown instruction `ROM` @ ROM"]),
    ];
    for (text, expected) in table {
        assert_eq!(errors(text), *expected, "{text}");
    }
    let nested = format!("FROM {}", "${a:-".repeat(100_000));
    assert_eq!(Dockerfile::parse(&nested).unwrap_err().len(), 1);
    let lines = (1..99).map(|n| format!("ARG A{n}=$A{0}$A{0}$A{0}", n - 1));
    let bomb = lines.collect::<Vec<_>>().join("\n");
    let bomb = parse(&format!("ARG A0=aaaaaaaa\n{bomb}\nFROM $A98\n{bomb}\nCOPY $A98 d\n"));
    assert!(bomb.references(Platform::Amd64)[0].image.is_err());
    assert!(!reach(&bomb, None, Platform::Amd64).errors.is_empty());
}

/// With quadratic time, these would take minutes to hours.
#[test]
fn many_stages_are_read_in_linear_time() {
    let chain: Vec<String> =
        (1..100_000).map(|n| format!("FROM s{} AS s{n}\nENV V{n}=1\n", n - 1)).collect();
    let chain = chain.concat();
    let chain = parse(&format!("FROM a AS s0\n{chain}COPY x d\n"));
    assert_eq!(chain.references(Platform::Amd64).len(), 1);
    assert_eq!(reach(&chain, None, Platform::Amd64).stages.len(), 100_000);
    let forward: Vec<String> = (0..30_000)
        .map(|n| format!("FROM scratch AS s{n}\nCOPY --from=s{} s d\n", n + 1))
        .collect();
    let forward = forward.concat();
    let text = format!("{forward}FROM a AS s30000\nFROM s0\n");
    assert_eq!(errors(&text).len(), 30_000);
    // Each stage needs the next one, and the last one the first.
    let cycle = forward.replace("--from=s30000 ", "--from=s0 ");
    assert_eq!(errors(&cycle).len(), 29_999);
}

/// The answers of BuildKit to these files. A number without a stage and a cycle are errors anywhere,
/// a copy from a later stage only in a stage that is built.
#[test]
fn only_stages_that_are_built_need_an_order() {
    let x = "FROM a AS x\nCOPY --from=y s d\nFROM b AS y\n";
    for (text, target, is_error) in [
        (format!("{x}FROM x"), None, true),
        (x.to_owned(), None, false),
        (x.to_owned(), Some("x"), true),
        (x.to_owned(), Some("0"), true),
        (format!("{x}COPY --from=x s d\nFROM c"), None, true),
        (format!("{x}FROM c\nCOPY --from=x s d"), None, true),
        (format!("{x}FROM c\nRUN --mount=from=x,target=/m t"), None, true),
        (format!("{x}FROM c\nRUN --mount=from=y,target=/m t"), None, false),
        ("FROM a AS x\nCOPY --from=x s d\nFROM b".to_owned(), None, true),
        ("FROM a AS x\nCOPY --from=0 s d\nFROM b".to_owned(), None, true),
        ("FROM a AS x\nCOPY --from=7 s d\nFROM b".to_owned(), None, true),
        ("FROM a AS x\nCOPY --from=-1 s d\nFROM b".to_owned(), None, true),
        ("FROM a AS x\nRUN --mount=from=y,target=/m t\nFROM b AS y".to_owned(), None, false),
        ("FROM a AS x\nRUN --mount=from=y,target=/m t\nFROM b AS y\nFROM x".into(), None, true),
        ("FROM b AS y\nCOPY --from=x s d\nFROM y AS x\nFROM c".to_owned(), None, false),
        ("FROM b AS y\nCOPY --from=x s d\nFROM y AS x".to_owned(), None, true),
        // The name means the last stage that has it.
        ("FROM a AS x\nFROM b AS y\nCOPY --from=x s d\nFROM c AS x\nFROM y".into(), None, true),
        // A trigger runs in the stage that is based on its stage.
        ("FROM a AS x\nONBUILD COPY --from=y s d\nFROM b AS y\nFROM x".into(), None, false),
        (
            "FROM a AS x\nONBUILD COPY --from=y s d\nFROM x AS z\nFROM b AS y\nFROM z".into(),
            None,
            true,
        ),
        ("FROM a AS x\nONBUILD COPY --from=y s d\nFROM x AS z\nFROM b AS y".into(), None, false),
        // The platform and the arguments choose the stages.
        (
            format!("{x}FROM c AS stage-arm64\nFROM x AS stage-amd64\nFROM stage-$TARGETARCH"),
            None,
            true,
        ),
        (
            format!("{x}FROM x AS stage-arm64\nFROM c AS stage-amd64\nFROM stage-$TARGETARCH"),
            None,
            false,
        ),
        (format!("ARG B=y\n{x}FROM $B"), None, true),
        (format!("ARG B=x\n{x}FROM $B"), None, false),
    ] {
        let args = BTreeMap::from([("B".to_owned(), if is_error { "x" } else { "y" }.to_owned())]);
        let errors = match Dockerfile::parse(&text) {
            Ok(file) => {
                let new = ReachRequest::new(Platform::Amd64);
                file.reach(&ReachRequest { args: &args, target, ..new }).unwrap().errors
            }
            Err(errors) => errors,
        };
        assert_eq!(!errors.is_empty(), is_error, "{target:?} {text}: {errors:?}");
    }
}

#[test]
fn triggers_from_outside_run_in_the_stages_that_are_based_on_their_image() {
    let base = "FROM scratch\nONBUILD ARG DIR=app\nONBUILD COPY --exclude=*.md $DIR /\n\
                ONBUILD COPY --from=tools t /\nONBUILD COPY ${X?} /\n";
    let triggers = parse(base).triggers();
    assert_eq!(triggers.len(), 4);
    let triggers = BTreeMap::from([("me/base:1".to_owned(), triggers)]);
    let file = parse("FROM a AS tools\nCOPY tool /t\nFROM b AS x\nFROM me/base:1\nCOPY $DIR/y /\n");
    let new = ReachRequest::new(Platform::Amd64);
    let args = BTreeMap::from([("X".to_owned(), String::new())]);
    let reach = file.reach(&ReachRequest { triggers: &triggers, args: &args, ..new }).unwrap();
    assert_eq!(reach.stages, [0, 2].into());
    let paths: Vec<_> = reach.paths.iter().map(|path| (&*path.path, path.span.is_some())).collect();
    assert_eq!(paths, [("tool", true), ("app", false), ("${X?}", false), ("app/y", true)]);
    assert_eq!(reach.paths[1].excludes, ["*.md"]);
    assert_eq!(reach.whole, Some(WholeContext::Variable(2)));
    let reach =
        file.reach(&ReachRequest { triggers: &triggers, target: Some("x"), ..new }).unwrap();
    assert_eq!((reach.stages, reach.paths), ([1].into(), Vec::new()));
    // A problem in a trigger is shown at the FROM.
    let order = parse("FROM me/base:1\nFROM a AS tools\n");
    let reach =
        order.reach(&ReachRequest { triggers: &triggers, target: Some("0"), ..new }).unwrap();
    let errors: Vec<_> = reach.errors.iter().map(|e| &order.text()[e.span.clone()]).collect();
    assert_eq!(errors, ["me/base:1"]);
}

#[test]
fn the_whole_context_counts_where_its_use_is_not_known() {
    let amd64 = |text: &str| reach(&parse(text), None, Platform::Amd64);
    for (syntax, is_foreign) in [
        ("docker/dockerfile", false),
        ("docker/dockerfile:1.7-labs", false),
        ("docker.io/docker/dockerfile:1 --flag", false),
        ("index.docker.io/docker/dockerfile-upstream:master", false),
        ("docker/dockerfile@sha256:abc", true),
        ("ghcr.io/docker/dockerfile:1", true),
        ("docker/dockerfile-x", true),
        ("syntax", true),
    ] {
        let reach = amd64(&format!("# syntax={syntax}\nFROM a\nCOPY x /\n"));
        let expected = syntax.split(' ').next().filter(|_| is_foreign);
        assert_eq!(reach.whole, expected.map(|name| WholeContext::Frontend(name.to_owned())));
        assert_eq!(reach.paths.len(), 1);
    }
    assert_eq!(amd64("FROM a\nCOPY x a/.. /\n").whole, Some(WholeContext::Root(1)));
    assert_eq!(amd64("FROM a\nCOPY x $Y /\n").whole, Some(WholeContext::Variable(1)));
    assert_eq!(amd64("FROM a\nRUN --mount=target=/m x\n").whole, Some(WholeContext::Root(0)));
    // The stage is needed, but nothing reads its result.
    let ssh = amd64("FROM a AS x\nCOPY . /\nFROM b\nRUN --mount=type=ssh,from=x y\n");
    assert_eq!((ssh.stages.len(), ssh.paths.len(), ssh.whole), (2, 0, None));
    let pulled: Vec<bool> = ssh.references.iter().map(|reference| reference.pulled).collect();
    assert_eq!(pulled, [false, true]);
}

#[test]
fn stages_and_args() {
    let text = "ARG A=1 B\nFROM a AS One\nARG C='x'\n# of two\nFROM b\nRUN y\n";
    let file = parse(text);
    let names: Vec<_> = file.stages().iter().map(|stage| stage.name.as_deref()).collect();
    assert_eq!(names, [Some("one"), None]);
    let spans: Vec<_> = file.stages().iter().map(|stage| &text[stage.span.clone()]).collect();
    assert_eq!(spans, ["FROM a AS One\nARG C='x'\n", "FROM b\nRUN y\n"]);
    let args: Vec<_> = file
        .args()
        .into_iter()
        .map(|arg| (arg.name, arg.default, text[arg.span].to_owned(), arg.stage))
        .collect();
    let of = |name: &str, default: Option<&str>, text: &str, stage| {
        (name.to_owned(), default.map(str::to_owned), text.to_owned(), stage)
    };
    assert_eq!(
        args,
        [
            of("A", Some("1"), "A=1", None),
            of("B", None, "B", None),
            of("C", Some("'x'"), "C='x'", Some(0)),
        ]
    );
}

#[test]
fn with_replaced_changes_only_the_given_ranges() {
    let file = parse("FROM a\r\nFROM b");
    let with = |spans: &[(Range<usize>, &str)]| {
        let spans: Vec<_> = spans.iter().map(|(s, w)| (s.clone(), (*w).to_owned())).collect();
        file.with_replaced(&spans)
    };
    assert_eq!(with(&[(13..14, "yy"), (5..6, "xx")]), "FROM xx\r\nFROM yy");
    #[expect(clippy::reversed_empty_ranges, reason = "an invalid range must not panic")]
    let invalid = [(5..6, "x"), (5..7, "no"), (99..100, "no"), (9..3, "no")];
    assert_eq!(with(&invalid), "FROM x\r\nFROM b");
}

/// Returns the images that the crate parse-dockerfile finds, without expansion.
fn images_by_parse_dockerfile(text: &str) -> Vec<String> {
    use parse_dockerfile::Instruction;
    let file = parse_dockerfile::parse(text).unwrap();
    let mut found = Vec::new();
    for instruction in &file.instructions {
        let (kind, flags) = match instruction {
            Instruction::From(from) => {
                found.push(from.image.value.to_string());
                continue;
            }
            Instruction::Copy(copy) => ("from", &copy.options[..]),
            Instruction::Run(run) => ("mount", &run.options[..]),
            _ => continue,
        };
        for flag in flags.iter().filter(|flag| flag.name.value == kind) {
            let value = flag.value.as_ref().map(|value| value.value.to_string()).unwrap();
            let from = if kind == "from" {
                Some(value.as_str())
            } else {
                value.split(',').find_map(|field| field.strip_prefix("from="))
            };
            found.extend(from.map(str::to_owned));
        }
    }
    found
}

#[test]
fn agrees_with_parse_dockerfile() {
    let inputs = [
        "FROM a\nRUN x\nFROM b AS c\nCOPY --from=d --chown=1 x y\n",
        "# syntax=x\n# escape=`\nFROM a`\n:1\nRUN `\n  x\nFROM c",
        "ARG A=1\nFROM --platform=linux/amd64 a:1 AS x\nRUN --mount=type=bind,from=i,source=/s \
         --mount=from=j,target=/t y",
        "FROM a\r\n# c\r\nRUN x \\\r\n # c\r\n\r\n y\r\nFROM b\r\n",
        "FROM a\nRUN <<EOF\nFROM no\nEOF\nCOPY <<X /x\nFROM no\nX\nFROM b\n",
        "from a\n  copy --from=b [\"x y\", \"z\"]\nHEALTHCHECK CMD x\nONBUILD RUN y\n",
        "FROM a\nENV A=1 \\\n  B=2\nLABEL x=\"a b\"\nEXPOSE 80\nUSER x\nWORKDIR /\nVOLUME [\"/x\"]\n",
    ];
    for text in inputs {
        let ours: Vec<_> = images(text).iter().map(|image| image[2..].to_owned()).collect();
        assert_eq!(ours, images_by_parse_dockerfile(text), "{text}");
    }
}

/// Texts made of pieces of Dockerfiles, and of some pieces that no Dockerfile contains.
fn random_text() -> impl Strategy<Value = String> {
    let pieces = [
        "FROM ",
        "COPY ",
        "RUN ",
        "ADD ",
        "ARG ",
        "ENV ",
        "ONBUILD ",
        "--from=",
        "--mount=",
        "from=",
        "--platform=",
        "<<EOF",
        "<<-'E'",
        "EOF",
        "E",
        "\n",
        "\r\n",
        "\\\n",
        "\\",
        "`",
        "# ",
        "escape=`",
        "$X",
        "${X",
        "${X:-",
        "}",
        "\"",
        "'",
        "[\"",
        "\", \"",
        "\"]",
        " ",
        "\t",
        "a",
        "é",
        "=",
        ",",
        "AS ",
        "\u{feff}",
        "\u{a0}",
        "scratch",
        "0",
        "${X%",
        "*",
        "/",
        "\0",
        "[",
        "\u{2028}",
    ];
    let piece = prop_oneof![
        9 => proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn any_text_gives_valid_spans_and_no_panic(tail in random_text(), begin in any::<bool>()) {
        let text = if begin { format!("ARG X=1\nFROM a\n{tail}") } else { tail };
        match Dockerfile::parse(&text) {
            Ok(file) => {
                prop_assert_eq!(file.with_replaced(&[]), text.as_str());
                for reference in file.references(Platform::Amd64) {
                    prop_assert_eq!(text.get(reference.span.clone()), Some(reference.text.as_str()));
                    prop_assert!(!reference.span.is_empty());
                }
                for source in reach(&file, None, Platform::Amd64).paths {
                    prop_assert!(text.get(source.span.unwrap()).is_some());
                }
                for arg in file.args() {
                    prop_assert!(text.get(arg.span).is_some());
                }
                for stage in file.stages() {
                    prop_assert!(text.get(stage.span.clone()).is_some());
                }
            }
            Err(errors) => {
                prop_assert!(!errors.is_empty());
                for error in errors {
                    prop_assert!(text.get(error.span).is_some());
                }
            }
        }
    }
}

#[test]
fn platforms_of_references() {
    use ReferencePlatform::{Builder, Fixed, Other, Unit};
    let (amd64, arm64) = (Fixed(Platform::Amd64), Fixed(Platform::Arm64));
    for (flag, on_amd64, on_arm64) in [
        ("", Unit, Unit),
        ("--platform=", Unit, Unit),
        ("--platform=$TARGETPLATFORM", Unit, Unit),
        ("--platform=linux/${TARGETARCH}", Unit, Unit),
        ("--platform=linux/amd64", Unit, amd64.clone()),
        ("--platform=linux/arm64", arm64.clone(), Unit),
        ("--platform=linux/arm64/v8", arm64.clone(), Unit),
        ("--platform=Linux/AArch64", arm64.clone(), Unit),
        ("--platform=amd64", Unit, amd64.clone()),
        ("--platform=$BUILDPLATFORM", Builder, Builder),
        ("--platform=${BUILDOS}/${BUILDARCH}", Builder, Builder),
        ("--platform=linux", Builder, Builder),
        ("--platform=$B", Builder, Builder),
        ("--platform=$A", Unit, amd64),
        ("--platform=linux/s390x", Other("linux/s390x".into()), Other("linux/s390x".into())),
        ("--platform=windows/amd64", Other("windows/amd64".into()), Other("windows/amd64".into())),
    ] {
        let text =
            format!("ARG A=linux/amd64\nARG B=$BUILDPLATFORM\nFROM {flag} x\nCOPY --from=y a b\n");
        for (unit, expected) in [(Platform::Amd64, on_amd64), (Platform::Arm64, on_arm64)] {
            let found = parse(&text).references(unit);
            assert_eq!(found[0].platform, expected, "{flag} for {unit}");
            assert_eq!(found[1].platform, Unit, "{flag} does not apply to COPY");
        }
    }
    assert_eq!(images("ARG N\nFROM --platform=$N x"), ["F ?N"]);
}
