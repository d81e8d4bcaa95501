//! Sets the cfg of the checking build, for the package that is built.

fn main() {
    println!("cargo:rustc-cfg=tidegate_checking");
    // The library's features, of which this package has none.
    let features = r#""cli", "notify", "tokio", "http", "metrics", "systemd", "test-util""#;
    println!("cargo:rustc-check-cfg=cfg(feature, values({features}))");
    println!("cargo:rerun-if-changed=build.rs");
}
