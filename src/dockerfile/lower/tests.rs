//! Checks that a build of the lowered text reads the same as a build of the original text with
//! arguments and a target.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::select;

use super::super::reach::ReachRequest;
use super::super::shell::{Shell, VariableValue};
use super::*;
use crate::base::name::Platform;

fn parse(text: &str) -> Dockerfile {
    Dockerfile::parse(text).unwrap_or_else(|errors| panic!("{text:?}: {errors:?}"))
}

fn map(args: &[(&str, &str)]) -> BTreeMap<String, String> {
    args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Returns the lowered text, or each error as `subject: message: help`.
fn lower(text: &str, args: &[(&str, &str)], target: Option<&str>) -> Result<String, Vec<String>> {
    let shown = |error: LowerError| {
        let subject = match error.subject {
            LowerSubject::Arg(name) => name,
            LowerSubject::Target => "target".to_owned(),
        };
        format!("{subject}: {}: {}", error.message, error.help)
    };
    match parse(text).lowered(&map(args), target) {
        Ok(file) => Ok(file.text().to_owned()),
        Err(errors) => Err(errors.into_iter().map(shown).collect()),
    }
}

/// A text, `NAME=value` for each argument, and the lowered text.
type Row<'r> = (&'r str, &'r [(&'r str, &'r str)], &'r str);

#[test]
fn arguments() {
    let table: &[Row] = &[
        ("ARG A\nFROM a", &[("A", "1")], "ARG A=1\nFROM a"),
        ("arg A=x B=\"y z\"\tC\nFROM a", &[("B", ""), ("C", "2")], "arg A=x B=\tC=2\nFROM a"),
        // Every declaration counts, also after an ENV and when repeated.
        (
            "ARG A=1\nFROM a\nENV A=2\nARG A=3 A\nARG A=$A\nFROM b\nARG A\n",
            &[("A", "v")],
            "ARG A=v\nFROM a\nENV A=2\nARG A=v A=v\nARG A=v\nFROM b\nARG A=v\n",
        ),
        // Names are case-sensitive, and only ARG declares them.
        ("ARG a=1 A=2\nFROM A=2", &[("A", "3")], "ARG a=1 A=3\nFROM A=2"),
        (
            "FROM a\nARG A=1\nRUN <<E\nARG A=1\nE\n",
            &[("A", "2")],
            "FROM a\nARG A=2\nRUN <<E\nARG A=1\nE\n",
        ),
        (
            "FROM a\n#ARG A=1\nARG A\nENV ARG A=1",
            &[("A", "2")],
            "FROM a\n#ARG A=1\nARG A=2\nENV ARG A=1",
        ),
        // Values with special characters of the shell.
        ("ARG A\nFROM a", &[("A", "a b")], "ARG A='a b'\nFROM a"),
        ("ARG A\nFROM a", &[("A", "$B${C}")], "ARG A='$B${C}'\nFROM a"),
        ("ARG A\nFROM a", &[("A", "it's")], "ARG A='it'\"'\"'s'\nFROM a"),
        ("ARG A\nFROM a", &[("A", "\\")], "ARG A='\\'\nFROM a"),
        ("# escape=`\nARG A\nFROM a", &[("A", "C:\\x`")], "# escape=`\nARG A='C:\\x`'\nFROM a"),
        ("ARG A\nFROM a", &[("A", "# \"x\"")], "ARG A='# \"x\"'\nFROM a"),
        ("ARG A\nFROM a", &[("A", "a=b,c@d:1/2.3")], "ARG A=a=b,c@d:1/2.3\nFROM a"),
        ("ARG A\nFROM a", &[("A", "é")], "ARG A='é'\nFROM a"),
        // Continuations, line breaks and other special text.
        (
            "\u{feff}# é\r\nARG A=\\\r\n # c\r\n 1 \\\r\n\r\n B\r\nFROM a",
            &[("B", "2")],
            "\u{feff}# é\r\nARG A=\\\r\n # c\r\n 1 \\\r\n\r\n B=2\r\nFROM a",
        ),
        ("ARG A=x\\\n# c\ny B\nFROM a", &[("A", "z")], "ARG A=z B\nFROM a"),
        ("ARG A\\\n=1\nFROM a", &[("A", "z")], "ARG A=z\nFROM a"),
        ("FROM a\nARG A=1 \\", &[("A", "2")], "FROM a\nARG A=2 \\"),
        ("FROM a\nARG A=1\\", &[("A", "2")], "FROM a\nARG A=2\\"),
        // A trigger runs in a later stage, or is part of the image.
        (
            "FROM a AS x\nONBUILD ARG A=1\nFROM x\nONBUILD ARG A=1\n",
            &[("A", "2 3")],
            "FROM a AS x\nONBUILD ARG A='2 3'\nFROM x\nONBUILD ARG A=1\n",
        ),
        (
            "ARG BUILDKIT_SBOM_SCAN_STAGE\nFROM a",
            &[("BUILDKIT_SBOM_SCAN_STAGE", "x")],
            "ARG BUILDKIT_SBOM_SCAN_STAGE=x\nFROM a",
        ),
        (
            "FROM a\nARG SOURCE_DATE_EPOCH",
            &[("SOURCE_DATE_EPOCH", "0")],
            "FROM a\nARG SOURCE_DATE_EPOCH=0",
        ),
    ];
    for (text, args, expected) in table {
        assert_eq!(lower(text, args, None).as_deref(), Ok(*expected), "{text:?} {args:?}");
        assert_eq!(lower(text, &[], None).as_deref(), Ok(*text));
    }
}

