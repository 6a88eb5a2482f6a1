//! Invalid manifests and Dockerfiles: each problem has its file and line, an underlined value and
//! help; nothing is sent or written.

use insta::assert_snapshot;
use serde_json::Value;

use crate::support::{Output, TestEnv};

/// An invalid manifest, and its expected problem.
struct InvalidManifest {
    /// The mistake.
    name: &'static str,
    manifest: &'static [u8],
    /// Start of the position: `file:line:column`. Empty if the problem has no line.
    position: &'static str,
    /// Start of the underlined text.
    underlined: &'static str,
    /// Parts of the message and the help.
    texts: &'static [&'static str],
}

macro_rules! invalid {
    ($name:literal, $manifest:expr, $position:literal, $underlined:literal, [$($text:literal),+]) => {
        InvalidManifest {
            name: $name,
            manifest: $manifest.as_bytes(),
            position: $position,
            underlined: $underlined,
            texts: &[$($text),+],
        }
    };
}

/// Returns the invalid manifests. `write_contexts` writes the folders that they use.
#[expect(clippy::too_many_lines, reason = "a table")]
fn invalid_manifests() -> Vec<InvalidManifest> {
    vec![
        invalid!(
            "an unknown key",
            "version: 1\nimages:\n  - name: app\n    contxt: app\n",
            "imgplan.yaml:4:5",
            "contxt",
            ["unknown key `contxt`", "did you mean `context`?"]
        ),
        invalid!(
            "several tags of an image",
            "version: 1\nimages:\n  - name: app\n    context: app\n    tags: [v1, latest]\n",
            "imgplan.yaml:5:5",
            "tags",
            ["an image has one tag", "no aliases", "matrix: { TAG: [v1, latest] }"]
        ),
        invalid!(
            "a YAML tag of another tool",
            "version: 1\nimages:\n  - name: app\n    context: app\n    tag: !env TAG\n",
            "imgplan.yaml:5:10",
            "!env",
            ["unsupported YAML tag `!env`", "write ${NAME}"]
        ),
        invalid!(
            "a YAML tag that includes a file",
            "version: 1\nimages:\n  - name: app\n    context: app\n    args: !include args.yaml\n",
            "imgplan.yaml:5:11",
            "!include",
            ["unsupported YAML tag `!include`", "under `include:`"]
        ),
        invalid!(
            "a YAML set",
            "version: 1\nimages:\n  - name: app\n    context: app\n    platforms: !!set {linux/amd64}\n",
            "imgplan.yaml:5:16",
            "!!set",
            ["unsupported YAML tag `!!set`", "write a list"]
        ),
        invalid!(
            "a YAML tag in a merge key",
            "version: 1\nimages:\n  - name: app\n    context: app\n    <<: !x {tag: v1}\n",
            "imgplan.yaml:5:9",
            "!x",
            ["unsupported YAML tag `!x`", "remove the tag"]
        ),
        invalid!(
            "a YAML tag in an ignored key",
            "version: 1\nimages:\n  - name: app\n    context: app\nx-common: !x {tag: v1}\n",
            "imgplan.yaml:5:11",
            "!x",
            ["unsupported YAML tag `!x`"]
        ),
        invalid!(
            "a number by its YAML tag",
            "version: 1\nimages:\n  - name: app\n    context: app\n    tag: !!int \"12\"\n",
            "imgplan.yaml:5:16",
            "\"12\"",
            ["YAML reads 12 as a number", "quote it: \"12\""]
        ),
        invalid!(
            "a second document",
            "version: 1\nimages:\n  - name: app\n    context: app\n---\nversion: 1\nimages: []\n",
            "imgplan.yaml:5:1",
            "---",
            ["several YAML documents", "under `include:`"]
        ),
        invalid!(
            "an empty second document",
            "version: 1\nimages:\n  - name: app\n    context: app\n---\n",
            "imgplan.yaml:5:1",
            "---",
            ["several YAML documents"]
        ),
        invalid!(
            "a document after an end mark",
            "version: 1\nimages:\n  - name: app\n    context: app\n...\nversion: 1\n",
            "imgplan.yaml:6:1",
            "",
            ["several YAML documents"]
        ),
        invalid!(
            "a wrong indentation",
            "version: 1\nimages:\n  - name: app\n    context: app\n   tag: v1\n",
            "imgplan.yaml:5:4",
            "tag: v1",
            ["fits no line above it", "4 spaces, as on line 4"]
        ),
        invalid!(
            "a tag that YAML reads as an octal number",
            "version: 1\nimages:\n  - name: app\n    context: app\n    tag: 012\n",
            "imgplan.yaml:5:10",
            "012",
            ["YAML reads 012 as the number 12", "quote it: \"012\""]
        ),
        invalid!(
            "a tag that YAML reads as a power",
            "version: 1\nimages:\n  - name: app\n    context: app\n    tag: 1e3\n",
            "imgplan.yaml:5:10",
            "1e3",
            ["YAML reads 1e3 as the number 1000", "quote it: \"1e3\""]
        ),
        invalid!(
            "a tag that YAML reads as a Boolean",
            "version: 1\nimages:\n  - name: app\n    context: app\n    tag: True\n",
            "imgplan.yaml:5:10",
            "True",
            ["YAML reads True as a Boolean", "quote it: \"True\""]
        ),
        invalid!(
            "a tag that YAML reads as infinity",
            "version: 1\nimages:\n  - name: app\n    context: app\n    tag: .inf\n",
            "imgplan.yaml:5:10",
            ".inf",
            ["YAML reads .inf as a number", "quote it: \".inf\""]
        ),
        invalid!(
            "a tag that YAML reads as no value",
            "version: 1\nimages:\n  - name: app\n    context: app\n    tag: null\n",
            "imgplan.yaml:5:10",
            "null",
            ["YAML reads null as no value", "quote it: \"null\""]
        ),
        invalid!(
            "a mapping whose lines are not indented",
            "version: 1\nimages:\n  - name: app\n    context: app\n    labels:\nvars: {}\n",
            "imgplan.yaml:5:5",
            "labels",
            ["this key has no value", "indent its lines more"]
        ),
        invalid!(
            "a key of an image at the top level",
            "version: 1\nimages:\n  - name: app\n    context: app\nneeds: [base]\n",
            "imgplan.yaml:5:1",
            "needs",
            ["unknown key `needs`", "`needs` is a key of an image: indent it"]
        ),
        invalid!(
            "arguments as Compose lists them",
            "version: 1\nimages:\n  - name: app\n    context: app\n    args: [A=b c, D=e]\n",
            "imgplan.yaml:5:11",
            "",
            ["expected a mapping, found a list", "write `A: \"b c\"`"]
        ),
        invalid!(
            "a key of Compose",
            "version: 1\nimages:\n  - name: app\n    context: app\n    depends_on: [base]\n",
            "imgplan.yaml:5:5",
            "depends_on",
            ["unknown key `depends_on`", "write `needs` instead"]
        ),
        invalid!(
            "a key of Bake",
            "version: 1\nimages:\n  - name: app\n    context: app\n    build_args: {A: b}\n",
            "imgplan.yaml:5:5",
            "build_args",
            ["unknown key `build_args`", "write `args` instead"]
        ),
        invalid!(
            "a key for a reference",
            "version: 1\nimages:\n  - name: app\n    context: app\n    repository: a/b\n",
            "imgplan.yaml:5:5",
            "repository",
            ["unknown key `repository`", "write `name:` and `tag:`"]
        ),
        invalid!(
            "a Dockerfile relative to the manifest",
            "version: 1\nimages:\n  - name: app\n    context: app\n    dockerfile: app/Dockerfile\n",
            "imgplan.yaml:5:17",
            "app/Dockerfile",
            [
                "there is no Dockerfile app/app/Dockerfile",
                "`dockerfile:` is relative to the context: write `dockerfile: Dockerfile`"
            ]
        ),
        invalid!(
            "a Dockerfile of another context",
            "version: 1\nimages:\n  - name: app\n    context: empty\n    dockerfile: app/Dockerfile\n",
            "imgplan.yaml:5:17",
            "app/Dockerfile",
            ["write `dockerfile: ../app/Dockerfile`"]
        ),
        invalid!(
            "an unknown key at the top level",
            "version: 1\nimage:\n  - {name: app, context: app}\n",
            "imgplan.yaml:2:1",
            "image",
            ["unknown key `image`", "did you mean `images`?"]
        ),
        invalid!(
            "a tab",
            "version: 1\nimages:\n  - name: app\n\tcontext: app\n",
            "imgplan.yaml:4:2",
            "context: app",
            ["this line is indented with a tab", "replace the tab"]
        ),
        invalid!(
            "a tag that YAML reads as a number",
            "version: 1\nimages:\n  - name: app\n    tag: 1.10\n    context: app\n",
            "imgplan.yaml:4:10",
            "1.10",
            ["YAML reads 1.10 as the number 1.1", "quote it: \"1.10\""]
        ),
        invalid!(
            "a duplicate key",
            "version: 1\nimages:\n  - name: app\n    context: app\n    name: other\n",
            "imgplan.yaml:5:5",
            "name",
            ["duplicate key `name`", "remove one of the two"]
        ),
        invalid!(
            "a context and a source",
            "version: 1\nimages:\n  - name: app\n    context: app\n    source: redis:7\n",
            "imgplan.yaml:4:14",
            "app",
            ["not both", "remove one of the two"]
        ),
        invalid!(
            "neither a context nor a source",
            "version: 1\nimages:\n  - name: app\n",
            "imgplan.yaml:3:5",
            "name",
            ["neither a context nor a source", "add `context:`"]
        ),
        invalid!(
            "a missing folder",
            "version: 1\nimages:\n  - name: app\n    context: services/nowhere\n",
            "imgplan.yaml:4:14",
            "services/nowhere",
            ["there is no folder services/nowhere", "relative to the folder of the manifest"]
        ),
        invalid!(
            "a file instead of a folder",
            "version: 1\nimages:\n  - name: app\n    context: app/Dockerfile\n",
            "imgplan.yaml:4:14",
            "app/Dockerfile",
            ["app/Dockerfile is not a folder", "`dockerfile:`"]
        ),
        invalid!(
            "a bad platform",
            "version: 1\nimages:\n  - name: app\n    context: app\n    platforms: [linux/amd65]\n",
            "imgplan.yaml:5:17",
            "linux/amd65",
            ["`linux/amd65`", "linux/amd64"]
        ),
        invalid!(
            "a duplicate platform",
            "version: 1\nimages:\n  - name: app\n    context: app\n    platforms: [linux/amd64, linux/amd64]\n",
            "imgplan.yaml:5:30",
            "linux/amd64",
            ["linux/amd64 is listed twice", "remove one of them"]
        ),
        invalid!(
            "a bad visibility",
            "version: 1\nimages:\n  - name: app\n    context: app\n    visibility: secret\n",
            "imgplan.yaml:5:17",
            "secret",
            ["`secret`", "public"]
        ),
        invalid!(
            "a bad tag",
            "version: 1\nimages:\n  - name: app\n    tag: \"a b\"\n    context: app\n",
            "imgplan.yaml:4:10",
            "\"a b\"",
            ["`a b` is not a tag", "use letters, digits"]
        ),
        invalid!(
            "a bad name",
            "version: 1\nimages:\n  - name: App\n    context: app\n",
            "imgplan.yaml:3:11",
            "App",
            ["`App` is not an image name", "write `app`"]
        ),
        invalid!(
            "a name with a tag in it",
            "version: 1\nimages:\n  - name: app:v1\n    context: app\n",
            "imgplan.yaml:3:11",
            "app:v1",
            ["`app:v1` is not an image name", "under its own key"]
        ),
        invalid!(
            "a namespace in a personal name",
            "version: 1\nimages:\n  - name: tools/app\n    context: app\n",
            "imgplan.yaml:3:11",
            "tools/app",
            ["`tools/app` contains a `/`", "owner: platform"]
        ),
        invalid!(
            "two images with one destination",
            "version: 1\nimages:\n  - name: app\n    context: app\n  - name: app\n    source: redis:7\n    tag: latest\n",
            "imgplan.yaml:5:11",
            "app",
            ["two images have the destination app:latest", "change the `name:` or `tag:`"]
        ),
        invalid!(
            "an unknown need",
            "version: 1\nimages:\n  - name: app\n    context: app\n    needs: [bse]\n  - name: base\n    context: app\n",
            "imgplan.yaml:5:13",
            "bse",
            ["no image of this manifest is named `bse`", "did you mean `base`?"]
        ),
        invalid!(
            "a need of another tag",
            "version: 1\nimages:\n  - name: app\n    context: app\n    needs: [\"base:v2\"]\n  - {name: base, tag: v1, context: app}\n",
            "imgplan.yaml:5:13",
            "\"base:v2\"",
            ["`base:v2`", "`base` has the tag v1"]
        ),
        invalid!(
            "a cycle",
            "version: 1\nimages:\n  - {name: a, context: app, needs: [b]}\n  - {name: b, context: app, needs: [a]}\n",
            "imgplan.yaml:3:37",
            "b",
            [
                "dependency cycle: a:latest -> b:latest -> a:latest",
                "remove one of these dependencies"
            ]
        ),
        invalid!(
            "an image that depends on itself",
            "version: 1\nimages:\n  - {name: a, context: app, needs: [a]}\n",
            "imgplan.yaml:3:37",
            "a",
            ["a:latest -> a:latest"]
        ),
        invalid!(
            "a newer version",
            "version: 2\nimages: []\n",
            "imgplan.yaml:1:10",
            "2",
            ["unsupported manifest version 2", "install a newer imgplan"]
        ),
        invalid!(
            "no version",
            "images:\n  - {name: app, context: app}\n",
            "imgplan.yaml:1:1",
            "images",
            ["the manifest has no version", "begin the file with `version: 1`"]
        ),
        invalid!("an empty file", "", "", "", ["the manifest is empty", "version: 1"]),
        invalid!("only a comment", "# later\n", "", "", ["the manifest is empty", "version: 1"]),
        invalid!(
            "a list instead of a mapping",
            "- name: app\n",
            "imgplan.yaml:1:",
            "",
            ["a manifest must be a mapping"]
        ),
        InvalidManifest {
            name: "not UTF-8",
            manifest: b"version: 1\nimages:\n  - name: caf\xe9\n",
            position: "",
            underlined: "",
            texts: &["is not UTF-8", "line 3", "save the file as UTF-8"],
        },
        invalid!(
            "an unset variable",
            "version: 1\nimages:\n  - name: app\n    tag: ${VERSION}\n    context: app\n",
            "imgplan.yaml:4:10",
            "${VERSION}",
            ["the variable `VERSION` is not set", "${VERSION:-default}"]
        ),
        invalid!(
            "a required variable",
            "version: 1\nimages:\n  - name: app\n    tag: \"${VERSION:?say which release}\"\n    context: app\n",
            "imgplan.yaml:4:10",
            "\"${VERSION:?say which release}\"",
            ["VERSION: say which release", "set `VERSION`"]
        ),
        invalid!(
            "a bad digest",
            "version: 1\nimages:\n  - name: app\n    source: redis@sha256:abc\n",
            "imgplan.yaml:4:13",
            "redis@sha256:abc",
            ["digest"]
        ),
        invalid!(
            "a comma in a source",
            "version: 1\nimages:\n  - name: app\n    source: \"redis:7,redis:8\"\n",
            "imgplan.yaml:4:13",
            "\"redis:7,redis:8\"",
            ["comma"]
        ),
        invalid!(
            "a private image of the platform",
            "version: 1\nimages:\n  - name: app\n    context: app\n    owner: platform\n    visibility: private\n",
            "imgplan.yaml:6:17",
            "private",
            ["public", "visibility: public"]
        ),
        invalid!(
            "a bad owner",
            "version: 1\nowner: me\nimages:\n  - {name: app, context: app}\n",
            "imgplan.yaml:2:8",
            "me",
            ["owner", "`team: <id>`"]
        ),
        invalid!(
            "a key without a value",
            "version: 1\nimages:\n  - name:\n    context: app\n",
            "imgplan.yaml:3:5",
            "name",
            ["this key has no value", "write a value or remove the key"]
        ),
        invalid!(
            "a string for a list",
            "version: 1\nimages:\n  - name: app\n    context: app\n    platforms: linux/amd64\n",
            "imgplan.yaml:5:16",
            "linux/amd64",
            ["expected a list, found the string `linux/amd64`", "[linux/amd64]"]
        ),
        invalid!(
            "a list for a string",
            "version: 1\nimages:\n  - name: [app]\n    context: app\n",
            "imgplan.yaml:3:1",
            "",
            ["expected a string, found a list"]
        ),
        invalid!(
            "a timeout without a unit",
            "version: 1\nimages:\n  - name: app\n    context: app\n    timeout: \"30\"\n",
            "imgplan.yaml:5:14",
            "\"30\"",
            ["30"]
        ),
        invalid!(
            "an unknown setting",
            "version: 1\nsettings: {concurency: 3}\nimages:\n  - {name: app, context: app}\n",
            "imgplan.yaml:2:12",
            "concurency",
            ["did you mean `concurrency`?"]
        ),
        invalid!(
            "a size without a unit",
            "version: 1\nsettings: {context_warn: 500}\nimages:\n  - {name: app, context: app}\n",
            "imgplan.yaml:2:26",
            "500",
            ["`500` has no unit", "add the unit: 500MB, 500MiB"]
        ),
        invalid!(
            "a fractional size",
            "version: 1\nsettings: {context_max: 1.5GB}\nimages:\n  - {name: app, context: app}\n",
            "imgplan.yaml:2:25",
            "1.5GB",
            ["`1.5GB` is not a size", "a whole number above zero and a unit: 64kB, 500MB"]
        ),
        invalid!(
            "a warning above the maximum",
            "version: 1\nsettings:\n  context_max: 500MB\n  context_warn: 1GB\nimages:\n  - {name: app, context: app}\n",
            "imgplan.yaml:4:17",
            "1GB",
            [
                "`context_warn` is above `context_max`",
                "warning above this size",
                "error above this size"
            ]
        ),
        invalid!(
            "an unknown request class",
            "version: 1\nsettings:\n  limits:\n    intiate: 10/60s\nimages:\n  - {name: app, context: app}\n",
            "imgplan.yaml:4:5",
            "intiate",
            ["intiate", "initiate"]
        ),
        invalid!(
            "an open bracket",
            "version: 1\nimages: [{name: app\n",
            "imgplan.yaml:",
            "",
            ["help"]
        ),
        invalid!(
            "a missing Dockerfile",
            "version: 1\nimages:\n  - name: app\n    context: empty\n",
            "imgplan.yaml:4:14",
            "empty",
            ["there is no Dockerfile empty/Dockerfile", "`dockerfile:`"]
        ),
        invalid!(
            "an instruction that does not exist",
            "version: 1\nimages:\n  - {name: app, context: typo}\n",
            "typo/Dockerfile:2:1",
            "RUM",
            ["RUM", "RUN"]
        ),
        invalid!(
            "a Dockerfile without a FROM",
            "version: 1\nimages:\n  - {name: app, context: fromless}\n",
            "fromless/Dockerfile:",
            "",
            ["FROM"]
        ),
        invalid!(
            "an ARG without a value",
            "version: 1\nimages:\n  - {name: app, context: arg}\n",
            "arg/Dockerfile:2:6",
            "$BASE",
            ["BASE", "give it a default", "a value under `args:`", "`infer_bases: false`"]
        ),
        invalid!(
            "a base of another platform",
            "version: 1\nimages:\n  - {name: base, tag: v1, context: app}\n  - {name: app, context: based, platforms: [linux/arm64]}\n",
            "based/Dockerfile:1:6",
            "base:v1",
            [
                "`base:v1` is not built for linux/arm64",
                "add linux/arm64 to the platforms of `base`"
            ]
        ),
        invalid!(
            "a mirror with a Dockerfile",
            "version: 1\nimages:\n  - {source: \"redis:7\", dockerfile: Dockerfile}\n",
            "imgplan.yaml:3:37",
            "Dockerfile",
            ["a mirror has no Dockerfile"]
        ),
        invalid!(
            "an argument that YAML reads as a number",
            "version: 1\nimages:\n  - {name: app, context: arg, args: {BASE: 3.10}}\n",
            "imgplan.yaml:3:44",
            "3.10",
            ["YAML reads 3.10 as the number 3.1", "quote it: \"3.10\""]
        ),
        invalid!(
            "an argument that YAML reads as a Boolean",
            "version: 1\nimages:\n  - {name: app, context: arg, args: {BASE: true}}\n",
            "imgplan.yaml:3:44",
            "true",
            ["YAML reads true as a Boolean", "quote it: \"true\""]
        ),
        invalid!(
            "an invalid name of an argument",
            "version: 1\nimages:\n  - {name: app, context: arg, args: {1BASE: a}}\n",
            "imgplan.yaml:3:38",
            "1BASE",
            ["`1BASE` is not the name of an ARG", "start with a letter or `_`"]
        ),
        invalid!(
            "an empty target",
            "version: 1\nimages:\n  - {name: app, context: app, target: \"\"}\n",
            "imgplan.yaml:3:39",
            "\"\"",
            ["a target cannot be empty", "to build the last"]
        ),
        invalid!(
            "a mirror with args",
            "version: 1\nimages:\n  - {source: \"redis:7\", args: {A: b}}\n",
            "imgplan.yaml:3:31",
            "{",
            ["a mirror has no build arguments", "build from a `context` instead"]
        ),
        invalid!(
            "a mirror with a target",
            "version: 1\nimages:\n  - {source: \"redis:7\", target: a}\n",
            "imgplan.yaml:3:33",
            "a",
            ["a mirror has no target"]
        ),
        invalid!(
            "a mirror with infer_bases",
            "version: 1\nimages:\n  - {source: \"redis:7\", infer_bases: false}\n",
            "imgplan.yaml:3:38",
            "false",
            ["a mirror has no bases"]
        ),
        invalid!(
            "a string for a Boolean",
            "version: 1\nimages:\n  - {name: app, context: app, infer_bases: no}\n",
            "imgplan.yaml:3:44",
            "no",
            ["expected `true` or `false`"]
        ),
        invalid!(
            "an age below a minute",
            "version: 1\nimages:\n  - {name: app, context: app, max_age: 59s}\n",
            "imgplan.yaml:3:40",
            "59s",
            ["`max_age` is less than one minute", "1m, 24h, 7d"]
        ),
        invalid!(
            "an age without a unit",
            "version: 1\nimages:\n  - {name: app, context: app, max_age: 7}\n",
            "imgplan.yaml:3:40",
            "7",
            ["`7` has no unit"]
        ),
        invalid!(
            "an invalid key of a label",
            "version: 1\nimages:\n  - {name: app, context: app, labels: {a b: c}}\n",
            "imgplan.yaml:3:40",
            "a b",
            ["`a b` is not the key of a label", "use at most 128 letters"]
        ),
        invalid!(
            "a label with two lines",
            "version: 1\nimages:\n  - {name: app, context: app, labels: {a: \"b\\nc\"}}\n",
            "imgplan.yaml:3:43",
            "\"b\\nc",
            ["the label `a` contains a control character", "write one line of plain text"]
        ),
        invalid!(
            "a label that YAML reads as a number",
            "version: 1\nimages:\n  - {name: app, context: app, labels: {a: 1}}\n",
            "imgplan.yaml:3:43",
            "1",
            ["quote it: \"1\""]
        ),
        invalid!(
            "an invalid name of a group",
            "version: 1\nimages:\n  - {name: app, context: app, groups: [a b]}\n",
            "imgplan.yaml:3:40",
            "a b",
            ["`a b` is not the name of a group"]
        ),
        invalid!(
            "an invalid name of a group at the top level",
            "version: 1\nimages:\n  - {name: app, context: app}\ngroups: {a b: [app]}\n",
            "imgplan.yaml:4:10",
            "a b",
            ["`a b` is not the name of a group"]
        ),
        invalid!(
            "a pattern that cannot match",
            "version: 1\nimages:\n  - {name: app, context: app}\ngroups: {a: [\"[ab]\"]}\n",
            "imgplan.yaml:4:14",
            "\"[ab]\"",
            ["`[` cannot be part of an image name or tag", "`*` matches any characters"]
        ),
        invalid!(
            "an unknown placeholder in a tag",
            "version: 1\nimages:\n  - {name: app, context: app, tag: \"v1-{os}\"}\n",
            "imgplan.yaml:3:36",
            "\"v1-{os}\"",
            ["`{os}` is not a placeholder of a tag", "{arch} and {fingerprint}"]
        ),
        invalid!(
            "a brace in a tag",
            "version: 1\nimages:\n  - {name: app, context: app, tag: \"v1-{arch\"}\n",
            "imgplan.yaml:3:36",
            "\"v1-{arch\"",
            ["without its `}`", "{arch} and {fingerprint}"]
        ),
        invalid!(
            "a tag that is too long with its fingerprint",
            "version: 1\ndefaults: {tag: \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx{fingerprint}\"}\nimages:\n  - {name: app, context: app}\n",
            "imgplan.yaml:2:17",
            "\"xxx",
            ["at most 128 characters", "shorten the tag"]
        ),
        invalid!(
            "two images with one content tag",
            "version: 1\nimages:\n  - {name: app, context: app, tag: \"{fingerprint}\"}\n  - {name: app, context: based, tag: \"{fingerprint}\"}\n",
            "imgplan.yaml:4:12",
            "app",
            ["two images have the destination app:{fingerprint}", "change the `name:` or `tag:`"]
        ),
        invalid!(
            "a tag that a content tag may become",
            "version: 1\nimages:\n  - {name: app, context: app, tag: 0123456789ab}\n  - {name: app, context: based, tag: \"{fingerprint}\"}\n",
            "imgplan.yaml:4:12",
            "app",
            ["two images have the destination app:0123456789ab", "change the `name:` or `tag:`"]
        ),
        invalid!(
            "a content tag in needs",
            "version: 1\nimages:\n  - {name: app, context: app, tag: \"v1-{fingerprint}\"}\n  - {name: web, context: app, needs: [\"app:v1-{fingerprint}\"]}\n",
            "imgplan.yaml:4:39",
            "\"app:v1-",
            [
                "no image of this manifest is named `app:v1-{fingerprint}`",
                "write `app` without a tag"
            ]
        ),
        invalid!(
            "a move to an unknown image",
            "version: 1\nimages:\n  - {name: app, context: app}\nmoved:\n  - {from: old, to: ap}\n",
            "imgplan.yaml:5:21",
            "ap",
            ["no image of this manifest is named `ap`", "did you mean `app`?"]
        ),
        invalid!(
            "a move to another tag",
            "version: 1\nimages:\n  - {name: app, context: app}\nmoved:\n  - {from: \"old:v1\", to: \"app:v1\"}\n",
            "imgplan.yaml:5:26",
            "\"app:v1\"",
            ["no image of this manifest is named `app:v1`", "the manifest has app:latest"]
        ),
        invalid!(
            "a move from an existing image",
            "version: 1\nimages:\n  - {name: app, context: app}\n  - {name: web, context: app}\nmoved:\n  - {from: app, to: web}\n",
            "imgplan.yaml:6:12",
            "app",
            [
                "`app` is still in the manifest",
                "moved or removed",
                "remove the image from `images`"
            ]
        ),
        invalid!(
            "two moves of one image",
            "version: 1\nimages:\n  - {name: app, context: app}\n  - {name: web, context: app}\nmoved:\n  - {from: old, to: web}\n  - {from: old, to: app}\n",
            "imgplan.yaml:7:12",
            "old",
            ["`old` is moved twice", "remove one of the two"]
        ),
        invalid!(
            "two moves to one image",
            "version: 1\nimages:\n  - {name: app, context: app}\nmoved:\n  - {from: old, to: app}\n  - {from: older, to: app}\n",
            "imgplan.yaml:6:23",
            "app",
            ["two images are moved to `app`", "remove one of the two"]
        ),
        invalid!(
            "a move from a tag to a name",
            "version: 1\nimages:\n  - {name: app, context: app}\nmoved:\n  - {from: \"old:v1\", to: app}\n",
            "imgplan.yaml:5:26",
            "app",
            ["only one of `old:v1` and `app` has a tag", "in both, or in neither"]
        ),
        invalid!(
            "a cycle of moves",
            "version: 1\nimages:\n  - {name: app, context: app}\nmoved:\n  - {from: a, to: b}\n  - {from: b, to: a}\n",
            "imgplan.yaml:5:19",
            "b",
            ["cycle of moves: a -> b -> a", "a moves to b", "b moves to a"]
        ),
        invalid!(
            "a move without a new name",
            "version: 1\nimages:\n  - {name: app, context: app}\nmoved:\n  - {from: old}\n",
            "imgplan.yaml:5:5",
            "{",
            ["this entry has no `to`", "add `to:`"]
        ),
        invalid!(
            "a move with a typo",
            "version: 1\nimages:\n  - {name: app, context: app}\nmoved:\n  - {from: old, too: app}\n",
            "imgplan.yaml:5:17",
            "too",
            ["unknown key `too`", "did you mean `to`?"]
        ),
        invalid!(
            "a removal of an existing image",
            "version: 1\nimages:\n  - {name: app, context: app}\nremoved:\n  - {name: \"app:latest\"}\n",
            "imgplan.yaml:5:12",
            "\"app:latest\"",
            ["`app:latest` is still in the manifest", "remove this entry"]
        ),
        invalid!(
            "two removals of one image",
            "version: 1\nimages:\n  - {name: app, context: app}\nremoved:\n  - {name: old}\n  - {name: old, destroy: true}\n",
            "imgplan.yaml:6:12",
            "old",
            ["`old` is removed twice"]
        ),
        invalid!(
            "a removal of a moved image",
            "version: 1\nimages:\n  - {name: app, context: app}\nmoved: [{from: old, to: app}]\nremoved:\n  - {name: old}\n",
            "imgplan.yaml:6:12",
            "old",
            ["`old` is both moved and removed"]
        ),
        invalid!(
            "a removal without a name",
            "version: 1\nimages:\n  - {name: app, context: app}\nremoved:\n  - {destroy: true}\n",
            "imgplan.yaml:5:5",
            "{",
            ["this entry has no `name`", "add `name:`"]
        ),
    ]
}

