//! Compiles what the benches compare with and is not Rust.

fn main() {
    #[cfg(feature = "rapidjson")]
    {
        let source = "src/bench/rapidjson.cpp";
        println!("cargo::rerun-if-changed={source}");
        // Warnings of its headers are not ours.
        let compiled =
            cc::Build::new().cpp(true).std("c++17").opt_level(3).warnings(false).file(source).try_compile("contestant");
        if let Err(error) = compiled {
            panic!("{error}. The feature needs a C++ compiler and RapidJSON's headers (Debian: rapidjson-dev).");
        }
    }
}
