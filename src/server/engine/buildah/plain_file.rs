//! Writes the Dockerfile that Buildah executes, and refuses what leads out of a build. Pure.
//!
//! Buildah 1.28 runs with the rights of the server outside of the commands of a build: it follows
//! links in the sources of mounts, and in its caches, and reads lines in another way than Docker. So
//! it gets a file of the server, with one line for each instruction and only the flags that were
//! checked.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::base::digest::Digest;
use crate::base::safe_text::one_line;
use crate::dockerfile::{Dockerfile, PlainInstruction};
use crate::server::engine::config::BuildNetwork;

/// Maximum length of a line that Buildah reads, in bytes.
const MAX_LINE_BYTES: usize = 65_000;

/// The reason for which a build with a download fails, and the ways out.
pub(super) const NO_DOWNLOADS: &str = "ADD would download from the network of the server: use a RUN that downloads, or start the server \
     with --build-network host";

/// The reason for which a mount fails, and the way out.
const NO_MOUNT: &str = "a RUN of this server mounts only `type=cache` and `type=tmpfs`, with an absolute \
                        `target` and without other fields than `ro` and `sharing=shared`, because Buildah \
                        reaches files of the server through others: COPY the files instead";

/// The reason for which a here-document fails.
const NO_HEREDOC: &str = "Buildah takes the lines of a here-document for instructions: COPY a file of \
                          the context, or write the commands after RUN";

/// Returns the Dockerfile for Buildah. The stages that the build does not need are empty, because
/// Buildah builds them too.
///
/// # Errors
/// Fails with the line of an instruction, and the reason for which it is refused.
pub(super) fn plain_file(
    dockerfile: &Dockerfile,
    needed: &BTreeSet<usize>,
    network: BuildNetwork,
) -> Result<String, (usize, String)> {
    if dockerfile.escape() != '\\' {
        let reason = "Buildah does not read the directive `escape` as Docker does: use `\\`";
        return Err((1, reason.to_owned()));
    }
    let mut plain = String::new();
    let mut stages = 0;
    for (at, instruction) in dockerfile.plain_instructions() {
        let before = dockerfile.text().get(..at).unwrap_or_default();
        let line = 1 + before.matches('\n').count();
        let text = instruction_text(&instruction).map_err(|reason| (line, reason))?;
        if instruction.keyword == "ONBUILD" && downloads(&instruction.rest, network) {
            return Err((line, NO_DOWNLOADS.to_owned()));
        }
        let is_from = instruction.keyword == "FROM";
        stages += usize::from(is_from);
        let is_needed = stages == 0 || needed.contains(&(stages - 1));
        match (is_needed, is_from) {
            (true, _) => plain.push_str(&text),
            (false, true) => plain.push_str(&empty_stage(&instruction)),
            (false, false) => continue,
        }
        plain.push('\n');
    }
    Ok(plain)
}

/// True if a file for Buildah sets something that only Docker's image format has. In the format of OCI,
/// Buildah leaves it out: a `RUN` after `SHELL` runs in `/bin/sh`, and a trigger never runs.
pub(super) fn needs_docker_format(plain: &str) -> bool {
    let keywords = ["SHELL", "HEALTHCHECK", "ONBUILD"];
    plain.lines().any(|line| line.split(' ').next().is_some_and(|word| keywords.contains(&word)))
}

/// True if a trigger downloads with `ADD`, where that is refused. In doubt, it does: a variable may have
/// any value.
pub(super) fn downloads(trigger: &str, network: BuildNetwork) -> bool {
    let is_add = trigger.trim().get(..3).is_some_and(|start| start.eq_ignore_ascii_case("add"));
    is_add && network != BuildNetwork::Host && trigger.contains(['$', '@', ':', '\\'])
}

fn empty_stage(from: &PlainInstruction) -> String {
    let name = from.rest.split_ascii_whitespace().nth(2);
    name.map_or_else(|| "FROM scratch".to_owned(), |name| format!("FROM scratch AS {name}"))
}