/// Writes the contexts of the manifests.
fn write_contexts(env: &TestEnv) {
    env.context("app", "FROM scratch\n")
        .context("typo", "FROM scratch\nRUM echo\n")
        .context("fromless", "ARG A=1\n")
        .context("arg", "ARG BASE\nFROM $BASE\n")
        .context("based", "FROM base:v1\n")
        .write("empty/README.md", "no Dockerfile\n");
}

/// Asserts that nothing was sent and nothing was written.
fn assert_untouched(env: &TestEnv, name: &str) {
    assert_eq!(env.server().requests(), [""; 0], "{name}");
    assert!(!env.exists("imgplan.lock"), "{name}");
    assert!(!env.exists(".imgplan"), "{name}");
}

#[test]
fn invalid_manifests_are_rejected_with_a_position_and_help() {
    let env = TestEnv::new();
    write_contexts(&env);
    let mut failures = Vec::new();
    for InvalidManifest { name, manifest, position, underlined, texts } in invalid_manifests() {
        env.write("imgplan.yaml", manifest);
        let output = env.run(["apply", "--auto-approve"]);
        assert_untouched(&env, name);
        let mut check = |holds: bool, failure: String| {
            if !holds {
                failures.push(format!("{name}: {failure}\n{output}"));
            }
        };
        check(output.code == Some(1), "it is accepted".to_owned());
        check(output.stdout.is_empty(), "errors belong on stderr".to_owned());
        check(output.stderr.contains(position), format!("{position} is missing"));
        check(output.stderr.contains("help: "), "there is no help".to_owned());
        let stderr = output.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        for text in texts {
            check(stderr.contains(text), format!("{text:?} is missing"));
        }
        // The JSON output has the same problem, with its range.
        let json = env.run(["validate", "--json"]);
        check(json.code == Some(1), "validate accepts it".to_owned());
        let report: Value = serde_json::from_str(&json.stdout).unwrap();
        let problems = report["diagnostics"].as_array().unwrap();
        let first = &problems[0];
        check(problems.len() == 1, format!("{} problems: {report:#}", problems.len()));
        if !position.is_empty() {
            let (file, line) = (&first["range"]["filename"], &first["range"]["start"]["line"]);
            let actual = format!("{}:{line}:", file.as_str().unwrap_or_default());
            let matches = position.starts_with(&actual) || actual.starts_with(position);
            check(matches, format!("{first:#}"));
        }
        let snippet = first["snippet"].as_str().unwrap_or_default();
        let failure = format!("{snippet:?} is underlined, not {underlined:?}");
        check(snippet.starts_with(underlined), failure);
    }
    assert!(failures.is_empty(), "{} failures:\n\n{}", failures.len(), failures.join("\n"));
}