#[test]
fn targets() {
    let text = "# top\nFROM a AS One\nRUN <<E\nFROM no\nE\n\n# of two\nFROM b AS x\nRUN y \\\n  z\n# c\n\
                FROM c AS X\nCMD z\n# end";
    let one = "# top\nFROM a AS One\nRUN <<E\nFROM no\nE\n";
    let two = "# top\nFROM a AS One\nRUN <<E\nFROM no\nE\n\n# of two\nFROM b AS x\nRUN y \\\n  z\n";
    let three = text.strip_suffix("# end").unwrap();
    for (target, expected) in [("one", one), ("ONE", one), ("0", one), ("1", two), ("x", three)] {
        assert_eq!(lower(text, &[], Some(target)).as_deref(), Ok(expected), "{target}");
    }
    assert_eq!(lower(text, &[], Some("")).as_deref(), Ok(text));
    // A stage that is not built may use a stage after the target, by name or number.
    for from in ["late", "LATE", "2"] {
        let text = format!("FROM a AS x\nCOPY --from={from} s d\nFROM b AS y\nFROM c AS late");
        let cut = "FROM a AS x\nCOPY --from=scratch s d\nFROM b AS y\n";
        assert_eq!(lower(&text, &[], Some("y")).as_deref(), Ok(cut), "{from}");
    }
    // So does a trigger, but the triggers of the target belong to other Dockerfiles.
    let trigger = "ONBUILD RUN --mount=from=late t";
    let text = format!("FROM a AS x\n{trigger}\nFROM b AS y\n{trigger}\nFROM c AS late");
    let cut = "FROM a AS x\nONBUILD RUN --mount=from=scratch t\nFROM b AS y\nONBUILD RUN --mount=from=late t\n";
    assert_eq!(lower(&text, &[], Some("y")).as_deref(), Ok(cut));
    let crlf = "FROM a AS x\r\nRUN y\r\n\r\nFROM b";
    assert_eq!(lower(crlf, &[], Some("x")).as_deref(), Ok("FROM a AS x\r\nRUN y\r\n"));
}

