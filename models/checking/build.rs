//! Sets the cfg of the checking build for the package that runs this script.

fn main() {
    println!("cargo:rustc-cfg=tidegate_checking");
    // The library's features. This package has none of them.
    let features = r#""cli", "notify", "tokio", "http", "metrics", "systemd", "test-util""#;
    println!("cargo:rustc-check-cfg=cfg(feature, values({features}))");
    println!("cargo:rerun-if-changed=build.rs");
}