/// Returns the line of an instruction.
///
/// # Errors
/// Fails with the reason for which it is refused.
pub(super) fn instruction_text(instruction: &PlainInstruction) -> Result<String, String> {
    let PlainInstruction { keyword, flags, rest, has_heredoc } = instruction;
    let is_checked = ["FROM", "RUN", "COPY", "ADD"].contains(&keyword.as_str());
    if *has_heredoc && is_checked {
        return Err(NO_HEREDOC.to_owned());
    }
    if rest.ends_with('\\') {
        return Err(
            "Buildah continues a line that ends with `\\`: write something after it".to_owned()
        );
    }
    let mut text = keyword.clone();
    let mut names = BTreeSet::new();
    for (name, value) in flags {
        if is_checked {
            let is_new = names.insert(name) || name == "--mount" || name == "--exclude";
            let flag = flag_text(keyword, name, value.as_deref()).filter(|_| is_new);
            let shown = || one_line(name, 40);
            let flag = flag.ok_or_else(|| match name.as_str() {
                "--mount" => NO_MOUNT.to_owned(),
                _ => format!("this server does not allow this use of `{}` in {keyword}", shown()),
            })?;
            let _ = write!(text, " {flag}");
        } else {
            let value = value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
            let _ = write!(text, " {name}{value}");
        }
    }
    if is_checked && rest.starts_with("--") {
        return Err(format!("{keyword} must not begin with `--`: remove it"));
    }
    if keyword == "ONBUILD" {
        let trigger = PlainInstruction::read(rest, '\\').ok_or("ONBUILD has no instruction")?;
        if matches!(&*trigger.keyword, "FROM" | "ONBUILD") {
            return Err(format!("ONBUILD cannot be followed by {}", trigger.keyword));
        }
        let _ = write!(text, " {}", instruction_text(&trigger)?);
    } else if !rest.is_empty() {
        let _ = write!(text, " {rest}");
    }
    if text.len() > MAX_LINE_BYTES {
        return Err("the instruction is longer than 65,000 bytes: move it into a script".to_owned());
    }
    Ok(text)
}

/// Returns a flag without quotes; `None` if it is refused. Buildah expands variables in names as well.
fn flag_text(keyword: &str, name: &str, value: Option<&str>) -> Option<String> {
    let is_plain = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'`'))
    };
    if !value.is_none_or(is_plain) {
        return None;
    }
    let is_allowed = match (keyword, name) {
        ("RUN", "--mount") => return mount_text(value?),
        ("RUN", "--network") => matches!(value, Some("none" | "default")),
        ("COPY", "--from") => value.is_some_and(|from| !from.contains('$')),
        ("FROM", "--platform")
        | ("COPY", "--parents")
        | ("ADD", "--keep-git-dir" | "--checksum" | "--unpack")
        | ("COPY" | "ADD", "--chown" | "--chmod" | "--link" | "--exclude") => true,
        _ => false,
    };
    let value = value.map(|value| format!("={value}")).unwrap_or_default();
    is_allowed.then(|| format!("{name}{value}"))
}