/// A text, the arguments, the target, and each error as `subject: message: help`.
type ErrorCase<'r> = (&'r str, &'r [(&'r str, &'r str)], Option<&'r str>, &'r [&'r str]);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn errors() {
    let long = "x".repeat(MAX_LINE_BYTES);
    let names: Vec<_> = (0..12).map(|number| format!("FROM a AS stage-{number:02}")).collect();
    let names = names.join("\n");
    let table: &[ErrorCase] = &[
        (
            "ARG VERSION\nFROM a",
            &[("VERSION", "\n"), ("OTHER", "1")],
            Some("b"),
            &[
                "VERSION: the value of `VERSION` contains a line break, which no ARG can hold: put \
                 the value into a file that the Dockerfile copies",
                "target: the Dockerfile has no stage `b`: no stage has a name: add one with \
                 `FROM <image> AS <name>`",
            ],
        ),
        (
            "ARG A B\nFROM a",
            &[("A", "1\n2"), ("B", "\0"), ("C", "\n")],
            None,
            &[
                "A: the value of `A` contains a line break, which no ARG can hold: put the value into \
                 a file that the Dockerfile copies",
                "B: the value of `B` contains a NUL byte, which no ARG can hold: put the value into a \
                 file that the Dockerfile copies",
            ],
        ),
        (
            "ARG A\nFROM a",
            &[("A", &long)],
            None,
            &["A: the value of `A` is too long: a line of a Dockerfile may have 64 KiB: put the \
               value into a file that the Dockerfile copies"],
        ),
        (
            "ARG TARGETARCH\nFROM a",
            &[("BUILDKIT_SYNTAX", "1"), ("TARGETARCH", "1"), ("TARGETSTAGE", "1")],
            None,
            &[
                "BUILDKIT_SYNTAX: `BUILDKIT_SYNTAX` is a setting of BuildKit, not an ARG: write it in \
                 the first line of the Dockerfile: `# syntax=<image>`",
                "TARGETARCH: the builder sets `TARGETARCH` from the platform: remove it, and set \
                 `platforms:`",
                "TARGETSTAGE: the builder sets `TARGETSTAGE` to the stage that is built: remove it, \
                 and set `target:`",
            ],
        ),
        (
            "ARG A\nFROM a",
            &[("", "1"), ("A ", "1")],
            None,
            &[
                ": invalid ARG name ``: use letters, digits and `_`",
                "A : invalid ARG name `A `: use letters, digits and `_`",
            ],
        ),
        (
            "FROM a AS build\nFROM b AS Runtime\nFROM c AS test\nFROM d AS test\n",
            &[],
            Some("RUNTIM"),
            &["target: the Dockerfile has no stage `RUNTIM`: the named stages are `runtime`, \
               `build`, `test`"],
        ),
        (
            "FROM a AS x\nFROM b",
            &[],
            Some("2"),
            &["target: the Dockerfile has no stage `2`: the only named stage is `x`"],
        ),
        (
            &names,
            &[],
            Some("stage-11x"),
            &["target: the Dockerfile has no stage `stage-11x`: the named stages are \
               `stage-11`, `stage-01`, `stage-10`, `stage-00`, `stage-02`, `stage-03`, `stage-04`, `stage-05`, \
               `stage-06`, `stage-07` and 2 more"],
        ),
    ];
    for (text, args, target, expected) in table {
        let errors = lower(text, args, *target).unwrap_err();
        assert_eq!(errors, *expected, "{text:?}");
    }
    // Lines of exactly the maximum length, two values that are too long only together, and a line
    // that was too long before, which is not an error.
    let text = format!("ARG A B\nARG C=\\\n1\nFROM {}", "a".repeat(MAX_LINE_BYTES));
    let half = "x".repeat(MAX_LINE_BYTES / 2);
    let fits = |name: &str, line: &str| {
        let value = "x".repeat(MAX_LINE_BYTES - line.len());
        assert!(lower(&text, &[(name, &value)], None).is_ok());
        let errors = lower(&text, &[(name, &format!("{value}x"))], None).err().unwrap_or_default();
        assert!(errors.len() == 1 && errors[0].contains("is too long"), "{name}: {errors:?}");
    };
    fits("A", "ARG A= B\n");
    fits("B", "ARG A B=\n");
    fits("C", "ARG C=\n");
    assert_eq!(lower(&text, &[("A", &half), ("B", &half)], None).unwrap_err().len(), 2);
    assert!(lower(&text, &[("A", &half), ("C", &half)], None).is_ok());
}