/// Each list contains the list before it ten times.
#[test]
fn an_alias_bomb_is_rejected() {
    let mut bomb = "version: 1\nimages: []\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..15 {
        let inner = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb = format!("{bomb}a{level}: &a{level} [{inner}]\n");
    }
    let env = TestEnv::manifest(&bomb);
    env.run(["plan"]).code(1).says("aliases").says("help:").says("imgplan.yaml:");
    assert_untouched(&env, "bomb");
}

#[test]
fn a_missing_manifest_is_an_error() {
    let env = TestEnv::new();
    let missing = env.run(["plan"]);
    missing.code(1);
    assert_snapshot!(missing.shown(), @"
    exit 1
    --- stderr
      × there is no imgplan.yaml
      help: run imgplan in the folder of the manifest, name it: -f FILE, or run `imgplan init`

    error: 1 problem in imgplan.yaml; nothing was sent
    ");
    assert_untouched(&env, "no manifest");
    env.run(["plan", "-f", "elsewhere/imgplan.yaml"]).code(1).says("elsewhere/imgplan.yaml");
    // A folder is not a manifest.
    env.run(["plan", "-f", "."]).code(1).says("help:");
}

/// A manifest under the other extension or in a parent folder is named.
#[test]
fn a_manifest_elsewhere_is_named() {
    let env = TestEnv::new();
    env.context("app", "FROM scratch\n").write("sub/deep/x", "");
    let text = "version: 1\nimages:\n  - {name: app, context: app}\n";
    env.write("imgplan.yml", text);
    env.run(["plan"]).code(1).says("rename imgplan.yml to imgplan.yaml, or add `-f imgplan.yml`");
    env.ok(["validate", "-f", "imgplan.yml"]);
    let below = env.run(["-C", "sub/deep", "validate"]);
    below.code(1).says("there is one in a parent folder: add `-C ../.. -f imgplan.yml`");
    std::fs::rename(env.path("imgplan.yml"), env.path("imgplan.yaml")).unwrap();
    env.run(["-C", "sub", "plan"]).code(1).says("there is one in a parent folder: add `-C ..`");
    env.run(["plan", "-f", "imgplan.yml"]).code(1).says("rename imgplan.yaml to imgplan.yml");
    let other = env.run(["-C", "sub", "plan", "-f", "other.yaml"]);
    other.code(1).says("run imgplan in the folder of the manifest");
    env.run(["plan", "-f", "sub"]).code(1).says("sub is a folder");
    let shown = env.run(["-C", "sub/deep", "show"]);
    shown.code(1).says("there is neither a lockfile nor imgplan.yaml").says("add `-C ../..`");
    env.ok(["show"]).says("The lockfile is empty");
}

#[test]
fn extension_keys_hold_anchors() {
    let env = TestEnv::new();
    env.context("app", "ARG PY\nFROM scratch\n");
    env.write(
        "imgplan.yaml",
        "version: 1
x-common: &common
  context: app
  args: {PY: \"${PY}\"}
x-tags: [&tag v1, &other v2]
x-ignored: {tag: 1.10, unknown: \"${NOWHERE}\"}
defaults: {x-note: 1, visibility: public}
settings: {x-note: 1}
images:
  - {<<: *common, name: a, tag: *tag, x-owner: someone, matrix: {PY: [\"3.12\"]}}
  - {<<: [*common, {tag: *other}], name: b, args: {PY: x}, x-note: [1]}
moved:
  - {x-note: 1, from: old, to: a}
",
    );
    let plan = env.ok(["plan"]);
    plan.says("+ a:v1").says("+ b:v2").never_says("x-");
    env.edit("imgplan.yaml", "name: b,", "name: b, labels: {x-kept: 1},");
    env.run(["plan"]).code(1).says("YAML reads 1 as a number");
    env.edit("imgplan.yaml", "labels: {x-kept: 1},", "X-note: 1,");
    env.run(["plan"]).code(1).says("unknown key `X-note`");
}

/// Problems in three files are reported at once, in the order of the files.
#[test]
#[expect(clippy::too_many_lines, reason = "a long snapshot")]
fn all_problems_are_reported_at_once() {
    let env = TestEnv::manifest(
        "version: 1
vars: {WHO: me}
defaults:
  visibility: hidden
images:
  - name: api
    tag: 1.10
    contxt: api
  - name: web
    context: web
    platforms: [linux/amd64, linux/mips]
  - name: worker
    tag: ${WHOM}
    context: worker
    needs: [api, webb]
  - source: \"redis:7,redis:8\"
",
    );
    env.context("web", "FROM scratch\nCOPPY a b\n").context("worker", "FROM $NOWHERE\n");
    let rejected = env.run(["validate"]);
    rejected.code(1);
    assert_snapshot!(rejected.shown(), @r#"
    exit 1
    --- stderr
      × `hidden` is not a visibility
       ╭─[imgplan.yaml:4:15]
     3 │ defaults:
     4 │   visibility: hidden
       ·               ──────
     5 │ images:
       ╰────
      help: write `inherit`, `private` or `public`

      × YAML reads 1.10 as the number 1.1
       ╭─[imgplan.yaml:7:10]
     6 │   - name: api
     7 │     tag: 1.10
       ·          ────
     8 │     contxt: api
       ╰────
      help: quote it: "1.10"

      × unknown key `contxt`
       ╭─[imgplan.yaml:8:5]
     7 │     tag: 1.10
     8 │     contxt: api
       ·     ──────
     9 │   - name: web
       ╰────
      help: did you mean `context`?

      × `linux/mips` is not a platform of the service
        ╭─[imgplan.yaml:11:30]
     10 │     context: web
     11 │     platforms: [linux/amd64, linux/mips]
        ·                              ──────────
     12 │   - name: worker
        ╰────
      help: the service builds for `linux/amd64` and `linux/arm64`

      × the variable `WHOM` is not set
        ╭─[imgplan.yaml:13:10]
     12 │   - name: worker
     13 │     tag: ${WHOM}
        ·          ───────
     14 │     context: worker
        ╰────
      help: did you mean `${WHO}`?

      × no image of this manifest is named `webb`
        ╭─[imgplan.yaml:15:18]
     14 │     context: worker
     15 │     needs: [api, webb]
        ·                  ────
     16 │   - source: "redis:7,redis:8"
        ╰────
      help: did you mean `web`?

      × a source is one reference and has no comma
        ╭─[imgplan.yaml:16:13]
     15 │     needs: [api, webb]
     16 │   - source: "redis:7,redis:8"
        ·             ─────────────────
        ╰────
      help: write one entry per image

      × unknown instruction `COPPY`
       ╭─[web/Dockerfile:2:1]
     1 │ FROM scratch
     2 │ COPPY a b
       · ─────
       ╰────
      help: did you mean COPY?

      × cannot resolve `$NOWHERE`: `$NOWHERE` is not an image name, because `NOWHERE` has no value
       ╭─[worker/Dockerfile:1:6]
     1 │ FROM $NOWHERE
       ·      ────────
       ╰────
      help: declare it above the first FROM: `ARG NOWHERE=<value>`; or set `infer_bases: false` and
            list its bases under `needs:`

    error: 9 problems in imgplan.yaml; nothing was sent
    "#);
    let json = env.run(["validate", "--json"]);
    json.code(1);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    let positions: Vec<String> = report["diagnostics"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| {
            let range = &problem["range"];
            let file = range["filename"].as_str().unwrap();
            format!(
                "{file}:{}:{} {}",
                range["start"]["line"],
                range["start"]["column"],
                problem["snippet"].as_str().unwrap()
            )
        })
        .collect();
    assert_snapshot!(positions.join("\n"), @r#"
    imgplan.yaml:4:15 hidden
    imgplan.yaml:7:10 1.10
    imgplan.yaml:8:5 contxt
    imgplan.yaml:11:30 linux/mips
    imgplan.yaml:13:10 ${WHOM}
    imgplan.yaml:15:18 webb
    imgplan.yaml:16:13 "redis:7,redis:8"
    web/Dockerfile:2:1 COPPY
    worker/Dockerfile:1:6 $NOWHERE
    "#);
}

fn rejected(manifest: &str) -> Output {
    let env = TestEnv::manifest(manifest);
    write_contexts(&env);
    let rejected = env.run(["plan"]);
    rejected.code(1);
    assert_untouched(&env, manifest);
    rejected
}

#[test]
fn unknown_key_snapshot() {
    let rejected = rejected("version: 1\nimages:\n  - name: app\n    contxt: app\n");
    assert_snapshot!(rejected.shown(), @"
    exit 1
    --- stderr
      × unknown key `contxt`
       ╭─[imgplan.yaml:4:5]
     3 │   - name: app
     4 │     contxt: app
       ·     ──────
       ╰────
      help: did you mean `context`?

    error: 1 problem in imgplan.yaml; nothing was sent
    ");
}

#[test]
fn unquoted_tag_snapshot() {
    let rejected =
        rejected("version: 1\nimages:\n  - name: app\n    tag: 1.10\n    context: app\n");
    assert_snapshot!(rejected.shown(), @r#"
    exit 1
    --- stderr
      × YAML reads 1.10 as the number 1.1
       ╭─[imgplan.yaml:4:10]
     3 │   - name: app
     4 │     tag: 1.10
       ·          ────
     5 │     context: app
       ╰────
      help: quote it: "1.10"

    error: 1 problem in imgplan.yaml; nothing was sent
    "#);
}

#[test]
fn tab_snapshot() {
    let rejected = rejected("version: 1\nimages:\n  - name: app\n\tcontext: app\n");
    assert_snapshot!(rejected.shown(), @"
    exit 1
    --- stderr
      × this line is indented with a tab
       ╭─[imgplan.yaml:4:2]
     3 │   - name: app
     4 │     context: app
       ·     ────────────
       ╰────
      help: replace the tab: YAML allows only spaces

    error: 1 problem in imgplan.yaml; nothing was sent
    ");
}

#[test]
fn duplicate_destination_snapshot() {
    let rejected = rejected(
        "version: 1\nimages:\n  - name: app\n    context: app\n\n  # Far below.\n\n  - name: app\n    context: based\n",
    );
    assert_snapshot!(rejected.shown(), @"
    exit 1
    --- stderr
      × two images have the destination app:latest
       ╭─[imgplan.yaml:3:11]
     2 │ images:
     3 │   - name: app
       ·           ─┬─
       ·            ╰── first image
     4 │     context: app
       ╰────
       ╭─[imgplan.yaml:8:11]
     7 │ 
     8 │   - name: app
       ·           ─┬─
       ·            ╰── second image
     9 │     context: based
       ╰────
      help: change the `name:` or `tag:` of one of them

    error: 1 problem in imgplan.yaml; nothing was sent
    ");
}

#[test]
fn dependency_cycle_snapshot() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - name: a\n    context: a\n  - name: b\n    context: b\n  - name: c\n    context: app\n    needs: [a]\n",
    );
    env.context("a", "FROM b\n")
        .context("b", "FROM scratch\nCOPY --from=c /x /x\n")
        .context("app", "FROM scratch\n");
    let rejected = env.run(["plan"]);
    rejected.code(1);
    assert_snapshot!(rejected.shown(), @"
    exit 1
    --- stderr
      × dependency cycle: a:latest -> b:latest -> c:latest -> a:latest
       ╭─[imgplan.yaml:9:13]
     8 │     context: app
     9 │     needs: [a]
       ·             ┬
       ·             ╰── c:latest depends on a:latest
       ╰────
       ╭─[a/Dockerfile:1:6]
     1 │ FROM b
       ·      ┬
       ·      ╰── a:latest depends on b:latest
       ╰────
       ╭─[b/Dockerfile:2:13]
     1 │ FROM scratch
     2 │ COPY --from=c /x /x
       ·             ┬
       ·             ╰── b:latest depends on c:latest
       ╰────
      help: remove one of these dependencies

    error: 1 problem in imgplan.yaml; nothing was sent
    ");
}

#[test]
fn invalid_dockerfile_snapshot() {
    let rejected = rejected("version: 1\nimages:\n  - {name: app, context: typo}\n");
    assert_snapshot!(rejected.shown(), @"
    exit 1
    --- stderr
      × unknown instruction `RUM`
       ╭─[typo/Dockerfile:2:1]
     1 │ FROM scratch
     2 │ RUM echo
       · ───
       ╰────
      help: did you mean RUN?

    error: 1 problem in imgplan.yaml; nothing was sent
    ");
}

#[test]
fn a_base_with_another_tag_is_only_a_warning() {
    let env = TestEnv::manifest(
        "version: 1\nimages:\n  - {name: base, tag: \"3.12\", context: base}\n  - {name: app, tag: v1, context: app}\n",
    );
    env.context("base", "FROM scratch\n").context("app", "FROM base:3.11\n");
    let warned = env.run(["validate"]);
    warned.success();
    assert_snapshot!(warned.shown(), @"
    exit 0
    --- stdout
    imgplan.yaml is valid: 2 images, 2 targets.
    --- stderr
      ⚠ `base:3.11` is not an image of this manifest
       ╭─[app/Dockerfile:1:6]
     1 │ FROM base:3.11
       ·      ─────────
       ╰────
      help: this manifest has base:3.12
    ");
    let json = env.run(["validate", "--json"]);
    json.success();
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&report["valid"], &report["warning_count"]), (&true.into(), &1.into()));
}

#[test]
fn validate_writes_json() {
    let env =
        TestEnv::manifest("version: 1\nimages:\n  - name: app\n    tag: 1.10\n    context: app\n");
    env.context("app", "FROM scratch\n");
    let output = env.run(["validate", "--json"]);
    output.code(1);
    let report: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_snapshot!(format!("{report:#}"), @r#"
    {
      "format_version": "1.0",
      "valid": false,
      "error_count": 1,
      "warning_count": 0,
      "diagnostics": [
        {
          "severity": "error",
          "summary": "YAML reads 1.10 as the number 1.1",
          "detail": "quote it: \"1.10\"",
          "range": {
            "filename": "imgplan.yaml",
            "start": {
              "line": 4,
              "column": 10,
              "byte": 42
            },
            "end": {
              "line": 4,
              "column": 14,
              "byte": 46
            }
          },
          "snippet": "1.10"
        }
      ],
      "skipped": []
    }
    "#);
    env.edit("imgplan.yaml", "1.10", "\"1.10\"");
    assert_snapshot!(env.ok(["validate", "--json"]).stdout, @r#"{"format_version":"1.0","valid":true,"error_count":0,"warning_count":0,"diagnostics":[],"skipped":[]}"#);
    assert_snapshot!(env.ok(["validate"]).shown(), @"
    exit 0
    --- stdout
    imgplan.yaml is valid: 1 image, 1 target.
    ");
    assert_eq!(env.server().requests(), [""; 0]);
}

#[test]
fn variables_of_the_manifest_override_the_environment() {
    let env = TestEnv::manifest(
        "version: 1\nvars: {TAG: \"v-${WHO:-nobody}\"}\nimages:\n  - name: app\n    tag: ${TAG}\n    context: ${DIR:?where}\n",
    );
    env.context("app", "FROM scratch\n");
    let plan = |who: Option<&str>| {
        let call = env.call(["plan"]).env("DIR", "app").env("TAG", "ignored");
        let call = match who {
            Some(who) => call.env("WHO", who),
            None => call,
        };
        call.run().steps().join("\n")
    };
    assert_eq!(plan(None), "+ app:v-nobody build new");
    assert_eq!(plan(Some("me")), "+ app:v-me build new");
}
