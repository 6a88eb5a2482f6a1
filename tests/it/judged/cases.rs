//! Dockerfiles written by hand, like those of public repositories.

use super::Question;

/// Text, target, and arguments as `NAME=value`.
type Case = (&'static str, Option<&'static str>, &'static [&'static str]);

const CASES: &[Case] = &[
    // Stages that nothing needs.
    (
        "FROM go AS build\nCOPY src .\nFROM build AS test\nCOPY . .\nFROM base\nCOPY --from=build a b\n",
        None,
        &[],
    ),
    (
        "FROM go AS build\nCOPY src .\nFROM build AS test\nCOPY . .\nFROM base\nCOPY --from=build a b\n",
        Some("test"),
        &[],
    ),
    (
        "FROM go AS build\nCOPY src .\nFROM build AS test\nCOPY tests .\nFROM base AS run\n",
        Some("build"),
        &[],
    ),
    ("FROM a AS x\nFROM b AS y\nFROM c\n", None, &[]),
    ("FROM a AS x\nFROM b AS y\nFROM c\n", Some("Y"), &[]),
    ("FROM a AS x\nFROM b AS y\nFROM c\n", Some("z"), &[]),
    // Unneeded stages that are broken.
    ("FROM a AS x\nCOPY ${bad /\nFROM b\nCOPY y /\n", None, &[]),
    ("FROM a AS x\nARG X=${bad\nFROM b\nCOPY y /\n", None, &[]),
    ("FROM a AS x\nENV X=${bad\nFROM b\nCOPY y /\n", None, &[]),
    ("FROM a AS x\nCOPY https://x.example/f /\nFROM b\nCOPY y /\n", None, &[]),
    ("FROM a AS x\nCOPY --from=later s d\nFROM b AS later\n", None, &[]),
    ("FROM a AS x\nCOPY --from=later s d\nFROM b AS later\nFROM x\n", None, &[]),
    ("FROM a AS x\nCOPY --from=7 s d\nFROM b\n", None, &[]),
    ("FROM bad: AS x\nFROM b\n", None, &[]),
    ("FROM $NOTHING AS x\nFROM b\n", None, &[]),
    ("FROM --platform=$NOTHING a AS x\nFROM b\n", None, &[]),
    ("FROM --platform=nosuch a AS x\nFROM b\n", None, &[]),
    ("FROM a AS x\nFROM --platform=nosuch x AS y\nFROM b\n", None, &[]),
    ("FROM a AS x\nCOPY --from=bad: s d\nFROM b\n", None, &[]),
    ("FROM a AS x\nCOPY --from=$X s d\nFROM b\n", None, &[]),
    ("FROM a AS x\nRUN --mount=type=bind,from=$X,target=/m t\nFROM b\n", None, &[]),
    ("FROM a AS x\nRUN --mount=type=other,target=/m t\nFROM b\n", None, &[]),
    ("FROM a AS x\nRUN --mount=type=other,target=/m t\nFROM x\n", None, &[]),
    ("FROM a AS x\nCOPY --from=y s d\nFROM b AS y\nCOPY --from=x s d\nFROM c\n", None, &[]),
    ("ARG X=${Y?needed}\nFROM a\n", None, &[]),
    ("ARG X=${Y?needed}\nFROM a\n", None, &["X=1"]),
    ("ARG X=${bad\nFROM a\n", None, &["X=1"]),
    ("FROM a\nARG X=${bad\nCOPY $X /\n", None, &["X=1"]),
    ("FROM a\nARG X=${bad\nCOPY $X /\n", None, &[]),
    // Stages chosen by arguments.
    (
        "ARG BASE=slim\nFROM a AS slim\nFROM b AS full\nCOPY big /\nFROM ${BASE}\nCOPY app /\n",
        None,
        &[],
    ),
    (
        "ARG BASE=slim\nFROM a AS slim\nFROM b AS full\nCOPY big /\nFROM ${BASE}\nCOPY app /\n",
        None,
        &["BASE=full"],
    ),
    (
        "ARG BASE=slim\nFROM a AS slim\nFROM b AS full\nCOPY big /\nFROM ${BASE}\nCOPY app /\n",
        None,
        &["BASE=quay.io/x/y:1"],
    ),
    (
        "FROM a AS stage-amd64\nCOPY amd /\nFROM b AS stage-arm64\nCOPY arm /\nFROM stage-$TARGETARCH\n",
        None,
        &[],
    ),
    ("ARG BASE\nFROM ${BASE:-a} AS x\nFROM ${BASE:+x}\n", None, &["BASE=b"]),
    ("ARG BASE\nFROM ${BASE:-a} AS x\nFROM ${BASE:+x}\n", None, &[]),
    ("ARG TARGETSTAGE\nFROM a AS one\nFROM b AS two\nFROM c-${TARGETSTAGE} AS three\n", None, &[]),
    ("FROM a AS one\nFROM b AS two\nFROM one AS three-$TARGETSTAGE\n", None, &[]),
    ("FROM a AS one\nFROM b-$TARGETSTAGE AS two\n", Some("TWO"), &[]),
    // Names.
    ("FROM alpine AS alpine\nFROM alpine\n", None, &[]),
    ("FROM a AS Build\nFROM build\n", None, &[]),
    ("FROM a AS Build\nFROM Build\n", None, &[]),
    (
        "FROM a AS build\nFROM b\nCOPY --from=BUILD x y\nRUN --mount=from=Build,target=/m t\n",
        None,
        &[],
    ),
    ("FROM a AS x\nFROM b AS x\nFROM x\n", None, &[]),
    ("FROM a AS x\nFROM x AS x\nFROM b\nCOPY --from=x s d\n", None, &[]),
    ("FROM a\nFROM b\nCOPY --from=0 s d\n", None, &[]),
    ("FROM a\nFROM b\nRUN --mount=from=0,target=/m t\n", None, &[]),
    ("FROM a AS scratch\nFROM scratch\nCOPY x /\n", None, &[]),
    ("FROM scratch\nCOPY --from=scratch x /\n", None, &[]),
    ("FROM scratch\nCOPY x /\n", None, &[]),
    ("FROM scratch\n", None, &[]),
    ("FROM a AS 1x\nFROM b\n", None, &[]),
    // Triggers.
    ("FROM a AS x\nONBUILD COPY app /\nFROM x\n", None, &[]),
    ("FROM a AS x\nONBUILD COPY app /\nFROM x AS y\nFROM y\n", None, &[]),
    ("FROM a AS x\nONBUILD COPY app /\n", None, &[]),
    ("FROM a AS x\nONBUILD COPY app /\nFROM b\nCOPY --from=x f g\n", None, &[]),
    (
        "FROM a AS x\nONBUILD COPY --from=tools t /\nFROM c AS tools\nCOPY tool t\nFROM x\n",
        None,
        &[],
    ),
    ("FROM a AS x\nONBUILD COPY --from=redis t /\nFROM x\n", None, &[]),
    ("FROM a AS x\nONBUILD COPY --from=redis t /\nFROM b\n", None, &[]),
    (
        "FROM a AS x\nONBUILD ARG DIR=app\nONBUILD COPY $DIR /\nFROM x\nCOPY $DIR/more /\n",
        None,
        &[],
    ),
    (
        "FROM a AS x\nONBUILD ARG DIR=app\nONBUILD COPY $DIR /\nFROM x\nCOPY $DIR/more /\n",
        None,
        &["DIR=other"],
    ),
    ("FROM a AS x\nONBUILD RUN --mount=type=bind,source=go.mod,target=/m t\nFROM x\n", None, &[]),
    ("FROM a AS x\nONBUILD COPY ${bad /\nFROM b\n", None, &[]),
    ("FROM a AS x\nONBUILD COPY ${bad /\nFROM x\n", None, &[]),
    ("FROM a AS x\nONBUILD ADD https://x.example/f /\nFROM x\n", None, &[]),
    ("FROM a AS x\nONBUILD COPY --from=y s d\nFROM x AS z\nFROM b AS y\nFROM z\n", None, &[]),
    // Here-documents, URLs and git.
    ("FROM a\nCOPY <<EOF /f\n$HOME\nEOF\n", None, &[]),
    ("FROM a\nCOPY <<A x <<B /d/\n1\nA\n2\nB\n", None, &[]),
    ("FROM a AS x\nFROM b\nCOPY --from=x <<EOF /f\nt\nEOF\n", None, &[]),
    ("FROM a\nRUN <<EOF\nCOPY no /\nFROM no\nEOF\nCOPY yes /\n", None, &[]),
    ("FROM a\nADD https://x.example/f.tgz /\n", None, &[]),
    ("FROM a\nADD https://github.com/a/b.git /b\n", None, &[]),
    ("FROM a\nADD git@github.com:a/b.git /b\n", None, &[]),
    ("FROM a\nADD git@github.com:a/b.git x /b/\n", None, &[]),
    ("FROM a\nADD github.com/a/b /b\n", None, &[]),
    ("FROM a\nADD ftp://x.example/f /b\n", None, &[]),
    ("FROM a\nCOPY https://x.example/f.tgz /\n", None, &[]),
    ("FROM a\nCOPY git@github.com:a/b.git /b\n", None, &[]),
    ("FROM a\nARG URL=https://x.example\nADD $URL/f /\n", None, &[]),
    // Paths.
    ("FROM a\nCOPY . .\n", None, &[]),
    ("FROM a\nCOPY / /\n", None, &[]),
    ("FROM a\nCOPY a/.. /\n", None, &[]),
    ("FROM a\nCOPY ../../x /a/./b/ c//d /to/\n", None, &[]),
    ("FROM a\nCOPY *.go cmd/*/main.go [ab]?.txt /to/\n", None, &[]),
    ("FROM a\nCOPY [\"a b\", \"c\\\\d\", \"/to/\"]\n", None, &[]),
    ("FROM a\nCOPY [\"a\", /to/]\n", None, &[]),
    ("FROM a\nCOPY \"quoted\" 'single' /to/\n", None, &[]),
    ("FROM a\nCOPY \"two words\" /to/\n", None, &[]),
    ("FROM a\nCOPY two\\ words /to/\n", None, &[]),
    ("FROM a\nCOPY \"\" /to/\n", None, &[]),
    ("FROM a\nCOPY --parents a/./b/*.c /to/\n", None, &[]),
    ("FROM a\nCOPY --parents --exclude=*.md --exclude=$X src /to/\n", None, &[]),
    ("FROM a\nADD --exclude=*.md --keep-git-dir=true src /to/\n", None, &[]),
    ("FROM a\nCOPY --link --chown=1:1 --chmod=755 src /to/\n", None, &[]),
    ("# escape=`\nFROM a\nCOPY a`\n  b /to/\nCOPY c` d e\\f /to/\n", None, &[]),
    ("# escape=`\nFROM a\nARG X=y\nCOPY `$X \"`$X\" $X /to/\n", None, &[]),
    ("FROM a\nCOPY x\n", None, &[]),
    ("FROM a\nCOPY x ${bad\n", None, &[]),
    // Variables.
    (
        "FROM a\nARG DIR=src\nENV SUB=$DIR/x\nCOPY ${SUB}/f ${DIR:+d} ${NO:-e} ${DIR%c} /to/\n",
        None,
        &[],
    ),
    ("FROM a\nARG DIR=src\nCOPY $DIR /to/\n", None, &["DIR=."]),
    ("ARG DIR=src\nFROM a\nCOPY \"x$DIR\" /to/\n", None, &[]),
    ("ARG DIR=src\nFROM a\nARG DIR\nCOPY x$DIR /to/\n", None, &[]),
    ("ARG DIR=src\nFROM a AS x\nARG DIR\nFROM x\nCOPY $DIR /to/\n", None, &[]),
    ("FROM scratch\nCOPY $NOTHING /to/\n", None, &[]),
    ("FROM scratch\nCOPY $NOTHING/x /to/\n", None, &["NOTHING=y"]),
    ("FROM a\nARG TARGETARCH\nCOPY bin-$TARGETARCH /to/\n", None, &[]),
    ("FROM a\nARG BUILDARCH\nCOPY bin-$BUILDARCH /to/\n", None, &[]),
    ("FROM a\nENV A=1 B=$A\nCOPY x$B /to/\n", None, &[]),
    ("FROM a\nENV A=1\nENV A=2 B=$A\nCOPY x$B /to/\n", None, &[]),
    ("FROM a\nARG A=1 B=$A\nCOPY x$B /to/\n", None, &[]),
    ("FROM a\nENV A=1\nARG A=2\nCOPY x$A /to/\n", None, &["A=3"]),
    ("FROM a\nCOPY ${A?needed} /to/\n", None, &[]),
    ("FROM scratch\nCOPY ${A?needed} /to/\n", None, &[]),
    // Mounts.
    ("FROM a\nRUN --mount=target=/m make\n", None, &[]),
    ("FROM a\nRUN --mount=type=bind,source=go.mod,target=/m make\n", None, &[]),
    ("FROM a\nRUN --mount=type=bind,src=a*,dst=/m --mount=type=cache,target=/c make\n", None, &[]),
    ("FROM a\nARG D=src\nRUN --mount=type=bind,source=$D/x,target=/m make\n", None, &[]),
    ("FROM a\nARG T=bind\nRUN --mount=type=$T,source=x,target=/m make\n", None, &["T=cache"]),
    ("FROM a\nARG T=bind\nRUN --mount=type=$T,source=x,target=/m make\n", None, &[]),
    ("FROM a AS x\nCOPY s /\nFROM b\nRUN --mount=from=x,source=/s,target=/m make\n", None, &[]),
    ("FROM a\nRUN --mount=from=busybox,target=/m make\n", None, &[]),
    ("FROM a\nRUN --mount=type=ssh --mount=type=secret,id=s,target=/s make\n", None, &[]),
    ("FROM a\nRUN --mount=type=tmpfs,target=/t make\nCOPY x /\n", None, &[]),
    ("FROM a AS x\nCOPY s /\nFROM b\nRUN --mount=type=ssh,from=x make\n", None, &[]),
    ("FROM a AS x\nCOPY s /\nFROM b\nRUN --mount=type=ssh,from=x make\nCOPY y /\n", None, &[]),
    ("FROM a\nRUN --mount=type=ssh,from=busybox make\n", None, &[]),
    ("FROM a\nRUN --mount=type=cache,from=busybox,target=/c make\n", None, &[]),
    ("FROM a\nRUN --mount=type=cache,from=busybox,source=/x,target=/c,uid=7 make\n", None, &[]),
    ("FROM a\nRUN --mount=type=BIND,\"source=a,b\",target=/m make\n", None, &[]),
    // Platforms.
    (
        "FROM --platform=$BUILDPLATFORM go AS build\nCOPY src .\nFROM a\nCOPY --from=build x y\n",
        None,
        &[],
    ),
    ("FROM --platform=linux/arm/v7 a\n", None, &[]),
    ("FROM --platform=arm64 a AS x\nFROM --platform=amd64 x\nCOPY y /\n", None, &[]),
    // Frontends of Docker.
    ("# syntax=docker/dockerfile:1.7-labs\nFROM a\nCOPY x /\n", None, &[]),
    ("#syntax=docker.io/docker/dockerfile-upstream:master\nFROM a\nCOPY x /\n", None, &[]),
];

/// Returns each case on both platforms where the platform matters, else on arm64.
pub(super) fn questions() -> Vec<Question> {
    let mut questions = Vec::new();
    for (text, target, args) in CASES {
        let args = args.iter().map(|arg| {
            let (name, value) = arg.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        });
        let question = Question {
            text: (*text).to_owned(),
            target: target.map(str::to_owned),
            args: args.collect(),
            platform: "linux/arm64".to_owned(),
        };
        if ["ARCH", "PLATFORM", "platform"].iter().any(|name| text.contains(name)) {
            questions.push(Question { platform: "linux/amd64".to_owned(), ..question.clone() });
        }
        questions.push(question);
    }
    questions
}