#[test]
fn unused_args_are_warnings() {
    let unused = |text: &str, name: &str, target| {
        let (file, args) = (Dockerfile::parse(text).unwrap(), [(name.to_owned(), "1".to_owned())]);
        let warnings = file.unused_args(&args.clone().into(), target);
        if !warnings.is_empty() {
            let without = file.lowered(&Variables::new(), target);
            assert_eq!(file.lowered(&args.into(), target), without, "{name}");
        }
        let texts: Vec<String> =
            warnings.iter().map(|one| format!("{}: {}", one.message, one.help)).collect();
        texts.concat()
    };
    let text = "ARG VERSION HTTP_PROXY\nFROM a AS x\nARG A\nFROM b\nONBUILD ARG LATER\nARG B";
    for (name, target, expected) in [
        ("VERSION", None, ""),
        ("A", None, ""),
        ("B", None, ""),
        ("HTTP_PROXY", None, ""),
        ("OTHER", None, "the Dockerfile does not declare `OTHER`: declare it with `ARG OTHER`"),
        ("VERSOIN", None, "the Dockerfile does not declare `VERSOIN`: did you mean `VERSION`?"),
        ("version", None, "the Dockerfile does not declare `version`: did you mean `VERSION`?"),
        (
            "B",
            Some("x"),
            "the Dockerfile does not declare `B`: its ARG comes after the target stage and is not \
             built: remove the value",
        ),
        (
            "No_Proxy",
            None,
            "`No_Proxy` is not passed on: no ARG can pass a proxy to every RUN: declare `ARG \
             No_Proxy` in each stage that needs it, or remove the value",
        ),
        (
            "SOURCE_DATE_EPOCH",
            None,
            "the Dockerfile does not declare `SOURCE_DATE_EPOCH`: the service sets the times of \
             the image; to read the value in a RUN, declare `ARG SOURCE_DATE_EPOCH`",
        ),
        (
            "BUILDKIT_INLINE_CACHE",
            None,
            "`BUILDKIT_INLINE_CACHE` is a setting of BuildKit, which is not passed on: remove it: \
             the service configures its builder",
        ),
        // These are errors.
        ("TARGETARCH", None, ""),
        ("BUILDKIT_SYNTAX", None, ""),
        ("A B", None, ""),
        ("OTHER", Some("none"), ""),
    ] {
        assert_eq!(unused(text, name, target), expected, "{name} {target:?}");
    }
}

/// The effect of a stage: its base, the paths that it copies, and its variables at the end.
#[derive(Debug, PartialEq)]
struct StageEffect {
    base: Result<String, String>,
    copied: Vec<Result<String, String>>,
    variables: BTreeMap<String, String>,
}

type Variables = BTreeMap<String, String>;

/// Computes the effects of the first `kept` stages as `docker build --build-arg` does: a second
/// implementation of BuildKit's `buildMetaArgs`, `buildDispatchStates`, `initOnBuildTriggers` and
/// `dispatchArg`.
fn effects(file: &Dockerfile, args: &Variables, kept: usize) -> Vec<StageEffect> {
    let expand = |text: &str, known: &Variables| {
        let lookup =
            |name: &str| known.get(name).cloned().map_or(VariableValue::Unset, VariableValue::Set);
        let shell = Shell { escape: file.escape, keep_quotes: false, lookup: &lookup };
        let expanded = shell.expand(text)?;
        if expanded.required_unset { Err("required".to_owned()) } else { Ok(expanded.text) }
    };
    let mut globals = Variables::new();
    for Assignment { name, value, .. } in &file.globals {
        let value = match (args.get(name), value) {
            (Some(value), _) => Some(value.clone()),
            (None, Some(value)) => expand(value, &globals).ok(),
            (None, None) => None,
        };
        globals.extend(value.map(|value| (name.clone(), value)));
    }
    let mut stages: Vec<StageEffect> = Vec::new();
    for (index, stage) in file.stages.iter().take(kept).enumerate() {
        let base = expand(&stage.base.value, &globals);
        let parent = base.as_ref().ok().and_then(|base| {
            let named =
                |stage: &super::super::instruction::Stage| stage.name.as_ref() == Some(base);
            file.stages[..index].iter().rposition(named)
        });
        let mut variables = parent.map(|at| stages[at].variables.clone()).unwrap_or_default();
        let triggers = parent.into_iter().flat_map(|at| &file.stages[at].instructions);
        let triggers = triggers.filter_map(|instruction| match instruction {
            Instruction::Onbuild(trigger) => Some(&**trigger),
            _ => None,
        });
        let mut copied = Vec::new();
        for instruction in triggers.chain(&stage.instructions) {
            match instruction {
                Instruction::Arg(args_of) => {
                    for Assignment { name, value, .. } in args_of {
                        let value = match (args.get(name), value) {
                            (Some(value), _) => Some(value.clone()),
                            (None, Some(value)) => expand(value, &variables).ok(),
                            (None, None) => globals.get(name).cloned(),
                        };
                        variables.extend(value.map(|value| (name.clone(), value)));
                    }
                }
                Instruction::Env(pairs) => {
                    let before = variables.clone();
                    for Assignment { name, value, .. } in pairs {
                        let value = value.as_deref().and_then(|v| expand(v, &before).ok());
                        variables.extend(value.map(|value| (name.clone(), value)));
                    }
                }
                Instruction::Copy(copy) => {
                    copied
                        .extend(copy.sources.iter().map(|place| expand(&place.value, &variables)));
                }
                _ => {}
            }
        }
        stages.push(StageEffect { base, copied, variables });
    }
    stages
}

