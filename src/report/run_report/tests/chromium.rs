//! The page in Chromium, without a network.

use std::path::Path;
use std::process::Command;

use super::super::html;
use super::run_of;

/// Returns false, with a message, if there is no Chromium. With `IMGPLAN_CHROMIUM=required`, the test
/// fails instead.
fn is_there() -> bool {
    let version = Command::new("chromium").arg("--version").output();
    let is_there = version.is_ok_and(|output| output.status.success());
    let required = std::env::var_os("IMGPLAN_CHROMIUM").is_some_and(|value| value == "required");
    assert!(is_there || !required, "IMGPLAN_CHROMIUM=required: no usable chromium");
    if !is_there {
        // Unlike `eprintln!`, this is not captured in tests that succeed.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), b"SKIPPED: no chromium\n");
    }
    is_there
}

/// Runs Chromium in a folder, and returns its standard output.
fn chromium(folder: &Path, flags: &[&str]) -> String {
    let output = Command::new("chromium")
        .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"])
        .arg("--disable-dev-shm-usage")
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--user-data-dir=profile"])
        .args(flags)
        .arg(format!("file://{}", folder.join("run.html").display()))
        .current_dir(folder)
        .env("HOME", folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a folder of this test")]
fn chromium_shows_every_target() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (count, scheme, width) in [(3, "light", 1280), (60, "dark", 1280), (2_000, "light", 390)] {
        std::fs::write(folder.path().join("run.html"), run_of(count).with(html)).unwrap();
        let shown = chromium(folder.path(), &["--dump-dom"]);
        assert_eq!(shown.matches("<div class=\"bar\"").count(), count);
        assert!(shown.trim_end().ends_with("</footer>\n\n\n</body></html>"), "{shown}");
        let picture = format!("run-{count}-{scheme}-{width}.png");
        let scheme = u8::from(scheme == "light");
        let flags = [
            format!("--window-size={width},1600"),
            format!("--blink-settings=preferredColorScheme={scheme}"),
            format!("--screenshot={picture}"),
        ];
        chromium(folder.path(), &flags.each_ref().map(String::as_str));
        let bytes = std::fs::read(folder.path().join(&picture)).unwrap();
        assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 10_000, "{picture}");
        // For people who look at the pictures: IMGPLAN_PAGES names a folder.
        if let Some(pages) = std::env::var_os("IMGPLAN_PAGES") {
            std::fs::write(Path::new(&pages).join(picture), bytes).unwrap();
        }
    }
}