/// Returns the flag of a mount; `None` if it is refused. The name of a cache is a digest: Buildah joins
/// names and targets to the path of its caches, in which a build may have left a link.
fn mount_text(mount: &str) -> Option<String> {
    let (mut kind, mut target, mut read_only) = (None, None, "");
    for field in mount.split(',') {
        match field.split_once('=').unwrap_or((field, "true")) {
            ("type", value) if kind.is_none() => kind = Some(value),
            ("target" | "dst" | "destination", value) if target.is_none() => target = Some(value),
            // A locked cache has a lockfile in the cache itself, where it may be a link.
            ("sharing", "shared") => {}
            ("ro" | "readonly", "true") => read_only = ",ro",
            _ => return None,
        }
    }
    let target = target.filter(|target| {
        let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-+@~".contains(c);
        target.starts_with('/')
            && target.chars().all(is_path)
            && !target.split('/').any(|segment| segment == "..")
    })?;
    match kind? {
        "cache" => {
            let digest = Digest::of(target.as_bytes()).to_string();
            let id = digest.rsplit(':').next()?;
            Some(format!("--mount=type=cache,id={id},target={target}{read_only}"))
        }
        "tmpfs" => Some(format!("--mount=type=tmpfs,target={target}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(text: &str) -> Result<String, (usize, String)> {
        let file = Dockerfile::parse(text).unwrap();
        let stages = file.plain_instructions().iter().filter(|(_, i)| i.keyword == "FROM").count();
        plain_file(&file, &BTreeSet::from([stages - 1]), BuildNetwork::None)
    }

    #[test]
    fn the_format_follows_the_instructions() {
        for (text, expected) in [
            ("FROM a\nRUN echo SHELL\nLABEL SHELL=x\n", false),
            ("FROM a\nshell [\"/bin/bash\", \"-c\"]\n", true),
            ("FROM a\nHEALTHCHECK NONE\n", true),
            ("FROM a\nONBUILD RUN x\n", true),
            ("FROM a\nHEALTHCHECK NONE\nFROM b\nRUN x\n", false),
        ] {
            assert_eq!(needs_docker_format(&plain(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn what_leads_out_is_refused_with_its_line() {
        for (line, reason) in [
            ("RUN --mount=target=/x true", NO_MOUNT),
            ("RUN --mount=type=bind,target=/x true", NO_MOUNT),
            ("RUN --mount=type=cache,target=/x,id=a true", NO_MOUNT),
            ("RUN --mount=type=cache,target=../x true", NO_MOUNT),
            ("RUN --mount=type=cache,target=/a/../../x true", NO_MOUNT),
            ("RUN --mount=type=cache,target=/x,from=a true", NO_MOUNT),
            ("RUN --mount=type=cache,target=/x,source=a true", NO_MOUNT),
            ("RUN --mount=type=cache,target=/x,sharing=locked true", NO_MOUNT),
            ("RUN --mount=type=$T,target=/x true", NO_MOUNT),
            ("RUN --mount=type=cache,target=/$X true", NO_MOUNT),
            ("RUN --mount=type=cache,type=bind,target=/x true", NO_MOUNT),
            ("RUN --mount=type=secret,target=/x true", NO_MOUNT),
            ("RUN --m\"ount=type=bind\",target=/x true", NO_MOUNT),
            ("ONBUILD RUN --mount=type=bind,target=/x true", NO_MOUNT),
            ("RUN --${X}mount=type=bind,target=/x true", "`--${X}mount`"),
            ("RUN --network=host true", "`--network`"),
            ("COPY --from=$X /a /b", "`--from`"),
            ("COPY --from=a --from=b /a /b", "`--from`"),
            ("COPY --${X}from=a /a /b", "`--${X}from`"),
            ("ADD --from=a /a /b", "`--from`"),
            ("RUN -- --mount=type=bind true", "`--`"),
            ("RUN cat <<E\nRUN true\nE", NO_HEREDOC),
            ("COPY <<E /x\nE", NO_HEREDOC),
            ("ADD <<-'E' /x\nE", NO_HEREDOC),
            ("ONBUILD RUN <<E\nE", NO_HEREDOC),
            ("ONBUILD ADD ht${X}tp://a /x", NO_DOWNLOADS),
            ("RUN a \\\\", "continues"),
        ] {
            let (at, message) = plain(&format!("FROM a\n{line}\n")).expect_err(line);
            assert!(at == 2 && message.contains(reason), "{line}: {at}: {message}");
        }
        assert!(plain("# escape=`\nFROM a\n").unwrap_err().1.contains("escape"));
    }

    #[test]
    fn the_file_has_one_line_for_each_needed_instruction() {
        let text = "# x\nARG A=1\nFROM a AS b\nADD http://x /\nFROM --platform=$TARGETPLATFORM c\n\
                    COPY --chown=\"a:b\" x \\\n # c\n y /z\nrun echo $((1<<2))\n\
                    RUN --mount=type=tmpfs,dst=/t --mount=type=cache,target=/c,ro true\n";
        let plain = plain(text).unwrap();
        let id = Digest::of(b"/c").to_string().replace("b3:", "");
        let expected = format!(
            "ARG A=1\nFROM scratch AS b\nFROM --platform=$TARGETPLATFORM c\n\
             COPY --chown=a:b x  y /z\nRUN echo $((1<<2))\n\
             RUN --mount=type=tmpfs,target=/t --mount=type=cache,id={id},target=/c,ro true\n"
        );
        assert_eq!(plain, expected);
    }
}