/// Returns the text with each declaration of these arguments replaced by the name alone.
fn masked(file: &Dockerfile, args: &Variables, kept: usize) -> String {
    let mut replaced = Vec::new();
    for pair in file.declared(kept.checked_sub(1)) {
        if args.contains_key(&pair.name) {
            replaced.push((pair.span.clone(), pair.name.clone()));
        }
    }
    file.with_replaced(&replaced)
}

/// Checks every property of a lowered file.
fn check(file: &Dockerfile, args: &Variables, target: Option<&str>) -> Result<(), TestCaseError> {
    let lowered = match file.lowered(args, target) {
        Ok(lowered) => lowered,
        Err(errors) => return Err(TestCaseError::fail(format!("{}: {errors:?}", file.text()))),
    };
    let kept = lowered.stages().len();
    prop_assert!(target.is_some() || kept == file.stages().len());
    let none = Variables::new();
    prop_assert_eq!(
        effects(file, args, kept),
        effects(&lowered, &none, kept),
        "{}",
        lowered.text()
    );
    let (before, after) = (masked(file, args, kept), masked(&lowered, args, kept));
    let same = before.strip_prefix(&after);
    prop_assert!(same.is_some_and(|rest| target.is_some() || rest.is_empty()), "{}", after);
    let again = lowered.lowered(args, target);
    prop_assert_eq!(again.as_ref().map(Dockerfile::text), Ok(lowered.text()));
    prop_assert_eq!(&parse(lowered.text()), &lowered);
    if args.is_empty() && target.is_none() {
        prop_assert_eq!(lowered.text(), file.text());
    }
    Ok(())
}

/// Values that a line can hold, most of them with special characters.
fn value() -> impl Strategy<Value = String> {
    let special = "'\"\\`$#{}<=-:\r\t a\u{feff}\u{a0}\u{85}\u{2028}é*?/AB";
    let c = prop_oneof![
        9 => select(special.chars().collect::<Vec<_>>()),
        1 => any::<char>().prop_filter("can be written", |c| !matches!(c, '\n' | '\0')),
    ];
    proptest::collection::vec(c, 0..8).prop_map(|chars| chars.into_iter().collect())
}

/// A Dockerfile in which the variables `A`, `B`, `C` are declared and used in many ways.
fn dockerfile() -> impl Strategy<Value = String> {
    let arg = select(vec![
        "ARG A",
        "ARG A=1",
        "ARG A=s1",
        "ARG A=$B",
        "ARG B=${A:-x}\\\n-y",
        "ARG A B=2 C=\"$A $B\"",
        "ARG C='$A'",
        "arg B=\"a b\" \\\n # c\n\n  A",
        "ARG A=${A}x",
        "ARG B=${C:+y} B",
        "ARG  A=  B=\"'\"\t",
        "ARG C=\"\\\"\" A=\\\n'x'",
        "ARG B=s$A",
    ]);
    let line = prop_oneof![
        3 => arg.clone().prop_map(str::to_owned),
        1 => arg.clone().prop_map(|arg| format!("ONBUILD {arg}")),
        2 => select(vec![
            "ENV A=e", "ENV B=$A C=${C:-$B}", "ENV C x $A", "COPY x$A y$B /", "ONBUILD COPY o$A /",
            "RUN <<E cat <<-'F'\nARG A=1\nFROM no\nE\n\tF", "# ARG A", "", "RUN a \\\n  $A", "ONBUILD ENV A=o",
        ]).prop_map(str::to_owned),
    ];
    let from = select(vec![
        "FROM a:$A",
        "FROM s1 AS s2",
        "FROM s$A",
        "FROM ${B:-s2}",
        "FROM a AS s1",
        "FROM $C$A AS s1",
        "from s1",
    ]);
    let stage = (from, proptest::collection::vec(line, 0..6));
    let end = select(vec!["\n", "\r\n"]);
    let globals = proptest::collection::vec(arg, 0..4);
    let stages = proptest::collection::vec(stage, 1..4);
    let shape = (select(vec!["", "\u{feff}", "# escape=\\\n"]), any::<bool>(), end);
    (shape, globals, stages).prop_map(|((top, last, end), globals, stages)| {
        let mut lines: Vec<String> = globals.into_iter().map(str::to_owned).collect();
        for (from, more) in stages {
            lines.push(from.to_owned());
            lines.extend(more);
        }
        let text = format!("{top}{}{}", lines.join("\n"), if last { "\n" } else { "" });
        text.replace('\n', end)
    })
}

/// Returns the arguments that the file declares before the end of the target.
fn declared_args(file: &Dockerfile, args: Variables, target: Option<usize>) -> Variables {
    let declared = file.declared(target);
    args.into_iter().filter(|(name, _)| declared.iter().any(|pair| pair.name == *name)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..<_>::default() })]

    #[test]
    fn lowering_keeps_the_effects_of_generated_files(
        text in dockerfile(),
        args in proptest::collection::btree_map(select(vec!["A", "B", "C"]).prop_map(str::to_owned), value(), 0..4),
        target in proptest::option::of(0usize..4),
    ) {
        let file = Dockerfile::parse(&text);
        prop_assert!(file.is_ok(), "{}: {:?}", text, file);
        let file = file.unwrap();
        let target = target.filter(|target| *target < file.stages().len());
        let args = declared_args(&file, args, target);
        check(&file, &args, target.map(|target| target.to_string()).as_deref())?;
    }

    #[test]
    fn lowering_keeps_the_effects_of_the_test_files(
        pick in any::<proptest::sample::Index>(),
        values in proptest::collection::vec(proptest::option::of(value()), 8),
        target in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let file = &CORPUS[pick.index(CORPUS.len())];
        let target = target.map(|target| target.index(file.stages().len()));
        let names = file.declared(None).into_iter().map(|pair| pair.name.clone());
        let names = names.filter(|name| reserved(name).or_else(|| invalid_name(name)).is_none());
        let pairs = names.zip(values).filter_map(|(name, value)| Some((name, value?)));
        let args = declared_args(file, pairs.collect(), target);
        check(file, &args, target.map(|target| target.to_string()).as_deref())?;
    }

    #[test]
    fn errors_name_an_argument_or_the_target(
        text in dockerfile(),
        names in proptest::collection::vec(select(vec!["A", "B", "", "TARGETOS", "D", "http_proxy"]), 0..4),
        value in any::<String>(),
        target in proptest::option::of(select(vec!["s1", "S2", "x", "0", "9", "-1"])),
    ) {
        let args: Variables =
            names.into_iter().map(|name| (name.to_owned(), value.clone())).collect();
        if let Err(errors) = Dockerfile::parse(&text).unwrap().lowered(&args, target) {
            prop_assert!(!errors.is_empty());
            for error in errors {
                let known = match &error.subject {
                    LowerSubject::Arg(name) => args.contains_key(name),
                    LowerSubject::Target => target.is_some(),
                };
                prop_assert!(known && !error.message.contains("after writing"), "{:?}", error);
            }
        }
    }
}

/// The Dockerfiles of `tests/data`.
static CORPUS: LazyLock<Vec<Dockerfile>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dockerfiles");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "Dockerfile") {
            // Some of the files have errors.
            let file = Dockerfile::parse(&std::fs::read_to_string(&path).unwrap());
            let is_ordered = |file: &Dockerfile| {
                let reach = file.reach(&ReachRequest::new(Platform::Amd64)).unwrap();
                reach.errors.is_empty()
            };
            files.extend(file.ok().filter(is_ordered));
        }
    }
    assert!(files.len() > 40, "{} files: are these all?", files.len());
    files
});
